"""The steps of a workload, each with its profile and numbers, and what goes on beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from iotrace.errors import UsageError
from iotrace.profiles.caching import FILL, cached_variants
from iotrace.profiles.model import DataSet, Profile, Workload, load
from iotrace.profiles.numbers import Numbers, numbers_of

LIVE: Final = "live"
MICROSCOPE: Final = "microscope"
JOBS_MAX: Final = 100_000
LANES_MAX: Final = 10_000


@dataclass(slots=True)
class Step:
    """A step; `cached`: its profile on a node with a cache that it has to fill, and with one that is full."""

    name: str
    profile: Profile
    numbers: Numbers
    after: list[str]
    cached: tuple[Profile, Profile] | None = None


def steps_of(
    workload: Workload, given: Mapping[str, float], scale: float
) -> tuple[list[Step], tuple[Step, Step], Numbers]:
    """Steps of a user; the live session and its microscope; the workload's own numbers.

    Raises
    ------
    UsageError: a recipe is wrong, steps wait for each other, or a number is not known.
    """
    dataset = load(DataSet, workload.dataset)
    own = {name: value for name, value in given.items() if name in workload.numbers}
    rest = {name: value for name, value in given.items() if name not in own}
    known: set[str] = set()
    fill = load(Profile, FILL)
    steps = []
    for name, step in [*workload.steps.items(), (LIVE, None), (MICROSCOPE, None)]:
        profile = load(Profile, step.profile if step else name)
        variants = cached_variants(profile, fill)
        profile, *cached = variants or (profile,)
        base = numbers_of(profile, dataset, None, scale)
        known |= set(base.known)
        chosen = (dict(step.set) if step else {}) | {key: value for key, value in rest.items() if key in base.known}
        numbers = numbers_of(profile, dataset, chosen, scale)
        after = list(step.after) if step else []
        steps.append(Step(name, profile, numbers, after, (cached[0], cached[1]) if cached else None))
    for name in rest:
        if name not in known:
            raise UsageError(f"--set {name}: no step of {workload.name} and no number of its own has that name.")
    everything = DataSet(workload.name, workload.title, workload.about, dataset.numbers | workload.numbers)
    whole = numbers_of(None, everything, own, scale)
    _refuse_circles(workload)
    return steps[:-2], (steps[-2], steps[-1]), whole


def _refuse_circles(workload: Workload) -> None:
    done: set[str] = set()
    while len(done) < len(workload.steps):
        free = [name for name, step in workload.steps.items() if name not in done and set(step.after) <= done]
        if not free:
            left = ", ".join(name for name in workload.steps if name not in done)
            raise UsageError(f"{workload.name}: steps {left} wait for each other.")
        done.update(free)


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many there are of each: users, lanes, sessions of Live.

    Attributes
    ----------
    microscopes: sessions whose movies a microscope writes meanwhile; cached_lanes: lanes on nodes with a disk of their
    own for particle stacks, the first ones; cache_users: of how many users such a disk holds them, 0 of all.
    """

    users: int
    lanes: int
    live: int
    microscopes: int
    cached_lanes: int
    cache_users: int = 0

    @property
    def kept(self) -> int:
        """Of how many users a lane's own disk holds the stacks at a time."""
        return self.cache_users or self.users


def crowd_of(workload: Workload, numbers: Numbers) -> Crowd:
    """The workload's own numbers, checked.

    Raises
    ------
    UsageError: one is no whole number, or out of its range.
    """

    def whole(name: str, least: int, most: int, why: str = "") -> int:
        if name not in numbers.known:
            return least
        value = numbers.of(name, name)
        if value != int(value) or not least <= value <= most:
            raise UsageError(f"{workload.name}: {name} = {value:g}: a whole number from {least} to {most}{why}.")
        return int(value)

    users, lanes = whole("users", 1, JOBS_MAX), whole("lanes", 1, LANES_MAX)
    live = whole("live", 0, LANES_MAX)
    return Crowd(
        users, lanes, live, whole("microscopes", 0, live, ", one for each session of live"),
        whole("cached_lanes", 0, lanes, ", the number of lanes"), whole("cache_users", 0, JOBS_MAX),
    )  # fmt: skip

"""The steps of a workload, each with its profile and numbers, and what goes on beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from iotrace.errors import UsageError
from iotrace.profiles.caching import FILL, cached_variants
from iotrace.profiles.graphs import circle_of
from iotrace.profiles.layout import layout_of
from iotrace.profiles.model import DataSet, Profile, Workload, load
from iotrace.profiles.numbers import Numbers, numbers_of
from iotrace.profiles.templates import NS_MAX

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
        of_step = step.set if step else {}
        base = numbers_of(profile, dataset, of_step, scale, f"{workload.name}: steps.{name}.set.")
        known |= set(base.known)
        chosen = of_step | {key: value for key, value in rest.items() if key in base.known}
        numbers = numbers_of(profile, dataset, chosen, scale)
        after = list(step.after) if step else []
        steps.append(Step(name, profile, numbers, after, (cached[0], cached[1]) if cached else None))
    for name in rest:
        if name not in known:
            raise UsageError(f"--set {name}: no step of {workload.name} and no number of its own has that name.")
    everything = DataSet(workload.name, workload.title, workload.about, dataset.numbers | workload.numbers)
    whole = numbers_of(None, everything, own, scale)
    _refuse_circles(workload)
    _refuse_missing(workload, steps[:-2])
    return steps[:-2], (steps[-2], steps[-1]), whole


def _refuse_circles(workload: Workload) -> None:
    if left := circle_of({name: step.after for name, step in workload.steps.items()}):
        raise UsageError(f"{workload.name}: steps {', '.join(left)} wait for each other.")


def _refuse_missing(workload: Workload, steps: Sequence[Step]) -> None:
    """Refuse numbers by which a step reads files that the step that makes them does not make."""
    made: dict[str, tuple[int, str]] = {}
    read: dict[str, tuple[int, str]] = {}
    for step in steps:
        for one in layout_of(step.profile, step.numbers).classes:
            of = read if one.exists else made
            of[one.text] = max(of.get(one.text, (0, "")), (one.count, step.name))
    for text, (count, reader) in read.items():
        there, maker = made.get(text, (count, ""))
        if count > there:
            raise UsageError(
                f"{workload.name}: {reader} reads {count} files {text.removeprefix('/data/')}, of which {maker} makes "
                f"{there}: choose numbers that go together, such as no more micrographs than movies."
            )


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many there are of each: users, lanes, sessions of Live.

    Attributes
    ----------
    arrival_s: seconds from one user to the next.
    microscopes: sessions whose movies a microscope writes meanwhile; cached_lanes: lanes on nodes with a disk of their
    own for particle stacks, the first ones; cache_users: of how many users such a disk holds them, 0 of all.
    """

    users: int
    lanes: int
    live: int
    microscopes: int
    cached_lanes: int
    cache_users: int = 0
    arrival_s: float = 0.0

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
    arrival_s = numbers.of("arrival_seconds", "arrival_seconds") if "arrival_seconds" in numbers.known else 0.0
    if users * arrival_s * 1e9 > NS_MAX:
        raise UsageError(f"{workload.name}: arrival_seconds = {arrival_s:g}: the last user comes after too many years.")
    return Crowd(
        users, lanes, live, whole("microscopes", 0, live, ", one for each session of live"),
        whole("cached_lanes", 0, lanes, ", the number of lanes"), whole("cache_users", 0, JOBS_MAX),
        arrival_s,
    )  # fmt: skip

"""What a workload asks for, by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from iotrace.profiles.layout import layout_of
from iotrace.profiles.model import Workload
from iotrace.profiles.numbers import Numbers
from iotrace.profiles.placement import FILLS, FULL, WITHOUT, caches_of
from iotrace.profiles.steps import LIVE, MICROSCOPE, Crowd, Step, crowd_of, steps_of
from iotrace.profiles.totals import Totals, totals_of


class Asked(NamedTuple):
    """Jobs of a step that do the same.

    Attributes
    ----------
    step: its name; jobs: how many; totals: of each; cache: whether they fill a cache or find it filled, as in
    iotrace.profiles.placement; after: how many jobs each of them waits for.
    """

    step: str
    jobs: int
    totals: Totals
    cache: str = WITHOUT
    after: int = 0


@dataclass(slots=True)
class Needs:
    """What a workload asks for: its jobs; most threads and jobs at a time; lanes that have a disk for stacks.

    cache_users: of how many users such a disk holds them, 0 of all.
    """

    users: int
    lanes: int
    jobs: list[Asked]
    threads: int
    numbers: Numbers
    cached_lanes: int = 0
    cache_users: int = 0

    @property
    def total_jobs(self) -> int:
        """All jobs."""
        return sum(one.jobs for one in self.jobs)

    @property
    def most_jobs(self) -> int:
        """Most jobs at a time."""
        beside = sum(one.jobs for one in self.jobs if one.step in (LIVE, MICROSCOPE))
        return min(self.lanes, self.total_jobs - beside) + beside

    @property
    def steps(self) -> list[tuple[str, int, Totals]]:
        """Step, jobs, what each does."""
        return [(one.step, one.jobs, one.totals) for one in self.jobs]

    @property
    def events(self) -> int:
        """Operations of its trace: those of the jobs, and for each job a fork and a wait or more of its lane."""
        return sum((one.totals.events + 2 + one.after) * one.jobs for one in self.jobs)


def needs_of(workload: Workload, given: Mapping[str, float] | None = None, scale: float = 1.0) -> Needs:
    """What a workload asks for, by arithmetic.

    Raises
    ------
    UsageError: a recipe is wrong, or a number is not known.
    """
    steps, (live, scope), numbers = steps_of(workload, given or {}, scale)
    crowd = crowd_of(workload, numbers)
    jobs = _jobs_of(steps, crowd, numbers.of("arrival_seconds"))
    lanes = min(crowd.lanes, crowd.users * len(steps))
    most = lanes * max((one.totals.workers for one in jobs), default=0)
    sessions, scopes = crowd.live, crowd.microscopes
    totals = totals_of(live.profile, live.numbers)
    if sessions > scopes:
        jobs.append(Asked(LIVE, sessions - scopes, totals))
    if scopes:
        jobs.append(Asked(LIVE, scopes, _without_movies(totals, live)))
        jobs.append(Asked(MICROSCOPE, scopes, totals_of(scope.profile, scope.numbers)))
        most += scopes
    most += sessions * totals.workers
    return Needs(crowd.users, crowd.lanes, jobs, most, numbers, crowd.cached_lanes, crowd.cache_users)


def _jobs_of(steps: Sequence[Step], crowd: Crowd, arrival_s: float) -> list[Asked]:
    """Jobs of all users over the lanes, by step and by what they find on their node."""
    totals: dict[tuple[str, str], Totals] = {}
    for step in steps:
        profiles = {WITHOUT: step.profile}
        if step.cached and crowd.cached_lanes:
            profiles |= dict(zip((FILLS, FULL), step.cached, strict=True))
        totals |= {(step.name, what): totals_of(profile, step.numbers) for what, profile in profiles.items()}
    found = caches_of(steps, crowd, arrival_s, {key: one.think_s for key, one in totals.items()})
    return [
        Asked(step.name, found[step.name][what], totals[step.name, what], what, len(step.after))
        for step in steps
        for what in (WITHOUT, FILLS, FULL)
        if found[step.name][what]
    ]


def _without_movies(totals: Totals, live: Step) -> Totals:
    """What a session needs to be there when its movies are written meanwhile."""
    name = live.profile.phases[0].follows
    movies = layout_of(live.profile, live.numbers).classes[list(live.profile.files).index(name)]
    return replace(
        totals, needed_files=totals.needed_files - movies.count,
        needed_bytes=totals.needed_bytes - movies.count * movies.size,
    )  # fmt: skip

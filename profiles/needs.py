"""What a workload asks for, by arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from iotrace.profiles.graphs import width_of
from iotrace.profiles.layout import Class, layout_of
from iotrace.profiles.model import Workload
from iotrace.profiles.numbers import Numbers
from iotrace.profiles.placement import FILLS, FULL, WITHOUT, caches_of
from iotrace.profiles.steps import LIVE, MICROSCOPE, Crowd, Step, crowd_of, steps_of
from iotrace.profiles.totals import Totals, totals_of
from iotrace.trace.operations import Kind


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
    at_once: most jobs of the users at a time: no more than lanes, and than their steps allow that wait for each other.
    there_files, there_bytes: what must be there before all of them: what one makes for another is not.
    """

    users: int
    lanes: int
    jobs: list[Asked]
    threads: int
    numbers: Numbers
    cached_lanes: int = 0
    cache_users: int = 0
    at_once: int = 0
    there_files: int = 0
    there_bytes: int = 0

    @property
    def total_jobs(self) -> int:
        """All jobs."""
        return sum(one.jobs for one in self.jobs)

    @property
    def most_jobs(self) -> int:
        """Most jobs at a time."""
        beside = sum(one.jobs for one in self.jobs if one.step in (LIVE, MICROSCOPE))
        return self.at_once + beside

    @property
    def by_class(self) -> Counter[str]:
        """Operations by class, as in its trace."""
        found: Counter[str] = Counter()
        for one in self.jobs:
            for kind, count in one.totals.by_class.items():
                found[kind] += count * one.jobs
            found[Kind.PROCESS.value] += (2 + one.after) * one.jobs
        return found

    def summed(self, name: str) -> int:
        """Sum over all jobs of one of their totals."""
        return sum(int(getattr(one.totals, name)) * one.jobs for one in self.jobs)

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
    jobs = _jobs_of(steps, crowd)
    at_once = min(crowd.lanes, crowd.users * width_of({step.name: step.after for step in steps}))
    most = at_once * max((one.totals.workers for one in jobs), default=0)
    sessions, scopes = crowd.live, crowd.microscopes
    totals = totals_of(live.profile, live.numbers)
    if sessions > scopes:
        jobs.append(Asked(LIVE, sessions - scopes, totals))
    if scopes:
        jobs.append(Asked(LIVE, scopes, _without_movies(totals, live)))
        jobs.append(Asked(MICROSCOPE, scopes, totals_of(scope.profile, scope.numbers)))
        most += scopes
    most += sessions * totals.workers
    files, size = _there(steps)
    of_live, live_size = _there([live])
    movies = _movies_of(live)
    files = crowd.users * files + sessions * of_live - scopes * movies.count
    size = crowd.users * size + sessions * live_size - scopes * movies.count * movies.size
    return Needs(
        crowd.users, crowd.lanes, jobs, most, numbers, crowd.cached_lanes, crowd.cache_users, at_once, files, size
    )


def _there(steps: Sequence[Step]) -> tuple[int, int]:
    """Files that must be there before a user's steps, and their bytes."""
    found: dict[str, Class] = {}
    for step in steps:
        for one in layout_of(step.profile, step.numbers).classes:
            known = found.get(one.text, one)
            exists, count = known.exists and one.exists, max(known.count, one.count)
            found[one.text] = replace(one, exists=exists, count=count)
    there = [one for one in found.values() if one.exists and one.type == "file"]
    return sum(one.count for one in there), sum(one.count * one.size for one in there)


def _movies_of(live: Step) -> Class:
    """The files that a session of Live waits for."""
    name = live.profile.phases[0].follows
    return layout_of(live.profile, live.numbers).classes[list(live.profile.files).index(name)]


def _jobs_of(steps: Sequence[Step], crowd: Crowd) -> list[Asked]:
    """Jobs of all users over the lanes, by step and by what they find on their node."""
    totals: dict[tuple[str, str], Totals] = {}
    for step in steps:
        profiles = {WITHOUT: step.profile}
        if step.cached and crowd.cached_lanes:
            profiles |= dict(zip((FILLS, FULL), step.cached, strict=True))
        totals |= {(step.name, what): totals_of(profile, step.numbers) for what, profile in profiles.items()}
    found = caches_of(steps, crowd, crowd.arrival_s, {key: one.think_s for key, one in totals.items()})
    return [
        Asked(step.name, found[step.name][what], totals[step.name, what], what, len(step.after))
        for step in steps
        for what in (WITHOUT, FILLS, FULL)
        if found[step.name][what]
    ]


def _without_movies(totals: Totals, live: Step) -> Totals:
    """What a session needs to be there when its movies are written meanwhile."""
    movies = _movies_of(live)
    return replace(
        totals, needed_files=totals.needed_files - movies.count,
        needed_bytes=totals.needed_bytes - movies.count * movies.size,
    )  # fmt: skip

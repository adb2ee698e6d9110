"""What a workload asks for, by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from iotrace.profiles.layout import layout_of
from iotrace.profiles.model import Workload
from iotrace.profiles.numbers import Numbers
from iotrace.profiles.steps import LIVE, MICROSCOPE, Step, crowd_of, steps_of
from iotrace.profiles.totals import Totals, totals_of


@dataclass(slots=True)
class Needs:
    """What a workload asks for: (step, jobs, totals of one job) for each step; most threads and jobs at a time.

    Where lanes have a cache, each job that reads particles counts as one that fills it: that is the most.
    """

    users: int
    lanes: int
    jobs: list[tuple[str, int, Totals]]
    threads: int
    numbers: Numbers
    cached_lanes: int = 0

    @property
    def total_jobs(self) -> int:
        """All jobs."""
        return sum(count for _, count, _ in self.jobs)

    @property
    def most_jobs(self) -> int:
        """Most jobs at a time."""
        beside = sum(count for name, count, _ in self.jobs if name in (LIVE, MICROSCOPE))
        return min(self.lanes, self.total_jobs - beside) + beside


def needs_of(workload: Workload, given: Mapping[str, float] | None = None, scale: float = 1.0) -> Needs:
    """What a workload asks for, by arithmetic.

    Raises
    ------
    UsageError: a recipe is wrong, or a number is not known.
    """
    steps, (live, scope), numbers = steps_of(workload, given or {}, scale)
    crowd = crowd_of(workload, numbers)
    users, lanes, cached = crowd.users, crowd.lanes, crowd.cached_lanes
    jobs = [
        (step.name, users, totals_of(step.cached[0] if cached and step.cached else step.profile, step.numbers))
        for step in steps
    ]
    most = min(lanes, users * len(steps)) * max((totals.workers for _, _, totals in jobs), default=0)
    sessions, scopes = crowd.live, crowd.microscopes
    totals = totals_of(live.profile, live.numbers)
    if sessions > scopes:
        jobs.append((LIVE, sessions - scopes, totals))
    if scopes:
        jobs.append((LIVE, scopes, _without_movies(totals, live)))
        jobs.append((MICROSCOPE, scopes, totals_of(scope.profile, scope.numbers)))
        most += scopes
    most += sessions * totals.workers
    return Needs(users, lanes, jobs, most, numbers, cached)


def _without_movies(totals: Totals, live: Step) -> Totals:
    """What a session needs to be there when its movies are written meanwhile."""
    name = live.profile.phases[0].follows
    movies = layout_of(live.profile, live.numbers).classes[list(live.profile.files).index(name)]
    return replace(
        totals, needed_files=totals.needed_files - movies.count,
        needed_bytes=totals.needed_bytes - movies.count * movies.size,
    )  # fmt: skip

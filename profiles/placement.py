"""Which jobs of a workload find the stacks that they read on their node's own disk, by arithmetic.

CryoSPARC copies a set of stacks to a node once: "if multiple jobs within the same project require the same particles,
the cache will be re-used and the copying step is skipped" (its guide, SSD Particle Caching in CryoSPARC). Which lane a
job runs on follows from when the jobs before it end, here with the recipes' own times. Where a disk has room for the
stacks of some users only, who used it longest ago makes room.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from iotrace.profiles.caching import CACHED
from iotrace.profiles.steps import Crowd, Step

WITHOUT: Final = "none"
"""The lane has no cache, or the step reads no particles."""
FILLS: Final = "fills"
FULL: Final = "full"


@dataclass(slots=True)
class Disk:
    """A lane's own disk, which holds the stacks of so many users (`kept`, at least one) at a time."""

    kept: int
    _sets: dict[int, set[str]] = field(default_factory=dict)  # by user, who used it last at the end

    def find(self, user: int, stacks: str) -> bool:
        """Whether a user's stacks are there; from now on they are, and who used the disk longest ago makes room."""
        mine = self._sets.pop(user, set())
        if len(self._sets) >= self.kept:
            del self._sets[next(iter(self._sets))]
        self._sets[user] = mine
        there = stacks in mine
        mine.add(stacks)
        return there


def caches_of(
    steps: Sequence[Step], crowd: Crowd, arrival_s: float, seconds: Mapping[tuple[str, str], float]
) -> dict[str, Counter[str]]:
    """How many jobs of each step run without a cache (WITHOUT), fill it (FILLS), find their stacks there (FULL).

    Parameters
    ----------
    seconds: what a job takes, by step and by what it finds.
    """
    if not crowd.cached_lanes:
        return {step.name: Counter({WITHOUT: crowd.users}) for step in steps}
    place = {step.name: number for number, step in enumerate(steps)}
    followers: list[list[int]] = [[] for _ in steps]
    for number, step in enumerate(steps):
        for name in step.after:
            followers[place[name]].append(number)
    found: dict[str, Counter[str]] = {step.name: Counter() for step in steps}
    missing = [[len(step.after) for step in steps] for _ in range(crowd.users)]
    # as the jobs of a trace are numbered: a user's steps one after another
    ready = [
        (user * arrival_s, user * len(steps) + number)
        for user in range(crowd.users)
        for number, step in enumerate(steps)
        if not step.after
    ]
    heapq.heapify(ready)
    free = [(0.0, lane) for lane in range(crowd.lanes)]
    running: list[tuple[float, int, int]] = []
    disks = [Disk(crowd.kept) for _ in range(crowd.cached_lanes)]
    now = 0.0
    while ready or running:
        while ready and free and ready[0][0] <= now:
            _, job = heapq.heappop(ready)
            _, lane = heapq.heappop(free)
            user, number = divmod(job, len(steps))
            step, what = steps[number], WITHOUT
            if step.cached and lane < crowd.cached_lanes:
                what = FULL if disks[lane].find(user, step.profile.files[CACHED].path) else FILLS
            found[step.name][what] += 1
            heapq.heappush(running, (now + seconds[step.name, what], job, lane))
        coming = [running[0][0]] if running else []
        coming += [ready[0][0]] if ready and free else []
        now = max(now, min(coming))
        while running and running[0][0] <= now:
            end, job, lane = heapq.heappop(running)
            heapq.heappush(free, (end, lane))
            user, number = divmod(job, len(steps))
            for follower in followers[number]:
                missing[user][follower] -= 1
                if not missing[user][follower]:
                    heapq.heappush(ready, (end, user * len(steps) + follower))
    return found

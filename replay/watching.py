"""Calls that do not come back: which ones wait in a run, since when, on which file.

A lane notes when a call begins before it issues it, so to look costs the run nothing.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from iotrace.replay.kernels import words
from iotrace.replay.rows import Plan
from iotrace.trace.operations import OPERATIONS
from iotrace.units import duration_text

SAY_AFTER_S: Final = 10.0
"""From here on a call that waits is told; again when it has waited twice as long."""
LOOK_EVERY_S: Final = 1.0
_AHEAD: Final = 1024
"""Requests of a ring end in any order: so many rows around the first that has not ended may be under way."""


class Watched(Protocol):
    """One user of a run: see iotrace.replay.clones."""

    plan: Plan
    started: Any
    result: Any

    @property
    def place(self) -> str:
        """Where it runs, for people."""
        ...


@dataclass(slots=True)
class Waiting:
    """A call that has not come back: of a user, its row, and when it began (CLOCK_MONOTONIC, ns)."""

    user: Watched
    row: int
    since_ns: int

    def text(self) -> str:
        """A clause for people: "openat of /data/x.mrc by python on /mnt/a has waited for 12 s"."""
        plan = self.user.plan
        op = OPERATIONS[plan.rows.op[self.row]].name
        ((name, who),) = plan.recorded.about([self.row])
        waited = duration_text(time.clock_gettime_ns(time.CLOCK_MONOTONIC) - self.since_ns)
        return (
            f"{op}{f' of {name}' if name else ''} by {who or 'a thread'} on {self.user.place} has waited for {waited}"
        )


def waiting_calls(users: Sequence[Watched], at_least_s: float) -> list[Waiting]:
    """Calls that have been under way for so long, the longest first."""
    latest = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - int(at_least_s * 1e9)
    found = []
    for user in users:
        plan, started, result = user.plan, user.started, user.result
        for begin, end in zip(plan.lane_begin[:-1].tolist(), plan.lane_begin[1:].tolist(), strict=True):
            rows = range(begin, end)
            first = begin + bisect_left(rows, True, key=lambda row: bool(result[row] == words.NOT_RUN))
            part = slice(max(begin, first - _AHEAD), min(end, first + _AHEAD))
            under_way = (result[part] == words.NOT_RUN) & (started[part] > 0) & (started[part] <= latest)
            under_way &= plan.rows.op[part] >= 0
            found += [
                Waiting(user, row, int(started[row])) for row in (part.start + np.flatnonzero(under_way)).tolist()
            ]
    return sorted(found, key=lambda one: one.since_ns)


class Watch:
    """Looks at a run now and then.

    Parameters
    ----------
    timeout_s: a call may wait so long; None: for ever.
    tell: gets sentences for people.
    """

    def __init__(self, users: Sequence[Watched], timeout_s: float | None, tell: Callable[[str], None]) -> None:
        self._users, self._timeout_s, self._tell = users, timeout_s, tell
        self._look_at = time.monotonic() + LOOK_EVERY_S
        self._say_after_s = SAY_AFTER_S
        self.least_s = min(SAY_AFTER_S, timeout_s or SAY_AFTER_S)

    def overdue(self) -> Waiting | None:
        """The call that has waited for longer than it may, if there is one; tells of others that wait long."""
        if time.monotonic() < self._look_at:
            return None
        self._look_at = time.monotonic() + min(LOOK_EVERY_S, self.least_s)
        found = waiting_calls(self._users, self.least_s)
        if not found:
            if self._say_after_s > SAY_AFTER_S:
                self._tell("The calls that waited have come back.")
                self._say_after_s = SAY_AFTER_S
            return None
        longest = found[0]
        waited_s = (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - longest.since_ns) / 1e9
        if self._timeout_s is not None and waited_s >= self._timeout_s:
            return longest
        if waited_s >= self._say_after_s:
            more = f", and {len(found) - 1} more calls wait" if len(found) > 1 else ""
            self._tell(f"{longest.text()}{more}.")
            self._say_after_s = max(2 * self._say_after_s, waited_s)
        return None

"""Issue-time error: how much later than it should each call of a run began."""

from __future__ import annotations

from typing import Any

import numpy as np

from iotrace.replay.columns import Flags, Ints
from iotrace.replay.figures import IssueError
from iotrace.replay.kernels import lane as kernel
from iotrace.replay.lifetimes import spread_of
from iotrace.replay.rows import BEGIN, END, ORDER, Plan


def issue_error(
    plan: Plan, started: Ints, took: Ints, result: Any, start_ns: int, timing: str, speed: float
) -> IssueError | None:
    """Issue-time error of a run; None with timing "asap", where nothing is due.

    Only calls that follow another call on their lane count, and with "think" those that waited for no other lane: of
    the others it is not known since when they could have begun.

    Parameters
    ----------
    started, took, result: of each row, as iotrace.replay.crew.Outcome has them; start_ns: start of the run.
    """
    if timing == "asap":
        return None
    rows = plan.rows
    issued: Flags = plan.counted & ~np.isin(rows.special, (ORDER, BEGIN, END)) & (result > kernel.NOT_RUN)
    follows = np.zeros(len(rows), np.bool_)
    follows[1:] = started[:-1] > 0
    follows[plan.lane_begin[:-1][np.diff(plan.lane_begin) > 0]] = False
    alone: Flags = np.diff(rows.wait_begin) == 0
    at = np.flatnonzero(issued & follows & (alone | (timing == "original")))
    if len(at) == 0:
        return None
    ended = started[at - 1] + took[at - 1]
    if timing == "think":
        due = ended + ((rows.busy_ns[at] + rows.idle_ns[at]) / speed).astype(np.int64)
    else:
        due = start_ns + (rows.due_ns[at] / speed).astype(np.int64)
    free = alone[at] & (ended <= due)
    late = np.maximum(started[at] - due, 0)
    lane = np.searchsorted(plan.lane_begin, at[free], side="right")
    lost = np.bincount(lane, weights=late[free].astype(np.float64), minlength=1).max()
    return IssueError(spread_of(late[free]), drift_us(due[free], late[free]), spread_of(late[~free]), float(lost) / 1e9)


def drift_us(due_ns: Ints, late_ns: Ints) -> float:
    """Median error of the last tenth of the calls, by due time, less that of the first tenth, in µs; 0 of nothing."""
    if len(due_ns) == 0:
        return 0.0
    order = np.argsort(due_ns, kind="stable")
    tenth = max(1, len(order) // 10)
    return float(np.median(late_ns[order[-tenth:]]) - np.median(late_ns[order[:tenth]])) / 1e3

"""Issue-time error: how much later than it should each call of a run began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iotrace.replay.columns import Flags, Ints
from iotrace.replay.figures import IssueError
from iotrace.replay.kernels import words
from iotrace.replay.lifetimes import spread_of
from iotrace.replay.rows import BEGIN, END, ORDER, Plan


@dataclass(slots=True)
class Lateness:
    """Calls that were due at a known time; arrays of shape (calls,).

    Attributes
    ----------
    rows: their rows; due_ns: when they were due (CLOCK_MONOTONIC); late_ns: how much later they began, at least 0.
    free: their thread was free when they were due, and they waited for no other: to be late is the generator's doing.
    """

    rows: Ints
    due_ns: Ints
    late_ns: Ints
    free: Flags


def lateness(
    plan: Plan, started: Ints, took: Ints, result: Any, start_ns: int, timing: str, speed: float
) -> Lateness | None:
    """How late calls were in a run; None with timing "asap", where nothing is due.

    Only calls that follow another call on their lane count, and with "think" those that waited for no other lane: of
    the others it is not known since when they could have begun.

    Parameters
    ----------
    started, took, result: of each row, as iotrace.replay.clones.Outcome has them; start_ns: start of the run.
    """
    if timing == "asap":
        return None
    rows = plan.rows
    issued: Flags = plan.counted & ~np.isin(rows.special, (ORDER, BEGIN, END)) & (result > words.NOT_RUN)
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
    return Lateness(at, due, np.maximum(started[at] - due, 0), alone[at] & (ended <= due))


def issue_error(users: Sequence[Lateness]) -> IssueError:
    """Issue-time error of a run, over all its users."""
    due, late, free = (np.concatenate([getattr(one, name) for one in users]) for name in ("due_ns", "late_ns", "free"))
    return IssueError(spread_of(late[free]), drift_us(due[free], late[free]), spread_of(late[~free]))


def drift_us(due_ns: Ints, late_ns: Ints) -> float:
    """Median error of the last tenth of the calls, by due time, less that of the first tenth, in µs; 0 of nothing."""
    if len(due_ns) == 0:
        return 0.0
    order = np.argsort(due_ns, kind="stable")
    tenth = max(1, len(order) // 10)
    return float(np.median(late_ns[order[-tenth:]]) - np.median(late_ns[order[:tenth]])) / 1e3

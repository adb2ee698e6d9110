"""From the times of a run's rows to the figures around them: what the storage adds, issue errors, open times, CPU.

Also says when the generator, not the storage, was the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from iotrace.replay.clones import Outcome
from iotrace.replay.figures import NullFigures
from iotrace.replay.issue import Lateness, issue_error, lateness
from iotrace.replay.lifetimes import open_times
from iotrace.replay.null import longest_way
from iotrace.replay.options import Options
from iotrace.replay.result import Run
from iotrace.replay.rows import Plan
from iotrace.units import count_text, duration_text

LIMIT_SHARE: Final = 0.5
"""Of the makespan (asap), or of what the storage adds (think): from here on the generator is the limit."""
LOST_SHARE: Final = 0.01
"""Of the makespan: less lost than this is no limit, however little the storage adds."""
LATE_US: Final = 1000.0
"""Timing original: p99 of the generator's own issue error from which on it is the limit."""
BUSY_SHARE: Final = 0.9
"""Of all CPUs' time: with more threads than CPUs, think and original times wait for CPUs from here on."""


def note_times(
    users: Sequence[tuple[Plan, Outcome]], run: Run, options: Options, null: NullFigures | None, overlap: bool,
    cpus: int,
) -> None:  # fmt: skip
    """Fill a run's figures about time; its totals are already there (iotrace.replay.measure).

    Parameters
    ----------
    users: the plan of each user, and what its kernels wrote.
    null: the plans without I/O; None for a run that is such a pass itself.
    overlap: requests of one thread may have been in flight together, so that none is due after another.
    cpus: that all users together may use.
    """
    begin = min(ran.start_ns for _, ran in users)
    ends = [
        (ended, user, lane)
        for user, (_, ran) in enumerate(users)
        for lane, ended in enumerate(ran.lane_ended_ns.tolist())
    ]
    first, run.first_done_user, run.first_done_lane = min(ends)
    last, run.last_done_user, run.last_done_lane = max(ends)
    run.first_done_s, run.last_done_s = max(0, first - begin) / 1e9, max(0, last - begin) / 1e9
    if options.timing != "think":
        run.cpu_us_per_op = run.cpu_s * 1e6 / max(1, run.ops)
    late: list[Lateness | None] = [None] * len(users)
    if not overlap:
        late = [
            lateness(plan, ran.started, ran.took, ran.result, ran.start_ns, options.timing, options.pace)
            for plan, ran in users
        ]
    known = [one for one in late if one is not None]
    run.issue_error = issue_error(known) if known else None
    if run.sync_s is not None:
        run.wall_and_sync_s = run.wall_s + run.sync_s
    if null is not None:
        run.open_times = open_times(users)
        run.added_s = run.added_least_s = run.wall_s - null.makespan_s
        if options.timing != "asap":
            run.added_least_s = run.wall_s - _with_lateness(users, late, options, begin) if known else None
        run.limit = limit_of(run, null, options, sum(plan.lanes for plan, _ in users), cpus)


def _with_lateness(
    users: Sequence[tuple[Plan, Outcome]], late: Sequence[Lateness | None], options: Options, begin: int
) -> float:
    """Makespan of the plans without I/O, in s, where calls are issued as late as they were in a run."""
    longest = 0
    for (plan, ran), one in zip(users, late, strict=True):
        late_ns = np.zeros(len(plan.rows), np.int64)
        if one is not None:
            late_ns[one.rows[one.free]] = one.late_ns[one.free]
        longest = max(longest, ran.start_ns - begin + longest_way(plan, options.timing, options.pace, late_ns))
    return longest / 1e9


def limit_of(run: Run, null: NullFigures, options: Options, lanes: int, cpus: int) -> str:
    """Why the generator was the limit of a run, as a sentence; empty when it was not."""
    head = f"The generator, not the storage, was the limit of run {run.run + 1}"
    wall = duration_text(run.wall_s * 1e9)
    if options.timing == "asap":
        if null.generator_s <= LIMIT_SHARE * run.wall_s:
            return ""
        return (
            f"{head}: without any I/O this machine issues its operations in {duration_text(null.generator_s * 1e9)} "
            f"({count_text(null.generator_ops_per_s)} ops/s), {null.generator_s / run.wall_s:.0%} of the {wall} "
            "measured."
        )
    busy = run.cpu_s / (cpus * run.wall_s)
    if lanes > cpus and busy > BUSY_SHARE:
        return (
            f"{head}: its {lanes} threads kept this machine's {cpus} CPUs {busy:.0%} busy, the program's own CPU time "
            "included, so that they waited for CPUs."
        )
    if options.timing == "original":
        p99 = (run.issue_error.error.p99_us if run.issue_error else None) or 0.0
        if p99 <= LATE_US:
            return ""
        return f"{head}: it issued calls {duration_text(p99 * 1e3)} late (p99) although their threads were free."
    added = max(0.0, run.added_s or 0.0)
    lost = added - max(0.0, run.added_least_s or 0.0)
    if run.added_least_s is None or lost <= LIMIT_SHARE * added or lost <= LOST_SHARE * run.wall_s:
        return ""
    # a storage's client may burn CPUs of this machine too (FUSE): only a pass without I/O can tell
    return (
        f"{head.replace('was', 'may have been')}: of the {duration_text(added * 1e9)} that the storage seems to add, "
        f"{duration_text(lost * 1e9)} are calls that were issued late ({lanes} threads on {cpus} CPUs); --null "
        "measures this machine alone."
    )

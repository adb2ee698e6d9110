"""From what the kernels wrote to figures: totals by operation and class, unexpected outcomes, histograms, seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from iotrace import histogram
from iotrace.replay.columns import Flags, Ids, Ints
from iotrace.replay.figures import StepTotals
from iotrace.replay.kernels import lane as kernel
from iotrace.replay.result import HISTOGRAMS, INTERVALS, ClassTotals, ErrorCount, OpTotals, Run
from iotrace.replay.rows import LINK, STATUS, Plan
from iotrace.replay.select import KIND
from iotrace.trace.operations import OPERATIONS, Kind

_KINDS: Final = list(Kind)
_DATA_IN: Final = (Kind.READ, Kind.COPY)
_DATA_OUT: Final = (Kind.WRITE, Kind.COPY)


class Ran(Protocol):
    """What a run left: started and took (ns), result and wrong blocks read (None: not looked at) of each row.

    See iotrace.replay.crew.Outcome.
    """

    started: Any
    took: Any
    result: Any
    wrong_blocks: Any
    start_ns: int
    wall_ns: int
    cpu_s: float
    root_bytes: int


@dataclass(slots=True)
class Measured:
    """Counted rows that ran: operation, class, lane, duration and start (ns since the run's start), bytes moved.

    `step` is a number of `steps` (labels), -1 for none.
    """

    op: Any
    kind: Any
    lane: Any
    took: Ints
    since: Ints
    bytes: Ints
    step: Ids
    steps: list[str]


def expected(plan: Plan, root_bytes: int) -> Ints:
    """What each row should return on a tree whose folder's path with its slash has so many bytes."""
    rows = plan.rows
    expect = rows.expect.copy()
    links = rows.check == LINK
    if links.any():
        size = plan.recorded["size"][links]
        expect[links] = np.minimum(expect[links] + root_bytes, np.where(size < 0, 1 << 40, size))
    return expect


def unexpected(plan: Plan, result: Ints, root_bytes: int) -> Flags:
    """Rows whose outcome differs from the recorded one: success against failure, another errno, other bytes."""
    expect = expected(plan, root_bytes)
    code, recorded = np.minimum(result, 0), np.minimum(expect, 0)
    differs = code != recorded
    by_value = plan.rows.check != STATUS
    wrong: Flags = differs | (by_value & (result != expect))
    return wrong


def measure(plan: Plan, ran: Ran, run: Run, null: bool = False) -> Measured:
    """Fill a run's totals; `null`: nothing was issued, so no bytes moved and no time went by in calls."""
    rows = plan.rows
    at = np.flatnonzero(plan.counted & (ran.result != kernel.NOT_RUN))
    op, result, took = rows.op[at], ran.result[at], ran.took[at] * (not null)
    kind = KIND[op]
    differs = unexpected(plan, ran.result, ran.root_bytes)[at]
    wrong = differs if ran.wrong_blocks is None else differs | (ran.wrong_blocks[at] > 0)
    moves = np.isin(kind, [_KINDS.index(one) for one in (Kind.READ, Kind.WRITE, Kind.COPY)])
    moved = np.where(moves & (not null), np.maximum(result, 0), 0)
    lane = np.repeat(np.arange(plan.lanes), np.diff(plan.lane_begin))[at]
    wall_s = ran.wall_ns / 1e9
    run.ops, run.errors, run.wall_s = len(at), int(wrong.sum()), wall_s
    run.bytes_read = int(moved[np.isin(kind, [_KINDS.index(one) for one in _DATA_IN])].sum())
    run.bytes_written = int(moved[np.isin(kind, [_KINDS.index(one) for one in _DATA_OUT])].sum())
    run.ops_per_s = run.ops / wall_s
    run.metadata_ops_per_s = int((kind == _KINDS.index(Kind.METADATA)).sum()) / wall_s
    run.io_s, run.cpu_s = float(took.sum()) / 1e9, ran.cpu_s
    for number in np.unique(op).tolist():
        of = op == number
        counts = np.zeros(histogram.BUCKETS, np.int64)
        histogram.add(counts, took[of])
        p50, p99, p999 = (histogram.quantile(counts, q) / 1e3 for q in (0.5, 0.99, 0.999))
        name, one = OPERATIONS[number].name, OPERATIONS[number].kind.value
        run.by_op[name] = OpTotals(
            one, int(of.sum()), int(wrong[of].sum()), int(moved[of].sum()), float(took[of].sum()) / 1e9, p50, p99, p999
        )
        total = run.by_class.setdefault(one, ClassTotals())
        total.calls += int(of.sum())
        total.errors += int(wrong[of].sum())
        total.bytes += int(moved[of].sum())
        total.time_s += float(took[of].sum()) / 1e9
    step, steps = plan.recorded["step"][at], plan.recorded["steps"]
    run.by_step = _by_step(step, steps, wrong, moved, took)
    run.errors_by = _errors(plan, at[differs], ran)
    run.fidelity = {
        "planned": int(plan.counted.sum()),
        "issued": int((ran.result[plan.counted] > kernel.NOT_RUN).sum()),
        "as_recorded": run.ops - run.errors,
        "substituted": int((plan.recorded["substituted"] & plan.counted).sum()),
    }
    return Measured(op, kind, lane, took, ran.started[at] - ran.start_ns, moved, step, steps)


def _by_step(step: Ids, steps: list[str], wrong: Flags, moved: Ints, took: Ints) -> dict[str, StepTotals]:
    """Totals by step; empty where no process carries one."""
    found = {}
    for number in np.unique(step).tolist() if steps else []:
        of = step == number
        counts = np.zeros(histogram.BUCKETS, np.int64)
        histogram.add(counts, took[of])
        p50, p99 = (histogram.quantile(counts, q) / 1e3 for q in (0.5, 0.99))
        found[steps[number] if number >= 0 else ""] = StepTotals(
            int(of.sum()), int(wrong[of].sum()), int(moved[of].sum()), float(took[of].sum()) / 1e9, p50, p99
        )
    return found


def _errors(plan: Plan, rows: Ints, ran: Ran) -> list[ErrorCount]:
    if len(rows) == 0:
        return []
    recorded = -np.minimum(plan.rows.expect[rows], 0)
    replayed = -np.minimum(ran.result[rows], 0)
    keys, counts = np.unique(
        np.stack([plan.rows.op[rows].astype(np.int64), recorded, replayed], axis=1), axis=0, return_counts=True
    )
    found = [
        ErrorCount(OPERATIONS[op].name, was, now, count)
        for (op, was, now), count in zip(keys.tolist(), counts.tolist(), strict=True)
    ]
    return sorted(found, key=lambda one: (-one.calls, one.op))


def tables_of(plan: Plan, runs: list[Run], measured: list[Measured]) -> tuple[pa.Table, pa.Table]:
    """The tables histograms and intervals of a result."""
    histograms: list[pa.Table] = []
    intervals: list[pa.Table] = []
    for run, one in zip(runs, measured, strict=True):
        histograms.append(_histograms(run, one))
        intervals.append(_intervals(run, one))
    return pa.concat_tables(histograms), pa.concat_tables(intervals)


def _histograms(run: Run, one: Measured) -> pa.Table:
    bucket = histogram.bucket_of(one.took)
    group = one.lane.astype(np.int64) * (len(one.steps) + 1) + one.step + 1
    key = (group * len(OPERATIONS) + one.op) * histogram.BUCKETS + bucket
    keys, counts = np.unique(key, return_counts=True)
    bucket, rest = keys % histogram.BUCKETS, keys // histogram.BUCKETS
    op, group = rest % len(OPERATIONS), rest // len(OPERATIONS)
    lane, step = group // (len(one.steps) + 1), group % (len(one.steps) + 1)
    labels = np.array([None, *one.steps], dtype=object)
    n = len(keys)
    names = np.array([operation.name for operation in OPERATIONS], dtype=object)
    kinds = np.array([operation.kind.value for operation in OPERATIONS], dtype=object)
    columns = [
        np.full(n, run.run), [run.fs] * n, np.zeros(n), lane, labels[step], names[op], kinds[op], bucket, counts,
    ]  # fmt: skip
    return pa.table([pa.array(c, type=f.type) for c, f in zip(columns, HISTOGRAMS, strict=True)], schema=HISTOGRAMS)


def _intervals(run: Run, one: Measured) -> pa.Table:
    second = np.maximum(one.since, 0) // 1_000_000_000
    bucket = histogram.bucket_of(one.took)
    group = second * len(_KINDS) + one.kind
    keys, counts = np.unique(group * histogram.BUCKETS + bucket, return_counts=True)
    groups, first = np.unique(keys // histogram.BUCKETS, return_index=True)
    ends = np.r_[first[1:], len(keys)]
    ops = np.add.reduceat(counts, first) if len(first) else counts
    total = np.zeros(len(groups), np.int64)
    np.add.at(total, np.searchsorted(groups, group), one.bytes)
    columns = [
        np.full(len(groups), run.run),
        [run.fs] * len(groups),
        groups // len(_KINDS),
        [_KINDS[number].value for number in (groups % len(_KINDS)).tolist()],
        ops,
        total,
        [(keys[a:b] % histogram.BUCKETS).tolist() for a, b in zip(first.tolist(), ends.tolist(), strict=True)],
        [counts[a:b].tolist() for a, b in zip(first.tolist(), ends.tolist(), strict=True)],
    ]
    return pa.table([pa.array(c, type=f.type) for c, f in zip(columns, INTERVALS, strict=True)], schema=INTERVALS)

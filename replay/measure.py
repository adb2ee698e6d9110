"""From what the kernels wrote to figures: totals by operation and class, unexpected outcomes, histograms, seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from iotrace import histogram
from iotrace.replay.columns import Flags, Ids, Ints
from iotrace.replay.figures import JobTotals, StepTotals, UserTotals
from iotrace.replay.kernels import words
from iotrace.replay.operation_sets import KIND
from iotrace.replay.result import HISTOGRAMS, INTERVALS, ClassTotals, ErrorCount, OpTotals, Run
from iotrace.replay.rows import LINK, STATUS, Plan
from iotrace.replay.stalls import stalls_of
from iotrace.trace.operations import OPERATIONS, Kind

_KINDS: Final = list(Kind)
_DATA_IN: Final = (Kind.READ, Kind.COPY)
NAMED_MAX: Final = 20
"""Of so many kinds of unexpected outcomes a file is named."""
_DATA_OUT: Final = (Kind.WRITE, Kind.COPY)


class Ran(Protocol):
    """What a run left: started and took (ns), result and wrong blocks read (None: not looked at) of each row.

    See iotrace.replay.clones.Outcome.
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
    """Counted rows that ran: operation, class, user, lane, duration and start (ns since the run's start), bytes moved.

    `step` is a number of `steps` (labels), -1 for none.
    """

    op: Any
    kind: Any
    user: Ints
    lane: Ints
    took: Ints
    since: Ints
    bytes: Ints
    step: Ids
    steps: list[str]


@dataclass(slots=True)
class _Rows:
    """What Measured says of one user, and its unexpected outcomes."""

    row: Ints
    op: Any
    kind: Any
    lane: Ints
    took: Ints
    started: Ints
    bytes: Ints
    differs: Flags
    wrong: Flags
    recorded: Ints
    replayed: Ints
    step: Ids
    job: Ids


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


def measure(
    users: Sequence[tuple[Plan, Ran]], run: Run, null: bool = False, sources: Sequence[str] = ()
) -> Measured:  # fmt: skip
    """Fill a run's totals.

    Parameters
    ----------
    users: the plan of each user, and what its kernels wrote; sources: where there are several, names of their traces.
    null: nothing was issued, so no bytes moved and no time went by in calls.
    """
    parts = [_rows_of(plan, ran, null) for plan, ran in users]
    begin = min(ran.start_ns for _, ran in users)
    run.wall_s = (max(ran.start_ns + ran.wall_ns for _, ran in users) - begin) / 1e9
    run.cpu_s = sum(ran.cpu_s for _, ran in users)
    sizes = [len(part.op) for part in parts]
    row, op, kind, lane, took, started, moved, differs, wrong, recorded, replayed = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in _Rows.__slots__
        if name not in ("step", "job")
    )
    user = np.repeat(np.arange(len(users)), sizes)
    step, steps = _steps_of(users, parts)
    run.ops, run.errors = len(op), int(wrong.sum())
    run.bytes_read = int(moved[np.isin(kind, [_KINDS.index(one) for one in _DATA_IN])].sum())
    run.bytes_written = int(moved[np.isin(kind, [_KINDS.index(one) for one in _DATA_OUT])].sum())
    run.ops_per_s = run.ops / run.wall_s
    run.metadata_ops_per_s = int((kind == _KINDS.index(Kind.METADATA)).sum()) / run.wall_s
    run.io_s = float(took.sum()) / 1e9
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
    run.by_step = _by_step(step, steps, wrong, moved, took)
    run.errors_by = _errors(
        users, user[differs], row[differs], op[differs], recorded[differs], replayed[differs]
    )  # fmt: skip

    def text_of(at: int) -> str:
        ((about, who),) = users[user[at]][0].recorded.about([int(row[at])])
        return f"{OPERATIONS[int(op[at])].name}{f' of {about}' if about else ''} by {who or 'a thread'}"

    run.stalls = [] if null else stalls_of(started, took, begin, text_of)
    run.jobs = [
        one
        for number, ((plan, _), part) in enumerate(zip(users, parts, strict=True))
        for one in _jobs_of(plan.recorded["jobs"], part, number, begin)
    ]
    if len(users) > 1:
        run.users = [
            UserTotals(
                user, source, (ran.start_ns - begin) / 1e9, ran.wall_ns / 1e9, len(part.op), int(part.wrong.sum()),
                float(part.took.sum()) / 1e9,
            )
            for user, ((_, ran), part, source) in enumerate(zip(users, parts, sources, strict=True))
        ]  # fmt: skip
    run.fidelity = {
        "planned": sum(int(plan.counted.sum()) for plan, _ in users),
        "issued": sum(int((ran.result[plan.counted] > words.NOT_RUN).sum()) for plan, ran in users),
        "as_recorded": run.ops - run.errors,
        "substituted": sum(int((plan.recorded["substituted"] & plan.counted).sum()) for plan, _ in users),
    }
    return Measured(op, kind, user, lane, took, started - begin, moved, step, steps)


def _rows_of(plan: Plan, ran: Ran, null: bool) -> _Rows:
    rows = plan.rows
    at = np.flatnonzero(plan.counted & (ran.result != words.NOT_RUN))
    op, result = rows.op[at], ran.result[at]
    kind = KIND[op]
    differs = unexpected(plan, ran.result, ran.root_bytes)[at]
    moves = np.isin(kind, [_KINDS.index(one) for one in (Kind.READ, Kind.WRITE, Kind.COPY)])
    return _Rows(
        row=at,
        op=op,
        kind=kind,
        lane=np.repeat(np.arange(plan.lanes), np.diff(plan.lane_begin))[at],
        took=ran.took[at] * (not null),
        started=ran.started[at],
        bytes=np.where(moves & (not null), np.maximum(result, 0), 0),
        step=plan.recorded["step"][at],
        job=plan.recorded["job"][at],
        differs=differs,
        wrong=differs if ran.wrong_blocks is None else differs | (ran.wrong_blocks[at] > 0),
        recorded=-np.minimum(rows.expect[at], 0),
        replayed=-np.minimum(result, 0),
    )


def _jobs_of(labels: list[tuple[str, ...]], part: _Rows, replayer: int, begin: int) -> list[JobTotals]:
    """What each job of one user did."""
    found = []
    order = np.argsort(part.job, kind="stable")
    bounds = np.searchsorted(part.job[order], np.arange(len(labels) + 1))
    reads = np.isin(part.kind, [_KINDS.index(one) for one in _DATA_IN])
    writes = np.isin(part.kind, [_KINDS.index(one) for one in _DATA_OUT])
    for number, label in enumerate(labels):
        of = order[bounds[number] : bounds[number + 1]]
        if len(of):
            started, ended = part.started[of], part.started[of] + part.took[of]
            user, project, job, step, slurm_job = label
            found.append(
                JobTotals(
                    replayer, user, project, job, step, slurm_job, float(started.min() - begin) / 1e9,
                    float(ended.max() - begin) / 1e9, len(of), int(part.wrong[of].sum()),
                    int(part.bytes[of][reads[of]].sum()), int(part.bytes[of][writes[of]].sum()),
                    float(part.took[of].sum()) / 1e9,
                )
            )  # fmt: skip
    return sorted(found, key=lambda one: one.start_s)


def _steps_of(users: Sequence[tuple[Plan, Ran]], parts: Sequence[_Rows]) -> tuple[Ids, list[str]]:
    """Steps of all users as numbers of one list."""
    steps = sorted({name for plan, _ in users for name in plan.recorded["steps"]})
    numbers = []
    for (plan, _), part in zip(users, parts, strict=True):
        own = np.array([*(steps.index(name) for name in plan.recorded["steps"]), -1])
        numbers.append(own[part.step])
    return np.concatenate(numbers), steps


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


def _errors(
    users: Sequence[tuple[Plan, Ran]], user: Ints, row: Ints, op: Any, recorded: Ints, replayed: Ints
) -> list[ErrorCount]:  # fmt: skip
    if len(op) == 0:
        return []
    keys, first, counts = np.unique(
        np.stack([op.astype(np.int64), recorded, replayed], axis=1), axis=0, return_index=True, return_counts=True
    )
    ranked = np.argsort(-counts, kind="stable")
    example = dict.fromkeys(ranked.tolist(), "")
    # a trace is read once for all names of its users
    for plan in {id(plan): plan for plan, _ in users}.values():
        mine = [kind for kind in ranked[:NAMED_MAX].tolist() if users[user[first[kind]]][0] is plan]
        if mine:
            names = plan.recorded.about(row[first[mine]].tolist())
            example |= {kind: name for kind, (name, _) in zip(mine, names, strict=True)}
    found = [
        ErrorCount(OPERATIONS[number].name, was, now, int(counts[kind]), example[kind])
        for kind, (number, was, now) in enumerate(keys.tolist())
    ]
    return sorted(found, key=lambda one: (-one.calls, one.op))


def tables_of(runs: list[Run], measured: list[Measured]) -> tuple[pa.Table, pa.Table]:
    """The tables histograms and intervals of a result."""
    histograms: list[pa.Table] = []
    intervals: list[pa.Table] = []
    for run, one in zip(runs, measured, strict=True):
        histograms.append(_histograms(run, one))
        intervals.append(_intervals(run, one))
    return pa.concat_tables(histograms), pa.concat_tables(intervals)


def _histograms(run: Run, one: Measured) -> pa.Table:
    bucket = histogram.bucket_of(one.took)
    lanes, steps = int(one.lane.max(initial=0)) + 1, len(one.steps) + 1
    group = (one.user * lanes + one.lane) * steps + one.step + 1
    key = (group * len(OPERATIONS) + one.op) * histogram.BUCKETS + bucket
    keys, counts = np.unique(key, return_counts=True)
    bucket, rest = keys % histogram.BUCKETS, keys // histogram.BUCKETS
    op, group = rest % len(OPERATIONS), rest // len(OPERATIONS)
    step, group = group % steps, group // steps
    labels = np.array([None, *one.steps], dtype=object)
    n = len(keys)
    names = np.array([operation.name for operation in OPERATIONS], dtype=object)
    kinds = np.array([operation.kind.value for operation in OPERATIONS], dtype=object)
    columns = [
        np.full(n, run.run), [run.fs] * n, group // lanes, group % lanes, labels[step], names[op], kinds[op], bucket,
        counts,
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

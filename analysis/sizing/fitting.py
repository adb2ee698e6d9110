"""A storage of the model from replays of it: results at several numbers of users in, limits and latencies out.

What one user's replay asks for (operations, bytes, think time) is known from its result; how long calls took with one
user tells latencies and streams, with many users the limits of the whole. Least squares of logarithms, over the
makespans and the times inside metadata operations, reads and writes. All replays run on one node: its own limits and
those of the storage are one figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from iotrace.analysis.sizing.demand import Floats, is_metadata
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.analysis.sizing.simulation import Unsettled
from iotrace.errors import UsageError
from iotrace.replay.result import Result, Run, open_result
from iotrace.trace.operations import BY_NAME, Kind

FITTED: Final = (
    r.META_LATENCY, r.METADATA, r.READ_LATENCY, r.STREAM_READ, r.DISK_READ, r.WRITE_LATENCY, r.STREAM_WRITE,
    r.TOTAL_WRITE, r.OPERATIONS,
)  # fmt: skip
_LATENCIES: Final = (r.META_LATENCY, r.READ_LATENCY, r.WRITE_LATENCY)
_LEAST: Final = 1e-3
"""A class of calls that takes a smaller share of the time inside calls tells nothing."""
_SPAN: Final = np.log(1e5)
_BEGINNINGS: Final = ((1.0, 1.0, 1.0), (0.7, 3.0, 3.0), (3.0, 0.7, 1.0), (1.0, 1.0, 0.3))
"""What streams, the whole, and rates of operations are at first, as factors of what was seen."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one user of a replay does: `row` as a phase of kernels.rates, one item for each of its workers.

    `calls` of one user, as a text: two results of a `source` replay the same work when it is equal. reads: how many
    of its data operations read.
    """

    source: str
    calls: str
    row: Floats
    reads: float


@dataclass(frozen=True, slots=True)
class Point:
    """A replay by several users: measured makespan, and time of one user's metadata calls, reads, writes; s."""

    work: Work
    users: int
    wall_s: float
    classes_s: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Fitted:
    """row: the storage as kernels.rates wants it, unlimited in what was not fitted. points and modelled makespans.

    unseen: what no replay tells, in words.
    """

    row: Floats
    points: list[Point]
    modelled_s: list[float]
    unseen: list[str]

    @property
    def errors(self) -> list[float]:
        """Of the makespans, in percent of the measured ones."""
        return [100 * (value / point.wall_s - 1) for value, point in zip(self.modelled_s, self.points, strict=True)]


def points_of(folders: Sequence[Path]) -> list[Point]:
    """The replays of results, one point for each; repeats are medians.

    Raises
    ------
    UsageError: a result has several mounts, mixes traces, or did no I/O; there is one number of users only.
    """
    results = [open_result(folder) for folder in folders]
    works: dict[tuple[str, str], Work] = {}
    points = []
    # with few users there is least waiting, so that how many threads are at it is seen best
    for result, folder in sorted(zip(results, folders, strict=True), key=lambda one: _users(one[0])):
        points.append(_point(result, folder, works))
    if len({point.users for point in points}) < 2:
        raise UsageError(
            "--fit: all results have the same number of users, which tells latencies and no limits: "
            "replay with --users 1, 2, 4, …, and give each with --fit."
        )
    return points


def _users(result: Result) -> int:
    return int(result.info.options.get("users", 1) or 1)


def _point(result: Result, folder: Path, works: dict[tuple[str, str], Work]) -> Point:
    runs = result.info.runs
    if len({run.fs for run in runs}) != 1:
        raise UsageError(f"--fit {folder}: a result of one mount; this one has {len({run.fs for run in runs})}.")
    if result.info.options.get("null"):
        raise UsageError(f"--fit {folder}: a replay with --null says nothing about a storage.")
    if len({user.source for user in runs[0].users}) > 1:
        raise UsageError(f"--fit {folder}: its users replay different traces: fit with one trace, predict the mix.")
    users = _users(result)
    run = sorted(runs, key=lambda one: one.wall_s)[(len(runs) - 1) // 2]
    if not run.io_s > 0 or not run.wall_s > 0:
        raise UsageError(f"--fit {folder}: no time was spent inside calls.")
    think = result.info.without_io.makespan_s if result.info.without_io else 0.0
    key = result.info.source, _asked(run, users)
    if key not in works:
        reads = sum(total.calls for name, total in run.by_op.items() if _class_of(name) == "read") / users
        works[key] = Work(*key, work_row(run, users, think), reads)
    work = works[key]
    times = dict.fromkeys(("metadata", "read", "write"), 0.0)
    for name, total in run.by_op.items():
        times[_class_of(name)] += total.time_s / users
    return Point(work, users, run.wall_s, (times["metadata"], times["read"], times["write"]))


def _asked(run: Run, users: int) -> str:
    """Calls of one user, by operation, as a text that is the same for the same work."""
    return " ".join(f"{name}:{total.calls // users}" for name, total in sorted(run.by_op.items()))


def _class_of(name: str) -> str:
    kind = BY_NAME[name].kind
    if kind in (Kind.READ, Kind.COPY) or name == "mmap.fault":
        return "read"
    return "write" if kind in (Kind.WRITE, Kind.SYNC) else "metadata"


def work_row(run: Run, users: int, think_s: float) -> Floats:
    """What one user asks for, by the same rules as the recipes: a latency for each random read and each file read.

    How many threads are at it together is the time inside calls over the time that is not thinking.
    """
    calls: Mapping[str, float] = {name: total.calls / users for name, total in run.by_op.items()}
    moved = {name: total.bytes / users for name, total in run.by_op.items()}
    workers = max(1.0, run.io_s / users / max(run.wall_s - think_s, 1e-9)) if think_s < 0.5 * run.wall_s else 1.0
    row = np.zeros(r.PHASE_FIELDS)
    opens = sum(calls.get(name, 0.0) for name in ("open", "openat"))
    reads = sum(count for name, count in calls.items() if _class_of(name) == "read")
    scattered = min(reads, sum(calls.get(name, 0.0) for name in ("pread64", "lseek")))
    row[r.WORKERS], row[r.ITEMS], row[r.THINK] = workers, workers, think_s
    row[r.META] = sum(count for name, count in calls.items() if is_metadata(name)) / workers
    row[r.LATENT_READS] = (scattered + min(opens, reads)) / workers
    row[r.LATENT_WRITES] = sum(calls.get(name, 0.0) for name in ("fsync", "fdatasync")) / workers
    row[r.DATA_OPS] = sum(count for name, count in calls.items() if _class_of(name) != "metadata") / workers
    row[r.READ] = row[r.READ_DISK] = sum(size for name, size in moved.items() if _class_of(name) == "read") / workers
    row[r.WRITE] = sum(size for name, size in moved.items() if BY_NAME[name].kind is Kind.WRITE) / workers
    return row


def ends_s(storage: Floats, works: Sequence[Work], users: Sequence[int]) -> tuple[list[float], Floats]:
    """When the users of each work end who all begin together, in s, and the parts of the first moment's items.

    Raises
    ------
    Unsettled: the rates did not come to rest.
    """
    phase = np.array([work.row for work in works])
    jobs, left = np.array(users, np.float64), phase[:, r.ITEMS].copy()
    state, parts, ends, now = r.fresh_state(phase), np.zeros((len(works), r.PARTS)), [0.0] * len(works), 0.0
    first: Floats | None = None
    while jobs.any():
        if not r.solve(jobs, phase, storage, state, parts):
            raise Unsettled("the model found no rates for these replays: please report the figures.")
        first = parts.copy() if first is None else first
        took = min(float(left[k] / state[k, 0]) for k in np.flatnonzero(jobs))
        now += took
        for k in np.flatnonzero(jobs):
            left[k] -= took * state[k, 0]
            if left[k] <= 1e-9 * phase[k, r.ITEMS]:
                jobs[k], ends[k] = 0.0, now
    return ends, parts if first is None else first


def modelled(storage: Floats, point: Point) -> tuple[float, tuple[float, float, float]]:
    """Makespan of a replay, and time of one user's calls by class, s."""
    (end,), parts = ends_s(storage, [point.work], [point.users])
    row, part = point.work.row, parts[0] * point.work.row[r.WORKERS]
    read_way = row[r.LATENT_READS] * storage[r.READ_LATENCY] * row[r.WORKERS]
    # the queue of operations is of reads and writes alike
    queue, operations = part[r.DATA_QUEUE], row[r.DATA_OPS]
    reading = point.work.reads / row[r.WORKERS] / operations if operations else 0.0
    read = read_way + reading * queue + part[r.READ_BY_STREAM : r.READ_BY_STORAGE + 1].sum()
    write = (
        part[r.DATA_WAY]
        - read_way
        + (1 - reading) * queue
        + part[r.WRITE_BY_STREAM]
        + part[r.WRITE_BY_CLIENT]
        + part[r.WRITE_BY_STORAGE]
    )
    return end, (float(part[r.META_WAY] + part[r.META_QUEUE]), float(read), float(write))


def fit(points: Sequence[Point]) -> Fitted:
    """The storage that explains these replays best.

    Raises
    ------
    Unsettled: the rates did not come to rest.
    """
    from scipy.optimize import least_squares

    start = _start(points)
    seen = [column for column in FITTED if np.isfinite(start[column]) and start[column] > 0]
    first = np.log(start[seen])

    def storage_of(logs: Floats) -> Floats:
        row = start.copy()
        row[seen] = np.exp(logs)
        return row

    def apart(logs: Floats) -> Floats:
        row, found = storage_of(logs), []
        for point in points:
            wall, classes = modelled(row, point)
            found.append(np.log(wall / point.wall_s))
            inside = sum(point.classes_s)
            for mine, theirs in zip(classes, point.classes_s, strict=True):
                if theirs > _LEAST * inside and mine > 0:
                    found.append(np.log(mine / theirs) * np.sqrt(theirs / inside))
        # what no replay comes near stays where it began
        return np.array([*found, *(1e-3 * (logs - first))])

    # where one limit hides another the sum of squares is flat: several beginnings, of which the best end counts
    columns, ends = np.array(seen), []
    for stream, whole, queue in _BEGINNINGS:
        begin = first.copy()
        begin[np.isin(columns, (r.STREAM_READ, r.STREAM_WRITE))] += np.log(stream)
        begin[np.isin(columns, (r.DISK_READ, r.TOTAL_WRITE))] += np.log(whole)
        begin[np.isin(columns, (r.METADATA, r.OPERATIONS))] += np.log(queue)
        ends.append(least_squares(apart, begin, bounds=(first - _SPAN, first + _SPAN), x_scale=0.3, max_nfev=60))
    best = min(ends, key=lambda end: end.cost)
    row = storage_of(best.x)
    walls = [modelled(row, point)[0] for point in points]
    return Fitted(row, list(points), walls, _unseen(points))


def _start(points: Sequence[Point]) -> Floats:
    """Where the search begins: latencies and streams of the fewest users, limits of the best that was seen."""
    row = np.full(r.STORAGE_FIELDS, np.inf)
    row[[r.READ_LATENCY, r.WRITE_LATENCY, r.META_LATENCY]] = 0.0
    fewest = min(point.users for point in points)
    few = [point for point in points if point.users == fewest]
    for column, own in ((r.META, 0), (r.READ, 1), (r.WRITE, 2)):
        amount = sum(point.work.row[column] * point.work.row[r.WORKERS] for point in few)
        seconds = sum(point.classes_s[own] for point in few)
        if not amount or not seconds:
            continue
        most = max(point.users * point.work.row[column] * point.work.row[r.WORKERS] / point.wall_s for point in points)
        if column == r.META:
            row[r.META_LATENCY], row[r.METADATA] = 0.5 * seconds / amount, 2 * max(most, amount / seconds)
            continue
        stream, total = (r.STREAM_READ, r.DISK_READ) if column == r.READ else (r.STREAM_WRITE, r.TOTAL_WRITE)
        row[stream], row[total] = 1.5 * amount / seconds, 1.5 * max(most, amount / seconds)
        latent = r.LATENT_READS if column == r.READ else r.LATENT_WRITES
        waits = sum(point.work.row[latent] * point.work.row[r.WORKERS] for point in few)
        if waits:
            row[r.READ_LATENCY if column == r.READ else r.WRITE_LATENCY] = 0.2 * seconds / waits
    rate = max(point.users * point.work.row[r.DATA_OPS] * point.work.row[r.WORKERS] / point.wall_s for point in points)
    if rate:
        row[r.OPERATIONS] = 4 * rate
    return row


def _unseen(points: Sequence[Point]) -> list[str]:
    found = []
    for name, column in (("metadata operations", r.META), ("reads", r.READ), ("writes", r.WRITE)):
        if not any(point.work.row[column] for point in points):
            found.append(f"no replay did {name}")
    most = max(points, key=lambda point: point.users)
    fewer = [point for point in points if point.work is most.work and point.users < most.users]
    if fewer and most.wall_s < 1.2 * max(fewer, key=lambda point: point.users).wall_s:
        found.append(f"{most.users} users were hardly slower than fewer: the limits of the whole lie beyond")
    return found

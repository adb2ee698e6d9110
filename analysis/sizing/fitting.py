"""A storage of the model from replays of it: results at several numbers of users in, limits and latencies out.

What one user's replay asks for (operations, bytes, think time) is known from its result; how long calls took with one
user tells latencies and streams, with many users the limits of the whole. Least squares of logarithms, over the
makespans and the times inside metadata operations, reads and writes. All replays run on one node: its own limits and
those of the storage are one figure, but for its processors, whose work is counted beside each run and is no part of
the storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from iotrace.analysis.sizing.demand import Floats
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.analysis.sizing.replays import Point, Work
from iotrace.analysis.sizing.simulation import Unsettled

FITTED: Final = (
    r.META_LATENCY, r.METADATA, r.READ_LATENCY, r.STREAM_READ, r.DISK_READ, r.WRITE_LATENCY, r.STREAM_WRITE,
    r.TOTAL_WRITE, r.OPERATIONS,
)  # fmt: skip
_LATENCIES: Final = (r.META_LATENCY, r.READ_LATENCY, r.WRITE_LATENCY)
_LEAST: Final = 1e-3
"""A class of calls that takes a smaller share of the time inside calls tells nothing."""
_SPAN: Final = np.log(1e5)
_KEEPING: Final = 1e-3
_OTHERS: Final = 1e-2
_ALIKE: Final = 5e-2
"""How strongly figures stay where they began; that all that the processors did was done for the replays, more so; and
that metadata operations are alike whatever work they belong to."""
_WALLS: Final = 2.0
"""What a makespan counts beside all times inside calls of a replay."""
_NEAR: Final = 0.3
_BEYOND: Final = 10.0
"""A rate of operations is at first so many times what was seen: without a queue nothing says where it ends."""
_BEGINNINGS: Final = ((1.0, 1.0, 1.0), (0.7, 3.0, 0.3), (3.0, 0.7, 0.1), (1.0, 1.0, 0.2))
"""What streams, the whole, and rates of operations are at first, as factors of what was seen."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """row: the storage as kernels.rates wants it, unlimited in what was not fitted, and the processors of the machine
    that the replays ran on. points and modelled makespans.

    share: of the processors' time that was counted beside the replays, theirs.
    factors: of each work by source, how much dearer its metadata operations are than the mean of all works; the works
    of `points` ask for so many more.
    unseen: what no replay tells, in words.
    """

    row: Floats
    points: list[Point]
    modelled_s: list[float]
    share: float
    factors: dict[str, float]
    unseen: list[str]

    @property
    def errors(self) -> list[float]:
        """Of the makespans, in percent of the measured ones."""
        return [100 * (value / point.wall_s - 1) for value, point in zip(self.modelled_s, self.points, strict=True)]


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
    reading = row[r.READS] / operations if operations else 0.0
    read = read_way + reading * queue + part[r.READ_BY_STREAM : r.READ_BY_STORAGE + 1].sum()
    # whose calls the processors worked for nobody counted
    inside = sum(point.classes_s)
    own, mine, theirs = (part[r.PROCESSING] * seconds / inside if inside else 0.0 for seconds in point.classes_s)
    write = (
        part[r.DATA_WAY]
        - read_way
        + (1 - reading) * queue
        + part[r.WRITE_BY_STREAM]
        + part[r.WRITE_BY_CLIENT]
        + part[r.WRITE_BY_STORAGE]
    )
    return end, (float(part[r.META_WAY] + part[r.META_QUEUE] + own), float(read + mine), float(write + theirs))


def fit(points: Sequence[Point]) -> Fitted:
    """The storage that explains these replays best.

    Raises
    ------
    Unsettled: the rates did not come to rest.
    """
    from scipy.optimize import least_squares

    start = _start(points)
    seen = [column for column in FITTED if np.isfinite(start[column]) and start[column] > 0]
    works = list({id(point.work): point.work for point in points}.values())
    storage = len(seen)
    # then the share of the processors, and the factor of each work's metadata: to make a file is not to open one
    first = np.concatenate([np.log(start[seen]), np.zeros(1 + len(works))])

    def factors_of(logs: Floats) -> Floats:
        return np.asarray(np.exp(logs[storage + 1 :] - logs[storage + 1 :].mean()))

    def storage_of(logs: Floats, sharing: float) -> Floats:
        row = start.copy()
        row[seen], row[r.SHARING], row[r.DEVICES] = np.exp(logs[:storage]), sharing, 1.0
        return row

    def asked(logs: Floats) -> list[Point]:
        share = float(np.exp(logs[storage]))
        own = {id(work): _with(work, share, factor) for work, factor in zip(works, factors_of(logs), strict=True)}
        return [replace(point, work=own[id(point.work)]) for point in points]

    def apart(logs: Floats, sharing: float) -> Floats:
        row, found = storage_of(logs, sharing), []
        for point in asked(logs):
            wall, classes = modelled(row, point)
            found.append(_WALLS * np.log(wall / point.wall_s))
            inside = sum(point.classes_s)
            for mine, theirs in zip(classes, point.classes_s, strict=True):
                if theirs > _LEAST * inside and mine > 0:
                    found.append(np.log(mine / theirs) * np.sqrt(theirs / inside))
        # what no replay comes near stays where it began
        return np.array([*found, *(keeping * (logs - first))])

    keeping = np.concatenate([np.full(storage, _KEEPING), [_OTHERS], np.full(len(works), _ALIKE)])
    # which requests get more than others no single work tells; a device takes them in turn, a service has many hands
    sharings = (r.APART, r.TOGETHER, *([r.IN_TURN] if all(point.local for point in points) else []))
    # where one limit hides another the sum of squares is flat: several beginnings, of which the best end counts
    columns, ends = np.array(seen), []
    low, high = first - _SPAN, first + _SPAN
    high[storage] = 1e-9
    for stream, whole, queue in _BEGINNINGS:
        begin = first.copy()
        for chosen, factor in (
            ((r.STREAM_READ, r.STREAM_WRITE), stream), ((r.DISK_READ, r.TOTAL_WRITE), whole),
            ((r.METADATA, r.OPERATIONS), queue),
        ):  # fmt: skip
            begin[:storage][np.isin(columns, chosen)] += np.log(factor)
        for sharing in sharings:
            end = least_squares(apart, begin, bounds=(low, high), x_scale=0.3, max_nfev=60, args=(sharing,))
            ends.append((end.cost, sharing, end.x))
    _, sharing, best = min(ends, key=lambda end: end[0])
    row, own = storage_of(best, sharing), asked(best)
    factors = {work.source: factor for work, factor in zip(works, factors_of(best).tolist(), strict=True)}
    return Fitted(
        row, own, [modelled(row, point)[0] for point in own], float(np.exp(best[storage])), factors,
        _unseen(own, row),
    )  # fmt: skip


def _with(work: Work, share: float, factor: float) -> Work:
    """A work that asks for a share of the processors' time, and for so many times the metadata operations."""
    row = work.row.copy()
    row[r.PROCESSOR] *= share
    row[r.META] *= factor
    return replace(work, row=row)


def _start(points: Sequence[Point]) -> Floats:
    """Where the search begins: latencies and streams of the fewest users, limits of the best that was seen."""
    row = np.full(r.STORAGE_FIELDS, np.inf)
    row[[r.READ_LATENCY, r.WRITE_LATENCY, r.META_LATENCY]] = 0.0
    row[r.PROCESSORS] = points[0].processors
    fewest = min(point.users for point in points)
    few = [point for point in points if point.users == fewest]
    for column, own in ((r.META, 0), (r.READ, 1), (r.WRITE, 2)):
        amount = sum(point.work.row[column] * point.work.row[r.WORKERS] for point in few)
        seconds = sum(point.classes_s[own] for point in few)
        if not amount or not seconds:
            continue
        most = max(point.users * point.work.row[column] * point.work.row[r.WORKERS] / point.wall_s for point in points)
        if column == r.META:
            row[r.META_LATENCY], row[r.METADATA] = 0.9 * seconds / amount, _BEYOND * max(most, amount / seconds)
            continue
        stream, total = (r.STREAM_READ, r.DISK_READ) if column == r.READ else (r.STREAM_WRITE, r.TOTAL_WRITE)
        row[stream], row[total] = 1.5 * amount / seconds, 1.5 * max(most, amount / seconds)
        latent = r.LATENT_READS if column == r.READ else r.LATENT_WRITES
        waits = sum(point.work.row[latent] * point.work.row[r.WORKERS] for point in few)
        if waits:
            row[r.READ_LATENCY if column == r.READ else r.WRITE_LATENCY] = 0.2 * seconds / waits
    rate = max(point.users * point.work.row[r.DATA_OPS] * point.work.row[r.WORKERS] / point.wall_s for point in points)
    if rate:
        row[r.OPERATIONS] = _BEYOND * rate
    return row


def _unseen(points: Sequence[Point], row: Floats) -> list[str]:
    """What no replay tells, and limits of the whole that none came near."""
    found = []
    for name, column in (("metadata operations", r.META), ("reads", r.READ), ("writes", r.WRITE)):
        if not any(point.work.row[column] for point in points):
            found.append(f"no replay did {name}")
    if not any(point.work.row[r.LATENT_WRITES] for point in points):
        found.append("no replay waited for a sync: write_latency_us, which is that of syncs, is not known")
    for name, column, limit in (
        ("metadata operations", r.META, r.METADATA), ("operations", r.DATA_OPS, r.OPERATIONS),
        ("bytes read", r.READ_DISK, r.DISK_READ), ("bytes written", r.WRITE, r.TOTAL_WRITE),
    ):  # fmt: skip
        most = max(point.users * point.work.row[column] * point.work.row[r.WORKERS] / point.wall_s for point in points)
        if most and most < _NEAR * row[limit]:
            found.append(f"of {name} at most {most / row[limit]:.0%} of the limit were asked for: it is a guess")
    return found

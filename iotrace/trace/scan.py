"""One pass over a trace's events: the sums and histograms that the tables of a large trace are made of.

Takes Tables (for names, mounts and labels), streams batches through the kernels of iotrace.trace.kernels.scanning, and
keeps a row for each operation, process, thread and file, never an event. What each figure means is said in
iotrace.trace.tables; here too "went on where the one before ended" is told in the order of completion. Reading, the
figures by operation and those by row each have a thread, a batch apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from iotrace.histogram import BUCKETS
from iotrace.trace.arrays import Array, EventArrays
from iotrace.trace.kernels import scanning
from iotrace.trace.kernels.scanning import FIGURES, FIRST, LAST
from iotrace.trace.operations import BY_NAME, Kind
from iotrace.trace.schema import BYTES_READ, BYTES_WRITTEN, NULL

if TYPE_CHECKING:
    from iotrace.trace.tables import Tables

KINDS: Final = (*(str(kind) for kind in Kind), "unknown")
_COPY: Final = KINDS.index(Kind.COPY)
MOST_ROWS: Final = 1 << 22
"""Files, paths, processes or threads up to which a row is kept for each (88 bytes)."""
MOST_GROUPS: Final = 1000
"""Jobs and the like up to which a histogram is kept for each (90 kB)."""
_OPS: Final = 256
_OPEN: Final = 1 << 21
_BY_OPERATION: Final = (
    "time_ns", "duration_ns", "op", "file", "other_file", "open", "offset", "size", "result",
)  # fmt: skip
_BY_ROW: Final = (
    "time_ns", "duration_ns", "process", "thread", "op", "path", "file", "other_path", "other_file", "size", "result",
)  # fmt: skip
GROUP_SQL: Final = """
select process, project, job, step, "user",
       case when coalesce(step, job) is null then coalesce(nullif(command, ''), 'process ' || process) end as command
from processes order by process
"""


class Unscannable(Exception):
    """The trace has more rows than are kept, or numbers outside its tables: DuckDB has to look."""


class Histograms:
    """Latencies and sizes by row: counts (rows, BUCKETS), and the smallest size in each bucket."""

    def __init__(self, rows: int) -> None:
        self.latency = np.zeros((rows, BUCKETS), np.int64)
        self.sizes = np.zeros((rows, BUCKETS), np.int64)
        self.smallest = np.zeros((rows, BUCKETS), np.int64)

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        """As the kernels take them."""
        return self.latency, self.sizes, self.smallest

    def latency_counts(self) -> pd.DataFrame:
        """Columns key (number of the row), bucket, n."""
        row, bucket = np.nonzero(self.latency)
        return pd.DataFrame({"key": row, "bucket": bucket, "n": self.latency[row, bucket]})

    def size_counts(self) -> pd.DataFrame:
        """Columns key (number of the row), bucket, n, smallest."""
        row, bucket = np.nonzero(self.sizes)
        return pd.DataFrame(
            {"key": row, "bucket": bucket, "n": self.sizes[row, bucket], "smallest": self.smallest[row, bucket]}
        )


class Scan:
    """What one pass gives.

    Parameters
    ----------
    tables: of a trace with events, open. slices, width_ns: equal slices of the recording for the timeline.
    rows: figures by process, thread, file and mount too; without them those, the groups and `pairs` stay empty.

    Attributes
    ----------
    by_op, by_process, by_thread, by_subject, by_mount: FIGURES of each row, (rows, len(FIGURES)). Subjects are the
    files, then the paths without one, then none; the last row of by_mount is that of no known mount.
    op_histograms, group_histograms, mount_histograms: Histograms by op, by row of groups, by mount.
    ops: names of the rows by op. groups: frame of project, job, step, user, command, a row each.
    has_rows: whether those by row are there. pairs: calls and ns by group and op. timeline: calls, bytes read and
    written by slice and kind. end_ns: last known.

    Raises
    ------
    Unscannable: see there. TraceError: a part of the trace is damaged.
    """

    def __init__(self, tables: Tables, slices: int, width_ns: int, rows: bool = True) -> None:
        self._tables = tables
        self.has_rows = rows
        self._events = EventArrays(tables.trace)
        self.ops = self._events.ops
        self._classes = np.empty(0, np.int64), np.empty(0, np.bool_), np.empty(0, np.bool_)
        self.by_op, self.op_histograms = _figures(_OPS), Histograms(_OPS)
        self.timeline = np.zeros((slices, len(KINDS), 3), np.int64)
        if rows:
            self._look_up()
            mounts = len(tables.trace.info.mounts) + 1
            self.by_process, self.by_thread = _figures(len(self.group_of_process)), _figures(1 << 12)
            self.by_subject, self.by_mount = _figures(self.files + self.paths + 1), _figures(mounts)
            self.mount_histograms, self.group_histograms = Histograms(mounts), Histograms(len(self.groups))
            self.pairs = np.zeros((len(self.groups), _OPS, 2), np.int64)
        self._run(width_ns)

    def _look_up(self) -> None:
        query = self._tables.query
        self.files = self._rows("file", "files")
        self.paths = self._rows("path", "paths")
        processes = self._rows("process", "processes")
        frame = query(GROUP_SQL).df()
        names = ["project", "job", "step", "user", "command"]
        frame[names] = frame[names].astype(object).where(frame[names].notna(), None)
        codes, groups = pd.factorize(pd.MultiIndex.from_frame(frame[names]), use_na_sentinel=False)
        if len(groups) >= MOST_GROUPS:
            raise Unscannable
        # what a row of processes is missing for belongs to no group
        self.groups = pd.DataFrame([*map(tuple, groups), (None,) * 5], columns=names).astype(object)
        self.groups = self.groups.where(self.groups.notna(), None)
        self.group_of_process = np.full(processes, len(groups), np.int64)
        self.group_of_process[frame["process"].to_numpy(np.int64)] = codes
        self.subject_of_path = np.arange(self.files, self.files + self.paths, dtype=np.int64)
        self.mount_of_path = np.full(self.paths, -1, np.int64)
        self.mount_of_file = np.full(self.files, -1, np.int64)
        for target, table, key, value in (
            (self.subject_of_path, "path_files", "path", "file"), (self.mount_of_path, "path_mounts", "path", "mount"),
            (self.mount_of_file, "files", "file", "mount"),
        ):  # fmt: skip
            found = query(f"select {key}, {value} from {table} where {value} is not null").fetchnumpy()
            at, to = (np.asarray(found[name], np.int64) for name in (key, value))
            most = {"file": self.files, "mount": len(self._tables.trace.info.mounts)}[value]
            if len(at) and not (at.min() >= 0 and at.max() < len(target) and to.min() >= 0 and to.max() < most):
                raise Unscannable
            target[at] = to

    def _rows(self, key: str, table: str) -> int:
        low, high = self._tables.query(
            f"select coalesce(min({key}), 0), coalesce(max({key}), -1) from {table}"
        ).fetchall()[0]
        if low < 0 or high >= MOST_ROWS:
            raise Unscannable
        return int(high) + 1

    def _run(self, width_ns: int) -> None:
        key, end = np.full(_OPEN, NULL, np.int64), np.zeros(_OPEN, np.int64)
        last = np.zeros(1, np.int64)
        names = tuple(dict.fromkeys((*_BY_OPERATION, *(_BY_ROW if self.has_rows else ()))))
        with ThreadPoolExecutor(1) as pool:
            behind = None
            for batch in self._batches(names):
                columns = dict(zip(names, batch, strict=True))
                kinds, reads, writes = self._classes
                sequence = np.empty(len(batch[0]), np.int8)
                scanning.by_operation(
                    tuple(columns[name] for name in _BY_OPERATION), kinds, _COPY, reads, writes, self.by_op,
                    self.op_histograms.arrays, self.timeline, width_ns, key, end, last, sequence,
                )  # fmt: skip
                if not self.has_rows:
                    continue
                if behind is not None and not behind.result():
                    raise Unscannable
                self._grow(int(columns["thread"].max(initial=0)))
                behind = pool.submit(
                    scanning.by_row, tuple(columns[name] for name in _BY_ROW), sequence, kinds, _COPY, reads, writes,
                    self.files, self.subject_of_path, self.mount_of_file, self.mount_of_path, self.group_of_process,
                    self.by_process, self.by_thread, self.by_subject, self.by_mount, self.group_histograms.arrays,
                    self.mount_histograms.arrays, self.pairs,
                )  # fmt: skip
            if behind is not None and not behind.result():
                raise Unscannable
        self.end_ns = int(last[0])

    def _grow(self, most: int) -> None:
        """Rows for threads up to this one."""
        if most >= MOST_ROWS:
            raise Unscannable
        if most >= len(self.by_thread):
            self.by_thread = np.concatenate([self.by_thread, _figures(2 * most + 1 - len(self.by_thread))])

    def _batches(self, names: Sequence[str]) -> Iterator[tuple[Array, ...]]:
        """As of EventArrays; `_classes` are of all operations in them."""
        for batch in self._events.batches(names):
            if len(self.ops) > _OPS:
                raise Unscannable
            if len(self.ops) > len(self._classes[0]):
                self._classify()
            yield batch

    def _classify(self) -> None:
        known = [BY_NAME.get(name) for name in self.ops]
        kinds = [KINDS.index(one.kind if one else "unknown") for one in known]
        reads = [one is not None and one.kind in BYTES_READ and one.result == "bytes" for one in known]
        writes = [one is not None and one.kind in BYTES_WRITTEN and one.result == "bytes" for one in known]
        self._classes = np.array(kinds, np.int64), np.array(reads, np.bool_), np.array(writes, np.bool_)

    def kind_of(self, op: int) -> str:
        """The class of the operation in a row."""
        return KINDS[int(self._classes[0][op])]

    def details(self, processes: Array, threads: Array, subjects: Array) -> Histograms:
        """Histograms of so many rows of each, in that order, by another pass."""
        slots, at = [], 0
        for chosen, rows in (
            (processes, len(self.by_process)), (threads, len(self.by_thread)), (subjects, len(self.by_subject))
        ):  # fmt: skip
            slot = np.full(rows, -1, np.int64)
            slot[chosen] = np.arange(at, at + len(chosen))
            slots.append(slot)
            at += len(chosen)
        found = Histograms(at)
        for columns in self._batches(("duration_ns", "process", "thread", "op", "path", "file", "size")):
            _, reads, writes = self._classes
            scanning.details(columns, reads, writes, self.files, self.subject_of_path, *slots, *found.arrays)
        return found

    def activity(self, row_of: dict[tuple[int, int], int], rows: int, slices: int, width_ns: int) -> Array:
        """Calls by slice of so many rows, (rows, slices), each of some pairs of a group and an op; another pass."""
        pair_of = np.full((len(self.groups), _OPS), -1, np.int64)
        for (group, op), row in row_of.items():
            pair_of[group, op] = row
        found = np.zeros((rows, slices), np.int64)
        for columns in self._batches(("time_ns", "process", "op")):
            scanning.activity(columns, pair_of, self.group_of_process, width_ns, found)
        return found


def _figures(rows: int) -> Array:
    found = np.zeros((rows, len(FIGURES)), np.int64)
    found[:, FIRST], found[:, LAST] = scanning.FIRST_OF_NONE, NULL
    return found


def figures_frame(figures: Array, rows: Array) -> pd.DataFrame:
    """FIGURES of these rows as a frame."""
    return pd.DataFrame({name: figures[rows, number] for number, name in enumerate(FIGURES)})

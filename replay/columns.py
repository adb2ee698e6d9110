"""A trace's tables as plain NumPy columns, checked: what the plan computes on.

Ids become dense row numbers (-1 for none or for a number that no table holds), values int64 with NONE for null,
operations their number in the operations table (-1 for a name that this version does not know). What a trace holds
may be damaged or hostile: after this module every id is within its table. A trace may be large: ids take four bytes,
the other columns come and go as they are needed, and those who compute on them do so in chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.errors import TraceError
from iotrace.replay.pieces import Column, Pieces
from iotrace.trace.operations import CALL_OF_REQUEST, NUMBER_OF, OPERATIONS
from iotrace.trace.reader import Trace
from iotrace.trace.schema import NULL
from iotrace.trace.texts import path_bytes as path_bytes

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64] | npt.NDArray[np.int32]
"""Numbers of events or rows, as wide as their origin has them."""

NONE: Final = NULL
"""A null value in a column of int64."""
NO_ID: Final = -(1 << 31)
"""A null value in a column of ids as it stands in a trace."""
SIZE_MAX: Final = 1 << 45
"""Larger sizes of buffers would not lie in the address space; the kernel moves at most 2 GiB a call anyway."""
_LIMIT: Final = 1 << 61
"""Times beyond are damage; clipped, so that differences cannot overflow."""
CHUNK_ROWS: Final = 1 << 16
CALL_OF: Final = np.arange(len(OPERATIONS) + 1, dtype=np.int16)
"""Operation → the call that does the same: another for requests to io_uring and libaio. The last entry is for -1."""
CALL_OF[[NUMBER_OF[name] for name in CALL_OF_REQUEST]] = [NUMBER_OF[call] for call in CALL_OF_REQUEST.values()]
CALL_OF[-1] = -1
_FSYNC_DATASYNC: Final = 1


class Events:
    """Events in order of completion, one NumPy array a column, each of shape (n,).

    `process`, `path`, `file`, … are rows of the other tables; `thread` and `open` are numbered densely from 0. What was
    asked of io_uring or libaio (`asynchronous`) stands in `op` as the call that does the same; `asked` is the operation
    as recorded. Columns of ids stand in memory; the others are read when they are first asked for, and again after a
    `release`. A column that is null throughout takes no memory (and cannot be written to).
    """

    time_ns: Ints
    duration_ns: Ints
    off_cpu_ns: Ints
    process: Ids
    thread: Ids
    op: npt.NDArray[np.int16]
    path: Ids
    other_path: Ids
    file: Ids
    other_file: Ids
    open: Ids
    other_open: Ids
    offset: Ints
    other_offset: Ints
    size: Ints
    count: Ints
    address: Ints
    flags: Ints
    mode: Ints
    child: Ids
    result: Ints
    ring: Ints
    batch: Ints
    asked: npt.NDArray[np.int16]
    asynchronous: Flags

    def __init__(self, count: int, read: Callable[[str], npt.NDArray[Any]], **columns: npt.NDArray[Any]) -> None:
        self._count = count
        self._read = read
        self._changed: set[str] = set()
        self.__dict__.update(columns)

    def __len__(self) -> int:
        return self._count

    def __getattr__(self, name: str) -> npt.NDArray[Any]:
        if name not in EVENT_NAMES:
            raise AttributeError(name)
        column = self.__dict__[name] = self._read(name)
        return column

    def release(self, *names: str) -> None:
        """Give back the memory of columns that are not needed for now."""
        for name in names:
            if name not in self._changed:
                self.__dict__.pop(name, None)

    def change(self, name: str, column: npt.NDArray[Any]) -> None:
        """Put another column in the place of the recorded one; it outlives a `release`."""
        self.__dict__[name] = column
        self._changed.add(name)

    def at(self, rows: slice | npt.NDArray[Any]) -> Events:
        """Some of the events; their columns are taken when they are first asked for."""
        count = len(range(*rows.indices(len(self)))) if isinstance(rows, slice) else len(rows)
        return Events(count, lambda name: getattr(self, name)[rows])

    @property
    def end_ns(self) -> Ints:
        """End of each call; of one whose end was not seen, its start."""
        return self.time_ns + np.maximum(self.duration_ns, 0)


EVENT_NAMES: Final = tuple(Events.__annotations__)
_ID_NAMES: Final = ("process", "thread", "path", "other_path", "file", "other_file", "open", "other_open", "child")


def chunks(count: int) -> Iterator[slice]:
    """Pieces of so many rows, short enough that what is computed of one stays in the processor's cache."""
    for begin in range(0, count, CHUNK_ROWS):
        yield slice(begin, min(begin + CHUNK_ROWS, count))


@dataclass(slots=True)
class Tables:
    """A whole trace as columns.

    Attributes
    ----------
    events: the events; threads, opens: how many there are.
    path_text, path_raw: text (components still joined) and raw name of each path.
    file_path: row of paths (-1 for none); file_type: "" when not known; file_existed: 1, 0, or -1 for not known;
    file_target: text of a link, "" for none; other file columns are int64 with NONE.
    process_cwd, process_umask, process_parent, process_step (label, "" for none): of each process; process_job: its
    labels LABELS, all "" where it belongs to no job; process_text: its
    command and number, for messages.
    """

    events: Events
    threads: int
    opens: int
    path_text: list[str]
    path_raw: list[bytes]
    file_path: Ids
    file_type: list[str]
    file_size: Ints
    file_mode: Ints
    file_existed: npt.NDArray[np.int8]
    file_entries: Ints
    file_target: list[str]
    file_inherited_flags: Ints
    file_inherited_offset: Ints
    process_cwd: list[str]
    process_text: list[str]
    process_umask: Ints
    process_parent: Ids
    process_step: list[str]
    process_job: list[tuple[str, ...]]

    def name_of_path(self, path: int) -> str:
        """A recorded name for people, what is not UTF-8 escaped; "" for a number that no table holds."""
        if not 0 <= path < len(self.path_text):
            return ""
        return path_bytes(self.path_text[path]).decode("utf-8", "backslashreplace")


LABELS: Final = ("user", "project", "job", "step", "slurm_job")


def load_tables(trace: Trace) -> Tables:
    """Read a trace into columns.

    Raises
    ------
    TraceError: a table cannot be read.
    """
    try:
        paths, files, processes = (trace.table(name) for name in ("paths", "files", "processes"))
        source = _Source(trace)
        path_of, path_rows = ids_and_rows(plain_ints(paths.column("path")))
        file_of, file_rows = ids_and_rows(plain_ints(files.column("file")))
        process_of, process_rows = ids_and_rows(plain_ints(processes.column("process")))
        columns = source.ids()
    except (pa.ArrowException, ValueError, IndexError) as error:
        raise TraceError(f"{trace.folder} is damaged: {str(error).splitlines()[0]}.") from None
    # the events' own processes and threads count even where a table does not hold them
    events_processes = np.union1d(process_of, _distinct(columns["process"]))
    cwd, step = ([""] * len(events_processes) for _ in range(2))
    umask = np.full(len(events_processes), NONE, np.int64)
    parent = np.full(len(events_processes), -1, np.int32)
    place = np.searchsorted(events_processes, process_of)
    for row, text in zip(place, processes.column("cwd").take(pa.array(process_rows)).to_pylist(), strict=True):
        cwd[row] = text or ""
    described = ["a process"] * len(events_processes)
    names = processes.select(["command", "pid"]).take(pa.array(process_rows)).to_pylist()
    for row, one in zip(place, names, strict=True):
        described[row] = f"{one['command'] or 'a process'} (recorded as {one['pid']})"
    job: list[tuple[str, ...]] = [("",) * len(LABELS)] * len(events_processes)
    labels = processes.select(LABELS).take(pa.array(process_rows)).to_pylist()
    for row, one in zip(place, labels, strict=True):
        step[row] = one["step"] or ""
        if one["job"]:
            job[row] = tuple(one[name] or "" for name in LABELS)
    umask[place] = plain_ints(processes.column("umask"))[process_rows]
    parent[place] = _dense(plain_ints(processes.column("parent"))[process_rows], events_processes)
    children = np.flatnonzero(columns["child"] != NO_ID)
    waits = columns["op"][children] == NUMBER_OF["wait"]
    threads = np.union1d(_distinct(columns["thread"]), _distinct(columns["child"][children[~waits]]))
    opens = np.union1d(_distinct(columns["open"]), _distinct(columns["other_open"]))
    if len(columns["child"]):
        child = columns["child"][children]
        columns["child"].fill(-1)
        columns["child"][children] = np.where(waits, _dense(child, events_processes), _dense(child, threads))
    numbers = {
        "process": events_processes, "thread": threads, "path": path_of, "other_path": path_of, "file": file_of,
        "other_file": file_of, "open": opens, "other_open": opens,
    }  # fmt: skip
    for name, values in numbers.items():
        _make_dense(columns[name], values)
    nothing = np.broadcast_to(np.int32(-1), source.count)
    columns |= {name: nothing for name in _ID_NAMES if len(columns[name]) == 0}
    columns["asked"] = columns["op"]
    columns["op"], columns["asynchronous"] = source.calls(columns["op"])
    picked = files.take(pa.array(file_rows))
    existed = picked.column("existed").to_pylist()
    return Tables(
        events=Events(source.count, source.ints, **columns),
        threads=len(threads),
        opens=len(opens),
        path_text=[text or "" for text in paths.column("text").take(pa.array(path_rows)).to_pylist()],
        path_raw=[raw or b"" for raw in paths.column("raw").take(pa.array(path_rows)).to_pylist()],
        file_path=_dense(plain_ints(picked.column("path")), path_of),
        file_type=[text or "" for text in picked.column("type").to_pylist()],
        file_size=plain_ints(picked.column("size")),
        file_mode=plain_ints(picked.column("mode")),
        file_existed=np.array([-1 if known is None else int(known) for known in existed], dtype=np.int8),
        file_entries=plain_ints(picked.column("entries")),
        file_target=[text or "" for text in picked.column("target").to_pylist()],
        file_inherited_flags=plain_ints(picked.column("inherited_flags")),
        file_inherited_offset=plain_ints(picked.column("inherited_offset")),
        process_cwd=cwd,
        process_text=described,
        process_umask=umask,
        process_parent=parent,
        process_step=step,
        process_job=job,
    )


class _Source:
    """The events of a trace, column by column; a trace that goes on is read as long as it was at first."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._first = trace.first_part()
        self._reserves = np.zeros(0, np.int64)
        self.count = -1

    def ids(self) -> dict[str, Any]:
        """The operations' numbers, and the columns of ids as they stand in the trace, NO_ID for null.

        A column that is null throughout has no rows.
        """
        names = ("op", *_ID_NAMES)
        room = self._trace.event_count()
        whole = {name: Column(np.int16 if name == "op" else np.int32, room) for name in names}
        self.count = 0
        for batch in self._trace.batches("events", names):
            for name in names:
                column = batch.column(name)
                if name == "op":
                    whole[name].put(self.count, _op_numbers(column))
                elif column.null_count < len(column):
                    whole[name].put(self.count, _raw_ids(column))
            self.count += len(batch)
        # Arrow keeps what it has freed for itself
        pa.default_memory_pool().release_unused()
        return {name: column.values(self.count) for name, column in whole.items()}

    def calls(self, op: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.int16], Flags]:
        """Operations with calls that do the same in the place of requests, and which events were requests."""
        found = Pieces()
        for rows in chunks(len(op)):
            found.add(np.flatnonzero(CALL_OF[op[rows]] != op[rows]) + rows.start)
        requests = found.whole()
        if len(requests) == 0:
            return op, np.broadcast_to(np.False_, len(op))
        call, asynchronous = op.copy(), np.zeros(len(op), np.bool_)
        call[requests] = CALL_OF[op[requests]]
        asynchronous[requests] = True
        self._reserves = requests[op[requests] == NUMBER_OF["uring.fallocate"]]
        syncs = requests[op[requests] == NUMBER_OF["uring.fsync"]]
        if len(syncs):
            data_only = np.maximum(self.ints("flags")[syncs], 0) & _FSYNC_DATASYNC != 0
            call[syncs[data_only]] = NUMBER_OF["fdatasync"]
        return call, asynchronous

    def ints(self, name: str) -> Ints:
        """A column that is no id."""
        try:
            values = self._ints(name)
            if name == "flags" and len(self._reserves):
                # fallocate has as flags what its request has as mode
                values = values if values.flags.writeable else values.copy()
                values[self._reserves] = np.maximum(self._ints("mode")[self._reserves], 0)
            return values
        except (pa.ArrowException, ValueError, IndexError) as error:
            raise TraceError(f"{self._trace.folder} is damaged: {str(error).splitlines()[0]}.") from None

    def _ints(self, name: str) -> Ints:
        empty = _bounded(name, np.array([NONE]))
        values = np.broadcast_to(empty, self.count)
        done = 0
        for batch in self._trace.batches("events", [name]):
            piece = batch.column(0)[: self.count - done]
            if piece.null_count < len(piece):
                if not values.flags.writeable:
                    values = np.empty(self.count, np.int64)
                    values[:done] = empty
                values[done : done + len(piece)] = _bounded(name, plain_ints(piece))
            elif values.flags.writeable:
                values[done : done + len(piece)] = empty
            done += len(piece)
            if done == self.count:
                break
        if done < self.count or self._trace.first_part() != self._first:
            raise TraceError(f"{self._trace.folder} changed while it was read: its recording drops old parts.")
        pa.default_memory_pool().release_unused()
        return values


def _bounded(name: str, values: Ints) -> Ints:
    """Times that no difference can overflow."""
    if name == "time_ns":
        return np.clip(values, -_LIMIT, _LIMIT)
    if name == "duration_ns":
        return np.clip(values, -1, _LIMIT)
    if name == "off_cpu_ns":
        return np.where(values == NONE, -1, np.clip(values, 0, _LIMIT))
    return values


def _op_numbers(column: pa.Array) -> npt.NDArray[np.int16]:
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    known = np.array([NUMBER_OF.get(name, -1) for name in column.dictionary.to_pylist()] + [-1], dtype=np.int16)
    index = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return known[np.where((index < 0) | (index >= len(known)), len(known) - 1, index)]


def _raw_ids(column: pa.Array) -> Ids:
    if column.null_count == len(column):
        return np.broadcast_to(np.int32(NO_ID), len(column))
    if column.type != pa.int32():
        values = plain_ints(column)
        return np.where((values <= NO_ID) | (values >= -NO_ID), NO_ID, values).astype(np.int32)
    return np.asarray(column.fill_null(NO_ID).to_numpy(zero_copy_only=False))


def plain_ints(column: Any) -> Ints:
    """A column of integers as int64, NONE where it is null."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if column.null_count:
        column = column.cast(pa.int64()).fill_null(NONE)
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)


def ids_and_rows(ids: Ints) -> tuple[Ints, Ints]:
    """Sorted distinct ids of a table, and the last row written for each."""
    values, first_from_the_end = np.unique(ids[::-1], return_index=True)
    return values, len(ids) - 1 - first_from_the_end


def _distinct(ids: Ids) -> Ints:
    """Sorted distinct ids of a column as it stands in the trace."""
    if len(ids) == 0:
        return np.zeros(0, np.int64)
    most = int(ids.max())
    if most <= 4 * len(ids) + (1 << 16):
        seen = np.zeros(max(most + 1, 0), np.bool_)
        negative = []
        for rows in chunks(len(ids)):
            piece = ids[rows]
            seen[piece[piece >= 0]] = True
            negative.append(np.unique(piece[piece < 0]))
        values = np.concatenate([np.unique(np.concatenate(negative)), np.flatnonzero(seen)])
    else:
        values = np.unique(ids)
    distinct: Ints = values[values != NO_ID].astype(np.int64)
    return distinct


def _make_dense(ids: Ids, values: Ints) -> None:
    """Put for each id its position among the sorted values, -1 where it is not there."""
    known = len(values)
    same = known > 0 and values[0] == 0 and values[-1] == known - 1
    for rows in chunks(len(ids)):
        piece = ids[rows]
        if same:
            piece[(piece < 0) | (piece >= known)] = -1
        else:
            piece[:] = _dense(piece, values)


def _dense(ids: npt.NDArray[Any], values: Ints) -> Ids:
    """Position of each id among the sorted values, -1 where it is not there."""
    if len(values) == 0:
        return np.full(len(ids), -1, np.int32)
    place = np.minimum(np.searchsorted(values, ids), len(values) - 1)
    return np.where(values[place] == ids, place, -1).astype(np.int32)


def components_of(text: str) -> list[bytes]:
    """Components of an absolute path, resolved lexically: none empty, no `.`, no `..` (at the top it stays there)."""
    result: list[bytes] = []
    for part in path_bytes(text).split(b"/"):
        if part == b"..":
            del result[-1:]
        elif part not in (b"", b"."):
            result.append(part)
    return result

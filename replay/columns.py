"""A trace's tables as plain NumPy columns, checked: what the plan computes on.

Ids become dense row numbers (-1 for none or for a number that no table holds), values int64 with NONE for null,
operations their number in the operations table (-1 for a name that this version does not know). What a trace holds
may be
damaged or hostile: after this module every id is within its table.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.errors import TraceError
from iotrace.trace.operations import CALL_OF_REQUEST, NUMBER_OF
from iotrace.trace.reader import Trace
from iotrace.trace.texts import path_bytes as path_bytes

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

NONE: Final = -(1 << 63)
"""A null value in a column of int64."""
_LIMIT: Final = 1 << 61
"""Times beyond are damage; clipped, so that differences cannot overflow."""


@dataclass(slots=True)
class Events:
    """Events in order of completion, one NumPy array a column, each of shape (n,).

    `process`, `path`, `file`, … are rows of the other tables; `thread` and `open` are numbered densely from 0. What was
    asked of io_uring or libaio (`asynchronous`) stands in `op` as the call that does the same; `asked` is the operation
    as recorded.
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

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def end_ns(self) -> Ints:
        """End of each call; of one whose end was not seen, its start."""
        return self.time_ns + np.maximum(self.duration_ns, 0)


@dataclass(slots=True)
class Tables:
    """A whole trace as columns.

    Attributes
    ----------
    events: the events; threads, opens: how many there are.
    path_text, path_raw: text (components still joined) and raw name of each path.
    file_path: row of paths (-1 for none); file_type: "" when not known; file_existed: 1, 0, or -1 for not known;
    file_target: text of a link, "" for none; other file columns are int64 with NONE.
    process_cwd, process_umask, process_parent, process_start_ns: of each process.
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
    process_umask: Ints
    process_parent: Ids


def load_tables(trace: Trace) -> Tables:
    """Read a trace into columns.

    Raises
    ------
    TraceError: a table cannot be read.
    """
    try:
        paths, files, processes = (trace.table(name) for name in ("paths", "files", "processes"))
        columns = _event_columns(trace)
    except (pa.ArrowException, ValueError, IndexError) as error:
        raise TraceError(f"{trace.folder} is damaged: {str(error).splitlines()[0]}.") from None
    path_of, path_rows = _numbering(_ints(paths.column("path")))
    file_of, file_rows = _numbering(_ints(files.column("file")))
    process_of, process_rows = _numbering(_ints(processes.column("process")))
    # the events' own processes and threads count even where a table does not hold them
    events_processes = np.union1d(process_of, columns["process"][columns["process"] != NONE])
    cwd = [""] * len(events_processes)
    umask = np.full(len(events_processes), NONE, np.int64)
    parent = np.full(len(events_processes), -1, np.int32)
    place = np.searchsorted(events_processes, process_of)
    for row, text in zip(place, processes.column("cwd").take(pa.array(process_rows)).to_pylist(), strict=True):
        cwd[row] = text or ""
    umask[place] = _ints(processes.column("umask"))[process_rows]
    parent[place] = _dense(_ints(processes.column("parent"))[process_rows], events_processes)
    wait = columns["op"] == NUMBER_OF["wait"]
    threads = np.unique(np.concatenate([columns["thread"], columns["child"][~wait]]))
    threads = threads[threads != NONE]
    opens = np.unique(np.concatenate([columns["open"], columns["other_open"]]))
    opens = opens[opens != NONE]
    child = np.where(wait, _dense(columns["child"], events_processes), _dense(columns["child"], threads))
    asked = columns["op"].astype(np.int16)
    _calls_for_requests(columns)
    events = Events(
        asked=asked,
        asynchronous=columns["op"] != asked,
        time_ns=np.clip(columns["time_ns"], -_LIMIT, _LIMIT),
        duration_ns=np.clip(columns["duration_ns"], -1, _LIMIT),
        off_cpu_ns=np.where(columns["off_cpu_ns"] == NONE, -1, np.clip(columns["off_cpu_ns"], 0, _LIMIT)),
        process=_dense(columns["process"], events_processes),
        thread=_dense(columns["thread"], threads),
        op=columns["op"].astype(np.int16),
        path=_dense(columns["path"], path_of),
        other_path=_dense(columns["other_path"], path_of),
        file=_dense(columns["file"], file_of),
        other_file=_dense(columns["other_file"], file_of),
        open=_dense(columns["open"], opens),
        other_open=_dense(columns["other_open"], opens),
        child=child.astype(np.int32),
        **{
            name: columns[name]
            for name in (
                "offset",
                "other_offset",
                "size",
                "count",
                "address",
                "flags",
                "mode",
                "result",
                "ring",
                "batch",
            )
        },
    )
    picked = files.take(pa.array(file_rows))
    existed = picked.column("existed").to_pylist()
    return Tables(
        events=events,
        threads=len(threads),
        opens=len(opens),
        path_text=[text or "" for text in paths.column("text").take(pa.array(path_rows)).to_pylist()],
        path_raw=[raw or b"" for raw in paths.column("raw").take(pa.array(path_rows)).to_pylist()],
        file_path=_dense(_ints(picked.column("path")), path_of),
        file_type=[text or "" for text in picked.column("type").to_pylist()],
        file_size=_ints(picked.column("size")),
        file_mode=_ints(picked.column("mode")),
        file_existed=np.array([-1 if known is None else int(known) for known in existed], dtype=np.int8),
        file_entries=_ints(picked.column("entries")),
        file_target=[text or "" for text in picked.column("target").to_pylist()],
        file_inherited_flags=_ints(picked.column("inherited_flags")),
        file_inherited_offset=_ints(picked.column("inherited_offset")),
        process_cwd=cwd,
        process_umask=umask,
        process_parent=parent,
    )


def _event_columns(trace: Trace) -> dict[str, Any]:
    names = [field.name for field in fields(Events) if field.name not in ("asked", "asynchronous")]
    parts: dict[str, list[Any]] = {name: [] for name in names}
    for batch in trace.batches("events", names):
        for name in names:
            column = batch.column(name)
            parts[name].append(_op_numbers(column) if name == "op" else _ints(column))
    empty = np.zeros(0, np.int64)
    return {name: np.concatenate(columns) if columns else empty for name, columns in parts.items()}


def _calls_for_requests(columns: dict[str, Any]) -> None:
    """Put the calls that do the same in the place of requests to io_uring and libaio; changes op and flags in place."""
    op = columns["op"].copy()
    for name, call in CALL_OF_REQUEST.items():
        at = op == NUMBER_OF[name]
        if not at.any():
            continue
        columns["op"][at] = NUMBER_OF[call]
        if call == "fsync":
            synced = at & (np.maximum(columns["flags"], 0) & 1 != 0)
            columns["op"][synced] = NUMBER_OF["fdatasync"]
        elif call == "fallocate":
            columns["flags"][at] = np.maximum(columns["mode"][at], 0)


def _op_numbers(column: pa.Array) -> Ints:
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    known = np.array([NUMBER_OF.get(name, -1) for name in column.dictionary.to_pylist()] + [-1], dtype=np.int64)
    index = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return known[np.where((index < 0) | (index >= len(known)), len(known) - 1, index)]


def _ints(column: Any) -> Ints:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if column.null_count:
        column = column.cast(pa.int64()).fill_null(NONE)
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)


def _numbering(ids: Ints) -> tuple[Ints, Ints]:
    """Sorted distinct ids of a table, and the last row written for each."""
    values, first_from_the_end = np.unique(ids[::-1], return_index=True)
    return values, len(ids) - 1 - first_from_the_end


def _dense(ids: Ints, values: Ints) -> Ids:
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

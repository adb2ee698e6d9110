"""The order that a replay keeps between threads, as edges from one row of the plan to another.

With `--order file` an access waits for the conflicting accesses that had ended before it began in the recording: data
of one file, by ranges of bytes (write before read, read before write, either before a truncation, and write before
write where threads write the same bytes), names (create, use, rename, remove, with all folders above that come and
go), descriptions (open, use, close, and moves of a shared position), mappings, and locks. A child begins after its
fork, and a wait ends after the child. With `--order thread` only the fork counts. Calls that overlapped in the
recording were concurrent and stay so.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.replay import access
from iotrace.replay.access import EXCLUDES, READS, WRITES, accesses, needed_accesses, stable_order
from iotrace.replay.arguments import WAITING_LOCKS
from iotrace.replay.columns import Events, Flags, Ids, Ints, Tables, chunks
from iotrace.replay.mapping import Mapping
from iotrace.replay.memory import Mappings
from iotrace.replay.named import XATTRS
from iotrace.replay.operation_sets import (
    CLOSES,
    COPIES,
    DUPS,
    FAULT,
    GETDENTS,
    HAS_FD,
    KIND,
    MEMORY,
    MMAP,
    OPENS,
    RENAMES,
    SETS_XATTRS,
    of_kind,
    one_of,
    that,
)
from iotrace.replay.pieces import Pieces
from iotrace.replay.ranges import ranged_accesses, touches_of
from iotrace.replay.scans import rows_of
from iotrace.replay.select import Reason, Selection
from iotrace.replay.status import Status
from iotrace.replay.sweeps import find_edges
from iotrace.trace.operations import NUMBER_OF, Change, Kind

_CREATE_FLAGS: Final = 0o100
_CHANGES_NAMES: Final = that(Change.MAKES, Change.REMOVES, Change.RENAMES)
_RESIZES: Final = one_of(("truncate", "ftruncate", "creat"))
_MOVES_POSITION: Final = one_of(("read", "readv", "write", "writev", "lseek"))
_SYNCS: Final = one_of(("fsync", "fdatasync", "sync_file_range"))
_LOCK_NB: Final = 4
_MAY_WAIT: Final = one_of(("wait", "fcntl.lock", "flock", "lseek"))


@dataclass(slots=True)
class Spans:
    """When each row of the plan ran in the recording: start and end (ns) and thread, arrays of shape (rows,).

    The start of a call that waited for another (a lock, the end of a child) is its end: what it waited for came before.
    So is that of a seek to the end of a file, to data or a hole, which saw the writes that ended meanwhile.
    """

    start: Ints
    end: Ints
    thread: Ids


def spans_of(tables: Tables, event: Ids, thread: Ids) -> Spans:
    """Spans of plan rows that are sorted by thread and time; `event` is each row's event."""
    events = tables.events
    start, end = np.empty(len(event), np.int64), np.empty(len(event), np.int64)
    found = Pieces()
    for rows in chunks(len(event)):
        part = event[rows]
        op = events.op[part]
        start[rows] = events.time_ns[part]
        end[rows] = start[rows] + np.maximum(events.duration_ns[part], 0)
        may = np.flatnonzero(_MAY_WAIT[op])
        if len(may):
            op, flags = op[may], events.flags[part[may]]
            waits = op == NUMBER_OF["wait"]
            waits |= (op == NUMBER_OF["fcntl.lock"]) & np.isin(flags, WAITING_LOCKS)
            waits |= (op == NUMBER_OF["flock"]) & (flags & _LOCK_NB == 0)
            waits |= (op == NUMBER_OF["lseek"]) & (flags >= os.SEEK_END)  # what they find is what is there at their end
            found.add(may[waits] + rows.start)
    waiting = found.whole()
    if len(waiting):
        after = np.minimum(waiting + 1, len(event) - 1)
        same = (after > waiting) & (thread[after] == thread[waiting])
        following = np.where(same, start[after], np.iinfo(np.int64).max)
        start[waiting] = np.maximum(start[waiting], np.minimum(end[waiting], following))
    np.maximum(start, end, out=end)
    events.release("time_ns", "duration_ns")
    return Spans(start, end, thread)


def edges_by_file(
    tables: Tables, mapping: Mapping, selection: Selection, memory: Mappings, event: Ids,
    spans: Spans, implicit: Flags,
) -> tuple[Ints, Ints]:  # fmt: skip
    """Edges (before, after), rows of the plan, for `--order file`; `event` is each row's event, shape (rows,)."""
    resource, row, level = shared_accesses(tables, mapping, selection, memory, event, spans, implicit)
    before, after = find_edges(resource, row, spans.thread, spans.start, spans.end, level)
    return before, after


def shared_accesses(
    tables: Tables, mapping: Mapping, selection: Selection, memory: Mappings, event: Ids,
    spans: Spans, implicit: Flags,
) -> tuple[Ids, Ids, npt.NDArray[np.int8]]:  # fmt: skip
    """Accesses that may conflict: resource, row and level, sorted by resource, start and row.

    Left out is what only one thread uses, what is only ever read, or only ever written at bytes that no other thread
    writes, and reads between others of the same thread for which they stand.
    """
    events = tables.events
    places = mapping.all_physical()
    files, nodes = len(tables.file_type), len(places)
    real = np.append(places, nodes)
    above_begin, above = _folders_that_change(tables, mapping, selection, real)
    # resources are numbered as iotrace.replay.access says
    sizes = [0, files, nodes + 1, tables.opens, memory.count, files, files, nodes + 1]
    bases = np.cumsum(sizes).astype(np.int64)
    users = np.full(bases[-1], -1, np.int32)
    levels, counts = np.zeros(bases[-1], np.uint8), np.zeros(bases[-1], np.int32)
    row_of = np.full(len(events), -1, np.int32)
    row_of[event] = np.arange(len(event), dtype=np.int32)
    columns = (
        row_of, events.thread, _BITS, events.op, *_thin(events.flags), events.result, *_thin(events.file),
        *_thin(events.other_file), *_thin(events.open), *_thin(events.other_open), selection.node,
        *_thin(selection.node2), *_thin(implicit), *_thin(memory.place), memory.slot, real, above_begin, above,
        _locked(events, files), bases,
    )  # fmt: skip
    none, flat = np.zeros(0, np.int32), np.zeros(0, np.int8)
    accesses(*columns, users, levels, counts, none, none, none, flat)
    # data of a file has the file's number; the last one stands for none
    ranged = np.append((users[:files] == -2) & (levels[:files] & 1 << WRITES != 0), False)
    levels[:files][ranged[:-1]] = 0
    shared = (users == -2) & (((levels & 1 << EXCLUDES) != 0) | (levels == (1 << READS | 1 << WRITES)))
    kept = int(np.count_nonzero(shared))
    number = np.where(shared, np.cumsum(shared) - 1, -1).astype(np.int32)
    count = int(counts[shared].sum())
    resource, row, level = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.int8)
    accesses(*columns, users, levels, counts, number, resource, row, level)
    if ranged.any():
        touches = touches_of(events, _BITS, ranged, row_of, Status(tables).appends)
        more, rows, level_of, count = ranged_accesses(
            touches, events.thread, row_of, tables.file_size, tables.file_existed
        )  # fmt: skip
        resource, row = np.append(resource, more + np.int32(kept)), np.append(row, rows)
        level, kept = np.append(level, level_of), kept + count
    if kept == 0:
        return none, none, flat
    by_row = np.argsort(row, kind="stable")
    resource, row, level = resource[by_row], row[by_row], level[by_row]
    needed = needed_accesses(resource, row, level, spans.thread, spans.start, spans.end, kept)
    resource, row, level = resource[needed], row[needed], level[needed]
    by_start = np.argsort(spans.start[row], kind="stable")
    order = by_start[stable_order(resource[by_start], kept)]
    return resource[order], row[order], level[order]


def _locked(events: Events, files: int) -> Flags:
    """Files on which locks are asked for, (files,)."""
    locked = np.zeros(files + 1, np.bool_)
    locked[events.file[rows_of((_BITS & access.LOCKS) != 0, events.op)]] = True
    return locked[:-1]


def _thin(column: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """A column and what to mask its index with: one value stands for a column that holds nothing else."""
    if column.strides[0] == 0:
        return column[:1].copy(), 0
    return column, -1


def _folders_that_change(tables: Tables, mapping: Mapping, selection: Selection, real: Ints) -> tuple[Ints, Ints]:
    """Of each node the folders above it that come and go, for everything beneath them uses them.

    As begins, shape (nodes + 2,), and nodes.
    """
    events, tree = tables.events, mapping.tree
    begin = np.zeros(len(tree) + 2, np.int64)
    rows = rows_of(_CHANGES_NAMES | OPENS, events.op)
    result = events.result[rows]
    changes = (result >= 0) | (result == -errno.ENOTEMPTY) | (RENAMES[events.op[rows]] & (result == -errno.EEXIST))
    rows = rows[(selection.reason[rows] == Reason.KEPT) & changes]
    opens = OPENS[events.op[rows]] & ~_CHANGES_NAMES[events.op[rows]]
    creates = (events.result[rows] >= 0) & (np.maximum(events.flags[rows], 0) & _CREATE_FLAGS != 0)
    rows = rows[~opens | creates]
    hot = np.zeros(len(tree) + 1, np.bool_)
    for column in (selection.node, selection.node2):
        hot[real[column[rows][column[rows] >= 0]]] = True
    hot[:-1] &= np.array(tree.has_children)
    hot[-1] = False
    if not hot.any():
        return begin, np.zeros(0, np.int64)
    found: list[int] = []
    is_hot, parent = hot.tolist(), tree.parent
    for one in range(len(tree)):
        at = parent[one] if one > 0 else 0
        while at > 0:
            if is_hot[at]:
                found.append(at)
            at = parent[at]
        begin[one + 1] = len(found)
    begin[-1] = len(found)
    return begin, np.array(found, np.int64)


def _bits() -> npt.NDArray[np.int32]:
    """What an operation does to which resources, for sweeps.accesses."""
    writes = of_kind(Kind.WRITE) | one_of(("fallocate",))
    reads = of_kind(Kind.READ) | COPIES | FAULT | _SYNCS
    uses = (HAS_FD | OPENS | DUPS | MMAP) & ~MEMORY
    bits = np.zeros(len(KIND), np.int32)
    for table, bit in (
        (reads & ~writes, access.READS_DATA), (writes, access.WRITES_DATA), (COPIES, access.COPIES_DATA),
        (_RESIZES, access.RESIZES), (OPENS, access.OPENS), (_CHANGES_NAMES, access.CHANGES_NAME),
        (one_of(("lseek",)), access.SEEKS), (uses, access.USES_OPEN),
        ((OPENS | CLOSES | DUPS) | _MOVES_POSITION | GETDENTS, access.CHANGES_OPEN), (MEMORY, access.NO_FOLDER),
        (COPIES | DUPS, access.CHANGES_OTHER), (MMAP | one_of(("munmap",)), access.ENDS_MAPPING),
        (of_kind(Kind.LOCK), access.LOCKS), (RENAMES, access.RENAMES),
        (CLOSES, access.CLOSES), (XATTRS & ~SETS_XATTRS, access.READS_XATTRS), (SETS_XATTRS, access.SETS_XATTRS),
    ):  # fmt: skip
        bits[table] |= bit
    return bits


_BITS: Final = _bits()


def edges_of_forks(tables: Tables, event: Ids, spans: Spans, begin_of: Ints, first_of: Ints) -> tuple[Ints, Ints]:
    """Edges from each fork to the row at which the child's thread begins.

    `begin_of` and `first_of`, shape (threads,): row where a thread begins, and its first row with an event; -1 for
    none.
    """
    events = tables.events
    forks = _rows_of_op(tables, event, "fork")
    child = events.child[event[forks]]
    known = begin_of[child] >= 0
    forks, child = forks[known], child[known]
    later = spans.start[first_of[child]] > spans.start[forks]
    return forks[later], begin_of[child[later]]


def edges_of_waits(
    tables: Tables, event: Ids, spans: Spans, end_of: Ints, last_of: Ints, process_of: Ids
) -> tuple[Ints, Ints]:
    """Edges from the end of each thread of a process to the wait that saw it end.

    `end_of`, `last_of`, shape (threads,): row where a thread ends, and its last row with an event; `process_of` its
    process.
    """
    events = tables.events
    waits = _rows_of_op(tables, event, "wait")
    threads: dict[int, list[int]] = {}
    for thread, process in enumerate(process_of.tolist()):
        if end_of[thread] >= 0:
            threads.setdefault(process, []).append(thread)
    before, after = [], []
    for row, process in zip(waits.tolist(), events.child[event[waits]].tolist(), strict=True):
        for thread in threads.get(process, ()):
            last = int(last_of[thread])
            if spans.end[last] <= spans.end[row] and spans.start[last] < spans.start[row]:
                before.append(int(end_of[thread]))
                after.append(row)
    return np.array(before, dtype=np.int64), np.array(after, dtype=np.int64)


def _rows_of_op(tables: Tables, event: Ids, name: str) -> Ints:
    """Plan rows of an operation that names a child."""
    events = tables.events
    found = Pieces()
    for rows in chunks(len(event)) if events.child.strides[0] else ():
        part = event[rows]
        at = np.flatnonzero(events.op[part] == NUMBER_OF[name])
        found.add(at[events.child[part[at]] >= 0] + rows.start)
    return found.whole()

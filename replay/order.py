"""The order that a replay keeps between threads, as edges from one row of the plan to another.

With `--order file` an access waits for the conflicting accesses that had ended before it began in the recording: data
of one file (write before read, read before write, either before a truncation), names (create, use, rename, remove,
with all folders above that come and go), descriptions (open, use, close, and moves of a shared position), mappings,
and locks. A child begins after its fork, and a wait ends after the child. With `--order thread` only the fork counts.
Calls that overlapped in the recording were concurrent and stay so.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import Flags, Ids, Ints, Tables
from iotrace.replay.mapping import Mapping
from iotrace.replay.memory import Mappings
from iotrace.replay.select import (
    CLOSES,
    COPIES,
    DUPS,
    FAULT,
    GETDENTS,
    HAS_FD,
    KIND,
    LINKS,
    MEMORY,
    MMAP,
    OPENS,
    RENAMES,
    SYMLINKS,
    Selection,
    _table,
)  # fmt: skip
from iotrace.replay.sweeps import EXCLUDES, READS, WRITES, find_edges
from iotrace.trace.operations import NUMBER_OF, Kind

_DATA, _NAME, _DESCRIPTION, _MAPPING, _LOCK = (np.int64(i) << 40 for i in range(1, 6))
_CREATE_FLAGS: Final = 0o100
_TRUNCATE_FLAGS: Final = 0o1000
_REMOVES: Final = _table(("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "creat")) | RENAMES | LINKS | SYMLINKS
_RESIZES: Final = _table(("truncate", "ftruncate", "creat"))
_MOVES_POSITION: Final = _table(("read", "readv", "write", "writev", "lseek"))
_SYNCS: Final = _table(("fsync", "fdatasync", "sync_file_range"))
_F_SETLKW, _F_OFD_SETLKW, _LOCK_NB = 7, 38, 4
_KINDS: Final = list(Kind)


@dataclass(slots=True)
class Spans:
    """When each row of the plan ran in the recording: start and end (ns) and thread, arrays of shape (rows,).

    The start of a call that waited for another (a lock, the end of a child) is its end: what it waited for came before.
    So is that of a seek to the end of a file, which saw the writes that ended meanwhile.
    """

    start: Ints
    end: Ints
    thread: Ids


def spans_of(tables: Tables, event: Ids, thread: Ids) -> Spans:
    """Spans of plan rows that are sorted by thread and time; `event` is each row's event."""
    events = tables.events
    start, end = events.time_ns[event].copy(), events.end_ns[event]
    op, flags = events.op[event], events.flags[event]
    waits = op == NUMBER_OF["wait"]
    waits |= (op == NUMBER_OF["fcntl.lock"]) & np.isin(flags, (_F_SETLKW, _F_OFD_SETLKW))
    waits |= (op == NUMBER_OF["flock"]) & (flags & _LOCK_NB == 0)
    waits |= (op == NUMBER_OF["lseek"]) & (flags == os.SEEK_END)  # the size is the one at its end
    following = np.r_[start[1:], np.iinfo(np.int64).max]
    following[:-1][thread[1:] != thread[:-1]] = np.iinfo(np.int64).max
    start[waits] = np.maximum(start, np.minimum(end, following))[waits]
    return Spans(start, np.maximum(start, end), thread)


def edges_by_file(
    tables: Tables, mapping: Mapping, selection: Selection, memory: Mappings, event: Ids,
    spans: Spans, implicit: Flags,
) -> tuple[Ints, Ints]:  # fmt: skip
    """Edges (before, after), rows of the plan, for `--order file`; `event` is each row's event, shape (rows,)."""
    parts = [
        *_data(tables, event),
        *_names(tables, mapping, selection, event),
        *_descriptions(tables, selection, event, implicit),
        *_mappings(tables, memory, event),
        *_locks(tables, event),
    ]
    resource = np.concatenate([part[0] for part in parts])
    row = np.concatenate([part[1] for part in parts])
    level = np.concatenate([np.broadcast_to(np.asarray(part[2], np.int8), part[1].shape) for part in parts])
    order = np.lexsort((row, spans.start[row], resource))
    resource, row, level = resource[order], row[order], level[order]
    shared = _several_threads(resource, spans.thread[row])
    resource, row, level = resource[shared], row[shared], level[shared]
    before, after = find_edges(resource, row, spans.thread[row], spans.start[row], spans.end[row], level)
    return before, after


def _several_threads(resource: Ints, thread: Ids) -> Flags:
    """Accesses of resources that more than one thread uses; sorted by resource."""
    if len(resource) == 0:
        return np.zeros(0, np.bool_)
    begins = np.flatnonzero(np.r_[True, resource[1:] != resource[:-1]])
    lowest, highest = np.minimum.reduceat(thread, begins), np.maximum.reduceat(thread, begins)
    return np.repeat(lowest != highest, np.diff(np.r_[begins, len(resource)]))


_Access = tuple[Ints, Ints, npt.ArrayLike]


def _data(tables: Tables, event: Ids) -> list[_Access]:
    events = tables.events
    op, kind = events.op[event], KIND[events.op[event]]
    file, other = events.file[event], events.other_file[event]
    flags = np.maximum(events.flags[event], 0)
    rows = np.arange(len(event), dtype=np.int64)
    copies = COPIES[op]
    reads = (kind == _KINDS.index(Kind.READ)) | copies | FAULT[op] | _SYNCS[op]
    reads |= (op == NUMBER_OF["lseek"]) & (flags == os.SEEK_END)
    writes = (kind == _KINDS.index(Kind.WRITE)) | _table(("fallocate",))[op]
    resizes = _RESIZES[op] | (OPENS[op] & (flags & _TRUNCATE_FLAGS != 0))
    result: list[_Access] = []
    for chosen, number, level in (
        (reads & ~writes & (file >= 0), file, READS),
        (writes & (file >= 0), file, WRITES),
        (copies & (other >= 0), other, WRITES),
        (resizes & (file >= 0), file, EXCLUDES),
    ):
        result.append((_DATA + number[chosen], rows[chosen], level))
    return result


def _names(tables: Tables, mapping: Mapping, selection: Selection, event: Ids) -> list[_Access]:
    events, tree = tables.events, mapping.tree
    op = events.op[event]
    flags = np.maximum(events.flags[event], 0)
    rows = np.arange(len(event), dtype=np.int64)
    real = np.arange(len(tree) + 1, dtype=np.int64)
    if mapping.links:
        real[:-1] = [mapping.physical(node) if node else 0 for node in range(len(tree))]
    changes = (_REMOVES[op] | (OPENS[op] & (flags & _CREATE_FLAGS != 0))) & (events.result[event] >= 0)
    first, second = selection.node[event], selection.node2[event]
    has_first, has_second = first >= 0, second >= 0
    node = real[np.concatenate([first[has_first], second[has_second]])]
    row = np.concatenate([rows[has_first], rows[has_second]])
    level = np.where(changes[row], EXCLUDES, READS).astype(np.int8)
    result: list[_Access] = [(_NAME + node, row, level)]
    # folders that come and go: everything beneath them uses them
    hot = np.zeros(len(tree) + 1, np.bool_)
    hot[node[level == EXCLUDES]] = True
    hot[:-1] &= np.array(tree.has_children)
    if hot.any():
        above: dict[int, list[int]] = {}
        for one in np.unique(node).tolist():
            chain = [ancestor for ancestor in tree.ancestors(one)[1:] if hot[ancestor]] if one > 0 else []
            if chain:
                above[one] = chain
        if above:
            longest = max(len(chain) for chain in above.values())
            for level_up in range(longest):
                ancestor = np.full(len(tree) + 1, -1, np.int64)
                for one, chain in above.items():
                    if level_up < len(chain):
                        ancestor[one] = chain[level_up]
                chosen = ancestor[node] >= 0
                result.append((_NAME + ancestor[node[chosen]], row[chosen], READS))
    return result


def _descriptions(tables: Tables, selection: Selection, event: Ids, implicit: Flags) -> list[_Access]:
    events = tables.events
    op = events.op[event]
    rows = np.arange(len(event), dtype=np.int64)
    changes = (OPENS | CLOSES | DUPS)[op] | _MOVES_POSITION[op] | GETDENTS[op] | implicit[event]
    level = np.where(changes, EXCLUDES, READS).astype(np.int8)
    uses = (events.open[event] >= 0) & (HAS_FD[op] | OPENS[op] | DUPS[op] | MMAP[op]) & ~MEMORY[op]
    dirfd = (events.open[event] >= 0) & ~uses & ~MEMORY[op]
    other = events.other_open[event] >= 0
    copies = COPIES[op] | DUPS[op]
    return [
        (_DESCRIPTION + events.open[event][uses], rows[uses], level[uses]),
        (_DESCRIPTION + events.open[event][dirfd], rows[dirfd], READS),
        (
            _DESCRIPTION + events.other_open[event][other],
            rows[other],
            np.where(copies[other], EXCLUDES, READS).astype(np.int8),
        ),
    ]


def _mappings(tables: Tables, memory: Mappings, event: Ids) -> list[_Access]:
    op = tables.events.op[event]
    rows = np.arange(len(event), dtype=np.int64)
    slot = memory.slot_at(event)
    uses = slot >= 0
    ends = MMAP[op] | _table(("munmap",))[op]
    return [(_MAPPING + slot[uses], rows[uses], np.where(ends[uses], EXCLUDES, READS).astype(np.int8))]


def _locks(tables: Tables, event: Ids) -> list[_Access]:
    events = tables.events
    op = events.op[event]
    rows = np.arange(len(event), dtype=np.int64)
    locks = (KIND[op] == _KINDS.index(Kind.LOCK)) & (events.file[event] >= 0) & (events.result[event] >= 0)
    return [(_LOCK + events.file[event][locks], rows[locks], EXCLUDES)]


def edges_of_forks(tables: Tables, event: Ids, spans: Spans, begin_of: Ints, first_of: Ints) -> tuple[Ints, Ints]:
    """Edges from each fork to the row at which the child's thread begins.

    `begin_of` and `first_of`, shape (threads,): row where a thread begins, and its first row with an event; -1 for
    none.
    """
    events = tables.events
    forks = np.flatnonzero((events.op[event] == NUMBER_OF["fork"]) & (events.child[event] >= 0))
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
    waits = np.flatnonzero((events.op[event] == NUMBER_OF["wait"]) & (events.child[event] >= 0))
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

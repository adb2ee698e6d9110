"""Accesses to files that several threads read and write, by ranges of bytes: threads that work on different parts of a
file do not wait for each other.

Such a file has three kinds of resources. The whole of it: whatever cuts it excludes everything else. Its size and all
its bytes: writes write them; what looks at all (fsync, a page fault, a seek to the end), and reads that reach beyond
the size at the start, which writes anywhere may change what they get, read them; what is appended goes where the size
says, in the order of all that write. And its chunks, of 4 KiB or more: a read or a write uses those that it touches;
where threads write the same bytes their order counts too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.compiling import compiled
from iotrace.replay import access
from iotrace.replay.access import EXCLUDES, READS, WRITES
from iotrace.replay.columns import NONE, Events, Flags, Ids, Ints
from iotrace.replay.operation_sets import FAULT, one_of
from iotrace.replay.scans import rows_of
from iotrace.replay.status import TAKES_OFFSET, at_own_position

READ: Final = 0
WRITE: Final = 1
APPENDS: Final = 2
LOOKS: Final = 3
CHANGES: Final = 4
CUTS: Final = 5

_LOOKS_AT_ALL: Final = FAULT | one_of(("fsync", "fdatasync", "sync_file_range"))
_CHANGES_ALL: Final = one_of(("fallocate",))
_O_TRUNC: Final = 0o1000
_SEEK_END: Final = 2
_SMALLEST: Final = 12
_MOST_OF_ONE: Final = 32
_FEWEST: Final = 64
"""A chunk has 1 << _SMALLEST bytes or more: so many that the largest access touches no more than about _MOST_OF_ONE,
and that there are no more than 4 to an access, or _FEWEST."""
_FAR: Final = 1 << 60


@dataclass(slots=True)
class Touches:
    """What calls do to files, arrays of shape (n,): number of the file and of the event, first byte and the one behind
    the last, and what: READ, WRITE, APPENDS, LOOKS (at size and all bytes), CHANGES (bytes not known), CUTS."""

    file: Ints
    event: Ints
    begin: Ints
    end: Ints
    does: Ints


def touches_of(
    events: Events, bits: npt.NDArray[np.int32], files: Flags, row_of: Ids, appending: Callable[[Ints], Flags]
) -> Touches:
    """What the rows of a plan do to some files.

    Parameters
    ----------
    bits: what each operation does, as for access.accesses; files: those that count, (files + 1,).
    row_of: each event's row, -1 for none. appending: which of some rows, if they write, do so at the end.
    """
    touching = access.READS_DATA | access.WRITES_DATA | access.COPIES_DATA | access.RESIZES
    rows = rows_of((bits & (touching | access.OPENS | access.SEEKS)) != 0, events.op)
    rows = rows[(row_of[rows] >= 0) & (files[events.file[rows]] | files[events.other_file[rows]])]
    op, does = events.op[rows], bits[events.op[rows]]
    flags, result = np.maximum(events.flags[rows], 0), events.result[rows]
    moved = np.clip(np.maximum(events.size[rows], result), 0, _FAR)
    moved[(events.size[rows] == NONE) & (result < 0)] = NONE
    here, there = events.offset[rows], events.other_offset[rows]
    events.release("offset", "other_offset", "size")
    on_file, on_other = files[events.file[rows]], files[events.other_file[rows]]
    looks = _LOOKS_AT_ALL[op] | ((does & access.SEEKS != 0) & (flags >= _SEEK_END))  # the end, data, holes
    cuts = (does & access.RESIZES != 0) | ((does & access.OPENS != 0) & (flags & _O_TRUNC != 0))
    reads, writes = does & access.READS_DATA != 0, does & access.WRITES_DATA != 0
    appends = appending(rows) & writes & ~_CHANGES_ALL[op]
    # one that asks for an offset goes elsewhere all the same, and nobody says where
    here = np.where(appends & TAKES_OFFSET[op] & ~at_own_position(op, flags), NONE, here)
    known, known_there = (here >= 0) & (moved >= 0), (there >= 0) & (moved >= 0)
    found = [
        (events.file, here, on_file & reads & ~looks & known, READ),
        (events.file, here, on_file & (looks | (reads & ~known)), LOOKS),
        (events.file, here, on_file & writes & known & ~appends & ~_CHANGES_ALL[op], WRITE),
        (events.file, here, on_file & appends & known, APPENDS),
        (events.file, here, on_file & writes & (~known | _CHANGES_ALL[op]), CHANGES),
        (events.file, here, on_file & cuts, CUTS),
        (events.other_file, there, on_other & (does & access.COPIES_DATA != 0) & known_there, WRITE),
        (events.other_file, there, on_other & (does & access.COPIES_DATA != 0) & ~known_there, CHANGES),
    ]
    parts = []
    for column, offset, which, what in found:
        begin = np.clip(offset[which], 0, _FAR)
        end = begin + np.maximum(moved[which], 0)
        parts.append((column[rows[which]], rows[which], begin, end, np.full(len(begin), what)))
    return Touches(*(np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True)))


def ranged_accesses(
    touches: Touches, thread: Ids, row_of: Ids, size: Ints, existed: npt.NDArray[np.int8]
) -> tuple[Ids, Ids, npt.NDArray[np.int8], int]:  # fmt: skip
    """Accesses that may conflict: resource, row and level of each, (n,), and how many resources there are.

    Parameters
    ----------
    thread, row_of: by event. size: bytes, and existed (1: it was there), of each file at the start.
    """
    known, place = np.unique(touches.file, return_inverse=True)
    files = len(known)
    whole = np.zeros(files, np.bool_)
    whole[place[touches.does == CUTS]] = True
    base = np.where(~whole & (existed[known] == 1), np.clip(size[known], 0, _FAR), 0)
    is_range = touches.does <= APPENDS
    writes = (touches.does == WRITE) | (touches.does == APPENDS)
    furthest = base.copy()
    np.maximum.at(furthest, place[writes], touches.end[writes])
    beyond = touches.end > base[place]
    begin, end = np.minimum(touches.begin, furthest[place]), np.minimum(touches.end, furthest[place])
    largest, calls = np.zeros(files, np.int64), np.bincount(place, minlength=files)
    np.maximum.at(largest, place[is_range], (end - begin)[is_range])
    shift = _shifts(largest, furthest, calls)
    first = 2 * files + np.cumsum(np.r_[0, (furthest >> shift) + 1])
    columns = (place, begin, end, touches.does, beyond, shift, first)
    of_thread, of_row = thread[touches.event], row_of[touches.event]
    count = int(first[-1])
    users, levels, counts = np.full(count, -1, np.int32), np.zeros(count, np.uint8), np.zeros(count, np.int32)
    none = np.zeros(0, np.int32)
    access.ranged(*columns, of_thread, users, levels, counts, none, none, none, np.zeros(0, np.int8))
    several = users == -2
    rewritten = _rewritten(Touches(place, touches.event, begin, end, touches.does), shift, first, of_thread, several)
    levels[rewritten] |= 1 << EXCLUDES
    shared = several & (((levels & 1 << EXCLUDES) != 0) | (levels == (1 << READS | 1 << WRITES)))
    kept = int(np.count_nonzero(shared))
    number = np.where(shared, np.cumsum(shared) - 1, -1).astype(np.int32)
    n = int(counts[shared].sum())
    resource, which, level = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int8)
    access.ranged(*columns, of_thread, users, levels, counts, number, resource, which, level)
    level[rewritten[shared][resource] & (level == WRITES)] = EXCLUDES
    return resource, of_row[which].astype(np.int32), level, kept


def _rewritten(touches: Touches, shift: Ints, first: Ints, thread: Ids, several: Flags) -> Flags:
    """Which resources, (resources,), are chunks of which different threads write the same bytes."""
    writes = (touches.does == WRITE) | (touches.does == APPENDS)
    file, begin, end = touches.file[writes], touches.begin[writes], touches.end[writes]
    chunk, low, high, which = _pieces(file, begin, end, shift, first, several)
    order = np.lexsort((low, chunk))
    result = np.zeros(len(several), np.bool_)
    _mark(chunk[order], low[order], high[order], thread[writes][which[order]], result)
    return result


@compiled
def _shifts(largest: Any, furthest: Any, calls: Any) -> Any:
    """Of each file the chunks' size as a power of two, (files,): few to an access, and not many more than accesses."""
    result = np.empty(len(largest), np.int64)
    for k in range(len(largest)):
        shift = _SMALLEST
        while (largest[k] >> shift) > _MOST_OF_ONE or (furthest[k] >> shift) > max(_FEWEST, 4 * calls[k]):
            shift += 1
        result[k] = shift
    return result


@compiled
def _pieces(file: Any, begin: Any, end: Any, shift: Any, first: Any, several: Any) -> Any:
    """The part of each write in each chunk that several threads use: resource, first byte, end, number of the write."""
    n = 0
    for turn in range(2):
        if turn == 1:
            resource, low = np.empty(n, np.int64), np.empty(n, np.int64)
            high, which = np.empty(n, np.int64), np.empty(n, np.int64)
        n = 0
        for i in range(len(file)):
            f = file[i]
            if end[i] <= begin[i]:
                continue
            for chunk in range(begin[i] >> shift[f], ((end[i] - 1) >> shift[f]) + 1):
                if several[first[f] + chunk]:
                    if turn == 1:
                        resource[n], which[n] = first[f] + chunk, i
                        low[n] = max(begin[i], chunk << shift[f])
                        high[n] = min(end[i], (chunk + 1) << shift[f])
                    n += 1
    return resource, low, high, which


@compiled
def _mark(chunk: Any, begin: Any, end: Any, thread: Any, overlaps: Any) -> Any:
    """Set `overlaps` of chunks with an overlap; writes are sorted by chunk and begin."""
    at = np.int64(-1)
    furthest = other = owner = np.int64(0)
    for i in range(len(chunk)):
        if chunk[i] != at:
            at, furthest, owner, other = np.int64(chunk[i]), np.int64(-1), np.int64(-1), np.int64(-1)
        # the furthest end of all before, and that of all threads but the one whose that is
        bound = other if thread[i] == owner else furthest
        if begin[i] < bound:
            overlaps[at] = True
        if thread[i] == owner:
            furthest = max(furthest, end[i])
        elif end[i] > furthest:
            furthest, other, owner = end[i], furthest, np.int64(thread[i])
        else:
            other = max(other, end[i])

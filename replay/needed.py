"""What of each file a run has to get from the storage: what it reads, once, without what it writes itself."""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import CALL_OF, Flags, Ints
from iotrace.replay.operation_sets import CLONES, COPIES, FAULT, OPENS, of_kind, one_of
from iotrace.replay.rows import Plan
from iotrace.replay.sight import Sights
from iotrace.replay.stage import data_bytes
from iotrace.trace.operations import NUMBER_OF, Kind

PAGE: Final = mmap.PAGESIZE
_WHOLE: Final = 1 << 62
_MAY_CLONE: Final = one_of(("copy_file_range",))
"""Copies for which a storage may move nothing at all: it shares the blocks (XFS, Btrfs), or its servers copy (NFS 4.2,
SMB, CephFS); elsewhere the kernel reads and writes. Neither can be known before."""
_WRITES: Final = of_kind(Kind.WRITE)
_RESIZES: Final = one_of(("truncate", "ftruncate"))
_RESERVES: Final = one_of(("fallocate",))
_CUTS: Final = OPENS | _RESIZES | _RESERVES
_PUNCHES_OR_ZEROES: Final = 0x2 | 0x10
_MOVES: Final = 0x8 | 0x20
"""FALLOC_FL_PUNCH_HOLE and _ZERO_RANGE; _COLLAPSE_RANGE and _INSERT_RANGE, which move all that lies behind."""
_READS: Final = (of_kind(Kind.READ, Kind.COPY) & ~(_MAY_CLONE | CLONES)) | FAULT


@dataclass(slots=True)
class Needed:
    """What a run needs of each file of the snapshot: distinct bytes, whole pages, and those of the pages that it reads
    by way of the page cache, not past it (O_DIRECT); (files,).

    copied: bytes that copy_file_range moves, which are no part of any.
    """

    bytes: Ints
    pages: Ints
    by_cache: Ints
    copied: int = 0

    def without(self, files: Collection[int]) -> Needed:
        """The same, nothing of these files."""
        kept = np.ones(len(self.bytes), np.int64)
        kept[list(files)] = 0
        return Needed(self.bytes * kept, self.pages * kept, self.by_cache * kept, self.copied)


def needed(plan: Plan, sights: Sights | None = None) -> Needed:
    """What a run reads or touches and neither writes nor cuts off itself, holes left out.

    Bytes are exactly those asked for, since a small file, a direct read or a short block brings no whole page: a lower
    bound of what has to come. So calls at places that the trace does not know are left out, and so is what
    copy_file_range reads.
    """
    ends = np.array([data_bytes(file, sights) for file in plan.snapshot.files], np.int64)
    place = {file.file: at for at, file in enumerate(plan.snapshot.files)}
    file, begin, end, writes, past = _ranges(plan)
    number, of = np.unique(file, return_inverse=True)
    at = np.array([place.get(one, -1) for one in number.tolist()], np.int64)[of]
    staged = at >= 0
    at, writes, past = at[staged], writes[staged], past[staged]
    begin, end = np.minimum(begin[staged], ends[at]), np.minimum(end[staged], ends[at])
    first, last = begin // PAGE, (end + PAGE - 1) // PAGE
    pages = by_cache = _covered(at, first, last, writes, len(ends))
    if past.any():
        by_cache = _covered(at[~past], first[~past], last[~past], writes[~past], len(ends))
    return Needed(_covered(at, begin, end, writes, len(ends)), pages, by_cache, copied_bytes(plan))


def copied_bytes(plan: Plan) -> int:
    """Bytes that copy_file_range moves, as recorded."""
    op = plan.rows.op
    return int(np.maximum(plan.rows.expect[plan.counted & (op >= 0) & _MAY_CLONE[op]], 0).sum())


def _ranges(plan: Plan) -> tuple[Ints, Ints, Ints, Flags, Flags]:
    """File, begin and end of what each call reads or writes, whether it is written, and whether it is read past the
    page cache; a copy has one of each."""
    op = CALL_OF[plan.rows.op]
    rows = np.flatnonzero(plan.counted & (_READS | _WRITES | COPIES | _CUTS)[op])
    recorded = plan.recorded
    op, file, offset = op[rows], recorded["file"][rows], recorded["offset"][rows]
    moved = np.where(FAULT[op], PAGE, plan.rows.expect[rows])
    to_or_from = (_READS | _WRITES)[op]
    past = _past_the_page_cache(plan, rows, op)
    parts = [(file[to_or_from], offset[to_or_from], moved[to_or_from], _WRITES[op[to_or_from]])]
    copies, cuts = COPIES[op], _CUTS[op] & (plan.rows.expect[rows] >= 0)
    more = copies | cuts
    if more.any():
        target, there, size, flags = recorded.at(rows[more], "other_file", "other_offset", "size", "flags")
        copies, cuts = copies[more], cuts[more]
        cloned = CLONES[op[more]] & (moved[more] == 0)
        came = np.where(cloned, np.where(size < 0, _WHOLE, size), moved[more])[copies]
        parts.append((target[copies], there[copies], came, np.ones(int(copies.sum()), np.bool_)))
        at = np.flatnonzero(more)[cuts]
        parts.append(_cut(op[at], file[at], offset[at], size[cuts], flags[cuts]))
    past = np.concatenate([past[to_or_from], *(np.zeros(len(part[0]), np.bool_) for part in parts[1:])])
    file, offset, moved, writes = (np.concatenate(column) for column in zip(*parts, strict=True))
    known = (file >= 0) & (moved > 0) & ((offset >= 0) | writes)
    file, offset, moved, writes, past = file[known], offset[known], moved[known], writes[known], past[known]
    # what is written nobody knows where may be anywhere
    anywhere = offset < 0
    return file, np.where(anywhere, 0, offset), np.where(anywhere, _WHOLE, offset + moved), writes, past


def _past_the_page_cache(plan: Plan, rows: Ints, op: npt.NDArray[np.int16]) -> Flags:
    """Of some rows and their operations those that read a file which was opened with O_DIRECT."""
    past = np.zeros(len(rows), np.bool_)
    opening = np.flatnonzero(OPENS[op])
    if len(opening) == 0:
        return past
    (flags,) = plan.recorded.at(rows[opening], "flags")
    opening = opening[(flags >= 0) & (flags & os.O_DIRECT != 0)]
    reading = np.flatnonzero(_READS[op] & ~FAULT[op])
    if len(opening) and len(reading):
        opens, reads = (plan.recorded.at(rows[some], "open")[0] for some in (opening, reading))
        past[reading] = (reads >= 0) & np.isin(reads, opens)
    return past


def _cut(
    op: npt.NDArray[np.int16], file: Ints, offset: Ints, size: Ints, flags: Ints
) -> tuple[Ints, Ints, Ints, Flags]:
    """As in `_ranges`, what calls have the storage forget: zeros in its place come from nowhere."""
    flags = np.maximum(flags, 0)
    resizes, reserves = _RESIZES[op], _RESERVES[op]
    empties = OPENS[op] & ((flags & os.O_TRUNC != 0) | (op == NUMBER_OF["creat"]))
    begin = np.select([resizes, reserves], [size, offset], 0)
    end = np.where(reserves & (flags & _MOVES == 0), offset + size, _WHOLE)
    cuts = resizes | empties | (reserves & (flags & (_PUNCHES_OR_ZEROES | _MOVES) != 0))
    begin = np.maximum(begin, 0)
    return file, begin, np.where(cuts, np.maximum(end - begin, 0), 0), np.ones(len(file), np.bool_)


def _covered(file: Ints, begin: Ints, end: Ints, writes: Flags, files: int) -> Ints:
    """How much of each file is in at least one range of a read and in none of a write."""
    # a sweep over all ends of ranges: how many reads and how many writes are open behind each
    of, places = np.concatenate([file, file]), np.concatenate([begin, end])
    order = np.lexsort((places, of))
    sign = np.concatenate([np.ones(len(file), np.int64), -np.ones(len(file), np.int64)])
    both = np.concatenate([writes, writes])
    reading = np.cumsum(np.where(both, 0, sign)[order])
    writing = np.cumsum(np.where(both, sign, 0)[order])
    of, places = of[order], places[order]
    found = np.zeros(files, np.int64)
    if len(places):
        # at the last end of a file nothing is open, so that no length reaches into the next one
        inside = (reading > 0) & (writing == 0)
        np.add.at(found, of[inside], np.append(np.diff(places), 0)[inside])
    return found

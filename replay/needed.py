"""What of each file a run has to get from the storage: what it reads, once, without what it writes itself."""

from __future__ import annotations

import mmap
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from iotrace.replay.columns import Flags, Ints
from iotrace.replay.rows import Plan
from iotrace.replay.select import FAULT, KIND
from iotrace.replay.sight import Sights
from iotrace.replay.stage import data_bytes
from iotrace.trace.operations import Kind

PAGE: Final = mmap.PAGESIZE
_WRITES: Final = np.isin(KIND, [list(Kind).index(Kind.WRITE)])
_READS: Final = np.isin(KIND, [list(Kind).index(kind) for kind in (Kind.READ, Kind.COPY)]) | FAULT


@dataclass(slots=True)
class Needed:
    """What a run needs of each file of the snapshot: distinct bytes, and whole pages; (files,)."""

    bytes: Ints
    pages: Ints

    def without(self, files: Collection[int]) -> Needed:
        """The same, nothing of these files."""
        kept = np.ones(len(self.bytes), np.int64)
        kept[list(files)] = 0
        return Needed(self.bytes * kept, self.pages * kept)


def needed(plan: Plan, sights: Sights | None = None) -> Needed:
    """What a run reads or touches and does not write itself, holes left out.

    Bytes are exactly those asked for, since a small file, a direct read or a short block brings no whole page: a lower
    bound of what has to come. Calls at places that the trace does not know are left out.
    """
    ends = np.array([data_bytes(file, sights) for file in plan.snapshot.files], np.int64)
    place = {file.file: at for at, file in enumerate(plan.snapshot.files)}
    op = plan.rows.op
    rows = np.flatnonzero(plan.counted & (_READS | _WRITES)[op] & (op >= 0))
    recorded = plan.recorded
    file, offset = recorded["file"][rows], recorded["offset"][rows]
    op = op[rows]
    moved = np.where(FAULT[op], PAGE, plan.rows.expect[rows])
    known = (file >= 0) & (offset >= 0) & (moved > 0)
    number, of = np.unique(file[known], return_inverse=True)
    at = np.array([place.get(one, -1) for one in number.tolist()], np.int64)[of]
    staged = at >= 0
    at, offset, moved = at[staged], offset[known][staged], moved[known][staged]
    writes = _WRITES[op[known][staged]]
    begin, end = np.minimum(offset, ends[at]), np.minimum(offset + moved, ends[at])
    return Needed(
        _covered(at, begin, end, writes, len(ends)),
        _covered(at, begin // PAGE, (end + PAGE - 1) // PAGE, writes, len(ends)),
    )


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

"""What of each file a run has to get from the storage: what it reads, once, without what it writes itself."""

from __future__ import annotations

import mmap
from typing import Final

import numpy as np

from iotrace.replay.columns import Ints
from iotrace.replay.rows import Plan
from iotrace.replay.select import FAULT, KIND
from iotrace.replay.sight import Sights
from iotrace.replay.stage import data_bytes
from iotrace.trace.operations import Kind

PAGE: Final = mmap.PAGESIZE
_FILE_BITS: Final = 40
"""Pages of a file have numbers below 1 << _FILE_BITS: 4 EiB."""
_WRITES: Final = np.isin(KIND, [list(Kind).index(Kind.WRITE)])
_READS: Final = np.isin(KIND, [list(Kind).index(kind) for kind in (Kind.READ, Kind.COPY)]) | FAULT


def needed_pages(plan: Plan, sights: Sights | None = None) -> Ints:
    """Pages of each file of the snapshot that a run reads or touches and does not write, holes left out; (files,).

    Calls at places that the trace does not know are left out, and what a copy writes: the figure is a lower bound.
    """
    ends = np.array([-(-data_bytes(file, sights) // PAGE) for file in plan.snapshot.files], np.int64)
    place = {file.file: at for at, file in enumerate(plan.snapshot.files)}
    op = plan.rows.op
    rows = np.flatnonzero(plan.counted & (_READS | _WRITES)[op] & (op >= 0))
    recorded = plan.recorded
    file, offset = recorded["file"][rows], recorded["offset"][rows]
    op = op[rows]
    moved = np.where(FAULT[op], 1, plan.rows.expect[rows])
    known = (file >= 0) & (offset >= 0) & (moved > 0)
    number, of = np.unique(file[known], return_inverse=True)
    at = np.array([place.get(one, -1) for one in number.tolist()], np.int64)[of] if len(number) else of
    staged = at >= 0
    at, offset, moved = at[staged], offset[known][staged], moved[known][staged]
    writes = _WRITES[op[known][staged]]
    begin = np.minimum(offset // PAGE, ends[at])
    end = np.minimum((offset + moved + PAGE - 1) // PAGE, ends[at])
    return _covered(at, begin, end, writes, len(ends))


def _covered(file: Ints, begin: Ints, end: Ints, writes: Ints, files: int) -> Ints:
    """Pages of each file in at least one range of a read and in none of a write."""
    base = file << _FILE_BITS
    # a sweep over all ends of ranges: how many reads and how many writes are open behind each
    places = np.concatenate([base + begin, base + end])
    order = np.argsort(places, kind="stable")
    sign = np.concatenate([np.ones(len(file), np.int64), -np.ones(len(file), np.int64)])
    both = np.concatenate([writes, writes])
    reading = np.cumsum(np.where(both, 0, sign)[order])
    writing = np.cumsum(np.where(both, sign, 0)[order])
    places = places[order]
    pages = np.zeros(files, np.int64)
    if len(places):
        length = np.append(np.diff(places), 0)
        inside = (reading > 0) & (writing == 0)
        np.add.at(pages, places[inside] >> _FILE_BITS, length[inside])
    return pages

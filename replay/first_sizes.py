"""How large files were when a recording began."""

from __future__ import annotations

from typing import Final

import numpy as np

from iotrace.replay.columns import NONE, Ints, Tables, chunks
from iotrace.replay.operation_sets import CLONES, FAULT, of_kind, that
from iotrace.replay.select import Reason, Selection
from iotrace.trace.operations import Change, Kind

_READS: Final = of_kind(Kind.READ, Kind.COPY)
_CHANGES_SIZE: Final = of_kind(Kind.WRITE) | that(Change.RESIZES)


def least_sizes(tables: Tables, selection: Selection) -> Ints:
    """Size of each file at the start: as the trace says, and for files never written at least what was read of them."""
    events = tables.events
    sizes = np.where(tables.file_size == NONE, 0, np.maximum(tables.file_size, 0))
    ends = np.zeros(len(sizes) + 1, np.int64)
    grows = np.zeros(len(sizes) + 1, np.bool_)
    for rows in chunks(len(events)):
        part = events.at(rows)
        kept = selection.reason[rows] == Reason.KEPT
        for chosen, moved in (
            (_READS[part.op] & (part.result > 0), part.result), (FAULT[part.op], np.broadcast_to(1, len(part))),
            (CLONES[part.op] & (part.result == 0) & (part.size > 0), part.size),
        ):  # fmt: skip
            at = np.flatnonzero(kept & chosen & (part.file >= 0))
            if len(at):
                offset = part.offset[at]
                end = np.where(offset >= 0, np.minimum(offset, 1 << 60) + moved[at], 0)
                np.maximum.at(ends, part.file[at], end)
        grows[part.file[kept & _CHANGES_SIZE[part.op]]] = True
        if part.other_file.strides[0]:
            grows[part.other_file[kept]] = True
    return np.where(grows[:-1], sizes, np.maximum(sizes, ends[:-1]))

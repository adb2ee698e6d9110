"""Which processes used given paths in a chunk of events, and whether they wrote: whole columns, no loop over events."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.state import Ints
from iotrace.trace.operations import OPERATIONS, Change, Kind
from iotrace.trace.schema import NULL

_WRITES: Final = np.array(
    [
        o.kind is Kind.WRITE or o.change in (Change.MAKES, Change.RENAMES) or o.name.startswith("truncate")
        for o in OPERATIONS
    ]
)
_OPENS: Final = np.array([o.result == "fd" and "path" in o.arguments for o in OPERATIONS])
_WRITES_OTHER: Final = np.array([o.kind is Kind.COPY or o.name.startswith(("rename", "link")) for o in OPERATIONS])
_C: Final = d.COLUMN


def uses_of(rows: Ints, count: int, paths: Iterable[int]) -> Iterator[tuple[int, int, bool]]:
    """(process, path, wrote to it) for each pair in the first `count` rows of the drain's columns, each once."""
    wanted = np.fromiter(paths, np.int64)
    op = rows[_C["op"], :count]
    for column, writes in (("path", _WRITES[op]), ("other_path", _WRITES_OTHER[op])):
        numbers = rows[_C[column], :count]
        at = np.flatnonzero(np.isin(numbers, wanted))
        if not at.size:
            continue
        wrote = writes[at]
        if column == "path":
            flags = rows[_C["flags"], at]
            wrote |= _OPENS[op[at]] & (flags != NULL) & (flags & os.O_ACCMODE != 0)
        wrote &= rows[_C["result"], at] >= 0
        pairs = np.stack((rows[_C["process"], at], numbers[at], wrote.astype(np.int64)))
        for process, path, done in np.unique(pairs, axis=1).T.tolist():
            yield process, path, bool(done)

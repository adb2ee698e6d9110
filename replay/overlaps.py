"""Files of which several threads write the same bytes: there the order of the writes decides what the file holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from iotrace.compiling import compiled
from iotrace.replay.columns import NONE, Events, Flags
from iotrace.replay.scans import rows_of
from iotrace.replay.select import COPIES


def overlapping_writers(events: Events, writes: Flags, files: Flags) -> Flags:
    """Which files are written at the same bytes by several threads.

    Parameters
    ----------
    writes: operations that write to their `file`, by operation; copies write to their `other_file`.
    files: those that are looked at, (files + 1,); the result has this shape.

    A write of which the trace does not know where it goes overlaps all others.
    """
    result = np.zeros(len(files), np.bool_)
    parts = []
    for table, file, offset in ((writes, "file", "offset"), (COPIES, "other_file", "other_offset")):
        rows = rows_of(table, events.op)
        number = getattr(events, file)[rows]
        rows = rows[files[number] & (events.result[rows] > 0)]
        parts.append(
            (getattr(events, file)[rows], getattr(events, offset)[rows], events.result[rows], events.thread[rows])
        )
        events.release(offset)
    number, begin, size, thread = (np.concatenate(column) for column in zip(*parts, strict=True))
    known = begin != NONE
    result[number[~known]] = True
    order = np.lexsort((begin[known], number[known]))
    _mark(number[known][order], begin[known][order], size[known][order], thread[known][order], result)
    return result


@compiled
def _mark(file: Any, begin: Any, size: Any, thread: Any, overlaps: Any) -> Any:
    """Set `overlaps` of files with an overlap; writes are sorted by file and begin."""
    at = np.int64(-1)
    furthest = other = owner = np.int64(0)
    for i in range(len(file)):
        if file[i] != at:
            at, furthest, owner, other = np.int64(file[i]), np.int64(-1), np.int64(-1), np.int64(-1)
        # the furthest end of all before, and that of all threads but the one whose that is
        bound = other if thread[i] == owner else furthest
        if begin[i] < bound:
            overlaps[at] = True
        end = begin[i] + size[i]
        if thread[i] == owner:
            furthest = max(furthest, end)
        elif end > furthest:
            furthest, other, owner = end, furthest, np.int64(thread[i])
        else:
            other = max(other, end)

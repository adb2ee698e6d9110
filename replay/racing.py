"""Which verified calls ran beside one that changes the same bytes: what a read gets then, or what stays, is open.

Calls that overlapped in the recording are not ordered in a replay, so that each of several contents is right.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.replay.actions import CHECK, CUT, FORGET, UNCHECKED, Actions
from iotrace.replay.columns import Events, Ids
from iotrace.replay.scans import note_owners

_FAR: Final = 1 << 62


def without_races(actions: Actions, events: Events, event: Ids) -> Actions:
    """Actions that hold whichever of two overlapping calls comes first.

    Reads become UNCHECKED, of the others nothing is known afterwards (FORGET). `event`: each row's event, (rows,).
    """
    rows = np.flatnonzero(actions.what)
    if len(rows) == 0:
        return actions
    owner = np.full(int(actions.file[rows].max()) + 1, -1, np.int64)
    note_owners(actions.file[rows], events.thread[event[rows]], owner)
    rows = rows[owner[actions.file[rows]] == -2]  # of several threads
    start = events.time_ns[event[rows]]
    end = start + np.maximum(events.duration_ns[event[rows]], 0)
    order = np.lexsort((start, actions.file[rows]))
    rows, start, end = rows[order], start[order], end[order]
    what = actions.what[rows]
    cuts = what == CUT
    low = np.where(cuts, actions.size[rows], actions.offset[rows])
    high = np.where(cuts, _FAR, np.minimum(low, _FAR >> 1) + actions.size[rows])
    races = _races(actions.file[rows], events.thread[event[rows]], start, end, low, high, what == CHECK)
    result = Actions(actions.what.copy(), actions.file, actions.offset.copy(), actions.size.copy())
    reads, others = rows[races & (what == CHECK)], races & (what != CHECK)
    result.what[reads] = UNCHECKED
    result.what[rows[others]] = FORGET
    result.offset[rows[others]], result.size[rows[others]] = low[others], np.minimum(high - low, _FAR >> 1)[others]
    return result


@compiled
def _races(file: Any, thread: Any, start: Any, end: Any, low: Any, high: Any, reads: Any) -> Any:
    """Which rows, sorted by file and start, overlap in time and bytes with another thread's that is no read."""
    found = np.zeros(len(file), np.bool_)
    under_way = np.empty(len(file), np.int64)
    many = 0
    for i in range(len(file)):
        kept = 0
        for k in range(many):
            j = under_way[k]
            if file[j] != file[i] or end[j] <= start[i]:
                continue
            under_way[kept] = j
            kept += 1
            # one that took no time may have ended as the other began
            if thread[j] != thread[i] and low[j] < high[i] and low[i] < high[j] and end[i] > start[j]:
                found[i] |= not reads[j]
                found[j] |= not reads[i]
        under_way[kept] = i
        many = kept + 1
    return found

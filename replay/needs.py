"""What each thread of a replay needs before its first row and does after its last."""

from __future__ import annotations

import numpy as np

from iotrace.replay.arguments import Builder
from iotrace.replay.columns import NONE, Flags, Tables, chunks
from iotrace.replay.holdings import Holdings
from iotrace.replay.mapping import Mapping
from iotrace.replay.memory import Mappings
from iotrace.replay.operation_sets import ORDERS
from iotrace.replay.rows import MARKER, Threads
from iotrace.replay.schedule import Lanes
from iotrace.replay.select import Reason, Selection


def apart_of(held: Holdings, lanes: Lanes) -> Flags:
    """Workers of which a group of processes shares the descriptors, but not the working folder."""
    apart = np.zeros(len(lanes.worker_begin) - 1, np.bool_)
    for family, worker in zip(lanes.families, lanes.family_worker, strict=True):
        apart[worker] |= len({int(held.process_of[thread]) for thread in family}) > 1
    return apart


def threads_of(
    tables: Tables, mapping: Mapping, selection: Selection, memory: Mappings, held: Holdings, lanes: Lanes,
    builder: Builder, close: list[list[int]], taken: dict[int, list[tuple[int, int]]],
) -> Threads:  # fmt: skip
    """The needs of all threads.

    Parameters
    ----------
    builder: whose texts get the names that threads need; close: as of closes_at_ends(); taken: as of Passed.
    """
    events, count, strings = tables.events, tables.threads, builder.names.strings
    process = held.process_of
    nodes = np.append(builder.names.folders.start, np.int32(-1))[process]
    root = strings.number(b"", True)
    tree = mapping.tree
    sets = np.zeros(count, np.bool_)
    apart = apart_of(held, lanes)
    for family, worker in zip(lanes.families, lanes.family_worker, strict=True):
        sets[family if apart[worker] else family[0]] = True
    folder = [
        -1 if not own else strings.number(tree.path(node), True) if node >= 0 else root
        for node, own in zip(nodes.tolist(), sets.tolist(), strict=True)
    ]
    umask = np.append(tables.process_umask, NONE)[process]
    numbers = range(count)
    unset = np.array([-1] * count, np.int64)
    marker_begin, marker_end = unset.copy(), unset.copy()
    issuing = np.zeros(count + 1, np.bool_)
    for rows in chunks(len(events)):
        chosen = (selection.reason[rows] == Reason.KEPT) & ~ORDERS[events.op[rows]]
        issuing[events.thread[rows][chosen]] = True
    for thread in np.flatnonzero(issuing[:count]).tolist():
        marker_begin[thread] = strings.number(f"{MARKER}:{thread}:begin".encode())
        marker_end[thread] = strings.number(f"{MARKER}:{thread}:end".encode())
    unmap: list[list[tuple[int, int, int]]] = [[] for _ in numbers]
    for slot, delta, length, owner in memory.left:
        # what several threads mapped stays until the worker ends
        if owner >= 0:
            unmap[owner].append((slot, delta, length))
    takes = [taken.get(thread, []) for thread in numbers]
    return Threads(
        folder=np.array(folder or [root], np.int64),
        marker_begin=marker_begin,
        marker_end=marker_end,
        umask=np.where(umask == NONE, 0o022, umask) & 0o077,
        close_begin=np.cumsum([0, *(len(slots) for slots in close)]).astype(np.int64),
        close_slot=np.array([slot for slots in close for slot in slots], np.int64),
        unmap_begin=np.cumsum([0, *(len(pieces) for pieces in unmap)]).astype(np.int64),
        unmap=np.array([piece for pieces in unmap for piece in pieces], np.int64).reshape(-1, 3),
        take_begin=np.cumsum([0, *(len(pairs) for pairs in takes)]).astype(np.int64),
        take_from=np.array([source for pairs in takes for source, _ in pairs], np.int64),
        take_to=np.array([slot for pairs in takes for _, slot in pairs], np.int64),
    )

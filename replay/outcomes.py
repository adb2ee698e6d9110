"""What each row of a plan should return, how large the buffers must be, and what the recording said of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from iotrace.replay.arguments import ALIGNED_READ_BUFFER, BUFFER, VECTOR, link_text
from iotrace.replay.columns import NONE, Flags, Tables
from iotrace.replay.mapping import Mapping
from iotrace.replay.rows import EXACT, LINK, STATUS, Rows
from iotrace.replay.select import (
    COPIES,
    FAULT,
    GETDENTS,
    HAS_FD,
    KIND,
    MMAP,
    OPENS,
    SYMLINKS,
    Selection,
    _table,
)
from iotrace.replay.snapshot import Snapshot, link_target
from iotrace.trace.operations import NUMBER_OF, OPERATIONS, Kind


def set_expectations(
    rows: Any,
    is_main: Flags,
    success: Flags,
    tables: Tables,
    mapping: Mapping,
    selection: Selection,
    snapshot: Snapshot,
) -> None:
    """What the rows should return, and how that is compared."""
    events = tables.events
    op, event = rows.op, rows.event
    by_bytes = np.array([operation.result in ("bytes", "position") for operation in OPERATIONS] + [False])
    loose = GETDENTS | _table(("listxattr", "llistxattr", "flistxattr", "mmap.fault"))
    seeks = (op == NUMBER_OF["lseek"]) & np.isin(np.where(event >= 0, events.flags[event], 0), (3, 4))
    exact = is_main & by_bytes[op] & ~loose[op] & ~seeks
    result = np.where(is_main & (event >= 0), events.result[event], 0)
    result = np.where(result == NONE, 0, result)
    rows.check = np.where(exact, EXACT, STATUS).astype(np.uint8)
    rows.expect = np.where(exact | ~success, result, 0)
    _link_lengths(rows, success, tables, mapping, selection, snapshot)


def _link_lengths(
    rows: Any, success: Flags, tables: Tables, mapping: Mapping, selection: Selection, snapshot: Snapshot
) -> None:
    """A link's text is another in the tree: readlink returns that one's length."""
    reads = np.flatnonzero(_table(("readlink", "readlinkat"))[rows.op] & success & ~rows.extra)
    if len(reads) == 0:
        return
    events, tree = tables.events, mapping.tree
    texts = {path: link_text(path, target) for path, target in snapshot.links}
    made = np.flatnonzero(selection.kept & SYMLINKS[events.op] & (events.result >= 0))
    for event in made.tolist():
        node, target = int(selection.node[event]), int(events.other_path[event])
        raw = tables.path_raw[target] if target >= 0 else b""
        texts[tree.path(node)] = link_text(tree.path(node), link_target(mapping, node, raw))
    for row in reads.tolist():
        node = int(selection.node[rows.event[row]])
        path = tree.path(mapping.physical(node)) if node >= 0 else b""
        text = texts.get(path) or texts.get(tree.path(node) if node >= 0 else b"")
        if text is None:
            rows.check[row], rows.expect[row] = STATUS, 0
        else:
            rows.expect[row] = len(text[0])
            rows.check[row] = LINK if text[1] else EXACT
            size = int(events.size[rows.event[row]])
            if not text[1] and size != NONE:
                rows.expect[row] = min(len(text[0]), max(size, 0))


def sizes_of(rows: Rows, tables: Tables) -> dict[str, Any]:
    """Largest buffers of reads and writes, and what the calls may add to the tree; fields of Plan."""
    kinds = rows.kinds
    size = np.zeros(len(rows), np.int64)
    direct = np.zeros(len(rows), np.bool_)
    for position in range(6):
        kind = (kinds >> (4 * position)) & 15
        value = rows.arguments[:, position]
        vector = kind == VECTOR
        size[vector] = np.maximum(size[vector], value[vector] >> 4)
        direct |= (vector & (value & 15 >= ALIGNED_READ_BUFFER)) | ((kind == BUFFER) & (value >= ALIGNED_READ_BUFFER))
    takes_buffer = np.array([bool({"buffer", "text"} & set(o.arguments)) for o in OPERATIONS] + [False])
    events = tables.events
    asked = np.where(rows.event >= 0, events.size[rows.event], 0)
    # a copy whose source is not replayed writes what it brought
    asked = np.where(COPIES[rows.op], np.maximum(rows.expect, 0), asked)
    size = np.where(takes_buffer[rows.op] | COPIES[rows.op], np.maximum(size, np.maximum(asked, 0)), size)
    writes = KIND[rows.op] == list(Kind).index(Kind.WRITE)
    writes |= COPIES[rows.op] | _table(("setxattr", "lsetxattr", "fsetxattr"))[rows.op]
    adds = writes & ~_table(("setxattr", "lsetxattr", "fsetxattr"))[rows.op] & ~rows.extra
    growth = int(np.maximum(rows.expect[adds], 0).astype(object).sum()) if adds.any() else 0
    reserves = np.flatnonzero(_table(("fallocate",))[rows.op])
    punches = np.maximum(events.flags[rows.event[reserves]], 0) & ~0x1 != 0
    growth += sum(max(0, int(value)) for value in events.size[rows.event[reserves[~punches]]])
    flags = np.where(rows.event >= 0, np.maximum(events.flags[rows.event], 0), 0)
    creates = _table(("mkdir", "mkdirat", "creat", "link", "linkat", "symlink", "symlinkat"))[rows.op]
    creates |= OPENS[rows.op] & (flags & 0o100 != 0)
    return {
        "read_bytes": int(size[~writes].max(initial=0)),
        "write_bytes": int(size[writes].max(initial=0)),
        "growth_bytes": growth,
        "growth_entries": int(creates.sum()),
    }


def recorded_of(rows: Rows, tables: Tables, mapping: Mapping, selection: Selection) -> dict[str, Any]:
    """What the recording said of each row; Plan.recorded."""
    events = tables.events
    result: dict[str, Any] = {
        name: np.where(rows.event >= 0, getattr(events, name)[rows.event], NONE)
        for name in ("size", "offset", "count", "result", "file")
    }
    node = np.where(rows.event >= 0, selection.node[rows.event], -1)
    by_open = np.append(selection.open_node, np.int32(-1))[events.open[rows.event]]
    node = np.where(
        (node < 0) & (rows.event >= 0) & ((HAS_FD | MMAP)[rows.op] | selection.unnamed[rows.event]),
        by_open,
        node,
    )
    faults = np.flatnonzero(FAULT[rows.op])
    by_path = np.append(mapping.node, np.int32(-1))[events.path[rows.event[faults]]]
    by_file = np.append(mapping.canonical, np.int32(-1))[events.file[rows.event[faults]]]
    node[faults] = np.where(by_path >= 0, by_path, by_file)
    result["node"] = node.astype(np.int32)
    result["paths"] = [mapping.tree.path(one) for one in range(len(mapping.tree))]
    has_source = np.append(selection.open_kept, False)[events.open[rows.event]]
    has_target = np.append(selection.open_kept, False)[events.other_open[rows.event]]
    result["substituted"] = COPIES[rows.op] & ~(has_source & has_target)
    return result

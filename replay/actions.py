"""What verification does beside each call of a plan: check what a read got, fill what a write writes, note the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import CALL_OF, NONE, Ints, Numbers, Tables
from iotrace.replay.operation_sets import CLONES, COPIES, OPENS, of_kind, one_of
from iotrace.replay.payload import BLOCK
from iotrace.replay.rows import Rows
from iotrace.replay.sight import Sights
from iotrace.replay.snapshot import Snapshot
from iotrace.replay.stage import data_bytes
from iotrace.replay.status import Status
from iotrace.trace.operations import NUMBER_OF, OPERATIONS, Kind

NOTHING: Final = 0
CHECK: Final = 1
"""After the call: check_blocks of its result."""
FILL: Final = 2
"""Before the call: fill_blocks of `size`; after it: settle_write."""
CUT: Final = 3
"""After success: cut_file to `size`."""
ZERO: Final = 4
"""After success: zero_range."""
FORGET: Final = 5
"""After success: forget_range."""
UNCHECKED: Final = 6
"""After the call: count its result as not checked."""

_WHOLE: Final = 1 << 50
_O_TRUNC: Final = 0o1000
_PUNCH_OR_ZERO, _MOVES = 0x2 | 0x10, 0x8 | 0x20
_BYTES: Final = np.array([operation.result == "bytes" for operation in OPERATIONS] + [False])
_READS: Final = of_kind(Kind.READ) & _BYTES
_WRITES: Final = of_kind(Kind.WRITE) & _BYTES


@dataclass(slots=True)
class Actions:
    """One for each row of a plan, shape (n,): what to do, and the file, offset and size (bytes) that it concerns."""

    what: npt.NDArray[np.uint8]
    file: Ints
    offset: Ints
    size: Ints


def actions_of(
    rows: Rows, tables: Tables, offset: Ints | None = None, result: Ints | None = None, file: Numbers | None = None
) -> Actions:
    """What to do beside each row; reads and writes whose place the trace does not know are left alone.

    `offset` and `result`, (rows,): in the place of the events' own, where a replay moves other bytes than recorded;
    `file` too, where the trace has only a name.
    """
    events = tables.events
    n = len(rows)
    event, op = rows.event, CALL_OF[rows.op]
    real = (event >= 0) & ~rows.extra
    at = np.where(event >= 0, event, 0)
    if len(events) == 0:
        return Actions(np.zeros(n, np.uint8), np.full(n, -1, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64))
    result = events.result[at] if result is None else result
    result = np.where(result == NONE, -1, result)
    good = real & (result >= 0)
    flags = np.maximum(events.flags[at], 0)
    file = np.where(real, (events.file[at] if file is None else file).astype(np.int64), -1)
    offset = np.where(real, events.offset[at] if offset is None else offset, NONE)
    size = np.maximum(result, 0)
    what = np.zeros(n, np.uint8)
    placed = good & (offset >= 0) & (size > 0)
    what[placed & _READS[op]] = CHECK
    what[placed & _WRITES[op]] = FILL
    # a write whose place is not known may be anywhere, and pwrite appends where the file was opened to append
    lost = good & _WRITES[op] & (size > 0) & ((offset < 0) | Status(tables).elsewhere(at))

    cuts = good & one_of(("truncate", "ftruncate"))[op]
    what[cuts] = CUT
    size = np.where(cuts, np.maximum(events.size[at], 0), size)
    empties = good & OPENS[op] & ((flags & _O_TRUNC != 0) | (op == NUMBER_OF["creat"]))
    what[empties] = CUT
    size = np.where(empties, 0, size)

    reserves = good & one_of(("fallocate",))[op]
    zeroes = reserves & (flags & _PUNCH_OR_ZERO != 0) & (offset >= 0)
    what[zeroes] = ZERO
    size = np.where(zeroes, np.clip(events.size[at], 0, _WHOLE), size)
    lost |= reserves & (flags & _MOVES != 0)

    clones = good & CLONES[op]
    size = np.where(clones, np.where(events.size[at] == NONE, _WHOLE, np.clip(events.size[at], 0, _WHOLE)), size)
    copies = good & COPIES[op] & (size > 0)
    target = np.where(copies, events.other_file[at].astype(np.int64), -1)
    what[copies] = np.where(target >= 0, FORGET, NOTHING)[copies]
    file = np.where(copies, target, file)
    offset = np.where(copies, events.other_offset[at], offset)
    lost |= copies & (target >= 0) & (offset < 0)

    what[lost] = FORGET
    offset, size = np.where(lost | (what == CUT), 0, offset), np.where(lost, _WHOLE, size)
    what[file < 0] = NOTHING
    idle = what == NOTHING
    return Actions(what, np.where(idle, -1, file), np.where(idle, 0, offset), np.where(idle, 0, size))


def tables_for_checks(actions: Actions, snapshot: Snapshot, sights: Sights | None = None) -> tuple[Ints, Ints]:
    """`staged` and `ends` for iotrace.replay.verify.Checks.

    Files so sparse that their block states would be most of them never used are not verified (-1).
    """
    staged = snapshot.size_of_file.astype(np.int64).copy()
    for file in snapshot.files:
        if 0 <= file.file < len(staged):
            staged[file.file] = data_bytes(file, sights)
    ends, written = np.zeros(len(staged), np.int64), np.zeros(len(staged), np.int64)
    fills = np.flatnonzero((actions.what == FILL) & (actions.file < len(staged)))
    np.maximum.at(ends, actions.file[fills], np.minimum(actions.offset[fills], 1 << 60) + actions.size[fills])
    np.add.at(written, actions.file[fills], actions.size[fills])
    others = np.flatnonzero((actions.what > FILL) & (actions.what != UNCHECKED) & (actions.file < len(staged)))
    ends[actions.file[others]] = np.maximum(ends, np.maximum(staged, 1))[actions.file[others]]
    sparse = ends // BLOCK > 16 * ((written + staged) // BLOCK) + (1 << 20)
    return np.where(sparse, -1, staged), np.where(sparse, 0, ends)

"""Which mapping of the replay each recorded memory operation concerns.

A trace names addresses of the recorded process; a replay maps the same files wherever its kernel puts them. Each
mapping gets a slot; unmapping, advice, syncing and page faults get the slot and the distance within it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from iotrace.replay.columns import SIZE_MAX, Ids, Ints, Numbers, Tables
from iotrace.replay.operation_sets import FAULT, MEMORY, MMAP, one_of
from iotrace.replay.scans import rows_of
from iotrace.replay.select import Reason, Selection
from iotrace.replay.sweeps import MAP_FORGETS, MAP_MAPS, MAP_UNMAPS, MAP_USES, resolve_mappings
from iotrace.trace.operations import NUMBER_OF

_PROT_READ = 1
_EXEC: Final = one_of(("exec",))
_MUNMAP: Final = one_of(("munmap",))


@dataclass(slots=True)
class Mappings:
    """Mappings, and which of them events concern.

    Attributes
    ----------
    count: slots in all.
    place: place of each event in the other arrays, shape (n,), int32, -1 for those that concern no mapping.
    slot: slot that the event makes or concerns, -1 for none; delta: distance from the mapping's address in bytes;
    length: bytes; int64, each with one entry more for the events that concern none.
    left: (slot, delta, length, thread that used the mapping or -1 for several) never unmapped by the trace.
    """

    count: int
    place: Ids
    slot: Ints
    delta: Ints
    length: Ints
    left: list[tuple[int, int, int, int]] = field(default_factory=list)

    def slot_at(self, event: Numbers) -> Ints:
        """Slot of each event."""
        return self.slot[self.place[event]]

    def delta_at(self, event: Numbers) -> Ints:
        """Distance of each event."""
        return self.delta[self.place[event]]

    def length_at(self, event: Numbers) -> Ints:
        """Length of each event."""
        return self.length[self.place[event]]


def resolve_memory(tables: Tables, selection: Selection, page_size: int) -> Mappings:
    """Give each memory operation its mapping; marks those that concern none (Reason.MEMORY)."""
    events, reason = tables.events, selection.reason
    n = len(events)
    nothing = np.broadcast_to(np.int32(-1), n)
    result = Mappings(0, nothing, np.array([-1]), np.zeros(1, np.int64), np.zeros(1, np.int64))
    rows = rows_of(MMAP | MEMORY | _EXEC, events.op)
    if len(rows) == 0:
        return result
    op, kept = events.op[rows], reason[rows] == Reason.KEPT
    good = events.result[rows] >= 0
    made = MMAP[op] & good & (events.file[rows] >= 0)
    ours = made & kept
    uses = MEMORY[op] & kept & good
    execs = (op == NUMBER_OF["exec"]) & (events.result[rows] == 0)
    result.count = int(ours.sum())
    concerned = rows[MEMORY[op] & kept]
    if result.count:
        numbers = np.full(len(rows), -1, np.int64)
        numbers[ours] = np.arange(result.count)
        chosen = np.flatnonzero(made | uses | execs)
        rows, numbers = rows[chosen], numbers[chosen]
        order = np.argsort(events.process[rows], kind="stable")
        rows, numbers = rows[order], numbers[order]
        action = np.full(len(rows), MAP_USES, np.int8)
        action[made[chosen][order]] = MAP_MAPS
        action[_MUNMAP[events.op[rows]]] = MAP_UNMAPS
        action[execs[chosen][order]] = MAP_FORGETS
        # as long as the replay maps it, and no longer: what lies behind a mapping is this process's own memory
        size = np.minimum(events.size[rows], SIZE_MAX)
        slot, delta, length = resolve_mappings(
            action, events.process[rows], events.thread[rows], events.address[rows], size,
            events.file[rows], events.offset[rows], numbers, page_size,
        )  # fmt: skip
        # a mapping at an address that cannot be is still made, only nothing refers to it
        slot = np.where(action == MAP_MAPS, numbers, slot)
        mine = np.flatnonzero(numbers >= 0)
        length[mine] = np.maximum(size[mine], 0)
        readable = np.zeros(result.count + 1, np.bool_)
        readable[numbers[mine]] = events.mode[rows[mine]] & _PROT_READ != 0
        slot[FAULT[events.op[rows]] & ~readable[slot]] = -1
        result.slot, result.delta, result.length = (
            np.append(column, last) for column, last in ((slot, -1), (delta, 0), (length, 0))
        )
        result.place = np.full(n, -1, np.int32)
        result.place[rows] = np.arange(len(rows), dtype=np.int32)
    lost = result.slot_at(concerned) < 0
    lost |= _MUNMAP[events.op[concerned]] & (result.length_at(concerned) <= 0)
    reason[concerned[lost]] = Reason.MEMORY
    events.release("address", "size", "offset", "mode")
    if result.count:
        result.slot[:-1][reason[rows] != Reason.KEPT] = -1
        _leftovers(tables, result, rows, page_size)
    return result


def _leftovers(tables: Tables, result: Mappings, rows: Ints, page_size: int) -> None:
    """Parts of mappings that the trace does not unmap: the replay does, at the end of the thread that used them.

    `rows`: the events that concern mappings.
    """
    events = tables.events
    used = np.flatnonzero(result.slot[:-1] >= 0)
    op, thread = events.op[rows[used]], events.thread[rows[used]]
    slot, delta, size = result.slot[used], result.delta[used], result.length[used]
    lowest = np.full(result.count, np.iinfo(np.int32).max, np.int64)
    highest = np.full(result.count, -1, np.int64)
    np.minimum.at(lowest, slot, thread)
    np.maximum.at(highest, slot, thread)
    owner = np.where(lowest == highest, lowest, -1)
    length = np.zeros(result.count, np.int64)
    made = MMAP[op]
    length[slot[made]] = (size[made] + page_size - 1) // page_size * page_size
    unmaps = _MUNMAP[op]
    cut: dict[int, list[tuple[int, int]]] = {}
    whole = unmaps & (delta == 0) & (size >= length[slot])
    gone = np.zeros(result.count, np.bool_)
    gone[slot[whole]] = True
    for at in np.flatnonzero(unmaps & ~whole).tolist():
        cut.setdefault(int(slot[at]), []).append((int(delta[at]), int(size[at])))
    for one in np.flatnonzero(~gone).tolist():
        at = 0
        for begin, piece in sorted(cut.get(one, [])):
            if begin > at:
                result.left.append((one, at, begin - at, int(owner[one])))
            at = max(at, begin + piece)
        if at < length[one]:
            result.left.append((one, at, int(length[one]) - at, int(owner[one])))

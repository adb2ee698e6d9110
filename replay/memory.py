"""Which mapping of the replay each recorded memory operation concerns.

A trace names addresses of the recorded process; a replay maps the same files wherever its kernel puts them. Each
mapping gets a slot; unmapping, advice, syncing and page faults get the slot and the distance within it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from iotrace.replay.columns import Ints, Tables
from iotrace.replay.select import FAULT, MEMORY, MMAP, Reason, Selection, _table
from iotrace.replay.sweeps import MAP_FORGETS, MAP_MAPS, MAP_UNMAPS, MAP_USES, resolve_mappings
from iotrace.trace.operations import NUMBER_OF

_PROT_READ = 1


@dataclass(slots=True)
class Mappings:
    """Mappings; event arrays have shape (n,), int64.

    Attributes
    ----------
    count: slots in all.
    slot: slot that the event makes or concerns, -1 for none; delta: distance from the mapping's address in bytes;
    length: bytes.
    left: (slot, delta, length, thread that used the mapping or -1 for several) never unmapped by the trace.
    """

    count: int
    slot: Ints
    delta: Ints
    length: Ints
    left: list[tuple[int, int, int, int]] = field(default_factory=list)


def resolve_memory(tables: Tables, selection: Selection, page_size: int) -> Mappings:
    """Give each memory operation its mapping; marks those that concern none (Reason.MEMORY)."""
    events, kept = tables.events, selection.kept
    n = len(events)
    made = MMAP[events.op] & (events.result >= 0) & (events.file >= 0)
    ours = made & kept
    uses = MEMORY[events.op] & kept & (events.result >= 0)
    execs = (events.op == NUMBER_OF["exec"]) & (events.result == 0)
    result = Mappings(int(ours.sum()), np.full(n, -1, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64))
    rows = np.flatnonzero(made | uses | execs)
    if ours.any():
        rows = rows[np.argsort(events.process[rows], kind="stable")]
        action = np.full(len(rows), MAP_USES, np.int8)
        action[made[rows]] = MAP_MAPS
        action[_table(("munmap",))[events.op[rows]]] = MAP_UNMAPS
        action[execs[rows]] = MAP_FORGETS
        numbers = np.full(n, -1, np.int64)
        numbers[ours] = np.arange(result.count)
        slot, delta, length = resolve_mappings(
            action, events.process[rows].astype(np.int64), events.thread[rows].astype(np.int64), events.address[rows],
            events.size[rows], events.file[rows].astype(np.int64), events.offset[rows], numbers[rows], page_size,
        )  # fmt: skip
        # a mapping at an address that cannot be is still made, only nothing refers to it
        slot = np.where(action == MAP_MAPS, numbers[rows], slot)
        result.slot[rows], result.delta[rows], result.length[rows] = slot, delta, length
        result.length[ours] = np.clip(events.size[ours], 0, 1 << 46)
        readable = np.append(events.mode[ours] & _PROT_READ != 0, False)
        blind = FAULT[events.op] & ~readable[result.slot]
        result.slot[blind & ~made] = -1
    lost = MEMORY[events.op] & kept & (result.slot < 0)
    lost |= _table(("munmap",))[events.op] & kept & (result.length <= 0)
    selection.reason[lost] = Reason.MEMORY
    result.slot[selection.reason != Reason.KEPT] = -1
    if result.count:
        _leftovers(tables, result, page_size)
    return result


def _leftovers(tables: Tables, result: Mappings, page_size: int) -> None:
    """Parts of mappings that the trace does not unmap: the replay does, at the end of the thread that used them."""
    events = tables.events
    used = np.flatnonzero(result.slot >= 0)
    slot = result.slot[used]
    lowest = np.full(result.count, np.iinfo(np.int32).max, np.int64)
    highest = np.full(result.count, -1, np.int64)
    np.minimum.at(lowest, slot, events.thread[used])
    np.maximum.at(highest, slot, events.thread[used])
    owner = np.where(lowest == highest, lowest, -1).tolist()
    made = used[MMAP[events.op[used]]]
    length = np.zeros(result.count, np.int64)
    length[result.slot[made]] = (result.length[made] + page_size - 1) // page_size * page_size
    unmaps = used[_table(("munmap",))[events.op[used]]]
    cut: dict[int, list[tuple[int, int]]] = {}
    whole = (result.delta[unmaps] == 0) & (result.length[unmaps] >= length[result.slot[unmaps]])
    gone = np.zeros(result.count, np.bool_)
    gone[result.slot[unmaps[whole]]] = True
    for row in unmaps[~whole].tolist():
        cut.setdefault(int(result.slot[row]), []).append((int(result.delta[row]), int(result.length[row])))
    for one in np.flatnonzero(~gone).tolist():
        at = 0
        for delta, size in sorted(cut.get(one, [])):
            if delta > at:
                result.left.append((one, at, delta - at, owner[one]))
            at = max(at, delta + size)
        if at < length[one]:
            result.left.append((one, at, int(length[one]) - at, owner[one]))

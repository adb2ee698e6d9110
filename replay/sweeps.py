"""Single passes over sorted tables that NumPy cannot express: positions, live mappings, edges between threads.

Each is a Numba kernel that takes and gives arrays, with no state of its own; what may be long is made by NumPy, which
may put it into a file (iotrace.replay.filed).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.trace.schema import NULL

MAPPINGS_MAX: Final = 65530
"""Live mappings of one process: vm.max_map_count's default."""


POSITION_OPEN: Final = 1
POSITION_MOVES: Final = 2
POSITION_SEEKS: Final = 3
POSITION_COPY: Final = 4


def implicit_positions(action: Any, open_: Any, offset: Any, result: Any, start: Any) -> Any:
    """Which copies went on from their description's own position.

    Arrays of shape (n,) in order of completion: action (POSITION_*), description (-1 none), offset, result; `start`,
    shape (opens,), holds the positions of inherited descriptions (0 elsewhere). Gives a bool array of shape (n,).
    """
    implicit = np.zeros(len(action), np.bool_)
    _implicit_positions(action, open_, offset, result, start.copy(), implicit)
    return implicit


@compiled
def _implicit_positions(action: Any, open_: Any, offset: Any, result: Any, position: Any, implicit: Any) -> Any:
    for i in range(len(action)):
        x = open_[i]
        if x < 0 or result[i] < 0:
            continue
        if action[i] == POSITION_OPEN:
            position[x] = 0
        elif action[i] == POSITION_SEEKS:
            position[x] = result[i]
        elif action[i] == POSITION_MOVES:
            if offset[i] >= 0:
                position[x] = offset[i] + result[i]
            else:
                position[x] += result[i]
        elif action[i] == POSITION_COPY:
            implicit[i] = offset[i] == NULL or offset[i] == position[x]
            if implicit[i]:
                position[x] += result[i]


MAP_MAPS: Final = 1
MAP_UNMAPS: Final = 2
MAP_USES: Final = 3
MAP_FORGETS: Final = 4


@compiled
def _find(lo: Any, live: int, address: int) -> int:
    """Last entry that begins at or before the address, -1 for none."""
    left, right = 0, live
    while left < right:
        middle = (left + right) // 2
        if lo[middle] <= address:
            left = middle + 1
        else:
            right = middle
    return left - 1


@compiled
def _cut(lo: Any, hi: Any, slot: Any, base: Any, file: Any, offset: Any, live: int, low: int, high: int) -> int:
    """Take [low, high) out of the live entries; gives the new number of entries."""
    i = max(_find(lo, live, low), 0)
    while i < live and lo[i] < high:
        if hi[i] <= low:
            i += 1
        elif lo[i] < low and hi[i] > high:
            if live + 1 > len(lo):
                hi[i] = low
                return live
            for j in range(live, i + 1, -1):
                lo[j], hi[j], slot[j], base[j], file[j], offset[j] = (
                    lo[j - 1], hi[j - 1], slot[j - 1], base[j - 1], file[j - 1], offset[j - 1],
                )  # fmt: skip
            lo[i + 1], hi[i + 1], slot[i + 1], base[i + 1], file[i + 1], offset[i + 1] = (
                high, hi[i], slot[i], base[i], file[i], offset[i],
            )  # fmt: skip
            hi[i] = low
            return live + 1
        elif lo[i] < low:
            hi[i] = low
            i += 1
        elif hi[i] > high:
            lo[i] = high
            return live
        else:
            for j in range(i, live - 1):
                lo[j], hi[j], slot[j], base[j], file[j], offset[j] = (
                    lo[j + 1], hi[j + 1], slot[j + 1], base[j + 1], file[j + 1], offset[j + 1],
                )  # fmt: skip
            live -= 1
    return live


def resolve_mappings(
    action: Any, process: Any, thread: Any, address: Any, size: Any, file: Any, offset: Any, slot: Any, page: int
) -> Any:
    """Which recorded mapping each memory operation is in.

    Arrays of shape (n,), sorted by process and then by completion: action (MAP_*), process, thread, address (NULL where
    not known), size, file, offset in the file, and for MAP_MAPS the slot that it makes. A use without an address is
    taken to be in a mapping of its file that the same thread made, or else in any: threads that each map the same file
    at the same time are told apart by that. Gives (slot, delta, length), each
    of shape (n,): the slot (-1: none known), the distance from the slot's address, and the length clipped to what is
    mapped there. A part of a mapping is given to at most one unmapping, so that no replay can unmap memory that is
    not its own.
    """
    n = len(action)
    at_slot, delta, length = np.full(n, -1, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    maker = np.full(n + 1, -1, np.int64)  # slots number the mappings, of which there are at most n
    _resolve_mappings(
        action, process, thread, address, size, file, offset, slot, page, at_slot, delta, length, maker
    )  # fmt: skip
    return at_slot, delta, length


@compiled
def _resolve_mappings(
    action: Any, process: Any, thread: Any, address: Any, size: Any, file: Any, offset: Any, slot: Any, page: int,
    at_slot: Any, delta: Any, length: Any, maker: Any,
) -> Any:  # fmt: skip
    n = len(action)
    lo = np.zeros(MAPPINGS_MAX, np.int64)
    hi = np.zeros(MAPPINGS_MAX, np.int64)
    of_slot = np.zeros(MAPPINGS_MAX, np.int64)
    base = np.zeros(MAPPINGS_MAX, np.int64)
    of_file = np.zeros(MAPPINGS_MAX, np.int64)
    of_offset = np.zeros(MAPPINGS_MAX, np.int64)
    live = 0
    for i in range(n):
        if i == 0 or process[i] != process[i - 1]:
            live = 0
        if action[i] == MAP_FORGETS:
            live = 0
            continue
        low = address[i]
        asked = min(max(size[i], 0), np.int64(1) << 60)
        if low == NULL:
            if action[i] == MAP_USES and offset[i] >= 0 and file[i] >= 0:
                for j in range(live - 1, -1, -1):
                    place = offset[i] - of_offset[j]
                    if of_file[j] == file[i] and place >= lo[j] - base[j] and place < hi[j] - base[j]:
                        own = of_slot[j] >= 0 and maker[of_slot[j]] == thread[i]
                        if at_slot[i] == -1 or own:
                            at_slot[i], delta[i], length[i] = of_slot[j], place, min(asked, hi[j] - base[j] - place)
                        if own:
                            break
            continue
        if low < 0 or low > np.int64(1) << 60:
            continue
        rounded = (asked + page - 1) // page * page
        if action[i] == MAP_MAPS:
            if rounded == 0:
                continue
            live = _cut(lo, hi, of_slot, base, of_file, of_offset, live, low, low + rounded)
            if live >= MAPPINGS_MAX:
                continue
            place = _find(lo, live, low) + 1
            for j in range(live, place, -1):
                lo[j], hi[j], of_slot[j], base[j], of_file[j], of_offset[j] = (
                    lo[j - 1], hi[j - 1], of_slot[j - 1], base[j - 1], of_file[j - 1], of_offset[j - 1],
                )  # fmt: skip
            lo[place], hi[place], of_slot[place], base[place] = low, low + rounded, slot[i], low
            of_file[place], of_offset[place] = file[i], offset[i]
            live += 1
            if slot[i] >= 0:
                maker[slot[i]] = thread[i]
            at_slot[i], length[i] = slot[i], rounded
            continue
        j = _find(lo, live, low)
        if j < 0 or low >= hi[j]:
            if action[i] == MAP_UNMAPS:
                live = _cut(lo, hi, of_slot, base, of_file, of_offset, live, low, low + rounded)
            continue
        at_slot[i], delta[i] = of_slot[j], low - base[j]
        reach = asked if action[i] == MAP_USES else rounded
        length[i] = min(reach, hi[j] - low)
        if action[i] == MAP_UNMAPS:
            live = _cut(lo, hi, of_slot, base, of_file, of_offset, live, low, low + rounded)


def find_edges(resource: Any, row: Any, thread: Any, start: Any, end: Any, level: Any) -> Any:
    """Edges between threads that keep conflicting accesses in their recorded order.

    Arrays of shape (n,), sorted by resource and then by start: resource, plan row, and level (of
    iotrace.replay.access): READS and WRITES conflict with each other, EXCLUDES (creates, removes, truncates, closes)
    with all. By plan row: thread, start and end (ns).
    Gives (before, after), rows of the plan: an edge only where the first access had ended before the second began, by
    another thread, and only from the last such accesses. Start times grow strictly along an edge, so that edges and the
    threads' own order cannot form a circle, whatever a trace holds.
    """
    return _find_edges(resource, row, thread, start, end, level, np.zeros(len(resource), np.int64))


@compiled
def _find_edges(resource: Any, row: Any, thread: Any, start: Any, end: Any, level: Any, told: Any) -> Any:
    """`told`, (n,): threads that wait for an access already, a bit each: what they do later need not wait again."""
    before = np.empty(1024, np.int64)
    after = np.empty(1024, np.int64)
    edges = 0
    kept = np.empty(64, np.int64)
    few = len(thread) == 0 or thread.max() < 63
    live = 0
    for i in range(len(resource)):
        mine = np.int64(1) << np.int64(thread[row[i]]) if few else np.int64(0)
        if i == 0 or resource[i] != resource[i - 1]:
            live = 0
        # what ended before an exclusive access began that has itself ended by now is ordered through that one
        newest_start = np.int64(-(1 << 62))
        for k in range(live):
            j = kept[k]
            if (
                level[j] == 2
                and end[row[j]] <= start[row[i]]
                and start[row[j]] < start[row[i]]
                and start[row[j]] > newest_start
            ):
                newest_start = start[row[j]]
        stay = 0
        for k in range(live):
            j = kept[k]
            if end[row[j]] > newest_start or start[row[j]] >= newest_start:
                kept[stay] = j
                stay += 1
        live = stay
        for k in range(live):
            j = kept[k]
            conflict = level[i] == 2 or level[j] == 2 or level[i] != level[j]
            if (
                conflict
                and told[j] & mine == 0
                and thread[row[j]] != thread[row[i]]
                and end[row[j]] <= start[row[i]]
                and start[row[j]] < start[row[i]]
            ):
                if edges == len(before):
                    more_before = np.empty(2 * edges, np.int64)
                    more_before[:edges] = before
                    before = more_before
                    more_after = np.empty(2 * edges, np.int64)
                    more_after[:edges] = after
                    after = more_after
                told[j] |= mine
                before[edges], after[edges] = row[j], row[i]
                edges += 1
        # of one thread's accesses of a level, the last that had ended before this one and those after it stand for all
        last = -1
        for k in range(live):
            j = kept[k]
            if (
                thread[row[j]] == thread[row[i]]
                and level[j] == level[i]
                and end[row[j]] <= start[row[i]]
                and start[row[j]] < start[row[i]]
            ):
                last = k
        stay = 0
        for k in range(live):
            j = kept[k]
            if k >= last or thread[row[j]] != thread[row[i]] or level[j] != level[i]:
                kept[stay] = j
                stay += 1
        live = stay
        if live == len(kept):
            more = np.empty(2 * live, np.int64)
            more[:live] = kept
            kept = more
        kept[live] = i
        live += 1
    return before[:edges], after[:edges]


@compiled
def reduce_edges(before: Any, after: Any, lane_of: Any, lanes: int) -> Any:
    """Which edges are needed, given in order of `after`: not those within a lane, nor those already waited for.

    `before` and `after` are positions in the lane-major order; gives a bool array of their shape.
    """
    needed = np.zeros(len(before), np.bool_)
    waited = np.full(lanes, -1, np.int64)
    for i in range(len(before)):
        lane = lane_of[after[i]]
        if i == 0 or lane != lane_of[after[i - 1]]:
            waited[:] = -1
        other = lane_of[before[i]]
        if other != lane and before[i] > waited[other]:
            needed[i] = True
            waited[other] = before[i]
    return needed

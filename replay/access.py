"""Which resources each call of a plan uses: the pass over all rows from which the order between threads is made.

Resources are numbered: data of files, names, descriptions, mappings, locks on files. What an operation does to them is
a word of bits (iotrace.replay.order makes the table).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.replay.sweeps import EXCLUDES, READS, WRITES

READS_DATA: Final = 1
WRITES_DATA: Final = 2
COPIES_DATA: Final = 4
RESIZES: Final = 8
OPENS: Final = 16
CHANGES_NAME: Final = 32
SEEKS: Final = 64
USES_OPEN: Final = 128
CHANGES_OPEN: Final = 256
NO_FOLDER: Final = 512
CHANGES_OTHER: Final = 1024
ENDS_MAPPING: Final = 2048
LOCKS: Final = 4096

_O_CREAT: Final = 0o100
_O_TRUNC: Final = 0o1000
_SEEK_END: Final = 2


@compiled
def _take(
    resource: int, level: int, row: int, thread: int, users: Any, levels: Any, number: Any, resources: Any, rows: Any,
    row_levels: Any, found: int,
) -> Any:  # fmt: skip
    """Note one access; gives how many have been found."""
    if len(number) == 0:
        if users[resource] == -1:
            users[resource] = thread
        elif users[resource] != thread:
            users[resource] = -2
        levels[resource] |= 1 << level
        return found
    if number[resource] >= 0:
        if len(rows):
            resources[found], rows[found], row_levels[found] = number[resource], row, level
        return found + 1
    return found


@compiled
def accesses(
    event: Any, thread: Any, bits: Any, op: Any, flags: Any, m0: int, result: Any, file: Any, m1: int, other_file: Any,
    m2: int, opens: Any, m3: int, other_open: Any, m4: int, node: Any, node2: Any, m5: int, implicit: Any, m6: int,
    map_place: Any, m7: int, map_slot: Any, real: Any, above_begin: Any, above: Any, bases: Any,
    users: Any, levels: Any, number: Any, resources: Any, rows: Any, row_levels: Any,
) -> int:  # fmt: skip
    """All accesses of all rows, looked at in one of three ways; gives how many of kept resources there are.

    Without `number`: which thread uses each resource (-2 several, -1 none) and at which levels (bits), into `users` and
    `levels`. With it, -1 for those that are left out: counts; and with `resources`, `rows` and `row_levels` of that
    length: fills them with number, row of the plan and level of each access.

    The first columns are by row of the plan (event, thread), the next by event, each with the mask of its index.
    """
    found = 0
    data, names, descriptions, mappings, locks = bases[0], bases[1], bases[2], bases[3], bases[4]
    for i in range(len(event)):
        e = np.int64(event[i])
        does = bits[op[e]]
        t = thread[i]
        f = file[e & m1]
        is_open = does & 16 != 0
        bound = np.int64(0)
        if does & (16 | 64) != 0:
            bound = max(flags[e & m0], np.int64(0))
        if f >= 0:
            if does & 1 != 0 or (does & 64 != 0 and bound == 2):
                found = _take(data + f, READS, i, t, users, levels, number, resources, rows, row_levels, found)
            if does & 2 != 0:
                found = _take(data + f, WRITES, i, t, users, levels, number, resources, rows, row_levels, found)
            if does & 8 != 0 or (is_open and bound & 0o1000 != 0):
                found = _take(data + f, EXCLUDES, i, t, users, levels, number, resources, rows, row_levels, found)
            if does & 4096 != 0 and result[e] >= 0:
                found = _take(locks + f, EXCLUDES, i, t, users, levels, number, resources, rows, row_levels, found)
        if does & 4 != 0 and other_file[e & m2] >= 0:
            found = _take(
                data + other_file[e & m2], WRITES, i, t, users, levels, number, resources, rows, row_levels, found
            )
        first, second = node[e], node2[e & m5]
        if first >= 0 or second >= 0:
            changes = (does & 32 != 0 or (is_open and bound & 0o100 != 0)) and result[e] >= 0
            level = EXCLUDES if changes else READS
            for one in (first, second):
                if one >= 0:
                    at = real[one]
                    # what leads through a link to nowhere has the last number
                    at = at if at >= 0 else len(real) - 1
                    found = _take(names + at, level, i, t, users, levels, number, resources, rows, row_levels, found)
                    for k in range(above_begin[at], above_begin[at + 1]):
                        found = _take(
                            names + above[k], READS, i, t, users, levels, number, resources, rows, row_levels, found
                        )
        x = opens[e & m3]
        if x >= 0 and does & 512 == 0:
            level = EXCLUDES if does & 128 != 0 and (does & 256 != 0 or implicit[e & m6]) else READS
            found = _take(descriptions + x, level, i, t, users, levels, number, resources, rows, row_levels, found)
        x = other_open[e & m4]
        if x >= 0:
            level = EXCLUDES if does & 1024 != 0 else READS
            found = _take(descriptions + x, level, i, t, users, levels, number, resources, rows, row_levels, found)
        slot = map_slot[map_place[e & m7]]
        if slot >= 0:
            level = EXCLUDES if does & 2048 != 0 else READS
            found = _take(mappings + slot, level, i, t, users, levels, number, resources, rows, row_levels, found)
    return found


@compiled
def needed_accesses(resource: Any, row: Any, level: Any, thread: Any, start: Any, end: Any, count: int) -> Any:
    """Which accesses order anything: of a thread's reads of one resource with nothing but reads by anyone in between,
    the first and the last; all that are no reads. Bool, (n,).

    `resource` (0 … count - 1), `row` and `level` of each access, sorted by row; `thread`, `start` and `end` by row.
    """
    # when accesses that are no reads begin and end, for each resource in order of time
    begin = np.zeros(count + 1, np.int64)
    for i in range(len(row)):
        if level[i] != READS:
            begin[resource[i] + 1] += 2
    for k in range(count):
        begin[k + 1] += begin[k]
    at, times = begin[:-1].copy(), np.empty(begin[-1], np.int64)
    for i in range(len(row)):
        if level[i] != READS:
            k = resource[i]
            times[at[k]], times[at[k] + 1] = start[row[i]], end[row[i]]
            at[k] += 2
    for k in range(count):
        times[begin[k] : begin[k + 1]].sort()
    needed = np.ones(len(row), np.bool_)
    owner = np.full(count, -1, np.int64)
    since = np.full(count, -1, np.int64)  # how many of the times had passed when the reads in a row began
    last = np.full(count, -1, np.int64)
    for i in range(len(row)):
        if level[i] != READS:
            continue
        k, r = resource[i], row[i]
        mine = times[begin[k] : begin[k + 1]]
        passed = np.searchsorted(mine, start[r])
        quiet = passed == len(mine) or mine[passed] > end[r]
        if quiet and owner[k] == thread[r] and since[k] == passed:
            if last[k] >= 0:
                needed[last[k]] = False
            last[k] = i
        else:
            owner[k], since[k], last[k] = (thread[r] if quiet else -1), passed, -1
    return needed


@compiled
def stable_order(number: Any, count: int) -> Any:
    """Order that sorts small numbers, equal ones as they stand; (n,), int64."""
    at = np.zeros(count + 1, np.int64)
    for i in range(len(number)):
        at[number[i] + 1] += 1
    for k in range(count):
        at[k + 1] += at[k]
    order = np.empty(len(number), np.int64)
    for i in range(len(number)):
        order[at[number[i]]] = i
        at[number[i]] += 1
    return order

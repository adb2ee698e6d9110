"""Which resources each call of a plan uses: the pass over all rows from which the order between threads is made.

Resources are numbered: data of files, names, descriptions, mappings, locks on files, extended attributes of files and
of what is known by its name alone. What an operation does to them is a word of bits (iotrace.replay.order makes the
table).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled

# levels of an access: which others it conflicts with (iotrace.replay.sweeps.find_edges)
READS: Final = 0
WRITES: Final = 1
EXCLUDES: Final = 2

# bits of what an operation does
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
READS_XATTRS: Final = 8192
SETS_XATTRS: Final = 16384
RENAMES: Final = 32768
CLOSES: Final = 65536

_O_CREAT: Final = 0o100
_O_TRUNC: Final = 0o1000
_SEEK_END: Final = 2
_ENOTEMPTY, _EEXIST = 39, 17


@compiled
def _take(
    todo: Any, many: int, thread: int, row: int, users: Any, levels: Any, counts: Any, number: Any, resources: Any,
    rows: Any, row_levels: Any, found: int,
) -> Any:  # fmt: skip
    """Look at the accesses of one row, the first `many` of `todo` (resource << 2 | level), in one of the two ways.

    One call for a row: one for each access costs more than all the rest.
    """
    if len(number) == 0:
        for k in range(many):
            resource = todo[k] >> 2
            if users[resource] == -1:
                users[resource] = thread
            elif users[resource] != thread:
                users[resource] = -2
            levels[resource] |= 1 << (todo[k] & 3)
            counts[resource] += 1
    else:
        for k in range(many):
            resource = number[todo[k] >> 2]
            if resource >= 0:
                resources[found], rows[found], row_levels[found] = resource, row, todo[k] & 3
                found += 1
    return found


@compiled
def accesses(
    row_of: Any, thread: Any, bits: Any, op: Any, flags: Any, m0: int, result: Any, file: Any, m1: int, other_file: Any,
    m2: int, opens: Any, m3: int, other_open: Any, m4: int, node: Any, node2: Any, m5: int, implicit: Any, m6: int,
    map_place: Any, m7: int, map_slot: Any, real: Any, above_begin: Any, above: Any, locked: Any, bases: Any,
    users: Any, levels: Any, counts: Any, number: Any, resources: Any, rows: Any, row_levels: Any,
) -> Any:  # fmt: skip
    """All accesses of all rows, looked at in one of two ways; gives how many were written.

    Without `number`: which thread uses each resource (-2 several, -1 none), at which levels (bits) and how often, into
    `users`, `levels` and `counts`. With it, -1 for those that are left out: number, row of the plan and level of each
    access into `resources`, `rows` and `row_levels`, in the order of the events.

    Columns are by event (in whose order memory is read one cell behind another), each with the mask of its index;
    `row_of` is each event's row, -1 for none. `locked`, (files,): locks are asked for on it.
    """
    found = 0
    deepest = 0
    for k in range(len(above_begin) - 1):
        deepest = max(deepest, above_begin[k + 1] - above_begin[k])
    todo = np.empty(16 + 2 * deepest, np.int64)
    data, names, descriptions, mappings, locks = bases[0], bases[1], bases[2], bases[3], bases[4]
    attributes, nameless = bases[5], bases[6]
    for e in range(len(row_of)):
        i = np.int64(row_of[e])
        if i < 0:
            continue
        does = bits[op[e]]
        many = 0
        f = file[e & m1]
        is_open = does & 16 != 0
        bound = np.int64(0)
        if does & (16 | 64) != 0:
            bound = max(flags[e & m0], np.int64(0))
        if f >= 0:
            # a seek by whence looks at the file: its end, its data, its holes
            if does & 1 != 0 or (does & 64 != 0 and bound >= 2):
                todo[many] = (data + f) << 2 | READS
                many += 1
            if does & 2 != 0:
                todo[many] = (data + f) << 2 | WRITES
                many += 1
            if does & 8 != 0 or (is_open and bound & 0o1000 != 0):
                todo[many] = (data + f) << 2 | EXCLUDES
                many += 1
            if does & LOCKS != 0 or (does & CLOSES != 0 and locked[f]):
                # a lock that is refused looks at who holds it; a close gives locks back
                todo[many] = (locks + f) << 2 | (EXCLUDES if result[e] >= 0 or does & CLOSES != 0 else READS)
                many += 1
            if does & (READS_XATTRS | SETS_XATTRS) != 0:
                todo[many] = (attributes + f) << 2 | (EXCLUDES if does & SETS_XATTRS != 0 else READS)
                many += 1
        if does & 1024 != 0 and does & 4 == 0 and other_file[e & m2] >= 0 and locked[other_file[e & m2]]:
            # what a dup2 closed
            todo[many] = (locks + other_file[e & m2]) << 2 | EXCLUDES
            many += 1
        if does & 4 != 0 and other_file[e & m2] >= 0:
            todo[many] = (data + other_file[e & m2]) << 2 | WRITES
            many += 1
        first, second = node[e], node2[e & m5]
        if first >= 0 or second >= 0:
            if f < 0 and first >= 0 and does & (RESIZES | READS_XATTRS | SETS_XATTRS) != 0:
                at = real[first]
                at = at if at >= 0 else len(real) - 1
                todo[many] = (nameless + at) << 2 | (READS if does & READS_XATTRS != 0 else EXCLUDES)
                many += 1
            changes = (does & 32 != 0 or (is_open and bound & 0o100 != 0)) and result[e] >= 0
            # what is refused because a folder is not empty depends on all that is made and removed in it
            changes |= does & CHANGES_NAME != 0 and result[e] == -_ENOTEMPTY
            changes |= does & RENAMES != 0 and result[e] == -_EEXIST
            level = EXCLUDES if changes else READS
            for one in (first, second):
                if one >= 0:
                    at = real[one]
                    # what leads through a link to nowhere has the last number
                    at = at if at >= 0 else len(real) - 1
                    todo[many] = (names + at) << 2 | level
                    many += 1
                    for k in range(above_begin[at], above_begin[at + 1]):
                        todo[many] = (names + above[k]) << 2 | READS
                        many += 1
        x = opens[e & m3]
        if x >= 0 and does & 512 == 0:
            level = EXCLUDES if does & 128 != 0 and (does & 256 != 0 or implicit[e & m6]) else READS
            todo[many] = (descriptions + x) << 2 | level
            many += 1
        x = other_open[e & m4]
        if x >= 0:
            todo[many] = (descriptions + x) << 2 | (EXCLUDES if does & 1024 != 0 else READS)
            many += 1
        slot = map_slot[map_place[e & m7]]
        if slot >= 0:
            todo[many] = (mappings + slot) << 2 | (EXCLUDES if does & 2048 != 0 else READS)
            many += 1
        found = _take(
            todo, many, thread[e], i, users, levels, counts, number, resources, rows, row_levels, found
        )  # fmt: skip
    return found


@compiled
def ranged(
    file: Any, begin: Any, end: Any, does: Any, beyond: Any, shift: Any, first: Any, thread: Any, users: Any,
    levels: Any, counts: Any, number: Any, resources: Any, which: Any, which_levels: Any,
) -> Any:  # fmt: skip
    """All accesses of all touches (see iotrace.replay.ranges), looked at in one of two ways, as `accesses` does.

    Without `number`: who uses each resource, at which levels, how often. With it: number, touch and level of each
    access into `resources`, `which` and `which_levels`.
    """
    found = 0
    todo = np.empty(64, np.int64)
    for i in range(len(file)):
        f, what = file[i], does[i]
        whole, size = 2 * f, 2 * f + 1
        todo[0] = whole << 2 | (2 if what >= 4 else 0)
        many = 1
        if (what >= 1 and what <= 3) or (what == 0 and beyond[i]):
            todo[1] = size << 2 | (what if what == 1 or what == 2 else 0)
            many = 2
        if what <= 2 and end[i] > begin[i]:
            for chunk in range(begin[i] >> shift[f], ((end[i] - 1) >> shift[f]) + 1):
                todo[many] = (first[f] + chunk) << 2 | min(what, 1)
                many += 1
        found = _take(
            todo, many, thread[i], i, users, levels, counts, number, resources, which, which_levels, found
        )  # fmt: skip
    return found


def needed_accesses(resource: Any, row: Any, level: Any, thread: Any, start: Any, end: Any, count: int) -> Any:
    """Which accesses order anything: of a thread's reads of one resource with nothing but reads by anyone in between,
    the first and the last; all that are no reads. Bool, (n,).

    `resource` (0 … count - 1), `row` and `level` of each access, sorted by row; `thread`, `start` and `end` by row.
    """
    begin = np.zeros(count + 1, np.int64)
    _begins(resource, level, begin)
    times, needed = np.empty(begin[-1], np.int64), np.ones(len(row), np.bool_)
    states = np.full((3, count), -1, np.int64)
    _needed_accesses(resource, row, level, thread, start, end, begin, times, states, needed)
    return needed


@compiled
def _begins(resource: Any, level: Any, begin: Any) -> Any:
    """Where each resource's times of accesses that are no reads begin, two for each."""
    for i in range(len(resource)):
        if level[i] != READS:
            begin[resource[i] + 1] += 2
    for k in range(len(begin) - 1):
        begin[k + 1] += begin[k]


@compiled
def _needed_accesses(
    resource: Any, row: Any, level: Any, thread: Any, start: Any, end: Any, begin: Any, times: Any, states: Any,
    needed: Any,
) -> Any:  # fmt: skip
    # when accesses that are no reads begin and end, for each resource in order of time
    at = begin[:-1].copy()
    for i in range(len(row)):
        if level[i] != READS:
            k = resource[i]
            times[at[k]], times[at[k] + 1] = start[row[i]], end[row[i]]
            at[k] += 2
    for k in range(len(begin) - 1):
        times[begin[k] : begin[k + 1]].sort()
    # `since`: how many of the times had passed when the reads in a row began
    owner, since, last = states[0], states[1], states[2]
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


def stable_order(number: Any, count: int) -> Any:
    """Order that sorts small numbers, equal ones as they stand; (n,), int64."""
    order, at = np.empty(len(number), np.int64), np.zeros(count + 1, np.int64)
    _stable_order(number, at, order)
    return order


@compiled
def _stable_order(number: Any, at: Any, order: Any) -> Any:
    for i in range(len(number)):
        at[number[i] + 1] += 1
    for k in range(len(at) - 1):
        at[k + 1] += at[k]
    for i in range(len(number)):
        order[at[number[i]]] = i
        at[number[i]] += 1

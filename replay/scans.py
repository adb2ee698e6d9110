"""Single passes over all events of a trace, for what NumPy would sort or copy whole columns for.

Each is a Numba kernel that takes and gives arrays, with no state of its own; what may be long is made by NumPy, which
may put it into a file (iotrace.replay.filed). `wanted`, of shape (operations + 1,), says
for which operations a pass looks at an event; its last entry stands for operations that are not known (-1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from iotrace.compiling import compiled


def rows_of(wanted: Any, op: Any) -> Any:
    """Events of the wanted operations, int64."""
    rows = np.empty(_count_of(wanted, op), np.int64)
    _rows_of(wanted, op, rows)
    return rows


@compiled
def _count_of(wanted: Any, op: Any) -> int:
    count = 0
    for i in range(len(op)):
        if wanted[op[i]]:
            count += 1
    return count


@compiled
def _rows_of(wanted: Any, op: Any, rows: Any) -> Any:
    count = 0
    for i in range(len(op)):
        if wanted[op[i]]:
            rows[count] = i
            count += 1


def first_rows(number: Any, count: int) -> Any:
    """First row in which each of the numbers 0 … count - 1 stands; rows where none does. Shape (count + 1,), int64.

    The last entry is for the rows without a number (-1).
    """
    first = np.full(count + 1, len(number), np.int64)
    _first_rows(number, first)
    return first


@compiled
def _first_rows(number: Any, first: Any) -> Any:
    for i in range(len(number)):
        if first[number[i]] > i:
            first[number[i]] = i


@compiled
def first_pairs(wanted: Any, op: Any, result: Any, one: Any, other: Any, count: int) -> Any:
    """Successful events of the wanted operations whose second number is another than last time with the first one.

    Among these is the first event of each pair of numbers; `count` is how many first numbers there are.
    """
    last = np.full(count, -1, np.int64)
    rows = np.empty(1024, np.int64)
    found = 0
    for i in range(len(op)):
        if wanted[op[i]] and result[i] >= 0 and one[i] >= 0 and other[i] >= 0 and last[one[i]] != other[i]:
            last[one[i]] = other[i]
            if found == len(rows):
                more = np.empty(2 * found, np.int64)
                more[:found] = rows
                rows = more
            rows[found] = i
            found += 1
    return rows[:found]


def first_by_descriptor(wanted: Any, unnamed: Any, op: Any, opens: Any, count: int) -> Any:
    """First event of the wanted operations, or without a name, on each description; as first_rows gives it."""
    first = np.full(count + 1, len(op), np.int64)
    _first_by_descriptor(wanted, unnamed, op, opens, first)
    return first


@compiled
def _first_by_descriptor(wanted: Any, unnamed: Any, op: Any, opens: Any, first: Any) -> Any:
    for i in range(len(op)):
        if opens[i] >= 0 and (wanted[op[i]] or unnamed[i]) and first[opens[i]] > i:
            first[opens[i]] = i


@compiled
def note_uses(node: Any, event: Any, says: Any, first: Any, first_says: Any, made: Any, seen: Any) -> Any:
    """Take in what uses of names, in the order of events, say of nodes (0 not there, 1 makes, 2 there, 3 may make)."""
    for i in range(len(node)):
        at = node[i]
        if event[i] < first[at]:
            first[at], first_says[at] = event[i], says[i]
        if says[i] == 2:
            seen[at] = min(seen[at], event[i])
        elif says[i] != 0:
            made[at] = min(made[at], event[i])


def last_uses(reason: Any, closes: Any, onto: Any, op: Any, result: Any, opens: Any, other: Any, ours: Any) -> Any:
    """Last event that uses each description and does not close it, -1 for none; `ours`, (opens + 1,): those replayed.

    Shape (opens + 1,), int64; the last entry is for the rows without a description (-1).
    """
    last = np.full(len(ours), -1, np.int64)
    _last_uses(reason, closes, onto, op, result, opens, other, ours, last)
    return last


@compiled
def _last_uses(
    reason: Any, closes: Any, onto: Any, op: Any, result: Any, opens: Any, other: Any, ours: Any, last: Any
) -> Any:  # fmt: skip
    for i in range(len(op)):
        if reason[i] != 0:
            continue
        x, y = opens[i], other[i]
        if not (closes[op[i]] and result[i] >= 0 and ours[x]):
            last[x] = i
            # dup2 onto another description closes it
            if not (onto[op[i]] and result[i] >= 0 and ours[y] and y != x):
                last[y] = i


@compiled
def lives_of(kept: Any, thread: Any, time: Any, duration: Any, begin: Any, end: Any) -> Any:
    """Take in the first start and the last end (ns) of the kept events of each thread."""
    for i in range(len(kept)):
        if kept[i]:
            one = thread[i]
            begin[one] = min(begin[one], time[i])
            end[one] = max(end[one], time[i] + max(duration[i], 0))


@compiled
def note_owners(number: Any, thread: Any, owner: Any) -> Any:
    """Take in which one thread uses each number: -1 none so far, -2 several."""
    for i in range(len(number)):
        one = number[i]
        if owner[one] == -1:
            owner[one] = thread[i]
        elif owner[one] != thread[i]:
            owner[one] = -2


@compiled
def processes_of(thread: Any, process: Any, found: Any) -> Any:
    """Take in the process of each thread."""
    for i in range(len(thread)):
        found[thread[i]] = process[i]


def rows_that_use(wanted: Any, opens: Any, other: Any, reason: Any) -> Any:
    """Replayed events that name a wanted description as one of their two; int64."""
    rows = np.empty(_rows_that_use(wanted, opens, other, reason, np.zeros(0, np.int64)), np.int64)
    _rows_that_use(wanted, opens, other, reason, rows)
    return rows


@compiled
def _rows_that_use(wanted: Any, opens: Any, other: Any, reason: Any, rows: Any) -> int:
    """How many there are; puts them into `rows` where that has a length."""
    count = 0
    for i in range(len(opens)):
        if reason[i] == 0 and (wanted[opens[i]] or wanted[other[i]]):
            if len(rows) > 0:
                rows[count] = i
            count += 1
    return count

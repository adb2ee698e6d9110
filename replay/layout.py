"""In which order the rows of a plan stand: by lane, by thread, by time; and the gaps before them.

A thread begins with a mark, then come its calls by their start, each followed by the extra duplications and closes that
belong to it, and it ends with a mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.compiling import compiled
from iotrace.replay.columns import Ids, Ints

# which part of a plan a row is
CALL: Final = 0
EXTRA_DUP: Final = 1
EXTRA_CLOSE: Final = 2
THREAD_BEGINS: Final = 3
THREAD_ENDS: Final = 4

# bits of an event
_KEPT: Final = 1
_DUPS: Final = 2
_CLOSED: Final = 4


@compiled
def _begins(thread: Any, place: Any, begin: Any) -> Any:
    """Where each thread's events begin among those sorted by the place of their thread, (places + 1,)."""
    begin[:] = 0
    for i in range(len(thread)):
        if place[thread[i]] >= 0:
            begin[place[thread[i]] + 1] += 1
    for k in range(1, len(begin)):
        begin[k] += begin[k - 1]


@compiled
def _by_thread(thread: Any, place: Any, begin: Any, order: Any) -> Any:
    """Put the events sorted by the place of their thread (-1: left out) into `order`, those of one as they were."""
    at = begin[:-1].copy()
    for i in range(len(thread)):
        k = place[thread[i]]
        if k >= 0:
            order[at[k]] = i
            at[k] += 1


@compiled
def _unsorted(order: Any, begin: Any, time: Any) -> Any:
    """Threads whose events do not stand in the order of their starts."""
    found = np.zeros(len(begin) - 1, np.bool_)
    for k in range(len(begin) - 1):
        for i in range(begin[k] + 1, begin[k + 1]):
            if time[order[i]] < time[order[i - 1]]:
                found[k] = True
                break
    return found


@compiled
def _lay(order: Any, begin: Any, bits: Any, dup_event: Any, event: Any, part: Any, dup: Any, thread_begin: Any) -> Any:
    """Fill the rows; `dup` gets the place of each extra duplication, in the order of the rows."""
    row, dups = 0, 0
    for k in range(len(begin) - 1):
        thread_begin[k] = row
        event[row], part[row] = -1, 3
        row += 1
        for i in range(begin[k], begin[k + 1]):
            one = order[i]
            if bits[one] & 1:
                event[row], part[row] = one, 0
                row += 1
            if bits[one] & 2:
                place = np.searchsorted(dup_event, one)
                while place < len(dup_event) and dup_event[place] == one:
                    event[row], part[row] = one, 1
                    dup[dups] = place
                    dups += 1
                    row += 1
                    place += 1
            if bits[one] & 4:
                event[row], part[row] = one, 2
                row += 1
        event[row], part[row] = -1, 4
        row += 1
    return row


@dataclass(slots=True)
class Layout:
    """The rows.

    Attributes
    ----------
    event: (rows,), int32, -1 for marks; part: CALL, EXTRA_DUP, …, uint8.
    dup: which of the extra duplications each row of that part is.
    threads: number of each thread that has rows, in their order; thread_begin: its first row.
    order, order_begin: all events of these threads, by thread and start; where each thread's begin.
    """

    event: Ids
    part: npt.NDArray[np.uint8]
    dup: Ints
    threads: Ids
    thread_begin: Ints
    order: Ids
    order_begin: Ints


def lay_out(
    threads: Ids, count: int, thread: Ids, time_ns: Ints, kept: npt.NDArray[np.bool_], dup_event: Ints, closes: Ints
) -> Layout:  # fmt: skip
    """Rows of the kept events of `threads`, in that order; `count` threads are numbered.

    `dup_event`: event of each extra duplication, sorted; `closes`: events of which only the close is replayed.
    """
    place = np.full(count + 1, -1, np.int32)
    place[threads] = np.arange(len(threads), dtype=np.int32)
    begin = np.zeros(len(threads) + 1, np.int64)
    _begins(thread, place, begin)
    order = np.empty(begin[-1], np.int32)
    _by_thread(thread, place, begin, order)
    for k in np.flatnonzero(_unsorted(order, begin, time_ns)).tolist():
        mine = order[begin[k] : begin[k + 1]]
        mine[:] = mine[np.argsort(time_ns[mine], kind="stable")]
    bits = kept.astype(np.uint8)
    bits[dup_event] |= _DUPS
    bits[closes] |= _CLOSED
    rows = int(np.count_nonzero(kept)) + len(dup_event) + len(closes) + 2 * len(threads)
    event, part = np.empty(rows, np.int32), np.empty(rows, np.uint8)
    dup, thread_begin = np.zeros(len(dup_event), np.int64), np.zeros(len(threads), np.int64)
    used = int(_lay(order, begin, bits, dup_event, event, part, dup, thread_begin))
    return Layout(event[:used], part[:used], dup, threads, thread_begin, order, begin)


@compiled
def _completed(flying: Any, count: int, time: int, last: int) -> Any:
    """Take out the requests in flight that ended by `time`; gives how many are left, and the last end so far."""
    left = 0
    for i in range(count):
        if flying[i] <= time:
            last = max(last, flying[i])
        else:
            flying[left] = flying[i]
            left += 1
    return left, last


@compiled
def gaps_of(
    order: Any, order_begin: Any, event: Any, part: Any, thread_begin: Any, since: Any, time: Any, duration: Any,
    off_cpu: Any, not_done: Any, requests: Any, origin: int, unknown_cpu: int, busy: Any, idle: Any, due: Any,
) -> Any:  # fmt: skip
    """Gaps before the rows that are calls; see schedule.set_gaps.

    `not_done`, (events,): calls that a replay does not issue, so that their own time is part of the gap after them;
    `requests`, (events,) or (0,) for none: what was asked of io_uring or libaio.

    `since`, (threads,): what the gap before each thread's first call counts from.
    """
    flying = np.empty(64, np.int64)  # ends of a thread's requests in flight
    for k in range(len(thread_begin)):
        row = thread_begin[k]
        last = thread_begin[k + 1] if k + 1 < len(thread_begin) else len(event)
        i = order_begin[k]
        spent, ended = np.int64(0), np.int64(0)  # CPU time since the last call; end of the event before
        first, idle_since = True, since[k]
        in_flight, completed = 0, np.int64(-(1 << 62))
        while row < last:
            if part[row] != 0:
                row += 1
                continue
            # the events in between were not replayed: the CPU time before them counts, their own time is idle
            while True:
                one = order[i]
                if in_flight > 0:
                    in_flight, completed = _completed(flying, in_flight, time[one], completed)
                if i > order_begin[k]:
                    between = max(time[one] - ended, 0)
                    gap = max(time[one] - max(ended, completed), 0)
                    off = off_cpu[one]
                    spent += min(gap, unknown_cpu) if off < 0 else min(max(between - off, 0), gap)
                ended = time[one] + max(duration[one], 0)
                if len(requests) > 0 and requests[one]:
                    if in_flight == len(flying):
                        more = np.empty(2 * in_flight, np.int64)
                        more[:in_flight] = flying
                        flying = more
                    flying[in_flight] = ended
                    in_flight += 1
                    ended = time[one]
                i += 1
                if one == event[row]:
                    break
            whole = max(time[one] - (idle_since if first else max(idle_since, completed)), 0)
            burnt = np.int64(0) if first else min(max(spent, 0), whole)
            busy[row], idle[row], due[row] = burnt, whole - burnt, time[one] - origin
            spent, first, idle_since = np.int64(0), False, ended
            if not_done[one]:
                # of their time, as of all whose CPU time is not known, a little is work
                spent, idle_since = min(np.int64(max(duration[one], 0)), np.int64(unknown_cpu)), time[one]
            row += 1

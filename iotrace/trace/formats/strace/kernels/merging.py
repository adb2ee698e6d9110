"""Several logs in order of time: a heap of logs by the times of their next lines."""

from __future__ import annotations

from iotrace.compiling import entry, inner
from iotrace.machine import copy_bytes, get, get_byte, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.heads import read_clock, skip_command
from iotrace.trace.formats.strace.kernels.texts import begins, is_digit, skip_spaces


@entry
def next_time(h: int, row: int) -> bool:
    """Read the time of a log's next line; False without a whole line."""
    begin, stop = get(row, k.L_AT), get(row, k.L_END)
    end = begin
    while end < stop and get_byte(end, 0) != 10:
        end += 1
    if end >= stop:
        return False
    put(row, k.L_LINE, end + 1)
    c = get(h, k.CALL)
    at = skip_spaces(begin, end)
    if at < end and get_byte(at, 0) == 91 and begins(h, at, end - at, w.PID, 5):
        at = skip_spaces(at + 5, end)
        while at < end and is_digit(get_byte(at, 0)):
            at += 1
        at = skip_spaces(skip_command(at, end) + 1, end)
    elif at < end and is_digit(get_byte(at, 0)):
        # a number and a space: a process, if it is one of theirs
        after, value = at, 0
        while after < end and is_digit(get_byte(after, 0)) and after - at < 11:
            value = value * 10 + get_byte(after, 0) - 48
            after += 1
        after = skip_command(after, end)
        if after < end and get_byte(after, 0) == 32 and value <= k.MAX_PID:
            at = skip_spaces(after, end)
    # a line without a time stands where the one before it did
    if at < end and is_digit(get_byte(at, 0)) and read_clock(h, c, at, end) >= 0:
        time, before = get(c, k.C_TIME), get(row, k.L_TIME)
        if get(c, k.C_CLOCK) == k.RELATIVE_CLOCK:
            time += before
        elif get(c, k.C_CLOCK) == k.DAY_CLOCK and time < before - k.DAY_NS // 2:
            time += (before - time + k.DAY_NS // 2) // k.DAY_NS * k.DAY_NS
        put(row, k.L_TIME, time)
    return True


@inner
def _before(one: int, other: int, a: int, b: int) -> bool:
    return get(one, k.L_TIME) < get(other, k.L_TIME) or (get(one, k.L_TIME) == get(other, k.L_TIME) and a < b)


@inner
def _sink(logs: int, heap: int, count: int) -> None:
    """Put the first of the heap where it belongs."""
    at = 0
    while 2 * at + 1 < count:
        child = 2 * at + 1
        a = get(heap, child)
        if child + 1 < count:
            b = get(heap, child + 1)
            if _before(logs + 8 * k.LOG_FIELDS * b, logs + 8 * k.LOG_FIELDS * a, b, a):
                child, a = child + 1, b
        top = get(heap, at)
        if not _before(logs + 8 * k.LOG_FIELDS * a, logs + 8 * k.LOG_FIELDS * top, a, top):
            return
        put(heap, at, a)
        put(heap, child, top)
        at = child


@entry
def merge(h: int, logs: int, heap: int, out: int, room: int, runs: int, runs_room: int) -> int:
    """Copy lines of several logs, in order of time, to `out`, and note which run of them is whose.

    `heap` holds the numbers of the logs, ordered; header words: HEAP its size, RUNS runs, OUT bytes, WANTS the log that
    was filled up since. Returns MERGED at the end, MERGE_FULL when what is there is to be taken, MERGE_WANTS when the
    first log needs more bytes.
    """
    wants = get(h, k.WANTS)
    while get(h, k.HEAP) > 0:
        number = get(heap, 0)
        row = logs + 8 * k.LOG_FIELDS * number
        if wants:
            wants = 0
            put(h, k.WANTS, 0)
        else:
            begin, end = get(row, k.L_AT), get(row, k.L_LINE)
            at, count = get(h, k.OUT), get(h, k.RUNS)
            if at + end - begin > room or count >= runs_room:
                return k.MERGE_FULL
            copy_bytes(out + at, begin, end - begin)
            put(h, k.OUT, at + end - begin)
            last = runs + 8 * k.RUN_FIELDS * (count - 1)
            if count > 0 and get(last, 2) == get(row, k.L_PID):
                put(last, 1, out + at + end - begin)
            else:
                put(last, k.RUN_FIELDS, out + at)
                put(last, k.RUN_FIELDS + 1, out + at + end - begin)
                put(last, k.RUN_FIELDS + 2, get(row, k.L_PID))
                put(h, k.RUNS, count + 1)
            put(row, k.L_AT, end)
        if not next_time(h, row):
            if not get(row, k.L_DONE):
                put(h, k.WANTS, 1)
                return k.MERGE_WANTS
            last_one = get(h, k.HEAP) - 1
            put(heap, 0, get(heap, last_one))
            put(h, k.HEAP, last_one)
        _sink(logs, heap, get(h, k.HEAP))
    return k.MERGED

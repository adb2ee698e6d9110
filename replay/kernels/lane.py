"""The kernel of a replay: one Numba function that runs the rows of one lane, without the GIL, with raw system calls.

It takes the plan's arrays and memory by address, and writes for each row when it started, how long it took, and what it
returned (-errno on failure). It allocates nothing, raises nothing, and ends soon after the stop flag is set.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.machine import X86_64, load, now, peek, poke16, poke64, store, system_call, touch
from iotrace.replay.kernels.passing import give, take
from iotrace.replay.kernels.touching import touching_at
from iotrace.replay.kernels.waiting import await_row, begin_lane, end_lane, publish, sleep_until, think
from iotrace.replay.kernels.words import (
    LANE_WORDS,
    NULL_CALL,
    ORIGINAL,
    POSITION_AT,
    SKIPPED,
    STOP_FULL,
    STRUCT_AT,
    THINK,
    TIME_AT,
    TOUCHED,
    VECTOR_AT,
    VECTORS_MAX,
)

_LOCK_PATIENCE_NS: Final = 5_000_000_000
_EINTR, _EAGAIN, _ENOSPC, _EFAULT, _EDQUOT = 4, 11, 28, 14, 122
_MUNMAP, _CHDIR, _UMASK, _FACCESSAT, _CLOSE = (11, 80, 95, 269, 3) if X86_64 else (215, 49, 166, 48, 57)


@compiled
def spread(base: int, size: int, count: int, place: int) -> Any:
    """Fill vectors with equal shares of a buffer; gives how many."""
    vectors = min(max(count, 1), VECTORS_MAX)
    share = size // vectors
    if share >= 512:
        share = share // 512 * 512
    for k in range(vectors):
        length = share if k < vectors - 1 else size - share * (vectors - 1)
        poke64(place + 16 * k, base + share * k)
        poke64(place + 16 * k + 8, length)
    return vectors


@compiled
def run_rows(
    lane: int, first: int, last: int, origin: int, ended: int, timing: int, speed: float, high: int,
    special: Any, form: Any, number: Any, kinds: Any, constants: Any, value_begin: Any, values: Any,
    made: Any, closed: Any, expect: Any,
    busy: Any, idle: Any, due: Any, wait_begin: Any, wait_row: Any, awaited: Any, lane_of_row: Any,
    slots: Any, strings: Any, map_base: Any, table: Any, control: int, lines: int,
    folder: Any, umask: Any, marker_begin: Any, marker_end: Any,
    close_begin: Any, close_slot: Any, unmap_begin: Any, unmap: Any,
    take_begin: Any, take_from: Any, take_to: Any, doors: Any, inbox: int, got: int,
    started: Any, took: Any, outcome: Any,
) -> Any:  # fmt: skip
    """Run the rows [first, last) of a lane that has begun.

    `origin` is when the run started and `ended` when the row before ended (ns); the others are those of run_lane. Gives
    when the last row ended.
    """
    time_at = table[TIME_AT]
    position_at, struct_at = table[POSITION_AT], table[STRUCT_AT]
    line = lines + lane * LANE_WORDS * 8
    touching = touching_at() + lane * 64
    touched = np.int64(0)
    for i in range(first, last):
        if peek(control) != 0:
            break
        for k in range(wait_begin[i], wait_begin[i + 1]):
            row = wait_row[k]
            await_row(lines + lane_of_row[row] * LANE_WORDS * 8, row, time_at, control)
        what = special[i]
        if what >= 6 and what <= 8:
            if what == 6:
                if timing == THINK:
                    think(ended, busy[i], idle[i], speed, time_at, control)
                if made[i] >= 0:
                    child = made[i]
                    give(child, doors[child], take_begin, take_from, take_to, slots, table[VECTOR_AT], control)
                ended = now(time_at)
            elif what == 7:
                thread = made[i]
                if folder[thread] >= 0:
                    system_call(_CHDIR, strings[folder[thread]], 0, 0, 0, 0, 0)
                    system_call(_UMASK, umask[thread], 0, 0, 0, 0, 0)
                if take_begin[thread + 1] > take_begin[thread]:
                    take(thread, inbox, take_begin, got, slots, table[VECTOR_AT], control)
                if marker_begin[thread] >= 0:
                    system_call(_FACCESSAT, -100, strings[marker_begin[thread]], 0, 0, 0, 0)
                ended = now(time_at)
            else:
                thread = made[i]
                if marker_end[thread] >= 0:
                    system_call(_FACCESSAT, -100, strings[marker_end[thread]], 0, 0, 0, 0)
                for k in range(close_begin[thread], close_begin[thread + 1]):
                    slot = close_slot[k]
                    if slots[slot] >= 0:
                        descriptor = slots[slot]
                        slots[slot] = -1
                        system_call(_CLOSE, descriptor, 0, 0, 0, 0, 0)
                for k in range(unmap_begin[thread], unmap_begin[thread + 1]):
                    base = map_base[unmap[k, 0]]
                    if base > 0:
                        system_call(_MUNMAP, base + unmap[k, 1], unmap[k, 2], 0, 0, 0, 0)
            outcome[i] = expect[i]
            if awaited[i]:
                publish(line, i + 1)
            continue
        if timing == THINK:
            think(ended, busy[i], idle[i], speed, time_at, control)
        elif timing == ORIGINAL:
            sleep_until(origin + np.int64(due[i] / speed), time_at, control)
        if what == 5:
            at = value_begin[i]
            base = map_base[values[at]]
            place = base + values[at + 1]
            begin = now(time_at)
            result = np.int64(0)
            if base > 0:
                store(touching, place)
                touched += touch(place)
                if load(touching + 8) != 0:
                    store(touching + 8, 0)
                    result = np.int64(-_EFAULT)
                store(touching, 0)
            else:
                result = np.int64(SKIPPED)
            ended = now(time_at)
            started[i], took[i], outcome[i] = begin, ended - begin, result
            if awaited[i]:
                publish(line, i + 1)
            continue
        shape = form[i]
        a0, a1, a2 = constants[shape, 0], constants[shape, 1], constants[shape, 2]
        a3, a4, a5 = constants[shape, 3], constants[shape, 4], constants[shape, 5]
        at = value_begin[i]
        packed = kinds[shape]
        skip = False
        position = 0
        while packed != 0:
            kind = packed & 15
            packed >>= 4
            if kind != 0:
                if kind == 3:
                    value = table[constants[shape, position]]
                elif kind == 6:
                    poke64(struct_at, 0)
                    poke16(struct_at, a3)
                    poke64(struct_at + 8, values[at])
                    poke64(struct_at + 16, values[at + 1])
                    poke64(struct_at + 24, 0)
                    value = struct_at
                    at += 2
                elif kind == 7:
                    poke64(struct_at, a4)
                    poke64(struct_at + 8, a5)
                    poke64(struct_at + 16, 0)
                    value = struct_at
                else:
                    value = values[at]
                    at += 1
                    if kind == 1:
                        value = slots[value]
                    elif kind == 2:
                        value = strings[value]
                    elif kind == 4:
                        a2 = values[at]
                        spread(table[value & 15], value >> 4, a2, table[VECTOR_AT])
                        value = table[VECTOR_AT]
                        at += 1
                    elif kind == 5:
                        poke64(position_at + 8 * position, value)
                        value = position_at + 8 * position
                    elif kind == 8:
                        base = map_base[value]
                        if base <= 0:
                            skip = True
                        value = base + values[at]
                        at += 1
                    elif kind == 9:
                        value = high + value
                    elif kind == 11:
                        poke64(struct_at, slots[value])
                        for k in range(3):
                            poke64(struct_at + 8 * (k + 1), values[at + k])
                        value = struct_at
                        at += 3
                if position == 0:
                    a0 = value
                elif position == 1:
                    a1 = value
                elif position == 2:
                    a2 = value
                elif position == 3:
                    a3 = value
                elif position == 4:
                    a4 = value
                else:
                    a5 = value
            position += 1
        if what == 2 and closed[i] >= 0:
            slots[closed[i]] = -1
        if (what == 2 or what == 3) and a0 < 0:
            skip = True
        if what == 3 and a1 < 0:
            skip = True
        if skip:
            ended = now(time_at)
            started[i], took[i], outcome[i] = ended, 0, SKIPPED
            if awaited[i]:
                publish(line, i + 1)
            continue
        call = number[shape]
        begin = now(time_at)
        # before the call: who watches sees since when it waits
        started[i] = begin
        if call == NULL_CALL:
            result = expect[i]
        else:
            result = system_call(call, a0, a1, a2, a3, a4, a5)
        while result == -_EINTR and peek(control) == 0:
            result = system_call(call, a0, a1, a2, a3, a4, a5)
        if what == 10:
            while result == -_EAGAIN and peek(control) == 0 and now(time_at) - begin < _LOCK_PATIENCE_NS:
                sleep_until(now(time_at) + 1_000_000, time_at, control)
                result = system_call(call, a0, a1, a2, a3, a4, a5)
        ended = now(time_at)
        took[i], outcome[i] = ended - begin, result
        if what != 0:
            if what == 1 or what == 3:
                if result >= 0:
                    if made[i] >= 0:
                        if what == 3 and closed[i] >= 0:
                            slots[closed[i]] = -1
                        slots[made[i]] = result
                    elif what == 1:
                        system_call(_CLOSE, result, 0, 0, 0, 0, 0)
                    outcome[i] = 0
            elif what == 4 and (result > 0 or result < -4095):
                outcome[i] = 0
                if made[i] >= 0:
                    map_base[made[i]] = result
                else:
                    system_call(_MUNMAP, result, a1, 0, 0, 0, 0)
        if (result == -_ENOSPC or result == -_EDQUOT) and expect[i] != result:
            store(control, STOP_FULL)
        if awaited[i]:
            publish(line, i + 1)
    # kept, so that touching is not optimised away
    poke64(line + 8 * TOUCHED, touched)
    return ended


@compiled
def run_lane(
    lane: int, first: int, last: int, apart: int, delay: int, timing: int, speed: float, high: int,
    special: Any, form: Any, number: Any, kinds: Any, constants: Any, value_begin: Any, values: Any,
    made: Any, closed: Any, expect: Any,
    busy: Any, idle: Any, due: Any, wait_begin: Any, wait_row: Any, awaited: Any, lane_of_row: Any,
    slots: Any, strings: Any, map_base: Any, table: Any, control: int, lines: int,
    folder: Any, umask: Any, marker_begin: Any, marker_end: Any,
    close_begin: Any, close_slot: Any, unmap_begin: Any, unmap: Any,
    take_begin: Any, take_from: Any, take_to: Any, doors: Any, inbox: int, got: int,
    started: Any, took: Any, outcome: Any,
) -> Any:  # fmt: skip
    """Run the rows [first, last) of a lane.

    `apart`: the thread has a working folder of its own; `delay` (ns): it begins so much later than the run.
    `timing` is ASAP, THINK or ORIGINAL, `speed` divides times, `high` is the first high descriptor number,
    `control` and `lines` are addresses; the others are the columns of iotrace.replay.rows.Rows and Threads.
    """
    time_at = table[TIME_AT]
    line = lines + lane * LANE_WORDS * 8
    origin = begin_lane(line, apart, delay, time_at, control)
    ended = run_rows(
        lane, first, last, origin, now(time_at), timing, speed, high,
        special, form, number, kinds, constants, value_begin, values, made, closed, expect,
        busy, idle, due, wait_begin, wait_row, awaited, lane_of_row,
        slots, strings, map_base, table, control, lines,
        folder, umask, marker_begin, marker_end,
        close_begin, close_slot, unmap_begin, unmap,
        take_begin, take_from, take_to, doors, inbox, got,
        started, took, outcome,
    )  # fmt: skip
    end_lane(line, ended, time_at)

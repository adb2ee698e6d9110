"""The kernel of a replay through io_uring: run_lane's counterpart for lanes whose data operations ride on a ring.

Rows with an opcode (see iotrace.replay.rides) become requests, several in flight where their `room` allows it; all
other rows are issued by run_rows, as always. What may overlap was decided before: before a row is issued, no more than
`room` requests are in flight, and none of row `behind` or earlier. A request's latency lasts from its submission until
its completion is seen.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.machine import load32, now, pause, peek, poke64, store, store32, system_call
from iotrace.replay.kernels.lane import run_rows, spread
from iotrace.replay.kernels.ring import (
    BUFFERS_AT,
    CQ_HEAD_AT,
    CQ_MASK,
    CQ_TAIL_AT,
    CQES_AT,
    FAILURE,
    FIXED_BUFFERS,
    FIXED_FILE,
    FREE,
    FREE_AT,
    FSYNC,
    IN_FLIGHT,
    LUCK,
    PENDING,
    READ,
    READ_FIXED,
    READV,
    SLOT_BITS,
    SLOT_BYTES,
    SLOT_SHIFT,
    WRITE,
    WRITE_FIXED,
    WRITEV,
    close_ring,
    enter,
    fill,
    open_ring,
    set_file,
    slot_of_request,
)
from iotrace.replay.kernels.waiting import await_row, begin_lane, end_lane, publish, sleep_until, think
from iotrace.replay.kernels.words import (
    LANE_WORDS,
    NOT_RUN,
    ORIGINAL,
    SKIPPED,
    STOP_ASKED,
    STOP_FULL,
    THINK,
    TIME_AT,
    VECTOR_AT,
)

_ENOSPC, _EDQUOT = 28, 122
_CLOSES: Final = 2
_DRAIN_NS: Final = 1_000_000_000
_LOOKS, _PAUSES, _MOST_LUCK, _SLEEPS_BETWEEN = 6, 12, 8, 64
"""Looks at completions before a sleep and pauses after each (3 µs in all, on x86-64); how many misses end them, and
after how many sleeps one more try is made."""


@compiled
def _collect(ring: int, time_at: int, control: int, expect: Any, started: Any, took: Any, outcome: Any) -> Any:
    """Take all completions that are there; gives how many. All of them were seen at one moment."""
    head_at = peek(ring + 8 * CQ_HEAD_AT)
    head, tail = load32(head_at), load32(peek(ring + 8 * CQ_TAIL_AT))
    count = (tail - head) & 0xFFFFFFFF
    if count == 0:
        return count
    seen = now(time_at)
    cqes, mask = peek(ring + 8 * CQES_AT), peek(ring + 8 * CQ_MASK)
    free_at, free = peek(ring + 8 * FREE_AT), peek(ring + 8 * FREE)
    for k in range(count):
        cqe = cqes + 16 * ((head + k) & mask)
        data = peek(cqe)
        result = peek(cqe + 8) & 0xFFFFFFFF
        if result >= 0x80000000:
            result -= 0x100000000
        row = data >> SLOT_BITS
        poke64(free_at + 8 * free, data & ((1 << SLOT_BITS) - 1))
        free += 1
        took[row], outcome[row] = seen - started[row], result
        if (result == -_ENOSPC or result == -_EDQUOT) and expect[row] != result:
            store(control, STOP_FULL)
    poke64(ring + 8 * FREE, free)
    poke64(ring + 8 * IN_FLIGHT, peek(ring + 8 * IN_FLIGHT) - count)
    store32(head_at, head + count)
    poke64(time_at + 32, seen)
    return count


@compiled
def _flush(ring: int, time_at: int, control: int, expect: Any, started: Any, took: Any, outcome: Any) -> Any:
    """Submit all that was filled, without waiting for it."""
    while peek(ring + 8 * PENDING) > 0 and peek(ring + 8 * FAILURE) == 0:
        failure = enter(ring, 0)
        _collect(ring, time_at, control, expect, started, took, outcome)
        if failure < 0 and peek(control) != 0:
            return


@compiled
def _await_some(ring: int, time_at: int, control: int, expect: Any, started: Any, took: Any, outcome: Any) -> Any:
    """Submit what was filled and wait until something has completed, or a signal; gives 0 or -errno.

    Reads that the kernel hands to its workers may end sooner than a thread is put to sleep and woken: as long as that
    was seen to happen of late, completions are looked for some microseconds first.
    """
    luck = peek(ring + 8 * LUCK)
    failure = np.int64(0)
    if luck > 0:
        for _ in range(_LOOKS):
            failure = enter(ring, 0)
            if _collect(ring, time_at, control, expect, started, took, outcome) > 0:
                poke64(ring + 8 * LUCK, min(luck + 1, _MOST_LUCK))
                return failure
            if failure < 0:
                return failure
            for _ in range(_PAUSES):
                pause()
    luck -= 1
    poke64(ring + 8 * LUCK, luck if luck > -_SLEEPS_BETWEEN else 1)
    failure = enter(ring, 1)
    _collect(ring, time_at, control, expect, started, took, outcome)
    return failure


@compiled
def _settle(
    ring: int, room: int, behind: int, oldest: int, row: int, time_at: int, control: int,
    opcode: Any, expect: Any, started: Any, took: Any, outcome: Any,
) -> Any:  # fmt: skip
    """Wait until no more than `room` requests are in flight, none of row `behind` or earlier.

    `oldest` is a row before which nothing is in flight; gives that row anew.
    """
    while True:
        if peek(ring + 8 * IN_FLIGHT) <= room:
            if behind < oldest:
                return oldest
            while oldest < row and (opcode[oldest] == 0 or outcome[oldest] != NOT_RUN):
                oldest += 1
            if behind < oldest:
                return oldest
        if _collect(ring, time_at, control, expect, started, took, outcome) > 0:
            continue
        failure = _await_some(ring, time_at, control, expect, started, took, outcome)
        if peek(ring + 8 * FAILURE) != 0:
            store(control, STOP_ASKED)
            return oldest
        if failure < 0 and peek(control) != 0:
            return oldest


@compiled
def run_ring_lane(
    lane: int, first: int, last: int, apart: int, delay: int, timing: int, speed: float, high: int,
    special: Any, form: Any, number: Any, kinds: Any, constants: Any, value_begin: Any, values: Any,
    made: Any, closed: Any, expect: Any,
    busy: Any, idle: Any, due: Any, wait_begin: Any, wait_row: Any, awaited: Any, lane_of_row: Any,
    slots: Any, strings: Any, map_base: Any, table: Any, control: int, lines: int,
    folder: Any, umask: Any, marker_begin: Any, marker_end: Any,
    close_begin: Any, close_slot: Any, unmap_begin: Any, unmap: Any,
    take_begin: Any, take_from: Any, take_to: Any, doors: Any, inbox: int, got: int,
    started: Any, took: Any, outcome: Any,
    opcode: Any, slot: Any, length: Any, offset: Any, count: Any, how: Any, buffer: Any, room: Any, behind: Any,
    reposition: Any, together: Any, place_of_slot: Any, ring: int, seek: int,
) -> Any:  # fmt: skip
    """Run the rows [first, last) of a lane, data operations through a ring.

    The first arguments are those of run_lane; then come the columns of iotrace.replay.rides.Rides, the address of the
    ring's table and the number of the call lseek. A ring that cannot be set up is a failure in the table's word
    FAILURE, before the run begins.
    """
    time_at = table[TIME_AT]
    line = lines + lane * LANE_WORDS * 8
    failure = open_ring(ring)
    if failure < 0:
        poke64(ring + 8 * FAILURE, -failure)
    origin = begin_lane(line, apart, delay, time_at, control)
    ended = now(time_at)
    stride, shift = peek(ring + 8 * SLOT_BYTES), peek(ring + 8 * SLOT_SHIFT)
    buffers = peek(ring + 8 * BUFFERS_AT)
    registered = peek(ring + 8 * FIXED_BUFFERS) != 0
    fixed = len(place_of_slot) > 0
    oldest = first
    i = first
    if failure < 0:
        i = last
    while i < last:
        if peek(control) != 0:
            break
        code = opcode[i]
        if peek(ring + 8 * IN_FLIGHT) > room[i] or behind[i] >= oldest:
            oldest = _settle(
                ring, room[i], behind[i], oldest, i, time_at, control, opcode, expect, started, took, outcome
            )
            ended = peek(time_at + 32)
            if peek(control) != 0:
                break
        if code == 0:
            _flush(ring, time_at, control, expect, started, took, outcome)
            if fixed and special[i] == _CLOSES and closed[i] >= 0 and place_of_slot[closed[i]] < -1:
                set_file(ring, -2 - place_of_slot[closed[i]], -1)
            end = i + 1
            if not fixed and peek(ring + 8 * IN_FLIGHT) == 0:
                while end < last and opcode[end] == 0:
                    end += 1
            ended = run_rows(
                lane, i, end, origin, ended, timing, speed, high,
                special, form, number, kinds, constants, value_begin, values, made, closed, expect,
                busy, idle, due, wait_begin, wait_row, awaited, lane_of_row,
                slots, strings, map_base, table, control, lines,
                folder, umask, marker_begin, marker_end,
                close_begin, close_slot, unmap_begin, unmap,
                take_begin, take_from, take_to, doors, inbox, got,
                started, took, outcome,
            )  # fmt: skip
            i = end
            continue
        if wait_begin[i] < wait_begin[i + 1]:
            _flush(ring, time_at, control, expect, started, took, outcome)
            for k in range(wait_begin[i], wait_begin[i + 1]):
                row = wait_row[k]
                await_row(lines + lane_of_row[row] * LANE_WORDS * 8, row, time_at, control)
        if timing == THINK:
            if busy[i] + idle[i] > 0:
                _flush(ring, time_at, control, expect, started, took, outcome)
                think(ended, busy[i], idle[i], speed, time_at, control)
        elif timing == ORIGINAL:
            _flush(ring, time_at, control, expect, started, took, outcome)
            sleep_until(origin + np.int64(due[i] / speed), time_at, control)
        descriptor = slots[slot[i]]
        if descriptor < 0:
            ended = now(time_at)
            started[i], took[i], outcome[i] = ended, 0, SKIPPED
            if awaited[i]:
                publish(line, i + 1)
            i += 1
            continue
        flags = 0
        if fixed:
            place = place_of_slot[slot[i]]
            if place >= 0:
                # from now on -2 - place: the file is registered there
                place_of_slot[slot[i]] = -2 - place
                set_file(ring, place, descriptor)
                place = -2 - place
            if place < -1:
                descriptor = -2 - place
                flags = FIXED_FILE
        free = slot_of_request(ring)
        size, kind, vectors, which = length[i], buffer[i], count[i], 0
        operation: Any = np.int64(code)
        if stride > 0 and (kind & 1) == 0:
            address = buffers + free * stride
            if kind == 0:
                address += shift
            if registered and operation == READ:
                operation = READ_FIXED
        else:
            address = table[kind]
            if registered and operation == WRITE:
                operation = WRITE_FIXED
                which = 1
        if operation in (READV, WRITEV):
            size = spread(address, size, vectors, table[VECTOR_AT])
            address = table[VECTOR_AT]
        elif operation == FSYNC:
            address = 0
        begin = now(time_at)
        started[i] = begin
        fill(ring, operation, flags, descriptor, offset[i], address, size, how[i], which, (i << SLOT_BITS) | free)
        ended = begin
        end = i + 1
        if awaited[i] or reposition[i] >= 0:
            oldest = _settle(ring, 0, i, oldest, end, time_at, control, opcode, expect, started, took, outcome)
            ended = peek(time_at + 32)
            if reposition[i] >= 0:
                system_call(seek, slots[slot[i]], reposition[i], 0, 0, 0, 0)
            if awaited[i]:
                publish(line, end)
        elif vectors > 0 or (
            together[i] <= peek(ring + 8 * PENDING) and end < last and peek(ring + 8 * IN_FLIGHT) <= room[end]
        ):
            # where the next row has to wait, its first look submits
            _flush(ring, time_at, control, expect, started, took, outcome)
        i = end
    if failure >= 0:
        if peek(control) == 0:
            _settle(ring, 0, first - 1, oldest, last, time_at, control, opcode, expect, started, took, outcome)
            ended = max(ended, peek(time_at + 32))
        else:
            give_up = now(time_at) + _DRAIN_NS
            while peek(ring + 8 * IN_FLIGHT) > 0 and peek(ring + 8 * FAILURE) == 0 and now(time_at) < give_up:
                # a signal ends the wait
                enter(ring, 1)
                _collect(ring, time_at, control, expect, started, took, outcome)
    # taking the ring down is no work of the run
    end_lane(line, ended, time_at)
    if failure >= 0:
        close_ring(ring)

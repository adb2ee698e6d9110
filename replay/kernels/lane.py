"""The kernel of a replay: one Numba function that runs the rows of one lane, without the GIL, with raw system calls.

It takes
the plan's arrays and memory by address, and writes for each row when it started, how long it took, and what it
returned (-errno on failure). It allocates nothing, raises nothing, and ends soon after the stop flag is set.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from iotrace.compiling import compiled
from iotrace.machine import (
    X86_64,
    add,
    exchange,
    libc_signal,
    load,
    lower,
    now,
    pause,
    peek,
    poke16,
    poke64,
    store,
    system_call,
    touch,
)
from iotrace.replay.kernels.passing import give, take

TOUCH_LINES: Final = 4096
TOUCHING: Final = np.zeros((TOUCH_LINES, 8), np.int64)
"""One cache line a lane: the address being touched, and 1 once that address turned out not to be there."""
# an external symbol, not a constant: the cached machine code of another process finds this process's table
llvm.add_symbol("iotrace_touching", TOUCHING.ctypes.data)
_libc = ctypes.CDLL(None)

# rows that have no outcome; below every -errno
NOT_RUN: Final = -100_000
SKIPPED: Final = -100_001
# in the place of a system call's number: nothing is issued, the result is the recorded one (iotrace.replay.null)
NULL_CALL: Final = -2

# words of the control block, one cache line each
STOP: Final = 0
READY: Final = 8
GO: Final = 16
START_NS: Final = 24
CONTROL_WORDS: Final = 32
# values of GO: the start is near, and the run has begun
SOON: Final = 1
BEGUN: Final = 2
# values of STOP
STOP_ASKED: Final = 1
STOP_FULL: Final = 2

# words of a lane's line
PROGRESS: Final = 0
WAKE_AT: Final = 1
EPOCH: Final = 2
ENDED_NS: Final = 3
SETUP_ERROR: Final = 4
TOUCHED: Final = 5
THREAD: Final = 6
CPU_BEFORE_NS: Final = 7
CPU_AFTER_NS: Final = 8
LANE_WORDS: Final = 16

# words of a lane's memory table: addresses of its buffers (the first five as arguments.BUFFER numbers them)
READ_AT, WRITE_AT, ALIGNED_READ_AT, ALIGNED_WRITE_AT, SCRATCH_AT, VECTOR_AT, POSITION_AT, STRUCT_AT, TIME_AT = range(9)
OWNER_AT, GROUP_AT = 9, 10
MEMORY_WORDS: Final = 16
VECTORS_MAX: Final = 1024

ASAP, THINK, ORIGINAL = 0, 1, 2

_SPIN_NS: Final = 60_000
_SLICE_NS: Final = 50_000_000
_NAP_NS: Final = 20_000
_AWAKE_S: Final = 0.02
"""A lane that is not awake after that has no CPU: the others do not wait for it."""
_NEVER: Final = 1 << 62
_LOCK_PATIENCE_NS: Final = 5_000_000_000
_EINTR, _EAGAIN, _ENOSPC, _EFAULT, _EDQUOT = 4, 11, 28, 14, 122


def _numbers() -> tuple[int, ...]:
    """munmap, mmap, nanosleep, futex, chdir, umask, faccessat, close, unshare, prctl, gettid, clock_gettime."""
    if X86_64:
        return 11, 9, 35, 202, 80, 95, 269, 3, 272, 157, 186, 228
    return 215, 222, 101, 98, 49, 166, 48, 57, 97, 167, 178, 113


_MUNMAP, _MMAP, _NANOSLEEP, _FUTEX, _CHDIR, _UMASK, _FACCESSAT, _CLOSE, _UNSHARE, _PRCTL, _GETTID, _CLOCK_GETTIME = (
    _numbers()
)
_CLONE_FS: Final = 0x200
_PR_SET_TIMERSLACK: Final = 29
_THREAD_CPU: Final = 3
# not private: lanes of several processes wait for each other
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1


@intrinsic  # type: ignore[untyped-decorator]
def _touching(context: Any) -> Any:
    """Address of TOUCHING in this process."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name, word = "iotrace_touching", ir.IntType(64)
        table = builder.module.globals.get(name) or ir.GlobalVariable(builder.module, word, name)
        return builder.ptrtoint(table, word)

    return types.int64(), generate


@compiled
def sleep_until(due: int, time_at: int, control: int) -> Any:
    """Sleep to shortly before the due time and spin the rest, in slices that the stop flag can end."""
    while peek(control) == 0:
        left = due - now(time_at)
        if left <= 0:
            return
        if left > _SPIN_NS:
            nap = min(left - _SPIN_NS, _SLICE_NS)
            poke64(time_at + 16, nap // 1_000_000_000)
            poke64(time_at + 24, nap % 1_000_000_000)
            system_call(_NANOSLEEP, time_at + 16, 0, 0, 0, 0, 0)
        else:
            pause()


@compiled
def await_row(line: int, row: int, time_at: int, control: int) -> Any:
    """Wait until a lane has finished a row: a few pauses, then sleep until that lane wakes us."""
    for _ in range(20):
        if load(line) > row:
            return
        pause()
    while peek(control) == 0:
        epoch = load(line + 8 * EPOCH)
        lower(line + 8 * WAKE_AT, row + 1)
        if load(line) > row:
            return
        poke64(time_at + 16, 0)
        poke64(time_at + 24, _SLICE_NS)
        # the low half of the counter is the futex word (little-endian)
        system_call(_FUTEX, line + 8 * EPOCH, _FUTEX_WAIT, epoch & 0xFFFFFFFF, time_at + 16, 0, 0)


@compiled
def publish(line: int, finished: int) -> Any:
    """Tell the other lanes how far this one is; wake those that waited for it."""
    store(line, finished)
    if load(line + 8 * WAKE_AT) <= finished:
        exchange(line + 8 * WAKE_AT, _NEVER)
        add(line + 8 * EPOCH, 1)
        system_call(_FUTEX, line + 8 * EPOCH, _FUTEX_WAKE, 0x7FFFFFFF, 0, 0, 0)


@compiled
def think(ended: int, busy: int, idle: int, speed: float, time_at: int, control: int) -> Any:
    """Let the gap after `ended` pass: its CPU time is burnt, the rest slept."""
    if busy > 0:
        until = ended + np.int64(busy / speed)
        while now(time_at) < until and peek(control) == 0:
            pause()
    if idle > 0:
        sleep_until(ended + np.int64((busy + idle) / speed), time_at, control)


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
    touching = _touching() + lane * 64
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
def _cpu(time_at: int) -> Any:
    """CPU time of this thread in ns."""
    system_call(_CLOCK_GETTIME, _THREAD_CPU, time_at, 0, 0, 0, 0)
    return peek(time_at) * 1_000_000_000 + peek(time_at + 8)


@compiled
def begin_lane(line: int, apart: int, delay: int, time_at: int, control: int) -> Any:
    """Give this thread timers of its own and, with `apart`, a working folder; wait for the start of the run.

    Gives when that was, `delay` (ns) later. The CPU time that the thread had used until then is none of the run's.
    """
    system_call(_PRCTL, _PR_SET_TIMERSLACK, 1, 0, 0, 0, 0)
    store(line + 8 * THREAD, system_call(_GETTID, 0, 0, 0, 0, 0, 0))
    if apart != 0:
        failure = system_call(_UNSHARE, _CLONE_FS, 0, 0, 0, 0, 0)
        if failure < 0:
            store(line + 8 * SETUP_ERROR, -failure)
    add(control + 8 * READY, 1)
    # asleep, however long the others and the looks at counters take: a lane that polls loads the machine
    while load(control + 8 * GO) == 0 and peek(control) == 0:
        poke64(time_at + 16, 0)
        poke64(time_at + 24, _SLICE_NS)
        system_call(_FUTEX, control + 8 * GO, _FUTEX_WAIT, 0, time_at + 16, 0, 0)
    # then awake for some milliseconds, so that the run does not begin with waking all up
    poke64(line + 8 * CPU_BEFORE_NS, _cpu(time_at))
    add(control + 8 * READY, 1)
    while load(control + 8 * GO) < BEGUN and peek(control) == 0:
        poke64(time_at + 16, 0)
        poke64(time_at + 24, _NAP_NS)
        # not after the nap: then the run may have begun
        poke64(line + 8 * CPU_BEFORE_NS, _cpu(time_at))
        system_call(_NANOSLEEP, time_at + 16, 0, 0, 0, 0, 0)
    begin = load(control + 8 * START_NS) + delay
    if delay > 0:
        sleep_until(begin, time_at, control)
    return begin


@compiled
def end_lane(line: int, ended: int, time_at: int) -> Any:
    """Note when this lane's last row ended, and then the CPU time that its thread has used."""
    store(line + 8 * ENDED_NS, ended)
    store(line + 8 * CPU_AFTER_NS, _cpu(time_at))


def wake_up(control: Any, lanes: int) -> None:
    """Wake the lanes that wait in begin_lane, some milliseconds before the start."""
    control[GO] = SOON
    address = ctypes.c_void_p(control.ctypes.data + 8 * GO)
    _libc.syscall(ctypes.c_long(_FUTEX), address, ctypes.c_long(_FUTEX_WAKE), ctypes.c_long(0x7FFFFFFF), None, None, 0)
    until = time.monotonic() + _AWAKE_S
    while control[READY] < 2 * lanes and time.monotonic() < until:
        time.sleep(1e-4)


def let_go(control: Any, begin: int) -> None:
    """Start the run, at `begin` (CLOCK_MONOTONIC, ns)."""
    control[START_NS] = begin
    control[GO] = BEGUN


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


@compiled
def _missing_page(signal: int, info: int, lanes: int) -> Any:
    """Answer a SIGBUS or SIGSEGV: give a lane that is touching that address an empty page and say so; else die."""
    address = load(info + 16)
    table = _touching()
    for lane in range(lanes):
        if address != 0 and load(table + 64 * lane) == address:
            store(table + 64 * lane + 8, 1)
            page = address & ~np.int64(4095)
            # MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, readable
            system_call(_MMAP, page, 4096, 1, 0x32, -1, 0)
            return
    libc_signal(np.int32(signal), np.int64(0))

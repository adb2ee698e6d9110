"""How lanes wait: for a moment, for a row of another lane, for the start of a run; how they tell where they are."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.machine import X86_64, add, exchange, load, lower, now, pause, peek, poke64, store, system_call
from iotrace.replay.kernels.words import (
    BEGUN,
    CPU_AFTER_NS,
    CPU_BEFORE_NS,
    ENDED_NS,
    EPOCH,
    GO,
    READY,
    SETUP_ERROR,
    START_NS,
    THREAD,
    WAKE_AT,
)

_SPIN_NS: Final = 60_000
_SLICE_NS: Final = 50_000_000
_NAP_NS: Final = 20_000
_NEVER: Final = 1 << 62
# nanosleep, futex, unshare, prctl, gettid, clock_gettime
_NANOSLEEP, FUTEX, _UNSHARE, _PRCTL, _GETTID, _CLOCK_GETTIME = (
    (35, 202, 272, 157, 186, 228) if X86_64 else (101, 98, 97, 167, 178, 113)
)
_CLONE_FS: Final = 0x200
_PR_SET_TIMERSLACK: Final = 29
_THREAD_CPU: Final = 3
# not private: lanes of several processes wait for each other
_FUTEX_WAIT, FUTEX_WAKE = 0, 1


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
        system_call(FUTEX, line + 8 * EPOCH, _FUTEX_WAIT, epoch & 0xFFFFFFFF, time_at + 16, 0, 0)


@compiled
def publish(line: int, finished: int) -> Any:
    """Tell the other lanes how far this one is; wake those that waited for it."""
    store(line, finished)
    if load(line + 8 * WAKE_AT) <= finished:
        exchange(line + 8 * WAKE_AT, _NEVER)
        add(line + 8 * EPOCH, 1)
        system_call(FUTEX, line + 8 * EPOCH, FUTEX_WAKE, 0x7FFFFFFF, 0, 0, 0)


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
        system_call(FUTEX, control + 8 * GO, _FUTEX_WAIT, 0, time_at + 16, 0, 0)
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

"""The threads of a run: one for each lane, started together, watched, and ended together."""

from __future__ import annotations

import ctypes
import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from iotrace.errors import ReplayError
from iotrace.replay.ground import Ground
from iotrace.replay.guard import page_guard
from iotrace.replay.kernels import lane as kernel
from iotrace.replay.kernels.ring_lane import run_ring_lane
from iotrace.replay.lanes import NUMBERS_SPARE, LaneMemory, Openings, resolve_strings
from iotrace.replay.options import TIMINGS, Options
from iotrace.replay.rides import Rides
from iotrace.replay.ring import LSEEK, refuse_broken_rings, ring_tables
from iotrace.replay.rows import Plan
from iotrace.replay.stopping import Asked, wake


@dataclass(slots=True)
class Outcome:
    """What the kernels wrote: for each row start, duration (ns) and result; wall and CPU time."""

    started: Any
    took: Any
    result: Any
    start_ns: int
    wall_ns: int
    cpu_s: float
    full: bool
    root_bytes: int
    lane_ended_ns: Any
    """When each lane ended, (lanes,)."""

    @property
    def ops(self) -> int:
        """Rows that ran."""
        return int((self.result != kernel.NOT_RUN).sum())


def prepare(plan: Plan) -> None:
    """Raise the limit of open files to what the plan needs.

    Raises
    ------
    ReplayError: this process may not open so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = plan.most_open + plan.high_numbers + NUMBERS_SPARE
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ReplayError(
            f"the trace has up to {plan.most_open} files open at a time, with iotrace's own {needed}, and this "
            f"process may open {hard}: raise the limit (ulimit -Hn), or map less (--map)."
        )
    if soft < hard or soft == resource.RLIM_INFINITY:
        wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_lanes(plan: Plan, rides: Rides | None, ground: Ground, options: Options, asked: Asked) -> Outcome:
    """Run all lanes of a plan once, each on a thread of its own; see iotrace.replay.run.replay_plan."""
    rows, threads, n = plan.rows, plan.threads, len(plan.rows)
    started, took = np.zeros(n, np.int64), np.zeros(n, np.int64)
    result = np.full(n, kernel.NOT_RUN, np.int64)
    control = _lines(kernel.CONTROL_WORDS)
    lines = _lines(plan.lanes * kernel.LANE_WORDS)
    lines[kernel.WAKE_AT :: kernel.LANE_WORDS] = 1 << 62
    strings, kept_alive = resolve_strings(plan, os.fsencode(ground.tree))
    lane_of_row = np.repeat(np.arange(plan.lanes, dtype=np.int64), np.diff(plan.lane_begin))
    map_base = np.zeros(max(1, plan.map_slots), np.int64)
    with Openings(plan, ground.tree) as openings, LaneMemory(plan) as memory, page_guard(plan.lanes):

        def arguments(lane: int, first: int, last: int, control: Any, lines: Any) -> tuple[Any, ...]:
            return (
                lane, first, last, TIMINGS[options.timing], float(options.speed), openings.high,
                rows.special, rows.form, rows.forms.number, rows.forms.kinds, rows.forms.constants, rows.value_begin,
                rows.values, rows.made, rows.closed, rows.expect,
                rows.busy_ns, rows.idle_ns, rows.due_ns, rows.wait_begin, rows.wait_row, rows.awaited, lane_of_row,
                openings.slots, strings, map_base, memory.tables[lane], control.ctypes.data, lines.ctypes.data,
                threads.folder, threads.umask, threads.marker_begin, threads.marker_end,
                threads.close_begin, threads.close_slot, threads.unmap_begin, threads.unmap,
                started, took, result,
            )  # fmt: skip

        rings = ring_tables(plan, rides, memory.tables, options.fixed) if rides else []

        def work(lane: int, first: int, last: int, control: Any, lines: Any) -> tuple[Any, tuple[Any, ...]]:
            values = arguments(lane, first, last, control, lines)
            if rides is None:
                return kernel.run_lane, values
            return run_ring_lane, (
                *values, rides.opcode, rides.slot, rides.length, rides.offset, rides.count, rides.how, rides.buffer,
                rides.room, rides.behind, rides.reposition, rides.together, places, rings[lane].ctypes.data,
                LSEEK,
            )  # fmt: skip

        places = rides.place_of_slot.copy() if rides else None
        _warm_up(work)
        workers = []
        for lane in range(plan.lanes):
            begin, end = int(plan.lane_begin[lane]), int(plan.lane_begin[lane + 1])
            function, values = work(lane, begin, end, control, lines)
            workers.append(threading.Thread(target=function, args=values, daemon=True))
        asked.watch(control)
        try:
            try:
                for worker in workers:
                    worker.start()
            except RuntimeError:
                control[kernel.STOP] = kernel.STOP_ASKED
                raise ReplayError(
                    f"this machine allows no {plan.lanes} threads: raise the limit (ulimit -u), or map less (--map)."
                ) from None
            while control[kernel.READY] < plan.lanes and not asked.number:
                time.sleep(0.001)
            failed = lines[kernel.SETUP_ERROR :: kernel.LANE_WORDS].max()
            if failed:
                control[kernel.STOP] = kernel.STOP_ASKED
                raise ReplayError(
                    f"a thread cannot have its own working folder (unshare: {os.strerror(int(failed))}): "
                    "the container's seccomp profile must allow it."
                )
            refuse_broken_rings(rings, control)
            cpu = _cpu_s()
            started_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            control[kernel.START_NS] = started_ns
            control[kernel.GO] = 1
            for worker in workers:
                while worker.is_alive():
                    worker.join(0.1)
                    ground.heartbeat()
                    if asked.number:
                        wake(workers)
            cpu = _cpu_s() - cpu
        finally:
            control[kernel.STOP] = control[kernel.STOP] or kernel.STOP_ASKED
            while any(worker.is_alive() for worker in workers):
                wake(workers)
                time.sleep(0.002)
            asked.watch(None)
            _unmap(plan, map_base, rows)
        refuse_broken_rings(rings, control)
        ended = lines[kernel.ENDED_NS :: kernel.LANE_WORDS].copy()
    del kept_alive
    return Outcome(
        started, took, result, started_ns, max(1, int(ended.max()) - started_ns), cpu,
        bool(control[kernel.STOP] == kernel.STOP_FULL), len(os.fsencode(ground.tree)) + 1, ended,
    )  # fmt: skip


def _lines(words: int) -> Any:
    """Zeros that begin at a cache line, in memory of their own."""
    whole = np.zeros(words + 8, np.int64)
    skip = (-whole.ctypes.data % 64) // 8
    return whole[skip : skip + words]


def _warm_up(work: Callable[[int, int, int, Any, Any], tuple[Any, tuple[Any, ...]]]) -> None:
    """Compile the kernel (or load it from the cache) by running no rows, in a thread whose folder may be its own."""
    control, lines = _lines(kernel.CONTROL_WORDS), _lines(kernel.LANE_WORDS)
    control[kernel.GO] = 1
    function, values = work(0, 0, 0, control, lines)
    thread = threading.Thread(target=function, args=values)
    thread.start()
    thread.join()


def _unmap(plan: Plan, map_base: Any, rows: Any) -> None:
    libc = ctypes.CDLL(None)
    for slot, delta, length in plan.unmap_last.tolist():
        if map_base[slot] > 0:
            libc.munmap(ctypes.c_void_p(int(map_base[slot]) + delta), ctypes.c_size_t(length))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

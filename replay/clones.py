"""One user of a run: a plan on a tree, the memory that its workers share, and what came of it.

Each worker is a process forked after all this was made; run() is its work, a thread for each of its lanes.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import numpy as np

from iotrace.errors import ReplayError
from iotrace.replay.checking import Check
from iotrace.replay.filed import private
from iotrace.replay.ground import Ground
from iotrace.replay.kernels import words
from iotrace.replay.kernels.checked_lane import run_checked_lane
from iotrace.replay.kernels.lane import run_lane
from iotrace.replay.kernels.passing import drain
from iotrace.replay.kernels.ring import RING_WORDS
from iotrace.replay.kernels.ring_lane import run_ring_lane
from iotrace.replay.lanes import LaneMemory, Openings, resolve_strings
from iotrace.replay.options import TIMINGS, Options
from iotrace.replay.rides import Rides
from iotrace.replay.ring import LSEEK, fill_ring_tables, refuse_broken_rings
from iotrace.replay.rows import Plan
from iotrace.replay.sharing import shared

_DRAIN_S: Final = 0.02
_PATIENCE: Final = struct.pack("ll", 0, 50_000)
"""After so long (s, µs) a worker that waits for descriptors looks at the stop flag."""


@dataclass(slots=True)
class Clone:
    """One user of a run: a plan with what rides on rings, the tree it runs on, how much later it begins (ns), and what
    is verified."""

    plan: Plan
    rides: Rides | None
    ground: Ground
    delay_ns: int = 0
    check: Check | None = None


@dataclass(slots=True)
class Outcome:
    """What the kernels wrote: for each row start, duration (ns), result and, where it is looked at, wrong blocks read;
    wall time, and CPU time from the start on; when each lane ended, (lanes,)."""

    started: Any
    took: Any
    result: Any
    start_ns: int
    wall_ns: int
    cpu_s: float
    full: bool
    root_bytes: int
    lane_ended_ns: Any
    wrong_blocks: Any = None

    @property
    def ops(self) -> int:
        """Rows that ran."""
        return int((self.result != words.NOT_RUN).sum())


class Part:
    """What the workers of one clone share, and what each needs; a context manager that frees it."""

    def __init__(self, clone: Clone, options: Options, control: Any, spare: int) -> None:
        self.clone, self.plan, self.rides, self.options, self.control = clone, clone.plan, clone.rides, options, control
        plan = self.plan
        n = len(plan.rows)
        self.started, self.took, self.result = shared(n), shared(n), shared(n)
        self.result[:] = words.NOT_RUN
        self.lines = shared(max(1, plan.lanes) * words.LANE_WORDS)
        self.lines[words.WAKE_AT :: words.LANE_WORDS] = 1 << 62
        self.cpu_s = shared(plan.workers, np.float64)
        self.rings = shared((plan.lanes if self.rides else 0, RING_WORDS))
        self.lane_of_row = np.repeat(np.arange(plan.lanes, dtype=np.int64), np.diff(plan.lane_begin))
        with private():  # each worker changes these for itself
            self.strings, self._texts = resolve_strings(plan, os.fsencode(clone.ground.folder))
            self.map_base = np.zeros(max(1, plan.map_slots), np.int64)
            self.got = np.zeros(plan.thread_numbers + 1, np.int64)
            self.places = self.rides.place_of_slot.copy() if self.rides else None
            self.openings = Openings(plan, clone.ground.folder, spare)
            self.memory = LaneMemory(plan, 0)
        self._sockets: list[tuple[socket.socket, socket.socket] | None] = []

    def __enter__(self) -> Part:
        plan, threads = self.plan, self.plan.threads
        self._ends = ExitStack()
        try:
            self._ends.enter_context(self.openings)
            self._ends.enter_context(self.memory)
            takes = np.flatnonzero(np.diff(threads.take_begin))
            rows = plan.rows
            lane = np.searchsorted(plan.lane_begin, rows.thread_begin, side="right") - 1
            worker_of = np.full(plan.thread_numbers + 1, -1, np.int64)
            worker_of[rows.thread_number] = np.searchsorted(plan.worker_begin, lane, side="right") - 1
            self.doors = np.full(plan.thread_numbers + 1, -1, np.int64)
            asked = set(worker_of[takes].tolist())
            for number in range(plan.workers):
                pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) if number in asked else None
                self._sockets.append(pair)
                if pair:
                    self._ends.callback(pair[0].close)
                    self._ends.callback(pair[1].close)
                    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
                    self.doors[worker_of == number] = pair[0].fileno()
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    @property
    def place(self) -> str:
        """The folder that the tree lies in."""
        return str(self.clone.ground.parent)

    def work(
        self, lane: int, first: int, last: int, table: Any, worker: int, control: Any, lines: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        """A kernel and its arguments; `table`: the lane's memory."""
        plan, rows, threads, rides = self.plan, self.plan.rows, self.plan.threads, self.rides
        pair = self._sockets[worker]
        values = (
            lane, first, last, int(plan.apart[worker]), self.clone.delay_ns, TIMINGS[self.options.timing],
            float(self.options.pace), self.openings.high,
            rows.special, rows.form, rows.forms.number, rows.forms.kinds, rows.forms.constants, rows.value_begin,
            rows.values, rows.made, rows.closed, rows.expect,
            rows.busy_ns, rows.idle_ns, rows.due_ns, rows.wait_begin, rows.wait_row, rows.awaited, self.lane_of_row,
            self.openings.slots, self.strings, self.map_base, table, control.ctypes.data, lines.ctypes.data,
            threads.folder, threads.umask, threads.marker_begin, threads.marker_end,
            threads.close_begin, threads.close_slot, threads.unmap_begin, threads.unmap,
            threads.take_begin, threads.take_from, threads.take_to, self.doors, pair[1].fileno() if pair else -1,
            self.got.ctypes.data, self.started, self.took, self.result,
        )  # fmt: skip
        if self.clone.check:
            return run_checked_lane, (*values, *self.clone.check.arguments(lane))
        if rides is None:
            return run_lane, values
        return run_ring_lane, (
            *values, rides.opcode, rides.slot, rides.length, rides.offset, rides.count, rides.how, rides.buffer,
            rides.room, rides.behind, rides.reposition, rides.together, self.places, self.rings[lane].ctypes.data,
            LSEEK,
        )  # fmt: skip

    def warm_up(self) -> None:
        """Compile the kernel (or load it from the cache) by running no rows."""
        control, lines = shared(max(1024, words.CONTROL_WORDS)), shared(words.LANE_WORDS)
        control[words.GO] = words.BEGUN
        with self._lane_memory(1) as memory:
            if self.rides:
                fill_ring_tables(self.plan, self.rides, self.rings, memory.tables, 0, self.options.fixed)
            function, values = self.work(0, 0, 0, memory.tables[0], 0, control, lines)
            # in a thread of its own: its timers change
            thread = threading.Thread(target=function, args=values)
            thread.start()
            thread.join()
        drain(-1, self.got.ctypes.data, self.openings.slots, control.ctypes.data)
        self.rings[:] = 0

    def _lane_memory(self, lanes: int) -> LaneMemory:
        return LaneMemory(self.plan, lanes, self.memory.writes, self.clone.check is not None, self.clone.ground.owner)

    def run(self, worker: int) -> None:
        """Called in a worker: run its lanes to their ends."""
        plan, control = self.plan, self.control
        first, last = int(plan.worker_begin[worker]), int(plan.worker_begin[worker + 1])
        self.openings.keep(worker)
        # where a recorded working folder is not there, relative names stay in the tree all the same
        with suppress(NotADirectoryError):  # of a run without I/O, which has no tree
            os.chdir(self.clone.ground.folder)
        with self._lane_memory(last - first) as memory:
            if self.rides:
                fill_ring_tables(plan, self.rides, self.rings, memory.tables, first, self.options.fixed)
            threads = []
            for lane in range(first, last):
                begin, end = int(plan.lane_begin[lane]), int(plan.lane_begin[lane + 1])
                # the pages that the kernel writes to are there before the run begins
                for column in (self.started, self.took, self.result):
                    column[begin:end:512] = column[begin:end:512]
                function, values = self.work(lane, begin, end, memory.tables[lane - first], worker, control, self.lines)
                threads.append(threading.Thread(target=function, args=values, daemon=True))
            process, own = time.process_time(), time.thread_time()
            for thread in threads:
                thread.start()
            self._wait(threads, worker)
            lanes = self.lines.reshape(-1, words.LANE_WORDS)[first:last] / 1e9
            before, after = lanes[:, words.CPU_BEFORE_NS].sum(), lanes[:, words.CPU_AFTER_NS].sum()
            self.cpu_s[worker] = after - before
            if self.rides:  # the kernel's threads that serve the rings count for the process, too
                others = time.process_time() - process - (time.thread_time() - own) - after
                self.cpu_s[worker] += max(0.0, others)

    def _wait(self, threads: list[threading.Thread], worker: int) -> None:
        """Wait for the lanes; meanwhile what is passed to later processes of this worker is taken in."""
        pair = self._sockets[worker]
        scratch = np.zeros(1024, np.int64)
        for thread in threads:
            while pair and thread.is_alive():
                thread.join(_DRAIN_S)
                drain(pair[1].fileno(), self.got.ctypes.data, self.openings.slots, scratch.ctypes.data)
            thread.join()

    def refuse_what_failed(self) -> None:
        """Say why lanes could not begin.

        Raises
        ------
        ReplayError: with what the machine refused.
        """
        failed = self.lines[words.SETUP_ERROR :: words.LANE_WORDS].max()
        if failed:
            raise ReplayError(
                f"a thread cannot have its own working folder (unshare: {os.strerror(int(failed))}): "
                "the container's seccomp profile must allow it."
            )
        refuse_broken_rings(self.rings, self.control)

    def outcome(self, begin: int) -> Outcome:
        """What came of it; `begin`: start of the run (ns)."""
        begin += self.clone.delay_ns
        ended = self.lines[words.ENDED_NS :: words.LANE_WORDS].copy()
        return Outcome(
            self.started, self.took, self.result, begin, max(1, int(ended.max()) - begin), float(self.cpu_s.sum()),
            bool(self.control[words.STOP] == words.STOP_FULL), len(os.fsencode(self.clone.ground.folder)) + 1, ended,
            self.clone.check.wrong if self.clone.check else None,
        )  # fmt: skip

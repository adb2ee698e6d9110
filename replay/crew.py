"""The processes of a run: a worker for each recorded process, forked from a warmed parent, with a thread for each lane.

Workers share what they must (the stop flag, how far lanes are, what calls returned) and nothing else: each has
descriptors, mappings, working folder, umask and locks of its own. All start together, are watched, and end together;
one that dies ends the run.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from iotrace.errors import MountHangs, ReplayError
from iotrace.replay.bounding import join
from iotrace.replay.checking import Check
from iotrace.replay.filed import private
from iotrace.replay.ground import Ground, heartbeat, leave_the_terminal
from iotrace.replay.guard import page_guard
from iotrace.replay.kernels import words
from iotrace.replay.kernels.checked_lane import run_checked_lane
from iotrace.replay.kernels.lane import run_lane
from iotrace.replay.kernels.passing import drain
from iotrace.replay.kernels.ring import RING_WORDS
from iotrace.replay.kernels.ring_lane import run_ring_lane
from iotrace.replay.lanes import LaneMemory, Openings, resolve_strings
from iotrace.replay.limits import own_descriptors
from iotrace.replay.options import TIMINGS, Options
from iotrace.replay.rides import Rides
from iotrace.replay.ring import LSEEK, fill_ring_tables, refuse_broken_rings
from iotrace.replay.rows import Plan
from iotrace.replay.sharing import shared
from iotrace.replay.starting import let_go, wake_up
from iotrace.replay.stopping import Asked, be_a_worker, wake
from iotrace.replay.watching import Watch

_NO_THREAD: Final = 3
"""Exit status of a worker that may not start its threads."""
_DRAIN_S: Final = 0.02
_KILL_AFTER_S: Final = 0.5
"""A worker that was asked to end and does not come back from a system call is killed."""
_GIVE_UP_S: Final = 30.0
"""One that is not dead so long after that waits for its mount, which nothing can end; a second Ctrl-C ends the wait."""
_ASKED_S: Final = 5.0
"""The same after a first Ctrl-C."""
_PATIENCE: Final = struct.pack("ll", 0, 50_000)
"""After so long (s, µs) a worker that waits for descriptors looks at the stop flag."""


Start = Callable[[Callable[[], None]], int]
"""Wakes the lanes shortly before the start, by what it is given, and gives the moment of the start."""


def at_once(wake: Callable[[], None]) -> int:
    """The start of a replay of one process: as soon as the lanes are awake."""
    wake()
    return time.monotonic_ns()


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


def run_clones(
    clones: Sequence[Clone], options: Options, asked: Asked, tell: Callable[[str], None] = lambda _: None,
    start: Start = at_once, group: Path | None = None,
) -> list[Outcome]:  # fmt: skip
    """Run plans once, all at the same time, each row in the process and on the lane that its plan says.

    Parameters
    ----------
    tell: gets sentences about calls that wait for long.
    start: called when all lanes are at the start, with what wakes them; gives the moment (CLOCK_MONOTONIC, ns) from
    which times count.
    group: control group that the workers join.

    Raises
    ------
    ReplayError: the machine does not allow so many processes or threads, or a worker died.
    MountHangs: a call has waited for longer than the options allow, or a worker cannot be ended.
    """
    control = shared(words.CONTROL_WORDS)
    with ExitStack() as ends:
        spare = own_descriptors([clone.plan for clone in clones])
        parts = [ends.enter_context(_Part(clone, options, control, spare)) for clone in clones]
        ends.enter_context(page_guard(max(clone.plan.lanes for clone in clones)))
        for part in {part.rides is None: part for part in parts}.values():
            part.warm_up()
        crew = _Crew(control, asked, group)
        asked.watch(control)
        ends.enter_context(heartbeat([clone.ground for clone in clones]))
        try:
            for part in parts:
                for number in range(part.plan.workers):
                    crew.fork(part, number)
                part.openings.close()
            lanes = sum(part.plan.lanes for part in parts)
            crew.await_ready(lanes)
            for part in parts:
                part.refuse_what_failed()
            begin = start(lambda: wake_up(control, lanes))
            let_go(control, begin)
            crew.await_end(Watch(parts, options.timeout, tell))
        finally:
            crew.end()
            asked.watch(None)
        for part in parts:
            refuse_broken_rings(part.rings, control)
        return [part.outcome(begin) for part in parts]


class _Part:
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

    def __enter__(self) -> _Part:
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


@dataclass(slots=True)
class _Worker:
    pid: int
    watch: int
    part: _Part
    number: int

    def threads(self) -> list[int]:
        """Ids of its lanes' threads."""
        lanes = self.part.plan.worker_begin[self.number : self.number + 2]
        threads = self.part.lines[words.THREAD :: words.LANE_WORDS]
        return [int(one) for one in threads[lanes[0] : lanes[1]]]


class _Crew:
    """The workers of a run, as their parent sees them."""

    def __init__(self, control: Any, asked: Asked, group: Path | None = None) -> None:
        self._control, self._asked, self._group = control, asked, group
        self._alive: dict[int, _Worker] = {}
        self._poll = select.poll()
        self._trouble = ""
        self._hangs = False

    def fork(self, part: _Part, number: int) -> None:
        """Start a worker.

        Raises
        ------
        ReplayError: this machine does not allow a further process.
        """
        parent = os.getpid()
        # what the parent has made is not to be copied because a child collects garbage
        gc.freeze()
        try:
            pid = os.fork()
        except OSError as error:
            raise ReplayError(
                f"this machine allows no {part.plan.workers} processes ({error.strerror}): raise the limit "
                "(ulimit -u, or pids.max of the control group), or map less (--map)."
            ) from None
        finally:
            gc.unfreeze()
        if pid == 0:
            status = 1
            try:
                gc.disable()
                be_a_worker()
                join(self._group)
                leave_the_terminal()
                if os.getppid() == parent:
                    part.run(number)
                    status = 0
            except RuntimeError:
                status = _NO_THREAD
            finally:
                os._exit(status)
        watch = os.pidfd_open(pid)
        self._alive[watch] = _Worker(pid, watch, part, number)
        self._poll.register(watch, select.POLLIN)

    def await_ready(self, lanes: int) -> None:
        """Wait until all lanes are at the start."""
        while self._control[words.READY] < lanes and not self._control[words.STOP]:
            self._look(1)
        self._refuse()

    def await_end(self, watch: Watch) -> None:
        """Wait until all workers have ended by themselves, or were asked to, or a call has waited for too long."""
        while self._alive and not self._control[words.STOP]:
            self._look(100)
            late = watch.overdue()
            if late is not None:
                self._hangs = True
                self._trouble = f"{late.text()}: the run was ended (--timeout)"
                self._control[words.STOP] = words.STOP_ASKED

    def end(self) -> None:
        """End what still runs.

        Raises
        ------
        ReplayError: a worker ended by itself, or cannot be ended.
        """
        self._control[words.STOP] = self._control[words.STOP] or words.STOP_ASKED
        begun, killed = time.monotonic(), False
        while self._alive:
            self._wake()
            self._look(2)
            waited = time.monotonic() - begun
            if waited > _KILL_AFTER_S and not killed:
                killed = True
                for worker in self._alive.values():
                    os.kill(worker.pid, signal.SIGKILL)
            patience = 4 * _KILL_AFTER_S if self._hangs or self._asked.times > 1 else _GIVE_UP_S
            if waited > (min(patience, _ASKED_S) if self._asked.number else patience):
                self._give_up()
        self._refuse()

    def _wake(self) -> None:
        for worker in self._alive.values():
            wake(worker.pid, worker.threads())

    def _look(self, wait_ms: int) -> None:
        """Take note of workers that have ended, and of other reasons to stop."""
        self._asked.look()
        for watch, _ in self._poll.poll(wait_ms):
            worker = self._alive.pop(watch)
            self._poll.unregister(watch)
            os.close(watch)
            status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
            if status and not self._control[words.STOP]:
                self._control[words.STOP] = words.STOP_ASKED
                self._trouble = self._say(worker, status)

    def _give_up(self) -> None:
        """Leave the workers that not even SIGKILL ends."""
        stuck = ", ".join(str(worker.pid) for worker in self._alive.values())
        for watch in self._alive:
            os.close(watch)
        self._alive.clear()
        self._hangs = True
        self._trouble = f"{self._trouble}; " if self._trouble else ""
        self._trouble += f"processes {stuck} wait for the mount and cannot be ended"

    def _say(self, worker: _Worker, status: int) -> str:
        if status == _NO_THREAD:
            return (
                f"this machine allows no {worker.part.plan.lanes} threads: raise the limit (ulimit -u), or map less "
                "(--map)."
            )
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        hint = " (out of memory? see dmesg)" if status == -signal.SIGKILL else ""
        if hint and self._group is not None:
            hint = " (out of memory? give a larger --memory, or see dmesg)"
        return (
            f"the worker that replayed {worker.part.plan.worker_names[worker.number]} was ended by {name}{hint}: the "
            "run was stopped, and what it made was removed."
        )

    def _refuse(self) -> None:
        if self._hangs:
            raise MountHangs(self._trouble + ".", 128 + self._asked.number if self._asked.number else 1)
        if self._trouble:
            raise ReplayError(self._trouble)

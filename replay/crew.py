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
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from iotrace.errors import MountHangs, ReplayError
from iotrace.replay.bounding import join
from iotrace.replay.clones import Clone, Outcome, Part
from iotrace.replay.ground import heartbeat, leave_the_terminal
from iotrace.replay.guard import page_guard
from iotrace.replay.kernels import words
from iotrace.replay.limits import own_descriptors
from iotrace.replay.options import Options
from iotrace.replay.ring import refuse_broken_rings
from iotrace.replay.sharing import shared
from iotrace.replay.starting import let_go, wake_up
from iotrace.replay.stopping import Asked, be_a_worker, wake
from iotrace.replay.watching import Watch

_NO_THREAD: Final = 3
"""Exit status of a worker that may not start its threads."""
_KILL_AFTER_S: Final = 0.5
"""A worker that was asked to end and does not come back from a system call is killed."""
_GIVE_UP_S: Final = 30.0
"""One that is not dead so long after that waits for its mount, which nothing can end; a second Ctrl-C ends the wait."""
_ASKED_S: Final = 5.0
"""The same after a first Ctrl-C."""

Start = Callable[[Callable[[], None]], int]
"""Wakes the lanes shortly before the start, by what it is given, and gives the moment of the start."""


def at_once(wake: Callable[[], None]) -> int:
    """The start of a replay of one process: as soon as the lanes are awake."""
    wake()
    return time.monotonic_ns()


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
        parts = [ends.enter_context(Part(clone, options, control, spare)) for clone in clones]
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


@dataclass(slots=True)
class _Worker:
    pid: int
    watch: int
    part: Part
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

    def fork(self, part: Part, number: int) -> None:
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

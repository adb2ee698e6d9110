"""Ending a replay on request: Ctrl-C, SIGTERM and SIGHUP set a flag that kernels read before each row.

A system call that blocks in a worker is ended by SIGUSR1, whose handler does nothing. Handlers stand only while a
replay runs, and only in the main thread, where Python allows it.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from iotrace.errors import IotraceError
from iotrace.machine import X86_64
from iotrace.replay.kernels import lane as kernel


class Interrupted(IotraceError):
    """Ctrl-C or SIGTERM came; the exit status is 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}; what the replay made was removed.")
        self.exit_status = 128 + number


_TGKILL: Final = 234 if X86_64 else 131


def wake(process: int, threads: Iterable[int]) -> None:
    """End system calls that block in threads of a worker: a signal whose handler there does nothing."""
    libc = ctypes.CDLL(None)
    for thread in threads:
        if thread > 0:
            libc.syscall(_TGKILL, process, thread, int(signal.SIGUSR1))


def be_a_worker() -> None:
    """Called in a forked worker: only the replay's own process listens to who asks to stop; end when that one does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.siginterrupt(signal.SIGUSR1, True)
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG


class Asked:
    """Whether the user asked to stop: set by signal handlers, read by all."""

    def __init__(self) -> None:
        self.number = 0
        self.event = threading.Event()
        self._control: Any = None

    def stop(self, number: int, _: object = None) -> None:
        self.number = number
        self.event.set()
        if self._control is not None and not self._control[kernel.STOP]:
            self._control[kernel.STOP] = kernel.STOP_ASKED

    def watch(self, control: Any) -> None:
        self._control = control
        if self.number and control is not None:
            control[kernel.STOP] = kernel.STOP_ASKED

    def check(self) -> None:
        if self.number:
            raise Interrupted(self.number)


@contextmanager
def stop_signals() -> Iterator[Asked]:
    """Handlers for Ctrl-C, SIGTERM and SIGHUP; in the main thread only, where Python allows it."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, asked.stop)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

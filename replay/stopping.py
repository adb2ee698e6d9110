"""Ending a replay on request: Ctrl-C, SIGTERM and SIGHUP set a flag that kernels read before each row.

A system call that blocks in a worker is ended by SIGUSR1, whose handler does nothing. Handlers stand only while a
replay runs, and only in the main thread, where Python allows it.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from iotrace.errors import IotraceError, MountHangs
from iotrace.machine import X86_64
from iotrace.replay.kernels import words
from iotrace.replay.watching import SAY_AFTER_S
from iotrace.units import duration_text

T = TypeVar("T")


class Interrupted(IotraceError):
    """Ctrl-C or SIGTERM came; the exit status is 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}; what the replay made was removed.")
        self.exit_status = 128 + number


_TGKILL: Final = 234 if X86_64 else 131
_GRACE_S: Final = 10.0
"""Work on a tree that was asked to stop has so long to end the piece that it is at."""
_AGAIN_S: Final = 1.0
"""The same when it was asked again."""


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
    """Whether the user asked to stop: set by signal handlers, read by all.

    Attributes
    ----------
    look: called now and then by whoever waits in the main thread; may find another reason to stop.
    """

    def __init__(self) -> None:
        self.number = self.times = 0
        self.look: Callable[[], None] = lambda: None
        self._why: IotraceError | None = None
        self.event = threading.Event()
        self._control: Any = None

    def stop(self, number: int, _: object = None) -> None:
        self.number = number
        self.times += 1
        self.event.set()
        if self._control is not None and not self._control[words.STOP]:
            self._control[words.STOP] = words.STOP_ASKED

    def fail(self, why: IotraceError) -> None:
        """Stop for another reason than a signal, which is then what `check` raises."""
        self._why = self._why or why
        self.stop(int(signal.SIGTERM))

    def watch(self, control: Any) -> None:
        self._control = control
        if self.number and control is not None:
            control[words.STOP] = words.STOP_ASKED

    def check(self) -> None:
        if self._why:
            raise self._why
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


def aside(
    work: Callable[[], T], what: str, asked: Asked | None = None, *, timeout_s: float | None = None,
    progress: Callable[[], int] = lambda: 0, tell: Callable[[str], None] = lambda _: None,
) -> T:  # fmt: skip
    """Do what asks a mount in a thread of its own: this one goes on looking for signals, and at the clock.

    Parameters
    ----------
    what: a clause for people: "making the tree on /mnt/a".
    timeout_s: gives up when `progress` has not changed for so long; None: never.
    tell: gets a sentence when nothing has changed for long.

    Raises
    ------
    MountHangs: the time is over, or the work does not end although it was asked to.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    last, since, said_s, asked_at = progress(), time.monotonic(), SAY_AFTER_S, 0.0
    while thread.is_alive():
        thread.join(0.02)
        if asked:
            asked.look()
        moment = time.monotonic()
        if progress() != last:
            last, since, said_s = progress(), moment, SAY_AFTER_S
        if asked and asked.number:
            asked_at = asked_at or moment
            if moment - asked_at > (_AGAIN_S if asked.times > 1 else _GRACE_S):
                raise MountHangs(
                    f"interrupted by {signal.Signals(asked.number).name}; {what}: the mount does not answer.",
                    128 + asked.number,
                )
        if timeout_s is not None and moment - since > timeout_s:
            raise MountHangs(f"{what}: the mount has not answered for {duration_text(timeout_s * 1e9)} (--timeout).")
        if moment - since > said_s:
            tell(f"{what}: nothing has come of it for {duration_text((moment - since) * 1e9)}.")
            said_s *= 2
    if errors:
        raise errors[0]
    return results[0]

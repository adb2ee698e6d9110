"""A recording session: one command, one backend, one trace.

The backend does the seeing; the session starts and ends it, passes signals on, and returns the command's own exit
status.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, cast

from iotrace.errors import IotraceError
from iotrace.mounts.mountinfo import mounts_of_this_machine
from iotrace.record.backends import Attaching, Backend, begin_loading, close_unused, make_backend
from iotrace.record.beside import Beside
from iotrace.record.labels import redact
from iotrace.record.registry import registered
from iotrace.record.scope import BackendName, Detail, Scope

if TYPE_CHECKING:
    from iotrace.record.jobs import JobTraces
    from iotrace.trace.info import TraceInfo
    from iotrace.trace.writer import TraceWriter

_POLL_SECONDS, _IDLE_SECONDS = 0.005, 0.05
"""From one look at what has come to the next; the longer one while nothing comes."""
_LOOK_SECONDS: Final = 1.0
_OWN_FAILURE: Final = 125
_CLOCK_SECONDS: Final = 60
_CLOCK_STEP_NS: Final = 100_000_000
"""What NTP slews in a second is far less."""
_CLOCK_PAIRS: Final = 2000
_CHAPTER_ROWS: Final = 600_000
"""Names and files that the recorder keeps in memory at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a recording gave.

    Attributes
    ----------
    exit_status: the command's, 128 + n after signal n.
    info: the finished trace's trace.json.
    """

    folder: Path
    exit_status: int
    info: TraceInfo


def record(
    command: Sequence[str],
    output: str | Path,
    backend: BackendName = "auto",
    force: bool = False,
    duration_s: float | None = None,
    warn: Callable[[str], None] = lambda sentence: None,
    scope: Scope | None = None,
    ring_bytes: int | None = None,
    max_bytes: int | None = None,
    detail: Detail = "events",
    attached: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run a command and record its file I/O, that of all its threads and of the processes it starts.

    Parameters
    ----------
    command: program and arguments; empty: record what runs already, as `scope` says.
    output: folder of the trace, conventionally NAME.iotrace.
    backend: "ebpf", "strace", or "auto" (eBPF where allowed).
    force: replace a trace that stands at `output`.
    duration_s: stop recording after so many seconds; what is recorded goes on.
    warn: called with sentences that a user should read.
    scope: what the recording is about.
    ring_bytes: size of eBPF's ring, a power of two.
    max_bytes: how large the trace may grow on disk; beyond, its oldest part is dropped.
    detail: "events", or "histogram": counts by process, operation and mount.
    attached: called when what runs already is followed.

    Raises
    ------
    RecordError: the command cannot be started, what to record is not there, or no backend works here.
    TraceError, StorageError: the trace cannot be written.
    """
    from iotrace.record.launch import Launch

    scope = scope or Scope()
    # the command's process first, while there is little to inherit; the one that looks starts beside the rest
    with Launch(command) if command else contextlib.nullcontext() as launch, Beside(scope) as beside:
        loading = begin_loading(backend, scope, detail, ring_bytes)
        try:
            writer = _open_trace(command, output, backend, force, scope, max_bytes, detail)
        except BaseException:
            close_unused(loading)
            raise
        from iotrace.trace.writer import TraceWriter

        info = writer.info
        try:
            recorder = make_backend(backend, loading, writer, warn, duration_s is not None, scope, detail)
            info.backend = recorder.name
            info.unseen = list(recorder.unseen)  # a recording that is killed says it too
            with _Signals() as signals, registered(writer.folder, recorder.name, _target(command, scope)):
                beside.begin(None if isinstance(writer, TraceWriter) else writer.count_with)
                if launch:
                    with signals.held():
                        signals.pid = recorder.start(launch)
                    status = _watch(signals.pid, recorder, writer, duration_s, beside)
                else:
                    running = cast(Attaching, recorder)
                    status = _watch_running(running, writer, scope, signals, duration_s, attached, beside)
        except BaseException as error:
            _close_after(error, writer)
            raise
        return Outcome(writer.folder, status, writer.info)


def _open_trace(
    command: Sequence[str],
    output: str | Path,
    backend: BackendName,
    force: bool,
    scope: Scope,
    max_bytes: int | None,
    detail: Detail,
) -> TraceWriter | JobTraces:
    # here, not above: the kernel verifies the program while these are imported
    from iotrace.trace.info import Mount, info_of_this_machine
    from iotrace.trace.writer import TraceWriter

    info = info_of_this_machine(backend, redact(list(command)))
    info.mounts = [Mount(m.device, m.point, m.type, m.source, m.options) for m in mounts_of_this_machine()]
    info.filters = scope.filters()
    info.detail = detail
    try:
        if scope.kind == "cryosparc" and detail == "events":
            from iotrace.record.jobs import JobTraces

            return JobTraces(output, info, max_bytes)
        return TraceWriter(output, info, force, max_bytes, chapter_rows=_CHAPTER_ROWS)
    except IotraceError as error:
        error.exit_status = _OWN_FAILURE
        raise


def _target(command: Sequence[str], scope: Scope) -> str:
    return " ".join(redact(list(command))) if command else scope.text()


def _watch_running(
    recorder: Attaching, writer: TraceWriter | JobTraces, scope: Scope, signals: _Signals, duration_s: float | None,
    attached: Callable[[], None], beside: Beside,
) -> int:  # fmt: skip
    """Record what runs until it ends, the time is over or a signal comes; what is recorded goes on untouched."""
    began = time.monotonic()
    signals.attached = True
    recorder.attach(beside.pids)
    attached()
    clock = _Clock(writer.info)
    looked = began
    ends, wait = scope.kind == "pid", _POLL_SECONDS
    try:
        while not signals.stopped and not (duration_s is not None and time.monotonic() - began >= duration_s):
            busy = recorder.poll()
            clock.look()
            if ends and recorder.followed == 0:
                break
            if ends and time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                if recorder.all_ended:
                    break
            wait = _POLL_SECONDS if busy else min(wait * 1.5, _IDLE_SECONDS)
            time.sleep(wait)
    except IotraceError:
        with contextlib.suppress(IotraceError):
            recorder.stop()
        raise
    _finish(recorder, writer, began, beside)
    return 0


def _watch(
    pid: int, recorder: Backend, writer: TraceWriter | JobTraces, duration_s: float | None, beside: Beside
) -> int:  # fmt: skip
    """Poll until the command ends, then stop the recorder; returns the exit status."""
    began = time.monotonic()
    process = os.pidfd_open(pid)
    clock = _Clock(writer.info)
    stopped, wait = False, _POLL_SECONDS
    failure: IotraceError | None = None
    try:
        while not select.select([process], [], [], wait)[0]:
            if stopped:
                wait = 1.0
                continue
            try:
                wait = _POLL_SECONDS if recorder.poll() else min(wait * 1.5, _IDLE_SECONDS)
                clock.look()
            except IotraceError as error:
                # the command must not suffer from a recorder that cannot go on
                failure, stopped = error, True
                with contextlib.suppress(IotraceError):
                    recorder.stop()
            if duration_s is not None and time.monotonic() - began >= duration_s and not stopped:
                _finish(recorder, writer, began, beside)
                stopped = True
    finally:
        os.close(process)
    _, raw = os.waitpid(pid, 0)
    status = os.waitstatus_to_exitcode(raw)
    status = status if status >= 0 else 128 - status
    writer.info.exit_status = status
    try:
        if failure:
            raise failure
        if not stopped:
            _finish(recorder, writer, began, beside)
        else:
            writer.flush()
    except IotraceError as error:
        error.exit_status = status  # the command ran; its status is what its caller wants to know
        raise
    return status


def _finish(recorder: Backend, writer: TraceWriter | JobTraces, began: float, beside: Beside) -> None:
    writer.info.duration_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - writer.info.base_monotonic_ns
    writer.info.recorder = recorder.stop()
    writer.info.unseen = list(recorder.unseen)
    beside.finish(writer)
    writer.info.clock.append((time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.time_ns()))
    writer.close()


def _close_after(error: BaseException, writer: TraceWriter | JobTraces) -> None:
    """Leave what was recorded readable; an empty trace of a command that never began is removed."""
    import shutil

    from iotrace.trace.writer import TraceWriter

    if writer.info.events == 0 and isinstance(error, IotraceError) and isinstance(writer, TraceWriter):
        shutil.rmtree(writer.folder, ignore_errors=True)
        return
    # where the disk is full, the error that brought us here says so
    with contextlib.suppress(IotraceError):
        writer.close(complete=False)


class _Clock:
    """Notes (monotonic, UTC) pairs in trace.json: one a minute, and one on either side of a step of the UTC clock.

    A recording of months does not grow by that: when there are too many, every second one goes.
    """

    def __init__(self, info: TraceInfo) -> None:
        self._info = info
        self._last = self._noted = info.clock[-1]

    def look(self) -> None:
        """Called every few milliseconds."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.time_ns()
        stepped = abs((now[1] - now[0]) - (self._last[1] - self._last[0])) > _CLOCK_STEP_NS
        if stepped and self._last != self._noted:
            self._note(self._last)
        self._last = now
        if stepped or now[0] - self._noted[0] >= _CLOCK_SECONDS * 10**9:
            self._note(now)

    def _note(self, pair: tuple[int, int]) -> None:
        self._noted = pair
        pairs = [*self._info.clock, pair]
        # the writer's thread may be writing the list: it is replaced, never changed
        self._info.clock = pairs if len(pairs) < _CLOCK_PAIRS else [pairs[0], *pairs[1:-1:2], pairs[-1]]


class _Signals:
    """While a command runs: SIGTERM and SIGHUP are passed on to it, SIGINT too unless the terminal sent it to both.

    Where there is no command, each of them ends the recording.
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self.attached = False
        self.stopped = False
        self._held: list[int] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *ignored: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While the command starts, signals wait: one that came in between would leave it behind without a recorder."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
        for number in held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(cast(int, self.pid), number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self._held is not None:
            self._held.append(number)
            return
        if self.pid is None:
            if not self.attached:
                raise KeyboardInterrupt
            self.stopped = True
            return
        if number == signal.SIGINT and _terminal_is_ours():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def _terminal_is_ours() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)

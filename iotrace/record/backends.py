"""Which backend records: eBPF where the machine allows it, strace where it does not and can serve.

Nothing here imports pyarrow or Numba: the kernel verifies eBPF's program (`begin_loading`) while Python imports them,
and each takes about half of the start of a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from iotrace.errors import BackendUnavailable
from iotrace.record.scope import BackendName, Detail, Scope

if TYPE_CHECKING:
    from iotrace.record.ebpf.program import Program
    from iotrace.record.jobs import JobTraces
    from iotrace.record.launch import Launch
    from iotrace.trace.writer import TraceWriter


class Backend(Protocol):
    """What a recording backend is.

    Attributes
    ----------
    unseen: what the backend cannot see on this machine, as sentences.
    """

    name: str
    unseen: list[str]

    def start(self, launch: Launch) -> int:
        """Let the command execute, watched from its exec on; returns the pid whose status is the command's."""

    def poll(self) -> bool:
        """Move what has come into the writer, without blocking for long; whether the next call should come soon."""

    def stop(self) -> dict[str, float]:
        """Write the last rows; returns the recorder's own cost."""


class Attaching(Backend, Protocol):
    """A backend that can also record what runs already."""

    def attach(self, apart: Sequence[int] = ()) -> int:
        """Begin; returns how many processes were found. `apart`: processes that work for the recorder."""

    @property
    def followed(self) -> int:
        """How many threads are followed."""

    @property
    def all_ended(self) -> bool:
        """Whether none of them runs, as /proc says."""


def begin_loading(
    wanted: BackendName, scope: Scope, detail: Detail = "events", ring_bytes: int | None = None
) -> Future[Program] | None:
    """Load eBPF's program in a thread of its own; None where only strace is wanted.

    Parameters
    ----------
    ring_bytes: size of its ring, a power of two.
    """
    if wanted == "strace":
        return None
    try:
        from iotrace.record.ebpf.program import COUNTING_RING_BYTES, RING_BYTES, load_aside, wanted_of

        counting = detail == "histogram"
        return load_aside(wanted_of(scope, ring_bytes or (COUNTING_RING_BYTES if counting else RING_BYTES), counting))
    except BackendUnavailable as error:
        failed: Future[Program] = Future()
        failed.set_exception(error)
        return failed


def close_unused(loading: Future[Program] | None) -> None:
    """Give back a program that nothing will use, once it is loaded."""
    if loading is not None:
        loading.add_done_callback(lambda done: None if done.exception() else done.result().close())


def make_backend(
    wanted: BackendName,
    loading: Future[Program] | None,
    writer: TraceWriter | JobTraces,
    warn: Callable[[str], None],
    detachable: bool = False,
    scope: Scope | None = None,
    detail: Detail = "events",
) -> Backend:
    """The backend to use, loaded; `auto` takes eBPF where the machine allows it and strace otherwise, and says so.

    Parameters
    ----------
    loading: of `begin_loading`.
    detachable: the recording may end before the command does.
    scope: what it is about; strace serves commands only, of all mounts.
    detail: "histogram" counts in the kernel instead of writing a row for each operation; eBPF only.

    Raises
    ------
    BackendUnavailable: the wanted backend, or any, cannot work here.
    """
    scope = scope or Scope()
    reason = ""
    if loading is not None:
        try:
            return _ebpf_backend(loading, writer, warn, scope, detail)
        except BackendUnavailable as error:
            if wanted == "ebpf":
                raise
            reason = str(error)
    if scope != Scope() or detail != "events":
        why = f"{reason} strace" if reason else "strace"
        raise BackendUnavailable(
            f"{why} can only record a command, each of its operations, on all mounts: run it behind --."
        )
    from iotrace.record.strace import StraceBackend
    from iotrace.trace.writer import TraceWriter

    assert isinstance(writer, TraceWriter)
    other = StraceBackend.unavailable()
    if other is not None:
        raise BackendUnavailable(f"{reason} Nor can strace serve: {other}" if reason else other)
    if reason:
        warn(
            f"{reason} Recording with strace instead, which sees no page faults and slows the command: up to 40 times "
            "where it does little but I/O."
        )
    from iotrace.compiling import compiling_text
    from iotrace.trace.formats.strace.kernels.lines import feed

    if text := compiling_text(feed):
        warn(text)
    return StraceBackend(writer, detachable=detachable)


def _ebpf_backend(
    loading: Future[Program], writer: TraceWriter | JobTraces, warn: Callable[[str], None], scope: Scope, detail: Detail
) -> Backend:
    if loading.done():
        loading.result()  # a machine without eBPF need not wait for the drain
    from iotrace.compiling import compiling_text
    from iotrace.record.ebpf.kernels.drain import drain
    from iotrace.trace.writer import TraceWriter

    if text := compiling_text(drain):
        loading.result()
        warn(text)

    if detail == "histogram":
        from iotrace.record.ebpf.tallies import TallyBackend

        return TallyBackend(writer, scope, loading)
    if isinstance(writer, TraceWriter):
        from iotrace.record.ebpf.backend import EbpfBackend

        return EbpfBackend(writer, scope, loading)
    from iotrace.record.jobs import JobsBackend

    return JobsBackend(writer, scope, loading)

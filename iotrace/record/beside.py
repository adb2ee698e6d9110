"""Counters beside a recording: before, each second and after, of the mounts that it is about.

They go into trace.json (how much each counter grew) and counters.parquet (each second). In a recording of CryoSPARC's
jobs each job's trace has those of its time (beside_jobs.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from iotrace.mounts.counters.sampling import Sampler, Watch
from iotrace.mounts.mountinfo import Mount, is_system_mount, mount_of, mounts_of_this_machine, visible
from iotrace.record.beside_jobs import JobCounters
from iotrace.record.scope import Scope

if TYPE_CHECKING:
    from iotrace.trace.writer import TraceWriter

COUNTERS_NAME: Final = "counters.parquet"
_MOUNTS_MAX: Final = 16


class Beside:
    """A context manager around a recording; the process that looks is started with it, early, and looks later."""

    def __init__(self, scope: Scope) -> None:
        self._scope, self._sampler = scope, Sampler()
        self._jobs: JobCounters | None = None

    def __enter__(self) -> Beside:
        self._sampler.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sampler.__exit__(kind, error, trace)

    @property
    def pids(self) -> list[int]:
        """The process that looks, which is not to be recorded; none where it could not be started."""
        return [self._sampler.pid] if self._sampler.pid is not None else []

    def begin(self, of_jobs: Callable[[JobCounters], None] | None = None) -> None:
        """Look, and then each second. `of_jobs`: is given who counts for each job, where there are many traces."""
        mounts = _mounts(self._scope)
        if of_jobs:
            self._jobs = JobCounters(self._sampler, mounts)
            of_jobs(self._jobs)
        else:
            self._sampler.begin(mounts)

    def finish(self, writer: Any) -> None:
        """Look for the last time, and write down what was counted; before the trace is closed."""
        # not above: it is imported while the kernel verifies the recorder's program
        from iotrace.trace.writer import TraceWriter

        if self._jobs:
            self._jobs.close()
            return
        self._sampler.mark()
        watch = self._sampler.end()
        if isinstance(writer, TraceWriter):
            write_down(watch, writer)


def write_down(watch: Watch, writer: TraceWriter) -> None:
    """Put what was counted into a trace that is about to be closed."""
    from iotrace.trace.info import Counted

    if not watch.marks:
        return
    writer.info.counters = [
        Counted(name, scope, watch.between(at, 0, 1)) for at, (name, scope, _) in enumerate(watch.sources)
    ]
    # a trace that may only be so large keeps the room for its events
    if writer.info.max_bytes is None:
        _write(Path(writer.folder) / COUNTERS_NAME, watch, writer.info.base_monotonic_ns)


def _mounts(scope: Scope) -> list[Mount]:
    """Those that --fs names, else all that are not the system's own, and that of the working folder."""
    known = visible(mounts_of_this_machine())
    if scope.mounts:
        return [mount for mount in known if mount.point in scope.mounts]
    here = mount_of(os.getcwd(), known)
    found = [mount for mount in known if not is_system_mount(mount)]
    return list(dict.fromkeys([*([here] if here else []), *found]))[:_MOUNTS_MAX]


def _write(path: Path, watch: Watch, base_ns: int) -> None:
    """A row for each counter of each look: source, counter, time_ns as in events, value (growth since the first look;
    of figures of the moment the figure)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from iotrace.trace.private import create, write_all

    rows = [(source, name, at - base_ns, value) for at, source, name, value in watch.each_look()]
    names = ("source", "counter", "time_ns", "value")
    types = (pa.string(), pa.string(), pa.int64(), pa.int64())
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    table = pa.table([pa.array(column, type=kind) for column, kind in zip(columns, types, strict=True)], names=names)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    try:
        with create(path) as file:
            write_all(file, sink.getvalue().to_pybytes())
    except OSError:
        # why nothing can be written there the trace's own writer says; half a table is none
        with contextlib.suppress(OSError):
            path.unlink()

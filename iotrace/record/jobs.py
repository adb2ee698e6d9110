"""One recorder, a trace for each CryoSPARC job: rows are handed to the trace of the job that their process works for.

Takes what a recorder writes; makes a folder of traces, NAME.iotrace each, complete by themselves: with the names, files
and processes that their events refer to, and times from the job's own start. A trace is closed when the job's last
process has ended. When the folder grows beyond its bound, the oldest traces of ended jobs go.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.errors import TraceError
from iotrace.record.beside import write_down
from iotrace.record.beside_jobs import JobCounters
from iotrace.record.division import divide, numbers_in
from iotrace.record.ebpf.backend import EbpfBackend
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.state import Ints
from iotrace.record.together import Together, remove_together
from iotrace.trace.info import INFO_NAME, TraceInfo
from iotrace.trace.private import create_folder
from iotrace.trace.schema import NULL, SUFFIX
from iotrace.trace.writer import LEAST_MAX_BYTES, TraceWriter, check_bound, lacking_bytes, prepare_encoder

_PATH_COLUMNS: Final = [d.COLUMN[name] for name in ("path", "other_path")]
_FILE_COLUMNS: Final = [d.COLUMN[name] for name in ("file", "other_file")]
_GRACE_S: Final = 10.0
"""A job whose processes have all ended may start another one within this time."""
CHAPTER_ROWS: Final = 60_000
"""Names and files that are kept for the events to come: 0.8 kB each."""
_WAITING_BYTES: Final = 16 << 20
"""Rows that wait in the writers of all jobs together."""
_NAMES_BYTES: Final = 48 << 20
"""What the names take that are kept here, of which the recorder's own tables hold so much less."""
_SHARE: Final = 2
"""One job's trace may take this fraction of the folder's bound."""
_CURRENT_SHARE: Final = 4
"""The chapters that are being written, which cannot be dropped, take this fraction of it together at most."""
_SLACK_SHARE: Final = 8
_SLACK_BYTES: Final = 32 << 20
"""What may come from one look at the folder's size to the next; the smaller of the two."""


class _Job:
    """A trace in the making.

    Attributes
    ----------
    start_ns: the job's start on the recorder's clock.
    ended: when all its processes were first seen to have ended (time.monotonic()); None while one lives.
    """

    def __init__(self, writer: TraceWriter, start_ns: int, lost: dict[str, int]) -> None:
        self.writer = writer
        self.start_ns = start_ns
        self.lost_before = dict(lost)
        self.processes: set[int] = set()
        self.ended: float | None = None
        self.forget()

    def forget(self) -> None:
        """What the trace holds of the present chapter."""
        self.paths: set[int] = set()
        self.files: set[int] = set()

    def note_lost(self, lost: dict[str, int]) -> None:
        """What was lost while the job ran may have been its own."""
        since = {kind: count - self.lost_before.get(kind, 0) for kind, count in lost.items()}
        self.writer.info.lost = {kind: count for kind, count in since.items() if count > 0}


class JobTraces:
    """A folder of traces, written like one trace.

    Parameters
    ----------
    folder: made if it is not there; traces that stand in it stay, but for the oldest when there is too much.
    info: what each trace says of the machine.
    max_bytes: bound of all traces in the folder together.

    Raises
    ------
    UsageError: max_bytes is less than 16 MiB.
    TraceError: the folder cannot be made, or is a trace.
    """

    def __init__(self, folder: str | Path, info: TraceInfo, max_bytes: int | None = None) -> None:
        check_bound(max_bytes)
        self.folder, self.info, self._max_bytes = Path(folder), info, max_bytes
        if (self.folder / INFO_NAME).exists():
            raise TraceError(f"{folder} is a trace: name a folder that the jobs' traces are to be put into.")
        if not self.folder.is_dir():
            try:
                create_folder(self.folder)
            except OSError as error:
                raise TraceError(f"cannot make the folder {folder}: {error.strerror}.") from None
        remove_together(self.folder)  # of a recorder that was killed
        self.finished = 0
        self.unlabelled = 0
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._job_of: dict[int, tuple[str, str]] = {}
        self._rows: dict[str, dict[int, dict[str, Any]]] = {"paths": {}, "files": {}, "processes": {}}
        self._side_rows = 0
        self._ended: dict[Path, tuple[float, int]] = {}
        self._counters: JobCounters | None = None

    def count_with(self, counters: JobCounters) -> None:
        """Let each job's trace have the counters of its time."""
        self._counters = counters

    @property
    def wants_chapter(self) -> bool:
        """Whether there is much to forget, or a trace or all together have grown."""
        if self._side_rows > CHAPTER_ROWS or any(job.writer.wants_chapter for job in self._jobs.values()):
            return True
        current = sum(job.writer.chapter_bytes for job in self._jobs.values())
        return self._max_bytes is not None and current >= self._max_bytes // _CURRENT_SHARE

    def prepare(self) -> None:
        """Load what a trace's writer needs: it would take its time when the first jobs run."""
        prepare_encoder()

    def append(self, table: str, batch: Any) -> None:
        """Keep rows until an event refers to them."""
        self.append_rows(table, batch.to_pylist())

    def append_rows(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Keep rows until an event refers to them; a process's row goes to its job's trace at once."""
        key = {"paths": "path", "files": "file", "processes": "process"}[table]
        self._rows[table].update({row[key]: row for row in rows})
        if table != "processes":
            self._side_rows += len(rows)
            return
        for row in rows:
            job = self._job_for(row)
            if job is not None:
                job.processes.add(row["process"])
                job.writer.append_rows("processes", [self._shifted(row, job.start_ns)])

    def append_matrix(self, rows: npt.NDArray[np.int64], count: int) -> None:
        """Divide the events among the jobs, and fill their place with NULL."""
        for key, events in divide(rows[:, :count], self._job_of):
            if key is None:
                self.unlabelled += events.shape[1]
            else:
                self._give(self._jobs[key], events)
        rows[:, :count] = NULL
        waiting = {key: job.writer.waiting_bytes for key, job in self._jobs.items()}
        while sum(waiting.values()) > _WAITING_BYTES:
            key = max(waiting, key=lambda key: waiting[key])
            del waiting[key]
            self._jobs[key].writer.lighten()
        self._bound()
        # what many small row groups took and gave back; it would stay with Arrow
        pa.default_memory_pool().release_unused()

    def _give(self, job: _Job, events: npt.NDArray[np.int64]) -> None:
        count = events.shape[1]
        self.info.events += count
        wanted_files = numbers_in(events, _FILE_COLUMNS) - job.files
        files = [self._rows["files"][n] for n in sorted(wanted_files) if n in self._rows["files"]]
        wanted_paths = numbers_in(events, _PATH_COLUMNS)
        wanted_paths = (wanted_paths | {row["path"] for row in files if row["path"] is not None}) - job.paths
        paths = [self._rows["paths"][n] for n in sorted(wanted_paths) if n in self._rows["paths"]]
        job.files |= wanted_files
        job.paths |= wanted_paths
        job.writer.append_rows("paths", paths)
        job.writer.append_rows("files", files)
        events[d.COLUMN["time_ns"]] -= job.start_ns
        job.writer.append_matrix(events, count)

    def _job_for(self, row: dict[str, Any]) -> _Job | None:
        """The job that a process works for, with a trace; None for what carries no label."""
        if row.get("job") is None:
            return None
        key = (row.get("project") or "", row["job"])
        self._job_of[row["process"]] = key
        if key not in self._jobs:
            self._jobs[key] = self._begin(key, row)
            if self._counters:
                self._counters.begin(key, self._jobs[key].writer.info.base_monotonic_ns)
        job = self._jobs[key]
        job.ended = None
        return job

    def _begin(self, key: tuple[str, str], row: dict[str, Any]) -> _Job:
        name = "-".join(part for part in key if part)
        start = max(0, int(row["start_ns"]))
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.time_ns()
        # its row comes up to seconds after its start
        started_ns = now[1] - (now[0] - self.info.base_monotonic_ns - start)
        info = msgspec.structs.replace(
            self.info,
            command=row.get("arguments") or [],
            working_folder=row.get("cwd") or "",
            filters={**self.info.filters, "whom": f"CryoSPARC job {'/'.join(part for part in key if part)}"},
            base_monotonic_ns=self.info.base_monotonic_ns + start,
            started_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_ns // 10**9)),
            clock=[now],
            lost={},
            events=0,
            max_reorder_ns=0,
            unseen=list(self.info.unseen),
            recorder={},
        )
        stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        folder, number = self.folder / f"{stem}{SUFFIX}", 1
        while folder.exists():
            number += 1
            folder = self.folder / f"{stem}-{number}{SUFFIX}"
        most = max(LEAST_MAX_BYTES, self._max_bytes // _SHARE) if self._max_bytes else None
        return _Job(TraceWriter(folder, info, max_bytes=most), start, self.info.lost)

    @staticmethod
    def _shifted(row: dict[str, Any], start_ns: int) -> dict[str, Any]:
        shifted = dict(row)
        for name in ("start_ns", "end_ns"):
            if shifted.get(name) is not None:
                shifted[name] -= start_ns
        return shifted

    def begin_chapter(self) -> None:
        """Forget names and files; what is still in use comes again."""
        for job in self._jobs.values():
            job.forget()
            job.writer.begin_chapter()
        self._rows["paths"], self._rows["files"] = {}, {}
        self._side_rows = 0

    def note_living(self, living: set[int]) -> None:
        """Close the traces of the jobs that none of these processes works for."""
        now = time.monotonic()
        for key, job in list(self._jobs.items()):
            if job.processes & living:
                job.ended = None
            elif job.ended is None:
                job.ended = now
                if self._counters:
                    self._counters.pause(key)
            elif now - job.ended > _GRACE_S:
                self._close(key, job)
                del self._jobs[key]
                self._bound(look=True)
        kept = living | self._of_jobs()
        gone = [number for number in self._rows["processes"] if number not in kept]
        for number in gone:
            self._rows["processes"].pop(number, None)
            self._job_of.pop(number, None)

    def _of_jobs(self) -> set[int]:
        return set().union(*(job.processes for job in self._jobs.values())) if self._jobs else set()

    def flush(self) -> None:
        """Hand all rows to the kernel, and keep the folder within its bound."""
        for job in self._jobs.values():
            job.note_lost(self.info.lost)
            job.writer.info.recorder = dict(self.info.recorder) | {
                key: value for key, value in job.writer.info.recorder.items() if key not in self.info.recorder
            }
            job.writer.flush()
        with contextlib.suppress(OSError):  # where nothing can be written, a trace's own writer says so
            now = {"flushed_ns": time.monotonic_ns()}
            Together(dict(self.info.lost), self._max_bytes, dict(self.info.recorder) | now).write(self.folder)
        self._bound(look=True)

    def close(self, complete: bool = True) -> None:
        """Close all traces; those of jobs that go on say so by what their processes lack."""
        for key, job in self._jobs.items():
            self._close(key, job, complete)
        self._jobs = {}
        self._bound(look=True, more=False)
        remove_together(self.folder)

    def _close(self, key: tuple[str, str], job: _Job, complete: bool = True) -> None:
        info = job.writer.info
        job.note_lost(self.info.lost)
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        if self._counters:
            write_down(self._counters.finish(key, job.ended is not None), job.writer)
        info.duration_ns = now - info.base_monotonic_ns
        info.clock.append((now, time.time_ns()))
        info.unseen = list(self.info.unseen)
        job.writer.close(complete)
        self.finished += 1

    def _look(self) -> None:
        """Find the traces of the folder that nobody writes any more: when each was written last, and its size."""
        open_ = {job.writer.folder for job in self._jobs.values()}
        there = [path for path in self.folder.glob(f"*{SUFFIX}") if path not in open_ and (path / INFO_NAME).is_file()]
        before, self._ended = self._ended, {}
        for path in there:
            if path in before:
                self._ended[path] = before[path]
                continue
            size = sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
            self._ended[path] = path.stat().st_mtime, size

    def _bound(self, look: bool = False, more: bool = True) -> None:
        """Keep all traces together within their bound, and something free on their file system.

        `look`: traces may have come or gone; `more`: rows are still to come.
        """
        if self._max_bytes is None:
            return
        if look:
            self._look()
        writers = [job.writer for job in self._jobs.values()]
        slack = min(_SLACK_BYTES, self._max_bytes // _SLACK_SHARE) if more else 0
        total = sum(writer.disk_bytes for writer in writers) + sum(size for _, size in self._ended.values())
        excess = max(total + slack - self._max_bytes, lacking_bytes(self.folder) + slack)
        for path in sorted(self._ended, key=lambda path: self._ended[path][0]) if excess > 0 else ():
            if excess <= 0:
                return
            shutil.rmtree(path, ignore_errors=True)
            excess -= self._ended.pop(path)[1]
        # of the jobs that run the largest first: they have the longest history
        for writer in sorted(writers, key=lambda writer: -writer.disk_bytes):
            if excess <= 0:
                return
            before = writer.disk_bytes
            writer.drop_oldest(excess)
            excess -= before - writer.disk_bytes


class JobsBackend(EbpfBackend):
    """The recorder that knows when a job has ended."""

    writer: JobTraces

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._tables_bytes -= _NAMES_BYTES
        self._waiting_bytes += _NAMES_BYTES

    def _extra(self) -> Callable[[], None] | None:
        infos: Ints = self._state.table(d.THREAD_INFO)[: self._state.count(d.THREAD_ROWS)]
        living = set(infos[infos[:, d.T_ENDED] == 0, d.T_PROCESS].tolist())
        return lambda: self._note_living(living)

    def _note_living(self, living: set[int]) -> None:
        self._living = living

    def _take(self, rows: Ints, count: int, snapshot: Any, last: bool) -> None:
        super()._take(rows, count, snapshot, last)
        self.writer.note_living(self._living)

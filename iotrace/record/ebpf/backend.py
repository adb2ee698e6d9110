"""The eBPF recorder: takes the ring's records through the drain into the rows of a trace.

Two threads: the caller's polls the ring every few milliseconds and fills chunks of rows; a second one makes record
batches of full chunks and writes them. Both ask for priority, so that a busy machine does not make the ring overflow.
"""

from __future__ import annotations

import mmap
import os
import queue
import resource
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

import numpy as np

from iotrace.errors import RecordError
from iotrace.record.ebpf import program as p
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels.drain import drain, load_position
from iotrace.record.ebpf.kernels.requests import end_pending
from iotrace.record.ebpf.state import Ints, State
from iotrace.record.ebpf.tables import SideTables, Snapshot
from iotrace.record.ebpf.writing import Writer
from iotrace.record.launch import Launch
from iotrace.record.priority import go_as_before, go_first
from iotrace.record.registry import stat_fields
from iotrace.record.scope import Scope, cryosparc_workers, members
from iotrace.trace.schema import NULL

_CHUNK_ROWS: Final = (1 << 16) + 72
"""Not a power of two: columns that far apart would share the cache's sets."""
_CHUNKS: Final = 3
_TABLES_BYTES: Final = 96 << 20
"""What the drain's tables, and the texts beside them, may grow to before a chapter begins."""
_WAITING_BYTES: Final = 90 << 20
"""What waits in the writer at most: a row group of events (35 MB), three small tables, buffers."""
_BASE_BYTES: Final = 210 << 20
"""Python, NumPy, Numba, Arrow."""
_FLUSH_SECONDS: Final = 2.0
_REST_SECONDS: Final = 0.3
_COMMAND_REST_SECONDS: Final = 1.0
_REST_SHARE: Final = 4
"""The ring is left alone for so long, or until so small a share of it is full: a short burst (find over 100,000 files
takes 0.1 to 0.4 s) then has the machine to itself, and its names are worked on when it is over. Shorter where processes
are found as they start, for their labels are read while they live; those of a command have its labels."""


class EbpfBackend:
    """Records with BPF tracepoints.

    Parameters
    ----------
    writer: where the rows go.
    scope: what the recording is about.
    program: the BPF program, which may still be loading; made here when not given.
    """

    name = "ebpf"

    def __init__(
        self, writer: Writer, scope: Scope | None = None, program: Future[p.Program] | p.Program | None = None
    ) -> None:
        self.writer = writer
        self.scope = scope or Scope()
        self.unseen: list[str] = []
        self._tables = SideTables(writer, self.scope.kind == "command")
        self._snapshot: Snapshot | None = None
        self._free: queue.SimpleQueue[Ints] = queue.SimpleQueue()
        for _ in range(_CHUNKS):
            self._free.put(np.full((len(d.COLUMN), _CHUNK_ROWS), NULL, np.int64))
        self._rows = self._free.get()
        self._state = State(self._rows, [os.fsencode(point) for point in self.scope.mounts], self.scope.all_files)
        self._full: queue.SimpleQueue[tuple[Ints, int, Snapshot, Callable[[], None] | None, bool, int] | None] = (
            queue.SimpleQueue()
        )
        self._failure: BaseException | None = None
        self._niceness = os.getpriority(os.PRIO_PROCESS, 0)
        self._chapter = self._chapter_of_rows = self._chapter_written = 0
        self._chapter_wanted = False
        self._tables_bytes, self._waiting_bytes = _TABLES_BYTES, _WAITING_BYTES
        self._flush_s = _FLUSH_SECONDS
        self._rest_s = _COMMAND_REST_SECONDS if self.scope.kind == "command" else _REST_SECONDS
        self._shipped = self._flushed = self._drained = 0.0
        _warm_up(self._state)
        writer.prepare()
        self._tables.names.prepare()
        if program is None:
            program = p.Program(p.wanted_of(self.scope))
        self._program = program.result() if isinstance(program, Future) else program
        self.unseen += self._program.unseen
        self._map_ring()
        self._drain()
        self._writing = threading.Thread(target=self._write, name="iotrace-writer", daemon=True)

    def _map_ring(self) -> None:
        fd, page = self._program.bpf.map_fd("ring"), mmap.PAGESIZE
        self._ring_bytes = self._program.wanted.ring_bytes
        self._consumer_map = mmap.mmap(fd, page, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._data_map = mmap.mmap(fd, page + 2 * self._ring_bytes, prot=mmap.PROT_READ, offset=page)
        whole = np.frombuffer(self._data_map, np.uint8)
        self._producer = int(whole.ctypes.data)
        self._consumer = int(np.frombuffer(self._consumer_map, np.uint8).ctypes.data)
        self._ring = self._producer + page

    def start(self, launch: Launch) -> int:
        """Let the command execute, followed from its exec on; returns its pid.

        Raises
        ------
        RecordError: it cannot be executed (exit_status 126).
        """
        try:
            self._begin()
            self._program.follow([launch.pid], p.NOT_BEGUN)
            self._drain()
            self._writing.start()
            launch.go()
        except BaseException:
            self._program.close()
            raise
        go_first()
        return launch.pid

    def attach(self, apart: Sequence[int] = ()) -> int:
        """Follow what runs already, as the scope says; returns the number of processes found.

        Parameters
        ----------
        apart: processes that work for the recorder, whatever group they are in.

        Raises
        ------
        RecordError: the process to follow has ended meanwhile.
        """
        try:
            self._begin()
            match self.scope.kind:
                case "cgroup" if self.scope.cgroup is not None:
                    found = [pid for pid in members(self.scope.cgroup) if not _works_for(pid, apart)]
                case "cryosparc":
                    found = cryosparc_workers()
                case _:
                    found = list(self.scope.pids)
            self._program.follow(found)
            self._drain()
            if self.scope.kind == "pid" and not self._state.count(d.THREAD_ROWS):
                gone = ", ".join(map(str, found))
                raise RecordError(f"process {gone} ended before it could be followed: there is nothing to record.")
            self._writing.start()
        except BaseException:
            self._program.close()
            raise
        go_first()
        return len(found)

    def _begin(self) -> None:
        # the recording begins here: what went before was loading
        base = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._shipped = self._flushed = self._drained = time.monotonic()
        self.writer.info.base_monotonic_ns = base
        self.writer.info.started_utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._state.header[d.BASE_NS] = base
        self._program.attach()

    @property
    def followed(self) -> int:
        """How many threads are followed and have not ended."""
        infos = self._state.table(d.THREAD_INFO)[: self._state.count(d.THREAD_ROWS)]
        return int(np.count_nonzero(infos[:, d.T_ENDED] == 0))

    @property
    def all_ended(self) -> bool:
        """Whether none of them runs. One that ended in the moment of its adoption may not have told its end."""
        infos = self._state.table(d.THREAD_INFO)[: self._state.count(d.THREAD_ROWS)]
        return not any(_runs(int(tid)) for tid in infos[infos[:, d.T_ENDED] == 0, d.T_TID])

    def poll(self) -> bool:
        """Take what the ring holds; hand full or old rows to the writer.

        Returns
        -------
        Whether there is much to do: the next poll should come soon.
        """
        now, held = time.monotonic(), self._held_bytes()
        due = now - self._shipped > self._flush_s
        if not due and held < self._ring_bytes // _REST_SHARE and now - self._drained < self._rest_s:
            # not to be looked at every few milliseconds: the command might have to wait for the processor
            return False
        self._drained = now
        read = self._drain()
        if self._state.count(d.LOOK):
            self._state.header[d.LOOK] = 0
            self._program.look()
            self._drain()
        if self._failure:
            raise self._failure
        self._begin_chapter_if_due()
        if due:
            self._ship()
        return read > 0

    def _held_bytes(self) -> int:
        """How much of the ring waits to be read."""
        return load_position(self._producer) - load_position(self._consumer)

    def _begin_chapter_if_due(self) -> None:
        """Begin a chapter when the tables, or the trace, have grown."""
        large = self._state.memory_bytes + self._tables.names.memory_bytes > self._tables_bytes // 2
        # one that the writer has not come to yet is what it wants
        if large or (self._chapter_wanted and self._chapter == self._chapter_written):
            self._begin_chapter()

    def _drain(self, producer: int = 0) -> int:
        """Returns how many records there were."""
        state, read = self._state, 0
        while True:
            read += drain(state.address, self._ring, self._consumer, producer or self._producer, self._ring_bytes)
            if not state.count(d.NEED):
                return read
            state.grow()
            if state.is_full():
                self._ship()
                if not producer:
                    self._begin_chapter_if_due()

    def _extra(self) -> Callable[[], None] | None:
        """What else the writing thread must know of the tables, taken while they stand still."""
        return None

    def _before_chapter(self) -> None:
        """The writing thread's last work for a chapter."""

    def _take(self, rows: Ints, count: int, snapshot: Snapshot, last: bool) -> None:
        """The writing thread's work on one chunk; fills its place with NULL."""
        self.writer.append_matrix(rows, count)

    def _ship(self, last: bool = False) -> None:
        """Hand the rows to the writing thread and take an empty chunk; waits when the writer is behind."""
        count = self._state.count(d.ROWS)
        snapshot = Snapshot(self._state, self._snapshot)
        self._snapshot = snapshot
        self._full.put((self._rows, count, snapshot, self._extra(), last, self._chapter_of_rows))
        self._shipped = time.monotonic()
        while True:
            try:
                self._rows = self._free.get(timeout=0.2)
                self._state.use_rows(self._rows)
                return
            except queue.Empty:
                if self._failure:
                    raise self._failure from None

    def _write(self) -> None:
        try:
            go_first()
            while (item := self._full.get()) is not None:
                rows, count, snapshot, context, last, chapter = item
                if chapter != self._chapter_written:
                    self._before_chapter()
                    self.writer.begin_chapter()
                    self._chapter_wanted = False
                    self._chapter_written = chapter
                self._tables.add(snapshot, rows, count)
                if context is not None:
                    context()
                self._take(rows, count, snapshot, last)
                self._free.put(rows)
                if time.monotonic() - self._flushed > _FLUSH_SECONDS / 2:
                    self.writer.info.lost = self._program.lost()
                    self.writer.info.recorder = self._cost() | self._kept()
                    self.writer.flush()
                    self._flushed = time.monotonic()
                self._chapter_wanted = self.writer.wants_chapter
            self._tables.finish()
        except BaseException as error:
            self._failure = error
            self._tables.reader.close()

    def stop(self) -> dict[str, float]:
        """Detach, take the rest, write it; returns the recorder's own cost."""
        self._program.bpf.detach()
        try:
            self._drain()
            while end_pending(self._state.address):
                self._ship()
            self._ship(last=True)
            self._full.put(None)
            self._writing.join()
            if self._failure:
                raise self._failure
            self.writer.info.lost = self._program.lost()
        finally:
            go_as_before(self._niceness)
            self._consumer_map.close()
            self._data_map.close()
            self._program.close()
        self.unseen += self._tables.reader.unseen()
        if self._tables.names.unresolved:
            self.unseen.append(f"the folder of {self._tables.names.unresolved} relative names")
        return self._cost()

    def _cost(self) -> dict[str, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "memory_bytes": usage.ru_maxrss * 1024,
            "memory_limit_bytes": self.memory_limit_bytes,
        }

    def _kept(self) -> dict[str, float]:
        """What the writer has noted of its last flush."""
        return {key: value for key, value in self.writer.info.recorder.items() if key not in ("cpu_s", "memory_bytes")}

    @property
    def memory_limit_bytes(self) -> int:
        """What the recorder's memory does not exceed: ring (mapped twice), rows, tables, what waits to be written."""
        rows = _CHUNKS * len(d.COLUMN) * _CHUNK_ROWS * 8
        return _BASE_BYTES + 2 * self._ring_bytes + rows + self._tables_bytes + self._waiting_bytes

    def _begin_chapter(self) -> None:
        """Forget what is no longer in use: memory stays bounded, and the oldest part of the trace can be dropped."""
        # what the ring holds now still speaks of files that were reported; from here on all are reported anew
        until = np.array([load_position(self._producer)], np.int64)
        self._chapter += 1
        self._program.forget(self._chapter)
        self._drain(int(until.ctypes.data))
        self._ship()
        self._state.forget()
        self._chapter_of_rows = self._chapter
        self._ship()


def _warm_up(state: State) -> None:
    """Let the kernels compile, or load from the cache, before anything runs: drain an empty ring."""
    ring = np.zeros(16, np.int64)
    drain(state.address, ring.ctypes.data, ring.ctypes.data, ring.ctypes.data + 8, 64)
    end_pending(state.address)


def _works_for(pid: int, apart: Sequence[int]) -> bool:
    """Whether a process is one of these, or their child, or a child of that: what they start for a moment."""
    for _ in range(3):
        if pid in apart:
            return True
        fields = stat_fields(pid)
        if fields is None:
            return False
        pid = int(fields[1])
    return False


def _runs(tid: int) -> bool:
    fields = stat_fields(tid)
    return fields is not None and fields[0] not in ("Z", "X")

"""The eBPF recorder: takes the ring's records through the drain into the rows of a trace.

Two threads: the caller's polls the ring every few milliseconds and fills chunks of rows; a second one makes record
batches of full chunks and writes them. Both ask for priority, so that a busy machine does not make the ring overflow.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import queue
import resource
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

import numpy as np

from iotrace.record.ebpf import drain as d
from iotrace.record.ebpf import program as p
from iotrace.record.ebpf.state import Ints, State
from iotrace.record.ebpf.tables import SideTables, Snapshot, event_batch
from iotrace.record.launch import Launch
from iotrace.record.scope import Scope, cryosparc_workers, members
from iotrace.trace.writer import TraceWriter

_CHUNK_ROWS: Final = (1 << 17) + 72
"""Not a power of two: columns that far apart would share the cache's sets."""
_CHUNKS: Final = 4
_FLUSH_SECONDS: Final = 2.0
_PRIORITY: Final = -20


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
        self, writer: TraceWriter, scope: Scope | None = None, program: Future[p.Program] | p.Program | None = None
    ) -> None:
        self.writer = writer
        self.scope = scope or Scope()
        self.unseen: list[str] = []
        self._tables = SideTables(writer.info.mounts, writer.append_rows, self.scope.kind == "command")
        self._snapshot: Snapshot | None = None
        self._free: queue.SimpleQueue[Ints] = queue.SimpleQueue()
        for _ in range(_CHUNKS):
            self._free.put(np.full((len(d.COLUMN), _CHUNK_ROWS), d.NULL, np.int64))
        self._rows = self._free.get()
        self._state = State(self._rows, [os.fsencode(point) for point in self.scope.mounts])
        self._full: queue.SimpleQueue[tuple[Ints, int, Snapshot] | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._shipped = self._flushed = time.monotonic()
        _warm_up(self._state)
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

    def start(self, command: Sequence[str]) -> int:
        """Start the command, followed from its exec on; returns its pid.

        Raises
        ------
        RecordError: it cannot be started (exit_status 126 or 127).
        """
        launch = Launch(command)
        try:
            self._begin()
            self._program.follow([launch.pid], p.NOT_BEGUN)
            self._drain()
            self._writing.start()
            launch.go()
        except BaseException:
            launch.abandon()
            self._program.close()
            raise
        _ask_for_priority()
        return launch.pid

    def attach(self) -> int:
        """Follow what runs already, as the scope says; returns the number of processes found."""
        try:
            self._begin()
            match self.scope.kind:
                case "cgroup" if self.scope.cgroup is not None:
                    found = members(self.scope.cgroup)
                case "cryosparc":
                    found = cryosparc_workers()
                case _:
                    found = list(self.scope.pids)
            self._program.follow(found)
            self._drain()
            self._writing.start()
        except BaseException:
            self._program.close()
            raise
        _ask_for_priority()
        return len(found)

    def _begin(self) -> None:
        # the recording begins here: what went before was loading
        base = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self.writer.info.base_monotonic_ns = base
        self._state.header[d.BASE_NS] = base
        self._program.attach()

    @property
    def followed(self) -> int:
        """How many threads are followed and have not ended."""
        infos = self._state.table(d.THREAD_INFO)[: self._state.count(d.THREAD_ROWS)]
        return int(np.count_nonzero(infos[:, d.T_ENDED] == 0))

    def poll(self) -> None:
        """Take what the ring holds; hand full or old rows to the writer."""
        self._drain()
        if self._state.count(d.LOOK):
            self._state.header[d.LOOK] = 0
            self._program.look()
            self._drain()
        if self._failure:
            raise self._failure
        if time.monotonic() - self._shipped > _FLUSH_SECONDS:
            self._ship()

    def _drain(self) -> None:
        state = self._state
        while True:
            d.drain(state.address, self._ring, self._consumer, self._producer, self._ring_bytes)
            if not state.count(d.NEED):
                return
            state.grow()
            if state.is_full():
                self._ship()

    def _ship(self) -> None:
        """Hand the rows to the writing thread and take an empty chunk; waits when the writer is behind."""
        count = self._state.count(d.ROWS)
        snapshot = Snapshot(self._state, self._snapshot)
        self._snapshot = snapshot
        self._full.put((self._rows, count, snapshot))
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
            _ask_for_priority()
            while (item := self._full.get()) is not None:
                rows, count, snapshot = item
                self._tables.add(snapshot, rows, count)
                if count:
                    self.writer.append("events", event_batch(rows, count))
                    rows[:, :count] = d.NULL
                self._free.put(rows)
                if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                    self.writer.info.lost = self._program.lost()
                    self.writer.flush()
                    self._flushed = time.monotonic()
            self._tables.finish()
        except BaseException as error:
            self._failure = error
            self._tables.reader.close()

    def stop(self) -> dict[str, float]:
        """Detach, take the rest, write it; returns the recorder's own cost."""
        self._program.bpf.detach()
        try:
            self._drain()
            while d.end_pending(self._state.address):
                self._ship()
            self._ship()
            self._full.put(None)
            self._writing.join()
            if self._failure:
                raise self._failure
            self.writer.info.lost = self._program.lost()
        finally:
            self._consumer_map.close()
            self._data_map.close()
            self._program.close()
        self.unseen += self._tables.reader.unseen()
        if self._tables.unresolved:
            self.unseen.append(f"the folder of {self._tables.unresolved} relative names")
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {"cpu_s": round(usage.ru_utime + usage.ru_stime, 3), "memory_bytes": usage.ru_maxrss * 1024}


def _warm_up(state: State) -> None:
    """Let the kernels compile, or load from the cache, before anything runs: drain an empty ring."""
    ring = np.zeros(16, np.int64)
    d.drain(state.address, ring.ctypes.data, ring.ctypes.data, ring.ctypes.data + 8, 64)
    d.end_pending(state.address)


def _ask_for_priority() -> None:
    # without CAP_SYS_NICE a busy machine may make the ring overflow; what is lost is counted
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _PRIORITY)

"""The eBPF recorder: loads the program, starts the command followed, drains the ring into the trace."""

from __future__ import annotations

import mmap
import os
import platform
import queue
import resource
import struct
import threading
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

import numpy as np

from iotrace.errors import BackendUnavailable
from iotrace.record.ebpf import drain as d
from iotrace.record.ebpf import libbpf
from iotrace.record.ebpf.specs import LOST_SLOTS, settings, spec_table
from iotrace.record.ebpf.state import Ints, State
from iotrace.record.ebpf.tables import SideTables, Snapshot, event_batch, kernel_device
from iotrace.record.launch import Launch
from iotrace.trace.writer import TraceWriter

RING_BYTES: Final = 1 << 27
_CHUNK_ROWS: Final = (1 << 17) + 72
"""Not a power of two: columns that far apart would share the cache's sets."""
_CHUNKS: Final = 4
_FLUSH_SECONDS: Final = 4.0
_FRESH_THREAD: Final = struct.Struct("<5Q QQII IiII").pack(*([0] * 10), -2, 0, 0)
"""struct thread of recorder.bpf.c, NOT_BEGUN."""
_SOFTWARE_EVENTS: Final = {"fault_minor_end": 5, "fault_major_end": 6}
"""PERF_COUNT_SW_PAGE_FAULTS_MIN and _MAJ."""
_FIRST_PID_NAMESPACE: Final = 0xEFFFFFFC
"""PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h."""
_COUNTERS_BEYOND_KINDS: Final = {15: "threads"}


def object_path() -> Path:
    """The compiled BPF program that the package holds.

    Raises
    ------
    BackendUnavailable: this installation holds none.
    """
    path = Path(str(resources.files("iotrace.record.ebpf") / "recorder.bpf.o"))
    if not path.is_file():
        raise BackendUnavailable(
            "this installation holds no compiled BPF program: run pip install again, or make build in a checkout."
        )
    return path


_TRACEPOINTS_OF_FAULTS: Final = {"fault": "mm_filemap_fault", "fault_around": "mm_filemap_map_pages"}


def _open_object(ring_bytes: int, faults_by_address: bool) -> libbpf.BpfObject:
    """The BPF object, set up for this machine and loaded."""
    if platform.machine() not in ("x86_64", "aarch64"):
        raise BackendUnavailable(f"the BPF program knows x86_64 and aarch64, not {platform.machine()}.")
    if _process_numbers_are_its_own():
        raise BackendUnavailable(
            "this container numbers its processes by itself, and the kernel's tracepoints tell other numbers: run "
            "iotrace outside, or start the container with the host's numbers (docker run --pid=host)."
        )
    bpf = libbpf.BpfObject(object_path())
    try:
        has_vma = _kernel_at_least(5, 17)
        bpf.set_constant(".rodata.specs", spec_table(platform.machine()).tobytes())
        bpf.set_constant(".rodata.settings", settings(False, has_vma, faults_by_address and has_vma))
        bpf.set_size("ring", ring_bytes)
        if faults_by_address:
            for program in _TRACEPOINTS_OF_FAULTS:
                bpf.leave_out(program)
        else:
            bpf.leave_out("fault_minor_end")
        bpf.load()
    except BaseException:
        bpf.close()
        raise
    return bpf


def _lacks_fault_tracepoints() -> bool:
    """Whether the kernel is older than 6.10, which brought the filemap tracepoints of faults."""
    library = libbpf.load_library()
    return not all(libbpf.has_tracepoint(library, name) for name in _TRACEPOINTS_OF_FAULTS.values())


def _process_numbers_are_its_own() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE
    except OSError:
        return False


def _kernel_at_least(major: int, minor: int) -> bool:
    found = platform.release().split(".")
    return (int(found[0]), int(found[1].split("-")[0])) >= (major, minor)


class EbpfBackend:
    """Records with BPF tracepoints.

    Parameters
    ----------
    writer: where the rows go.
    ring_bytes: size of the ring between kernel and drain, a power of two.
    faults_by_address: see page faults by the kernel's software events instead of its filemap tracepoints; None: where
    it
        lacks those.
    """

    name = "ebpf"

    def __init__(
        self, writer: TraceWriter, ring_bytes: int = RING_BYTES, faults_by_address: bool | None = None
    ) -> None:
        self.writer = writer
        self.unseen: list[str] = []
        self._ring_bytes = ring_bytes
        self._tables = SideTables(writer.info.mounts, writer.append_rows)
        self._snapshot: Snapshot | None = None
        self._free: queue.SimpleQueue[Ints] = queue.SimpleQueue()
        for _ in range(_CHUNKS):
            self._free.put(np.full((len(d.COLUMN), _CHUNK_ROWS), d.NULL, np.int64))
        self._rows = self._free.get()
        self._state = State(self._rows)
        self._full: queue.SimpleQueue[tuple[Ints, int, Snapshot] | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._shipped = time.monotonic()
        self._flushed = time.monotonic()
        self._faults_by_address = _lacks_fault_tracepoints() if faults_by_address is None else faults_by_address
        self._bpf = _open_object(ring_bytes, self._faults_by_address)
        self._note_unseen()
        self._map_ring()
        self._drain()  # compiles, or loads from the cache, before anything runs

    @classmethod
    def unavailable(cls) -> str | None:
        """Why this backend cannot work here, in one sentence; None when it can."""
        try:
            _open_object(1 << 16, _lacks_fault_tracepoints()).close()
        except BackendUnavailable as reason:
            return str(reason)
        return None

    def _note_unseen(self) -> None:
        has_vma = _kernel_at_least(5, 17)
        if self._faults_by_address and not has_vma:
            self.unseen.append("page faults on mapped files: they need Linux 5.17")
        elif self._faults_by_address:
            self.unseen.append("duration of page faults, and pages mapped around them: they need Linux 6.10")
        if not has_vma:
            self.unseen.append("munmap, msync and madvise of mapped files: they need Linux 5.17")
        self.unseen.append("io_uring and libaio operations")
        self.unseen.append("calls of 32-bit programs")

    def _map_ring(self) -> None:
        fd, page = self._bpf.map_fd("ring"), mmap.PAGESIZE
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
        self._writing = threading.Thread(target=self._write, name="iotrace-writer", daemon=True)
        launch = Launch(command)
        try:
            self._follow(launch.pid)
            for program, _ in self._bpf.programs():
                if program in _SOFTWARE_EVENTS:
                    self._bpf.attach_software_event(program, _SOFTWARE_EVENTS[program], os.cpu_count() or 1)
                else:
                    self._bpf.attach(program)
            self._writing.start()
            launch.go()
        except BaseException:
            launch.abandon()
            self._bpf.close()
            raise
        return launch.pid

    def _follow(self, pid: int) -> None:
        # the recording begins here: what went before was loading
        base = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self.writer.info.base_monotonic_ns = base
        self._state.header[d.BASE_NS] = base
        d.add_thread(self._state.address, pid, pid, 0, True)
        self._register_descriptors(pid)
        self._bpf.update("threads", struct.pack("<I", pid), _FRESH_THREAD)

    def _register_descriptors(self, pid: int) -> None:
        """Files that the command inherits open, such as a redirected standard output."""
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                status = entry.stat()
                if not (S_ISREG(status.st_mode) or S_ISDIR(status.st_mode)):
                    continue
                raw = os.fsencode(os.readlink(entry))
                lines = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text().split("\n")
            except OSError:
                continue
            fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            state = self._state
            file = d.file_number(state.address, kernel_device(status.st_dev), status.st_ino, 0)
            state.append_text(raw)
            path = d.intern(state.address, -1, len(raw))
            fields_known = [d.F_PATH, d.F_MODE, d.F_SIZE, d.F_BLOCKS, d.F_CREATED, d.F_LAST_PATH, d.F_SEEN_NS]
            state.table(d.FILE_INFO)[file, fields_known] = (
                path, status.st_mode, status.st_size, status.st_blocks, 0, path, 0,
            )  # fmt: skip
            self._tables.inherited[file] = int(fields.get("flags", "0"), 8), int(fields.get("pos", "0"))

    def poll(self) -> None:
        """Take what the ring holds; hand full or old rows to the writer."""
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
            while (item := self._full.get()) is not None:
                rows, count, snapshot = item
                self._tables.add(snapshot)
                if count:
                    self.writer.append("events", event_batch(rows, count))
                    rows[:, :count] = d.NULL
                self._free.put(rows)
                if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                    self._count_lost()
                    self.writer.flush()
                    self._flushed = time.monotonic()
        except BaseException as error:
            self._failure = error

    def _count_lost(self) -> None:
        lost: dict[str, int] = {}
        for slot in range(16):
            value = self._bpf.lookup("lost", struct.pack("<I", slot), 8 * libbpf.possible_cpus())
            count = int(np.frombuffer(value or b"", "<u8").sum())
            if count:
                lost[_COUNTERS_BEYOND_KINDS.get(slot) or str(LOST_SLOTS[slot])] = count
        missed = self._bpf.missed()
        if missed:
            lost["interrupted"] = missed
        self.writer.info.lost = lost

    def stop(self) -> dict[str, float]:
        """Detach, take the rest, write it; returns the recorder's own cost."""
        self._bpf.detach()
        try:
            self._drain()
            self._ship()
            self._full.put(None)
            self._writing.join()
            if self._failure:
                raise self._failure
            self._count_lost()
        finally:
            self._consumer_map.close()
            self._data_map.close()
            self._bpf.close()
        if self._tables.unresolved:
            self.unseen.append(f"the folder of {self._tables.unresolved} relative names")
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {"cpu_s": round(usage.ru_utime + usage.ru_stime, 3), "memory_bytes": usage.ru_maxrss * 1024}

"""The recorder's BPF program on this machine: what it is told before load, what it is attached to, what it counted.

It can be loaded in a thread (the kernel's verifier takes a few hundred milliseconds) while the drain is being imported:
nothing here needs Numba. What a kernel lacks is left out by name, and said in `unseen`.
"""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from threading import Thread
from typing import Final

from iotrace.errors import BackendUnavailable
from iotrace.record.ebpf import libbpf, needs, specs
from iotrace.record.scope import Scope, hierarchy_of

RING_BYTES: Final = 1 << 26
COUNTING_RING_BYTES: Final = 1 << 23
"""Where the kernel counts, only processes and the operations of io_uring and libaio pass through the ring."""
TALLIES: Final = 1 << 17
"""Entries of the histograms' map: 12.6 MB of kernel memory (memlock of its fdinfo, Linux 6.18)."""
_SOFTWARE_EVENTS: Final = {"fault_minor_end": 5, "fault_major_end": 6}
"""PERF_COUNT_SW_PAGE_FAULTS_MIN and _MAJ."""
_FIRST_PID_NAMESPACE: Final = 0xEFFFFFFC
"""PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h."""
_COUNTERS_BEYOND_KINDS: Final = {14: "histogram entries", 15: "threads"}
_TAILS: Final = {
    "enter_tails": ("enter_hold", "enter_submit"),
    "leave_tails": (
        "leave_rest", "leave_copy", "leave_open", "leave_stat", "leave_two_names", "leave_path", "leave_bare",
        "leave_reap", "leave_clone",
    ),
}  # fmt: skip
_ITERATORS: Final = ("adopt", "find_open_files", "find_mapped_files", "begin")
TRACEPOINTS: Final = {
    "enter": "sys_enter",
    "leave": "sys_exit",
    "fork": "sched_process_fork",
    "exec": "sched_process_exec",
    "quit": "sched_process_exit",
    "attach_to_cgroup": "cgroup_attach_task",
    "uring_submit": "io_uring_submit_req",
    "uring_complete": "io_uring_complete",
    "fault": "mm_filemap_fault",
    "fault_around": "mm_filemap_map_pages",
}
"""Program → tracepoint that it is attached to."""
FAULT_PROGRAMS: Final = ("fault", "fault_around")
URING_PROGRAMS: Final = ("uring_submit", "uring_complete")
_DISPENSABLE: Final = (needs.URING, needs.FAULTS)
"""Features whose programs reach deep into the kernel's own structures: where the verifier of some kernel refuses the
whole, they are left out one after the other."""
_SLOTS_PER_BLOCK: Final = 64
BEGUN, NOT_BEGUN = 1, 2
"""Values of the map `wanted`: a running process; one that waits to execute the command."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the program is to see.

    Attributes
    ----------
    whom: "tree" (named processes and what descends from them), "cgroup", "cryosparc".
    cgroup: number of the control group (inode of its folder); hierarchy: number of its hierarchy.
    devices: kernel device numbers; only files on these count; none: all.
    all_files: pipes, sockets, devices and pseudo file systems too.
    tallies: count in the kernel instead of writing records.
    ring_bytes: size of the ring, a power of two.
    faults_by_address: see page faults by the kernel's software events; None: where it lacks the filemap tracepoints.
    loops: use the helper bpf_loop; None: where the kernel has it.
    without: features (iotrace.record.ebpf.needs) to do without, though the kernel may have them.
    """

    whom: str = "tree"
    cgroup: int = 0
    hierarchy: int = 0
    devices: tuple[int, ...] = ()
    all_files: bool = False
    tallies: bool = False
    ring_bytes: int = RING_BYTES
    faults_by_address: bool | None = None
    loops: bool | None = None
    without: tuple[str, ...] = ()


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


def _process_numbers_are_its_own() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE
    except OSError:
        return False


class Program:
    """The loaded program.

    Parameters
    ----------
    wanted: what it is to see.

    Attributes
    ----------
    unseen: what it cannot see on this kernel, as sentences.

    Raises
    ------
    BackendUnavailable: it cannot be loaded here; says why.
    """

    def __init__(self, wanted: Wanted) -> None:
        if platform.machine() not in ("x86_64", "aarch64"):
            raise BackendUnavailable(f"the BPF program knows x86_64 and aarch64, not {platform.machine()}.")
        if _process_numbers_are_its_own():
            raise BackendUnavailable(
                "this container numbers its processes by itself, and the kernel's tracepoints tell other numbers: run "
                "iotrace outside, or start the container with the host's numbers (docker run --pid=host)."
            )
        self.wanted = wanted
        refused: set[str] = set()
        for group in (*_DISPENSABLE, None):
            self.bpf = libbpf.BpfObject(object_path())
            try:
                self.found = needs.present(self.bpf.functions) - set(wanted.without) - refused
                self._load()
                break
            except libbpf.Refused as reason:
                self.bpf.close()
                if group is None or not reason.by_verifier:
                    raise
                refused |= set(group)
            except BaseException:
                self.bpf.close()
                raise
        self.unseen = [*self._unseen(refused), "calls of 32-bit programs"]

    def _load(self) -> None:
        self._has_uring = set(needs.URING) <= self.found
        self.faults_by_address = not set(needs.FAULTS) <= self.found or bool(self.wanted.faults_by_address)
        self._set_up()
        self.bpf.load()
        for table, programs in _TAILS.items():
            for slot, program in enumerate(programs):
                self.bpf.set_tail(table, slot, program)

    def _set_up(self) -> None:
        bpf, wanted = self.bpf, self.wanted
        loops = set(needs.LOOPS) <= self.found and wanted.loops is not False
        bpf.set_constant(".rodata.specs", specs.spec_table(platform.machine()).tobytes())
        bpf.set_constant(".rodata.uring_ops", specs.uring_table().tobytes())
        bpf.set_constant(".rodata.aio_ops", specs.aio_table().tobytes())
        bpf.set_constant(
            ".rodata.settings",
            specs.settings(
                find_vma=set(needs.FIND_VMA) <= self.found,
                loops=loops,
                faults_by_address=self.faults_by_address,
                all_files=wanted.all_files,
                tallies=wanted.tallies,
                whom=wanted.whom,
                cgroup=wanted.cgroup,
                hierarchy=wanted.hierarchy,
                devices=wanted.devices,
            ),
        )
        bpf.set_size("ring", wanted.ring_bytes)
        bpf.set_size("slots", _pid_max() // _SLOTS_PER_BLOCK + 1)
        if wanted.tallies:
            bpf.set_size("tallies", TALLIES)
        if self.faults_by_address:
            for program in FAULT_PROGRAMS:
                bpf.leave_out(program)
        else:
            bpf.leave_out("fault_minor_end")
        if not self._has_uring:
            for program in URING_PROGRAMS:
                bpf.leave_out(program)
        if wanted.whom != "cgroup":
            bpf.leave_out("attach_to_cgroup")

    def _unseen(self, refused: Collection[str]) -> list[str]:
        found = self.found - set(needs.FAULTS) if self.faults_by_address else self.found
        sentences = needs.unseen(found)
        if refused:
            sentences.append(f"what needs {', '.join(sorted(refused))}, which this kernel has but its verifier refuses")
        return sentences

    def attach(self) -> None:
        """Let it see; nothing is followed yet."""
        left_alone = {program for programs in _TAILS.values() for program in programs} | set(_ITERATORS)
        for program, _ in self.bpf.programs():
            if program in _SOFTWARE_EVENTS:
                self.bpf.attach_software_event(program, _SOFTWARE_EVENTS[program], os.cpu_count() or 1)
            elif program not in left_alone:
                self.bpf.attach(program)

    def follow(self, pids: Sequence[int], how: int = BEGUN) -> None:
        """Follow these processes with their threads, and all that descends from them; the ring tells who they are and
        what they have open."""
        for pid in pids:
            self.bpf.update("wanted", struct.pack("<I", pid), struct.pack("<I", how))
        self.look()

    def look(self) -> None:
        """Look again for threads of what is to be followed, and for their open and mapped files."""
        # twice: a child that was made meanwhile may have got a number that the first visit was past
        self.bpf.run_iterator("adopt")
        self.bpf.run_iterator("adopt")
        self.bpf.run_iterator("find_open_files")
        self.bpf.run_iterator("find_mapped_files")
        self.bpf.run_iterator("begin")
        # the numbers may become other processes'
        keys, _ = self.bpf.lookup_all("wanted", 4, 4)
        for at in range(0, len(keys), 4):
            self.bpf.delete("wanted", keys[at : at + 4])

    def forget(self, chapter: int) -> None:
        """Report every file anew at its next sight."""
        self.bpf.update(".data.chapter", struct.pack("<I", 0), struct.pack("<I", chapter))

    def lost(self) -> dict[str, int]:
        """Operations that found no room so far, by kind."""
        lost: dict[str, int] = {}
        width = libbpf.possible_cpus()
        for slot in range(16):
            value = self.bpf.lookup("lost", struct.pack("<I", slot), 8 * width) or bytes(8)
            count = sum(struct.unpack(f"<{len(value) // 8}Q", value))
            if count:
                lost[_COUNTERS_BEYOND_KINDS.get(slot) or str(specs.LOST_SLOTS[slot])] = count
        missed = self.bpf.missed()
        if missed:
            lost["interrupted"] = missed
        return lost

    def close(self) -> None:
        """Detach and free everything."""
        self.bpf.close()

    @staticmethod
    def unavailable() -> str | None:
        """Why it cannot work here, in one sentence; None when it can."""
        try:
            Program(Wanted(ring_bytes=1 << 16)).close()
        except BackendUnavailable as reason:
            return str(reason)
        return None


def wanted_of(scope: Scope, ring_bytes: int = RING_BYTES, tallies: bool = False) -> Wanted:
    """What the BPF program must see for a scope."""
    return Wanted(
        whom=scope.kind if scope.kind in ("cgroup", "cryosparc") else "tree",
        cgroup=os.stat(scope.cgroup).st_ino if scope.cgroup is not None else 0,
        hierarchy=hierarchy_of(scope.cgroup) if scope.cgroup is not None else 0,
        devices=scope.devices(),
        all_files=scope.all_files,
        tallies=tallies,
        ring_bytes=ring_bytes,
    )


def load_aside(wanted: Wanted) -> Future[Program]:
    """Load the program in a thread of its own."""
    future: Future[Program] = Future()

    def work() -> None:
        try:
            future.set_result(Program(wanted))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=work, name="iotrace-load", daemon=True).start()
    return future


def _pid_max() -> int:
    try:
        return int(Path("/proc/sys/kernel/pid_max").read_text())
    except (OSError, ValueError):
        return 1 << 22

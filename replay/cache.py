"""The page cache before a run: as it was when the recording began, warm, or cold.

Only this client's cache is meant: on network and FUSE file systems the servers' caches stay as they are. The kernel
drops only clean pages, so files are written to the storage first (fsync), and what stayed is counted
(iotrace.mounts.counters.pagecache). What else a family of file systems keeps is emptied its own way
(iotrace.mounts.cold). Names and inodes that the kernel holds are dropped by nobody but root, by drop_caches.

A trace says how many pages of a file were cached, not which: the first ones are chosen.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from iotrace.errors import StorageError, UsageError
from iotrace.mounts.counters.pagecache import cached_pages
from iotrace.replay.operation_sets import MMAP, of_kind
from iotrace.replay.rows import Plan
from iotrace.replay.sight import Sights
from iotrace.replay.snapshot import Snapshot
from iotrace.trace.operations import Kind

STATES: Final = ("recorded", "warm", "cold")
_PAGE: Final = mmap.PAGESIZE
_PIECE: Final = 1 << 20
_THREADS: Final = 8
_DROP: Final = Path("/proc/sys/vm/drop_caches")
REMOTE: Final = ("nfs", "ceph", "lustre", "wekafs", "gpfs", "beegfs", "cifs", "smb3", "9p", "afs", "glusterfs", "fuse")
"""Beginnings of the types of file systems with caches of their own on other machines or in other processes."""


READS: Final = of_kind(Kind.READ, Kind.COPY) | MMAP
"""Operations after which pages of their file are in the page cache."""


@dataclass(slots=True)
class CacheReport:
    """What was done to the page cache.

    Attributes
    ----------
    state: "recorded", "warm" or "cold"; files, pages: all that the tree has.
    wanted: pages that should be cached; cached: pages that are, -1 where the kernel does not tell.
    unknown: files of which the trace does not say how many pages were cached: left as they were.
    of_file: pages of each file that are cached, in the order of the snapshot; -1 where the kernel does not tell.
    notes: sentences for people.
    """

    state: str
    files: int = 0
    pages: int = 0
    wanted: int = 0
    cached: int = 0
    unknown: int = 0
    of_file: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_files_of(plan: Plan) -> list[int]:
    """Positions in Snapshot.files of those that a run reads, copies from or maps."""
    op = plan.rows.op
    reads = READS[op] & (op >= 0)
    numbers = set(plan.recorded["file"][reads].tolist())
    return [i for i, file in enumerate(plan.snapshot.files) if file.file in numbers]


def set_cache(
    snapshot: Snapshot,
    tree: Path,
    state: str,
    sights: Sights | None = None,
    *,
    read_files: Sequence[int] | None = None,
    mount_type: str = "",
    drop_caches: bool = False,
    go_cold: Callable[[], str] | None = None,
    step: Callable[[int], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> CacheReport:
    """Bring the page cache of a staged tree to a state.

    Parameters
    ----------
    state: "cold": no page; "warm": all pages of the files that are read; "recorded": as many of each file as the trace
    saw at first sight.
    sights: what the trace saw; needed for "recorded".
    read_files: positions in Snapshot.files of those that the run reads; None: all.
    mount_type: type of the file system, for the notes.
    drop_caches: with "cold", empty the caches of the whole machine too, names and inodes included; needs root.
    go_cold: with "cold", what the family of the file system asks for beyond that (iotrace.mounts.cold.Cold.step).
    step: told the bytes of each file done; stop: ends soon after it is set.

    Raises
    ------
    UsageError: an unknown state, drop_caches without root or with another state.
    StorageError: a file cannot be opened or written.
    """
    if state not in STATES:
        raise UsageError(f"--cache {state}: choose one of {', '.join(STATES)}.")
    if drop_caches and (state != "cold" or not os.access(_DROP, os.W_OK)):
        raise UsageError(
            "--drop-caches empties the caches of the whole machine: it goes with --cache cold and needs root."
        )
    report = CacheReport(state)
    read = set(range(len(snapshot.files)) if read_files is None else read_files)
    root = os.fsencode(tree)

    def one(i: int) -> tuple[int, int, int, bool]:
        file = snapshot.files[i]
        pages = (file.size + _PAGE - 1) // _PAGE
        if stop and stop.is_set():
            return pages, 0, 0, False
        wanted: int | None = 0
        if state == "warm" and i in read:
            wanted = pages
        elif state == "recorded":
            wanted = sights.pages(file.file) if sights else None
        cached = _bring(root + b"/" + file.path, file.size, None if wanted is None else min(wanted, pages))
        step(file.size)
        return pages, 0 if wanted is None else min(wanted, pages), cached, wanted is None

    try:
        with ThreadPoolExecutor(_THREADS) as threads:
            results = list(threads.map(one, range(len(snapshot.files))))
        said = go_cold() if go_cold and state == "cold" else ""
        if drop_caches:
            _DROP.write_text("3\n")
        if drop_caches or (go_cold and state == "cold"):
            results = [(pages, wanted, _count(root + b"/" + snapshot.files[i].path), unknown)
                       for i, (pages, wanted, _, unknown) in enumerate(results)]  # fmt: skip
    except OSError as error:
        raise StorageError(f"cannot prepare the page cache on {tree.parent}: {error.strerror}.") from None
    report.files = len(results)
    report.pages = sum(pages for pages, _, _, _ in results)
    report.wanted = sum(wanted for _, wanted, _, _ in results)
    report.unknown = sum(unknown for _, _, _, unknown in results)
    known = [cached for _, _, cached, unknown in results if not unknown]
    report.cached = -1 if -1 in known else sum(known)
    report.of_file = [cached for _, _, cached, _ in results]
    report.notes += [said] if said else []
    _note(report, mount_type, drop_caches)
    return report


def _note(report: CacheReport, mount_type: str, dropped: bool) -> None:
    if report.cached < 0:
        report.notes.append("The kernel does not tell what is in the page cache of this file system: not checked.")
    elif report.state == "cold" and report.cached:
        report.notes.append(
            f"{report.cached} of {report.pages} pages stayed in the page cache although it was to be cold."
        )
    elif report.cached < report.wanted:
        report.notes.append(
            f"{report.wanted - report.cached} of the {report.wanted} pages that should be cached are not: "
            "the file system keeps none, or memory is short."
        )
    elif report.cached > report.wanted:
        report.notes.append(f"{report.cached - report.wanted} pages more are cached than should be.")
    if report.unknown:
        report.notes.append(
            f"Of {report.unknown} of {report.files} files the trace does not say what was cached: left as staged."
        )
    if mount_type.startswith(REMOTE):
        report.notes.append(f"On {mount_type} only this client's page cache was prepared: the servers have their own.")
    if report.state == "cold" and not dropped:
        report.notes.append(
            "Names and inodes may still be cached (--drop-caches, as root, empties the whole machine's)."
        )


def _bring(path: bytes, size: int, wanted: int | None) -> int:
    """Have so many first pages of a file cached, and no others; None: leave it. Gives how many are, -1 if unknown."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if wanted is None:
            return cached_pages(descriptor, size)
        pages = (size + _PAGE - 1) // _PAGE
        if wanted < pages:
            os.fsync(descriptor)  # dirty pages are not dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            # without this the kernel reads ahead what should not be there
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        else:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        end = min(size, wanted * _PAGE)
        for at in range(0, end, _PIECE):
            os.pread(descriptor, min(_PIECE, end - at), at)
        return cached_pages(descriptor, size)
    finally:
        os.close(descriptor)


def _count(path: bytes) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return cached_pages(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)

"""What a traced program's tasks hold: descriptors, working folder, mappings; shared or copied as clone(2) says.

The importers rebuild this state from the calls of a log, so that each read has its file and its position. Literature:
open(2), dup(2), clone(2), execve(2), mmap(2).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from iotrace.trace.assembly.identity import File, FileFacts

CLONE_VM: Final = 0x100
CLONE_FS: Final = 0x200
CLONE_FILES: Final = 0x400
CLONE_VFORK: Final = 0x4000
CLONE_THREAD: Final = 0x10000


@dataclass(slots=True, eq=False)
class Description:
    """An open-file description (open(2)): what dup and fork share.

    Attributes
    ----------
    number: its number in the trace's `open` column.
    path, text: row of paths (None for a file without a name) and absolute name that it was opened by.
    position: bytes from the file's start; None when the log does not tell.
    shown: the name that the log last showed for it.
    """

    number: int
    file: File
    path: int | None
    text: bytes
    flags: int
    position: int | None = 0
    shown: bytes = b""
    listed: int = 0


@dataclass(slots=True, eq=False)
class Descriptors:
    """A descriptor table. Only descriptors of recorded files are in it: pipes, sockets and devices are not."""

    open: dict[int, Description] = field(default_factory=dict)
    close_on_exec: set[int] = field(default_factory=set)

    def copy(self) -> Descriptors:
        return Descriptors(dict(self.open), set(self.close_on_exec))

    def put(self, fd: int, description: Description, close_on_exec: bool) -> Description | None:
        """Bind a descriptor; returns the description that it was bound to before."""
        before = self.open.get(fd)
        self.open[fd] = description
        if close_on_exec:
            self.close_on_exec.add(fd)
        else:
            self.close_on_exec.discard(fd)
        return before

    def drop(self, fd: int) -> Description | None:
        self.close_on_exec.discard(fd)
        return self.open.pop(fd, None)

    def drop_range(self, first: int, last: int) -> list[Description]:
        return [dropped for fd in self.within(first, last) if (dropped := self.drop(fd)) is not None]

    def within(self, first: int, last: int) -> list[int]:
        return sorted(fd for fd in self.open if first <= fd <= last)

    def exec(self) -> Descriptors:
        """The table after execve: a copy (it is unshared) without the close-on-exec descriptors."""
        return Descriptors({fd: d for fd, d in self.open.items() if fd not in self.close_on_exec})


@dataclass(slots=True, eq=False)
class Folder:
    """What CLONE_FS shares: the working folder (None: the log has not told) and the umask."""

    cwd: bytes | None = None
    umask: int | None = None

    def copy(self) -> Folder:
        return Folder(self.cwd, self.umask)


@dataclass(slots=True, frozen=True)
class Region:
    """A mapped part of a file: addresses [start, end), beginning at `offset` of the file; `since`: end of the call that
    mapped it, ns."""

    start: int
    end: int
    file: FileFacts
    path: int | None
    open: int
    offset: int
    since: int = 0


REPLACED: Final = 256
"""Mappings to remember after they were replaced: more threads than these do not unmap at one time."""


@dataclass(slots=True, eq=False)
class Memory:
    """File mappings of an address space, without overlap, in order of address.

    Attributes
    ----------
    replaced: mappings in whose place others came lately, and when these were made. A thread may be given addresses that
    another is just unmapping, before the log tells the end of that call.
    """

    starts: list[int] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    replaced: deque[tuple[Region, int]] = field(default_factory=lambda: deque(maxlen=REPLACED))

    def copy(self) -> Memory:
        return Memory(list(self.starts), list(self.regions))

    def _span(self, start: int, end: int) -> tuple[int, int]:
        first = bisect_right(self.starts, start)
        if first and self.regions[first - 1].end > start:
            first -= 1
        return first, max(first, bisect_left(self.starts, end))

    def find(self, start: int, length: int) -> list[Region]:
        """Mappings that lie at least partly within the range."""
        if not self.regions:
            return []
        first, last = self._span(start, start + length)
        return self.regions[first:last]

    def cut(self, start: int, length: int) -> list[Region]:
        """Unmap a range; returns the mappings that it hit, as they were."""
        if not self.regions:
            return []
        end = start + length
        first, last = self._span(start, end)
        hit = self.regions[first:last]
        if not hit:
            return []
        kept = []
        if hit[0].start < start:
            r = hit[0]
            kept.append(Region(r.start, start, r.file, r.path, r.open, r.offset, r.since))
        if hit[-1].end > end:
            r = hit[-1]
            kept.append(Region(end, r.end, r.file, r.path, r.open, r.offset + end - r.start, r.since))
        self.regions[first:last] = kept
        self.starts[first:last] = [r.start for r in kept]
        return hit

    def replace(self, start: int, length: int, at: int) -> None:
        """Make room for what was mapped at that time (ns)."""
        self.replaced += ((one, at) for one in self.cut(start, length))

    def unmap(self, start: int, length: int, begun: int) -> list[Region]:
        """Unmap a range by a call that began at that time (ns); returns the mappings that it hit, as they were.

        What was mapped later is not what it unmapped, which is among what was replaced.
        """
        hit = self.find(start, length)
        if all(one.since <= begun for one in hit) and (hit or not self.replaced):
            return self.cut(start, length)
        old = [one for one in hit if one.since <= begun]
        for one in old:
            first = max(start, one.start)
            self.cut(first, min(start + length, one.end) - first)
        for one, at in self.replaced:
            if at > begun and one.start < start + length and start < one.end:
                self.replaced.remove((one, at))
                return [one, *old]
        return old

    def add(self, region: Region) -> None:
        if region.end >= 1 << 63:
            # no address of a program's
            return
        self.replace(region.start, region.end - region.start, region.since)
        at = bisect_left(self.starts, region.start)
        self.starts.insert(at, region.start)
        self.regions.insert(at, region)


@dataclass(slots=True, eq=False)
class Process:
    """A row of processes in the making."""

    number: int
    pid: int
    start_ns: int
    parent: int | None = None
    command: str | None = None
    arguments: list[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    cwd: bytes | None = None
    umask: int | None = None
    end_ns: int | None = None
    exit: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    alive: int = 0
    changed: bool = True


@dataclass(slots=True, eq=False)
class Thread:
    """A thread and what it shares with others."""

    number: int
    tid: int
    process: Process
    descriptors: Descriptors
    folder: Folder
    memory: Memory
    exiting_ns: int | None = None
    status: int | None = None
    ended: bool = False

"""Threads and what they have (descriptors, working folders, mappings) in the kernels' tables, as
iotrace.trace.assembly.tasks has them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from iotrace.trace.assembly.tasks import REPLACED, Description, Descriptors, Folder, Memory, Process, Region, Thread
from iotrace.trace.formats.strace.files import TableFile
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels.descriptors import release
from iotrace.trace.formats.strace.state import State, view, wrapped
from iotrace.trace.schema import NULL

_FIRST_FDS: Final = 64
_FIRST_REGIONS: Final = 32


class TableDescription(Description):
    """A row of the kernel's open-file descriptions, as Description."""

    __slots__ = ("row", "state")

    def __init__(self, state: State, row: int) -> None:
        self.state, self.row = state, row

    def _get(self, field: int) -> int:
        value: int = self.state.tables[k.OPEN_TABLE][k.OPEN_FIELDS * self.row + field]
        return value

    def _put(self, field: int, value: int) -> None:
        self.state.tables[k.OPEN_TABLE][k.OPEN_FIELDS * self.row + field] = value


def _open_field(field: int, kind: str) -> Any:
    def read(self: TableDescription) -> Any:
        value = self._get(field)
        if kind == "file":
            return TableFile(self.state, value)
        if kind == "name":
            return self.state.name(value) if value >= 0 else b""
        return None if value == NULL else value

    def write(self: TableDescription, value: Any) -> None:
        if kind == "name":
            value = self.state.intern_name(value) if value else -1
        self._put(field, wrapped(value))

    return property(read, write)


for _field, _place, _kind in (
    ("number", k.O_NUMBER, ""), ("file", k.O_FILE, "file"), ("path", k.O_PATH, ""), ("text", k.O_TEXT, "name"),
    ("flags", k.O_FLAGS, ""), ("position", k.O_POSITION, ""), ("shown", k.O_SHOWN, "name"), ("listed", k.O_LISTED, ""),
):  # fmt: skip
    setattr(TableDescription, _field, _open_field(_place, _kind))


class _Open:
    """Descriptors.open: from descriptors to descriptions; those from MAX_FD on are out of the kernel's reach."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.row = state.take(k.FD_TABLE)
        self.entries = np.zeros(0, np.int64)
        self.mine = view(self.entries)
        self.high: dict[int, int] = {}
        self._room(_FIRST_FDS)

    def _room(self, room: int) -> None:
        entries = np.zeros(room, np.int64)
        entries[: len(self.entries)] = self.entries
        self.entries, self.mine = entries, view(entries)
        fds, at = self.state.tables[k.FD_TABLE], k.FD_FIELDS * self.row
        fds[at], fds[at + k.FD_ROOM] = entries.ctypes.data, room

    def copy(self) -> _Open:
        """The same, each description with one reference more."""
        new = _Open(self.state)
        new._room(len(self.entries))
        new.entries[:] = self.entries
        new.high = dict(self.high)
        opens = self.state.tables[k.OPEN_TABLE]
        for fd in new:
            opens[k.OPEN_FIELDS * new.at(fd) + k.O_REFS] += 1
        return new

    def entry(self, fd: int) -> int:
        """Row of the description + 1, shifted by one; bit 0: close on exec; 0 for none."""
        return self.mine[fd] if 0 <= fd < len(self.mine) else self.high.get(fd, 0)

    def at(self, fd: int) -> int:
        return (self.entry(fd) >> 1) - 1

    def set_entry(self, fd: int, entry: int) -> None:
        if 0 <= fd < k.MAX_FD:
            if fd >= len(self.mine):
                self._room(min(k.MAX_FD, max(fd + 1, 2 * len(self.mine))))
            self.mine[fd] = entry
        elif entry:
            self.high[fd] = entry
        else:
            self.high.pop(fd, None)

    def get(self, fd: int, default: Any = None) -> Any:
        row = self.at(fd)
        return default if row < 0 else TableDescription(self.state, row)

    def __getitem__(self, fd: int) -> TableDescription:
        return TableDescription(self.state, self.at(fd))

    def __contains__(self, fd: int) -> bool:
        return self.entry(fd) != 0

    def __setitem__(self, fd: int, description: TableDescription) -> None:
        before = self.at(fd)
        self.state.tables[k.OPEN_TABLE][k.OPEN_FIELDS * description.row + k.O_REFS] += 1
        self.set_entry(fd, (description.row + 1) << 1)
        if before >= 0:
            release(self.state.address, before)

    def pop(self, fd: int, default: Any = None) -> Any:
        row = self.at(fd)
        if row < 0:
            return default
        self.set_entry(fd, 0)
        release(self.state.address, row)
        return TableDescription(self.state, row)

    def __iter__(self) -> Iterator[int]:
        return iter([*np.flatnonzero(self.entries).tolist(), *self.high])

    def values(self) -> list[TableDescription]:
        return [self[fd] for fd in self]

    def clear(self) -> None:
        """Let go of everything, the table's row too."""
        for fd in self:
            release(self.state.address, self.at(fd))
        self.state.give(k.FD_TABLE, self.row)


class _CloseOnExec:
    """Descriptors.close_on_exec."""

    def __init__(self, fds: _Open) -> None:
        self._fds = fds

    def add(self, fd: int) -> None:
        if fd in self._fds:
            self._fds.set_entry(fd, self._fds.entry(fd) | 1)

    def discard(self, fd: int) -> None:
        if fd in self._fds:
            self._fds.set_entry(fd, self._fds.entry(fd) & ~1)

    def update(self, fds: Iterable[int]) -> None:
        for fd in fds:
            self.add(fd)

    def __contains__(self, fd: int) -> bool:
        return bool(self._fds.entry(fd) & 1)


class TableDescriptors(Descriptors):
    """A descriptor table that the kernel sees."""

    __slots__ = ("row",)

    def __init__(self, state: State, fds: _Open | None = None) -> None:
        self.open: Any = fds or _Open(state)
        self.row = self.open.row
        self.close_on_exec: Any = _CloseOnExec(self.open)

    def __del__(self) -> None:
        self.open.clear()

    def copy(self) -> TableDescriptors:
        return TableDescriptors(self.open.state, self.open.copy())

    def exec(self) -> TableDescriptors:
        new = self.copy()
        for fd in new.open:
            if fd in new.close_on_exec:
                new.drop(fd)
        return new


class TableFolder(Folder):
    """A working folder that the kernel sees."""

    __slots__ = ("row", "state")

    def __init__(self, state: State, cwd: bytes | None, umask: int | None) -> None:
        self.state, self.row = state, state.take(k.FOLDER_TABLE)
        self.cwd, self.umask = cwd, umask

    def __del__(self) -> None:
        self.state.give(k.FOLDER_TABLE, self.row)

    def copy(self) -> TableFolder:
        return TableFolder(self.state, self.cwd, self.umask)


def _cwd_of_folder() -> Any:
    def read(self: Any) -> Any:
        number = self.state.tables[k.FOLDER_TABLE][self.row]
        return None if number < 0 else self.state.name(number)

    def write(self: TableFolder, value: bytes | None) -> None:
        number = -1 if value is None else self.state.intern_name(value)
        self.state.tables[k.FOLDER_TABLE][self.row] = number

    return property(read, write)


setattr(TableFolder, "cwd", _cwd_of_folder())  # noqa: B010


class TableMemory(Memory):
    """File mappings that the kernel sees."""

    __slots__ = ("row", "state", "words")

    def __init__(self, state: State, room: int = _FIRST_REGIONS) -> None:
        self.state, self.row = state, state.take(k.MEMORY_TABLE)
        self.words = np.zeros((room, k.REGION_FIELDS), np.int64)
        self.replaced = deque(maxlen=REPLACED)
        self._write(0)

    def __del__(self) -> None:
        self.state.give(k.MEMORY_TABLE, self.row)

    def _write(self, count: int) -> None:
        rows, at = self.state.tables[k.MEMORY_TABLE], k.MEMORY_FIELDS * self.row
        rows[at], rows[at + k.M_COUNT], rows[at + k.M_ROOM] = self.words.ctypes.data, count, len(self.words)
        rows[at + k.M_REPLACED] = max((at for _, at in self.replaced), default=NULL)

    def _plain(self) -> Memory:
        """The same as Python objects."""
        count = self.state.tables[k.MEMORY_TABLE][k.MEMORY_FIELDS * self.row + k.M_COUNT]
        regions = [
            Region(start, end, TableFile(self.state, file), path, opened, offset, since)
            for start, end, file, path, opened, offset, since in self.words[:count].tolist()
        ]
        return Memory([region.start for region in regions], regions, self.replaced)

    def _take(self, plain: Memory) -> None:
        regions = plain.regions
        if len(regions) + 8 > len(self.words):
            self.words = np.zeros((2 * len(regions) + 8, k.REGION_FIELDS), np.int64)
        for number, r in enumerate(regions):
            values = (r.start, r.end, r.file.number, r.path, r.open, r.offset, r.since)
            self.words[number] = [wrapped(value) for value in values]
        self._write(len(regions))

    def copy(self) -> TableMemory:
        new = TableMemory(self.state, len(self.words))
        new.words[:] = self.words
        new._write(self.state.tables[k.MEMORY_TABLE][k.MEMORY_FIELDS * self.row + k.M_COUNT])
        return new

    def find(self, start: int, length: int) -> list[Region]:
        return self._plain().find(start, length)

    def cut(self, start: int, length: int) -> list[Region]:
        plain = self._plain()
        hit = plain.cut(start, length)
        self._take(plain)
        return hit

    def replace(self, start: int, length: int, at: int) -> None:
        plain = self._plain()
        plain.replace(start, length, at)
        self._take(plain)

    def unmap(self, start: int, length: int, begun: int) -> list[Region]:
        plain = self._plain()
        hit = plain.unmap(start, length, begun)
        self._take(plain)
        return hit

    def add(self, region: Region) -> None:
        plain = self._plain()
        plain.add(region)
        self._take(plain)


class TableProcess(Process):
    """A process of which the kernel knows whether its working folder is told."""

    __slots__ = ("_cwd", "state")

    def __init__(self, state: State, number: int, pid: int, start_ns: int) -> None:
        self.state = state
        self.number = number
        while number >= state.h[k.PROCESS_TABLE + 1]:
            state._enlarge(k.PROCESS_TABLE)
        super().__init__(number, pid, start_ns)


def _cwd_of_process() -> Any:
    def read(self: Any) -> Any:
        return self._cwd

    def write(self: Any, value: bytes | None) -> None:
        self._cwd = value
        self.state.tables[k.PROCESS_TABLE][self.number] = value is not None

    return property(read, write)


setattr(TableProcess, "cwd", _cwd_of_process())  # noqa: B010


class TableThread(Thread):
    """A thread that the kernel sees."""

    __slots__ = ("_descriptors", "_folder", "_memory", "row", "state")

    def __init__(self, state: State, number: int, tid: int, process: Process, *shared: Any) -> None:
        self.state, self.row = state, state.take(k.THREAD_TABLE)
        super().__init__(number, tid, process, *shared)
        rows, at = state.tables[k.THREAD_TABLE], k.THREAD_FIELDS * self.row
        rows[at + k.T_NUMBER], rows[at + k.T_PROCESS] = number, process.number

    def __del__(self) -> None:
        self.state.give(k.THREAD_TABLE, self.row)


def _shared(name: str, field: int) -> Any:
    def read(self: TableThread) -> Any:
        return getattr(self, name)

    def write(self: TableThread, value: Any) -> None:
        setattr(self, name, value)
        self.state.tables[k.THREAD_TABLE][k.THREAD_FIELDS * self.row + field] = value.row

    return property(read, write)


for _field, _place in (("descriptors", k.T_FDS), ("folder", k.T_FOLDER), ("memory", k.T_MEMORY)):
    setattr(TableThread, _field, _shared(f"_{_field}", _place))


class Threads(dict[int, Thread]):
    """Threads by id, which the kernel sees."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self._state = state

    def __setitem__(self, tid: int, thread: Any) -> None:
        super().__setitem__(tid, thread)
        if 0 <= tid <= k.MAX_PID:
            self._state.thread_of[tid] = thread.row + 1

    def __delitem__(self, tid: int) -> None:
        if 0 <= tid <= k.MAX_PID:
            self._state.thread_of[tid] = 0
        super().__delitem__(tid)

    def pop(self, tid: int, default: Any = None) -> Any:
        if tid not in self:
            return default
        thread = self[tid]
        del self[tid]
        return thread

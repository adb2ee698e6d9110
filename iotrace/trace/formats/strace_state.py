"""What the kernel of strace_kernel.py and the handlers of iotrace.trace.assembly both see: one state, in tables.

The classes here stand in for those of iotrace.trace.assembly (files, descriptors, mappings, threads); they read and
write the kernel's tables, so that a line may be taken by either. Numbers as in iotrace.trace.assembly; NULL for None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from iotrace.trace.assembly.identity import FileFacts, FileTable
from iotrace.trace.assembly.tasks import Description, Descriptors, Folder, Memory, Process, Region, Thread
from iotrace.trace.formats import strace_kernel as k
from iotrace.trace.formats.strace_values import CONSTANTS, ERRNO
from iotrace.trace.info import Mount
from iotrace.trace.operations import NUMBER_OF

Ints = np.ndarray[Any, np.dtype[np.int64]]
_TYPES: Final = ("file", "directory", "link", "other")
_FIRST_ROOM: Final = 1 << 10
_FIRST_FDS: Final = 64
_FIRST_REGIONS: Final = 32
_TABLES: Final = {
    k.NAME_TABLE: k.NAME_FIELDS, k.PATH_TABLE: k.PATH_FIELDS, k.FILE_TABLE: k.FILE_FIELDS, k.OPEN_TABLE: k.OPEN_FIELDS,
    k.DIRTY_TABLE: 1, k.THREAD_TABLE: k.THREAD_FIELDS, k.FD_TABLE: k.FD_FIELDS, k.FOLDER_TABLE: 1,
    k.MEMORY_TABLE: k.MEMORY_FIELDS, k.PROCESS_TABLE: 1, k.PENDING_TABLE: k.PENDING_FIELDS,
}  # fmt: skip
_COUNTERS: Final = {
    k.NAME_TABLE: k.NAMES, k.PATH_TABLE: k.PATHS, k.FILE_TABLE: k.FILES, k.DIRTY_TABLE: k.FILES,
    k.OPEN_TABLE: k.OPEN_TOP,
}  # fmt: skip


def wrapped(value: int | None) -> int:
    """A number as the tables hold it: 64 bits, two's complement; NULL for None."""
    if value is None:
        return k.NULL
    if -(1 << 63) <= value < 1 << 63:
        return value
    return ((value + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)


def view(array: Any) -> Any:
    """A memoryview, which gives and takes single numbers faster than numpy."""
    return memoryview(array)


def _words(calls: Iterable[str], other: Iterable[str]) -> Ints:
    """WORDS: texts that the kernel compares with, and its table of symbols."""
    words = np.zeros((k.CONSTANTS_AT + 8 * k.SYMBOL_SLOTS * k.SYMBOL_WORDS) // 8, np.int64)
    octets = words.view(np.uint8)
    for number, text in enumerate(k.TEXTS):
        octets[k.TEXT_ROOM * number : k.TEXT_ROOM * number + len(text)] = list(text)
    symbols = words[k.CONSTANTS_AT // 8 :].reshape(k.SYMBOL_SLOTS, k.SYMBOL_WORDS)
    rows = [(name, k.SYMBOL_CONSTANT, value) for name, value in CONSTANTS.items()]
    rows += [(name, k.SYMBOL_ERROR, value) for name, value in ERRNO.items()]
    rows += [(name, k.SYMBOL_FIELD, number) for number, name in enumerate(k.FIELDS)]
    rows += [(name, k.SYMBOL_CALL, NUMBER_OF[name] if name in k.CLASS_OF else -1) for name in calls]
    rows += [(name, k.SYMBOL_CALL, {"ioctl": k.IOCTL, "recvmsg": k.RECVMSG}.get(name, -1)) for name in other]
    for name, kind, value in rows:
        if len(name) > k.SYMBOL_ROOM or value >= 1 << 62:
            continue
        slot = _hash(name.encode()) % k.SYMBOL_SLOTS
        while symbols[slot, 0] != k.SYMBOL_NONE:
            slot = (slot + 1) % k.SYMBOL_SLOTS
        symbols[slot, :3] = kind, value, len(name)
        symbols[slot, k.SYMBOL_TEXT :].view(np.uint8)[: len(name)] = list(name.encode())
    return words


def _hash(text: bytes) -> int:
    """The kernel's hash of a text."""
    mask = (1 << 64) - 1
    value = 0xCBF29CE484222325
    for byte in text:
        value = ((value ^ byte) * 0x100000001B3) & mask
    value ^= value >> 33
    value = (value * 0xFF51AFD7ED558CCD) & mask
    value ^= value >> 33
    return value & 0x7FFFFFFFFFFFFFFF


class State:
    """The tables.

    Parameters
    ----------
    calls: names of the calls that are operations. beside: of those that change descriptors without being any.
    page: bytes of a page of memory.

    Attributes
    ----------
    header: int64 of k.HEADER_WORDS, `h` the same as a memoryview and `address` where it lies.
    events: int64 of shape (columns, room).
    """

    def __init__(self, calls: Iterable[str], beside: Iterable[str], page: int) -> None:
        self.header = np.zeros(k.HEADER_WORDS, np.int64)
        self.h = view(self.header)
        self.address = self.header.ctypes.data
        self._arrays: dict[int, Ints] = {}
        self.tables: dict[int, Any] = {}
        self._free: dict[int, list[int]] = {}
        self._tops: dict[int, int] = {}
        for table, fields in _TABLES.items():
            self._set(table, np.zeros((_FIRST_ROOM, fields), np.int64))
        for slots in (k.NAME_SLOTS, k.PATH_SLOTS):
            self._set(slots, np.full((4 * _FIRST_ROOM, 2), -1, np.int64))
        self._set(k.INODE_SLOTS, np.full((4 * _FIRST_ROOM, 3), -1, np.int64))
        self.events = np.zeros((k.COLUMNS, k.BATCH_ROWS + 1024), np.int64)
        self._point(k.EVENT_TABLE, self.events, self.events.shape[1])
        self.blob = np.zeros(1 << 20, np.uint8)
        self._point(k.BLOB_BYTES, self.blob, len(self.blob))
        self.bytes = view(self.blob)
        self._fixed: dict[int, Any] = {
            k.CALL: np.zeros(k.CALL_WORDS, np.int64),
            k.SCRATCH: np.zeros(k.SCRATCH_BYTES, np.uint8),
            k.WORDS: _words(calls, beside),
            k.OP_TABLE: k.op_table(),
            k.THREAD_OF: np.zeros(k.MAX_PID + 1, np.int32),
            k.PENDING_OF: np.zeros(k.MAX_PID + 1, np.int32),
        }
        for table, array in self._fixed.items():
            self._point(table, array, array.size)
        self.thread_of = view(self._fixed[k.THREAD_OF])
        self.pending_of = view(self._fixed[k.PENDING_OF])
        self._pending = np.zeros(0, np.uint8)
        self._text = np.zeros(1 << 16, np.uint8)
        self.h[k.BASE] = k.NULL
        self.h[k.PAGE_BYTES] = page
        self.h[k.FREE_OPEN] = self.h[k.PENDING_FREE] = -1
        self._grow_pending(64)

    def _point(self, table: int, array: Any, room: int) -> None:
        self.h[table], self.h[table + 1] = array.ctypes.data, room

    def _set(self, table: int, array: Ints) -> None:
        self._arrays[table] = array
        self.tables[table] = view(array.reshape(-1))
        self._point(table, array, len(array))

    def grow(self, line: int = k.LINE_ROOM) -> None:
        """Make room in each table for a line of so many bytes."""
        h = self.h
        for table, counter in _COUNTERS.items():
            if h[counter] + 2 * k.SPARE >= h[table + 1]:
                self._enlarge(table)
        need = h[k.BLOB] + 2 * k.LINE_ROOM + 4 * line
        if need >= h[k.BLOB_BYTES + 1]:
            blob = np.zeros(max(need + (1 << 16), 3 * len(self.blob) // 2), np.uint8)
            blob[: h[k.BLOB]] = self.blob[: h[k.BLOB]]
            self.blob = blob
            self.bytes = view(blob)
            self._point(k.BLOB_BYTES, blob, len(blob))
        for slots, counter in ((k.NAME_SLOTS, k.NAMES), (k.PATH_SLOTS, k.PATHS)):
            if 2 * (h[counter] + 2 * k.SPARE) >= h[slots + 1]:
                old = self._arrays[slots]
                new = np.full((2 * len(old), 2), -1, np.int64)
                k.rehash(old.ctypes.data, len(old), new.ctypes.data, len(new))
                self._set(slots, new)
        if 2 * (h[k.INODES] + 2 * k.SPARE) >= h[k.INODE_SLOTS + 1]:
            old = self._arrays[k.INODE_SLOTS]
            new = np.full((2 * len(old), 3), -1, np.int64)
            h[k.INODES] = k.rehash_inodes(old.ctypes.data, len(old), new.ctypes.data, len(new))
            self._set(k.INODE_SLOTS, new)
        if h[k.ROWS] + 2 * k.SPARE >= self.events.shape[1]:
            events = np.zeros((k.COLUMNS, 2 * self.events.shape[1]), np.int64)
            events[:, : h[k.ROWS]] = self.events[:, : h[k.ROWS]]
            self.events = events
            self._point(k.EVENT_TABLE, events, events.shape[1])

    def _enlarge(self, table: int) -> None:
        old = self._arrays[table]
        new = np.zeros((len(old) + max(_FIRST_ROOM, len(old) // 2), old.shape[1]), np.int64)
        new[: len(old)] = old
        self._set(table, new)

    def take(self, table: int) -> int:
        """A free row of one of the small tables."""
        free = self._free.setdefault(table, [])
        if free:
            return free.pop()
        row = self._tops.get(table, 0)
        self._tops[table] = row + 1
        if row >= self.h[table + 1]:
            self._enlarge(table)
        return row

    def give(self, table: int, row: int) -> None:
        """A row of a small table is free again."""
        self._free[table].append(row)

    def _grow_pending(self, more: int) -> None:
        """Free rows for calls that wait to be resumed."""
        before = len(self._pending) // k.PENDING_ROOM
        pending = np.zeros((before + more) * k.PENDING_ROOM, np.uint8)
        pending[: len(self._pending)] = self._pending
        self._pending = pending
        self._point(k.PENDING_BYTES, pending, len(pending))
        while self.h[k.PENDING_TABLE + 1] < before + more:
            self._enlarge(k.PENDING_TABLE)
        rows = self.tables[k.PENDING_TABLE]
        for row in range(before, before + more):
            rows[k.PENDING_FIELDS * row] = self.h[k.PENDING_FREE]
            self.h[k.PENDING_FREE] = row

    # ---- names and paths ----

    def lay(self, text: bytes) -> int:
        """Put a text where the kernel can read it; returns its address."""
        if len(text) > len(self._text):
            self._text = np.zeros(2 * len(text), np.uint8)
        self._text[: len(text)] = np.frombuffer(text, np.uint8)
        return self._text.ctypes.data

    def find_name(self, text: bytes) -> int:
        """Number of a name, -1 without one."""
        return k.find_name(self.address, self.lay(text), len(text))

    def intern_name(self, text: bytes) -> int:
        """Number of a name."""
        self.grow(len(text))
        return k.intern_name(self.address, self.lay(text), len(text))

    def name(self, number: int) -> bytes:
        """Text of a name."""
        names = self.tables[k.NAME_TABLE]
        begin, length = names[k.NAME_FIELDS * number], names[k.NAME_FIELDS * number + k.N_LENGTH]
        return bytes(self.bytes[begin : begin + length])

    def intern_path(self, text: bytes, raw: bytes) -> int:
        """Number of the path with this absolute name, given as `raw`."""
        name = self.intern_name(text)
        self.grow(len(raw))
        return k.intern_path(self.address, name, self.lay(raw), len(raw))

    def path_text(self, path: int) -> bytes:
        """Absolute name of a path."""
        return self.name(self.tables[k.PATH_TABLE][k.PATH_FIELDS * path + k.P_NAME])

    def keep(self, text: bytes) -> int:
        """Put a text into the blob; returns where it begins."""
        self.grow(len(text))
        begin: int = self.h[k.BLOB]
        self.bytes[begin : begin + len(text)] = text
        self.h[k.BLOB] = begin + len(text)
        return begin


def _number(field: int, news: bool) -> Any:
    """A property of a file: a number, None for NULL."""

    def read(self: TableFile) -> int | None:
        value = self.state.tables[k.FILE_TABLE][self.at + field]
        return None if value == k.NULL else value

    def write(self: TableFile, value: int | None) -> None:
        self.state.tables[k.FILE_TABLE][self.at + field] = wrapped(value)
        if news:
            k.touch(self.state.address, self.number)

    return property(read, write)


class TableFile(FileFacts):
    """A file of the kernel's table, as iotrace.trace.assembly.identity.File."""

    __slots__ = ("at", "number", "state")

    def __init__(self, state: State, number: int) -> None:
        self.state, self.number, self.at = state, number, k.FILE_FIELDS * number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableFile) and other.number == self.number

    def __hash__(self) -> int:
        return self.number

    device = _number(k.F_DEVICE, True)
    inode = _number(k.F_INODE, True)
    size = _number(k.F_SIZE, True)
    blocks = _number(k.F_BLOCKS, False)
    mode = _number(k.F_MODE, False)
    entries = _number(k.F_ENTRIES, True)
    inherited_flags = _number(k.F_INHERITED_FLAGS, False)
    inherited_offset = _number(k.F_INHERITED_OFFSET, False)
    length = _number(k.F_LENGTH, False)
    links = _number(k.F_LINKS, False)

    def _get(self, field: int) -> int:
        value: int = self.state.tables[k.FILE_TABLE][self.at + field]
        return value

    def _put(self, field: int, value: int) -> None:
        self.state.tables[k.FILE_TABLE][self.at + field] = value
        k.touch(self.state.address, self.number)

    @property
    def path(self) -> int | None:
        value = self._get(k.F_PATH)
        return value if value >= 0 else None

    @property
    def where(self) -> bytes | None:
        value = self._get(k.F_WHERE)
        return self.state.name(value) if value >= 0 else None

    @where.setter
    def where(self, value: bytes | None) -> None:
        number = -1 if value is None else self.state.intern_name(value)
        self.state.tables[k.FILE_TABLE][self.at + k.F_WHERE] = number

    @property
    def existed(self) -> bool | None:
        value = self._get(k.F_EXISTED)
        return None if value < 0 else bool(value)

    @existed.setter
    def existed(self, value: bool | None) -> None:
        self._put(k.F_EXISTED, -1 if value is None else int(value))

    @property
    def type(self) -> str | None:
        value = self._get(k.F_TYPE)
        return None if value < 0 else _TYPES[value]

    @type.setter
    def type(self, value: str | None) -> None:
        self._put(k.F_TYPE, -1 if value is None else _TYPES.index(value))

    @property
    def target(self) -> bytes | None:
        begin = self._get(k.F_TARGET)
        return None if begin < 0 else bytes(self.state.bytes[begin : begin + self._get(k.F_TARGET_LENGTH)])

    @target.setter
    def target(self, value: bytes | None) -> None:
        # most links are read again and again
        if value is not None and self.target != value:
            self._put(k.F_TARGET, self.state.keep(value))
            self._put(k.F_TARGET_LENGTH, len(value))

    @property
    def changed(self) -> bool:
        return bool(self._get(k.F_BITS) & k.CHANGED)

    @changed.setter
    def changed(self, value: bool) -> None:
        bits = self._get(k.F_BITS)
        self.state.tables[k.FILE_TABLE][self.at + k.F_BITS] = bits | k.CHANGED if value else bits & ~k.CHANGED


class _Names:
    """FileTable.names: from names to files."""

    def __init__(self, state: State) -> None:
        self._state = state

    def _file_of(self, text: bytes) -> int:
        number = self._state.find_name(text)
        return -1 if number < 0 else self._state.tables[k.NAME_TABLE][k.NAME_FIELDS * number + k.N_FILE]

    def get(self, text: bytes, default: Any = None) -> Any:
        file = self._file_of(text)
        return default if file < 0 else TableFile(self._state, file)

    def __contains__(self, text: bytes) -> bool:
        return self._file_of(text) >= 0

    def __getitem__(self, text: bytes) -> TableFile:
        return TableFile(self._state, self._file_of(text))

    def __setitem__(self, text: bytes, file: TableFile) -> None:
        number = self._state.intern_name(text)
        self._state.tables[k.NAME_TABLE][k.NAME_FIELDS * number + k.N_FILE] = file.number

    def pop(self, text: bytes, default: Any = None) -> Any:
        number = self._state.find_name(text)
        if number < 0:
            return default
        names, at = self._state.tables[k.NAME_TABLE], k.NAME_FIELDS * number + k.N_FILE
        file, names[at] = names[at], -1
        return default if file < 0 else TableFile(self._state, file)


class _Absent:
    """FileTable.absent: names that lead nowhere."""

    def __init__(self, state: State) -> None:
        self._state = state

    def _put(self, text: bytes, value: int) -> None:
        number = self._state.intern_name(text)
        self._state.tables[k.NAME_TABLE][k.NAME_FIELDS * number + k.N_ABSENT] = value

    def add(self, text: bytes) -> None:
        self._put(text, 1)

    def discard(self, text: bytes) -> None:
        if text in self:
            self._put(text, 0)

    def __contains__(self, text: bytes) -> bool:
        number = self._state.find_name(text)
        return number >= 0 and bool(self._state.tables[k.NAME_TABLE][k.NAME_FIELDS * number + k.N_ABSENT])


class _Inodes:
    """FileTable.inodes: from (device, inode) to files."""

    def __init__(self, state: State) -> None:
        self._state = state

    def get(self, key: tuple[int, int], default: Any = None) -> Any:
        h = self._state.h
        device, inode = wrapped(key[0]), wrapped(key[1])
        slot = k.find_inode(h[k.INODE_SLOTS], h[k.INODE_SLOTS + 1], device, inode)
        file = self._state.tables[k.INODE_SLOTS][3 * slot + 2]
        return default if file < 0 else TableFile(self._state, file)

    def __setitem__(self, key: tuple[int, int], file: TableFile) -> None:
        self._state.grow(0)
        k.put_inode(self._state.address, wrapped(key[0]), wrapped(key[1]), file.number)

    def pop(self, key: tuple[int, int], default: Any = None) -> None:
        k.put_inode(self._state.address, wrapped(key[0]), wrapped(key[1]), k.GONE)


class TableFiles(FileTable):
    """FileTable over the kernel's tables."""

    def __init__(self, state: State, mounts: Iterable[Mount], probe_since_ns: int | None) -> None:
        super().__init__(mounts, probe_since_ns)
        self.state = state
        self.names: Any = _Names(state)
        self.inodes: Any = _Inodes(state)
        self.absent: Any = _Absent(state)
        state.h[k.PROBES] = probe_since_ns is not None

    def _add(self, path: int | None, where: bytes | None, existed: bool | None) -> Any:
        state = self.state
        name = -1 if where is None else state.intern_name(where)
        state.grow(0)
        known = -1 if existed is None else int(existed)
        number = k.new_file(state.address, -1 if path is None else path, name, known)
        return TableFile(state, number)

    def below(self, prefix: bytes) -> list[bytes]:
        """Names of files that begin so, in order."""
        found = np.zeros(1 << 10, np.int64)
        where = self.state.lay(prefix)
        h = self.state.address
        while (count := k.names_below(h, where, len(prefix), found.ctypes.data, len(found))) > len(found):
            found = np.zeros(count, np.int64)
        return sorted(self.state.name(int(number)) for number in found[:count])

    def whole(self, everything: bool) -> Ints:
        """Table rows, as int64 of shape (files, k.FILE_FIELDS) behind their numbers, of what `rows` would give."""
        h = self.state.h
        numbers = np.zeros(h[k.FILES] if everything else h[k.DIRTY], np.int64)
        count = k.whole_files(self.state.address, numbers.ctypes.data, everything)
        numbers = np.sort(numbers[:count])
        table: Ints = self.state._arrays[k.FILE_TABLE]
        return np.column_stack([numbers, table[numbers]])


# ---- tasks ----


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
        return None if value == k.NULL else value

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
            k.release(self.state.address, before)

    def pop(self, fd: int, default: Any = None) -> Any:
        row = self.at(fd)
        if row < 0:
            return default
        self.set_entry(fd, 0)
        k.release(self.state.address, row)
        return TableDescription(self.state, row)

    def __iter__(self) -> Iterator[int]:
        return iter([*np.flatnonzero(self.entries).tolist(), *self.high])

    def values(self) -> list[TableDescription]:
        return [self[fd] for fd in self]

    def clear(self) -> None:
        """Let go of everything, the table's row too."""
        for fd in self:
            k.release(self.state.address, self.at(fd))
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
        self._write(0)

    def __del__(self) -> None:
        self.state.give(k.MEMORY_TABLE, self.row)

    def _write(self, count: int) -> None:
        rows, at = self.state.tables[k.MEMORY_TABLE], k.MEMORY_FIELDS * self.row
        rows[at], rows[at + k.M_COUNT], rows[at + k.M_ROOM] = self.words.ctypes.data, count, len(self.words)

    def _plain(self) -> Memory:
        """The same as Python objects."""
        count = self.state.tables[k.MEMORY_TABLE][k.MEMORY_FIELDS * self.row + k.M_COUNT]
        regions = [
            Region(start, end, TableFile(self.state, file), path, opened, offset)
            for start, end, file, path, opened, offset in self.words[:count].tolist()
        ]
        return Memory([region.start for region in regions], regions)

    def _take(self, plain: Memory) -> None:
        regions = plain.regions
        if len(regions) + 8 > len(self.words):
            self.words = np.zeros((2 * len(regions) + 8, k.REGION_FIELDS), np.int64)
        for number, r in enumerate(regions):
            self.words[number] = [wrapped(v) for v in (r.start, r.end, r.file.number, r.path, r.open, r.offset)]
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


class Pending:
    """Calls that wait to be resumed, by thread id: (name, time_ns, text); long ones are out of the kernel's reach."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._long: dict[int, tuple[str, int, str]] = {}

    def _slot(self, tid: int) -> int:
        return self._state.pending_of[tid] if 0 <= tid <= k.MAX_PID else k.IN_PYTHON

    def __contains__(self, tid: int) -> bool:
        slot = self._slot(tid)
        return tid in self._long if slot == k.IN_PYTHON else slot > 0

    def __setitem__(self, tid: int, call: tuple[str, int, str]) -> None:
        self.pop(tid, None)
        state = self._state
        name, at, text = call
        rest = f"{name}({text}".encode("latin-1")
        if not 0 <= tid <= k.MAX_PID or len(rest) > k.PENDING_ROOM:
            self._long[tid] = call
            if 0 <= tid <= k.MAX_PID:
                state.pending_of[tid] = k.IN_PYTHON
            return
        if state.h[k.PENDING_FREE] < 0:
            state._grow_pending(len(state._pending) // k.PENDING_ROOM)
        row = state.h[k.PENDING_FREE]
        rows, at_row = state.tables[k.PENDING_TABLE], k.PENDING_FIELDS * row
        state.h[k.PENDING_FREE] = rows[at_row]
        rows[at_row], rows[at_row + k.W_NAME], rows[at_row + k.W_LENGTH] = at, len(name), len(rest)
        state._pending[k.PENDING_ROOM * row : k.PENDING_ROOM * row + len(rest)] = np.frombuffer(rest, np.uint8)
        state.pending_of[tid] = row + 1

    def _read(self, slot: int) -> tuple[str, int, str]:
        rows, at = self._state.tables[k.PENDING_TABLE], k.PENDING_FIELDS * (slot - 1)
        begin = k.PENDING_ROOM * (slot - 1)
        text = self._state._pending[begin : begin + rows[at + k.W_LENGTH]].tobytes().decode("latin-1")
        length = rows[at + k.W_NAME]
        return text[:length], rows[at], text[length + 1 :]

    def pop(self, tid: int, default: Any = None) -> Any:
        slot = self._slot(tid)
        if slot == 0:
            return default
        if slot == k.IN_PYTHON:
            if 0 <= tid <= k.MAX_PID:
                self._state.pending_of[tid] = 0
            return self._long.pop(tid, default)
        found = self._read(slot)
        rows, at = self._state.tables[k.PENDING_TABLE], k.PENDING_FIELDS * (slot - 1)
        rows[at] = self._state.h[k.PENDING_FREE]
        self._state.h[k.PENDING_FREE] = slot - 1
        self._state.pending_of[tid] = 0
        return found

    def items(self) -> list[tuple[int, tuple[str, int, str]]]:
        """All that wait, in order of thread id."""
        table = np.asarray(self._state.pending_of)
        short = [tid for tid in np.flatnonzero(table).tolist() if table[tid] != k.IN_PYTHON]
        found = {tid: self._read(int(table[tid])) for tid in short} | self._long
        return sorted(found.items())

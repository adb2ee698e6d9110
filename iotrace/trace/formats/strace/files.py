"""Files in the kernels' tables, as iotrace.trace.assembly.identity has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from iotrace.hashing import find_inode
from iotrace.trace.assembly.identity import FileFacts, FileTable
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels.files import new_file, put_inode, touch, whole_files
from iotrace.trace.formats.strace.kernels.names import names_below
from iotrace.trace.formats.strace.state import Ints, State, wrapped
from iotrace.trace.info import Mount
from iotrace.trace.schema import NULL

_TYPES: Final = ("file", "directory", "link", "other")


def _number(field: int, news: bool) -> Any:
    """A property of a file: a number, None for NULL."""

    def read(self: TableFile) -> int | None:
        value = self.state.tables[k.FILE_TABLE][self.at + field]
        return None if value == NULL else value

    def write(self: TableFile, value: int | None) -> None:
        self.state.tables[k.FILE_TABLE][self.at + field] = wrapped(value)
        if news:
            touch(self.state.address, self.number)

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
        touch(self.state.address, self.number)

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
        slot = find_inode(h[k.INODE_SLOTS], h[k.INODE_SLOTS + 1], device, inode)
        file = self._state.tables[k.INODE_SLOTS][3 * slot + 2]
        return default if file < 0 else TableFile(self._state, file)

    def __setitem__(self, key: tuple[int, int], file: TableFile) -> None:
        self._state.grow(0)
        put_inode(self._state.address, wrapped(key[0]), wrapped(key[1]), file.number)

    def pop(self, key: tuple[int, int], default: Any = None) -> None:
        put_inode(self._state.address, wrapped(key[0]), wrapped(key[1]), k.GONE)


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
        number = new_file(state.address, -1 if path is None else path, name, known)
        return TableFile(state, number)

    def below(self, prefix: bytes) -> list[bytes]:
        """Names of files that begin so, in order."""
        found = np.zeros(1 << 10, np.int64)
        where = self.state.lay(prefix)
        h = self.state.address
        while (count := names_below(h, where, len(prefix), found.ctypes.data, len(found))) > len(found):
            found = np.zeros(count, np.int64)
        return sorted(self.state.name(int(number)) for number in found[:count])

    def whole(self, everything: bool) -> Ints:
        """Table rows, as int64 of shape (files, k.FILE_FIELDS) behind their numbers, of what `rows` would give."""
        h = self.state.h
        numbers = np.zeros(h[k.FILES] if everything else h[k.DIRTY], np.int64)
        count = whole_files(self.state.address, numbers.ctypes.data, everything)
        numbers = np.sort(numbers[:count])
        table: Ints = self.state._arrays[k.FILE_TABLE]
        return np.column_stack([numbers, table[numbers]])

"""The state of a log's reading, in tables that the kernels and the handlers of iotrace.trace.assembly both see.

The classes of files.py, tasks.py and pending.py stand in for those of iotrace.trace.assembly: they read and write these
tables, so that a line may be taken by either. Numbers as in iotrace.trace.assembly; NULL for None.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from iotrace.hashing import hash_of, move_hashes, move_inodes
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.names import find_name, intern_name, intern_path
from iotrace.trace.formats.strace.kernels.operations import CLASS_OF, IOCTL, RECVMSG, op_table
from iotrace.trace.formats.strace.values import CONSTANTS, ERRNO
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.schema import NULL

Ints = np.ndarray[Any, np.dtype[np.int64]]
_FIRST_ROOM: Final = 1 << 10
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
        return NULL
    if -(1 << 63) <= value < 1 << 63:
        return value
    return ((value + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)


def view(array: Any) -> Any:
    """A memoryview, which gives and takes single numbers faster than numpy."""
    return memoryview(array)


def _words(calls: Iterable[str], other: Iterable[str]) -> Ints:
    """WORDS: texts that the kernel compares with, and its table of symbols."""
    words = np.zeros((w.CONSTANTS_AT + 8 * w.SYMBOL_SLOTS * w.SYMBOL_WORDS) // 8, np.int64)
    octets = words.view(np.uint8)
    for number, text in enumerate(w.TEXTS):
        octets[w.TEXT_ROOM * number : w.TEXT_ROOM * number + len(text)] = list(text)
    symbols = words[w.CONSTANTS_AT // 8 :].reshape(w.SYMBOL_SLOTS, w.SYMBOL_WORDS)
    rows = [(name, w.SYMBOL_CONSTANT, value) for name, value in CONSTANTS.items()]
    rows += [(name, w.SYMBOL_ERROR, value) for name, value in ERRNO.items()]
    rows += [(name, w.SYMBOL_FIELD, number) for number, name in enumerate(w.FIELDS)]
    rows += [(name, w.SYMBOL_CALL, NUMBER_OF[name] if name in CLASS_OF else -1) for name in calls]
    rows += [(name, w.SYMBOL_CALL, {"ioctl": IOCTL, "recvmsg": RECVMSG}.get(name, -1)) for name in other]
    for name, kind, value in rows:
        if len(name) > w.SYMBOL_ROOM or value >= 1 << 62:
            continue
        slot = hash_of(name.encode()) % w.SYMBOL_SLOTS
        while symbols[slot, 0] != w.SYMBOL_NONE:
            slot = (slot + 1) % w.SYMBOL_SLOTS
        symbols[slot, :3] = kind, value, len(name)
        symbols[slot, w.SYMBOL_TEXT :].view(np.uint8)[: len(name)] = list(name.encode())
    return words


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
            k.OP_TABLE: op_table(),
            k.THREAD_OF: np.zeros(k.MAX_PID + 1, np.int32),
            k.PENDING_OF: np.zeros(k.MAX_PID + 1, np.int32),
        }
        for table, array in self._fixed.items():
            self._point(table, array, array.size)
        self.thread_of = view(self._fixed[k.THREAD_OF])
        self.pending_of = view(self._fixed[k.PENDING_OF])
        self._pending = np.zeros(0, np.uint8)
        self._text = np.zeros(1 << 16, np.uint8)
        self.h[k.BASE] = NULL
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
                move_hashes(old.ctypes.data, len(old), new.ctypes.data, len(new))
                self._set(slots, new)
        if 2 * (h[k.INODES] + 2 * k.SPARE) >= h[k.INODE_SLOTS + 1]:
            old = self._arrays[k.INODE_SLOTS]
            new = np.full((2 * len(old), 3), -1, np.int64)
            h[k.INODES] = move_inodes(old.ctypes.data, len(old), new.ctypes.data, len(new))
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
        return find_name(self.address, self.lay(text), len(text))

    def intern_name(self, text: bytes) -> int:
        """Number of a name."""
        self.grow(len(text))
        return intern_name(self.address, self.lay(text), len(text))

    def name(self, number: int) -> bytes:
        """Text of a name."""
        names = self.tables[k.NAME_TABLE]
        begin, length = names[k.NAME_FIELDS * number], names[k.NAME_FIELDS * number + k.N_LENGTH]
        return bytes(self.bytes[begin : begin + length])

    def intern_path(self, text: bytes, raw: bytes) -> int:
        """Number of the path with this absolute name, given as `raw`."""
        name = self.intern_name(text)
        self.grow(len(raw))
        return intern_path(self.address, name, self.lay(raw), len(raw))

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

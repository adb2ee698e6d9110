"""The drain's tables: growable NumPy arrays behind one header of counters and addresses.

Hash tables are open-addressing tables of a power of two of slots; a value of -1 marks an empty slot. Tables of paths
and files are reached by the numbers given out, which never begin anew: after forget() their address in the header lies
before the array, so that the first number that is still known meets its first row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.hashing import find_key, move_hashes, move_inodes, move_keys
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels.files import file_number
from iotrace.record.ebpf.kernels.names import intern

Ints = npt.NDArray[np.int64]

_HASHES: Final[tuple[tuple[int, int, int, Callable[[int, int, int, int], object]], ...]] = (
    # table, words a slot, counter of its entries, how it moves
    (d.THREAD_SLOTS, 2, d.THREAD_ROWS, move_keys),
    (d.PROCESS_SLOTS, 2, d.PROCESS_ROWS, move_keys),
    (d.FILE_SLOTS, 3, d.FILES, move_inodes),
    (d.OPEN_SLOTS, 2, d.OPEN_ROWS, move_keys),
    (d.PATH_SLOTS, 2, d.PATHS, move_hashes),
    (d.PENDING_SLOTS, 2, d.PENDING, move_keys),
    (d.RING_SLOTS, 2, d.RINGS, move_keys),
)
_LISTS: Final = (
    (d.THREAD_INFO, d.THREAD_FIELDS, d.THREAD_ROWS),
    (d.FILE_INFO, d.FILE_FIELDS, d.FILES),
    (d.OPEN_INFO, d.OPEN_FIELDS, d.OPEN_ROWS),
    (d.PATH_INFO, d.PATH_FIELDS, d.PATHS),
    (d.PENDING_INFO, d.PENDING_FIELDS, d.PENDING),
)
_SLOTS_AT_FIRST: Final = 1 << 12
_ROWS_AT_FIRST: Final = 1 << 11
_BLOB_AT_FIRST: Final = 1 << 20
_CHAPTERS_OPEN: Final = 64
"""For how many chapters an open file is remembered that nobody uses."""
_BLOB_MARGIN: Final = 1 << 16


class State:
    """The tables; `header` holds counters and, for each table, its address and its number of slots.

    Parameters
    ----------
    rows: first matrix for events, shape (columns, capacity), filled with NULL.
    prefixes: mount points that the recording is held to; none: all names count.
    all_files: whether names in /proc and /sys count too.
    """

    def __init__(self, rows: Ints, prefixes: Sequence[bytes] = (), all_files: bool = False) -> None:
        self.header = np.zeros(d.HEADER_WORDS, np.int64)
        self.address = int(self.header.ctypes.data)
        self._arrays: dict[int, npt.NDArray[np.int64] | npt.NDArray[np.uint8]] = {}
        self._firsts = {d.PATH_INFO: 0, d.FILE_INFO: 0}
        for table, width, _, _ in _HASHES:
            self._set(table, np.full((_SLOTS_AT_FIRST, width), -1, np.int64))
        for table, width, _ in _LISTS:
            self._set(table, np.full((_ROWS_AT_FIRST, width), -1, np.int64))
        self._set(d.NOTE_ROWS, np.zeros((1 << 12, d.NOTE_FIELDS), np.int64))
        self._set(d.BLOB_BYTES, np.zeros(_BLOB_AT_FIRST, np.uint8))
        texts = b"".join(len(p).to_bytes(8, "little") + p + bytes(-len(p) % 8) for p in prefixes)
        self._set(d.PREFIX_BYTES, np.frombuffer(texts + bytes(8), np.uint8))
        self.header[d.PREFIXES] = len(prefixes)
        self.header[d.ALL_FILES] = all_files
        self._brief = np.zeros(d.BRIEF_WORDS, np.int64)
        self.header[d.BRIEF] = self._brief.ctypes.data
        self.use_rows(rows)

    def _set(self, table: int, array: npt.NDArray[np.int64] | npt.NDArray[np.uint8]) -> None:
        first = self._firsts.get(table, 0)
        self._arrays[table] = array
        self.header[table] = array.ctypes.data - first * array.strides[0]
        self.header[table + 1] = first + len(array)

    def first(self, table: int) -> int:
        """Number of a table's first row: those before are forgotten."""
        return self._firsts.get(table, 0)

    def table(self, table: int) -> npt.NDArray[np.int64]:
        """A table as an array, from its first row on."""
        return self._arrays[table]  # type: ignore[return-value]

    @property
    def blob(self) -> npt.NDArray[np.uint8]:
        """Bytes of paths and command lines."""
        return self._arrays[d.BLOB_BYTES]  # type: ignore[return-value]

    @property
    def memory_bytes(self) -> int:
        """Bytes that the tables hold; the events' rows are not among them."""
        return sum(array.nbytes for table, array in self._arrays.items() if table != d.EVENT_ROWS)

    def count(self, counter: int) -> int:
        """A counter of the header."""
        return int(self.header[counter])

    def use_rows(self, rows: Ints) -> None:
        """Let the next events go into another matrix, from its first row on."""
        self._arrays[d.EVENT_ROWS] = rows
        self.header[d.EVENT_ROWS] = rows.ctypes.data
        self.header[d.EVENT_ROWS + 1] = rows.shape[1]
        self.header[d.ROWS] = 0
        # a fault that was under way can no longer be amended
        self.table(d.THREAD_INFO)[: self.count(d.THREAD_ROWS), d.T_FAULT_ROW] = -1

    def append_text(self, raw: bytes) -> None:
        """Put bytes at the blob's end, for intern()."""
        begin = self.count(d.BLOB)
        self.blob[begin : begin + len(raw)] = np.frombuffer(raw, np.uint8)

    def is_full(self) -> bool:
        """Whether events or notes must be taken out before the drain can go on."""
        return self.count(d.ROWS) + 3 > self.count(d.EVENT_ROWS + 1) or self.count(d.NOTES) + 4 > self.count(
            d.NOTE_ROWS + 1
        )

    def grow(self) -> None:
        """Double each hash that is half full and each list that is nearly full."""
        for table, width, counter, move in _HASHES:
            old = self._arrays[table]
            info = {d.FILE_SLOTS: d.FILE_INFO, d.PATH_SLOTS: d.PATH_INFO}.get(table, -1)
            if (self.count(counter) - self.first(info)) * 2 >= len(old) - 16:
                new = np.full((len(old) * 2, width), -1, np.int64)
                move(old.ctypes.data, len(old), new.ctypes.data, len(new))
                self._set(table, new)
        for table, _, counter in _LISTS:
            values = self._arrays[table]
            if self.count(counter) - self.first(table) + 16 >= len(values):
                self._set(table, np.concatenate([values, np.full_like(values, -1)]))
        if self.count(d.BLOB) + _BLOB_MARGIN >= len(self.blob):
            self._set(d.BLOB_BYTES, np.concatenate([self.blob, np.zeros_like(self.blob)]))

    def forget(self) -> None:
        """Begin a chapter: forget all paths, files, and the threads that have ended.

        What is still open, mapped or under way is numbered anew, with its path; new numbers follow on the old ones.
        The caller has taken out rows and notes, and sees to it that the kernel reports every file again.
        """
        before = _Chapter(self)
        files, paths = self.count(d.FILES), self.count(d.PATHS)
        self._firsts = {d.PATH_INFO: paths, d.FILE_INFO: files}
        for table, width in ((d.FILE_SLOTS, 3), (d.PATH_SLOTS, 2)):
            self._set(table, np.full((_SLOTS_AT_FIRST, width), -1, np.int64))
        for table, width in ((d.FILE_INFO, d.FILE_FIELDS), (d.PATH_INFO, d.PATH_FIELDS)):
            self._set(table, np.full((_ROWS_AT_FIRST, width), -1, np.int64))
        self._set(d.BLOB_BYTES, np.zeros(_BLOB_AT_FIRST, np.uint8))
        self.header[d.BLOB] = 0
        self._carry(before, files)
        self._drop_ended()

    def _carry(self, before: _Chapter, files: int) -> None:
        """Number what is still in use anew."""
        opens = self.table(d.OPEN_INFO)[: self.count(d.OPEN_ROWS)]
        for row in opens:
            # one that many chapters did not touch is taken for closed
            used = row[d.O_USED] > -_CHAPTERS_OPEN
            row[d.O_PATH] = before.path(self, int(row[d.O_PATH])) if used else -1
            row[d.O_FILE] = before.file(self, int(row[d.O_FILE])) if used else -1
            row[d.O_USED] = min(row[d.O_USED] - 1, 0)
        kept = before.files[: files - before.first_file, d.F_KEPT] > 0
        for file in np.nonzero(kept)[0].tolist():
            before.file(self, file + before.first_file)
        waiting = self.table(d.PENDING_INFO)[: self.count(d.PENDING)]
        for place in np.nonzero(waiting[:, d.S_WAITS] == 1)[0].tolist():
            row = waiting[place]
            for field in (d.S_PATH, d.S_OTHER_PATH):
                row[field] = before.path(self, int(row[field]))
            row[d.S_FILE] = before.file(self, int(row[d.S_FILE]))
        threads = self.table(d.THREAD_INFO)[: self.count(d.THREAD_ROWS)]
        threads[:, [d.T_EXEC_PATH, d.T_FAULT_FILE, d.T_FAULT_ROW]] = -1

    def _drop_ended(self) -> None:
        """Keep the rows of the threads that live, and their processes."""
        infos = self.table(d.THREAD_INFO)[: self.count(d.THREAD_ROWS)]
        alive = infos[infos[:, d.T_ENDED] == 0].copy()
        alive[:, d.T_CHILD] = -1
        kept = np.full_like(self.table(d.THREAD_INFO), -1)
        kept[: len(alive)] = alive
        self._set(d.THREAD_INFO, kept)
        self.header[d.THREAD_ROWS] = len(alive)
        threads = np.full((len(self._arrays[d.THREAD_SLOTS]), 2), -1, np.int64)
        self._set(d.THREAD_SLOTS, threads)
        for row, tid in enumerate(alive[:, d.T_TID].tolist()):
            threads[find_key(threads.ctypes.data, len(threads), tid)] = tid, row
        live = set(alive[:, d.T_PROCESS].tolist())
        before = self.table(d.PROCESS_SLOTS)
        used = before[before[:, 1] != -1]
        processes = np.full_like(before, -1)
        self._set(d.PROCESS_SLOTS, processes)
        kept_rows = [(key, process) for key, process in used.tolist() if process in live]
        for key, process in kept_rows:
            processes[find_key(processes.ctypes.data, len(processes), key)] = key, process
        self.header[d.PROCESS_ROWS] = len(kept_rows)


class _Chapter:
    """The tables of a chapter that has ended, from which what is still in use is carried over."""

    def __init__(self, state: State) -> None:
        self.paths, self.files, self._blob = state.table(d.PATH_INFO), state.table(d.FILE_INFO), state.blob
        self.first_path, self.first_file = state.first(d.PATH_INFO), state.first(d.FILE_INFO)
        self._new_paths: dict[int, int] = {-1: -1}
        self._new_files: dict[int, int] = {-1: -1}

    def _text(self, path: int) -> bytes:
        base, begin, length = self.paths[path - self.first_path].tolist()
        raw = self._blob[begin : begin + length].tobytes()
        if base < self.first_path or raw.startswith(b"/"):
            return raw
        return self._text(base).rstrip(b"/") + b"/" + raw

    def path(self, state: State, path: int) -> int:
        """The number of a path in the chapter that begins."""
        if path < self.first_path:
            return path if path < 0 else -1
        if path not in self._new_paths:
            state.grow()
            raw = self._text(path)
            state.append_text(raw)
            self._new_paths[path] = intern(state.address, -1, len(raw))
        return self._new_paths[path]

    def file(self, state: State, file: int) -> int:
        """The number of a file in the chapter that begins."""
        if file < self.first_file:
            return -1
        if file not in self._new_files:
            state.grow()
            info = self.files[file - self.first_file].copy()
            number = file_number(state.address, int(info[d.F_DEVICE]), int(info[d.F_INODE]), int(info[d.F_GENERATION]))
            info[d.F_KEPT] -= info[d.F_KEPT] > 0
            for field in (d.F_PATH, d.F_LAST_PATH, d.F_WHERE):
                info[field] = self.path(state, int(info[field]))
            state.table(d.FILE_INFO)[number - state.first(d.FILE_INFO)] = info
            self._new_files[file] = number
        return self._new_files[file]

"""The drain's tables: growable NumPy arrays behind one header of counters and addresses.

Hash tables are open-addressing tables of a power of two of slots; a value of -1 marks an empty slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.record.ebpf import drain as d

Ints = npt.NDArray[np.int64]

_HASHES: Final[tuple[tuple[int, int, int, Callable[[int, int, int, int], None]], ...]] = (
    # table, words a slot, counter, how it moves
    (d.THREAD_SLOTS, 2, d.THREADS, d.rehash),
    (d.PROCESS_SLOTS, 2, d.PROCESSES, d.rehash),
    (d.FILE_SLOTS, 3, d.FILES, d.rehash_files),
    (d.OPEN_SLOTS, 2, d.OPENS, d.rehash),
    (d.PATH_SLOTS, 2, d.PATHS, d.rehash_paths),
)
_LISTS: Final = (
    (d.THREAD_INFO, d.THREAD_FIELDS, d.THREADS),
    (d.FILE_INFO, d.FILE_FIELDS, d.FILES),
    (d.OPEN_INFO, d.OPEN_FIELDS, d.OPENS),
    (d.PATH_INFO, d.PATH_FIELDS, d.PATHS),
)
_BLOB_MARGIN: Final = 1 << 16


class State:
    """The tables; `header` holds counters and, for each table, its address and its number of slots.

    Parameters
    ----------
    rows: first matrix for events, shape (columns, capacity), filled with NULL.
    """

    def __init__(self, rows: Ints) -> None:
        self.header = np.zeros(d.HEADER_WORDS, np.int64)
        self.address = int(self.header.ctypes.data)
        self._arrays: dict[int, npt.NDArray[np.int64] | npt.NDArray[np.uint8]] = {}
        for table, width, _, _ in _HASHES:
            self._set(table, np.full((1 << 12, width), -1, np.int64))
        for table, width, _ in _LISTS:
            self._set(table, np.full((1 << 11, width), -1, np.int64))
        self._set(d.NOTE_ROWS, np.zeros((1 << 12, d.NOTE_FIELDS), np.int64))
        self._set(d.BLOB_BYTES, np.zeros(1 << 20, np.uint8))
        self.use_rows(rows)

    def _set(self, table: int, array: npt.NDArray[np.int64] | npt.NDArray[np.uint8]) -> None:
        self._arrays[table] = array
        self.header[table] = array.ctypes.data
        self.header[table + 1] = len(array)

    def table(self, table: int) -> npt.NDArray[np.int64]:
        """A table as an array."""
        return self._arrays[table]  # type: ignore[return-value]

    @property
    def blob(self) -> npt.NDArray[np.uint8]:
        """Bytes of paths and command lines."""
        return self._arrays[d.BLOB_BYTES]  # type: ignore[return-value]

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
        self.table(d.THREAD_INFO)[: self.count(d.THREADS), d.T_FAULT_ROW] = -1

    def append_text(self, raw: bytes) -> None:
        """Put bytes at the blob's end, for intern()."""
        begin = self.count(d.BLOB)
        self.blob[begin : begin + len(raw)] = np.frombuffer(raw, np.uint8)

    def is_full(self) -> bool:
        """Whether events or notes must be taken out before the drain can go on."""
        return self.count(d.ROWS) + 2 > self.count(d.EVENT_ROWS + 1) or self.count(d.NOTES) + 4 > self.count(
            d.NOTE_ROWS + 1
        )

    def grow(self) -> None:
        """Double each hash that is half full and each list that is nearly full."""
        for table, width, counter, move in _HASHES:
            old = self._arrays[table]
            # a process has up to two keys: its number, and its parent's name for it
            if self.count(counter) * (4 if table == d.PROCESS_SLOTS else 2) >= len(old) - 16:
                new = np.full((len(old) * 2, width), -1, np.int64)
                move(old.ctypes.data, len(old), new.ctypes.data, len(new))
                self._set(table, new)
        for table, _, counter in _LISTS:
            values = self._arrays[table]
            if self.count(counter) + 16 >= len(values):
                self._set(table, np.concatenate([values, np.full_like(values, -1)]))
        if self.count(d.BLOB) + _BLOB_MARGIN >= len(self.blob):
            self._set(d.BLOB_BYTES, np.concatenate([self.blob, np.zeros_like(self.blob)]))

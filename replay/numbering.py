"""Numbers for distinct rows of integers, given out in the order in which they are first seen, in chunks of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from iotrace.compiling import compiled
from iotrace.replay.columns import Ids


@compiled
def _place(slots: Any, store: Any, keys: Any, i: int) -> Any:
    """Slot of row i of the keys: where it stands, or the free one where it belongs."""
    mixed = np.int64(0)
    for j in range(keys.shape[1]):
        # multiplication by the golden ratio (Knuth, The Art of Computer Programming, 6.4); it wraps around
        mixed = (mixed ^ keys[i, j]) * np.int64(-7046029254386353131)
        mixed ^= (mixed >> 29) & 0x7FFFFFFFF
    slot = mixed & (len(slots) - 1)
    while slots[slot] >= 0:
        same = True
        for j in range(keys.shape[1]):
            if store[slots[slot], j] != keys[i, j]:
                same = False
                break
        if same:
            break
        slot = (slot + 1) & (len(slots) - 1)
    return slot


@compiled
def _take_in(keys: Any, store: Any, slots: Any, count: int) -> Any:
    """Numbers of the rows of keys, shape (n,), and how many distinct rows there are now."""
    numbers = np.empty(len(keys), np.int32)
    for i in range(len(keys)):
        slot = _place(slots, store, keys, i)
        if slots[slot] < 0:
            slots[slot] = count
            store[count] = keys[i]
            count += 1
        numbers[i] = slots[slot]
    return numbers, count


class Numbering:
    """Distinct rows of `width` int64 each.

    Attributes
    ----------
    count: how many are known.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self._store = np.empty((1024, width), np.int64)
        self._slots = np.full(4096, -1, np.int32)

    def numbers(self, keys: npt.NDArray[np.int64]) -> Ids:
        """Number of each row of keys, (n, width); new ones get the next numbers."""
        needed = self.count + len(keys)
        if needed > len(self._store):
            more = np.empty((max(needed, 2 * len(self._store)), keys.shape[1]), np.int64)
            more[: self.count] = self._store[: self.count]
            self._store = more
        if 2 * needed > len(self._slots):
            self._slots = np.full(1 << (4 * needed - 1).bit_length(), -1, np.int32)
            known = self.known(0)
            _take_in(known, known, self._slots, 0)
        numbers: Ids
        numbers, self.count = _take_in(keys, self._store, self._slots, self.count)
        return numbers

    def known(self, since: int) -> npt.NDArray[np.int64]:
        """The rows that have numbers from `since` on."""
        return self._store[since : self.count].copy()

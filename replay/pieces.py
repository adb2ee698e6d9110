"""Columns that are made piece by piece, and lie in blocks meanwhile: long ones in files (iotrace.replay.filed)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

BLOCK: Final = 1 << 23
"""Values of a block but the first: so many bytes or more, whatever they are, lie in files."""
_FIRST: Final = 1 << 12


class Pieces:
    """Collects pieces of a column whose length is not known before."""

    def __init__(self, kind: npt.DTypeLike = np.int64) -> None:
        self._kind = np.dtype(kind)
        self._blocks: list[npt.NDArray[Any]] = []
        self._used = 0  # of the last block
        self._before = 0  # values in all the others

    def __len__(self) -> int:
        return self._before + self._used

    def add(self, piece: npt.NDArray[Any]) -> None:
        """Take in what comes next."""
        done = 0
        while done < len(piece):
            if not self._blocks or self._used == len(self._blocks[-1]):
                self._before, self._used = len(self), 0
                self._blocks.append(np.empty(min(BLOCK, max(_FIRST, 2 * self._before)), self._kind))
            block = self._blocks[-1]
            many = min(len(piece) - done, len(block) - self._used)
            block[self._used : self._used + many] = piece[done : done + many]
            self._used, done = self._used + many, done + many

    def whole(self) -> npt.NDArray[Any]:
        """All of it, once; the blocks are given up."""
        result, at = np.empty(len(self), self._kind), 0
        self._blocks.reverse()
        while self._blocks:
            block = self._blocks.pop()
            many = min(len(block), len(result) - at)
            result[at : at + many] = block[:many]
            at += many
        self._before = self._used = 0
        return result


class Column:
    """A column that is filled from its begin on, null where it was not.

    Parameters
    ----------
    kind: of signed integers; the least of them stands for null.
    room: how long it will probably be.
    """

    def __init__(self, kind: type[np.signedinteger[Any]], room: int) -> None:
        self._kind, self._room = kind, room
        self._values: npt.NDArray[Any] = np.zeros(0, kind)

    def put(self, begin: int, piece: npt.NDArray[Any]) -> None:
        """Fill in what stands from `begin` on."""
        self._make_room(begin + len(piece))
        self._values[begin : begin + len(piece)] = piece

    def values(self, count: int) -> npt.NDArray[Any]:
        """The first `count`; of a column without anything none."""
        if len(self._values):
            self._make_room(count)
        return self._values[:count]

    def _make_room(self, count: int) -> None:
        if count > len(self._values):
            longer = np.full(max(self._room, count + len(self._values) // 2), np.iinfo(self._kind).min, self._kind)
            longer[: len(self._values)] = self._values
            self._values = longer

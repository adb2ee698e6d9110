"""How long each file of a synthesised job is at each moment: no read goes beyond what was written by then.

A template knows only the size that a class has at the start. Where a job reads back what it made itself, its calls are
followed in order: writes and copies lengthen a file, an O_TRUNC and an unlink empty it, a read ends where it ends.
"""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.compiling import compiled
from iotrace.profiles.layout import Layout
from iotrace.profiles.model import Profile
from iotrace.trace.operations import NUMBER_OF, OPERATIONS, Kind
from iotrace.trace.schema import NULL

_NOTHING, _READ, _WRITE, _COPY, _OPEN, _EMPTY, _FAULT = range(7)
_PAGE: Final = 4096
_TRUNC: Final = os.O_TRUNC


def _acts() -> npt.NDArray[np.int8]:
    """What each operation does to a file, by its number."""
    of_kind = {Kind.READ: _READ, Kind.WRITE: _WRITE, Kind.COPY: _COPY}
    acts = np.array([of_kind.get(one.kind, _NOTHING) for one in OPERATIONS], np.int8)
    for name, act in (("openat", _OPEN), ("unlinkat", _EMPTY), ("mmap.fault", _FAULT)):
        acts[NUMBER_OF[name]] = act
    return acts


class Held:
    """Bytes that the files of a job hold, for the classes that it reads back (Profile.read_back, at least one).

    Parameters
    ----------
    profile, layout: as of the synthesis.
    """

    def __init__(self, profile: Profile, layout: Layout) -> None:
        watched = [one for one in layout.classes if one.name in profile.read_back]
        counts = np.array([one.count for one in watched], np.int64)
        self._first = np.array([one.first for one in watched], np.int64)
        self._end = self._first + counts
        self._base = np.cumsum(counts) - counts
        self._bytes = np.repeat(np.array([one.size * one.exists for one in watched], np.int64), counts)
        self._acts = _acts()

    def clip(self, columns: dict[str, Any]) -> dict[str, Any]:
        """Calls in order of their ends, with what reads and copies moved cut to what was there.

        Parameters
        ----------
        columns: of a synthesis, each of int64, shape (calls,). Reads, copies and faults behind the end of a file are
        left out, but for the first read of an opening.
        """
        file = self._places(columns["file_number"])
        other = self._places(columns["other_number"])
        acts = self._acts[columns["op"]]
        acts[(file < 0) & ((other < 0) | (acts != _COPY))] = _NOTHING
        keep = np.ones(len(acts), np.bool_)
        changed = {name: columns[name].copy() for name in ("offset", "size", "result", "moved")}
        _follow(
            acts, file, other, changed["offset"], columns["other_offset"], changed["size"], columns["flags"],
            columns["step"], changed["result"], changed["moved"], keep, self._bytes,
        )  # fmt: skip
        columns = columns | changed
        return columns if keep.all() else {name: column[keep] for name, column in columns.items()}

    def _places(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where the bytes of files stand, by their numbers; -1 for files that are not followed."""
        which = np.searchsorted(self._first, numbers, side="right") - 1
        known = (which >= 0) & (numbers < self._end[which]) & (numbers != NULL)
        return np.where(known, self._base[which] + numbers - self._first[which], -1)


@compiled
def _follow(
    acts: Any, files: Any, others: Any, offset: Any, other_offset: Any, size: Any, flags: Any, step: Any, result: Any,
    moved: Any, keep: Any, held: Any,
) -> None:  # fmt: skip
    """Go through calls one after another; writes offset (of appends), size (of faults), result, moved, keep, held."""
    for row in range(len(acts)):
        act, file, other = acts[row], files[row], others[row]
        if act in (_READ, _COPY):
            if file >= 0:
                left = max(0, held[file] - max(0, offset[row]))
                result[row] = moved[row] = min(size[row], left)
                # who has come to the end reads no further
                keep[row] = left > 0 or offset[row] <= 0
            if act == _COPY and other >= 0:
                held[other] = max(held[other], other_offset[row] + result[row])
        elif act == _WRITE:
            # an append goes to the end, wherever that is by now
            if step[row] != 0:
                offset[row] = held[file]
            held[file] = max(held[file], offset[row] + result[row])
        elif act == _EMPTY or (act == _OPEN and flags[row] & _TRUNC):
            held[file] = 0
        elif act == _FAULT:
            end = -(-held[file] // _PAGE) * _PAGE
            keep[row] = offset[row] < end
            size[row] = min(size[row], end - offset[row])

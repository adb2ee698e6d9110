"""What open-file descriptions are set to: the flags of their open, and what fcntl (F_SETFL) made of them since."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import NONE, Events, Flags, Ids, Ints, Numbers, Tables
from iotrace.replay.operation_sets import one_of
from iotrace.replay.scans import rows_of
from iotrace.replay.select import opening_rows
from iotrace.trace.operations import OWN_POSITION

SETTABLE: Final = 0o2000 | 0o4000 | 0o40000 | 0o1000000
"""O_APPEND, O_NONBLOCK, O_DIRECT, O_NOATIME: what F_SETFL changes of a file."""
F_SETFL: Final = 4
TAKES_OFFSET: Final = one_of(("pwrite64", "pwritev", "pwritev2"))
"""Writes that ask for an offset, and append all the same where the description says so."""
_RWF_APPEND: Final = 0x10
_O_APPEND: Final = 0o2000
_TAKES_FLAGS: Final = one_of(("pwritev2",))
TAKES_OWN: Final = one_of(("preadv2", "pwritev2"))
"""Calls that offset -1 has go on from their description's own position, and move it."""


def at_own_position(op: Numbers | npt.NDArray[np.int16], flags: Ints) -> Flags:
    """Which calls of some that may name a position asked for their description's own, (n,)."""
    own: Flags = TAKES_OWN[op] & (np.maximum(flags, 0) & OWN_POSITION != 0)
    return own


def own_positions(events: Events) -> Numbers:
    """Events that could have named a position, and asked for their description's own, in order."""
    rows = rows_of(TAKES_OWN, events.op)
    own: Numbers = rows[at_own_position(events.op[rows], events.flags[rows])] if len(rows) else rows
    return own


def open_flags(tables: Tables) -> Ints:
    """Flags of each description as it was opened, or as it was when the recording began; shape (opens,)."""
    events = tables.events
    flags = np.zeros(tables.opens + 1, np.int64)
    if (tables.file_inherited_flags != NONE).any():
        # a description that nobody saw opened is of the file that its first use names
        inherited = np.flatnonzero((events.open >= 0) & (events.file >= 0))[::-1]
        known = tables.file_inherited_flags[events.file[inherited]]
        flags[events.open[inherited]] = np.where(known == NONE, 0, known)
    opening = opening_rows(tables)
    said = events.flags[opening]
    flags[events.open[opening]] = np.where(said == NONE, 0, said)
    return flags[:-1]


class Status:
    """The flags in force at each event.

    Parameters
    ----------
    tables: the trace. One of an older recorder does not say what F_SETFL set; its descriptions stay as opened.
    """

    def __init__(self, tables: Tables) -> None:
        events = tables.events
        self._events = events
        self._opened = np.append(open_flags(tables), 0)
        sets = rows_of(one_of(("fcntl",)), events.op)
        sets = sets[(events.flags[sets] == F_SETFL) & (events.result[sets] == 0) & (events.open[sets] >= 0)]
        said = events.mode[sets]
        sets, said = sets[said != NONE], said[said != NONE]
        keys = self._key(events.open[sets], sets)
        order = np.argsort(keys)
        self._keys, self._open, self._said = keys[order], events.open[sets][order], said[order] & SETTABLE

    def _key(self, description: Ids, row: Numbers) -> Ints:
        return np.asarray(description.astype(np.int64) * (len(self._events) + 1) + row)

    def flags(self, rows: Numbers) -> Ints:
        """Flags of the descriptions that the calls in these rows act on, (rows,); 0 for calls without."""
        description = self._events.open[rows]
        flags: Ints = self._opened[description]
        if len(self._keys):
            last = np.searchsorted(self._keys, self._key(description, rows)) - 1
            known = (last >= 0) & (description >= 0) & (self._open[last] == description)
            flags = np.where(known, (flags & ~SETTABLE) | self._said[last], flags)
        return flags

    def appends(self, rows: Numbers) -> Flags:
        """Whether the calls in these rows, if they write, go to the end of the file, wherever it is then; (rows,)."""
        takes = _TAKES_FLAGS[self._events.op[rows]]
        takes[takes] = np.maximum(self._events.flags[rows[takes]], 0) & _RWF_APPEND != 0
        found: Flags = (self.flags(rows) & _O_APPEND != 0) | takes
        return found

    def elsewhere(self, rows: Numbers) -> Flags:
        """Whether the calls in these rows, if they write, asked for a place and append all the same: nobody says where
        their bytes went; (rows,)."""
        op = self._events.op[rows]
        found: Flags = TAKES_OFFSET[op] & self.appends(rows) & ~at_own_position(op, self._events.flags[rows])
        return found

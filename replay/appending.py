"""Which descriptions write to the end of their file, wherever it is then."""

from __future__ import annotations

from typing import Final

import numpy as np

from iotrace.replay.columns import Flags, Tables
from iotrace.replay.scans import first_rows, rows_of
from iotrace.replay.select import OPENS, _table

TAKES_OFFSET: Final = _table(("pwrite64", "pwritev", "pwritev2"))
"""Writes that ask for an offset, and append all the same where the description says so."""
RWF_APPEND: Final = 0x10
_O_APPEND: Final = 0o2000


def descriptions_that_append(tables: Tables) -> Flags:
    """Descriptions with O_APPEND by their open, or from before the recording; (opens + 1,).

    The last entry stands for none. What fcntl (F_SETFL) changes later no trace tells.
    """
    events = tables.events
    appends = np.zeros(tables.opens + 1, np.bool_)
    opened = rows_of(OPENS, events.op)
    opened = opened[(events.result[opened] >= 0) & (events.open[opened] >= 0)]
    appends[events.open[opened[np.maximum(events.flags[opened], 0) & _O_APPEND != 0]]] = True
    inherited = np.maximum(tables.file_inherited_flags, 0) & _O_APPEND != 0
    if inherited.any():
        # a description that nobody saw opened is of the file that its first use names
        first = first_rows(np.ascontiguousarray(events.open), tables.opens)[:-1]
        found = np.ones(tables.opens, np.bool_)
        found[events.open[opened]] = False
        ours = np.flatnonzero(found & (first < len(events)))
        file = events.file[first[ours]]
        appends[ours[(file >= 0) & np.append(inherited, False)[file]]] = True
    appends[-1] = False
    return appends

"""Which calls name a position in a file, and which go on from where their open-file description stands."""

from __future__ import annotations

import numpy as np

from iotrace.replay.columns import NONE, Flags, Tables
from iotrace.replay.operation_sets import CLONES, COPIES, OPENS, one_of
from iotrace.replay.scans import rows_of
from iotrace.replay.status import own_positions
from iotrace.replay.sweeps import POSITION_COPY, POSITION_MOVES, POSITION_OPEN, POSITION_SEEKS, implicit_positions
from iotrace.trace.operations import NUMBER_OF


def explicit_positions(tables: Tables) -> tuple[tuple[Flags, Flags], Flags]:
    """Copies that named the positions in source and destination, and events that used a description's own."""
    events, op = tables.events, tables.events.op
    n = len(events)
    none = np.broadcast_to(np.False_, n)
    own = own_positions(events)
    own_too = none
    if len(own):
        own_too = np.zeros(n, np.bool_)
        own_too[own] = True
    if len(rows_of(COPIES & ~CLONES, op)) == 0:
        return (none, none), own_too
    copies = (COPIES & ~CLONES)[op]
    moves = one_of(("read", "readv", "write", "writev"))[op] | own_too
    action = np.zeros(n, np.int8)
    action[moves], action[OPENS[op]] = POSITION_MOVES, POSITION_OPEN
    action[op == NUMBER_OF["lseek"]] = POSITION_SEEKS
    # sources and destinations stand in one sequence, so that each sees the other's moves
    rows = np.repeat(np.arange(n), 1 + copies)
    second = np.r_[False, rows[1:] == rows[:-1]]
    action2 = np.where(copies[rows], POSITION_COPY, action[rows]).astype(np.int8)
    opens = np.where(second, events.other_open[rows], events.open[rows]).astype(np.int64)
    offset = np.where(second, events.other_offset[rows], events.offset[rows])
    start = np.zeros(tables.opens + 1, np.int64)
    inherited = (events.open >= 0) & (events.file >= 0)
    position = tables.file_inherited_offset[events.file[inherited]]
    start[events.open[inherited]] = np.where(position == NONE, 0, position)
    implicit = implicit_positions(action2, opens, offset, events.result[rows], start)
    source, target = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    source[rows[~second]] = implicit[~second]
    target[rows[second]] = implicit[second]
    return (copies & ~source, copies & ~target), (copies & (source | target)) | own_too

"""The rows of a plan: recorded calls and what belongs to them, a chunk at a time."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.arguments import DESCRIPTOR, LOCK_NB, MAPPED, WAITING_LOCKS, Builder
from iotrace.replay.columns import CHUNK_ROWS, Flags, Ids, Ints, Tables, chunks
from iotrace.replay.descriptors import Descriptors
from iotrace.replay.direct import Rounded
from iotrace.replay.layout import CALL, EXTRA_CLOSE, EXTRA_DUP, THREAD_BEGINS, Layout
from iotrace.replay.mapping import Mapping
from iotrace.replay.memory import Mappings
from iotrace.replay.operation_sets import CLOSES, DUPS, FAULT, MMAP, OPENS, ORDERS, one_of
from iotrace.replay.outcomes import Expectations, Piece, Places, Sizes
from iotrace.replay.packing import VALUES_MAX, Packer
from iotrace.replay.pieces import Pieces
from iotrace.replay.recorded import Recorded, columns_for_rides, columns_of_labels, plain_column
from iotrace.replay.rows import (
    BEGIN,
    CLOSE,
    DUP_ONTO,
    END,
    LOCK,
    MAP,
    OPEN,
    ORDER,
    PLAIN,
    STATUS,
    TOUCH,
    UNMAP,
    Forms,
    Rows,
)
from iotrace.replay.select import Selection
from iotrace.replay.snapshot import Snapshot
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.reader import Trace


class RowBuilder:
    """Builds the rows of a plan.

    Parameters
    ----------
    dups: extra duplications, (n, 3): event, slot, slot of the duplicate; in the order of events.
    rounded: what is rounded out for O_DIRECT. rides: what rode on rings, or may, is kept for rides_of.

    Attributes
    ----------
    calls: makes the calls; it has the texts that they name.
    """

    def __init__(
        self, tables: Tables, mapping: Mapping, selection: Selection, memory: Mappings, snapshot: Snapshot,
        descriptors: Descriptors, explicit: tuple[Flags, Flags], layout: Layout, dups: Ints, rounded: Rounded | None,
        rides: bool,
    ) -> None:  # fmt: skip
        self.tables, self.mapping, self.selection, self.memory = tables, mapping, selection, memory
        self.snapshot, self.descriptors, self.layout, self.dups = snapshot, descriptors, layout, dups
        self.rounded, self.rides = rounded, rides
        self.calls = Builder(tables, mapping, selection, descriptors, explicit, memory)
        self.dups_done = self.marks_done = 0

    def build(self, trace: Trace, named: tuple[Ints, Ids], folder: str | None) -> tuple[Rows, Recorded, Sizes]:
        """Rows without gaps and waits, what the recording said of them, and the largest sizes.

        Parameters
        ----------
        trace, named, folder: as of Recorded.
        """
        layout, n = self.layout, len(self.layout.event)
        expectations = Expectations(self.tables, self.mapping, self.selection, self.snapshot)
        places = Places(self.tables, self.mapping, self.selection)
        packer, sizes = Packer(), Sizes()
        form, begin = np.empty(n, np.int32), np.empty(n, np.int32)
        special, expect = np.empty(n, np.uint8), np.empty(n, np.int64)
        made, closed, node = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
        substituted = Pieces()
        for rows in chunks(n):
            if packer.total >= _SHORT_MAX and begin.dtype == np.int32:
                begin = begin.astype(np.int64)
            piece = self._piece(layout.event[rows], layout.part[rows])
            expectations.set(piece)
            sizes.add(piece, self.tables, places.open_kept)
            if self.rounded:
                known = piece.event >= 0
                piece.check[known & self.rounded.loose[piece.event]] = STATUS
                substituted.add(np.flatnonzero(known & self.rounded.changed[piece.event]) + rows.start)
            asked = np.where(piece.is_main, self.tables.events.asked[piece.event], piece.op)
            common = (asked.astype(np.int64) + 1) << 16
            common |= (piece.special.astype(np.int64) << 8) | (piece.extra.astype(np.int64) << 4) | piece.check
            form[rows], begin[rows] = packer.add(common, piece.number, piece.arguments, piece.kinds, piece.delta)
            special[rows], expect[rows] = piece.special, piece.expect
            made[rows], closed[rows], node[rows] = piece.made, piece.closed, places.nodes(piece)
            substituted.add(places.substituted(piece) + rows.start)
        rows_ = Rows(
            event=layout.event, form=form, forms=_forms(packer), value_begin=begin, values=packer.values(),
            special=special, made=made, closed=closed, expect=expect,
            thread_begin=layout.thread_begin, thread_number=layout.threads, **_no_waits(),
        )  # fmt: skip
        tree = self.mapping.tree
        paths = [tree.path(one) for one in range(len(tree))]
        more = columns_of_labels(self.tables, layout.event) | (self._rounded_columns() if self.rounded else {})
        apart = substituted.whole()
        return rows_, Recorded(trace, layout.event, node, apart, paths, more, named, folder), sizes

    def _rounded_columns(self) -> dict[str, Any]:
        """What rows are to find in the place of what was recorded."""
        event = self.layout.event
        known: dict[str, Any] = {name: plain_column(self.tables, event, name) for name in ("size", "offset", "result")}
        return known | (columns_for_rides(self.tables, event) if self.rides else {})

    def _piece(self, event: Ids, part: npt.NDArray[np.uint8]) -> Piece:
        """Some rows: recorded calls, extra duplications, extra closes, begins, ends."""
        events, n = self.tables.events, len(event)
        is_main = part == CALL
        main = np.flatnonzero(is_main)
        rows = event[main]
        op = np.full(n, -1, np.int16)
        op[main] = main_op = events.op[rows]
        calls = self.calls.build(rows)
        success = np.zeros(n, np.bool_)
        success[main] = good = events.result[rows] >= 0
        what = _SPECIAL[main_op]
        what[(what == UNMAP) & ~good] = PLAIN
        locks = np.flatnonzero(_MAY_WAIT[main_op] & good)
        if len(locks):
            flags = np.maximum(events.flags[rows[locks]], 0)
            waits = (main_op[locks] == NUMBER_OF["flock"]) & (flags & LOCK_NB == 0) & (flags & 3 != 0)
            waits |= (main_op[locks] == NUMBER_OF["fcntl.lock"]) & np.isin(flags, WAITING_LOCKS)
            what[locks[waits]] = LOCK

        def padded(column: npt.NDArray[Any], value: int = 0) -> npt.NDArray[Any]:
            if len(main) == n:
                return column
            whole = np.full((n, *column.shape[1:]), value, column.dtype)
            whole[main] = column
            return whole

        maps = np.flatnonzero((MMAP | FAULT)[main_op])
        made, closed = self.descriptors.made[rows], self.descriptors.closed[rows]
        if len(maps):
            faults = maps[FAULT[main_op[maps]]]
            calls.arguments[faults, 0] = self.memory.slot_at(rows[faults])
            calls.kinds[faults, 0] = MAPPED
            calls.delta[faults] = self.memory.delta_at(rows[faults])
            maps = maps[MMAP[main_op[maps]]]
            made[maps] = self.memory.slot_at(rows[maps])
        piece = Piece(
            event=event, op=op, is_main=is_main, success=success, special=padded(what),
            extra=(part == EXTRA_DUP) | (part == EXTRA_CLOSE), number=padded(calls.number),
            arguments=padded(calls.arguments), kinds=padded(calls.kinds), delta=padded(calls.delta),
            made=padded(made, -1), closed=padded(closed, -1), expect=np.zeros(0, np.int64),
            check=np.zeros(0, np.uint8),
        )  # fmt: skip
        if len(main) < n:
            self._others(piece, part)
        return piece

    def _others(self, piece: Piece, part: npt.NDArray[np.uint8]) -> None:
        """Rows that are no recorded calls."""
        at = np.flatnonzero(part == EXTRA_DUP)
        dups = self.dups[self.layout.dup[self.dups_done : self.dups_done + len(at)]]
        self.dups_done += len(at)
        piece.op[at], piece.special[at] = NUMBER_OF["fcntl.dupfd"], OPEN
        piece.number[at] = self.calls.numbers[NUMBER_OF["fcntl.dupfd"]]
        piece.arguments[at, 0], piece.kinds[at, 0] = dups[:, 1], DESCRIPTOR
        piece.arguments[at, 1], piece.arguments[at, 2] = 1030, 3
        piece.made[at] = dups[:, 2]
        at = np.flatnonzero(part == EXTRA_CLOSE)
        piece.op[at], piece.special[at] = NUMBER_OF["close"], CLOSE
        piece.number[at] = self.calls.numbers[NUMBER_OF["close"]]
        piece.closed[at] = self.descriptors.closed[piece.event[at]]
        piece.arguments[at, 0], piece.kinds[at, 0] = piece.closed[at], DESCRIPTOR
        marks = np.flatnonzero(part >= THREAD_BEGINS)
        begins = part[marks] == THREAD_BEGINS
        piece.special[marks] = np.where(begins, BEGIN, END)
        # begin and end of each thread alternate
        piece.made[marks] = self.layout.threads[(self.marks_done + np.arange(len(marks))) // 2]
        self.marks_done += len(marks)


def _forms(packer: Packer) -> Forms:
    fields = packer.forms.known(0)
    common = fields[:, 0]
    return Forms(
        op=((common >> 16) - 1).astype(np.int16), special=(common >> 8 & 0xFF).astype(np.uint8),
        extra=(common >> 4 & 1).astype(np.bool_), number=fields[:, 1].copy(), check=(common & 0xF).astype(np.uint8),
        kinds=fields[:, 2].copy(), constants=fields[:, 3:].copy(),
    )  # fmt: skip


def _no_waits() -> dict[str, Any]:
    nothing = np.zeros(0, np.int64)
    names = ("busy_ns", "idle_ns", "due_ns", "wait_begin", "wait_row")
    return dict.fromkeys(names, nothing) | {"awaited": np.zeros(0, np.bool_)}


def _special() -> npt.NDArray[np.uint8]:
    special = np.full(len(OPENS), PLAIN, np.uint8)
    for table, what in (
        (OPENS | DUPS, OPEN), (one_of(("dup2", "dup3")), DUP_ONTO), (CLOSES, CLOSE), (MMAP, MAP),
        (one_of(("munmap",)), UNMAP), (FAULT, TOUCH), (ORDERS, ORDER),
    ):  # fmt: skip
        special[table] = what
    return special


_SHORT_MAX: Final = (1 << 31) - VALUES_MAX * CHUNK_ROWS
"""More values than these may not be numbered by an int32 in the next chunk."""
_SPECIAL: Final = _special()
"""What the kernel does with a recorded call, by its operation."""
_MAY_WAIT: Final = one_of(("flock", "fcntl.lock"))

"""What each row of a plan should return, how large the buffers must be, and what the recording said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.arguments import VECTOR
from iotrace.replay.call_names import link_text
from iotrace.replay.columns import NONE, Flags, Ids, Ints, Tables
from iotrace.replay.mapping import Mapping
from iotrace.replay.operation_sets import (
    COPIES,
    FAULT,
    GETDENTS,
    HAS_FD,
    MMAP,
    OPENS,
    SYMLINKS,
    of_kind,
    one_of,
    that,
)
from iotrace.replay.rows import EXACT, LINK, STATUS
from iotrace.replay.scans import rows_of
from iotrace.replay.select import Reason, Selection
from iotrace.replay.snapshot import Snapshot, link_target
from iotrace.trace.operations import NUMBER_OF, OPERATIONS, Change, Kind

_LOOSE: Final = GETDENTS | one_of(("listxattr", "llistxattr", "flistxattr", "mmap.fault"))
_EXACT: Final = (
    np.array([operation.result in ("bytes", "position") for operation in OPERATIONS] + [False]) & ~_LOOSE
)  # fmt: skip
_READLINKS: Final = one_of(("readlink", "readlinkat"))
_SETXATTRS: Final = one_of(("setxattr", "lsetxattr", "fsetxattr"))
_IS_WRITE: Final = of_kind(Kind.WRITE)
_WRITES: Final = _IS_WRITE | COPIES
_TAKES_BUFFER: Final = (
    np.array([bool({"buffer", "text"} & set(operation.arguments)) for operation in OPERATIONS] + [False]) | COPIES
)  # fmt: skip
_FALLOCATE: Final = one_of(("fallocate",))
_CREATES: Final = that(Change.MAKES)


@dataclass(slots=True)
class Piece:
    """Some rows of a plan while it is built; arrays of shape (n,) but for arguments and kinds, (n, 6).

    `is_main`: the row is a recorded call, `success` of one that succeeded. The others are as in rows.Rows and Forms.
    """

    event: Ids
    op: npt.NDArray[np.int16]
    is_main: Flags
    success: Flags
    special: npt.NDArray[np.uint8]
    extra: Flags
    number: Ints
    arguments: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.uint8]
    delta: Ints
    made: Ids
    closed: Ids
    expect: Ints
    check: npt.NDArray[np.uint8]


class Expectations:
    """What rows should return, and how that is compared."""

    def __init__(self, tables: Tables, mapping: Mapping, selection: Selection, snapshot: Snapshot) -> None:
        self._tables, self._mapping, self._selection, self._snapshot = tables, mapping, selection, snapshot
        self._texts: dict[bytes, tuple[bytes, bool]] | None = None

    def set(self, piece: Piece) -> None:
        """Fill `expect` and `check`."""
        events = self._tables.events
        op, event = piece.op, piece.event
        exact = piece.is_main & _EXACT[op]
        seeks = np.flatnonzero(exact & (op == NUMBER_OF["lseek"]))
        if len(seeks):
            exact[seeks] = ~np.isin(events.flags[event[seeks]], (3, 4))
        result = np.where(piece.is_main, events.result[event], 0)
        result[result == NONE] = 0
        piece.check = np.where(exact, EXACT, STATUS).astype(np.uint8)
        piece.expect = np.where(exact | ~piece.success, result, 0)
        reads = np.flatnonzero(_READLINKS[op] & piece.success & piece.is_main)
        if len(reads):
            self._link_lengths(piece, reads)

    def _link_lengths(self, piece: Piece, reads: Ints) -> None:
        """A link's text is another in the tree: readlink returns that one's length."""
        events, tree, mapping = self._tables.events, self._mapping.tree, self._mapping
        texts = self._link_texts()
        for row in reads.tolist():
            event = int(piece.event[row])
            node = int(self._selection.node[event])
            path = tree.path(mapping.physical(node)) if node >= 0 else b""
            text = texts.get(path) or texts.get(tree.path(node) if node >= 0 else b"")
            if text is None:
                piece.check[row], piece.expect[row] = STATUS, 0
            else:
                piece.expect[row] = len(text[0])
                piece.check[row] = LINK if text[1] else EXACT
                size = int(events.size[event])
                if not text[1] and size != NONE:
                    piece.expect[row] = min(len(text[0]), max(size, 0))

    def _link_texts(self) -> dict[bytes, tuple[bytes, bool]]:
        if self._texts is None:
            events, tree, selection = self._tables.events, self._mapping.tree, self._selection
            texts = {path: link_text(path, target) for path, target in self._snapshot.links}
            made = rows_of(SYMLINKS, events.op)
            made = made[(selection.reason[made] == Reason.KEPT) & (events.result[made] >= 0)]
            for event in made.tolist():
                node, target = int(selection.node[event]), int(events.other_path[event])
                raw = self._tables.path_raw[target] if target >= 0 else b""
                texts[tree.path(node)] = link_text(tree.path(node), link_target(self._mapping, node, raw))
            self._texts = texts
        return self._texts


@dataclass(slots=True)
class Sizes:
    """Largest buffers of reads and writes, and what the calls may add to the tree; fields of Plan."""

    read_bytes: int = 0
    write_bytes: int = 0
    growth_bytes: int = 0
    growth_entries: int = 0

    def add(self, piece: Piece, tables: Tables, open_kept: Flags) -> None:
        """Take in some rows; open_kept: which openings are replayed, and one False behind them."""
        events, op = tables.events, piece.op
        size = np.zeros(len(op), np.int64)
        vectors = piece.kinds[:, 1] == VECTOR
        if vectors.any():
            size[vectors] = piece.arguments[vectors, 1] >> 4
        copies, writes = COPIES[op], _WRITES[op]
        takes_buffer, copying = _TAKES_BUFFER[op], np.flatnonzero(copies)
        # a copy whose source is not replayed writes what it brought, one without a target adds nothing; the others
        # are the kernel's
        takes_buffer[copying] = ~open_kept[events.open[piece.event[copying]]]
        writes[copying] = open_kept[events.other_open[piece.event[copying]]]
        takes = np.flatnonzero(takes_buffer)
        asked = np.where(piece.event[takes] >= 0, events.size[piece.event[takes]], 0)
        asked = np.where(copies[takes], piece.expect[takes], asked)
        size[takes] = np.maximum(size[takes], np.maximum(asked, 0))
        adds = np.flatnonzero(writes & ~piece.extra)
        added = np.maximum(piece.expect[adds], 0)
        writes |= _SETXATTRS[op]
        self.read_bytes = max(self.read_bytes, int(size[~writes].max(initial=0)))
        self.write_bytes = max(self.write_bytes, int(size[writes].max(initial=0)))
        # a hostile trace may hold sizes whose sum does not fit
        self.growth_bytes += int(added.sum()) if added.max(initial=0) < 1 << 40 else sum(added.tolist())
        reserves = piece.event[_FALLOCATE[op]]
        if len(reserves):
            punches = np.maximum(events.flags[reserves], 0) & ~0x1 != 0
            self.growth_bytes += sum(max(0, value) for value in events.size[reserves[~punches]].tolist())
        opens = piece.event[(OPENS & ~_CREATES)[op]]
        creates = int((np.maximum(events.flags[opens], 0) & 0o100 != 0).sum())
        self.growth_entries += int(_CREATES[op].sum()) + creates


class Places:
    """On which node each row acted."""

    def __init__(self, tables: Tables, mapping: Mapping, selection: Selection) -> None:
        self._tables, self._selection = tables, selection
        self._open_node = np.append(selection.open_node, np.int32(-1))
        self._path_node = np.append(mapping.node, np.int32(-1))
        self._canonical = np.append(mapping.canonical, np.int32(-1))
        self.open_kept = np.append(selection.open_kept, False)

    def nodes(self, piece: Piece) -> Ids:
        """Node of each row, int32, -1 for none."""
        events, event, op = self._tables.events, piece.event, piece.op
        there = event >= 0
        node = np.where(there, self._selection.node[event], np.int32(-1))
        by_open = (node < 0) & there & ((HAS_FD | MMAP)[op] | self._selection.unnamed[event])
        node = np.where(by_open, self._open_node[events.open[event]], node)
        faults = np.flatnonzero(FAULT[op])
        if len(faults):
            by_path = self._path_node[events.path[event[faults]]]
            by_file = self._canonical[events.file[event[faults]]]
            node[faults] = np.where(by_path >= 0, by_path, by_file)
        return node

    def substituted(self, piece: Piece) -> Ints:
        """Rows of copies that lack an end, counted from the piece's first."""
        events = self._tables.events
        copies = np.flatnonzero(COPIES[piece.op])
        event = piece.event[copies]
        whole = self.open_kept[events.open[event]] & self.open_kept[events.other_open[event]]
        lacking: Ints = copies[~whole]
        return lacking

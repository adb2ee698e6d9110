"""Which recorded operations a replay issues, and why the others are left out.

Takes a trace's tables and the mapping of its paths; gives for each event a reason (0: it is replayed), and the node
that each name is. Left out is what lies outside the map, what could harm (owners, devices, attributes that are not
the user's), and what a replay cannot bring about again, such as a call that failed because the recorded machine was
full.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import NONE, Events, Flags, Ids, Ints, Tables, chunks
from iotrace.replay.mapping import Mapping
from iotrace.replay.operation_sets import (
    CLONES,
    CLOSES,
    COPIES,
    DUP_ONTO,
    FAULT,
    HAS_DIRFD,
    HAS_FD,
    HAS_PATH,
    LINKS,
    MEMORY,
    MMAP,
    NEVER,
    OPENS,
    ORDERS,
    RENAMES,
    TAKES_NAME,
    of_kind,
    one_of,
    with_role,
)
from iotrace.replay.pieces import Pieces
from iotrace.replay.scans import first_by_descriptor, first_rows, rows_of
from iotrace.trace.operations import FCNTL_LOCK_COMMANDS, Kind


class Reason(IntEnum):
    """Why an operation is not replayed."""

    KEPT = 0
    OUTSIDE = 1
    NO_PATH = 2
    ACROSS = 3
    PERMISSION = 4
    MACHINE = 5
    DEVICE = 6
    XATTR = 7
    FCNTL = 8
    MEMORY = 9
    UNFINISHED = 10
    UNKNOWN = 11
    WHOLE_MACHINE = 12
    ARCHITECTURE = 13
    OTHER_LOCK = 14
    STRANGER = 15


REASON_TEXT: Final = {
    Reason.OUTSIDE: "outside the mapped folders",
    Reason.NO_PATH: "on descriptors without a known file (pipes, sockets, terminals)",
    Reason.ACROSS: "with one name inside and one outside the mapped folders",
    Reason.PERMISSION: "refused for lack of permission",
    Reason.MACHINE: "failed for a reason of the recorded machine (space, limits, interruption, missing feature)",
    Reason.DEVICE: "on devices, FIFOs and sockets",
    Reason.XATTR: "extended attributes outside user.",
    Reason.FCNTL: "fcntl commands and advice without a replay",
    Reason.MEMORY: "memory not mapped from a mapped file, or moved or inherited",
    Reason.UNFINISHED: "not finished when the recording ended",
    Reason.UNKNOWN: "operations that this version does not know",
    Reason.WHOLE_MACHINE: "calls that concern the whole machine or process (sync, close_range)",
    Reason.ARCHITECTURE: "calls that this machine's architecture lacks",
    Reason.OTHER_LOCK: "locks refused because another process held them",
    Reason.STRANGER: "answers that depended on something outside the recording",
}

PROGRAM_ERRORS: Final = (
    errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ELOOP, errno.EINVAL,
    errno.ENODATA, errno.ERANGE, errno.ENXIO, errno.EBADF, errno.ESPIPE, errno.EAGAIN,
)  # fmt: skip
"""Failures that the program's own calls brought about, so that a replay brings them about again."""
FCNTL_COMMANDS: Final = (1, 2, 3, 4)
"""F_GETFD, F_SETFD, F_GETFL, F_SETFL."""
ADVICE: Final = (0, 1, 2, 3, 4, 8, 14, 15, 16, 17, 20, 21, 22, 23, 25)
"""madvise advice that is harmless on the replay's own mappings; poisoning and off-lining pages are not."""

AT_EMPTY_PATH: Final = 0x1000


_CLOSE_RANGE: Final = one_of(("close_range",))
_FLOCK: Final = one_of(("flock",))
_DIRFD2: Final = with_role("dirfd2")
_MAY_BE_NULL: Final = one_of(("utimensat", "futimesat"))
_COMMANDS: Final = (
    (one_of(("fcntl",)), FCNTL_COMMANDS), (one_of(("fcntl.lock",)), FCNTL_LOCK_COMMANDS),
    (one_of(("madvise",)), ADVICE),
)  # fmt: skip
"""Operations whose commands are not all replayed, and the commands that are."""


@dataclass(slots=True)
class Selection:
    """What is replayed.

    Attributes
    ----------
    reason: a Reason for each event, shape (n,), int8; KEPT also for what only orders threads.
    node, node2: node of the first and second name that a call uses, shape (n,), int32, -1 for none.
    unnamed: the call has a place for a name and names nothing (AT_EMPTY_PATH, or NULL): it acts on its descriptor.
    open_kept: the description is of a mapped file and its opening is replayed; shape (opens,).
    open_inherited: it was open before the recording and the replay opens it before its start; shape (opens,).
    open_node: node that the description was opened by, shape (opens,), int32.
    open_first: first event that names the description, shape (opens,), int64.
    open_event: event that opened it, shape (opens,), int64, -1 for inherited ones.
    """

    reason: npt.NDArray[np.int8]
    node: Ids
    node2: Ids
    unnamed: Flags
    open_kept: Flags
    open_inherited: Flags
    open_node: Ids
    open_first: npt.NDArray[np.int64]
    open_event: npt.NDArray[np.int64]

    @property
    def kept(self) -> Flags:
        """Events that the replay issues or orders by."""
        kept: Flags = self.reason == Reason.KEPT
        return kept


def select(tables: Tables, mapping: Mapping) -> Selection:
    """Decide for each event whether it is replayed."""
    events, n = tables.events, len(tables.events)
    opening = opening_rows(tables)
    two_names = rows_of(RENAMES | LINKS, events.op)
    node, unnamed = np.empty(n, np.int32), np.empty(n, np.bool_)
    node2 = np.full(n, -1, np.int32) if len(two_names) else np.broadcast_to(np.int32(-1), n)
    if len(two_names):
        node2[two_names] = _at(mapping.node, events.other_path[two_names])
    is_unnamed = _Unnamed(tables, opening)
    for rows in chunks(n):
        part = events.at(rows)
        unnamed[rows] = is_unnamed(part)
        uses_path = HAS_PATH[part.op] & ~unnamed[rows]
        at = np.where(uses_path, _at(mapping.node, part.path), np.int32(-1))
        # a name outside that leads to a mapped file through a link stands for that file
        resolved = uses_path & (at < 0) & (part.result >= 0) & (part.file >= 0)
        node[rows] = np.where(resolved, _at(mapping.canonical, part.file), at)
    _drop_led_outside(tables, mapping, node)
    _follow_descriptors(tables, mapping, opening, unnamed, node, node2)
    reason = np.zeros(n, np.int8)
    first_look = _FirstLook(tables)
    for rows in chunks(n):
        first_look(events.at(rows), reason[rows], node[rows], node2[rows], unnamed[rows])
    selection = Selection(reason, node, node2, unnamed, *_opens(tables, mapping, opening, reason, node, unnamed))
    open_kept = np.append(selection.open_kept, False)
    for rows in chunks(n):
        _second_look(events.at(rows), mapping, open_kept, reason[rows], node[rows], unnamed[rows])
    return selection


class _FirstLook:
    """Why an event is left out, as far as it and its names alone say; fills `reason`."""

    def __init__(self, tables: Tables) -> None:
        self.is_other = np.array([kind == "other" for kind in tables.file_type] + [False])
        self.user = np.array([raw.startswith(b"user.") for raw in tables.path_raw] + [False])

    def __call__(
        self, part: Events, reason: npt.NDArray[np.int8], node: Ids, node2: Ids, unnamed: Flags
    ) -> None:  # fmt: skip
        op, result = part.op, part.result

        def mark(where: Flags, why: Reason) -> None:
            reason[where & (reason == 0)] = why

        def among(table: Flags) -> bool:
            return bool((table[:-1] & there[:-1]).any())

        there = np.zeros(len(HAS_PATH), np.bool_)
        there[op] = True
        orders = ORDERS[op]
        mark(op < 0, Reason.UNKNOWN)
        if among(NEVER | _CLOSE_RANGE):
            mark(NEVER[op] & (part.address != NONE), Reason.MEMORY)
            mark(NEVER[op], Reason.WHOLE_MACHINE)
            mark(_CLOSE_RANGE[op], Reason.WHOLE_MACHINE)
        mark((result == NONE) & ~orders & ~FAULT[op], Reason.UNFINISHED)
        uses_path = HAS_PATH[op] & ~unnamed
        if among(RENAMES | LINKS):
            mark((RENAMES | LINKS)[op] & ((node >= 0) != (node2 >= 0)), Reason.ACROSS)
        mark(uses_path & (node < 0), Reason.OUTSIDE)
        if self.is_other.any():
            mark((uses_path | HAS_FD[op]) & self.is_other[part.file], Reason.DEVICE)
        failed = (result < 0) & ~orders
        if failed.any():
            self._failed(mark, np.flatnonzero(failed), op, result)
        if among(TAKES_NAME):
            mark(TAKES_NAME[op] & ~self.user[part.other_path], Reason.XATTR)
        for table, known in _COMMANDS:
            if among(table):
                mark(table[op] & ~np.isin(part.flags, known), Reason.FCNTL)

    def _failed(self, mark: Callable[[Flags, Reason], None], at: Ints, op: Any, result: Ints) -> None:
        code, number = -result[at], op[at]

        def mark_at(where: Flags, why: Reason) -> None:
            chosen = np.zeros(len(op), np.bool_)
            chosen[at[where]] = True
            mark(chosen, why)

        flocks = _FLOCK[number]
        mark_at(np.isin(code, (errno.EACCES, errno.EPERM, errno.EROFS)), Reason.PERMISSION)
        mark_at(of_kind(Kind.LOCK)[number] & ~flocks, Reason.OTHER_LOCK)
        allowed = np.isin(code, PROGRAM_ERRORS) & ~((code == errno.EAGAIN) & ~flocks)
        mark_at(~allowed | CLOSES[number] | DUP_ONTO[number], Reason.MACHINE)


def _second_look(
    part: Events, mapping: Mapping, open_kept: Flags, reason: npt.NDArray[np.int8], node: Ids, unnamed: Flags
) -> None:  # fmt: skip
    """What the openings say of the events by descriptor; fills `reason`."""
    op = part.op

    def mark(where: Flags, why: Reason) -> None:
        reason[where & (reason == 0)] = why

    source = open_kept[part.open]
    no_file = (part.open < 0) & (node < 0)
    copies, memory = COPIES[op], MEMORY[op]
    on_fd = ((HAS_FD[op] | unnamed) & ~copies & ~memory) | MMAP[op]
    mark(on_fd & no_file, Reason.NO_PATH)
    mark(on_fd & ~source, Reason.OUTSIDE)
    if memory.any():
        far = (_at(mapping.canonical, part.file) < 0) & (_at(mapping.node, part.path) < 0)
        mark(memory & far & ((part.file >= 0) | (part.path >= 0)), Reason.OUTSIDE)
    if copies.any():
        neither = copies & ~source & ~open_kept[part.other_open]
        mark(neither & (part.open < 0) & (part.other_open < 0), Reason.NO_PATH)
        mark(neither, Reason.OUTSIDE)
        # nothing else gives a file another's blocks
        mark(CLONES[op] & (source != open_kept[part.other_open]), Reason.ACROSS)


def opening_rows(tables: Tables) -> Ints:
    """Events that opened a description."""
    events = tables.events
    rows = rows_of(OPENS, events.op)
    opened: Ints = rows[(events.result[rows] >= 0) & (events.open[rows] >= 0)]
    return opened


def _drop_led_outside(tables: Tables, mapping: Mapping, node: Ids) -> None:
    """Names inside the map that lead through a known link to a file outside stay outside; changes `node` in place."""
    if -1 not in mapping.links.values():
        return
    suspects = np.zeros(len(mapping.tree) + 1, np.bool_)

    def far(rows: slice) -> Flags:
        part = tables.events.at(rows)
        there: Flags = (node[rows] >= 0) & (part.result >= 0) & (part.file >= 0)
        return there & (_at(mapping.canonical, part.file) < 0)

    for rows in chunks(len(tables.events)):
        suspects[node[rows][far(rows)]] = True
    away = np.zeros(len(suspects), np.bool_)
    for one in np.flatnonzero(suspects).tolist():
        away[one] = mapping.physical(one, follow=True) < 0
    if away.any():
        for rows in chunks(len(tables.events)):
            node[rows][far(rows) & away[node[rows]]] = -1


def _follow_descriptors(
    tables: Tables, mapping: Mapping, opening: Ints, unnamed: Flags, node: Ids, node2: Ids
) -> None:  # fmt: skip
    """Names relative to a folder's descriptor lie beneath the name that it was opened by.

    The text may say otherwise: a recorder knows a folder by the first of its names, which a rename makes stale.
    Changes `node` and `node2` in place, in the order of the recording, since folders are themselves opened relative
    to folders.
    """
    events = tables.events
    downwards = [_downwards(raw) for raw in tables.path_raw]
    plain = np.array([parts is not None for parts in downwards] + [False])
    first, second = Pieces(), Pieces()
    is_folder = np.zeros(tables.opens + 1, np.bool_)
    for rows in chunks(len(events)):
        part = events.at(rows)
        folder = np.where(OPENS[part.op], part.other_open, part.open)
        chosen = HAS_DIRFD[part.op] & (folder >= 0) & plain[part.path] & (node[rows] >= 0) & ~unnamed[rows]
        if chosen.any():
            is_folder[folder[chosen]] = True
            first.add(np.flatnonzero(chosen) + rows.start)
        chosen = (node2[rows] >= 0) & _DIRFD2[part.op] & (part.other_open >= 0) & plain[part.other_path]
        if chosen.any():
            is_folder[part.other_open[chosen]] = True
            second.add(np.flatnonzero(chosen) + rows.start)
    if not len(first) and not len(second):
        return
    opened = np.full(tables.opens + 1, -1, np.int64)
    opened[events.open[opening]] = node[opening]
    named, twice = first.whole(), second.whole()
    beneath = opening[np.isin(opening, named, assume_unique=True) & is_folder[events.open[opening]]]
    for row in beneath.tolist():
        above = int(opened[events.other_open[row]])
        if above >= 0:
            opened[events.open[row]] = mapping.tree.descend(above, downwards[events.path[row]] or [])
    found: dict[int, int] = {}
    for at, by_first, paths, target in (
        (named, True, events.path, node),
        (twice, False, events.other_path, node2),
    ):
        for rows in chunks(len(at)):
            rows_at = at[rows]
            folders = events.other_open[rows_at]
            if by_first:
                folders = np.where(OPENS[events.op[rows_at]], folders, events.open[rows_at])
            rows_at = rows_at[opened[folders] >= 0]
            keys = (opened[folders[opened[folders] >= 0]] << 32) + paths[rows_at]
            distinct, inverse = np.unique(keys, return_inverse=True)
            nodes = np.empty(len(distinct), np.int32)
            for i, key in enumerate(distinct.tolist()):
                if key not in found:
                    found[key] = mapping.tree.descend(key >> 32, downwards[key & 0xFFFFFFFF] or [])
                nodes[i] = found[key]
            target[rows_at] = nodes[inverse]


def _downwards(raw: bytes) -> list[bytes] | None:
    """Components of a relative name that only leads down; None for others."""
    if not raw or raw.startswith(b"/"):
        return None
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    return None if b".." in parts else parts


class _Unnamed:
    """Calls that take a name and name nothing; a recorder then gives the name that the descriptor was opened by."""

    def __init__(self, tables: Tables, opening: Ints) -> None:
        self.empty = np.array([raw == b"" for raw in tables.path_raw] + [True])
        self.opened_by = np.full(tables.opens + 1, -2, np.int64)
        self.opened_by[tables.events.open[opening]] = tables.events.path[opening]

    def __call__(self, part: Events) -> Flags:
        with_folder = (HAS_DIRFD & ~OPENS)[part.op]
        if not with_folder.any():
            return with_folder
        empty = self.empty[part.path]
        own_name = (part.path == self.opened_by[part.open]) & (part.open >= 0)
        unnamed: Flags = empty
        if own_name.any():
            empty_allowed = (np.maximum(part.flags, 0) & AT_EMPTY_PATH) != 0
            unnamed = empty | (own_name & (empty_allowed | _MAY_BE_NULL[part.op]))
        found: Flags = with_folder & unnamed & ((part.open >= 0) | empty)
        return found


def _at(values: Ids, index: Ids) -> Ids:
    """values[index], -1 where the index is -1."""
    return np.append(values, np.int32(-1))[index]


def _opens(
    tables: Tables, mapping: Mapping, opening: Ints, reason: npt.NDArray[np.int8], node: Ids, unnamed: Flags
) -> tuple[Flags, Flags, Ids, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """open_kept, open_inherited, open_node, open_first, open_event of Selection."""
    events = tables.events
    far = np.int64(len(events))
    first = first_rows(np.ascontiguousarray(events.open), tables.opens)
    if events.other_open.strides[0]:
        first = np.minimum(first, first_rows(events.other_open, tables.opens))
    opened = np.full(tables.opens + 1, far, np.int64)
    opened[events.open[opening[::-1]]] = opening[::-1]
    first, opened = first[:-1], opened[:-1]
    has_event = opened < far
    kept = np.zeros(tables.opens, np.bool_)
    open_node = np.full(tables.opens, -1, np.int32)
    kept[has_event] = reason[opened[has_event]] == Reason.KEPT
    open_node[has_event] = node[opened[has_event]]
    # without an opening in the trace: the program inherited it; which file it is, a use by descriptor tells
    inherited = np.zeros(tables.opens, np.bool_)
    if not has_event.all():
        use = first_by_descriptor(HAS_FD, unnamed, events.op, np.ascontiguousarray(events.open), tables.opens)[:-1]
        inherited = ~has_event & (use < far)
        at = use[inherited]
        found = _at(mapping.canonical, events.file[at])
        found = np.where(found >= 0, found, _at(mapping.node, events.path[at]))
        is_other = np.array([kind == "other" for kind in tables.file_type] + [False])
        found = np.where(is_other[events.file[at]], -1, found).astype(np.int32)
        open_node[inherited] = found
        kept[inherited] = found >= 0
        inherited &= kept
    return kept, inherited, open_node, first, np.where(has_event, opened, -1)

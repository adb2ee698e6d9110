"""Which recorded operations a replay issues, and why the others are left out.

Takes a trace's tables and the mapping of its paths; gives for each event a reason (0: it is replayed), and the node
that each name is. Left out is what lies outside the map, what could harm (owners, devices, attributes that are not
the user's), and what a replay cannot bring about again, such as a call that failed because the recorded machine was
full.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import NONE, Flags, Ids, Tables
from iotrace.replay.mapping import Mapping
from iotrace.trace.operations import FCNTL_LOCK_COMMANDS, OPERATIONS, Kind, Replay


class Reason(IntEnum):
    """Why an operation is not replayed."""

    KEPT = 0
    OUTSIDE = 1
    NO_PATH = 2
    ACROSS = 3
    PERMISSION = 4
    MACHINE = 5
    DEVICE = 6
    OWNER = 7
    XATTR = 8
    FCNTL = 9
    MEMORY = 10
    UNFINISHED = 11
    UNKNOWN = 12
    WHOLE_MACHINE = 13
    ARCHITECTURE = 14
    OTHER_LOCK = 15
    STRANGER = 16


REASON_TEXT: Final = {
    Reason.OUTSIDE: "outside the mapped folders",
    Reason.NO_PATH: "on descriptors without a known file (pipes, sockets, terminals)",
    Reason.ACROSS: "with one name inside and one outside the mapped folders",
    Reason.PERMISSION: "refused for lack of permission",
    Reason.MACHINE: "failed for a reason of the recorded machine (space, limits, interruption, missing feature)",
    Reason.DEVICE: "on devices, FIFOs and sockets",
    Reason.OWNER: "changes of owner",
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


def _table(names: tuple[str, ...]) -> Flags:
    return np.array([operation.name in names for operation in OPERATIONS] + [False])


def _with_role(*roles: str) -> Flags:
    return np.array([any(r in operation.arguments for r in roles) for operation in OPERATIONS] + [False])


# lookup tables by operation number; the last entry is for operations not known (-1)
HAS_PATH: Final = _with_role("path")
HAS_FD: Final = _with_role("fd") & ~_with_role("path")
HAS_DIRFD: Final = _with_role("dirfd")
RENAMES: Final = _table(("rename", "renameat", "renameat2"))
LINKS: Final = _table(("link", "linkat"))
SYMLINKS: Final = _table(("symlink", "symlinkat"))
OPENS: Final = _table(("open", "openat", "openat2", "creat"))
DUPS: Final = _table(("dup", "dup2", "dup3", "fcntl.dupfd"))
DUP_ONTO: Final = _table(("dup2", "dup3"))
CLOSES: Final = _table(("close",))
CHDIRS: Final = _table(("chdir", "fchdir"))
GETDENTS: Final = _table(("getdents", "getdents64"))
MEMORY: Final = _table(("munmap", "msync", "madvise", "mmap.fault"))
MMAP: Final = _table(("mmap",))
FAULT: Final = _table(("mmap.fault",))
TAKES_NAME: Final = _with_role("name")
ORDERS: Final = np.array([operation.replay is Replay.ORDER for operation in OPERATIONS] + [False])
NEVER: Final = np.array([operation.replay is Replay.NEVER for operation in OPERATIONS] + [False])
OWNERS: Final = _table(("chown", "lchown", "fchown", "fchownat"))
UMASK: Final = _table(("umask",))
COPIES: Final = np.array([operation.kind is Kind.COPY for operation in OPERATIONS] + [False])
KIND: Final = np.array([list(Kind).index(operation.kind) for operation in OPERATIONS] + [-1], dtype=np.int8)


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
    events = tables.events
    op = events.op
    n = len(events)
    reason = np.zeros(n, np.int8)

    def mark(where: Flags, why: Reason) -> None:
        reason[where & (reason == 0)] = why

    orders = ORDERS[op]
    mark(op < 0, Reason.UNKNOWN)
    mark(OWNERS[op], Reason.OWNER)
    mark(NEVER[op] & (events.address != NONE), Reason.MEMORY)
    mark(NEVER[op], Reason.WHOLE_MACHINE)
    mark(_table(("close_range",))[op], Reason.WHOLE_MACHINE)
    mark((events.result == NONE) & ~orders & ~FAULT[op], Reason.UNFINISHED)

    unnamed = _unnamed(tables)
    uses_path = HAS_PATH[op] & ~unnamed
    node = np.where(uses_path & (events.path >= 0), _at(mapping.node, events.path), -1).astype(np.int32)
    # a name outside that leads to a mapped file through a link stands for that file
    resolved = uses_path & (node < 0) & (events.result >= 0) & (events.file >= 0)
    node = np.where(resolved, _at(mapping.canonical, events.file), node).astype(np.int32)
    _drop_led_outside(tables, mapping, node)
    two_names = RENAMES[op] | LINKS[op]
    node2 = np.where(two_names & (events.other_path >= 0), _at(mapping.node, events.other_path), -1).astype(np.int32)
    _follow_descriptors(tables, mapping, uses_path, node, node2)
    mark(two_names & ((node >= 0) != (node2 >= 0)), Reason.ACROSS)
    mark(uses_path & (node < 0), Reason.OUTSIDE)

    is_other = np.array([kind == "other" for kind in tables.file_type] + [False])
    device = is_other[np.where(events.file >= 0, events.file, -1)]
    mark((uses_path | HAS_FD[op]) & device, Reason.DEVICE)

    failed = (events.result < 0) & ~orders
    code = -events.result
    mark(failed & np.isin(code, (errno.EACCES, errno.EPERM, errno.EROFS)), Reason.PERMISSION)
    mark(failed & (KIND[op] == list(Kind).index(Kind.LOCK)) & ~_table(("flock",))[op], Reason.OTHER_LOCK)
    allowed = np.isin(code, PROGRAM_ERRORS) & ~((code == errno.EAGAIN) & ~_table(("flock",))[op])
    mark(failed & (~allowed | CLOSES[op] | DUP_ONTO[op]), Reason.MACHINE)

    if TAKES_NAME[op].any():
        user = np.array([raw.startswith(b"user.") for raw in tables.path_raw] + [False])
        mark(TAKES_NAME[op] & ~user[np.where(events.other_path >= 0, events.other_path, -1)], Reason.XATTR)
    mark(_table(("fcntl",))[op] & ~np.isin(events.flags, FCNTL_COMMANDS), Reason.FCNTL)
    mark(_table(("fcntl.lock",))[op] & ~np.isin(events.flags, FCNTL_LOCK_COMMANDS), Reason.FCNTL)
    mark(_table(("madvise",))[op] & ~np.isin(events.flags, ADVICE), Reason.FCNTL)

    selection = Selection(reason, node, node2, unnamed, *_opens(tables, mapping, reason, node, unnamed))
    open_kept = np.append(selection.open_kept, False)
    source, other = open_kept[events.open], open_kept[events.other_open]
    no_file = (events.open < 0) & (node < 0)
    on_fd = (HAS_FD[op] | unnamed) & ~COPIES[op] & ~MEMORY[op]
    mark((on_fd | MMAP[op]) & no_file, Reason.NO_PATH)
    mark((on_fd | MMAP[op]) & ~source, Reason.OUTSIDE)
    far = (_at(mapping.canonical, events.file) < 0) & (_at(mapping.node, events.path) < 0)
    mark(MEMORY[op] & far & ((events.file >= 0) | (events.path >= 0)), Reason.OUTSIDE)
    mark(COPIES[op] & ~source & ~other & (events.open < 0) & (events.other_open < 0), Reason.NO_PATH)
    mark(COPIES[op] & ~source & ~other, Reason.OUTSIDE)
    return selection


def _drop_led_outside(tables: Tables, mapping: Mapping, node: Ids) -> None:
    """Names inside the map that lead through a known link to a file outside stay outside; changes `node` in place."""
    events = tables.events
    if -1 not in mapping.links.values():
        return
    far = np.flatnonzero((node >= 0) & (events.result >= 0) & (events.file >= 0))
    far = far[_at(mapping.canonical, events.file[far]) < 0]
    away = [one for one in np.unique(node[far]).tolist() if mapping.physical(one, follow=True) < 0]
    node[far[np.isin(node[far], away)]] = -1


def _follow_descriptors(tables: Tables, mapping: Mapping, uses_path: Flags, node: Ids, node2: Ids) -> None:
    """Names relative to a folder's descriptor lie beneath the name that it was opened by.

    The text may say otherwise: a recorder knows a folder by the first of its names, which a rename makes stale.
    Changes `node` and `node2` in place, in the order of the recording, since folders are themselves opened relative
    to folders.
    """
    events = tables.events
    op = events.op
    downwards = [_downwards(raw) for raw in tables.path_raw]
    plain = np.array([parts is not None for parts in downwards] + [False])
    folder = np.where(OPENS[op], events.other_open, events.open)
    first = uses_path & HAS_DIRFD[op] & (folder >= 0) & plain[events.path] & (node >= 0)
    second = _with_role("dirfd2")[op] & (events.other_open >= 0) & plain[events.other_path] & (node2 >= 0)
    opened = np.full(tables.opens + 1, -1, np.int64)
    opening = np.flatnonzero(OPENS[op] & (events.result >= 0) & (events.open >= 0))
    opened[events.open[opening]] = node[opening]
    is_folder = np.zeros(tables.opens + 1, np.bool_)
    is_folder[folder[first]] = True
    is_folder[events.other_open[second]] = True
    for row in opening[(first & is_folder[events.open])[opening]].tolist():
        above = int(opened[folder[row]])
        if above >= 0:
            opened[events.open[row]] = mapping.tree.descend(above, downwards[events.path[row]] or [])
    for chosen, opens, paths, target in (
        (first, folder, events.path, node), (second, events.other_open, events.other_path, node2),
    ):  # fmt: skip
        rows = np.flatnonzero(chosen)
        rows = rows[opened[opens[rows]] >= 0]
        if len(rows):
            pairs, inverse = np.unique(
                np.stack([opened[opens[rows]], paths[rows]], axis=1), axis=0, return_inverse=True
            )
            found = [mapping.tree.descend(above, downwards[path] or []) for above, path in pairs.tolist()]
            target[rows] = np.array(found, np.int32)[inverse.reshape(-1)]


def _downwards(raw: bytes) -> list[bytes] | None:
    """Components of a relative name that only leads down; None for others."""
    if not raw or raw.startswith(b"/"):
        return None
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    return None if b".." in parts else parts


def _unnamed(tables: Tables) -> Flags:
    """Calls that take a name and name nothing; a recorder then gives the name that the descriptor was opened by."""
    events = tables.events
    with_folder = HAS_DIRFD[events.op] & ~OPENS[events.op]
    empty = np.array([raw == b"" for raw in tables.path_raw] + [True])
    opened_by = np.full(tables.opens + 1, -2, np.int64)
    opening = np.flatnonzero(OPENS[events.op] & (events.result >= 0) & (events.open >= 0))
    opened_by[events.open[opening]] = events.path[opening]
    own_name = (events.path == opened_by[events.open]) & (events.open >= 0)
    empty_allowed = (np.maximum(events.flags, 0) & AT_EMPTY_PATH) != 0
    null_name = own_name & _table(("utimensat", "futimesat"))[events.op]
    unnamed: Flags = with_folder & (empty[events.path] | (own_name & empty_allowed) | null_name)
    unnamed &= (events.open >= 0) | empty[events.path]
    return unnamed


def _at(values: Ids, index: Ids) -> Ids:
    """values[index], -1 where the index is -1."""
    return np.append(values, np.int32(-1))[index]


def _opens(
    tables: Tables, mapping: Mapping, reason: npt.NDArray[np.int8], node: Ids, unnamed: Flags
) -> tuple[Flags, Flags, Ids, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """open_kept, open_inherited, open_node, open_first, open_event of Selection."""
    events = tables.events
    far = np.int64(len(events))
    first = np.full(tables.opens + 1, far, np.int64)
    opened = np.full(tables.opens + 1, far, np.int64)
    rows = np.arange(len(events), dtype=np.int64)
    for column in (events.open, events.other_open):
        np.minimum.at(first, column, rows)
    opening = OPENS[events.op] & (events.result >= 0) & (events.open >= 0)
    np.minimum.at(opened, events.open[opening], rows[opening])
    first, opened = first[:-1], opened[:-1]
    has_event = opened < far
    kept = np.zeros(tables.opens, np.bool_)
    open_node = np.full(tables.opens, -1, np.int32)
    kept[has_event] = reason[opened[has_event]] == Reason.KEPT
    open_node[has_event] = node[opened[has_event]]
    # without an opening in the trace: the program inherited it; which file it is, a use by descriptor tells
    by_descriptor = (HAS_FD[events.op] | unnamed) & (events.open >= 0)
    use = np.full(tables.opens + 1, far, np.int64)
    np.minimum.at(use, events.open[by_descriptor], rows[by_descriptor])
    use = use[:-1]
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

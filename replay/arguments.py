"""Building the arguments of every call of a plan from the roles in the operations table.

A call is six int64 arguments, each with a kind that says how the kernel turns the value into the argument: as it is,
or as a descriptor, a pointer to a name, a buffer, a vector, a lock, an address in the replay's own mapping. Adding a
system call to the operations table needs nothing here unless its arguments have a new role.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import NONE, Flags, Ids, Ints, Tables
from iotrace.replay.descriptors import DEVNULL_SLOT, Descriptors
from iotrace.replay.mapping import Mapping
from iotrace.replay.naming import ROOT
from iotrace.replay.select import AT_EMPTY_PATH, CHDIRS, DUP_ONTO, HAS_DIRFD, MMAP, OPENS, SYMLINKS, Selection
from iotrace.replay.snapshot import attribute_name, link_target
from iotrace.trace.operations import BY_NAME, NUMBER_OF, OPERATIONS, Kind

# how the kernel turns a value into an argument; four bits each
CONSTANT: Final = 0
DESCRIPTOR: Final = 1
STRING: Final = 2
BUFFER: Final = 3
VECTOR: Final = 4
POSITION: Final = 5
LOCK: Final = 6
HOW: Final = 7
MAPPED: Final = 8
HIGH_NUMBER: Final = 9

# buffers of a lane: values of BUFFER
READ_BUFFER: Final = 0
WRITE_BUFFER: Final = 1
ALIGNED_READ_BUFFER: Final = 2
ALIGNED_WRITE_BUFFER: Final = 3
SCRATCH: Final = 4

AT_FDCWD: Final = -100
LOCK_NB: Final = 4
F_OFD_SETLK, F_OFD_SETLKW = 37, 38
SIZE_MAX: Final = 1 << 45
"""Larger sizes of buffers would not lie in the address space; the kernel moves at most 2 GiB a call anyway."""
_O_DIRECT: Final = 0o40000
_OPEN_FLAGS: Final = 0o37777777 & ~0o20000
"""All but O_ASYNC, which would send signals."""
_MAP_FLAGS: Final = 0x1 | 0x2 | 0x4000 | 0x8000 | 0x10000 | 0x80000
"""MAP_SHARED, PRIVATE, NORESERVE, POPULATE, NONBLOCK, SYNC. Never FIXED: the replay maps where the kernel puts it."""
_SETFL_FLAGS: Final = 0o2000 | 0o4000 | 0o40000 | 0o1000000


def call_numbers(architecture: str | None = None) -> Ints:
    """Call number of each operation on this architecture, -1 where there is none; shape (operations + 1,)."""
    machine = architecture or platform.machine()
    column = {"x86_64": "x86_64", "aarch64": "aarch64"}.get(machine, "x86_64")
    numbers = []
    for operation in OPERATIONS:
        number = getattr(operation, column)
        if number is None and operation.calls[0] in BY_NAME:
            number = getattr(BY_NAME[operation.calls[0]], column)
        numbers.append(-1 if number is None else number)
    return np.array([*numbers, -1], dtype=np.int64)


@dataclass(slots=True)
class Strings:
    """Distinct names that calls use: bytes, and whether the tree's own folder goes before them."""

    texts: list[bytes] = field(default_factory=list)
    absolute: list[bool] = field(default_factory=list)
    _numbers: dict[tuple[bytes, bool], int] = field(default_factory=dict)

    def number(self, text: bytes, absolute: bool = False) -> int:
        """Number of a string, the same for equal ones."""
        key = (text, absolute)
        known = self._numbers.get(key)
        if known is None:
            known = self._numbers[key] = len(self.texts)
            self.texts.append(text)
            self.absolute.append(absolute)
        return known


@dataclass(slots=True)
class Calls:
    """Calls of a plan, one row each.

    Attributes
    ----------
    number: system call number, shape (n,), int64.
    arguments: shape (n, 6), int64; kinds: shape (n, 6), uint8.
    delta: distance within a mapping for MAPPED arguments, shape (n,), int64.
    """

    number: Ints
    arguments: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.uint8]
    delta: Ints


def working_folders(tables: Tables, mapping: Mapping, selection: Selection) -> tuple[Ids, Ids]:
    """Node of the working folder of each process at its start, and at each event; -1 where names must be absolute."""
    events = tables.events
    start = np.array(
        [mapping.locate(_split(text)) if text.startswith("/") else -1 for text in tables.process_cwd] or [-1], np.int32
    )
    folder = np.append(start, np.int32(-1))[events.process]
    moves = CHDIRS[events.op] & (events.result >= 0)
    for process in np.unique(events.process[moves]).tolist():
        rows = np.flatnonzero(events.process == process)
        if len(np.unique(events.thread[rows])) > 1:
            folder[rows] = -1  # threads of one process share their folder, those of a replay do not
            continue
        rows = rows[np.argsort(events.time_ns[rows], kind="stable")]
        changed = np.flatnonzero(moves[rows])
        there = np.where(
            selection.node[rows[changed]] >= 0,
            selection.node[rows[changed]],
            np.append(selection.open_node, np.int32(-1))[events.open[rows[changed]]],
        )
        there = np.where(selection.kept[rows[changed]], there, -1)
        since = np.searchsorted(changed, np.arange(len(rows)), side="left") - 1
        folder[rows] = np.where(since >= 0, there[np.maximum(since, 0)], folder[rows])
    return start, folder.astype(np.int32)


def _split(text: str) -> list[bytes]:
    from iotrace.replay.columns import components_of

    return components_of(text)


class Builder:
    """Builds the calls for the events that a plan replays.

    Parameters
    ----------
    rows: the events, shape (n,).
    explicit: copies that name the positions in source and destination, shape (events,), bool each.
    map_slot, map_delta, map_length: of each event that concerns memory, shape (events,).
    """

    def __init__(
        self, tables: Tables, mapping: Mapping, selection: Selection, descriptors: Descriptors, rows: Ints,
        explicit: tuple[Flags, Flags], memory: tuple[Ints, Ints, Ints],
    ) -> None:  # fmt: skip
        self.tables, self.mapping, self.selection, self.descriptors = tables, mapping, selection, descriptors
        self.rows = rows
        self.explicit = explicit
        self.map_slot, self.map_delta, self.map_length = memory
        self.strings = Strings()
        self.start_folder, folder = working_folders(tables, mapping, selection)
        self.folder = folder
        self.direct = _direct_opens(tables)
        n = len(rows)
        self.calls = Calls(
            call_numbers()[tables.events.op[rows]],
            np.zeros((n, 6), np.int64),
            np.zeros((n, 6), np.uint8),
            np.zeros(n, np.int64),
        )
        self.adds_root = np.zeros(n, np.bool_)

    def build(self) -> Calls:
        """All calls."""
        op = self.tables.events.op[self.rows]
        for number in np.unique(op).tolist():
            operation = OPERATIONS[number]
            at = np.flatnonzero(op == number)
            event = self.rows[at]
            if operation.kind is Kind.COPY:
                self._copies(number, at, event)
                continue
            for position, role in enumerate(operation.arguments):
                if role != "-":
                    getattr(self, f"_{role}")(number, at, event, position)
            self._finish(operation.name, at, event)
        return self.calls

    def _set(self, at: Ints, position: int, value: npt.ArrayLike, kind: npt.ArrayLike = CONSTANT) -> None:
        self.calls.arguments[at, position] = value
        self.calls.kinds[at, position] = kind

    def _base(self, opens: Ids) -> Ints:
        return np.append(self.descriptors.base, -1)[opens]

    # one method for each role of the operations table

    def _fd(self, number: int, at: Ints, event: Ints, position: int) -> None:
        closing = self.descriptors.closed[event] if OPERATIONS[number].name == "close" else np.full(len(at), -1)
        slot = np.where(closing >= 0, closing, self._base(self.tables.events.open[event]))
        self._set(at, position, slot, DESCRIPTOR)

    def _fd2(self, number: int, at: Ints, event: Ints, position: int) -> None:
        closed, high = self.descriptors.closed[event], self.descriptors.number[event]
        same = (closed < 0) & (high < 0)  # dup2 onto itself
        slot = np.where(same, self._base(self.tables.events.open[event]), closed)
        self._set(at, position, np.where(high >= 0, high, slot), np.where(high >= 0, HIGH_NUMBER, DESCRIPTOR))

    def _dirfd(self, number: int, at: Ints, event: Ints, position: int) -> None:
        events = self.tables.events
        opens = events.other_open[event] if OPENS[number] else events.open[event]
        self._folder(at, position, opens)

    def _dirfd2(self, number: int, at: Ints, event: Ints, position: int) -> None:
        self._folder(at, position, self.tables.events.other_open[event])

    def _folder(self, at: Ints, position: int, opens: Ids) -> None:
        slot = np.where(np.append(self.selection.open_kept, False)[opens], self._base(opens), -1)
        self._set(at, position, np.where(slot >= 0, slot, AT_FDCWD), np.where(slot >= 0, DESCRIPTOR, CONSTANT))

    def _path(self, number: int, at: Ints, event: Ints, position: int) -> None:
        events = self.tables.events
        opens = np.full(len(at), -1, np.int32)
        if HAS_DIRFD[number]:
            opens = events.other_open[event] if OPENS[number] else events.open[event]
        named = ~self.selection.unnamed[event]
        values = np.full(len(at), self.strings.number(b""), np.int64)
        values[named] = self._names(
            event[named], self.selection.node[event[named]], events.path[event[named]], opens[named]
        )
        null = ~named & np.isin(OPERATIONS[number].name, ("utimensat", "futimesat"))
        null &= np.maximum(events.flags[event], 0) & AT_EMPTY_PATH == 0
        self._set(at, position, np.where(null, 0, values), np.where(null, CONSTANT, STRING))

    def _path2(self, number: int, at: Ints, event: Ints, position: int) -> None:
        events = self.tables.events
        if SYMLINKS[number]:
            nodes, targets = self.selection.node[event].tolist(), events.other_path[event].tolist()
            values = [self._link(node, target) for node, target in zip(nodes, targets, strict=True)]
        else:
            opens = np.full(len(at), -1, np.int32)
            if "dirfd2" in OPERATIONS[number].arguments:
                opens = events.other_open[event]
            values = self._names(event, self.selection.node2[event], events.other_path[event], opens).tolist()
        self._set(at, position, values, STRING)

    def _link(self, node: int, target: int) -> int:
        text = self.tables.path_raw[target] if target >= 0 else b""
        return self.strings.number(*link_text(self.mapping.tree.path(node), link_target(self.mapping, node, text)))

    def _names(self, event: Ints, nodes: Ids, paths: Ids, opens: Ids) -> Ints:
        """Numbers of the strings under which the calls name their nodes."""
        raw = self.tables.path_raw
        # 1 absolute; 4 a slash at the end
        forms = np.array(
            [(1 if r.startswith(b"/") else 0) + (4 if r.endswith(b"/") and r.strip(b"/") else 0) for r in raw] + [1],
            dtype=np.int64,
        )
        form = forms[paths]
        mapped_name = (np.append(self.mapping.node, np.int32(-1))[paths] == nodes) | (opens >= 0)
        base = np.where(opens >= 0, np.append(self.selection.open_node, np.int32(-1))[opens], self.folder[event])
        base = np.where((opens >= 0) & ~np.append(self.selection.open_kept, False)[opens], -1, base)
        base = np.where((form & 3 == 1) | ~mapped_name, -1, base)
        keys, inverse = np.unique(np.stack([nodes, base, form], axis=1), axis=0, return_inverse=True)
        tree = self.mapping.tree
        numbers = []
        for node, above, shape in keys.tolist():
            slash = b"/" if shape & 4 else b""
            inside = tree.beneath(node, above) if above > ROOT else None
            if inside is not None:
                numbers.append(self.strings.number(inside + slash))
            else:
                numbers.append(self.strings.number(tree.path(node) + slash, True))
        return np.array(numbers, dtype=np.int64)[inverse.reshape(-1)]

    def _name(self, number: int, at: Ints, event: Ints, position: int) -> None:
        paths = self.tables.events.other_path[event]
        names, raw = self.mapping.tree.attributes, self.tables.path_raw
        known = {path: self.strings.number(attribute_name(names, raw[path])) for path in np.unique(paths).tolist()}
        self._set(at, position, [known[path] for path in paths.tolist()], STRING)

    def _size(self, number: int, at: Ints, event: Ints, position: int) -> None:
        name = OPERATIONS[number].name
        if name in ("munmap", "msync", "madvise"):
            value = self.map_length[event]
        elif name == "openat2":
            value = np.full(len(at), 24, np.int64)
        elif name in ("truncate", "ftruncate"):
            value = _or_zero(self.tables.events.size[event])
        elif OPERATIONS[number].kind is Kind.COPY:
            value = np.maximum(_or_zero(self.tables.events.size[event]), 0)
        else:
            value = np.clip(_or_zero(self.tables.events.size[event]), 0, SIZE_MAX)
        self._set(at, position, value)

    def _offset(self, number: int, at: Ints, event: Ints, position: int) -> None:
        self._set(at, position, _or_zero(self.tables.events.offset[event]))

    def _flags(self, number: int, at: Ints, event: Ints, position: int) -> None:
        flags = _or_zero(self.tables.events.flags[event])
        if OPENS[number]:
            flags &= _OPEN_FLAGS
        elif MMAP[number]:
            flags = (flags & _MAP_FLAGS) | np.where(flags & 0x3 == 0, 0x2, 0)
        elif OPERATIONS[number].name == "fcntl.dupfd":
            flags = np.where(flags == 1030, 1030, 0)
        elif OPERATIONS[number].name == "flock":
            flags |= LOCK_NB  # the kernel of the replay tries again for a while: no trace can make it hang
        elif OPERATIONS[number].name == "fcntl.lock":
            flags = np.where(flags == F_OFD_SETLKW, F_OFD_SETLK, flags)
        self._set(at, position, flags)

    def _mode(self, number: int, at: Ints, event: Ints, position: int) -> None:
        name = OPERATIONS[number].name
        mode = _or_zero(self.tables.events.mode[event])
        if name in ("mkdir", "mkdirat"):
            mode = (mode & 0o777) | 0o700
        elif OPENS[number]:
            mode = (mode & 0o777) | 0o600
        elif "chmod" in name:
            mode = (mode & 0o777) | 0o700
        elif name == "umask":
            mode &= 0o077
        elif name == "mmap":
            mode &= 0x3
        elif "access" in name:
            mode &= 0x7
        self._set(at, position, mode)

    def _address(self, number: int, at: Ints, event: Ints, position: int) -> None:
        if not MMAP[number]:
            self._set(at, position, self.map_slot[event], MAPPED)
            self.calls.delta[at] = self.map_delta[event]

    def _iovec(self, number: int, at: Ints, event: Ints, position: int) -> None:
        size = np.clip(_or_zero(self.tables.events.size[event]), 0, SIZE_MAX)
        self._set(at, position, size * 16 + self._buffers(number, event), VECTOR)

    def _count(self, number: int, at: Ints, event: Ints, position: int) -> None:
        self._set(at, position, np.clip(_or_zero(self.tables.events.count[event]), 0, 1 << 20))

    def _buffer(self, number: int, at: Ints, event: Ints, position: int) -> None:
        self._set(at, position, self._buffers(number, event), BUFFER)

    def _buffers(self, number: int, event: Ints) -> Ints:
        writes = OPERATIONS[number].kind is Kind.WRITE or "setxattr" in OPERATIONS[number].name
        plain, aligned = (WRITE_BUFFER, ALIGNED_WRITE_BUFFER) if writes else (READ_BUFFER, ALIGNED_READ_BUFFER)
        return np.where(np.append(self.direct, False)[self.tables.events.open[event]], aligned, plain).astype(np.int64)

    def _stat(self, number: int, at: Ints, event: Ints, position: int) -> None:
        self._set(at, position, SCRATCH, BUFFER)

    _statx = _stat

    def _text(self, number: int, at: Ints, event: Ints, position: int) -> None:
        self._set(at, position, READ_BUFFER, BUFFER)

    def _how(self, number: int, at: Ints, event: Ints, position: int) -> None:
        events = self.tables.events
        flags = _or_zero(events.flags[event]) & _OPEN_FLAGS
        creates = (flags & 0o100 != 0) | (flags & 0o20200000 == 0o20200000)
        self._set(at, position, 0, HOW)
        self._set(at, 4, flags)
        self._set(at, 5, np.where(creates, (_or_zero(events.mode[event]) & 0o777) | 0o600, 0))

    def _lock(self, number: int, at: Ints, event: Ints, position: int) -> None:
        events = self.tables.events
        self._set(at, position, 0, LOCK)
        # where F_GETLK finds no lock the kernel has put F_UNLCK over the type that was asked for
        asks = np.isin(events.flags[event], (5, 36)) & (_or_zero(events.mode[event]) == 2)
        self._set(at, 3, np.where(asks, 1, np.clip(_or_zero(events.mode[event]), 0, 2)))
        self._set(at, 4, np.maximum(_or_zero(events.offset[event]), 0))
        self._set(at, 5, np.maximum(_or_zero(events.size[event]), 0))

    def _finish(self, name: str, at: Ints, event: Ints) -> None:
        """Arguments that the table leaves open."""
        if name == "fcntl.dupfd":
            self._set(at, 2, 3)
        elif name == "fcntl":
            flags = open_flags(self.tables)
            value = np.append(flags, 0)[self.tables.events.open[event]] & _SETFL_FLAGS
            command = self.tables.events.flags[event]
            self._set(at, 2, np.where(command == 4, value, np.where(command == 2, 1, 0)))

    def _copies(self, number: int, at: Ints, event: Ints) -> None:
        """Copies inside the kernel; where one end is not replayed, the other moves the same bytes alone."""
        events, kept = self.tables.events, np.append(self.selection.open_kept, False)
        has_source, has_target = kept[events.open[event]], kept[events.other_open[event]]
        both = has_source & has_target
        numbers = call_numbers()
        arguments = OPERATIONS[number].arguments
        for position, role in enumerate(arguments):
            where, rows = at[both], event[both]
            if role == "fd":
                self._set(where, position, self._base(events.open[rows]), DESCRIPTOR)
            elif role == "fd2":
                self._set(where, position, self._base(events.other_open[rows]), DESCRIPTOR)
            elif role in ("offset_at", "offset2_at"):
                named = self.explicit[0 if role == "offset_at" else 1][rows]
                offset = events.offset[rows] if role == "offset_at" else events.other_offset[rows]
                self._set(where, position, np.where(named, _or_zero(offset), 0), np.where(named, POSITION, CONSTANT))
            elif role in ("size", "flags"):
                getattr(self, f"_{role}")(number, where, rows, position)
        # a source alone is sent to /dev/null
        where, rows = at[has_source & ~has_target], event[has_source & ~has_target]
        self.calls.number[where] = numbers[NUMBER_OF["sendfile"]]
        self._set(where, 0, DEVNULL_SLOT, DESCRIPTOR)
        self._set(where, 1, self._base(events.open[rows]), DESCRIPTOR)
        named = self.explicit[0][rows]
        self._set(where, 2, np.where(named, _or_zero(events.offset[rows]), 0), np.where(named, POSITION, CONSTANT))
        self._size(number, where, rows, 3)
        # a destination alone is written what the copy brought
        where, rows = at[~has_source], event[~has_source]
        named = self.explicit[1][rows]
        self.calls.number[where] = np.where(named, numbers[NUMBER_OF["pwrite64"]], numbers[NUMBER_OF["write"]])
        self._set(where, 0, self._base(events.other_open[rows]), DESCRIPTOR)
        self._set(where, 1, WRITE_BUFFER, BUFFER)
        self._set(where, 2, np.clip(events.result[rows], 0, SIZE_MAX))
        self._set(where, 3, _or_zero(events.other_offset[rows]))


def link_text(link: bytes, target: bytes) -> tuple[bytes, bool]:
    """Text of a link between two paths of the tree: downwards, or absolute (True: the tree's folder goes before it).

    Never upwards: a link with `..` that is renamed to a place further up would lead out of the tree.
    """
    folder, _, _ = link.rpartition(b"/")
    if folder and target.startswith(folder + b"/"):
        return target[len(folder) + 1 :], False
    return target, True


def _or_zero(values: Ints) -> Ints:
    return np.where(values == NONE, 0, values)


def open_flags(tables: Tables) -> Ints:
    """Flags of each description, shape (opens,)."""
    events = tables.events
    flags = np.zeros(tables.opens + 1, np.int64)
    inherited = np.flatnonzero((events.open >= 0) & (events.file >= 0))[::-1]
    known = tables.file_inherited_flags[events.file[inherited]]
    flags[events.open[inherited]] = np.where(known == NONE, 0, known)
    opening = np.flatnonzero(OPENS[events.op] & (events.result >= 0) & (events.open >= 0))
    flags[events.open[opening]] = _or_zero(events.flags[opening])
    return flags[:-1]


def _direct_opens(tables: Tables) -> Flags:
    direct: Flags = (open_flags(tables) & _O_DIRECT) != 0
    return direct


__all__ = ["DUP_ONTO", "Builder", "Calls", "Strings", "call_numbers", "link_text", "working_folders"]

"""Building the arguments of every call of a plan from the roles in the operations table.

A call is six int64 arguments, each with a kind that says how the kernel turns the value into the argument: as it is,
or as a descriptor, a pointer to a name, a buffer, a vector, a lock, an address in the replay's own mapping. Adding a
system call to the operations table needs nothing here unless its arguments have a new role.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.call_names import Names
from iotrace.replay.columns import NONE, SIZE_MAX, Flags, Ids, Ints, Numbers, Tables
from iotrace.replay.descriptors import DEVNULL_SLOT, Descriptors
from iotrace.replay.kernels.words import GROUP_AT, OWNER_AT
from iotrace.replay.mapping import Mapping
from iotrace.replay.memory import Mappings
from iotrace.replay.operation_sets import CLONES, HAS_DIRFD, MMAP, OPENS, SYMLINKS
from iotrace.replay.select import AT_EMPTY_PATH, Selection
from iotrace.replay.snapshot import PERMISSIONS
from iotrace.replay.status import SETTABLE, TAKES_OWN, at_own_position, open_flags
from iotrace.trace.operations import BY_NAME, IOCTL, NUMBER_OF, OPERATIONS, OWN_POSITION, Kind
from iotrace.trace.operations import CLONES as COMMANDS_OF_CLONES

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
VALUE: Final = 10
"""As it is, like CONSTANT, but another value in most calls."""
RANGE: Final = 11

# buffers of a lane: values of BUFFER, which may also be OWNER_AT or GROUP_AT, no buffers but in the same table
READ_BUFFER: Final = 0
WRITE_BUFFER: Final = 1
ALIGNED_READ_BUFFER: Final = 2
ALIGNED_WRITE_BUFFER: Final = 3
SCRATCH: Final = 4

AT_FDCWD: Final = -100
LOCK_NB: Final = 4
WAITING_LOCKS: Final = (7, 38)
"""F_SETLKW and F_OFD_SETLKW of fcntl; less one they do not wait."""
COMMAND_OF_CLONE: Final = {name: command for command, name in COMMANDS_OF_CLONES.items()}
_O_DIRECT: Final = 0o40000
_OPEN_FLAGS: Final = 0o37777777 & ~0o20000
"""All but O_ASYNC, which would send signals."""
_MAP_FLAGS: Final = 0x1 | 0x2 | 0x4000 | 0x8000 | 0x10000 | 0x80000
"""MAP_SHARED, PRIVATE, NORESERVE, POPULATE, NONBLOCK, SYNC. Never FIXED: the replay maps where the kernel puts it."""


def call_numbers(architecture: str | None = None) -> Ints:
    """Call number of each operation on this architecture, -1 where there is none; shape (operations + 1,)."""
    machine = architecture or platform.machine()
    column = {"x86_64": "x86_64", "aarch64": "aarch64"}.get(machine, "x86_64")
    numbers = []
    for operation in OPERATIONS:
        number = getattr(operation, column)
        if number is None and operation.calls[0] in BY_NAME:
            number = getattr(BY_NAME[operation.calls[0]], column)
        elif operation.calls == ("ioctl",):
            number = IOCTL[("x86_64", "aarch64").index(column)]
        numbers.append(-1 if number is None else number)
    return np.array([*numbers, -1], dtype=np.int64)


@dataclass(slots=True)
class Calls:
    """Calls of a plan, one row each.

    Attributes
    ----------
    number: system call number, shape (n,), int64.
    arguments: shape (n, 6), int64; kinds: shape (n, 6), uint8. What LOCK, HOW and VECTOR put together stands as
    CONSTANT at the last three, the last two positions, and the third; of a RANGE, which is the source's slot, offset,
    length and the destination's offset at the last three.
    delta: distance within a mapping for MAPPED arguments, shape (n,), int64.
    """

    number: Ints
    arguments: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.uint8]
    delta: Ints


class Builder:
    """Builds the calls for the events that a plan replays, some at a time.

    Parameters
    ----------
    explicit: copies that name the positions in source and destination, shape (events,), bool each.
    """

    def __init__(
        self, tables: Tables, mapping: Mapping, selection: Selection, descriptors: Descriptors,
        explicit: tuple[Flags, Flags], memory: Mappings,
    ) -> None:  # fmt: skip
        self.tables, self.mapping, self.selection, self.descriptors = tables, mapping, selection, descriptors
        self.explicit, self.memory = explicit, memory
        self.names = Names(tables, mapping, selection)
        self.numbers = call_numbers()
        self.base = np.append(descriptors.base, -1)
        self.open_flags = np.append(open_flags(tables), 0)
        self.open_kept = np.append(selection.open_kept, False)

    def build(self, rows: Numbers) -> Calls:
        """Calls of some events, shape (n,)."""
        n = len(rows)
        op = self.tables.events.op[rows]
        self.calls = Calls(
            self.numbers[op], np.zeros((n, 6), np.int64), np.zeros((n, 6), np.uint8), np.zeros(n, np.int64)
        )
        for number in np.flatnonzero(np.bincount(op, minlength=1)).tolist():
            operation = OPERATIONS[number]
            at = np.flatnonzero(op == number)
            event = rows[at]
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

    def _slot(self, event: Numbers) -> Ints:
        """Slot of the descriptor that each event uses; _slot2: of its second one."""
        return self.base[self.descriptors.open[event]]

    def _slot2(self, event: Numbers) -> Ints:
        return self.base[self.descriptors.other_open[event]]

    # one method for each role of the operations table

    def _fd(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        closing = self.descriptors.closed[event] if OPERATIONS[number].name == "close" else np.full(len(at), -1)
        slot = np.where(closing >= 0, closing, self._slot(event))
        self._set(at, position, slot, DESCRIPTOR)

    def _fd2(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        closed, high = self.descriptors.closed[event], self.descriptors.number[event]
        same = (closed < 0) & (high < 0)  # dup2 onto itself
        slot = np.where(same, self._slot(event), closed)
        self._set(at, position, np.where(high >= 0, high, slot), np.where(high >= 0, HIGH_NUMBER, DESCRIPTOR))

    def _dirfd(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        events = self.tables.events
        second = OPENS[number]
        opens = events.other_open[event] if second else events.open[event]
        self._folder(at, position, opens, self._slot2(event) if second else self._slot(event))

    def _dirfd2(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        self._folder(at, position, self.tables.events.other_open[event], self._slot2(event))

    def _folder(self, at: Ints, position: int, opens: Ids, slots: Ints) -> None:
        slot = np.where(self.open_kept[opens], slots, -1)
        self._set(at, position, np.where(slot >= 0, slot, AT_FDCWD), np.where(slot >= 0, DESCRIPTOR, CONSTANT))

    def _path(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        events = self.tables.events
        opens = np.full(len(at), -1, np.int32)
        if HAS_DIRFD[number]:
            opens = events.other_open[event] if OPENS[number] else events.open[event]
        named = ~self.selection.unnamed[event]
        values = np.full(len(at), self.names.strings.number(b""), np.int64)
        values[named] = self.names.of_nodes(
            event[named], self.selection.node[event[named]], events.path[event[named]], opens[named]
        )
        null = ~named & np.isin(OPERATIONS[number].name, ("utimensat", "futimesat"))
        null &= np.maximum(events.flags[event], 0) & AT_EMPTY_PATH == 0
        self._set(at, position, np.where(null, 0, values), np.where(null, CONSTANT, STRING))

    def _path2(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        events = self.tables.events
        if SYMLINKS[number]:
            values = self.names.of_links(self.selection.node[event], events.other_path[event])
        else:
            opens = np.full(len(at), -1, np.int32)
            if "dirfd2" in OPERATIONS[number].arguments:
                opens = events.other_open[event]
            values = self.names.of_nodes(event, self.selection.node2[event], events.other_path[event], opens).tolist()
        self._set(at, position, values, STRING)

    def _name(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        self._set(at, position, self.names.of_attributes(self.tables.events.other_path[event]), STRING)

    def _size(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        name = OPERATIONS[number].name
        if name in ("munmap", "msync", "madvise"):
            value = self.memory.length_at(event)
        elif name == "openat2":
            self._set(at, position, 24)
            return
        elif name in ("truncate", "ftruncate"):
            value = _or_zero(self.tables.events.size[event])
        elif OPERATIONS[number].kind is Kind.COPY:
            value = np.maximum(_or_zero(self.tables.events.size[event]), 0)
        else:
            value = np.clip(_or_zero(self.tables.events.size[event]), 0, SIZE_MAX)
        self._set(at, position, value, VALUE)

    def _offset(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        offset = _or_zero(self.tables.events.offset[event])
        if TAKES_OWN[number]:
            offset = np.where(at_own_position(np.full(len(event), number), self.tables.events.flags[event]), -1, offset)
        self._set(at, position, offset, VALUE)

    def _flags(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        flags = _or_zero(self.tables.events.flags[event])
        if OPENS[number]:
            flags &= _OPEN_FLAGS
        elif MMAP[number]:
            flags = (flags & _MAP_FLAGS) | np.where(flags & 0x3 == 0, 0x2, 0)
        elif TAKES_OWN[number]:
            flags &= ~OWN_POSITION
        elif OPERATIONS[number].name == "fcntl.dupfd":
            flags = np.where(flags == 1030, 1030, 0)
        elif OPERATIONS[number].name == "flock":
            flags |= LOCK_NB  # the kernel of the replay tries again for a while: no trace can make it hang
        elif OPERATIONS[number].name == "fcntl.lock":
            flags = np.where(np.isin(flags, WAITING_LOCKS), flags - 1, flags)
        self._set(at, position, flags)

    def _mode(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        name = OPERATIONS[number].name
        mode = _or_zero(self.tables.events.mode[event])
        if name in ("mkdir", "mkdirat"):
            mode = (mode & PERMISSIONS) | 0o700
        elif OPENS[number]:
            mode = (mode & PERMISSIONS) | 0o600
        elif "chmod" in name:
            mode = (mode & PERMISSIONS) | 0o700
        elif name == "umask":
            mode &= 0o077
        elif name == "mmap":
            mode &= 0x3
        elif "access" in name:
            mode &= 0x7
        self._set(at, position, mode)

    def _address(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        if not MMAP[number]:
            self._set(at, position, self.memory.slot_at(event), MAPPED)
            self.calls.delta[at] = self.memory.delta_at(event)

    def _iovec(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        size = np.clip(_or_zero(self.tables.events.size[event]), 0, SIZE_MAX)
        self._set(at, position, size * 16 + self._buffers(number, event), VECTOR)

    def _owner(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        # a file stays its owner's, whatever owner it was given: the storage is asked to set one all the same
        self._set(at, position, OWNER_AT, BUFFER)

    def _group(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        self._set(at, position, GROUP_AT, BUFFER)

    def _count(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        self._set(at, position, np.clip(_or_zero(self.tables.events.count[event]), 0, 1 << 20))

    def _buffer(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        self._set(at, position, self._buffers(number, event), BUFFER)

    def _buffers(self, number: int, event: Numbers) -> Ints:
        writes = OPERATIONS[number].kind is Kind.WRITE or "setxattr" in OPERATIONS[number].name
        plain, aligned = (WRITE_BUFFER, ALIGNED_WRITE_BUFFER) if writes else (READ_BUFFER, ALIGNED_READ_BUFFER)
        direct = (self.open_flags[self.tables.events.open[event]] & _O_DIRECT) != 0
        return np.where(direct, aligned, plain).astype(np.int64)

    def _stat(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        self._set(at, position, SCRATCH, BUFFER)

    _statx = _stat

    def _text(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        self._set(at, position, READ_BUFFER, BUFFER)

    def _how(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        events = self.tables.events
        flags = _or_zero(events.flags[event]) & _OPEN_FLAGS
        creates = (flags & 0o100 != 0) | (flags & 0o20200000 == 0o20200000)
        self._set(at, position, 0, HOW)
        self._set(at, 4, flags)
        self._set(at, 5, np.where(creates, (_or_zero(events.mode[event]) & PERMISSIONS) | 0o600, 0))

    def _lock(self, number: int, at: Ints, event: Numbers, position: int) -> None:
        events = self.tables.events
        self._set(at, position, 0, LOCK)
        # where F_GETLK finds no lock the kernel has put F_UNLCK over the type that was asked for
        asks = np.isin(events.flags[event], (5, 36)) & (_or_zero(events.mode[event]) == 2)
        self._set(at, 3, np.where(asks, 1, np.clip(_or_zero(events.mode[event]), 0, 2)))
        self._set(at, 4, np.maximum(_or_zero(events.offset[event]), 0))
        self._set(at, 5, np.maximum(_or_zero(events.size[event]), 0))

    def _finish(self, name: str, at: Ints, event: Numbers) -> None:
        """Arguments that the table leaves open."""
        if name == "fcntl.dupfd":
            self._set(at, 2, 3)
        elif name == "fcntl":
            events = self.tables.events
            command, said = events.flags[event], events.mode[event]
            # older recorders do not say what is set
            status = np.where(said == NONE, self.open_flags[events.open[event]], said) & SETTABLE
            self._set(at, 2, np.select([command == 4, command == 2], [status, np.where(said == NONE, 1, said & 1)], 0))

    def _copies(self, number: int, at: Ints, event: Numbers) -> None:
        """Copies inside the kernel; where one end is not replayed, the other moves the same bytes alone."""
        if CLONES[number]:
            self._clones(number, at, event)
            return
        events, kept = self.tables.events, self.open_kept
        has_source, has_target = kept[events.open[event]], kept[events.other_open[event]]
        both = has_source & has_target
        numbers = self.numbers
        arguments = OPERATIONS[number].arguments
        for position, role in enumerate(arguments):
            where, rows = at[both], event[both]
            if role == "fd":
                self._set(where, position, self._slot(rows), DESCRIPTOR)
            elif role == "fd2":
                self._set(where, position, self._slot2(rows), DESCRIPTOR)
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
        self._set(where, 1, self._slot(rows), DESCRIPTOR)
        named = self.explicit[0][rows]
        self._set(where, 2, np.where(named, _or_zero(events.offset[rows]), 0), np.where(named, POSITION, CONSTANT))
        self._size(number, where, rows, 3)
        # a destination alone is written what the copy brought
        where, rows = at[~has_source], event[~has_source]
        named = self.explicit[1][rows]
        self.calls.number[where] = np.where(named, numbers[NUMBER_OF["pwrite64"]], numbers[NUMBER_OF["write"]])
        self._set(where, 0, self._slot2(rows), DESCRIPTOR)
        self._set(where, 1, WRITE_BUFFER, BUFFER)
        self._set(where, 2, np.clip(events.result[rows], 0, SIZE_MAX), VALUE)
        self._set(where, 3, _or_zero(events.other_offset[rows]), VALUE)

    def _clones(self, number: int, at: Ints, event: Numbers) -> None:
        """ioctl with FICLONE or FICLONERANGE, and never with another command."""
        events = self.tables.events
        self._set(at, 0, self._slot2(event), DESCRIPTOR)
        self._set(at, 1, COMMAND_OF_CLONE[OPERATIONS[number].name])
        if OPERATIONS[number].name == "ioctl.ficlone":
            self._set(at, 2, self._slot(event), DESCRIPTOR)
            return
        self._set(at, 2, self._slot(event), RANGE)
        for position, values in enumerate((events.offset, events.size, events.other_offset), start=3):
            self._set(at, position, np.maximum(_or_zero(values[event]), 0))


def _or_zero(values: Ints) -> Ints:
    return np.where(values == NONE, 0, values)

"""The form of a plan: its rows as flat arrays that a kernel runs from, and what else a run needs.

Each row is one call (or a touched page, or a mark between calls), sorted by lane, thread and time: the call's number
and arguments, what it returned in the recording, the gap before it, and the rows of other lanes that it waits for. A
lane is one thread of the replay; recorded threads whose lives do not overlap share a lane.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.arguments import Strings
from iotrace.replay.columns import Flags, Ids, Ints
from iotrace.replay.snapshot import Snapshot

# what the kernel does with a row
PLAIN: Final = 0
OPEN: Final = 1
CLOSE: Final = 2
DUP_ONTO: Final = 3
MAP: Final = 4
TOUCH: Final = 5
ORDER: Final = 6
BEGIN: Final = 7
END: Final = 8
UNMAP: Final = 9
LOCK: Final = 10

# how an outcome is compared with the recorded one
EXACT: Final = 0
STATUS: Final = 1
LINK: Final = 2

LANES_MAX: Final = 4096
MARKER: Final = "iotrace-replay"


@dataclass(slots=True)
class Rows:
    """Rows of a plan, sorted by lane, thread and time; arrays of shape (n,) unless said otherwise.

    Attributes
    ----------
    event: row of the trace's events, -1 for marks; op: number in the operations table, -1 for marks.
    special: what the kernel does (PLAIN, OPEN, …); extra: issued, but no part of the figures.
    number: system call; arguments: (n, 6) int64; kinds: four bits for each argument; delta: distance within a mapping.
    made, closed: slots that the row fills and empties (for BEGIN and END: `made` is the number of the thread).
    expect: recorded result, 0 for what the kernel numbers itself; check: how to compare (EXACT, STATUS, LINK).
    busy_ns, idle_ns: gap before the row to burn and to sleep; due_ns: start since the first row's.
    wait_begin: (n + 1,), where the row's waits begin in wait_row; wait_row: rows that must have ended; awaited:
    others wait for it.
    """

    event: Ints
    op: npt.NDArray[np.int16]
    thread: Ids
    special: npt.NDArray[np.uint8]
    extra: Flags
    number: Ints
    arguments: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    delta: Ints
    made: Ints
    closed: Ints
    expect: Ints
    check: npt.NDArray[np.uint8]
    busy_ns: Ints
    idle_ns: Ints
    due_ns: Ints
    wait_begin: Ints
    wait_row: Ints
    awaited: Flags

    def __len__(self) -> int:
        return len(self.event)


@dataclass(slots=True)
class Threads:
    """What each recorded thread needs at its begin and end; index is the thread's number.

    Attributes
    ----------
    folder, marker_begin, marker_end: numbers of strings; umask.
    close_begin, close_slot: slots to empty at the end (rows of a table, as offsets and values); unmap likewise:
    (slot, delta, length) rows.
    """

    folder: Ints
    marker_begin: Ints
    marker_end: Ints
    umask: Ints
    close_begin: Ints
    close_slot: Ints
    unmap_begin: Ints
    unmap: npt.NDArray[np.int64]


@dataclass(slots=True)
class Inherited:
    """A description open before the start: slots to fill, path within the tree, open flags, position in bytes."""

    slots: list[int]
    path: bytes
    flags: int
    offset: int


@dataclass(slots=True)
class Plan:
    """A whole plan; see the module.

    Attributes
    ----------
    lane_begin: (lanes + 1,), first row of each lane.
    read_bytes, write_bytes: largest buffer that any call needs.
    growth_bytes, growth_entries: at most so much is added to the tree by the run.
    recorded: size, offset, count, result of each row's event, and `path` (b"" for none): for the fidelity comparison.
    not_replayed: recorded operations left out, by reason.
    hash: sha256 over all of it.
    """

    rows: Rows
    lane_begin: Ints
    threads: Threads
    strings: Strings
    snapshot: Snapshot
    inherited: list[Inherited]
    unmap_last: npt.NDArray[np.int64]
    slots: int
    map_slots: int
    high_numbers: int
    most_open: int
    read_bytes: int
    write_bytes: int
    growth_bytes: int
    growth_entries: int
    recorded: dict[str, Any]
    thread_numbers: int
    not_replayed: dict[str, int]
    prefixes: list[str]
    warnings: list[str] = field(default_factory=list)
    hash: str = ""

    @property
    def lanes(self) -> int:
        """Threads of the replay."""
        return len(self.lane_begin) - 1

    @property
    def counted(self) -> Flags:
        """Rows that are recorded operations: part of the figures."""
        rows = self.rows
        counted: Flags = (rows.op >= 0) & ~rows.extra & (rows.special != ORDER)
        return counted


ROW_COLUMNS: Final = (
    "event", "op", "thread", "special", "extra", "number", "arguments", "kinds", "delta", "made", "closed", "expect",
    "check",
)  # fmt: skip


def plan_hash(plan: Plan) -> str:
    """sha256 over all that decides what a run does."""
    digest = hashlib.sha256()
    rows = plan.rows
    for name in (*ROW_COLUMNS, "busy_ns", "idle_ns", "due_ns", "wait_begin", "wait_row"):
        digest.update(np.ascontiguousarray(getattr(rows, name)).tobytes())
    digest.update(plan.lane_begin.tobytes())
    for text, absolute in zip(plan.strings.texts, plan.strings.absolute, strict=True):
        digest.update(b"%d:%d:%s" % (absolute, len(text), text))
    snapshot = plan.snapshot
    tables: list[Any] = [snapshot.folders, snapshot.hard_links, snapshot.links, snapshot.fillers, snapshot.attributes]
    tables.append([(file.path, file.size, file.mode) for file in snapshot.files])
    tables.append([(one.slots, one.path, one.flags, one.offset) for one in plan.inherited])
    digest.update(repr(tables).encode())
    return digest.hexdigest()

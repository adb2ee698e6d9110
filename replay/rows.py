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

from iotrace.replay.arguments import CONSTANT, VALUE
from iotrace.replay.call_names import Strings
from iotrace.replay.columns import Flags, Ids, Ints
from iotrace.replay.lifetimes import Lifetimes
from iotrace.replay.packing import unpack_values
from iotrace.replay.recorded import Recorded
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
class Forms:
    """What many rows have in common; arrays of shape (forms,) unless said otherwise.

    Attributes
    ----------
    op, special, extra, number, check: as in Rows.
    kinds: four bits for each argument (iotrace.replay.arguments): CONSTANT takes it from `constants`, (forms, 6), the
    others from the row's own values.
    """

    op: npt.NDArray[np.int16]
    special: npt.NDArray[np.uint8]
    extra: Flags
    number: Ints
    check: npt.NDArray[np.uint8]
    kinds: Ints
    constants: npt.NDArray[np.int64]


@dataclass(slots=True)
class Rows:
    """Rows of a plan, sorted by lane, thread and time; arrays of shape (n,) unless said otherwise.

    Attributes
    ----------
    event: row of the trace's events, int32, -1 for marks.
    form, forms: what the row has in common with others; value_begin, values: its own values, one behind another from
    values[value_begin[i]] on.
    special: what the kernel does (PLAIN, OPEN, …).
    made, closed: slots that the row fills and empties, int32 (for BEGIN and END `made` is the number of the thread; for
    a fork that passes descriptors on, that of the thread that they go to).
    expect: recorded result, 0 for what the kernel numbers itself.
    busy_ns, idle_ns: gap before the row to burn and to sleep; due_ns: start since the first row's.
    wait_begin: (n + 1,), where the row's waits begin in wait_row; wait_row: rows that must have ended; awaited:
    others wait for it.
    thread_begin, thread_number: first row of each thread's, and its number, in the order of the rows.

    Computed anew at each call, for those who look at a plan rather than run it:

    op: number in the operations table, -1 for marks; thread; extra: issued, but no part of the figures.
    number: system call; arguments: (n, 6) int64; kinds: four bits for each argument; delta: distance within a mapping.
    check: how to compare the result (EXACT, STATUS, LINK).
    """

    event: Ids
    form: Ids
    forms: Forms
    value_begin: npt.NDArray[Any]
    values: Ints
    special: npt.NDArray[np.uint8]
    made: Ids
    closed: Ids
    expect: Ints
    thread_begin: Ints
    thread_number: Ids
    busy_ns: Ints
    idle_ns: Ints
    due_ns: Ints
    wait_begin: npt.NDArray[Any]
    wait_row: npt.NDArray[Any]
    awaited: Flags

    def __len__(self) -> int:
        return len(self.event)

    @property
    def op(self) -> npt.NDArray[np.int16]:
        """See above."""
        return self.forms.op[self.form]

    @property
    def extra(self) -> Flags:
        """See above."""
        return self.forms.extra[self.form]

    @property
    def number(self) -> Ints:
        """See above."""
        return self.forms.number[self.form]

    @property
    def check(self) -> npt.NDArray[np.uint8]:
        """See above."""
        return self.forms.check[self.form]

    @property
    def thread(self) -> Ids:
        """See above."""
        return np.repeat(self.thread_number, np.diff(np.r_[self.thread_begin, len(self)]))

    @property
    def kinds(self) -> Ints:
        """See above."""
        codes = self.forms.kinds[:, None] >> (4 * np.arange(6)) & 15
        codes[codes == VALUE] = CONSTANT
        kinds: Ints = (codes << (4 * np.arange(6))).sum(axis=1)
        return kinds[self.form]

    @property
    def arguments(self) -> npt.NDArray[np.int64]:
        """See above."""
        return self._unpacked()[0]

    @property
    def delta(self) -> Ints:
        """See above."""
        return self._unpacked()[1]

    def _unpacked(self) -> tuple[npt.NDArray[np.int64], Ints]:
        arguments, delta = unpack_values(
            self.form, self.forms.kinds, self.forms.constants, self.value_begin, self.values
        )
        return arguments, delta


@dataclass(slots=True)
class Threads:
    """What each recorded thread needs at its begin and end; index is the thread's number.

    Attributes
    ----------
    folder, marker_begin, marker_end: numbers of strings, -1 for none; umask. A folder and a umask are set by the first
    thread of a process.
    take_begin, take_from, take_to: slots of the parent that the thread is given when it begins, and the slots that they
    fill (rows of a table, as offsets and values).
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
    take_begin: Ints
    take_from: Ints
    take_to: Ints


@dataclass(slots=True)
class Inherited:
    """A description open before the start: slots to fill and their workers, path within the tree, open flags, position
    in bytes."""

    slots: list[int]
    workers: list[int]
    path: bytes
    flags: int
    offset: int


@dataclass(slots=True)
class Plan:
    """A whole plan; see the module.

    Attributes
    ----------
    lane_begin: (lanes + 1,), first row of each lane; worker_begin: (workers + 1,), first lane of each worker.
    worker_names: what was recorded of the processes that each worker replays, for messages.
    apart: workers whose threads have working folders of their own, (workers,), bool.
    read_bytes, write_bytes: largest buffer that any call needs.
    growth_bytes, growth_entries: at most so much is added to the tree by the run.
    recorded: what the recording said of each row's event, see iotrace.replay.recorded.
    lifetimes: descriptions that it opens and closes.
    asynchronous: some rows were requests to io_uring or libaio.
    not_replayed: recorded operations left out, by reason.
    folder: of the files that its long columns lie in (iotrace.replay.filed); None: they lie in memory.
    hash: sha256 over all of it.
    """

    rows: Rows
    lane_begin: Ints
    threads: Threads
    strings: Strings
    snapshot: Snapshot
    inherited: list[Inherited]
    worker_begin: Ints
    worker_names: list[str]
    apart: Flags
    slots: int
    map_slots: int
    high_numbers: int
    most_open: int
    read_bytes: int
    write_bytes: int
    growth_bytes: int
    growth_entries: int
    recorded: Recorded
    thread_numbers: int
    not_replayed: dict[str, int]
    prefixes: list[str]
    warnings: list[str] = field(default_factory=list)
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    asynchronous: bool = False
    folder: str | None = None
    hash: str = ""

    @property
    def workers(self) -> int:
        """Processes of the replay."""
        return len(self.worker_begin) - 1

    @property
    def lanes(self) -> int:
        """Threads of the replay."""
        return len(self.lane_begin) - 1

    @property
    def counted(self) -> Flags:
        """Rows that are recorded operations: part of the figures."""
        rows = self.rows
        forms = rows.forms
        counted: Flags = ((forms.op >= 0) & ~forms.extra & (forms.special != ORDER))[rows.form]
        return counted


_ROW_COLUMNS: Final = (
    "event", "form", "value_begin", "values", "special", "made", "closed", "expect", "thread_begin", "thread_number",
    "busy_ns", "idle_ns", "due_ns", "wait_begin", "wait_row",
)  # fmt: skip
_FORM_COLUMNS: Final = ("op", "special", "extra", "number", "check", "kinds", "constants")


def plan_hash(plan: Plan) -> str:
    """sha256 over all that decides what a run does."""
    digest = hashlib.sha256()
    for owner, names in ((plan.rows, _ROW_COLUMNS), (plan.rows.forms, _FORM_COLUMNS)):
        for name in names:
            digest.update(np.ascontiguousarray(getattr(owner, name)).data)
    threads = plan.threads
    for column in (plan.lane_begin, plan.worker_begin, threads.take_begin, threads.take_from, threads.take_to):
        digest.update(column.tobytes())
    for text, absolute in zip(plan.strings.texts, plan.strings.absolute, strict=True):
        digest.update(b"%d:%d:%s" % (absolute, len(text), text))
    snapshot = plan.snapshot
    tables: list[Any] = [snapshot.folders, snapshot.hard_links, snapshot.links, snapshot.fillers, snapshot.attributes]
    tables.append([(file.path, file.size, file.mode) for file in snapshot.files])
    tables.append([(one.slots, one.workers, one.path, one.flags, one.offset) for one in plan.inherited])
    digest.update(repr(tables).encode())
    return digest.hexdigest()

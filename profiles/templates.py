"""From an action of a recipe to the calls that do it for one item."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from iotrace.errors import UsageError
from iotrace.profiles.model import Action, Phase, Profile
from iotrace.profiles.numbers import Numbers
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.schema import NULL

CALL_NS: Final = 1_500
"""Nominal time of a call, without its bytes: a synthesised trace does not know what a storage would take."""
BYTES_PER_S: Final = 8e9
GAP_NS: Final = 2_000
"""CPU time between two calls of one item."""
_FAULT_BYTES: Final = 65_536
"""A fault maps so much around it (Linux: fault_around_bytes)."""
_ENTRY_BYTES: Final = 40
_LISTING_BYTES: Final = 32_768
_SHARED, _READ = 1, 1
_SETLKW, _SETLK, _WRLCK, _UNLCK = 7, 6, 1, 2
_O: Final = os.O_CLOEXEC
COLUMNS: Final = (
    "op", "file", "other", "slot", "other_slot", "temporary", "offset", "other_offset", "size", "flags", "mode",
    "address", "result", "moved", "busy", "idle",
)  # fmt: skip


CALLS_MAX: Final = 1 << 20
"""Most calls of one item: they stand in memory."""
NS_MAX: Final = 1 << 60
"""Longest time of a job."""

Order = dict[str, int]
"""Position of each class of files."""


EXTRA: Final = ("step", "turn", "turns")
"""Further columns of a template, which say which file and place each item uses."""


@dataclass(slots=True)
class Template:
    """Calls for one item; each column a list.

    Attributes
    ----------
    op: as in iotrace.trace.operations; file, other: position of the class in Profile.files, NULL for none.
    slot, other_slot: which opening of the item; temporary: the name is the one before a rename.
    step: of each call, how much further the offset is for each next item (appends); moved: bytes that count.
    turn, turns: which of how many times this is that the item's action is done.
    boxes_at: how many of the calls come before the boxes; before_boxes: time (busy, idle; ns) before the boxes.
    where: recipe, phase and action, for messages.
    """

    rows: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in (*COLUMNS, *EXTRA)})
    opens: int = 0
    busy: int = 0
    idle: int = 0
    boxes_at: int = 0
    before_boxes: tuple[int, int] = (0, 0)
    turn: int = 0
    turns: int = 1
    where: str = ""

    def __len__(self) -> int:
        return len(self.rows["op"])

    def call(self, op: str, **columns: Any) -> None:
        """A call after the time that has gathered since the one before.

        Raises
        ------
        UsageError: an item has too many.
        """
        self.make_room(1)
        numbers = {"busy": self.busy + GAP_NS, "idle": self.idle, "temporary": 0, "step": 0, "result": 0, "moved": 0}
        numbers |= {"turn": self.turn, "turns": self.turns}
        self.busy = self.idle = 0
        for name, column in self.rows.items():
            value = NUMBER_OF[op] if name == "op" else columns.get(name, numbers.get(name, NULL))
            column.append(int(value))

    def make_room(self, calls: int) -> None:
        """Refuse what is too many for an item, before it takes time and memory.

        Raises
        ------
        UsageError: so many more calls are.
        """
        if len(self) + calls > CALLS_MAX:
            raise UsageError(
                f"{self.where}: more than {CALLS_MAX} calls for one item; choose larger chunks or fewer times."
            )

    def open(self) -> int:
        """Number of a further opening."""
        self.opens += 1
        return self.opens - 1

    def columns(self) -> dict[str, Any]:
        """As arrays of int64, shape (calls,)."""
        return {name: np.array(column, np.int64) for name, column in self.rows.items()}


def template_of(profile: Profile, phase: Phase, numbers: Numbers, where: str) -> Template:
    """The calls of a phase for one item, boxes apart.

    Raises
    ------
    UsageError: a number is missing, or it only thinks; `where` says in which recipe and phase.
    """
    order = {name: place for place, name in enumerate(profile.files)}
    result = Template()
    boxes_first = False
    for place, action in enumerate(phase.actions):
        at = result.where = f"{where}: actions[{place}]"
        if action.do == "think":
            add_think(result, action, numbers, at)
        elif action.do == "boxes":
            result.before_boxes, result.busy, result.idle = (result.busy, result.idle), 0, 0
            result.boxes_at = len(result)
            boxes_first = not result.boxes_at
        else:
            result.turns = numbers.count(action.times, f"{at}.times")
            for turn in range(result.turns):
                result.turn = turn
                _ADD[action.do](result, action, profile, numbers, order, at)
            result.turn, result.turns = 0, 1
    # what comes last is before the next item's first call
    if boxes_first:
        result.before_boxes = result.before_boxes[0] + result.busy, result.before_boxes[1] + result.idle
    elif len(result):
        result.rows["busy"][0] += result.busy
        result.rows["idle"][0] += result.idle
    elif result.busy or result.idle:
        raise UsageError(f"{where}: nothing but think time: put it into a phase that does something.")
    return result


def add_think(result: Template, action: Action, numbers: Numbers, at: str) -> None:
    """Time until the next call."""
    ns = numbers.of(action.seconds, f"{at}.seconds") * 1e9
    if result.busy + result.idle + ns > NS_MAX:
        raise UsageError(f"{at}.seconds: an item that takes more than {NS_MAX / 3.15e16:.0f} years.")
    busy = min(1.0, max(0.0, numbers.of(action.busy, f"{at}.busy")))
    result.busy += int(ns * busy)
    result.idle += int(ns * (1 - busy))


def _pieces(result: Template, total: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Offsets and sizes of the calls that move so many bytes."""
    chunk = max(1, chunk)
    result.make_room(-(-total // chunk))
    return ((at, min(chunk, total - at)) for at in range(0, total, chunk))


def _seek(result: Template, action: Action, numbers: Numbers, at: str, on: dict[str, int]) -> None:
    for _ in range(numbers.count(action.seeks, f"{at}.seeks")):
        result.call("lseek", offset=0, flags=os.SEEK_CUR, result=0, **on)


def _ask(result: Template, action: Action, on: dict[str, int]) -> None:
    if action.fstat:
        result.call("fstat", **on)


def _read(result: Template, action: Action, profile: Profile, numbers: Numbers, order: Order, at: str) -> None:
    file, slot = order[action.file], result.open()
    size = whole = numbers.count(profile.files[action.file].size, f"{at}.file")
    if action.bytes:
        asked = numbers.count(action.bytes, f"{at}.bytes")
        # a file that the job changes itself may have grown: iotrace.profiles.held knows by how much
        whole = whole if action.file not in profile.read_back else max(whole, asked)
        size = min(whole, asked)
    on = {"file": file, "slot": slot}
    result.call("openat", flags=os.O_RDONLY | _O, mode=0, **on)
    _seek(result, action, numbers, at, on)
    if action.way == "header":
        result.call("read", offset=0, size=asked, result=size, moved=size, **on)
    elif action.way == "mmap":
        _ask(result, action, on)
        if action.header:
            asked = numbers.count(action.header, f"{at}.header")
            result.call("read", offset=0, size=asked, result=min(asked, size), moved=min(asked, size), **on)
        _map(result, size, max(1, numbers.count(action.chunk, f"{at}.chunk")), on)
    else:
        _ask(result, action, on)
        op = "sendfile" if action.way == "sendfile" else "read"
        chunk = max(1, numbers.count(action.chunk, f"{at}.chunk"))
        for offset, part in _pieces(result, size, chunk):
            # a program asks for a whole buffer also where the file ends, but not where it has had enough
            asked = chunk if offset + part == whole else part
            result.call(op, offset=offset, size=asked, result=part, moved=part, **on)
    result.call("close", **on)


def _map(result: Template, size: int, step: int, on: dict[str, int]) -> None:
    """Map a file and touch it from begin to end."""
    if size == 0:
        return
    place = 1 << 44
    result.call("mmap", offset=0, size=size, flags=_SHARED, mode=_READ, address=place, **on)
    step = max(step, _FAULT_BYTES)
    for offset in range(0, size, step):
        page = offset // 4096 * 4096
        part = min(step, -(-(size - page) // 4096) * 4096)
        result.call("mmap.fault", file=on["file"], offset=page, size=part, address=place + page)
    result.call("munmap", size=size, address=place, **on)


def _write(result: Template, action: Action, profile: Profile, numbers: Numbers, order: Order, at: str) -> None:
    file, slot = order[action.file], result.open()
    temporary = int(action.way == "rename")
    on = {"file": file, "slot": slot, "temporary": temporary}
    result.call("openat", flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _O, mode=0o644, **on)
    _seek(result, action, numbers, at, on)
    chunk = numbers.count(action.chunk, f"{at}.chunk")
    for offset, part in _pieces(result, numbers.count(action.bytes, f"{at}.bytes"), chunk):
        result.call("write", offset=offset, size=part, result=part, moved=part, **on)
    if action.sync:
        result.call("fsync", **on)
    result.call("close", **on)
    if temporary:
        result.call("renameat", file=file, other=file, temporary=1)


def _append(result: Template, action: Action, profile: Profile, numbers: Numbers, order: Order, at: str) -> None:
    on = {"file": order[action.file], "slot": result.open()}
    size = numbers.count(action.bytes, f"{at}.bytes")
    result.call("openat", flags=os.O_WRONLY | os.O_CREAT | os.O_APPEND | _O, mode=0o644, **on)
    _seek(result, action, numbers, at, on)
    locked = action.way == "locked"
    if locked:
        result.call("fcntl.lock", offset=0, size=0, flags=_SETLKW, mode=_WRLCK, **on)
    chunk = numbers.count(action.chunk, f"{at}.chunk") if action.chunk else size
    for offset, part in _pieces(result, size, chunk):
        result.call("write", offset=offset, step=size, size=part, result=part, moved=part, **on)
    if action.sync:
        result.call("fsync", **on)
    if locked:
        result.call("fcntl.lock", offset=0, size=0, flags=_SETLK, mode=_UNLCK, **on)
    result.call("close", **on)


def _copy(result: Template, action: Action, profile: Profile, numbers: Numbers, order: Order, at: str) -> None:
    source, target = {"file": order[action.file], "slot": result.open()}, result.open()
    to = order[action.to]
    size = numbers.count(profile.files[action.file].size, f"{at}.file")
    chunk = max(1, numbers.count(action.chunk, f"{at}.chunk"))
    result.call("openat", flags=os.O_RDONLY | _O, mode=0, **source)
    _ask(result, action, source)
    result.call("openat", file=to, slot=target, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _O, mode=0o644)
    for offset, part in _pieces(result, size, chunk):
        result.call(
            action.way, other=to, other_slot=target, offset=offset, other_offset=offset, size=chunk, result=part,
            moved=part, **source,
        )  # fmt: skip
    result.call("close", file=to, slot=target)
    result.call("close", **source)


def _stat(result: Template, action: Action, profile: Profile, numbers: Numbers, order: Order, at: str) -> None:
    result.call("newfstatat", file=order[action.file], flags=0)


def _list(result: Template, action: Action, profile: Profile, numbers: Numbers, order: Order, at: str) -> None:
    on = {"file": order[action.file], "slot": result.open()}
    total = numbers.count(profile.files[action.file].entries, f"{at}.file") * _ENTRY_BYTES
    result.call("openat", flags=os.O_RDONLY | os.O_DIRECTORY | _O, mode=0, **on)
    for _, part in [*_pieces(result, total, _LISTING_BYTES), (0, 0)]:
        result.call("getdents64", size=_LISTING_BYTES, result=part, **on)
    result.call("close", **on)


def _symlink(result: Template, action: Action, profile: Profile, numbers: Numbers, order: Order, at: str) -> None:
    result.call("symlinkat", file=order[action.file], other=order[action.to])


def _mkdir(result: Template, action: Action, profile: Profile, numbers: Numbers, order: Order, at: str) -> None:
    result.call("mkdirat", file=order[action.file], mode=0o755)


def _unlink(result: Template, action: Action, profile: Profile, numbers: Numbers, order: Order, at: str) -> None:
    result.call("unlinkat", file=order[action.file], flags=0)


def _open(result: Template, action: Action, profile: Profile, numbers: Numbers, order: Order, at: str) -> None:
    on = {"file": order[action.file], "slot": result.open()}
    result.call("openat", flags=os.O_RDONLY | _O, mode=0, **on)
    result.call("close", **on)


_ADD: Final = {
    "read": _read, "write": _write, "append": _append, "copy": _copy, "stat": _stat, "list": _list,
    "symlink": _symlink, "mkdir": _mkdir, "unlink": _unlink, "open": _open,
}  # fmt: skip

"""What a job asks of its storage, by arithmetic: no event is made, no mount is touched.

Exact, but for how many stacks random reads of boxes open: of that the expected number is taken.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from iotrace.errors import UsageError
from iotrace.profiles.boxes import Boxes, boxes_of
from iotrace.profiles.layout import layout_of
from iotrace.profiles.model import Profile
from iotrace.profiles.numbers import Numbers
from iotrace.profiles.templates import CALL_NS, GAP_NS, NS_MAX, template_of
from iotrace.trace.operations import BY_NAME, OPERATIONS, Kind
from iotrace.trace.schema import NULL

_MAKES: Final = ("write", "append", "copy", "mkdir", "symlink")


@dataclass(slots=True)
class PhaseTotals:
    """One phase.

    Attributes
    ----------
    items, workers: how many; calls: by operation; bytes_read, bytes_written; think_s: time of one worker, in s.
    bytes_mapped: that page faults bring in of mapped files; no call moves them, so bytes_read is without them.
    local_calls, local_read, local_written, local_mapped: of these, what is on the node's own disk.
    bytes_touched: bytes of the files that it reads from or maps, each counted once; scattered: reads at random places.
    """

    name: str
    items: int
    workers: int
    calls: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_mapped: int = 0
    think_s: float = 0.0
    local_calls: Counter[str] = field(default_factory=Counter)
    local_read: int = 0
    local_written: int = 0
    local_mapped: int = 0
    bytes_touched: int = 0
    scattered: int = 0


@dataclass(slots=True)
class Totals:
    """A job.

    Attributes
    ----------
    needed_files, needed_bytes: what must be there before; made_files: files, links and folders that it makes.
    phases: one after another.
    """

    needed_files: int = 0
    needed_bytes: int = 0
    made_files: int = 0
    phases: list[PhaseTotals] = field(default_factory=list)

    @property
    def bytes_read(self) -> int:
        """Of reads and copies."""
        return sum(phase.bytes_read for phase in self.phases)

    @property
    def bytes_written(self) -> int:
        """Of writes, and of copies into files."""
        return sum(phase.bytes_written for phase in self.phases)

    @property
    def bytes_mapped(self) -> int:
        """Of mapped files, that page faults bring in."""
        return sum(phase.bytes_mapped for phase in self.phases)

    @property
    def local_read(self) -> int:
        """Of what is read or mapped, what is on the node's own disk."""
        return sum(phase.local_read + phase.local_mapped for phase in self.phases)

    @property
    def local_written(self) -> int:
        """Of what is written, what is on the node's own disk."""
        return sum(phase.local_written for phase in self.phases)

    @property
    def calls(self) -> Counter[str]:
        """By operation."""
        return sum((phase.calls for phase in self.phases), Counter())

    @property
    def events(self) -> int:
        """Calls of all operations."""
        return sum(self.calls.values())

    @property
    def by_class(self) -> Counter[str]:
        """Calls by class of operation."""
        found: Counter[str] = Counter()
        for name, count in self.calls.items():
            found[BY_NAME[name].kind.value] += count
        return found

    @property
    def think_s(self) -> float:
        """Time that a job takes on a storage that answers at once, in s."""
        return sum(phase.think_s for phase in self.phases)

    @property
    def workers(self) -> int:
        """Most threads at a time."""
        return max((phase.workers for phase in self.phases), default=0)


def totals_of(profile: Profile, numbers: Numbers) -> Totals:
    """What a job does.

    Raises
    ------
    UsageError: a number is missing, or the job takes longer than times can tell.
    """
    layout = layout_of(profile, numbers)
    there = [one for one in layout.classes if one.exists]
    result = Totals(
        needed_files=sum(one.count for one in there),
        needed_bytes=sum(one.count * one.size for one in there),
        made_files=sum(one.count for one in layout.classes if not one.exists and one.name in _made_by(profile)),
    )
    took_ns = 0
    for phase in profile.phases:
        at = f"{profile.name}: {phase.name}"
        items = numbers.count(phase.items, f"{at}: items")
        workers = min(max(1, numbers.count(phase.workers, f"{at}: workers")), max(1, items))
        one = PhaseTotals(phase.name, items, workers if items else 0)
        result.phases.append(one)
        if items == 0:
            continue
        if workers > 1:
            one.calls["fork"] += workers
        template = template_of(profile, phase, numbers, at)
        columns = template.columns()
        local = [files.place == "cache" for files in profile.files.values()]
        touched: Counter[int] = Counter()
        for op, moved, size, file, target in zip(
            *(columns[name].tolist() for name in ("op", "moved", "size", "file", "other")), strict=True
        ):
            kind, name = OPERATIONS[op].kind, OPERATIONS[op].name
            one.calls[name] += items
            is_local = file != NULL and local[file]
            one.local_calls[name] += items * is_local
            if kind in (Kind.READ, Kind.COPY):
                one.bytes_read += moved * items
                one.local_read += moved * items * is_local
                touched[file] += moved * items * (not is_local)
            if name == "mmap.fault":
                one.bytes_mapped += size * items
                one.local_mapped += size * items * is_local
                touched[file] += size * items * (not is_local)
            if kind is Kind.WRITE or (kind is Kind.COPY and target != NULL):
                one.bytes_written += moved * items
                one.local_written += moved * items * local[target if kind is Kind.COPY else file]
        gaps = int(columns["busy"].sum() + columns["idle"].sum()) + CALL_NS * len(columns["op"])
        boxes = boxes_of(profile, phase, template, numbers, layout, at)
        if boxes is not None:
            stacks = layout.classes.index(boxes.stacks)
            gaps += _add_boxes(one, boxes, items, local[stacks])
            touched[stacks] += min(one.scattered, boxes.among) * boxes.box
        # what a job makes itself has no size beforehand: each of its bytes is new
        sizes = [files.count * files.size for files in layout.classes]
        one.bytes_touched = sum(
            min(moved, sizes[file]) if file != NULL and sizes[file] else moved for file, moved in touched.items()
        )
        took_ns += gaps * -(-items // workers)
        if took_ns > NS_MAX:
            raise UsageError(f"{at}: a job that takes more than {NS_MAX / 3.15e16:.0f} years.")
        one.think_s = gaps * -(-items // workers) / 1e9
    return result


def _made_by(profile: Profile) -> set[str]:
    """Classes of files that a job makes: what only lies on its node's disk already is not made."""
    actions = [action for phase in profile.phases for action in phase.actions]
    return {one.to if one.do == "copy" else one.file for one in actions if one.do in _MAKES}


def _add_boxes(one: PhaseTotals, boxes: Boxes, items: int, local: bool) -> int:
    """Take in random reads; gives their think time (ns) for each item."""
    opened = boxes.opens_mean
    visits = round(opened * items)
    calls_of: Counter[str] = Counter(openat=visits, close=visits, read=visits)
    if boxes.by_position:
        calls_of["read"] += boxes.reads * items
        calls_of["lseek"] += boxes.reads * items
    else:
        calls_of["pread64"] += boxes.reads * items
    moved = boxes.reads * items * boxes.box + visits * boxes.header
    one.calls += calls_of
    one.bytes_read += moved
    if local:
        one.local_calls += calls_of
        one.local_read += moved
    else:
        one.scattered += boxes.reads * items
    calls = boxes.reads * (1 + boxes.by_position) + 3 * opened
    return round(calls * (GAP_NS + CALL_NS)) + sum(boxes.before)

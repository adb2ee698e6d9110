"""What a job asks of its storage, by arithmetic: no event is made, no mount is touched.

Exact, but for how many stacks random reads of boxes open: of that the expected number is taken.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from iotrace.errors import UsageError
from iotrace.profiles.boxes import Boxes, boxes_of
from iotrace.profiles.layout import layout_of
from iotrace.profiles.model import Profile
from iotrace.profiles.numbers import Numbers
from iotrace.profiles.templates import CALL_NS, GAP_NS, NS_MAX, template_of
from iotrace.trace.matrix import NULL
from iotrace.trace.operations import BY_NAME, OPERATIONS, Kind


@dataclass(slots=True)
class PhaseTotals:
    """One phase: items and workers, calls by operation, bytes, and think time of one worker in s."""

    name: str
    items: int
    workers: int
    calls: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    bytes_written: int = 0
    think_s: float = 0.0


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
    def calls(self) -> Counter[str]:
        """By operation."""
        return sum((phase.calls for phase in self.phases), Counter())

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
        made_files=sum(one.count for one in layout.classes if not one.exists),
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
        kinds = [OPERATIONS[op].kind for op in columns["op"].tolist()]
        for kind, op, moved, target in zip(
            kinds, columns["op"].tolist(), columns["moved"].tolist(), columns["other"].tolist(), strict=True
        ):
            one.calls[OPERATIONS[op].name] += items
            if kind in (Kind.READ, Kind.COPY):
                one.bytes_read += moved * items
            if kind is Kind.WRITE or (kind is Kind.COPY and target != NULL):
                one.bytes_written += moved * items
        gaps = int(columns["busy"].sum() + columns["idle"].sum()) + CALL_NS * len(columns["op"])
        boxes = boxes_of(profile, phase, template, numbers, layout, at)
        if boxes is not None:
            gaps += _add_boxes(one, boxes, items)
        took_ns += gaps * -(-items // workers)
        if took_ns > NS_MAX:
            raise UsageError(f"{at}: a job that takes more than {NS_MAX / 3.15e16:.0f} years.")
        one.think_s = gaps * -(-items // workers) / 1e9
    return result


def _add_boxes(one: PhaseTotals, boxes: Boxes, items: int) -> int:
    """Take in random reads; gives their think time (ns) for each item."""
    opened = boxes.opens_mean
    visits = round(opened * items)
    one.calls["openat"] += visits
    one.calls["close"] += visits
    one.calls["read"] += visits + (boxes.reads * items if boxes.by_position else 0)
    if boxes.by_position:
        one.calls["lseek"] += boxes.reads * items
    else:
        one.calls["pread64"] += boxes.reads * items
    one.bytes_read += boxes.reads * items * boxes.box + visits * boxes.header
    calls = boxes.reads * (1 + boxes.by_position) + 3 * opened
    return round(calls * (GAP_NS + CALL_NS)) + sum(boxes.before)

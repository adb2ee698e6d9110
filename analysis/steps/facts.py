"""What a step's page says in figures: of its recipe at the size of a data set, and of the recordings that stand for it.

The recipe's figures are those of `iotrace profile plan` (arithmetic); the recordings' are those of `iotrace summary`
(measured).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from iotrace.data.recordings import Recording, recordings_of
from iotrace.profiles.boxes import boxes_of
from iotrace.profiles.expressions import names_in
from iotrace.profiles.layout import layout_of
from iotrace.profiles.model import SUMS, Action, DataSet, Number, Phase, Profile, load, names_of
from iotrace.profiles.numbers import Numbers, numbers_of
from iotrace.profiles.templates import template_of
from iotrace.profiles.totals import Totals, totals_of
from iotrace.trace.operations import OPERATIONS, Kind
from iotrace.trace.reader import open_trace
from iotrace.trace.schema import NULL
from iotrace.trace.tables import Tables

DATASET: Final = "empiar-10288"
_OPENS: Final = ("open", "openat", "openat2", "creat")


@dataclass(frozen=True)
class Use:
    """What a phase does with a class of files.

    Attributes
    ----------
    phase, files: names; words: how, for people; times: how often in all.
    bytes: that a call moves at most; 0 for one that moves no data, or whose bytes are the kernel's to choose (maps).
    """

    phase: str
    files: str
    words: str
    times: int
    bytes: int


@dataclass(frozen=True)
class Measured:
    """Figures of a recording.

    Attributes
    ----------
    calls and all that follows: of those on files of the project, without those of processes.
    opens: that succeeded; locks: calls that take or give back one; mapped: page faults on mapped files.
    metadata_share: of the calls; read_size, write_size: half of the bytes move in calls of so many or more; None
        where none move.
    """

    recording: Recording
    calls: int
    bytes_read: int
    bytes_written: int
    opens: int
    locks: int
    mapped: int
    metadata_share: float
    read_size: int | None
    write_size: int | None


@dataclass(frozen=True)
class Facts:
    """All figures of a step's page."""

    profile: Profile
    dataset: DataSet
    numbers: Numbers
    totals: Totals
    uses: list[Use]
    used: dict[str, Number]
    measured: list[Measured]

    @property
    def data_calls(self) -> int:
        """Reads, writes and copies."""
        kinds = self.totals.by_class
        return kinds["read"] + kinds["write"] + kinds["copy"]

    @property
    def storage_calls(self) -> int:
        """All calls but those that start processes and threads."""
        return sum(self.totals.calls.values()) - self.totals.by_class["process"]

    @property
    def metadata_share(self) -> float:
        """Of the calls that ask something of a storage."""
        return self.totals.by_class["metadata"] / self.storage_calls

    @property
    def opens(self) -> int:
        """Calls that open a file."""
        return sum(self.totals.calls[name] for name in _OPENS)

    def value(self, name: str) -> float:
        """A number of the recipe, worked out."""
        return self.numbers.values[name]


def steps() -> list[str]:
    """Names of all recipes of steps, in the order of the workflow, those outside of it at the end."""
    profiles = [load(Profile, name) for name in names_of(Profile)]
    return [one.name for one in sorted(profiles, key=lambda one: (one.step or len(profiles), one.name))]


def facts_of(name: str) -> Facts:
    """Work out the figures of a step at the size of EMPIAR-10288, and measure its recordings."""
    profile, dataset = load(Profile, name), load(DataSet, DATASET)
    numbers = numbers_of(profile, dataset)
    return Facts(
        profile, dataset, numbers, totals_of(profile, numbers), list(_uses(profile, numbers)),
        _used(profile, numbers), [measured(one) for one in recordings_of(name)],
    )  # fmt: skip


def measured(recording: Recording) -> Measured:
    """Figures of a shipped recording, of what lies in the job's project: libraries and /proc do not count."""
    trace = open_trace(recording.trace)
    with Tables(trace) as tables:
        ask = tables.connection.execute
        ask(
            "create temp table own as select s.*, q.text from sides s join paths q on s.path = q.path "
            "where starts_with(q.text, ? || '/')",
            [trace.info.working_folder],
        )
        kinds = dict(ask("select kind, count(*) from own group by all").fetchall())
        row = ask(
            """
            select sum(bytes_read)::bigint, sum(bytes_written)::bigint,
                   count(*) filter (op in ('open', 'openat', 'openat2', 'creat') and result >= 0),
                   count(*) filter (op = 'mmap.fault')
            from own
            """
        ).fetchone()
        moved = "select {0}, count(*) from own where {0} > 0 group by all"
        read, written = (Counter(dict(ask(moved.format(name)).fetchall())) for name in ("bytes_read", "bytes_written"))
    assert row is not None
    bytes_read, bytes_written, opens, mapped = row
    calls = sum(kinds.values()) - kinds.get("process", 0)
    return Measured(
        recording, calls, bytes_read, bytes_written, opens, kinds.get("lock", 0), mapped,
        kinds.get("metadata", 0) / calls, _usual(read), _usual(written),
    )  # fmt: skip


def usual_size(facts: Facts, way: Kind) -> int | None:
    """As _usual, of the recipe's calls at full size that read (Kind.READ) or write (Kind.WRITE); copies may do both."""
    found: Counter[int] = Counter()
    layout = layout_of(facts.profile, facts.numbers)
    for phase, totals in zip(facts.profile.phases, facts.totals.phases, strict=True):
        template = template_of(facts.profile, phase, facts.numbers, facts.profile.name)
        columns = template.columns()
        for op, moved, other in zip(*(columns[name].tolist() for name in ("op", "moved", "other")), strict=True):
            kind = OPERATIONS[op].kind
            # a copy into a file writes, one to the program itself does not
            if kind is way or (kind is Kind.COPY and (way is Kind.READ or other != NULL)):
                found[moved] += totals.items
        boxes = boxes_of(facts.profile, phase, template, facts.numbers, layout, facts.profile.name)
        if boxes is not None and way is Kind.READ:
            found[boxes.box] += boxes.reads * totals.items
            # what of the phase's opens is not of its template is of stacks, whose headers are read
            opens = sum(OPERATIONS[op].name == "openat" for op in columns["op"].tolist())
            found[boxes.header] += totals.calls["openat"] - opens * totals.items
    return _usual(found)


def _usual(calls: Counter[int]) -> int | None:
    """The size for which half of all bytes move in calls that move as much or more; None where none move.

    Parameters
    ----------
    calls: how many, by bytes moved.
    """
    moved = sum(size * count for size, count in calls.items() if size > 0)
    left = moved / 2
    for size in sorted(calls, reverse=True):
        left -= max(size, 0) * calls[size]
        if left <= 0 < moved:
            return size
    return None


def _uses(profile: Profile, numbers: Numbers) -> Iterator[Use]:
    for phase in profile.phases:
        items = numbers.count(phase.items)
        for action in phase.actions:
            if action.do != "think":
                yield _use(profile, phase, action, items, numbers)


def _use(profile: Profile, phase: Phase, action: Action, items: int, numbers: Numbers) -> Use:
    words = {
        ("read", "whole"): "read whole, in sequence", ("read", "sendfile"): "read whole, by sendfile",
        ("read", "mmap"): "read whole, by memory map", ("read", "header"): "opened, its first bytes read",
        ("write", "whole"): "written, in sequence", ("write", "rename"): "written under a temporary name, renamed",
        ("append", "plain"): "opened and appended to", ("append", "locked"): "appended to under a lock",
        ("copy", "sendfile"): "copied by sendfile", ("copy", "copy_file_range"): "copied inside the kernel",
        ("boxes", "read"): "opened; the header read, then boxes: seek and read",
        ("boxes", "pread"): "opened; the header read, then boxes: pread",
    }  # fmt: skip
    text = words.get((action.do, action.way), {"list": "listed", "stat": "looked up (stat)"}.get(action.do, action.do))
    times = items * numbers.count(action.times) * (numbers.count(action.reads) if action.do == "boxes" else 1)
    if action.do == "boxes":
        size = numbers.count(action.box)
    elif action.do not in ("read", "write", "append", "copy") or action.way == "mmap":
        size = 0
    else:
        whole = numbers.count(action.bytes or profile.files[action.file].size)
        chunk = numbers.count(action.chunk) if action.chunk else whole
        size = min(whole, chunk) if whole else chunk
    return Use(phase.name, action.file, text + (f" to {action.to}" if action.to else ""), times, size)


def _used(profile: Profile, numbers: Numbers) -> dict[str, Number]:
    """Numbers that the recipe's sums need, with all that those need."""
    texts = [getattr(one, field) for one in profile.files.values() for field in ("count", "size", "entries")]
    for phase in profile.phases:
        texts += [phase.items, phase.workers]
        texts += [getattr(action, field) for action in phase.actions for field in SUMS if getattr(action, field)]
    found: dict[str, Number] = {}
    while texts:
        for name in names_in(texts.pop()):
            if name not in found:
                found[name] = numbers.known[name]
                if isinstance(found[name].value, str):
                    texts.append(str(found[name].value))
    return dict(sorted(found.items()))

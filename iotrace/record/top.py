"""What processes or jobs ask of the storage right now: rates over the last interval, from the kernel's counts.

Takes the intervals of a TallyBackend, gives rows; how they are shown is top_command's. Nothing is written anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from iotrace.histogram import middles
from iotrace.record.ebpf.tallies import LATENCY, SIZE, UNTIMED, WRITTEN, Counts
from iotrace.trace.info import TraceInfo
from iotrace.trace.operations import OPERATIONS, Kind
from iotrace.trace.schema import BYTES_READ, BYTES_WRITTEN

By = Literal["process", "job"]
SORTS: Final = {"r": "read", "w": "write", "o": "operations", "m": "metadata", "p": "p99", "n": "name"}
"""Key on the keyboard → column to sort by."""
_ROWS_KEPT: Final = 50_000
"""Processes after which the recorder is asked to forget those that have ended."""
_READS: Final = np.array([o.kind in BYTES_READ and o.result == "bytes" for o in OPERATIONS])
# of copies what was written is counted by itself
_WRITES: Final = np.array(
    [o.kind in BYTES_WRITTEN and o.kind is not Kind.COPY and o.result == "bytes" for o in OPERATIONS]
)
_METADATA: Final = np.array([o.kind is Kind.METADATA for o in OPERATIONS])
_STORAGE: Final = np.array([o.kind is not Kind.PROCESS for o in OPERATIONS])


@dataclass(frozen=True, slots=True)
class Row:
    """One line: rates per second over the interval, p99 in µs (NaN: no duration known)."""

    name: str
    user: str
    read: float
    write: float
    operations: float
    metadata: float
    p99: float


class Nowhere:
    """A writer that keeps nothing but the facts about processes."""

    def __init__(self, info: TraceInfo) -> None:
        self.info = info
        self.processes: dict[int, dict[str, Any]] = {}
        self._appended = 0

    @property
    def wants_chapter(self) -> bool:
        return self._appended > _ROWS_KEPT

    def append(self, table: str, batch: Any) -> None:
        """Nothing."""

    def append_rows(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Keep processes."""
        if table == "processes":
            self._appended += len(rows)
            self.processes.update({row["process"]: dict(row) for row in rows})

    def append_matrix(self, rows: npt.NDArray[np.int64], count: int) -> None:
        """Nothing."""

    def prepare(self) -> None:
        """Nothing."""

    def begin_chapter(self) -> None:
        """Forget; the processes that live come again."""
        self.processes, self._appended = {}, 0

    def flush(self) -> None:
        """Nothing."""


class Latest:
    """The last interval's counts; given by the recorder's thread, taken by the one that shows them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: tuple[Counts, float] | None = None

    def put(self, counts: Counts, start_ns: int, length_ns: int) -> None:
        with self._lock:
            self._new = counts, length_ns / 1e9

    def take(self) -> tuple[Counts, float] | None:
        """Counts and seconds of an interval that was not taken yet."""
        with self._lock:
            new, self._new = self._new, None
        return new


def rows_of(counts: Counts, seconds: float, processes: Callable[[int], dict[str, Any]], by: By, sort: str) -> list[Row]:
    """A row for each process or job that did something, the most first (by name: in its order).

    Parameters
    ----------
    counts: of an interval of so many seconds; `process` as the trace numbers it.
    processes: a process's row of the table processes.
    sort: a value of SORTS.
    """
    numbers = counts.keys["process"]
    facts = {number: processes(number) for number in np.unique(numbers).tolist()}
    names = {number: _name(row, by) for number, row in facts.items()}
    groups: dict[str, list[int]] = {}
    for number, name in names.items():
        groups.setdefault(name, []).append(number)
    rows = []
    for name, members in groups.items():
        mine = np.isin(numbers, members)
        row = _row(name, str(facts[members[0]].get("user") or ""), counts.keys[mine], counts.values[mine], seconds)
        if row.operations > 0:
            rows.append(row)
    if sort == "name":
        return sorted(rows, key=lambda row: row.name)
    return sorted(rows, key=lambda row: (-np.nan_to_num(getattr(row, sort), nan=-1.0), row.name))


def total_of(counts: Counts, seconds: float) -> Row:
    """All rows together."""
    return _row("all", "", counts.keys, counts.values, seconds)


def _name(row: dict[str, Any], by: By) -> str:
    if by == "job":
        label = "/".join(text for text in (row.get("project"), row.get("job")) if text)
        return f"{label} {row.get('step') or ''}".strip() if label else "(no job)"
    arguments = " ".join(str(word) for word in (row.get("arguments") or [])[1:])
    return f"{row.get('pid', '?')} {row.get('command') or ''} {arguments}".strip()


def _row(name: str, user: str, keys: npt.NDArray[np.void], values: npt.NDArray[np.void], seconds: float) -> Row:
    op, what = keys["op"], keys["what"]
    called = ((what == LATENCY) | (what == UNTIMED)) & _STORAGE[op]
    size = what == SIZE
    return Row(
        name,
        user,
        read=float(values["sum"][size & _READS[op]].sum() / seconds),
        write=float(values["sum"][(size & _WRITES[op]) | (what == WRITTEN)].sum() / seconds),
        operations=float(values["count"][called].sum() / seconds),
        metadata=float(values["count"][called & _METADATA[op]].sum() / seconds),
        p99=_p99(keys["bucket"][called & (what == LATENCY)], values["count"][called & (what == LATENCY)]),
    )


def _p99(bucket: npt.NDArray[np.unsignedinteger[Any]], count: npt.NDArray[np.int64]) -> float:
    """In µs, by nearest rank."""
    if not len(bucket):
        return float("nan")
    order = np.argsort(bucket, kind="stable")
    until = np.cumsum(count[order])
    place = int(np.searchsorted(until, max(1, int(np.ceil(0.99 * until[-1])))))
    return float(middles()[int(bucket[order][place])] / 1e3)

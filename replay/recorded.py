"""What the recording said of the rows of a plan: read from the trace again when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from iotrace.errors import TraceError
from iotrace.replay.columns import NONE, Ids, Ints, Tables, load_tables
from iotrace.replay.filed import filed
from iotrace.replay.status import Status
from iotrace.trace.reader import Trace

PLAIN: Final = ("size", "offset", "count", "result", "file")
FOR_RIDES: Final = (
    "call", "asynchronous", "open", "other_open", "other_file", "open_flags", "flags", "start_ns", "end_ns", "ring",
    "batch", "file_size",
)  # fmt: skip


class Recorded:
    """What the recording said of each row of a plan: `recorded["size"]` and so on.

    size, offset, count, result (NONE for null) and file (-1) are arrays of shape (rows,), read from the trace when they
    are first asked for; node is the node of the row's name, (rows,), int32, -1 for none; paths holds the generated path
    of each node; substituted, (rows,), says which rows are issued as other calls, or on other bytes, than recorded.

    What iotrace.replay.rides needs, all read at once: call, asynchronous, open, other_open, other_file, flags,
    start_ns, end_ns, ring and batch as in Events (call is its `op`), open_flags of the description then; file_size,
    (files,).

    step and job, (rows,), int32: which of the labels `steps`, and which of `jobs` (tuples of
    iotrace.replay.columns.LABELS), the row's process carries, -1 for none.

    `known` holds columns that are to differ from the trace; `named` are events of which it does not say the file, and
    their files. `folder`: see Plan.
    """

    def __init__(
        self, trace: Trace, event: Ids, node: Ids, substituted: Ints, paths: list[bytes], known: dict[str, Any],
        named: tuple[Ints, Ids], folder: str | None = None,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._trace, self._event, self._named = trace, event, named
        self._substituted = substituted
        self._known: dict[str, Any] = {"node": node, "paths": paths} | known
        self._read_again: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        if name not in self._read_again:
            with filed(self._folder):
                self._read_again |= self._read(name)
        return self._read_again[name]

    def at(self, rows: Ints, *names: str) -> tuple[Ints, ...]:
        """Columns of the events at some rows, (rows,) each, NONE for null: as the trace has them, and not kept."""
        with filed(self._folder):
            tables = self._tables()
            return tuple(plain_column(tables, self._event[rows], name) for name in names)

    def about(self, rows: Sequence[int]) -> list[tuple[str, str]]:
        """The recorded name of what each row is about, and its process, for people; "" for none."""
        with filed(self._folder):
            tables = self._tables()
            return self._about(tables, rows)

    def _about(self, tables: Tables, rows: Sequence[int]) -> list[tuple[str, str]]:
        events, found = tables.events, []
        for event in self._event[np.asarray(rows, np.int64)].tolist():
            if event < 0:
                found.append(("", ""))
                continue
            path, file = int(events.path[event]), int(events.file[event])
            path = int(tables.file_path[file]) if path < 0 and file >= 0 else path
            found.append((tables.name_of_path(path), tables.process_text[int(events.process[event])]))
        return found

    def release(self, *names: str) -> None:
        """Give back the memory of columns; they are read again when they are asked for."""
        for name in names:
            self._read_again.pop(name, None)

    def _read(self, name: str) -> dict[str, Any]:
        if name == "substituted":
            rows = np.zeros(len(self._event), np.bool_)
            rows[self._substituted] = True
            return {name: rows}
        if name in FOR_RIDES:
            return columns_for_rides(self._tables(), self._event)
        if name not in PLAIN:
            raise KeyError(name)
        column = plain_column(self._tables(), self._event, name)
        if name == "file":
            events, files = self._named
            at = np.flatnonzero(np.isin(self._event, events))
            column[at] = files[np.searchsorted(events, self._event[at])]
        return {name: column}

    def _tables(self) -> Tables:
        tables = load_tables(self._trace)
        if len(tables.events) <= self._event.max(initial=-1):
            raise TraceError(f"{self._trace.folder} lost events while it was replayed: keep it until the end.")
        return tables


def plain_column(tables: Tables, event: Ids, name: str) -> Ints:
    """A column of the events by row, NONE where a row has no event."""
    column = getattr(tables.events, name)
    return np.where(event >= 0, column[event], NONE)


def columns_of_labels(tables: Tables, event: Ids) -> dict[str, Any]:
    """The columns step and steps, job and jobs; a trace without labels costs no memory."""
    found: dict[str, Any] = {}
    for name, labels in (("step", tables.process_step), ("job", tables.process_job)):
        known: list[Any] = sorted({label for label in labels if any(label)})
        found[f"{name}s"] = known
        if not known:
            found[name] = np.broadcast_to(np.int32(-1), len(event))
            continue
        place = {label: number for number, label in enumerate(known)}
        number = np.array([place.get(label, -1) for label in labels] + [-1], np.int32)
        found[name] = number[np.where(event >= 0, tables.events.process[event], -1)]
    return found


def columns_for_rides(tables: Tables, event: Ids) -> dict[str, Any]:
    """The columns FOR_RIDES by row."""
    events, known = tables.events, event >= 0

    def of(column: Any, none: int) -> Any:
        return np.where(known, column[event], none).astype(column.dtype)

    return {
        "call": of(events.op, -1), "asynchronous": known & events.asynchronous[event],
        "open": of(events.open, -1), "other_open": of(events.other_open, -1), "other_file": of(events.other_file, -1),
        "open_flags": np.where(known, Status(tables).flags(np.where(known, event, 0)), 0).astype(np.int32),
        "flags": of(events.flags, 0), "start_ns": of(events.time_ns, 0), "end_ns": of(events.end_ns, 0),
        "ring": of(events.ring, NONE), "batch": of(events.batch, NONE), "file_size": tables.file_size,
    }  # fmt: skip

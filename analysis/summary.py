"""What a trace holds, in tables: takes an opened trace, gives a Summary; pure but for reading.

The tables are those of iotrace.trace.tables, where every figure is defined. What a recording lost or could not see
belongs to the summary, for without it the other figures would claim too much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd

from iotrace.trace.counted import keys_of, tables_of
from iotrace.trace.info import TraceInfo
from iotrace.trace.reader import Trace
from iotrace.trace.tables import Key, Tables, records
from iotrace.units import bytes_text, duration_text

DEFAULT_TABLES: Final[tuple[Key, ...]] = ("op", "file", "step")


def dropped_sentence(info: TraceInfo) -> str:
    """What a recording of bounded size gave up by choice."""
    return (
        f"Dropped by choice: {info.dropped.events:,} events ({bytes_text(info.dropped.bytes)}) up to "
        f"{duration_text(info.dropped.until_ns)} into the recording, for it may take "
        f"{bytes_text(info.max_bytes or 0)} at most; the figures are of the rest."
    )


@dataclass(frozen=True)
class Summary:
    """Figures of one trace.

    Attributes
    ----------
    name: the trace's folder name; info: its trace.json.
    events: rows; lost: operations that happened and are missing, lost_by_class: the same by class of operation.
    gone: rows that trace.json counts and that are not there (a part was removed).
    complete: closed properly, nothing lost, nothing gone.
    duration_s: of the recording (of what was written, where it was cut off).
    files, processes: rows of those tables; tells_files: operations are told apart by file (a recorder's counts know no
    files but the file systems they lie on); bytes_read, bytes_written: see iotrace.trace.tables.
    tables: for each key asked for, the frame of Tables.by.
    """

    name: str
    info: TraceInfo
    events: int
    lost: int
    lost_by_class: dict[str, int]
    gone: int
    complete: bool
    duration_s: float
    files: int
    processes: int
    bytes_read: int
    bytes_written: int
    tells_files: bool
    tables: dict[str, pd.DataFrame] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The object that `iotrace summary --json` prints; values that are not known are None."""
        result: dict[str, Any] = {
            "events": self.events,
            "lost": self.lost,
            "complete": self.complete,
            "duration_s": self.duration_s,
            "files": self.files,
            "processes": self.processes,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
        }
        for key in dict.fromkeys(["op", "step", *self.tables]):
            if key not in self.tables:
                continue
            rows = records(self.tables[key])
            if key == "op":
                result["by_op"] = {str(row["key"]): _op_row(row) for row in rows}
            elif key == "step":
                result["by_step"] = {row["key"]: _row(row) for row in rows if row["key"] is not None}
            else:
                result[f"by_{key}"] = [{"key": row["key"], **_row(row)} for row in rows]
        result["lost_by_class"] = self.lost_by_class
        result["unseen"] = self.info.unseen
        result["counters"] = [
            {"source": one.source, "scope": one.scope, "during": one.during} for one in self.info.counters
        ]
        dropped = self.info.dropped
        result["dropped"] = {"events": dropped.events, "bytes": dropped.bytes, "until_s": dropped.until_ns / 1e9}
        return result


def summarise(trace: Trace, by: Sequence[Key | str] = DEFAULT_TABLES, limit: int | None = None) -> Summary:
    """Summarise a trace.

    Parameters
    ----------
    trace: an opened trace.
    by: keys of the tables wanted; see iotrace.trace.tables.KEYS.
    limit: rows of each table by file, process or thread (those with most time); None: all.

    Raises
    ------
    UsageError: an unknown key.
    TraceError: a part of the trace is damaged.
    """
    with tables_of(trace, by) as tables:
        return summary_of(tables, by, limit)


def summary_of(tables: Tables, by: Sequence[Key | str], limit: int | None) -> Summary:
    """As summarise, of tables that are open."""
    trace = tables.trace
    totals = tables.totals()
    keys = dict.fromkeys(["op", *by])
    frames = {key: tables.by(key, limit if key in ("file", "process", "thread") else None) for key in keys}
    info = trace.info
    lost = {kind: count for kind, count in info.lost.items() if count}
    gone = max(0, info.events - totals["events"])
    return Summary(
        name=trace.folder.name,
        info=info,
        events=totals["events"],
        lost=sum(lost.values()),
        lost_by_class=lost,
        gone=gone,
        complete=info.complete and not gone,
        duration_s=(info.duration_ns or totals["end_ns"]) / 1e9,
        files=totals["files"],
        processes=totals["processes"],
        bytes_read=totals["bytes_read"],
        bytes_written=totals["bytes_written"],
        tells_files=bool(keys_of(trace, ["file"])),
        tables=frames,
    )


def has_labels(table: pd.DataFrame) -> bool:
    """Whether a table by step, job or user says more than that nothing is labelled."""
    return bool(table["key"].notna().any())


def timing_notes(made: Summary, key: str) -> list[str]:
    """What the times of a table leave out: calls whose duration is not known, mostly page faults found in memory."""
    rows = [row for row in records(made.tables[key]) if 0 < row["timed"] < row["calls"]]
    if not rows:
        return []
    if key in ("op", "class"):
        of = ", ".join(f"{row['key']} from {row['timed']:,} of {row['calls']:,} calls" for row in rows)
    else:
        of = f"{len(rows):,} row{'' if len(rows) == 1 else 's'} from part of the calls"
    return [f"Times and percentiles of {of}: the others' durations are not known (a page found in memory has none)."]


def _number(value: float, digits: int = 4) -> float | None:
    return None if value is None or math.isnan(value) else round(float(value), digits)


def _op_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "calls": int(row["calls"]),
        "errors": int(row["errors"]),
        "bytes": max(int(row["bytes_read"]), int(row["bytes_written"])),
        "p50_us": _number(row["p50_us"]),
        "p99_us": _number(row["p99_us"]),
        **_rest(row),
    }


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "calls": int(row["calls"]),
        "errors": int(row["errors"]),
        "bytes": int(row["bytes_read"]) + int(row["bytes_written"]),
        "bytes_read": int(row["bytes_read"]),
        "bytes_written": int(row["bytes_written"]),
        "p50_us": _number(row["p50_us"]),
        "p99_us": _number(row["p99_us"]),
        **_rest(row),
    }


def _rest(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "timed": int(row["timed"]),
        "time_s": _number(row["time_s"], 9),
        "size_p50": None if math.isnan(row["size_p50"]) else int(row["size_p50"]),
        "sequential_share": _number(row["sequential_share"]),
    }

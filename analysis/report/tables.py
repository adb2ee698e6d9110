"""Tables of the report: summaries, comparisons and runs as texts with the values that they sort by.

Takes a Summary, a ComparisonTable or a Side, gives Grids for the template. Texts are printable; the template escapes
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from iotrace.analysis.commands.compare import p_text, ratio_text, spread_text, value_text
from iotrace.analysis.compare import ComparisonTable, Row
from iotrace.analysis.comparison.sides import Side
from iotrace.analysis.summary import Summary, timing_notes
from iotrace.statistics import MedianInterval, median
from iotrace.terminal import fit, printable
from iotrace.trace.tables import records
from iotrace.units import asked_text, bytes_text, count_text, duration_text, significant


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and what holds."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Head:
    """A column's head: left-aligned where it is text; `meaning` is shown on hovering."""

    title: str
    meaning: str = ""
    text: bool = False


@dataclass(frozen=True, slots=True)
class GridCell:
    """A text, what the column sorts by ("" sorts last), a class of the style sheet, the whole of a shortened text."""

    text: str
    value: str = ""
    style: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table with a caption; the first column names the rows."""

    caption: str
    heads: list[Head]
    rows: list[list[GridCell]]
    provenance: str
    note: str = ""


_NAME_WIDTH: Final = 60
"""Characters of a path that are shown; the whole is in the title and in what the column sorts by."""

_KEY_TITLES: Final = {
    "op": ("operation", "By operation"),
    "file": ("file", "By file"),
    "process": ("process", "By process"),
    "mount": ("mount", "By mount"),
    "step": ("step", "By step"),
    "job": ("job", "By job"),
}
_HEADS: Final = [
    Head("calls", "number of calls"),
    Head("errors", "calls that failed; many programs look for files that are not there"),
    Head("read", "bytes read"),
    Head("written", "bytes written"),
    Head("time", "sum of the time inside the calls"),
    Head("p50", "median latency"),
    Head("p99", "99th percentile of the latency"),
    Head("size", "median size that data operations asked for"),
    Head("sequential", "share of data operations that went on where the one before on the same descriptor ended"),
]
_GROUPS: Final = {
    "run": "Whole run",
    "step": "By step",
    "class": "By class of operation",
    "op": "By operation",
}


def summary_grid(made: Summary, key: str, limit: int) -> Grid:
    """A table of a trace's summary."""
    head, caption = _KEY_TITLES[key]
    frame = made.tables[key]
    figures = records(frame)
    names = [printable(_name(row, key, made)) for row in figures]
    rows = [
        [GridCell(short, name, title=name if short != name else ""), *_figures(row)]
        for row, name, short in zip(figures, names, fit(names, _NAME_WIDTH), strict=True)
    ]
    notes = [f"The {limit} with most time."] if key in ("file", "process") and len(rows) >= limit else []
    return Grid(
        caption, [Head(head, text=True), *_HEADS], rows, "measured", " ".join([*notes, *timing_notes(made, key)])
    )


def comparison_grids(table: ComparisonTable, candidate: str) -> list[Grid]:
    """The tables of one candidate against the baseline: whole run, by class, by operation."""
    heads = [
        Head("metric", text=True),
        Head("A", "median of the baseline's runs"),
        Head("±", "half-width of the median's 95 % interval"),
        Head("B", "median of the candidate's runs"),
        Head("±", "half-width of the median's 95 % interval"),
        Head("B ÷ A", "ratio with its 95 % interval (Hodges-Lehmann)", text=True),
        Head("p", "probability of such a difference if there were none, of this row by itself"),
        Head("p, all rows", "the same with all rows of the comparison looked at: the verdict rests on it"),
        Head("verdict", "~ means that no difference was shown", text=True),
    ]
    rows = table.of(candidate)
    return [
        Grid(caption, heads, [_comparison_row(row) for row in rows if row.group == group], "replayed")
        for group, caption in _GROUPS.items()
        if any(row.group == group for row in rows)
    ]


def operations_grid(side: Side) -> Grid:
    """What one side did, by operation: medians over its runs."""
    heads = [
        Head("operation", text=True),
        Head("calls"),
        Head("unexpected", "calls whose outcome was not the recorded one"),
        Head("bytes"),
        Head("time", "sum of the time inside the calls"),
        Head("p50", "median latency"),
        Head("p99", "99th percentile of the latency"),
        Head("p99.9", "99.9th percentile of the latency"),
    ]
    names = sorted(
        {name for run in side.runs for name in run.by_op},
        key=lambda name: -sum(run.by_op[name].time_s for run in side.runs if name in run.by_op),
    )
    rows = []
    for name in names:
        found = [run.by_op[name] for run in side.runs if name in run.by_op]
        time_s = median([op.time_s for op in found])
        cells = [
            GridCell(printable(name), printable(name)),
            _count(median([op.calls for op in found])),
            _count(sum(op.errors for op in found), "slower"),
            _bytes(median([op.bytes for op in found])),
            GridCell(duration_text(time_s * 1e9), str(time_s)),
        ]
        for values in ([op.p50_us for op in found], [op.p99_us for op in found], [op.p999_us for op in found]):
            cells.append(_latency(median([value for value in values if value is not None])))
        rows.append(cells)
    note = f"medians of {len(side.runs)} runs; unexpected outcomes of all" if len(side.runs) > 1 else ""
    return Grid(printable(f"Operations on {side.label}"), heads, rows, "replayed", note)


def _comparison_row(row: Row) -> list[GridCell]:
    c = row.comparison
    return [
        GridCell(printable(row.title), printable(row.title)),
        GridCell(value_text(row.a.median, row.unit), _value(row.a.median)),
        GridCell(spread_text(row.a), _spread(row.a)),
        GridCell(value_text(row.b.median, row.unit), _value(row.b.median)),
        GridCell(spread_text(row.b), _spread(row.b)),
        GridCell(ratio_text(row), _value(c.ratio)),
        GridCell(p_text(c.p), _value(c.p)),
        GridCell(p_text(row.p_adjusted), _value(row.p_adjusted)),
        GridCell(c.verdict, c.verdict, "" if c.verdict == "~" else c.verdict),
    ]


def _spread(found: MedianInterval) -> str:
    if found.low is None or found.high is None or not found.median:
        return ""
    return _value(max(found.high - found.median, found.median - found.low) / abs(found.median))


def _name(row: dict[str, Any], key: str, made: Summary) -> str:
    if row["key"] is None:
        return {"file": "(no file)", "mount": "(mount unknown)"}.get(key, "(no label)")
    if key == "mount":
        mount = made.info.mounts[int(row["id"])]
        return f"{mount.point} ({mount.type}, {mount.source})"
    return str(row["key"])


def _figures(row: dict[str, Any]) -> list[GridCell]:
    size, share, seconds = row["size_p50"], row["sequential_share"], row["time_s"]
    return [
        _count(row["calls"]),
        _count(row["errors"]),
        _bytes(row["bytes_read"]),
        _bytes(row["bytes_written"]),
        GridCell(duration_text(seconds * 1e9), _value(seconds)) if row["timed"] or seconds else GridCell("-"),
        _latency(row["p50_us"]),
        _latency(row["p99_us"]),
        GridCell("-") if size != size else GridCell(asked_text(int(size)), _value(size)),
        GridCell("-") if share != share else GridCell(f"{significant(share * 100, 2)} %", _value(share)),
    ]


def _count(value: float, style: str = "") -> GridCell:
    return GridCell(count_text(value), _value(value), style) if value else GridCell("-", "0")


def _bytes(value: float) -> GridCell:
    return GridCell(bytes_text(value), _value(value)) if value else GridCell("-", "0")


def _latency(value_us: float) -> GridCell:
    return GridCell("-") if value_us != value_us else GridCell(duration_text(value_us * 1e3), _value(value_us))


def _value(value: float | None) -> str:
    return "" if value is None or value != value else repr(float(value))

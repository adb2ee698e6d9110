"""`iotrace compare`: prints which mount served a replay better, in the manner of benchstat."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from iotrace.analysis.compare import ComparisonTable, Row, compare_results
from iotrace.statistics import LEVEL, MedianInterval
from iotrace.terminal import Cell, Column, console, paragraph, printable, show, table
from iotrace.units import count_text, duration_text, rate_text, significant

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLE: Final = {"faster": "bold green", "slower": "bold red", "~": "dim"}
_OPERATIONS_SHOWN: Final = 8
_TITLES: Final = {"run": "Whole run", "class": "Latency by class of operation", "op": "Latency by operation"}


def compare(
    result: Path,
    /,
    *results: Path,
    json: Annotated[bool, Parameter(negative=())] = False,
    html: Path | None = None,
    every: Annotated[bool, Parameter(name="--all", negative=())] = False,
) -> None:
    """Say which storage served a replay better, and how sure that is.

    Give one result that was replayed on several mounts, or several results; the first mount is the baseline.

    ```
    iotrace replay T.iotrace --fs /mnt/a --fs /mnt/b --repeat 6 -o R.ioresult
    iotrace compare R.ioresult
    ```

    Each value is the median over the runs, with the half-width of its 95 % interval. *B ÷ A* is the ratio with its 95
    % interval (Hodges-Lehmann; no assumption of normality), *p* that of the matching rank test. `~` means that no
    difference was shown, which is not the same as no difference.

    Parameters
    ----------
    result
        Folder of a result, NAME.ioresult.
    results
        More results to compare with the first.
    json
        Print one JSON object with a row for each metric (times in s and µs, rates in bytes/s and 1/s).
    html
        Also write the comparison as a page, as `iotrace report` does.
    every
        Show every operation, not only those that took most time.
    """
    made = compare_results(result, *results)
    if html is not None:
        from iotrace.analysis.report import write_report

        write_report([result, *results], html)
    if json:
        print(json_module.dumps(made.to_json(), allow_nan=False))
        return
    print_comparison(made, console(), every=every)


def print_comparison(made: ComparisonTable, out: Console, every: bool = False) -> None:
    """Print the verdict, the tables, the footnotes and the warnings."""
    baseline, *candidates = made.sides
    pairing = "run in turns, compared in pairs" if made.paired else "not run in turns"
    for letter, side in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", made.sides, strict=False):
        runs = f"{len(side.runs)} run{'' if len(side.runs) == 1 else 's'}"
        show(out, printable(f"{letter}  {side.label} ({side.mount}), {runs}"))
    for number, side in enumerate(candidates, 1):
        letter = chr(ord("A") + number) if number < 26 else side.label
        show(out, "")
        paragraph(out, made.verdicts()[number - 1], "bold")
        show(out, "")
        for group, title in _TITLES.items():
            rows = [row for row in made.of(side.label) if row.group == group]
            hidden = 0
            if group == "op":
                # p95 by operation is in the JSON: the table would be half as long again
                rows = rows if every else [row for row in rows if not row.metric.endswith(".p95_us")]
                names = list(dict.fromkeys(row.metric.rsplit(".", 1)[0] for row in rows))
                shown = names if every else names[:_OPERATIONS_SHOWN]
                hidden = len(names) - len(shown)
                rows = [row for row in rows if row.metric.rsplit(".", 1)[0] in shown]
            if rows:
                show(out, _table(rows, letter, out.width, title))
                if hidden:
                    show(out, f"… and {hidden} more operations: --all shows them")
                show(out, "")
    show(out, f"n = {len(baseline.runs)} and {', '.join(str(len(side.runs)) for side in candidates)}; {pairing}")
    for note in made.footnotes:
        paragraph(out, note, "dim")
    for sentence in made.warnings:
        paragraph(out, f"Warning: {sentence}", "yellow")


def value_text(value: float, unit: str) -> str:
    """A value in its unit, for people."""
    if value != value:
        return "-"
    if unit == "s":
        return duration_text(value * 1e9)
    if unit == "us":
        return duration_text(value * 1e3)
    return rate_text(value) if unit == "bytes/s" else f"{count_text(value)}/s"


def spread_text(value: MedianInterval) -> str:
    """The half-width of a median's interval in percent of it; empty without an interval."""
    if value.low is None or value.high is None or value.median == 0:
        return ""
    half = max(value.high - value.median, value.median - value.low) / abs(value.median)
    return f"±{half * 100:.0f}%"


def ratio_text(row: Row) -> str:
    """The ratio and its interval: "1.23 (1.10-1.40)"."""
    c = row.comparison
    if c.ratio is None:
        return "-"
    if c.low is None or c.high is None:
        return _short_ratio(c.ratio)
    return f"{_short_ratio(c.ratio)} ({_short_ratio(c.low)}–{_short_ratio(c.high)})"


def _short_ratio(ratio: float) -> str:
    """A ratio in at most five characters; the exact one is in the JSON."""
    if ratio < 0.01:
        return "<0.01"
    return ">9999" if ratio > 9999 else significant(ratio)


def _table(rows: list[Row], letter: str, width: int, title: str) -> Text:
    columns = [
        Column("metric", "left", stretch=True),
        Column("A"),
        Column("", "left", "dim"),
        Column(letter),
        Column("", "left", "dim"),
        Column(f"{letter} ÷ A ({LEVEL:.0%})", "left"),
        Column("p"),
        Column("verdict", "left"),
    ]
    cells: list[list[str | Cell]] = []
    for row in rows:
        c = row.comparison
        cells.append(
            [
                row.title,
                value_text(row.a.median, row.unit),
                spread_text(row.a),
                value_text(row.b.median, row.unit),
                spread_text(row.b),
                ratio_text(row),
                "-" if c.p is None else f"{c.p:.3f}",
                Cell(c.verdict, _STYLE[c.verdict]),
            ]
        )
    return table(columns, cells, width, title)

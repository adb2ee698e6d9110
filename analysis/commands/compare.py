"""`iotrace compare`: prints which mount served a replay better, in the manner of benchstat."""

from __future__ import annotations

import json as json_module
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from iotrace.analysis.compare import ComparisonTable, Row, compare_results
from iotrace.analysis.comparison.curves import Curve
from iotrace.analysis.comparison.measures import GEOMEAN
from iotrace.errors import UsageError
from iotrace.statistics import LEVEL, MedianInterval
from iotrace.terminal import Cell, Column, console, paragraph, printable, show, table
from iotrace.units import count_text, duration_text, rate_text, significant

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLE: Final = {"faster": "bold green", "slower": "bold red", "~": "dim"}
_SHOWN: Final = {"step": 6, "op": 8}
"""Steps and operations shown without --all: those that took most time."""
_TITLES: Final = {
    "run": "Whole run",
    "step": "Step",
    "class": "By class of operation",
    "op": "Latency by operation",
}
_WIDE: Final = 96
"""From so many columns on there is room for a second p-value."""
_NARROW: Final = 78
"""Below so many the intervals of the medians are left out."""
_BETWEEN: Final = "vs"
_CALLS_OF_P999: Final = 1000
"""Of fewer calls p99.9 is the slowest one."""


def compare(
    result: Path,
    /,
    *results: Path,
    smallest: str = "5%",
    json: Annotated[bool, Parameter(negative=())] = False,
    html: Path | None = None,
    picture: Path | None = None,
    every: Annotated[bool, Parameter(name="--all", negative=())] = False,
) -> None:
    """Say which storage served a replay better, and how sure that is.

    Give one result that was replayed on several mounts, or several results; the first mount is the baseline. Files of
    fio's own JSON (`--output-format=json+`) stand for a run each. `vs` puts several results or files on one side.

    ```
    iotrace replay T.iotrace --fs /mnt/a --fs /mnt/b --repeat 6 -o R.ioresult
    iotrace compare R.ioresult
    iotrace compare a/*.json vs b/*.json
    ```

    Each value is the median over the runs, with the half-width of its 95 % interval. *B ÷ A* is the ratio with its 95
    % interval (Hodges-Lehmann; no assumption of normality), *p* that of the matching rank test. Verdicts are of all
    rows together: of comparisons of a storage with itself at most 5 % show any. `~` means that no difference was
    shown, which is not the same as no difference.

    Parameters
    ----------
    result
        Folder of a result, NAME.ioresult, or file of fio's JSON.
    results
        More of them to compare with the first, or `vs` between two sides of several.
    smallest
        The least difference worth knowing: how many runs would find it is printed.
    json
        Print one JSON object with a row for each metric (times in s and µs, rates in bytes/s and 1/s).
    html
        Also write the comparison as a page, as `iotrace report` does.
    picture
        Also draw the latency curves of the sides, and where they part, into this .png, .svg or .pdf.
    every
        Show every row, not only the steps and operations that took most time.
    """
    sides = split_sides([result, *results])
    made = compare_results(*sides, smallest=parse_percentage(smallest))
    if html is not None:
        from iotrace.analysis.report.write import write_comparison

        write_comparison(sides, made, html)
    if picture is not None:
        from iotrace.analysis.pictures.comparisons import save_latency_curves

        save_latency_curves(made, picture)
    if json:
        print(json_module.dumps(made.to_json(), allow_nan=False))
        return
    print_comparison(made, console(), every=every)


def split_sides(words: Sequence[Path]) -> list[Path | list[Path]]:
    """What stands on each side: every word by itself, or all words on either side of a `vs`.

    Raises
    ------
    UsageError: `vs` has nothing before or after it, or a result is given twice.
    """
    places = [word.resolve() for word in words if str(word) != _BETWEEN]
    for word, place in zip((word for word in words if str(word) != _BETWEEN), places, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"{word} is given twice: its runs do not differ from themselves, give it once.")
    if all(str(word) != _BETWEEN for word in words):
        return list(words)
    sides: list[Path | list[Path]] = []
    side: list[Path] = []
    for word in [*words, Path(_BETWEEN)]:
        if str(word) != _BETWEEN:
            side.append(word)
        elif side:
            sides.append(side)
            side = []
        else:
            raise UsageError("`vs` stands between two sides: give at least one result before and after it.")
    return sides


def parse_percentage(text: str) -> float:
    """A share from "5%" or "5": 0.05.

    Raises
    ------
    UsageError: it is not a percentage.
    """
    try:
        value = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"--smallest {text!r} is not a percentage: write 5%.")
    return value


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
        for group in _TITLES:
            _show_group(out, [row for row in made.of(side.label) if row.group == group], group, letter, every)
        curves = [curve for curve in made.curves if curve.candidate == side.label]
        if curves:
            show(out, _curves(curves, letter, out.width))
            show(out, "")
    show(out, f"n = {len(baseline.runs)} and {', '.join(str(len(side.runs)) for side in candidates)}; {pairing}")
    for note in made.footnotes:
        paragraph(out, note, "dim")
    for sentence in made.warnings:
        paragraph(out, f"Warning: {sentence}", "yellow")


def _show_group(out: Console, rows: list[Row], group: str, letter: str, every: bool) -> None:
    if not rows:
        return
    if not every:
        rows = [row for row in rows if _is_shown(row, group)]
    subjects = [name for name in dict.fromkeys(row.subject for row in rows) if name != GEOMEAN]
    shown = subjects if every or group not in _SHOWN else subjects[: _SHOWN[group]]
    means = [row for row in rows if row.subject == GEOMEAN]
    if group == "step":
        for name in shown:
            show(out, _table([row for row in rows if row.subject == name], letter, out.width, f"Step {name}", True))
            show(out, "")
        if means:
            show(out, _table(means, letter, out.width, "Geometric mean of the steps", True))
            show(out, "")
    else:
        rows = [row for row in rows if row.subject in shown] + means
        show(out, _table(rows, letter, out.width, _TITLES[group]))
    if len(subjects) > len(shown):
        what = "steps" if group == "step" else "operations"
        show(out, f"… and {len(subjects) - len(shown)} more {what}: --all shows them")
        show(out, "")
    elif group != "step":
        show(out, "")


def _is_shown(row: Row, group: str) -> bool:
    """The tables would be twice as long with every row: what they leave out is in the JSON, and shown with --all."""
    last = row.metric.rsplit(".", 1)[-1]
    if last == "p999_us":
        return group == "class" and (row.calls or 0) >= _CALLS_OF_P999
    if group == "step":
        return last not in ("p95_us", "ops_per_s")
    if group == "class":
        return last != "ops_per_s"
    return group == "run" or last in ("p50_us", "p99_us")


def _curves(curves: list[Curve], letter: str, width: int) -> Text:
    """Where the latency curves of each class part."""
    columns = [
        Column("class", "left", stretch=True),
        Column("farthest apart at"),
        Column("A within"),
        Column(f"{letter} within"),
        Column("shown to differ", "left"),
    ]
    cells: list[list[str | Cell]] = []
    for curve in curves:
        shown = "~"
        if curve.shown is not None:
            low, high = (duration_text(value * 1e3) for value in curve.shown)
            shown = f"{low} to {high}" if low != high else f"at {low}"
        cells.append(
            [
                curve.kind,
                duration_text(curve.at_us * 1e3),
                f"{curve.share_a * 100:.0f}%",
                f"{curve.share_b * 100:.0f}%",
                Cell(shown, "dim" if curve.shown is None else "bold"),
            ]
        )
    return table(columns, cells, width, "Latency curves: shares of calls within a latency")


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
    """The half-width of a median's interval in percent of it, ">99%" from there on; empty without an interval."""
    if value.low is None or value.high is None or value.median == 0:
        return ""
    half = max(value.high - value.median, value.median - value.low) / abs(value.median)
    return f"±{half * 100:.0f}%" if half < 0.995 else "±>99%"


def p_text(p: float | None) -> str:
    """A p-value in at most six characters; the exact one is in the JSON."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def ratio_text(row: Row) -> str:
    """The ratio and its interval: "1.23 (1.10-1.40)"."""
    c = row.comparison
    if c.ratio is None:
        return "-"
    if c.low is None or c.high is None:
        return _short_ratio(c.ratio)
    ratio, low, high = (_short_ratio(value) for value in (c.ratio, c.low, c.high))
    return ratio if ratio == low == high else f"{ratio} ({low}–{high})"


def _short_ratio(ratio: float) -> str:
    """A ratio in at most five characters; the exact one is in the JSON."""
    if ratio < 0.01:
        return "<0.01"
    return ">9999" if ratio > 9999 else significant(ratio)


def _table(rows: list[Row], letter: str, width: int, title: str, short: bool = False) -> Text:
    wide, narrow = width >= _WIDE, width < _NARROW
    spread = [] if narrow else [Column("", "left", "dim", close=True)]
    columns = [
        Column("metric", "left", stretch=True),
        Column("A"),
        *spread,
        Column(letter),
        *spread,
        Column(f"{letter} ÷ A ({LEVEL:.0%})", "left"),
        Column("p"),
        *([Column("p, all rows")] if wide else []),
        Column("verdict", "left"),
    ]
    cells: list[list[str | Cell]] = []
    for row in rows:
        c = row.comparison
        cells.append(
            [
                row.short if short else row.title,
                value_text(row.a.median, row.unit),
                *([] if narrow else [spread_text(row.a)]),
                value_text(row.b.median, row.unit),
                *([] if narrow else [spread_text(row.b)]),
                ratio_text(row),
                p_text(c.p),
                *([p_text(row.p_adjusted)] if wide else []),
                Cell(c.verdict, _STYLE[c.verdict]),
            ]
        )
    return table(columns, cells, width, title)

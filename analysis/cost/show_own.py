"""Tables of costs of one's own results for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from iotrace.analysis.cost.months import QueueMonth
from iotrace.analysis.cost.own import OwnRow, OwnTables
from iotrace.analysis.cost.queues import Point
from iotrace.analysis.cost.show import cost_text, price_lines, print_choices, purchase_notes, purchases_text
from iotrace.statistics import LEVEL
from iotrace.terminal import Cell, Column, paragraph, printable, show, table
from iotrace.units import duration_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLE = {"costs less": "bold green", "costs more": "bold red"}


def print_own(made: OwnTables, months: Sequence[QueueMonth], points: Sequence[Point], out: Console) -> None:
    """Time and cost by side, storages, speed against cost, notes and warnings."""
    for row in made.rows:
        runs = f"{len(row.side.runs)} run{'' if len(row.side.runs) == 1 else 's'}"
        show(out, printable(f"{row.instance}, {row.storage}: {row.side.label} ({row.side.mount}), {runs}"))
    show(out, "")
    show(out, _rows_text(made.rows, made.term, out.width))
    paragraph(
        out,
        "Times are medians over the runs. Less is the share of time, and so of cost, that the same work needs less "
        "than on the first storage of that instance; ~ means that no difference was shown.",
        "dim",
    )
    show(out, "")
    show(out, purchases_text(made.purchases, out.width))
    print_choices(months, points, made.purchases, made.term, out)
    show(out, "")
    instances, storages = {row.instance: None for row in made.rows}, {row.storage: None for row in made.rows}
    used = made.prices.used(instances, [made.term], storages)
    for sentence in [*made.notes, *purchase_notes(made.purchases), *price_lines(used)]:
        paragraph(out, sentence, indent=2)
    for sentence in made.warnings:
        paragraph(out, f"Warning: {sentence}", "yellow")


def _rows_text(rows: Sequence[OwnRow], term: str, width: int) -> Text:
    cells: list[list[str | Cell]] = [
        [
            row.instance,
            row.storage,
            duration_text(row.seconds.median * 1e9),
            cost_text(row.point.cost),
            _less(row),
            Cell(row.verdict, _STYLE.get(row.verdict, "dim")),
        ]
        for row in rows
    ]
    columns = [
        Column("instance", "left"), Column("storage", "left", stretch=True), Column("time"),
        Column("cost"), Column(f"less ({LEVEL:.0%})", "left"), Column("verdict", "left"),
    ]  # fmt: skip
    kinds = " and ".join(dict.fromkeys(row.point.provenance for row in rows))
    return table(columns, cells, width, f"Time and cost of a queue ({kinds}, {term})")


def _less(row: OwnRow) -> str:
    percent = row.percent
    if percent is None:
        return ""
    value, low, high = percent
    return f"{value:.2f}%" if low is None or high is None else f"{value:.2f}% ({low:.1f}–{high:.1f})"

"""Tables of modelled costs for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from iotrace.analysis.cost.modelled import ModelledRow, ModelledTables
from iotrace.analysis.cost.show import (
    cost_text,
    percent_text,
    price_lines,
    print_choices,
    purchase_notes,
    purchases_text,
)
from iotrace.analysis.sizing.show import duration_of
from iotrace.terminal import Cell, Column, paragraph, printable, show, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def print_modelled(made: ModelledTables, out: Console) -> None:
    """Time and cost of a queue, storages, a month, speed against cost, notes and warnings."""
    crowd = made.rows[0].answer.run.demand.crowd
    title = made.rows[0].answer.case.workload.title
    paragraph(out, printable(f"{title}, modelled: {crowd.users} users, {crowd.lanes} lanes"), "bold")
    show(out, "")
    show(out, _rows_text(made.rows, made.term, out.width))
    units = dict.fromkeys(f"{row.answer.case.storage.unit} ({row.storage})" for row in made.rows)
    paragraph(
        out,
        f"Units: {', '.join(map(printable, units))}. A queue is one user's pipeline; its time is that of its jobs, for "
        "which an instance is paid; to structure is how long the user waits, for a lane too. Less is the share of "
        "time, and so of cost, that is saved beside the first storage of that instance.",
        "dim",
    )
    if made.purchases:
        show(out, "")
        show(out, purchases_text(made.purchases, out.width))
    print_choices(made.months, made.points, made.purchases, made.term, out)
    show(out, "")
    instances = dict.fromkeys(row.instance for row in made.rows)
    storages = dict.fromkeys(row.storage for row in made.rows if row.bought is not None)
    used = made.prices.used(instances, [made.term], storages)
    if any(month.archive for month in made.months):
        used.append((f"archive ({made.prices.archive.title})", made.prices.archive.price))
    for sentence in [*made.notes, *purchase_notes(made.purchases), *price_lines(used)]:
        paragraph(out, printable(sentence), indent=2)
    for sentence in made.warnings:
        paragraph(out, printable(f"Warning: {sentence}"), "yellow")


def _rows_text(rows: Sequence[ModelledRow], term: str, width: int) -> Text:
    cells: list[list[str | Cell]] = [
        [
            row.instance,
            row.storage,
            str(row.answer.units),
            duration_of(float(row.point.seconds)),
            duration_of(row.structure_s),
            cost_text(row.point.cost),
            "" if row.less is None else percent_text(row.less),
        ]
        for row in rows
    ]
    columns = [
        Column("instance", "left"), Column("storage", "left", stretch=True), Column("units"), Column("time"),
        Column("to structure"), Column("cost"), Column("less"),
    ]  # fmt: skip
    return table(columns, cells, width, f"Time and cost of a queue (modelled, {term})")

"""Tables of costs for a terminal: the source text's, what can be bought, months, and speed against cost."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from iotrace.analysis.cost.capacity import Purchase
from iotrace.analysis.cost.months import QueueMonth, held_by
from iotrace.analysis.cost.prices import Price
from iotrace.analysis.cost.queues import Figure, Point, money
from iotrace.analysis.cost.source_text import MonthRow, QueueRow, SourceTables
from iotrace.terminal import Cell, Column, paragraph, show, table
from iotrace.units import capacity_text, dollars_text, rounded

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_LEFT: Final = "left"


def print_source(made: SourceTables, months: Sequence[QueueMonth], points: Sequence[Point], out: Console) -> None:
    """Tables 1 to 4, what can be bought, a month of queues, speed against cost, and the sentences about them."""
    printed = made.printed
    paragraph(out, f"{printed.title}, {printed.date}: Tables 1 to 4 worked out again", "bold")
    paragraph(
        out,
        f"Times, prices and sums are printed there; percent, costs and totals are recomputed; = or ≠ says whether "
        f"the printed figure is the recomputed one, rounded. Price lists: {', '.join(made.prices.titles)}.",
        "dim",
    )
    names = (printed.baseline, printed.candidate)
    for text in (
        _table_1(made.queues, names, out.width),
        _table_2(made, names, out.width),
        _months([row for row in made.months if row.table == 3], 3, out.width),
        _months([row for row in made.months if row.table == 4], 4, out.width),
        purchases_text(made.purchases, out.width),
    ):
        show(out, "")
        show(out, text)
    print_choices(months, points, made.purchases, made.term, out)
    show(out, "")
    used = made.prices.used(
        [row.instance for row in made.queues],
        dict.fromkeys(term for row in made.queues for term in row.costs),
        [row.storage for row in made.months],
    )
    for sentence in [*made.notes, *purchase_notes(made.purchases), *price_lines(used)]:
        paragraph(out, sentence, indent=2)


def _table_1(rows: list[QueueRow], names: tuple[str, str], width: int) -> Text:
    cells: list[list[str | Cell]] = [
        [
            row.instance,
            f"{row.times.baseline_s:,}",
            f"{row.times.candidate_s:,}",
            percent_text(row.less_time.value),
            _beside(row.less_time),
        ]
        for row in rows
    ]
    columns = [Column("instance", _LEFT, stretch=True), *map(Column, names), Column("less time"), Column("printed")]
    return table(columns, cells, width, "Table 1: time of a queue (s, printed)")


def _table_2(made: SourceTables, names: tuple[str, str], width: int) -> Text:
    cells: list[list[str | Cell]] = []
    for row in made.queues:
        for number, (term, pair) in enumerate(row.costs.items()):
            price = made.prices.price(row.instance, term).per_hour
            cells.append(
                [
                    row.instance if number == 0 else "",
                    term,
                    f"{price:f}",
                    *(dollars_text(figure.value) for figure in pair),
                    percent_text(row.less_cost.value) if number == 0 else "",
                    _beside(row.less_cost) if number == 0 else "",
                ]
            )
    columns = [
        Column("instance", _LEFT), Column("term", _LEFT, stretch=True), Column("$/h"), *map(Column, names),
        Column("less"), Column("printed"),
    ]  # fmt: skip
    return table(columns, cells, width, "Table 2: cost of a queue (recomputed: $/h × time)")


def _months(rows: list[MonthRow], number: int, width: int) -> Text:
    cells: list[list[str | Cell]] = [
        [
            row.storage,
            dollars_text(row.infrastructure.value),
            dollars_text(row.licence.value),
            dollars_text(row.total.value),
            percent_text(row.less_cost.value) if row.less_cost else "",
            _beside(row.less_cost) if row.less_cost else "",
        ]
        for row in rows
    ]
    columns = [
        Column("storage", _LEFT, stretch=True), Column("infrastructure"), Column("licences"), Column("month"),
        Column("less"), Column("printed"),
    ]  # fmt: skip
    return table(columns, cells, width, f"Table {number}: storage, a month (recomputed from printed prices)")


def purchases_text(bought: Sequence[Purchase], width: int) -> Text:
    """What is bought for a capacity, and its month."""
    cells: list[list[str | Cell]] = [
        [
            one.storage,
            capacity_text(one.needed, "TB"),
            str(one.servers or "-"),
            Cell(capacity_text(one.bought, one.unit), "" if one.enough else "yellow"),
            capacity_text(one.bought, "TB") if one.enough else Cell(capacity_text(one.bought, "TB") + " <", "yellow"),
            dollars_text(one.total),
        ]
        for one in bought
    ]
    columns = [
        Column("storage", _LEFT, stretch=True), Column("asked for"), Column("servers"), Column("sold as"),
        Column("holds"), Column("month"),
    ]  # fmt: skip
    return table(columns, cells, width, "What can be bought for that capacity (modelled)")


def purchase_notes(bought: Sequence[Purchase]) -> list[str]:
    """Their notes, and what is inferred, once for all that it holds for."""
    inferred: dict[str, list[str]] = {}
    for one in bought:
        if one.inferred:
            inferred.setdefault(one.inferred, []).append(one.storage)
    return [
        *dict.fromkeys(note for one in bought for note in one.notes),
        *(f"{', '.join(dict.fromkeys(names))}: inferred, not stated: {text}." for text, names in inferred.items()),
    ]


def points_text(points: Sequence[Point], bought: Sequence[Purchase], term: str, width: int) -> Text:
    """Choices from fast to slow, with what beats them; < marks storages that hold less than is needed."""
    cells: list[list[str | Cell]] = [
        [
            point.instance,
            _marked(point.storage, bought),
            seconds_text(point.seconds),
            cost_text(point.cost),
            _standing(point),
        ]
        for point in points
    ]
    columns = [
        Column("instance", _LEFT), Column("storage", _LEFT), Column("time (s)"), Column("cost"),
        Column("beaten by", _LEFT, stretch=True),
    ]  # fmt: skip
    kinds = " and ".join(dict.fromkeys(point.provenance for point in points))
    return table(columns, cells, width, f"Speed against cost of a queue ({term}, {kinds})")


def _standing(point: Point) -> Cell:
    if point.short:
        return Cell("holds too little", "yellow")
    return Cell(point.beaten_by, "dim") if point.beaten_by else Cell("not beaten", "bold green")


def _marked(storage: str, bought: Sequence[Purchase]) -> str | Cell:
    short = any(one.storage == storage and not one.enough for one in bought)
    return Cell(f"{storage} <", "yellow") if short else storage


def print_choices(
    months: Sequence[QueueMonth], points: Sequence[Point], bought: Sequence[Purchase], term: str, out: Console
) -> None:
    """Speed against cost; where there are months, they come before, and the storage is in the costs."""
    show(out, "")
    if not months:
        show(out, points_text(points, bought, term, out.width))
        return
    cells: list[list[str | Cell]] = [
        [
            month.point.instance,
            _marked(month.point.storage, bought),
            f"{month.instances}{f'+{month.live_instances}' if month.live_instances else ''}",
            dollars_text(month.compute + month.live),
            dollars_text(month.storage + month.archive),
            dollars_text(month.total),
            cost_text(month.each),
        ]
        for month in months
    ]
    columns = [
        Column("instance", _LEFT), Column("storage", _LEFT, stretch=True), Column("×"), Column("instances"),
        Column("storage"), Column("month"), Column("a queue"),
    ]  # fmt: skip
    show(out, table(columns, cells, out.width, f"A month of {months[0].queues:,} queues ({term}, modelled)"))
    if any(month.live_instances for month in months):
        paragraph(out, "Instances are those of lanes and, behind the +, of sessions of Live.", "dim")
    if any(month.archive for month in months):
        paragraph(out, "Storage is with what is archived.", "dim")
    show(out, "")
    show(out, points_text(points, bought, f"{term}, {held_by(months)} included", out.width))


def cost_text(amount: Decimal) -> str:
    """US dollars to the cent, finer below a dollar: "$7.04", "$0.003521"."""
    return f"${money(amount):,f}"


def price_lines(used: Sequence[tuple[str, Price]]) -> list[str]:
    """A sentence for each date, region and source, with the prices that it holds for."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for name, price in used:
        key = (price.date, price.region, price.source, price.inferred)
        groups.setdefault(key, []).append(f"{name} {price.text}")
    return [
        f"Prices of {date}, {region}, from {source}{inferred and f' (inferred: {inferred})'}: {'; '.join(names)}."
        for (date, region, source, inferred), names in groups.items()
    ]


def percent_text(value: Decimal) -> str:
    """A share to 0.01 %."""
    return f"{rounded(value):f}%"


def seconds_text(value: Decimal) -> str:
    """Seconds, whole where they are many: "24,787", "12.35"."""
    return f"{rounded(value, 0):,}" if value >= 1000 else f"{rounded(value, 2 if value >= 1 else 4):f}"


def _beside(figure: Figure) -> Cell:
    if figure.printed is None:
        return Cell("")
    return Cell(f"= {figure.printed}%", "dim") if figure.agrees else Cell(f"≠ {figure.printed}%", "yellow")

"""Tables 1 to 4 of the reference architecture, worked out again from its times and prices, beside what it prints.

The source text is "CryoSPARC Workflow Integrations with WEKA" (July 2023). Its times and sums stand in data/tables/,
its prices in data/prices/. This gives each figure exactly, what was printed, and a sentence where the two differ.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Any, Final, Literal

import msgspec

from iotrace.analysis.cost.capacity import Purchase, billed, purchase
from iotrace.analysis.cost.prices import CapacityStorage, PriceList
from iotrace.analysis.cost.queues import Figure, Point, frontier, percent_less, queue_cost
from iotrace.errors import UsageError
from iotrace.units import capacity_text, dollars_text, parse_capacity, rounded

TABLES: Final = "reference-architecture.toml"


class Times(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A row of Tables 1 and 2: seconds on the baseline's and the candidate's storage, and the printed percent."""

    instance: str
    baseline_s: Decimal
    candidate_s: Decimal
    printed_less_time: Decimal
    printed_less_cost: Decimal


class Month(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A row of Table 3 or 4; `billed`: the capacity that the text multiplies its price with.

    printed_parts: by their names in a Purchase ("servers", however many), where the text prints these, not their sums.
    """

    table: Literal[3, 4]
    storage: str
    printed_infrastructure: Decimal
    printed_licence: Decimal
    printed_total: Decimal
    printed_less_cost: Decimal | None = None
    billed: str = ""
    printed_parts: dict[str, Decimal] = {}


class Ratio(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the text says of two instances on the candidate: time or cost of a queue, `above` ÷ `below`."""

    text: str
    of: Literal["time", "cost"]
    above: str
    below: str
    printed: Decimal


class Printed(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """All that is printed, and what of it is inferred; sized: the storage that holds what the text's servers should."""

    title: str
    date: str
    region: str
    source: str
    unit: str
    term: str
    baseline: str
    candidate: str
    sized: str
    inferred: list[str]
    times: list[Times]
    months: list[Month]
    ratios: list[Ratio]


@dataclass(frozen=True)
class QueueRow:
    """A row of Tables 1 and 2: costs by term, as (baseline, candidate)."""

    instance: str
    times: Times
    less_time: Figure
    costs: dict[str, tuple[Figure, Figure]]
    less_cost: Figure


@dataclass(frozen=True)
class MonthRow:
    """A row of Table 3 or 4: the text's sums worked out again."""

    table: int
    storage: str
    title: str
    infrastructure: Figure
    licence: Figure
    total: Figure
    less_cost: Figure | None
    parts: dict[str, Figure]


@dataclass(frozen=True)
class SourceTables:
    """Tables 1 to 4, the text's ratios, the choices from fast to slow, and sentences about where they differ.

    `purchases`: what can be bought for the capacities of Tables 3 and 4, and how many servers would hold them.
    """

    printed: Printed
    prices: PriceList
    term: str
    queues: list[QueueRow]
    months: list[MonthRow]
    purchases: list[Purchase]
    ratios: list[tuple[Ratio, Figure]]
    points: list[Point]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """What `iotrace cost --json` prints; money to the cent, shares in percent to 0.01."""
        names = (self.printed.baseline, self.printed.candidate)
        rows1, rows2 = [], []
        for row in self.queues:
            seconds = (row.times.baseline_s, row.times.candidate_s)
            rows1.append(
                {
                    "instance": row.instance,
                    "seconds": {
                        name: {"value": value, "provenance": "printed"}
                        for name, value in zip(names, seconds, strict=True)
                    },
                    "less_time_percent": row.less_time.to_json(),
                }
            )
            rows2.append(
                {
                    "instance": row.instance,
                    "cost_usd": {
                        term: {name: figure.to_json() for name, figure in zip(names, pair, strict=True)}
                        for term, pair in row.costs.items()
                    },
                    "less_cost_percent": row.less_cost.to_json(),
                }
            )
        months: dict[int, list[dict[str, Any]]] = {3: [], 4: []}
        for month in self.months:
            months[month.table].append(
                {
                    "storage": month.storage,
                    "infrastructure_usd": month.infrastructure.to_json(),
                    "licence_usd": month.licence.to_json(),
                    "total_usd": month.total.to_json(),
                    "parts_usd": {name: figure.to_json() for name, figure in month.parts.items()},
                    "less_cost_percent": None if month.less_cost is None else month.less_cost.to_json(),
                }
            )
        return {
            "source": {
                name: getattr(self.printed, name)
                for name in ("title", "date", "region", "source", "unit", "term", "inferred")
            },
            "prices": prices_json(self.prices),
            "table_1": rows1,
            "table_2": rows2,
            "table_3": months[3],
            "table_4": months[4],
            "purchases": [one.to_json() for one in self.purchases],
            "ratios": [{"text": ratio.text, **figure.to_json()} for ratio, figure in self.ratios],
            "term": self.term,
            "speed_against_cost": [point.to_json() for point in self.points],
            "notes": self.notes,
        }


def prices_json(prices: PriceList) -> dict[str, Any]:
    """The price list with the date, region, unit, term and source of each price."""
    return {
        "lists": prices.titles,
        "instances": {name: msgspec.structs.asdict(one) for name, one in prices.instances.items()},
        "storages": {name: msgspec.structs.asdict(one) for name, one in prices.storages.items()},
        "archive": msgspec.structs.asdict(prices.archive),
    }


def load_printed() -> Printed:
    """The printed times and sums."""
    text = (resources.files("iotrace.data") / "tables" / TABLES).read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text, parse_float=Decimal), Printed)


def source_tables(prices: PriceList, term: str) -> SourceTables:
    """Tables 1 to 4 with the prices of a list.

    Parameters
    ----------
    term: of the instances' prices, for the ratios and for speed against cost; Table 2 has all terms.

    Raises
    ------
    UsageError: the list has no price for that term.
    """
    printed = load_printed()
    queues = [_queue_row(times, prices, term) for times in printed.times]
    purchases = [purchase(prices, month.storage) for month in printed.months]
    months = _month_rows(printed, prices, purchases)
    for month, bought in zip(printed.months, list(purchases), strict=True):
        if month.billed:
            purchases.append(purchase(prices, printed.sized, bought.needed))
    ratios = [(ratio, _ratio(ratio, queues, term)) for ratio in printed.ratios]
    points = frontier(
        [
            Point(row.instance, storage, seconds, figure.value, "recomputed")
            for row in queues
            for storage, seconds, figure in zip(
                (printed.baseline, printed.candidate),
                (row.times.baseline_s, row.times.candidate_s),
                row.costs[term],
                strict=True,
            )
        ]
    )
    return SourceTables(
        printed,
        prices,
        term,
        queues,
        months,
        purchases,
        ratios,
        points,
        [
            *_queue_notes(queues),
            *_month_notes(printed, months, prices),
            *_ratio_notes(printed, ratios, prices, term),
            *printed.inferred,
        ],
    )


def _queue_row(times: Times, prices: PriceList, term: str) -> QueueRow:
    prices.price(times.instance, term)
    costs = {
        name: (
            Figure(queue_cost(price, times.baseline_s), "recomputed"),
            Figure(queue_cost(price, times.candidate_s), "recomputed"),
        )
        for name, price in prices.instance(times.instance).prices.items()
    }
    less = _share(times.candidate_s, times.baseline_s, times.printed_less_time)
    baseline, candidate = costs[term]
    return QueueRow(
        times.instance, times, less, costs, _share(candidate.value, baseline.value, times.printed_less_cost)
    )


def _share(candidate: Decimal, baseline: Decimal, printed: Decimal | None) -> Figure:
    less = percent_less(candidate, baseline)
    return Figure(Decimal(0) if less is None else less, "recomputed", printed)


def _month_rows(printed: Printed, prices: PriceList, purchases: list[Purchase]) -> list[MonthRow]:
    rows: list[MonthRow] = []
    for month, bought in zip(printed.months, purchases, strict=True):
        storage = prices.storage(month.storage)
        if isinstance(storage, CapacityStorage):
            if not month.billed:
                raise UsageError(f"storages.{month.storage}.kind: the tables' row is of servers: choose another name.")
            # the text's own sum: its price per GB times 1000 GB for each TB
            infrastructure, licence = billed(parse_capacity(month.billed), storage, "GB"), Decimal(0)
        else:
            parts = {part.name: part.amount for part in bought.parts}
            licence = sum((amount for name, amount in parts.items() if "licence" in name), Decimal(0))
            infrastructure = bought.total - licence
        total = infrastructure + licence
        first = next((row for row in rows if row.table == month.table), None)
        rows.append(
            MonthRow(
                month.table,
                month.storage,
                bought.title,
                Figure(infrastructure, "recomputed", month.printed_infrastructure),
                Figure(licence, "printed", month.printed_licence),
                Figure(total, "recomputed", month.printed_total),
                _share(total, first.total.value, month.printed_less_cost) if first else None,
                _parts(month, bought),
            )
        )
    return rows


def _parts(month: Month, bought: Purchase) -> dict[str, Figure]:
    """What the text prints of a bill's parts, worked out again; licences are printed and nothing else."""
    servers = f"{bought.servers} servers"
    amounts = {"servers" if part.name == servers else part.name: part.amount for part in bought.parts}
    return {
        name: Figure(amounts.get(name, Decimal(0)), "printed" if "licence" in name else "recomputed", amount)
        for name, amount in month.printed_parts.items()
    }


def _ratio(ratio: Ratio, queues: list[QueueRow], term: str) -> Figure:
    rows = {row.instance: row for row in queues}
    above, below = rows[ratio.above], rows[ratio.below]
    if ratio.of == "time":
        return Figure(above.times.candidate_s / below.times.candidate_s, "recomputed", ratio.printed)
    cost = below.costs[term][1].value
    return Figure(above.costs[term][1].value / cost if cost else Decimal(0), "recomputed", ratio.printed)


def _queue_notes(queues: list[QueueRow]) -> list[str]:
    notes = []
    for row in queues:
        if not row.less_time.agrees:
            notes.append(
                f"Table 1, {row.instance}: 1 − {row.times.candidate_s:,} ÷ {row.times.baseline_s:,} is "
                f"{rounded(row.less_time.value)} %, printed {row.less_time.printed} %."
            )
    wrong = [row for row in queues if not row.less_cost.agrees]
    if wrong:
        listed = ", ".join(
            f"{row.instance} {rounded(row.less_cost.value)} % (printed {row.less_cost.printed} %)" for row in wrong
        )
        notes.append(
            f"Table 2: {listed}: an instance's price is the same on both storages: what is saved is the share of time."
        )
    return notes


def _month_notes(printed: Printed, months: list[MonthRow], prices: PriceList) -> list[str]:
    notes = []
    baselines: dict[int, MonthRow] = {}
    for row in months:
        first = baselines.setdefault(row.table, row)
        for name, figure in (("infrastructure", row.infrastructure), ("licences", row.licence), ("total", row.total)):
            if not figure.agrees and figure.printed is not None:
                notes.append(
                    f"Table {row.table}, {row.storage}: {name} {dollars_text(figure.value)}, printed "
                    f"{dollars_text(figure.printed)}."
                )
        if row.parts:
            listed = ", ".join(
                f"{name} {dollars_text(figure.value)}"
                + ("" if figure.agrees or figure.printed is None else f" (printed {dollars_text(figure.printed)})")
                for name, figure in row.parts.items()
            )
            notes.append(f"Table {row.table}, {row.storage}: the text prints the parts of its sums: {listed}.")
        if row.less_cost is not None and not row.less_cost.agrees:
            notes.append(
                f"Table {row.table}, {row.storage}: 1 − {rounded(row.total.value, 0):,} ÷ "
                f"{rounded(first.total.value, 0):,} is {rounded(row.less_cost.value)} %, printed "
                f"{row.less_cost.printed} %."
            )
    for month in printed.months:
        storage = prices.storage(month.storage)
        if month.billed and isinstance(storage, CapacityStorage):
            binary = storage.capacity.replace("TB", "TiB")
            bought = purchase(prices, month.storage, parse_capacity(binary))
            notes.append(
                f"Table {month.table}, {month.storage}: the sum takes {month.billed}; {binary} would be sold as "
                f"{capacity_text(bought.bought, bought.unit)} for {dollars_text(bought.total)} (modelled)."
            )
    return notes


def _ratio_notes(printed: Printed, ratios: list[tuple[Ratio, Figure]], prices: PriceList, term: str) -> list[str]:
    notes = [
        f"{ratio.text}: {rounded(figure.value)}, printed {figure.printed}."
        for ratio, figure in ratios
        if not figure.agrees
    ]
    for ratio, figure in ratios:
        if ratio.of == "cost":
            below = prices.price(ratio.below, term).per_hour
            by_hour = _ratio_text(prices.price(ratio.above, term).per_hour, below)
            notes.append(
                f'"{ratio.printed}x the cost" is of a queue on {printed.candidate} ({rounded(figure.value)}); by the '
                f"hour a {ratio.above} costs {by_hour} times a {ratio.below} ({term})."
            )
    return notes


def _ratio_text(above: Decimal, below: Decimal) -> str:
    """A ratio to 0.01, "?" of nothing."""
    return str(rounded(above / below)) if below else "?"

"""The same tables by the model of `iotrace size`, where there is no hardware yet: all of it is modelled.

A workload on nodes and storages in; a queue's time and cost, the storage that it takes, and a month out. A queue is the
pipeline of one user, and its time that of this user's jobs beside all others', for so long an instance is taken. Nodes
are instances of the same name in the price list, storages those of the same name, or the one that it says (sized_as).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from iotrace.analysis.cost.capacity import (
    Part,
    Purchase,
    billed,
    licence_notes,
    net_capacity,
    server_parts,
    steps_bought,
)
from iotrace.analysis.cost.months import Beside, QueueMonth, queue_month, with_storage
from iotrace.analysis.cost.prices import CapacityStorage, PriceList, ServerStorage
from iotrace.analysis.cost.queues import Point, frontier, money, percent_less, queue_cost
from iotrace.analysis.cost.source_text import prices_json
from iotrace.analysis.sizing.answer import Answer
from iotrace.analysis.sizing.asking import STORAGES, answers_for
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.storages import Catalogue
from iotrace.errors import UsageError
from iotrace.units import capacity_text, dollars_text, parse_bytes, rounded

NOTE: Final = (
    "All times are modelled (iotrace size), and so are all costs: no figure here was measured. Steps take as long as "
    "in the recipes (iotrace profile), and a GPU is as fast as there unless the node says otherwise; iotrace size "
    "--table-1 says how far the model is off printed times."
)


@dataclass(frozen=True)
class Question:
    """What `iotrace size` is asked: a workload, other values of its numbers, and how long data sets stay (months)."""

    workload: str
    given: dict[str, float]
    units: int | None = None
    datasets: float | None = None
    retention: int = 3
    archive: int = 0


@dataclass(frozen=True)
class ModelledRow:
    """An instance on a storage.

    Attributes
    ----------
    storage: as it was asked for. seconds: of a queue, as `point`'s; structure_s: with the wait for lanes.
    less: time, and so cost, in percent of that on the first storage of the instance; None for that one.
    bought: what the units cost; None where there is no price. month: None likewise.
    """

    instance: str
    storage: str
    answer: Answer
    point: Point
    structure_s: float
    less: Decimal | None
    bought: Purchase | None
    month: QueueMonth | None

    def to_json(self) -> dict[str, Any]:
        """The row; what has no price is None."""
        return {
            "instance": self.instance,
            "storage": self.storage,
            "sized_as": self.answer.case.storage_name,
            "units": self.answer.units,
            "unit": self.answer.case.storage.unit,
            "units_asked": self.answer.asked,
            "needed_units": self.answer.needed.units,
            "needed_for": self.answer.needed.binding,
            "seconds": rounded(self.point.seconds, 3),
            "structure_seconds": round(self.structure_s, 3),
            "cost_usd": money(self.point.cost),
            "less_percent": None if self.less is None else rounded(self.less),
            "storage_month_usd": None if self.bought is None else rounded(self.bought.total),
            "provenance": "modelled",
        }


@dataclass(frozen=True)
class ModelledTables:
    """Rows, what is bought (each once), months, and choices from fast to slow.

    `points` hold the storage where it has a price; without any such storage they are of instances alone.
    """

    prices: PriceList
    term: str
    workload: str
    queues: int
    rows: list[ModelledRow]
    notes: list[str]
    warnings: list[str]

    @property
    def purchases(self) -> list[Purchase]:
        """What is bought, each once."""
        found: list[Purchase] = []
        for row in self.rows:
            if row.bought is not None and row.bought not in found:
                found.append(row.bought)
        return found

    @property
    def months(self) -> list[QueueMonth]:
        """Of all choices whose storage has a price."""
        return [row.month for row in self.rows if row.month is not None]

    @property
    def points(self) -> list[Point]:
        """Choices from fast to slow; those whose storage has no price are left out where others have one."""
        return with_storage(self.months) if self.months else frontier([row.point for row in self.rows])

    def to_json(self) -> dict[str, Any]:
        """What `iotrace cost --size … --json` prints."""
        return {
            "provenance": "modelled",
            "workload": self.workload,
            "term": self.term,
            "queues": self.queues,
            "rows": [row.to_json() for row in self.rows],
            "purchases": [one.to_json() for one in self.purchases],
            "queue_months": [month.to_json() for month in self.months],
            "speed_against_cost": [point.to_json() for point in self.points],
            "prices": prices_json(self.prices),
            "notes": self.notes,
            "warnings": self.warnings,
        }


def modelled_tables(
    question: Question,
    instances: Sequence[str],
    storages: Sequence[str],
    prices: PriceList,
    term: str,
    catalogue: Catalogue,
    queues: int | None = None,
) -> ModelledTables:
    """Tables by the model.

    Parameters
    ----------
    instances: nodes of the catalogue that have a price; none: all that have one for the term.
    storages: names of the catalogue or of the price list; none: those of `iotrace size`.
    term: how instances are bought.
    queues: a month; None: one for each data set. Without `datasets` as many of these come, else one for each user.

    Raises
    ------
    UsageError: a name that is not known, an instance without a price, units that are not on sale. Unsettled: the model
    found no rates.
    """
    priced = [name for name in catalogue.nodes if name in prices.instances]
    on_sale = [name for name in priced if term in prices.instances[name].prices]
    chosen = list(dict.fromkeys(instances)) or on_sale or priced
    for name in chosen:
        node = catalogue.node(name)
        if question.given.get("gpus", 0) > node.gpus:
            raise UsageError(f"--set gpus={question.given['gpus']:g}: a {name} has {node.gpus}: choose another --node.")
        if name not in prices.instances:
            raise UsageError(
                f"--node {name}: no price in {', '.join(prices.titles)}: choose {', '.join(priced)}, or add "
                f"instances.{name!r} in a file for --prices."
            )
        prices.price(name, term)
    names = list(dict.fromkeys(storages or STORAGES))
    datasets = queues if question.datasets is None else question.datasets
    answers: dict[tuple[str, str], Answer] = {}
    for name in names:
        model, fixed = sized_as(name, prices, catalogue)
        if fixed and question.units is not None:
            raise UsageError(f"--units does not go with {name}, which is {fixed} servers.")
        for answer in answers_for(
            question.workload, [model], chosen, units=fixed or question.units, given=question.given,
            datasets=datasets, retention=question.retention, archive=question.archive,
            catalogue=catalogue, search=False,
        ):  # fmt: skip
            answers[answer.case.node_name, name] = answer
    any_one = next(iter(answers.values()))
    users = any_one.run.demand.crowd.users
    count = queues or math.ceil(question.datasets or users)
    rows: list[ModelledRow] = []
    for instance in chosen:
        for storage in names:
            answer = answers[instance, storage]
            rows.append(_row(instance, storage, answer, rows, prices, term, count, datasets or users))
    return ModelledTables(
        prices, term, question.workload, count, rows, _notes(rows, prices, question.archive), _warnings(rows)
    )


def sized_as(name: str, prices: PriceList, catalogue: Catalogue) -> tuple[str, int]:
    """The storage of `iotrace size` that a name stands for, and its units where they are fixed, else 0.

    Raises
    ------
    UsageError: neither list has the name; or the model does not know such a storage.
    """
    priced = prices.storages.get(name)
    if priced is None:
        if name not in catalogue.storages:
            known = ", ".join(sorted({*catalogue.storages, *prices.storages}))
            raise UsageError(f"--storage {name}: choose {known}, or give --storages FILE.")
        return name, 0
    model = priced.sized_as or name
    if model not in catalogue.storages:
        raise UsageError(
            f"--storage {name}: it has a price, but iotrace size does not know {model}: describe it in a file for "
            "--storages."
        )
    if isinstance(priced, CapacityStorage):
        return model, 0
    if priced.object is not None:
        raise UsageError(f"--storage {name}: the model knows no objects behind servers: choose another storage.")
    return model, priced.servers


def bought_units(prices: PriceList, name: str, answer: Answer) -> Purchase | None:
    """What the units of an answer cost a month; None where there is no price for them.

    A storage of drives in the instances themselves has none.

    Raises
    ------
    UsageError: the user asked for units that are not on sale.
    """
    priced, storage = prices.storages.get(name), answer.case.storage
    if priced is None or storage.local:
        return None
    needed = max(month.hot for month in answer.months)
    if isinstance(priced, ServerStorage):
        return _servers(prices, name, priced, answer.units, needed)
    # what may fail is paid too
    size = parse_bytes(storage.capacity) * answer.units if storage.capacity else storage.capacity_bytes(answer.units)
    bought = steps_bought(priced, size)
    if bought != size and answer.asked:
        raise UsageError(
            f"--units {answer.units}: {capacity_text(size, 'GiB')} of {name} are not on sale; the next capacity that "
            f"is: {capacity_text(bought, 'GiB')}."
        )
    note = f"{name}: {capacity_text(bought, 'GiB')} are bought ({capacity_text(bought, 'TB')})."
    if bought != size:
        note += f" Times are of {capacity_text(size, 'GiB')}."
    part = Part("capacity", billed(bought, priced, priced.billed_in), "modelled")
    return Purchase(name, priced.title, needed, bought, "GiB", 0, [part], [note], priced.inferred)


def _servers(prices: PriceList, name: str, priced: ServerStorage, servers: int, needed: int) -> Purchase:
    holds = net_capacity(priced, servers)
    if not holds:
        raise UsageError(f"--units {servers}: {name} begins with {priced.least} servers.")
    # no licence is for more than the servers hold
    licensed = min(needed, holds)
    notes = [f"{name}: {servers} servers hold {capacity_text(holds, 'TB')} by the vendor's formula."]
    notes += licence_notes(name, priced, licensed)
    parts = server_parts(prices, priced, servers, licensed)
    return Purchase(name, priced.title, needed, holds, "TB", servers, parts, notes, priced.inferred)


def _row(
    instance: str,
    storage: str,
    answer: Answer,
    rows: Sequence[ModelledRow],
    prices: PriceList,
    term: str,
    queues: int,
    datasets: float,
) -> ModelledRow:
    run, price = answer.run, prices.price(instance, term)
    crowd, steps = run.demand.crowd, len(run.demand.before)
    seconds = Decimal(repr(float(run.sums[:steps, e.JOB_SECONDS].sum()) / crowd.users))
    first = next((row for row in rows if row.instance == instance), None)
    bought = bought_units(prices, storage, answer)
    short = bought is not None and not bought.enough
    point = Point(instance, storage, seconds, queue_cost(price, seconds), "modelled", short=short)
    # a lane is an instance, and the times are those of so many lanes
    beside = _beside(answer, prices, datasets)
    month = None if bought is None else queue_month(point, bought, price, queues, crowd.lanes, beside)
    return ModelledRow(
        instance, storage, answer, point, float(run.structure_s.mean()),
        None if first is None else percent_less(seconds, first.point.seconds), bought, month,
    )  # fmt: skip


def _beside(answer: Answer, prices: PriceList, datasets: float) -> Beside:
    """Sessions of Live, which come with data sets as often as the workload has them, and what is archived."""
    demand = answer.run.demand
    live, cold = demand.crowd.live, max(month.cold for month in answer.months)
    archive = billed(cold, prices.archive, prices.archive.billed_in)
    if not live:
        return Beside(archive=archive)
    seconds = float(answer.run.sums[len(demand.before), e.JOB_SECONDS]) / live
    sessions = Decimal(repr(float(datasets))) * live / demand.crowd.users
    return Beside(sessions, Decimal(repr(seconds)), live, archive)


def _notes(rows: Sequence[ModelledRow], prices: PriceList, archive: int) -> list[str]:
    found = [NOTE]
    demand = rows[0].answer.run.demand
    for row in {row.storage: row for row in rows}.values():
        storage = row.answer.case.storage
        if storage.local:
            found.append(f"{row.storage}: drives in the instances have no price of their own here, so no month.")
        elif row.bought is None:
            found.append(
                f"{row.storage}: no price in {', '.join(prices.titles)}, so no month and no place in speed against "
                "cost: add one in a file for --prices."
            )
    months = [row.month for row in rows if row.month is not None]
    live = dict.fromkeys((month.live, month.point.instance) for month in months if month.live_instances)
    if demand.crowd.live and not months:
        found.append(
            f"No cost here holds the instances of sessions of Live ({demand.crowd.live}), which run beside the lanes."
        )
    if live:
        costs = ", ".join(f"{dollars_text(amount)} for {instance}" for amount, instance in live)
        found.append(
            f"A month holds the instances of sessions of Live, each on one of its own: {costs}. Microscopes have "
            "machines of their own, which no cost holds."
        )
    if archive:
        cold = max(month.cold for month in rows[0].answer.months)
        text = f"What is archived is {capacity_text(cold, 'TB')} at most"
        cost = billed(cold, prices.archive, prices.archive.billed_in)
        found.append(
            f"{text}, on {prices.archive.title}: {dollars_text(cost)} of each month, which are in it."
            if months
            else f"{text}: no cost here holds it."
        )
    for kind, pairs in (
        ("storage", {row.answer.case.storage_name: row.answer.case.storage for row in rows}),
        ("node", {row.instance: row.answer.case.node for row in rows}),
    ):
        by_text: dict[str, list[str]] = {}
        for name, one in pairs.items():
            if one.inferred:
                by_text.setdefault(one.inferred, []).append(name)
        found += [f"Guessed of the {kind} {', '.join(names)}: {text}." for text, names in by_text.items()]
    return found


def _warnings(rows: Sequence[ModelledRow]) -> list[str]:
    found = []
    for row in rows:
        answer, bought, month = row.answer, row.bought, row.month
        what = f"{row.instance} on {row.storage}"
        if bought is not None and not bought.enough:
            found.append(
                f"{what}: {capacity_text(bought.bought, 'TB')} do not hold the {capacity_text(bought.needed, 'TB')} "
                "that are kept."
            )
        elif answer.units < answer.needed.units:
            found.append(
                f"{what}: {answer.units} × {answer.case.storage.unit} are fewer than the {answer.needed.units} that "
                f"are needed for {answer.needed.binding}."
            )
        lanes = answer.run.demand.crowd.lanes
        if month is not None and month.instances > lanes:
            found.append(
                f"{what}: {month.queues:,} queues a month take {month.instances:,} instances, and times are of "
                f"{lanes} lanes: --set lanes={month.instances}."
            )
    return found

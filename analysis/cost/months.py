"""A month of queues: instances, storage, what runs or is kept beside, and what a queue then costs with all of it.

An hourly price on demand is paid for the hours that queues run; one that is reserved, or by the month, for the whole
month and every instance that the queues need, one after another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from iotrace.analysis.cost.capacity import Purchase
from iotrace.analysis.cost.prices import HOURS_A_MONTH, Price, PriceList
from iotrace.analysis.cost.queues import Point, frontier, queue_cost
from iotrace.units import rounded


@dataclass(frozen=True)
class Beside:
    """What a month holds beside queues and their storage; US dollars, not rounded.

    Attributes
    ----------
    live_sessions: of Live, which run on instances of their own; live_seconds: that one takes; live_least: so many of
    these instances are there, needed or not. archive: what is kept elsewhere costs.
    """

    live_sessions: Decimal = Decimal(0)
    live_seconds: Decimal = Decimal(0)
    live_least: int = 0
    archive: Decimal = Decimal(0)


@dataclass(frozen=True)
class QueueMonth:
    """US dollars (not rounded) of a month: compute, storage; instances that run the queues; live, archive: beside."""

    point: Point
    queues: int
    instances: int
    compute: Decimal
    storage: Decimal
    live_instances: int = 0
    live: Decimal = Decimal(0)
    archive: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        """All of it."""
        return self.compute + self.storage + self.live + self.archive

    @property
    def each(self) -> Decimal:
        """A queue's part of the month."""
        return self.total / self.queues

    def to_json(self) -> dict[str, Any]:
        """The month, to the cent."""
        return {
            "instance": self.point.instance,
            "storage": self.point.storage,
            "queues": self.queues,
            "instances": self.instances,
            "compute_usd": rounded(self.compute),
            "storage_usd": rounded(self.storage),
            "live_instances": self.live_instances,
            "live_usd": rounded(self.live),
            "archive_usd": rounded(self.archive),
            "month_usd": rounded(self.total),
            "queue_usd": rounded(self.each),
            "provenance": "modelled",
        }


def paid_by_the_hour(price: Price) -> bool:
    """Whether only the hours of use are paid."""
    return price.unit == "USD/hour" and not price.term.startswith("reserved")


def instances_needed(queues: int, seconds: Decimal) -> int:
    """How many instances run so many queues in a month, each one after another."""
    one = int(Decimal(HOURS_A_MONTH * 3600) // seconds) if seconds > 0 else queues
    if one == 0:
        # a queue is longer than a month: its share of several
        return -(-int(seconds * queues) // (HOURS_A_MONTH * 3600))
    return -(-queues // one)


def queue_months(
    points: Sequence[Point], bought: Sequence[Purchase], prices: PriceList, term: str, queues: int
) -> list[QueueMonth]:
    """A month of so many queues for each choice, in the order of the points."""
    storage = {one.storage: one for one in bought}
    return [queue_month(point, storage[point.storage], prices.price(point.instance, term), queues) for point in points]


def queue_month(
    point: Point, bought: Purchase, price: Price, queues: int, least: int = 1, beside: Beside | None = None
) -> QueueMonth:
    """A month of so many queues for one choice.

    Parameters
    ----------
    bought: the storage. price: of an instance. least: so many instances are there, needed or not.
    beside: what else the month holds; None: nothing.
    """
    other = beside or Beside()
    count, compute = _rent(price, Decimal(queues), point.seconds, least)
    live = _rent(price, other.live_sessions, other.live_seconds, other.live_least)
    return QueueMonth(point, queues, count, compute, bought.total, *live, other.archive)


def _rent(price: Price, runs: Decimal, seconds: Decimal, least: int) -> tuple[int, Decimal]:
    """Instances for so many runs of so many seconds a month, at least so many; and what they cost."""
    count = max(least, instances_needed(math.ceil(runs), seconds))
    hours = queue_cost(price, seconds) * runs
    return count, hours if paid_by_the_hour(price) else price.per_month * count


def held_by(months: Sequence[QueueMonth]) -> str:
    """What a queue's part of the months holds: "storage", or, where that is more, "all of a month"."""
    return "all of a month" if any(month.live or month.archive for month in months) else "storage"


def with_storage(months: Sequence[QueueMonth]) -> list[Point]:
    """Choices from fast to slow where a queue's cost is its part of the month, storage and all else included."""
    return frontier([replace(month.point, cost=month.each, provenance="modelled", beaten_by="") for month in months])

"""What a queue run costs, what is saved, and which choices are beaten: decimal arithmetic, no files.

A queue is one full run of a workload's lane on one instance; its cost is the instance's price by the hour times its
time, as in the source text. Storage is paid by the month beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from iotrace.analysis.cost.capacity import Provenance
from iotrace.analysis.cost.prices import Price
from iotrace.units import rounded


@dataclass(frozen=True)
class Figure:
    """A figure, where it comes from, and what the source text prints in its place (None: nothing)."""

    value: Decimal
    provenance: Provenance
    printed: Decimal | None = None

    @property
    def agrees(self) -> bool:
        """Whether the printed figure is this one, rounded to the decimals that it was printed with."""
        if self.printed is None:
            return True
        exponent = self.printed.as_tuple().exponent
        return rounded(self.value, max(0, -exponent) if isinstance(exponent, int) else 0) == self.printed

    def to_json(self) -> dict[str, Any]:
        """Value to the cent or 0.01 %, provenance, and printed where something is."""
        found: dict[str, Any] = {"value": rounded(self.value), "provenance": self.provenance}
        return found if self.printed is None else found | {"printed": self.printed, "agrees": self.agrees}


def queue_cost(price: Price, seconds: Decimal) -> Decimal:
    """US dollars (not rounded) of one instance for so many seconds."""
    return price.per_hour * seconds / 3600


def percent_less(candidate: Decimal, baseline: Decimal) -> Decimal | None:
    """How much less the candidate is, in percent of the baseline: (1 − c ÷ b) × 100; None of a baseline of 0."""
    return (1 - candidate / baseline) * 100 if baseline else None


def money(amount: Decimal) -> Decimal:
    """US dollars to the cent, and to four significant digits below a dollar, as short replays cost."""
    return rounded(amount, 2 if amount == 0 or abs(amount) >= 1 else 3 - amount.adjusted())


@dataclass(frozen=True)
class Point:
    """A choice: a queue's time (s; its 95 % interval where one is known), its cost (US dollars), what beats it.

    short: its storage holds less than was asked for, so that it is no choice and beats none.
    """

    instance: str
    storage: str
    seconds: Decimal
    cost: Decimal
    provenance: Provenance
    beaten_by: str = ""
    low: Decimal | None = None
    high: Decimal | None = None
    short: bool = False

    @property
    def name(self) -> str:
        """Instance and storage."""
        return f"{self.instance} on {self.storage}"

    @property
    def best(self) -> bool:
        """Whether it is a choice that none beats."""
        return not self.beaten_by and not self.short

    def to_json(self) -> dict[str, Any]:
        """The point, cost to the cent."""
        return {
            "instance": self.instance,
            "storage": self.storage,
            "seconds": rounded(self.seconds, 6),
            "cost_usd": money(self.cost),
            "provenance": self.provenance,
            "beaten_by": self.beaten_by or None,
            "holds_enough": not self.short,
        }


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points from fast to slow, each with the fastest of those that beat it.

    One beats another where it is no slower and no dearer, and faster or cheaper (Pareto). Points that are equal in both
    do not beat each other.
    """
    found = []
    for point in sorted(points, key=lambda point: (point.seconds, point.cost)):
        beats = [
            other
            for other in points
            if not other.short
            and other.seconds <= point.seconds
            and other.cost <= point.cost
            and (other.seconds < point.seconds or other.cost < point.cost)
        ]
        first = min(beats, key=lambda other: (other.seconds, other.cost), default=None)
        found.append(replace(point, beaten_by=first.name if first else ""))
    return found

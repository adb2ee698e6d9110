"""The same tables from one's own results: time and cost of a queue by instance and storage, and what is saved.

A side (all runs of one result on one mount) stands for one instance and one storage. A run's makespan is one sample;
costs are medians times a listed price, and what is saved is 1 − the ratio of iotrace.statistics, with its interval, so
that it says the same as `iotrace compare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from iotrace.analysis.compare import Side, sides_of
from iotrace.analysis.cost.capacity import Provenance, Purchase, purchase
from iotrace.analysis.cost.prices import PriceList
from iotrace.analysis.cost.queues import Point, frontier, money, percent_less, queue_cost
from iotrace.analysis.cost.source_text import prices_json
from iotrace.analysis.warnings import cost_warnings_of
from iotrace.errors import TraceError, UsageError
from iotrace.replay.result import Result, open_result
from iotrace.statistics import Comparison, MedianInterval, compare_samples, median_interval
from iotrace.units import rounded

_LONGEST_S: Final = 1e12


@dataclass(frozen=True)
class OwnRow:
    """One side: its time (s, times `work`) and cost (US dollars), and against the first side on the same instance.

    `saved` is None for that first side, and where both did not replay the same work.
    """

    side: Side
    instance: str
    storage: str
    seconds: MedianInterval
    point: Point
    saved: Comparison | None

    @property
    def percent(self) -> tuple[float, float | None, float | None] | None:
        """Less time, and so less cost, in percent: value, low, high; None where no ratio is known."""
        c = self.saved
        if c is None or c.ratio is None:
            return None
        low, high = (None if c.high is None else (1 - c.high) * 100), (None if c.low is None else (1 - c.low) * 100)
        return (1 - c.ratio) * 100, low, high

    @property
    def verdict(self) -> str:
        """ "costs less", "costs more" or "~": nothing was shown; empty where nothing is compared."""
        if self.saved is None:
            return ""
        return {"faster": "costs less", "slower": "costs more", "~": "~"}[self.saved.verdict]

    def to_json(self) -> dict[str, Any]:
        """The row; what is not known is None."""
        percent = self.percent
        return {
            "instance": self.instance,
            "storage": self.storage,
            "side": self.side.label,
            "runs": len(self.side.runs),
            "seconds": {"median": self.seconds.median, "low": self.seconds.low, "high": self.seconds.high},
            "cost_usd": money(self.point.cost),
            "provenance": self.point.provenance,
            "less_percent": None
            if percent is None
            else dict(
                zip(("value", "low", "high"), (None if v is None else round(v, 2) for v in percent), strict=True)
            ),
            "p": None if self.saved is None else self.saved.p,
            "verdict": self.verdict or None,
        }


@dataclass(frozen=True)
class OwnTables:
    """Rows (a side each), storages' months, the choices from fast to slow, warnings."""

    prices: PriceList
    term: str
    rows: list[OwnRow]
    purchases: list[Purchase]
    points: list[Point]
    notes: list[str]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """What `iotrace cost R… --json` prints."""
        return {
            "term": self.term,
            "rows": [row.to_json() for row in self.rows],
            "purchases": [one.to_json() for one in self.purchases],
            "speed_against_cost": [point.to_json() for point in self.points],
            "prices": prices_json(self.prices),
            "notes": self.notes,
            "warnings": self.warnings,
        }


def own_tables(
    results: Sequence[Result | str | Path],
    instances: Sequence[str],
    storages: Sequence[str],
    prices: PriceList,
    term: str,
    capacity: int | None = None,
    work: Decimal = Decimal(1),
) -> OwnTables:
    """Tables from results.

    Parameters
    ----------
    results: results or their folders; each mount of each is a side, in that order.
    instances, storages: names of the price list, one for all sides or one for each.
    term: how the instances are bought.
    capacity: bytes that each storage shall hold; what the price list says by default.
    work: a queue is so many times the work that was replayed; other than 1 makes its time modelled.

    Raises
    ------
    UsageError: names that the price list does not have, or not one for each side; two sides that are one choice.
    TraceError: a folder is not a result, or holds a time that cannot be.
    """
    sides = sides_of([open_result(one) if isinstance(one, str | Path) else one for one in results])
    on = _each("--instance", instances, sides)
    at = _each("--storage", storages, sides)
    choices = list(zip(on, at, strict=True))
    for number, choice in enumerate(choices):
        if choice in choices[:number]:
            raise UsageError(
                f"two of the results are on {choice[0]} and {choice[1]}: give each its own --instance or --storage "
                f"({', '.join(side.label for side in sides)})."
            )
    provenance: Provenance = "measured" if work == 1 else "modelled"
    rows: list[OwnRow] = []
    for side, (instance, storage) in zip(sides, choices, strict=True):
        for run in side.runs:
            if not 0 <= run.wall_s <= _LONGEST_S:
                raise TraceError(f"{side.label}: a run took {run.wall_s:g} s: the result is damaged.")
        times = [run.wall_s * float(work) for run in side.runs]
        seconds = median_interval(times)
        middle = _decimal(seconds.median)
        cost = queue_cost(prices.price(instance, term), middle)
        low, high = (None if value is None else _decimal(value) for value in (seconds.low, seconds.high))
        point = Point(instance, storage, middle, cost, provenance, low=low, high=high)
        first = next((row for row in rows if row.instance == instance), None)
        saved = None
        if first is not None and first.side.info.plan_hash == side.info.plan_hash:
            saved = compare_samples(
                [run.wall_s for run in first.side.runs],
                [run.wall_s for run in side.runs],
                _in_turns([first.side, side]),
            )
        rows.append(OwnRow(side, instance, storage, seconds, point, saved))
    bought = [purchase(prices, name, capacity) for name in dict.fromkeys(at)]
    # what a storage was printed to hold is not what somebody needs
    short = {one.storage for one in bought if capacity is not None and not one.enough}
    groups = []
    for name in dict.fromkeys(on):
        group = [row.side for row in rows if row.instance == name]
        groups.append((name, prices.instance(name).vcpus, group, _in_turns(group)))
    return OwnTables(
        prices,
        term,
        rows,
        bought,
        frontier([replace(row.point, short=row.storage in short) for row in rows]),
        months_apart(bought),
        cost_warnings_of(groups),
    )


def months_apart(bought: Sequence[Purchase]) -> list[str]:
    """How much less each storage costs a month than the first."""
    if not bought:
        return []
    first, *others = bought
    found = []
    for other in others:
        less = percent_less(other.total, first.total)
        if less is not None:
            word = "less" if less >= 0 else "more"
            holds = "" if first.enough and other.enough else "; one of them holds less than was asked for"
            found.append(
                f"A month of {other.storage} costs {abs(rounded(less))} % {word} than one of {first.storage} "
                f"(modelled{holds})."
            )
    return found


def _each(option: str, given: Sequence[str], sides: Sequence[Side]) -> list[str]:
    """One name for each side."""
    listed = ", ".join(side.label for side in sides)
    if not given:
        raise UsageError(f"{option}: say which one each result ran on, in this order: {listed}.")
    if len(given) == 1:
        return list(given) * len(sides)
    if len(given) != len(sides):
        raise UsageError(f"{option}: one for all, or one for each of these, in this order: {listed}.")
    return list(given)


def _in_turns(sides: Sequence[Side]) -> bool:
    """Whether all sides are of one result and have the same rounds, so that runs pair."""
    rounds = [[run.round for run in side.runs] for side in sides]
    one = all(side.info is sides[0].info for side in sides)
    return one and len(sides) > 1 and all(each == rounds[0] for each in rounds)


def _decimal(seconds: float) -> Decimal:
    # the shortest decimal that is this float, not its binary expansion
    return Decimal(repr(float(seconds)))

"""What a comparison gives: rows of metrics with their verdicts, and the sentences on the whole."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iotrace.analysis.comparison.curves import Curve
from iotrace.analysis.comparison.measures import Floats, Group, Unit
from iotrace.analysis.comparison.sides import Side, same_work
from iotrace.statistics import LEVEL, Comparison, MedianInterval
from iotrace.units import significant


@dataclass(frozen=True)
class Row:
    """One metric of a candidate beside the baseline's.

    Attributes
    ----------
    metric: its name in JSON; title: for people; unit: of the values.
    group, subject, short: whole run, or step, class or operation, its name, and the title without it.
    a, b: medians of baseline and candidate; comparison: b ÷ a, with the verdict of the whole table.
    p_adjusted: p-value that the verdict rests on, of all rows together; None where nothing was tested.
    p_mann_whitney: of the runs unpaired, whatever `comparison` is; None without a ratio.
    calls: of the operations that a latency is of, the least in any run; None for other figures.
    values_a, values_b: one a run.
    """

    metric: str
    title: str
    unit: Unit
    group: Group
    baseline: str
    candidate: str
    a: MedianInterval
    b: MedianInterval
    comparison: Comparison
    calls: int | None = None
    subject: str = ""
    short: str = ""
    p_adjusted: float | None = None
    p_mann_whitney: float | None = None
    values_a: Floats = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    values_b: Floats = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class RunsNeeded:
    """Runs a side that find a difference `smallest` of the primary measure; None where that is not known."""

    candidate: str
    metric: str
    smallest: float
    runs: int | None
    have: int


@dataclass(frozen=True)
class ComparisonTable:
    """What `iotrace compare` prints: sides (the first is the baseline), rows, curves, warnings and footnotes.

    `primary` is the metric that the verdict on a candidate rests on.
    """

    sides: list[Side]
    rows: list[Row]
    paired: bool
    warnings: list[str]
    footnotes: list[str]
    curves: list[Curve] = field(default_factory=list)
    runs_needed: list[RunsNeeded] = field(default_factory=list)
    primary: str = "makespan_s"

    def of(self, candidate: str) -> list[Row]:
        """Rows of one candidate."""
        return [row for row in self.rows if row.candidate == candidate]

    def verdict(self, candidate: str) -> str:
        """faster, slower or ~, by the primary measure."""
        return next((row.comparison.verdict for row in self.of(candidate) if row.metric == self.primary), "~")

    def verdicts(self) -> list[str]:
        """A sentence for each candidate: whether the same work took it less time."""
        return [_verdict(self, side.label) for side in self.sides[1:]]

    def to_json(self) -> dict[str, Any]:
        """The object that `iotrace compare --json` prints; what is not known is None."""
        return {
            "rows": [
                {
                    "metric": row.metric,
                    "baseline": row.baseline,
                    "candidate": row.candidate,
                    **_median("a", row.a),
                    **_median("b", row.b),
                    "ratio": row.comparison.ratio,
                    "ci_low": row.comparison.low,
                    "ci_high": row.comparison.high,
                    "p": row.comparison.p,
                    "p_adjusted": row.p_adjusted,
                    "p_mann_whitney": row.p_mann_whitney,
                    "verdict": row.comparison.verdict,
                }
                for row in self.rows
            ],
            "primary": self.primary,
            "curves": [
                {
                    "class": one.kind,
                    "baseline": one.baseline,
                    "candidate": one.candidate,
                    "at_us": one.at_us,
                    "share_a": one.share_a,
                    "share_b": one.share_b,
                    "differ_from_us": one.shown[0] if one.shown else None,
                    "differ_to_us": one.shown[1] if one.shown else None,
                }
                for one in self.curves
            ],
            "runs_needed": [
                {"candidate": one.candidate, "metric": one.metric, "smallest": one.smallest, "runs": one.runs}
                for one in self.runs_needed
            ],
            "paired": self.paired,
            "runs": {side.label: len(side.runs) for side in self.sides},
            "warnings": self.warnings,
            "footnotes": self.footnotes,
        }


def _verdict(table: ComparisonTable, candidate: str) -> str:
    rows = {row.metric: row for row in table.of(candidate)}
    row = rows.get(table.primary)
    baseline, side = table.sides[0], next(side for side in table.sides if side.label == candidate)
    if row is None:
        return f"{candidate}: nothing was measured on both sides."
    c = row.comparison
    if not same_work(baseline, side):
        known = bool(baseline.plan and side.plan) or baseline.tool != side.tool
        did = "did not replay the same work as" if known else "is not known to have done the same work as"
        return f"{candidate} {did} {row.baseline}: there is no verdict."
    by_rate = table.primary == "ops_per_s"
    if c.ratio is None:
        return f"{candidate}: the {row.title} is not known on both sides."
    took = (
        f"did {significant(c.ratio)} × the operations per second of"
        if by_rate
        else f"took {significant(c.ratio)} × the time of"
    )
    p = f"p = {c.p:.2g}"
    if c.verdict == "~":
        reason = (
            f"too few runs to tell ({min(c.n_a, c.n_b)} of at least {c.needed} a side)"
            if min(c.n_a, c.n_b) < c.needed
            else f"no difference was shown ({p})"
        )
        return f"{candidate} {took} {row.baseline}: {reason}."
    low, high = c.low or 0.0, c.high or 0.0
    same = (
        f"the same jobs did {significant(c.ratio)} × the operations per second"
        if by_rate
        else f"the same work took {significant(c.ratio)} × the time"
    )
    return (
        f"{candidate} is {c.verdict} than {row.baseline}: {same} "
        f"({LEVEL:.0%} interval {significant(low)} to {significant(high)}, {p})."
    )


def _median(name: str, found: MedianInterval) -> dict[str, float | None]:
    """A side's median and its interval; where a run has no value, neither is known."""
    known = math.isfinite(found.median)
    return {
        name: found.median if known else None,
        f"{name}_low": found.low if known else None,
        f"{name}_high": found.high if known else None,
    }

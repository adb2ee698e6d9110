"""Which storage served a replay better, and how sure that is: results in, rows of a table out.

A side is all runs of one result (or of a set of results) on one mount; the first side is the baseline. A run is one
sample: its makespan, its rates, its latency percentiles (from its histograms) are one value each, for the calls within
a run are not independent. Medians, ratios, intervals and p-values are those of iotrace.statistics; runs that alternated
over the mounts (one result, several --fs) are compared in pairs. Which rows count as different is decided for the
whole table (iotrace.analysis.comparison.family). The form of the table follows golang/perf's benchstat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from iotrace.analysis.comparison import family, power
from iotrace.analysis.comparison.curves import Curve, Grid, grids_of
from iotrace.analysis.comparison.fio import FioFile
from iotrace.analysis.comparison.measures import (
    Floats,
    Group,
    Measure,
    Unit,
    geometric_means,
    measures_of,
    primary_metric,
)
from iotrace.analysis.comparison.sides import Given, Side, opened, same_work, sides_of
from iotrace.analysis.warnings import warnings_of
from iotrace.errors import UsageError
from iotrace.replay.result import Result
from iotrace.statistics import (
    LEVEL,
    Comparison,
    MedianInterval,
    compare_samples,
    median_interval,
    samples_needed,
    samples_needed_unpaired,
)
from iotrace.trace.operations import Kind
from iotrace.units import significant

SMALLEST: Final = 0.05
"""The difference that runs are planned for, when none is given."""


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
                    "a": _finite(row.a.median),
                    "b": _finite(row.b.median),
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


def compare_results(*results: Given | Sequence[Given], smallest: float = SMALLEST) -> ComparisonTable:
    """Compare results, or the mounts of one result; the first is the baseline.

    Parameters
    ----------
    results: opened results, their folders, or files of fio's JSON; a sequence of those is one side.
    smallest: the least difference worth knowing (0.05: a ratio of 1.05), for the number of runs that it needs.

    Raises
    ------
    UsageError: there is only one side, a result holds no run, or `smallest` is not between 0.001 and 10.
    TraceError: a folder is not a result, or a file not fio's JSON.
    """
    if not 0.001 <= smallest <= 10:
        raise UsageError(f"--smallest {smallest * 100:g}% makes no sense: give a percentage from 0.1% to 1000%.")
    read: list[Result | FioFile | list[Result | FioFile]] = []
    for result in results:
        if isinstance(result, Result | str | Path):
            read.append(opened(result))
        else:
            read.append([opened(one) for one in result])
    sides = sides_of(read)
    if len(sides) < 2:
        only = f": {sides[0].label} is the only one" if sides else ""
        raise UsageError(
            f"there is nothing to compare{only}. Give two results, or one that was replayed with --fs A --fs B."
        )
    paired, left_out = False, 0
    if len(read) == 1:
        rounds = set.intersection(*({run.round for run in side.runs} for side in sides))
        whole = [replace(side, runs=[run for run in side.runs if run.round in rounds]) for side in sides]
        paired = bool(rounds) and all(len(side.runs) == len(rounds) for side in whole)
        if paired:
            left_out = sum(len(side.runs) for side in sides) - len(rounds) * len(sides)
            sides = whole
    return compare_sides(sides, paired, smallest, left_out)


def compare_sides(
    sides: Sequence[Side], paired: bool, smallest: float = SMALLEST, left_out: int = 0
) -> ComparisonTable:
    """Compare sides; see compare_results.

    Parameters
    ----------
    sides: the baseline first.
    paired: run i of each side was made beside run i of the others.
    left_out: runs that were left out to have pairs.
    """
    sides = list(sides)
    primary, candidates = primary_metric(sides), len(sides) - 1
    rows: list[Row] = []
    curves: list[Curve] = []
    needs: list[RunsNeeded] = []
    for side in sides[1:]:
        made = _rows(sides[0], side, paired)
        grids = grids_of(sides[0], side, [str(kind) for kind in Kind])
        judged, parted = _judged(made, grids, primary, paired, candidates, same_work(sides[0], side))
        rows += judged
        curves += parted
        needs += _needs(judged, primary, paired, candidates, smallest)
    return ComparisonTable(
        sides,
        rows,
        paired,
        warnings_of(sides, paired),
        _footnotes(rows, needs, primary, left_out),
        curves,
        needs,
        primary,
    )


def _rows(a: Side, b: Side, paired: bool) -> list[Row]:
    first = {one.metric: one for one in measures_of(a)}
    second = {one.metric: one for one in measures_of(b)}
    shared = [metric for metric in first if metric in second]
    means_a = geometric_means([first[metric] for metric in shared])
    means_b = {one.metric: one for one in geometric_means([second[metric] for metric in shared])}
    pairs = [(first[metric], second[metric]) for metric in shared]
    pairs += [(one, means_b[one.metric]) for one in means_a if one.metric in means_b]
    order = {group: number for number, group in enumerate(("run", "step", "class", "op"))}
    pairs.sort(key=lambda pair: order[pair[0].group])
    return [_row(one, other, a.label, b.label, paired) for one, other in pairs if _measured(one, other)]


def _measured(a: Measure, b: Measure) -> bool:
    return bool(np.any(a.values > 0) or np.any(b.values > 0)) or (a.unit == "us" and a.subject != "geomean")


def _row(a: Measure, b: Measure, baseline: str, candidate: str, paired: bool) -> Row:
    x, y = a.values, b.values
    comparison = compare_samples(x, y, paired, a.higher_is_better)
    calls = None if a.calls is None or b.calls is None else min(a.calls, b.calls)
    return Row(
        a.metric, a.title, a.unit, a.group, baseline, candidate, median_interval(x), median_interval(y), comparison,
        calls, a.subject, a.short, None, compare_samples(x, y).p if paired else comparison.p, x, y,
    )  # fmt: skip


def _judged(
    rows: list[Row], grids: list[Grid], primary: str, paired: bool, candidates: int, comparable: bool
) -> tuple[list[Row], list[Curve]]:
    """Rows with the verdicts of the whole table, and curves with where they were shown to part."""
    if not comparable:
        unjudged = [replace(row, comparison=replace(row.comparison, verdict="~")) for row in rows]
        return unjudged, [grid.curve for grid in grids]
    level = family.primary_level(candidates)
    needed = samples_needed(level) if paired else samples_needed_unpaired(level)
    tested = [row for row in rows if row.comparison.p is not None and row.metric != primary]
    columns_a = [np.log(row.values_a)[:, None] for row in tested] + [grid.a for grid in grids]
    columns_b = [np.log(row.values_b)[:, None] for row in tested] + [grid.b for grid in grids]
    together = (
        family.stepdown(np.hstack(columns_a), np.hstack(columns_b), paired) if columns_a else np.zeros(0)
    )  # fmt: skip
    main = next((row for row in rows if row.metric == primary and row.comparison.p is not None), None)
    first = family.primary_adjusted(main.comparison.p or 0.0, candidates) if main else 1.0
    adjusted = {
        row.metric: family.secondary_adjusted(max(p, row.comparison.p or 0.0), first, candidates)
        for row, p in zip(tested, together, strict=False)
    }
    if main:
        adjusted[primary] = first
    judged = []
    for row in rows:
        p = adjusted.get(row.metric)
        verdict = row.comparison.verdict if p is not None and p <= 1 - LEVEL + 1e-12 else "~"
        judged.append(
            replace(row, comparison=replace(row.comparison, verdict=verdict, needed=needed), p_adjusted=p)
        )  # fmt: skip
    curves, begin = [], len(tested)
    for grid in grids:
        end = begin + len(grid.at_us)
        points = np.array([family.secondary_adjusted(p, first, candidates) for p in together[begin:end]])
        differ = grid.at_us[points <= 1 - LEVEL + 1e-12]
        curves.append(replace(grid.curve, shown=(float(differ[0]), float(differ[-1])) if len(differ) else None))
        begin = end
    return judged, curves


def _needs(rows: list[Row], primary: str, paired: bool, candidates: int, smallest: float) -> list[RunsNeeded]:
    found = []
    for row in rows:
        if row.metric == primary and row.comparison.ratio is not None:
            runs = power.runs_needed(
                row.values_a, row.values_b, paired, smallest, family.primary_level(candidates)
            )  # fmt: skip
            have = min(row.comparison.n_a, row.comparison.n_b)
            found.append(RunsNeeded(row.candidate, row.metric, smallest, runs, have))
    return found


def _footnotes(rows: list[Row], needs: list[RunsNeeded], primary: str, left_out: int) -> list[str]:
    notes = []
    if left_out:
        notes.append(f"{left_out} run(s) of a round that was not finished on every mount are left out.")
    needed = {
        row.comparison.needed for row in rows if min(row.comparison.n_a, row.comparison.n_b) < row.comparison.needed
    }
    if needed:
        notes.append(
            f"A verdict needs at least {max(needed)} runs a side at the {LEVEL:.0%} level; with fewer it is ~."
        )
    notes += list(dict.fromkeys(_need_sentence(need, len(needs) > 1) for need in needs))
    few = sorted({row.title.rsplit(" ", 1)[0] for row in rows if row.calls is not None and row.calls < 100})
    if few:
        shown = ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
        notes.append(f"Fewer than 100 calls a run, so p99 is the slowest call: {shown}.")
    if any(row.comparison.ratio is None for row in rows):
        notes.append("Where a value is 0 there is no ratio.")
    if any(row.p_adjusted is not None for row in rows):
        title = next((row.title for row in rows if row.metric == primary), primary)
        notes.append(
            f"p is that of a row by itself. Verdicts are of the whole output, {title} first: of comparisons of a "
            f"storage with itself at most {1 - LEVEL:.0%} show any difference anywhere."
        )
        notes += _stricter(rows, primary, title)
    return notes


def _stricter(rows: list[Row], primary: str, title: str) -> list[str]:
    """How many runs other rows need where the primary measure shows nothing, when there are fewer."""
    tested = [row for row in rows if row.p_adjusted is not None]
    candidates = len({row.candidate for row in rows})
    level = family.secondary_level(candidates)
    paired = tested[0].comparison.paired
    needed = samples_needed(level) if paired else samples_needed_unpaired(level)
    silent = any(row.metric == primary and row.comparison.verdict == "~" for row in tested)
    if not silent or all(min(row.comparison.n_a, row.comparison.n_b) >= needed for row in tested):
        return []
    return [f"Where {title} shows no difference, other rows can show one from {needed} runs a side on."]


def _need_sentence(need: RunsNeeded, several: bool) -> str:
    what = "makespan" if need.metric == "makespan_s" else "operations per second"
    of = f" of {need.candidate}" if several else ""
    difference = f"a difference of {need.smallest * 100:g}% in {what}{of}"
    if need.runs is None and need.have < 3:
        return f"At least 3 runs a side are needed to say how many would find {difference}."
    if need.runs is None:
        return f"To find {difference} more than {power.MOST_RUNS} runs a side are needed: these runs vary too much."
    chance = f"in {power.POWER:.0%} of comparisons"
    if need.have >= need.runs:
        return f"{need.have} runs a side are enough to find {difference} {chance}: {need.runs} would be."
    return f"To find {difference} {chance}, {need.runs} runs a side are needed (--repeat {need.runs})."


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


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


__all__ = ["ComparisonTable", "Row", "RunsNeeded", "Side", "compare_results", "sides_of"]

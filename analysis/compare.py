"""Which storage served a replay better, and how sure that is: results in, rows of a table out.

A side is all runs of one result (or of a set of results) on one mount; the first side is the baseline. A run is one
sample: its makespan, its rates, its latency percentiles (from its histograms) are one value each, for the calls within
a run are not independent. Medians, ratios, intervals and p-values are those of iotrace.statistics; runs that alternated
over the mounts (one result, several --fs) are compared in pairs. Which rows count as different is decided for the
whole table (iotrace.analysis.comparison.family). The form of the table follows golang/perf's benchstat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from iotrace.analysis.comparison import family, power
from iotrace.analysis.comparison.curves import Curve, Grid, grids_of
from iotrace.analysis.comparison.fio import FioFile
from iotrace.analysis.comparison.measures import (
    Measure,
    geometric_means,
    measures_of,
    primary_metric,
)
from iotrace.analysis.comparison.notes import footnotes
from iotrace.analysis.comparison.sides import Given, Side, opened, same_work, sides_of
from iotrace.analysis.comparison.table import ComparisonTable, Row, RunsNeeded
from iotrace.analysis.warnings import warnings_of
from iotrace.errors import UsageError
from iotrace.replay.result import Result
from iotrace.statistics import (
    LEVEL,
    compare_samples,
    median_interval,
    samples_needed,
    samples_needed_unpaired,
)
from iotrace.trace.operations import Kind

SMALLEST: Final = 0.05
"""The difference that runs are planned for, when none is given."""


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
        footnotes(rows, needs, primary, left_out),
        curves,
        needs,
        primary,
    )


def _rows(a: Side, b: Side, paired: bool) -> list[Row]:
    first = {one.metric: one for one in measures_of(a)}
    second = {one.metric: one for one in measures_of(b)}
    shared = [metric for metric in first if metric in second]
    # a mean of what one side has no value of would be of other rows on either side
    known = [metric for metric in shared if np.all(first[metric].values > 0) and np.all(second[metric].values > 0)]
    means_a = geometric_means([first[metric] for metric in known])
    means_b = {one.metric: one for one in geometric_means([second[metric] for metric in known])}
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


__all__ = ["ComparisonTable", "Row", "RunsNeeded", "Side", "compare_results", "sides_of"]

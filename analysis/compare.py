"""Which storage served a replay better, and how sure that is: results in, rows of a table out.

A side is all runs of one result on one mount; the first side is the baseline. A run is one sample: its makespan, its
rates, its latency percentiles (from its histograms) are one value each, for the calls within a run are not
independent. Medians, ratios, intervals and p-values are those of iotrace.statistics; runs that alternated over the
mounts (one result, several --fs) are compared in pairs. The form of the table follows golang/perf's benchstat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np

from iotrace.analysis.warnings import warnings_of
from iotrace.errors import UsageError
from iotrace.histogram import dense, quantile
from iotrace.replay.result import Result, ResultInfo, Run, open_result
from iotrace.statistics import LEVEL, Comparison, MedianInterval, compare_samples, median_interval
from iotrace.trace.operations import Kind
from iotrace.units import significant

Unit = Literal["s", "us", "bytes/s", "1/s"]
Group = Literal["run", "class", "op"]
QUANTILES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

_WHOLE_RUN: Final[tuple[tuple[str, str, Unit, bool, Callable[[Run], float]], ...]] = (
    # metric, title, unit, higher is better, value
    ("makespan_s", "makespan", "s", False, lambda run: run.wall_s),
    ("io_s", "I/O wait", "s", False, lambda run: run.io_s),
    ("added_s", "storage adds", "s", False, lambda run: _known(run.added_s)),
    ("sync_s", "syncfs", "s", False, lambda run: _known(run.sync_s)),
    ("read_bytes_per_s", "read rate", "bytes/s", True, lambda run: _per_second(run.bytes_read, run)),
    ("write_bytes_per_s", "write rate", "bytes/s", True, lambda run: _per_second(run.bytes_written, run)),
    ("ops_per_s", "operations", "1/s", True, lambda run: run.ops_per_s),
    ("metadata_ops_per_s", "metadata ops", "1/s", True, lambda run: run.metadata_ops_per_s),
)


@dataclass(frozen=True)
class Side:
    """All runs of one result on one mount, in the order of their rounds."""

    label: str
    info: ResultInfo
    runs: list[Run]
    latencies: dict[tuple[Group, str], dict[int, Any]] = field(repr=False)
    """Histogram of shape (BUCKETS,) for each run's number, by ("class" | "op", name)."""

    @property
    def mount(self) -> str:
        """Type and source of the file system, as mountinfo shows them."""
        mount = self.runs[0].mount
        return (
            f"{mount.type}, {mount.source}" if mount.source and mount.source != mount.type else mount.type or "unknown"
        )


@dataclass(frozen=True)
class Row:
    """One metric of a candidate beside the baseline's.

    Attributes
    ----------
    metric: its name in JSON; title: for people; unit: of the values; group: whole run, class or operation.
    a, b: medians of baseline and candidate; comparison: b ÷ a.
    calls: of the operations that a latency is of, the least in any run; None for figures of the whole run.
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


@dataclass(frozen=True)
class ComparisonTable:
    """What `iotrace compare` prints: sides (the first is the baseline), rows, warnings and footnotes as sentences."""

    sides: list[Side]
    rows: list[Row]
    paired: bool
    warnings: list[str]
    footnotes: list[str]

    def of(self, candidate: str) -> list[Row]:
        """Rows of one candidate."""
        return [row for row in self.rows if row.candidate == candidate]

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
                    "verdict": row.comparison.verdict,
                }
                for row in self.rows
            ],
            "paired": self.paired,
            "runs": {side.label: len(side.runs) for side in self.sides},
            "warnings": self.warnings,
            "footnotes": self.footnotes,
        }


def compare_results(*results: Result | str | Path) -> ComparisonTable:
    """Compare results, or the mounts of one result; the first is the baseline.

    Parameters
    ----------
    results: opened results or their folders.

    Raises
    ------
    UsageError: there is only one side, or a result holds no run.
    TraceError: a folder is not a result.
    """
    opened = [open_result(result) if isinstance(result, str | Path) else result for result in results]
    sides = sides_of(opened)
    if len(sides) < 2:
        only = f" {sides[0].label} is the only one" if sides else ""
        raise UsageError(
            f"there is nothing to compare:{only}. Give two results, or one that was replayed with --fs A --fs B."
        )
    paired, left_out = False, 0
    if len(opened) == 1:
        rounds = set.intersection(*({run.round for run in side.runs} for side in sides))
        whole = [replace(side, runs=[run for run in side.runs if run.round in rounds]) for side in sides]
        paired = bool(rounds) and all(len(side.runs) == len(rounds) for side in whole)
        if paired:
            left_out = sum(len(side.runs) for side in sides) - len(rounds) * len(sides)
            sides = whole
    rows = [row for side in sides[1:] for row in _rows(sides[0], side, paired)]
    return ComparisonTable(sides, rows, paired, warnings_of(sides, paired), _footnotes(rows, left_out))


def sides_of(results: Sequence[Result]) -> list[Side]:
    """The sides of results: one for each mount of each, in the order given.

    Raises
    ------
    UsageError: a result holds no run.
    """
    found: list[tuple[str, str, Result, list[Run]]] = []
    for number, result in enumerate(results):
        name = result.folder.name.removesuffix(".ioresult") if result.folder else f"result {number + 1}"
        if not result.info.runs:
            raise UsageError(f"{name} holds no run: the replay was stopped before its first one ended.")
        for fs in dict.fromkeys(run.fs for run in result.info.runs):
            runs = sorted((run for run in result.info.runs if run.fs == fs), key=lambda run: (run.round, run.run))
            found.append((name, fs, result, runs))
    labels = _labels([(name, fs) for name, fs, _, _ in found])
    return [
        Side(label, result.info, runs, _latencies(result, runs))
        for label, (_, _, result, runs) in zip(labels, found, strict=True)
    ]


def _labels(names: list[tuple[str, str]]) -> list[str]:
    """The mount where that tells the sides apart, else the result's name, else both and a number."""
    for form in ([fs for _, fs in names], [name for name, _ in names], [f"{name}:{fs}" for name, fs in names]):
        if len(set(form)) == len(names):
            return form
    return [f"{name}:{fs} ({number})" for number, (name, fs) in enumerate(names, 1)]


def _latencies(result: Result, runs: list[Run]) -> dict[tuple[Group, str], dict[int, Any]]:
    numbers = {run.run for run in runs}
    frame = result.histograms()
    frame = frame[frame["run"].isin(numbers) & (frame["class"] != str(Kind.PROCESS))]
    found: dict[tuple[Group, str], dict[int, Any]] = {}
    groups: tuple[Group, ...] = ("class", "op")
    for group in groups:
        for key, part in frame.groupby([group, "run"]):
            name, run = cast("tuple[str, int]", key)
            found.setdefault((group, name), {})[int(run)] = dense(part["bucket"], part["count"])
    return found


def _known(value: float | None) -> float:
    return math.nan if value is None else max(0.0, value)


def _per_second(amount: float, run: Run) -> float:
    return amount / run.wall_s if run.wall_s > 0 else math.nan


def _rows(a: Side, b: Side, paired: bool) -> list[Row]:
    rows = []
    for metric, title, unit, higher, value in _WHOLE_RUN:
        x, y = np.array([value(run) for run in a.runs]), np.array([value(run) for run in b.runs])
        if np.any(x > 0) or np.any(y > 0):
            comparison = compare_samples(x, y, paired, higher)
            rows.append(
                Row(metric, title, unit, "run", a.label, b.label, median_interval(x), median_interval(y), comparison)
            )
    shared = [key for key in a.latencies if key in b.latencies]
    weight = {key: sum(float(np.sum(counts)) for counts in a.latencies[key].values()) for key in shared}
    spent = _time_spent(a)
    for group, name in sorted(shared, key=lambda key: (key[0] == "op", -spent.get(key, 0.0), -weight[key], key[1])):
        first, second = a.latencies[group, name], b.latencies[group, name]
        if any(run.run not in first for run in a.runs) or any(run.run not in second for run in b.runs):
            continue
        calls = min(int(counts.sum()) for counts in (*first.values(), *second.values()))
        for label, q in QUANTILES.items():
            x = np.array([quantile(first[run.run], q) / 1e3 for run in a.runs])
            y = np.array([quantile(second[run.run], q) / 1e3 for run in b.runs])
            rows.append(
                Row(
                    f"{group}.{name}.{label}_us", f"{name} {label}", "us", group, a.label, b.label,
                    median_interval(x), median_interval(y), compare_samples(x, y, paired), calls,
                )
            )  # fmt: skip
    if not _same_work(a, b):
        rows = [replace(row, comparison=replace(row.comparison, verdict="~")) for row in rows]
    return rows


def _time_spent(side: Side) -> dict[tuple[Group, str], float]:
    spent: dict[tuple[Group, str], float] = {}
    for run in side.runs:
        for name, op in run.by_op.items():
            spent["op", name] = spent.get(("op", name), 0.0) + op.time_s
        for name, kind in run.by_class.items():
            spent["class", name] = spent.get(("class", name), 0.0) + kind.time_s
    return spent


def _footnotes(rows: list[Row], left_out: int) -> list[str]:
    notes = []
    if left_out:
        notes.append(f"{left_out} run(s) of a round that was not finished on every mount are left out.")
    needed = {
        row.comparison.needed for row in rows if min(row.comparison.n_a, row.comparison.n_b) < row.comparison.needed
    }
    if needed:
        notes.append(
            f"A ratio's {LEVEL:.0%} interval needs at least {max(needed)} runs a side; with fewer the verdict is ~."
        )
    few = sorted({row.title.rsplit(" ", 1)[0] for row in rows if row.calls is not None and row.calls < 100})
    if few:
        notes.append(f"Fewer than 100 calls a run, so p99 is the slowest call: {', '.join(few)}.")
    if any(row.comparison.ratio is None for row in rows):
        notes.append("Where a value is 0 there is no ratio.")
    tested = sum(row.comparison.p is not None for row in rows)
    if tested >= 20 and any(row.comparison.verdict != "~" for row in rows):
        notes.append(
            f"Each of the {tested} rows is tested by itself: of rows without any difference about {1 - LEVEL:.0%} "
            "show one by chance."
        )
    return notes


def _verdict(table: ComparisonTable, candidate: str) -> str:
    rows = {row.metric: row for row in table.of(candidate)}
    row = rows.get("makespan_s")
    if row is None:
        return f"{candidate}: nothing was measured on both sides."
    c = row.comparison
    if not _same_work(table.sides[0], next(side for side in table.sides if side.label == candidate)):
        return f"{candidate} did not replay the same work as {row.baseline}: there is no verdict."
    if c.ratio is None:
        return f"{candidate}: the makespan is not known on both sides."
    if c.verdict == "~":
        reason = (
            f"too few runs to tell ({min(c.n_a, c.n_b)} of at least {c.needed} a side)"
            if min(c.n_a, c.n_b) < c.needed
            else f"no difference was shown (p = {c.p:.2g})"
        )
        return f"{candidate} took {significant(c.ratio)} × the time of {row.baseline}: {reason}."
    low, high = c.low or 0.0, c.high or 0.0
    return (
        f"{candidate} is {c.verdict} than {row.baseline}: the same work took {significant(c.ratio)} × the time "
        f"({LEVEL:.0%} interval {significant(low)} to {significant(high)}, p = {c.p:.2g})."
    )


def _same_work(a: Side, b: Side) -> bool:
    return a.info.plan_hash == b.info.plan_hash


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""What a side is measured by: a value for each run, for the whole run and by step, class and operation.

Rates are over the makespan of the run, those of a step over the time from its first call to the end of its last one.
Latencies are percentiles of a run's calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from iotrace.analysis.comparison.sides import Side
from iotrace.replay.result import Run
from iotrace.trace.operations import Kind

Unit = Literal["s", "us", "bytes/s", "1/s"]
Group = Literal["run", "step", "class", "op"]
Floats = npt.NDArray[np.float64]
QUANTILES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "p999": 0.999}
TITLES: Final = {"p50": "p50", "p95": "p95", "p99": "p99", "p999": "p99.9"}
GEOMEAN: Final = "geomean"


@dataclass(frozen=True)
class Measure:
    """One figure of a side.

    Attributes
    ----------
    metric: its name in JSON; title: for people; short: the same where the subject is known.
    group, subject: whole run, or a step, class or operation and its name.
    values: one a run, in the order of the runs, shape (runs,); NaN where it is not known.
    calls: of the operations that a latency is of, the least in any run.
    """

    metric: str
    title: str
    unit: Unit
    group: Group
    higher_is_better: bool
    values: Floats = field(repr=False)
    subject: str = ""
    short: str = ""
    calls: int | None = None


def primary_metric(sides: Sequence[Side]) -> str:
    """The measure that decides: makespan; operations per second of fio's jobs, which may run for a fixed time."""
    return "ops_per_s" if any(side.tool == "fio" for side in sides) else "makespan_s"


_WHOLE_RUN: Final[tuple[tuple[str, str, Unit, bool, Callable[[Run], float]], ...]] = (
    # metric, title, unit, higher is better, value
    ("makespan_s", "makespan", "s", False, lambda run: run.wall_s),
    ("io_s", "I/O wait", "s", False, lambda run: run.io_s),
    ("added_s", "storage adds", "s", False, lambda run: _known(run.added_s)),
    ("sync_s", "syncfs", "s", False, lambda run: _known(run.sync_s)),
    ("read_bytes_per_s", "read rate", "bytes/s", True, lambda run: _per(run.bytes_read, run.wall_s)),
    ("write_bytes_per_s", "write rate", "bytes/s", True, lambda run: _per(run.bytes_written, run.wall_s)),
    ("ops_per_s", "operations", "1/s", True, lambda run: run.ops_per_s),
    ("metadata_ops_per_s", "metadata ops", "1/s", True, lambda run: run.metadata_ops_per_s),
)


def measures_of(side: Side) -> list[Measure]:
    """All figures of a side; within a group what took most time comes first."""
    found = [
        Measure(metric, title, unit, "run", higher, np.array([value(run) for run in side.runs]), short=title)
        for metric, title, unit, higher, value in _WHOLE_RUN
    ]
    return [*found, *_steps(side), *_classes(side), *_operations(side)]


def geometric_means(measures: Sequence[Measure]) -> list[Measure]:
    """Geometric means over the steps, classes and operations of a side, where there are several: one value a run."""
    found = []
    grouped: dict[tuple[Group, str], list[Measure]] = {}
    for one in measures:
        last = one.metric.rsplit(".", 1)[-1]
        whole_step = one.unit == "s" or one.group != "step"
        if one.group != "run" and whole_step and (one.unit == "us" or last in ("makespan_s", "io_s")):
            grouped.setdefault((one.group, last), []).append(one)
    for (group, last), members in grouped.items():
        # io_s of classes and operations is a sum's parts: their mean says nothing
        usable = [one for one in members if np.all(one.values > 0)]
        if len(usable) < 2 or (last == "io_s" and group != "step"):
            continue
        values = np.exp(np.mean(np.log([one.values for one in usable]), axis=0))
        name = usable[0].short
        found.append(
            Measure(
                f"{group}.{GEOMEAN}.{last}", f"geomean {name}",
                usable[0].unit, group, False, values, GEOMEAN, name,
            )
        )  # fmt: skip
    return found


def _steps(side: Side) -> list[Measure]:
    names = _shared([{job.step for job in run.jobs} for run in side.runs])
    if not any(names):
        return []
    spent = {name: sum(job.io_s for run in side.runs for job in run.jobs if job.step == name) for name in names}
    found = []
    for name in sorted(names, key=lambda name: (-spent[name], name)):
        metadata = ("step", name, str(Kind.METADATA))
        by_run = side.latencies.get(metadata, {})
        rows: list[tuple[str, str, Unit, bool, list[float]]] = [
            ("makespan_s", "makespan", "s", False, []), ("io_s", "I/O wait", "s", False, []),
            ("read_bytes_per_s", "read rate", "bytes/s", True, []),
            ("write_bytes_per_s", "write rate", "bytes/s", True, []),
            ("ops_per_s", "operations", "1/s", True, []), ("metadata_ops_per_s", "metadata ops", "1/s", True, []),
        ]  # fmt: skip
        for run in side.runs:
            jobs = [job for job in run.jobs if job.step == name]
            span = max(job.end_s for job in jobs) - min(job.start_s for job in jobs)
            counted = by_run[run.run].calls if run.run in by_run else 0
            for row, value in zip(
                rows,
                (
                    span, sum(job.io_s for job in jobs), _per(sum(job.bytes_read for job in jobs), span),
                    _per(sum(job.bytes_written for job in jobs), span), _per(sum(job.ops for job in jobs), span),
                    _per(counted, span),
                ),
                strict=True,
            ):  # fmt: skip
                row[-1].append(value)
        label = name or "(no step)"
        found += [
            Measure(f"step.{name}.{key}", f"{label}: {title}", unit, "step", higher, np.array(values), label, title)
            for key, title, unit, higher, values in rows
        ]
        for kind in sorted(key[2] for key in side.latencies if key[0] == "step" and key[1] == name):
            found += _quantiles(side, ("step", name, kind), "step", label, kind, f"{label}: {kind}")
    return found


def _classes(side: Side) -> list[Measure]:
    return _by_name(side, "class", lambda run: run.by_class)


def _operations(side: Side) -> list[Measure]:
    return _by_name(side, "op", lambda run: run.by_op)


def _by_name(side: Side, group: Literal["class", "op"], totals: Callable[[Run], dict[str, Any]]) -> list[Measure]:
    names = [key[1] for key in side.latencies if key[0] == group]
    weight = {name: sum(one.calls for one in side.latencies[group, name].values()) for name in names}
    spent = {name: sum(totals(run)[name].time_s for run in side.runs if name in totals(run)) for name in names}
    found = []
    for name in sorted(names, key=lambda name: (-spent[name], -weight[name], name)):
        in_all = [totals(run).get(name) for run in side.runs]
        known = [one for one in in_all if one is not None]
        if known and len(known) == len(in_all):
            walls = [run.wall_s for run in side.runs]
            rows: list[tuple[str, str, Unit, bool, list[float]]] = [
                ("io_s", "wait", "s", False, [one.time_s for one in known]),
                (
                    "bytes_per_s", "rate", "bytes/s", True,
                    [_per(one.bytes, wall) for one, wall in zip(known, walls, strict=True)],
                ),
                (
                    "ops_per_s", "operations", "1/s", True,
                    [_per(one.calls, wall) for one, wall in zip(known, walls, strict=True)],
                ),
            ]  # fmt: skip
            found += [
                Measure(f"{group}.{name}.{key}", f"{name} {title}", unit, group, higher, np.array(values), name, title)
                for key, title, unit, higher, values in rows
            ]
        found += _quantiles(side, (group, name), group, name, "", name)
    return found


def _quantiles(
    side: Side, key: tuple[str, ...], group: Group, subject: str, prefix: str, title: str
) -> list[Measure]:  # fmt: skip
    by_run = side.latencies[key]
    if any(run.run not in by_run for run in side.runs):
        return []
    calls = min(by_run[run.run].calls for run in side.runs)
    found = []
    for name, q in QUANTILES.items():
        values = np.array([by_run[run.run].quantile(q) / 1e3 for run in side.runs])
        shown = f"{prefix} {TITLES[name]}".strip()
        found.append(
            Measure(
                f"{'.'.join(key)}.{name}_us",
                f"{title} {TITLES[name]}",
                "us",
                group,
                False,
                values,
                subject,
                shown,
                calls,
            )
        )
    return found


def _shared(sets: Sequence[set[str]]) -> list[str]:
    return sorted(set.intersection(*sets)) if sets else []


def _known(value: float | None) -> float:
    return math.nan if value is None else max(0.0, value)


def _per(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else math.nan

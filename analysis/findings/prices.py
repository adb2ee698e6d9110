"""The latencies of a replay's mounts, to price findings with."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from iotrace.analysis.findings.evidence import Evidence, Totals
from iotrace.analysis.findings.findings import reached
from iotrace.analysis.findings.search import Found, NothingBelow, search
from iotrace.errors import UsageError
from iotrace.replay.result import open_result
from iotrace.trace.reader import open_trace
from iotrace.trace.tables import records


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount of a result.

    Attributes
    ----------
    point: the folder given by --fs. type: of its file system. mean_ns: by operation, over all runs there. wall_ns: of
    a run there, on average; 0 where it is not known.
    """

    point: str
    type: str
    mean_ns: dict[str, float]
    wall_ns: int = 0

    def found(self, found: Found) -> Found:
        """What was found, at the latencies of this mount: the time of each operation's calls is multiplied by how many
        times as long one took here, then limits and ranks are looked at anew. Operations that were not replayed keep
        the trace's."""
        price = {
            str(row["op"]): self.mean_ns[str(row["op"])] / row["mean_ns"]
            for row in records(found.by_op)
            if row["mean_ns"] > 0 and str(row["op"]) in self.mean_ns
        }
        by_op = _priced(found.by_op, price)
        # shares of the wall time, and what is said of it, are of the runs here, as the gains are
        totals = Totals(found.totals.calls, int(by_op["time_ns"].sum()), self.wall_ns or found.totals.wall_ns)
        candidates = [
            replace(one, evidence=_at(one.evidence, price, totals, one.rule.timed)) for one in found.candidates
        ]
        return replace(found, by_op=by_op, totals=totals, candidates=candidates, findings=reached(candidates))


def _at(e: Evidence, price: dict[str, float], totals: Totals, timed: dict[str, int]) -> Evidence:
    by_op = _priced(e.by_op, price)
    time_ns = int(by_op["time_ns"].sum())
    slower = time_ns / e.time_ns if e.time_ns > 0 and time_ns > 0 else 1.0
    return replace(
        e, by_op=by_op, totals=totals, time_ns=time_ns, gain_ns=int(by_op["gain_ns"].sum()),
        example_ops=_priced(e.example_ops, price), step_ops=_priced(e.step_ops, price),
        numbers={name: value * slower ** timed.get(name, 0) for name, value in e.numbers.items()},
    )  # fmt: skip


def _priced(frame: pd.DataFrame, price: dict[str, float]) -> pd.DataFrame:
    """A frame with a column op; its times are multiplied."""
    factor = frame["op"].map(lambda op: price.get(str(op), 1.0)).astype("float64")
    times = [name for name in ("time_ns", "gain_ns", "mean_ns") if name in frame]
    return frame.assign(**{name: (frame[name] * factor).astype(frame[name].dtype) for name in times})


def mounts_of(result: Path) -> list[Mounted]:
    """The mounts of a result, in the order of their first runs.

    Raises
    ------
    ResultError: it cannot be opened.
    """
    runs = defaultdict(list)
    for run in open_result(result).info.runs:
        runs[run.fs].append(run)
    found = []
    for point, ours in runs.items():
        calls: dict[str, int] = defaultdict(int)
        time_s: dict[str, float] = defaultdict(float)
        for run in ours:
            for op, totals in run.by_op.items():
                calls[op] += totals.calls
                time_s[op] += totals.time_s
        mean = {op: time_s[op] * 1e9 / n for op, n in calls.items() if n}
        found.append(Mounted(point, ours[0].mount.type, mean, int(sum(run.wall_s for run in ours) * 1e9 / len(ours))))
    return found


def search_replayed(source: Path, result: Path) -> Found:
    """What is found in the calls that a replay made of a trace: those on files below the folders that moved to its
    mounts, for what a program asked of other storages would not meet these. All calls where none is known to lie there.

    Raises
    ------
    ResultError, TraceError: one of them cannot be opened.
    """
    # brings Numba, which findings of a trace do not need
    from iotrace.replay.mapping import default_prefixes

    trace = open_trace(source)
    if trace.info.detail == "histogram":
        return search(trace)
    moved = open_result(result).info.options.get("map") or default_prefixes(trace.info)
    try:
        return search(trace, [Path(str(folder)) for folder in moved])
    except NothingBelow:
        return search(trace)


def source_of(result: Path, given: Path | None) -> Path:
    """The trace that a result was made from: `given`, or one of its name beside the result or in the working folder.

    Raises
    ------
    UsageError: it is not there, or another one was given.
    """
    name = open_result(result).info.source
    if given is not None:
        if given.absolute().name != name:
            raise UsageError(
                f"--trace {given}: {result} was made from {name}, the calls would be those of another trace."
            )
        return given
    for place in (result.absolute().parent / name, Path(name)):
        if name and " + " not in name and place.is_dir():
            return place
    raise UsageError(
        f"{result} was made from {name or 'a trace that it does not name'}, which lies neither beside it nor here: say "
        "where with --trace."
    )

"""Summaries and findings of sets of traces: the part of each is worked out by itself, here or over Dask, then added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from iotrace.analysis.findings.across import findings_across, handed
from iotrace.analysis.findings.evidence import EXAMPLES, Evidence, Totals
from iotrace.analysis.findings.findings import Finding, reached
from iotrace.analysis.findings.reuse import Reuse
from iotrace.analysis.findings.search import Found, NothingBelow, search
from iotrace.analysis.spread import Spread, here
from iotrace.analysis.summary import DEFAULT_TABLES, Summary
from iotrace.errors import UsageError
from iotrace.trace.partials import NUMBERED, Counts, by_time, finished, in_seconds, largest
from iotrace.trace.reader import open_trace
from iotrace.trace.sets import Part, details_of, info_of, merged_counts, offsets_ns, part_of
from iotrace.trace.tables import records


def summarise_set(
    folders: Sequence[Path], by: Sequence[str] = DEFAULT_TABLES, limit: int | None = None, over: Spread = here
) -> Summary:
    """Summarise traces as one; files are one by their path, mounts by what they are, processes are of their trace.

    Parameters
    ----------
    folders: of the traces. by, limit: as of iotrace.analysis.summary.summarise. over: where each is worked out.

    Raises
    ------
    As of iotrace.analysis.summary.summarise.
    """
    keys = list(dict.fromkeys(["op", *by]))
    parts = over(partial(part_of, keys=keys, limit=limit), folders)
    info = info_of([part.info for part in parts])
    told = [key for key in keys if any(key in part.keys for part in parts)]
    tables = {key: _table(parts, key, limit, folders, over, info.mounts) for key in told}
    events = sum(part.totals["events"] for part in parts)
    lost = {kind: count for kind, count in info.lost.items() if count}
    gone = sum(max(0, part.info.events - part.totals["events"]) for part in parts)
    return Summary(
        name=f"{len(parts)} traces",
        info=info,
        events=events,
        lost=sum(lost.values()),
        lost_by_class=lost,
        gone=gone,
        complete=info.complete and not gone,
        duration_s=(info.duration_ns or max(part.totals["end_ns"] for part in parts)) / 1e9,
        files=sum(part.totals["files"] for part in parts),
        processes=sum(part.totals["processes"] for part in parts),
        bytes_read=sum(part.totals["bytes_read"] for part in parts),
        bytes_written=sum(part.totals["bytes_written"] for part in parts),
        tells_files="file" in told or any(part.info.detail != "histogram" for part in parts),
        tables=tables,
    )


def _table(
    parts: Sequence[Part], key: str, limit: int | None, folders: Sequence[Path], over: Spread, mounts: Sequence[Any]
) -> pd.DataFrame:
    counts = merged_counts(parts, key, mounts)
    if limit and key in ("file", "process", "thread"):
        counts = replace(counts, totals=largest(counts.totals, limit))
    if limit and key == "file":
        mine = [folder for folder, part in zip(folders, parts, strict=True) if key in part.keys]
        found = over(partial(details_of, names=list(counts.totals["key"])), mine)
        counts = Counts(
            counts.totals,
            pd.concat([one.latency for one in found]).groupby(["key", "bucket"], dropna=False, as_index=False).sum(),
            pd.concat([one.sizes for one in found])
            .groupby(["key", "bucket"], dropna=False, as_index=False)
            .agg({"n": "sum", "smallest": "min"}),
        )
        counts = Counts(*(
            frame.assign(key=frame["key"].astype(object).where(frame["key"].notna(), None))
            for frame in (counts.totals, counts.latency, counts.sizes)
        ))  # fmt: skip
    frame = in_seconds(finished(counts), key)
    if key in NUMBERED:
        numbers = pd.Series(frame["key"].tolist() if key == "mount" else [pd.NA] * len(frame), frame.index, "Int64")
        frame.insert(1, "id", numbers)
    if key == "mount":
        frame["key"] = pd.Series(
            [None if pd.isna(one) else mounts[int(one)].point for one in frame["key"]], frame.index, dtype=object
        )
    return by_time(frame)


def _search(folder: Path, under: Path | None, with_reuse: bool) -> Found | None:
    try:
        return search(open_trace(folder), under, with_reuse)
    except NothingBelow:
        return None


def search_set(
    folders: Sequence[Path], under: Path | None = None, with_reuse: bool = True, over: Spread = here
) -> Found:
    """Look for all that the rules name in each trace, and add up what is found: limits and ranks are of the whole.

    What a cache would serve is of a cache for each trace. Files are told of each trace's costliest ones. Times count
    from the start of the first trace, where all noted the time of day.

    Raises
    ------
    As of iotrace.analysis.findings.search.search; a folder given has to be in one of the traces.
    """
    all_found = over(partial(_search, under=under, with_reuse=with_reuse), folders)
    begun = offsets_ns([open_trace(folder).info for folder in folders])
    offsets = begun or [0] * len(folders)
    found = [_later(one, offset) for one, offset in zip(all_found, offsets, strict=True) if one is not None]
    if not found:
        raise UsageError(f"none of the {len(folders)} traces holds a call on a file below {under}.")
    whole = added(found, begun is not None)
    if begun is None or len(folders) == 1:
        return whole
    between = findings_across(over(handed, folders), begun, whole.totals, under)
    candidates = [*whole.candidates, *between]
    looked_for = [*whole.looked_for, *(one.rule.title for one in between)]
    return replace(whole, candidates=candidates, findings=reached(candidates), looked_for=looked_for)


def _later(found: Found, offset_ns: int) -> Found:
    """The same, with the times of its candidates counted from the start of the set's first trace."""

    def moved(one: Finding) -> Finding:
        e = one.evidence
        return replace(one, evidence=replace(e, first_ns=e.first_ns + offset_ns, last_ns=e.last_ns + offset_ns))

    totals = replace(found.totals, first_ns=found.totals.first_ns + offset_ns)
    return replace(found, totals=totals, candidates=[moved(one) for one in found.candidates])


def _added_totals(parts: Sequence[Totals], on_one_clock: bool) -> Totals:
    until = clock_ns = 0
    for begin, end in sorted((one.first_ns, one.first_ns + one.wall_ns) for one in parts):
        clock_ns += max(0, end - max(begin, until))
        until = max(until, end)
    return Totals(
        calls=sum(one.calls for one in parts), time_ns=sum(one.time_ns for one in parts),
        wall_ns=sum(one.wall_ns for one in parts),
        first_ns=min(one.first_ns for one in parts), traces=len(parts),
        clock_ns=clock_ns if on_one_clock and len(parts) > 1 else 0,
    )  # fmt: skip


def added(found: Sequence[Found], on_one_clock: bool) -> Found:
    """What several traces told, as one; mounts are left out, for each trace has its own numbers."""
    totals = _added_totals([one.totals for one in found], on_one_clock)
    of_rule: dict[tuple[str, str], list[Finding]] = {}
    for one in found:
        for candidate in one.candidates:
            of_rule.setdefault((candidate.rule.name, candidate.rule.title), []).append(candidate)
    candidates = [
        Finding(same[0].rule, _added([one.evidence for one in same], totals, same[0].rule.per))
        for same in of_rule.values()
    ]
    by_op = pd.concat([one.by_op for one in found], ignore_index=True)
    by_op = by_op.assign(calls=by_op["time_ns"] / by_op["mean_ns"].where(by_op["mean_ns"] > 0))
    by_op = by_op.groupby("op", as_index=False)[["time_ns", "calls"]].sum()
    by_op = by_op.assign(mean_ns=by_op["time_ns"] / by_op["calls"])[["op", "mean_ns", "time_ns"]]
    judged = {title for one in found for title in one.looked_for}
    return Found(
        findings=reached(candidates),
        totals=totals,
        reuse=_added_reuse([one.reuse for one in found if one.reuse is not None]),
        by_op=by_op,
        mounts=set(),
        looked_for=list(dict.fromkeys(title for one in found for title in one.looked_for)),
        candidates=candidates,
        incomplete=" ".join(dict.fromkeys(one.incomplete for one in found if one.incomplete)),
        not_judged=list(dict.fromkeys(title for one in found for title in one.not_judged if title not in judged)),
    )


def _added(parts: Sequence[Evidence], totals: Totals, per: dict[str, str]) -> Evidence:
    some = [one for one in parts if one.calls] or list(parts[:1])
    sums = {name: sum(getattr(one, name) for one in some)
            for name in ("calls", "spared", "files", "processes", "bytes", "time_ns", "gain_ns")}  # fmt: skip

    def summed(name: str, by: list[str]) -> pd.DataFrame:
        frames = [getattr(one, name) for one in some if len(getattr(one, name))]
        if not frames:
            found: pd.DataFrame = getattr(some[0], name)
            return found
        whole: pd.DataFrame = pd.concat(frames, ignore_index=True).groupby(by, as_index=False).sum()
        return whole

    by_op = summed("by_op", ["op"]).sort_values(["gain_ns", "time_ns", "calls", "op"], ascending=[False] * 3 + [True])
    examples = summed("example_ops", ["path", "op"])
    by_path = examples.groupby("path", as_index=False)[["gain_ns", "time_ns", "calls"]].sum()
    best = by_path.sort_values(["gain_ns", "time_ns", "calls", "path"], ascending=[False] * 3 + [True]).head(EXAMPLES)
    return Evidence(
        **sums, first_ns=min(one.first_ns for one in some), last_ns=max(one.last_ns for one in some), totals=totals,
        by_op=by_op.reset_index(drop=True), step_ops=summed("step_ops", ["step", "op"]),
        example_ops=examples[examples["path"].isin(best["path"])].reset_index(drop=True),
        numbers={name: _number(some, name, per) for name in some[0].numbers},
    )  # fmt: skip


def _number(parts: Sequence[Evidence], name: str, per: dict[str, str]) -> float:
    """A rule's own figure of several: the mean, weighted as the rule says; the sum of what is a weight itself."""
    values = [one.numbers[name] for one in parts]
    if name in per.values():
        return sum(values)
    by = per.get(name, "calls")
    weights = [float(one.numbers[by] if by in one.numbers else getattr(one, by)) for one in parts]
    return float(np.average(values, weights=weights if any(weights) else None))


def _added_reuse(parts: Sequence[Reuse]) -> Reuse | None:
    if not parts:
        return None
    by_step = pd.concat([one.by_step for one in parts]).groupby("step", as_index=False).sum()
    sizes = sorted({int(size) for one in parts for size in one.curve["cache_bytes"]})
    rows = []
    for step in by_step["step"]:
        whole = dict.fromkeys(sizes, 0.0)
        read = 0
        for one in parts:
            mine = records(one.by_step[one.by_step["step"] == step])
            if not mine:
                continue
            read += mine[0]["read_bytes"]
            served = {row["cache_bytes"]: row["served"] for row in records(one.curve[one.curve["step"] == step])}
            last = 0.0
            for size in sizes:
                # a larger cache than a trace's curve reaches to serves no more
                last = served.get(size, last)
                whole[size] += last * mine[0]["read_bytes"]
        rows += [(step, size, value / read) for size, value in whole.items()]
    curve = pd.DataFrame(rows, columns=["step", "cache_bytes", "served"])
    return Reuse(by_step, curve, min(one.share for one in parts))

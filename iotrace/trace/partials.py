"""Counts by key that add up: what tables over traces are made of, and how several traces' counts become one table.

Percentiles do not merge, counts do: a Counts holds sums, and histograms in the buckets of iotrace.histogram, so that
parts worked out anywhere, in any order, give the table of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from iotrace.histogram import middles

PERCENTILES: Final = {"p50_us": 0.50, "p95_us": 0.95, "p99_us": 0.99}
NUMBERED: Final = ("file", "process", "thread", "mount")
"""Keys that are numbers: rows of the trace's tables."""
SUMS: Final = (
    "calls", "errors", "timed", "data_calls", "bytes_read", "bytes_written", "total_ns", "moves", "in_sequence"
)  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """Counts by key.

    Attributes
    ----------
    totals: columns key, SUMS, first_ns, last_ns, class; a row a key. moves, in_sequence: positioned data operations,
    and those that began where the one before on the same open description ended (both 0 where that is not known).
    latency: columns key, bucket, n, of the calls whose duration is known. sizes: key, bucket, n, smallest (size in
    the bucket), of data operations. Of keys that a limit left out neither has rows.
    """

    totals: pd.DataFrame
    latency: pd.DataFrame
    sizes: pd.DataFrame


def typed(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """The frame with its column key as nullable numbers or as texts (None: no such thing), whatever DuckDB made of a
    column without rows or without values."""
    if key in NUMBERED:
        return frame.astype({"key": "Int64"})
    return frame.assign(key=frame["key"].astype(object).where(frame["key"].notna(), None))


def finished(counts: Counts) -> pd.DataFrame:
    """The totals (without moves and in_sequence) with p50_us, p95_us, p99_us, size_p50 and sequential_share: see
    iotrace.trace.tables.Tables.by."""
    latency = _ranked(counts.latency)
    found = counts.totals.drop(columns=["moves", "in_sequence"])
    middle = middles()
    for name, share in PERCENTILES.items():
        rank = np.maximum(1, np.ceil(share * latency["total"]))
        part = latency.loc[latency["until"] >= rank, ["key", "bucket"]].drop_duplicates("key")
        part = part.rename(columns={"bucket": name}).astype({name: "float64"})
        part[name] = middle[part[name].to_numpy(np.int64)] / 1e3
        found = found.merge(part, on="key", how="left")
    sizes = _ranked(counts.sizes)
    half = sizes[2 * sizes["until"] >= sizes["total"]].drop_duplicates("key")
    half = half[["key", "smallest"]].rename(columns={"smallest": "size_p50"})
    found = found.merge(half, on="key", how="left").astype({"size_p50": "float64"})
    moves = counts.totals["moves"].to_numpy(np.float64)
    with np.errstate(invalid="ignore"):
        share_of = counts.totals["in_sequence"].to_numpy(np.float64) / np.where(moves > 0, moves, np.nan)
    return found.assign(sequential_share=share_of)


def _ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by key and bucket with `until`, the count up to the bucket, and `total`, that of the key."""
    frame = frame.sort_values(["key", "bucket"], kind="stable", ignore_index=True)
    by = frame.groupby("key", sort=False, dropna=False)["n"]
    return frame.assign(until=by.cumsum(), total=by.transform("sum"))


def in_seconds(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """Totals with times in seconds, and `class` for operations alone."""
    frame = frame.assign(time_s=frame["total_ns"].astype("float64") / 1e9, first_s=frame["first_ns"] / 1e9,
                         last_s=frame["last_ns"] / 1e9)  # fmt: skip
    return frame.drop(columns=["total_ns", "first_ns", "last_ns", *([] if key == "op" else ["class"])])


def by_time(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with most time first; those that are equal in all figures by name, or two runs would differ."""
    order = ["time_s", "calls", "bytes_read", "bytes_written"]
    return _by_name(frame).sort_values(order, ascending=False, kind="stable", ignore_index=True)


def no_totals() -> pd.DataFrame:
    """Totals without rows."""
    return pd.DataFrame(columns=["key", *SUMS, "first_ns", "last_ns", "class"])


def no_histograms() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Latencies and sizes without rows."""
    latency = pd.DataFrame({"key": pd.Series(dtype=object), "bucket": 0, "n": 0}).astype(
        {"bucket": "int64", "n": "int64"}
    )
    return latency, latency.assign(smallest=latency["n"])


def renamed(counts: Counts, name: Callable[[Any], Any]) -> Counts:
    """Counts by other keys; those that become equal become one."""
    parts = [
        frame.assign(key=pd.Series([name(key) for key in frame["key"]], frame.index, dtype=object))
        for frame in _frames(counts)
    ]
    return merged([Counts(*parts)])


def keyed(counts: Counts, names: Sequence[Any] | pd.Series[Any]) -> Counts:
    """Counts whose keys are positions in `names` (None: no such thing), by name; equal names become one."""
    names = pd.Series(list(names), dtype=object)
    parts = [frame.assign(key=names.iloc[frame["key"].to_numpy(np.int64)].to_numpy()) for frame in _frames(counts)]
    return merged([Counts(*parts)])


def merged(parts: Sequence[Counts]) -> Counts:
    """The counts of all parts together."""
    totals, latency, sizes = (
        pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
        for frames in zip(*(_frames(part) for part in parts), strict=True)
    )
    how: dict[str, Any] = dict.fromkeys(SUMS, "sum") | {"first_ns": "min", "last_ns": "max", "class": "first"}
    return Counts(
        _grouped(totals, ["key"], how),
        _grouped(latency, ["key", "bucket"], {"n": "sum"}),
        _grouped(sizes, ["key", "bucket"], {"n": "sum", "smallest": "min"}),
    )


def _grouped(frame: pd.DataFrame, by: list[str], how: dict[str, Any]) -> pd.DataFrame:
    found = frame.groupby(by, sort=False, dropna=False, as_index=False).agg(how)
    # a column of nothing but None would come back as numbers
    return found.assign(key=found["key"].astype(object).where(found["key"].notna(), None))


def largest(totals: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    """The rows of most time (then bytes, calls, name); all where the limit is None or 0."""
    if not limit or len(totals) <= limit:
        return totals
    totals = _by_name(totals)
    moved = totals["bytes_read"] + totals["bytes_written"]
    order = totals.assign(moved=moved).sort_values(
        ["total_ns", "moved", "calls"], ascending=False, kind="stable"
    ).index[:limit]  # fmt: skip
    return totals.loc[order].reset_index(drop=True)


def _by_name(frame: pd.DataFrame) -> pd.DataFrame:
    # not an array of fixed width, in which each name takes as much room as the longest
    names = np.array([str(key) for key in frame["key"]], object)
    return frame.iloc[np.argsort(names, kind="stable")]


def _frames(counts: Counts) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    return counts.totals, counts.latency, counts.sizes

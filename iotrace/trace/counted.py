"""The tables of iotrace.trace.tables over a trace that holds counts in the place of events (`--detail histogram`).

What each figure means is said there. Counts know neither threads nor positions: such keys are refused, and the
sequential share is NaN. Files they know where an importer's source counted by file. Times of first and last call are
those of the intervals. Time that was only added up (`measure` time) is in the sums, and in no percentile.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final, Literal

import numpy as np
import pandas as pd

from iotrace.errors import UsageError
from iotrace.histogram import lower_bounds
from iotrace.trace.partials import Counts, no_histograms, no_totals, typed
from iotrace.trace.reader import Trace
from iotrace.trace.tables import Key, Tables

SCANNED: Final = 1_000_000
"""Events from which on one pass of a kernel pays in the place of several queries."""
COUNTED_KEYS: Final = ("op", "class", "file", "process", "mount", "step", "job", "user")
"""Keys of a trace of counts; `file` only where it counts by file."""
_KEY_SQL: Final = {
    "op": "h.op",
    "class": "k.kind",
    "file": "h.file",
    "process": "h.process",
    "mount": "h.mount",
    "step": "p.step",
    "job": "case when p.project is null then p.job else concat_ws('/', p.project, p.job) end",
    "user": "p.user",
}


_WRITTEN: Final = "measure = 'written' or (measure = 'size' and writes and not reads)"
"""Rows whose sum was written to files: of copies, which read too, what they wrote is counted by itself."""


class CountedTables(Tables):
    """Tables of a trace of counts."""

    @cached_property
    def _keys(self) -> list[str]:
        return keys_of(self.trace, COUNTED_KEYS)

    def _source(self, key: str) -> str:
        if key not in self._keys:
            raise UsageError(
                f"cannot group by {key!r}: this trace holds counts, not events; choose one of {', '.join(self._keys)}."
            )
        return (
            f"select {_KEY_SQL[key]} as key, h.*, coalesce(k.kind, 'unknown') as kind, k.reads, k.writes "
            "from histograms h left join kinds k on h.op = k.op left join processes p on h.process = p.process"
        )

    def counts(self, key: Key | str, limit: int | None = None) -> Counts:
        source = self._source(key)
        restriction = f"order by total_ns desc, calls desc limit {int(limit)}" if limit else ""
        totals = self._execute(
            f"""
            select key, coalesce(sum(count) filter (measure in ('latency', 'untimed')), 0)::bigint as calls,
                   coalesce(sum(count) filter (measure = 'error'), 0)::bigint as errors,
                   coalesce(sum(count) filter (measure = 'latency'), 0)::bigint as timed,
                   coalesce(sum(count) filter (measure = 'size'), 0)::bigint as data_calls,
                   coalesce(sum("sum") filter (measure = 'size' and reads), 0)::bigint as bytes_read,
                   coalesce(sum("sum") filter ({_WRITTEN}), 0)::bigint as bytes_written,
                   coalesce(sum("sum") filter (measure in ('latency', 'time')), 0)::bigint as total_ns,
                   min(time_ns) as first_ns, max(time_ns + interval_ns) as last_ns, any_value(kind) as class
            from ({source}) group by key {restriction}
            """
        ).df()
        latency, sizes = self._buckets(source, "latency"), self._buckets(source, "size")
        sizes["smallest"] = lower_bounds()[sizes["bucket"].to_numpy(dtype=np.int64)]
        totals = totals.assign(moves=0, in_sequence=0)
        return Counts(typed(totals, key), typed(latency, key), typed(sizes, key))

    def sums(self, key: Key | str) -> Counts:
        return Counts(self.counts(key).totals, *no_histograms())

    def details_of_files(self, names: Sequence[str | None]) -> Counts:
        found = self.named(self.counts("file"), "file", "") if "file" in self._keys else None
        if found is None:
            return Counts(no_totals(), *no_histograms())
        parts = [frame[frame["key"].isin(names)] for frame in (found.latency, found.sizes)]
        return Counts(no_totals(), *parts)

    def _buckets(self, source: str, measure: str) -> pd.DataFrame:
        return self._execute(
            f"select key, bucket, sum(count)::bigint as n from ({source}) where measure = ? group by all", [measure]
        ).df()

    def histogram(self, key: Key | str, column: Literal["duration_ns", "size"]) -> pd.DataFrame:
        return self._execute(
            f"""
            select key, bucket, sum(count)::bigint as count from ({self._source(key)})
            where measure = ? group by all order by all
            """,
            ["latency" if column == "duration_ns" else "size"],
        ).df()

    def timeline(self, bins: int = 200) -> pd.DataFrame:
        frame = self._execute(
            f"""
            select time_ns / 1e9 as start_s, interval_ns / 1e9 as width_s, coalesce(k.kind, 'unknown') as class,
                   coalesce(sum(count) filter (measure in ('latency', 'untimed')), 0)::bigint as calls,
                   coalesce(sum("sum") filter (measure = 'size' and k.reads), 0)::bigint as bytes_read,
                   coalesce(sum("sum") filter ({_WRITTEN}), 0)::bigint as bytes_written
            from histograms h left join kinds k on h.op = k.op group by all order by all
            """
        ).df()
        return frame

    def activity(self, bins: int = 120, most: int = 16) -> pd.DataFrame:
        return pd.DataFrame(columns=["start_s", "width_s", "job", "op", "calls", "time_s"])

    def positions(self, rows: int = 20_000) -> pd.DataFrame:
        return pd.DataFrame(columns=["time_s", "file", "path", "offset", "size", "class"])

    def totals(self) -> dict[str, int]:
        row = self._execute(
            f"""
            select coalesce(sum(count) filter (measure in ('latency', 'untimed')), 0)::bigint,
                   coalesce(sum("sum") filter (measure = 'size' and k.reads), 0)::bigint,
                   coalesce(sum("sum") filter ({_WRITTEN}), 0)::bigint,
                   (select count(*) from files), (select count(*) from processes),
                   coalesce(max(time_ns + interval_ns), 0)::bigint
            from histograms h left join kinds k on h.op = k.op
            """
        ).fetchone()
        assert row is not None
        return dict(zip(("events", "bytes_read", "bytes_written", "files", "processes", "end_ns"), row, strict=True))


def tables_of(trace: Trace, keys: Sequence[Key | str] | None = None) -> Tables:
    """Tables over a trace, whichever of events and counts it holds; `keys` that will be asked for, None: any."""
    if trace.info.detail == "histogram":
        return CountedTables(trace)
    if trace.info.events < SCANNED:
        return Tables(trace)
    # Numba, which a small trace does not need, takes its time to come
    from iotrace.trace.scanned import ScannedTables

    return ScannedTables(trace, keys)


def keys_of(trace: Trace, keys: Sequence[str]) -> list[str]:
    """Those of the keys that the trace can be grouped by."""
    if trace.info.detail != "histogram":
        return list(keys)
    return [key for key in keys if key in COUNTED_KEYS and (key != "file" or counts_files(trace))]


def counts_files(trace: Trace) -> bool:
    """Whether a trace of counts counts by file: a recorder does not, an importer may."""
    return any(batch.column("file").null_count < batch.num_rows for batch in trace.batches("histograms", ["file"]))

"""Tables over a trace: counts, bytes and log-linear histograms by operation, file, process, mount, step and job.

Takes an opened Trace, gives small pandas frames. DuckDB scans the parts, groups by (key, bucket) and may spill to a
temporary folder; the events are never whole in memory, and percentiles are read off the buckets of iotrace.histogram
(within 0.8 %).

What counts, for every table:

- bytes read: the positive results of operations of the kinds in schema.BYTES_READ; bytes written: those of
  BYTES_WRITTEN. A copy (sendfile, copy_file_range, splice) reads from its `file` and writes to its `other_file`; the
  side that is a pipe or socket does not count. Page faults, readahead and folder listings do not count.
- errors: results below 0. Timed: calls whose duration is known (page faults that found their page in memory have
  none). Time: the sum of the durations that are known; percentiles: of these alone.
- sizes: what data operations asked for.
- sequential share: of the data operations at a known position, those that begin where the data operation that was
  completed before on the same open description ended; the first one on a description counts when it begins at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import pandas as pd

from iotrace.errors import UsageError
from iotrace.histogram import bucket_sql
from iotrace.trace.partials import (
    NUMBERED,
    Counts,
    by_time,
    finished,
    in_seconds,
    no_histograms,
    no_totals,
    renamed,
    typed,
)  # fmt: skip
from iotrace.trace.reader import Trace
from iotrace.trace.views import Views

Key = Literal["op", "class", "file", "process", "thread", "mount", "step", "job", "user"]
KEYS: Final[tuple[str, ...]] = get_args(Key)

_KEY_SQL: Final = {
    "op": "e.op",
    "class": "e.kind",
    "file": "coalesce(e.file, q.file, -1 - e.path)",
    "process": "e.process",
    "thread": "e.thread",
    "mount": "e.mount",
    "step": "p.step",
    "job": "case when p.project is null then p.job else concat_ws('/', p.project, p.job) end",
    "user": "p.user",
}
_PER_FILE: Final = ("file", "mount")
"""Keys for which a copy's two sides belong to different rows."""


class Tables(Views):
    """Tables over a trace; a context manager that lets go of it."""

    def _source(self, key: str) -> str:
        if key not in _KEY_SQL:
            raise UsageError(f"cannot group by {key!r}: choose one of {', '.join(KEYS)}.")
        view = "calls_by_file" if key in _PER_FILE else "calls"
        # an exec or a failed open names a file by its path alone
        named = "left join path_files q on e.path = q.path" if key == "file" else ""
        return (
            f"select {_KEY_SQL[key]} as key, e.* from {view} e left join processes p on e.process = p.process {named}"
        )

    def by(self, key: Key | str, limit: int | None = None) -> pd.DataFrame:
        """A row for each value of the key, those with most time first.

        Parameters
        ----------
        key: one of KEYS.
        limit: only that many rows, None or 0: all (percentiles of a million files take long and nobody reads them).

        Returns
        -------
        Columns: key (op: its name; file: its path; process: "pid command"; mount: its point; None where a row has no
        such thing), id (number of the file, process, thread or mount, where the key is one; a path without a file is
        -1 - path), calls, errors, timed, data_calls, bytes_read, bytes_written, time_s, p50_us, p95_us, p99_us (NaN: no
        duration known), size_p50 (bytes, NaN: no data operation), sequential_share (0 to 1, NaN: no positioned data
        operation), first_s, last_s (start of the first and last call, seconds since the recording's start); and
        `class` where the key is op.

        Raises
        ------
        UsageError: the key is not one of KEYS, or the limit is below 0.
        """
        if limit is not None and limit < 0:
            raise UsageError(f"limit {limit}: a number of rows, or None or 0 for all.")
        return self._ranked(finished(self.counts(key, limit)), key)

    def counts(self, key: Key | str, limit: int | None = None) -> Counts:
        """What `by` is made of; keys are texts, or numbers of files, processes, threads or mounts."""
        source = self._source(key)
        totals = self._sums(key, source, limit).totals
        keep = (
            f"select s.* from ({source}) s semi join totals t on s.key is not distinct from t.key" if limit else source
        )
        return Counts(totals, typed(self._latencies(keep), key), typed(self._sizes(keep), key))

    def sums(self, key: Key | str) -> Counts:
        """As `counts`, without histograms."""
        return self._sums(key, self._source(key), None)

    def _sums(self, key: str, source: str, limit: int | None) -> Counts:
        restriction = (
            f"order by total_ns desc, sum(bytes_read + bytes_written) desc, calls desc, key limit {int(limit)}"
            if limit
            else ""
        )
        self._execute(
            f"""
            create or replace temp table totals as
            select key, count(*) filter (counted) as calls, count(*) filter (counted and result < 0) as errors,
                   count(*) filter (counted and duration_ns is not null) as timed,
                   count(*) filter (counted and data) as data_calls,
                   sum(bytes_read)::bigint as bytes_read, sum(bytes_written)::bigint as bytes_written,
                   coalesce(sum(duration_ns) filter (counted), 0)::hugeint as total_ns,
                   min(time_ns) as first_ns, max(time_ns) as last_ns, any_value(kind) as class
            from ({source}) group by key {restriction}
            """
        )
        totals = typed(self._execute("select * from totals").df(), key)
        totals = totals.merge(typed(self._sequential(source), key), on="key", how="left")
        totals[["moves", "in_sequence"]] = totals[["moves", "in_sequence"]].fillna(0).astype("int64")
        return Counts(totals, *no_histograms())

    def details_of_files(self, names: Sequence[str | None]) -> Counts:
        """Histograms of the files at these paths (None: of calls without a file), by number; without totals."""
        self.connection.register("wanted_names", pd.DataFrame({"text": [name for name in names if name is not None]}))
        self._execute(
            """
            create or replace temp table wanted_files as
            select file::bigint as key from files join paths using (path) semi join wanted_names using (text)
            union select -1 - path from paths semi join wanted_names using (text)
            """
        )
        self.connection.unregister("wanted_names")
        none = "or s.key is null" if None in names else ""
        keep = f"select * from ({self._source('file')}) s where s.key in (select key from wanted_files) {none}"
        return Counts(no_totals(), typed(self._latencies(keep), "file"), typed(self._sizes(keep), "file"))

    def named(self, counts: Counts, key: str, prefix: str) -> Counts:
        """Counts by names that hold outside this trace; those of mounts keep their numbers.

        Parameters
        ----------
        prefix: of the names of processes and threads.
        """
        if key not in NUMBERED or key == "mount":
            return counts
        ids = pd.concat([frame["key"] for frame in (counts.totals, counts.latency, counts.sizes)]).dropna().unique()
        named = self._labelled(pd.DataFrame({"key": pd.array(ids, "Int64")}), key)
        text = dict(zip(named["id"], named["key"], strict=True))
        before = prefix if key != "file" else ""
        return renamed(counts, lambda number: None if pd.isna(number) else f"{before}{text[number]}")

    def _ranked(self, frame: pd.DataFrame, key: str) -> pd.DataFrame:
        """Totals by key in seconds, with the keys' names, the largest first."""
        return by_time(self._labelled(in_seconds(frame, key), key))

    def _latencies(self, source: str) -> pd.DataFrame:
        return self._execute(
            f"""
            select key, {bucket_sql("duration_ns")} as bucket, count(*) as n
            from ({source}) where duration_ns is not null and counted group by all
            """
        ).df()

    def _sizes(self, source: str) -> pd.DataFrame:
        # a bucket's smallest size stands for it: exact when programs ask for one size, as they mostly do
        return self._execute(
            f"""
            select key, {bucket_sql("size")} as bucket, count(*) as n, min(size) as smallest
            from ({source}) where data and size is not null and counted group by all
            """
        ).df()

    def _sequential(self, source: str) -> pd.DataFrame:
        return self._execute(
            f"""
            with moves as (
                select key, "offset",
                       coalesce(lag("offset" + result) over (
                           partition by open order by time_ns + coalesce(duration_ns, 0)), 0) as expected
                from ({source}) where data and counted and "offset" is not null and open is not null and result >= 0)
            select key, count(*) as moves, count(*) filter ("offset" = expected) as in_sequence from moves group by key
            """
        ).df()

    def _labelled(self, frame: pd.DataFrame, key: str) -> pd.DataFrame:
        if key in NUMBERED:
            frame = frame.rename(columns={"key": "id"})
            frame["id"] = frame["id"].astype("Int64")
        if key == "file":
            labels = self._file_labels(frame)
        elif key == "process":
            labels = self._execute(
                "select process as id, trim(concat_ws(' ', pid::varchar, command)) as key from processes"
            ).df()
        elif key == "thread":
            labels = pd.DataFrame({"id": frame["id"], "key": [f"thread {number}" for number in frame["id"]]})
        elif key == "mount":
            points = [mount.point for mount in self.trace.info.mounts]
            labels = pd.DataFrame({"id": range(len(points)), "key": points})
        else:
            return frame
        labels = labels.astype({"id": "Int64", "key": object})
        frame = frame.merge(labels.drop_duplicates("id"), on="id", how="left")
        frame["key"] = frame["key"].astype(object).where(frame["key"].notna(), None)
        return frame[["key", *(name for name in frame.columns if name != "key")]]

    def _file_labels(self, frame: pd.DataFrame) -> pd.DataFrame:
        ids = frame[["id"]].dropna().astype("int64")
        self.connection.register("wanted_ids", ids)
        labels = self._execute(
            """
            select w.id, q.text as key from wanted_ids w
            left join files f on w.id >= 0 and f.file = w.id
            left join paths q on q.path = case when w.id < 0 then -1 - w.id else f.path end
            """
        ).df()
        self.connection.unregister("wanted_ids")
        unknown = labels["key"].isna()
        labels.loc[unknown, "key"] = [f"file {number}" for number in labels.loc[unknown, "id"]]
        return labels

    def histogram(self, key: Key | str, column: Literal["duration_ns", "size"]) -> pd.DataFrame:
        """Log-linear counts: key, bucket (see iotrace.histogram), count; of `size` for data operations only.

        Raises
        ------
        UsageError: the key is not one of KEYS.
        """
        condition = "counted and data" if column == "size" else "counted"
        return self._execute(
            f"""
            select key, {bucket_sql(column)} as bucket, count(*) as count
            from ({self._source(key)}) where {column} is not null and {condition} group by all order by all
            """
        ).df()

    def timeline(self, bins: int = 200) -> pd.DataFrame:
        """Calls and bytes in equal slices of the recording, by class of operation.

        Returns
        -------
        Columns start_s, width_s, class, calls, bytes_read, bytes_written; a call belongs to the slice in which it
        started; slices without a call have no row.

        Raises
        ------
        UsageError: there is less than one slice.
        """
        width_ns = self._slice_ns(bins)
        frame = self._execute(
            f"""
            select greatest(time_ns, 0) // {width_ns} as slice, kind as class, count(*) as calls,
                   sum(bytes_read)::bigint as bytes_read, sum(bytes_written)::bigint as bytes_written
            from sides group by all order by all
            """
        ).df()
        frame.insert(0, "start_s", frame.pop("slice") * width_ns / 1e9)
        frame.insert(1, "width_s", width_ns / 1e9)
        return frame

    def activity(self, bins: int = 120, most: int = 16) -> pd.DataFrame:
        """Calls in equal slices of the recording by job and operation, of the pairs that took most time.

        Returns
        -------
        Columns start_s, width_s, job ("project/job", or the step where there is no job; None for calls without label),
        op, calls, time_s (of the pair in the whole recording); slices without a call have no row.
        """
        width_ns = self._slice_ns(bins)
        job = f"coalesce({_KEY_SQL['job']}, p.step)"
        frame = self._execute(
            f"""
            with named as (
                select greatest(e.time_ns, 0) // {width_ns} as slice, {job} as job, e.op, e.duration_ns
                from sides e left join processes p on e.process = p.process where e.kind <> 'process'),
            whole as (
                select job, op, coalesce(sum(duration_ns), 0) / 1e9 as time_s from named group by all
                order by time_s desc, count(*) desc, op limit {int(most)})
            select n.slice, n.job, n.op, count(*) as calls, any_value(w.time_s) as time_s
            from named n join whole w on n.op = w.op and n.job is not distinct from w.job group by all order by all
            """
        ).df()
        frame.insert(0, "start_s", frame.pop("slice") * width_ns / 1e9)
        frame.insert(1, "width_s", width_ns / 1e9)
        frame["job"] = frame["job"].astype(object).where(frame["job"].notna(), None)
        return frame

    def _slice_ns(self, bins: int) -> int:
        """How long each of so many equal slices of the recording is."""
        if bins < 1:
            raise UsageError(f"{bins} slices of a recording: give 1 or more.")
        ((last,),) = self._execute("select coalesce(max(time_ns), 0) from events").fetchall()
        end_ns = max(self.trace.info.duration_ns, int(last) + 1, 1)
        return max(1, -(-end_ns // bins))

    def positions(self, rows: int = 20_000) -> pd.DataFrame:
        """A random sample (fixed seed) of positioned data operations: time_s, file, path, offset, size, class."""
        return self._execute(
            f"""
            with sample as (
                select * from (
                    select time_ns, file, "offset", result, size, kind from sides
                    where data and "offset" is not null and file is not null and result >= 0)
                using sample reservoir({int(rows)} rows) repeatable (1))
            select s.time_ns / 1e9 as time_s, s.file, coalesce(q.text, 'file ' || s.file) as path, s."offset",
                   coalesce(nullif(s.result, 0), s.size, 0) as size, s.kind as class
            from sample s left join files f on s.file = f.file left join paths q on f.path = q.path
            """
        ).df()

    def totals(self) -> dict[str, int]:
        """Of the whole trace: events, bytes_read, bytes_written, files, processes, end_ns (last known end)."""
        row = self._execute(
            """
            select count(*), coalesce(sum(bytes_read), 0)::bigint, coalesce(sum(bytes_written), 0)::bigint,
                   (select count(*) from files), (select count(*) from processes),
                   coalesce(max(time_ns + coalesce(duration_ns, 0)), 0)::bigint
            from sides
            """
        ).fetchone()
        assert row is not None
        return dict(zip(("events", "bytes_read", "bytes_written", "files", "processes", "end_ns"), row, strict=True))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as dictionaries by column."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def table_by(trace: Trace, key: Key | str, limit: int | None = None) -> pd.DataFrame:
    """`Tables(trace).by(key)` for a single table."""
    with Tables(trace) as tables:
        return tables.by(key, limit)

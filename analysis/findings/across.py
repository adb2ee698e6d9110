"""What one trace of a set wrote and another read afterwards, on the same node or on another.

A file is one where nodes share its file system (source of the mount, and the path below its point), else it is its
node's. Of each trace the files with most bytes are looked at, as sums: never single calls, nor every file of a crowd.
The tables that the rules of across.toml are written for:

- written: key (of the file), host, trace, low and high (ends of what was written), since_ns (end of the first write).
- reading: key, host, trace, path, op, step ("": no label), processes, calls, bytes, time_ns, low, high, first_ns (start
  of the first read), last_ns (end of the last one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from iotrace.analysis.findings.evidence import EXAMPLES, Evidence, Totals
from iotrace.analysis.findings.findings import Finding
from iotrace.analysis.findings.rules import rules_across
from iotrace.mounts.family import family_of
from iotrace.mounts.mountinfo import Mount
from iotrace.trace.counted import tables_of
from iotrace.trace.reader import Trace, open_trace

_MOST: Final = 100_000
"""Files of a trace that are looked at, those of which most was written or read."""
_NO_MOUNT: Final = -1


@dataclass(frozen=True)
class Handed:
    """What a trace wrote and read, by file: the tables written and reading."""

    written: pd.DataFrame
    reading: pd.DataFrame


def handed(folder: Path) -> Handed | None:
    """What a trace wrote and read; None where it holds counts, or its node has no name.

    Raises
    ------
    TraceError: no trace, or a damaged one.
    """
    trace = open_trace(folder)
    if trace.info.detail == "histogram" or not trace.info.host:
        return None
    with tables_of(trace) as tables:
        tables.connection.register("origins", _origins(trace))
        tables.query(
            f"""
            create or replace temp table named as
            select f.file, t.text as path,
                   o.origin || case when o.shared then substr(t.text, length(o.point) + 1) else t.text end as key
            from files f join paths t on f.path = t.path join origins o on o.mount = coalesce(f.mount, {_NO_MOUNT})
            """
        )
        written = tables.query(
            f"""
            select n.key, min(w.low) as low, max(w.low + w.result) as high, min(w.ended) as since_ns
            from (
                select e.file, e."offset" as low, e.result, e.time_ns + coalesce(e.duration_ns, 0) as ended
                from events e join kinds k on e.op = k.op where k.kind = 'write'
                union all
                select e.other_file, e.other_offset, e.result, e.time_ns + coalesce(e.duration_ns, 0)
                from events e join kinds k on e.op = k.op where k.kind = 'copy') w
            join named n on w.file = n.file where w.low is not null and w.result > 0
            group by n.key order by sum(w.result) desc, n.key limit {_MOST}
            """
        ).df()
        reading = tables.query(
            f"""
            select n.key, min(n.path) as path, e.op::varchar as op, coalesce(p.step, '') as step,
                   count(distinct e.process) as processes, count(*) as calls, sum(e.result)::bigint as bytes,
                   sum(coalesce(e.duration_ns, 0))::bigint as time_ns, min(e."offset") as low,
                   max(e."offset" + e.result) as high, min(e.time_ns) as first_ns,
                   max(e.time_ns + coalesce(e.duration_ns, 0)) as last_ns
            from events e join kinds k on e.op = k.op join named n on e.file = n.file
            left join processes p on e.process = p.process
            where k.kind in ('read', 'copy') and e.result > 0 and e."offset" is not null
            group by n.key, e.op, p.step order by sum(e.result) desc, n.key, op, step limit {_MOST}
            """
        ).df()
    own = {"host": trace.info.host, "trace": str(folder)}
    return Handed(written.assign(**own), reading.assign(**own))


def _origins(trace: Trace) -> pd.DataFrame:
    """What the names of files on each mount are counted from."""
    local = f"node {trace.info.host}: "
    rows = [(_NO_MOUNT, "", local, False)]
    for number, one in enumerate(trace.info.mounts):
        shared = family_of(Mount(one.device, one.point, one.type, one.source)).kind == "network"
        rows.append((number, one.point.rstrip("/"), f"{one.type} {one.source}: " if shared else local, shared))
    return pd.DataFrame(rows, columns=["mount", "point", "origin", "shared"])


def findings_across(
    parts: Sequence[Handed | None], begun_ns: Sequence[int], totals: Totals, under: Path | None = None
) -> list[Finding]:
    """What the rules find between traces, whether their limits are reached or not.

    Parameters
    ----------
    parts: of each trace; begun_ns: when each began, on one clock. totals: of the whole set. under: as of search.
    """
    import duckdb

    known = [(part, begun) for part, begun in zip(parts, begun_ns, strict=True) if part is not None]
    if len(known) < 2:
        return []
    written = pd.concat([one.written.assign(since_ns=one.written["since_ns"] + at) for one, at in known])
    reading = pd.concat([
        one.reading.assign(first_ns=one.reading["first_ns"] + at, last_ns=one.reading["last_ns"] + at)
        for one, at in known
    ])  # fmt: skip
    if under is not None:
        folder = str(under).rstrip("/")
        reading = reading[(reading["path"] == folder) | reading["path"].str.startswith(f"{folder}/")]
    found = []
    with duckdb.connect() as connection:
        connection.register("written", written)
        connection.register("reading", reading)
        for rule in rules_across():
            found.append(Finding(rule, _evidence(connection.execute(rule.calls).df(), totals)))
    return found


def _evidence(rows: pd.DataFrame, totals: Totals) -> Evidence:
    rows = rows.assign(spared=0, gain_ns=0)
    sums = ["calls", "spared", "time_ns", "gain_ns"]
    by_path = rows.groupby("path", as_index=False)[sums].sum()
    best = by_path.sort_values(["time_ns", "calls", "path"], ascending=[False, False, True]).head(EXAMPLES)["path"]
    empty = rows.empty
    return Evidence(
        calls=int(rows["calls"].sum()), spared=0, files=rows["key"].nunique(), processes=int(rows["processes"].sum()),
        bytes=int(rows["bytes"].sum()), time_ns=int(rows["time_ns"].sum()), gain_ns=0,
        first_ns=0 if empty else int(rows["first_ns"].min()), last_ns=0 if empty else int(rows["last_ns"].max()),
        totals=totals,
        by_op=rows.groupby("op", as_index=False)[sums].sum().sort_values("time_ns", ascending=False, ignore_index=True),
        example_ops=rows[rows["path"].isin(best)].groupby(["path", "op"], as_index=False)[sums].sum(),
        step_ops=rows[rows["step"] != ""].groupby(["step", "op"], as_index=False)[["calls", "gain_ns"]].sum(),
        numbers={},
    )  # fmt: skip

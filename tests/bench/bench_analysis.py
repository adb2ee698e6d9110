"""Seconds and memory of `summary` and `report` of long traces, beside DuckDB; prints a Markdown table.

Run by `make bench-analysis`. Each runs in a process of its own, start and imports included; peak is its largest
resident set (VmHWM). DuckDB computes the summary's table by operation with exact quantiles from the same Parquet, once
whole and once without the share of sequential calls, for which it has to sort. A trace longer than ten million events
is one of that length whose parts stand there several times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from plan_traces import write_trace

_PART: int = 10_000_000


def peak_bytes() -> int:
    """Largest resident set of this process since its exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def run_iotrace(*words: str) -> None:
    """A command, as a process that a user starts."""
    from iotrace.cli import main

    sys.argv = ["iotrace", *words]
    main()


def run_report(folder: Path) -> None:
    """The page."""
    run_iotrace("report", str(folder), "-o", str(folder.parent / "report.html"), "--force")


def run_duckdb(folder: Path, sequential: bool = True) -> None:
    """The same table by DuckDB."""
    import duckdb

    from iotrace.trace.operations import OPERATIONS
    from iotrace.trace.schema import BYTES_READ, BYTES_WRITTEN

    kinds = ", ".join(
        f"('{o.name}', {o.kind in BYTES_READ}, {o.kind in BYTES_WRITTEN})" for o in OPERATIONS if o.result == "bytes"
    )
    events = f"read_parquet('{folder}/events/part-*.parquet')"
    connection = duckdb.connect()
    connection.execute(f"set temp_directory = '{folder.parent}/spill'")
    connection.execute(f"create table kinds as select * from (values {kinds}) k(op, reads, writes)")
    rows = connection.execute(
        f"""
        select e.op, count(*), count(*) filter (result < 0), count(duration_ns),
               sum(case when reads then greatest(result, 0) else 0 end),
               sum(case when writes then greatest(result, 0) else 0 end), sum(duration_ns),
               quantile_disc(duration_ns, [0.5, 0.95, 0.99]),
               quantile_disc(case when reads or writes then size end, 0.5), min(time_ns), max(time_ns)
        from {events} e left join kinds using (op) group by e.op order by sum(duration_ns) desc
        """
    ).fetchall()
    if sequential:
        connection.execute(
            f"""
            select op, avg(("offset" = expected)::int) from (
                select op, "offset", coalesce(lag("offset" + result) over (partition by open order by time_ns), 0)
                       as expected
                from {events} join kinds using (op)
                where (reads or writes) and "offset" is not null and open is not null and result >= 0) group by op
            """
        ).fetchall()
    print(len(rows))


RUNS = {
    "summary": lambda folder: run_iotrace("summary", str(folder), "--by", "op"),
    "duckdb": run_duckdb, "duckdb-unsorted": lambda folder: run_duckdb(folder, False),
    "report": run_report,
}  # fmt: skip


def made(folder: Path, events: int) -> Path:
    """A trace of about so many events."""
    trace = write_trace(folder / f"t{events}.iotrace", "mixture", min(events, _PART))
    parts = sorted((trace / "events").glob("part-*.parquet"))
    for copy in range(1, events // _PART):
        for number, part in enumerate(parts):
            # a name of its own for the same bytes
            os.link(part, part.with_name(f"part-{copy * len(parts) + number:06d}.parquet"))
    info = json.loads((trace / "trace.json").read_text())
    info["events"] *= max(1, events // _PART)
    (trace / "trace.json").write_text(json.dumps(info))
    return trace


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--summary", type=float, default=1e8, help="events of the trace that is summarised")
    parser.add_argument("--report", type=float, default=1e7, help="events of the trace that is reported")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; medians are printed (default 3)")
    parser.add_argument("--only", nargs="*", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--folder", type=Path, help="where the traces are made (default: a temporary folder)")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        RUNS[options.run[0]](Path(options.run[1]))
        usage = os.times()
        print(json.dumps({"cpu_s": usage.user + usage.system, "peak": peak_bytes()}), file=sys.stderr)
        return
    print(f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores\n")
    print("| what | events | wall, s (lowest–highest) | processor, s | peak, MB |")
    print("|---|---:|---:|---:|---:|")
    folder = Path(tempfile.mkdtemp(prefix="bench-analysis-", dir=options.folder))
    traces: dict[int, Path] = {}
    try:
        for what in options.only:
            events = int(options.report if what == "report" else options.summary)
            if events not in traces:
                traces[events] = made(folder, events)
            walls, found = [], []
            # where kernels are compiled the first run is not counted
            for turn in range(options.runs + 1):
                begin = time.monotonic()
                ended = subprocess.run(
                    [sys.executable, __file__, "--run", what, str(traces[events])], check=True, capture_output=True,
                    text=True,
                )  # fmt: skip
                if turn:
                    walls.append(time.monotonic() - begin)
                    found.append(json.loads(ended.stderr.splitlines()[-1]))
            print(
                f"| {what} | {events:,} | {statistics.median(walls):.1f} ({min(walls):.1f}–{max(walls):.1f}) "
                f"| {statistics.median(one['cpu_s'] for one in found):.1f} "
                f"| {statistics.median(one['peak'] for one in found) / 1e6:,.0f} |",
                flush=True,
            )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

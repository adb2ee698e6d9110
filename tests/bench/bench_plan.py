"""Seconds and memory of a replay's plan, by pattern and length of the trace; prints a Markdown table.

Run by `make bench-plan`. Each plan is made in a process of its own, whose largest resident set is told (VmHWM), and how
much of it was its own (RssAnon, looked at every 20 ms); the rest are pages of files, which the kernel can take
away. `--memory BYTES` bounds both by a control group, as `iotrace replay --memory` does its workers'. Seconds are those
of build_plan, on the wall and of the processor (a busy machine differs in the first), without imports.
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
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plan_traces import PATTERNS, ROOT, write_trace

from iotrace.replay.bounding import bounded, join

STAGES = (
    "load_tables", "map_paths", "select", "resolve_memory", "infer_snapshot", "assign_descriptors", "assign_lanes",
    "lay_out", "set_waits", "set_gaps", "plan_hash",
)  # fmt: skip


def peak_bytes() -> int:
    """Largest resident set of this process since its exec (ru_maxrss would count the parent's before it, too)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@contextmanager
def watched() -> Iterator[list[int]]:
    """Largest RssAnon of this process meanwhile, in bytes."""
    largest, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            now = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024
            largest[0] = max(largest[0], now)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield largest
    finally:
        ended.set()
        thread.join()


def make_plan(folder: Path) -> None:
    """In a process of its own: build the plan, print figures as JSON."""
    from iotrace.replay import plan as module
    from iotrace.trace.reader import open_trace

    stages: dict[str, float] = {}

    def timed(name: str) -> Any:
        stage = getattr(module, name)

        def run(*arguments: Any) -> Any:
            begin = time.process_time()
            result = stage(*arguments)
            stages[name] = time.process_time() - begin
            return result

        return run

    for name in STAGES:
        setattr(module, name, timed(name))
    begin, used = time.monotonic(), time.process_time()
    with watched() as own:
        plan = module.build_plan(open_trace(folder), [ROOT])
    figures: dict[str, Any] = {
        "wall_s": time.monotonic() - begin, "cpu_s": time.process_time() - used, "rows": len(plan.rows),
        "waits": len(plan.rows.wait_row), "stages": stages,
        "peak_bytes": peak_bytes(), "own_bytes": own[0],
    }  # fmt: skip
    stages["rows"] = figures["cpu_s"] - sum(stages.values())
    print(json.dumps(figures))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", nargs="*", type=float, default=[1e6, 1e7], help="lengths of traces")
    parser.add_argument("--runs", type=int, default=3, help="plans of each trace; medians are printed (default 3)")
    parser.add_argument("--pattern", nargs="*", choices=list(PATTERNS), default=list(PATTERNS))
    parser.add_argument("--memory", type=float, help="bytes of memory of each process, page cache included")
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan:
        make_plan(options.plan)
        return
    print(f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores\n")
    print(
        "| pattern | events | rows | waits | wall, s (lowest–highest) | processor, s | peak, MB | own, MB | stages, s |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    folder = Path(tempfile.mkdtemp(prefix="bench-plan-"))
    try:
        with bounded(int(options.memory) if options.memory else None) as group:
            measure(options, folder, group)
    finally:
        shutil.rmtree(folder)


def measure(options: argparse.Namespace, folder: Path, group: Path | None) -> None:
    """Print a row for each trace."""
    for pattern in options.pattern:
        for count in options.events:
            trace = write_trace(folder / f"{pattern}.iotrace", pattern, int(count))
            runs = [
                json.loads(
                    subprocess.run(
                        [sys.executable, __file__, "--plan", str(trace)],
                        check=True,
                        capture_output=True,
                        text=True,
                        preexec_fn=lambda: join(group),
                    ).stdout
                )
                for _ in range(options.runs + 1)
            ][1:]  # the first may compile
            walls = [run["wall_s"] for run in runs]
            stages = {name: statistics.median(run["stages"][name] for run in runs) for name in runs[0]["stages"]}
            shown = ", ".join(f"{name} {value:.2f}" for name, value in stages.items() if value >= 0.005)
            print(
                f"| {pattern} | {count:,.0f} | {runs[0]['rows']:,} | {runs[0]['waits']:,} "
                f"| {statistics.median(walls):.1f} ({min(walls):.1f}–{max(walls):.1f}) "
                f"| {statistics.median(run['cpu_s'] for run in runs):.1f} "
                f"| {statistics.median(run['peak_bytes'] for run in runs) / 1e6:,.0f} "
                f"| {statistics.median(run['own_bytes'] for run in runs) / 1e6:,.0f} | {shown} |",
                flush=True,
            )
            shutil.rmtree(trace)


if __name__ == "__main__":
    main()

"""What keeping the order between threads costs: --order file beside --order thread; prints a Markdown table.

Run by `make bench-order`. Four threads read and write 4 KiB blocks, some of the calls on a file that all share. In each
run every pair of calls in conflict is looked at, not only those that the plan's reduced edges name.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from bench_replay import save_trace, spread

from iotrace import __version__
from iotrace.replay import run as running
from iotrace.replay.clones import Clone, Outcome
from iotrace.replay.crew import run_clones
from iotrace.replay.options import Options
from iotrace.replay.plan import build_plan
from iotrace.replay.rows import Plan
from iotrace.replay.run import replay_plans
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.reader import Trace, open_trace

BLOCK = 4096
BLOCKS = 4096
THREADS = 4
STEP_NS, TOOK_NS = 10_000, 2_000


def write_trace(folder: Path, calls: int, shared: float, writes: float) -> Path:
    """Threads that take turns at random, `shared` of their calls on the last file, `writes` of them writes."""
    random = np.random.default_rng(1)
    n = THREADS * calls
    thread = np.tile(np.arange(THREADS), calls)
    file = np.where(random.random(n) < shared, THREADS, thread)
    block = random.integers(0, BLOCKS, n)
    write = random.random(n) < writes
    begin = np.arange(calls).repeat(THREADS) * STEP_NS + random.integers(0, STEP_NS - TOOK_NS, n) + STEP_NS
    opens = [(one, one) for one in range(THREADS)] + [(one, THREADS) for one in range(THREADS)]
    open_of = np.where(file == THREADS, THREADS + thread, thread)
    whole = {
        "thread": np.r_[[one for one, _ in opens], thread],
        "file": np.r_[[which for _, which in opens], file],
        "open": np.r_[np.arange(len(opens)), open_of],
        "offset": np.r_[np.zeros(len(opens)), block * BLOCK],
        "size": np.r_[np.zeros(len(opens)), np.full(n, BLOCK)],
        "result": np.r_[np.zeros(len(opens)), np.full(n, BLOCK)],
        "time_ns": np.r_[np.arange(len(opens)) * 100, begin],
        "duration_ns": np.r_[np.full(len(opens), 50), np.full(n, TOOK_NS)],
        "flags": np.r_[np.full(len(opens), 2), np.zeros(n)],
    }
    whole["path"], whole["process"] = whole["file"], np.zeros(len(opens) + n)
    ops = np.array(["openat"] * len(opens) + ["pread64"] * n, dtype=object)
    ops[len(opens) :][write] = "pwrite64"
    order = np.argsort(whole["time_ns"] + whole["duration_ns"], kind="stable")
    values = {name: column[order] for name, column in whole.items()}
    names = [f"/bench/{one}.dat" for one in range(THREADS + 1)]
    return save_trace(folder, ops[order].tolist(), values, names, BLOCK * BLOCKS, True)


def violations(plan: Plan, outcome: Outcome) -> tuple[int, int]:
    """Pairs of calls in conflict (same bytes, one writes, the recorded ones did not overlap): all, and out of order."""
    rows, recorded = plan.rows, plan.recorded
    at = np.flatnonzero(np.isin(rows.op, [NUMBER_OF["pread64"], NUMBER_OF["pwrite64"]]))
    write = rows.op[at] == NUMBER_OF["pwrite64"]
    place = recorded["file"][at] * BLOCKS + recorded["offset"][at] // BLOCK
    begin, end = recorded["start_ns"][at], recorded["end_ns"][at]
    started, ended = outcome.started[at], outcome.started[at] + outcome.took[at]
    order = np.lexsort((begin, place))
    groups = np.flatnonzero(np.diff(place[order])) + 1
    pairs = wrong = 0
    for group in np.split(order, groups):
        if not write[group].any():
            continue
        before, after = (side.ravel() for side in np.meshgrid(group, group, indexing="ij"))
        conflict = (write[before] | write[after]) & (end[before] <= begin[after])
        pairs += int(conflict.sum())
        wrong += int((ended[before] > started[after])[conflict].sum())
    return pairs, wrong


def run_once(plan: Plan, trace: Trace, folder: Path, order: str) -> tuple[float, Outcome]:
    """Wall time in s, and what the kernels wrote."""
    kept: list[Outcome] = []

    def keep(clones: Sequence[Clone], *rest: Any) -> list[Outcome]:
        kept.extend(outcomes := run_clones(clones, *rest))
        return outcomes

    with mock.patch.object(running, "run_clones", keep):
        run = replay_plans([(plan, trace)], [folder], Options(timing="asap", order=order)).info.runs[0]
    if run.errors:
        raise SystemExit(f"{run.errors} operations did not end as recorded: the comparison would be void")
    return run.wall_s, kept[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path.cwd())
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--calls", type=int, default=50_000, help="of each thread")
    options = parser.parse_args()
    print(
        f"iotrace {__version__}, Python {platform.python_version()}, Linux {platform.release()}; {THREADS} threads, "
        f"{options.calls} calls each, {options.pairs} alternating pairs, medians (lowest–highest).\n"
    )
    print("| shared | writes | file ÷ thread | thread ÷ thread | pairs in conflict | out of order: file | thread |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for shared, writes in ((0.05, 0.2), (1.0, 0.2), (1.0, 1.0)):
        folder = Path(tempfile.mkdtemp(prefix="bench-order-", dir=options.folder))
        try:
            trace = open_trace(write_trace(folder / "bench.iotrace", options.calls, shared, writes))
            plans = {order: build_plan(trace, ["/bench"], order) for order in ("file", "thread")}
            times: dict[str, list[float]] = {"file": [], "thread": [], "again": []}
            pairs, missed = 0, {"file": 0, "thread": 0}
            for turn in range(options.pairs + 1):
                for name in ("file", "thread", "again") if turn % 2 else ("thread", "again", "file"):
                    order = "thread" if name == "again" else name
                    wall_s, outcome = run_once(plans[order], trace, folder, order)
                    if turn:  # the first warms up
                        times[name].append(wall_s)
                        pairs, wrong = violations(plans[order], outcome)
                        missed[order] += wrong
            ratios = [a / b for a, b in zip(times["file"], times["thread"], strict=True)]
            itself = [a / b for a, b in zip(times["again"], times["thread"], strict=True)]
            figures = " | ".join(f"{statistics.median(column):.2f} ({spread(column)})" for column in (ratios, itself))
            wrong_text = f"{missed['file'] // options.pairs:,} | {missed['thread'] // (2 * options.pairs):,}"
            print(f"| {shared:.0%} | {writes:.0%} | {figures} | {pairs:,} | {wrong_text} |", flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()

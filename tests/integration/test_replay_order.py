"""The order between threads, checked on what really ran: no access begins before one that it must follow has ended."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import TraceBuilder

from iotrace.replay import measure as measuring
from iotrace.replay import run as running
from iotrace.replay.columns import load_tables
from iotrace.replay.options import Options
from iotrace.replay.plan import build_plan
from iotrace.replay.run import replay_plans
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.reader import open_trace

THREADS = 4
BLOCK = 4096
DATA = ("pread64", "pwrite64", "ftruncate")
BY_NAME = ("openat", "unlink")


def shared_trace(seed: int, calls: int, cuts: bool = True) -> TraceBuilder:
    """Threads that read, write, truncate, make, rename and remove the same few files, partly at the same time."""
    chance = random.Random(seed)
    trace = TraceBuilder(duration_ns=9_000)
    threads = [0, *(trace.thread() for _ in range(THREADS - 1))]
    opened = {name: trace.open(name, os.O_RDWR, size=1 << 20) for name in ("a", "b")}
    for number in range(calls):
        thread, name = chance.choice(threads), chance.choice("ab")
        what = chance.random()
        offset = chance.randrange(0, 200 if cuts else 20) * BLOCK
        duration = chance.randrange(100, 30_000)
        if what < 0.5:
            trace.read(opened[name], name, offset, BLOCK, op="pread64", thread=thread, duration=duration)
        elif what < 0.9:
            trace.write(opened[name], name, offset, BLOCK, op="pwrite64", thread=thread, duration=duration)
        elif what < 0.95 and cuts:
            trace.on("ftruncate", opened[name], name, size=1 << 20, thread=thread, duration=duration)
        else:
            made = trace.open(f"new{number}", os.O_WRONLY | os.O_CREAT, existed=False, mode=0o644, thread=thread)
            trace.close(made, f"new{number}", thread=chance.choice(threads))
            trace.named("unlink", f"new{number}", seen=False, thread=chance.choice(threads))
    return trace


def conflicts(events: Any) -> list[tuple[int, int]]:
    """All pairs of events of which the first must end before the second begins, taken straight from the trace."""
    names = [OPERATIONS[op].name for op in events.op]
    level = {"pread64": 0, "pwrite64": 1}
    found = []
    n = len(names)
    cut = {int(file): any(name == "ftruncate" and f == file for name, f in zip(names, events.file, strict=True))
           for file in np.unique(events.file)}  # fmt: skip
    for i in range(n):
        for j in range(n):
            ended = events.time_ns[i] + events.duration_ns[i] <= events.time_ns[j]
            if not ended or events.thread[i] == events.thread[j] or events.time_ns[i] >= events.time_ns[j]:
                continue
            one, other = level.get(names[i], 2), level.get(names[j], 2)
            # a read of a file that is cut depends on all writes: they decide how far it reaches
            apart = 2 not in (one, other) and abs(events.offset[i] - events.offset[j]) >= BLOCK
            if apart and (one == other == 1 or not cut[events.file[i]]):
                continue
            # a file may be closed after its name is gone: descriptions and names are ordered each for themselves
            data = names[i] in DATA and names[j] in DATA and events.file[i] == events.file[j]
            name = names[i] in BY_NAME and names[j] in BY_NAME and events.path[i] == events.path[j]
            description = events.open[i] >= 0 and events.open[i] == events.open[j]
            description = description and not (names[i] in DATA and names[j] in DATA)
            excludes = one == 2 or other == 2 or one != other or (data and one == 1)
            if (data or name or description) and excludes:
                found.append((i, j))
    return found


def violated(trace: Path, fs: Path, order: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int]:
    """Run a trace; gives pairs of events in conflict, how many of them came in the wrong order, and errors."""
    opened = open_trace(trace)
    plan = build_plan(opened, order=order)
    ran: list[Any] = []
    measured = measuring.measure

    def keep(*arguments: Any) -> Any:
        ran.extend(one for _, one in arguments[0])
        return measured(*arguments)

    monkeypatch.setattr(running, "measure", keep)
    fs.mkdir()
    run = replay_plans([(plan, opened)], [fs], Options(timing="asap", order=order)).info.runs[0]
    events = load_tables(opened).events
    row_of = np.full(len(events), -1)
    calls = np.flatnonzero((plan.rows.event >= 0) & ~plan.rows.extra)
    row_of[plan.rows.event[calls]] = calls
    (outcome,) = ran
    raw = conflicts(events)
    begun, ended = outcome.started, outcome.started + outcome.took
    return len(raw), sum(ended[row_of[i]] > begun[row_of[j]] for i, j in raw), run.errors


@pytest.mark.parametrize("cuts", [True, False])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_access_began_before_one_that_it_conflicts_with_had_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, cuts: bool
) -> None:
    trace = shared_trace(seed, 500, cuts).save(tmp_path / "T.iotrace")
    pairs, late, errors = violated(trace, tmp_path / "fs", "file", monkeypatch)
    assert pairs > (10_000 if cuts else 1_000)
    assert (late, errors) == (0, 0)


def test_without_that_order_some_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = shared_trace(1, 500).save(tmp_path / "T.iotrace")
    _, late, _ = violated(trace, tmp_path / "fs", "thread", monkeypatch)
    assert late > 0

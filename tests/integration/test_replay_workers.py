"""Worker processes: what each recorded process has for itself in a replay, what a fork passes on, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from builders import TraceBuilder
from commands import Forked

from iotrace.replay import measure as measuring
from iotrace.replay import run as running
from iotrace.replay.options import Options
from iotrace.replay.plan import build_plan
from iotrace.replay.rows import Plan
from iotrace.replay.run import replay_plans, run_replay
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.reader import open_trace

F_SETLK, F_SETLKW, F_WRLCK, F_UNLCK = 6, 7, 1, 2


def ran(trace: TraceBuilder, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Plan, Any, Any]:
    """Replay a trace; gives the plan, what the kernels wrote, and the run."""
    opened = open_trace(trace.save(folder / "T.iotrace"))
    chosen = Options(**({"timing": "asap"} | options))
    plan = build_plan(opened, order=chosen.order)
    seen: list[Any] = []
    measured = measuring.measure

    def keep(*arguments: Any) -> Any:
        seen.extend(one for _, one in arguments[0])
        return measured(*arguments)

    monkeypatch.setattr(running, "measure", keep)
    (folder / "fs").mkdir()
    run = replay_plans([(plan, opened)], [folder / "fs"], chosen).info.runs[0]
    (outcome,) = seen
    return plan, outcome, run


def rows(plan: Plan, op: str) -> list[int]:
    """Rows of an operation, by time."""
    return sorted(np.flatnonzero((plan.rows.op == NUMBER_OF[op]) & ~plan.rows.extra), key=lambda i: plan.rows.event[i])


def test_a_posix_lock_of_one_process_keeps_another_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = TraceBuilder()
    child = trace.fork()
    mine, yours = trace.open("x", os.O_RDWR, size=10), trace.open("x", os.O_RDWR, thread=child)
    lock: dict[str, Any] = {"offset": 0, "size": 10}
    trace.on("fcntl.lock", mine, "x", flags=F_SETLK, mode=F_WRLCK, at=200_000, **lock)
    trace.on("fcntl.lock", mine, "x", flags=F_SETLK, mode=F_UNLCK, at=200_000_000, **lock)
    # the recorded wait ended after the other's unlock
    wait = {"at": 50_000_000, "duration": 150_100_000}
    trace.on("fcntl.lock", yours, "x", flags=F_SETLKW, mode=F_WRLCK, thread=child, **wait, **lock)
    plan, outcome, run = ran(trace, tmp_path, monkeypatch, timing="original", order="thread")
    assert (run.errors, plan.workers) == (0, 2)
    unlocked, waited = rows(plan, "fcntl.lock")[1:]
    if plan.rows.thread[unlocked] == child:
        unlocked, waited = waited, unlocked
    assert outcome.started[waited] < outcome.started[unlocked]
    assert outcome.started[waited] + outcome.took[waited] >= outcome.started[unlocked]


def test_a_child_goes_on_where_its_parent_stood_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=100)
    trace.read(file, "x", 0, 60)
    child = trace.fork()
    trace.read(file, "x", 60, 60, 40, thread=child)
    trace.read(file, "x", 100, 60, 0)
    trace.close(file, "x", thread=child)
    trace.read(file, "x", 100, 60, 0)
    plan, outcome, run = ran(trace, tmp_path, monkeypatch)
    assert (run.errors, plan.workers) == (0, 2)
    assert outcome.result[rows(plan, "read")].tolist() == [60, 40, 0, 0]


def test_a_child_that_did_something_before_its_fork_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = TraceBuilder()
    file = trace.open("x", os.O_RDWR, size=100)
    child = trace.process()
    trace.read(file, "x", 0, 10, op="pread64", thread=child)
    # an order of time that no program can have made: the parent's fork comes after, and after it writes what was read
    trace.write(file, "x", 0, 10, op="pwrite64")
    trace.call("fork", child=child, flags=17, result=1001)
    trace.read(file, "x", 0, 10, op="pread64", thread=child)
    plan, _, run = ran(trace, tmp_path, monkeypatch)
    assert (run.errors, plan.workers, run.ops) == (0, 1, len(rows(plan, "pread64")) + 2)


def test_a_thousand_descriptors_are_passed_on_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = TraceBuilder()
    files = [trace.open(f"f{i}", size=i) for i in range(1000)]
    child = trace.fork()
    for i, file in enumerate(files):
        trace.read(file, f"f{i}", 0, 2000, i, thread=child)
    trace.close(files[0], "f0")
    plan, outcome, run = ran(trace, tmp_path, monkeypatch)
    assert (run.errors, plan.workers) == (0, 2)
    assert outcome.result[rows(plan, "read")].tolist() == list(range(1000))


def test_what_a_parent_could_not_open_its_child_does_not_have(tmp_path: Path) -> None:
    trace = TraceBuilder()
    new = os.O_RDWR | os.O_CREAT | os.O_EXCL
    trace.open("x", new, existed=False)
    # recorded as if somebody else had removed the file in between: here it cannot be made twice
    file = trace.open("x", new)
    child = trace.fork()
    trace.read(file, "x", 0, 10, 0, thread=child)
    run = run_replay(trace.save(tmp_path / "T.iotrace"), tmp_path, timing="asap").info.runs[0]
    assert run.by_op["openat"].errors == run.by_op["read"].errors == 1


def test_forks_go_on_while_the_worker_of_their_children_is_busy(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=1000)
    children = [trace.fork() for _ in range(600)]
    for child in children:
        trace.read(file, "x", children.index(child), 1, thread=child)
    run = run_replay(trace.save(tmp_path / "T.iotrace"), tmp_path, timing="asap").info.runs[0]
    assert (run.errors, run.by_op["read"].bytes) == (0, 600)


def recorded(program: str, folder: Path) -> Path:
    """Record a Python program in a folder of its own."""
    work = folder / "work"
    work.mkdir()
    trace = folder / "T.iotrace"
    command = [sys.executable, "-m", "iotrace", "record", "-o", str(trace), "--", sys.executable, "-S", "-c", program]
    subprocess.run(command, check=True, cwd=work, capture_output=True)
    return trace


MANY_CHILDREN = """
import os
with open("list", "w") as f:
    f.write("x" * 4000)
f = os.open("list", os.O_RDONLY)
for i in range(150):
    if os.fork() == 0:
        os.chdir("/")
        os.close(f)
        os._exit(0)
    os.wait()
for i in range(150):
    os.read(f, 10)
    if os.fork() == 0:
        os.read(f, 10)
        os.umask(0o077)
        os._exit(0)
    os.wait()
open("last", "w").close()
"""


def test_three_hundred_recorded_children_use_and_close_what_is_theirs_alone(tmp_path: Path) -> None:
    trace = recorded(MANY_CHILDREN, tmp_path)
    (tmp_path / "fs").mkdir()
    run = run_replay(trace, tmp_path / "fs", timing="asap").info.runs[0]
    assert run.errors == 0
    # the position is shared: parent and child read 10 bytes in turns
    assert run.by_op["read"].bytes == 3000


def forked(replay: Forked) -> list[psutil.Process]:
    """Heartbeat and workers, the oldest first; what samples counters is a program of its own."""
    own = psutil.Process(replay.pid)
    children = [one for one in own.children() if one.is_running()]
    with contextlib.suppress(psutil.NoSuchProcess):
        return sorted(
            (one for one in children if one.cmdline() == own.cmdline()), key=lambda one: (one.create_time(), one.pid)
        )
    return []


def replaying(trace: Path, fs: Path, *options: str) -> Forked:
    """A replay that sleeps for a minute between its calls; returns when its workers are there."""
    replay = Forked("replay", trace, "--fs", fs, *options, "-o", fs / "R.ioresult")
    # a pass without I/O comes first, without a tree
    while not list(fs.glob("iotrace-*")) or len(forked(replay)) < 3:
        assert replay.runs, replay.end().stderr
        time.sleep(0.02)
    return replay


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A trace of two processes that do nothing for a minute."""
    trace = TraceBuilder()
    child = trace.fork()
    trace.named("stat", "a", at=10_000)
    trace.named("stat", "b", at=20_000, thread=child)
    trace.named("stat", "a", at=60_000_000_000)
    trace.named("stat", "b", at=60_000_020_000, thread=child)
    return trace.save(tmp_path / "T.iotrace")


def test_a_worker_that_is_killed_ends_the_run_with_one_line(slow: Path, tmp_path: Path) -> None:
    (tmp_path / "fs").mkdir()
    replay = replaying(slow, tmp_path / "fs")
    workers = forked(replay)
    workers[-1].kill()
    ended = replay.end(20)
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if "Warning" not in line]
    assert len(lines) == 1
    assert "was ended by SIGKILL" in lines[0]
    assert "recorded as 1001" in lines[0]
    assert list((tmp_path / "fs").iterdir()) == []
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in workers)


def test_no_worker_outlives_a_replay_that_is_killed(slow: Path, tmp_path: Path) -> None:
    (tmp_path / "fs").mkdir()
    replay = replaying(slow, tmp_path / "fs")
    workers = psutil.Process(replay.pid).children()
    replay.signal(signal.SIGKILL)
    replay.end()
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert (len(gone), alive) == (len(workers), [])

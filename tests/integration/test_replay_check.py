"""--check: the replay is recorded by itself, and what the kernel saw is compared with the plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from builders import TraceBuilder

from iotrace.errors import ReplayError, UsageError
from iotrace.replay import run as running
from iotrace.replay.run import run_replay
from iotrace.replay.work import plan_of

pytestmark = pytest.mark.bpf


def two_processes(folder: Path) -> Path:
    """A parent that writes, and a child that reads what was written and changes names."""
    trace = TraceBuilder()
    out = trace.open("out.mrc", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    child = trace.fork()
    for turn in range(20):
        trace.write(out, "out.mrc", turn * 100, 100, op="pwrite64")
        trace.read(out, "out.mrc", turn * 100, 100, op="pread64", thread=child)
    trace.named("mkdir", "d", thread=child, mode=0o755)
    trace.missing("stat", "nothing")
    return trace.save(folder / "T.iotrace")


def test_each_run_says_that_the_kernel_saw_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    fs = [tmp_path / "a", tmp_path / "b"]
    for folder in fs:
        folder.mkdir()
    runs = run_replay(two_processes(tmp_path), fs, repeat=2, timing="asap", check=True).info.runs
    assert len(runs) == 4
    for run in runs:
        check = run.fidelity["check"]
        assert (check["exact"], check["differences"]) == (True, [])
        assert {name: op["recorded"] for name, op in check["by_op"].items()} == {
            "openat": 1, "pwrite64": 20, "pread64": 20, "mkdir": 1, "stat": 1,
        }  # fmt: skip
        # each read waits for the write of its bytes
        assert check["waits"][0] >= 20
        assert check["waits"][1] == 0
        recorded_s, replayed_s = check["makespan_s"]
        assert recorded_s == pytest.approx(430e-6, rel=0.1)
        assert 0 < replayed_s < run.wall_s + 1e-3
    assert list(temporary.iterdir()) == []


def test_a_replay_that_does_something_else_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = plan_of

    def another(*arguments: Any) -> Any:
        plan = built(*arguments)
        # as if a kernel of the replay had a fault: what is issued is not what the plan says
        values = plan.rows.values
        values[values == 1900] = 1800
        return plan

    monkeypatch.setattr(running, "plan_of", another)
    run = run_replay(two_processes(tmp_path), tmp_path, timing="asap", check=True).info.runs[0]
    check = run.fidelity["check"]
    assert not check["exact"]
    assert any("offset 1900 planned, 1800 recorded" in text for text in check["differences"])


def test_the_command_says_what_it_checked_and_fails_where_the_kernel_saw_another_result(tmp_path: Path) -> None:
    trace = two_processes(tmp_path)
    command = [sys.executable, "-m", "iotrace", "replay", str(trace), "--fs", str(tmp_path), "--check", "-o"]
    done = subprocess.run([*command, str(tmp_path / "R")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "checked: the kernel saw 43 calls, as recorded in order, files, sizes, offsets and results" in words
    told = subprocess.run([*command, str(tmp_path / "S"), "--json"], capture_output=True, text=True)
    assert json.loads(told.stdout)["fidelity"]["check"]["exact"]


def test_who_may_not_record_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ReplayError, match="--check records the replay with eBPF, which is not possible"):
        run_replay(two_processes(tmp_path), tmp_path, check=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"users": 2}, "--users"), ({"null": True}, "--null"), ({"engine": "uring"}, "--engine uring")],
)
def test_what_cannot_be_checked_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"--check with {said}"):
        run_replay(two_processes(tmp_path), tmp_path, check=True, **options)

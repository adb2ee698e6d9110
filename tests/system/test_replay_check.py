"""--check: the replay is recorded by itself, and what the kernel saw is compared with the plan."""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import TraceBuilder
from commands import Command

from iotrace.errors import ReplayError, TraceError, UsageError
from iotrace.replay import run as running
from iotrace.replay import trial as trials
from iotrace.replay.crew import run_clones
from iotrace.replay.fidelity import compare_recording
from iotrace.replay.options import Options, check_options
from iotrace.replay.rides import Rides
from iotrace.replay.ring import why_no_ring
from iotrace.replay.run import run_replay
from iotrace.replay.witness import Witness
from iotrace.replay.work import plan_of
from iotrace.trace.reader import Trace

pytestmark = pytest.mark.bpf
ring = pytest.mark.skipif(why_no_ring() is not None, reason=f"no io_uring: {why_no_ring()}")


def two_processes(folder: Path, step_ns: int = 10_000) -> Path:
    """A parent that writes, and a child that reads what was written and changes names."""
    trace = TraceBuilder(step_ns=step_ns)
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


def test_a_replay_that_does_something_else_is_found_out_and_the_command_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, iotrace: Command
) -> None:
    built = plan_of

    def another(*arguments: Any) -> Any:
        plan = built(*arguments)
        # as if a kernel of the replay had a fault: what is issued is not what the plan says
        values = plan.rows.values
        values[values == 1900] = 1800
        return plan

    monkeypatch.setattr(running, "plan_of", another)
    words = ["--timing", "asap", "--check", "--json", "-o", tmp_path / "R"]
    done = iotrace("replay", two_processes(tmp_path), "--fs", tmp_path, *words)
    assert done.returncode == 1
    check = json.loads(done.stdout)["fidelity"]["check"]
    assert not check["exact"]
    assert any("offset 1900 planned, 1800 recorded" in text for text in check["differences"])


def test_the_command_says_what_it_checked(tmp_path: Path, iotrace: Command) -> None:
    done = iotrace("replay", two_processes(tmp_path), "--fs", tmp_path, "--check", "-o", tmp_path / "R")
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "checked: the kernel saw 43 calls, as recorded in order, files, sizes, offsets and results" in words


def test_who_may_not_record_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ReplayError, match="--check records the replay with eBPF, which is not possible"):
        run_replay(two_processes(tmp_path), tmp_path, check=True)


def inputs_and_outputs(folder: Path) -> Path:
    """Two threads that read a file, one also at its own position, write another, and move about in it."""
    trace = TraceBuilder()
    second = trace.thread()
    movie = trace.open("movie.mrc", size=40_000)
    out = trace.open("out.mrc", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    for turn in range(20):
        trace.read(movie, "movie.mrc", turn * 2000, 2000, op="pread64", thread=second)
        trace.read(movie, "movie.mrc", turn * 1500, 1500)
        trace.write(out, "out.mrc", turn * 900, 900, op="pwrite64" if turn == 0 else "write")
        if turn == 0:
            trace.on("lseek", out, "out.mrc", offset=900, flags=os.SEEK_SET, result=900)
    trace.on("lseek", out, "out.mrc", offset=0, flags=os.SEEK_CUR, result=18_000)
    trace.on("fdatasync", out, "out.mrc")
    trace.close(movie, "movie.mrc")
    trace.file("link", type="link", target="/data/job/movie.mrc")
    trace.named("readlink", "link", size=4096, result=19)
    return trace.save(folder / "inputs.iotrace")


def test_each_of_several_users_is_compared_with_what_it_should_do(tmp_path: Path) -> None:
    fs = [tmp_path / "a", tmp_path / "longer name"]
    for folder in fs:
        folder.mkdir()
    traces = [two_processes(tmp_path), inputs_and_outputs(tmp_path)]
    info = run_replay(traces, fs, users=4, share_inputs=True, jitter=0.02, repeat=2, timing="asap", check=True).info
    assert len(info.runs) == 4
    for run in info.runs:
        check = run.fidelity["check"]
        assert (check["exact"], check["differences"]) == (True, [])
        assert (check["threads"], check["threads_seen"]) == (8, 8)
        assert {name: op["recorded"] for name, op in check["by_op"].items()} == {
            "openat": 6, "pwrite64": 42, "pread64": 80, "mkdir": 2, "stat": 2, "read": 40, "write": 38, "lseek": 4,
            "fdatasync": 2, "close": 2, "readlink": 2,
        }  # fmt: skip
        assert 0 < check["makespan_s"][1] < run.wall_s + 1e-3


def test_the_user_who_does_something_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def another(clones: Any, *arguments: Any) -> Any:
        rows = copy.copy(clones[1].plan.rows)
        rows.values = np.where(rows.values == 1900, 1800, rows.values)
        plan = copy.copy(clones[1].plan)
        plan.rows = rows
        return run_clones([clones[0], replace(clones[1], plan=plan)], *arguments)

    monkeypatch.setattr(running, "run_clones", another)
    run = run_replay(two_processes(tmp_path), tmp_path, users=2, timing="asap", check=True).info.runs[0]
    differences = run.fidelity["check"]["differences"]
    assert any("offset 1900 planned, 1800 recorded" in text for text in differences)
    assert all(text.startswith("user 2: ") for text in differences)


@ring
@pytest.mark.parametrize("shape", [{}, {"depth": 8, "batch": 3, "fixed": True, "users": 2}])
def test_requests_to_io_uring_are_compared_as_the_calls_that_do_the_same(tmp_path: Path, shape: dict[str, Any]) -> None:
    options: dict[str, Any] = {"engine": "uring", "timing": "asap", "check": True} | shape
    check = run_replay(inputs_and_outputs(tmp_path), tmp_path, **options).info.runs[0].fidelity["check"]
    assert (check["exact"], check["differences"]) == (True, [])
    users = options.get("users", 1)
    assert {name: op["recorded"] for name, op in check["by_op"].items()} == {
        "openat": 2 * users, "pwrite64": 20 * users, "pread64": 40 * users, "lseek": 2 * users,
        "fdatasync": users, "close": users, "readlink": users,
    }  # fmt: skip


@ring
def test_requests_that_are_none_or_go_elsewhere_are_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each user's go wrong in another way."""

    def another(clones: Any, *arguments: Any) -> Any:
        rides: Rides = clones[0].rides
        wrong = (
            None,
            replace(rides, offset=rides.offset + (rides.offset > 900)),
            replace(rides, reposition=rides.reposition - (rides.reposition == 18_000)),
        )
        return run_clones([replace(one, rides=ride) for one, ride in zip(clones, wrong, strict=True)], *arguments)

    monkeypatch.setattr(running, "run_clones", another)
    options: dict[str, Any] = {"engine": "uring", "depth": 8, "timing": "asap", "check": True, "users": 3}
    check = run_replay(inputs_and_outputs(tmp_path), tmp_path, **options).info.runs[0].fidelity["check"]
    for number, said in enumerate(["should have been requests", "2000 planned, 2001 recorded", "positions set"], 1):
        assert any(text.startswith(f"user {number}: ") and said in text for text in check["differences"]), said


def test_a_recorder_that_lost_calls_makes_no_check_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Witness.testimony

    def forgetful(witness: Witness) -> Trace:
        recording = told(witness)
        recording.info.lost["read"] = 3
        return recording

    monkeypatch.setattr(Witness, "testimony", forgetful)
    check = run_replay(two_processes(tmp_path), tmp_path, timing="asap", check=True).info.runs[0].fidelity["check"]
    assert not check["exact"]
    assert "the recorder lost 3 calls" in check["differences"][0]


def test_a_recording_of_several_users_is_compared_with_the_tree_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def judge(trial: trials.Trial) -> None:
        recording = trial._witness.testimony()
        (_, users), *_ = trial._ran
        plan, _, tree = users[1]
        with pytest.raises(TraceError, match="in 2 trees"):
            compare_recording(plan, recording)
        with pytest.raises(TraceError, match="no marks of run 1"):
            compare_recording(plan, recording, 1, tree)
        found.extend(compare_recording(plan, recording, 0, tree).differences)

    monkeypatch.setattr(trials.Trial, "judge", judge)
    # long enough that one user has not ended when the other begins
    run_replay(two_processes(tmp_path, 20_000_000), tmp_path, users=2, timing="original", check=True)
    assert found == []


def test_what_cannot_be_checked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--check with --null"):
        run_replay(two_processes(tmp_path), tmp_path, check=True, null=True)
    with pytest.raises(UsageError, match="--check with ranks"):
        check_options(Options([], check=True, users=2, ranks=2))

"""What a replay measures beside calls and latencies: --null, what the storage adds, syncfs, steps, seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import TraceBuilder

from iotrace.errors import UsageError
from iotrace.replay.result import Result, open_result
from iotrace.replay.run import run_replay
from iotrace.trace.reader import open_trace

MS = 1_000_000


def two_threads(**columns: object) -> TraceBuilder:
    """A parent that writes, forks a child that reads what was written, waits for it and reads; 5 ms between calls."""
    trace = TraceBuilder(step_ns=5 * MS)
    one = trace.open("a.star", os.O_RDWR | os.O_CREAT, existed=False, mode=0o600)
    trace.write(one, "a.star", 0, 100_000)
    child = trace.fork()
    trace.processes[0] |= {"step": "Motion Correction"}
    trace.processes[1] |= columns
    two = trace.open("a.star", thread=child)
    trace.read(two, "a.star", 0, 50_000, thread=child)
    trace.close(two, "a.star", thread=child)
    trace.call("exit", thread=child)
    trace.call("wait", child=1)
    trace.read(one, "a.star", 100_000, 10, 0)
    trace.close(one, "a.star")
    return trace


def reading() -> TraceBuilder:
    trace = TraceBuilder()
    one = trace.open("a.tif", size=100_000)
    trace.read(one, "a.tif", 0, 100_000)
    trace.close(one, "a.tif")
    return trace


def replayed(trace: TraceBuilder, tmp_path: Path, **options: object) -> Result:
    mount = tmp_path / "mount"
    mount.mkdir(exist_ok=True)
    folder = tmp_path / "T.iotrace"
    return run_replay(open_trace(folder if folder.exists() else trace.save(folder)), mount, **options)  # type: ignore[arg-type]


def test_null_replays_without_any_call_on_the_mount(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    trace = two_threads()
    number = trace.file("stdin.txt", size=1000, inherited_flags=os.O_RDONLY, inherited_offset=0)
    trace.call("read", open=77, path=trace.path("stdin.txt"), file=number, offset=0, size=10, result=10)
    folder, log = trace.save(tmp_path / "T.iotrace"), tmp_path / "strace.log"
    replay = [sys.executable, "-m", "iotrace", "replay", str(folder), "--fs", str(mount), "--null", "--json"]
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-o", str(log), "-e", "trace=%file", *replay, "-o", str(tmp_path / "R")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["ops"], found["errors"], found["bytes_read"], found["io_s"]) == (8, 0, 0, 0)
    assert found["options"]["null"] is True
    lines = log.read_text().splitlines()
    assert any("T.iotrace" in line for line in lines)
    # the folder is named by the command line alone, and no thread says that it begins
    assert [line for line in lines if str(mount) in line and "execve(" not in line] == []
    assert not any("iotrace-replay" in line for line in lines)
    assert list(mount.iterdir()) == []


def test_null_takes_the_modelled_time_and_every_result_is_the_recorded_one(tmp_path: Path) -> None:
    result = replayed(two_threads(), tmp_path, null=True, timing="think")
    (run,), without = result.info.runs, result.info.without_io
    assert without is not None
    # the longest way: from call to call, those of the child between the fork and the wait
    assert without.source == "modelled"
    assert without.makespan_s == pytest.approx(0.045, abs=0.006)
    assert run.wall_s >= without.makespan_s
    assert (run.fs, run.errors, run.added_s, run.sync_s) == ("null", 0, None, None)
    assert run.fidelity["issued"] == run.ops
    assert list((tmp_path / "mount").iterdir()) == []
    assert without.generator_ops_per_s == pytest.approx(run.ops / without.generator_s)


def test_null_needs_no_folder_and_makes_no_tree(tmp_path: Path) -> None:
    folder = reading().save(tmp_path / "T.iotrace")
    assert run_replay(folder, null=True, timing="asap", repeat=2).info.runs[1].ops == 3
    with pytest.raises(UsageError, match="--keep"):
        run_replay(folder, null=True, keep=True)
    with pytest.raises(UsageError, match="--fs"):
        run_replay(folder)


@pytest.mark.parametrize("timing", ["think", "original", "asap"])
def test_no_run_takes_less_than_the_plan_without_its_io(tmp_path: Path, timing: str) -> None:
    result = replayed(two_threads(), tmp_path, timing=timing)
    (run,), without = result.info.runs, result.info.without_io
    assert run.errors == 0
    assert without is not None
    assert without.source == ("measured" if timing == "asap" else "modelled")
    assert run.added_s == pytest.approx(run.wall_s - without.makespan_s)
    assert timing == "asap" or run.wall_s >= without.makespan_s
    assert run.added_s is not None
    assert run.added_least_s is not None
    # in asap both passes are measured: on a busy machine either may be the slower one
    assert run.added_least_s <= run.added_s
    assert timing == "asap" or run.added_least_s >= 0
    assert (run.issue_error is None) == (timing == "asap")
    assert 0 < run.first_done_s <= run.last_done_s == pytest.approx(run.wall_s)


def test_a_run_that_writes_is_followed_by_a_syncfs_and_one_that_reads_is_not(tmp_path: Path) -> None:
    run = replayed(two_threads(), tmp_path, timing="asap").info.runs[0]
    assert run.sync_s is not None
    assert run.sync_s > 0
    assert run.wall_and_sync_s == run.wall_s + run.sync_s
    (tmp_path / "other").mkdir()
    run = replayed(reading(), tmp_path / "other", timing="asap").info.runs[0]
    assert (run.sync_s, run.wall_and_sync_s) == (None, None)


def test_figures_by_step_add_up_to_the_totals(tmp_path: Path) -> None:
    result = replayed(two_threads(step="Extraction"), tmp_path, timing="asap")
    run = result.info.runs[0]
    assert set(run.by_step) == {"Motion Correction", "Extraction"}
    for name, total in (("calls", run.ops), ("errors", run.errors), ("time_s", run.io_s)):
        assert sum(getattr(step, name) for step in run.by_step.values()) == pytest.approx(total)
    assert sum(step.bytes for step in run.by_step.values()) == run.bytes_read + run.bytes_written
    assert run.by_step["Extraction"].calls == 3
    frame = result.histograms()
    assert frame.groupby("step")["count"].sum().to_dict() == {n: s.calls for n, s in run.by_step.items()}
    # which labels processes carry is no part of the work
    saved = open_result(result.save(tmp_path / "R.ioresult"))
    assert saved.info == result.info


def test_processes_without_a_step_stand_apart_from_those_with_one(tmp_path: Path) -> None:
    result = replayed(two_threads(), tmp_path, timing="asap")
    assert set(result.info.runs[0].by_step) == {"", "Motion Correction"}
    assert result.histograms()["step"].isna().any()
    (tmp_path / "other").mkdir()
    assert replayed(reading(), tmp_path / "other", timing="asap").info.runs[0].by_step == {}


def test_seconds_hold_every_operation_and_every_byte(tmp_path: Path) -> None:
    trace = TraceBuilder()
    one = trace.open("a.star", os.O_RDWR | os.O_CREAT, existed=False, mode=0o600)
    trace.write(one, "a.star", 0, 1000)
    trace.read(one, "a.star", 1000, 10, 0, at=trace.now_ns + 1010 * MS)
    trace.read(one, "a.star", 0, 600, op="pread64")
    trace.close(one, "a.star")
    result = replayed(trace, tmp_path, timing="think")
    run, frame = result.info.runs[0], result.intervals()
    assert run.errors == 0
    assert set(frame["second"]) == {0, 1}
    assert frame["ops"].sum() == run.ops
    assert frame.groupby("class")["bytes"].sum().to_dict() == {"metadata": 0, "read": 600, "write": 1000}
    assert np.array_equal(frame["counts"].map(sum), frame["ops"])


def test_what_was_measured_is_printed_within_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from iotrace.cli import main

    mount = tmp_path / "mount"
    mount.mkdir()
    folder = two_threads(step="\x1b[31mExtraction").save(tmp_path / "T.iotrace")
    assert main(["replay", str(folder), "--fs", str(mount), "-o", str(tmp_path / "R.ioresult")]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines()[1:-1])) <= 80
    for words in ("the storage adds", "(modelled)", "syncfs", "open to close", "issued late by", "Motion Correction"):
        assert words in out
    assert "\x1b" not in out
    assert main(["replay", str(folder), "--null", "-o", str(tmp_path / "N.ioresult")]) == 0
    assert "without I/O (--null)" in capsys.readouterr().out

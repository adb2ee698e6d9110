"""Replays on real mounts: outcomes, order, timing, buffers, repeats, what is printed and left behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import TraceBuilder
from commands import Command, Forked
from trees import in_trees

from iotrace.replay.result import Run, open_result
from iotrace.replay.run import run_replay
from iotrace.trace.reader import open_trace

MAP = 0x7F0000000000


def replayed(trace: TraceBuilder, tmp_path: Path, **options: object) -> Run:
    """Save, replay as fast as possible, and give the one run; nothing may be left behind."""
    folder = trace.save(tmp_path / "T.iotrace")
    mount = tmp_path / "mount"
    mount.mkdir(exist_ok=True)
    result = run_replay(open_trace(folder), mount, **({"timing": "asap"} | options))  # type: ignore[arg-type]
    assert list(mount.iterdir()) == []
    return result.info.runs[0]


def outcomes(run: Run) -> list[tuple[str, int, int]]:
    return [(one.op, one.recorded, one.replayed) for one in run.errors_by]


def test_data_and_metadata_end_as_recorded(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.missing("stat", "out")
    trace.named("mkdir", "out", mode=0o755, seen=False)
    trace.named("mkdir", "out", mode=0o755, seen=False, result=-errno.EEXIST)
    movie = trace.open("movies/m_001.tif", size=1_000_000)
    trace.on("fstat", movie, "movies/m_001.tif")
    trace.read(movie, "movies/m_001.tif", 0, 8)
    trace.read(movie, "movies/m_001.tif", 999_000, 4096, 1000, op="pread64")
    trace.read(movie, "movies/m_001.tif", 8, 3000, op="readv", count=3)
    trace.on("lseek", movie, "movies/m_001.tif", offset=-10, flags=2, result=999_990)
    trace.read(movie, "movies/m_001.tif", 999_990, 100, 10)
    trace.on("mmap", movie, "movies/m_001.tif", address=MAP, size=1_000_000, mode=1, flags=1, offset=0)
    trace.close(movie, "movies/m_001.tif")
    trace.on("mmap.fault", None, "movies/m_001.tif", address=MAP + 4096 * 100, offset=4096 * 100, size=4096)
    trace.on("munmap", None, "movies/m_001.tif", address=MAP, size=1_000_000)
    star = trace.open("out/x.star.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, existed=False, mode=0o644)
    trace.write(star, "out/x.star.tmp", 0, 5000)
    trace.write(star, "out/x.star.tmp", 5000, 9000, op="writev", count=9)
    trace.write(star, "out/x.star.tmp", 100, 10, op="pwritev2", count=1, flags=0)
    trace.on("fsync", star, "out/x.star.tmp")
    trace.on("ftruncate", star, "out/x.star.tmp", size=100)
    trace.on("fallocate", star, "out/x.star.tmp", flags=0, offset=0, size=8192)
    trace.on("fcntl.lock", star, "out/x.star.tmp", flags=6, mode=1, offset=0, size=0)
    trace.on("flock", star, "out/x.star.tmp", flags=2)
    trace.close(star, "out/x.star.tmp")
    trace.named("rename", "out/x.star.tmp", "out/x.star")
    number = trace.file("out/x.star.tmp")
    trace.named("link", "out/x.star", "out/y.star", file=number)
    trace.named("symlink", "out/l", seen=False, other_path=trace.path("x.star"))
    trace.call("readlink", path=trace.path("out/l"), other_path=trace.path("x.star"), size=4096, result=6)
    trace.named("chmod", "out/x.star", mode=0o640, file=number)
    trace.named("utimensat", "out/x.star", file=number)
    trace.named("truncate", "out/x.star", size=10, file=number)
    trace.named("rmdir", "out", result=-errno.ENOTEMPTY)
    for name in ("out/x.star", "out/y.star", "out/l"):
        trace.named("unlink", name, file=number)
    trace.named("rmdir", "out", seen=False)
    run = replayed(trace, tmp_path)
    assert outcomes(run) == []
    assert run.ops == len(trace.events)
    assert run.bytes_read == 8 + 1000 + 3000 + 10
    assert run.bytes_written == 5000 + 9000 + 10
    assert run.fidelity == {"planned": run.ops, "issued": run.ops, "as_recorded": run.ops, "substituted": 0}


def test_another_outcome_is_counted_with_both_error_numbers(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("rmdir", "full", seen=False)  # cannot be: something is in it until it goes
    trace.named("stat", "full/x")
    run = replayed(trace, tmp_path)
    assert outcomes(run) == [("rmdir", 0, errno.ENOTEMPTY)]
    assert (run.by_op["rmdir"].errors, run.by_op["stat"].errors, run.errors) == (1, 0, 1)


def test_descriptors_follow_dup_fork_and_redirection(tmp_path: Path) -> None:
    trace = TraceBuilder()
    log = trace.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, existed=False, mode=0o600)
    trace.on("dup", log, "log")
    trace.on("dup2", log, "log")
    child = trace.fork()
    trace.write(log, "log", 0, 10, thread=child)
    trace.close(log, "log")
    trace.close(log, "log", thread=child)
    trace.write(log, "log", 10, 10)
    trace.close(log, "log")
    trace.write(log, "log", 20, 10)
    other = trace.open("other", size=10)
    trace.on("dup3", other, "other", other_open=log, flags=0)
    trace.read(other, "other", 0, 10)
    trace.close(other, "other")
    trace.close(other, "other")
    assert outcomes(replayed(trace, tmp_path)) == []


def test_what_was_open_before_the_recording_is_open_at_its_position(tmp_path: Path) -> None:
    trace = TraceBuilder()
    number = trace.file("stdin.txt", size=1000, inherited_flags=os.O_RDONLY, inherited_offset=900)
    trace.call("read", open=0, path=trace.path("stdin.txt"), file=number, offset=900, size=4096, result=100)
    trace.call("read", open=0, path=trace.path("stdin.txt"), file=number, offset=1000, size=4096, result=0)
    trace.opens = 1
    assert outcomes(replayed(trace, tmp_path)) == []


def test_copies_with_one_end_outside_move_the_bytes_of_the_other(tmp_path: Path) -> None:
    trace = TraceBuilder()
    source = trace.open("in", size=100_000)
    target = trace.open("out", os.O_RDWR | os.O_CREAT, existed=False, mode=0o600)
    columns = {"path": trace.path("in"), "file": trace.file("in"), "open": source}
    both = columns | {"other_open": target, "other_file": trace.file("out"), "other_path": trace.path("out")}
    trace.call("copy_file_range", **both, offset=0, other_offset=0, size=50_000, result=50_000)
    trace.call("sendfile", **both, offset=50_000, other_offset=50_000, size=10_000, result=10_000)
    trace.call("sendfile", **columns, offset=60_000, size=10_000, result=10_000)
    trace.call("splice", **columns, offset=5, size=1000, result=1000)
    back = {name: both[name] for name in ("other_open", "other_file", "other_path")}
    trace.call("splice", **back, other_offset=60_000, size=1000, result=700)
    trace.on("lseek", target, "out", offset=0, flags=1, result=60_700)
    trace.on("lseek", source, "in", offset=0, flags=1, result=70_000)
    run = replayed(trace, tmp_path)
    assert outcomes(run) == []
    assert run.fidelity["substituted"] == 3
    assert run.bytes_read == 50_000 + 10_000 + 10_000 + 1000 + 700


def test_a_read_of_terabytes_needs_no_terabytes_of_memory(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=40_000_000)
    trace.read(file, "x", 0, 1 << 50, 40_000_000)
    trace.read(file, "x", 0, 100_000_000, 40_000_000, op="preadv", count=7)
    assert outcomes(replayed(trace, tmp_path)) == []


def test_a_page_that_is_no_longer_there_is_an_outcome_and_not_the_end(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x", os.O_RDWR, size=100_000)
    trace.on("mmap", file, "x", address=MAP, size=100_000, mode=1, flags=1, offset=0)
    trace.on("ftruncate", file, "x", size=4096)
    trace.on("mmap.fault", None, "x", address=MAP, offset=0, size=4096)
    trace.on("mmap.fault", None, "x", address=MAP + 40_960, offset=40_960, size=4096)
    trace.named("stat", "x")
    run = replayed(trace, tmp_path)
    assert outcomes(run) == [("mmap.fault", 0, errno.EFAULT)]
    assert run.ops == 6


def test_conflicting_calls_of_many_threads_keep_their_recorded_order(tmp_path: Path) -> None:
    trace = TraceBuilder()
    threads = [0, *(trace.thread() for _ in range(7))]
    for turn in range(400):
        name, maker, user, remover = f"f{turn}.mrc", *(threads[(turn * k) % 8] for k in (1, 3, 5))
        made = trace.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, existed=False, mode=0o600, thread=maker)
        trace.write(made, name, 0, 1000, thread=maker)
        other = trace.open(name, thread=user, file=trace.file(name))
        trace.read(other, name, 0, 1000, thread=user)
        trace.close(other, name, thread=user)
        trace.close(made, name, thread=maker)
        trace.named("rename", name, f"g{turn}", thread=remover, file=trace.file(name))
        trace.named("unlink", f"g{turn}", thread=user, file=trace.file(name))
    run = replayed(trace, tmp_path)
    assert outcomes(run) == []
    assert run.ops == 3200


def test_a_blocking_lock_of_another_process_is_waited_for(tmp_path: Path) -> None:
    trace = TraceBuilder()
    child = trace.fork()
    one = trace.open("x", os.O_RDWR, size=10)
    two = trace.open("x", os.O_RDWR, thread=child)
    trace.on("flock", one, "x", flags=2)
    start = trace.now_ns + 10
    trace.on("flock", one, "x", flags=8, at=start + 50_000)
    trace.on("flock", two, "x", flags=2, thread=child, at=start, duration=60_000)
    trace.on("flock", two, "x", flags=8, thread=child, at=start + 70_000)
    assert outcomes(replayed(trace, tmp_path)) == []


def test_think_time_and_recorded_times_are_kept_and_scaled(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for turn in range(11):
        trace.named("stat", "a", at=turn * 20_000_000, off_cpu_ns=15_000_000)
    fast = replayed(trace, tmp_path).wall_s
    (tmp_path / "T.iotrace").rename(tmp_path / "old")
    think = replayed(trace, tmp_path, timing="think").wall_s
    (tmp_path / "T.iotrace").rename(tmp_path / "older")
    twice = replayed(trace, tmp_path, timing="original", speed=2.0).wall_s
    # 0.2 s recorded; a busy machine may be late, never early
    assert fast < 0.1
    assert think >= 0.199
    assert 0.099 <= twice < think


def test_runs_alternate_between_mounts_and_each_starts_from_the_same_tree(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("unlink", "x")
    folder = trace.save(tmp_path / "T.iotrace")
    mounts = [tmp_path / "a", tmp_path / "b"]
    for mount in mounts:
        mount.mkdir()
    result = run_replay(folder, mounts, timing="asap", repeat=3)
    assert [Path(run.fs).name for run in result.info.runs] == ["a", "b", "b", "a", "a", "b"]
    assert [run.round for run in result.info.runs] == [0, 0, 1, 1, 2, 2]
    assert [run.errors for run in result.info.runs] == [0] * 6
    assert result.histogram(op="unlink").sum() == 6
    assert result.histogram(run=2).sum() == 1
    assert result.intervals()["ops"].sum() == 6


def test_staged_contents_are_not_zeros_and_not_holes(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.close(trace.open("x.mrc", size=3_000_000), "x.mrc")
    folder = trace.save(tmp_path / "T.iotrace")
    run_replay(folder, tmp_path, timing="asap", keep=True)
    (made,) = tmp_path.glob("iotrace-*/*.mrc")
    assert made.stat().st_size == 3_000_000
    assert made.stat().st_blocks * 512 >= 3_000_000
    assert made.read_bytes().count(0) < 30_000


def test_the_command_saves_a_result_and_prints_what_it_measured(tmp_path: Path, iotrace: Command) -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=10_000)
    trace.read(file, "x", 0, 4096)
    trace.named("stat", "/usr/y")
    folder = trace.save(tmp_path / "T.iotrace")
    ran = iotrace("replay", folder, "--fs", tmp_path, "--timing", "asap", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    (saved,) = tmp_path.glob("T-*.ioresult")
    assert open_result(saved).info.runs[0].by_op["read"].calls == 1
    assert saved.name in ran.stdout
    assert "outside the mapped folders" in ran.stdout
    assert "cache" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80 + len(str(tmp_path))


def test_json_is_one_object_and_nothing_else_and_a_difference_exits_with_1(tmp_path: Path, iotrace: Command) -> None:
    trace = TraceBuilder()
    trace.named("rmdir", "full", seen=False)
    trace.named("stat", "full/x")
    folder = trace.save(tmp_path / "T.iotrace")
    ran = iotrace("replay", folder, "--fs", tmp_path, "--json", "-o", "R.ioresult", cwd=tmp_path)
    assert ran.returncode == 1
    figures = json.loads(ran.stdout)
    assert figures["ops"] == 2
    assert figures["errors"] == 1
    assert figures["by_op"]["stat"]["calls"] == 1
    assert {"p50_us", "p99_us", "p999_us"} <= figures["by_op"]["stat"].keys()
    again = iotrace("replay", folder, "--fs", tmp_path, "-o", "R.ioresult", cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["missing.iotrace", "--fs", "."], 1), (["T.iotrace"], 2), (["T.iotrace", "--fs", "nowhere"], 1), ([], 2),
        (["T.iotrace", "--fs", ".", "--speed", "0"], 2), (["T.iotrace", "--fs", ".", "--repeat", "0"], 2),
        (["T.iotrace", "--fs", ".", "--max-bytes", "many"], 2), (["T.iotrace", "--fs", ".", "--max-bytes", "10"], 1),
        (["T.iotrace", "--fs", ".", "--map", "job"], 1), (["T.iotrace", "--fs", ".", "--timing", "never"], 2),
        (["T.iotrace", "--fs", ""], 2), (["T.iotrace", "--fs", ".", "--fs", ""], 2),
        (["T.iotrace", "--fs", ".", "--fs", "./"], 2), (["T.iotrace", "--fs", ".", "--fs", "/proc/self/cwd"], 2),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line(tmp_path: Path, iotrace: Command, words: list[str], status: int) -> None:
    trace = TraceBuilder()
    trace.close(trace.open("x", size=10_000), "x")
    trace.save(tmp_path / "T.iotrace")
    ran = iotrace("replay", *words, cwd=tmp_path)
    assert (ran.returncode, ran.stderr.count("\n"), ran.stdout) == (status, 1, "")
    assert ran.stderr.startswith("iotrace: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["T.iotrace"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["sleeping", "blocked"])
def test_a_signal_ends_a_replay_and_its_tree_goes(tmp_path: Path, number: signal.Signals, phase: str) -> None:
    trace = TraceBuilder()
    if phase == "sleeping":
        for turn in range(3):
            trace.named("stat", "a", at=turn * 1_000_000_000_000)
    else:
        child = trace.fork()
        one = trace.open("x", os.O_RDWR, size=10)
        two = trace.open("x", os.O_RDWR, thread=child)
        trace.on("flock", one, "x", flags=2, at=1_000_000, duration=10)
        trace.on("flock", two, "x", flags=2, at=1_000_100, duration=10, thread=child)
        trace.named("stat", "x", at=1_000_000_000_000)
    folder = trace.save(tmp_path / "T.iotrace")
    mount = tmp_path / "mount"
    mount.mkdir()
    process = Forked("replay", folder, "--fs", mount, "-o", tmp_path / "R.ioresult")
    deadline = time.monotonic() + 60
    while not in_trees(mount) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    process.signal(number)
    ended = process.end(30)
    assert ended.returncode == 128 + number
    assert ended.stderr.count("\n") == 1
    assert list(mount.iterdir()) == []
    assert not (tmp_path / "R.ioresult").exists()


def test_lanes_mark_where_recorded_calls_begin_and_end(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("stat", "a")
    child = trace.fork()
    trace.named("stat", "a", thread=child)
    folder = trace.save(tmp_path / "T.iotrace")
    log = tmp_path / "log"
    words = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=faccessat,stat",
        "-o",
        str(log),
        sys.executable,
        "-m",
        "iotrace",
        "replay",
    ]
    ran = subprocess.run(
        [*words, str(folder), "--fs", str(tmp_path), "--timing", "asap", "-o", str(tmp_path / "R.ioresult")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if ran.returncode != 0 and "ptrace" in ran.stderr:
        pytest.skip("strace may not trace here")
    assert ran.returncode == 0, ran.stderr
    lines = [
        line.split(maxsplit=1)[1]
        for line in log.read_text().splitlines()
        if "iotrace-replay:" in line or "/mount/iotrace-" in line
    ]
    for thread in ("0", "1"):
        assert sum(f"iotrace-replay:{thread}:begin" in line for line in lines) == 1
        assert sum(f"iotrace-replay:{thread}:end" in line for line in lines) == 1

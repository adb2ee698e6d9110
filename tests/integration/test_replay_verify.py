"""--verify in a whole replay: right storage verifies, faulty storage is found, what does not go together is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from builders import TraceBuilder
from commands import Command

from iotrace.errors import UsageError
from iotrace.replay import readying
from iotrace.replay.run import run_replay


def stack(folder: Path) -> Path:
    """A trace that reads a movie, writes particles, overwrites, cuts, copies, and reads all back in two processes."""
    trace = TraceBuilder()
    movie = trace.open("movie.mrc", size=100_000)
    for offset in range(0, 100_000, 30_000):
        trace.read(movie, "movie.mrc", offset, 30_000, result=min(30_000, 100_000 - offset))
    stack = trace.open("stack.mrcs", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    trace.write(stack, "stack.mrcs", 0, 40_000)
    trace.write(stack, "stack.mrcs", 8192, 8192, op="pwrite64")
    trace.write(stack, "stack.mrcs", 40_000, 12_288, op="writev", count=3)
    child = trace.fork()
    trace.read(stack, "stack.mrcs", 0, 52_288, op="preadv", count=2, thread=child)
    trace.on("ftruncate", stack, "stack.mrcs", size=20_000)
    trace.read(stack, "stack.mrcs", 0, 30_000, result=20_000, op="pread64", thread=child)
    trace.write(stack, "stack.mrcs", 0, 4096, op="pwrite64")
    trace.read(stack, "stack.mrcs", 0, 4096, op="pread64", thread=child)
    return trace.save(folder / "T.iotrace")


READ = 100_000 + 52_288 + 20_000 + 4096


@pytest.mark.parametrize("options", [{}, {"direct": True}, {"compress": 0.5, "repeat": 2}])
def test_a_storage_that_is_right_verifies(tmp_path: Path, options: dict[str, Any]) -> None:
    runs = run_replay(stack(tmp_path), tmp_path, timing="asap", verify=True, **options).info.runs
    for run in runs:
        assert run.verified is not None
        assert (run.errors, run.verified.wrong, run.verified.named) == (0, {}, [])
        assert run.verified.unchecked_bytes == 0
        # rounded out to the alignment more is read
        assert run.verified.checked_bytes >= READ if "direct" in options else run.verified.checked_bytes == READ


def test_bytes_that_a_storage_has_changed_are_counted_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = readying.Trees.cache

    def spoil(self: Any, folder: Path, *rest: Any) -> tuple[list[str], list[list[int]]]:
        # what a faulty disk does between the writing and the reading
        notes = prepared(self, folder, *rest)
        (movie,) = self.made[folder][-1].tree.rglob("*.mrc")
        with movie.open("r+b") as file:
            file.seek(50_000)
            file.write(b"spoilt")
            file.seek(8192)
            file.write(bytes(4096))
        return notes

    monkeypatch.setattr(readying.Trees, "cache", spoil)
    run = run_replay(stack(tmp_path), tmp_path, timing="asap", verify=True).info.runs[0]
    assert run.verified is not None
    assert run.verified.wrong == {"damaged": 1, "zeros": 1}
    assert (run.errors, run.by_op["read"].errors, run.errors_by) == (2, 2, [])
    assert run.verified.named[0].startswith("/data/job/movie.mrc, block 2 (wrong from byte 8192): zeros")
    assert "movie.mrc, block 12 (wrong from byte 50000)" in run.verified.named[1]
    run = run_replay(tmp_path / "T.iotrace", tmp_path, timing="asap", verify=True, users=3).info.runs[0]
    assert run.verified is not None
    assert (run.verified.wrong, run.verified.checked_bytes) == ({"damaged": 1, "zeros": 1}, 3 * READ)
    assert run.verified.named[0].startswith("user 3: /data/job/movie.mrc, block 2 (wrong from byte 8192): zeros")


def test_the_command_says_what_it_verified(tmp_path: Path, iotrace: Command) -> None:
    trace = TraceBuilder()
    out = trace.open("out", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    trace.write(out, "out", 0, 8192)
    other = trace.open("out", os.O_RDWR)
    trace.write(other, "out", 0, 4096)
    trace.read(out, "out", 0, 8192, op="pread64")
    folder = trace.save(tmp_path / "T.iotrace")
    words = ["replay", folder, "--fs", tmp_path, "--verify", "-o"]
    done = iotrace(*words, tmp_path / "R")
    assert done.returncode == 0, done.stderr
    assert "verified: 8.19 kB read; wrong blocks: none" in done.stdout
    told = iotrace(*words, tmp_path / "S", "--json")
    assert json.loads(told.stdout)["verified"]["checked_bytes"] == 8192


@pytest.mark.parametrize("options", [{"order": "thread"}, {"engine": "uring"}, {"null": True}, {"duplicate": 0.5}])
def test_what_does_not_go_with_verification_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--verify") as caught:
        run_replay(stack(tmp_path), tmp_path, verify=True, **options)
    assert "\n" not in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["T.iotrace"]


def test_a_read_that_overlapped_with_a_write_is_left_open_whichever_comes_first(tmp_path: Path) -> None:
    trace = TraceBuilder()
    other = trace.thread()
    opened = trace.open("data", os.O_RDWR, size=1 << 20)
    for number in range(200):
        offset, at = 4096 * number, 1_000_000 * (number + 1)
        trace.write(opened, "data", offset, 4096, op="pwrite64", at=at, duration=100_000)
        trace.read(opened, "data", offset, 4096, op="pread64", thread=other, at=at + 50_000, duration=100_000)
        trace.read(opened, "data", offset, 4096, op="pread64", at=at + 500_000, duration=1_000)
    saved = trace.save(tmp_path / "T.iotrace")
    for run in run_replay(saved, tmp_path, timing="asap", verify=True, repeat=3).info.runs:
        assert run.verified is not None
        assert run.verified.wrong == {}
        assert (run.verified.unchecked_bytes, run.verified.checked_bytes) == (200 * 4096, 200 * 4096)

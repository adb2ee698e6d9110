"""--memory: a run reads again from the storage what a client of that size cannot keep, and leaves no group behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import TraceBuilder
from commands import Forked
from trees import in_trees

from iotrace.errors import ReplayError, UsageError
from iotrace.mounts.mountinfo import Mount
from iotrace.replay import bounding
from iotrace.replay.run import run_replay

SIZE = 200 << 20
BLOCK = 1 << 20


def groups() -> list[Path]:
    parent, _ = bounding._parent()
    return list(parent.glob("iotrace-memory-*"))


@pytest.fixture(autouse=True)
def _possible() -> Iterator[None]:
    try:
        with bounding.bounded(64 << 20):
            pass
    except ReplayError as error:
        pytest.skip(str(error))
    yield
    assert groups() == []


def reads_twice(folder: Path, gap_ns: int = 10_000) -> Path:
    """A program that reads a file of 200 MiB from front to back, twice."""
    trace = TraceBuilder()
    movie = trace.open("movie.tif", size=SIZE)
    for turn in range(2 * SIZE // BLOCK):
        trace.read(movie, "movie.tif", turn * BLOCK % SIZE, BLOCK, op="pread64", at=gap_ns * (turn + 1))
    return trace.save(folder / "T.iotrace")


def fetched(folder: Path, trace: Path, memory: int | None) -> int:
    """Bytes of the file that the page cache holds after the run."""
    result = run_replay(trace, folder, timing="asap", cache="cold", memory=memory, keep=True)
    assert result.info.runs[0].errors == 0
    assert result.info.options["memory"] == memory
    conditions = result.info.runs[0].conditions
    assert conditions is not None
    assert conditions.memory_bytes == memory
    (file,) = (path for path in in_trees(folder) if path.stat().st_size == SIZE)
    seen = subprocess.run(["fincore", "-nbo", "RES", file], capture_output=True, text=True, check=True).stdout
    return int(seen)


def test_the_page_cache_of_a_bounded_run_stays_below_the_bound(tmp_path: Path) -> None:
    trace = reads_twice(tmp_path)
    for name in ("bounded", "free"):
        (tmp_path / name).mkdir()
    assert fetched(tmp_path / "free", trace, None) > 0.9 * SIZE
    assert fetched(tmp_path / "bounded", trace, 100 << 20) <= 100 << 20


def test_ctrl_c_leaves_no_group_behind(tmp_path: Path) -> None:
    trace = reads_twice(tmp_path, 100_000_000)
    (tmp_path / "fs").mkdir()
    words = ["--cold", "--memory", "100MiB", "-o", tmp_path / "R"]
    process = Forked("replay", trace, "--fs", tmp_path / "fs", *words)
    deadline = time.monotonic() + 100
    # a worker is in it
    while not any((group / "cgroup.procs").read_text() for group in groups()):
        assert process.runs
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1)
    process.signal(signal.SIGINT)
    ended = process.end()
    assert (ended.returncode, ended.stderr.count("\n")) == (130, 1)
    assert groups() == []


def test_a_group_that_a_killed_replay_left_is_removed_by_the_next(tmp_path: Path) -> None:
    parent, _ = bounding._parent()
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = parent / f"iotrace-memory-{gone.pid}"
    left.mkdir()
    with bounding.bounded(64 << 20) as group:
        assert groups() == [group]


def test_a_group_of_version_2_is_made_where_the_memory_controller_is_handed_down_and_else_one_of_version_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of folders in the form of the kernel's: no machine has the controller in both versions."""
    second, first = tmp_path / "unified", tmp_path / "memory"
    scope = second / "user.slice" / "user-0.slice" / "session-1.scope"
    scope.mkdir(parents=True)
    first.mkdir()
    for folder, handed in ((scope, ""), (scope.parent, "cpu memory pids"), (scope.parent.parent, "memory")):
        (folder / "cgroup.subtree_control").write_text(handed)
    (second / "cgroup.subtree_control").write_text("memory")
    mounts = [
        Mount(30, str(second), "cgroup2", "cgroup2", "rw", "/"),
        Mount(31, str(first), "cgroup", "cgroup", "rw,memory", "/"),
    ]
    monkeypatch.setattr(bounding, "mounts_of_this_machine", lambda: mounts)
    monkeypatch.setattr(bounding, "_own_groups", lambda: {"": "/user.slice/user-0.slice/session-1.scope"})
    assert bounding._parent() == (scope.parent, "cgroup2")
    for folder in (second, *second.glob("**/*/")):
        (folder / "cgroup.subtree_control").write_text("cpu")
    assert bounding._parent() == (first, "cgroup")


def test_what_cannot_be_bounded_is_refused_in_a_line(tmp_path: Path) -> None:
    trace = reads_twice(tmp_path)
    with pytest.raises(UsageError, match="goes with --cold"):
        run_replay(trace, tmp_path, memory=100 << 20)
    with pytest.raises(ReplayError, match=r"--memory gives 1\.00 MiB: give at least --memory [0-9]+MiB\.$") as alone:
        run_replay(trace, tmp_path, cache="cold", memory=1 << 20)
    least = int(str(alone.value).split()[-1].removesuffix("MiB."))
    with pytest.raises(ReplayError, match=r"3 users need .*MiB, or at most --users 1\.$"):
        run_replay(trace, tmp_path, cache="cold", memory=(least + 1) << 20, users=3)
    # as little as was asked for does
    assert run_replay(trace, tmp_path, cache="cold", timing="asap", memory=least << 20).info.runs[0].errors == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_who_may_make_no_group_is_told_so_in_a_line() -> None:
    code = (
        "import os\nfrom iotrace.replay.bounding import bounded\nos.setuid(65534)\n"
        "try:\n    bounded(1 << 26).__enter__()\nexcept Exception as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("--memory: no control group can be made in ")
    assert done.stdout.count("\n") == 1

"""Replays on a mount that hands all on to a folder: with equal counts, and with the faults that it is told to make."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from builders import TraceBuilder
from lab.base import waited_s
from lab.faulty import Faulty, faulty, missing

from iotrace.errors import StorageError
from iotrace.replay.result import Run
from iotrace.replay.run import run_replay

pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]
PIECE, PIECES = 1000, 6


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Faulty]:
    with faulty(tmp_path) as found:
        yield found


def job(folder: Path, think_ns: int = 10_000) -> Path:
    """Reads a movie in pieces, and writes as many, with an fsync after each."""
    trace = TraceBuilder()
    movie = trace.open("movie.tif", size=PIECE * PIECES)
    stack = trace.open("stack.mrc", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    for turn in range(PIECES):
        trace.read(movie, "movie.tif", turn * PIECE, PIECE, op="pread64", at=think_ns * (turn + 1))
        trace.write(stack, "stack.mrc", turn * PIECE, PIECE, op="pwrite64")
        trace.on("fsync", stack, "stack.mrc")
    trace.named("stat", "movie.tif")
    return trace.save(folder / "T.iotrace")


def replayed(mount: Faulty, trace: Path, timing: str = "asap") -> Run:
    (run,) = run_replay(trace, mount.path, timing=timing).info.runs
    assert list(mount.path.iterdir()) == []
    return run


@pytest.mark.parametrize("name", ["relion-motion-correction", "relion-particle-extraction"])
def test_a_shipped_trace_replays_with_equal_counts(name: str, tmp_path: Path) -> None:
    trace = Path(str(resources.files("iotrace.data") / "traces" / f"{name}.iotrace"))
    (tmp_path / "here").mkdir()
    # mapped files need pages that the kernel keeps
    with faulty(tmp_path, direct=False) as mount:
        there, here = run_replay(trace, [mount.path, tmp_path / "here"], timing="asap").info.runs
    assert (there.errors, there.bytes_read, there.bytes_written) == (0, here.bytes_read, here.bytes_written)
    assert {op: of.calls for op, of in there.by_op.items()} == {op: of.calls for op, of in here.by_op.items()}


def test_what_the_kernel_has_kept_is_the_clients_and_of_what_it_has_not_the_guard_cannot_tell(tmp_path: Path) -> None:
    """A FUSE file system that nobody knows has no counters; what is left is the page cache."""
    trace = TraceBuilder()
    movie = trace.open("movie.tif", size=64 * 65536)
    for turn in range(64):
        trace.read(movie, "movie.tif", turn * 65536, 65536, op="pread64")
    saved = trace.save(tmp_path / "T.iotrace")
    with faulty(tmp_path, direct=False) as mount:
        guards = [
            run_replay(saved, mount.path, timing="asap", cache=cache).info.runs[0].guard for cache in ("warm", "cold")
        ]
    found = [(guard.verdict, guard.needed_bytes, guard.cached_bytes) for guard in guards if guard is not None]
    assert found == [("client cache", 64 * 65536, 64 * 65536), ("cannot tell", 64 * 65536, 0)]


@pytest.mark.parametrize(
    ("request_", "call", "name", "number"),
    [
        ("READ", "pread64", "movie.tif", errno.EIO),
        ("READ", "pread64", "movie.tif", errno.ESTALE),
        ("WRITE", "pwrite64", "stack.mrc", errno.EIO),
        ("WRITE", "pwrite64", "stack.mrc", errno.ENXIO),
        ("FSYNC", "fsync", "stack.mrc", errno.EIO),
    ],
)
def test_an_error_of_the_mount_is_counted_by_its_errno_and_the_run_goes_on(
    mount: Faulty, tmp_path: Path, request_: str, call: str, name: str, number: int
) -> None:
    suffix = name[-3:]
    mount.rules({"op": request_, "path": suffix + "$", "first": 2, "times": 2, "errno": errno.errorcode[number]})
    run = replayed(mount, job(tmp_path))
    assert [(one.op, one.recorded, one.replayed, one.calls) for one in run.errors_by] == [(call, 0, number, 2)]
    assert run.errors_by[0].example == f"/data/job/{name}"
    assert run.errors == 2
    assert {op: run.by_op[op].calls for op in ("pread64", "pwrite64", "fsync")} == dict.fromkeys(
        ("pread64", "pwrite64", "fsync"), PIECES
    )


def test_a_file_that_cannot_be_made_is_counted_by_its_errno_and_so_is_what_needs_it(
    mount: Faulty, tmp_path: Path
) -> None:
    mount.rules({"op": "CREATE", "path": "mrc$", "errno": "EACCES"})
    run = replayed(mount, job(tmp_path))
    found = {(one.op, one.replayed): one.calls for one in run.errors_by}
    assert found == {
        ("openat", errno.EACCES): 1,
        ("pwrite64", errno.EBADF): PIECES,
        ("fsync", errno.EBADF): PIECES,
    }
    assert run.by_op["pread64"].errors == 0


@pytest.mark.parametrize(("request_", "call"), [("READ", "pread64"), ("WRITE", "pwrite64")])
def test_what_moves_fewer_bytes_than_asked_for_is_an_outcome_of_its_own(
    mount: Faulty, tmp_path: Path, request_: str, call: str
) -> None:
    suffix = "tif" if call == "pread64" else "mrc"
    mount.rules({"op": request_, "path": suffix + "$", "first": 1, "times": 1, "short": 10})
    run = replayed(mount, job(tmp_path))
    assert [(one.op, one.recorded, one.replayed, one.calls) for one in run.errors_by] == [(call, 0, 0, 1)]
    moved = run.bytes_read if call == "pread64" else run.bytes_written
    assert moved == PIECE * (PIECES - 1) + 10


def test_a_delay_is_in_the_latencies_and_changes_no_count(mount: Faulty, tmp_path: Path) -> None:
    mount.rules({"op": "READ", "delay_s": 0.05})
    run = replayed(mount, job(tmp_path))
    assert run.errors == 0
    assert run.by_op["pread64"].calls == PIECES
    reads, writes = (run.by_op[op].p50_us for op in ("pread64", "pwrite64"))
    assert reads is not None
    assert writes is not None
    assert writes < 50_000 <= reads


def test_a_call_that_waits_for_six_seconds_is_a_stall_with_its_name_and_the_run_goes_on(
    mount: Faulty, tmp_path: Path
) -> None:
    mount.rules({"op": "WRITE", "path": "mrc$", "first": 3, "times": 1, "delay_s": 6})
    run = replayed(mount, job(tmp_path))
    assert (run.errors, run.by_op["fsync"].calls) == (0, PIECES)
    (stall,) = run.stalls
    assert 6 <= stall.took_s < 20
    assert (stall.calls, stall.named[0].startswith("pwrite64 of /data/job/stack.mrc by ")) == (1, True)


def test_a_mount_that_never_answers_ends_by_the_timeout_in_one_line(mount: Faulty, tmp_path: Path) -> None:
    mount.rules({"op": "FSYNC", "path": "mrc$", "delay_s": 30, "times": 1})
    words = ["replay", str(job(tmp_path)), "--fs", str(mount.path), "--timeout", "2", "-o", str(tmp_path / "R")]
    done = subprocess.run(
        [sys.executable, "-m", "iotrace", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("Note: "))
    assert line.startswith("iotrace: fsync of /data/job/stack.mrc by ")
    assert 2 <= waited_s(line) < 25
    assert not (tmp_path / "R").exists()


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT"])
def test_a_mount_that_is_full_in_mid_run_ends_it_in_a_sentence_and_the_tree_is_removed(
    mount: Faulty, tmp_path: Path, number: str
) -> None:
    mount.rules({"op": "WRITE", "path": "mrc$", "first": 3, "errno": number})
    with pytest.raises(StorageError, match="no space left during the replay, after "):
        replayed(mount, job(tmp_path))
    assert list(mount.path.iterdir()) == []


def test_a_mount_that_fails_while_the_tree_is_made_says_so_and_the_tree_is_removed(
    mount: Faulty, tmp_path: Path
) -> None:
    mount.rules({"op": "WRITE", "path": "tif$", "errno": "EIO"})
    with pytest.raises(StorageError, match="Input/output error"):
        replayed(mount, job(tmp_path))
    assert list(mount.path.iterdir()) == []

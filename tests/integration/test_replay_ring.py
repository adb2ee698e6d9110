"""Replays through io_uring end as those by calls do: outcomes, contents, positions, recorded overlap, fallback."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import TraceBuilder
from commands import Forked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotrace.record.session import record
from iotrace.replay.result import ResultInfo
from iotrace.replay.ring import why_no_ring
from iotrace.replay.run import run_replay
from iotrace.trace.operations import OWN_POSITION
from iotrace.trace.reader import open_trace

PROGRAMS = Path(__file__).parent.parent / "programs"
pytestmark = pytest.mark.skipif(why_no_ring() is not None, reason=f"no io_uring: {why_no_ring()}")

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["read", "pread64", "readv", "preadv2", "write", "pwrite64", "writev", "fsync", "fdatasync", "append",
             "seek", "tell", "cut", "stat", "writes", "reads", "own_read", "own_write", "own_append"]
        ),
        st.integers(0, 2), st.integers(0, 1), st.integers(0, 12_000), st.integers(0, 6_000),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


class Model:
    """A trace of random calls on three files (one shared by two descriptions), with the results that they must have."""

    def __init__(self, steps: list[tuple[str, int, int, int, int]]) -> None:
        self.trace = TraceBuilder()
        self.threads = [0, self.trace.thread()]
        sizes = [5000, 0, 9000]
        self.names = ["a.mrc", "b.mrc", "c.mrc"]
        self.sizes = dict(zip(self.names, sizes, strict=True))
        self.open = [self.trace.open(name, os.O_RDWR, size=self.sizes[name]) for name in self.names]
        self.appends = [self.trace.open(name, os.O_WRONLY | os.O_APPEND) for name in self.names]
        self.at = [0, 0, 0]
        for step in steps:
            self.step(*step)
        for k, name in enumerate(self.names):
            self.trace.close(self.open[k], name)

    def step(self, what: str, k: int, thread: int, offset: int, size: int) -> None:
        # writes of different threads are not ordered among each other, whatever issues them
        if what in ("write", "writev", "pwrite64", "writes", "append", "own_write", "own_append"):
            thread = 0
        name, trace = self.names[k], self.trace
        on: dict[str, Any] = {"thread": self.threads[thread]}
        here, there = self.at[k], self.sizes[name]
        if what in ("read", "readv"):
            got = max(0, min(size, there - here))
            trace.read(self.open[k], name, here, size, got, op=what, count=3 if what == "readv" else None, **on)
            self.at[k] += got
        elif what == "own_read":
            got = max(0, min(size, there - here))
            trace.read(self.open[k], name, here, size, got, op="preadv2", count=2, flags=OWN_POSITION, **on)
            self.at[k] += got
        elif what in ("own_write", "own_append"):
            place, flags = (there, OWN_POSITION | 0x10) if what == "own_append" else (here, OWN_POSITION)
            trace.write(self.open[k], name, place, size, op="pwritev2", count=2, flags=flags, **on)
            if size:
                self.at[k] = place + size
                self.sizes[name] = max(there, place + size)
        elif what in ("pread64", "preadv2"):
            more = {"count": 2, "flags": 0} if what == "preadv2" else {}
            trace.read(self.open[k], name, offset, size, max(0, min(size, there - offset)), op=what, **more, **on)
        elif what == "reads":
            for turn in range(6):
                place = offset + turn * 700
                trace.read(self.open[k], name, place, 700, max(0, min(700, there - place)), op="pread64", **on)
        elif what in ("write", "writev"):
            trace.write(self.open[k], name, here, size, op=what, count=4 if what == "writev" else None, **on)
            self.at[k] += size
            self.sizes[name] = max(there, self.at[k]) if size else there
        elif what == "pwrite64":
            self.write(k, offset, size, on)
        elif what == "writes":
            for turn in range(6):
                self.write(k, offset + (turn * 5 % 6) * 600, 700, on)
        elif what == "append":
            trace.write(self.appends[k], name, there, size, **on)
            self.sizes[name] += size
        elif what in ("fsync", "fdatasync"):
            trace.on(what, self.open[k], name, **on)
        elif what == "seek":
            trace.on("lseek", self.open[k], name, offset=offset, flags=os.SEEK_SET, result=offset, **on)
            self.at[k] = offset
        elif what == "tell":
            trace.on("lseek", self.open[k], name, offset=0, flags=os.SEEK_CUR, result=here, **on)
        elif what == "cut":
            trace.on("ftruncate", self.open[k], name, size=size, **on)
            self.sizes[name] = size
        else:
            trace.on("fstat", self.open[k], name, **on)

    def write(self, k: int, offset: int, size: int, on: dict[str, Any]) -> None:
        name = self.names[k]
        self.trace.write(self.open[k], name, offset, size, op="pwrite64", **on)
        if size:
            self.sizes[name] = max(self.sizes[name], offset + size)


def replayed(trace: Path, folder: Path, **options: Any) -> tuple[ResultInfo, dict[str, bytes]]:
    """The result as fast as possible, and what was in the files afterwards."""
    folder.mkdir()
    info = run_replay(open_trace(trace), folder, timing="asap", keep=True, **options).info
    tree = next(folder.glob("iotrace-*"))
    contents = {str(f.relative_to(tree)): f.read_bytes() for f in tree.rglob("*.mrc") if f.is_file()}
    shutil.rmtree(folder)
    return info, contents


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS, st.sampled_from([(1, 1), (2, 1), (8, 3), (64, 16)]), st.booleans())
def test_random_calls_end_as_recorded_and_leave_the_same_bytes(
    steps: list[tuple[str, int, int, int, int]], shape: tuple[int, int], fixed: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = Model(steps)
        trace = model.trace.save(folder / "T.iotrace")
        calls, before = replayed(trace, folder / "calls")
        depth, batch = shape
        ring, after = replayed(trace, folder / "ring", engine="uring", depth=depth, batch=batch, fixed=fixed)
        assert calls.runs[0].errors_by == ring.runs[0].errors_by == []
        assert calls.runs[0].ops == ring.runs[0].ops
        assert len(before) == 3
        assert before == after
        assert {len(one) for one in after.values()} == set(model.sizes.values())


@pytest.mark.parametrize("timing", ["think", "original"])
def test_gaps_are_kept_with_a_ring(tmp_path: Path, timing: str) -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=100_000)
    for turn in range(11):
        trace.read(file, "x", turn, 100, op="pread64", at=turn * 20_000_000 + 1_000_000, off_cpu_ns=15_000_000)
    saved = open_trace(trace.save(tmp_path / "T.iotrace"))
    run = run_replay(saved, tmp_path, timing=timing, engine="uring", depth=4).info.runs[0]
    assert run.errors == 0
    assert run.wall_s > 0.19


@pytest.mark.bpf
@pytest.mark.parametrize("program", ["mixed_io.py", "every_call.py"])
def test_programs_end_as_with_calls(program: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "movies").mkdir(parents=True)
    for number in range(3):
        (work / "movies" / f"m_{number}.tif").write_bytes(np.random.default_rng(number).bytes(200_000))
    command = ["/bin/sh", "-c", f"cd {work}; exec {sys.executable} -S {PROGRAMS / program}"]
    assert record(command, tmp_path / "T.iotrace", backend="ebpf").info.complete
    trace = open_trace(tmp_path / "T.iotrace")
    runs = [
        run_replay(trace, tmp_path, prefixes=[str(work)], timing="asap", **options).info.runs[0]
        for options in ({}, {"engine": "uring"}, {"engine": "uring", "depth": 16, "fixed": True})
    ]
    assert runs[0].ops > 40
    assert runs[0].errors_by == runs[1].errors_by == runs[2].errors_by == []
    assert runs[0].bytes_written == runs[1].bytes_written == runs[2].bytes_written


def most_at_a_time(events: Any) -> int:
    """Most rows that ran at one moment."""
    start, end = events.time_ns.to_numpy(), (events.time_ns + events.duration_ns).to_numpy()
    return int(max((start <= moment).sum() - (end <= moment).sum() for moment in start))


@pytest.mark.bpf
@pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")
@pytest.mark.parametrize("kind", ["io_uring", "libaio"])
def test_what_rode_on_a_ring_rides_again_and_overlaps_as_it_did(tmp_path: Path, kind: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    fio = [
        "fio", "--name=a", f"--filename={work / 'data'}", "--size=4m", "--bs=64k", "--rw=randrw", "--fallocate=none",
        f"--ioengine={kind}", "--iodepth=8", "--direct=1", "--output=/dev/null",
    ]  # fmt: skip
    assert record(fio, tmp_path / "T.iotrace", backend="ebpf").exit_status == 0
    before = open_trace(tmp_path / "T.iotrace").events()
    replay = [
        sys.executable, "-m", "iotrace", "replay", str(tmp_path / "T.iotrace"), "--fs", str(tmp_path), "--map",
        str(work), "-o", str(tmp_path / "R.ioresult"), "--timing", "asap", "--json",
    ]  # fmt: skip
    done = record(replay, tmp_path / "again.iotrace", backend="ebpf")
    assert done.exit_status == 0
    prefix = "uring." if kind == "io_uring" else "aio."
    names = [f"{prefix}read", f"{prefix}write"]
    result = json.loads((tmp_path / "R.ioresult" / "result.json").read_text())["runs"][0]
    then = before[before.op.isin(names)]
    assert len(then) == 64
    assert sum(result["by_op"][name]["calls"] for name in names) == len(then)
    assert result["errors"] == 0
    after = open_trace(tmp_path / "again.iotrace").events()
    now = after[after.op.isin(["uring.read", "uring.write"])]
    assert sorted(now.offset) == sorted(then.offset)
    assert 1 < most_at_a_time(now) <= most_at_a_time(then)


def without_rings() -> None:
    """No io_uring for this process from now on."""
    libc = ctypes.CDLL(None, use_errno=True)

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    # load the call's number; io_uring_setup (425 on every architecture): EPERM; all else: allowed
    program = step(0x20, 0, 0, 0) + step(0x15, 0, 1, 425) + step(0x06, 0, 0, 0x00050001) + step(0x06, 0, 0, 0x7FFF0000)
    text = ctypes.create_string_buffer(program)
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(text)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, filters, 0, 0) == 0


def test_where_io_uring_is_refused_it_says_so_and_issues_calls(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=10_000)
    trace.read(file, "x", 0, 4096)
    trace.on("uring.read", file, "x", offset=0, size=4096, result=4096, ring=0, batch=0)
    trace.close(file, "x")
    trace.save(tmp_path / "T.iotrace")
    words = ["replay", tmp_path / "T.iotrace", "--fs", tmp_path, "--json", "--timing", "asap", "-o"]
    for number, (options, sentence) in enumerate([
        (["--engine", "uring", "--depth", "4"], "--engine uring fell back to psync, because"),
        ([], "What the program gave to io_uring or libaio was replayed as calls"),
    ]):  # fmt: skip
        done = Forked(*words, tmp_path / f"R{number}.ioresult", *options, first=without_rings).end()
        assert (done.returncode, done.stderr) == (0, "")
        result = json.loads(done.stdout)
        (warning,) = [one for one in result["warnings"] if sentence in one]
        assert "seccomp" in warning
        assert (result["ops"], result["errors"], result["bytes_read"]) == (4, 0, 8192)


def test_options_of_the_ring_that_make_no_sense_are_one_line(tmp_path: Path) -> None:
    from iotrace.errors import UsageError

    trace = TraceBuilder()
    trace.named("stat", "x")
    saved = open_trace(trace.save(tmp_path / "T.iotrace"))
    for options, words in (
        ({"depth": 4}, "--engine uring"), ({"engine": "uring", "depth": 0}, "a depth from 1"),
        ({"engine": "uring", "depth": 2, "batch": 3}, "batch"), ({"engine": "mmap?"}, "choose one of"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            run_replay(saved, tmp_path, **options)

"""A recording of a replay equals the recording that was replayed, and a replay that went another way is told apart."""

from __future__ import annotations

import os
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from builders import TraceBuilder

from iotrace.errors import TraceError
from iotrace.record.session import record
from iotrace.replay.fidelity import Fidelity, compare_recording
from iotrace.replay.plan import build_plan
from iotrace.trace.reader import open_trace

PROGRAMS = Path(__file__).parent.parent / "programs"


def recorded(command: list[str], trace: Path, folder: Path) -> Path:
    before = Path.cwd()
    os.chdir(folder)
    try:
        outcome = record(command, trace, backend="ebpf")
    finally:
        os.chdir(before)
    assert outcome.info.complete
    return trace


def fidelity_of(command: list[str], work: Path, tmp_path: Path, *options: str) -> Fidelity:
    """Record a command, replay it while that is recorded, and compare."""
    first = recorded(command, tmp_path / "first.iotrace", work)
    mount = tmp_path / "mount"
    mount.mkdir()
    replay = [sys.executable, "-m", "iotrace", "replay", str(first), "--fs", str(mount), "--map", str(work)]
    replay += ["-o", str(tmp_path / "R.ioresult"), "--json", *options]
    second = recorded(replay, tmp_path / "second.iotrace", tmp_path)
    return compare_recording(build_plan(open_trace(first), [str(work)]), open_trace(second))


def assert_equal(found: Fidelity) -> None:
    assert found.differences == []
    assert found.exact
    assert found.threads_seen == found.threads
    for op in found.by_op.values():
        assert op.exact
    before, now = found.listing_bytes
    assert abs(now - before) <= max(256, 0.1 * before)


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "movies").mkdir(parents=True)
    random = np.random.default_rng(1)
    for number in range(5):
        (folder / "movies" / f"m_{number:03d}.tif").write_bytes(random.bytes(300_000))
    return folder


@pytest.mark.bpf
@pytest.mark.parametrize("timing", ["asap", "think"])
def test_a_mix_of_data_metadata_locks_threads_and_children(movies: Path, tmp_path: Path, timing: str) -> None:
    program = [sys.executable, "-S", str(PROGRAMS / "mixed_io.py")]
    found = fidelity_of(program, movies, tmp_path, "--timing", timing)
    assert_equal(found)
    assert sum(op.recorded for op in found.by_op.values()) > 500
    # how much one fault maps depends on how the page cache holds the file: at least one for each movie
    planned, seen = found.faults
    assert planned >= 5
    assert seen >= 5
    assert found.faulted_bytes[2] > 0


@pytest.mark.bpf
def test_plain_tools_and_another_trace_is_told_apart(movies: Path, tmp_path: Path) -> None:
    tools = "tar cf all.tar movies && find . -size +1k && cp -a movies copy"
    found = fidelity_of(["/bin/sh", "-c", tools], movies, tmp_path, "--timing", "asap")
    assert_equal(found)
    trace = TraceBuilder(cwd=str(movies))
    name = f"{movies}/movies/m_000.tif"
    file = trace.open(name, size=300_000)
    trace.read(file, name, 0, 4096)
    trace.close(file, name)
    other = build_plan(open_trace(trace.save(tmp_path / "other.iotrace")))
    found = compare_recording(other, open_trace(tmp_path / "second.iotrace"))
    assert not found.exact
    assert any("read" in sentence for sentence in found.differences)


@pytest.mark.bpf
def test_a_recording_without_marks_is_one_line(movies: Path, tmp_path: Path) -> None:
    trace = recorded(["cat", "movies/m_000.tif"], tmp_path / "plain.iotrace", movies)
    plan = build_plan(open_trace(trace), [str(movies)])
    with pytest.raises(TraceError, match="no marks"):
        compare_recording(plan, open_trace(trace))


@pytest.mark.bpf
def test_every_call_of_the_table(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    found = fidelity_of([sys.executable, "-S", str(PROGRAMS / "every_call.py")], work, tmp_path, "--timing", "asap")
    assert found.differences == []
    assert found.exact
    assert {"sendfile", "copy_file_range", "renameat2", "fcntl.lock", "preadv2", "chdir"} <= set(found.by_op)


@pytest.mark.bpf
@pytest.mark.parametrize("name", ["relion-motion-correction", "relion-particle-extraction"])
def test_the_shipped_traces(name: str, tmp_path: Path) -> None:
    trace = Path(str(resources.files("iotrace.data") / "traces" / f"{name}.iotrace"))
    replay = [sys.executable, "-m", "iotrace", "replay", str(trace), "--fs", str(tmp_path), "--timing", "asap"]
    second = recorded([*replay, "-o", str(tmp_path / "R.ioresult"), "--json"], tmp_path / "second.iotrace", tmp_path)
    found = compare_recording(build_plan(open_trace(trace)), open_trace(second))
    assert found.differences == []
    assert found.exact

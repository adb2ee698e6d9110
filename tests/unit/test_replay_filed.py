"""Plans larger than memory: long arrays lie in files without a name, and a plan is the same wherever it lies."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from builders import TraceBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.data.recordings import TRACES
from iotrace.errors import ReplayError
from iotrace.replay import filed as module
from iotrace.replay import pieces, room
from iotrace.replay.columns import NO_ID
from iotrace.replay.filed import LARGE_BYTES, filed, in_file, private
from iotrace.replay.pieces import Column, Pieces
from iotrace.replay.plan import build_plan
from iotrace.replay.rows import Plan
from iotrace.replay.sharing import shared
from iotrace.trace.reader import Trace, open_trace

N = LARGE_BYTES // 8


def mapped() -> list[str]:
    """Files without a name that this process has mapped."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("(deleted)")]


def test_a_large_array_lies_in_a_file_and_a_small_one_in_memory(tmp_path: Path) -> None:
    before = len(mapped())
    with filed(str(tmp_path)):
        large, small = np.full(N, 7), np.full(N - 1, 7)
    later = np.full(N, 7)
    assert in_file(large)
    assert in_file(large[5:])
    assert not in_file(small)
    assert not in_file(later)
    assert large.sum() == 7 * N
    assert len(mapped()) == before + 1
    assert not list(tmp_path.iterdir())
    del large
    assert len(mapped()) == before


def test_what_numpy_makes_of_arrays_in_files_is_what_it_makes_of_others(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 1000, N)
    with filed(str(tmp_path)):
        there = values.copy()
        order, zeros, joined = np.argsort(there, kind="stable"), np.zeros(N), np.append(there, [1, 2])
        grown = there.copy()
        grown.resize(2 * N, refcheck=False)
    assert all(in_file(array) for array in (there, order, zeros, joined, grown))
    assert (order == np.argsort(values, kind="stable")).all()
    assert not zeros.any()
    assert joined.tolist() == [*values.tolist(), 1, 2]
    assert (grown[:N] == values).all()
    assert not grown[N:].any()


def test_an_array_in_a_file_outlives_what_it_was_made_in_and_may_end_anywhere(tmp_path: Path) -> None:
    with filed(str(tmp_path)):
        first = np.arange(N)
        with filed(str(tmp_path / "..")):
            second = first + 1
    with filed(str(tmp_path)):
        del first
    assert second[-1] == N
    before = len(mapped())
    del second
    assert len(mapped()) == before - 1


def test_forks_share_what_lies_in_files_and_not_what_is_private(tmp_path: Path) -> None:
    with filed(str(tmp_path)):
        notes = shared(N)
        with private():
            own = np.zeros(N, np.int64)
    assert in_file(notes)
    assert not in_file(own)
    child = os.fork()
    if child == 0:
        notes[3], own[3] = 5, 5
        os._exit(0)
    os.waitpid(child, 0)
    assert notes[3] == 5
    assert own[3] == 0


def test_a_folder_without_room_is_named_in_one_line(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with (
        pytest.raises(ReplayError, match=rf"{tmp_path} has no room for the plan .*TMPDIR") as error,
        filed(str(tmp_path)),
    ):
        np.empty(4 * free, np.uint8)
    assert "\n" not in str(error.value)
    with pytest.raises(MemoryError):
        np.empty(1 << 60, np.uint8)


def test_a_plan_that_has_room_nowhere_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TraceBuilder().save(tmp_path / "T.iotrace")
    monkeypatch.setattr(Trace, "event_count", lambda trace: 10**15)
    with pytest.raises(ReplayError, match=r"takes up to .*; free are .* of memory, and .*TMPDIR"):
        build_plan(open_trace(tmp_path / "T.iotrace"))


def plan_in_files(trace: Path, order: str = "file") -> Plan:
    """The plan of a trace, all of whose arrays of 16 bytes and more lie in files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LARGE_BYTES", 16)
        patch.setattr(room, "MEMORY_BYTES", 0)
        return build_plan(open_trace(trace), order=order)


STEP = st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.sampled_from(["use", "map", "stat", "rename", "fork"]))


def trace_of(steps: list[tuple[int, str, str]], folder: Path) -> Path:
    """A trace of threads and their children that read, write, map, look at and rename three files."""
    trace = TraceBuilder(step_ns=700)
    threads = [0, trace.thread(), trace.process()]
    held = trace.open("shared", os.O_RDWR, size=1 << 20)
    for number, name, what in steps:
        thread = threads[number % len(threads)]
        if what == "fork":
            threads.append(trace.fork(thread))
        elif what == "stat":
            trace.named("newfstatat", name, thread=thread)
        elif what == "rename":
            trace.named("rename", name, f"{name}2", thread=thread, seen=False)
        else:
            opened = trace.open(name, os.O_RDWR | os.O_CREAT, size=8192, thread=thread)
            if what == "map":
                on = {"address": 1 << 40, "thread": thread}
                trace.on("mmap", opened, name, offset=0, size=8192, mode=1, flags=1, **on)
                trace.call("mmap.fault", file=trace.file(name), offset=4096, size=4096, result=None, **on)
                trace.call("munmap", size=8192, **on)
            trace.write(opened, name, 0, 4096, thread=thread)
            trace.read(held, "shared", 4096 * number, 4096, thread=thread)
            trace.close(opened, name, thread=thread)
    return trace.save(folder / "T.iotrace")


@settings(max_examples=20, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=40), st.sampled_from(["file", "thread"]))
def test_a_plan_is_the_same_in_files_as_in_memory(steps: list[tuple[int, str, str]], order: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trace = trace_of(steps, Path(folder))
        there, here = plan_in_files(trace, order), build_plan(open_trace(trace), order=order)
        assert there.folder == tempfile.gettempdir()
        assert here.folder is None
        assert in_file(there.rows.event)
        assert in_file(there.rows.due_ns)
        assert not in_file(here.rows.event)
        assert there.hash == here.hash
        assert (there.recorded["size"] == here.recorded["size"]).all()


@pytest.mark.parametrize("name", ["relion-polishing", "relion-class-2d"])
def test_the_plan_of_a_recording_is_the_same_in_files_as_in_memory(name: str) -> None:
    trace = TRACES / f"{name}.iotrace"
    assert plan_in_files(trace).hash == build_plan(open_trace(trace)).hash


@pytest.mark.parametrize("room_for", [1, 3, 100])
def test_a_column_of_ids_grows_where_a_trace_goes_on(room_for: int) -> None:
    column = Column(np.int32, room_for)
    assert len(column.values(0)) == 0
    column.put(2, np.array([5, 6], np.int32))
    column.put(7, np.array([8], np.int32))
    assert column.values(9).tolist() == [NO_ID, NO_ID, 5, 6, NO_ID, NO_ID, NO_ID, 8, NO_ID]


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_pieces_come_out_as_one_column_in_their_order(lengths: list[int], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "BLOCK", block)
        patch.setattr(pieces, "_FIRST", 1)
        collected, expected = Pieces(), np.arange(sum(lengths))
        for part in np.split(expected, np.cumsum(lengths)):
            collected.add(part)
        assert len(collected) == len(expected)
        assert collected.whole().tolist() == expected.tolist()
        assert len(collected) == 0

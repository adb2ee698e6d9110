"""Which rows ride on a ring and what they wait for: whatever may be in flight together could have run in any order."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from builders import TraceBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.replay.plan import build_plan
from iotrace.replay.rides import OVERTAKEN, Rides, rides_of
from iotrace.replay.rows import Plan
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.reader import open_trace


def rides_and_plan(trace: TraceBuilder, depth: int = 4, **options: bool) -> tuple[Plan, Rides]:
    with tempfile.TemporaryDirectory() as folder:
        plan = build_plan(open_trace(trace.save(Path(folder) / "T.iotrace")), rides=True)
        rides = rides_of(plan, **({"all_rows": True, "depth": depth} | options))  # type: ignore[arg-type]
    assert rides is not None
    return plan, rides


def rows_of(plan: Plan, *names: str) -> list[int]:
    """Rows of these operations, in order."""
    return [row for row, op in enumerate(plan.rows.op.tolist()) if op >= 0 and OPERATIONS[op].name in names]


DATA = st.lists(
    st.tuples(st.sampled_from(["pread64", "pwrite64", "fsync"]), st.integers(0, 1), st.integers(0, 40),
              st.integers(1, 10)),
    min_size=2, max_size=60,
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(DATA, st.sampled_from([2, 8]))
def test_rows_in_flight_together_do_not_conflict(steps: list[tuple[str, int, int, int]], depth: int) -> None:
    trace = TraceBuilder()
    names, sizes = ["a", "b"], [20, 0]
    opens = [trace.open(name, os.O_RDWR, size=size) for name, size in zip(names, sizes, strict=True)]
    # what each step depends on and changes: bytes, the end of a file as a byte of its own
    uses: list[tuple[set[int], set[int]]] = []
    for what, k, offset, size in steps:
        there = sizes[k]
        whole = {1000 * k + byte for byte in range(100)}
        if what == "fsync":
            trace.on("fsync", opens[k], names[k])
            uses.append((whole, whole))
            continue
        asked = {1000 * k + byte for byte in range(offset, offset + size)}
        if what == "pread64":
            got = max(0, min(size, there - offset))
            trace.read(opens[k], names[k], offset, size, got, op="pread64")
            uses.append((asked if got == size else {1000 * k + byte for byte in range(offset, 100)}, set()))
        else:
            trace.write(opens[k], names[k], offset, size, op="pwrite64")
            grown = {1000 * k + byte for byte in range(min(there, offset), offset + size)}
            uses.append((set(), asked | (grown if offset + size > there else set())))
            sizes[k] = max(there, offset + size)
    plan, rides = rides_and_plan(trace, depth)
    rows = rows_of(plan, "pread64", "pwrite64", "fsync")
    assert len(rows) == len(steps)
    assert set(rides.room[rows]) == {depth - 1}
    for later in range(len(rows)):
        for earlier in range(later):
            if rides.behind[rows[later]] >= rows[earlier]:
                continue
            reads, writes = uses[later]
            reads_before, writes_before = uses[earlier]
            assert not (writes & reads_before)
            assert not (reads & writes_before)
            # two writes may both reach over the hole between them: they conflict in the bytes asked for
            if writes and writes_before:
                (_, k, offset, size), (_, k2, offset2, size2) = steps[later], steps[earlier]
                assert k != k2 or offset >= offset2 + size2 or offset2 >= offset + size


def test_rows_that_do_not_ride_wait_for_all_before_them() -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=10_000)
    for turn in range(3):
        trace.read(file, "x", turn * 100, 100, op="pread64")
    trace.named("stat", "y")
    trace.close(file, "x")
    plan, rides = rides_and_plan(trace)
    reads, stat = rows_of(plan, "pread64"), rows_of(plan, "stat")[0]
    assert rides.behind[stat] == reads[-1]
    assert rides.opcode[[stat, *rows_of(plan, "openat", "close")]].tolist() == [0, 0, 0]
    assert rides.behind[reads].tolist() == [-1, -1, -1]


def test_no_row_is_overtaken_by_very_many() -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=1 << 20)
    for turn in range(OVERTAKEN + 50):
        trace.read(file, "x", turn, 1, op="pread64")
    plan, rides = rides_and_plan(trace)
    last = rows_of(plan, "pread64")[-1]
    assert rides.behind[last] == last - OVERTAKEN - 1


@pytest.mark.parametrize(
    ("depth", "offsets", "positions"), [(1, [-1, -1, 500], [-1, -1, -1]), (4, [0, 100, 500], [-1, 200, -1])]
)
def test_a_shared_position_is_moved_or_set_before_it_is_used(
    depth: int, offsets: list[int], positions: list[int]
) -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=10_000)
    trace.read(file, "x", 0, 100)
    trace.read(file, "x", 100, 100)
    trace.read(file, "x", 500, 100, op="pread64")
    trace.on("lseek", file, "x", offset=0, flags=os.SEEK_CUR, result=200)
    trace.close(file, "x")
    plan, rides = rides_and_plan(trace, depth)
    rows = rows_of(plan, "read", "pread64")
    assert rides.offset[rows].tolist() == offsets
    assert rides.reposition[rows].tolist() == positions


def test_requests_have_the_room_and_the_submissions_they_had() -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=1 << 20)
    # four submitted together, the fifth when the first had completed, the sixth after all
    for number, (start, end) in enumerate([(0, 50), (1, 90), (2, 80), (3, 85), (60, 70), (100, 110)]):
        trace.on(
            "uring.read", file, "x", offset=number * 4096, size=4096, result=4096, ring=0, batch=min(number // 4, 1) +
            number // 5, at=1000 + start, duration=end - start,
        )  # fmt: skip
    plan, rides = rides_and_plan(trace, all_rows=False)
    rows = rows_of(plan, "uring.read")
    assert rides.room[rows].tolist() == [0, 1, 2, 3, 3, 0]
    assert (rides.together[rows] == 1).tolist() == [False, False, False, True, True, True]
    assert rides.depth.tolist() == [4]
    # the sixth was asked for 10 after the last completion, not 40 after the submission before
    gap = (plan.rows.busy_ns + plan.rows.idle_ns)[rows]
    assert gap[-1] == 10


def test_files_that_refuse_to_wait_do_not_ride() -> None:
    trace = TraceBuilder()
    one = trace.open("x", os.O_RDONLY | os.O_NONBLOCK, size=100)
    two = trace.open("x")
    trace.read(one, "x", 0, 10)
    trace.read(two, "x", 0, 10)
    plan, rides = rides_and_plan(trace)
    assert (rides.opcode[rows_of(plan, "read")] > 0).tolist() == [False, True]


def test_only_files_of_one_lane_that_are_closed_are_registered() -> None:
    trace = TraceBuilder()
    other = trace.thread()
    files = [trace.open(name, size=100) for name in ("mine", "shared", "left")]
    for file, name in zip(files, ("mine", "shared", "left"), strict=True):
        trace.read(file, name, 0, 10, op="pread64")
    trace.read(files[1], "shared", 0, 10, op="pread64", thread=other)
    trace.close(files[0], "mine")
    trace.close(files[1], "shared")
    plan, rides = rides_and_plan(trace, fixed=True)
    mine, shared, left = plan.rows.arguments[rows_of(plan, "pread64")[:3], 0]
    assert rides.place_of_slot[[mine, shared, left]].tolist() == [0, -1, -1]
    assert np.sort(rides.files).tolist() == [0, 1]

"""What was asked of io_uring and libaio in a plan: the calls that stand for it, and the gaps around it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from builders import TraceBuilder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iotrace.replay.columns import CALL_OF, Events, load_tables
from iotrace.replay.plan import build_plan
from iotrace.replay.rows import Rows
from iotrace.replay.schedule import UNKNOWN_CPU_NS
from iotrace.trace.operations import CALL_OF_REQUEST, NUMBER_OF, OPERATIONS
from iotrace.trace.reader import open_trace


def names(op: object) -> list[str]:
    return [OPERATIONS[number].name for number in np.asarray(op).tolist()]


def test_requests_stand_as_calls_that_do_the_same(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x", os.O_RDWR, size=100_000)
    trace.on("uring.fsync", file, "x", flags=1)
    trace.on("uring.fsync", file, "x", flags=0)
    trace.on("aio.fsync", file, "x")
    trace.on("uring.fallocate", file, "x", mode=1, offset=0, size=4096)
    trace.read(file, "x", 0, 10, op="aio.read")
    events = load_tables(open_trace(trace.save(tmp_path / "T.iotrace"))).events
    assert names(events.op) == ["openat", "fdatasync", "fsync", "fsync", "fallocate", "pread64"]
    assert names(events.asked)[1:] == ["uring.fsync", "uring.fsync", "aio.fsync", "uring.fallocate", "aio.read"]
    assert events.asynchronous.tolist() == [False] + [True] * 5
    for _ in range(2):
        assert events.flags.tolist()[4] == 1
        events.release("flags")


def test_every_request_with_a_call_has_that_call_and_calls_stand_for_themselves() -> None:
    expected = {name: CALL_OF_REQUEST.get(name, name) for name in NUMBER_OF}
    assert {name: OPERATIONS[CALL_OF[number]].name for name, number in NUMBER_OF.items()} == expected
    assert CALL_OF[-1] == -1


def test_a_trace_without_requests_has_no_columns_of_them(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.close(trace.open("x"), "x")
    events = load_tables(open_trace(trace.save(tmp_path / "T.iotrace"))).events
    assert events.asked is events.op
    assert events.asynchronous.strides == events.ring.strides == events.batch.strides == (0,)


def test_a_changed_column_outlives_a_release() -> None:
    events = Events(3, lambda name: np.zeros(3, np.int64))
    events.change("size", np.arange(3))
    events.release("size", "offset")
    assert events.size.tolist() == [0, 1, 2]
    assert events.offset.tolist() == [0, 0, 0]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["pread64", "uring.read"]),
        st.integers(0, 1), st.integers(0, 300_000), st.integers(0, 500_000), st.none() | st.integers(0, 300_000),
        st.booleans(),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


def expected_gaps(events: Events, rows: Rows) -> list[tuple[int, int]]:
    """Busy and idle ns of the rows that are calls, by the definition, event for event."""
    gaps = {}
    kept = set(rows.event[rows.event >= 0].tolist())
    origin = min(int(events.time_ns[event]) for event in kept)
    for thread in set(events.thread.tolist()):
        mine = np.flatnonzero(events.thread == thread)
        mine = mine[np.argsort(events.time_ns[mine], kind="stable")].tolist()
        issued, busy, before = 0, 0, -1
        for place, event in enumerate(mine):
            start = int(events.time_ns[event])
            done = [int(events.end_ns[one]) for one in mine[:place] if events.asynchronous[one]]
            completed = max((end for end in done if end <= start), default=-(1 << 62))
            if place:
                free = max(start - max(issued, completed), 0)
                off = int(events.off_cpu_ns[event])
                work = min(free, UNKNOWN_CPU_NS) if off < 0 else min(max(start - issued - off, 0), free)
                busy += work
            # a request is given away at once
            issued = start if events.asynchronous[event] else int(events.end_ns[event])
            if event in kept:
                since = max(before, completed) if before >= 0 else origin
                whole = max(start - since, 0)
                burnt = min(busy, whole) if before >= 0 else 0
                gaps[event] = burnt, whole - burnt
                busy, before = 0, issued
    return [gaps[event] for event in rows.event.tolist() if event >= 0]


@settings(max_examples=60, deadline=None)
@given(STEPS)
# between two calls that are replayed one that is not, soon after a completion: what it worked is no more than that
@example(
    [
        ("uring.read", 0, 0, 90_000, None, True),
        ("pread64", 0, 95_000, 10, 0, False),
        ("pread64", 0, 200_000, 10, 200_000, True),
    ]
)
# a thread that has nothing to do until a completion, and only then works
@example(
    [("uring.read", 0, 0, 90_000, None, True), ("pread64", 0, 50_000, 10, 0, True), ("pread64", 0, 60_000, 10, 0, True)]
)
def test_gaps_count_from_the_last_completion(
    steps: list[tuple[str, int, int, int, int | None, bool]],
) -> None:  # fmt: skip
    trace = TraceBuilder()
    threads = [0, trace.thread()]
    file = trace.open("x", size=1 << 20, at=0, duration=0)
    # both threads live from the start: none waits for the other's end
    trace.named("stat", "x", at=0, duration=0, thread=threads[1])
    elsewhere = trace.open("/usr/lib/other", size=1 << 20, at=0, duration=0, thread=threads[1])
    at = [1, 1]
    for op, k, gap, duration, off, here in steps:
        at[k] += gap
        options = {"thread": threads[k], "at": at[k], "duration": duration, "off_cpu_ns": off}
        if here:
            trace.read(file, "x", 0, 10, op=op, **options)
        else:
            # not replayed: a part of the gap
            trace.read(elsewhere, "/usr/lib/other", 0, 10, op=op, **options)
        at[k] += duration if op == "pread64" else 0
    with tempfile.TemporaryDirectory() as folder:
        saved = open_trace(trace.save(Path(folder) / "T.iotrace"))
        rows, events = build_plan(saved).rows, load_tables(saved).events
        found = [
            (int(busy), int(idle))
            for busy, idle, event in zip(rows.busy_ns, rows.idle_ns, rows.event, strict=True)
            if event >= 0
        ]
        assert found == expected_gaps(events, rows)

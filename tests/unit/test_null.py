"""Plans without their I/O: the longest way, issue errors, open times, and when the generator is the limit."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from builders import TraceBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.replay.figures import IssueError, NullFigures, Spread
from iotrace.replay.issue import drift_us, issue_error, lateness
from iotrace.replay.kernels.words import NOT_RUN, NULL_CALL
from iotrace.replay.lifetimes import open_times
from iotrace.replay.null import longest_way, null_plan
from iotrace.replay.options import Options
from iotrace.replay.plan import build_plan
from iotrace.replay.result import MountInfo, Run
from iotrace.replay.rows import BEGIN, END, ORDER, PLAIN, Plan
from iotrace.replay.times import limit_of
from iotrace.trace.reader import open_trace


def rows_of(gaps: list[list[tuple[int, int]]], waits: list[tuple[int, int]] = ()) -> Any:  # type: ignore[assignment]
    """What longest_way looks at of a plan: (busy, idle) of each row of each lane, and waits (row, awaited row)."""
    flat = [gap for lane in gaps for gap in lane]
    n = len(flat)
    busy, idle = (np.array([gap[k] for gap in flat], np.int64) for k in (0, 1))
    begin = np.zeros(n + 1, np.int64)
    for row, _ in waits:
        begin[row + 1] += 1
    due = np.concatenate([np.cumsum([sum(gap) for gap in lane]) for lane in gaps if lane] or [busy]).astype(np.int64)
    rows = SimpleNamespace(
        special=np.full(n, PLAIN, np.uint8), busy_ns=busy, idle_ns=idle, due_ns=due, wait_begin=np.cumsum(begin),
        wait_row=np.array([awaited for _, awaited in sorted(waits)], np.int64),
    )  # fmt: skip
    lane_begin = np.cumsum([0, *(len(lane) for lane in gaps)])
    return SimpleNamespace(rows=rows, lane_begin=lane_begin, lanes=len(gaps))


GAP = st.tuples(st.integers(0, 1000), st.integers(0, 1000))
LANES = st.lists(st.lists(GAP, max_size=6), min_size=1, max_size=5)


@settings(deadline=None)  # the first call compiles
@given(LANES)
def test_without_waits_the_longest_way_is_the_longest_lane(gaps: list[list[tuple[int, int]]]) -> None:
    plan = rows_of(gaps)
    longest = max(sum(map(sum, lane)) for lane in gaps)
    assert longest_way(plan, "think") == longest
    assert longest_way(plan, "original") == longest
    assert longest_way(plan, "asap") == 0
    assert longest_way(plan, "think", 0.5) == 2 * longest
    n = sum(map(len, gaps))
    late = longest_way(plan, "think", late_ns=np.full(n, 7))
    assert late == max(sum(map(sum, lane)) + 7 * len(lane) for lane in gaps)


@settings(deadline=None)
@given(LANES, st.data())
def test_with_waits_no_row_begins_before_those_that_it_waits_for(
    gaps: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    n = sum(map(len, gaps))
    lane = np.repeat(np.arange(len(gaps)), [len(one) for one in gaps])
    # an order in which all rows could run: waits point back in it, so there is no circle
    left, order = [list(np.flatnonzero(lane == k)) for k in range(len(gaps))], []
    while any(left):
        chosen = data.draw(st.sampled_from([k for k, rows in enumerate(left) if rows]))
        order.append(int(left[chosen].pop(0)))
    waits = []
    for at, row in enumerate(order):
        for awaited in data.draw(st.lists(st.sampled_from(order[:at]), unique=True, max_size=3)) if at else []:
            if lane[awaited] != lane[row]:
                waits.append((row, awaited))
    flat = [sum(gap) for one in gaps for gap in one]
    ended = np.zeros(n, np.int64)
    for row in order:
        before = row > 0 and lane[row - 1] == lane[row]
        ended[row] = (ended[row - 1] if before else 0) + flat[row]
        ended[row] = max([ended[row], *(ended[b] for a, b in waits if a == row)])
    assert longest_way(rows_of(gaps, waits), "think") == ended.max(initial=0)


def test_rows_that_wait_for_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="wait for each other"):
        longest_way(rows_of([[(1, 1)], [(1, 1)]], [(0, 1), (1, 0)]), "think")


def small_plan(tmp_path: Path, calls: int = 10) -> Plan:
    """A plan of one thread that opens, reads and closes a file, a call each 10 µs that takes 1 µs."""
    trace = TraceBuilder()
    one = trace.open("a.tif", size=4096 * calls)
    for k in range(calls):
        trace.read(one, "a.tif", 4096 * k, 4096)
    trace.close(one, "a.tif")
    trace.open("never.star", os.O_RDONLY, size=1)
    return build_plan(open_trace(trace.save(tmp_path / "T.iotrace")))


def test_a_null_plan_issues_nothing_and_keeps_waits_gaps_and_results(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    null = null_plan(plan)
    assert set(null.rows.forms.number.tolist()) == {NULL_CALL}
    assert set(null.rows.special.tolist()) == {PLAIN, ORDER}
    assert (null.inherited, null.hash) == ([], plan.hash)
    for name in ("busy_ns", "idle_ns", "due_ns", "wait_begin", "wait_row", "expect", "awaited", "values"):
        assert getattr(null.rows, name) is getattr(plan.rows, name)
    assert set(plan.rows.special.tolist()) > {BEGIN, END}


@pytest.mark.parametrize("late_ns", [0, 7000])
def test_errors_of_issue_times_are_those_that_were_put_in(tmp_path: Path, late_ns: int) -> None:
    plan = small_plan(tmp_path)
    calls = np.flatnonzero(plan.rows.op >= 0)
    started, took = np.zeros(len(plan.rows), np.int64), np.zeros(len(plan.rows), np.int64)
    result = np.full(len(plan.rows), NOT_RUN, np.int64)
    result[calls], took[calls] = 0, 1000
    started[calls] = 10**12 + plan.rows.due_ns[calls] + late_ns
    late = lateness(plan, started, took, result, 10**12, "original", 1.0)
    assert late is not None
    error = issue_error([late])
    assert error.error.max_us == late_ns / 1000
    # the first call follows nothing
    assert (error.error.count, error.held.count, error.drift_us) == (len(calls) - 1, 0, 0.0)
    late = lateness(plan, started, took, result, 10**12, "think", 1.0)
    assert late is not None
    assert issue_error([late]).error.max_us == 0
    assert lateness(plan, started, took, result, 10**12, "asap", 1.0) is None


def test_a_call_whose_thread_was_still_busy_is_held_and_no_error_of_the_generator(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    calls = np.flatnonzero(plan.rows.op >= 0)
    started, took = np.zeros(len(plan.rows), np.int64), np.zeros(len(plan.rows), np.int64)
    started[calls], took[calls] = 10**12 + plan.rows.due_ns[calls], 1000
    took[calls[2]] = 15_000  # the call after it was due after 10 µs
    started[calls[3]] = started[calls[2]] + 15_000
    result = np.where(started > 0, 0, NOT_RUN)
    late = lateness(plan, started, took, result, 10**12, "original", 1.0)
    assert late is not None
    error = issue_error([late])
    assert (error.held.count, error.held.max_us, error.error.max_us) == (1, 5.0, 0.0)


def test_drift_is_what_is_added_from_the_first_tenth_to_the_last() -> None:
    due = np.arange(1000)[::-1]
    assert drift_us(due, 2000 * due // 1000) == pytest.approx(1.8, abs=0.01)
    assert drift_us(due, np.full(1000, 5)) == 0
    assert drift_us(due[:0], due[:0]) == 0


def test_open_times_are_from_open_to_close_and_by_extension(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    calls = np.flatnonzero(plan.rows.op >= 0)
    started, took = np.zeros(len(plan.rows), np.int64), np.zeros(len(plan.rows), np.int64)
    started[calls], took[calls] = 10**12 + 2 * plan.rows.due_ns[calls], 1000
    ran: Any = SimpleNamespace(started=started, took=took, result=np.where(started > 0, 0, NOT_RUN))
    times = open_times([(plan, ran)])
    assert times is not None
    assert (times.replayed.count, times.recorded.count, times.never_closed) == (1, 1, 1)
    assert times.recorded.max_us == 11 * 10 + 1
    assert times.replayed.max_us == 2 * 11 * 10 + 1
    assert times.by_extension == {".tif": times.replayed}
    twice = open_times([(plan, ran), (plan, ran)])
    assert twice is not None
    assert (twice.replayed.count, twice.recorded.count, twice.never_closed) == (2, 2, 2)
    ran.result = np.full(len(plan.rows), NOT_RUN)
    assert open_times([(plan, ran)]) is None


def run_of(wall_s: float, added_s: float = 0.0, lost_s: float = 0.0, p99_us: float = 0.0, cpu_s: float = 0.0) -> Run:
    return Run(
        run=0, round=0, fs="/a", mount=MountInfo(), started_utc="", ops=100, wall_s=wall_s, added_s=added_s,
        added_least_s=added_s - lost_s, cpu_s=cpu_s,
        issue_error=IssueError(Spread(100, 0.0, p99_us, p99_us), 0.0, Spread()),
    )  # fmt: skip


NULL = NullFigures(makespan_s=1.0, source="modelled", generator_s=1.0, generator_ops_per_s=100.0, generator_cpu_us=1e4)


@pytest.mark.parametrize(
    ("timing", "run", "words"),
    [
        ("asap", run_of(1.9), "53% of the 1.90 s measured"),
        ("asap", run_of(2.1), ""),
        ("think", run_of(2.0, 1.0, lost_s=0.6), "of the 1.00 s that the storage seems to add, 600 ms are"),
        ("think", run_of(2.0, 1.0, lost_s=0.4), ""),
        ("think", run_of(2.0, 0.001, lost_s=0.001), ""),
        ("original", run_of(2.0, 1.0, p99_us=1500), "1.50 ms late (p99) although their threads were free"),
        ("original", run_of(2.0, 1.0, p99_us=500), ""),
        ("think", run_of(2.0, 1.0, cpu_s=1e6), "waited for CPUs"),
    ],
)
def test_the_generator_is_said_to_be_the_limit_only_when_it_was(timing: str, run: Run, words: str) -> None:
    said = limit_of(run, NULL, Options(timing=timing), lanes=4096, cpus=len(os.sched_getaffinity(0)))
    assert words in said
    assert bool(said) == bool(words)
    assert not said or said.startswith("The generator, not the storage, ")
    assert not said or " the limit of run 1: " in said

"""When each row of a plan runs: on which lane, after which gap, and after which rows of other lanes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.errors import ReplayError
from iotrace.replay.columns import NONE, Flags, Ids, Ints, Tables, chunks
from iotrace.replay.layout import CALL, Layout, gaps_of
from iotrace.replay.mapping import Mapping
from iotrace.replay.memory import Mappings
from iotrace.replay.order import Spans, edges_by_file, edges_of_forks, edges_of_waits, spans_of
from iotrace.replay.rows import LANES_MAX, Rows
from iotrace.replay.scans import lives_of, rows_of
from iotrace.replay.select import Reason, Selection, _table
from iotrace.replay.sweeps import reduce_edges
from iotrace.trace.operations import NUMBER_OF

_FORK: Final = _table(("fork",))
UNKNOWN_CPU_NS: Final = 100_000
"""Of a gap whose CPU time was not recorded, so much is burnt and the rest slept: short gaps are mostly work."""


@dataclass(slots=True)
class Lanes:
    """Lanes of threads; arrays of shape (threads,).

    Attributes
    ----------
    count: lanes in all.
    of_thread: lane of each thread, int32, -1 for those that do nothing.
    rank: position of each thread when sorted by lane and begin.
    previous_end: end (ns) of the thread before it on its lane, -1 for the first.
    """

    count: int
    of_thread: Ids
    rank: Ints
    previous_end: Ints


def assign_lanes(tables: Tables, kept: Flags) -> Lanes:
    """Lanes for the threads of the kept events: a lane takes a thread when the one before it has ended.

    Raises
    ------
    ReplayError: more threads at a time than a replay can run.
    """
    events = tables.events
    far = np.iinfo(np.int64).max
    begin = np.full(tables.threads, far, np.int64)
    end = np.full(tables.threads, -far, np.int64)
    lives_of(kept, events.thread, events.time_ns, events.duration_ns, begin, end)
    events.release("duration_ns")
    of_thread = np.full(tables.threads, -1, np.int32)
    previous_end = np.full(tables.threads, -1, np.int64)
    free: list[tuple[int, int]] = []
    count = 0
    for thread in np.argsort(begin, kind="stable").tolist():
        if begin[thread] == far:
            break
        if free and free[0][0] < begin[thread]:
            before, lane = heapq.heappop(free)
            previous_end[thread] = before
        else:
            lane, count = count, count + 1
        of_thread[thread] = lane
        heapq.heappush(free, (int(end[thread]), lane))
    if count > LANES_MAX:
        raise ReplayError(
            f"the trace has {count} threads at a time, a replay can run {LANES_MAX}: replay a part of it (--map)."
        )
    rank = np.lexsort((begin, of_thread))
    rank_of = np.empty(tables.threads, np.int64)
    rank_of[rank] = np.arange(tables.threads)
    return Lanes(count, of_thread, rank_of, previous_end)


def set_gaps(rows: Rows, layout: Layout, tables: Tables, selection: Selection, lanes: Lanes) -> None:
    """Gaps between a thread's calls: what was CPU time to burn, the rest to sleep.

    Calls that are not replayed are part of a gap: their own time is slept. So is that of forks and execs: a replay does
    neither. To give a request to io_uring or libaio takes no time; a gap begins with the last completion of one that a
    thread without anything else to do waited for.
    """
    events = tables.events
    time_ns = events.time_ns
    origin = min(int(time_ns[rows.event[at]].min()) for at in _calls(layout.part, rows.event))
    begun = np.full(tables.threads, NONE, np.int64)
    forks = rows_of(_FORK, events.op)
    forks = forks[(selection.reason[forks] == Reason.KEPT) & (events.child[forks] >= 0)]
    begun[events.child[forks]] = time_ns[forks]
    begun = np.where(begun != NONE, begun, np.where(lanes.previous_end != -1, lanes.previous_end, origin))
    rows.busy_ns, rows.idle_ns, rows.due_ns = (np.zeros(len(rows), np.int64) for _ in range(3))
    not_done = np.isin(events.op, (NUMBER_OF["fork"], NUMBER_OF["exec"]))
    # where nothing was a request there is no column of them
    requests = events.asynchronous if events.asynchronous.strides[0] else np.zeros(0, np.bool_)
    gaps_of(
        layout.order, layout.order_begin, rows.event, layout.part, rows.thread_begin, begun[layout.threads], time_ns,
        np.ascontiguousarray(events.duration_ns), np.ascontiguousarray(events.off_cpu_ns), not_done, requests, origin,
        UNKNOWN_CPU_NS,
        rows.busy_ns, rows.idle_ns, rows.due_ns,
    )  # fmt: skip
    events.release("time_ns", "duration_ns", "off_cpu_ns")


def _calls(part: npt.NDArray[np.uint8], event: Ids) -> Iterator[Ints]:
    """Rows that are calls, some at a time; chunks that have none are left out."""
    for rows in chunks(len(event)):
        at = np.flatnonzero(part[rows] == CALL) + rows.start
        if len(at):
            yield at


def set_waits(
    rows: Rows, part: npt.NDArray[np.uint8], tables: Tables, mapping: Mapping, selection: Selection, memory: Mappings,
    lanes: Lanes, implicit: Flags, order: str,
) -> None:  # fmt: skip
    """Which rows of other lanes each row waits for; see iotrace.replay.order."""
    main = np.flatnonzero(part == CALL).astype(np.int32)
    event, n = rows.event[main], len(rows)
    count = tables.threads
    begin_of, end_of = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    begin_of[rows.thread_number] = rows.thread_begin
    end_of[rows.thread_number] = np.append(rows.thread_begin[1:], n) - 1
    # among the calls alone, each thread's stand one behind another as well
    of_call = np.searchsorted(main, np.append(rows.thread_begin, n))
    first_of, last_of = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    first_of[rows.thread_number], last_of[rows.thread_number] = of_call[:-1], of_call[1:] - 1
    thread = np.repeat(rows.thread_number, np.diff(of_call))
    spans: Spans = spans_of(tables, event, thread)
    edges: list[tuple[Ints, Ints]] = []
    forks, children = edges_of_forks(tables, event, spans, begin_of, first_of)
    edges.append((main[forks].astype(np.int64), children))
    if order == "file":
        before, after = edges_by_file(tables, mapping, selection, memory, event, spans, implicit)
        edges.append((main[before].astype(np.int64), main[after].astype(np.int64)))
        process_of = np.full(count, -1, np.int32)
        process_of[thread] = tables.events.process[event]
        before, after = edges_of_waits(tables, event, spans, end_of, last_of, process_of)
        edges.append((before, main[after].astype(np.int64)))
    before = np.concatenate([edge[0] for edge in edges])
    after = np.concatenate([edge[1] for edge in edges])
    # the latest wait on a lane stands for the earlier ones: it comes first
    key = np.sort(after * n + (n - 1 - before))
    after, before = key // n, n - 1 - key % n
    if len(before):
        thread_lane = lanes.of_thread[rows.thread_number].astype(np.int64)
        lane = np.repeat(thread_lane, np.diff(np.append(rows.thread_begin, n)))
        needed = reduce_edges(before, after, lane, lanes.count)
        before, after = before[needed], after[needed]
    rows.wait_begin = np.zeros(n + 1, np.int32 if len(after) < 1 << 31 else np.int64)
    waiting, how_many = np.unique(after, return_counts=True)
    rows.wait_begin[waiting + 1] = how_many
    np.cumsum(rows.wait_begin, out=rows.wait_begin)
    rows.wait_row = before
    rows.awaited = np.zeros(n, np.bool_)
    rows.awaited[before] = True

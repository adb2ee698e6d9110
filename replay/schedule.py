"""When each row of a plan runs: on which lane, after which gap, and after which rows of other lanes."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np

from iotrace.errors import ReplayError
from iotrace.replay.columns import NONE, Flags, Ids, Ints, Tables
from iotrace.replay.mapping import Mapping
from iotrace.replay.memory import Mappings
from iotrace.replay.order import Spans, edges_by_file, edges_of_forks, edges_of_waits, spans_of
from iotrace.replay.rows import BEGIN, END, LANES_MAX, Rows
from iotrace.replay.select import Selection
from iotrace.replay.sweeps import reduce_edges
from iotrace.trace.operations import NUMBER_OF

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


def assign_lanes(tables: Tables, main: Ints) -> Lanes:
    """Lanes for the threads of the events `main`: a lane takes a thread when the one before it has ended.

    Raises
    ------
    ReplayError: more threads at a time than a replay can run.
    """
    events = tables.events
    far = np.iinfo(np.int64).max
    begin = np.full(tables.threads, far, np.int64)
    end = np.full(tables.threads, -far, np.int64)
    np.minimum.at(begin, events.thread[main], events.time_ns[main])
    np.maximum.at(end, events.thread[main], events.end_ns[main])
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


def set_gaps(rows: Rows, is_main: Flags, tables: Tables, selection: Selection, lanes: Lanes) -> None:
    """Gaps between a thread's calls: what was CPU time to burn, the rest to sleep."""
    events = tables.events
    order = np.lexsort((np.arange(len(events)), events.time_ns, events.thread))
    thread, start, end = events.thread[order], events.time_ns[order], events.end_ns[order]
    first = np.r_[True, thread[1:] != thread[:-1]] if len(order) else np.zeros(0, np.bool_)
    requests = events.asynchronous[order]
    completed = np.full(len(order), -(1 << 62), np.int64)
    if requests.any():
        # a submission takes no time; a thread that had nothing to do waited for completions
        completed = _last_completion(thread, start, end, requests)
        end = np.where(requests, start, end)
    gap = np.maximum(start - np.maximum(np.r_[0, end[:-1]], completed), 0)
    gap[first] = 0
    off = events.off_cpu_ns[order]
    between = np.maximum(start - np.r_[0, end[:-1]], 0)
    busy = np.where(off < 0, np.minimum(gap, UNKNOWN_CPU_NS), np.clip(between - off, 0, gap))
    spent = np.cumsum(busy.astype(np.float64)).astype(np.int64)
    place = np.empty(len(events), np.int64)
    place[order] = np.arange(len(events))
    at = np.flatnonzero(is_main)
    p = place[rows.event[at]]
    same = np.r_[False, rows.thread[at][1:] == rows.thread[at][:-1]]
    before = np.r_[0, p[:-1]]
    origin = int(events.time_ns[rows.event[at]].min())
    begun = np.full(tables.threads, NONE, np.int64)
    forks = np.flatnonzero(selection.kept & (events.op == NUMBER_OF["fork"]) & (events.child >= 0))
    begun[events.child[forks]] = events.time_ns[forks]
    begun = np.where(begun != NONE, begun, np.where(lanes.previous_end != -1, lanes.previous_end, origin))
    since = np.where(same, np.maximum(end[before], completed[p]), begun[rows.thread[at]])
    whole = np.maximum(start[p] - since, 0)
    busy = np.where(same, spent[p] - spent[before], 0)
    rows.busy_ns[at] = np.clip(busy, 0, whole)
    rows.idle_ns[at] = whole - rows.busy_ns[at]
    rows.due_ns[at] = start[p] - origin


def _last_completion(thread: Ids, start: Ints, end: Ints, requests: Flags) -> Ints:
    """Last completion of a request of the same thread before each start; arrays sorted by thread and start."""
    last = np.full(len(start), -(1 << 62), np.int64)
    for one in np.unique(thread[requests]).tolist():
        low, high = np.searchsorted(thread, one), np.searchsorted(thread, one, side="right")
        ends = np.sort(end[low:high][requests[low:high]])
        place = np.searchsorted(ends, start[low:high], side="right")
        last[low:high] = np.where(place > 0, ends[place - 1], last[low:high])
    return last


def set_waits(
    rows: Rows, is_main: Flags, tables: Tables, mapping: Mapping, selection: Selection, memory: Mappings, lanes: Lanes,
    implicit: Flags, order: str,
) -> None:  # fmt: skip
    """Which rows of other lanes each row waits for; see iotrace.replay.order."""
    main = np.flatnonzero(is_main).astype(np.int64)
    event = rows.event[main]
    spans: Spans = spans_of(tables, event, rows.thread[main])
    count = tables.threads
    edges: list[tuple[Ints, Ints]] = []
    begin_of, end_of = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    begins, ends = np.flatnonzero(rows.special == BEGIN), np.flatnonzero(rows.special == END)
    begin_of[rows.thread[begins]], end_of[rows.thread[ends]] = begins, ends
    changes = np.flatnonzero(np.r_[True, rows.thread[main][1:] != rows.thread[main][:-1]])
    first_of, last_of = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    first_of[rows.thread[main][changes]] = changes
    last_of[rows.thread[main][changes]] = np.r_[changes[1:], len(main)] - 1
    forks, children = edges_of_forks(tables, event, spans, begin_of, first_of)
    edges.append((main[forks], children))
    if order == "file":
        before, after = edges_by_file(
            tables,
            mapping,
            selection,
            memory.slot,
            event,
            spans,
            implicit,
        )
        edges.append((main[before], main[after]))
        process_of = np.full(count, -1, np.int32)
        process_of[tables.events.thread[event]] = tables.events.process[event]
        before, after = edges_of_waits(tables, event, spans, end_of, last_of, process_of)
        edges.append((before, main[after]))
    before = np.concatenate([edge[0] for edge in edges])
    after = np.concatenate([edge[1] for edge in edges])
    # the latest wait on a lane stands for the earlier ones: it comes first
    place = np.lexsort((-before, after))
    before, after = before[place], after[place]
    needed = reduce_edges(before, after, lanes.of_thread[rows.thread].astype(np.int64), lanes.count)
    before, after = before[needed], after[needed]
    rows.wait_begin = np.searchsorted(after, np.arange(len(rows) + 1)).astype(np.int64)
    rows.wait_row = before
    rows.awaited[before] = True

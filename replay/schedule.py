"""When each row of a plan runs: in which worker, on which lane, after which gap, after which rows of other lanes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.errors import ReplayError
from iotrace.replay.columns import NONE, Flags, Ids, Ints, Tables, chunks
from iotrace.replay.holdings import Holdings
from iotrace.replay.layout import CALL, Layout, gaps_of
from iotrace.replay.mapping import Mapping
from iotrace.replay.memory import Mappings
from iotrace.replay.operation_sets import one_of
from iotrace.replay.order import Spans, edges_by_file, edges_of_forks, edges_of_waits, spans_of
from iotrace.replay.rows import LANES_MAX, Rows
from iotrace.replay.scans import lives_of, rows_of
from iotrace.replay.select import Reason, Selection
from iotrace.replay.sweeps import reduce_edges
from iotrace.trace.operations import NUMBER_OF

_FORK: Final = one_of(("fork",))
UNKNOWN_CPU_NS: Final = 100_000
"""Of a gap whose CPU time was not recorded, so much is burnt and the rest slept: short gaps are mostly work."""


@dataclass(slots=True)
class Lanes:
    """Lanes of threads, and workers of lanes; arrays of shape (threads,) unless said otherwise.

    Attributes
    ----------
    count: lanes in all.
    of_thread: lane of each thread, int32, -1 for those that do nothing.
    rank: position of each thread when sorted by lane and begin.
    previous_end: end (ns) of the thread before it on its lane, or of the family before its own where that ended later;
    -1 for the first.
    worker_begin: first lane of each worker, (workers + 1,).
    families: threads of each group of processes, by begin; the groups of one worker stand one behind another.
    family_worker: worker of each family.
    last: of each family the thread that ends last.
    """

    count: int
    of_thread: Ids
    rank: Ints
    previous_end: Ints
    worker_begin: Ints
    families: list[list[int]]
    family_worker: list[int]
    last: list[int]


def assign_lanes(tables: Tables, kept: Flags, holdings: Holdings) -> Lanes:
    """Workers for the recorded processes, and lanes in them for their threads.

    A worker takes a process when the one before it has ended, a lane likewise a thread.

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
    families: dict[int, list[int]] = {}
    for thread in np.argsort(begin, kind="stable").tolist():
        if begin[thread] == far:
            break
        families.setdefault(int(holdings.group_of[holdings.process_of[thread]]), []).append(thread)
    members = list(families.values())
    worker_of, workers = _packed([(int(begin[f[0]]), int(end[f].max())) for f in members])
    order = sorted(range(len(members)), key=lambda one: worker_of[one])  # by begin within a worker
    members, worker_of = [members[one] for one in order], [worker_of[one] for one in order]
    of_thread = np.full(tables.threads, -1, np.int32)
    previous_end = np.full(tables.threads, -1, np.int64)
    worker_begin = np.zeros(workers + 1, np.int64)
    count, at = 0, 0
    for worker in range(workers):
        first = at
        while at < len(members) and worker_of[at] == worker:
            at += 1
        threads = [thread for family in members[first:at] for thread in family]
        lane_of, lanes = _packed([(int(begin[one]), int(end[one])) for one in threads])
        ends = [-1] * lanes
        for thread, lane in zip(threads, lane_of, strict=True):
            of_thread[thread], previous_end[thread] = count + lane, ends[lane]
            ends[lane] = int(end[thread])
        # a family begins when the one before it has ended, whichever lanes its threads take
        for before, after in pairwise(members[first:at]):
            previous_end[after] = np.maximum(previous_end[after], end[before].max())
        count += lanes
        worker_begin[worker + 1] = count
    if count > LANES_MAX:
        raise ReplayError(
            f"the trace has {count} threads at a time, a replay can run {LANES_MAX}: replay a part of it (--map)."
        )
    rank = np.lexsort((begin, of_thread))
    rank_of = np.empty(tables.threads, np.int64)
    rank_of[rank] = np.arange(tables.threads)
    last = [max(family, key=lambda one: int(end[one])) for family in members]
    return Lanes(count, of_thread, rank_of, previous_end, worker_begin, members, worker_of, last)


def _packed(lives: list[tuple[int, int]]) -> tuple[list[int], int]:
    """Which place takes each life (begin, end), sorted by begin, one after another; and how many places there are."""
    free: list[tuple[int, int]] = []
    places = []
    count = 0
    for begin, end in lives:
        if free and free[0][0] < begin:
            place = heapq.heappop(free)[1]
        else:
            place, count = count, count + 1
        places.append(place)
        heapq.heappush(free, (end, place))
    return places, count


def edges_of_families(lanes: Lanes, begin_of: Ints, end_of: Ints, waits_for_all: set[int]) -> tuple[Ints, Ints]:
    """Edges that keep the processes of one worker apart, and the threads of one process where that matters.

    A process begins when the one before it has ended, its other threads after its first. The thread that ends last
    waits for the others where it is to close what they used (families of `waits_for_all`). `begin_of`, `end_of`: rows
    at which each thread begins and ends.
    """
    before: list[int] = []
    after: list[int] = []
    for at, family in enumerate(lanes.families):
        first = int(begin_of[family[0]])
        if at and lanes.family_worker[at] == lanes.family_worker[at - 1]:
            before += [int(end_of[one]) for one in lanes.families[at - 1]]
            after += [first] * len(lanes.families[at - 1])
        before += [first] * (len(family) - 1)
        after += [int(begin_of[one]) for one in family[1:]]
        if at in waits_for_all:
            others = [one for one in family if one != lanes.last[at]]
            before += [int(end_of[one]) for one in others]
            after += [int(end_of[lanes.last[at]])] * len(others)
    return np.array(before, np.int64), np.array(after, np.int64)


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
    # a thread without a call of its own until its end, as helpers are, comes late onto a lane: its gap begins there
    begun = np.where(begun != NONE, begun, np.where(lanes.previous_end != -1, lanes.previous_end, origin))
    begun = np.maximum(begun, lanes.previous_end)
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
    lanes: Lanes, implicit: Flags, order: str, passed: list[tuple[int, int]], takers: list[tuple[int, int]],
    waits_for_all: set[int],
) -> None:  # fmt: skip
    """Which rows of other lanes each row waits for; see iotrace.replay.order.

    `passed`: events that opened what is passed at a fork, and the forks; `takers`: these forks, and the threads that
    take what is passed; `waits_for_all`: see edges_of_families.
    """
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
    edges.append(edges_of_families(lanes, begin_of, end_of, waits_for_all))
    if takers:
        rows_of_events = np.full(len(tables.events), -1, np.int64)
        rows_of_events[event] = main
        pairs = rows_of_events[np.array(passed, np.int64).reshape(-1, 2)]
        pairs = pairs[(pairs >= 0).all(axis=1)]
        edges.append((pairs[:, 0], pairs[:, 1]))
        fork, child = np.array(takers, np.int64).T
        edges.append((rows_of_events[fork], begin_of[child]))
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

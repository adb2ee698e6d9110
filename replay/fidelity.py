"""How true a replay was: a recording of the replay, compared with the plan call by call.

Record the replay (`iotrace record -o A.iotrace -- iotrace replay T …`), then `compare_recording(plan,
open_trace("A.iotrace"))`. The replay's threads mark where their calls begin and end, so that staging and start-up do
not count. What the program decides (which calls, in which order within a thread, on which file, sizes, offsets,
results) is compared exactly. What the
kernel decides is compared loosely and told apart: which pages fault (as a set), how listings are cut into pieces, and
the few calls that had to be replaced because one of their ends lay outside the map.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from iotrace.replay.columns import NONE, Ints, Tables
from iotrace.replay.evidence import Evidence
from iotrace.replay.issued import Issued
from iotrace.replay.measure import expected
from iotrace.replay.operation_sets import FAULT, GETDENTS, ORDERS, one_of
from iotrace.replay.recorded import FOR_RIDES
from iotrace.replay.rides import Rides
from iotrace.replay.rows import BEGIN, END, LINK, ORDER, STATUS, TOUCH, Plan
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.reader import Trace

_CLIPPED: Final = one_of(("munmap", "msync", "madvise", "openat2"))
"""Sizes that the replay bounds by its own mappings, or sets itself."""
_POSITIONED: Final = np.array(["offset" in o.arguments or o.result == "bytes" for o in OPERATIONS] + [False])
EXAMPLES_MAX: Final = 20


@dataclass(slots=True)
class OpFidelity:
    """One operation: calls planned, calls recorded, and how many pairs differ in file, size, offset or result."""

    planned: int = 0
    recorded: int = 0
    other_file: int = 0
    other_size: int = 0
    other_offset: int = 0
    other_result: int = 0

    @property
    def exact(self) -> bool:
        """Nothing differs."""
        differs = self.other_file or self.other_size or self.other_offset or self.other_result
        return self.planned == self.recorded and not differs


@dataclass(slots=True)
class Fidelity:
    """A replay against its plan.

    Attributes
    ----------
    threads: recorded threads; threads_seen: those whose marks are in the recording.
    by_op: per operation, page faults left out.
    faults: page faults, planned and recorded; faulted_bytes: bytes of files that they mapped, planned, recorded and
    both.
    listing_bytes: bytes that all getdents returned, planned and recorded.
    replaced: calls that another call stands for.
    waits: calls of different threads of which the plan says that one waits for the end of the other, and how many of
    them did not.
    makespan_s: from the first planned call to the end of the last, in the recording that was replayed and in this one.
    differences: sentences about what differs although the program decides it; empty for an exact replay.
    """

    threads: int = 0
    threads_seen: int = 0
    by_op: dict[str, OpFidelity] = field(default_factory=dict)
    faults: tuple[int, int] = (0, 0)
    faulted_bytes: tuple[int, int, int] = (0, 0, 0)
    listing_bytes: tuple[int, int] = (0, 0)
    replaced: int = 0
    waits: tuple[int, int] = (0, 0)
    makespan_s: tuple[float, float] = (0.0, 0.0)
    differences: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """All that the program decides is equal."""
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        from dataclasses import asdict

        return asdict(self) | {"exact": self.exact}


@dataclass(slots=True)
class _Seen:
    evidence: Evidence
    tree: bytes

    @property
    def tables(self) -> Tables:
        return self.evidence.tables

    def name(self, path: int) -> bytes:
        """Name of a path within the tree."""
        return self.evidence.name_in(self.tree, path)


def compare_recording(
    plan: Plan, recording: Trace | Evidence, run: int = 0, tree: str | Path | None = None, rides: Rides | None = None
) -> Fidelity:  # fmt: skip
    """Compare a plan with a recording of its replay.

    Parameters
    ----------
    plan: the plan that was replayed, built from the same trace with the same options.
    recording: recorded while the replay ran.
    run: which of the replay's runs (repeats and mounts, in the order run); with `tree`, which of those on it.
    tree: the folder of generated names that one user ran on, where several did at the same time.
    rides: what was given to io_uring.

    Raises
    ------
    TraceError: the recording holds no marks of such a run.
    """
    evidence = recording if isinstance(recording, Evidence) else Evidence(recording)
    tables = evidence.tables
    where, windows = evidence.windows(run, None if tree is None else os.fsencode(tree))
    result = Fidelity()
    rows, events = plan.rows, tables.events
    expect = expected(plan, len(where) + 1)
    issued = Issued(plan, rides)
    calls = (rows.special != BEGIN) & (rows.special != END) & (rows.special != ORDER) & (rows.special != TOUCH)
    thread_of_row = rows.thread
    threads = np.unique(thread_of_row[(rows.event >= 0) & (rows.special != ORDER)])
    result.threads = len(threads)
    event_of_row = np.full(len(rows), -1, np.int64)
    planned_faults: list[tuple[bytes, int, int]] = []
    seen_faults: list[tuple[bytes, int, int]] = []
    paths = plan.recorded["paths"]
    seen = _Seen(evidence, where)
    for thread in threads.tolist():
        mine = np.flatnonzero(thread_of_row == thread)
        touches = mine[rows.special[mine] == TOUCH]
        for row in touches.tolist():
            node = int(plan.recorded["node"][row])
            path = paths[node] if node >= 0 else b""
            planned_faults.append((path, int(plan.recorded["offset"][row]), int(plan.recorded["size"][row])))
        if thread not in windows:
            result.differences.append(f"thread {thread}: its marks are not in the recording.")
            continue
        result.threads_seen += 1
        there = evidence.between(*windows[thread])
        faults = there[FAULT[events.op[there]]]
        for row in faults.tolist():
            path = seen.name(int(events.path[row]))
            seen_faults.append((path, int(events.offset[row]), int(events.size[row])))
        there = there[~FAULT[events.op[there]] & ~ORDERS[events.op[there]]]
        mine = mine[calls[mine]]
        of_rows = _compare_thread(plan, seen, result, thread, mine, there, issued, expect)
        if of_rows is not None:
            event_of_row[mine] = of_rows
    result.faults = len(planned_faults), len(seen_faults)
    result.faulted_bytes = _covered(planned_faults, seen_faults)
    result.replaced = int((plan.recorded["substituted"] & plan.counted).sum())
    result.waits = _waits(plan, tables, event_of_row)
    if result.waits[1]:
        result.differences.append(f"{result.waits[1]} of {result.waits[0]} calls did not wait for the one before them.")
    ended = max(end for _, _, end in windows.values()) - min(begin for _, begin, _ in windows.values())
    starts, ends = (plan.recorded[name][plan.counted] for name in ("start_ns", "end_ns"))
    result.makespan_s = float(ends.max() - starts.min()) / 1e9, ended / 1e9
    plan.recorded.release(*FOR_RIDES)
    for name, op in result.by_op.items():
        if op.planned != op.recorded:
            result.differences.append(f"{name}: {op.planned} calls planned, {op.recorded} recorded.")
    return result


def of_all(users: Sequence[Fidelity]) -> Fidelity:
    """Of several users at the same time: their sums, the longest makespans, and whose each difference is."""
    if len(users) == 1:
        return users[0]
    whole = Fidelity()
    for name in ("threads", "threads_seen", "replaced"):
        setattr(whole, name, sum(getattr(one, name) for one in users))
    for name in ("faults", "faulted_bytes", "listing_bytes", "waits"):
        setattr(whole, name, tuple(map(sum, zip(*(getattr(one, name) for one in users), strict=True))))
    before, now = zip(*(one.makespan_s for one in users), strict=True)
    whole.makespan_s = max(before), max(now)
    for number, user in enumerate(users, start=1):
        for name, op in user.by_op.items():
            into = whole.by_op.setdefault(name, OpFidelity())
            for count in fields(OpFidelity):
                setattr(into, count.name, getattr(into, count.name) + getattr(op, count.name))
        whole.differences += [f"user {number}: {text}" for text in user.differences]
    whole.differences = whole.differences[:EXAMPLES_MAX]
    return whole


def _waits(plan: Plan, tables: Tables, event_of_row: Ints) -> tuple[int, int]:
    """Pairs of calls of which the later one waits for the end of the other, and in how many it did not."""
    rows, events = plan.rows, tables.events
    after = np.repeat(np.arange(len(rows)), np.diff(rows.wait_begin))
    first, second = event_of_row[rows.wait_row], event_of_row[after]
    both = (first >= 0) & (second >= 0)
    first, second = first[both], second[both]
    return len(first), int((events.time_ns[second] < events.end_ns[first]).sum())


def _covered(planned: list[tuple[bytes, int, int]], seen: list[tuple[bytes, int, int]]) -> tuple[int, int, int]:
    """Bytes of files covered by ranges (path, offset, size): by the first, by the second, by both."""
    ends: dict[bytes, list[tuple[int, int, int]]] = {}
    for which, ranges in ((0, planned), (1, seen)):
        for path, offset, size in ranges:
            if offset >= 0 and size > 0:
                ends.setdefault(path, []).extend([(offset, which, 1), (offset + size, which, -1)])
    totals = [0, 0, 0]
    for steps in ends.values():
        depth, before = [0, 0], 0
        for at, which, change in sorted(steps):
            inside = [depth[0] > 0, depth[1] > 0, depth[0] > 0 and depth[1] > 0]
            totals = [total + (at - before) * one for total, one in zip(totals, inside, strict=True)]
            depth[which] += change
            before = at
    return totals[0], totals[1], totals[2]


def _compare_thread(
    plan: Plan, seen: _Seen, result: Fidelity, thread: int, rows: Ints, events_at: Ints, issued: Issued, expect: Ints
) -> Ints | None:
    """Take in a thread; gives the event of each row, or None where its calls are not those of the plan, one by one."""
    events = seen.tables.events
    (rows, seeks, planned_op), recorded_op = issued.calls(rows), events.op[events_at]
    extra = plan.rows.extra[rows] | seeks
    for number, count in Counter(planned_op[~extra].tolist()).items():
        _of(result, number).planned += count
    for number, count in Counter(recorded_op.tolist()).items():
        _of(result, number).recorded += count
    for number, count in Counter(planned_op[extra].tolist()).items():
        _of(result, number).recorded -= count
    if len(rows) != len(events_at) or (planned_op != recorded_op).any():
        shared = min(len(rows), len(events_at))
        first = int(np.argmax(np.r_[planned_op[:shared] != recorded_op[:shared], True]))
        result.differences.append(
            f"thread {thread}: call {first + 1} is {_name(planned_op, first)} in the plan and "
            f"{_name(recorded_op, first)} in the recording ({len(rows)} calls planned, {len(events_at)} recorded)."
        )
        return None
    of_rows = events_at[~seeks]
    if issued.request is not None:
        astray = issued.request[rows[~seeks]] != events.asynchronous[of_rows]
        if astray.any():
            result.differences.append(f"thread {thread}: {astray.sum()} calls should have been requests, or not.")
    elsewhere = seeks & (events.result[events_at] != issued.reposition[rows])
    if elsewhere.any():
        result.differences.append(f"thread {thread}: {elsewhere.sum()} positions set behind requests differ.")
    loose = GETDENTS[recorded_op]
    planned_bytes = plan.recorded["result"][rows][loose]
    was, now = result.listing_bytes
    result.listing_bytes = (
        was + int(planned_bytes[planned_bytes > 0].sum()),
        now + int(np.maximum(events.result[events_at][loose], 0).sum()),
    )
    keep = ~extra
    rows, events_at, recorded_op = rows[keep], events_at[keep], recorded_op[keep]
    replaced = plan.recorded["substituted"][rows]
    size, offset = plan.recorded["size"][rows], plan.recorded["offset"][rows]
    sizes = (size != events.size[events_at]) & (size != NONE) & ~_CLIPPED[recorded_op] & ~replaced
    offsets = (offset != events.offset[events_at]) & (offset != NONE) & _POSITIONED[recorded_op] & ~replaced
    offsets &= ~one_of(("mmap",))[recorded_op] | (events.offset[events_at] != NONE)
    got, wanted = events.result[events_at], expect[rows]
    loosely = plan.rows.check[rows] == STATUS
    results = np.where(loosely, np.minimum(got, 0) != np.minimum(wanted, 0), got != wanted)
    results &= ~((plan.rows.check[rows] == LINK) & (got > 0))
    files = _other_files(plan, seen, rows, events_at)
    for label, wrong in (("file", files), ("size", sizes), ("offset", offsets), ("result", results)):
        for number, count in Counter(recorded_op[wrong].tolist()).items():
            one = _of(result, number)
            setattr(one, f"other_{label}", getattr(one, f"other_{label}") + count)
        for i in np.flatnonzero(wrong)[:3].tolist():
            if len(result.differences) < EXAMPLES_MAX:
                result.differences.append(_example(plan, seen, label, thread, int(rows[i]), int(events_at[i]), expect))
    return of_rows


def _other_files(plan: Plan, seen: _Seen, rows: Ints, events_at: Ints) -> Any:
    """Calls on another file than planned: under another name, unless the two are one file throughout the thread.

    A recorder may know a file that was renamed by an old name, here or there.
    """
    events = seen.tables.events
    nodes, paths = plan.recorded["node"][rows], events.path[events_at]
    known: dict[int, bytes] = {path: seen.name(path) for path in np.unique(paths).tolist()}
    pairs, inverse = np.unique(np.stack([nodes, paths], axis=1), axis=0, return_inverse=True)
    texts = plan.recorded["paths"]
    wrong = [node >= 0 and path >= 0 and texts[node] != known[path] for node, path in pairs.tolist()]
    differs = np.array(wrong, dtype=bool)[inverse.reshape(-1)] if wrong else np.zeros(0, bool)
    before, now = plan.recorded["file"][rows], events.file[events_at].astype(np.int64)
    both = (before >= 0) & (now >= 0)
    partners: dict[tuple[bool, int], set[int]] = {}
    for one, other in {(int(a), int(b)) for a, b in zip(before[both], now[both], strict=True)}:
        partners.setdefault((True, one), set()).add(other)
        partners.setdefault((False, other), set()).add(one)
    for i in np.flatnonzero(differs & both).tolist():
        differs[i] = len(partners[True, int(before[i])]) > 1 or len(partners[False, int(now[i])]) > 1
    return differs


def _example(plan: Plan, seen: _Seen, label: str, thread: int, row: int, event: int, expect: Ints) -> str:
    events, name = seen.tables.events, OPERATIONS[int(seen.tables.events.op[event])].name
    node = int(plan.recorded["node"][row])
    path = (plan.recorded["paths"][node].decode() or ".") if node >= 0 else "?"
    if label == "file":
        values = (path, seen.name(int(events.path[event])).decode("utf-8", "backslashreplace"))
    elif label == "result":
        values = (str(int(expect[row])), str(int(events.result[event])))
    else:
        values = (str(int(plan.recorded[label][row])), str(int(getattr(events, label)[event])))
    return f"thread {thread}: {name} of {path}: {label} {values[0]} planned, {values[1]} recorded."


def _name(op: Any, at: int) -> str:
    return OPERATIONS[int(op[at])].name if at < len(op) else "nothing"


def _of(result: Fidelity, number: int) -> OpFidelity:
    return result.by_op.setdefault(OPERATIONS[number].name, OpFidelity())

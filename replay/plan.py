"""The plan of a replay: a pure function of a trace and options.

From a trace's tables: which paths move where (mapping), which operations are replayed (select), what must exist before
(snapshot), which descriptors and mappings they use; from these the rows that a kernel runs (see iotrace.replay.rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from iotrace.errors import ReplayError
from iotrace.replay.arguments import (
    DESCRIPTOR,
    F_OFD_SETLKW,
    LOCK_NB,
    Builder,
    Strings,
    call_numbers,
)
from iotrace.replay.columns import NONE, Flags, Ids, Ints, Tables, load_tables
from iotrace.replay.descriptors import Descriptors, assign_descriptors
from iotrace.replay.direct import Rounded, round_out
from iotrace.replay.mapping import Mapping, map_paths
from iotrace.replay.memory import Mappings, resolve_memory
from iotrace.replay.outcomes import recorded_of, set_expectations, sizes_of
from iotrace.replay.rides import columns_for_rides
from iotrace.replay.rows import (
    BEGIN,
    CLOSE,
    DUP_ONTO,
    END,
    LOCK,
    MAP,
    MARKER,
    OPEN,
    ORDER,
    PLAIN,
    ROW_COLUMNS,
    STATUS,
    TOUCH,
    UNMAP,
    Inherited,
    Plan,
    Rows,
    Threads,
    plan_hash,
)
from iotrace.replay.schedule import assign_lanes, set_gaps, set_waits
from iotrace.replay.select import (
    CLOSES,
    COPIES,
    DUPS,
    FAULT,
    MMAP,
    OPENS,
    ORDERS,
    REASON_TEXT,
    UMASK,
    Reason,
    Selection,
    _table,
    select,
)
from iotrace.replay.snapshot import Snapshot, infer_snapshot
from iotrace.replay.sweeps import (
    POSITION_COPY,
    POSITION_MOVES,
    POSITION_OPEN,
    POSITION_SEEKS,
    implicit_positions,
)
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.reader import Trace


def build_plan(
    trace: Trace, prefixes: Sequence[str] = (), order: str = "file", *, rides: bool = False, alignment: int = 0
) -> Plan:
    """Plan the replay of a trace.

    Parameters
    ----------
    trace: the trace.
    prefixes: recorded paths that move to the mount under test; empty: the working folder and all mounts not the
    system's own.
    order: "file" keeps conflicting accesses of all threads in their recorded order, "thread" only each thread's own.
    alignment: open files with O_DIRECT, offsets and sizes rounded out to so many bytes; 0: as recorded.
    rides: keep what iotrace.replay.rides needs, also where nothing rode on a ring in the recording.

    Raises
    ------
    TraceError: the trace cannot be read.
    ReplayError: nothing remains to be replayed; the message says what to map.
    """
    tables = load_tables(trace)
    mapping = map_paths(tables, trace.info, prefixes)
    selection = select(tables, mapping)
    _without_number(tables, selection)
    memory = resolve_memory(tables, selection, max(512, trace.info.page_size))
    snapshot = infer_snapshot(tables, mapping, selection)
    descriptors = assign_descriptors(tables, selection)
    if not (selection.kept & ~ORDERS[tables.events.op] & ~UMASK[tables.events.op]).any():
        shown = ", ".join(_prefix_text(prefix) for prefix in mapping.prefixes)
        raise ReplayError(f"nothing to replay: no operation under {shown} can be replayed; choose with --map PREFIX.")
    rounded = round_out(tables, selection, alignment) if alignment else None
    assembly = _Assembly(trace, tables, mapping, selection, memory, snapshot, descriptors, order)
    assembly.rides = rides or bool((tables.events.asynchronous & selection.kept).any())
    assembly.rounded = rounded
    return assembly.plan()


def _prefix_text(prefix: tuple[bytes, ...]) -> str:
    return "/" + b"/".join(prefix).decode("utf-8", "backslashreplace")


def _without_number(tables: Tables, selection: Selection) -> None:
    op = tables.events.op
    lacks = (call_numbers()[op] < 0) & ~ORDERS[op] & ~FAULT[op] & selection.kept
    selection.reason[lacks] = Reason.ARCHITECTURE


class _Assembly:
    def __init__(
        self, trace: Trace, tables: Tables, mapping: Mapping, selection: Selection, memory: Mappings, snapshot:
        Snapshot,
        descriptors: Descriptors, order: str,
    ) -> None:  # fmt: skip
        self.trace, self.tables, self.mapping, self.selection = trace, tables, mapping, selection
        self.memory, self.snapshot, self.descriptors, self.order = memory, snapshot, descriptors, order

    rides = False
    rounded: Rounded | None = None

    def plan(self) -> Plan:
        events = self.tables.events
        main = np.flatnonzero(self.selection.kept).astype(np.int64)
        lanes = assign_lanes(self.tables, main)
        dups = np.array(self.descriptors.extra_dups, dtype=np.int64).reshape(-1, 3)
        closes = np.array(self.descriptors.extra_closes, dtype=np.int64)
        live = np.flatnonzero(lanes.of_thread >= 0)
        event = np.concatenate([main, dups[:, 0], closes, np.full(2 * len(live), -1, np.int64)])
        thread = np.concatenate([events.thread[event[: len(event) - 2 * len(live)]], live, live]).astype(np.int32)
        part = np.repeat([0, 1, 2, 3, 4], [len(main), len(dups), len(closes), len(live), len(live)])
        phase = np.where(part == 3, 0, np.where(part == 4, 2, 1))
        when = np.where(event >= 0, events.time_ns[event], 0)
        order = np.lexsort((part, event, when, phase, lanes.rank[thread]))
        rows = self._rows(main, dups, closes, event, thread, part)
        rows = Rows(**{name: getattr(rows, name)[order] for name in ROW_COLUMNS}, **_no_waits(len(order)))
        lane = lanes.of_thread[rows.thread]
        lane_begin = np.searchsorted(lane, np.arange(lanes.count + 1)).astype(np.int64)
        set_gaps(rows, part[order] == 0, self.tables, self.selection, lanes)
        set_waits(
            rows,
            part[order] == 0,
            self.tables,
            self.mapping,
            self.selection,
            self.memory,
            lanes,
            self.implicit,
            self.order,
        )
        strings = self.builder.strings
        threads = self._threads(strings)
        plan = Plan(
            rows=rows,
            lane_begin=lane_begin,
            threads=threads,
            strings=strings,
            snapshot=self.snapshot,
            inherited=self._inherited(),
            unmap_last=np.array([piece[:3] for piece in self.memory.left if piece[3] < 0], np.int64).reshape(-1, 3),
            slots=self.descriptors.count,
            map_slots=self.memory.count,
            high_numbers=self.descriptors.numbers,
            most_open=self.descriptors.most_open,
            recorded=recorded_of(rows, self.tables, self.mapping, self.selection),
            thread_numbers=self.tables.threads,
            not_replayed=self._not_replayed(),
            prefixes=[_prefix_text(prefix) for prefix in self.mapping.prefixes],
            **sizes_of(rows, self.tables),
        )
        if self.rounded:
            known = rows.event >= 0
            rows.check[known & self.rounded.loose[rows.event]] = STATUS
            plan.recorded["substituted"] |= known & self.rounded.changed[rows.event]
            plan.warnings.append(self.rounded.note)
        if self.rides:
            plan.recorded |= columns_for_rides(rows, self.tables)
        rows.op = np.where(rows.extra | (rows.event < 0), rows.op, events.asked[rows.event]).astype(np.int16)
        plan.hash = plan_hash(plan)
        return plan

    def _rows(self, main: Ints, dups: Ints, closes: Ints, event: Ints, thread: Ids, part: Ints) -> Any:
        """Unsorted rows: recorded calls, extra duplications, extra closes, begins, ends."""
        events = self.tables.events
        explicit, self.implicit = self._explicit_positions()
        memory = (self.memory.slot, self.memory.delta, self.memory.length)
        self.builder = Builder(self.tables, self.mapping, self.selection, self.descriptors, main, explicit, memory)
        calls = self.builder.build()
        n = len(event)
        op = np.where(event >= 0, events.op[event], -1).astype(np.int16)
        op[part == 1], op[part == 2] = NUMBER_OF["fcntl.dupfd"], NUMBER_OF["close"]
        is_main = part == 0
        special = np.full(n, PLAIN, np.uint8)
        success = np.where(event >= 0, events.result[event] >= 0, False)
        special[is_main & (OPENS | DUPS)[op]] = OPEN
        special[is_main & _table(("dup2", "dup3"))[op]] = DUP_ONTO
        special[is_main & CLOSES[op]] = CLOSE
        special[is_main & MMAP[op]] = MAP
        special[is_main & _table(("munmap",))[op] & success] = UNMAP
        special[is_main & FAULT[op]] = TOUCH
        flags = np.where(event >= 0, np.maximum(events.flags[event], 0), 0)
        waits = (op == NUMBER_OF["flock"]) & (flags & LOCK_NB == 0) & (flags & 3 != 0)
        waits |= (op == NUMBER_OF["fcntl.lock"]) & (flags == F_OFD_SETLKW)
        special[is_main & waits & success] = LOCK
        special[is_main & ORDERS[op]] = ORDER
        special[part == 1], special[part == 2], special[part == 3], special[part == 4] = OPEN, CLOSE, BEGIN, END

        def padded(column: npt.NDArray[Any], value: int = 0) -> npt.NDArray[Any]:
            rest = np.full((n - len(main), *column.shape[1:]), value, column.dtype)
            return np.concatenate([column, rest])

        rows = _Unsorted()
        rows.event, rows.op, rows.thread, rows.special = event, op, thread, special
        rows.extra = (part == 1) | (part == 2)
        rows.number, rows.delta = padded(calls.number), padded(calls.delta)
        rows.arguments = padded(calls.arguments)
        kinds = padded(calls.kinds).astype(np.int64)
        rows.made = padded(self.descriptors.made[main], -1)
        rows.closed = padded(self.descriptors.closed[main], -1)
        maps = np.flatnonzero(is_main & MMAP[op])
        rows.made[maps] = self.memory.slot[main[maps]]
        touches = np.flatnonzero(special == TOUCH)
        rows.arguments[touches, 0] = self.memory.slot[main[touches]]
        rows.delta[touches] = self.memory.delta[main[touches]]
        at = np.flatnonzero(part == 1)
        numbers = call_numbers()
        if len(at):
            rows.number[at] = numbers[NUMBER_OF["fcntl.dupfd"]]
            rows.arguments[at, 0], kinds[at, 0] = dups[:, 1], DESCRIPTOR
            rows.arguments[at, 1], rows.arguments[at, 2] = 1030, 3
            rows.made[at] = dups[:, 2]
        at = np.flatnonzero(part == 2)
        if len(at):
            rows.number[at] = numbers[NUMBER_OF["close"]]
            rows.closed[at] = self.descriptors.closed[closes]
            rows.arguments[at, 0], kinds[at, 0] = rows.closed[at], DESCRIPTOR
        marks = part >= 3
        rows.made[marks] = thread[marks]
        rows.kinds = (kinds << (4 * np.arange(6, dtype=np.int64))).sum(axis=1)
        set_expectations(rows, is_main, success, self.tables, self.mapping, self.selection, self.snapshot)
        return rows

    def _explicit_positions(self) -> tuple[tuple[Flags, Flags], Flags]:
        """Copies that named the positions in source and destination, and events that used a description's own."""
        events, op = self.tables.events, self.tables.events.op
        n = len(events)
        copies = COPIES[op]
        none = np.zeros(n, np.bool_)
        if not copies.any():
            return (none, none), none
        moves = _table(("read", "readv", "write", "writev"))[op]
        action = np.zeros(n, np.int8)
        action[moves], action[OPENS[op]], action[op == NUMBER_OF["lseek"]] = (
            POSITION_MOVES,
            POSITION_OPEN,
            POSITION_SEEKS,
        )
        # sources and destinations stand in one sequence, so that each sees the other's moves
        rows = np.repeat(np.arange(n), 1 + copies)
        second = np.r_[False, rows[1:] == rows[:-1]]
        action2 = np.where(copies[rows], POSITION_COPY, action[rows]).astype(np.int8)
        opens = np.where(second, events.other_open[rows], events.open[rows]).astype(np.int64)
        offset = np.where(second, events.other_offset[rows], events.offset[rows])
        start = np.zeros(self.tables.opens + 1, np.int64)
        inherited = (events.open >= 0) & (events.file >= 0)
        position = self.tables.file_inherited_offset[events.file[inherited]]
        start[events.open[inherited]] = np.where(position == NONE, 0, position)
        implicit = implicit_positions(action2, opens, offset, events.result[rows], start)
        source, target = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        source[rows[~second]] = implicit[~second]
        target[rows[second]] = implicit[second]
        return (copies & ~source, copies & ~target), copies & (source | target)

    def _threads(self, strings: Strings) -> Threads:
        events, count = self.tables.events, self.tables.threads
        process = np.full(count, -1, np.int32)
        process[events.thread] = events.process
        nodes = np.append(self.builder.start_folder, np.int32(-1))[process]
        root = strings.number(b"", True)
        tree = self.mapping.tree
        folder = [strings.number(tree.path(node), True) if node >= 0 else root for node in nodes.tolist()]
        umask = np.append(self.tables.process_umask, NONE)[process]
        numbers = range(count)
        unset = np.array([-1] * count, np.int64)
        marker_begin, marker_end = unset.copy(), unset.copy()
        issuing = self.selection.kept & ~ORDERS[events.op]
        for thread in np.unique(events.thread[issuing]).tolist():
            marker_begin[thread] = strings.number(f"{MARKER}:{thread}:begin".encode())
            marker_end[thread] = strings.number(f"{MARKER}:{thread}:end".encode())
        owners = self._owners()
        close: list[list[int]] = [[] for _ in numbers]
        for x, slot in self.descriptors.left:
            if owners[x] >= 0:
                close[owners[x]].append(slot)
        unmap: list[list[tuple[int, int, int]]] = [[] for _ in numbers]
        for slot, delta, length, owner in self.memory.left:
            if owner >= 0:
                unmap[owner].append((slot, delta, length))
        return Threads(
            folder=np.array(folder or [root], np.int64),
            marker_begin=marker_begin,
            marker_end=marker_end,
            umask=np.where(umask == NONE, 0o022, umask) & 0o077,
            close_begin=np.cumsum([0, *(len(slots) for slots in close)]).astype(np.int64),
            close_slot=np.array([slot for slots in close for slot in slots], np.int64),
            unmap_begin=np.cumsum([0, *(len(pieces) for pieces in unmap)]).astype(np.int64),
            unmap=np.array([piece for pieces in unmap for piece in pieces], np.int64).reshape(-1, 3),
        )

    def _owners(self) -> list[int]:
        """The one thread that uses each description, -1 for several."""
        events = self.tables.events
        lowest = np.full(self.tables.opens + 1, np.iinfo(np.int32).max, np.int64)
        highest = np.full(self.tables.opens + 1, -1, np.int64)
        for column in (events.open, events.other_open):
            np.minimum.at(lowest, column, events.thread)
            np.maximum.at(highest, column, events.thread)
        owners: list[int] = np.where(lowest == highest, lowest, -1)[:-1].tolist()
        return owners

    def _inherited(self) -> list[Inherited]:
        events, tree = self.tables.events, self.mapping.tree
        result = []
        for x, slots in self.descriptors.inherited:
            event = int(self.selection.open_first[x])
            file = int(events.file[event])
            flags = int(self.tables.file_inherited_flags[file]) if file >= 0 else NONE
            offset = int(self.tables.file_inherited_offset[file]) if file >= 0 else NONE
            path = tree.path(int(self.selection.open_node[x]))
            result.append(
                Inherited(slots, path, 0o2 if flags == NONE else flags, max(0, 0 if offset == NONE else offset))
            )
        return result

    def _not_replayed(self) -> dict[str, int]:
        reasons, counts = np.unique(self.selection.reason, return_counts=True)
        pairs = [(int(count), Reason(reason)) for reason, count in zip(reasons.tolist(), counts.tolist(), strict=True)]
        return {REASON_TEXT[why]: count for count, why in sorted(pairs, reverse=True) if why is not Reason.KEPT}


class _Unsorted:
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def _no_waits(n: int) -> dict[str, Any]:
    return {
        "busy_ns": np.zeros(n, np.int64),
        "idle_ns": np.zeros(n, np.int64),
        "due_ns": np.zeros(n, np.int64),
        "wait_begin": np.zeros(n + 1, np.int64),
        "wait_row": np.zeros(0, np.int64),
        "awaited": np.zeros(n, np.bool_),
    }

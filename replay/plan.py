"""The plan of a replay: a pure function of a trace and options.

From a trace's tables: which paths move where (mapping), which operations are replayed (select), what must exist before
(snapshot), which descriptors and mappings they use; from these the rows that a kernel runs (see iotrace.replay.rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.errors import ReplayError
from iotrace.replay.arguments import (
    DESCRIPTOR,
    LOCK_NB,
    MAPPED,
    WAITING_LOCKS,
    Builder,
    Strings,
    call_numbers,
)
from iotrace.replay.columns import CHUNK_ROWS, NONE, Flags, Ids, Ints, Tables, chunks, load_tables
from iotrace.replay.descriptors import Descriptors, assign_descriptors
from iotrace.replay.direct import Rounded, round_out
from iotrace.replay.filed import filed
from iotrace.replay.inference import infer_snapshot
from iotrace.replay.layout import CALL, EXTRA_CLOSE, EXTRA_DUP, THREAD_BEGINS, lay_out
from iotrace.replay.lifetimes import lifetimes_of
from iotrace.replay.mapping import Mapping, map_paths
from iotrace.replay.memory import Mappings, resolve_memory
from iotrace.replay.named import name_files
from iotrace.replay.outcomes import Expectations, Piece, Places, Sizes
from iotrace.replay.packing import VALUES_MAX, Packer
from iotrace.replay.pieces import Pieces
from iotrace.replay.recorded import Recorded, columns_for_rides, columns_of_labels, plain_column
from iotrace.replay.room import check_rows, folder_for
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
    STATUS,
    TOUCH,
    UNMAP,
    Forms,
    Inherited,
    Plan,
    Rows,
    Threads,
    plan_hash,
)
from iotrace.replay.scans import note_owners, rows_of
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
    one_of,
    select,
)
from iotrace.replay.snapshot import Snapshot
from iotrace.replay.status import own_positions
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
    rides: with an alignment, rides_of will be asked although nothing rode on a ring in the recording.

    Raises
    ------
    TraceError: the trace cannot be read.
    ReplayError: nothing remains to be replayed, or the plan has no room; the message says what to do.
    """
    folder = folder_for(trace)
    with filed(folder):
        plan = _plan(trace, prefixes, order, rides, alignment, folder)
        plan.hash = plan_hash(plan)
    return plan


def _plan(
    trace: Trace, prefixes: Sequence[str], order: str, rides: bool, alignment: int, folder: str | None
) -> Plan:  # fmt: skip
    tables = load_tables(trace)
    mapping = map_paths(tables, trace.info, prefixes)
    selection = select(tables, mapping)
    _without_number(tables, selection)
    memory = resolve_memory(tables, selection, max(512, trace.info.page_size))
    snapshot = infer_snapshot(tables, mapping, selection)
    named = name_files(tables, mapping, selection)
    descriptors = assign_descriptors(tables, selection)
    if not any(
        ((selection.reason[rows] == Reason.KEPT) & ~(ORDERS | UMASK)[tables.events.op[rows]]).any()
        for rows in chunks(len(tables.events))
    ):
        shown = ", ".join(_prefix_text(prefix) for prefix in mapping.prefixes)
        raise ReplayError(f"nothing to replay: no operation under {shown} can be replayed; choose with --map PREFIX.")
    rounded = round_out(tables, selection, alignment) if alignment else None
    assembly = _Assembly(
        trace, tables, mapping, selection, memory, snapshot, descriptors, order, rounded, rides, named, folder
    )
    return assembly.plan()


def _prefix_text(prefix: tuple[bytes, ...]) -> str:
    return "/" + b"/".join(prefix).decode("utf-8", "backslashreplace")


def _without_number(tables: Tables, selection: Selection) -> None:
    lacks = (call_numbers() < 0) & ~ORDERS & ~FAULT
    lacks[-1] = False
    rows = rows_of(lacks, tables.events.op)
    selection.reason[rows[selection.reason[rows] == Reason.KEPT]] = Reason.ARCHITECTURE


class _Assembly:
    def __init__(
        self, trace: Trace, tables: Tables, mapping: Mapping, selection: Selection, memory: Mappings,
        snapshot: Snapshot, descriptors: Descriptors, order: str, rounded: Rounded | None, rides: bool,
        named: tuple[Ints, Ids], folder: str | None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.trace, self.tables, self.mapping, self.selection = trace, tables, mapping, selection
        self.memory, self.snapshot, self.descriptors, self.order = memory, snapshot, descriptors, order
        events = tables.events
        # where nothing was a request there is no column of them
        self.requests = bool(events.asynchronous.strides[0]) and bool((events.asynchronous & selection.kept).any())
        self.rounded, self.rides, self.named = rounded, rides or self.requests, named

    def plan(self) -> Plan:
        events = self.tables.events
        kept = self.selection.kept
        if self.folder is None:
            check_rows(int(np.count_nonzero(kept)))
        lanes = self.lanes = assign_lanes(self.tables, kept, self.descriptors.holdings)
        self._pass_on()
        self.dups = np.array(self.descriptors.extra_dups, dtype=np.int64).reshape(-1, 3)
        self.dups = self.dups[np.argsort(self.dups[:, 0], kind="stable")]
        closes = np.array(self.descriptors.extra_closes, dtype=np.int64)
        threads = np.flatnonzero(lanes.of_thread >= 0)
        live: Ids = threads[np.argsort(lanes.rank[threads])].astype(np.int32)
        self.layout = lay_out(
            live, self.tables.threads, events.thread, events.time_ns, kept, self.dups[:, 0].copy(), closes
        )
        events.release("time_ns")
        thread_lane = lanes.of_thread[live]
        lane_begin = np.append(self.layout.thread_begin, len(self.layout.event))[
            np.searchsorted(thread_lane, np.arange(lanes.count + 1))
        ].astype(np.int64)
        rows, recorded, sizes = self._rows()
        strings = self.builder.strings
        needs = self._threads(strings)
        inherited = self._inherited()
        events.release("offset", "other_offset", "size", "count", "address", "mode")
        nothing = np.zeros(0, np.int32)
        self.descriptors.made = self.descriptors.closed = self.descriptors.open = self.descriptors.other_open = nothing
        self.memory.delta = self.memory.length = np.zeros(0, np.int64)
        set_waits(
            rows, self.layout.part, self.tables, self.mapping, self.selection, self.memory, lanes, self.implicit,
            self.order, self.opened_before_forks, self.takers, self.families_that_close,
        )  # fmt: skip
        lifetimes = lifetimes_of(self.tables, self.layout.event, self.layout.part)
        events.release("flags", "path", "other_path", "file", "other_file", "open", "other_open", "process")
        set_gaps(rows, self.layout, self.tables, self.selection, lanes)
        return Plan(
            rows=rows,
            lane_begin=lane_begin,
            threads=needs,
            strings=strings,
            snapshot=self.snapshot,
            inherited=inherited,
            worker_begin=lanes.worker_begin,
            worker_names=self._worker_names(),
            apart=self._apart(),
            slots=self.descriptors.count,
            map_slots=self.memory.count,
            high_numbers=self.descriptors.numbers,
            most_open=self.descriptors.most_open,
            recorded=recorded,
            thread_numbers=self.tables.threads,
            not_replayed=self._not_replayed(),
            prefixes=[_prefix_text(prefix) for prefix in self.mapping.prefixes],
            read_bytes=sizes.read_bytes,
            write_bytes=sizes.write_bytes,
            growth_bytes=sizes.growth_bytes,
            growth_entries=sizes.growth_entries,
            warnings=[self.rounded.note] if self.rounded else [],
            lifetimes=lifetimes,
            asynchronous=self.requests,
            folder=self.folder,
        )

    def _rows(self) -> tuple[Rows, Recorded, Sizes]:
        """Rows without gaps and waits, what the recording said of them, and the largest sizes."""
        layout, n = self.layout, len(self.layout.event)
        explicit, self.implicit = self._explicit_positions()
        self.builder = Builder(self.tables, self.mapping, self.selection, self.descriptors, explicit, self.memory)
        expectations = Expectations(self.tables, self.mapping, self.selection, self.snapshot)
        places = Places(self.tables, self.mapping, self.selection)
        packer, sizes = Packer(), Sizes()
        form, begin = np.empty(n, np.int32), np.empty(n, np.int32)
        special, expect = np.empty(n, np.uint8), np.empty(n, np.int64)
        made, closed, node = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
        substituted = Pieces()
        self.dups_done = self.marks_done = 0
        for rows in chunks(n):
            if packer.total >= _SHORT_MAX and begin.dtype == np.int32:
                begin = begin.astype(np.int64)
            piece = self._piece(layout.event[rows], layout.part[rows])
            expectations.set(piece)
            sizes.add(piece, self.tables)
            if self.rounded:
                known = piece.event >= 0
                piece.check[known & self.rounded.loose[piece.event]] = STATUS
                substituted.add(np.flatnonzero(known & self.rounded.changed[piece.event]) + rows.start)
            asked = np.where(piece.is_main, self.tables.events.asked[piece.event], piece.op)
            common = (asked.astype(np.int64) + 1) << 16
            common |= (piece.special.astype(np.int64) << 8) | (piece.extra.astype(np.int64) << 4) | piece.check
            form[rows], begin[rows] = packer.add(common, piece.number, piece.arguments, piece.kinds, piece.delta)
            special[rows], expect[rows] = piece.special, piece.expect
            made[rows], closed[rows], node[rows] = piece.made, piece.closed, places.nodes(piece)
            substituted.add(places.substituted(piece) + rows.start)
        rows_ = Rows(
            event=layout.event, form=form, forms=_forms(packer), value_begin=begin, values=packer.values(),
            special=special, made=made, closed=closed, expect=expect,
            thread_begin=layout.thread_begin, thread_number=layout.threads, **_no_waits(),
        )  # fmt: skip
        tree = self.mapping.tree
        paths = [tree.path(one) for one in range(len(tree))]
        more = columns_of_labels(self.tables, layout.event) | (self._rounded_columns() if self.rounded else {})
        apart = substituted.whole()
        return rows_, Recorded(self.trace, layout.event, node, apart, paths, more, self.named, self.folder), sizes

    def _rounded_columns(self) -> dict[str, Any]:
        """What rows are to find in the place of what was recorded."""
        event = self.layout.event
        known: dict[str, Any] = {name: plain_column(self.tables, event, name) for name in ("size", "offset", "result")}
        return known | (columns_for_rides(self.tables, event) if self.rides else {})

    def _piece(self, event: Ids, part: npt.NDArray[np.uint8]) -> Piece:
        """Some rows: recorded calls, extra duplications, extra closes, begins, ends."""
        events, n = self.tables.events, len(event)
        is_main = part == CALL
        main = np.flatnonzero(is_main)
        rows = event[main]
        op = np.full(n, -1, np.int16)
        op[main] = main_op = events.op[rows]
        calls = self.builder.build(rows)
        success = np.zeros(n, np.bool_)
        success[main] = good = events.result[rows] >= 0
        what = _SPECIAL[main_op]
        what[(what == UNMAP) & ~good] = PLAIN
        locks = np.flatnonzero(_MAY_WAIT[main_op] & good)
        if len(locks):
            flags = np.maximum(events.flags[rows[locks]], 0)
            waits = (main_op[locks] == NUMBER_OF["flock"]) & (flags & LOCK_NB == 0) & (flags & 3 != 0)
            waits |= (main_op[locks] == NUMBER_OF["fcntl.lock"]) & np.isin(flags, WAITING_LOCKS)
            what[locks[waits]] = LOCK

        def padded(column: npt.NDArray[Any], value: int = 0) -> npt.NDArray[Any]:
            if len(main) == n:
                return column
            whole = np.full((n, *column.shape[1:]), value, column.dtype)
            whole[main] = column
            return whole

        maps = np.flatnonzero((MMAP | FAULT)[main_op])
        made, closed = self.descriptors.made[rows], self.descriptors.closed[rows]
        if len(maps):
            faults = maps[FAULT[main_op[maps]]]
            calls.arguments[faults, 0] = self.memory.slot_at(rows[faults])
            calls.kinds[faults, 0] = MAPPED
            calls.delta[faults] = self.memory.delta_at(rows[faults])
            maps = maps[MMAP[main_op[maps]]]
            made[maps] = self.memory.slot_at(rows[maps])
        piece = Piece(
            event=event, op=op, is_main=is_main, success=success, special=padded(what),
            extra=(part == EXTRA_DUP) | (part == EXTRA_CLOSE), number=padded(calls.number),
            arguments=padded(calls.arguments), kinds=padded(calls.kinds), delta=padded(calls.delta),
            made=padded(made, -1), closed=padded(closed, -1), expect=np.zeros(0, np.int64),
            check=np.zeros(0, np.uint8),
        )  # fmt: skip
        if len(main) < n:
            self._others(piece, part)
        return piece

    def _others(self, piece: Piece, part: npt.NDArray[np.uint8]) -> None:
        """Rows that are no recorded calls."""
        at = np.flatnonzero(part == EXTRA_DUP)
        dups = self.dups[self.layout.dup[self.dups_done : self.dups_done + len(at)]]
        self.dups_done += len(at)
        piece.op[at], piece.special[at] = NUMBER_OF["fcntl.dupfd"], OPEN
        piece.number[at] = self.builder.numbers[NUMBER_OF["fcntl.dupfd"]]
        piece.arguments[at, 0], piece.kinds[at, 0] = dups[:, 1], DESCRIPTOR
        piece.arguments[at, 1], piece.arguments[at, 2] = 1030, 3
        piece.made[at] = dups[:, 2]
        at = np.flatnonzero(part == EXTRA_CLOSE)
        piece.op[at], piece.special[at] = NUMBER_OF["close"], CLOSE
        piece.number[at] = self.builder.numbers[NUMBER_OF["close"]]
        piece.closed[at] = self.descriptors.closed[piece.event[at]]
        piece.arguments[at, 0], piece.kinds[at, 0] = piece.closed[at], DESCRIPTOR
        marks = np.flatnonzero(part >= THREAD_BEGINS)
        begins = part[marks] == THREAD_BEGINS
        piece.special[marks] = np.where(begins, BEGIN, END)
        # begin and end of each thread alternate
        piece.made[marks] = self.layout.threads[(self.marks_done + np.arange(len(marks))) // 2]
        self.marks_done += len(marks)

    def _explicit_positions(self) -> tuple[tuple[Flags, Flags], Flags]:
        """Copies that named the positions in source and destination, and events that used a description's own."""
        events, op = self.tables.events, self.tables.events.op
        n = len(events)
        none = np.broadcast_to(np.False_, n)
        own = own_positions(events)
        own_too = none
        if len(own):
            own_too = np.zeros(n, np.bool_)
            own_too[own] = True
        if len(rows_of(COPIES, op)) == 0:
            return (none, none), own_too
        copies = COPIES[op]
        moves = one_of(("read", "readv", "write", "writev"))[op] | own_too
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
        return (copies & ~source, copies & ~target), (copies & (source | target)) | own_too

    def _pass_on(self) -> None:
        """Which thread gets what is passed at forks: the child, or the first of its process that does anything."""
        events, held, lanes = self.tables.events, self.descriptors.holdings, self.lanes
        first = {int(held.group_of[held.process_of[family[0]]]): family[0] for family in lanes.families}
        self.takes: dict[int, list[tuple[int, int]]] = {}
        self.takers: list[tuple[int, int]] = []
        for fork, source, slots in self.descriptors.passed:
            child = int(events.child[fork])
            if lanes.of_thread[child] < 0:
                child = first.get(int(held.group_of[held.process_of[child]]), -1)
            if child >= 0:
                self.descriptors.made[fork] = child
                self.takers.append((fork, child))
                self.takes.setdefault(child, []).extend((source, slot) for slot in slots)
        self.opened_before_forks = [
            (held.opened[to], fork)
            for fork, _, to in held.passed
            if events.thread[held.opened[to]] != events.thread[fork]
        ]

    def _worker_names(self) -> list[str]:
        """The processes of each worker, by their numbers in the trace."""
        held, lanes = self.descriptors.holdings, self.lanes
        processes: list[dict[int, None]] = [{} for _ in range(len(lanes.worker_begin) - 1)]
        for family, worker in zip(lanes.families, lanes.family_worker, strict=True):
            processes[worker].update(dict.fromkeys(int(held.process_of[thread]) for thread in family))
        texts = []
        for mine in processes:
            shown = [self.tables.process_text[process] for process in list(mine)[:3]]
            texts.append(", ".join(shown) + (f" and {len(mine) - 3} more" if len(mine) > 3 else ""))
        return texts

    def _apart(self) -> Flags:
        """Workers of which a group of processes shares the descriptors, but not the working folder."""
        held, lanes = self.descriptors.holdings, self.lanes
        apart = np.zeros(len(lanes.worker_begin) - 1, np.bool_)
        for family, worker in zip(lanes.families, lanes.family_worker, strict=True):
            apart[worker] |= len({int(held.process_of[thread]) for thread in family}) > 1
        return apart

    def _threads(self, strings: Strings) -> Threads:
        events, count, held = self.tables.events, self.tables.threads, self.descriptors.holdings
        process, lanes = held.process_of, self.lanes
        nodes = np.append(self.builder.folders.start, np.int32(-1))[process]
        root = strings.number(b"", True)
        tree = self.mapping.tree
        sets = np.zeros(count, np.bool_)
        apart = self._apart()
        for family, worker in zip(lanes.families, lanes.family_worker, strict=True):
            sets[family if apart[worker] else family[0]] = True
        folder = [
            -1 if not own else strings.number(tree.path(node), True) if node >= 0 else root
            for node, own in zip(nodes.tolist(), sets.tolist(), strict=True)
        ]
        umask = np.append(self.tables.process_umask, NONE)[process]
        numbers = range(count)
        unset = np.array([-1] * count, np.int64)
        marker_begin, marker_end = unset.copy(), unset.copy()
        issuing = np.zeros(count + 1, np.bool_)
        for rows in chunks(len(events)):
            chosen = (self.selection.reason[rows] == Reason.KEPT) & ~ORDERS[events.op[rows]]
            issuing[events.thread[rows][chosen]] = True
        for thread in np.flatnonzero(issuing[:count]).tolist():
            marker_begin[thread] = strings.number(f"{MARKER}:{thread}:begin".encode())
            marker_end[thread] = strings.number(f"{MARKER}:{thread}:end".encode())
        close = self._closes()
        unmap: list[list[tuple[int, int, int]]] = [[] for _ in numbers]
        for slot, delta, length, owner in self.memory.left:
            # what several threads mapped stays until the worker ends
            if owner >= 0:
                unmap[owner].append((slot, delta, length))
        takes = [self.takes.get(thread, []) for thread in numbers]
        return Threads(
            folder=np.array(folder or [root], np.int64),
            marker_begin=marker_begin,
            marker_end=marker_end,
            umask=np.where(umask == NONE, 0o022, umask) & 0o077,
            close_begin=np.cumsum([0, *(len(slots) for slots in close)]).astype(np.int64),
            close_slot=np.array([slot for slots in close for slot in slots], np.int64),
            unmap_begin=np.cumsum([0, *(len(pieces) for pieces in unmap)]).astype(np.int64),
            unmap=np.array([piece for pieces in unmap for piece in pieces], np.int64).reshape(-1, 3),
            take_begin=np.cumsum([0, *(len(pairs) for pairs in takes)]).astype(np.int64),
            take_from=np.array([source for pairs in takes for source, _ in pairs], np.int64),
            take_to=np.array([slot for pairs in takes for _, slot in pairs], np.int64),
        )

    def _closes(self) -> list[list[int]]:
        """Slots that each thread closes at its end: what the trace leaves open, by the last that may use it."""
        events, descriptors, lanes = self.tables.events, self.descriptors, self.lanes
        held = descriptors.holdings
        thread_of = np.full(held.count + 1, -1, np.int32)
        process_of = np.full(held.count + 1, -1, np.int32)
        for column in (descriptors.open, descriptors.other_open):
            if column.strides[0]:
                note_owners(column, events.thread, thread_of)
                note_owners(column, events.process, process_of)
        family_of = {int(held.group_of[held.process_of[one[0]]]): at for at, one in enumerate(lanes.families)}
        close: list[list[int]] = [[] for _ in range(self.tables.threads)]
        self.families_that_close: set[int] = set()
        for x, slot in descriptors.left:
            thread = int(thread_of[x])
            if thread < 0 or lanes.of_thread[thread] < 0:
                group = int(held.group[x]) if held.group[x] >= 0 else int(held.group_of[process_of[x]])
                family = family_of.get(group, -1)
                if family < 0:
                    continue
                self.families_that_close.add(family)
                thread = lanes.last[family]
            close[thread].append(slot)
        return close

    def _inherited(self) -> list[Inherited]:
        events, tree, held, lanes = self.tables.events, self.mapping.tree, self.descriptors.holdings, self.lanes
        process_of = np.full(held.count + 1, -1, np.int32)
        for column in (events.open, events.other_open):
            if column.strides[0]:
                note_owners(column, events.process, process_of)
        worker_of = {
            int(held.group_of[held.process_of[family[0]]]): worker
            for family, worker in zip(lanes.families, lanes.family_worker, strict=True)
        }
        found: dict[int, Inherited] = {}
        for one, slots in self.descriptors.inherited:
            x = int(held.description[one])
            group = int(held.group[one]) if held.group[one] >= 0 else int(held.group_of[process_of[one]])
            worker = worker_of.get(group, -1)
            if x in found:
                found[x].slots += slots
                found[x].workers += [worker] * len(slots)
                continue
            event = int(self.selection.open_first[x])
            file = int(events.file[event])
            flags = int(self.tables.file_inherited_flags[file]) if file >= 0 else NONE
            offset = int(self.tables.file_inherited_offset[file]) if file >= 0 else NONE
            found[x] = Inherited(
                list(slots), [worker] * len(slots), tree.path(int(self.selection.open_node[x])),
                0o2 if flags == NONE else flags, max(0, 0 if offset == NONE else offset),
            )  # fmt: skip
        return list(found.values())

    def _not_replayed(self) -> dict[str, int]:
        counts = np.zeros(len(Reason), np.int64)
        for rows in chunks(len(self.selection.reason)):
            counts += np.bincount(self.selection.reason[rows], minlength=len(counts))
        pairs = [(count, Reason(reason)) for reason, count in enumerate(counts.tolist()) if count]
        return {REASON_TEXT[why]: count for count, why in sorted(pairs, reverse=True) if why is not Reason.KEPT}


def _forms(packer: Packer) -> Forms:
    fields = packer.forms.known(0)
    common = fields[:, 0]
    return Forms(
        op=((common >> 16) - 1).astype(np.int16), special=(common >> 8 & 0xFF).astype(np.uint8),
        extra=(common >> 4 & 1).astype(np.bool_), number=fields[:, 1].copy(), check=(common & 0xF).astype(np.uint8),
        kinds=fields[:, 2].copy(), constants=fields[:, 3:].copy(),
    )  # fmt: skip


def _no_waits() -> dict[str, Any]:
    nothing = np.zeros(0, np.int64)
    names = ("busy_ns", "idle_ns", "due_ns", "wait_begin", "wait_row")
    return dict.fromkeys(names, nothing) | {"awaited": np.zeros(0, np.bool_)}


def _special() -> npt.NDArray[np.uint8]:
    special = np.full(len(OPENS), PLAIN, np.uint8)
    for table, what in (
        (OPENS | DUPS, OPEN), (one_of(("dup2", "dup3")), DUP_ONTO), (CLOSES, CLOSE), (MMAP, MAP),
        (one_of(("munmap",)), UNMAP), (FAULT, TOUCH), (ORDERS, ORDER),
    ):  # fmt: skip
        special[table] = what
    return special


_SHORT_MAX: Final = (1 << 31) - VALUES_MAX * CHUNK_ROWS
"""More values than these may not be numbered by an int32 in the next chunk."""
_SPECIAL: Final = _special()
"""What the kernel does with a recorded call, by its operation."""
_MAY_WAIT: Final = one_of(("flock", "fcntl.lock"))

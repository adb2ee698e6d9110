"""The plan of a replay: a pure function of a trace and options.

From a trace's tables: which paths move where (mapping), which operations are replayed (select), what must exist before
(snapshot), which descriptors and mappings they use; from these the rows that a kernel runs (see iotrace.replay.rows).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iotrace.errors import ReplayError
from iotrace.replay.arguments import call_numbers
from iotrace.replay.columns import Ids, Tables, chunks, load_tables
from iotrace.replay.descriptors import assign_descriptors
from iotrace.replay.direct import round_out
from iotrace.replay.filed import filed
from iotrace.replay.holdings import Holdings
from iotrace.replay.inference import infer_snapshot
from iotrace.replay.layout import lay_out
from iotrace.replay.lifetimes import lifetimes_of
from iotrace.replay.mapping import map_paths
from iotrace.replay.memory import resolve_memory
from iotrace.replay.named import name_files
from iotrace.replay.needs import apart_of, threads_of
from iotrace.replay.operation_sets import FAULT, ORDERS, UMASK
from iotrace.replay.owned import closes_at_ends, inherited_of, pass_on
from iotrace.replay.positions import explicit_positions
from iotrace.replay.room import check_rows, folder_for
from iotrace.replay.row_builder import RowBuilder
from iotrace.replay.rows import Plan, plan_hash
from iotrace.replay.scans import rows_of
from iotrace.replay.schedule import Lanes, assign_lanes, set_gaps, set_waits
from iotrace.replay.select import REASON_TEXT, Reason, Selection, select
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
    events, held = tables.events, descriptors.holdings
    kept = selection.kept
    # where nothing was a request there is no column of them
    requests = bool(events.asynchronous.strides[0]) and bool((events.asynchronous & kept).any())
    if folder is None:
        check_rows(int(np.count_nonzero(kept)))
    lanes = assign_lanes(tables, kept, held)
    passed = pass_on(tables, descriptors, lanes)
    dups = np.array(descriptors.extra_dups, dtype=np.int64).reshape(-1, 3)
    dups = dups[np.argsort(dups[:, 0], kind="stable")]
    closes = np.array(descriptors.extra_closes, dtype=np.int64)
    threads = np.flatnonzero(lanes.of_thread >= 0)
    live: Ids = threads[np.argsort(lanes.rank[threads])].astype(np.int32)
    layout = lay_out(live, tables.threads, events.thread, events.time_ns, kept, dups[:, 0].copy(), closes)
    events.release("time_ns")
    thread_lane = lanes.of_thread[live]
    lane_begin = np.append(layout.thread_begin, len(layout.event))[
        np.searchsorted(thread_lane, np.arange(lanes.count + 1))
    ].astype(np.int64)
    explicit, implicit = explicit_positions(tables)
    builder = RowBuilder(
        tables, mapping, selection, memory, snapshot, descriptors, explicit, layout, dups, rounded, rides or requests
    )
    rows, recorded, sizes = builder.build(trace, named, folder)
    close, families_that_close = closes_at_ends(tables, descriptors, lanes)
    needs = threads_of(tables, mapping, selection, memory, held, lanes, builder.calls, close, passed.takes)
    inherited = inherited_of(tables, mapping, selection, descriptors, lanes)
    events.release("offset", "other_offset", "size", "count", "address", "mode")
    nothing = np.zeros(0, np.int32)
    descriptors.made = descriptors.closed = descriptors.open = descriptors.other_open = nothing
    memory.delta = memory.length = np.zeros(0, np.int64)
    set_waits(
        rows, layout.part, tables, mapping, selection, memory, lanes, implicit,
        order, passed.opened_before, passed.takers, families_that_close,
    )  # fmt: skip
    lifetimes = lifetimes_of(tables, layout.event, layout.part)
    events.release("flags", "path", "other_path", "file", "other_file", "open", "other_open", "process")
    set_gaps(rows, layout, tables, selection, lanes)
    return Plan(
        rows=rows,
        lane_begin=lane_begin,
        threads=needs,
        strings=builder.calls.names.strings,
        snapshot=snapshot,
        inherited=inherited,
        worker_begin=lanes.worker_begin,
        worker_names=_worker_names(tables, held, lanes),
        apart=apart_of(held, lanes),
        slots=descriptors.count,
        map_slots=memory.count,
        high_numbers=descriptors.numbers,
        most_open=descriptors.most_open,
        recorded=recorded,
        thread_numbers=tables.threads,
        not_replayed=_not_replayed(selection),
        prefixes=[_prefix_text(prefix) for prefix in mapping.prefixes],
        read_bytes=sizes.read_bytes,
        write_bytes=sizes.write_bytes,
        growth_bytes=sizes.growth_bytes,
        growth_entries=sizes.growth_entries,
        warnings=[rounded.note] if rounded else [],
        lifetimes=lifetimes,
        asynchronous=requests,
        folder=folder,
    )


def _prefix_text(prefix: tuple[bytes, ...]) -> str:
    return "/" + b"/".join(prefix).decode("utf-8", "backslashreplace")


def _without_number(tables: Tables, selection: Selection) -> None:
    lacks = (call_numbers() < 0) & ~ORDERS & ~FAULT
    lacks[-1] = False
    rows = rows_of(lacks, tables.events.op)
    selection.reason[rows[selection.reason[rows] == Reason.KEPT]] = Reason.ARCHITECTURE


def _worker_names(tables: Tables, held: Holdings, lanes: Lanes) -> list[str]:
    """The processes of each worker, by their numbers in the trace."""
    processes: list[dict[int, None]] = [{} for _ in range(len(lanes.worker_begin) - 1)]
    for family, worker in zip(lanes.families, lanes.family_worker, strict=True):
        processes[worker].update(dict.fromkeys(int(held.process_of[thread]) for thread in family))
    texts = []
    for mine in processes:
        shown = [tables.process_text[process] for process in list(mine)[:3]]
        texts.append(", ".join(shown) + (f" and {len(mine) - 3} more" if len(mine) > 3 else ""))
    return texts


def _not_replayed(selection: Selection) -> dict[str, int]:
    """How many operations are left out, by why."""
    counts = np.zeros(len(Reason), np.int64)
    for rows in chunks(len(selection.reason)):
        counts += np.bincount(selection.reason[rows], minlength=len(counts))
    pairs = [(count, Reason(reason)) for reason, count in enumerate(counts.tolist()) if count]
    return {REASON_TEXT[why]: count for count, why in sorted(pairs, reverse=True) if why is not Reason.KEPT}

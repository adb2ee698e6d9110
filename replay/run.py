"""Running plans: lanes as threads, runs interleaved over mounts and repeats, each on a tree made anew; gives a Result.

`run_replay` is the Python face of `iotrace replay`.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from iotrace.compiling import is_compiled
from iotrace.errors import ReplayError, StorageError, UsageError
from iotrace.mounts.mountinfo import mount_of, mounts_of_this_machine
from iotrace.replay.cache import STATES
from iotrace.replay.direct import alignment_of
from iotrace.replay.ground import Ground
from iotrace.replay.guard import page_guard
from iotrace.replay.kernels import lane as kernel
from iotrace.replay.kernels.ring import DEPTH_MAX
from iotrace.replay.kernels.ring_lane import run_ring_lane
from iotrace.replay.lanes import NUMBERS_SPARE, LaneMemory, Openings, resolve_strings
from iotrace.replay.measure import Measured, measure, tables_of
from iotrace.replay.payload import Contents, Payload
from iotrace.replay.plan import build_plan
from iotrace.replay.readying import Trees
from iotrace.replay.result import MountInfo, Result, ResultInfo, Run
from iotrace.replay.rides import Rides, rides_of
from iotrace.replay.ring import LSEEK, no_ring_warning, refuse_broken_rings, ring_tables, why_no_ring
from iotrace.replay.rows import Plan
from iotrace.replay.sight import load_sights
from iotrace.replay.stage import check_room, needs_of
from iotrace.replay.stopping import Asked, stop_signals, wake
from iotrace.trace.reader import Trace, open_trace

TIMINGS: Final = {"asap": kernel.ASAP, "think": kernel.THINK, "original": kernel.ORIGINAL}
ENGINES: Final = ("psync", "uring")

CACHE_WARNING: Final = (
    "Reads may come from this client's page cache (--cache {}): for those of the storage itself, --cache cold."
)


@dataclass(slots=True)
class Options:
    """How to replay; see run_replay."""

    prefixes: list[str] = field(default_factory=list)
    engine: str = "psync"
    timing: str = "think"
    speed: float = 1.0
    order: str = "file"
    repeat: int = 1
    max_bytes: int | None = None
    keep: bool = False
    depth: int = 1
    batch: int = 1
    fixed: bool = False
    direct: bool = False
    compress: float = 0.0
    duplicate: float = 0.0
    staged: Path | None = None
    cache: str = "recorded"
    drop_caches: bool = False

    @property
    def cache_state(self) -> str:
        """State of the page cache before a run: with O_DIRECT nothing is to be there."""
        return "cold" if self.direct else self.cache


def run_replay(
    trace: str | Path | Trace,
    fs: str | Path | Sequence[str | Path],
    *,
    prefixes: Sequence[str] = (),
    engine: str = "psync",
    timing: str = "think",
    speed: float = 1.0,
    order: str = "file",
    repeat: int = 1,
    max_bytes: int | None = None,
    keep: bool = False,
    depth: int = 1,
    batch: int = 1,
    fixed: bool = False,
    direct: bool = False,
    compress: float = 0.0,
    duplicate: float = 0.0,
    staged: str | Path | None = None,
    cache: str = "recorded",
    drop_caches: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Result:
    """Replay a trace on one mount or several.

    Parameters
    ----------
    trace: the trace, or its folder.
    fs: folder on the mount under test; with several, runs alternate between them (A B, B A, …).
    prefixes: recorded paths that move there; empty: the command's working folder and every mount that is not the
    system's own.
    engine: "psync": each recorded call itself, one thread for each recorded thread; "uring": reads, writes and fsyncs
    as requests to io_uring.
    timing: "asap" without gaps; "think" with the recorded gaps between a thread's calls; "original" at the recorded
    times.
    speed: gaps and times are divided by this.
    order: "file" keeps conflicting accesses of all threads in their recorded order; "thread" each thread's own only.
    repeat: runs on each mount.
    max_bytes: most bytes to put on a mount.
    keep: leave the trees there.
    depth: requests of a thread in flight at a time ("uring"); above 1 that is another program than the recorded one.
    batch: requests submitted at a time.
    fixed: register files and buffers with the ring.
    direct: open all files with O_DIRECT, with offsets and sizes rounded out to what the mounts ask for.
    compress, duplicate: shares (0 to 1) of the files' contents that a compressor saves, and that repeat others.
    staged: a tree that was kept, or the folder that it lies in: it is used again, and kept again.
    cache: state of this client's page cache before each run: "recorded", "warm" or "cold"; with `direct` cold.
    drop_caches: with "cold": empty the caches of the whole machine; needs root.
    progress: called with (what, done, total) while a tree is made (bytes) and while it runs (rows are not told; total
    0).

    Returns
    -------
    Result, not yet saved.

    Raises
    ------
    TraceError: the trace cannot be read.
    ReplayError: nothing remains to be replayed, or the machine's limits do not allow it.
    StorageError: a mount lacks the space, or fails.
    UsageError: an option makes no sense.
    """
    options = Options(
        list(prefixes), engine, timing, speed, order, repeat, max_bytes, keep, depth, batch, fixed, direct, compress,
        duplicate, Path(staged) if staged is not None else None, cache, drop_caches,
    )  # fmt: skip
    _check(options)
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    if opened.info.detail == "histogram":
        raise ReplayError(
            f"{opened.folder} holds counts, not operations: only what was recorded without --detail histogram can be "
            "replayed."
        )
    folders = [Path(one) for one in ([fs] if isinstance(fs, (str, Path)) else fs)]
    if not folders:
        raise UsageError("replay where? --fs DIR names a folder on the mount under test.")
    alignment = alignment_of(folders) if direct else 0
    plan = build_plan(opened, options.prefixes, options.order, rides=engine == "uring", alignment=alignment)
    return replay_plan(plan, opened, folders, options, progress)


def _check(options: Options) -> None:
    for name, value, allowed in (
        ("--timing", options.timing, tuple(TIMINGS)), ("--engine", options.engine, ENGINES),
        ("--order", options.order, ("file", "thread")), ("--cache", options.cache, STATES),
    ):  # fmt: skip
        if value not in allowed:
            raise UsageError(f"{name} {value}: choose one of {', '.join(allowed)}.")
    if not options.speed > 0 or options.speed == float("inf"):
        raise UsageError(f"--speed {options.speed}: a factor above 0, such as 2 for twice as fast.")
    if options.engine != "uring" and (options.depth, options.batch, options.fixed) != (1, 1, False):
        raise UsageError("--depth, --batch and --fixed are options of --engine uring.")
    if not 1 <= options.batch <= options.depth <= DEPTH_MAX:
        raise UsageError(
            f"--depth {options.depth} --batch {options.batch}: a depth from 1 to {DEPTH_MAX}, a batch up to it."
        )
    if options.direct and options.cache == "warm":
        raise UsageError("--cache warm: --direct reads past the page cache; leave one of them out.")
    if options.repeat < 1:
        raise UsageError(f"--repeat {options.repeat}: at least 1.")


def replay_plan(
    plan: Plan,
    trace: Trace,
    folders: Sequence[Path],
    options: Options,
    progress: Callable[[str, int, int], None] | None = None,
) -> Result:
    """Run a plan on each folder, as often as the options say; see run_replay."""
    sights = load_sights(trace)
    needs = needs_of(plan, sights)
    for folder in folders:
        if not folder.is_dir():
            raise StorageError(f"{folder}: no such folder; --fs names one on the mount under test.")
        check_room(needs, folder, options.max_bytes, needs.staged_bytes if options.staged else 0)
    info = _result_info(plan, trace, folders, options)
    contents = Contents(Payload(compress=options.compress, duplicate=options.duplicate))
    rides = _rides(plan, options, info.warnings)
    measured: list[Measured] = []
    with stop_signals() as asked, ExitStack() as ends:
        if progress and not is_compiled(run_ring_lane if rides else kernel.run_lane):
            progress("compiling, once after the installation", 0, 0)
        _prepare(plan)
        trees = Trees(plan, contents, sights, options, needs, asked, ends, progress)
        for turn in range(options.repeat):
            for folder in list(folders) if turn % 2 == 0 else list(reversed(folders)):
                run = Run(
                    run=len(info.runs), round=turn, fs=str(folder), mount=mount_info(folder), started_utc=_utc(),
                    staged_files=needs.staged_entries, staged_bytes=needs.staged_bytes,
                )  # fmt: skip
                tree = trees.ready(folder)
                for note in trees.cache(tree, run.mount.type):
                    if note not in info.warnings:
                        info.warnings.append(note)
                if progress:
                    progress(f"replaying on {folder}", 0, 0)
                outcome = _run_lanes(plan, rides, tree.ground, options, asked)
                asked.check()
                if outcome.full:
                    raise StorageError(
                        f"{folder}: no space left during the replay, after {outcome.ops} operations; the tree was "
                        "removed: choose a larger mount."
                    )
                measured.append(measure(plan, outcome, run))
                info.runs.append(run)
        info.warnings += trees.kept()
    histograms, intervals = tables_of(plan, info.runs, measured)
    return Result(info, histograms, intervals)


@dataclass(slots=True)
class Outcome:
    """What the kernels wrote: for each row start, duration (ns) and result; wall and CPU time."""

    started: Any
    took: Any
    result: Any
    start_ns: int
    wall_ns: int
    cpu_s: float
    full: bool
    root_bytes: int

    @property
    def ops(self) -> int:
        """Rows that ran."""
        return int((self.result != kernel.NOT_RUN).sum())


def _prepare(plan: Plan) -> None:
    """Raise the limits and compile the kernel before anything is timed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = plan.most_open + plan.high_numbers + NUMBERS_SPARE
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ReplayError(
            f"the trace has up to {plan.most_open} files open at a time, with iotrace's own {needed}, and this "
            f"process may open {hard}: raise the limit (ulimit -Hn), or map less (--map)."
        )
    if soft < hard or soft == resource.RLIM_INFINITY:
        wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run_lanes(plan: Plan, rides: Rides | None, ground: Ground, options: Options, asked: Asked) -> Outcome:
    rows, threads, n = plan.rows, plan.threads, len(plan.rows)
    started, took = np.zeros(n, np.int64), np.zeros(n, np.int64)
    result = np.full(n, kernel.NOT_RUN, np.int64)
    control = _lines(kernel.CONTROL_WORDS)
    lines = _lines(plan.lanes * kernel.LANE_WORDS)
    lines[kernel.WAKE_AT :: kernel.LANE_WORDS] = 1 << 62
    strings, kept_alive = resolve_strings(plan, os.fsencode(ground.tree))
    lane_of_row = np.repeat(np.arange(plan.lanes, dtype=np.int64), np.diff(plan.lane_begin))
    map_base = np.zeros(max(1, plan.map_slots), np.int64)
    with Openings(plan, ground.tree) as openings, LaneMemory(plan) as memory, page_guard(plan.lanes):

        def arguments(lane: int, first: int, last: int, control: Any, lines: Any) -> tuple[Any, ...]:
            return (
                lane, first, last, TIMINGS[options.timing], float(options.speed), openings.high,
                rows.special, rows.form, rows.forms.number, rows.forms.kinds, rows.forms.constants, rows.value_begin,
                rows.values, rows.made, rows.closed, rows.expect,
                rows.busy_ns, rows.idle_ns, rows.due_ns, rows.wait_begin, rows.wait_row, rows.awaited, lane_of_row,
                openings.slots, strings, map_base, memory.tables[lane], control.ctypes.data, lines.ctypes.data,
                threads.folder, threads.umask, threads.marker_begin, threads.marker_end,
                threads.close_begin, threads.close_slot, threads.unmap_begin, threads.unmap,
                started, took, result,
            )  # fmt: skip

        rings = ring_tables(plan, rides, memory.tables, options.fixed) if rides else []

        def work(lane: int, first: int, last: int, control: Any, lines: Any) -> tuple[Any, tuple[Any, ...]]:
            values = arguments(lane, first, last, control, lines)
            if rides is None:
                return kernel.run_lane, values
            return run_ring_lane, (
                *values, rides.opcode, rides.slot, rides.length, rides.offset, rides.count, rides.how, rides.buffer,
                rides.room, rides.behind, rides.reposition, rides.together, places, rings[lane].ctypes.data,
                LSEEK,
            )  # fmt: skip

        places = rides.place_of_slot.copy() if rides else None
        _warm_up(work)
        workers = []
        for lane in range(plan.lanes):
            begin, end = int(plan.lane_begin[lane]), int(plan.lane_begin[lane + 1])
            function, values = work(lane, begin, end, control, lines)
            workers.append(threading.Thread(target=function, args=values, daemon=True))
        asked.watch(control)
        try:
            try:
                for worker in workers:
                    worker.start()
            except RuntimeError:
                control[kernel.STOP] = kernel.STOP_ASKED
                raise ReplayError(
                    f"this machine allows no {plan.lanes} threads: raise the limit (ulimit -u), or map less (--map)."
                ) from None
            while control[kernel.READY] < plan.lanes and not asked.number:
                time.sleep(0.001)
            failed = lines[kernel.SETUP_ERROR :: kernel.LANE_WORDS].max()
            if failed:
                control[kernel.STOP] = kernel.STOP_ASKED
                raise ReplayError(
                    f"a thread cannot have its own working folder (unshare: {os.strerror(int(failed))}): "
                    "the container's seccomp profile must allow it."
                )
            refuse_broken_rings(rings, control)
            cpu = _cpu_s()
            started_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            control[kernel.START_NS] = started_ns
            control[kernel.GO] = 1
            for worker in workers:
                while worker.is_alive():
                    worker.join(0.1)
                    ground.heartbeat()
                    if asked.number:
                        wake(workers)
            cpu = _cpu_s() - cpu
        finally:
            control[kernel.STOP] = control[kernel.STOP] or kernel.STOP_ASKED
            while any(worker.is_alive() for worker in workers):
                wake(workers)
                time.sleep(0.002)
            asked.watch(None)
            _unmap(plan, map_base, rows)
        refuse_broken_rings(rings, control)
        ended = int(lines[kernel.ENDED_NS :: kernel.LANE_WORDS].max())
    del kept_alive
    return Outcome(
        started, took, result, started_ns, max(1, ended - started_ns), cpu,
        bool(control[kernel.STOP] == kernel.STOP_FULL), len(os.fsencode(ground.tree)) + 1,
    )  # fmt: skip


def _lines(words: int) -> Any:
    """Zeros that begin at a cache line, in memory of their own."""
    whole = np.zeros(words + 8, np.int64)
    skip = (-whole.ctypes.data % 64) // 8
    return whole[skip : skip + words]


def _rides(plan: Plan, options: Options, warnings: list[str]) -> Rides | None:
    """What rides on rings, with a warning where there are none to ride on."""
    uring = options.engine == "uring"
    rides = rides_of(plan, all_rows=uring, depth=options.depth, batch=options.batch, fixed=options.fixed)
    reason = why_no_ring() if rides else None
    if reason:
        warnings.append(no_ring_warning(options.engine, reason))
        return None
    return rides


def _warm_up(work: Callable[[int, int, int, Any, Any], tuple[Any, tuple[Any, ...]]]) -> None:
    """Compile the kernel (or load it from the cache) by running no rows, in a thread whose folder may be its own."""
    control, lines = _lines(kernel.CONTROL_WORDS), _lines(kernel.LANE_WORDS)
    control[kernel.GO] = 1
    function, values = work(0, 0, 0, control, lines)
    thread = threading.Thread(target=function, args=values)
    thread.start()
    thread.join()


def _unmap(plan: Plan, map_base: Any, rows: Any) -> None:
    libc = ctypes.CDLL(None)
    for slot, delta, length in plan.unmap_last.tolist():
        if map_base[slot] > 0:
            libc.munmap(ctypes.c_void_p(int(map_base[slot]) + delta), ctypes.c_size_t(length))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def mount_info(folder: Path) -> MountInfo:
    """The mount that a folder is on; empty when that cannot be found out."""
    mount = mount_of(os.path.realpath(folder), mounts_of_this_machine())
    return MountInfo(mount.point, mount.type, mount.source, mount.options) if mount else MountInfo()


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _result_info(plan: Plan, trace: Trace, folders: Sequence[Path], options: Options) -> ResultInfo:
    from iotrace import __version__

    warnings = list(plan.warnings)
    if options.cache_state != "cold":
        warnings.append(CACHE_WARNING.format(options.cache_state))
    if not trace.info.complete:
        warnings.insert(0, "The trace is incomplete (cut off, or operations were lost): so is its replay.")
    return ResultInfo(
        version=__version__,
        host=platform.node(),
        kernel=platform.release(),
        created_utc=_utc(),
        source=trace.folder.name,
        source_command=list(trace.info.command),
        plan_hash=plan.hash,
        options={
            "fs": [str(folder) for folder in folders], "map": plan.prefixes, "engine": options.engine,
            "timing": options.timing, "speed": options.speed, "order": options.order, "repeat": options.repeat,
            "max_bytes": options.max_bytes, "keep": options.keep, "depth": options.depth, "batch": options.batch,
            "fixed": options.fixed, "direct": options.direct, "compress": options.compress,
            "duplicate": options.duplicate, "staged": str(options.staged or ""), "cache": options.cache_state,
            "drop_caches": options.drop_caches,
        },
        not_replayed=dict(plan.not_replayed),
        warnings=warnings,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cpus=os.cpu_count() or 0,
    )  # fmt: skip

"""Running plans: runs interleaved over mounts and repeats, each on a tree made anew; gives a Result.

`run_replay` is the Python face of `iotrace replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from iotrace.compiling import is_compiled
from iotrace.errors import ReplayError, StorageError, UsageError
from iotrace.replay.checking import Verification
from iotrace.replay.crew import Clone, prepare, run_clones
from iotrace.replay.direct import alignment_of
from iotrace.replay.flushing import changes_storage
from iotrace.replay.kernels import lane as kernel
from iotrace.replay.kernels.checked_lane import run_checked_lane
from iotrace.replay.kernels.ring_lane import run_ring_lane
from iotrace.replay.measure import Measured, measure, tables_of
from iotrace.replay.null import NOWHERE, null_figures, run_null
from iotrace.replay.options import Options, check_options
from iotrace.replay.payload import Contents, Payload
from iotrace.replay.plan import build_plan
from iotrace.replay.provenance import mount_info, result_info, utc
from iotrace.replay.readying import Trees
from iotrace.replay.result import MountInfo, Result, Run
from iotrace.replay.rides import Rides, rides_of
from iotrace.replay.ring import no_ring_warning, why_no_ring
from iotrace.replay.rows import Plan
from iotrace.replay.sight import load_sights
from iotrace.replay.stage import check_room, needs_of
from iotrace.replay.stopping import stop_signals
from iotrace.replay.times import note_times
from iotrace.trace.reader import Trace, open_trace

VERIFY_WARNING: Final = (
    "What the program gave to io_uring or libaio was replayed as calls, one after the other, so that each can be "
    "verified."
)


def run_replay(
    trace: str | Path | Trace,
    fs: str | Path | Sequence[str | Path] = (),
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
    null: bool = False,
    verify: bool = False,
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
    null: issue nothing: waits, gaps and order as always, results as recorded; `fs` is not touched and may be left out.
    verify: files hold blocks that say which they are; what reads get is compared.
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
        duplicate, Path(staged) if staged is not None else None, cache, drop_caches, null, verify,
    )  # fmt: skip
    check_options(options)
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    if opened.info.detail == "histogram":
        raise ReplayError(
            f"{opened.folder} holds counts, not operations: only what was recorded without --detail histogram can be "
            "replayed."
        )
    folders = [Path(one) for one in ([fs] if isinstance(fs, (str, Path)) else fs)]
    if not folders and (not null or direct):
        raise UsageError("replay where? --fs DIR names a folder on the mount under test.")
    alignment = alignment_of(folders) if direct else 0
    plan = build_plan(opened, options.prefixes, options.order, rides=engine == "uring", alignment=alignment)
    return replay_plan(plan, opened, folders, options, progress)


def replay_plan(
    plan: Plan,
    trace: Trace,
    folders: Sequence[Path],
    options: Options,
    progress: Callable[[str, int, int], None] | None = None,
) -> Result:
    """Run a plan on each folder, as often as the options say; see run_replay."""
    if options.null:
        return _replay_null(plan, trace, options, progress)
    sights = load_sights(trace)
    needs = needs_of(plan, sights)
    for folder in folders:
        if not folder.is_dir():
            raise StorageError(f"{folder}: no such folder; --fs names one on the mount under test.")
        check_room(needs, folder, options.max_bytes, needs.staged_bytes if options.staged else 0)
    info = result_info(plan, trace, folders, options)
    contents = Contents(_payload(plan, options))
    verification = Verification(plan, trace, contents, sights) if options.verify else None
    rides = None if verification else _rides(plan, options, info.warnings)
    if verification and plan.asynchronous:
        info.warnings.append(VERIFY_WARNING)
    overlap = rides is not None and (options.depth > 1 or plan.asynchronous)
    changes = changes_storage(plan)
    measured: list[Measured] = []
    with stop_signals() as asked, ExitStack() as ends:
        lane = run_checked_lane if verification else run_ring_lane if rides else kernel.run_lane
        if progress and not is_compiled(lane):
            progress("compiling, once after the installation", 0, 0)
        prepare([plan])
        info.without_io = null_figures(plan, options, asked)
        trees = Trees(plan, contents, sights, options, needs, asked, ends, progress)
        for turn in range(options.repeat):
            for folder in list(folders) if turn % 2 == 0 else list(reversed(folders)):
                run = Run(
                    run=len(info.runs), round=turn, fs=str(folder), mount=mount_info(folder), started_utc=utc(),
                    staged_files=needs.staged_entries, staged_bytes=needs.staged_bytes,
                )  # fmt: skip
                tree = trees.ready(folder)
                for note in trees.cache(tree, run.mount.type):
                    if note not in info.warnings:
                        info.warnings.append(note)
                if progress:
                    progress(f"replaying on {folder}", 0, 0)
                if changes:
                    trees.flush(tree)
                check = verification.check(plan) if verification else None
                outcome = run_clones([Clone(plan, rides, tree.ground, check=check)], options, asked)[0]
                asked.check()
                if outcome.full:
                    raise StorageError(
                        f"{folder}: no space left during the replay, after {outcome.ops} operations; the tree was "
                        "removed: choose a larger mount."
                    )
                if changes:
                    run.sync_s = trees.flush(tree)
                run.verified = check.verified() if check else None
                measured.append(measure(plan, outcome, run))
                note_times(plan, outcome, run, options, info.without_io, overlap)
                info.runs.append(run)
        info.warnings += trees.kept()
        info.warnings += list(filter(None, (run.limit for run in info.runs)))[:1]
    histograms, intervals = tables_of(plan, info.runs, measured)
    return Result(info, histograms, intervals)


def _payload(plan: Plan, options: Options) -> Payload:
    """What files hold; blocks that say which they are say of which plan's tree, too."""
    seed = {"seed": int(plan.hash[:14], 16)} if options.verify else {}
    return Payload(compress=options.compress, duplicate=options.duplicate, verify=options.verify, **seed)


def _replay_null(
    plan: Plan, trace: Trace, options: Options, progress: Callable[[str, int, int], None] | None
) -> Result:
    """Run a plan without its I/O, as often as the options say."""
    info = result_info(plan, trace, [], options)
    measured: list[Measured] = []
    with stop_signals() as asked:
        if progress and not is_compiled(kernel.run_lane):
            progress("compiling, once after the installation", 0, 0)
        prepare([plan])
        info.without_io = null_figures(plan, options, asked)
        for turn in range(options.repeat):
            run = Run(run=turn, round=turn, fs=NOWHERE, mount=MountInfo(), started_utc=utc())
            if progress:
                progress("replaying without I/O", 0, 0)
            outcome = run_null(plan, options, asked)
            asked.check()
            measured.append(measure(plan, outcome, run, null=True))
            note_times(plan, outcome, run, options, None, overlap=False)
            info.runs.append(run)
    histograms, intervals = tables_of(plan, info.runs, measured)
    return Result(info, histograms, intervals)


def _rides(plan: Plan, options: Options, warnings: list[str]) -> Rides | None:
    """What rides on rings, with a warning where there are none to ride on."""
    uring = options.engine == "uring"
    rides = rides_of(plan, all_rows=uring, depth=options.depth, batch=options.batch, fixed=options.fixed)
    reason = why_no_ring() if rides else None
    if reason:
        warnings.append(no_ring_warning(options.engine, reason))
        return None
    return rides

"""Running plans: runs interleaved over mounts and repeats, each on a tree made anew; gives a Result.

`run_replay` is the Python face of `iotrace replay`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from iotrace.compiling import COMPILING, compiling_text
from iotrace.errors import StorageError, UsageError
from iotrace.mounts.counters.sampling import Sampler
from iotrace.mounts.space import space_of
from iotrace.mounts.stripes import layouts_of
from iotrace.replay.bounding import bounded
from iotrace.replay.checking import verified
from iotrace.replay.clones import Clone, Outcome
from iotrace.replay.conditions import advice_before, advice_on_plan, conditions_of
from iotrace.replay.counting import Counting, conclude
from iotrace.replay.crew import at_once, run_clones
from iotrace.replay.direct import alignment_of
from iotrace.replay.filed import filed
from iotrace.replay.fleet import Fleet
from iotrace.replay.folders import folders_of, look_at
from iotrace.replay.gathering import Share
from iotrace.replay.kernels.checked_lane import run_checked_lane
from iotrace.replay.kernels.lane import run_lane
from iotrace.replay.kernels.ring_lane import run_ring_lane
from iotrace.replay.limits import prepare
from iotrace.replay.measure import Measured, measure, tables_of
from iotrace.replay.null import NOWHERE, null_figures, run_null
from iotrace.replay.options import Options, check_options
from iotrace.replay.provenance import mount_info, mount_under, result_info, told_alike, utc
from iotrace.replay.readying import Trees
from iotrace.replay.result import COUNTERS, MountInfo, Result, ResultInfo, Run
from iotrace.replay.rows import Plan
from iotrace.replay.stopping import Asked, stop_signals
from iotrace.replay.telling import Tell
from iotrace.replay.times import note_times
from iotrace.replay.trees import OWN_NAMES
from iotrace.replay.trial import Trial
from iotrace.replay.witness import Witness
from iotrace.replay.work import Work, open_traces, plan_of, work_of
from iotrace.trace.reader import Trace


def run_replay(
    trace: str | Path | Trace | Sequence[str | Path | Trace],
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
    remount: bool = False,
    null: bool = False,
    verify: bool = False,
    users: int | None = None,
    share_inputs: bool = False,
    jitter: float = 0.0,
    seed: int = 1,
    think_scale: float = 1.0,
    timeout: float | None = None,
    check: bool = False,
    memory: int | None = None,
    fleet: Fleet | None = None,
    tell: Tell | None = None,
) -> Result:
    """Replay a trace on one mount or several.

    Parameters
    ----------
    trace: the trace, or its folder; of several, users replay one each, in turn.
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
    remount: with "cold": unmount and mount anew before each run, as /etc/fstab says; needs root.
    null: issue nothing: waits, gaps and order as always, results as recorded; `fs` is not touched and may be left out.
    verify: files hold blocks that say which they are; what reads get is compared.
    users: how many replay at the same time, each in processes and on a tree of its own; by default one for each trace,
    or for each rank of a fleet.
    share_inputs: files that no run changes are there once for all users of a trace.
    jitter: users begin up to so many seconds after the first, spread evenly at random; seed: of that.
    think_scale: with "think": gaps are multiplied by this.
    timeout: a call, or work on a tree, may wait so many seconds; then the replay ends.
    check: record the replay itself with eBPF, and compare the recording with the plan: see Run.fidelity.
    memory: bytes of memory that the workers of this process may take, their page cache included; with "cold".
    fleet: the ranks that replay together, each called with the same arguments: see iotrace.replay.fleet.joined.
    tell: who is told what goes on.

    Returns
    -------
    Result, not yet saved; of a fleet on rank 0 that of all ranks, elsewhere that of the rank's own users.

    Raises
    ------
    TraceError: the trace cannot be read.
    ReplayError: nothing remains to be replayed, or the machine's limits do not allow it.
    StorageError: a mount lacks the space, or fails.
    UsageError: an option makes no sense.
    """
    traces = open_traces(trace if isinstance(trace, (list, tuple)) else [trace])
    options = Options(
        list(prefixes), engine, timing, speed, order, repeat, max_bytes, keep, depth, batch, fixed, direct, compress,
        duplicate, Path(staged) if staged is not None else None, cache, drop_caches, remount, null, verify,
        max(len(traces), fleet.size if fleet else 1) if users is None else users, share_inputs, jitter, seed,
        think_scale, timeout, check, memory, *((fleet.rank, fleet.size) if fleet else ()),
    )  # fmt: skip
    check_options(options)
    if options.users < len(traces):
        raise UsageError(f"--users {options.users} for {len(traces)} traces: at least one user for each.")
    folders = folders_of(fs)
    if not folders and (not null or direct):
        raise UsageError("replay where? --fs DIR names a folder on the mount under test.")
    look_at([] if null else folders, timeout, tell or Tell())
    alignment = alignment_of(folders) if direct else 0
    plans = {one: (plan_of(one, options, alignment), one) for one in dict.fromkeys(traces)}
    return replay_plans([plans[one] for one in traces], folders, options, tell, fleet)


def replay_plans(
    plans: Sequence[tuple[Plan, Trace]], folders: Sequence[Path], options: Options, tell: Tell | None = None,
    fleet: Fleet | None = None,
) -> Result:  # fmt: skip
    """Run plans, dealt out to the users, at the same time on each folder, as often as the options say."""
    with filed(next((plan.folder for plan, _ in plans if plan.folder), None)):
        return _replay(plans, folders, options, tell or Tell(), fleet)


def _replay(
    plans: Sequence[tuple[Plan, Trace]], folders: Sequence[Path], options: Options, tell: Tell, fleet: Fleet | None
) -> Result:  # fmt: skip
    info = result_info(plans, folders, options)
    by_plan = {id(plan): (plan, trace) for plan, trace in plans}
    works = {
        number: work_of(plan, trace, options, info.warnings) for number, (plan, trace) in by_plan.items()
    }  # fmt: skip
    users = [works[id(plans[number % len(plans)][0])] for number in range(options.users)]
    share = Share(users, fleet)
    if fleet:
        fleet.agree({"plan": info.plan_hash, "version": info.version} | info.options)
        fleet.agree(
            {f"what {one} is on": told_alike(mount_under(one)) for one in ([] if options.null else folders)},
            "mount one file system there on all nodes",
        )
    prepare([work.plan for work in share.own], options.memory)
    with stop_signals() as asked:
        if fleet:
            fleet.asked, asked.look = asked, fleet.look
        _say_compiling(list(works.values()), tell)
        cpus = share.cpus()
        info.without_io = share.null_figures(null_figures([work.plan for work in share.own], options, asked))
        run_all = _without_io if options.null else _on_mounts
        with ExitStack() as ends:
            trial = Trial(ends.enter_context(Witness(asked.check))) if options.check else None
            measured, counted = run_all(share, cpus, folders, options, info, asked, tell, trial)
            if trial:
                tell.progress("comparing the recording with the plan", 0, 0)
                trial.judge()
    info.warnings += list(filter(None, (run.limit for run in info.runs)))[:1]
    conclude(info)
    return Result(info, *tables_of(info.runs, measured), counters=counted)


def _on_mounts(
    share: Share, cpus: int, folders: Sequence[Path], options: Options, info: ResultInfo, asked: Asked,
    tell: Tell, trial: Trial | None,
) -> tuple[list[Measured], pa.Table]:  # fmt: skip
    """All runs, and what was counted beside them; fills `info`."""
    measured: list[Measured] = []
    users, fleet = share.own, share.fleet
    overlap = any(work.overlap for work in users)
    start = fleet.start if fleet else at_once
    with ExitStack() as ends:
        group = ends.enter_context(bounded(options.memory))
        trees = Trees(share.staged, users, options, asked, ends, tell)
        counting = Counting(ends.enter_context(Sampler()), users, options.rank)
        layouts: dict[Path, list[str]] = {}
        spaces = {}  # before the first byte is staged
        told: list[str] = []
        cold = options.cache_state == "cold"
        for folder in folders:
            trees.check_room(folder, share.needs)
            spaces[folder] = space_of(str(folder))
            about = folder, mount_under(folder), spaces[folder], share.needs.staged_bytes, info.memory_bytes, cold
            # the arrays of all plans lie where those of the first one in files do
            place = next((work.plan.folder for work in users if work.plan.folder), None)
            near = advice_on_plan(folder, place)
            info.warnings += near
            told += (*advice_before(*about), *near)
        for sentence in (*told, *share.hear(told)):
            tell.advise(sentence)
        for turn in range(options.repeat):
            for folder in list(folders) if turn % 2 == 0 else list(reversed(folders)):
                mount = mount_under(folder)
                run = Run(
                    run=len(info.runs), round=turn, fs=str(folder), mount=mount_info(mount), started_utc=utc(),
                    staged_files=share.needs.staged_entries, staged_bytes=share.needs.staged_bytes,
                )  # fmt: skip
                grounds = share.hand_on([tree.ground for tree in trees.ready(folder)])
                if folder not in layouts:
                    on_lustre = mount is not None and mount.type == "lustre"
                    layouts[folder] = layouts_of(grounds[0].folder, OWN_NAMES) if on_lustre else []
                notes, cached = trees.cache(folder, mount, grounds)
                if options.remount:
                    # nobody works on it any more, and all is written out; what is in memory then is looked at again
                    with share.alone_on_node() as first:
                        if first:
                            trees.mount_anew(folder, mount)
                    mount = mount_under(folder)  # it may have another number
                    notes, cached = trees.cache(folder, mount, grounds)
                info.warnings += [note for note in notes if note not in info.warnings]
                tell.progress(f"replaying on {folder}", 0, 0)
                trees.flush(folder)
                checks = [work.check() for work in users]
                clones = [
                    Clone(work.plan, work.rides, ground, delay, check)
                    for work, ground, delay, check in zip(users, grounds, options.delays_ns(), checks, strict=True)
                ]
                outcomes = run_clones(clones, options, asked, tell.notice, counting.before(start, mount), group)
                counting.mark()
                asked.check()
                # before the others are waited for: they stop, too
                if any(outcome.full for outcome in outcomes):
                    done = sum(outcome.ops for outcome in outcomes)
                    raise StorageError(
                        f"{folder}: no space left during the replay, after {done} operations; the tree was "
                        "removed: choose a larger mount."
                    )
                share.wait()
                run.sync_s = trees.flush(folder)
                counting.mark()
                counting.end(run, cached, layouts[folder])
                run.verified = verified([check for check in checks if check])
                if trial:
                    trial.ran(run, clones)
                noted = share.gather(outcomes, run, info.warnings, grounds)
                run.conditions = conditions_of(spaces[folder], grounds, run.ranks, options.memory, layouts[folder])
                measured.append(_note(*noted, run, options, info, overlap, cpus))
        info.warnings += trees.kept()
    return measured, share.tables(counting.table())


def _without_io(
    share: Share, cpus: int, _: Sequence[Path], options: Options, info: ResultInfo, asked: Asked,
    tell: Tell, __: Trial | None,
) -> tuple[list[Measured], pa.Table]:  # fmt: skip
    """As _on_mounts, for --null: nothing is counted."""
    users, fleet = share.own, share.fleet
    start = fleet.start if fleet else at_once
    measured: list[Measured] = []
    for turn in range(options.repeat):
        run = Run(run=turn, round=turn, fs=NOWHERE, mount=MountInfo(), started_utc=utc())
        tell.progress("replaying without I/O", 0, 0)
        outcomes = run_null([work.plan for work in users], options.delays_ns(), options, asked, start)
        asked.check()
        measured.append(_note(*share.gather(outcomes, run, info.warnings), run, options, info, False, cpus))
    return measured, COUNTERS.empty_table()


def _note(
    users: Sequence[Work], outcomes: Sequence[Outcome], run: Run, options: Options, info: ResultInfo, overlap: bool,
    cpus: int,
) -> Measured:  # fmt: skip
    """Fill a run's figures, and put it among the result's."""
    ran = [(work.plan, outcome) for work, outcome in zip(users, outcomes, strict=True)]
    measured = measure(ran, run, options.null, [work.trace.folder.name for work in users])
    note_times(ran, run, options, None if options.null else info.without_io, overlap, cpus)
    info.runs.append(run)
    return measured


def _say_compiling(works: Sequence[Work], tell: Tell) -> None:
    kernels = [run_checked_lane if work.verification else run_ring_lane if work.rides else run_lane for work in works]
    texts = {compiling_text(one) for one in kernels} - {""}
    if texts:
        tell.progress("compiling", 0, 0)
    if anew := texts - {COMPILING}:
        tell.advise(anew.pop())

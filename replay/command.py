"""`iotrace replay`: replays a trace on mounts, saves the result, prints what was measured."""

from __future__ import annotations

import json as json_module
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache as cache_of_results
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from iotrace.errors import UsageError
from iotrace.replay.telling import Tell
from iotrace.terminal import console, printable, show
from iotrace.units import parse_bytes

if TYPE_CHECKING:
    from iotrace.replay.fleet import Fleet
    from iotrace.replay.result import Result

_MANY = {"negative": (), "consume_multiple": False}


def replay(
    *traces: Path,
    fs: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    map: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    engine: Literal["psync", "uring"] = "psync",
    depth: int = 1,
    batch: int = 1,
    fixed: Annotated[bool, Parameter(negative=())] = False,
    direct: Annotated[bool, Parameter(negative=())] = False,
    timing: Literal["asap", "think", "original"] = "think",
    speed: float = 1.0,
    order: Literal["file", "thread"] = "file",
    repeat: int = 1,
    max_bytes: str | None = None,
    keep: Annotated[bool, Parameter(negative=())] = False,
    staged: Path | None = None,
    compress: float = 0.0,
    duplicate: float = 0.0,
    cache: Literal["recorded", "warm", "cold"] = "recorded",
    cold: Annotated[bool, Parameter(negative=())] = False,
    drop_caches: Annotated[bool, Parameter(negative=())] = False,
    remount: Annotated[bool, Parameter(negative=())] = False,
    null: Annotated[bool, Parameter(negative=())] = False,
    verify: Annotated[bool, Parameter(negative=())] = False,
    users: int | None = None,
    ramp: str | None = None,
    latency_bound: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    ramp_plateau: float = 0.1,
    ramp_slack: float | None = None,
    ranks: int | None = None,
    share_inputs: Annotated[bool, Parameter(negative=())] = False,
    jitter: float = 0.0,
    seed: int = 1,
    think_scale: float = 1.0,
    timeout: float | None = None,
    check: Annotated[bool, Parameter(negative=())] = False,
    memory: str | None = None,
    scale: float | None = None,
    dataset: str | None = None,
    set: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
    clean: Path | None = None,
) -> int:
    """Replay a trace, or several at the same time, on one or more mounts.

    Makes the files that the trace needs, under generated names in a new folder DIR/iotrace-…, issues the recorded calls
    on them, measures each, and removes the folder again. Says which outcomes differ from the recorded ones, and exits
    with 1 when any does.

    ```
    iotrace replay T.iotrace --fs /mnt/a --fs /mnt/b --repeat 6 -o R.ioresult
    iotrace replay T.iotrace --fs /mnt/a --map /data/S1 --timing asap
    iotrace replay T.iotrace --fs /mnt/a --users 16 --share-inputs --jitter 30
    iotrace replay reference-architecture --fs /mnt/a --scale 0.001 --speed 100
    iotrace replay --clean /mnt/a
    ```

    Parameters
    ----------
    traces
        Folder of a trace, NAME.iotrace, or a profile or workload (`iotrace profile list`), of which a trace is made. Of
        several, users replay one each, in turn: a mix of jobs.
    fs
        Folder on a mount under test; give it again for further mounts, between which the runs alternate.
    output
        Folder of the result to write, NAME.ioresult; by default made from the trace's name and the time.
    map
        Recorded path that moves to the mount, with all beneath it; may be given again. By default the working folder
        of the recorded command and every mount that is not the system's own.
    engine
        How calls are issued: psync issues each recorded call itself, in one thread for each recorded thread; uring
        gives reads, writes and fsyncs to io_uring, and falls back to psync where there is none.
    depth
        Requests of a thread in flight at a time, with --engine uring. 1 is the recorded program; more is another
        program, of which independent reads and writes overlap.
    batch
        Requests submitted at a time, with --engine uring.
    fixed
        Register files and buffers with the ring, with --engine uring.
    direct
        Open all files with O_DIRECT; offsets and sizes are rounded out to what the mounts ask for, which is counted.
    timing
        asap: without gaps. think: the recorded gaps between the calls of a thread, their CPU time burnt, the rest
        slept. original: each call at its recorded time.
    speed
        Divide gaps and times by this factor.
    order
        file: conflicting accesses of different threads stay in their recorded order. thread: each thread keeps only its
        own order.
    repeat
        Runs on each mount.
    max_bytes
        Most bytes to put on a mount, such as 50GB; 10 % of the file system stay free in any case.
    keep
        Leave the files there afterwards, for --staged.
    staged
        A tree that --keep left, or the folder that it lies in: it is restored and used again, and stays.
    compress
        Share of the files' contents that a compressor can save, 0 to 1.
    duplicate
        Share of the files' blocks that repeat others, 0 to 1.
    cache
        This client's page cache before each run. recorded: of each file as many pages as the recording saw; warm: all
        that is read; cold: nothing, as always with --direct.
    cold
        Short for --cache cold: this client's caches are emptied the way that the kind of file system asks for (pages of
        the files dropped, locks of Lustre given back), and the cache guard says from counters whether the reads came
        from the storage.
    drop_caches
        With --cold: empty the caches of the whole machine; needs root.
    remount
        With --cold: unmount the mounts under test and mount them again, as /etc/fstab says, before each run; needs
        root, and that nobody uses them. For file systems whose client process keeps data.
    null
        Issue nothing: the same waits, gaps and order, results as recorded, no file made. Its makespan is what the
        program takes on a storage that answers at once; --fs may be left out.
    verify
        Files hold blocks that say which they are; what reads get is compared, and what is wrong, stale or in the wrong
        place is counted and named.
    users
        How many replay at the same time, each in processes and on a tree of its own; by default one for each trace, or
        for each rank.
    ranks
        How many ranks of this command mpirun or srun has started; they share the users out and make one result. By
        default what the launcher says.
    ramp
        Raise the users, as in users=1..64, until throughput no longer grows (--ramp-plateau) or a bound is passed
        (--latency-bound, --ramp-slack), and say where that knee is, with its interval (of --repeat 5 or more); -o is
        then a folder of results.
    latency_bound
        With --ramp: it ends where a percentile of the latencies is above a bound, as in p99=20ms, or of one class of
        operations, as in read.p99=20ms (write, metadata, sync, …); may be given again.
    ramp_plateau
        With --ramp: it ends where throughput grows by no more than this share for each doubling of the users.
    ramp_slack
        With --ramp: it ends where the median makespan is more than 1 + this times that of the fewest users.
    share_inputs
        Files that no run changes are there once for all users of a trace (as hard links).
    jitter
        Users begin up to so many seconds after the first, spread evenly at random.
    seed
        Of these random delays.
    think_scale
        With --timing think: multiply the gaps by this, such as 0.5 for a GPU twice as fast.
    timeout
        Seconds that a call, or the work on a tree, may wait for a mount; then the replay ends. Calls that wait for more
        than 10 s are named in any case.
    check
        Record the replay itself, with eBPF, and say how far its calls, sizes, offsets, order and makespan are from the
        recorded ones.
    memory
        Most memory of the replay's workers, such as 4GiB, their page cache included, by a control group: as small a
        client as in production. Goes with --cold.
    scale
        Of a profile or workload: multiply counts (movies, particles, …) by this; sizes of files and of calls stay.
    dataset
        Of a profile or workload: the data set whose numbers are taken, or the path of a .toml; by default empiar-10288,
        and of a workload its own.
    set
        Of a profile or workload: another value for a number, as in users=20; may be given again.
    force
        Replace a result of that name.
    json
        Print one JSON object with all figures (times in s and µs, sizes in bytes) and nothing else.
    clean
        Remove what replays that were killed left under this folder, and do nothing else.
    """
    if clean is not None:
        return _clean(clean)
    if not traces:
        raise UsageError("replay what? Give the folder of a trace, and --fs DIR: see `iotrace replay --help`.")
    if not fs and not null:
        raise UsageError("replay where? --fs DIR names a folder on the mount under test.")
    if cold and cache == "warm":
        raise UsageError("--cold and --cache warm: choose one of them.")
    cache = "cold" if cold else cache
    limit = parse_bytes(max_bytes) if max_bytes is not None else None
    bound = parse_bytes(memory) if memory is not None else None
    target = output or _default_output(traces[0])
    from iotrace.replay.fleet import joined
    from iotrace.replay.folders import folders_of
    from iotrace.replay.ground import leftovers
    from iotrace.replay.options import check_timeout
    from iotrace.replay.result import as_json
    from iotrace.replay.run import run_replay
    from iotrace.replay.show import differences_of, print_result
    from iotrace.replay.stopping import aside
    from iotrace.replay.synthetic import not_shrunk, traces_of

    check_timeout(timeout)
    folders = folders_of(fs or [])
    # once for all numbers of users of a ramp
    sources = cache_of_results(partial(traces_of, traces, dataset, set or [], scale, seed))

    advised = Tell().advised

    def once(users: int | None, fleet: Fleet | None = None) -> Result:
        first = fleet is None or fleet.rank == 0
        # the first of a ramp, with whom none shares and whom none waits for
        lone = ramp is not None and users == 1
        with ExitStack() as ends:
            tell = ends.enter_context(_telling()) if first else Tell()
            tell.advised = advised
            for folder in [] if null or not first else folders:
                look = partial(leftovers, folder)
                for left in aside(look, f"looking at {folder}", timeout_s=timeout, tell=tell.notice):
                    tell.notice(
                        f"{left} was left by a replay that was killed; `iotrace replay --clean {folder}` removes it."
                    )
            for text in not_shrunk(sources()):
                tell.advise(text)
            return run_replay(
                sources(), folders, prefixes=map or [], engine=engine, timing=timing, speed=speed, order=order,
                repeat=repeat, max_bytes=limit, keep=keep, depth=depth, batch=batch, fixed=fixed, direct=direct,
                compress=compress, duplicate=duplicate, staged=staged, cache=cache, drop_caches=drop_caches,
                remount=remount, null=null, verify=verify, users=users, share_inputs=share_inputs and not lone,
                jitter=0.0 if lone else jitter, seed=seed, think_scale=think_scale, timeout=timeout, check=check,
                memory=bound, fleet=fleet, tell=tell,
            )  # fmt: skip

    def here(fleet: Fleet | None) -> int:
        first = fleet is None or fleet.rank == 0
        if first and target.exists() and not force:
            raise UsageError(f"{target} exists already: choose another name with -o, or --force to replace it.")
        result = once(users, fleet)
        errors = sum(run.errors + len(differences_of(run)) for run in result.info.runs)
        if first:
            saved = result.save(target, force=force)
            if json:
                print(json_module.dumps(as_json(result.info), allow_nan=False))
            else:
                out = console()
                print_result(result.info, out)
                show(out, "")
                show(out, printable(f"Result: {saved}"))
        return 1 if (fleet.exchange(errors)[0] if fleet else errors) else 0

    if ramp is not None:
        _refuse_ramp(ramp, users, len(fs or []), null, keep or staged is not None)
        from iotrace.replay.ramp import parse_ramp
        from iotrace.replay.ramp_command import ramp as climb
        from iotrace.replay.ramp_rules import rules_of

        span = parse_ramp(ramp)
        rules = rules_of(latency_bound or [], ramp_slack, ramp_plateau)
        if span[0] < len(traces):
            raise UsageError(_too_few(ramp, span, len(traces), "for", "traces"))
        with joined(ranks) as fleet:
            if fleet and span[0] < fleet.size:
                raise UsageError(_too_few(ramp, span, fleet.size, "on", "ranks"))
            return climb(span, rules, output or target.with_suffix(".ramp"), force, json, once, fleet)
    if latency_bound or ramp_slack is not None:
        raise UsageError("--latency-bound and --ramp-slack end a ramp: say of which users, as in --ramp users=1..64.")
    with joined(ranks) as fleet:
        return here(fleet)


def _refuse_ramp(text: str, users: int | None, folders: int, null: bool, kept: bool) -> None:
    if users is not None:
        raise UsageError(f"--ramp {text} chooses the users itself: leave out --users.")
    if null or folders != 1:
        raise UsageError("--ramp is about one storage: give one --fs, and no --null.")
    if kept:
        raise UsageError("--keep and --staged are for one user: leave them out with --ramp.")


def _too_few(text: str, span: tuple[int, int], least: int, where: str, what: str) -> str:
    return (
        f"--ramp {text} {where} {least} {what}: at least one user for each, as in --ramp "
        f"users={least}..{max(span[1], 2 * least)}."
    )


def _clean(folder: Path) -> int:
    from iotrace.replay.ground import clean

    gone = clean(folder)
    out = console()
    for one in gone:
        show(out, printable(f"removed {one}"))
    if not gone:
        show(out, printable(f"{folder}: nothing there was left by a replay that is dead."))
    return 0


def _default_output(trace: Path) -> Path:
    stem = re.sub(r"\.iotrace$", "", trace.name or trace.resolve().name)
    stem = re.sub(r"[^\w.+-]", "_", stem) or "replay"
    return Path(f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}.ioresult")


@contextmanager
def _telling() -> Iterator[Tell]:
    """Notes on standard error, and where that is a terminal a bar while a tree is made."""
    notes = console(stderr=True)

    def notice(text: str) -> None:
        show(notes, printable(f"Note: {text}"))

    if not sys.stderr.isatty():
        yield Tell(notice=notice)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.fields[text]}", markup=False), BarColumn(), TimeElapsedColumn(), console=notes, transient=True
    )
    tasks: dict[str, Any] = {}
    lock = threading.Lock()

    def progress(what: str, done: int, total: int) -> None:
        with lock:
            if what not in tasks:
                tasks.clear()
                for task in bar.task_ids:
                    bar.remove_task(task)
                tasks[what] = bar.add_task("", text=printable(what), total=total or None)
            bar.update(tasks[what], completed=done)

    with bar:
        yield Tell(progress, notice)

"""`iotrace replay`: replays a trace on mounts, saves the result, prints what was measured."""

from __future__ import annotations

import json as json_module
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from iotrace.errors import UsageError
from iotrace.terminal import console, printable, show
from iotrace.units import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_MANY = {"negative": (), "consume_multiple": False}


def replay(
    trace: Path | None = None,
    /,
    *,
    fs: Annotated[list[Path] | None, Parameter(**_MANY)] = None,
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
    drop_caches: Annotated[bool, Parameter(negative=())] = False,
    null: Annotated[bool, Parameter(negative=())] = False,
    verify: Annotated[bool, Parameter(negative=())] = False,
    force: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
    clean: Path | None = None,
) -> int:
    """Replay a trace on one or more mounts.

    Makes the files that the trace needs, under generated names in a new folder DIR/iotrace-…, issues the recorded calls
    on them, measures each, and removes the folder again. Says which outcomes differ from the recorded ones, and exits
    with 1 when any does.

    ```
    iotrace replay T.iotrace --fs /mnt/a --fs /mnt/b --repeat 6 -o R.ioresult
    iotrace replay T.iotrace --fs /mnt/a --map /data/S1 --timing asap
    iotrace replay --clean /mnt/a
    ```

    Parameters
    ----------
    trace
        Folder of a trace, NAME.iotrace.
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
    drop_caches
        With --cache cold: empty the caches of the whole machine; needs root.
    null
        Issue nothing: the same waits, gaps and order, results as recorded, no file made. Its makespan is what the
        program takes on a storage that answers at once; --fs may be left out.
    verify
        Files hold blocks that say which they are; what reads get is compared, and what is wrong, stale or in the wrong
        place is counted and named.
    force
        Replace a result of that name.
    json
        Print one JSON object with all figures (times in s and µs, sizes in bytes) and nothing else.
    clean
        Remove what replays that were killed left under this folder, and do nothing else.
    """
    if clean is not None:
        return _clean(clean)
    if trace is None:
        raise UsageError("replay what? Give the folder of a trace, and --fs DIR: see `iotrace replay --help`.")
    if not fs and not null:
        raise UsageError("replay where? --fs DIR names a folder on the mount under test.")
    limit = parse_bytes(max_bytes) if max_bytes is not None else None
    target = output or _default_output(trace)
    if target.exists() and not force:
        raise UsageError(f"{target} exists already: choose another name with -o, or --force to replace it.")
    from iotrace.replay.ground import leftovers
    from iotrace.replay.result import as_json
    from iotrace.replay.run import run_replay
    from iotrace.replay.show import print_result

    notes = console(stderr=True)
    for folder in [] if null else fs or []:
        for left in leftovers(folder):
            text = f"Note: {left} was left by a replay that was killed; `iotrace replay --clean {folder}` removes it."
            show(notes, printable(text))
    with _progress() as progress:
        result = run_replay(
            trace, fs or [], prefixes=map or [], engine=engine, timing=timing, speed=speed, order=order, repeat=repeat,
            max_bytes=limit, keep=keep, depth=depth, batch=batch, fixed=fixed, direct=direct, compress=compress,
            duplicate=duplicate, staged=staged, cache=cache, drop_caches=drop_caches, null=null, verify=verify,
            progress=progress,
        )  # fmt: skip
    saved = result.save(target, force=force)
    errors = sum(run.errors for run in result.info.runs)
    if json:
        print(json_module.dumps(as_json(result.info), allow_nan=False))
    else:
        out = console()
        print_result(result.info, out)
        show(out, "")
        show(out, printable(f"Result: {saved}"))
    return 1 if errors else 0


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
def _progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on standard error while a tree is made, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    import threading

    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.fields[text]}", markup=False), BarColumn(), TimeElapsedColumn(), console=console(stderr=True),
        transient=True,
    )  # fmt: skip
    tasks: dict[str, Any] = {}
    lock = threading.Lock()

    def tell(what: str, done: int, total: int) -> None:
        with lock:
            if what not in tasks:
                tasks.clear()
                for task in bar.task_ids:
                    bar.remove_task(task)
                tasks[what] = bar.add_task("", text=printable(what), total=total or None)
            bar.update(tasks[what], completed=done)

    with bar:
        yield tell

"""Results of replays as the model's works: what one user asks for, how long it took with so many users.

How long calls took stands in the result; what the machine's processors did meanwhile was counted beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from iotrace.analysis.sizing.demand import Floats, is_metadata, is_sync
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.errors import UsageError
from iotrace.mounts.counters.processors import BUSY
from iotrace.replay.ramp import RAMP_NAME, Knee
from iotrace.replay.result import Result, Run, open_result
from iotrace.terminal import printable
from iotrace.trace.operations import BY_NAME, Kind

_LEAST_BESIDE: Final = 0.05
"""Of a makespan; what is left of it beside think time tells nothing when it is less."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one user of a replay does: `row` as a phase of kernels.rates, one item for each of its workers.

    `calls` of one user, as a text: two results of a `source` replay the same work when it is equal.
    """

    source: str
    calls: str
    row: Floats


@dataclass(frozen=True, slots=True)
class Point:
    """A replay by several users: measured makespan, and time of one user's metadata calls, reads, writes; s.

    processor_s: CPU time of the machine during it; processors: how many the machine has. local: on a disk of its own.
    """

    work: Work
    users: int
    wall_s: float
    classes_s: tuple[float, float, float]
    processor_s: float = 0.0
    processors: int = 1
    local: bool = False


def results_in(folder: Path) -> list[Path]:
    """The results that a folder stands for: those of a ramp (iotrace replay --ramp), else itself.

    Raises
    ------
    UsageError: the ramp's list of results cannot be read, or one of them is gone.
    """
    listed = folder / RAMP_NAME
    if not listed.is_file():
        return [folder]
    try:
        ramp = msgspec.json.decode(listed.read_bytes(), type=Knee)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"--fit {folder}: its {RAMP_NAME} cannot be read: {printable(str(error))}.") from None
    # the folder may have moved since
    found = [folder / Path(level.result).name for level in [*ramp.levels, *filter(None, [ramp.again])]]
    for one in found:
        if not one.is_dir():
            raise UsageError(f"--fit {folder}: {printable(one.name)} of this ramp is gone: give the others one by one.")
    return found


def points_of(folders: Sequence[Path]) -> list[Point]:
    """The replays of results, one point for each; repeats are medians.

    Raises
    ------
    UsageError: a result has several mounts, mixes traces, or did no I/O; there is one number of users only.
    """
    folders = [result for folder in folders for result in results_in(folder)]
    results = [open_result(folder) for folder in folders]
    works: dict[tuple[str, str], Work] = {}
    points = []
    # with few users there is least waiting, so that how many threads are at it is seen best
    for result, folder in sorted(zip(results, folders, strict=True), key=lambda one: _users(one[0])):
        points.append(_point(result, folder, works))
    if len({point.users for point in points}) < 2:
        raise UsageError(
            "--fit: all results have the same number of users, which tells latencies and no limits: "
            "replay with --users 1, 2, 4, …, and give each with --fit."
        )
    if len({point.processors for point in points}) > 1:
        raise UsageError("--fit: the results are of machines with different numbers of processors: fit each by itself.")
    note_processors(points, list(works.values()))
    return points


def note_processors(points: Sequence[Point], works: Sequence[Work]) -> None:
    """Fill in the CPU time that a user of each work takes.

    Other programs take time as long as a replay lasts, a work for each of its users: the two are told apart by least
    squares.
    """
    from scipy.optimize import nnls

    numbers = {id(work): number for number, work in enumerate(works)}
    asked = np.zeros((len(points), len(works) + 1))
    for row, point in zip(asked, points, strict=True):
        row[numbers[id(point.work)]], row[-1] = point.users / point.wall_s, 1.0
    busy = np.array([point.processor_s / point.wall_s for point in points])
    taken, _ = nnls(asked, busy)
    for work, seconds in zip(works, taken, strict=False):
        work.row[r.PROCESSOR] = seconds / work.row[r.WORKERS]


def _users(result: Result) -> int:
    return int(result.info.options.get("users", 1) or 1)


def _point(result: Result, folder: Path, works: dict[tuple[str, str], Work]) -> Point:
    runs = result.info.runs
    if len({run.fs for run in runs}) != 1:
        raise UsageError(f"--fit {folder}: a result of one mount; this one has {len({run.fs for run in runs})}.")
    if result.info.options.get("null"):
        raise UsageError(f"--fit {folder}: a replay with --null says nothing about a storage.")
    if len({user.source for user in runs[0].users}) > 1:
        raise UsageError(f"--fit {folder}: its users replay different traces: fit with one trace, predict the mix.")
    users = _users(result)
    run = sorted(runs, key=lambda one: one.wall_s)[(len(runs) - 1) // 2]
    if not run.io_s > 0 or not run.wall_s > 0:
        raise UsageError(f"--fit {folder}: no time was spent inside calls.")
    if any(one.guard is not None and one.guard.verdict == "client cache" for one in runs):
        raise UsageError(
            f"--fit {folder}: its reads came from the client's memory, which is no figure of the storage: "
            "replay with --cold (or --direct), and give that result."
        )
    think = result.info.without_io.makespan_s if result.info.without_io else 0.0
    key = result.info.source, _asked(run, users)
    if key not in works:
        works[key] = Work(*key, work_row(run, users, think))
    work = works[key]
    times = dict.fromkeys(("metadata", "read", "write"), 0.0)
    for name, total in run.by_op.items():
        times[_class_of(name)] += total.time_s / users
    classes = times["metadata"], times["read"], times["write"]
    processors = max(1, result.info.cpus)
    # a program's own CPU time is part of its think time
    spent = _processor_s(run, processors) if result.info.options.get("timing") == "asap" else 0.0
    return Point(work, users, run.wall_s, classes, spent, processors, run.mount.kind == "local")


def _processor_s(run: Run, processors: int) -> float:
    """CPU time of all that worked beside a run, s: where it was counted, of a FUSE client and the kernel too."""
    of_first = run.ranks[0].counters if run.ranks else run.counters
    # a block device says how long it was busy, too
    counted = [one.during[BUSY] / 1000 for one in of_first if one.scope == "node" and BUSY in one.during]
    return min(counted[0] if counted else run.cpu_s, processors * run.wall_s)


def _asked(run: Run, users: int) -> str:
    """Calls of one user, by operation, as a text that is the same for the same work."""
    return " ".join(f"{name}:{total.calls // users}" for name, total in sorted(run.by_op.items()))


def _class_of(name: str) -> str:
    kind = BY_NAME[name].kind
    if kind in (Kind.READ, Kind.COPY) or name == "mmap.fault":
        return "read"
    return "write" if kind is Kind.WRITE or is_sync(name) else "metadata"


def work_row(run: Run, users: int, think_s: float) -> Floats:
    """What one user asks for, by the same rules as the recipes: a latency for each random read, file read and sync.

    How many threads are at it together is the time inside calls over the time that is not thinking.
    """
    calls: Mapping[str, float] = {name: total.calls / users for name, total in run.by_op.items()}
    moved = {name: total.bytes / users for name, total in run.by_op.items()}
    # of next to no time there is no share to be told
    beside = run.wall_s - think_s
    workers = max(1.0, run.io_s / users / beside) if beside > _LEAST_BESIDE * run.wall_s else 1.0
    row = np.zeros(r.PHASE_FIELDS)
    opens = sum(calls.get(name, 0.0) for name in ("open", "openat"))
    reads = sum(count for name, count in calls.items() if _class_of(name) == "read")
    scattered = min(reads, sum(calls.get(name, 0.0) for name in ("pread64", "lseek")))
    row[r.WORKERS], row[r.ITEMS], row[r.THINK] = workers, workers, think_s
    row[r.META] = sum(count for name, count in calls.items() if is_metadata(name)) / workers
    row[r.LATENT_READS] = min(reads, scattered + opens) / workers
    row[r.LATENT_WRITES] = sum(count for name, count in calls.items() if is_sync(name)) / workers
    writes = sum(count for name, count in calls.items() if BY_NAME[name].kind is Kind.WRITE)
    row[r.DATA_OPS] = (reads + writes) / workers
    row[r.READS] = reads / workers
    row[r.READ] = row[r.READ_DISK] = sum(size for name, size in moved.items() if _class_of(name) == "read") / workers
    row[r.WRITE] = sum(size for name, size in moved.items() if BY_NAME[name].kind in (Kind.WRITE, Kind.COPY)) / workers
    return row

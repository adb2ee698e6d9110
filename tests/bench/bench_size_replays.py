"""Does the model predict mixes that it was not fitted to? Ramps of users on real file systems, and mixes beside them.

    make bench-size-replays SIZE_REPLAYS='--kinds delayed xfs --seconds 2'

On each file system two works are replayed as fast as they go by 1, 2 and 4 users, a storage is fitted to these
makespans and times (iotrace size --fit), and mixes of the two are predicted and replayed: the makespan of each work's
users is set beside the prediction. All is read and written past the page cache (--direct), so that it is not this
machine's memory that answers. How long the works are is found out by a first run, which warms the program as well.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import lab
from size_works import WORKS

from iotrace.analysis.sizing.fitting import Fitted, ends_s, fit
from iotrace.analysis.sizing.replays import Work, points_of
from iotrace.replay.result import Result
from iotrace.replay.run import run_replay

KINDS: Final = ("delayed", "xfs", "cephfs", "moosefs")
RAMP: Final = (1, 2, 4)
MIXES: Final = ((2, 1), (1, 2), (3, 2), (2, 3))
FIRST_ROUNDS: Final = 24
MEMORY: Final = Path("/dev/shm")


def replayed(traces: Sequence[Path], users: int, place: Path, repeat: int) -> Result:
    """Users replay the traces in turn."""
    result = run_replay(list(traces), place, prefixes=["/data"], timing="asap", users=users, repeat=repeat, direct=True)
    wrong = sum(run.errors for run in result.info.runs)
    if wrong:
        raise SystemExit(f"{wrong} calls of the replay on {place} failed: {result.info.runs[0].errors_by[:3]}")
    return result


def traces_of(place: Path, work: Path, seconds: float) -> list[Path]:
    """The works, each as long as one user takes so many seconds for on this file system."""
    traces = []
    for name, make in WORKS.items():
        first = make(FIRST_ROUNDS, work)
        wall = min(run.wall_s for run in replayed([first], 1, place, 2).info.runs)
        rounds = max(4, round(FIRST_ROUNDS * seconds / wall))
        (work / name).mkdir()
        traces.append(make(rounds, work / name))
    return traces


def fitted_on(place: Path, traces: Sequence[Path], work: Path, repeat: int) -> Fitted:
    """Replays the ramps and fits."""
    folders = []
    for trace in traces:
        for users in RAMP:
            result = replayed([trace], users, place, repeat)
            folders.append(result.save(work / f"{trace.stem}-{users}.ioresult", force=True))
    return fit(points_of(folders))


def predicted_on(kind: str, place: Path, traces: Sequence[Path], found: Fitted, repeat: int, work: Path) -> list[float]:
    """Prints a line for each mix and work; gives the errors in percent."""
    works: list[Work] = []
    for trace in traces:
        works.append(next(point.work for point in found.points if Path(point.work.source).stem == trace.stem))
    errors = []
    for users in MIXES:
        ends, _ = ends_s(found.row, works, users)
        sources = [trace for trace, count in zip(traces, users, strict=True) for _ in range(count)]
        result = replayed(sources, len(sources), place, repeat)
        result.save(work / f"mix{users[0]}{users[1]}.ioresult", force=True)
        for trace, end in zip(traces, ends, strict=True):
            walls = [
                max(one.wall_s for one in run.users if Path(one.source).stem == trace.stem) for run in result.info.runs
            ]
            middle = statistics.median(walls)
            errors.append(100 * (end / middle - 1))
            mix = " + ".join(f"{count} {one.stem}" for count, one in zip(users, traces, strict=True))
            print(
                f"| {kind} | {mix} | {trace.stem} | {end:.2f} | {middle:.2f} ({min(walls):.2f}–{max(walls):.2f}) | "
                f"{errors[-1]:+.1f} % |",
                flush=True,
            )
    return errors


def on_its_disk(place: Path) -> None:
    """Let the loop device read and write its file past the page cache."""
    source = subprocess.run(
        ["findmnt", "--noheadings", "--output", "SOURCE", place], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(["losetup", "--direct-io=on", source], check=True)


def measure(kind: str, options: argparse.Namespace, work: Path) -> list[float]:
    """All of one file system."""
    begin = time.monotonic()
    # clients and servers share all processors, as the model has them
    everybodys = lab.Cpus(*[tuple(sorted(os.sched_getaffinity(0)))] * 2)
    # what the passthrough passes on to is to take no time
    parent = MEMORY if kind == "delayed" else work
    with lab.mounted(kind, parent, everybodys) as mount:
        if kind in ("xfs", "ext4"):
            on_its_disk(mount.path)
        traces = traces_of(mount.path, work, options.seconds)
        found = fitted_on(mount.path, traces, work, options.ramp_repeat)
        for point, error in zip(found.points, found.errors, strict=True):
            print(
                f"| {kind} | fitted: {point.users} {Path(point.work.source).stem} | | "
                f"{point.wall_s * (1 + error / 100):.2f} | {point.wall_s:.2f} | {error:+.1f} % |",
                flush=True,
            )
        errors = predicted_on(kind, mount.path, traces, found, options.repeat, work)
    print(
        f"| {kind} | **mean {statistics.fmean(map(abs, errors)):.1f} %** | | | {time.monotonic() - begin:.0f} s in all "
        f"| worst {max(errors, key=abs):+.1f} % |",
        flush=True,
    )
    return errors


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=lab.KINDS, default=KINDS)
    parser.add_argument("--repeat", type=int, default=5, help="of mixes")
    parser.add_argument("--ramp-repeat", type=int, default=3, help="of what is fitted")
    parser.add_argument("--seconds", type=float, default=3.0, help="that one user alone takes for a work")
    parser.add_argument("--output", type=Path, help="keep all results in this folder")
    options = parser.parse_args()
    errors: list[float] = []
    print("| file system | mix | work | predicted s | replayed s, median (spread) | error |\n|---|---|---|---|---|---|")
    for kind in options.kinds:
        if reason := lab.missing(kind):
            print(f"| {kind} | left out: {reason} | | | | |")
            continue
        with tempfile.TemporaryDirectory(prefix="iotrace-size-") as folder:
            work = options.output / kind if options.output else Path(folder)
            work.mkdir(parents=True, exist_ok=True)
            errors += measure(kind, options, work)
    if errors:
        mean, worst = statistics.fmean(map(abs, errors)), max(errors, key=abs)
        print(f"\nMixes that were not fitted: mean error {mean:.1f} %, worst {worst:+.1f} %, {len(errors)} figures.")


if __name__ == "__main__":
    main()

"""Does the model predict mixes that it was not fitted to? Ramps of users on real file systems, and mixes beside them.

    make bench-size-replays SIZE_REPLAYS='--kinds tmpfs xfs --output build/size'

On each file system two works are replayed as fast as they go by 1, 2 and 4 users, a storage is fitted to these
makespans and times (iotrace size --fit), and mixes of the two are predicted and replayed: the makespan of each work's
users is set beside the prediction. Each replay is repeated and the median taken. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lab

from iotrace.analysis.sizing.fitting import Fitted, Work, ends_s, fit, points_of
from iotrace.profiles.model import DataSet, Profile, load
from iotrace.profiles.synthesise import synthesise
from iotrace.replay.run import run_replay

WORKS = {"class-2d": 0.0005, "patch-motion-correction": 0.01}
GIVEN = {
    "class-2d": {"classes": 20.0, "full_passes": 5.0},
    "patch-motion-correction": {"movie_bytes": 8e6, "width": 1000.0, "height": 1000.0},
}
"""Small files and several passes, so that four users have room on a small mount and yet take a while."""
RAMP = (1, 2, 4)
MIXES = ((1, 1), (2, 1), (1, 2), (2, 2))
MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def place_of(kind: str) -> Iterator[Path]:
    """A folder on a file system of this kind."""
    if kind == "tmpfs":
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            yield Path(folder)
    else:
        with lab.mounted(kind) as mount:
            yield mount.path


def fitted_on(place: Path, traces: list[Path], work: Path, repeat: int) -> Fitted:
    """Replays the ramps and fits."""
    folders = []
    for trace in traces:
        for users in RAMP:
            result = run_replay(trace, place, prefixes=["/data"], timing="asap", users=users, repeat=repeat)
            folders.append(result.save(work / f"{trace.stem}-{users}.ioresult", force=True))
    return fit(points_of(folders))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=["tmpfs", *lab.KINDS])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    errors: list[float] = []
    print("| file system | mix | work | predicted s | replayed s | error |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="iotrace-size-") as folder:
        work = Path(folder)
        traces = []
        for name, scale in WORKS.items():
            traces.append(work / f"{name}.iotrace")
            synthesise(
                load(Profile, name), load(DataSet, "empiar-10288"), traces[-1], given=GIVEN.get(name), scale=scale
            )
        for kind in options.kinds:
            if kind != "tmpfs" and (reason := lab.missing(kind)):
                print(f"| {kind} | left out: {reason} | | | | |")
                continue
            with place_of(kind) as place:
                found = fitted_on(place, traces, work, options.repeat)
                worst = max(found.errors, key=abs)
                print(
                    f"| {kind} | the ramps that it was fitted to | worst of {len(found.points)} | | | {worst:+.1f} % |"
                )
                errors += predicted_on(kind, place, traces, found, options.repeat)
    mean = statistics.fmean(map(abs, errors))
    worst = max(errors, key=abs)
    print(f"\nMixes that were not fitted: mean error {mean:.1f} %, worst {worst:+.1f} %, {len(errors)} figures.")


def predicted_on(kind: str, place: Path, traces: list[Path], found: Fitted, repeat: int) -> list[float]:
    """Prints a line for each mix and work; gives the errors in percent."""
    works: list[Work] = []
    for trace in traces:
        works.append(next(point.work for point in found.points if Path(point.work.source).stem == trace.stem))
    errors = []
    for users in MIXES:
        ends, _ = ends_s(found.row, works, users)
        # users replay the traces in turn
        sources = [trace for trace, count in zip(traces, users, strict=True) for _ in range(count)]
        result = run_replay(sources, place, prefixes=["/data"], timing="asap", users=len(sources), repeat=repeat)
        for k, trace in enumerate(traces):
            walls = [
                max(one.wall_s for one in run.users if Path(one.source).stem == trace.stem) for run in result.info.runs
            ]
            replayed = statistics.median(walls)
            errors.append(100 * (ends[k] / replayed - 1))
            mix = " + ".join(f"{count} {one.stem}" for count, one in zip(users, traces, strict=True))
            print(
                f"| {kind} | {mix} | {trace.stem} | {ends[k]:.2f} | {replayed:.2f} | {errors[-1]:+.1f} % |", flush=True
            )
    return errors


if __name__ == "__main__":
    main()

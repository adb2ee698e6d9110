"""Does a replay predict how long a real program takes on another file system? Records, replays, runs, and compares.

    make bench-fidelity FIDELITY='--runs 10 --output build/fidelity'

Each program is recorded on the disk with eBPF, replayed in think time on each mount, and run there itself, in turns
(replay, real, replay, real, …), each time on a fresh copy of its input with the same state of the client's cache. Some
recordings of the program on each mount tell the share of I/O and where replay and program differ. Servers run on one
processor, clients (FUSE daemons, programs, replays) on the others. Prints Markdown tables, and writes them and all
figures to the output folder; called again with the same folder it goes on where it stopped. docs/fidelity.md explains
the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import lab
from prediction.programs import PROGRAMS, Program
from prediction.runs import CACHES, record_real, run_real, run_replayed
from prediction.study import Pair, Predicted, Setting, Study, continue_study
from prediction.tables import tables

from iotrace import __version__
from iotrace.errors import IotraceError
from iotrace.mounts.mountinfo import mount_of, mounts_of_this_machine
from iotrace.replay.stopping import Interrupted

DISK_RECORDINGS = 5
"""Of a program on the disk; the one with the least time outside calls is replayed: a busy machine only adds to it."""


PRIORITY = -15


class OutOfTime(Exception):
    """The minutes that were given are over."""


class Bench:
    """Makes the runs that a study lacks, one at a time, and saves after each."""

    def __init__(self, options: argparse.Namespace, cpus: lab.Cpus, study: Study, work: Path) -> None:
        self.cache, self.runs, self.cpus, self.study, self.work = options.cache, options.runs, cpus, study, work
        self.recordings = min(options.recordings, options.runs)
        self.output: Path = options.output
        self.end = time.monotonic() + 60 * options.minutes
        self.before, self.began = study.seconds, time.monotonic()

    def save(self) -> None:
        """Save what there is."""
        self.study.seconds = self.before + time.monotonic() - self.began
        self.study.save(self.output / "results.json")

    def input_of(self, program: Program) -> Path:
        """Folder with the program's input, made once."""
        folder = self.work / "inputs" / program.name.replace(" ", "-")
        if not folder.exists():
            folder.mkdir(parents=True)
            program.prepare(folder)
        return folder

    def trace_of(self, program: Program) -> Path:
        """The recording on the disk that is replayed: of several the one that was disturbed least."""
        trace = self.output / "traces" / f"{program.name.replace(' ', '-')}.iotrace"
        predicted = self.study.programs[program.name]
        if predicted.recording is not None and trace.exists():
            return trace
        trace.parent.mkdir(exist_ok=True)
        predicted.recording, predicted.recorded_walls_s = None, []
        for pair in predicted.mounts.values():
            pair.replayed.clear()
        for _ in range(DISK_RECORDINGS):
            self.check_time()
            new = self.work / "new.iotrace"
            recorded = record_real(program, self.input_of(program), self.work, self.cache, self.cpus, new)
            predicted.recorded_walls_s.append(recorded.wall_s)
            if predicted.recording is None or recorded.outside_s < predicted.recording.outside_s:
                predicted.recording = recorded
                shutil.rmtree(trace, ignore_errors=True)
                shutil.move(new, trace)
        self.save()
        return trace

    def check_time(self) -> None:
        """Stop before a run for which there is no time."""
        if time.monotonic() > self.end:
            raise OutOfTime

    def complete(self, program: Program, mount: lab.Mount) -> None:
        """All runs of a program on a mount that are not there yet."""
        pair = self.study.pair(program.name, mount.kind)
        pair.failed = ""
        try:
            self._complete(program, mount, pair)
        except Interrupted:
            raise KeyboardInterrupt from None
        except (IotraceError, RuntimeError) as error:
            pair.failed = str(error)
            print(f"{program.name} on {mount.kind}: {error}", file=sys.stderr, flush=True)
        self.save()

    def _complete(self, program: Program, mount: lab.Mount, pair: Pair) -> None:
        source, trace = self.input_of(program), self.trace_of(program)
        there = self.work / "there.iotrace"
        while (turn := min(len(pair.replayed), len(pair.real_s))) < self.runs:
            self.check_time()
            # spread over the turns, since a machine drifts; the first also warms up what a new server has not done yet
            if len(pair.recorded) * self.runs <= turn * self.recordings and len(pair.recorded) < self.recordings:
                pair.recorded.append(record_real(program, source, mount.path, self.cache, self.cpus, there))
                self.save()
                self.check_time()
            if len(pair.replayed) <= len(pair.real_s):
                pair.replayed.append(run_replayed(trace, mount.path, self.cache))
            if len(pair.real_s) < len(pair.replayed):
                pair.real_s.append(run_real(program, source, mount.path, self.cache, self.cpus))
            self.save()
            print(
                f"{mount.kind}, {program.name}: {len(pair.real_s)} of {self.runs}, "
                f"replay {pair.replayed[-1].wall_s:.3f} s, program {pair.real_s[-1]:.3f} s",
                file=sys.stderr, flush=True,
            )  # fmt: skip


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [program.name for program in PROGRAMS]
    parser.add_argument("--programs", nargs="+", metavar="NAME", help=f"some of: {', '.join(names)} (default all)")
    parser.add_argument("--mounts", nargs="+", choices=lab.KINDS, default=["xfs", "cephfs", "moosefs"])
    parser.add_argument("--runs", type=int, default=10, help="of the program and of the replay each (default 10)")
    parser.add_argument("--recordings", type=int, default=5, help="of the program on each mount (default 5)")
    parser.add_argument("--cache", choices=CACHES, default="warm", help="state of the client's cache (default warm)")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no run after this time; a later call goes on")
    parser.add_argument("--output", type=Path, default=Path("build/fidelity"), help="folder of figures and traces")
    parser.add_argument("--tables", action="store_true", help="print the tables of what is there, measure nothing")
    options = parser.parse_args(arguments)
    for name in options.programs or ():
        if name not in names:
            parser.error(f"there is no program {name!r}: choose from {', '.join(names)}")
    options.programs = [program for program in PROGRAMS if program.name in (options.programs or names)]
    return options


def main() -> None:
    """Measure what is missing, print the tables."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    options.output = options.output.resolve()
    options.output.mkdir(parents=True, exist_ok=True)
    cpus = lab.Cpus.apart()
    disk = mount_of(str(options.output), mounts_of_this_machine())
    setting = Setting(
        options.cache, disk.type if disk else "?", platform.release(),
        f"servers on processors {cpus.servers}, clients on {cpus.clients}", __version__,
    )  # fmt: skip
    try:
        study = continue_study(options.output / "results.json", setting)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if not options.tables:
        study.command = sys.argv
        os.sched_setaffinity(0, cpus.clients)
        with contextlib.suppress(PermissionError):
            # programs, replays and servers alike: what else runs on the machine disturbs them less
            os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        with tempfile.TemporaryDirectory(prefix="work-", dir=options.output) as work:
            measure(Bench(options, cpus, study, Path(work)), options)
    text = tables(study)
    (options.output / "tables.md").write_text(text)
    print(text)


def measure(bench: Bench, options: argparse.Namespace) -> None:
    """Each program on each mount; what cannot be had here is named and left out."""
    programs = []
    for program in options.programs:
        if reason := program.missing():
            print(f"left out: {reason}", file=sys.stderr)
        else:
            programs.append(program)
            bench.study.programs.setdefault(program.name, Predicted())
    for kind in options.mounts:
        if reason := lab.missing(kind):
            print(f"left out: {reason}", file=sys.stderr)
            continue
        try:
            with lab.mounted(kind, bench.work, bench.cpus) as mount:
                bench.study.mounts[kind] = mount.made_of
                for program in programs:
                    bench.complete(program, mount)
        except OutOfTime:
            print("the time is over: call again to go on", file=sys.stderr)
            return
        except KeyboardInterrupt:
            raise SystemExit("stopped, and what was mounted removed: call again to go on") from None


if __name__ == "__main__":
    main()

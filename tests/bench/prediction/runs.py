"""One run of a real program, one recording of it, one replay: each on a fresh copy of the same input.

Makespan of the real program: from its start to its end, as its parent sees it. Predicted makespan: what a recording
shows before and after what a replay covers, plus the replay's wall time.
I/O time: time inside calls on the mapped folder, summed over threads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from lab.base import Cpus, on_cpus

from iotrace.mounts.mountinfo import mount_of, mounts_of_this_machine
from iotrace.replay.columns import load_tables
from iotrace.replay.plan import build_plan
from iotrace.replay.run import run_replay
from iotrace.replay.telling import Tell
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.reader import open_trace
from prediction.programs import ENVIRONMENT, Program

CACHES: Final = ("warm", "cold")
REST_S: Final = 4.0
"""How long a FUSE mount is left alone once its input was written back. What its servers and its client still work on
then, the removal of the tree before above all, is not the same after a copy and after a staging: without this rest
CephFS carried out a `git commit` in 2.5 s after the one and in 2.9 s after the other, with it in 3.2 s after either."""


class OpTime(msgspec.Struct):
    """One operation: calls and seconds inside them."""

    calls: int
    time_s: float


class Recorded(msgspec.Struct):
    """What a recording of the program tells.

    Attributes
    ----------
    before_s, after_s: outside the span from the first to the last row that a replay has (calls on the mapped folder,
    forks, execs, exits), of the time from the first call of all, the exec of the command, to the last exit.
    span_s: that span; busy_s: of it, while at least one thread was inside such a call.
    io_s: inside such calls, summed over threads; by_op: the same by operation.
    think_cpu_s, think_idle_s: between such calls of a thread, summed: computing, and not running.
    lanes: threads that a replay has.
    left_out: calls on the mapped folder that a replay does not issue (foreign attributes and the like), by operation.
    """

    before_s: float
    span_s: float
    after_s: float
    busy_s: float
    io_s: float
    think_cpu_s: float
    think_idle_s: float
    lanes: int
    by_op: dict[str, OpTime]
    left_out: dict[str, OpTime] = {}

    @property
    def wall_s(self) -> float:
        """From the program's start to its end."""
        return self.before_s + self.span_s + self.after_s

    @property
    def outside_s(self) -> float:
        """While no thread was inside a call on the mapped folder: what a replay takes from a recording as it is."""
        return self.wall_s - self.busy_s

    @property
    def io_share(self) -> float:
        """Of the program's time, while at least one thread was inside a call on the mapped folder."""
        return self.busy_s / self.wall_s


class Replayed(msgspec.Struct):
    """What a replay measured: see iotrace.replay.result.Run."""

    wall_s: float
    io_s: float
    cpu_s: float
    errors: int
    by_op: dict[str, OpTime]


def settle(mount: Path, cache: str) -> None:
    """Write back what is dirty; with `cold` drop clean pages, names and inodes too (of the whole machine).

    What a FUSE client keeps in its own memory stays: it is the same before a replay and before the program. Servers get
    time to come to rest.
    """
    folder = os.open(mount, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    os.sync()
    if cache == "cold":
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    found = mount_of(str(mount), mounts_of_this_machine())
    if found is not None and found.type.startswith("fuse"):
        time.sleep(REST_S)


@contextmanager
def copied(source: Path, mount: Path, cache: str, cpus: Cpus) -> Iterator[Path]:
    """A fresh copy of an input on a mount, settled, removed at the end."""
    folder = mount / f"real-{uuid.uuid4().hex[:12]}"
    try:
        words = ["cp", "--recursive", "--preserve=mode,links", "--no-dereference", str(source), str(folder)]
        subprocess.run(cpus.for_clients(words), check=True)
        if cache == "warm":
            _read(folder)
        settle(mount, cache)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path) -> None:
    """Read all files, as a replay does that brings the page cache to its recorded state: MooseFS forgets the pages that
    were written when a file is opened for the first time, and reads them anew."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def _run(command: list[str], folder: Path, program: Program) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in program.succeeds:
        said = [line for line in done.stderr.strip().splitlines() if not line.startswith("iotrace:")]
        raise RuntimeError(f"{program.name} failed with {done.returncode}: {said[-1] if said else 'it said nothing'}")


def run_real(program: Program, source: Path, mount: Path, cache: str, cpus: Cpus) -> float:
    """Seconds from the program's start to its end."""
    with copied(source, mount, cache, cpus) as folder:
        began = time.monotonic()
        _run(cpus.for_clients(program.command), folder, program)
        return time.monotonic() - began


def record_real(program: Program, source: Path, mount: Path, cache: str, cpus: Cpus, trace: Path) -> Recorded:
    """Record the program on a mount. The recorder may run on any processor: on those of the servers alone, where the
    command's process would begin too, its last work before it rests would make the command wait."""
    words = [
        sys.executable, "-m", "iotrace", "record", "--backend", "ebpf", "--force", "-o", str(trace), "--",
        *cpus.for_clients(program.command),
    ]  # fmt: skip
    with copied(source, mount, cache, cpus) as folder:
        _run(on_cpus([*cpus.servers, *cpus.clients], words), folder, program)
    return read_recording(trace)


def read_recording(trace: Path) -> Recorded:
    """Times of a recording, over the same calls that a replay of it would issue.

    Raises
    ------
    RuntimeError: the recording is not complete.
    """
    opened = open_trace(trace)
    if not opened.info.complete or any(opened.info.lost.values()):
        raise RuntimeError(f"{trace} is incomplete: cut off, or events were lost ({opened.info.lost})")
    plan, loaded = build_plan(opened), load_tables(opened)
    events = loaded.events
    # a replay lasts from its first row to its last, and forks, execs and exits are rows too
    rows = plan.rows.event[plan.rows.event >= 0]
    first, last = events.time_ns[rows].min(), events.end_ns[rows].max()
    mapped = plan.rows.event[plan.counted & (plan.rows.event >= 0)]
    start, end, op = events.time_ns[mapped], events.end_ns[mapped], events.op[mapped]
    processes = opened.table("processes").to_pandas()
    began, ended = events.time_ns[events.time_ns >= 0].min(), processes["end_ns"].max()
    beneath = tuple(f"{prefix.rstrip('/')}/" for prefix in plan.prefixes)
    is_beneath = np.array([text.startswith(beneath) for text in loaded.path_text] + [False])
    left = is_beneath[events.path] & (events.op >= 0)
    left[plan.rows.event[plan.rows.event >= 0]] = False
    return Recorded(
        before_s=float(first - began) / 1e9,
        span_s=float(last - first) / 1e9,
        after_s=float(ended - last) / 1e9,
        busy_s=covered_ns(start, end) / 1e9,
        io_s=float((end - start).sum()) / 1e9,
        think_cpu_s=float(plan.rows.busy_ns.sum()) / 1e9,
        think_idle_s=float(plan.rows.idle_ns.sum()) / 1e9,
        lanes=plan.lanes,
        by_op=_by_op(op, end - start),
        left_out=_by_op(events.op[left], np.maximum(events.duration_ns[left], 0)),
    )


def _by_op(op: npt.NDArray[np.int16], took_ns: npt.NDArray[np.int64]) -> dict[str, OpTime]:
    return {
        OPERATIONS[number].name: OpTime(int((op == number).sum()), float(took_ns[op == number].sum()) / 1e9)
        for number in np.unique(op).tolist()
    }


def covered_ns(start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> int:
    """Length of the union of intervals (start, end), arrays of shape (n,)."""
    order = np.argsort(start, kind="stable")
    start, latest = start[order], np.maximum.accumulate(end[order])
    # an interval adds what lies beyond the latest end before it
    reached = np.r_[start[:1], latest[:-1]]
    return int(np.maximum(latest - np.maximum(start, reached), 0).sum())


def run_replayed(trace: Path, mount: Path, cache: str) -> Replayed:
    """Replay a recording in think time on a tree made anew and settled as the program's input is.

    Raises
    ------
    RuntimeError: the replay did not say when its tree was ready, so that nobody knows what the caches held.
    """
    settled = False

    def tell(what: str, done: int, total: int) -> None:
        nonlocal settled
        if what.startswith("replaying"):
            settle(mount, cache)
            settled = True

    run = run_replay(trace, mount, timing="think", tell=Tell(tell)).info.runs[0]
    if not settled:
        raise RuntimeError("the replay did not tell when its tree was made: its caches are not those of the program")
    by_op = {name: OpTime(total.calls, total.time_s) for name, total in run.by_op.items()}
    return Replayed(run.wall_s, run.io_s, run.cpu_s, run.errors, by_op)

"""Traces from recipes: batches of events of a job, the same for the same seed, never all in memory.

Workers take items in turn, each one item after another, so a job's events are made in rounds of so many items a worker,
sorted within each round by their ends, as a recorder writes them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.errors import UsageError
from iotrace.profiles.boxes import Boxes, boxes_of
from iotrace.profiles.layout import Layout, layout_of
from iotrace.profiles.made import MadeTrace
from iotrace.profiles.model import DataSet, Phase, Profile
from iotrace.profiles.numbers import Numbers, checked_seed, numbers_of
from iotrace.profiles.templates import BYTES_PER_S, CALL_NS, COLUMNS, Template, template_of
from iotrace.profiles.totals import Totals, totals_of
from iotrace.trace.info import Mount, TraceInfo, info_of_this_machine
from iotrace.trace.matrix import batch_of_columns
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.schema import NULL

if TYPE_CHECKING:
    from iotrace.profiles.held import Held

ROUND_ROWS: Final = 1 << 19
JITTER: Final = 0.1
"""Think times of items lie so far around the recipe's (a share, evenly at random)."""
WORKERS_MAX: Final = 4096
"""Dictionary of the column op."""
_CLONE_THREAD: Final = 0x3D0F00
_ADDRESSES: Final = 1 << 38
UNSEEN: Final = "durations are nominal: this trace was made from a recipe, on no storage"


@dataclass(slots=True)
class Counters:
    """Numbers that the jobs of one trace share: the next thread, and the next opening."""

    threads: int = 0
    opens: int = 0


class Synthesis:
    """A job made from a profile, a data set and numbers.

    Parameters
    ----------
    seed: the same seed gives the same events.
    layout: its names, where they are a part of a larger trace's; process: its row of the table processes.
    counters: of the trace; begin_ns: when it begins; labels: columns of processes that differ from a lone job's.
    arrivals_ns: when each file that a phase follows is there, (files,); None: all are there.

    Attributes
    ----------
    first_thread: number of its first thread; reached_ns: no later event ends before that; end_ns: its end, at the end.

    Raises
    ------
    UsageError: a recipe lacks a number, or asks for more than a trace can hold.
    """

    def __init__(
        self,
        profile: Profile,
        numbers: Numbers,
        seed: int = 1,
        layout: Layout | None = None,
        process: int = 0,
        counters: Counters | None = None,
        begin_ns: int = 0,
        labels: Mapping[str, Any] | None = None,
        arrivals_ns: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.profile, self.numbers, self.seed = profile, numbers, checked_seed(seed)
        self.layout: Layout = layout or layout_of(profile, numbers)
        self.process_number, self._labels = process, dict(labels or {})
        self._arrivals_ns = arrivals_ns
        self._counters = counters or Counters()
        self.first_thread = self._counters.threads
        self._counters.threads += 1
        self.begin_ns = self.reached_ns = self.end_ns = begin_ns
        self.events = 0
        self._held = _held_by(profile, self.layout)

    def processes(self) -> list[dict[str, Any]]:
        """Its rows of the table processes, as a trace of its own has them."""
        return [self.process()]

    def process(self) -> dict[str, Any]:
        """The row of the table processes."""
        profile = self.profile
        return {
            "process": self.process_number, "pid": 1000 + self.process_number, "command": "python",
            "arguments": ["python", "-m", "cryosparc_compute.run"], "cwd": "/data/CS-project", "umask": 0o022,
            "start_ns": self.begin_ns, "end_ns": self.end_ns, "exit": 0, "project": "P1",
            "job": f"J{max(1, profile.step)}", "job_type": profile.job_types[0], "step": profile.title, "user": "user",
        } | self._labels  # fmt: skip

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Events, some at a time, in order of their ends (nearly: see max_reorder_ns in trace.json)."""
        random = np.random.default_rng(self.seed)
        clock = self.begin_ns
        for phase in self.profile.phases:
            clock = yield from self._phase(phase, clock, random)
        self.reached_ns = self.end_ns = clock

    def _phase(self, phase: Phase, clock: int, random: np.random.Generator) -> Generator[pa.RecordBatch, None, int]:
        at = f"{self.profile.name}: {phase.name}"
        items = self.numbers.count(phase.items, f"{at}: items")
        workers = min(max(1, self.numbers.count(phase.workers, f"{at}: workers")), max(1, items))
        if workers > WORKERS_MAX:
            raise UsageError(f"{at}: {workers} workers; at most {WORKERS_MAX}.")
        if items == 0:
            return clock
        threads = np.full(1, self.first_thread, np.int64)
        if workers > 1:
            threads = self._counters.threads + np.arange(workers)
            self._counters.threads += workers
            yield self._forks(threads, clock)
            clock += 2 * CALL_NS * workers
        template = template_of(self.profile, phase, self.numbers, at)
        boxes = boxes_of(self.profile, phase, template, self.numbers, self.layout, at)
        if boxes is not None:
            boxes = replace(boxes, key=int(random.integers(1 << 62)))
        opens = template.opens + (boxes.opens_max if boxes else 0)
        each = max(1, len(template) + (boxes.rows_max if boxes else 0))
        first_open = self._counters.opens
        self._counters.opens += items * opens
        clocks = np.full(workers, clock, np.int64)
        a_round = max(1, ROUND_ROWS // (each * workers))
        turns = -(-items // workers)
        for first in range(0, turns, a_round):
            parts = []
            for worker in range(workers):
                mine = np.arange(first, min(first + a_round, turns), dtype=np.int64) * workers + worker
                mine = mine[mine < items]
                if len(mine):
                    rows = self._items(template, mine, items, first_open, opens, boxes, random)
                    rows["thread"] = np.full(len(rows["op"]), threads[worker])
                    if workers > 1:
                        known = rows["address"] != NULL
                        rows["address"] = np.where(known, rows["address"] + worker * _ADDRESSES, NULL)
                    if phase.follows and self._arrivals_ns is not None:
                        _wait_for_files(rows, len(mine), self._arrivals_ns[mine], int(clocks[worker]))
                    clocks[worker] = _set_times(rows, int(clocks[worker]))
                    parts.append(rows)
            self.reached_ns = int(clocks.min())
            if parts and sum(len(rows["op"]) for rows in parts):
                yield self._batch(parts)
        return int(clocks.max())

    def _items(
        self, template: Template, items: Any, count: int, first_open: int, opens: int, boxes: Boxes | None,
        random: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Columns of all calls of some items of one worker."""
        n = len(template)
        factor = random.uniform(1 - JITTER, 1 + JITTER, len(items))
        rows = {name: np.tile(column, len(items)) for name, column in template.columns().items()}
        item = np.repeat(items, n)
        for name in ("busy", "idle"):
            rows[name] = (rows[name] * np.repeat(factor, n)).astype(np.int64)
        rows["offset"] = np.where(rows["offset"] == NULL, NULL, rows["offset"] + rows["step"] * item)
        base = first_open + item * opens
        self._name(rows, item, count, base)
        if boxes is not None:
            rows = boxes.put_between(rows, n, items, first_open + items * opens + template.opens, random)
        return rows

    def _name(self, rows: dict[str, Any], item: Any, items: int, base: Any) -> None:
        """From classes to paths and files, from slots to numbers of openings."""
        classes = self.layout.classes
        first = np.array([one.first for one in classes] + [0], np.int64)
        count = np.array([one.count for one in classes] + [1], np.int64)
        before = np.array([one.temporary - one.first for one in classes] + [0], np.int64)
        for name, path in (("file", "path"), ("other", "other_path")):
            which = rows[name]
            known = which != NULL
            which = np.where(known, which, len(classes))
            done = item * rows["turns"] + rows["turn"]
            number = first[which] + np.minimum(done * count[which] // (max(1, items) * rows["turns"]), count[which] - 1)
            temporary = (rows["temporary"] != 0) & (name == "file")
            rows[path] = np.where(known, number + np.where(temporary, before[which], 0), NULL)
            rows[f"{name}_number"] = np.where(known, number, NULL)
        for name, column in (("slot", "open"), ("other_slot", "other_open")):
            rows[column] = np.where(rows[name] == NULL, NULL, base + rows[name])

    def _forks(self, threads: Any, clock: int) -> pa.RecordBatch:
        n = len(threads)
        rows: dict[str, Any] = {name: np.full(n, NULL, np.int64) for name in COLUMNS}
        rows |= {
            name: np.full(n, NULL, np.int64)
            for name in ("path", "other_path", "file_number", "other_number", "open", "other_open")
        }
        rows |= {
            "op": np.full(n, NUMBER_OF["fork"]), "flags": np.full(n, _CLONE_THREAD), "result": 1000 + threads,
            "child": threads, "moved": np.zeros(n, np.int64), "busy": np.zeros(n, np.int64),
            "idle": np.zeros(n, np.int64), "thread": np.full(n, self.first_thread),
        }  # fmt: skip
        _set_times(rows, clock)
        return self._batch([rows])

    def _batch(self, parts: list[dict[str, Any]]) -> pa.RecordBatch:
        columns = parts[0] if len(parts) == 1 else {
            name: np.concatenate([rows[name] for rows in parts]) for name in parts[0]
        }  # fmt: skip
        ends = columns["time"] + columns["took"]
        # calls of one worker end one after another
        order: Any = slice(None) if (ends[1:] >= ends[:-1]).all() else np.argsort(ends, kind="stable")
        if self._held is not None and "step" in columns:
            columns = self._held.clip({name: column[order] for name, column in columns.items()})
            order = slice(None)
        n = len(columns["op"])
        self.events += n
        faults = columns["op"] == NUMBER_OF["mmap.fault"]
        names = {
            "op": "op", "time_ns": "time", "off_cpu_ns": "idle", "file": "file_number", "other_file": "other_number",
            "duration_ns": "took", "path": "path", "other_path": "other_path", "open": "open",
            "other_open": "other_open", "offset": "offset", "other_offset": "other_offset", "size": "size",
            "address": "address", "flags": "flags", "mode": "mode", "thread": "thread", "child": "child",
            "result": "result",
        }  # fmt: skip
        columns["took"] = np.where(faults, NULL, columns["took"])
        moves = np.isin(columns["op"], [NUMBER_OF["renameat"], NUMBER_OF["symlinkat"]])
        columns["other_number"] = np.where(moves, NULL, columns["other_number"])
        named = {name: columns[mine][order] for name, mine in names.items() if mine in columns}
        return batch_of_columns(named | {"process": np.full(n, self.process_number, np.int64)}, n)


def _held_by(profile: Profile, layout: Layout) -> Held | None:
    """What follows the lengths of files, where the job reads back what it changes; Numba is loaded only then."""
    if not profile.read_back:
        return None
    from iotrace.profiles.held import Held

    return Held(profile, layout)


def info_of(command: list[str]) -> TraceInfo:
    """What trace.json says of a trace from recipes."""
    info = info_of_this_machine("recipe", command)
    info.working_folder = "/data/CS-project"
    info.mounts = [
        Mount(1, "/", "ext4", "/dev/root"), Mount(2, "/data", "recipe", "recipe"),
        Mount(3, "/scratch", "recipe", "recipe"),
    ]  # fmt: skip
    info.unseen = [UNSEEN]
    return info


def _took(rows: dict[str, Any]) -> npt.NDArray[np.int64]:
    """Nominal duration of calls."""
    moved: npt.NDArray[np.int64] = (rows["moved"] * (1e9 / BYTES_PER_S)).astype(np.int64)
    return CALL_NS + moved


def _wait_for_files(rows: dict[str, Any], items: int, arrivals_ns: npt.NDArray[np.int64], clock: int) -> None:
    """Let each item of a worker, equally many calls, begin when its file is there; its own sleep was that wait."""
    rows["idle"][:] = 0
    took = (rows["busy"] + _took(rows)).reshape(items, -1).sum(axis=1)
    before = np.cumsum(took) - took
    # item i begins at least so much later than if all files had been there
    late = np.maximum.accumulate(np.maximum(arrivals_ns - before, clock)) - clock
    rows["idle"].reshape(items, -1)[:, 0] = np.diff(late, prepend=0)


def _set_times(rows: dict[str, Any], clock: int) -> int:
    """Start and nominal duration of one worker's calls, from `clock` on; gives when the last one ends."""
    took = _took(rows)
    end = clock + np.cumsum(rows["busy"] + rows["idle"] + took)
    rows["took"], rows["time"] = took, end - took
    return int(end[-1]) if len(end) else clock


def synthesised(
    profile: Profile, dataset: DataSet, *, given: Mapping[str, float] | None = None, scale: float = 1.0, seed: int = 1
) -> MadeTrace:
    """A job's trace, which is made when it is read.

    Parameters
    ----------
    given: numbers that replace those of the recipes.
    scale: counts are multiplied by this; sizes of files and calls are not.

    Raises
    ------
    UsageError: the recipes lack a number, or make no sense together.
    """
    numbers = numbers_of(profile, dataset, given, scale)

    def at(scale: float) -> Totals:
        return totals_of(profile, numbers_of(profile, dataset, given, scale))

    return MadeTrace(
        f"{profile.name}.iotrace",
        info_of(["iotrace", "profile", "synthesise", profile.name, "--dataset", dataset.name]),
        lambda: Synthesis(profile, numbers, seed),
        lambda scale: at(scale).events,
        scale,
        lambda scale: [(profile.name, 1, at(scale))],
    )


def synthesise(
    profile: Profile,
    dataset: DataSet,
    output: str | Path,
    *,
    given: Mapping[str, float] | None = None,
    scale: float = 1.0,
    seed: int = 1,
    force: bool = False,
) -> TraceInfo:
    """Write a job's trace; gives its trace.json. See synthesised.

    Raises
    ------
    UsageError: the recipes lack a number, or make no sense together.
    TraceError, StorageError: the trace cannot be written.
    """
    return synthesised(profile, dataset, given=given, scale=scale, seed=seed).write(output, force)

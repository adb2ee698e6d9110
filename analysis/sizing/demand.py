"""What a workload asks for, phase by phase, as the kernels take it: from the same recipes as `iotrace profile plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from iotrace.analysis.sizing.kernels import rates as r
from iotrace.analysis.sizing.storages import Node, Storage
from iotrace.profiles.layout import layout_of
from iotrace.profiles.model import Profile, Workload
from iotrace.profiles.numbers import Numbers
from iotrace.profiles.steps import JOBS_MAX, Crowd, Step, crowd_of, steps_of
from iotrace.profiles.templates import CALL_NS
from iotrace.profiles.totals import PhaseTotals, Totals, totals_of
from iotrace.trace.operations import BY_NAME, Kind
from iotrace.units import parse_bytes

Floats = npt.NDArray[np.float64]
_BY_DESCRIPTOR: Final = ("getdents", "getdents64", "ftruncate", "fallocate", "fcntl.lock", "flock")
"""Metadata operations that go to the storage though they name no file; stat of an open file does not."""
_KNOWN: Final[dict[tuple[bytes, tuple[tuple[str, float], ...]], Totals]] = {}
_KNOWN_MOST: Final = 1000


@dataclass(slots=True)
class Demand:
    """A workload's jobs.

    Attributes
    ----------
    steps: names of the steps of a user, then "live" and "microscope" where there are such.
    phase: (phases, PHASE_FIELDS); again, touched: (phases,), bytes that an item reads again, and those of the files
    that a phase reads from, each counted once. first, step_of, cached, before, beside: as for kernels.events.run.
    totals: of each step, without caches, for what it needs and makes.
    crowd: users, lanes, sessions. arrival_s: between users. numbers: the workload's own.
    gpus: that a job of each step holds, as `steps`. stack_bytes: of a user's particle stacks; kept: of how many users a
    node's own disk holds them.
    raw_bytes, made_bytes, files: of one data set: its movies, what the jobs write, how many files there are in all.
    live_bytes: of one session of Live: its movies, which a microscope writes or which are there, and what it writes.
    """

    steps: list[str]
    phase: Floats
    again: Floats
    touched: Floats
    first: npt.NDArray[np.int64]
    step_of: npt.NDArray[np.int64]
    cached: npt.NDArray[np.int64]
    before: npt.NDArray[np.bool_]
    beside: npt.NDArray[np.int64]
    totals: list[Totals]
    crowd: Crowd
    arrival_s: float
    numbers: Numbers
    gpus: list[int]
    stack_bytes: int
    kept: int
    raw_bytes: int
    made_bytes: int
    files: int
    live_bytes: int = 0


def demand_of(workload: Workload, node: Node, given: Mapping[str, float] | None = None, scale: float = 1.0) -> Demand:
    """What the jobs of a workload ask for on such nodes, nothing of it served by caches of memory.

    Raises
    ------
    UsageError: a recipe is wrong, a number is not known or makes no sense.
    """
    chosen = {"gpus": float(max(node.gpus, 1))} | dict(given or {})
    steps, (live, scope), numbers = steps_of(workload, chosen, scale)
    crowd = crowd_of(workload, numbers)
    stack_bytes = max((_stack_bytes(step) for step in steps), default=0)
    kept = crowd.cache_users or JOBS_MAX
    if node.local_capacity and stack_bytes:
        kept = min(kept, parse_bytes(node.local_capacity) // stack_bytes)
    local = crowd.cached_lanes if node.local_read and kept else 0
    crowd = replace(crowd, cached_lanes=local)
    names = [step.name for step in steps]
    extra = ([live] if crowd.live else []) + ([scope] if crowd.microscopes else [])
    rows: list[Floats] = []
    first, step_of = [0], []

    def add(step: Step, number: int, profile: Any) -> Totals:
        totals = _totals_of(profile, step.numbers)
        for one in totals.phases:
            if one.items:
                rows.append(_phase(one, node))
        if len(rows) == first[-1]:
            # a job that has nothing to do ends at once
            nothing = np.zeros(r.PHASE_FIELDS + 2)
            nothing[[r.WORKERS, r.ITEMS]] = 1.0
            rows.append(nothing)
        first.append(len(rows))
        step_of.append(number)
        return totals

    totals = [add(step, number, step.profile) for number, step in enumerate([*steps, *extra])]
    cached = np.full((len(steps), 2), -1, np.int64)
    for number, step in enumerate(steps):
        if step.cached and crowd.cached_lanes:
            for k, profile in enumerate(step.cached):
                cached[number, k] = len(step_of)
                add(step, number, profile)
    raw, movies = max(_raw_of(step) for step in steps)
    beside = [len(steps)] * crowd.live + [len(steps) + 1] * crowd.microscopes
    phase = np.array(rows).reshape(-1, r.PHASE_FIELDS + 2)
    # whoever has no GPUs at all holds none, whatever a recipe would take
    gpus = [step.numbers.count(step.profile.gpus, "gpus") if node.gpus else 0 for step in [*steps, *extra]]
    return Demand(
        names + [step.name for step in extra], np.ascontiguousarray(phase[:, : r.PHASE_FIELDS]),
        phase[:, -2], phase[:, -1], np.array(first),
        np.array(step_of), cached, np.array([[one in step.after for one in names] for step in steps], np.bool_),
        np.array(beside, np.int64), totals, crowd, crowd.arrival_s, numbers, gpus, stack_bytes, kept, raw,
        sum(one.bytes_written for one in totals[: len(steps)]),
        movies + sum(one.made_files for one in totals[: len(steps)]),
        _raw_of(live)[0] + totals[len(steps)].bytes_written if crowd.live else 0,
    )  # fmt: skip


def _totals_of(profile: Profile, numbers: Numbers) -> Totals:
    """As totals_of; what a step asks for is worked out once for all crowds, nodes and storages."""
    key = msgspec.json.encode(profile), tuple(sorted(numbers.values.items()))
    if key not in _KNOWN:
        if len(_KNOWN) >= _KNOWN_MOST:
            _KNOWN.clear()
        _KNOWN[key] = totals_of(profile, numbers)
    return _KNOWN[key]


def _raw_of(step: Step) -> tuple[int, int]:
    """Bytes and files that a microscope made and that a step asks for."""
    classes = layout_of(step.profile, step.numbers).classes
    raw = [one for one, files in zip(classes, step.profile.files.values(), strict=True) if files.place == "raw"]
    return sum(one.count * one.size for one in raw if one.exists), sum(one.count for one in raw if one.exists)


def _stack_bytes(step: Step) -> int:
    """Bytes that a step copies to a node's own disk."""
    if step.cached is None:
        return 0
    profile = step.cached[0]
    pairs = zip(layout_of(profile, step.numbers).classes, profile.files.values(), strict=True)
    return sum(one.count * one.size for one, files in pairs if files.place == "cache")


def _phase(one: PhaseTotals, node: Node) -> Floats:
    """A phase's row, and two columns more: bytes that it reads again, and bytes that it reads from, each once."""
    row = np.zeros(r.PHASE_FIELDS + 2)
    items, workers = one.items, one.workers
    calls = {name: count - one.local_calls[name] for name, count in one.calls.items()}
    turns = -(-items // workers)
    row[r.WORKERS], row[r.ITEMS] = workers, items
    # the recipes' times have a short call each, which here the storage takes
    row[r.THINK] = max(0.0, one.think_s / turns - sum(one.calls.values()) * CALL_NS / 1e9 / items) / node.speed
    if node.local_read:
        seconds = (one.local_read + one.local_mapped) / parse_bytes(node.local_read)
        seconds += one.local_written / parse_bytes(node.local_write or node.local_read)
        row[r.LOCAL] = seconds * workers / items
    meta = sum(count for name, count in calls.items() if is_metadata(name))
    opens = sum(count for name, count in calls.items() if name in ("open", "openat"))
    # the storage serves faults of mapped files as it serves reads
    reads = _count(calls, Kind.READ, Kind.COPY) + calls.get("mmap.fault", 0)
    read = one.bytes_read - one.local_read + one.bytes_mapped - one.local_mapped
    written = one.bytes_written - one.local_written
    row[r.META] = meta / items
    # whoever reads in sequence waits once for each file, for then the kernel reads ahead
    row[r.LATENT_READS] = min(reads, one.scattered + opens) / items
    row[r.LATENT_WRITES] = sum(count for name, count in calls.items() if is_sync(name)) / items
    row[r.DATA_OPS] = (reads + _count(calls, Kind.WRITE)) / items
    row[r.READS] = reads / items
    row[r.READ], row[r.READ_DISK], row[r.WRITE] = read / items, read / items, written / items
    row[-2], row[-1] = max(0, read - one.bytes_touched) / items, one.bytes_touched
    return row


def is_metadata(name: str) -> bool:
    """Whether an operation goes to a metadata server."""
    return "path" in BY_NAME[name].arguments or name in _BY_DESCRIPTOR


def is_sync(name: str) -> bool:
    """Whether an operation waits until data are where they stay: on the way of writes, not at a metadata server."""
    return BY_NAME[name].kind is Kind.SYNC or name == "msync"


def _count(calls: Mapping[str, int], *kinds: Kind) -> int:
    return sum(count for name, count in calls.items() if BY_NAME[name].kind in kinds)


def with_caches(demand: Demand, node: Node, storage: Storage, units: int) -> Demand:
    """What is read again and fits into a node's memory does not leave it; into the servers', not their disks.

    A cache that holds a part of what is gone round serves that part of it. Reads that a node's memory serves ask the
    storage for nothing: neither their bytes nor their latency; those that the servers' memory serves come over the
    network as all others.
    """
    touched, phase = np.maximum(demand.touched, 1.0), demand.phase.copy()
    kept = np.minimum(1.0, parse_bytes(node.memory) * node.page_cache / touched)
    saved = demand.again * kept
    served = np.divide(saved, phase[:, r.READ], out=np.zeros(len(phase)), where=phase[:, r.READ] > 0)
    phase[:, r.DATA_OPS] -= served * phase[:, r.READS]
    phase[:, [r.READS, r.LATENT_READS]] *= (1 - served)[:, None]
    phase[:, r.READ] -= saved
    jobs = max(demand.crowd.lanes + demand.crowd.live, 1)
    in_servers = np.minimum(1.0, storage.cache_bytes(units) / (touched * jobs))
    phase[:, r.READ_DISK] = np.maximum(0.0, phase[:, r.READ] - demand.again * (1 - kept) * in_servers)
    return replace(demand, phase=phase)


def with_crowd(demand: Demand, **changes: int) -> Demand:
    """The same jobs for other users, lanes or sessions."""
    return replace(demand, crowd=replace(demand.crowd, **changes))

"""Synthetic traces of a chosen length for the plan's benchmark: patterns of real programs, by the trace writer.

Each pattern is a cycle of calls that every thread repeats on its own files (and, in the mixture, on shared ones); start
times, durations and off-CPU times are drawn from one seed, rows stand in order of completion as a recorder writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.trace.info import TraceInfo
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.schema import SCHEMAS
from iotrace.trace.writer import TraceWriter

ROOT = "/bench"
_BATCH = 1 << 18
_NULL = -(1 << 40)
_COLUMNS = (
    "op", "path", "other_path", "file", "open", "other_open", "offset", "size", "address", "flags", "mode", "result",
)  # fmt: skip
_OP = {operation.name: number for number, operation in enumerate(OPERATIONS)}
Array = npt.NDArray[np.int64]


@dataclass
class Calls:
    """The calls of one thread: columns of int64, _NULL for null."""

    process: int
    parts: dict[str, list[Array]] = field(default_factory=lambda: {name: [] for name in _COLUMNS})
    length: int = 0

    def add(self, count: int, **values: Any) -> None:
        """So many calls; each column a value or an array."""
        for name in _COLUMNS:
            value = np.asarray(values.get(name, _NULL), np.int64)
            self.parts[name].append(np.broadcast_to(value, (count,)))
        self.length += count


@dataclass
class Names:
    """Paths and files."""

    texts: list[str] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)

    def file(self, name: str, size: int = 0, existed: bool = True, type: str = "file") -> int:
        """A path and its file, which have the same number."""
        number = len(self.texts)
        self.texts.append(f"{ROOT}/{name}")
        self.files.append({"file": number, "path": number, "type": type, "size": size, "existed": existed})
        return number

    def files_of(self, count: int, name: str, size: int) -> Array:
        """Several, numbered in `name`."""
        return np.array([self.file(name.format(i), size) for i in range(count)], np.int64)


def _cycle(calls: Calls, steps: list[dict[str, Any]], count: int) -> None:
    """The steps, one behind another, `count` times; a step's columns are values or arrays of shape (count,)."""
    columns = {}
    for name in _COLUMNS:
        filled = [np.broadcast_to(np.asarray(step.get(name, _NULL), np.int64), (count,)) for step in steps]
        columns[name] = np.stack(filled, axis=1).reshape(-1)
    calls.add(count * len(steps), **columns)


def sequential(n: int, names: Names, random: np.random.Generator) -> list[Calls]:
    """4 processes of 2 threads read movies of 32 MiB from begin to end, 128 KiB a read."""
    movies, reads = names.files_of(2000, "movies/{:05d}.mrc", 32 << 20), 256
    threads = [Calls(process) for process in range(4) for _ in range(2)]
    per = reads + 3
    cycles = n // 8 // per
    for number, calls in enumerate(threads):
        file = movies[(np.arange(cycles) * 8 + number) % len(movies)]
        opened = np.arange(cycles) * 8 + number
        on = {"file": file, "path": file, "open": opened, "result": 0}
        steps: list[dict[str, Any]] = [{**on, "op": _OP["openat"], "flags": 0o2000000, "mode": 0},
                                       {**on, "op": _OP["fstat"]}]  # fmt: skip
        steps += [
            {**on, "op": _OP["read"], "offset": i << 17, "size": 1 << 17, "result": 1 << 17} for i in range(reads)
        ]
        _cycle(calls, [*steps, {**on, "op": _OP["close"]}], cycles)
    return threads


def find(n: int, names: Names, random: np.random.Generator) -> list[Calls]:
    """2 threads walk a tree of 2,500 folders of 48 files again and again."""
    folders = [names.file(f"tree/{i:04d}", type="directory") for i in range(2500)]
    files = np.array([[names.file(f"tree/{i:04d}/{k:03d}.tif", 1000) for k in range(48)] for i in range(2500)])
    threads = [Calls(0), Calls(0)]
    cycles = n // 2 // 53
    for number, calls in enumerate(threads):
        turn = (np.arange(cycles) * 2 + number) % len(folders)
        folder, opened = np.array(folders)[turn], np.arange(cycles) * 2 + number
        on = {"file": folder, "path": folder, "open": opened, "result": 0}
        steps: list[dict[str, Any]] = [
            {**on, "op": _OP["openat"], "flags": 0o2200000, "mode": 0}, {**on, "op": _OP["fstat"]},
            {**on, "op": _OP["getdents64"], "size": 32768, "result": 1584},
        ]  # fmt: skip
        steps += [{"op": _OP["newfstatat"], "path": files[turn, k], "file": files[turn, k], "flags": 0x100,
                   "result": 0} for k in range(48)]  # fmt: skip
        steps += [{**on, "op": _OP["getdents64"], "size": 32768, "result": 0}, {**on, "op": _OP["close"]}]
        _cycle(calls, steps, cycles)
    return threads


def preads(n: int, names: Names, random: np.random.Generator) -> list[Calls]:
    """4 threads read 4 KiB at random places of 300 files, open all the while, which they share."""
    stacks = names.files_of(300, "stacks/{:03d}.mrcs", 1 << 30)
    threads = [Calls(0) for _ in range(4)]
    everything = {"path": stacks, "file": stacks, "open": np.arange(300), "result": 0}
    threads[0].add(300, op=_OP["openat"], flags=0, mode=0, **everything)
    for calls in threads:
        count = n // 4
        at = random.integers(0, 300, count)
        calls.add(count, op=_OP["pread64"], path=stacks[at], file=stacks[at], open=at,
                  offset=random.integers(0, 1 << 18, count) << 12, size=4096, result=4096)  # fmt: skip
    return threads


def mixture(n: int, names: Names, random: np.random.Generator) -> list[Calls]:
    """4 processes of 2 threads: results written under another name and renamed, movies mapped, a shared log."""
    movies, log = names.files_of(500, "movies/{:03d}.tif", 16 << 20), names.file("log.txt")
    threads = [Calls(process) for process in range(4) for _ in range(2)]
    per = 46
    cycles = n // 8 // per
    outputs = 2000
    for number, calls in enumerate(threads):
        count = min(cycles, outputs)
        made = np.array([names.file(f"out/{number}/{i:05d}.star", 0, False) for i in range(count)], np.int64)
        text = np.array([names.file(f"out/{number}/{i:05d}.tmp", 0, False) for i in range(count)], np.int64)
        turn = np.arange(cycles) % count
        out, tmp, movie = made[turn], text[turn], movies[(np.arange(cycles) * 8 + number) % 500]
        opened = (np.arange(cycles) * 8 + number) * 3
        write = {"path": tmp, "file": tmp, "open": opened, "result": 0}
        read = {"path": movie, "file": movie, "open": opened + 1, "result": 0}
        append = {"path": log, "file": log, "open": opened + 2, "result": 0}
        address = (1 << 44) + (number << 36) + (np.arange(cycles) % 64 << 25)
        page = random.integers(0, 4096, (20, cycles)) << 12
        steps: list[dict[str, Any]] = [
            {"op": _OP["newfstatat"], "path": movie, "file": movie, "flags": 0, "result": 0},
            {**write, "op": _OP["openat"], "flags": 0o1101, "mode": 0o644},
            *[{**write, "op": _OP["write"], "offset": i << 12, "size": 4096, "result": 4096} for i in range(10)],
            {**write, "op": _OP["fsync"]},
            {**write, "op": _OP["close"]},
            {"op": _OP["rename"], "path": tmp, "other_path": out, "file": tmp, "result": 0},
            {"op": _OP["newfstatat"], "path": out, "file": tmp, "flags": 0, "result": 0},
            {**read, "op": _OP["openat"], "flags": 0, "mode": 0},
            {**read, "op": _OP["pread64"], "offset": 0, "size": 8, "result": 8},
            {**read, "op": _OP["mmap"], "offset": 0, "size": 16 << 20, "mode": 1, "flags": 1, "address": address},
            *[{"op": _OP["mmap.fault"], "path": movie, "file": movie, "offset": page[i], "size": 4096,
               "address": address + page[i], "result": 4096} for i in range(20)],
            {"op": _OP["munmap"], "size": 16 << 20, "address": address, "path": movie, "file": movie, "result": 0},
            {**read, "op": _OP["close"]},
            {**append, "op": _OP["openat"], "flags": 0o2001, "mode": 0},
            {**append, "op": _OP["write"], "offset": np.arange(cycles) * 80, "size": 80, "result": 80},
            {**append, "op": _OP["fsync"]},
            {**append, "op": _OP["close"]},
            {"op": _OP["newfstatat"], "path": movie, "file": _NULL, "flags": 0, "result": -2},
        ]  # fmt: skip
        if len(steps) != per:
            raise AssertionError(f"{len(steps)} steps")
        steps[-1]["path"] = names.file(f"gone-{number}", 0, False)
        _cycle(calls, steps, cycles)
    return threads


PATTERNS: dict[str, Callable[[int, Names, np.random.Generator], list[Calls]]] = {
    "sequential": sequential, "find": find, "preads": preads, "mixture": mixture,
}  # fmt: skip


def write_trace(folder: Path, pattern: str, n: int) -> Path:
    """Write a trace of about n events."""
    random, names = np.random.default_rng(1), Names()
    threads = PATTERNS[pattern](n, names, random)
    columns: dict[str, Array] = {
        name: np.concatenate([part for calls in threads for part in calls.parts[name]]) for name in _COLUMNS
    }
    lengths = [calls.length for calls in threads]
    columns["thread"] = np.repeat(np.arange(len(threads)), lengths)
    columns["process"] = np.repeat([calls.process for calls in threads], lengths)
    for calls in threads:
        calls.parts.clear()
    total = sum(lengths)
    duration, gap = random.integers(500, 20_000, total), random.integers(200, 5_000, total)
    off = np.where(random.random(total) < 0.1, gap // 2, 0)
    clock = np.cumsum(duration + gap)
    begins = np.cumsum(lengths) - lengths
    start = clock - duration - np.repeat(np.r_[0, clock][begins], lengths)
    order = np.argsort(start + duration, kind="stable")
    columns |= {"time_ns": start, "duration_ns": duration, "off_cpu_ns": off}
    processes = {calls.process for calls in threads}
    with TraceWriter(folder, TraceInfo(working_folder=ROOT, host="bench", duration_ns=int(clock.max()))) as writer:
        rows = [{"path": i, "text": text, "raw": text.encode()} for i, text in enumerate(names.texts)]
        writer.append_rows("paths", rows)
        writer.append_rows("files", names.files)
        writer.append_rows("processes", [
            {"process": i, "pid": 100 + i, "cwd": ROOT, "umask": 0o022, "start_ns": 0} for i in sorted(processes)
        ])  # fmt: skip
        texts = pa.array([operation.name for operation in OPERATIONS], pa.string())
        for at in range(0, total, _BATCH):
            chosen = order[at : at + _BATCH]
            arrays = []
            for one in SCHEMAS["events"]:
                if one.name == "op":
                    numbers = pa.array(columns["op"][chosen].astype(np.int16))
                    arrays.append(pa.DictionaryArray.from_arrays(numbers, texts))
                elif one.name in columns:
                    values = columns[one.name][chosen]
                    arrays.append(pa.array(values, mask=values == _NULL).cast(one.type))
                else:
                    arrays.append(pa.nulls(len(chosen), one.type))
            writer.append("events", pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["events"]))
    return folder

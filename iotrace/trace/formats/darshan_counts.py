"""Counters of Darshan's modules POSIX and STDIO as rows of a trace's histograms, by file and rank.

What is counted: darshan-util's documentation of the counters (POSIX_OPENS includes fileno and dup; BYTES and SIZE are
what calls moved, not what they asked for) and darshan-runtime's darshan-posix.c (the time of fsync and fdatasync goes
into F_WRITE_TIME; calls that failed are not counted; nor are closes, whose time goes into F_META_TIME).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from iotrace.histogram import bucket_of
from iotrace.trace.formats.darshan_log import Record

_CALLS: Final = {
    "POSIX": {
        "READS": "read", "WRITES": "write", "SEEKS": "lseek", "STATS": "stat", "MMAPS": "mmap", "FSYNCS": "fsync",
        "FDSYNCS": "fdatasync", "RENAME_SOURCES": "rename", "DUPS": "dup",
    },
    "STDIO": {"READS": "stdio.read", "WRITES": "stdio.write", "SEEKS": "stdio.seek", "FLUSHES": "stdio.flush"},
}  # fmt: skip
_OPENS: Final = {"POSIX": ("open", ("OPENS", "FILENOS", "DUPS")), "STDIO": ("stdio.open", ("OPENS", "FDOPENS"))}
"""How an open is called, and the counters: all ways to get a descriptor or stream, and those that open no file."""
_DATA: Final = {"POSIX": ("read", "write"), "STDIO": ("stdio.read", "stdio.write")}
_RANGES: Final = (
    # name, smallest, largest size: DARSHAN_BUCKET_INC in darshan-common.h
    ("0_100", 0, 100), ("100_1K", 101, 1 << 10), ("1K_10K", (1 << 10) + 1, 10 << 10),
    ("10K_100K", (10 << 10) + 1, 100 << 10), ("100K_1M", (100 << 10) + 1, 1 << 20), ("1M_4M", (1 << 20) + 1, 4 << 20),
    ("4M_10M", (4 << 20) + 1, 10 << 20), ("10M_100M", (10 << 20) + 1, 100 << 20),
    ("100M_1G", (100 << 20) + 1, 1 << 30), ("1G_PLUS", (1 << 30) + 1, 1 << 62),
)  # fmt: skip
_MOST: Final = 1 << 56
"""A job neither calls more often nor moves more."""
_LATEST_S: Final = (1 << 62) / 1e9
MODULES: Final = tuple(_CALLS)


@dataclass(frozen=True)
class Row:
    """A row of histograms, but for process, file, mount and interval."""

    op: str
    measure: str
    bucket: int
    count: int
    sum: int


@dataclass
class Doubts:
    """What was met that says less than it should: numbers of records."""

    untold: set[str] = field(default_factory=set)
    """Counters that the runtime did not keep (-1)."""
    bad_times: int = 0
    """Records with a time below 0, as some versions of the runtime wrote."""
    guessed: int = 0
    """Calls of which the size is known by a range alone."""


def rows_of(record: Record, doubts: Doubts) -> Iterator[Row]:
    """Rows of one record of POSIX or STDIO; none for other modules."""
    if record.module not in _CALLS:
        return
    for op, count in calls_of(record, doubts).items():
        if count:
            yield Row(op, "untimed", 0, count, 0)
    for op, way in zip(_DATA[record.module], ("READ", "WRITE"), strict=True):
        yield from _sizes(record, op, way, doubts)
    times = {name: _time(record, name, doubts) for name in ("READ", "WRITE", "META")}
    for op, name in (*zip(_DATA[record.module], ("READ", "WRITE"), strict=True), ("counted.metadata", "META")):
        if times[name]:
            yield Row(op, "time", 0, 0, times[name])


def calls_of(record: Record, doubts: Doubts) -> dict[str, int]:
    """Number of calls by operation of one record of POSIX or STDIO."""
    calls = {op: _count(record, name, doubts) for name, op in _CALLS[record.module].items()}
    op, (every, *others) = _OPENS[record.module]
    calls[op] = max(0, _count(record, every, doubts) - sum(_count(record, name, doubts) for name in others))
    return calls


def bytes_of(record: Record, way: str) -> int:
    """Bytes that a record's READ or WRITE calls moved."""
    name = {"READ": "BYTES_READ", "WRITE": "BYTES_WRITTEN"}[way]
    return min(max(0, record.counters.get(f"{record.module}_{name}", 0)), _MOST)


def _count(record: Record, name: str, doubts: Doubts) -> int:
    value = record.counters.get(f"{record.module}_{name}", 0)
    if value < 0:
        doubts.untold.add(f"{record.module}_{name}")
    return min(max(0, value), _MOST)


def _time(record: Record, name: str, doubts: Doubts) -> int:
    """Time in ns; 0 where what is there cannot be one."""
    value = record.times.get(f"{record.module}_F_{name}_TIME", 0.0)
    if 0 <= value < _LATEST_S:
        return round(value * 1e9)
    doubts.bad_times += 1
    return 0


def _sizes(record: Record, op: str, way: str, doubts: Doubts) -> Iterator[Row]:
    """Rows of sizes, whose counts are the calls and whose sums are the bytes moved.

    A call's own size is known where it is one of the four that the record counts most and nothing but calls of this way
    lies in its range; the others take the mean of what is left, or the end of their range that is closer to it.
    """
    calls, moved = _count(record, f"{way}S", doubts), bytes_of(record, way)
    if not calls:
        if moved:
            yield Row(op, "size", 0, 0, moved)
        return
    other = "WRITE" if way == "READ" else "READ"
    known: dict[int, int] = {}
    rest: list[tuple[int, int, int]] = []
    left = calls
    for name, low, high in _RANGES:
        inside = min(left, max(0, record.counters.get(f"{record.module}_SIZE_{way}_{name}", 0)))
        left -= inside
        if record.counters.get(f"{record.module}_SIZE_{other}_{name}", 0) <= 0:
            for size, count in _common(record):
                if low <= size <= high and inside:
                    known[size] = known.get(size, 0) + min(count, inside)
                    inside -= min(count, inside)
        if inside:
            rest.append((low, high, inside))
    if left:
        rest.append((0, _MOST, left))
    remaining = moved - sum(size * count for size, count in known.items())
    others = sum(count for _, _, count in rest)
    mean = max(0, remaining) // others if others else 0
    doubts.guessed += others
    found = [(size, count, size * count) for size, count in known.items()]
    found += [(min(max(mean, low), high), count, 0) for low, high, count in rest]
    if remaining < 0:
        # the record contradicts itself: its total counts
        found = [(size, count, 0) for size, count, _ in found]
        remaining = moved
    for at, (size, count, total) in enumerate(found):
        last = at == len(found) - 1
        yield Row(op, "size", int(bucket_of(np.int64(size))), count, total + (remaining if last else 0))


def _common(record: Record) -> list[tuple[int, int]]:
    """The sizes that a record counts most, and how often each occurred, reads and writes together."""
    pairs = [
        (record.counters.get(f"{record.module}_ACCESS{i}_ACCESS", 0),
         record.counters.get(f"{record.module}_ACCESS{i}_COUNT", 0))
        for i in (1, 2, 3, 4)
    ]  # fmt: skip
    return [(size, count) for size, count in pairs if size >= 0 and count > 0]


_ADDITIVE: Final = {
    "POSIX": ("OPENS", "FILENOS", "DUPS", "READS", "WRITES", "SEEKS", "STATS", "MMAPS", "FSYNCS", "FDSYNCS",
              "RENAME_SOURCES", "BYTES_READ", "BYTES_WRITTEN"),
    "STDIO": ("OPENS", "FDOPENS", "READS", "WRITES", "SEEKS", "FLUSHES", "BYTES_READ", "BYTES_WRITTEN"),
    "MPI-IO": ("INDEP_OPENS", "COLL_OPENS", "INDEP_READS", "INDEP_WRITES", "COLL_READS", "COLL_WRITES", "SPLIT_READS",
               "SPLIT_WRITES", "NB_READS", "NB_WRITES", "SYNCS", "BYTES_READ", "BYTES_WRITTEN"),
}  # fmt: skip


def sums_of(record: Record) -> dict[str, int]:
    """Counters of a record that add up over files and ranks, by Darshan's own names; those above 0."""
    prefix = record.module.replace("-", "")
    found = {f"{prefix}_{name}": record.counters.get(f"{prefix}_{name}", 0) for name in _ADDITIVE[record.module]}
    return {name: min(value, _MOST) for name, value in found.items() if value > 0}


def moves_of(record: Record) -> tuple[int, int]:
    """Reads and writes that a record counts."""
    sums = sums_of(record)
    reads = sum(value for name, value in sums.items() if name.endswith("READS"))
    return reads, sum(value for name, value in sums.items() if name.endswith("WRITES"))


def last_ns(record: Record) -> int:
    """The latest moment that a record knows, since the job's start."""
    stamps = [value for name, value in record.times.items() if name.endswith("_END_TIMESTAMP")]
    return max((round(value * 1e9) for value in stamps if 0 <= value < _LATEST_S), default=0)

"""What client caches of all sizes would serve: unique bytes and reuse distances of what was read, by step.

A read's reuse distance is how many bytes of other blocks were read or written since its own block was last: a cache
that drops what was used longest ago (LRU) serves it when it is larger than that. Where there are too many blocks a
fixed share of them is looked at, picked by a hash (SHARDS, Waldspurger et al., FAST 2015): distances and counts are
then those of that share, times its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from iotrace.analysis.findings.kernels.distances import (
    COPIES,
    FAULTS,
    MOST_LENGTH,
    READS,
    WRITES,
    distances,
    sample,
    thin,
)  # fmt: skip
from iotrace.trace.arrays import EventArrays
from iotrace.trace.operations import BY_NAME, Kind
from iotrace.trace.reader import Trace

BLOCK_SHIFT: Final = 16
"""Blocks of 64 KiB: a page cache holds pages of 4 KiB, but reads ahead in about such pieces."""
MOST: Final = 1 << 22
"""Accesses to blocks that are looked at; more are sampled."""
_ROOM: Final = 2 * ((MOST_LENGTH >> BLOCK_SHIFT) + 2)
_SALT: Final = 0x9E3779B97F4A7C15
_COLUMNS: Final = ("op", "file", "offset", "size", "result", "other_file", "other_offset")
_DOES: Final = {Kind.READ: READS, Kind.WRITE: WRITES, Kind.COPY: COPIES}
_FAULT: Final = "mmap.fault"


@dataclass(frozen=True, slots=True)
class Reuse:
    """Reuse of what a trace reads.

    Attributes
    ----------
    by_step: columns step ("" for calls without label), read_bytes (in blocks of 64 KiB, so that a small read counts as
    one), unique_bytes, again_bytes (read_bytes of blocks that had been read or written before).
    curve: columns step, cache_bytes (powers of two), served: share (0 to 1) of the step's read_bytes that an LRU cache
    of that size serves, shared with the other steps as they ran.
    share: of the blocks that were looked at, 1 where all were.
    """

    by_step: pd.DataFrame
    curve: pd.DataFrame
    share: float


def reuse_of(trace: Trace, files: npt.NDArray[np.int64] | None = None) -> Reuse:
    """Reuse of what a trace with events reads, in bounded memory.

    Parameters
    ----------
    files: look only at calls on files with these numbers, (n,); None: at all.

    Raises
    ------
    TraceError: a part of the trace is damaged.
    """
    block, kind, steps, bits = _sampled(trace, files)
    order = np.argsort(block, kind="stable")
    same = block[order][1:] == block[order][:-1]
    before = np.full(len(block), -1, np.int64)
    before[order[1:][same]] = order[:-1][same]
    apart = distances(before)
    reads = kind >= 0
    scale = (1 << BLOCK_SHIFT) << bits
    by_step, curve = [], []
    top = max(20, int(np.count_nonzero(before < 0) * scale).bit_length())
    for number, step in enumerate(steps):
        mine = reads & (kind == number)
        total = int(mine.sum())
        if not total:
            continue
        again, ordered = apart[mine & (before >= 0)], block[order[mine[order]]]
        first = 1 + np.count_nonzero(ordered[1:] != ordered[:-1])
        by_step.append((step, total * scale, first * scale, len(again) * scale))
        for power in range(20, top + 1):
            # the block itself must fit beside those used since
            served = np.count_nonzero((again + 1) * scale <= 1 << power) / total
            curve.append((step, 1 << power, served))
    return Reuse(
        pd.DataFrame(by_step, columns=["step", "read_bytes", "unique_bytes", "again_bytes"]),
        pd.DataFrame(curve, columns=["step", "cache_bytes", "served"]),
        1 / (1 << bits),
    )


def _sampled(
    trace: Trace, files: npt.NDArray[np.int64] | None
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int16], list[str], int]:
    """Blocks picked, in the order in which their calls ended, the number of the step that read each (-1: written), the
    steps, and of how many blocks one was picked, as a power of two.

    It begins with all, and drops half of them whenever there are too many.
    """
    steps, process, number = _steps(trace)
    block, kind = np.empty(MOST + _ROOM, np.uint64), np.empty(MOST + _ROOM, np.int16)
    events = EventArrays(trace)
    does = np.empty(0, np.int8)
    at = bits = 0
    for batch in events.batches((*_COLUMNS, "process")):
        if len(does) < len(events.ops):
            does = np.array([_does(name) for name in events.ops], np.int8)
        *columns, of = batch
        if files is not None:
            inside = np.isin(columns[1], files) | np.isin(columns[5], files)
            columns, of = [column[inside] for column in columns], of[inside]
        place = np.searchsorted(process, of)
        step = number[np.where(process[place] == of, place, -1)]
        row = 0
        while row < len(of):
            at, row = sample(
                tuple(columns), does, step, BLOCK_SHIFT, (1 << bits) - 1, _SALT, block, kind, at, MOST, row
            )
            while at >= MOST:
                bits += 1
                at = thin(block, kind, (1 << bits) - 1, _SALT, at)
    return block[:at], kind[:at], steps, bits


def _does(name: str) -> int:
    if name == _FAULT:
        return FAULTS
    operation = BY_NAME.get(name)
    return _DOES.get(operation.kind, 0) if operation else 0


def _steps(trace: Trace) -> tuple[list[str], npt.NDArray[np.int32], npt.NDArray[np.int16]]:
    """Names of the steps; numbers of processes, sorted, and one more; the step of each of them, and of one that is not
    there."""
    found = {
        int(process): step or ""
        for batch in trace.batches("processes", ["process", "step"])
        for process, step in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    }
    steps = sorted({"", *found.values()})
    process = np.array([*sorted(found), np.iinfo(np.int32).max], np.int32)
    return steps, process, np.array([*(steps.index(found[one]) for one in sorted(found)), 0], np.int16)

"""Segments of Darshan's DXT modules as rows of a trace's events, in order of completion."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from iotrace.errors import TraceError
from iotrace.trace.formats.darshan_log import Segments
from iotrace.trace.matrix import batch_of_columns
from iotrace.trace.operations import NUMBER_OF

_ROWS: Final = 1 << 17
_BYTES_A_SEGMENT: Final = 160
"""Memory that a segment takes while all are sorted."""
_LATEST_S: Final = 1e9
_LARGEST: Final = 1 << 62

Ints = npt.NDArray[np.int64]


class Moves:
    """Reads and writes by file and process, collected and then sorted: a log has them by file.

    Attributes
    ----------
    count: those that are there; lost: reads and writes that make no sense (a negative length, an end before its start).
    hosts: names of the nodes.
    """

    def __init__(self) -> None:
        self.count = 0
        self.lost = {"read": 0, "write": 0}
        self.hosts: set[str] = set()
        self._parts: list[Ints] = []
        self._most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 // _BYTES_A_SEGMENT

    def add(self, segments: Segments, file: int, rank: int) -> None:
        """Take the segments of one file and rank.

        Raises
        ------
        TraceError: there are more than this machine can sort.
        """
        self.hosts.add(segments.host)
        with np.errstate(invalid="ignore"):
            good = (
                (segments.offset >= 0) & (segments.length >= 0) & (segments.offset < _LARGEST - segments.length)
                & (segments.start_s >= 0) & (segments.end_s >= segments.start_s) & (segments.end_s < _LATEST_S)
            )  # fmt: skip
        for kind, chosen in (("read", ~segments.writes), ("write", segments.writes)):
            self.lost[kind] += int((chosen & ~good).sum())
        start = np.rint(segments.start_s[good] * 1e9).astype(np.int64)
        end = np.rint(segments.end_s[good] * 1e9).astype(np.int64)
        part = np.empty((7, len(start)), np.int64)
        part[:5] = start, end, segments.writes[good], segments.offset[good], segments.length[good]
        part[5], part[6] = file, rank
        self._parts.append(part)
        self.count += len(start)
        if self.count > self._most:
            raise TraceError(
                f"the log holds more than {self._most:,} reads and writes, more than the memory of this machine can "
                "sort: import it with --detail histogram, or on a larger one."
            )

    def sort(self) -> Sorted:
        """All of them in order of completion; this lets go of what was collected."""
        joined = np.concatenate([np.empty((7, 0), np.int64), *self._parts], axis=1)
        self._parts.clear()
        return Sorted(joined[:, np.lexsort((joined[0], joined[1]))])


class Sorted:
    """Reads and writes in order of completion.

    Attributes
    ----------
    last_ns: end of the last one. ranks: those that made any, sorted.
    """

    def __init__(self, rows: Ints) -> None:
        self._start, self._end, self._writes, self._offset, self._length, self._file, self._rank = rows
        self.last_ns = int(self._end[-1]) if len(self._end) else 0
        self.ranks: list[int] = np.unique(self._rank).tolist()
        self.files: list[int] = np.unique(self._file).tolist()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows of events; the process of a rank is its place in `ranks`, its only thread has the same number."""
        process = np.searchsorted(np.array(self.ranks, np.int64), self._rank)
        # what one rank does with one file goes through one descriptor, as far as anybody knows
        pairs = process.astype(np.int64) << 32 | self._file
        _, opened = np.unique(pairs, return_inverse=True)
        op = np.where(self._writes == 1, NUMBER_OF["pwrite64"], NUMBER_OF["pread64"]).astype(np.int64)
        columns = {
            "time_ns": self._start, "duration_ns": self._end - self._start, "process": process, "thread": process,
            "op": op, "path": self._file, "file": self._file, "open": opened, "offset": self._offset,
            "size": self._length, "result": self._length,
        }  # fmt: skip
        for first in range(0, len(op), _ROWS):
            rows = slice(first, first + _ROWS)
            part = {name: np.ascontiguousarray(values[rows], np.int64) for name, values in columns.items()}
            yield batch_of_columns(part, len(part["op"]))

    def read_first(self) -> dict[int, int]:
        """By file: how long it must have been at the start, for it was read before it was written."""
        end = self._offset + self._length
        written = pd.Series(np.where(self._writes == 1, end, 0)).groupby(self._file).cummax().to_numpy()
        beyond = (self._writes == 0) & (end > written) & (self._length > 0)
        sizes = pd.Series(end[beyond]).groupby(self._file[beyond]).max()
        return {int(file): int(size) for file, size in sizes.items()}  # type: ignore[call-overload]

"""The many logs of `strace -ff`, one a thread, as one stream of lines in order of time.

Each log has a small buffer, and is opened only while that is filled: neither memory nor the limit of open files bounds
their number (4 KiB each for ten thousand). The times are those of strace(1)'s -t, -tt, -ttt; those of -r tell the time
since the line before in whichever log that stood, so that the order between logs is then a guess.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Final

import numpy as np

from iotrace.errors import TraceError
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels.merging import merge, next_time
from iotrace.trace.formats.strace.state import Ints, State, view

_BUDGET: Final = 1 << 26
_LEAST, _MOST = 1 << 12, 1 << 20
_OUT_BYTES: Final = 1 << 22
_RUNS: Final = 1 << 15
_HEAD: Final = rb"^ *(?:\d+(?:<[^<>\n]*>)? +)??"
_ABSOLUTE: Final = re.compile(_HEAD + rb"(?:\d\d:\d\d:\d\d|\d{9,}[. ])", re.MULTILINE)
_SINCE: Final = re.compile(_HEAD + rb"(\d{1,8})\.(\d+) ", re.MULTILINE)
_FORK: Final = re.compile(rb"^[^\n\"(]*\b(?:clone3?|v?fork)\([^\n]*\) += (\d{1,9})", re.MULTILINE)
LINE_LIMIT: Final = 1 << 26
"""A longer line is no line of strace's; its beginning is taken for one, so that memory stays bounded."""


class _Log:
    """One log: where it is read, and its buffer."""

    def __init__(self, path: Path, row: Ints, room: int) -> None:
        self.path, self.row, self.read = path, row, 0
        self.buffer = np.zeros(room, np.uint8)
        self.row[k.L_AT] = self.row[k.L_END] = self.buffer.ctypes.data

    def fill(self) -> None:
        """Read on behind what is left of the buffer."""
        first = self.buffer.ctypes.data
        left = self.buffer[self.row[k.L_AT] - first : self.row[k.L_END] - first].copy()
        if len(left) > len(self.buffer) // 2:
            if len(left) < LINE_LIMIT:
                self.buffer = np.zeros(2 * len(self.buffer), np.uint8)
            else:
                left = left[: _MOST // 2]
        self.buffer[: len(left)] = left
        count = self._read(view(self.buffer)[len(left) : -1])
        end = len(left) + count
        if not count:
            self.row[k.L_DONE] = 1
            if end:
                # a torn last line
                self.buffer[end] = 10
                end += 1
        self.row[k.L_AT] = self.buffer.ctypes.data
        self.row[k.L_END] = self.buffer.ctypes.data + end

    def _read(self, target: Any) -> int:
        try:
            with _open(self.path) as file:
                file.seek(self.read)
                count = file.readinto(target) or 0
        except OSError as error:
            raise TraceError(f"{self.path} cannot be read: {error.strerror}.") from None
        self.read += count
        return count


def begins(files: Sequence[Path], pids: Sequence[int]) -> list[int]:
    """Where each log begins, in ns: 0 where its lines tell the time, else behind the fork that its parent's log shows.

    Logs of -r and those without times would otherwise be read as if all threads had begun at once.
    """
    number_of = {pid: number for number, pid in enumerate(pids)}
    parents: dict[int, tuple[int, int]] = {}
    for number, file in enumerate(files):
        for pid, at in _forks(file):
            child = number_of.get(pid)
            if child is not None and child != number:
                parents.setdefault(child, (number, at))
    found = [0] * len(files)
    for number in range(len(files)):
        ancestors = {number}
        at, child = 0, number
        while child in parents:
            child, before = parents[child]
            if child in ancestors:
                # ids that were used again
                break
            ancestors.add(child)
            at += before + 1
        found[number] = at
    return found


def _forks(path: Path) -> Iterator[tuple[int, int]]:
    """Of a log without absolute times: the ids of its thread's children, and the time of their fork since its first
    line."""
    carry, at = b"", 0
    with _open(path) as file:
        while data := file.read(_MOST):
            end = data.rfind(b"\n") + 1
            if not end:
                carry = (carry + data)[:LINE_LIMIT]
                continue
            lines, carry = carry + data[:end], data[end:]
            if _ABSOLUTE.match(lines):
                return
            begin = 0
            for match in _FORK.finditer(lines):
                at += _elapsed(lines[begin : match.end()])
                begin = match.end()
                yield int(match[1]), at
            at += _elapsed(lines[begin:])


def _elapsed(lines: bytes) -> int:
    """Nanoseconds that relative times add up to."""
    return sum(int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0")) for seconds, fraction in _SINCE.findall(lines))


def _open(path: Path) -> FileIO:
    try:
        return FileIO(path)
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}.") from None


def merged(
    state: State, files: Sequence[Path], pids: Sequence[int], starts: Sequence[int]
) -> Iterator[tuple[Any, Ints]]:
    """Lines of several logs in order of time, a few MB at a time.

    Parameters
    ----------
    state: whose header is used. pids: of each log, for lines that do not tell theirs. starts: see begins().

    Yields
    ------
    bytes (uint8; the same memory again and again) and the runs in it: int64 of shape (runs, 3), addresses of a run's
    begin and end, and its pid.

    Raises
    ------
    TraceError: a log cannot be read.
    """
    rows = np.zeros((len(files), k.LOG_FIELDS), np.int64)
    room = min(_MOST, max(_LEAST, _BUDGET // max(1, len(files))))
    logs = [_Log(file, rows[number], room) for number, file in enumerate(files)]
    h = state.h
    order: list[tuple[int, int]] = []
    for number, log in enumerate(logs):
        rows[number, k.L_PID], rows[number, k.L_TIME] = pids[number], starts[number]
        while True:
            log.fill()
            if next_time(state.address, rows[number].ctypes.data):
                order.append((int(rows[number, k.L_TIME]), number))
                break
            if rows[number, k.L_DONE]:
                break
    heapq.heapify(order)
    heap = np.array([number for _, number in order] or [0], np.int64)
    out, runs = np.zeros(_OUT_BYTES, np.uint8), np.zeros((_RUNS, k.RUN_FIELDS), np.int64)
    size, wants = len(order), 0
    h[k.OUT] = h[k.RUNS] = 0
    while True:
        # the words are lent: between two portions feed_runs() uses them
        h[k.HEAP], h[k.WANTS] = size, wants
        what = merge(
            state.address, rows.ctypes.data, heap.ctypes.data, out.ctypes.data, len(out), runs.ctypes.data, len(runs)
        )
        size, wants = h[k.HEAP], h[k.WANTS]
        if what == k.MERGE_WANTS:
            logs[heap[0]].fill()
            continue
        if h[k.RUNS]:
            count, h[k.OUT], h[k.RUNS] = h[k.RUNS], 0, 0
            yield out, runs[:count]
        elif what == k.MERGE_FULL:
            # one line longer than all that fits
            out = np.zeros(2 * len(out), np.uint8)
        if what == k.MERGED:
            return

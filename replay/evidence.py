"""A recording of a replay: which calls are whose, in which of its runs.

The replay's threads mark where their calls begin and end, in the tree of the user that they replay.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import numpy as np

from iotrace.errors import TraceError
from iotrace.replay.columns import Ints, load_tables
from iotrace.replay.operation_sets import one_of
from iotrace.replay.rows import MARKER
from iotrace.trace.reader import Trace
from iotrace.trace.texts import path_bytes

_MARK: Final = re.compile(MARKER.encode() + rb":(\d+):(begin|end)\Z")
_IN_TREE: Final = re.compile(rb"(.*/iotrace-[0-9a-f]{12})(?:/|\Z)", re.DOTALL)
_MARKS: Final = one_of(("access", "faccessat", "faccessat2"))

Mark: TypeAlias = tuple[int, int]
"""Time and thread of the replay."""


class Evidence:
    """A recording of a replay, made ready to be compared with what each user should have done in each run.

    Raises
    ------
    TraceError: the recording cannot be read.
    """

    def __init__(self, recording: Trace) -> None:
        self.folder = recording.folder
        self.tables = load_tables(recording)
        events = self.tables.events
        self._order = np.lexsort((np.arange(len(events)), events.time_ns, events.thread))
        self._by_thread = np.searchsorted(events.thread[self._order], np.arange(self.tables.threads + 1))
        self._begins, self._ends = self._marks()

    def _marks(self) -> tuple[dict[bytes, dict[int, list[Mark]]], dict[tuple[int, int], Ints]]:
        """Begins of recorded threads, by the tree that they ran in, in order of time; times of their ends, by recorded
        thread and thread of the replay."""
        tables, events = self.tables, self.tables.events
        marks = {row: match for row, raw in enumerate(tables.path_raw) if (match := _MARK.search(raw))}
        is_mark = np.zeros(len(tables.path_raw) + 1, np.bool_)
        is_mark[list(marks)] = True
        begins: dict[bytes, dict[int, list[Mark]]] = {}
        ends: dict[tuple[int, int], list[int]] = {}
        for row in np.flatnonzero(is_mark[events.path] & _MARKS[events.op]).tolist():
            path = int(events.path[row])
            recorded, which, at = int(marks[path][1]), marks[path][2], int(events.time_ns[row])
            thread = int(events.thread[row])
            if which == b"end":
                ends.setdefault((recorded, thread), []).append(at)
                continue
            where = _IN_TREE.match(path_bytes(tables.path_text[path]))
            begins.setdefault(where[1] if where else b"", {}).setdefault(recorded, []).append((at, thread))
        for threads in begins.values():
            for found in threads.values():
                found.sort()
        return begins, {key: np.sort(np.array(times, np.int64)) for key, times in ends.items()}

    def windows(self, run: int, tree: bytes | None) -> tuple[bytes, dict[int, tuple[int, int, int]]]:
        """The tree of a run, and recorded thread → thread of the replay, and the times of its marks in that run.

        Without a tree runs are counted over all trees.

        Raises
        ------
        TraceError: there is no such run, or several users' trees have it.
        """
        found: dict[int, tuple[bytes, Mark]] = {}
        threads = {thread for one in self._begins.values() for thread in one}
        for thread in threads:
            every = sorted(
                (mark, where)
                for where, begins in self._begins.items()
                if tree is None or where == tree
                for mark in begins.get(thread, ())
            )
            if len(every) > run:
                found[thread] = every[run][1], every[run][0]
        windows = {}
        for thread, (_, (begin, runner)) in found.items():
            ends = self._ends.get((thread, runner), np.zeros(0, np.int64))
            at = int(np.searchsorted(ends, begin))
            if at < len(ends):
                windows[thread] = runner, begin, int(ends[at])
        if not windows:
            raise TraceError(f"{self.folder} holds no marks of run {run} of a replay: record `iotrace replay` itself.")
        trees = {where for where, _ in found.values()} | self._trees_between(
            min(begin for _, begin, _ in windows.values()), max(end for _, _, end in windows.values())
        )
        if tree is None and len(trees) > 1:
            raise TraceError(
                f"{self.folder} holds marks of run {run} in {len(trees)} trees: of several users, name the tree of one."
            )
        return found[next(iter(windows))][0], windows

    def _trees_between(self, begin_ns: int, end_ns: int) -> set[bytes]:
        """Trees in which threads began between two moments."""
        return {
            where
            for where, threads in self._begins.items()
            if any(begin_ns <= at <= end_ns for marks in threads.values() for at, _ in marks)
        }

    def between(self, thread: int, begin_ns: int, end_ns: int) -> Ints:
        """Events of a thread of the replay between two moments, in order of their starts."""
        events = self.tables.events
        there = self._order[self._by_thread[thread] : self._by_thread[thread + 1]]
        return there[(events.time_ns[there] > begin_ns) & (events.time_ns[there] < end_ns) & (events.op[there] >= 0)]

    def name_in(self, tree: bytes, path: int) -> bytes:
        """Name of a path within a tree; as it is where it lies elsewhere, b"" of none."""
        if path < 0:
            return b""
        text = path_bytes(self.tables.path_text[path])
        return text[len(tree) + 1 :] if text == tree or text.startswith(tree + b"/") else text

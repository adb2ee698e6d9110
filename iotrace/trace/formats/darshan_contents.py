"""All of a log of Darshan that a trace is made of, gathered by file and rank."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final, Literal

from iotrace.errors import TraceError, UsageError
from iotrace.trace.formats.darshan_counts import MODULES, Doubts, Row, last_ns, moves_of, rows_of, sums_of
from iotrace.trace.formats.darshan_log import Job, Names, Record, Segments, messages
from iotrace.trace.formats.darshan_segments import Moves, Sorted

Detail = Literal["events", "histogram"]
_LAYERS: Final = {"DXT_POSIX": "POSIX", "DXT_MPIIO": "MPI-IO"}


class _Held:
    """Of one file, in one layer: reads and writes that were counted, and those of which there are segments."""

    def __init__(self) -> None:
        self.counted = [0, 0]
        self.segments = [0, 0]


class Contents:
    """Contents of a log.

    Parameters
    ----------
    path: the log. detail: what the trace shall hold; None: events where the log has segments, else histogram.

    Attributes
    ----------
    job, names (of files, by record id). files: number by record id, in order of appearance. detail: as settled.
    rows: (rank, file, row of histograms); sums: by module, counters that add up; ranks: those of rows. doubts: of rows.
    moves: the segments, sorted; hosts: where they were made. lost: reads and writes without a usable segment, by kind.
    above: segments of MPI-IO that are left out, for those of the calls below are there; asked: those that are in.
    shared: files whose ranks are added up.
    last_ns: the latest moment known.

    Raises
    ------
    UsageError, TraceError, IotraceError: as of iotrace.trace.formats.darshan.import_darshan.
    """

    def __init__(self, path: Path, detail: Detail | None) -> None:
        self.job = Job(0, 0.0, 0, "", [], [])
        self.names: dict[int, bytes] = {}
        self.files: dict[int, int] = {}
        self.rows: list[tuple[int, int, Row]] = []
        self.sums: dict[str, Counter[str]] = {}
        self.ranks: set[int] = set()
        self.doubts = Doubts()
        self.above = self.asked = 0
        self.shared: set[int] = set()
        self.last_ns = 0
        self._held: dict[tuple[str, int], _Held] = {}
        moves = Moves()
        for message in messages(path):
            if isinstance(message, Job):
                self.job = message
            elif isinstance(message, Names):
                self.names.update(message.rows)
            elif isinstance(message, Record):
                self._count(message)
            else:
                self._move(message, moves)
        self.detail: Detail = detail or ("events" if moves.count else "histogram")
        if self.detail == "events" and not moves.count:
            raise UsageError(f"{path} holds no segments of DXT, only counters: import it with --detail histogram.")
        if not self.files:
            held = ", ".join(name for name, _, _ in self.job.modules) or "none"
            raise TraceError(f"{path} holds nothing of POSIX, STDIO or DXT to import (its modules: {held}).")
        self.hosts = sorted(moves.hosts)
        self.lost = self._lost(moves)
        self.moves: Sorted = moves.sort()
        self.last_ns = max(self.last_ns, self.moves.last_ns)

    @property
    def partial(self) -> list[str]:
        """Modules of which the log lacks more than it can say, for Darshan ran out of memory."""
        wanted = (*MODULES, *_LAYERS) if self.detail == "events" else MODULES
        return [name for name, _, partial in self.job.modules if partial and name in wanted]

    def _count(self, record: Record) -> None:
        self.sums.setdefault(record.module, Counter()).update(sums_of(record))
        held = self._held.setdefault((record.module, record.id), _Held())
        held.counted = [before + more for before, more in zip(held.counted, moves_of(record), strict=True)]
        self.last_ns = max(self.last_ns, last_ns(record))
        if record.module not in MODULES:
            return
        file = self.files.setdefault(record.id, len(self.files))
        self.ranks.add(record.rank)
        if record.rank < 0:
            self.shared.add(file)
        self.rows += [(record.rank, file, row) for row in rows_of(record, self.doubts)]

    def _move(self, segments: Segments, moves: Moves) -> None:
        layer, size = _LAYERS[segments.module], len(segments.offset)
        if not size:
            return
        below = self._held.get(("POSIX", segments.id))
        if layer == "MPI-IO" and below is not None and any(below.segments):
            # what it asked of MPI-IO is there one floor below, as it reached the file
            self.above += size
            return
        self.asked += size if layer == "MPI-IO" else 0
        writes = int(segments.writes.sum())
        held = self._held.setdefault((layer, segments.id), _Held())
        held.segments = [held.segments[0] + size - writes, held.segments[1] + writes]
        moves.add(segments, self.files.setdefault(segments.id, len(self.files)), segments.rank)

    def _lost(self, moves: Moves) -> dict[str, int]:
        """Reads and writes that were counted or traced and of which there is no usable segment."""
        lost = dict(moves.lost)
        for (layer, record), held in self._held.items():
            above = self._held.get(("MPI-IO", record))
            if layer != "POSIX" or (not any(held.segments) and above is not None and any(above.segments)):
                continue
            for kind, counted, found in zip(lost, held.counted, held.segments, strict=True):
                lost[kind] += max(0, counted - found)
        return {kind: count for kind, count in lost.items() if count}

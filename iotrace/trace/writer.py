"""Writing a trace: rows in, Parquet parts out, never more than so many bytes, and nothing older than a flush to lose.

Takes record batches or a recorder's matrices; makes the folder that docs/format.md describes. How parts come about and
what stands beside them until they are whole says iotrace.trace.parts; what goes first when the trace may not grow,
iotrace.trace.chapters. A recording that is killed loses at most what came since its last flush.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.errors import StorageError, TraceError, UsageError
from iotrace.trace.chapters import Chapters, remove
from iotrace.trace.info import TraceInfo, write_info
from iotrace.trace.parts import EventTable, SideTable, part_name, tail_name
from iotrace.trace.private import create_folder
from iotrace.trace.schema import SCHEMAS
from iotrace.units import bytes_text

__all__ = ["LEAST_MAX_BYTES", "TraceWriter", "part_name", "tail_name"]

LEAST_MAX_BYTES: Final = 16 << 20
CHAPTERS: Final = 8
"""A chapter ends when it holds this fraction of max_bytes."""
_SLACK: Final = 4 << 20
"""What may come onto the disk from one look at its size to the next: a part of a small table, beside its tail."""
_TAIL_RATIO: Final = 4
"""How many times smaller rows are in a tail than in memory, at least (measured: 7 to 10)."""
_FOR_A_RATE_NS: Final = 500_000_000
"""Flushes may follow one another too closely for a rate."""
_KEEP_FREE: Final = 1 << 30
_KEEP_FREE_SHARE: Final = 0.05


class TraceWriter:
    """A trace that is being written; a context manager that closes it.

    Parameters
    ----------
    folder: where to make it, conventionally NAME.iotrace.
    info: trace.json's contents; the writer keeps `events`, `max_reorder_ns`, `chapters`, `dropped` and `max_bytes`
        where it is given, its owner the rest.
    force: replace a trace that stands there already.
    max_bytes: how large the trace may be on disk, all files included; the oldest goes when there is more.
    keep_free: bytes that must stay free on the file system; None: a twentieth of it, 1 GiB at most. When less is left,
        the oldest goes too where there is a max_bytes, and writing stops otherwise.
    chapter_rows: rows of paths and files after which `wants_chapter` is true.

    Raises
    ------
    UsageError: max_bytes is less than 16 MiB.
    TraceError: something stands there already, or the folder cannot be made.
    StorageError: from any method, when the file system is full or fails.
    """

    def __init__(
        self,
        folder: str | Path,
        info: TraceInfo,
        force: bool = False,
        max_bytes: int | None = None,
        keep_free: int | None = None,
        chapter_rows: int = 2_000_000,
    ) -> None:
        check_bound(max_bytes)
        self.folder = Path(folder)
        self.info = info
        self._max_bytes = max_bytes
        if max_bytes is not None:
            info.max_bytes = max_bytes
        self._keep_free = keep_free
        self._chapter_rows = chapter_rows
        self._newest_ns = 0
        self._side_rows = 0
        self._closing = False
        self._rated = time.monotonic_ns(), info.dropped.events
        # of a copy: what its original had dropped
        self._chapters = Chapters(info.dropped)
        if self.folder.exists() or self.folder.is_symlink():
            self._make_room(force)
        made = False
        try:
            create_folder(self.folder)
            made = True
            part_bytes = self._part_bytes = (max_bytes or 1 << 40) // (2 * CHAPTERS)
            self._events = EventTable(self.folder, self._ended, self._bound, part_bytes)
            self._tables: dict[str, EventTable | SideTable] = {
                name: self._events
                if name == "events"
                else SideTable(self.folder, name, self._ended, self._bound, part_bytes)
                for name in SCHEMAS
                if name != "histograms" or info.detail == "histogram"
            }
            self._write_info()
        except OSError as error:
            if made:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise TraceError(f"cannot make the trace {self.folder}: {error.strerror}.") from None

    def _make_room(self, force: bool) -> None:
        if not force:
            raise TraceError(f"{self.folder} exists already: choose another name, or --force to replace it.")
        if self.folder.is_symlink() or not (self.folder / "trace.json").is_file():
            raise TraceError(f"{self.folder} exists and is not a trace; --force replaces only traces.")
        shutil.rmtree(self.folder)

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(complete=kind is None)

    @property
    def wants_chapter(self) -> bool:
        """Whether it is time for begin_chapter(): an eighth of max_bytes, or chapter_rows, have come since the last."""
        if self._side_rows >= self._chapter_rows:
            return True
        return self._max_bytes is not None and self.chapter_bytes >= self._max_bytes // CHAPTERS

    @property
    def disk_bytes(self) -> int:
        """Bytes of all files of the trace, trace.json apart."""
        return self._chapters.bytes + self._open_bytes()

    @property
    def chapter_bytes(self) -> int:
        """Bytes of the chapter that is being written, which cannot be dropped."""
        return self._chapters.current_bytes + self._open_bytes()

    @property
    def waiting_bytes(self) -> int:
        """Memory of the rows that wait to become a row group or a part."""
        return sum(table.waiting_bytes() for table in self._tables.values())

    def lighten(self) -> None:
        """Let no rows wait, at the price of smaller row groups and parts."""

        def work() -> None:
            for table in self._in_order():
                table.lighten()

        self._guard(work)

    def drop_oldest(self, excess: int) -> None:
        """Drop chapters, the oldest first and never the one that is being written, until so many bytes are gone."""

        def work() -> None:
            self._drop(min(excess, self._chapters.bytes - self._chapters.current_bytes))

        self._guard(work)

    def append(self, table: str, batch: pa.RecordBatch) -> None:
        """Add rows to a table; the batch must have the table's schema."""
        if batch.num_rows == 0:
            return
        if table == "events":
            times = batch.column("time_ns").to_numpy()
            newest = np.maximum.accumulate(np.maximum(times, self._newest_ns))
            self._note_times(int((newest - times).max()), int(newest[-1]))
            self._guard(lambda: self._events.append(batch))
            self.info.events += batch.num_rows
            return
        if table not in self._tables:
            self._tables[table] = SideTable(self.folder, table, self._ended, self._bound, self._part_bytes)
        if table != "processes":
            self._side_rows += batch.num_rows
        self._guard(lambda: self._tables[table].append(batch))

    def append_rows(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows given as dictionaries; for the small tables."""
        rows = list(rows)
        if rows:
            self.append(table, pa.RecordBatch.from_pylist(rows, SCHEMAS[table]))

    def prepare(self) -> None:
        """Load and compile what append_matrix() needs, so that the first events do not wait for it."""
        prepare_encoder()
        self._events.prepare()

    def append_matrix(self, rows: npt.NDArray[np.int64], count: int) -> None:
        """Add the first `count` events of a recorder's matrix, and fill their place with NULL for its next use.

        Parameters
        ----------
        rows: shape (event columns, capacity), int64, -2**63 where there is no value; `op` as a position in OPERATIONS.
        """
        if count == 0:
            return
        from iotrace.trace.encodings import reorder

        most, newest = reorder(rows[0], count, self._newest_ns)
        self._note_times(int(most), int(newest))
        self._guard(lambda: self._events.append_matrix(rows, count))
        self.info.events += count

    def _note_times(self, reorder_ns: int, newest_ns: int) -> None:
        self.info.max_reorder_ns = max(self.info.max_reorder_ns, reorder_ns)
        self._newest_ns = newest_ns

    def begin_chapter(self) -> None:
        """End all parts; from here on no new row refers to a path, file or process of an earlier row.

        That is the caller's promise: what is still in use is written again, under new numbers.
        """

        def work() -> None:
            self._end_parts()
            first = {name: table.part for name, table in self._tables.items()}
            self._chapters.begin(first, self._newest_ns)
            self._side_rows = 0
            self._write_info()
            self._bound()

        self._guard(work)

    def flush(self) -> None:
        """Hand all rows to the kernel, so that a SIGKILL loses none of them."""

        def work() -> None:
            for table in self._in_order():
                if table.is_old():
                    table.end_part()
            self._bound(sum(table.untailed_bytes() for table in self._tables.values()) // _TAIL_RATIO)
            self._keep()

        self._guard(work)

    def close(self, complete: bool = True) -> None:
        """Write the last parts and trace.json; `complete` is false for a recording that was cut off or lost events."""

        def work() -> None:
            self._closing = True
            self._end_parts()
            self.info.complete = complete and not any(self.info.lost.values())
            self._bound()
            for key in ("flushed_ns", "disk_bytes", "events_per_s"):
                self.info.recorder.pop(key, None)
            self._write_info()

        self._guard(work)

    def _open_bytes(self) -> int:
        return sum(table.open_bytes() for table in self._tables.values())

    def _ended(self, table: str, number: int, rows: int, size: int) -> None:
        self._chapters.add(table, number, rows, size, self._newest_ns)

    def _in_order(self) -> Iterator[EventTable | SideTable]:
        # events last: who reads part-* finds each name that an event refers to
        return reversed(self._tables.values())

    def _end_parts(self) -> None:
        for table in self._in_order():
            table.end_part()

    def _keep(self) -> None:
        for table in self._in_order():
            table.keep()
        now, seen = time.monotonic_ns(), self.info.events + self._chapters.dropped.events
        then, before = self._rated
        if now - then >= _FOR_A_RATE_NS:
            self.info.recorder["events_per_s"] = round((seen - before) / (now - then) * 1e9, 1)
            self._rated = now, seen
        self.info.recorder["flushed_ns"] = now
        self.info.recorder["disk_bytes"] = self.disk_bytes
        self._write_info()

    def _write_info(self) -> None:
        self.info.chapters = self._chapters.described(self._events.rows)
        self.info.dropped = self._chapters.dropped
        write_info(self.folder, self.info)

    def _lacking(self) -> int:
        return lacking_bytes(self.folder, self._keep_free)

    def _bound(self, coming: int = 0) -> None:
        """Before so many bytes come onto the disk: drop what is too much; stop where that may not be or does not help.

        Raises
        ------
        StorageError: they may not come.
        """
        most = self._max_bytes
        if most is not None:
            slack = min(_SLACK, most // CHAPTERS)
            # whoever drops hands all rows to the kernel, and the tails grow: then there is more to drop
            while (excess := self._excess(coming + slack, coming)) > 0 and self._drop(excess):
                pass
        if self._closing:
            # what ends a trace may come from the slack, and from what is kept free
            return
        if most is not None and self.disk_bytes + coming + slack // 2 > most:
            raise StorageError(
                f"the names of files and processes alone take more than the {bytes_text(most)} that the trace "
                f"{self.folder} may have: allow it more."
            )
        if self._lacking() > 0:
            raise StorageError(
                f"no space left for the trace {self.folder}: what is free is kept for others; make room, or record "
                "elsewhere."
            )

    def _excess(self, more: int, coming: int) -> int:
        """By how much the trace would be too large if `more` came, or the file system lacks room for what is coming."""
        lacking = self._lacking()
        excess = self.disk_bytes + more - (self._max_bytes or 0)
        return max(excess, lacking + coming) if lacking > 0 else excess

    def _drop(self, excess: int) -> bool:
        """Drop the oldest; whether anything went."""
        before = self._chapters.dropped.events
        gone = self._chapters.drop(excess)
        if gone:
            self.info.events -= self._chapters.dropped.events - before
            self._keep()
            remove(self.folder, gone)
        return bool(gone)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(
                    f"no space left for the trace {self.folder}: make room, or write it elsewhere."
                ) from None
            raise StorageError(f"cannot write the trace {self.folder}: {error.strerror or error}.") from None


def prepare_encoder() -> None:
    """Load and compile what any writer's append_matrix() needs."""
    from iotrace.trace.encodings import reorder
    from iotrace.trace.parquet import EventEncoder

    reorder(np.zeros(1, np.int64), 1, 0)
    EventEncoder().prepare()


def check_bound(max_bytes: int | None) -> None:
    """Refuse to keep a trace within too few bytes.

    Raises
    ------
    UsageError: max_bytes is less than 16 MiB.
    """
    if max_bytes is not None and max_bytes < LEAST_MAX_BYTES:
        raise UsageError(
            f"a trace of at most {bytes_text(max_bytes)} is too small to hold anything: allow "
            f"{bytes_text(LEAST_MAX_BYTES)} or more."
        )


def lacking_bytes(folder: Path, keep_free: int | None = None) -> int:
    """Bytes that a folder's file system lacks, below 0 where it has more free than is to stay so.

    Parameters
    ----------
    keep_free: bytes that are to stay free; None: a twentieth of the file system, 1 GiB at most.
    """
    status = os.statvfs(folder)
    if keep_free is None:
        keep_free = min(_KEEP_FREE, int(_KEEP_FREE_SHARE * status.f_blocks * status.f_frsize))
    return keep_free - status.f_bavail * status.f_frsize

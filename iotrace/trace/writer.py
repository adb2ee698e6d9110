"""Writing a trace: record batches in, Parquet parts out, and a tail that survives a SIGKILL.

Rows wait in memory until a part is full. What has waited at a flush is also appended to the part's tail, an Arrow
stream in a file whose name begins with `_` (Parquet readers skip those); once the part stands under its name the tail
goes. A recording that is killed thus loses at most what came since its last flush, and a glob over `part-*` is
readable at any time.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iotrace.errors import StorageError, TraceError
from iotrace.trace.info import TraceInfo, write_info
from iotrace.trace.schema import SCHEMAS

PART_ROWS: Final = 1 << 20
PART_SECONDS: Final = 300.0

_DELTA: Final = {
    "time_ns": "DELTA_BINARY_PACKED",
    "offset": "DELTA_BINARY_PACKED",
    "other_offset": "DELTA_BINARY_PACKED",
}
_SPLIT: Final = {"duration_ns": "BYTE_STREAM_SPLIT", "cpu_ns": "BYTE_STREAM_SPLIT"}
_ENCODINGS: Final[dict[str, dict[str, str]]] = {"events": _DELTA | _SPLIT}


def tail_name(part: int) -> str:
    """File name of the tail of a part that is not yet written."""
    return f"_tail-{part:06d}.arrows"


def part_name(part: int) -> str:
    """File name of a part."""
    return f"part-{part:06d}.parquet"


class _Table:
    """One table of the trace: the rows of the part that is being filled, and its tail."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.name = name
        self.schema = SCHEMAS[name]
        self.part = 0
        self.rows = 0
        self.waiting: list[pa.RecordBatch] = []
        self.not_in_tail = 0
        self.began = time.monotonic()
        self.tail: Any = None
        self.folder.mkdir()

    def append(self, batch: pa.RecordBatch) -> None:
        self.waiting.append(batch)
        self.rows += batch.num_rows
        if self.rows >= PART_ROWS:
            self.end_part()

    def flush(self) -> None:
        if self.rows and time.monotonic() - self.began >= PART_SECONDS and self.name != "processes":
            self.end_part()
        new = self.waiting[self.not_in_tail :]
        if not new:
            return
        if self.tail is None:
            sink = (self.folder / tail_name(self.part)).open("wb", buffering=0)
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self.tail = (sink, pa.ipc.new_stream(sink, self.schema, options=options))
        for batch in new:
            self.tail[1].write_batch(batch)
        self.not_in_tail = len(self.waiting)

    def end_part(self) -> None:
        if self.rows:
            temporary = self.folder / f"_{part_name(self.part)}"
            table = pa.Table.from_batches(self.waiting, self.schema)
            encodings = _ENCODINGS.get(self.name, {})
            pq.write_table(
                table,
                temporary,
                compression="zstd",
                compression_level=1,
                column_encoding=encodings or None,
                use_dictionary=[field.name for field in self.schema if field.name not in encodings],
                row_group_size=PART_ROWS,
            )
            temporary.rename(self.folder / part_name(self.part))
        if self.tail is not None:
            self.tail[0].close()
            (self.folder / tail_name(self.part)).unlink(missing_ok=True)
        self.part += 1
        self.rows, self.waiting, self.not_in_tail, self.tail = 0, [], 0, None
        self.began = time.monotonic()


class TraceWriter:
    """A trace that is being written; a context manager that closes it.

    Parameters
    ----------
    folder: where to make it, conventionally NAME.iotrace.
    info: trace.json's contents; the writer keeps `events` and `max_reorder_ns`, its owner the rest.
    force: replace a trace that stands there already.

    Raises
    ------
    TraceError: something stands there already, or the folder cannot be made.
    StorageError: from any method, when the file system is full or fails.
    """

    def __init__(self, folder: str | Path, info: TraceInfo, force: bool = False) -> None:
        self.folder = Path(folder)
        self.info = info
        self._newest_ns = 0
        if self.folder.exists() or self.folder.is_symlink():
            self._make_room(force)
        made = False
        try:
            self.folder.mkdir(mode=0o700)
            made = True
            self._tables = {name: _Table(self.folder, name) for name in SCHEMAS}
            write_info(self.folder, info)
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

    def append(self, table: str, batch: pa.RecordBatch) -> None:
        """Add rows to a table; the batch must have the table's schema."""
        if batch.num_rows == 0:
            return
        if table == "events":
            times = batch.column("time_ns").to_numpy()
            newest = np.maximum.accumulate(np.maximum(times, self._newest_ns))
            self.info.max_reorder_ns = max(self.info.max_reorder_ns, int((newest - times).max()))
            self._newest_ns = int(newest[-1])
            self.info.events += batch.num_rows
        self._guard(lambda: self._tables[table].append(batch))

    def append_rows(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows given as dictionaries; for the small tables."""
        rows = list(rows)
        if rows:
            self.append(table, pa.RecordBatch.from_pylist(rows, SCHEMAS[table]))

    def flush(self) -> None:
        """Hand all rows to the kernel, so that a SIGKILL loses none of them."""

        def work() -> None:
            for table in self._tables.values():
                table.flush()
            write_info(self.folder, self.info)

        self._guard(work)

    def close(self, complete: bool = True) -> None:
        """Write the last parts and trace.json; `complete` is false for a recording that was cut off or lost events."""

        def work() -> None:
            for table in self._tables.values():
                table.end_part()
            self.info.complete = complete and not any(self.info.lost.values())
            write_info(self.folder, self.info)

        self._guard(work)

    def _guard(self, work: Any) -> None:
        try:
            work()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(
                    f"no space left for the trace {self.folder}: make room, or write it elsewhere."
                ) from None
            raise StorageError(f"cannot write the trace {self.folder}: {error.strerror or error}.") from None

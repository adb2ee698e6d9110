"""The tables of a trace that is being written: rows in, parts of Parquet out, and what survives a SIGKILL beside them.

A part is made in a file `_part-N.parquet` and takes its own name when it is whole, so that a glob over `part-*` is
readable at any time. What a flush has promised to keep stands, until then,

- for events, in row groups that are already in `_part-N.parquet`, with a footer for them in a file of its own
  (`_foot-N.parquet`): nothing is written twice;
- and behind them in the part's tail, an Arrow stream: rows that are too few for a row group, and all rows of the small
  tables. A tail counts from a row group on; the footer that names as many groups makes it valid, in one rename.

All files are made with mode 0600, folders with 0700, whatever the umask.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from iotrace.trace.matrix import event_batch
from iotrace.trace.private import create, create_folder, write_all
from iotrace.trace.schema import NULL, SCHEMAS

PART_ROWS: Final = 1 << 20
PART_SECONDS: Final = 300.0
GROUP_ROWS: Final = 1 << 17
"""Events of a row group; fewer wait as record batches."""
SIDE_BYTES: Final = 16 << 20
"""What may wait of each small table."""
_WORTH_A_PART: Final = 1 << 20

PartEnded = Callable[[str, int, int, int], None]
"""Called with table, number, rows and bytes of a part that now stands under its name."""
Room = Callable[[int], None]
"""Called before so many bytes are written; raises StorageError where they may not be. It may call keep() of tables and
remove ended parts."""


def tail_name(part: int, group: int = 0) -> str:
    """File name of the tail of a part that is not yet written, behind its first `group` row groups."""
    return f"_tail-{part:06d}{f'-{group:03d}' if group else ''}.arrows"


def part_name(part: int) -> str:
    """File name of a part."""
    return f"part-{part:06d}.parquet"


def foot_name(part: int) -> str:
    """File name of the footer of a part's row groups that are written so far."""
    return f"_foot-{part:06d}.parquet"


def write_table(path: Path, batches: list[pa.RecordBatch], schema: pa.Schema) -> int:
    """Batches as a Parquet file of pyarrow's; returns its bytes."""
    with create(path) as file:
        table = pa.Table.from_batches(batches, schema)
        pq.write_table(table, file, compression="zstd", compression_level=1, row_group_size=PART_ROWS)
        return file.tell()


class _Tail:
    """An Arrow stream that is handed to the kernel batch by batch."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self._file = create(path)
        self._stream = pa.ipc.new_stream(self._file, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def write(self, batches: list[pa.RecordBatch]) -> None:
        for batch in batches:
            self._stream.write_batch(batch)

    @property
    def bytes(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def remove(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class Table(Protocol):
    """A table being written.

    Attributes
    ----------
    part: number of the part that is being filled; rows: its rows so far.
    """

    part: int
    rows: int

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows."""

    def keep(self) -> None:
        """Hand all rows to the kernel."""

    def is_old(self) -> bool:
        """Whether the part has been filled for PART_SECONDS."""

    def end_part(self) -> None:
        """Give the part, if it has rows, its name."""

    def open_bytes(self) -> int:
        """Bytes on disk that do not belong to an ended part."""

    def untailed_bytes(self) -> int:
        """Memory of the rows that keep() would write."""

    def waiting_bytes(self) -> int:
        """Memory of all rows that wait."""

    def lighten(self) -> None:
        """Let no rows wait in memory."""


class SideTable:
    """Paths, files or processes: rows wait as record batches until they are a part."""

    def __init__(self, folder: Path, name: str, ended: PartEnded, room: Room, part_bytes: int) -> None:
        self.folder, self.name, self._ended, self._room = folder / name, name, ended, room
        self._most_bytes = min(SIDE_BYTES, part_bytes // 2)
        self.schema = SCHEMAS[name]
        self.part = self.rows = 0
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = self._in_tail = 0
        self._began = time.monotonic()
        self._tail: _Tail | None = None
        create_folder(self.folder)

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._waiting.append(batch)
        self.rows += batch.num_rows
        self._bytes += batch.nbytes
        if self.rows >= PART_ROWS or self._bytes >= self._most_bytes:
            self.end_part()

    def is_old(self) -> bool:
        """Whether the part has been filled for PART_SECONDS."""
        return bool(self.rows) and time.monotonic() - self._began >= PART_SECONDS and self.name != "processes"

    def keep(self) -> None:
        """Hand all rows to the kernel."""
        if self._in_tail < len(self._waiting):
            self._tail = self._tail or _Tail(self.folder / tail_name(self.part), self.schema)
            self._tail.write(self._waiting[self._in_tail :])
            self._in_tail = len(self._waiting)

    def end_part(self) -> None:
        """Give the part, if it has rows, its name."""
        self._began = time.monotonic()
        if not self.rows:
            return
        # a part is smaller than its rows in memory
        self._room(self._bytes)
        temporary, path = self.folder / f"_{part_name(self.part)}", self.folder / part_name(self.part)
        size = write_table(temporary, self._waiting, self.schema)
        temporary.rename(path)
        if self._tail is not None:
            self._tail.remove()
        number, rows = self.part, self.rows
        self.part += 1
        self._waiting, self.rows, self._bytes, self._in_tail, self._tail = [], 0, 0, 0, None
        self._ended(self.name, number, rows, size)

    def open_bytes(self) -> int:
        """Bytes on disk that do not belong to an ended part."""
        return self._tail.bytes if self._tail else 0

    def untailed_bytes(self) -> int:
        """Memory of the rows that keep() would write."""
        return int(sum(batch.nbytes for batch in self._waiting[self._in_tail :]))

    def waiting_bytes(self) -> int:
        """Memory of all rows that wait."""
        return self._bytes

    def lighten(self) -> None:
        """Let no rows wait in memory."""
        if self._bytes >= _WORTH_A_PART:
            self.end_part()


class EventTable:
    """Events: row groups are encoded as soon as there are rows enough, and stay nowhere in memory.

    Parameters
    ----------
    ended: told of each part that has ended.
    room: asked before each row group.
    part_bytes: a part that has grown to that ends.
    """

    def __init__(self, folder: Path, ended: PartEnded, room: Room, part_bytes: int) -> None:
        self.folder, self._ended, self._room, self._part_bytes = folder / "events", ended, room, part_bytes
        self.part = self.rows = 0
        self._encoder: Any = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = self._in_tail = 0
        self._file: IO[bytes] | None = None
        self._groups: list[bytes] = []
        self._footed = 0
        self._grouped_rows = self._offset = self._foot_bytes = 0
        self._began = time.monotonic()
        self._tail: _Tail | None = None
        create_folder(self.folder)

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.nbytes
        self.rows += batch.num_rows
        self._grown()

    def append_matrix(self, rows: npt.NDArray[np.int64], count: int) -> None:
        """Add the first `count` rows of a matrix and fill them with NULL again."""
        if count < GROUP_ROWS // 2:
            self.append(event_batch(rows, count))
            rows[:, :count] = NULL
            return
        self._group_waiting()
        self._write(self._encode().matrix(rows, count, reset=True))
        self.rows += count
        self._grown()

    def _grown(self) -> None:
        if self.rows >= PART_ROWS or self._offset >= self._part_bytes:
            self.end_part()
        elif self._waiting_rows >= GROUP_ROWS:
            self._group_waiting()

    def prepare(self) -> None:
        """Have the encoder: where it is loaded already, small parts are its work too, and smaller."""
        self._encode()

    def _encode(self) -> Any:
        if self._encoder is None:
            # Numba takes its time to load: not for a trace without events
            from iotrace.trace.parquet import EventEncoder

            self._encoder = EventEncoder()
        return self._encoder

    def _group_waiting(self) -> None:
        if self._waiting:
            self._write(self._encode().batch(pa.concat_batches(self._waiting)))
            # what the tail holds of them holds until the next footer
            self._waiting, self._waiting_rows, self._waiting_bytes, self._in_tail = [], 0, 0, 0

    def _write(self, group: Any) -> None:
        from iotrace.trace.parquet import MAGIC, place

        self._room(group.packed_bytes)
        if self._file is None:
            self._file = create(self.folder / f"_{part_name(self.part)}")
            self._offset = len(MAGIC)
            write_all(self._file, MAGIC)
        pages, entry = place(group, self._offset, len(self._groups))
        # not where the file ends: a write for which there was no room may have left a piece
        self._file.seek(self._offset)
        write_all(self._file, b"".join(pages))
        self._offset += group.packed_bytes
        self._groups.append(entry)
        self._grouped_rows += group.rows

    def is_old(self) -> bool:
        """Whether the part has been filled for PART_SECONDS."""
        return bool(self.rows) and time.monotonic() - self._began >= PART_SECONDS

    def keep(self) -> None:
        """Hand all rows to the kernel."""
        if self._footed < len(self._groups):
            old, self._tail = self._tail, None
            self._add_to_tail()
            self._write_foot()
            if old is not None:
                old.remove()
        else:
            self._add_to_tail()

    def _add_to_tail(self) -> None:
        if self._in_tail < len(self._waiting):
            name = tail_name(self.part, len(self._groups))
            self._tail = self._tail or _Tail(self.folder / name, SCHEMAS["events"])
            self._tail.write(self._waiting[self._in_tail :])
            self._in_tail = len(self._waiting)

    def _write_foot(self) -> None:
        from iotrace.trace.parquet import MAGIC, footer

        path = self.folder / foot_name(self.part)
        temporary = path.with_name(f"{path.name}.new")
        content = MAGIC + footer(self._groups, self._grouped_rows)
        with create(temporary) as file:
            write_all(file, content)
        temporary.rename(path)
        self._footed, self._foot_bytes = len(self._groups), len(content)

    def end_part(self) -> None:
        """Give the part, if it has rows, its name."""
        self._began = time.monotonic()
        if not self.rows:
            return
        temporary = self.folder / f"_{part_name(self.part)}"
        if self._encoder is None and self.rows < GROUP_ROWS // 2:
            # loading the encoder takes longer than it would save
            self._room(self.untailed_bytes())
            size = write_table(temporary, self._waiting, SCHEMAS["events"])
        else:
            size = self._end_groups()
        temporary.rename(self.folder / part_name(self.part))
        if self._footed:
            (self.folder / foot_name(self.part)).unlink(missing_ok=True)
        if self._tail is not None:
            self._tail.remove()
        number, rows = self.part, self.rows
        self.part += 1
        self._waiting, self._waiting_rows, self._waiting_bytes, self._in_tail = [], 0, 0, 0
        self.rows = self._grouped_rows = self._offset = self._footed = self._foot_bytes = 0
        self._file, self._tail, self._groups = None, None, []
        self._ended("events", number, rows, size)

    def _end_groups(self) -> int:
        from iotrace.trace.parquet import footer

        self._group_waiting()
        assert self._file is not None
        content = footer(self._groups, self._grouped_rows)
        self._file.seek(self._offset)
        write_all(self._file, content)
        self._file.truncate()
        self._file.close()
        return self._offset + len(content)

    def open_bytes(self) -> int:
        """Bytes on disk that do not belong to an ended part."""
        return self._offset + self._foot_bytes + (self._tail.bytes if self._tail else 0)

    def untailed_bytes(self) -> int:
        """Memory of the rows that keep() would write."""
        return int(sum(batch.nbytes for batch in self._waiting[self._in_tail :]))

    def waiting_bytes(self) -> int:
        """Memory of all rows that wait."""
        return self._waiting_bytes

    def lighten(self) -> None:
        """Let no rows wait in memory."""
        self._group_waiting()

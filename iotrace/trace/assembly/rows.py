"""Rows of a trace from Python, in batches: events as tuples, paths interned, files and processes when there is news of
them."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from iotrace.trace.assembly.calls import Call
from iotrace.trace.assembly.identity import FileTable, printable
from iotrace.trace.assembly.tasks import Process, Thread
from iotrace.trace.operations import NUMBER_OF, OPERATIONS
from iotrace.trace.redact import redact
from iotrace.trace.schema import EVENT_COLUMNS, OP_TYPE, SCHEMAS
from iotrace.trace.writer import TraceWriter

BATCH_ROWS: Final = 1 << 14
RETURNS_NO_NUMBER: Final = frozenset(o.name for o in OPERATIONS if o.result in ("fd", "address"))
_OP_NAMES: Final = pa.array([operation.name for operation in OPERATIONS])


class Rows:
    """The four tables in the making.

    Parameters
    ----------
    writer: takes the rows; its info's mounts are used.
    probe_since_ns: see FileTable.
    """

    def __init__(self, writer: TraceWriter, probe_since_ns: int | None) -> None:
        self.writer = writer
        self._files = self._make_files(probe_since_ns)
        self._rows: list[tuple[Any, ...]] = []
        self._path_numbers: dict[tuple[bytes, bytes], int] = {}
        self._path_texts: list[bytes] = []
        self._path_raws: list[bytes] = []
        self._paths_written = 0
        self._changed: dict[int, Process] = {}

    def _make_files(self, probe_since_ns: int | None) -> FileTable:
        return FileTable(self.writer.info.mounts, probe_since_ns)

    def intern(self, text: bytes, raw: bytes) -> int:
        """Row of paths for an absolute name and the name as it was given."""
        key = (text, raw)
        number = self._path_numbers.get(key)
        if number is None:
            number = self._path_numbers[key] = len(self._path_texts)
            self._path_texts.append(text)
            self._path_raws.append(raw)
        return number

    def flush_if_full(self) -> None:
        """Hand the rows to the writer when there is a batch of them; for between two lines of a log."""
        if len(self._rows) >= BATCH_ROWS:
            self.flush()

    def _path_text(self, path: int) -> bytes:
        return self._path_texts[path]

    def flush(self) -> None:
        """Hand all rows so far to the writer."""
        self._write_paths()
        rows, self._rows = self._rows, []
        if rows:
            self.writer.append("events", _event_batch(rows))
        self._write_files(everything=False)
        self._write_processes()

    def _emit(
        self,
        thread: Thread,
        call: Call,
        path: int | None = None,
        file: int | None = None,
        opened: int | None = None,
        other_path: int | None = None,
        other_file: int | None = None,
        other_open: int | None = None,
        child: int | None = None,
    ) -> None:
        result = call.result
        if result is not None and result > 0 and call.op in RETURNS_NO_NUMBER:
            result = 0
        self._add((
            call.time_ns, None if result is None else call.duration_ns, None, thread.process.number, thread.number,
            NUMBER_OF[call.op], path, other_path, file, other_file, opened, other_open, call.offset, call.offset2,
            call.size, call.count, call.address, call.flags, call.mode, None, None, child, result,
        ))  # fmt: skip

    def _add(self, row: tuple[int | None, ...]) -> None:
        """Keep a row of events, its values in the order of the columns."""
        self._rows.append(row)

    def _write_paths(self) -> None:
        first, texts = self._paths_written, self._path_texts
        if first == len(texts):
            return
        columns = [
            pa.array(range(first, len(texts)), pa.int32()),
            pa.array([printable(text) for text in texts[first:]], pa.string()),
            pa.array(self._path_raws, pa.binary()),
        ]
        self.writer.append("paths", pa.RecordBatch.from_arrays(columns, schema=SCHEMAS["paths"]))
        self._paths_written = len(texts)
        self._path_raws = []

    def _write_files(self, everything: bool) -> None:
        self.writer.append_rows("files", self._files.rows(self._path_texts, everything))

    def _write_processes(self) -> None:
        changed, self._changed = self._changed, {}
        self.writer.append_rows("processes", [_process_row(process) for process in changed.values()])


def _process_row(process: Process) -> dict[str, Any]:
    return {
        "process": process.number,
        "pid": _wrapped(process.pid, 32),
        "parent": process.parent,
        "command": process.command,
        "arguments": redact(process.arguments) if process.arguments is not None else None,
        "cwd": printable(process.cwd) if process.cwd is not None else None,
        "umask": process.umask,
        "start_ns": process.start_ns,
        "end_ns": process.end_ns,
        "exit": process.exit,
        **process.labels,
    }


def _event_batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    arrays = []
    for column, values in zip(EVENT_COLUMNS, zip(*rows, strict=True), strict=True):
        if column.name == "op":
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(values, pa.int16()), _OP_NAMES).cast(OP_TYPE))
            continue
        try:
            arrays.append(pa.array(values, column.type))
        except (OverflowError, pa.ArrowInvalid):
            bits = column.type.bit_width
            arrays.append(pa.array([_wrapped(value, bits) for value in values], column.type))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["events"])


def _wrapped(value: int | None, bits: int) -> int | None:
    """Two's complement: what the kernel's unsigned number is in a signed column."""
    if value is None:
        return None
    # the one number that stands for none in tables of int64
    if value & ((1 << 64) - 1) == 1 << 63:
        return None
    return ((value + (1 << (bits - 1))) & ((1 << bits) - 1)) - (1 << (bits - 1))

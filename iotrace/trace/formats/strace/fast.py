"""Logs of strace at the speed of the disk: StraceLog and Assembler over the kernels' tables.

Whole lines go as bytes to the kernels, which take those of which they are certain; the others go, one by one, through
the same StraceLog and Assembler that read a log without them, on the same state.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from iotrace.trace.assemble import Assembler
from iotrace.trace.assembly.identity import FileTable, printable
from iotrace.trace.assembly.tasks import Description, Descriptors, Folder, Memory, Process, Thread
from iotrace.trace.formats.strace.calls import CALLS
from iotrace.trace.formats.strace.files import TableFiles
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels.descriptors import new_open
from iotrace.trace.formats.strace.kernels.lines import feed, feed_runs
from iotrace.trace.formats.strace.kernels.names import gather
from iotrace.trace.formats.strace.lines import BESIDE, StraceLog
from iotrace.trace.formats.strace.pending import Pending
from iotrace.trace.formats.strace.state import Ints, State, wrapped
from iotrace.trace.formats.strace.tasks import (
    TableDescription,
    TableDescriptors,
    TableFolder,
    TableMemory,
    TableProcess,
    TableThread,
    Threads,
)
from iotrace.trace.matrix import event_batch
from iotrace.trace.schema import FILE_COLUMNS, NULL, SCHEMAS

_TYPE_NAMES: Final = pa.array(["file", "directory", "link", "other"])
_GATHERED: Final = 1 << 16
_FILE_FIELDS: Final = {
    "path": k.F_PATH, "device": k.F_DEVICE, "inode": k.F_INODE, "type": k.F_TYPE, "size": k.F_SIZE,
    "blocks": k.F_BLOCKS, "mode": k.F_MODE, "existed": k.F_EXISTED, "entries": k.F_ENTRIES,
    "inherited_flags": k.F_INHERITED_FLAGS, "inherited_offset": k.F_INHERITED_OFFSET,
}  # fmt: skip


def _counter(word: int) -> Any:
    """A property that is a word of the header."""

    def read(self: TableAssembler) -> Any:
        return self.state.h[word]

    def write(self: TableAssembler, value: int) -> None:
        self.state.h[word] = value

    return property(read, write)


class TableAssembler(Assembler):
    """An Assembler whose state the kernel shares; `state` holds it. Parameters as of Assembler."""

    def __init__(self, writer: Any, *rest: Any, **options: Any) -> None:
        self.state = State(CALLS, BESIDE, writer.info.page_size)
        super().__init__(writer, *rest, **options)
        self.state.h[k.LABELS] = self._labeler is not None

    unknown_descriptors = _counter(k.UNKNOWN_FDS)
    unknown_folders = _counter(k.UNKNOWN_FOLDERS)

    def intern(self, text: bytes, raw: bytes) -> int:
        return self.state.intern_path(text, raw)

    def _path_text(self, path: int) -> bytes:
        return self.state.path_text(path)

    def _make_files(self, probe_since_ns: int | None) -> FileTable:
        return TableFiles(self.state, self.writer.info.mounts, probe_since_ns)

    def _make_threads(self) -> dict[int, Thread]:
        return Threads(self.state)

    def _make_process(self, number: int, pid: int, start_ns: int) -> Process:
        return TableProcess(self.state, number, pid, start_ns)

    def _make_thread(
        self, tid: int, process: Process, descriptors: Descriptors, folder: Folder, memory: Memory
    ) -> Thread:
        return TableThread(self.state, self._thread_count, tid, process, descriptors, folder, memory)

    def _make_descriptors(self) -> Descriptors:
        return TableDescriptors(self.state)

    def _make_folder(self) -> Folder:
        return TableFolder(self.state, self._cwd, self._first_umask)

    def _make_memory(self) -> Memory:
        return TableMemory(self.state)

    def _describe(self, file: Any, path: int | None, text: bytes, flags: int, position: int | None) -> Description:
        state = self.state
        state.grow(len(text))
        description = TableDescription(state, new_open(state.address))
        number = state.h[k.OPENS]
        state.h[k.OPENS] = number + 1
        row = (number, file.number, wrapped(path), state.intern_name(text), wrapped(flags), wrapped(position), -1, 0)
        for field, value in enumerate(row):
            description._put(field, value)
        return description

    def _add(self, row: tuple[int | None, ...]) -> None:
        state = self.state
        state.grow(0)
        state.events[:, state.h[k.ROWS]] = [wrapped(value) for value in row]
        state.h[k.ROWS] += 1

    # ---- out of the tables ----

    def flush_if_full(self) -> None:
        if self.state.h[k.ROWS] >= k.BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Hand all rows so far to the writer."""
        self._write_paths()
        count = self.state.h[k.ROWS]
        if count:
            self.writer.append("events", event_batch(self.state.events, count))
            self.state.h[k.ROWS] = 0
        self._write_files(everything=False)
        self._write_processes()

    def _write_paths(self) -> None:
        while (count := min(self.state.h[k.PATHS] - self._paths_written, _GATHERED)) > 0:
            first = self._paths_written
            text, raw = self._gathered(first, count, False), self._gathered(first, count, True)
            columns = [pa.array(np.arange(first, first + count, dtype=np.int32)), text, raw]
            self.writer.append("paths", pa.RecordBatch.from_arrays(columns, schema=SCHEMAS["paths"]))
            self._paths_written += count

    def _gathered(self, first: int, count: int, raws: bool) -> pa.Array:
        """Texts (as shown) or raw names of paths."""
        address = self.state.address
        length = gather(address, first, count, raws, 0, 0)
        out, offsets = np.empty(max(1, length), np.uint8), np.empty(count + 1, np.int32)
        plain = gather(address, first, count, raws, offsets.ctypes.data, out.ctypes.data) >= 0
        kind = pa.string() if plain and not raws else pa.binary()
        array = pa.Array.from_buffers(kind, count, [None, pa.py_buffer(offsets), pa.py_buffer(out)])
        if raws or plain:
            return array
        return pa.array([printable(text) for text in array.to_pylist()], pa.string())

    def _write_files(self, everything: bool) -> None:
        files: Any = self._files
        rows: Ints = files.whole(everything)
        if not len(rows):
            return
        arrays = {"file": pa.array(rows[:, 0].astype(np.int32))}
        for column in FILE_COLUMNS:
            if column.name not in _FILE_FIELDS:
                continue
            values = rows[:, 1 + _FILE_FIELDS[column.name]]
            missing = values < 0 if column.name in ("path", "type", "existed") else values == NULL
            if column.name == "type":
                array = pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int8), mask=missing), _TYPE_NAMES)
                arrays[column.name] = array.cast(pa.string())
            elif column.name == "existed":
                arrays[column.name] = pa.array(values == 1, mask=missing)
            else:
                kind = np.int32 if column.type == pa.int32() else np.int64
                arrays[column.name] = pa.array(values.astype(kind), mask=missing)
        arrays["target"] = self._targets(rows)
        arrays["mount"] = self._mounts(rows)
        schema = SCHEMAS["files"]
        for field in schema:
            arrays.setdefault(field.name, pa.nulls(len(rows), field.type))
        self.writer.append("files", pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema))

    def _targets(self, rows: Ints) -> pa.Array:
        begins, lengths = rows[:, 1 + k.F_TARGET], rows[:, 1 + k.F_TARGET_LENGTH]
        if (begins < 0).all():
            return pa.nulls(len(rows), pa.string())
        blob = self.state.bytes
        texts = [
            printable(bytes(blob[begin : begin + length])) if begin >= 0 else None
            for begin, length in zip(begins.tolist(), lengths.tolist(), strict=True)
        ]
        return pa.array(texts, pa.string())

    def _mounts(self, rows: Ints) -> pa.Array:
        if not self.writer.info.mounts:
            return pa.nulls(len(rows), pa.int32())
        state = self.state
        found: list[int | None] = []
        for path, where in zip(rows[:, 1 + k.F_PATH].tolist(), rows[:, 1 + k.F_WHERE].tolist(), strict=True):
            seen = state.path_text(path) if path >= 0 else state.name(where) if where >= 0 else None
            found.append(self._files.mount_of(seen) if seen is not None else None)
        return pa.array(found, pa.int32())


def _word(word: int, truth: bool = False) -> Any:
    """A property of the log that is a word of the header."""

    def read(self: FastLog) -> Any:
        value = self._h[word]
        return bool(value) if truth else None if value == NULL else value

    def write(self: FastLog, value: Any) -> None:
        self._h[word] = wrapped(value)

    return property(read, write)


class FastLog(StraceLog):
    """StraceLog over a TableAssembler. Parameters and attributes as of StraceLog.

    Attributes
    ----------
    by_kernel: lines that the kernel took.
    """

    def __init__(self, assembler: TableAssembler, start_ns: int | None = None) -> None:
        self._h = assembler.state.h
        self.state = assembler.state
        super().__init__(assembler, start_ns)
        self._unfinished: Any = Pending(self.state)
        self._left = 0

    lines = _word(k.LINES)
    understood = _word(k.UNDERSTOOD)
    timed = _word(k.TIMED, True)
    measured = _word(k.MEASURED, True)
    decorated = _word(k.DECORATED, True)
    last_ns = _word(k.LAST_NS)
    _before = _word(k.BEFORE)
    _base = _word(k.BASE)

    @property
    def by_kernel(self) -> int:
        return int(self.lines - self._left)

    def feed_bytes(self, data: bytes, pid: int | None = None) -> None:
        if not data:
            return
        at = first = np.frombuffer(data, np.uint8).ctypes.data
        while (what := feed(self.state.address, at, first + len(data), pid or 0)) != k.DONE:
            at = self._help(what, data, first, pid)

    def feed_runs(self, data: Any, runs: Ints) -> None:
        first, number = data.ctypes.data, 0
        while (what := feed_runs(self.state.address, runs.ctypes.data, number, len(runs))) != k.DONE:
            number = self._h[k.HEAP]
            runs[number, 0] = self._help(what, data, first, int(runs[number, 2]))

    def _help(self, what: int, data: Any, first: int, pid: int | None) -> int:
        """Do what the kernel asks for; returns the address to go on from. `data` lies at `first`."""
        h = self._h
        at: int = h[k.AT]
        stop: int = h[k.LINE_END]
        if what == k.TO_FLUSH:
            self.assembler.flush()
        elif what == k.TO_GROW:
            self.state.grow(stop - at)
        else:
            self._left += 1
            self._take(bytes(data[at - first : stop - first]).decode("latin-1"), pid)
            self.assembler.flush_if_full()
            at = stop + 1
        return at

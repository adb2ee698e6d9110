"""From the drain's numbers to the rows of a trace: texts of paths, files with mounts, processes with labels.

Each path, file and process passes here once; the events themselves pass as whole columns.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any, Final

import numpy as np
import pyarrow as pa

from iotrace.record.ebpf import drain as d
from iotrace.record.ebpf.state import Ints, State
from iotrace.record.ebpf.uses import uses_of
from iotrace.record.label_book import READS, WRITES, LabelBook, own_facts
from iotrace.record.label_reader import LabelReader
from iotrace.record.labels import LABELS, job_folders, redact
from iotrace.trace.info import Mount
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.schema import EVENT_COLUMNS, SCHEMAS

_OP_NAMES: Final = pa.array([operation.name for operation in OPERATIONS])
_OP: Final = d.COLUMN["op"]


def event_batch(rows: Ints, count: int) -> pa.RecordBatch:
    """The first `count` rows of the drain's columns as a record batch of the event schema."""
    arrays: list[pa.Array] = []
    for number, column in enumerate(EVENT_COLUMNS):
        values = rows[number, :count]
        if number == _OP:
            indices = pa.array(values.astype(np.int16))
            arrays.append(pa.DictionaryArray.from_arrays(indices, _OP_NAMES))
            continue
        missing = values == d.NULL
        if missing.all():
            arrays.append(pa.nulls(count, column.type))
            continue
        # a copy: the drain fills the same memory again
        values = values.astype(np.int32 if column.type == pa.int32() else np.int64)
        arrays.append(pa.array(values, mask=missing if missing.any() else None))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["events"])


def path_text(raw: bytes) -> str:
    """A path for people: UTF-8; other bytes and control characters as \\xNN."""
    text = raw.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" for c in text)


def device_number(kernel_device: int) -> int:
    """A kernel dev_t as stat(2) shows it."""
    return os.makedev(kernel_device >> 20, kernel_device & 0xFFFFF)


def kernel_device(stat_device: int) -> int:
    """The inverse of device_number()."""
    return os.major(stat_device) << 20 | os.minor(stat_device)


def type_name(mode: int) -> str:
    """The `type` column for an st_mode."""
    if S_ISREG(mode):
        return "file"
    return "directory" if S_ISDIR(mode) else "link" if S_ISLNK(mode) else "other"


class SideTables:
    """Builds the rows of paths, files and processes from snapshots of the drain's state.

    Parameters
    ----------
    mounts: those of trace.json.
    append: takes the rows of a table.
    own: processes without a recorded parent were started by this one, and are what it is.
    """

    def __init__(
        self, mounts: list[Mount], append: Callable[[str, list[dict[str, Any]]], None], own: bool = False
    ) -> None:
        self._append = append
        self._own = own_facts() if own else None
        self.reader = LabelReader()
        self._book = LabelBook(self.reader)
        self._job_paths: dict[int, str] = {}
        self._mounts = sorted(enumerate(mounts), key=lambda item: -len(item[1].point))
        self._texts: list[str] = []
        self._first_path = 0
        self._made: dict[str, int] = {}
        self._processes: dict[int, dict[str, Any]] = {}
        self.unresolved = 0

    def add(self, snapshot: Snapshot, rows: Ints, count: int) -> None:
        """Write the rows for what is new in the state; `rows`: the drain's columns that came with it."""
        self._add_paths(snapshot)
        self._add_notes(snapshot)
        self._add_files(snapshot)
        self._label(rows, count)

    def finish(self) -> None:
        """Write what the last answers about labels say; waits for them a few seconds at most."""
        self._take(self.reader.last_answers())
        self.reader.close()

    def _label(self, rows: Ints, count: int) -> None:
        """Labels by what was opened: looked for only when the chunk brought a new name in a job's folder."""
        found, self._job_paths = self._job_paths, {}
        if found and self._book.seeks:
            for process, path, writes in uses_of(rows, count, found):
                if process in self._processes:
                    self._book.uses(process, found[path], WRITES if writes else READS)
        self._take(self.reader.answers())

    def _take(self, answers: list[tuple[Any, dict[str, Any]]]) -> None:
        changed: dict[int, None] = {}
        for process, facts in self._book.take(answers).items():
            if (row := self._processes.get(process)) is None:
                continue
            changed[process] = None
            row["cgroup"] = facts.cgroup or row.get("cgroup")
            if facts.arguments is not None:
                words = [path_text(word.encode("latin-1")) for word in facts.arguments]
                row["arguments"] = redact(words)
                self._book.executed(process, words, None, row.get("cwd"))
        for process, labels in self._book.changes().items():
            if process in self._processes:
                changed[process] = None
                self._processes[process] |= {**dict.fromkeys(LABELS), **labels}
        self._append("processes", [self._processes[process] for process in changed])

    def _add_paths(self, snapshot: Snapshot) -> None:
        rows = []
        if snapshot.first_path != self._first_path:
            self._begin_chapter(snapshot.first_path)
        blob, texts = snapshot.blob, self._texts
        for number, (base, begin, length) in enumerate(snapshot.paths.tolist(), start=snapshot.paths_begin):
            raw = blob[begin - snapshot.blob_begin : begin - snapshot.blob_begin + length]
            text = path_text(raw)
            if not raw.startswith(b"/"):
                # the folder's own path was numbered before
                folder = self._text(base) if base >= 0 else ""
                self.unresolved += base == d.NO_BASE
                text = f"{folder.rstrip('/')}/{text}" if folder else text
            if text.startswith("/") and ("//" in text or "/." in text or text.endswith("/")):
                text = posixpath.normpath(text)
                text = text[1:] if text.startswith("//") else text
            texts.append(text)
            if ("/J" in text or "/S" in text) and job_folders(text):
                self._job_paths[number] = text
            rows.append({"path": number, "text": text, "raw": raw})
        self._append("paths", rows)

    def _text(self, path: int) -> str:
        return self._texts[path - self._first_path]

    def _begin_chapter(self, first_path: int) -> None:
        """Forget what came before; the rows of processes that live are written again, for the chapters to come."""
        self._texts, self._made, self._first_path = [], {}, first_path
        self._processes = {number: row for number, row in self._processes.items() if row.get("end_ns") is None}
        self._book.keep_only(self._processes)
        self._append("processes", list(self._processes.values()))

    def _add_files(self, snapshot: Snapshot) -> None:
        rows = []
        for number, info in zip(snapshot.file_numbers.tolist(), snapshot.files.tolist(), strict=True):
            _, path, device, inode, mode, size, blocks, pages, created, _, seen_ns, _, flags, offset, _ = info
            text = self._text(path) if path >= 0 else None
            known = mode != d.NULL
            existed: bool | None = None
            if created != d.NULL:
                made_ns = self._made.get(text or "")
                existed = not created and not (made_ns is not None and made_ns <= seen_ns)
            rows.append(
                {
                    "file": number,
                    "path": path if path >= 0 else None,
                    "device": device_number(device),
                    "inode": inode,
                    "mount": self._mount(device_number(device), text),
                    "type": type_name(mode) if known else None,
                    "size": size if size != d.NULL else None,
                    "blocks": blocks if blocks != d.NULL else None,
                    "cached_pages": pages if pages != d.NULL else None,
                    "mode": mode if known else None,
                    "existed": existed,
                    "inherited_flags": flags if flags != d.NULL else None,
                    "inherited_offset": offset if offset != d.NULL else None,
                }
            )
        self._append("files", rows)

    def _mount(self, device: int, text: str | None) -> int | None:
        fallback = None
        for number, mount in self._mounts:
            if mount.device == device:
                if text is None or text == mount.point or text.startswith(mount.point.rstrip("/") + "/"):
                    return number
                fallback = number
        return fallback

    def _add_notes(self, snapshot: Snapshot) -> None:
        changed: dict[int, None] = {}
        ended: set[int] = set()
        begun: dict[int, bool] = {}
        for note in snapshot.notes.tolist():
            kind, time_ns, process = note[d.NOTE_KIND], note[d.NOTE_TIME], note[d.NOTE_PROCESS]
            if kind == d.NOTE_NAME_MADE:
                path = note[d.NOTE_VALUE]
                if path >= self._first_path:
                    self._made.setdefault(self._text(path), time_ns)
                continue
            changed[process] = None
            if kind == d.NOTE_PROCESS_NEW:
                self._new_process(note)
            elif kind == d.NOTE_ADOPTED:
                self._adopt(process)
                begun[process] = True
            elif kind == d.NOTE_EXEC:
                self._exec(note, snapshot)
                begun[process] = False
            elif kind == d.NOTE_EXIT and process in self._processes:
                row = self._processes[process]
                row["end_ns"] = max(time_ns, row.get("end_ns") or 0)
                row["exit"] = note[d.NOTE_VALUE]
                ended.add(process)
        for process, adopted in begun.items():
            # the number of one that has ended may be another's by now
            if process not in ended and self._processes[process]["pid"] > 0:
                self.reader.ask_process(process, self._processes[process]["pid"], adopted)
        for process, labels in self._book.changes().items():
            if process in self._processes:
                changed[process] = None
                self._processes[process] |= labels
        self._append("processes", [self._processes[p] for p in changed if p in self._processes])

    def _new_process(self, note: list[int]) -> None:
        process, pid = note[d.NOTE_PROCESS], note[d.NOTE_VALUE]
        parent = note[d.NOTE_PARENT] if note[d.NOTE_PARENT] >= 0 else None
        row: dict[str, Any] = {"process": process, "pid": pid, "parent": parent, "start_ns": note[d.NOTE_TIME]}
        self._book.began(process, parent)
        if parent is not None and parent in self._processes:
            # a fork is its parent until it executes a program
            inherited = self._processes[parent]
            row = {**inherited, **row, "end_ns": None, "exit": None}
        elif self._own is not None:
            row["cgroup"] = self._own.cgroup
            self._book.told(process, self._own)
        if note[d.NOTE_UMASK] >= 0:
            row["umask"] = note[d.NOTE_UMASK]
        if note[d.NOTE_BASE] >= 0:
            row["cwd"] = self._text(note[d.NOTE_BASE])
        self._processes[process] = row

    def _adopt(self, process: int) -> None:
        """A process that ran before it was followed: what it is, it will be asked."""
        row = self._processes[process]
        try:
            row["command"] = path_text(Path(f"/proc/{row['pid']}/comm").read_bytes().rstrip(b"\n"))
        except OSError:
            return  # it has ended
        self._book.executed(process, [], None, row.get("cwd"))

    def _exec(self, note: list[int], snapshot: Snapshot) -> None:
        row = self._processes.setdefault(
            note[d.NOTE_PROCESS], {"process": note[d.NOTE_PROCESS], "pid": -1, "start_ns": note[d.NOTE_TIME]}
        )
        begin = note[d.NOTE_TEXT] - snapshot.blob_begin
        words = snapshot.blob[begin : begin + note[d.NOTE_LENGTH]].rstrip(b"\0").split(b"\0")
        arguments = [path_text(word) for word in words]
        program = self._text(note[d.NOTE_VALUE]) if note[d.NOTE_VALUE] >= self._first_path else ""
        row["command"] = posixpath.basename(program)[:15] or (arguments[0] if arguments else None)
        row["cwd"] = self._text(note[d.NOTE_BASE]) if note[d.NOTE_BASE] >= 0 else row.get("cwd")
        row["umask"] = note[d.NOTE_UMASK]
        row["arguments"] = redact(arguments)
        self._book.executed(row["process"], arguments, None, row["cwd"])


class Snapshot:
    """What came new into a drain's State since the last snapshot; copies, so that the drain may go on meanwhile."""

    def __init__(self, state: State, after: Snapshot | None) -> None:
        self.first_path: int = state.first(d.PATH_INFO)
        first_path, first_file = self.first_path, state.first(d.FILE_INFO)
        self.paths_end, self.files_end, self.blob_end = state.count(d.PATHS), state.count(d.FILES), state.count(d.BLOB)
        # after a State has forgotten, its texts begin anew
        continues = after is not None and after.first_path == first_path
        self.blob_begin = after.blob_end if after and continues else 0
        self.paths_begin = after.paths_end if after and continues else first_path
        self.paths = state.table(d.PATH_INFO)[self.paths_begin - first_path : self.paths_end - first_path].copy()
        self.file_numbers = np.arange(after.files_end if after and continues else first_file, self.files_end)
        self.files = state.table(d.FILE_INFO)[self.file_numbers - first_file].copy()
        self.blob = state.blob[self.blob_begin : self.blob_end].tobytes()
        self.notes = state.table(d.NOTE_ROWS)[: state.count(d.NOTES)].copy()
        state.header[d.NOTES] = 0

"""From the drain's numbers to the rows of a trace: texts of paths, files with mounts, processes with labels.

Each path, file and process passes here once; the events themselves pass as whole columns.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from stat import S_IFDIR, S_IFLNK, S_IFREG
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.names import Names, path_text
from iotrace.record.ebpf.state import Ints, State
from iotrace.record.ebpf.uses import uses_of
from iotrace.record.ebpf.writing import Writer
from iotrace.record.label_book import READS, WRITES, LabelBook, own_facts
from iotrace.record.label_reader import LabelReader
from iotrace.record.labels import LABELS, job_folders, redact
from iotrace.trace.schema import NULL, SCHEMAS


def device_number(kernel_device: int) -> int:
    """A kernel dev_t as stat(2) shows it."""
    return os.makedev(kernel_device >> 20, kernel_device & 0xFFFFF)


def _nullable(values: Ints, missing: npt.NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    return pa.array(np.where(missing, 0, values).astype(kind.to_pandas_dtype()), mask=missing)


def _known(values: Ints) -> pa.Array:
    return _nullable(values, values == NULL, pa.int64())


def _types(mode: Ints) -> pa.Array:
    kind = mode & 0o170000
    texts = np.select([kind == S_IFREG, kind == S_IFDIR, kind == S_IFLNK], ["file", "directory", "link"], "other")
    # a dictionary's cast would import pyarrow.compute, which takes longer than the tables of a short trace
    return pa.array(texts, pa.string(), mask=mode == NULL)


def _mount_of(text: str | None, candidates: list[tuple[int, str]]) -> int:
    """The mount, of several with the same device and the longest point first, beneath which a path lies."""
    for number, point in candidates:
        if text is None or text == point or text.startswith(point.rstrip("/") + "/"):
            return number
    return candidates[-1][0]


class SideTables:
    """Builds the rows of paths, files and processes from snapshots of the drain's state.

    Parameters
    ----------
    writer: takes the rows.
    own: processes without a recorded parent were started by this one, and are what it is.
    """

    def __init__(self, writer: Writer, own: bool = False) -> None:
        self._writer = writer
        self._own = own_facts() if own else None
        self.names = Names()
        self.reader = LabelReader(mount.point for mount in writer.info.mounts)
        self._book = LabelBook(self.reader)
        self._job_paths: dict[int, str] = {}
        self._mounts = sorted(enumerate(writer.info.mounts), key=lambda item: -len(item[1].point))
        self._made: dict[str, int] = {}
        self._processes: dict[int, dict[str, Any]] = {}
        self.process_of_tally: dict[int, int] = {}
        """The kernel's number of a process → the trace's."""

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
        self._writer.append_rows("processes", [self._processes[process] for process in changed])

    def _add_paths(self, snapshot: Snapshot) -> None:
        if snapshot.first_path != self.names.first:
            self._begin_chapter(snapshot)
        if not len(snapshot.paths):
            return
        self._writer.append("paths", self.names.add(snapshot.paths, snapshot.blob, snapshot.blob_begin))
        for number in self.names.perhaps_in_job:
            text = self.names.text(number)
            if ("/J" in text or "/S" in text) and job_folders(text):
                self._job_paths[number] = text

    def _begin_chapter(self, snapshot: Snapshot) -> None:
        """Forget what came before; the rows of processes that live are written again, for the chapters to come."""
        self.names.begin(snapshot.first_path)
        self._made = {}
        self._processes = {number: row for number, row in self._processes.items() if number in snapshot.living}
        self.process_of_tally = {
            t: process for t, process in self.process_of_tally.items() if process in snapshot.living
        }
        self._book.keep_only(self._processes)
        self._writer.append_rows("processes", list(self._processes.values()))

    def _add_files(self, snapshot: Snapshot) -> None:
        about = snapshot.files[:, d.F_ELSEWHERE] != 1
        files, numbers = snapshot.files[about], snapshot.file_numbers[about]
        if not len(files):
            return
        devices, place = np.unique(files[:, d.F_DEVICE], return_inverse=True)
        mode = files[:, d.F_MODE]
        columns = {
            "file": pa.array(numbers.astype(np.int32)),
            "path": _nullable(files[:, d.F_PATH], files[:, d.F_PATH] < 0, pa.int32()),
            "device": pa.array(np.array([device_number(device) for device in devices.tolist()], np.int64)[place]),
            "inode": pa.array(np.ascontiguousarray(files[:, d.F_INODE])),
            "mount": self._mounts_of(files, devices, place),
            "type": _types(mode),
            "size": _known(files[:, d.F_SIZE]),
            "blocks": _known(files[:, d.F_BLOCKS]),
            "cached_pages": _known(files[:, d.F_PAGES]),
            "mode": _nullable(mode, mode == NULL, pa.int32()),
            "existed": self._existed(files),
            "inherited_flags": _known(files[:, d.F_FLAGS]),
            "inherited_offset": _known(files[:, d.F_POSITION]),
        }
        schema = SCHEMAS["files"]
        arrays = [columns.get(field.name) for field in schema]
        arrays = [pa.nulls(len(files), f.type) if a is None else a for a, f in zip(arrays, schema, strict=True)]
        self._writer.append("files", pa.RecordBatch.from_arrays(arrays, schema=schema))

    def _existed(self, files: Ints) -> pa.Array:
        """Whether a file was there before the recording: neither this open nor an earlier call made it."""
        created = files[:, d.F_CREATED]
        existed = created == 0
        if self._made:
            for row in np.nonzero(existed & (files[:, d.F_PATH] >= 0))[0].tolist():
                made_ns = self._made.get(self.names.text(int(files[row, d.F_PATH])))
                if made_ns is not None and made_ns <= files[row, d.F_SEEN_NS]:
                    existed[row] = False
        return pa.array(existed, mask=created == NULL)

    def _mounts_of(self, files: Ints, devices: Ints, place: Ints) -> pa.Array:
        found = np.full(len(files), -1, np.int32)
        for index, device in enumerate(devices.tolist()):
            on_it = [(number, mount.point) for number, mount in self._mounts if mount.device == device_number(device)]
            rows = np.nonzero(place == index)[0]
            if len(on_it) == 1:
                found[rows] = on_it[0][0]
            elif on_it:
                # mounted in several places: the file's path says by which it was reached
                for row in rows.tolist():
                    path = int(files[row, d.F_PATH])
                    found[row] = _mount_of(self.names.text(path) if path >= 0 else None, on_it)
        return pa.array(found, mask=found < 0)

    def _add_notes(self, snapshot: Snapshot) -> None:
        changed: dict[int, None] = {}
        ended: set[int] = set()
        begun: dict[int, bool] = {}
        for note in snapshot.notes.tolist():
            kind, time_ns, process = note[d.NOTE_KIND], note[d.NOTE_TIME], note[d.NOTE_PROCESS]
            if kind == d.NOTE_NAME_MADE:
                path = note[d.NOTE_VALUE]
                if path >= self.names.first:
                    self._made.setdefault(self.names.text(path), time_ns)
                continue
            changed[process] = None
            if kind == d.NOTE_PROCESS_NEW:
                self.process_of_tally[note[d.NOTE_TALLY]] = process
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
        self._writer.append_rows("processes", [self._processes[p] for p in changed if p in self._processes])

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
            row["cwd"] = self.names.text(note[d.NOTE_BASE])
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
        program = self.names.text(note[d.NOTE_VALUE]) if note[d.NOTE_VALUE] >= self.names.first else ""
        row["command"] = posixpath.basename(program)[:15] or (arguments[0] if arguments else None)
        row["cwd"] = self.names.text(note[d.NOTE_BASE]) if note[d.NOTE_BASE] >= 0 else row.get("cwd")
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
        threads = state.table(d.THREAD_INFO)[: state.count(d.THREAD_ROWS)]
        self.living = frozenset() if continues else frozenset(threads[threads[:, d.T_ENDED] == 0, d.T_PROCESS].tolist())
        self.blob_begin = after.blob_end if after and continues else 0
        self.paths_begin = after.paths_end if after and continues else first_path
        self.paths = state.table(d.PATH_INFO)[self.paths_begin - first_path : self.paths_end - first_path].copy()
        self.file_numbers = np.arange(after.files_end if after and continues else first_file, self.files_end)
        self.files = state.table(d.FILE_INFO)[self.file_numbers - first_file].copy()
        self.blob = state.blob[self.blob_begin : self.blob_end].tobytes()
        self.notes = state.table(d.NOTE_ROWS)[: state.count(d.NOTES)].copy()
        state.header[d.NOTES] = 0

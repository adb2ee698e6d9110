"""From the drain's numbers to the rows of a trace: texts of paths, files with mounts, processes with labels.

Each path, file and process passes here once; the events themselves pass as whole columns.
"""

from __future__ import annotations

import os
import posixpath
import pwd
from collections.abc import Callable
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any

import numpy as np

from iotrace.record.ebpf import drain as d
from iotrace.record.ebpf.state import State
from iotrace.record.labels import labels_of, redact
from iotrace.trace.info import Mount


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
    """Builds the rows of paths, files and processes from snapshots of the drain's state."""

    def __init__(self, mounts: list[Mount], append: Callable[[str, list[dict[str, Any]]], None]) -> None:
        self._append = append
        self._mounts = sorted(enumerate(mounts), key=lambda item: -len(item[1].point))
        self._texts: list[str] = []
        self._first_path = 0
        self._made: dict[str, int] = {}
        self._processes: dict[int, dict[str, Any]] = {}
        self.unresolved = 0
        self.process_of_tally: dict[int, int] = {}
        """The kernel's number of a process → the trace's."""

    def add(self, snapshot: Snapshot) -> None:
        """Write the rows for what is new in the state."""
        self._add_paths(snapshot)
        self._add_notes(snapshot)
        self._add_files(snapshot)

    def _add_paths(self, snapshot: Snapshot) -> None:
        rows = []
        if snapshot.first_path != self._first_path:
            self._begin_chapter(snapshot)
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
            rows.append({"path": number, "text": text, "raw": raw})
        self._append("paths", rows)

    def _text(self, path: int) -> str:
        return self._texts[path - self._first_path]

    def _begin_chapter(self, snapshot: Snapshot) -> None:
        """Forget what came before; the rows of processes that live are written again, for the chapters to come."""
        self._texts, self._made, self._first_path = [], {}, snapshot.first_path
        self._processes = {number: row for number, row in self._processes.items() if number in snapshot.living}
        self.process_of_tally = {
            t: process for t, process in self.process_of_tally.items() if process in snapshot.living
        }
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
        for note in snapshot.notes.tolist():
            kind, time_ns, process = note[d.NOTE_KIND], note[d.NOTE_TIME], note[d.NOTE_PROCESS]
            if kind == d.NOTE_NAME_MADE:
                path = note[d.NOTE_VALUE]
                if path >= self._first_path:
                    self._made.setdefault(self._text(path), time_ns)
                continue
            changed[process] = None
            if kind == d.NOTE_PROCESS_NEW:
                self.process_of_tally[note[d.NOTE_TALLY]] = process
                self._new_process(note)
            elif kind == d.NOTE_ADOPTED:
                self._adopt(process)
            elif kind == d.NOTE_EXEC:
                self._exec(note, snapshot)
            elif kind == d.NOTE_EXIT and process in self._processes:
                row = self._processes[process]
                row["end_ns"] = max(time_ns, row.get("end_ns") or 0)
                row["exit"] = note[d.NOTE_VALUE]
        self._append("processes", [self._processes[p] for p in changed if p in self._processes])

    def _new_process(self, note: list[int]) -> None:
        process, pid = note[d.NOTE_PROCESS], note[d.NOTE_VALUE]
        parent = note[d.NOTE_PARENT] if note[d.NOTE_PARENT] >= 0 else None
        row: dict[str, Any] = {"process": process, "pid": pid, "parent": parent, "start_ns": note[d.NOTE_TIME]}
        if parent is not None and parent in self._processes:
            # a fork is its parent until it executes a program
            inherited = self._processes[parent]
            row = {**inherited, **row, "end_ns": None, "exit": None}
        if note[d.NOTE_UMASK] >= 0:
            row["umask"] = note[d.NOTE_UMASK]
        if note[d.NOTE_BASE] >= 0:
            row["cwd"] = self._text(note[d.NOTE_BASE])
        self._processes[process] = row

    def _adopt(self, process: int) -> None:
        """A process that ran before it was followed: what it is, it tells now."""
        row = self._processes[process]
        try:
            words = Path(f"/proc/{row['pid']}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            row["command"] = path_text(Path(f"/proc/{row['pid']}/comm").read_bytes().rstrip(b"\n"))
        except OSError:
            words = []  # it has ended
        self._describe(row, [path_text(word) for word in words])

    def _describe(self, row: dict[str, Any], arguments: list[str]) -> None:
        row["arguments"] = redact(arguments)
        row |= _live_facts(row["pid"])
        labels = labels_of(arguments, environment_of(row["pid"]), row.get("cwd"))
        for key in ("project", "job", "job_type", "step", "slurm_job"):
            value = getattr(labels, key)
            if value is not None:
                row[key] = value

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
        self._describe(row, arguments)


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


def environment_of(pid: int) -> dict[str, str]:
    """Environment of a live process, empty when it is gone or not ours to read."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in data.split(b"\0") if item)
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, _, value in pairs}


def _live_facts(pid: int) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
        facts["user"] = pwd.getpwuid(uid).pw_name
    except KeyError:
        facts["user"] = str(uid)
    except OSError:
        return facts
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        facts["cgroup"] = next((line[3:] for line in lines if line.startswith("0::")), None)
    except OSError:
        pass
    return facts

"""A small language to build traces by hand: calls in the order of their completion, as a recorder writes them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from iotrace.trace.info import Mount, TraceInfo
from iotrace.trace.schema import EVENT_COLUMNS, SCHEMAS
from iotrace.trace.writer import TraceWriter

EVENT_NAMES = [column.name for column in EVENT_COLUMNS]


class TraceBuilder:
    """Collects calls and writes a trace.

    Time advances by `step_ns` with each call unless `at` is given; every call takes `duration_ns`. Paths and files are
    interned: name one by its text and it gets a row. Files exist before the recording unless said otherwise.
    """

    def __init__(self, cwd: str = "/data/job", step_ns: int = 10_000, duration_ns: int = 1_000) -> None:
        self.cwd = cwd
        self.step_ns = step_ns
        self.duration_ns = duration_ns
        self.now_ns = 0
        self.events: list[dict[str, Any]] = []
        self.path_rows: dict[tuple[str, bytes], int] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.processes: list[dict[str, Any]] = []
        self.opens = 0
        self.threads = 0
        self.process_of: dict[int, int] = {}
        self.process()

    def process(self, cwd: str | None = None, **columns: Any) -> int:
        """A new process with its first thread; gives the thread's number."""
        number = len(self.processes)
        row = {"process": number, "pid": 1000 + number, "cwd": cwd or self.cwd, "umask": 0o022, "start_ns": 0}
        self.processes.append(row | columns)
        return self.thread(number)

    def thread(self, process: int = 0) -> int:
        """A new thread of a process."""
        number, self.threads = self.threads, self.threads + 1
        self.process_of[number] = process
        return number

    def path(self, name: str | bytes, base: str | None = None) -> int:
        """Row of a name as the program gave it, resolved lexically."""
        raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
        text = raw.decode("utf-8", "backslashreplace")
        if not text.startswith("/"):
            text = os.path.normpath(os.path.join(base or self.cwd, text)) if text else (base or self.cwd)
        return self.path_rows.setdefault((text, raw), len(self.path_rows))

    def text(self, path: int) -> str:
        """Text of a row."""
        return next(text for (text, _), row in self.path_rows.items() if row == path)

    def file(self, name: str, **columns: Any) -> int:
        """The file at a path (absolute, or in the working folder); the first mention may give its columns."""
        text = os.path.normpath(os.path.join(self.cwd, name))
        if text not in self.files:
            row = {"file": len(self.files), "path": self.path(text), "type": "file", "size": 0, "existed": True}
            self.files[text] = row | columns
        else:
            self.files[text].update(columns)
        return int(self.files[text]["file"])

    def call(
        self, op: str, *, thread: int = 0, at: int | None = None, duration: int | None = None, **columns: Any
    ) -> None:
        """One row of events."""
        if at is None:
            self.now_ns += self.step_ns
            at = self.now_ns
        self.now_ns = max(self.now_ns, at)
        row = dict.fromkeys(EVENT_NAMES) | {
            "time_ns": at, "duration_ns": self.duration_ns if duration is None else duration,
            "process": self.process_of.get(thread, 0), "thread": thread, "op": op, "result": 0,
        }  # fmt: skip
        self.events.append(row | columns)

    def open(self, name: str, flags: int = os.O_RDONLY, *, result: int = 0, size: int = 0, existed: bool = True,
             mode: int = 0, type: str = "file", dirfd: int | None = None, op: str = "openat", base: str | None = None,
             file: int | None = None, **rest: Any) -> int:  # fmt: skip
        """An open call; gives the description (-1 when `result` is a failure)."""
        path = self.path(name, base)
        opened = None
        if result >= 0:
            opened, self.opens = self.opens, self.opens + 1
            if file is None:
                file = self.file(self.text(path), **({"size": size, "existed": existed, "type": type}
                                                      if self.text(path) not in self.files else {}))  # fmt: skip
        self.call(
            op, path=path, open=opened, other_open=dirfd, flags=flags, mode=mode, file=file, result=result, **rest
        )
        return -1 if opened is None else opened

    def on(self, op: str, open_: int | None, name: str, **columns: Any) -> None:
        """A call on a descriptor of the file `name`."""
        file = columns.pop("file") if "file" in columns else self.file(name)
        row: dict[str, Any] = {"open": open_, "path": self.path(name), "file": file}
        self.call(op, **(row | columns))

    def read(
        self, open_: int, name: str, offset: int, size: int, result: int | None = None, op: str = "read", **rest: Any
    ) -> None:
        """A read where `offset` is the position, named (pread64) or not."""
        self.on(op, open_, name, offset=offset, size=size, result=size if result is None else result, **rest)

    def write(self, open_: int, name: str, offset: int, size: int, op: str = "write", **rest: Any) -> None:
        """A whole write."""
        self.on(op, open_, name, offset=offset, size=size, **({"result": size} | rest))

    def close(self, open_: int, name: str, **rest: Any) -> None:
        """A close."""
        self.on("close", open_, name, **rest)

    def named(
        self, op: str, name: str, other: str | None = None, *, result: int = 0, seen: bool = True, **columns: Any
    ) -> None:
        """A call by name (stat, mkdir, rename …); on success `seen` names its file too."""
        row: dict[str, Any] = {"path": self.path(name), "result": result}
        if other is not None:
            row["other_path"] = self.path(other)
        if seen and result >= 0 and "file" not in columns:
            row["file"] = self.file(name)
        self.call(op, **(row | columns))

    def missing(self, op: str, name: str, **columns: Any) -> None:
        """A call by name that fails with ENOENT."""
        self.named(op, name, result=-errno.ENOENT, **columns)

    def fork(self, thread: int = 0, cwd: str | None = None, **columns: Any) -> int:
        """A fork; gives the first thread of the new process."""
        child = self.process(cwd)
        self.call("fork", thread=thread, child=child, flags=17, result=1000 + self.process_of[child], **columns)
        return child

    def save(self, folder: Path, mounts: list[Mount] | None = None, **info: Any) -> Path:
        """Write the trace."""
        described = TraceInfo(
            version="0.1.0", backend="hand", host="host", command=["made", "by", "hand"], working_folder=self.cwd,
            duration_ns=self.now_ns + 10**6, mounts=mounts or [],
        )  # fmt: skip
        for name, value in info.items():
            setattr(described, name, value)
        with TraceWriter(folder, described) as writer:
            writer.append_rows(
                "paths", [{"path": row, "text": text, "raw": raw} for (text, raw), row in self.path_rows.items()]
            )
            writer.append_rows("files", self.files.values())
            writer.append_rows("processes", self.processes)
            if self.events:
                # dictionaries of strings need the dictionary type spelt out
                columns = {name: [row[name] for row in self.events] for name in EVENT_NAMES}
                schema = SCHEMAS["events"]
                arrays = [
                    pa.array(columns[field.name], pa.string()).dictionary_encode().cast(field.type)
                    if field.name == "op"
                    else pa.array(columns[field.name], field.type)
                    for field in schema
                ]
                writer.append("events", pa.RecordBatch.from_arrays(arrays, schema=schema))
        return folder

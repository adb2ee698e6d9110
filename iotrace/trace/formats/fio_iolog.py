"""Logs of fio (`write_iolog`, versions 2 and 3) read into a trace.

Version 2 has lines `FILE ACTION` and `FILE ACTION OFFSET LENGTH`, and `wait` in µs; version 3 puts the time before, in
µs since the first (so fio 3.33 takes it). Neither says how long a call took nor what it returned, and fio itself chose
the calls: reads are taken for pread64, writes for pwrite64, whole. Each log is a thread of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from iotrace.errors import TraceError
from iotrace.trace.info import TraceInfo
from iotrace.trace.matrix import batch_of_columns
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.schema import NULL
from iotrace.trace.writer import TraceWriter

HEADERS: Final = {b"fio version 2 iolog": 2, b"fio version 3 iolog": 3}
WORKING_FOLDER: Final = "/fio"
"""Where relative names are said to lie, for a log does not say where fio ran."""
ROWS: Final = 1 << 16
_LINE_LIMIT: Final = 1 << 16
_LARGEST: Final = 1 << 62
_ACTIONS: Final = {
    # action: operation, its kind where a line of it is lost
    b"read": ("pread64", "read"),
    b"write": ("pwrite64", "write"),
    b"sync": ("fsync", "sync"),
    b"datasync": ("fdatasync", "sync"),
    b"sync_file_range": ("sync_file_range", "sync"),
    b"trim": ("fallocate", "metadata"),
    b"open": ("openat", "metadata"),
    b"close": ("close", "metadata"),
}
_O_RDWR_CREAT: Final = 0o102
_PUNCH: Final = 3
"""FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE."""
_COLUMNS: Final = ("time_ns", "process", "thread", "op", "path", "file", "open", "offset", "size", "flags", "mode",
                   "result")  # fmt: skip
_AT: Final = {name: at for at, name in enumerate(_COLUMNS)}


def import_iolog(paths: Sequence[str | Path], output: str | Path, force: bool = False) -> TraceInfo:
    """Make a trace from logs of fio; each becomes a thread.

    Parameters
    ----------
    paths: the logs. output: folder of the trace. force: replace a trace that stands there.

    Raises
    ------
    TraceError: a log cannot be read or is none of fio's, or the trace cannot be made.
    """
    from iotrace import __version__

    versions = [_version(Path(path)) for path in paths]
    info = TraceInfo(version=__version__, backend="fio", command=["fio"], working_folder=WORKING_FOLDER)
    info.unseen = ["how long calls took, and what they returned: fio's logs do not say"]
    if 2 in versions:
        info.unseen.append("when calls were made: logs of version 2 hold waits alone")
    with TraceWriter(output, info, force) as writer:
        log = _Log(writer)
        for thread, (path, version) in enumerate(zip(paths, versions, strict=True)):
            log.read(Path(path), version, thread)
        log.finish()
        info.duration_ns, info.working_folder = log.last_ns, log.folder
        info.lost = {kind: count for kind, count in log.lost.items() if count}
    return info


def _version(path: Path) -> int:
    try:
        with path.open("rb") as file:
            head = file.readline(64).strip()
    except OSError as error:
        raise TraceError(f"{path}: cannot read the log: {error.strerror}.") from None
    if head not in HEADERS:
        raise TraceError(
            f'{path} is no log of fio: it does not begin with "fio version 2 iolog" or "fio version 3 iolog".'
        )
    return HEADERS[head]


class _Log:
    """Lines into rows of the trace."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        self._rows = np.full((len(_COLUMNS), ROWS), NULL, np.int64)
        self._count = 0
        self._files: dict[bytes, int] = {}
        self._names: list[bytes] = []
        self._first: list[int] = []
        """Size that each file must have had: what is read before it was written."""
        self._written: list[int] = []
        self._opens = 0
        self.last_ns = 0
        self.folder = WORKING_FOLDER
        self.lost: dict[str, int] = {}

    def read(self, path: Path, version: int, thread: int) -> None:
        """All lines of a log."""
        now, open_ = 0, dict[int, int]()
        with path.open("rb") as file:
            file.readline()
            for line in _lines(file):
                fields = line.split()
                try:
                    if version == 3:
                        now, fields = _number(fields[0]) * 1000, fields[1:]
                    name, action = fields[0], fields[1]
                    if action == b"wait":
                        now += _number(fields[2]) * 1000
                        continue
                    if action == b"add":
                        self._file(name)
                        continue
                    offset, size = (_number(fields[2]), _number(fields[3])) if len(fields) > 3 else (NULL, NULL)
                    operation, _ = _ACTIONS[action]
                    if action in (b"read", b"write", b"trim") and size == NULL:
                        raise ValueError
                except (IndexError, ValueError, KeyError):
                    self._lose(fields)
                    continue
                self._call(operation, self._file(name), thread, now, open_, offset, size)
                if version == 2:
                    now += 1000
        for number in open_:
            self._row("close", number, thread, now, open_[number])
        self.last_ns = max(self.last_ns, now + 1000)

    def _lose(self, fields: list[bytes]) -> None:
        kind = next((_ACTIONS[field][1] for field in fields if field in _ACTIONS), "metadata")
        self.lost[kind] = self.lost.get(kind, 0) + 1

    def _file(self, name: bytes) -> int:
        if name not in self._files:
            self._files[name] = len(self._names)
            self._names.append(name)
            self._first.append(0)
            self._written.append(0)
        return self._files[name]

    def _call(
        self, operation: str, number: int, thread: int, now: int, open_: dict[int, int], offset: int, size: int
    ) -> None:
        if operation == "openat":
            if number not in open_:
                self._open(number, thread, now, open_)
            return
        if number not in open_:
            if operation == "close":
                return
            self._open(number, thread, now, open_)
        if operation == "close":
            self._row("close", number, thread, now, open_.pop(number))
            return
        end = offset + size if size != NULL else 0
        if operation == "pread64" and end > self._written[number]:
            self._first[number] = max(self._first[number], end)
        elif operation == "pwrite64":
            self._written[number] = max(self._written[number], end)
        moves = operation in ("pread64", "pwrite64")
        placed = moves or operation in ("fallocate", "sync_file_range")
        self._row(
            operation, number, thread, now, open_[number], offset=offset if placed else NULL,
            size=size if placed else NULL, result=size if moves else 0,
            flags=_PUNCH if operation == "fallocate" else 0 if operation == "sync_file_range" else NULL,
        )  # fmt: skip

    def _open(self, number: int, thread: int, now: int, open_: dict[int, int]) -> None:
        open_[number] = self._opens
        self._row("openat", number, thread, now, self._opens, flags=_O_RDWR_CREAT, mode=0o600)
        self._opens += 1

    def _row(self, operation: str, number: int, thread: int, now: int, open_: int, **more: int) -> None:
        at, rows = self._count, self._rows
        values = {
            "time_ns": now, "process": 0, "thread": thread, "op": NUMBER_OF[operation], "path": number, "file": number,
            "open": open_, "result": 0,
        } | more  # fmt: skip
        for name, value in values.items():
            rows[_AT[name], at] = value
        self._count += 1
        if self._count == ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._count:
            used: npt.NDArray[np.int64] = self._rows[:, : self._count]
            self._writer.append("events", batch_of_columns(dict(zip(_COLUMNS, used, strict=True)), self._count))
            self._rows[:] = NULL
            self._count = 0

    def finish(self) -> None:
        """Write what is left, and the side tables."""
        self._flush()
        # what a replay takes for the trace's own, unless told otherwise
        self.folder = os.path.commonpath([os.path.dirname(_text(name)) for name in self._names] or [WORKING_FOLDER])
        paths = ({"path": i, "text": _text(name), "raw": name} for i, name in enumerate(self._names))
        self._writer.append_rows("paths", paths)
        files = (
            {"file": i, "path": i, "type": "file", "size": size, "existed": size > 0}
            for i, size in enumerate(self._first)
        )
        self._writer.append_rows("files", files)
        self._writer.append_rows(
            "processes", [{"process": 0, "pid": 1, "command": "fio", "cwd": self.folder, "start_ns": 0, "umask": 0o022}]
        )


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_LINE_LIMIT):
        if line.strip():
            yield line


def _number(text: bytes) -> int:
    value = int(text)
    if not 0 <= value < _LARGEST:
        raise ValueError(text)
    return value


def _text(name: bytes) -> str:
    """An absolute path, bytes that cannot be shown escaped, as the format has it."""
    from iotrace.terminal import printable

    text = printable(name.decode("utf-8", "surrogateescape"))
    return text if text.startswith("/") else f"{WORKING_FOLDER}/{text}"

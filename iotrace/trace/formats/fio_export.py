"""A trace as something fio runs: a job file, an iolog (version 3) for each thread, and a script that makes the files.

What fio's logs cannot say is left out and counted: metadata operations other than open and close, locks, maps and their
faults, the order between threads, which descriptor a call used. A copy becomes a read and a write. Times are in µs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from iotrace.errors import StorageError, UsageError
from iotrace.trace.operations import OPERATIONS, Kind
from iotrace.trace.reader import Trace

_ROWS: Final = 1 << 16
_EXTENSION: Final = re.compile(r"\.[A-Za-z0-9]{1,8}$")
_PER_FOLDER: Final = 1000
_SYNCS: Final = {"fsync": "sync", "fdatasync": "datasync", "uring.fsync": "sync", "aio.fsync": "sync",
                 "aio.fdatasync": "datasync"}  # fmt: skip
_PREPARE: Final = """#!/bin/sh
# Makes the files that job.fio reads, below the current folder: cd there first. Each begins with random bytes, as many
# as were there or were read; the rest of a sparse file is a hole.
set -e
while read -r data size name; do
    mkdir -p "$(dirname "$name")"
    head -c "$data" /dev/urandom > "$name"
    truncate -s "$size" "$name"
done < {files}
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes
    ----------
    threads, files: logs and files. calls: lines of reads, writes, syncs, opens and closes. bytes: of the files.
    left_out: recorded operations that a log cannot say, by name.
    """

    threads: int
    files: int
    calls: int
    bytes: int
    left_out: dict[str, int]


def export_fio(trace: Trace, folder: Path) -> Exported:
    """Write job.fio, threads/N.log, prepare.sh, files.txt and names.csv into a folder of their own.

    Parameters
    ----------
    trace: with events.
    folder: must not be there, or be empty.

    Raises
    ------
    UsageError: the folder is not empty, the trace holds nothing for fio to run, or fio could not read its name.
    StorageError: it cannot be written.
    TraceError: a part of the trace is damaged.
    """
    folder = folder.absolute()
    # a colon ends a log's name, ; and # begin a comment, ${…} is a variable of the environment
    if any(c in str(folder) for c in (":", ";", "#", "${", "\n")):
        raise UsageError(
            f"{str(folder)!r}: fio cannot read a name that holds : ; # ${{ or a line's end: choose another folder."
        )
    try:
        (folder / "threads").mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{folder} holds an export already: choose another folder, or remove it.") from None
    except OSError as error:
        raise StorageError(f"{folder}: cannot make the folder: {error.strerror}.") from None
    try:
        return _Export(trace, folder).write()
    except OSError as error:
        raise StorageError(f"{folder}: cannot write: {error.strerror}.") from None


class _Export:
    def __init__(self, trace: Trace, folder: Path) -> None:
        self._trace, self._folder = trace, folder
        self._names: dict[int, str] = {}
        self._sizes: dict[int, int] = {}
        self._there: dict[int, int] = {}
        self._read: dict[int, int] = {}
        self._calls = 0
        self._left: dict[str, int] = {}
        kinds = {operation.name: operation.kind for operation in OPERATIONS}
        self._kinds = kinds

    def write(self) -> Exported:
        connection = self._trace.connect()
        try:
            rows = connection.execute(
                "select f.file, coalesce(p.text, ''), case when f.existed then coalesce(f.size, 0) else 0 end, "
                "case when f.existed then least(coalesce(f.size, 0), coalesce(f.blocks * 512, f.size, 0)) else 0 end "
                "from files f left join paths p on f.path = p.path where f.type is null or f.type = 'file'"
            ).fetchall()
            files = {row[0]: (row[1], row[2]) for row in rows}
            self._there = {row[0]: row[3] for row in rows}
            threads = self._threads(connection, files)
        finally:
            connection.close()
        if not threads:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise UsageError(
                f"{self._trace.folder} holds no reads and writes at known positions: there is nothing for fio to run."
            )
        self._write_side(files, threads)
        return Exported(len(threads), len(self._names), self._calls, sum(self._sizes.values()), self._left)

    def _threads(self, connection: Any, files: dict[int, tuple[str, int]]) -> list[int]:
        reader = connection.sql(
            'select thread, time_ns, op, file, other_file, open, other_open, "offset", other_offset, result, size '
            "from events order by thread, time_ns"
        ).to_arrow_reader(_ROWS)
        threads: list[int] = []
        log: _ThreadLog | None = None
        try:
            for batch in reader:
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    if log is None or row[0] != log.thread:
                        if log is not None:
                            log.close()
                        log = _ThreadLog(self._folder / "threads" / f"{row[0]}.log", row[0], threads)
                    self._event(log, files, *row[1:])
        finally:
            if log is not None:
                log.close()
        return threads

    def _event(
        self, log: _ThreadLog, files: dict[int, tuple[str, int]], time_ns: int, op: str, file: int | None,
        other_file: int | None, open_: int | None, other_open: int | None, offset: int | None,
        other_offset: int | None, result: int | None, size: int | None,
    ) -> None:  # fmt: skip
        kind, good = self._kinds.get(op, Kind.METADATA), result is not None and result >= 0
        if kind is Kind.PROCESS:
            return
        before = log.lines
        if good and file in files:
            assert file is not None
            name = self._name(file, files)
            if kind in (Kind.READ, Kind.COPY) and offset is not None and result:
                self._needs(file, log.ends.get(name, 0), offset + result, result)
                log.moves(time_ns, name, "read", offset, result)
            elif kind is Kind.WRITE and offset is not None and result:
                log.moves(time_ns, name, "write", offset, result)
            elif op in _SYNCS:
                log.moves(time_ns, name, _SYNCS[op], 0, 0)
            elif op in ("open", "openat", "openat2", "creat", "uring.openat") and open_ is not None:
                log.opens(time_ns, name, open_)
            elif op in ("close", "uring.close") and open_ is not None:
                log.closes(time_ns, name, open_)
        if good and kind is Kind.COPY and other_file in files and other_offset is not None and result:
            assert other_file is not None
            log.moves(time_ns, self._name(other_file, files), "write", other_offset, result)
        written = log.lines - before
        self._calls += written
        if not written:
            self._left[op] = self._left.get(op, 0) + 1

    def _name(self, file: int, files: dict[int, tuple[str, int]]) -> str:
        if file not in self._names:
            extension = _EXTENSION.search(files[file][0])
            number = len(self._names)
            self._names[file] = f"d{number // _PER_FOLDER:04d}/f{number:07d}{extension[0] if extension else ''}"
            self._sizes[file] = files[file][1]
        return self._names[file]

    def _needs(self, file: int, written: int, end: int, read: int) -> None:
        """A file is made as long as what is read of it, up to where the same log has written before.

        fio ends a job at a read that finds nothing: what was cut to length, written through a map, or written by a
        thread that may come later in fio, has to be there from the start.
        """
        if end > written:
            self._sizes[file] = max(self._sizes[file], end)
        # no more of a file has to hold data than was there, or is read of it
        self._read[file] = self._read.get(file, 0) + read

    def _write_side(self, files: dict[int, tuple[str, int]], threads: list[int]) -> None:
        import csv

        folder = self._folder
        with (folder / "files.txt").open("w") as out:
            for file, name in self._names.items():
                data = min(self._sizes[file], max(self._there.get(file, 0), self._read.get(file, 0)))
                out.write(f"{data} {self._sizes[file]} {name}\n")
        with (folder / "names.csv").open("w", newline="") as out:
            table = csv.writer(out)
            table.writerow(["name", "recorded"])
            table.writerows((name, files[file][0]) for file, name in self._names.items())
        (folder / "prepare.sh").write_text(_PREPARE.format(files=shlex.quote(str(folder / "files.txt"))))
        os.chmod(folder / "prepare.sh", 0o755)
        with (folder / "job.fio").open("w") as job:
            job.write(
                "; From a trace of iotrace. In the folder to test: sh prepare.sh, then fio job.fio.\n"
                "[global]\nioengine=psync\nthread=1\ngroup_reporting=1\ninvalidate=0\n"
            )
            for thread in threads:
                job.write(f"\n[thread-{thread}]\nread_iolog={folder / 'threads' / f'{thread}.log'}\n")


class _ThreadLog:
    """One thread's log: fio opens a file once at a time, so a file is open while any description of it is.

    The thread joins `threads` at the end if it read or wrote: of others there is no log, for fio refuses such jobs.
    """

    def __init__(self, path: Path, thread: int, threads: list[int]) -> None:
        self.thread, self.lines = thread, 0
        self._path, self._threads, self._moved = path, threads, False
        self._file: IO[str] | None = None
        self._added: set[str] = set()
        self._open: dict[str, set[int]] = {}
        self.ends: dict[str, int] = {}
        """By file: the furthest that this log has written."""
        self._last_us = 0

    def _line(self, time_ns: int, name: str, rest: str) -> None:
        if self._file is None:
            self._file = self._path.open("w")
            self._file.write("fio version 3 iolog\n")
        # fio wants times that do not go back
        self._last_us = max(self._last_us, time_ns // 1000)
        if name not in self._added:
            self._added.add(name)
            self._file.write(f"{self._last_us} {name} add\n")
        self._file.write(f"{self._last_us} {name} {rest}\n")
        self.lines += 1

    def opens(self, time_ns: int, name: str, open_: int) -> None:
        if not self._open.setdefault(name, set()):
            self._line(time_ns, name, "open")
        self._open[name].add(open_)

    def closes(self, time_ns: int, name: str, open_: int) -> None:
        held = self._open.get(name)
        if not held:
            return
        held.discard(open_)
        if not held:
            self._line(time_ns, name, "close")

    def moves(self, time_ns: int, name: str, action: str, offset: int, size: int) -> None:
        if not self._open.get(name):
            self.opens(time_ns, name, -1)  # opened by another thread, or before the recording
        self._line(time_ns, name, f"{action} {offset} {size}")
        self._moved |= action in ("read", "write")
        if action == "write":
            self.ends[name] = max(self.ends.get(name, 0), offset + size)

    def close(self) -> None:
        for name, held in self._open.items():
            if held:
                self._line(self._last_us * 1000, name, "close")
        if self._file is None:
            return
        self._file.close()
        if self._moved:
            self._threads.append(self.thread)
        else:
            self._path.unlink()

"""From single calls to a trace: what importers of logs share.

An importer hands over calls one by one, in order of completion, with what its log says of each. The Assembler keeps
what the log leaves out (which file a descriptor is, where a read happened, which thread a fork made) and writes the
rows of all four tables in batches. It never looks at the machine, unless a live recorder asks for that.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from iotrace.trace.assembly.calls import Call, is_pseudo
from iotrace.trace.assembly.identity import Stat, printable
from iotrace.trace.assembly.names import UNKNOWN_FOLDER, OnNames
from iotrace.trace.assembly.tasks import Process, Thread
from iotrace.trace.operations import BY_NAME, CLONES, OPERATIONS, Kind
from iotrace.trace.writer import TraceWriter

__all__ = ["UNKNOWN_FOLDER", "Assembler", "Call", "Labeler", "Stat"]


class Labeler(Protocol):
    """Told what processes do, it gives their label columns, at once or later; processes go by their numbers."""

    def began(self, process: int, parent: int | None) -> None:
        """A process began."""

    def executed(
        self, process: int, arguments: Sequence[str], environment: Mapping[str, str] | None, cwd: str | None
    ) -> None:
        """A process executed a program."""

    def opened(self, process: int, path: str, writes: bool) -> None:
        """A process opened a file."""

    def changes(self) -> Mapping[int, Mapping[str, str]]:
        """Labels of the processes whose labels have changed since the last call."""


class Assembler(OnNames):
    """Builds a trace from calls.

    Parameters
    ----------
    writer: takes the rows; its info's mounts and page size are used.
    cwd, umask: of the first process, where known.
    probe_since_ns: UTC in ns of the recording's start; only for a live recorder, which may look at the files
        themselves.
    labeler: finds the labels of processes; told of each fork and exec, and of files opened below a folder J… or S….

    Attributes
    ----------
    unknown_descriptors: calls left out because the log shows neither what their descriptor is nor where it was opened.
    unknown_folders: relative names for which the working folder is not known; they stand under `/(unknown)`.
    """

    def __init__(
        self,
        writer: TraceWriter,
        cwd: bytes | None = None,
        umask: int | None = None,
        probe_since_ns: int | None = None,
        labeler: Labeler | None = None,
    ) -> None:
        super().__init__(writer, cwd, umask, probe_since_ns)
        self._labeler = labeler
        self._labelled: dict[int, Process] = {}
        self._handlers: dict[str, Callable[[Thread, Call], None]] = {o.name: self._handler(o.name) for o in OPERATIONS}

    def add(self, call: Call) -> None:
        """Take a call that has completed (or, with `result` None, will not be seen to complete)."""
        thread = self._threads.get(call.tid) or self._newcomer(call.tid, call.time_ns)
        if thread is None:
            self._hold(call.tid, self.add, call)
            return
        if call.result == -errno.EBADF and call.fd is not None and call.fd_name is None:
            there = thread.descriptors.open.get(call.fd)
            if there is not None and there.shown:
                # a log that names what is open names nothing here: it was closed unseen
                thread.descriptors.drop(call.fd)
        unknown = self.unknown_descriptors
        self._handlers[call.op](thread, call)
        if call.result == -errno.EBADF:
            # nothing was open there: not a file that the log fails to name
            self.unknown_descriptors = unknown

    def finish(self) -> None:
        """Take the calls that still wait for their fork to be seen, and write what is left."""
        self._release_all()
        self.flush()
        self._write_files(everything=True)
        self._write_paths()
        self._write_processes()

    def _handler(self, op: str) -> Callable[[Thread, Call], None]:
        own: dict[str, Callable[[Thread, Call], None]] = {
            "close": self._close, "close_range": self._close_range, "dup": self._dup, "dup2": self._dup,
            "dup3": self._dup,
            "fcntl": self._fcntl, "fcntl.dupfd": self._dup, "fcntl.lock": self._lock, "lseek": self._lseek,
            "getdents": self._getdents, "getdents64": self._getdents, "readlink": self._readlink,
            "readlinkat": self._readlink,
            "mkdir": self._mkdir, "mkdirat": self._mkdir, "truncate": self._truncate, "ftruncate": self._ftruncate,
            "fallocate": self._fallocate, "mmap": self._mmap, "munmap": self._memory, "mremap": self._memory,
            "msync": self._memory, "madvise": self._memory, "chdir": self._chdir, "fchdir": self._fchdir,
            "umask": self._umask, "sync": self._emit, "fork": self._fork, "exec": self._exec, "wait": self._wait,
            "exit": self._exit_call,
            **dict.fromkeys(("open", "openat", "openat2", "creat"), self._open),
            **dict.fromkeys(("unlink", "unlinkat", "rmdir"), self._unlink),
            **dict.fromkeys(("rename", "renameat", "renameat2"), self._rename),
            **dict.fromkeys(("link", "linkat"), self._link),
            **dict.fromkeys(("symlink", "symlinkat"), self._symlink),
        }  # fmt: skip
        if op in own:
            return own[op]
        operation = BY_NAME[op]
        if op in CLONES.values():
            return self._clone
        if operation.kind is Kind.COPY:
            return self._copy
        if "path" in operation.arguments:
            return self._on_path
        if operation.kind is Kind.READ and op != "readahead":
            return self._read
        return self._write if operation.kind is Kind.WRITE else self._on_descriptor

    def _exec(self, thread: Thread, call: Call) -> None:
        base, text = self._resolve(thread, call.dirfd, call.dirfd_name, call.path or b"")
        if text is None:
            text = call.path or b"/"
        path, file = self.intern(text, call.path or b""), None
        if call.result is not None and call.result >= 0:
            call.result = 0
            if not is_pseudo(text):
                file = self._files.at(self._files.follow(text), path).number
            thread.descriptors, thread.memory = thread.descriptors.exec(), self._make_memory()
            process = thread.process
            process.command = printable(os.path.basename(text)[:15])
            process.cwd, process.umask = thread.folder.cwd, thread.folder.umask
            if call.arguments is not None:
                process.arguments = [printable(argument) for argument in call.arguments]
            if call.environment is not None:
                process.environment = _environment(call.environment)
            self._changed[process.number] = process
            if self._labeler is not None:
                cwd = os.fsdecode(process.cwd) if process.cwd is not None else None
                self._labeler.executed(process.number, process.arguments or [], process.environment, cwd)
        self._emit(thread, call, path, file, base.number if base is not None else None)

    def _new_process(self, pid: int, start_ns: int, parent: Process | None) -> Process:
        process = super()._new_process(pid, start_ns, parent)
        if self._labeler is not None:
            self._labelled[process.number] = process
            self._labeler.began(process.number, process.parent)
        return process

    def _opened_by(self, process: Process, text: bytes, writes: bool) -> None:
        if self._labeler is not None:
            self._labeler.opened(process.number, os.fsdecode(text), writes)

    def _write_processes(self) -> None:
        if self._labeler is not None:
            for number, labels in self._labeler.changes().items():
                process = self._labelled[number]
                process.labels = dict(labels)
                self._changed[number] = process
        super()._write_processes()

    def _wait(self, thread: Thread, call: Call) -> None:
        awaited = self._process_of_pid.get(call.pid) if call.pid else None
        self._emit(thread, call, child=awaited.number if awaited is not None else None)


def _environment(variables: list[bytes]) -> dict[str, str]:
    """The few variables that labels are made from."""
    pairs = (variable.partition(b"=") for variable in variables)
    return {
        printable(name): printable(value)
        for name, _, value in pairs
        if name.startswith((b"SLURM_", b"CRYOSPARC_")) or name in (b"USER", b"LOGNAME")
    }

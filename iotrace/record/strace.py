"""The strace recorder: runs the command under strace and reads its log while it grows.

It sees every call of the operations table, but no page faults, and slows the command several times over, up to 40 times
where that does little but I/O. strace runs as the command's grandchild in a process group of its own (-DD): the command
stays our direct child with its own exit status, and Ctrl-C reaches only the command.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

from iotrace.errors import RecordError
from iotrace.record.label_book import LabelBook, own_facts
from iotrace.record.label_reader import LabelReader
from iotrace.record.launch import Launch
from iotrace.trace.assembly.identity import Stat
from iotrace.trace.formats.strace.fast import FastLog, TableAssembler
from iotrace.trace.formats.strace.importing import notes, split_bytes
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.writer import TraceWriter

_OPTIONS: Final = (
    "-f", "-DD", "-I2", "-q", "-a1", "--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns", "-yy",
    "-s", "4096",
    "-v", "-e", "abbrev=getdents,getdents64", "-X", "raw",
    # what was read and written is nobody's business, and would be most of the log
    "-e", "raw=read,write,pread64,pwrite64",
)  # fmt: skip
_FILTER: Final = ("--seccomp-bpf",)
_BESIDE: Final = ("ioctl", "recvmsg", "pidfd_getfd", "unshare")
"""No operations, but they change descriptors."""
_READ_BYTES: Final = 1 << 22
_POLL_BYTES: Final = 1 << 21
_FLUSH_SECONDS: Final = 4.0
_COST_SECONDS: Final = 0.05
_PUNCH_BYTES: Final = 1 << 26
_START_SECONDS: Final = 20.0
_LAST_LINE_SECONDS: Final = 5.0
_DETACH_SECONDS: Final = 5.0
_LEFT_SECONDS: Final = 0.1
_FALLOC_PUNCH_HOLE_KEEP_SIZE: Final = 3
_FAILED_EXEC: Final = re.compile(r"execve\(.*\) += -1 ([A-Z0-9]+)")


def traced_calls() -> str:
    """strace's -e trace=… for the calls of the operations table; `?` lets an strace pass that does not know a call."""
    names = {call for operation in OPERATIONS for call in operation.calls if "." not in call} | set(_BESIDE)
    return "trace=" + ",".join(f"?{name}" for name in sorted(names))


class StraceBackend:
    """Records with strace.

    Parameters
    ----------
    writer: where the rows go.
    detachable: be able to let go of processes that go on after the recording; without, strace stays with those to
        their end,
        but costs the command half as much (it stops it only at the calls that are recorded).
    """

    name = "strace"

    def __init__(self, writer: TraceWriter, detachable: bool = False) -> None:
        self.writer = writer
        self.unseen: list[str] = []
        self._strace = shutil.which("strace") or ""
        self._filter = _seccomp(self._strace) if not detachable else ()
        self._left = False
        self._began_utc_ns = time.time_ns()
        self._labels = _Labels(mount.point for mount in writer.info.mounts)
        self._assembler = TableAssembler(writer, os.fsencode(os.getcwd()), _umask(), self._began_utc_ns, self._labels)
        self._log = FastLog(self._assembler, self._began_utc_ns)
        self._fd = -1
        self._carry = b""
        self._read = self._punched = 0
        self._flushed = self._costed = time.monotonic()
        self._pid = self._tracer = -1
        self._tracer_fd = -1
        self._cpu_s = 0.0

    @classmethod
    def unavailable(cls) -> str | None:
        """Why this backend cannot work here, in one sentence that says what mends it; None when it can."""
        strace = shutil.which("strace")
        if strace is None:
            return "strace is not installed: install the package strace."
        try:
            tried = subprocess.run(
                [strace, *_OPTIONS, "-e", "trace=?close", "-o", "/dev/null", sys.executable, "-S", "-c", ""],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=30, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"strace cannot run here: {error}."
        if tried.returncode == 0:
            return None
        said = tried.stderr.decode(errors="replace").strip().splitlines() or [f"status {tried.returncode}"]
        first = said[0].removeprefix(f"{strace}: ").removeprefix("strace: ")
        if "invalid" in first or "nrecognized" in first:
            return f"this strace is too old ({first}): install strace 5.10 or newer."
        return (
            f"strace may not trace here ({first}): "
            "allow ptrace (capability SYS_PTRACE; kernel.yama.ptrace_scope below 3)."
        )

    def start(self, launch: Launch) -> int:
        """Start the command in a process that strace makes, traced from its exec on; returns its pid.

        Raises
        ------
        RecordError: it cannot be executed (exit_status 126), or strace cannot trace it.
        """
        launch.abandon()
        program, command = launch.program, launch.command
        handle, name = tempfile.mkstemp(prefix="_strace-", dir=self.writer.folder)
        self._fd = handle
        try:
            self._began_utc_ns = self._log.base_utc_ns or self._began_utc_ns
            self._pid = self._spawn(program, command, name)
            for fd, shown, flags, position, found in _open_files():
                self._assembler.inherit(self._pid, fd, shown, flags, position, found)
            self._await_exec(command)
        finally:
            # strace has it open by now; without a name it can neither be left behind nor be read by others
            os.unlink(name)
        return self._pid

    def _spawn(self, program: str, command: Sequence[str], log: str) -> int:
        arguments = [self._strace, *_OPTIONS, *self._filter, "-e", traced_calls(), "-o", log, "--"]
        # Python ignores these signals; the command must not inherit that
        return os.posix_spawn(
            self._strace, [*arguments, program, *command[1:]], os.environ,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT],
            setsigmask=[],
        )  # fmt: skip

    def _await_exec(self, command: Sequence[str]) -> None:
        """Wait until the log shows the command's exec.

        Raises
        ------
        RecordError: the kernel refused it, or strace ended before.
        """
        process = os.pidfd_open(self._pid)
        seen = b""
        deadline = time.monotonic() + _START_SECONDS
        try:
            while True:
                # in this order: what has gone has left its lines behind
                gone = bool(select.select([process], [], [], 0.002)[0])
                seen = os.pread(self._fd, 1 << 16, 0)
                self._find_tracer(self._pid)
                if b"\n" in seen and b"execve(" in seen:
                    failed = _FAILED_EXEC.search(seen.decode("latin-1"))
                    if failed is None or b") = 0" in seen.split(b"\n")[0][-40:]:
                        return
                    if gone:
                        os.waitpid(self._pid, 0)
                        raise RecordError(f"{command[0]} cannot be executed: {failed[1]}.", 126)
                elif gone:
                    status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
                    raise RecordError(
                        f"strace ended with status {status} before {command[0]} began; its message stands above."
                    )
                elif time.monotonic() > deadline:
                    os.kill(self._pid, signal.SIGKILL)
                    os.waitpid(self._pid, 0)
                    raise RecordError(
                        f"strace did not start {command[0]} within {_START_SECONDS:.0f} s: is ptrace allowed here?"
                    )
        finally:
            os.close(process)

    def _find_tracer(self, pid: int) -> None:
        """Learn strace's own process id from a process that it traces."""
        tracer = int(_status_field(pid, "TracerPid") or 0) if self._tracer_fd < 0 else 0
        if tracer > 0:
            try:
                self._tracer_fd = os.pidfd_open(tracer)
                self._tracer = tracer
            except OSError:
                pass

    def poll(self) -> bool:
        """Read what the log has grown by; at most a portion, so that signals are handled soon."""
        now = time.monotonic()
        if now - self._costed > _COST_SECONDS:
            self._note_cost()
            self._costed = now
        taken = self._take(_POLL_BYTES)
        if taken and now - self._flushed > _FLUSH_SECONDS:
            self._assembler.flush()
            self.writer.flush()
            self._flushed = now
        return taken > 0

    def _take(self, at_most: int) -> int:
        """Parse up to so many bytes of the log; returns how many there were."""
        taken = 0
        while taken < at_most:
            data = os.pread(self._fd, min(_READ_BYTES, at_most), self._read)
            if not data:
                break
            self._read += len(data)
            taken += len(data)
            whole, self._carry = split_bytes(self._carry, data)
            self._log.feed_bytes(whole)
            self.writer.info.lost = dict(self._log.lost)
        if self._read - self._punched > _PUNCH_BYTES:
            self._give_back()
        return taken

    def _give_back(self) -> None:
        """Free the disk space of the log's part that was read."""
        length = (self._read - self._punched) // 4096 * 4096
        try:
            fallocate = ctypes.CDLL(None, use_errno=True).fallocate
        except AttributeError:
            return
        fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        fallocate(self._fd, _FALLOC_PUNCH_HOLE_KEEP_SIZE, self._punched, length)
        self._punched += length

    def stop(self) -> dict[str, float]:
        """End the recording, also of processes that go on, and write the last rows; returns strace's and our own
        cost."""
        self._note_cost()
        self._await_last_line()
        self._detach()
        while self._take(1 << 30):
            pass
        unread = self._labels.settle()
        self._log.finish(self._carry.decode("latin-1"))
        self.writer.info.lost = {kind: count for kind, count in self._log.lost.items() if count}
        self.unseen = notes(self._log) + unread
        if self._left:
            self.unseen.append(
                "what processes did that went on after the recording (strace stays with them to their end)"
            )
        os.close(self._fd)
        own = time.process_time()
        return {"cpu_s": round(own + self._cpu_s, 3), "strace_cpu_s": round(self._cpu_s, 3)}

    def _await_last_line(self) -> None:
        """The command may be reaped before strace has written its end."""
        if _is_alive(self._pid):
            return
        deadline = time.monotonic() + _LAST_LINE_SECONDS
        while self._assembler.is_running(self._pid) and time.monotonic() < deadline:
            if not self._take(1 << 30) and self._tracer_gone(0.002):
                return

    def _detach(self) -> None:
        """Let go of processes that go on without the command."""
        for pid in self._assembler.running:
            self._find_tracer(pid)
        if self._tracer_fd < 0:
            return
        patience_s = _DETACH_SECONDS if not self._assembler.running else _LEFT_SECONDS
        if not self._tracer_gone(patience_s):
            self._note_cost()
            if self._filter:
                self._leave()
            else:
                signal.pidfd_send_signal(self._tracer_fd, signal.SIGTERM)
                self._tracer_gone(_DETACH_SECONDS)
        os.close(self._tracer_fd)
        self._tracer_fd = -1

    def _leave(self) -> None:
        """Leave strace with what still runs: calls under a seccomp filter fail as soon as their tracer has gone.

        A shell empties the log, which nobody reads any more, until strace has gone too.
        """
        loop = f"while kill -0 {self._tracer} 2>/dev/null; do : > /proc/self/fd/{self._fd}; sleep 1; done"
        subprocess.Popen(
            ["/bin/sh", "-c", loop], pass_fds=[self._fd], start_new_session=True, cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._left = True

    def _tracer_gone(self, timeout_s: float) -> bool:
        return self._tracer_fd < 0 or bool(select.select([self._tracer_fd], [], [], timeout_s)[0])

    def _note_cost(self) -> None:
        """CPU time of strace so far: it is no child of ours, so nobody else tells."""
        try:
            stat = Path(f"/proc/{self._tracer}/stat").read_text().rpartition(")")[2].split()
            self._cpu_s = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            pass


def _seccomp(strace: str) -> tuple[str, ...]:
    """--seccomp-bpf where this strace and kernel have it: it stops the command only at the calls that are traced."""
    try:
        tried = subprocess.run(
            [strace, "-f", *_FILTER, "-e", "trace=?close", "-o", "/dev/null", sys.executable, "-S", "-c", ""],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return _FILTER if tried.returncode == 0 else ()


class _Labels(LabelBook):
    """A label book that knows that all processes descend from this one, and takes answers as they come."""

    def __init__(self, points: Iterable[str]) -> None:
        super().__init__(LabelReader(points))
        self._own = own_facts()

    def began(self, process: int, parent: int | None) -> None:
        super().began(process, parent)
        if parent is None:
            self.told(process, self._own)

    def changes(self) -> dict[int, dict[str, str]]:
        self.take(self.reader.answers())
        return super().changes()

    def settle(self) -> list[str]:
        """Take the last answers, for which it waits a few seconds at most; returns what stays unread, as sentences."""
        self.take(self.reader.last_answers())
        self.reader.close()
        return self.reader.unseen()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def _status_field(pid: int | str, field: str) -> str:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:")), "")


def _umask() -> int | None:
    text = _status_field("self", "Umask")
    return int(text, 8) if text else None


def _open_files() -> Iterator[tuple[int, bytes, int, int, Stat]]:
    """Regular files and folders that a child of this process inherits: descriptor, name, flags, position in bytes,
    stat."""
    for entry in os.listdir("/proc/self/fd"):
        fd = int(entry)
        try:
            if not os.get_inheritable(fd):
                continue
            status = os.fstat(fd)
            if not (S_ISREG(status.st_mode) or S_ISDIR(status.st_mode)):
                continue
            name = os.fsencode(os.readlink(f"/proc/self/fd/{fd}"))
            lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        except OSError:
            continue
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        yield (
            fd, name, int(fields.get("flags", "0").strip(), 8), int(fields.get("pos", "0")),
            Stat(status.st_mode, status.st_size, status.st_dev, status.st_ino, status.st_blocks, status.st_nlink),
        )  # fmt: skip

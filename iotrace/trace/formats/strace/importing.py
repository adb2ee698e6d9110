"""Logs of strace as files: one, or one a process (`strace -ff`), read into a trace."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from iotrace.errors import TraceError
from iotrace.trace.formats.strace.fast import FastLog, TableAssembler
from iotrace.trace.formats.strace.lines import MAX_PID, StraceLog, looks_right
from iotrace.trace.formats.strace.merging import LINE_LIMIT, begins, merged
from iotrace.trace.info import TraceInfo
from iotrace.trace.pipeline import BesideWriter
from iotrace.trace.redact import redact
from iotrace.trace.writer import TraceWriter

READ_BYTES: Final = 1 << 20
_SNIFFED_LINES: Final = 20_000


def import_strace(
    paths: Sequence[str | Path], output: str | Path, force: bool = False, cwd: str | None = None
) -> TraceInfo:
    """Make a trace from logs of strace.

    Parameters
    ----------
    paths: the log; or all the files of `strace -ff -o NAME` (NAME alone stands for its NAME.PID).
    output: folder of the trace.
    force: replace a trace that stands there.
    cwd: the command's working folder, for logs without `-y`.

    Raises
    ------
    TraceError: a log cannot be read or is none of strace's, or the trace cannot be made.
    """
    files = _expand([Path(path) for path in paths])
    _sniff(files)
    info = TraceInfo(backend="strace", started_utc="", working_folder=cwd or "")
    from iotrace import __version__

    info.version = __version__
    with TraceWriter(output, info, force) as writer, BesideWriter(writer) as beside:
        log = FastLog(TableAssembler(beside, os.fsencode(cwd) if cwd else None))
        torn = ""
        if len(files) == 1:
            for data, rest in _portions(files[0]):
                log.feed_bytes(data, _pid_of(files[0]))
                torn = rest
        else:
            pids = [_pid_of(file) or number + 1 for number, file in enumerate(files)]
            for data, runs in merged(log.state, files, pids, begins(files, pids)):
                log.feed_runs(data, runs)
        log.finish(torn)
        describe(log, info)
        if len(files) > 1 and (log.relative or not log.timed):
            info.unseen.append(
                "the order between threads: the logs do not tell when their lines were written (strace -ttt)"
            )
    return info


def describe(log: StraceLog, info: TraceInfo) -> None:
    """Write into trace.json's contents what a log's reading showed: its span, its command, what it could not tell."""
    info.duration_ns = max(info.duration_ns, log.last_ns)
    info.lost = {kind: count for kind, count in log.lost.items() if count}
    if not info.command:
        info.command = redact([argument.decode(errors="replace") for argument in log.command])
    if log.base_utc_ns is not None and not info.started_utc:
        info.started_utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(log.base_utc_ns // 10**9))
        info.clock = [(0, log.base_utc_ns)]
    info.unseen += notes(log)


def notes(log: StraceLog) -> list[str]:
    """What a log could not tell, as sentences."""
    found = ["page faults on mapped files", "io_uring and libaio operations", "time off the processor between calls"]
    if log.foreign:
        number, text = log.first_bad or (0, "")
        shown = text.encode("unicode_escape").decode()
        found.append(
            f"{log.foreign} of {log.lines} lines, which were not understood; the first is line {number}: {shown}"
        )
    if not log.timed:
        found.append("times: the log has none (strace -ttt), its lines stand a microsecond apart")
    elif not log.measured:
        found.append("durations of calls: the log has none (strace -T)")
    if log.assembler.unknown_descriptors:
        found.append(
            f"{log.assembler.unknown_descriptors} calls on descriptors whose opening the log does not show"
            + ("" if log.decorated else " (strace -y shows what they are)")
        )
    if log.assembler.unrelated > 1:
        found.append(
            f"which of {log.assembler.unrelated} threads belong to one process: the log does not show their fork; "
            "each stands as a process of its own (strace -f -e trace=…,%process shows it)"
        )
    if log.cut_names:
        found.append(
            f"{log.cut_names} names of attributes and texts of links, which the log cuts short (strace -s 4096)"
        )
    if log.cut_arguments:
        found.append(
            f"the ends of {log.cut_arguments} arguments of commands, which the log cuts short (strace -s 4096)"
        )
    if log.assembler.unknown_folders:
        found.append(
            f"the working folder: {log.assembler.unknown_folders} relative names stand under /(unknown); "
            "give it with --cwd"
        )
    return found


def _expand(paths: list[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            raise TraceError(f"{path} is a folder: name the log itself.")
        if path.exists():
            files.append(path)
            continue
        of_processes = [
            Path(name) for name in glob.glob(f"{glob.escape(str(path))}.*") if name.rpartition(".")[2].isdigit()
        ]
        if not of_processes:
            raise TraceError(f"{path}: there is no such log.")
        files += sorted(of_processes, key=lambda file: int(file.suffix[1:]))
    if not files:
        raise TraceError("no log was named: give the file that strace wrote (strace -f -ttt -T -yy -o FILE …).")
    return files


def _sniff(files: list[Path]) -> None:
    """Refuse what is no log of strace's before a trace is made of it."""
    lines = 0
    for file in files:
        for chunk, torn in _chunks(file):
            whole = chunk or [torn]
            lines += len(whole)
            if any(looks_right(line) for line in whole):
                return
            if lines > _SNIFFED_LINES:
                break
    what = "is empty" if not lines else f"is not a log of strace: none of its first {lines} lines is a system call"
    raise TraceError(f"{files[0]} {what}; strace -f -ttt -T -yy -o FILE writes one.")


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}.") from None


def _read(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(READ_BYTES)
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}.") from None


def _chunks(path: Path) -> Iterator[tuple[list[str], str]]:
    """Whole lines of a file in portions of about READ_BYTES, and what stands behind the last of them."""
    carry = b""
    with _open(path) as file:
        while True:
            data = _read(file, path)
            if not data:
                break
            lines, carry = split_lines(carry, data)
            yield lines, carry.decode("latin-1")
    if carry:
        yield [], carry.decode("latin-1")


def _portions(path: Path) -> Iterator[tuple[bytes, str]]:
    """The same with the lines as bytes, each with its line feed."""
    carry = b""
    with _open(path) as file:
        while data := _read(file, path):
            whole, carry = split_bytes(carry, data)
            yield whole, carry.decode("latin-1")
    if carry:
        yield b"", carry.decode("latin-1")


def split_bytes(carry: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Whole lines of `carry + data`, each with its line feed, and the begun one behind them."""
    end = data.rfind(b"\n") + 1
    if not end:
        carry += data
        # of a line beyond all bounds only the beginning is kept, which then is not understood
        return b"", carry if len(carry) <= LINE_LIMIT else carry[:READ_BYTES]
    return carry + data[:end], data[end:]


def split_lines(carry: bytes, data: bytes) -> tuple[list[str], bytes]:
    """Whole lines of `carry + data`, and the begun one behind them."""
    end = data.rfind(b"\n")
    if end < 0:
        carry += data
        # of a line beyond all bounds only the beginning is kept, which then is not understood
        return [], carry if len(carry) <= LINE_LIMIT else carry[:READ_BYTES]
    text = (carry + data[:end]).decode("latin-1")
    return text.split("\n"), data[end + 1 :]


def _pid_of(path: Path) -> int | None:
    suffix = path.suffix[1:]
    return int(suffix) if suffix.isdigit() and int(suffix) <= MAX_PID else None

"""A log of Darshan as messages, read by a process of its own that may crash, hang or want all memory."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from iotrace.errors import IotraceError, TraceError
from iotrace.terminal import printable

PATIENCE_S: Final = 120.0
"""How long the reader may say nothing; it says something after each thousand records."""
_LONGEST: Final = 1 << 31
_SAID: Final = 1 << 16
_READER: Final = Path(__file__).with_name("darshan_reader.py")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Job:
    """What a log says of its job: start (UTC, ns), runtime (s), ranks, command, mounts (point, type), modules (name,
    version, whether Darshan ran out of memory for it)."""

    started_ns: int
    runtime_s: float
    ranks: int
    command: str
    mounts: list[tuple[str, str]]
    modules: list[tuple[str, int, bool]]


@dataclass(frozen=True)
class Names:
    """Names of files by record id."""

    rows: list[tuple[int, bytes]]


@dataclass(frozen=True)
class Record:
    """Counters of a module for one file and rank (-1: all ranks together): integers, and times and timestamps (s)."""

    module: str
    id: int
    rank: int
    counters: dict[str, int]
    times: dict[str, float]


@dataclass(frozen=True)
class Segments:
    """Reads and writes of a file by one rank: shape (segments,); offset and length in bytes, start and end in s."""

    module: str
    id: int
    rank: int
    host: str
    writes: npt.NDArray[np.bool_]
    offset: Ints
    length: Ints
    start_s: Floats
    end_s: Floats


Message = Job | Names | Record | Segments


def messages(path: Path) -> Iterator[Message]:
    """All of a log, in this order: the job, names, counters, segments.

    Raises
    ------
    IotraceError: PyDarshan is not installed. TraceError: the log cannot be read, is none of Darshan's, or is damaged.
    """
    try:
        # a pipe would keep us waiting
        if path.exists() and not path.is_file():
            raise TraceError(f"{path} is no file.")
        with path.open("rb"):
            pass
    except OSError as error:
        raise TraceError(f"{path}: cannot read the log: {error.strerror}.") from None
    with tempfile.TemporaryFile() as said:
        # -P: neither the folder of this file, where a darshan.py lies, nor the working folder is looked for modules
        process = subprocess.Popen(
            [sys.executable, "-P", str(_READER), os.path.abspath(path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        assert process.stdout is not None
        ended = False
        try:
            for kind, *rest in _raw(process, process.stdout, path):
                if kind == "absent":
                    raise _absent(*rest)
                ended = kind == "end"
                yield from _messages(kind, rest)
            status = process.wait(PATIENCE_S)
        except (msgspec.DecodeError, ValueError, TypeError, subprocess.TimeoutExpired):
            raise TraceError(f"{path}: the log of Darshan is damaged: what it holds makes no sense.") from None
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        said.seek(0)
        complaint = _complaint(said.read(_SAID))
        if not ended or status or complaint:
            raise _damage(path, status, complaint)


def _absent(why: str, missing: bool) -> IotraceError:
    if missing:
        return IotraceError("import darshan needs PyDarshan: pip install 'iotrace[darshan]', or pip install darshan.")
    return IotraceError(f"PyDarshan is installed and does not work here: {printable(why)}.")


def _raw(process: subprocess.Popen[bytes], stream: IO[bytes], path: Path) -> Iterator[list[Any]]:
    """Messages as they come; the last one may be torn."""
    held = bytearray()
    while True:
        ready, _, _ = select.select([stream], [], [], PATIENCE_S)
        if not ready:
            raise TraceError(
                f"{path}: PyDarshan has not gone on reading it for {PATIENCE_S:.0f} s: the log is damaged."
            )
        chunk = os.read(stream.fileno(), 1 << 20)
        if not chunk:
            return
        held += chunk
        at = 0
        while len(held) - at >= 4:
            size = int.from_bytes(held[at : at + 4], "little")
            if size > _LONGEST:
                raise ValueError
            if len(held) - at - 4 < size:
                break
            yield msgspec.msgpack.decode(memoryview(held)[at + 4 : at + 4 + size].tobytes())
            at += 4 + size
        del held[:at]


def _messages(kind: str, rest: list[Any]) -> Iterator[Message]:
    if kind == "job":
        seconds, nanoseconds, runtime, ranks, command, mounts, modules = rest
        yield Job(
            seconds * 10**9 + nanoseconds, runtime, ranks, command,
            [(point, type_) for point, type_ in mounts], [(name, version, bool(p)) for name, version, p in modules],
        )  # fmt: skip
    elif kind == "names":
        yield Names([(number, name) for number, name in rest[0]])
    elif kind == "counters":
        module, counters, times, rows = rest
        for number, rank, integers, floats in rows:
            yield Record(
                module, number, rank,
                dict(zip(counters, np.frombuffer(integers, np.int64).tolist(), strict=True)),
                dict(zip(times, np.frombuffer(floats, np.float64).tolist(), strict=True)),
            )  # fmt: skip
    elif kind == "segments":
        module, number, rank, host, writes, offset, length, start, end = rest
        offsets = np.frombuffer(offset, np.int64)
        yield Segments(
            module, number, rank, host, np.arange(len(offsets)) < writes, offsets, np.frombuffer(length, np.int64),
            np.frombuffer(start, np.float64), np.frombuffer(end, np.float64),
        )  # fmt: skip


def _complaint(said: bytes) -> str:
    """The first thing that the C library called an error."""
    for line in said.decode("utf-8", "replace").splitlines():
        if line.startswith(("Error", "ERROR")):
            return printable(line.removeprefix("Error:").strip().rstrip("."))
    return ""


def _damage(path: Path, status: int, complaint: str) -> TraceError:
    if complaint:
        return TraceError(f"{path} is no whole log of Darshan: {complaint}.")
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return TraceError(f"{path}: the log is damaged: PyDarshan ended on it by {name}.")
    return TraceError(f"{path} is no log of Darshan, or is damaged: PyDarshan could not read it to its end.")

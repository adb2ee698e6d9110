"""`trace.json`: what a trace says of itself, and of what it does not know."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from iotrace.errors import TraceError
from iotrace.trace.private import create, write_all
from iotrace.trace.schema import FORMAT_MAJOR, FORMAT_MINOR

INFO_NAME: Final = "trace.json"
Described = TypeVar("Described")


class Mount(msgspec.Struct, frozen=True):
    """A mounted file system as mountinfo shows it: `device` as in stat(2), `options` of mount and superblock."""

    device: int
    point: str
    type: str
    source: str
    options: str = ""


class Counted(msgspec.Struct, frozen=True):
    """What a source counted beside the recording (iotrace.mounts.counters): its name and where it is read, whose work
    it counts, and how much each counter grew; those that end in _now, _per_s or _minute_mean are as they were last."""

    source: str
    scope: str
    during: dict[str, int] = {}


class Chapter(msgspec.Struct):
    """A stretch of a trace that refers to nothing outside itself.

    Attributes
    ----------
    first: number of its first part, by table; begin_ns: the newest time_ns when it began; events: rows present.
    """

    first: dict[str, int]
    begin_ns: int = 0
    events: int = 0


class Dropped(msgspec.Struct, frozen=True):
    """What was dropped by choice, because the trace may only be so large.

    Attributes
    ----------
    events, bytes: rows of events and bytes of all tables; until_ns: no event later than that was dropped.
    """

    events: int = 0
    bytes: int = 0
    until_ns: int = 0


class TraceInfo(msgspec.Struct):
    """Contents of trace.json.

    Attributes
    ----------
    format: major and minor version; a reader refuses a newer major.
    detail: "events" (a row for each operation) or "histogram" (counts in their place, in the table histograms).
    base_monotonic_ns: CLOCK_MONOTONIC at time_ns = 0.
    clock: (CLOCK_MONOTONIC, UTC) pairs in ns, taken now and then, so that the traces of several nodes can be aligned.
    duration_ns: from the recording's start to its end.
    events: rows present; lost: operations that happened and were not written, by kind of operation.
    complete: the trace was closed properly and lost nothing (what was dropped by choice is not lost).
    chapters: stretches of the trace, oldest first; parts with lower numbers than the first one's are being removed.
    dropped: what was there and was dropped, oldest first, because of max_bytes.
    max_bytes: how large the trace may grow on disk; None: as large as it will.
    max_reorder_ns: how far a row's time_ns may lie before that of an earlier row (rows are in order of completion).
    mounts: file systems mounted at the start; unseen: what this backend cannot see on this machine, as sentences.
    recorder: the recorder's own cost (cpu_s, memory_bytes); while it records also flushed_ns (CLOCK_MONOTONIC of the
        last flush), events_per_s before it, disk_bytes, and memory_limit_bytes where the recorder states one.
    counters: what the kernel and the clients of the mounts counted beside the recording; counters.parquet has each
        second of it.
    anonymised: what `iotrace anonymise` took out, as words; empty for a trace as it was recorded.
    """

    format: tuple[int, int] = (FORMAT_MAJOR, FORMAT_MINOR)
    tool: str = "iotrace"
    version: str = ""
    backend: str = ""
    detail: str = "events"
    host: str = ""
    boot_id: str = ""
    kernel: str = ""
    architecture: str = ""
    page_size: int = 4096
    memory_bytes: int = 0
    command: list[str] = []
    working_folder: str = ""
    filters: dict[str, Any] = {}
    started_utc: str = ""
    base_monotonic_ns: int = 0
    clock: list[tuple[int, int]] = []
    duration_ns: int = 0
    events: int = 0
    lost: dict[str, int] = {}
    complete: bool = False
    exit_status: int | None = None
    max_reorder_ns: int = 0
    mounts: list[Mount] = []
    unseen: list[str] = []
    recorder: dict[str, float] = {}
    chapters: list[Chapter] = []
    dropped: Dropped = Dropped()
    max_bytes: int | None = None
    counters: list[Counted] = []
    anonymised: list[str] = []


def info_of_this_machine(backend: str, command: list[str]) -> TraceInfo:
    """A TraceInfo for a recording that starts now on this machine."""
    from iotrace import __version__

    monotonic, utc = time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.time_ns()
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot_id = ""
    return TraceInfo(
        version=__version__,
        backend=backend,
        host=platform.node(),
        boot_id=boot_id,
        kernel=platform.release(),
        architecture=platform.machine(),
        page_size=os.sysconf("SC_PAGE_SIZE"),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        command=command,
        working_folder=os.getcwd(),
        started_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(utc // 10**9)),
        base_monotonic_ns=monotonic,
        clock=[(monotonic, utc)],
    )


def read_info(folder: Path) -> TraceInfo:
    """Read trace.json.

    Raises
    ------
    TraceError: the folder is missing, is not a trace, is torn, or was written by a newer major version.
    """
    return read_described(folder, INFO_NAME, "trace", TraceInfo, FORMAT_MAJOR)


def read_described(folder: Path, name: str, what: str, into: type[Described], newest: int) -> Described:
    """The JSON file that says what a folder is; `what` that is, for people; `newest` the major format known.

    Raises
    ------
    TraceError: the folder is missing, is no such thing, is torn, or was written by a newer major version.
    """
    try:
        text = (folder / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists():
            raise TraceError(f"{folder}: there is no such {what}.") from None
        raise TraceError(f"{folder} is not an iotrace {what}: it holds no {name}.") from None
    except OSError as error:
        raise TraceError(f"{folder}: cannot read {name}: {error.strerror}.") from None
    try:
        major = msgspec.json.decode(text, type=dict)["format"][0]
        if not isinstance(major, int):
            raise TypeError
    except (msgspec.DecodeError, KeyError, TypeError, IndexError):
        raise TraceError(f"{folder}: {name} is damaged or is not one of iotrace's.") from None
    if major > newest:
        raise TraceError(f"{folder} has format {major}, this iotrace reads up to {newest}: upgrade iotrace.")
    try:
        return msgspec.json.decode(text, type=into)
    except msgspec.DecodeError as error:
        raise TraceError(f"{folder}: {name} is damaged: {error}.") from None


def write_info(folder: Path, info: TraceInfo) -> None:
    """Write trace.json so that a reader finds the old or the new one, never a half."""
    temporary = folder / f"_{INFO_NAME}"
    with create(temporary) as file:
        write_all(file, msgspec.json.format(msgspec.json.encode(info), indent=1))
    temporary.rename(folder / INFO_NAME)

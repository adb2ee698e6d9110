"""A program of its own that reads one log of Darshan with PyDarshan and writes it to its standard output.

PyDarshan's C library prints to standard error, and a damaged log may end or hang it: iotrace.trace.formats.darshan_log
runs this file, with a limit on time and memory, and imports nothing from it. Each message is 4 bytes of length (little
endian) and a MessagePack array: its kind, then

    job       started (s, ns), runtime (s), ranks, command, mounts (point, type), modules (name, version, partial)
    names     a list of (id, name in bytes)
    counters  module, names of its counters and of its times, a list of (id, rank, counters, times) as bytes of
              int64 and float64
    segments  module (DXT_POSIX or DXT_MPIIO), id, rank, host, number of writes, then offsets and lengths (int64),
              starts and ends (float64, s) as bytes: the writes first, then the reads
    absent    why PyDarshan cannot be imported
    end       nothing: the log was read to its end
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Any, Final

import msgspec

COUNTED: Final = ("POSIX", "STDIO", "MPI-IO")
TRACED: Final = ("DXT_POSIX", "DXT_MPIIO")
_BATCH: Final = 1024
_MOUNTS: Final = 10_000


def _send(*message: Any) -> None:
    body = msgspec.msgpack.encode(message)
    sys.stdout.buffer.write(len(body).to_bytes(4, "little") + body)


def _names(darshan: Any, log: dict[str, Any]) -> None:
    # not log_get_name_records: that one ends at a name that is not UTF-8
    records = darshan.ffi.new("struct darshan_name_record **")
    count = darshan.ffi.new("int *")
    darshan.libdutil.darshan_log_get_name_records(log["handle"], records, count)
    for first in range(0, count[0], _BATCH):
        rows = [records[0][i] for i in range(first, min(first + _BATCH, count[0]))]
        _send("names", [(row.id, darshan.ffi.string(row.name)) for row in rows])


def _text(read: Any, log: dict[str, Any], otherwise: Any) -> Any:
    """What a function of PyDarshan says; something else where it holds no UTF-8."""
    try:
        return read(log)
    except (UnicodeDecodeError, ValueError):
        return otherwise


def _job(darshan: Any, log: dict[str, Any], modules: dict[str, Any]) -> None:
    job = darshan.ffi.new("struct darshan_job *")
    darshan.libdutil.darshan_log_get_job(log["handle"], job)
    runtime = darshan.ffi.new("double *")
    darshan.libdutil.darshan_log_get_job_runtime(log["handle"], job[0], runtime)
    mounts = _text(darshan.log_get_mounts, log, [])[:_MOUNTS]
    held = [(name, about["ver"], about["partial_flag"]) for name, about in modules.items() if about["len"]]
    _send(
        "job", job[0].start_time_sec, job[0].start_time_nsec, runtime[0], job[0].nprocs,
        _text(darshan.log_get_exe, log, ""), mounts, held,
    )  # fmt: skip


def _counters(darshan: Any, log: dict[str, Any], module: str) -> None:
    names = darshan.counter_names(module), darshan.fcounter_names(module)
    rows: list[tuple[int, int, bytes, bytes]] = []
    while (record := darshan.log_get_record(log, module, dtype="numpy")) is not None:
        rows.append((record["id"], record["rank"], record["counters"].tobytes(), record["fcounters"].tobytes()))
        if len(rows) == _BATCH:
            _send("counters", module, *names, rows)
            rows = []
    _send("counters", module, *names, rows)


def _segments(darshan: Any, log: dict[str, Any], module: str) -> None:
    import numpy as np

    while (record := darshan.log_get_dxt_record(log, module)) is not None:
        segments = record["write_segments"] + record["read_segments"]
        columns = [
            np.array([segment[name] for segment in segments], kind).tobytes()
            for name, kind in (("offset", "i8"), ("length", "i8"), ("start_time", "f8"), ("end_time", "f8"))
        ]
        writes = len(record["write_segments"])
        _send("segments", module, record["id"], record["rank"], record["hostname"], writes, *columns)


def _limit() -> None:
    """A log that says it is huge gets no more than half of the memory, and what is said of it no more than a MiB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_AS, (max(memory // 2, 4 << 30),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def main(path: str) -> None:
    """Read the log at `path` and write all of it."""
    try:
        import darshan.backend.cffi_backend as darshan
    except Exception as error:
        # PyDarshan raises RuntimeErrors of its own where its C library is not there or of another version
        _send("absent", f"{type(error).__name__}: {error}", isinstance(error, ModuleNotFoundError))
        return
    _limit()
    handle = darshan.libdutil.darshan_log_open(os.fsencode(path))
    if handle == darshan.ffi.NULL:
        return
    log = {"handle": handle, "modules": None, "name_records": None}
    modules = darshan.log_get_modules(log)
    steps: list[tuple[Any, tuple[Any, ...]]] = [
        (_job, (modules,)), (_names, ()), *((_counters, (name,)) for name in COUNTED if name in modules),
        *((_segments, (name,)) for name in TRACED if name in modules),
    ]  # fmt: skip
    for step, arguments in steps:
        if _complained():
            # what it reads from here on may be anything
            return
        step(darshan, log, *arguments)
    _send("end")
    sys.stdout.buffer.flush()


def _complained() -> bool:
    """Whether the C library has said that it failed: PyDarshan takes that for the end of what it reads."""
    try:
        return b"Error" in os.pread(2, 1 << 16, 0)
    except OSError:
        return False


if __name__ == "__main__":
    main(sys.argv[1])

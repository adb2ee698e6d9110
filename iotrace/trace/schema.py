"""The columns of a trace: a contract between recorder, importers, synthesis, replay and analysis.

A trace is a folder `NAME.iotrace/` that holds `trace.json` and four tables of Parquet parts: `events/`, `paths/`,
`files/` and `processes/`. docs/format.md explains each column; its tables are made from the texts here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

FORMAT_MAJOR: Final = 1
FORMAT_MINOR: Final = 2
SUFFIX: Final = ".iotrace"
OP_TYPE: Final = pa.dictionary(pa.int16(), pa.string())
NULL: Final = -(2**63)
"""In a matrix of rows, int64 of shape (event columns, capacity): no value."""
NULL_32: Final = -(2**31)
"""The same in a column of 32 bits that a kernel takes as it is stored."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `unit` is empty for numbers that merely identify; `null` says when there is no value."""

    name: str
    type: pa.DataType
    unit: str
    null: str
    meaning: str


def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    return pa.schema([pa.field(c.name, c.type, nullable=bool(c.null)) for c in columns])


_I32, _I64 = pa.int32(), pa.int64()

EVENT_COLUMNS: Final = (
    Column("time_ns", _I64, "ns", "", "start of the call, since the recording's start (CLOCK_MONOTONIC)"),
    Column("duration_ns", _I64, "ns", "end not seen", "time inside the call"),
    Column(
        "off_cpu_ns", _I64, "ns", "backend cannot tell",
        "time since the end of the thread's previous event in which it did not run; else it computed",
    ),
    Column("process", _I32, "", "", "row of processes"),
    Column(
        "thread", _I32, "", "",
        "number of the thread, unique within the trace; a process's first thread comes first",
    ),
    Column("op", OP_TYPE, "", "", "operation: the system call's name, or mmap.fault, fork, exec, wait, exit"),
    Column(
        "path", _I32, "", "no path known",
        "row of paths: the name used, or the one that the descriptor was opened by",
    ),
    Column(
        "other_path", _I32, "", "no second name",
        "row of paths: new name, link target, attribute name, copy's destination",
    ),
    Column("file", _I32, "", "file not identified", "row of files: the file acted on; the source of a copy"),
    Column("other_file", _I32, "", "no second file", "row of files: the destination of a copy"),
    Column(
        "open", _I32, "", "no descriptor",
        "open-file description (shared by dup and fork) acted on or opened; else dirfd of path",
    ),
    Column(
        "other_open", _I32, "", "no second descriptor",
        "description of a copy's destination; that dup2 closed; of an open's dirfd; else dirfd of other_path",
    ),
    Column("offset", _I64, "bytes", "not positioned", "position in file; start of a lock; lseek's argument"),
    Column("other_offset", _I64, "bytes", "no copy", "position in other_file"),
    Column("size", _I64, "bytes", "takes no size", "bytes asked for; length of a lock, mapping or truncation"),
    Column("count", _I32, "", "not vectored", "vectors of a vectored call"),
    Column("address", _I64, "address", "no memory named", "address of mmap's result, munmap, msync, madvise, fault"),
    Column("flags", _I64, "bits", "takes no flags", "flags, command (fcntl), whence (lseek), advice, clone flags"),
    Column(
        "mode", _I32, "bits", "takes no mode",
        "permission bits, access mode, mmap's protection, lock type, umask, statx mask; flags that fcntl sets",
    ),
    Column("ring", _I32, "", "not io_uring or libaio", "io_uring instance or libaio context"),
    Column("batch", _I32, "", "not io_uring or libaio", "submission that the operation came with"),
    Column(
        "child", _I32, "", "not fork or wait",
        "fork: number of the new thread; wait: row of processes of the one awaited",
    ),
    Column(
        "result", _I64, "bytes", "still running at the end",
        "what the call returned: bytes, position, or -errno; 0 for new descriptors and addresses",
    ),
)  # fmt: skip

PATH_COLUMNS: Final = (
    Column("path", _I32, "", "", "number of the path"),
    Column("text", pa.string(), "", "", "absolute path; bytes that are not UTF-8 or control characters as \\xNN"),
    Column("raw", pa.binary(), "bytes", "", "the name as the program gave it"),
)

FILE_COLUMNS: Final = (
    Column("file", _I32, "", "", "number of the file: one for each generation of an inode"),
    Column(
        "path", _I32, "", "path not known", "row of paths: where the file was at first sight, symbolic links resolved"
    ),
    Column("device", _I64, "", "backend cannot tell", "device number as in stat(2)"),
    Column("inode", _I64, "", "backend cannot tell", "inode number"),
    Column("mount", _I32, "", "mount not known", "position in trace.json's mounts"),
    Column("type", pa.string(), "", "not seen", "file, directory, link, other"),
    Column("size", _I64, "bytes", "not seen, or truncated by its first open", "size at first sight"),
    Column("blocks", _I64, "512 bytes", "not seen", "blocks allocated at first sight"),
    Column("cached_pages", _I64, "pages", "backend cannot tell", "pages in the page cache at first sight"),
    Column("mode", _I32, "bits", "not seen", "st_mode at first sight"),
    Column("existed", pa.bool_(), "", "not known", "the file was there before the recording began"),
    Column("entries", _I64, "", "not a folder, or not counted", "entries of a folder"),
    Column("target", pa.string(), "", "not a link, or not read", "a symbolic link's text"),
    Column(
        "inherited_flags", _I64, "bits", "not open at the start", "open flags of a descriptor that was there before"
    ),
    Column("inherited_offset", _I64, "bytes", "not open at the start", "its position"),
)

PROCESS_COLUMNS: Final = (
    Column("process", _I32, "", "", "number of the process"),
    Column("pid", _I32, "", "", "process id"),
    Column("parent", _I32, "", "not recorded", "row of processes: the parent"),
    Column("command", pa.string(), "", "not seen", "short name (comm)"),
    Column("arguments", pa.list_(pa.string()), "", "not seen", "command line; what looks like a secret is replaced"),
    Column("cwd", pa.string(), "", "not seen", "working folder at the start"),
    Column("umask", _I32, "bits", "not seen", "umask at the start"),
    Column("start_ns", _I64, "ns", "", "start, on the scale of time_ns (negative: before the recording)"),
    Column("end_ns", _I64, "ns", "still running at the end", "end"),
    Column("exit", _I32, "", "still running at the end", "exit status, or -signal"),
    Column("cgroup", pa.string(), "", "not seen", "control group"),
    Column("project", pa.string(), "", "no label", "CryoSPARC project"),
    Column("job", pa.string(), "", "no label", "CryoSPARC job or session"),
    Column("job_type", pa.string(), "", "no label", "CryoSPARC job type key"),
    Column("step", pa.string(), "", "no label", "step of the workflow"),
    Column("user", pa.string(), "", "not seen", "user name"),
    Column("slurm_job", pa.string(), "", "no label", "Slurm job id"),
)

HISTOGRAM_COLUMNS: Final = (
    Column("time_ns", _I64, "ns", "", "start of the interval, since the recording's start"),
    Column("interval_ns", _I64, "ns", "", "its length"),
    Column("process", _I32, "", "", "row of processes"),
    Column("op", OP_TYPE, "", "", "operation, as in events"),
    Column("mount", _I32, "", "mount not known", "position in trace.json's mounts"),
    Column(
        "measure", pa.string(), "", "",
        "latency; size (asked for, of data operations); error (failed calls); untimed (calls without a duration); "
        "written (of copies, where the destination is a file); time (that of untimed calls all together)",
    ),
    Column(
        "bucket", _I32, "", "",
        "log-linear bucket (64 to each power of two); 0 for error, untimed, written and time",
    ),
    Column("count", _I64, "", "", "operations in the bucket; 0 for time"),
    Column("sum", _I64, "ns, bytes", "", "their time (latency, time), the bytes they moved (size); else 0"),
    Column("file", _I32, "", "counts are not kept by file", "row of files; since format 1.2"),
)  # fmt: skip

MEASURES: Final = ("latency", "size", "error", "untimed", "written", "time")
"""What a row of histograms counts."""

COLUMNS: Final = {
    "events": EVENT_COLUMNS,
    "paths": PATH_COLUMNS,
    "files": FILE_COLUMNS,
    "processes": PROCESS_COLUMNS,
    "histograms": HISTOGRAM_COLUMNS,
}
ADDED: Final = {"histograms": ("file",)}
"""Columns that parts of an earlier minor version lack: there they read as null."""
SCHEMAS: Final = {table: _schema(columns) for table, columns in COLUMNS.items()}

BYTES_READ: Final = ("read", "copy")
"""Kinds whose positive result counts as bytes read from `file`; readahead, faults and getdents do not."""
BYTES_WRITTEN: Final = ("write", "copy")
"""Kinds whose positive result counts as bytes written: to `file`, and for a copy to `other_file`."""

"""Anonymising a trace: names become tokens; command lines, labels, host and clock go; the replay stays the same.

Takes a trace and a secret key, writes another trace, batch by batch, so that memory does not grow with the events.
Only columns and fields that this version knows are copied, each by name: what a newer version or another tool added
may say more than its reader knows. How names become tokens is in iotrace.trace.tokens. What cannot be hidden without
changing the replay (sizes, times, flags, the shape of the tree) stays and is listed in NOT_HIDDEN; it may still tell
one who knows the original that this is it (Sweeney, "k-anonymity", 2002).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from iotrace.errors import TraceError
from iotrace.trace.info import INFO_NAME, Mount, TraceInfo
from iotrace.trace.operations import NUMBER_OF, Kind
from iotrace.trace.reader import open_trace
from iotrace.trace.schema import MEASURES, SCHEMAS
from iotrace.trace.tokens import Tokens
from iotrace.trace.writer import TraceWriter

KEY_BYTES_LEAST: Final = 16
NOT_HIDDEN: Final = (
    "sizes, offsets, results, flags and permission bits",
    "how long each call took, and when within the recording",
    "depth and length of each name, and where two names or their parts before the extension are the same",
    "known extensions and the system's own folders",
    "types of file systems, their common mount options, device and inode numbers, process ids",
    "kernel version, architecture and size of memory",
)
"""What an anonymised trace still says, as sentences."""

_LABELS: Final = ("project", "job", "job_type", "step", "user", "slurm_job")
_STEPS: Final = ("job_type", "step")
_DROPPED: Final = ("command", "arguments", "cgroup")
_FLAG_WORDS: Final = (
    "rw ro sync async dirsync atime noatime relatime norelatime strictatime lazytime diratime nodiratime dev nodev "
    "suid nosuid exec noexec hard soft softerr intr nointr lock nolock ac noac cto nocto rdirplus nordirplus "
    "sharecache nosharecache fsc resvport noresvport flock localflock noflock lazystatfs discard nodiscard barrier "
    "nobarrier inode32 inode64 largeio swalloc noquota usrquota grpquota prjquota uquota gquota pquota "
    "delalloc nodelalloc dax nouuid user_xattr nouser_xattr acl noacl allow_other default_permissions "
    "forcedirect readcache writecache coherent nofail compress autodefrag ssd nossd space_cache big_writes splice_read"
)
_FLAGS: Final = frozenset(_FLAG_WORDS.split())
_KEY_WORDS: Final = (
    "vers minorversion rsize wsize bsize namlen timeo retrans nconnect max_connect acregmin acregmax acdirmin "
    "acdirmax actimeo proto sec local_lock lookupcache data errors commit stripe sunit swidth logbufs logbsize "
    "allocsize size nr_inodes blksize max_read max_batch compress discard dax readahead num_frontend_cores inode_bits "
    "dentry_max_age_positive dentry_max_age_negative xattr redirect_dir index metacopy"
)
_KEYS: Final = frozenset(_KEY_WORDS.split())
_VALUE: Final = re.compile(
    r"[0-9]{1,12}(?:\.[0-9]{1,3})?[kKmMgG%]?|v[0-9](?:\.[0-9])?|tcp6?|udp6?|rdma6?|sys|krb5[ip]?|none|all|pos|flock|"
    r"posix|on|off|always|never|inode|ordered|writeback|journal|continue|remount-ro|panic|sa|nofollow|async|lzo|"
    r"zstd(?::[0-9]+)?|zlib(?::[0-9]+)?"
)
_KERNEL: Final = re.compile(r"[0-9]+(?:\.[0-9]+){0,2}")


@dataclass(frozen=True, slots=True)
class Anonymised:
    """What was done: rows written to each table, extensions and words left as they are, and trace.json."""

    info: TraceInfo
    rows: dict[str, int]
    extensions: list[str]
    words: list[str]

    def to_json(self) -> dict[str, Any]:
        """The figures as one JSON object."""
        return {
            **self.rows,
            "complete": self.info.complete,
            "hidden": self.info.anonymised,
            "not_hidden": list(NOT_HIDDEN),
            "kept_extensions": self.extensions,
            "kept_words": self.words,
        }


def anonymise_trace(
    source: str | Path,
    output: str | Path,
    key: bytes | None = None,
    *,
    keep_steps: bool = False,
    keep_time: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Anonymised:
    """Write an anonymised copy of a trace.

    Parameters
    ----------
    source, output: folders; the output must not exist (with `force`: may be a trace, which is replaced).
    key: the secret from which tokens are made; None: a random one, which nobody keeps.
    keep_steps: keep the labels `step` and `job_type`.
    keep_time: keep when the recording was made (UTC and the machine's clock).
    progress: told after each batch how many events were copied, and of how many.

    Raises
    ------
    TraceError: the source is missing, torn or too new; the output is in its place or stands already.
    StorageError: the file system is full or fails; what was written is removed again.
    """
    trace = open_trace(source)
    for table in SCHEMAS:
        trace.parts(table)  # a torn one is told before anything is made or replaced
    target = Path(output)
    _refuse_own_place(trace.folder, target)
    tokens = Tokens(secrets.token_bytes(32) if key is None else key)
    info = anonymous_info(trace.info, tokens, keep_steps, keep_time)
    total, lost_none = trace.info.events, trace.info.complete
    writer = TraceWriter(target, info, force)
    rows = dict.fromkeys(SCHEMAS, 0)
    change: dict[str, Callable[[pa.RecordBatch], pa.RecordBatch]] = {
        "events": anonymous_events,
        "histograms": lambda batch: anonymous_events(batch, "histograms"),
        "paths": lambda batch: anonymous_paths(batch, tokens),
        "files": lambda batch: anonymous_files(batch, tokens),
        "processes": lambda batch: anonymous_processes(batch, tokens, keep_steps),
    }
    try:
        for table in ("paths", "files", "processes", "histograms", "events"):
            for batch in trace.batches(table):
                writer.append(table, change[table](batch))
                rows[table] += batch.num_rows
                if progress is not None and table == "events":
                    progress(rows[table], total)
        writer.close(lost_none)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, pa.ArrowException | ValueError):
            raise TraceError(f"{trace.folder} is damaged: {str(error).splitlines()[0]}.") from None
        raise
    words = sorted(word.decode() for word in tokens.words)
    return Anonymised(info, rows, sorted(one.decode() for one in tokens.extensions), words)


def anonymous_info(info: TraceInfo, tokens: Tokens, keep_steps: bool = False, keep_time: bool = False) -> TraceInfo:
    """trace.json of the copy: `events` and `complete` are left to its writer."""
    hidden = ["names of files and folders", "command lines", "host, boot and filters", "sources of mounts"]
    hidden.append("labels but for step and job type" if keep_steps else "labels")
    if not keep_time:
        hidden.append("date and clock")
    kernel = _KERNEL.match(info.kernel)
    return TraceInfo(
        tool=info.tool,
        version=info.version,
        backend=info.backend,
        detail=info.detail,
        kernel=kernel[0] if kernel else "",
        architecture=info.architecture,
        page_size=info.page_size,
        memory_bytes=info.memory_bytes,
        working_folder=tokens.text(info.working_folder),
        started_utc=info.started_utc if keep_time else "",
        base_monotonic_ns=info.base_monotonic_ns if keep_time else 0,
        clock=info.clock if keep_time else [],
        duration_ns=info.duration_ns,
        lost=_lost(info.lost),
        exit_status=info.exit_status,
        max_reorder_ns=info.max_reorder_ns,
        mounts=[_mount(mount, tokens) for mount in info.mounts],
        unseen=[_sentence(text) for text in info.unseen],
        recorder={name: value for name, value in info.recorder.items() if name in ("cpu_s", "memory_bytes")},
        anonymised=hidden,
    )


def anonymous_paths(batch: pa.RecordBatch, tokens: Tokens) -> pa.RecordBatch:
    """A batch of paths with tokens as `text` and `raw`."""
    texts = [tokens.text(text) for text in batch.column("text").to_pylist()]
    raws = [tokens.name(raw) for raw in batch.column("raw").to_pylist()]
    return _replaced("paths", batch, {"text": pa.array(texts, pa.string()), "raw": pa.array(raws, pa.binary())})


def anonymous_files(batch: pa.RecordBatch, tokens: Tokens) -> pa.RecordBatch:
    """A batch of files with tokens as links' targets."""
    targets = [None if text is None else tokens.text(text) for text in batch.column("target").to_pylist()]
    types = [
        kind if kind in ("file", "directory", "link", None) else "other" for kind in batch.column("type").to_pylist()
    ]
    return _replaced("files", batch, {"target": pa.array(targets, pa.string()), "type": pa.array(types, pa.string())})


def anonymous_processes(batch: pa.RecordBatch, tokens: Tokens, keep_steps: bool = False) -> pa.RecordBatch:
    """A batch of processes with a token as working folder, without command lines and labels."""
    schema = SCHEMAS["processes"]
    gone = [name for name in (*_DROPPED, *_LABELS) if not (keep_steps and name in _STEPS)]
    folders = [None if text is None else tokens.text(text) for text in batch.column("cwd").to_pylist()]
    nulls = {name: pa.nulls(batch.num_rows, schema.field(name).type) for name in gone}
    return _replaced("processes", batch, nulls | {"cwd": pa.array(folders, pa.string())})


def anonymous_events(batch: pa.RecordBatch, table: str = "events") -> pa.RecordBatch:
    """A batch of events or counts: numbers and operations; those that this version does not know have no name."""
    op = batch.column("op")
    if not pa.types.is_dictionary(op.type):
        op = op.dictionary_encode()
    names = [name if name in NUMBER_OF else "unknown" for name in op.dictionary.to_pylist()]
    if "unknown" in names:
        op = pa.array(
            [None if i is None else names[i] for i in op.indices.to_pylist()], pa.string()
        ).dictionary_encode()
    if table == "events":
        return _replaced(table, batch, {"op": op})
    measures = [one if one in MEASURES else "unknown" for one in batch.column("measure").to_pylist()]
    return _replaced(table, batch, {"op": op, "measure": pa.array(measures, pa.string())})


def read_key(file: Path) -> tuple[bytes, bool]:
    """The secret of a file, and whether it was made now: a file that is not there is made, readable by its owner alone.

    Raises
    ------
    TraceError: the file cannot be read or made, or holds fewer than 16 bytes.
    """
    try:
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = file.read_bytes()
            if len(key) < KEY_BYTES_LEAST:
                raise TraceError(
                    f"{file} holds {len(key)} bytes, and a key that cannot be guessed takes {KEY_BYTES_LEAST}: "
                    "name a file that does not exist, and it is made."
                ) from None
            return key, False
        key = secrets.token_hex(32).encode() + b"\n"
        with os.fdopen(descriptor, "wb") as made:
            made.write(key)
        return key, True
    except OSError as error:
        raise TraceError(f"cannot read or make the key {file}: {error.strerror}.") from None


def _refuse_own_place(source: Path, target: Path) -> None:
    one, other = source.resolve(), target.resolve()
    if one == other:
        raise TraceError(f"{target} is the trace itself: choose another name for the anonymised one (-o).")
    if one in other.parents:
        raise TraceError(f"{target} lies within the trace {source}: choose another place (-o).")
    if other in one.parents and (target / INFO_NAME).exists():
        raise TraceError(f"{target} is a trace that holds the trace {source}: choose another place (-o).")


def _replaced(table: str, batch: pa.RecordBatch, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    schema = SCHEMAS[table]
    arrays = []
    for field in schema:
        array = columns.get(field.name)
        array = batch.column(field.name) if array is None else array
        arrays.append(array if array.type == field.type else array.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _mount(mount: Mount, tokens: Tokens) -> Mount:
    """A mount without its source, and with those options alone that are common words and numbers."""
    options = ",".join(option for option in mount.options.split(",") if _is_common(option))
    return Mount(mount.device, tokens.text(mount.point), mount.type, "", options)


def _is_common(option: str) -> bool:
    name, equals, value = option.partition("=")
    if not equals:
        return name in _FLAGS
    return name in _KEYS and _VALUE.fullmatch(value) is not None


def _lost(lost: dict[str, int]) -> dict[str, int]:
    known: dict[str, int] = {}
    for kind, count in lost.items():
        name = kind if kind in list(Kind) else "other"
        known[name] = known.get(name, 0) + count
    return known


def _sentence(text: str) -> str:
    """What was not seen, without the explanation: that may quote a line of a log."""
    head = re.split(r"[:;]", text, maxsplit=1)[0].strip()
    return "something that the original trace names" if "/" in head else head

"""What is known of a staged tree: which plan's it is, what its files hold, what a run may have changed since.

The manifest of a kept tree lies beside it, so that another replay can use it again.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from iotrace.replay.columns import CALL_OF, Ints
from iotrace.replay.named import CUTS_BY_NAME
from iotrace.replay.operation_sets import DUPS, OPENS, RENAMES, SETS_XATTRS
from iotrace.replay.payload import Payload
from iotrace.replay.rows import CLOSE, OPEN, Plan
from iotrace.replay.sight import Sights
from iotrace.replay.snapshot import Snapshot
from iotrace.replay.stage import content_number, data_bytes
from iotrace.trace.operations import NUMBER_OF, OPERATIONS

MANIFEST: Final = "iotrace-tree.msgpack"
FORMAT: Final = 2
_O_TRUNC: Final = 0o1000


class Changes(msgspec.Struct):
    """What a run may change besides what a walk over the tree shows.

    Attributes
    ----------
    files: positions in Snapshot.files of those that may be written.
    renames: names may come to stand for other files; attributes: extended attributes may be set.
    """

    files: list[int] = []
    renames: bool = False
    attributes: bool = False


class Manifest(msgspec.Struct):
    """See the module.

    Attributes
    ----------
    tree: tree_hash of the plan; seen: size, time of change (ns) and inode of each staged file, int64, shape (files, 3).
    changes: what runs since the last restoring may have changed.
    """

    format: int
    tree: str
    payload: Payload
    seen: bytes
    changes: Changes

    @property
    def files(self) -> Ints:
        """`seen` as an array that can be changed."""
        return np.frombuffer(self.seen, np.int64).reshape(-1, 3).copy()

    def save(self, folder: Path) -> None:
        """Write it into a folder, whole or not at all."""
        temporary = folder / f"_{MANIFEST}"
        temporary.write_bytes(msgspec.msgpack.encode(self))
        temporary.rename(folder / MANIFEST)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a kept tree; None where there is none that this version understands."""
    try:
        descriptor = os.open(folder / MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            manifest = msgspec.msgpack.decode(file.read(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None
    return manifest if manifest.format == FORMAT and len(manifest.seen) % 24 == 0 else None


def tree_hash(snapshot: Snapshot, sights: Sights | None) -> str:
    """sha256 over all that decides what the tree is."""
    tables: list[Any] = [snapshot.folders, snapshot.hard_links, snapshot.links, snapshot.fillers, snapshot.attributes]
    digest = hashlib.sha256(repr(tables).encode())
    for i, file in enumerate(snapshot.files):
        numbers = (file.size, data_bytes(file, sights), file.mode, content_number(snapshot, i))
        digest.update(repr((file.path, *numbers)).encode())
    return digest.hexdigest()


def changes_of(plan: Plan) -> Changes:
    """What a run of a plan may change: whatever it opens for writing or truncates counts as written."""
    rows, recorded = plan.rows, plan.recorded
    op = CALL_OF[rows.op]
    at_flags = np.array([o.arguments.index("flags") if "flags" in o.arguments else -1 for o in OPERATIONS] + [-1])
    at_flags[NUMBER_OF["openat2"]] = 4
    flags = rows.arguments[np.arange(len(op)), at_flags[op]]
    opens = (rows.special == OPEN) & OPENS[op] & ~DUPS[op]
    writes = opens & ((flags & (os.O_ACCMODE | _O_TRUNC)) != 0)
    writes |= opens & (op == NUMBER_OF["creat"])
    writes |= (CUTS_BY_NAME | SETS_XATTRS)[op] & (rows.special != CLOSE)
    by_number = {file.file: i for i, file in enumerate(plan.snapshot.files) if file.file >= 0}
    by_path = {file.path: i for i, file in enumerate(plan.snapshot.files)}
    at = np.flatnonzero(writes)
    numbers = set(recorded["file"][at].tolist())
    paths = {recorded["paths"][node] for node in set(recorded["node"][at].tolist()) if node >= 0}
    paths |= {one.path for one in plan.inherited if one.flags & os.O_ACCMODE}
    found = {by_number[number] for number in numbers if number in by_number}
    found |= {by_path[path] for path in paths if path in by_path}
    return Changes(sorted(found), bool(RENAMES[op].any()), bool(SETS_XATTRS[op].any()))

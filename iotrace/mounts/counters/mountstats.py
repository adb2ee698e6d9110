"""NFS: /proc/self/mountstats (fs/nfs/super.c, nfs_show_stats; mountstats(8) of nfs-utils explains the fields).

`bytes:` has eight numbers: what programs read and wrote through the page cache and past it (O_DIRECT), what was read
from and written to the server, and the pages of both. Operations of newer kernels end with a ninth number, errors.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Final

from iotrace.mounts.counters.source import READ, WRITTEN, Counts, Source, text_of, whole
from iotrace.mounts.mountinfo import Mount

_MOUNTSTATS: Final = Path("/proc/self/mountstats")
_BYTES: Final = (
    "cached_read_bytes", "cached_written_bytes", "direct_read_bytes", "direct_written_bytes", READ, WRITTEN,
    "read_pages", "written_pages",
)  # fmt: skip
_OPERATION: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_RTT, _EXECUTE = 6, 7


def parse_mountstats(text: str) -> dict[str, Counts]:
    """Counters of each NFS mount by its point; of several on one point the last.

    `OP.calls`, `OP.sent_bytes`, `OP.received_bytes`, `OP.rtt_ms` and `OP.execute_ms` are those of operations that were
    ever called.
    """
    found: dict[str, Counts] = {}
    counts: Counts | None = None
    for line in text.splitlines():
        if line.startswith("device "):
            _, mounted, rest = line.partition(" mounted on ")
            point, has_type, kind = rest.partition(" with fstype ")
            nfs = bool(mounted and has_type) and kind.split(" ")[0] in ("nfs", "nfs4")
            counts = {} if nfs else None
            if counts is not None:
                found[_ESCAPE.sub(lambda match: chr(int(match[1], 8)), point)] = counts
        elif counts is not None:
            _note(line, counts)
    return found


def _note(line: str, counts: Counts) -> None:
    name, colon, rest = line.strip().partition(":")
    if not colon:
        return
    numbers = [whole(word) for word in rest.split()]
    known = [number for number in numbers if number is not None]
    if len(known) != len(numbers):
        return
    if name == "bytes" and len(known) >= len(_BYTES):
        counts |= dict(zip(_BYTES, known, strict=False))
    elif _OPERATION.fullmatch(name) and len(known) >= 8 and known[0]:
        values = (known[0], known[3], known[4], known[_RTT], known[_EXECUTE])
        names = ("calls", "sent_bytes", "received_bytes", "rtt_ms", "execute_ms")
        counts |= {f"{name}.{what}": value for what, value in zip(names, values, strict=True)}


def nfs_sources(mount: Mount) -> list[Source]:
    """An NFS mount."""
    return [Source(f"NFS on {mount.point} (/proc/self/mountstats)", "mount", partial(_read, mount.point))]


def _read(point: str) -> Counts:
    found = parse_mountstats(text_of(_MOUNTSTATS))
    if point not in found:
        raise ValueError(f"/proc/self/mountstats does not name {point}")
    return found[point]

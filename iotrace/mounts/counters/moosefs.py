"""MooseFS: what mfsmount counts, in the file .stats of a mount's root (mfsmount(8)).

Requests that reached mfsmount, which of them it answered itself, and bytes to and from the master. It does not count
what comes from chunkservers, so nothing of it decides what a result is of.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Final

from iotrace.mounts.counters.source import Counts, Source, text_of, whole
from iotrace.mounts.mountinfo import Mount

_COUNTED: Final = ("fuse_ops.", "master.", "symlink_cache.")


def parse_stats(text: str) -> Counts:
    """Counters of a .stats file; its figures of the moment, which stand in brackets, and all else are left out."""
    found: Counts = {}
    for line in text.splitlines():
        name, _, value = line.partition(": ")
        count = whole(value.strip())
        if count is not None and name.startswith(_COUNTED):
            found[name] = count
    return found


def moosefs_sources(mount: Mount) -> list[Source]:
    """A MooseFS mount. Each look is a few requests to the mount itself, so it is not looked at each second."""
    read = partial(_read, Path(mount.point) / ".stats")
    return [Source(f"mfsmount on {mount.point} (.stats)", "mount", read, every_s=math.inf, decides=False)]


def _read(path: Path) -> Counts:
    found = parse_stats(text_of(path))
    if not found:
        raise ValueError(f"{path} holds no counters")
    return found

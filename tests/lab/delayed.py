"""A passthrough to a folder in which each call is late by a known time (tests/programs/delayed_mount.py)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.base import Cpus, Mount, child, is_mounted, unmount, wait_until

_PROGRAM: Final = Path(__file__).parent.parent / "programs" / "delayed_mount.py"


@dataclass(frozen=True, slots=True)
class Delays:
    """How long a request takes at least, s; bandwidth: bytes/s of all reads, and of all writes, 0 for no limit."""

    metadata: float = 0.004
    read: float = 0.005
    write: float = 0.006
    sync: float = 0.006
    bandwidth: float = 120e6


@contextmanager
def delayed(folder: Path, cpus: Cpus, delays: Delays | None = None) -> Iterator[Mount]:
    """The passthrough; `folder` holds all of it."""
    late = delays or Delays()
    point, below, log = folder / "mount", folder / "below", folder / "log"
    point.mkdir()
    below.mkdir()
    words = [
        word for kind in ("metadata", "read", "write", "sync", "bandwidth")
        for word in (f"--{kind}", repr(getattr(late, kind)))
    ]  # fmt: skip
    with child(cpus.for_servers([sys.executable, "-S", _PROGRAM, point, below, *words]), log) as server:
        try:
            wait_until(lambda: is_mounted(point), "the delayed passthrough", server, log)
            yield Mount("delayed", point, f"a FUSE passthrough to a folder in memory, {late}", cpus)
        finally:
            unmount(point)

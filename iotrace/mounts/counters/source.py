"""What a source of counters is, and what it covers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Scope = Literal["processes", "mount", "device", "node", "cluster"]
"""Whose work a source counts: that of the replay's own processes, of all on this mount, of all on this block device, of
all on this machine, of all clients of the cluster."""
Counts = dict[str, int]
Look = tuple[int, list[Counts]]
"""CLOCK_MONOTONIC in ns, and the counters of each source."""

EVERY_S: Final = 1.0
"""What a kernel gives for nothing is read so often."""
READ: Final = "read_bytes"
WRITTEN: Final = "written_bytes"
"""Counters by these names are bytes that came from the storage, and bytes that went there."""
UNPROTECTED: Final = "unprotected_mib_now"
UNAVAILABLE: Final = "unavailable_mib_now"
"""What a cluster has lost the protection of, and what it cannot give at all, MiB: of these figures of the moment the
most that was seen counts, for a rebuild may end before a run does."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source of counters.

    Attributes
    ----------
    name: with the place that it is read from, for people. scope: whose work it counts.
    read: gives the counters, which only grow unless their unit says otherwise (see docs/counters.md); raises OSError
        or ValueError where they cannot be read.
    every_s: while something goes on it is read again after so many seconds; infinite: before and after only.
    decides: `read_bytes` is all that the scope read over the wire, so that it may decide what a result is of. A network
        card does not: with RDMA and DPDK its kernel sees nothing.
    """

    name: str
    scope: Scope
    read: Callable[[], Mapping[str, int]]
    every_s: float = EVERY_S
    decides: bool = True


def is_now(counter: str) -> bool:
    """Whether a counter is a figure of the moment: its difference between two looks means nothing."""
    return counter.endswith(("_now", "_per_s", "_minute_mean"))


def text_of(path: Path) -> str:
    """Contents of a file of the kernel's, whatever bytes are in it."""
    return path.read_bytes().decode("utf-8", "replace")


def whole(word: str) -> int | None:
    """A counter as the kernel prints it; None for anything else."""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 40 else None

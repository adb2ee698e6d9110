"""Whether a plan has room in this machine's memory: asked before it is made, since the kernel only kills."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil
import pyarrow.parquet as pq

from iotrace.errors import ReplayError
from iotrace.trace.reader import Trace
from iotrace.units import bytes_text, count_text

EVENT_BYTES: Final = 100
"""What each event of a trace takes while a plan is made (make bench-plan)."""
ROW_BYTES: Final = 120
"""What each event that is replayed takes more."""


def check_events(trace: Trace) -> None:
    """Raise when the events of a trace do not fit into memory.

    Raises
    ------
    ReplayError: with what it would take, and what to do.
    """
    events = sum(pq.read_metadata(part).num_rows for part in trace.parts("events"))
    needed, free = EVENT_BYTES * events, free_bytes()
    if needed > free:
        raise ReplayError(
            f"a plan of {count_text(events)} events takes {bytes_text(needed)} of memory and more, and "
            f"{bytes_text(free)} are free: replay a shorter recording, or on a machine with more."
        )


def check_rows(rows: int) -> None:
    """Raise when the rows of a plan do not fit into memory beside the events."""
    needed, free = ROW_BYTES * rows, free_bytes()
    if needed > free:
        raise ReplayError(
            f"a plan of {count_text(rows)} replayed events takes {bytes_text(needed)} more of memory, and "
            f"{bytes_text(free)} are free: map less (--map PREFIX), or replay on a machine with more."
        )


def free_bytes() -> int:
    """Memory that this process may still take: of the machine, or of its control group where that has less."""
    free = int(psutil.virtual_memory().available)
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        group = next(line[3:] for line in lines if line.startswith("0::"))
        folder = Path("/sys/fs/cgroup") / group.lstrip("/")
        limit = (folder / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, int(limit) - int((folder / "memory.current").read_text()))
    except (OSError, ValueError, StopIteration):
        return free
    return max(free, 0)

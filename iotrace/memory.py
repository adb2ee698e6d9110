"""How much memory is left: for tables of traces, and for the plan of a replay, whose size
`iotrace profile plan` says."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

EVENT_BYTES: Final = 100
"""What each event of a trace takes while a replay's plan is made (make bench-plan)."""
ROW_BYTES: Final = 120
"""What each event that is replayed takes more."""
PLAN_SHARE: Final = 3 / 4
"""Of the free memory, for the plan of a recipe: beside it lie packed events, and what a run notes."""

_TABLES_MOST: Final = 4_000_000_000
"""A report of 10^8 events took 12 s longer than with 19 GB, and 5 GB in all instead of 10."""
_TABLES_LEAST: Final = 500_000_000


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


def most_events() -> int:
    """Operations of a recipe whose plan has room in memory."""
    return int(free_bytes() * PLAN_SHARE) // (EVENT_BYTES + ROW_BYTES)


def table_bytes() -> int:
    """What DuckDB may hold for the tables of a trace before it spills to disk."""
    return max(_TABLES_LEAST, min(_TABLES_MOST, free_bytes() // 2))

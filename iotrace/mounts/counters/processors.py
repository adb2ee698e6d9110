"""Processors of this machine: /proc/stat (proc(5)), how long all of them together worked, for whomever.

The clients of FUSE file systems, and the kernel's own threads, work for a replay without being its processes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from iotrace.mounts.counters.source import Counts, Source, text_of, whole

BUSY: Final = "busy_ms"
_STAT: Final = Path("/proc/stat")
_COLUMNS: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_WORKING: Final = ("user", "nice", "system", "irq", "softirq")


def parse_stat(text: str, ticks_per_s: int) -> Counts:
    """Milliseconds of all processors: at work, and taken by the hypervisor; empty where the line does not have its
    form."""
    words = text.splitlines()[0].split() if text else []
    numbers = [whole(word) for word in words[1:]]
    ticks = dict(zip(_COLUMNS, numbers, strict=False))
    known = {name: value for name, value in ticks.items() if value is not None}
    if words[:1] != ["cpu"] or len(known) < len(_COLUMNS):
        return {}
    return {
        BUSY: sum(known[name] for name in _WORKING) * 1000 // ticks_per_s,
        "stolen_ms": known["steal"] * 1000 // ticks_per_s,
    }


def processors_source() -> Source:
    """All processors of this machine."""
    return Source("processors (/proc/stat)", "node", _read, decides=False)


def _read() -> Counts:
    return parse_stat(text_of(_STAT), os.sysconf("SC_CLK_TCK"))

"""What a process and the children that it has waited for had fetched from storage: /proc/PID/io (proc(5))."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from iotrace.mounts.counters.source import READ, Counts, Source, text_of, whole

_NAMES = {"rchar": "asked_read_bytes", "wchar": "asked_written_bytes", "read_bytes": READ,
          "write_bytes": "dirtied_bytes",
          "cancelled_write_bytes": "cancelled_bytes"}  # fmt: skip


def parse_io(text: str) -> Counts:
    """Counters of /proc/PID/io; lines that do not have its form are left out.

    `write_bytes` are of pages that were made dirty and may reach the storage later, or never: here dirtied_bytes.
    """
    found: Counts = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        number = whole(value.strip())
        if name in _NAMES and number is not None:
            found[_NAMES[name]] = number
    return found


def processes_source(pid: int) -> Source:
    """Of a process, its threads, and its children that have ended: block file systems count there what they submit.

    Children that still run are not in it, so that it says nothing in the middle of a run.
    """
    return Source(
        "the replay's own processes (/proc/self/io)",
        "processes",
        partial(_read, Path(f"/proc/{pid}/io")),
        every_s=math.inf,
    )


def _read(path: Path) -> Counts:
    return parse_io(text_of(path))

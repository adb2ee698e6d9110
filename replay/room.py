"""Where a plan has room, in memory or in files: asked before it is made, since the kernel only kills."""

from __future__ import annotations

import shutil
import tempfile
from typing import Final

from iotrace.errors import ReplayError
from iotrace.memory import EVENT_BYTES, ROW_BYTES, free_bytes, most_events
from iotrace.mounts.mountinfo import mount_of, mounts_of_this_machine
from iotrace.replay.filed import takes_files
from iotrace.trace.reader import Trace
from iotrace.units import bytes_text, count_text

MEMORY_BYTES: Final = 2 << 30
"""A plan that may take more is made in files."""
_IN_MEMORY: Final = ("tmpfs", "ramfs", "rootfs")


def folder_for(trace: Trace) -> str | None:
    """Folder of the files that the long columns of a trace's plan are to lie in; None: they are to lie in memory.

    Raises
    ------
    ReplayError: there is room neither in memory nor in files; with what it would take, and what to do.
    """
    events, free = trace.event_count(), free_bytes()
    most = (EVENT_BYTES + ROW_BYTES) * events
    if most <= min(MEMORY_BYTES, free // 2):
        return None
    folder = tempfile.gettempdir()
    on = mount_of(folder, mounts_of_this_machine())
    on_disk = on is not None and on.type not in _IN_MEMORY and takes_files(folder)
    room = shutil.disk_usage(folder).free if on_disk else 0
    if most <= room:
        return folder
    if (EVENT_BYTES * events <= free) if trace.may_map_less else events <= most_events():
        return None
    fits = max(most_events(), room // (EVENT_BYTES + ROW_BYTES))
    where = f"{bytes_text(room)} in {folder}" if on_disk else f"{folder} is on no disk that takes files without a name"
    raise ReplayError(
        f"a plan of {count_text(events)} events takes up to {bytes_text(most)}; free are {bytes_text(free)} of memory, "
        f"and {where}: set TMPDIR to a folder on a larger disk, or {trace.how_to_shorten(fits)}."
    )


def check_rows(rows: int) -> None:
    """Raise when the rows of a plan do not fit into memory beside the events."""
    needed, free = ROW_BYTES * rows, free_bytes()
    if needed > free:
        raise ReplayError(
            f"a plan of {count_text(rows)} replayed events takes {bytes_text(needed)} more of memory, and "
            f"{bytes_text(free)} are free: map less (--map PREFIX), or replay on a machine with more."
        )

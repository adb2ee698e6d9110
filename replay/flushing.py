"""Writing a mount out: what a run left in memory is not yet on the storage.

A plan that changes nothing is not followed by a syncfs. One that does is preceded by another, untimed, so that the
timed one does not write out what staging left.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from iotrace.errors import StorageError
from iotrace.replay.operation_sets import of_kind, that
from iotrace.replay.rows import Plan
from iotrace.trace.operations import Change, Kind

SETS_ATTRIBUTES = that(Change.ATTRIBUTES, Change.TIMES)
"""Operations that change what an inode says of a file."""
_CHANGES = that(*(change for change in Change if change)) | of_kind(Kind.WRITE, Kind.COPY)


def changes_storage(plan: Plan) -> bool:
    """Whether a run changes anything on its mount: it writes, copies, makes, removes, renames, or sets attributes."""
    if plan.growth_bytes or plan.growth_entries:
        return True
    succeeded = plan.counted & (plan.rows.expect >= 0)
    return bool((_CHANGES[plan.rows.op] & succeeded).any())


def sync_file_system(folder: Path) -> float:
    """Write out the file system that a folder is on (syncfs); gives the seconds that it took.

    Raises
    ------
    StorageError: it cannot be written out.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            begin = time.perf_counter()
            if libc.syncfs(descriptor) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            return time.perf_counter() - begin
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"{folder.parent}: cannot write the file system out (syncfs): {error.strerror}.") from None

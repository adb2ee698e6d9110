"""What a recorder of many traces says of all of them together: a small file beside them, for `iotrace record --status`.

Each job's trace counts what was lost while the job ran, and may take a part of the folder's room; neither adds up to
what the recorder lost or may write.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import msgspec

from iotrace.trace.private import create, write_all

_NAME: Final = "_recorder.json"
_LARGEST: Final = 1 << 16


class Together(msgspec.Struct):
    """The state of a recorder of many traces.

    Attributes
    ----------
    lost: operations lost since it began, by kind. max_bytes: bound of all traces together; None: without.
    recorder: as in trace.json; flushed_ns is the time of the last flush (CLOCK_MONOTONIC).
    """

    lost: dict[str, int]
    max_bytes: int | None
    recorder: dict[str, float]

    def write(self, folder: Path) -> None:
        """Put it into the folder, in the place of what was there.

        Raises
        ------
        OSError: it cannot be written.
        """
        temporary = folder / f"{_NAME}.new"
        temporary.unlink(missing_ok=True)
        with create(temporary) as file:
            write_all(file, msgspec.json.encode(self))
        temporary.rename(folder / _NAME)


def read_together(folder: Path) -> Together | None:
    """What a recorder wrote into this folder; None where none did."""
    with contextlib.suppress(OSError, msgspec.DecodeError), (folder / _NAME).open("rb") as file:
        return msgspec.json.decode(file.read(_LARGEST), type=Together)
    return None


def remove_together(folder: Path) -> None:
    """Take back what was written."""
    for name in (_NAME, f"{_NAME}.new"):
        with contextlib.suppress(OSError):
            (folder / name).unlink()

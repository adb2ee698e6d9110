"""Files and folders that only their owner may read, whatever the umask: paths and command lines are nobody else's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Final

MODE: Final = 0o600
FOLDER_MODE: Final = 0o700


def create(path: Path) -> IO[bytes]:
    """Make a file that only its owner may read, unbuffered."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    os.fchmod(descriptor, MODE)
    return os.fdopen(descriptor, "wb", buffering=0)


def create_folder(path: Path) -> None:
    """Make a folder that only its owner may enter."""
    path.mkdir(mode=FOLDER_MODE)
    path.chmod(FOLDER_MODE)


def write_all(file: IO[bytes], data: bytes) -> None:
    """Write all of the bytes; an unbuffered file may take fewer at once, as when its disk fills up."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]

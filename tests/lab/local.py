"""ext4 and XFS on a loop device over a sparse file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lab.base import Cpus, Mount, run, unmount

_SIZE_BYTES: Final = 4 << 30
LOCAL_PACKAGES: Final = {"ext4": {"mkfs.ext4": "e2fsprogs"}, "xfs": {"mkfs.xfs": "xfsprogs"}}


@contextmanager
def _on_loop(kind: str, make: list[str], folder: Path, cpus: Cpus) -> Iterator[Mount]:
    image, point = folder / "image", folder / "mount"
    with image.open("wb") as file:
        file.truncate(_SIZE_BYTES)
    run([*make, image])
    point.mkdir()
    try:
        # the loop device of `mount -o loop` goes away with the mount
        run(["mount", "-o", "loop", image, point])
        yield Mount(kind, point, f"{kind} on a loop device over a sparse file of {_SIZE_BYTES >> 30} GiB", cpus)
    finally:
        unmount(point)


@contextmanager
def ext4(folder: Path, cpus: Cpus) -> Iterator[Mount]:
    """ext4 on a loop device; `folder` holds all of it."""
    # without lazy initialisation the kernel does not write to the image while something is measured
    with _on_loop("ext4", ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"], folder, cpus) as mount:
        yield mount


@contextmanager
def xfs(folder: Path, cpus: Cpus) -> Iterator[Mount]:
    """XFS on a loop device; `folder` holds all of it."""
    with _on_loop("xfs", ["mkfs.xfs", "-q"], folder, cpus) as mount:
        yield mount

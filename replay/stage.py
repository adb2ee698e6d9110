"""Making the tree of a plan before a run: folders, files with contents, links, attributes.

Contents are random, so that neither holes nor compression nor deduplication make a file smaller than it was. Before the
first byte it is known how many bytes and files there will be, and whether the file system has the room.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from iotrace.errors import StorageError
from iotrace.replay.arguments import link_text
from iotrace.replay.rows import Plan
from iotrace.units import bytes_text

FREE_SHARE: Final = 0.10
"""Of a file system so much stays free."""
POOL_BYTES: Final = 8 << 20
_WRITERS: Final = 4


@dataclass(frozen=True, slots=True)
class Needs:
    """What a run puts on the mount: bytes and entries staged, and at most added by the calls themselves."""

    staged_bytes: int
    staged_entries: int
    growth_bytes: int
    growth_entries: int

    @property
    def bytes(self) -> int:
        """All bytes."""
        return self.staged_bytes + self.growth_bytes


def needs_of(plan: Plan) -> Needs:
    """Bytes and entries that the tree of a plan takes."""
    return Needs(plan.snapshot.bytes, plan.snapshot.entries, plan.growth_bytes, plan.growth_entries)


def check_room(needs: Needs, parent: Path, max_bytes: int | None = None) -> None:
    """Refuse what the file system has no room for.

    Raises
    ------
    StorageError: more than `max_bytes`, or less than 10 % of the file system would stay free; says the numbers.
    """
    try:
        room = os.statvfs(parent)
    except OSError as error:
        raise StorageError(f"{parent}: {error.strerror}: --fs names a folder on the mount under test.") from None
    says = (
        f"the replay needs {bytes_text(needs.bytes)} on {parent} "
        f"({bytes_text(needs.staged_bytes)} staged before the run)"
    )
    if max_bytes is not None and needs.bytes > max_bytes:
        raise StorageError(f"{says}, more than --max-bytes {bytes_text(max_bytes)}: raise it, or map less (--map).")
    available, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    usable = max(0, int(available - FREE_SHARE * total))
    # FUSE file systems may answer 0 for both
    if total and needs.bytes > usable:
        raise StorageError(
            f"{says}; {bytes_text(available)} of {bytes_text(total)} are free, and 10 % stay so: "
            "choose a larger mount, or map less (--map)."
        )
    entries = needs.staged_entries + needs.growth_entries
    if room.f_files and entries > max(0, room.f_favail - FREE_SHARE * room.f_files):
        raise StorageError(
            f"the replay makes {entries} files and folders on {parent}, which has room for {room.f_favail}: "
            "choose another mount, or map less (--map)."
        )


def pool() -> memoryview:
    """Random bytes that all contents are taken from; the same in each process, so that runs are alike."""
    return memoryview(np.random.default_rng(0x10_7ACE).bytes(POOL_BYTES))


def stage(
    plan: Plan, tree: Path, step: Callable[[int], None] = lambda _: None, stop: threading.Event | None = None
) -> None:
    """Make the tree.

    Parameters
    ----------
    plan: the plan.
    tree: existing empty folder to make it in.
    step: told the bytes of each piece written.
    stop: ends the staging soon after it is set.

    Raises
    ------
    StorageError: no space, or the file system refuses.
    """
    snapshot, root = plan.snapshot, os.fsencode(tree)
    try:
        for path, mode in snapshot.folders:
            os.mkdir(root + b"/" + path, 0o700)
            if mode != 0o700:
                os.chmod(root + b"/" + path, mode)
        contents = pool()
        ended = stop or threading.Event()
        order = sorted(range(len(snapshot.files)), key=lambda i: -snapshot.files[i].size)
        with ThreadPoolExecutor(_WRITERS) as writers:
            work = [
                writers.submit(_write, root + b"/" + file.path, file.size, file.mode, i, contents, step, ended)
                for i in order
                for file in (snapshot.files[i],)
            ]
            try:
                for one in work:
                    one.result()
            except BaseException:
                ended.set()
                for one in work:
                    one.cancel()
                raise
        if ended.is_set():
            return
        for path, first in snapshot.hard_links:
            os.link(root + b"/" + first, root + b"/" + path, follow_symlinks=False)
        for path, target in snapshot.links:
            text, absolute = link_text(path, target)
            os.symlink(root + b"/" + text if absolute else text, root + b"/" + path)
        for path, count, length in snapshot.fillers:
            for i in range(count):
                if ended.is_set():
                    return
                name = b"%0*d" % (length, i)
                os.close(os.open(root + b"/" + path + b"/" + b"_" + name[1:], os.O_CREAT | os.O_WRONLY, 0o600))
        for path, name, size in snapshot.attributes:
            os.setxattr(root + b"/" + path, name, bytes(contents[:size]))
    except OSError as error:
        raise _as_storage_error(error, tree) from None


def _write(
    path: bytes,
    size: int,
    mode: int,
    number: int,
    contents: memoryview,
    step: Callable[[int], None],
    stop: threading.Event,
) -> None:
    if stop.is_set():
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(descriptor, mode)
        at = 0
        begin = number * 40_503 * 64 % POOL_BYTES
        while at < size and not stop.is_set():
            place = (begin + at) % POOL_BYTES
            piece = contents[place : place + min(size - at, 1 << 20)]
            written = os.write(descriptor, piece)
            at += written
            step(written)
    finally:
        os.close(descriptor)


def _as_storage_error(error: OSError, tree: Path) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"no space left on {tree.parent.parent} while making the tree: choose a larger mount, or map less."
        )
    if error.errno == errno.EOPNOTSUPP:
        return StorageError(f"{tree.parent.parent} has no extended attributes of users, which the trace reads.")
    return StorageError(f"cannot make the tree on {tree.parent.parent}: {error.strerror}.")

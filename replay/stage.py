"""Making the tree of a plan before a run: folders, files with contents, links, attributes.

Contents come from iotrace.replay.payload. Before the first byte it is known how many bytes and files there will be, and
whether the file system has the room. Files are made by several threads, large ones in slices, so that the mount and not
one thread sets the pace.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from iotrace.errors import StorageError
from iotrace.replay.call_names import link_text
from iotrace.replay.kernels import staging as kernel
from iotrace.replay.payload import Contents, Payload
from iotrace.replay.rows import Plan
from iotrace.replay.sight import Sights
from iotrace.replay.snapshot import Snapshot, StagedFile
from iotrace.units import bytes_text

FREE_SHARE: Final = 0.10
"""Of a file system so much stays free."""
WRITERS: Final = 8
"""Threads: a network file system answers many requests at a time, and a local one does not suffer from eight."""
SLICE_BYTES: Final = 64 << 20


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


def needs_of(plan: Plan, sights: Sights | None = None) -> Needs:
    """Bytes and entries that the tree of a plan takes; holes take none."""
    holes = sum(file.size - data_bytes(file, sights) for file in plan.snapshot.files) if sights else 0
    return Needs(plan.snapshot.bytes - holes, plan.snapshot.entries, plan.growth_bytes, plan.growth_entries)


def check_room(needs: Needs, parent: Path, max_bytes: int | None = None, there: int = 0) -> None:
    """Refuse what the file system has no room for.

    Parameters
    ----------
    there: bytes of `needs` that lie there already, in a tree that is used again.

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
    if total and needs.bytes - there > usable:
        raise StorageError(
            f"{says}; {bytes_text(available)} of {bytes_text(total)} are free, and 10 % stay so: "
            "choose a larger mount, or map less (--map)."
        )
    entries = needs.staged_entries + needs.growth_entries
    # CephFS answers -1 for those that are free: it does not know
    if (
        not there
        and room.f_files
        and room.f_favail >= 0
        and entries > max(0, room.f_favail - FREE_SHARE * room.f_files)
    ):
        raise StorageError(
            f"the replay makes {entries} files and folders on {parent}, which has room for {room.f_favail}: "
            "choose another mount, or map less (--map)."
        )


def content_number(snapshot: Snapshot, index: int) -> int:
    """Number that the contents of a staged file follow from: the trace's, or a negative one for a file without."""
    number = snapshot.files[index].file
    return number if number >= 0 else -2 - index


def data_bytes(file: StagedFile, sights: Sights | None) -> int:
    """Bytes of a staged file that hold data; behind them is a hole."""
    return min(file.size, sights.data_bytes(file.file, file.size)) if sights is not None else file.size


def stage(
    plan: Plan,
    tree: Path,
    step: Callable[[int], None] = lambda _: None,
    stop: threading.Event | None = None,
    contents: Contents | None = None,
    sights: Sights | None = None,
    shared: tuple[Path, Collection[int]] | None = None,
) -> None:
    """Make the tree.

    Parameters
    ----------
    plan: the plan.
    tree: existing empty folder to make it in.
    step: told the bytes of each piece written.
    stop: ends the staging soon after it is set.
    contents: what files hold; random bytes by default.
    sights: which files were sparse; by default none.
    shared: another tree of the plan, and the positions of files that become hard links to its own.

    Raises
    ------
    StorageError: no space, or the file system refuses.
    """
    snapshot, root = plan.snapshot, os.fsencode(tree)
    ended = stop or threading.Event()
    contents = contents or Contents(Payload())
    try:
        for path, mode in snapshot.folders:
            os.mkdir(root + b"/" + path, 0o700)
            if mode != 0o700:
                os.chmod(root + b"/" + path, mode)
        linked = shared[1] if shared else ()
        own = [i for i in range(len(snapshot.files)) if i not in linked]
        make_files(snapshot, own, tree, contents, sights, step, ended)
        if ended.is_set():
            return
        if shared:
            link_files(snapshot, shared[0], tree, linked)
        for path, first in snapshot.hard_links:
            os.link(root + b"/" + first, root + b"/" + path, follow_symlinks=False)
        for path, target in snapshot.links:
            os.symlink(link_words(root, path, target), root + b"/" + path)
        for path, count, length in snapshot.fillers:
            for i in range(count):
                if ended.is_set():
                    return
                name = root + b"/" + path + b"/" + filler_name(i, length)
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600))
        for path, name, size in snapshot.attributes:
            if ended.is_set():
                return
            os.setxattr(root + b"/" + path, name, attribute_value(size))
    except OSError as error:
        raise as_storage_error(error, tree) from None


def link_files(snapshot: Snapshot, source: Path, tree: Path, indexes: Iterable[int]) -> None:
    """Make files of a tree hard links to those of another tree of the same snapshot.

    Raises
    ------
    StorageError: the file system makes none.
    """
    try:
        for i in indexes:
            path = b"/" + snapshot.files[i].path
            os.link(os.fsencode(source) + path, os.fsencode(tree) + path, follow_symlinks=False)
    except OSError as error:
        raise StorageError(
            f"{tree.parent}: users cannot share inputs there, for it makes no hard links ({error.strerror}): "
            "leave --share-inputs out."
        ) from None


def link_words(root: bytes, path: bytes, target: bytes) -> bytes:
    """Text of a link of the snapshot."""
    text, absolute = link_text(path, target)
    return root + b"/" + text if absolute else text


def filler_name(number: int, length: int) -> bytes:
    """Name of one of the entries that only make a listing as long as it was."""
    return b"_" + (b"%0*d" % (length, number))[1:]


def attribute_value(size: int) -> bytes:
    """Value of an extended attribute."""
    return Contents(Payload()).bytes_of(-1, 0, size)


def make_files(
    snapshot: Snapshot,
    indexes: Sequence[int],
    tree: Path,
    contents: Contents,
    sights: Sights | None = None,
    step: Callable[[int], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> None:
    """Make some files of a snapshot, which must not exist, in folders that do.

    Raises
    ------
    OSError: the file system refuses; the error names the file.
    """
    order = sorted(indexes, key=lambda i: -snapshot.files[i].size)
    root = os.fsencode(tree)
    paths = [root + b"/" + snapshot.files[i].path for i in order]
    blob = np.frombuffer(b"\0".join(paths) + b"\0", np.uint8)
    lengths = np.array([len(path) + 1 for path in paths], np.int64)
    places = np.cumsum(lengths) - lengths + blob.ctypes.data
    made, slices = [], []
    for k, i in enumerate(order):
        file = snapshot.files[i]
        data = data_bytes(file, sights)
        row = (int(places[k]), file.mode, content_number(snapshot, i))
        made.append((*row, 0, min(data, SLICE_BYTES), file.size if data < file.size and data <= SLICE_BYTES else 0))
        for begin in range(SLICE_BYTES, data, SLICE_BYTES):
            end = min(begin + SLICE_BYTES, data)
            slices.append((*row, begin, end, file.size if end == data < file.size else 0))
    for pieces, make in ((made, True), (slices, False)):
        if pieces and not (stop and stop.is_set()):
            path, mode, number, begin, end, length = np.array(pieces, np.int64).T.copy()
            failed, piece = _work(
                (path, np.full(len(pieces), make), mode, _umask(), number, begin, end, length), contents, step, stop
            )
            if failed:
                at = int(np.searchsorted(places, path[piece]))
                raise OSError(failed, os.strerror(failed), paths[at])
    del blob


def _work(
    columns: tuple[Any, ...], contents: Contents, step: Callable[[int], None], stop: threading.Event | None
) -> tuple[int, int]:
    """Run the threads; gives the error number and its piece, or 0."""
    control = np.zeros(kernel.CONTROL_WORDS, np.int64)
    workers = min(WRITERS, len(columns[0]))
    buffers = np.zeros((workers, kernel.BUFFER), np.uint8)
    threads = [
        threading.Thread(
            target=kernel.make_files,
            args=(*columns, int(buffers[k].ctypes.data), contents.address, int(control.ctypes.data)),
            daemon=True,
        )
        for k in range(workers)
    ]
    told = 0
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.02)
                if stop and stop.is_set():
                    control[kernel.STOP] = 1
                done = int(control[kernel.DONE])
                if done > told:
                    step(done - told)
                    told = done
    finally:
        control[kernel.STOP] = 1
        for thread in threads:
            thread.join()
    if control[kernel.DONE] > told:
        step(int(control[kernel.DONE]) - told)
    return -int(control[kernel.ERROR]), int(control[kernel.ERROR_PIECE])


def _umask() -> int:
    """This process's umask; all bits where the kernel does not tell it without changing it."""
    try:
        text = Path("/proc/self/status").read_text()
        return int(text.partition("Umask:")[2].split()[0], 8)
    except (OSError, IndexError, ValueError):
        return 0o777


def as_storage_error(error: OSError, tree: Path) -> StorageError:
    """The error of a file system as one line."""
    mount = tree.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"no space left on {mount} while making the tree: choose a larger mount, or map less.")
    if error.errno == errno.EOPNOTSUPP:
        return StorageError(f"{mount} has no extended attributes of users, which the trace reads.")
    return StorageError(f"cannot make the tree on {mount}: {error.strerror}.")

"""The tree of a replay, from its making to its end: staged anew, or one that was kept; restored between runs.

Restoring walks over the tree and makes again what is missing, what has another type, size or time of change than when
it was staged, and whatever the plan may have written; it removes what does not belong there.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from iotrace.errors import StorageError
from iotrace.replay.columns import Ints
from iotrace.replay.ground import MARKER, PREFIX, Ground, is_free, read_marker
from iotrace.replay.manifest import FORMAT, MANIFEST, Changes, Manifest, changes_of, read_manifest, tree_hash
from iotrace.replay.payload import Contents
from iotrace.replay.rows import Plan
from iotrace.replay.sight import Sights
from iotrace.replay.stage import (
    as_storage_error,
    attribute_value,
    filler_name,
    link_files,
    link_words,
    make_files,
    stage,
)

Step = Callable[[int], None]
_PERMISSIONS = 0o7777
OWN_NAMES = frozenset(before + name for name in (MARKER, MANIFEST) for before in ("", "_"))
"""Names in the tree's folder that are not the tree's."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What restoring did: files made again, bytes written, entries removed, and files left as they were."""

    files: int
    bytes: int
    removed: int
    untouched: int


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: int
    size: int
    time_ns: int
    inode: int

    def is_like(self, mode: int) -> bool:
        return stat.S_IFMT(self.mode) == mode


class PreparedTree:
    """A tree that is ready for a run; a context manager that removes it, unless it is to be kept.

    Attributes
    ----------
    ground: its folder; restored: what was done to a kept tree, None for one made anew.
    """

    def __init__(
        self, plan: Plan, ground: Ground, contents: Contents, sights: Sights | None, keep: bool,
        shared: tuple[Path, Collection[int]] | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.ground, self.contents, self.sights, self._keep = plan, ground, contents, sights, keep
        self.shared = shared
        self.restored: Restored | None = None
        self._changes: Changes | None = None
        self.manifest = Manifest(FORMAT, "", contents.payload, b"", Changes())

    @property
    def tree(self) -> Path:
        """Folder that the generated names lie in."""
        return self.ground.folder

    def __enter__(self) -> PreparedTree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ground.__exit__(kind, error, trace)

    def will_run(self) -> None:
        """Note what the coming run may change, beside a tree that is kept, before it does."""
        self._changes = self.manifest.changes = self._changes or changes_of(self.plan)
        if self._keep:
            self.manifest.save(self.ground.folder)
            self.ground.say_kept()


def prepare_tree(
    plan: Plan,
    parent: Path,
    contents: Contents,
    sights: Sights | None = None,
    *,
    keep: bool = False,
    staged: Path | None = None,
    step: Step = lambda _: None,
    stop: threading.Event | None = None,
    shared: tuple[Path, Collection[int]] | None = None,
) -> PreparedTree:
    """Make the tree of a plan in a new folder, or take a kept one and restore it.

    Parameters
    ----------
    parent: folder on the mount under test.
    contents: what files hold.
    sights: which files were sparse.
    keep: leave the tree with its manifest.
    staged: a kept tree, or a folder that holds one that fits; it is kept again.
    step: told the bytes of each piece written; stop: ends the work soon after it is set (the tree is then not whole).
    shared: another tree of the plan, and the positions of files that become hard links to its own.

    Raises
    ------
    StorageError: no space, the file system refuses, or no kept tree fits; says why.
    """
    tree = tree_hash(plan.snapshot, sights)
    found = find_staged(staged, parent, tree, contents) if staged is not None else None
    reuse = found[0] if found else None
    ground = Ground(parent, keep, reuse)
    ground.__enter__()
    prepared = PreparedTree(plan, ground, contents, sights, ground.keep, shared)
    try:
        if found is not None:
            prepared.manifest = found[1]
            if len(prepared.manifest.files) != len(plan.snapshot.files):
                raise StorageError(
                    f"{reuse}: its manifest is damaged; remove it with `iotrace replay --clean {reuse}`."
                )
            prepared.restored = restore_tree(prepared, step, stop)
        else:
            stage(plan, ground.folder, step, stop, contents, sights, shared)
            if stop and stop.is_set():
                ground.keep = False  # half a tree is of no use to anyone
            else:
                seen = _seen(
                    prepared, range(len(plan.snapshot.files)), np.zeros((len(plan.snapshot.files), 3), np.int64)
                )
                prepared.manifest = Manifest(FORMAT, tree, contents.payload, seen.tobytes(), Changes())
                prepared.will_run()
    except BaseException:
        ground.keep = reuse is not None
        ground.__exit__(None, None, None)
        raise
    return prepared


def find_staged(staged: Path, parent: Path, tree: str, contents: Contents) -> tuple[Path, Manifest]:
    """The kept tree that fits, and its manifest.

    Raises
    ------
    StorageError: there is none; says why, for the last one that was looked at.
    """
    if not staged.is_dir():
        raise StorageError(f"--staged {staged}: no such folder.")
    one = staged.name.startswith(PREFIX) and read_marker(staged) is not None
    folders = [staged] if one else sorted(staged.glob(f"{PREFIX}*"))
    why = "holds no tree that was kept; make one with --keep"
    for folder in folders:
        if folder.is_symlink() or not folder.is_dir():
            continue
        marker, manifest = read_marker(folder), read_manifest(folder)
        if marker is None or manifest is None:
            continue
        name = "" if one else f"{folder.name} "
        if not is_free(marker):
            why = f"{name}is in use by process {marker.pid} on {marker.host}"
        elif manifest.tree != tree:
            why = f"{name}is the tree of another trace, or of another --map"
        elif manifest.payload != contents.payload:
            why = f"{name}was staged with {_options(manifest.payload)}, not with {_options(contents.payload)}"
        elif os.stat(folder).st_dev != os.stat(parent).st_dev:
            why = f"{name}lies on another mount than --fs {parent}"
        else:
            return folder, manifest
    raise StorageError(f"--staged {staged}: {why}.")


def _options(payload: object) -> str:
    from iotrace.replay.payload import Payload

    assert isinstance(payload, Payload)
    verify = " --verify" if payload.verify else ""
    return f"--compress {payload.compress:g} --duplicate {payload.duplicate:g}{verify} (seed {payload.seed})"


def _seen(prepared: PreparedTree, indexes: object, seen: Ints) -> Ints:
    root = os.fsencode(prepared.tree)
    files = prepared.plan.snapshot.files
    for i in indexes:  # type: ignore[attr-defined]
        status = os.lstat(root + b"/" + files[i].path)
        seen[i] = status.st_size, status.st_mtime_ns, status.st_ino
    return seen


def restore_tree(prepared: PreparedTree, step: Step = lambda _: None, stop: threading.Event | None = None) -> Restored:
    """Make a tree again what it was when it was staged, after a run (or several, or half of one).

    Raises
    ------
    StorageError: no space, or the file system refuses.
    """
    try:
        restored = _Restoring(prepared, step, stop).run()
        if not (stop and stop.is_set()):
            prepared.will_run()
        return restored
    except OSError as error:
        raise as_storage_error(error, prepared.tree) from None


class _Restoring:
    def __init__(self, prepared: PreparedTree, step: Step, stop: threading.Event | None) -> None:
        self.prepared, self.step, self.stop = prepared, step, stop
        self.snapshot = prepared.plan.snapshot
        self.root = os.fsencode(prepared.tree)
        self.there = _walk(self.root)
        self.removed = 0

    def run(self) -> Restored:
        snapshot, there = self.snapshot, self.there
        fillers = {
            (path + b"/" if path else b"") + filler_name(i, length)
            for path, count, length in snapshot.fillers
            for i in range(count)
        }
        kinds = dict.fromkeys(fillers, stat.S_IFREG)
        kinds |= {path: stat.S_IFDIR for path, _ in snapshot.folders} | {
            path: stat.S_IFLNK for path, _ in snapshot.links
        }
        kinds |= {file.path: stat.S_IFREG for file in snapshot.files}
        kinds |= {path: stat.S_IFREG for path, _ in snapshot.hard_links}
        # what lies in a folder has a longer path than the folder
        for path in sorted(there, key=len, reverse=True):
            if not there[path].is_like(kinds.get(path, -1)):
                self._remove(path)
        for path, mode in snapshot.folders:
            if path not in there:
                os.mkdir(self._at(path), 0o700)
            if path not in there or there[path].mode & _PERMISSIONS != mode:
                os.chmod(self._at(path), mode)
        made = self._files()
        if self.stop and self.stop.is_set():
            return made
        for path, first in snapshot.hard_links:
            known = os.lstat(self._at(first)).st_ino
            if path not in there or there[path].inode != known:
                self._remove(path)
                os.link(self._at(first), self._at(path), follow_symlinks=False)
        for path, target in snapshot.links:
            words = link_words(self.root, path, target)
            if path not in there or os.readlink(self._at(path)) != words:
                self._remove(path)
                os.symlink(words, self._at(path))
        for path in fillers:
            if path in there and (there[path].size or there[path].mode & _PERMISSIONS != 0o600):
                self._remove(path)
            if path not in there:
                os.close(os.open(self._at(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._attributes()
        return made

    def _at(self, path: bytes) -> bytes:
        return self.root + b"/" + path

    def _remove(self, path: bytes) -> None:
        entry = self.there.pop(path, None)
        if entry is not None:
            (os.rmdir if entry.is_like(stat.S_IFDIR) else os.unlink)(self._at(path))
            self.removed += 1

    def _files(self) -> Restored:
        prepared, files, manifest = self.prepared, self.snapshot.files, self.prepared.manifest
        seen, changed = manifest.files, set(manifest.changes.files)
        again = []
        for i, file in enumerate(files):
            entry = self.there.get(file.path)
            size, time_ns, inode = seen[i].tolist()
            same = (
                entry is not None
                and i not in changed
                and (entry.size, entry.time_ns) == (size, time_ns)
                # names that changed places look alike where times are coarse
                and (not manifest.changes.renames or entry.inode == inode)
            )
            if not same:
                before = self.removed
                self._remove(file.path)
                self.removed = before
                again.append(i)
            elif entry is not None and entry.mode & _PERMISSIONS != file.mode:
                os.chmod(self._at(file.path), file.mode)
        done = 0

        def step(count: int) -> None:
            nonlocal done
            done += count
            self.step(count)

        own = again
        if prepared.shared:
            source, linked = prepared.shared
            own = [i for i in again if i not in linked]
            link_files(self.snapshot, source, prepared.tree, [i for i in again if i in linked])
        make_files(self.snapshot, own, prepared.tree, prepared.contents, prepared.sights, step, self.stop)
        if not (self.stop and self.stop.is_set()):
            manifest.seen = _seen(prepared, again, seen).tobytes()
        return Restored(len(again), done, self.removed, len(files) - len(again))

    def _attributes(self) -> None:
        wanted: dict[bytes, dict[bytes, int]] = {}
        for path, name, size in self.snapshot.attributes:
            wanted.setdefault(path, {})[name] = size
        look = set(wanted)
        if self.prepared.manifest.changes.attributes:
            look |= {path for path, _ in self.snapshot.folders} | {file.path for file in self.snapshot.files}
        for path in look:
            at, mine = self._at(path), wanted.get(path, {})
            for there in _names_of_attributes(at):
                if there.startswith("user.") and os.fsencode(there) not in mine:
                    os.removexattr(at, there, follow_symlinks=False)
            for name, size in mine.items():
                value = attribute_value(size)
                try:
                    if os.getxattr(at, name, follow_symlinks=False) == value:
                        continue
                except OSError:
                    pass
                os.setxattr(at, name, value, follow_symlinks=False)


def _names_of_attributes(path: bytes) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError:  # a file system without any
        return []


def _walk(root: bytes) -> dict[bytes, _Entry]:
    """All that lies beneath a tree's folder, by path relative to it; follows no link and enters no other mount.

    Raises
    ------
    StorageError: the folder is none (a link, say), or something is mounted in it: nothing must be removed there.
    """
    found: dict[bytes, _Entry] = {}
    top = os.lstat(root)
    if not stat.S_ISDIR(top.st_mode):
        raise StorageError(f"{os.fsdecode(root)} is no folder: the tree cannot be restored.")
    rest = [b""]
    while rest:
        folder = rest.pop()
        at = root + b"/" + folder if folder else root
        try:
            entries = list(os.scandir(at))
        except PermissionError:
            os.chmod(at, 0o700)  # a run may have closed it to us
            entries = list(os.scandir(at))
        for entry in entries:
            if not folder and os.fsdecode(entry.name) in OWN_NAMES:
                continue
            path = folder + b"/" + entry.name if folder else entry.name
            status = entry.stat(follow_symlinks=False)
            found[path] = _Entry(status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
            if stat.S_ISDIR(status.st_mode):
                if status.st_dev != top.st_dev:
                    raise StorageError(f"{os.fsdecode(at)} has another mount in it: the tree cannot be restored.")
                rest.append(path)
    return found

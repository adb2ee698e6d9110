"""Which file a name is, and what was known of it at first sight: the rows of `files` in the making.

A log names files by path. A file keeps its number when it is renamed, hard links share one, and a name that is unlinked
and made again is a new file. Device and inode (from a decoded stat) override names where the log has them. Existence,
size, entries before the recording are taken from what the calls prove, never guessed: what nothing proves stays null.
"""

from __future__ import annotations

import ctypes
import os
import stat as modes
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from iotrace.trace.info import Mount

_TYPES: Final = {modes.S_IFREG: "file", modes.S_IFDIR: "directory", modes.S_IFLNK: "link"}
_DELETED: Final = b" (deleted)"
_LINK_DEPTH: Final = 8


@dataclass(slots=True)
class Stat:
    """What a decoded struct stat or statx tells; None where the log leaves it out."""

    mode: int | None = None
    size: int | None = None
    device: int | None = None
    inode: int | None = None
    blocks: int | None = None
    links: int | None = None


class FileFacts:
    """What is done with a file's facts, wherever they are kept."""

    number: int
    existed: bool | None
    device: int | None
    type: str | None
    size: int | None
    entries: int | None
    target: bytes | None
    length: int | None
    changed: bool

    def settled(self) -> bool:
        """No later call can add to the row."""
        if self.device is None or self.existed is None:
            return False
        if self.type == "directory":
            return self.entries is not None
        if self.type == "link":
            return self.target is not None
        return self.size is not None

    def change(self, length: int | None) -> None:
        """The program changed the size, or may have: what comes later no longer tells of first sight."""
        self.changed = True
        self.length = length

    def note_length(self, length: int) -> None:
        """A call proved the present size."""
        self.length = length
        if not self.changed and self.size is None:
            self.size = length

    def grow(self, end: int) -> None:
        """A write ended here."""
        self.changed = True
        self.type = self.type or "file"
        if self.length is not None and self.length < end < 1 << 63:
            self.length = end


@dataclass(slots=True, eq=False)
class File(FileFacts):
    """A row of files, and what is known of the file now: `where` (its name), `length` (its size)."""

    number: int
    path: int | None
    where: bytes | None
    existed: bool | None = None
    device: int | None = None
    inode: int | None = None
    type: str | None = None
    size: int | None = None
    blocks: int | None = None
    mode: int | None = None
    entries: int | None = None
    target: bytes | None = None
    inherited_flags: int | None = None
    inherited_offset: int | None = None
    length: int | None = None
    links: int | None = None
    changed: bool = False
    written: bool = False


class FileTable:
    """The files of a trace by name and by inode.

    Parameters
    ----------
    mounts: of trace.json, for the column `mount`.
    probe_since_ns: UTC in ns; set by a live recorder, which may look at the files themselves: an inode whose ctime is
        older was there, with that size, when the recording began.
    """

    def __init__(self, mounts: Iterable[Mount] = (), probe_since_ns: int | None = None) -> None:
        self.names: dict[bytes, File] = {}
        self.inodes: dict[tuple[int, int], File] = {}
        self.absent: set[bytes] = set()
        self.count = 0
        self._waiting: list[File] = []
        self._probe_since_ns = probe_since_ns
        self._points = {os.fsencode(mount.point): number for number, mount in enumerate(mounts)}
        self._mount_of_folder: dict[bytes, int | None] = {}

    def new(self, where: bytes | None, path: int | None, existed: bool | None) -> File:
        """A file that was not known before; without a name when `where` is None."""
        if existed and where is not None and self._made_here(os.path.dirname(where)):
            # in a folder that the program made, what it did not make itself was put there unseen
            existed = None
        if existed is None and where is not None and self._probe_since_ns is not None:
            existed = self._was_there(where, self._probe_since_ns)
        file = self._add(path, where, existed)
        if existed is False:
            file.size = file.length = 0
        if where is not None:
            self.names[where] = file
            self.absent.discard(where)
        return file

    def _add(self, path: int | None, where: bytes | None, existed: bool | None) -> File:
        file = File(self.count, path, where, existed)
        self.count += 1
        self._waiting.append(file)
        return file

    def below(self, prefix: bytes) -> list[bytes]:
        """Names of files that begin so, in order."""
        return sorted(name for name in self.names if name.startswith(prefix))

    def follow(self, text: bytes) -> bytes:
        """The name that a path leads to when its last component is a link that the log has shown."""
        for _ in range(_LINK_DEPTH):
            file = self.names.get(text)
            if file is None or file.type != "link":
                return text
            if file.target is None:
                return text + b"/."  # a name that no path has: whatever the link leads to
            text = normalise(os.path.dirname(text), file.target)
        return text

    def at(self, text: bytes, path: int | None, existed: bool | None = True, stat: Stat | None = None) -> File:
        """The file that a call found under this name (links already followed where the call follows)."""
        file = self.names.get(text)
        if file is None and self._probe_since_ns is not None and (stat is None or stat.inode is None):
            unchanged = _unchanged_since(text, self._probe_since_ns)
            if unchanged is not None:
                stat, existed = unchanged, True
        if stat is not None and stat.inode is not None and stat.device is not None:
            key = (stat.device, stat.inode)
            if file is None or (file.inode is not None and (file.device, file.inode) != key):
                file = self.inodes.get(key)
            elif file.inode is None:
                file = self.inodes.get(key, file)
        if file is None:
            file = self.new(text, path, existed)
        elif text not in self.names or self.names[text] != file:
            self.names[text] = file
            self.absent.discard(text)
        if stat is not None:
            self.learn(file, stat)
        return file

    def learn(self, file: File, stat: Stat) -> None:
        """Take over what a successful stat told of a file."""
        if stat.inode is not None and stat.device is not None:
            if file.inode is None:
                file.device, file.inode = stat.device, stat.inode
            self.inodes[file.device or 0, file.inode] = file
        if stat.links is not None:
            file.links = stat.links
        if stat.mode is not None:
            file.type = _TYPES.get(modes.S_IFMT(stat.mode), "other")
            if file.mode is None:
                file.mode = stat.mode
        if stat.size is not None:
            if not file.changed and file.size is None and file.blocks is None:
                file.blocks = stat.blocks
            file.note_length(stat.size)

    def created_at(self, text: bytes) -> bool | None:
        """Whether an O_CREAT on this name found a file: False (it made one) where that is proven, else None."""
        if text in self.names:
            return True
        if text in self.absent:
            return False
        return False if self._made_here(os.path.dirname(text)) else None

    def _made_here(self, folder: bytes) -> bool:
        known = self.names.get(folder)
        return known is not None and known.existed is False

    def miss(self, text: bytes) -> None:
        """A call proved that nothing has this name."""
        self.names.pop(text, None)
        self.absent.add(text)

    def remove(self, text: bytes) -> None:
        """The name was unlinked; the file lives on while it is open or has other names."""
        file = self.names.pop(text, None)
        self.absent.add(text)
        if file is None:
            return
        if file.where == text:
            file.where = None
        if file.links is not None:
            file.links -= 1
        if file.inode is not None and not file.links:
            self.inodes.pop((file.device or 0, file.inode), None)

    def link(self, file: File, text: bytes) -> None:
        """The file got one more name."""
        self.names[text] = file
        self.absent.discard(text)
        if file.links is not None:
            file.links += 1

    def move(self, old: bytes, new: bytes) -> None:
        """A name was renamed, and with a folder all names below it."""
        file = self.names.pop(old, None)
        if new in self.names:
            self.remove(new)
        self.absent.discard(new)
        self.absent.add(old)
        if file is None:
            return
        self.names[new] = file
        file.where = new
        if file.type == "directory" or file.type is None:
            prefix = old + b"/"
            for name in self.below(prefix):
                below = self.names.pop(name)
                moved = new + name[len(old) :]
                self.names[moved] = below
                if below.where == name:
                    below.where = moved

    def exchange(self, one: bytes, other: bytes) -> None:
        """renameat2 with RENAME_EXCHANGE."""
        a, b = self.names.pop(one, None), self.names.pop(other, None)
        for file, name in ((a, other), (b, one)):
            if file is not None:
                self.names[name] = file
                file.where = name

    def mount_of(self, where: bytes) -> int | None:
        """Position in trace.json's mounts of the file system that a name lies on."""
        if not self._points:
            return None
        folder = os.path.dirname(where)
        if where in self._points:
            return self._points[where]
        if folder not in self._mount_of_folder:
            at = folder
            while at not in self._points and at not in (b"/", b""):
                at = os.path.dirname(at)
            self._mount_of_folder[folder] = self._points.get(at)
        return self._mount_of_folder[folder]

    def rows(self, texts: list[bytes], everything: bool = False) -> list[dict[str, Any]]:
        """Rows of files about which no more will be learned, or all that are left; each file comes once.

        Parameters
        ----------
        texts: the absolute name of each row of paths.
        """
        ready = [file for file in self._waiting if everything or file.settled()]
        self._waiting = [] if everything else [file for file in self._waiting if not file.settled()]
        return [self._row(file, texts) for file in ready]

    def _row(self, file: File, texts: list[bytes]) -> dict[str, Any]:
        first_seen = texts[file.path] if file.path is not None else file.where
        return {
            "file": file.number,
            "path": file.path,
            "device": file.device,
            "inode": file.inode,
            "mount": self.mount_of(first_seen) if first_seen is not None else None,
            "type": file.type,
            "size": file.size,
            "blocks": file.blocks,
            "mode": file.mode,
            "existed": file.existed,
            "entries": file.entries,
            "target": printable(file.target) if file.target is not None else None,
            "inherited_flags": file.inherited_flags,
            "inherited_offset": file.inherited_offset,
        }

    def _was_there(self, where: bytes, since_ns: int) -> bool | None:
        """Whether a name that an O_CREAT has just opened was made before the recording."""
        born = birth_ns(where)
        return None if born is None else born < since_ns


def _unchanged_since(where: bytes, since_ns: int) -> Stat | None:
    """The inode behind a name, where its ctime shows that it has been what it is since before the recording."""
    try:
        found = os.lstat(where)
    except (OSError, ValueError):
        return None
    # of a link the caller does not know whether the call followed it
    if found.st_ctime_ns >= since_ns or modes.S_ISLNK(found.st_mode):
        return None
    return Stat(found.st_mode, found.st_size, found.st_dev, found.st_ino, found.st_blocks, found.st_nlink)


def normalise(base: bytes, path: bytes) -> bytes:
    """A path made absolute against `base` and tidied lexically: no `.`, `..`, `//`; links stay as they are."""
    if not path.startswith(b"/"):
        path = base + b"/" + path
    if b"/." in path or b"//" in path or path.endswith(b"/"):
        path = os.path.normpath(path)
        if path.startswith(b"//"):
            path = path[1:]
    return path


def printable(raw: bytes) -> str:
    """Text of a name: UTF-8, with other bytes and control characters as \\xNN."""
    try:
        text = raw.decode()
        if text.isprintable():
            return text
    except UnicodeDecodeError:
        text = raw.decode(errors="surrogateescape")
    return "".join(
        f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff"
        else "".join(f"\\x{byte:02x}" for byte in c.encode()) if c < " " or "\x7f" <= c <= "\x9f"
        else c
        for c in text
    )  # fmt: skip


_STATX_SIZE: Final = 256
_STATX_BTIME: Final = 0x800
_BTIME_AT: Final = 80
_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100


def birth_ns(path: bytes) -> int | None:
    """When an inode was made (statx's stx_btime), UTC in ns; None where the file system does not keep it."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    try:
        statx = ctypes.CDLL(None, use_errno=True).statx
    except AttributeError:
        return None
    if statx(_AT_FDCWD, path, _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, buffer) != 0:
        return None
    (mask,) = struct.unpack_from("=I", buffer, 0)
    if not mask & _STATX_BTIME:
        return None
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _BTIME_AT)
    return int(seconds * 10**9 + nanoseconds)

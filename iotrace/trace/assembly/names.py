"""Calls on names: opening, looking, making, renaming, removing."""

from __future__ import annotations

import errno
import os
import re
from typing import Any, Final

from iotrace.trace.assembly.calls import AT_FDCWD, Call, is_device_name, is_pseudo, is_recorded
from iotrace.trace.assembly.descriptors import OnDescriptors
from iotrace.trace.assembly.identity import File, normalise
from iotrace.trace.assembly.tasks import Description, Process, Thread
from iotrace.trace.writer import TraceWriter

UNKNOWN_FOLDER: Final = b"/(unknown)"
"""Stands for a working folder that the log does not tell."""

_AT_SYMLINK_NOFOLLOW, _AT_SYMLINK_FOLLOW = 0x100, 0x400
_O_TMPFILE_BIT: Final = 0o20000000
_RENAME_EXCHANGE: Final = 2
_OF_PROCESS: Final = re.compile(rb"/proc/(?:self|thread-self|([0-9]{1,9}))/fd/([0-9]{1,9})")
_CREAT_FLAGS: Final = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
_NAMES_LINK: Final = frozenset(
    [
        "lstat",
        "readlink",
        "readlinkat",
        "lchown",
        "lsetxattr",
        "lgetxattr",
        "llistxattr",
        "lremovexattr",
        "unlink",
        "unlinkat",
        "rmdir",
    ]
)
"""Calls that act on a link itself, not on what it leads to."""
_FLAG_NAMES_LINK: Final = frozenset(["newfstatat", "statx", "fchownat", "utimensat", "faccessat2", "fchmodat2"])


class OnNames(OnDescriptors):
    """Descriptors, and what names lead to.

    Attributes
    ----------
    unknown_folders: relative names for which the working folder is not known; they stand under UNKNOWN_FOLDER.
    """

    def __init__(self, writer: TraceWriter, cwd: bytes | None, umask: int | None, probe_since_ns: int | None) -> None:
        super().__init__(writer, cwd, umask, probe_since_ns)
        self.unknown_folders = 0

    def _opened_by(self, process: Process, text: bytes, writes: bool) -> None:
        """A process opened a file below a folder that a job's may be; for labels."""

    def _resolve(
        self, thread: Thread, dirfd: int | None, dirfd_name: bytes | None, raw: bytes
    ) -> tuple[Description | None, bytes | None]:
        """The folder's description (None for AT_FDCWD and absolute names) and the absolute name; None when not to be
        told."""
        if dirfd == AT_FDCWD and dirfd_name:
            thread.folder.cwd = dirfd_name
            if thread.process.cwd is None:
                thread.process.cwd = dirfd_name
        if raw.startswith(b"/"):
            return None, normalise(b"", raw)
        if dirfd is None or dirfd == AT_FDCWD:
            base = thread.folder.cwd
            if base is None:
                self.unknown_folders += 1
                base = UNKNOWN_FOLDER
            return None, normalise(base, raw)
        description = self._description(thread, dirfd, dirfd_name)
        if description is not None:
            return description, normalise(description.file.where or description.text, raw)
        if dirfd_name:
            return None, normalise(dirfd_name, raw)
        return None, None

    def _on_path(self, thread: Thread, call: Call) -> None:
        if not call.path and call.dirfd is not None and call.dirfd != AT_FDCWD:
            # AT_EMPTY_PATH, or a null name: the descriptor itself is meant
            call.fd, call.fd_name = call.dirfd, call.dirfd_name
            self._on_descriptor(thread, call)
            return
        self._look(thread, call)

    def _look(self, thread: Thread, call: Call) -> File | None:
        """Emit a call on one name; returns the file where the call found it."""
        if call.path is None:
            self._emit(thread, call)
            return None
        base, text = self._resolve(thread, call.dirfd, call.dirfd_name, call.path)
        if text is None or is_pseudo(text) or self._is_special(text, call):
            return None
        names_link = call.op in _NAMES_LINK or (
            call.op in _FLAG_NAMES_LINK and bool((call.flags or 0) & _AT_SYMLINK_NOFOLLOW)
        )
        name = text if names_link else self._files.follow(text)
        path, file, found = self.intern(text, call.path), None, None
        if call.result is not None and call.result >= 0:
            found = file = self._files.at(name, path, True, call.stat)
        elif call.result == -errno.ENOENT:
            if name == text:
                self._files.miss(text)
        else:
            file = self._files.names.get(name)
        other = self.intern(call.name, call.name) if call.name is not None else None
        self._emit(
            thread,
            call,
            path,
            file.number if file is not None else None,
            base.number if base is not None else None,
            other,
        )
        return found

    def _is_special(self, text: bytes, call: Call) -> bool:
        """A call that found a device, pipe or socket."""
        if call.result is None or call.result < 0:
            return False
        if call.stat is not None and call.stat.mode is not None:
            kind = call.stat.mode & 0o170000
            return kind not in (0o100000, 0o040000, 0o120000, 0)
        return is_device_name(text)

    def _open(self, thread: Thread, call: Call) -> None:
        if call.op == "creat":
            call.flags = _CREAT_FLAGS
        call.size = None
        if call.path is None:
            self._emit(thread, call)
            return
        base, text = self._resolve(thread, call.dirfd, call.dirfd_name, call.path)
        shown, succeeded = call.result_name, call.result is not None and call.result >= 0
        if text is None:
            return
        if succeeded and call.result is not None:
            thread.descriptors.drop(call.result)
            if not (is_recorded(shown) if shown is not None else not (is_pseudo(text) or is_device_name(text))):
                return
        elif is_pseudo(text):
            return
        path = self.intern(text, call.path)
        flags = call.flags or 0
        other = base.number if base is not None else None
        name = text if flags & os.O_NOFOLLOW else self._files.follow(text)
        if not succeeded or call.result is None:
            if call.result == -errno.ENOENT and name == text:
                self._files.miss(text)
            known = self._files.names.get(name)
            self._emit(thread, call, path, known.number if known is not None else None, None, other_open=other)
            return
        file = self._opened_file(name, shown, path, flags)
        if flags & os.O_DIRECTORY and not flags & _O_TMPFILE_BIT:
            file.type = "directory"
        elif flags & os.O_CREAT:
            file.type = file.type or "file"
        if flags & os.O_TRUNC and flags & os.O_ACCMODE and file.existed is not False:
            file.change(0)
        own = file.path if flags & _O_TMPFILE_BIT else path
        description = self._describe(file, own, shown or name, flags, 0)
        description.shown = shown or b""
        thread.descriptors.put(call.result, description, bool(flags & os.O_CLOEXEC))
        self._emit(thread, call, path, file.number, description.number, other_open=other)
        if b"/J" in text or b"/S" in text:
            self._opened_by(thread.process, text, bool(flags & os.O_ACCMODE))

    def _opened_file(self, name: bytes, shown: bytes | None, path: int, flags: int) -> File:
        files = self._files
        resolved = shown or name
        if flags & _O_TMPFILE_BIT:
            # a file without a name, in a folder whose name the call was given: the kernel shows it as folder/#inode
            bare = shown.removesuffix(b" (deleted)") if shown is not None else None
            return files.new(None, self.intern(bare, bare) if bare is not None else None, False)
        if resolved.endswith(b" (deleted)"):
            return files.new(None, path, True)
        if resolved != name and resolved not in files.names:
            alias = files.names.get(name)
            if alias is not None and alias.type != "link":
                files.names[resolved] = alias
        existed: bool | None = True
        if flags & os.O_CREAT and resolved not in files.names:
            existed = False if flags & os.O_EXCL or name in files.absent else files.created_at(resolved)
        files.absent.discard(name)
        if resolved not in files.names and resolved != self._path_text(path):
            # the event keeps the link's name, the file has that of what the link leads to
            path = self.intern(resolved, resolved)
        return files.at(resolved, path, existed)

    def _mkdir(self, thread: Thread, call: Call) -> None:
        _, text = self._resolve(thread, call.dirfd, call.dirfd_name, call.path or b"")
        if call.result == 0 and text is not None and text not in self._files.names and not is_pseudo(text):
            self._files.new(text, self.intern(text, call.path or b""), False).type = "directory"
        self._look(thread, call)

    def _unlink(self, thread: Thread, call: Call) -> None:
        if self._look(thread, call) is not None:
            _, text = self._resolve(thread, call.dirfd, call.dirfd_name, call.path or b"")
            if text is not None:
                self._files.remove(text)

    def _two_names(self, thread: Thread, call: Call) -> tuple[Any, ...] | None:
        base, old = self._resolve(thread, call.dirfd, call.dirfd_name, call.path or b"")
        base2, new = self._resolve(thread, call.dirfd2, call.dirfd2_name, call.path2 or b"")
        if old is None or new is None or is_pseudo(new):
            return None
        if is_pseudo(old) and self._opened_at(thread, call, old) is None:
            return None
        numbers = (base.number if base is not None else None, base2.number if base2 is not None else None)
        return base, old, new, self.intern(old, call.path or b""), self.intern(new, call.path2 or b""), *numbers

    def _opened_at(self, thread: Thread, call: Call, name: bytes) -> Description | None:
        """What a link made from /proc/self/fd/N links to: open(2) gives files of O_TMPFILE their names so."""
        match = _OF_PROCESS.fullmatch(name)
        if match is None or not (call.op == "linkat" and (call.flags or 0) & _AT_SYMLINK_FOLLOW):
            return None
        if match[1] is not None and int(match[1]) not in (thread.tid, thread.process.pid):
            return None
        return thread.descriptors.open.get(int(match[2]))

    def _rename(self, thread: Thread, call: Call) -> None:
        names = self._two_names(thread, call)
        if names is None:
            return
        _, old, new, path, other_path, base, base2 = names
        file = self._files.names.get(old)
        if call.result == 0:
            file = self._files.at(old, path)
            if (call.flags or 0) & _RENAME_EXCHANGE:
                self._files.at(new, other_path)
                self._files.exchange(old, new)
            elif old != new:
                self._files.move(old, new)
        elif call.result == -errno.ENOENT and file is None:
            self._files.miss(old)
        self._emit(thread, call, path, file.number if file is not None else None, base, other_path, other_open=base2)

    def _link(self, thread: Thread, call: Call) -> None:
        names = self._two_names(thread, call)
        if names is None:
            return
        folder, old, new, path, other_path, base, base2 = names
        if (call.flags or 0) & _AT_SYMLINK_FOLLOW and not is_pseudo(old):
            old = self._files.follow(old)
        file = self._files.names.get(old)
        if folder is not None and not call.path:
            file, path = folder.file, folder.path
        elif (source := self._opened_at(thread, call, old)) is not None:
            file = source.file
        if call.result == 0:
            file = file or self._files.at(old, path)
            self._files.link(file, new)
        self._emit(thread, call, path, file.number if file is not None else None, base, other_path, other_open=base2)

    def _symlink(self, thread: Thread, call: Call) -> None:
        base, text = self._resolve(thread, call.dirfd, call.dirfd_name, call.path or b"")
        if text is None or is_pseudo(text):
            return
        path, target = self.intern(text, call.path or b""), call.path2 or b""
        file = self._files.names.get(text)
        if call.result == 0:
            file = self._files.new(text, path, False)
            file.type, file.target = "link", target
            file.size = file.length = len(target)
        other = self.intern(target, target)
        self._emit(
            thread,
            call,
            path,
            file.number if file is not None else None,
            base.number if base is not None else None,
            other,
        )

    def _readlink(self, thread: Thread, call: Call) -> None:
        base, text = self._resolve(thread, call.dirfd, call.dirfd_name, call.path or b"")
        if text is None or is_pseudo(text) or self._is_special(text, call):
            return
        path, other = self.intern(text, call.path or b""), None
        file = self._files.names.get(text)
        if call.result is not None and call.result >= 0:
            file = self._files.at(text, path)
            file.type = "link"
            if call.text is not None:
                target = call.text[: call.result]
                other = self.intern(target, target)
                if call.size is None or call.result < call.size:
                    file.target = target
        elif call.result == -errno.ENOENT:
            self._files.miss(text)
        self._emit(
            thread,
            call,
            path,
            file.number if file is not None else None,
            base.number if base is not None else None,
            other,
        )

    def _truncate(self, thread: Thread, call: Call) -> None:
        file = self._look(thread, call)
        if file is not None:
            file.change(call.size)

    def _chdir(self, thread: Thread, call: Call) -> None:
        _, text = self._resolve(thread, None, None, call.path or b"")
        file = self._look(thread, call)
        if call.result == 0 and text is not None:
            thread.folder.cwd = text
            # no less a sign of its own folder than a file that it writes there
            self._opened_by(thread.process, text, True)
        if file is not None:
            file.type = file.type or "directory"

    def _fchdir(self, thread: Thread, call: Call) -> None:
        description = self._description(thread, call.fd, call.fd_name)
        if call.result == 0:
            thread.folder.cwd = (
                (description.file.where or description.text) if description is not None else call.fd_name or None
            )
        self._on_description(thread, call, description)

    def _umask(self, thread: Thread, call: Call) -> None:
        if call.mode is not None:
            thread.folder.umask = call.mode & 0o777
        self._emit(thread, call)

"""Calls on descriptors and mappings: which file each acts on, and where in it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Final

from iotrace.trace.assembly.calls import Call, is_recorded
from iotrace.trace.assembly.family import Family
from iotrace.trace.assembly.identity import File, Stat
from iotrace.trace.assembly.tasks import Description, Region, Thread
from iotrace.trace.operations import FCNTL_SETS, OPERATIONS, OWN_POSITION, Kind
from iotrace.trace.writer import TraceWriter

_F_SETFD, _F_SETFL, _F_DUPFD_CLOEXEC = 2, 4, 1030
_SETTABLE_FLAGS: Final = os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT
_CLOSE_RANGE_UNSHARE, _CLOSE_RANGE_CLOEXEC = 2, 4
_FALLOC_KEEP_SIZE, _FALLOC_MOVES = 0x1, 0x28
_RWF_APPEND, _RWF_NOAPPEND = 0x10, 0x20
_AT_POSITION: Final = frozenset(
    o.name
    for o in OPERATIONS
    if o.kind in (Kind.READ, Kind.WRITE) and o.result == "bytes" and "offset" not in o.arguments
) | {"preadv2", "pwritev2"}
_TAKES_OWN: Final = ("preadv2", "pwritev2")
"""With offset -1."""


class OnDescriptors(Family):
    """Tasks, and what their descriptors and mappings are.

    Attributes
    ----------
    unknown_descriptors: calls left out because the log shows neither what their descriptor is nor where it was opened.
    """

    def __init__(self, writer: TraceWriter, cwd: bytes | None, umask: int | None, probe_since_ns: int | None) -> None:
        super().__init__(writer, cwd, umask, probe_since_ns)
        self.unknown_descriptors = 0
        self._opens = 0
        self._page = writer.info.page_size

    def inherit(self, tid: int, fd: int, name: bytes, flags: int, position: int, stat: Stat) -> None:
        """A descriptor of the first process that was open before its exec."""
        thread = self._threads.get(tid) or self._new_thread(tid, self._new_process(tid, 0, None), None, 0)
        number = self.intern(name, name)
        file = self._files.at(name, number, True, stat)
        file.inherited_flags, file.inherited_offset = flags, position
        # what fork and dup share has one position: two descriptors of the same file opened alike are taken for one
        for description in thread.descriptors.open.values():
            if description.file == file and description.flags == flags and description.position == position:
                thread.descriptors.put(fd, description, False)
                return
        thread.descriptors.put(fd, self._describe(file, number, name, flags, position), False)

    def received(self, tid: int, descriptors: Iterable[tuple[int, bytes | None]], time_ns: int) -> None:
        """Descriptors that came from another process (SCM_RIGHTS, pidfd_getfd), with the names that the log shows."""
        thread = self._threads.get(tid) or self._newcomer(tid, time_ns)
        if thread is not None:
            for fd, name in descriptors:
                thread.descriptors.drop(fd)
                self._description(thread, fd, name)

    def _describe(self, file: File, path: int | None, text: bytes, flags: int, position: int | None) -> Description:
        description = Description(self._opens, file, path, text, flags, position)
        self._opens += 1
        return description

    def _description(self, thread: Thread, fd: int | None, name: bytes | None) -> Description | None:
        """The description behind a descriptor; None for what is not recorded.

        The table decides; the name that the log shows fills it where a descriptor came unseen.
        """
        if fd is None or fd < 0:
            return None
        description = thread.descriptors.open.get(fd)
        if name is None:
            if description is None:
                self.unknown_descriptors += 1
            return description
        if description is not None:
            if description.shown == name:
                return description
            found = self._files.names.get(name)
            if is_recorded(name) and (found is None or found == description.file):
                description.shown = name
                return description
            thread.descriptors.drop(fd)
        if not is_recorded(name):
            return None
        number = self.intern(name, name)
        if name.endswith(b" (deleted)"):
            file = self._files.new(None, number, True)
        else:
            file = self._files.at(name, number)
        description = self._describe(file, number, name, 0, None)
        description.shown = name
        thread.descriptors.put(fd, description, False)
        return description

    def _on_descriptor(self, thread: Thread, call: Call) -> None:
        self._on_description(thread, call, self._description(thread, call.fd, call.fd_name))

    def _on_description(self, thread: Thread, call: Call, description: Description | None) -> None:
        if description is None:
            return
        if call.stat is not None and call.result == 0:
            self._files.learn(description.file, call.stat)
        other = None
        if call.name is not None:
            other = self.intern(call.name, call.name)
        self._emit(thread, call, description.path, description.file.number, description.number, other)

    def _read(self, thread: Thread, call: Call) -> None:
        description = self._description(thread, call.fd, call.fd_name)
        if description is None:
            return
        moves = call.op in _AT_POSITION and (call.offset is None or call.offset == -1)
        if moves:
            self._note_own_position(call)
            call.offset = description.position
        if call.result is not None and call.result >= 0:
            file = description.file
            file.type = file.type or "file"
            if call.offset is not None:
                end = _sum(call.offset, call.result)
                if moves:
                    description.position = end
                # a short read of a regular file ends at its end
                if (
                    end is not None
                    and call.result
                    and call.size is not None
                    and call.result < call.size
                    and file.length is None
                ):
                    file.note_length(end)
        self._emit(thread, call, description.path, description.file.number, description.number)

    def _write(self, thread: Thread, call: Call) -> None:
        description = self._description(thread, call.fd, call.fd_name)
        if description is None:
            return
        moves = call.op in _AT_POSITION and (call.offset is None or call.offset == -1)
        appends = _appends(description, call.flags or 0 if call.op == "pwritev2" else 0)
        # a positioned write to what was opened to append goes to the end too (pwrite(2), Bugs)
        place = description.file.length if appends else description.position if moves else call.offset
        if moves:
            self._note_own_position(call)
            call.offset = place
        self._written(description, place, call.result, moves)
        self._emit(thread, call, description.path, description.file.number, description.number)

    def _note_own_position(self, call: Call) -> None:
        """Keep that the position was the description's own: the offset says only which that was."""
        if call.op in _TAKES_OWN:
            call.flags = (call.flags or 0) | OWN_POSITION

    def _written(self, description: Description, offset: int | None, result: int | None, moves: bool) -> None:
        if result is None or result < 0:
            return
        end = None if offset is None else _sum(offset, result)
        if end is None:
            description.file.change(None)
        elif result:
            description.file.grow(end)
        if moves and result:
            # writing nothing moves not even to the end that O_APPEND means
            description.position = end

    def _copy(self, thread: Thread, call: Call) -> None:
        source = self._description(thread, call.fd, call.fd_name)
        target = self._description(thread, call.fd2, call.fd2_name)
        if source is None and target is None:
            return
        moved = call.result if call.result is not None and call.result > 0 else 0
        if source is None:
            call.offset = None
        elif call.offset is None:
            call.offset = source.position
            if call.offset is not None:
                source.position = _sum(call.offset, moved)
        if target is None:
            call.offset2 = None
        else:
            moves = call.offset2 is None
            if moves:
                call.offset2 = target.file.length if _appends(target) else target.position
            self._written(target, call.offset2, call.result, moves)
        self._emit_copy(thread, call, source, target)

    def _clone(self, thread: Thread, call: Call) -> None:
        """FICLONE and FICLONERANGE: nothing is moved, and the positions of both stay where they are."""
        source = self._description(thread, call.fd, call.fd_name)
        target = self._description(thread, call.fd2, call.fd2_name)
        if source is None and target is None:
            return
        if not call.size:
            # up to the source's end
            length = source.file.length if source is not None else None
            call.size = max(0, length - call.offset) if length is not None and call.offset is not None else None
        if target is not None and call.result == 0:
            end = _sum(call.offset2, call.size) if call.offset2 is not None and call.size is not None else None
            if end is None:
                target.file.change(None)
            else:
                target.file.grow(end)
        if source is None:
            call.offset = None
        if target is None:
            call.offset2 = None
        self._emit_copy(thread, call, source, target)

    def _emit_copy(self, thread: Thread, call: Call, source: Description | None, target: Description | None) -> None:
        self._emit(
            thread, call,
            source.path if source else None, source.file.number if source else None, source.number if source else None,
            target.path if target else None, target.file.number if target else None, target.number if target else None,
        )  # fmt: skip

    def _close(self, thread: Thread, call: Call) -> None:
        description = self._description(thread, call.fd, call.fd_name)
        if description is None or call.fd is None:
            return
        thread.descriptors.drop(call.fd)
        if call.result != -errno.EBADF:
            self._emit(thread, call, description.path, description.file.number, description.number)

    def _close_range(self, thread: Thread, call: Call) -> None:
        if call.result == 0:
            first, last, flags = call.fd or 0, call.fd2 if call.fd2 is not None else 1 << 32, call.flags or 0
            if flags & _CLOSE_RANGE_UNSHARE:
                thread.descriptors = thread.descriptors.copy()
            if flags & _CLOSE_RANGE_CLOEXEC:
                thread.descriptors.close_on_exec.update(thread.descriptors.within(first, last))
            else:
                thread.descriptors.drop_range(first, last)
        self._emit(thread, call)

    def _dup(self, thread: Thread, call: Call) -> None:
        description = self._description(thread, call.fd, call.fd_name)
        if call.result is None or call.result < 0:
            if description is not None:
                self._emit(thread, call, description.path, description.file.number, description.number)
            return
        new = call.result
        closed = thread.descriptors.open.get(new) if new != call.fd else None
        if description is None:
            thread.descriptors.drop(new)
            if closed is not None and call.op != "fcntl.dupfd":
                # a pipe in a file's place: of interest for what it closed
                self._emit(thread, call, other_open=closed.number, other_file=closed.file.number)
            return
        if new != call.fd:
            if call.op == "fcntl.dupfd":
                close_on_exec = call.flags == _F_DUPFD_CLOEXEC
            else:
                close_on_exec = call.op == "dup3" and bool((call.flags or 0) & os.O_CLOEXEC)
            thread.descriptors.put(new, description, close_on_exec)
        self._emit(
            thread, call, description.path, description.file.number, description.number,
            other_open=closed.number if closed is not None else None,
            other_file=closed.file.number if closed is not None else None,
        )  # fmt: skip

    def _fcntl(self, thread: Thread, call: Call) -> None:
        value, call.size = call.size, None
        call.mode = value & 0x7FFFFFFF if value is not None and call.flags in FCNTL_SETS else 0
        if call.result == 0 and call.fd is not None and value is not None:
            description = thread.descriptors.open.get(call.fd)
            if call.flags == _F_SETFD:
                self.set_close_on_exec(call.tid, call.fd, bool(value & 1))
            elif call.flags == _F_SETFL and description is not None:
                description.flags = (description.flags & ~_SETTABLE_FLAGS) | (value & _SETTABLE_FLAGS)
        self._on_descriptor(thread, call)

    def _lock(self, thread: Thread, call: Call) -> None:
        description = thread.descriptors.open.get(call.fd) if call.fd is not None else None
        if call.whence and description is not None and call.offset is not None:
            start = description.position if call.whence == os.SEEK_CUR else description.file.length
            call.offset = start + call.offset if start is not None else None
        self._on_descriptor(thread, call)

    def _lseek(self, thread: Thread, call: Call) -> None:
        description = self._description(thread, call.fd, call.fd_name)
        if description is None:
            return
        if call.result is not None and call.result >= 0:
            description.position = call.result
            description.listed = 0 if call.result == 0 else -1
            if call.flags == os.SEEK_END and call.offset is not None and description.file.type == "file":
                length = _sum(call.result, -call.offset)
                if length is not None:
                    description.file.note_length(length)
        self._emit(thread, call, description.path, description.file.number, description.number)

    def _getdents(self, thread: Thread, call: Call) -> None:
        description = self._description(thread, call.fd, call.fd_name)
        if description is None:
            return
        if call.result is not None and call.result >= 0:
            file = description.file
            file.type = file.type or "directory"
            if call.entries is None:
                description.listed = -1
            elif call.result == 0:
                if file.entries is None and description.listed >= 0:
                    # `.` and `..` are no entries
                    file.entries = max(0, description.listed - 2)
            elif description.listed >= 0:
                description.listed += call.entries
        self._emit(thread, call, description.path, description.file.number, description.number)

    def _ftruncate(self, thread: Thread, call: Call) -> None:
        description = self._description(thread, call.fd, call.fd_name)
        if description is not None and call.result == 0:
            description.file.change(call.size)
        self._on_description(thread, call, description)

    def _fallocate(self, thread: Thread, call: Call) -> None:
        description = self._description(thread, call.fd, call.fd_name)
        if description is not None and call.result == 0 and call.offset is not None and call.size is not None:
            if (call.flags or 0) & _FALLOC_MOVES:
                description.file.change(None)
            elif not (call.flags or 0) & _FALLOC_KEEP_SIZE:
                description.file.grow(call.offset + call.size)
        self._on_description(thread, call, description)

    def _mmap(self, thread: Thread, call: Call) -> None:
        start, length = call.result, self._pages(call.size)
        succeeded = start is not None and start >= 0
        since = call.time_ns + (call.duration_ns or 0)
        description = self._description(thread, call.fd, call.fd_name)
        if description is None:
            if succeeded and start is not None:
                thread.memory.replace(start, length, since)
            return
        call.address = start if succeeded else None
        if succeeded and start is not None and length:
            thread.memory.add(
                Region(
                    start, start + length, description.file, description.path, description.number, call.offset or 0,
                    since,
                )
            )  # fmt: skip
        self._emit(thread, call, description.path, description.file.number, description.number)

    def _memory(self, thread: Thread, call: Call) -> None:
        length = self._pages(call.old_size if call.op == "mremap" else call.size)
        if call.address is None:
            return
        if call.op == "munmap" and call.result == 0:
            hit = thread.memory.unmap(call.address, length, call.time_ns)
        else:
            hit = thread.memory.find(call.address, length)
        if not hit:
            return
        region = hit[0]
        if call.op == "mremap" and call.result is not None and call.result >= 0:
            thread.memory.cut(call.address, length)
            offset = region.offset + max(0, call.address - region.start)
            new = Region(
                call.result, call.result + self._pages(call.size), region.file, region.path, region.open, offset,
                call.time_ns + (call.duration_ns or 0),
            )  # fmt: skip
            if new.end > new.start:
                thread.memory.add(new)
        self._emit(thread, call, region.path, region.file.number, region.open)

    def _pages(self, size: int | None) -> int:
        return -(-(size or 0) // self._page) * self._page


def _appends(description: Description, flags: int = 0) -> bool:
    """Whether a write goes to the end of the file; `flags`: of pwritev2."""
    return bool(flags & _RWF_APPEND) or (bool(description.flags & os.O_APPEND) and not flags & _RWF_NOAPPEND)


def _sum(one: int, other: int) -> int | None:
    """A position in a file; None beyond what a file can have."""
    value = one + other
    return value if value < 1 << 63 else None

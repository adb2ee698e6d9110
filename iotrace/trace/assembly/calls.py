"""One system call as an importer hands it over, and which names a trace leaves out."""

from __future__ import annotations

from typing import Final

from iotrace.trace.assembly.identity import Stat

AT_FDCWD: Final = -100


class Call:
    """One system call of a log; an attribute that the log does not tell, or the call does not take, stays None.

    Attributes
    ----------
    tid: thread id. op: name of the operation. time_ns, duration_ns: as the event columns.
    result: what it returned, -errno on failure; None while it ran at the log's end.
    fd, fd2, dirfd, dirfd2: descriptors; *_name: what the log shows them to be: an absolute path, b"" for a pipe,
        socket or device.
    result_name: the same for a returned descriptor.
    path, path2, name, text: names as given; `text` is a link's target.
    size, offset, offset2, count, address, flags, mode: as the event columns; old_size: of mremap.
    whence: of a lock. stat: what a stat told. entries: names that getdents returned. pid: process that a wait returned.
    arguments, environment: of an exec.
    cut_names, cut_arguments: how many names and texts, and arguments of an exec, the log shows only the beginning of;
        `name` and `text` are None then.
    """

    tid: int = 0
    op: str = ""
    time_ns: int = 0
    duration_ns: int | None = None
    result: int | None = None
    fd: int | None = None
    fd2: int | None = None
    dirfd: int | None = None
    dirfd2: int | None = None
    fd_name: bytes | None = None
    fd2_name: bytes | None = None
    dirfd_name: bytes | None = None
    dirfd2_name: bytes | None = None
    result_name: bytes | None = None
    path: bytes | None = None
    path2: bytes | None = None
    name: bytes | None = None
    text: bytes | None = None
    size: int | None = None
    old_size: int | None = None
    offset: int | None = None
    offset2: int | None = None
    count: int | None = None
    address: int | None = None
    flags: int | None = None
    mode: int | None = None
    whence: int | None = None
    stat: Stat | None = None
    entries: int | None = None
    pid: int | None = None
    arguments: list[bytes] | None = None
    environment: list[bytes] | None = None
    cut_names: int = 0
    cut_arguments: int = 0


def is_pseudo(text: bytes) -> bool:
    """Whether an absolute name lies in /proc or /sys."""
    return text.startswith((b"/proc", b"/sys")) and (
        text[5:6] in (b"/", b"") if text[1] == 112 else text[4:5] in (b"/", b"")
    )


def is_device_name(text: bytes) -> bool:
    """Whether an absolute name lies in /dev, where only /dev/shm and /dev/hugepages hold files."""
    return text.startswith(b"/dev/") and not text.startswith((b"/dev/shm/", b"/dev/hugepages/")) and text != b"/dev/shm"


def is_recorded(name: bytes) -> bool:
    """Whether what a log shows for a descriptor is a regular file or folder that a trace holds."""
    return (
        name.startswith(b"/")
        and not is_pseudo(name)
        and not is_device_name(name)
        and not name.startswith((b"/memfd:", b"/anon_hugepage", b"/[", b"/dmabuf:", b"/SYSV"))
    )

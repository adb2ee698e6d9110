"""The one table of operations: what each system call is called, does, takes, and how it is replayed.

Recorder, importers, replayer, summaries and docs take theirs from here; adding a system call is adding a row.

A row's `arguments` names the role of each argument in order, as in the call's man page (section 2); `-` is an argument
that nobody needs. Roles:

    fd  fd2             descriptor that the call acts on; second descriptor (the destination of a copy)
    dirfd  dirfd2       folder that `path` / `path2` is relative to, or AT_FDCWD
    path  path2         a path; for symlink `path2` is the target's text
    name                a name that is not a path (extended attribute)
    size  offset        bytes asked for; position in the file
    offset_at           address of the position in `fd` (NULL: the file's own position)
    offset2_at          address of the position in `fd2`
    flags  mode         flags, command or advice; permission bits, protection, argument of F_SETFD and F_SETFL
    address             memory address (mmap, munmap, msync, madvise)
    iovec  count        address and number of vectors
    buffer              memory that the call fills or takes
    stat  statx         buffer that the call fills with a struct stat / statx
    how                 address of a struct open_how (openat2)
    lock                address of a struct flock (fcntl)
    range               address of a struct file_clone_range (ioctl): `fd`, its offset, the size, the offset in `fd2`
    text                buffer that the call fills with a link's target

The call numbers are those of arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux
6.18.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """Class of an operation: what it asks of the storage."""

    READ = "read"
    WRITE = "write"
    COPY = "copy"
    METADATA = "metadata"
    SYNC = "sync"
    MAP = "map"
    LOCK = "lock"
    PROCESS = "process"


class Replay(StrEnum):
    """How a replay treats an operation."""

    CALL = "call"
    """the recorded call itself is issued, on the generated name"""
    REQUEST = "request"
    """a request to a ring of the replay's own, or the call that does the same"""
    TOUCH = "touch"
    """the page is touched in the replay's own mapping"""
    ORDER = "order"
    """nothing is issued; it orders the threads"""
    NEVER = "never"
    """left out for safety or because it has no effect on storage; its time counts as think time"""


class Change(StrEnum):
    """What an operation does to names and inodes, where its kind does not tell."""

    NOTHING = ""
    MAKES = "makes a name"
    REMOVES = "removes a name"
    RENAMES = "renames"
    RESIZES = "changes size or allocation"
    ATTRIBUTES = "sets owner, permissions or an extended attribute"
    TIMES = "sets times"


ROLES: Final = (
    "fd", "fd2", "dirfd", "dirfd2", "path", "path2", "name", "size", "offset", "offset_at", "offset2_at",
    "flags", "mode", "address", "iovec", "count", "buffer", "stat", "statx", "how", "lock", "range", "text", "owner",
    "group",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """One row.

    Attributes
    ----------
    name: the `op` column: the system call's name as strace prints it, or a dotted name for what is not a call.
    kind: class.
    arguments: role of each argument, in order ("-" for none).
    replay: how a replay treats it.
    x86_64, aarch64: call number, None where the architecture lacks the call.
    result: "bytes", "fd" (a new descriptor), "address", "position", "pid" or "status" (0).
    change: what it does to a name or an inode; an open may make a file too, as its flags say.
    calls: the system calls that this row stands for, where that is not `name` alone.
    """

    name: str
    kind: Kind
    arguments: tuple[str, ...]
    replay: Replay
    x86_64: int | None
    aarch64: int | None
    result: str = "status"
    calls: tuple[str, ...] = ()
    change: Change = Change.NOTHING

    def argument(self, role: str) -> int | None:
        """Position (0 to 5) of the argument with this role; None when the call has none."""
        return self.arguments.index(role) if role in self.arguments else None


def _row(
    name: str,
    kind: Kind,
    arguments: str,
    x86_64: int | None,
    aarch64: int | None,
    result: str = "status",
    replay: Replay = Replay.CALL,
    calls: str = "",
    change: Change = Change.NOTHING,
) -> Operation:
    roles = tuple(arguments.split())
    unknown = set(roles) - set(ROLES) - {"-"}
    if unknown:
        raise ValueError(f"{name}: unknown roles {unknown}")
    return Operation(name, kind, roles, replay, x86_64, aarch64, result, tuple(calls.split()) or (name,), change)


_M, _R, _W = Kind.METADATA, Kind.READ, Kind.WRITE

OPERATIONS: Final[tuple[Operation, ...]] = (
    # opening and closing
    _row("open", _M, "path flags mode", 2, None, "fd"),
    _row("openat", _M, "dirfd path flags mode", 257, 56, "fd"),
    _row("openat2", _M, "dirfd path how size", 437, 437, "fd"),
    _row("creat", _M, "path mode", 85, None, "fd", change=Change.MAKES),
    _row("close", _M, "fd", 3, 57),
    _row("close_range", _M, "- - flags", 436, 436),
    _row("dup", _M, "fd", 32, 23, "fd"),
    _row("dup2", _M, "fd fd2", 33, None, "fd"),
    _row("dup3", _M, "fd fd2 flags", 292, 24, "fd"),
    _row("fcntl", _M, "fd flags mode", 72, 25),
    _row("fcntl.dupfd", _M, "fd flags -", None, None, "fd", calls="fcntl"),
    # reading
    _row("read", _R, "fd buffer size", 0, 63, "bytes"),
    _row("pread64", _R, "fd buffer size offset", 17, 67, "bytes"),
    _row("readv", _R, "fd iovec count", 19, 65, "bytes"),
    _row("preadv", _R, "fd iovec count offset", 295, 69, "bytes"),
    _row("preadv2", _R, "fd iovec count offset - flags", 327, 286, "bytes"),
    _row("readahead", _R, "fd offset size", 187, 213),
    # writing
    _row("write", _W, "fd buffer size", 1, 64, "bytes"),
    _row("pwrite64", _W, "fd buffer size offset", 18, 68, "bytes"),
    _row("writev", _W, "fd iovec count", 20, 66, "bytes"),
    _row("pwritev", _W, "fd iovec count offset", 296, 70, "bytes"),
    _row("pwritev2", _W, "fd iovec count offset - flags", 328, 287, "bytes"),
    # copying inside the kernel: `file` is the source, `other_file` the destination
    _row("sendfile", Kind.COPY, "fd2 fd offset_at size", 40, 71, "bytes"),
    _row("copy_file_range", Kind.COPY, "fd offset_at fd2 offset2_at size flags", 326, 285, "bytes"),
    _row("splice", Kind.COPY, "fd offset_at fd2 offset2_at size flags", 275, 76, "bytes"),
    # the file system lets the destination have the source's blocks: nothing is moved
    _row("ioctl.ficlone", Kind.COPY, "fd2 - fd", None, None, calls="ioctl"),
    _row("ioctl.ficlonerange", Kind.COPY, "fd2 - range", None, None, calls="ioctl"),
    # position
    _row("lseek", _M, "fd offset flags", 8, 62, "position"),
    # looking
    _row("stat", _M, "path stat", 4, None),
    _row("lstat", _M, "path stat", 6, None),
    _row("fstat", _M, "fd stat", 5, 80),
    _row("newfstatat", _M, "dirfd path stat flags", 262, 79),
    _row("statx", _M, "dirfd path flags mode statx", 332, 291),
    _row("statfs", _M, "path buffer", 137, 43),
    _row("fstatfs", _M, "fd buffer", 138, 44),
    _row("access", _M, "path mode", 21, None),
    _row("faccessat", _M, "dirfd path mode", 269, 48),
    _row("faccessat2", _M, "dirfd path mode flags", 439, 439),
    _row("getdents", _M, "fd buffer size", 78, None, "bytes"),
    _row("getdents64", _M, "fd buffer size", 217, 61, "bytes"),
    _row("readlink", _M, "path text size", 89, None, "bytes"),
    _row("readlinkat", _M, "dirfd path text size", 267, 78, "bytes"),
    # names
    _row("mkdir", _M, "path mode", 83, None, change=Change.MAKES),
    _row("mkdirat", _M, "dirfd path mode", 258, 34, change=Change.MAKES),
    _row("rmdir", _M, "path", 84, None, change=Change.REMOVES),
    _row("unlink", _M, "path", 87, None, change=Change.REMOVES),
    _row("unlinkat", _M, "dirfd path flags", 263, 35, change=Change.REMOVES),
    _row("rename", _M, "path path2", 82, None, change=Change.RENAMES),
    _row("renameat", _M, "dirfd path dirfd2 path2", 264, 38, change=Change.RENAMES),
    _row("renameat2", _M, "dirfd path dirfd2 path2 flags", 316, 276, change=Change.RENAMES),
    _row("link", _M, "path path2", 86, None, change=Change.MAKES),
    _row("linkat", _M, "dirfd path dirfd2 path2 flags", 265, 37, change=Change.MAKES),
    _row("symlink", _M, "path2 path", 88, None, change=Change.MAKES),
    _row("symlinkat", _M, "path2 dirfd path", 266, 36, change=Change.MAKES),
    # size and allocation
    _row("truncate", _M, "path size", 76, 45, change=Change.RESIZES),
    _row("ftruncate", _M, "fd size", 77, 46, change=Change.RESIZES),
    _row("fallocate", _M, "fd flags offset size", 285, 47, change=Change.RESIZES),
    _row("fadvise64", _M, "fd offset size flags", 221, 223),
    # reaching the disk
    _row("fsync", Kind.SYNC, "fd", 74, 82),
    _row("fdatasync", Kind.SYNC, "fd", 75, 83),
    _row("sync_file_range", Kind.SYNC, "fd offset size flags", 277, 84),
    _row("syncfs", Kind.SYNC, "fd", 306, 267),
    _row("sync", Kind.SYNC, "", 162, 81, replay=Replay.NEVER),
    # attributes; owners are never replayed
    _row("chmod", _M, "path mode", 90, None, change=Change.ATTRIBUTES),
    _row("fchmod", _M, "fd mode", 91, 52, change=Change.ATTRIBUTES),
    _row("fchmodat", _M, "dirfd path mode", 268, 53, change=Change.ATTRIBUTES),
    _row("fchmodat2", _M, "dirfd path mode flags", 452, 452, change=Change.ATTRIBUTES),
    _row("chown", _M, "path owner group", 92, None, change=Change.ATTRIBUTES),
    _row("lchown", _M, "path owner group", 94, None, change=Change.ATTRIBUTES),
    _row("fchown", _M, "fd owner group", 93, 55, change=Change.ATTRIBUTES),
    _row("fchownat", _M, "dirfd path owner group flags", 260, 54, change=Change.ATTRIBUTES),
    _row("utime", _M, "path -", 132, None, change=Change.TIMES),
    _row("utimes", _M, "path -", 235, None, change=Change.TIMES),
    _row("futimesat", _M, "dirfd path -", 261, None, change=Change.TIMES),
    _row("utimensat", _M, "dirfd path - flags", 280, 88, change=Change.TIMES),
    _row("setxattr", _M, "path name buffer size flags", 188, 5, change=Change.ATTRIBUTES),
    _row("lsetxattr", _M, "path name buffer size flags", 189, 6, change=Change.ATTRIBUTES),
    _row("fsetxattr", _M, "fd name buffer size flags", 190, 7, change=Change.ATTRIBUTES),
    _row("getxattr", _M, "path name buffer size", 191, 8, "bytes"),
    _row("lgetxattr", _M, "path name buffer size", 192, 9, "bytes"),
    _row("fgetxattr", _M, "fd name buffer size", 193, 10, "bytes"),
    _row("listxattr", _M, "path buffer size", 194, 11, "bytes"),
    _row("llistxattr", _M, "path buffer size", 195, 12, "bytes"),
    _row("flistxattr", _M, "fd buffer size", 196, 13, "bytes"),
    _row("removexattr", _M, "path name", 197, 14, change=Change.ATTRIBUTES),
    _row("lremovexattr", _M, "path name", 198, 15, change=Change.ATTRIBUTES),
    _row("fremovexattr", _M, "fd name", 199, 16, change=Change.ATTRIBUTES),
    # locks
    _row("fcntl.lock", Kind.LOCK, "fd flags lock", None, None, calls="fcntl"),
    _row("flock", Kind.LOCK, "fd flags", 73, 32),
    # memory
    _row("mmap", Kind.MAP, "address size mode flags fd offset", 9, 222, "address"),
    _row("munmap", Kind.MAP, "address size", 11, 215),
    _row("mremap", Kind.MAP, "address - size flags -", 25, 216, "address", replay=Replay.NEVER),
    _row("msync", Kind.MAP, "address size flags", 26, 227),
    _row("madvise", Kind.MAP, "address size flags", 28, 233),
    _row("mmap.fault", Kind.MAP, "", None, None, "bytes", replay=Replay.TOUCH, calls=" "),
    # submitted at one moment, completed at another: io_uring and libaio
    *(
        _row(name, kind, roles, None, None, result, Replay.REQUEST if name != "uring.splice" else Replay.NEVER, " ")
        for name, kind, roles, result in (
            ("uring.read", _R, "fd buffer size offset flags count", "bytes"),
            ("uring.write", _W, "fd buffer size offset flags count", "bytes"),
            ("uring.fsync", Kind.SYNC, "fd offset size flags", "status"),
            ("uring.sync_file_range", Kind.SYNC, "fd offset size flags", "status"),
            ("uring.fallocate", _M, "fd mode offset size", "status"),
            ("uring.ftruncate", _M, "fd size", "status"),
            ("uring.fadvise", _M, "fd offset size flags", "status"),
            ("uring.openat", _M, "dirfd path flags mode", "fd"),
            ("uring.close", _M, "fd", "status"),
            ("uring.statx", _M, "dirfd path flags mode", "status"),
            ("uring.renameat", _M, "dirfd path dirfd2 path2 flags", "status"),
            ("uring.linkat", _M, "dirfd path dirfd2 path2 flags", "status"),
            ("uring.unlinkat", _M, "dirfd path flags", "status"),
            ("uring.mkdirat", _M, "dirfd path mode", "status"),
            ("uring.splice", Kind.COPY, "fd offset fd2 size flags", "bytes"),
            ("aio.read", _R, "fd buffer size offset flags count", "bytes"),
            ("aio.write", _W, "fd buffer size offset flags count", "bytes"),
            ("aio.fsync", Kind.SYNC, "fd", "status"),
            ("aio.fdatasync", Kind.SYNC, "fd", "status"),
        )
    ),
    # processes
    _row("chdir", _M, "path", 80, 49),
    _row("fchdir", _M, "fd", 81, 50),
    _row("umask", Kind.PROCESS, "mode", 95, 166, "mode"),
    _row("fork", Kind.PROCESS, "", None, None, "pid", Replay.ORDER, "fork vfork clone clone3"),
    _row("exec", Kind.PROCESS, "", None, None, "status", Replay.ORDER, "execve execveat"),
    _row("wait", Kind.PROCESS, "", None, None, "pid", Replay.ORDER, "wait4 waitid"),
    _row("exit", Kind.PROCESS, "", None, None, "status", Replay.ORDER, "exit exit_group"),
    # what other tools only add up: calls of C's streams, which are none of the kernel's, and time without its calls
    *(
        _row(name, kind, roles, None, None, result, Replay.NEVER, " ")
        for name, kind, roles, result in (
            ("stdio.open", _M, "", "status"),
            ("stdio.read", _R, "buffer size", "bytes"),
            ("stdio.write", _W, "buffer size", "bytes"),
            ("stdio.seek", _M, "", "status"),
            ("stdio.flush", _M, "", "status"),
            ("counted.metadata", _M, "", "status"),
        )
    ),
)

BY_NAME: Final = {operation.name: operation for operation in OPERATIONS}
NUMBER_OF: Final = {operation.name: number for number, operation in enumerate(OPERATIONS)}
"""Position in OPERATIONS; recorder's and replayer's own small number for an operation, never stored in a trace."""

PROCESS_CALLS: Final = {
    # name: (x86_64, aarch64, operation); calls that begin, change, await or end a process
    "clone": (56, 220, "fork"),
    "fork": (57, None, "fork"),
    "vfork": (58, None, "fork"),
    "clone3": (435, 435, "fork"),
    "execve": (59, 221, "exec"),
    "execveat": (322, 281, "exec"),
    "wait4": (61, 260, "wait"),
    "waitid": (247, 95, "wait"),
}

URING_OPCODES: Final[dict[int, tuple[str, str]]] = {
    1: ("uring.read", "vectored"), 4: ("uring.read", "rw"), 22: ("uring.read", "rw"), 60: ("uring.read", "vectored"),
    2: ("uring.write", "vectored"), 5: ("uring.write", "rw"), 23: ("uring.write", "rw"),
    61: ("uring.write", "vectored"),
    3: ("uring.fsync", "sync"), 8: ("uring.sync_file_range", "range"), 17: ("uring.fallocate", "range"),
    55: ("uring.ftruncate", "cuts"), 24: ("uring.fadvise", "advises"),
    18: ("uring.openat", "opens"), 28: ("uring.openat", "opens"), 19: ("uring.close", "closes"),
    21: ("uring.statx", "stats"), 35: ("uring.renameat", "renames"), 39: ("uring.linkat", "renames"),
    36: ("uring.unlinkat", "removes"), 37: ("uring.mkdirat", "makes"), 30: ("uring.splice", "splices"),
}  # fmt: skip
"""Opcode of io_uring (include/uapi/linux/io_uring.h) → operation, and what its request holds."""

AIO_OPCODES: Final[dict[int, tuple[str, str]]] = {
    0: ("aio.read", "rw"), 7: ("aio.read", "vectored"), 1: ("aio.write", "rw"), 8: ("aio.write", "vectored"),
    2: ("aio.fsync", "sync"), 3: ("aio.fdatasync", "sync"),
}  # fmt: skip
"""Opcode of libaio (include/uapi/linux/aio_abi.h) → operation, and what its control block holds."""

CALL_OF_REQUEST: Final = {
    "uring.read": "pread64", "uring.write": "pwrite64", "uring.fsync": "fsync",
    "uring.sync_file_range": "sync_file_range", "uring.fallocate": "fallocate", "uring.ftruncate": "ftruncate",
    "uring.fadvise": "fadvise64", "uring.openat": "openat", "uring.close": "close", "uring.statx": "statx",
    "uring.renameat": "renameat2", "uring.linkat": "linkat", "uring.unlinkat": "unlinkat", "uring.mkdirat": "mkdirat",
    "aio.read": "pread64", "aio.write": "pwrite64", "aio.fsync": "fsync", "aio.fdatasync": "fdatasync",
}  # fmt: skip
"""Request → the call that does the same, with the same arguments."""

IOCTL: Final = (16, 29)
"""Number of ioctl (x86_64, aarch64), which is an operation with two of its commands only."""
CLONES: Final = {0x40049409: "ioctl.ficlone", 0x4020940D: "ioctl.ficlonerange"}
"""Commands of ioctl that are operations: FICLONE and FICLONERANGE (linux/fs.h)."""

RING_CALLS: Final = {
    # name: (x86_64, aarch64, what it does); they carry operations and are none themselves
    "io_submit": (209, 2, "submit"),
    "io_getevents": (208, 4, "reap"),
    "io_pgetevents": (333, 292, "reap"),
    "io_uring_enter": (426, 426, "enter_ring"),
}

OWN_POSITION: Final = 1 << 30
"""In `flags` of preadv2 and pwritev2, where no RWF_ flag is: asked for offset -1, the description's own position."""

FCNTL_LOCK_COMMANDS: Final = (5, 6, 7, 36, 37, 38)
"""F_GETLK, F_SETLK, F_SETLKW and their open-file-description forms (fcntl.h)."""
FCNTL_DUP_COMMANDS: Final = (0, 1030)
"""F_DUPFD, F_DUPFD_CLOEXEC."""
FCNTL_SETS: Final = (2, 4)
"""F_SETFD and F_SETFL, whose argument a trace keeps."""


def fcntl_operation(command: int) -> str:
    """Name of the operation that fcntl() with this command is."""
    if command in FCNTL_LOCK_COMMANDS:
        return "fcntl.lock"
    return "fcntl.dupfd" if command in FCNTL_DUP_COMMANDS else "fcntl"


def operation_of_call(call: str, command: int = 0) -> Operation | None:
    """The row for a system call's name as strace prints it; None when the table does not hold it.

    `command` tells the forms of fcntl and ioctl apart.
    """
    if call in PROCESS_CALLS:
        return BY_NAME[PROCESS_CALLS[call][2]]
    if call in ("exit", "exit_group"):
        return BY_NAME["exit"]
    if call == "fcntl":
        return BY_NAME[fcntl_operation(command)]
    if call == "ioctl":
        return BY_NAME.get(CLONES.get(command, ""))
    return BY_NAME.get(call)

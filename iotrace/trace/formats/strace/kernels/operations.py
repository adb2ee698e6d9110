"""What the kernels know of the operations: a class for what is done with a call, a role for each of its arguments."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.trace.operations import OPERATIONS

# classes of calls, by what is done with them
(
    K_PYTHON, K_READ, K_WRITE, K_CLOSE, K_LSEEK, K_GETDENTS, K_FD, K_PATH, K_UNLINK, K_READLINK, K_OPEN,
    K_DUP, K_FCNTL, K_MMAP, K_MEMORY,
) = range(15)  # fmt: skip
_CLASSES: Final = {
    K_READ: ("read", "pread64", "readv", "preadv"),
    K_WRITE: ("write", "pwrite64", "writev", "pwritev"),
    K_CLOSE: ("close",),
    K_LSEEK: ("lseek",),
    K_GETDENTS: ("getdents", "getdents64"),
    K_FD: ("fstat", "fstatfs", "fsync", "fdatasync", "fadvise64", "flock", "fchmod", "readahead", "sync_file_range",
        "fgetxattr", "flistxattr", "ftruncate"),
    K_PATH: (
        "stat", "lstat", "newfstatat", "statx", "statfs", "access", "faccessat", "faccessat2", "chmod", "fchmodat",
        "utimensat", "getxattr", "lgetxattr", "listxattr", "llistxattr",
    ),
    K_UNLINK: ("unlink", "unlinkat", "rmdir"),
    K_READLINK: ("readlink", "readlinkat"),
    K_OPEN: ("open", "openat"),
    K_DUP: ("dup", "dup2", "dup3"),
    K_FCNTL: ("fcntl",),
    K_MMAP: ("mmap",),
    K_MEMORY: ("munmap", "msync", "madvise"),
}  # fmt: skip
CLASS_OF: Final = {name: kind for kind, names in _CLASSES.items() for name in names}
_ROLE_NAMES: Final = (
    "-", "fd", "dirfd", "path", "size", "offset", "flags", "mode", "address", "stat", "buffer", "fd2", "text",
    "name", "iovec", "count",
)  # fmt: skip
(
    R_SKIP, R_FD, R_DIRFD, R_PATH, R_SIZE, R_OFFSET, R_FLAGS, R_MODE, R_ADDRESS, R_STAT, R_BUFFER, R_FD2,
    R_TEXT, R_NAME, R_IOVEC, R_COUNT, R_ENTRIES, R_FCNTL,
) = range(18)  # fmt: skip
_SAME: Final = {"statx": "stat", "owner": "-", "group": "-"}
"""Roles that are read as another one."""
ARGUMENTS: Final = 6
OP_FIELDS: Final = ARGUMENTS + 3
"""Of an operation: roles of its arguments (-1: none), class, whether it returns a descriptor, names a link."""
_NAMES_LINK: Final = ("lstat", "lgetxattr", "llistxattr", "readlink", "readlinkat", "unlink", "unlinkat", "rmdir")
_FLAG_NAMES_LINK: Final = ("newfstatat", "statx", "utimensat", "faccessat2")
IOCTL, RECVMSG = -2, -3
"""In place of the operation: calls that are none, and seldom change descriptors."""


def op_table() -> np.ndarray[Any, np.dtype[np.int64]]:
    """What the kernel knows of each operation: int64 of shape (operations, OP_FIELDS)."""
    table = np.full((len(OPERATIONS), OP_FIELDS), -1, np.int64)
    for number, operation in enumerate(OPERATIONS):
        name = operation.name
        kind = CLASS_OF.get(name, K_PYTHON)
        roles = [_SAME.get(role, role) for role in operation.arguments]
        if kind != K_PYTHON:
            table[number, : len(roles)] = [_ROLE_NAMES.index(role) for role in roles]
        if kind == K_GETDENTS:
            table[number, 1] = R_ENTRIES
        if kind == K_FCNTL:
            table[number, 2] = R_FCNTL
        table[number, ARGUMENTS] = kind
        table[number, ARGUMENTS + 1] = operation.result in ("fd", "address")
        table[number, ARGUMENTS + 2] = 1 if name in _NAMES_LINK else 2 if name in _FLAG_NAMES_LINK else 0
    return table

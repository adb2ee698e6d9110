"""The frequent lines of a strace log, from bytes to rows of events: one Numba loop.

It takes whole lines by address and the tables of strace_state.py; it does what strace_lines.py, strace_calls.py and the
handlers of iotrace.trace.assembly do for the calls that most logs are made of, and leaves every line of which it is not
certain, untouched, to those. It is strict about form: what strace would not print in just that way is such a line. The
forms are those of strace(1), the calls those of section 2.

Tables are reached by address, through one header (see iotrace/record/ebpf/drain.py). Kernels, intrinsics and the
constants that they use stand in this one file because Numba's cache does not notice a change in another one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from iotrace.compiling import compiled
from iotrace.trace.operations import NUMBER_OF, OPERATIONS
from iotrace.trace.schema import EVENT_COLUMNS

NULL: Final = -(2**63)
COLUMNS: Final = len(EVENT_COLUMNS)
BATCH_ROWS: Final = 1 << 14
"""Rows at which the Python side is called to write them."""

# the header: counters and the log's state, then address and room of each table
(
    ROWS, NAMES, BLOB, PATHS, FILES, OPENS, FREE_OPEN, OPEN_TOP, DIRTY, INODES, TIMED, MEASURED, DECORATED, LAST_NS,
    BEFORE, BASE, LINES, UNDERSTOOD, UNKNOWN_FDS, UNKNOWN_FOLDERS, PAGE_BYTES, PROBES, LABELS, AT, LINE_END,
    PENDING_FREE, HEAP, RUNS, OUT, WANTS,
) = range(30)  # fmt: skip
(
    EVENT_TABLE, NAME_TABLE, NAME_SLOTS, BLOB_BYTES, PATH_TABLE, PATH_SLOTS, FILE_TABLE, OPEN_TABLE, DIRTY_TABLE,
    INODE_SLOTS, THREAD_TABLE, THREAD_OF, FD_TABLE, FOLDER_TABLE, MEMORY_TABLE, PROCESS_TABLE, PENDING_TABLE,
    PENDING_OF, PENDING_BYTES, CALL, SCRATCH, WORDS, OP_TABLE,
) = range(32, 78, 2)  # fmt: skip
HEADER_WORDS: Final = 80

# fields of the tables, in words of 64 bits
N_BEGIN, N_LENGTH, N_FILE, N_ABSENT = range(4)
P_NAME, P_RAW, P_LENGTH = range(3)
(
    F_PATH, F_WHERE, F_EXISTED, F_DEVICE, F_INODE, F_TYPE, F_SIZE, F_BLOCKS, F_MODE, F_ENTRIES, F_TARGET,
    F_TARGET_LENGTH, F_INHERITED_FLAGS, F_INHERITED_OFFSET, F_LENGTH, F_LINKS, F_BITS,
) = range(17)  # fmt: skip
O_NUMBER, O_FILE, O_PATH, O_TEXT, O_FLAGS, O_POSITION, O_SHOWN, O_LISTED, O_REFS, O_NEXT = range(10)
T_NUMBER, T_PROCESS, T_FDS, T_FOLDER, T_MEMORY = range(5)
NAME_FIELDS, PATH_FIELDS, FILE_FIELDS, OPEN_FIELDS, THREAD_FIELDS = 4, 3, 17, 10, 5
FD_ADDRESS, FD_ROOM = range(2)
M_ADDRESS, M_COUNT, M_ROOM = range(3)
R_START, R_END, R_FILE, R_PATH, R_OPEN, R_OFFSET = range(6)
FD_FIELDS, MEMORY_FIELDS, REGION_FIELDS = 2, 3, 6
W_TIME, W_NAME, W_LENGTH = range(3)
PENDING_FIELDS: Final = 3
PENDING_ROOM: Final = 1024
"""Bytes kept of a call that waits to be resumed; a longer one waits on the Python side."""
IN_PYTHON: Final = (1 << 31) - 1
"""In place of the row of a call that waits: it is one of those."""
CHANGED, WRITTEN, IS_DIRTY = 1, 2, 4
FILE_TYPE, DIRECTORY_TYPE, LINK_TYPE, OTHER_TYPE = range(4)
GONE: Final = -2
"""In place of a file's number in the table of inodes: no longer."""

MAX_PID: Final = 1 << 22
MAX_FD: Final = 1 << 16
LINE_ROOM: Final = 1 << 16
"""Longer lines are left to Python."""
_TEXT_ROOM: Final = 1 << 14
SCRATCH_BYTES: Final = 4 * LINE_ROOM
SPARE: Final = 16
"""Entries that each table has free before a line is read."""

DONE, TO_PYTHON, TO_FLUSH, TO_GROW = range(4)
MERGED, MERGE_FULL, MERGE_WANTS = range(3)
# of each of several logs: its buffer's next byte and end, its next line's end and time, its thread, whether all is read
L_AT, L_END, L_LINE, L_TIME, L_PID, L_DONE = range(6)
LOG_FIELDS, RUN_FIELDS = 6, 3

# the call in the making
(
    C_OP, C_CLASS, C_TID, C_CLOCK, C_TIME, C_BEFORE, C_THREAD, C_RESUMED, C_DURATION, C_RESULT, C_RNAME, C_RNAME_LENGTH,
    C_FD, C_FDN, C_FDN_LENGTH, C_DIRFD, C_DIRN, C_DIRN_LENGTH, C_PATH, C_PATH_LENGTH, C_SIZE, C_OFFSET, C_FLAGS, C_MODE,
    C_ADDRESS, C_ENTRIES, C_STAT, C_ST_MODE, C_ST_SIZE, C_ST_DEVICE, C_ST_INODE, C_ST_BLOCKS, C_ST_LINKS, C_AT, C_ODD,
    C_SPECIAL, C_TEXT, C_TEXT_LENGTH, C_BASE, C_MISSED, C_NAME,
    C_NAME_LENGTH, C_OTHER, C_COUNT,
) = range(44)  # fmt: skip
CALL_WORDS: Final = 48
_NO_CLOCK, _DAY, _ABSOLUTE, _RELATIVE = range(4)

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
    _R_SKIP, _R_FD, _R_DIRFD, _R_PATH, _R_SIZE, _R_OFFSET, _R_FLAGS, _R_MODE, _R_ADDRESS, _R_STAT, _R_BUFFER, _R_FD2,
    _R_TEXT, _R_NAME, _R_IOVEC, _R_COUNT, _R_ENTRIES, _R_FCNTL,
) = range(18)  # fmt: skip
_SAME: Final = {"statx": "stat", "owner": "-", "group": "-"}
"""Roles that are read as another one."""
ARGUMENTS: Final = 6
OP_FIELDS: Final = ARGUMENTS + 3
"""Of an operation: roles of its arguments (-1: none), class, whether it returns a descriptor, names a link."""
_NAMES_LINK: Final = ("lstat", "lgetxattr", "llistxattr", "readlink", "readlinkat", "unlink", "unlinkat", "rmdir")
_FLAG_NAMES_LINK: Final = ("newfstatat", "statx", "utimensat", "faccessat2")


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
            table[number, 1] = _R_ENTRIES
        if kind == K_FCNTL:
            table[number, 2] = _R_FCNTL
        table[number, ARGUMENTS] = kind
        table[number, ARGUMENTS + 1] = operation.result in ("fd", "address")
        table[number, ARGUMENTS + 2] = 1 if name in _NAMES_LINK else 2 if name in _FLAG_NAMES_LINK else 0
    return table


_C: Final = {column.name: number for number, column in enumerate(EVENT_COLUMNS)}
(
    _TIME_C, _DURATION_C, _PROCESS_C, _THREAD_C, _OP_C, _PATH_C, _OTHER_PATH_C, _FILE_C, _OTHER_FILE_C, _OPEN_C,
    _OTHER_OPEN_C, _OFFSET_C, _SIZE_C, _COUNT_C, _ADDRESS_C, _FLAGS_C, _MODE_C, _RESULT_C,
) = (
    _C["time_ns"], _C["duration_ns"], _C["process"], _C["thread"], _C["op"], _C["path"], _C["other_path"], _C["file"],
    _C["other_file"], _C["open"], _C["other_open"], _C["offset"], _C["size"], _C["count"], _C["address"],
    _C["flags"], _C["mode"],
    _C["result"],
)  # fmt: skip
_OP_READ, _OP_WRITE, _OP_READV, _OP_WRITEV = (NUMBER_OF[name] for name in ("read", "write", "readv", "writev"))
_OP_DUP3, _OP_MUNMAP, _OP_FTRUNCATE = (NUMBER_OF[name] for name in ("dup3", "munmap", "ftruncate"))
IOCTL, RECVMSG = -2, -3
"""In place of the operation: calls that are none, and seldom change descriptors."""
_OP_DUPFD: Final = NUMBER_OF["fcntl.dupfd"]
_ENOENT, _EBADF = errno.ENOENT, errno.EBADF
_APPEND, _CREAT, _EXCL, _TRUNC, _ACCMODE = os.O_APPEND, os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_ACCMODE
_NOFOLLOW, _DIRECTORY, _CLOEXEC = os.O_NOFOLLOW, os.O_DIRECTORY, os.O_CLOEXEC
_TMPFILE_BIT: Final = 0o20000000
_SETTABLE: Final = os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT
_SETFD, _SETFL, _DUPFD, _DUPFD_CLOEXEC = 2, 4, 0, 1030
_LOCKS_FROM, _LOCKS_TO, _OFD_FROM, _OFD_TO = 5, 7, 36, 38
_SYMLINK_NOFOLLOW: Final = 0x100
_AT_FDCWD: Final = -100
_DAY_NS: Final = 86_400 * 10**9
_UTC_FROM: Final = 10**17
_FAR: Final = 1 << 62

# words that the kernel compares with, at fixed places of WORDS
TEXTS: Final = (
    b"/(unknown)", b"<unfinished ...>", b" resumed>", b"/dev/shm", b"/dev/hugepages/", b"/memfd:", b"/anon_hugepage",
    b"/dmabuf:", b"/SYSV", b" (deleted)", b"/proc", b"/sys", b"/dev/", b" entries */", b"--- ", b" ---", b"<... ",
    b"[pid ", b"makedev(", b"st_", b"stx_", b"AT_FDCWD", b"FIO", b"0x545", b"cmsg_type", b"d_ino=", b"iov_len=",
    b"<char ", b"<block ", b"syscall_",
)  # fmt: skip
TEXT_ROOM: Final = 32
(
    _W_UNKNOWN, _W_UNFINISHED, _W_RESUMED, _W_SHM, _W_HUGE, _W_MEMFD, _W_ANON, _W_DMABUF, _W_SYSV, _W_DELETED, _W_PROC,
    _W_SYS, _W_DEV, _W_ENTRIES, _W_DASHES, _W_DASHES_END, _W_DOTS, _W_PID, _W_MAKEDEV, _W_ST, _W_STX, _W_FDCWD,
    _W_FIO, _W_FIO_RAW, _W_CMSG, _W_D_INO, _W_IOV, _W_CHAR, _W_BLOCK, _W_NUMBERED,
) = range(0, TEXT_ROOM * len(TEXTS), TEXT_ROOM)  # fmt: skip
CONSTANTS_AT: Final = TEXT_ROOM * len(TEXTS)
"""Where in WORDS the table of symbols begins: SYMBOL_SLOTS of (kind, value, length, text)."""
SYMBOL_SLOTS: Final = 4096
SYMBOL_WORDS: Final = 9
SYMBOL_TEXT: Final = 3
SYMBOL_ROOM: Final = 8 * (SYMBOL_WORDS - SYMBOL_TEXT)
SYMBOL_NONE, SYMBOL_CONSTANT, SYMBOL_ERROR, SYMBOL_CALL, SYMBOL_FIELD = range(5)
FIELDS: Final = ("mode", "size", "ino", "blocks", "nlink", "dev", "dev_major", "dev_minor", "rdev")
(_S_MODE, _S_SIZE, _S_INO, _S_BLOCKS, _S_NLINK, _S_DEV, _S_MAJOR, _S_MINOR, _S_RDEV) = range(9)

F = TypeVar("F", bound=Callable[..., object])


def entry(function: F) -> F:
    """A kernel that Python calls: cached on disk, runs without the GIL."""
    return cast(F, compiled(function))


def inner(function: F) -> F:
    """A kernel that only kernels call."""
    return cast(F, njit(function))


def _loader(bits: int) -> Callable[[int, int], int]:
    """An intrinsic (address, index) → the integer at address[index]."""

    @intrinsic  # type: ignore[untyped-decorator]
    def load(typingctx: Any, address: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.gep(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), [args[1]])
            value = builder.load(pointer)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(types.int64, types.int64), codegen

    return cast(Callable[[int, int], int], load)


def _storer(bits: int) -> Callable[[int, int, int], None]:
    """An intrinsic (address, index, value) that stores an integer at address[index]."""

    @intrinsic  # type: ignore[untyped-decorator]
    def store(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.gep(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), [args[1]])
            value = args[2] if bits == 64 else builder.trunc(args[2], ir.IntType(bits))
            builder.store(value, pointer)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), codegen

    return cast(Callable[[int, int, int], None], store)


get = _loader(64)
put = _storer(64)
get_half = _loader(32)
get_byte = _loader(8)
put_byte = _storer(8)
_put_half = _storer(32)

# ---- texts and tables ----


@inner
def _mix(value: int) -> int:
    v = np.uint64(value)
    v ^= v >> np.uint64(33)
    v *= np.uint64(0xFF51AFD7ED558CCD)
    v ^= v >> np.uint64(33)
    return np.int64(v & np.uint64(0x7FFFFFFFFFFFFFFF))  # type: ignore[return-value]


@inner
def _hash(text: int, length: int) -> int:
    value = np.uint64(0xCBF29CE484222325)
    for i in range(length):
        value = (value ^ np.uint64(get_byte(text, i))) * np.uint64(0x100000001B3)
    return _mix(np.int64(value))  # type: ignore[arg-type]


@inner
def _same(one: int, other: int, length: int) -> bool:
    for i in range(length):  # noqa: SIM110 (no generators in a kernel)
        if get_byte(one, i) != get_byte(other, i):
            return False
    return True


@inner
def _copy(target: int, source: int, length: int) -> None:
    for i in range(length):
        put_byte(target, i, get_byte(source, i))


@inner
def _begins(h: int, text: int, length: int, word: int, word_length: int) -> bool:
    return length >= word_length and _same(text, get(h, WORDS) + word, word_length)


@entry
def find_name(h: int, text: int, length: int) -> int:
    """Number of a name; -1 when it has none."""
    key = _hash(text, length)
    slots, mask = get(h, NAME_SLOTS), get(h, NAME_SLOTS + 1) - 1
    slot = key & mask
    while get(slots, 2 * slot + 1) != -1:
        if get(slots, 2 * slot) == key:
            number = get(slots, 2 * slot + 1)
            info = get(h, NAME_TABLE) + 8 * NAME_FIELDS * number
            if get(info, N_LENGTH) == length and _same(get(h, BLOB_BYTES) + get(info, N_BEGIN), text, length):
                return number
        slot = (slot + 1) & mask
    return -1


@inner
def _keep(h: int, text: int, length: int) -> int:
    """Put bytes at the blob's end; returns where."""
    begin = get(h, BLOB)
    _copy(get(h, BLOB_BYTES) + begin, text, length)
    put(h, BLOB, begin + length)
    return begin


@entry
def intern_name(h: int, text: int, length: int) -> int:
    """Number of a name, which is new or not."""
    number = find_name(h, text, length)
    if number >= 0:
        return number
    number = get(h, NAMES)
    put(h, NAMES, number + 1)
    info = get(h, NAME_TABLE) + 8 * NAME_FIELDS * number
    put(info, N_BEGIN, _keep(h, text, length))
    put(info, N_LENGTH, length)
    put(info, N_FILE, -1)
    put(info, N_ABSENT, 0)
    key = _hash(text, length)
    slots, mask = get(h, NAME_SLOTS), get(h, NAME_SLOTS + 1) - 1
    slot = key & mask
    while get(slots, 2 * slot + 1) != -1:
        slot = (slot + 1) & mask
    put(slots, 2 * slot, key)
    put(slots, 2 * slot + 1, number)
    return number


@entry
def intern_path(h: int, name: int, raw: int, length: int) -> int:
    """Number of the path with this name, which was given as `raw`."""
    info = get(h, NAME_TABLE) + 8 * NAME_FIELDS * name
    text = get(h, BLOB_BYTES) + get(info, N_BEGIN)
    plain = get(info, N_LENGTH) == length and _same(text, raw, length)
    key = _mix(name + 1)
    if not plain:
        key = _mix(key ^ _hash(raw, length))
    slots, mask = get(h, PATH_SLOTS), get(h, PATH_SLOTS + 1) - 1
    slot = key & mask
    while get(slots, 2 * slot + 1) != -1:
        if get(slots, 2 * slot) == key:
            number = get(slots, 2 * slot + 1)
            path = get(h, PATH_TABLE) + 8 * PATH_FIELDS * number
            if get(path, P_NAME) == name and (
                get(path, P_RAW) == -1
                if plain
                else get(path, P_RAW) >= 0
                and get(path, P_LENGTH) == length
                and _same(get(h, BLOB_BYTES) + get(path, P_RAW), raw, length)
            ):
                return number
        slot = (slot + 1) & mask
    number = get(h, PATHS)
    put(h, PATHS, number + 1)
    path = get(h, PATH_TABLE) + 8 * PATH_FIELDS * number
    put(path, P_NAME, name)
    put(path, P_RAW, -1 if plain else _keep(h, raw, length))
    put(path, P_LENGTH, length)
    put(slots, 2 * slot, key)
    put(slots, 2 * slot + 1, number)
    return number


@entry
def rehash(old: int, count: int, new: int, new_count: int) -> None:
    """Move a table of (hash, number) into a larger, empty one."""
    for i in range(count):
        if get(old, 2 * i + 1) != -1:
            slot = get(old, 2 * i) & (new_count - 1)
            while get(new, 2 * slot + 1) != -1:
                slot = (slot + 1) & (new_count - 1)
            put(new, 2 * slot, get(old, 2 * i))
            put(new, 2 * slot + 1, get(old, 2 * i + 1))


@entry
def find_inode(slots: int, count: int, device: int, inode: int) -> int:
    """Slot of an inode: where it is, or where it would go."""
    slot = _mix(inode * 0x9E3779B9 + device) & (count - 1)
    while get(slots, 3 * slot + 2) != -1 and not (get(slots, 3 * slot + 1) == inode and get(slots, 3 * slot) == device):
        slot = (slot + 1) & (count - 1)
    return slot


@entry
def rehash_inodes(old: int, count: int, new: int, new_count: int) -> int:
    """Move the table of inodes, without those that are gone, into a larger one; returns how many there are."""
    moved = 0
    for i in range(count):
        if get(old, 3 * i + 2) >= 0:
            slot = find_inode(new, new_count, get(old, 3 * i), get(old, 3 * i + 1))
            for field in range(3):
                put(new, 3 * slot + field, get(old, 3 * i + field))
            moved += 1
    return moved


@entry
def put_inode(h: int, device: int, inode: int, file: int) -> None:
    """Say which file an inode is; GONE for none."""
    slots = get(h, INODE_SLOTS)
    slot = find_inode(slots, get(h, INODE_SLOTS + 1), device, inode)
    if get(slots, 3 * slot + 2) == -1:
        if file == GONE:
            return
        put(h, INODES, get(h, INODES) + 1)
    put(slots, 3 * slot, device)
    put(slots, 3 * slot + 1, inode)
    put(slots, 3 * slot + 2, file)


@entry
def names_below(h: int, prefix: int, length: int, found: int, room: int) -> int:
    """Numbers of the names with a file that begin so, into `found`; returns how many there are."""
    count = 0
    for number in range(get(h, NAMES)):
        info = get(h, NAME_TABLE) + 8 * NAME_FIELDS * number
        text = get(h, BLOB_BYTES) + get(info, N_BEGIN)
        if get(info, N_FILE) >= 0 and get(info, N_LENGTH) >= length and _same(text, prefix, length):
            if count < room:
                put(found, count, number)
            count += 1
    return count


@inner
def _file(h: int, number: int) -> int:
    return get(h, FILE_TABLE) + 8 * FILE_FIELDS * number


@inner
def _name(h: int, number: int) -> int:
    return get(h, NAME_TABLE) + 8 * NAME_FIELDS * number


@entry
def touch(h: int, number: int) -> None:
    """Remember that a file's row may have become whole."""
    bits = get(_file(h, number), F_BITS)
    if not bits & (WRITTEN | IS_DIRTY):
        put(_file(h, number), F_BITS, bits | IS_DIRTY)
        put(get(h, DIRTY_TABLE), get(h, DIRTY), number)
        put(h, DIRTY, get(h, DIRTY) + 1)


@entry
def new_file(h: int, path: int, where: int, existed: int) -> int:
    """A row of the file table; existed is -1 when not known."""
    number = get(h, FILES)
    put(h, FILES, number + 1)
    file = _file(h, number)
    for field in range(FILE_FIELDS):
        put(file, field, NULL)
    put(file, F_PATH, path)
    put(file, F_WHERE, where)
    put(file, F_EXISTED, existed)
    put(file, F_TYPE, -1)
    put(file, F_TARGET, -1)
    put(file, F_BITS, 0)
    touch(h, number)
    return number


@entry
def whole_files(h: int, found: int, everything: bool) -> int:
    """Numbers of the files about which no more will be learned into `found`, once each; returns how many."""
    count = 0
    dirty = get(h, DIRTY)
    for i in range(dirty if not everything else get(h, FILES)):
        number = get(get(h, DIRTY_TABLE), i) if not everything else i
        file = _file(h, number)
        bits = get(file, F_BITS)
        if bits & WRITTEN:
            continue
        put(file, F_BITS, bits & ~IS_DIRTY)
        if not everything:
            if get(file, F_DEVICE) == NULL or get(file, F_EXISTED) < 0:
                continue
            kind = get(file, F_TYPE)
            if kind == DIRECTORY_TYPE:
                if get(file, F_ENTRIES) == NULL:
                    continue
            elif kind == LINK_TYPE:
                if get(file, F_TARGET) < 0:
                    continue
            elif get(file, F_SIZE) == NULL:
                continue
        put(file, F_BITS, (bits & ~IS_DIRTY) | WRITTEN)
        put(found, count, number)
        count += 1
    put(h, DIRTY, 0)
    return count


@entry
def gather(h: int, first: int, count: int, raws: bool, offsets: int, out: int) -> int:
    """Texts (or raw names) of paths one behind the other, and where each begins (32 bits).

    Returns their length; -1 - length when a byte is not printable ASCII. With `out` 0 only the length is found.
    """
    at = 0
    plain = True
    for i in range(count):
        path = get(h, PATH_TABLE) + 8 * PATH_FIELDS * (first + i)
        begin, length = get(path, P_RAW), get(path, P_LENGTH)
        if not raws or begin < 0:
            info = _name(h, get(path, P_NAME))
            begin, length = get(info, N_BEGIN), get(info, N_LENGTH)
        text = get(h, BLOB_BYTES) + begin
        if out:
            _put_half(offsets, i, at)
            for k in range(length):
                byte = get_byte(text, k)
                put_byte(out, at + k, byte)
                if byte < 32 or byte > 126:
                    plain = False
        at += length
    if out:
        _put_half(offsets, count, at)
    return at if plain else -1 - at


@entry
def new_open(h: int) -> int:
    """A free row of the table of open-file descriptions."""
    row = get(h, FREE_OPEN)
    if row >= 0:
        put(h, FREE_OPEN, get(_open(h, row), O_NEXT))
    else:
        row = get(h, OPEN_TOP)
        put(h, OPEN_TOP, row + 1)
    put(_open(h, row), O_REFS, 0)
    return row


@inner
def _open(h: int, row: int) -> int:
    return get(h, OPEN_TABLE) + 8 * OPEN_FIELDS * row


@entry
def release(h: int, row: int) -> None:
    """One reference to an open-file description less; without any its row is free, and stays as it is until reused."""
    info = _open(h, row)
    refs = get(info, O_REFS) - 1
    put(info, O_REFS, refs)
    if refs == 0:
        put(info, O_NEXT, get(h, FREE_OPEN))
        put(h, FREE_OPEN, row)


# ---- texts of numbers, symbols and names ----
# Each takes an address and an end, leaves what it found in the header, and returns the address behind it; -1: it is
# not of the one form that is known here.


@inner
def _is_digit(byte: int) -> bool:
    return 48 <= byte <= 57


@inner
def _is_word(byte: int) -> bool:
    return 97 <= byte <= 122 or 65 <= byte <= 90 or 48 <= byte <= 57 or byte == 95


@inner
def _spaces(at: int, end: int) -> int:
    while at < end and get_byte(at, 0) == 32:
        at += 1
    return at


@inner
def _number(h: int, at: int, end: int) -> int:
    """A decimal, 0x or 0-led octal number of not more than 62 bits, into AT."""
    begin, negative, value = at, False, 0
    if at < end and get_byte(at, 0) == 45:
        negative, at = True, at + 1
        begin = at
    if at + 1 < end and get_byte(at, 0) == 48 and get_byte(at, 1) == 120:
        at += 2
        begin = at
        while at < end:
            byte = get_byte(at, 0)
            if 48 <= byte <= 57:
                value = value * 16 + byte - 48
            elif 97 <= byte <= 102:
                value = value * 16 + byte - 87
            else:
                break
            at += 1
        if at - begin > 15 or negative:
            return -1
    else:
        base = 8 if at + 1 < end and get_byte(at, 0) == 48 else 10
        while at < end and 48 <= get_byte(at, 0) < 48 + base:
            value = value * base + get_byte(at, 0) - 48
            at += 1
        if at - begin > 18 or (at < end and _is_digit(get_byte(at, 0))):
            return -1
    if at == begin:
        return -1
    put(h, AT, -value if negative else value)
    return at


@inner
def _symbol(h: int, at: int, length: int, kind: int) -> int:
    """Value of a word of strace's; NULL for one that is not known."""
    if length > SYMBOL_ROOM:
        return NULL
    slot = _hash(at, length) & (SYMBOL_SLOTS - 1)
    while True:
        row = get(h, WORDS) + CONSTANTS_AT + 8 * SYMBOL_WORDS * slot
        if get(row, 0) == SYMBOL_NONE:
            return NULL
        if get(row, 0) == kind and get(row, 2) == length and _same(row + 8 * SYMBOL_TEXT, at, length):
            return get(row, 1)
        slot = (slot + 1) & (SYMBOL_SLOTS - 1)


@inner
def _flags(h: int, at: int, end: int) -> int:
    """Numbers and constants with `|` between them, into AT."""
    value = 0
    while True:
        byte = get_byte(at, 0) if at < end else 0
        if _is_digit(byte) or byte == 45:
            at = _number(h, at, end)
            if at < 0:
                return -1
            value |= get(h, AT)
        elif byte == 124:
            # nothing stands for zero before a bar under -X raw
            pass
        else:
            begin = at
            while at < end and _is_word(get_byte(at, 0)):
                at += 1
            bits = _symbol(h, begin, at - begin, SYMBOL_CONSTANT)
            if at == begin or bits == NULL:
                return -1
            value |= bits
        if at < end and get_byte(at, 0) == 124:
            at += 1
            continue
        put(h, AT, value)
        return at


@inner
def _named(at: int, end: int) -> int:
    """Behind the `>` of what stands in `<…>`, which may hold `->` and one level of `<…>`."""
    at += 1
    while at < end:
        byte = get_byte(at, 0)
        if byte == 45 and at + 1 < end and get_byte(at, 1) == 62:
            at += 2
        elif byte == 62:
            return at + 1
        elif byte == 60:
            at += 1
            while at < end and get_byte(at, 0) != 62 and get_byte(at, 0) != 60:
                at += 1
            if at >= end or get_byte(at, 0) == 60:
                return -1
            at += 1
        else:
            at += 1
    return -1


@inner
def _is_letter(byte: int) -> bool:
    return 97 <= byte <= 122 or 65 <= byte <= 90


@inner
def _shown(h: int, c: int, field: int, begin: int, end: int) -> bool:
    """Note the name between `<` and `>`: an absolute one, or a length of 0 for what is no file."""
    plain = end > begin and get_byte(begin, 0) == 47
    known = plain
    kind = end > begin and _is_letter(get_byte(begin, 0))
    for i in range(end - begin):
        byte = get_byte(begin, i)
        if byte == 92:
            return False
        if byte == 60:
            if not (
                _begins(h, begin + i, end - begin - i, _W_CHAR, 6)
                or _begins(h, begin + i, end - begin - i, _W_BLOCK, 7)
            ):
                return False
            plain, known = False, True
            break
        if byte == 58 and kind:
            known = True
        kind = kind and (_is_word(byte) or byte == 45)
    if not known:
        return False
    put(c, field, begin)
    put(c, field + 1, end - begin if plain else 0)
    return True


@inner
def _quoted(at: int, end: int) -> int:
    """Behind the closing quote of a string."""
    at += 1
    while at < end:
        byte = get_byte(at, 0)
        if byte == 34:
            return at + 1
        at += 2 if byte == 92 else 1
    return -1


@inner
def _skip(c: int, at: int, end: int) -> int:
    """Behind an argument that nobody needs."""
    depth = 0
    kinds = 0
    while at < end:
        byte = get_byte(at, 0)
        if byte == 34:
            put(c, C_SPECIAL, 1)
            at = _quoted(at, end)
            if at < 0:
                return -1
            continue
        if byte == 60:
            put(c, C_SPECIAL, 1)
            at = _named(at, end)
            if at < 0:
                return -1
            continue
        if byte == 44 and depth == 0:
            return at
        if byte == 91 or byte == 123 or byte == 40:
            put(c, C_SPECIAL, 1)
            depth += 1
            if depth > 20:
                return -1
            kinds = kinds * 4 + (1 if byte == 91 else 2 if byte == 123 else 3)
        elif byte == 93 or byte == 125 or byte == 41:
            if depth == 0 or kinds & 3 != (1 if byte == 93 else 2 if byte == 125 else 3):
                return -1
            kinds >>= 2
            depth -= 1
        elif byte == 47 and at + 1 < end and get_byte(at, 1) == 42:
            return -1
        at += 1
    return at if depth == 0 else -1


@inner
def _descriptor(h: int, c: int, at: int, end: int, field: int) -> int:
    """A descriptor with or without the name that -y shows, into three words from `field` on."""
    if _begins(h, at, end - at, _W_FDCWD, 8):
        at += 8
        put(c, field, _AT_FDCWD)
    else:
        at = _number(h, at, end)
        if at < 0 or not -(1 << 31) <= get(h, AT) < 1 << 31:
            return -1
        put(c, field, get(h, AT))
    if at < end and get_byte(at, 0) == 60:
        put(c, C_SPECIAL, 1)
        behind = _named(at, end)
        if behind < 0 or not _shown(h, c, field + 1, at + 1, behind - 1):
            return -1
        at = behind
    return at


@inner
def _stat(h: int, c: int, at: int, end: int) -> int:
    """A struct stat or statx as strace prints it, short or long."""
    put(c, C_SPECIAL, 1)
    major, minor = NULL, NULL
    x = -1
    at += 1
    while True:
        begin = at
        while at < end and _is_word(get_byte(at, 0)):
            at += 1
        if at == begin:
            # `...` stands at the end of what is left out
            if at + 3 < end and get_byte(at, 0) == 46 and get_byte(at, 1) == 46 and get_byte(at, 2) == 46:
                at += 3
                break
            return -1
        if at >= end or get_byte(at, 0) != 61:
            return -1
        length = at - begin
        is_x = _begins(h, begin, length, _W_STX, 4)
        if not is_x and not _begins(h, begin, length, _W_ST, 3):
            return -1
        if x < 0:
            x = 1 if is_x else 0
        elif x != (1 if is_x else 0):
            return -1
        drop = 4 if is_x else 3
        which = _symbol(h, begin + drop, length - drop, SYMBOL_FIELD)
        at += 1
        if which == NULL:
            if at < end and get_byte(at, 0) == 123:
                at += 1
                while at < end and get_byte(at, 0) != 125:
                    byte = get_byte(at, 0)
                    if byte == 123 or byte == 34 or byte == 91 or byte == 40:
                        return -1
                    at += 1
                at += 1
                while at < end and get_byte(at, 0) != 44 and get_byte(at, 0) != 125:
                    at += 1
            else:
                while at < end and get_byte(at, 0) != 44 and get_byte(at, 0) != 125:
                    byte = get_byte(at, 0)
                    if byte == 40 and _begins(h, at - 7, end - at, _W_MAKEDEV, 8):
                        while at < end and get_byte(at, 0) != 41:
                            at += 1
                    elif byte == 123 or byte == 34 or byte == 91 or byte == 40 or byte == 60:
                        return -1
                    at += 1
            # a date stands behind the time in a comment
        elif which == _S_DEV:
            if _begins(h, at, end - at, _W_MAKEDEV, 8):
                at = _number(h, at + 8, end)
                if at < 0 or at + 1 >= end or get_byte(at, 0) != 44 or get_byte(at, 1) != 32:
                    return -1
                dev_major = get(h, AT)
                at = _number(h, at + 2, end)
                if at < 0 or at >= end or get_byte(at, 0) != 41:
                    return -1
                if not (0 <= dev_major < 1 << 31 and 0 <= get(h, AT) < 1 << 31):
                    return -1
                put(c, C_ST_DEVICE, _makedev(dev_major, get(h, AT)))
                at += 1
            else:
                at = _number(h, at, end)
                if at < 0:
                    return -1
                put(c, C_ST_DEVICE, get(h, AT))
        elif which == _S_RDEV:
            return -1
        else:
            at = _flags(h, at, end)
            if at < 0 or get(h, AT) < 0:
                return -1
            value = get(h, AT)
            if which == _S_MODE:
                if value >= 1 << 31:
                    return -1
                put(c, C_ST_MODE, value)
            elif which == _S_SIZE:
                put(c, C_ST_SIZE, value)
            elif which == _S_INO:
                put(c, C_ST_INODE, value)
            elif which == _S_BLOCKS:
                put(c, C_ST_BLOCKS, value)
            elif which == _S_NLINK:
                put(c, C_ST_LINKS, value)
            elif which == _S_MAJOR:
                major = value
            elif which == _S_MINOR:
                minor = value
        if at >= end:
            return -1
        byte = get_byte(at, 0)
        if byte == 125:
            break
        if byte != 44 or at + 1 >= end or get_byte(at, 1) != 32:
            return -1
        at += 2
    if at >= end or get_byte(at, 0) != 125:
        return -1
    # a type without permissions, a size without a type: nothing that strace prints
    if get(c, C_ST_MODE) == NULL:
        return -1
    if x == 1:
        if major != NULL and minor != NULL:
            if major >= 1 << 31 or minor >= 1 << 31:
                return -1
            put(c, C_ST_DEVICE, _makedev(major, minor))
    elif major != NULL or minor != NULL:
        return -1
    put(c, C_STAT, 1)
    return at + 1


@inner
def _makedev(major: int, minor: int) -> int:
    return (major & 0xFFF) << 8 | (major & 0xFFFFF000) << 32 | (minor & 0xFF) | (minor & 0xFFFFFF00) << 12


@inner
def _count(h: int, at: int, end: int, word: int, length: int) -> int:
    """How often a word stands in a text."""
    count = 0
    first = get_byte(get(h, WORDS) + word, 0)
    while at < end:
        if get_byte(at, 0) == first and _begins(h, at, end - at, word, length):
            count += 1
            at += length
        else:
            at += 1
    return count


@inner
def _vectors(h: int, c: int, at: int, end: int) -> bool:
    """Bytes of the vectors of an iovec array together, into C_SIZE."""
    total = 0
    while at < end:
        byte = get_byte(at, 0)
        if byte == 34:
            at = _quoted(at, end)
        elif byte == 105 and not _is_word(get_byte(at, -1)) and _begins(h, at, end - at, _W_IOV, 8):
            at = _number(h, at + 8, end)
            if at < 0 or not 0 <= get(h, AT) < 1 << 40:
                return False
            total += get(h, AT)
        else:
            at += 1
    put(c, C_SIZE, total)
    return total < 1 << 60


@inner
def _argument(h: int, c: int, role: int, at: int, end: int) -> int:
    """One argument."""
    byte = get_byte(at, 0) if at < end else 0
    if role == _R_FD:
        return _descriptor(h, c, at, end, C_FD)
    if role == _R_DIRFD:
        return _descriptor(h, c, at, end, C_DIRFD)
    if role == _R_FD2:
        # dup2 tells the new descriptor by its result
        fd, name, length = get(c, C_FD), get(c, C_FDN), get(c, C_FDN_LENGTH)
        at = _descriptor(h, c, at, end, C_FD)
        put(c, C_FD, fd)
        put(c, C_FDN, name)
        put(c, C_FDN_LENGTH, length)
        return at
    if role == _R_PATH:
        if byte != 34:
            return -1
        put(c, C_SPECIAL, 1)
        begin = at + 1
        at = begin
        while at < end and get_byte(at, 0) != 34:
            if get_byte(at, 0) == 92:
                return -1
            at += 1
        if at >= end:
            return -1
        put(c, C_PATH, begin)
        put(c, C_PATH_LENGTH, at - begin)
        at += 1
        if at + 2 < end and get_byte(at, 0) == 46 and get_byte(at, 1) == 46 and get_byte(at, 2) == 46:
            at += 3
        return at
    if role == _R_STAT:
        return _stat(h, c, at, end) if byte == 123 else _skip(c, at, end)
    if role == _R_TEXT:
        if byte != 34 and not (byte == 48 and at + 1 < end and get_byte(at, 1) == 120):
            return -1
        put(c, C_TEXT, 1 if byte == 34 else 0)
        at = _skip(c, at, end)
        # `...` behind a text that was cut short is counted
        return -1 if at >= 0 and get_byte(at, -1) == 46 else at
    if role == _R_NAME:
        behind = _quoted(at, end) if byte == 34 else -1
        for i in range(behind - at):
            if get_byte(at, i) == 92:
                return -1
        put(c, C_SPECIAL, 1)
        put(c, C_NAME, at + 1)
        put(c, C_NAME_LENGTH, behind - at - 2)
        return behind
    if role == _R_IOVEC:
        behind = _skip(c, at, end)
        if behind >= 0 and byte == 91 and not _vectors(h, c, at, behind):
            return -1
        return behind
    if role == _R_ENTRIES and byte == 91:
        behind = _skip(c, at, end)
        if behind >= 0:
            if _count(h, at, behind, _W_ENTRIES, 11) > 0:
                return -1
            put(c, C_ENTRIES, _count(h, at, behind, _W_D_INO, 6))
        return behind
    if role == _R_ENTRIES:
        if byte != 48:
            return -1
        at = _number(h, at, end)
        if at < 0:
            return -1
        if at + 4 < end and get_byte(at, 0) == 32 and get_byte(at, 1) == 47 and get_byte(at, 2) == 42:
            at = _number(h, at + 4, end)
            if at < 0 or not 0 <= get(h, AT) < 10**9 or not _begins(h, at, end - at, _W_ENTRIES, 11):
                return -1
            put(c, C_ENTRIES, get(h, AT))
            return at + 11
        return at
    if role == _R_ADDRESS:
        at = _flags(h, at, end)
        if at >= 0:
            # NULL is no address, a plain 0 is one
            put(c, C_ADDRESS, NULL if byte == 78 else get(h, AT))
        return at
    if role in (_R_SIZE, _R_OFFSET, _R_FLAGS, _R_MODE, _R_COUNT, _R_FCNTL):
        if role == _R_FCNTL and (byte == 123 or byte == 91):
            return -1
        at = _flags(h, at, end)
        if at >= 0:
            if role == _R_OFFSET:
                put(c, C_OFFSET, get(h, AT))
            elif role == _R_FLAGS:
                put(c, C_FLAGS, get(h, AT))
            elif role == _R_MODE:
                put(c, C_MODE, get(h, AT))
            elif role == _R_COUNT:
                put(c, C_COUNT, get(h, AT))
            else:
                put(c, C_SIZE, get(h, AT))
        return at
    return _skip(c, at, end)


@inner
def _arguments(h: int, c: int, at: int, end: int) -> bool:
    """All arguments of a call, by their roles."""
    roles = get(h, OP_TABLE) + 8 * OP_FIELDS * get(c, C_OP)
    if at >= end:
        return False
    place = 0
    odd = False
    while True:
        role = get(roles, place) if place < ARGUMENTS else -1
        if at >= end:
            return False
        at = _argument(h, c, role, at, end) if role >= 0 else _skip(c, at, end)
        if at < 0:
            return False
        place += 1
        if at >= end:
            break
        if get_byte(at, 0) != 44:
            return False
        begin = at + 1
        at = _spaces(begin, end)
        odd = odd or at != begin + 1
    # without quotes and brackets only a comma with one space parts two arguments
    return not odd or get(c, C_SPECIAL) == 1


# ---- the line ----


@inner
def _clock(h: int, c: int, at: int, end: int) -> int:
    """A time, into C_TIME (not yet from the log's beginning); -2: it is none."""
    begin, value = at, 0
    while at < end and _is_digit(get_byte(at, 0)):
        value = value * 10 + get_byte(at, 0) - 48
        at += 1
        if at - begin > 10:
            return -1
    digits = at - begin
    if digits == 0 or at >= end:
        return -2
    byte = get_byte(at, 0)
    kind = _ABSOLUTE
    if byte == 58:
        if digits != 2 or at + 6 > end:
            return -1
        for i in (1, 2, 4, 5):
            if not _is_digit(get_byte(at, i)):
                return -1
        if get_byte(at, 3) != 58:
            return -1
        value = (value * 60 + (get_byte(at, 1) - 48) * 10 + get_byte(at, 2) - 48) * 60
        value += (get_byte(at, 4) - 48) * 10 + get_byte(at, 5) - 48
        at += 6
        kind = _DAY
    elif byte != 46 and digits < 9:
        return -1
    if value > 4_600_000_000:
        return -1
    fraction, places = 0, 0
    if at < end and get_byte(at, 0) == 46:
        at += 1
        dot = at
        while at < end and _is_digit(get_byte(at, 0)):
            if places < 9:
                fraction = fraction * 10 + get_byte(at, 0) - 48
                places += 1
            at += 1
        if at == dot:
            return -1
    while places < 9:
        fraction *= 10
        places += 1
    if at >= end or get_byte(at, 0) != 32:
        return -1
    value = value * 1_000_000_000 + fraction
    if kind == _ABSOLUTE and value < _UTC_FROM:
        kind = _RELATIVE
    put(c, C_CLOCK, kind)
    put(c, C_TIME, value)
    return _spaces(at, end)


@inner
def _command(at: int, end: int) -> int:
    """Behind the name of a process that -Y shows behind its id."""
    if at >= end or get_byte(at, 0) != 60:
        return at
    begin = at
    at += 1
    while at < end and get_byte(at, 0) != 62 and get_byte(at, 0) != 60:
        at += 1
    return at + 1 if at + 1 < end and get_byte(at, 0) == 62 else begin


@inner
def _brackets(at: int, end: int) -> int:
    """Behind the call's number that -n shows, and the program's place that -i does."""
    if at < end and get_byte(at, 0) == 91:
        digits = _spaces(at + 1, end)
        behind = digits
        while behind < end and _is_digit(get_byte(behind, 0)):
            behind += 1
        if behind > digits and behind + 1 < end and get_byte(behind, 0) == 93 and get_byte(behind, 1) == 32:
            at = behind + 2
    if at < end and get_byte(at, 0) == 91:
        behind = at + 1
        unknown = behind < end and get_byte(behind, 0) == 63
        while behind < end:
            byte = get_byte(behind, 0)
            if not (byte == 63 if unknown else _is_digit(byte) or 97 <= byte <= 102):
                break
            behind += 1
        if behind > at + 1 and behind + 1 < end and get_byte(behind, 0) == 93 and get_byte(behind, 1) == 32:
            at = behind + 2
    return at


@inner
def _head(h: int, c: int, at: int, end: int, pid: int) -> int:
    """Who and when; returns where the rest begins."""
    put(c, C_TID, pid)
    put(c, C_CLOCK, _NO_CLOCK)
    at = _spaces(at, end)
    if at >= end:
        return -1
    if _begins(h, at, end - at, _W_PID, 5):
        at = _spaces(at + 5, end)
        begin, value = at, 0
        while at < end and _is_digit(get_byte(at, 0)) and at - begin < 8:
            value = value * 10 + get_byte(at, 0) - 48
            at += 1
        if at > begin:
            at = _command(at, end)
        if at == begin or at + 1 >= end or get_byte(at, 0) != 93 or get_byte(at, 1) != 32 or value > MAX_PID:
            return -1
        put(c, C_TID, value)
        at = _spaces(at + 1, end)
    elif _is_digit(get_byte(at, 0)):
        begin, value = at, 0
        while at < end and _is_digit(get_byte(at, 0)) and at - begin < 11:
            value = value * 10 + get_byte(at, 0) - 48
            at += 1
        after = _command(at, end)
        named = after > at
        if named and get_byte(after, 0) != 32:
            return -1
        if at < end and (named or get_byte(at, 0) == 32):
            if value <= MAX_PID and at - begin <= 8:
                at = after
                put(c, C_TID, value)
                at = _spaces(at, end)
            elif at - begin >= 9 and value > MAX_PID and not named:
                at = begin
            else:
                return -1
        else:
            at = begin
    if at < end and _is_digit(get_byte(at, 0)):
        at = _clock(h, c, at, end)
        if at < 0:
            return -1
        if at < end and get_byte(at, 0) == 40:
            # -r beside -t: (+     0.000123)
            at = _spaces(at + 1, end)
            if at >= end or get_byte(at, 0) != 43:
                return -1
            at = _spaces(at + 1, end)
            dots = 0
            begin = at
            while at < end and (_is_digit(get_byte(at, 0)) or get_byte(at, 0) == 46):
                dots += get_byte(at, 0) == 46
                at += 1
            if dots != 1 or get_byte(begin, 0) == 46 or get_byte(at - 1, 0) == 46:
                return -1
            if at + 1 >= end or get_byte(at, 0) != 41 or get_byte(at, 1) != 32:
                return -1
            at = _spaces(at + 1, end)
        if at < end and _is_digit(get_byte(at, 0)):
            return -1
    at = _brackets(at, end)
    # from here on the time is that of the trace
    kind, time = get(c, C_CLOCK), get(c, C_TIME)
    put(c, C_BEFORE, get(h, BEFORE))
    if kind == _NO_CLOCK:
        put(c, C_TIME, get(h, LAST_NS) if get(h, TIMED) else (get(h, LINES) + 1) * 1000)
        return at
    if get(h, BASE) == NULL:
        return -1
    if kind == _DAY:
        before = get(h, BEFORE)
        if time < before - _DAY_NS // 2:
            time += (before - time + _DAY_NS // 2) // _DAY_NS * _DAY_NS
        put(c, C_BEFORE, max(before, time))
    elif kind == _RELATIVE:
        if get(h, BEFORE) >= _FAR:
            return -1
        time += get(h, BEFORE)
        put(c, C_BEFORE, time)
    time -= get(h, BASE)
    if not -_FAR < time < _FAR:
        return -1
    put(c, C_TIME, time)
    return at


@inner
def _tail_at(begin: int, end: int) -> int:
    """Where the `)` stands that ends the arguments: the last one with ` = ` behind it; -1 without one."""
    at = end - 2
    while at > begin:
        if get_byte(at, 0) == 61 and get_byte(at, 1) == 32 and get_byte(at, -1) == 32:
            close = at - 1
            while close > begin and get_byte(close, 0) == 32:
                close -= 1
            if get_byte(close, 0) == 41:
                return close
        at -= 1
    if get_byte(begin, 0) == 41:
        # nothing but the result, as where a call without more arguments is resumed
        at = _spaces(begin + 1, end)
        if at > begin + 1 and at + 1 < end and get_byte(at, 0) == 61 and get_byte(at, 1) == 32:
            return begin
    return -1


@inner
def _result(h: int, c: int, at: int, end: int) -> bool:
    """What stands behind `) = `: result, name, error, remark and duration."""
    put(c, C_RNAME, -1)
    put(c, C_DURATION, NULL)
    if at < end and get_byte(at, 0) == 63:
        put(c, C_RESULT, NULL)
        at += 1
    else:
        at = _number(h, at, end)
        if at < 0:
            return False
        put(c, C_RESULT, get(h, AT))
    if at < end and get_byte(at, 0) == 60:
        behind = _named(at, end)
        if behind < 0 or not _shown(h, c, C_RNAME, at + 1, behind - 1):
            return False
        at = behind
    if at + 1 < end and get_byte(at, 0) == 32 and 65 <= get_byte(at, 1) <= 90:
        begin = at + 1
        at = begin
        while at < end and _is_word(get_byte(at, 0)):
            at += 1
        error = _symbol(h, begin, at - begin, SYMBOL_ERROR)
        if error == NULL:
            return False
        put(c, C_RESULT, -error)
    if at + 1 < end and get_byte(at, 0) == 32 and get_byte(at, 1) == 40:
        at += 2
        while at < end and get_byte(at, 0) != 41:
            at += 1
        at += 1
    if at + 1 < end and get_byte(at, 0) == 32 and get_byte(at, 1) == 60:
        at += 2
        begin, seconds = at, 0
        while at < end and _is_digit(get_byte(at, 0)) and at - begin < 10:
            seconds = seconds * 10 + get_byte(at, 0) - 48
            at += 1
        if at == begin or at >= end or get_byte(at, 0) != 46 or seconds > 4_600_000_000:
            return False
        at += 1
        begin, fraction, places = at, 0, 0
        while at < end and _is_digit(get_byte(at, 0)):
            if places < 9:
                fraction = fraction * 10 + get_byte(at, 0) - 48
                places += 1
            at += 1
        if at == begin:
            return False
        while places < 9:
            fraction *= 10
            places += 1
        put(c, C_DURATION, seconds * 1_000_000_000 + fraction)
        if at >= end or get_byte(at, 0) != 62:
            return False
        at += 1
    return at == end


@inner
def _accept(h: int, c: int) -> None:
    """The line is one of ours: move the log's clock on."""
    put(h, LINES, get(h, LINES) + 1)
    put(h, UNDERSTOOD, get(h, UNDERSTOOD) + 1)
    if get(c, C_CLOCK) != _NO_CLOCK:
        put(h, TIMED, 1)
        put(h, BEFORE, get(c, C_BEFORE))
    at = get(c, C_AT)
    if at > get(h, LAST_NS) or not get(h, TIMED):
        put(h, LAST_NS, at)


@inner
def _accept_call(h: int, c: int) -> None:
    """The same for a call of the table of operations, with its duration."""
    _accept(h, c)
    duration = get(c, C_DURATION)
    if duration != NULL:
        put(h, MEASURED, 1)
    elif get(c, C_RESUMED) != 0 and get(h, TIMED):
        duration = get(c, C_AT) - get(c, C_TIME)
        put(c, C_DURATION, duration)
    if duration != NULL and get(c, C_TIME) + duration > get(h, LAST_NS):
        put(h, LAST_NS, get(c, C_TIME) + duration)
    if get(c, C_FDN) != -1 or get(c, C_DIRN) != -1 or get(c, C_RNAME) != -1:
        put(h, DECORATED, 1)
    if get(c, C_MISSED) and get(c, C_RESULT) != -_EBADF:
        put(h, UNKNOWN_FDS, get(h, UNKNOWN_FDS) + 1)


@inner
def _emit(h: int, c: int, path: int, file: int, opened: int, other_file: int, other_open: int) -> None:
    """Write the row of a call; -1 for no number."""
    rows, room, row = get(h, EVENT_TABLE), get(h, EVENT_TABLE + 1), get(h, ROWS)
    put(h, ROWS, row + 1)
    cell = rows + 8 * row
    for column in range(COLUMNS):
        put(cell, column * room, NULL)
    thread = get(c, C_THREAD)
    op = get(c, C_OP)
    result = get(c, C_RESULT)
    if result > 0 and get(get(h, OP_TABLE) + 8 * OP_FIELDS * op, ARGUMENTS + 1):
        result = 0
    put(cell, _TIME_C * room, get(c, C_TIME))
    put(cell, _DURATION_C * room, get(c, C_DURATION))
    put(cell, _PROCESS_C * room, get(thread, T_PROCESS))
    put(cell, _THREAD_C * room, get(thread, T_NUMBER))
    put(cell, _OP_C * room, op)
    put(cell, _PATH_C * room, path if path >= 0 else NULL)
    put(cell, _FILE_C * room, file if file >= 0 else NULL)
    put(cell, _OTHER_FILE_C * room, other_file if other_file >= 0 else NULL)
    put(cell, _OPEN_C * room, opened if opened >= 0 else NULL)
    put(cell, _OTHER_OPEN_C * room, other_open if other_open >= 0 else NULL)
    put(cell, _OFFSET_C * room, get(c, C_OFFSET))
    put(cell, _SIZE_C * room, get(c, C_SIZE))
    put(cell, _COUNT_C * room, get(c, C_COUNT))
    put(cell, _OTHER_PATH_C * room, get(c, C_OTHER))
    put(cell, _ADDRESS_C * room, get(c, C_ADDRESS))
    put(cell, _FLAGS_C * room, get(c, C_FLAGS))
    put(cell, _MODE_C * room, get(c, C_MODE))
    put(cell, _RESULT_C * room, result)


@inner
def _emit_open(h: int, c: int, row: int) -> None:
    """Write the row of a call on an open file."""
    info = _open(h, row)
    _emit(h, c, get(info, O_PATH), get(info, O_FILE), get(info, O_NUMBER), -1, -1)


# ---- descriptors ----


@inner
def _is_pseudo(h: int, text: int, length: int) -> bool:
    if _begins(h, text, length, _W_PROC, 5):
        return length == 5 or get_byte(text, 5) == 47
    return _begins(h, text, length, _W_SYS, 4) and (length == 4 or get_byte(text, 4) == 47)


@inner
def _is_device(h: int, text: int, length: int) -> bool:
    if not _begins(h, text, length, _W_DEV, 5):
        return False
    if _begins(h, text, length, _W_SHM, 8) and (length == 8 or get_byte(text, 8) == 47):
        return False
    return not _begins(h, text, length, _W_HUGE, 15)


@inner
def _is_recorded(h: int, text: int, length: int) -> bool:
    if length == 0 or get_byte(text, 0) != 47 or (length > 1 and get_byte(text, 1) == 91):
        return False
    return not (
        _is_pseudo(h, text, length)
        or _is_device(h, text, length)
        or _begins(h, text, length, _W_MEMFD, 7)
        or _begins(h, text, length, _W_ANON, 14)
        or _begins(h, text, length, _W_DMABUF, 8)
        or _begins(h, text, length, _W_SYSV, 5)
    )


@inner
def _at_fd(h: int, c: int, fd: int) -> int:
    """Row of the open-file description behind a descriptor of this thread; -1 without one, -2 not known here."""
    fds = get(h, FD_TABLE) + 8 * FD_FIELDS * get(get(c, C_THREAD), T_FDS)
    if fd >= get(fds, FD_ROOM):
        return -1 if fd < MAX_FD else -2
    return (get(get(fds, FD_ADDRESS), fd) >> 1) - 1


@inner
def _look_up(h: int, c: int, field: int) -> int:
    """The same, held against the name that the log shows; -1: a call on nothing recorded, C_MISSED when not known."""
    fd, name, length = get(c, field), get(c, field + 1), get(c, field + 2)
    if fd == NULL or fd < 0:
        return -1
    row = _at_fd(h, c, fd)
    if row == -2:
        return -2
    if name == -1:
        if row < 0:
            put(c, C_MISSED, 1)
        elif get(c, C_RESULT) == -_EBADF and get(_open(h, row), O_SHOWN) >= 0:
            return -2
        return row
    if row >= 0:
        shown = get(_open(h, row), O_SHOWN)
        if shown < 0:
            return -2
        info = _name(h, shown)
        if get(info, N_LENGTH) == length and _same(get(h, BLOB_BYTES) + get(info, N_BEGIN), name, length):
            return row
        return -2
    return -2 if _is_recorded(h, name, length) else -1


@inner
def _bind(h: int, c: int, fd: int, row: int, close_on_exec: int) -> None:
    """Make a descriptor mean an open-file description; -1 for none."""
    fds = get(h, FD_TABLE) + 8 * FD_FIELDS * get(get(c, C_THREAD), T_FDS)
    if fd >= get(fds, FD_ROOM):
        return
    entries = get(fds, FD_ADDRESS)
    before = (get(entries, fd) >> 1) - 1
    if row >= 0:
        info = _open(h, row)
        put(info, O_REFS, get(info, O_REFS) + 1)
    put(entries, fd, (row + 1) << 1 | close_on_exec if row >= 0 else 0)
    if before >= 0:
        release(h, before)


@inner
def _note_length(h: int, number: int, length: int) -> None:
    file = _file(h, number)
    put(file, F_LENGTH, length)
    if not get(file, F_BITS) & CHANGED and get(file, F_SIZE) == NULL:
        put(file, F_SIZE, length)
        touch(h, number)


@inner
def _set_type(h: int, number: int, kind: int) -> None:
    """Say what a file is where that is not known."""
    file = _file(h, number)
    if get(file, F_TYPE) < 0:
        put(file, F_TYPE, kind)
        touch(h, number)


@inner
def _change(h: int, number: int, length: int) -> None:
    file = _file(h, number)
    put(file, F_BITS, get(file, F_BITS) | CHANGED)
    put(file, F_LENGTH, length)


@inner
def _learn(h: int, c: int, number: int) -> None:
    """Take over what a stat told of a file."""
    file = _file(h, number)
    inode, device = get(c, C_ST_INODE), get(c, C_ST_DEVICE)
    if inode != NULL and device != NULL:
        if get(file, F_INODE) == NULL:
            put(file, F_DEVICE, device)
            put(file, F_INODE, inode)
        known = get(file, F_DEVICE)
        put_inode(h, 0 if known == NULL else known, get(file, F_INODE), number)
    if get(c, C_ST_LINKS) != NULL:
        put(file, F_LINKS, get(c, C_ST_LINKS))
    mode = get(c, C_ST_MODE)
    if mode != NULL:
        kind = mode & 0o170000
        put(
            file,
            F_TYPE,
            FILE_TYPE if kind == 0o100000 else DIRECTORY_TYPE if kind == 0o040000 else LINK_TYPE if kind == 0o120000
            else OTHER_TYPE,
        )  # fmt: skip
        if get(file, F_MODE) == NULL:
            put(file, F_MODE, mode)
    size = get(c, C_ST_SIZE)
    if size != NULL:
        if not get(file, F_BITS) & CHANGED and get(file, F_SIZE) == NULL and get(file, F_BLOCKS) == NULL:
            put(file, F_BLOCKS, get(c, C_ST_BLOCKS))
        _note_length(h, number, size)
    touch(h, number)


@inner
def _other_name(h: int, c: int) -> None:
    """The name of an attribute."""
    if get(c, C_NAME) != -1:
        name = intern_name(h, get(c, C_NAME), get(c, C_NAME_LENGTH))
        put(c, C_OTHER, intern_path(h, name, get(c, C_NAME), get(c, C_NAME_LENGTH)))


@inner
def _on_fd(h: int, c: int) -> bool:
    kind, op, result = get(c, C_CLASS), get(c, C_OP), get(c, C_RESULT)
    row = _look_up(h, c, C_FD)
    if row == -2:
        return False
    if kind == K_CLOSE:
        fd = get(c, C_FD)
        if fd == NULL:
            return False
        _accept_call(h, c)
        if row >= 0:
            _bind(h, c, fd, -1, 0)
            if result != -_EBADF:
                _emit_open(h, c, row)
        return True
    if kind == K_DUP:
        return _dup(h, c, row)
    _accept_call(h, c)
    if row < 0:
        return True
    info = _open(h, row)
    file = get(info, O_FILE)
    if kind in (K_READ, K_WRITE):
        offset = get(c, C_OFFSET)
        moves = op in (_OP_READ, _OP_WRITE, _OP_READV, _OP_WRITEV) and (offset == NULL or offset == -1)
        appends = kind == K_WRITE and get(info, O_FLAGS) & _APPEND != 0
        if moves:
            offset = get(_file(h, file), F_LENGTH) if appends else get(info, O_POSITION)
            put(c, C_OFFSET, offset)
        elif appends:
            # a positioned write to what was opened to append goes to the end too (pwrite(2), Bugs)
            offset = get(_file(h, file), F_LENGTH)
        if result >= 0:
            end = offset + result if offset != NULL else NULL
            if offset > 0 and end < 0:
                end = NULL
            if kind == K_READ:
                _set_type(h, file, FILE_TYPE)
                if moves:
                    put(info, O_POSITION, end)
                if end != NULL:
                    size = get(c, C_SIZE)
                    if result > 0 and size != NULL and result < size and get(_file(h, file), F_LENGTH) == NULL:
                        _note_length(h, file, end)
            else:
                if end == NULL:
                    _change(h, file, NULL)
                elif result > 0:
                    put(_file(h, file), F_BITS, get(_file(h, file), F_BITS) | CHANGED)
                    _set_type(h, file, FILE_TYPE)
                    length = get(_file(h, file), F_LENGTH)
                    if length != NULL and end > length:
                        put(_file(h, file), F_LENGTH, end)
                if moves and result > 0:
                    put(info, O_POSITION, end)
    elif kind == K_LSEEK:
        if result >= 0:
            put(info, O_POSITION, result)
            put(info, O_LISTED, 0 if result == 0 else -1)
            offset = get(c, C_OFFSET)
            if get(c, C_FLAGS) == 2 and offset != NULL and get(_file(h, file), F_TYPE) == FILE_TYPE:
                _note_length(h, file, result - offset)
    elif kind == K_GETDENTS:
        if result >= 0:
            _set_type(h, file, DIRECTORY_TYPE)
            listed = get(info, O_LISTED)
            if get(c, C_ENTRIES) == NULL:
                put(info, O_LISTED, -1)
            elif result == 0:
                if get(_file(h, file), F_ENTRIES) == NULL and listed >= 0:
                    put(_file(h, file), F_ENTRIES, max(0, listed - 2))
                    touch(h, file)
            elif listed >= 0:
                put(info, O_LISTED, listed + get(c, C_ENTRIES))
    elif op == _OP_FTRUNCATE and result == 0:
        _change(h, file, get(c, C_SIZE))
    elif get(c, C_STAT) and result == 0:
        _learn(h, c, file)
    _other_name(h, c)
    _emit_open(h, c, row)
    return True


@inner
def _dup(h: int, c: int, row: int) -> bool:
    """dup, dup2, dup3, fcntl(F_DUPFD)."""
    new, fd, op = get(c, C_RESULT), get(c, C_FD), get(c, C_OP)
    if new < 0:
        _accept_call(h, c)
        if row >= 0:
            _emit_open(h, c, row)
        return True
    closed = _at_fd(h, c, new) if new != fd else -1
    if closed == -2 or (row >= 0 and not _has_room(h, c, new)):
        return False
    _accept_call(h, c)
    closed_number = closed_file = -1
    if closed >= 0:
        closed_number, closed_file = get(_open(h, closed), O_NUMBER), get(_open(h, closed), O_FILE)
    if row < 0:
        _bind(h, c, new, -1, 0)
        if closed >= 0 and op != _OP_DUPFD:
            _emit(h, c, -1, -1, -1, closed_file, closed_number)
        return True
    if new != fd:
        flags = get(c, C_FLAGS)
        on_exec = flags == _DUPFD_CLOEXEC if op == _OP_DUPFD else (
            op == _OP_DUP3 and flags != NULL and flags & _CLOEXEC != 0
        )  # fmt: skip
        _bind(h, c, new, row, 1 if on_exec else 0)
    info = _open(h, row)
    _emit(h, c, get(info, O_PATH), get(info, O_FILE), get(info, O_NUMBER), closed_file, closed_number)
    return True


@inner
def _has_room(h: int, c: int, fd: int) -> bool:
    return fd < get(get(h, FD_TABLE) + 8 * FD_FIELDS * get(get(c, C_THREAD), T_FDS), FD_ROOM)


@inner
def _fcntl(h: int, c: int) -> bool:
    command, value, fd = get(c, C_FLAGS), get(c, C_SIZE), get(c, C_FD)
    if command == NULL or fd == NULL or _LOCKS_FROM <= command <= _LOCKS_TO or _OFD_FROM <= command <= _OFD_TO:
        return False
    row = _look_up(h, c, C_FD)
    if row == -2:
        return False
    put(c, C_SIZE, NULL)
    if command in (_DUPFD, _DUPFD_CLOEXEC):
        put(c, C_OP, _OP_DUPFD)
        return _dup(h, c, row)
    put(c, C_MODE, value & 0x7FFFFFFF if command in (_SETFD, _SETFL) and value != NULL else 0)
    _accept_call(h, c)
    if get(c, C_RESULT) == 0 and value != NULL and fd >= 0:
        there = _at_fd(h, c, fd)
        if there >= 0:
            if command == _SETFD:
                entries = get(get(h, FD_TABLE) + 8 * FD_FIELDS * get(get(c, C_THREAD), T_FDS), FD_ADDRESS)
                put(entries, fd, (get(entries, fd) & ~1) | (value & 1))
            elif command == _SETFL:
                flags = get(_open(h, there), O_FLAGS)
                put(_open(h, there), O_FLAGS, (flags & ~_SETTABLE) | (value & _SETTABLE))
    if row >= 0:
        _emit_open(h, c, row)
    return True


# ---- memory ----


@inner
def _hit(h: int, c: int, start: int, end: int) -> int:
    """First region of a file that lies at least partly within a range; -1 without one."""
    memory = get(h, MEMORY_TABLE) + 8 * MEMORY_FIELDS * get(get(c, C_THREAD), T_MEMORY)
    regions, low, high = get(memory, M_ADDRESS), 0, get(memory, M_COUNT)
    while low < high:
        middle = (low + high) >> 1
        if get(regions, REGION_FIELDS * middle + R_END) <= start:
            low = middle + 1
        else:
            high = middle
    if low < get(memory, M_COUNT) and get(regions, REGION_FIELDS * low + R_START) < end:
        return low
    return -1


@inner
def _cut(h: int, c: int, start: int, end: int, spare: int) -> bool:
    """Unmap a range; False when the table lacks the room for what is left and `spare` more."""
    memory = get(h, MEMORY_TABLE) + 8 * MEMORY_FIELDS * get(get(c, C_THREAD), T_MEMORY)
    regions, count = get(memory, M_ADDRESS), get(memory, M_COUNT)
    if count + 1 + spare > get(memory, M_ROOM):
        return False
    first = _hit(h, c, start, end)
    if first < 0:
        return True
    last = first
    while last < count and get(regions, REGION_FIELDS * last + R_START) < end:
        last += 1
    left = get(regions, REGION_FIELDS * first + R_START) < start
    tail = regions + 8 * REGION_FIELDS * (last - 1)
    right = get(tail, R_END) > end
    t_end, t_file, t_path, t_open = get(tail, R_END), get(tail, R_FILE), get(tail, R_PATH), get(tail, R_OPEN)
    t_offset = get(tail, R_OFFSET) + end - get(tail, R_START)
    if left:
        put(regions, REGION_FIELDS * first + R_END, start)
    kept = first + (1 if left else 0)
    _shift(regions, count, last, kept + (1 if right else 0))
    if right:
        piece = regions + 8 * REGION_FIELDS * kept
        put(piece, R_START, end)
        put(piece, R_END, t_end)
        put(piece, R_FILE, t_file)
        put(piece, R_PATH, t_path)
        put(piece, R_OPEN, t_open)
        put(piece, R_OFFSET, t_offset)
    put(memory, M_COUNT, count - (last - kept) + (1 if right else 0))
    return True


@inner
def _shift(regions: int, count: int, old: int, new: int) -> None:
    """Move the regions from `old` on to `new`."""
    words = REGION_FIELDS * (count - old)
    source, target = regions + 8 * REGION_FIELDS * old, regions + 8 * REGION_FIELDS * new
    if target < source:
        for i in range(words):
            put(target, i, get(source, i))
    elif target > source:
        for i in range(words - 1, -1, -1):
            put(target, i, get(source, i))


@inner
def _pages(h: int, size: int) -> int:
    page = get(h, PAGE_BYTES)
    return 0 if size == NULL else (size + page - 1) // page * page


@inner
def _mmap(h: int, c: int) -> bool:
    start, size = get(c, C_RESULT), get(c, C_SIZE)
    row = _look_up(h, c, C_FD)
    if row == -2 or size == NULL or not 0 < size < 1 << 48 or start >= 1 << 60:
        return False
    length = _pages(h, size)
    unmapped = row < 0
    if start >= 0 and (unmapped or length > 0) and not _cut(h, c, start, start + length, 0 if unmapped else 1):
        return False
    _accept_call(h, c)
    if unmapped:
        return True
    put(c, C_ADDRESS, start if start >= 0 else NULL)
    info = _open(h, row)
    if start >= 0 and length > 0:
        memory = get(h, MEMORY_TABLE) + 8 * MEMORY_FIELDS * get(get(c, C_THREAD), T_MEMORY)
        regions, count = get(memory, M_ADDRESS), get(memory, M_COUNT)
        place = 0
        while place < count and get(regions, REGION_FIELDS * place + R_START) < start:
            place += 1
        _shift(regions, count, place, place + 1)
        region = regions + 8 * REGION_FIELDS * place
        put(region, R_START, start)
        put(region, R_END, start + length)
        put(region, R_FILE, get(info, O_FILE))
        put(region, R_PATH, get(info, O_PATH))
        put(region, R_OPEN, get(info, O_NUMBER))
        put(region, R_OFFSET, 0 if get(c, C_OFFSET) == NULL else get(c, C_OFFSET))
        put(memory, M_COUNT, count + 1)
    _emit_open(h, c, row)
    return True


@inner
def _memory(h: int, c: int) -> bool:
    """munmap, msync, madvise."""
    start, size = get(c, C_ADDRESS), get(c, C_SIZE)
    if start == NULL or size == NULL or not 0 <= size < 1 << 48 or not 0 <= start < 1 << 60:
        return False
    end = start + _pages(h, size)
    # an empty range is Python's: what it hits is a matter of the order of comparisons
    if end == start:
        return False
    found = _hit(h, c, start, end)
    path = file = opened = -1
    if found >= 0:
        memory = get(h, MEMORY_TABLE) + 8 * MEMORY_FIELDS * get(get(c, C_THREAD), T_MEMORY)
        region = get(memory, M_ADDRESS) + 8 * REGION_FIELDS * found
        path, file, opened = get(region, R_PATH), get(region, R_FILE), get(region, R_OPEN)
        if get(c, C_OP) == _OP_MUNMAP and get(c, C_RESULT) == 0 and not _cut(h, c, start, end, 0):
            return False
    _accept_call(h, c)
    if found >= 0:
        _emit(h, c, path, file, opened, -1, -1)
    return True


# ---- names ----


@inner
def _tidy(target: int, begin: int, source: int, length: int) -> int:
    """Append the components of a path to the text at `target`, `begin` bytes long; `.` and `..` are followed."""
    at = begin
    i = 0
    while i < length:
        while i < length and get_byte(source, i) == 47:
            i += 1
        first = i
        while i < length and get_byte(source, i) != 47:
            i += 1
        count = i - first
        if count == 0:
            break
        if count == 1 and get_byte(source, first) == 46:
            continue
        if count == 2 and get_byte(source, first) == 46 and get_byte(source, first + 1) == 46:
            while at > 0:
                at -= 1
                if get_byte(target, at) == 47:
                    break
            continue
        put_byte(target, at, 47)
        _copy(target + at + 1, source + first, count)
        at += 1 + count
    return at


@inner
def _resolve(h: int, c: int) -> int:
    """The absolute name that a path is, into C_TEXT and C_TEXT_LENGTH, and the folder's description into C_BASE.

    Returns 1; 0 when the log does not tell the folder; -1 when it is Python's.
    """
    raw, length, dirfd = get(c, C_PATH), get(c, C_PATH_LENGTH), get(c, C_DIRFD)
    put(c, C_BASE, -1)
    put(c, C_MISSED, 0)
    put(c, C_ODD, 0)
    base, base_length = 0, 0
    thread = get(c, C_THREAD)
    cwd = get(get(h, FOLDER_TABLE), get(thread, T_FOLDER))
    if dirfd == _AT_FDCWD and get(c, C_DIRN) != -1 and get(c, C_DIRN_LENGTH) > 0:
        if cwd < 0 or not get(get(h, PROCESS_TABLE), get(thread, T_PROCESS)):
            return -1
        info = _name(h, cwd)
        if get(info, N_LENGTH) != get(c, C_DIRN_LENGTH) or not _same(
            get(h, BLOB_BYTES) + get(info, N_BEGIN), get(c, C_DIRN), get(c, C_DIRN_LENGTH)
        ):
            return -1
    if length == 0 or get_byte(raw, 0) != 47:
        if dirfd in (NULL, _AT_FDCWD):
            if cwd < 0:
                put(c, C_ODD, 1)
                base, base_length = get(h, WORDS) + _W_UNKNOWN, 10
            else:
                base, base_length = get(h, BLOB_BYTES) + get(_name(h, cwd), N_BEGIN), get(_name(h, cwd), N_LENGTH)
        else:
            row = _look_up(h, c, C_DIRFD)
            if row == -2:
                return -1
            if row >= 0:
                info = _open(h, row)
                where = get(_file(h, get(info, O_FILE)), F_WHERE)
                if where < 0:
                    where = get(info, O_TEXT)
                base, base_length = get(h, BLOB_BYTES) + get(_name(h, where), N_BEGIN), get(_name(h, where), N_LENGTH)
                put(c, C_BASE, get(info, O_NUMBER))
            elif get(c, C_DIRN) != -1 and get(c, C_DIRN_LENGTH) > 0:
                base, base_length = get(c, C_DIRN), get(c, C_DIRN_LENGTH)
            else:
                return 0
        if base_length == 0 or get_byte(base, 0) != 47:
            return -1
    if base_length + length > _TEXT_ROOM:
        return -1
    text = get(h, SCRATCH)
    at = _tidy(text, 0, base, base_length)
    at = _tidy(text, at, raw, length)
    if at == 0:
        put_byte(text, 0, 47)
        at = 1
    put(c, C_TEXT, text)
    put(c, C_TEXT_LENGTH, at)
    return 1


@inner
def _accept_named(h: int, c: int) -> None:
    _accept_call(h, c)
    if get(c, C_ODD):
        put(h, UNKNOWN_FOLDERS, get(h, UNKNOWN_FOLDERS) + 1)


@inner
def _folder_of(text: int, length: int) -> int:
    """Length of the folder's name of an absolute name, as os.path.dirname has it."""
    at = length
    while at > 0 and get_byte(text, at - 1) != 47:
        at -= 1
    while at > 1 and get_byte(text, at - 1) == 47:
        at -= 1
    return at


@inner
def _made_here(h: int, text: int, length: int) -> bool:
    """Whether the folder of a name was made by the program."""
    name = find_name(h, text, _folder_of(text, length))
    if name < 0:
        return False
    file = get(_name(h, name), N_FILE)
    return file >= 0 and get(_file(h, file), F_EXISTED) == 0


@inner
def _make(h: int, name: int, path: int, existed: int) -> int:
    """A file that was not known before, under this name; existed: 1, 0, or -1 when not known."""
    info = _name(h, name)
    if existed == 1 and _made_here(h, get(h, BLOB_BYTES) + get(info, N_BEGIN), get(info, N_LENGTH)):
        existed = -1
    number = new_file(h, path, name, existed)
    if existed == 0:
        put(_file(h, number), F_SIZE, 0)
        put(_file(h, number), F_LENGTH, 0)
    put(info, N_FILE, number)
    put(info, N_ABSENT, 0)
    return number


@inner
def _found(h: int, c: int, name: int, path: int, existed: int, stat: bool) -> int:
    """The file that a call found under a name."""
    info = _name(h, name)
    file = get(info, N_FILE)
    inode, device = get(c, C_ST_INODE), get(c, C_ST_DEVICE)
    if stat and inode != NULL and device != NULL:
        known = NULL
        if file >= 0:
            known = get(_file(h, file), F_INODE)
        if file < 0 or known == NULL or known != inode or get(_file(h, file), F_DEVICE) != device:
            slots = get(h, INODE_SLOTS)
            there = get(slots, 3 * find_inode(slots, get(h, INODE_SLOTS + 1), device, inode) + 2)
            if there >= 0:
                file = there
            elif file >= 0 and known != NULL:
                file = -1
    if file < 0:
        file = _make(h, name, path, existed)
    elif get(info, N_FILE) != file:
        put(info, N_FILE, file)
        put(info, N_ABSENT, 0)
    if stat:
        _learn(h, c, file)
    return file


@inner
def _is_link(h: int, file: int) -> bool:
    return file >= 0 and get(_file(h, file), F_TYPE) == LINK_TYPE


@inner
def _on_path(h: int, c: int) -> bool:
    """Looking, readlink that fails, unlink."""
    kind, result = get(c, C_CLASS), get(c, C_RESULT)
    dirfd = get(c, C_DIRFD)
    if get(c, C_PATH) == -1 and not (dirfd != NULL and dirfd != _AT_FDCWD):
        return False
    if get(c, C_PATH) == -1 or (get(c, C_PATH_LENGTH) == 0 and dirfd != NULL and dirfd != _AT_FDCWD):
        if kind != K_PATH:
            return False
        put(c, C_FD, dirfd)
        put(c, C_FDN, get(c, C_DIRN))
        put(c, C_FDN_LENGTH, get(c, C_DIRN_LENGTH))
        return _on_fd(h, c)
    known = _resolve(h, c)
    if known < 0 or (kind == K_READLINK and result >= 0):
        return False
    text, length = get(c, C_TEXT), get(c, C_TEXT_LENGTH)
    stat = get(c, C_STAT) == 1 and result == 0
    ignored = known == 0 or _is_pseudo(h, text, length)
    if not ignored and result >= 0:
        if stat:
            mode = get(c, C_ST_MODE) & 0o170000
            ignored = mode != 0o100000 and mode != 0o040000 and mode != 0o120000 and mode != 0
        else:
            ignored = _is_device(h, text, length)
    if ignored:
        _accept_named(h, c)
        return True
    names_link = get(get(h, OP_TABLE) + 8 * OP_FIELDS * get(c, C_OP), ARGUMENTS + 2)
    flags = get(c, C_FLAGS)
    name = find_name(h, text, length)
    file = get(_name(h, name), N_FILE) if name >= 0 else -1
    if not (names_link == 1 or (names_link == 2 and flags != NULL and flags & _SYMLINK_NOFOLLOW)) and _is_link(h, file):
        return False
    if result >= 0 and file < 0 and get(h, PROBES):
        return False
    _accept_named(h, c)
    if name < 0:
        name = intern_name(h, text, length)
    path = intern_path(h, name, get(c, C_PATH), get(c, C_PATH_LENGTH))
    if result >= 0:
        file = _found(h, c, name, path, 1, stat)
    elif result == -_ENOENT:
        put(_name(h, name), N_FILE, -1)
        put(_name(h, name), N_ABSENT, 1)
        if kind != K_READLINK:
            file = -1
    _other_name(h, c)
    _emit(h, c, path, file, get(c, C_BASE), -1, -1)
    if kind == K_UNLINK and result >= 0:
        if get(c, C_ODD):
            put(h, UNKNOWN_FOLDERS, get(h, UNKNOWN_FOLDERS) + 1)
        put(_name(h, name), N_FILE, -1)
        put(_name(h, name), N_ABSENT, 1)
        row = _file(h, file)
        if get(row, F_WHERE) == name:
            put(row, F_WHERE, -1)
        if get(row, F_LINKS) != NULL:
            put(row, F_LINKS, get(row, F_LINKS) - 1)
        if get(row, F_INODE) != NULL and (get(row, F_LINKS) == NULL or get(row, F_LINKS) == 0):
            device = get(row, F_DEVICE)
            put_inode(h, 0 if device == NULL else device, get(row, F_INODE), GONE)
    return True


@inner
def _opening(h: int, c: int) -> bool:
    """open and openat."""
    if get(c, C_PATH) == -1:
        return False
    known = _resolve(h, c)
    if known < 0:
        return False
    result, shown, shown_length = get(c, C_RESULT), get(c, C_RNAME), get(c, C_RNAME_LENGTH)
    flags = 0 if get(c, C_FLAGS) == NULL else get(c, C_FLAGS)
    text, length = get(c, C_TEXT), get(c, C_TEXT_LENGTH)
    if known == 0:
        _accept_named(h, c)
        return True
    if result >= 0:
        if not _has_room(h, c, result):
            return False
        if shown != -1:
            recorded = _is_recorded(h, shown, shown_length)
        else:
            recorded = not (_is_pseudo(h, text, length) or _is_device(h, text, length))
        if not recorded:
            _accept_named(h, c)
            _bind(h, c, result, -1, 0)
            return True
    elif _is_pseudo(h, text, length):
        _accept_named(h, c)
        return True
    name = find_name(h, text, length)
    file = get(_name(h, name), N_FILE) if name >= 0 else -1
    if not flags & _NOFOLLOW and _is_link(h, file):
        return False
    base = get(c, C_BASE)
    if result < 0:
        _accept_named(h, c)
        if name < 0:
            name = intern_name(h, text, length)
        path = intern_path(h, name, get(c, C_PATH), get(c, C_PATH_LENGTH))
        if result == -_ENOENT:
            put(_name(h, name), N_FILE, -1)
            put(_name(h, name), N_ABSENT, 1)
            file = -1
        _emit(h, c, path, file, -1, -1, base)
        return True
    if flags & _TMPFILE_BIT or get(h, LABELS):
        return False
    resolved, resolved_length = text, length
    if shown != -1:
        resolved, resolved_length = shown, shown_length
    if resolved_length >= 10 and _begins(h, resolved + resolved_length - 10, 10, _W_DELETED, 10):
        return False
    where = find_name(h, resolved, resolved_length)
    unknown = shown != -1 and (where < 0 or get(_name(h, where), N_FILE) < 0)
    if unknown and (length != resolved_length or not _same(text, resolved, length)):
        return False  # a link led elsewhere: the file has another name than the event
    if get(h, PROBES) and (where < 0 or get(_name(h, where), N_FILE) < 0):
        return False
    _accept_named(h, c)
    if name < 0:
        name = intern_name(h, text, length)
    path = intern_path(h, name, get(c, C_PATH), get(c, C_PATH_LENGTH))
    if where < 0:
        where = intern_name(h, resolved, resolved_length)
    info = _name(h, where)
    if where != name and get(info, N_FILE) < 0:
        alias = get(_name(h, name), N_FILE)
        if alias >= 0 and get(_file(h, alias), F_TYPE) != LINK_TYPE:
            put(info, N_FILE, alias)
    existed = 1
    if flags & _CREAT and get(info, N_FILE) < 0:
        if flags & _EXCL or get(_name(h, name), N_ABSENT) or get(info, N_ABSENT):
            existed = 0
        else:
            # where the folder was made by the program too, what stands in it was
            existed = 0 if _made_here(h, get(h, BLOB_BYTES) + get(info, N_BEGIN), resolved_length) else -1
    put(_name(h, name), N_ABSENT, 0)
    file = get(info, N_FILE)
    if file < 0:
        file = _make(h, where, path, existed)
    if flags & _DIRECTORY:
        put(_file(h, file), F_TYPE, DIRECTORY_TYPE)
        touch(h, file)
    elif flags & _CREAT:
        _set_type(h, file, FILE_TYPE)
    if flags & _TRUNC and flags & _ACCMODE and get(_file(h, file), F_EXISTED) != 0:
        _change(h, file, 0)
    row = new_open(h)
    opened = _open(h, row)
    number = get(h, OPENS)
    put(h, OPENS, number + 1)
    put(opened, O_NUMBER, number)
    put(opened, O_FILE, file)
    put(opened, O_PATH, path)
    put(opened, O_TEXT, where)
    put(opened, O_FLAGS, flags)
    put(opened, O_POSITION, 0)
    put(opened, O_SHOWN, where if shown != -1 else -1)
    put(opened, O_LISTED, 0)
    _bind(h, c, result, row, 1 if flags & _CLOEXEC else 0)
    _emit(h, c, path, file, number, -1, base)
    return True


# ---- lines ----


@inner
def _call(h: int, c: int, name: int, name_length: int, begin: int, close: int, end: int, at: int) -> bool:
    """A whole call: its name, its arguments from `begin` to `close`, and what stands behind `)` up to `end`."""
    op = _symbol(h, name, name_length, SYMBOL_CALL)
    tail = _spaces(close + 1, end)
    if tail == close + 1 or tail + 1 >= end or get_byte(tail, 0) != 61 or get_byte(tail, 1) != 32:
        return False
    if not _result(h, c, tail + 2, end):
        return False
    put(c, C_AT, at)
    if op == NULL:
        if _begins(h, name, name_length, _W_NUMBERED, 8):
            return False
        _accept(h, c)
        return True
    if op in (IOCTL, RECVMSG):
        if get(c, C_RESULT) == NULL or get(c, C_RESULT) >= 0:
            if op == RECVMSG and _count(h, begin, close, _W_CMSG, 9) > 0:
                return False
            if op == IOCTL and _count(h, begin, close, _W_FIO, 3) + _count(h, begin, close, _W_FIO_RAW, 5) > 0:
                return False
        _accept(h, c)
        return True
    if op < 0 or get(c, C_RESULT) == NULL:
        return False
    tid = get(c, C_TID)
    thread = get_half(get(h, THREAD_OF), tid)
    if thread == 0:
        return False
    kind = get(get(h, OP_TABLE) + 8 * OP_FIELDS * op, ARGUMENTS)
    put(c, C_OP, op)
    put(c, C_CLASS, kind)
    put(c, C_THREAD, get(h, THREAD_TABLE) + 8 * THREAD_FIELDS * (thread - 1))
    put(c, C_FD, NULL)
    put(c, C_FDN, -1)
    put(c, C_DIRFD, NULL)
    put(c, C_DIRN, -1)
    put(c, C_PATH, -1)
    for field in range(C_SIZE, C_ST_LINKS + 1):
        put(c, field, NULL)
    put(c, C_STAT, 0)
    put(c, C_ODD, 0)
    put(c, C_SPECIAL, 0)
    put(c, C_TEXT, -1)
    put(c, C_MISSED, 0)
    put(c, C_NAME, -1)
    put(c, C_OTHER, NULL)
    put(c, C_COUNT, NULL)
    if not _arguments(h, c, begin, close):
        return False
    if kind == K_FCNTL:
        return _fcntl(h, c)
    if kind == K_MMAP:
        return _mmap(h, c)
    if kind == K_MEMORY:
        return _memory(h, c)
    if kind == K_OPEN:
        return _opening(h, c)
    if kind in (K_PATH, K_UNLINK, K_READLINK):
        return _on_path(h, c)
    return _on_fd(h, c)


@inner
def _cut_short(begin: int, end: int) -> int:
    """End of a text without the ` <unfinished ...>` behind it."""
    end -= 16
    return end - 1 if end > begin and get_byte(end, -1) == 32 else end


@inner
def _unfinished(h: int, c: int, begin: int, name_end: int, end: int) -> bool:
    """A call that others interrupt: keep it until it is resumed."""
    op = _symbol(h, begin, name_end - begin, SYMBOL_CALL)
    if op == -1:
        return False
    tid = get(c, C_TID)
    slot = get_half(get(h, PENDING_OF), tid)
    length = end - begin
    # where another one waits already, that one is lost
    if slot != 0 or length > PENDING_ROOM or get(h, PENDING_FREE) < 0:
        return False
    put(c, C_AT, get(c, C_TIME))
    _accept(h, c)
    slot = get(h, PENDING_FREE) + 1
    put(h, PENDING_FREE, get(get(h, PENDING_TABLE) + 8 * PENDING_FIELDS * (slot - 1), W_TIME))
    _put_half(get(h, PENDING_OF), tid, slot)
    row = get(h, PENDING_TABLE) + 8 * PENDING_FIELDS * (slot - 1)
    put(row, W_TIME, get(c, C_TIME))
    put(row, W_NAME, name_end - begin)
    put(row, W_LENGTH, length)
    _copy(get(h, PENDING_BYTES) + PENDING_ROOM * (slot - 1), begin, length)
    return True


@inner
def _resumed(h: int, c: int, at: int, end: int) -> bool:
    """The rest of an interrupted call."""
    name = at + 5
    at = name
    while at < end and _is_word(get_byte(at, 0)):
        at += 1
    length = at - name
    if length == 0 or not _begins(h, at, end - at, _W_RESUMED, 9):
        return False
    at += 9
    if at < end and get_byte(at, 0) == 32:
        at += 1
    tid = get(c, C_TID)
    slot = get_half(get(h, PENDING_OF), tid)
    # where it is not kept here, Python may have it
    if slot == 0 or slot == IN_PYTHON:
        return False
    row = get(h, PENDING_TABLE) + 8 * PENDING_FIELDS * (slot - 1)
    begun = get(h, PENDING_BYTES) + PENDING_ROOM * (slot - 1)
    if get(row, W_NAME) != length or not _same(begun, name, length):
        return False
    if at >= end:
        return False
    close = _tail_at(at, end)
    if close < 0:
        return False
    # both halves in one place
    text = get(h, SCRATCH) + LINE_ROOM
    first = _cut_short(begun + length + 1, begun + get(row, W_LENGTH)) - (begun + length + 1)
    if first < 0:
        return False
    _copy(text, begun + length + 1, first)
    _copy(text + first, at, end - at)
    joined = text + first + (close - at)
    if joined - text > 4 and _begins(h, joined - 4, 4, _W_UNFINISHED + 12, 4):
        return False
    arrived = get(c, C_TIME)
    put(c, C_TIME, get(row, W_TIME))
    put(c, C_RESUMED, 1)
    if not _call(h, c, name, length, text, joined, text + first + (end - at), arrived):
        return False
    put(row, W_TIME, get(h, PENDING_FREE))
    put(h, PENDING_FREE, slot - 1)
    _put_half(get(h, PENDING_OF), tid, 0)
    return True


@inner
def _line(h: int, c: int, begin: int, end: int, pid: int) -> bool:
    """One line without its end; False when it is left to Python, with nothing changed."""
    if end > begin and get_byte(end, -1) == 13:
        end -= 1
    if end - begin > LINE_ROOM - PENDING_ROOM or end == begin or get_byte(end, -1) == 13:
        return False
    put(c, C_RESUMED, 0)
    at = _head(h, c, begin, end, pid)
    if at < 0 or at >= end:
        return False
    byte = get_byte(at, 0)
    if byte == 60:
        return _begins(h, at, end - at, _W_DOTS, 5) and _resumed(h, c, at, end)
    if byte == 45:
        if not _begins(h, at, end - at, _W_DASHES, 4) or end - at < 8 or not _begins(h, end - 4, 4, _W_DASHES_END, 4):
            return False
        put(c, C_AT, get(c, C_TIME))
        _accept(h, c)
        return True
    name = at
    while at < end and _is_word(get_byte(at, 0)):
        at += 1
    if at == name or at >= end or get_byte(at, 0) != 40:
        return False
    if end - at > 17 and get_byte(end, -1) == 62 and _begins(h, end - 16, 16, _W_UNFINISHED, 16):
        # a string that ends so would be a whole call
        return _tail_at(at + 1, end) < 0 and _unfinished(h, c, name, at, end)
    close = _tail_at(at + 1, end)
    return close >= 0 and _call(h, c, name, at - name, at + 1, close, end, get(c, C_TIME))


@inner
def _has_spare(h: int, line: int) -> bool:
    """Whether each table has room for what one line can need."""
    return (
        get(h, NAMES) + SPARE < get(h, NAME_TABLE + 1)
        and get(h, BLOB) + 2 * _TEXT_ROOM + 4 * line < get(h, BLOB_BYTES + 1)
        and get(h, PATHS) + SPARE < get(h, PATH_TABLE + 1)
        and get(h, FILES) + SPARE < get(h, FILE_TABLE + 1)
        and get(h, OPEN_TOP) + SPARE < get(h, OPEN_TABLE + 1)
        and 2 * (get(h, NAMES) + SPARE) < get(h, NAME_SLOTS + 1)
        and 2 * (get(h, PATHS) + SPARE) < get(h, PATH_SLOTS + 1)
        and 2 * (get(h, INODES) + SPARE) < get(h, INODE_SLOTS + 1)
        and get(h, ROWS) + SPARE < get(h, EVENT_TABLE + 1)
    )


@entry
def feed(h: int, begin: int, end: int, pid: int) -> int:
    """Take the lines from `begin` to `end`, each with its line feed, until one is Python's.

    Returns DONE; TO_PYTHON with the line from AT to LINE_END, which is to be taken before the next; TO_FLUSH when the
    rows are to be written; TO_GROW when a table is full. Go on from LINE_END + 1, or from AT after the last two.
    """
    c = get(h, CALL)
    while begin < end:
        stop = begin
        while stop < end and get_byte(stop, 0) != 10:
            stop += 1
        put(h, AT, begin)
        put(h, LINE_END, stop)
        if get(h, ROWS) >= BATCH_ROWS:
            return TO_FLUSH
        if not _has_spare(h, min(stop - begin, LINE_ROOM)):
            return TO_GROW
        if not _line(h, c, begin, stop, pid):
            put(h, AT, begin)
            put(h, LINE_END, stop)
            return TO_PYTHON
        begin = stop + 1
    return DONE


@entry
def feed_runs(h: int, runs: int, first: int, count: int) -> int:
    """Take runs of (begin, end, pid) as feed() does; HEAP says at which run it stopped, whose begin is to be moved."""
    for number in range(first, count):
        run = runs + 8 * RUN_FIELDS * number
        if get(run, 0) < get(run, 1):
            what = feed(h, get(run, 0), get(run, 1), get(run, 2))
            if what != DONE:
                put(h, HEAP, number)
                return what
    return DONE


# ---- several logs in order of time ----


@entry
def next_time(h: int, row: int) -> bool:
    """Read the time of a log's next line; False without a whole line."""
    begin, stop = get(row, L_AT), get(row, L_END)
    end = begin
    while end < stop and get_byte(end, 0) != 10:
        end += 1
    if end >= stop:
        return False
    put(row, L_LINE, end + 1)
    c = get(h, CALL)
    at = _spaces(begin, end)
    if at < end and get_byte(at, 0) == 91 and _begins(h, at, end - at, _W_PID, 5):
        at = _spaces(at + 5, end)
        while at < end and _is_digit(get_byte(at, 0)):
            at += 1
        at = _spaces(_command(at, end) + 1, end)
    elif at < end and _is_digit(get_byte(at, 0)):
        # a number and a space: a process, if it is one of theirs
        after, value = at, 0
        while after < end and _is_digit(get_byte(after, 0)) and after - at < 11:
            value = value * 10 + get_byte(after, 0) - 48
            after += 1
        after = _command(after, end)
        if after < end and get_byte(after, 0) == 32 and value <= MAX_PID:
            at = _spaces(after, end)
    # a line without a time stands where the one before it did
    if at < end and _is_digit(get_byte(at, 0)) and _clock(h, c, at, end) >= 0:
        time, before = get(c, C_TIME), get(row, L_TIME)
        if get(c, C_CLOCK) == _RELATIVE:
            time += before
        elif get(c, C_CLOCK) == _DAY and time < before - _DAY_NS // 2:
            time += (before - time + _DAY_NS // 2) // _DAY_NS * _DAY_NS
        put(row, L_TIME, time)
    return True


@inner
def _before(one: int, other: int, a: int, b: int) -> bool:
    return get(one, L_TIME) < get(other, L_TIME) or (get(one, L_TIME) == get(other, L_TIME) and a < b)


@inner
def _sink(logs: int, heap: int, count: int) -> None:
    """Put the first of the heap where it belongs."""
    at = 0
    while 2 * at + 1 < count:
        child = 2 * at + 1
        a = get(heap, child)
        if child + 1 < count:
            b = get(heap, child + 1)
            if _before(logs + 8 * LOG_FIELDS * b, logs + 8 * LOG_FIELDS * a, b, a):
                child, a = child + 1, b
        top = get(heap, at)
        if not _before(logs + 8 * LOG_FIELDS * a, logs + 8 * LOG_FIELDS * top, a, top):
            return
        put(heap, at, a)
        put(heap, child, top)
        at = child


@entry
def merge(h: int, logs: int, heap: int, out: int, room: int, runs: int, runs_room: int) -> int:
    """Copy lines of several logs, in order of time, to `out`, and note which run of them is whose.

    `heap` holds the numbers of the logs, ordered; header words: HEAP its size, RUNS runs, OUT bytes, WANTS the log that
    was filled up since. Returns MERGED at the end, MERGE_FULL when what is there is to be taken, MERGE_WANTS when the
    first log needs more bytes.
    """
    wants = get(h, WANTS)
    while get(h, HEAP) > 0:
        number = get(heap, 0)
        row = logs + 8 * LOG_FIELDS * number
        if wants:
            wants = 0
            put(h, WANTS, 0)
        else:
            begin, end = get(row, L_AT), get(row, L_LINE)
            at, count = get(h, OUT), get(h, RUNS)
            if at + end - begin > room or count >= runs_room:
                return MERGE_FULL
            _copy(out + at, begin, end - begin)
            put(h, OUT, at + end - begin)
            last = runs + 8 * RUN_FIELDS * (count - 1)
            if count > 0 and get(last, 2) == get(row, L_PID):
                put(last, 1, out + at + end - begin)
            else:
                put(last, RUN_FIELDS, out + at)
                put(last, RUN_FIELDS + 1, out + at + end - begin)
                put(last, RUN_FIELDS + 2, get(row, L_PID))
                put(h, RUNS, count + 1)
            put(row, L_AT, end)
        if not next_time(h, row):
            if not get(row, L_DONE):
                put(h, WANTS, 1)
                return MERGE_WANTS
            last_one = get(h, HEAP) - 1
            put(heap, 0, get(heap, last_one))
            put(h, HEAP, last_one)
        _sink(logs, heap, get(h, HEAP))
    return MERGED

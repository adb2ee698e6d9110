"""From the BPF ring to columns: one Numba loop that reads records and turns addresses and identities into numbers.

It takes the ring's memory and a State (state.py); it fills rows of the event table (one int64 column each, NULL where
there is no value) and notes new paths, files, processes for the Python side, which sees each of them once.

Tables are reached by address, through one header: handing a dozen arrays down the calls costs Numba a pair of atomic
operations for each, ten times the work itself. Kernels, intrinsics and the constants that they use stand in this one
file because Numba's cache does not notice a change in another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from iotrace.compiling import compiled
from iotrace.trace.operations import NUMBER_OF, OPERATIONS, Kind, Operation
from iotrace.trace.schema import EVENT_COLUMNS

NULL: Final = -(2**63)
NO_BASE: Final = -2
"""In place of the path of a relative name's folder: it is not known. (-1: the name needs none.)"""
COLUMN: Final = {column.name: number for number, column in enumerate(EVENT_COLUMNS)}

# words (int64) of struct header and struct event in records.bpf.h
_START, _DURATION, _CPU, _IDS, _KIND, _FILE, _INODE, _DEVICE, _OFFSET, _SIZE, _RESULT, _FLAGS, _ADDRESS, _MODE = range(
    14
)
_OTHER, _BASE, _BASE2, _OTHER_OFFSET, _ST_SIZE, _ST_BLOCKS, _ST_MODE, _TEXT = 14, 17, 20, 23, 24, 25, 26, 27
(
    EVENT, LONG_EVENT, FILE_SEEN, TASK, EXEC, FAULT, FAULT_AROUND, FAULT_END, FAULT_AT, OPEN_FOUND, SUBMIT, COMPLETE,
    BRIEF_STAT,
) = range(1, 14)  # fmt: skip

FAULT_SINGLE: Final = 1
"""flags of mmap.fault: the one page was looked up by itself, mapping the cached pages around it did not serve."""
FAULT_MAJOR: Final = 2
"""flags of mmap.fault: a major fault, the page came from storage."""

# the header: counters, then address and number of slots of each table, then where the rows go
(
    ROWS, PATHS, FILES, OPENS, THREADS, PROCESSES, BLOB, NOTES, BASE_NS, NEED, THREAD_ROWS, OPEN_ROWS, PROCESS_ROWS,
    PENDING, RINGS, LOOK, PREFIXES, BRIEF, ALL_FILES,
) = range(19)  # fmt: skip
(
    THREAD_SLOTS, PROCESS_SLOTS, FILE_SLOTS, OPEN_SLOTS, PATH_SLOTS, PENDING_SLOTS, RING_SLOTS, THREAD_INFO, FILE_INFO,
    OPEN_INFO, PATH_INFO, PENDING_INFO, BLOB_BYTES, NOTE_ROWS, EVENT_ROWS, PREFIX_BYTES,
) = range(20, 52, 2)  # fmt: skip
HEADER_WORDS: Final = 52
"""THREADS, OPENS, PROCESSES, PATHS, FILES count the numbers given out; *_ROWS count the rows of tables whose rows are
used again (a thread's after its end, an open file's when its address is). NEED: a table is full. LOOK: a process was
adopted whose open files are to be looked for. PREFIXES: how many mount points a recording is held to (0: all). BRIEF:
address of BRIEF_WORDS words, where a record is written out of a brief one. ALL_FILES: /proc and /sys count too."""

# fields of the tables
TID, THREAD = range(2)
TGID, PROCESS = range(2)
DEVICE, INODE, FILE = range(3)
ADDRESS, OPEN = range(2)
HASH, PATH = range(2)
(
    T_PROCESS, T_CHILD, T_EXEC_PATH, T_FAULT_ROW, T_FAULT_FILE, T_FAULT_FIRST, T_FAULT_LAST, T_FAULT_READ, T_CLONE,
    T_TID, T_NUMBER, T_ENDED, T_TGID,
) = range(13)  # fmt: skip
(
    F_GENERATION, F_PATH, F_DEVICE, F_INODE, F_MODE, F_SIZE, F_BLOCKS, F_PAGES, F_CREATED, F_LAST_PATH, F_SEEN_NS,
    F_WHERE, F_FLAGS, F_POSITION, F_KEPT, F_ELSEWHERE,
) = range(16)  # fmt: skip
O_NUMBER, O_PATH, O_FILE, O_USED = range(4)
# F_ELSEWHERE: 1 for a folder that only names start from, not itself what the recording is about
# F_KEPT: for how many chapters a file is remembered that nobody has open: what is mapped, a working folder
P_BASE, P_BEGIN, P_LENGTH = range(3)
(
    S_TIME, S_CPU, S_PROCESS, S_THREAD, S_OP, S_PATH, S_OTHER_PATH, S_FILE, S_OPEN, S_OTHER_OPEN, S_OFFSET,
    S_OTHER_OFFSET, S_SIZE, S_COUNT, S_FLAGS, S_MODE, S_RING, S_BATCH, S_WAITS,
) = range(19)  # fmt: skip
THREAD_FIELDS, FILE_FIELDS, OPEN_FIELDS, PATH_FIELDS, PENDING_FIELDS = 13, 16, 4, 3, 19
# fields of a note to the Python side
NOTE_FIELDS: Final = 11
(
    NOTE_KIND, NOTE_TIME, NOTE_THREAD, NOTE_PROCESS, NOTE_PARENT, NOTE_VALUE, NOTE_BASE, NOTE_TEXT, NOTE_LENGTH,
    NOTE_UMASK, NOTE_TALLY,
) = range(11)  # fmt: skip
NOTE_PROCESS_NEW, NOTE_EXEC, NOTE_EXIT, NOTE_NAME_MADE, NOTE_ADOPTED = range(5)

_PAGE: Final = 4096
_BRIEF_BYTES: Final = 56
"""sizeof(struct brief) in records.bpf.h."""
_BRIEF_STAT_WORDS: Final = 10
"""sizeof(struct brief_stat) ÷ 8."""
_HEADER_RECORD_WORDS: Final = 14
"""sizeof(struct header) ÷ 8: a struct brief is written out as one, and behind it a struct brief_stat as an event."""
BRIEF_WORDS: Final = _HEADER_RECORD_WORDS + _TEXT + 4096 // 8 + 1
_KERNEL_BITS: Final = -(1 << 48)
"""Set in every kernel address; a struct brief does not carry them."""
_TEXT_LIMIT: Final = 4 * 4096

# per operation: which columns have a value, and what it does, as bits
_BITS = 10
(
    _TAKES_OFFSET, _TAKES_SIZE, _TAKES_FLAGS, _TAKES_MODE, _TAKES_ADDRESS, _TAKES_COUNT, _MAKES_NAME, _OPENS_FILE,
    _COPIES, _RETURNS_DESCRIPTOR,
) = (1 << bit for bit in range(_BITS))  # fmt: skip


def _bits(operation: Operation) -> int:
    roles = set(operation.arguments)
    data = operation.kind in (Kind.READ, Kind.WRITE)
    copies = operation.kind is Kind.COPY
    makes_name = operation.name in (
        "mkdir", "mkdirat", "symlink", "symlinkat", "link", "linkat", "rename", "renameat", "renameat2",
    )  # fmt: skip
    truths = {
        _TAKES_OFFSET: bool(roles & {"offset", "lock"}) or data or copies,
        _TAKES_SIZE: bool(roles & {"iovec", "lock"}) or ("size" in roles and "how" not in roles),
        _TAKES_FLAGS: bool(roles & {"flags", "how"}) or operation.name == "fork",
        _TAKES_MODE: bool(roles & {"mode", "how", "lock"}),
        _TAKES_ADDRESS: "address" in roles,
        _TAKES_COUNT: "count" in roles,
        _MAKES_NAME: makes_name,
        _OPENS_FILE: operation.result == "fd" and "path" in roles,
        _COPIES: copies,
        _RETURNS_DESCRIPTOR: operation.result in ("fd", "address"),
    }
    return sum(bit for bit, holds in truths.items() if holds)


_OP_BITS: Final = tuple(_bits(operation) for operation in OPERATIONS)

_OP_MMAP: Final = NUMBER_OF["mmap"]
_OP_FAULT: Final = NUMBER_OF["mmap.fault"]
_OP_CREAT: Final = NUMBER_OF["creat"]
_OP_FORK: Final = NUMBER_OF["fork"]
_OP_EXEC: Final = NUMBER_OF["exec"]
_OP_WAIT: Final = NUMBER_OF["wait"]
_OP_EXIT: Final = NUMBER_OF["exit"]
_OP_URING_OPEN: Final = NUMBER_OF["uring.openat"]
_OP_URING_SPLICE: Final = NUMBER_OF["uring.splice"]
_FIRST_AIO, _LAST_AIO = NUMBER_OF["aio.read"], NUMBER_OF["aio.fdatasync"]
_SYMLINK: Final = NUMBER_OF["symlink"]
_SYMLINKAT: Final = NUMBER_OF["symlinkat"]
_CREAT_FLAGS: Final = 0o1101
_C: Final = COLUMN
_RING_C, _BATCH_C = _C["ring"], _C["batch"]
(
    _TIME_C, _DURATION_C, _OFF_CPU_C, _PROCESS_C, _THREAD_C, _OP_C, _PATH_C, _OTHER_PATH_C, _FILE_C, _OTHER_FILE_C,
    _OPEN_C, _OTHER_OPEN_C, _OFFSET_C, _OTHER_OFFSET_C, _SIZE_C, _COUNT_C, _ADDRESS_C, _FLAGS_C, _MODE_C, _CHILD_C,
    _RESULT_C,
) = (
    _C["time_ns"], _C["duration_ns"], _C["off_cpu_ns"], _C["process"], _C["thread"], _C["op"], _C["path"],
    _C["other_path"], _C["file"], _C["other_file"], _C["open"], _C["other_open"], _C["offset"], _C["other_offset"],
    _C["size"], _C["count"], _C["address"], _C["flags"], _C["mode"], _C["child"], _C["result"],
)  # fmt: skip


F = TypeVar("F", bound=Callable[..., object])


def entry(function: F) -> F:
    """A kernel that Python calls: cached on disk, runs without the GIL."""
    return cast(F, compiled(function))


def inner(function: F) -> F:
    """A kernel that only kernels call."""
    return cast(F, njit(function))


def _loader(bits: int, ordering: str | None) -> Callable[[int, int], int]:
    """An intrinsic (address, index) → the integer at address[index], zero-extended."""

    @intrinsic  # type: ignore[untyped-decorator]
    def load(typingctx: Any, address: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.gep(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), [args[1]])
            if ordering:
                value = builder.load_atomic(pointer, ordering=ordering, align=bits // 8)
            else:
                value = builder.load(pointer)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(types.int64, types.int64), codegen

    return cast(Callable[[int, int], int], load)


def _storer(bits: int, ordering: str | None) -> Callable[[int, int, int], None]:
    """An intrinsic (address, index, value) that stores an integer at address[index]."""

    @intrinsic  # type: ignore[untyped-decorator]
    def store(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.gep(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), [args[1]])
            value = args[2] if bits == 64 else builder.trunc(args[2], ir.IntType(bits))
            if ordering:
                builder.store_atomic(value, pointer, ordering=ordering, align=bits // 8)
            else:
                builder.store(value, pointer)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), codegen

    return cast(Callable[[int, int, int], None], store)


get = _loader(64, None)
put = _storer(64, None)
get_byte = _loader(8, None)
put_byte = _storer(8, None)
load_acquire = _loader(64, "acquire")
load_acquire_32 = _loader(32, "acquire")
store_release = _storer(64, "release")


@inner
def _mix(value: int) -> int:
    v = np.uint64(value)
    v ^= v >> np.uint64(33)
    v *= np.uint64(0xFF51AFD7ED558CCD)
    v ^= v >> np.uint64(33)
    return np.int64(v & np.uint64(0x7FFFFFFFFFFFFFFF))  # type: ignore[return-value]


@entry
def find(table: int, slots: int, key: int) -> int:
    """Slot of a key in a (key, value) table: where it is, or where it would go."""
    mask = slots - 1
    slot = _mix(key) & mask
    while get(table, 2 * slot + 1) != -1 and get(table, 2 * slot) != key:
        slot = (slot + 1) & mask
    return slot


@entry
def find_file(table: int, slots: int, device: int, inode: int) -> int:
    """Slot of an inode in the file table."""
    mask = slots - 1
    slot = _mix(inode * 0x9E3779B9 + device) & mask
    while get(table, 3 * slot + FILE) != -1 and not (
        get(table, 3 * slot + INODE) == inode and get(table, 3 * slot + DEVICE) == device
    ):
        slot = (slot + 1) & mask
    return slot


@entry
def rehash(old: int, slots: int, new: int, new_slots: int) -> None:
    """Move a (key, value) table into a larger, empty one."""
    for i in range(slots):
        if get(old, 2 * i + 1) != -1:
            slot = find(new, new_slots, get(old, 2 * i))
            put(new, 2 * slot, get(old, 2 * i))
            put(new, 2 * slot + 1, get(old, 2 * i + 1))


@entry
def rehash_files(old: int, slots: int, new: int, new_slots: int) -> None:
    """Move the file table into a larger, empty one."""
    for i in range(slots):
        if get(old, 3 * i + FILE) != -1:
            slot = find_file(new, new_slots, get(old, 3 * i + DEVICE), get(old, 3 * i + INODE))
            for field in range(3):
                put(new, 3 * slot + field, get(old, 3 * i + field))


@entry
def rehash_paths(old: int, slots: int, new: int, new_slots: int) -> None:
    """Move the path table, whose keys are hashes and may occur twice, into a larger, empty one."""
    for i in range(slots):
        if get(old, 2 * i + PATH) != -1:
            slot = get(old, 2 * i + HASH) & (new_slots - 1)
            while get(new, 2 * slot + PATH) != -1:
                slot = (slot + 1) & (new_slots - 1)
            put(new, 2 * slot + HASH, get(old, 2 * i + HASH))
            put(new, 2 * slot + PATH, get(old, 2 * i + PATH))


@inner
def _next(h: int, counter: int) -> int:
    number = get(h, counter)
    put(h, counter, number + 1)
    return number


@entry
def intern(h: int, base: int, length: int) -> int:
    """Number of the path whose bytes stand at the blob's end; they stay there when the path is new."""
    begin = get(h, BLOB)
    text = get(h, BLOB_BYTES) + begin
    value = np.uint64(base + 2) * np.uint64(0x9E3779B97F4A7C15)
    for i in range(length):
        value = (value ^ np.uint64(get_byte(text, i))) * np.uint64(0x100000001B3)
    key = _mix(np.int64(value))  # type: ignore[arg-type]
    table, mask = get(h, PATH_SLOTS), get(h, PATH_SLOTS + 1) - 1
    infos = get(h, PATH_INFO)
    slot = key & mask
    while get(table, 2 * slot + PATH) != -1:
        if get(table, 2 * slot + HASH) == key:
            number = get(table, 2 * slot + PATH)
            info = infos + 8 * PATH_FIELDS * number
            if get(info, P_BASE) == base and get(info, P_LENGTH) == length:
                there = get(h, BLOB_BYTES) + get(info, P_BEGIN)
                same = True
                for i in range(length):
                    if get_byte(there, i) != get_byte(text, i):
                        same = False
                        break
                if same:
                    return number
        slot = (slot + 1) & mask
    number = _next(h, PATHS)
    put(table, 2 * slot + HASH, key)
    put(table, 2 * slot + PATH, number)
    info = infos + 8 * PATH_FIELDS * number
    put(info, P_BASE, base)
    put(info, P_BEGIN, begin)
    put(info, P_LENGTH, length)
    put(h, BLOB, begin + length)
    return number


@inner
def _copy_text(h: int, source: int, length: int) -> None:
    target = get(h, BLOB_BYTES) + get(h, BLOB)
    for i in range(length):
        put_byte(target, i, get_byte(source, i))


@inner
def _note(h: int, kind: int, time: int, thread: int, process: int) -> int:
    """Address of a new note."""
    note = get(h, NOTE_ROWS) + 8 * NOTE_FIELDS * _next(h, NOTES)
    for field in range(NOTE_FIELDS):
        put(note, field, -1)
    put(note, NOTE_KIND, kind)
    put(note, NOTE_TIME, time)
    put(note, NOTE_THREAD, thread)
    put(note, NOTE_PROCESS, process)
    return note


@inner
def _thread_info(h: int, row: int) -> int:
    return get(h, THREAD_INFO) + 8 * THREAD_FIELDS * row


@inner
def _file_info(h: int, file: int) -> int:
    return get(h, FILE_INFO) + 8 * FILE_FIELDS * file


@inner
def _open_info(h: int, row: int) -> int:
    return get(h, OPEN_INFO) + 8 * OPEN_FIELDS * row


@entry
def add_thread(h: int, tid: int, tgid: int, time: int, fresh_process: bool) -> int:
    """Row of a new thread with kernel number `tid`; a new process with it when `fresh_process` or when `tgid` is not
    known."""
    table, slots = get(h, PROCESS_SLOTS), get(h, PROCESS_SLOTS + 1)
    slot = find(table, slots, tgid)
    thread = _next(h, THREADS)
    if fresh_process or get(table, 2 * slot + PROCESS) == -1:
        process = _next(h, PROCESSES)
        if get(table, 2 * slot + PROCESS) == -1:
            put(h, PROCESS_ROWS, get(h, PROCESS_ROWS) + 1)
        put(table, 2 * slot + TGID, tgid)
        put(table, 2 * slot + PROCESS, process)
        note = _note(h, NOTE_PROCESS_NEW, time, thread, process)
        put(note, NOTE_VALUE, tgid)
    process = get(table, 2 * slot + PROCESS)
    table, slots = get(h, THREAD_SLOTS), get(h, THREAD_SLOTS + 1)
    slot = find(table, slots, tid)
    row = get(table, 2 * slot + THREAD)
    if row == -1:
        row = _next(h, THREAD_ROWS)
        put(table, 2 * slot + TID, tid)
        put(table, 2 * slot + THREAD, row)
    info = _thread_info(h, row)
    for field in range(THREAD_FIELDS):
        put(info, field, -1)
    put(info, T_PROCESS, process)
    put(info, T_TID, tid)
    put(info, T_TGID, tgid)
    put(info, T_NUMBER, thread)
    put(info, T_ENDED, 0)
    return row


@inner
def _thread(h: int, ids: int, time: int) -> int:
    """Row of the thread of a record's word of ids; one that nobody saw begin gets a row too."""
    tid = ids & 0xFFFFFFFF
    table = get(h, THREAD_SLOTS)
    row = get(table, 2 * find(table, get(h, THREAD_SLOTS + 1), tid) + THREAD)
    if row == -1:
        row = add_thread(h, tid, (ids >> 32) & 0xFFFFFFFF, time, False)
    return row


@entry
def file_number(h: int, device: int, inode: int, generation: int) -> int:
    """Number of the file with this identity; a new one when the inode has been reused (another generation)."""
    table = get(h, FILE_SLOTS)
    slot = find_file(table, get(h, FILE_SLOTS + 1), device, inode)
    number = get(table, 3 * slot + FILE)
    if number != -1:
        info = _file_info(h, number)
        known = get(info, F_GENERATION)
        if generation == 0 or known == generation:
            return number
        if known == 0:
            put(info, F_GENERATION, generation)
            return number
    return _new_file(h, table, slot, device, inode, generation)


@inner
def _new_file(h: int, table: int, slot: int, device: int, inode: int, generation: int) -> int:
    """Number of a new file, in the slot of whatever had its inode before."""
    number = _next(h, FILES)
    put(table, 3 * slot + DEVICE, device)
    put(table, 3 * slot + INODE, inode)
    put(table, 3 * slot + FILE, number)
    info = _file_info(h, number)
    for field in range(FILE_FIELDS):
        put(info, field, NULL)
    put(info, F_GENERATION, generation)
    put(info, F_PATH, -1)
    put(info, F_DEVICE, device)
    put(info, F_INODE, inode)
    put(info, F_LAST_PATH, -1)
    put(info, F_WHERE, NO_BASE)
    return number


@inner
def _file_at(h: int, r: int, at: int) -> int:
    """File of the struct identity at a word of a record; -1 when there is none."""
    inode = get(r, at + 1)
    if inode == 0:
        return -1
    device = get(r, at + 2)
    return file_number(h, device & 0xFFFFFFFF, inode, (device >> 32) & 0xFFFFFFFF)


@inner
def _stat_file(h: int, r: int) -> int:
    """File of a record by what stat found, which tells no generation: another type of file is another file."""
    file = _file_at(h, r, _FILE)
    kind = get(r, _ST_MODE) & 0xF000
    if file == -1 or kind == 0:
        return file
    mode = get(_file_info(h, file), F_MODE)
    if mode == NULL or mode & 0xF000 == kind:
        return file
    table, inode, device = get(h, FILE_SLOTS), get(r, _FILE + 1), get(r, _FILE + 2) & 0xFFFFFFFF
    return _new_file(h, table, find_file(table, get(h, FILE_SLOTS + 1), device, inode), device, inode, 0)


@inner
def _new_open(h: int, table: int, slot: int, address: int, path: int, file: int) -> int:
    """Row of a new open-file description at this address, in the place of what was there before."""
    row = get(table, 2 * slot + OPEN)
    if row == -1:
        row = _next(h, OPEN_ROWS)
        put(table, 2 * slot + ADDRESS, address)
        put(table, 2 * slot + OPEN, row)
    info = _open_info(h, row)
    put(info, O_NUMBER, _next(h, OPENS))
    put(info, O_PATH, path)
    put(info, O_FILE, file)
    put(info, O_USED, 1)
    return row


@inner
def _open_at(h: int, r: int, at: int, file: int) -> int:
    """Row of the open-file description of the struct identity at a word; one that nobody saw opened gets one too."""
    address = get(r, at)
    if address == 0:
        return -1
    address |= _KERNEL_BITS
    table = get(h, OPEN_SLOTS)
    slot = find(table, get(h, OPEN_SLOTS + 1), address)
    row = get(table, 2 * slot + OPEN)
    if row != -1:
        info = _open_info(h, row)
        if file == -1 or get(info, O_FILE) == file:
            put(info, O_USED, 1)
            if file != -1 and get(info, O_PATH) == -1:
                # a call of a process that was just being adopted came before its open files were told
                put(info, O_PATH, get(_file_info(h, file), F_LAST_PATH))
            return row
    path = get(_file_info(h, file), F_LAST_PATH) if file != -1 else -1
    return _new_open(h, table, slot, address, path, file)


@inner
def _open_number(h: int, row: int) -> int:
    return get(_open_info(h, row), O_NUMBER) if row != -1 else -1


@inner
def _where(h: int, file: int) -> int:
    """Path of the folder that a relative name starts from, as it was last reported; NO_BASE when nobody knows."""
    if file == -1:
        return NO_BASE
    path = get(_file_info(h, file), F_WHERE)
    if path == NO_BASE and get(_file_info(h, file), F_PATH) != -1:
        path = get(_file_info(h, file), F_PATH)
    return path


@inner
def _child_key(process: int, pid: int) -> int:
    return (process + 1) << 32 | pid


@inner
def _name_child(h: int, process: int, pid: int, child: int) -> None:
    """Note the number that a process knows its child by, where that is not the kernel's own (a pid namespace)."""
    table = get(h, PROCESS_SLOTS)
    slot = find(table, get(h, PROCESS_SLOTS + 1), _child_key(process, pid))
    if get(table, 2 * slot + PROCESS) == -1:
        put(h, PROCESS_ROWS, get(h, PROCESS_ROWS) + 1)
    put(table, 2 * slot + TGID, _child_key(process, pid))
    put(table, 2 * slot + PROCESS, child)


@inner
def _path_of(h: int, row: int) -> int:
    return get(_open_info(h, row), O_PATH) if row != -1 else -1


@inner
def _is_pseudo(text: int, length: int) -> bool:
    """Whether a name lies in /proc or /sys."""
    if length < 4 or get_byte(text, 0) != 47:
        return False
    a, b, c = get_byte(text, 1), get_byte(text, 2), get_byte(text, 3)
    if a == 112 and b == 114 and c == 111 and length >= 5 and get_byte(text, 4) == 99:
        return length == 5 or get_byte(text, 5) == 47
    if a == 115 and b == 121 and c == 115:
        return length == 4 or get_byte(text, 4) == 47
    return False


@inner
def _nameless(target: int, kind: int, inode: int) -> int:
    """What /proc shows for a file without a name, `pipe:[4026]`; the root folder is /. Returns the length."""
    if kind != 0x1000 and kind != 0xC000:
        put_byte(target, 0, 47)
        return 1
    at = 0
    for letter in b"pipe:[" if kind == 0x1000 else b"socket:[":
        put_byte(target, at, letter)
        at += 1
    power = 1
    while inode // power >= 10:
        power *= 10
    while power > 0:
        put_byte(target, at, 48 + inode // power % 10)
        at += 1
        power //= 10
    put_byte(target, at, 93)
    return at + 1


@inner
def _file_seen(h: int, r: int) -> None:
    info = _file_info(h, _file_at(h, r, _FILE))
    if get(r, _RESULT) & 2:
        put(info, F_ELSEWHERE, 1)
    elif get(info, F_MODE) == NULL:
        flags, created = get(r, _FLAGS), get(r, _RESULT)
        truncated = (flags >> 31) & 1 != 0 and flags & 0o1000 != 0 and created == 0
        put(info, F_MODE, get(r, _MODE) & 0xFFFF)
        put(info, F_SIZE, NULL if truncated else (0 if created else get(r, _ST_SIZE)))
        put(info, F_BLOCKS, NULL if truncated else (0 if created else get(r, _ST_BLOCKS)))
        put(info, F_PAGES, 0 if created else (get(r, _ST_MODE) >> 32) & 0xFFFFFFFF)
        put(info, F_CREATED, created)
        put(info, F_SEEN_NS, get(r, _START) - get(h, BASE_NS))
    # the names come leaf first, each with its NUL: turned round they are the path
    text, length = r + 8 * _TEXT, (get(r, _KIND) >> 32) & 0xFFFF
    target = get(h, BLOB_BYTES) + get(h, BLOB)
    whole = (get(r, _MODE) >> 32) & 1
    place = 0
    end = length - 1
    while end > 0:
        first = end
        while first > 0 and get_byte(text, first - 1) != 0:
            first -= 1
        if whole or place > 0:
            put_byte(target, place, 47)
            place += 1
        for i in range(first, end):
            put_byte(target, place, get_byte(text, i))
            place += 1
        end = first - 1
    if place == 0:
        place = _nameless(target, get(r, _MODE) & 0xF000, get(r, _INODE))
    path = intern(h, -1, place)
    if get(info, F_PATH) == -1 or get(info, F_WHERE) == NO_BASE:
        put(info, F_PATH, path)  # what stat said may have gone by way of links
    put(info, F_WHERE, path)
    if get(info, F_LAST_PATH) == -1:
        put(info, F_LAST_PATH, path)


@inner
def _task(h: int, r: int) -> None:
    ids = get(r, _IDS)
    time = get(r, _START) - get(h, BASE_NS)
    tid, tgid = ids & 0xFFFFFFFF, (ids >> 32) & 0xFFFFFFFF
    adopted = get(r, _RESULT)
    parent = -1
    if not adopted:
        parent = _thread(h, get(r, _OFFSET) | (get(r, _SIZE) << 32), time)
    else:
        table = get(h, THREAD_SLOTS)
        parent = get(table, 2 * find(table, get(h, THREAD_SLOTS + 1), get(r, _OFFSET)) + THREAD)
        if parent != -1 and get(_thread_info(h, parent), T_ENDED):
            parent = -1
        if adopted & 2:
            put(h, LOOK, 1)
    notes = get(h, NOTES)
    row = add_thread(h, tid, tgid, time, tid == tgid)
    put(_thread_info(h, row), T_CLONE, get(r, _FLAGS))
    if not adopted:
        put(_thread_info(h, parent), T_CHILD, row)
    if get(h, NOTES) > notes:
        note = get(h, NOTE_ROWS) + 8 * NOTE_FIELDS * notes
        if parent != -1:
            put(note, NOTE_PARENT, get(_thread_info(h, parent), T_PROCESS))
        put(note, NOTE_UMASK, get(r, _MODE) & 0xFFFFFFFF)
        put(note, NOTE_TALLY, (get(r, _MODE) >> 32) & 0xFFFFFFFF)
        put(note, NOTE_BASE, _where(h, _file_at(h, r, _BASE)))
        if adopted:
            info = _thread_info(h, row)
            _note(h, NOTE_ADOPTED, time, get(info, T_NUMBER), get(info, T_PROCESS))


@inner
def _open_found(h: int, r: int) -> None:
    """A file that a process had open before it was followed."""
    file = _file_at(h, r, _FILE)
    opened = _open_info(h, _open_at(h, r, _FILE, file))
    info = _file_info(h, file)
    if get(opened, O_PATH) == -1:
        put(opened, O_PATH, get(info, F_LAST_PATH))
    if get(info, F_FLAGS) == NULL:
        put(info, F_FLAGS, get(r, _FLAGS))
        put(info, F_POSITION, get(r, _OFFSET))


@inner
def _exec(h: int, r: int) -> None:
    time = get(r, _START) - get(h, BASE_NS)
    thread = _thread(h, get(r, _IDS), time)
    info = _thread_info(h, thread)
    lengths = get(r, _KIND)
    length1, length2 = (lengths >> 32) & 0xFFFF, (lengths >> 48) & 0xFFFF
    text = r + 8 * _TEXT
    base = _where(h, _file_at(h, r, _BASE))
    note = _note(h, NOTE_EXEC, time, get(info, T_NUMBER), get(info, T_PROCESS))
    if length1 > 1:
        _copy_text(h, text, length1 - 1)
        put(info, T_EXEC_PATH, intern(h, -1 if get_byte(text, 0) == 47 else base, length1 - 1))
    put(note, NOTE_UMASK, get(r, _MODE) & 0xFFFFFFFF)
    put(note, NOTE_BASE, base)
    put(note, NOTE_VALUE, get(info, T_EXEC_PATH))
    _copy_text(h, text + length1, length2)
    put(note, NOTE_TEXT, get(h, BLOB))
    put(note, NOTE_LENGTH, length2)
    put(h, BLOB, get(h, BLOB) + length2)


@inner
def _begin_row(h: int, r: int, thread: int, op: int, time: int) -> int:
    """Address of a new row's first column; the columns lie `capacity` words apart."""
    row = _next(h, ROWS)
    capacity = get(h, EVENT_ROWS + 1)
    first = get(h, EVENT_ROWS) + 8 * row
    put(first, _TIME_C * capacity, time)
    put(first, _OFF_CPU_C * capacity, get(r, _CPU))
    put(first, _PROCESS_C * capacity, get(_thread_info(h, thread), T_PROCESS))
    put(first, _THREAD_C * capacity, get(_thread_info(h, thread), T_NUMBER))
    put(first, _OP_C * capacity, op)
    return first


@inner
def _fault(h: int, r: int, kind: int) -> None:
    """One row for a fault: the kernel's attempt to map what is cached and the read that follows are merged."""
    time = get(r, _START) - get(h, BASE_NS)
    thread = _thread(h, get(r, _IDS), time)
    info = _thread_info(h, thread)
    capacity = get(h, EVENT_ROWS + 1)
    row = get(info, T_FAULT_ROW)
    first_column = get(h, EVENT_ROWS) + 8 * row
    if kind == FAULT_END:
        if row != -1 and get(info, T_FAULT_READ) == 1:
            put(first_column, _DURATION_C * capacity, time - get(first_column, _TIME_C * capacity))
            if (get(r, _MODE) >> 32) & 1:
                put(first_column, _FLAGS_C * capacity, FAULT_SINGLE | FAULT_MAJOR)
        return
    file = _file_at(h, r, _FILE)
    first, last = get(r, _OFFSET), get(r, _SIZE)
    if kind == FAULT_AT:
        last = first
    elif row != -1 and get(info, T_FAULT_FILE) == file:
        was_first, was_last, was_read = get(info, T_FAULT_FIRST), get(info, T_FAULT_LAST), get(info, T_FAULT_READ)
        if kind == FAULT and was_read == 0 and was_first <= first <= was_last:
            put(first_column, _OFFSET_C * capacity, first * _PAGE)
            put(first_column, _SIZE_C * capacity, _PAGE)
            put(first_column, _FLAGS_C * capacity, FAULT_SINGLE)
            put(info, T_FAULT_FIRST, first)
            put(info, T_FAULT_LAST, first)
            put(info, T_FAULT_READ, 1)
            return
        if was_read == 1 and first <= was_first <= last:
            return  # the kernel tries the same fault again after its read
    put(info, T_FAULT_ROW, get(h, ROWS))
    row_at = _begin_row(h, r, thread, _OP_FAULT, time)
    put(row_at, _FILE_C * capacity, file)
    path = get(_file_info(h, file), F_LAST_PATH)
    if path != -1:
        put(row_at, _PATH_C * capacity, path)
    put(row_at, _OFFSET_C * capacity, first * _PAGE)
    put(row_at, _SIZE_C * capacity, (last - first + 1) * _PAGE)
    put(row_at, _FLAGS_C * capacity, FAULT_SINGLE if kind == FAULT else 0)
    put(row_at, _RESULT_C * capacity, 0)
    if kind == FAULT_AT:
        put(row_at, _ADDRESS_C * capacity, get(r, _ADDRESS))
        put(row_at, _FLAGS_C * capacity, FAULT_SINGLE | (FAULT_MAJOR if (get(r, _MODE) >> 32) & 1 else 0))
    put(info, T_FAULT_FILE, file)
    put(info, T_FAULT_FIRST, first)
    put(info, T_FAULT_LAST, last)
    put(info, T_FAULT_READ, 1 if kind == FAULT else 0)


@inner
def _put_number(row_at: int, place: int, number: int) -> None:
    if number != -1:
        put(row_at, place, number)


@inner
def _stat_seen(h: int, r: int, file: int, path: int, time: int) -> None:
    """A file that is known only by what stat said of it."""
    info = _file_info(h, file)
    if get(info, F_MODE) != NULL or get(r, _ST_MODE) & 0xFFFF == 0:
        return
    put(info, F_MODE, get(r, _ST_MODE) & 0xFFFF)
    put(info, F_SIZE, get(r, _ST_SIZE))
    put(info, F_BLOCKS, get(r, _ST_BLOCKS))
    put(info, F_CREATED, 0)
    put(info, F_SEEN_NS, time)
    put(info, F_PATH, path)
    if get(info, F_LAST_PATH) == -1:
        put(info, F_LAST_PATH, path)


@inner
def _is_beneath(h: int, folder: int, folder_length: int, text: int, length: int) -> bool:
    """Whether an absolute name lies beneath one of the mount points that the recording is held to.

    The name is `text`, or `text` beneath `folder` where `folder_length` is not 0.
    """
    count = get(h, PREFIXES)
    if count == 0:
        return True
    if folder_length > 0 and get_byte(folder, folder_length - 1) == 47:
        folder_length -= 1  # the root folder
    name_at = folder_length + 1 if folder_length > 0 else 0
    whole = name_at + length
    at = get(h, PREFIX_BYTES)
    for _ in range(count):
        size = get(at, 0)
        at += 8
        if whole >= size:
            # the point's own letters, and behind them a slash or the end; behind the root folder whatever comes
            checked = size if size == 1 else min(size + 1, whole)
            i = 0
            while i < checked:
                if i < folder_length:
                    letter = get_byte(folder, i)
                else:
                    letter = 47 if i < name_at else get_byte(text, i - name_at)
                if letter != (get_byte(at, i) if i < size else 47):
                    break
                i += 1
            if i == checked:
                return True
        at += (size + 7) & ~7
    return False


@inner
def _first_name(h: int, r: int, base: int, file: int, found: bool) -> int:
    """Path of a record's first name; NULL when the record is about what a recording leaves out.

    `found`: the call led to a file, and that one is wanted; `file` is its number, -1 where it is not known yet.
    """
    text, length = r + 8 * _TEXT, ((get(r, _KIND) >> 32) & 0xFFFF) - 1
    folder, folder_length, where = 0, 0, -1
    if get_byte(text, 0) != 47:
        if base == -1:
            return NULL  # a bad descriptor
        if get(r, _BASE) == 0:
            put(_file_info(h, base), F_KEPT, 2)  # a working folder: names go on to begin there in the next chapter
        where = _where(h, base)
        if where >= 0:
            info = get(h, PATH_INFO) + 8 * PATH_FIELDS * where
            folder, folder_length = get(h, BLOB_BYTES) + get(info, P_BEGIN), get(info, P_LENGTH)
    if get(h, ALL_FILES) == 0 and (_is_pseudo(text, length) or _is_pseudo(folder, folder_length)):
        # a file that is reached by way of /proc/self/fd has a name of its own
        if file == -1 or get(_file_info(h, file), F_MODE) == NULL:
            return NULL
        return get(_file_info(h, file), F_PATH)
    known = where != NO_BASE and (folder_length == 0 or get_byte(folder, 0) == 47)
    if not found and known and not _is_beneath(h, folder, folder_length, text, length):
        return NULL
    _copy_text(h, text, length)
    return intern(h, where, length)


@inner
def _second_name(h: int, r: int) -> int:
    lengths = get(r, _KIND)
    second, length = r + 8 * _TEXT + ((lengths >> 32) & 0xFFFF), (lengths >> 48) & 0xFFFF
    if get_byte(second, length - 1) == 0:
        length -= 1
    _copy_text(h, second, length)
    relative = length > 0 and get_byte(second, 0) != 47
    base2 = _file_at(h, r, _BASE2) if relative else -1
    return intern(h, _where(h, base2) if base2 != -1 else -1, length)


@inner
def _submit(h: int, r: int) -> None:
    """An operation handed to io_uring or libaio: what is known of it waits for its completion."""
    time = get(r, _START) - get(h, BASE_NS)
    thread = _thread_info(h, _thread(h, get(r, _IDS), time))
    key = get(r, _ADDRESS)
    table = get(h, PENDING_SLOTS)
    slot = find(table, get(h, PENDING_SLOTS + 1), key)
    row = get(table, 2 * slot + 1)
    if row == -1:
        row = _next(h, PENDING)
        put(table, 2 * slot, key)
        put(table, 2 * slot + 1, row)
    info = _pending_info(h, row)
    if get(info, S_WAITS) == 1:
        _completed(h, info, NULL, NULL)  # its memory is used again: nobody saw it end
    lengths = get(r, _KIND)
    op = (lengths >> 16) & 0xFFFF
    file, base = _file_at(h, r, _FILE), _file_at(h, r, _BASE)
    path, other_path = -1, -1
    if (lengths >> 32) & 0xFFFF > 1:
        path = _first_name(h, r, base, -1, op == _OP_URING_OPEN and get(r, _MODE) >> 32 == 0)
        if path == NULL:
            put(info, S_WAITS, 0)
            return
    if (lengths >> 48) & 0xFFFF > 0:
        other_path = _second_name(h, r)
    ring_key = get(r, _OTHER_OFFSET)
    if _FIRST_AIO <= op <= _LAST_AIO:
        ring_key ^= (get(thread, T_PROCESS) + 1) << 48  # a libaio context has its name within a process
    table = get(h, RING_SLOTS)
    slot = find(table, get(h, RING_SLOTS + 1), ring_key)
    ring = get(table, 2 * slot + 1)
    if ring == -1:
        ring = _next(h, RINGS)
        put(table, 2 * slot, ring_key)
        put(table, 2 * slot + 1, ring)
    put(info, S_TIME, time)
    put(info, S_CPU, get(r, _CPU))
    put(info, S_PROCESS, get(thread, T_PROCESS))
    put(info, S_THREAD, get(thread, T_NUMBER))
    put(info, S_OP, op)
    put(info, S_PATH, path)
    put(info, S_OTHER_PATH, other_path)
    put(info, S_FILE, file)
    put(info, S_OPEN, _open_at(h, r, _FILE, file))
    put(info, S_OTHER_OPEN, _open_number(h, _open_at(h, r, _BASE, base)))
    put(info, S_OFFSET, get(r, _OFFSET))
    put(info, S_OTHER_OFFSET, get(r, _ST_SIZE) if op == _OP_URING_SPLICE else NULL)
    put(info, S_SIZE, get(r, _SIZE))
    # of an open: the place in the ring's own table
    put(info, S_COUNT, (get(r, _MODE) >> 32) & 0xFFFFFFFF)
    put(info, S_FLAGS, get(r, _FLAGS))
    put(info, S_MODE, get(r, _MODE) & 0xFFFFFFFF)
    put(info, S_RING, ring)
    batch = (get(r, _ST_MODE) >> 32) & 0xFFFFFFFF
    put(info, S_BATCH, batch if batch else NULL)
    put(info, S_WAITS, 1)


@inner
def _pending_info(h: int, row: int) -> int:
    return get(h, PENDING_INFO) + 8 * PENDING_FIELDS * row


@inner
def _completed(h: int, info: int, time: int, result: int) -> None:
    """The row of an operation of io_uring or libaio; `time` and `result` are NULL where its end was not seen."""
    op = get(info, S_OP)
    bits = _OP_BITS[op]
    capacity = get(h, EVENT_ROWS + 1)
    row_at = get(h, EVENT_ROWS) + 8 * _next(h, ROWS)
    put(row_at, _TIME_C * capacity, get(info, S_TIME))
    put(row_at, _DURATION_C * capacity, time - get(info, S_TIME) if time != NULL else NULL)
    put(row_at, _OFF_CPU_C * capacity, get(info, S_CPU))
    put(row_at, _PROCESS_C * capacity, get(info, S_PROCESS))
    put(row_at, _THREAD_C * capacity, get(info, S_THREAD))
    put(row_at, _OP_C * capacity, op)
    file, open_ = get(info, S_FILE), get(info, S_OPEN)
    path = get(info, S_PATH)
    if path == -1:
        path = _path_of(h, open_)
    _put_number(row_at, _PATH_C * capacity, path)
    _put_number(row_at, _OTHER_PATH_C * capacity, get(info, S_OTHER_PATH))
    _put_number(row_at, _FILE_C * capacity, file)
    _put_number(row_at, _OPEN_C * capacity, _open_number(h, open_))
    _put_number(row_at, _OTHER_OPEN_C * capacity, get(info, S_OTHER_OPEN))
    if bits & _TAKES_OFFSET:
        put(row_at, _OFFSET_C * capacity, get(info, S_OFFSET))
    put(row_at, _OTHER_OFFSET_C * capacity, get(info, S_OTHER_OFFSET))
    if bits & _TAKES_SIZE:
        put(row_at, _SIZE_C * capacity, get(info, S_SIZE))
    if get(info, S_COUNT) > 0 and op != _OP_URING_OPEN:
        put(row_at, _COUNT_C * capacity, get(info, S_COUNT))
    if bits & _TAKES_FLAGS:
        put(row_at, _FLAGS_C * capacity, get(info, S_FLAGS))
    if bits & _TAKES_MODE:
        put(row_at, _MODE_C * capacity, get(info, S_MODE))
    put(row_at, _RING_C * capacity, get(info, S_RING))
    put(row_at, _BATCH_C * capacity, get(info, S_BATCH))
    put(row_at, _RESULT_C * capacity, 0 if op == _OP_URING_OPEN and result > 0 else result)
    put(info, S_WAITS, 0)


@inner
def _complete(h: int, r: int) -> None:
    table = get(h, PENDING_SLOTS)
    row = get(table, 2 * find(table, get(h, PENDING_SLOTS + 1), get(r, _ADDRESS)) + 1)
    if row == -1:
        return
    info = _pending_info(h, row)
    if get(info, S_WAITS) != 1:
        return
    modes = get(r, _MODE)
    if (modes >> 32) & 0xFFFFFFFF:
        put(info, S_WAITS, 0)  # the kernel had not taken it after all
        return
    op, result = get(info, S_OP), get(r, _RESULT)
    file = _file_at(h, r, _FILE)
    if file != -1 and op == _OP_URING_OPEN:
        slots = get(h, OPEN_SLOTS)
        address = get(r, _FILE) | _KERNEL_BITS
        path = get(info, S_PATH)
        opened = _new_open(h, slots, find(slots, get(h, OPEN_SLOTS + 1), address), address, path, file)
        put(info, S_FILE, file)
        put(info, S_OPEN, opened)
        put(_file_info(h, file), F_LAST_PATH, path)
    elif file != -1 and op != _OP_URING_SPLICE:
        put(info, S_FILE, file)
        put(info, S_OPEN, _open_at(h, r, _FILE, file))
        if modes & 1 and get(info, S_OFFSET) == -1:
            put(info, S_OFFSET, get(r, _OFFSET))
    elif file == -1 and op == _OP_URING_OPEN and result >= 0 and get(info, S_COUNT) == 0:
        put(info, S_WAITS, 0)  # what it found is not what the recording is about
        return
    elif get(info, S_FILE) == -1 and get(info, S_PATH) == -1:
        put(info, S_WAITS, 0)  # a socket, a pipe
        return
    _completed(h, info, get(r, _START) - get(h, BASE_NS), result)


@entry
def end_pending(h: int) -> int:
    """Rows for the operations of io_uring and libaio whose end was not seen; as many as there is room for.

    Returns
    -------
    How many still wait.
    """
    waiting = 0
    for row in range(get(h, PENDING)):
        info = _pending_info(h, row)
        if get(info, S_WAITS) == 1:
            if get(h, ROWS) + 2 > get(h, EVENT_ROWS + 1):
                waiting += 1
            else:
                _completed(h, info, NULL, NULL)
    return waiting


@inner
def _event(h: int, r: int, long: bool) -> None:
    """One row for a call."""
    lengths = get(r, _KIND)
    op = (lengths >> 16) & 0xFFFF
    bits = _OP_BITS[op]
    time = get(r, _START) - get(h, BASE_NS)
    thread = _thread(h, get(r, _IDS), time)
    info = _thread_info(h, thread)
    put(info, T_FAULT_ROW, -1)  # whatever fault was under way is over
    result = get(r, _RESULT)
    file = _stat_file(h, r) if long else _file_at(h, r, _FILE)
    # rows of open descriptions, and numbers of the others
    path, other_path, open_, other_open, other_file = -1, -1, -1, -1, -1
    if long:
        length1, length2 = (lengths >> 32) & 0xFFFF, (lengths >> 48) & 0xFFFF
        base = _file_at(h, r, _BASE)
        if length1 > 1:
            path = _first_name(h, r, base, file, file != -1)
            if path == NULL:
                return
        if length2 > 0:
            other_path = _second_name(h, r)
        if bits & _OPENS_FILE:
            other_open = _open_at(h, r, _BASE, base)
            if result == 0 and file != -1:
                table = get(h, OPEN_SLOTS)
                address = get(r, _FILE) | _KERNEL_BITS
                open_ = _new_open(h, table, find(table, get(h, OPEN_SLOTS + 1), address), address, path, file)
                put(_file_info(h, file), F_LAST_PATH, path)
        elif length1 > 0:
            if get(r, _FILE) != 0:
                open_ = _open_at(h, r, _FILE, file)
                path = _path_of(h, open_)
            else:
                open_ = _open_at(h, r, _BASE, base)
            other_open = _open_at(h, r, _BASE2, _file_at(h, r, _BASE2))
            if file != -1:
                _stat_seen(h, r, file, path, time)
        else:
            other_file = _file_at(h, r, _OTHER)
            other_open = _open_at(h, r, _OTHER, other_file)
            open_ = _open_at(h, r, _FILE, file)
            path = _path_of(h, open_)
            if bits & _COPIES:
                other_path = _path_of(h, other_open)
        if bits & _MAKES_NAME and result == 0:
            note = _note(h, NOTE_NAME_MADE, time, thread, get(info, T_PROCESS))
            is_symlink = op in (_SYMLINK, _SYMLINKAT)
            put(note, NOTE_VALUE, path if other_path == -1 or is_symlink else other_path)
    elif file != -1:
        open_ = _open_at(h, r, _FILE, file)
        path = _path_of(h, open_) if open_ != -1 else get(_file_info(h, file), F_LAST_PATH)
        if op == _OP_MMAP:
            put(_file_info(h, file), F_KEPT, 8)
    row_at = _begin_row(h, r, thread, op, time)
    capacity = get(h, EVENT_ROWS + 1)
    put(row_at, _DURATION_C * capacity, get(r, _DURATION))
    _put_number(row_at, _FILE_C * capacity, file)
    _put_number(row_at, _OTHER_FILE_C * capacity, other_file)
    _put_number(row_at, _OPEN_C * capacity, _open_number(h, open_))
    _put_number(row_at, _OTHER_OPEN_C * capacity, _open_number(h, other_open))
    if bits & _TAKES_OFFSET and (not bits & _COPIES or file != -1):
        put(row_at, _OFFSET_C * capacity, get(r, _OFFSET))
    if bits & _COPIES and other_file != -1:
        put(row_at, _OTHER_OFFSET_C * capacity, get(r, _OTHER_OFFSET))
    if bits & _TAKES_SIZE:
        put(row_at, _SIZE_C * capacity, get(r, _SIZE))
    if bits & _TAKES_COUNT:
        put(row_at, _COUNT_C * capacity, (get(r, _MODE) >> 32) & 0xFFFFFFFF)
    if bits & _TAKES_ADDRESS:
        put(row_at, _ADDRESS_C * capacity, get(r, _ADDRESS))
    if bits & _TAKES_FLAGS:
        put(row_at, _FLAGS_C * capacity, get(r, _FLAGS))
    if bits & _TAKES_MODE:
        put(row_at, _MODE_C * capacity, get(r, _MODE) & 0xFFFFFFFF)
    if op == _OP_CREAT:
        put(row_at, _FLAGS_C * capacity, _CREAT_FLAGS)
    elif op == _OP_FORK:
        child = get(info, T_CHILD)
        if result > 0 and child != -1:
            put(row_at, _CHILD_C * capacity, get(_thread_info(h, child), T_NUMBER))
            put(row_at, _FLAGS_C * capacity, get(_thread_info(h, child), T_CLONE))
            if result != get(_thread_info(h, child), T_TID):
                _name_child(h, get(info, T_PROCESS), result, get(_thread_info(h, child), T_PROCESS))
    elif op == _OP_WAIT:
        if result > 0:
            table = get(h, PROCESS_SLOTS)
            slots = get(h, PROCESS_SLOTS + 1)
            process = get(table, 2 * find(table, slots, _child_key(get(info, T_PROCESS), result)) + PROCESS)
            if process == -1:
                process = get(table, 2 * find(table, slots, result) + PROCESS)
            _put_number(row_at, _CHILD_C * capacity, process)
    elif op == _OP_EXEC:
        if result == 0:
            path = get(info, T_EXEC_PATH)
    elif op == _OP_EXIT:
        note = _note(h, NOTE_EXIT, time, get(info, T_NUMBER), get(info, T_PROCESS))
        put(note, NOTE_VALUE, result)
        put(info, T_ENDED, 1)
    _put_number(row_at, _PATH_C * capacity, path)
    _put_number(row_at, _OTHER_PATH_C * capacity, other_path)
    if op == _OP_MMAP and -4096 < result < 0:
        put(row_at, _ADDRESS_C * capacity, NULL)
        put(row_at, _RESULT_C * capacity, result)
    elif op == _OP_MMAP or (result > 0 and bits & _RETURNS_DESCRIPTOR):
        put(row_at, _RESULT_C * capacity, 0)
    else:
        put(row_at, _RESULT_C * capacity, result)


@inner
def _brief(h: int, r: int) -> None:
    """A struct brief, written out as the record that it stands for."""
    b = get(h, BRIEF)
    what = (get(r, 2) >> 48) & 0xFFFF
    times = get(r, 1)
    last = get(r, 6)
    size = (last >> 32) & 0xFFFFFFFF
    tid = last & 0xFFFFFFFF
    which = what & 3
    put(b, _START, get(r, 0))
    put(b, _DURATION, times & 0xFFFFFFFF)
    put(b, _CPU, (times >> 32) & 0xFFFFFFFF)
    put(b, _IDS, tid | tid << 32)
    put(b, _KIND, EVENT | what >> 2 << 16)
    put(b, _FILE, get(r, 2) | _KERNEL_BITS)
    put(b, _INODE, get(r, 3))
    put(b, _DEVICE, get(r, 4))
    put(b, _OFFSET, get(r, 5))
    put(b, _SIZE, size)
    put(b, _RESULT, 0 if which == 0 else (size if which == 1 else get(r, 5)))
    _event(h, b, False)


@inner
def _brief_stat(h: int, r: int) -> None:
    """A struct brief_stat, written out as the record that it stands for."""
    b = get(h, BRIEF) + 8 * _HEADER_RECORD_WORDS
    times, what, ids, more = get(r, 1), get(r, 4), get(r, 7), get(r, 9)
    tid, length, mode = (ids >> 32) & 0xFFFFFFFF, (more >> 32) & 0xFFFF, (what >> 48) & 0xFFFF
    for word in range(_TEXT):
        put(b, word, 0)
    put(b, _START, get(r, 0))
    put(b, _DURATION, times & 0xFFFFFFFF)
    put(b, _CPU, (times >> 32) & 0xFFFFFFFF)
    put(b, _IDS, tid | tid << 32)
    put(b, _KIND, LONG_EVENT | (what & 0xFFFF0000) | length << 32)
    put(b, _INODE, get(r, 6))
    put(b, _DEVICE, ids & 0xFFFFFFFF)
    put(b, _FLAGS, (what >> 32) & 0xFFFF)
    put(b, _MODE, (more >> 48) & 0xFFFF)
    put(b, _BASE, get(r, 2))
    put(b, _BASE + 1, get(r, 3))
    put(b, _BASE + 2, get(r, 5))
    put(b, _ST_MODE, mode)
    if mode:
        put(b, _ST_SIZE, get(r, 8))
        put(b, _ST_BLOCKS, more & 0xFFFFFFFF)
    else:
        put(b, _RESULT, get(r, 8))
    for word in range((length + 7) >> 3):
        put(b, _TEXT + word, get(r, _BRIEF_STAT_WORDS + word))
    _event(h, b, True)


@inner
def _needs_room(h: int) -> bool:
    """Whether a table could overflow within the next record."""
    return (
        get(h, ROWS) + 3 > get(h, EVENT_ROWS + 1)
        or get(h, PATHS) + 4 > get(h, PATH_INFO + 1)
        or get(h, FILES) + 8 > get(h, FILE_INFO + 1)
        or get(h, OPEN_ROWS) + 8 > get(h, OPEN_INFO + 1)
        or get(h, THREAD_ROWS) + 4 > get(h, THREAD_INFO + 1)
        or get(h, PENDING) + 4 > get(h, PENDING_INFO + 1)
        or 2 * get(h, PROCESS_ROWS) + 8 > get(h, PROCESS_SLOTS + 1)
        or 2 * get(h, RINGS) + 8 > get(h, RING_SLOTS + 1)
        or get(h, NOTES) + 4 > get(h, NOTE_ROWS + 1)
        or get(h, BLOB) + _TEXT_LIMIT > get(h, BLOB_BYTES + 1)
    )


@entry
def load_position(address: int) -> int:
    """A position of the ring."""
    return load_acquire(address, 0)


@entry
def drain(h: int, ring: int, consumer: int, producer: int, size: int) -> int:
    """Move what the ring holds into the event rows and the tables.

    Parameters
    ----------
    h: address of the State's header.
    ring: address of the ring's data, mapped twice in a row; size: its bytes, a power of two.
    consumer, producer: addresses of the positions.

    Returns
    -------
    Records read; the header's NEED is 1 when it stopped because a table is full.
    """
    position = load_acquire(consumer, 0)
    end = load_acquire(producer, 0)
    read = 0
    put(h, NEED, 0)
    while position < end:
        if _needs_room(h):
            put(h, NEED, 1)
            break
        at = ring + (position & (size - 1))
        head = load_acquire_32(at, 0)
        if head & 0x80000000:
            break  # still being written
        length = head & 0x3FFFFFFF
        if not head & 0x40000000:
            r = at + 8
            kind = get(r, _KIND) & 0xFFFF
            if length == _BRIEF_BYTES:
                _brief(h, r)
            elif kind == EVENT:
                _event(h, r, False)
            elif kind == LONG_EVENT:
                _event(h, r, True)
            elif kind == BRIEF_STAT:
                _brief_stat(h, r)
            elif kind == FILE_SEEN:
                _file_seen(h, r)
            elif kind == TASK:
                _task(h, r)
            elif kind == EXEC:
                _exec(h, r)
            elif kind == SUBMIT:
                _submit(h, r)
            elif kind == COMPLETE:
                _complete(h, r)
            elif kind == OPEN_FOUND:
                _open_found(h, r)
            else:
                _fault(h, r, kind)
            read += 1
        position += (length + 15) & ~7
        store_release(consumer, 0, position)
    return read

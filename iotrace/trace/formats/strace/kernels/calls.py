"""A whole call, from its name and texts to what is done with it."""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.machine import get, get_byte, get_half, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import operations as o
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.arguments import read_arguments
from iotrace.trace.formats.strace.kernels.on_descriptors import on_descriptor, on_fcntl
from iotrace.trace.formats.strace.kernels.on_memory import on_memory, on_mmap
from iotrace.trace.formats.strace.kernels.on_open import on_open
from iotrace.trace.formats.strace.kernels.on_paths import on_path
from iotrace.trace.formats.strace.kernels.results import read_result
from iotrace.trace.formats.strace.kernels.rows import accept
from iotrace.trace.formats.strace.kernels.texts import begins, count_of, skip_spaces, symbol_of
from iotrace.trace.schema import NULL


@inner
def _is_clone(h: int, begin: int, close: int) -> bool:
    """Whether arguments of ioctl may be those of FICLONE or FICLONERANGE."""
    raw = count_of(h, begin, close, w.CLONE_RAW, 10) + count_of(h, begin, close, w.RANGE_RAW, 10)
    return raw + count_of(h, begin, close, w.CLONE, 7) > 0


@inner
def take_call(h: int, c: int, name: int, name_length: int, begin: int, close: int, end: int, at: int) -> bool:
    """A whole call: its name, its arguments from `begin` to `close`, and what stands behind `)` up to `end`."""
    op = symbol_of(h, name, name_length, w.SYMBOL_CALL)
    tail = skip_spaces(close + 1, end)
    if tail == close + 1 or tail + 1 >= end or get_byte(tail, 0) != 61 or get_byte(tail, 1) != 32:
        return False
    if not read_result(h, c, tail + 2, end):
        return False
    put(c, k.C_AT, at)
    if op == NULL:
        if begins(h, name, name_length, w.NUMBERED, 8):
            return False
        accept(h, c)
        return True
    if op == o.IOCTL and _is_clone(h, begin, close):
        return False
    if op in (o.IOCTL, o.RECVMSG):
        if get(c, k.C_RESULT) == NULL or get(c, k.C_RESULT) >= 0:
            if op == o.RECVMSG and count_of(h, begin, close, w.CMSG, 9) > 0:
                return False
            if op == o.IOCTL and count_of(h, begin, close, w.FIO, 3) + count_of(h, begin, close, w.FIO_RAW, 5) > 0:
                return False
        accept(h, c)
        return True
    if op < 0 or get(c, k.C_RESULT) == NULL:
        return False
    tid = get(c, k.C_TID)
    thread = get_half(get(h, k.THREAD_OF), tid)
    if thread == 0:
        return False
    kind = get(get(h, k.OP_TABLE) + 8 * o.OP_FIELDS * op, o.ARGUMENTS)
    put(c, k.C_OP, op)
    put(c, k.C_CLASS, kind)
    put(c, k.C_THREAD, get(h, k.THREAD_TABLE) + 8 * k.THREAD_FIELDS * (thread - 1))
    put(c, k.C_FD, NULL)
    put(c, k.C_FDN, -1)
    put(c, k.C_DIRFD, NULL)
    put(c, k.C_DIRN, -1)
    put(c, k.C_PATH, -1)
    for field in range(k.C_SIZE, k.C_ST_LINKS + 1):
        put(c, field, NULL)
    put(c, k.C_STAT, 0)
    put(c, k.C_ODD, 0)
    put(c, k.C_SPECIAL, 0)
    put(c, k.C_TEXT, -1)
    put(c, k.C_MISSED, 0)
    put(c, k.C_NAME, -1)
    put(c, k.C_OTHER, NULL)
    put(c, k.C_COUNT, NULL)
    if not read_arguments(h, c, begin, close):
        return False
    if kind == o.K_FCNTL:
        return on_fcntl(h, c)
    if kind == o.K_MMAP:
        return on_mmap(h, c)
    if kind == o.K_MEMORY:
        return on_memory(h, c)
    if kind == o.K_OPEN:
        return on_open(h, c)
    if kind in (o.K_PATH, o.K_UNLINK, o.K_READLINK):
        return on_path(h, c)
    return on_descriptor(h, c)

"""Calls on descriptors: read, write, lseek, getdents, close, fstat …, dup, fcntl."""

from __future__ import annotations

import errno
import os
from typing import Final

from iotrace.compiling import inner
from iotrace.machine import get, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import operations as o
from iotrace.trace.formats.strace.kernels.descriptors import bind, has_room, look_up, open_at, row_of
from iotrace.trace.formats.strace.kernels.files import change_length, file_at, learn, note_length, set_type, touch
from iotrace.trace.formats.strace.kernels.rows import accept_call, emit, emit_open, note_attribute
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.schema import NULL

_OP_READ, _OP_WRITE, _OP_READV, _OP_WRITEV = (NUMBER_OF[name] for name in ("read", "write", "readv", "writev"))
_OP_DUP3, _OP_DUPFD, _OP_FTRUNCATE = (NUMBER_OF[name] for name in ("dup3", "fcntl.dupfd", "ftruncate"))
_EBADF: Final = errno.EBADF
_APPEND, _CLOEXEC = os.O_APPEND, os.O_CLOEXEC
_SETTABLE: Final = os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT
_SETFD, _SETFL, _DUPFD, _DUPFD_CLOEXEC = 2, 4, 0, 1030
_LOCKS_FROM, _LOCKS_TO, _OFD_FROM, _OFD_TO = 5, 7, 36, 38


@inner
def on_descriptor(h: int, c: int) -> bool:
    """A call on a descriptor; False: it is Python's."""
    kind, op, result = get(c, k.C_CLASS), get(c, k.C_OP), get(c, k.C_RESULT)
    row = look_up(h, c, k.C_FD)
    if row == -2:
        return False
    if kind == o.K_CLOSE:
        fd = get(c, k.C_FD)
        if fd == NULL:
            return False
        accept_call(h, c)
        if row >= 0:
            bind(h, c, fd, -1, 0)
            if result != -_EBADF:
                emit_open(h, c, row)
        return True
    if kind == o.K_DUP:
        return _on_dup(h, c, row)
    accept_call(h, c)
    if row < 0:
        return True
    info = open_at(h, row)
    file = get(info, k.O_FILE)
    if kind in (o.K_READ, o.K_WRITE):
        offset = get(c, k.C_OFFSET)
        moves = op in (_OP_READ, _OP_WRITE, _OP_READV, _OP_WRITEV) and (offset == NULL or offset == -1)
        appends = kind == o.K_WRITE and get(info, k.O_FLAGS) & _APPEND != 0
        if moves:
            offset = get(file_at(h, file), k.F_LENGTH) if appends else get(info, k.O_POSITION)
            put(c, k.C_OFFSET, offset)
        elif appends:
            # a positioned write to what was opened to append goes to the end too (pwrite(2), Bugs)
            offset = get(file_at(h, file), k.F_LENGTH)
        if result >= 0:
            end = offset + result if offset != NULL else NULL
            if offset > 0 and end < 0:
                end = NULL
            if kind == o.K_READ:
                set_type(h, file, k.FILE_TYPE)
                if moves:
                    put(info, k.O_POSITION, end)
                if end != NULL:
                    size = get(c, k.C_SIZE)
                    if result > 0 and size != NULL and result < size and get(file_at(h, file), k.F_LENGTH) == NULL:
                        note_length(h, file, end)
            else:
                if end == NULL:
                    change_length(h, file, NULL)
                elif result > 0:
                    put(file_at(h, file), k.F_BITS, get(file_at(h, file), k.F_BITS) | k.CHANGED)
                    set_type(h, file, k.FILE_TYPE)
                    length = get(file_at(h, file), k.F_LENGTH)
                    if length != NULL and end > length:
                        put(file_at(h, file), k.F_LENGTH, end)
                if moves and result > 0:
                    put(info, k.O_POSITION, end)
    elif kind == o.K_LSEEK:
        if result >= 0:
            put(info, k.O_POSITION, result)
            put(info, k.O_LISTED, 0 if result == 0 else -1)
            offset = get(c, k.C_OFFSET)
            if get(c, k.C_FLAGS) == 2 and offset != NULL and get(file_at(h, file), k.F_TYPE) == k.FILE_TYPE:
                note_length(h, file, result - offset)
    elif kind == o.K_GETDENTS:
        if result >= 0:
            set_type(h, file, k.DIRECTORY_TYPE)
            listed = get(info, k.O_LISTED)
            if get(c, k.C_ENTRIES) == NULL:
                put(info, k.O_LISTED, -1)
            elif result == 0:
                if get(file_at(h, file), k.F_ENTRIES) == NULL and listed >= 0:
                    put(file_at(h, file), k.F_ENTRIES, max(0, listed - 2))
                    touch(h, file)
            elif listed >= 0:
                put(info, k.O_LISTED, listed + get(c, k.C_ENTRIES))
    elif op == _OP_FTRUNCATE and result == 0:
        change_length(h, file, get(c, k.C_SIZE))
    elif get(c, k.C_STAT) and result == 0:
        learn(h, c, file)
    note_attribute(h, c)
    emit_open(h, c, row)
    return True


@inner
def _on_dup(h: int, c: int, row: int) -> bool:
    """dup, dup2, dup3, fcntl(F_DUPFD)."""
    new, fd, op = get(c, k.C_RESULT), get(c, k.C_FD), get(c, k.C_OP)
    if new < 0:
        accept_call(h, c)
        if row >= 0:
            emit_open(h, c, row)
        return True
    closed = row_of(h, c, new) if new != fd else -1
    if closed == -2 or (row >= 0 and not has_room(h, c, new)):
        return False
    accept_call(h, c)
    closed_number = closed_file = -1
    if closed >= 0:
        closed_number, closed_file = get(open_at(h, closed), k.O_NUMBER), get(open_at(h, closed), k.O_FILE)
    if row < 0:
        bind(h, c, new, -1, 0)
        if closed >= 0 and op != _OP_DUPFD:
            emit(h, c, -1, -1, -1, closed_file, closed_number)
        return True
    if new != fd:
        flags = get(c, k.C_FLAGS)
        on_exec = flags == _DUPFD_CLOEXEC if op == _OP_DUPFD else (
            op == _OP_DUP3 and flags != NULL and flags & _CLOEXEC != 0
        )  # fmt: skip
        bind(h, c, new, row, 1 if on_exec else 0)
    info = open_at(h, row)
    emit(h, c, get(info, k.O_PATH), get(info, k.O_FILE), get(info, k.O_NUMBER), closed_file, closed_number)
    return True


@inner
def on_fcntl(h: int, c: int) -> bool:
    """fcntl, but for locks."""
    command, value, fd = get(c, k.C_FLAGS), get(c, k.C_SIZE), get(c, k.C_FD)
    if command == NULL or fd == NULL or _LOCKS_FROM <= command <= _LOCKS_TO or _OFD_FROM <= command <= _OFD_TO:
        return False
    row = look_up(h, c, k.C_FD)
    if row == -2:
        return False
    put(c, k.C_SIZE, NULL)
    if command in (_DUPFD, _DUPFD_CLOEXEC):
        put(c, k.C_OP, _OP_DUPFD)
        return _on_dup(h, c, row)
    put(c, k.C_MODE, value & 0x7FFFFFFF if command in (_SETFD, _SETFL) and value != NULL else 0)
    accept_call(h, c)
    if get(c, k.C_RESULT) == 0 and value != NULL and fd >= 0:
        there = row_of(h, c, fd)
        if there >= 0:
            if command == _SETFD:
                entries = get(get(h, k.FD_TABLE) + 8 * k.FD_FIELDS * get(get(c, k.C_THREAD), k.T_FDS), k.FD_ADDRESS)
                put(entries, fd, (get(entries, fd) & ~1) | (value & 1))
            elif command == _SETFL:
                flags = get(open_at(h, there), k.O_FLAGS)
                put(open_at(h, there), k.O_FLAGS, (flags & ~_SETTABLE) | (value & _SETTABLE))
    if row >= 0:
        emit_open(h, c, row)
    return True

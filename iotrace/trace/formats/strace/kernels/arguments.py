"""The arguments of a call, from text to the words of the call in the making, by their roles."""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.machine import get, get_byte, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import operations as o
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.stats import read_stat
from iotrace.trace.formats.strace.kernels.texts import (
    begins,
    count_of,
    is_word,
    note_name,
    read_flags,
    read_number,
    skip_argument,
    skip_name,
    skip_spaces,
    skip_string,
)
from iotrace.trace.schema import NULL


@inner
def _read_descriptor(h: int, c: int, at: int, end: int, field: int) -> int:
    """A descriptor with or without the name that -y shows, into three words from `field` on."""
    if begins(h, at, end - at, w.FDCWD, 8):
        at += 8
        put(c, field, k.AT_FDCWD)
    else:
        at = read_number(h, at, end)
        if at < 0 or not -(1 << 31) <= get(h, k.AT) < 1 << 31:
            return -1
        put(c, field, get(h, k.AT))
    if at < end and get_byte(at, 0) == 60:
        put(c, k.C_SPECIAL, 1)
        behind = skip_name(at, end)
        if behind < 0 or not note_name(h, c, field + 1, at + 1, behind - 1):
            return -1
        at = behind
    return at


@inner
def _read_vectors(h: int, c: int, at: int, end: int) -> bool:
    """Bytes of the vectors of an iovec array together, into C_SIZE."""
    total = 0
    while at < end:
        byte = get_byte(at, 0)
        if byte == 34:
            at = skip_string(at, end)
        elif byte == 105 and not is_word(get_byte(at, -1)) and begins(h, at, end - at, w.IOV, 8):
            at = read_number(h, at + 8, end)
            if at < 0 or not 0 <= get(h, k.AT) < 1 << 40:
                return False
            total += get(h, k.AT)
        else:
            at += 1
    put(c, k.C_SIZE, total)
    return total < 1 << 60


@inner
def _read_argument(h: int, c: int, role: int, at: int, end: int) -> int:
    """One argument."""
    byte = get_byte(at, 0) if at < end else 0
    if role == o.R_FD:
        return _read_descriptor(h, c, at, end, k.C_FD)
    if role == o.R_DIRFD:
        return _read_descriptor(h, c, at, end, k.C_DIRFD)
    if role == o.R_FD2:
        # dup2 tells the new descriptor by its result
        fd, name, length = get(c, k.C_FD), get(c, k.C_FDN), get(c, k.C_FDN_LENGTH)
        at = _read_descriptor(h, c, at, end, k.C_FD)
        put(c, k.C_FD, fd)
        put(c, k.C_FDN, name)
        put(c, k.C_FDN_LENGTH, length)
        return at
    if role == o.R_PATH:
        if byte != 34:
            return -1
        put(c, k.C_SPECIAL, 1)
        begin = at + 1
        at = begin
        while at < end and get_byte(at, 0) != 34:
            if get_byte(at, 0) == 92:
                return -1
            at += 1
        if at >= end:
            return -1
        put(c, k.C_PATH, begin)
        put(c, k.C_PATH_LENGTH, at - begin)
        at += 1
        if at + 2 < end and get_byte(at, 0) == 46 and get_byte(at, 1) == 46 and get_byte(at, 2) == 46:
            at += 3
        return at
    if role == o.R_STAT:
        return read_stat(h, c, at, end) if byte == 123 else skip_argument(c, at, end)
    if role == o.R_TEXT:
        if byte != 34 and not (byte == 48 and at + 1 < end and get_byte(at, 1) == 120):
            return -1
        put(c, k.C_TEXT, 1 if byte == 34 else 0)
        at = skip_argument(c, at, end)
        # `...` behind a text that was cut short is counted
        return -1 if at >= 0 and get_byte(at, -1) == 46 else at
    if role == o.R_NAME:
        behind = skip_string(at, end) if byte == 34 else -1
        for i in range(behind - at):
            if get_byte(at, i) == 92:
                return -1
        put(c, k.C_SPECIAL, 1)
        put(c, k.C_NAME, at + 1)
        put(c, k.C_NAME_LENGTH, behind - at - 2)
        return behind
    if role == o.R_IOVEC:
        behind = skip_argument(c, at, end)
        if behind >= 0 and byte == 91 and not _read_vectors(h, c, at, behind):
            return -1
        return behind
    if role == o.R_ENTRIES and byte == 91:
        behind = skip_argument(c, at, end)
        if behind >= 0:
            if count_of(h, at, behind, w.ENTRIES, 11) > 0:
                return -1
            put(c, k.C_ENTRIES, count_of(h, at, behind, w.D_INO, 6))
        return behind
    if role == o.R_ENTRIES:
        if byte != 48:
            return -1
        at = read_number(h, at, end)
        if at < 0:
            return -1
        if at + 4 < end and get_byte(at, 0) == 32 and get_byte(at, 1) == 47 and get_byte(at, 2) == 42:
            at = read_number(h, at + 4, end)
            if at < 0 or not 0 <= get(h, k.AT) < 10**9 or not begins(h, at, end - at, w.ENTRIES, 11):
                return -1
            put(c, k.C_ENTRIES, get(h, k.AT))
            return at + 11
        return at
    if role == o.R_ADDRESS:
        at = read_flags(h, at, end)
        if at >= 0:
            # NULL is no address, a plain 0 is one
            put(c, k.C_ADDRESS, NULL if byte == 78 else get(h, k.AT))
        return at
    if role in (o.R_SIZE, o.R_OFFSET, o.R_FLAGS, o.R_MODE, o.R_COUNT, o.R_FCNTL):
        if role == o.R_FCNTL and (byte == 123 or byte == 91):
            return -1
        at = read_flags(h, at, end)
        if at >= 0:
            if role == o.R_OFFSET:
                put(c, k.C_OFFSET, get(h, k.AT))
            elif role == o.R_FLAGS:
                put(c, k.C_FLAGS, get(h, k.AT))
            elif role == o.R_MODE:
                put(c, k.C_MODE, get(h, k.AT))
            elif role == o.R_COUNT:
                put(c, k.C_COUNT, get(h, k.AT))
            else:
                put(c, k.C_SIZE, get(h, k.AT))
        return at
    return skip_argument(c, at, end)


@inner
def read_arguments(h: int, c: int, at: int, end: int) -> bool:
    """All arguments of a call, by their roles."""
    roles = get(h, k.OP_TABLE) + 8 * o.OP_FIELDS * get(c, k.C_OP)
    if at >= end:
        return False
    place = 0
    odd = False
    while True:
        role = get(roles, place) if place < o.ARGUMENTS else -1
        if at >= end:
            return False
        at = _read_argument(h, c, role, at, end) if role >= 0 else skip_argument(c, at, end)
        if at < 0:
            return False
        place += 1
        if at >= end:
            break
        if get_byte(at, 0) != 44:
            return False
        begin = at + 1
        at = skip_spaces(begin, end)
        odd = odd or at != begin + 1
    # without quotes and brackets only a comma with one space parts two arguments
    return not odd or get(c, k.C_SPECIAL) == 1

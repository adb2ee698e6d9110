"""The struct stat or statx of a call, as strace prints it."""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.machine import get, get_byte, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.texts import begins, is_word, read_flags, read_number, symbol_of
from iotrace.trace.schema import NULL


@inner
def read_stat(h: int, c: int, at: int, end: int) -> int:
    """A struct stat or statx as strace prints it, short or long."""
    put(c, k.C_SPECIAL, 1)
    major, minor = NULL, NULL
    x = -1
    at += 1
    while True:
        begin = at
        while at < end and is_word(get_byte(at, 0)):
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
        is_x = begins(h, begin, length, w.STX, 4)
        if not is_x and not begins(h, begin, length, w.ST, 3):
            return -1
        if x < 0:
            x = 1 if is_x else 0
        elif x != (1 if is_x else 0):
            return -1
        drop = 4 if is_x else 3
        which = symbol_of(h, begin + drop, length - drop, w.SYMBOL_FIELD)
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
                    if byte == 40 and begins(h, at - 7, end - at, w.MAKEDEV, 8):
                        while at < end and get_byte(at, 0) != 41:
                            at += 1
                    elif byte == 123 or byte == 34 or byte == 91 or byte == 40 or byte == 60:
                        return -1
                    at += 1
            # a date stands behind the time in a comment
        elif which == w.S_DEV:
            if begins(h, at, end - at, w.MAKEDEV, 8):
                at = read_number(h, at + 8, end)
                if at < 0 or at + 1 >= end or get_byte(at, 0) != 44 or get_byte(at, 1) != 32:
                    return -1
                dev_major = get(h, k.AT)
                at = read_number(h, at + 2, end)
                if at < 0 or at >= end or get_byte(at, 0) != 41:
                    return -1
                if not (0 <= dev_major < 1 << 31 and 0 <= get(h, k.AT) < 1 << 31):
                    return -1
                put(c, k.C_ST_DEVICE, _makedev(dev_major, get(h, k.AT)))
                at += 1
            else:
                at = read_number(h, at, end)
                if at < 0:
                    return -1
                put(c, k.C_ST_DEVICE, get(h, k.AT))
        elif which == w.S_RDEV:
            return -1
        else:
            at = read_flags(h, at, end)
            if at < 0 or get(h, k.AT) < 0:
                return -1
            value = get(h, k.AT)
            if which == w.S_MODE:
                if value >= 1 << 31:
                    return -1
                put(c, k.C_ST_MODE, value)
            elif which == w.S_SIZE:
                put(c, k.C_ST_SIZE, value)
            elif which == w.S_INO:
                put(c, k.C_ST_INODE, value)
            elif which == w.S_BLOCKS:
                put(c, k.C_ST_BLOCKS, value)
            elif which == w.S_NLINK:
                put(c, k.C_ST_LINKS, value)
            elif which == w.S_MAJOR:
                major = value
            elif which == w.S_MINOR:
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
    if get(c, k.C_ST_MODE) == NULL:
        return -1
    if x == 1:
        if major != NULL and minor != NULL:
            if major >= 1 << 31 or minor >= 1 << 31:
                return -1
            put(c, k.C_ST_DEVICE, _makedev(major, minor))
    elif major != NULL or minor != NULL:
        return -1
    put(c, k.C_STAT, 1)
    return at + 1


@inner
def _makedev(major: int, minor: int) -> int:
    return (major & 0xFFF) << 8 | (major & 0xFFFFF000) << 32 | (minor & 0xFF) | (minor & 0xFFFFFF00) << 12

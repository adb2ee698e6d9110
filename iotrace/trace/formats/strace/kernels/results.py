"""The end of a line: where the arguments end, what the call returned, how long it took."""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.machine import get, get_byte, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.texts import (
    is_digit,
    is_word,
    note_name,
    read_number,
    skip_name,
    skip_spaces,
    symbol_of,
)
from iotrace.trace.schema import NULL


@inner
def tail_at(begin: int, end: int) -> int:
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
        at = skip_spaces(begin + 1, end)
        if at > begin + 1 and at + 1 < end and get_byte(at, 0) == 61 and get_byte(at, 1) == 32:
            return begin
    return -1


@inner
def read_result(h: int, c: int, at: int, end: int) -> bool:
    """What stands behind `) = `: result, name, error, remark and duration."""
    put(c, k.C_RNAME, -1)
    put(c, k.C_DURATION, NULL)
    if at < end and get_byte(at, 0) == 63:
        put(c, k.C_RESULT, NULL)
        at += 1
    else:
        at = read_number(h, at, end)
        if at < 0:
            return False
        put(c, k.C_RESULT, get(h, k.AT))
    if at < end and get_byte(at, 0) == 60:
        behind = skip_name(at, end)
        if behind < 0 or not note_name(h, c, k.C_RNAME, at + 1, behind - 1):
            return False
        at = behind
    if at + 1 < end and get_byte(at, 0) == 32 and 65 <= get_byte(at, 1) <= 90:
        begin = at + 1
        at = begin
        while at < end and is_word(get_byte(at, 0)):
            at += 1
        error = symbol_of(h, begin, at - begin, w.SYMBOL_ERROR)
        if error == NULL:
            return False
        put(c, k.C_RESULT, -error)
    if at + 1 < end and get_byte(at, 0) == 32 and get_byte(at, 1) == 40:
        at += 2
        while at < end and get_byte(at, 0) != 41:
            at += 1
        at += 1
    if at + 1 < end and get_byte(at, 0) == 32 and get_byte(at, 1) == 60:
        at += 2
        begin, seconds = at, 0
        while at < end and is_digit(get_byte(at, 0)) and at - begin < 10:
            seconds = seconds * 10 + get_byte(at, 0) - 48
            at += 1
        if at == begin or at >= end or get_byte(at, 0) != 46 or seconds > 4_600_000_000:
            return False
        at += 1
        begin, fraction, places = at, 0, 0
        while at < end and is_digit(get_byte(at, 0)):
            if places < 9:
                fraction = fraction * 10 + get_byte(at, 0) - 48
                places += 1
            at += 1
        if at == begin:
            return False
        while places < 9:
            fraction *= 10
            places += 1
        put(c, k.C_DURATION, seconds * 1_000_000_000 + fraction)
        if at >= end or get_byte(at, 0) != 62:
            return False
        at += 1
    return at == end

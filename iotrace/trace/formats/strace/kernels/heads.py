"""The beginning of a line: who and when, in all forms that strace's options give it."""

from __future__ import annotations

from typing import Final

from iotrace.compiling import inner
from iotrace.machine import get, get_byte, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.texts import begins, is_digit, skip_spaces
from iotrace.trace.schema import NULL

_UTC_FROM: Final = 10**17
_FAR: Final = 1 << 62


@inner
def read_clock(h: int, c: int, at: int, end: int) -> int:
    """A time, into C_TIME (not yet from the log's beginning); -2: it is none."""
    begin, value = at, 0
    while at < end and is_digit(get_byte(at, 0)):
        value = value * 10 + get_byte(at, 0) - 48
        at += 1
        if at - begin > 10:
            return -1
    digits = at - begin
    if digits == 0 or at >= end:
        return -2
    byte = get_byte(at, 0)
    kind = k.ABSOLUTE_CLOCK
    if byte == 58:
        if digits != 2 or at + 6 > end:
            return -1
        for i in (1, 2, 4, 5):
            if not is_digit(get_byte(at, i)):
                return -1
        if get_byte(at, 3) != 58:
            return -1
        value = (value * 60 + (get_byte(at, 1) - 48) * 10 + get_byte(at, 2) - 48) * 60
        value += (get_byte(at, 4) - 48) * 10 + get_byte(at, 5) - 48
        at += 6
        kind = k.DAY_CLOCK
    elif byte != 46 and digits < 9:
        return -1
    if value > 4_600_000_000:
        return -1
    fraction, places = 0, 0
    if at < end and get_byte(at, 0) == 46:
        at += 1
        dot = at
        while at < end and is_digit(get_byte(at, 0)):
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
    if kind == k.ABSOLUTE_CLOCK and value < _UTC_FROM:
        kind = k.RELATIVE_CLOCK
    put(c, k.C_CLOCK, kind)
    put(c, k.C_TIME, value)
    return skip_spaces(at, end)


@inner
def skip_command(at: int, end: int) -> int:
    """Behind the name of a process that -Y shows behind its id."""
    if at >= end or get_byte(at, 0) != 60:
        return at
    begin = at
    at += 1
    while at < end and get_byte(at, 0) != 62 and get_byte(at, 0) != 60:
        at += 1
    return at + 1 if at + 1 < end and get_byte(at, 0) == 62 else begin


@inner
def _skip_brackets(at: int, end: int) -> int:
    """Behind the call's number that -n shows, and the program's place that -i does."""
    if at < end and get_byte(at, 0) == 91:
        digits = skip_spaces(at + 1, end)
        behind = digits
        while behind < end and is_digit(get_byte(behind, 0)):
            behind += 1
        if behind > digits and behind + 1 < end and get_byte(behind, 0) == 93 and get_byte(behind, 1) == 32:
            at = behind + 2
    if at < end and get_byte(at, 0) == 91:
        behind = at + 1
        unknown = behind < end and get_byte(behind, 0) == 63
        while behind < end:
            byte = get_byte(behind, 0)
            if not (byte == 63 if unknown else is_digit(byte) or 97 <= byte <= 102):
                break
            behind += 1
        if behind > at + 1 and behind + 1 < end and get_byte(behind, 0) == 93 and get_byte(behind, 1) == 32:
            at = behind + 2
    return at


@inner
def read_head(h: int, c: int, at: int, end: int, pid: int) -> int:
    """Who and when; returns where the rest begins."""
    put(c, k.C_TID, pid)
    put(c, k.C_CLOCK, k.NO_CLOCK)
    at = skip_spaces(at, end)
    if at >= end:
        return -1
    if begins(h, at, end - at, w.PID, 5):
        at = skip_spaces(at + 5, end)
        begin, value = at, 0
        while at < end and is_digit(get_byte(at, 0)) and at - begin < 8:
            value = value * 10 + get_byte(at, 0) - 48
            at += 1
        if at > begin:
            at = skip_command(at, end)
        if at == begin or at + 1 >= end or get_byte(at, 0) != 93 or get_byte(at, 1) != 32 or value > k.MAX_PID:
            return -1
        put(c, k.C_TID, value)
        at = skip_spaces(at + 1, end)
    elif is_digit(get_byte(at, 0)):
        begin, value = at, 0
        while at < end and is_digit(get_byte(at, 0)) and at - begin < 11:
            value = value * 10 + get_byte(at, 0) - 48
            at += 1
        after = skip_command(at, end)
        named = after > at
        if named and get_byte(after, 0) != 32:
            return -1
        if at < end and (named or get_byte(at, 0) == 32):
            if value <= k.MAX_PID and at - begin <= 8:
                at = after
                put(c, k.C_TID, value)
                at = skip_spaces(at, end)
            elif at - begin >= 9 and value > k.MAX_PID and not named:
                at = begin
            else:
                return -1
        else:
            at = begin
    if at < end and is_digit(get_byte(at, 0)):
        at = read_clock(h, c, at, end)
        if at < 0:
            return -1
        if at < end and get_byte(at, 0) == 40:
            # -r beside -t: (+     0.000123)
            at = skip_spaces(at + 1, end)
            if at >= end or get_byte(at, 0) != 43:
                return -1
            at = skip_spaces(at + 1, end)
            dots = 0
            begin = at
            while at < end and (is_digit(get_byte(at, 0)) or get_byte(at, 0) == 46):
                dots += get_byte(at, 0) == 46
                at += 1
            if dots != 1 or get_byte(begin, 0) == 46 or get_byte(at - 1, 0) == 46:
                return -1
            if at + 1 >= end or get_byte(at, 0) != 41 or get_byte(at, 1) != 32:
                return -1
            at = skip_spaces(at + 1, end)
        if at < end and is_digit(get_byte(at, 0)):
            return -1
    at = _skip_brackets(at, end)
    # from here on the time is that of the trace
    kind, time = get(c, k.C_CLOCK), get(c, k.C_TIME)
    put(c, k.C_BEFORE, get(h, k.BEFORE))
    if kind == k.NO_CLOCK:
        put(c, k.C_TIME, get(h, k.LAST_NS) if get(h, k.TIMED) else (get(h, k.LINES) + 1) * 1000)
        return at
    if get(h, k.BASE) == NULL:
        return -1
    if kind == k.DAY_CLOCK:
        before = get(h, k.BEFORE)
        if time < before - k.DAY_NS // 2:
            time += (before - time + k.DAY_NS // 2) // k.DAY_NS * k.DAY_NS
        put(c, k.C_BEFORE, max(before, time))
    elif kind == k.RELATIVE_CLOCK:
        if get(h, k.BEFORE) >= _FAR:
            return -1
        time += get(h, k.BEFORE)
        put(c, k.C_BEFORE, time)
    time -= get(h, k.BASE)
    if not -_FAR < time < _FAR:
        return -1
    put(c, k.C_TIME, time)
    return at

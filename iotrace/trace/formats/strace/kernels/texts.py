"""Texts of numbers, symbols and names in a line of strace's.

What reads or skips takes an address and an end, leaves what it found in the header, and returns the address behind it;
-1: it is not of the one form that is known here.
"""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.hashing import SEED, hash_bytes
from iotrace.machine import get, get_byte, put, same_bytes
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.schema import NULL


@inner
def begins(h: int, text: int, length: int, word: int, word_length: int) -> bool:
    """Whether a text begins with one of the words of WORDS."""
    return length >= word_length and same_bytes(text, get(h, k.WORDS) + word, word_length)


@inner
def is_digit(byte: int) -> bool:
    """0 to 9."""
    return 48 <= byte <= 57


@inner
def is_word(byte: int) -> bool:
    """A letter, a digit, an underscore."""
    return 97 <= byte <= 122 or 65 <= byte <= 90 or 48 <= byte <= 57 or byte == 95


@inner
def _is_letter(byte: int) -> bool:
    return 97 <= byte <= 122 or 65 <= byte <= 90


@inner
def skip_spaces(at: int, end: int) -> int:
    """Behind what spaces there are."""
    while at < end and get_byte(at, 0) == 32:
        at += 1
    return at


@inner
def read_number(h: int, at: int, end: int) -> int:
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
        if at - begin > 18 or (at < end and is_digit(get_byte(at, 0))):
            return -1
    if at == begin:
        return -1
    put(h, k.AT, -value if negative else value)
    return at


@inner
def symbol_of(h: int, at: int, length: int, kind: int) -> int:
    """Value of a word of strace's; NULL for one that is not known."""
    if length > w.SYMBOL_ROOM:
        return NULL
    slot = hash_bytes(at, length, SEED) & (w.SYMBOL_SLOTS - 1)
    while True:
        row = get(h, k.WORDS) + w.CONSTANTS_AT + 8 * w.SYMBOL_WORDS * slot
        if get(row, 0) == w.SYMBOL_NONE:
            return NULL
        if get(row, 0) == kind and get(row, 2) == length and same_bytes(row + 8 * w.SYMBOL_TEXT, at, length):
            return get(row, 1)
        slot = (slot + 1) & (w.SYMBOL_SLOTS - 1)


@inner
def read_flags(h: int, at: int, end: int) -> int:
    """Numbers and constants with `|` between them, into AT."""
    value = 0
    while True:
        byte = get_byte(at, 0) if at < end else 0
        if is_digit(byte) or byte == 45:
            at = read_number(h, at, end)
            if at < 0:
                return -1
            value |= get(h, k.AT)
        elif byte == 124:
            # nothing stands for zero before a bar under -X raw
            pass
        else:
            begin = at
            while at < end and is_word(get_byte(at, 0)):
                at += 1
            bits = symbol_of(h, begin, at - begin, w.SYMBOL_CONSTANT)
            if at == begin or bits == NULL:
                return -1
            value |= bits
        if at < end and get_byte(at, 0) == 124:
            at += 1
            continue
        put(h, k.AT, value)
        return at


@inner
def skip_name(at: int, end: int) -> int:
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
def note_name(h: int, c: int, field: int, begin: int, end: int) -> bool:
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
                begins(h, begin + i, end - begin - i, w.CHAR, 6) or begins(h, begin + i, end - begin - i, w.BLOCK, 7)
            ):
                return False
            plain, known = False, True
            break
        if byte == 58 and kind:
            known = True
        kind = kind and (is_word(byte) or byte == 45)
    if not known:
        return False
    put(c, field, begin)
    put(c, field + 1, end - begin if plain else 0)
    return True


@inner
def skip_string(at: int, end: int) -> int:
    """Behind the closing quote of a string."""
    at += 1
    while at < end:
        byte = get_byte(at, 0)
        if byte == 34:
            return at + 1
        at += 2 if byte == 92 else 1
    return -1


@inner
def skip_argument(c: int, at: int, end: int) -> int:
    """Behind an argument that nobody needs."""
    depth = 0
    kinds = 0
    while at < end:
        byte = get_byte(at, 0)
        if byte == 34:
            put(c, k.C_SPECIAL, 1)
            at = skip_string(at, end)
            if at < 0:
                return -1
            continue
        if byte == 60:
            put(c, k.C_SPECIAL, 1)
            at = skip_name(at, end)
            if at < 0:
                return -1
            continue
        if byte == 44 and depth == 0:
            return at
        if byte == 91 or byte == 123 or byte == 40:
            put(c, k.C_SPECIAL, 1)
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
def count_of(h: int, at: int, end: int, word: int, length: int) -> int:
    """How often a word stands in a text."""
    count = 0
    first = get_byte(get(h, k.WORDS) + word, 0)
    while at < end:
        if get_byte(at, 0) == first and begins(h, at, end - at, word, length):
            count += 1
            at += length
        else:
            at += 1
    return count

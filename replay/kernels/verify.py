"""Verifying while a replay runs: what to write before a write, what must be there after a read.

For each file there is a row in a table: how many bytes hold data as staged (behind them are zeros), and, where the run
changes the file, the address of one word a block: its version, which of its bytes hold that version (the others are
zeros), and whether that is known at all. A word of 0 means: as staged. Tables and words lie in memory that workers
share; the words are changed atomically.

A write that covers all bytes that a block has gives it the next version. One that covers a part of them repeats the
version that is there, so that a lost part shows only where there was nothing before. Calls that conflict must be kept
in order (`--order file`): a read that overtakes a write would count as stale.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types

from iotrace.compiling import compiled
from iotrace.machine import add
from iotrace.replay.kernels.blocks import (
    BLOCK,
    FILES,
    FILES_AT,
    HEADER,
    PATTERN,
    TAG,
    byte_at,
    crc_of,
    differs_at,
    fill_block,
    instruction,
    put_word,
    word_at,
    word_of,
)

# words of a file's row
STAGED: Final = 0
"""Bytes that hold data as staged; -1: this file is not verified."""
STATES_AT: Final = 1
BLOCKS: Final = 2
TOP: Final = 3
"""Blocks from here on hold nothing."""
FILE_WORDS: Final = 4

# a block's state: version in bits 0–31, first byte and end of what it holds, and flags
_LOW_SHIFT: Final = 32
_HIGH_SHIFT: Final = 45
_PLACE_MASK: Final = 0x1FFF
_PATCHY: Final = 1 << 58
"""Bytes between the first and the last may be zeros as well."""
_UNKNOWN: Final = 1 << 59
_SET: Final = 1 << 60
_VERSION_MASK: Final = 0xFFFFFFFF

# kinds of wrong blocks; each is counted in the word of its number
DAMAGED, STALE, NEWER, OTHER_BLOCK, OTHER_FILE, OTHER_TREE, ZEROS, STRAY, UNEXPECTED = range(9)
KINDS: Final = 9
CHECKED_BYTES: Final = 16
UNCHECKED_BYTES: Final = 17
NAMED: Final = 18
"""Of the wrong blocks so many are described, one row each, from NAMED_ROWS on."""
NAMED_ROWS: Final = 24
NAMED_MAX: Final = 16
NAMED_WORDS: Final = 8
"""Kind, file, block, place of the first wrong byte in it, version that it should have; file, block, version found."""
FOUND_WORDS: Final = NAMED_ROWS + NAMED_MAX * NAMED_WORDS

_OLDER: Final = 8
"""Where a header cannot be seen, so many versions back are tried."""


@instruction
def _replace(context: Any, address: Any, before: Any, after: Any) -> Any:
    """Store a word if it still is what it was; gives whether it was."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        pair = builder.cmpxchg(pointer, args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64, types.int64, types.int64), generate


@compiled
def row_of(context: int, file: int) -> Any:
    """Address of a file's row, 0 for one that is not verified."""
    if file < 0 or file >= word_at(context, FILES):
        return np.int64(0)
    row = word_at(context, FILES_AT) + 8 * FILE_WORDS * np.int64(file)
    return row if word_at(row, STAGED) >= 0 else np.int64(0)


@compiled
def state_of(row: int, block: int) -> Any:
    """State of a block, spelt out where it is as staged."""
    states, count = word_at(row, STATES_AT), word_at(row, BLOCKS)
    if states != 0:
        if block >= count:
            return np.int64(_UNKNOWN)
        state = word_at(states, block)
        if state != 0:
            return state
    high = min(max(word_at(row, STAGED) - block * BLOCK, np.int64(0)), np.int64(BLOCK))
    return high << _HIGH_SHIFT


@compiled
def _stored_at(row: int, block: int) -> Any:
    """Address of a block's word, 0 if it has none."""
    states = word_at(row, STATES_AT)
    return states + 8 * block if states != 0 and block < word_at(row, BLOCKS) else np.int64(0)


@compiled
def _raise_top(row: int, blocks: int) -> Any:
    while True:
        top = word_at(row, TOP)
        if top >= blocks or _replace(row + 8 * TOP, top, blocks):
            return


@compiled
def _written(state: int, begin: int, end: int) -> Any:
    """State of a block after a write of [begin, end)."""
    version = state & _VERSION_MASK
    flags: Any = state & _PATCHY
    low: Any = (state >> _LOW_SHIFT) & _PLACE_MASK
    high: Any = (state >> _HIGH_SHIFT) & _PLACE_MASK
    if state & _UNKNOWN:
        if begin > 0 or end < BLOCK:
            return state | _SET
        low = high = np.int64(0)
    if low == high or (begin <= low and end >= high):
        version, flags, low, high = (version + 1) & _VERSION_MASK, np.int64(0), begin, end
    else:
        if begin > high or end < low:
            flags = np.int64(_PATCHY)
        low, high = min(low, begin), max(high, end)
    return version | (low << _LOW_SHIFT) | (high << _HIGH_SHIFT) | flags | _SET


@compiled
def fill_blocks(address: int, size: int, context: int, file: int, offset: int) -> Any:
    """Before a write of `size` bytes at `offset` of a file: put into memory what must be written.

    `size` is what the write is expected to write; say what it did by `settle_write`.
    """
    row = row_of(context, file)
    at = np.int64(0)
    while at < size:
        block, begin = (offset + at) >> 12, (offset + at) & (BLOCK - 1)
        end = min(np.int64(BLOCK), begin + size - at)
        version = np.int64(0)
        if row != 0:
            place = _stored_at(row, block)
            while True:
                before = state_of(row, block)
                after = _written(before, begin, end)
                if place == 0 or _replace(place, before if before & _SET else np.int64(0), after):
                    break
            version = (after if place != 0 else before) & _VERSION_MASK
        fill_block(address + at, context, file, block, version, begin, end)
        at += end - begin
    if row != 0 and size > 0:
        _raise_top(row, (offset + size + BLOCK - 1) >> 12)


@compiled
def settle_write(context: int, file: int, offset: int, expected: int, result: int) -> Any:
    """After a write: where it wrote more or less than expected, what is there now is not known."""
    if result != expected:
        low, high = min(max(result, 0), expected), max(result, expected)
        forget_range(context, file, offset + low, high - low)


@compiled
def forget_range(context: int, file: int, offset: int, size: int) -> Any:
    """A range of a file got bytes that are not its own (a copy from another file): not verified until it is written."""
    row = row_of(context, file)
    if row == 0 or size <= 0:
        return
    for block in range(offset >> 12, min((offset + size + BLOCK - 1) >> 12, word_at(row, BLOCKS))):
        place = _stored_at(row, block)
        if place != 0:
            put_word(place, 0, state_of(row, block) | _UNKNOWN | _SET)
    _raise_top(row, min((offset + size + BLOCK - 1) >> 12, word_at(row, BLOCKS)))


@compiled
def zero_range(context: int, file: int, offset: int, size: int) -> Any:
    """A hole was punched, or a range zeroed."""
    row = row_of(context, file)
    if row == 0 or size <= 0:
        return
    end = min(offset + size, word_at(row, TOP) * BLOCK)
    at = offset
    while at < end:
        block, begin = at >> 12, at & (BLOCK - 1)
        stop = min(np.int64(BLOCK), begin + end - at)
        place = _stored_at(row, block)
        if place != 0:
            state = state_of(row, block)
            low, high = (state >> _LOW_SHIFT) & _PLACE_MASK, (state >> _HIGH_SHIFT) & _PLACE_MASK
            version = state & _VERSION_MASK
            if begin == 0 and stop == BLOCK:
                put_word(place, 0, version | _SET)
            elif state & _UNKNOWN == 0 and begin < high and stop > low:
                if begin <= low and stop >= high:
                    low = high = np.int64(0)
                    state &= ~_PATCHY
                elif begin <= low:
                    low = stop
                elif stop >= high:
                    high = begin
                else:
                    state |= _PATCHY
                put_word(place, 0, version | (low << _LOW_SHIFT) | (high << _HIGH_SHIFT) | (state & _PATCHY) | _SET)
        at += stop - begin


@compiled
def cut_file(context: int, file: int, size: int) -> Any:
    """A file was truncated to a size (also by O_TRUNC): from there on it holds zeros, if anything."""
    row = row_of(context, file)
    if row == 0:
        return
    blocks = word_at(row, TOP)
    zero_range(context, file, size, blocks * BLOCK - size)
    if size & (BLOCK - 1) and _stored_at(row, size >> 12) == 0:
        return
    if (size + BLOCK - 1) >> 12 < blocks:
        put_word(row, TOP, (size + BLOCK - 1) >> 12)


@compiled
def _not_zero_at(address: int, begin: int, end: int) -> Any:
    """Place of the first byte of [begin, end) that is not zero, -1 if all are."""
    start = address - begin
    whole, rest = begin + ((end - begin) & ~np.int64(7)), np.int64(0)
    for i in range((whole - begin) >> 3):
        rest |= word_at(address, i)
    for k in range(begin if rest != 0 else whole, end):
        if byte_at(start, k) != 0:
            return np.int64(k)
    return np.int64(-1)


@compiled
def _patchy_differs_at(
    address: int, context: int, file: int, block: int, version: int, low: int, high: int, begin: int, end: int
) -> Any:
    """As differs_at, where each byte of [low, high) may be zero as well, and the others must be."""
    for k in range(begin, end):
        if byte_at(address - begin, k) == 0:
            continue
        if k < low or k >= high or differs_at(address - begin + k, context, file, block, version, k, k + 1) >= 0:
            return np.int64(k)
    return np.int64(-1)


@compiled
def _is_stray(address: int, context: int, begin: int, end: int) -> Any:
    """Whether a part is one of some block, whichever: the pattern, XORed with one word."""
    first, last = (max(begin, HEADER) + 7) >> 3, end >> 3
    if last - first < 2:
        return False
    start, pattern = address - begin, context + 8 * PATTERN
    word = word_at(start, first) ^ word_at(pattern, first)
    other = np.int64(0)
    for i in range(first + 1, last):
        other |= word_at(start, i) ^ word_at(pattern, i) ^ word
    return other == 0


@compiled
def _name(
    found: int, address: int, context: int, file: int, block: int, version: int, wrong: int, begin: int, end: int,
    data: bool,
) -> Any:  # fmt: skip
    """Count a wrong part of a block, find out what it is, describe it."""
    kind = np.int64(DAMAGED if data else UNEXPECTED)
    seen_file, seen_block, seen_version = np.int64(-1), np.int64(-1), np.int64(-1)
    told = False
    if begin == 0 and end >= HEADER:
        tag, one, other, last = word_at(address, 0), word_at(address, 1), word_at(address, 2), word_at(address, 3)
        seen = last & _VERSION_MASK
        if tag == word_at(context, TAG):
            # a header is believed when its checksum is that of the block that it names
            if (last >> 32) & 0xFFFFFFFF == crc_of(context, word_of(context, one, other, seen)):
                told = True
                seen_file, seen_block, seen_version = one, other, seen
                if one != file:
                    kind = np.int64(OTHER_FILE)
                elif other != block:
                    kind = np.int64(OTHER_BLOCK)
                elif seen != version:
                    # versions wrap around
                    kind = np.int64(STALE if (version - seen) & _VERSION_MASK < 1 << 31 else NEWER)
                elif not data:
                    kind = np.int64(STALE)
        elif tag != 0 and _is_stray(address, context, begin, end):
            first = np.int64(HEADER // 8)
            word = word_at(address, first) ^ word_at(context + 8 * PATTERN, first)
            ours = word_of(context, file, block, version)
            if word != ours and (last >> 32) & 0xFFFFFFFF == crc_of(context, word):
                told = True
                kind = np.int64(OTHER_TREE)
    if not told:
        if data and _not_zero_at(address, begin, end) < 0:
            kind = np.int64(ZEROS)
        elif begin > 0 or end < HEADER:
            # where nothing should be, the last version is old as well
            for back in range(1 if data else 0, _OLDER + 1):
                if version >= back and differs_at(address, context, file, block, version - back, begin, end) < 0:
                    kind, told = np.int64(STALE), True
                    seen_file, seen_block, seen_version = np.int64(file), np.int64(block), np.int64(version - back)
                    break
            if not told and _is_stray(address, context, begin, end):
                kind = np.int64(STRAY)
    add(found + 8 * kind, 1)
    number = add(found + 8 * NAMED, 1)
    if number < NAMED_MAX:
        at = found + 8 * (NAMED_ROWS + NAMED_WORDS * number)
        put_word(at, 0, kind)
        put_word(at, 1, np.int64(file))
        put_word(at, 2, np.int64(block))
        put_word(at, 3, wrong)
        put_word(at, 4, np.int64(version))
        put_word(at, 5, seen_file)
        put_word(at, 6, seen_block)
        put_word(at, 7, seen_version)
    return kind


@compiled
def check_blocks(address: int, size: int, context: int, file: int, offset: int, found: int) -> Any:
    """After a read of `size` bytes (its result) at `offset` of a file: gives how many of the blocks are wrong.

    `found` is the address of FOUND_WORDS int64 words: counts by kind, bytes checked and not, and what was wrong.
    """
    row = row_of(context, file)
    if row == 0:
        if size > 0:
            add(found + 8 * UNCHECKED_BYTES, size)
        return np.int64(0)
    bad, checked = np.int64(0), np.int64(0)
    at = np.int64(0)
    while at < size:
        block, begin = (offset + at) >> 12, (offset + at) & (BLOCK - 1)
        end = min(np.int64(BLOCK), begin + size - at)
        here = address + at
        at += end - begin
        state = state_of(row, block)
        if state & _UNKNOWN:
            continue
        checked += end - begin
        version = state & _VERSION_MASK
        low, high = (state >> _LOW_SHIFT) & _PLACE_MASK, (state >> _HIGH_SHIFT) & _PLACE_MASK
        if state & _PATCHY:
            wrong = _patchy_differs_at(here, context, file, block, version, low, high, begin, end)
            if wrong >= 0:
                bad += 1
                _name(found, here, context, file, block, version, wrong, begin, end, True)
            continue
        first, last = min(max(begin, low), end), max(min(end, high), begin)
        wrong, data = np.int64(-1), True
        if first < last:
            wrong = differs_at(here + first - begin, context, file, block, version, first, last)
        else:
            first, last = end, end
        if wrong < 0:
            wrong = _not_zero_at(here, begin, first)
            if wrong < 0:
                wrong = _not_zero_at(here + last - begin, last, end)
            data = wrong < 0
        if wrong >= 0:
            bad += 1
            if data:
                _name(found, here + first - begin, context, file, block, version, wrong, first, last, True)
            else:
                _name(found, here, context, file, block, version, wrong, begin, end, False)
    add(found + 8 * CHECKED_BYTES, checked)
    if checked < size:
        add(found + 8 * UNCHECKED_BYTES, size - checked)
    return bad

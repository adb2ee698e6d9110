"""What a block of a replayed file holds: known from the numbers of file, block and version, so that nobody stores it.

A block is 4 KiB. Its 512 words are those of one table (the pattern: random words, then one word again and again for
the share that a compressor can save), each XORed with one word of 64 bits that is a hash of tree, file, block and
version. So every part of a block can be made and compared at the speed of memory, no two blocks have a word in common
but by chance, and a compressor that sees many of them finds nothing that it does not find in one.

A verified block begins with a header of 32 bytes: tag of the tree, file, block (int64 each), version, CRC-32C of the
other 4064 bytes (uint32 each). Since CRC is linear, the one of `pattern ^ word ^ word …` is the pattern's CRC XORed
with eight values from a table, one for each byte of the word: no CRC is computed over data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from iotrace.compiling import compiled

BLOCK: Final = 4096
WORDS: Final = BLOCK // 8
HEADER: Final = 32
_HEADER_WORDS: Final = HEADER // 8

# words of the context, an int64 array that all functions get the address of
TAG: Final = 0
"""Of the tree; never 0."""
REPEATS: Final = 1
"""Share of repeated extents, of 2^63."""
HAS_HEADER: Final = 2
PATTERN_CRC: Final = 3
FILES_AT: Final = 4
FILES: Final = 5
PATTERN: Final = 8
CRC_OF_BYTE: Final = PATTERN + WORDS
CONTEXT_WORDS: Final = CRC_OF_BYTE + 8 * 256

EXTENT_BLOCKS: Final = 32
"""Repeated blocks lie together in extents of 128 KiB, so that every usual unit of deduplication sees them."""
_EXTENT_SHIFT: Final = 5
_VARIANTS_MASK: Final = 3
"""Repeated extents are one of four."""

_I64: Final = ir.IntType(64)
_FILE, _BLOCK, _VERSION, _EXTENT = (
    np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03), np.uint64(0x8CB92BA72F3D8DD7),
    np.uint64(0xC13FA9A902A6328F),
)  # fmt: skip
_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_A, _B, _C, _ONE = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(1)
_CRC_POLYNOMIAL: Final = 0x82F63B78


def instruction(function: Callable[..., Any]) -> Any:
    """An instruction for kernels; untyped, since Numba calls it without its first argument."""
    return intrinsic(function)


def _element(builder: Any, base: Any, index: Any, bits: int) -> Any:
    # a pointer and a distance, which LLVM can vectorise, where adding integers is opaque to it
    pointer = builder.inttoptr(base, ir.IntType(bits).as_pointer())
    return builder.gep(pointer, [index])


@instruction
def word_at(context: Any, base: Any, index: Any) -> Any:
    """Word number `index` of 64 bits behind an address, aligned or not."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_element(builder, args[0], args[1], 64), align=1)

    return types.int64(types.int64, types.int64), generate


@instruction
def put_word(context: Any, base: Any, index: Any, value: Any) -> Any:
    """Store a word of 64 bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _element(builder, args[0], args[1], 64), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@instruction
def byte_at(context: Any, base: Any, index: Any) -> Any:
    """Byte number `index` behind an address, 0 to 255."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.load(_element(builder, args[0], args[1], 8), align=1), _I64)

    return types.int64(types.int64, types.int64), generate


@instruction
def put_byte(context: Any, base: Any, index: Any, value: Any) -> Any:
    """Store the lowest byte of a value."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.trunc(args[2], ir.IntType(8))
        builder.store(value, _element(builder, args[0], args[1], 8), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@compiled
def mix(value: Any) -> Any:
    """Mix the bits of a uint64: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    value = (value ^ (value >> _A)) * _MIX_A
    value = (value ^ (value >> _B)) * _MIX_B
    return value ^ (value >> _C)


@compiled
def word_of(context: int, file: int, block: int, version: int) -> Any:
    """The word that the pattern is XORed with."""
    tag = np.uint64(word_at(context, TAG))
    repeats = word_at(context, REPEATS)
    if repeats > 0:
        extent = np.uint64(block >> _EXTENT_SHIFT)
        # multiples of irrational steps spread evenly: the share is kept within one extent in every file
        place = tag + mix(np.uint64(file)) + extent * _EXTENT
        if np.int64(place >> _ONE) < repeats:
            variant = mix(place) & np.uint64(_VARIANTS_MASK)
            inside = np.uint64(block & (EXTENT_BLOCKS - 1))
            return np.int64(mix(mix(tag ^ _EXTENT) + variant * _BLOCK + inside * _VERSION))
    value = mix(tag + np.uint64(file) * _FILE)
    value = mix(value + np.uint64(block) * _BLOCK)
    return np.int64(mix(value + np.uint64(version) * _VERSION))


@compiled
def crc_of(context: int, word: int) -> Any:
    """CRC-32C of bytes 32 to 4095 of the block with this word."""
    crc = word_at(context, PATTERN_CRC)
    for j in range(8):
        crc ^= word_at(context, CRC_OF_BYTE + 256 * j + ((word >> (8 * j)) & 255))
    return crc


@compiled
def header_word(context: int, index: int, file: int, block: int, version: int, word: int) -> Any:
    """Word number `index` of the header."""
    if index == 0:
        return word_at(context, TAG)
    if index == 1:
        return np.int64(file)
    if index == 2:
        return np.int64(block)
    return (version & 0xFFFFFFFF) | (crc_of(context, word) << 32)


@compiled
def fill_block(address: int, context: int, file: int, block: int, version: int, begin: int, end: int) -> Any:
    """Write bytes [begin, end) of a block to an address."""
    word = word_of(context, file, block, version)
    pattern = context + 8 * PATTERN
    first, last = (begin + 7) >> 3, end >> 3
    start = address - begin
    if first <= last:
        for i in range(first, last):
            put_word(start, i, word_at(pattern, i) ^ word)
        for k in range(begin, min(first * 8, end)):
            put_byte(start, k, (word_at(pattern, k >> 3) ^ word) >> (8 * (k & 7)))
        for k in range(max(last * 8, begin), end):
            put_byte(start, k, (word_at(pattern, k >> 3) ^ word) >> (8 * (k & 7)))
    else:  # within one word
        for k in range(begin, end):
            put_byte(start, k, (word_at(pattern, k >> 3) ^ word) >> (8 * (k & 7)))
    if begin < HEADER and word_at(context, HAS_HEADER) != 0:
        if begin == 0 and end >= HEADER:
            for i in range(_HEADER_WORDS):
                put_word(start, i, header_word(context, i, file, block, version, word))
        else:
            for k in range(begin, min(HEADER, end)):
                value = header_word(context, k >> 3, file, block, version, word)
                put_byte(start, k, value >> (8 * (k & 7)))


@compiled
def differs_at(address: int, context: int, file: int, block: int, version: int, begin: int, end: int) -> Any:
    """Place in the block of the first byte of [begin, end) that is not as it should be, -1 if all are."""
    word = word_of(context, file, block, version)
    pattern = context + 8 * PATTERN
    start = address - begin
    headed = word_at(context, HAS_HEADER) != 0
    skip = HEADER if headed else 0
    first, last = (max(begin, skip) + 7) >> 3, end >> 3
    wrong = np.int64(0)
    for i in range(first, last):
        wrong |= word_at(start, i) ^ word_at(pattern, i) ^ word
    if headed and begin == 0 and end >= HEADER:
        for i in range(_HEADER_WORDS):
            wrong |= word_at(start, i) ^ header_word(context, i, file, block, version, word)
        if wrong == 0 and end == BLOCK:
            return np.int64(-1)
    for k in range(begin, end):
        # where all whole words are right: what they do not cover, at most the ends and the header
        if wrong == 0 and k >= first * 8 and k < last * 8:
            continue
        value = word_at(pattern, k >> 3) ^ word
        if headed and k < HEADER:
            value = header_word(context, k >> 3, file, block, version, word)
        if byte_at(start, k) != (value >> (8 * (k & 7))) & 255:
            return np.int64(k)
    return np.int64(-1)


@compiled
def fill_range(address: int, size: int, context: int, file: int, offset: int) -> Any:
    """Write bytes [offset, offset + size) of a file as it is staged (version 0) to an address."""
    at = np.int64(0)
    while at < size:
        block, begin = (offset + at) >> 12, (offset + at) & (BLOCK - 1)
        end = min(np.int64(BLOCK), begin + size - at)
        fill_block(address + at, context, file, block, 0, begin, end)
        at += end - begin


@compiled
def crc32c(address: int, size: int) -> Any:
    """CRC-32C (RFC 3720) of bytes, bit by bit: for the tables, never for data."""
    crc = np.int64(0xFFFFFFFF)
    for i in range(size):
        crc ^= byte_at(address, i)
        for _ in range(8):
            crc = (crc >> 1) ^ (_CRC_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF

"""Numba kernels that turn a column of integers into the bytes of a Parquet page.

They take int64 columns (a value that stands for null, or values and validity apart) and fill byte buffers of the
caller's; nothing is allocated on the way. Layouts are those of the Parquet format's Encodings.md: the RLE and
bit-packing hybrid, DELTA_BINARY_PACKED (blocks of 128 in 4 miniblocks) and BYTE_STREAM_SPLIT.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np

from iotrace.compiling import compiled

_F = TypeVar("_F", bound=Callable[..., Any])
_BLOCK: Final = 128
_MINI: Final = 32
_RUN: Final = 16
"""A shorter run of equal values is cheaper among the bit-packed ones."""
SLOTS: Final = 1 << 16
"""Slots of the hash table of dictionary(); it takes half as many distinct values."""
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


def _kernel(function: _F) -> _F:
    return cast(_F, compiled(function, error_model="numpy"))


@_kernel
def is_constant(values: Any, count: int) -> bool:
    """Whether the first `count` values are all the same."""
    first = values[0]
    for begin in range(0, count, 2048):
        differ = np.int64(0)
        for i in range(begin, min(begin + 2048, count)):
            differ |= values[i] ^ first
        if differ != 0:
            return False
    return True


@_kernel
def take(values: Any, count: int, null: int, dense: Any, valid: Any) -> int:
    """Pack the values that are not `null` into `dense` and note in `valid` (uint8) where they were; how many."""
    kept = 0
    for i in range(count):
        value = values[i]
        there = value != null
        dense[kept] = value
        kept += there
        valid[i] = there
    return kept


@_kernel
def bounds(values: Any, count: int) -> tuple[int, int]:
    """Smallest and largest of the first `count` (at least one) values."""
    low, high = values[0], values[0]
    for i in range(count):
        low = min(low, values[i])
        high = max(high, values[i])
    return low, high


@_kernel
def reorder(times: Any, count: int, newest: int) -> tuple[Any, Any]:
    """How far a time lies before an earlier one at most, and the newest of `newest` and all times."""
    most = np.int64(0)
    for i in range(count):
        newest = max(newest, times[i])
        most = max(most, newest - times[i])
    return most, newest


@_kernel
def dictionary(values: Any, count: int, limit: int, keys: Any, numbers: Any, entries: Any, indices: Any) -> int:
    """Number the distinct values in order of appearance.

    `keys` (int64) and `numbers` (int32) are a hash table of SLOTS slots; `entries` (int64) receives the distinct
    values, `indices` (int32) the number of each value. Returns how many are distinct, -1 when there are more than
    `limit` (at most SLOTS / 2).
    """
    numbers[:] = -1
    distinct = 0
    last_value, last = values[0] ^ 1, np.int32(-1)
    for i in range(count):
        value = values[i]
        if value != last_value:
            slot = (np.uint64(value) * _MIX) >> np.uint64(48)
            while numbers[slot] >= 0 and keys[slot] != value:
                slot = (slot + np.uint64(1)) & np.uint64(SLOTS - 1)
            if numbers[slot] < 0:
                if distinct == limit:
                    return -1
                keys[slot], numbers[slot] = value, distinct
                entries[distinct] = value
                distinct += 1
            last_value, last = value, numbers[slot]
        indices[i] = last
    return distinct


@_kernel
def varint(value: Any, out: Any, at: int) -> int:
    """An unsigned integer in groups of 7 bits; returns the position behind it."""
    rest = np.uint64(value)
    while rest >= np.uint64(128):
        out[at] = np.uint8(rest & np.uint64(127)) | np.uint8(128)
        at += 1
        rest >>= np.uint64(7)
    out[at] = np.uint8(rest)
    return at + 1


@_kernel
def _zigzag(value: Any) -> Any:
    return np.uint64((value << np.int64(1)) ^ (value >> np.int64(63)))


@_kernel
def _width(bits: Any) -> int:
    """How many bits the largest of the values takes whose bitwise or is `bits`."""
    width, rest = 0, np.uint64(bits)
    while rest != np.uint64(0):
        width += 1
        rest >>= np.uint64(1)
    return width


@_kernel
def _pack(values: Any, begin: int, count: int, width: int, out: Any, at: int) -> int:
    """Write `count` values of `width` bits, least significant bit first, to whole bytes; the position behind them."""
    waiting, used, bits = np.uint64(0), np.uint64(0), np.uint64(width)
    for i in range(begin, begin + count):
        value = np.uint64(values[i])
        waiting |= value << used
        used += bits
        if used >= np.uint64(64):
            for b in range(8):
                out[at + b] = np.uint8(waiting >> np.uint64(8 * b))
            at += 8
            used -= np.uint64(64)
            # a shift by 64 is no shift at all
            waiting = value >> (bits - used) if used != np.uint64(0) else np.uint64(0)
    left = np.int64(used)
    while left > 0:
        out[at] = np.uint8(waiting)
        waiting >>= np.uint64(8)
        at += 1
        left -= 8
    return at


@_kernel
def _literals(values: Any, begin: int, count: int, width: int, out: Any, at: int) -> int:
    groups = (count + 7) // 8
    at = varint(groups << 1 | 1, out, at)
    end = _pack(values, begin, count, width, out, at)
    whole = at + groups * width
    while end < whole:
        out[end] = 0
        end += 1
    return whole


@_kernel
def hybrid(values: Any, count: int, width: int, out: Any, at: int) -> int:
    """The RLE and bit-packing hybrid of `count` values of `width` bits; returns the position behind it."""
    begin, i = 0, 0
    while i < count:
        value, end = values[i], i + 1
        while end < count and values[end] == value:
            end += 1
        # literals come in groups of 8: the run fills up the last one
        fill = (begin - i) % 8
        if end - i - fill >= _RUN or (end == count and begin == i):
            if i + fill > begin:
                at = _literals(values, begin, i + fill - begin, width, out, at)
            at = varint((end - i - fill) << 1, out, at)
            for b in range((width + 7) // 8):
                out[at] = np.uint8(np.uint64(value) >> np.uint64(8 * b))
                at += 1
            begin = end
        i = end
    if begin < count:
        at = _literals(values, begin, count - begin, width, out, at)
    return at


@_kernel
def delta_binary_packed(values: Any, count: int, narrow: bool, block: Any, out: Any, at: int) -> int:
    """DELTA_BINARY_PACKED of int64 values, or (`narrow`) of int32 ones; `block` is 128 words of uint64 to work in."""
    at = varint(_BLOCK, out, at)
    at = varint(_BLOCK // _MINI, out, at)
    at = varint(count, out, at)
    at = varint(_zigzag(values[0]) if count else np.uint64(0), out, at)
    for begin in range(1, count, _BLOCK):
        size = min(_BLOCK, count - begin)
        least = np.int64(0x7FFFFFFFFFFFFFFF)
        for i in range(size):
            delta = values[begin + i] - values[begin + i - 1]
            if narrow:
                delta = np.int64(np.int32(delta))
            block[i] = np.uint64(delta)
            least = min(least, delta)
        at = varint(_zigzag(least), out, at)
        widths = at
        at += _BLOCK // _MINI
        for mini in range(_BLOCK // _MINI):
            first = mini * _MINI
            some = np.uint64(0)
            for i in range(first, min(first + _MINI, size)):
                block[i] -= np.uint64(least)
                some |= block[i]
            width = _width(some)
            out[widths + mini] = width
            if first < size:
                for i in range(size, first + _MINI):
                    block[i] = np.uint64(0)
                at = _pack(block, first, _MINI, width, out, at)
    return at


@_kernel
def byte_stream_split(values: Any, count: int, width: int, out: Any, at: int) -> int:
    """BYTE_STREAM_SPLIT of the low `width` bytes of each value."""
    for b in range(width):
        shift = np.uint64(8 * b)
        for i in range(count):
            out[at + i] = np.uint8(np.uint64(values[i]) >> shift)
        at += count
    return at

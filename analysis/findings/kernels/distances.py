"""Reuse distances of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from iotrace.compiling import compiled

READS, WRITES, COPIES, FAULTS = 1, 2, 3, 4
"""What an operation does to blocks; 0: nothing."""
MOST_LENGTH = 2_147_479_552
_MOST_OFFSET = 1 << 52
"""The kernel moves no more bytes in a call, and no file is 4 PiB long: what a hostile trace says beyond is left out."""


@compiled
def _mixed(key: Any, salt: int) -> Any:
    """A hash of 64 bits (splitmix64)."""
    z = key + np.uint64(salt)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


@compiled
def _touch(
    file: int, offset: int, length: int, kind: int, shift: int, mask: int, salt: int, out_block: Any, out_kind: Any,
    at: int,
) -> int:  # fmt: skip
    if file < 0 or offset < 0 or offset > _MOST_OFFSET or length < 1 or length > MOST_LENGTH:
        return at
    for block in range(offset >> shift, (offset + length - 1 >> shift) + 1):
        key = np.uint64(file) << np.uint64(36) | np.uint64(block) & np.uint64((1 << 36) - 1)
        if _mixed(key, salt) & np.uint64(mask) == np.uint64(0):
            out_block[at], out_kind[at] = key, kind
            at += 1
    return at


@compiled
def sample(
    columns: Any, does: Any, step: Any, shift: int, mask: int, salt: int, out_block: Any, out_kind: Any, at: int,
    most: int, row: int,
) -> Any:  # fmt: skip
    """Write the blocks that calls touch, and that the hash picks, behind position `at`, from a row on.

    A block is picked when the low bits of its hash that `mask` names are 0: always the same blocks, so that their reuse
    is whole (SHARDS). A read's kind is its step's number, a write's -1.

    Parameters
    ----------
    columns: op, file, offset, size, result, other_file, other_offset, (n,) each. does: READS … by number of op.
    step: number of the step of each row, (n,). out_block, out_kind: with room for two calls of MOST_LENGTH beyond
    `most`.

    Returns
    -------
    The place behind the last block, and the first row that was not looked at: before the end where `most` is reached.
    """
    op, file, offset, size, result, other_file, other_offset = columns
    for i in range(row, len(op)):
        if at >= most:
            return at, i
        what = does[op[i]]
        if what in (READS, COPIES):
            at = _touch(file[i], offset[i], result[i], step[i], shift, mask, salt, out_block, out_kind, at)
        elif what == WRITES:
            at = _touch(file[i], offset[i], result[i], -1, shift, mask, salt, out_block, out_kind, at)
        elif what == FAULTS:
            at = _touch(file[i], offset[i], size[i], step[i], shift, mask, salt, out_block, out_kind, at)
        if what == COPIES:
            at = _touch(other_file[i], other_offset[i], result[i], -1, shift, mask, salt, out_block, out_kind, at)
    return at, len(op)


@compiled
def thin(block: Any, kind: Any, mask: int, salt: int, upto: int) -> int:
    """Keep of the blocks before `upto` those that the hash picks, in place; returns the place behind them."""
    at = 0
    for i in range(upto):
        if _mixed(block[i], salt) & np.uint64(mask) == np.uint64(0):
            block[at], kind[at] = block[i], kind[i]
            at += 1
    return at


@compiled
def distances(before: Any) -> Any:
    """How many different blocks each access's block was last used before; -1 for a first use; (n,), int64.

    `before`: position of the access before to the same block, -1 without, (n,). A Fenwick tree marks for each block its
    last access (Olken 1981): what is marked between the two are the different blocks used meanwhile.
    """
    n = len(before)
    # half the width is half the misses: n is far below 2^31
    tree, found = np.zeros(n + 1, np.int32), np.full(n, -1, np.int64)
    marked = 0
    for i in range(n):
        last = before[i]
        if last >= 0:
            upto, k = 0, last + 1
            while k > 0:
                upto += tree[k]
                k -= k & -k
            found[i] = marked - upto
            k = last + 1
            while k <= n:
                tree[k] -= 1
                k += k & -k
            marked -= 1
        k = i + 1
        while k <= n:
            tree[k] += 1
            k += k & -k
        marked += 1
    return found

"""Reuse distances of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from iotrace.compiling import compiled


@compiled
def sample(
    file: Any, offset: Any, length: Any, kind: Any, shift: int, mask: int, salt: int, out_block: Any, out_kind: Any,
    at: int,
) -> int:  # fmt: skip
    """Write the blocks that calls touch, and that the hash picks, behind position `at`; returns the place behind them.

    A block is picked when the low bits of its hash (splitmix64) that `mask` names are 0: always the same blocks, so
    that their reuse is whole (SHARDS). What finds no room is counted all the same: the caller has to look.
    """
    for i in range(len(file)):
        for block in range(offset[i] >> shift, (offset[i] + length[i] - 1 >> shift) + 1):
            key = np.uint64(file[i]) << np.uint64(36) | np.uint64(block) & np.uint64((1 << 36) - 1)
            z = key + np.uint64(salt)
            z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
            z = z ^ z >> np.uint64(31)
            if z & np.uint64(mask) == np.uint64(0):
                if at < len(out_block):
                    out_block[at], out_kind[at] = key, kind[i]
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

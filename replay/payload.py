"""Contents of the files of a replay: compressible and repetitive as chosen, or such that each block proves itself.

What a block holds follows from the tree's seed and the numbers of file, block and version
(iotrace.replay.kernels.blocks), so staging and verification need no copy of it.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
import numpy as np

from iotrace.errors import UsageError
from iotrace.replay.kernels import blocks

BLOCK: Final = blocks.BLOCK
_STEP: Final = 32
_SEED: Final = 0x10_7ACE


class Payload(msgspec.Struct, frozen=True):
    """What files hold.

    Attributes
    ----------
    seed: contents of trees with different seeds have no block in common.
    compress: share of each block (0 to 1) that a compressor can save.
    duplicate: share of the blocks (0 to 1) that repeat others, in extents of 128 KiB.
    verify: each block begins with a header that says which it is.

    Raises
    ------
    UsageError: by `check`, for shares out of range, and for repeated blocks that say which they are.
    """

    seed: int = _SEED
    compress: float = 0.0
    duplicate: float = 0.0
    verify: bool = False

    def check(self) -> Payload:
        """This, if it makes sense."""
        for option, value in (("--compress", self.compress), ("--duplicate", self.duplicate)):
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise UsageError(f"{option} {value}: a share from 0 to 1.")
        if self.verify and self.duplicate > 0:
            raise UsageError(
                "--duplicate with --verify: a block that says which one it is repeats no other; give one of the two."
            )
        return self


class Contents:
    """Payload made ready for kernels.

    Attributes
    ----------
    words: the context, shape (blocks.CONTEXT_WORDS,), int64; must live while kernels use `address`.
    address: its address.
    """

    def __init__(self, payload: Payload) -> None:
        self.payload = payload.check()
        self.words: Any = np.zeros(blocks.CONTEXT_WORDS, np.int64)
        self.address = int(self.words.ctypes.data)
        # the pattern is the same for all seeds: only the words that it is XORed with differ
        random = np.random.default_rng(_SEED)
        pattern = random.integers(1, np.iinfo(np.int64).max, blocks.WORDS, dtype=np.int64)
        pattern ^= random.integers(0, 2, blocks.WORDS, dtype=np.int64) << np.int64(63)
        random_bytes = round((1 - payload.compress) * BLOCK / _STEP) * _STEP
        pattern[random_bytes // 8 :] = pattern[-1]
        tag = np.random.default_rng([payload.seed & (2**64 - 1), 1]).integers(1, np.iinfo(np.int64).max)
        self.words[blocks.TAG] = tag
        self.words[blocks.REPEATS] = min(int(payload.duplicate * 2**63), 2**63 - 1)
        self.words[blocks.HAS_HEADER] = payload.verify
        self.words[blocks.PATTERN : blocks.PATTERN + blocks.WORDS] = pattern
        if payload.verify:
            self._crc_tables(pattern)

    def _crc_tables(self, pattern: Any) -> None:
        rest = blocks.WORDS - blocks.HEADER // 8
        size = 8 * rest
        self.words[blocks.PATTERN_CRC] = _crc(np.ascontiguousarray(pattern[-rest:]), size)
        zeros = _crc(np.zeros(rest, np.int64), size)
        of_bit = [_crc(np.full(rest, np.uint64(1 << bit)).view(np.int64), size) ^ zeros for bit in range(64)]
        value = np.arange(256)
        for j in range(8):
            table = np.zeros(256, np.int64)
            for bit in range(8):
                table ^= np.where(value >> bit & 1, of_bit[8 * j + bit], 0)
            begin = blocks.CRC_OF_BYTE + 256 * j
            self.words[begin : begin + 256] = table

    def bytes_of(self, file: int, offset: int, size: int) -> bytes:
        """Bytes [offset, offset + size) of a file as it is staged."""
        out = np.zeros(max(1, size), np.uint8)
        blocks.fill_range(out.ctypes.data, size, self.address, file, offset)
        return out[:size].tobytes()


def _crc(words: Any, size: int) -> int:
    return int(blocks.crc32c(words.ctypes.data, size))

"""What client caches of all sizes would serve: unique bytes and reuse distances of what was read, by step.

A read's reuse distance is how many bytes of other blocks were read or written since its own block was last: a cache
that drops what was used longest ago (LRU) serves it when it is larger than that. Where there are too many blocks a
fixed share of them is looked at, picked by a hash (SHARDS, Waldspurger et al., FAST 2015): distances and counts are
then those of that share, times its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from iotrace.analysis.findings.kernels.distances import distances, sample
from iotrace.trace.tables import Tables

BLOCK_SHIFT: Final = 16
"""Blocks of 64 KiB: a page cache holds pages of 4 KiB, but reads ahead in about such pieces."""
MOST: Final = 1 << 22
"""Accesses to blocks that are looked at; more are sampled."""
_SALT: Final = 0x9E3779B97F4A7C15
_ROWS: Final = 1 << 17

_MOVES: Final = """
from (
    select process, time_ns, file, "offset", result, kind = 'write' as written from io
    where kind in ('read', 'write', 'copy')
    union all
    select process, time_ns, other_file, other_offset, result, true from io where kind = 'copy'
    union all
    select process, time_ns, file, "offset", size, false from io where op = 'mmap.fault') m
where m.file is not null and m."offset" between 0 and 4503599627370496 and m.result between 1 and 2147479552
"""
"""Reads, faults of mapped files, and writes, also of copies. Positions below 4 PiB, and no more than the kernel
moves in a call: what a hostile trace says beyond is left out."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """Reuse of what a trace reads.

    Attributes
    ----------
    by_step: columns step ("" for calls without label), read_bytes (in blocks of 64 KiB, so that a small read counts as
    one), unique_bytes, again_bytes (read_bytes of blocks that had been read or written before).
    curve: columns step, cache_bytes (powers of two), served: share (0 to 1) of the step's read_bytes that an LRU cache
    of that size serves, shared with the other steps as they ran.
    share: of the blocks that were looked at, 1 where all were.
    """

    by_step: pd.DataFrame
    curve: pd.DataFrame
    share: float


def reuse_of(tables: Tables) -> Reuse:
    """Reuse of what a trace reads, in bounded memory; the views of evidence.Witness must be there.

    Raises
    ------
    TraceError: a part of the trace is damaged.
    """
    blocks = f'(("offset" + result - 1) >> {BLOCK_SHIFT}) - ("offset" >> {BLOCK_SHIFT}) + 1'
    row = tables.query(f"select coalesce(sum({blocks}), 0) {_MOVES}").fetchone()
    touched = int(row[0]) if row else 0
    bits = max(0, (touched // MOST).bit_length())
    block, kind, steps = _sampled(tables, bits, touched)
    order = np.argsort(block, kind="stable")
    same = block[order][1:] == block[order][:-1]
    before = np.full(len(block), -1, np.int64)
    before[order[1:][same]] = order[:-1][same]
    apart = distances(before)
    reads = kind >= 0
    scale = (1 << BLOCK_SHIFT) << bits
    by_step, curve = [], []
    top = max(20, int(np.count_nonzero(before < 0) * scale).bit_length())
    for number, step in enumerate(steps):
        mine = reads & (kind == number)
        total = int(mine.sum())
        if not total:
            continue
        again, ordered = apart[mine & (before >= 0)], block[order[mine[order]]]
        first = 1 + np.count_nonzero(ordered[1:] != ordered[:-1])
        by_step.append((step, total * scale, first * scale, len(again) * scale))
        for power in range(20, top + 1):
            # the block itself must fit beside those used since
            served = np.count_nonzero((again + 1) * scale <= 1 << power) / total
            curve.append((step, 1 << power, served))
    return Reuse(
        pd.DataFrame(by_step, columns=["step", "read_bytes", "unique_bytes", "again_bytes"]),
        pd.DataFrame(curve, columns=["step", "cache_bytes", "served"]),
        1 / (1 << bits),
    )


def _sampled(
    tables: Tables, bits: int, touched: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int16], list[str]]:
    """Blocks picked, in the order of their use, the number of the step that read each (-1: written), and the steps."""
    steps = [
        str(row[0]) for row in tables.query("select distinct coalesce(step, '') from processes order by 1").fetchall()
    ]
    room = min(touched, 2 * MOST + (1 << 16))
    block, kind, at = np.empty(room, np.uint64), np.empty(room, np.int16), 0
    numbered = (
        ") m join (select process, dense_rank() over (order by coalesce(step, '')) - 1 as number "
        "from processes) s on m.process = s.process"
    )
    # sql, not execute: that would hold all rows at once
    reader: Any = tables.connection.sql(
        f"""
        select m.file::bigint, m."offset", m.result, case when m.written then -1 else s.number end::smallint
        {_MOVES.replace(") m", numbered)} order by m.time_ns
        """
    ).to_arrow_reader(_ROWS)
    for batch in reader:
        file, offset, length, number = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
        at = sample(file, offset, length, number, BLOCK_SHIFT, (1 << bits) - 1, _SALT, block, kind, at)
    kept = min(at, room)
    return block[:kept], kind[:kept], steps

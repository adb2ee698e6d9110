"""What a trace saw of files at first sight that only staging needs: which were sparse, what was in the page cache.

Numbered as iotrace.replay.columns numbers files, which StagedFile.file refers to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from iotrace.replay.columns import NONE, Ints, ids_and_rows, plain_ints
from iotrace.trace.reader import Trace

HOLE_BYTES_MIN: Final = 64 << 10
"""Fewer missing bytes are no hole: small files lie in the inode, and the last block is seldom full."""
TRUE_BLOCKS: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs", "btrfs", "f2fs", "nfs", "nfs4"})
"""File systems whose st_blocks says what is allocated; others compress, count replicas, or say nothing."""


@dataclass(slots=True)
class Sights:
    """Of each file of a trace, shape (files,), int64.

    Attributes
    ----------
    allocated: bytes allocated at first sight, NONE where that is not known or not to be trusted.
    cached_pages: pages in the page cache at first sight, NONE where that is not known.
    """

    allocated: Ints
    cached_pages: Ints

    def data_bytes(self, file: int, size: int) -> int:
        """Bytes at the begin of a file that hold data: the trace says how many were allocated, not which."""
        if not 0 <= file < len(self.allocated) or self.allocated[file] == NONE:
            return size
        allocated = int(self.allocated[file])
        return size if size - allocated < HOLE_BYTES_MIN else allocated

    def pages(self, file: int) -> int | None:
        """Pages that were in the page cache, None where that is not known."""
        if not 0 <= file < len(self.cached_pages) or self.cached_pages[file] == NONE:
            return None
        return int(self.cached_pages[file])


def load_sights(trace: Trace) -> Sights:
    """Read them from the files table.

    Raises
    ------
    TraceError: the table cannot be read.
    """
    table = trace.table("files")
    number, blocks, pages, size, mount = (
        plain_ints(table.column(name)) for name in ("file", "blocks", "cached_pages", "size", "mount")
    )
    existed = table.column("existed").to_pylist()
    trusted = [mount.type in TRUE_BLOCKS and "compress" not in mount.options for mount in trace.info.mounts]
    on_trusted = np.array([0 <= at < len(trusted) and trusted[at] for at in mount.tolist()], np.bool_)
    # of what was written just before, some file systems have not allocated anything yet
    settled = np.array([known is True for known in existed], np.bool_)
    known = (blocks >= 0) & (size >= 0) & on_trusted & settled
    # nor of what was written earlier and lies in the page cache alone: only what that cannot hold is a hole
    missing = np.where(known, size - np.clip(blocks, 0, 1 << 50) * 512, 0)
    in_cache = np.clip(pages, 0, 1 << 40) * max(512, trace.info.page_size)
    known &= (missing < HOLE_BYTES_MIN) | (in_cache + HOLE_BYTES_MIN <= missing)
    allocated = np.where(known, np.clip(blocks, 0, 1 << 50) * 512, NONE)
    pages = np.where(pages >= 0, pages, NONE)
    _, rows = ids_and_rows(number)
    return Sights(allocated[rows], pages[rows])

"""`--direct`: every file is opened with O_DIRECT, and what is read and written is rounded out to the alignment.

O_DIRECT moves whole blocks between memory and disk: offset, size and address have to be multiples of what the file
system asks for. A trace of a program that did not use it holds any offsets; each read and write becomes one of all
blocks that it touched, at a named position. So the replay moves more bytes than the program did; how many rows that
concerns is counted. Reading and writing through a description's own position is gone, so seeks name where they led to.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from iotrace.errors import StorageError
from iotrace.replay.columns import NONE, SIZE_MAX, Flags, Tables
from iotrace.replay.operation_sets import COPIES, OPENS, one_of
from iotrace.replay.select import Selection
from iotrace.replay.status import F_SETFL, TAKES_OFFSET, Status, open_flags
from iotrace.trace.operations import NUMBER_OF
from iotrace.units import bytes_text

ALIGNMENTS: Final = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
"""Tried in this order where statx does not say."""
_STATX_DIOALIGN: Final = 0x2000
_DIO_OFFSET_ALIGN: Final = 156
_O_APPEND, _O_DIRECTORY, _O_PATH = 0o2000, 0o200000, 0o10000000
_READS: Final = one_of(("read", "readv", "pread64", "preadv", "preadv2"))
_WRITES: Final = one_of(("write", "writev", "pwrite64", "pwritev", "pwritev2"))
_SEEK_SET, _SEEK_CUR, _SEEK_END = 0, 1, 2


def alignment_of(folders: Sequence[Path]) -> int:
    """Bytes that offsets and sizes must be multiples of on all of these mounts.

    Raises
    ------
    StorageError: one of them has no O_DIRECT, or cannot be written to.
    """
    return max(_alignment(folder) for folder in folders)


def _alignment(folder: Path) -> int:
    try:
        probe = Path(tempfile.mkdtemp(prefix="iotrace-probe-", dir=folder))
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}: --fs names a folder on the mount under test.") from None
    try:
        file = probe / "direct"
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o600)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            raise StorageError(f"{folder}: this file system has no O_DIRECT: leave --direct out.") from None
        try:
            return _stated(file) or _tried(descriptor, folder)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"{folder}: cannot try O_DIRECT: {error.strerror}.") from None
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def _stated(file: Path) -> int:
    """What statx says (Linux 6.1 and later, some file systems); 0 for nothing."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "statx"):
        return 0
    found = ctypes.create_string_buffer(256)
    if libc.statx(-100, os.fsencode(file), 0, _STATX_DIOALIGN, found):
        return 0
    if not int.from_bytes(found.raw[:4], "little") & _STATX_DIOALIGN:
        return 0
    return int.from_bytes(found.raw[_DIO_OFFSET_ALIGN : _DIO_OFFSET_ALIGN + 4], "little")


def _tried(descriptor: int, folder: Path) -> int:
    with mmap.mmap(-1, 2 * ALIGNMENTS[-1]) as memory, memoryview(memory) as buffer:
        for alignment in ALIGNMENTS:
            with buffer[:alignment] as piece:
                try:
                    if os.pwrite(descriptor, piece, alignment) == alignment:
                        os.preadv(descriptor, [piece], alignment)
                        return alignment
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
    raise StorageError(f"{folder}: O_DIRECT is refused at every size up to {ALIGNMENTS[-1]} bytes: leave --direct out.")


@dataclass(frozen=True, slots=True)
class Rounded:
    """What rounding out changed; arrays of shape (events,).

    Attributes
    ----------
    changed: reads and writes of other bytes than recorded; loose: results that may therefore differ.
    note: the sentence for the result.
    """

    changed: Flags
    loose: Flags
    note: str


def round_out(tables: Tables, selection: Selection, alignment: int) -> Rounded:
    """Make a trace's opens direct and its reads and writes whole blocks; changes the columns of `tables`.

    Descriptions that a call copies from or to, or whose offsets are not known, stay as they are.
    """
    events = tables.events
    op = events.op
    data = (_READS | _WRITES)[op] & (events.open >= 0)
    direct = _direct(tables, selection)
    padded = np.append(direct, False)
    mine = padded[events.open] & selection.kept
    opens = mine & OPENS[op] & (events.result >= 0)
    wanted = open_flags(tables)
    flags = np.where(opens, (np.maximum(events.flags, 0) & ~_O_APPEND) | os.O_DIRECT, events.flags)
    first = np.flatnonzero(selection.open_inherited & direct)
    files = events.file[selection.open_first[first]]
    tables.file_inherited_flags = tables.file_inherited_flags.copy()
    files = files[files >= 0]
    known = tables.file_inherited_flags[files]
    tables.file_inherited_flags[files] = (np.where(known == NONE, 2, known) & ~_O_APPEND) | os.O_DIRECT
    moves = mine & data & (events.size != NONE)
    size = np.clip(np.where(moves, events.size, 0), 0, SIZE_MAX)
    offset = np.where(moves, events.offset, 0)
    low = offset // alignment * alignment
    high = (offset + size + alignment - 1) // alignment * alignment
    rounded = np.where(size > 0, high - low, 0)
    changed = moves & ((low != offset) | (rounded != size))
    before, after = int(size[moves].sum()), int(rounded[moves].sum())
    whole = moves & _WRITES[op] & (events.result == size)
    seeks = mine & (op == NUMBER_OF["lseek"]) & (flags == _SEEK_CUR) & (events.result >= 0)
    ends = (op == NUMBER_OF["lseek"]) & (flags == _SEEK_END)
    at_offset = np.where(_READS[op], NUMBER_OF["pread64"], NUMBER_OF["pwrite64"])
    events.change("op", np.where(moves, at_offset, op).astype(np.int16))
    events.change("offset", np.where(moves, low, np.where(seeks, events.result, events.offset)))
    events.change("size", np.where(moves, rounded, events.size))
    events.change("result", np.where(whole, rounded, events.result))
    events.change("flags", np.where(seeks, _SEEK_SET, flags))
    sets = mine & (op == NUMBER_OF["fcntl"]) & (events.flags == F_SETFL) & (events.mode != NONE)
    events.change("mode", np.where(sets, (events.mode & ~_O_APPEND) | os.O_DIRECT, events.mode))
    grown = np.zeros(len(tables.file_size) + 1, np.bool_)
    grown[events.file[changed & _WRITES[op]]] = True
    grown[-1] = True
    loose = changed | ((_READS[op] | COPIES[op] | ends) & grown[events.file])
    note = (
        f"--direct: {int(changed.sum())} of {int(moves.sum())} reads and writes were rounded out to multiples of "
        f"{alignment} bytes ({bytes_text(after)} instead of {bytes_text(before)})."
    )
    left = np.unique(events.open[data & selection.kept & ~padded[events.open]])
    left = left[wanted[left] & os.O_DIRECT == 0]
    if len(left):
        note += f" {len(left)} open files were left without O_DIRECT: copied by a call, or their positions are unknown."
    return Rounded(changed, loose, note)


def _direct(tables: Tables, selection: Selection) -> Flags:
    """Descriptions that get O_DIRECT, shape (opens,)."""
    events = tables.events
    op = events.op
    regular = np.array([kind in ("file", "") for kind in tables.file_type] + [True])
    unfit = np.zeros(tables.opens + 1, np.bool_)
    data = (_READS | _WRITES)[op]
    unfit[events.open[data & ((events.offset < 0) | ~regular[events.file])]] = True
    appending = np.flatnonzero(data & TAKES_OFFSET[op])
    unfit[events.open[appending[Status(tables).elsewhere(appending)]]] = True
    unfit[events.open[COPIES[op]]] = True
    unfit[events.other_open[COPIES[op]]] = True
    unfit[events.open[op == NUMBER_OF["creat"]]] = True
    unfit[events.open[OPENS[op] & (np.maximum(events.flags, 0) & (_O_DIRECTORY | _O_PATH) != 0)]] = True
    unfit[events.open[OPENS[op] & ~regular[events.file]]] = True
    used = np.zeros(tables.opens + 1, np.bool_)
    used[events.open[data]] = True
    direct: Flags = selection.open_kept & used[:-1] & ~unfit[:-1]
    return direct

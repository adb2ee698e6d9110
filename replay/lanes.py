"""What lanes need before they run: buffers, names as pointers, descriptors that were open before the recording."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from iotrace.errors import ReplayError
from iotrace.replay.descriptors import DEVNULL_SLOT
from iotrace.replay.kernels import words
from iotrace.replay.rows import Inherited, Plan

REAL_BYTES_MAX: Final = 16 << 20
"""Memory behind one buffer; larger buffers are the same memory mapped again and again, and all lanes share them."""
ALL_BYTES_MAX: Final = 1 << 30
"""Memory behind the buffers of all lanes."""
VIRTUAL_BYTES_MAX: Final = (2 << 30) + (1 << 20)
"""A call moves at most 2 GiB."""
BUFFER_BYTES_MIN: Final = 1 << 16
SHIFT: Final = 2048
"""Buffered transfers go to memory half a page behind a page's begin: a multiple of a cache line, for 16 bytes behind a
page copies took an AMD EPYC 2 to 4 times as long."""
NUMBERS_SPARE: Final = 512
"""Descriptor numbers kept between those of the trace and the high ones: a process's own, and threads out of step."""
_PAGE: Final = mmap.PAGESIZE
_LOW_ADDRESS: Final = 1 << 44
_FAR_APART: Final = 4 << 30
_PROT, _SHARED_FIXED, _PRIVATE = 0x3, 0x11, 0x22


class LaneMemory:
    """Buffers of some lanes of a plan; a context manager that frees them.

    Attributes
    ----------
    tables: one int64 array of addresses for each of these lanes, indexed as iotrace.replay.kernels.words says.
    writes: address of what is written, the same for all lanes of all processes; made here where it is not given.
    apart: each lane has buffers of its own, as large as its largest call: what they hold matters.
    owner: user and group that own the tree of the run.
    """

    def __init__(
        self, plan: Plan, lanes: int, writes: int = 0, apart: bool = False, owner: tuple[int, int] = (0, 0)
    ) -> None:  # fmt: skip
        self._apart, self._owner = apart, owner
        self._lanes, self.writes, self._given = lanes, writes, int(writes != 0)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._regions: list[tuple[int, int]] = []
        self.tables: list[Any] = []
        self._plan = plan

    def __enter__(self) -> LaneMemory:
        try:
            plan = self._plan
            writes = self.writes = self.writes or self._region(plan.write_bytes, filled=True)
            if not self._lanes:
                return self
            shared = not self._apart and (
                plan.read_bytes * plan.lanes > ALL_BYTES_MAX or plan.read_bytes > REAL_BYTES_MAX
            )
            reads = self._region(plan.read_bytes, filled=False)
            for _ in range(self._lanes):
                if not shared:
                    reads = self._region(plan.read_bytes, filled=False)
                if self._apart:
                    writes = self._region(plan.write_bytes, filled=False)
                table = np.zeros(words.MEMORY_WORDS, np.int64)
                table[words.READ_AT], table[words.ALIGNED_READ_AT] = reads + SHIFT, reads
                table[words.WRITE_AT], table[words.ALIGNED_WRITE_AT] = writes + SHIFT, writes
                table[words.OWNER_AT], table[words.GROUP_AT] = self._owner
                small = self._region(BUFFER_BYTES_MIN, filled=False)
                table[words.SCRATCH_AT] = small
                table[words.VECTOR_AT] = small + 8192
                table[words.POSITION_AT] = small + 8192 + 16 * words.VECTORS_MAX
                table[words.STRUCT_AT] = table[words.POSITION_AT] + 64
                table[words.TIME_AT] = table[words.STRUCT_AT] + 64
                self.tables.append(table)
        except BaseException:
            self._free()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._free()

    def _free(self) -> None:
        for address, size in self._regions:
            self._libc.munmap(address, size)
        self._regions = []

    def _region(self, size: int, filled: bool) -> int:
        """Address of at least `size` bytes and a page; random contents if `filled`."""
        size = min(max(size, BUFFER_BYTES_MIN), VIRTUAL_BYTES_MAX)
        size = (size + SHIFT + _PAGE - 1) // _PAGE * _PAGE + _PAGE
        real = size if self._apart and self._lanes else min(size, REAL_BYTES_MAX)
        # low addresses, so that even a call that asks for TB stays within the address space
        address = self._map(_LOW_ADDRESS + (self._given + len(self._regions)) * _FAR_APART, size, _PRIVATE, -1)
        self._regions.append((address, size))
        if size > real:
            memory = os.memfd_create("iotrace-buffer")
            try:
                os.ftruncate(memory, real)
                for at in range(0, size, real):
                    self._map(address + at, min(real, size - at), _SHARED_FIXED, memory)
            finally:
                os.close(memory)
        contents = np.random.default_rng(1).bytes(real) if filled else bytes(real)
        ctypes.memmove(address, contents, real)
        return address

    def _map(self, address: int | None, size: int, flags: int, descriptor: int) -> int:
        place = self._libc.mmap(address, size, _PROT, flags, descriptor, 0)
        if place is None or place == ctypes.c_void_p(-1).value:
            raise ReplayError(f"no memory for buffers: {os.strerror(ctypes.get_errno())}.")
        return int(place)


def resolve_strings(plan: Plan, tree: bytes) -> tuple[Any, Any]:
    """Addresses of the plan's strings, shape (strings,), int64, and what keeps their memory alive."""
    texts = [
        (tree + b"/" + text if text else tree) if absolute else text
        for text, absolute in zip(plan.strings.texts, plan.strings.absolute, strict=True)
    ]
    blob = np.frombuffer(b"\0".join(texts) + b"\0", np.uint8)
    lengths = np.array([len(text) + 1 for text in texts], np.int64)
    offsets = np.cumsum(lengths) - lengths
    return offsets + blob.ctypes.data, blob


class Openings:
    """Descriptors by slot; a context manager that opens what was open before the recording, and at the end closes it.

    Parameters
    ----------
    spare: descriptor numbers that this process's own files take.

    Attributes
    ----------
    slots: descriptor of each slot, int64, -1 for none.
    high: first of the descriptor numbers that dup2 may take.
    """

    def __init__(self, plan: Plan, tree: Path, spare: int) -> None:
        self._plan = plan
        self._tree = os.fsencode(tree)
        self.high = plan.most_open + spare
        self.slots: Any = np.full(plan.slots, -1, np.int64)

    def __enter__(self) -> Openings:
        self.slots[DEVNULL_SLOT] = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        try:
            for one in self._plan.inherited:
                self._inherit(one)
        except BaseException:
            self.close()
            raise
        return self

    def keep(self, worker: int) -> None:
        """Called in a worker's process: close what others begin with, and make the table of descriptors large enough.

        While threads run, growing it takes ms each time.
        """
        for one in self._plan.inherited:
            for slot, owner in zip(one.slots, one.workers, strict=True):
                if owner != worker and self.slots[slot] >= 0:
                    os.close(int(self.slots[slot]))
        try:
            os.close(os.dup2(self.slots[DEVNULL_SLOT], self.high + self._plan.high_numbers, inheritable=False))
        except OSError:
            return  # beyond the limit: only a replay that really needs so many will fail

    def _inherit(self, one: Inherited) -> None:
        """Open what was open before the recording; calls on what cannot be opened fail, and are counted."""
        # creating and truncating happened before the recording
        flags = one.flags & (os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT | os.O_SYNC | os.O_DSYNC)
        path = self._tree + b"/" + one.path
        if os.path.isdir(path):
            flags = os.O_RDONLY | os.O_DIRECTORY
        try:
            descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
            self.slots[one.slots[0]] = descriptor
            if one.offset and not flags & os.O_DIRECTORY:
                os.lseek(descriptor, one.offset, os.SEEK_SET)
            for slot in one.slots[1:]:
                self.slots[slot] = os.dup(descriptor)
        except OSError:
            return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open."""
        for descriptor in self.slots[self.slots >= 0].tolist():
            try:
                os.close(descriptor)
            except OSError:
                continue
        self.slots[:] = -1

"""io_uring for kernels: set a ring up, fill requests, submit, collect completions, take it down; no liburing.

A ring is an int64 table of RING_WORDS words, given by its address, so that a kernel needs no objects: the words below.
One thread owns it. The layout is that of include/uapi/linux/io_uring.h, the order of loads and stores that of its head
comment: the submission tail is released, the completion tail acquired.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.machine import X86_64, load32, peek, poke32, poke64, store32, system_call

# words that the caller fills before the ring is set up
DEPTH, SLOT_BYTES, SLOT_SHIFT, FIXED_FILES, FIXED_BUFFERS = 0, 1, 2, 3, 4
"""Most requests in flight; bytes of the buffer of each (0: none), and how far behind a page's begin it starts; files to
register (-1: none), whether to register the buffers."""
WRITE_AT, WRITE_BYTES = 5, 6
"""The lane's buffer of what is written, for registering."""
# words that setting up fills
RING_FD, ENTER_FD, ENTER_FLAGS = 8, 9, 10
SQ_TAIL_AT, SQ_MASK, SQES_AT = 11, 12, 13
CQ_HEAD_AT, CQ_TAIL_AT, CQ_MASK, CQES_AT = 14, 15, 16, 17
SQ_MAP, SQ_MAP_BYTES, CQ_MAP, CQ_MAP_BYTES, SQES_BYTES = 18, 19, 20, 21, 22
BUFFERS_AT, BUFFERS_BYTES, FREE_AT, FREE_BYTES = 23, 24, 25, 26
# words of a running ring
PENDING, IN_FLIGHT, FREE, FAILURE, LUCK = 27, 28, 29, 30, 31
"""Requests filled and not yet submitted; filled and not yet completed; buffers free; errno that ended the ring; how
often of late a completion came while it was looked for (above 0: look before the next sleep; below: sleeps since)."""
PARAMS_AT: Final = 32
"""Offset, in words, of a struct io_uring_params, used as scratch later."""
RING_WORDS: Final = 64

SLOT_BITS: Final = 13
DEPTH_MAX: Final = 4096
"""Requests in flight in one ring; user_data is the row times 2 to the SLOT_BITS plus the slot of its buffer."""

# opcodes and flags of io_uring.h
READV, WRITEV, FSYNC, READ_FIXED, WRITE_FIXED, READ, WRITE = 1, 2, 3, 4, 5, 22, 23
FIXED_FILE: Final = 1
FSYNC_DATASYNC: Final = 1
_GETEVENTS, _REGISTERED_RING = 1, 16
_CLAMP, _SUBMIT_ALL = 1 << 4, 1 << 7
_SINGLE_ISSUER, _DEFER_TASKRUN, _COOP_TASKRUN, _NO_SQARRAY = 1 << 12, 1 << 13, 1 << 8, 1 << 16
_SINGLE_MMAP: Final = 1
_REGISTER_BUFFERS, _REGISTER_FILES, _FILES_UPDATE, _RING_FDS = 0, 2, 6, 20
_SETUP, _ENTER, _REGISTER = 425, 426, 427
_MMAP, _MUNMAP, _CLOSE, _MADVISE = (9, 11, 3, 28) if X86_64 else (222, 215, 57, 233)
_EINTR, _EAGAIN, _EBUSY, _EINVAL = 4, 11, 16, 22
_PAGE: Final = 4096
_HUGE: Final = 2 << 20


@compiled
def _anonymous(size: int) -> Any:
    """Address of zeroed memory, in huge pages where it is large enough and the machine gives them; or -errno."""
    # PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS
    address = system_call(_MMAP, 0, size, 3, 0x22, -1, 0)
    if address > 0 and size >= _HUGE:
        system_call(_MADVISE, address, size, 14, 0, 0, 0)
    if address > 0:
        for at in range(0, size, _PAGE):
            poke64(address + at, 0)
    return address


@compiled
def open_ring(ring: int) -> Any:
    """Set a ring up as its first words ask; gives 0 or -errno, and then nothing is left behind."""
    params = ring + 8 * PARAMS_AT
    depth = peek(ring + 8 * DEPTH)
    fd = np.int64(-_EINVAL)
    # the best set of flags that this kernel (5.6 to 6.6 and later) knows
    for turn in range(4):
        for k in range(15):
            poke64(params + 8 * k, 0)
        flags = _CLAMP
        if turn <= 2:
            flags |= _SUBMIT_ALL
        if turn <= 1:
            flags |= _SINGLE_ISSUER | _DEFER_TASKRUN
        elif turn == 2:
            flags |= _COOP_TASKRUN
        if turn == 0:
            flags |= _NO_SQARRAY
        poke32(params + 8, flags)
        fd = system_call(_SETUP, depth, params, 0, 0, 0, 0)
        if fd != -_EINVAL:
            break
    if fd < 0:
        return fd
    poke64(ring + 8 * RING_FD, fd)
    poke64(ring + 8 * ENTER_FD, fd)
    poke64(ring + 8 * ENTER_FLAGS, 0)
    entries, completions = load32(params), load32(params + 4)
    plain_array = turn > 0
    features = load32(params + 20)
    sq_bytes = load32(params + 64) + 4 * entries if plain_array else load32(params + 100) + 16 * completions
    cq_bytes = load32(params + 100) + 16 * completions
    if features & _SINGLE_MMAP:
        sq_bytes = max(sq_bytes, cq_bytes)
        cq_bytes = sq_bytes
    # MAP_SHARED | MAP_POPULATE at IORING_OFF_SQ_RING, CQ_RING, SQES
    sq = system_call(_MMAP, 0, sq_bytes, 3, 0x8001, fd, 0)
    cq = sq
    if sq > 0 and features & _SINGLE_MMAP == 0:
        cq = system_call(_MMAP, 0, cq_bytes, 3, 0x8001, fd, 0x8000000)
    sqes = system_call(_MMAP, 0, 64 * entries, 3, 0x8001, fd, 0x10000000)
    slots = depth
    stride = peek(ring + 8 * SLOT_BYTES)
    free = _anonymous(8 * slots)
    buffers = np.int64(0)
    if stride > 0:
        buffers = _anonymous(slots * stride + _PAGE)
    poke64(ring + 8 * SQ_MAP, sq)
    poke64(ring + 8 * SQ_MAP_BYTES, sq_bytes)
    poke64(ring + 8 * CQ_MAP, cq)
    poke64(ring + 8 * CQ_MAP_BYTES, cq_bytes)
    poke64(ring + 8 * SQES_AT, sqes)
    poke64(ring + 8 * SQES_BYTES, 64 * entries)
    poke64(ring + 8 * BUFFERS_AT, buffers)
    poke64(ring + 8 * BUFFERS_BYTES, slots * stride + _PAGE)
    poke64(ring + 8 * FREE_AT, free)
    poke64(ring + 8 * FREE_BYTES, 8 * slots)
    for address in (sq, cq, sqes, free, buffers):
        if address < 0:
            close_ring(ring)
            return address
    poke64(ring + 8 * SQ_TAIL_AT, sq + load32(params + 44))
    poke64(ring + 8 * SQ_MASK, load32(sq + load32(params + 48)))
    poke64(ring + 8 * CQ_HEAD_AT, cq + load32(params + 80))
    poke64(ring + 8 * CQ_TAIL_AT, cq + load32(params + 84))
    poke64(ring + 8 * CQ_MASK, load32(cq + load32(params + 88)))
    poke64(ring + 8 * CQES_AT, cq + load32(params + 100))
    if plain_array:
        array = sq + load32(params + 64)
        for k in range(entries):
            poke32(array + 4 * k, k)
    for k in range(slots):
        poke64(free + 8 * k, slots - 1 - k)
    poke64(ring + 8 * FREE, slots)
    poke64(ring + 8 * PENDING, 0)
    poke64(ring + 8 * IN_FLIGHT, 0)
    poke64(ring + 8 * FAILURE, 0)
    poke64(ring + 8 * LUCK, 1)
    failure = _register(ring)
    if failure < 0:
        close_ring(ring)
        return failure
    # a registered ring spares a look-up of its descriptor in each call; kernels before 5.18 have none
    poke64(params, 0xFFFFFFFF)
    poke64(params + 8, fd)
    if system_call(_REGISTER, fd, _RING_FDS, params, 1, 0, 0) == 1:
        poke64(ring + 8 * ENTER_FD, load32(params))
        poke64(ring + 8 * ENTER_FLAGS, _REGISTERED_RING)
    return np.int64(0)


@compiled
def _register(ring: int) -> Any:
    """Register buffers and an empty table of files as asked; gives 0 or -errno."""
    fd, params = peek(ring + 8 * RING_FD), ring + 8 * PARAMS_AT
    if peek(ring + 8 * FIXED_BUFFERS) != 0:
        poke64(params, peek(ring + 8 * BUFFERS_AT))
        poke64(params + 8, peek(ring + 8 * BUFFERS_BYTES))
        poke64(params + 16, peek(ring + 8 * WRITE_AT))
        poke64(params + 24, peek(ring + 8 * WRITE_BYTES))
        failure = system_call(_REGISTER, fd, _REGISTER_BUFFERS, params, 2, 0, 0)
        if failure < 0:
            return failure
    files = peek(ring + 8 * FIXED_FILES)
    if files > 0:
        places = _anonymous(4 * files)
        if places < 0:
            return places
        for k in range(files):
            poke32(places + 4 * k, -1)
        failure = system_call(_REGISTER, fd, _REGISTER_FILES, places, files, 0, 0)
        system_call(_MUNMAP, places, 4 * files, 0, 0, 0, 0)
        if failure < 0:
            return failure
    return np.int64(0)


@compiled
def close_ring(ring: int) -> Any:
    """Take a ring down. Buffers that requests are still in flight for stay mapped: the kernel may yet write there."""
    if peek(ring + 8 * SQ_MAP) > 0:
        system_call(_MUNMAP, peek(ring + 8 * SQ_MAP), peek(ring + 8 * SQ_MAP_BYTES), 0, 0, 0, 0)
    if peek(ring + 8 * CQ_MAP) > 0 and peek(ring + 8 * CQ_MAP) != peek(ring + 8 * SQ_MAP):
        system_call(_MUNMAP, peek(ring + 8 * CQ_MAP), peek(ring + 8 * CQ_MAP_BYTES), 0, 0, 0, 0)
    if peek(ring + 8 * SQES_AT) > 0:
        system_call(_MUNMAP, peek(ring + 8 * SQES_AT), peek(ring + 8 * SQES_BYTES), 0, 0, 0, 0)
    if peek(ring + 8 * FREE_AT) > 0:
        system_call(_MUNMAP, peek(ring + 8 * FREE_AT), peek(ring + 8 * FREE_BYTES), 0, 0, 0, 0)
    if peek(ring + 8 * BUFFERS_AT) > 0 and peek(ring + 8 * IN_FLIGHT) == 0:
        system_call(_MUNMAP, peek(ring + 8 * BUFFERS_AT), peek(ring + 8 * BUFFERS_BYTES), 0, 0, 0, 0)
    system_call(_CLOSE, peek(ring + 8 * RING_FD), 0, 0, 0, 0, 0)


@compiled
def slot_of_request(ring: int) -> Any:
    """Take a free buffer; the caller has seen to it that fewer than DEPTH requests are in flight."""
    left = peek(ring + 8 * FREE) - 1
    poke64(ring + 8 * FREE, left)
    return peek(peek(ring + 8 * FREE_AT) + 8 * left)


@compiled
def fill(
    ring: int, opcode: int, flags: int, fd: int, offset: int, address: int, length: int, how: int, buffer: int,
    data: int,
) -> Any:  # fmt: skip
    """Fill the next request; `how` is rw_flags or fsync_flags, `buffer` the number of a registered buffer."""
    tail_at = peek(ring + 8 * SQ_TAIL_AT)
    tail = load32(tail_at)
    sqe = peek(ring + 8 * SQES_AT) + 64 * (tail & peek(ring + 8 * SQ_MASK))
    poke32(sqe, opcode | (flags << 8))
    poke32(sqe + 4, fd)
    poke64(sqe + 8, offset)
    poke64(sqe + 16, address)
    poke32(sqe + 24, length)
    poke32(sqe + 28, how)
    poke64(sqe + 32, data)
    poke64(sqe + 40, buffer)
    poke64(sqe + 48, 0)
    poke64(sqe + 56, 0)
    store32(tail_at, tail + 1)
    poke64(ring + 8 * PENDING, peek(ring + 8 * PENDING) + 1)
    poke64(ring + 8 * IN_FLIGHT, peek(ring + 8 * IN_FLIGHT) + 1)


@compiled
def enter(ring: int, least: int) -> Any:
    """Submit what was filled and wait until `least` completions are there (0: do not wait); gives 0 or -errno.

    -EINTR, -EAGAIN and -EBUSY are reasons to come again, after the completions were collected.
    """
    # a ring that defers its work to its thread shows completions only when asked for events
    flags = peek(ring + 8 * ENTER_FLAGS) | _GETEVENTS
    pending = peek(ring + 8 * PENDING)
    result = system_call(_ENTER, peek(ring + 8 * ENTER_FD), pending, least, flags, 0, 0)
    if result >= 0:
        poke64(ring + 8 * PENDING, pending - result)
        return np.int64(0)
    if result != -_EINTR and result != -_EAGAIN and result != -_EBUSY:
        poke64(ring + 8 * FAILURE, -result)
    return result


@compiled
def set_file(ring: int, place: int, fd: int) -> Any:
    """Put a descriptor (-1: none) at a place of the table of registered files; gives a number below 0 on failure."""
    params = ring + 8 * PARAMS_AT
    poke32(params + 32, fd)
    poke64(params, place)
    poke64(params + 8, params + 32)
    return system_call(_REGISTER, peek(ring + 8 * RING_FD), _FILES_UPDATE, params, 1, 0, 0)

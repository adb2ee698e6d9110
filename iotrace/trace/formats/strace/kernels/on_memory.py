"""Calls on mappings: mmap, munmap, msync, madvise; and the regions that a process has mapped."""

from __future__ import annotations

from typing import Final

from iotrace.compiling import inner
from iotrace.machine import get, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels.descriptors import look_up, open_at
from iotrace.trace.formats.strace.kernels.rows import accept_call, emit, emit_open
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.schema import NULL

_OP_MUNMAP: Final = NUMBER_OF["munmap"]


@inner
def _first_region(h: int, c: int, start: int, end: int) -> int:
    """First region of a file that lies at least partly within a range; -1 without one."""
    memory = get(h, k.MEMORY_TABLE) + 8 * k.MEMORY_FIELDS * get(get(c, k.C_THREAD), k.T_MEMORY)
    regions, low, high = get(memory, k.M_ADDRESS), 0, get(memory, k.M_COUNT)
    while low < high:
        middle = (low + high) >> 1
        if get(regions, k.REGION_FIELDS * middle + k.R_END) <= start:
            low = middle + 1
        else:
            high = middle
    if low < get(memory, k.M_COUNT) and get(regions, k.REGION_FIELDS * low + k.R_START) < end:
        return low
    return -1


@inner
def _cut(h: int, c: int, start: int, end: int) -> bool:
    """Unmap a range; False when the table lacks the room for what is left."""
    memory = get(h, k.MEMORY_TABLE) + 8 * k.MEMORY_FIELDS * get(get(c, k.C_THREAD), k.T_MEMORY)
    regions, count = get(memory, k.M_ADDRESS), get(memory, k.M_COUNT)
    if count + 1 > get(memory, k.M_ROOM):
        return False
    first = _first_region(h, c, start, end)
    if first < 0:
        return True
    last = first
    while last < count and get(regions, k.REGION_FIELDS * last + k.R_START) < end:
        last += 1
    left = get(regions, k.REGION_FIELDS * first + k.R_START) < start
    tail = regions + 8 * k.REGION_FIELDS * (last - 1)
    right = get(tail, k.R_END) > end
    t_end, t_file, t_path, t_open = get(tail, k.R_END), get(tail, k.R_FILE), get(tail, k.R_PATH), get(tail, k.R_OPEN)
    t_since = get(tail, k.R_SINCE)
    t_offset = get(tail, k.R_OFFSET) + end - get(tail, k.R_START)
    if left:
        put(regions, k.REGION_FIELDS * first + k.R_END, start)
    kept = first + (1 if left else 0)
    _shift(regions, count, last, kept + (1 if right else 0))
    if right:
        piece = regions + 8 * k.REGION_FIELDS * kept
        put(piece, k.R_START, end)
        put(piece, k.R_END, t_end)
        put(piece, k.R_FILE, t_file)
        put(piece, k.R_PATH, t_path)
        put(piece, k.R_OPEN, t_open)
        put(piece, k.R_OFFSET, t_offset)
        put(piece, k.R_SINCE, t_since)
    put(memory, k.M_COUNT, count - (last - kept) + (1 if right else 0))
    return True


@inner
def _shift(regions: int, count: int, old: int, new: int) -> None:
    """Move the regions from `old` on to `new`."""
    words = k.REGION_FIELDS * (count - old)
    source, target = regions + 8 * k.REGION_FIELDS * old, regions + 8 * k.REGION_FIELDS * new
    if target < source:
        for i in range(words):
            put(target, i, get(source, i))
    elif target > source:
        for i in range(words - 1, -1, -1):
            put(target, i, get(source, i))


@inner
def _pages(h: int, size: int) -> int:
    page = get(h, k.PAGE_BYTES)
    return 0 if size == NULL else (size + page - 1) // page * page


@inner
def on_mmap(h: int, c: int) -> bool:
    """mmap; False: it is Python's."""
    start, size = get(c, k.C_RESULT), get(c, k.C_SIZE)
    row = look_up(h, c, k.C_FD)
    if row == -2 or size == NULL or not 0 < size < 1 << 48 or start >= 1 << 60:
        return False
    length = _pages(h, size)
    unmapped = row < 0
    if start >= 0 and length > 0:
        memory = get(h, k.MEMORY_TABLE) + 8 * k.MEMORY_FIELDS * get(get(c, k.C_THREAD), k.T_MEMORY)
        # Python keeps what is replaced
        if get(memory, k.M_COUNT) + 2 > get(memory, k.M_ROOM) or _first_region(h, c, start, start + length) >= 0:
            return False
    accept_call(h, c)
    if unmapped:
        return True
    put(c, k.C_ADDRESS, start if start >= 0 else NULL)
    info = open_at(h, row)
    if start >= 0 and length > 0:
        memory = get(h, k.MEMORY_TABLE) + 8 * k.MEMORY_FIELDS * get(get(c, k.C_THREAD), k.T_MEMORY)
        regions, count = get(memory, k.M_ADDRESS), get(memory, k.M_COUNT)
        place = 0
        while place < count and get(regions, k.REGION_FIELDS * place + k.R_START) < start:
            place += 1
        _shift(regions, count, place, place + 1)
        region = regions + 8 * k.REGION_FIELDS * place
        put(region, k.R_START, start)
        put(region, k.R_END, start + length)
        put(region, k.R_FILE, get(info, k.O_FILE))
        put(region, k.R_PATH, get(info, k.O_PATH))
        put(region, k.R_OPEN, get(info, k.O_NUMBER))
        put(region, k.R_OFFSET, 0 if get(c, k.C_OFFSET) == NULL else get(c, k.C_OFFSET))
        duration = get(c, k.C_DURATION)
        put(region, k.R_SINCE, get(c, k.C_TIME) + (0 if duration == NULL else duration))
        put(memory, k.M_COUNT, count + 1)
    emit_open(h, c, row)
    return True


@inner
def _is_taken(h: int, c: int, found: int, end: int) -> bool:
    """Whether what a call unmaps may have been replaced since it began: which mapping that was, Python knows."""
    memory = get(h, k.MEMORY_TABLE) + 8 * k.MEMORY_FIELDS * get(get(c, k.C_THREAD), k.T_MEMORY)
    if found < 0:
        return get(memory, k.M_REPLACED) > get(c, k.C_TIME)
    regions, count = get(memory, k.M_ADDRESS), get(memory, k.M_COUNT)
    while found < count and get(regions, k.REGION_FIELDS * found + k.R_START) < end:
        if get(regions, k.REGION_FIELDS * found + k.R_SINCE) > get(c, k.C_TIME):
            return True
        found += 1
    return False


@inner
def on_memory(h: int, c: int) -> bool:
    """munmap, msync, madvise."""
    start, size = get(c, k.C_ADDRESS), get(c, k.C_SIZE)
    if start == NULL or size == NULL or not 0 <= size < 1 << 48 or not 0 <= start < 1 << 60:
        return False
    end = start + _pages(h, size)
    # an empty range is Python's: what it hits is a matter of the order of comparisons
    if end == start:
        return False
    found = _first_region(h, c, start, end)
    unmaps = get(c, k.C_OP) == _OP_MUNMAP and get(c, k.C_RESULT) == 0
    if unmaps and _is_taken(h, c, found, end):
        return False
    path = file = opened = -1
    if found >= 0:
        memory = get(h, k.MEMORY_TABLE) + 8 * k.MEMORY_FIELDS * get(get(c, k.C_THREAD), k.T_MEMORY)
        region = get(memory, k.M_ADDRESS) + 8 * k.REGION_FIELDS * found
        path, file, opened = get(region, k.R_PATH), get(region, k.R_FILE), get(region, k.R_OPEN)
        if unmaps and not _cut(h, c, start, end):
            return False
    accept_call(h, c)
    if found >= 0:
        emit(h, c, path, file, opened, -1, -1)
    return True

"""Files: a number for each device, inode and generation that a record names."""

from __future__ import annotations

from iotrace.compiling import entry, inner
from iotrace.hashing import find_inode
from iotrace.machine import count_up, get, put
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels import records as w
from iotrace.trace.schema import NULL


@inner
def file_info(h: int, file: int) -> int:
    """Address of a file's row."""
    return get(h, d.FILE_INFO) + 8 * d.FILE_FIELDS * file


@entry
def file_number(h: int, device: int, inode: int, generation: int) -> int:
    """Number of the file with this identity; a new one when the inode has been reused (another generation)."""
    table = get(h, d.FILE_SLOTS)
    slot = find_inode(table, get(h, d.FILE_SLOTS + 1), device, inode)
    number = get(table, 3 * slot + d.FILE)
    if number != -1:
        info = file_info(h, number)
        known = get(info, d.F_GENERATION)
        if generation == 0 or known == generation:
            return number
        if known == 0:
            put(info, d.F_GENERATION, generation)
            return number
    return _new_file(h, table, slot, device, inode, generation)


@inner
def _new_file(h: int, table: int, slot: int, device: int, inode: int, generation: int) -> int:
    """Number of a new file, in the slot of whatever had its inode before."""
    number = count_up(h, d.FILES)
    put(table, 3 * slot + d.DEVICE, device)
    put(table, 3 * slot + d.INODE, inode)
    put(table, 3 * slot + d.FILE, number)
    info = file_info(h, number)
    for field in range(d.FILE_FIELDS):
        put(info, field, NULL)
    put(info, d.F_GENERATION, generation)
    put(info, d.F_PATH, -1)
    put(info, d.F_DEVICE, device)
    put(info, d.F_INODE, inode)
    put(info, d.F_LAST_PATH, -1)
    put(info, d.F_WHERE, d.NO_BASE)
    return number


@inner
def file_at(h: int, r: int, at: int) -> int:
    """File of the struct identity at a word of a record; -1 when there is none."""
    inode = get(r, at + 1)
    if inode == 0:
        return -1
    device = get(r, at + 2)
    return file_number(h, device & 0xFFFFFFFF, inode, (device >> 32) & 0xFFFFFFFF)


@inner
def stat_file(h: int, r: int) -> int:
    """File of a record by what stat found, which tells no generation: another type of file is another file."""
    file = file_at(h, r, w.FILE)
    kind = get(r, w.ST_MODE) & 0xF000
    if file == -1 or kind == 0:
        return file
    mode = get(file_info(h, file), d.F_MODE)
    if mode == NULL or mode & 0xF000 == kind:
        return file
    table, inode, device = get(h, d.FILE_SLOTS), get(r, w.FILE + 1), get(r, w.FILE + 2) & 0xFFFFFFFF
    return _new_file(h, table, find_inode(table, get(h, d.FILE_SLOTS + 1), device, inode), device, inode, 0)

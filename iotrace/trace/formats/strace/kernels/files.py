"""The tables of files and inodes, and what calls tell of a file."""

from __future__ import annotations

from iotrace.compiling import entry, inner
from iotrace.hashing import find_inode
from iotrace.machine import count_up, get, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.schema import NULL


@inner
def file_at(h: int, number: int) -> int:
    """Address of a file's row."""
    return get(h, k.FILE_TABLE) + 8 * k.FILE_FIELDS * number


@entry
def touch(h: int, number: int) -> None:
    """Remember that a file's row may have become whole."""
    bits = get(file_at(h, number), k.F_BITS)
    if not bits & (k.WRITTEN | k.IS_DIRTY):
        put(file_at(h, number), k.F_BITS, bits | k.IS_DIRTY)
        put(get(h, k.DIRTY_TABLE), get(h, k.DIRTY), number)
        put(h, k.DIRTY, get(h, k.DIRTY) + 1)


@entry
def new_file(h: int, path: int, where: int, existed: int) -> int:
    """A row of the file table; existed is -1 when not known."""
    number = count_up(h, k.FILES)
    file = file_at(h, number)
    for field in range(k.FILE_FIELDS):
        put(file, field, NULL)
    put(file, k.F_PATH, path)
    put(file, k.F_WHERE, where)
    put(file, k.F_EXISTED, existed)
    put(file, k.F_TYPE, -1)
    put(file, k.F_TARGET, -1)
    put(file, k.F_BITS, 0)
    touch(h, number)
    return number


@entry
def whole_files(h: int, found: int, everything: bool) -> int:
    """Numbers of the files about which no more will be learned into `found`, once each; returns how many."""
    count = 0
    dirty = get(h, k.DIRTY)
    for i in range(dirty if not everything else get(h, k.FILES)):
        number = get(get(h, k.DIRTY_TABLE), i) if not everything else i
        file = file_at(h, number)
        bits = get(file, k.F_BITS)
        if bits & k.WRITTEN:
            continue
        put(file, k.F_BITS, bits & ~k.IS_DIRTY)
        if not everything:
            if get(file, k.F_DEVICE) == NULL or get(file, k.F_EXISTED) < 0:
                continue
            kind = get(file, k.F_TYPE)
            if kind == k.DIRECTORY_TYPE:
                if get(file, k.F_ENTRIES) == NULL:
                    continue
            elif kind == k.LINK_TYPE:
                if get(file, k.F_TARGET) < 0:
                    continue
            elif get(file, k.F_SIZE) == NULL:
                continue
        put(file, k.F_BITS, (bits & ~k.IS_DIRTY) | k.WRITTEN)
        put(found, count, number)
        count += 1
    put(h, k.DIRTY, 0)
    return count


@entry
def put_inode(h: int, device: int, inode: int, file: int) -> None:
    """Say which file an inode is; GONE for none."""
    slots = get(h, k.INODE_SLOTS)
    slot = find_inode(slots, get(h, k.INODE_SLOTS + 1), device, inode)
    if get(slots, 3 * slot + 2) == -1:
        if file == k.GONE:
            return
        put(h, k.INODES, get(h, k.INODES) + 1)
    put(slots, 3 * slot, device)
    put(slots, 3 * slot + 1, inode)
    put(slots, 3 * slot + 2, file)


@inner
def note_length(h: int, number: int, length: int) -> None:
    """Note the length that a file has now; it is its size too, where nothing has changed that."""
    file = file_at(h, number)
    put(file, k.F_LENGTH, length)
    if not get(file, k.F_BITS) & k.CHANGED and get(file, k.F_SIZE) == NULL:
        put(file, k.F_SIZE, length)
        touch(h, number)


@inner
def set_type(h: int, number: int, kind: int) -> None:
    """Say what a file is where that is not known."""
    file = file_at(h, number)
    if get(file, k.F_TYPE) < 0:
        put(file, k.F_TYPE, kind)
        touch(h, number)


@inner
def change_length(h: int, number: int, length: int) -> None:
    """Note that a file was changed, and its length since."""
    file = file_at(h, number)
    put(file, k.F_BITS, get(file, k.F_BITS) | k.CHANGED)
    put(file, k.F_LENGTH, length)


@inner
def _type_of(mode: int) -> int:
    kind = mode & 0o170000
    if kind == 0o100000:
        return k.FILE_TYPE
    if kind == 0o040000:
        return k.DIRECTORY_TYPE
    return k.LINK_TYPE if kind == 0o120000 else k.OTHER_TYPE


@inner
def learn(h: int, c: int, number: int) -> None:
    """Take over what a stat told of a file."""
    file = file_at(h, number)
    inode, device = get(c, k.C_ST_INODE), get(c, k.C_ST_DEVICE)
    if inode != NULL and device != NULL:
        if get(file, k.F_INODE) == NULL:
            put(file, k.F_DEVICE, device)
            put(file, k.F_INODE, inode)
        known = get(file, k.F_DEVICE)
        put_inode(h, 0 if known == NULL else known, get(file, k.F_INODE), number)
    if get(c, k.C_ST_LINKS) != NULL:
        put(file, k.F_LINKS, get(c, k.C_ST_LINKS))
    mode = get(c, k.C_ST_MODE)
    if mode != NULL:
        put(file, k.F_TYPE, _type_of(mode))
        if get(file, k.F_MODE) == NULL:
            put(file, k.F_MODE, mode)
    size = get(c, k.C_ST_SIZE)
    if size != NULL:
        if not get(file, k.F_BITS) & k.CHANGED and get(file, k.F_SIZE) == NULL and get(file, k.F_BLOCKS) == NULL:
            put(file, k.F_BLOCKS, get(c, k.C_ST_BLOCKS))
        note_length(h, number, size)
    touch(h, number)

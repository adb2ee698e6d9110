"""Names: a number for each path and folder that it starts from, and which of them a recording is about."""

from __future__ import annotations

import numpy as np

from iotrace.compiling import entry, inner
from iotrace.hashing import hash_bytes
from iotrace.machine import copy_bytes, count_up, get, get_byte, put, same_bytes
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels import records as w
from iotrace.record.ebpf.kernels.files import file_at, file_info
from iotrace.trace.kernels.pseudo import is_pseudo
from iotrace.trace.schema import NULL


@entry
def intern(h: int, base: int, length: int) -> int:
    """Number of the path whose bytes stand at the blob's end; they stay there when the path is new."""
    begin = get(h, d.BLOB)
    text = get(h, d.BLOB_BYTES) + begin
    key = hash_bytes(text, length, np.uint64(base + 2) * np.uint64(0x9E3779B97F4A7C15))  # type: ignore[arg-type]
    table, mask = get(h, d.PATH_SLOTS), get(h, d.PATH_SLOTS + 1) - 1
    infos = get(h, d.PATH_INFO)
    slot = key & mask
    while get(table, 2 * slot + d.PATH) != -1:
        if get(table, 2 * slot + d.HASH) == key:
            number = get(table, 2 * slot + d.PATH)
            info = infos + 8 * d.PATH_FIELDS * number
            if get(info, d.P_BASE) == base and get(info, d.P_LENGTH) == length:
                there = get(h, d.BLOB_BYTES) + get(info, d.P_BEGIN)
                if same_bytes(there, text, length):
                    return number
        slot = (slot + 1) & mask
    number = count_up(h, d.PATHS)
    put(table, 2 * slot + d.HASH, key)
    put(table, 2 * slot + d.PATH, number)
    info = infos + 8 * d.PATH_FIELDS * number
    put(info, d.P_BASE, base)
    put(info, d.P_BEGIN, begin)
    put(info, d.P_LENGTH, length)
    put(h, d.BLOB, begin + length)
    return number


@inner
def copy_text(h: int, source: int, length: int) -> None:
    """Put bytes at the blob's end, for intern()."""
    copy_bytes(get(h, d.BLOB_BYTES) + get(h, d.BLOB), source, length)


@inner
def folder_of(h: int, file: int) -> int:
    """Path of the folder that a relative name starts from, as it was last reported; NO_BASE when nobody knows."""
    if file == -1:
        return d.NO_BASE
    path = get(file_info(h, file), d.F_WHERE)
    if path == d.NO_BASE and get(file_info(h, file), d.F_PATH) != -1:
        path = get(file_info(h, file), d.F_PATH)
    return path


@inner
def _is_beneath(h: int, folder: int, folder_length: int, text: int, length: int) -> bool:
    """Whether an absolute name lies beneath one of the mount points that the recording is held to.

    The name is `text`, or `text` beneath `folder` where `folder_length` is not 0.
    """
    count = get(h, d.PREFIXES)
    if count == 0:
        return True
    if folder_length > 0 and get_byte(folder, folder_length - 1) == 47:
        folder_length -= 1  # the root folder
    name_at = folder_length + 1 if folder_length > 0 else 0
    whole = name_at + length
    at = get(h, d.PREFIX_BYTES)
    for _ in range(count):
        size = get(at, 0)
        at += 8
        if whole >= size:
            # the point's own letters, and behind them a slash or the end; behind the root folder whatever comes
            checked = size if size == 1 else min(size + 1, whole)
            i = 0
            while i < checked:
                if i < folder_length:
                    letter = get_byte(folder, i)
                else:
                    letter = 47 if i < name_at else get_byte(text, i - name_at)
                if letter != (get_byte(at, i) if i < size else 47):
                    break
                i += 1
            if i == checked:
                return True
        at += (size + 7) & ~7
    return False


@inner
def first_name(h: int, r: int, base: int, file: int, found: bool) -> int:
    """Path of a record's first name; NULL when the record is about what a recording leaves out.

    `found`: the call led to a file, and that one is wanted; `file` is its number, -1 where it is not known yet.
    """
    text, length = r + 8 * w.TEXT, ((get(r, w.KIND) >> 32) & 0xFFFF) - 1
    folder, folder_length, where = 0, 0, -1
    if get_byte(text, 0) != 47:
        if base == -1:
            return NULL  # a bad descriptor
        if get(r, w.BASE) == 0:
            put(file_info(h, base), d.F_KEPT, 2)  # a working folder: names go on to begin there in the next chapter
        where = folder_of(h, base)
        if where >= 0:
            info = get(h, d.PATH_INFO) + 8 * d.PATH_FIELDS * where
            folder, folder_length = get(h, d.BLOB_BYTES) + get(info, d.P_BEGIN), get(info, d.P_LENGTH)
    if get(h, d.ALL_FILES) == 0 and (is_pseudo(text, length) or is_pseudo(folder, folder_length)):
        # a file that is reached by way of /proc/self/fd has a name of its own
        if file == -1 or get(file_info(h, file), d.F_MODE) == NULL:
            return NULL
        return get(file_info(h, file), d.F_PATH)
    known = where != d.NO_BASE and (folder_length == 0 or get_byte(folder, 0) == 47)
    if not found and known and not _is_beneath(h, folder, folder_length, text, length):
        return NULL
    copy_text(h, text, length)
    return intern(h, where, length)


@inner
def second_name(h: int, r: int) -> int:
    """Path of a record's second name, or of a link's target."""
    lengths = get(r, w.KIND)
    second, length = r + 8 * w.TEXT + ((lengths >> 32) & 0xFFFF), (lengths >> 48) & 0xFFFF
    if get_byte(second, length - 1) == 0:
        length -= 1
    copy_text(h, second, length)
    relative = length > 0 and get_byte(second, 0) != 47
    base2 = file_at(h, r, w.BASE2) if relative else -1
    return intern(h, folder_of(h, base2) if base2 != -1 else -1, length)

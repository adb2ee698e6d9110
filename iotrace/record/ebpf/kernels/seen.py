"""What records tell of files themselves: at first sight with a name, by a stat, as open before the recording."""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.machine import get, get_byte, put, put_byte
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels import records as w
from iotrace.record.ebpf.kernels.files import file_at, file_info
from iotrace.record.ebpf.kernels.names import intern
from iotrace.record.ebpf.kernels.opens import open_at, open_info
from iotrace.trace.schema import NULL


@inner
def _nameless(target: int, kind: int, inode: int) -> int:
    """What /proc shows for a file without a name, `pipe:[4026]`; the root folder is /. Returns the length."""
    if kind != 0x1000 and kind != 0xC000:
        put_byte(target, 0, 47)
        return 1
    at = 0
    for letter in b"pipe:[" if kind == 0x1000 else b"socket:[":
        put_byte(target, at, letter)
        at += 1
    power = 1
    while inode // power >= 10:
        power *= 10
    while power > 0:
        put_byte(target, at, 48 + inode // power % 10)
        at += 1
        power //= 10
    put_byte(target, at, 93)
    return at + 1


@inner
def on_file_seen(h: int, r: int) -> None:
    """A file at first sight, with its name."""
    info = file_info(h, file_at(h, r, w.FILE))
    if get(r, w.RESULT) & 2:
        put(info, d.F_ELSEWHERE, 1)
    elif get(info, d.F_MODE) == NULL:
        flags, created = get(r, w.FLAGS), get(r, w.RESULT)
        truncated = (flags >> 31) & 1 != 0 and flags & 0o1000 != 0 and created == 0
        put(info, d.F_MODE, get(r, w.MODE) & 0xFFFF)
        put(info, d.F_SIZE, NULL if truncated else (0 if created else get(r, w.ST_SIZE)))
        put(info, d.F_BLOCKS, NULL if truncated else (0 if created else get(r, w.ST_BLOCKS)))
        put(info, d.F_PAGES, 0 if created else (get(r, w.ST_MODE) >> 32) & 0xFFFFFFFF)
        put(info, d.F_CREATED, created)
        put(info, d.F_SEEN_NS, get(r, w.START) - get(h, d.BASE_NS))
    # the names come leaf first, each with its NUL: turned round they are the path
    text, length = r + 8 * w.TEXT, (get(r, w.KIND) >> 32) & 0xFFFF
    target = get(h, d.BLOB_BYTES) + get(h, d.BLOB)
    whole = (get(r, w.MODE) >> 32) & 1
    place = 0
    end = length - 1
    while end > 0:
        first = end
        while first > 0 and get_byte(text, first - 1) != 0:
            first -= 1
        if whole or place > 0:
            put_byte(target, place, 47)
            place += 1
        for i in range(first, end):
            put_byte(target, place, get_byte(text, i))
            place += 1
        end = first - 1
    if place == 0:
        place = _nameless(target, get(r, w.MODE) & 0xF000, get(r, w.INODE))
    path = intern(h, -1, place)
    if get(info, d.F_PATH) == -1 or get(info, d.F_WHERE) == d.NO_BASE:
        put(info, d.F_PATH, path)  # what stat said may have gone by way of links
    put(info, d.F_WHERE, path)
    if get(info, d.F_LAST_PATH) == -1:
        put(info, d.F_LAST_PATH, path)


@inner
def note_stat(h: int, r: int, file: int, path: int, time: int) -> None:
    """A file that is known only by what stat said of it."""
    info = file_info(h, file)
    if get(info, d.F_MODE) != NULL or get(r, w.ST_MODE) & 0xFFFF == 0:
        return
    put(info, d.F_MODE, get(r, w.ST_MODE) & 0xFFFF)
    put(info, d.F_SIZE, get(r, w.ST_SIZE))
    put(info, d.F_BLOCKS, get(r, w.ST_BLOCKS))
    put(info, d.F_CREATED, 0)
    put(info, d.F_SEEN_NS, time)
    put(info, d.F_PATH, path)
    if get(info, d.F_LAST_PATH) == -1:
        put(info, d.F_LAST_PATH, path)


@inner
def on_open_found(h: int, r: int) -> None:
    """A file that a process had open before it was followed."""
    file = file_at(h, r, w.FILE)
    opened = open_info(h, open_at(h, r, w.FILE, file))
    info = file_info(h, file)
    if get(opened, d.O_PATH) == -1:
        put(opened, d.O_PATH, get(info, d.F_LAST_PATH))
    if get(info, d.F_FLAGS) == NULL:
        put(info, d.F_FLAGS, get(r, w.FLAGS))
        put(info, d.F_POSITION, get(r, w.OFFSET))

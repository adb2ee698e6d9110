"""The tables of names and paths: each absolute name has a number, and so has each way that a name was given."""

from __future__ import annotations

from iotrace.compiling import entry, inner
from iotrace.hashing import SEED, hash_bytes, mix
from iotrace.machine import copy_bytes, count_up, get, get_byte, put, put_byte, put_half, same_bytes
from iotrace.trace.formats.strace.kernels import layout as k


@inner
def name_at(h: int, name: int) -> int:
    """Address of a name's row."""
    return get(h, k.NAME_TABLE) + 8 * k.NAME_FIELDS * name


@inner
def text_of(h: int, name: int) -> int:
    """Address of a name's text."""
    return get(h, k.BLOB_BYTES) + get(name_at(h, name), k.N_BEGIN)


@inner
def length_of(h: int, name: int) -> int:
    """Length of a name's text."""
    return get(name_at(h, name), k.N_LENGTH)


@inner
def is_name(h: int, name: int, text: int, length: int) -> bool:
    """Whether a text is that of a name."""
    return length_of(h, name) == length and same_bytes(text_of(h, name), text, length)


@entry
def find_name(h: int, text: int, length: int) -> int:
    """Number of a name; -1 when it has none."""
    key = hash_bytes(text, length, SEED)
    slots, mask = get(h, k.NAME_SLOTS), get(h, k.NAME_SLOTS + 1) - 1
    slot = key & mask
    while get(slots, 2 * slot + 1) != -1:
        if get(slots, 2 * slot) == key:
            number = get(slots, 2 * slot + 1)
            if is_name(h, number, text, length):
                return number
        slot = (slot + 1) & mask
    return -1


@inner
def _keep(h: int, text: int, length: int) -> int:
    """Put bytes at the blob's end; returns where."""
    begin = get(h, k.BLOB)
    copy_bytes(get(h, k.BLOB_BYTES) + begin, text, length)
    put(h, k.BLOB, begin + length)
    return begin


@entry
def intern_name(h: int, text: int, length: int) -> int:
    """Number of a name, which is new or not."""
    number = find_name(h, text, length)
    if number >= 0:
        return number
    number = count_up(h, k.NAMES)
    info = name_at(h, number)
    put(info, k.N_BEGIN, _keep(h, text, length))
    put(info, k.N_LENGTH, length)
    put(info, k.N_FILE, -1)
    put(info, k.N_ABSENT, 0)
    key = hash_bytes(text, length, SEED)
    slots, mask = get(h, k.NAME_SLOTS), get(h, k.NAME_SLOTS + 1) - 1
    slot = key & mask
    while get(slots, 2 * slot + 1) != -1:
        slot = (slot + 1) & mask
    put(slots, 2 * slot, key)
    put(slots, 2 * slot + 1, number)
    return number


@entry
def intern_path(h: int, name: int, raw: int, length: int) -> int:
    """Number of the path with this name, which was given as `raw`."""
    plain = is_name(h, name, raw, length)
    key = mix(name + 1)
    if not plain:
        key = mix(key ^ hash_bytes(raw, length, SEED))
    slots, mask = get(h, k.PATH_SLOTS), get(h, k.PATH_SLOTS + 1) - 1
    slot = key & mask
    while get(slots, 2 * slot + 1) != -1:
        if get(slots, 2 * slot) == key:
            number = get(slots, 2 * slot + 1)
            path = get(h, k.PATH_TABLE) + 8 * k.PATH_FIELDS * number
            if get(path, k.P_NAME) == name and (
                get(path, k.P_RAW) == -1
                if plain
                else get(path, k.P_RAW) >= 0
                and get(path, k.P_LENGTH) == length
                and same_bytes(get(h, k.BLOB_BYTES) + get(path, k.P_RAW), raw, length)
            ):
                return number
        slot = (slot + 1) & mask
    number = count_up(h, k.PATHS)
    path = get(h, k.PATH_TABLE) + 8 * k.PATH_FIELDS * number
    put(path, k.P_NAME, name)
    put(path, k.P_RAW, -1 if plain else _keep(h, raw, length))
    put(path, k.P_LENGTH, length)
    put(slots, 2 * slot, key)
    put(slots, 2 * slot + 1, number)
    return number


@entry
def names_below(h: int, prefix: int, length: int, found: int, room: int) -> int:
    """Numbers of the names with a file that begin so, into `found`; returns how many there are."""
    count = 0
    for number in range(get(h, k.NAMES)):
        has_file = get(name_at(h, number), k.N_FILE) >= 0
        if has_file and length_of(h, number) >= length and same_bytes(text_of(h, number), prefix, length):
            if count < room:
                put(found, count, number)
            count += 1
    return count


@entry
def gather(h: int, first: int, count: int, raws: bool, offsets: int, out: int) -> int:
    """Texts (or raw names) of paths one behind the other, and where each begins (32 bits).

    Returns their length; -1 - length when a byte is not printable ASCII. With `out` 0 only the length is found.
    """
    at = 0
    plain = True
    for i in range(count):
        path = get(h, k.PATH_TABLE) + 8 * k.PATH_FIELDS * (first + i)
        begin, length = get(path, k.P_RAW), get(path, k.P_LENGTH)
        if not raws or begin < 0:
            info = name_at(h, get(path, k.P_NAME))
            begin, length = get(info, k.N_BEGIN), get(info, k.N_LENGTH)
        text = get(h, k.BLOB_BYTES) + begin
        if out:
            put_half(offsets, i, at)
            for place in range(length):
                byte = get_byte(text, place)
                put_byte(out, at + place, byte)
                if byte < 32 or byte > 126:
                    plain = False
        at += length
    if out:
        put_half(offsets, count, at)
    return at if plain else -1 - at

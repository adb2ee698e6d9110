"""From a path as a call gives it to the absolute name that it is."""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.machine import copy_bytes, get, get_byte, put, put_byte
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.descriptors import look_up, open_at
from iotrace.trace.formats.strace.kernels.files import file_at
from iotrace.trace.formats.strace.kernels.names import find_name, is_name, length_of, name_at, text_of
from iotrace.trace.schema import NULL


@inner
def _append_tidy(target: int, begin: int, source: int, length: int) -> int:
    """Append the components of a path to the text at `target`, `begin` bytes long; `.` and `..` are followed."""
    at = begin
    i = 0
    while i < length:
        while i < length and get_byte(source, i) == 47:
            i += 1
        first = i
        while i < length and get_byte(source, i) != 47:
            i += 1
        count = i - first
        if count == 0:
            break
        if count == 1 and get_byte(source, first) == 46:
            continue
        if count == 2 and get_byte(source, first) == 46 and get_byte(source, first + 1) == 46:
            while at > 0:
                at -= 1
                if get_byte(target, at) == 47:
                    break
            continue
        put_byte(target, at, 47)
        copy_bytes(target + at + 1, source + first, count)
        at += 1 + count
    return at


@inner
def resolve(h: int, c: int) -> int:
    """The absolute name that a path is, into C_TEXT and C_TEXT_LENGTH, and the folder's description into C_BASE.

    Returns 1; 0 when the log does not tell the folder; -1 when it is Python's.
    """
    raw, length, dirfd = get(c, k.C_PATH), get(c, k.C_PATH_LENGTH), get(c, k.C_DIRFD)
    put(c, k.C_BASE, -1)
    put(c, k.C_MISSED, 0)
    put(c, k.C_ODD, 0)
    base, base_length = 0, 0
    thread = get(c, k.C_THREAD)
    cwd = get(get(h, k.FOLDER_TABLE), get(thread, k.T_FOLDER))
    if dirfd == k.AT_FDCWD and get(c, k.C_DIRN) != -1 and get(c, k.C_DIRN_LENGTH) > 0:
        if cwd < 0 or not get(get(h, k.PROCESS_TABLE), get(thread, k.T_PROCESS)):
            return -1
        if not is_name(h, cwd, get(c, k.C_DIRN), get(c, k.C_DIRN_LENGTH)):
            return -1
    if length == 0 or get_byte(raw, 0) != 47:
        if dirfd in (NULL, k.AT_FDCWD):
            if cwd < 0:
                put(c, k.C_ODD, 1)
                base, base_length = get(h, k.WORDS) + w.UNKNOWN, 10
            else:
                base, base_length = text_of(h, cwd), length_of(h, cwd)
        else:
            row = look_up(h, c, k.C_DIRFD)
            if row == -2:
                return -1
            if row >= 0:
                info = open_at(h, row)
                where = get(file_at(h, get(info, k.O_FILE)), k.F_WHERE)
                if where < 0:
                    where = get(info, k.O_TEXT)
                base, base_length = text_of(h, where), length_of(h, where)
                put(c, k.C_BASE, get(info, k.O_NUMBER))
            elif get(c, k.C_DIRN) != -1 and get(c, k.C_DIRN_LENGTH) > 0:
                base, base_length = get(c, k.C_DIRN), get(c, k.C_DIRN_LENGTH)
            else:
                return 0
        if base_length == 0 or get_byte(base, 0) != 47:
            return -1
    if base_length + length > k.NAME_ROOM:
        return -1
    text = get(h, k.SCRATCH)
    at = _append_tidy(text, 0, base, base_length)
    at = _append_tidy(text, at, raw, length)
    if at == 0:
        put_byte(text, 0, 47)
        at = 1
    put(c, k.C_TEXT, text)
    put(c, k.C_TEXT_LENGTH, at)
    return 1


@inner
def _folder_length(text: int, length: int) -> int:
    """Length of the folder's name of an absolute name, as os.path.dirname has it."""
    at = length
    while at > 0 and get_byte(text, at - 1) != 47:
        at -= 1
    while at > 1 and get_byte(text, at - 1) == 47:
        at -= 1
    return at


@inner
def made_here(h: int, text: int, length: int) -> bool:
    """Whether the folder of a name was made by the program."""
    name = find_name(h, text, _folder_length(text, length))
    if name < 0:
        return False
    file = get(name_at(h, name), k.N_FILE)
    return file >= 0 and get(file_at(h, file), k.F_EXISTED) == 0

"""open and openat."""

from __future__ import annotations

import errno
import os
from typing import Final

from iotrace.compiling import inner
from iotrace.machine import count_up, get, put, same_bytes
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.descriptors import bind, has_room, new_open, open_at
from iotrace.trace.formats.strace.kernels.files import change_length, file_at, set_type, touch
from iotrace.trace.formats.strace.kernels.names import find_name, intern_name, intern_path, name_at, text_of
from iotrace.trace.formats.strace.kernels.on_paths import is_link, make_file
from iotrace.trace.formats.strace.kernels.recorded import is_device, is_recorded
from iotrace.trace.formats.strace.kernels.resolving import made_here, resolve
from iotrace.trace.formats.strace.kernels.rows import accept_named, emit
from iotrace.trace.formats.strace.kernels.texts import begins
from iotrace.trace.kernels.pseudo import is_pseudo
from iotrace.trace.schema import NULL

_ENOENT: Final = errno.ENOENT
_CREAT, _EXCL, _TRUNC, _ACCMODE = os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_ACCMODE
_NOFOLLOW, _DIRECTORY, _CLOEXEC = os.O_NOFOLLOW, os.O_DIRECTORY, os.O_CLOEXEC
_TMPFILE_BIT: Final = 0o20000000


@inner
def on_open(h: int, c: int) -> bool:
    """open and openat."""
    if get(c, k.C_PATH) == -1:
        return False
    known = resolve(h, c)
    if known < 0:
        return False
    result, shown, shown_length = get(c, k.C_RESULT), get(c, k.C_RNAME), get(c, k.C_RNAME_LENGTH)
    flags = 0 if get(c, k.C_FLAGS) == NULL else get(c, k.C_FLAGS)
    text, length = get(c, k.C_TEXT), get(c, k.C_TEXT_LENGTH)
    if known == 0:
        accept_named(h, c)
        return True
    if result >= 0:
        if not has_room(h, c, result):
            return False
        if shown != -1:
            recorded = is_recorded(h, shown, shown_length)
        else:
            recorded = not (is_pseudo(text, length) or is_device(h, text, length))
        if not recorded:
            accept_named(h, c)
            bind(h, c, result, -1, 0)
            return True
    elif is_pseudo(text, length):
        accept_named(h, c)
        return True
    name = find_name(h, text, length)
    file = get(name_at(h, name), k.N_FILE) if name >= 0 else -1
    if not flags & _NOFOLLOW and is_link(h, file):
        return False
    base = get(c, k.C_BASE)
    if result < 0:
        accept_named(h, c)
        if name < 0:
            name = intern_name(h, text, length)
        path = intern_path(h, name, get(c, k.C_PATH), get(c, k.C_PATH_LENGTH))
        if result == -_ENOENT:
            put(name_at(h, name), k.N_FILE, -1)
            put(name_at(h, name), k.N_ABSENT, 1)
            file = -1
        emit(h, c, path, file, -1, -1, base)
        return True
    if flags & _TMPFILE_BIT or get(h, k.LABELS):
        return False
    resolved, resolved_length = text, length
    if shown != -1:
        resolved, resolved_length = shown, shown_length
    if resolved_length >= 10 and begins(h, resolved + resolved_length - 10, 10, w.DELETED, 10):
        return False
    where = find_name(h, resolved, resolved_length)
    unknown = shown != -1 and (where < 0 or get(name_at(h, where), k.N_FILE) < 0)
    if unknown and (length != resolved_length or not same_bytes(text, resolved, length)):
        return False  # a link led elsewhere: the file has another name than the event
    if get(h, k.PROBES) and (where < 0 or get(name_at(h, where), k.N_FILE) < 0):
        return False
    accept_named(h, c)
    if name < 0:
        name = intern_name(h, text, length)
    path = intern_path(h, name, get(c, k.C_PATH), get(c, k.C_PATH_LENGTH))
    if where < 0:
        where = intern_name(h, resolved, resolved_length)
    info = name_at(h, where)
    if where != name and get(info, k.N_FILE) < 0:
        alias = get(name_at(h, name), k.N_FILE)
        if alias >= 0 and get(file_at(h, alias), k.F_TYPE) != k.LINK_TYPE:
            put(info, k.N_FILE, alias)
    existed = 1
    if flags & _CREAT and get(info, k.N_FILE) < 0:
        if flags & _EXCL or get(name_at(h, name), k.N_ABSENT) or get(info, k.N_ABSENT):
            existed = 0
        else:
            # where the folder was made by the program too, what stands in it was
            existed = 0 if made_here(h, text_of(h, where), resolved_length) else -1
    put(name_at(h, name), k.N_ABSENT, 0)
    file = get(info, k.N_FILE)
    if file < 0:
        file = make_file(h, where, path, existed)
    if flags & _DIRECTORY:
        put(file_at(h, file), k.F_TYPE, k.DIRECTORY_TYPE)
        touch(h, file)
    elif flags & _CREAT:
        set_type(h, file, k.FILE_TYPE)
    if flags & _TRUNC and flags & _ACCMODE and get(file_at(h, file), k.F_EXISTED) != 0:
        change_length(h, file, 0)
    row = new_open(h)
    opened = open_at(h, row)
    number = count_up(h, k.OPENS)
    put(opened, k.O_NUMBER, number)
    put(opened, k.O_FILE, file)
    put(opened, k.O_PATH, path)
    put(opened, k.O_TEXT, where)
    put(opened, k.O_FLAGS, flags)
    put(opened, k.O_POSITION, 0)
    put(opened, k.O_SHOWN, where if shown != -1 else -1)
    put(opened, k.O_LISTED, 0)
    bind(h, c, result, row, 1 if flags & _CLOEXEC else 0)
    emit(h, c, path, file, number, -1, base)
    return True

"""Calls on names that open nothing: stat and its like, readlink that fails, unlink, rmdir."""

from __future__ import annotations

import errno
from typing import Final

from iotrace.compiling import inner
from iotrace.hashing import find_inode
from iotrace.machine import get, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import operations as o
from iotrace.trace.formats.strace.kernels.files import file_at, learn, new_file, put_inode
from iotrace.trace.formats.strace.kernels.names import find_name, intern_name, intern_path, length_of, name_at, text_of
from iotrace.trace.formats.strace.kernels.on_descriptors import on_descriptor
from iotrace.trace.formats.strace.kernels.recorded import is_device
from iotrace.trace.formats.strace.kernels.resolving import made_here, resolve
from iotrace.trace.formats.strace.kernels.rows import accept_named, emit, note_attribute
from iotrace.trace.kernels.pseudo import is_pseudo
from iotrace.trace.schema import NULL

_ENOENT: Final = errno.ENOENT
_SYMLINK_NOFOLLOW: Final = 0x100


@inner
def is_link(h: int, file: int) -> bool:
    """Whether a file is known for a symbolic link."""
    return file >= 0 and get(file_at(h, file), k.F_TYPE) == k.LINK_TYPE


@inner
def make_file(h: int, name: int, path: int, existed: int) -> int:
    """A file that was not known before, under this name; existed: 1, 0, or -1 when not known."""
    info = name_at(h, name)
    if existed == 1 and made_here(h, text_of(h, name), length_of(h, name)):
        existed = -1
    number = new_file(h, path, name, existed)
    if existed == 0:
        put(file_at(h, number), k.F_SIZE, 0)
        put(file_at(h, number), k.F_LENGTH, 0)
    put(info, k.N_FILE, number)
    put(info, k.N_ABSENT, 0)
    return number


@inner
def _found(h: int, c: int, name: int, path: int, existed: int, stat: bool) -> int:
    """The file that a call found under a name."""
    info = name_at(h, name)
    file = get(info, k.N_FILE)
    inode, device = get(c, k.C_ST_INODE), get(c, k.C_ST_DEVICE)
    if stat and inode != NULL and device != NULL:
        known = NULL
        if file >= 0:
            known = get(file_at(h, file), k.F_INODE)
        if file < 0 or known == NULL or known != inode or get(file_at(h, file), k.F_DEVICE) != device:
            slots = get(h, k.INODE_SLOTS)
            there = get(slots, 3 * find_inode(slots, get(h, k.INODE_SLOTS + 1), device, inode) + 2)
            if there >= 0:
                file = there
            elif file >= 0 and known != NULL:
                file = -1
    if file < 0:
        file = make_file(h, name, path, existed)
    elif get(info, k.N_FILE) != file:
        put(info, k.N_FILE, file)
        put(info, k.N_ABSENT, 0)
    if stat:
        learn(h, c, file)
    return file


@inner
def on_path(h: int, c: int) -> bool:
    """Looking, readlink that fails, unlink."""
    kind, result = get(c, k.C_CLASS), get(c, k.C_RESULT)
    dirfd = get(c, k.C_DIRFD)
    if get(c, k.C_PATH) == -1 and not (dirfd != NULL and dirfd != k.AT_FDCWD):
        return False
    if get(c, k.C_PATH) == -1 or (get(c, k.C_PATH_LENGTH) == 0 and dirfd != NULL and dirfd != k.AT_FDCWD):
        if kind != o.K_PATH:
            return False
        put(c, k.C_FD, dirfd)
        put(c, k.C_FDN, get(c, k.C_DIRN))
        put(c, k.C_FDN_LENGTH, get(c, k.C_DIRN_LENGTH))
        return on_descriptor(h, c)
    known = resolve(h, c)
    if known < 0 or (kind == o.K_READLINK and result >= 0):
        return False
    text, length = get(c, k.C_TEXT), get(c, k.C_TEXT_LENGTH)
    stat = get(c, k.C_STAT) == 1 and result == 0
    ignored = known == 0 or is_pseudo(text, length)
    if not ignored and result >= 0:
        if stat:
            mode = get(c, k.C_ST_MODE) & 0o170000
            ignored = mode != 0o100000 and mode != 0o040000 and mode != 0o120000 and mode != 0
        else:
            ignored = is_device(h, text, length)
    if ignored:
        accept_named(h, c)
        return True
    names_link = get(get(h, k.OP_TABLE) + 8 * o.OP_FIELDS * get(c, k.C_OP), o.ARGUMENTS + 2)
    flags = get(c, k.C_FLAGS)
    name = find_name(h, text, length)
    file = get(name_at(h, name), k.N_FILE) if name >= 0 else -1
    if not (names_link == 1 or (names_link == 2 and flags != NULL and flags & _SYMLINK_NOFOLLOW)) and is_link(h, file):
        return False
    if result >= 0 and file < 0 and get(h, k.PROBES):
        return False
    accept_named(h, c)
    if name < 0:
        name = intern_name(h, text, length)
    path = intern_path(h, name, get(c, k.C_PATH), get(c, k.C_PATH_LENGTH))
    if result >= 0:
        file = _found(h, c, name, path, 1, stat)
    elif result == -_ENOENT:
        put(name_at(h, name), k.N_FILE, -1)
        put(name_at(h, name), k.N_ABSENT, 1)
        if kind != o.K_READLINK:
            file = -1
    note_attribute(h, c)
    emit(h, c, path, file, get(c, k.C_BASE), -1, -1)
    if kind == o.K_UNLINK and result >= 0:
        if get(c, k.C_ODD):
            put(h, k.UNKNOWN_FOLDERS, get(h, k.UNKNOWN_FOLDERS) + 1)
        put(name_at(h, name), k.N_FILE, -1)
        put(name_at(h, name), k.N_ABSENT, 1)
        row = file_at(h, file)
        if get(row, k.F_WHERE) == name:
            put(row, k.F_WHERE, -1)
        if get(row, k.F_LINKS) != NULL:
            put(row, k.F_LINKS, get(row, k.F_LINKS) - 1)
        if get(row, k.F_INODE) != NULL and (get(row, k.F_LINKS) == NULL or get(row, k.F_LINKS) == 0):
            device = get(row, k.F_DEVICE)
            put_inode(h, 0 if device == NULL else device, get(row, k.F_INODE), k.GONE)
    return True

"""Open-file descriptions, and the descriptors of a thread's process that mean them."""

from __future__ import annotations

import errno
from typing import Final

from iotrace.compiling import entry, inner
from iotrace.machine import count_up, get, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels.names import is_name
from iotrace.trace.formats.strace.kernels.recorded import is_recorded
from iotrace.trace.schema import NULL

_EBADF: Final = errno.EBADF


@inner
def open_at(h: int, row: int) -> int:
    """Address of an open-file description's row."""
    return get(h, k.OPEN_TABLE) + 8 * k.OPEN_FIELDS * row


@entry
def new_open(h: int) -> int:
    """A free row of the table of open-file descriptions."""
    row = get(h, k.FREE_OPEN)
    if row >= 0:
        put(h, k.FREE_OPEN, get(open_at(h, row), k.O_NEXT))
    else:
        row = count_up(h, k.OPEN_TOP)
    put(open_at(h, row), k.O_REFS, 0)
    return row


@entry
def release(h: int, row: int) -> None:
    """One reference to an open-file description less; without any its row is free, and stays as it is until reused."""
    info = open_at(h, row)
    refs = get(info, k.O_REFS) - 1
    put(info, k.O_REFS, refs)
    if refs == 0:
        put(info, k.O_NEXT, get(h, k.FREE_OPEN))
        put(h, k.FREE_OPEN, row)


@inner
def row_of(h: int, c: int, fd: int) -> int:
    """Row of the open-file description behind a descriptor of this thread; -1 without one, -2 not known here."""
    fds = get(h, k.FD_TABLE) + 8 * k.FD_FIELDS * get(get(c, k.C_THREAD), k.T_FDS)
    if fd >= get(fds, k.FD_ROOM):
        return -1 if fd < k.MAX_FD else -2
    return (get(get(fds, k.FD_ADDRESS), fd) >> 1) - 1


@inner
def look_up(h: int, c: int, field: int) -> int:
    """The same for a descriptor of the call, three words from `field` on, held against the name that the log shows.

    -1: a call on nothing recorded; C_MISSED is set when that is not known.
    """
    fd, name, length = get(c, field), get(c, field + 1), get(c, field + 2)
    if fd == NULL or fd < 0:
        return -1
    row = row_of(h, c, fd)
    if row == -2:
        return -2
    if name == -1:
        if row < 0:
            put(c, k.C_MISSED, 1)
        elif get(c, k.C_RESULT) == -_EBADF and get(open_at(h, row), k.O_SHOWN) >= 0:
            return -2
        return row
    if row >= 0:
        shown = get(open_at(h, row), k.O_SHOWN)
        if shown < 0:
            return -2
        return row if is_name(h, shown, name, length) else -2
    return -2 if is_recorded(h, name, length) else -1


@inner
def bind(h: int, c: int, fd: int, row: int, close_on_exec: int) -> None:
    """Make a descriptor mean an open-file description; -1 for none."""
    fds = get(h, k.FD_TABLE) + 8 * k.FD_FIELDS * get(get(c, k.C_THREAD), k.T_FDS)
    if fd >= get(fds, k.FD_ROOM):
        return
    entries = get(fds, k.FD_ADDRESS)
    before = (get(entries, fd) >> 1) - 1
    if row >= 0:
        info = open_at(h, row)
        put(info, k.O_REFS, get(info, k.O_REFS) + 1)
    put(entries, fd, (row + 1) << 1 | close_on_exec if row >= 0 else 0)
    if before >= 0:
        release(h, before)


@inner
def has_room(h: int, c: int, fd: int) -> bool:
    """Whether a descriptor has its place in the table of this thread's."""
    return fd < get(get(h, k.FD_TABLE) + 8 * k.FD_FIELDS * get(get(c, k.C_THREAD), k.T_FDS), k.FD_ROOM)

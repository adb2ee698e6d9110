"""What a line that is taken leaves behind: the log's clock moves on, a call on a file becomes a row of events."""

from __future__ import annotations

import errno
from typing import Final

from iotrace.compiling import inner
from iotrace.machine import count_up, get, put
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import operations as o
from iotrace.trace.formats.strace.kernels.descriptors import open_at
from iotrace.trace.formats.strace.kernels.names import intern_name, intern_path
from iotrace.trace.kernels import columns
from iotrace.trace.schema import NULL

_EBADF: Final = errno.EBADF


@inner
def accept(h: int, c: int) -> None:
    """The line is one of ours: move the log's clock on."""
    put(h, k.LINES, get(h, k.LINES) + 1)
    put(h, k.UNDERSTOOD, get(h, k.UNDERSTOOD) + 1)
    if get(c, k.C_CLOCK) != k.NO_CLOCK:
        put(h, k.TIMED, 1)
        put(h, k.BEFORE, get(c, k.C_BEFORE))
    at = get(c, k.C_AT)
    if at > get(h, k.LAST_NS) or not get(h, k.TIMED):
        put(h, k.LAST_NS, at)


@inner
def accept_call(h: int, c: int) -> None:
    """The same for a call of the table of operations, with its duration."""
    accept(h, c)
    duration = get(c, k.C_DURATION)
    if duration != NULL:
        put(h, k.MEASURED, 1)
    elif get(c, k.C_RESUMED) != 0 and get(h, k.TIMED):
        duration = get(c, k.C_AT) - get(c, k.C_TIME)
        put(c, k.C_DURATION, duration)
    if duration != NULL and get(c, k.C_TIME) + duration > get(h, k.LAST_NS):
        put(h, k.LAST_NS, get(c, k.C_TIME) + duration)
    if get(c, k.C_FDN) != -1 or get(c, k.C_DIRN) != -1 or get(c, k.C_RNAME) != -1:
        put(h, k.DECORATED, 1)
    if get(c, k.C_MISSED) and get(c, k.C_RESULT) != -_EBADF:
        put(h, k.UNKNOWN_FDS, get(h, k.UNKNOWN_FDS) + 1)


@inner
def accept_named(h: int, c: int) -> None:
    """The same for a call on a name, whose folder the log may not tell."""
    accept_call(h, c)
    if get(c, k.C_ODD):
        put(h, k.UNKNOWN_FOLDERS, get(h, k.UNKNOWN_FOLDERS) + 1)


@inner
def emit(h: int, c: int, path: int, file: int, opened: int, other_file: int, other_open: int) -> None:
    """Write the row of a call; -1 for no number."""
    room = get(h, k.EVENT_TABLE + 1)
    cell = get(h, k.EVENT_TABLE) + 8 * count_up(h, k.ROWS)
    for column in range(k.COLUMNS):
        put(cell, column * room, NULL)
    thread = get(c, k.C_THREAD)
    op = get(c, k.C_OP)
    result = get(c, k.C_RESULT)
    if result > 0 and get(get(h, k.OP_TABLE) + 8 * o.OP_FIELDS * op, o.ARGUMENTS + 1):
        result = 0
    put(cell, columns.TIME * room, get(c, k.C_TIME))
    put(cell, columns.DURATION * room, get(c, k.C_DURATION))
    put(cell, columns.PROCESS * room, get(thread, k.T_PROCESS))
    put(cell, columns.THREAD * room, get(thread, k.T_NUMBER))
    put(cell, columns.OP * room, op)
    put(cell, columns.PATH * room, path if path >= 0 else NULL)
    put(cell, columns.FILE * room, file if file >= 0 else NULL)
    put(cell, columns.OTHER_FILE * room, other_file if other_file >= 0 else NULL)
    put(cell, columns.OPEN * room, opened if opened >= 0 else NULL)
    put(cell, columns.OTHER_OPEN * room, other_open if other_open >= 0 else NULL)
    put(cell, columns.OFFSET * room, get(c, k.C_OFFSET))
    put(cell, columns.SIZE * room, get(c, k.C_SIZE))
    put(cell, columns.COUNT * room, get(c, k.C_COUNT))
    put(cell, columns.OTHER_PATH * room, get(c, k.C_OTHER))
    put(cell, columns.ADDRESS * room, get(c, k.C_ADDRESS))
    put(cell, columns.FLAGS * room, get(c, k.C_FLAGS))
    put(cell, columns.MODE * room, get(c, k.C_MODE))
    put(cell, columns.RESULT * room, result)


@inner
def emit_open(h: int, c: int, row: int) -> None:
    """Write the row of a call on an open file."""
    info = open_at(h, row)
    emit(h, c, get(info, k.O_PATH), get(info, k.O_FILE), get(info, k.O_NUMBER), -1, -1)


@inner
def note_attribute(h: int, c: int) -> None:
    """The name of an attribute."""
    if get(c, k.C_NAME) != -1:
        name = intern_name(h, get(c, k.C_NAME), get(c, k.C_NAME_LENGTH))
        put(c, k.C_OTHER, intern_path(h, name, get(c, k.C_NAME), get(c, k.C_NAME_LENGTH)))

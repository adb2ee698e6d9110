"""The frequent lines of a strace log, from bytes to rows of events: one Numba loop.

It takes whole lines by address and the tables of iotrace.trace.formats.strace.state; it does what StraceLog and the
handlers of iotrace.trace.assembly do for the calls that most logs are made of, and leaves every line of which it is not
certain, untouched, to those. It is strict about form: what strace would not print in just that way is such a line. The
forms are those of strace(1), the calls those of section 2.
"""

from __future__ import annotations

from iotrace.compiling import entry, inner
from iotrace.machine import copy_bytes, get, get_byte, get_half, put, put_half, same_bytes
from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.calls import take_call
from iotrace.trace.formats.strace.kernels.heads import read_head
from iotrace.trace.formats.strace.kernels.results import tail_at
from iotrace.trace.formats.strace.kernels.rows import accept
from iotrace.trace.formats.strace.kernels.texts import begins, is_word, symbol_of


@inner
def _cut_short(begin: int, end: int) -> int:
    """End of a text without the ` <unfinished ...>` behind it."""
    end -= 16
    return end - 1 if end > begin and get_byte(end, -1) == 32 else end


@inner
def _unfinished(h: int, c: int, begin: int, name_end: int, end: int) -> bool:
    """A call that others interrupt: keep it until it is resumed."""
    op = symbol_of(h, begin, name_end - begin, w.SYMBOL_CALL)
    if op == -1:
        return False
    tid = get(c, k.C_TID)
    slot = get_half(get(h, k.PENDING_OF), tid)
    length = end - begin
    # where another one waits already, that one is lost
    if slot != 0 or length > k.PENDING_ROOM or get(h, k.PENDING_FREE) < 0:
        return False
    put(c, k.C_AT, get(c, k.C_TIME))
    accept(h, c)
    slot = get(h, k.PENDING_FREE) + 1
    put(h, k.PENDING_FREE, get(get(h, k.PENDING_TABLE) + 8 * k.PENDING_FIELDS * (slot - 1), k.W_TIME))
    put_half(get(h, k.PENDING_OF), tid, slot)
    row = get(h, k.PENDING_TABLE) + 8 * k.PENDING_FIELDS * (slot - 1)
    put(row, k.W_TIME, get(c, k.C_TIME))
    put(row, k.W_NAME, name_end - begin)
    put(row, k.W_LENGTH, length)
    copy_bytes(get(h, k.PENDING_BYTES) + k.PENDING_ROOM * (slot - 1), begin, length)
    return True


@inner
def _resumed(h: int, c: int, at: int, end: int) -> bool:
    """The rest of an interrupted call."""
    name = at + 5
    at = name
    while at < end and is_word(get_byte(at, 0)):
        at += 1
    length = at - name
    if length == 0 or not begins(h, at, end - at, w.RESUMED, 9):
        return False
    at += 9
    if at < end and get_byte(at, 0) == 32:
        at += 1
    tid = get(c, k.C_TID)
    slot = get_half(get(h, k.PENDING_OF), tid)
    # where it is not kept here, Python may have it
    if slot == 0 or slot == k.IN_PYTHON:
        return False
    row = get(h, k.PENDING_TABLE) + 8 * k.PENDING_FIELDS * (slot - 1)
    begun = get(h, k.PENDING_BYTES) + k.PENDING_ROOM * (slot - 1)
    if get(row, k.W_NAME) != length or not same_bytes(begun, name, length):
        return False
    if at >= end:
        return False
    close = tail_at(at, end)
    if close < 0:
        return False
    # both halves in one place
    text = get(h, k.SCRATCH) + k.LINE_ROOM
    first = _cut_short(begun + length + 1, begun + get(row, k.W_LENGTH)) - (begun + length + 1)
    if first < 0:
        return False
    copy_bytes(text, begun + length + 1, first)
    copy_bytes(text + first, at, end - at)
    joined = text + first + (close - at)
    if joined - text > 4 and begins(h, joined - 4, 4, w.UNFINISHED + 12, 4):
        return False
    arrived = get(c, k.C_TIME)
    put(c, k.C_TIME, get(row, k.W_TIME))
    put(c, k.C_RESUMED, 1)
    if not take_call(h, c, name, length, text, joined, text + first + (end - at), arrived):
        return False
    put(row, k.W_TIME, get(h, k.PENDING_FREE))
    put(h, k.PENDING_FREE, slot - 1)
    put_half(get(h, k.PENDING_OF), tid, 0)
    return True


@inner
def _line(h: int, c: int, begin: int, end: int, pid: int) -> bool:
    """One line without its end; False when it is left to Python, with nothing changed."""
    if end > begin and get_byte(end, -1) == 13:
        end -= 1
    if end - begin > k.LINE_ROOM - k.PENDING_ROOM or end == begin or get_byte(end, -1) == 13:
        return False
    put(c, k.C_RESUMED, 0)
    at = read_head(h, c, begin, end, pid)
    if at < 0 or at >= end:
        return False
    byte = get_byte(at, 0)
    if byte == 60:
        return begins(h, at, end - at, w.DOTS, 5) and _resumed(h, c, at, end)
    if byte == 45:
        if not begins(h, at, end - at, w.DASHES, 4) or end - at < 8 or not begins(h, end - 4, 4, w.DASHES_END, 4):
            return False
        put(c, k.C_AT, get(c, k.C_TIME))
        accept(h, c)
        return True
    name = at
    while at < end and is_word(get_byte(at, 0)):
        at += 1
    if at == name or at >= end or get_byte(at, 0) != 40:
        return False
    if end - at > 17 and get_byte(end, -1) == 62 and begins(h, end - 16, 16, w.UNFINISHED, 16):
        # a string that ends so would be a whole call
        return tail_at(at + 1, end) < 0 and _unfinished(h, c, name, at, end)
    close = tail_at(at + 1, end)
    return close >= 0 and take_call(h, c, name, at - name, at + 1, close, end, get(c, k.C_TIME))


@inner
def _has_spare(h: int, line: int) -> bool:
    """Whether each table has room for what one line can need."""
    return (
        get(h, k.NAMES) + k.SPARE < get(h, k.NAME_TABLE + 1)
        and get(h, k.BLOB) + 2 * k.NAME_ROOM + 4 * line < get(h, k.BLOB_BYTES + 1)
        and get(h, k.PATHS) + k.SPARE < get(h, k.PATH_TABLE + 1)
        and get(h, k.FILES) + k.SPARE < get(h, k.FILE_TABLE + 1)
        and get(h, k.OPEN_TOP) + k.SPARE < get(h, k.OPEN_TABLE + 1)
        and 2 * (get(h, k.NAMES) + k.SPARE) < get(h, k.NAME_SLOTS + 1)
        and 2 * (get(h, k.PATHS) + k.SPARE) < get(h, k.PATH_SLOTS + 1)
        and 2 * (get(h, k.INODES) + k.SPARE) < get(h, k.INODE_SLOTS + 1)
        and get(h, k.ROWS) + k.SPARE < get(h, k.EVENT_TABLE + 1)
    )


@entry
def feed(h: int, begin: int, end: int, pid: int) -> int:
    """Take the lines from `begin` to `end`, each with its line feed, until one is Python's.

    Returns DONE; TO_PYTHON with the line from AT to LINE_END, which is to be taken before the next; TO_FLUSH when the
    rows are to be written; TO_GROW when a table is full. Go on from LINE_END + 1, or from AT after the last two.
    """
    c = get(h, k.CALL)
    while begin < end:
        stop = begin
        while stop < end and get_byte(stop, 0) != 10:
            stop += 1
        put(h, k.AT, begin)
        put(h, k.LINE_END, stop)
        if get(h, k.ROWS) >= k.BATCH_ROWS:
            return k.TO_FLUSH
        if not _has_spare(h, min(stop - begin, k.LINE_ROOM)):
            return k.TO_GROW
        if not _line(h, c, begin, stop, pid):
            put(h, k.AT, begin)
            put(h, k.LINE_END, stop)
            return k.TO_PYTHON
        begin = stop + 1
    return k.DONE


@entry
def feed_runs(h: int, runs: int, first: int, count: int) -> int:
    """Take runs of (begin, end, pid) as feed() does; HEAP says at which run it stopped, whose begin is to be moved."""
    for number in range(first, count):
        run = runs + 8 * k.RUN_FIELDS * number
        if get(run, 0) < get(run, 1):
            what = feed(h, get(run, 0), get(run, 1), get(run, 2))
            if what != k.DONE:
                put(h, k.HEAP, number)
                return what
    return k.DONE

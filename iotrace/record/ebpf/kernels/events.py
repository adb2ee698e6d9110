"""Calls: a row each."""

from __future__ import annotations

from typing import Final

from iotrace.compiling import inner
from iotrace.hashing import find_key
from iotrace.machine import get, put
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels import operations as o
from iotrace.record.ebpf.kernels import records as w
from iotrace.record.ebpf.kernels.files import file_at, file_info, stat_file
from iotrace.record.ebpf.kernels.names import first_name, second_name
from iotrace.record.ebpf.kernels.opens import new_open, open_at, open_number, path_of
from iotrace.record.ebpf.kernels.rows import begin_row, put_number
from iotrace.record.ebpf.kernels.seen import note_stat
from iotrace.record.ebpf.kernels.tasks import child_key, name_child, new_note, thread_info, thread_of
from iotrace.trace.kernels import columns
from iotrace.trace.schema import NULL

_CREAT_FLAGS: Final = 0o1101


@inner
def on_event(h: int, r: int, long: bool) -> None:
    """One row for a call."""
    lengths = get(r, w.KIND)
    op = (lengths >> 16) & 0xFFFF
    bits = o.OP_BITS[op]
    time = get(r, w.START) - get(h, d.BASE_NS)
    thread = thread_of(h, get(r, w.IDS), time)
    info = thread_info(h, thread)
    put(info, d.T_FAULT_ROW, -1)  # whatever fault was under way is over
    result = get(r, w.RESULT)
    file = stat_file(h, r) if long else file_at(h, r, w.FILE)
    # rows of open descriptions, and numbers of the others
    path, other_path, open_, other_open, other_file = -1, -1, -1, -1, -1
    if long:
        length1, length2 = (lengths >> 32) & 0xFFFF, (lengths >> 48) & 0xFFFF
        base = file_at(h, r, w.BASE)
        if length1 > 1:
            path = first_name(h, r, base, file, file != -1)
            if path == NULL:
                return
        if length2 > 0:
            other_path = second_name(h, r)
        if bits & o.OPENS_FILE:
            other_open = open_at(h, r, w.BASE, base)
            if result == 0 and file != -1:
                table = get(h, d.OPEN_SLOTS)
                address = get(r, w.FILE) | w.KERNEL_BITS
                open_ = new_open(h, table, find_key(table, get(h, d.OPEN_SLOTS + 1), address), address, path, file)
                put(file_info(h, file), d.F_LAST_PATH, path)
        elif length1 > 0:
            if get(r, w.FILE) != 0:
                open_ = open_at(h, r, w.FILE, file)
                path = path_of(h, open_)
            else:
                open_ = open_at(h, r, w.BASE, base)
            other_open = open_at(h, r, w.BASE2, file_at(h, r, w.BASE2))
            if file != -1:
                note_stat(h, r, file, path, time)
        else:
            other_file = file_at(h, r, w.OTHER)
            other_open = open_at(h, r, w.OTHER, other_file)
            open_ = open_at(h, r, w.FILE, file)
            path = path_of(h, open_)
            if bits & o.COPIES:
                other_path = path_of(h, other_open)
        if bits & o.MAKES_NAME and result == 0:
            note = new_note(h, d.NOTE_NAME_MADE, time, thread, get(info, d.T_PROCESS))
            is_symlink = op in (o.SYMLINK, o.SYMLINKAT)
            put(note, d.NOTE_VALUE, path if other_path == -1 or is_symlink else other_path)
    elif file != -1:
        open_ = open_at(h, r, w.FILE, file)
        path = path_of(h, open_) if open_ != -1 else get(file_info(h, file), d.F_LAST_PATH)
        if op == o.MMAP:
            put(file_info(h, file), d.F_KEPT, 8)
    row_at = begin_row(h, r, thread, op, time)
    capacity = get(h, d.EVENT_ROWS + 1)
    put(row_at, columns.DURATION * capacity, get(r, w.DURATION))
    put_number(row_at, columns.FILE * capacity, file)
    put_number(row_at, columns.OTHER_FILE * capacity, other_file)
    put_number(row_at, columns.OPEN * capacity, open_number(h, open_))
    put_number(row_at, columns.OTHER_OPEN * capacity, open_number(h, other_open))
    if bits & o.TAKES_OFFSET and (not bits & o.COPIES or file != -1):
        put(row_at, columns.OFFSET * capacity, get(r, w.OFFSET))
    if bits & o.COPIES and other_file != -1:
        put(row_at, columns.OTHER_OFFSET * capacity, get(r, w.OTHER_OFFSET))
    if bits & o.TAKES_SIZE:
        put(row_at, columns.SIZE * capacity, get(r, w.SIZE))
    if bits & o.TAKES_COUNT:
        put(row_at, columns.COUNT * capacity, (get(r, w.MODE) >> 32) & 0xFFFFFFFF)
    if bits & o.TAKES_ADDRESS:
        put(row_at, columns.ADDRESS * capacity, get(r, w.ADDRESS))
    if bits & o.TAKES_FLAGS:
        put(row_at, columns.FLAGS * capacity, get(r, w.FLAGS))
    if bits & o.TAKES_MODE:
        put(row_at, columns.MODE * capacity, get(r, w.MODE) & 0xFFFFFFFF)
    if op == o.CREAT:
        put(row_at, columns.FLAGS * capacity, _CREAT_FLAGS)
    elif op == o.FORK:
        child = get(info, d.T_CHILD)
        if result > 0 and child != -1:
            put(row_at, columns.CHILD * capacity, get(thread_info(h, child), d.T_NUMBER))
            put(row_at, columns.FLAGS * capacity, get(thread_info(h, child), d.T_CLONE))
            if result != get(thread_info(h, child), d.T_TID):
                name_child(h, get(info, d.T_PROCESS), result, get(thread_info(h, child), d.T_PROCESS))
    elif op == o.WAIT:
        if result > 0:
            table = get(h, d.PROCESS_SLOTS)
            slots = get(h, d.PROCESS_SLOTS + 1)
            process = get(table, 2 * find_key(table, slots, child_key(get(info, d.T_PROCESS), result)) + d.PROCESS)
            if process == -1:
                process = get(table, 2 * find_key(table, slots, result) + d.PROCESS)
            put_number(row_at, columns.CHILD * capacity, process)
    elif op == o.EXEC:
        if result == 0:
            path = get(info, d.T_EXEC_PATH)
    elif op == o.EXIT:
        note = new_note(h, d.NOTE_EXIT, time, get(info, d.T_NUMBER), get(info, d.T_PROCESS))
        put(note, d.NOTE_VALUE, result)
        put(info, d.T_ENDED, 1)
    put_number(row_at, columns.PATH * capacity, path)
    put_number(row_at, columns.OTHER_PATH * capacity, other_path)
    if op == o.MMAP and -4096 < result < 0:
        put(row_at, columns.ADDRESS * capacity, NULL)
        put(row_at, columns.RESULT * capacity, result)
    elif op == o.MMAP or (result > 0 and bits & o.RETURNS_DESCRIPTOR):
        put(row_at, columns.RESULT * capacity, 0)
    else:
        put(row_at, columns.RESULT * capacity, result)


@inner
def on_brief(h: int, r: int) -> None:
    """A struct brief, written out as the record that it stands for."""
    b = get(h, d.BRIEF)
    what = (get(r, 2) >> 48) & 0xFFFF
    times = get(r, 1)
    last = get(r, 6)
    size = (last >> 32) & 0xFFFFFFFF
    tid = last & 0xFFFFFFFF
    which = what & 3
    put(b, w.START, get(r, 0))
    put(b, w.DURATION, times & 0xFFFFFFFF)
    put(b, w.CPU, (times >> 32) & 0xFFFFFFFF)
    put(b, w.IDS, tid | tid << 32)
    put(b, w.KIND, w.K_EVENT | what >> 2 << 16)
    put(b, w.FILE, get(r, 2) | w.KERNEL_BITS)
    put(b, w.INODE, get(r, 3))
    put(b, w.DEVICE, get(r, 4))
    put(b, w.OFFSET, get(r, 5))
    put(b, w.SIZE, size)
    put(b, w.RESULT, 0 if which == 0 else (size if which == 1 else get(r, 5)))
    on_event(h, b, False)


@inner
def on_brief_stat(h: int, r: int) -> None:
    """A struct brief_stat, written out as the record that it stands for."""
    b = get(h, d.BRIEF) + 8 * w.HEADER_WORDS
    times, what, ids, more = get(r, 1), get(r, 4), get(r, 7), get(r, 9)
    tid, length, mode = (ids >> 32) & 0xFFFFFFFF, (more >> 32) & 0xFFFF, (what >> 48) & 0xFFFF
    for word in range(w.TEXT):
        put(b, word, 0)
    put(b, w.START, get(r, 0))
    put(b, w.DURATION, times & 0xFFFFFFFF)
    put(b, w.CPU, (times >> 32) & 0xFFFFFFFF)
    put(b, w.IDS, tid | tid << 32)
    put(b, w.KIND, w.K_LONG_EVENT | (what & 0xFFFF0000) | length << 32)
    put(b, w.INODE, get(r, 6))
    put(b, w.DEVICE, ids & 0xFFFFFFFF)
    put(b, w.FLAGS, (what >> 32) & 0xFFFF)
    put(b, w.MODE, (more >> 48) & 0xFFFF)
    put(b, w.BASE, get(r, 2))
    put(b, w.BASE + 1, get(r, 3))
    put(b, w.BASE + 2, get(r, 5))
    put(b, w.ST_MODE, mode)
    if mode:
        put(b, w.ST_SIZE, get(r, 8))
        put(b, w.ST_BLOCKS, more & 0xFFFFFFFF)
    else:
        put(b, w.RESULT, get(r, 8))
    for word in range((length + 7) >> 3):
        put(b, w.TEXT + word, get(r, w.BRIEF_STAT_WORDS + word))
    on_event(h, b, True)

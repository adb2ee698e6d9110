"""Threads and processes: their beginnings, their programs, and notes of those to the Python side."""

from __future__ import annotations

from iotrace.compiling import entry, inner
from iotrace.hashing import find_key
from iotrace.machine import count_up, get, get_byte, put
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels import records as w
from iotrace.record.ebpf.kernels.files import file_at
from iotrace.record.ebpf.kernels.names import copy_text, folder_of, intern


@inner
def new_note(h: int, kind: int, time: int, thread: int, process: int) -> int:
    """Address of a new note."""
    note = get(h, d.NOTE_ROWS) + 8 * d.NOTE_FIELDS * count_up(h, d.NOTES)
    for field in range(d.NOTE_FIELDS):
        put(note, field, -1)
    put(note, d.NOTE_KIND, kind)
    put(note, d.NOTE_TIME, time)
    put(note, d.NOTE_THREAD, thread)
    put(note, d.NOTE_PROCESS, process)
    return note


@inner
def thread_info(h: int, row: int) -> int:
    """Address of a thread's row."""
    return get(h, d.THREAD_INFO) + 8 * d.THREAD_FIELDS * row


@entry
def add_thread(h: int, tid: int, tgid: int, time: int, fresh_process: bool) -> int:
    """Row of a new thread with kernel number `tid`; a new process with it when `fresh_process` or when `tgid` is not
    known."""
    table, slots = get(h, d.PROCESS_SLOTS), get(h, d.PROCESS_SLOTS + 1)
    slot = find_key(table, slots, tgid)
    thread = count_up(h, d.THREADS)
    if fresh_process or get(table, 2 * slot + d.PROCESS) == -1:
        process = count_up(h, d.PROCESSES)
        if get(table, 2 * slot + d.PROCESS) == -1:
            put(h, d.PROCESS_ROWS, get(h, d.PROCESS_ROWS) + 1)
        put(table, 2 * slot + d.TGID, tgid)
        put(table, 2 * slot + d.PROCESS, process)
        note = new_note(h, d.NOTE_PROCESS_NEW, time, thread, process)
        put(note, d.NOTE_VALUE, tgid)
    process = get(table, 2 * slot + d.PROCESS)
    table, slots = get(h, d.THREAD_SLOTS), get(h, d.THREAD_SLOTS + 1)
    slot = find_key(table, slots, tid)
    row = get(table, 2 * slot + d.THREAD)
    if row == -1:
        row = count_up(h, d.THREAD_ROWS)
        put(table, 2 * slot + d.TID, tid)
        put(table, 2 * slot + d.THREAD, row)
    info = thread_info(h, row)
    for field in range(d.THREAD_FIELDS):
        put(info, field, -1)
    put(info, d.T_PROCESS, process)
    put(info, d.T_TID, tid)
    put(info, d.T_TGID, tgid)
    put(info, d.T_NUMBER, thread)
    put(info, d.T_ENDED, 0)
    return row


@inner
def thread_of(h: int, ids: int, time: int) -> int:
    """Row of the thread of a record's word of ids; one that nobody saw begin gets a row too."""
    tid = ids & 0xFFFFFFFF
    table = get(h, d.THREAD_SLOTS)
    row = get(table, 2 * find_key(table, get(h, d.THREAD_SLOTS + 1), tid) + d.THREAD)
    if row == -1:
        row = add_thread(h, tid, (ids >> 32) & 0xFFFFFFFF, time, False)
    return row


@inner
def child_key(process: int, pid: int) -> int:
    """Key of a child by the number that its parent's process knows it by."""
    return (process + 1) << 32 | pid


@inner
def name_child(h: int, process: int, pid: int, child: int) -> None:
    """Note the number that a process knows its child by, where that is not the kernel's own (a pid namespace)."""
    table = get(h, d.PROCESS_SLOTS)
    slot = find_key(table, get(h, d.PROCESS_SLOTS + 1), child_key(process, pid))
    if get(table, 2 * slot + d.PROCESS) == -1:
        put(h, d.PROCESS_ROWS, get(h, d.PROCESS_ROWS) + 1)
    put(table, 2 * slot + d.TGID, child_key(process, pid))
    put(table, 2 * slot + d.PROCESS, child)


@inner
def on_task(h: int, r: int) -> None:
    """A thread that begins, or one that is followed from now on."""
    ids = get(r, w.IDS)
    time = get(r, w.START) - get(h, d.BASE_NS)
    tid, tgid = ids & 0xFFFFFFFF, (ids >> 32) & 0xFFFFFFFF
    adopted = get(r, w.RESULT)
    parent = -1
    if not adopted:
        parent = thread_of(h, get(r, w.OFFSET) | (get(r, w.SIZE) << 32), time)
    else:
        table = get(h, d.THREAD_SLOTS)
        parent = get(table, 2 * find_key(table, get(h, d.THREAD_SLOTS + 1), get(r, w.OFFSET)) + d.THREAD)
        if parent != -1 and get(thread_info(h, parent), d.T_ENDED):
            parent = -1
        if adopted & 2:
            put(h, d.LOOK, 1)
    notes = get(h, d.NOTES)
    row = add_thread(h, tid, tgid, time, tid == tgid)
    put(thread_info(h, row), d.T_CLONE, get(r, w.FLAGS))
    if not adopted:
        put(thread_info(h, parent), d.T_CHILD, row)
    if get(h, d.NOTES) > notes:
        note = get(h, d.NOTE_ROWS) + 8 * d.NOTE_FIELDS * notes
        if parent != -1:
            put(note, d.NOTE_PARENT, get(thread_info(h, parent), d.T_PROCESS))
        put(note, d.NOTE_UMASK, get(r, w.MODE) & 0xFFFFFFFF)
        put(note, d.NOTE_TALLY, (get(r, w.MODE) >> 32) & 0xFFFFFFFF)
        put(note, d.NOTE_BASE, folder_of(h, file_at(h, r, w.BASE)))
        if adopted:
            info = thread_info(h, row)
            new_note(h, d.NOTE_ADOPTED, time, get(info, d.T_NUMBER), get(info, d.T_PROCESS))


@inner
def on_exec(h: int, r: int) -> None:
    """A program that is executed: its name and arguments."""
    time = get(r, w.START) - get(h, d.BASE_NS)
    thread = thread_of(h, get(r, w.IDS), time)
    info = thread_info(h, thread)
    lengths = get(r, w.KIND)
    length1, length2 = (lengths >> 32) & 0xFFFF, (lengths >> 48) & 0xFFFF
    text = r + 8 * w.TEXT
    base = folder_of(h, file_at(h, r, w.BASE))
    note = new_note(h, d.NOTE_EXEC, time, get(info, d.T_NUMBER), get(info, d.T_PROCESS))
    if length1 > 1:
        copy_text(h, text, length1 - 1)
        put(info, d.T_EXEC_PATH, intern(h, -1 if get_byte(text, 0) == 47 else base, length1 - 1))
    put(note, d.NOTE_UMASK, get(r, w.MODE) & 0xFFFFFFFF)
    put(note, d.NOTE_BASE, base)
    put(note, d.NOTE_VALUE, get(info, d.T_EXEC_PATH))
    copy_text(h, text + length1, length2)
    put(note, d.NOTE_TEXT, get(h, d.BLOB))
    put(note, d.NOTE_LENGTH, length2)
    put(h, d.BLOB, get(h, d.BLOB) + length2)

"""From the BPF ring to columns: one Numba loop that reads records and turns addresses and identities into numbers.

It takes the ring's memory and a State (state.py); it fills rows of the event table and notes new paths, files and
processes for the Python side, which sees each of them once.
"""

from __future__ import annotations

from typing import Final

from iotrace.compiling import entry, inner
from iotrace.machine import get, load, load32, put, store_release
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels import records as w
from iotrace.record.ebpf.kernels.events import on_brief, on_brief_stat, on_event
from iotrace.record.ebpf.kernels.faults import on_fault
from iotrace.record.ebpf.kernels.requests import on_complete, on_submit
from iotrace.record.ebpf.kernels.seen import on_file_seen, on_open_found
from iotrace.record.ebpf.kernels.tasks import on_exec, on_task

_TEXT_LIMIT: Final = 4 * 4096


@inner
def _needs_room(h: int) -> bool:
    """Whether a table could overflow within the next record."""
    return (
        get(h, d.ROWS) + 3 > get(h, d.EVENT_ROWS + 1)
        or get(h, d.PATHS) + 4 > get(h, d.PATH_INFO + 1)
        or get(h, d.FILES) + 8 > get(h, d.FILE_INFO + 1)
        or get(h, d.OPEN_ROWS) + 8 > get(h, d.OPEN_INFO + 1)
        or get(h, d.THREAD_ROWS) + 4 > get(h, d.THREAD_INFO + 1)
        or get(h, d.PENDING) + 4 > get(h, d.PENDING_INFO + 1)
        or 2 * get(h, d.PROCESS_ROWS) + 8 > get(h, d.PROCESS_SLOTS + 1)
        or 2 * get(h, d.RINGS) + 8 > get(h, d.RING_SLOTS + 1)
        or get(h, d.NOTES) + 4 > get(h, d.NOTE_ROWS + 1)
        or get(h, d.BLOB) + _TEXT_LIMIT > get(h, d.BLOB_BYTES + 1)
    )


@entry
def load_position(address: int) -> int:
    """A position of the ring."""
    position: int = load(address)
    return position


@entry
def drain(h: int, ring: int, consumer: int, producer: int, size: int) -> int:
    """Move what the ring holds into the event rows and the tables.

    Parameters
    ----------
    h: address of the State's header.
    ring: address of the ring's data, mapped twice in a row; size: its bytes, a power of two.
    consumer, producer: addresses of the positions.

    Returns
    -------
    Records read; the header's NEED is 1 when it stopped because a table is full.
    """
    position = load(consumer)
    end = load(producer)
    read = 0
    put(h, d.NEED, 0)
    while position < end:
        if _needs_room(h):
            put(h, d.NEED, 1)
            break
        at = ring + (position & (size - 1))
        head = load32(at)
        if head & 0x80000000:
            break  # still being written
        length = head & 0x3FFFFFFF
        if not head & 0x40000000:
            r = at + 8
            kind = get(r, w.KIND) & 0xFFFF
            if length == w.BRIEF_BYTES:
                on_brief(h, r)
            elif kind == w.K_EVENT:
                on_event(h, r, False)
            elif kind == w.K_LONG_EVENT:
                on_event(h, r, True)
            elif kind == w.K_BRIEF_STAT:
                on_brief_stat(h, r)
            elif kind == w.K_FILE_SEEN:
                on_file_seen(h, r)
            elif kind == w.K_TASK:
                on_task(h, r)
            elif kind == w.K_EXEC:
                on_exec(h, r)
            elif kind == w.K_SUBMIT:
                on_submit(h, r)
            elif kind == w.K_COMPLETE:
                on_complete(h, r)
            elif kind == w.K_OPEN_FOUND:
                on_open_found(h, r)
            else:
                on_fault(h, r, kind)
            read += 1
        position += (length + 15) & ~7
        store_release(consumer, position)
    return read

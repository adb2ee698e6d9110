"""Page faults on mapped files."""

from __future__ import annotations

from typing import Final

from iotrace.compiling import inner
from iotrace.machine import get, put
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels import operations as o
from iotrace.record.ebpf.kernels import records as w
from iotrace.record.ebpf.kernels.files import file_at, file_info
from iotrace.record.ebpf.kernels.rows import begin_row
from iotrace.record.ebpf.kernels.tasks import thread_info, thread_of
from iotrace.trace.kernels import columns

_PAGE: Final = 4096


@inner
def on_fault(h: int, r: int, kind: int) -> None:
    """One row for a fault: the kernel's attempt to map what is cached and the read that follows are merged."""
    time = get(r, w.START) - get(h, d.BASE_NS)
    thread = thread_of(h, get(r, w.IDS), time)
    info = thread_info(h, thread)
    capacity = get(h, d.EVENT_ROWS + 1)
    row = get(info, d.T_FAULT_ROW)
    first_column = get(h, d.EVENT_ROWS) + 8 * row
    if kind == w.K_FAULT_END:
        if row != -1 and get(info, d.T_FAULT_READ) == 1:
            put(first_column, columns.DURATION * capacity, time - get(first_column, columns.TIME * capacity))
            if (get(r, w.MODE) >> 32) & 1:
                put(first_column, columns.FLAGS * capacity, d.FAULT_SINGLE | d.FAULT_MAJOR)
        return
    file = file_at(h, r, w.FILE)
    first, last = get(r, w.OFFSET), get(r, w.SIZE)
    if kind == w.K_FAULT_AT:
        last = first
    elif row != -1 and get(info, d.T_FAULT_FILE) == file:
        was_first, was_last, was_read = get(info, d.T_FAULT_FIRST), get(info, d.T_FAULT_LAST), get(info, d.T_FAULT_READ)
        if kind == w.K_FAULT and was_read == 0 and was_first <= first <= was_last:
            put(first_column, columns.OFFSET * capacity, first * _PAGE)
            put(first_column, columns.SIZE * capacity, _PAGE)
            put(first_column, columns.FLAGS * capacity, d.FAULT_SINGLE)
            put(info, d.T_FAULT_FIRST, first)
            put(info, d.T_FAULT_LAST, first)
            put(info, d.T_FAULT_READ, 1)
            return
        if was_read == 1 and first <= was_first <= last:
            return  # the kernel tries the same fault again after its read
    put(info, d.T_FAULT_ROW, get(h, d.ROWS))
    row_at = begin_row(h, r, thread, o.FAULT, time)
    put(row_at, columns.FILE * capacity, file)
    path = get(file_info(h, file), d.F_LAST_PATH)
    if path != -1:
        put(row_at, columns.PATH * capacity, path)
    put(row_at, columns.OFFSET * capacity, first * _PAGE)
    put(row_at, columns.SIZE * capacity, (last - first + 1) * _PAGE)
    put(row_at, columns.FLAGS * capacity, d.FAULT_SINGLE if kind == w.K_FAULT else 0)
    put(row_at, columns.RESULT * capacity, 0)
    if kind == w.K_FAULT_AT:
        put(row_at, columns.ADDRESS * capacity, get(r, w.ADDRESS))
        put(row_at, columns.FLAGS * capacity, d.FAULT_SINGLE | (d.FAULT_MAJOR if (get(r, w.MODE) >> 32) & 1 else 0))
    put(info, d.T_FAULT_FILE, file)
    put(info, d.T_FAULT_FIRST, first)
    put(info, d.T_FAULT_LAST, last)
    put(info, d.T_FAULT_READ, 1 if kind == w.K_FAULT else 0)

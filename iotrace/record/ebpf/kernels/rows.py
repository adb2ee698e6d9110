"""Rows of the event table: one int64 column each, NULL where there is no value."""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.machine import count_up, get, put
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels import records as w
from iotrace.record.ebpf.kernels.tasks import thread_info
from iotrace.trace.kernels import columns


@inner
def begin_row(h: int, r: int, thread: int, op: int, time: int) -> int:
    """Address of a new row's first column; the columns lie `capacity` words apart."""
    row = count_up(h, d.ROWS)
    capacity = get(h, d.EVENT_ROWS + 1)
    first = get(h, d.EVENT_ROWS) + 8 * row
    put(first, columns.TIME * capacity, time)
    put(first, columns.OFF_CPU * capacity, get(r, w.CPU))
    put(first, columns.PROCESS * capacity, get(thread_info(h, thread), d.T_PROCESS))
    put(first, columns.THREAD * capacity, get(thread_info(h, thread), d.T_NUMBER))
    put(first, columns.OP * capacity, op)
    return first


@inner
def put_number(row_at: int, place: int, number: int) -> None:
    """Write a number into a row; -1 for none."""
    if number != -1:
        put(row_at, place, number)

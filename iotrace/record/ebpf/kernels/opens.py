"""Open-file descriptions: a number for each, found by the address that it has in the kernel."""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.hashing import find_key
from iotrace.machine import count_up, get, put
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels import records as w
from iotrace.record.ebpf.kernels.files import file_info


@inner
def open_info(h: int, row: int) -> int:
    """Address of an open-file description's row."""
    return get(h, d.OPEN_INFO) + 8 * d.OPEN_FIELDS * row


@inner
def new_open(h: int, table: int, slot: int, address: int, path: int, file: int) -> int:
    """Row of a new open-file description at this address, in the place of what was there before."""
    row = get(table, 2 * slot + d.OPEN)
    if row == -1:
        row = count_up(h, d.OPEN_ROWS)
        put(table, 2 * slot + d.ADDRESS, address)
        put(table, 2 * slot + d.OPEN, row)
    info = open_info(h, row)
    put(info, d.O_NUMBER, count_up(h, d.OPENS))
    put(info, d.O_PATH, path)
    put(info, d.O_FILE, file)
    put(info, d.O_USED, 1)
    return row


@inner
def open_at(h: int, r: int, at: int, file: int) -> int:
    """Row of the open-file description of the struct identity at a word; one that nobody saw opened gets one too."""
    address = get(r, at)
    if address == 0:
        return -1
    address |= w.KERNEL_BITS
    table = get(h, d.OPEN_SLOTS)
    slot = find_key(table, get(h, d.OPEN_SLOTS + 1), address)
    row = get(table, 2 * slot + d.OPEN)
    if row != -1:
        info = open_info(h, row)
        if file == -1 or get(info, d.O_FILE) == file:
            put(info, d.O_USED, 1)
            if file != -1 and get(info, d.O_PATH) == -1:
                # a call of a process that was just being adopted came before its open files were told
                put(info, d.O_PATH, get(file_info(h, file), d.F_LAST_PATH))
            return row
    path = get(file_info(h, file), d.F_LAST_PATH) if file != -1 else -1
    return new_open(h, table, slot, address, path, file)


@inner
def open_number(h: int, row: int) -> int:
    """Number of an open-file description; -1 for none."""
    return get(open_info(h, row), d.O_NUMBER) if row != -1 else -1


@inner
def path_of(h: int, row: int) -> int:
    """Path by which a description was opened; -1 for none."""
    return get(open_info(h, row), d.O_PATH) if row != -1 else -1

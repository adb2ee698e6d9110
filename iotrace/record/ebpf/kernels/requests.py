"""Operations handed to io_uring or libaio: they wait for their completion, and become rows then."""

from __future__ import annotations

from iotrace.compiling import entry, inner
from iotrace.hashing import find_key
from iotrace.machine import count_up, get, put
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.kernels import operations as o
from iotrace.record.ebpf.kernels import records as w
from iotrace.record.ebpf.kernels.files import file_at, file_info
from iotrace.record.ebpf.kernels.names import first_name, second_name
from iotrace.record.ebpf.kernels.opens import new_open, open_at, open_number, path_of
from iotrace.record.ebpf.kernels.rows import put_number
from iotrace.record.ebpf.kernels.tasks import thread_info, thread_of
from iotrace.trace.kernels import columns
from iotrace.trace.schema import NULL


@inner
def _pending_info(h: int, row: int) -> int:
    return get(h, d.PENDING_INFO) + 8 * d.PENDING_FIELDS * row


@inner
def on_submit(h: int, r: int) -> None:
    """An operation handed to io_uring or libaio: what is known of it waits for its completion."""
    time = get(r, w.START) - get(h, d.BASE_NS)
    thread = thread_info(h, thread_of(h, get(r, w.IDS), time))
    key = get(r, w.ADDRESS)
    table = get(h, d.PENDING_SLOTS)
    slot = find_key(table, get(h, d.PENDING_SLOTS + 1), key)
    row = get(table, 2 * slot + 1)
    if row == -1:
        row = count_up(h, d.PENDING)
        put(table, 2 * slot, key)
        put(table, 2 * slot + 1, row)
    info = _pending_info(h, row)
    if get(info, d.S_WAITS) == 1:
        _write_completed(h, info, NULL, NULL)  # its memory is used again: nobody saw it end
    lengths = get(r, w.KIND)
    op = (lengths >> 16) & 0xFFFF
    file, base = file_at(h, r, w.FILE), file_at(h, r, w.BASE)
    path, other_path = -1, -1
    if (lengths >> 32) & 0xFFFF > 1:
        path = first_name(h, r, base, -1, op == o.URING_OPEN and get(r, w.MODE) >> 32 == 0)
        if path == NULL:
            put(info, d.S_WAITS, 0)
            return
    if (lengths >> 48) & 0xFFFF > 0:
        other_path = second_name(h, r)
    ring_key = get(r, w.OTHER_OFFSET)
    if o.FIRST_AIO <= op <= o.LAST_AIO:
        ring_key ^= (get(thread, d.T_PROCESS) + 1) << 48  # a libaio context has its name within a process
    table = get(h, d.RING_SLOTS)
    slot = find_key(table, get(h, d.RING_SLOTS + 1), ring_key)
    ring = get(table, 2 * slot + 1)
    if ring == -1:
        ring = count_up(h, d.RINGS)
        put(table, 2 * slot, ring_key)
        put(table, 2 * slot + 1, ring)
    put(info, d.S_TIME, time)
    put(info, d.S_CPU, get(r, w.CPU))
    put(info, d.S_PROCESS, get(thread, d.T_PROCESS))
    put(info, d.S_THREAD, get(thread, d.T_NUMBER))
    put(info, d.S_OP, op)
    put(info, d.S_PATH, path)
    put(info, d.S_OTHER_PATH, other_path)
    put(info, d.S_FILE, file)
    put(info, d.S_OPEN, open_at(h, r, w.FILE, file))
    put(info, d.S_OTHER_OPEN, open_number(h, open_at(h, r, w.BASE, base)))
    put(info, d.S_OFFSET, get(r, w.OFFSET))
    put(info, d.S_OTHER_OFFSET, get(r, w.ST_SIZE) if op == o.URING_SPLICE else NULL)
    put(info, d.S_SIZE, get(r, w.SIZE))
    # of an open: the place in the ring's own table
    put(info, d.S_COUNT, (get(r, w.MODE) >> 32) & 0xFFFFFFFF)
    put(info, d.S_FLAGS, get(r, w.FLAGS))
    put(info, d.S_MODE, get(r, w.MODE) & 0xFFFFFFFF)
    put(info, d.S_RING, ring)
    batch = (get(r, w.ST_MODE) >> 32) & 0xFFFFFFFF
    put(info, d.S_BATCH, batch if batch else NULL)
    put(info, d.S_WAITS, 1)


@inner
def _write_completed(h: int, info: int, time: int, result: int) -> None:
    """The row of an operation of io_uring or libaio; `time` and `result` are NULL where its end was not seen."""
    op = get(info, d.S_OP)
    bits = o.OP_BITS[op]
    capacity = get(h, d.EVENT_ROWS + 1)
    row_at = get(h, d.EVENT_ROWS) + 8 * count_up(h, d.ROWS)
    put(row_at, columns.TIME * capacity, get(info, d.S_TIME))
    put(row_at, columns.DURATION * capacity, time - get(info, d.S_TIME) if time != NULL else NULL)
    put(row_at, columns.OFF_CPU * capacity, get(info, d.S_CPU))
    put(row_at, columns.PROCESS * capacity, get(info, d.S_PROCESS))
    put(row_at, columns.THREAD * capacity, get(info, d.S_THREAD))
    put(row_at, columns.OP * capacity, op)
    file, open_ = get(info, d.S_FILE), get(info, d.S_OPEN)
    path = get(info, d.S_PATH)
    if path == -1:
        path = path_of(h, open_)
    put_number(row_at, columns.PATH * capacity, path)
    put_number(row_at, columns.OTHER_PATH * capacity, get(info, d.S_OTHER_PATH))
    put_number(row_at, columns.FILE * capacity, file)
    put_number(row_at, columns.OPEN * capacity, open_number(h, open_))
    put_number(row_at, columns.OTHER_OPEN * capacity, get(info, d.S_OTHER_OPEN))
    if bits & o.TAKES_OFFSET:
        put(row_at, columns.OFFSET * capacity, get(info, d.S_OFFSET))
    put(row_at, columns.OTHER_OFFSET * capacity, get(info, d.S_OTHER_OFFSET))
    if bits & o.TAKES_SIZE:
        put(row_at, columns.SIZE * capacity, get(info, d.S_SIZE))
    if get(info, d.S_COUNT) > 0 and op != o.URING_OPEN:
        put(row_at, columns.COUNT * capacity, get(info, d.S_COUNT))
    if bits & o.TAKES_FLAGS:
        put(row_at, columns.FLAGS * capacity, get(info, d.S_FLAGS))
    if bits & o.TAKES_MODE:
        put(row_at, columns.MODE * capacity, get(info, d.S_MODE))
    put(row_at, columns.RING * capacity, get(info, d.S_RING))
    put(row_at, columns.BATCH * capacity, get(info, d.S_BATCH))
    put(row_at, columns.RESULT * capacity, 0 if op == o.URING_OPEN and result > 0 else result)
    put(info, d.S_WAITS, 0)


@inner
def on_complete(h: int, r: int) -> None:
    """The completion of an operation that was handed to io_uring or libaio."""
    table = get(h, d.PENDING_SLOTS)
    row = get(table, 2 * find_key(table, get(h, d.PENDING_SLOTS + 1), get(r, w.ADDRESS)) + 1)
    if row == -1:
        return
    info = _pending_info(h, row)
    if get(info, d.S_WAITS) != 1:
        return
    modes = get(r, w.MODE)
    if (modes >> 32) & 0xFFFFFFFF:
        put(info, d.S_WAITS, 0)  # the kernel had not taken it after all
        return
    op, result = get(info, d.S_OP), get(r, w.RESULT)
    file = file_at(h, r, w.FILE)
    if file != -1 and op == o.URING_OPEN:
        slots = get(h, d.OPEN_SLOTS)
        address = get(r, w.FILE) | w.KERNEL_BITS
        path = get(info, d.S_PATH)
        opened = new_open(h, slots, find_key(slots, get(h, d.OPEN_SLOTS + 1), address), address, path, file)
        put(info, d.S_FILE, file)
        put(info, d.S_OPEN, opened)
        put(file_info(h, file), d.F_LAST_PATH, path)
    elif file != -1 and op != o.URING_SPLICE:
        put(info, d.S_FILE, file)
        put(info, d.S_OPEN, open_at(h, r, w.FILE, file))
        if modes & 1 and get(info, d.S_OFFSET) == -1:
            put(info, d.S_OFFSET, get(r, w.OFFSET))
    elif file == -1 and op == o.URING_OPEN and result >= 0 and get(info, d.S_COUNT) == 0:
        put(info, d.S_WAITS, 0)  # what it found is not what the recording is about
        return
    elif get(info, d.S_FILE) == -1 and get(info, d.S_PATH) == -1:
        put(info, d.S_WAITS, 0)  # a socket, a pipe
        return
    _write_completed(h, info, get(r, w.START) - get(h, d.BASE_NS), result)


@entry
def end_pending(h: int) -> int:
    """Rows for the operations of io_uring and libaio whose end was not seen; as many as there is room for.

    Returns
    -------
    How many still wait.
    """
    waiting = 0
    for row in range(get(h, d.PENDING)):
        info = _pending_info(h, row)
        if get(info, d.S_WAITS) == 1:
            if get(h, d.ROWS) + 2 > get(h, d.EVENT_ROWS + 1):
                waiting += 1
            else:
                _write_completed(h, info, NULL, NULL)
    return waiting

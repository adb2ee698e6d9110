"""Which rows of a plan ride on a ring, and what each must wait for: a pure function of a plan.

With `--engine uring` reads, writes and fsyncs become requests; with any engine those that the recorded program gave to
io_uring or libaio do, where the kernel has a ring. For each row two limits are found: `room`, how many requests of its
lane may be in flight when it is issued, and `behind`, the last row that must have completed before, with all rows
before that one.

- A row that the program gave to a ring has the room it had in the recording: as many as were in flight then.
- Any other row with an opcode has depth - 1; one without waits for all that had ended before it in the recording.
- Of one file a write waits for earlier reads and writes of the bytes that it changes, a read for earlier writes of
  those that it reads, an fsync for all, unless they overlapped in the recording. A write that makes a file longer
  changes what lies between its old end and the new; a read that met the end of the file reads to infinity.
- Appends to a file, and rows that rows of other lanes wait for, are not overtaken.
- A row is not overtaken by more than OVERTAKEN rows, or twice the depth.

With depth 1 that is the program's own order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.compiling import compiled
from iotrace.replay.arguments import (
    BUFFER,
    DESCRIPTOR,
    SCRATCH,
    VECTOR,
    call_numbers,
)
from iotrace.replay.columns import NONE, Flags, Ints
from iotrace.replay.kernels import ring as kernel
from iotrace.replay.operation_sets import COPIES, OPENS, of_kind, one_of
from iotrace.replay.recorded import FOR_RIDES
from iotrace.replay.rows import CLOSE, PLAIN, Plan
from iotrace.replay.status import at_own_position
from iotrace.trace.operations import NUMBER_OF, OWN_POSITION, Kind

OVERTAKEN: Final = 256
LENGTH_MAX: Final = 0x7FFFF000
"""Most bytes that a call moves, MAX_RW_COUNT of the kernel."""
_O_NONBLOCK, _O_APPEND, _O_TRUNC = 0o4000, 0o2000, 0o1000
_RWF_APPEND: Final = 0x10
_READS: Final = ("read", "pread64", "readv", "preadv", "preadv2")
_WRITES: Final = ("write", "pwrite64", "writev", "pwritev", "pwritev2")
_AT_POSITION: Final = one_of(("read", "readv", "write", "writev"))
_VECTORED: Final = one_of(("readv", "preadv", "preadv2", "writev", "pwritev", "pwritev2"))
_FLAGGED: Final = one_of(("preadv2", "pwritev2"))
_READING, _WRITING, _SYNCING, _APPENDING = 1, 2, 3, 4
_ALL: Final = 1 << 20


@dataclass(slots=True)
class Rides:
    """Requests of a plan; arrays of shape (rows,).

    Attributes
    ----------
    opcode: of io_uring, 0 for a row that is issued as a call.
    slot: of the descriptor; length in bytes; offset, -1 for the description's own position; count: vectors, 0 for none;
    how: rw_flags or fsync_flags; buffer: number of the lane's buffer.
    room, behind: what the row waits for, see the module.
    reposition: position in bytes that the description has after the row, set by lseek once all is complete; -1: none.
    together: requests that are gathered before they are submitted.
    place_of_slot: place in the lane's table of registered files, shape (slots,), -1 for none; empty: none registered.
    depth: most requests in flight of each lane, shape (lanes,).
    files: registered files of each lane, shape (lanes,).
    """

    opcode: npt.NDArray[np.uint8]
    slot: npt.NDArray[np.int32]
    length: npt.NDArray[np.uint32]
    offset: Ints
    count: npt.NDArray[np.int32]
    how: npt.NDArray[np.uint32]
    buffer: npt.NDArray[np.uint8]
    room: npt.NDArray[np.int32]
    behind: Ints
    reposition: Ints
    together: npt.NDArray[np.int32]
    place_of_slot: npt.NDArray[np.int32]
    depth: Ints
    files: Ints


def rides_of(plan: Plan, *, all_rows: bool, depth: int = 1, batch: int = 1, fixed: bool = False) -> Rides | None:
    """What rides; None when nothing does.

    Parameters
    ----------
    all_rows: all reads, writes and fsyncs ride (`--engine uring`); False: only what rode in the recording.
    depth, batch: requests in flight at a time, and submitted at a time, of rows that did not ride in the recording.
    fixed: register files and buffers.
    """
    rows, recorded = plan.rows, plan.recorded
    if not all_rows and not plan.asynchronous:
        return None
    kinds = rows.kinds
    asynchronous: Flags = recorded["asynchronous"]
    rides = _riding(plan, kinds, all_rows)
    if not rides.any():
        return None
    arguments = rows.arguments
    op, result, size = rows.op, recorded["result"], np.maximum(recorded["size"], 0)
    call = recorded["call"]
    opcode = np.zeros(len(rows), np.uint8)
    reads, writes = of_kind(Kind.READ)[op], of_kind(Kind.WRITE)[op]
    opcode[rides & reads], opcode[rides & writes] = kernel.READ, kernel.WRITE
    opcode[rides & reads & _VECTORED[call]], opcode[rides & writes & _VECTORED[call]] = kernel.READV, kernel.WRITEV
    syncs = rides & of_kind(Kind.SYNC)[op]
    opcode[syncs] = kernel.FSYNC
    flags = recorded["open_flags"]
    action = np.zeros(len(rows), np.int8)
    action[rides & reads], action[rides & writes], action[syncs] = _READING, _WRITING, _SYNCING
    asks_to_append = (call == NUMBER_OF["pwritev2"]) & (np.maximum(recorded["flags"], 0) & _RWF_APPEND != 0)
    action[rides & writes & ((flags & _O_APPEND != 0) | asks_to_append)] = _APPENDING
    offset = np.where(recorded["offset"] < 0, 0, recorded["offset"])
    steady = _steady_sizes(plan)
    room, behind = _limits(
        plan.lane_begin, action, asynchronous, rows.awaited, recorded["file"].astype(np.int64), offset, size,
        np.maximum(result, 0), steady, recorded["start_ns"], recorded["end_ns"], depth, max(OVERTAKEN, 2 * depth),
    )  # fmt: skip
    asks_own = at_own_position(call, recorded["flags"])
    own = rides & ~asynchronous & (_AT_POSITION[call] | asks_own)
    reposition = np.full(len(rows), -1, np.int64)
    if depth > 1:
        reposition[:] = _repositions(plan, own, asks_own, offset)
    else:
        offset = np.where(own, -1, offset)
    encoded = np.where((kinds >> 4) & 15 == VECTOR, arguments[:, 1] & 15, arguments[:, 1])
    how = np.where(_FLAGGED[call], np.maximum(recorded["flags"], 0) & ~OWN_POSITION, 0)
    how = np.where(call == NUMBER_OF["fdatasync"], kernel.FSYNC_DATASYNC, how)
    place, files = (
        _places(plan, rides, kinds, arguments[:, 0])
        if fixed
        else (np.zeros(0, np.int32), np.zeros(plan.lanes, np.int64))
    )
    most = np.minimum(np.maximum.reduceat(np.where(rides, room, 0), plan.lane_begin[:-1]) + 1, kernel.DEPTH_MAX)
    whole = Rides(
        opcode=opcode,
        slot=np.where(rides, arguments[:, 0], 0).astype(np.int32),
        length=np.where(syncs, 0, np.minimum(size, LENGTH_MAX)).astype(np.uint32),
        offset=np.where(syncs, 0, offset),
        count=np.where(_VECTORED[call], np.clip(recorded["count"], 1, 1024), 0).astype(np.int32),
        how=how.astype(np.uint32),
        buffer=np.where(syncs, SCRATCH, np.clip(encoded, 0, SCRATCH)).astype(np.uint8),
        room=np.minimum(room, kernel.DEPTH_MAX - 1).astype(np.int32),
        behind=behind,
        reposition=reposition,
        together=_together(plan, rides, batch),
        place_of_slot=place,
        depth=most.astype(np.int64),
        files=files,
    )
    # a run has no more use for them
    recorded.release(*FOR_RIDES)
    return whole


def _riding(plan: Plan, kinds: Ints, all_rows: bool) -> Flags:
    """Rows that become requests: a request can do the same, on a descriptor that does not refuse to wait.

    With O_NONBLOCK a request gives up where a call would read.
    """
    rows = plan.rows
    names = [*_READS, *_WRITES, "fsync", "fdatasync"]
    call = plan.recorded["call"]
    able: Flags = one_of(tuple(names))[call] & (rows.special == PLAIN) & ~rows.extra & (rows.event >= 0)
    able &= (rows.number == call_numbers()[call]) & (kinds & 15 == DESCRIPTOR)
    able &= plan.recorded["open_flags"] & _O_NONBLOCK == 0
    buffered = np.isin((kinds >> 4) & 15, (BUFFER, VECTOR))
    able &= buffered | one_of(("fsync", "fdatasync"))[call]
    return able if all_rows else able & plan.recorded["asynchronous"]


def _steady_sizes(plan: Plan) -> Ints:
    """Size at first sight of each file that only one lane's writes change, -1 of others; shape (files + 1,)."""
    rows, recorded = plan.rows, plan.recorded
    size = np.maximum(recorded["file_size"], 0)
    call, flags = recorded["call"], np.maximum(recorded["flags"], 0)
    shakes = one_of(("truncate", "ftruncate", "fallocate", "creat"))[call] | (OPENS[call] & (flags & _O_TRUNC != 0))
    shakes &= rows.event >= 0
    steady = np.append(size, -1)
    file = recorded["file"]
    steady[file[shakes & (file >= 0)]] = -1
    steady[recorded["other_file"][COPIES[call] & (recorded["other_file"] >= 0)]] = -1
    lane = np.repeat(np.arange(plan.lanes), np.diff(plan.lane_begin))
    lowest, highest = np.full(len(steady), plan.lanes), np.full(len(steady), -1)
    writes = np.flatnonzero(one_of(_WRITES)[call] & (file >= 0))
    np.minimum.at(lowest, file[writes], lane[writes])
    np.maximum.at(highest, file[writes], lane[writes])
    steady[lowest < highest] = -1
    return steady


def _repositions(plan: Plan, own: Flags, asks_own: Flags, offset: Ints) -> Ints:
    """Position to set after a row: where the next use of the description depends on it, or another lane may.

    A request names its position and does not move the description's; a call at the description's own would.
    """
    rows, recorded = plan.rows, plan.recorded
    lane = np.repeat(np.arange(plan.lanes), np.diff(plan.lane_begin))
    opens = recorded["open"]
    position = np.full(len(rows), -1, np.int64)
    call = recorded["call"]
    # what neither uses nor moves the position of `open`
    ignores = one_of(
        (
            "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "fstat", "fsync", "fdatasync",
            "ftruncate", "fallocate", "fadvise64", "readahead", "mmap", "newfstatat", "statx",
        )
    )[call]  # fmt: skip
    concerns = np.flatnonzero((opens >= 0) & (~ignores | asks_own) & (rows.event >= 0))
    order = concerns[np.lexsort((concerns, rows.event[concerns], opens[concerns]))]
    following = np.append(order[1:], -1)
    same = np.r_[opens[order[1:]] == opens[order[:-1]], False] if len(order) else np.zeros(0, np.bool_)
    # a description that is the second of a copy or a dup2 is looked at no closer
    second = np.unique(recorded["other_open"][(recorded["other_open"] >= 0) & (COPIES[call])])
    many = np.isin(opens[order], second)
    last_close = same & (rows.special[following] == CLOSE) & np.append(~same[1:], True)
    rides_on = same & own[following] & (lane[following] == lane[order])
    needed = own[order] & ((same & ~last_close & ~rides_on) | many)
    chosen = order[needed]
    position[chosen] = offset[chosen] + np.maximum(recorded["result"][chosen], 0)
    return position


def _together(plan: Plan, rides: Flags, batch: int) -> npt.NDArray[np.int32]:
    """Requests gathered before they are submitted: `batch`, or until the recorded submission is complete."""
    recorded = plan.recorded
    together = np.full(len(rides), batch, np.int32)
    at = np.flatnonzero(rides & recorded["asynchronous"])
    if len(at):
        key = np.stack([recorded["ring"][at], recorded["batch"][at], plan.rows.thread[at]], axis=1)
        more = np.r_[(key[1:] == key[:-1]).all(axis=1), False] & (key[:, 1] != NONE)
        together[at] = np.where(more, _ALL, 1)
    return together


def _places(plan: Plan, rides: Flags, kinds: Ints, slots: Ints) -> tuple[npt.NDArray[np.int32], Ints]:
    """Places in each lane's table of registered files.

    Only of descriptors that one lane opens, uses and closes by a close: a registered file stays open until its ring
    lets go of it.
    """
    rows = plan.rows
    lane = np.repeat(np.arange(plan.lanes), np.diff(plan.lane_begin))
    lowest, highest = np.full(plan.slots, plan.lanes), np.full(plan.slots, -1)
    for column in (rows.made, rows.closed):
        plain = (column >= 0) & np.isin(rows.special, (PLAIN, 1, CLOSE, 3))
        np.minimum.at(lowest, column[plain], lane[plain])
        np.maximum.at(highest, column[plain], lane[plain])
    used = (kinds & 15 == DESCRIPTOR) & (slots >= 0) & (slots < plan.slots)
    np.minimum.at(lowest, slots[used], lane[used])
    np.maximum.at(highest, slots[used], lane[used])
    closes = np.zeros(plan.slots, np.bool_)
    closes[rows.closed[(rows.special == CLOSE) & (rows.closed >= 0)]] = True
    rode = np.zeros(plan.slots, np.bool_)
    rode[slots[rides]] = True
    chosen = np.flatnonzero(rode & closes & (lowest == highest))
    place = np.full(plan.slots, -1, np.int32)
    files = np.zeros(plan.lanes, np.int64)
    for one in range(plan.lanes):
        mine = chosen[highest[chosen] == one]
        # the kernel's table has no place for more
        mine = mine[: 1 << 15]
        place[mine] = np.arange(len(mine))
        files[one] = len(mine)
    return place, files


@compiled
def _limits(
    lane_begin: Any, action: Any, asynchronous: Any, awaited: Any, file: Any, offset: Any, size: Any, moved: Any,
    length_of: Any, start: Any, end: Any, depth: int, overtaken: int,
) -> Any:  # fmt: skip
    """`room` and `behind` of Rides, see the module; `length_of` is changed."""
    n = len(action)
    far = np.int64(1) << 62
    room = np.zeros(n, np.int32)
    behind = np.full(n, -1, np.int64)
    grown_from = np.zeros(n, np.int64)
    before_of_file = np.full(n, -1, np.int64)
    last_of_file = np.full(len(length_of), -1, np.int64)
    last_write = np.full(len(length_of), -1, np.int64)
    for lane in range(len(lane_begin) - 1):
        first = lane_begin[lane]
        last_of_file[:] = -1
        last_write[:] = -1
        last_own: Any = np.int64(-1)
        for i in range(first, lane_begin[lane + 1]):
            low = max(first, i - overtaken)
            wait = low - 1
            flying = 0
            if asynchronous[i]:
                for j in range(i - 1, low - 1, -1):
                    if asynchronous[j] and action[j] != 0 and end[j] > start[i]:
                        flying += 1
            if awaited[i]:
                wait = i - 1
            elif action[i] == 0:
                wait = max(wait, last_own)
                for j in range(i - 1, max(wait, low - 1), -1):
                    if action[j] != 0 and end[j] <= start[i]:
                        wait = j
                        break
            else:
                f = file[i] if file[i] >= 0 else len(length_of) - 1
                reads = action[i] == 1
                low_i, high_i = offset[i], offset[i] + size[i]
                if reads and moved[i] < size[i]:
                    high_i = far
                j = last_of_file[f]
                if reads and last_write[f] < low:
                    j = -1
                while j >= low and j > wait:
                    other = action[j]
                    low_j, high_j = offset[j], offset[j] + size[j]
                    if other == 1:
                        if moved[j] < size[j]:
                            high_j = far
                    else:
                        low_j = min(low_j, grown_from[j])
                    conflict = low_i < high_j and low_j < high_i
                    if reads and other == 1:
                        conflict = False
                    if action[i] >= 3 or other >= 3 or file[i] < 0:
                        conflict = True
                    if conflict and not (asynchronous[i] and asynchronous[j] and end[j] > start[i]):
                        wait = j
                        break
                    j = before_of_file[j]
                before_of_file[i] = last_of_file[f]
                last_of_file[f] = i
                if not reads:
                    last_write[f] = i
                    grown_from[i] = max(0, min(offset[i], length_of[f]))
                    if action[i] != 3 and length_of[f] >= 0:
                        length_of[f] = max(length_of[f], offset[i] + moved[i])
                if not asynchronous[i]:
                    last_own = i
            behind[i] = wait if wait >= first else -1
            if awaited[i]:
                room[i] = 0
            elif action[i] == 0:
                room[i] = 1 << 20
            elif asynchronous[i]:
                room[i] = flying
            else:
                room[i] = depth - 1
    return room, behind

"""One pass over batches of events: what the tables of iotrace.trace.tables add up.

Columns of a batch are (n,): int64 with NULL for null, or int32 with NULL_32. Figures by row are (rows, len(FIGURES))
int64, histograms (rows, BUCKETS) int64; arrays grow in place.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.machine import leading_zeros
from iotrace.trace.schema import NULL, NULL_32

FIGURES: Final = (
    "calls", "errors", "timed", "data_calls", "bytes_read", "bytes_written", "total_ns", "first_ns", "last_ns",
    "moves", "in_sequence",
)  # fmt: skip
FIRST, LAST = FIGURES.index("first_ns"), FIGURES.index("last_ns")
_ELSEWHERE, _WENT_ON = 1, 2
"""A data operation at a known position that began elsewhere, or where the one before on the same description ended."""


@compiled
def bucket(value: int) -> int:
    """As iotrace.histogram.bucket_of."""
    if value < 64:
        return max(value, 0)
    shift = 57 - leading_zeros(value)
    return int(shift * 64 + (value >> shift))


@compiled
def _add(
    row: Any, counted: bool, at: int, duration: int, result: int, data: bool, read: int, written: int, sequence: int
) -> None:
    row[7] = min(row[7], at)
    row[8] = max(row[8], at)
    row[4] += read
    row[5] += written
    if not counted:
        return
    row[0] += 1
    if result < 0 and result != NULL:
        row[1] += 1
    if duration != NULL:
        row[2] += 1
        row[6] += duration
    if data:
        row[3] += 1
    if sequence:
        row[9] += 1
        if sequence == _WENT_ON:
            row[10] += 1


@compiled
def _size(sizes: Any, smallest: Any, at: int, size: int) -> None:
    if sizes[at] == 0 or size < smallest[at]:
        smallest[at] = size
    sizes[at] += 1


@compiled
def _bytes(reads: bool, writes: bool, copies: bool, has: bool, other: bool, result: int) -> tuple[int, int]:
    """Bytes read and written: a side of a copy that is no file (a pipe, a socket) counts nothing."""
    moved = max(result, 0)
    read = moved if reads and (not copies or has or not other) else 0
    return read, moved if writes and (not copies or other or not has) else 0


@compiled
def by_operation(
    columns: Any, kinds: Any, copy: int, reads: Any, writes: Any, by_op: Any, histograms: Any, slices: Any, width: int,
    open_key: Any, open_end: Any, end: Any, sequence: Any,
) -> None:  # fmt: skip
    """Add a batch to the figures by operation and to the timeline; batches come in their order.

    Parameters
    ----------
    columns: time_ns, duration_ns, op, file, other_file, open, offset, size, result.
    kinds, reads, writes: by op. copy: the kind of copies. histograms: (latency, sizes, smallest size) by op.
    slices: calls, bytes read and written in each slice of `width` ns by kind, (slices, kinds, 3).
    open_key, open_end: where the last data operation on each open description ended, a hash table of a power of two
    rows; one that stayed open while so many others were opened may be forgotten.
    end: the last known end, (1,). sequence: 0, _ELSEWHERE or _WENT_ON of each event, (n,), written here.
    """
    time, duration, op, file, other_file, opened, offset, size, result = columns
    latency, sizes, smallest = histograms
    mask, last_slice = len(open_key) - 1, len(slices) - 1
    at, begin, until, last = 0, 0, 0, end[0]
    for i in range(len(time)):
        o, t, d = op[i], time[i], duration[i]
        kind, data = kinds[o], reads[o] or writes[o]
        read, written = _bytes(
            reads[o], writes[o], kind == copy, file[i] != NULL_32, other_file[i] != NULL_32, result[i]
        )
        sequence[i] = 0
        if data and offset[i] != NULL and opened[i] != NULL_32 and result[i] >= 0:
            slot = opened[i] & mask
            follows = offset[i] == (open_end[slot] if open_key[slot] == opened[i] else 0)
            sequence[i] = _WENT_ON if follows else _ELSEWHERE
            open_key[slot], open_end[slot] = opened[i], offset[i] + result[i]
        _add(by_op[o], True, t, d, result[i], data, read, written, sequence[i])
        if d != NULL:
            latency[o, bucket(d)] += 1
            last = max(last, t + d)
        else:
            last = max(last, t)
        if data and size[i] != NULL:
            _size(sizes[o], smallest[o], bucket(size[i]), size[i])
        if not begin <= t < until:
            at = min(max(t, 0) // width, last_slice)
            begin, until = at * width, (at + 1) * width
        slices[at, kind, 0] += 1
        slices[at, kind, 1] += read
        slices[at, kind, 2] += written
    end[0] = last


@compiled
def by_row(
    columns: Any, sequence: Any, kinds: Any, copy: int, reads: Any, writes: Any, files: int, subject_of_path: Any,
    mount_of_file: Any, mount_of_path: Any, group_of_process: Any, by_process: Any, by_thread: Any, by_subject: Any,
    by_mount: Any, group_histograms: Any, mount_histograms: Any, pairs: Any,
) -> bool:  # fmt: skip
    """Add a batch to the figures by process, thread, file and mount, after by_operation; in any order.

    False where a number lies outside its table (the figures are then not to be used).

    Parameters
    ----------
    columns: time_ns, duration_ns, process, thread, op, path, file, other_path, other_file, size, result.
    sequence: of by_operation. kinds, reads, writes: by op. copy: the kind of copies. Subjects are files, paths without
    a file, and none; the last rows of by_subject and by_mount are for what has none. Histograms are (latency, sizes,
    smallest size). pairs: calls and ns by group of processes and op, (groups, ops, 2).
    """
    time, duration, process, thread, op, path, file, other_path, other_file, size, result = columns
    latency_group, sizes_group, smallest_group = group_histograms
    latency_mount, sizes_mount, smallest_mount = mount_histograms
    none, no_mount = len(by_subject) - 1, len(by_mount) - 1
    paths = len(subject_of_path)
    for i in range(len(time)):
        o, p, t = op[i], process[i], thread[i]
        if not (0 <= p < len(group_of_process) and 0 <= t < len(by_thread)):
            return False
        has, other = file[i] != NULL_32, other_file[i] != NULL_32
        if not ((not has or 0 <= file[i] < files) and (not other or 0 <= other_file[i] < files)):
            return False
        named, other_named = path[i] != NULL_32, other_path[i] != NULL_32
        if not ((not named or 0 <= path[i] < paths) and (not other_named or 0 <= other_path[i] < paths)):
            return False
        kind, data, went, d = kinds[o], reads[o] or writes[o], sequence[i], duration[i]
        read, written = _bytes(reads[o], writes[o], kind == copy, has, other, result[i])
        _add(by_process[p], True, time[i], d, result[i], data, read, written, went)
        _add(by_thread[t], True, time[i], d, result[i], data, read, written, went)
        subject = file[i] if has else subject_of_path[path[i]] if named else none
        mount = mount_of_file[file[i]] if has else -1
        if mount < 0 and named:
            mount = mount_of_path[path[i]]
        if mount < 0:
            mount = no_mount
        # the two sides of a copy belong to different files
        two = kind == copy and other
        own = 0 if two else written
        _add(by_subject[subject], True, time[i], d, result[i], data, read, own, went)
        _add(by_mount[mount], True, time[i], d, result[i], data, read, own, went)
        if two:
            there = mount_of_file[other_file[i]]
            if there < 0 and other_named:
                there = mount_of_path[other_path[i]]
            if there < 0:
                there = no_mount
            _add(by_subject[other_file[i]], False, time[i], d, result[i], data, 0, written, went)
            _add(by_mount[there], False, time[i], d, result[i], data, 0, written, went)
        g = group_of_process[p]
        pairs[g, o, 0] += 1
        if d != NULL:
            at = bucket(d)
            latency_group[g, at] += 1
            latency_mount[mount, at] += 1
            pairs[g, o, 1] += d
        if data and size[i] != NULL:
            at = bucket(size[i])
            _size(sizes_group[g], smallest_group[g], at, size[i])
            _size(sizes_mount[mount], smallest_mount[mount], at, size[i])
    return True


@compiled
def details(
    columns: Any, reads: Any, writes: Any, files: int, subject_of_path: Any, slot_of_process: Any, slot_of_thread: Any,
    slot_of_subject: Any, latency: Any, sizes: Any, smallest: Any,
) -> None:  # fmt: skip
    """Histograms of chosen processes, threads and files.

    Parameters
    ----------
    columns: duration_ns, process, thread, op, path, file, size. slot_of_…: row of the histograms, -1: not chosen.
    """
    duration, process, thread, op, path, file, size = columns
    none = len(slot_of_subject) - 1
    for i in range(len(duration)):
        data = reads[op[i]] or writes[op[i]]
        p, t, subject = process[i], thread[i], none
        if file[i] != NULL_32:
            subject = file[i] if 0 <= file[i] < files else none
        elif 0 <= path[i] < len(subject_of_path):
            subject = subject_of_path[path[i]]
        for slot in (
            slot_of_process[p] if 0 <= p < len(slot_of_process) else -1,
            slot_of_thread[t] if 0 <= t < len(slot_of_thread) else -1,
            slot_of_subject[subject],
        ):
            if slot >= 0:
                if duration[i] != NULL:
                    latency[slot, bucket(duration[i])] += 1
                if data and size[i] != NULL:
                    _size(sizes[slot], smallest[slot], bucket(size[i]), size[i])


@compiled
def activity(columns: Any, pair_of: Any, group_of_process: Any, width: int, slices: Any) -> None:
    """Calls of chosen pairs of a group of processes and an op, in slices of `width` ns.

    Parameters
    ----------
    columns: time_ns, process, op. pair_of: row of slices by group and op, -1: not chosen. slices: (pairs, slices).
    """
    time, process, op = columns
    for i in range(len(time)):
        if not 0 <= process[i] < len(group_of_process):
            continue
        pair = pair_of[group_of_process[process[i]], op[i]]
        if pair >= 0:
            slices[pair, min(max(time[i], 0) // width, slices.shape[1] - 1)] += 1


FIRST_OF_NONE: Final = np.iinfo(np.int64).max
"""first_ns of a row without calls; its last_ns is the least."""

"""One pass over batches of events: what the tables of iotrace.trace.tables add up.

Columns of a batch are int64 with NULL for null, (n,). Figures by row are (rows, len(FIGURES)) int64, histograms (rows,
BUCKETS) int64; arrays grow in place.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.trace.schema import NULL

FIGURES: Final = (
    "calls", "errors", "timed", "data_calls", "bytes_read", "bytes_written", "total_ns", "first_ns", "last_ns",
    "moves", "in_sequence",
)  # fmt: skip
FIRST, LAST = FIGURES.index("first_ns"), FIGURES.index("last_ns")


@compiled
def bucket(value: int) -> int:
    """As iotrace.histogram.bucket_of."""
    if value < 64:
        return max(value, 0)
    shift, rest = 0, value >> 7
    for step in (32, 16, 8, 4, 2, 1):
        if rest >= 1 << step:
            rest >>= step
            shift += step
    # `rest` is 0 or 1 now: whether the highest bit lies above the seventh
    shift += rest
    return shift * 64 + (value >> shift)


@compiled
def _add(
    row: Any, counted: bool, at: int, duration: int, result: int, data: bool, read: int, written: int, move: bool,
    follows: bool,
) -> None:  # fmt: skip
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
    if move:
        row[9] += 1
        if follows:
            row[10] += 1


@compiled
def _put(latency: Any, sizes: Any, smallest: Any, duration: int, size: int, data: bool) -> None:
    if duration != NULL:
        latency[bucket(duration)] += 1
    if data and size != NULL:
        b = bucket(size)
        if sizes[b] == 0 or size < smallest[b]:
            smallest[b] = size
        sizes[b] += 1


@compiled
def scan(
    columns: Any, kinds: Any, copy: int, reads: Any, writes: Any, files: int, subject_of_path: Any, mount_of_file: Any,
    mount_of_path: Any, group_of_process: Any, by_op: Any, by_process: Any, by_thread: Any, by_subject: Any,
    by_mount: Any, op_histograms: Any, group_histograms: Any, mount_histograms: Any, pairs: Any,
    slices: Any, width: int, open_key: Any, open_end: Any, end: Any,
) -> bool:  # fmt: skip
    """Add a batch; False where a number lies outside its table (the figures are then not to be used).

    Parameters
    ----------
    columns: time_ns, duration_ns, process, thread, op, path, file, other_path, other_file, open, offset, size, result.
    kinds, reads, writes: by op. copy: the kind of copies. Subjects are files, paths without a file, and none; the last
    rows of by_subject and by_mount are for what has none. Histograms are (latency, sizes, smallest size).
    pairs: calls and ns by group of processes and op, (groups, ops, 2).
    slices: calls, bytes read and written in each slice of `width` ns by kind, (slices, kinds, 3).
    open_key, open_end: where the last data operation on each open description ended, a hash table of a power of two
    rows; one that stayed open while so many others were opened may be forgotten.
    end: the last known end, (1,).
    """
    time, duration, process, thread, op, path, file, other_path, other_file, opened, offset, size, result = columns
    latency_op, sizes_op, smallest_op = op_histograms
    latency_group, sizes_group, smallest_group = group_histograms
    latency_mount, sizes_mount, smallest_mount = mount_histograms
    none, no_mount, mask = len(by_subject) - 1, len(by_mount) - 1, len(open_key) - 1
    paths = len(subject_of_path)
    for i in range(len(time)):
        o, p, t = op[i], process[i], thread[i]
        if not (0 <= p < len(group_of_process) and 0 <= t < len(by_thread)):
            return False
        if not ((file[i] == NULL or 0 <= file[i] < files) and (other_file[i] == NULL or 0 <= other_file[i] < files)):
            return False
        if not ((path[i] == NULL or 0 <= path[i] < paths) and (other_path[i] == NULL or 0 <= other_path[i] < paths)):
            return False
        kind, data = kinds[o], reads[o] or writes[o]
        has, other, moved = file[i] != NULL, other_file[i] != NULL, max(result[i], 0)
        read = moved if reads[o] and (kind != copy or has or not other) else 0
        written = moved if writes[o] and (kind != copy or other or not has) else 0
        move, follows = False, False
        if data and offset[i] != NULL and opened[i] != NULL and result[i] >= 0:
            slot = opened[i] & mask
            move = True
            follows = offset[i] == (open_end[slot] if open_key[slot] == opened[i] else 0)
            open_key[slot], open_end[slot] = opened[i], offset[i] + result[i]
        _add(by_op[o], True, time[i], duration[i], result[i], data, read, written, move, follows)
        _add(by_process[p], True, time[i], duration[i], result[i], data, read, written, move, follows)
        _add(by_thread[t], True, time[i], duration[i], result[i], data, read, written, move, follows)
        subject = file[i] if has else subject_of_path[path[i]] if path[i] != NULL else none
        mount = mount_of_file[file[i]] if has else -1
        if mount < 0 and path[i] != NULL:
            mount = mount_of_path[path[i]]
        if mount < 0:
            mount = no_mount
        # the two sides of a copy belong to different files
        two = kind == copy and other
        own = 0 if two else written
        _add(by_subject[subject], True, time[i], duration[i], result[i], data, read, own, move, follows)
        _add(by_mount[mount], True, time[i], duration[i], result[i], data, read, own, move, follows)
        if two:
            there = mount_of_file[other_file[i]]
            if there < 0 and other_path[i] != NULL:
                there = mount_of_path[other_path[i]]
            if there < 0:
                there = no_mount
            _add(by_subject[other_file[i]], False, time[i], duration[i], result[i], data, 0, written, move, follows)
            _add(by_mount[there], False, time[i], duration[i], result[i], data, 0, written, move, follows)
        g = group_of_process[p]
        _put(latency_op[o], sizes_op[o], smallest_op[o], duration[i], size[i], data)
        _put(latency_group[g], sizes_group[g], smallest_group[g], duration[i], size[i], data)
        _put(latency_mount[mount], sizes_mount[mount], smallest_mount[mount], duration[i], size[i], data)
        pairs[g, o, 0] += 1
        pairs[g, o, 1] += duration[i] if duration[i] != NULL else 0
        at = min(max(time[i], 0) // width, len(slices) - 1)
        slices[at, kind, 0] += 1
        slices[at, kind, 1] += read
        slices[at, kind, 2] += written
        end[0] = max(end[0], time[i] + (duration[i] if duration[i] != NULL else 0))
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
        if file[i] != NULL:
            subject = file[i] if 0 <= file[i] < files else none
        elif 0 <= path[i] < len(subject_of_path):
            subject = subject_of_path[path[i]]
        for slot in (
            slot_of_process[p] if 0 <= p < len(slot_of_process) else -1,
            slot_of_thread[t] if 0 <= t < len(slot_of_thread) else -1,
            slot_of_subject[subject],
        ):
            if slot >= 0:
                _put(latency[slot], sizes[slot], smallest[slot], duration[i], size[i], data)


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

"""The kernel of a replay that verifies: run_lane's counterpart, with iotrace.replay.actions beside the calls.

What a write writes is put into memory before the call, what a read got is compared after it, and what a call does to a
file's blocks is noted before others may see its row as done.
"""

from __future__ import annotations

from typing import Any

from iotrace.compiling import compiled
from iotrace.machine import add, now, peek
from iotrace.replay.kernels.lane import run_rows
from iotrace.replay.kernels.verify import (
    UNCHECKED_BYTES,
    check_blocks,
    cut_file,
    fill_blocks,
    forget_range,
    settle_write,
    zero_range,
)
from iotrace.replay.kernels.waiting import await_row, begin_lane, end_lane, publish
from iotrace.replay.kernels.words import LANE_WORDS, TIME_AT


@compiled
def run_checked_lane(
    lane: int, first: int, last: int, apart: int, delay: int, timing: int, speed: float, high: int,
    special: Any, form: Any, number: Any, kinds: Any, constants: Any, value_begin: Any, values: Any,
    made: Any, closed: Any, expect: Any,
    busy: Any, idle: Any, due: Any, wait_begin: Any, wait_row: Any, awaited: Any, lane_of_row: Any,
    slots: Any, strings: Any, map_base: Any, table: Any, control: int, lines: int,
    folder: Any, umask: Any, marker_begin: Any, marker_end: Any,
    close_begin: Any, close_slot: Any, unmap_begin: Any, unmap: Any,
    take_begin: Any, take_from: Any, take_to: Any, doors: Any, inbox: int, got: int,
    started: Any, took: Any, outcome: Any,
    what: Any, file: Any, offset: Any, size: Any, buffer: Any, plain: Any, context: int, found: int, wrong: Any,
) -> Any:  # fmt: skip
    """Run the rows [first, last) of a lane.

    The first arguments are those of run_lane; then come the columns of iotrace.replay.actions.Actions, the number of
    the row's buffer, which rows others wait for have nothing to be done, the context of the checks, the lane's words
    for what is found, and for each row how many wrong blocks it read.
    """
    time_at = table[TIME_AT]
    line = lines + lane * LANE_WORDS * 8
    origin = begin_lane(line, apart, delay, time_at, control)
    ended = now(time_at)
    i = first
    while i < last and peek(control) == 0:
        action = what[i]
        end = i + 1
        if action == 0:
            while end < last and what[end] == 0:
                end += 1
        else:
            # the state of the blocks is that after all that this row waits for
            for k in range(wait_begin[i], wait_begin[i + 1]):
                row = wait_row[k]
                await_row(lines + lane_of_row[row] * LANE_WORDS * 8, row, time_at, control)
        if action == 2:
            fill_blocks(table[buffer[i]], size[i], context, file[i], offset[i])
        ended = run_rows(
            lane, i, end, origin, ended, timing, speed, high,
            special, form, number, kinds, constants, value_begin, values, made, closed, expect,
            busy, idle, due, wait_begin, wait_row, plain, lane_of_row,
            slots, strings, map_base, table, control, lines,
            folder, umask, marker_begin, marker_end,
            close_begin, close_slot, unmap_begin, unmap,
            take_begin, take_from, take_to, doors, inbox, got,
            started, took, outcome,
        )  # fmt: skip
        if action != 0:
            result = outcome[i]
            if action == 2:
                settle_write(context, file[i], offset[i], size[i], max(result, 0))
            elif action == 1:
                if result > 0:
                    wrong[i] = check_blocks(table[buffer[i]], result, context, file[i], offset[i], found)
            elif result >= 0:
                if action == 3:
                    cut_file(context, file[i], size[i])
                elif action == 4:
                    zero_range(context, file[i], offset[i], size[i])
                elif action == 6:
                    add(found + 8 * UNCHECKED_BYTES, result)
                else:
                    forget_range(context, file[i], offset[i], size[i])
            if awaited[i]:
                publish(line, end)
        i = end
    end_lane(line, ended, time_at)
    # kept, so that the words of a lane without checks are not left out of the machine code
    add(found, 0)

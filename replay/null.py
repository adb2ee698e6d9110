"""A plan without its I/O: what the program would take on a storage that answers at once, and how fast the generator is.

Two ways. A null plan is the plan with nothing to issue: the kernels run it as they run any other, with the same waits,
gaps and order, and results as recorded, so a pass over it *measures* the generator. The longest way through gaps and
waits *models* the same pass with calls, and the generator, taking no time; it takes milliseconds where the pass would
take as long as the program.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.replay.arguments import LOCK as LOCK_ARGUMENT
from iotrace.replay.arguments import MAPPED
from iotrace.replay.clones import Clone, Outcome
from iotrace.replay.columns import Ints
from iotrace.replay.crew import Start, at_once, run_clones
from iotrace.replay.figures import NullFigures
from iotrace.replay.ground import Ground
from iotrace.replay.kernels import words
from iotrace.replay.measure import expected
from iotrace.replay.options import TIMINGS, Options
from iotrace.replay.rows import BEGIN, END, ORDER, PLAIN, Plan
from iotrace.replay.stopping import Asked

NOWHERE: Final = "null"
"""Stands in the place of a mount's folder in a result of --null."""


class _Nowhere(Ground):
    """Where a null plan runs: no folder is made."""

    def __init__(self) -> None:
        self.folder = self.parent = Path(os.devnull)
        self.owner = os.getuid(), os.getgid()

    def beat(self) -> None:
        """Nobody needs to know."""


def null_plan(plan: Plan) -> Plan:
    """The plan with nothing to issue: every argument is still worked out, so it costs what the generator costs."""
    rows, forms = plan.rows, plan.rows.forms
    special = np.where(np.isin(rows.special, (ORDER, BEGIN, END)), np.uint8(ORDER), np.uint8(PLAIN))
    kinds = forms.kinds.copy()
    for position in range(6):
        # nothing is mapped, so no address is worked out: another kind that takes two values, too
        at = kinds >> (4 * position) & 15 == MAPPED
        kinds[at] += np.int64(LOCK_ARGUMENT - MAPPED) << (4 * position)
    nothing = replace(forms, number=np.full_like(forms.number, words.NULL_CALL), kinds=kinds)
    return replace(
        plan,
        rows=replace(rows, special=special, forms=nothing, made=np.full_like(rows.made, -1)),
        threads=replace(plan.threads, take_begin=np.zeros_like(plan.threads.take_begin)),
        inherited=[],
        map_slots=0,
        read_bytes=0,
        write_bytes=0,
    )


def distinct(plans: Sequence[Plan]) -> dict[int, Plan]:
    """The plans that users share, by their id: what follows from a plan is worked out once."""
    return {id(plan): plan for plan in plans}


def run_null(
    plans: Sequence[Plan], delays_ns: Sequence[int], options: Options, asked: Asked,
    start: Start = at_once,
) -> list[Outcome]:  # fmt: skip
    """Run all rows of a plan for each user without I/O; every result is the recorded one."""
    nulls = {number: null_plan(plan) for number, plan in distinct(plans).items()}
    clones = [
        Clone(nulls[id(plan)], None, _Nowhere(), delay) for plan, delay in zip(plans, delays_ns, strict=True)
    ]  # fmt: skip
    outcomes = run_clones(clones, options, asked, start=start)
    for plan, outcome in zip(plans, outcomes, strict=True):
        outcome.result = np.where(outcome.result == words.NOT_RUN, words.NOT_RUN, expected(plan, outcome.root_bytes))
    return outcomes


def null_figures(plans: Sequence[Plan], options: Options, asked: Asked) -> NullFigures:
    """Measure the generator in a pass without gaps, and model the users' makespan without I/O (in asap: measured)."""
    delays = options.delays_ns()
    outcomes = run_null(plans, [0] * len(plans), replace(options, timing="asap"), asked)
    asked.check()
    ops = max(1, sum(int(plan.counted.sum()) for plan in plans))
    wall_s = max(outcome.wall_ns for outcome in outcomes) / 1e9
    cpu_us = sum(outcome.cpu_s for outcome in outcomes) * 1e6 / ops
    if options.timing == "asap":
        longest = max(delay + outcome.wall_ns for delay, outcome in zip(delays, outcomes, strict=True))
        return NullFigures(longest / 1e9, "measured", wall_s, ops / wall_s, cpu_us)
    ways = {
        number: longest_way(plan, options.timing, options.pace) for number, plan in distinct(plans).items()
    }  # fmt: skip
    longest = max(delay + ways[id(plan)] for delay, plan in zip(delays, plans, strict=True))
    return NullFigures(longest / 1e9, "modelled", wall_s, ops / wall_s, cpu_us)


def longest_way(plan: Plan, timing: str, speed: float = 1.0, late_ns: Ints | None = None) -> int:
    """Makespan in ns of a plan whose calls take no time, on as many CPUs as it has lanes.

    A row of a lane begins when the row before it and the rows that it waits for have ended, and not before its gap
    has passed since the row before it (think), or before it is due (original); and `late_ns`, (rows,), after that.

    Raises
    ------
    ValueError: the waits form a circle; no plan of build_plan's has one.
    """
    rows = plan.rows
    lane_of_row = np.repeat(np.arange(plan.lanes, dtype=np.int64), np.diff(plan.lane_begin))
    ended = int(
        _longest_way(
            plan.lane_begin, rows.special, rows.busy_ns, rows.idle_ns, rows.due_ns, rows.wait_begin, rows.wait_row,
            lane_of_row, np.zeros(0, np.int64) if late_ns is None else late_ns, TIMINGS[timing], float(speed),
        )
    )  # fmt: skip
    if ended < 0:
        raise ValueError("rows of the plan wait for each other")
    return ended


@compiled
def _longest_way(
    lane_begin: Any, special: Any, busy: Any, idle: Any, due: Any, wait_begin: Any, wait_row: Any, lane_of_row: Any,
    late: Any, timing: int, speed: float,
) -> Any:  # fmt: skip
    """See longest_way; -1 for a circle. A lane that has to wait lets the lane that it waits for run first."""
    lanes = len(lane_begin) - 1
    at, clock = lane_begin[:-1].copy(), np.zeros(lanes, np.int64)
    ended = np.zeros(lane_begin[lanes], np.int64)
    stack, goal = np.zeros(lanes + 1, np.int64), np.zeros(lanes + 1, np.int64)
    waiting = np.zeros(lanes, np.bool_)
    longest = np.int64(0)
    for first in range(lanes):
        depth, stack[0], goal[0] = 0, first, lane_begin[first + 1]
        waiting[first] = True
        while depth >= 0:
            lane = stack[depth]
            blocked = np.int64(-1)
            while at[lane] < goal[depth]:
                i = at[lane]
                ready = clock[lane]
                for k in range(wait_begin[i], wait_begin[i + 1]):
                    row = wait_row[k]
                    if at[lane_of_row[row]] <= row:
                        blocked = row
                        break
                    ready = max(ready, ended[row])
                if blocked >= 0:
                    break
                what = special[i]
                if timing == 1 and what != 7 and what != 8:
                    ready = max(ready, clock[lane] + np.int64((busy[i] + idle[i]) / speed))
                elif timing == 2 and not (what >= 6 and what <= 8):
                    ready = max(ready, np.int64(due[i] / speed))
                if len(late) > 0:
                    ready += late[i]
                clock[lane] = ended[i] = ready
                at[lane] = i + 1
            if blocked >= 0:
                other = lane_of_row[blocked]
                if waiting[other]:
                    return np.int64(-1)
                depth += 1
                stack[depth], goal[depth] = other, blocked + 1
                waiting[other] = True
            else:
                longest = max(longest, clock[lane])
                waiting[lane] = False
                depth -= 1
    return longest

"""Jobs through lanes, from event to event: at each a phase ends or a job begins, and in between rates stand still.

As in Slurm a lane runs one job at a time, on a node of its own; jobs that are ready wait in one queue, first come,
first served. Sessions of Live and microscopes run beside the lanes.

A storage that bursts is a token bucket: while there are credits it does more, and what goes beyond its baseline is
taken from them; what is left of the baseline fills them again.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.analysis.sizing.kernels.rates import (
    APART,
    DATA_OPS,
    DISK_READ,
    ITEMS,
    META,
    NETWORK_READ,
    PARTS,
    RATE,
    READ,
    READ_DISK,
    SHARING,
    TOTAL_WRITE,
    WORKERS,
    WRITE,
    solve,
)
from iotrace.compiling import compiled

# columns of a row of the timeline
START, LENGTH, READ_RATE, WRITE_RATE, DATA_RATE, META_RATE, RUNNING, WAITING = range(8)
TIMELINE_FIELDS: Final = 8
# columns of a step's sums; the parts of iotrace.analysis.sizing.kernels.rates follow
JOB_SECONDS, BYTES_READ, BYTES_WRITTEN, DATA_OPS_DONE, META_OPS_DONE, PEAK_READ, PEAK_WRITE, PEAK_META = range(8)
STEP_FIELDS: Final = 8
PARTS_FROM: Final = STEP_FIELDS
_NEVER: Final = 1e300
_AGAIN: Final = 0.01
"""A burst begins again when so much of the credits is back: not with every drop."""


@compiled
def _make_room(last_use: Any, kept: Any) -> None:
    """Forget who used a cache longest ago where it holds as much as it can.

    last_use: (users,), s, -1 for who has nothing there. kept: of how many users it holds what they need.
    """
    held, oldest = 0, -1
    for user in range(len(last_use)):
        if last_use[user] >= 0.0:
            held += 1
            if oldest < 0 or last_use[user] < last_use[oldest]:
                oldest = user
    if held >= kept:
        last_use[oldest] = -1.0


@compiled
def run(
    phase: Any, storage: Any, burst: Any, credits: float, first: Any, step_of: Any, cached: Any, before: Any,
    users: int, arrival: float,
    lanes: int, cached_lanes: int, kept: int, beside: Any, state: Any, start: Any, end: Any, ran: Any, timeline: Any,
    paces: Any, sums: Any, queued: Any,
) -> Any:  # fmt: skip
    """Run all jobs to their end.

    Parameters
    ----------
    phase, storage: as for rates.solve. burst: the storage while there are credits; credits: as many as it begins with,
    which are all that it can have, in seconds of its baseline; 0: it does not burst.
    first: (variants + 1,), where each variant's phases begin. step_of: (variants,), the step whose figures it counts
    for.
    cached: (steps, 2), variants of a step that fills a node's cache, and that finds it filled; -1 for none. Variant s
    is step s without a cache. kept: of how many users, at least one, a node's cache holds what they need: who used it
    longest ago makes room.
    before: (steps, steps), whether the second must have ended before the first begins.
    beside: (n,), variants that run from the start, each on a node of its own.
    state: as for rates.solve. start, end: (users * steps + n,), s, of each job; ran: (users * steps,), its lane.
    timeline: (rows, TIMELINE_FIELDS). paces: (rows, phases), items a second of all jobs at a phase; without rows
    nothing is noted there. sums: (steps of step_of, STEP_FIELDS + PARTS). queued: (users * steps,), when each became
    ready.

    Returns
    -------
    Rows of the timeline, and at how many events the rates did not come to rest.
    """
    steps = len(before)
    jobs = users * steps
    slots = lanes + len(beside)
    at, rest, left = np.full(slots, -1, np.int64), np.zeros(slots, np.int64), np.zeros(slots)
    job_of, variant_of = np.full(slots, -1, np.int64), np.full(slots, -1, np.int64)
    needs = np.zeros(jobs, np.int64)
    queue, head, tail = np.empty(jobs, np.int64), 0, 0
    last_use = np.full((max(cached_lanes, 1), users), -1.0)
    busy = np.zeros(len(phase))
    parts = np.zeros((len(phase), PARTS))
    for user in range(users):
        for s in range(steps):
            for other in range(steps):
                needs[user * steps + s] += before[s, other]
    for k in range(len(beside)):
        slot = lanes + k
        at[slot], rest[slot] = first[beside[k]], first[beside[k] + 1]
        variant_of[slot], job_of[slot], start[jobs + k] = beside[k], jobs + k, 0.0
        left[slot] = phase[at[slot], ITEMS]
    now, rows, unsettled, arrived = 0.0, 0, 0, 0
    left_over, bursting = credits, credits > 0.0
    while True:
        while arrived < users and arrived * arrival <= now + 1e-9:
            for s in range(steps):
                if needs[arrived * steps + s] == 0:
                    queue[tail] = arrived * steps + s
                    queued[queue[tail]] = now
                    tail += 1
            arrived += 1
        for lane in range(lanes):
            if head == tail:
                break
            if at[lane] >= 0:
                continue
            job = queue[head]
            head += 1
            user, s = job // steps, job % steps
            variant = s
            if lane < cached_lanes and cached[s, 0] >= 0:
                variant = cached[s, 1]
                if last_use[lane, user] < 0.0:
                    variant = cached[s, 0]
                    _make_room(last_use[lane], kept)
                last_use[lane, user] = now
            at[lane], rest[lane], job_of[lane], variant_of[lane] = first[variant], first[variant + 1], job, variant
            left[lane] = phase[at[lane], ITEMS]
            start[job], ran[job] = now, lane
        busy[:] = 0.0
        running = 0
        for slot in range(slots):
            if at[slot] >= 0:
                busy[at[slot]] += 1.0
                running += 1
        if running == 0 and arrived == users:
            return rows, unsettled
        if not solve(busy, phase, burst if bursting else storage, state, parts):
            unsettled += 1
        length = arrived * arrival - now if arrived < users else _NEVER
        for slot in range(slots):
            if at[slot] >= 0:
                length = min(length, left[slot] / state[at[slot], RATE])
        length = max(length, 0.0)
        read = write = data = meta = disk = 0.0
        for k in range(len(busy)):
            x = busy[k] * state[k, RATE]
            if x > 0.0:
                read += x * phase[k, READ]
                disk += x * phase[k, READ_DISK]
                write += x * phase[k, WRITE]
                data += x * phase[k, DATA_OPS]
                meta += x * phase[k, META]
        disks, writes = disk / storage[DISK_READ], write / storage[TOTAL_WRITE]
        used = max(read / storage[NETWORK_READ], disks + writes if storage[SHARING] != APART else max(disks, writes))
        if bursting and used > 1.0:
            length = min(length, left_over / (used - 1.0))
        if credits > 0.0:
            left_over = min(max(left_over + (1.0 - used) * length, 0.0), credits)
            # what rounding leaves of credits is none
            bursting = left_over > (1e-9 if bursting else _AGAIN) * credits
        if length > 0.0:
            if rows == len(timeline):
                return rows, unsettled + 1
            row = timeline[rows]
            row[START], row[LENGTH], row[RUNNING], row[WAITING] = now, length, running, tail - head
            row[READ_RATE], row[WRITE_RATE], row[DATA_RATE], row[META_RATE] = read, write, data, meta
            if len(paces):
                for k in range(len(busy)):
                    paces[rows, k] = busy[k] * state[k, RATE]
            rows += 1
        for slot in range(slots):
            k = at[slot]
            if k < 0:
                continue
            x = state[k, RATE]
            left[slot] -= x * length
            into = sums[step_of[variant_of[slot]]]
            into[JOB_SECONDS] += length
            into[BYTES_READ] += x * length * phase[k, READ]
            into[BYTES_WRITTEN] += x * length * phase[k, WRITE]
            into[DATA_OPS_DONE] += x * length * phase[k, DATA_OPS]
            into[META_OPS_DONE] += x * length * phase[k, META]
            into[PEAK_READ] = max(into[PEAK_READ], x * phase[k, READ])
            into[PEAK_WRITE] = max(into[PEAK_WRITE], x * phase[k, WRITE])
            into[PEAK_META] = max(into[PEAK_META], x * phase[k, META])
            share = x * length / phase[k, WORKERS]
            for part in range(PARTS):
                into[PARTS_FROM + part] += share * parts[k, part]
        now += length
        for slot in range(slots):
            k = at[slot]
            if k < 0 or left[slot] > 1e-9 * phase[k, ITEMS]:
                continue
            if k + 1 < rest[slot]:
                at[slot] = k + 1
                left[slot] = phase[k + 1, ITEMS]
                continue
            job = job_of[slot]
            end[job] = now
            at[slot] = -1
            if job < jobs:
                user = job // steps
                for s in range(steps):
                    if before[s, job % steps]:
                        needs[user * steps + s] -= 1
                        if needs[user * steps + s] == 0:
                            queue[tail] = user * steps + s
                            queued[queue[tail]] = now
                            tail += 1

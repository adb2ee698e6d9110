"""How fast jobs go beside each other on one storage: mean values of a closed queueing network.

A job's phase is a loop that `workers` threads go round: an item takes time to compute, and asks the storage for
metadata operations, for reads and writes and their bytes. Metadata and data operations are stations that serve so many
a second; bytes flow in streams, each held to what one stream, its node, and its part of the whole storage can do. How
many others a newcomer finds at a station is what Schweitzer's approximation of mean value analysis says: the mean
number that is there, less its own share in it (Schweitzer 1979; Bard 1979). With one customer there is no wait, with
many a station is never asked for more than it can do. Processors are a station of several servers, which counts as one
that is so many times as fast and a way that takes the rest of the time (Seidmann, Schweitzer, Shalev-Oren 1987).

The bytes of the whole storage are shared in one of three ways. APART: all reads that are under way get an equal share
of what it can read, all writes of what it can write. TOGETHER: what reads take is not there for writes. IN_TURN: one
device takes requests one after the other, whatever they are: who comes waits for each that is there as long as that
one takes, so that large requests get more of the device than small ones (mean value analysis of a queue that is served
in order, each class with its own service time: Reiser 1979). Several devices are a station of several servers.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled

# columns of a storage's row
(
    STREAM_READ, STREAM_WRITE, CLIENT_READ, CLIENT_WRITE, NETWORK_READ, DISK_READ, TOTAL_WRITE, READ_LATENCY,
    WRITE_LATENCY, META_LATENCY, OPERATIONS, METADATA, PROCESSORS, SHARING, DEVICES, OWN,
) = range(16)  # fmt: skip
STORAGE_FIELDS: Final = 16
"""bytes/s; s; operations/s; PROCESSORS: how many of the machine that all run on who replay; SHARING: APART, TOGETHER
or IN_TURN; DEVICES: how many take requests IN_TURN; OWN: 1 where each job has such a storage to itself. What is
unlimited is infinite."""
APART: Final = np.inf
TOGETHER: Final = 1.0
IN_TURN: Final = 2.0

# columns of a phase's row, of one item but for the first two
(
    WORKERS, ITEMS, THINK, LOCAL, PROCESSOR, META, LATENT_READS, LATENT_WRITES, DATA_OPS, READ, READ_DISK, WRITE, READS,
) = range(13)  # fmt: skip
PHASE_FIELDS: Final = 13
"""THINK, LOCAL: s; PROCESSOR: s of CPU time that calls take; META … DATA_OPS: operations; READ: bytes that leave the
storage, READ_DISK: of these from its disks; WRITE: bytes; READS: those of DATA_OPS that read."""

# where the time of an item goes
(
    COMPUTE, LOCAL_DISK, META_WAY, META_QUEUE, DATA_WAY, DATA_QUEUE, READ_BY_STREAM, READ_BY_CLIENT, READ_BY_STORAGE,
    WRITE_BY_STREAM, WRITE_BY_CLIENT, WRITE_BY_STORAGE, PROCESSING,
) = range(13)  # fmt: skip
PARTS: Final = 13

# columns of the state that one solution hands to the next: items/s of a job, and residence times of an item (s)
RATE, _META, _OPS, _READ, _WRITE, _CPU, _READ_DEVICE, _WRITE_DEVICE = range(8)
STATE_FIELDS: Final = 8

_PIECE: Final = float(128 << 10)
"""A request for bytes that no call asks for, of mapped files and of copies: what Linux reads ahead unless told."""
_MOST: Final = float(1 << 31)
"""A call moves no more."""


@compiled
def solve(jobs: Any, phase: Any, storage: Any, state: Any, parts: Any) -> Any:
    """Items a second of each phase's jobs while so many are at it.

    Parameters
    ----------
    jobs: how many jobs are at each phase, (phases,). phase: (phases, PHASE_FIELDS). storage: (STORAGE_FIELDS,).
    state: (phases, STATE_FIELDS); items/s of one job in column 0. What it holds is where the search begins.
    parts: time of an item by where it goes, (phases, PARTS), s; rows without jobs stay.

    Returns
    -------
    Whether the search came to rest.
    """
    together, in_turn, own = storage[SHARING] == TOGETHER, storage[SHARING] == IN_TURN, storage[OWN] == 1.0
    if in_turn:
        # there may be several states of rest: always the one that is reached from an idle device
        state[:] = 0.0
        state[:, RATE] = 1e-9
    for turn in range(20000):
        # where two limits meet, a search with long steps may go round them for ever
        step = 0.5 if turn < 3000 else 0.05
        meta = ops = read = write = cpu = backlog = 0.0
        for k in range(len(jobs)):
            if jobs[k] > 0 and not own:
                x = jobs[k] * state[k, RATE]
                meta += x * state[k, _META]
                ops += x * state[k, _OPS]
                read += x * state[k, _READ]
                write += x * state[k, _WRITE]
                cpu += x * state[k, _CPU]
                if in_turn:
                    backlog += x * _held(phase[k], storage, state[k])
        furthest = moved = 0.0
        for k in range(len(jobs)):
            if jobs[k] <= 0:
                continue
            workers = phase[k, WORKERS]
            mine = state[k, RATE] / workers  # of one worker
            if own:
                x = state[k, RATE]
                meta, ops = x * state[k, _META], x * state[k, _OPS]
                read, write = x * state[k, _READ], x * state[k, _WRITE]
                backlog = x * _held(phase[k], storage, state[k]) if in_turn else 0.0
            m, o, r, w, c = state[k, _META], state[k, _OPS], state[k, _READ], state[k, _WRITE], state[k, _CPU]
            m_way = phase[k, META] * storage[META_LATENCY]
            m_queue = phase[k, META] * (1.0 + max(meta - mine * m, 0.0)) / storage[METADATA]
            o_way = phase[k, LATENT_READS] * storage[READ_LATENCY] + phase[k, LATENT_WRITES] * storage[WRITE_LATENCY]
            o_queue = phase[k, DATA_OPS] * (1.0 + max(ops - mine * o, 0.0)) / storage[OPERATIONS]
            others = (workers - 1.0) * mine
            r_stream = phase[k, READ] / storage[STREAM_READ]
            r_client = phase[k, READ] * (1.0 + others * r) / storage[CLIENT_READ]
            found = 1.0 + max(read - mine * r, 0.0)
            r_network = phase[k, READ] * found / storage[NETWORK_READ]
            r_disk = phase[k, READ_DISK] / storage[DISK_READ]
            w_stream = phase[k, WRITE] / storage[STREAM_WRITE]
            w_client = phase[k, WRITE] * (1.0 + others * w) / storage[CLIENT_WRITE]
            w_storage = phase[k, WRITE] / storage[TOTAL_WRITE]
            if in_turn:
                before = max(backlog - mine * _held(phase[k], storage, state[k]), 0.0)
                r_queue, w_queue = r_disk + _disk_reads(phase[k]) * before, w_storage + _writes(phase[k]) * before
                least = 1e-6 / max(state[k, RATE], 1e-15) + 1e-15
                furthest = max(furthest, abs(r_queue - state[k, _READ_DEVICE]) / max(r_queue, least))
                furthest = max(furthest, abs(w_queue - state[k, _WRITE_DEVICE]) / max(w_queue, least))
                state[k, _READ_DEVICE] += step * (r_queue - state[k, _READ_DEVICE])
                state[k, _WRITE_DEVICE] += step * (w_queue - state[k, _WRITE_DEVICE])
                more = storage[DEVICES] - 1.0
                r_disk, w_storage = more * r_disk + r_queue, more * w_storage + w_queue
            else:
                writing = max(write - mine * w, 0.0)
                r_disk *= found + (writing if together else 0.0)
                w_storage *= 1.0 + writing + (found - 1.0 if together else 0.0)
            r_storage = max(r_network, r_disk)
            reads, writes = max(r_stream, r_client, r_storage), max(w_stream, w_client, w_storage)
            each = phase[k, PROCESSOR] / storage[PROCESSORS]
            c_queue, c_way = each * (1.0 + max(cpu - mine * c, 0.0)), phase[k, PROCESSOR] - each
            # the queue of metadata is of what waits there, the way to it is nobody's queue
            state[k, _META] += step * (m_queue - m)
            state[k, _OPS] += step * (o_queue - o)
            state[k, _READ] += step * (reads - r)
            state[k, _WRITE] += step * (writes - w)
            state[k, _CPU] += step * (c_queue - c)
            took = phase[k, THINK] + phase[k, LOCAL] + m_way + o_way + c_way
            took += state[k, _META] + state[k, _OPS] + state[k, _READ] + state[k, _WRITE] + state[k, _CPU]
            x = workers / max(took, 1e-9)
            moved = max(moved, abs(x - state[k, RATE]) / (x * step))
            # what takes next to none of the time need not be known as well as the rest
            least = 1e-6 * took + 1e-15
            furthest = max(furthest, abs(reads - r) / max(reads, least), abs(writes - w) / max(writes, least))
            furthest = max(furthest, abs(c_queue - c) / max(c_queue, least))
            furthest = max(furthest, abs(m_queue - m) / max(m_queue, least), abs(o_queue - o) / max(o_queue, least))
            state[k, RATE] = x
            parts[k, :] = 0.0
            parts[k, COMPUTE], parts[k, LOCAL_DISK] = phase[k, THINK], phase[k, LOCAL]
            parts[k, META_WAY], parts[k, META_QUEUE] = m_way, state[k, _META]
            parts[k, DATA_WAY], parts[k, DATA_QUEUE] = o_way, state[k, _OPS]
            parts[k, PROCESSING] = c_way + state[k, _CPU]
            # of what is equal the nearer to the program binds
            by_read = READ_BY_STREAM if reads <= r_stream else READ_BY_CLIENT if reads <= r_client else READ_BY_STORAGE
            by_write = (
                WRITE_BY_STREAM if writes <= w_stream else WRITE_BY_CLIENT if writes <= w_client else WRITE_BY_STORAGE
            )
            parts[k, by_read], parts[k, by_write] = state[k, _READ], state[k, _WRITE]
        # two stations that are equally full hand their queue to and fro for long, which changes no rate
        if furthest < 1e-6 or (turn >= 2000 and moved < 1e-6):
            return True
    return False


@compiled
def _requests(calls: Any, moved: Any) -> Any:
    """How many requests calls for so many bytes are."""
    return calls if calls * _MOST >= moved else moved / _PIECE


@compiled
def _disk_reads(phase: Any) -> Any:
    """How many requests of an item the disks read."""
    if phase[READ] <= 0.0:
        return 0.0
    return _requests(phase[READS], phase[READ]) * (phase[READ_DISK] / phase[READ])


@compiled
def _writes(phase: Any) -> Any:
    """How many requests of an item write."""
    return _requests(phase[DATA_OPS] - phase[READS], phase[WRITE])


@compiled
def _held(phase: Any, storage: Any, state: Any) -> Any:
    """For each item a second: how long the device takes for the requests that are there."""
    reads, writes, held = _disk_reads(phase), _writes(phase), 0.0
    if reads > 0.0:
        held += state[_READ_DEVICE] * phase[READ_DISK] / storage[DISK_READ] / reads
    if writes > 0.0:
        held += state[_WRITE_DEVICE] * phase[WRITE] / storage[TOTAL_WRITE] / writes
    return held


def fresh_state(phase: Any) -> Any:
    """Where a first search begins: nobody waits. (phases, STATE_FIELDS)."""
    state = np.zeros((len(phase), STATE_FIELDS))
    state[:, RATE] = 1e-9
    return state

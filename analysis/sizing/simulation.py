"""A run of the model: a demand on a storage in, times and rates out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.analysis.sizing.demand import Demand, Floats
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.analysis.sizing.storages import Node, Storage
from iotrace.errors import IotraceError
from iotrace.units import parse_bytes

PART_NAMES: Final = (
    "compute", "own disk", "metadata latency", "metadata rate", "latency", "operation rate",
    "reading, one stream", "reading, the node", "reading, the storage",
    "writing, one stream", "writing, the node", "writing, the storage", "processors",
)  # fmt: skip


class Unsettled(IotraceError):
    """The rates of a moment did not come to rest, so that what follows would be made up."""


@dataclass(slots=True)
class Simulated:
    """What a run gave.

    Attributes
    ----------
    structure_s: of each user, from arrival to the end of the last step, (users,). start_s, end_s: of each job.
    waited_s: in the queue, of each job of a user, (users, steps); lane: that it ran in, as waited_s.
    timeline: (rows, TIMELINE_FIELDS). paces: (rows, phases), items a second of all jobs at a phase; without rows where
    they were not asked for. sums: (steps, STEP_FIELDS + PARTS).
    """

    demand: Demand
    structure_s: Floats
    start_s: Floats
    end_s: Floats
    waited_s: Floats
    lane: npt.NDArray[np.int64]
    timeline: Floats
    paces: npt.NDArray[np.float32]
    sums: Floats

    @property
    def length_s(self) -> float:
        """From the first arrival to the end of the last job of a user."""
        jobs = self.demand.crowd.users * len(self.demand.before)
        return float(self.end_s[:jobs].max())

    def percentile(self, column: int, share: float) -> float:
        """The rate that the storage sees at most for this share of the time until `length_s`."""
        return self._most(self.timeline[:, column], share)

    def busiest(self, read: float, write: float, share: float) -> float:
        """As `percentile`, of what reads and writes together take of a storage that does so much of either a second."""
        return self._most(self.timeline[:, e.READ_RATE] / read + self.timeline[:, e.WRITE_RATE] / write, share)

    def _most(self, values: Floats, share: float) -> float:
        """Of values by the timeline's rows."""
        shown = self.timeline[:, e.START] < self.length_s
        return most_of_time(values[shown], self.timeline[shown, e.LENGTH], share)

    def of_step(self, step: int, column: int) -> tuple[Floats, Floats]:
        """What all jobs of a step together ask the storage for, a second, and for how long (s) each.

        Of each moment at which one of them runs. `column`: of a phase, as in kernels.rates.

        Raises
        ------
        ValueError: the run noted no paces.
        """
        if len(self.paces) != len(self.timeline):
            raise ValueError("a run without paces")
        demand = self.demand
        variants = np.flatnonzero(demand.step_of == step)
        phases = np.concatenate([np.arange(demand.first[one], demand.first[one + 1]) for one in variants])
        paces = self.paces[:, phases]
        runs = paces.any(axis=1)
        return paces[runs] @ demand.phase[phases, column], self.timeline[runs, e.LENGTH]

    def peak(self, column: int) -> float:
        """The highest rate."""
        return float(self.timeline[:, column].max(initial=0.0))

    def parts_of(self, step: int) -> npt.NDArray[np.float64]:
        """Shares of a step's time by where it goes, (PARTS,), of 1 in all."""
        parts = self.sums[step, e.PARTS_FROM :]
        return np.asarray(parts / max(parts.sum(), 1e-300))

    def binding(self, step: int) -> str:
        """What decides how long a step takes: the largest of its parts."""
        return PART_NAMES[int(np.argmax(self.parts_of(step)))]

    def waits_for(self, step: int) -> str:
        """What a step waits for most while it does not compute; "" where it waits for nothing."""
        waits = np.delete(self.parts_of(step), r.COMPUTE)
        most = int(np.argmax(waits))
        return PART_NAMES[most + (most >= r.COMPUTE)] if waits[most] > 0 else ""

    @property
    def gpu_seconds(self) -> tuple[float, float]:
        """GPU-seconds that jobs in lanes hold, and of these what the jobs do not compute in: they wait for storage.

        A job holds the GPUs of its step from its begin to its end. Sessions beside the lanes are left out: they wait
        for a microscope.
        """
        held = waiting = 0.0
        for step in range(len(self.demand.before)):
            seconds = self.demand.gpus[step] * float(self.sums[step, e.JOB_SECONDS])
            held += seconds
            waiting += seconds * (1 - float(self.parts_of(step)[r.COMPUTE]))
        return held, waiting

    @property
    def gpu_idle(self) -> float | None:
        """Share of the GPU-seconds held that wait for storage; None where no job holds a GPU."""
        held, waiting = self.gpu_seconds
        return waiting / held if held else None


def most_of_time(values: Floats, lengths: Floats, share: float) -> float:
    """The value that is not exceeded for this share of the time; 0 for no time at all."""
    order = np.argsort(values)
    time = np.cumsum(lengths[order])
    if not len(time):
        return 0.0
    return float(values[order[np.searchsorted(time, share * time[-1] * (1 - 1e-12))]])


def simulate(demand: Demand, storage: Storage, node: Node, units: float, *, paces: bool = False) -> Simulated:
    """Run the jobs of a workload; `paces`: note them, for rates by step.

    Raises
    ------
    Unsettled: the rates at some event did not come to rest.
    """
    row = storage.row(units)
    network = parse_bytes(node.network)
    for column in (r.CLIENT_READ, r.CLIENT_WRITE):
        row[column] = min(row[column], np.inf if storage.local else network)
    burst, credits = storage.burst_row(row, units)
    return run_rows(demand, row, burst, credits, paces=paces)


def run_rows(
    demand: Demand, row: Floats, burst: Floats | None = None, credits: float = 0.0, *, paces: bool = False
) -> Simulated:
    """As `simulate`, with a storage's row in its place; `burst`, `credits`: as for kernels.events.run."""
    users, steps = demand.crowd.users, len(demand.before)
    jobs = users * steps + len(demand.beside)
    start, end = np.zeros(jobs), np.zeros(jobs)
    queued, ran = np.zeros(users * steps), np.zeros(users * steps, np.int64)
    longest = int(np.diff(demand.first).max(initial=1))
    # between two events credits can end once
    moments = (jobs * (longest + 2) + users + 8) * (2 if credits else 1)
    timeline = np.zeros((moments, e.TIMELINE_FIELDS))
    # in single precision: there is one for each moment and phase
    noted = np.zeros((moments if paces else 0, len(demand.phase)), np.float32)
    sums = np.zeros((len(demand.steps), e.STEP_FIELDS + r.PARTS))
    rows, unsettled = e.run(
        demand.phase, row, row if burst is None else burst, credits, demand.first, demand.step_of, demand.cached,
        demand.before, users, demand.arrival_s, demand.crowd.lanes, demand.crowd.cached_lanes, demand.kept,
        demand.beside, r.fresh_state(demand.phase), start, end, ran, timeline, noted, sums, queued,
    )  # fmt: skip
    if unsettled:
        raise Unsettled(f"the model found no rates at {unsettled} of {rows} moments: please report the numbers.")
    ends = end[: users * steps].reshape(users, steps)
    arrived = np.arange(users) * demand.arrival_s
    waited = (start[: users * steps] - queued).reshape(users, steps)
    return Simulated(
        demand, ends.max(axis=1) - arrived, start, end, waited, ran.reshape(users, steps), timeline[:rows].copy(),
        noted[:rows], sums,
    )  # fmt: skip

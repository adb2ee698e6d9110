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
    waited_s: in the queue, of each job of a user, (users, steps).
    timeline: (rows, TIMELINE_FIELDS). sums: (steps, STEP_FIELDS + PARTS).
    """

    demand: Demand
    structure_s: Floats
    start_s: Floats
    end_s: Floats
    waited_s: Floats
    timeline: Floats
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
        order = np.argsort(values[shown])
        time = np.cumsum(self.timeline[shown, e.LENGTH][order])
        if not len(time):
            return 0.0
        return float(values[shown][order[np.searchsorted(time, share * time[-1] * (1 - 1e-12))]])

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

    @property
    def gpu_idle(self) -> float:
        """Share of the jobs' time in which they do not compute; steps beside the lanes are left out."""
        parts = self.sums[: len(self.demand.before), e.PARTS_FROM :]
        return float(1 - parts[:, r.COMPUTE].sum() / max(parts.sum(), 1e-300))


def simulate(demand: Demand, storage: Storage, node: Node, units: float) -> Simulated:
    """Run the jobs of a workload.

    Raises
    ------
    Unsettled: the rates at some event did not come to rest.
    """
    row = storage.row(units)
    network = parse_bytes(node.network)
    for column in (r.CLIENT_READ, r.CLIENT_WRITE):
        row[column] = min(row[column], np.inf if storage.local else network)
    burst, credits = storage.burst_row(row, units)
    return run_rows(demand, row, burst, credits)


def run_rows(demand: Demand, row: Floats, burst: Floats | None = None, credits: float = 0.0) -> Simulated:
    """As `simulate`, with a storage's row in its place; `burst`, `credits`: as for kernels.events.run."""
    users, steps = demand.crowd.users, len(demand.before)
    jobs = users * steps + len(demand.beside)
    start, end = np.zeros(jobs), np.zeros(jobs)
    queued = np.zeros(users * steps)
    longest = int(np.diff(demand.first).max(initial=1))
    # between two events credits can end once
    moments = (jobs * (longest + 2) + users + 8) * (2 if credits else 1)
    timeline = np.zeros((moments, e.TIMELINE_FIELDS))
    sums = np.zeros((len(demand.steps), e.STEP_FIELDS + r.PARTS))
    rows, unsettled = e.run(
        demand.phase, row, row if burst is None else burst, credits, demand.first, demand.step_of, demand.cached,
        demand.before, users, demand.arrival_s,
        demand.crowd.lanes, demand.crowd.cached_lanes, demand.beside, r.fresh_state(demand.phase), start, end,
        timeline, sums, queued,
    )  # fmt: skip
    if unsettled:
        raise Unsettled(f"the model found no rates at {unsettled} of {rows} moments: please report the numbers.")
    ends = end[: users * steps].reshape(users, steps)
    arrived = np.arange(users) * demand.arrival_s
    waited = (start[: users * steps] - queued).reshape(users, steps)
    return Simulated(demand, ends.max(axis=1) - arrived, start, end, waited, timeline[:rows].copy(), sums)

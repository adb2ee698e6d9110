"""The whole answer for one storage and one kind of node: a run, what is needed, the knee, what matters."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.analysis.sizing.questions import (
    Case,
    Keeping,
    Knee,
    Month,
    Needed,
    knee_of,
    months_of,
    needed_units,
)
from iotrace.analysis.sizing.sensitivity import Effect, effects_of
from iotrace.analysis.sizing.simulation import PART_NAMES, Simulated, most_of_time
from iotrace.units import bytes_text

SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
"""Shares of the time in which a rate is at most so high."""
PEAK: Final = "peak"
RATES: Final = {
    "read": (e.READ_RATE, r.READ), "write": (e.WRITE_RATE, r.WRITE), "operations": (e.DATA_RATE, r.DATA_OPS),
    "metadata": (e.META_RATE, r.META),
}  # fmt: skip
"""Columns of the timeline, and of a phase."""

Rates = dict[str, dict[str, float]]
"""By name as in RATES: p50, p95, p99 of the time, and peak; bytes/s or operations/s."""


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One job of a step, the mean of all.

    Attributes
    ----------
    job_s: how long it takes. compute: share of that; parts: shares by what holds it; binding: the largest; waits_for:
    the largest beside computing, "" for none.
    read_bytes, written_bytes: of the storage. operations_s, metadata_s: operations a second. peak_*: highest rates of a
    moment, bytes/s and operations/s.
    gpus: that the job holds; gpu_idle: share of its time in which they wait for storage, None for a job without.
    rates: of all jobs of the step that run at a time together, over the time in which one of them runs.
    """

    step: str
    job_s: float
    compute: float
    binding: str
    waits_for: str
    parts: dict[str, float]
    read_bytes: float
    written_bytes: float
    operations_s: float
    metadata_s: float
    peak_read: float
    peak_write: float
    peak_metadata: float
    gpus: int
    gpu_idle: float | None
    rates: Rates


@dataclass(slots=True)
class Answer:
    """All is modelled. `asked` says that the user chose the units; `needed` is what they would be otherwise.

    Times, rates, the knee and what matters are those while as many units have failed as may.

    Attributes
    ----------
    units: that there are; working: those that have not failed. whole: the run while all of them work.
    notes: sentences about numbers of the workload or the storage that do nothing here.
    """

    case: Case
    units: int
    working: int
    asked: bool
    run: Simulated
    whole: Simulated
    needed: Needed
    months: list[Month]
    knee: Knee | None
    effects: list[Effect]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Seconds, bytes, bytes/s, operations/s, shares of 1."""
        run, demand = self.run, self.run.demand
        return {
            "provenance": "modelled",
            "workload": self.case.workload.name,
            "node": self.case.node_name,
            "storage": self.case.storage_name,
            "unit": self.case.storage.unit,
            "units": self.units,
            "units_working": self.working,
            "units_asked": self.asked,
            "needed_units": {name: getattr(self.needed, name) for name in self.needed.__slots__},
            "needed_for": self.needed.binding,
            "notes": self.notes,
            "users": demand.crowd.users,
            "lanes": demand.crowd.lanes,
            "structure_s": {"mean": float(run.structure_s.mean()), "longest": float(run.structure_s.max())},
            "structure_all_working_s": {
                "mean": float(self.whole.structure_s.mean()),
                "longest": float(self.whole.structure_s.max()),
            },
            "gpu_idle": run.gpu_idle,
            "gpu_seconds": {"held": run.gpu_seconds[0], "waiting": run.gpu_seconds[1]},
            "rates": self.rates(),
            "steps": [asdict(step) for step in self.steps()],
            "dataset_bytes": {"movies": demand.raw_bytes, "made": demand.made_bytes},
            "live_session_bytes": demand.live_bytes,
            "dataset_files": demand.files,
            "months": [{"month": one.month, "hot_bytes": one.hot, "cold_bytes": one.cold} for one in self.months],
            "knee": None
            if self.knee is None
            else {
                "users": self.knee.users,
                "or_more": self.knee.more,
                "curve": [
                    {"users": users, "job_hours": hours, "gpu_idle": idle, "most_hours": most}
                    for users, hours, idle, most in self.knee.curve
                ],
            },
            "sensitivity": [
                {"input": one.name, "change": one.change, "factor": one.factor, "units_needed": one.units}
                for one in self.effects
            ],
        }

    def rates(self) -> Rates:
        """What all jobs together ask of the storage, over the time until the last user's end."""
        return {
            name: {figure: self.run.percentile(column, share) for figure, share in SHARES.items()}
            | {PEAK: self.run.peak(column)}
            for name, (column, _) in RATES.items()
        }

    def steps(self) -> list[StepFigures]:
        """What one job of each step does."""
        run, demand = self.run, self.run.demand
        found = []
        for step, name in enumerate(demand.steps):
            sums, parts = run.sums[step].tolist(), run.parts_of(step)
            jobs = demand.crowd.users if step < len(demand.before) else int((demand.beside == step).sum())
            seconds = max(sums[e.JOB_SECONDS], 1e-300)
            compute, gpus = float(parts[r.COMPUTE]), demand.gpus[step]
            found.append(
                StepFigures(
                    name, seconds / jobs, compute, run.binding(step), run.waits_for(step),
                    dict(zip(PART_NAMES, parts.tolist(), strict=True)), sums[e.BYTES_READ] / jobs,
                    sums[e.BYTES_WRITTEN] / jobs, sums[e.DATA_OPS_DONE] / seconds, sums[e.META_OPS_DONE] / seconds,
                    sums[e.PEAK_READ], sums[e.PEAK_WRITE], sums[e.PEAK_META], gpus, 1 - compute if gpus else None,
                    _rates_of(run, step),
                )
            )  # fmt: skip
        return found


def _rates_of(run: Simulated, step: int) -> Rates:
    found = {}
    for name, (_, column) in RATES.items():
        values, lengths = run.of_step(step, column)
        found[name] = {figure: most_of_time(values, lengths, share) for figure, share in SHARES.items()}
        found[name][PEAK] = float(values.max(initial=0.0))
    return found


def answer(case: Case, units: int | None, keeping: Keeping, *, search: bool = True) -> Answer:
    """Ask all questions.

    Parameters
    ----------
    units: how many of the storage there are; None: as many as are needed.
    search: also look for the knee and for what matters most.

    Raises
    ------
    UsageError: numbers make no sense. Unsettled: the model found no rates.
    """
    months = months_of(case.demand(units or 1), keeping)
    needed = needed_units(case, max(month.hot for month in months))
    chosen = needed.units if units is None else units
    working = case.storage.working(chosen)
    run = case.run(working, paces=True)
    whole = run if working == chosen else case.run(chosen)
    knee = knee_of(case, working) if search and not case.storage.local else None
    return Answer(
        case, chosen, working, units is not None, run, whole, needed, months, knee,
        effects_of(case, chosen, keeping, needed.units) if search else [], _notes_of(case, run),
    )  # fmt: skip


def _notes_of(case: Case, run: Simulated) -> list[str]:
    notes = []
    demand, disk = run.demand, case.node.local_capacity
    asked = int(demand.numbers.values.get("cached_lanes", 0))
    stacks = f"particle stacks of one user ({bytes_text(demand.stack_bytes)})"
    if asked and not demand.crowd.cached_lanes:
        why = f"the node {case.node_name} has no disk of its own for particle stacks"
        if case.node.local_read:
            why = f"the disk of the node {case.node_name} ({disk}) does not hold the {stacks}"
        notes.append(
            f"cached_lanes = {asked} of {case.workload.name} does nothing: {why}, so that they are read from the "
            "storage."
        )
    elif asked and demand.kept < demand.crowd.users:
        said = disk if demand.kept != demand.crowd.cache_users else f"cache_users = {demand.kept}"
        notes.append(
            f"The disk of the node {case.node_name} ({said}) holds the {stacks} for {demand.kept} of "
            f"{demand.crowd.users} users at a time: who used it longest ago makes room, and copies anew."
        )
    elif demand.crowd.cache_users and not asked:
        notes.append(
            f"cache_users = {demand.crowd.cache_users} does nothing: no lane has a disk for particle stacks "
            "(cached_lanes)."
        )
    storage = case.storage
    if not storage.burst_seconds and (storage.burst_disk_read or storage.burst_network_read or storage.burst_write):
        notes.append(
            f"Bursts of {case.storage_name} are left out: its entry says how much it does while it has credits, but "
            "not for how long they last (burst_seconds), so that all figures are those of its baseline."
        )
    return notes

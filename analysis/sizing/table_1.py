"""The model against Table 1 of the WEKA reference architecture: fitted to its G5 rows of one and four GPUs, it says
what eight take.

Two numbers are fitted to four: how fast a GPU is, and how much of the recipes' I/O there is. Which storages, users and
lanes stood behind the table is the text's; what its "runtime" spans it does not say: here it is the time that the jobs
of one user take beside the others'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from iotrace.analysis.cost.source_text import load_printed
from iotrace.analysis.sizing.demand import Demand, demand_of, with_caches
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.analysis.sizing.simulation import simulate
from iotrace.analysis.sizing.storages import Catalogue
from iotrace.profiles.model import Workload, load
from iotrace.terminal import Cell, Column, paragraph, show, table
from iotrace.units import duration_text

if TYPE_CHECKING:
    from rich.console import Console

STORAGES: Final = (("fsx-lustre-500", 30), ("weka-i3en", 8))
"""About 35 TiB of FSx for Lustre, and eight servers."""
FITTED: Final = ("g5.4xlarge", "g5.24xlarge")
HELD_OUT: Final = ("g5.48xlarge",)
_ROUNDS: Final = 14


@dataclass(frozen=True, slots=True)
class Row:
    """A time of Table 1 beside the model's, s."""

    node: str
    storage: str
    printed_s: float
    modelled_s: float
    fitted: bool

    @property
    def error(self) -> float:
        """Modelled ÷ printed − 1."""
        return self.modelled_s / self.printed_s - 1


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The rows; speed: of a GPU beside the recipes'; io: the recipes' I/O times this."""

    rows: list[Row]
    speed: float
    io: float

    @property
    def errors(self) -> list[float]:
        """Of the rows that were not fitted."""
        return [row.error for row in self.rows if not row.fitted]

    @property
    def order_kept(self) -> bool:
        """Whether the storage that is faster in the table is faster in the model, on each kind of node."""
        by_node: dict[str, list[Row]] = {}
        for row in self.rows:
            by_node.setdefault(row.node, []).append(row)
        return all(
            (one.printed_s < other.printed_s) == (one.modelled_s < other.modelled_s)
            for one, other in ((rows[0], rows[1]) for rows in by_node.values())
        )

    def to_json(self) -> dict[str, Any]:
        """As the table."""
        return {
            "provenance": "modelled",
            "gpu_speed": self.speed,
            "io_factor": self.io,
            "rows": [
                {
                    "node": row.node, "storage": row.storage, "printed_s": row.printed_s,
                    "modelled_s": row.modelled_s, "error": row.error, "fitted": row.fitted,
                }
                for row in self.rows
            ],
            "held_out_mean_error": float(np.mean(np.abs(self.errors))),
            "order_kept": self.order_kept,
        }  # fmt: skip


def held_out(catalogue: Catalogue) -> HeldOut:
    """Fit to the rows of FITTED, and predict HELD_OUT."""
    workload = load(Workload, "reference-architecture")
    printed = {one.instance: (float(one.baseline_s), float(one.candidate_s)) for one in load_printed().times}
    demands: dict[tuple[str, int], Demand] = {}
    for node in FITTED + HELD_OUT:
        for number, (name, units) in enumerate(STORAGES):
            # a node's GPUs are counted, not their speed: that is fitted
            plain = msgspec.structs.replace(catalogue.node(node), speed=1.0)
            demands[node, number] = with_caches(demand_of(workload, plain), plain, catalogue.storage(name), units)

    def modelled(node: str, number: int, speed: float, io: float) -> float:
        demand = demands[node, number]
        phase = demand.phase.copy()
        phase[:, r.THINK] /= speed
        phase[:, r.META :] *= io
        changed = replace(demand, phase=phase)
        name, units = STORAGES[number]
        run = simulate(changed, catalogue.storage(name), catalogue.node(node), units)
        steps = len(demand.before)
        return float(run.sums[:steps, e.JOB_SECONDS].sum() / demand.crowd.users)

    def miss(point: tuple[float, float]) -> float:
        speed, io = np.exp(point)
        return sum(
            math.log(modelled(node, number, float(speed), float(io)) / printed[node][number]) ** 2
            for node in FITTED
            for number in range(len(STORAGES))
        )

    best, width = (0.0, 0.0), 2.0
    for _ in range(_ROUNDS):
        steps = [
            (best[0] + width * i, best[1] + width * j) for i in (-1, -0.5, 0, 0.5, 1) for j in (-1, -0.5, 0, 0.5, 1)
        ]
        best = min(steps, key=miss)
        width *= 0.6
    speed, io = (float(one) for one in np.exp(best))
    rows = [
        Row(node, name, printed[node][number], modelled(node, number, speed, io), node in FITTED)
        for node in FITTED + HELD_OUT
        for number, (name, _) in enumerate(STORAGES)
    ]
    return HeldOut(rows, speed, io)


def print_held_out(found: HeldOut, out: Console) -> None:
    """The table, and what is to be made of it."""
    columns = [
        Column("node", "left"), Column("storage", "left", stretch=True), Column("printed"), Column("modelled"),
        Column("error"), Column("", "left"),
    ]  # fmt: skip
    rows: list[list[str | Cell]] = [
        [
            row.node, row.storage, duration_text(row.printed_s * 1e9), duration_text(row.modelled_s * 1e9),
            f"{row.error:+.1%}", Cell("fitted" if row.fitted else "held out", "dim" if row.fitted else "bold"),
        ]
        for row in found.rows
    ]  # fmt: skip
    show(out, table(columns, rows, out.width, "The model against Table 1"))
    mean = float(np.mean(np.abs(found.errors)))
    kept = "is that of the table on every node" if found.order_kept else "is NOT that of the table"
    paragraph(
        out,
        f"Held-out error: mean {mean:.1%}, worst {max(found.errors, key=abs):+.1%}. Which storage is faster {kept}. "
        f"Fitted: a GPU {found.speed:.2f} times as fast as the recipes', {found.io:.2f} times their I/O.",
    )
    paragraph(
        out,
        "Two numbers fitted to four times say little of what each step does; docs/model.md says what such a table "
        "cannot tell.",
        "dim",
    )

"""A workload on each of some nodes with each of some storages, as they are asked for by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from iotrace.analysis.sizing.answer import Answer, answer
from iotrace.analysis.sizing.questions import Case, Keeping
from iotrace.analysis.sizing.storages import UNITS_MAX, Catalogue, load_catalogue
from iotrace.errors import UsageError
from iotrace.profiles.model import Workload, is_workload, load

STORAGES: Final = ("fsx-lustre-500", "weka-i3en")
NODES: Final = ("reference",)
_MONTHS_MAX: Final = 1200


def answers_for(
    workload: str | Path,
    storages: Sequence[str] = STORAGES,
    nodes: Sequence[str] = NODES,
    *,
    units: int | None = None,
    given: Mapping[str, float] | None = None,
    scale: float = 1.0,
    datasets: float | None = None,
    retention: int = 3,
    archive: int = 0,
    catalogue: Catalogue | None = None,
    search: bool = True,
) -> list[Answer]:
    """What the model says: an answer for each node and storage.

    Parameters
    ----------
    workload: a name of `iotrace profile list`, or a .toml. storages, nodes: names of the catalogue.
    units: how many of the storage there are; None: as many as are needed.
    given: other values of the workload's numbers. scale: factor of counts.
    datasets: that come each month; None: one for each user. retention, archive: months.
    catalogue: storages and nodes; None: the shipped ones.
    search: also look for the knee and for what matters most.

    Raises
    ------
    UsageError: an unknown name, numbers that make no sense or would do nothing, units that nobody sells.
    Unsettled: the model found no rates.
    """
    if units is not None and not 1 <= units <= UNITS_MAX:
        raise UsageError(f"--units {units}: from 1 to {UNITS_MAX}.")
    for name, months, least in (("--retention", retention, 1), ("--archive", archive, 0)):
        if not least <= months <= _MONTHS_MAX:
            raise UsageError(f"{name} {months}: months, from {least} to {_MONTHS_MAX}.")
    if datasets is not None and not 0 < datasets <= 1e9:
        raise UsageError(f"--datasets {datasets}: how many a month, above 0.")
    if not is_workload(str(workload)):
        raise UsageError(f"{workload} is no workload: `iotrace profile list` names them, or give the path of a .toml.")
    chosen, known = load(Workload, str(workload)), catalogue or load_catalogue(None)
    found = []
    for node in dict.fromkeys(nodes):
        if (given or {}).get("cached_lanes") and not known.node(node).local_read:
            disks = sorted(name for name, one in known.nodes.items() if one.local_read)
            raise UsageError(
                f"cached_lanes: the node {node} has no disk of its own for particle stacks; choose --node "
                f"{', '.join(disks)}, or one of your own with local_read."
            )
        for storage in dict.fromkeys(storages):
            if units is not None:
                known.storage(storage).refuse_unsold(storage, units)
            case = Case(chosen, node, known.node(node), storage, known.storage(storage), given or {}, scale)
            _check_numbers(case)
            keeping = Keeping(datasets, retention, archive)
            found.append(answer(case, units, keeping, search=search))
    return found


def _check_numbers(case: Case) -> None:
    try:
        case.demand(1)
    except UsageError as error:
        # a recipe names the sum that fails, not what was given
        nothing = [name for name, value in case.given.items() if value == 0 and f"{name} = 0" not in str(error)]
        if not nothing or "--set" in str(error):
            raise
        raise UsageError(f"--set {nothing[0]}=0: with it {str(error)[0].lower()}{str(error)[1:]}") from None

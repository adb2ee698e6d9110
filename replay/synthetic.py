"""Traces of profiles and workloads that a replay is given by name: made while they are read, never a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from iotrace.errors import TraceError, UsageError
from iotrace.profiles.model import DATASET, DataSet, Profile, Workload, is_workload, load, names_of, workload_on
from iotrace.profiles.numbers import given_numbers
from iotrace.trace.reader import Trace


def traces_of(
    names: Sequence[Path], dataset: str | None, given: Sequence[str], scale: float | None, seed: int
) -> list[Path | Trace]:
    """Folders of recordings, and traces of recipes; a recipe that is named twice is one trace.

    Raises
    ------
    UsageError: a recipe is wrong, or options of recipes were given for recordings alone.
    """
    known = {*names_of(Profile), *names_of(Workload)}
    recipes = [name for name in names if not name.exists() and (str(name) in known or name.suffix == ".toml")]
    recipes += [name for name in names if name.is_file() and name.suffix == ".toml"]
    if not recipes:
        if scale is not None or given or dataset is not None:
            raise UsageError(
                "--scale, --set and --dataset are for profiles and workloads: `iotrace profile list` names them."
            )
        for name in names:
            if not name.exists() and len(name.parts) == 1 and not name.suffix:
                raise TraceError(f"{name}: there is no such trace, and no profile or workload of that name.")
        return list(names)
    # needs pyarrow.compute, which takes its time to import: not for a replay of a recording
    from iotrace.profiles.synthesise import synthesised
    from iotrace.profiles.workload import composed

    numbers, factor = given_numbers(given), 1.0 if scale is None else scale

    def made(name: Path) -> Trace:
        if is_workload(name):
            workload = workload_on(load(Workload, name), dataset)
            return composed(workload, given=numbers, scale=factor, seed=seed)
        chosen = load(DataSet, dataset or DATASET)
        return synthesised(load(Profile, name), chosen, given=numbers, scale=factor, seed=seed)

    traces = {name: made(name) for name in dict.fromkeys(recipes)}
    return [traces.get(name, name) for name in names]


def not_shrunk(sources: Sequence[Path | Trace]) -> Iterator[str]:
    """A sentence for each recipe of which --scale has left more than that part."""
    for source in sources:
        if not isinstance(source, Path):
            from iotrace.profiles.made import MadeTrace

            if isinstance(source, MadeTrace) and (text := source.not_shrunk()):
                yield text

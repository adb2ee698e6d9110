"""Traces of profiles and workloads that a replay is given by name: made for it, and removed after it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from iotrace.errors import TraceError, UsageError
from iotrace.profiles.model import DataSet, Profile, Workload, is_workload, load, names_of
from iotrace.profiles.numbers import given_numbers


@contextmanager
def traces_of(
    names: Sequence[Path], dataset: str, given: Sequence[str], scale: float | None, seed: int
) -> Iterator[list[Path]]:
    """Folders of traces; those of recipes lie in a temporary folder.

    Raises
    ------
    UsageError: a recipe is wrong, or options of recipes were given for recordings alone.
    """
    known = {*names_of(Profile), *names_of(Workload)}
    recipes = [name for name in names if not name.exists() and (str(name) in known or name.suffix == ".toml")]
    recipes += [name for name in names if name.is_file() and name.suffix == ".toml"]
    if not recipes:
        if scale is not None or given:
            raise UsageError("--scale and --set are for profiles and workloads: `iotrace profile list` names them.")
        for name in names:
            if not name.exists() and len(name.parts) == 1 and not name.suffix:
                raise TraceError(f"{name}: there is no such trace, and no profile or workload of that name.")
        yield list(names)
        return
    # needs pyarrow.compute, which takes its time to import: not for a replay of a recording
    from iotrace.profiles.synthesise import synthesise
    from iotrace.profiles.workload import compose

    numbers = given_numbers(given)
    with tempfile.TemporaryDirectory(prefix="iotrace-recipe-") as folder:
        found = []
        for number, name in enumerate(names):
            if name not in recipes:
                found.append(name)
                continue
            target = Path(folder) / str(number) / f"{name.stem}.iotrace"
            target.parent.mkdir()
            if is_workload(name):
                compose(load(Workload, name), target, given=numbers, scale=scale or 1.0, seed=seed)
            else:
                synthesise(
                    load(Profile, name), load(DataSet, dataset), target, given=numbers, scale=scale or 1.0, seed=seed
                )
            found.append(target)
        yield found

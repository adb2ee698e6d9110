"""`iotrace size`: how much storage a workload needs, by a model."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from iotrace.errors import UsageError
from iotrace.terminal import Column, console, paragraph, printable, show, table

_MANY: Final[dict[str, Any]] = {"negative": (), "consume_multiple": False}
_USUAL: Final = "reference-architecture"
_RETENTION: Final = 3
_TAKES: Final = {
    "--list": ("--storages", "--json"),
    "--table-1": ("--storages", "--json"),
    "--fit": ("--capacity", "-o", "--force", "--json"),
}
"""What each of these takes: none of them asks the model about a workload."""


def size(
    workload: str = _USUAL,
    *,
    storage: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    node: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    units: int | None = None,
    set: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    scale: float = 1.0,
    datasets: float | None = None,
    retention: int = _RETENTION,
    archive: int = 0,
    storages: Path | None = None,
    list: Annotated[bool, Parameter(negative=())] = False,
    table_1: Annotated[bool, Parameter(negative=())] = False,
    fit: Annotated[list[Path] | None, Parameter(**_MANY)] = None,
    capacity: str | None = None,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    rates: Annotated[bool, Parameter(negative=())] = False,
    html: Path | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Say by a model how much storage a workload needs, and how long its users wait.

    The jobs are those of a workload (iotrace profile), on one kind of node, on one storage. Every figure is modelled.

    ```
    iotrace size reference-architecture --storage fsx-lustre-500 --storage weka-i3en
    iotrace size live-facility --node g5.24xlarge --storage weka-i3en --set users=40 --set lanes=20 --json
    ```

    Parameters
    ----------
    workload
        A workload that iotrace profile list names, or the path of a .toml.
    storage
        A storage of --list; may be given again. By default fsx-lustre-500 and weka-i3en.
    node
        The nodes that run jobs, one for each lane; may be given again. By default reference.
    units
        So many units (servers, TiB) of each storage; by default as many as the workload needs.
    set
        Another value for a number, as in users=40, box=448 or cached_lanes=5; may be given again.
    scale
        Multiply counts (movies, particles, …) by this.
    datasets
        Data sets that come each month; by default one for each user.
    retention
        Months for which a data set and what was made of it stays on the storage.
    archive
        Months for which it is kept elsewhere after that.
    storages
        Storages and nodes of your own (.toml), on top of the shipped ones.
    list
        Print the storages and nodes with their figures and sources, and do nothing else.
    table_1
        Hold the model against Table 1 of the WEKA reference architecture: fitted to its rows of one and four GPUs,
        what does it say of eight?
    fit
        Fit a storage to results of one trace, or of several, replayed with different --users on it; each result, or
        the folder of a --ramp, with a --fit of its own. Prints an entry for --storages, and how well the model
        explains the replays.
    capacity
        With --fit: what the storage holds, such as 35TB, which no replay tells.
    output
        With --fit: write the entry to a file; its name without .toml is the storage's.
    rates
        Print p50, p95, p99 and peak of reads, writes, operations and metadata by step too, as --json and --html have
        them.
    html
        Write the answers as a page too: tables and pictures in one file that loads nothing.
    force
        Let -o or --html replace a file.
    json
        Print one JSON object: s, bytes, bytes/s, operations/s, shares of 1.
    """
    given = {
        "--list": list, "--table-1": table_1, "--fit": bool(fit), "WORKLOAD": workload != _USUAL,
        "--storage": bool(storage), "--node": bool(node), "--units": units is not None, "--set": bool(set),
        "--scale": scale != 1, "--datasets": datasets is not None, "--retention": retention != _RETENTION,
        "--archive": archive != 0, "--storages": storages is not None, "--capacity": capacity is not None,
        "-o": output is not None, "--rates": rates, "--html": html is not None, "--force": force, "--json": json,
    }  # fmt: skip
    _refuse_idle([option for option, there in given.items() if there])
    from iotrace.analysis.sizing.storages import load_catalogue

    catalogue = load_catalogue(storages)
    out = console()
    if list:
        _list(catalogue, json)
        return
    if fit:
        _fit(fit, capacity, output, force, json)
        return
    if table_1:
        from iotrace.analysis.sizing.table_1 import held_out, print_held_out

        found = held_out(catalogue)
        if json:
            print(json_module.dumps(found.to_json(), allow_nan=False))
        else:
            print_held_out(found, out)
        return
    from iotrace.analysis.sizing.asking import NODES, STORAGES, answers_for
    from iotrace.analysis.sizing.show import print_answers
    from iotrace.profiles.numbers import given_numbers

    answers = answers_for(
        workload, storage or STORAGES, node or NODES, units=units, given=given_numbers(set or []), scale=scale,
        datasets=datasets, retention=retention, archive=archive, catalogue=catalogue,
    )  # fmt: skip
    if json:
        print(json_module.dumps({"answers": [one.to_json() for one in answers]}, allow_nan=False))
    else:
        print_answers(answers, out, rates)
    if html is not None:
        from iotrace.analysis.sizing.page import write_page

        write_page(answers, html, force)
        if not json:
            paragraph(out, f"wrote {printable(str(html))}")


def _refuse_idle(options: Sequence[str]) -> None:
    """Refuse options that would do nothing beside the others."""
    for mode in (option for option in options if option in _TAKES):
        idle = [option for option in options if option != mode and option not in _TAKES[mode]]
        if idle:
            raise UsageError(f"{', '.join(idle)}: no part of {mode}, which takes {', '.join(_TAKES[mode])}.")
        return
    if "--capacity" in options or "-o" in options:
        raise UsageError("--capacity and -o go with --fit: give the results (NAME.ioresult) to fit to.")
    if "--rates" in options and "--json" in options:
        raise UsageError("--rates: --json holds rates by step anyway.")
    if "--force" in options and "--html" not in options:
        raise UsageError("--force goes with --html or -o: it lets them replace a file.")


def _fit(folders: Sequence[Path], capacity: str | None, output: Path | None, force: bool, json: bool) -> None:
    from iotrace.analysis.sizing import fitted_storage as shown
    from iotrace.analysis.sizing.fitting import fit
    from iotrace.analysis.sizing.replays import points_of
    from iotrace.units import parse_capacity

    if capacity is None:
        raise UsageError("--fit: say with --capacity what the storage holds, such as 35TB: no replay tells.")
    if parse_capacity(capacity) <= 0:
        raise UsageError(f"--capacity {capacity}: above 0, such as 35TB.")
    if output is not None and output.exists() and not force:
        raise UsageError(f"-o {output} exists already: choose another name, or --force to replace it.")
    found = fit(points_of(folders))
    entry = shown.entry_of(found, output.stem if output else "fitted", capacity, folders)
    if output is not None:
        shown.write_entry(entry, output, force)
    if json:
        print(json_module.dumps(shown.to_json(found, entry), allow_nan=False))
    else:
        shown.print_fit(found, entry, console())


def _list(catalogue: Any, json: bool) -> None:
    import msgspec

    if json:
        # what is unlimited is infinite, which JSON cannot say: msgspec writes null
        print(msgspec.json.encode(catalogue).decode())
        return
    out = console()
    for title, entries in (("Storages", catalogue.storages), ("Nodes", catalogue.nodes)):
        rows = [[printable(name), printable(one.title)] for name, one in entries.items()]
        show(out, table([Column("name", "left"), Column("", "left", stretch=True)], rows, out.width, title))
        for name, one in entries.items():
            figures = ", ".join(_figures(one, ("title", "source", "inferred")))
            guessed = f" Guessed: {one.inferred}." if one.inferred else ""
            paragraph(out, printable(f"{name}: {figures}. Source: {one.source}.{guessed}"), "dim", indent=2)
        show(out, "")


def _figures(entry: Any, without: Sequence[str] = ()) -> Iterator[str]:
    import msgspec

    for key in entry.__struct_fields__:
        value = getattr(entry, key)
        if isinstance(value, msgspec.Struct):
            yield f"{key} ({', '.join(_figures(value))})"
        elif key not in without and value not in (None, "", False, (), float("inf")):
            yield f"{key} {value}"

"""`iotrace report`: writes traces and results as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from iotrace.errors import UsageError
from iotrace.terminal import printable

_MANY: Final[dict[str, Any]] = {"negative": (), "consume_multiple": False}


def report(
    source: Path,
    /,
    *sources: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html"),
    force: Annotated[bool, Parameter(negative=())] = False,
    size: str | None = None,
    storage: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    node: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    set: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    storages: Path | None = None,
    dask: str | None = None,
) -> None:
    """Write traces and results as one HTML page.

    The page holds everything it shows: verdict, pictures, sortable tables, warnings, and where each figure comes
    from. It loads nothing from the network and can be sent by mail.

    ```
    iotrace report T.iotrace R.ioresult -o report.html
    iotrace report R.ioresult --size reference-architecture --storage weka-i3en --set users=40
    ```

    Parameters
    ----------
    source
        Folder of a trace (NAME.iotrace), of a result (NAME.ioresult), or one that holds traces: a chapter on them all.
    sources
        More of them, in any order; results are compared, the first mount is the baseline.
    output
        File to write; an earlier report there is replaced.
    force
        Replace the file even where it is not a report of iotrace.
    size
        Add chapters on how much storage this workload needs, by a model: as iotrace size --html has them.
    storage
        With --size: a storage of iotrace size --list; may be given again. By default fsx-lustre-500 and weka-i3en.
    node
        With --size: the nodes that run jobs; may be given again. By default reference.
    set
        With --size: another value for a number of the workload, as in users=40; may be given again.
    storages
        With --size: storages and nodes of your own (.toml), such as what iotrace size --fit wrote.
    dask
        Address of a Dask scheduler (tcp://HOST:8786): its workers work out a trace each.
    """
    from iotrace.analysis.report.write import write_report

    answers = []
    if size is not None:
        from iotrace.analysis.sizing.asking import NODES, STORAGES, answers_for
        from iotrace.analysis.sizing.storages import load_catalogue
        from iotrace.profiles.numbers import given_numbers

        answers = answers_for(
            size, storage or STORAGES, node or NODES, given=given_numbers(set or []), catalogue=load_catalogue(storages)
        )
    elif storage or node or set or storages:
        raise UsageError("--storage, --node, --set and --storages go with --size WORKLOAD.")
    written = write_report([source, *sources], output, force, answers, dask)
    print(printable(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB)"))

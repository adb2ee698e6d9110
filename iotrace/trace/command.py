"""`iotrace import`: make a trace from a log of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from iotrace.errors import UsageError
from iotrace.units import count_text, duration_text


def import_trace(
    format: Literal["strace"],
    *file: Path,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    cwd: Path | None = None,
) -> None:
    """Make a trace from a log of another tool.

    A log of strace is best written with names of descriptors, times and durations; other forms are read too, and the
    trace says what they
    could not tell.

    ```
    strace -f -ttt -T -yy -o tar.log tar cf a.tar data
    iotrace import strace tar.log -o tar.iotrace
    ```

    Parameters
    ----------
    format
        The tool that wrote the log.
    file
        The log, or all the files that `strace -ff -o NAME` wrote (NAME alone will do).
    output
        Folder of the trace to make; by default the first log's name with .iotrace.
    force
        Replace a trace that stands there already.
    cwd
        The command's working folder, for a log that does not show it (strace without -y).
    """
    from iotrace.trace.formats.strace import import_strace

    if not file:
        raise UsageError("there is no log to import: name it, as in: iotrace import strace tar.log -o tar.iotrace")
    folder = output if output is not None else Path(f"{file[0].name}.iotrace")
    info = import_strace(file, folder, force, str(cwd.absolute()) if cwd is not None else None)
    print(f"{count_text(info.events)} operations in {duration_text(info.duration_ns)} → {folder}")
    for kind, count in info.lost.items():
        print(f"lost: {count} {kind} operations, whose lines are torn or not of strace's form")
    for sentence in info.unseen:
        print(f"not in it: {sentence}")

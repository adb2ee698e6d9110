"""`iotrace import` and `iotrace anonymise`: a trace from a log of another tool, a trace that may leave the house."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from iotrace.errors import UsageError
from iotrace.terminal import console, paragraph, printable, show
from iotrace.units import count_text, duration_text

if TYPE_CHECKING:
    from iotrace.trace.info import TraceInfo


def import_trace(
    format: Literal["strace", "darshan", "fio-iolog"],
    *file: Path,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    cwd: Path | None = None,
    detail: Literal["events", "histogram"] | None = None,
) -> None:
    """Make a trace from a log of another tool.

    A log of strace is best written with names of descriptors, times and durations; other forms are read too, and the
    trace says what they could not tell. Logs of fio (write_iolog) become a thread each. Of a log of Darshan, what DXT
    traced becomes events; without DXT, its counters by file and rank become counts.

    ```
    strace -f -ttt -T -yy -o tar.log tar cf a.tar data
    iotrace import strace tar.log -o tar.iotrace
    iotrace import darshan job.darshan -o job.iotrace
    iotrace import fio-iolog fio.log -o fio.iotrace
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
    detail
        Of a log of Darshan: events (reads and writes that DXT traced) or histogram (its counters); by default events
        where there are any.
    """
    if not file:
        raise UsageError("there is no log to import: name it, as in: iotrace import strace tar.log -o tar.iotrace")
    folder = output if output is not None else Path(f"{file[0].name}.iotrace")
    if cwd is not None and format != "strace":
        raise UsageError("--cwd is for logs of strace: names in a log of another tool are taken as they stand.")
    if detail is not None and format != "darshan":
        raise UsageError("--detail is for logs of Darshan: other logs hold events alone.")
    if format == "strace":
        info = _from_strace(file, folder, force, cwd)
    elif format == "darshan":
        info = _from_darshan(file, folder, force, detail)
    else:
        info = _from_fio(file, folder, force)
    what = "counts" if info.detail == "histogram" else f"{count_text(info.events)} operations"
    print(f"{what} in {duration_text(info.duration_ns)} → {folder}")
    why = "of which there is no usable segment" if format == "darshan" else "whose lines are torn or of another form"
    for kind, count in info.lost.items():
        print(f"lost: {count} {kind} operations, {why}")
    for sentence in info.unseen:
        print(f"not in it: {sentence}")


def _from_strace(file: Sequence[Path], folder: Path, force: bool, cwd: Path | None) -> TraceInfo:
    from iotrace.compiling import compiling_text
    from iotrace.trace.formats.strace.importing import import_strace
    from iotrace.trace.formats.strace.kernels.lines import feed

    if text := compiling_text(feed):
        print(text, file=sys.stderr)
    return import_strace(file, folder, force, str(cwd.absolute()) if cwd is not None else None)


def _from_darshan(
    file: Sequence[Path], folder: Path, force: bool, detail: Literal["events", "histogram"] | None
) -> TraceInfo:
    from iotrace.trace.formats.darshan import import_darshan

    if len(file) > 1:
        raise UsageError("a log of Darshan is one job, and becomes one trace: import them one by one.")
    return import_darshan(file[0], folder, force, detail)


def _from_fio(file: Sequence[Path], folder: Path, force: bool) -> TraceInfo:
    from iotrace.trace.formats.fio_iolog import import_iolog

    return import_iolog(file, folder, force)


def anonymise(
    trace: Path,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    key: Path | None = None,
    keep_steps: Annotated[bool, Parameter(negative=())] = False,
    keep_time: Annotated[bool, Parameter(negative=())] = False,
    force: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make a copy of a trace that names nothing and replays the same.

    Each component of each path becomes a token of the same length and the same known extension, the same wherever the
    component stands. Command lines, labels, user, host, boot, date and the sources of mounts go. What stays is printed:
    read it before you mail the trace.

    ```
    iotrace anonymise T.iotrace -o A.iotrace
    ```

    Parameters
    ----------
    trace
        The trace to copy; it stays as it is.
    output
        Folder of the trace to make.
    key
        File that holds the secret from which tokens are made, so that several traces of one site get the same tokens;
        it is made where it is not there. Without it the secret is random and forgotten. Never give it away.
    keep_steps
        Keep the labels step and job_type (public words of CryoSPARC), for `summary --by step`.
    keep_time
        Keep the date and the machine's clock, to align the traces of several nodes.
    force
        Replace a trace that stands there already.
    json
        Print the figures as one JSON object.
    """
    from iotrace.trace.anonymise import NOT_HIDDEN, anonymise_trace, read_key
    from iotrace.trace.info import read_info

    read_info(trace)  # no key is made for a trace that is not there
    secret, made = read_key(key) if key is not None else (None, False)
    with _progress() as progress:
        done = anonymise_trace(
            trace, output, secret, keep_steps=keep_steps, keep_time=keep_time, force=force, progress=progress
        )
    if json:
        print(json_module.dumps(done.to_json(), ensure_ascii=True, allow_nan=False))
        return
    out = console()
    kept = "histograms" if done.rows.get("histograms") else "events"
    counts = f"{count_text(done.rows[kept])} {'counts' if kept == 'histograms' else 'operations'}"
    counts += f", {count_text(done.rows['paths'])} names"
    show(out, printable(f"{counts} → {output}{'' if done.info.complete else ' (incomplete, as the trace is)'}"))
    if made:
        show(out, printable(f"made the key {key}: keep it, and keep it secret"))
    paragraph(out, f"hidden: {', '.join(done.info.anonymised)}")
    left = [f".{extension}" for extension in done.extensions] + done.words
    paragraph(out, f"left in names: {', '.join(left) or 'nothing'}")
    show(out, "NOT hidden:")
    for sentence in NOT_HIDDEN:
        show(out, f"  - {sentence}")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error while events are copied, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(TextColumn("events"), BarColumn(), TimeElapsedColumn(), console=console(stderr=True), transient=True)
    with bar:
        task = bar.add_task("")
        yield lambda done, total: bar.update(task, completed=done, total=max(done, total))

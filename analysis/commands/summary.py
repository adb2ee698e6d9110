"""`iotrace summary`: prints a trace's figures, in 80 columns or in as many as the terminal has."""

from __future__ import annotations

import json as json_module
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from iotrace.analysis.beside import beside_lines
from iotrace.analysis.spread import Spread, spread
from iotrace.analysis.summary import Summary, dropped_sentence, has_labels, summarise, timing_notes
from iotrace.errors import UsageError
from iotrace.terminal import Cell, Column, console, paragraph, printable, shorten, show, table
from iotrace.trace.counted import keys_of
from iotrace.trace.reader import Trace, open_trace
from iotrace.trace.sets import traces_of
from iotrace.trace.tables import records
from iotrace.units import asked_text, bytes_text, count_text, duration_text, significant

if TYPE_CHECKING:
    from rich.text import Text

By = Literal["op", "class", "file", "process", "thread", "mount", "step", "job", "user"]

_TITLES: Final = {
    "op": "By operation",
    "class": "By class of operation",
    "file": "By file",
    "process": "By process",
    "thread": "By thread",
    "mount": "By mount",
    "step": "By step",
    "job": "By job",
    "user": "By user",
}
_ORDER: Final = ("key", "calls", "errors", "bytes", "read", "written", "p50", "p99", "size", "seq", "time")
_ALWAYS: Final = {
    "op": ("key", "calls", "errors", "bytes", "p50", "p99", "size", "seq", "time"),
    "other": ("key", "calls", "read", "written", "p99", "seq", "time"),
}
_WHEN_WIDE: Final = ("errors", "p50", "size")
_WIDE: Final = 110
_FINDINGS: Final = 3
_FINDINGS_MOST: Final = 2_000_000
"""Events up to which a summary looks for findings, for a second or three."""


def summary(
    trace: Path,
    /,
    *traces: Path,
    by: By | None = None,
    top: int = 10,
    json: Annotated[bool, Parameter(negative=())] = False,
    dask: str | None = None,
) -> None:
    """Say what a trace holds: calls, bytes, latencies and sizes.

    Without `--by` it prints the figures of the whole, the table by operation, the files that took most time, and the
    table by step where processes carry labels.

    ```
    iotrace summary T.iotrace --by file --top 20
    ```

    In the tables, *size* is the median size (bytes) that data operations asked for, *seq* the share of them that went
    on where the one before ended, *time* the sum of the time inside the calls.

    Parameters
    ----------
    trace
        Folder of the trace, NAME.iotrace, or a folder of traces.
    traces
        More of them: the figures are of all together.
    by
        One table only: by operation, class, file, process, thread, mount, step, job or user.
    top
        Rows of a table by file, process or thread: those with most time; 0 for all.
    json
        Print one JSON object with the same figures (times in µs and s, sizes in bytes).
    dask
        Address of a Dask scheduler (tcp://HOST:8786): its workers work out a trace each.
    """
    if top < 0:
        raise UsageError(f"--top {top}: a number of rows, or 0 for all.")
    limit = top if top > 0 else None
    folders = traces_of([trace, *traces])
    opened = [open_trace(folder) for folder in folders]
    with spread(dask) as over:
        if json:
            keys = dict.fromkeys(["op", "step", *([by] if by else [])])
            made = _made(opened, folders, list(keys), limit, over)
            print(json_module.dumps(made.to_json(), ensure_ascii=True, allow_nan=False))
            return
        second: By = "file" if any(keys_of(one, ["file"]) for one in opened) else "process"
        keys = dict.fromkeys([by] if by else ["op", second, "step"])
        made = _made(opened, folders, list(keys), limit, over)
    out = console()
    show(out, header(made, out.width))
    for key in keys:
        if key == "step" and not by and not has_labels(made.tables[key]):
            continue
        show(out, "")
        show(out, table_text(made, key, out.width))
        for note in timing_notes(made, key):
            paragraph(out, note, "dim")
    if not by:
        _beside(made)
        _findings([trace, *traces], opened, made)


def _made(opened: list[Trace], folders: list[Path], keys: list[str], limit: int | None, over: Spread) -> Summary:
    if len(opened) > 1:
        # brings the findings' kernels, which a summary of one trace mostly does not need
        from iotrace.analysis.sets import summarise_set

        return summarise_set(folders, keys, limit, over)
    return over(partial(summarise, by=keys, limit=limit), opened)[0]


def _beside(made: Summary) -> None:
    """What devices, mounts and the machine did meanwhile, whoever's work it was."""
    lines = beside_lines(made.info.counters, made.duration_s)
    if not lines:
        return
    out = console()
    show(out, "")
    paragraph(out, "Counted beside, whoever's work it was", "bold")
    for line in lines:
        paragraph(out, printable(line), indent=2)


def _findings(given: list[Path], opened: list[Trace], made: Summary) -> None:
    """The costliest findings in a line each; of large or several traces only where to ask for them."""

    from iotrace.analysis.findings.search import search

    out = console()
    command = shlex.join(["iotrace", "findings", *(one.name for one in given)])
    show(out, "")
    if made.events > _FINDINGS_MOST or len(opened) > 1:
        paragraph(out, printable(f"What hurts a shared storage, and why: {command}"), "dim")
        return
    found = search(opened[0], with_reuse=False).findings
    if not found:
        return
    paragraph(out, printable(f"Findings ({command} explains them)"), "bold")
    columns = [Column("", stretch=True, align="left"), Column("gain at most"), Column("calls")]
    rows = [[f.rule.title, duration_text(f.evidence.gain_ns) if f.evidence.gain_ns else "not known",
             count_text(f.evidence.spared or f.evidence.calls)] for f in found[:_FINDINGS]]  # fmt: skip
    show(out, table(columns, rows, out.width))


def header(made: Summary, width: int) -> Text:
    """What was recorded, how, and what is missing of it."""
    from rich.text import Text

    info = made.info
    text = Text()
    text.append(printable(made.name), style="bold")
    command = (
        printable(shlex.join(info.command))
        if info.command
        else printable(str(info.filters.get("whom", "(no command)")))
    )
    command = "(anonymised)" if info.anonymised and not info.command else command
    text.append(f": {shorten(command, 2 * width)}\n")
    host = info.host or ("a host that is not named" if info.anonymised else "unknown host")
    where = f"recorded by {info.backend or 'unknown'} on {host}"
    kernel = f", Linux {info.kernel} {info.architecture}" if info.kernel else ""
    text.append(printable(f"{where}{kernel}{', ' + info.started_utc if info.started_utc else ''}") + "\n", style="dim")
    files = f"{count_text(made.files)} file{'' if made.files == 1 else 's'}, " if made.tells_files else ""
    facts = (
        f"{duration_text(made.duration_s * 1e9)}, {count_text(made.events)} events, "
        f"{count_text(made.processes)} process{'' if made.processes == 1 else 'es'}, "
        f"{files}"
        f"{bytes_text(made.bytes_read)} read, {bytes_text(made.bytes_written)} written"
    )
    text.append(facts + "\n")
    if made.lost:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in made.lost_by_class.items())
        text.append(
            printable(f"LOST {made.lost:,} operations ({kinds}): the figures below are too low.") + "\n",
            style="bold red",
        )
    if made.gone:
        text.append(
            f"NOT WHOLE: {made.gone:,} of {made.info.events:,} events are not in the folder any more.\n",
            style="bold red",
        )
    elif not made.complete and not made.lost:
        text.append("NOT COMPLETE: the recording was cut off; the figures are of what was written.\n", style="bold red")
    elif made.complete:
        text.append("complete, nothing lost\n", style="green")
    if info.dropped.events:
        text.append(dropped_sentence(info) + "\n", style="yellow")
    for sentence in info.unseen:
        text.append(printable(f"not seen: {sentence}") + "\n", style="yellow")
    text.rstrip()
    return text


def table_text(made: Summary, key: str, width: int) -> Text:
    """One table of the summary, fitted to the width."""
    frame = made.tables[key]
    wanted = _ALWAYS.get(key, _ALWAYS["other"])
    if width >= _WIDE:
        wanted = tuple(name for name in _ORDER if name in wanted or name in _WHEN_WIDE)
    heads = {"key": key, "errors": "err"}
    columns = [
        Column(
            heads.get(name, name), "left" if name == "key" else "right", "cyan" if name == "key" else "", name == "key"
        )
        for name in wanted
    ]
    rows = [[_cell(row, name, key, made) for name in wanted] for row in records(frame)]
    if not rows:
        rows = [["(nothing)" if name == "key" else "" for name in wanted]]
    return table(columns, rows, width, _TITLES[key])


def _cell(row: dict[str, Any], name: str, key: str, made: Summary) -> str | Cell:
    if name == "key":
        return _label(row, key, made)
    if name == "calls":
        return count_text(row["calls"])
    if name == "errors":
        return Cell(count_text(row["errors"]), "yellow") if row["errors"] else Cell("-", "dim")
    if name in ("bytes", "read", "written"):
        value = {
            "bytes": max(row["bytes_read"], row["bytes_written"]),
            "read": row["bytes_read"],
            "written": row["bytes_written"],
        }[name]
        return bytes_text(value) if value else Cell("-", "dim")
    if name in ("p50", "p99"):
        value = row[f"{name}_us"]
        return Cell("-", "dim") if _is_nan(value) else duration_text(value * 1e3)
    if name == "size":
        return Cell("-", "dim") if _is_nan(row["size_p50"]) else _short_size(int(row["size_p50"]))
    if name == "seq":
        share = row["sequential_share"]
        return Cell("-", "dim") if _is_nan(share) else f"{significant(share * 100, 2)}%"
    # a backend that cannot time an operation says nothing of its time
    return Cell("-", "dim") if _is_nan(row["p50_us"]) and not row["time_s"] else duration_text(row["time_s"] * 1e9)


def _label(row: dict[str, Any], key: str, made: Summary) -> str | Cell:
    if row["key"] is None:
        return Cell({"file": "(no file)", "mount": "(mount unknown)"}.get(key, "(no label)"), "dim")
    if key == "mount":
        mount = made.info.mounts[int(row["id"])]
        return f"{mount.point} ({mount.type})"
    return str(row["key"])


def _short_size(size: int) -> str:
    exact = asked_text(size)
    return exact if len(exact) <= 7 else bytes_text(size)


def _is_nan(value: float) -> bool:
    return value is None or value != value

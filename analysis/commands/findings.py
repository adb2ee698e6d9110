"""`iotrace findings`: what in a trace, or at a replay's storage, hurts, why, and what to do about it."""

from __future__ import annotations

import json as json_module
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from iotrace.analysis.findings.prices import Mounted, mounts_of, search_replayed, source_of
from iotrace.analysis.findings.search import Found, search
from iotrace.analysis.findings.show import finding_text, reuse_text
from iotrace.analysis.sets import search_set
from iotrace.analysis.spread import spread
from iotrace.errors import UsageError
from iotrace.terminal import console, paragraph, printable, show
from iotrace.trace.reader import open_trace
from iotrace.trace.sets import traces_of
from iotrace.trace.tables import records
from iotrace.units import count_text, duration_text


def findings(
    of: Path,
    /,
    *more: Path,
    trace: Path | None = None,
    under: Path | None = None,
    top: int = 0,
    without: str | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
    dask: str | None = None,
) -> None:
    """Say what in a trace hurts a shared storage, why, what to do, and what that could gain.

    Findings are ranked by the time that could be spared at most; gains of two findings may be about the same calls, so
    they do not add up. Of a result the latencies are those of its mounts, the calls those of the replayed trace.

    ```
    iotrace findings T.iotrace
    iotrace findings R.ioresult --trace T.iotrace
    ```

    Parameters
    ----------
    of
        A trace (NAME.iotrace), a folder of traces, or a result of a replay (NAME.ioresult).
    more
        More traces: limits and ranks are of all together.
    trace
        With a result: the trace that was replayed, where it lies neither beside the result nor here.
    under
        Look only at files below this folder (absolute, as the recorded program saw it): the storage in question.
    top
        How many findings to print, the costliest first; 0 for all.
    without
        Name of a finding: write a copy of the trace without the calls that its advice would spare, and print nothing
        else. A replay of the copy beside one of the trace shows what the advice gains on a mount.
    output
        With --without: the copy's folder.
    force
        With --without: replace a trace that is there.
    json
        Print one JSON object with everything found (times in seconds).
    dask
        Address of a Dask scheduler (tcp://HOST:8786): its workers look at a trace each.
    """
    if top < 0:
        raise UsageError(f"--top {top}: a number of findings, or 0 for all.")
    is_result = (of / "result.json").is_file()
    if trace and not is_result:
        raise UsageError(f"--trace goes with a result of a replay, and {of} is none.")
    if without is not None or output is not None:
        if without is None or output is None or is_result or more:
            raise UsageError("--without FINDING and -o FOLDER go together, with one trace.")
        from iotrace.analysis.findings.leave_out import leave_out

        count = leave_out(open_trace(of), without, output, force, under)
        print(printable(f"{output}: without {count:,} calls; replay it beside {of}"))
        return
    if is_result and more:
        raise UsageError(f"{of} is a result: give one result, or traces.")
    mounted = mounts_of(of) if is_result else []
    folders = traces_of([source_of(of, trace)] if is_result else [of, *more])
    traces = [open_trace(folder) for folder in folders]
    title = traces[0].folder.name if len(traces) == 1 else f"{len(traces)} traces"
    with spread(dask) as over:
        if len(traces) > 1:
            found = search_set(folders, under, over=over)
        elif is_result and under is None:
            found = over(partial(search_replayed, result=of), folders)[0]
        else:
            found = over(partial(search, under=under), traces)[0]
    if json:
        print(json_module.dumps(_as_json(title, found, mounted), ensure_ascii=True, allow_nan=False))
        return
    out = console()
    if not mounted:
        families = [
            mount.type
            for one in traces
            for number, mount in enumerate(one.info.mounts)
            if number in found.mounts or len(traces) > 1
        ]
        _print(title, found, families, top)
        told = found.findings
    else:
        told = []
    for one in mounted:
        there = one.found(found)
        told += there.findings
        _print(f"{title} on {one.point} ({one.type})", there, [one.type], top, "a run took")
    if found.reuse is not None and any(f.rule.name in ("rereads", "cache-too-small") for f in told):
        text = reuse_text(found.reuse, out.width)
        if text is not None:
            show(out, "")
            show(out, text)
            if found.reuse.share < 1:
                paragraph(out, f"Worked out from {found.reuse.share:.2%} of the blocks, picked by a hash.", "dim")


def _print(title: str, found: Found, families: list[str], top: int, went_by: str = "recorded in") -> None:
    out = console()
    totals, chosen = found.totals, found.findings
    show(out, "")
    paragraph(
        out,
        f"{printable(title)}: {count_text(len(chosen))} finding{'' if len(chosen) == 1 else 's'}; "
        f"{count_text(totals.calls)} calls, {duration_text(totals.time_ns)} in them, all threads together; {went_by} "
        f"{totals.wall_text}",
        "bold",
    )
    if found.incomplete:
        paragraph(out, found.incomplete, "bold red")
    if found.hardly_matters:
        paragraph(out, found.hardly_matters, "yellow")
    if found.left_open:
        paragraph(out, found.left_open, "yellow")
    if not chosen:
        paragraph(out, f"Nothing that iotrace looks for: {', '.join(title.lower() for title in found.looked_for)}.")
    for number, finding in enumerate(chosen[: top or None], start=1):
        show(out, "")
        show(out, finding_text(number, finding, out.width, families))
    if chosen:
        show(out, "")
        paragraph(out, "Gains are bounds, and may be about the same calls: they do not add up.", "dim")


def _as_json(title: str, found: Found, mounted: list[Mounted]) -> dict[str, Any]:
    totals = found.totals
    result: dict[str, Any] = {
        "trace": title, "calls": totals.calls, "time_s": totals.time_ns / 1e9,
        "wall_s": totals.wall_ns / 1e9, "clock_s": totals.clock_ns / 1e9 or None, "incomplete": found.incomplete,
        "looked_for": found.looked_for, "not_judged": found.not_judged,
        "findings": [f.to_json() for f in found.findings],
    }  # fmt: skip
    if mounted:
        result["mounts"] = [
            {"fs": one.point, "type": one.type, "findings": [f.to_json() for f in one.found(found).findings]}
            for one in mounted
        ]
    if found.reuse is not None:
        result["reuse"] = {
            "share": found.reuse.share, "by_step": records(found.reuse.by_step), "curve": records(found.reuse.curve),
        }  # fmt: skip
    return result

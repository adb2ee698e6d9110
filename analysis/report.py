"""One self-contained HTML page about traces, results, or both: verdict, pictures, tables, and where it all comes from.

Takes folders of traces and results, gives a file. The page loads nothing (a content security policy forbids it, and
allows only its own script by hash), follows the reader's light or dark setting, prints, and works with a keyboard and
a screen reader. Every text of a trace goes through iotrace.terminal.printable and Jinja's escaping.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iotrace import __version__
from iotrace.analysis import comparison_plots, plots
from iotrace.analysis.activity_plot import activity
from iotrace.analysis.compare import ComparisonTable, compare_results
from iotrace.analysis.comparison.fio import FioFile
from iotrace.analysis.comparison.sides import Side, opened, sides_of
from iotrace.analysis.report_findings import FindingBlock, finding_blocks
from iotrace.analysis.report_tables import Fact, Grid, comparison_grids, operations_grid, summary_grid
from iotrace.analysis.summary import Summary, dropped_sentence, has_labels, summarise
from iotrace.analysis.warnings import warnings_of
from iotrace.errors import StorageError, TraceError, UsageError
from iotrace.replay.conditions import conditions_lines
from iotrace.replay.result import RESULT_NAME, Result, ResultInfo, open_result
from iotrace.terminal import printable
from iotrace.trace.counted import keys_of, tables_of
from iotrace.trace.info import INFO_NAME
from iotrace.trace.reader import Trace, open_trace
from iotrace.units import binary_text, bytes_text, count_text, duration_text

if TYPE_CHECKING:
    from jinja2 import Environment

_FILES_SHOWN: Final = 30
_GENERATOR: Final = '<meta name="generator" content="iotrace '


@dataclass
class Section:
    """A chapter of the page: an opening sentence, key figures, warnings, findings, then pictures and tables."""

    id: str
    title: str
    lead: str = ""
    facts: list[Fact] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    findings: list[FindingBlock] = field(default_factory=list)
    findings_lead: str = ""
    blocks: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Origin:
    """Where a source's figures come from."""

    title: str
    provenance: str
    facts: list[Fact]


def write_report(sources: Sequence[str | Path], output: str | Path, force: bool = False) -> Path:
    """Write the page.

    Parameters
    ----------
    sources: folders of traces (NAME.iotrace) and results (NAME.ioresult), in any order.
    output: the file to write; a page that iotrace made there before is replaced.
    force: replace any other file too.

    Returns
    -------
    The file's path.

    Raises
    ------
    UsageError: no sources. TraceError: a source is neither a trace nor a result, or is damaged.
    StorageError: the file cannot be written, or another file is there.
    """
    target = Path(output)
    _check_target(target, force)
    return _write(render_report(sources), target)


def write_comparison(
    sources: Sequence[Path | Sequence[Path]], table: ComparisonTable, output: str | Path, force: bool = False
) -> Path:
    """Write the page of one comparison; see write_report.

    Parameters
    ----------
    sources: what each side was made from, as for compare_results: results and files of fio's JSON, or sets of them.
    """
    target = Path(output)
    _check_target(target, force)
    results = [opened(one) for source in sources for one in ([source] if isinstance(source, Path) else source)]
    sections, verdicts, warnings = _comparison_sections(table, [r for r in results if isinstance(r, Result)], 1)
    origins = [_result_origin(result.info, _file_name(result)) for result in results]
    names = ", ".join(printable(_file_name(result)) for result in results)
    return _write(_page("Storage comparison: " + names, sections, origins, verdicts, warnings), target)


def write_sections(
    title: str, sections: list[Section], origins: list[Origin], warnings: list[str], output: str | Path, force: bool
) -> Path:
    """Write a page of chapters that another module made; see write_report for what is raised."""
    target = Path(output)
    _check_target(target, force)
    return _write(_page(title, sections, origins, [], warnings), target)


def _file_name(result: Result | FioFile) -> str:
    path = result.path if isinstance(result, FioFile) else result.folder
    return path.name if path else result.info.source


def _write(html: str, target: Path) -> Path:
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=target.name[-100:], dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(html)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except OSError as error:
        raise StorageError(f"cannot write the report {target}: {error.strerror or error}.") from None
    return target


def render_report(sources: Sequence[str | Path]) -> str:
    """The page's HTML; see write_report."""
    if not sources:
        raise UsageError("there is nothing to report: give traces or results.")
    found_sources = [_open(Path(source)) for source in sources]
    traces = [source for source in found_sources if isinstance(source, Trace)]
    results = [source for source in found_sources if isinstance(source, Result)]
    sections: list[Section] = []
    origins: list[Origin] = []
    verdicts: list[dict[str, str]] = []
    warnings: list[str] = []
    if results:
        found, verdicts, warnings = _result_sections(results)
        sections += found
        origins += [_result_origin(result.info, _file_name(result)) for result in results]
    for number, trace in enumerate(traces, 1):
        section, origin = _trace_section(trace, number)
        sections.append(section)
        origins.append(origin)
    names = ", ".join(printable(source.folder.name) for source in found_sources if source.folder is not None)
    title = ("Storage comparison: " if results and verdicts else "Replay: " if results else "File I/O: ") + names
    return _page(title, sections, origins, verdicts, warnings)


def _page(
    title: str, sections: list[Section], origins: list[Origin], verdicts: list[dict[str, str]], warnings: list[str]
) -> str:
    environment = _environment()
    script = environment.get_template("report.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        title=title,
        subtitle=f"Written by iotrace {__version__} on {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}",
        version=__version__,
        style=_safe(environment.get_template("report.css.j2").render()),
        script=_safe(script),
        script_hash=f"sha256-{digest}",
        verdicts=verdicts,
        warnings=[printable(sentence) for sentence in warnings],
        sections=sections,
        origins=origins,
    )


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    environment.policies["urlize.rel"] = "noreferrer"
    return environment


def _safe(text: str) -> Any:
    """Mark text of our own making (style, script, pictures) as HTML."""
    from markupsafe import Markup

    return Markup(text)


def _open(folder: Path) -> Trace | Result:
    if (folder / RESULT_NAME).exists():
        return open_result(folder)
    if (folder / INFO_NAME).exists() or not folder.exists():
        return open_trace(folder)
    raise TraceError(f"{folder} is neither a trace nor a result: it holds no {INFO_NAME} and no {RESULT_NAME}.")


def _check_target(target: Path, force: bool) -> None:
    if target.is_dir():
        raise StorageError(f"{target} is a folder: give the file to write, such as {target / 'report.html'}.")
    if force or not target.exists():
        return
    with target.open("rb") as file:
        ours = _GENERATOR.encode() in file.read(4096)
    if not ours:
        raise StorageError(
            f"{target} exists and is not a report of iotrace: choose another name, or --force to replace it."
        )


def picture_block(picture: plots.Picture) -> Any:
    """A picture for the template, its SVG marked as HTML of our own making."""
    return {
        "svg": _safe(picture.svg),
        "caption": picture.caption,
        "alternative": picture.alternative,
        "provenance": picture.provenance,
    }


def _result_sections(results: Sequence[Result]) -> tuple[list[Section], list[dict[str, str]], list[str]]:
    """Sections, verdicts and warnings of all results; only results of one plan did the same work and are compared."""
    plans: dict[str, list[Result]] = {}
    for result in results:
        plans.setdefault(result.info.plan_hash, []).append(result)
    sections: list[Section] = []
    verdicts: list[dict[str, str]] = []
    warned: dict[str, list[str]] = {}
    for number, group in enumerate(plans.values(), 1):
        name = printable((group[0].info.source or f"plan {number}").removesuffix(".iotrace"))
        found, said, warnings = _plan_sections(group, number)
        for section in found if len(plans) > 1 else []:
            section.title = f"{name}: {section.title}"
        sections += found
        verdicts += [
            {**verdict, "text": f"{name}: {verdict['text']}"} if len(plans) > 1 else verdict for verdict in said
        ]
        for sentence in warnings:
            warned.setdefault(sentence, []).append(name)
    everywhere = len(plans)
    return (
        sections,
        verdicts,
        [text if len(names) == everywhere else f"{', '.join(names)}: {text}" for text, names in warned.items()],
    )


def _plan_sections(results: Sequence[Result], plan: int) -> tuple[list[Section], list[dict[str, str]], list[str]]:
    sides = sides_of(results)
    if len(sides) < 2:
        return [_single_section(sides[0], plan)], [], warnings_of(sides, paired=False)
    return _comparison_sections(compare_results(*results), results, plan)


def _comparison_sections(
    table: ComparisonTable, results: Sequence[Result], plan: int
) -> tuple[list[Section], list[dict[str, str]], list[str]]:
    verdicts = []
    sections = []
    for number, side in enumerate(table.sides[1:], 1):
        style = table.verdict(side.label)
        verdicts.append({"text": printable(table.verdicts()[number - 1]), "style": style if style != "~" else "open"})
        section = Section(
            f"comparison-{plan}-{number}", printable(f"{side.label} compared with {table.sides[0].label}")
        )
        section.lead = _comparison_lead(table, side)
        section.blocks += [picture_block(p) for p in plots.pictures([comparison_plots.ratios(table, side.label)])]
        section.blocks += comparison_grids(table, side.label)
        section.notes = [printable(note) for note in table.footnotes]
        sections.append(section)
    runs = Section(f"runs-{plan}", "Runs and latencies")
    intervals = {}
    for side in table.sides:
        # runs of a set have numbers of their own, and fio counts no seconds
        result = next((result for result in results if _same(result, side)), None)
        if result is None:
            continue
        frame = result.intervals()
        intervals[side.label] = frame[frame["run"].isin([run.run for run in side.runs])]
    made = [
        comparison_plots.latency_curves(table),
        comparison_plots.runs_in_order(table),
        comparison_plots.progress(intervals),
    ]
    runs.blocks = [picture_block(picture) for picture in plots.pictures(made)]
    runs.blocks += [operations_grid(side) for side in table.sides]
    sections.append(runs)
    return sections, verdicts, table.warnings


def _same(result: Result, side: Side) -> bool:
    return len(side.infos) == 1 and result.info == side.info


def _comparison_lead(table: ComparisonTable, side: Side) -> str:
    baseline = table.sides[0]
    how = "run in turns and compared in pairs" if table.paired else "not run in turns"
    return printable(
        f"Baseline A is {baseline.label} ({baseline.mount}), {len(baseline.runs)} runs; candidate B is {side.label} "
        f"({side.mount}), {len(side.runs)} runs; {how}."
    )


def _single_section(side: Side, plan: int) -> Section:
    run = side.runs[0]
    section = Section(f"replay-{plan}", printable(f"Replay on {side.label} ({side.mount})"))
    section.facts = [
        Fact("makespan", duration_text(run.wall_s * 1e9)),
        Fact("operations", count_text(run.ops)),
        Fact("unexpected outcomes", count_text(run.errors)),
        Fact("read", bytes_text(run.bytes_read)),
        Fact("written", bytes_text(run.bytes_written)),
        Fact("runs", str(len(side.runs))),
    ]
    section.lead = "One storage alone: there is nothing to compare it with. The figures are of its first run."
    section.blocks = [operations_grid(side)]
    return section


def _trace_section(trace: Trace, number: int) -> tuple[Section, Origin]:
    keys = keys_of(trace, ["op", "file", "process", "mount", "step", "job"])
    made = summarise(trace, keys, _FILES_SHOWN)
    section = Section(f"trace-{number}", f"Recorded: {printable(made.name)}")
    section.lead = printable(shlex.join(made.info.command)) if made.info.command else ""
    section.facts = [
        Fact("duration", duration_text(made.duration_s * 1e9)),
        Fact("events", count_text(made.events)),
        Fact("processes", count_text(made.processes)),
        *([Fact("files", count_text(made.files))] if made.tells_files else []),
        Fact("read", bytes_text(made.bytes_read)),
        Fact("written", bytes_text(made.bytes_written)),
    ]
    section.warnings = [printable(sentence) for sentence in trace_warnings(made)]
    with tables_of(trace) as tables:
        pictures = plots.pictures(
            [
                plots.timeline(tables.timeline(), made.duration_s),
                activity(tables.activity(), made.duration_s),
                plots.latency_ranges(made.tables["op"]),
                plots.sizes(tables.histogram("class", "size")),
                plots.positions(tables.positions(12_000)),
            ]
        )
    if made.info.detail == "events":
        section.findings, curve, section.findings_lead = finding_blocks(trace)
        if curve is not None:
            section.blocks.append(curve)
    section.blocks += [picture_block(picture) for picture in pictures]
    for key in keys:
        if key in ("step", "job") and not has_labels(made.tables[key]):
            continue
        section.blocks.append(summary_grid(made, key, _FILES_SHOWN))
    return section, _trace_origin(made)


def trace_warnings(made: Summary) -> list[str]:
    """What a reader of a trace's figures must know: losses, a torn end, what the backend could not see."""
    found = []
    if made.lost:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in made.lost_by_class.items())
        found.append(f"The recording lost {made.lost:,} operations ({kinds}): the figures are too low.")
    if made.gone:
        found.append(f"{made.gone:,} of {made.info.events:,} events are not in the trace's folder any more.")
    elif not made.complete and not made.lost:
        found.append("The recording was cut off: the figures are of what was written.")
    if made.info.dropped.events:
        found.append(dropped_sentence(made.info))
    found += [f"Not seen: {sentence}" for sentence in made.info.unseen]
    return found


def _trace_origin(made: Summary) -> Origin:
    info = made.info
    facts = [
        ("command", shlex.join(info.command)),
        ("recorded", f"{info.started_utc} on {info.host}, by the {info.backend} backend of {info.tool} {info.version}"),
        ("machine", f"Linux {info.kernel} {info.architecture}, {binary_text(info.memory_bytes)} of memory"),
        ("lost operations", f"{made.lost:,}"),
        ("closed properly", "yes" if made.complete else "no"),
        ("not seen", "; ".join(info.unseen) or "nothing known"),
        ("mounts", "; ".join(f"{mount.point} ({mount.type}, {mount.source})" for mount in _used_mounts(made))),
        ("recorder's own CPU time", duration_text(info.recorder["cpu_s"] * 1e9) if "cpu_s" in info.recorder else ""),
    ]
    return Origin(printable(made.name), "measured", [Fact(name, printable(text)) for name, text in facts if text])


def _used_mounts(made: Summary) -> list[Any]:
    used = [int(number) for number in made.tables["mount"]["id"].dropna()]
    return [made.info.mounts[number] for number in used if 0 <= number < len(made.info.mounts)]


def _result_origin(info: ResultInfo, title: str) -> Origin:
    left_out = ", ".join(f"{count:,} ({reason})" for reason, count in info.not_replayed.items() if count)
    mounts = {f"{run.fs}: {run.mount.type}, {run.mount.source} on {run.mount.point}": None for run in info.runs}
    facts = [
        ("replayed trace", info.source),
        ("recorded command", shlex.join(info.source_command)),
        ("replayed", f"{info.created_utc} on {info.host}, by {info.tool} {info.version}"),
        ("machine", f"Linux {info.kernel}, {info.cpus} CPUs, {binary_text(info.memory_bytes)} of memory"),
        ("options", _options_text(info.options)),
        ("mounts", "; ".join(mounts)),
        ("conditions", "; ".join(conditions_lines(info))),
        ("operations not replayed", left_out or "none"),
        ("plan", info.plan_hash),
    ]
    return Origin(printable(title), "replayed", [Fact(name, printable(text)) for name, text in facts if text])


def _options_text(options: dict[str, Any]) -> str:
    """What was asked for, "name: value"; what was left empty says nothing."""
    given = {name: value for name, value in options.items() if value not in (None, [], "", False)}
    return ", ".join(
        f"{name}: {' '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for name, value in given.items()
    )


__all__ = ["Grid", "render_report", "trace_warnings", "write_report"]

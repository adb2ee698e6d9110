"""One self-contained HTML page about traces, results, or both: verdict, pictures, tables, and where it all comes from.

Takes folders of traces and results, gives a file. The frame of the page is that of iotrace.analysis.report.page, its
chapters those of report_traces and report_results. Every text of a trace goes through iotrace.terminal.printable and
Jinja's escaping.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iotrace.analysis.compare import ComparisonTable
from iotrace.analysis.comparison.sides import opened
from iotrace.analysis.report.mounted import mounted_sections
from iotrace.analysis.report.page import Origin, Section, check_target, render_page, write_page
from iotrace.analysis.report.results import comparison_sections, file_name, result_origin, result_sections
from iotrace.analysis.report.traces import figures_of, set_section, trace_section
from iotrace.analysis.spread import spread
from iotrace.errors import TraceError, UsageError
from iotrace.replay.result import RESULT_NAME, Result, open_result
from iotrace.terminal import printable
from iotrace.trace.info import INFO_NAME
from iotrace.trace.reader import Trace, open_trace
from iotrace.trace.sets import is_set, traces_of

if TYPE_CHECKING:
    from iotrace.analysis.sizing.answer import Answer


def write_report(
    sources: Sequence[str | Path], output: str | Path, force: bool = False, answers: Sequence[Answer] = (),
    dask: str | None = None,
) -> Path:  # fmt: skip
    """Write the page.

    Parameters
    ----------
    sources: folders of traces (NAME.iotrace) and results (NAME.ioresult), in any order, and folders that hold traces,
        each of which becomes one chapter.
    output: the file to write; a page that iotrace made there before is replaced.
    force: replace any other file too.
    answers: of the model of storages, which become the last chapters.
    dask: address of a Dask scheduler whose workers work out a trace each; None: this process does.

    Returns
    -------
    The file's path.

    Raises
    ------
    UsageError: no sources. TraceError: a source is neither a trace nor a result, or is damaged.
    StorageError: the file cannot be written, or another file is there.
    """
    target = Path(output)
    check_target(target, force)
    return write_page(render_report(sources, answers, dask), target)


def write_comparison(
    sources: Sequence[Path | Sequence[Path]], table: ComparisonTable, output: str | Path, force: bool = False
) -> Path:
    """Write the page of one comparison; see write_report.

    Parameters
    ----------
    sources: what each side was made from, as for compare_results: results and files of fio's JSON, or sets of them.
    """
    target = Path(output)
    check_target(target, force)
    results = [opened(one) for source in sources for one in ([source] if isinstance(source, Path) else source)]
    sections, verdicts, warnings = comparison_sections(table, [r for r in results if isinstance(r, Result)], 1)
    origins = [result_origin(result.info, file_name(result)) for result in results]
    names = ", ".join(printable(file_name(result)) for result in results)
    return write_page(render_page("Storage comparison: " + names, sections, origins, verdicts, warnings), target)


def render_report(sources: Sequence[str | Path], answers: Sequence[Answer] = (), dask: str | None = None) -> str:
    """The page's HTML; see write_report."""
    if not sources:
        raise UsageError("there is nothing to report: give traces or results.")
    sets = [Path(source) for source in sources if is_set(source) and not (Path(source) / RESULT_NAME).exists()]
    found_sources = [_open(Path(source)) for source in sources if Path(source) not in sets]
    traces = [source for source in found_sources if isinstance(source, Trace)]
    results = [source for source in found_sources if isinstance(source, Result)]
    sections: list[Section] = []
    origins: list[Origin] = []
    verdicts: list[dict[str, str]] = []
    warnings: list[str] = []
    with spread(dask) as over:
        figures = over(figures_of, [trace.folder.absolute() for trace in traces])
        chapters = [trace_section(one, number) for number, one in enumerate(figures, 1)]
        chapters += [
            set_section(traces_of([folder]), folder.absolute().name, number, over)
            for number, folder in enumerate(sets, len(traces) + 1)
        ]
    if results:
        found, verdicts, warnings = result_sections(results)
        sections += [*found, *mounted_sections(results, [trace.folder.absolute() for trace in traces])]
        origins += [result_origin(result.info, file_name(result)) for result in results]
    compared = bool(verdicts)
    for section, origin in chapters:
        sections.append(section)
        origins.append(origin)
    own = [{"text": one.verdict, "style": "open", "provenance": one.provenance} for one in sections if one.verdict]
    verdicts = [*verdicts, *own]
    if answers:
        from iotrace.analysis.sizing.page import NOTE, size_origins, size_sections

        sections += size_sections(answers)
        origins += size_origins(answers)
        warnings = [*warnings, NOTE]
    named = [source.folder.name for source in found_sources if source.folder is not None]
    names = ", ".join(printable(name) for name in [*named, *(folder.absolute().name for folder in sets)])
    title = ("Storage comparison: " if results and compared else "Replay: " if results else "File I/O: ") + names
    return render_page(title, sections, origins, verdicts, warnings)


def _open(folder: Path) -> Trace | Result:
    if (folder / RESULT_NAME).exists():
        return open_result(folder)
    if (folder / INFO_NAME).exists() or not folder.exists():
        return open_trace(folder)
    raise TraceError(f"{folder} is neither a trace nor a result: it holds no {INFO_NAME} and no {RESULT_NAME}.")

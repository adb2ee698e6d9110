"""Chapters of the report on what hurts at the mounts of a result, at the latencies that were measured there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iotrace.analysis.findings.prices import mounts_of, search_replayed, source_of
from iotrace.analysis.report.findings import blocks_of
from iotrace.analysis.report.page import Section
from iotrace.errors import UsageError
from iotrace.replay.result import Result
from iotrace.terminal import printable


def mounted_sections(results: Sequence[Result], traces: Sequence[Path]) -> list[Section]:
    """A chapter for each mount of each result, or one that says why there is none.

    Parameters
    ----------
    traces: folders of those on the page; the replayed one is looked for among them, then beside the result and in the
    working folder.

    Raises
    ------
    TraceError: a part of a trace is damaged.
    """
    sections: list[Section] = []
    for result in results:
        folder = result.folder
        if folder is None:
            continue
        source = next((path for path in traces if path.name == result.info.source), None)
        try:
            found = search_replayed(source or source_of(folder, None), folder)
        except UsageError as error:
            section = Section(f"findings-{len(sections) + 1}", printable(f"What hurts in {folder.name}"))
            section.lead = printable(str(error).replace("say where with --trace", "report it with its trace"))
            sections.append(section)
            continue
        for one in mounts_of(folder):
            title = printable(f"What hurts on {one.point} ({one.type})")
            section = Section(f"findings-{len(sections) + 1}", title)
            section.lead = (
                "The calls are those of the trace on files that moved to this mount, each with the time that its "
                "operation took on average in the runs here."
            )
            section.findings, curve, section.findings_lead = blocks_of(one.found(found), [one.type], "modelled")
            section.blocks = [] if curve is None else [curve]
            sections.append(section)
    return sections

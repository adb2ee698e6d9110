"""The chapter of the report on a trace, and where its figures come from."""

from __future__ import annotations

import shlex
from typing import Any, Final

from iotrace.analysis import plots
from iotrace.analysis.activity_plot import activity
from iotrace.analysis.lanes_plot import lanes, lanes_of_trace
from iotrace.analysis.metadata_plot import metadata_mix, metadata_of_trace
from iotrace.analysis.report_findings import finding_blocks
from iotrace.analysis.report_page import Origin, Section, picture_block
from iotrace.analysis.report_tables import Fact, summary_grid
from iotrace.analysis.summary import Summary, dropped_sentence, has_labels, summarise
from iotrace.terminal import printable
from iotrace.trace.counted import keys_of, tables_of
from iotrace.trace.reader import Trace
from iotrace.units import binary_text, bytes_text, count_text, duration_text

_FILES_SHOWN: Final = 30


def trace_section(trace: Trace, number: int) -> tuple[Section, Origin]:
    """The chapter of the trace that has this number on the page."""
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
                lanes(lanes_of_trace(tables, made.duration_s), made.duration_s, "measured"),
                plots.latency_ranges(made.tables["op"]),
                metadata_mix(metadata_of_trace(tables), "measured"),
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

"""The chapter of the report on a trace, and where its figures come from."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from iotrace.analysis.findings.search import Found, search
from iotrace.analysis.pictures.activity import activity
from iotrace.analysis.pictures.cache import cache_curve
from iotrace.analysis.pictures.course import Course, course_of_set
from iotrace.analysis.pictures.drawing import Picture, present
from iotrace.analysis.pictures.lanes import lanes, lanes_of_trace
from iotrace.analysis.pictures.metadata import metadata_mix, metadata_of_trace
from iotrace.analysis.pictures.traces import latency_ranges, positions, sizes, timeline
from iotrace.analysis.report.findings import blocks_of, verdict_of
from iotrace.analysis.report.page import Origin, Section, picture_block
from iotrace.analysis.report.tables import Fact, summary_grid
from iotrace.analysis.sets import search_set, summarise_set
from iotrace.analysis.spread import Spread
from iotrace.analysis.summary import Summary, dropped_sentence, has_labels, summary_of
from iotrace.terminal import printable
from iotrace.trace.counted import keys_of, tables_of
from iotrace.trace.reader import open_trace
from iotrace.units import binary_text, bytes_text, count_text, duration_text

_FILES_SHOWN: Final = 30


@dataclass(frozen=True)
class TraceFigures:
    """All that a trace's chapter shows: small, whatever the trace's length.

    Attributes
    ----------
    made: its summary; keys: of the tables. found: its findings. pictures: of what it did, over time and in all.
    types: of the file systems that its files lie on.
    """

    made: Summary
    keys: list[str]
    found: Found
    pictures: list[Picture]
    types: list[str]


def figures_of(folder: Path) -> TraceFigures:
    """Work out a chapter's figures.

    Raises
    ------
    TraceError: no trace, or a damaged one.
    """
    trace = open_trace(folder)
    keys = keys_of(trace, ["op", "file", "process", "mount", "step", "job"])
    with tables_of(trace) as tables, ThreadPoolExecutor(1) as beside:
        # the search, which takes longest, mostly waits for DuckDB: tables and pictures are made meanwhile
        searched = beside.submit(search, trace)
        made = summary_of(tables, keys, _FILES_SHOWN)
        course = Course(
            tables.timeline(), tables.activity(), metadata_of_trace(tables), tables.histogram("class", "size"),
            lanes_of_trace(tables, made.duration_s),
        )  # fmt: skip
        pictures = present([*_drawn(course, made), positions(tables.positions(12_000))])
        found = searched.result()
    types = [mount.type for number, mount in enumerate(trace.info.mounts) if number in found.mounts]
    return TraceFigures(made, keys, found, pictures, types)


def trace_section(figures: TraceFigures, number: int) -> tuple[Section, Origin]:
    """The chapter of the trace that has this number on the page."""
    made = figures.made
    section = _section(made, number)
    if made.info.detail == "histogram":
        section.notes.append(
            "A trace of counts knows no positions in files: there is no picture of them, and no share of sequential "
            "calls."
        )
    memory = made.info.memory_bytes
    filled = _filled(section, made, figures.found, figures.types, figures.pictures, figures.keys, memory)
    return filled, _trace_origin(made)


def set_section(folders: Sequence[Path], name: str, number: int, over: Spread) -> tuple[Section, Origin]:
    """The chapter of a set of traces: tables and findings of all, and the pictures, on one clock.

    Raises
    ------
    TraceError: one of them is no trace, or damaged.
    """
    keys = ["op", "class", "file", "process", "mount", "step", "job", "user"]
    made = summarise_set(folders, keys, _FILES_SHOWN, over)
    found = search_set(folders, over=over)
    course, on_one_clock = course_of_set(folders, made.duration_s, over)
    section = _section(made, number)
    section.title = printable(f"Recorded: {name} ({made.name})")
    pictures = present([*_drawn(course, made), positions(course.positions)])
    section.notes.append(
        "Time runs from the start of the first recording, by the clocks of their machines."
        if on_one_clock
        else "A recording noted no time of day: over time all are drawn as if they had begun at the same moment."
    )
    shown = [key for key in keys if key in made.tables and key not in ("class", "user")]
    types = [mount.type for mount in _used_mounts(made)]
    return _filled(section, made, found, types, pictures, shown), _trace_origin(made)


def _drawn(course: Course, made: Summary) -> list[Picture | None]:
    """The pictures that a trace and a set of traces share."""
    return [
        timeline(course.timeline, made.duration_s),
        activity(course.activity, made.duration_s),
        lanes(course.lanes, made.duration_s, "measured"),
        latency_ranges(made.tables["op"]),
        metadata_mix(course.metadata, "measured"),
        sizes(course.sizes),
    ]


def _section(made: Summary, number: int) -> Section:
    section = Section(f"trace-{number}", f"Recorded: {printable(made.name)}")
    section.lead = printable(shlex.join(made.info.command)) if made.info.command else ""
    section.provenance = "measured"
    section.facts = [
        Fact("duration", duration_text(made.duration_s * 1e9)),
        Fact("events", count_text(made.events)),
        Fact("processes", count_text(made.processes)),
        *([Fact("files", count_text(made.files))] if made.tells_files else []),
        Fact("read", bytes_text(made.bytes_read)),
        Fact("written", bytes_text(made.bytes_written)),
    ]
    section.warnings = [printable(sentence) for sentence in trace_warnings(made)]
    return section


def _filled(
    section: Section, made: Summary, found: Found, types: list[str], pictures: Sequence[Picture],
    keys: Sequence[str], memory_bytes: int = 0,
) -> Section:  # fmt: skip
    section.verdict = verdict_of(printable(made.name), found)
    section.findings, curve, section.findings_lead = blocks_of(found, types)
    if curve is not None and found.reuse is not None:
        drawn = present([cache_curve(found.reuse, memory_bytes)])
        section.blocks += [curve, *(picture_block(picture) for picture in drawn)]
    section.blocks += [picture_block(picture) for picture in pictures]
    for key in keys:
        if key in ("step", "job") and not has_labels(made.tables[key]):
            continue
        section.blocks.append(summary_grid(made, key, _FILES_SHOWN))
    return section


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

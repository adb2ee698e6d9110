"""Chapters of the report on results: one storage by itself, or storages compared, and where their figures come from."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from iotrace.analysis.compare import ComparisonTable, compare_results
from iotrace.analysis.comparison.fio import FioFile
from iotrace.analysis.comparison.sides import Side, sides_of
from iotrace.analysis.pictures import comparisons
from iotrace.analysis.pictures.drawing import Picture, present
from iotrace.analysis.pictures.lanes import lanes, lanes_of_run
from iotrace.analysis.pictures.metadata import metadata_mix, metadata_of_sides
from iotrace.analysis.report.page import Origin, Section, picture_block
from iotrace.analysis.report.tables import Fact, comparison_grids, operations_grid
from iotrace.analysis.warnings import warnings_of
from iotrace.replay.conditions import conditions_lines
from iotrace.replay.result import Result, ResultInfo, Run
from iotrace.replay.show import ranks_text, verdicts_text
from iotrace.statistics import median
from iotrace.terminal import printable
from iotrace.units import binary_text, bytes_text, count_text, duration_text

if TYPE_CHECKING:
    import pandas as pd

_SIDES_WITH_LANES: Final = 4


def result_sections(results: Sequence[Result]) -> tuple[list[Section], list[dict[str, str]], list[str]]:
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


def comparison_sections(
    table: ComparisonTable, results: Sequence[Result], plan: int
) -> tuple[list[Section], list[dict[str, str]], list[str]]:
    """Sections, verdicts and warnings of one comparison; `results`: what its sides were made from."""
    verdicts = []
    sections = []
    for number, side in enumerate(table.sides[1:], 1):
        style = table.verdict(side.label)
        text = printable(table.verdicts()[number - 1])
        verdicts.append({"text": text, "style": style if style != "~" else "open", "provenance": "replayed"})
        section = Section(
            f"comparison-{plan}-{number}", printable(f"{side.label} compared with {table.sides[0].label}")
        )
        section.lead = _comparison_lead(table, side)
        section.blocks += [picture_block(p) for p in present([comparisons.ratios(table, side.label)])]
        section.blocks += comparison_grids(table, side.label)
        section.notes = [printable(note) for note in table.footnotes]
        sections.append(section)
    runs = Section(f"runs-{plan}", "Runs and latencies")
    # runs of a set have numbers of their own, and fio counts no seconds
    known = [(side, result) for side in table.sides for result in results if _same(result, side)]
    made = [
        comparisons.latency_curves(table.sides, table.curves),
        comparisons.runs_in_order(table),
        comparisons.progress(_intervals(known)),
        *_lanes(table.sides[:_SIDES_WITH_LANES]),
        metadata_mix(metadata_of_sides(known), "replayed", min(len(side.runs) for side in table.sides)),
    ]
    runs.blocks = [picture_block(picture) for picture in present(made)]
    runs.blocks += [operations_grid(side) for side in table.sides]
    sections.append(runs)
    return sections, verdicts, table.warnings


def result_origin(info: ResultInfo, title: str) -> Origin:
    """What was replayed, where, how and by whom."""
    left_out = ", ".join(f"{count:,} ({reason})" for reason, count in info.not_replayed.items() if count)
    mounts = dict.fromkeys(_mount_text(run) for run in info.runs)
    ranks = [f"run {run.run + 1}: {text}" for run in info.runs if (text := ranks_text(run))]
    facts = [
        ("replayed trace", info.source),
        ("recorded command", shlex.join(info.source_command)),
        ("replayed", f"{info.created_utc} on {info.host}, by {info.tool} {info.version}"),
        ("machine", f"Linux {info.kernel}, {info.cpus} CPUs, {binary_text(info.memory_bytes)} of memory"),
        ("options", _options_text(info.options)),
        ("mounts", "; ".join(mounts)),
        ("conditions", "; ".join(conditions_lines(info))),
        ("cache guard", "; ".join(_guard_texts(info))),
        ("ranks", "; ".join(ranks)),
        ("operations not replayed", left_out or "none"),
        ("plan", info.plan_hash),
    ]
    return Origin(printable(title), "replayed", [Fact(name, printable(text)) for name, text in facts if text])


def _mount_text(run: Run) -> str:
    mount = run.mount
    options = f" ({mount.options})" if mount.options else ""
    return f"{run.fs}: {mount.type}, {mount.source} on {mount.point}{options}"


def _guard_texts(info: ResultInfo) -> list[str]:
    """What the cache guard found on each mount, and why, by its first run."""
    found = []
    for folder in dict.fromkeys(run.fs for run in info.runs):
        runs = [run for run in info.runs if run.fs == folder]
        verdicts, why = verdicts_text(runs), next((run.guard.why for run in runs if run.guard), "")
        if verdicts:
            found.append(f"{folder}: {verdicts}; the first: {why}")
    return found


def file_name(result: Result | FioFile) -> str:
    """Name of what was given; that of the replayed trace where the result lies nowhere."""
    path = result.path if isinstance(result, FioFile) else result.folder
    return path.name if path else result.info.source


def _plan_sections(results: Sequence[Result], plan: int) -> tuple[list[Section], list[dict[str, str]], list[str]]:
    sides = sides_of(results)
    if len(sides) < 2:
        return [_single_section(sides[0], results, plan)], [], warnings_of(sides, paired=False)
    return comparison_sections(compare_results(*results), results, plan)


def _intervals(known: Sequence[tuple[Side, Result]]) -> dict[str, pd.DataFrame]:
    """What each side's runs did in each second."""
    found = {}
    for side, result in known:
        frame = result.intervals()
        found[side.label] = frame[frame["run"].isin([run.run for run in side.runs])]
    return found


def _lanes(sides: Sequence[Side]) -> list[Picture | None]:
    """Lanes of each side's first run, over the same time."""
    end_s = max(side.runs[0].wall_s for side in sides)
    several = len(sides) > 1
    return [lanes(lanes_of_run(side.runs[0]), end_s, "replayed", side.label if several else "") for side in sides]


def _same(result: Result, side: Side) -> bool:
    return len(side.infos) == 1 and result.info == side.info


def _comparison_lead(table: ComparisonTable, side: Side) -> str:
    baseline = table.sides[0]
    how = "run in turns and compared in pairs" if table.paired else "not run in turns"
    return printable(
        f"Baseline A is {baseline.label} ({baseline.mount}), {len(baseline.runs)} runs; candidate B is {side.label} "
        f"({side.mount}), {len(side.runs)} runs; {how}."
    )


def _single_section(side: Side, results: Sequence[Result], plan: int) -> Section:
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
    if came := verdicts_text(side.runs):
        section.facts.append(Fact("cache guard", came))
    section.lead = "One storage alone: there is nothing to compare it with. The figures are of its first run."
    section.verdict, section.provenance = _alone(side), "replayed"
    known = [(side, result) for result in results if _same(result, side)]
    made = [
        comparisons.latency_curves([side]),
        comparisons.progress(_intervals(known)),
        *_lanes([side]),
        metadata_mix(metadata_of_sides(known), "replayed", len(side.runs)),
    ]
    section.blocks = [*(picture_block(picture) for picture in present(made)), operations_grid(side)]
    return section


def _alone(side: Side) -> str:
    """What a storage did with the work, where there is no other."""
    runs = side.runs
    took = f"{duration_text(median([run.wall_s for run in runs]) * 1e9)}"
    of = f", in the median of {len(runs)} runs" if len(runs) > 1 else ""
    added = [run.added_s for run in runs if run.added_s is not None]
    adds = (
        f" The storage added {duration_text(max(0.0, median(added)) * 1e9)} of it." if len(added) == len(runs) else ""
    )
    waited = duration_text(median([run.io_s for run in runs]) * 1e9)
    return printable(
        f"{side.label} took {took} for {side.info.source or 'the work'}{of}; {waited} of I/O, all threads together."
        f"{adds} There is no other storage to compare it with."
    )


def _options_text(options: dict[str, Any]) -> str:
    """What was asked for, "name: value"; what was left empty says nothing."""
    given = {name: value for name, value in options.items() if value not in (None, [], "", False)}
    return ", ".join(
        f"{name}: {' '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for name, value in given.items()
    )

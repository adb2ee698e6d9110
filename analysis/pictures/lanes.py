"""The picture of lanes: whose job ran when, a row for each user, coloured by step.

From a trace's tables or a run of a result; see iotrace.analysis.pictures.drawing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from iotrace.analysis.pictures.drawing import Picture, styled, svg_of
from iotrace.terminal import printable, shorten
from iotrace.trace.tables import records
from iotrace.units import duration_text

if TYPE_CHECKING:
    from iotrace.replay.result import Run
    from iotrace.trace.tables import Tables

_ROWS: Final = 40
_BARS: Final = 400
_SLICES: Final = 200
_GROUPS: Final = 12
_GREY: Final = "#8a8f98"
_CHARACTER: Final = 0.0085
"""Width of a character of a bar's name, as a share of the axis."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A job, or a process, thread or user where no job is known: from its first call to the end of its last.

    Attributes
    ----------
    owner: whose row it is in; name: written in the bar; group: what it is coloured by.
    start_s, end_s: since the start of the recording or the run.
    busy: (start, width) in s of the slices in which it made calls; empty where that is not known.
    """

    owner: str
    name: str
    group: str
    start_s: float
    end_s: float
    busy: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Bars, what one of them is (such as "job"), what colours say ("step"), and how many bars are left out."""

    bars: list[Bar]
    what: str
    colour: str
    left_out: int = 0


def lanes_of_run(run: Run) -> Lanes:
    """The jobs of a run in the rows of their users; its users where no job is known."""
    if not run.jobs:
        users = [
            Bar(f"user {one.user + 1}", "", one.source.removesuffix(".iotrace"), one.delay_s, one.delay_s + one.wall_s)
            for one in run.users
        ]
        return Lanes(users[:_ROWS], "user", "trace", max(0, len(users) - _ROWS))
    several = len(run.users) > 1
    projects = {(one.user, one.project) for one in run.jobs}
    prefixed = len(projects) > len({user for user, _ in projects})
    bars = []
    for one in sorted(run.jobs, key=lambda job: job.start_s):
        owner = f"user {one.replayer + 1}" if several else one.user or "jobs"
        if several and one.user:
            owner += f": {one.user}"
        name = f"{one.project}/{one.job}" if prefixed and one.project else one.job
        bars.append(Bar(owner, name, one.step or "(no step)", one.start_s, one.end_s))
    longest = sorted(bars, key=lambda bar: bar.start_s - bar.end_s)[:_BARS]
    return Lanes(_by_owner(longest), "job", "step", len(bars) - len(longest))


def lanes_of_trace(tables: Tables, duration_s: float) -> Lanes:
    """The jobs of a trace in the rows of their users; where none is labelled its processes, or the threads of one.

    Raises
    ------
    TraceError: a part of the trace is damaged.
    """
    if tables.trace.info.detail == "histogram":
        return Lanes([], "process", "command")
    width_s = _sliced(tables, duration_s)
    labelled, processes = tables.query(
        "select count(coalesce(job, step)), count(*) from processes "
        "where process in (select distinct process from lane_slices)"
    ).fetchone() or (0, 0)
    job = "case when p.project is null then p.job else concat_ws('/', p.project, p.job) end"
    if labelled:
        what, colour = "job", "step"
        keys = f"coalesce(p.user, 'jobs') as owner, coalesce({job}, '') as name, coalesce(p.step, '(no step)') as kind"
    elif processes == 1:
        what, colour = "thread", "thread"
        keys = "'thread ' || e.thread as owner, '' as name, 'thread ' || e.thread as kind"
    else:
        what, colour = "process", "command"
        keys = (
            "trim(concat_ws(' ', p.pid::varchar, p.command)) as owner, '' as name, "
            "coalesce(nullif(p.command, ''), '(no name)') as kind"
        )
    # the number keeps apart what has one name
    number = {"job": "0", "thread": "e.thread", "process": "e.process"}[what]
    frame = tables.query(
        f"""
        with slices as (
            select {keys}, {number} as number, slice, min(first) as first, max(last) as last, sum(took) as took
            from lane_slices e left join processes p on e.process = p.process group by all),
        ranked as (select *, dense_rank() over (order by whole desc, owner, name, kind, number) as place from (
            select *, sum(took) over (partition by owner, name, kind, number) as whole from slices))
        select *, max(place) over () as places from ranked
        qualify place <= {_BARS if labelled else _ROWS} order by place, slice
        """
    ).df()
    bars = []
    for _, part in frame.groupby("place"):
        first = records(part.head(1))[0]
        start_s, end_s = max(0.0, part["first"].min() / 1e9), part["last"].max() / 1e9
        busy = _joined([(float(at) * width_s, width_s) for at in part["slice"]])
        within = [_cut(one, start_s, end_s) for one in busy]
        bars.append(Bar(str(first["owner"]), str(first["name"]), str(first["kind"]), start_s, end_s, within))
    bars = _by_owner(bars) if labelled else sorted(bars, key=lambda bar: bar.start_s)
    return Lanes(bars, what, colour, int(frame["places"].iloc[0]) - len(bars) if bars else 0)


def lane_of_whole(tables: Tables, duration_s: float, owner: str, name: str, group: str) -> Bar | None:
    """One bar of all that a trace did; None where it made no call.

    Raises
    ------
    TraceError: a part of the trace is damaged.
    """
    if tables.trace.info.detail == "histogram":
        frame = tables.query(
            "select distinct time_ns / 1e9 as start_s, interval_ns / 1e9 as width_s, time_ns / 1e9 as first_s, "
            "(time_ns + interval_ns) / 1e9 as last_s from histograms order by all"
        ).df()
    else:
        width_s = _sliced(tables, duration_s)
        frame = tables.query(
            f"""
            select slice * {width_s} as start_s, {width_s}::double as width_s, min(first) / 1e9 as first_s,
                   max(last) / 1e9 as last_s
            from lane_slices group by slice order by slice
            """
        ).df()
    if frame.empty:
        return None
    start_s, end_s = max(0.0, float(frame["first_s"].min())), float(frame["last_s"].max())
    busy = _joined([(float(at), float(width)) for at, width in zip(frame["start_s"], frame["width_s"], strict=True)])
    return Bar(owner, name, group, start_s, end_s, [_cut(one, start_s, end_s) for one in busy])


def _sliced(tables: Tables, duration_s: float) -> float:
    """Make the table lane_slices: what each thread did in each slice; gives their width in s."""
    width_s = max(duration_s, 1e-6) / _SLICES
    # names are joined to sums, not to each of many events
    tables.query(
        f"""
        create or replace temp table lane_slices as
        select process, thread, floor(greatest(time_ns, 0) / {width_s * 1e9}) as slice, min(time_ns) as first,
               max(time_ns + coalesce(duration_ns, 0)) as last, sum(coalesce(duration_ns, 0)) as took
        from sides where kind <> 'process' group by all
        """
    )
    return width_s


def together(parts: Sequence[Lanes]) -> Lanes:
    """The lanes of several traces as one, jobs or whole traces; the longest where there are too many."""
    named = next((part for part in parts if part.what == "job"), parts[0])
    bars = [
        bar if part.what == named.what else replace(bar, owner="(no label)", name=bar.owner, group="(no step)")
        for part in parts
        for bar in part.bars
    ]
    longest = sorted(bars, key=lambda bar: bar.start_s - bar.end_s)[:_BARS]
    left_out = sum(part.left_out for part in parts) + len(bars) - len(longest)
    return Lanes(_by_owner(longest), named.what, named.colour, left_out)


def _by_owner(bars: Sequence[Bar]) -> list[Bar]:
    """Owners in order of their names, numbers in them as numbers; each owner's bars in order of time."""

    def key(bar: Bar) -> tuple[Any, ...]:
        parts = re.split(r"(\d+)", bar.owner)
        # every second part is of digits
        return [(part, 0) if at % 2 == 0 else ("", int(part)) for at, part in enumerate(parts)], bar.start_s, bar.end_s

    return sorted(bars, key=key)


def _joined(slices: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Slices that touch as one, which a browser draws without a seam."""
    found: list[tuple[float, float]] = []
    for start, width in slices:
        if found and abs(sum(found[-1]) - start) < width / 2:
            found[-1] = found[-1][0], found[-1][1] + width
        else:
            found.append((start, width))
    return found


def _cut(piece: tuple[float, float], start_s: float, end_s: float) -> tuple[float, float]:
    """What of a slice lies within its bar, which begins and ends between slices."""
    first, last = max(piece[0], start_s), min(sum(piece), end_s)
    return first, max(0.0, last - first)


def rows_of(bars: Sequence[Bar]) -> dict[str, list[list[Bar]]]:
    """The rows of each owner, in the order given: a bar goes to the first row in which nothing runs any more."""
    rows: dict[str, list[list[Bar]]] = {bar.owner: [] for bar in bars}
    for bar in sorted(bars, key=lambda one: (one.start_s, one.end_s)):
        mine = rows[bar.owner]
        free = next((row for row in mine if row[-1].end_s <= bar.start_s), None)
        if free is None:
            mine.append([bar])
        else:
            free.append(bar)
    return rows


def lanes(found: Lanes, end_s: float, provenance: str, of: str = "") -> Picture | None:
    """Bars over time in the rows of their owners; None where there are fewer than two bars.

    Parameters
    ----------
    end_s: where the axis ends, at least. provenance: where the figures come from. of: the storage's name, where there
    are several.
    """
    if len(found.bars) < 2:
        return None
    rows = [(owner, row) for owner, mine in rows_of(found.bars).items() for row in mine]
    hidden = sum(len(row) for _, row in rows[_ROWS:])
    rows = rows[:_ROWS]
    end_s = max(end_s, *(bar.end_s for _, row in rows for bar in row))
    groups = list(dict.fromkeys(bar.group for bar in sorted(found.bars, key=lambda bar: bar.start_s)))
    colours = _colours(groups)
    since = "the recording's start" if provenance == "measured" else "the run's start"
    with styled():
        figure = Figure(figsize=(9, 1.4 + 0.3 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for at, (_, row) in enumerate(rows):
            for bar in row:
                colour, width = colours[bar.group], max(bar.end_s - bar.start_s, end_s / 1000)
                axes.barh(at, width, left=bar.start_s, height=0.7, color=colour, alpha=0.35)
                if bar.busy:
                    strip = [(start, max(length, end_s / 1000)) for start, length in bar.busy]
                    axes.broken_barh(strip, (at + 0.12, 0.23), facecolors=[colour])
                axes.barh(at, width, left=bar.start_s, height=0.7, color="none", edgecolor=colour, linewidth=1)
                text = shorten(printable(bar.name), 24)
                if text and width / end_s > _CHARACTER * (len(text) + 1):
                    axes.text(
                        bar.start_s + width / 2, at - (0.1 if bar.busy else 0), text, ha="center", va="center",
                        fontsize=7.5,
                    )  # fmt: skip
        owners = [owner for owner, _ in rows]
        first = [at for at, owner in enumerate(owners) if at == 0 or owner != owners[at - 1]]
        for at in first[1:]:
            axes.axhline(at - 0.5, color=_GREY, linewidth=0.5, alpha=0.5)
        axes.set_yticks(first, [shorten(printable(owners[at]), 30) for at in first])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, end_s)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(8))
        axes.set_xlabel(f"time since {since} (s)")
        if len(groups) > 1 and found.colour != "thread":
            handles = [Patch(color=colours[group], label=_label(group)) for group in groups[:_GROUPS]]
            if len(groups) > _GROUPS:
                handles.append(Patch(color=_GREY, label="other"))
            figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=1.2)
        svg = svg_of(figure)
    left_out = found.left_out + hidden
    return Picture(svg, _caption(found, left_out, of), _told(found.bars, of), provenance)


def _caption(found: Lanes, left_out: int, of: str) -> str:
    where = f"Lanes on {printable(of)}, first run: " if of else "Lanes: "
    each = {
        "job": "a job, from its first call to its last, in a row of its user; jobs that ran at the same time lie under "
        "each other, and where a user's rows are empty nothing of theirs ran",
        "user": "a user of the replay, from its beginning to its last thread's end",
        "process": "a process, from its first call to its last",
        "thread": "a thread of the one process, from its first call to its last",
        "trace": "a recording, from its first call to its last",
    }[found.what]
    text = f"{where}each bar is {each}."
    if len({bar.group for bar in found.bars}) > 1 and found.colour != "thread":
        text += f" Colours are {found.colour}s."
    if any(bar.busy for bar in found.bars):
        text += " The solid strip marks when it made calls of I/O; between them it computed or waited."
    if left_out:
        text += f" {left_out} more with less time are left out."
    return text


def _told(bars: Sequence[Bar], of: str) -> str:
    told = [
        f"{printable(' '.join(filter(None, (bar.owner, bar.name, bar.group))))} "
        f"from {duration_text(bar.start_s * 1e9)} to {duration_text(bar.end_s * 1e9)}"
        for bar in bars[:60]
    ]
    more = f"; and {len(bars) - 60} more" if len(bars) > 60 else ""
    return f"Timeline of lanes{f' on {printable(of)}' if of else ''}: {'; '.join(told)}{more}."


def _colours(groups: Sequence[str]) -> dict[str, Any]:
    count = min(len(groups), _GROUPS)
    palette = sns.husl_palette(count, l=0.6, s=0.75)
    # what follows on each other in time gets colours that are far apart
    stride = next(step for step in (5, 3, 2, 1) if math.gcd(step, count) == 1)
    return {group: palette[number * stride % count] if number < count else _GREY for number, group in enumerate(groups)}


def _label(group: str) -> str:
    # Matplotlib leaves labels that begin with an underscore out of the legend
    text = shorten(printable(group), 30)
    return f" {text}" if text.startswith("_") else text


__all__ = ["Bar", "Lanes", "lane_of_whole", "lanes", "lanes_of_run", "lanes_of_trace", "rows_of", "together"]

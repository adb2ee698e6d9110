"""Pictures of answers of the model, as for a report: throughput over the day, lanes, what binds each step, the knee.

Answers in, inline SVG out (iotrace.analysis.pictures.drawing). All of it is modelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from iotrace.analysis.pictures.drawing import CLASS_COLOURS, Picture, legend, styled, svg_of, ticks
from iotrace.analysis.sizing.answer import Answer
from iotrace.analysis.sizing.day import SLOTS, Folded, folded
from iotrace.analysis.sizing.demand import Floats
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.questions import SLOWER
from iotrace.analysis.sizing.show import DISKS
from iotrace.analysis.sizing.simulation import PART_NAMES
from iotrace.terminal import printable
from iotrace.units import rate_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HOUR: Final = 3600.0
_LEAST_SHARE: Final = 0.005
"""A part of a smaller share of every step's time is not drawn."""
_LANES_DRAWN: Final = 40
_JOBS_DRAWN: Final = 2000
"""More lanes or jobs are not drawn one by one."""
_SIDES: Final = (
    (e.READ_RATE, "read", "bytes read (up)", 1), (e.WRITE_RATE, "write", "bytes written (down)", -1),
)  # fmt: skip
"""Columns of the timeline. Reads go up and writes down: neither can hide the other."""

_MEANINGS: Final = {
    "compute": "the GPU or CPU works, and no storage would make it shorter",
    "own disk": "bytes on the node's own disk",
    "metadata latency": "the storage's time for one call about names (open, stat, rename), one after the other",
    "metadata rate": "the queue for such calls, of which the storage serves so many a second",
    "latency": "the wait until the first byte of a read at a new place, and for each sync",
    "operation rate": "the queue for reads and writes, of which the storage serves so many a second",
}


def _hours(timeline: Floats) -> Floats:
    """Edges of the rows, in hours; a step reaches to the next one."""
    return np.append(timeline[:, e.START], timeline[-1, e.START] + timeline[-1, e.LENGTH]) / _HOUR


def throughput(answer: Answer) -> Picture:
    """Bytes per second of reads and writes over the day, days laid on each other; over the run if it is shorter."""
    rows = answer.run.timeline
    days = [folded(rows, column) for column, *_ in _SIDES]
    hours = float(_hours(rows)[-1])
    whole_day = days[0] is not None
    with styled():
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        axes = figure.subplots()
        edges = np.linspace(0, 24, SLOTS + 1) if whole_day else _hours(rows)
        for (column, name, label, sign), day in zip(_SIDES, days, strict=True):
            colour = CLASS_COLOURS[name]
            if day is not None and day.days > 1:
                least, most = (np.append(values, values[-1]) * sign for values in (day.least, day.most))
                axes.fill_between(edges, least, most, step="post", alpha=0.25, color=colour, linewidth=0)
            values = rows[:, column] if day is None else day.median
            drawn = np.append(values, values[-1]) * sign
            axes.step(edges, drawn, where="post", color=colour, linewidth=1.2, label=label)
        axes.axhline(0, color="#8a8f98", linewidth=0.8)
        axes.set_xlabel("hour of the day" if whole_day else "hours since the first user began")
        axes.set_ylabel("bytes per second")
        axes.yaxis.set_major_formatter(ticks(lambda value: rate_text(abs(value))))
        axes.set_xlim(0, float(edges[-1]))
        if whole_day:
            axes.set_xticks(range(0, 25, 3))
        legend(axes, 2)
        svg = svg_of(figure)
    return Picture(svg, *_words(answer, days, hours), "modelled")


def _words(answer: Answer, days: list[Folded | None], hours: float) -> tuple[str, str]:
    """Caption and text of the picture of throughput."""
    up = (
        "All users together: reads go up from the line at 0 and writes down. Between two events of jobs the rates are "
        "means: bursts within a step are not seen."
    )
    peaks = " and ".join(f"{name}s peak at {rate_text(answer.run.peak(column))}" for column, name, *_ in _SIDES)
    read, write = days
    if read is None or write is None:
        return (
            f"Throughput over the run's own time, which is shorter than a day. {up}",
            f"Throughput over {hours:.1f} hours: {peaks}.",
        )
    laid = "the day"
    if read.days > 1:
        laid += (
            f": the {hours / 24:.1f} days of the run are laid on each other, lines are their medians, bands reach from "
            "the least to the most"
        )
    most = " and ".join(
        f"{name}s are at most {rate_text(float(day.median.max()))}" for name, day in (("read", read), ("write", write))
    )
    return (
        f"Throughput over {laid}. Means of quarters of an hour; hour 0 is when the first user begins, for the model "
        f"knows no clock. {up}",
        f"Throughput over the day, of {hours / 24:.1f} days: in the median {most}; over the whole run {peaks}.",
    )


def lanes(answer: Answer) -> Picture:
    """Jobs that run and jobs that wait for a lane, over time, and what each lane runs where that can be drawn."""
    run, crowd = answer.run, answer.run.demand.crowd
    rows = run.timeline
    edges = _hours(rows)
    drawn = crowd.lanes <= _LANES_DRAWN and run.lane.size <= _JOBS_DRAWN
    with styled():
        figure = Figure(figsize=(9, 3.0 + 0.16 * crowd.lanes if drawn else 2.4), layout="constrained")
        panes = figure.subplots(2, 1, sharex=True, height_ratios=(2, 0.6 + 0.16 * crowd.lanes)) if drawn else None
        axes = figure.subplots() if panes is None else panes[0]
        for column, colour, label in (
            (e.RUNNING, "#79a33a", "jobs that run"), (e.WAITING, "#cf5590", "jobs that wait"),
        ):  # fmt: skip
            values = np.append(rows[:, column], rows[-1, column])
            axes.step(edges, values, where="post", color=colour, linewidth=1.2, label=label)
        axes.set_ylabel("jobs")
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, float(edges[-1]))
        legend(axes, 2)
        if panes is not None:
            _by_lane(panes[1], answer)
            figure.legend(*panes[1].get_legend_handles_labels(), loc="outside lower center", ncols=6)
        (axes if panes is None else panes[1]).set_xlabel("hours since the first user began")
        svg = svg_of(figure)
    jobs = run.lane.size
    busy = (run.end_s[:jobs] - run.start_s[:jobs]).sum() / (crowd.lanes * run.length_s)
    text = (
        f"{crowd.lanes} lanes, busy for {busy:.0%} of the time until the last user's end; at most "
        f"{rows[:, e.WAITING].max():.0f} jobs wait for one at a time."
    )
    caption = (
        "Jobs that run, in lanes and beside them, and jobs that are ready and wait for a lane. A lane runs one job at "
        "a time, on a node of its own; all lanes share one queue, whose first job takes the first lane that is free."
    )
    if drawn:
        caption += " Below, what each lane runs."
    return Picture(svg, caption, text, "modelled")


def _by_lane(axes: Axes, answer: Answer) -> None:
    """A bar for each job, in the row of its lane, in the colour of its step."""
    run = answer.run
    users, steps = run.lane.shape
    start, end = (values[: users * steps].reshape(users, steps) / _HOUR for values in (run.start_s, run.end_s))
    for step, colour in enumerate(sns.color_palette("tab20", steps)):
        axes.barh(
            run.lane[:, step] + 1, end[:, step] - start[:, step], left=start[:, step], height=0.8, color=colour,
            linewidth=0, label=printable(run.demand.steps[step]),
        )  # fmt: skip
    axes.set_ylabel("lane")
    axes.set_ylim(run.demand.crowd.lanes + 0.6, 0.4)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def constraints(answer: Answer) -> Picture:
    """Where each step's time goes, as a bar of shares."""
    run = answer.run
    names = run.demand.steps
    shares = np.array([run.parts_of(step) for step in range(len(names))])
    drawn = [part for part in range(shares.shape[1]) if shares[:, part].max() >= _LEAST_SHARE]
    colours = sns.color_palette("tab20", len(PART_NAMES))
    with styled():
        figure = Figure(figsize=(9, 1.2 + 0.28 * len(names)), layout="constrained")
        axes = figure.subplots()
        left = np.zeros(len(names))
        for part in drawn:
            colour = "#b9bec6" if part == 0 else colours[part]
            axes.barh(range(len(names)), shares[:, part] * 100, left=left, color=colour, label=PART_NAMES[part])
            left += shares[:, part] * 100
        axes.set_yticks(range(len(names)), [printable(name) for name in names])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("percent of a step's time")
        legend(axes, 4)
        svg = svg_of(figure)
    bound = ", ".join(f"{printable(name)} by {run.binding(step)}" for step, name in enumerate(names))
    names_drawn = {PART_NAMES[part] for part in drawn}
    meant = [f"{name}: {text}" for name, text in _MEANINGS.items() if name in names_drawn]
    ways = {name.rsplit(", ", 1)[1] for name in names_drawn if ", " in name}
    if ways:
        meant.append("reading and writing: their bytes, held back by what one stream, a node or the whole storage does")
    caption = f"Where each step's time goes. {'. '.join(one[0].upper() + one[1:] for one in meant)}."
    return Picture(svg, caption, f"The largest part of each step: {bound}.", "modelled")


def knee(answer: Answer) -> Picture | None:
    """Hours of one user's jobs over the number of users; None where no knee was looked for."""
    found = answer.knee
    if found is None:
        return None
    users, hours, _, most = zip(*found.curve, strict=True)
    with styled():
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(users, hours, marker="o", markersize=3.5, linewidth=1.2, color=CLASS_COLOURS["read"], label="hours")
        axes.plot(users, most, linewidth=1, color="#8a8f98", label=f"{SLOWER:.0%} longer")
        axes.axvline(found.users, color=CLASS_COLOURS["write"], linewidth=1, linestyle="--", label="knee")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ticks(lambda value: f"{value:.0f}"))
        axes.set_xlabel("users")
        axes.set_ylabel("hours of one user's jobs")
        axes.set_ylim(bottom=0)
        legend(axes, 3)
        svg = svg_of(figure)
    more = " or more" if found.more else ""
    text = f"One user's jobs take {hours[0]:.1f} hours alone; the knee is at {found.users} users{more}."
    disks = DISKS if answer.run.demand.crowd.cached_lanes else ""
    caption = (
        "Time of one user's jobs, waits for lanes left out; lanes grow with the users, and all begin at once. The knee "
        f"(dashed) is the most users whose jobs take at most {SLOWER:.0%} longer than those of one user alone{disks}: "
        "beyond it the storage that they share slows them."
    )
    return Picture(svg, caption, text, "modelled")

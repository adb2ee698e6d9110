"""Pictures of answers of the model, as for a report: throughput over time, lanes, what binds each step, the knee.

Answers in, inline SVG out (iotrace.analysis.plots). All of it is modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from iotrace.analysis.plots import CLASS_COLOURS, Picture, legend, styled, svg_of, ticks
from iotrace.analysis.sizing.answer import Answer
from iotrace.analysis.sizing.demand import Floats
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.questions import SLOWER
from iotrace.analysis.sizing.simulation import PART_NAMES
from iotrace.terminal import printable
from iotrace.units import rate_text

_HOUR: Final = 3600.0
_LEAST_SHARE: Final = 0.005
"""A part of a smaller share of every step's time is not drawn."""


def _hours(timeline: Floats) -> Floats:
    """Edges of the rows, in hours; a step reaches to the next one."""
    return np.append(timeline[:, e.START], timeline[-1, e.START] + timeline[-1, e.LENGTH]) / _HOUR


def _over_time(rows: Floats, lines: Sequence[tuple[int, str, str]], quantity: str, ticked: bool, height: float) -> str:
    """SVG of columns of the timeline, each with its colour and name, as steps over the hours."""
    edges = _hours(rows)
    with styled():
        figure = Figure(figsize=(9, height), layout="constrained")
        axes = figure.subplots()
        for column, colour, label in lines:
            values = np.append(rows[:, column], rows[-1, column])
            axes.step(edges, values, where="post", color=colour, linewidth=1.2, label=label)
        axes.set_xlabel("hours since the first user began")
        axes.set_ylabel(quantity)
        if ticked:
            axes.yaxis.set_major_formatter(ticks(rate_text))
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, float(edges[-1]))
        legend(axes, len(lines))
        return svg_of(figure)


def throughput(answer: Answer) -> Picture:
    """Bytes per second of reads and writes over the run."""
    rows, run = answer.run.timeline, answer.run
    lines = (
        (e.READ_RATE, CLASS_COLOURS["read"], "bytes read"), (e.WRITE_RATE, CLASS_COLOURS["write"], "bytes written"),
    )  # fmt: skip
    svg = _over_time(rows, lines, "bytes per second", True, 2.8)
    peaks = rate_text(run.peak(e.READ_RATE)), rate_text(run.peak(e.WRITE_RATE))
    text = f"Throughput over {_hours(rows)[-1]:.1f} hours: reads peak at {peaks[0]}, writes at {peaks[1]}."
    caption = "Throughput over time. Between two events of jobs the rates are means: bursts within a step are not seen."
    return Picture(svg, caption, text, "modelled")


def lanes(answer: Answer) -> Picture:
    """Jobs that run and jobs that wait for a lane, over time."""
    rows = answer.run.timeline
    lines = (e.RUNNING, "#79a33a", "jobs that run"), (e.WAITING, "#cf5590", "jobs that wait")
    svg = _over_time(rows, lines, "jobs", False, 2.4)
    crowd = answer.run.demand.crowd
    text = f"{crowd.lanes} lanes; at most {rows[:, e.WAITING].max():.0f} jobs wait for one at a time."
    caption = (
        "Jobs that run, in lanes and beside them, and jobs that are ready and wait for a lane. A lane is a queue's "
        "place on a node of its own and runs one job at a time."
    )
    return Picture(svg, caption, text, "modelled")


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
    return Picture(svg, "Where each step's time goes.", f"The largest part of each step: {bound}.", "modelled")


def knee(answer: Answer) -> Picture | None:
    """Hours of one user's jobs over the number of users; None where no knee was looked for."""
    found = answer.knee
    if found is None:
        return None
    users = [count for count, _, _ in found.curve]
    hours = [value for _, value, _ in found.curve]
    with styled():
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(users, hours, marker="o", markersize=3.5, linewidth=1.2, color=CLASS_COLOURS["read"])
        axes.axvline(found.users, color=CLASS_COLOURS["write"], linewidth=1, linestyle="--")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ticks(lambda value: f"{value:.0f}"))
        axes.set_xlabel("users")
        axes.set_ylabel("hours of one user's jobs")
        axes.set_ylim(bottom=0)
        svg = svg_of(figure)
    more = " or more" if found.more else ""
    text = f"One user's jobs take {hours[0]:.1f} hours alone; the knee is at {found.users} users{more}."
    caption = (
        "Time of one user's jobs, waits for lanes left out; lanes grow with the users, and all begin at once. The knee "
        f"(dashed) is the most users whose jobs take at most {SLOWER:.0%} longer than those of one user alone: beyond "
        "it the storage that they share slows them."
    )
    return Picture(svg, caption, text, "modelled")

"""Pictures of comparisons: a ComparisonTable in, inline SVG out, one a function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from iotrace.analysis.comparison.curves import mean_curve
from iotrace.analysis.pictures.drawing import CLASS_COLOURS, INK, Picture, legend, styled, svg_of, ticks, time_axis
from iotrace.errors import StorageError, UsageError
from iotrace.histogram import middles
from iotrace.terminal import printable, shorten
from iotrace.units import duration_text, rate_text

if TYPE_CHECKING:
    import pandas as pd

    from iotrace.analysis.compare import ComparisonTable, Row
    from iotrace.analysis.comparison.curves import Curve
    from iotrace.analysis.comparison.sides import Side

_SHOWN_RATIOS: Final = ("p50_us", "p99_us")
SIDE_COLOURS: Final = ("#3f8fd2", "#e5803a", "#3fa565", "#b060c0", "#c09a1e", "#cf5590", "#1fa3a3", "#8a8f98")


def ratios(table: ComparisonTable, candidate: str) -> Picture | None:
    """Ratio of each metric with its interval, a row each; None where no ratio is known."""
    rows = [
        row
        for row in table.of(candidate)
        if row.comparison.ratio
        and (row.group == "run" or (row.group == "class" and row.metric.endswith(_SHOWN_RATIOS)))
    ][::-1]
    if not rows:
        return None
    colours = {"faster": "#2f9e5f", "slower": "#d1495b", "~": "#8a8f98"}
    with styled():
        figure = Figure(figsize=(9, 0.9 + 0.25 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for position, row in enumerate(rows):
            c = row.comparison
            colour = colours[c.verdict]
            if c.low is not None and c.high is not None:
                axes.hlines(position, c.low, c.high, color=colour, linewidth=5, alpha=0.45)
            axes.scatter([c.ratio or 1.0], [position], color=colour, s=40, zorder=3)
        axes.axvline(1, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(rows)), [row.title for row in rows])
        axes.set_xscale("log")
        values = [v for row in rows for v in (row.comparison.low, row.comparison.high, row.comparison.ratio, 1.0) if v]
        spread = max(max(values), 1 / min(values), 1.1) ** 1.08
        axes.set_xlim(1 / spread, spread)
        ticks: tuple[float, ...] = (0.8, 0.9, 1, 1.11, 1.25)
        if spread >= 1.5:
            ticks = (0.2, 0.33, 0.5, 0.67, 1, 1.5, 2, 3, 5)
        if spread >= 6:
            ticks = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
        if spread >= 60:
            ticks = tuple(10.0**power for power in range(-9, 10))
        inside = [t for t in ticks if 1 / spread <= t <= spread]
        axes.set_xticks(inside, [f"{t:g}" for t in inside])
        axes.minorticks_off()
        axes.set_xlabel(f"ratio {shorten(printable(candidate), 40)} ÷ {shorten(printable(rows[0].baseline), 40)}")
        svg = svg_of(figure)
    listed = "; ".join(f"{row.title} {row.comparison.ratio:.3g} {row.comparison.verdict}" for row in reversed(rows))
    return Picture(
        svg,
        _ratios_caption(rows),
        f"Ratios with intervals. {listed}.",
        "replayed",
    )


def _ratios_caption(rows: list[Row]) -> str:
    """What the picture of these rows shows; intervals are promised only where there are some."""
    known = [row.comparison.low is not None and row.comparison.high is not None for row in rows]
    bars = "The bar is the 95 % interval of the ratio"
    if not any(known):
        bars = "The runs are too few for intervals, so nothing can be said to differ"
    elif not all(known):
        bars += "; rows without a bar have too few values for one"
    colours = {row.comparison.verdict for row in rows}
    meanings = {"faster": "green is faster", "slower": "red is slower", "~": "grey: no difference was shown"}
    meaning = [text for verdict, text in meanings.items() if verdict in colours]
    caption = (
        f"Ratio of each figure to the baseline's (dot). {bars}; {', '.join(meaning)}. Right of the dashed line it is "
        "more than the baseline's: rates (read rate, operations, metadata ops) are better there, times at the left."
    )
    said = [
        text
        for word, text in (
            (" p50", "p50 is the median latency"),
            (" p99", "p99 the latency that one call in a hundred exceeds"),
            ("metadata", "metadata ops the calls a second about names and open files, not their bytes"),
            ("storage adds", "storage adds what the makespan has beyond the plan without I/O"),
            ("geomean", "geomean the geometric mean over the operations"),
        )
        if any(word in row.title for row in rows)
    ]
    return caption + (f" Here {', '.join(said)}." if said else "")


def latency_curves(sides: Sequence[Side], curves: Sequence[Curve] = ()) -> Picture | None:
    """Share of calls within a latency, by class of operation and side, mean of the runs; None without latencies.

    Parameters
    ----------
    sides: of a comparison, or one. curves: where those of two sides part.
    """
    figure = _latency_figure(sides, curves)
    if figure is None:
        return None
    with styled():
        svg = svg_of(figure)
    caption = "Share of calls that ended within a latency"
    caption += ", mean of the runs" if len(sides[0].runs) > 1 else ""
    caption += ": a curve further left is faster." if len(sides) > 1 else ": the further left, the faster."
    if curves:
        shown = any(curve.shown for curve in curves)
        caption += " The black bar marks where two curves are farthest apart" + (
            ", the band the latencies between which they were shown to differ."
            if shown
            else "; they were not shown to differ."
        )
    told = [_parted(curve) for curve in curves] or [_quartiles(side, kind) for side in sides for kind in CLASS_COLOURS]
    return Picture(
        svg,
        caption,
        f"Cumulative latency curves by class of operation. {printable('; '.join(filter(None, told)))}.",
        "replayed",
    )


def _quartiles(side: Side, kind: str) -> str:
    curve = mean_curve(side, kind)
    if curve is None:
        return ""
    quarter, half, rest = (duration_text(float(middles()[np.searchsorted(curve, q)])) for q in (0.25, 0.5, 0.75))
    return f"{kind}: a quarter of the calls within {quarter}, half within {half}, three quarters within {rest}"


def save_latency_curves(table: ComparisonTable, path: Path) -> None:
    """Write the latency curves as a picture, PNG, SVG or PDF by the name's end.

    Raises
    ------
    UsageError: the name ends otherwise, or no side has whole histograms.
    StorageError: it cannot be written.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"{path}: pictures are .png, .svg or .pdf.")
    figure = _latency_figure(table.sides, table.curves)
    if figure is None:
        raise UsageError("there are no histograms to draw: fio writes them with --output-format=json+.")
    try:
        with styled():
            figure.savefig(path, dpi=150, facecolor="white")
    except OSError as error:
        raise StorageError(f"cannot write the picture {path}: {error.strerror or error}.") from None


def _parted(curve: Curve) -> str:
    apart = (
        f"{curve.kind}: farthest apart at {duration_text(curve.at_us * 1e3)}, {curve.share_a:.0%} of calls on "
        f"{curve.baseline} and {curve.share_b:.0%} on {curve.candidate}"
    )
    if curve.shown is None:
        return f"{apart}; not shown to differ"
    low, high = (duration_text(value * 1e3) for value in curve.shown)
    return f"{apart}; shown to differ from {low} to {high}"


def _latency_figure(sides: Sequence[Side], curves: Sequence[Curve]) -> Figure | None:
    of_kind = {
        kind: drawn
        for kind in CLASS_COLOURS
        if (
            drawn := [
                (number, curve) for number, side in enumerate(sides) if (curve := mean_curve(side, kind)) is not None
            ]
        )
    }
    if not of_kind:
        return None
    columns = min(3, len(of_kind))
    lines = -(-len(of_kind) // columns)
    value = np.maximum(middles() / 1e3, 1e-3)
    with styled():
        figure = Figure(figsize=(9, 2.2 * lines + 0.5), layout="constrained")
        panes = figure.subplots(lines, columns, squeeze=False).ravel()
        seen = {}
        for axes, (kind, drawn) in zip(panes, of_kind.items(), strict=False):
            ends = []
            for number, share in drawn:
                first, last = int(np.searchsorted(share, 1e-9)), int(np.searchsorted(share, 1 - 1e-9))
                ends += [first, last]
                (seen[number],) = axes.step(
                    value,
                    share,
                    where="post",
                    color=SIDE_COLOURS[number % len(SIDE_COLOURS)],
                    linewidth=1.6,
                    label=_side(sides[number].label),
                )
            axes.set_title(kind)
            axes.set_xscale("log")
            axes.set_xlim(value[min(ends)] / 1.3, value[min(max(ends), len(value) - 1)] * 1.3)
            for parted in [one for one in curves if one.kind == kind]:
                axes.vlines(parted.at_us, *sorted((parted.share_a, parted.share_b)), color=INK, linewidth=0.9)
                if parted.shown:
                    axes.axvspan(*parted.shown, color=INK, alpha=0.06, linewidth=0)
            time_axis(axes, 1.4)
            low, high = axes.get_xlim()
            if high > 1000 * low:
                # labels of every decade would touch in a narrow pane
                axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.set_ylim(0, 1.02)
            axes.yaxis.set_major_formatter(ticks(lambda v: f"{v:.0%}"))
        for axes in panes[len(of_kind) :]:
            axes.set_visible(False)
        handles = [seen[number] for number in sorted(seen)]
        if len(sides) > 1:
            figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
    return figure


def runs_in_order(table: ComparisonTable) -> Picture:
    """Makespan of every run in the order run: shows drift, outliers and warm caches."""
    with styled():
        figure = Figure(figsize=(9, 2.4), layout="constrained")
        axes = figure.subplots()
        for number, side in enumerate(table.sides):
            colour = SIDE_COLOURS[number % len(SIDE_COLOURS)]
            order = [run.run + 1 for run in side.runs]
            axes.plot(
                order,
                [run.wall_s for run in side.runs],
                "o-",
                color=colour,
                linewidth=1,
                markersize=5,
                label=_side(side.label),
            )
        axes.set_ylim(bottom=0)
        axes.set_xlabel("run, in the order of the replay")
        axes.set_ylabel("makespan")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(ticks(lambda v: duration_text(v * 1e9)))
        legend(axes, min(3, len(table.sides)))
        svg = svg_of(figure)
    listed = "; ".join(
        f"{side.label}: {', '.join(duration_text(run.wall_s * 1e9) for run in side.runs[:20])}" for side in table.sides
    )
    caption = (
        "Makespan (from the common start to the last thread's end) of each run. Points that climb or fall over the "
        "runs mean drift; one far from the others is an outlier."
    )
    return Picture(svg, caption, f"Makespan of each run in order. {printable(listed)}.", "replayed")


def progress(intervals: dict[str, pd.DataFrame]) -> Picture | None:
    """Bytes per second within the runs of each side, from Result.intervals; None for runs of less than 3 s."""
    courses = {}
    for label, frame in intervals.items():
        if not frame.empty and frame["second"].max() >= 2:
            courses[label] = frame.groupby(["run", "second"])[["bytes"]].sum().reset_index()
    if not courses:
        return None
    with styled():
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        axes = figure.subplots()
        for number, (label, frame) in enumerate(courses.items()):
            colour = SIDE_COLOURS[number % len(SIDE_COLOURS)]
            for run, part in frame.groupby("run"):
                first = run == frame["run"].iloc[0]
                axes.plot(
                    part["second"],
                    part["bytes"],
                    color=colour,
                    linewidth=0.8,
                    alpha=0.6,
                    label=_side(label) if first else None,
                )
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("second of the run")
        axes.set_ylabel("bytes per second")
        axes.yaxis.set_major_formatter(ticks(rate_text))
        if len(courses) > 1:
            legend(axes, min(3, len(courses)))
        svg = svg_of(figure)
    peaks = "; ".join(f"{label} peaks at {rate_text(float(frame['bytes'].max()))}" for label, frame in courses.items())
    return Picture(
        svg,
        "Throughput within the runs, a line for each run.",
        f"Bytes per second over time. {printable(peaks)}.",
        "replayed",
    )


def _side(label: str) -> str:
    # Matplotlib leaves labels that begin with an underscore out of the legend
    text = shorten(printable(label), 40)
    return f" {text}" if text.startswith("_") else text

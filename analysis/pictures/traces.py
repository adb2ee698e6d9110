"""Pictures of a trace: its course, latencies, sizes and positions in files; frames in, inline SVG out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from iotrace.analysis.pictures.drawing import (
    CLASS_COLOURS,
    Picture,
    legend,
    styled,
    svg_of,
    ticks,
    time_axis,
)  # fmt: skip
from iotrace.histogram import middles
from iotrace.terminal import fit, printable, shorten
from iotrace.trace.operations import Kind
from iotrace.trace.tables import records
from iotrace.units import ALL_OF_A_FILE, bytes_text, count_text, duration_text, rate_text, size_text

if TYPE_CHECKING:
    import pandas as pd


def timeline(frame: pd.DataFrame, duration_s: float) -> Picture | None:
    """Bytes and operations per second over the recording, from Tables.timeline; None for a trace without operations."""
    if frame.empty:
        return None
    width = float(frame["width_s"].iloc[0])
    starts = np.arange(round(max(duration_s, float(frame["start_s"].max()) + width) / width)) * width
    slot = np.minimum(np.rint(frame["start_s"].to_numpy() / width).astype(int), len(starts) - 1)

    def series(values: Any, chosen: Any) -> Any:
        return np.bincount(slot[chosen], weights=np.asarray(values, dtype=float)[chosen], minlength=len(starts)) / width

    everything = np.ones(len(frame), dtype=bool)
    read, written = series(frame["bytes_read"], everything), series(frame["bytes_written"], everything)
    # a step reaches to the next point: the last slice, of a short recording the only one, needs its end
    edges = np.append(starts, len(starts) * width)

    def closed(values: Any) -> Any:
        return np.append(values, values[-1])

    with styled():
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        # reads go up and writes down: neither can hide the other
        for values, name in ((read, "read"), (-written, "write")):
            above.fill_between(edges, closed(values), step="post", alpha=0.25, color=CLASS_COLOURS[name], linewidth=0)
            label = "bytes read (up)" if name == "read" else "bytes written (down)"
            above.step(edges, closed(values), where="post", color=CLASS_COLOURS[name], linewidth=1.3, label=label)
        above.axhline(0, color="#8a8f98", linewidth=0.8)
        above.set_ylabel("bytes per second")
        above.yaxis.set_major_formatter(ticks(lambda value: rate_text(abs(value))))
        most, least = max(float(read.max()), 1.0), float(written.max())
        # a side without bytes needs no room
        above.set_ylim(-1.08 * least if least else 0, 1.08 * most if read.any() or not least else 0)
        legend(above, 2)
        kinds = [kind for kind in CLASS_COLOURS if (frame["class"] == kind).any()]
        stacks = [series(frame["calls"], (frame["class"] == kind).to_numpy()) for kind in kinds]
        if kinds:
            below.stackplot(
                edges,
                [closed(stack) for stack in stacks],
                labels=kinds,
                colors=[CLASS_COLOURS[kind] for kind in kinds],
                alpha=0.85,
                step="post",
                linewidth=0,
            )
        below.set_ylabel("operations per second")
        below.yaxis.set_major_formatter(ticks(count_text))
        below.set_xlabel("time since the recording's start (s)")
        below.set_xlim(0, max(duration_s, width))
        legend(below, len(kinds))
        svg = svg_of(figure)
    calls = sum(stacks) if stacks else np.zeros(1)
    most = int(np.argmax(calls))
    text = (
        f"Timeline of {duration_s:.3g} s. Reading peaks at {rate_text(float(read.max()))} "
        f"at {starts[read.argmax()]:.3g} s, writing at {rate_text(float(written.max()))} "
        f"at {starts[written.argmax()]:.3g} s, operations "
        f"at {count_text(float(calls[most]))} per second at {starts[most]:.3g} s."
    )
    caption = (
        f"Bytes and operations per second over time, means of slices of {duration_text(width * 1e9)}. Above, reads go "
        "up from the line at 0 and writes down. Below, the classes of operations lie on each other; metadata are calls "
        "about names and open files, not their bytes (open, stat, close, seek)."
    )
    return Picture(svg, caption, text, "measured")


def latency_ranges(table: pd.DataFrame, most: int = 14) -> Picture | None:
    """Median to 99th percentile of the operations that took most time, from Tables.by("op"); None without durations.

    How long a child was waited for, or a program took to start, is no latency of a storage.
    """
    table = table[table["p50_us"].notna() & (table["class"] != Kind.PROCESS)].head(most).iloc[::-1]
    if table.empty:
        return None
    names = [shorten(printable(str(key)), 24) for key in table["key"]]
    with styled():
        figure = Figure(figsize=(9, 0.9 + 0.27 * len(table)), layout="constrained")
        axes = figure.subplots()
        colours = [CLASS_COLOURS.get(str(kind), "#8a8f98") for kind in table["class"]]
        position = np.arange(len(table))
        axes.hlines(position, table["p50_us"], table["p99_us"], color=colours, linewidth=5, alpha=0.45)
        axes.scatter(table["p50_us"], position, color=colours, s=42, zorder=3)
        axes.scatter(table["p99_us"], position, color=colours, s=42, marker="|", linewidths=2, zorder=3)
        axes.set_yticks(position, names)
        axes.set_xscale("log")
        time_axis(axes)
        axes.set_xlabel("latency: dot = median, bar = 99th percentile")
        svg = svg_of(figure)
    rows_shown = records(table.iloc[::-1])
    slowest = max(rows_shown, key=lambda row: float(row["p99_us"]))
    text = (
        "Latency by operation, median to 99th percentile. "
        + "; ".join(
            f"{name} {duration_text(row['p50_us'] * 1e3)} to {duration_text(row['p99_us'] * 1e3)}"
            for name, row in zip(reversed(names), rows_shown, strict=True)
        )
        + f". Slowest at the 99th percentile: {printable(str(slowest['key']))}."
    )
    part = [name for name, row in zip(reversed(names), rows_shown, strict=True) if row["timed"] < row["calls"]]
    caption = "Latency, the time inside one call, of the operations that took most time"
    caption += f"; of {', '.join(part)} only calls whose duration is known." if part else "."
    caption += (
        " Half of the calls were faster than the median (p50, the dot); one in a hundred was slower than the 99th "
        "percentile (p99, the bar's end). The axis is logarithmic."
    )
    return Picture(svg, caption, text, "measured")


def sizes(histogram: pd.DataFrame) -> Picture | None:
    """Sizes that data operations asked for, by class, from Tables.histogram("class", "size"); None without any."""
    if histogram.empty or not (histogram["bucket"] > 0).any():
        return None
    histogram = histogram[histogram["bucket"] > 0]
    octave = np.floor(np.log2(np.maximum(middles()[histogram["bucket"].to_numpy(dtype=int)], 1))).astype(int)
    # who asks for all that there is stands beside the others, not eight powers of a thousand away
    everything = 2.0**octave >= ALL_OF_A_FILE
    whole = int(octave[~everything].max(initial=0)) + 2
    octave[everything] = whole
    low, high = int(octave.min()), int(octave.max())
    kinds = [kind for kind in CLASS_COLOURS if (histogram["key"] == kind).any()]
    position = np.arange(low, high + 1)
    with styled():
        figure = Figure(figsize=(9, 0.9 + 1.15 * len(kinds)), layout="constrained")
        # a pane each, with a scale of its own: a few large reads are seen beside many small writes
        panes = figure.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
        shares = []
        for axes, kind in zip(panes, kinds, strict=True):
            chosen = (histogram["key"] == kind).to_numpy()
            weights = histogram["count"].to_numpy(dtype=float)[chosen]
            counts = np.bincount(octave[chosen] - low, weights=weights, minlength=len(position))
            axes.bar(position, counts, 0.8, color=CLASS_COLOURS[kind])
            axes.set_title(kind)
            axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.yaxis.set_major_formatter(ticks(count_text))
            axes.grid(visible=False, axis="x")
            most = int(counts.argmax())
            shares.append(f"{kind}: most often {_from_size(low + most, whole)} ({counts[most] / counts.sum():.0%})")
        step = -(-len(position) // 13)
        shown = [int(one) for one in position[::step] if one < whole - 1] + ([whole] if everything.any() else [])
        panes[-1].set_xticks(shown, [_from_size(one, whole, "") for one in shown])
        room = 0.6 + max(0, 8 - len(position)) / 2
        panes[-1].set_xlim(low - room, high + room)
        figure.supylabel("operations", fontsize=9.5)
        panes[-1].set_xlabel("size asked for, from this power of two to the next")
        svg = svg_of(figure)
    caption = (
        "How many calls asked for how many bytes: small pieces at the left, large ones at the right"
        + (", a row for each class, each with a scale of its own." if len(kinds) > 1 else ".")
    )  # fmt: skip
    return Picture(svg, caption, "Histogram of sizes asked for. " + "; ".join(shares) + ".", "measured")


def _from_size(power: int, whole: int, above: str = " and above") -> str:
    """A power of two as a size, or "all" where it stands for calls that ask for all of a file."""
    return "all" if power >= whole else f"{size_text(2**power)}{above}"


def positions(sample: pd.DataFrame, files: int = 3) -> Picture | None:
    """Offsets over time in the files that moved most bytes, from Tables.positions; None without any."""
    if sample.empty:
        return None
    busiest = sample.groupby("file")["size"].sum().sort_values(ascending=False).index[:files]
    sample = sample[sample["file"].isin(busiest)]
    paths = sample.drop_duplicates("file").set_index("file")["path"]
    names = [printable(str(paths[number])) for number in busiest]
    kinds = [kind for kind in CLASS_COLOURS if (sample["class"] == kind).any()]
    with styled():
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        panes = figure.subplots(1, len(busiest), squeeze=False)[0]
        width = 84 // len(busiest)
        for axes, number, name in zip(panes, busiest, fit(names, width), strict=True):
            sns.scatterplot(
                sample[sample["file"] == number], x="time_s", y="offset", hue="class", palette=CLASS_COLOURS, s=9,
                linewidth=0, alpha=0.7, ax=axes, legend=False, rasterized=True,
            )  # fmt: skip
            axes.set_title(name, fontsize=8)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.set_xlabel("time (s)")
            axes.set_ylabel("offset" if axes is panes[0] else "")
            axes.yaxis.set_major_formatter(ticks(bytes_text))
        dots = [
            Line2D([], [], marker="o", linestyle="", markersize=4, color=CLASS_COLOURS[kind], label=kind)
            for kind in kinds
        ]
        figure.legend(handles=dots, loc="outside lower right", ncols=len(kinds) or 1)
        svg = svg_of(figure)
    return Picture(
        svg,
        "Offsets of data operations over time in the files that moved most bytes (a sample): a rising line is "
        "sequential, a cloud is random.",
        f"Scatter plots of offset against time for {', '.join(names)}.",
        "measured",
    )

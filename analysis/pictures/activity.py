"""The picture of when each job did what: a heat map of calls by job and operation over the recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import seaborn as sns
from matplotlib.colors import Colormap, ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from iotrace.analysis.pictures.drawing import Picture, styled, svg_of, ticks
from iotrace.terminal import printable, shorten
from iotrace.units import count_text, duration_text

if TYPE_CHECKING:
    import pandas as pd

SCHEMES: Final = ("dark", "light")
"""Both are drawn, the page shows one; without a style sheet the last is seen, which is drawn on the other."""
_NAME: Final = 36
_MOST_RATIO: Final = 1e4
"""Colours span so many times; what is rarer looks like the rarest."""


def heat_colours(scheme: str) -> Colormap:
    """From few to many: what is busy stands out from the page, which is light or dark, and what is rare can be seen."""
    flare = sns.color_palette("flare", as_cmap=True)
    return flare if scheme == "light" else ListedColormap(flare(np.linspace(0.8, 0, 256)), "flare-dark")


def activity(frame: pd.DataFrame, duration_s: float) -> Picture | None:
    """Calls a second by job and operation in slices of the recording, from Tables.activity; None without calls."""
    if frame.empty:
        return None
    width = float(frame["width_s"].iloc[0])
    names = [
        shorten(printable(f"{job}: {op}" if job else str(op)), _NAME)
        for job, op in zip(frame["job"], frame["op"], strict=True)
    ]
    frame = frame.assign(name=names, rate=frame["calls"] / width)
    order = frame.groupby("name", sort=False)["time_s"].max().sort_values(ascending=False).index
    slices = np.arange(round(max(duration_s, float(frame["start_s"].max()) + width) / width))
    frame["slice"] = np.rint(frame["start_s"] / width).astype(int)
    grid = frame.pivot_table(index="name", columns="slice", values="rate", aggfunc="sum").reindex(order)
    grid = grid.reindex(columns=slices)
    most = float(np.nanmax(grid.to_numpy()))
    least = max(float(np.nanmin(grid.to_numpy())), most / _MOST_RATIO)
    with styled():
        figure = Figure(figsize=(9, 1.3 + 0.25 * len(order)), layout="constrained")
        axes = figure.subplots()
        # a row where everything is equal has no range of its own
        norm = LogNorm(least, most if most > least else least * 10)
        for scheme in SCHEMES:
            image = axes.imshow(
                grid.to_numpy(), aspect="auto", interpolation="nearest", norm=norm, cmap=heat_colours(scheme),
                extent=(0, len(slices) * width, len(order) - 0.5, -0.5), gid=f"for-{scheme}",
            )  # fmt: skip
        axes.set_yticks(np.arange(len(order)), list(order))
        axes.grid(False)
        axes.set_xlabel("time since the recording's start (s)")
        bar = figure.colorbar(image, ax=axes, pad=0.01, shrink=min(1.0, 0.4 + 1.5 / len(order)))
        bar.set_label("calls per second")
        bar.ax.yaxis.set_major_formatter(ticks(count_text))
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        bar.outline.set_visible(False)
        # Matplotlib's own bar has one map of colours and no name in the SVG
        if bar.solids is not None:
            bar.solids.set_visible(False)
        inside = bar.ax.inset_axes((0, 0, 1, 1), zorder=0)
        inside.axis("off")
        for scheme in SCHEMES:
            inside.imshow(
                np.linspace(0, 1, 256)[:, None], aspect="auto", origin="lower", cmap=heat_colours(scheme),
                gid=f"for-{scheme}-bar",
            )  # fmt: skip
        svg = svg_of(figure)
    peaks = grid.max(axis=1)
    told = "; ".join(f"{name} up to {count_text(peaks[name])} a second" for name in order)
    return Picture(
        svg,
        f"When {'each job made which calls' if frame['job'].notna().any() else 'which calls were made'}, in slices "
        f"of {duration_text(width * 1e9)}; those that took most time are above. The more a colour stands out, the more "
        "calls a second (the scale is logarithmic). Where nothing is drawn none was made.",
        f"Heat map of calls over time by job and operation: {told}.",
        "measured",
    )

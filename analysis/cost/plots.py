"""Pictures of costs as files: time and cost of a queue as bars (the source text's figures 6 and 7), and the frontier.

Points in, a PNG or an SVG out. Choices of one storage have one colour, those of one instance one sign; the line joins
what is beaten by none in both time and cost.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import seaborn as sns
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from iotrace.analysis.cost.queues import Point, money
from iotrace.analysis.pictures.comparisons import SIDE_COLOURS
from iotrace.analysis.pictures.drawing import styled, ticks
from iotrace.errors import StorageError, UsageError
from iotrace.terminal import printable, shorten
from iotrace.units import duration_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS: Final = (".png", ".svg")
_MARKERS: Final = "osD^vPX*<>ph"
_DPI: Final = 150
_HOUR: Final = 3600


def check_target(path: Path, force: bool) -> None:
    """Refuse a name that is no picture's, or a file that stands there already.

    Raises
    ------
    UsageError: as said; it names the file and what to do.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--plot {path}: give a name that ends in .png or .svg.")
    if path.is_dir():
        raise UsageError(f"--plot {path} is a folder: give the name of a file in it.")
    if path.exists() and not force:
        raise UsageError(f"--plot {path} exists already: choose another name, or --force to replace it.")


def save_picture(points: Sequence[Point], title: str, path: Path) -> None:
    """Draw the points and write the file.

    Parameters
    ----------
    title: what the costs are of, and where the figures come from, on a line or two.

    Raises
    ------
    StorageError: the file cannot be written.
    """
    buffer = io.BytesIO()
    with styled():
        figure = drawn(points, title)
        kind = path.suffix.lower().removeprefix(".")
        metadata: dict[str, Any] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=_DPI, facecolor="white", metadata=metadata)
    try:
        path.write_bytes(buffer.getvalue())
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}.") from None


def drawn(points: Sequence[Point], title: str) -> Figure:
    """The figure: bars of time and of cost by instance and storage, and speed against cost below."""
    instances = list(dict.fromkeys(point.instance for point in sorted(points, key=lambda p: -p.seconds)))
    storages = sorted({point.storage for point in points})
    colours = {name: SIDE_COLOURS[number % len(SIDE_COLOURS)] for number, name in enumerate(storages)}
    signs = {name: _MARKERS[number % len(_MARKERS)] for number, name in enumerate(instances)}
    figure = Figure(figsize=(9, 7.6), layout="constrained")
    panes = figure.subplot_mosaic([["time", "cost"], ["both", "both"]], height_ratios=[1, 1.35])
    figure.suptitle("\n".join(map(printable, title.split("\n"))), x=0.01, ha="left", fontsize=10)
    hours = max(float(point.seconds) for point in points) >= 2 * _HOUR
    _bars(panes["time"], points, instances, colours, lambda p: _time(p.seconds, hours), _time_text(hours))
    panes["time"].set_title("time of a queue")
    _bars(panes["cost"], points, instances, colours, lambda p: float(p.cost), _cost_text)
    panes["cost"].set_title("cost of a queue")
    _against(panes["both"], points, colours, signs, hours)
    handles = [
        *(Patch(color=colours[name], label=_label(name)) for name in storages),
        *(
            Line2D([], [], marker=signs[name], linestyle="", color="#60666d", label=_label(name))
            for name in instances
        ),
        Line2D([], [], color="#60666d", linestyle="--", linewidth=1.2, label="not beaten in both"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _bars(
    axes: Axes,
    points: Sequence[Point],
    instances: list[str],
    colours: dict[str, str],
    value: Callable[[Point], float],
    text: Callable[[float], str],
) -> None:
    frame = pd.DataFrame(
        [{"instance": p.instance, "storage": p.storage, "value": value(p)} for p in points],
    )
    sns.barplot(
        frame, x="value", y="instance", hue="storage", order=instances,
        hue_order=list(colours), palette=colours, saturation=1, legend=False, errorbar=None, ax=axes,
    )  # fmt: skip
    most = float(frame["value"].max())
    for bars in axes.containers:
        if isinstance(bars, BarContainer):
            widths = [float(bar.get_width()) for bar in bars]
            axes.bar_label(bars, [text(width) if width else "" for width in widths], padding=3, fontsize=8)
    axes.set_yticks(range(len(instances)), [_label(name) for name in instances])
    axes.set_xlim(0, most * 1.22 or 1)
    axes.xaxis.set_major_formatter(ticks(text))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("")
    axes.set_ylabel("")
    axes.grid(False, axis="y")


def _against(axes: Axes, points: Sequence[Point], colours: dict[str, str], signs: dict[str, str], hours: bool) -> None:
    best = sorted((p for p in points if p.best), key=lambda p: p.seconds)
    x = [_time(p.seconds, hours) for p in best]
    axes.plot(
        x,
        [float(p.cost) for p in best],
        color="#60666d",
        linestyle="--",
        linewidth=1.2,
        drawstyle="steps-post",
        zorder=1,
    )
    for point in points:
        place = (_time(point.seconds, hours), float(point.cost))
        if point.low is not None and point.high is not None:
            low, high = _time(point.low, hours), _time(point.high, hours)
            axes.hlines(place[1], low, high, color=colours[point.storage], linewidth=4, alpha=0.35, zorder=2)
        axes.scatter(
            *place, marker=signs[point.instance], s=70, zorder=3, color=colours[point.storage],
            alpha=1 if point.best else 0.45, linewidths=0,
        )  # fmt: skip
        if point.best:
            # what is beaten is pale and without a name: its sign and colour say which it is
            axes.annotate(
                f"{_label(point.instance)}  {_cost_text(place[1])}", place, xytext=(7, 5), textcoords="offset points",
                fontsize=8,
            )  # fmt: skip
    most_x, most_y = max(_time(p.seconds, hours) for p in points), max(float(p.cost) for p in points)
    axes.set_xlim(0, most_x * 1.18 or 1)
    axes.set_ylim(0, most_y * 1.15 or 1)
    axes.set_title("speed against cost: left and down is better")
    axes.set_xlabel("time of a queue" + ("; bar: 95 % interval" if any(p.low is not None for p in points) else ""))
    axes.set_ylabel("cost of a queue")
    axes.xaxis.set_major_formatter(ticks(_time_text(hours)))
    axes.yaxis.set_major_formatter(ticks(_cost_text))


def _time(seconds: Decimal, hours: bool) -> float:
    return float(seconds) / (_HOUR if hours else 1)


def _time_text(hours: bool) -> Callable[[float], str]:
    return (lambda value: f"{value:.2f} h") if hours else (lambda value: duration_text(value * 1e9))


def _cost_text(value: float) -> str:
    return f"${money(Decimal(repr(float(value)))):f}"


def _label(name: str) -> str:
    # Matplotlib leaves labels that begin with an underscore out of the legend
    text = shorten(printable(name), 28)
    return f" {text}" if text.startswith("_") else text

"""The picture of what client caches of all sizes would serve of a trace's reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure

from iotrace.analysis.findings.show import telling_sizes
from iotrace.analysis.pictures.comparisons import SIDE_COLOURS
from iotrace.analysis.pictures.drawing import INK, Picture, legend, styled, svg_of, ticks
from iotrace.terminal import printable, shorten
from iotrace.trace.tables import records
from iotrace.units import binary_text

if TYPE_CHECKING:
    from iotrace.analysis.findings.reuse import Reuse

_STEPS: Final = len(SIDE_COLOURS)
_TICKS: Final = 8


def cache_curve(reuse: Reuse, memory_bytes: int = 0) -> Picture | None:
    """The share of each step's reads that a cache serves, over its size; None where nothing is read again.

    Parameters
    ----------
    memory_bytes: of the machine, marked where the axis reaches it; 0: not known.
    """
    if reuse.curve.empty or not reuse.curve["served"].max() > 0:
        return None
    told = telling_sizes(reuse.curve)
    low, high = max(1 << 20, told[0] // 2), told[-1] * 2
    steps = reuse.by_step.sort_values("read_bytes", ascending=False, kind="stable")["step"].tolist()
    shown, left_out = steps[:_STEPS], len(steps[_STEPS:])
    curves = {
        step: {row["cache_bytes"]: row["served"] for row in records(reuse.curve[reuse.curve["step"] == step])}
        for step in shown
    }
    sizes = [1 << power for power in range(low.bit_length() - 1, high.bit_length())]
    with styled():
        figure = Figure(figsize=(9, 2.9), layout="constrained")
        axes = figure.subplots()
        for number, (step, served) in enumerate(curves.items()):
            known = [size for size in sizes if size in served]
            # beyond the last size a larger cache serves no more
            values = [served[size] for size in known] + [served[known[-1]]] * (len(sizes) - len(known)) if known else []
            if values:
                label = shorten(printable(step) or "(no label)", 30)
                # Matplotlib leaves labels that begin with an underscore out of the legend
                label = f" {label}" if label.startswith("_") else label
                axes.plot(sizes, values, "o-", color=SIDE_COLOURS[number], linewidth=1.5, markersize=3.5, label=label)
        axes.set_xscale("log", base=2)
        axes.set_xlim(low / 1.1, high * 1.1)
        every = -(-len(sizes) // _TICKS)
        axes.set_xticks(sizes[::every], [binary_text(size) for size in sizes[::every]])
        axes.minorticks_off()
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(ticks(lambda share: f"{share:.0%}"))
        axes.set_xlabel("size of the cache")
        axes.set_ylabel("of the reads")
        marked = low <= memory_bytes <= high
        if marked:
            axes.axvline(memory_bytes, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        if len(curves) > 1:
            legend(axes, min(4, len(curves)))
        svg = svg_of(figure)
    caption = (
        "What a client cache would serve of each step's reads: where a curve climbs, data is read again that long "
        "after; where it is flat, more memory helps no further."
        + (f" The dashed line is this machine's memory ({binary_text(memory_bytes)})." if marked else "")
        + (f" {left_out} steps that read less are left out." if left_out else "")
    )
    said = "; ".join(
        f"{printable(step) or '(no label)'}: " + ", ".join(
            f"{binary_text(size)} {served[size]:.0%}" for size in told if size in served
        )
        for step, served in curves.items()
    )  # fmt: skip
    return Picture(svg, caption, f"Share of the reads that caches serve, by size. {said}.", "modelled")

"""What all pictures share: colours, look, ticks, and how a figure becomes inline SVG.

Each picture is one SVG that fits a light and a dark page alike: what is black in Matplotlib becomes the page's own
text colour, the background is none. Clouds of points are raster images inside it. A picture carries its text for
those who do not see it. Texts of a trace come in escaped (iotrace.terminal.printable) and are never read as
mathematics.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from iotrace.units import duration_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK: Final = "#010203"
"""Stands for the page's text colour; no other element may have it."""
CLASS_COLOURS: Final = {
    "read": "#3f8fd2",
    "write": "#e5803a",
    "copy": "#1fa3a3",
    "metadata": "#79a33a",
    "sync": "#cf5590",
    "map": "#9873c9",
    "lock": "#c09a1e",
    "process": "#8a8f98",
}

_STYLE: Final[dict[str, Any]] = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": "#8a8f98",
    "grid.color": "#8a8f9850",
    "grid.linewidth": 0.6,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.framealpha": 0.0,
    "svg.fonttype": "none",
    "axes.formatter.useoffset": False,
    "svg.hashsalt": "iotrace",
    # images that lie on each other stay apart: the page shows one of them
    "image.composite_image": False,
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "patch.edgecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_styles = threading.RLock()


@dataclass(frozen=True, slots=True)
class Picture:
    """SVG text for a page, a caption, the text for those who do not see it, and where its figures come from."""

    svg: str
    caption: str
    alternative: str
    provenance: str


def ticks(text: Callable[[float], str]) -> FuncFormatter:
    """Tick labels without the zeros that a round number does not need: "50.0 ms" → "50 ms", "0 ns" → "0"."""

    def short(value: float, _: int) -> str:
        return "0" if value == 0 else re.sub(r"\.0+(?=\D|$)|(\.\d*?[1-9])0+(?=\D|$)", r"\1", text(value))

    return FuncFormatter(short)


def legend(axes: Axes, columns: int) -> None:
    """A legend above the picture, where it hides nothing."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=max(1, columns), borderaxespad=0.2, handlelength=1.4)


def time_axis(axes: Axes, most_decades: float = 3) -> None:
    """A logarithmic axis of latencies in µs, with ticks at 1, 2 and 5 where it spans no more than so many decades."""
    low, high = axes.get_xlim()
    decades = np.log10(high / low) if low > 0 else 9
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > most_decades else (1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(ticks(lambda value: duration_text(value * 1e3)))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


@contextmanager
def styled() -> Iterator[None]:
    """The look of all pictures, as a context for one thread at a time: Matplotlib has one look for them all."""
    style: Any = {**sns.axes_style("whitegrid"), **_STYLE}
    with _styles, matplotlib.rc_context(style):
        yield


def svg_of(figure: Figure) -> str:
    """The figure as an SVG element whose ids are its own and whose ink is the page's."""
    buffer = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # of its own by what it shows: whoever draws pictures of one page need not count them together
    prefix = f"p{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", text)
    # what a picture draws twice, for light and for dark pages, is named by gid; the style sheet shows one
    text = re.sub(rf'id="{prefix}(for-(?:light|dark))', r'class="\1" \g<0>', text)
    text = text.replace(INK, "currentColor")
    # the size comes from the page; the viewBox keeps the proportions
    return re.sub(
        r'(<svg[^>]*?) (?:width|height)="[^"]*pt"',
        r"\1",
        re.sub(r'(<svg[^>]*?) height="[^"]*pt"', r"\1", text, count=1),
        count=1,
    )


def present(made: Sequence[Picture | None]) -> list[Picture]:
    """Those that there are."""
    return [picture for picture in made if picture is not None]

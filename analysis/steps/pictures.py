"""The picture of a step: which files it touches when, how it moves within them, in which sizes, and how much.

Drawn from a small trace that the step's recipe makes. A PNG on white, for pages that are read outside of reports; it
carries a digest of what is drawn, so that a test can tell a stale one without comparing pixels, which differ between
versions of fonts and Matplotlib.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from iotrace.analysis.pictures.drawing import CLASS_COLOURS, INK, styled, ticks
from iotrace.analysis.steps.facts import DATASET
from iotrace.profiles.layout import Class, layout_of
from iotrace.profiles.model import DataSet, Profile, load
from iotrace.profiles.numbers import numbers_of
from iotrace.profiles.synthesise import synthesised
from iotrace.trace.operations import OPERATIONS
from iotrace.units import bytes_text, count_text, size_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SCALE: Final = 0.004
_SCALES: Final = {"curate-exposures": 0.04, "inspect-picks": 0.2, "refine-3d": 0.002, "class-2d": 0.002}
DIGEST: Final = "iotrace-data"
"""Name of the PNG's text with the digest."""
_SLICES: Final = 120
_CALLS_SHOWN: Final = 400
_MANY: Final = 1 << 40
_PAPER_INK: Final = "#24292f"
_KINDS: Final = {operation.name: str(operation.kind) for operation in OPERATIONS}
_DATA: Final = ("read", "write", "copy")


@dataclass(frozen=True)
class Drawn:
    """What the picture shows.

    Attributes
    ----------
    calls: one row a call and file (copies into a file have two): time_s, op, kind, files (name of the class), place (0
        to 1 within the class: the number of the file), offset (bytes, -1 without), size (bytes asked for; -1 without,
        and on a copy's second file), bytes_read, bytes_written.
    counts: files of each class, in the recipe's order, of those that are touched.
    """

    title: str
    calls: pd.DataFrame
    counts: dict[str, int]

    @property
    def digest(self) -> str:
        """SHA-256 of the rows; times to the millisecond."""
        rounded = self.calls.assign(time_s=self.calls["time_s"].round(3))
        return hashlib.sha256(rounded.to_csv(index=False).encode()).hexdigest()


def scale_of(name: str) -> float:
    """How much of EMPIAR-10288 the picture shows: mostly a dozen movies, or some thousand particles."""
    return _SCALES.get(name, _SCALE)


def drawn_of(name: str) -> Drawn:
    """Make the step's trace and take from it what is drawn."""
    scale = scale_of(name)
    profile, dataset = load(Profile, name), load(DataSet, DATASET)
    events = synthesised(profile, dataset, scale=scale).events()
    classes = layout_of(profile, numbers_of(profile, dataset, None, scale)).classes
    calls = pd.concat([_side(events, classes, ""), _side(events, classes, "other_")])
    calls = calls.sort_values(["time_s", "files", "place", "offset"], kind="stable", ignore_index=True)
    seen = set(calls["files"])
    return Drawn(profile.title, calls, {one.name: one.count for one in classes if one.name in seen})


def _side(events: pd.DataFrame, classes: Sequence[Class], prefix: str) -> pd.DataFrame:
    """Calls on the file that they name, or (prefix "other_") on the second one of those that have two."""
    events = events[events[f"{prefix}path"].notna()]
    path = events[f"{prefix}path"].to_numpy(dtype=np.int64)
    files = np.full(len(path), "", dtype=object)
    place = np.zeros(len(path))
    for one in classes:
        # names before a rename lie behind the final ones; both are one file
        chosen = (path >= one.first) & (path < one.temporary + one.count)
        files[chosen] = one.name
        place[chosen] = ((path[chosen] - one.first) % one.count + 0.5) / one.count
    kind = events["op"].astype(str).map(_KINDS)
    moved = events["result"].fillna(0).clip(lower=0).where(kind.isin(_DATA), 0)
    writes = (kind == "write") | bool(prefix)
    return pd.DataFrame(
        {
            "time_s": events["time_ns"].to_numpy() / 1e9,
            "op": events["op"].astype(str).to_numpy(),
            "kind": kind.to_numpy(),
            "files": files,
            "place": place,
            "offset": events[f"{prefix}offset"].fillna(-1).to_numpy(dtype=np.int64),
            "size": events["size"].fillna(-1).to_numpy(dtype=np.int64) if not prefix else -1,
            "bytes_read": moved.where(~writes, 0).to_numpy(dtype=np.int64),
            "bytes_written": moved.where(writes, 0).to_numpy(dtype=np.int64),
        }
    )


def picture_of(drawn: Drawn) -> bytes:
    """The PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    with styled():
        figure = Figure(figsize=(9, 7), layout="constrained", facecolor="white", dpi=100)
        rows: Any = figure.subfigures(2, 1, height_ratios=(2.3, 1), hspace=0.02)
        above = rows[0].subplots(2, 1, sharex=True, height_ratios=(max(2.2, 0.3 * len(drawn.counts)), 1))
        below = rows[1].subplots(1, 2)
        _access_map(above[0], drawn)
        _timeline(above[1], drawn)
        _offsets(below[0], drawn)
        _sizes(below[1], drawn)
        _legend(figure, drawn)
        _on_paper(figure)
        buffer = io.BytesIO()
        canvas: Any = FigureCanvasAgg(figure)
        canvas.print_png(buffer)
    image = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    text, target = PngInfo(), io.BytesIO()
    text.add_text(DIGEST, drawn.digest)
    image.save(target, "PNG", optimize=True, pnginfo=text)
    return target.getvalue()


def digest_of(picture: Path) -> str:
    """The digest that a PNG carries; empty where it has none."""
    from PIL import Image

    with Image.open(picture) as image:
        return str(image.info.get(DIGEST, ""))


def alternative_of(drawn: Drawn) -> str:
    """The picture in a sentence, for those who do not see it."""
    calls = drawn.calls
    classes = ", ".join(f"{name} ({count})" for name, count in drawn.counts.items())
    return f"{drawn.title}, {count_text(len(calls))} calls over time on classes of files: {classes}."


def _access_map(axes: Axes, drawn: Drawn) -> None:
    """A band for each class of files, a file's number its height in the band, a mark for each call."""
    rows = {name: len(drawn.counts) - 1 - number for number, name in enumerate(drawn.counts)}
    for kind, calls in _by_kind(drawn.calls):
        height = calls["files"].map(rows).to_numpy(dtype=float) + 0.1 + 0.8 * calls["place"].to_numpy()
        # longer marks behind those of data: their ends are seen where a file is opened, read and closed at one time
        data = kind in _DATA
        axes.scatter(
            calls["time_s"], height, s=14 if data else 60, marker="|", color=CLASS_COLOURS[kind], linewidths=1.1,
            rasterized=True, zorder=3 if data else 2,
        )  # fmt: skip
    axes.set_ylim(0, len(rows))
    axes.set_yticks(
        [row + 0.5 for row in rows.values()],
        [name if drawn.counts[name] == 1 else f"{name} ({count_text(drawn.counts[name])})" for name in rows],
    )
    axes.grid(False, axis="y")
    for row in range(1, len(rows)):
        axes.axhline(row, color="#8a8f9850", linewidth=0.6)
    axes.set_title("Which files, when")


def _timeline(axes: Axes, drawn: Drawn) -> None:
    calls = drawn.calls
    end = max(float(calls["time_s"].max()) * 1.001, 1e-9)
    edges = np.linspace(0, end, _SLICES + 1)
    for column, sign, kind in (("bytes_read", 1, "read"), ("bytes_written", -1, "write")):
        moved, _ = np.histogram(calls["time_s"], edges, weights=calls[column])
        axes.stairs(sign * moved, edges, fill=True, color=CLASS_COLOURS[kind])
    axes.axhline(0, color="#8a8f98", linewidth=0.8)
    axes.set_xlim(-0.01 * end, 1.01 * end)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(ticks(lambda value: bytes_text(abs(value))))
    axes.set_xlabel("time (s), of a storage that answers at once")
    axes.set_title(f"Bytes read (up) and written (down) in each 1/{_SLICES} of the time")


def _offsets(axes: Axes, drawn: Drawn) -> None:
    """Positions, call after call, in the files of the class that moves most bytes."""
    calls = drawn.calls[drawn.calls["kind"].isin((*_DATA, "map")) & (drawn.calls["offset"] >= 0)]
    calls = calls[(calls["bytes_read"] + calls["bytes_written"] > 0) | (calls["op"] == "mmap.fault")]
    # how much a fault reads is not known; what is mapped is large
    weight = (calls["bytes_read"] + calls["bytes_written"]).where(calls["op"] != "mmap.fault", _MANY)
    busiest = weight.groupby(calls["files"]).sum().idxmax()
    shown = calls[calls["files"] == busiest].head(_CALLS_SHOWN).reset_index(drop=True)
    for kind, part in _by_kind(shown):
        axes.scatter(part.index, part["offset"], s=7, color=CLASS_COLOURS[kind], linewidths=0, rasterized=True)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(ticks(bytes_text))
    if not shown["offset"].any():
        axes.set_yticks([0])
    axes.set_xlabel(f"call on them, the first {len(shown)}")
    axes.set_ylabel("offset in the file")
    axes.set_title(f"Positions in {busiest}")


def _sizes(axes: Axes, drawn: Drawn) -> None:
    calls = drawn.calls[drawn.calls["kind"].isin(_DATA) & (drawn.calls["size"] > 0)]
    octave = np.floor(np.log2(calls["size"].to_numpy())).astype(int)
    low, high = int(octave.min()), int(octave.max())
    kinds = [kind for kind in _DATA if (calls["kind"] == kind).any()]
    width = 0.8 / len(kinds)
    for number, kind in enumerate(kinds):
        counts = np.bincount(octave[(calls["kind"] == kind).to_numpy()] - low, minlength=high - low + 1)
        at = np.arange(low, high + 1) - 0.4 + width * (number + 0.5)
        axes.bar(at, counts, width, color=CLASS_COLOURS[kind])
    step = -(-(high - low + 1) // 6)
    shown = range(low, high + 1, step)
    axes.set_xticks(list(shown), [size_text(2**one) for one in shown])
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.6)
    axes.yaxis.set_major_formatter(ticks(count_text))
    axes.set_ylabel("calls")
    axes.set_xlabel("bytes asked for, from this power of two to the next")
    axes.set_title("Sizes of data calls")


def _legend(figure: Figure, drawn: Drawn) -> None:
    from matplotlib.lines import Line2D

    kinds = [kind for kind, _ in _by_kind(drawn.calls)]
    marks = [
        Line2D([], [], marker="s", linestyle="", markersize=7, color=CLASS_COLOURS[kind], label=kind) for kind in kinds
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=len(kinds), handletextpad=0.2, columnspacing=1.2)


def _by_kind(calls: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Rows of each class of operation, those of data last, so that they are seen."""
    order = [*(kind for kind in CLASS_COLOURS if kind not in _DATA), *_DATA]
    return [(kind, calls[calls["kind"] == kind]) for kind in order if (calls["kind"] == kind).any()]


def _on_paper(figure: Figure) -> None:
    """Ink that stands for the page's text colour becomes a colour."""
    from matplotlib.text import Text

    def inked(artist: Any) -> bool:
        return isinstance(artist, Text) and artist.get_color() == INK

    for text in figure.findobj(inked):
        text.set_color(_PAPER_INK)  # type: ignore[attr-defined]

"""Latency histograms compared whole: the shares of calls within a latency, and where two curves part.

A curve of a side is the mean of its runs' curves: each run counts once. Where they part is found on a grid of latencies
(quantiles of both sides together), whose points join the family of rows (iotrace.analysis.comparison.family).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace import histogram
from iotrace.analysis.comparison.sides import Side

Floats = npt.NDArray[np.float64]
GRID: Final = (0.01, *(i / 20 for i in range(1, 20)), 0.975, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class Curve:
    """The curves of one class on two sides.

    Attributes
    ----------
    kind: class of operation.
    at_us, share_a, share_b: where the curves are farthest apart, and the share of calls within it on either side.
    shown: latencies (µs, from and to) between which the curves were shown to differ; None where they were not.
    """

    kind: str
    baseline: str
    candidate: str
    at_us: float
    share_a: float
    share_b: float
    shown: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """Curves of the runs on a grid: `at_us` shape (points,), `a` and `b` shares, shape (runs, points)."""

    kind: str
    at_us: Floats
    a: Floats
    b: Floats
    curve: Curve


def mean_curve(side: Side, kind: str) -> Floats | None:
    """Share of calls within each bucket, mean over the runs, shape (BUCKETS,); None where a run has none."""
    runs = _counts(side, kind)
    return None if runs is None else np.asarray(_shares(runs).mean(axis=0))


def grids_of(a: Side, b: Side, kinds: Sequence[str]) -> list[Grid]:
    """The grid of each class that every run of both sides has counts of."""
    found = []
    middles = histogram.middles() / 1e3
    for kind in kinds:
        counts_a, counts_b = _counts(a, kind), _counts(b, kind)
        if counts_a is None or counts_b is None:
            continue
        shares_a, shares_b = _shares(counts_a), _shares(counts_b)
        mean_a, mean_b = shares_a.mean(axis=0), shares_b.mean(axis=0)
        far = int(np.argmax(np.abs(mean_a - mean_b)))
        points = np.unique(np.searchsorted((mean_a + mean_b) / 2, GRID))
        points = points[points < histogram.BUCKETS]
        curve = Curve(kind, a.label, b.label, float(middles[far]), float(mean_a[far]), float(mean_b[far]))
        found.append(Grid(kind, middles[points], shares_a[:, points], shares_b[:, points], curve))
    return found


def _counts(side: Side, kind: str) -> Floats | None:
    by_run = side.latencies.get(("class", kind), {})
    dense = [by_run[run.run].dense() if run.run in by_run else None for run in side.runs]
    known = [one for one in dense if one is not None and one.sum()]
    return np.array(known, dtype=np.float64) if known and len(known) == len(dense) else None


def _shares(counts: Floats) -> Floats:
    return np.asarray(np.cumsum(counts, axis=1) / counts.sum(axis=1, keepdims=True))

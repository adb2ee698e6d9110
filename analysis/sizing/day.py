"""A run's rates by the hour of the day: its days laid on each other, hour 0 being when the first user begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from iotrace.analysis.sizing.demand import Floats
from iotrace.analysis.sizing.kernels import events as e

DAY_S: Final = 86400.0
SLOTS: Final = 96
"""Quarters of an hour."""


@dataclass(frozen=True, slots=True)
class Folded:
    """Rates of a day's slots over several days: median, lowest and highest, (SLOTS,).

    days: how many there are, the last of which may end early.
    """

    median: Floats
    least: Floats
    most: Floats
    days: int


def folded(timeline: Floats, column: int) -> Folded | None:
    """Means of a rate in quarters of an hour, laid on each other day by day; None for less than a day.

    timeline: as of kernels.events.run, without gaps. Of a quarter in which the run ends, what there is of it counts.
    """
    ends = np.append(0.0, timeline[:, e.START] + timeline[:, e.LENGTH])
    length, width = float(ends[-1]), DAY_S / SLOTS
    if length < DAY_S:
        return None
    moved = np.append(0.0, np.cumsum(timeline[:, column] * timeline[:, e.LENGTH]))
    # a last quarter of next to no time would have a rate of its own
    slots = int(np.ceil(length / width - 1e-6))
    edges = np.minimum(np.arange(slots + 1) * width, length)
    means = np.diff(np.interp(edges, ends, moved)) / np.diff(edges)
    days = -(-slots // SLOTS)
    laid = np.append(means, np.full(days * SLOTS - slots, np.nan)).reshape(days, SLOTS)
    return Folded(np.nanmedian(laid, axis=0), np.nanmin(laid, axis=0), np.nanmax(laid, axis=0), days)

"""The largest scale at which a recipe makes no more than so many events."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

_TRIES: Final = 20


def largest_scale(count: Callable[[float], int], scale: float, events: int) -> float | None:
    """The largest scale, to two digits, at which there are at most so many events; None where no small one helps.

    Parameters
    ----------
    count: events at a scale: nearly a constant and a multiple of the scale. scale: at which there are more.
    """
    there = count(scale)
    # where no count can shrink further
    smallest = scale * 1e-9
    least = count(smallest)
    if least >= events:
        return None
    found = smallest + (scale - smallest) * (events - least) / max(1, there - least)
    for _ in range(_TRIES):
        found = _rounded_down(found)
        if count(found) <= events:
            return found
        found *= 0.9
    return None


def _rounded_down(value: float) -> float:
    """To two digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / step) * step:.1e}")

"""Runs that are not to be trusted: drift over time (H. B. Mann, Econometrica 13, 1945) and outliers.

The outlier rule is that of Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993) with hyperfine's threshold of
ten standard deviations, as the few runs that are usual make the spread look small by chance.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

DRIFT_P: Final = 0.01
"""A trend is named when chance alone would show one as clear in at most so many comparisons."""
_LEAST_DRIFT: Final = 0.02
_DEVIATIONS: Final = 10.0
_MAD_TO_DEVIATION: Final = 1.4826
_LEAST_OUTLIER: Final = 0.05
_EXACT: Final = 60

Floats = npt.NDArray[np.float64]


def drift(values: npt.ArrayLike) -> float | None:
    """By which share values in the order run rose (or fell) from first to last, None where no trend is clear.

    Kendall's S against the order, two-sided at DRIFT_P, and Theil and Sen's slope of the logarithms.
    """
    x = np.asarray(values, dtype=np.float64)
    n = x.size
    if n < 3 or not np.all(x > 0):
        return None
    first, second = np.triu_indices(n, 1)
    steps = np.log(x[second]) - np.log(x[first])
    falls, rises = int((steps < 0).sum()), int((steps > 0).sum())
    fewest = min(falls, rises) + (steps.size - falls - rises)
    if 2 * _inversions(n)[min(fewest, steps.size)] > DRIFT_P:
        return None
    slope = float(np.median(steps / (second - first)))
    change = math.expm1(slope * (n - 1))
    return change if abs(change) >= _LEAST_DRIFT else None


def outliers(values: npt.ArrayLike) -> list[int]:
    """Places of values that lie far from the median of the others, in logarithms."""
    x = np.asarray(values, dtype=np.float64)
    if x.size < 5 or not np.all(x > 0):
        return []
    off = np.abs(np.log(x) - np.median(np.log(x)))
    deviation = _MAD_TO_DEVIATION * float(np.median(off))
    far: list[int] = np.flatnonzero((off > _DEVIATIONS * deviation) & (off > math.log1p(_LEAST_OUTLIER))).tolist()
    return far


@lru_cache(maxsize=64)
def _inversions(n: int) -> Floats:
    """P(a random order of n has at most k inversions), k from 0: counted out, Gaussian for more than _EXACT runs."""
    most = n * (n - 1) // 2
    if n > _EXACT:
        z = (np.arange(most + 1) + 0.5 - most / 2) / math.sqrt(n * (n - 1) * (2 * n + 5) / 72 * 2)
        return np.array([0.5 * math.erfc(-value) for value in z])
    share = np.ones(1)
    for m in range(2, n + 1):
        share = np.convolve(share, np.full(m, 1 / m))
    return np.asarray(np.cumsum(share))

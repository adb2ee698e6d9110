"""Medians, their intervals, and whether two sets of runs differ: no assumption about the shape of a distribution.

Run times of storage are skewed, have modes and outliers, so nothing here is normal, and few runs are the rule, so
nothing here is asymptotic while it can be exact:

- the interval of a median is a pair of order statistics, whose level is binomial (H. A. David, H. N. Nagaraja, Order
  Statistics, 3rd ed., 7.1; as golang/perf's benchmath.AssumeNothing does);
- two sets of runs are compared by their ratio b ÷ a: Hodges and Lehmann's estimate on the logarithms, with the
  interval and the p-value that belong together (Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, 3rd
  ed., 3.1-3.3 and 4.1-4.3): Wilcoxon's signed ranks where run i of a and run i of b were neighbours in time,
  Mann-Whitney's U otherwise.

What is assumed: runs (or pairs of runs) are independent, and b behaves as a times a constant. Ties are broken against
finding a difference, so the error of the first kind is at most 1 - level whatever the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

LEVEL: Final = 0.95
_EXACT_PAIRS: Final = 1600
"""Up to this many pairs of values the null distribution is counted out; above, it is Gaussian within 1e-3."""

Floats = npt.NDArray[np.float64]
Verdict = Literal["faster", "slower", "~"]


@dataclass(frozen=True, slots=True)
class MedianInterval:
    """A median with its interval.

    Attributes
    ----------
    median: of the values.
    low, high: bounds of the interval, None when there are too few values for the level asked.
    level: level that the interval attains (at least what was asked), 0 without an interval.
    n: number of values; needed: how many the level asked needs.
    """

    median: float
    low: float | None
    high: float | None
    level: float
    n: int
    needed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What runs b are to runs a.

    Attributes
    ----------
    ratio: b ÷ a (Hodges-Lehmann); None when a value is not above 0 or there are none.
    low, high: interval of the ratio at `level`; None with too few runs.
    p: two-sided p-value of "no difference"; None without a ratio.
    verdict: "faster" or "slower" as the metric has it, "~" where nothing was shown.
    n_a, n_b: runs; needed: runs a side that this comparison needs at least, so that a difference can show at all.
    paired: whether run i of a was compared with run i of b.
    """

    ratio: float | None
    low: float | None
    high: float | None
    p: float | None
    verdict: Verdict
    n_a: int
    n_b: int
    needed: int
    paired: bool


def median(values: npt.ArrayLike) -> float:
    """Median; NaN of nothing."""
    data = np.asarray(values, dtype=np.float64).ravel()
    return float(np.median(data)) if data.size else math.nan


def samples_needed(level: float = LEVEL) -> int:
    """How many values the interval of a median (or of paired ratios) needs: the least n with 1 - 2**(1-n) ≥ level."""
    return 1 + math.ceil(-math.log2(1 - level) - 1e-12)


def samples_needed_unpaired(level: float = LEVEL) -> int:
    """How many values on each side Mann-Whitney's U needs to show anything at this level."""
    n = 1
    while 2 / math.comb(2 * n, n) > 1 - level + 1e-12:
        n += 1
    return n


def median_interval(values: npt.ArrayLike, level: float = LEVEL) -> MedianInterval:
    """Median and the narrowest symmetric pair of order statistics around it whose level is at least `level`.

    The k-th smallest and k-th largest of n values enclose the median of their distribution with probability
    1 - 2·P(Binomial(n, ½) < k), whatever the (continuous) distribution is.
    """
    data = np.sort(np.asarray(values, dtype=np.float64).ravel())
    n, needed = data.size, samples_needed(level)
    if n < needed:
        return MedianInterval(median(data), None, None, 0.0, n, needed)
    tail = np.cumsum(_binomial_half(n))  # tail[k-1] = P(Binomial(n, ½) ≤ k-1)
    k = int(np.searchsorted(2 * tail, 1 - level + 1e-12, side="right"))
    return MedianInterval(median(data), float(data[k - 1]), float(data[n - k]), float(1 - 2 * tail[k - 1]), n, needed)


def compare_samples(
    a: Sequence[float] | Floats,
    b: Sequence[float] | Floats,
    paired: bool = False,
    higher_is_better: bool = False,
    level: float = LEVEL,
) -> Comparison:
    """Compare a metric of runs a (baseline) with that of runs b (candidate).

    Parameters
    ----------
    a, b: one value a run, shape (n,), all above 0; when paired both of the same length and in the order of the pairs.
    paired: run i of a and run i of b were made one after the other (interleaved), so they share what drifted.
    higher_is_better: the metric is a rate, not a time.
    level: of the interval; a difference shows when p ≤ 1 - level.

    Raises
    ------
    ValueError: paired values of different numbers.
    """
    x, y = np.asarray(a, dtype=np.float64).ravel(), np.asarray(b, dtype=np.float64).ravel()
    if paired and x.size != y.size:
        raise ValueError(f"paired values come in pairs: {x.size} and {y.size} were given")
    needed = samples_needed(level) if paired else samples_needed_unpaired(level)
    nothing = Comparison(None, None, None, None, "~", x.size, y.size, needed, paired)
    if (
        not x.size
        or not y.size
        or not (np.all(x > 0) and np.all(y > 0) and np.all(np.isfinite(x)) and np.all(np.isfinite(y)))
    ):
        return nothing
    if paired:
        difference = np.log(y) - np.log(x)
        first, second = np.triu_indices(x.size)
        shifts = (difference[first] + difference[second]) / 2
        tail = signed_rank_tail(x.size)
    else:
        shifts = (np.log(y)[:, None] - np.log(x)[None, :]).ravel()
        tail = mann_whitney_tail(x.size, y.size)
    # values that differ by rounding alone are ties: log(3x) - log(x) is not always log(3)
    shifts = np.sort(np.where(np.abs(shifts) < 1e-12, 0.0, shifts))
    k = int(np.searchsorted(2 * tail, 1 - level + 1e-12, side="right"))
    low = float(np.exp(shifts[k - 1])) if k else None
    high = float(np.exp(shifts[shifts.size - k])) if k else None
    fewest = min(int(np.count_nonzero(shifts <= 0)), int(np.count_nonzero(shifts >= 0)))
    p = min(1.0, 2 * float(tail[fewest]))
    ratio = float(np.exp(np.median(shifts)))
    verdict: Verdict = "~"
    if k and p <= 1 - level + 1e-12:
        verdict = "faster" if (ratio > 1) == higher_is_better else "slower"
    return Comparison(ratio, low, high, p, verdict, x.size, y.size, needed, paired)


@lru_cache(maxsize=64)
def _binomial_half(n: int) -> Floats:
    """P(Binomial(n, ½) = k) for k = 0..n."""
    k = np.arange(n + 1)
    logarithm = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k])
    return np.asarray(np.exp(logarithm - n * math.log(2)), dtype=np.float64)


@lru_cache(maxsize=64)
def mann_whitney_tail(m: int, n: int) -> Floats:
    """P(U ≤ u) for u = 0..m·n when both samples come from one distribution.

    Exact by Mann and Whitney's recursion f(i, j, u) = f(i-1, j, u-j) + f(i, j-1, u), Gaussian with continuity
    correction for more than _EXACT_PAIRS pairs.
    """
    total = m * n
    if total > _EXACT_PAIRS:
        return _gaussian_tail(total, total / 2, math.sqrt(total * (m + n + 1) / 12))
    one = np.zeros(total + 1)
    one[0] = 1.0
    previous = [one for _ in range(n + 1)]
    for _ in range(m):
        current = [one]
        for j in range(1, n + 1):
            shifted = np.zeros(total + 1)
            shifted[j:] = previous[j][: total + 1 - j]
            current.append(shifted + current[j - 1])
        previous = current
    return np.asarray(np.cumsum(previous[n]) / math.comb(m + n, m), dtype=np.float64)


@lru_cache(maxsize=64)
def signed_rank_tail(n: int) -> Floats:
    """P(W ≤ w) for w = 0..n(n+1)/2, W the sum of the ranks with a positive sign, when signs are a fair coin's."""
    total = n * (n + 1) // 2
    if total > _EXACT_PAIRS:
        return _gaussian_tail(total, total / 2, math.sqrt(n * (n + 1) * (2 * n + 1) / 24))
    ways = np.zeros(total + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] += ways[:-rank].copy()
    return np.asarray(np.cumsum(ways) / 2.0**n, dtype=np.float64)


def _gaussian_tail(total: int, mean: float, deviation: float) -> Floats:
    z = (np.arange(total + 1) + 0.5 - mean) / (deviation * math.sqrt(2))
    return np.array([0.5 * math.erfc(-value) for value in z])

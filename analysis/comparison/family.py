"""Which of many rows differ, so that a comparison of a storage with itself prints a difference in at most 5 % of cases.

The primary measure is tested by itself at 3.2 %. All else is tested at once: at 4 % when the primary differs, at 0.8 %
otherwise (the fallback procedure of B. L. Wiens, A. Dmitrienko, J. Biopharm. Stat. 15, 2005). That is 4 % in all, a
margin below the 5 % promised; the shares are as large as six and eight pairs can use.

All else is tested by P. H. Westfall and S. S. Young's step-down maxT (Resampling-Based Multiple Testing, 1993,
algorithm 4.1), whose null distribution is that of the runs themselves: signs of whole pairs are flipped, or whole runs
change sides. So rows that say the same thing count once, where Holm's or Bonferroni's correction would need a dozen
runs before any row could show.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.statistics import LEVEL

Floats = npt.NDArray[np.float64]
PRIMARY_SHARE: Final = 0.64
OTHERS_SHARE: Final = 0.16
"""Of the errors allowed (5 %), what the primary measure, and all else while that shows nothing, may make."""
_ARRANGEMENTS: Final = 10_000
"""Up to so many are counted out, of more so many are drawn."""
_CHUNK: Final = 512


def stepdown(a: Floats, b: Floats, paired: bool) -> Floats:
    """p-values of all columns at once: the chance that any column of no difference looks as different as this one.

    Parameters
    ----------
    a, b: values of baseline and candidate, shape (runs, columns), finite; paired: run i of a belongs to run i of b.

    Returns
    -------
    Adjusted p-values, shape (columns,), two-sided; 1 for a column that does not vary.
    """
    columns = a.shape[1]
    if not columns or not len(a) or not len(b):
        return np.ones(columns)
    if paired:
        values, arrangements = b - a, _signs(len(a))
    else:
        values = np.concatenate([a, b])
        values = values - values.mean(axis=0)
        arrangements = _sides(len(a), len(b))
    spread = np.sqrt((values**2).sum(axis=0))
    scaled = np.where(spread > 1e-12, values / np.where(spread > 1e-12, spread, 1.0), 0.0)
    # |mean| ÷ root mean square is Student's t, up to a monotone function, as the sum of squares stays what it is
    observed = np.abs(arrangements[0] @ scaled)
    order = np.argsort(-observed, kind="stable")
    ranked = scaled[:, order]
    reached = np.zeros(columns)
    for begin in range(0, len(arrangements), _CHUNK):
        statistic = np.abs(arrangements[begin : begin + _CHUNK] @ ranked)
        largest = np.maximum.accumulate(statistic[:, ::-1], axis=1)[:, ::-1]
        reached += (largest >= observed[order] - 1e-9).sum(axis=0)
    p = np.empty(columns)
    p[order] = np.maximum.accumulate(reached / len(arrangements))
    p[observed < 1e-9] = 1.0
    return p


def primary_adjusted(p: float, candidates: int) -> float:
    """p-value of the primary measure, to be held against 1 - LEVEL, when so many candidates have a baseline."""
    return min(1.0, candidates * p / PRIMARY_SHARE)


def secondary_adjusted(p: float, primary: float, candidates: int) -> float:
    """p-value of another row: `p` is that of its family, `primary` the adjusted one of the primary measure."""
    passed_on = candidates * p / (PRIMARY_SHARE + OTHERS_SHARE)
    return min(1.0, candidates * p / OTHERS_SHARE, max(passed_on, primary))


def primary_level(candidates: int) -> float:
    """Level at which each candidate's primary measure is tested."""
    return 1 - (1 - LEVEL) * PRIMARY_SHARE / candidates


def secondary_level(candidates: int) -> float:
    """Level at which the other rows of each candidate are tested while its primary measure shows nothing."""
    return 1 - (1 - LEVEL) * OTHERS_SHARE / candidates


@lru_cache(maxsize=8)
def _signs(n: int) -> Floats:
    """Signs of the pairs, shape (arrangements, n): the observed one first, no arrangement beside its mirror image."""
    if 2 ** (n - 1) <= _ARRANGEMENTS:
        bits = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)[None, :]) & 1
        return np.asarray(1.0 - 2.0 * bits)
    drawn: Floats = np.random.default_rng(n).integers(0, 2, (_ARRANGEMENTS, n)).astype(np.float64) * 2.0 - 1.0
    drawn[0] = 1.0
    return drawn


@lru_cache(maxsize=8)
def _sides(m: int, n: int) -> Floats:
    """Who is on side b, as weights of a difference of means, shape (arrangements, m + n); the real sides first."""
    count = math.comb(m + n, n)
    member = np.zeros((min(count, _ARRANGEMENTS), m + n))
    if count <= _ARRANGEMENTS:
        # combinations of the last first: the observed arrangement is the first
        for row, chosen in enumerate(combinations(range(m + n - 1, -1, -1), n)):
            member[row, list(chosen)] = 1.0
    else:
        random = np.random.default_rng(m * 1000 + n)
        member[0, m:] = 1.0
        for row in range(1, len(member)):
            member[row, random.permutation(m + n)[:n]] = 1.0
    return np.asarray(member / n - (1 - member) / m)

"""How many runs a difference needs: the real run-to-run spread, resampled, with the difference put in.

The spread of a few runs is itself uncertain, so it is widened to the upper end of its 80 % one-sided interval (R. H.
Browne, Statistics in Medicine 14, 1995): without that, half of all plans would ask for too few runs.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.statistics import mann_whitney_tail, samples_needed, samples_needed_unpaired, signed_rank_tail

Floats = npt.NDArray[np.float64]
POWER: Final = 0.9
"""Share of comparisons that shall find the difference, if the spread is what few runs say that it is."""
_CERTAINTY: Final = 0.8
_TRIALS: Final = 1000
MOST_RUNS: Final = 500
_FEWEST: Final = 3
"""Of fewer runs the spread is not known at all."""


def runs_needed(a: Floats, b: Floats, paired: bool, smallest: float, level: float) -> int | None:
    """Runs a side that find a difference in POWER of comparisons.

    Parameters
    ----------
    a, b: values of the runs that there are, shape (n,), above 0; paired: neighbours in time.
    smallest: the difference worth knowing: 0.05 for a ratio of 1.05.
    level: of the test.

    Returns
    -------
    At least what the test needs to show anything; None where there are too few runs, or more than MOST_RUNS are needed.
    """
    residuals, freedom = _residuals(a, b, paired)
    if freedom < _FEWEST - 1:
        return None
    # chi-square's lower quantile after E. B. Wilson, M. M. Hilferty, PNAS 17, 1931
    z = NormalDist().inv_cdf(1 - _CERTAINTY)
    widened = math.sqrt(1 / (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3)
    least = samples_needed(level) if paired else samples_needed_unpaired(level)

    def finds(n: int) -> bool:
        drawn = []
        for seed in range(1 if paired else 2):
            random = np.random.default_rng(seed)
            # a little noise, or values drawn twice would tie
            noise = 0.1 * float(residuals.std()) * random.standard_normal((n, _TRIALS)).T
            drawn.append(widened * (random.choice(residuals, (n, _TRIALS)).T + noise))
        drawn[-1] = drawn[-1] + math.log1p(smallest)
        found = _paired_shown(drawn[0], level) if paired else _shown(drawn[0], drawn[1], level)
        return float(found.mean()) >= POWER

    low, high = least - 1, least
    while not finds(high):
        if high == MOST_RUNS:
            return None
        low, high = high, min(MOST_RUNS, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if finds(middle) else (middle, high)
    return high


def _residuals(a: Floats, b: Floats, paired: bool) -> tuple[Floats, int]:
    """What runs vary by, in logarithms, around no difference, and degrees of freedom.

    Pairs are mirrored and sides are thrown together: else what a few runs have of skewness, by chance or between the
    sides, would be taken for a difference that is easy to find.
    """
    if paired:
        d = np.log(b) - np.log(a)
        d = (d - np.median(d)) * math.sqrt(len(d) / max(1, len(d) - 1))
        return np.concatenate([d, -d]), len(d) - 1
    parts = [np.log(a), np.log(b)]
    centred = [(part - np.median(part)) * math.sqrt(len(part) / max(1, len(part) - 1)) for part in parts]
    return np.concatenate(centred), len(a) + len(b) - 2


def _paired_shown(d: Floats, level: float) -> npt.NDArray[np.bool_]:
    n = d.shape[1]
    ranks = np.argsort(np.argsort(np.abs(d), axis=1), axis=1) + 1
    positive = (ranks * (d > 0)).sum(axis=1)
    fewest = np.minimum(positive, n * (n + 1) // 2 - positive)
    return np.asarray(2 * signed_rank_tail(n)[fewest] <= 1 - level + 1e-12)


def _shown(a: Floats, b: Floats, level: float) -> npt.NDArray[np.bool_]:
    m, n = a.shape[1], b.shape[1]
    ranks = np.argsort(np.argsort(np.concatenate([a, b], axis=1), axis=1), axis=1)[:, m:] + 1
    u = ranks.sum(axis=1) - n * (n + 1) // 2
    fewest = np.minimum(u, m * n - u)
    return np.asarray(2 * mann_whitney_tail(m, n)[fewest] <= 1 - level + 1e-12)

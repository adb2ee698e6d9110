"""Numbers below a count in a random order, each once, without a list of them: a permutation that a key chooses.

A number goes through three rounds of multiplying by an odd one and folding the upper bits onto the lower ones, each of
which can be undone, so that no two become the same; what falls behind the count goes through them again.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

_ROUNDS: Final = 3
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)


def shuffled(numbers: npt.NDArray[np.int64], count: int, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each number stands in the order that its key chooses.

    Parameters
    ----------
    numbers: from 0 to count - 1, any shape; keys: of the same shape, or a single one, shape (1,).

    Returns
    -------
    Of the shape of numbers: for one key no two numbers give the same, and all lie below `count`.
    """
    bits = max(2, (count - 1).bit_length())
    mask, fold = np.uint64((1 << bits) - 1), np.uint64((bits + 1) // 2)
    found = numbers.astype(np.uint64).ravel()
    seeds = _mixed(keys.astype(np.uint64).ravel())
    _go_round(found, seeds, mask, fold)
    outside = np.flatnonzero(found >= count)
    while len(outside):
        some = found[outside]
        _go_round(some, seeds if len(seeds) == 1 else seeds[outside], mask, fold)
        found[outside] = some
        outside = outside[some >= count]
    return found.view(np.int64).reshape(numbers.shape)


def _go_round(numbers: Any, seeds: Any, mask: np.uint64, fold: np.uint64) -> None:
    """Change numbers in place."""
    for turn in range(_ROUNDS):
        # other bits of the seed in each round
        key = seeds >> np.uint64(7 * turn)
        numbers *= key | np.uint64(1)
        numbers += key >> np.uint64(17)
        numbers &= mask
        numbers ^= numbers >> fold


def _mixed(keys: Any) -> Any:
    """SplitMix64 (Steele et al., OOPSLA 2014): keys that are near each other become far ones."""
    keys = (keys + np.uint64(1)) * _STEP
    keys = (keys ^ (keys >> np.uint64(30))) * _FIRST
    keys = (keys ^ (keys >> np.uint64(27))) * _SECOND
    return keys ^ (keys >> np.uint64(31))

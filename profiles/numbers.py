"""The numbers of a synthesis: common ones, a profile's, a data set's, the user's; sums worked out, counts scaled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from iotrace.errors import UsageError
from iotrace.profiles.expressions import Unclear, names_in, value_of
from iotrace.profiles.model import NUMBER_MAX, DataSet, Number, Profile, common_numbers

_WHOLE: Final = ("GPUs", "threads", "px")
"""Units of which there is no work without one, as there is none without a movie or a particle."""
COUNT_MAX: Final = 1 << 52
"""So large a number is exact as a float, and a sum of a thousand of them fits into 64 bits."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Values by name, and what is known of each.

    Attributes
    ----------
    values: worked out; known: as they stand in the recipes; where: "common", the profile's or data set's name, "--set".
    """

    values: dict[str, float]
    known: dict[str, Number]
    where: dict[str, str]

    def of(self, text: str, key: str = "") -> float:
        """Value of a sum.

        Raises
        ------
        UsageError: a name is missing, or it has no value; `key` says of what.
        """
        try:
            return value_of(text, self.values)
        except Unclear as error:
            raise UsageError(f"{key}: {error}." if key else f"{error}.") from None

    def count(self, text: str, key: str = "") -> int:
        """A sum as a whole number of things, at least 0, rounded up.

        Raises
        ------
        UsageError: as `of`, or the number is too large.
        """
        value = self.of(text, key)
        if value > COUNT_MAX:
            raise UsageError(f"{key or text}: {value:.3g} is too large; at most {COUNT_MAX:.3g}.")
        return max(0, math.ceil(value - 1e-9))


def given_numbers(words: Sequence[str]) -> dict[str, float]:
    """Numbers of --set NAME=VALUE.

    Raises
    ------
    UsageError: a word is not of that form.
    """
    found = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            value = float(text)
        except ValueError:
            raise UsageError(f"--set {word}: write it as NAME=NUMBER, such as movies=500.") from None
        if not 0 <= value < NUMBER_MAX:
            raise UsageError(f"--set {word}: a number from 0 to {NUMBER_MAX:g}.")
        found[name] = value
    return found


def checked_seed(seed: int) -> int:
    """The seed of random numbers.

    Raises
    ------
    UsageError: it is negative.
    """
    if seed < 0:
        raise UsageError(f"--seed {seed}: a whole number, 0 or more.")
    return seed


def numbers_of(
    profile: Profile | None,
    dataset: DataSet,
    given: Mapping[str, float] | None = None,
    scale: float = 1.0,
    by: str = "--set ",
) -> Numbers:
    """All numbers; later ones replace earlier ones of the same name.

    Parameters
    ----------
    given: the user's (--set), or, as `by` says for messages, a workload's.
    scale: counts (numbers with `scales`) are multiplied by this and rounded up; sizes never are. A count that is a sum
    follows from those that it is made of, and shrinks where somebody sets it.

    Raises
    ------
    UsageError: a name that no recipe knows, a count of nothing, sums that need each other, or a sum without a value.
    """
    if not 0 < scale <= 1e6:
        raise UsageError(f"--scale {scale}: a factor above 0, such as 0.01 for a hundredth of the movies.")
    known: dict[str, Number] = {}
    where: dict[str, str] = {}
    layers = [("common", common_numbers()), (dataset.name, dataset.numbers)]
    if profile is not None:
        layers.insert(1, (profile.name, profile.numbers))
    for name, numbers in layers:
        known |= numbers
        where |= dict.fromkeys(numbers, name)
    for name, value in (given or {}).items():
        if name not in known:
            raise UsageError(f"{by}{name}: there is no such number here; known are {', '.join(sorted(known))}.")
        before = known[name]
        if value < 1 and (before.scales or before.unit in _WHOLE):
            raise UsageError(f"{by}{name}={value:g}: how many {before.unit or 'there are'}, at least 1.")
        known[name] = Number(value, "given with --set", before.unit, False, before.scales)
        where[name] = "--set"
    values: dict[str, float] = {}
    for name in known:
        _work_out(name, known, values, scale, [])
    return Numbers(values, known, where)


def _work_out(name: str, known: dict[str, Number], values: dict[str, float], scale: float, above: list[str]) -> None:
    if name in values:
        return
    if name in above:
        raise UsageError(f"numbers {' → '.join([*above, name])} need each other.")
    number = known[name]
    try:
        if isinstance(number.value, str):
            for other in sorted(names_in(number.value)):
                if other in known:
                    _work_out(other, known, values, scale, [*above, name])
            value = value_of(number.value, values)
        else:
            value = float(number.value)
    except Unclear as error:
        raise UsageError(f"number {name}: {error}.") from None
    # a sum is of numbers that have shrunk already
    shrinks = number.scales and value > 0 and not isinstance(number.value, str)
    values[name] = float(max(1, math.ceil(value * scale))) if shrinks else value

"""`--ramp users=1..64`: raises users until a rule ends it, and says where the knee is by that rule, with its interval.

Users are doubled until a rule (iotrace.replay.ramp_rules) ends that or the most have been tried; then the gap that the
knee lies in is halved down to an eighth. Of several rules that end it at one number of users that is taken whose knee
comes first. The fewest are measured once more at the end, and count with their runs of both times. The interval of the
knee is that of the middle 95 % of knees of 2,000 samples drawn anew, with replacement, from the runs of each number; of
fewer than five runs there is none, and medians alone decide.

The plateau is the fewest users with 95 % of the highest median throughput, whatever ended the ramp.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import numpy as np

from iotrace.errors import StorageError, UsageError
from iotrace.replay.ramp_levels import Level
from iotrace.replay.ramp_rules import Floats, Rule, Throughput

_SAMPLES: Final = 2000
_PLATEAU: Final = 0.95
RUNS_MIN: Final = 5
RAMP_NAME: Final = "ramp.json"
"""Holds a ramp's Knee, in the folder of its results."""
"""Of fewer runs of a number the samples drawn anew are too much alike."""
_SPAN: Final = re.compile(r"users=(\d{1,6})\.\.(\d{1,6})")


class Knee(msgspec.Struct, frozen=True):
    """Where a storage no longer holds.

    Attributes
    ----------
    users: the knee; None: beyond the most users that were tried; 0: below the fewest. By throughput the fewest
    themselves stand for them or less.
    low, high: the interval (95 %) in the same way; None also where there is no interval, as `interval` says.
    rule: that ended the ramp, or else whose knee comes first: "throughput", "makespan", or a percentile ("p99",
    "read.p99"); empty where there is no knee. ended: what it found when it ended the ramp; empty where none did.
    rules: what each allows: of throughput the growth for a doubling, of the makespan what it may be longer (both
    shares), of a percentile µs.
    plateau_users: the fewest with 95 % of the highest throughput; plateau_ops_per_s: the highest.
    stopped: why no more users were tried, such as a mount that was full; empty where that was not so.
    levels: what was measured, fewest users first. again: the fewest users at the end; None: they were not or could not
    be measured again.
    """

    users: float | None
    low: float | None
    high: float | None
    rule: str
    ended: str
    rules: dict[str, float]
    plateau_users: int
    plateau_ops_per_s: float
    levels: list[Level]
    stopped: str = ""
    interval: bool = False
    again: Level | None = None


def parse_ramp(text: str) -> tuple[int, int]:
    """First and last number of users of "users=1..64".

    Raises
    ------
    UsageError: it is not of that form.
    """
    match = _SPAN.fullmatch(text)
    if not match or not 1 <= int(match[1]) < int(match[2]):
        raise UsageError(f"--ramp {text}: give the fewest and the most users, as in --ramp users=1..64.")
    return int(match[1]), int(match[2])


def climb(
    measure: Callable[[int], Level], fewest: int, most: int, rules: Sequence[Rule] = (Throughput(),),
    goes_on: bool = True,
) -> Knee:  # fmt: skip
    """Measure as many numbers of users as the rules ask for.

    Parameters
    ----------
    measure: replays with so many users. goes_on: whether it can do so after it has raised a StorageError.

    Raises
    ------
    What `measure` raises; but where a mount has no room for more users than were measured, the climb ends there.
    """
    levels: dict[int, Level] = {}
    ending: list[tuple[Rule, str]] = []
    stopped, again = "", None
    try:
        for users in _doublings(fewest, most):
            levels[users] = measure(users)
            ending = _broken(levels, rules)
            if ending:
                break
        rule, _ = _first(levels, ending or [(rule, "") for rule in rules])
        while middle := _middle(levels, rule):
            levels[middle] = measure(middle)
    except StorageError as error:
        if len(levels) < 2 or not goes_on:
            raise
        # so many users are neither held nor too slow: they could not be tried
        stopped = str(error)
    if len(levels) > 1:
        with suppress(StorageError):
            again = measure(fewest)
    return knee_of(levels, rules, ending, stopped, again)


def knee_of(
    levels: Mapping[int, Level], rules: Sequence[Rule] = (Throughput(),), ending: Sequence[tuple[Rule, str]] = (),
    stopped: str = "", again: Level | None = None,
) -> Knee:  # fmt: skip
    """The knee of what was measured.

    Parameters
    ----------
    ending: the rules that ended the ramp, each with why; empty where none did.
    stopped: why no more users were tried. again: runs of the fewest at the end.
    """
    users = sorted(levels)
    rule, why = _first(levels, ending or [(rule, "") for rule in rules], again)
    whole = _knee(levels, rule, again)
    knees = rule.crossings(users, _drawn(levels, rule, again), _medians(levels, rule, again))
    low, high = (float(np.quantile(knees, share, method="nearest")) for share in (0.025, 0.975))
    interval = _enough(levels)
    speed = [float(np.median(levels[number].ops_per_s)) for number in users]
    top = max(speed)
    plateau = next(number for number, one in zip(users, speed, strict=True) if one >= _PLATEAU * top)
    return Knee(
        _finite(whole), _finite(low) if interval else None, _finite(high) if interval else None,
        rule.key if np.isfinite(whole) else "", why, {one.key: one.limit for one in rules}, plateau, top,
        [levels[number] for number in users], stopped, interval, again,
    )  # fmt: skip


def _doublings(fewest: int, most: int) -> Iterator[int]:
    users = fewest
    while users < most:
        yield users
        users *= 2
    yield most


def _broken(levels: Mapping[int, Level], rules: Sequence[Rule]) -> list[tuple[Rule, str]]:
    """Rules that end a ramp with what was measured last, each with why."""
    found = [(rule, rule.broken(sorted(levels), _drawn(levels, rule))) for rule in rules]
    return [(rule, why) for rule, why in found if why]


def _first(
    levels: Mapping[int, Level], rules: Sequence[tuple[Rule, str]], again: Level | None = None
) -> tuple[Rule, str]:  # fmt: skip
    """The rule whose knee comes first, with why it ended the ramp."""
    return min(rules, key=lambda rule: _knee(levels, rule[0], again))


def _knee(levels: Mapping[int, Level], rule: Rule, again: Level | None = None) -> float:
    """By the medians of all runs; infinite beyond the most, 0 below the fewest."""
    whole = _medians(levels, rule, again)
    return float(rule.crossings(sorted(levels), whole[:, None], whole)[0])


def _middle(levels: Mapping[int, Level], rule: Rule) -> int | None:
    """Users to measure next: in the middle of the gap that the knee lies in; None where that is narrow enough."""
    users, knee = sorted(levels), _knee(levels, rule)
    above = next((number for number in users if number >= knee), None)
    if above is None or above == users[0]:
        return None
    below = max(number for number in users if number < above)
    return (below + above) // 2 if above - below > max(1, below // 8) else None


def _runs(levels: Mapping[int, Level], rule: Rule, again: Level | None) -> list[Floats]:
    """The figures of a rule of all runs, by number of users."""
    runs = [np.array(rule.values(levels[number])) for number in sorted(levels)]
    runs[0] = np.append(runs[0], rule.values(again) if again else [])
    return runs


def _medians(levels: Mapping[int, Level], rule: Rule, again: Level | None) -> Floats:
    return np.array([np.median(one) for one in _runs(levels, rule, again)])


def _drawn(levels: Mapping[int, Level], rule: Rule, again: Level | None = None) -> Floats:
    """Medians of samples drawn anew, shape (numbers, samples); those of the runs themselves where they are too few."""
    if not _enough(levels):
        return _medians(levels, rule, again)[:, None]
    rng = np.random.default_rng(1)
    runs = _runs(levels, rule, again)
    return np.array([np.median(rng.choice(one, (_SAMPLES, len(one))), axis=1) for one in runs])


def _enough(levels: Mapping[int, Level]) -> bool:
    return all(len(level.makespan_s) >= RUNS_MIN for level in levels.values())


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None

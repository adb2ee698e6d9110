"""`--ramp users=1..64`: raises users until a storage no longer holds, and says where that is, with its interval.

The rule: a number of users is held when the median makespan of its runs is at most 1 + slack times that of the fewest
users. Users are doubled until a number is not held or the most have been tried, then the gap is halved down to an
eighth. The knee is where the makespan's ratio crosses 1 + slack, between two measured numbers in proportion to the
logarithm of the users (a curve that falls again is taken for flat). The fewest are measured once more at the end, and
their runs of both times are what the others are held against. The interval is that of the middle 95 % of knees of 2,000
samples drawn anew, with replacement, from the runs of each number; of fewer than five runs there is none. The plateau
is the fewest users with 95 % of the highest median throughput.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from iotrace.errors import StorageError, UsageError

SLACK: Final = 0.25
_SAMPLES: Final = 2000
_PLATEAU: Final = 0.95
RUNS_MIN: Final = 5
"""Of fewer runs of a number the samples drawn anew are too much alike."""
_SPAN: Final = re.compile(r"users=(\d{1,6})\.\.(\d{1,6})")


class Level(msgspec.Struct, frozen=True):
    """Runs with one number of users.

    Attributes
    ----------
    makespan_s: of each run, the slowest user's from its own beginning (--jitter) to its end. ops_per_s: of all users
    together; with --jitter the sum of what each did in its own time. errors: unexpected outcomes, and differences that
    --check found. limit: why the generator, not the storage, was the limit of a run; empty where it was not. result:
    folder of the result. verdict: the worst of the runs' cache guards; empty where nothing was read.
    """

    users: int
    makespan_s: list[float]
    ops_per_s: list[float]
    errors: int = 0
    limit: str = ""
    result: str = ""
    verdict: str = ""


class Knee(msgspec.Struct, frozen=True):
    """Where a storage no longer holds.

    Attributes
    ----------
    users: the knee; None: the most users that were tried are held. interval: whether there were runs enough for one.
    low, high: the interval (95 %), None: beyond the most, and where there is no interval.
    plateau_users: the fewest with 95 % of the highest throughput; plateau_ops_per_s: the highest.
    stopped: why no more users were tried, such as a mount that was full; empty where the rule ended it.
    slack: of the rule. levels: what was measured, fewest users first. again: the fewest users at the end; None: they
    could not be measured again.
    """

    users: float | None
    low: float | None
    high: float | None
    plateau_users: int
    plateau_ops_per_s: float
    slack: float
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


def climb(measure: Callable[[int], Level], fewest: int, most: int, slack: float = SLACK) -> Knee:
    """Measure as many numbers of users as the rule asks for.

    Parameters
    ----------
    measure: replays with so many users.

    Raises
    ------
    What `measure` raises; but where a mount has no room for more users than were measured, the climb ends there.
    """
    levels: dict[int, Level] = {}
    stopped, again = "", None
    try:
        _climb(measure, levels, fewest, most, slack)
    except StorageError as error:
        if len(levels) < 2:
            raise
        # so many users are neither held nor too slow: they could not be tried
        stopped = str(error)
    with suppress(StorageError):
        again = measure(fewest)
    return knee_of(levels, slack, stopped, again)


def _climb(measure: Callable[[int], Level], levels: dict[int, Level], fewest: int, most: int, slack: float) -> None:
    levels[fewest] = measure(fewest)
    bound = (1 + slack) * _median(levels[fewest])
    held, broken = fewest, 0
    while held < most and not broken:
        users = min(2 * held, most)
        levels[users] = measure(users)
        if _median(levels[users]) <= bound:
            held = users
        else:
            broken = users
    while broken - held > max(1, held // 8):
        users = (held + broken) // 2
        levels[users] = measure(users)
        if _median(levels[users]) <= bound:
            held = users
        else:
            broken = users


def knee_of(
    levels: Mapping[int, Level], slack: float = SLACK, stopped: str = "", again: Level | None = None
) -> Knee:  # fmt: skip
    """The knee of what was measured; see the rule above. `stopped`: why no more users were tried."""
    users = sorted(levels)
    interval = all(len(level.makespan_s) >= RUNS_MIN for level in levels.values())
    runs = [np.array(levels[number].makespan_s) for number in users]
    runs[0] = np.append(runs[0], again.makespan_s if again else [])
    rng = np.random.default_rng(1)
    drawn = [np.median(rng.choice(one, (_SAMPLES, len(one))), axis=1) for one in runs]
    knees = np.array([_crossing(users, [medians[i] for medians in drawn], slack) for i in range(_SAMPLES)])
    whole = _crossing(users, [float(np.median(one)) for one in runs], slack)
    low, high = (float(np.quantile(knees, share, method="nearest")) for share in (0.025, 0.975))
    speed = [float(np.median(levels[number].ops_per_s)) for number in users]
    top = max(speed)
    plateau = next(number for number, one in zip(users, speed, strict=True) if one >= _PLATEAU * top)
    return Knee(
        _finite(whole), _finite(low) if interval else None, _finite(high) if interval else None, plateau, top, slack,
        [levels[number] for number in users], stopped, interval, again,
    )  # fmt: skip


def _crossing(users: Sequence[int], makespans: Sequence[float], slack: float) -> float:
    """Users at which the makespan passes 1 + slack times the first; infinite where it never does."""
    ratio: npt.NDArray[np.float64] = np.maximum.accumulate(np.array(makespans) / makespans[0])
    over = np.flatnonzero(ratio > 1 + slack)
    if not len(over):
        return float("inf")
    at = int(over[0])
    share = (1 + slack - ratio[at - 1]) / (ratio[at] - ratio[at - 1])
    return float(np.exp(np.log(users[at - 1]) + share * (np.log(users[at]) - np.log(users[at - 1]))))


def _median(level: Level) -> float:
    return float(np.median(level.makespan_s))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None

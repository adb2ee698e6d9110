"""The rules that end a ramp of users, and where each puts the knee.

Each rule looks at one figure of the runs with a number of users, as their median. A rule ends a ramp where its interval
(95 %, of medians of samples drawn anew from the runs) lies beyond what it allows, not where a median happens to:

- throughput (always): since some earlier number of users it grew by no more than the gain for each doubling. The knee
  is where it comes within the gain of the height that it then keeps: beyond, nobody gets more than that out of it.
- latency (where asked for): a percentile lies above its bound. The knee is where it passes the bound.
- makespan (where asked for): it is more than 1 + slack times that of the fewest users. The knee is where that begins.

The height is the mean of the medians that are within the gain of the highest, as the highest of several alike is too
high. A makespan or a latency that falls again with more users is taken for flat. Between two numbers of users that were
measured the knee lies in proportion to the logarithm of the users.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import numpy as np
import numpy.typing as npt

from iotrace.errors import UsageError
from iotrace.replay.ramp_levels import Level
from iotrace.trace.operations import Kind
from iotrace.units import duration_text, significant

Floats = npt.NDArray[np.float64]
GAIN: Final = 0.1
_LOW, _HIGH = 0.025, 0.975
_BOUND: Final = re.compile(r"(?:([a-z]+)\.)?p(\d{2})(?:\.?(\d{1,3}))?=(\d{1,9}(?:\.\d{1,9})?)(us|µs|ms|s)")
_UNIT_US: Final = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
_CLASSES: Final = [kind.value for kind in Kind if kind is not Kind.PROCESS]


class Rule(Protocol):
    """A rule; `key`: its name in ramp.json, `limit`: what it allows, as given."""

    @property
    def key(self) -> str: ...
    @property
    def limit(self) -> float: ...

    def values(self, level: Level) -> list[float]:
        """The figure that it looks at, of each run."""
        ...

    def broken(self, users: Sequence[int], drawn: Floats) -> str:
        """Why it ends a ramp at the last of these numbers of users, a clause; "" where it does not.

        `drawn`: medians of samples, shape (numbers, samples); one sample for no interval.
        """
        ...

    def crossings(self, users: Sequence[int], drawn: Floats, whole: Floats) -> Floats:
        """The knee of each sample, shape (samples,): infinite beyond the most users, 0 below the fewest.

        `whole`: medians of all runs, shape (numbers,).
        """
        ...

    def beyond(self, fewest: int) -> str:
        """What holds for more users than the knee: a clause."""
        ...

    def within(self, most: int, fewest: int) -> str:
        """What holds where there is no knee: a clause."""
        ...


@dataclass(frozen=True, slots=True)
class Makespan:
    """No more than 1 + limit times that of the fewest users."""

    limit: float
    key: ClassVar[str] = "makespan"

    def values(self, level: Level) -> list[float]:
        return level.makespan_s

    def broken(self, users: Sequence[int], drawn: Floats) -> str:
        ratio = drawn[-1] / drawn[0]
        if not np.quantile(ratio, _LOW) > 1 + self.limit:
            return ""
        found = _spread(ratio, lambda value: significant(value, 3))
        return f"the makespan was {found} times that of {_users(users[0])}, more than {self._times} times"

    def crossings(self, users: Sequence[int], drawn: Floats, whole: Floats) -> Floats:
        return _crossings(users, drawn / drawn[0], np.full(drawn.shape[1], 1 + self.limit), 0.0)

    def beyond(self, fewest: int) -> str:
        return f"all take more than {self._times} times as long as {_users(fewest)}"

    def within(self, most: int, fewest: int) -> str:
        return f"{_users(most)} take no more than {self._times} times as long as {fewest}"

    @property
    def _times(self) -> str:
        return significant(1 + self.limit, 3)


@dataclass(frozen=True, slots=True)
class Latency:
    """A percentile of the latencies (µs) of all operations, or of those of one class (kind; "" for all)."""

    limit: float
    share: float = 0.99
    kind: str = ""

    @property
    def key(self) -> str:
        return f"{self.kind}.{self._percentile}" if self.kind else self._percentile

    @property
    def what(self) -> str:
        """For people: "p99 of read operations"."""
        return f"{self._percentile} of {self.kind or 'all'} operations"

    def values(self, level: Level) -> list[float]:
        return level.latency_us[self.key]

    def broken(self, users: Sequence[int], drawn: Floats) -> str:
        if not np.quantile(drawn[-1], _LOW) > self.limit:
            return ""
        return f"{self.what} was {_spread(drawn[-1], _us_text)}, more than {_us_text(self.limit)}"

    def crossings(self, users: Sequence[int], drawn: Floats, whole: Floats) -> Floats:
        return _crossings(users, drawn, np.full(drawn.shape[1], self.limit), 0.0)

    def beyond(self, fewest: int) -> str:
        return f"{self.what} is above {_us_text(self.limit)}"

    def within(self, most: int, fewest: int) -> str:
        return f"{self.what} stays within {_us_text(self.limit)}"

    @property
    def _percentile(self) -> str:
        return f"p{100 * self.share:.6g}"


@dataclass(frozen=True, slots=True)
class Throughput:
    """Operations per second grow by more than `limit` for each doubling of the users."""

    limit: float = GAIN
    key: ClassVar[str] = "throughput"

    def values(self, level: Level) -> list[float]:
        return level.ops_per_s

    def broken(self, users: Sequence[int], drawn: Floats) -> str:
        grown = self._growth(users, drawn)
        if not len(grown):
            return ""
        tops = np.quantile(grown, _HIGH, axis=1)
        since = int(np.argmin(tops))
        if not tops[since] <= 1 + self.limit:
            return ""
        found = _spread(grown[since] - 1, lambda value: f"{round(100 * value)} %")
        return (
            f"throughput grew by {found} for each doubling from {users[since]} to {_users(users[-1])}, no more than "
            f"{self._percent}"
        )

    def _growth(self, users: Sequence[int], drawn: Floats) -> Floats:
        """Growth for a doubling from earlier numbers to the last, shape (earlier numbers, samples).

        Over several doublings noise counts for less of one, so a plateau shows at last however much runs differ. Of
        numbers that lie closer together than a doubling it counts for more: they are asked where there are no others.
        """
        earlier = [number for number in users if 2 * number <= users[-1]] or list(users[:-1])
        doublings = np.log2(users[-1] / np.array(earlier, np.float64))[:, None]
        grown: Floats = (drawn[-1] / drawn[: len(earlier)]) ** (1 / doublings)
        return grown

    def crossings(self, users: Sequence[int], drawn: Floats, whole: Floats) -> Floats:
        if len(users) < 2:
            return np.full(drawn.shape[1], np.inf)
        alike = whole * (1 + self.limit) >= whole.max()
        found = _crossings(users, drawn, drawn[alike].mean(axis=0) / (1 + self.limit), float(users[0]))
        flat = self._growth(users, drawn).min(axis=0) <= 1 + self.limit
        return np.where(flat, found, np.inf)

    def beyond(self, fewest: int) -> str:
        return f"no number of users brings more than {self._percent} more throughput"

    def within(self, most: int, fewest: int) -> str:
        return f"throughput still grows by more than {self._percent} for each doubling"

    @property
    def _percent(self) -> str:
        return f"{100 * self.limit:.3g} %"


def parse_bound(text: str) -> Latency:
    """The rule of "p99=20ms" (of all operations) or "read.p99.9=500us" (of a class).

    Raises
    ------
    UsageError: it is not of that form.
    """
    match = _BOUND.fullmatch(text)
    if not match or match[2] == "00" or not float(match[4]):
        raise UsageError(
            f"--latency-bound {text}: give a percentile of a run's calls and a time, as in p99=20ms or read.p99=500us."
        )
    if match[1] and match[1] not in _CLASSES:
        raise UsageError(f"--latency-bound {text}: a class is one of {', '.join(_CLASSES)}.")
    share = float(f"0.{match[2]}{match[3] or ''}")
    return Latency(float(match[4]) * _UNIT_US[match[5]], share, match[1] or "")


def rules_of(bounds: Sequence[str], slack: float | None, gain: float) -> list[Rule]:
    """The rules of a ramp.

    Parameters
    ----------
    bounds: of --latency-bound; slack: of --ramp-slack, None for no such rule; gain: of --ramp-plateau.

    Raises
    ------
    UsageError: one of them makes no sense.
    """
    if slack is not None and not 0 < slack <= 10:
        raise UsageError(f"--ramp-slack {slack:g}: a share from above 0 to 10, such as 0.25.")
    if not 0 < gain <= 1:
        raise UsageError(f"--ramp-plateau {gain:g}: a share from above 0 to 1, such as 0.1.")
    latencies = {rule.key: rule for rule in map(parse_bound, bounds)}
    if len(latencies) < len(bounds):
        raise UsageError("--latency-bound: one bound for each percentile of a class.")
    return [*latencies.values(), *([] if slack is None else [Makespan(slack)]), Throughput(gain)]


def _crossings(users: Sequence[int], curves: Floats, lines: Floats, below: float) -> Floats:
    """Where curves (numbers, samples) first pass their lines (samples,): infinite where they never do, `below` where
    they are above from the first number on."""
    reached = np.maximum.accumulate(curves, axis=0)
    over = reached > lines
    at = over.argmax(axis=0)
    before, after = (np.take_along_axis(reached, number[None], axis=0)[0] for number in (np.maximum(at - 1, 0), at))
    logs = np.log(np.array(users, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (lines - before) / (after - before)
        found = np.exp(logs[np.maximum(at - 1, 0)] + share * (logs[at] - logs[np.maximum(at - 1, 0)]))
    found = np.where(at == 0, below, found)
    return np.where(over.any(axis=0), found, np.inf)


def _spread(values: Floats, text: Callable[[float], str]) -> str:
    """A median and its interval, for people; of one sample there is none."""
    middle = text(float(np.median(values)))
    if len(values) < 2:
        return middle
    low, high = (text(float(np.quantile(values, share))) for share in (_LOW, _HIGH))
    return f"{middle} (95 %: {low} to {high})"


def _us_text(value: float) -> str:
    return duration_text(value * 1e3)


def _users(number: int) -> str:
    return f"{number} user{'s' * (number > 1)}"

"""How long files were open: from the start of an open to the end of the last close of what it opened.

The pairs are found when a plan is made; how long each took in a run follows from the times of its two rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from iotrace import histogram
from iotrace.replay.columns import Ids, Ints, Tables, chunks
from iotrace.replay.figures import OpenTimes, Spread
from iotrace.replay.layout import CALL
from iotrace.replay.operation_sets import CLOSES, OPENS

if TYPE_CHECKING:
    from iotrace.replay.measure import Ran
    from iotrace.replay.rows import Plan

_KINDS_MAX: Final = 12
"""Extensions told apart; what is rarer is counted together."""
OTHERS: Final = "others"


def _nothing() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(slots=True)
class Lifetimes:
    """Descriptions that were opened and closed within a plan; arrays of shape (descriptions,).

    Attributes
    ----------
    opened, closed: the rows of each open, and of its last close.
    recorded_ns: what it took in the recording.
    never_closed: how many more were opened and not closed.
    """

    opened: Ints = field(default_factory=_nothing)
    closed: Ints = field(default_factory=_nothing)
    recorded_ns: Ints = field(default_factory=_nothing)
    never_closed: int = 0


def lifetimes_of(tables: Tables, event: Ids, part: npt.NDArray[np.uint8]) -> Lifetimes:
    """The descriptions of a plan whose rows stand for these events (see iotrace.replay.layout)."""
    events = tables.events
    opened, closed = np.full(tables.opens, -1, np.int64), np.full(tables.opens, -1, np.int64)
    ended = np.full(tables.opens, np.iinfo(np.int64).min)
    for rows in chunks(len(event)):
        of = event[rows]
        op, description = np.where(part[rows] == CALL, events.op[of], -1), events.open[of]
        good = (description >= 0) & (events.result[of] >= 0)
        at = np.flatnonzero(OPENS[op] & good)
        opened[description[at]] = at + rows.start
        at = np.flatnonzero(CLOSES[op] & good)
        end = events.time_ns[of[at]] + np.maximum(events.duration_ns[of[at]], 0)
        last = np.argsort(end, kind="stable")
        last = last[end[last] >= ended[description[at[last]]]]
        closed[description[at[last]]], ended[description[at[last]]] = at[last] + rows.start, end[last]
    both = np.flatnonzero((opened >= 0) & (closed >= 0))
    first, second = event[opened[both]], event[closed[both]]
    took = events.time_ns[second] + np.maximum(events.duration_ns[second], 0) - events.time_ns[first]
    return Lifetimes(opened[both], closed[both], np.maximum(took, 0), int(((opened >= 0) & (closed < 0)).sum()))


def open_times(users: Sequence[tuple[Plan, Ran]]) -> OpenTimes | None:
    """Distribution of the times from open to close in a run, beside the recorded ones; None where nothing was opened.

    Parameters
    ----------
    users: the plan of each user of the run, and what its kernels wrote.
    """
    found = [_open_times(plan, ran) for plan, ran in users]
    replayed, recorded, extension = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if len(replayed) == 0:
        return None
    kinds, number = np.unique(extension, return_inverse=True)
    counts = np.bincount(number)
    by_kind: dict[str, Spread] = {}
    common = np.argsort(-counts, kind="stable")[:_KINDS_MAX].tolist()
    for kind in common:
        by_kind[str(kinds[kind])] = spread_of(replayed[number == kind])
    rest = ~np.isin(number, common)
    if rest.any():
        by_kind[OTHERS] = spread_of(replayed[rest | (kinds[number] == OTHERS)])
    never_closed = sum(plan.lifetimes.never_closed for plan, _ in users)
    return OpenTimes(spread_of(replayed), spread_of(recorded), by_kind, never_closed)


def _open_times(plan: Plan, ran: Ran) -> tuple[Ints, Ints, Any]:
    """Of what was opened and closed in a run: the times of the run and of the recording, and the files' extensions."""
    lives = plan.lifetimes
    done = (ran.result[lives.opened] >= 0) & (ran.result[lives.closed] >= 0)
    opened, closed, recorded = lives.opened[done], lives.closed[done], lives.recorded_ns[done]
    names = np.array([*(_extension(path) for path in plan.recorded["paths"]), OTHERS])
    return ran.started[closed] + ran.took[closed] - ran.started[opened], recorded, names[plan.recorded["node"][opened]]


def _extension(path: bytes) -> str:
    extension = os.path.splitext(os.path.basename(path))[1]
    return extension.decode("utf-8", "backslashreplace") or OTHERS


def spread_of(values_ns: Any) -> Spread:
    """Percentiles of times in ns, within 0.8 %; the largest exactly."""
    if len(values_ns) == 0:
        return Spread()
    counts = np.zeros(histogram.BUCKETS, np.int64)
    histogram.add(counts, values_ns)
    p50, p99 = (histogram.quantile(counts, q) / 1e3 for q in (0.5, 0.99))
    largest = float(np.max(values_ns)) / 1e3
    # the middle of a bucket may be above all that is in it
    return Spread(len(values_ns), min(p50, largest), min(p99, largest), largest)

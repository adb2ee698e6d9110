"""Phases of a recording: sessions of the same stretch of time, made as often as each other or a multiple of it.

The ground that a profile is fitted on: see iotrace.profiles.fit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from iotrace.profiles.sessions import Sessions

if TYPE_CHECKING:
    import pandas as pd

_SAME_COUNT: Final = 0.1
_OVERLAP: Final = 0.5


@dataclass(slots=True)
class Group:
    """Sessions of one class and kind.

    Attributes
    ----------
    kind: number of the class; do, how: as in a recipe; rows: of iotrace.profiles.sessions, by their begin.
    begin, end: when most of them began and ended, in ns: all but the first and the last 2 %.
    """

    kind: int
    do: str
    how: str
    rows: pd.DataFrame
    begin: float
    end: float

    @property
    def count(self) -> int:
        """How many sessions."""
        return len(self.rows)

    @property
    def pieces(self) -> float:
        """Mean data calls of a session, at least 1."""
        return max(1.0, float(self.rows["pieces"].mean()))


@dataclass(slots=True)
class Phase:
    """Groups that belong together; `items`: how often the commonest of them was done."""

    groups: list[Group]
    items: int

    @property
    def begin(self) -> float:
        """When the first of its groups began, ns."""
        return min(group.begin for group in self.groups)

    @property
    def end(self) -> float:
        """When the last of its groups ended, ns."""
        return max(group.end for group in self.groups)


def phases_of(found: Sessions) -> list[Phase]:
    """Groups that were made in the same stretch of time, as often as each other or a multiple of it."""
    groups = []
    for key, rows in found.rows.groupby(["class", "do", "how"], sort=False):
        kind, do, how = cast("tuple[int, str, str]", key)
        begin, end = np.quantile(rows["begin"], 0.02), np.quantile(rows["end"], 0.98)
        groups.append(Group(int(kind), str(do), str(how), rows.sort_values("begin"), float(begin), float(end)))
    phases = []
    left = sorted((group for group in groups if group.count > 1), key=lambda one: one.begin)
    while left:
        # the count that most groups share is the number of items; others are done several times for each
        counts = Counter(group.count for group in left if group.do != "boxes") or Counter(one.count for one in left)
        # … and of two numbers of as many groups that of the files, if one is
        of_files = {group.count for group in left if group.count == found.classes[group.kind]["count"] > 1}
        items = max(counts, key=lambda count: (counts[count], count in of_files, -count))
        core = [group for group in left if group.count == items]
        begin, end = min(group.begin for group in core), max(group.end for group in core)
        mine, boxes = [], 0
        for group in left:
            inside = min(end, group.end) - max(begin, group.begin) >= _OVERLAP * (group.end - group.begin)
            fits = _is_multiple(group.count, items) and (inside or group.count == items)
            if fits and not (group.do == "boxes" and (boxes or group.count > items)):
                boxes += group.do == "boxes"
                mine.append(group)
        mine = mine or core[:1]
        phases.append(Phase(mine, items))
        left = [group for group in left if all(group is not one for one in mine)]
    once = [group for group in groups if group.count == 1]
    bounds = sorted(phase.begin for phase in phases)
    for place in range(len(bounds) + 1):
        low = bounds[place - 1] if place else float("-inf")
        high = bounds[place] if place < len(bounds) else float("inf")
        some = [group for group in once if low <= group.begin < high]
        phases += [Phase(some, 1)] if some else []
    for phase in phases:
        phase.groups.sort(key=lambda one: float(np.median(one.rows["begin"])))
    return sorted(phases, key=lambda phase: phase.begin)


def own_times(phases: list[Phase], begin: int, end: int) -> list[float]:
    """How much of a job's time is each phase's own, in ns: all of them together take as long as the job.

    A recipe's phases come one after another. Where some overlapped in the recording, the one that made more calls gets
    more of that time: a log that is written now and then takes little of the work that it tells of. What lies between
    phases, and before the first one, belongs to the next; what lies behind all, to the last.
    """
    rates = [float(sum(group.rows["calls"].sum() for group in one.groups)) / max(1.0, one.end - one.begin)
             for one in phases]  # fmt: skip
    own = [0.0] * len(phases)
    bounds = {edge for one in phases for edge in (one.begin, one.end)}
    edges = sorted({float(begin), float(end)} | {edge for edge in bounds if begin < edge < end})
    for low, high in pairwise(edges):
        there = [k for k, one in enumerate(phases) if one.begin <= low and one.end >= high]
        if not there:
            later = [k for k, one in enumerate(phases) if one.begin >= high]
            there = [min(later, key=lambda k: phases[k].begin) if later else len(phases) - 1]
        whole = sum(rates[k] for k in there)
        for k in there:
            own[k] += (high - low) * rates[k] / whole
    return own


def _is_multiple(count: int, items: int) -> bool:
    """Whether something is done as often as there are items, or a whole number of times for each; about."""
    times = count / items
    return abs(times - max(1, round(times))) <= _SAME_COUNT * times

"""Which real descriptor each call of a replay uses.

A trace names open-file descriptions, not descriptors: all descriptors of one description in one process are equal.
Here each opening and duplication gets a slot of its own, each close the slot that it empties, and each use the base
slot of its process's holding (iotrace.replay.holdings), which is emptied last. What a child uses of its parent's it is
given at the fork. Where a process closes more descriptors than were seen to be made, the replay duplicates once more,
right behind the opening (an extra row that is no part of the figures).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from iotrace.replay.columns import Flags, Ids, Ints, Tables
from iotrace.replay.holdings import Holdings, hold
from iotrace.replay.operation_sets import CLOSES, DUP_ONTO, DUPS, OPENS
from iotrace.replay.scans import last_uses, rows_of
from iotrace.replay.select import Reason, Selection

DEVNULL_SLOT = 0
"""Slot of a descriptor of /dev/null: the sink of copies whose destination is not replayed."""


@dataclass(slots=True)
class Descriptors:
    """Slots of descriptors; event arrays have shape (n,), int32, -1 for none.

    Attributes
    ----------
    count: slots in all, DEVNULL_SLOT included.
    holdings: who holds what; open, other_open: the holding of each event, in the place of its descriptions.
    base: base slot of each holding, shape (holdings,), -1 where it is not replayed.
    made: slot that the event fills; closed: slot that it empties; number: for a dup2 onto no known descriptor, which
    of the reserved high descriptor numbers it takes.
    extra_dups: (event, slot that is duplicated, slot filled), issued behind the event.
    extra_closes: events of which only the implicit close is replayed.
    inherited: (holding, slots to fill before the start), the base slot first.
    passed: (fork, slot of the parent, slots of the child), fork is an event.
    left: (holding, slot) never emptied by the trace.
    numbers: how many high descriptor numbers are needed.
    most_open: most descriptors open at a time, when the trace's order is kept.
    """

    count: int
    holdings: Holdings
    open: Ids
    other_open: Ids
    base: Ints
    made: Ids
    closed: Ids
    number: Ids
    extra_dups: list[tuple[int, int, int]] = field(default_factory=list)
    extra_closes: list[int] = field(default_factory=list)
    inherited: list[tuple[int, list[int]]] = field(default_factory=list)
    passed: list[tuple[int, int, list[int]]] = field(default_factory=list)
    left: list[tuple[int, int]] = field(default_factory=list)
    numbers: int = 0
    most_open: int = 0


def assign_descriptors(tables: Tables, selection: Selection) -> Descriptors:
    """Give each opening, duplication and close its slot."""
    events, held = tables.events, hold(tables, selection)
    n, opens = len(events), held.count
    ours = np.append(held.kept, False)
    rows = rows_of(OPENS | DUPS | CLOSES, events.op)
    rows = rows[events.result[rows] >= 0]
    op, opened, other = events.op[rows], held.open[rows], held.other_open[rows]
    kept = selection.reason[rows] == Reason.KEPT
    makes = kept & ours[opened] & (OPENS | DUPS)[op]
    onto = DUP_ONTO[op] & ours[other] & (other != opened)
    closes = kept & CLOSES[op] & ours[opened]
    closing = closes | onto
    closed_open = np.where(onto, other, opened)
    made_count = np.bincount(opened[makes], minlength=opens) + held.inherited
    closed_count = np.bincount(closed_open[closing], minlength=opens)
    last_use = last_uses(
        selection.reason, CLOSES, DUP_ONTO, events.op, np.ascontiguousarray(events.result),
        np.ascontiguousarray(held.open), np.ascontiguousarray(held.other_open), ours,
    )[:-1]  # fmt: skip
    for fork, source, _ in held.passed:
        last_use[source] = max(last_use[source], fork)
    last_close = np.full(opens, -1, np.int64)
    last_close[closed_open[closing]] = rows[closing]
    outlives = (last_use > last_close) & (closed_count > 0)
    simple = (made_count == 1) & (closed_count <= 1) & ~outlives
    single = held.kept & simple

    base = np.full(opens, -1, np.int64)
    base[single] = DEVNULL_SLOT + 1 + np.arange(single.sum())
    result = Descriptors(
        count=DEVNULL_SLOT + 1 + int(single.sum()),
        holdings=held,
        open=held.open,
        other_open=held.other_open,
        base=base,
        made=np.full(n, -1, np.int32),
        closed=np.full(n, -1, np.int32),
        number=np.broadcast_to(np.int32(-1), n),
    )
    is_single = np.append(single, False)
    easy = makes & is_single[opened]
    result.made[rows[easy]] = base[opened[easy]]
    easy = closing & is_single[closed_open]
    result.closed[rows[easy]] = base[closed_open[easy]]
    for x in np.nonzero(single & held.inherited)[0].tolist():
        result.inherited.append((x, [int(base[x])]))
    result.left += [(x, int(base[x])) for x in np.nonzero(single & (closed_count == 0))[0].tolist()]
    at = np.flatnonzero((makes & ~is_single[opened]) | (closing & ~is_single[closed_open]))
    steps = zip(
        rows[at].tolist(),
        np.where(closing[at], closed_open[at], -1).tolist(),
        np.where(makes[at], opened[at], -1).tolist(),
        strict=True,
    )
    _several(result, steps, single, outlives)
    _pass_on(result)
    dropped = rows[onto & ~kept]
    result.extra_closes = dropped[result.closed[dropped] >= 0].tolist()
    _high_numbers(tables, result, rows, rows[makes & DUP_ONTO[op]])
    result.most_open = _most_open(result, rows)
    return result


def _most_open(result: Descriptors, rows: Ints) -> int:
    """Most descriptors open at a time; `rows` are the events that may open or close one."""
    change = (result.made[rows] >= 0).astype(np.int64) - (result.closed[rows] >= 0)
    if result.extra_dups:
        np.add.at(change, np.searchsorted(rows, [event for event, _, _ in result.extra_dups]), 1)
    start = sum(len(slots) for _, slots in result.inherited) + sum(len(slots) for _, _, slots in result.passed)
    return start + max(0, int(np.cumsum(change).max(initial=0)))


def _several(
    result: Descriptors, rows: Iterable[tuple[int, int, int]], single: Flags, outlives: Flags
) -> None:  # fmt: skip
    """Holdings with several descriptors: in the order of the recording, closes empty the base slot last.

    `rows`: events, the holding of which they close a descriptor, and that of which they make one (-1 none).
    """
    held = result.holdings
    several = held.kept & ~single
    changes: dict[int, list[tuple[int, int]]] = {int(x): [] for x in np.nonzero(several)[0]}
    for row, closed, made in rows:
        # dup2 of one description onto another closes before it makes
        if closed in changes:
            changes[closed].append((row, -1))
        if made in changes:
            changes[made].append((row, 1))
    for x, steps in changes.items():
        inherited = bool(held.inherited[x])
        last = max((i for i, (_, change) in enumerate(steps) if change < 0), default=-1)
        balance, spare = int(inherited), 0
        for i, (_, change) in enumerate(steps):
            balance += change
            ends = i == last and i == len(steps) - 1 and not outlives[x]
            if change < 0:
                spare = max(spare, (0 if ends else 1) - balance)
        slots = itertools.count(result.count)
        first, base = -1, -1
        live: list[int] = []
        if inherited:
            first = base = next(slots)
            live = [next(slots) for _ in range(spare)]
            result.inherited.append((x, [base, *live]))
        for row, change in steps:
            if change > 0:
                slot = next(slots)
                result.made[row] = slot
                if first < 0:
                    first = base = slot
                    live = [next(slots) for _ in range(spare)]
                    result.extra_dups += [(row, base, extra) for extra in live]
                else:
                    live.append(slot)
            elif live:
                result.closed[row] = live.pop()
            elif base >= 0:
                result.closed[row], base = base, -1
        result.base[x] = first
        result.left += [(x, slot) for slot in [*live, *([base] if base >= 0 else [])]]
        result.count = next(slots)


def _pass_on(result: Descriptors) -> None:
    """What is passed at forks is not there before the start."""
    slots = dict(result.inherited)
    for fork, source, to in result.holdings.passed:
        if result.base[source] >= 0:
            result.passed.append((fork, int(result.base[source]), slots[to]))
    given = {to for _, _, to in result.holdings.passed}
    result.inherited = [(x, mine) for x, mine in result.inherited if x not in given]


def _high_numbers(tables: Tables, result: Descriptors, rows: Ints, onto: Ints) -> None:
    """dup2 onto a descriptor of no known file takes a number far above those that the kernel hands out.

    `rows` are the events that may open or close a descriptor, `onto` those that made one by dup2.
    """
    events = tables.events
    fresh = onto[result.closed[onto] < 0]
    if len(fresh) == 0:
        return
    result.number = np.full(len(events), -1, np.int32)
    closers = rows[result.closed[rows] >= 0]
    closers = closers[np.isin(result.closed[closers], result.made[fresh])]
    closer = dict(zip(result.closed[closers].tolist(), closers.tolist(), strict=True))
    free: dict[int, list[tuple[int, int]]] = {}
    for row in fresh.tolist():
        thread = int(events.thread[row])
        mine = free.setdefault(thread, [])
        ready = next((i for i, (until, _) in enumerate(mine) if until < row), None)
        if ready is None:
            number, result.numbers = result.numbers, result.numbers + 1
        else:
            number = mine.pop(ready)[1]
        result.number[row] = number
        end = closer.get(int(result.made[row]))
        if end is not None and int(events.thread[end]) == thread:
            mine.append((end, number))

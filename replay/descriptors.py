"""Which real descriptor each call of a replay uses.

A trace names open-file descriptions, not descriptors: all descriptors of one description are equal. Here each opening
and duplication gets a slot of its own, each close the slot that it empties, and each use the description's base slot,
which is emptied last. A program that forks shares its descriptions with the child without a call; where both close,
the replay duplicates once more, right behind the opening (an extra row that is no part of the figures).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from iotrace.replay.columns import Flags, Ints, Tables
from iotrace.replay.select import CLOSES, DUP_ONTO, DUPS, OPENS, Selection

DEVNULL_SLOT = 0
"""Slot of a descriptor of /dev/null: the sink of copies whose destination is not replayed."""


@dataclass(slots=True)
class Descriptors:
    """Slots of descriptors; event arrays have shape (n,), int64, -1 for none.

    Attributes
    ----------
    count: slots in all, DEVNULL_SLOT included.
    base: base slot of each description, shape (opens,), -1 where it is not replayed.
    made: slot that the event fills; closed: slot that it empties; number: for a dup2 onto no known descriptor, which
    of the reserved high descriptor numbers it takes.
    extra_dups: (event, slot that is duplicated, slot filled), issued behind the event.
    extra_closes: events of which only the implicit close is replayed.
    inherited: (description, slots to fill before the start), the base slot first.
    left: (description, slot) never emptied by the trace.
    numbers: how many high descriptor numbers are needed.
    most_open: most descriptors open at a time, when the trace's order is kept.
    """

    count: int
    base: Ints
    made: Ints
    closed: Ints
    number: Ints
    extra_dups: list[tuple[int, int, int]] = field(default_factory=list)
    extra_closes: list[int] = field(default_factory=list)
    inherited: list[tuple[int, list[int]]] = field(default_factory=list)
    left: list[tuple[int, int]] = field(default_factory=list)
    numbers: int = 0
    most_open: int = 0


def assign_descriptors(tables: Tables, selection: Selection) -> Descriptors:
    """Give each opening, duplication and close its slot."""
    events, kept = tables.events, selection.kept
    n, opens = len(events), tables.opens
    ours = np.append(selection.open_kept, False)
    success = events.result >= 0
    makes = kept & success & ours[events.open] & (OPENS[events.op] | DUPS[events.op])
    onto = success & DUP_ONTO[events.op] & ours[events.other_open] & (events.other_open != events.open)
    closes = kept & success & CLOSES[events.op] & ours[events.open]
    closed_open = np.where(onto, events.other_open, events.open)
    made_count = np.bincount(events.open[makes], minlength=opens) + selection.open_inherited
    closed_count = np.bincount(closed_open[closes | onto], minlength=opens)
    last_use = np.full(opens + 1, -1, np.int64)
    rows = np.arange(n, dtype=np.int64)
    used = kept & ~closes
    np.maximum.at(last_use, events.open[used], rows[used])
    np.maximum.at(last_use, events.other_open[used & ~onto], rows[used & ~onto])
    last_close = np.full(opens + 1, -1, np.int64)
    np.maximum.at(last_close, closed_open[closes | onto], rows[closes | onto])
    outlives = (last_use[:-1] > last_close[:-1]) & (closed_count > 0)
    simple = (made_count == 1) & (closed_count <= 1) & ~outlives
    single = np.zeros(opens, np.bool_)
    single[selection.open_kept] = simple[selection.open_kept]

    base = np.full(opens, -1, np.int64)
    base[single] = DEVNULL_SLOT + 1 + np.arange(single.sum())
    result = Descriptors(
        count=DEVNULL_SLOT + 1 + int(single.sum()),
        base=base,
        made=np.full(n, -1, np.int64),
        closed=np.full(n, -1, np.int64),
        number=np.full(n, -1, np.int64),
    )
    easy = makes & np.append(single, False)[events.open]
    result.made[easy] = base[events.open[easy]]
    easy = (closes | onto) & np.append(single, False)[closed_open]
    result.closed[easy] = base[closed_open[easy]]
    for x in np.nonzero(single & selection.open_inherited)[0].tolist():
        result.inherited.append((x, [int(base[x])]))
    result.left += [(x, int(base[x])) for x in np.nonzero(single & (closed_count == 0))[0].tolist()]
    _several(tables, selection, result, makes, closes | onto, closed_open, single, outlives)
    result.extra_closes = np.nonzero(onto & ~kept & (result.closed >= 0))[0].tolist()
    _high_numbers(tables, result, makes & DUP_ONTO[events.op])
    change = np.zeros(n, np.int64)
    change[result.made >= 0] += 1
    change[result.closed >= 0] -= 1
    for event, _, _ in result.extra_dups:
        change[event] += 1
    start = sum(len(slots) for _, slots in result.inherited)
    result.most_open = start + (max(0, int(np.cumsum(change).max())) if n else 0)
    return result


def _several(
    tables: Tables, selection: Selection, result: Descriptors, makes: Flags, closing: Flags, closed_open: Ints,
    single: Flags, outlives: Flags,
) -> None:  # fmt: skip
    """Descriptions with several descriptors: in the order of the recording, closes empty the base slot last."""
    events = tables.events
    several = selection.open_kept & ~single
    changes: dict[int, list[tuple[int, int]]] = {int(x): [] for x in np.nonzero(several)[0]}
    padded = np.append(several, False)
    for row in np.nonzero((makes & padded[events.open]) | (closing & padded[closed_open]))[0].tolist():
        # dup2 of one description onto another closes before it makes
        if closing[row] and int(closed_open[row]) in changes:
            changes[int(closed_open[row])].append((row, -1))
        if makes[row] and int(events.open[row]) in changes:
            changes[int(events.open[row])].append((row, 1))
    for x, steps in changes.items():
        inherited = bool(selection.open_inherited[x])
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


def _high_numbers(tables: Tables, result: Descriptors, onto: Flags) -> None:
    """dup2 onto a descriptor of no known file takes a number far above those that the kernel hands out."""
    events = tables.events
    fresh = np.nonzero(onto & (result.closed < 0))[0]
    if len(fresh) == 0:
        return
    closer = {int(result.closed[row]): int(row) for row in np.nonzero(result.closed >= 0)[0]}
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

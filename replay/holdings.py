"""Which process holds which description.

A trace names open-file descriptions, which a fork shares between parent and child; a process has descriptors of its
own for them. Where several processes use one description, each has a holding of it; a child's comes from its parent's
at the fork, or was there before the recording. Processes that share a description in another way (it was sent over a
socket, or the fork was not recorded) form one group, which a replay runs as one process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import Flags, Ids, Ints, Tables
from iotrace.replay.operation_sets import OPENS, one_of
from iotrace.replay.scans import note_owners, processes_of, rows_of, rows_that_use
from iotrace.replay.select import Reason, Selection

_FORK: Final = one_of(("fork",))


@dataclass(slots=True)
class Holdings:
    """Holdings of descriptions; a description that one process uses has its own number as a holding.

    Attributes
    ----------
    count: holdings in all.
    open, other_open: of each event, int32, (events,), -1 for none; in the place of the columns of these names.
    description, group: of each holding, (count,); `group` is -1 where nobody else holds the description.
    kept: replayed; inherited: there when its process begins.
    passed: (fork, holding that is passed on, holding that it becomes); fork is an event.
    opened: event that opened a passed description, by holding that it becomes.
    group_of: group of each process, (processes,), int32.
    process_of: process of each thread, (threads,), int32, -1 for those without events.
    """

    count: int
    open: Ids
    other_open: Ids
    description: Ints
    group: Ids
    kept: Flags
    inherited: Flags
    group_of: Ids
    process_of: Ids
    passed: list[tuple[int, int, int]] = field(default_factory=list)
    opened: dict[int, int] = field(default_factory=dict)


def hold(tables: Tables, selection: Selection) -> Holdings:
    """Find the holdings of a trace."""
    events, opens = tables.events, tables.opens
    process_of = np.full(tables.threads, -1, np.int32)
    processes_of(events.thread, events.process, process_of)
    owner = np.full(opens + 1, -1, np.int32)
    for column in (events.open, events.other_open):
        if column.strides[0]:
            note_owners(column, events.process, owner)
    several = np.append((owner[:-1] == -2) & selection.open_kept, False)
    group_of = np.arange(len(tables.process_cwd), dtype=np.int32)
    if not several.any():
        return Holdings(
            opens, events.open, events.other_open, np.arange(opens), np.full(opens, -1, np.int32),
            selection.open_kept, selection.open_inherited, group_of, process_of,
        )  # fmt: skip
    return _Sharing(tables, selection, several, group_of, process_of).holdings()


class _Sharing:
    """Descriptions that several processes use."""

    def __init__(self, tables: Tables, selection: Selection, several: Flags, group_of: Ids, process_of: Ids) -> None:
        events = tables.events
        self.tables, self.selection, self.several = tables, selection, several
        self.group_of, self.process_of = group_of, process_of
        self.rows = rows_that_use(several, events.open, events.other_open, selection.reason)
        op, opened = events.op[self.rows], events.open[self.rows]
        makes = several[opened] & OPENS[op] & (events.result[self.rows] >= 0)
        self.maker: dict[int, int] = {}
        for x, row in zip(opened[makes].tolist(), self.rows[makes].tolist(), strict=True):
            self.maker.setdefault(x, row)
        self.fork_of: dict[int, int] = {}
        forks = rows_of(_FORK, events.op)
        forks = forks[(events.child[forks] >= 0) & (selection.reason[forks] == Reason.KEPT)]
        children = process_of[events.child[forks]]
        for fork, child in zip(forks.tolist(), children.tolist(), strict=True):
            if child >= 0 and child != int(events.process[fork]):
                self.fork_of.setdefault(child, fork)
        kept = np.flatnonzero(selection.reason == Reason.KEPT)
        self.begin = np.full(len(group_of), np.iinfo(np.int64).max)
        np.minimum.at(self.begin, events.process[kept], events.time_ns[kept])

    def holdings(self) -> Holdings:
        """Group processes until each holding has a source."""
        while True:
            found, passed, strangers = self._sources()
            if not strangers:
                return self._numbered(found, passed)
            for one, other in strangers:
                low, high = sorted((int(self.group_of[one]), int(self.group_of[other])))
                self.group_of[self.group_of == high] = low

    def _columns(self) -> list[tuple[npt.NDArray[Any], Ids]]:
        """Of both columns: places in `rows` that hold such a description, and the descriptions."""
        events = self.tables.events
        columns = []
        for column in (events.open, events.other_open):
            values = column[self.rows]
            at = np.flatnonzero(self.several[values])
            columns.append((at, values[at]))
        return columns

    def _sources(self) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]], list[tuple[int, int]]]:
        """Pairs of description and group, what is passed (fork, group, description), and processes to be grouped."""
        process = self.tables.events.process
        groups = self.group_of[process[self.rows]]
        pairs: set[tuple[int, int]] = set()
        for at, opened in self._columns():
            pairs.update(zip(opened.tolist(), groups[at].tolist(), strict=True))
        begin = self.begin.copy()
        np.minimum.at(begin, self.group_of, self.begin)
        fork_of: dict[int, int] = {}
        for child, fork in sorted(self.fork_of.items(), key=lambda item: item[1]):
            group = int(self.group_of[child])
            # who began before its fork (a damaged trace) would wait for what comes after what waits for it
            if group != self.group_of[process[fork]] and begin[group] > self.tables.events.time_ns[fork]:
                fork_of.setdefault(group, fork)
        passed, strangers = [], []
        waiting = sorted(pair for pair in pairs if pair[0] in self.maker)
        while waiting:
            x, group = waiting.pop()
            made = self.maker[x]
            maker = int(self.group_of[process[made]])
            if group == maker:
                continue
            begun = fork_of.get(group)
            source = int(self.group_of[process[begun]]) if begun is not None else -1
            if begun is None or (source == maker and not self._before(made, begun)):
                strangers.append((group, maker))
                continue
            passed.append((begun, x, group))
            if (x, source) not in pairs:
                pairs.add((x, source))
                waiting.append((x, source))
        return sorted(pairs), passed, strangers

    def _before(self, made: int, fork: int) -> bool:
        """Whether an opening had surely ended when a fork began."""
        events = self.tables.events
        if events.thread[made] == events.thread[fork]:
            return made < fork
        ended = int(events.time_ns[made]) + max(0, int(events.duration_ns[made]))
        return ended <= int(events.time_ns[fork])

    def _numbered(self, pairs: list[tuple[int, int]], passed: list[tuple[int, int, int]]) -> Holdings:
        tables, selection, opens = self.tables, self.selection, self.tables.opens
        events = tables.events
        count = opens + len(pairs)
        number = {pair: opens + place for place, pair in enumerate(pairs)}
        description = np.append(np.arange(opens), [x for x, _ in pairs])
        group = np.append(np.full(opens, -1), [one for _, one in pairs]).astype(np.int32)
        kept = np.append(selection.open_kept & ~self.several[:-1], np.ones(len(pairs), np.bool_))
        inherited = selection.open_inherited[description] & kept
        result = Holdings(
            count, events.open.copy(), events.other_open, description, group, kept, inherited, self.group_of,
            self.process_of,
        )  # fmt: skip
        if events.other_open.strides[0]:
            result.other_open = events.other_open.copy()
        groups = self.group_of[events.process[self.rows]]
        for column, (at, opened) in zip((result.open, result.other_open), self._columns(), strict=True):
            if len(at):
                pairs_here = zip(opened.tolist(), groups[at].tolist(), strict=True)
                column[self.rows[at]] = [number[pair] for pair in pairs_here]
        for fork, x, one in passed:
            to = number[x, one]
            source = number[x, int(self.group_of[events.process[fork]])]
            inherited[to] = True
            result.passed.append((fork, source, to))
            result.opened[to] = self.maker[x]
        return result

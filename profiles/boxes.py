"""Random reads of particles: boxes anywhere in many stacks, each stack opened, its header read, and closed again."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from iotrace.errors import UsageError
from iotrace.profiles.layout import Class, Layout
from iotrace.profiles.model import Phase, Profile
from iotrace.profiles.numbers import Numbers
from iotrace.profiles.shuffling import shuffled
from iotrace.profiles.templates import CALLS_MAX, COLUMNS, GAP_NS, Template
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.schema import NULL

_ROWS_AT_ONCE = 1 << 14
_CALLS_A_STACK = 3
"""Open, read of the header, close; a seek before each box where boxes are read at the position."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """An action `boxes` of a phase.

    Attributes
    ----------
    position: of the action among the calls of its template; reads: boxes for each item; box, header: bytes.
    stacks: the class of files; a_stack: boxes in each.
    by_position: lseek and read instead of pread64; before: time (busy, idle; ns) before an item's first box.
    visits: how many stacks an item reads from; 0: wherever its boxes fall.
    among: so many of the boxes of all stacks are read, spread over them: each once, in a random order, before any is
    read again; key: of that order.
    """

    position: int
    reads: int
    box: int
    header: int
    stacks: Class
    a_stack: int
    by_position: bool
    before: tuple[int, int]
    visits: int = 0
    among: int = 0
    key: int = 0

    @property
    def opens_max(self) -> int:
        """Stacks that an item opens at most."""
        return self.visits or min(self.reads, self.stacks.count)

    @property
    def opens_mean(self) -> float:
        """Stacks that an item opens on average."""
        count, reads = self.stacks.count, min(self.reads, self.among)
        others = count * self.a_stack - self.a_stack
        if self.visits or count == 1:
            return float(self.opens_max)
        if reads > others:
            return float(count)
        # none of so many boxes, of which no two are the same, is of a stack: the hypergeometric distribution
        most, least = max(self.a_stack, reads), min(self.a_stack, reads)
        missed = np.log1p(-most / (others + self.a_stack - np.arange(least))).sum()
        return count * -float(np.expm1(missed))

    @property
    def rows_max(self) -> int:
        """Calls of an item at most."""
        return self.reads * (1 + self.by_position) + _CALLS_A_STACK * self.opens_max

    def _of_item(self, first_open: int, random: np.random.Generator) -> dict[str, Any]:
        """Columns of the calls of one item that reads from several stacks, as many as asked for."""
        picked = np.sort(self._picked(random))
        stack, place = picked // self.a_stack, picked % self.a_stack
        begins = np.flatnonzero(np.r_[True, stack[1:] != stack[:-1]])
        rows = self._calls(stack, place, begins, first_open + np.arange(len(begins)))
        rows["busy"][0] += self.before[0]
        rows["idle"][0] += self.before[1]
        return rows

    def _of_items(
        self, items: npt.NDArray[np.int64], first_open: npt.NDArray[np.int64], random: np.random.Generator
    ) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
        """Columns of the calls of many items, all at once, and how many each has; both (items,)."""
        count = len(items)
        if self.visits:
            place = np.sort(random.integers(0, self.a_stack, (count, self.reads)), axis=1)
            # as many items as there are stacks take each once, in a scattered order
            stack = np.repeat(items * _scatter(self.stacks.count) % self.stacks.count, self.reads).reshape(place.shape)
        else:
            picked = np.sort(self._drawn(items[:, None] * self.reads + np.arange(self.reads)), axis=1)
            stack, place = picked // self.a_stack, picked % self.a_stack
        begins = np.ones(stack.shape, np.bool_)
        np.not_equal(stack[:, 1:], stack[:, :-1], out=begins[:, 1:])
        visits = begins.sum(axis=1)
        rows = self._calls(stack.ravel(), place.ravel(), np.flatnonzero(begins), _counted_from(first_open, visits))
        calls = self.reads * (1 + self.by_position) + _CALLS_A_STACK * visits
        first = np.cumsum(calls) - calls
        rows["busy"][first] += self.before[0]
        rows["idle"][first] += self.before[1]
        return rows, calls

    def _calls(
        self, stack: npt.NDArray[np.int64], place: npt.NDArray[np.int64], begins: npt.NDArray[np.int64],
        opens: npt.NDArray[np.int64],
    ) -> dict[str, Any]:  # fmt: skip
        """Columns of the calls that read boxes: stack and place of each, which is an opening's first, their numbers."""
        visit = np.zeros(len(stack), np.int64)
        visit[begins] = 1
        visit = np.cumsum(visit) - 1
        calls = 1 + self.by_position
        n = calls * len(stack) + _CALLS_A_STACK * len(begins)
        rows: dict[str, Any] = {name: np.full(n, NULL, np.int64) for name in COLUMNS}
        # each box comes behind those before it, and behind three calls for each stack but the last one's close
        at = np.arange(len(stack)) * calls + visit * _CALLS_A_STACK + 2
        opened = at[begins] - 2
        closed = np.r_[opened[1:], n] - 1
        which = np.repeat(np.arange(len(begins)), np.diff(np.r_[opened, n]))
        path = self.stacks.first + stack[begins][which]
        rows |= {
            "path": path, "file_number": path, "open": opens[which], "moved": np.zeros(n, np.int64),
            "busy": np.full(n, GAP_NS), "idle": np.zeros(n, np.int64), "result": np.zeros(n, np.int64),
            "other_path": np.full(n, NULL), "other_number": np.full(n, NULL), "other_open": np.full(n, NULL),
            "step": np.zeros(n, np.int64), "temporary": np.zeros(n, np.int64), "turn": np.zeros(n, np.int64),
            "turns": np.ones(n, np.int64),
        }  # fmt: skip
        op, offset, size = rows["op"], rows["offset"], rows["size"]
        op[opened], op[opened + 1], op[closed] = (NUMBER_OF[name] for name in ("openat", "read", "close"))
        rows["flags"][opened], rows["mode"][opened] = os.O_RDONLY | os.O_CLOEXEC, 0
        offset[opened + 1], size[opened + 1] = 0, self.header
        rows["result"][opened + 1] = rows["moved"][opened + 1] = self.header
        where = self.header + place * self.box
        if self.by_position:
            op[at], offset[at], rows["flags"][at], rows["result"][at] = NUMBER_OF["lseek"], where, os.SEEK_SET, where
            at = at + 1
        op[at] = NUMBER_OF["read" if self.by_position else "pread64"]
        offset[at], size[at] = where, self.box
        rows["result"][at] = rows["moved"][at] = self.box
        return rows

    def _drawn(self, turns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Numbers of the boxes that come so many turns after the phase's first one, counted through all stacks."""
        there = self.stacks.count * self.a_stack
        first, last = int(turns.min()) // self.among, int(turns.max()) // self.among
        if first == last:
            place, passes = turns - first * self.among, np.full(1, first)
        else:
            passes, place = np.divmod(turns, self.among)
        found = shuffled(place, self.among, self.key + passes)
        # whatever job reads so many of them reads the same ones
        return found if self.among == there else shuffled(found, there, np.zeros(1, np.int64))

    def _picked(self, random: np.random.Generator) -> npt.NDArray[np.int64]:
        """Numbers of the boxes of one item, counted through all stacks."""
        stacks = random.choice(self.stacks.count, self.visits, replace=False)
        turns = np.arange(self.reads) * self.visits // self.reads
        return stacks[turns].astype(np.int64) * self.a_stack + random.integers(0, self.a_stack, self.reads)

    def put_between(
        self, rows: dict[str, Any], calls: int, items: Any, first_open: Any, random: np.random.Generator
    ) -> dict[str, Any]:
        """The calls of some items (`calls` each) with the boxes of each item in their place."""
        # many items at once, which may be hundreds of thousands, and no more than the processor's cache holds
        step = max(1, _ROWS_AT_ONCE // (calls + self.rows_max)) if self.visits <= 1 else 1
        found: list[dict[str, Any]] = []
        for begin in range(0, len(items), step):
            some = slice(begin, begin + step)
            mine = {name: column[begin * calls : (begin + step) * calls] for name, column in rows.items()}
            if step > 1:
                found.append(self._put_between(mine, calls, items[some], first_open[some], random))
                continue
            if self.visits <= 1:
                boxes, _ = self._of_items(items[some], first_open[some], random)
            else:
                boxes = self._of_item(int(first_open[begin]), random)
            found.append({name: column[: self.position] for name, column in mine.items()})
            found += [boxes, {name: column[self.position :] for name, column in mine.items()}]
        return {name: np.concatenate([part[name] for part in found]) for name in rows}

    def _put_between(
        self, rows: dict[str, Any], calls: int, items: Any, first_open: Any, random: np.random.Generator
    ) -> dict[str, Any]:
        """As put_between, without a loop over items."""
        boxes, counts = self._of_items(items, first_open, random)
        begins = np.cumsum(counts + calls) - counts - calls
        before = np.arange(calls) < self.position
        at = (begins[:, None] + np.arange(calls) + np.where(before, 0, counts[:, None])).ravel()
        between = _counted_from(begins + self.position, counts)
        whole = {}
        for name, column in rows.items():
            whole[name] = np.empty(len(at) + len(between), column.dtype)
            whole[name][at], whole[name][between] = column, boxes[name]
        return whole


def _counted_from(first: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """From each first one on so many numbers, one run after another; both (runs,)."""
    ends = np.cumsum(counts)
    return np.repeat(first - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)


def _scatter(count: int) -> int:
    """A factor that brings numbers below `count` into another order: near the golden section, and coprime."""
    return next(one for one in range(max(1, round(0.618 * count)), 2 * count + 2) if math.gcd(one, count) == 1)


def boxes_of(
    profile: Profile, phase: Phase, template: Template, numbers: Numbers, layout: Layout, at: str
) -> Boxes | None:  # fmt: skip
    """The action `boxes` of a phase with this template; None where it has none.

    Raises
    ------
    UsageError: there are several, or the stacks hold no box.
    """
    places = [k for k, action in enumerate(phase.actions) if action.do == "boxes"]
    if not places:
        return None
    if len(places) > 1:
        raise UsageError(f"{at}: one action boxes in a phase; make another phase for the second one.")
    action = phase.actions[places[0]]
    stacks = layout.classes[list(profile.files).index(action.file)]
    box, header = numbers.count(action.box, f"{at}: box"), numbers.count(action.header, f"{at}: header")
    a_stack = (stacks.size - header) // box if box else 0
    if a_stack < 1 or stacks.count < 1:
        raise UsageError(f"{at}: {stacks.name} of {stacks.size} bytes hold no box of {box} bytes behind {header}.")
    reads = max(1, numbers.count(action.reads, f"{at}: reads"))
    if reads > CALLS_MAX:
        raise UsageError(f"{at}: reads: {reads} boxes for one item; at most {CALLS_MAX}.")
    visits = min(numbers.count(action.stacks, f"{at}: stacks"), reads, stacks.count) if action.stacks else 0
    there = stacks.count * a_stack
    among = min(there, max(1, numbers.count(action.among, f"{at}: among"))) if action.among else there
    return Boxes(
        template.boxes_at, reads, box, header, stacks, a_stack, action.way == "read", template.before_boxes, visits,
        among,
    )  # fmt: skip

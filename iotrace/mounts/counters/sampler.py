"""The process that reads counters, so that nothing that issues calls ever does: `python -m …sampler`.

It reads orders from standard input, a JSON array a line, and answers each with a line of JSON:

- `["begin", [mount, …], pid]`: look at all sources of the mounts, then at each as often as it says. Answers with the
  names and scopes of the sources, the look, and why others cannot be read.
- `["mark"]`: look at all. Answers with the look.
- `["take"]`: answers with the looks since the beginning, or since they were last taken, and forgets them.
- `["end"]`: stop. Answers with the looks since the beginning.

It ends with its standard input, so that it never stays behind.
"""

from __future__ import annotations

import json
import math
import os
import select
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from iotrace.mounts.counters.source import Counts, Look, Source
from iotrace.mounts.counters.sources import sources_of
from iotrace.mounts.mountinfo import Mount

LOOKS_MAX: Final = 3600
"""When there are more, every second one goes and the time between them doubles: a recording may take weeks."""


def look_at(sources: Sequence[Source], every_s: float | None = None) -> tuple[Look, dict[str, str]]:
    """One look, at those that are read every so many seconds (None: at all), and why sources that cannot be read
    cannot. An empty one stands for those, and for those not asked."""
    at = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    counts: list[Counts] = []
    wrong = {}
    for source in sources:
        try:
            counts.append(_bounded(source.read()) if every_s in (None, source.every_s) else {})
        except (OSError, ValueError) as error:
            counts.append({})
            wrong[source.name] = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return (at, counts), wrong


def _bounded(counts: Mapping[str, int]) -> Counts:
    """What fits into a table's int64; a counter beyond that is none."""
    return {name: value for name, value in counts.items() if abs(value) < 1 << 62}


@dataclass(slots=True)
class _Turn:
    """When sources that are read every `first_s` seconds are due, and their looks, which thin out."""

    first_s: float
    every_s: float
    due: float
    looks: list[Look] = field(default_factory=list)

    def tick(self, sources: Sequence[Source]) -> None:
        if time.monotonic() < self.due:
            return
        self.looks.append(look_at(sources, self.first_s)[0])
        if len(self.looks) > LOOKS_MAX:
            self.looks, self.every_s = self.looks[::2], self.every_s * 2
        self.due = max(self.due + self.every_s, time.monotonic())


@dataclass(slots=True)
class _Watched:
    """What is looked at, from the beginning on."""

    sources: list[Source]
    turns: list[_Turn] = field(default_factory=list)

    def begin(self) -> dict[str, Any]:
        (at, counts), wrong = look_at(self.sources)
        can = [source.name not in wrong for source in self.sources]
        self.sources = [source for source, one in zip(self.sources, can, strict=True) if one]
        now = time.monotonic()
        often = sorted({source.every_s for source in self.sources if math.isfinite(source.every_s)})
        self.turns = [_Turn(every_s, every_s, now + every_s) for every_s in often]
        return {
            "sources": [(source.name, source.scope, source.decides) for source in self.sources],
            "look": (at, [one for one, can_be in zip(counts, can, strict=True) if can_be]),
            "wrong": wrong,
        }

    @property
    def due(self) -> float:
        return min((turn.due for turn in self.turns), default=math.inf)

    def tick(self) -> None:
        for turn in self.turns:
            turn.tick(self.sources)

    def take(self) -> list[Look]:
        looks = [look for turn in self.turns for look in turn.looks]
        for turn in self.turns:
            turn.looks = []
        return sorted(looks, key=lambda look: look[0])


def main() -> None:
    """Obey orders until standard input ends."""
    watched: _Watched | None = None
    waiting = b""
    descriptor = sys.stdin.fileno()
    while True:
        wait = max(0.0, watched.due - time.monotonic()) if watched and watched.turns else None
        if select.select([descriptor], [], [], wait)[0]:
            read = os.read(descriptor, 1 << 16)
            if not read:
                return
            *lines, waiting = (waiting + read).split(b"\n")
            for line in lines:
                watched, answer = _obey(json.loads(line), watched)
                sys.stdout.write(json.dumps(answer) + "\n")
                sys.stdout.flush()
        elif watched:
            watched.tick()


def _obey(order: list[Any], watched: _Watched | None) -> tuple[_Watched | None, dict[str, Any]]:
    if order[0] == "begin":
        watched = _Watched(sources_of([Mount(**one) for one in order[1]], order[2]))
        return watched, watched.begin()
    if watched is None:
        return None, {}
    if order[0] == "mark":
        look, wrong = look_at(watched.sources)
        return watched, {"look": look, "wrong": wrong}
    if order[0] == "take":
        return watched, {"looks": watched.take()}
    return None, {"looks": watched.take()}


if __name__ == "__main__":
    main()

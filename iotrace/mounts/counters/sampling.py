"""The sampler as others see it: a process of its own that reads counters, asked by lines over pipes.

Counters are evidence beside a run, never a reason for it to fail: a sampler that does not answer is given up.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import iotrace
from iotrace.mounts.counters.source import UNAVAILABLE, UNPROTECTED, Counts, Look, is_now
from iotrace.mounts.mountinfo import Mount

_ANSWERS_S: Final = 30.0


@dataclass(slots=True)
class Watch:
    """What was counted of a mount between a beginning and an end.

    Attributes
    ----------
    sources: name, scope, and whether it may decide what a result is of; marks: looks at all sources, the first at the
    beginning; looks: those in between, at each source as often as it says. wrong: why others cannot be read, by name.
    """

    sources: list[tuple[str, str, bool]] = field(default_factory=list)
    marks: list[Look] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)

    def between(self, source: int, first: int, last: int) -> Counts:
        """How much each counter of a source grew from one mark to another; figures of the moment as they were last, of
        what a cluster had lost the most.

        A counter that shrank began anew (its client was mounted anew, or somebody cleared it): it is left out. So is
        all where the first of the two marks could not be read: counters since the machine's start are no growth.
        """
        if last >= len(self.marks):
            return {}
        before, after = self.marks[first][1][source], self.marks[last][1][source]
        if not before:
            after = {name: value for name, value in after.items() if is_now(name)}
        grown = {name: value - before.get(name, 0) for name, value in after.items() if not is_now(name)}
        now = {name: value for name, value in after.items() if is_now(name)} | self._most(source, first, last)
        return {name: value for name, value in grown.items() if value >= 0} | now

    def _most(self, source: int, first: int, last: int) -> Counts:
        since, until = self.marks[first][0], self.marks[last][0]
        found: Counts = {}
        for at, counts in [*self.marks, *self.looks]:
            for name in (UNPROTECTED, UNAVAILABLE) if since <= at <= until else ():
                if name in counts[source]:
                    found[name] = max(found.get(name, 0), counts[source][name])
        return found

    def each_look(self) -> Iterator[tuple[int, str, str, int]]:
        """Time (CLOCK_MONOTONIC, ns), source, counter and value of all looks, by time; growth is since the first look.

        What `between` leaves out is left out here too, a counter that shrank from then on.
        """
        if not self.marks:
            return
        begin = self.marks[0][1]
        newest = [dict(counts) for counts in begin]
        shrank: set[tuple[int, str]] = set()
        for at, looked in sorted([*self.marks, *self.looks], key=lambda look: look[0]):
            for number, (counts, (source, _, _)) in enumerate(zip(looked, self.sources, strict=True)):
                for name, value in counts.items():
                    if is_now(name):
                        yield at, source, name, value
                        continue
                    if value < newest[number].get(name, 0):
                        shrank.add((number, name))
                    newest[number][name] = value
                    if begin[number] and (number, name) not in shrank:
                        yield at, source, name, value - begin[number].get(name, 0)


class Sampler:
    """A sampler; a context manager, whose end ends the process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: Watch | None = None

    def __enter__(self) -> Sampler:
        # what is imported lies where this package does, wherever the command was started
        folder = str(Path(iotrace.__file__).parent.parent)
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "iotrace.mounts.counters.sampler"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path},
                start_new_session=True, bufsize=0, cwd="/",
            )  # fmt: skip
        except OSError:
            self._process = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_up()

    @property
    def pid(self) -> int | None:
        """The process that looks."""
        return self._process.pid if self._process is not None else None

    def begin(self, mounts: Sequence[Mount], pid: int | None = None) -> None:
        """Look at what counts for mounts, and then each second; `pid`: process whose children work on them."""
        answer = self._ask(["begin", [asdict(mount) for mount in mounts], pid])
        self._watch = None
        if answer:
            names = [(str(name), str(scope), bool(decides)) for name, scope, decides in answer["sources"]]
            self._watch = Watch(names, [_look(answer["look"])], [], dict(answer["wrong"]))

    def mark(self) -> None:
        """Look again at all sources."""
        answer = self._ask(["mark"]) if self._watch else None
        if answer and self._watch:
            self._watch.marks.append(_look(answer["look"]))
            self._watch.wrong |= answer["wrong"]

    @property
    def sources(self) -> list[tuple[str, str, bool]]:
        """Of what is looked at (Watch.sources); none before the beginning, and where the sampler was given up."""
        return self._watch.sources if self._watch and self._process else []

    def take(self) -> list[Look]:
        """All looks since the beginning or the last taking, marks among them, by time; nobody keeps them any longer."""
        answer = self._ask(["take"]) if self._watch else None
        if not self._watch:
            return []
        looks, self._watch.marks = self._watch.marks, []
        return sorted(looks + [_look(one) for one in answer["looks"]] if answer else looks, key=lambda look: look[0])

    def end(self) -> Watch:
        """What was counted since the beginning; empty where the sampler was given up."""
        answer = self._ask(["end"]) if self._watch else None
        watch, self._watch = self._watch or Watch(), None
        watch.looks = [_look(one) for one in answer["looks"]] if answer else []
        return watch

    def _ask(self, order: list[Any]) -> dict[str, Any] | None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return None
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            answer, until = b"", time.monotonic() + _ANSWERS_S
            while not answer.endswith(b"\n"):
                ready = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]
                part = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
                if not part:
                    raise OSError("the sampler does not answer")
                answer += part
            said: dict[str, Any] = json.loads(answer)
            return said
        except (OSError, ValueError):
            self._give_up()
            return None

    def _give_up(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _look(said: Any) -> Look:
    at, counts = said
    return int(at), [{str(name): int(value) for name, value in one.items()} for one in counts]

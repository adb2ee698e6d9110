"""Counters beside each CryoSPARC job of a node: one sampler looks, and each job gets the looks of its own time.

What asks the sampler, which may take its time where a client does not answer, is a thread of its own: neither who
reads the ring nor who writes the traces ever waits for it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from iotrace.mounts.counters.sampling import Sampler, Watch
from iotrace.mounts.counters.source import Counts, Look
from iotrace.mounts.mountinfo import Mount

_TAKE_S: Final = 5.0
_LOOKS_MAX: Final = 3600
_BEFORE_NS: Final = 3_000_000_000
"""A job is seen up to seconds after its start; a look just before it is its first."""
_RECENT: Final = 60
_LAST_S: Final = 35.0
"""The last look of a recording is waited for, a little longer than the sampler's answers are."""


@dataclass(slots=True)
class _Counting:
    """The looks of a job's time; those of days thin out.

    Attributes
    ----------
    start_ns: CLOCK_MONOTONIC.
    first: by number of the source its counters when the job began: by the last look before, else the first after.
    last: its counters by the newest look. ended: time and `last` when no process of the job was left.
    """

    start_ns: int
    looks: list[Look] = field(default_factory=list)
    first: dict[int, Counts] = field(default_factory=dict)
    last: dict[int, Counts] = field(default_factory=dict)
    ended: tuple[int, dict[int, Counts]] | None = None
    every: int = 1
    seen: int = 0

    def add(self, look: Look) -> None:
        at, counts = look
        for source, one in enumerate(counts):
            if one:
                self.last[source] = one
                if at <= self.start_ns or source not in self.first:
                    self.first[source] = one
        self.seen += 1
        if at > self.start_ns and self.seen % self.every == 0:
            self.looks.append(look)
        if len(self.looks) > _LOOKS_MAX:
            self.looks, self.every = self.looks[::2], self.every * 2

    def watch(self, sources: Sequence[tuple[str, str, bool]], ended: bool) -> Watch:
        """As of a recording that lasted as long as the job."""
        until, last = self.ended if ended and self.ended else (time.monotonic_ns(), self.last)
        numbers = range(len(sources))
        begin, end = ([found.get(source, {}) for source in numbers] for found in (self.first, last))
        looks = [look for look in self.looks if look[0] <= until]
        return Watch(list(sources), [(self.start_ns, begin), (until, end)], looks)


class JobCounters:
    """Who counts beside the jobs; made when a recording begins, closed at its end.

    Parameters
    ----------
    sampler: started; from now on this thread's alone.
    mounts: what it looks at.
    """

    def __init__(self, sampler: Sampler, mounts: Sequence[Mount]) -> None:
        self._sampler, self._mounts = sampler, list(mounts)
        self._sources: list[tuple[str, str, bool]] = []
        self._jobs: dict[Hashable, _Counting] = {}
        self._recent: deque[Look] = deque(maxlen=_RECENT)
        self._lock = threading.Lock()
        self._asked: queue.SimpleQueue[tuple[Literal["begin", "pause", "close"], Hashable]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="iotrace-counters", daemon=True)
        self._thread.start()

    def begin(self, job: Hashable, start_ns: int) -> None:
        """A job was seen, which began at `start_ns` (CLOCK_MONOTONIC)."""
        counting = _Counting(start_ns)
        with self._lock:
            for look in self._recent:
                if look[0] >= start_ns - _BEFORE_NS:
                    counting.add(look)
            self._jobs[job] = counting
        self._asked.put(("begin", job))

    def pause(self, job: Hashable) -> None:
        """No process of the job is left; another may begin soon."""
        self._asked.put(("pause", job))

    def finish(self, job: Hashable, ended: bool) -> Watch:
        """What was counted of a job's time, as far as it is known by now; without marks where nothing is.

        Parameters
        ----------
        ended: nothing has gone on since the last pause.
        """
        with self._lock:
            counting = self._jobs.pop(job, None)
            return counting.watch(self._sources, ended) if counting and counting.last else Watch()

    def close(self) -> None:
        """Look for the last time, at the end of the recording."""
        self._asked.put(("close", None))
        self._thread.join(_LAST_S)

    def _work(self) -> None:
        self._sampler.begin(self._mounts)
        with self._lock:
            self._sources = self._sampler.sources
        closed = False
        while self._sampler.sources and not closed:
            try:
                asked = [self._asked.get(timeout=_TAKE_S)]
            except queue.Empty:
                self._hand_on(self._sampler.take())
                continue
            # one look serves all jobs that begin or end at this moment
            while not self._asked.empty():
                asked.append(self._asked.get())
            self._sampler.mark()
            self._hand_on(self._sampler.take())
            self._note_ends([job for what, job in asked if what == "pause"])
            closed = any(what == "close" for what, _ in asked)

    def _hand_on(self, looks: Sequence[Look]) -> None:
        with self._lock:
            self._recent.extend(looks)
            for look in looks:
                for counting in self._jobs.values():
                    counting.add(look)

    def _note_ends(self, jobs: Sequence[Hashable]) -> None:
        with self._lock:
            for job in jobs:
                if job in self._jobs:
                    self._jobs[job].ended = time.monotonic_ns(), dict(self._jobs[job].last)

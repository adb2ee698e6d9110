"""Which parts make up which chapter of a trace, and which go first when it may grow no more.

Takes the ended parts of all tables, gives what trace.json says of them (chapters, dropped) and the files to remove. A
chapter refers to nothing outside itself, so the oldest can go as a whole; of the only one left, the oldest parts of
events can, for nothing refers to events. The order is always: trace.json no longer names a part, then its file goes,
events before the tables that they refer to. A crash in between leaves files that a reader of trace.json skips and that
a reader of `part-*` finds consistent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from iotrace.trace.info import Chapter, Dropped
from iotrace.trace.parts import part_name
from iotrace.trace.schema import SCHEMAS

_ORDER: Final = ("events", "histograms", "processes", "files", "paths")
"""What refers goes before what it refers to."""


@dataclass(slots=True)
class _Part:
    table: str
    number: int
    rows: int
    bytes: int
    newest_ns: int


@dataclass(slots=True)
class _Chapter:
    first: dict[str, int]
    begin_ns: int
    parts: list[_Part] = field(default_factory=list)
    bytes: int = 0


class Chapters:
    """The chapters of a trace that is being written, oldest first; the last one is being filled.

    Parameters
    ----------
    dropped: what had been dropped before.
    """

    def __init__(self, dropped: Dropped) -> None:
        self._chapters = [_Chapter(dict.fromkeys(SCHEMAS, 0), 0)]
        self.dropped = dropped
        self.bytes = 0
        """Of all parts that are there."""

    @property
    def current_bytes(self) -> int:
        """Bytes of the current chapter's ended parts."""
        return self._chapters[-1].bytes

    def add(self, table: str, number: int, rows: int, size: int, newest_ns: int) -> None:
        """Note a part that has ended; newest_ns is the newest time of any event so far."""
        chapter = self._chapters[-1]
        chapter.parts.append(_Part(table, number, rows, size, newest_ns))
        chapter.bytes += size
        self.bytes += size

    def begin(self, first: dict[str, int], begin_ns: int) -> None:
        """Begin a chapter whose parts will have these numbers, by table."""
        self._chapters.append(_Chapter(first, begin_ns))

    def drop(self, excess: int) -> list[_Part]:
        """Take out the oldest chapters, or parts of events of the only one, until `excess` bytes less are there.

        Returns the parts whose files may be removed, in the order in which they should be.
        """
        gone: list[_Part] = []
        while excess > 0 and len(self._chapters) > 1:
            chapter = self._chapters.pop(0)
            excess -= self._account(chapter.parts)
            gone += sorted(chapter.parts, key=lambda part: _ORDER.index(part.table))
        chapter = self._chapters[0]
        while excess > 0:
            part = next((part for part in chapter.parts if part.table == "events"), None)
            if part is None:
                break
            chapter.parts.remove(part)
            chapter.first = {**chapter.first, "events": part.number + 1}
            chapter.begin_ns = part.newest_ns
            chapter.bytes -= part.bytes
            excess -= self._account([part])
            gone.append(part)
        return gone

    def _account(self, parts: list[_Part]) -> int:
        freed = sum(part.bytes for part in parts)
        events = [part for part in parts if part.table == "events"]
        self.bytes -= freed
        self.dropped = Dropped(
            self.dropped.events + sum(part.rows for part in events),
            self.dropped.bytes + freed,
            max([self.dropped.until_ns, *(part.newest_ns for part in events)]),
        )
        return freed

    def described(self, open_rows: int) -> list[Chapter]:
        """The chapters for trace.json; `open_rows` events of the last one are in no ended part yet."""
        made = [
            Chapter(c.first, c.begin_ns, sum(part.rows for part in c.parts if part.table == "events"))
            for c in self._chapters
        ]
        made[-1].events += open_rows
        return made


def remove(folder: Path, parts: list[_Part]) -> None:
    """Remove the files of parts, in their order."""
    for part in parts:
        (folder / part.table / part_name(part.number)).unlink(missing_ok=True)

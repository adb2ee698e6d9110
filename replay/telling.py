"""What a replay tells while it is under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


def _nothing(*_: object) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Tell:
    """Who is told.

    Attributes
    ----------
    progress: gets (what, done, total) while a tree is made (bytes) and while it runs (total 0).
    notice: gets sentences about a mount that does not answer, and about calls that wait.
    advised: what was said of the mounts before a run; replays of one ramp share it, and say it once.
    """

    progress: Callable[[str, int, int], None] = _nothing
    notice: Callable[[str], None] = _nothing
    advised: set[str] = field(default_factory=set)

    def advise(self, text: str) -> None:
        """Tell what to know of a mount, once."""
        if text not in self.advised:
            self.advised.add(text)
            self.notice(text)

"""What a replay tells while it is under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _nothing(*_: object) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Tell:
    """Who is told.

    Attributes
    ----------
    progress: gets (what, done, total) while a tree is made (bytes) and while it runs (total 0).
    notice: gets sentences about a mount that does not answer, and about calls that wait.
    """

    progress: Callable[[str, int, int], None] = _nothing
    notice: Callable[[str], None] = _nothing

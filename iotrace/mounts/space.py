"""How full a mount is, asked so that a dead server does not hang the one who asks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

ANSWERS_S: Final = 2.0
"""Seconds within which a mount has to answer."""


@dataclass(frozen=True, slots=True)
class Space:
    """Free bytes (for this user), all bytes, and whether this user may write at the point; `error`: why none of that
    is known, "" where it is."""

    free: int
    total: int
    writable: bool
    error: str = ""


def space_of(point: str, seconds: float = ANSWERS_S) -> Space | None:
    """Space of the mount at a point, with an error where it refuses; None where it does not answer within `seconds`."""

    def ask() -> Space:
        try:
            said = os.statvfs(point)
            return Space(said.f_bavail * said.f_frsize, said.f_blocks * said.f_frsize, os.access(point, os.W_OK))
        except OSError as error:
            return Space(0, 0, False, error.strerror or str(error))

    return within(ask, seconds)


def within(ask: Callable[[], T], seconds: float = ANSWERS_S) -> T | None:
    """What `ask` returns; None where it takes longer. A call to a dead mount hangs in the kernel: a thread may hang in
    our place."""
    answer: list[T] = []
    thread = threading.Thread(target=lambda: answer.append(ask()), daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0] if answer else None

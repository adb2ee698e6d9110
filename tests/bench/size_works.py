"""Works that bench_size_replays.py replays: as long as they shall be, on files that are few enough for any mount."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from builders import TraceBuilder

BOX: Final = 256 << 10
CHUNK: Final = 1 << 20
_STACKS: Final = 24
_STACK_BOXES: Final = 32
_MOVIES: Final = 16
_MOVIE_CHUNKS: Final = 8
_MADE_CHUNKS: Final = 3
_STRIDE: Final = 13
"""Has no factor in common with _STACK_BOXES, so that all boxes have their turn, and none follows the one before it."""


def boxes(rounds: int, folder: Path) -> Path:
    """As 2D classification: stacks are opened in turn, boxes read at scattered places, a line goes to a log."""
    trace = TraceBuilder()
    for number in range(rounds):
        name = f"stack{number % _STACKS}.mrc"
        one = trace.open(name, size=_STACK_BOXES * BOX)
        for box in range(6):
            trace.read(one, name, (number * 6 + box) * _STRIDE % _STACK_BOXES * BOX, BOX, op="pread64")
        trace.close(one, name)
        if number % 4 == 3:
            log = trace.open("job.log", os.O_WRONLY | os.O_CREAT, existed=False, mode=0o644)
            trace.write(log, "job.log", 0, 4096)
            trace.close(log, "job.log")
    return trace.save(folder / "boxes.iotrace")


def movies(rounds: int, folder: Path) -> Path:
    """As motion correction: two threads read movies in sequence, and write a new file for each, which takes its name
    when it is whole."""
    trace = TraceBuilder()
    threads = (0, trace.thread())
    for number in range(rounds):
        thread = threads[number % 2]
        name, part = f"movie{number % _MOVIES}.tif", f"part{number}.mrc"
        one = trace.open(name, size=_MOVIE_CHUNKS * CHUNK, thread=thread)
        for chunk in range(_MOVIE_CHUNKS):
            trace.read(one, name, chunk * CHUNK, CHUNK, thread=thread)
        trace.close(one, name, thread=thread)
        other = trace.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, existed=False, mode=0o644, thread=thread)
        for chunk in range(_MADE_CHUNKS):
            trace.write(other, part, chunk * CHUNK, CHUNK, thread=thread)
        trace.close(other, part, thread=thread)
        # what was made is not kept, so that a longer work needs no more room
        trace.named("unlink", part, thread=thread)
    return trace.save(folder / "movies.iotrace")


WORKS: Final[dict[str, Callable[[int, Path], Path]]] = {"boxes": boxes, "movies": movies}

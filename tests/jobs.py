"""A small job for replays of several users, ranks or nodes."""

from __future__ import annotations

import os
from pathlib import Path

from builders import TraceBuilder

SIZE = 300_000
"""Bytes of each of its movies."""


def job(folder: Path, name: str = "T", at: int | None = None) -> Path:
    """A job that reads two movies, one of which it then renames, and writes a stack."""
    trace = TraceBuilder()
    for movie in ("one.tif", "two.tif"):
        file = trace.open(movie, size=SIZE)
        trace.read(file, movie, 0, SIZE)
        trace.close(file, movie)
    trace.named("rename", "two.tif", "done.tif")
    stack = trace.open("stack.mrc", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    trace.write(stack, "stack.mrc", 0, 5000)
    trace.read(stack, "stack.mrc", 0, 5000, op="pread64")
    if at is not None:
        trace.named("stat", "one.tif", at=at)
    return trace.save(folder / f"{name}.iotrace")

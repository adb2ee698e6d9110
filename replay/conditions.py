"""Fair conditions: under which a run took place, and what a user should know of a mount before it begins."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from iotrace.mounts.family import family_of, important_notes_of
from iotrace.mounts.mountinfo import Mount
from iotrace.mounts.space import Space
from iotrace.replay.figures import RankTotals
from iotrace.replay.ground import Ground
from iotrace.replay.result import Conditions, ResultInfo, Run
from iotrace.units import binary_text, bytes_text

FULL: Final = 0.9
"""A file system that is fuller than that is told before a run."""
_WORTH_BYTES: Final = 1 << 30
"""To stage less takes seconds: the cache guard's verdict after the run is soon enough."""


def conditions_of(
    space: Space | None,
    grounds: Sequence[Ground],
    ranks: Sequence[RankTotals],
    memory: int | None,
    layouts: Sequence[str] = (),
) -> Conditions:
    """Conditions of a run.

    Parameters
    ----------
    space: of the mount before anything was staged.
    grounds: the folders of the users' trees; ranks: of a fleet. memory: of --memory.
    layouts: of the first user's files.
    """
    total, free = (space.total, space.free) if space is not None and space.total else (None, None)
    # of each reader: who it is, and who made what it read
    readers = {(rank.node, one) for rank in ranks for one in rank.staged_by}
    readers = readers or {(platform.node(), ground.staged_by) for ground in grounds}
    return Conditions(
        total, free, sorted({staged for _, staged in readers}), sorted({reader for reader, _ in readers}), memory,
        list(layouts), any(reader == staged for reader, staged in readers),
    )  # fmt: skip


def advice_before(
    folder: Path, mount: Mount | None, space: Space | None, needed_bytes: int, memory_bytes: int, cold: bool
) -> list[str]:
    """What to know of a mount before a run on it begins: a sentence for each important point.

    Parameters
    ----------
    needed_bytes: of the files that the run reads or changes and that are staged; memory_bytes: of this client;
    cold: the page cache is emptied before the run.
    """
    found = []
    if mount is not None:
        found += [f"{folder} is mounted with {note.option}: {note.meaning}." for note in important_notes_of(mount)]
        if family_of(mount).kind in ("memory", "layered"):
            found += [f"{folder} is {mount.type}: {family_of(mount).advice[0]}"]
    if space is not None and space.total and 1 - space.free / space.total > FULL:
        found.append(
            f"{folder} is {1 - space.free / space.total:.0%} full ({bytes_text(space.free)} free): full storages are "
            "slower than they were, so compare at one fill level."
        )
    if not cold and _WORTH_BYTES <= needed_bytes < memory_bytes:
        found.append(
            f"The files ({bytes_text(needed_bytes)}) fit into this client's memory ({binary_text(memory_bytes)}): what "
            "is read twice comes from there; --cold empties it before each run."
        )
    return found


def advice_on_plan(folder: Path, place: str | None) -> list[str]:
    """A sentence where the files of a plan (Plan.folder) lie on the file system under test."""
    if place is None or os.stat(folder).st_dev != os.stat(place).st_dev:
        return []
    return [
        f"The plan lies in files in {place}, on the same file system as {folder}: what the kernel writes there is "
        "load on what is measured; TMPDIR names another folder."
    ]


def conditions_lines(info: ResultInfo) -> list[str]:
    """The conditions of a result for people: the client, and a line for each mount."""
    lines: dict[str, None] = {}
    for run in info.runs:
        told = run.conditions
        if told is None:
            continue
        full = "fill level not known" if told.full is None else f"{told.full:.0%} full before staging"
        who = f"staged and read by {', '.join(told.read_by)}"
        if told.staged_by != told.read_by:
            who = f"staged by {', '.join(told.staged_by)}, read by {', '.join(told.read_by)}"
        elif not told.staged_by_reader:
            who += ", each of which read what another had staged"
        bound = "" if told.memory_bytes is None else f", of which the workers had {binary_text(told.memory_bytes)}"
        bound += f"; files: {', '.join(told.layouts)}" if told.layouts else ""
        lines[f"{run.fs}: {full}, {who}, client memory {_memory_text(run, info)}{bound}"] = None
    return list(lines)


def _memory_text(run: Run, info: ResultInfo) -> str:
    """Memory of the client, of a fleet of the smallest and the largest."""
    sizes = [rank.memory_bytes for rank in run.ranks if rank.memory_bytes] or [info.memory_bytes]
    least, most = binary_text(min(sizes)), binary_text(max(sizes))
    return least if least == most else f"{least} to {most}"

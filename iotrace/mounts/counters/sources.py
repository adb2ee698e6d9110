"""All sources of counters that say something of a mount."""

from __future__ import annotations

from iotrace.mounts.counters.netdev import network_source
from iotrace.mounts.counters.pagecache import page_cache_source
from iotrace.mounts.counters.processes import processes_source
from iotrace.mounts.counters.source import Source
from iotrace.mounts.family import family_of
from iotrace.mounts.mountinfo import Mount

NOW: tuple[str, ...] = ("_now", "_per_s", "_minute_mean")
"""Endings of counters that are what they are at the moment: their difference between two looks means nothing."""


def sources_of(mount: Mount, pid: int | None = None) -> list[Source]:
    """Sources for a mount, those that decide what a result is of first.

    Parameters
    ----------
    pid: process whose children work on the mount; None: nobody's.
    """
    family = family_of(mount)
    own = [processes_source(pid)] if pid is not None and family.own_io else []
    return [*own, *family.counters(mount), page_cache_source(), network_source()]


def is_now(counter: str) -> bool:
    """Whether a counter is a figure of the moment."""
    return counter.endswith(NOW)

"""All sources of counters that say something of mounts."""

from __future__ import annotations

from collections.abc import Sequence

from iotrace.mounts.counters.infiniband import infiniband_sources
from iotrace.mounts.counters.netdev import network_source
from iotrace.mounts.counters.pagecache import page_cache_source
from iotrace.mounts.counters.processes import processes_source
from iotrace.mounts.counters.processors import processors_source
from iotrace.mounts.counters.source import Source
from iotrace.mounts.family import family_of
from iotrace.mounts.mountinfo import Mount


def sources_of(mounts: Sequence[Mount], pid: int | None = None) -> list[Source]:
    """Sources for mounts, each once, those that decide what a result is of first.

    Parameters
    ----------
    pid: process whose children work on the mounts; None: nobody's.
    """
    families = [(mount, family_of(mount)) for mount in mounts]
    own = [processes_source(pid)] if pid is not None and any(family.own_io for _, family in families) else []
    found = [source for mount, family in families for source in family.counters(mount)]
    return [
        *own,
        *{one.name: one for one in found}.values(),
        page_cache_source(),
        network_source(),
        *infiniband_sources(),
        processors_source(),
    ]

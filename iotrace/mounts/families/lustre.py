"""Lustre, FSx for Lustre included."""

from typing import Final

from iotrace.mounts.cold import LRU_CLEAR
from iotrace.mounts.counters.lustre import lustre_sources
from iotrace.mounts.family import CACHED, Family

FAMILY: Final = Family(
    name="Lustre",
    kind="network",
    types=("lustre",),
    options={
        "flock": "file locks hold across clients; each costs a request to a server",
        "localflock": "file locks hold on this client only: jobs on several nodes do not see each other's",
        "noflock": "flock and fcntl locks fail",
        "checksum": "requests carry checksums, which cost CPU time of this client",
        "nochecksum": "requests carry no checksums: faster, and not what a mount with them does",
        "lazystatfs": "statfs answers also while a server is away",
    },
    important=("localflock",),
    advice=(
        "Stripe count and size decide the bandwidth of a file, and are its folder's: `lfs getstripe -d DIR`.",
        CACHED,
    ),
    counters=lustre_sources,
    cold=LRU_CLEAR,
    page_cache_only=True,
)

"""Btrfs."""

from typing import Final

from iotrace.mounts.counters.blockdev import block_sources
from iotrace.mounts.family import CACHED, Family

FAMILY: Final = Family(
    name="Btrfs",
    kind="local",
    types=("btrfs",),
    options={
        "compress": "data are compressed: contents that compress look like a fast device",
        "compress-force": "data are compressed: contents that compress look like a fast device",
        "nodatacow": "data are overwritten in place, without checksums",
        "nodatasum": "data have no checksums",
        "autodefrag": "small random writes are written again in the background",
        "commit": "seconds between two commits",
        "nobarrier": "fsync does not wait for the device's cache: unsafe, and faster than other mounts",
    },
    important=("compress", "compress-force", "nobarrier"),
    advice=(CACHED,),
    counters=block_sources,
    own_io=True,
    page_cache_only=True,
    compresses=True,
)

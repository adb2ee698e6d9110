"""F2FS."""

from typing import Final

from iotrace.mounts.counters.blockdev import block_sources
from iotrace.mounts.family import CACHED, Family

FAMILY: Final = Family(
    name="F2FS",
    kind="local",
    types=("f2fs",),
    options={
        "nobarrier": "fsync does not wait for the device's cache: unsafe, and faster than other mounts",
        "fsync_mode=nobarrier": "fsync does not wait for the device's cache: unsafe, and faster than other mounts",
        "fsync_mode=strict": "fsync waits for folders too",
        "mode=lfs": "every write goes to a new place, and none is overwritten",
        "compress_algorithm": "files that are marked for it are compressed",
        "background_gc": "whether segments are cleaned while nobody waits, which is load that no program asked for",
        "discard": "blocks that get free are told to the device",
    },
    important=("nobarrier", "fsync_mode=nobarrier"),
    advice=(CACHED,),
    counters=block_sources,
    own_io=True,
    page_cache_only=True,
    compresses=True,
)

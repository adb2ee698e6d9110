"""ext4, and ext3 and ext2, which its code mounts too."""

from typing import Final

from iotrace.mounts.counters.blockdev import block_sources
from iotrace.mounts.family import CACHED, Family

FAMILY: Final = Family(
    name="ext4",
    kind="local",
    types=("ext4", "ext3", "ext2"),
    options={
        "data=journal": "data are written twice, to the journal first",
        "data=writeback": "data are not ordered before the journal's records",
        "nobarrier": "fsync does not wait for the device's cache: unsafe, and faster than other mounts",
        "barrier=0": "fsync does not wait for the device's cache: unsafe, and faster than other mounts",
        "nodelalloc": "blocks are chosen at the write, not at writeback",
        "commit": "seconds between two commits of the journal",
        "dax=never": "",
        "dax=inode": "files that are marked for it bypass the page cache",
        "dax": "no page cache: reads and writes go to persistent memory",
        "discard": "blocks that get free are told to the device at once",
    },
    important=("nobarrier", "barrier=0", "dax"),
    advice=(CACHED,),
    counters=block_sources,
    own_io=True,
    page_cache_only=True,
)

"""XFS."""

from typing import Final

from iotrace.mounts.counters.blockdev import block_sources
from iotrace.mounts.family import CACHED, Family

FAMILY: Final = Family(
    name="XFS",
    kind="local",
    types=("xfs",),
    options={
        "allocsize": "how much is set aside behind a file that grows",
        "dax": "no page cache: reads and writes go to persistent memory",
        "dax=never": "",
        "dax=inode": "files that are marked for it bypass the page cache",
        "dax=always": "no page cache: reads and writes go to persistent memory",
        "wsync": "changes of folders wait until they are stored",
        "discard": "blocks that get free are told to the device at once",
    },
    important=("dax",),
    advice=(CACHED,),
    counters=block_sources,
    own_io=True,
    page_cache_only=True,
)

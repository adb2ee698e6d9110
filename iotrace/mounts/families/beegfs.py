"""BeeGFS."""

from typing import Final

from iotrace.mounts.family import Family

FAMILY: Final = Family(
    name="BeeGFS",
    kind="network",
    types=("beegfs",),
    options={
        "cfgFile": "the client's settings, tuneFileCacheType among them",
    },
    advice=(
        "Whether reads come from the page cache is tuneFileCacheType (buffered or native) in the client's settings.",
        "Stripes are the folder's: `beegfs-ctl --getentryinfo DIR`.",
    ),
)

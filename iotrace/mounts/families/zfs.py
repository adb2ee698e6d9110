"""ZFS."""

from typing import Final

from iotrace.mounts.cold import ARC
from iotrace.mounts.family import Family

FAMILY: Final = Family(
    name="ZFS",
    kind="local",
    types=("zfs",),
    advice=(
        "ZFS caches in its ARC, not in the page cache, so that drop_caches does not empty it as it does others: "
        "more data than zfs_arc_max, or `zpool export` and `import` before a run.",
        "What changes a measurement are properties of the dataset, no mount options: "
        "`zfs get compression,recordsize,sync,primarycache DATASET`; with sync=disabled fsync does nothing.",
    ),
    cold=ARC,
    compresses=True,
)

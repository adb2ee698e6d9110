"""GlusterFS, by its FUSE client."""

from typing import Final

from iotrace.mounts.cold import REMOUNT
from iotrace.mounts.family import Family

FAMILY: Final = Family(
    name="GlusterFS",
    kind="network",
    types=("fuse.glusterfs",),
    options={
        "max_read": "largest read in one request of FUSE",
    },
    advice=(
        "Caches of the volume (io-cache, quick-read, write-behind) lie in the client's process "
        "and are no mount options: `gluster volume get VOLUME all`.",
    ),
    cold=REMOUNT,
)

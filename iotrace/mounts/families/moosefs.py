"""MooseFS."""

from typing import Final

from iotrace.mounts.cold import REMOUNT
from iotrace.mounts.counters.moosefs import moosefs_sources
from iotrace.mounts.family import Family

FAMILY: Final = Family(
    name="MooseFS",
    kind="network",
    types=("fuse.mfs", "fuse.mfsmount"),
    sources=("mfs#",),
    options={
        "max_read": "largest read in one request of FUSE",
    },
    advice=(
        "mfsmount caches attributes, names and writes in its own process; its options are not shown among the mount's.",
    ),
    counters=moosefs_sources,
    cold=REMOUNT,
)

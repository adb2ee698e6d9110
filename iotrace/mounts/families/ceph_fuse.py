"""CephFS, by ceph-fuse."""

from typing import Final

from iotrace.mounts.cold import REMOUNT
from iotrace.mounts.counters.ceph import ceph_sources
from iotrace.mounts.family import Family

FAMILY: Final = Family(
    name="ceph-fuse",
    kind="network",
    types=("fuse.ceph-fuse",),
    advice=(
        "ceph-fuse caches objects in its own process (client_oc, client_oc_size) beside the page cache: "
        "dropping the page cache leaves those; mount anew (--remount), or run with client_oc = false.",
    ),
    counters=ceph_sources,
    cold=REMOUNT,
)

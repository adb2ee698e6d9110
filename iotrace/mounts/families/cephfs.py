"""CephFS, by the kernel's client."""

from typing import Final

from iotrace.mounts.family import CACHED, Family

FAMILY: Final = Family(
    name="CephFS",
    kind="network",
    types=("ceph",),
    options={
        "rsize": "largest read in one request to the server",
        "wsize": "largest write in one request to the server",
        "rasize": "how far ahead of a reader the client reads",
        "wsync": "creating and removing files waits for the MDS",
        "nowsync": "creating and removing files may return before the MDS answered",
        "fsc": "reads may come from a cache on a local disk (fscache), which dropping the page cache does not empty",
    },
    important=("fsc",),
    advice=(CACHED,),
    page_cache_only=True,
)

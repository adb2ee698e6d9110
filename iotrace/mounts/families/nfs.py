"""NFS, versions 2 to 4."""

from typing import Final

from iotrace.mounts.counters.mountstats import nfs_sources
from iotrace.mounts.family import CACHED, Family

FAMILY: Final = Family(
    name="NFS",
    kind="network",
    types=("nfs", "nfs4"),
    options={
        "rsize": "largest read in one request to the server",
        "wsize": "largest write in one request to the server",
        "noac": "attributes are not cached and writes wait for the server: many more requests",
        "nconnect": "TCP connections to the server; one connection bounds the bandwidth",
        "actimeo": "how long attributes are trusted, in seconds",
        "nocto": "no question to the server at open: fewer requests, other clients' changes come late",
        "lookupcache": "which names the client trusts without asking",
        "soft": "a server that does not answer gives an error (EIO) in place of a wait",
        "softerr": "a server that does not answer gives an error (ETIMEDOUT) in place of a wait",
        "fsc": "reads may come from a cache on a local disk (fscache), which dropping the page cache does not empty",
        "local_lock": "which locks hold on this client only",
        "vers": "version of the protocol",
        "proto": "transport to the server",
    },
    important=("noac", "soft", "softerr", "fsc"),
    advice=(CACHED,),
    counters=nfs_sources,
    page_cache_only=True,
)

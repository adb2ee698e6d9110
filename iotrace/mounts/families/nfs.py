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
        **dict.fromkeys(("acregmin", "acregmax"), "how long attributes of files are trusted, in seconds"),
        **dict.fromkeys(("acdirmin", "acdirmax"), "how long attributes of folders are trusted, in seconds"),
        "sec=krb5i": "each request and answer is signed, which costs CPU time of both sides",
        "sec=krb5p": "each request and answer is encrypted, which costs CPU time of both sides",
        "nocto": "no question to the server at open: fewer requests, other clients' changes come late",
        "lookupcache": "which names the client trusts without asking",
        "soft": "a server that does not answer gives an error (EIO) in place of a wait",
        "softerr": "a server that does not answer gives an error (ETIMEDOUT) in place of a wait",
        "fsc": "reads may come from a cache on a local disk (fscache), which dropping the page cache does not empty",
        "local_lock": "which locks hold on this client only",
        "vers": "version of the protocol",
        "proto": "transport to the server",
    },
    important=("noac", "sec=krb5i", "sec=krb5p", "soft", "softerr", "fsc"),
    advice=(CACHED,),
    one_of=("nconnect",),
    unnamed="One connection carries all (no nconnect): over TCP that bounds the bandwidth, often below the server's.",
    counters=nfs_sources,
    page_cache_only=True,
)

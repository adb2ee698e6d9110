"""WEKA, by its kernel client."""

from typing import Final

from iotrace.mounts.counters.weka import weka_sources
from iotrace.mounts.family import CACHED, Family

FAMILY: Final = Family(
    name="WEKA",
    kind="network",
    types=("wekafs",),
    options={
        "writecache": "writes return from this client's memory (write-back), so their time is not the cluster's",
        "readcache": "writes go through to the cluster; reads may come from this client's page cache",
        "forcedirect": "no page cache: every read and write goes to the cluster",
        "coherent": "older name of a mode in which clients see each other's writes",
        "readahead_kb": "how far ahead of a reader the client reads",
        "dentry_max_age_positive": "how long the client trusts a name that it knows",
        "dentry_max_age_negative": "how long the client trusts that a name does not exist",
    },
    important=("writecache", "forcedirect"),
    advice=(CACHED,),
    one_of=("writecache", "readcache", "forcedirect", "coherent"),
    unnamed="The options name no cache mode, and its default differs between versions of WEKA: ask `weka version`.",
    counters=weka_sources,
    page_cache_only=True,
)

"""A bucket of S3 as files, by s3fs."""

from typing import Final

from iotrace.mounts.cold import REMOUNT
from iotrace.mounts.family import Family

FAMILY: Final = Family(
    name="s3fs",
    kind="network",
    types=("fuse.s3fs",),
    sources=("s3fs",),
    advice=(
        "A rename copies the object, and a write in a file's middle may send all of it anew.",
        "A local cache (use_cache) is not shown among the mount's options: look at the command line of s3fs.",
    ),
    cold=REMOUNT,
)

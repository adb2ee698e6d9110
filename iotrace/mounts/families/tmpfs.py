"""tmpfs: memory."""

from typing import Final

from iotrace.mounts.cold import MEMORY
from iotrace.mounts.family import Family

FAMILY: Final = Family(
    name="tmpfs",
    kind="memory",
    types=("tmpfs",),
    options={
        "size": "how much it may hold",
        "huge": "huge pages are used",
        "noswap": "it is never swapped out",
    },
    advice=("This is memory: it shows what the client can do at most, not a storage.",),
    cold=MEMORY,
)

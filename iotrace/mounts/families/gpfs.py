"""IBM Storage Scale (GPFS)."""

from typing import Final

from iotrace.mounts.cold import PAGE_POOL
from iotrace.mounts.family import Family

FAMILY: Final = Family(
    name="GPFS",
    kind="network",
    types=("gpfs",),
    advice=(
        "GPFS caches in its own page pool, not in the page cache, "
        "so that drop_caches does not empty it: `mmlsconfig pagepool`.",
    ),
    cold=PAGE_POOL,
)

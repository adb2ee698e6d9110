"""How the caches of a client are emptied: a way for each family of file systems.

Every way begins with the files: they are written out (fsync) and their pages dropped (posix_fadvise, DONTNEED), which
touches nobody else's. What a way does beyond that is here, and what it cannot do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from iotrace.mounts.counters.lustre import lctl, name_of
from iotrace.mounts.mountinfo import Mount


@dataclass(frozen=True, slots=True)
class Cold:
    """A way.

    Attributes
    ----------
    name: for people. step: done after the pages of the files were dropped; gives a sentence about what it could not do,
    "" where it did all. keeps: what this client keeps in spite of all, a sentence; "" for nothing.
    """

    name: str
    step: Callable[[Mount], str] | None = None
    keeps: str = ""


def clear_locks(mount: Mount) -> str:
    """Have a Lustre client give its locks back: with them go the data and attributes that they cover.

    The Lustre manual, "Clearing the LRU": `lctl set_param ldlm.namespaces.*.lru_size=clear`, here of one file system.
    """
    name = name_of(mount)
    if not re.fullmatch(r"[\w-]+", name):
        return f"{mount.source} names no Lustre file system: its locks were not given back."
    if os.geteuid() != 0:
        return "Only root may have Lustre give its locks back (lru_size=clear): the pages of the files were dropped."
    try:
        done = lctl("set_param", [f"ldlm.namespaces.{name}-*.lru_size=clear"])
    except OSError as error:
        return f"Lustre's locks were not given back: {error.strerror or error}."
    return "" if "lru_size=clear" in done else "lctl did not say that it gave Lustre's locks back (lru_size=clear)."


FADVISE: Final = Cold("fadvise")
LRU_CLEAR: Final = Cold("fadvise, lru_size=clear", clear_locks)
REMOUNT: Final = Cold(
    "fadvise, mount anew",
    keeps="The client's process keeps data of its own, which only mounting anew empties: --remount, or by hand between "
    "--keep and --staged.",
)
PAGE_POOL: Final = Cold(
    "fadvise", keeps="GPFS keeps data in its page pool; whether fadvise empties that has not been checked on a mount."
)
ARC: Final = Cold(
    "fadvise",
    keeps="ZFS keeps data in its ARC, which fadvise does not empty: `zpool export` and `import` do, between "
    "--keep and --staged.",
)
MEMORY: Final = Cold("none", keeps="This is memory: it cannot be made cold.")

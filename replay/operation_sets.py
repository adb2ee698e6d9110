"""Sets of operations as look-up tables: by an operation's number, whether it is in the set.

Each has an entry more than there are operations, the last, for those that this version does not know (-1).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from iotrace.replay.columns import Flags
from iotrace.trace.operations import CLONES as COMMANDS_OF_CLONES
from iotrace.trace.operations import OPERATIONS, Change, Kind, Replay


def one_of(names: Collection[str]) -> Flags:
    """Operations by name."""
    return np.array([operation.name in names for operation in OPERATIONS] + [False])


def that(*changes: Change) -> Flags:
    """Operations that do one of these."""
    return np.array([operation.change in changes for operation in OPERATIONS] + [False])


def of_kind(*kinds: Kind) -> Flags:
    """Operations of these classes."""
    return np.array([operation.kind in kinds for operation in OPERATIONS] + [False])


def with_role(*roles: str) -> Flags:
    """Operations that have an argument of one of these roles."""
    return np.array([any(role in operation.arguments for role in roles) for operation in OPERATIONS] + [False])


HAS_PATH: Final = with_role("path")
HAS_FD: Final = with_role("fd", "range") & ~with_role("path")
HAS_DIRFD: Final = with_role("dirfd")
RENAMES: Final = that(Change.RENAMES)
LINKS: Final = one_of(("link", "linkat"))
SYMLINKS: Final = one_of(("symlink", "symlinkat"))
OPENS: Final = one_of(("open", "openat", "openat2", "creat"))
DUPS: Final = one_of(("dup", "dup2", "dup3", "fcntl.dupfd"))
DUP_ONTO: Final = one_of(("dup2", "dup3"))
CLOSES: Final = one_of(("close",))
CHDIRS: Final = one_of(("chdir", "fchdir"))
GETDENTS: Final = one_of(("getdents", "getdents64"))
MEMORY: Final = one_of(("munmap", "msync", "madvise", "mmap.fault"))
MMAP: Final = one_of(("mmap",))
FAULT: Final = one_of(("mmap.fault",))
TAKES_NAME: Final = with_role("name")
SETS_XATTRS: Final = TAKES_NAME & ~one_of(("getxattr", "lgetxattr", "fgetxattr"))
ORDERS: Final = np.array([operation.replay is Replay.ORDER for operation in OPERATIONS] + [False])
NEVER: Final = np.array([operation.replay is Replay.NEVER for operation in OPERATIONS] + [False])
UMASK: Final = one_of(("umask",))
COPIES: Final = of_kind(Kind.COPY)
CLONES: Final = one_of(COMMANDS_OF_CLONES.values())
"""Copies that move nothing, at no description's own position: their bytes are the size, their result is 0."""
KIND: Final = np.array([list(Kind).index(operation.kind) for operation in OPERATIONS] + [-1], dtype=np.int8)
"""Class of each, as a position in Kind."""

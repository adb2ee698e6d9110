"""Whether a call acts on what a symbolic link leads to, or on the link itself."""

from __future__ import annotations

from typing import Any, Final

from iotrace.replay.operation_sets import LINKS, OPENS, RENAMES, one_of

_NEVER: Final = one_of(
    ("lstat", "readlink", "readlinkat", "unlink", "unlinkat", "rmdir", "symlink", "symlinkat", "lchown", "lsetxattr",
     "lgetxattr", "llistxattr", "lremovexattr", "mkdir", "mkdirat")
) | RENAMES | LINKS  # fmt: skip
_BY_FLAG: Final = one_of(("newfstatat", "statx", "faccessat2", "fchmodat2", "fchownat", "utimensat"))
_O_NOFOLLOW, _AT_SYMLINK_NOFOLLOW = 0o400000, 0x100


def follows(op: Any, flags: Any) -> Any:
    """Whether calls follow a link that is the last component of their name; of `op` and `flags` (none negative)."""
    stays = _NEVER[op] | (OPENS[op] & ((flags & _O_NOFOLLOW) != 0))
    return ~(stays | (_BY_FLAG[op] & ((flags & _AT_SYMLINK_NOFOLLOW) != 0)))

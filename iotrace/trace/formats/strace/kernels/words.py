"""WORDS: the texts that kernels compare with, at fixed places, and behind them the table of strace's own words."""

from __future__ import annotations

from typing import Final

TEXTS: Final = (
    b"/(unknown)", b"<unfinished ...>", b" resumed>", b"/dev/shm", b"/dev/hugepages/", b"/memfd:", b"/anon_hugepage",
    b"/dmabuf:", b"/SYSV", b" (deleted)", b"/dev/", b" entries */", b"--- ", b" ---", b"<... ",
    b"[pid ", b"makedev(", b"st_", b"stx_", b"AT_FDCWD", b"FIO", b"0x545", b"cmsg_type", b"d_ino=", b"iov_len=",
    b"<char ", b"<block ", b"syscall_", b"FICLONE", b"0x40049409", b"0x4020940d",
)  # fmt: skip
TEXT_ROOM: Final = 32
(
    UNKNOWN, UNFINISHED, RESUMED, SHM, HUGE, MEMFD, ANON, DMABUF, SYSV, DELETED, DEV,
    ENTRIES, DASHES, DASHES_END, DOTS, PID, MAKEDEV, ST, STX, FDCWD,
    FIO, FIO_RAW, CMSG, D_INO, IOV, CHAR, BLOCK, NUMBERED, CLONE, CLONE_RAW, RANGE_RAW,
) = range(0, TEXT_ROOM * len(TEXTS), TEXT_ROOM)  # fmt: skip
CONSTANTS_AT: Final = TEXT_ROOM * len(TEXTS)
"""Where in WORDS the table of symbols begins: SYMBOL_SLOTS of (kind, value, length, text)."""
SYMBOL_SLOTS: Final = 4096
SYMBOL_WORDS: Final = 9
SYMBOL_TEXT: Final = 3
SYMBOL_ROOM: Final = 8 * (SYMBOL_WORDS - SYMBOL_TEXT)
SYMBOL_NONE, SYMBOL_CONSTANT, SYMBOL_ERROR, SYMBOL_CALL, SYMBOL_FIELD = range(5)
FIELDS: Final = ("mode", "size", "ino", "blocks", "nlink", "dev", "dev_major", "dev_minor", "rdev")
(S_MODE, S_SIZE, S_INO, S_BLOCKS, S_NLINK, S_DEV, S_MAJOR, S_MINOR, S_RDEV) = range(9)

"""Making files with known contents: several threads take pieces of work from one list, none waits for Python."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.machine import X86_64, add, peek, set_relaxed, system_call
from iotrace.replay.kernels.blocks import fill_range

# words of the control block, a cache line each: next piece, stop flag, bytes done, first error and where
NEXT, STOP, DONE, ERROR, ERROR_PIECE = 0, 8, 16, 24, 25
CONTROL_WORDS: Final = 32
BUFFER: Final = 1 << 20

_EINTR, _EIO = 4, 5
_AT_FDCWD: Final = -100
_MAKE: Final = 0o100 | 0o200 | 0o1 | 0o400000 | 0o2000000
"""O_CREAT, EXCL, WRONLY, NOFOLLOW, CLOEXEC."""
_OPEN: Final = 0o1 | 0o400000 | 0o2000000
# openat, close, pwrite64, ftruncate, fchmod
_OPENAT, _CLOSE, _PWRITE, _FTRUNCATE, _FCHMOD = (257, 3, 18, 77, 91) if X86_64 else (56, 57, 68, 46, 52)
_O_NOFOLLOW_ARM: Final = 0o100000


def _flags(make: bool) -> int:
    flags = _MAKE if make else _OPEN
    return flags if X86_64 else flags & ~0o400000 | _O_NOFOLLOW_ARM


_MAKE_FLAGS, _OPEN_FLAGS = _flags(True), _flags(False)


@compiled
def _again(number: int, a: int, b: int, c: int, d: int) -> Any:
    result = system_call(number, a, b, c, d, 0, 0)
    while result == -_EINTR:
        result = system_call(number, a, b, c, d, 0, 0)
    return result


@compiled
def _piece(
    path: int, make: bool, mode: int, chmod: bool, file: int, begin: int, end: int, length: int, buffer: int,
    context: int, control: int,
) -> Any:  # fmt: skip
    descriptor = _again(_OPENAT, _AT_FDCWD, path, _MAKE_FLAGS if make else _OPEN_FLAGS, mode)
    if descriptor < 0:
        return descriptor
    failed: Any = np.int64(0)
    if chmod:
        failed = min(failed, _again(_FCHMOD, descriptor, mode, 0, 0))
    at: Any = begin
    while at < end and failed == 0 and peek(control + 8 * STOP) == 0:
        size: Any = min(end - at, np.int64(BUFFER))
        fill_range(buffer, size, context, file, at)
        done = np.int64(0)
        while done < size:
            result = _again(_PWRITE, descriptor, buffer + done, size - done, at + done)
            if result <= 0:
                failed = np.int64(-_EIO) if result == 0 else result
                break
            done += result
        add(control + 8 * DONE, done)
        at += done
    if length > end and failed == 0:
        failed = min(failed, _again(_FTRUNCATE, descriptor, length, 0, 0))
    # some file systems tell only here that there is no space
    closed = system_call(_CLOSE, descriptor, 0, 0, 0, 0, 0)
    return failed if failed != 0 or closed == -_EINTR else closed


@compiled
def make_files(
    path: Any, make: Any, mode: Any, umask: int, file: Any, begin: Any, end: Any, length: Any, buffer: int,
    context: int, control: int,
) -> Any:  # fmt: skip
    """Do pieces of work until none is left, one fails, or the stop flag is set.

    A piece: bytes [begin, end) of the file at the address `path`, made or opened, with the contents of number `file`;
    where `length` lies behind `end`, the file is made so long. All arrays have shape (pieces,); `buffer` is the address
    of BUFFER bytes of this thread, `control` of CONTROL_WORDS words that all threads share.
    """
    while peek(control + 8 * STOP) == 0:
        i = add(control + 8 * NEXT, 1)
        if i >= len(path):
            return
        failed = _piece(
            path[i], make[i], mode[i], make[i] and (mode[i] & umask) != 0, file[i], begin[i], end[i], length[i], buffer,
            context, control,
        )  # fmt: skip
        if failed < 0:
            set_relaxed(control + 8 * ERROR_PIECE, i)
            set_relaxed(control + 8 * ERROR, failed)
            set_relaxed(control + 8 * STOP, 1)

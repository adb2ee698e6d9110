"""Which names stand for files and folders that a trace holds, as is_recorded() of iotrace.trace.assembly.calls."""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.machine import get_byte
from iotrace.trace.formats.strace.kernels import words as w
from iotrace.trace.formats.strace.kernels.texts import begins
from iotrace.trace.kernels.pseudo import is_pseudo


@inner
def is_device(h: int, text: int, length: int) -> bool:
    """Whether an absolute name lies in /dev, but for /dev/shm and /dev/hugepages."""
    if not begins(h, text, length, w.DEV, 5):
        return False
    if begins(h, text, length, w.SHM, 8) and (length == 8 or get_byte(text, 8) == 47):
        return False
    return not begins(h, text, length, w.HUGE, 15)


@inner
def is_recorded(h: int, text: int, length: int) -> bool:
    """Whether what a log shows for a descriptor is a file or folder that a trace holds."""
    if length == 0 or get_byte(text, 0) != 47 or (length > 1 and get_byte(text, 1) == 91):
        return False
    return not (
        is_pseudo(text, length)
        or is_device(h, text, length)
        or begins(h, text, length, w.MEMFD, 7)
        or begins(h, text, length, w.ANON, 14)
        or begins(h, text, length, w.DMABUF, 8)
        or begins(h, text, length, w.SYSV, 5)
    )

"""The threads that empty the ring go before others: it holds half a second of what two busy processors can do.

A high priority gives a thread the share that it needs, but not at once: since Linux 6.6 one that wakes waits until the
slice (1 to 3 ms) of who runs has ended, and a flush of many traces wakes hundreds of times. Since 6.12 a thread may ask
for shorter slices of its own, and then runs when it wakes. Threads and processes that it starts have what it has.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from typing import Final

_HIGHEST: Final = -20
_SLICE_NS: Final = 100_000
"""The shortest that the kernel gives."""
_SCHED_SETATTR: Final = 314 if platform.machine() == "x86_64" else 274
_KEEP_POLICY: Final = 0x08
"""Whoever runs the recorder in real time, or as a batch, has their reasons."""


def go_first() -> None:
    """Ask that this thread goes before others; without CAP_SYS_NICE it has the short slices alone."""
    _ask(_HIGHEST, _SLICE_NS)


def go_as_before(niceness: int) -> None:
    """Take back what go_first() asked for; slices become the kernel's own."""
    _ask(niceness, 0)


def _ask(niceness: int, slice_ns: int) -> None:
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    # struct sched_attr, as long as it was at first (Linux 3.14); older kernels look away from the slice
    now = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = struct.pack("=IIQiIQQQ", 48, 0, _KEEP_POLICY, now, 0, slice_ns, 0, 0)
    ctypes.CDLL(None).syscall(ctypes.c_long(_SCHED_SETATTR), ctypes.c_long(0), wanted, ctypes.c_long(0))

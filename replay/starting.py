"""The start of a run, as the replay's own process gives it to the lanes that wait for it."""

from __future__ import annotations

import ctypes
import time
from typing import Any, Final

from iotrace.replay.kernels.waiting import FUTEX, FUTEX_WAKE
from iotrace.replay.kernels.words import BEGUN, GO, READY, SOON, START_NS

_AWAKE_S: Final = 0.02
"""A lane that is not awake after that has no CPU: the others do not wait for it."""
_libc = ctypes.CDLL(None)


def wake_up(control: Any, lanes: int) -> None:
    """Wake the lanes that wait in begin_lane, some milliseconds before the start."""
    control[GO] = SOON
    address = ctypes.c_void_p(control.ctypes.data + 8 * GO)
    _libc.syscall(ctypes.c_long(FUTEX), address, ctypes.c_long(FUTEX_WAKE), ctypes.c_long(0x7FFFFFFF), None, None, 0)
    until = time.monotonic() + _AWAKE_S
    while control[READY] < 2 * lanes and time.monotonic() < until:
        time.sleep(1e-4)


def let_go(control: Any, begin: int) -> None:
    """Start the run, at `begin` (CLOCK_MONOTONIC, ns)."""
    control[START_NS] = begin
    control[GO] = BEGUN

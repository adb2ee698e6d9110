"""The signal handler that makes a missing page an outcome; compiled, since it cannot wait for the GIL."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numba
from numba import types

from iotrace.replay.kernels.touching import TOUCH_LINES, missing_page


@cache
def _handler() -> Any:
    lanes = TOUCH_LINES

    def answer(signal: Any, info: Any, context: Any) -> None:
        missing_page(signal, info, lanes)

    return numba.cfunc(types.void(types.int32, types.int64, types.int64))(answer)


def handler_address() -> int:
    """Address of a void handler(int, siginfo_t *, void *) for SIGBUS and SIGSEGV."""
    return int(_handler().address)


class _SigAction(ctypes.Structure):
    _fields_ = [
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    ]


@contextmanager
def page_guard(lanes: int) -> Iterator[None]:
    """Touching a page that is no longer there (the file was cut) is an outcome, not the end of the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    action = _SigAction(handler=handler_address(), flags=0x4)  # SA_SIGINFO
    before = {number: _SigAction() for number in (signal.SIGBUS, signal.SIGSEGV)}
    for number, old in before.items():
        libc.sigaction(int(number), ctypes.byref(action), ctypes.byref(old))
    try:
        yield
    finally:
        for number, old in before.items():
            libc.sigaction(int(number), ctypes.byref(old), None)

"""What rings need before lanes run: whether this kernel has them, and a table and sizes for each lane."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from pathlib import Path
from typing import Any, Final

from iotrace.errors import ReplayError
from iotrace.replay.arguments import call_numbers
from iotrace.replay.kernels import ring as kernel
from iotrace.replay.kernels import words
from iotrace.replay.lanes import ALL_BYTES_MAX, BUFFER_BYTES_MIN, REAL_BYTES_MAX, SHIFT
from iotrace.replay.rides import Rides
from iotrace.replay.rows import Plan
from iotrace.trace.operations import NUMBER_OF

LANE_BYTES_MAX: Final = 256 << 20
"""Buffers of one lane's requests; where they would need more, requests share the lane's one buffer."""
LSEEK: Final = int(call_numbers()[NUMBER_OF["lseek"]])
"""Number of the call."""
_SETUP: Final = 425
_REGISTER: Final = 427
_REGISTER_PROBE: Final = 8
_NEEDED: Final = {
    kernel.READV: "READV", kernel.WRITEV: "WRITEV", kernel.FSYNC: "FSYNC", kernel.READ_FIXED: "READ_FIXED",
    kernel.WRITE_FIXED: "WRITE_FIXED", kernel.READ: "READ", kernel.WRITE: "WRITE",
}  # fmt: skip
_DISABLED: Final = Path("/proc/sys/kernel/io_uring_disabled")
_FEATURE_SUBMIT_STABLE, _FEATURE_RW_CUR_POS = 1 << 2, 1 << 3


def why_no_ring() -> str | None:
    """Why this process cannot use io_uring, as a clause that goes behind "because"; None when it can."""
    libc = ctypes.CDLL(None, use_errno=True)
    params = (ctypes.c_uint32 * 30)()
    ring = libc.syscall(_SETUP, 4, ctypes.byref(params))
    if ring < 0:
        return _refusal(ctypes.get_errno())
    try:
        if ~params[5] & (_FEATURE_SUBMIT_STABLE | _FEATURE_RW_CUR_POS):
            return "this kernel's io_uring is older than 5.6"
        probe = ctypes.create_string_buffer(16 + 8 * 64)
        if libc.syscall(_REGISTER, ring, _REGISTER_PROBE, probe, 64) < 0:
            return f"io_uring_register is refused ({os.strerror(ctypes.get_errno())})"
        # struct io_uring_probe_op: opcode, reserved, flags (1: supported), reserved
        lacks = [name for number, name in _NEEDED.items() if not probe.raw[16 + 8 * number + 2] & 1]
        return f"this kernel's io_uring has no {lacks[0]}" if lacks else None
    finally:
        os.close(ring)


def _refusal(code: int) -> str:
    if code == errno.ENOSYS:
        return "this kernel, or a seccomp profile, has no io_uring_setup"
    try:
        disabled = int(_DISABLED.read_text())
    except (OSError, ValueError):
        disabled = 0
    if code == errno.EPERM and disabled:
        return f"it is switched off on this machine (sysctl kernel.io_uring_disabled={disabled})"
    if code == errno.EPERM:
        return "a seccomp profile refuses io_uring_setup"
    return f"io_uring_setup failed: {os.strerror(code)}"


def no_ring_warning(engine: str, reason: str) -> str:
    """The sentence that says what was done instead."""
    if engine == "uring":
        return f"--engine uring fell back to psync, because {reason}: each request was a call, one after the other."
    return (
        f"What the program gave to io_uring or libaio was replayed as calls, one after the other, because {reason}: "
        "its requests did not overlap as recorded."
    )


def fill_ring_tables(
    plan: Plan, rides: Rides, tables: Any, memory: list[Any], first: int, fixed: bool
) -> None:  # fmt: skip
    """Fill the tables of some lanes, from `first` on; `memory` are their tables of LaneMemory."""
    stride = _stride(plan, rides)
    for place, buffers in enumerate(memory):
        lane = first + place
        table = tables[lane]
        table[kernel.DEPTH], table[kernel.SLOT_BYTES], table[kernel.SLOT_SHIFT] = rides.depth[lane], stride, SHIFT
        table[kernel.FIXED_FILES] = rides.files[lane]
        table[kernel.FIXED_BUFFERS] = int(fixed and stride > 0 and plan.write_bytes <= REAL_BYTES_MAX)
        table[kernel.WRITE_AT] = buffers[words.ALIGNED_WRITE_AT]
        table[kernel.WRITE_BYTES] = max(plan.write_bytes, BUFFER_BYTES_MIN) + SHIFT


def refuse_broken_rings(rings: Any, control: Any) -> None:
    """Stop the run when a ring could not be set up, or failed.

    Raises
    ------
    ReplayError: says why, and what to do.
    """
    for table in rings:
        code = int(table[kernel.FAILURE])
        if not code:
            continue
        control[words.STOP] = words.STOP_ASKED
        if code == errno.ENOMEM:
            raise ReplayError(
                f"no memory for {len(rings)} rings of depth {int(table[kernel.DEPTH])}; without root what they lock "
                "counts against ulimit -l: choose a smaller --depth, or leave --fixed out."
            )
        raise ReplayError(f"io_uring failed: {os.strerror(code)}; --engine psync needs none.")


def _stride(plan: Plan, rides: Rides) -> int:
    """Bytes between the buffers of two requests; 0: all share the lane's own."""
    page = mmap.PAGESIZE
    stride = (plan.read_bytes + SHIFT + page - 1) // page * page
    wanted = int(rides.depth.max()) * stride
    if plan.read_bytes > REAL_BYTES_MAX or wanted > LANE_BYTES_MAX or wanted * plan.lanes > ALL_BYTES_MAX:
        return 0
    return max(stride, page)

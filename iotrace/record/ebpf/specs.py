"""The operations table as the BPF program wants it: for each call number the operation and where its arguments are.

Layout of `struct spec` in recorder.bpf.c; a test compares the two.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.trace.operations import BY_NAME, NUMBER_OF, OPERATIONS, PROCESS_CALLS, Kind, Operation

CALLS: Final = 512
SHAPES: Final = (
    "none", "fd", "close", "copy", "path", "open", "memory", "map", "fork", "exec", "wait", "fcntl", "bare",
)  # fmt: skip
_ROLE_FIELDS: Final = (
    "fd", "fd2", "dirfd", "dirfd2", "path", "path2", "size", "offset", "offset_at", "offset2_at", "flags", "mode",
    "address", "iovec", "count", "stat", "statx", "how", "lock", "text",
)  # fmt: skip
SPEC: Final = np.dtype(
    [("op", "u1"), ("shape", "u1")]
    + [(name, "u1") for name in _ROLE_FIELDS]
    + [(name, "u1") for name in ("positional", "op_dup", "op_lock", "lost", "quirk", "renames")]
    + [("unused", "u1", (4,))]
)
LOST_SLOTS: Final = tuple(Kind)
"""Kind of operation of each of the BPF program's first counters of lost records."""
_DUP_CLOSES, _SECOND_HAS_BASE, _LEAVES_FOLDER = 1, 2, 3


def _shape(operation: Operation) -> str:
    roles = operation.arguments
    if operation.name == "close":
        return "close"
    if operation.name == "fcntl":
        return "fcntl"
    if operation.name == "mmap":
        return "map"
    if operation.kind is Kind.MAP:
        return "memory"
    if operation.kind is Kind.COPY:
        return "copy"
    if "path" in roles:
        return "open" if operation.result == "fd" else "path"
    return "fd" if "fd" in roles else "bare"


def _fill(spec: npt.NDArray[np.void], operation: Operation) -> None:
    spec["op"] = NUMBER_OF[operation.name]
    spec["shape"] = SHAPES.index(_shape(operation))
    spec["lost"] = LOST_SLOTS.index(operation.kind)
    for position, role in enumerate(operation.arguments, start=1):
        field = "path2" if role == "name" else role
        if field in _ROLE_FIELDS:
            spec[field] = position
    if (
        operation.kind in (Kind.READ, Kind.WRITE)
        and "offset" not in operation.arguments
        and operation.result == "bytes"
    ):
        spec["positional"] = 1
    if operation.name.startswith("rename"):
        spec["renames"] = 1
    if operation.name in ("dup2", "dup3"):
        spec["quirk"] = _DUP_CLOSES
    elif operation.name in ("rename", "link"):
        spec["quirk"] = _SECOND_HAS_BASE
    elif operation.name == "chdir":
        spec["quirk"] = _LEAVES_FOLDER
    elif operation.name == "fcntl":
        spec["op_dup"], spec["op_lock"] = NUMBER_OF["fcntl.dupfd"], NUMBER_OF["fcntl.lock"]
        spec["lock"] = 3


def spec_table(machine: str) -> npt.NDArray[np.void]:
    """Table of shape (512,), dtype SPEC, indexed by the call numbers of `machine` ("x86_64" or "aarch64")."""
    table = np.zeros(CALLS, SPEC)
    for operation in OPERATIONS:
        number = getattr(operation, machine)
        if number is not None:
            _fill(table[number], operation)
    for name, (x86_64, aarch64, operation_name) in PROCESS_CALLS.items():
        number = x86_64 if machine == "x86_64" else aarch64
        if number is None:
            continue
        spec = table[number]
        spec["op"] = NUMBER_OF[operation_name]
        spec["shape"] = SHAPES.index(operation_name)
        spec["lost"] = LOST_SLOTS.index(BY_NAME[operation_name].kind)
        if name == "execve":
            spec["path"] = 1
        elif name == "execveat":
            spec["dirfd"], spec["path"] = 1, 2
        elif name == "clone":
            spec["flags"] = 1
    return table


def settings(all_files: bool, find_vma: bool, faults_by_address: bool) -> bytes:
    """The BPF program's `settings`."""
    values = (
        all_files,
        find_vma,
        NUMBER_OF["exit"],
        LOST_SLOTS.index(Kind.PROCESS),
        LOST_SLOTS.index(Kind.MAP),
        faults_by_address,
        NUMBER_OF["munmap"],
    )
    return np.array(values, dtype="<u4").tobytes()

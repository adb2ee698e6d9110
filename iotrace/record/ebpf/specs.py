"""The operations table as the BPF program wants it: for each call number the operation and where its arguments are, and
what the operations of io_uring and libaio are.

Layouts of `struct spec`, `struct later` and `struct settings` in records.bpf.h; a test compares them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.trace.operations import (
    AIO_OPCODES,
    BY_NAME,
    IOCTL,
    NUMBER_OF,
    OPERATIONS,
    PROCESS_CALLS,
    RING_CALLS,
    URING_OPCODES,
    Kind,
    Operation,
)

CALLS: Final = 512
SHAPES: Final = (
    "none", "fd", "close", "copy", "path", "open", "stat", "two_names", "memory", "map", "fork", "exec", "wait",
    "fcntl", "bare", "submit", "reap", "enter_ring", "ioctl",
)  # fmt: skip
_ROLE_FIELDS: Final = (
    "fd", "fd2", "dirfd", "dirfd2", "path", "path2", "size", "offset", "offset_at", "offset2_at", "flags", "mode",
    "address", "iovec", "count", "stat", "statx", "how", "lock", "text",
)  # fmt: skip
SPEC: Final = np.dtype(
    [("op", "u1"), ("shape", "u1")]
    + [(name, "u1") for name in _ROLE_FIELDS]
    + [(name, "u1") for name in ("positional", "op_dup", "op_lock", "lost", "quirk", "renames", "moves", "brief")]
    + [("range", "u1"), ("op_range", "u1")]
)
LATER: Final = np.dtype([("op", "u1"), ("form", "u1"), ("lost", "u1"), ("moves", "u1")])
FORMS: Final = (
    "none", "rw", "vectored", "sync", "range", "opens", "closes", "stats", "advises", "splices", "renames", "removes",
    "makes", "cuts",
)  # fmt: skip
DEVICES: Final = 16
"""How many devices a recording can be held to."""
WHOM: Final = ("tree", "cgroup", "cryosparc")
SETTINGS: Final = np.dtype(
    [("cgroup", "<u8"), ("devices", "<u4", (DEVICES,))]
    + [
        (name, "<u4")
        for name in (
            "all_files", "find_vma", "loops", "whom", "tallies", "hierarchy", "self", "exit_op",
            "exit_lost", "fault_lost",
            "faults_by_address", "fault_op",
        )
    ]
)  # fmt: skip
LOST_SLOTS: Final = tuple(Kind)
"""Kind of operation of each of the BPF program's first counters of lost records."""
_DUP_CLOSES, _SECOND_HAS_BASE, _LEAVES_FOLDER, _NAMES_A_FILE = 1, 2, 3, 4


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
        if operation.result == "fd":
            return "open"
        if "stat" in roles or "statx" in roles:
            return "stat"
        return "two_names" if "path2" in roles or "name" in roles else "path"
    if "name" in roles:
        return "two_names"  # of an extended attribute, on a descriptor
    return "fd" if "fd" in roles else "bare"


def _moves(operation: Operation) -> int:
    """Whether size and result are bytes of data."""
    return operation.kind in (Kind.READ, Kind.WRITE, Kind.COPY) and operation.result == "bytes"


def _brief(operation: Operation) -> int:
    """Whether a call fits into a struct brief: always (1), with flags of 0 only (2), or never (0)."""
    if set(operation.arguments) - {"fd", "buffer", "size", "offset", "stat", "flags"}:
        return 0
    return 2 if "flags" in operation.arguments else 1


def _fill(spec: npt.NDArray[np.void], operation: Operation) -> None:
    spec["op"] = NUMBER_OF[operation.name]
    spec["shape"] = SHAPES.index(_shape(operation))
    spec["lost"] = LOST_SLOTS.index(operation.kind)
    spec["moves"] = _moves(operation)
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
    spec["brief"] = _brief(operation)
    if operation.name.startswith("rename"):
        spec["renames"] = 1
    if operation.name in ("dup2", "dup3"):
        spec["quirk"] = _DUP_CLOSES
    elif operation.name in ("rename", "link"):
        spec["quirk"] = _SECOND_HAS_BASE
    elif operation.name == "linkat":
        spec["quirk"] = _NAMES_A_FILE
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
    ioctl = table[IOCTL[0] if machine == "x86_64" else IOCTL[1]]
    _fill(ioctl, BY_NAME["ioctl.ficlone"])
    ioctl["op_range"] = NUMBER_OF["ioctl.ficlonerange"]
    ioctl["shape"], ioctl["flags"], ioctl["range"] = SHAPES.index("ioctl"), 2, 3
    for x86_64, aarch64, shape in RING_CALLS.values():
        table[x86_64 if machine == "x86_64" else aarch64]["shape"] = SHAPES.index(shape)
    return table


def later_table(opcodes: dict[int, tuple[str, str]], slots: int) -> npt.NDArray[np.void]:
    """Table of shape (slots,), dtype LATER, indexed by opcode, from opcode → (operation, form)."""
    table = np.zeros(slots, LATER)
    for opcode, (name, form) in opcodes.items():
        operation = BY_NAME[name]
        table[opcode] = NUMBER_OF[name], FORMS.index(form), LOST_SLOTS.index(operation.kind), _moves(operation)
    return table


def uring_table() -> npt.NDArray[np.void]:
    """What the operations of io_uring are, by opcode."""
    return later_table(URING_OPCODES, 64)


def aio_table() -> npt.NDArray[np.void]:
    """What the operations of libaio are, by opcode."""
    return later_table(AIO_OPCODES, 16)


def settings(
    *,
    find_vma: bool,
    loops: bool,
    faults_by_address: bool,
    all_files: bool = False,
    tallies: bool = False,
    whom: str = "tree",
    cgroup: int = 0,
    hierarchy: int = 0,
    devices: Sequence[int] = (),
) -> bytes:
    """The BPF program's `settings`.

    Parameters
    ----------
    find_vma, loops: the kernel has the helpers bpf_find_vma and bpf_loop (5.17).
    faults_by_address: see faults by software events.
    all_files: pipes, sockets, devices and pseudo file systems too.
    tallies: count in the kernel instead of writing records.
    whom: one of WHOM. cgroup: the control group's number (inode of its folder). hierarchy: number of the
        hierarchy that it lies in.
    devices: kernel device numbers; only files on these count.
    """
    value = np.zeros(1, SETTINGS)
    for name, found in {
        "cgroup": cgroup,
        "hierarchy": hierarchy,
        "all_files": all_files,
        "find_vma": find_vma,
        "loops": loops,
        "self": os.getpid(),
        "whom": WHOM.index(whom),
        "tallies": tallies,
        "exit_op": NUMBER_OF["exit"],
        "exit_lost": LOST_SLOTS.index(Kind.PROCESS),
        "fault_lost": LOST_SLOTS.index(Kind.MAP),
        "faults_by_address": faults_by_address,
        "fault_op": NUMBER_OF["mmap.fault"],
    }.items():
        value[name] = found
    value["devices"][0, : len(devices)] = list(devices)
    return value.tobytes()

"""What the kernels know of the operations: which columns have a value, and what the call does, as bits."""

from __future__ import annotations

from typing import Final

from iotrace.trace.operations import NUMBER_OF, OPERATIONS, Kind, Operation

_BITS = 10
(
    TAKES_OFFSET, TAKES_SIZE, TAKES_FLAGS, TAKES_MODE, TAKES_ADDRESS, TAKES_COUNT, MAKES_NAME, OPENS_FILE,
    COPIES, RETURNS_DESCRIPTOR,
) = (1 << bit for bit in range(_BITS))  # fmt: skip


def _bits(operation: Operation) -> int:
    roles = set(operation.arguments)
    data = operation.kind in (Kind.READ, Kind.WRITE)
    copies = operation.kind is Kind.COPY
    makes_name = operation.name in (
        "mkdir", "mkdirat", "symlink", "symlinkat", "link", "linkat", "rename", "renameat", "renameat2",
    )  # fmt: skip
    truths = {
        TAKES_OFFSET: bool(roles & {"offset", "lock"}) or data or copies,
        TAKES_SIZE: bool(roles & {"iovec", "lock"}) or ("size" in roles and "how" not in roles) or copies,
        TAKES_FLAGS: bool(roles & {"flags", "how"}) or operation.name == "fork",
        TAKES_MODE: bool(roles & {"mode", "how", "lock"}),
        TAKES_ADDRESS: "address" in roles,
        TAKES_COUNT: "count" in roles,
        MAKES_NAME: makes_name,
        OPENS_FILE: operation.result == "fd" and "path" in roles,
        COPIES: copies,
        RETURNS_DESCRIPTOR: operation.result in ("fd", "address"),
    }
    return sum(bit for bit, holds in truths.items() if holds)


OP_BITS: Final = tuple(_bits(operation) for operation in OPERATIONS)

MMAP: Final = NUMBER_OF["mmap"]
FAULT: Final = NUMBER_OF["mmap.fault"]
CREAT: Final = NUMBER_OF["creat"]
FORK: Final = NUMBER_OF["fork"]
EXEC: Final = NUMBER_OF["exec"]
WAIT: Final = NUMBER_OF["wait"]
EXIT: Final = NUMBER_OF["exit"]
URING_OPEN: Final = NUMBER_OF["uring.openat"]
URING_SPLICE: Final = NUMBER_OF["uring.splice"]
FIRST_AIO, LAST_AIO = NUMBER_OF["aio.read"], NUMBER_OF["aio.fdatasync"]
SYMLINK: Final = NUMBER_OF["symlink"]
SYMLINKAT: Final = NUMBER_OF["symlinkat"]

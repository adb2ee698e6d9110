"""The operations table: one row a call, known roles, the kernel's own numbers."""

import re
from collections import Counter
from pathlib import Path

import pytest

from iotrace.trace.operations import (
    BY_NAME,
    CLONES,
    FCNTL_DUP_COMMANDS,
    FCNTL_LOCK_COMMANDS,
    IOCTL,
    NUMBER_OF,
    OPERATIONS,
    PROCESS_CALLS,
    ROLES,
    Kind,
    Operation,
    fcntl_operation,
    operation_of_call,
)
from iotrace.trace.schema import BYTES_READ, BYTES_WRITTEN

HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}
# what asm-generic/unistd.h calls by the name of its 32-bit form
GENERIC_NAMES = {
    "fcntl": "__NR3264_fcntl",
    "statfs": "__NR3264_statfs",
    "fstatfs": "__NR3264_fstatfs",
    "truncate": "__NR3264_truncate",
    "ftruncate": "__NR3264_ftruncate",
    "lseek": "__NR3264_lseek",
    "sendfile": "__NR3264_sendfile",
    "newfstatat": "__NR3264_fstatat",
    "fstat": "__NR3264_fstat",
    "mmap": "__NR3264_mmap",
    "fadvise64": "__NR3264_fadvise64",
}


def test_names_are_unique() -> None:
    assert [name for name, n in Counter(operation.name for operation in OPERATIONS).items() if n > 1] == []
    assert [OPERATIONS[NUMBER_OF[name]] for name in BY_NAME] == list(BY_NAME.values())


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_call_numbers_are_unique(architecture: str) -> None:
    column = 0 if architecture == "x86_64" else 1
    numbers = [getattr(operation, architecture) for operation in OPERATIONS]
    numbers += [numbers_of_call[column] for numbers_of_call in PROCESS_CALLS.values()]
    numbers.append(IOCTL[column])
    assert [number for number, n in Counter(numbers).items() if number is not None and n > 1] == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_roles_are_known_and_taken_once(operation: Operation) -> None:
    assert set(operation.arguments) <= {*ROLES, "-"}
    assert len(operation.arguments) <= 6
    named = [role for role in operation.arguments if role != "-"]
    assert len(named) == len(set(named))
    assert operation.argument("-") is None or "-" in operation.arguments


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_call_numbers_are_the_kernels(architecture: str) -> None:
    header = next((path for path in HEADERS[architecture] if path.exists()), None)
    if header is None:
        pytest.skip(f"the kernel's headers for {architecture} are not installed (linux-libc-dev)")
    numbers = {
        name: int(number) for name, number in re.findall(r"^#define (__NR\w+)\s+(\d+)", header.read_text(), re.M)
    }
    column = 0 if architecture == "x86_64" else 1
    ours = {operation.name: getattr(operation, architecture) for operation in OPERATIONS}
    ours |= {name: row[column] for name, row in PROCESS_CALLS.items()}
    ours["ioctl"] = IOCTL[column]
    checked = 0
    for name, number in ours.items():
        kernels = numbers.get(f"__NR_{name}")
        if kernels is None:
            kernels = numbers.get(GENERIC_NAMES.get(name, ""))
        # calls newer than the headers have no number there
        if kernels is not None and number is not None:
            assert (name, number) == (name, kernels)
            checked += 1
    assert checked > 70


def test_data_operations_return_bytes_and_have_a_size() -> None:
    for operation in OPERATIONS:
        if operation.kind in (*BYTES_READ, *BYTES_WRITTEN) and operation.name not in ("readahead", *CLONES.values()):
            assert operation.result == "bytes"
            assert operation.argument("size") is not None or operation.argument("iovec") is not None


def test_every_kind_is_in_use() -> None:
    assert {operation.kind for operation in OPERATIONS} == set(Kind)


def test_the_forms_of_fcntl_are_told_apart() -> None:
    assert {fcntl_operation(command) for command in FCNTL_LOCK_COMMANDS} == {"fcntl.lock"}
    assert {fcntl_operation(command) for command in FCNTL_DUP_COMMANDS} == {"fcntl.dupfd"}
    assert fcntl_operation(3) == "fcntl"
    assert operation_of_call("fcntl", 6) is BY_NAME["fcntl.lock"]


def test_two_commands_of_ioctl_are_operations() -> None:
    assert {operation_of_call("ioctl", command) for command in CLONES} == {
        BY_NAME["ioctl.ficlone"],
        BY_NAME["ioctl.ficlonerange"],
    }
    assert operation_of_call("ioctl", 0x5401) is None


def test_calls_that_begin_and_end_processes_have_one_row_each_kind() -> None:
    assert operation_of_call("clone3") is BY_NAME["fork"]
    assert operation_of_call("exit_group") is BY_NAME["exit"]
    assert operation_of_call("getpid") is None

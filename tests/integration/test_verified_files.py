"""Verification on real files: a trace's calls, done on a staged tree, verify; faults put into the files are found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import TraceBuilder

from iotrace.replay.actions import CHECK, CUT, FILL, FORGET, ZERO, actions_of, tables_for_checks
from iotrace.replay.columns import load_tables
from iotrace.replay.kernels import verify as kernel
from iotrace.replay.payload import BLOCK, Contents, Payload
from iotrace.replay.plan import build_plan
from iotrace.replay.rows import Plan
from iotrace.replay.trees import prepare_tree
from iotrace.replay.verify import Checks, Findings, empty_findings, findings_of
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.reader import Trace, open_trace

MEMORY = np.zeros(1 << 20, np.uint8)
AT = int(MEMORY.ctypes.data) + 16
Fault = Callable[[str, int, int], bool]
"""Called with the operation, its offset and size: whether a write is lost, or a read's bytes are spoilt."""


def particles(tmp_path: Path) -> Trace:
    """As a program that extracts particles: reads a micrograph, appends odd sizes, rewrites a header, copies, cuts."""
    trace = TraceBuilder()
    movie = trace.open("movie.mrc", size=100_000)
    for offset in range(0, 100_000, 30_000):
        trace.read(movie, "movie.mrc", offset, 30_000, result=min(30_000, 100_000 - offset))
    stack = trace.open("stack.mrcs", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    trace.write(stack, "stack.mrcs", 0, 1024)
    end = 1024
    for size in (40_000, 40_001, 12_288):
        trace.write(stack, "stack.mrcs", end, size)
        end += size
        trace.write(stack, "stack.mrcs", 0, 1024, op="pwrite64")
    trace.read(stack, "stack.mrcs", 0, end, op="pread64")
    trace.write(stack, "stack.mrcs", 8192, 8192, op="pwrite64")
    trace.read(stack, "stack.mrcs", 100, 50_000, op="pread64")
    trace.on("fallocate", stack, "stack.mrcs", flags=3, offset=20_000, size=30_000)
    trace.on("ftruncate", stack, "stack.mrcs", size=70_000)
    trace.read(stack, "stack.mrcs", 0, 70_000, op="pread64")
    again = trace.open("star", os.O_RDWR | os.O_TRUNC, size=9000)
    trace.write(again, "star", 0, 700)
    trace.read(again, "star", 0, 700, op="pread64")
    trace.call(
        "copy_file_range", path=trace.path("movie.mrc"), file=trace.file("movie.mrc"), open=movie, other_open=again,
        other_file=trace.file("star"), other_path=trace.path("star"), offset=0, other_offset=700, size=5000,
        result=5000,
    )  # fmt: skip
    trace.read(again, "star", 0, 5700, op="pread64")
    return open_trace(trace.save(tmp_path / "T.iotrace"))


def replay(trace: Trace, mount: Path, fault: Fault = lambda *_: False) -> tuple[Plan, Findings]:
    """Issue a plan's calls one after the other, with the actions beside them, as a worker does."""
    plan = build_plan(trace)
    tables = load_tables(trace)
    events, actions = tables.events, actions_of(plan.rows, tables)
    contents = Contents(Payload(verify=True))
    checks = Checks(contents, *tables_for_checks(actions, plan.snapshot))
    found = empty_findings()
    names = plan.recorded["paths"]
    descriptors: dict[int, int] = {}
    with prepare_tree(plan, mount, contents) as prepared:
        for row in np.flatnonzero(plan.counted).tolist():
            op = OPERATIONS[int(plan.rows.op[row])].name
            event = int(plan.rows.event[row])
            what, file, offset, size = (
                int(column[row]) for column in (actions.what, actions.file, actions.offset, actions.size)
            )
            opened = int(events.open[event])
            if op == "openat":
                path = prepared.tree / os.fsdecode(names[plan.recorded["node"][row]])
                descriptors[opened] = os.open(path, int(events.flags[event]), 0o600)
            elif op == "ftruncate":
                os.ftruncate(descriptors[opened], int(events.size[event]))
            elif op == "fallocate":
                data = os.pread(descriptors[opened], 20_000, 0)
                data += bytes(30_000) + os.pread(descriptors[opened], 1 << 20, 50_000)
                os.pwrite(descriptors[opened], data, 0)
            elif op == "copy_file_range":
                other = descriptors[int(events.other_open[event])]
                os.copy_file_range(descriptors[opened], other, 5000, 0, int(events.other_offset[event]))
            at = int(events.offset[event])
            if what == FILL:
                kernel.fill_blocks(AT, size, checks.address, file, offset)
                result = size
                if not fault(op, at, size):
                    result = os.pwrite(descriptors[opened], MEMORY[16 : 16 + size].tobytes(), at)
                kernel.settle_write(checks.address, file, offset, size, result)
            elif what == CHECK:
                data = os.pread(descriptors[opened], int(events.size[event]), at)
                MEMORY[16 : 16 + len(data)] = np.frombuffer(data, np.uint8)
                if fault(op, at, size):
                    MEMORY[16 + size // 2] ^= 1
                kernel.check_blocks(AT, len(data), checks.address, file, offset, found.ctypes.data)
            elif what == CUT:
                kernel.cut_file(checks.address, file, size)
            elif what == ZERO:
                kernel.zero_range(checks.address, file, offset, size)
            elif what == FORGET:
                kernel.forget_range(checks.address, file, offset, size)
        for descriptor in descriptors.values():
            os.close(descriptor)
    return plan, findings_of([found])


def test_a_replay_whose_storage_is_right_verifies(tmp_path: Path) -> None:
    _, findings = replay(particles(tmp_path), tmp_path)
    assert findings.wrong == {}
    # what copy_file_range brought is another file's
    assert findings.unchecked_bytes == 5700
    read = 100_000 + (1024 + 40_000 + 40_001 + 12_288) + 50_000 + 70_000 + 700
    assert findings.checked_bytes == read


@pytest.mark.parametrize(("offset", "size", "kind"), [(8192, 8192, "stale"), (41_024, 40_001, "zeros")])
def test_a_write_that_the_storage_lost_is_named(tmp_path: Path, offset: int, size: int, kind: str) -> None:
    _, findings = replay(
        particles(tmp_path), tmp_path, lambda op, at, length: "write" in op and (at, length) == (offset, size)
    )
    assert findings.named[0].block == offset // BLOCK
    # a block at an end of the lost write holds both what was there before and what is missing
    assert next(one.kind for one in findings.named if one.block == offset // BLOCK + 1) == kind


def test_a_byte_that_the_storage_changed_is_named(tmp_path: Path) -> None:
    plan, findings = replay(
        particles(tmp_path), tmp_path, lambda op, at, length: op == "read" and (at, length) == (30_000, 30_000)
    )
    assert findings.wrong == {"damaged": 1}
    wrong = findings.named[0]
    movie = next(file for file in plan.snapshot.files if file.size == 100_000)
    assert (wrong.file, wrong.offset) == (movie.file, 45_000)
    assert wrong.text().endswith("bytes are not those that were written.")


def test_what_each_call_means_for_the_contents_is_known(tmp_path: Path) -> None:
    trace = TraceBuilder()
    log = trace.open("log", os.O_RDWR | os.O_APPEND, size=100)
    trace.write(log, "log", 100, 50)
    trace.write(log, "log", 0, 50, op="pwrite64")  # appends: where, nobody knows
    trace.call("write", open=log, path=trace.path("log"), file=trace.file("log"), size=5, result=5)
    trace.write(log, "log", 0, 10, result=-28)
    trace.on("fallocate", log, "log", flags=8, offset=0, size=4096)
    trace.on("fallocate", log, "log", flags=0, offset=0, size=4096)
    trace.on("readahead", log, "log", offset=0, size=4096)
    trace.named("truncate", "log", size=7)
    trace.open("log", os.O_WRONLY | os.O_TRUNC)
    far = trace.open("far", os.O_RDWR | os.O_CREAT, existed=False, mode=0o600)
    trace.write(far, "far", 1 << 50, 10, op="pwrite64")
    saved = open_trace(trace.save(tmp_path / "T.iotrace"))
    plan = build_plan(saved)
    actions = actions_of(plan.rows, load_tables(saved))
    seen = [
        (OPERATIONS[int(plan.rows.op[i])].name, *(int(c[i]) for c in (actions.what, actions.offset, actions.size)))
        for i in np.flatnonzero(actions.what)
    ]
    whole = 1 << 50
    assert seen == [
        ("write", FILL, 100, 50), ("pwrite64", FORGET, 0, whole), ("write", FORGET, 0, whole),
        ("fallocate", FORGET, 0, whole), ("truncate", CUT, 0, 7), ("openat", CUT, 0, 0), ("pwrite64", FILL, whole, 10),
    ]  # fmt: skip
    staged, ends = tables_for_checks(actions, plan.snapshot)
    assert dict(zip(staged.tolist(), ends.tolist(), strict=True)) == {100: 150, -1: 0}

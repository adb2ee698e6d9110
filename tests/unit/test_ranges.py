"""Accesses by ranges of bytes, against a plain look at all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.replay.columns import NONE, Events
from iotrace.replay.order import _BITS
from iotrace.replay.ranges import ranged_accesses, touches_of
from iotrace.trace.operations import NUMBER_OF

FILES = 2
OPS = (
    "pread64", "pwrite64", "fsync", "mmap.fault", "fallocate", "ftruncate", "openat", "lseek", "copy_file_range",
    "write",
)  # fmt: skip
PLACE = st.one_of(st.integers(0, 100_000), st.integers(0, 5000), st.none(), st.just(1 << 61))
CALL = st.fixed_dictionaries(
    {
        "op": st.sampled_from(OPS), "thread": st.integers(0, 2), "file": st.integers(-1, FILES - 1),
        "other_file": st.integers(0, FILES - 1), "offset": PLACE, "other_offset": PLACE,
        "size": st.one_of(st.integers(0, 9000), st.integers(0, 300_000), st.none()),
        "result": st.integers(-1, 9000), "flags": st.sampled_from([0, 2, 0o1000]),
    }
)  # fmt: skip
Call = dict[str, Any]


def accessed(calls: list[Call], size: list[int], existed: list[int]) -> list[set[tuple[int, int]]]:
    """Resource and level of what each call uses."""
    columns: dict[str, Any] = {
        name: np.array([NONE if call[name] is None else call[name] for call in calls], np.int64)
        for name in ("thread", "file", "other_file", "offset", "other_offset", "size", "result", "flags")
    }
    columns["op"] = np.array([NUMBER_OF[call["op"]] for call in calls], np.int16)
    columns["open"] = np.where(columns["op"] == NUMBER_OF["write"], 0, -1)  # the one that appends
    copies = columns["op"] == NUMBER_OF["copy_file_range"]
    columns["other_file"] = np.where(copies, columns["other_file"], -1)
    events = Events(len(calls), lambda name: columns[name], **columns)
    rows = np.arange(len(calls), dtype=np.int32)
    touches = touches_of(events, _BITS, np.array([True] * FILES + [False]), rows, lambda of: columns["open"][of] == 0)
    found: list[set[tuple[int, int]]] = [set() for _ in calls]
    resource, row, level, count = ranged_accesses(
        touches, columns["thread"].astype(np.int32), rows, np.array(size), np.array(existed, np.int8)
    )
    assert resource.max(initial=-1) < count
    for r, i, what in zip(resource.tolist(), row.tolist(), level.tolist(), strict=True):
        found[i].add((r, what))
    return found


def ordered(one: set[tuple[int, int]], other: set[tuple[int, int]]) -> bool:
    """Whether two calls use a resource in ways that conflict."""
    return any(r == s and (level != what or level == 2) for r, level in one for s, what in other)


def uses(call: Call) -> list[tuple[int, str, int, int]]:
    """File, kind of use, first byte, end."""
    size = None if call["size"] is None and call["result"] < 0 else max(call["size"] or 0, call["result"])

    def ranged(file: int, offset: int | None, known: str, unknown: str) -> tuple[int, str, int, int]:
        if offset is None or size is None:
            return file, unknown, 0, 0
        return file, known, offset, offset + size

    op, file = call["op"], call["file"]
    found = []
    if op == "pread64" or op == "copy_file_range":
        found.append(ranged(file, call["offset"], "read", "looks"))
    elif op == "pwrite64":
        found.append(ranged(file, call["offset"], "write", "changes"))
    elif op == "write":
        found.append(ranged(file, call["offset"], "append", "changes"))
    elif op in ("fsync", "mmap.fault") or (op == "lseek" and call["flags"] >= 2):
        found.append((file, "looks", 0, 0))
    elif op == "fallocate":
        found.append((file, "changes", 0, 0))
    elif op == "ftruncate" or (op == "openat" and call["flags"] == 0o1000):
        found.append((file, "cuts", 0, 0))
    if op == "copy_file_range":
        found.append(ranged(call["other_file"], call["other_offset"], "write", "changes"))
    return [one for one in found if one[0] >= 0]


def conflict(one: tuple[int, str, int, int], other: tuple[int, str, int, int], base: list[int]) -> bool:
    """Whether the order of two uses decides what either gets or what the file holds."""
    (file, does, begin, end), (file2, does2, begin2, end2) = one, other
    kinds = {does, does2}
    if file != file2 or kinds <= {"read", "looks"}:
        return False
    if kinds & {"cuts", "changes"} or "looks" in kinds:
        return True
    if "append" in kinds and kinds <= {"append", "write"}:
        return True
    overlap = max(begin, begin2) < min(end, end2)
    if kinds == {"write"}:
        return overlap
    # a read that reaches beyond the size at the start gets what writes anywhere made of the size
    return overlap or (end if does == "read" else end2) > base[file]


@settings(deadline=None, max_examples=300)  # the first call compiles
@given(
    st.lists(CALL, min_size=1, max_size=14), st.lists(st.integers(-1, 120_000), min_size=FILES, max_size=FILES),
    st.lists(st.integers(-1, 1), min_size=FILES, max_size=FILES),
)  # fmt: skip
def test_calls_of_two_threads_of_which_the_order_counts_use_the_same_resource(
    calls: list[Call], size: list[int], existed: list[int]
) -> None:
    found = accessed(calls, size, existed)
    cut = {file for call in calls for file, does, *_ in uses(call) if does == "cuts"}
    base = [max(size[file], 0) if existed[file] == 1 and file not in cut else 0 for file in range(FILES)]
    for one, mine in zip(calls, found, strict=True):
        for other, theirs in zip(calls, found, strict=True):
            if one["thread"] != other["thread"] and any(
                conflict(use, use2, base) for use in uses(one) for use2 in uses(other)
            ):
                assert ordered(mine, theirs), (one, other)


BLOCKS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 40), st.integers(1, 4)), min_size=1, max_size=20
)


@settings(deadline=None)
@given(BLOCKS)
def test_calls_on_different_blocks_of_a_file_that_was_there_do_not_wait_for_each_other(
    blocks: list[tuple[bool, int, int, int]],
) -> None:
    calls: list[Call] = [
        {
            "op": "pwrite64" if write else "pread64", "thread": thread, "file": 0, "other_file": 0,
            "offset": block * 4096, "other_offset": None, "size": count * 4096, "result": count * 4096, "flags": 0,
        }
        for write, thread, block, count in blocks
    ]  # fmt: skip
    found = accessed(calls, [60 * 4096, 0], [1, 0])
    for (write, _, block, count), mine in zip(blocks, found, strict=True):
        for (write2, _, block2, count2), theirs in zip(blocks, found, strict=True):
            apart = block + count <= block2 or block2 + count2 <= block
            if apart or not (write or write2):
                assert not ordered(mine, theirs)

"""Files that several threads write at the same bytes, against a plain look at all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.replay.columns import NONE, Events
from iotrace.replay.overlaps import overlapping_writers
from iotrace.trace.operations import NUMBER_OF, OPERATIONS

WRITE = st.tuples(
    st.integers(0, 2), st.integers(0, 3), st.one_of(st.integers(0, 40), st.integers(0, 40), st.none()),
    st.integers(-2, 12), st.booleans(),
)  # fmt: skip


def events_of(writes: list[tuple[int, int, int | None, int, bool]]) -> Events:
    """Writes (thread, file, offset, bytes), some of them the destinations of a copy from file 3."""
    n = len(writes)
    copies = np.array([copy for *_, copy in writes], np.bool_)
    file = np.array([file for _, file, *_ in writes], np.int32)
    offset = np.array([NONE if offset is None else offset for _, _, offset, _, _ in writes], np.int64)
    columns: dict[str, Any] = {
        "op": np.where(copies, NUMBER_OF["copy_file_range"], NUMBER_OF["pwrite64"]).astype(np.int16),
        "thread": np.array([thread for thread, *_ in writes], np.int32),
        "file": np.where(copies, 3, file).astype(np.int32), "other_file": np.where(copies, file, -1).astype(np.int32),
        "offset": np.where(copies, NONE, offset), "other_offset": np.where(copies, offset, NONE),
        "result": np.array([size for *_, size, _ in writes], np.int64),
    }  # fmt: skip
    return Events(n, lambda name: columns[name], **columns)


@settings(deadline=None)  # the first call compiles
@given(st.lists(WRITE, max_size=12))
def test_a_file_counts_when_two_threads_write_the_same_byte_or_it_is_not_known_where_one_writes(
    writes: list[tuple[int, int, int | None, int, bool]],
) -> None:
    table = np.array([one.name == "pwrite64" for one in OPERATIONS] + [False])
    looked_at = np.array([True, True, False, True, False])
    found = overlapping_writers(events_of(writes), table, looked_at)
    expected = np.zeros(5, np.bool_)
    real = [(t, f, o, s) for t, f, o, s, _ in writes if s > 0 and looked_at[f]]
    for thread, file, offset, size in real:
        for thread2, file2, offset2, size2 in real:
            if file == file2 and (offset is None or offset2 is None):
                expected[file] = True
            elif file == file2 and thread != thread2 and offset is not None and offset2 is not None:
                expected[file] |= offset < offset2 + size2 and offset2 < offset + size
    assert found.tolist() == expected.tolist()

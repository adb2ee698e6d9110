"""Verified calls that overlapped with a change of the same bytes, against a look at all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.replay.actions import CHECK, CUT, FILL, FORGET, NOTHING, UNCHECKED, ZERO, Actions
from iotrace.replay.columns import Events
from iotrace.replay.racing import without_races

CALL = st.tuples(
    st.sampled_from([NOTHING, CHECK, FILL, CUT, ZERO]), st.integers(0, 1), st.integers(0, 30), st.integers(0, 12),
    st.integers(0, 2), st.integers(0, 40), st.integers(0, 9),
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(CALL, max_size=14))
def test_only_calls_that_overlap_with_a_change_of_their_bytes_are_left_open(calls: list[tuple[int, ...]]) -> None:
    table: Any = np.array(calls, np.int64).reshape(-1, 7)
    what, file, offset, size, thread, time, duration = table.T
    columns: dict[str, Any] = {"thread": thread, "time_ns": time, "duration_ns": duration}
    events = Events(len(calls), lambda name: columns[name])
    actions = Actions(what.astype(np.uint8), file, offset, size)
    found = without_races(actions, events, np.arange(len(calls), dtype=np.int32))

    def range_of(i: int) -> tuple[int, int]:
        return (size[i], 1 << 62) if what[i] == CUT else (offset[i], offset[i] + size[i])

    for i in range(len(calls)):
        races = False
        for j in range(len(calls)):
            if NOTHING in (what[i], what[j]) or file[i] != file[j] or thread[i] == thread[j]:
                continue
            (low, high), (low2, high2) = range_of(i), range_of(j)
            # of two that begin at one moment the one that took no time may have come first
            apart = time[i] + duration[i] <= time[j] or time[j] + duration[j] <= time[i]
            races |= not apart and low < high2 and low2 < high and what[j] != CHECK
        expected = what[i] if not races else UNCHECKED if what[i] == CHECK else FORGET
        assert found.what[i] == expected

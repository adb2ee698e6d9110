"""Which flags a description has at each call: as opened, as found, and as fcntl set them since."""

import os
import tempfile
from pathlib import Path

import numpy as np
from builders import TraceBuilder
from hypothesis import given
from hypothesis import strategies as st

from iotrace.replay.columns import load_tables
from iotrace.replay.status import F_SETFL, Status
from iotrace.trace.reader import open_trace

APPEND, NONBLOCK = os.O_APPEND, os.O_NONBLOCK
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["write", "set", "failed set", "unsaid set", "get"]),
        st.sampled_from([0, APPEND, NONBLOCK, APPEND | NONBLOCK]),
    ),
    max_size=40,
)


@given(steps=STEPS, opened=st.lists(st.sampled_from([0, APPEND]), min_size=3, max_size=3))
def test_a_call_finds_the_flags_that_were_set_last(steps: list[tuple[int, str, int]], opened: list[int]) -> None:
    b = TraceBuilder()
    for number in range(3):
        b.open(f"f{number}", os.O_RDWR | opened[number])
    now, expected = [os.O_RDWR | flags for flags in opened], []
    for number, what, flags in steps:
        name = f"f{number}"
        if what == "write":
            b.write(number, name, 0, 1)
            expected.append((len(b.events) - 1, now[number]))
        elif what == "get":
            b.on("fcntl", number, name, flags=3, mode=0, result=now[number])
        else:
            b.on(
                "fcntl", number, name, flags=F_SETFL, mode=None if what == "unsaid set" else flags,
                result=-1 if what == "failed set" else 0,
            )  # fmt: skip
            if what == "set":
                now[number] = os.O_RDWR | flags
    with tempfile.TemporaryDirectory() as folder:
        tables = load_tables(open_trace(b.save(Path(folder) / "t.iotrace")))
        status, rows = Status(tables), np.array([row for row, _ in expected], np.int64)
        assert status.flags(rows).tolist() == [flags for _, flags in expected]
        assert status.appends(rows).tolist() == [bool(flags & APPEND) for _, flags in expected]

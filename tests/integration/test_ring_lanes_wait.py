"""How a ring's lane waits: awake for some microseconds while completions come that soon, asleep where they do not."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from iotrace.replay.kernels.ring import (
    BUFFERS_AT,
    DEPTH,
    FIXED_FILES,
    IN_FLIGHT,
    LUCK,
    READ,
    RING_WORDS,
    SLOT_BITS,
    SLOT_BYTES,
    close_ring,
    fill,
    open_ring,
    slot_of_request,
)
from iotrace.replay.kernels.ring_lane import _settle
from iotrace.replay.kernels.words import NOT_RUN
from iotrace.replay.ring import why_no_ring

ROWS = 400


class Ring:
    """A ring that reads bytes from a pipe, a row each."""

    def __init__(self) -> None:
        self.table = np.zeros(RING_WORDS, np.int64)
        self.table[[DEPTH, SLOT_BYTES, FIXED_FILES]] = 4, 4096, -1
        self.at = int(self.table.ctypes.data)
        self.source, self.sink = os.pipe()
        self.clock, self.control = np.zeros(16, np.int64), np.zeros(16, np.int64)
        self.opcode, self.outcome = np.full(ROWS, READ, np.uint8), np.full(ROWS, NOT_RUN, np.int64)
        self.expect, self.started, self.took = (np.zeros(ROWS, np.int64) for _ in range(3))
        self.row = 0
        assert open_ring(self.at) == 0

    def read(self, after_s: float) -> int:
        """Read a byte that comes so late; gives the ring's luck then."""
        row, slot = self.row, slot_of_request(self.at)
        self.row += 1
        address = int(self.table[BUFFERS_AT]) + 4096 * slot
        fill(self.at, READ, 0, self.source, -1, address, 1, 0, 0, row << SLOT_BITS | slot)
        late = threading.Timer(after_s, os.write, (self.sink, b"x"))
        if after_s:
            late.start()
        else:
            os.write(self.sink, b"x")
        _settle(
            self.at, 0, row, row, row + 1, int(self.clock.ctypes.data), int(self.control.ctypes.data),
            self.opcode, self.expect, self.started, self.took, self.outcome,
        )  # fmt: skip
        assert (self.outcome[row], self.table[IN_FLIGHT]) == (1, 0)
        return int(self.table[LUCK])


@pytest.fixture
def ring() -> Iterator[Ring]:
    if reason := why_no_ring():
        pytest.skip(reason)
    ring = Ring()
    yield ring
    close_ring(ring.at)
    os.close(ring.source)
    os.close(ring.sink)


def test_what_has_completed_when_it_is_looked_for_keeps_a_lane_looking(ring: Ring) -> None:
    luck = [ring.read(0) for _ in range(12)]
    assert luck == [2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8]


def test_a_lane_whose_completions_come_late_sleeps_and_looks_again_once_in_a_while(ring: Ring) -> None:
    luck = [ring.read(0.002) for _ in range(20)]
    # a machine that stops the lane while it looks gives it luck, and does not do so each time
    assert min(luck) < -5
    while ring.row < ROWS and luck[-1] < 1:
        luck.append(ring.read(0.002))
    assert luck[-1] == 1
    assert luck[-2] == -63

"""Stalls: calls that overlap are one, the longest are kept, quick calls are none."""

from __future__ import annotations

import numpy as np

from iotrace.replay.stalls import SHOWN, stalls_of

S = 10**9


def test_calls_that_wait_at_the_same_time_are_one_stall_and_quick_ones_none() -> None:
    started = np.array([30, 12, 10, 11], np.int64) * S
    took = np.array([6, 9, 8, 1], np.int64) * S
    first, second = stalls_of(started, took, 10 * S, lambda at: f"call {at}")
    assert (first.at_s, first.took_s, first.calls, first.named) == (0, 11, 2, ["call 2", "call 1"])
    assert (second.at_s, second.took_s, second.calls, second.named) == (20, 6, 1, ["call 0"])


def test_of_many_stalls_the_longest_are_kept_in_order_of_time() -> None:
    took = np.arange(5, 5 + 2 * SHOWN, dtype=np.int64) * S
    kept = stalls_of(np.arange(2 * SHOWN, dtype=np.int64) * 100 * S, took, 0, str)
    assert [one.took_s for one in kept] == [float(5 + SHOWN + number) for number in range(SHOWN)]

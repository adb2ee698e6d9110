"""The single passes over sorted tables, against slow definitions of the same."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.replay.columns import NONE
from iotrace.replay.sweeps import (
    MAP_FORGETS,
    MAP_MAPS,
    MAP_UNMAPS,
    MAP_USES,
    POSITION_COPY,
    POSITION_MOVES,
    POSITION_OPEN,
    POSITION_SEEKS,
    find_edges,
    implicit_positions,
    reduce_edges,
    resolve_mappings,
)

ACCESS = st.tuples(
    st.integers(0, 2), st.integers(0, 3), st.integers(0, 30), st.integers(0, 12), st.integers(0, 2)
)  # resource, thread, start, duration, level


def array(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, dtype=np.int64)


@settings(max_examples=300, deadline=None)
@given(st.lists(ACCESS, max_size=40))
def test_edges_and_the_threads_own_order_keep_every_conflict_and_never_form_a_circle(
    accesses: list[tuple[int, int, int, int, int]],
) -> None:
    # rows are numbered as a plan does: by thread, then by start
    rows = sorted(accesses, key=lambda access: (access[1], access[2]))
    # a thread does one thing at a time
    ends: list[int] = []
    for i, (_, thread, start, duration, _) in enumerate(rows):
        following = rows[i + 1][2] if i + 1 < len(rows) and rows[i + 1][1] == thread else 10**6
        ends.append(min(start + duration, following))
    order = sorted(range(len(rows)), key=lambda i: (rows[i][0], rows[i][2], i))
    before, after = find_edges(
        array([rows[i][0] for i in order]), array(order), array([row[1] for row in rows]),
        array([row[2] for row in rows]), array(ends), array([rows[i][4] for i in order]),
    )  # fmt: skip
    follows: dict[int, set[int]] = {i: set() for i in range(len(rows))}
    for a, b in zip(before.tolist(), after.tolist(), strict=True):
        follows[a].add(b)
        assert rows[a][1] != rows[b][1]
        assert ends[a] <= rows[b][2]
        assert rows[a][2] < rows[b][2]
    for a, b in pairwise(range(len(rows))):
        if rows[a][1] == rows[b][1]:
            follows[a].add(b)
    reach: dict[int, set[int]] = {}
    for i in sorted(follows, key=lambda i: (-rows[i][2], -i)):
        reach[i] = set()
        for j in follows[i]:
            reach[i] |= {j} | reach[j]
    for i in range(len(rows)):
        assert i not in reach[i]
        for j in range(len(rows)):
            same = rows[i][0] == rows[j][0] and rows[i][1] != rows[j][1]
            conflict = rows[i][4] == 2 or rows[j][4] == 2 or rows[i][4] != rows[j][4]
            if same and conflict and ends[i] <= rows[j][2] and rows[i][2] < rows[j][2]:
                assert j in reach[i], (rows[i], rows[j])


def test_an_access_waits_for_what_ended_before_two_others_that_began_at_its_own_start() -> None:
    before, after = find_edges(
        array([0, 0, 0, 0]), array([0, 1, 2, 3]), array([0, 0, 0, 1]), array([0, 1, 1, 1]), array([0, 1, 1, 1]),
        array([0, 0, 0, 1]),
    )  # fmt: skip
    assert (before.tolist(), after.tolist()) == ([0], [3])


def test_an_edge_within_a_lane_or_already_waited_for_is_left_out() -> None:
    lane = array([0, 0, 0, 1, 1, 1])
    before, after = array([2, 0, 1, 0]), array([3, 3, 4, 1])
    order = np.lexsort((-before, after))
    needed = reduce_edges(before[order], after[order], lane, 2)
    kept = [(int(a), int(b)) for a, b, keep in zip(before[order], after[order], needed, strict=True) if keep]
    assert kept == [(2, 3)]


STEP = st.tuples(
    st.sampled_from([MAP_MAPS, MAP_UNMAPS, MAP_USES, MAP_FORGETS]),
    st.integers(0, 1),
    st.integers(0, 20),
    st.integers(0, 8),
)  # action, process, page of the address, pages


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_every_use_lies_in_a_live_mapping_and_no_page_is_unmapped_twice(steps: list[tuple[int, int, int, int]]) -> None:
    steps = sorted(steps, key=lambda step: step[1])
    n = len(steps)
    slots = array([i if step[0] == MAP_MAPS else -1 for i, step in enumerate(steps)])
    slot, delta, length = resolve_mappings(
        array([step[0] for step in steps]), array([step[1] for step in steps]), array([0] * n),
        array([step[2] * 4096 for step in steps]), array([step[3] * 4096 for step in steps]), array([0] * n),
        array([0] * n), slots, 4096,
    )  # fmt: skip
    live: dict[int, tuple[int, int]] = {}  # page → slot, page within it
    unmapped: set[tuple[int, int]] = set()
    process = -1
    for i, (action, owner, page, pages) in enumerate(steps):
        if owner != process:
            live, process = {}, owner
        if action == MAP_FORGETS:
            live = {}
        elif action == MAP_MAPS:
            live |= {page + k: (i, k) for k in range(pages)}
        else:
            assert (slot[i], delta[i] // 4096) == live.get(page, (-1, 0))
            if action == MAP_UNMAPS:
                given_pages = {(int(slot[i]), int(delta[i]) // 4096 + k) for k in range(int(length[i]) // 4096)}
                assert not given_pages & unmapped
                assert given_pages <= set(live.values())
                unmapped |= given_pages
                for k in range(pages):
                    live.pop(page + k, None)


def test_a_fault_without_an_address_is_found_by_file_and_offset() -> None:
    slot, delta, _ = resolve_mappings(
        array([MAP_MAPS, MAP_MAPS, MAP_USES]), array([0, 0, 0]), array([0, 0, 0]), array([0x10000, 0x90000, NONE]),
        array([0x8000, 0x8000, 4096]), array([1, 2, 2]), array([0, 0x4000, 0x6000]), array([0, 1, -1]), 4096,
    )  # fmt: skip
    assert (slot[2], delta[2]) == (1, 0x2000)


def test_a_fault_without_an_address_is_in_the_threads_own_mapping_of_the_file_before_anothers() -> None:
    slot, _, _ = resolve_mappings(
        array([MAP_MAPS, MAP_MAPS, MAP_USES, MAP_USES, MAP_USES]), array([0] * 5), array([7, 8, 7, 8, 9]),
        array([0x10000, 0x90000, NONE, NONE, NONE]), array([0x8000, 0x8000, 4096, 4096, 4096]), array([1] * 5),
        array([0, 0, 0x1000, 0x1000, 0x1000]), array([0, 1, -1, -1, -1]), 4096,
    )  # fmt: skip
    assert slot[2:].tolist() == [0, 1, 1]


def test_a_copy_goes_on_from_the_position_only_where_it_did_in_the_recording() -> None:
    actions = [
        POSITION_OPEN,
        POSITION_MOVES,
        POSITION_COPY,
        POSITION_COPY,
        POSITION_COPY,
        POSITION_SEEKS,
        POSITION_COPY,
    ]
    offsets = [NONE, 0, 100, 50, 150, NONE, 7]
    results = [0, 100, 50, 10, 5, 7, 1]
    implicit = implicit_positions(array(actions), array([0] * 7), array(offsets), array(results), array([0]))
    assert implicit.tolist() == [False, False, True, False, True, False, True]

"""The compact form of a plan's rows, and which accesses order anything: against slow definitions of the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.errors import ReplayError
from iotrace.replay.access import needed_accesses, stable_order
from iotrace.replay.arguments import BUFFER, CONSTANT, DESCRIPTOR, HOW, MAPPED, RANGE, STRING, VALUE, VECTOR
from iotrace.replay.arguments import LOCK as LOCK_KIND
from iotrace.replay.layout import CALL, THREAD_BEGINS, THREAD_ENDS, lay_out
from iotrace.replay.numbering import Numbering
from iotrace.replay.packing import Packer, unpack_values
from iotrace.replay.room import check_rows
from iotrace.replay.sweeps import find_edges, reduce_edges

WORD = st.integers(-(1 << 63), (1 << 63) - 1)
SHAPES = st.sampled_from(
    [
        (DESCRIPTOR, BUFFER, VALUE, VALUE, CONSTANT, CONSTANT),
        (DESCRIPTOR, VECTOR, CONSTANT, VALUE, CONSTANT, CONSTANT),
        (DESCRIPTOR, CONSTANT, LOCK_KIND, CONSTANT, CONSTANT, CONSTANT),
        (DESCRIPTOR, STRING, HOW, CONSTANT, CONSTANT, CONSTANT),
        (DESCRIPTOR, CONSTANT, RANGE, CONSTANT, CONSTANT, CONSTANT),
        (MAPPED, VALUE, CONSTANT, CONSTANT, CONSTANT, CONSTANT),
        (VALUE, VALUE, VALUE, VALUE, VALUE, VALUE),
    ]
)
ROWS = st.lists(st.tuples(SHAPES, st.lists(st.one_of(st.integers(0, 2), WORD), min_size=7, max_size=7)), max_size=30)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(1, 7))
def test_what_was_packed_in_pieces_comes_out_as_it_was(
    rows: list[tuple[tuple[int, ...], list[int]]], size: int
) -> None:
    kinds = np.array([row[0] for row in rows], np.uint8).reshape(-1, 6)
    arguments = np.array([row[1][:6] for row in rows], np.int64).reshape(-1, 6)
    # these two hold nothing of their own
    arguments[(kinds == LOCK_KIND) | (kinds == HOW)] = 0
    delta = np.array([row[1][6] if row[0][0] == MAPPED else 0 for row in rows], np.int64)
    packer, forms, begins = Packer(), [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for at in range(0, len(rows), size):
        piece = slice(at, at + size)
        n = len(kinds[piece])
        form, begin = packer.add(
            np.arange(n) * 0, np.full(n, 7, np.int64), arguments[piece], kinds[piece], delta[piece]
        )
        forms.append(form)
        begins.append(begin)
    fields = packer.forms.known(0)
    got, distance = unpack_values(
        np.concatenate(forms), fields[:, 2].copy(), fields[:, 3:].copy(), np.concatenate(begins), packer.values()
    )
    assert got.tolist() == arguments.tolist()
    assert distance.tolist() == delta.tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), WORD), max_size=200), st.integers(1, 50))
def test_distinct_rows_are_numbered_in_the_order_in_which_they_are_first_seen(
    keys: list[tuple[int, int]], size: int
) -> None:
    numbering, known, got = Numbering(2), dict[tuple[int, int], int](), list[int]()
    for at in range(0, len(keys), size):
        got += numbering.numbers(np.array(keys[at : at + size], np.int64)).tolist()
    assert got == [known.setdefault(key, len(known)) for key in keys]
    assert numbering.known(0).tolist() == [list(key) for key in known]


def test_more_distinct_rows_than_there_was_room_for_keep_their_numbers() -> None:
    numbering = Numbering(1)
    keys = np.arange(20_000, dtype=np.int64)[:, None] * 64
    for at in range(0, len(keys), 3000):
        numbering.numbers(keys[at : at + 3000])
    assert numbering.numbers(keys).tolist() == list(range(20_000))


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans()), max_size=40)  # thread, time, kept


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_rows_stand_by_thread_and_start_between_the_marks_of_the_thread(events: list[tuple[int, int, bool]]) -> None:
    live = sorted({thread for thread, _, kept in events if kept}, reverse=True)
    layout = lay_out(
        np.array(live, np.int32), 4, np.array([event[0] for event in events], np.int32),
        np.array([event[1] for event in events], np.int64), np.array([event[2] for event in events], np.bool_),
        np.zeros(0, np.int64), np.zeros(0, np.int64),
    )  # fmt: skip
    wanted = []
    for thread in live:
        mine = [i for i, (of, _, kept) in enumerate(events) if of == thread and kept]
        mine.sort(key=lambda i: (events[i][1], i))
        wanted += [(-1, THREAD_BEGINS), *((i, CALL) for i in mine), (-1, THREAD_ENDS)]
    assert list(zip(layout.event.tolist(), layout.part.tolist(), strict=True)) == wanted


ACCESS = st.tuples(
    st.integers(0, 1), st.integers(0, 2), st.integers(0, 30), st.integers(0, 6), st.sampled_from([0, 0, 0, 0, 1, 2])
)  # resource, thread, start, duration, level


@settings(max_examples=300, deadline=None)
@given(st.lists(ACCESS, max_size=40))
def test_reads_left_out_between_others_of_the_thread_change_no_wait(
    accesses: list[tuple[int, int, int, int, int]],
) -> None:
    rows = sorted(accesses, key=lambda access: (access[1], access[2]))
    ends = []
    for i, (_, own, begin, duration, _) in enumerate(rows):
        following = rows[i + 1][2] if i + 1 < len(rows) and rows[i + 1][1] == own else 10**6
        ends.append(min(begin + duration, following))
    resource, thread, start, _, level = (np.array([row[k] for row in rows], np.int64) for k in range(5))
    end, row = np.array(ends, np.int64), np.arange(len(rows))
    needed = needed_accesses(resource, row, level, thread, start, end, 2)

    def waits(chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
        at = np.flatnonzero(chosen)
        at = at[np.argsort(start[at], kind="stable")]
        at = at[stable_order(resource[at], 2)]
        before, after = find_edges(resource[at], row[at], thread, start, end, level[at])
        order = np.lexsort((-before, after))
        before, after = before[order], after[order]
        kept = reduce_edges(before, after, thread, 3)
        return list(zip(before[kept].tolist(), after[kept].tolist(), strict=True))

    assert waits(needed) == waits(np.ones(len(rows), np.bool_))


def test_a_plan_without_room_in_memory_is_refused_with_what_it_takes() -> None:
    with pytest.raises(ReplayError, match=r"1.00P? ?.*replayed events takes .* more of memory.*--map PREFIX"):
        check_rows(10**15)
    check_rows(1000)

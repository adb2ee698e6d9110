"""The figures of the prediction study: what is counted, what an error is made of, what a ranking says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prediction.figures import all_figures, differences, figures_of, left_out, ranking, spread_of
from prediction.runs import OpTime, Recorded, Replayed, covered_ns
from prediction.study import Pair, Predicted, Setting, Study, continue_study
from prediction.tables import tables

SETTING = Setting("warm", "ext4", "6.1", "servers on 1, clients on 0", "0.1")


def recorded(io_s: float, think_s: float, ends_s: float = 0.1, lanes: int = 1) -> Recorded:
    span_s = io_s + think_s
    return Recorded(ends_s / 2, span_s, ends_s / 2, io_s, io_s, think_s, 0.0, lanes, {"read": OpTime(10, io_s)})


def replayed(io_s: float, think_s: float, errors: int = 0) -> Replayed:
    return Replayed(io_s + think_s, io_s, 0.0, errors, {"read": OpTime(10, io_s)})


def study(**pairs: Pair) -> Study:
    return Study(SETTING, programs={"tar": Predicted(recorded(0.2, 0.5), [0.8], pairs)})


def pair(real_s: list[float], io_s: float) -> Pair:
    """Runs of a program that spends 0.6 s outside calls, replayed with 0.1 s more I/O than it does."""
    return Pair(real_s, [replayed(io_s + 0.1, 0.5)], [recorded(io_s, 0.5)])


def test_a_prediction_adds_start_and_end_of_the_recording_to_the_replay() -> None:
    one = all_figures(study(xfs=pair([1.6], 1.0)))[0]
    assert one.predicted_s[0] == pytest.approx(0.1 + 1.1 + 0.5)
    assert one.error == pytest.approx(1.7 / 1.6 - 1)
    assert one.io_error == pytest.approx(0.1)


@given(
    real=st.floats(0.1, 100), io=st.floats(0.01, 50), think=st.floats(0, 50), ends=st.floats(0, 5),
    there_io=st.floats(0.01, 50), there_think=st.floats(0, 50), there_ends=st.floats(0, 5),
)  # fmt: skip
def test_the_causes_add_up_to_the_error(
    real: float, io: float, think: float, ends: float, there_io: float, there_think: float, there_ends: float
) -> None:
    of = Predicted(recorded(1.0, think, ends))
    runs = Pair([real], [replayed(io, think)], [recorded(there_io, there_think, there_ends)])
    one = figures_of("tar", of, "xfs", runs)
    assert one is not None
    assert one.causes is not None
    total = one.causes.io_s + one.causes.think_s + one.causes.ends_s + one.causes.recorder_s
    assert total == pytest.approx(one.predicted_s[0] - real, abs=1e-6)
    assert one.causes.io_s == pytest.approx(io - there_io, abs=1e-6)
    assert one.causes.think_s == pytest.approx(think - there_think, abs=1e-6)
    assert one.causes.ends_s == pytest.approx(ends - there_ends, abs=1e-6)


def test_causes_are_not_given_for_several_threads() -> None:
    of = Predicted(recorded(1.0, 0.5, lanes=2))
    one = figures_of("tar", of, "xfs", pair([1.6], 1.0))
    assert one is not None
    assert one.causes is None


def test_a_program_that_computes_is_not_counted() -> None:
    share_of_a_fifth, share_of_a_half = pair([0.75], 0.15), pair([1.2], 0.6)
    figures = all_figures(study(xfs=share_of_a_fifth, cephfs=share_of_a_half))
    assert [one.counted for one in figures] == [False, True]


def test_a_pair_without_all_three_kinds_of_runs_has_no_figures() -> None:
    assert all_figures(study(xfs=Pair([1.0], [replayed(1, 1)]), cephfs=Pair(), moosefs=Pair(failed="no"))) == []


def test_only_mounts_that_the_program_tells_apart_are_ranked() -> None:
    figures = all_figures(study(a=pair([1.0, 1.2], 0.5), b=pair([1.1, 1.3], 0.1), c=pair([2.0, 2.2], 1.5)))
    assert (ranking(figures).separate, ranking(figures).right) == (2, 2)


def test_a_wrong_ranking_is_named() -> None:
    order = ranking(all_figures(study(a=pair([1.0], 0.9), b=pair([2.0], 0.1))))
    assert (order.separate, order.right) == (1, 0)
    assert order.wrong == ("tar: a is faster than b",)


def test_the_spread_is_of_neighbours() -> None:
    assert spread_of([1.0]) is None
    assert spread_of([1.0, 2.0, 2.0, 3.0]) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 30)), min_size=1, max_size=20))
def test_covered_time_counts_each_moment_once(spans: list[tuple[int, int]]) -> None:
    moments = {moment for start, length in spans for moment in range(start, start + length)}
    start = np.array([start for start, _ in spans])
    end = np.array([start + length for start, length in spans])
    assert covered_ns(start, end) == len(moments)


def test_the_operations_that_differ_most_come_first() -> None:
    real, again = recorded(1.0, 0.0), replayed(1.0, 0.0)
    real.by_op = {"read": OpTime(5, 1.0), "write": OpTime(5, 1.0)}
    again.by_op = {"read": OpTime(5, 1.1), "write": OpTime(4, 3.0), "stat": OpTime(1, 0.01)}
    found = differences(Pair([1.0], [again], [real]), 2)
    assert [(one.op, one.real_calls, one.replayed_calls) for one in found] == [("write", 5, 4), ("read", 5, 5)]


def test_calls_that_a_replay_leaves_out_are_named_where_they_cost_something() -> None:
    one, other = recorded(1.0, 0.0), recorded(1.0, 0.0)
    one.left_out = {"fchown": OpTime(480, 0.5), "ioctl": OpTime(3, 0.0001)}
    other.left_out = {"fchown": OpTime(480, 0.75)}
    assert left_out(Pair(recorded=[one, other])) == [("fchown", OpTime(480, 0.625))]


def test_a_study_goes_on_from_its_file_only_in_the_same_setting(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    first = study(xfs=pair([1.6], 1.0))
    first.save(path)
    assert continue_study(path, SETTING) == first
    with pytest.raises(ValueError, match="measured with cache 'warm', this is 'cold'"):
        continue_study(path, Setting("cold", "ext4", "6.1", "servers on 1, clients on 0", "0.1"))
    path.write_text("{")
    with pytest.raises(ValueError, match="is not a study"):
        continue_study(path, SETTING)


def test_the_tables_name_what_was_not_measured() -> None:
    text = tables(study(xfs=pair([1.6, 1.7], 1.0), cephfs=Pair(failed="no room")))
    assert "| tar | xfs | 62.5 % | 1.65 (1.60–1.70) |" in text
    assert "- tar on cephfs: no room" in text

"""The buckets: every value in exactly one, narrow enough, and the same in Python and in SQL."""

import duckdb
import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace import histogram

value = st.one_of(
    st.integers(0, 2**63 - 1),
    st.integers(0, 62).map(lambda e: 2**e),
    st.integers(1, 62).map(lambda e: 2**e - 1),
    st.integers(0, 5000),
)
values = st.lists(value, min_size=1, max_size=60)


@given(values)
def test_a_value_lies_in_its_bucket(data: list[int]) -> None:
    bounds = [*histogram.lower_bounds().tolist(), 2**63]
    for number, bucket in zip(data, histogram.bucket_of(data).tolist(), strict=True):
        assert bounds[bucket] <= number < bounds[bucket + 1]


@given(values)
def test_a_buckets_middle_is_within_one_percent_of_its_values(data: list[int]) -> None:
    middles = histogram.middles()[histogram.bucket_of(data)]
    exact = np.asarray(data, dtype=np.float64)
    assert np.all(np.abs(middles - exact) <= 0.01 * exact + 1e-9)


def test_bounds_rise_and_begin_at_zero() -> None:
    bounds = histogram.lower_bounds()
    assert bounds.shape == (histogram.BUCKETS,)
    assert bounds[0] == 0
    assert np.all(np.diff(bounds) > 0)


@given(st.lists(st.integers(-(2**63), -1), min_size=1))
def test_negative_values_count_as_zero(data: list[int]) -> None:
    assert not histogram.bucket_of(data).any()


@settings(deadline=None)  # the first example opens DuckDB
@given(st.lists(st.one_of(value, st.integers(-10, -1)), min_size=1, max_size=60))
def test_sql_and_python_choose_the_same_bucket(data: list[int]) -> None:
    frame = pd.DataFrame({"v": np.asarray(data, dtype=np.int64)})
    connection = duckdb.connect()
    connection.register("frame", frame)
    found = connection.execute(f"select {histogram.bucket_sql('v')} as b from frame").fetchnumpy()["b"]
    np.testing.assert_array_equal(found, histogram.bucket_of(data))


def test_sql_and_python_agree_at_every_edge_of_a_bucket() -> None:
    edges = histogram.lower_bounds()
    around = np.unique(np.concatenate([edges, np.maximum(edges - 1, 0), edges + 1]))
    connection = duckdb.connect()
    connection.register("frame", pd.DataFrame({"v": around}))
    found = connection.execute(f"select v, {histogram.bucket_sql('v')} as b from frame").df()
    np.testing.assert_array_equal(found["b"], histogram.bucket_of(found["v"]))


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300), st.floats(0.001, 1))
def test_a_quantile_is_within_one_percent_of_the_nearest_rank(data: list[int], q: float) -> None:
    counts = np.zeros(histogram.BUCKETS, dtype=np.int64)
    histogram.add(counts, data)
    exact = sorted(data)[max(1, int(np.ceil(q * len(data)))) - 1]
    assert abs(histogram.quantile(counts, q) - exact) <= 0.01 * exact + 1e-9


def test_a_quantile_of_nothing_is_not_a_number() -> None:
    assert np.isnan(histogram.quantile(np.zeros(histogram.BUCKETS), 0.5))


@given(values, values)
def test_histograms_of_two_parts_add_up_to_that_of_the_whole(a: list[int], b: list[int]) -> None:
    parts = [np.zeros(histogram.BUCKETS, dtype=np.int64) for _ in range(3)]
    histogram.add(parts[0], a)
    histogram.add(parts[1], b)
    histogram.add(parts[2], [*a, *b])
    np.testing.assert_array_equal(parts[0] + parts[1], parts[2])


@given(values)
def test_sparse_and_dense_are_each_others_inverse(data: list[int]) -> None:
    counts = np.zeros(histogram.BUCKETS, dtype=np.int64)
    histogram.add(counts, data)
    np.testing.assert_array_equal(histogram.dense(*histogram.sparse(counts)), counts)

"""The model's rates against what queueing theory says in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.analysis.sizing.kernels import rates as r

FAST = 1e15


def storage(**figures: float) -> Any:
    """A storage's row; what is not given is as good as unlimited and takes no time."""
    row = np.full(r.STORAGE_FIELDS, FAST)
    row[[r.READ_LATENCY, r.WRITE_LATENCY, r.META_LATENCY]] = 0.0
    for name, value in figures.items():
        row[getattr(r, name)] = value
    return row


def loop(**figures: float) -> Any:
    """A phase's row."""
    row = np.zeros(r.PHASE_FIELDS)
    row[r.WORKERS] = row[r.ITEMS] = 1
    for name, value in figures.items():
        row[getattr(r, name)] = value
    return row


def solved(jobs: list[float], phases: list[Any], row: Any) -> tuple[Any, Any]:
    """Items/s of one job of each phase, and the time of an item by parts."""
    phase = np.array(phases)
    state, parts = r.fresh_state(phase), np.zeros((len(phase), r.PARTS))
    assert r.solve(np.array(jobs, float), phase, row, state, parts)
    return state[:, 0], parts


def mean_values(customers: int, think: float, service: float) -> float:
    """Throughput of a closed network of one station, exactly: mean value analysis (Reiser and Lavenberg 1980)."""
    queue = rate = 0.0
    for n in range(1, customers + 1):
        there = service * (1 + queue)
        rate = n / (think + there)
        queue = rate * there
    return rate


def test_one_customer_never_waits() -> None:
    rate, _ = solved([1], [loop(THINK=2.0, META=10)], storage(METADATA=5.0, META_LATENCY=0.1))
    assert rate[0] == pytest.approx(1 / (2 + 10 * 0.1 + 10 / 5), rel=1e-5)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.9])
def test_many_customers_who_seldom_come_wait_as_in_an_m_m_1_queue(load: float) -> None:
    service, customers = 1e-3, 200_000
    think = customers * service / load
    rate, parts = solved([customers], [loop(THINK=think, META=1)], storage(METADATA=1 / service))
    arrivals = rate[0] * customers
    assert parts[0, r.META_QUEUE] == pytest.approx(service / (1 - arrivals * service), rel=0.02)


@pytest.mark.parametrize("think", [0.0, 1.0, 5.0, 30.0])
@pytest.mark.parametrize("customers", [1, 2, 5, 10, 40])
def test_a_closed_queue_is_that_of_mean_value_analysis(customers: int, think: float) -> None:
    """Schweitzer's approximation is known to be off by some percent where the station is just about full."""
    rate, _ = solved([customers], [loop(THINK=think, META=1)], storage(METADATA=1.0))
    assert rate[0] * customers == pytest.approx(mean_values(customers, think, 1.0), rel=0.08)


@pytest.mark.parametrize("processors", [1, 2, 8])
@pytest.mark.parametrize("jobs", [1, 2, 3, 16, 200])
def test_processors_are_shared_when_there_are_more_jobs_than_processors(jobs: int, processors: int) -> None:
    """Between its two limits, an idle and a full station, Seidmann's several servers are known to be too careful."""
    rate, parts = solved([jobs], [loop(THINK=1.0, PROCESSOR=0.5)], storage(PROCESSORS=float(processors)))
    most = min(jobs / 1.5, processors / 0.5)
    assert 0.75 * most <= jobs * rate[0] <= most * (1 + 1e-4)
    assert parts[0, r.PROCESSING] >= 0.5 * (1 - 1e-6)
    if jobs == 1 or jobs > 20 * processors:
        assert jobs * rate[0] == pytest.approx(most, rel=1e-3)


@pytest.mark.parametrize("jobs", [1, 3, 10, 100])
def test_streams_share_what_a_storage_can_do_evenly_and_no_stream_gets_more_than_its_own(jobs: int) -> None:
    rate, parts = solved([jobs], [loop(READ=1e6, READ_DISK=1e6)], storage(STREAM_READ=2e8, DISK_READ=1e9))
    each = rate[0] * 1e6
    assert each == pytest.approx(min(2e8, 1e9 / jobs), rel=1e-4)
    assert (parts[0, r.READ_BY_STREAM] > 0) == (jobs < 5)
    assert (parts[0, r.READ_BY_STORAGE] > 0) == (jobs > 5)


def test_one_device_takes_the_requests_of_all_in_turn_so_that_the_large_get_more_of_it() -> None:
    reader = loop(READ=1e6, READ_DISK=1e6, READS=1, DATA_OPS=1)
    writer = loop(WRITE=4e5, DATA_OPS=2)
    device = storage(DISK_READ=1e8, TOTAL_WRITE=5e7, SHARING=r.IN_TURN, DEVICES=1)
    rate, parts = solved([2, 3], [reader, writer], device)
    # all wait for as long as a round takes; the writer's item is two requests
    turn = 2 * 1e6 / 1e8 + 3 * 2e5 / 5e7
    assert rate == pytest.approx([1 / turn, 1 / (2 * turn)], rel=1e-4)
    assert parts[0, r.READ_BY_STORAGE] == pytest.approx(turn, rel=1e-4)
    alone, _ = solved([1, 0], [reader, writer], device)
    assert alone[0] == pytest.approx(100, rel=1e-4)


def test_a_device_of_several_serves_one_request_no_faster_and_many_as_fast_as_all_do_together() -> None:
    row = storage(DISK_READ=1e8, SHARING=r.IN_TURN, DEVICES=4)
    reader = loop(READ=1e6, READ_DISK=1e6, READS=1, DATA_OPS=1)
    alone, _ = solved([1], [reader], row)
    assert alone[0] == pytest.approx(25, rel=1e-4)
    many, _ = solved([400], [reader], row)
    assert many[0] * 400 == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("sharing", [r.APART, r.TOGETHER, r.IN_TURN])
def test_a_job_with_a_storage_of_its_own_never_waits_for_others(sharing: float) -> None:
    row = storage(DISK_READ=1e8, TOTAL_WRITE=1e8, METADATA=1e3, OPERATIONS=1e4, SHARING=sharing, DEVICES=1, OWN=1)
    phase = loop(WORKERS=3, META=2, READ=1e6, READ_DISK=1e6, READS=1, DATA_OPS=2, WRITE=1e6)
    one, _ = solved([1], [phase], row)
    many, _ = solved([50], [phase], row)
    assert many[0] == pytest.approx(one[0], rel=1e-4)
    assert one[0] * (2e6 if sharing != r.APART else 1e6) <= 1e8 * (1 + 1e-3)


def test_what_reads_take_of_one_limit_is_not_there_for_writes() -> None:
    both = [loop(READ=1e6, READ_DISK=1e6), loop(WRITE=1e6)]
    rate, _ = solved([3, 1], both, storage(DISK_READ=1e8, TOTAL_WRITE=5e7, SHARING=r.TOGETHER))
    assert rate == pytest.approx([1e2 / 4, 50 / 4], rel=1e-4)
    apart, _ = solved([3, 1], both, storage(DISK_READ=1e8, TOTAL_WRITE=5e7))
    assert apart == pytest.approx([1e2 / 3, 50], rel=1e-4)


def test_threads_of_a_job_share_its_nodes_network() -> None:
    rate, parts = solved([2], [loop(WORKERS=8, READ=1e6)], storage(STREAM_READ=1e9, CLIENT_READ=2e9, DISK_READ=1e11))
    assert rate[0] * 1e6 == pytest.approx(2e9, rel=0.01)
    assert parts[0, r.READ_BY_CLIENT] > 0


@pytest.mark.parametrize("faster", [1.0, 2.0, 10.0, 1e6])
def test_a_faster_gpu_gains_what_amdahl_says(faster: float) -> None:
    row = storage(STREAM_READ=1e8, META_LATENCY=1e-3)
    phase = {"META": 100.0, "READ": 5e7}
    before, _ = solved([1], [loop(THINK=4.0, **phase)], row)
    after, _ = solved([1], [loop(THINK=4.0 / faster, **phase)], row)
    io = 100 * 1e-3 + 0.5
    assert after[0] / before[0] == pytest.approx((4 + io) / (4 / faster + io), rel=1e-5)


PHASE = st.builds(
    lambda workers, think, meta, read, disk, write, ops, reads: loop(
        WORKERS=workers, THINK=think, META=meta, READ=read, READ_DISK=read * disk, WRITE=write, DATA_OPS=ops,
        READS=ops * reads,
    ),
    st.integers(1, 40), st.floats(0, 100), st.floats(0, 1e4), st.floats(0, 1e10), st.floats(0, 1), st.floats(0, 1e10),
    st.floats(0, 1e5), st.floats(0, 1),
)  # fmt: skip


@settings(deadline=None, max_examples=400)  # the first call compiles
@given(
    st.lists(st.tuples(PHASE, st.integers(0, 400)), min_size=1, max_size=8),
    st.sampled_from([r.APART, r.TOGETHER, r.IN_TURN]),
    st.sampled_from([1.0, 0.01]),
)
def test_nothing_is_ever_asked_for_more_than_it_can_do(
    phases: list[tuple[Any, int]], sharing: float, narrow: float
) -> None:
    row = storage(
        STREAM_READ=6e8 * narrow, STREAM_WRITE=5e8 * narrow, CLIENT_READ=3e9 * narrow, CLIENT_WRITE=2e9 * narrow,
        NETWORK_READ=4e10, DISK_READ=1.7e10, TOTAL_WRITE=1e10, OPERATIONS=1e6, METADATA=3e4, META_LATENCY=5e-4,
        SHARING=sharing, DEVICES=1,
    )  # fmt: skip
    jobs, table = np.array([count for _, count in phases], float), np.array([phase for phase, _ in phases])
    rate, parts = solved(list(jobs), list(table), row)
    busy = jobs > 0
    rate = np.where(busy, rate, 0)
    for column, most in (
        (r.READ, r.NETWORK_READ), (r.READ_DISK, r.DISK_READ), (r.WRITE, r.TOTAL_WRITE), (r.DATA_OPS, r.OPERATIONS),
        (r.META, r.METADATA),
    ):  # fmt: skip
        assert (jobs * rate * table[:, column]).sum() <= row[most] * (1 + 1e-3)
    if sharing != r.APART:
        taken = table[:, r.READ_DISK] / row[r.DISK_READ] + table[:, r.WRITE] / row[r.TOTAL_WRITE]
        assert (jobs * rate * taken).sum() <= 1 + 1e-3
    for column, stream, client in (
        (r.READ, r.STREAM_READ, r.CLIENT_READ), (r.WRITE, r.STREAM_WRITE, r.CLIENT_WRITE),
    ):  # fmt: skip
        moved = rate * table[:, column]
        assert (moved <= table[:, r.WORKERS] * row[stream] * (1 + 1e-3)).all()
        assert (moved <= row[client] * (1 + 1e-3)).all()
    # an item takes what its parts take
    took = parts[busy].sum(axis=1)
    assert np.allclose(rate[busy] * np.maximum(took, 1e-9), table[busy, r.WORKERS], rtol=1e-4)

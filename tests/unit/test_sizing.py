"""The model of jobs on a storage: jobs through lanes, what a workload asks for, and the questions that it answers."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from iotrace.analysis.commands.size import size
from iotrace.analysis.cost.capacity import purchase
from iotrace.analysis.cost.price_files import load_prices
from iotrace.analysis.sizing.answer import answer
from iotrace.analysis.sizing.demand import Demand, demand_of, with_crowd
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.analysis.sizing.questions import SLOWER, Case, Keeping, knee_of, months_of, needed_units
from iotrace.analysis.sizing.sensitivity import effects_of
from iotrace.analysis.sizing.show import print_answers
from iotrace.analysis.sizing.simulation import most_of_time, run_rows, simulate
from iotrace.analysis.sizing.storages import Catalogue, Storage, load_catalogue
from iotrace.analysis.sizing.table_1 import held_out
from iotrace.errors import UsageError
from iotrace.profiles.model import DataSet, Workload, load
from iotrace.profiles.numbers import numbers_of
from iotrace.profiles.steps import Crowd, steps_of
from iotrace.profiles.totals import totals_of
from iotrace.terminal import console
from iotrace.units import bytes_text, parse_bytes, parse_capacity, rate_text

STRIPES = 'stripes = { drives = 1, drive = "7500 GB", protection = 2, widest = 16, usable = 0.9 }'
FREE = np.full(r.STORAGE_FIELDS, 1e15)
FREE[[r.READ_LATENCY, r.WRITE_LATENCY, r.META_LATENCY]] = 0


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """The shipped storages and nodes."""
    return load_catalogue()


def case_of(catalogue: Catalogue, storage: str = "weka-i3en", node: str = "reference", **given: float) -> Case:
    """The reference architecture."""
    workload = load(Workload, "reference-architecture")
    return Case(workload, node, catalogue.node(node), storage, catalogue.storage(storage), given)


def thinking(seconds: list[list[float]], before: list[list[bool]], *, users: int, lanes: int, arrival: float = 0.0,
             beside: list[int] | None = None) -> Demand:  # fmt: skip
    """Jobs that only compute: of each step its phases' times (s)."""
    phases = [one for step in seconds for one in step]
    phase = np.zeros((len(phases), r.PHASE_FIELDS))
    phase[:, r.WORKERS] = phase[:, r.ITEMS] = 1
    phase[:, r.THINK] = phases
    first = np.cumsum([0] + [len(step) for step in seconds])
    steps = len(before)
    numbers = numbers_of(None, load(DataSet, "empiar-10288"))
    return Demand(
        [f"s{k}" for k in range(len(seconds))], phase, np.zeros(len(phase)), np.zeros(len(phase)),
        first, np.arange(len(seconds)),
        np.full((steps, 2), -1, np.int64), np.array(before), np.array(beside or [], np.int64), [],
        Crowd(users, lanes, len(beside or []), 0, 0), arrival, numbers, [0] * len(seconds), 0, 1, 0, 0, 0,
    )  # fmt: skip


def test_jobs_wait_for_a_lane_in_the_order_in_which_they_became_ready() -> None:
    chain = [[False, False], [True, False]]
    run = run_rows(thinking([[2.0, 1.0], [4.0]], chain, users=3, lanes=1), FREE)
    # all first jobs are ready at once, then each second one when its first has ended
    assert run.start_s.tolist() == pytest.approx([0, 9, 3, 13, 6, 17])
    assert run.end_s.tolist() == pytest.approx([3, 13, 6, 17, 9, 21])
    assert run.structure_s.tolist() == pytest.approx([13, 17, 21])
    assert run.waited_s.tolist() == pytest.approx(np.array([[0, 6], [3, 7], [6, 8]]))
    assert run.lane.tolist() == [[0, 0]] * 3


def test_two_lanes_and_users_who_come_one_after_another() -> None:
    run = run_rows(thinking([[4.0]], [[False]], users=4, lanes=2, arrival=1.0), FREE)
    assert run.start_s.tolist() == pytest.approx([0, 1, 4, 5])
    assert run.structure_s.tolist() == pytest.approx([4, 4, 6, 6])
    assert run.lane.tolist() == [[0], [1], [0], [1]]
    timeline = run.timeline
    assert (timeline[:, e.RUNNING] * timeline[:, e.LENGTH]).sum() == pytest.approx(16)
    assert timeline[:, e.WAITING].max() == 2


def test_what_runs_beside_the_lanes_takes_none_of_them() -> None:
    run = run_rows(thinking([[4.0], [9.0]], [[False]], users=2, lanes=1, beside=[1]), FREE)
    assert run.end_s.tolist() == pytest.approx([4, 8, 9])
    assert run.length_s == pytest.approx(8)


def test_what_is_read_and_written_is_what_the_arithmetic_of_the_recipes_says(catalogue: Catalogue) -> None:
    case = case_of(catalogue)
    demand = case.demand(10)
    run = case.run(10, demand)
    for number, totals in enumerate(demand.totals):
        jobs = demand.crowd.users if number < len(demand.before) else 1
        assert run.sums[number, e.BYTES_WRITTEN] == pytest.approx(jobs * totals.bytes_written, rel=1e-6)
        # what is read again and fits into the node's memory does not reach the storage
        asked = totals.bytes_read + totals.bytes_mapped
        assert run.sums[number, e.BYTES_READ] <= jobs * asked * (1 + 1e-6)
        touched = sum(phase.bytes_touched for phase in totals.phases)
        assert run.sums[number, e.BYTES_READ] >= jobs * touched * (1 - 1e-6)
    read = (run.timeline[:, e.READ_RATE] * run.timeline[:, e.LENGTH]).sum()
    assert read == pytest.approx(run.sums[:, e.BYTES_READ].sum(), rel=1e-6)


def test_what_was_worked_out_before_is_taken_for_the_same_numbers_only(catalogue: Catalogue) -> None:
    for given in ({"box": 200.0}, {"box": 300.0}, {"box": 300.0, "users": 3.0}, {"box": 200.0}):
        case = replace(case_of(catalogue), given=given)
        steps, beside, _ = steps_of(case.workload, {"gpus": 1.0, **given}, 1.0)
        fresh = [totals_of(step.profile, step.numbers) for step in [*steps, beside[0]]]
        assert case.demand(1).totals == fresh


def test_without_a_storage_in_the_way_a_job_takes_its_think_time(catalogue: Catalogue) -> None:
    case = case_of(catalogue)
    demand = case.demand(1)
    run = run_rows(demand, FREE)
    for number, totals in enumerate(demand.totals[: len(demand.before)]):
        assert run.sums[number, e.JOB_SECONDS] / 10 == pytest.approx(totals.think_s, rel=0.02)


def test_parts_of_a_step_are_all_of_its_time(catalogue: Catalogue) -> None:
    run = case_of(catalogue, "nfs-server", users=60, lanes=30).run(1)
    for number in range(len(run.demand.steps)):
        assert run.sums[number, e.PARTS_FROM :].sum() == pytest.approx(run.sums[number, e.JOB_SECONDS], rel=1e-3)


@pytest.mark.parametrize("storage", ["fsx-lustre-500", "weka-i3en", "nfs-server"])
def test_more_of_a_storage_is_never_slower_and_more_users_are_never_faster(catalogue: Catalogue, storage: str) -> None:
    case = case_of(catalogue, storage, "g5.24xlarge", users=200, lanes=100)
    times = [float(case.run(units).structure_s.mean()) for units in (1, 2, 4, 8, 16, 64)]
    assert all(later <= earlier * 1.001 for earlier, later in pairwise(times))
    demand = case.demand(8)
    steps = len(demand.before)
    hours = [
        case.run(8, with_crowd(demand, users=users, lanes=users)).sums[:steps, e.JOB_SECONDS].sum() / users
        for users in (1, 20, 400)
    ]
    assert hours[0] <= hours[1] * 1.001 <= hours[2] * 1.002


def test_a_cache_in_the_nodes_takes_reads_from_the_storage(catalogue: Catalogue) -> None:
    plain = case_of(catalogue, "nfs-server", "g5.4xlarge").run(1)
    case = case_of(catalogue, "nfs-server", "g5.4xlarge", cached_lanes=5)
    case.node = msgspec.structs.replace(case.node, local_capacity="10 TB")
    cached = case.run(1)
    assert cached.sums[:, e.BYTES_READ].sum() < 0.8 * plain.sums[:, e.BYTES_READ].sum()
    assert cached.sums[:, e.PARTS_FROM + r.LOCAL_DISK].sum() > 0
    # a node without a disk has none to cache on
    bare = case_of(catalogue, "nfs-server", "reference", cached_lanes=5).run(1)
    assert bare.sums[:, e.PARTS_FROM + r.LOCAL_DISK].sum() == 0


def test_reads_that_a_nodes_memory_serves_ask_the_storage_for_nothing(catalogue: Catalogue) -> None:
    case = case_of(catalogue, "nfs-server", users=1, lanes=1, live=0)
    without, half, large = (
        replace(case, node=msgspec.structs.replace(case.node, memory=memory, page_cache=share), known={}).demand(1)
        for memory, share in (("64 GiB", 0.0), ("400 GB", 0.5), ("10 TB", 1.0))
    )
    again = without.again > 0
    assert again.any()
    for demand in (half, large):
        left = demand.phase[again, r.READ] / without.phase[again, r.READ]
        assert (left < 1).all()
        for column in (r.READS, r.LATENT_READS):
            assert demand.phase[again, column] == pytest.approx(left * without.phase[again, column])
            assert (demand.phase[~again, column] == without.phase[~again, column]).all()
        writes = [one.phase[:, r.DATA_OPS] - one.phase[:, r.READS] for one in (without, demand)]
        assert writes[1] == pytest.approx(writes[0])
    # what is left is each byte once
    assert (large.phase[:, r.READ] * large.phase[:, r.ITEMS])[again] == pytest.approx(without.touched[again])


def test_a_nodes_disk_holds_the_stacks_of_so_many_users_as_fit(
    catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(capacity: str) -> float:
        case = case_of(catalogue, "nfs-server", "g5.4xlarge", cached_lanes=1, lanes=1, users=3, live=0)
        case.node = msgspec.structs.replace(case.node, local_capacity=capacity)
        return float(case.run(1).sums[:, e.BYTES_READ].sum())

    case = case_of(catalogue, "nfs-server", "g5.4xlarge", cached_lanes=1, lanes=1, users=3, live=0)
    demand = case.demand(1)
    assert demand.kept == 1
    # of three users who take turns at a lane two find nothing of theirs left, each time
    steps = sum((one >= 0).any() for one in demand.cached)
    assert read("600 GB") - read("") == pytest.approx(3 * (steps - 1) * demand.stack_bytes, rel=0.02)
    assert read("3 TB") == read("")
    found = answer(case, 1, Keeping(), search=False)
    assert any("1 of 3 users at a time" in note for note in found.notes)
    case.node = msgspec.structs.replace(case.node, local_capacity="100 GB")
    found = answer(case, 1, Keeping(), search=False)
    assert found.run.demand.crowd.cached_lanes == 0
    assert any("does nothing: the disk of the node g5.4xlarge (100 GB) does not hold" in note for note in found.notes)


def test_so_many_users_as_a_workload_says_have_room_on_a_nodes_disk(catalogue: Catalogue) -> None:
    crowd = {"cached_lanes": 2, "lanes": 2, "users": 4, "live": 0}
    for node, said, kept in (("g5.24xlarge", 1, 1), ("g5.24xlarge", 3, 3), ("g5.4xlarge", 3, 1)):
        assert case_of(catalogue, "nfs-server", node, **crowd, cache_users=said).demand(1).kept == kept
    case = case_of(catalogue, "nfs-server", "g5.24xlarge", **crowd, cache_users=1)
    found = answer(case, None, Keeping(), search=True)
    assert any("(cache_users = 1)" in note and "1 of 4 users" in note for note in found.notes)
    idle = case_of(catalogue, "nfs-server", "g5.24xlarge", cache_users=1)
    assert any("cache_users = 1 does nothing" in note for note in answer(idle, None, Keeping(), search=True).notes)
    # as on a disk that holds no more
    alike = case_of(catalogue, "nfs-server", "g5.24xlarge", **crowd)
    alike.node = msgspec.structs.replace(alike.node, local_capacity="600 GB")
    assert case.run(1).structure_s.tolist() == alike.run(1).structure_s.tolist()


def test_a_cache_that_a_node_has_no_disk_for_is_refused_or_said_to_do_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = ["movies=10", "particles=1000"]
    with pytest.raises(UsageError, match=r"node reference has no disk .* choose --node g5\.24xlarge, g5\.48xlarge"):
        size(storage=["nfs-server"], node=["g5.4xlarge", "reference"], set=[*few, "cached_lanes=5"])
    size(storage=["nfs-server"], node=["g5.4xlarge"], set=[*few, "cached_lanes=5"])
    assert "does nothing" not in capsys.readouterr().out
    # the workload's own number, which nobody asked for
    size("single-user", storage=["nfs-server"], set=few)
    assert "cached_lanes = 1 of single-user does nothing" in " ".join(capsys.readouterr().out.split())
    size("single-user", storage=["nfs-server"], set=[*few, "cached_lanes=0"])
    assert "does nothing" not in capsys.readouterr().out


def test_units_are_the_most_that_anything_asks_for_and_what_is_on_sale(catalogue: Catalogue) -> None:
    case = case_of(catalogue, "fsx-lustre-500", users=20, live=0)
    demand = case.demand(1)
    months = months_of(demand, Keeping(20, 3, 2))
    each = 20 * (demand.raw_bytes + demand.made_bytes)
    assert [month.hot for month in months[:4]] == [each, 2 * each, 3 * each, 3 * each]
    assert [month.cold for month in months[2:6]] == [0, each, 2 * each, 2 * each]
    needed = needed_units(case, months[-1].hot)
    assert needed.units == needed.capacity
    assert case.storage.capacity_bytes(needed.units - 2) < months[-1].hot <= case.storage.capacity_bytes(needed.units)
    assert needed.binding == "capacity"
    assert all(units == 1 or units % 2 == 0 for units in (getattr(needed, name) for name in needed.__slots__))
    small = needed_units(case, 1)
    assert (small.capacity, small.units) == (1, max(small.throughput, small.operations, small.metadata, small.slowdown))
    ideal = case.run(100_000).structure_s.mean()
    assert case.run(small.slowdown).structure_s.mean() <= ideal * (1 + SLOWER)


def test_reads_and_writes_that_share_a_limit_need_units_for_both(catalogue: Catalogue) -> None:
    crowd = {"live": 10.0, "microscopes": 10.0}
    workload, storage = load(Workload, "live-facility"), catalogue.storage("fsx-lustre-500")
    apart = Case(workload, "reference", catalogue.node("reference"), "fsx-lustre-500", storage, crowd)
    free = apart.run(100_000)
    read, write = parse_bytes(apart.storage.disk_read), parse_bytes(apart.storage.write)
    both = free.busiest(read, write, 0.95)
    assert both > max(free.percentile(e.READ_RATE, 0.95) / read, free.percentile(e.WRITE_RATE, 0.95) / write)
    shared = replace(apart, storage=msgspec.structs.replace(apart.storage, sharing="together"))
    assert needed_units(shared, 1).throughput >= both > needed_units(apart, 1).throughput - apart.storage.step


def test_sessions_and_microscopes_may_not_wait_for_the_storage_either(catalogue: Catalogue) -> None:
    workload = load(Workload, "live-facility")
    slow = msgspec.structs.replace(
        catalogue.storage("nfs-server"), disk_read="150 MB", write="150 MB", client_read="", client_write="",
        stream_read="", stream_write="", network_read="",
    )  # fmt: skip
    crowd = {"live": 10.0, "microscopes": 10.0}
    case = Case(workload, "reference", catalogue.node("reference"), "slow", slow, crowd)
    ideal, found = case.run(100_000), case.run(needed_units(case, 1).slowdown)
    beside = slice(len(ideal.demand.before), None)
    assert len(ideal.sums[beside]) == 2
    assert (found.sums[beside, e.JOB_SECONDS] <= ideal.sums[beside, e.JOB_SECONDS] * (1 + SLOWER)).all()


def test_a_step_without_anything_to_do_ends_at_once(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_of_it(profile: Any, numbers: Any) -> Any:
        found = totals_of(profile, numbers)
        if profile.name == "patch-ctf-estimation":
            return replace(found, phases=[replace(one, items=0) for one in found.phases])
        return found

    monkeypatch.setattr("iotrace.analysis.sizing.demand._totals_of", none_of_it)
    node = catalogue.node("reference")
    run = simulate(demand_of(load(Workload, "single-user"), node), catalogue.storage("weka-i3en"), node, 8)
    took = (run.end_s - run.start_s)[: len(run.demand.before)]
    assert took[run.demand.steps.index("ctf")] < 1e-6
    assert np.delete(took, run.demand.steps.index("ctf")).min() > 1


def test_the_knee_is_of_users_who_begin_at_once(catalogue: Catalogue) -> None:
    knees = [
        knee_of(case_of(catalogue, "nfs-server", "g5.24xlarge", arrival_seconds=apart), 1).users for apart in (0, 3600)
    ]
    assert knees[0] == knees[1]


def bursting(seconds: float) -> Storage:
    """A storage that reads 100 MB/s, and 500 MB/s while there are credits."""
    return Storage(
        title="bursts", unit="server", source="made", disk_read="100 MB", write="100 MB", read_latency_us=0,
        write_latency_us=0, metadata_latency_us=0, metadata=1e6, capacity="1 TB", burst_disk_read="500 MB",
        burst_seconds=seconds,
    )  # fmt: skip


def reader(gigabytes: float, think_s: float = 0.0, times: int = 1) -> Demand:
    """A job that thinks and then reads, so many times, as phases one after the other."""
    demand = thinking([[1.0]], [[False]], users=1, lanes=1)
    rows = []
    for _ in range(times):
        for think, read in ((think_s, 0.0), (0.0, gigabytes * 1e9)):
            row = np.zeros(r.PHASE_FIELDS)
            row[[r.WORKERS, r.ITEMS]], row[r.THINK] = 1, think
            row[r.READ] = row[r.READ_DISK] = read
            rows.append(row)
    phases = np.array(rows)
    return replace(demand, phase=phases, first=np.array([0, len(rows)]))


def test_a_storage_bursts_until_its_credits_are_spent_and_again_when_they_are_back(catalogue: Catalogue) -> None:
    node = catalogue.node("reference")
    # 100 s at 500 MB/s, the other 50 GB at 100 MB/s
    assert simulate(reader(100), bursting(100), node, 1).length_s == pytest.approx(100 + 500, rel=1e-3)
    assert simulate(reader(40), bursting(100), node, 1).length_s == pytest.approx(80, rel=1e-3)
    assert simulate(reader(100), bursting(0), node, 1).length_s == pytest.approx(1000, rel=1e-3)
    # credits of 400 s of the baseline are full again after 400 s of rest, of which 200 s give half of them
    long, short = (simulate(reader(50, rest, 2), bursting(100), node, 1).length_s for rest in (400, 200))
    assert long == pytest.approx(2 * (400 + 100), rel=1e-3)
    assert short == pytest.approx(200 + 100 + 200 + 50 + 250, rel=1e-3)


def test_rates_of_a_step_are_of_the_time_in_which_it_runs(catalogue: Catalogue) -> None:
    # each of two users reads 100 of 1900 s, and between them nobody runs
    demand = replace(reader(10, 1800), crowd=Crowd(2, 1, 0, 0, 0), arrival_s=10_000)
    run = simulate(demand, bursting(0), catalogue.node("reference"), 1, paces=True)
    values, lengths = run.of_step(0, r.READ)
    assert lengths.sum() == pytest.approx(2 * 1900, rel=1e-3)
    assert [most_of_time(values, lengths, share) for share in (0.5, 0.94, 0.95)] == pytest.approx([0, 0, 1e8])
    assert run.percentile(e.READ_RATE, 0.95) == 0
    # two at a time ask for twice as much, and get what there is
    both = simulate(
        replace(demand, arrival_s=0.0, crowd=Crowd(2, 2, 0, 0, 0)),
        bursting(0),
        catalogue.node("reference"),
        2,
        paces=True,
    )
    assert both.of_step(0, r.READ)[0].max() == pytest.approx(2e8)
    with pytest.raises(ValueError, match="without paces"):
        simulate(demand, bursting(0), catalogue.node("reference"), 1).of_step(0, r.READ)


def test_a_burst_is_never_less_than_the_baseline_nor_a_disk_of_each_node(tmp_path: Path) -> None:
    low = msgspec.structs.replace(bursting(100), burst_disk_read="50 MB", burst_network_read="10 MB")
    burst, credits = low.burst_row(low.row(1), 1)
    assert (burst == low.row(1)).all()
    assert credits == 0
    own = tmp_path / "own.toml"
    own.write_text(
        "[storages.mine]\n"
        + "\n".join(
            f"{key} = {json.dumps(value)}"
            for key, value in msgspec.to_builtins(bursting(100)).items()
            if value not in ("", None, []) and value != float("inf") and key != "local"
        )
        + "\nlocal = true\n"
    )
    with pytest.raises(UsageError, match=r"mine\.burst_seconds"):
        load_catalogue(own)


def test_a_file_on_several_servers_goes_as_fast_as_they_do_together(catalogue: Catalogue) -> None:
    one = msgspec.structs.replace(bursting(0), disk_read="10 GB", stream_read="200 MB")
    took = [
        simulate(reader(10), msgspec.structs.replace(one, stripe_count=count), catalogue.node("reference"), 1).length_s
        for count in (1, 4)
    ]
    assert took[0] / took[1] == pytest.approx(4, rel=0.1)


def test_each_node_has_a_disk_of_its_own_which_others_leave_alone(catalogue: Catalogue) -> None:
    slow = msgspec.structs.replace(catalogue.storage("local-nvme"), disk_read="100 MB", write="50 MB")
    alone, many = (
        replace(case_of(catalogue, "local-nvme", users=users, lanes=users, live=0), storage=slow).run(1)
        for users in (1, 6)
    )
    assert many.structure_s == pytest.approx(np.full(6, alone.structure_s[0]), rel=1e-3)
    assert alone.sums[:, e.PEAK_READ].max() <= 100e6 * (1 + 1e-3)


@pytest.mark.parametrize(("retention", "archive"), [(24, 0), (3, 60), (36, 36), (1, 0), (1, 6)])
def test_capacity_is_that_of_the_month_from_which_on_as_much_goes_as_comes(
    catalogue: Catalogue, retention: int, archive: int, capsys: pytest.CaptureFixture[str]
) -> None:
    case = case_of(catalogue, "fsx-lustre-500", movies=10, particles=1000)
    (each, *_) = months_of(case.demand(1), Keeping(1))
    found = answer(case, None, Keeping(1, retention, archive), search=False)
    last = found.months[-1]
    assert last.hot == pytest.approx(retention * each.hot, abs=retention)
    assert last.cold == pytest.approx(archive * each.hot, abs=archive)
    assert len(found.months) >= 12
    assert case.storage.capacity_bytes(found.needed.capacity) >= last.hot
    print_answers([found], console())
    said = " ".join(capsys.readouterr().out.split())
    assert f"from month {retention + archive} on {bytes_text(last.hot)}" in said
    # what is archived in the second month is said there
    a_month = bytes_text(each.hot)
    assert (f"month 2 {a_month} and {a_month} archived" in said) == (retention == 1 and archive > 1)


@pytest.mark.parametrize("microscopes", [0, 2])
def test_movies_of_live_sessions_and_what_they_write_are_kept_as_those_of_users_are(
    catalogue: Catalogue, microscopes: int
) -> None:
    facility = load(Workload, "live-facility")
    node, storage = catalogue.node("reference"), catalogue.storage("fsx-lustre-500")
    demand = Case(facility, "reference", node, "fsx-lustre-500", storage, {"microscopes": microscopes}).demand(1)
    each = demand.raw_bytes + demand.made_bytes
    movies = demand.numbers.count("movies * movie_bytes")
    session = movies + demand.totals[demand.steps.index("live")].bytes_written
    # two sessions to three users: four to six
    for datasets, times in ((3, 1), (6, 2)):
        (first, *_) = months_of(demand, Keeping(datasets))
        assert first.hot == times * (3 * each + 2 * session)
    if microscopes:
        assert demand.totals[demand.steps.index("microscope")].bytes_written == movies


@pytest.mark.parametrize("hot", ["1 GiB", "1200 GiB", "1201 GiB", "2400 GiB", "2401 GiB", "35 TB"])
@pytest.mark.parametrize("storage", ["fsx-lustre-250", "fsx-lustre-500"])
def test_the_smallest_file_systems_are_those_that_cost_sells(catalogue: Catalogue, storage: str, hot: str) -> None:
    needed = parse_capacity(hot)
    units = needed_units(case_of(catalogue, storage), needed).capacity
    assert units * parse_capacity("1200 GiB") == purchase(load_prices(), storage, needed).bought


@pytest.mark.parametrize(
    ("storage", "units", "others"),
    [
        ("fsx-lustre-500", 3, "2 or 4"),
        ("fsx-lustre-500", 29, "28 or 30"),
        ("weka-i3en", 5, "the fewest are 6"),
    ],
)
def test_units_that_nobody_sells_are_refused_with_those_that_are(storage: str, units: int, others: str) -> None:
    with pytest.raises(UsageError, match=f"--units {units}: {storage} is not sold as {units} × .*: {others}"):
        size("single-user", storage=[storage], units=units)


@pytest.mark.parametrize(("storage", "sold"), [("fsx-lustre-500", (1, 2, 4, 30)), ("weka-i3en", (6, 7, 77))])
def test_units_on_sale_are_taken(catalogue: Catalogue, storage: str, sold: tuple[int, ...]) -> None:
    for units in sold:
        catalogue.storage(storage).refuse_unsold(storage, units)


@pytest.mark.parametrize("hot", ["1 TB", "35 TB", "37.6 TB", "100 TB", "499.8 TB", "504 TB", "505 TB"])
def test_as_many_servers_hold_a_capacity_as_cost_has_billed_for_it(catalogue: Catalogue, hot: str) -> None:
    needed = parse_capacity(hot)
    billed = purchase(load_prices(), "weka-i3en", needed)
    case = case_of(catalogue, "weka-i3en")
    servers = needed_units(case, needed).capacity
    assert servers == billed.servers
    assert case.storage.capacity_bytes(servers) == billed.bought >= needed


def test_servers_that_may_fail_are_bought_on_top_where_a_capacity_is_that_of_each(catalogue: Catalogue) -> None:
    case = case_of(catalogue, "nfs-server")
    case.storage = msgspec.structs.replace(case.storage, spare=1)
    assert [needed_units(case, count * 60 * 10**12).capacity for count in (1, 40)] == [2, 41]
    assert case.storage.capacity_bytes(41) == 40 * 60 * 10**12


def test_the_knee_is_where_one_more_user_makes_all_wait_longer(catalogue: Catalogue) -> None:
    case = case_of(catalogue, "nfs-server", "g5.24xlarge")
    knee = knee_of(case, 1)
    hours = {users: hour for users, hour, *_ in knee.curve}
    assert not knee.more
    assert hours[knee.users] <= hours[1] * (1 + SLOWER) < hours[knee.users + 1]
    assert {most for *_, most in knee.curve} == {hours[1] * (1 + SLOWER)}


def test_the_knee_is_no_lane_that_has_a_cache_where_others_have_none(catalogue: Catalogue) -> None:
    knees = []
    for cached in range(6):
        case = case_of(catalogue, "fsx-lustre-500", "g5.24xlarge", cached_lanes=cached)
        knees.append(knee_of(case, 34))
    # one user has a cache where most lanes have one, of many users not all: that is not the storage's doing
    users = [knee.users for knee in knees]
    assert 0.7 < min(users) / users[0] <= 1 < max(users) / users[0] < 1.5
    for knee in knees:
        within = [hours <= most for _, hours, _, most in knee.curve]
        assert within == sorted(within, reverse=True)
        assert knee.users == max(count for count, hours, _, most in knee.curve if hours <= most)


def test_times_rates_and_the_knee_are_those_while_servers_have_failed(
    catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    case = case_of(catalogue, "nfs-server", "g5.24xlarge", users=20, lanes=20)
    plain, case.storage = case.storage, msgspec.structs.replace(case.storage, spare=2)
    found = answer(case, 3, Keeping())
    alone = answer(replace(case, storage=plain), 1, Keeping())
    assert (found.units, found.working) == (3, 1)
    assert found.run.structure_s.mean() == alone.run.structure_s.mean() > found.whole.structure_s.mean()
    assert found.whole.structure_s.mean() == case.run(3).structure_s.mean()
    for column in (e.READ_RATE, e.META_RATE):
        assert found.run.peak(column) == alone.run.peak(column)
    assert found.knee is not None
    assert alone.knee is not None
    assert found.knee.users == alone.knee.users
    (latency,) = (effect.factor for effect in found.effects if effect.name == "latency")
    assert latency == next(effect.factor for effect in alone.effects if effect.name == "latency")
    print_answers([found], console())
    text = " ".join(capsys.readouterr().out.split())
    assert "while 2 of 3 have failed; while all work" in text
    assert "3 × server, 2 of them failed" in text


def test_each_step_has_its_operations_and_peaks_in_the_terminal_too(
    catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(case_of(catalogue, "nfs-server"), None, Keeping(), search=False)
    print_answers([found], console())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for step in found.steps():
        *_, rates = (line.split() for line in lines if line.startswith(f"{step.step} "))
        peaks = [*rate_text(step.peak_read).split(), *rate_text(step.peak_write).split()]
        assert rates[1:5] == peaks
        assert float(rates[5].removesuffix("/s")) == pytest.approx(step.operations_s, abs=0.5)


INPUTS = {
    "users", "lanes", "live", "microscopes", "cached_lanes", "movies", "particles", "box", "gpus", "arrival_seconds",
    "data sets", "retention", "GPU speed", "network of a node", "page cache of a node", "own disk of a node", "units",
    "size of a node's own disk", "latency", "metadata rate", "throughput of a unit", "throughput of one stream",
    "throughput of a client",
    "cache of the servers",
}  # fmt: skip


def test_each_input_is_changed_by_itself_and_asked_again_for_times_and_units(
    catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    case, keeping = case_of(catalogue, "fsx-lustre-500", "g5.4xlarge"), Keeping()
    found = answer(case, None, keeping)
    effects = {effect.name: effect for effect in found.effects}
    assert set(effects) == INPUTS

    def by_hand(now: Keeping, **given: float) -> tuple[str, Any, int]:
        name = next(iter(given), "retention")
        other = case_of(catalogue, "fsx-lustre-500", "g5.4xlarge", **given)
        months = months_of(other.demand(1), now)
        factor = other.run(found.units).structure_s.mean() / case.run(found.units).structure_s.mean()
        return name, pytest.approx(factor), needed_units(other, months[-1].hot).units

    for name, factor, units in (
        by_hand(keeping, cached_lanes=5), by_hand(keeping, microscopes=1), by_hand(keeping, users=20),
        by_hand(keeping, particles=2 * case.demand(1).numbers.values["particles"]), by_hand(Keeping(None, 6)),
    ):  # fmt: skip
        assert (effects[name].factor, effects[name].units) == (factor, units), name
    assert effects["data sets"].units == effects["retention"].units
    assert effects["retention"].units != found.needed.units
    print_answers([found], console())
    text = " ".join(capsys.readouterr().out.split()).split("What each input changes")[1]
    assert all(f"{effect.name} {effect.change}" in text for effect in found.effects)


def test_inputs_that_are_there_are_taken_away_and_scaled_counts_are_doubled_once(catalogue: Catalogue) -> None:
    case = case_of(catalogue, "nfs-server", "g5.4xlarge", cached_lanes=2, microscopes=1, arrival_seconds=60)
    case.scale = 0.01
    effects = {effect.name: effect for effect in effects_of(case, 1, Keeping(), 1)}
    changes = {name: effects[name].change for name in ("cached_lanes", "microscopes", "arrival_seconds", "particles")}
    assert changes == {"cached_lanes": "2 → 0", "microscopes": "1 → 0", "arrival_seconds": "60 → 0", "particles": "× 2"}
    whole = load(DataSet, "empiar-10288").numbers["particles"].value
    twice = replace(case, given={**case.given, "particles": 2 * float(whole)})
    factor = twice.run(1).structure_s.mean() / case.run(1).structure_s.mean()
    assert effects["particles"].factor == pytest.approx(factor)
    assert factor > 1


def test_an_input_that_no_storage_would_do_for_is_said_to_need_more_than_any(catalogue: Catalogue) -> None:
    case = case_of(catalogue, "fsx-lustre-500")
    most = 70_000 * parse_capacity("1200 GiB")
    demand = case.demand(1)
    each = demand.raw_bytes + demand.made_bytes + demand.live_bytes / 10
    effects = {effect.name: effect for effect in effects_of(case, 30, Keeping(most / each, 1), 70_000)}
    assert effects["retention"].units is None


def test_a_thousand_users_and_many_cases_are_quick_enough_to_try_out(catalogue: Catalogue) -> None:
    """No time is asserted: the test would not end in the time that pytest gives it were the model slow."""
    for users in (1000, *range(1, 60)):
        run = case_of(catalogue, "fsx-lustre-500", users=users, lanes=max(1, users // 2)).run(30)
        assert len(run.structure_s) == users


def test_table_1_is_held_against_the_model_with_its_rows_of_eight_gpus_left_out(catalogue: Catalogue) -> None:
    found = held_out(catalogue)
    assert [row.fitted for row in found.rows] == [True] * 4 + [False] * 2
    assert [row.printed_s for row in found.rows] == [30340, 24787, 13840, 10906, 11660, 9754]
    assert found.order_kept
    assert max(abs(row.error) for row in found.rows if row.fitted) < 0.15


def test_an_answer_in_json_says_that_it_is_modelled(capsys: pytest.CaptureFixture[str]) -> None:
    size("single-user", storage=["nfs-server"], set=["movies=100"], json=True)
    (found,) = json.loads(capsys.readouterr().out)["answers"]
    assert found["provenance"] == "modelled"
    assert found["rates"]["read"]["p50"] <= found["rates"]["read"]["p99"] <= found["rates"]["read"]["peak"]
    assert sum(step["parts"]["compute"] for step in found["steps"]) > 0
    assert found["units"] == max(found["needed_units"].values())
    assert found["sensitivity"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"storage": ["tape"]}, "--storage tape: choose"),
        ({"node": ["abacus"]}, "--node abacus: choose"),
        ({"units": 0}, "--units 0"),
        ({"retention": 0}, "--retention 0"),
        ({"datasets": -1.0}, "--datasets -1"),
        ({"workload": "class-2d"}, "class-2d is no workload"),
        ({"table_1": True, "set": ["users=20"], "units": 3}, "^--units, --set: no part of --table-1, which takes"),
        ({"table_1": True, "workload": "single-user"}, "^WORKLOAD: no part of --table-1"),
        ({"table_1": True, "list": True}, "^--table-1: no part of --list"),
        ({"list": True, "html": Path("a.html")}, "^--html: no part of --list"),
        ({"list": True, "retention": 4}, "^--retention: no part of --list"),
        ({"fit": [Path("a.ioresult")], "set": ["users=2"], "storage": ["x"]}, "^--storage, --set: no part of --fit"),
        ({"fit": [Path("a.ioresult")], "html": Path("a.html"), "capacity": "1TB"}, "^--html: no part of --fit"),
        ({"output": Path("a.toml")}, "-o go with --fit"),
        ({"force": True}, "--force goes with"),
        ({"set": ["users=0"]}, "users = 0"),
        ({"set": ["gpus=0"]}, "--set gpus=0: how many GPUs, at least 1"),
        ({"set": ["particles=0"]}, "--set particles=0: how many particles, at least 1"),
        ({"set": ["micrographs=0"]}, "--set micrographs=0: how many micrographs, at least 1"),
        ({"set": ["movies=0.5"]}, "--set movies=0.5: how many movies, at least 1"),
        ({"set": ["box=0"]}, "--set box=0: how many px, at least 1"),
        ({"set": ["exposures_an_hour=0"]}, "^--set exposures_an_hour=0: with it number seconds_a_movie"),
        ({"set": ["lanes=5", "stacks=0"], "datasets": 3.0}, "^--set stacks=0: how many stacks, at least 1"),
        ({"storages": Path("nowhere.toml")}, "--storages nowhere.toml"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        size(**options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('disk_read = "1 GB"', 'disk_read = "fast"', "mine.disk_read: 'fast' is not an amount"),
        ('disk_read = "1 GB"', 'disk_read = "25 Gb"', "mine.disk_read: '25 Gb' is not an amount .* 8 bits are a byte"),
        ('capacity = "10 TB"', 'capacity = "10T"', "mine.capacity: '10T' is not an amount"),
        ('disk_read = "1 GB"', 'disk_read = "0 GB"', "mine.disk_read = '0 GB': an amount above 0"),
        ("metadata = 100", "metadata = 0", "mine.metadata = 0"),
        ("metadata = 100", "metadat = 100", "metadat"),
        ("metadata = 100", "metadata = 100\nfirst = [0]", "mine.first = .0.: numbers of units, above 0"),
        ('capacity = "10 TB"', "", "mine.capacity: an amount with its unit, such as '50 TB', or else stripes"),
        ('capacity = "10 TB"', STRIPES.replace("0.9", "9"), "mine.stripes.usable = 9"),
        ('capacity = "10 TB"', STRIPES.replace("7500 GB", "7500"), "mine.stripes.drive: '7500' is not a capacity"),
        ('capacity = "10 TB"', STRIPES.replace("= 2", "= 0"), "mine.stripes: drives"),
        ('capacity = "10 TB"', 'capacity = "10 TB"\n' + STRIPES, "or else stripes"),
        ('source = "me"', 'source = " "', "mine.source: may not be empty"),
        ("[storages", "[storages.", "TOML|toml|key"),
    ],
)
def test_a_wrong_storage_is_refused_with_file_key_and_reason(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = """
[storages.mine]
title = "Mine"
unit = "server"
disk_read = "1 GB"
write = "1 GB"
read_latency_us = 100
write_latency_us = 100
metadata_latency_us = 100
metadata = 100
capacity = "10 TB"
source = "me"
"""
    file = tmp_path / "own.toml"
    file.write_text(text)
    assert load_catalogue(file).storage("mine").capacity_bytes(2) == 20 * 10**12
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=said) as raised:
        load_catalogue(file)
    assert "\n" not in str(raised.value)
    assert "own.toml" in str(raised.value)


def test_every_shipped_figure_has_a_source(catalogue: Catalogue) -> None:
    sources = {name: one.source for name, one in catalogue.storages.items()}
    sources |= {name: one.source for name, one in catalogue.nodes.items()}
    assert all(source.strip() for source in sources.values())
    run = simulate(
        demand_of(load(Workload, "single-user"), catalogue.node("reference")),
        catalogue.storage("local-nvme"), catalogue.node("reference"), 1,
    )  # fmt: skip
    assert run.structure_s[0] > 0
    assert answer(case_of(catalogue, "local-nvme"), None, Keeping(1), search=False).knee is None

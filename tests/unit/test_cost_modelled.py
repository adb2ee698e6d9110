"""`iotrace cost --size`: what the model's times and units cost, worked out again by hand, and never called measured."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from iotrace.analysis.cost.capacity import net_capacity
from iotrace.analysis.cost.modelled import ModelledTables, Question, modelled_tables
from iotrace.analysis.cost.price_files import load_prices
from iotrace.analysis.cost.prices import PriceList, ServerStorage
from iotrace.analysis.sizing.asking import answers_for
from iotrace.analysis.sizing.storages import load_catalogue
from iotrace.cli import main

FSX, WEKA, SMALL = "fsx-lustre-500", "weka-i3en", "g5.4xlarge"
WORKLOAD = "reference-architecture"
SIZE = ("--size", WORKLOAD)


def tables(
    *storages: str, instances: tuple[str, ...] = (SMALL,), term: str = "reserved-1yr", queues: int | None = None,
    prices: PriceList | None = None, **asked: Any,
) -> ModelledTables:  # fmt: skip
    question = Question(WORKLOAD, asked.pop("given", {}), **asked)
    return modelled_tables(question, instances, storages, prices or load_prices(), term, load_catalogue(), queues)


def printed(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    status = main(["cost", *map(str, words)])
    out = capsys.readouterr()
    return status, out.out, out.err


def test_a_queue_takes_the_time_of_one_users_jobs_and_costs_the_instance_for_it() -> None:
    (row,) = tables(FSX).rows
    run = row.answer.run
    users, steps = run.demand.crowd.users, len(run.demand.before)
    assert (users, steps) == (10, 12)
    jobs = (run.end_s - run.start_s)[: users * steps]
    assert float(row.point.seconds) == pytest.approx(jobs.sum() / users, rel=1e-9)
    assert float(row.point.cost) == pytest.approx(1.023 * jobs.sum() / users / 3600, rel=1e-9)
    # ten users on five lanes wait for as long as they work
    assert row.structure_s > 1.5 * float(row.point.seconds)


def test_times_and_units_are_those_of_iotrace_size() -> None:
    made = tables(FSX, WEKA, instances=(SMALL, "g5.24xlarge"))
    for row in made.rows:
        (answer,) = answers_for(WORKLOAD, [row.storage], [row.instance], search=False)
        assert row.answer.units == answer.units == answer.needed.units
        assert row.structure_s == pytest.approx(float(answer.run.structure_s.mean()))
    assert [(row.instance, row.storage) for row in made.rows] == [
        (SMALL, FSX), (SMALL, WEKA), ("g5.24xlarge", FSX), ("g5.24xlarge", WEKA),
    ]  # fmt: skip


def test_what_is_saved_is_beside_the_first_storage_of_the_same_instance() -> None:
    rows = tables(FSX, WEKA, instances=(SMALL, "g5.24xlarge")).rows
    assert [row.less is None for row in rows] == [True, False, True, False]
    for first, second in (rows[:2], rows[2:]):
        assert second.less is not None
        assert float(second.less) == pytest.approx((1 - float(second.point.seconds / first.point.seconds)) * 100)
        assert float(second.less) == pytest.approx((1 - float(second.point.cost / first.point.cost)) * 100)


def test_a_capacity_storage_costs_its_units_at_the_listed_price() -> None:
    (row,) = tables(FSX).rows
    assert row.bought is not None
    assert row.bought.total == row.answer.units * 1200 * Decimal("0.34")
    assert row.bought.bought == row.answer.units * 1200 * 2**30
    assert row.bought.needed == max(month.hot for month in row.answer.months)
    assert row.bought.enough


def test_each_instance_pays_for_the_units_that_it_needs() -> None:
    made = tables(FSX, instances=(SMALL, "g5.48xlarge"), datasets=0.5)
    units = [row.answer.units for row in made.rows]
    assert [month.storage for month in made.months] == [one * 1200 * Decimal("0.34") for one in units]
    assert len(made.purchases) == len(set(units))


def test_servers_cost_their_rent_and_a_licence_for_what_is_kept() -> None:
    (row,) = tables(WEKA).rows
    assert row.bought is not None
    kept = Decimal(row.bought.needed) / 10**12
    assert 35 < kept < 100
    licence = 2500 + (6333 - 2500) * (kept - 35) / (100 - 35)
    assert row.bought.servers == row.answer.units
    assert float(row.bought.total) == pytest.approx(float(738 * row.answer.units + licence))
    storage = load_prices().storage(WEKA)
    assert isinstance(storage, ServerStorage)
    assert row.bought.bought == net_capacity(storage, row.answer.units) >= row.bought.needed


def test_a_month_pays_reserved_instances_for_each_lane_and_others_for_the_hours_of_queues() -> None:
    (reserved,), (demand,) = (tables(FSX, term=term).months for term in ("reserved-1yr", "on-demand"))
    assert (reserved.queues, reserved.instances) == (10, 5)
    assert reserved.compute == 5 * 730 * Decimal("1.023")
    assert float(demand.compute) == pytest.approx(10 * 1.624 * float(demand.point.seconds) / 3600)
    for month in (reserved, demand):
        assert month.total == month.compute + month.storage + month.live
        assert month.each * 10 == month.total


def test_a_month_pays_an_instance_for_each_session_of_live(capsys: pytest.CaptureFixture[str]) -> None:
    asked: dict[str, Any] = {"given": {"live": 2, "users": 4, "lanes": 2}, "datasets": 6.0}
    (row,), (demand,) = tables(FSX, **asked).rows, tables(FSX, term="on-demand", **asked).months
    run, steps = row.answer.run, 12
    took = (run.end_s - run.start_s)[4 * steps :]
    assert len(took) == 2
    assert row.month is not None
    # two sessions for each four data sets: three a month
    assert float(demand.live) == pytest.approx(3 * 1.624 * took.mean() / 3600)
    assert (row.month.live_instances, row.month.live) == (2, 2 * 730 * Decimal("1.023"))
    # one instance runs no more than so many sessions of 9.8 h in 730 h
    many = tables(FSX, given=asked["given"], datasets=1000.0).months[0]
    assert many.live_instances == -(-500 // int(730 * 3600 // took.mean())) > 2
    status, out, _ = printed(capsys, *SIZE, "--node", SMALL, "--storage", FSX)
    assert status == 0
    assert " 5+1 " in out
    assert "all of a month included" in " ".join(out.split())
    assert tables(FSX, given={"live": 0}).months[0].live == 0


def test_a_month_pays_for_what_is_archived_once_as_much_goes_as_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = tables(FSX, retention=1, archive=6).rows
    assert row.month is not None
    cold = row.answer.months[-1].cold
    assert cold == max(month.cold for month in row.answer.months) > 5.9 * row.answer.months[0].hot
    assert row.month.archive == Decimal(cold) / 10**9 * Decimal("0.021")
    assert row.month.total == row.month.compute + row.month.live + row.month.storage + row.month.archive
    (tmp_path / "p.toml").write_text(
        'archive.price = { amount = 0.5, unit = "USD/GB/month", term = "tape", date = "2026-01", region = "here", '
        'source = "offer 1" }\narchive.billed_in = "GiB"\n'
    )
    keeping = ("--retention", 1, "--archive", 6)
    words = (*SIZE, "--node", SMALL, "--storage", FSX, *keeping, "--prices", tmp_path / "p.toml")
    status, out, _ = printed(capsys, *words, "--json")
    assert status == 0
    found = json.loads(out)
    assert found["queue_months"][0]["archive_usd"] == pytest.approx(cold / 2**30 * 0.5, abs=0.006)
    assert "archive (S3 standard) $0.5/GB/month, tape" in " ".join(printed(capsys, *words)[1].split())
    (tmp_path / "p.toml").write_text('archive.billed_in = "TB"\n')
    status, _, err = printed(capsys, *words)
    assert (status, err.count("\n")) == (2, 1)
    assert "archive.billed_in" in err


def test_queues_are_data_sets_unless_both_are_said() -> None:
    (few,), (many,), (apart,) = (
        tables(FSX, **asked).rows for asked in ({}, {"queues": 40}, {"queues": 40, "datasets": 10.0})
    )
    assert few.bought
    assert many.bought
    assert apart.bought
    assert many.bought.needed > 3.5 * few.bought.needed
    assert apart.bought.needed == few.bought.needed
    assert tables(FSX, datasets=12.5).queues == 13


def test_more_queues_than_the_lanes_can_run_take_more_instances_and_that_is_said() -> None:
    made = tables(FSX, queues=300, datasets=10.0)
    (month,) = made.months
    # so many whole queues fit into 730 hours
    assert month.instances == -(-300 // int(730 * 3600 / month.point.seconds)) > 5
    assert [f"--set lanes={month.instances}" in sentence for sentence in made.warnings] == [True]
    assert not tables(FSX).warnings


def test_a_priced_storage_of_so_many_servers_is_modelled_with_so_many() -> None:
    (row,) = tables("weka-i3en-77").rows
    assert (row.answer.case.storage_name, row.answer.units, row.answer.asked) == (WEKA, 77, True)
    assert row.bought is not None
    assert row.bought.parts[0].amount == 77 * 738
    (same,) = answers_for(WORKLOAD, [WEKA], [SMALL], units=77, search=False)
    assert row.structure_s == pytest.approx(float(same.run.structure_s.mean()))


def test_a_storage_that_cannot_hold_what_is_kept_beats_nothing_and_says_so() -> None:
    made = tables("weka-i3en-8", WEKA)
    small, large = made.rows
    assert small.bought
    assert large.bought
    assert not small.bought.enough
    assert small.bought.total < large.bought.total
    # 33.75 TB by WEKA's formula, and no licence for more
    assert float(small.bought.total) == pytest.approx(8 * 738 + 2500 * 33.75 / 35)
    assert {point.storage: (point.short, point.best) for point in made.points} == {
        "weka-i3en-8": (True, False), WEKA: (False, True),
    }  # fmt: skip
    assert any("33.75 TB do not hold" in sentence for sentence in made.warnings)


def test_fewer_units_than_are_needed_are_warned_about() -> None:
    made = tables(FSX, units=4, datasets=0.5, given={"users": 100, "lanes": 100}, instances=("g5.24xlarge",))
    (row,) = made.rows
    assert row.bought is not None
    assert row.bought.enough
    assert row.answer.needed.units > 4
    assert any(f"fewer than the {row.answer.needed.units}" in sentence for sentence in made.warnings)


@pytest.mark.parametrize("name", ["fsx-lustre-1000", "nfs-server", "local-nvme"])
def test_a_storage_without_a_price_has_times_but_no_month_and_one_line_says_so(name: str) -> None:
    made = tables(FSX, name)
    row = made.rows[1]
    assert row.point.cost > 0
    assert (row.bought, row.month) == (None, None)
    assert [one.storage for one in made.purchases] == [FSX]
    assert [point.storage for point in made.points] == [FSX]
    assert sum(note.startswith(f"{name}: ") for note in made.notes) == 1


def test_without_any_priced_storage_choices_are_of_instances_alone() -> None:
    made = tables("fsx-lustre-1000", instances=(SMALL, "g5.24xlarge"))
    assert not made.months
    assert {point.cost for point in made.points} == {row.point.cost for row in made.rows}


def test_choices_are_beaten_as_their_months_say() -> None:
    made = tables(FSX, WEKA, instances=())
    assert {row.instance for row in made.rows} == {SMALL, "g5.24xlarge", "g5.48xlarge", "p3.8xlarge"}
    months = [(month.point.seconds, month.total / 10, month.point.name) for month in made.months]
    for point in made.points:
        beats = [
            name for seconds, cost, name in months
            if seconds <= point.seconds and cost <= point.cost and name != point.name
        ]  # fmt: skip
        assert bool(point.beaten_by) == bool(beats)
        assert not point.beaten_by or point.beaten_by in beats
    assert {point.provenance for point in made.points} == {"modelled"}


def test_what_costs_hold_beside_queues_is_said_and_what_they_do_not() -> None:
    made = tables(FSX, archive=6)
    assert any("sessions of Live" in note and "$746.79 for g5.4xlarge" in note for note in made.notes)
    assert any("archived" in note and "of each month" in note for note in made.notes)
    bare = tables("fsx-lustre-1000", archive=6)
    assert any("No cost here holds" in note and "Live (1)" in note for note in bare.notes)
    assert any("archived" in note and "no cost here" in note for note in bare.notes)
    plain = tables(FSX, given={"live": 0})
    assert not any("Live" in note or "archived" in note for note in plain.notes)


def test_all_is_called_modelled_and_the_tables_fit_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = printed(capsys, *SIZE)
    assert (status, err) == (0, "")
    titles = [line for line in out.splitlines() if "Time and cost" in line or " against cost of a queue" in line]
    assert len(titles) == 2
    assert all("modelled" in line for line in titles)
    assert "A month of 10 queues (reserved-1yr, modelled)" in out
    assert "What can be bought for that capacity (modelled)" in out
    assert "(measured" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_is_one_object_whose_figures_are_all_modelled(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = printed(capsys, *SIZE, "--node", SMALL, "--storage", FSX, "--storage", WEKA, "--json")
    assert status == 0
    found = json.loads(out)
    assert found["provenance"] == "modelled"
    for key in ("rows", "purchases", "queue_months", "speed_against_cost"):
        assert len(found[key]) == 2
        assert {one["provenance"] for one in found[key]} == {"modelled"}
    row, month = found["rows"][0], found["queue_months"][0]
    assert row["cost_usd"] == round(row["seconds"] * 1.023 / 3600, 2)
    parts = month["compute_usd"] + month["live_usd"] + row["storage_month_usd"] + month["archive_usd"]
    assert month["month_usd"] == pytest.approx(parts, abs=0.021)
    assert found["prices"]["instances"][SMALL]["prices"]["reserved-1yr"]["date"] == "2023-07"


def test_the_picture_says_that_it_is_modelled_and_what_the_costs_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "m.svg"
    assert printed(capsys, *SIZE, "--node", SMALL, "--plot", target)[0] == 0
    text = target.read_text()
    assert "modelled, reserved-1yr; costs hold all of a month at 10 queues a month" in text
    assert "measured" not in text


OWN_STORAGE = """
[nodes.ours]
title = "our node"
gpus = 2
network = "3 GB"
memory = "128 GiB"
source = "us"
[storages.filer]
title = "our filer"
unit = "shelf"
disk_read = "4 GB"
write = "3 GB"
read_latency_us = 300
write_latency_us = 300
metadata_latency_us = 300
metadata = 20000
capacity = "50 TB"
source = "us"
"""
OWN_PRICES = """
title = "our contract"
[given]
date = "2026-01"
region = "here"
source = "offer 1"
[instances.ours]
prices.owned = { amount = 365, unit = "USD/month" }
[storages.filer]
kind = "capacity"
title = "our filer"
capacity = "50 TB"
step = "50 TB"
billed_in = "GB"
source = "offer 1"
price = { amount = 0.02, unit = "USD/GB/month", term = "5 years" }
"""


def test_nodes_and_storages_of_ones_own_have_prices_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text(OWN_STORAGE)
    (tmp_path / "p.toml").write_text(OWN_PRICES)
    own = ("--storages", tmp_path / "s.toml", "--prices", tmp_path / "p.toml", "--term", "owned")
    status, out, err = printed(capsys, *SIZE, "--node", "ours", "--storage", "filer", "--json", *own)
    assert (status, err) == (0, "")
    found = json.loads(out)
    (row,), (month,) = found["rows"], found["queue_months"]
    assert row["storage_month_usd"] == row["units"] * 50_000 * 0.02
    assert month["compute_usd"] == 5 * 365
    assert row["cost_usd"] == pytest.approx(0.5 * row["seconds"] / 3600, abs=0.006)
    # sold by two shelves, one is not to be had
    (tmp_path / "p.toml").write_text(OWN_PRICES.replace('step = "50 TB"', 'step = "100 TB"'))
    status, out, err = printed(capsys, *SIZE, "--node", "ours", "--storage", "filer", "--units", 3, *own)
    assert (status, err.count("\n")) == (2, 1)
    assert "--units 3" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--node", "reference"], "--node reference: no price in AWS and WEKA, July 2023: choose g5.4xlarge"),
        (["--node", "i3en.3xlarge"], "--node i3en.3xlarge: choose"),
        (["--term", "spot"], "--term spot"),
        (["--storage", "floppy"], "--storage floppy: choose fsx-lustre-1000"),
        (["--storage", "weka-i3en-16-s3"], "--storage weka-i3en-16-s3: the model knows no objects"),
        (["--storage", "weka-i3en-8", "--units", "9"], "--units does not go with weka-i3en-8"),
        (["--storage", FSX, "--units", "3"], "--units 3: "),
        (["--storage", WEKA, "--units", "4"], "--units 4: "),
        (["--units", "0"], "--units 0"),
        (["--datasets", "0"], "--datasets 0"),
        (["--retention", "0"], "--retention 0"),
        (["--set", "users"], "--set users"),
        (["--node", SMALL, "--set", "gpus=4"], "--set gpus=4: a g5.4xlarge has 1"),
        (["--capacity", "35TB"], "--capacity goes with results"),
        (["--work", "2"], "--work goes with results"),
        (["--queues", "0"], "--queues 0"),
        (["R.ioresult"], "R.ioresult a result: one of them"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    status, out, err = printed(capsys, *SIZE, *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_a_workload_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = printed(capsys, "--size", "nothing")
    assert (status, err.count("\n")) == (2, 1)
    assert "nothing is no workload" in err


@pytest.mark.parametrize(
    "words", [["--set", "users=3"], ["--units", "8"], ["--datasets", "3"], ["--retention", "3"], ["--archive", "0"],
              ["--storages", "x.toml"]],
)  # fmt: skip
def test_what_goes_with_size_is_refused_without_it(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    status, _, err = printed(capsys, *words)
    assert status == 2
    assert f"{words[0]} goes with --size WORKLOAD" in err

"""`iotrace cost` of one's own results: times and prices become costs, months and choices, and say what they are not."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import HOSTILE, made_result

from iotrace.analysis.cost.capacity import purchase
from iotrace.analysis.cost.months import instances_needed, paid_by_the_hour, queue_months, with_storage
from iotrace.analysis.cost.own import OwnTables, own_tables
from iotrace.analysis.cost.price_files import load_prices
from iotrace.analysis.cost.queues import Figure, Point, frontier, money
from iotrace.cli import main
from iotrace.errors import UsageError
from iotrace.replay.result import Result

FSX, WEKA = "fsx-lustre-500", "weka-i3en-8"
CHOSEN = ("--instance", "g5.4xlarge", "--storage", FSX, "--storage", WEKA)


def timed(folder: Path, walls: Mapping[str, Sequence[float]], **info: Any) -> Result:
    """A result whose runs on each mount take these seconds."""
    result = made_result(folder, dict.fromkeys(walls, 1.0), len(next(iter(walls.values()))), **info)
    for fs, seconds in walls.items():
        for run, wall in zip([run for run in result.info.runs if run.fs == fs], seconds, strict=True):
            run.wall_s = wall
    result.save(folder, force=True)
    return result


def tables(
    *results: Result, instances: Sequence[str] = ("g5.4xlarge",), storages: Sequence[str] = (FSX, WEKA), **given: Any
) -> OwnTables:
    return own_tables(results, instances, storages, load_prices(), given.pop("term", "reserved-1yr"), **given)


def printed(capsys: pytest.CaptureFixture[str], *words: Any) -> Any:
    status = main(["cost", *map(str, words)])
    return status, capsys.readouterr()


def test_the_source_texts_times_as_results_give_the_costs_of_its_tables(tmp_path: Path) -> None:
    result = timed(tmp_path / "r.ioresult", {"/fsx": [30_340.0], "/weka": [24_787.0]})
    made = tables(result)
    assert [str(money(row.point.cost)) for row in made.rows] == ["8.62", "7.04"]
    percent = made.rows[1].percent
    assert percent is not None
    assert percent[0] == pytest.approx(18.3025, abs=1e-4)
    assert percent[1:] == (None, None)
    assert made.rows[1].verdict == "~"
    assert {row.point.provenance for row in made.rows} == {"measured"}


def test_a_cost_is_of_the_median_run_and_what_is_saved_has_the_interval_of_the_comparison(tmp_path: Path) -> None:
    fsx = [100.0, 104.0, 98.0, 101.0, 99.0, 102.0, 100.5]
    result = timed(tmp_path / "r.ioresult", {"/fsx": fsx, "/weka": [wall * 0.8 for wall in fsx]})
    first, second = tables(result).rows
    assert first.seconds.median == 100.5
    assert first.point.cost == Decimal("1.023") * Decimal("100.5") / 3600
    assert second.percent == pytest.approx((20, 20, 20))
    assert second.verdict == "costs less"
    assert first.saved is None


def test_the_interval_of_what_is_saved_goes_from_low_to_high_around_it(tmp_path: Path) -> None:
    fsx = [100.0, 104.0, 98.0, 101.0, 99.0, 102.0, 100.5]
    weka = [wall * (0.8 + 0.01 * number) for number, wall in enumerate(fsx)]
    percent = tables(timed(tmp_path / "r.ioresult", {"/fsx": fsx, "/weka": weka})).rows[1].percent
    assert percent is not None
    value, low, high = percent
    assert low is not None
    assert high is not None
    assert 14 <= low < value < high <= 20


def test_the_dearer_side_is_said_to_cost_more(tmp_path: Path) -> None:
    walls = [100.0, 104.0, 98.0, 101.0, 99.0, 102.0]
    made = tables(timed(tmp_path / "r.ioresult", {"/a": walls, "/b": [wall * 1.25 for wall in walls]}))
    assert made.rows[1].verdict == "costs more"
    assert made.rows[1].percent == pytest.approx((-25, -25, -25))


def test_sides_on_other_instances_are_compared_with_the_first_on_their_own(tmp_path: Path) -> None:
    small = timed(tmp_path / "small.ioresult", {"/fsx": [30_340.0], "/weka": [24_787.0]})
    large = timed(tmp_path / "large.ioresult", {"/fsx": [11_660.0], "/weka": [9_754.0]})
    made = tables(small, large, instances=["g5.4xlarge"] * 2 + ["g5.48xlarge"] * 2, storages=[FSX, WEKA, FSX, WEKA])
    assert [row.saved is None for row in made.rows] == [True, False, True, False]
    assert made.rows[3].percent is not None
    assert made.rows[3].percent[0] == pytest.approx(16.3465, abs=1e-4)
    assert [point.name for point in made.points if not point.beaten_by] == [
        f"g5.48xlarge on {WEKA}",
        f"g5.4xlarge on {WEKA}",
    ]


def test_different_work_is_not_said_to_save_anything(tmp_path: Path) -> None:
    a = timed(tmp_path / "a.ioresult", {"/fsx": [10.0]})
    b = timed(tmp_path / "b.ioresult", {"/weka": [5.0]}, plan_hash="cd" * 32)
    made = tables(a, b)
    assert made.rows[1].percent is None
    assert any("different plans" in sentence for sentence in made.warnings)


def test_work_multiplies_times_and_costs_and_makes_them_modelled(tmp_path: Path) -> None:
    result = timed(tmp_path / "r.ioresult", {"/fsx": [10.0], "/weka": [5.0]})
    made = tables(result, work=Decimal(2000))
    assert [row.point.seconds for row in made.rows] == [20_000, 10_000]
    assert {row.point.provenance for row in made.rows} == {"modelled"}
    assert made.rows[1].percent == tables(result).rows[1].percent


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timing": "asap"}, "the program's own time is left out"),
        ({"timing": "think", "null": True}, "without I/O"),
        ({"timing": "think", "speed": 10.0}, "--speed 10: its time is not that of the job"),
        ({"timing": "think", "think_scale": 0.5}, "--think-scale 0.5: its time is not that of the job"),
        ({"timing": "think", "users": 10}, "10 users at a time"),
    ],
)
def test_a_makespan_that_is_not_the_time_of_a_job_is_warned_about(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    result = timed(tmp_path / "r.ioresult", {"/fsx": [10.0], "/weka": [5.0]}, options=options)
    assert any(says in sentence for sentence in tables(result).warnings)
    plain = timed(tmp_path / "p.ioresult", {"/fsx": [10.0], "/weka": [5.0]}, options={"timing": "think", "users": 1})
    assert not any(says in sentence for sentence in tables(plain).warnings)


def test_a_machine_that_is_not_the_instance_is_warned_about_and_the_instance_itself_is_not(tmp_path: Path) -> None:
    walls = {"/fsx": [10.0], "/weka": [5.0]}
    other = tables(timed(tmp_path / "r.ioresult", walls, cpus=2)).warnings
    assert any("g5.4xlarge (16 vCPUs), but host had 2 CPUs" in sentence for sentence in other)
    same = tables(timed(tmp_path / "s.ioresult", walls, cpus=16)).warnings
    assert not any("vCPUs" in sentence for sentence in same)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--storage", FSX], "--instance: say which one each result ran on, in this order: /fsx, /weka"),
        (["--instance", "g5.4xlarge"], "--storage: say which one each result ran on"),
        (["--instance", "g5.4xlarge", "--storage", FSX], "two of the results are on g5.4xlarge and fsx-lustre-500"),
        ([*CHOSEN, "--storage", FSX], "--storage: one for all, or one for each of these"),
        ([*CHOSEN[2:], "--instance", "g9.huge"], "--instance g9.huge: the price list has no such instance: choose g5"),
        (["--instance", "g5.4xlarge", "--storage", "x", "--storage", WEKA], "--storage x: the price list has no such"),
        ([*CHOSEN, "--term", "spot"], "--term spot"),
        ([*CHOSEN, "--capacity", "35T"], "'35T' is not a capacity"),
        ([*CHOSEN, "--capacity", "0TB"], "--capacity 0TB"),
        ([*CHOSEN, "--capacity", "999999PB"], "--capacity 999999PB: above 0 and at most 1000 PiB"),
        ([*CHOSEN, "--queues", "0"], "--queues 0"),
        ([*CHOSEN, "--work", "-1"], "--work -1"),
        ([*CHOSEN, "--work", "nan"], "--work nan"),
        ([*CHOSEN, "--plot", "x.pdf"], "--plot x.pdf: give a name that ends in .png or .svg"),
        (["--instance", "g5.4xlarge", "--storage", FSX, "--storage", "weka-i3en-16-s3", "--capacity", "1TB"],
         "--capacity: weka-i3en-16-s3 is for 100 TB of flash and 400 TB of objects"),
    ],
)  # fmt: skip
def test_choices_that_make_no_sense_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    timed(tmp_path / "r.ioresult", {"/fsx": [10.0], "/weka": [5.0]})
    status, out = printed(capsys, tmp_path / "r.ioresult", *words)
    assert status == 2
    assert out.err.count("\n") == 1
    assert says in out.err
    assert out.out == ""


@pytest.mark.parametrize("words", [CHOSEN[:2], CHOSEN[2:4], ("--capacity", "35TB"), ("--work", "2")])
def test_what_goes_with_results_is_refused_without_them(
    capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    status, out = printed(capsys, *words)
    assert status == 2
    assert f"{words[0]} goes with results" in out.err


def test_a_folder_that_is_no_result_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = printed(capsys, tmp_path, *CHOSEN)
    assert status == 1
    assert "is not an iotrace result" in out.err


def test_the_tables_of_results_fit_80_columns_and_say_that_they_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timed(tmp_path / "r.ioresult", {"/fsx": [30_340.0] * 6, "/weka": [24_787.0] * 6})
    status, out = printed(capsys, tmp_path / "r.ioresult", *CHOSEN, "--queues", 200)
    assert status == 0
    assert max(map(len, out.out.splitlines())) <= 80
    wanted = [
        "Prices of 2023-07, us-east-1, from CryoSPARC",
        "$1.023/hour,",
        "(measured, reserved-1yr)",
        "$8.62",
        "$7.04",
    ]
    for text in [*wanted, "(modelled)", "A month of 200 queues", "not beaten"]:
        assert text in out.out


def test_json_of_results_is_one_object_with_rows_months_and_choices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timed(tmp_path / "r.ioresult", {"/fsx": [30_340.0], "/weka": [24_787.0]})
    status, out = printed(capsys, tmp_path / "r.ioresult", *CHOSEN, "--queues", 100, "--capacity", "35TiB", "--json")
    assert status == 0
    found = json.loads(out.out)
    assert [row["cost_usd"] for row in found["rows"]] == [8.62, 7.04]
    assert found["rows"][1]["less_percent"]["value"] == 18.3
    assert found["purchases"][0]["bought_bytes"] == 36_000 * 2**30
    assert [month["instances"] for month in found["queue_months"]] == [1, 2]
    assert {point["provenance"] for point in found["speed_against_cost"]} == {"modelled"}


@pytest.mark.parametrize("wall", [0.0, 1e-9, 1e12])
def test_a_result_with_an_odd_time_is_worked_out_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wall: float
) -> None:
    timed(tmp_path / "r.ioresult", {"/fsx": [wall], "/weka": [wall]})
    for more in ((), ("--json",), ("--plot", tmp_path / "p.svg", "--queues", 10)):
        status, out = printed(capsys, tmp_path / "r.ioresult", *CHOSEN, *more)
        assert (status, out.err) == (0, "")


@pytest.mark.parametrize("wall", [-1.0, 1e300])
def test_a_result_whose_time_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wall: float
) -> None:
    timed(tmp_path / "r.ioresult", {"/fsx": [10.0], "/weka": [wall]})
    status, out = printed(capsys, tmp_path / "r.ioresult", *CHOSEN)
    assert status == 1
    assert "/weka: a run took" in out.err


def test_names_from_results_reach_no_terminal_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    timed(tmp_path / "r.ioresult", {HOSTILE: [10.0], "/weka": [5.0]}, host=HOSTILE, warnings=[HOSTILE], cpus=1)
    status, out = printed(capsys, tmp_path / "r.ioresult", *CHOSEN)
    assert status == 0
    assert "\x1b" not in out.out
    assert "\u202e" not in out.out
    status, out = printed(capsys, tmp_path / "r.ioresult", *CHOSEN, "--json")
    assert out.out.isascii()
    assert HOSTILE in json.loads(out.out)["warnings"]


def test_a_storage_that_holds_less_than_was_asked_for_is_marked_in_all_tables_and_beats_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timed(tmp_path / "r.ioresult", {"/fsx": [30_340.0], "/weka": [24_787.0]})
    words = [tmp_path / "r.ioresult", *CHOSEN, "--capacity", "500TiB", "--queues", 10]
    _, output = printed(capsys, *words)
    rows = [line.split() for line in output.out.splitlines() if line.startswith(("g5.4xlarge  ", WEKA))]
    marked = [row for row in rows if WEKA in row]
    # each of: its time and cost, what can be bought, a month, speed against cost
    assert ["<" in row for row in marked] == [False, True, True, True]
    assert marked[-1][-3:] == ["holds", "too", "little"]
    assert [row[-2:] for row in rows if FSX in row][-1] == ["not", "beaten"]
    for more in ([], ["--queues", 10]):
        _, output = printed(capsys, *words[:-2], *more, "--json")
        choices = {one["storage"]: one for one in json.loads(output.out)["speed_against_cost"]}
        assert [choices[name]["holds_enough"] for name in (FSX, WEKA)] == [True, False]
        assert choices[FSX]["beaten_by"] is None
    # without --capacity, the one that is faster and cheaper beats the other
    _, output = printed(capsys, *words[:-4], "--json")
    assert WEKA in {one["storage"]: one["beaten_by"] for one in json.loads(output.out)["speed_against_cost"]}[FSX]


def point(instance: str, seconds: Any, cost: Any) -> Point:
    return Point(instance, WEKA, Decimal(seconds), Decimal(cost), "measured")


def test_a_choice_is_beaten_by_one_that_is_no_slower_and_no_dearer() -> None:
    made = frontier([point("slow", 3, 1), point("fast", 1, 3), point("dear", 2, 3), point("mid", 2, 2)])
    assert [(one.instance, one.beaten_by) for one in made] == [
        ("fast", ""), ("mid", ""), ("dear", f"fast on {WEKA}"), ("slow", ""),
    ]  # fmt: skip


def test_choices_that_are_equal_in_both_do_not_beat_each_other() -> None:
    assert [one.beaten_by for one in frontier([point("a", 1, 1), point("b", 1, 1)])] == ["", ""]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_what_is_not_beaten_gets_cheaper_only_by_getting_slower_and_beats_all_others(
    pairs: list[tuple[int, int]],
) -> None:
    made = frontier([point(str(number), *pair) for number, pair in enumerate(pairs)])
    assert len(made) == len(pairs)
    best = [one for one in made if not one.beaten_by]
    assert best
    for fast, slow in itertools.pairwise(best):
        assert (fast.seconds < slow.seconds and fast.cost > slow.cost) or (
            (fast.seconds, fast.cost) == (slow.seconds, slow.cost)
        )
    for one in made:
        if one.beaten_by:
            assert any(other.seconds <= one.seconds and other.cost <= one.cost for other in best)


def test_a_reserved_instance_is_paid_for_the_month_and_one_on_demand_for_the_hours_of_its_queues() -> None:
    listed = load_prices()
    bought = [purchase(listed, WEKA)]
    points = [Point("g5.4xlarge", WEKA, Decimal(24_787), Decimal(0), "recomputed")]
    (reserved,) = queue_months(points, bought, listed, "reserved-1yr", 200)
    # 106 queues of 24,787 s fit into 730 hours
    assert (reserved.instances, reserved.compute) == (2, 2 * 730 * Decimal("1.023"))
    (demand,) = queue_months(points, bought, listed, "on-demand", 200)
    assert demand.compute == 200 * Decimal("1.624") * 24_787 / 3600
    assert reserved.total == reserved.compute + 8_404
    assert reserved.each * 200 == pytest.approx(reserved.total)
    assert not paid_by_the_hour(listed.price("g5.4xlarge", "reserved-1yr"))
    (with_it,) = with_storage([reserved])
    assert (with_it.cost, with_it.provenance) == (reserved.each, "modelled")


@pytest.mark.parametrize(
    ("queues", "seconds", "needed"),
    [(1, 1, 1), (106, 24_787, 1), (107, 24_787, 2), (1, 2_628_000, 1), (2, 2_628_000, 2), (3, 5_256_000, 6)],
)
def test_instances_run_whole_queues_one_after_another_in_a_month(queues: int, seconds: int, needed: int) -> None:
    assert instances_needed(queues, Decimal(seconds)) == needed


@pytest.mark.parametrize(
    ("value", "printed", "agrees"),
    [("18.30", "19", False), ("30.16", "30", True), ("3.947", "3.9", True), ("1", None, True)],
)
def test_a_printed_figure_agrees_where_it_is_the_exact_one_rounded_to_its_decimals(
    value: str, printed: str | None, agrees: bool
) -> None:
    assert Figure(Decimal(value), "recomputed", None if printed is None else Decimal(printed)).agrees is agrees


@pytest.mark.parametrize(("amount", "text"), [("7.0436", "7.04"), ("0", "0.00"), ("0.0123456", "0.01235")])
def test_costs_below_a_dollar_keep_four_digits(amount: str, text: str) -> None:
    assert str(money(Decimal(amount))) == text


def test_the_picture_of_the_source_text_names_every_choice_and_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "cost.svg"
    status, out = printed(capsys, "--plot", target)
    assert status == 0
    assert "wrote" in out.out
    text = target.read_text()
    for name in ("g5.4xlarge", "p3.8xlarge", FSX, WEKA, "recomputed, reserved-1yr", "$7.04", "$51.1", "not beaten"):
        assert name in text, name


def test_pictures_are_replaced_only_when_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "cost.png"
    target.write_bytes(b"mine")
    status, out = printed(capsys, "--plot", target)
    assert (status, target.read_bytes()) == (2, b"mine")
    assert "exists already" in out.err
    assert printed(capsys, "--plot", target, "--force", "--json")[0] == 0
    assert target.read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_drawn_of_one_choice_and_of_strange_names(tmp_path: Path) -> None:
    from iotrace.analysis.cost.plots import save_picture

    target = tmp_path / "one.svg"
    one = replace(point("_<b>$x^2$\x1b", "0.004", "0.0000011"), low=Decimal("0.003"), high=Decimal("0.005"))
    save_picture(frontier([one]), "a title of $x$ <b>", target)
    text = target.read_text()
    assert "\x1b" not in text
    assert "&lt;b&gt;$x^2$" in text
    assert re.search(r"95 % interval", text)


def test_two_sides_that_are_one_choice_are_refused(tmp_path: Path) -> None:
    a = timed(tmp_path / "a.ioresult", {"/x": [1.0]})
    b = timed(tmp_path / "b.ioresult", {"/x": [1.0]})
    with pytest.raises(UsageError, match="give each its own"):
        tables(a, b, storages=[WEKA])

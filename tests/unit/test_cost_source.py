"""Tables 1 to 4 of the reference architecture, worked out again to the cent and to 0.01 %."""

import json
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest

from iotrace.analysis.cost.price_files import load_prices
from iotrace.analysis.cost.source_text import SourceTables, load_printed, source_tables
from iotrace.cli import main
from iotrace.units import rounded

FSX, WEKA = "fsx-lustre-500", "weka-i3en-8"


@pytest.fixture(scope="module")
def made() -> SourceTables:
    return source_tables(load_prices(), "reserved-1yr")


@pytest.mark.parametrize(
    ("instance", "less", "printed"),
    [
        ("g5.4xlarge", "18.30", 19),
        ("p3.8xlarge", "30.16", 30),
        ("g5.24xlarge", "21.20", 21),
        ("g5.48xlarge", "16.35", 17),
    ],
)
def test_the_percent_of_tables_1_and_2_are_those_of_the_printed_times(
    made: SourceTables, instance: str, less: str, printed: int
) -> None:
    (row,) = [row for row in made.queues if row.instance == instance]
    for figure in (row.less_time, row.less_cost):
        assert str(rounded(figure.value)) == less
        assert figure.printed == printed
        assert figure.agrees == (round(float(less)) == printed)


@pytest.mark.parametrize(
    ("instance", "term", "fsx", "weka"),
    [
        # price × time ÷ 3600, by hand: 1.023 × 24,787 ÷ 3,600 = 7.04364
        ("g5.4xlarge", "reserved-1yr", "8.62", "7.04"),
        ("p3.8xlarge", "reserved-1yr", "51.10", "35.68"),
        ("g5.24xlarge", "reserved-1yr", "19.72", "15.54"),
        ("g5.48xlarge", "reserved-1yr", "33.23", "27.80"),
        ("g5.4xlarge", "on-demand", "13.69", "11.18"),
        ("p3.8xlarge", "on-demand", "74.86", "52.28"),
        ("g5.24xlarge", "on-demand", "31.31", "24.67"),
        ("g5.48xlarge", "on-demand", "52.76", "44.13"),
    ],
)
def test_the_cost_of_a_queue_is_price_times_time_to_the_cent(
    made: SourceTables, instance: str, term: str, fsx: str, weka: str
) -> None:
    (row,) = [row for row in made.queues if row.instance == instance]
    assert [str(rounded(figure.value)) for figure in row.costs[term]] == [fsx, weka]


@pytest.mark.parametrize(
    ("storage", "infrastructure", "licence", "total", "less", "agrees"),
    [
        ("fsx-lustre-500", 11_900, 0, 11_900, None, True),
        ("weka-i3en-8", 5_904, 2_500, 8_404, "29.38", False),
        ("fsx-lustre-250", 105_000, 0, 105_000, None, True),
        ("weka-i3en-77", 56_826, 17_637, 74_463, "29.08", False),
        ("weka-i3en-16-s3", 20_208, 7_583, 27_791, "73.53", False),
    ],
)
def test_the_months_of_tables_3_and_4_are_the_printed_ones_and_their_shares_are_not(
    made: SourceTables, storage: str, infrastructure: int, licence: int, total: int, less: str | None, agrees: bool
) -> None:
    (row,) = [row for row in made.months if row.storage == storage]
    assert [row.infrastructure.value, row.licence.value, row.total.value] == [infrastructure, licence, total]
    assert row.infrastructure.agrees
    assert row.licence.agrees
    assert row.total.agrees
    if row.less_cost is None:
        assert less is None
    else:
        assert str(rounded(row.less_cost.value)) == less
        assert row.less_cost.agrees is agrees


def test_every_share_that_differs_from_the_printed_one_has_a_note_and_no_other_has(made: SourceTables) -> None:
    about = [note.split(":")[0] for note in made.notes if note.startswith("Table") and "printed" in note]
    assert about == [
        "Table 1, g5.4xlarge",
        "Table 1, g5.48xlarge",
        "Table 2",
        "Table 3, weka-i3en-8",
        "Table 4, weka-i3en-77",
        "Table 4, weka-i3en-16-s3",
    ]
    (second,) = [note for note in made.notes if note.startswith("Table 2")]
    assert "g5.4xlarge 18.30 %" in second
    assert "g5.48xlarge 16.35 %" in second
    assert "p3" not in second


def test_what_the_text_says_of_two_instances_is_worked_out_and_the_price_by_the_hour_stands_beside_it(
    made: SourceTables,
) -> None:
    assert [(str(rounded(figure.value)), figure.agrees) for _, figure in made.ratios] == [
        ("2.54", True),
        ("3.95", True),
    ]
    assert any("10.03 times" in note for note in made.notes)


def test_only_the_three_g5_instances_on_weka_are_not_beaten_in_both_time_and_cost(made: SourceTables) -> None:
    best = [(point.instance, point.storage) for point in made.points if not point.beaten_by]
    assert best == [("g5.48xlarge", WEKA), ("g5.24xlarge", WEKA), ("g5.4xlarge", WEKA)]
    assert len(made.points) == 8


def test_the_texts_clusters_hold_less_than_it_says_and_what_holds_it_is_bought_beside_them(made: SourceTables) -> None:
    bought = {(one.storage, one.needed // 10**12): one for one in made.purchases}
    assert not bought[WEKA, 35].enough
    assert bought[WEKA, 35].bought == 33_750 * 10**9
    assert (bought["weka-i3en", 35].servers, str(bought["weka-i3en", 35].total)) == (9, "9142")
    assert not bought["weka-i3en-77", 500].enough
    assert (bought["weka-i3en", 500].servers, str(bought["weka-i3en", 500].total)) == (85, "80367")
    assert bought[FSX, 35].total == 11_424


def test_what_the_text_prints_for_servers_objects_and_both_licences_stands_beside_what_comes_out(
    made: SourceTables, tmp_path: Any
) -> None:
    # 738 × 16; 0.021 × 400,000
    parts = {"servers": 11_808, "objects": 8_400, "licence": 6_333, "object licence": 1_250}
    (row,) = [row for row in made.months if row.parts]
    assert {name: figure.value for name, figure in row.parts.items()} == parts
    assert all(figure.agrees for figure in row.parts.values())
    assert sum(parts.values()) == row.total.value
    own = tmp_path / "own.toml"
    own.write_text("[storages.weka-i3en-16-s3]\nservers = 17\n")
    changed = source_tables(load_prices(own), "reserved-1yr").notes
    assert any("servers $12,546.00 (printed $11,808.00), objects $8,400.00, licence" in note for note in changed)


def test_a_price_of_ones_own_changes_the_sums_and_the_notes_say_what_differs_then(tmp_path: Any) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[given]\ndate = "2026-01"\nregion = "eu-west-1"\nsource = "my contract"\n'
        '[storages.fsx-lustre-500]\nprice = { amount = 0.30, unit = "USD/GB/month", term = "on-demand" }\n'
    )
    made = source_tables(load_prices(own), "reserved-1yr")
    assert made.months[0].total.value == 10_500
    assert "Table 3, fsx-lustre-500: total $10,500.00, printed $11,900.00." in made.notes


def test_the_command_prints_the_tables_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for text in ("Table 1", "Table 2", "Table 3", "Table 4", "18.30%    ≠ 19%", "30.16%    = 30%", "not beaten"):
        assert text in out


def test_json_has_each_figure_with_its_provenance_and_money_with_two_decimals(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cost", "--json"]) == 0
    out = capsys.readouterr().out
    found = json.loads(out, parse_float=Decimal)
    assert out.count("\n") == 1
    row = found["table_1"][0]
    assert row["seconds"][FSX] == {"value": 30340, "provenance": "printed"}
    assert row["less_time_percent"] == {
        "value": Decimal("18.30"), "provenance": "recomputed", "printed": 19, "agrees": False,
    }  # fmt: skip
    assert found["table_2"][0]["cost_usd"]["reserved-1yr"][WEKA]["value"] == Decimal("7.04")
    assert found["table_4"][2]["less_cost_percent"]["value"] == Decimal("73.53")
    price = found["prices"]["instances"]["g5.4xlarge"]["prices"]["reserved-1yr"]
    assert {"amount", "unit", "term", "date", "region", "source", "inferred"} <= set(price)


def test_the_printed_tables_name_source_date_region_unit_and_term() -> None:
    printed = load_printed()
    assert all((printed.source, printed.date, printed.region, printed.unit, printed.term))
    assert len(printed.times) == 4
    assert [month.table for month in printed.months] == [3, 3, 4, 4, 4]


def test_the_tables_and_prices_are_files_of_the_package() -> None:
    data = resources.files("iotrace.data")
    assert (data / "prices" / "aws-2023-07.toml").is_file()
    assert (data / "tables" / "reference-architecture.toml").is_file()

"""Price lists and what they buy: each says where it comes from, steps are those on sale, bad files are refused."""

import contextlib
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotrace.analysis.cost import capacity as buying
from iotrace.analysis.cost.capacity import Provenance, net_capacity, purchase, servers_needed, steps_bought
from iotrace.analysis.cost.price_files import load_prices
from iotrace.analysis.cost.prices import CapacityStorage, Price, ServerStorage
from iotrace.cli import main
from iotrace.errors import UsageError
from iotrace.units import parse_capacity

GIVEN = '[given]\ndate = "2026-01"\nregion = "eu-west-1"\nsource = "my contract"\n'
OWN = (
    GIVEN
    + """
[instances.mine]
gpus = 2
prices.owned = { amount = 0.5, unit = "USD/hour" }
[storages.mine]
kind = "capacity"
title = "my filer"
capacity = "10 TiB"
step = "1 TiB"
billed_in = "GB"
source = "my contract"
price = { amount = 0.1, unit = "USD/GB/month", term = "owned" }
"""
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(text)
    return path


def every_price(value: Any) -> list[Price]:
    if isinstance(value, Price):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if hasattr(value, "__struct_fields__"):
        parts = [getattr(value, name) for name in value.__struct_fields__]
    return [price for part in parts for price in every_price(part)]


def servers() -> ServerStorage:
    storage = load_prices().storage("weka-i3en")
    assert isinstance(storage, ServerStorage)
    return storage


def by_steps() -> CapacityStorage:
    storage = load_prices().storage("fsx-lustre-500")
    assert isinstance(storage, CapacityStorage)
    return storage


def test_every_shipped_price_says_source_date_region_unit_and_term() -> None:
    listed = load_prices()
    found = [*every_price(listed.instances), *every_price(listed.storages)]
    assert len(found) > 20
    for price in found:
        assert all((price.source, price.date, price.region, price.unit, price.term)), price


def test_shipped_amounts_are_the_decimal_numbers_of_the_text() -> None:
    assert load_prices().price("g5.4xlarge", "reserved-1yr").amount == Decimal("1.023")


@pytest.mark.parametrize(
    ("needed", "sold"),
    [
        ("1 GB", 1200), ("1200 GiB", 1200), ("1.2 TiB", 2400), ("2400 GiB", 2400), ("2401 GiB", 4800),
        ("35 TB", 33_600), ("35 TiB", 36_000), ("500 TB", 468_000),
    ],
)  # fmt: skip
def test_fsx_is_sold_as_1200_gib_and_then_in_steps_of_2400(needed: str, sold: int) -> None:
    assert steps_bought(by_steps(), parse_capacity(needed)) == sold * 2**30


def test_a_capacity_one_byte_above_a_step_takes_the_next_one() -> None:
    step = parse_capacity("2400 GiB")
    assert steps_bought(by_steps(), 3 * step) == 3 * step
    assert steps_bought(by_steps(), 3 * step + 1) == 4 * step


@pytest.mark.parametrize(
    ("count", "net_gb"),
    [
        (5, 0), (6, 20_250),  # 5 × 7500 × 3/5 × 0.9, a stripe of 3+2
        (8, 33_750), (9, 40_500), (19, 108_000), (77, 456_000), (85, 504_000),
    ],
)  # fmt: skip
def test_servers_hold_what_the_vendors_formula_says(count: int, net_gb: int) -> None:
    assert net_capacity(servers(), count) == net_gb * 10**9


@given(st.integers(1, 10**17))
def test_the_fewest_servers_hold_what_is_needed_and_one_less_does_not(needed: int) -> None:
    storage = servers()
    count = servers_needed(storage, needed)
    assert net_capacity(storage, count) >= needed
    assert count == storage.least or net_capacity(storage, count - 1) < needed


@pytest.mark.parametrize(("width", "count", "net_gb"), [(6, 8, 35_437.5), (6, 7, 0), (16, 77, 456_000)])
def test_a_stripe_that_is_set_holds_what_its_width_says_on_servers_enough(
    width: int, count: int, net_gb: float
) -> None:
    storage = msgspec.structs.replace(servers(), width=width)
    assert net_capacity(storage, count) == net_gb * 10**9
    assert servers_needed(storage, 1) == max(6, width + 2)


def test_a_price_that_says_something_itself_does_not_take_it_from_what_is_given(tmp_path: Path) -> None:
    text = OWN.replace("{ amount = 0.5", '{ region = "us-west-2", amount = 0.5')
    price = load_prices(written(tmp_path, text)).price("mine", "owned")
    assert (price.region, price.date) == ("us-west-2", "2026-01")


def test_more_than_any_cluster_holds_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot hold"):
        servers_needed(servers(), 10**21)


@pytest.mark.parametrize(
    ("needed", "amount", "how"),
    [
        ("35 TB", 2500, "printed"), ("100 TB", 6333, "printed"), ("500 TB", 17_637, "printed"),
        ("300 TB", 11_985, "modelled"), ("7 TB", 500, "modelled"), ("1000 TB", 35_274, "modelled"),
    ],
)  # fmt: skip
def test_a_licence_is_printed_where_the_list_has_it_and_modelled_elsewhere(
    needed: str, amount: int, how: Provenance
) -> None:
    assert buying.licence(servers(), parse_capacity(needed)) == (Decimal(amount), how)


def test_servers_that_do_not_hold_what_is_asked_for_are_said_not_to() -> None:
    made = purchase(load_prices(), "weka-i3en-8", parse_capacity("100 TB"))
    assert not made.enough
    assert "less than the 100 TB asked for; 18 would hold it" in made.notes[0]


def test_a_storage_of_ones_own_comes_on_top_and_is_billed_by_its_own_unit(tmp_path: Path) -> None:
    listed = load_prices(written(tmp_path, OWN))
    assert listed.titles == ["AWS and WEKA, July 2023", "own.toml"]
    assert listed.price("mine", "owned").source == "my contract"
    assert "g5.4xlarge" in listed.instances
    made = purchase(listed, "mine", parse_capacity("9.5 TiB"))
    assert made.bought == 10 * 2**40
    assert made.total == Decimal(10 * 2**40) / 10**9 / 10


def test_a_price_that_is_replaced_does_not_keep_the_source_of_the_old_one(tmp_path: Path) -> None:
    price = '{ amount = 1.5, unit = "USD/hour", date = "2026-01", region = "x" }'
    text = f'[instances."g5.4xlarge".prices]\non-demand = {price}'
    with pytest.raises(UsageError, match=r"own.toml: instances.g5.4xlarge.*source"):
        load_prices(written(tmp_path, text))
    listed = load_prices(written(tmp_path, GIVEN + text))
    assert listed.price("g5.4xlarge", "on-demand").source == "my contract"
    assert listed.price("g5.4xlarge", "on-demand").inferred == ""
    assert listed.price("g5.4xlarge", "reserved-1yr").amount == Decimal("1.023")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("amount = 0.5", "amount = -0.5", "instances.mine.prices.owned.amount: -0.5 is no price"),
        ("amount = 0.5", "amount = nan", "is no price"),
        ("amount = 0.5", "amount = 1e999999", "is no price"),
        ("amount = 0.5", 'amount = "x"', "instances.mine.prices[*].amount: "),
        ("amount = 0.5", "amount = true", "instances.mine.prices[*].amount: "),
        ("USD/hour", "EUR/hour", "instances.mine.prices[*].unit: Invalid enum value 'EUR/hour'"),
        ("USD/hour", "USD/GB/month", "instances.mine.prices.owned.unit: USD/hour or USD/month here"),
        ("gpus = 2", "gpus = -2", "instances.mine.gpus: "),
        ("gpus = 2", "gpu_count = 2", "unknown field `gpu_count`"),
        ('"1 TiB"', '"1 T"', "storages.mine.step: '1 T' is not a capacity"),
        ('"1 TiB"', '"0 TiB"', "storages.mine.step: 0 TiB is no capacity that can be bought"),
        ('"10 TiB"', '"999999 PiB"', "storages.mine.capacity: 999999 PiB is no capacity"),
        ('kind = "capacity"', 'kind = "cloud"', "storages.mine"),
        ('billed_in = "GB"', 'billed_in = "gb"', "storages.mine.billed_in"),
        ('source = "my contract"\nprice', 'source = ""\nprice', "storages.mine.source: every storage needs one"),
        ("[instances.mine]", "[instance.mine]", "instance: a price list holds title, given, instances, storages"),
        ("[given]", "[given]\nfoo = 1", "given: it holds date, region, source, inferred and nothing else"),
        ("[storages.mine]", '[storages.mine]\nlike = "nothing"', "storages.mine.like"),
        ("[given]", "[given", "is no TOML"),
        ("[given]", "instances" + ".a" * 5000 + " = 1\n[given]", "own.toml is no price list: it is nested too deeply"),
        ("[given]", "x = " + "[" * 5000 + "\n[given]", "own.toml is no"),
    ],
)  # fmt: skip
def test_a_wrong_price_list_is_refused_in_one_line_that_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    assert old in OWN
    path = written(tmp_path, OWN.replace(old, new, 1))
    assert main(["cost", "--prices", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "own.toml" in err
    assert says in err


def test_a_name_from_a_strangers_file_reaches_no_terminal_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, GIVEN + '[instances."\\u001b[2J\\nx"]\nprices = 3\n')
    assert main(["cost", "--prices", str(path)]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("what", ["missing", "folder", "binary", "large"])
def test_what_is_no_file_of_text_is_no_price_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    path = tmp_path / "p.toml"
    if what == "folder":
        path.mkdir()
    elif what == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    elif what == "large":
        path.write_text("#" * 1_000_001)
    assert main(["cost", "--prices", str(path)]) == 2
    assert re.fullmatch(r"iotrace: .*p\.toml.*\n", capsys.readouterr().err)


def test_a_term_without_a_price_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--term", "spot"]) == 2
    err = capsys.readouterr().err
    assert "--term spot: the price list has no such price of g5.4xlarge (it has on-demand, reserved-1yr)" in err


@given(st.text(max_size=60))
def test_any_text_is_a_price_list_or_is_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, errors="replace")
    with contextlib.suppress(UsageError):
        load_prices(path)

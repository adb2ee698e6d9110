"""Numbers for people, and the way back."""

import contextlib
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotrace import units
from iotrace.errors import UsageError


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (4096, "4.10 kB"), (1.5e12, "1.50 TB"), (123_456_789, "123 MB")],
)
def test_bytes_are_decimal(value: float, text: str) -> None:
    assert units.bytes_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(1023, "1023 B"), (4096, "4.00 KiB"), (3 << 30, "3.00 GiB")])
def test_memory_is_binary(value: float, text: str) -> None:
    assert units.binary_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0B"), (4096, "4KiB"), (1 << 20, "1MiB"), (1234, "1234B"), (6144, "6KiB")]
)
def test_sizes_of_operations_are_exact(value: int, text: str) -> None:
    assert units.size_text(value) == text


def test_who_asks_for_more_than_a_file_holds_asks_for_all() -> None:
    assert [units.asked_text(size) for size in (4096, 1234, 0x7FFFFFFFC0000000)] == ["4KiB", "1234B", "all"]


@given(st.integers(0, 2**62))
def test_a_size_text_reads_back_as_the_same_size(value: int) -> None:
    match = re.fullmatch(r"(\d+)(\w+)", units.size_text(value))
    assert match is not None
    assert int(match[1]) * units.BINARY[match[2]] == value


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0 ns"), (999, "999 ns"), (1500, "1.50 µs"), (2.5e9, "2.50 s"), (6e11, "600 s")]
)
def test_durations_carry_a_fitting_unit(ns: float, text: str) -> None:
    assert units.duration_text(ns) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (9999, "9999"), (10_000, "10.0k"), (1_234_567, "1.23M"), (5e9, "5.00G")]
)
def test_counts_are_whole_while_they_are_short(value: float, text: str) -> None:
    assert units.count_text(value) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("4KiB", 4096),
        ("4 kib", 4096),
        ("1.5TB", 1.5e12),
        ("10k", 10_000),
        ("2Gi", 2 << 30),
        (".5MB", 500_000),
    ],
)
def test_sizes_that_people_write_are_read(text: str, size: float) -> None:
    assert units.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1 XB", "1e3", "KiB", "1 2", "∞"])
def test_what_is_no_size_is_refused_in_one_line_that_shows_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a size: write a number and a unit such as") as error:
        units.parse_bytes(text)
    assert "\n" not in str(error.value)


@given(st.floats(-1e18, 1e18, allow_subnormal=False))
def test_significant_digits_never_come_as_an_exponent(value: float) -> None:
    assert "e" not in units.significant(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1234"), (1.2345, "1.23"), (0.456, "0.46"), (0.000456, "0.00046"), (-0.02, "-0.020")],
)
def test_a_small_number_keeps_its_significant_digits(value: float, text: str) -> None:
    assert units.significant(value) == text


@given(st.text())
def test_any_text_is_either_a_size_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert units.parse_bytes(text) >= 0


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("35TB", 35 * 10**12),
        ("35 TiB", 35 * 2**40),
        ("1200 GiB", 1200 * 2**30),
        ("0.1 TB", 10**11),
        ("1.1 PB", 11 * 10**14),
    ],
)
def test_a_capacity_is_exact_in_the_unit_that_it_names(text: str, size: int) -> None:
    assert units.parse_capacity(text) == size


@pytest.mark.parametrize(
    "text", ["35", "35T", "35tb", "35 Tib", "35 TiBs", "-1 TB", "1e3 TB", "nan TB", "", "9" * 20 + " TB"]
)
def test_a_capacity_whose_unit_could_be_decimal_or_binary_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a capacity: write a number and GB, TB, PB \(powers of 1000\) or GiB"):
        units.parse_capacity(text)


@pytest.mark.parametrize(
    ("text", "size"), [("0 B", 0), ("12.5 GB", 125 * 10**8), ("64GiB", 64 * 2**30), ("1.5 kB", 1500), (".5 MiB", 2**19)]
)
def test_an_amount_is_exact_in_the_unit_that_it_names(text: str, size: int) -> None:
    assert units.parse_amount(text) == size


@pytest.mark.parametrize("text", ["25 Gb", "25 Gbit", "10T", "10", "10 gib", "10 tb", "-1 GB", "1e3 GB", "", "5 KB"])
def test_an_amount_whose_unit_could_be_another_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not an amount of bytes: write a number and B, kB, MB") as error:
        units.parse_amount(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("decimal", "binary", "power"), [("GB", "GiB", 3), ("TB", "TiB", 4), ("PB", "PiB", 5)])
def test_a_decimal_and_a_binary_unit_of_the_same_letters_differ_by_their_powers(
    decimal: str, binary: str, power: int
) -> None:
    assert units.in_unit(units.parse_capacity(f"1024 {binary}"), decimal) == Decimal(1024) * Decimal("1.024") ** power
    assert units.parse_capacity(f"1 {decimal}") * 1024**power == units.parse_capacity(f"1 {binary}") * 1000**power


@given(st.integers(0, 10**6), st.sampled_from(["GB", "TB", "PB", "GiB", "TiB", "PiB"]))
def test_a_whole_capacity_comes_back_from_its_text(number: int, unit: str) -> None:
    text = units.capacity_text(units.parse_capacity(f"{number} {unit}"), unit)
    assert text == f"{number:,} {unit}"


@pytest.mark.parametrize(
    ("amount", "text"),
    [("11900", "$11,900.00"), ("7.0435", "$7.04"), ("0.005", "$0.01"), ("1.015", "$1.02"), ("-3.1", "-$3.10")],
)
def test_money_is_rounded_to_the_cent_with_halves_away_from_zero(amount: str, text: str) -> None:
    assert units.dollars_text(Decimal(amount)) == text

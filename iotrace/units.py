"""Numbers for people: bytes, rates, times, counts; and the way back.

Storage is sold in decimal units (MB, GB) and memory in binary ones (MiB, GiB): both are here and are never mixed.
Capacities and money are exact: whole bytes and decimal numbers.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

from iotrace.errors import UsageError

DECIMAL: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
BINARY: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
ALL_OF_A_FILE: Final = 2**60
"""More than any file holds: who asks for so much wants all of it."""
_WIDE: Final = Context(prec=1000)
"""Any double has room in it to the last decimal that is shown."""
_SUFFIX: Final = {key.lower(): value for key, value in (DECIMAL | BINARY).items()} | {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
}  # fmt: skip


def _scaled(value: float, units: dict[str, int], digits: int = 3) -> str:
    name, factor = "B", 1
    for candidate, size in units.items():
        if abs(value) >= size:
            name, factor = candidate, size
    if factor == 1:
        return f"{value:.0f} {name}"
    return f"{significant(value / factor, digits)} {name}"


def significant(value: float, digits: int = 3) -> str:
    """Format with this many significant digits, without an exponent: 1234 → "1234", 1.2345 → "1.23".

    Below 1 one digit fewer, for the 0 in front counts: 0.456 → "0.46", 0.000456 → "0.00046".
    """
    if value == 0:
        return "0"
    whole = len(str(int(abs(value))))
    if abs(value) < 0.1:
        return f"{value:.{digits - 2 - math.floor(math.log10(abs(value)))}f}"
    return f"{value:.{max(0, digits - whole)}f}"


def bytes_text(value: float) -> str:
    """Bytes in decimal units: 4096 → "4.10 kB"."""
    return _scaled(value, DECIMAL)


def binary_text(value: float) -> str:
    """Bytes in binary units, for operation sizes and memory: 4096 → "4.00 KiB"."""
    return _scaled(value, BINARY)


def size_text(value: int) -> str:
    """Size of an operation, short: exact in binary units where it is whole ("4KiB"), bytes otherwise ("1234B")."""
    for name, factor in reversed(BINARY.items()):
        if value >= factor and value % factor == 0:
            return f"{value // factor}{name}"
    return f"{value}B"


def asked_text(value: int) -> str:
    """Size that a call asked for: as size_text, or "all" where it is more than any file holds (cp asks so)."""
    return "all" if value >= ALL_OF_A_FILE else size_text(value)


def rate_text(bytes_per_second: float) -> str:
    """Throughput: "1.23 GB/s"."""
    return _scaled(bytes_per_second, DECIMAL) + "/s"


def duration_text(ns: float) -> str:
    """A time in ns with a fitting unit: 1500 → "1.50 µs"."""
    for name, factor in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= factor:
            return f"{significant(ns / factor)} {name}"
    return f"{ns:.0f} ns"


def count_text(value: float) -> str:
    """A count with a short suffix: 1234567 → "1.23M"; whole below 10,000."""
    for name, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor and abs(value) >= 10_000:
            return f"{significant(value / factor)}{name}"
    return f"{value:.0f}"


def parse_bytes(text: str) -> int:
    """Read a size such as "10GB", "4 KiB", "512"; k, M, G alone are decimal.

    Raises
    ------
    UsageError: the text is not a size.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    if not match or match[2].lower() not in _SUFFIX:
        raise UsageError(f"{text!r} is not a size: write a number and a unit such as 500MB, 4KiB or 1.5TB.")
    return int(Decimal(match[1]) * _SUFFIX[match[2].lower()])


def parse_amount(text: str) -> int:
    """Read an amount whose unit is spelt out, such as "500 MB", "64 GiB" or "0 B", as bytes.

    Raises
    ------
    UsageError: no number, no unit, or one that leaves open what it is: 50T is of 1000 or of 1024, 25 Gb may be bits.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]+)\s*", text)
    if not match or match[2] not in DECIMAL | BINARY:
        raise UsageError(
            f"{text!r} is not an amount of bytes: write a number and B, kB, MB, GB, TB, PB (powers of 1000) or KiB, "
            "MiB, GiB, TiB, PiB (of 1024), such as 500MB; 8 bits are a byte."
        )
    return int(Decimal(match[1]) * (DECIMAL | BINARY)[match[2]])


def parse_capacity(text: str) -> int:
    """Read a capacity that is bought, such as "35 TB" or "1200GiB", as bytes: exact, and never without its unit.

    Raises
    ------
    UsageError: no number, no unit, or one that leaves open whether it is decimal or binary (35T, 35tb).
    """
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(GB|TB|PB|GiB|TiB|PiB)\s*", text)
    if not match:
        raise UsageError(
            f"{text!r} is not a capacity: write a number and GB, TB, PB (powers of 1000) or GiB, TiB, PiB (of 1024), "
            "such as 35TB."
        )
    return int(Decimal(match[1]) * (DECIMAL | BINARY)[match[2]])


def in_unit(size: int, unit: str) -> Decimal:
    """Bytes as a number of B, kB … PB or KiB … PiB: in_unit(35 * 10**12, "GiB") → 32596.29…"""
    return Decimal(size) / (DECIMAL | BINARY)[unit]


def rounded(value: Decimal, digits: int = 2) -> Decimal:
    """To so many decimals, halves away from zero, as prices are rounded: 29.385 → 29.39."""
    return value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, _WIDE)


def capacity_text(size: int, unit: str) -> str:
    """A capacity in one unit, at most two decimals: "36,000 GiB", "33.75 TB"."""
    text = f"{rounded(in_unit(size, unit)):,f}"
    return f"{text.rstrip('0').rstrip('.')} {unit}"


def dollars_text(amount: Decimal) -> str:
    """US dollars to the cent: "$11,900.00", "-$3.10"."""
    return f"{'-' if amount < 0 else ''}${abs(rounded(amount)):,f}"

"""What a storage costs a month at the capacity that can be bought: storages are sold in steps, servers by one.

A needed capacity (bytes) and a storage of a price list in, what is bought and its monthly sum out. The net capacity of
servers follows WEKA's documentation (SSD capacity management): raw × (servers − spares) ÷ servers × width ÷ (width +
protection) × usable; the stripe's width is servers − protection − 1 and at most `widest`, unless it is set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from iotrace.analysis.cost.prices import Archive, CapacityStorage, ObjectTier, PriceList, ServerStorage
from iotrace.errors import UsageError
from iotrace.units import capacity_text, dollars_text, in_unit, parse_capacity, rounded

Provenance = Literal["measured", "printed", "recomputed", "modelled"]
"""measured: by a replay, money by its time and a listed price; printed: in the source text or a price list;
recomputed: by arithmetic on printed figures alone; modelled: by anything more than that."""
_MOST_SERVERS: Final = 100_000


@dataclass(frozen=True)
class Part:
    """One line of a month's bill: what it is for, US dollars (not rounded), where the figure comes from."""

    name: str
    amount: Decimal
    provenance: Provenance


@dataclass(frozen=True)
class Purchase:
    """What is bought of a storage, and what it costs a month.

    Attributes
    ----------
    needed, bought: bytes that are asked for, and that can be stored in what is bought; unit: that people use for them.
    enough: whether bought ≥ needed. servers: 0 where none are bought. parts: of the month's bill. notes: sentences.
    inferred: what the sources do not say of it.
    """

    storage: str
    title: str
    needed: int
    bought: int
    unit: str
    servers: int
    parts: list[Part]
    notes: list[str] = field(default_factory=list)
    inferred: str = ""

    @property
    def enough(self) -> bool:
        """Whether what is bought holds what is needed."""
        return self.bought >= self.needed

    @property
    def total(self) -> Decimal:
        """US dollars a month, not rounded."""
        return sum((part.amount for part in self.parts), Decimal(0))

    def to_json(self) -> dict[str, Any]:
        """Bytes, servers and the bill, to the cent."""
        return {
            "storage": self.storage,
            "needed_bytes": self.needed,
            "bought_bytes": self.bought,
            "enough": self.enough,
            "servers": self.servers,
            "month_usd": rounded(self.total),
            "provenance": "modelled",
            "parts": [
                {"name": part.name, "usd": rounded(part.amount), "provenance": part.provenance} for part in self.parts
            ],
        }


def purchase(prices: PriceList, name: str, needed: int | None = None) -> Purchase:
    """The least of a storage that holds so many bytes, or as much as the storage says.

    Raises
    ------
    UsageError: there is no such storage, it cannot hold that much, or its capacity is fixed.
    """
    storage = prices.storage(name)
    if isinstance(storage, CapacityStorage):
        return _by_steps(name, storage, parse_capacity(storage.capacity) if needed is None else needed)
    return _by_servers(prices, name, storage, needed)


def steps_bought(storage: CapacityStorage, needed: int) -> int:
    """The smallest capacity on sale that holds so many bytes."""
    for first in sorted(parse_capacity(one) for one in storage.first):
        if first >= needed:
            return first
    step = parse_capacity(storage.step)
    return -(-needed // step) * step


def net_capacity(storage: ServerStorage, servers: int) -> int:
    """Bytes of data that so many servers hold, by the formula above; 0 where there are too few."""
    width = storage.width or min(storage.widest, servers - storage.protection - 1)
    if servers < max(storage.least, width + storage.protection):
        return 0
    raw = parse_capacity(storage.drive) * storage.drives * (servers - storage.spares)
    return int(Decimal(raw) * width / (width + storage.protection) * storage.usable)


def servers_needed(storage: ServerStorage, needed: int) -> int:
    """The fewest servers that hold so many bytes.

    Raises
    ------
    UsageError: more than any cluster has.
    """
    low, high = storage.least, _MOST_SERVERS
    if net_capacity(storage, high) < needed:
        raise UsageError(f"{storage.title} cannot hold {capacity_text(needed, 'TB')}: choose a smaller capacity.")
    # more servers always hold more: the spare's share falls and the stripe widens
    while low < high:
        middle = (low + high) // 2
        if net_capacity(storage, middle) >= needed:
            high = middle
        else:
            low = middle + 1
    return low


def server_parts(prices: PriceList, storage: ServerStorage, servers: int, licensed: int) -> list[Part]:
    """A month's bill of so many servers, with a licence for so many bytes where there are licences."""
    rent = prices.price(storage.instance, storage.term)
    parts = [Part(f"{servers} servers", rent.per_month * servers, "modelled")]
    if storage.licence:
        parts.append(Part("licence", *licence(storage, licensed)))
    return parts


def licence_notes(name: str, storage: ServerStorage, licensed: int) -> list[str]:
    """That the licence for so many bytes is none of the list's, where that is so."""
    if not storage.licence:
        return []
    amount, how = licence(storage, licensed)
    if how == "printed":
        return []
    return [
        f"{name}: the licence for {capacity_text(licensed, 'TB')} ({dollars_text(amount)}) is modelled from those "
        f"printed for {', '.join(one.capacity for one in storage.licence)}."
    ]


def billed(size: int, storage: CapacityStorage | ObjectTier | Archive, unit: str) -> Decimal:
    """US dollars a month for so many bytes, by a price per GB where GB stands for `unit`."""
    return in_unit(size, unit) * storage.price.amount


def _by_steps(name: str, storage: CapacityStorage, needed: int) -> Purchase:
    bought = steps_bought(storage, needed)
    note = (
        f"{name}: {capacity_text(needed, 'TB')} are {capacity_text(needed, 'TiB')}; the next capacity on sale is "
        f"{capacity_text(bought, 'GiB')} ({capacity_text(bought, 'TB')})."
    )
    part = Part("capacity", billed(bought, storage, storage.billed_in), "modelled")
    return Purchase(name, storage.title, needed, bought, "GiB", 0, [part], [note], storage.inferred)


def _by_servers(prices: PriceList, name: str, storage: ServerStorage, asked: int | None) -> Purchase:
    usual = parse_capacity(storage.capacity)
    tier = storage.object
    if tier is not None and asked is not None and asked != usual + parse_capacity(tier.capacity):
        raise UsageError(
            f"--capacity: {name} is for {capacity_text(usual, 'TB')} of flash and "
            f"{capacity_text(parse_capacity(tier.capacity), 'TB')} of objects: choose another storage, or write one in "
            "a file for --prices."
        )
    needed = usual if asked is None or tier is not None else asked
    servers = storage.servers or servers_needed(storage, needed)
    bought = net_capacity(storage, servers)
    parts = server_parts(prices, storage, servers, needed)
    notes = [f"{name}: {servers} servers hold {capacity_text(bought, 'TB')} by the vendor's formula."]
    if bought < needed:
        notes[0] = (
            f"{name}: {servers} servers hold {capacity_text(bought, 'TB')} by the vendor's formula, less than the "
            f"{capacity_text(needed, 'TB')} asked for; {servers_needed(storage, needed)} would hold it."
        )
    notes += licence_notes(name, storage, needed)
    if tier is not None:
        size = parse_capacity(tier.capacity)
        parts += [
            Part("objects", billed(size, tier, "GB"), "modelled"),
            Part("object licence", tier.licence.amount, "printed"),
        ]
    return Purchase(name, storage.title, needed, bought, "TB", servers, parts, notes, storage.inferred)


def licence(storage: ServerStorage, needed: int) -> tuple[Decimal, Provenance]:
    """US dollars a month for a licence of so many bytes.

    Printed where the list has the capacity; else on the straight line between its neighbours, and beyond them at the
    nearest one's price for a byte.
    """
    points = [(parse_capacity(one.capacity), one.amount) for one in storage.licence]
    for size, amount in points:
        if size == needed:
            return amount, "printed"
    below = [point for point in points if point[0] < needed]
    above = [point for point in points if point[0] > needed]
    if below and above:
        (x0, y0), (x1, y1) = below[-1], above[0]
        return y0 + (y1 - y0) * (needed - x0) / (x1 - x0), "modelled"
    size, amount = below[-1] if below else above[0]
    return amount * needed / size, "modelled"

"""Price lists: instances and storages by name, as types.

A price carries what it needs to be believed: amount, unit, date, region, billing term, source, and what of it the
source does not say. iotrace.analysis.cost.price_files reads and checks them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec

from iotrace.errors import UsageError

HOURS_A_MONTH: Final = 730
"""Hours of a month in AWS's price calculator (365 × 24 ÷ 12)."""

Unit = Literal["USD/hour", "USD/month", "USD/GB/month"]
Positive = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=100_000)]


class Price(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A price with all that says where it holds.

    Attributes
    ----------
    amount: US dollars for one `unit`; term: how it is bought (on-demand, reserved-1yr, licence).
    date, region, source: where it comes from; inferred: what of that the source does not say.
    """

    amount: Decimal
    unit: Unit
    term: str
    date: str
    region: str
    source: str
    inferred: str = ""

    @property
    def text(self) -> str:
        """Amount, unit and term: "$1.023/hour, reserved-1yr"."""
        return f"${self.amount:,f}/{self.unit.removeprefix('USD/')}, {self.term}"

    @property
    def per_hour(self) -> Decimal:
        """US dollars an hour, of a price by the hour or the month."""
        return self.amount / HOURS_A_MONTH if self.unit == "USD/month" else self.amount

    @property
    def per_month(self) -> Decimal:
        """US dollars a month, of a price by the hour or the month."""
        return self.amount * HOURS_A_MONTH if self.unit == "USD/hour" else self.amount


class Licence(Price, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a licence for a capacity costs a month."""

    capacity: str


class Instance(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A machine that is rented: prices by term; gpus, gpu, vcpus: what is in it, from `source`."""

    prices: dict[str, Price]
    gpus: Count = 0
    gpu: str = ""
    vcpus: Count = 0
    source: str = ""


class CapacityStorage(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag_field="kind", tag="capacity"):
    """A storage that is bought by capacity, in steps.

    Attributes
    ----------
    capacity: what is bought where nothing else is asked for; first: capacities below the step; step: and its multiples.
    billed_in: the unit that the price's GB stands for.
    sized_as: the storage of `iotrace size` whose times are its own; "": the one of the same name.
    """

    title: str
    capacity: str
    step: str
    billed_in: Literal["GB", "GiB"]
    price: Price
    source: str
    first: list[str] = []
    sized_as: str = ""
    inferred: str = ""


class ObjectTier(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Object storage behind servers, of a fixed capacity; licence: a month's for all of it."""

    capacity: str
    price: Price
    licence: Price


class Archive(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where bytes are kept that no storage keeps any more, in any amount; billed_in: as of CapacityStorage."""

    title: str
    billed_in: Literal["GB", "GiB"]
    price: Price


class ServerStorage(msgspec.Struct, forbid_unknown_fields=True, frozen=True, tag_field="kind", tag="servers"):
    """A storage of servers that protect each other's data in stripes.

    Attributes
    ----------
    instance, term: what the servers are and how they are bought; drives, drive: in each, and the capacity of one.
    protection: blocks of a stripe that protect it; spares: servers whose capacity is kept free; usable: share of the
    rest that holds data; least: servers of the smallest cluster; widest: data blocks of the widest stripe.
    width: data blocks of the stripe; 0: what is left of the servers without protection and one more.
    servers: as many as these; 0: as many as the capacity needs.
    licence: prices for capacities; object: the tier behind. sized_as: as of CapacityStorage.
    """

    title: str
    capacity: str
    instance: str
    term: str
    drives: Positive
    drive: str
    protection: Positive
    usable: Decimal
    least: Positive
    widest: Positive
    source: str
    spares: Count = 0
    width: Count = 0
    servers: Count = 0
    licence: list[Licence] = []
    object: ObjectTier | None = None
    sized_as: str = ""
    inferred: str = ""


Storage = CapacityStorage | ServerStorage


@dataclass(frozen=True)
class PriceList:
    """Instances and storages by name, an archive, and the titles of the lists that they come from."""

    titles: list[str]
    instances: dict[str, Instance]
    storages: dict[str, Storage]
    archive: Archive

    def instance(self, name: str) -> Instance:
        """An instance by name.

        Raises
        ------
        UsageError: there is none.
        """
        if name not in self.instances:
            raise UsageError(no_such("instance", name, self.instances))
        return self.instances[name]

    def storage(self, name: str) -> Storage:
        """A storage by name.

        Raises
        ------
        UsageError: there is none.
        """
        if name not in self.storages:
            raise UsageError(no_such("storage", name, self.storages))
        return self.storages[name]

    def used(self, instances: Iterable[str], terms: Iterable[str], storages: Iterable[str]) -> list[tuple[str, Price]]:
        """Prices of instances for terms and of storages, with a name each, without repeats."""
        wanted = list(terms)
        found = [
            (name, self.instances[name].prices[term])
            for name in instances
            for term in wanted
            if term in self.instances[name].prices
        ]
        for name in storages:
            storage = self.storages[name]
            if isinstance(storage, CapacityStorage):
                found.append((name, storage.price))
                continue
            found.append((storage.instance, self.price(storage.instance, storage.term)))
            found += [(f"software for {one.capacity}", one) for one in storage.licence]
            if storage.object is not None:
                size = storage.object.capacity
                found += [
                    ("objects", storage.object.price),
                    (f"software for {size} of objects", storage.object.licence),
                ]
        return list(dict.fromkeys(found))

    def price(self, instance: str, term: str) -> Price:
        """The price of an instance for a term.

        Raises
        ------
        UsageError: there is no such instance, or none is known for that term.
        """
        prices = self.instance(instance).prices
        if term not in prices:
            known = ", ".join(prices) or "none"
            raise UsageError(f"--term {term}: the price list has no such price of {instance} (it has {known}).")
        return prices[term]


def no_such(kind: str, name: str, known: Mapping[str, object]) -> str:
    return (
        f"--{kind} {name}: the price list has no such {kind}: choose {', '.join(known)}, or add it in a file for "
        "--prices."
    )

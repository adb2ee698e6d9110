"""Price lists as they stand in TOML, read and checked; docs/cost.md shows the form.

A path in, a PriceList out. Amounts are decimal numbers and never pass through binary floating point. A user's file goes
on top of the shipped one, entry by entry, and may be hostile: it is small, flat text or it is refused.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from iotrace.analysis.cost.prices import Archive, CapacityStorage, Instance, Price, PriceList, Storage, no_such
from iotrace.errors import UsageError
from iotrace.terminal import printable
from iotrace.units import BINARY, parse_capacity

SHIPPED: Final = "aws-2023-07.toml"
_MOST_BYTES: Final = 1_000_000
_DEEPEST: Final = 10
_PRICE_FIELDS: Final = ("date", "region", "source", "inferred")
MOST_CAPACITY: Final = 1000 * BINARY["PiB"]
_MOST: Final = Decimal(10) ** 9
"""No price above this is believed: a slip of the keyboard."""


def load_prices(own: Path | None = None) -> PriceList:
    """The shipped price list, with a user's on top.

    Raises
    ------
    UsageError: the file cannot be read or is wrong; names file, key and reason.
    """
    text = (resources.files("iotrace.data") / "prices" / SHIPPED).read_text(encoding="utf-8")
    tree = _with_given(_tree(text, SHIPPED), SHIPPED)
    if own is None:
        return _checked(tree, SHIPPED, [str(tree["title"])])
    added = _with_given(_tree(_text_of(own), str(own)), str(own))
    title = added.get("title", own.name)
    if not isinstance(title, str):
        raise UsageError(f"{own}: title: a text.")
    return _checked(_merged(tree, added), str(own), [str(tree["title"]), title])


def _text_of(path: Path) -> str:
    try:
        if not path.is_file():
            raise UsageError(f"{path}: there is no such price list: give the path of a .toml.")
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} is larger than 1 MB: that is no price list.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text.") from None


def _tree(text: str, where: str) -> dict[str, Any]:
    try:
        tree = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ArithmeticError, ValueError) as error:
        raise UsageError(f"{where} is no TOML: {error}.") from None
    except RecursionError:
        raise UsageError(f"{where} is no price list: it is nested too deeply.") from None
    level: list[Any] = [tree]
    for _ in range(_DEEPEST):
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        level = [one for one in level if isinstance(one, dict | list)]
    if level:
        raise UsageError(f"{where} is no price list: it is nested too deeply.")
    return tree


def _with_given(tree: dict[str, Any], where: str) -> dict[str, Any]:
    """The tree with [given] copied into each price that does not say it itself."""
    given = tree.pop("given", {})
    if not isinstance(given, dict) or set(given) - set(_PRICE_FIELDS):
        raise UsageError(f"{where}: given: it holds {', '.join(_PRICE_FIELDS)} and nothing else.")
    for key in tree:
        if key not in ("title", "instances", "storages", "archive"):
            raise UsageError(f"{where}: {key}: a price list holds title, given, instances, storages and archive.")

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(one) for one in value]
        if not isinstance(value, dict):
            return value
        inner = {key: filled(one) for key, one in value.items()}
        return ({**given, **inner}) if "amount" in inner else inner

    return {key: filled(value) for key, value in tree.items()}


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The upper tree on the lower one; a price is replaced whole, so that no amount gets another one's source."""
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and "amount" not in value:
            found[key] = _merged(old, value)
        else:
            found[key] = value
    return found


def _as(kind: Any, value: Any, where: str, key: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason, _, at = str(error).partition(" - at `")
        inner = at.rstrip("`").removeprefix("$").removeprefix("key in ").replace("[...]", "[*]")
        raise UsageError(f"{where}: {printable(key)}{inner}: {printable(reason)}.") from None


def _checked(tree: dict[str, Any], where: str, titles: list[str]) -> PriceList:
    for name in ("instances", "storages", "archive"):
        if not isinstance(tree.get(name, {}), dict):
            raise UsageError(f"{where}: {name}: a table.")
    instances: dict[str, Instance] = {}
    for name, value in tree["instances"].items():
        key = f"instances.{name}"
        if isinstance(value, dict) and isinstance(value.get("prices"), dict):
            prices = {
                term: {"term": term, **price} if isinstance(price, dict) else price
                for term, price in value["prices"].items()
            }
            value = {**value, "prices": prices}
        instances[name] = _as(Instance, value, where, key)
        for term, price in instances[name].prices.items():
            _check_price(price, where, f"{key}.prices.{term}", ("USD/hour", "USD/month"))
    storages: dict[str, Storage] = {}
    for name, value in tree["storages"].items():
        key = f"storages.{name}"
        if isinstance(value, dict) and "like" in value:
            value = _alike(value, tree["storages"], where, key)
        storages[name] = _as(Storage, value, where, key)
        _check_storage(storages[name], where, key, instances)
    archive = _as(Archive, tree["archive"], where, "archive")
    _check_price(archive.price, where, "archive.price", ("USD/GB/month",))
    return PriceList(titles, instances, storages, archive)


def _alike(value: dict[str, Any], storages: dict[str, Any], where: str, key: str) -> dict[str, Any]:
    """A storage that is `like` another one, with all that it does not say itself."""
    other = storages.get(value["like"]) if isinstance(value["like"], str) else None
    if not isinstance(other, dict) or "like" in other:
        raise UsageError(f"{where}: {printable(key)}.like: the name of a storage that is written out in full.")
    return _merged(other, {field: one for field, one in value.items() if field != "like"})


def _check_price(price: Price, where: str, key: str, units: tuple[str, ...]) -> None:
    if not price.amount.is_finite() or not 0 <= price.amount <= _MOST:
        raise UsageError(f"{where}: {key}.amount: {price.amount} is no price: a number from 0 to {_MOST:,} US dollars.")
    if price.unit not in units:
        raise UsageError(f"{where}: {key}.unit: {' or '.join(units)} here, not {price.unit}.")
    for field in ("date", "region", "source", "term"):
        if not getattr(price, field).strip():
            raise UsageError(f"{where}: {key}.{field}: every price needs one.")


def _check_storage(storage: Storage, where: str, key: str, instances: dict[str, Instance]) -> None:
    capacity(storage.capacity, where, f"{key}.capacity")
    if not storage.source.strip():
        raise UsageError(f"{where}: {key}.source: every storage needs one.")
    if isinstance(storage, CapacityStorage):
        _check_price(storage.price, where, f"{key}.price", ("USD/GB/month",))
        step = capacity(storage.step, where, f"{key}.step")
        for one in storage.first:
            if capacity(one, where, f"{key}.first") > step:
                raise UsageError(f"{where}: {key}.first: {one} is above the step ({storage.step}).")
        return
    capacity(storage.drive, where, f"{key}.drive")
    if storage.instance not in instances:
        raise UsageError(f"{where}: {key}.instance: {no_such('instance', storage.instance, instances)}")
    if storage.term not in instances[storage.instance].prices:
        raise UsageError(f"{where}: {key}.term: there is no price of {storage.instance} for {storage.term!r}.")
    if not 0 < storage.usable <= 1:
        raise UsageError(f"{where}: {key}.usable: a share above 0 and at most 1.")
    if storage.least < storage.protection + 1 + storage.spares:
        raise UsageError(f"{where}: {key}.least: fewer servers than a stripe with its protection and spares needs.")
    if storage.width > storage.widest:
        raise UsageError(f"{where}: {key}.width: at most {storage.widest}, the widest.")
    if storage.servers and storage.servers < storage.least:
        raise UsageError(f"{where}: {key}.servers: at least {storage.least}, or 0 for as many as it needs.")
    last = 0
    for number, licence in enumerate(storage.licence):
        at = f"{key}.licence[{number}]"
        _check_price(licence, where, at, ("USD/month",))
        size = capacity(licence.capacity, where, f"{at}.capacity")
        if size <= last:
            raise UsageError(f"{where}: {at}.capacity: licences go from small to large.")
        last = size
    if storage.object is not None:
        capacity(storage.object.capacity, where, f"{key}.object.capacity")
        _check_price(storage.object.price, where, f"{key}.object.price", ("USD/GB/month",))
        _check_price(storage.object.licence, where, f"{key}.object.licence", ("USD/month",))


def capacity(text: str, where: str, key: str) -> int:
    """A capacity above 0 of a file, in bytes; UsageError names file and key."""
    try:
        size = parse_capacity(text)
    except UsageError as error:
        raise UsageError(f"{where}: {key}: {error}") from None
    if not 0 < size <= MOST_CAPACITY:
        raise UsageError(f"{where}: {key}: {text} is no capacity that can be bought: above 0, at most 1000 PiB.")
    return size

"""How much each input matters: one is changed, all others stay, and the same questions are asked again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from iotrace.analysis.sizing.questions import Case, Keeping, datasets_of, months_of, needed_units
from iotrace.errors import UsageError
from iotrace.units import parse_bytes

_NUMBERS: Final = (
    ("users", 2.0), ("lanes", 2.0), ("movies", 2.0), ("box", 1.5), ("particles", 2.0), ("gpus", 2.0), ("live", 2.0),
)  # fmt: skip
"""Numbers of a workload that are multiplied."""
_HALVED: Final = (
    ("throughput of a unit", ("disk_read", "network_read", "write")),
    ("throughput of one stream", ("stream_read", "stream_write")),
    ("throughput of a client", ("client_read", "client_write")),
)
_ARRIVAL_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Effect:
    """What another value of an input does.

    Attributes
    ----------
    factor: of the mean time to structure, on the units that there are now. units: that are needed then; None: more than
    any storage has.
    """

    name: str
    change: str
    factor: float
    units: int | None


@dataclass(frozen=True, slots=True)
class _Change:
    name: str
    change: str
    case: Case
    keeping: Keeping


def effects_of(case: Case, units: int, keeping: Keeping, needed: int) -> list[Effect]:
    """How much each input matters, the strongest first: for the time to structure, then for the units needed.

    Parameters
    ----------
    units: that there are; times are on those that are left when as many have failed as may. needed: units that the
    workload needs as it is.
    """
    storage, working = case.storage, case.storage.working(units)
    before = float(case.run(working).structure_s.mean())
    found = [
        Effect(
            one.name, one.change,
            1.0 if one.case is case else float(one.case.run(working).structure_s.mean()) / before,
            _needed(one.case, one.keeping),
        )
        for one in _changes(case, keeping)
    ]  # fmt: skip
    fewer = storage.bought(units / 2)
    if not storage.local and fewer < units:
        after = float(case.run(storage.working(fewer)).structure_s.mean())
        found.append(Effect("units", f"{units} → {fewer}", after / before, needed))

    def strength(one: Effect) -> tuple[float, float]:
        more = math.inf if one.units is None else abs(math.log(one.units / needed))
        return -abs(math.log(one.factor)), -more

    return sorted(found, key=strength)


def _needed(case: Case, keeping: Keeping) -> int | None:
    try:
        return needed_units(case, max(month.hot for month in months_of(case.demand(1), keeping))).units
    except UsageError:
        return None


def _changes(case: Case, keeping: Keeping) -> Iterator[_Change]:
    yield from (_Change(name, change, other, keeping) for name, change, other in _workloads(case))
    datasets = datasets_of(case.demand(1), keeping)
    yield _Change("data sets", "× 2", case, replace(keeping, datasets=2 * datasets))
    yield _Change("retention", "× 2", case, replace(keeping, retention=2 * keeping.retention))
    yield from (_Change(name, change, other, keeping) for name, change, other in _nodes(case))
    yield from (_Change(name, change, other, keeping) for name, change, other in _storages(case))


def _workloads(case: Case) -> Iterator[tuple[str, str, Case]]:
    demand = case.demand(1)
    crowd, numbers = demand.crowd, demand.numbers
    now: dict[str, float] = {
        "users": crowd.users, "lanes": crowd.lanes, "live": crowd.live, "gpus": max(1, case.node.gpus),
    }  # fmt: skip
    # what is given is scaled, and so may not have been already
    plain = {
        name: value / case.scale if numbers.known[name].scales else value for name, value in numbers.values.items()
    }
    values = {**plain, **now, **case.given}

    def changed(name: str, value: float) -> Case:
        return replace(case, given={**case.given, name: value})

    for name, times in _NUMBERS:
        if values.get(name):
            other = float(math.ceil(values[name] * times))
            yield name, f"× {other / values[name]:.3g}", changed(name, other)
    if not crowd.live:
        yield "live", "0 → 1", changed("live", 1)
    others = [("microscopes", crowd.microscopes, 0 if crowd.microscopes else crowd.live)]
    if case.node.local_read:
        others.append(("cached_lanes", crowd.cached_lanes, 0 if crowd.cached_lanes else crowd.lanes))
        if crowd.cached_lanes and crowd.cache_users:
            others.append(("cache_users", crowd.cache_users, max(1, crowd.cache_users // 2)))
    arrival = demand.arrival_s
    others.append(("arrival_seconds", int(arrival), 0 if arrival else int(_ARRIVAL_S)))
    for name, before, after in others:
        if before != after:
            yield name, f"{before} → {after}", changed(name, after)


def _nodes(case: Case) -> Iterator[tuple[str, str, Case]]:
    node = case.node

    def changed(**figures: Any) -> Case:
        return replace(case, node=msgspec.structs.replace(node, **figures))

    yield "GPU speed", "× 2", changed(speed=2 * node.speed)
    yield "network of a node", "÷ 2", changed(network=_half(node.network))
    if node.page_cache:
        yield "page cache of a node", f"{node.page_cache:.0%} of its memory → 0", changed(page_cache=0.0)
    if node.local_read:
        halved = {name: _half(getattr(node, name)) for name in ("local_read", "local_write") if getattr(node, name)}
        yield "own disk of a node", "÷ 2", changed(**halved)
    if node.local_capacity:
        yield "size of a node's own disk", "÷ 2", changed(local_capacity=_half(node.local_capacity))


def _storages(case: Case) -> Iterator[tuple[str, str, Case]]:
    storage = case.storage

    def changed(**figures: Any) -> Case:
        return replace(case, storage=msgspec.structs.replace(storage, **figures))

    latencies = ("read_latency_us", "write_latency_us", "metadata_latency_us")
    yield "latency", "× 2", changed(**{name: 2 * getattr(storage, name) for name in latencies})
    yield "metadata rate", "÷ 2", changed(metadata=storage.metadata / 2)
    if math.isfinite(storage.operations):
        yield "operation rate", "÷ 2", changed(operations=storage.operations / 2)
    for what, names in _HALVED:
        known = {name: _half(getattr(storage, name)) for name in names if getattr(storage, name)}
        if known:
            yield what, "÷ 2", changed(**known)
    if storage.cache_bytes(1):
        yield "cache of the servers", f"{storage.cache} each → 0", changed(cache="0 B")


def _half(amount: str) -> str:
    return f"{max(1, parse_bytes(amount) // 2)}"

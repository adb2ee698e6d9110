"""Questions to the model: how much storage is needed, and up to how many users it does.

All of them run the simulation; none takes longer than some hundred runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final

import msgspec

from iotrace.analysis.sizing.demand import Demand, demand_of, with_caches, with_crowd
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.simulation import Simulated, simulate
from iotrace.analysis.sizing.storages import UNITS_MAX, Node, Storage
from iotrace.errors import UsageError
from iotrace.profiles.model import Workload
from iotrace.units import parse_bytes

SLOWER: Final = 0.10
"""A storage is large enough while jobs take at most so much longer than on one that only its latencies and the limits
of a stream and of a node hold back."""
USERS_MAX: Final = 4096
MONTHS: Final = 12
"""At least so many months are worked out."""


@dataclass(slots=True)
class Case:
    """A workload on nodes and a storage, before the question how many units it takes."""

    workload: Workload
    node_name: str
    node: Node
    storage_name: str
    storage: Storage
    given: Mapping[str, float]
    scale: float = 1.0
    known: dict[Any, Demand] = field(default_factory=dict)
    """Demands by what they depend on: like cases share it."""

    def demand(self, units: int, **crowd: int) -> Demand:
        """What is asked of so many units (their caches serve a part), by other users, lanes or sessions if given."""
        # caches and limits of a node are no part of what its jobs ask for
        alike = msgspec.structs.replace(self.node, memory="1 B", network="1 B", page_cache=0.0)
        key = alike, tuple(sorted(self.given.items())), self.scale
        if key not in self.known:
            self.known[key] = demand_of(self.workload, self.node, self.given, self.scale)
        return with_caches(with_crowd(self.known[key], **crowd), self.node, self.storage, units)

    def run(self, units: int, demand: Demand | None = None, *, paces: bool = False) -> Simulated:
        """A run on so many units; `paces`: with what rates by step need."""
        return simulate(demand or self.demand(units), self.storage, self.node, units, paces=paces)


@dataclass(frozen=True, slots=True)
class Month:
    """Bytes at the end of a month, counted from 1: on the storage (hot), and on what keeps the rest (cold)."""

    month: int
    hot: int
    cold: int


@dataclass(frozen=True, slots=True)
class Keeping:
    """What stays how long.

    Attributes
    ----------
    datasets: that come each month; None: one for each user. retention: months on the storage; archive: months after
    that on something cheaper.
    """

    datasets: float | None = None
    retention: int = 3
    archive: int = 0


def datasets_of(demand: Demand, keeping: Keeping) -> float:
    """Data sets that come each month."""
    return demand.crowd.users if keeping.datasets is None else keeping.datasets


def months_of(demand: Demand, keeping: Keeping) -> list[Month]:
    """Capacity by month, when nothing is there at first, for a year or until as much goes as comes.

    A data set is its movies and all that its jobs write.

    Sessions of Live, each with its movies and what it writes, come in the proportion that the workload has.
    """
    live = Fraction(demand.crowd.live * demand.live_bytes, demand.crowd.users)
    each = Fraction(datasets_of(demand, keeping)) * (demand.raw_bytes + demand.made_bytes + live)
    return [
        Month(
            month, math.ceil(each * min(month, keeping.retention)),
            math.ceil(each * max(0, min(month, keeping.retention + keeping.archive) - keeping.retention)),
        )
        for month in range(1, max(MONTHS, keeping.retention + keeping.archive) + 1)
    ]  # fmt: skip


@dataclass(slots=True)
class Needed:
    """Units of a storage by what asks for them, spare ones included; each is the fewest that can be bought.

    Attributes
    ----------
    capacity, throughput, operations, metadata: units. slowdown: that jobs are at most SLOWER longer.
    """

    capacity: int
    throughput: int
    operations: int
    metadata: int
    slowdown: int

    @property
    def units(self) -> int:
        """The most of them."""
        return max(self.capacity, self.throughput, self.operations, self.metadata, self.slowdown)

    @property
    def binding(self) -> str:
        """What asks for the most."""
        return max(self.__slots__, key=lambda name: int(getattr(self, name)))


def needed_units(case: Case, hot_bytes: int, share: float = 0.95) -> Needed:
    """How many units a workload needs.

    Rates are those that it would ask of a storage without limits of its own, in all but a part of the time (`share`).

    Raises
    ------
    UsageError: more than any storage has.
    """
    storage = case.storage
    if storage.local:
        each = math.ceil(hot_bytes / max(1, case.demand(1).crowd.lanes))
        return Needed(_possible(storage, storage.units_for(each)), 1, 1, 1, 1)
    free = case.run(UNITS_MAX)
    read, write = free.percentile(e.READ_RATE, share), free.percentile(e.WRITE_RATE, share)
    # nobody should count on the servers' caches
    reading, writing = parse_bytes(storage.disk_read), parse_bytes(storage.write)
    throughput = max(read / reading, write / writing)
    if storage.sharing != "apart":
        throughput = free.busiest(reading, writing, share)
    if storage.network_read:
        throughput = max(throughput, read / parse_bytes(storage.network_read))
    operations = free.percentile(e.DATA_RATE, share) / storage.operations
    metadata = free.percentile(e.META_RATE, share) / storage.metadata
    return Needed(
        _possible(storage, storage.units_for(hot_bytes)), _bought(storage, throughput), _bought(storage, operations),
        _bought(storage, metadata), _enough_for_time(case, free),
    )  # fmt: skip


def _bought(storage: Storage, units: float) -> int:
    return _possible(storage, storage.bought(math.ceil(units - 1e-9) + storage.spare))


def _possible(storage: Storage, bought: int) -> int:
    if bought > UNITS_MAX:
        raise UsageError(f"{storage.title}: {bought} of a {storage.unit} are more than any storage has.")
    return bought


def _enough_for_time(case: Case, ideal: Simulated) -> int:
    """The fewest units with which users, Live sessions and microscopes take at most SLOWER longer, spare ones apart."""
    users = len(ideal.demand.before)

    def fits(units: int) -> bool:
        run = case.run(units)
        beside = run.sums[users:, e.JOB_SECONDS] <= ideal.sums[users:, e.JOB_SECONDS] * (1 + SLOWER)
        return bool(beside.all()) and float(run.structure_s.mean()) <= ideal.structure_s.mean() * (1 + SLOWER)

    low, high = 0, 1
    while not fits(high):
        low, high = high, 2 * high
        if high > UNITS_MAX:
            raise UsageError(f"{case.storage.title}: no number of units serves this workload without a queue.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return _bought(case.storage, high)


@dataclass(frozen=True, slots=True)
class Knee:
    """Up to how many users a storage does; `more`: the search ended there.

    curve: (users, mean hours, GPU idle or None where no job holds a GPU, hours that are not too many).
    """

    users: int
    more: bool
    curve: list[tuple[int, float, float | None, float]]


def knee_of(case: Case, units: int) -> Knee:
    """The most users whose jobs take at most SLOWER longer than one user's on the same storage.

    Lanes grow with the users, as many for each as there are now, and so do those with a disk for particle stacks;
    sessions of Live stay. All users begin at once: of those who come one after the other only so many are ever there
    together. What such disks make faster or slower is no fault of the storage: where there are some, one user's time
    is that times what as many users take, on a storage without limits of its own, for each hour of one.
    """
    demand = case.demand(units)
    a_user = demand.crowd.lanes / demand.crowd.users
    curve: dict[int, tuple[float, float | None, float]] = {}

    def hours_on(run: Simulated, users: int) -> float:
        # a queue for lanes is no fault of the storage
        return float(run.sums[: len(demand.before), e.JOB_SECONDS].sum()) / users / 3600

    def fits(users: int) -> bool:
        if users not in curve:
            lanes = max(1, math.ceil(users * a_user))
            cached = round(lanes * demand.crowd.cached_lanes / demand.crowd.lanes)
            crowd = replace(case.demand(units, users=users, lanes=lanes, cached_lanes=cached), arrival_s=0.0)
            run = case.run(units, crowd)
            alone.setdefault("hours", hours_on(run, users))
            alike = 1.0
            if demand.crowd.cached_lanes:
                free = hours_on(case.run(UNITS_MAX, crowd), users)
                alike = free / alone.setdefault("free", free)
            curve[users] = hours_on(run, users), run.gpu_idle, alone["hours"] * alike * (1 + SLOWER)
        return curve[users][0] <= curve[users][2]

    alone: dict[str, float] = {}
    fits(1)
    low, high = 1, 2
    while high <= USERS_MAX and fits(high):
        low, high = high, 2 * high
    more = high > USERS_MAX
    while not more and high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return Knee(low, more, [(users, *curve[users]) for users in sorted(curve)])

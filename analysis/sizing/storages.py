"""Storages and nodes of the model: TOML in, checked; out comes what the kernels take.

A storage is so many units (TiB, servers) with so much of each thing a unit; a user's file stands on top of the shipped
one. Figures have a source, or `inferred` says that they are guesses.
"""

from __future__ import annotations

import math
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from iotrace.analysis.cost.capacity import net_capacity, servers_needed
from iotrace.analysis.cost.prices import ServerStorage
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.errors import UsageError
from iotrace.units import parse_amount, parse_bytes, parse_capacity

SHIPPED: Final = "storages.toml"
_MOST_BYTES: Final = 1_000_000
UNITS_MAX: Final = 100_000
SHARINGS: Final = {"apart": r.APART, "together": r.TOGETHER, "in turn": r.IN_TURN}


class Stripes(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How servers protect each other's data, as `iotrace cost` has it: so many hold more than as many times one.

    Attributes
    ----------
    drives, drive: in each server, and the capacity of one, such as "7500 GB". protection: blocks of a stripe that
    protect it; widest: data blocks of the widest stripe; width: of each stripe, 0 for what the servers allow.
    usable: share of the rest that holds data.
    """

    drives: int
    drive: str
    protection: int
    widest: int
    usable: float
    width: int = 0


class Storage(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A storage.

    Attributes
    ----------
    title, unit: for people ("server", "TiB"); source: where the figures come from; inferred: what it does not say.
    first, least, step: units that can be bought: those of `first`, then `least`, then `step` more at a time.
    spare: units that may fail at a time.
    disk_read, network_read, write: of each unit, such as "500 MB"; a second. operations, metadata: a unit and second.
    client_read, client_write: of each node; stream_read, stream_write: of each open file that is read or written.
    read_latency_us, write_latency_us, metadata_latency_us: of one operation on an idle storage.
    stripe_count: over how many servers a file is spread, each of which does `stream_read` and `stream_write` of it.
    burst_disk_read, burst_network_read, burst_write: as without burst_, while there are credits, "" for no more;
    burst_seconds: how long the credits last at full burst; what is left of the baseline fills them again.
    cache: of each unit, on servers; capacity: net, of each unit, those that may fail left out; stripes: in its place
    where servers protect each other's data, with the capacity of `spare` of them kept free.
    local: each node has one of its own, which nobody shares.
    sharing: "apart": disk_read and write are limits of their own; "together": what reads take is not there for writes;
    "in turn": so, and one request after the other, as a disk does, so that large ones get more of it than small ones.
    """

    title: str
    unit: str
    source: str
    disk_read: str
    write: str
    read_latency_us: float
    write_latency_us: float
    metadata_latency_us: float
    metadata: float
    capacity: str = ""
    stripes: Stripes | None = None
    network_read: str = ""
    operations: float = math.inf
    client_read: str = ""
    client_write: str = ""
    stream_read: str = ""
    stream_write: str = ""
    stripe_count: int = 1
    burst_disk_read: str = ""
    burst_network_read: str = ""
    burst_write: str = ""
    burst_seconds: float = 0.0
    cache: str = "0 B"
    first: tuple[int, ...] = ()
    least: int = 1
    step: int = 1
    spare: int = 0
    local: bool = False
    sharing: Literal["apart", "together", "in turn"] = "apart"
    inferred: str = ""

    def row(self, units: float) -> npt.NDArray[np.float64]:
        """What so many units can do, as iotrace.analysis.sizing.kernels.rates wants it."""
        row = np.full(r.STORAGE_FIELDS, np.inf)
        for column, text, times in (
            (r.STREAM_READ, self.stream_read, self.stripe_count),
            (r.STREAM_WRITE, self.stream_write, self.stripe_count),
            (r.CLIENT_READ, self.client_read, 1.0), (r.CLIENT_WRITE, self.client_write, 1.0),
            (r.NETWORK_READ, self.network_read, units), (r.DISK_READ, self.disk_read, units),
            (r.TOTAL_WRITE, self.write, units),
        ):  # fmt: skip
            if text:
                row[column] = parse_bytes(text) * times
        row[r.READ_LATENCY], row[r.WRITE_LATENCY] = self.read_latency_us / 1e6, self.write_latency_us / 1e6
        row[r.META_LATENCY] = self.metadata_latency_us / 1e6
        row[r.OPERATIONS], row[r.METADATA] = self.operations * units, self.metadata * units
        row[r.SHARING], row[r.DEVICES], row[r.OWN] = SHARINGS[self.sharing], units, float(self.local)
        return row

    def burst_row(self, row: npt.NDArray[np.float64], units: float) -> tuple[npt.NDArray[np.float64], float]:
        """`row` while there are credits, and as many as there can be, in seconds of the baseline."""
        burst, most = row.copy(), 1.0
        for column, text in (
            (r.DISK_READ, self.burst_disk_read), (r.NETWORK_READ, self.burst_network_read),
            (r.TOTAL_WRITE, self.burst_write),
        ):  # fmt: skip
            if text and np.isfinite(row[column]):
                burst[column] = max(row[column], parse_bytes(text) * units)
                most = max(most, float(burst[column] / row[column]))
        return burst, (most - 1.0) * self.burst_seconds

    def capacity_bytes(self, units: int) -> int:
        """Net bytes of so many units; 0 where they are too few for a stripe."""
        if self.stripes is not None:
            return net_capacity(self._servers(self.stripes), units)
        return parse_bytes(self.capacity) * max(0, units - self.spare)

    def units_for(self, stored: int) -> int:
        """The fewest units on sale that hold so many bytes, spare ones included.

        Raises
        ------
        UsageError: no number of servers does.
        """
        if self.stripes is not None:
            return self.bought(servers_needed(self._servers(self.stripes), stored))
        return self.bought(-(-stored // parse_bytes(self.capacity)) + self.spare)

    def _servers(self, stripes: Stripes) -> ServerStorage:
        return ServerStorage(
            self.title, "", "", "", stripes.drives, stripes.drive, stripes.protection, Decimal(repr(stripes.usable)),
            self.least, stripes.widest, self.source, self.spare, stripes.width,
        )  # fmt: skip

    def cache_bytes(self, units: int) -> int:
        """Bytes of the servers' caches."""
        return parse_bytes(self.cache) * units

    def bought(self, units: float) -> int:
        """The fewest units on sale that are at least so many."""
        small = [count for count in self.first if count >= units]
        return min([*small, self.least + max(0, math.ceil((units - self.least) / self.step - 1e-9)) * self.step])

    def working(self, units: int) -> int:
        """Units that are left when as many have failed as may; at least one."""
        return units if self.local else max(1, units - self.spare)

    def refuse_unsold(self, name: str, units: int) -> None:
        """Refuse what nobody sells.

        Raises
        ------
        UsageError: so many units cannot be bought; says which can.
        """
        above = self.bought(units)
        if above == units:
            return
        below = [count for count in self.first if count < units]
        if units > self.least:
            below.append(above - self.step)
        others = f"{max(below)} or {above}" if below else f"the fewest are {above}"
        raise UsageError(f"--units {units}: {name} is not sold as {units} × {self.unit}: {others}.")


class Node(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A node that runs jobs.

    Attributes
    ----------
    gpus: of which a job uses as many as it can; speed: of a GPU, 1 for that of the profiles' think times.
    network: bytes a second; memory: of which `page_cache` is left for files that are read again.
    local_read, local_write: of its own disk, "" for none; local_capacity: for particle stacks, "" for as many as there
    are.
    """

    title: str
    source: str
    gpus: int
    network: str
    memory: str
    speed: float = 1.0
    page_cache: float = 0.5
    local_read: str = ""
    local_write: str = ""
    local_capacity: str = ""
    inferred: str = ""


class Catalogue(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """All storages and nodes by name."""

    storages: dict[str, Storage] = {}
    nodes: dict[str, Node] = {}

    def storage(self, name: str) -> Storage:
        """A storage.

        Raises
        ------
        UsageError: there is none of that name.
        """
        if name not in self.storages:
            raise UsageError(f"--storage {name}: choose {', '.join(sorted(self.storages))}, or give --storages FILE.")
        return self.storages[name]

    def node(self, name: str) -> Node:
        """A node.

        Raises
        ------
        UsageError: there is none of that name.
        """
        if name not in self.nodes:
            raise UsageError(f"--node {name}: choose {', '.join(sorted(self.nodes))}, or give --storages FILE.")
        return self.nodes[name]


def load_catalogue(own: Path | None = None) -> Catalogue:
    """The shipped storages and nodes, with those of a user's file on top.

    Raises
    ------
    UsageError: a file cannot be read, or is wrong; says where.
    """
    shipped = _shipped()
    if own is None:
        return shipped
    more = _checked(_text_of(own), str(own))
    return Catalogue(shipped.storages | more.storages, shipped.nodes | more.nodes)


@cache
def _shipped() -> Catalogue:
    return _checked((resources.files("iotrace.data") / "storages" / SHIPPED).read_text(encoding="utf-8"), SHIPPED)


def _text_of(file: Path) -> str:
    try:
        if not file.is_file() or file.stat().st_size > _MOST_BYTES:
            raise UsageError(f"--storages {file}: no TOML file of less than 1 MB.")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no text.") from None


def _checked(text: str, file: str) -> Catalogue:
    try:
        found = msgspec.toml.decode(text, type=Catalogue)
    except msgspec.DecodeError as error:
        raise UsageError(f"{file}: {str(error).splitlines()[0]}.") from None
    for name, one in {**found.storages, **found.nodes}.items():
        for key in one.__struct_fields__:
            _check(f"{file}: {name}.{key}", key, getattr(one, key))
    for name, storage in found.storages.items():
        if bool(storage.capacity) == (storage.stripes is not None):
            raise UsageError(f"{file}: {name}.capacity: an amount with its unit, such as '50 TB', or else stripes.")
        if storage.local and storage.burst_seconds:
            raise UsageError(f"{file}: {name}.burst_seconds: a disk of each node has no credits that nodes share.")
        if storage.stripes is not None:
            _check_stripes(f"{file}: {name}", storage.stripes)
    return found


def _check_stripes(where: str, stripes: Stripes) -> None:
    try:
        drive = parse_capacity(stripes.drive)
    except UsageError as error:
        raise UsageError(f"{where}.stripes.drive: {error}") from None
    counts = stripes.drives, stripes.protection, stripes.widest
    if drive <= 0 or not all(0 < count <= UNITS_MAX for count in counts) or not 0 <= stripes.width <= UNITS_MAX:
        raise UsageError(f"{where}.stripes: drives, drive, protection and widest are above 0, width is 0 or more.")
    if not 0 < stripes.usable <= 1:
        raise UsageError(f"{where}.stripes.usable = {stripes.usable}: a share above 0, up to 1.")


_AMOUNTS: Final = (
    "disk_read", "network_read", "write", "client_read", "client_write", "stream_read", "stream_write", "capacity",
    "cache", "network", "memory", "local_read", "local_write", "local_capacity",
    "burst_disk_read", "burst_network_read", "burst_write",
)  # fmt: skip
_ABOVE_ZERO: Final = ("metadata", "operations", "speed", "least", "step", "stripe_count")
_FROM_ZERO: Final = (
    "read_latency_us", "write_latency_us", "metadata_latency_us", "burst_seconds", "spare", "gpus",
)  # fmt: skip
_LEAST: Final = 1e-3
"""Of a rate or a speed: with less no job would end."""


def _check(where: str, key: str, value: Any) -> None:
    if key in _AMOUNTS and value:
        try:
            amount = parse_amount(value)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        if amount <= 0 and key != "cache":
            raise UsageError(f"{where} = {value!r}: an amount above 0.")
    if key in ("disk_read", "write", "network", "memory") and not value:
        raise UsageError(f"{where}: an amount with its unit, such as '500 MB'.")
    if key == "first" and not all(0 < count <= UNITS_MAX for count in value):
        raise UsageError(f"{where} = {list(value)}: numbers of units, above 0.")
    if key in _ABOVE_ZERO and not value >= _LEAST:
        raise UsageError(f"{where} = {value}: a number from {_LEAST:g} on.")
    if key in _FROM_ZERO and not 0 <= value < 1e9:
        raise UsageError(f"{where} = {value}: a number from 0 on.")
    if key == "page_cache" and not 0 <= value <= 1:
        raise UsageError(f"{where} = {value}: a share from 0 to 1.")
    if key in ("title", "source", "unit") and not value.strip():
        raise UsageError(f"{where}: may not be empty.")

"""What the ranks of a fleet share out before a run, and how what they measured becomes one result after it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iotrace.mounts.family import notes_of
from iotrace.mounts.mountinfo import Mount
from iotrace.replay.clones import Outcome
from iotrace.replay.figures import Counted, Guard, NullFigures, RankTotals
from iotrace.replay.fleet import Clock, Fleet
from iotrace.replay.fleet_counters import RankCounters, summed
from iotrace.replay.fleet_guard import RankGuard, together
from iotrace.replay.ground import Ground
from iotrace.replay.kernels import words
from iotrace.replay.provenance import memory_of_this_machine
from iotrace.replay.result import MountInfo, Run, Verified
from iotrace.replay.stage import Needs
from iotrace.replay.work import Work, needs_of_users

_NAMED_MAX = 10


@dataclass(slots=True)
class _Report:
    """What a rank measured in a run."""

    host: str
    node: str
    outcomes: list[Outcome]
    clock: Clock
    verified: Verified | None
    sync_s: float | None
    guard: Guard | None
    counters: list[Counted]
    staged_by: list[str]
    warnings: list[str]
    network: int
    mount: MountInfo
    memory_bytes: int


class Share:
    """The users that this process runs, of all there are, and those whose trees it makes.

    The trees of a rank's users are made by the rank before it: what a client has written it may keep, and reads of that
    are not the storage's.

    Attributes
    ----------
    users: all; own: those of this rank, every `size`-th; staged: those of the next rank; fleet: None for a replay of
    one process.
    needs: what the trees of all ranks take together.
    """

    def __init__(self, users: Sequence[Work], fleet: Fleet | None) -> None:
        rank, size = (fleet.rank, fleet.size) if fleet else (0, 1)
        self.fleet, self.users, self.own = fleet, list(users), list(users[rank::size])
        self.staged = list(users[(rank + 1) % size :: size])
        # files that users share are there once for each rank
        ranks = [needs_of_users(users[one::size]) for one in range(size)]
        self.needs = Needs(
            sum(one.staged_bytes for one in ranks), sum(one.staged_entries for one in ranks),
            sum(one.growth_bytes for one in ranks), sum(one.growth_entries for one in ranks),
        )  # fmt: skip

    def wait(self) -> None:
        """Wait for the other ranks."""
        if self.fleet:
            self.fleet.exchange(None)

    @contextmanager
    def alone_on_node(self) -> Iterator[bool]:
        """Whether this rank is the first of those that see the same mounts; all wait until each such rank is done."""
        if not self.fleet:
            yield True
            return
        mounts = _boot_id(), _namespace("mnt")
        yield self.fleet.exchange(mounts).index(mounts) == self.fleet.rank
        self.fleet.exchange(None)

    def hear(self, sentences: Sequence[str]) -> list[str]:
        """Wait for the other ranks; gives what they say and rank 0 does not, on rank 0."""
        if not self.fleet:
            return []
        said = self.fleet.exchange((self.fleet.host, list(sentences)))
        return _said_elsewhere(said) if self.fleet.rank == 0 else []

    def hand_on(self, grounds: list[Ground]) -> list[Ground]:
        """Give the trees that this rank has made to the rank whose users replay on them; gives those of its own users.

        They have to be written out.
        """
        if not self.fleet or self.fleet.size == 1:
            return grounds
        for ground in grounds:
            ground.handed_on = True
            if not ground.reused:
                ground.staged_by = self.fleet.host
        mine: list[Ground] = self.fleet.exchange(grounds)[self.fleet.rank - 1]
        for ground in mine:
            ground.borrowed = True
        return mine

    def cpus(self) -> int:
        """CPUs that all ranks together may use; ranks of one node may share theirs."""
        own = _boot_id(), os.sched_getaffinity(0)
        nodes: dict[str, set[int]] = {}
        for node, cpus in self.fleet.exchange(own) if self.fleet else [own]:
            nodes.setdefault(node, set()).update(cpus)
        return sum(len(cpus) for cpus in nodes.values())

    def null_figures(self, own: NullFigures) -> NullFigures:
        """The plan without its I/O, of all ranks: they work at the same time."""
        if not self.fleet:
            return own
        every = self.fleet.exchange(own)
        return NullFigures(
            max(one.makespan_s for one in every), own.source, max(one.generator_s for one in every),
            sum(one.generator_ops_per_s for one in every),
            sum(one.generator_cpu_us for one in every) / len(every),
        )  # fmt: skip

    def gather(
        self, outcomes: list[Outcome], run: Run, warnings: list[str], grounds: Sequence[Ground] = ()
    ) -> tuple[list[Work], list[Outcome]]:
        """On rank 0 all users and what their kernels wrote, on its clock, elsewhere the rank's own.

        Fills `run`, and adds on rank 0 to the warnings those of other ranks.
        """
        fleet = self.fleet
        if not fleet:
            return self.own, outcomes
        staged_by = sorted({ground.staged_by for ground in grounds})
        reports = fleet.collect(
            _Report(
                fleet.host, _boot_id(), outcomes, fleet.clock, run.verified, run.sync_s, run.guard, run.counters,
                staged_by, list(warnings), _namespace("net"), run.mount, memory_of_this_machine(),
            )
        )  # fmt: skip
        if not reports:
            return self.own, outcomes
        for one in reports:
            for outcome in one.outcomes:
                _shift(outcome, one.clock.offset_ns)
        begin = min(outcome.start_ns for one in reports for outcome in one.outcomes)
        run.ranks = [_totals(rank, one, self.users[rank :: fleet.size], begin) for rank, one in enumerate(reports)]
        run.verified = _all_verified([one.verified for one in reports if one.verified])
        run.sync_s = max((one.sync_s for one in reports if one.sync_s is not None), default=None)
        run.guard = together([
            RankGuard(rank, one.host, one.node, one.guard) for rank, one in enumerate(reports) if one.guard
        ])  # fmt: skip
        run.counters = summed([RankCounters(one.node, one.network, one.counters) for one in reports])
        elsewhere = _said_elsewhere([(one.host, one.warnings) for one in reports])
        elsewhere += _mounted_otherwise(run.fs, [(one.host, one.mount) for one in reports])
        warnings += [one for one in elsewhere if one not in warnings]
        return self.users, [
            reports[user % fleet.size].outcomes[user // fleet.size] for user in range(len(self.users))
        ]  # fmt: skip

    def tables(self, own: pa.Table) -> pa.Table:
        """What was counted each second (iotrace.replay.result.COUNTERS) beside all ranks, on rank 0; elsewhere the
        rank's own."""
        if not self.fleet:
            return own
        # names stand in each row: compressed they are next to nothing
        buffer = pa.BufferOutputStream()
        pq.write_table(own, buffer, compression="zstd")
        tables = self.fleet.collect(buffer.getvalue().to_pybytes())
        return pa.concat_tables([pq.read_table(pa.BufferReader(one)) for one in tables]) if tables else own


def _shift(outcome: Outcome, offset_ns: int) -> None:
    # rows that are no calls have run and have no time: theirs stays 0
    outcome.started = np.where(outcome.started > 0, outcome.started + offset_ns, outcome.started)
    outcome.start_ns += offset_ns
    outcome.lane_ended_ns = outcome.lane_ended_ns + offset_ns


def _totals(rank: int, report: _Report, users: Sequence[Work], begin: int) -> RankTotals:
    ended = np.concatenate([outcome.lane_ended_ns for outcome in report.outcomes]) - begin
    ran = [outcome.result != words.NOT_RUN for outcome in report.outcomes]
    ops = sum(int((work.plan.counted & done).sum()) for work, done in zip(users, ran, strict=True))
    clock = report.clock
    return RankTotals(
        rank, report.host, len(users), ops, max(0, int(ended.min())) / 1e9, max(0, int(ended.max())) / 1e9,
        clock.late_ns / 1e3, clock.utc_ns / 1e6, clock.uncertainty_ns / 1e3, report.staged_by, report.sync_s,
        report.guard, report.counters, report.memory_bytes, report.mount.options,
    )  # fmt: skip


def _said_elsewhere(said: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Sentences that rank 0 does not say, with the ranks that do; `said`: host and sentences of each rank."""
    ranks: dict[str, list[str]] = {}
    for rank, (host, sentences) in enumerate(said):
        for sentence in dict.fromkeys(sentences):
            if sentence not in said[0][1]:
                ranks.setdefault(sentence, []).append(f"{rank} ({host})")
    return [f"On rank{'s' * (len(who) > 1)} {', '.join(who)}: {sentence}" for sentence, who in ranks.items()]


def _mounted_otherwise(folder: str, mounts: Sequence[tuple[str, MountInfo]]) -> list[str]:
    """Sentences about ranks on which options of a mount that change a measurement differ from those on rank 0;
    `mounts`: host and mount of each rank."""
    here = _telling_options(mounts[0][1])
    apart: dict[tuple[str, ...], list[str]] = {}
    for rank, (host, mount) in enumerate(mounts):
        there = _telling_options(mount)
        if set(there) != set(here):
            apart.setdefault(there, []).append(f"{rank} ({host})")
    return [
        f"On rank{'s' * (len(who) > 1)} {', '.join(who)} {folder} is mounted otherwise than on rank 0: "
        f"{_those_of(there, here)} there, {_those_of(here, there)} here."
        for there, who in apart.items()
    ]


def _telling_options(mount: MountInfo) -> tuple[str, ...]:
    return tuple(note.option for note in notes_of(Mount(0, mount.point, mount.type, mount.source, mount.options)))


def _those_of(one: Sequence[str], other: Sequence[str]) -> str:
    return ", ".join(option for option in one if option not in other) or "none of these options"


def _all_verified(found: Sequence[Verified]) -> Verified | None:
    if not found:
        return None
    wrong: dict[str, int] = {}
    for one in found:
        for kind, count in one.wrong.items():
            wrong[kind] = wrong.get(kind, 0) + count
    return Verified(
        wrong, sum(one.checked_bytes for one in found), sum(one.unchecked_bytes for one in found),
        [name for one in found for name in one.named][:_NAMED_MAX],
    )  # fmt: skip


def _boot_id() -> str:
    """Tells nodes apart, also where they have one name."""
    return Path("/proc/sys/kernel/random/boot_id").read_text()


def _namespace(kind: str) -> int:
    """Tells namespaces of one machine apart; 0 where the kernel has none of that kind."""
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except OSError:
        return 0

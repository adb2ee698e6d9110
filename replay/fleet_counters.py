"""The counters of a fleet's ranks as one: what all its nodes counted, and nobody's twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iotrace.mounts.counters.netdev import NAME as CARDS
from iotrace.mounts.counters.source import Counts, is_now
from iotrace.replay.figures import Counted


@dataclass(frozen=True, slots=True)
class RankCounters:
    """What a rank counted; node: tells machines apart; network: whose cards it sees, which containers have of their own
    (the number of its network namespace)."""

    node: str
    network: int
    counters: Sequence[Counted]

    def whose(self, rank: int, one: Counted) -> str:
        """Tells apart what a source counts for different ranks."""
        if one.scope == "processes":
            return f"rank {rank}"
        if one.scope == "cluster":
            return ""
        return f"{self.node} {self.network}" if one.source == CARDS else self.node


def summed(found: Sequence[RankCounters]) -> list[Counted]:
    """The sum over nodes of what their ranks counted.

    What a source counts for a device, a mount or a node it counts for all ranks of the node, which looked at nearly the
    same times: the most that one of them saw of a counter is the node's. What it counts for a rank's own processes is
    added up; what it counts for the whole cluster is the same for all, and the most that one saw is taken.
    """
    ranks: dict[tuple[str, str], list[tuple[str, Counted]]] = {}
    for rank, of in enumerate(found):
        for one in of.counters:
            ranks.setdefault((one.source, one.scope), []).append((of.whose(rank, one), one))
    result = []
    for (source, scope), counted in ranks.items():
        apart = {whose: [one for other, one in counted if other == whose] for whose, _ in counted}
        during = _total(_most(one.during for one in same) for same in apart.values())
        by_then = _total(_most(_by_then(one) for one in same) for same in apart.values())
        syncing = {
            name: value if is_now(name) else value - during.get(name, 0)
            for name, value in by_then.items()
            if any(name in one.syncing for _, one in counted)
        }
        nodes = {of.node for of in found if any(one.source == source for one in of.counters)}
        result.append(Counted(source, scope, during, syncing, len(nodes)))
    return result


def _by_then(one: Counted) -> Counts:
    """Growth until the mount was written out, figures of the moment as they were then."""
    grown = {name: value if is_now(name) else value + one.during.get(name, 0) for name, value in one.syncing.items()}
    return one.during | grown


def _most(counts: Iterable[Counts]) -> Counts:
    most: Counts = {}
    for one in counts:
        most |= {name: max(value, most.get(name, value)) for name, value in one.items()}
    return most


def _total(counts: Iterable[Counts]) -> Counts:
    total: Counts = {}
    for one in counts:
        total |= {name: value + total.get(name, 0) for name, value in one.items()}
    return total

"""The cache guards of a fleet's ranks as one: verdict, bytes, and whose rank was the worst.

What a source counts for a device or a mount it counts for all ranks of its node, so of one node the most that a rank
saw of it is the node's; what the kernel counts for a rank's own processes is added up. So a rank may have seen what
came for another: enough for each, and too little for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iotrace.mounts.counters.guard import CLIENT_CACHE, SHARE, STORAGE
from iotrace.replay.counting import WORST_FIRST
from iotrace.replay.figures import Guard
from iotrace.units import bytes_text


@dataclass(frozen=True, slots=True)
class RankGuard:
    """What the guard says of a rank; host: name of its node; node: tells nodes apart, also where they have one name."""

    rank: int
    host: str
    node: str
    guard: Guard


def together(found: Sequence[RankGuard]) -> Guard | None:
    """The verdict of all ranks, which is the worst one's, with the bytes of all; None of none."""
    if not found:
        return None
    guards = [one.guard for one in found]
    worst = min(found, key=_badness)
    needed, wire = sum(one.needed_bytes for one in guards), _wire_bytes(found)
    known = [one.cached_bytes for one in guards if one.cached_bytes is not None]
    written = _written_bytes(found)
    verdict, why = worst.guard.verdict, _why(found, worst, needed, wire)
    if verdict == STORAGE and _too_little(guards, needed, wire):
        verdict = CLIENT_CACHE
        why = f"Of ranks on one node each saw what came for the others as well, too little for all. {why}"
    return Guard(
        verdict, why, needed,
        sum(known) if len(known) == len(guards) else None, wire, worst.guard.source, *written,
        ", ".join(dict.fromkeys(one.written_source for one in guards if one.written_source)), worst.guard.scope,
    )  # fmt: skip


def _too_little(guards: Sequence[Guard], needed: int, wire: int | None) -> bool:
    """Whether all ranks together got less than they had to, although each saw enough; where less is enough for one
    (compressed data) it may be for all."""
    enough = all(one.wire_bytes is not None and one.wire_bytes >= SHARE * one.needed_bytes for one in guards)
    return enough and wire is not None and wire < SHARE * needed


def _badness(one: RankGuard) -> tuple[int, float]:
    guard = one.guard
    share = 1.0 if guard.wire_bytes is None or not guard.needed_bytes else guard.wire_bytes / guard.needed_bytes
    return WORST_FIRST.index(guard.verdict), share


def _why(found: Sequence[RankGuard], worst: RankGuard, needed: int, wire: int | None) -> str:
    if len(found) == 1:
        return worst.guard.why
    said = [one.guard.verdict for one in found]
    ranks = ", ".join(f"{said.count(verdict)} {verdict}" for verdict in WORST_FIRST if verdict in said)
    came = "" if wire is None or not needed else (
        f", {bytes_text(min(wire, needed))} of {bytes_text(needed)} that had to come from the storage did"
    )  # fmt: skip
    return f"Of {len(found)} ranks: {ranks}{came}; the worst is rank {worst.rank} ({worst.host}): {worst.guard.why}"


def _wire_bytes(found: Sequence[RankGuard]) -> int | None:
    """Bytes over the wire to all nodes; None where that of a rank is not known."""
    of_source: dict[tuple[str | int, str], int] = {}
    for one in found:
        guard = one.guard
        if guard.wire_bytes is None:
            return None
        whose = one.rank if guard.scope == "processes" else one.node
        of_source[whose, guard.source] = max(of_source.get((whose, guard.source), 0), guard.wire_bytes)
    return sum(of_source.values())


def _written_bytes(found: Sequence[RankGuard]) -> tuple[int | None, int | None]:
    """Bytes that reached the storage while the ranks ran, and in the syncs after it; None where no rank knows."""
    ran: dict[tuple[str, str], int] = {}
    by_then: dict[tuple[str, str], int] = {}
    for one in found:
        guard, key = one.guard, (one.node, one.guard.written_source)
        if guard.wire_written_bytes is not None:
            ran[key] = max(ran.get(key, 0), guard.wire_written_bytes)
            both = guard.wire_written_bytes + (guard.wire_synced_bytes or 0)
            by_then[key] = max(by_then.get(key, 0), both)
    if not ran:
        return None, None
    return sum(ran.values()), sum(by_then.values()) - sum(ran.values())

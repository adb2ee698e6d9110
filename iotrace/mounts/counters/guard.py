"""The cache guard: whether what a run read came from the storage, or from this client's memory.

What had to come from the storage (`needed`: distinct bytes that were read, without those that the run itself wrote) is
held against two kinds of evidence, neither of which can be talked away by the other:

- counters say how much came over the wire. They count too much rather than too little (read-ahead, metadata, others on
  the same mount), so what they say is an upper bound, and of several the lowest holds.
- the page cache before the run says how much was here already.

Bytes that a program reads again come from memory also on a cold run: they are told apart, and are no part of `needed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from iotrace.units import bytes_text

Verdict = Literal["storage", "client cache", "cannot tell"]
STORAGE: Final = "storage"
CLIENT_CACHE: Final = "client cache"
CANNOT_TELL: Final = "cannot tell"
SHARE: Final = 0.9
"""So much of what was needed has to have come from the storage."""
COMPRESSED_SHARE: Final = 0.02
"""The same where it may have come compressed; zeros shrink to less, but what a replay stages is random by default."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What a source counted during a run: its name, whose work it counts (see Source), bytes read over the wire."""

    source: str
    scope: str
    read_bytes: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a run.

    Attributes
    ----------
    needed_bytes: of what was read had to come from the storage.
    cached_bytes: of what was needed in the page cache before the run; None: not known.
    figures: of sources that may decide. page_cache_only: this client keeps data nowhere else.
    below: what lies below the device and may be cached itself, "" for nothing.
    pages_bytes: whole pages that what was needed lies in; 0: as needed_bytes. compressed: less may come over the wire
    than is read, so that only next to nothing is evidence of a cache. copied_bytes: that copy_file_range moved, of
    which none need have come to this client; no part of what was needed. uncounted: an option, for people, by which
    reads pass both the page cache and all counters. unseen: a clause, why the counters may have missed some; "" for no
    reason.
    """

    needed_bytes: int
    cached_bytes: int | None
    figures: list[Figure] = field(default_factory=list)
    page_cache_only: bool = False
    below: str = ""
    pages_bytes: int = 0
    compressed: bool = False
    copied_bytes: int = 0
    uncounted: str = ""
    unseen: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, why, and what it rests on: bytes over the wire (None: no source) and their source."""

    verdict: Verdict
    why: str
    wire_bytes: int | None
    source: str


def over_the_wire(figures: Sequence[Figure]) -> tuple[int, str, str] | None:
    """The lowest upper bound of what came over the wire, its sources and their scope; None without any.

    Sources of one scope are parts of a whole (the devices of one file system). Of equal ones that is named which counts
    more, for it says more.
    """
    by_scope: dict[str, list[Figure]] = {}
    for figure in figures:
        by_scope.setdefault(figure.scope, []).append(figure)
    sums = [
        (sum(one.read_bytes for one in part), ", ".join(dict.fromkeys(one.source for one in part)), scope)
        for scope, part in by_scope.items()
    ]
    return min(reversed(sums), key=lambda one: one[0], default=None)


def _trusted(figures: Sequence[Figure], least: float) -> list[Figure]:
    """Without devices that saw less than what the kernel says these processes had fetched: some do not count (heads of
    NVMe multipath on older kernels)."""
    own, device = (sum(one.read_bytes for one in figures if one.scope == scope) for scope in ("processes", "device"))
    deaf = device < least <= own
    return [one for one in figures if not (deaf and one.scope == "device")]


def judge(evidence: Evidence) -> Judgement:
    """The verdict; never "storage" unless the evidence shows that the storage was read."""
    needed, cached = evidence.needed_bytes, evidence.cached_bytes
    least = (COMPRESSED_SHARE if evidence.compressed else SHARE) * needed
    figures = _trusted(evidence.figures, least)
    deaf = len(figures) < len(evidence.figures)
    found = over_the_wire(figures)
    wire, source = (found[0], found[1]) if found else (None, "")
    below = f" Below the device lies {evidence.below}, which this machine may cache itself." if evidence.below else ""

    def verdict(what: Verdict, why: str) -> Judgement:
        return Judgement(what, why + (below if what == STORAGE else ""), wire, source)

    if needed <= 0:
        copied = ""
        if evidence.copied_bytes:
            copied = f" {bytes_text(evidence.copied_bytes)} were copied by copy_file_range, which may move no data."
        return verdict(CANNOT_TELL, f"Nothing was read that had to come from the storage.{copied}")
    if evidence.uncounted:
        return verdict(CANNOT_TELL, f"With {evidence.uncounted} reads pass the page cache and what a device counts.")
    pages = evidence.pages_bytes or needed
    part = f"of {bytes_text(needed)} that had to come from the storage"
    if wire is not None and wire < least and not evidence.unseen:
        return verdict(CLIENT_CACHE, f"{bytes_text(wire)} {part} did ({source}).")
    if cached is not None and pages - cached < SHARE * pages:
        return verdict(
            CLIENT_CACHE, f"{bytes_text(cached)} of {bytes_text(pages)} of pages needed were in the page cache before."
        )
    if wire is not None and wire < least:
        return verdict(CANNOT_TELL, f"{bytes_text(wire)} {part} did ({source}), but {evidence.unseen}.")
    if wire is None:
        if cached is not None and evidence.page_cache_only:
            return verdict(
                STORAGE,
                f"Before the run {bytes_text(cached)} {part} were in the page cache, where alone this client keeps "
                "data; no counter of what came over the wire could be read.",
            )
        return verdict(CANNOT_TELL, "No counter of what came over the wire could be read.")
    if cached is None and deaf:
        return verdict(
            CANNOT_TELL,
            f"{bytes_text(wire)} came from some device ({source}), less from that of this mount, which may not count "
            "all, and the kernel does not tell what was in the page cache.",
        )
    if cached is None and not any(one.scope == "processes" for one in evidence.figures):
        return verdict(
            CANNOT_TELL,
            f"{bytes_text(wire)} came from there ({source}), for others too, and the kernel does not tell what was "
            "in the page cache.",
        )
    if evidence.compressed and cached is None:
        return verdict(CANNOT_TELL, f"{bytes_text(wire)} {part} did ({source}), of data that may be compressed.")
    known = f", {bytes_text(cached)} were in the page cache before the run" if cached is not None else ""
    return verdict(STORAGE, f"{bytes_text(min(wire, needed))} {part} did ({source}){known}.")

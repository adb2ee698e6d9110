"""Findings of a trace for the report: one that can be unfolded for each, and the table of what client caches serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from iotrace.analysis.findings.findings import Finding
from iotrace.analysis.findings.reuse import Reuse
from iotrace.analysis.findings.search import Found
from iotrace.analysis.findings.show import families_of, telling_sizes
from iotrace.analysis.report.tables import Grid, GridCell, Head
from iotrace.terminal import printable
from iotrace.trace.tables import records
from iotrace.units import binary_text, bytes_text, count_text, duration_text, significant

RULES_ON_REUSE: Final = ("rereads", "cache-too-small")


@dataclass(frozen=True, slots=True)
class FindingBlock:
    """A finding as texts: what, evidence, files (text, count), reasons (system, text), advice."""

    title: str
    gain: str
    says: str
    when: str
    files: list[tuple[str, str]]
    reasons: list[tuple[str, str]]
    advice: str
    replay: str
    provenance: str = "measured"


def blocks_of(
    found: Found, types: list[str], provenance: str = "measured"
) -> tuple[list[FindingBlock], Grid | None, str]:
    """Findings, the largest gain first; what caches serve, where that is a finding; a sentence on the whole.

    Parameters
    ----------
    types: of the file systems whose reasons are given. provenance: of the figures.
    """
    blocks = [_block(one, types, provenance) for one in found.findings]
    told = any(one.rule.name in RULES_ON_REUSE for one in found.findings)
    curve = _curve(found.reuse) if told and found.reuse is not None else None
    return blocks, curve, _lead(found)


def verdict_of(name: str, found: Found) -> str:
    """What of a trace hurts a shared storage most, in a sentence."""
    if not found.totals.calls:
        return f"{name} holds no call."
    if not found.findings:
        text = f"{name}: nothing was found of what hurts a shared storage."
    else:
        first, more = found.findings[0], len(found.findings) - 1
        others = f", and {more} more finding{'' if more == 1 else 's'}" if more else ""
        text = f"{name}: what hurts a shared storage most is “{first.rule.title}” ({first.gain}){others}."
    return f"{text} {found.hardly_matters}".rstrip()


def _lead(found: Found) -> str:
    if not found.findings:
        nothing = f"Nothing was found of what iotrace looks for: {', '.join(t.lower() for t in found.looked_for)}."
        return f"{nothing} {found.left_open}".rstrip()
    totals = found.totals
    return (
        f"{duration_text(totals.time_ns)} passed in {count_text(totals.calls)} calls, all threads together, while "
        f"{totals.wall_text} went by. Gains are bounds: the recorded time of the calls that would fall "
        f"away. They may be about the same calls, and do not add up. {found.left_open}"
    ).rstrip()


def _block(one: Finding, types: list[str], provenance: str) -> FindingBlock:
    e, rule = one.evidence, one.rule
    processes = f"{count_text(e.processes)} process{'' if e.processes == 1 else 'es'}"
    return FindingBlock(
        title=rule.title,
        gain=one.gain,
        says=one.says,
        when=f"From {duration_text(e.first_ns)} to {duration_text(e.last_ns)} of the recording, {processes}.",
        files=[(printable(row["path"]), count_text(row["spared"] or row["calls"])) for row in records(e.examples)],
        reasons=[(name, getattr(rule, attribute)) for name, attribute in families_of(types)],
        advice=rule.advice,
        replay=one.replay,
        provenance=provenance,
    )


def _curve(reuse: Reuse) -> Grid | None:
    if reuse.by_step.empty:
        return None
    sizes = telling_sizes(reuse.curve)
    served = {(row["step"], row["cache_bytes"]): row["served"] for row in records(reuse.curve)}
    heads = [
        Head("step", "", True), Head("touched", "blocks of 64 KiB that reads touched, each time"),
        Head("unique", "different blocks"),
        *(Head(binary_text(size), "share of the reads that a cache of this size serves") for size in sizes),
    ]  # fmt: skip
    rows = []
    for row in records(reuse.by_step):
        shares = [served.get((row["step"], size), 0.0) for size in sizes]
        rows.append([
            GridCell(printable(row["step"]) or "(no label)", printable(row["step"]) or "(no label)"),
            GridCell(bytes_text(row["read_bytes"]), str(row["read_bytes"])),
            GridCell(bytes_text(row["unique_bytes"]), str(row["unique_bytes"])),
            *(GridCell(f"{significant(100 * share, 2)}%", f"{share:.6f}") for share in shares),
        ])  # fmt: skip
    note = (
        "A cache that drops what was used longest ago (LRU), shared by the steps as they ran. A small read counts as a "
        "block of 64 KiB."
    )
    if reuse.share < 1:
        note += f" Worked out from {reuse.share:.2%} of the blocks, picked by a hash."
    return Grid("What a client cache of each size serves of the reads", heads, rows, "modelled", note)

"""Findings as text for a terminal, of any width."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pandas as pd

from iotrace.analysis.findings.findings import Finding
from iotrace.analysis.findings.reuse import Reuse
from iotrace.terminal import Column, printable, shorten, table
from iotrace.trace.tables import records
from iotrace.units import binary_text, bytes_text, count_text, duration_text, significant

if TYPE_CHECKING:
    from rich.text import Text

FAMILIES: Final = {"lustre": ("Lustre", "lustre"), "wekafs": ("WEKA", "weka"), "nfs": ("NFS", "nfs"),
                   "nfs4": ("NFS", "nfs")}  # fmt: skip
"""By type of the file system: its name, and the field of Rule that speaks of it."""
_ALL: Final = (("Lustre", "lustre"), ("WEKA", "weka"), ("NFS", "nfs"))
_INDENT: Final = "   "
_SIZES: Final = 8


def finding_text(number: int, finding: Finding, width: int, families: Sequence[str] = ()) -> Text:
    """One finding: title and gain, evidence, why, advice.

    Parameters
    ----------
    families: types of the file systems concerned; those that rules speak of are explained, without any of them all.
    """
    from rich.text import Text

    e, rule = finding.evidence, finding.rule
    out = Text()
    title, name = f"{number}. {rule.title}", f"({rule.name})"
    out.append(title, style="bold")
    out.append(f"{'  ' if len(title) + len(name) + 2 <= width else chr(10) + _INDENT}{name}\n", style="dim")
    out.append_text(_wrapped(finding.says, width))
    out.append_text(_wrapped(f"Gain: {finding.gain}.", width, "green" if e.gain_ns else "dim"))
    when = f"From {duration_text(e.first_ns)} to {duration_text(e.last_ns)} of the recording"
    processes = f"{count_text(e.processes)} process{'' if e.processes == 1 else 'es'}"
    steps = ", ".join(f"{row['step']} {count_text(row['calls'])}" for row in records(e.by_step)[:3])
    out.append_text(_wrapped(f"{when}, {processes}{'; by step: ' + steps if steps else ''}.", width, "dim"))
    for row in records(e.examples):
        # a finding without spared calls tells how many there are
        count = f"{count_text(row['spared'] or row['calls'])} × "
        room = max(12, width - len(_INDENT) - len(count))
        out.append(f"{_INDENT}{count}{shorten(printable(row['path']), room)}\n", style="cyan")
    for name, attribute in families_of(families):
        out.append_text(_wrapped(f"{name}: {getattr(rule, attribute)}", width))
    out.append_text(_wrapped(f"Do: {rule.advice}", width, "bold"))
    out.append_text(_wrapped(f"Replay without it: {finding.replay}", width, "dim"))
    out.rstrip()
    return out


def families_of(types: Sequence[str]) -> list[tuple[str, str]]:
    """Name, and field of Rule, of the file systems among these types that rules speak of; of all where none is."""
    mine = [FAMILIES[type_] for type_ in types if type_ in FAMILIES]
    return list(dict.fromkeys(mine or _ALL))


def _wrapped(text: str, width: int, style: str = "") -> Text:
    from rich.text import Text

    lines = textwrap.wrap(printable(text), max(20, width), initial_indent=_INDENT, subsequent_indent=_INDENT)
    return Text("\n".join(lines) + "\n", style=style)


def reuse_text(reuse: Reuse, width: int) -> Text | None:
    """How much a cache of which size serves, a row a step; None where nothing was read."""
    if reuse.by_step.empty:
        return None
    sizes = telling_sizes(reuse.curve)
    columns = [Column("step", "left", "cyan", True), Column("touched"), Column("unique")]
    room = (width - 36) // 9
    sizes = sizes[-max(1, min(_SIZES, room)) :]
    columns += [Column(binary_text(size)) for size in sizes]
    served = {(row["step"], row["cache_bytes"]): row["served"] for row in records(reuse.curve)}
    rows = []
    for row in records(reuse.by_step):
        shares = [f"{significant(100 * served.get((row['step'], size), 0.0), 2)}%" for size in sizes]
        rows.append(
            [row["step"] or "(no label)", bytes_text(row["read_bytes"]), bytes_text(row["unique_bytes"]), *shares]
        )
    return table(columns, rows, width, "Share of the reads that a client cache of that size serves (blocks of 64 KiB)")


def telling_sizes(curve: pd.DataFrame) -> list[int]:
    """Powers of two from the last that serves next to nothing to the first that serves all it can, evenly taken."""
    by_size = curve.groupby("cache_bytes")["served"].max()
    most = by_size.max()
    useful = [int(size) for size, share in by_size.items() if share > 0.01]  # type: ignore[call-overload]
    if not useful:
        return [int(by_size.index[-1])]
    enough = next(int(size) for size, share in by_size.items() if share >= most - 0.005)  # type: ignore[call-overload]
    kept = [size for size in useful if size <= enough]
    step = -(-len(kept) // _SIZES)
    return kept[::-1][::step][::-1]

"""Everything that is looked for in a trace, in one visit: findings, and what client caches would serve."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from iotrace.analysis.findings.counted_evidence import CountedWitness
from iotrace.analysis.findings.evidence import Totals, Witness
from iotrace.analysis.findings.findings import Finding, reached
from iotrace.analysis.findings.rules import rules
from iotrace.errors import UsageError
from iotrace.trace.counted import CountedTables
from iotrace.trace.operations import Kind
from iotrace.trace.reader import Trace
from iotrace.trace.tables import Tables
from iotrace.units import significant

if TYPE_CHECKING:
    from iotrace.analysis.findings.reuse import Reuse

_SMALL: Final = 0.05


class NothingBelow(UsageError):
    """A trace holds no call on a file below the folder that was given."""


@dataclass(frozen=True)
class Found:
    """What a trace told.

    Attributes
    ----------
    findings: ranked. candidates: what every rule picked, also where its limits are not reached. totals: of the whole
    trace. reuse: None where it was not asked for.
    by_op: columns op, mean_ns (of a call, where it is known), time_ns. mounts: numbers of the mounts that files lie on.
    looked_for: titles of all rules. not_judged: titles of those that a trace of counts cannot answer.
    incomplete: a sentence where calls are missing, else empty.
    """

    findings: list[Finding]
    totals: Totals
    reuse: Reuse | None
    by_op: pd.DataFrame
    mounts: set[int]
    looked_for: list[str]
    candidates: list[Finding]
    incomplete: str = ""
    not_judged: list[str] = field(default_factory=list)

    @property
    def hardly_matters(self) -> str:
        """That calls took so little of the time that no storage matters to this recording, in a sentence; empty where
        they took more. What it does to others may matter all the same."""
        totals = self.totals
        if not 0 < totals.time_ns < _SMALL * totals.wall_ns:
            return ""
        share = significant(100 * totals.time_ns / totals.wall_ns, 2)
        whole = "this recording" if totals.traces == 1 else "these recordings together"
        return f"Its calls took {share}% of the time: no storage can make {whole} shorter by more."

    @property
    def left_open(self) -> str:
        """What could not be judged, in a sentence; empty where all was."""
        if not self.not_judged:
            return ""
        return (
            f"Counts cannot tell of: {', '.join(title.lower() for title in self.not_judged)}. That takes a recording "
            "with --detail events (with Darshan: DXT_ENABLE_IO_TRACE=1)."
        )


def search(trace: Trace, under: Path | Sequence[Path] | None = None, with_reuse: bool = True) -> Found:
    """Look for all that the rules name.

    Parameters
    ----------
    trace: of events or of counts; counts tell nothing of single calls and their order, and have rules of their own.
    under: look only at files below this folder, or these; not with counts.
    with_reuse: work out reuse distances, too, beside the rules.

    Raises
    ------
    UsageError: the trace holds nothing below `under`, or counts and a folder is given.
    TraceError: a part of it is damaged. IotraceError: it takes more memory and disk than there is.
    """
    if trace.info.detail == "histogram":
        return _search_counts(trace, under)
    with Tables(trace) as tables, ThreadPoolExecutor(1) as beside:
        witness = Witness(tables, under)
        if under is not None and not witness.totals.calls:
            raise NothingBelow(
                f"{trace.folder} holds no call on a file below {_names(under)}: name a folder as the program saw it "
                f"(iotrace summary {trace.folder} --by file shows files)."
            )
        reuse = None
        if with_reuse:
            # brings Numba, which a summary of a small trace does not need
            from iotrace.analysis.findings.reuse import reuse_of

            reuse = beside.submit(reuse_of, trace, witness.files)
        all_rules = [Finding(rule, witness.evidence(rule)) for rule in rules()]
        mounts = tables.query("select distinct mount from files where mount is not null").fetchall()
    return Found(
        findings=reached(all_rules),
        totals=witness.totals,
        reuse=reuse.result() if reuse else None,
        by_op=witness.by_op,
        mounts={int(row[0]) for row in mounts},
        looked_for=[rule.title for rule in rules()],
        candidates=all_rules,
        incomplete=_incomplete(trace),
    )


def _search_counts(trace: Trace, under: Path | Sequence[Path] | None) -> Found:
    if under is not None:
        raise UsageError(f"{trace.folder} holds counts alone, which know no folders: leave --under out.")
    with CountedTables(trace) as tables:
        witness = CountedWitness(tables)
        all_rules = [Finding(rule, witness.evidence(rule)) for rule in rules(of_counts=True)]
        by_op = tables.query(
            f"""
            select op, sum(took) / sum(calls) as mean_ns, sum(took)::bigint as time_ns from ops
            where kind <> '{Kind.PROCESS}' group by op having sum(took) > 0 and sum(calls) > 0 order by op
            """
        ).df()
        mounts = tables.query(
            "select distinct mount from histograms where mount is not null union select mount from files "
            "where mount is not null"
        ).fetchall()
    told = {rule.name for rule in rules(of_counts=True)} | {"missing-names"}
    return Found(
        findings=reached(all_rules),
        totals=witness.totals,
        reuse=None,
        by_op=by_op,
        mounts={int(row[0]) for row in mounts},
        looked_for=[rule.title for rule in rules(of_counts=True)],
        candidates=all_rules,
        incomplete=_incomplete(trace),
        not_judged=[rule.title for rule in rules() if rule.name not in told],
    )


def _names(under: Path | Sequence[Path]) -> str:
    return str(under) if isinstance(under, Path) else ", ".join(map(str, under))


def _incomplete(trace: Trace) -> str:
    lost = sum(trace.info.lost.values())
    return f"{lost:,} operations were lost while recording: more may be wrong than is found." if lost else ""

"""Everything that is looked for in a trace, in one visit: findings, and what client caches would serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from iotrace.analysis.findings.evidence import Totals, Witness
from iotrace.analysis.findings.findings import Finding, reached
from iotrace.analysis.findings.reuse import Reuse, reuse_of
from iotrace.analysis.findings.rules import rules
from iotrace.errors import UsageError
from iotrace.trace.operations import Kind
from iotrace.trace.reader import Trace
from iotrace.trace.tables import Tables


@dataclass(frozen=True)
class Found:
    """What a trace told.

    Attributes
    ----------
    findings: ranked. candidates: what every rule picked, also where its limits are not reached. totals: of the whole
    trace. reuse: None where it was not asked for.
    by_op: columns op, mean_ns (of a call, where it is known), time_ns. mounts: numbers of the mounts that files lie on.
    looked_for: titles of all rules. incomplete: a sentence where calls are missing, else empty.
    """

    findings: list[Finding]
    totals: Totals
    reuse: Reuse | None
    by_op: pd.DataFrame
    mounts: set[int]
    looked_for: list[str]
    candidates: list[Finding]
    incomplete: str = ""


def search(trace: Trace, under: Path | None = None, with_reuse: bool = True) -> Found:
    """Look for all that the rules name.

    Parameters
    ----------
    trace: with events; counts alone (`--detail histogram`) tell nothing of single calls and their order.
    under: look only at files below this folder.
    with_reuse: work out reuse distances, too, which takes about as long as all rules.

    Raises
    ------
    UsageError: the trace holds counts only, or nothing below `under`. TraceError: a part of it is damaged.
    """
    if trace.info.detail == "histogram":
        raise UsageError(
            f"{trace.folder} holds counts alone, which tell nothing of single calls: record with --detail events "
            "(with Darshan: with DXT_ENABLE_IO_TRACE=1)."
        )
    with Tables(trace) as tables:
        witness = Witness(tables, under)
        if under is not None and not witness.totals.calls:
            raise UsageError(
                f"{trace.folder} holds no call on a file below {under}: name a folder as the program saw it "
                f"(iotrace summary {trace.folder} --by file shows files)."
            )
        all_rules = [Finding(rule, witness.evidence(rule)) for rule in rules()]
        by_op = tables.query(
            f"""
            select op, avg(duration_ns) as mean_ns, sum(duration_ns)::bigint as time_ns from io
            where duration_ns is not null and kind <> '{Kind.PROCESS}' group by op order by op
            """
        ).df()
        mounts = tables.query("select distinct mount from files where mount is not null").fetchall()
        reuse = reuse_of(tables) if with_reuse else None
    lost = sum(trace.info.lost.values())
    return Found(
        findings=reached(all_rules),
        totals=witness.totals,
        reuse=reuse,
        by_op=by_op,
        mounts={int(row[0]) for row in mounts},
        looked_for=[rule.title for rule in rules()],
        candidates=all_rules,
        incomplete=f"{lost:,} operations were lost while recording: more may be wrong than is found." if lost else "",
    )

"""A finding: a rule, its evidence, and what there is to say of them; ranking and pricing of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from iotrace.analysis.findings.evidence import Evidence
from iotrace.analysis.findings.rules import Rule
from iotrace.trace.tables import records
from iotrace.units import bytes_text, count_text, duration_text, significant


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a trace that hurts a shared storage.

    Attributes
    ----------
    rule: what was looked for. evidence: what was found.
    """

    rule: Rule
    evidence: Evidence

    @property
    def says(self) -> str:
        """The finding in a sentence, with its figures."""
        e = self.evidence
        figures = {
            "calls": count_text(e.calls),
            "spared": count_text(e.spared),
            "files": f"{count_text(e.files)} file{'' if e.files == 1 else 's'}",
            "bytes": bytes_text(e.bytes),
            "time": duration_text(e.time_ns),
            "share": f"{significant(100 * e.calls_share, 2)}%",
            "gain": duration_text(e.gain_ns),
            "wall": e.totals.wall_text,
            "mean_size": bytes_text(e.bytes // max(1, e.calls)),
        }
        own = {name: significant(value, 3) for name, value in e.numbers.items()}
        return self.rule.says.format(**figures | own)

    @property
    def gain(self) -> str:
        """What could be spared at most, in words."""
        e = self.evidence
        if e.gain_ns <= 0:
            return f"concerns {duration_text(e.time_ns)} of {duration_text(e.totals.time_ns)} in calls; gain not known"
        return f"up to {duration_text(e.gain_ns)} of {duration_text(e.totals.time_ns)} in calls"

    @property
    def replay(self) -> str:
        """How a replay shows the gain, or why none does."""
        rule, by_op = self.rule, self.evidence.by_op
        can_go = int(by_op["spared"][by_op["op"].isin(rule.can_go)].sum())
        if rule.no_replay and not can_go:
            return f"not to be had, for {rule.no_replay}"
        made = f"of what iotrace findings --without {rule.name} writes, beside one of the whole trace."
        if not rule.no_replay or can_go == self.evidence.spared:
            return made
        return f"{made} It lacks {count_text(can_go)} of these calls; for the others: {rule.no_replay}"

    def to_json(self) -> dict[str, Any]:
        """The object that `iotrace findings --json` prints; times in seconds."""
        e, rule = self.evidence, self.rule
        return {
            "name": rule.name, "title": rule.title, "says": self.says, "calls": e.calls, "spared": e.spared,
            "files": e.files, "processes": e.processes, "bytes": e.bytes, "time_s": e.time_ns / 1e9,
            "gain_s": e.gain_ns / 1e9, "gain_share": e.gain_share, "first_s": e.first_ns / 1e9,
            "last_s": e.last_ns / 1e9, "numbers": e.numbers,
            "by_op": [_seconds(row) for row in records(e.by_op)],
            "by_step": [_seconds(row) for row in records(e.by_step)],
            "examples": [_seconds(row) for row in records(e.examples)],
            "why": {"lustre": rule.lustre, "weka": rule.weka, "nfs": rule.nfs}, "advice": rule.advice,
            "replay": self.replay,
            "limits": {"all_of": rule.least, "one_of": rule.either, "why": rule.why_so},
        }  # fmt: skip


def _seconds(row: dict[str, Any]) -> dict[str, Any]:
    return {name.removesuffix("_ns") + "_s" if name.endswith("_ns") else name: value / 1e9 if name.endswith("_ns") else
            value for name, value in row.items()}  # fmt: skip


def reached(candidates: list[Finding]) -> list[Finding]:
    """Those that reach their rules' limits, the largest gain first; those whose gain is not known by the time that they
    concern."""
    found = [one for one in candidates if one.evidence.triggers(one.rule)]
    return sorted(found, key=lambda f: (-f.evidence.gain_ns, -f.evidence.time_ns, f.rule.name))

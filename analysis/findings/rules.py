"""The rules of rules.toml, counted.toml and across.toml, read and checked."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final

import msgspec

FIGURES: Final = (
    "calls", "spared", "files", "bytes", "time_ns", "gain_ns", "calls_share", "spared_share", "time_share",
    "gain_share", "time_wall_share", "gain_wall_share",
)  # fmt: skip
"""What `least` and `either` may ask for: see iotrace.analysis.findings.evidence.Evidence."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule; its fields are explained at the top of rules.toml."""

    name: str
    title: str
    calls: str
    least: dict[str, float]
    why_so: str
    says: str
    lustre: str
    weka: str
    nfs: str
    advice: str
    gain: str = "case when spared then duration_ns else 0 end"
    numbers: dict[str, str] = {}
    timed: dict[str, int] = {}
    per: dict[str, str] = {}
    no_replay: str = ""
    can_go: tuple[str, ...] = ()
    either: dict[str, float] = {}

    def __post_init__(self) -> None:
        unknown = (set(self.least) | set(self.either) | set(self.per.values())) - set(FIGURES) - set(self.numbers)
        if unknown:
            raise ValueError(f"rule {self.name}: no figure of the evidence is called {', '.join(sorted(unknown))}")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


@cache
def rules(of_counts: bool = False) -> tuple[Rule, ...]:
    """All rules for traces of events, or of counts, in the order of the file."""
    return _read("counted.toml" if of_counts else "rules.toml")


@cache
def rules_across() -> tuple[Rule, ...]:
    """All rules about what lies between the traces of a set."""
    return _read("across.toml")


def _read(name: str) -> tuple[Rule, ...]:
    text = (resources.files("iotrace.analysis.findings") / name).read_text("utf-8")
    return msgspec.toml.decode(text, type=_File).rule

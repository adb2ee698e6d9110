"""Sides of a comparison: all runs of one result, or of a set of results, on one mount; or files of fio's JSON.

A side is what a column of the table stands for. Runs of several results get numbers of their own, so that latencies
can be told apart by run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec

from iotrace.analysis.comparison.fio import FioFile, read_fio
from iotrace.analysis.comparison.latencies import Latencies, counted
from iotrace.errors import UsageError
from iotrace.replay.result import Result, ResultInfo, Run, open_result
from iotrace.trace.operations import Kind

Key = tuple[str, ...]
"""What latencies are of: ("class", name), ("op", name) or ("step", label, class)."""
Given = Result | str | Path
"""A result, its folder, or a file of fio's JSON."""


@dataclass(frozen=True)
class Side:
    """All runs of one column.

    Attributes
    ----------
    label: its name; tool: "iotrace" or "fio".
    info: of its (first) result; infos: of all its results.
    runs: in the order of their rounds; rounds: number of the result and of the round in it, for each run.
    latencies: by what they are of and number of the run.
    """

    label: str
    info: ResultInfo
    runs: list[Run]
    latencies: dict[Key, dict[int, Latencies]] = field(repr=False)
    infos: list[ResultInfo] = field(default_factory=list, repr=False)

    @property
    def tool(self) -> str:
        """The program that measured it."""
        return self.info.tool

    @property
    def plan(self) -> str:
        """Hash of the work; empty where it is not known, or not the same in all results of the side."""
        plans = {info.plan_hash for info in self.infos or [self.info]}
        return plans.pop() if len(plans) == 1 else ""

    @property
    def mount(self) -> str:
        """Type and source of the file system, as mountinfo shows them; the tool where that does not say."""
        mount = self.runs[0].mount
        if self.tool != "iotrace" and not mount.type:
            return f"{self.tool} {self.info.version}".strip()
        return (
            f"{mount.type}, {mount.source}" if mount.source and mount.source != mount.type else mount.type or "unknown"
        )


def same_work(a: Side, b: Side) -> bool:
    """Whether both did the same work: what is not known is not the same."""
    return a.tool == b.tool and bool(a.plan) and a.plan == b.plan


def opened(given: Given) -> Result | FioFile:
    """A result from its folder, or fio's JSON from its file.

    Raises
    ------
    TraceError: it is neither, or damaged.
    """
    if isinstance(given, Result):
        return given
    path = Path(given)
    return read_fio(path) if path.is_file() else open_result(path)


def sides_of(results: Sequence[Result | FioFile | Sequence[Result | FioFile]]) -> list[Side]:
    """The sides of results: one for each mount of each, in the order given; a sequence of results is a set.

    Raises
    ------
    UsageError: a result holds no run, or a set is of several mounts or tools, or has a result twice.
    """
    found: list[tuple[str, str, list[ResultInfo], list[tuple[int, Run]], list[Result | FioFile]]] = []
    for number, one in enumerate(results, 1):
        members = list(one) if isinstance(one, Sequence) else [one]
        if not members:
            raise UsageError("a side has no result: give at least one before and one after `vs`.")
        names = [_name(member, number) for member in members]
        for name, member in zip(names, members, strict=True):
            if not member.info.runs:
                raise UsageError(f"{name} holds no run: the replay was stopped before its first one ended.")
        places = [_place(member) for member in members]
        twice = next(
            (name for name, place in zip(names, places, strict=True) if place and places.count(place) > 1), None
        )
        if twice is not None:
            raise UsageError(f"{twice} is given twice on one side: its runs count once, give it once.")
        if len({member.info.tool for member in members}) > 1:
            raise UsageError(f"results of iotrace and of fio cannot be one side: {', '.join(names)}.")
        mounts = list(dict.fromkeys(run.fs for member in members for run in member.info.runs))
        if isinstance(one, Sequence) and len(mounts) > 1 and members[0].info.tool == "iotrace":
            raise UsageError(
                f"a set of results must be of one mount, these are of {', '.join(mounts)}: "
                "compare results of several mounts one at a time."
            )
        for fs in mounts if members[0].info.tool == "iotrace" else [mounts[0]]:
            runs = [
                (place, run)
                for place, member in enumerate(members)
                for run in sorted(member.info.runs, key=lambda run: (run.round, run.run))
                if run.fs == fs or member.info.tool != "iotrace"
            ]
            found.append((_common(names), fs, [member.info for member in members], runs, members))
    labels = _labels([(_folder(members[0]), name, fs) for name, fs, _, _, members in found])
    return [
        _side(label, infos, runs, members) for label, (_, _, infos, runs, members) in zip(labels, found, strict=True)
    ]


def _side(label: str, infos: list[ResultInfo], runs: list[tuple[int, Run]], members: list[Result | FioFile]) -> Side:
    number = {(place, run.run): i for i, (place, run) in enumerate(runs)} if len(members) > 1 else {}
    latencies: dict[Key, dict[int, Latencies]] = {}
    for place, member in enumerate(members):
        own = {run.run for at, run in runs if at == place}
        for key, by_run in (_latencies(member, own) if isinstance(member, Result) else member.latencies).items():
            latencies.setdefault(key, {}).update({number.get((place, run), run): one for run, one in by_run.items()})
    renumbered = [msgspec.structs.replace(run, run=number.get((place, run.run), run.run)) for place, run in runs]
    return Side(label, infos[0], renumbered, latencies, infos)


def _latencies(result: Result, numbers: set[int]) -> dict[Key, dict[int, Latencies]]:
    frame = result.histograms()
    frame = frame[frame["run"].isin(numbers) & (frame["class"] != str(Kind.PROCESS))]
    found: dict[Key, dict[int, Latencies]] = {}
    for group in ("class", "op"):
        for key, part in frame.groupby([group, "run"]):
            name, run = cast("tuple[str, int]", key)
            found.setdefault((group, name), {})[int(run)] = counted(part["bucket"], part["count"])
    if frame["step"].notna().any():
        for key, part in frame.assign(step=frame["step"].fillna("")).groupby(["step", "class", "run"]):
            step, kind, run = cast("tuple[str, str, int]", key)
            found.setdefault(("step", step, kind), {})[int(run)] = counted(part["bucket"], part["count"])
    return found


def _name(one: Result | FioFile, number: int) -> str:
    if isinstance(one, FioFile):
        return one.path.stem
    return one.folder.name.removesuffix(".ioresult") if one.folder else f"result {number}"


def _place(one: Result | FioFile) -> Path | None:
    path = one.path if isinstance(one, FioFile) else one.folder
    return path.resolve() if path else None


def _folder(one: Result | FioFile) -> str:
    path = one.path if isinstance(one, FioFile) else one.folder
    return path.absolute().parent.name if path else ""


def _common(names: list[str]) -> str:
    """What a set is called: what its members' names begin with, else the first and how many more."""
    if len(names) == 1:
        return names[0]
    first, last = min(names), max(names)
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:shared].rstrip("-_. 0123456789") or f"{names[0]} and {len(names) - 1} more"


def _labels(names: list[tuple[str, str, str]]) -> list[str]:
    """The mount where that tells the sides apart, else the result's name, with its folder, with its mount, a number."""
    forms = (
        [fs or name for _, name, fs in names],
        [name for _, name, _ in names],
        [f"{folder}/{name}" for folder, name, _ in names],
        [f"{name}:{fs}" for _, name, fs in names],
    )
    for form in forms:
        if len(set(form)) == len(names):
            return form
    return [f"{name}:{fs} ({number})" if fs else f"{name} ({number})" for number, (_, name, fs) in enumerate(names, 1)]

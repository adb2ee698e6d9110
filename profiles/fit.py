"""From a recording to a profile: classes of files, what is done with each item, phases, think times.

Sessions (one opening of a file, or a call by name) of one class and kind form a group; groups that were made in the
same stretch of time, as often as each other or a multiple of it, form a phase, in the order in which they come for an
item. A fitted profile keeps counts, bytes and calls; of sizes it keeps means, and of phases that overlapped the time.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from iotrace.profiles.model import Profile, read
from iotrace.profiles.sessions import Sessions, sessions_of
from iotrace.profiles.templates import CALL_NS, GAP_NS
from iotrace.trace.reader import Trace
from iotrace.units import bytes_text

if TYPE_CHECKING:
    import pandas as pd

_SAME_COUNT: Final = 0.1
_OVERLAP: Final = 0.5
_BOXES_MIN: Final = 4
"""Fewer reads out of order than that are no random access."""
_HEADER_BYTES: Final = 1024
_WHOLE: Final = 0.9
"""A file is read whole when at least so much of it is."""
_PLAIN: Final = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True)
class _Group:
    kind: int
    do: str
    how: str
    rows: pd.DataFrame
    begin: float
    end: float

    @property
    def count(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class _Phase:
    """Groups that belong together; `items`: how often the commonest of them was done."""

    groups: list[_Group]
    items: int

    @property
    def begin(self) -> float:
        return min(group.begin for group in self.groups)

    @property
    def end(self) -> float:
        return max(group.end for group in self.groups)


def fit(trace: Trace, prefixes: list[str], name: str) -> tuple[Profile, str]:
    """A profile, and its TOML.

    Parameters
    ----------
    prefixes: folders that count; name: of the profile, and of the recording in the sources of its numbers.

    Raises
    ------
    UsageError: nothing was done there.
    """
    found = sessions_of(trace, prefixes)
    writer = _Writer(found, name)
    text = writer.toml(_phases(found), trace)
    return read(Profile, text, f"{name}.toml"), text


def _phases(found: Sessions) -> list[_Phase]:
    """Groups that were made in the same stretch of time, as often as each other or a multiple of it."""
    groups = []
    for key, rows in found.rows.groupby(["class", "do", "how"], sort=False):
        kind, do, how = cast("tuple[int, str, str]", key)
        begin, end = np.quantile(rows["begin"], 0.02), np.quantile(rows["end"], 0.98)
        groups.append(_Group(int(kind), str(do), str(how), rows.sort_values("begin"), float(begin), float(end)))
    phases = []
    left = sorted((group for group in groups if group.count > 1), key=lambda one: one.begin)
    while left:
        # the count that most groups share is the number of items; others are done several times for each
        counts = Counter(group.count for group in left if group.do != "boxes") or Counter(one.count for one in left)
        items = max(counts, key=lambda count: (counts[count], -count))
        core = [group for group in left if group.count == items]
        begin, end = min(group.begin for group in core), max(group.end for group in core)
        mine, boxes = [], 0
        for group in left:
            inside = min(end, group.end) - max(begin, group.begin) >= _OVERLAP * (group.end - group.begin)
            fits = group.count >= items * (1 - _SAME_COUNT) and (inside or group.count == items)
            if fits and not (group.do == "boxes" and (boxes or group.count > items)):
                boxes += group.do == "boxes"
                mine.append(group)
        mine = mine or core[:1]
        phases.append(_Phase(mine, items))
        left = [group for group in left if all(group is not one for one in mine)]
    once = [group for group in groups if group.count == 1]
    bounds = sorted(phase.begin for phase in phases)
    for place in range(len(bounds) + 1):
        low = bounds[place - 1] if place else float("-inf")
        high = bounds[place] if place < len(bounds) else float("inf")
        some = [group for group in once if low <= group.begin < high]
        phases += [_Phase(some, 1)] if some else []
    for phase in phases:
        phase.groups.sort(key=lambda one: float(np.median(one.rows["begin"])))
    return sorted(phases, key=lambda phase: phase.begin)


class _Writer:
    """The TOML of a fitted profile."""

    def __init__(self, found: Sessions, name: str) -> None:
        self.found, self.name = found, name
        self.numbers: list[str] = []
        self.names = _names(found.classes)
        self.paths = _paths(found.classes)
        rows = found.rows
        written = rows[rows["do"].isin(["write", "append"])].groupby("class")["written"]
        # what each opening writes, and what a file of the class holds in the end
        least, total = written.min(), written.sum()
        kinds = [int(kind) for kind in least.index.tolist()]
        self.first = dict(zip(kinds, least.tolist(), strict=True))
        self.made = {
            kind: whole / found.classes[kind]["count"] for kind, whole in zip(kinds, total.tolist(), strict=True)
        }  # fmt: skip

    def number(self, name: str, value: float, unit: str, source: str, scales: bool = False) -> str:
        """A number of the profile; gives its name."""
        shown = round(value) if abs(value) >= 1000 or value == round(value) else float(f"{value:.4g}")
        scaled = ", scales = true" if scales else ""
        self.numbers.append(f'{name} = {{ value = {shown}, unit = "{unit}"{scaled}, source = "{source}" }}')
        return name

    def toml(self, phases: list[_Phase], trace: Trace) -> str:
        """All of it."""
        spans = sum(phase.end - phase.begin for phase in phases)
        # phases that overlapped in the recording come one after another here: their time is shared out
        squeeze = min(1.0, self.found.makespan_ns / spans) if spans > 0 else 1.0
        bodies = [self._phase(number, phase, squeeze) for number, phase in enumerate(phases)]
        files = self._files()
        command = " ".join(trace.info.command)[:100] or "unknown"
        job_type = next((one for one in trace.table("processes").column("job_type").to_pylist() if one), "unknown")
        about = f"Fitted to a recording of: {command}. {self.found.calls} calls on its files."
        head = [
            f'name = "{_quoted(self.name)}"', f'title = "{_quoted(self.name)}"', f'about = "{_quoted(about)}"',
            f'job_types = ["{_quoted(job_type)}"]', "", "[numbers]", *self.numbers, "", "[files]", *files,
        ]  # fmt: skip
        return "\n".join([*head, "", *bodies])

    def _files(self) -> list[str]:
        lines = []
        for number, one in enumerate(self.found.classes):
            name = self.names[number]
            parts = [f'path = "{self.paths[number]}"']
            if one["count"] > 1:
                source = f"files of this class in {self.name}"
                parts.append(f'count = "{self.number(f"{name}_count", one["count"], "files", source, scales=True)}"')
            if one["folder"]:
                parts.append("folder = true")
                if one["entries"]:
                    entries = self.number(f"{name}_entries", round(one["entries"]), "names", f"listed in {self.name}")
                    parts.append(f'entries = "{entries}"')
            elif not one["exists"] and self.made.get(number):
                source = f"mean size in the end in {self.name}"
                parts.append(f'size = "{self.number(f"{name}_size", self.made[number], "bytes", source)}"')
            elif one["exists"] and one["size"]:
                low, middle, high = (bytes_text(size) for size in one["spread"])
                source = f"mean size in {self.name} (10 %, 50 %, 90 %: {low}, {middle}, {high})"
                parts.append(f'size = "{self.number(f"{name}_size", one["size"], "bytes", source)}"')
            if one["exists"]:
                parts.append("exists = true")
            lines.append(f"{name} = {{ {', '.join(parts)} }}")
        return lines

    def _phase(self, number: int, phase: _Phase, squeeze: float) -> str:
        items = phase.items
        label = f"phase{number + 1}"
        boxes = [group for group in phase.groups if group.do == "boxes"]
        actions = []
        for place, group in enumerate(phase.groups):
            actions.append(self._action(f"{label}_{place + 1}_{self.names[group.kind]}", group, items))
        rows = np.concatenate([group.rows.index.to_numpy() for group in phase.groups])
        of = self.found.rows.loc[rows]
        span = max(1.0, phase.end - phase.begin) * squeeze
        active = of.groupby("thread").agg(begin=("begin", "min"), end=("end", "max"))
        at_once = float((active["end"] - active["begin"]).sum()) / max(1.0, float(of["end"].max() - of["begin"].min()))
        workers = max(1, min(round(at_once), items))
        inside, calls = float(of["time_ns"].sum()), float(of["calls"].sum())
        gaps = max(0.0, span * workers - inside - calls * GAP_NS)
        off = float(of["off_ns"].sum())
        head = ["[[phases]]", f'name = "{self._title(phase)}"']
        if items > 1:
            source = f"times that this was done in {self.name}"
            head.append(f'items = "{self.number(f"{label}_items", items, "times", source, scales=True)}"')
        if workers > 1:
            source = f"threads at a time in {self.name}"
            head.append(f'workers = "{self.number(f"{label}_threads", workers, "threads", source)}"')
        if gaps / items > GAP_NS + CALL_NS:
            source = f"mean time between the calls of one item in {self.name}"
            seconds = self.number(f"{label}_think", gaps / items / 1e9, "s", source)
            source = f"share of that time in which the thread ran in {self.name}"
            busy = self.number(f"{label}_busy", 1 - min(1.0, off / max(1.0, span * workers)), "", source)
            think = f'    {{ do = "think", seconds = "{seconds}", busy = "{busy}" }},'
            actions.insert(len(actions) // 2 if not boxes else len(actions), think)
        return "\n".join([*head, "actions = [", *actions, "]", ""])

    def _holds_boxes(self, group: _Group) -> bool:
        """Whether the files of a class are large enough for random reads of boxes behind a header."""
        pieces = float(group.rows["pieces"].mean())
        box = float(group.rows["read"].mean()) / max(1.0, pieces)
        return pieces >= _BOXES_MIN and self.found.classes[group.kind]["size"] >= _HEADER_BYTES + 2 * box

    def _title(self, phase: _Phase) -> str:
        what = [f"{group.do} {self.names[group.kind]}" for group in phase.groups]
        return ", ".join(what[:3]) + (f" and {len(what) - 3} more" if len(what) > 3 else "")

    def _action(self, label: str, group: _Group, items: int) -> str:
        rows = group.rows
        how = group.how
        if group.do in ("read", "boxes") and not self.found.classes[group.kind]["exists"]:
            # a file that the job itself makes: no more than its first writing is sure to be there
            group = replace(group, do="read", how="header")
            how = group.how
        if group.do == "boxes" and not self._holds_boxes(group):
            group = replace(group, do="read", how="whole")
            how = group.how
        parts = [f'do = "{group.do}"', f'file = "{self.names[group.kind]}"']
        pieces = max(1.0, float(rows["pieces"].mean()))
        if group.do == "copy":
            parts.append(f'to = "{self.names[int(rows["to"].dropna().iloc[0])]}"')
        if how and group.do not in ("list", "stat"):
            parts.append(f'how = "{how}"')
        moved = float((rows["written"] if group.do in ("write", "append") else rows["read"]).mean())
        if how == "header" and not self.found.classes[group.kind]["exists"]:
            moved = min(moved, self.first.get(group.kind, 0.0))
        spread = ", ".join(bytes_text(float(rows["read"].add(rows["written"]).quantile(q))) for q in (0.1, 0.5, 0.9))
        source = f"in {self.name}: mean of {len(rows)} (10 %, 50 %, 90 %: {spread})"
        if group.do in ("write", "append") or group.how == "header":
            parts.append(f'bytes = "{self.number(f"{label}_bytes", max(1.0, moved), "bytes", source)}"')
        if group.do in ("write", "copy") or (group.do == "read" and group.how != "header"):
            size = self.found.classes[group.kind]["size"] if group.do in ("read", "copy") else moved
            size = size or moved
            if group.do == "read" and group.how in ("whole", "sendfile") and moved < _WHOLE * size:
                parts.append(f'bytes = "{self.number(f"{label}_bytes", moved, "bytes", source)}"')
                size = moved
            chunk = max(1.0, np.ceil(size / pieces))
            parts.append(f'chunk = "{self.number(f"{label}_chunk", chunk, "bytes", f"bytes a call in {self.name}")}"')
        if group.do == "boxes":
            box = max(1.0, moved / pieces)
            source = f"reads of one opening in {self.name}"
            # one of an opening's reads is of the header, as large as the others: C programs read in pieces of a buffer
            parts.append(f'reads = "{self.number(f"{label}_reads", max(1, round(pieces) - 1), "reads", source)}"')
            source = f"mean bytes of a read in {self.name}"
            size = self.number(f"{label}_box", box, "bytes", source)
            parts.append(f'box = "{size}", header = "{size}", stacks = "1"')
        if group.do == "write" and float(rows["synced"].mean()) > 0.5:
            parts.append("sync = true")
        seeks = round(float(rows["seeks"].mean()))
        if seeks and group.do in ("read", "write", "append"):
            source = f"lseek calls of an opening in {self.name}"
            parts.append(f'seeks = "{self.number(f"{label}_seeks", seeks, "calls", source)}"')
        times = round(group.count / items)
        if times > 1:
            parts.append(f'times = "{self.number(f"{label}_times", times, "times", f"for each item in {self.name}")}"')
        return f"    {{ {', '.join(parts)} }},"


def _quoted(text: str) -> str:
    """Text for a TOML string: what a trace holds is a stranger's."""
    clean = "".join(character if character.isprintable() and character not in '"\\' else "_" for character in text)
    return clean


def _pattern(path: str, count: int) -> str:
    """A path with one place for the file's number."""
    path = "/".join(part for part in path.split("/") if part not in ("", ".", "..")) or "folder"
    if count == 1:
        return path.replace("#", "0").replace("{", "_").replace("}", "_")
    head, _, tail = path.replace("{", "_").replace("}", "_").rpartition("#")
    return f"{head.replace('#', '0')}{{n}}{tail}"


def _paths(classes: list[dict[str, Any]]) -> list[str]:
    """A path for each class, no two the same: what is replaced in a stranger's names may make them alike."""
    paths: list[str] = []
    for one in classes:
        path = _quoted(_pattern(one["path"], one["count"]))
        stem, extension = os.path.splitext(path)
        number = 2
        while path in paths:
            path, number = f"{stem}_{number}{extension}", number + 1
        paths.append(path)
    return paths


def _names(classes: list[dict[str, Any]]) -> list[str]:
    """A name for each class, from the end of its path."""
    names: list[str] = []
    for one in classes:
        stem, extension = os.path.splitext(os.path.basename(one["path"].replace("#", "")) or "folder")
        base = _PLAIN.sub("_", f"{stem}{extension}".lower()).strip("_") or "files"
        base = base if base[0].isalpha() else f"f_{base}"
        name, number = base, 2
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names

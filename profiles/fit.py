"""From a recording to a profile: classes of files, what is done with each item, phases, think times.

Sessions (one opening of a file, or a call by name) of one class and kind form a group; groups that were made in the
same stretch of time, as often as each other or a multiple of it, form a phase, in the order in which they come for an
item. A fitted profile keeps counts, bytes and calls; of sizes it keeps means, and of phases that overlapped the time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from iotrace.profiles.model import Profile, read
from iotrace.profiles.naming import names_of, paths_of, quoted
from iotrace.profiles.phases import Group, Phase, own_times, phases_of
from iotrace.profiles.sessions import Sessions, sessions_of
from iotrace.profiles.templates import CALL_NS, GAP_NS
from iotrace.trace.reader import Trace
from iotrace.units import bytes_text

if TYPE_CHECKING:
    import pandas as pd

_BOXES_MIN: Final = 3
"""Fewer reads out of order in an opening than that are no random access, unless …"""
_HEADER_AND_BOX, _VISITS_MIN, _FAR = 1.5, 8, 0.3
"""… so many reads are those of a header and a box in so many openings, over such a share of the files' size."""
_HEADER_BYTES: Final = 1024
_WHOLE: Final = 0.9
"""A file is read whole when at least so much of it is."""


def fit(trace: Trace, prefixes: list[str], name: str, found: Sessions | None = None) -> tuple[Profile, str]:
    """A profile, and its TOML.

    Parameters
    ----------
    prefixes: folders that count; name: of the profile, and of the recording in the sources of its numbers.
    found: the sessions of the trace on files there, where they are known: finding them takes most of the time.

    Raises
    ------
    UsageError: nothing was done there.
    """
    found = found or sessions_of(trace, prefixes)
    writer = _Writer(found, name)
    text = writer.toml(phases_of(found), trace)
    return read(Profile, text, f"{name}.toml"), text


class _Writer:
    """The TOML of a fitted profile."""

    def __init__(self, found: Sessions, name: str) -> None:
        self.found, self.name = found, quoted(name)
        self.numbers: list[str] = []
        self.names = names_of(found.classes)
        self.paths = paths_of(found.classes)
        self.made = _made(found)

    def number(self, name: str, value: float, unit: str, source: str, scales: bool = False) -> str:
        """A number of the profile; gives its name."""
        shown = round(value) if abs(value) >= 1000 or value == round(value) else float(f"{value:.4g}")
        scaled = ", scales = true" if scales else ""
        self.numbers.append(f'{name} = {{ value = {shown}, unit = "{unit}"{scaled}, source = "{source}" }}')
        return name

    def toml(self, phases: list[Phase], trace: Trace) -> str:
        """All of it."""
        own = own_times(phases, self.found.begin_ns, self.found.end_ns)
        if len(phases) > 1 and phases[0].items == len(phases[0].groups) == 1:
            # a job begins with its first call: what a lone one has behind it is before the next phase
            own[:2] = [0.0, own[0] + own[1]]
        bodies = [self._phase(number, phase, own[number]) for number, phase in enumerate(phases)]
        files = self._files()
        command = " ".join(trace.info.command)[:100] or "unknown"
        job_type = next((one for one in trace.table("processes").column("job_type").to_pylist() if one), "unknown")
        about = f"Fitted to a recording of: {command}. {self.found.calls} calls on its files."
        head = [
            f'name = "{self.name}"', f'title = "{self.name}"', f'about = "{quoted(about)}"',
            f'job_types = ["{quoted(job_type)}"]', "", "[numbers]", *self.numbers, "", "[files]", *files,
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

    def _phase(self, number: int, phase: Phase, took_ns: float) -> str:
        """A phase that takes so long."""
        items, label = phase.items, f"phase{number + 1}"
        actions = [
            self._action(f"{label}_{place}_{self.names[group.kind]}", group, items)
            for place, group in enumerate(phase.groups, start=1)
        ]
        of = self.found.rows.loc[np.concatenate([group.rows.index.to_numpy() for group in phase.groups])]
        active = of.groupby("thread").agg(begin=("begin", "min"), end=("end", "max"))
        at_once = float((active["end"] - active["begin"]).sum()) / max(1.0, float(of["end"].max() - of["begin"].min()))
        workers = max(1, min(round(at_once), items))
        head = ["[[phases]]", f'name = "{self._title(phase)}"']
        if items > 1:
            source = f"times that this was done in {self.name}"
            head.append(f'items = "{self.number(f"{label}_items", items, "times", source, scales=True)}"')
        if workers > 1:
            source = f"threads at a time in {self.name}"
            head.append(f'workers = "{self.number(f"{label}_threads", workers, "threads", source)}"')
        boxes = any(group.do == "boxes" for group in phase.groups)
        place = len(actions) if boxes else len(actions) // 2
        # of a lone thread's first phase what comes before the first call is not seen either
        unseen = number == 0 and workers == 1 and items > 1 and place in (0, len(actions))
        # in its last turn a phase may have fewer items than threads, and takes as long
        turns = -(-items // workers)
        think = self._think(label, took_ns * items / turns, of, items - unseen)
        if think:
            actions.insert(place, think)
        return "\n".join([*head, "actions = [", *actions, "]", ""])

    def _think(self, label: str, worked_ns: float, of: pd.DataFrame, items: int) -> str:
        """The action for the time of all threads that its calls, the rows `of`, did not take; none if that is short."""
        gaps = max(0.0, worked_ns - float(of["time_ns"].sum()) - float(of["calls"].sum()) * GAP_NS)
        if gaps / items <= GAP_NS + CALL_NS:
            return ""
        source = f"mean time between the calls of one item in {self.name}"
        seconds = self.number(f"{label}_think", gaps / items / 1e9, "s", source)
        source = f"share of that time in which the thread ran in {self.name}"
        # threads that spent more time here count for more
        shares = of["thread"].map(self.found.asleep).to_numpy("float64")
        took = np.maximum((of["end"] - of["begin"]).to_numpy("float64"), 1.0)
        busy = self.number(f"{label}_busy", 1 - float(np.average(shares, weights=took)), "", source)
        return f'    {{ do = "think", seconds = "{seconds}", busy = "{busy}" }},'

    def _holds_boxes(self, group: Group) -> bool:
        """Whether the files of a class are large enough for random reads of boxes behind a header."""
        box = float(group.rows["read"].mean()) / group.pieces
        many = group.pieces >= _BOXES_MIN or self._far_apart(group)
        return many and self._size(group.kind) >= _HEADER_BYTES + 2 * box

    def _far_apart(self, group: Group) -> bool:
        """Whether openings read their begin and then a box or two, which lie all over the files."""
        rows = group.rows
        if group.count < _VISITS_MIN or group.pieces < _HEADER_AND_BOX or float(rows["first_offset_read"].max()) > 0:
            return False
        low, high = rows["last_offset_read"].quantile([0.1, 0.9])
        return float(high - low) >= _FAR * self._size(group.kind)

    def _size(self, kind: int) -> float:
        """Bytes that a file of a class holds: at the start, or in the end where it is made."""
        one = self.found.classes[kind]
        return float(one["size"] if one["exists"] else self.made.get(kind, 0.0))

    def _title(self, phase: Phase) -> str:
        what = [f"{group.do} {self.names[group.kind]}" for group in phase.groups]
        return ", ".join(what[:3]) + (f" and {len(what) - 3} more" if len(what) > 3 else "")

    def _action(self, label: str, group: Group, items: int) -> str:
        """One line of a phase; its numbers are named after `label`."""
        if group.do == "boxes" and not self._holds_boxes(group):
            group = replace(group, do="read", how="whole")
        parts = [f'do = "{group.do}"', f'file = "{self.names[group.kind]}"']
        if group.do == "copy":
            parts.append(f'to = "{self.names[int(group.rows["to"].dropna().iloc[0])]}"')
        if group.how and group.do not in ("list", "stat"):
            parts.append(f'how = "{group.how}"')
        parts += self._boxes(label, group) if group.do == "boxes" else self._bytes(label, group)
        if group.do == "write" and float(group.rows["synced"].mean()) > 0.5:
            parts.append("sync = true")
        if group.do in ("read", "copy") and group.how != "header" and float(group.rows["asked"].mean()) < 0.5:
            parts.append("fstat = false")
        seeks = round(float(group.rows["seeks"].mean()))
        if seeks and group.do in ("read", "write", "append"):
            source = f"lseek calls of an opening in {self.name}"
            parts.append(f'seeks = "{self.number(f"{label}_seeks", seeks, "calls", source)}"')
        times = round(group.count / items)
        if times > 1:
            parts.append(f'times = "{self.number(f"{label}_times", times, "times", f"for each item in {self.name}")}"')
        return f"    {{ {', '.join(parts)} }},"

    def _bytes(self, label: str, group: Group) -> list[str]:
        """How many bytes each opening moves, and how many each call."""
        do, how = group.do, group.how
        if do not in ("read", "write", "append", "copy"):
            return []
        moved_each = group.rows["written" if do in ("write", "append") else "read"]
        moved, pieces = float(moved_each.mean()), group.pieces
        spread = ", ".join(bytes_text(float(moved_each.quantile(q))) for q in (0.1, 0.5, 0.9))
        source = f"in {self.name}: mean of {group.count} (10 %, 50 %, 90 %: {spread})"
        size = (self._size(group.kind) if do in ("read", "copy") else moved) or moved
        some = do == "read" and how in ("whole", "sendfile") and self._in_part(group, moved, size)
        parts = []
        if some or how == "header" or do in ("write", "append"):
            parts.append(f'bytes = "{self.number(f"{label}_bytes", max(1.0, moved), "bytes", source)}"')
            size = moved
        if how != "header" and (do != "append" or pieces > 1):
            # who reads a file several times over in one opening asks for more at a time than its size by calls
            over = max(moved, size) if how == "whole" else size
            chunk = max(1.0, np.ceil(over / pieces))
            parts.append(f'chunk = "{self.number(f"{label}_chunk", chunk, "bytes", f"bytes a call in {self.name}")}"')
        if how == "mmap" and moved >= 1:
            source = f"read before the file is mapped in {self.name}"
            parts.append(f'header = "{self.number(f"{label}_header", moved, "bytes", source)}"')
        return parts

    def _in_part(self, group: Group, moved: float, size: float) -> bool:
        """Whether files of a class are read only so far, not up to their ends."""
        if group.kind in self.made:
            # how long they are by then, the synthesis knows
            return bool(self.found.classes[group.kind]["exists"]) or float(group.rows["ended"].mean()) <= 0.5
        return moved < _WHOLE * size

    def _boxes(self, label: str, group: Group) -> list[str]:
        """How many boxes each opening reads, and how large they are."""
        moved, pieces = float(group.rows["read"].mean()), group.pieces
        count, source = max(1, round(pieces) - 1), f"reads of one opening in {self.name}"
        reads = self.number(f"{label}_reads", count, "reads", source)
        if pieces < _BOXES_MIN:
            head = max(1.0, float(group.rows["first_read"].mean()))
            source = f"mean bytes of an opening's first read, of its begin, in {self.name}"
            header = self.number(f"{label}_header", head, "bytes", source)
            box = max(1.0, (moved - head) / count)
        else:
            # one of an opening's reads is of the header, as large as the others: C programs read in pieces of a buffer
            header, box = f"{label}_box", max(1.0, moved / pieces)
        size = self.number(f"{label}_box", box, "bytes", f"mean bytes of a read in {self.name}")
        return [f'reads = "{reads}"', f'box = "{size}"', f'header = "{header}"', 'stacks = "1"']


def _made(found: Sessions) -> dict[int, float]:
    """Mean bytes that reach from the begin of a file to the end of what was written, by class that is written to."""
    rows = found.rows
    written = rows[rows["do"].isin(["write", "append"])]
    copied = rows[rows["to"].notna()]
    whole = written.groupby(["class", "file"])["reach"].max().groupby("class").mean()
    # the session of a copy is its source's: each of its files is taken for one target
    reach = copied.groupby("to")["reach"].mean() if len(copied) else whole.iloc[:0]
    both = dict(zip(reach.index.tolist(), reach.tolist(), strict=True))
    both |= dict(zip(whole.index.tolist(), whole.tolist(), strict=True))
    return {int(kind): float(size) for kind, size in both.items()}

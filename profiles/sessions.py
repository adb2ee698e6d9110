"""What a recorded program did with each file that it opened: sessions, one for each opening, and calls by name.

The ground that a profile is fitted on: see iotrace.profiles.fit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotrace.errors import UsageError
from iotrace.profiles.classes import beneath, classes_of
from iotrace.trace.operations import BY_NAME, CLONES, OPERATIONS, Change, Kind
from iotrace.trace.reader import Trace

if TYPE_CHECKING:
    import pandas as pd

_NUMBER: Final = {kind: number for number, kind in enumerate(Kind)}
OPENS: Final = tuple(one.name for one in OPERATIONS if one.result == "fd" and "path" in one.arguments)
STATS: Final = (
    "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "chmod",
    "fchmodat", "utimensat",
)  # fmt: skip
RENAMES: Final = tuple(one.name for one in OPERATIONS if one.change is Change.RENAMES)
_BY_RANGE: Final = ("copy_file_range", *CLONES.values())
_BY_NAME: Final = {
    "unlink": tuple(one.name for one in OPERATIONS if one.change is Change.REMOVES),
    "mkdir": ("mkdir", "mkdirat"), "symlink": ("symlink", "symlinkat"),
    "stat": STATS,
}  # fmt: skip
_HEADER_BYTES: Final = 65_536
_BEHIND: Final = 1.1
"""Who ends so much further than the bytes that were written began behind what was there."""
BUCKET: Final = 1.5
"""Sizes and offsets within this factor of each other are of one bucket."""
_COLUMNS: Final = [
    "time_ns", "duration_ns", "off_cpu_ns", "thread", "op", "path", "file", "other_file", "open", "other_open",
    "offset", "other_offset", "size", "flags", "result",
]  # fmt: skip


@dataclass(slots=True)
class Sessions:
    """What was found.

    Attributes
    ----------
    rows: a row for each session or call by name: do and how, class, file, thread, begin, end (ns), calls, time_ns
    inside them, off_ns, read and written bytes (a copy does both), pieces (reads or writes), reach (bytes from the
    begin of the file to the end of what was written), first_offset_read, last_offset_read and first_read (where the
    first and the last read began, and bytes of the first), to (class that was copied to), synced, ended (a
    read got less than it asked for: the file had no more).
    classes: path pattern, count, size (mean, of those that existed), exists, folder, entries, by number of the class.
    calls: of the program on these files, in all; begin_ns, end_ns: when the threads that made them began and ended.
    asleep: share of its time in which each of these threads did not run.
    offsets: how many reads, writes and copies that moved anything began in which bucket of offsets (`bucket_of`).
    """

    rows: pd.DataFrame
    classes: list[dict[str, Any]]
    calls: int
    begin_ns: int
    end_ns: int
    asleep: dict[int, float]
    offsets: dict[int, int]

    @property
    def makespan_ns(self) -> int:
        """How long all of it took."""
        return self.end_ns - self.begin_ns


def sessions_of(trace: Trace, prefixes: list[str]) -> Sessions:
    """Find the sessions of a trace on files beneath some folders.

    Raises
    ------
    UsageError: nothing was done there, or the trace holds counts.
    """
    if trace.info.detail == "histogram":
        raise UsageError(
            f"{trace.folder} holds counts, not operations: a profile is fitted to a recording with --detail events."
        )
    events = trace.events(_COLUMNS)
    paths, files = trace.table("paths").to_pandas(), trace.table("files").to_pandas()
    text_of = paths.drop_duplicates("path", keep="last").set_index("path")["text"]
    files = files.drop_duplicates("file", keep="last").set_index("file")
    files["text"] = files["path"].map(text_of)
    inside = [beneath(text, prefixes) for text in files["text"]]
    mine = files[np.array(inside, np.bool_) & files["type"].isin(["file", "directory"]).to_numpy(bool)]
    counts = (events["file"].isin(mine.index) | events["other_file"].isin(mine.index)).to_numpy(bool)
    threads = _threads(events, counts)
    events = events[counts].copy()
    if events.empty:
        raise UsageError(
            f"{trace.folder} holds nothing on files beneath {', '.join(prefixes)}: name folders with --map."
        )
    class_of, classes = classes_of(mine, prefixes)
    events["class"] = events["file"].map(class_of)
    # as numbers of operations: ten million texts take a minute
    names = events["op"].astype("category")
    code_of = np.array([_NUMBER[BY_NAME[name].kind] if name in BY_NAME else -1 for name in names.cat.categories] + [-1])
    events["kind"] = code_of[names.cat.codes.to_numpy()]
    events["op"] = names
    events["duration_ns"] = events["duration_ns"].fillna(0)
    _clones_as_copies(events)
    events["to"] = events["other_file"].map(class_of).where(events["kind"] == _NUMBER[Kind.COPY])
    _copies_as_writes(events)
    events = _faults_by_open(events)
    import pandas as pd

    frame = pd.concat([_by_open(events, mine), _by_name(events)], ignore_index=True)
    asleep = (threads["off"] / (threads["end"] - threads["begin"]).clip(lower=1)).clip(upper=1)
    share = dict(zip(asleep.index.tolist(), asleep.tolist(), strict=True))
    begin, end = int(threads["begin"].min()), int(threads["end"].max())
    return Sessions(frame, classes, len(events), begin, end, share, _offsets(events))


def _threads(events: pd.DataFrame, counts: Any) -> pd.DataFrame:
    """When each thread with a call that counts began and ended (ns), and how long it did not run (ns).

    Also by its other calls: what a program does before it touches the first of its files is think time too.
    """
    mine = events[events["thread"].isin(events.loc[counts, "thread"].unique())]
    end = mine["time_ns"] + mine["duration_ns"].fillna(0)
    by = {"begin": mine["time_ns"], "end": end, "off": mine["off_cpu_ns"].fillna(0)}
    of_thread = mine["thread"]
    return mine.assign(**by).groupby(of_thread).agg(begin=("begin", "min"), end=("end", "max"), off=("off", "sum"))


def bucket_of(values: Any) -> Any:
    """Bucket of bytes: those of one bucket are within a factor of 1.5 of each other; 0 and 1 are the first one's."""
    return np.round(np.log(np.maximum(values, 1)) / np.log(BUCKET)).astype(np.int64)


def _offsets(events: pd.DataFrame) -> dict[int, int]:
    """Data calls that moved something, by the bucket of their offset."""
    data = events["kind"].isin([_NUMBER[one] for one in (Kind.READ, Kind.WRITE, Kind.COPY)]) & events["class"].notna()
    moved = data & (events["result"].fillna(0) > 0) & events["offset"].notna()
    buckets, counts = np.unique(bucket_of(events.loc[moved, "offset"].to_numpy("float64")), return_counts=True)
    return dict(zip(buckets.tolist(), counts.tolist(), strict=True))


def _clones_as_copies(events: pd.DataFrame) -> None:
    """Clones stand for copies of as many bytes, which a storage without them has to make; refused ones for nothing."""
    clones = events["op"].isin(tuple(CLONES.values()))
    if clones.any():
        events.loc[clones & (events["result"] == 0), "result"] = events["size"]
        events.loc[clones & (events["result"].fillna(-1) < 0), "kind"] = -1


def _copies_as_writes(events: pd.DataFrame) -> None:
    """What is copied out of a file elsewhere is a write of the file that it comes into."""
    rows = events.index[events["to"].notna() & events["class"].isna()]
    if rows.empty:
        return
    for name, other in (("file", "other_file"), ("open", "other_open"), ("offset", "other_offset"), ("class", "to")):
        events.loc[rows, name] = events.loc[rows, other]
    events.loc[rows, "kind"] = _NUMBER[Kind.WRITE]
    events.loc[rows, ["other_file", "other_open", "to"]] = None


def _faults_by_open(events: pd.DataFrame) -> pd.DataFrame:
    """Faults with the opening that their file was mapped by last: a fault itself names none."""
    import pandas as pd

    faults = events[(events["op"] == "mmap.fault") & events["open"].isna()]
    maps = events[(events["op"] == "mmap") & events["open"].notna()][["time_ns", "file", "open"]]
    if faults.empty or maps.empty:
        return events
    keys = faults[["time_ns", "file"]].reset_index().sort_values("time_ns", kind="stable")
    by = pd.merge_asof(
        keys.astype({"file": "int64"}), maps.astype({"file": "int64"}).sort_values("time_ns", kind="stable"),
        on="time_ns", by="file",
    )  # fmt: skip
    events = events.copy()
    events.loc[by["index"], "open"] = by["open"].to_numpy()
    return events


def _by_open(events: pd.DataFrame, mine: pd.DataFrame) -> pd.DataFrame:
    """A row for each opening of a file that has a class."""
    import pandas as pd

    of = events[events["open"].notna() & events["class"].notna() & ~events["op"].isin(STATS)]
    of = of.sort_values(["open", "time_ns"], kind="stable")
    kind, op = of["kind"], of["op"]
    moved = of["result"].clip(lower=0).fillna(0)
    reads, writes, copies = (kind == _NUMBER[one] for one in (Kind.READ, Kind.WRITE, Kind.COPY))
    into = copies & of["to"].notna()
    at = of["offset"].where(~into, of["other_offset"]).fillna(0)
    marks = pd.DataFrame(
        {
            "open": of["open"].astype("int64"), "class": of["class"].astype("int64"),
            "file": of["file"].astype("int64"), "thread": of["thread"].astype("int64"), "begin": of["time_ns"],
            "end": of["time_ns"] + of["duration_ns"], "time_ns": of["duration_ns"],
            "off_ns": of["off_cpu_ns"].fillna(0), "reads": reads, "writes": writes, "copies": copies,
            "read": moved.where(reads | copies, 0), "written": moved.where(writes | into, 0),
            "reach": (at + moved).where(writes | into, 0),
            "first_offset_read": of["offset"].where(reads), "last_offset_read": of["offset"].where(reads),
            "first_read": moved.where(reads),
            "listed": op.isin(["getdents", "getdents64"]), "mapped": op == "mmap", "faults": op == "mmap.fault",
            "moves": moved > 0,
            "ended": reads & (of["result"] < of["size"]),
            "seeks": op == "lseek", "asked": op == "fstat",
            "locked": kind == _NUMBER[Kind.LOCK], "synced": kind == _NUMBER[Kind.SYNC],
            "flags": of["flags"].fillna(0).where(op.isin(OPENS), 0), "calls": 1,
            "first_offset": of["offset"].where(writes),
            "to": of["to"].astype("float64"), "way": op.isin(_BY_RANGE) & copies,
        }
    )  # fmt: skip
    follows = (of["open"] == of["open"].shift()) & reads
    before = (of["offset"] + of["result"]).where(reads).groupby(of["open"]).ffill().shift()
    marks["in_order"] = (follows & (of["offset"] == before)).fillna(False)
    first, most, total = "first", "max", "sum"
    how = {
        "class": first, "file": first, "thread": first, "begin": "min", "end": most, "flags": most, "to": first,
        "way": most, "first_offset": first, "reach": most, "first_offset_read": first, "last_offset_read": "last",
        "first_read": first,
    }  # fmt: skip
    how |= {name: total for name in marks.columns if name not in how and name != "open"}
    rows = marks.groupby("open", sort=False).agg(how)
    targets = events[events["other_open"].notna() & (events["kind"] == _NUMBER[Kind.COPY])]
    rows = rows[~rows.index.isin(targets["other_open"].astype("int64")) | (rows["reads"] + rows["copies"] > 0)]
    return _told(rows, mine, set(events[events["op"].isin(RENAMES)]["file"].dropna().astype(int)))


def _told(rows: pd.DataFrame, mine: pd.DataFrame, renamed: set[int]) -> pd.DataFrame:
    """Say what each session is: do and how."""
    size = rows["file"].map(mine["size"]).fillna(0).to_numpy("float64")
    get = {name: rows[name].to_numpy("float64") for name in ("reads", "writes", "copies", "read", "in_order", "seeks")}
    ordered = get["in_order"] / np.maximum(get["reads"] - 1, 1)
    ordered = np.where(get["reads"] > 1, ordered, 1.0)
    header = (get["read"] < 0.5 * size) & (get["read"] <= _HEADER_BYTES) & (ordered > 0.5)
    flags = rows["flags"].astype("int64")
    # also who writes a header anew and then behind what was there, as RELION does with each particle
    behind = (flags & os.O_TRUNC == 0) & (rows["reach"] > _BEHIND * rows["written"])
    appended = (flags & os.O_APPEND != 0) | (rows["first_offset"].fillna(0) > 0) | behind
    copied = (get["copies"] > 0) & rows["to"].notna().to_numpy()
    listed, mapped = rows["listed"].to_numpy() > 0, (rows["mapped"] > 0).to_numpy() & (rows["faults"] > 0).to_numpy()
    writes, reads = get["writes"] > 0, get["reads"] > 0
    # of a header and a box only the box is sought
    sought = (get["seeks"] > get["reads"] / 2) | ((get["reads"] == 2) & (get["seeks"] == 1))
    locked = (rows["locked"] > 0).to_numpy()
    cases = [
        (listed, "list", ""), (writes & appended.to_numpy() & locked, "append", "locked"),
        (writes & appended.to_numpy(), "append", "plain"),
        (writes & rows["file"].isin(renamed).to_numpy(), "write", "rename"), (writes, "write", "whole"),
        (copied & rows["way"].to_numpy(bool), "copy", "copy_file_range"),
        (copied, "copy", "sendfile"), (get["copies"] > 0, "read", "sendfile"), (mapped, "read", "mmap"),
        (reads & header, "read", "header"), (reads & (ordered >= 0.6), "read", "whole"),
        (reads & sought, "boxes", "read"), (reads, "boxes", "pread"),
    ]  # fmt: skip
    rows["do"] = np.select([case[0] for case in cases], [case[1] for case in cases], "open")
    rows["how"] = np.select([case[0] for case in cases], [case[2] for case in cases], "")
    _begun_by_appending(rows)
    pieces = np.where(rows["do"].isin(["write", "append"]), get["writes"], get["reads"] + get["copies"])
    # who copies asks once more, to be told that this was all: the recipe does not
    pieces = np.where(rows["do"] == "copy", rows["moves"], pieces)
    rows["pieces"] = np.where(rows["how"] == "mmap", rows["faults"], pieces)
    rows["synced"], rows["ended"] = rows["synced"] > 0, rows["ended"] > 0
    # boxes seek by themselves
    rows["seeks"] = np.where(rows["do"] == "boxes", 0, get["seeks"])
    return rows.reset_index(drop=True)


def _begun_by_appending(rows: pd.DataFrame) -> None:
    """A file's first writing, where all that follow append to it, is an append to an empty file."""
    writes, appends = rows["do"] == "write", rows["do"] == "append"
    if not (writes.any() and appends.any()):
        return
    of_file = rows["file"]
    first = rows["begin"].where(writes | appends).groupby(of_file).transform("min") == rows["begin"]
    alone = writes.groupby(of_file).transform("sum") == 1
    begun = writes & first & alone & appends.groupby(of_file).transform("any") & (rows["how"] == "whole")
    how = rows["how"].where(appends).groupby(of_file).transform("first")
    rows.loc[begun, "how"] = how[begun]
    rows.loc[begun, "do"] = "append"


def _by_name(events: pd.DataFrame) -> pd.DataFrame:
    """A row for each call by name that succeeded."""
    import pandas as pd

    do_of = {op: do for do, ops in _BY_NAME.items() for op in ops}
    of = events[events["op"].isin(do_of) & events["class"].notna() & (events["result"].fillna(0) >= 0)]
    return pd.DataFrame(
        {
            "class": of["class"].astype("int64"), "file": of["file"].astype("int64"),
            "thread": of["thread"].astype("int64"), "begin": of["time_ns"], "end": of["time_ns"] + of["duration_ns"],
            "time_ns": of["duration_ns"], "off_ns": of["off_cpu_ns"].fillna(0), "calls": 1, "read": 0.0,
            "written": 0.0, "reach": 0.0, "pieces": 0, "seeks": 0, "asked": 0, "how": "",
            "do": of["op"].map(do_of).astype(str), "to": np.nan, "synced": False, "ended": False,
        }
    ).reset_index(drop=True)  # fmt: skip

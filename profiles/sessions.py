"""What a recorded program did with each file that it opened: sessions, one for each opening, and calls by name.

The ground that a profile is fitted on: see iotrace.profiles.fit.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotrace.errors import UsageError
from iotrace.trace.operations import BY_NAME, OPERATIONS, Kind
from iotrace.trace.reader import Trace

if TYPE_CHECKING:
    import pandas as pd

_NUMBER: Final = {kind: number for number, kind in enumerate(Kind)}
OPENS: Final = tuple(one.name for one in OPERATIONS if one.result == "fd" and "path" in one.arguments)
STATS: Final = (
    "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "chmod",
    "fchmodat", "utimensat",
)  # fmt: skip
RENAMES: Final = ("rename", "renameat", "renameat2")
_BY_NAME: Final = {
    "unlink": ("unlink", "unlinkat", "rmdir"), "mkdir": ("mkdir", "mkdirat"), "symlink": ("symlink", "symlinkat"),
    "stat": STATS,
}  # fmt: skip
_DIGITS: Final = re.compile(r"\d+")
_LIKE_MIN: Final = 4
"""So many files of one folder and extension are one class although their names differ in more than digits."""
_HEADER_BYTES: Final = 65_536
_COLUMNS: Final = [
    "time_ns", "duration_ns", "off_cpu_ns", "thread", "op", "path", "file", "other_file", "open", "other_open",
    "offset", "size", "flags", "result",
]  # fmt: skip


@dataclass(slots=True)
class Sessions:
    """What was found.

    Attributes
    ----------
    rows: a row for each session or call by name: do and how, class, file, thread, begin, end (ns), calls, time_ns
    inside them, off_ns, read and written bytes, pieces (reads or writes), to (class), synced.
    classes: path pattern, count, size (mean, of those that existed), exists, folder, entries, by number of the class.
    calls: of the program on these files, in all; named: how many are in `rows`.
    """

    rows: pd.DataFrame
    classes: list[dict[str, Any]]
    calls: int
    makespan_ns: int


def sessions_of(trace: Trace, prefixes: list[str]) -> Sessions:
    """Find the sessions of a trace on files beneath some folders.

    Raises
    ------
    UsageError: nothing was done there.
    """
    events = trace.events(_COLUMNS)
    paths, files = trace.table("paths").to_pandas(), trace.table("files").to_pandas()
    text_of = paths.drop_duplicates("path", keep="last").set_index("path")["text"]
    files = files.drop_duplicates("file", keep="last").set_index("file")
    files["text"] = files["path"].map(text_of)
    inside = [_beneath(text, prefixes) for text in files["text"]]
    mine = files[np.array(inside, np.bool_) & files["type"].isin(["file", "directory"]).to_numpy(bool)]
    events = events[events["file"].isin(mine.index) | events["other_file"].isin(mine.index)].copy()
    if events.empty:
        raise UsageError(
            f"{trace.folder} holds nothing on files beneath {', '.join(prefixes)}: name folders with --map."
        )
    class_of, classes = _classes(mine, prefixes)
    events["class"] = events["file"].map(class_of)
    # as numbers of operations: ten million texts take a minute
    names = events["op"].astype("category")
    code_of = np.array([_NUMBER[BY_NAME[name].kind] if name in BY_NAME else -1 for name in names.cat.categories] + [-1])
    events["kind"] = code_of[names.cat.codes.to_numpy()]
    events["op"] = names
    events["duration_ns"] = events["duration_ns"].fillna(0)
    events = _faults_by_open(events)
    import pandas as pd

    frame = pd.concat([_by_open(events, mine), _by_name(events)], ignore_index=True)
    frame["to"] = frame["to"].map(class_of)
    begin, end = events["time_ns"].min(), (events["time_ns"] + events["duration_ns"]).max()
    return Sessions(frame, classes, len(events), int(end - begin))


def _beneath(text: object, prefixes: list[str]) -> bool:
    return isinstance(text, str) and any(text == one or text.startswith(one.rstrip("/") + "/") for one in prefixes)


def _classes(mine: pd.DataFrame, prefixes: list[str]) -> tuple[dict[int, int], list[dict[str, Any]]]:
    """Files whose names differ in digits alone are one class; so are many of one folder and extension."""
    patterns: dict[int, tuple[str, ...]] = {}
    columns = zip(mine.index.tolist(), mine["text"], mine["type"], mine["existed"], strict=True)
    for file, text, kind, existed in columns:
        made = existed is not None and not existed
        patterns[int(file)] = (_DIGITS.sub("#", text), str(kind), "made" if made else "there")
    alike: dict[tuple[str, ...], list[int]] = {}
    for file, pattern in patterns.items():
        alike.setdefault(pattern, []).append(file)
    loose: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for pattern, members in alike.items():
        if len(members) == 1 and pattern[1] == "file":
            folder, name = os.path.split(pattern[0])
            loose.setdefault((folder, os.path.splitext(name)[1], pattern[2]), []).append(pattern)
    for (folder, extension, state), single in loose.items():
        if len(single) >= _LIKE_MIN:
            members = [file for pattern in single for file in alike.pop(pattern)]
            alike.setdefault((f"{folder}/#{extension}", "file", state), []).extend(members)
    class_of: dict[int, int] = {}
    classes: list[dict[str, Any]] = []
    for number, ((text, kind, state), members) in enumerate(alike.items()):
        class_of.update(dict.fromkeys(members, number))
        of = mine.loc[members]
        sizes = of["size"].dropna()
        prefix = next(
            one for one in sorted(prefixes, key=len, reverse=True) if _beneath(str(of["text"].iloc[0]), [one])
        )
        name = os.path.relpath(text if len(members) > 1 else str(of["text"].iloc[0]), prefix)
        classes.append(
            {
                "path": name, "count": len(members), "size": float(sizes.mean()) if len(sizes) else 0.0,
                "spread": sizes.quantile([0.1, 0.5, 0.9]).tolist() if len(sizes) else [], "exists": state == "there",
                "folder": kind == "directory", "entries": float(of["entries"].fillna(0).mean()),
            }
        )  # fmt: skip
    return class_of, classes


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
    marks = pd.DataFrame(
        {
            "open": of["open"].astype("int64"), "class": of["class"].astype("int64"),
            "file": of["file"].astype("int64"), "thread": of["thread"].astype("int64"), "begin": of["time_ns"],
            "end": of["time_ns"] + of["duration_ns"], "time_ns": of["duration_ns"],
            "off_ns": of["off_cpu_ns"].fillna(0), "reads": reads, "writes": writes, "copies": copies,
            "read": moved.where(reads | copies, 0), "written": moved.where(writes, 0),
            "listed": op.isin(["getdents", "getdents64"]), "mapped": op == "mmap", "faults": op == "mmap.fault",
            "seeks": op == "lseek", "locked": kind == _NUMBER[Kind.LOCK], "synced": kind == _NUMBER[Kind.SYNC],
            "flags": of["flags"].fillna(0).where(op.isin(OPENS), 0), "calls": 1,
            "first_offset": of["offset"].where(writes),
            "to": of["other_file"].where(copies).astype("float64"), "way": (op == "copy_file_range") & copies,
        }
    )  # fmt: skip
    follows = (of["open"] == of["open"].shift()) & reads
    before = (of["offset"] + of["result"]).where(reads).groupby(of["open"]).ffill().shift()
    marks["in_order"] = (follows & (of["offset"] == before)).fillna(False)
    first, most, total = "first", "max", "sum"
    how = {
        "class": first, "file": first, "thread": first, "begin": "min", "end": most, "flags": most, "to": first,
        "way": most, "first_offset": first,
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
    appended = ((rows["flags"].astype("int64") & os.O_APPEND) != 0) | (rows["first_offset"].fillna(0) > 0)
    copied = (get["copies"] > 0) & rows["to"].notna().to_numpy()
    listed, mapped = rows["listed"].to_numpy() > 0, (rows["mapped"] > 0).to_numpy() & (rows["faults"] > 0).to_numpy()
    writes, reads = get["writes"] > 0, get["reads"] > 0
    sought = get["seeks"] > get["reads"] / 2
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
    pieces = np.where(rows["do"].isin(["write", "append"]), get["writes"], get["reads"] + get["copies"])
    rows["pieces"] = np.where(rows["how"] == "mmap", rows["faults"], pieces)
    rows["synced"] = rows["synced"] > 0
    # boxes seek by themselves
    rows["seeks"] = np.where(rows["do"] == "boxes", 0, get["seeks"])
    return rows.reset_index(drop=True)


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
            "written": 0.0, "pieces": 0, "seeks": 0, "do": of["op"].map(do_of).astype(str), "how": "", "to": np.nan,
            "synced": False,
        }
    ).reset_index(drop=True)  # fmt: skip

"""`iotrace record --status`: what the recordings of this host do, from their registry, their trace.json and /proc.

Takes nothing from the recorders themselves, so that it cannot disturb them, and answers when one hangs: the age of
the last flush tells.
"""

from __future__ import annotations

import json as json_module
import os
import time
from calendar import timegm
from pathlib import Path
from typing import Any

from iotrace.errors import TraceError
from iotrace.record.registry import Running, running, stat_fields
from iotrace.record.together import read_together
from iotrace.terminal import printable
from iotrace.trace.info import INFO_NAME, TraceInfo, read_info
from iotrace.units import binary_text, bytes_text, count_text, significant


def show(json: bool = False) -> str:
    """The text, or one JSON object {"recordings": [...]}, that the command prints; figures that are not known are None.

    Raises
    ------
    RecordError: the registry's folder belongs to somebody else.
    """
    found = [figures(entry) for entry in running()]
    if json:
        return json_module.dumps({"recordings": found}, ensure_ascii=True, allow_nan=False)
    if not found:
        return "no recording is running"
    return "\n".join(_text(row) for row in found)


def figures(entry: Running) -> dict[str, Any]:
    """One recording's figures: sizes in bytes, times in seconds, rates of the time between the last two flushes."""
    infos, together = list(_infos(Path(entry.folder))), read_together(Path(entry.folder))
    lost: dict[str, int] = {}
    for info in infos:
        for kind, count in info.lost.items():
            lost[kind] = lost.get(kind, 0) + count
    notes = [info.recorder for info in infos]
    bounds = [info.max_bytes for info in infos if info.max_bytes is not None]
    if together is not None:
        lost, notes, bounds = together.lost, [together.recorder], [together.max_bytes] if together.max_bytes else []
    flushed = [note["flushed_ns"] for note in notes if "flushed_ns" in note]
    limits = [note["memory_limit_bytes"] for note in notes if "memory_limit_bytes" in note]
    return {
        "pid": entry.pid,
        "backend": entry.backend,
        "target": entry.target,
        "started_utc": entry.started_utc,
        "running_s": max(0, int(time.time()) - timegm(time.strptime(entry.started_utc, "%Y-%m-%dT%H:%M:%SZ"))),
        "folder": entry.folder,
        "traces": len(infos),
        "events": sum(info.events for info in infos),
        "events_per_s": sum(info.recorder.get("events_per_s", 0.0) for info in infos),
        "lost": lost,
        "complete_so_far": not any(lost.values()),
        "dropped_events": sum(info.dropped.events for info in infos),
        "disk_bytes": _disk_bytes(Path(entry.folder)),
        "max_bytes": sum(bounds) if bounds else None,
        "memory_bytes": _memory(entry.pid),
        "memory_limit_bytes": max(limits) if limits else None,
        "cpu_s": _cpu(entry.pid),
        "flushed_s_ago": (time.monotonic_ns() - max(flushed)) / 1e9 if flushed else None,
    }


def _infos(folder: Path) -> list[TraceInfo]:
    """Of the trace, or of each trace in a folder of traces."""
    places = [folder] if (folder / INFO_NAME).is_file() else sorted(folder.glob("*.iotrace"))
    found = []
    for place in places:
        try:
            found.append(read_info(place))
        except TraceError:
            continue
    return found


def _disk_bytes(folder: Path) -> int:
    total, places = 0, [str(folder)]
    while places:
        try:
            with os.scandir(places.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        places.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            # a part that has just been dropped, or a trace that is not ours to look into
            continue
    return total


def _memory(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return None


def _cpu(pid: int) -> float | None:
    fields = stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else None


def _text(row: dict[str, Any]) -> str:
    lines = [f"pid {row['pid']} ({row['backend']}) follows {row['target']}, for {_age(row['running_s'])}"]
    where = row["folder"] + ("" if row["traces"] == 1 else f" ({row['traces']} traces)")
    events = f"{count_text(row['events'])}, {count_text(row['events_per_s'])}/s"
    if row["dropped_events"]:
        events += f"; {count_text(row['dropped_events'])} older ones dropped by choice"
    lost = ", ".join(f"{kind} {count:,}" for kind, count in row["lost"].items() if count)
    disk = bytes_text(row["disk_bytes"])
    disk += f" of {bytes_text(row['max_bytes'])} at most" if row["max_bytes"] is not None else ", without a bound"
    memory = "not known" if row["memory_bytes"] is None else binary_text(row["memory_bytes"])
    if row["memory_limit_bytes"] is not None:
        memory += f" of {binary_text(row['memory_limit_bytes'])} at most"
    if row["cpu_s"] is not None and row["running_s"]:
        memory += f"; {significant(100 * row['cpu_s'] / row['running_s'], 2)} % of a core"
    ago = row["flushed_s_ago"]
    facts = {
        "trace": where,
        "events": events,
        "lost": f"LOST {lost}: not complete" if lost else "nothing: complete so far",
        "disk": disk,
        "memory": memory,
        "flushed": "not yet" if ago is None else f"{significant(ago, 2)} s ago",
    }
    lines += [f"  {name:8} {text}" for name, text in facts.items()]
    return "\n".join(printable(line) for line in lines)


def _age(seconds: int) -> str:
    for name, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size} {name} {seconds % size // part} {below}"
    return f"{seconds} s"

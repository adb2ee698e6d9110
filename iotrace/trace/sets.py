"""Sets of traces, such as the folder that `iotrace record --cryosparc` fills: which traces they are, what they have in
common, and their counts by key under names that hold across traces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from iotrace.trace.counted import keys_of, tables_of
from iotrace.trace.info import INFO_NAME, Dropped, TraceInfo
from iotrace.trace.partials import Counts, merged
from iotrace.trace.reader import open_trace

LIMITED = ("file", "process", "thread")
"""Keys of which a limit leaves rows out."""


@dataclass(frozen=True)
class Part:
    """What one trace adds to a set.

    Attributes
    ----------
    name: of its folder. info: its trace.json. totals: as Tables.totals. keys: that it can be grouped by.
    counts: by key, under names; of a mount its place in info.mounts. Histograms by file are left out where only some
    files are wanted: `details` gives those.
    """

    name: str
    info: TraceInfo
    totals: dict[str, int]
    keys: list[str]
    counts: dict[str, Counts]


def traces_of(paths: Sequence[str | Path]) -> list[Path]:
    """Folders of traces: those given, and the traces in a folder that is none itself, by name."""
    found: list[Path] = []
    for path in map(Path, paths):
        inside = [] if (path / INFO_NAME).exists() else sorted(one.parent for one in path.glob(f"*/{INFO_NAME}"))
        found += inside or [path]
    return list(dict.fromkeys(one.absolute() for one in found))


def is_set(path: str | Path) -> bool:
    """Whether a folder holds traces and is none."""
    return traces_of([path]) != [Path(path).absolute()]


def part_of(folder: Path, keys: Sequence[str], limit: int | None) -> Part:
    """What a trace adds to tables by these keys of which `limit` rows are wanted.

    Raises
    ------
    TraceError: no trace, or a damaged one. UsageError: an unknown key.
    """
    trace = open_trace(folder)
    mine = keys_of(trace, keys)
    counts: dict[str, Counts] = {}
    with tables_of(trace, mine) as tables:
        totals = tables.totals()
        for key in mine:
            # a process or thread is of one trace, a file of all that name its path
            found = (
                tables.sums(key) if key == "file" and limit else tables.counts(key, limit if key in LIMITED else None)
            )
            counts[key] = tables.named(found, key, f"{trace.folder.name}: ")
    return Part(trace.folder.name, trace.info, totals, mine, counts)


def details_of(folder: Path, names: Sequence[str | None]) -> Counts:
    """Histograms of the files at these paths, by path; the totals are those of `part_of`."""
    trace = open_trace(folder)
    with tables_of(trace) as tables:
        found = tables.details_of_files(names)
        # a trace of counts gives names at once
        return found if trace.info.detail == "histogram" else tables.named(found, "file", "")


def start_ns(info: TraceInfo) -> int | None:
    """UTC of time_ns = 0; None where no clock was noted."""
    if not info.clock:
        return None
    monotonic, utc = info.clock[0]
    return utc - (monotonic - info.base_monotonic_ns)


def offsets_ns(infos: Sequence[TraceInfo]) -> list[int] | None:
    """When each trace began after the first of them; None where one noted no clock."""
    starts = [start_ns(info) for info in infos]
    known = [start for start in starts if start is not None]
    return [start - min(known) for start in known] if len(known) == len(starts) else None


def info_of(infos: Sequence[TraceInfo]) -> TraceInfo:
    """What holds of all traces together, as one trace.json would say it."""
    first = infos[0]

    def common(values: list[Any], empty: Any) -> Any:
        return values[0] if all(value == values[0] for value in values) else empty

    lost: dict[str, int] = {}
    for info in infos:
        for kind, count in info.lost.items():
            lost[kind] = lost.get(kind, 0) + count
    hosts = list(dict.fromkeys(info.host for info in infos if info.host))
    offsets = offsets_ns(infos)
    duration = max(info.duration_ns + begun for info, begun in zip(infos, offsets or [0] * len(infos), strict=True))
    started = [info.started_utc for info in infos if info.started_utc]
    return TraceInfo(
        version=first.version, backend=" and ".join(dict.fromkeys(info.backend for info in infos)),
        detail=common([info.detail for info in infos], "events and counts"),
        host=", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""),
        kernel=common([info.kernel for info in infos], ""),
        architecture=common([info.architecture for info in infos], ""),
        memory_bytes=first.memory_bytes, command=common([info.command for info in infos], []),
        filters={"whom": f"{len(infos)} traces"}, started_utc=min(started, default=""),
        duration_ns=duration, events=sum(info.events for info in infos), lost=lost,
        complete=all(info.complete for info in infos),
        mounts=list(dict.fromkeys(mount for info in infos for mount in info.mounts)),
        unseen=list(dict.fromkeys(sentence for info in infos for sentence in info.unseen)),
        recorder={"cpu_s": sum(info.recorder.get("cpu_s", 0.0) for info in infos)},
        dropped=Dropped(
            sum(info.dropped.events for info in infos), sum(info.dropped.bytes for info in infos),
            max(info.dropped.until_ns for info in infos),
        ),
        anonymised=list(dict.fromkeys(what for info in infos for what in info.anonymised)),
    )  # fmt: skip


def merged_counts(parts: Sequence[Part], key: str, mounts: Sequence[Any]) -> Counts:
    """The counts by a key of all parts; of mounts by their place in `mounts`."""
    found = []
    for part in parts:
        if key not in part.counts:
            continue
        counts = part.counts[key]
        if key == "mount":
            counts = _renumbered(counts, [mounts.index(mount) for mount in part.info.mounts])
        found.append(counts)
    return merged(found)


def _renumbered(counts: Counts, places: list[int]) -> Counts:
    def frame(one: pd.DataFrame) -> pd.DataFrame:
        return one.assign(key=pd.array([pd.NA if pd.isna(key) else places[int(key)] for key in one["key"]], "Int64"))

    return Counts(frame(counts.totals), frame(counts.latency), frame(counts.sizes))

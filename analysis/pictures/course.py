"""What a set of traces did over time: the frames of each trace's pictures, put on one clock and added up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from iotrace.analysis.pictures.lanes import Lanes, lane_of_whole, lanes_of_trace, together
from iotrace.analysis.pictures.metadata import metadata_of_trace
from iotrace.analysis.spread import Spread
from iotrace.trace.counted import tables_of
from iotrace.trace.info import TraceInfo
from iotrace.trace.reader import open_trace
from iotrace.trace.sets import offsets_ns

_SLICES: Final = 200
_ACTIVITY_SLICES: Final = 120
_PAIRS: Final = 16
_PAIRS_OF_EACH: Final = 64
"""Of each trace more pairs of job and operation are taken than are drawn: one may be second everywhere."""
_LEAST_SHARE: Final = 1e-6
_POINTS: Final = 12_000
_LEAST_POINTS: Final = 500


@dataclass(frozen=True)
class Course:
    """The frames of one trace's pictures, or of a set's: timeline and activity as of iotrace.trace.tables.Tables,
    metadata as of metadata_plot, sizes: key, bucket, count; positions, of a set alone, as of Tables with a file's path
    as its number."""

    timeline: pd.DataFrame
    activity: pd.DataFrame
    metadata: pd.DataFrame
    sizes: pd.DataFrame
    lanes: Lanes
    positions: pd.DataFrame = field(default_factory=pd.DataFrame)


def course_of_set(folders: Sequence[Path], duration_s: float, over: Spread) -> tuple[Course, bool]:
    """The frames of a set, and whether its traces could be put on one clock; else all begin at 0.

    Parameters
    ----------
    duration_s: from the first trace's start to the last one's end.

    Raises
    ------
    TraceError: one of them is no trace, or damaged.
    """
    offsets = offsets_ns([open_trace(folder).info for folder in folders])
    begun = [offset / 1e9 for offset in offsets or [0] * len(folders)]
    points = min(_POINTS, max(_LEAST_POINTS, 4 * _POINTS // len(folders)))
    parts = over(partial(_course, duration_s=duration_s, points=points), list(zip(folders, begun, strict=True)))
    mixed = pd.concat([part.metadata for part in parts], ignore_index=True)
    sizes = pd.concat([part.sizes for part in parts], ignore_index=True)
    whole = Course(
        _summed([part.timeline for part in parts], ["class"], ["calls", "bytes_read", "bytes_written"]),
        _most_active([part.activity for part in parts]),
        mixed.groupby(["label", "group", "op"], as_index=False).sum(),
        sizes.groupby(["key", "bucket"], as_index=False).sum(),
        together([part.lanes for part in parts]),
        _sampled(parts),
    )
    return whole, offsets is not None


def _course(item: tuple[Path, float], duration_s: float, points: int) -> Course:
    folder, begun_s = item
    trace = open_trace(folder)
    name = folder.name.removesuffix(".iotrace")
    with tables_of(trace) as tables:
        timeline, activity = tables.timeline(), tables.activity(most=_PAIRS_OF_EACH)
        # what has no label is told apart by its trace
        activity["job"] = activity["job"].astype(object).where(activity["job"].notna(), name)
        end_s = max(trace.info.duration_ns / 1e9, float((timeline["start_s"] + timeline["width_s"]).max() or 0))
        found = lanes_of_trace(tables, end_s)
        if found.what != "job":
            bar = lane_of_whole(tables, end_s, name, "", _program(trace.info))
            found = Lanes([bar] if bar else [], "trace", "command")
        positions = tables.positions(points)
        return Course(
            in_slices(timeline, begun_s, duration_s / _SLICES, ["calls", "bytes_read", "bytes_written"]),
            in_slices(activity, begun_s, duration_s / _ACTIVITY_SLICES, ["calls"]),
            metadata_of_trace(tables),
            tables.histogram("class", "size"),
            replace(found, bars=[
                replace(
                    bar, start_s=bar.start_s + begun_s, end_s=bar.end_s + begun_s,
                    busy=[(at + begun_s, width) for at, width in bar.busy],
                )
                for bar in found.bars
            ]),
            # a path is one file in all traces, as in the tables of a set
            positions.assign(time_s=positions["time_s"] + begun_s, file=positions["path"]),
        )  # fmt: skip


def _sampled(parts: Sequence[Course]) -> pd.DataFrame:
    """Of each trace's points as large a share as it has of the calls that move bytes, so that none is drawn denser."""
    some = [part for part in parts if len(part.positions)]
    if not some:
        return parts[0].positions
    calls = [int(part.sizes["count"].sum()) for part in some]
    kept = [
        part.positions.sample(min(len(part.positions), -(-_POINTS * many // sum(calls))), random_state=1)
        for part, many in zip(some, calls, strict=True)
    ]
    return pd.concat(kept, ignore_index=True)


def _program(info: TraceInfo) -> str:
    return os.path.basename(info.command[0]) if info.command else "(no command)"


def in_slices(frame: pd.DataFrame, begun_s: float, width_s: float, values: list[str]) -> pd.DataFrame:
    """Rows of slices of any width, begun_s later, as rows of slices of this width: `values` are shared out by how long
    a row lies in each."""
    width_s = max(width_s, 1e-9)
    start = frame["start_s"].to_numpy(float) + begun_s
    end = start + frame["width_s"].to_numpy(float)
    first = np.floor(start / width_s).astype(np.int64)
    many = np.maximum(1, np.ceil(end / width_s).astype(np.int64) - first)
    row = np.repeat(np.arange(len(frame)), many)
    at = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
    within = np.minimum(end[row], (at + 1) * width_s) - np.maximum(start[row], at * width_s)
    share = within / (end - start)[row]
    made: pd.DataFrame = frame.iloc[row].assign(start_s=at * width_s, width_s=width_s, slice=at)
    made[values] = made[values].to_numpy(float) * share[:, None]
    made = made[share > _LEAST_SHARE]
    return made.reset_index(drop=True)


def _summed(frames: Sequence[pd.DataFrame], by: list[str], values: list[str]) -> pd.DataFrame:
    """Rows of the same slice and the same key as one."""
    whole = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    summed: pd.DataFrame = whole.groupby(["slice", "start_s", "width_s", *by], as_index=False)[values].sum()
    found: pd.DataFrame = summed.drop(columns="slice")
    return found


def _most_active(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The pairs of job and operation that took most time in all traces together; counts know of none."""
    frames = [frame for frame in frames if len(frame)] or frames[:1]
    if frames[0].empty:
        return frames[0]
    pairs = pd.concat([frame.drop_duplicates(["job", "op"])[["job", "op", "time_s"]] for frame in frames])
    took: pd.DataFrame = pairs.groupby(["job", "op"], as_index=False)[["time_s"]].sum()
    most = took.nlargest(_PAIRS, "time_s")
    return _summed(frames, ["job", "op"], ["calls"]).merge(most, on=["job", "op"])

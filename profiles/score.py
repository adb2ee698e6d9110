"""How well a fitted profile stands for its recording: both as traces, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotrace.profiles.sessions import BUCKET, Sessions, bucket_of

if TYPE_CHECKING:
    import pandas as pd

_PARTS: Final = 20
"""Parts of the time in which threads are counted."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: of the recording, of the profile, how far they are apart, and how far they may be."""

    name: str
    recorded: float
    fitted: float
    apart: float
    bound: float

    @property
    def within(self) -> bool:
        """Whether it is near enough."""
        return self.apart <= self.bound


def score(recorded: Sessions, fitted: Sessions) -> list[Measure]:
    """Measures of two traces on the files that count; `apart` is a share of the recorded value, or a distance."""
    pairs = []
    for name, bound in (("calls", 0.2), ("read", 0.1), ("written", 0.1)):
        before, now = (float(one.rows[name].sum()) for one in (recorded, fitted))
        pairs.append(_ratio("calls" if name == "calls" else f"bytes {name}", before, now, bound))
    opens = [_opens_per_file(one.rows) for one in (recorded, fitted)]
    pairs.append(_ratio("opens a file", opens[0], opens[1], 0.15))
    sizes = [_sizes(one.rows) for one in (recorded, fitted)]
    pairs.append(Measure("sizes of data calls", np.median(sizes[0]), np.median(sizes[1]), _distance(*sizes), 0.35))
    places = [one.offsets for one in (recorded, fitted)]
    middles = [float(BUCKET ** _middle(one)) for one in places]
    pairs.append(Measure("offsets of data calls", middles[0], middles[1], _apart(*places), 0.35))
    mixes = [_mix(one.rows) for one in (recorded, fitted)]
    kinds = set(mixes[0]) | set(mixes[1])
    apart = sum(abs(mixes[0].get(kind, 0.0) - mixes[1].get(kind, 0.0)) for kind in kinds) / 2
    stat = [mix.get("stat", 0.0) for mix in mixes]
    pairs.append(Measure("mix of what is done (share of stat)", stat[0], stat[1], apart, 0.1))
    pairs.append(_ratio("threads at a time", _threads(recorded), _threads(fitted), 0.5))
    # a job of less than 10 ms has no time to compare: calls of a synthesised trace have nominal durations
    pairs.append(_ratio("seconds", recorded.makespan_ns / 1e9, fitted.makespan_ns / 1e9, 0.25, 0.01))
    return pairs


def _ratio(name: str, recorded: float, fitted: float, bound: float, least: float = 0.0) -> Measure:
    """`least`: what smaller recorded values count as."""
    whole = max(recorded, least)
    apart = abs(fitted - recorded) / whole if whole else float(fitted != 0)
    return Measure(name, recorded, fitted, apart, bound)


def _opens_per_file(rows: pd.DataFrame) -> float:
    opened = rows[~rows["do"].isin(["stat", "unlink", "mkdir", "symlink"])]
    return len(opened) / max(1, opened["file"].nunique())


def _sizes(rows: pd.DataFrame) -> Any:
    """Mean size of the data calls of each session, once for each call."""
    data = rows[(rows["pieces"] > 0) & (rows["how"] != "mmap") & (rows["read"] + rows["written"] > 0)]
    if data.empty:
        return np.zeros(1)
    # a copy reads and writes the same bytes
    mean = data[["read", "written"]].max(axis=1).where(data["do"] == "copy", data["read"] + data["written"])
    mean = mean / data["pieces"]
    return np.repeat(mean.to_numpy("float64"), data["pieces"].to_numpy("int64"))


def _distance(one: Any, other: Any) -> float:
    """Largest difference of the shares below any size, sizes of one bucket counted as equal."""
    return _apart(*(dict(zip(*_counted(values), strict=True)) for values in (one, other)))


def _counted(values: Any) -> tuple[list[int], list[int]]:
    buckets, counts = np.unique(bucket_of(values), return_counts=True)
    return buckets.tolist(), counts.tolist()


def _apart(one: dict[int, int], other: dict[int, int]) -> float:
    """Largest difference of the shares below any bucket: 0 alike, 1 nothing in common."""
    grid = sorted(set(one) | set(other))
    if not one or not other:
        return float(bool(grid))
    shares = [np.cumsum([counts.get(bucket, 0) for bucket in grid]) / sum(counts.values()) for counts in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _middle(counts: dict[int, int]) -> int:
    """The bucket of the median; the first one's where nothing is counted."""
    buckets = sorted(counts)
    if not buckets:
        return 0
    below = np.cumsum([counts[bucket] for bucket in buckets])
    return int(buckets[int(np.searchsorted(below, below[-1] / 2))])


def _mix(rows: pd.DataFrame) -> dict[str, float]:
    shares = rows["do"].value_counts(normalize=True)
    return {str(do): float(share) for do, share in zip(shares.index.tolist(), shares.tolist(), strict=True)}


def _threads(found: Sessions) -> float:
    """Mean number of threads that were at work in a part of the time, over all parts where any was.

    Not from each thread's first call to its last: a thread that waits for those that it has forked is not at work.
    """
    import pandas as pd

    rows = found.rows
    begin, width = float(rows["begin"].min()), max(1.0, float(rows["end"].max() - rows["begin"].min())) / _PARTS
    first, last = (((rows[edge] - begin) // width).clip(0, _PARTS - 1).astype("int64") for edge in ("begin", "end"))
    at_work = pd.DataFrame({"thread": rows["thread"], "first": first, "last": last}).drop_duplicates()
    parts = np.arange(_PARTS)
    there = (at_work["first"].to_numpy()[:, None] <= parts) & (parts <= at_work["last"].to_numpy()[:, None])
    count = pd.DataFrame(there).groupby(at_work["thread"].to_numpy()).any().sum().to_numpy()
    return float(count[count > 0].mean())

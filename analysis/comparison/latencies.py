"""Latencies of one class, operation or step in one run: counts in the shared buckets, or percentiles as quoted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from iotrace import histogram

_MIDDLES = histogram.middles()


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long calls took.

    Attributes
    ----------
    calls: number of them.
    bucket, count: numbers (ascending) and counts of buckets of ns (iotrace.histogram), shape (buckets used,), int64;
    None where another tool gives only percentiles.
    quoted: those percentiles, by share: ns.
    """

    calls: int
    bucket: npt.NDArray[np.int64] | None = None
    count: npt.NDArray[np.int64] | None = None
    quoted: dict[float, float] = field(default_factory=dict)

    def quantile(self, q: float) -> float:
        """Latency in ns below which a share q of the calls lies (nearest rank); NaN where it is not known."""
        if self.bucket is None or self.count is None:
            return self.quoted.get(q, math.nan)
        if not self.calls:
            return math.nan
        rank = max(1, math.ceil(q * self.calls))
        return float(_MIDDLES[self.bucket[int(np.searchsorted(np.cumsum(self.count), rank))]])

    def dense(self) -> histogram.Counts | None:
        """Counts of all buckets, shape (histogram.BUCKETS,), int64; None where they are not known."""
        return (
            None if self.bucket is None or self.count is None else histogram.dense(self.bucket, self.count)
        )  # fmt: skip


def counted(bucket: npt.ArrayLike, count: npt.ArrayLike) -> Latencies:
    """Latencies from bucket numbers, which may repeat, and their counts."""
    numbers, place = np.unique(np.asarray(bucket, dtype=np.int64), return_inverse=True)
    counts = np.bincount(place, weights=np.asarray(count, dtype=np.float64), minlength=len(numbers)).astype(np.int64)
    return Latencies(int(counts.sum()), numbers, counts)


def merged(parts: Sequence[Latencies]) -> Latencies | None:
    """Latencies of several at once; None where one has only percentiles, which do not merge."""
    if len(parts) == 1:
        return parts[0]
    found = [(part.bucket, part.count) for part in parts]
    if not found or any(bucket is None or count is None for bucket, count in found):
        return None
    return counted(
        np.concatenate([bucket for bucket, _ in found if bucket is not None]),
        np.concatenate([count for _, count in found if count is not None]),
    )

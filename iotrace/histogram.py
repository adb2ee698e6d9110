"""Log-linear histograms: the one definition of the buckets that recorder, replay and analysis share.

Values below 64 have a bucket each; above, every power of two is cut into 64 equal buckets, as in HdrHistogram (G.
Tene). A bucket is at most 1/64 of its value wide, so its middle is within 0.8 % of every value in it. Counts of equal
definition add up: histograms merge over parts, threads, nodes and runs, which percentiles do not.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

SUB_BITS: Final = 6
SUB: Final = 1 << SUB_BITS
BUCKETS: Final = (62 - SUB_BITS) * SUB + 2 * SUB
"""Enough for every value below 2**63."""

Counts = npt.NDArray[np.int64]


def bucket_of(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Bucket number of each value (shape kept, int64); negative values count as 0.

    For v ≥ 64 with highest bit e the bucket is (e-6)·64 + (v >> (e-6)).
    """
    v = np.maximum(np.asarray(values, dtype=np.int64), 0)
    _, exponent = np.frexp(v.astype(np.float64))
    # float64 may round a large value up to the next power of two; the bucket then only moves by its own formula's tie
    shift = np.maximum(exponent.astype(np.int64) - 1 - SUB_BITS, 0)
    return np.asarray(shift * SUB + (v >> shift), dtype=np.int64)


def bucket_sql(column: str) -> str:
    """The same bucket as a DuckDB expression over a bigint column."""
    shift = f"greatest(cast(floor(log2(greatest({column}, 1))) as bigint) - {SUB_BITS}, 0)"
    return f"({shift} * {SUB} + (greatest({column}, 0) >> {shift}))"


def lower_bounds() -> npt.NDArray[np.int64]:
    """Smallest value of each bucket, shape (BUCKETS,), int64."""
    bucket = np.arange(BUCKETS, dtype=np.int64)
    shift = np.maximum(bucket // SUB - 1, 0)
    return np.asarray((bucket - shift * SUB) << shift, dtype=np.int64)


def middles() -> npt.NDArray[np.float64]:
    """Middle of each bucket, shape (BUCKETS,), float64; exact below 128."""
    lower = lower_bounds()
    shift = np.maximum(np.arange(BUCKETS, dtype=np.int64) // SUB - 1, 0)
    width = np.int64(1) << shift
    return np.asarray(lower + (width - 1) / 2.0, dtype=np.float64)


_MIDDLES: Final = middles()


def add(counts: Counts, values: npt.ArrayLike) -> None:
    """Count values into `counts` (shape (BUCKETS,)) in place."""
    counts += np.bincount(bucket_of(values).ravel(), minlength=BUCKETS)


def quantile(counts: npt.NDArray[Any], q: float) -> float:
    """The value below which a share q of the counts lies (nearest rank), within 0.8 %; NaN for an empty histogram."""
    cumulative = np.cumsum(counts)
    total = int(cumulative[-1])
    if total == 0:
        return float("nan")
    rank = max(1, int(np.ceil(q * total)))
    return float(_MIDDLES[int(np.searchsorted(cumulative, rank))])


def sparse(counts: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers and counts of the buckets that are not empty."""
    bucket = np.nonzero(counts)[0].astype(np.int64)
    return bucket, np.asarray(counts)[bucket].astype(np.int64)


def dense(bucket: npt.ArrayLike, count: npt.ArrayLike) -> Counts:
    """Histogram of shape (BUCKETS,) from bucket numbers and counts."""
    return np.bincount(
        np.asarray(bucket, dtype=np.int64), weights=np.asarray(count, dtype=np.float64), minlength=BUCKETS
    ).astype(np.int64)

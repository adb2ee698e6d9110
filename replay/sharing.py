"""Memory that the processes of a replay share: made before they are forked, gone when the last of them ends."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from iotrace.replay.filed import zeros_to_share


def shared(shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.int64) -> Any:
    """Zeros that begin at a page, in memory (or files: iotrace.replay.filed) that forked processes go on sharing."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    filed = zeros_to_share(count, dtype)
    if filed is not None:
        return filed.reshape(shape)
    memory = mmap.mmap(-1, max(1, count * dtype.itemsize))
    return np.frombuffer(memory, dtype, count).reshape(shape)

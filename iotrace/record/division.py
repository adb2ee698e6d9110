"""Events of many jobs in one matrix, divided among the jobs, and which names and files they speak of.

Both are asked of each chunk of a recording at its full rate: owners are sorted by radix, and of a column only the
values that differ from the one before.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from iotrace.record.ebpf.kernels import layout as d
from iotrace.trace.schema import NULL

Key = TypeVar("Key", bound=Hashable)
Ints = npt.NDArray[np.int64]
_PROCESS: Final = d.COLUMN["process"]


def divide(events: Ints, owner_of: Mapping[int, Key]) -> Iterator[tuple[Key | None, Ints]]:
    """The events of each owner, in their order; of None those of processes that nobody owns.

    Parameters
    ----------
    events: shape (event columns, n); given back as it is where all are one owner's, else copied.
    owner_of: owner of each process, by its number.
    """
    process = events[_PROCESS]
    processes = _distinct(process)
    owners = [owner_of.get(int(number)) for number in processes]
    keys = list(dict.fromkeys(owners))
    if len(keys) == 1:
        yield keys[0], events
        return
    place = {key: number for number, key in enumerate(keys)}
    owner = np.array([place[key] for key in owners], np.uint16)[np.searchsorted(processes, process)]
    events = np.take(events, np.argsort(owner, kind="stable"), axis=1)
    ends = np.cumsum(np.bincount(owner, minlength=len(keys))).tolist()
    for key, begin, end in zip(keys, [0, *ends], ends, strict=False):
        yield key, events[:, begin:end]


def numbers_in(events: Ints, columns: Sequence[int]) -> set[int]:
    """The numbers that stand in some columns of events, NULL apart."""
    return {number for column in columns for number in _distinct(events[column]).tolist() if number != NULL}


def _distinct(values: Ints) -> Ints:
    """Sorted distinct values of a column, in which the same one often stands several times in a row."""
    return np.unique(values[np.flatnonzero(np.diff(values, append=values[-1:] ^ 1))])

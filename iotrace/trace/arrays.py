"""Batches of a trace's events as NumPy columns, for kernels: read ahead by one batch in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from iotrace.trace.reader import Trace
from iotrace.trace.schema import NULL, NULL_32, SCHEMAS

Array = npt.NDArray[Any]


class EventArrays:
    """A trace's events, and the numbers that its operations have in what it gives.

    Attributes
    ----------
    ops: names of operations by number, in the order of their first appearance; grows from batch to batch.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.ops: list[str] = []
        self._number: dict[str, int] = {}

    def batches(self, names: Sequence[str]) -> Iterator[tuple[Array, ...]]:
        """Columns of the events in the order of completion, (n,) each: int64 with NULL or int32 with NULL_32 for null,
        `op` as its number (int32).

        Raises
        ------
        TraceError: a part of the trace is damaged.
        """
        source = self._trace.batches("events", names)

        def columns() -> tuple[Array, ...] | None:
            batch = next(source, None)
            return None if batch is None else tuple(self._column(batch.column(name), name) for name in names)

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(columns)
            while (batch := ahead.result()) is not None:
                ahead = pool.submit(columns)
                yield batch

    def _column(self, column: Any, name: str) -> Array:
        if name == "op":
            numbers = np.array([self._op(text) for text in column.dictionary.to_pylist()], np.int32)
            return np.asarray(numbers[column.indices.to_numpy(zero_copy_only=False)], np.int32)
        kind = SCHEMAS["events"].field(name).type
        if column.type != kind:
            column = column.cast(kind)
        if column.null_count:
            column = pc.fill_null(column, NULL if kind == pa.int64() else NULL_32)
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def _op(self, name: str) -> int:
        number = self._number.get(name)
        if number is None:
            number = self._number[name] = len(self.ops)
            self.ops.append(name)
        return number

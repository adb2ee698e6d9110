"""Columns of numbers as a record batch of events: a recorder's few rows that wait in memory, and what profiles make.

Many rows at once go from the matrix into a row group (iotrace.trace.parquet) and are never a record batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.trace.operations import OPERATIONS
from iotrace.trace.schema import EVENT_COLUMNS, NULL, SCHEMAS

_OP_NAMES: Final = pa.array([operation.name for operation in OPERATIONS])


def event_batch(rows: npt.NDArray[np.int64], count: int) -> pa.RecordBatch:
    """The first `count` rows of a matrix as a record batch of the events' schema, which shares no memory with it.

    Parameters
    ----------
    rows: shape (event columns, capacity), int64, NULL where there is no value; `op` as a position in OPERATIONS.
    """
    names = (column.name for column in EVENT_COLUMNS)
    return batch_of_columns(dict(zip(names, rows[:, :count], strict=True)), count)


def batch_of_columns(columns: Mapping[str, npt.NDArray[np.int64]], count: int) -> pa.RecordBatch:
    """Columns of events by name as a record batch, which shares no memory with them; those that are left out are null.

    Parameters
    ----------
    columns: shape (count,), int64, NULL where there is no value; `op` as a position in OPERATIONS.
    """
    arrays: list[pa.Array] = []
    for column in EVENT_COLUMNS:
        if column.name not in columns:
            arrays.append(pa.nulls(count, column.type))
            continue
        values = columns[column.name]
        if column.name == "op":
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int16)), _OP_NAMES))
            continue
        missing = values == NULL
        if missing.all():
            arrays.append(pa.nulls(count, column.type))
            continue
        # a copy: the recorder fills the same memory again
        values = values.astype(np.int32 if column.type == pa.int32() else np.int64)
        arrays.append(pa.array(values, mask=missing if missing.any() else None))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["events"])

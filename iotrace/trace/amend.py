"""Adding rows to a finished trace: one more part, which is there whole or not at all.

For the small tables, in which a later row for the same thing holds. Events are never touched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from iotrace.errors import StorageError, TraceError
from iotrace.trace.reader import Trace, tail_batches
from iotrace.trace.schema import SCHEMAS
from iotrace.trace.writer import part_name

_STILL_WRITTEN_S: Final = 30.0
"""A recording flushes every few seconds; a tail that has been still for so long was left behind."""


def append_rows(trace: Trace, table: str, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as a table's next part; returns the part.

    Where a recording was cut off, the rows of its tail go before them into the same part, which takes the tail's place.

    Raises
    ------
    TraceError: the trace is still being recorded.
    StorageError: it cannot be written.
    """
    tails = trace.tails(table)
    newest = max((path.stat().st_mtime for path in trace.folder.glob("*/_tail-*")), default=0.0)
    if not trace.info.complete and time.time() - newest < _STILL_WRITTEN_S:
        raise TraceError(f"{trace.folder} is still being recorded: label it when the recording has ended.")
    schema = SCHEMAS[table]
    parts = trace.parts(table)
    number = int(parts[-1].stem.partition("-")[2]) + 1 if parts else 0
    batches: list[pa.RecordBatch] = []
    if tails:
        number = int(tails[-1].stem.partition("-")[2])
        batches = [batch.select(schema.names) for tail in tails for batch in tail_batches(tail)]
    batches.append(pa.RecordBatch.from_pylist(list(rows), schema))
    folder = trace.folder / table
    temporary, part = folder / f"_{part_name(number)}", folder / part_name(number)
    try:
        pq.write_table(pa.Table.from_batches(batches, schema), temporary, compression="zstd", compression_level=1)
        handle = os.open(temporary, os.O_RDONLY)
        try:
            os.fchmod(handle, 0o600)
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.rename(part)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {part}: {error.strerror or error}.") from None
    return part

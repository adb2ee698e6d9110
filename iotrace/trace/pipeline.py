"""A trace writer at work beside its caller: batches go through a short queue to a thread that encodes and writes them.

Arrow and zstd work without the GIL, so that the caller's kernels run on meanwhile. What waits is bounded: a caller that
is faster than the file system is held up.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final

import pyarrow as pa

from iotrace.trace.info import TraceInfo
from iotrace.trace.schema import SCHEMAS
from iotrace.trace.writer import TraceWriter

_WAITING: Final = 16


class BesideWriter:
    """Takes batches for a TraceWriter; a context manager, at whose end all of them have been handed over.

    Parameters
    ----------
    waiting: batches that may wait; the caller is held up by the next.

    Raises
    ------
    StorageError: from any method and at the end, what the writer raised.
    """

    def __init__(self, writer: TraceWriter, waiting: int = _WAITING) -> None:
        self._writer = writer
        self._queue: queue.Queue[tuple[str, pa.RecordBatch] | None] = queue.Queue(waiting)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="trace writer", daemon=True)

    @property
    def info(self) -> TraceInfo:
        """The trace's; `events` and `max_reorder_ns` are right at the end."""
        return self._writer.info

    def append(self, table: str, batch: pa.RecordBatch) -> None:
        """Add rows to a table; the batch must have the table's schema."""
        self._check()
        if batch.num_rows:
            self._queue.put((table, batch))

    def append_rows(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows given as dictionaries."""
        rows = list(rows)
        if rows:
            self.append(table, pa.RecordBatch.from_pylist(rows, SCHEMAS[table]))

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            # after a failure the rest is only taken away, so that nobody waits for room
            if self._error is None:
                try:
                    self._writer.append(*item)
                except BaseException as error:
                    self._error = error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def __enter__(self) -> BesideWriter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._check()

"""Where the recorder's rows go."""

from __future__ import annotations

from typing import Any, Protocol

from iotrace.record.ebpf.state import Ints
from iotrace.trace.info import TraceInfo


class Writer(Protocol):
    """Where rows go: what the recorder needs of a TraceWriter."""

    info: TraceInfo

    @property
    def wants_chapter(self) -> bool: ...

    def append(self, table: str, batch: Any) -> None: ...
    def append_rows(self, table: str, rows: Any) -> None: ...
    def append_matrix(self, rows: Ints, count: int) -> None: ...
    def prepare(self) -> None: ...
    def begin_chapter(self) -> None: ...
    def flush(self) -> None: ...

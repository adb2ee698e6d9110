"""Traces of recipes that are nowhere: made batch by batch whenever somebody reads them, with the face of an opened one.

The same seed makes the same events, so that who needs several passes makes them several times. Making costs more than
unpacking: what has room in a share of the memory is kept packed from the first pass on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import pyarrow as pa

from iotrace.memory import free_bytes
from iotrace.profiles.layout import Layout, file_batches, path_batches
from iotrace.profiles.scales import largest_scale
from iotrace.profiles.unshrunk import Jobs, unshrunk, unshrunk_text
from iotrace.trace.info import TraceInfo
from iotrace.trace.pipeline import BesideWriter
from iotrace.trace.reader import Trace
from iotrace.trace.schema import SCHEMAS
from iotrace.trace.writer import TraceWriter

KEPT_SHARE: Final = 1 / 8
"""Of the free memory, for packed events."""
_WAITING: Final = 1
"""Batches that wait to be written: each has half a million events."""
_NAMES: Final = {"paths": path_batches, "files": file_batches}


class Making(Protocol):
    """One making of a trace: a job or a workload.

    Attributes
    ----------
    layout: its names; end_ns: the end, once all events are made.
    """

    @property
    def layout(self) -> Layout: ...

    @property
    def end_ns(self) -> int: ...

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The events, once."""
        ...

    def processes(self) -> list[dict[str, Any]]:
        """Rows of the table processes, when all events are made."""
        ...


class MadeTrace(Trace):
    """A trace of a profile or a workload.

    Parameters
    ----------
    name: of the folder that it would lie in, for people; info: what trace.json would say.
    make: begins a making; each gives the same. count: how many events there are at a scale, by arithmetic.
    scale: of this one; steps: what each step does at a scale, for what does not shrink with it.
    """

    may_map_less = False

    def __init__(
        self, name: str, info: TraceInfo, make: Callable[[], Making], count: Callable[[float], int], scale: float,
        steps: Callable[[float], Jobs] = lambda scale: (),
    ) -> None:  # fmt: skip
        self.folder, self.info = Path(name), info
        self._make, self._count, self._scale, self._steps = make, count, scale, steps
        self._layout: Layout | None = None
        self._expected = -1
        self._processes: list[dict[str, Any]] | None = None
        self._kept: list[pa.Buffer] | None = None

    def parts(self, table: str) -> list[Path]:
        """None: it lies in no files."""
        return []

    def first_part(self) -> str:
        """None."""
        return ""

    def event_count(self) -> int:
        """All events; before the first pass about so many, by arithmetic."""
        if self._processes is not None:
            return self.info.events
        if self._expected < 0:
            self._expected = self._count(self._scale)
        return self._expected

    def not_shrunk(self) -> str:
        """A sentence on what --scale has not shrunk; none at full size, or where all has."""
        if self._scale >= 1:
            return ""
        return unshrunk_text(unshrunk(self._steps(1.0), self._steps(self._scale), self._scale), self._scale)

    def how_to_shorten(self, events: int) -> str:
        """The scale at which no more than so many events are made."""
        scale = largest_scale(self._count, self._scale, events)
        return "choose fewer users or particles (--set)" if scale is None else f"choose --scale {scale:g}"

    def batches(self, table: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of a table, made now or kept from the first pass."""
        names = list(columns) if columns is not None else SCHEMAS[table].names
        if table == "events":
            yield from self._events(names)
        elif table == "processes":
            if self._processes is None:
                for _ in self._events(["op"]):
                    pass
            yield pa.RecordBatch.from_pylist(self._processes, SCHEMAS[table]).select(names)
        elif table in _NAMES:
            self._layout = self._layout or self._make().layout
            yield from (batch.select(names) for batch in _NAMES[table](self._layout))

    def _events(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        if self._kept is not None:
            for packed in self._kept:
                yield from _unpacked(packed, names)
            return
        made, first = self._make(), self._processes is None
        packing: list[pa.Buffer] | None = [] if first else None
        room, events = int(free_bytes() * KEPT_SHARE), 0
        for batch in made.batches():
            events += batch.num_rows
            if packing is not None:
                packing.append(_packed(batch))
                room -= packing[-1].size
                packing = packing if room > 0 else None
            yield batch.select(names)
        # who stopped halfway has not come here
        if first:
            self.info.events, self.info.duration_ns, self.info.complete = events, made.end_ns, True
            self._processes, self._kept = made.processes(), packing

    def write(self, folder: str | Path, force: bool = False) -> TraceInfo:
        """Write it to a folder; gives its trace.json.

        Raises
        ------
        TraceError, StorageError: it cannot be written.
        UsageError: it would last too long.
        """
        # also refuses what lasts longer than times can tell
        self.event_count()
        made, info = self._make(), msgspec.structs.replace(self.info, events=0, complete=False)
        with TraceWriter(folder, info, force) as writer:
            for table, rows in _NAMES.items():
                for batch in rows(made.layout):
                    writer.append(table, batch)
            with BesideWriter(writer, _WAITING) as beside:
                for batch in made.batches():
                    beside.append("events", batch)
            writer.append_rows("processes", made.processes())
            info.duration_ns = made.end_ns
        return info


def _packed(batch: pa.RecordBatch) -> pa.Buffer:
    """A batch as a compressed Arrow stream of its own."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_batch(batch)
    # a copy that is no longer than its contents: the stream's own grows by doubling
    return pa.py_buffer(sink.getvalue().to_pybytes())


def _unpacked(packed: pa.Buffer, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Columns of a packed batch; the others are not unpacked."""
    places = [SCHEMAS["events"].get_field_index(name) for name in names]
    with pa.ipc.open_stream(packed, options=pa.ipc.IpcReadOptions(included_fields=places)) as stream:
        for batch in stream:
            yield batch.select(names)

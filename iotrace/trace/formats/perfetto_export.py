"""A trace as Perfetto's protobuf, for ui.perfetto.dev: tracks by job, process and thread, a slice for each call.

The messages are those of the package `perfetto` (extra `[perfetto]`); packets are appended to the file one by one, as
the format allows, so memory stays bounded. What was asked of io_uring or libaio overlaps, and slices of a track must
not: such calls go to tracks of their own beside their thread's, as many as were in flight.
"""

from __future__ import annotations

import heapq
from pathlib import Path
from typing import IO, Any, Final

from iotrace.errors import StorageError, UsageError
from iotrace.trace.operations import OPERATIONS, Kind
from iotrace.trace.reader import Trace

_ROWS: Final = 1 << 15
_SEQUENCE: Final = 1
_NEEDS_STATE, _CLEARED = 2, 1
"""Flags of a packet: it needs what was interned before; nothing was, so far."""
_JOB_TRACKS, _PROCESS_TRACKS, _THREAD_TRACKS, _LANE_TRACKS = 1 << 60, 2 << 60, 3 << 60, 4 << 60
_LANES: Final = 1 << 20
"""More than a thread can have in flight: a ring completes 65,536 at most, and a thread may have several."""
_NUMBERS: Final = ("offset", "size", "result")


def export_perfetto(trace: Trace, output: Path, force: bool = False) -> int:
    """Write the calls of a trace.

    Parameters
    ----------
    output: the file to write. force: replace it where it is there.

    Returns
    -------
    Slices: calls of which the duration is known or that are points in time.

    Raises
    ------
    UsageError: the file is there, or the package perfetto is not. StorageError: it cannot be written.
    TraceError: a part of the trace is damaged.
    """
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as messages
    except ImportError:
        raise UsageError(
            "export perfetto needs the package perfetto: pip install 'iotrace[perfetto]', or pip install perfetto."
        ) from None
    if output.exists() and not force:
        raise UsageError(f"{output} is there already: choose another name, or --force.")
    temporary = output.with_name(f"_{output.name}")
    try:
        with temporary.open("wb") as file:
            count = _Export(trace, file, messages).write()
        temporary.rename(output)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"{output}: cannot write it: {error.strerror}.") from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return count


class _Export:
    def __init__(self, trace: Trace, file: IO[bytes], messages: Any) -> None:
        self._trace, self._file, self._messages = trace, file, messages
        self._base = trace.info.base_monotonic_ns
        self._strings: dict[tuple[str, str], int] = {}
        self._threads: set[int] = set()
        self._lanes: dict[int, list[tuple[int, int]]] = {}
        """By thread, a heap: when each of its tracks for overlapping calls is free again, and its number."""
        self._slices = 0

    def write(self) -> int:
        """Tracks of jobs and processes, then a slice for each call."""
        self._processes = {row["process"]: row for row in self._trace.processes().to_dict("records")}
        first = self._packet()
        first.trusted_packet_sequence_id, first.sequence_flags = _SEQUENCE, _CLEARED
        first.first_packet_on_sequence = True
        self._flush(first)
        self._describe()
        connection = self._trace.connect()
        try:
            reader = connection.sql(
                "select e.time_ns, e.duration_ns, e.process, e.thread, e.op, p.text as path, o.text as other_path, "
                'e."offset", e.size, e.result, e.ring from events e left join paths p on e.path = p.path '
                "left join paths o on e.other_path = o.path order by e.time_ns"
            ).to_arrow_reader(_ROWS)
            for batch in reader:
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    self._call(*row)
        finally:
            connection.close()
        return self._slices

    def _packet(self) -> Any:
        return self._messages.TracePacket()

    def _flush(self, *packets: Any) -> None:
        self._file.write(self._messages.Trace(packet=packets).SerializeToString())

    def _describe(self) -> None:
        """Tracks of processes, and of each job one with a slice for the life of each of its processes."""
        jobs: dict[str, int] = {}
        end_of_trace = self._trace.info.duration_ns
        for number, row in self._processes.items():
            labels = [_text(row[name]) for name in ("project", "job", "step")]
            packet = self._packet()
            packet.track_descriptor.uuid = _PROCESS_TRACKS + number
            process = packet.track_descriptor.process
            process.pid = int(row["pid"])
            process.process_name = " ".join(filter(None, [_text(row["command"]), *labels])) or f"pid {row['pid']}"
            arguments = row["arguments"]
            process.cmdline.extend([str(word) for word in (arguments if arguments is not None else [])])
            self._flush(packet)
            job = "/".join(filter(None, labels[:2]))
            if not job:
                continue
            if job not in jobs:
                jobs[job] = _JOB_TRACKS + len(jobs)
                packet = self._packet()
                packet.track_descriptor.uuid, packet.track_descriptor.name = jobs[job], f"Job {job}"
                self._flush(packet)
            # lives of a job's processes overlap in any way: a child track each
            packet = self._packet()
            packet.track_descriptor.uuid = _JOB_TRACKS + (number + 1 << 20)
            packet.track_descriptor.parent_uuid = jobs[job]
            packet.track_descriptor.name = process.process_name
            self._flush(packet)
            end = row["end_ns"]
            end_ns = end_of_trace if end is None or end != end else int(end)
            self._slice(_JOB_TRACKS + (number + 1 << 20), int(row["start_ns"]), end_ns, labels[2] or job, "job", {})

    def _call(
        self, time_ns: int, duration_ns: int | None, process: int, thread: int, op: str, path: str | None,
        other_path: str | None, offset: int | None, size: int | None, result: int | None, ring: int | None,
    ) -> None:  # fmt: skip
        if thread not in self._threads:
            self._threads.add(thread)
            packet = self._packet()
            packet.track_descriptor.uuid = _THREAD_TRACKS + thread
            packet.track_descriptor.parent_uuid = _PROCESS_TRACKS + process
            pid = int(self._processes[process]["pid"]) if process in self._processes else process
            packet.track_descriptor.thread.pid = pid
            # a trace numbers threads by itself; Perfetto takes a thread with its process's number for the main one
            packet.track_descriptor.thread.tid = pid if self._is_first(process) else (1 << 22) + thread
            packet.track_descriptor.thread.thread_name = f"thread {thread}"
            self._flush(packet)
        track = _THREAD_TRACKS + thread
        if ring is not None and duration_ns:
            track = self._lane(thread, time_ns, time_ns + duration_ns)
        facts = {"path": path, "other_path": other_path, "offset": offset, "size": size, "result": result}
        self._slice(track, time_ns, time_ns + (duration_ns or 0), op, _KINDS.get(op, "unknown"), facts)
        self._slices += 1

    def _is_first(self, process: int) -> bool:
        seen = self.__dict__.setdefault("_begun", set())
        new = process not in seen
        seen.add(process)
        return new

    def _lane(self, thread: int, begin: int, end: int) -> int:
        lanes = self._lanes.setdefault(thread, [])
        if lanes and lanes[0][0] <= begin:
            lane = lanes[0][1]
            heapq.heapreplace(lanes, (end, lane))
        else:
            lane = len(lanes)
            heapq.heappush(lanes, (end, lane))
            packet = self._packet()
            packet.track_descriptor.uuid = _LANE_TRACKS + thread * _LANES + lane
            packet.track_descriptor.parent_uuid = _THREAD_TRACKS + thread
            packet.track_descriptor.name = f"in flight {lane + 1}"
            self._flush(packet)
        return _LANE_TRACKS + thread * _LANES + lane

    def _slice(self, track: int, begin: int, end: int, name: str, category: str, facts: dict[str, Any]) -> None:
        packet = self._packet()
        packet.timestamp = max(0, self._base + begin)
        packet.trusted_packet_sequence_id, packet.sequence_flags = _SEQUENCE, _NEEDS_STATE
        event = packet.track_event
        event.type = event.TYPE_SLICE_BEGIN
        event.track_uuid = track
        event.name_iid = self._interned(packet, "event_names", name)
        event.category_iids.append(self._interned(packet, "event_categories", category))
        for key, value in facts.items():
            if value is None:
                continue
            note = event.debug_annotations.add()
            note.name_iid = self._interned(packet, "debug_annotation_names", key)
            if key in _NUMBERS:
                note.int_value = value
            else:
                note.string_value_iid = self._interned(packet, "debug_annotation_string_values", value)
        last = self._packet()
        last.timestamp = max(0, self._base + end)
        last.trusted_packet_sequence_id, last.sequence_flags = _SEQUENCE, _NEEDS_STATE
        last.track_event.type, last.track_event.track_uuid = event.TYPE_SLICE_END, track
        self._flush(packet, last)

    def _interned(self, packet: Any, table: str, text: str) -> int:
        """Number of a text, told in the packet that first uses it."""
        known = self._strings.get((table, text))
        if known is None:
            known = self._strings[table, text] = len(self._strings) + 1
            entry = getattr(packet.interned_data, table).add()
            entry.iid = known
            if table == "debug_annotation_string_values":
                entry.str = text.encode("utf-8", "replace")
            else:
                entry.name = text
        return known


_KINDS: Final = {operation.name: str(operation.kind) for operation in OPERATIONS} | {"exec": str(Kind.PROCESS)}


def _text(value: Any) -> str:
    """A label, empty where there is none (pandas gives None or NaN)."""
    return value if isinstance(value, str) else ""

"""The recorder that counts: histograms by process, operation and mount, filled in the kernel (tally.bpf.h).

The kernel's counts only grow; at the end of each interval what has been added since the last look becomes rows of the
table `histograms`. Entries of processes that have ended are taken out of the kernel's map after that look, so that the
map's size is fixed for weeks. Operations of io_uring and libaio, whose two ends meet in the drain, and forks and execs
come as rows through the ring and are counted here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.histogram import bucket_of
from iotrace.record.ebpf import program as p
from iotrace.record.ebpf.backend import EbpfBackend
from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.state import Ints
from iotrace.record.ebpf.tables import Snapshot, device_number
from iotrace.record.ebpf.writing import Writer
from iotrace.record.scope import Scope
from iotrace.trace.operations import OPERATIONS, Kind
from iotrace.trace.schema import MEASURES, NULL, OP_TYPE, SCHEMAS

INTERVAL_S: Final = 60.0
_KEY: Final = np.dtype([("process", "<u4"), ("device", "<u4"), ("op", "u1"), ("what", "u1"), ("bucket", "<u2")])
_VALUE: Final = np.dtype([("count", "<i8"), ("sum", "<i8")])
_MOVES: Final = np.array([o.kind in (Kind.READ, Kind.WRITE, Kind.COPY) and o.result == "bytes" for o in OPERATIONS])
_COPIES: Final = np.array([o.kind is Kind.COPY for o in OPERATIONS])
LATENCY, SIZE, ERROR, UNTIMED, WRITTEN, _ = range(len(MEASURES))
_NOBODY: Final = np.iinfo(np.uint32).max


class Counts:
    """Counts by key, sorted: columns `process`, `device`, `op`, `what`, `bucket` and values `count`, `sum`."""

    def __init__(self, keys: npt.NDArray[np.void], values: npt.NDArray[np.void]) -> None:
        self.keys, self.values = keys, values

    @staticmethod
    def none() -> Counts:
        return Counts(np.empty(0, _KEY), np.empty(0, _VALUE))

    @staticmethod
    def sums(keys: npt.NDArray[np.void], values: npt.NDArray[np.void]) -> Counts:
        """Values of equal keys added up; keys whose sums are all 0 are left out."""
        if not len(keys):
            return Counts.none()
        high = keys["process"].astype(np.uint64) << np.uint64(32) | keys["device"]
        low = (keys["op"].astype(np.uint64) << np.uint64(8) | keys["what"]) << np.uint64(16) | keys["bucket"]
        order = np.lexsort((low, high))
        high, low = high[order], low[order]
        first = np.nonzero(np.r_[True, (high[1:] != high[:-1]) | (low[1:] != low[:-1])])[0]
        found = np.empty(len(first), _VALUE)
        for name in ("count", "sum"):
            found[name] = np.add.reduceat(values[name][order], first)
        used = (found["count"] != 0) | (found["sum"] != 0)
        return Counts(keys[order][first][used], found[used])

    def minus(self, other: Counts) -> Counts:
        """What has been added since `other`."""
        before = np.empty(len(other.values), _VALUE)
        before["count"], before["sum"] = -other.values["count"], -other.values["sum"]
        return Counts.sums(np.concatenate([self.keys, other.keys]), np.concatenate([self.values, before]))

    def plus(self, other: Counts) -> Counts:
        return Counts.sums(np.concatenate([self.keys, other.keys]), np.concatenate([self.values, other.values]))


class Interval(Protocol):
    """Who takes the counts of an interval."""

    def __call__(self, counts: Counts, start_ns: int, length_ns: int) -> None:
        """`counts` has the trace's process numbers, and positions in its mounts (or -1) as `device`."""


class TallyBackend(EbpfBackend):
    """Counts with BPF tracepoints.

    Parameters
    ----------
    writer, scope, program: as of EbpfBackend; the program was loaded for tallies.
    interval_s: how long an interval is.
    take: gets each interval's counts; None: they are written as rows of histograms.
    """

    name = "ebpf"

    def __init__(
        self,
        writer: Writer,
        scope: Scope | None = None,
        program: Future[p.Program] | p.Program | None = None,
        interval_s: float = INTERVAL_S,
        take: Interval | None = None,
    ) -> None:
        if program is None:
            program = p.Program(p.wanted_of(scope or Scope(), tallies=True))
        super().__init__(writer, scope, program)
        self._interval_s = interval_s
        self._flush_s = min(self._flush_s, interval_s)
        self._take_interval = take or self._append
        self._before, self._own = Counts.none(), Counts.none()
        self._began_ns = 0
        self._mount_of = {m.device: number for number, m in reversed(list(enumerate(writer.info.mounts)))}

    def _extra(self) -> Callable[[], None] | None:
        infos = self._state.table(d.THREAD_INFO)[: self._state.count(d.THREAD_ROWS)]
        live = np.unique(infos[infos[:, d.T_ENDED] == 0, d.T_PROCESS])
        files = self._state.table(d.FILE_INFO)[: self._state.count(d.FILES) - self._state.first(d.FILE_INFO)]
        devices, first = files[:, d.F_DEVICE].copy(), self._state.first(d.FILE_INFO)
        return lambda: self._set_context(live, devices, first)

    def _set_context(self, live: Ints, devices: Ints, first_file: int) -> None:
        self._live, self._devices, self._first_file = live, devices, first_file

    def _take(self, rows: Ints, count: int, snapshot: Snapshot, last: bool) -> None:
        if count:
            self._own = self._own.plus(self._counted(rows[:, :count]))
            rows[:, :count] = NULL
        now = self._now()
        if last or now - self._began_ns >= self._interval_s * 0.9e9:
            self._end_interval(now)

    def _counted(self, rows: Ints) -> Counts:
        """Rows of the drain as counts; `process` is the trace's number already, `device` the kernel's."""
        column = d.COLUMN
        op, result = rows[column["op"]], rows[column["result"]]
        device, from_file = self._devices_of(rows[column["file"]])
        target, to_file = self._devices_of(rows[column["other_file"]])
        moved = np.maximum(result, 0)
        duration, size = rows[column["duration_ns"]], rows[column["size"]]
        timed, moves = duration != NULL, _MOVES[op]
        parts = []
        none = np.zeros_like(op)
        for what, chosen, bucket, total, where in (
            (LATENCY, timed, bucket_of(duration), duration, device),
            (UNTIMED, ~timed, none, none, device),
            (SIZE, moves, bucket_of(size), np.where(_COPIES[op] & ~from_file, 0, moved), device),
            (ERROR, (result < 0) & (result != NULL), none, none, device),
            (WRITTEN, _COPIES[op] & to_file, none, moved, target),
        ):
            keys, values = np.zeros(int(chosen.sum()), _KEY), np.ones(int(chosen.sum()), _VALUE)
            keys["process"], keys["device"] = rows[column["process"]][chosen], where[chosen]
            keys["op"], keys["what"], keys["bucket"] = op[chosen], what, bucket[chosen]
            values["sum"] = total[chosen]
            parts.append((keys, values))
        return Counts.sums(np.concatenate([k for k, _ in parts]), np.concatenate([v for _, v in parts]))

    def _devices_of(self, file: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Device of each file, 0 where there is none or it is not known, and whether there is one."""
        place = file - self._first_file
        known = (file != NULL) & (place >= 0) & (place < len(self._devices))
        device = np.where(known, self._devices[np.where(known, place, 0)] if len(self._devices) else 0, 0)
        return device, file != NULL

    def _end_interval(self, now: int) -> None:
        raw_keys, raw_values = self._program.bpf.lookup_all("tallies", _KEY.itemsize, _VALUE.itemsize)
        found = Counts.sums(np.frombuffer(raw_keys, _KEY), np.frombuffer(raw_values, _VALUE))
        new = found.minus(self._before)
        keys = new.keys.copy()
        process_of = self._tables.process_of_tally
        keys["process"] = [process_of.get(number, _NOBODY) for number in keys["process"].tolist()]
        counts = Counts(keys, new.values).plus(self._own)
        known = counts.keys["process"] != _NOBODY
        self._own = Counts.none()
        ended = self._remove_ended(found)
        self._before = Counts(found.keys[~ended], found.values[~ended])
        self._take_interval(Counts(counts.keys[known], counts.values[known]), self._began_ns, now - self._began_ns)
        self._began_ns = now

    def _remove_ended(self, found: Counts) -> npt.NDArray[np.bool_]:
        """Take the entries of processes that have ended out of the kernel's map; which of `found` they are."""
        process_of, live = self._tables.process_of_tally, set(self._live.tolist())
        gone = [number for number, process in process_of.items() if process not in live]
        ended = np.isin(found.keys["process"], gone)
        for key in found.keys[ended]:
            self._program.bpf.delete("tallies", key.tobytes())
        for number in gone:
            del process_of[number]
        return ended

    def _before_chapter(self) -> None:
        # what was counted belongs to processes that the next chapter may not know
        self._end_interval(self._now())

    def _now(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC) - self.writer.info.base_monotonic_ns

    def mount_of(self, kernel_device: int) -> int:
        """Position in the trace's mounts; -1 when the device is none of them."""
        return self._mount_of.get(device_number(kernel_device), -1)

    def _append(self, counts: Counts, start_ns: int, length_ns: int) -> None:
        keys, values = counts.keys, counts.values
        if not len(keys):
            return
        devices, place = np.unique(keys["device"], return_inverse=True)
        mounts = np.array([self.mount_of(device) for device in devices.tolist()], np.int32)[place]
        columns = {
            "time_ns": pa.array(np.full(len(keys), start_ns, np.int64)),
            "interval_ns": pa.array(np.full(len(keys), length_ns, np.int64)),
            "process": pa.array(keys["process"].astype(np.int32)),
            "op": pa.DictionaryArray.from_arrays(
                pa.array(keys["op"].astype(np.int16)), pa.array([operation.name for operation in OPERATIONS])
            ).cast(OP_TYPE),
            "mount": pa.array(mounts, mask=mounts < 0),
            "measure": pa.array(np.array(MEASURES, dtype=object)[keys["what"]], pa.string()),
            "bucket": pa.array(keys["bucket"].astype(np.int32)),
            "count": pa.array(np.ascontiguousarray(values["count"])),
            "sum": pa.array(np.ascontiguousarray(values["sum"])),
            "file": pa.nulls(len(keys), pa.int32()),
        }
        schema = SCHEMAS["histograms"]
        self.writer.append("histograms", pa.RecordBatch.from_arrays([columns[n] for n in schema.names], schema=schema))

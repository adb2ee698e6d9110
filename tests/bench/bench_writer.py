"""Events per second that one core brings from a recorder's matrix into closed Parquet parts, and bytes an event.

Three programs are recorded: a sequential reader, find, and random reads over 300 files. Their events, repeated with
times that go on, are the matrices; durations and CPU times are the real ones. Each figure is the median of the repeats
with the smallest and the largest, on one core. Beside the whole way stand its stages, and pyarrow's own writer with
the encodings that suit most columns (as the trace was written before). `python tests/bench/bench_writer.py --help`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from iotrace.trace.encodings import reorder
from iotrace.trace.info import TraceInfo
from iotrace.trace.matrix import event_batch
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.parquet import EventEncoder
from iotrace.trace.reader import open_trace
from iotrace.trace.schema import EVENT_COLUMNS, NULL, SCHEMAS
from iotrace.trace.writer import TraceWriter

Ints = npt.NDArray[np.int64]

CHUNK = (1 << 17) + 72
"""Rows that the eBPF backend hands over at once."""
TARGET_BYTES = {"sequential": 2.6, "find": 4.4, "random": 9.3}
TARGET_RATE = 5.0
RANDOM = """
import os, random
random.seed(1)
files = [os.open(f"files/{{i}}", os.O_RDONLY) for i in range(300)]
for _ in range({reads}):
    os.pread(random.choice(files), 4096, random.randrange(4096) * 4096)
"""


def record(folder: Path, reads: int) -> dict[str, Path]:
    """Traces of the three programs."""
    (folder / "files").mkdir()
    for number in range(300):
        with (folder / "files" / str(number)).open("wb") as file:
            file.truncate(16 << 20)
    with (folder / "big").open("wb") as file:
        file.truncate(reads * 4096)
    programs = {
        "sequential": ["dd", "if=big", "of=/dev/null", "bs=4k"],
        "find": ["find", "/usr", sys.prefix],
        "random": [sys.executable, "-S", "-c", RANDOM.format(reads=reads)],
    }
    traces = {}
    for name, command in programs.items():
        traces[name] = folder / f"{name}.iotrace"
        for before in ([], [str(Path(sys.executable).parent / "iotrace"), "record", "-o", str(traces[name]), "--"]):
            subprocess.run(
                [*before, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
    return traces


def matrix_of(trace: Path) -> Ints:
    """A trace's events as a recorder's matrix."""
    table = open_trace(trace).table("events")
    made = np.full((len(EVENT_COLUMNS), table.num_rows), NULL, np.int64)
    for number, column in enumerate(EVENT_COLUMNS):
        values = table.column(column.name)
        if column.name == "op":
            made[number] = [NUMBER_OF[name] for name in values.to_pylist()]
        else:
            made[number] = pc.fill_null(pc.cast(values, pa.int64()), NULL).to_numpy()
    return made


def chunks_of(trace: Path, rows: int) -> list[Ints]:
    """The trace's events, again and again, as so many rows in matrices of CHUNK rows."""
    once = matrix_of(trace)
    repeats = -(-rows // once.shape[1])
    whole = np.tile(once, (1, repeats))
    whole[0] += np.repeat(np.arange(repeats) * (int(once[0].max()) + 1000), once.shape[1])
    return [np.ascontiguousarray(whole[:, at : at + CHUNK]) for at in range(0, rows, CHUNK)]


def through_writer(folder: Path, chunks: list[Ints]) -> None:
    """The whole way: what is measured."""
    with TraceWriter(folder, TraceInfo(), force=True) as writer:
        for chunk in chunks:
            writer.append_matrix(chunk, chunk.shape[1])


def encode_only(chunks: list[Ints]) -> None:
    """Row groups that nobody writes."""
    encoder = EventEncoder()
    for chunk in chunks:
        encoder.matrix(chunk, chunk.shape[1])


def reorder_only(chunks: list[Ints]) -> None:
    """The bound on the order of times."""
    newest = 0
    for chunk in chunks:
        _, newest = reorder(chunk[0], chunk.shape[1], newest)


def batches_only(chunks: list[Ints]) -> None:
    """Record batches of matrices: what few rows go through."""
    for chunk in chunks:
        event_batch(chunk, chunk.shape[1])


def tail_only(chunks: list[Ints], path: Path) -> None:
    """Record batches into a tail: likewise."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with path.open("wb", buffering=0) as file, pa.ipc.new_stream(file, SCHEMAS["events"], options=options) as stream:
        for chunk in chunks:
            stream.write_batch(event_batch(chunk, chunk.shape[1]))


def through_pyarrow(chunks: list[Ints], path: Path) -> None:
    """The peer: record batches, then pyarrow's writer."""
    encodings = dict.fromkeys(("time_ns", "offset", "other_offset"), "DELTA_BINARY_PACKED")
    encodings |= dict.fromkeys(("duration_ns", "off_cpu_ns"), "BYTE_STREAM_SPLIT")
    pq.write_table(
        pa.Table.from_batches([event_batch(chunk, chunk.shape[1]) for chunk in chunks]),
        path,
        compression="zstd",
        compression_level=1,
        column_encoding=encodings,
        use_dictionary=[name for name in SCHEMAS["events"].names if name not in encodings],
    )


def timed(work: Callable[[], object], rows: int, repeats: int, prepare: Callable[[], object]) -> str:
    """Median rate, with the smallest and the largest."""
    rates = []
    for _ in range(repeats):
        prepare()
        began = time.perf_counter()
        work()
        rates.append(rows / (time.perf_counter() - began) / 1e6)
    return f"{median(rates):6.2f} M/s ({min(rates):.2f} to {max(rates):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--reads", type=int, default=300_000, help="of the recorded programs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-writer-") as name:
        folder = Path(name)
        traces = record(folder, arguments.reads)
        os.sched_setaffinity(0, {arguments.cpu})
        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)
        for pattern, trace in traces.items():
            measure(folder, pattern, trace, arguments.rows, arguments.repeats)


def measure(folder: Path, pattern: str, trace: Path, rows: int, repeats: int) -> None:
    """Print one pattern's figures."""
    chunks = chunks_of(trace, rows)
    kept = [chunk.copy() for chunk in chunks]

    def refill() -> None:
        # the writer empties the matrices, as the recorder wants them
        for chunk, values in zip(chunks, kept, strict=True):
            chunk[:] = values

    out, peer = folder / "out.iotrace", folder / "peer.parquet"
    through_writer(out, chunks)
    refill()
    stages: dict[str, Callable[[], object]] = {
        "whole": lambda: through_writer(out, chunks),
        "  order of times": lambda: reorder_only(chunks),
        "  row groups": lambda: encode_only(chunks),
        "few rows: batches": lambda: batches_only(chunks),
        "few rows: and tail": lambda: tail_only(chunks, folder / "tail.arrows"),
        "pyarrow's writer": lambda: through_pyarrow(chunks, peer),
    }
    print(f"{pattern}: {rows:,} events from {open_trace(trace).info.events:,} recorded")
    for stage, work in stages.items():
        note = f"  to reach: {TARGET_RATE:.0f}" if stage == "whole" else ""
        print(f"  {stage:20} {timed(work, rows, repeats, refill)}{note}")
    once = matrix_of(trace)
    through_writer(out, [once])
    size = sum(part.stat().st_size for part in (out / "events").iterdir()) / once.shape[1]
    through_writer(out, [chunk.copy() for chunk in kept])
    long = sum(part.stat().st_size for part in (out / "events").iterdir()) / rows
    before = peer.stat().st_size / rows
    print(
        f"  bytes an event: {size:.2f} as recorded, {long:.2f} repeated, pyarrow {before:.2f}; "
        f"to reach: {TARGET_BYTES[pattern]}"
    )
    shutil.rmtree(out)


if __name__ == "__main__":
    main()

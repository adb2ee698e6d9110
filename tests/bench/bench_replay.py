"""Operations per second of a replay beside fio's psync engine on the same pattern; prints a Markdown table.

Run by `make bench-replay`. Pairs alternate (fio, replay; replay, fio; …); beside each ratio stands fio against
itself, run in the same way, because a machine differs from itself too. Each case reads from the page cache: this
measures the tools, not the storage.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from iotrace import __version__
from iotrace.replay.plan import build_plan
from iotrace.replay.run import Options, replay_plan
from iotrace.trace.info import TraceInfo
from iotrace.trace.reader import open_trace
from iotrace.trace.schema import SCHEMAS
from iotrace.trace.writer import TraceWriter

CASES = {
    # name: (fio's rw, block size in bytes, file size in bytes, operations)
    "4 KiB random read": ("randread", 4096, 256 << 20, 400_000),
    "1 MiB sequential read": ("read", 1 << 20, 512 << 20, 2048),
}


def read_trace(folder: Path, rw: str, block: int, size: int, count: int) -> Path:
    """A trace of one thread that reads one file, as fio does."""
    blocks = size // block
    order = np.random.default_rng(1).integers(0, blocks, count) if rw == "randread" else np.arange(count) % blocks
    n = count + 2
    values: dict[str, np.ndarray] = {
        "time_ns": np.arange(n) * 1000, "duration_ns": np.full(n, 500), "process": np.zeros(n), "thread": np.zeros(n),
        "path": np.zeros(n), "file": np.zeros(n), "open": np.zeros(n), "flags": np.zeros(n),
        "offset": np.r_[0, order * block, 0], "size": np.r_[0, np.full(count, block), 0],
        "result": np.r_[0, np.full(count, block), 0],
    }  # fmt: skip
    ops = pa.array(["openat", *["pread64"] * count, "close"]).dictionary_encode()
    arrays = [
        ops.cast(field.type)
        if field.name == "op"
        else pa.array(values[field.name].astype(np.int64)).cast(field.type)
        if field.name in values
        else pa.nulls(n, field.type)
        for field in SCHEMAS["events"]
    ]
    with TraceWriter(folder, TraceInfo(working_folder="/bench")) as writer:
        writer.append_rows("paths", [{"path": 0, "text": "/bench/file.dat", "raw": b"/bench/file.dat"}])
        writer.append_rows("files", [{"file": 0, "path": 0, "type": "file", "size": size, "existed": True}])
        writer.append_rows("processes", [{"process": 0, "pid": 1, "cwd": "/bench", "start_ns": 0}])
        writer.append("events", pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["events"]))
    return folder


def fio(file: Path, rw: str, block: int, size: int, count: int) -> float:
    """Operations per second of fio."""
    command = [
        "fio", "--name=bench", f"--filename={file}", f"--rw={rw}", f"--bs={block}", f"--size={size}",
        f"--io_size={count * block}", "--ioengine=psync", "--norandommap", "--randseed=1", "--invalidate=0", "--thread",
        "--output-format=json",
    ]  # fmt: skip
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=file.parent).stdout
    return float(json.loads(out[out.index("{") :])["jobs"][0]["read"]["iops"])


def spread(values: list[float]) -> str:
    """Lowest to highest."""
    return f"{min(values):.2f}–{max(values):.2f}"


def measure(folder: Path, rw: str, block: int, size: int, count: int, pairs: int) -> tuple[list[float], ...]:
    """Operations per second of the replay, of fio, and of fio once more, in alternating order."""
    trace = open_trace(read_trace(folder / "bench.iotrace", rw, block, size, count))
    plan = build_plan(trace, ["/bench"])
    file = folder / "fio.dat"
    with file.open("wb") as out:
        for _ in range(size >> 20):
            out.write(os.urandom(1 << 20))

    def replay() -> float:
        run = replay_plan(plan, trace, [folder], Options(timing="asap")).info.runs[0]
        if run.errors:
            raise SystemExit(f"{run.errors} operations did not end as recorded: the comparison would be void")
        return run.ops_per_s

    ours, theirs, again = [], [], []
    fio(file, rw, block, size, count)
    replay()
    for turn in range(pairs):
        if turn % 2:
            ours.append(replay())
        theirs.append(fio(file, rw, block, size, count))
        if not turn % 2:
            ours.append(replay())
        again.append(fio(file, rw, block, size, count))
    return ours, theirs, again


def bench(mount: Path, pairs: int, scale: float) -> list[str]:
    """Rows of the table for one mount."""
    rows = []
    for name, (rw, block, size, count) in CASES.items():
        folder = Path(tempfile.mkdtemp(prefix="bench-replay-", dir=mount))
        try:
            ours, theirs, again = measure(folder, rw, block, size, max(16, int(count * scale)), pairs)
        finally:
            shutil.rmtree(folder)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        itself = [a / b for a, b in zip(again, theirs, strict=True)]
        rows.append(
            f"| {name} | {mount} | {statistics.median(ours):,.0f} | {statistics.median(theirs):,.0f} "
            f"| {statistics.median(ratios):.2f} ({spread(ratios)}) "
            f"| {statistics.median(itself):.2f} ({spread(itself)}) |"
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mounts", nargs="*", type=Path, default=[Path.cwd(), Path("/dev/shm")])
    parser.add_argument("--pairs", type=int, default=7, help="alternating pairs of runs of each case (default 7)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the operations (default 1.0)")
    options = parser.parse_args()
    if shutil.which("fio") is None:
        raise SystemExit("fio is not installed: apt-get install fio")
    version = subprocess.run(["fio", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    import llvmlite
    import numba

    print(
        f"iotrace {__version__}, {version}, Python {platform.python_version()}, numba {numba.__version__}, "
        f"llvmlite {llvmlite.__version__}, Linux {platform.release()}, {os.cpu_count()} cores; "
        f"{options.pairs} alternating pairs, medians (lowest–highest); page cache.\n"
    )
    print(f"    python {' '.join(sys.argv)}\n")
    print("| pattern | mount | replay, ops/s | fio psync, ops/s | replay ÷ fio | fio ÷ fio |")
    print("|---|---|---:|---:|---:|---:|")
    for mount in options.mounts:
        for row in bench(mount, options.pairs, options.scale):
            print(row, flush=True)


if __name__ == "__main__":
    main()

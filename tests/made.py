"""Small traces and results made by hand, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from iotrace import histogram
from iotrace.replay.result import HISTOGRAMS, INTERVALS, ClassTotals, MountInfo, OpTotals, Result, ResultInfo, Run
from iotrace.trace.info import Mount, TraceInfo
from iotrace.trace.writer import TraceWriter

HOSTILE = "/data/<script>alert(1)</script>/[red]x[/red]\x1b[31m\u202e$x^{2$\n'\"; drop table events; --"

OPERATIONS = {
    # op: (class, calls in a run, median latency in µs, bytes a call)
    "read": ("read", 300, 60.0, 65536),
    "write": ("write", 150, 50.0, 65536),
    "openat": ("metadata", 120, 30.0, 0),
    "fsync": ("sync", 12, 900.0, 0),
}


def event(time_ns: int, op: str, **columns: Any) -> dict[str, Any]:
    """A row of events; what is not given is as small as it can be."""
    return {"time_ns": time_ns, "duration_ns": 1000, "process": 0, "thread": 0, "op": op, "result": 0} | columns


def made_trace(
    folder: Path,
    events: Sequence[dict[str, Any]],
    paths: Sequence[str] = (),
    files: Sequence[dict[str, Any]] | None = None,
    processes: Sequence[dict[str, Any]] | None = None,
    complete: bool = True,
    **info: Any,
) -> Path:
    """Write a trace: path i has text paths[i], file i is at path i unless `files` says otherwise."""
    described = TraceInfo(
        version="0.1.0", backend="hand", host="host", command=["made", "by hand"], duration_ns=10**9,
        mounts=[Mount(1, "/", "ext4", "/dev/vda1"), Mount(2, "/data", "wekafs", "cluster/fs")],
    )  # fmt: skip
    for name, value in info.items():
        setattr(described, name, value)
    if files is None:
        files = [{"file": i, "path": i, "type": "file", "mount": None} for i in range(len(paths))]
    if processes is None:
        processes = [{"process": 0, "pid": 100, "command": "made", "start_ns": 0, "end_ns": 10**9, "exit": 0}]
    writer = TraceWriter(folder, described)
    writer.append_rows("paths", [{"path": i, "text": text, "raw": text.encode()} for i, text in enumerate(paths)])
    writer.append_rows("files", files)
    writer.append_rows("processes", processes)
    writer.append_rows("events", events)
    writer.close(complete)
    return folder


def made_run(
    number: int, round: int, fs: str, factor: float, random: np.random.Generator
) -> tuple[Run, list[pd.DataFrame]]:
    """A run whose latencies are `factor` times the usual ones, and its rows of histograms."""
    run = Run(
        run=number, round=round, fs=fs, mount=MountInfo(fs, "ext4", f"/dev{fs}"), started_utc="2026-01-01T00:00:00Z"
    )
    rows = []
    for op, (kind, calls, latency_us, size) in OPERATIONS.items():
        values = (random.lognormal(np.log(latency_us * 1000 * factor), 0.4, calls)).astype(np.int64)
        bucket, count = histogram.sparse(np.bincount(histogram.bucket_of(values), minlength=histogram.BUCKETS))
        rows.append(
            pd.DataFrame(
                {
                    "run": number,
                    "fs": fs,
                    "user": 0,
                    "lane": 0,
                    "step": None,
                    "op": op,
                    "class": kind,
                    "bucket": bucket,
                    "count": count,
                }
            )
        )
        time_s = float(values.sum()) / 1e9
        middle, high = (float(np.quantile(values, q)) / 1e3 for q in (0.5, 0.99))
        run.by_op[op] = OpTotals(kind, calls, 0, size * calls, time_s, middle, high, high)
        run.by_class[kind] = ClassTotals(calls, 0, size * calls, time_s)
        run.ops += calls
        run.io_s += time_s
    run.by_op, run.by_class = dict(run.by_op), dict(run.by_class)
    run.wall_s = run.io_s
    run.bytes_read, run.bytes_written = 300 * 65536, 150 * 65536
    run.ops_per_s, run.metadata_ops_per_s = run.ops / run.wall_s, 120 / run.wall_s
    return run, rows


def made_result(
    folder: Path, factors: dict[str, float], repeat: int, seed: int = 0, noise: float = 0.03, **info: Any
) -> Result:
    """A result of `repeat` rounds over the mounts of `factors`, saved as `folder`; `factor` 2 is twice as slow."""
    random = np.random.default_rng(seed)
    runs: list[Run] = []
    rows: list[pd.DataFrame] = []
    for number in range(repeat):
        for fs, factor in factors.items():
            run, part = made_run(len(runs), number, fs, factor * random.lognormal(0, noise), random)
            runs.append(run)
            rows += part
    described = ResultInfo(
        host="host",
        source="made.iotrace",
        plan_hash="ab" * 32,
        options={"timing": "asap"},
        runs=runs,
        memory_bytes=8 * 10**9,
    )
    for name, value in info.items():
        setattr(described, name, value)
    table = pa.Table.from_pandas(pd.concat(rows)[HISTOGRAMS.names], HISTOGRAMS, preserve_index=False)
    seconds = [
        {
            "run": run.run,
            "fs": run.fs,
            "second": s,
            "class": "read",
            "ops": 100,
            "bytes": 10**6 * (s + 1),
            "buckets": [],
            "counts": [],
        }
        for run in runs
        for s in range(4)
    ]
    result = Result(described, table, pa.Table.from_pylist(seconds, INTERVALS))
    result.save(folder, force=True)
    return result

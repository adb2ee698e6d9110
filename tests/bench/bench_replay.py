"""Operations per second of a replay beside fio on the same pattern, and beside a C loop; prints a Markdown table.

Run by `make bench-replay`. Pairs alternate (peer, replay; replay, peer; …); beside each ratio stands the peer against
itself, run in the same way, because a machine differs from itself too. Buffered cases read from the page cache: they
measure the tools, not the storage. `--case WORD` chooses cases by a word of their names.
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
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from iotrace import __version__
from iotrace.errors import StorageError
from iotrace.replay.direct import alignment_of
from iotrace.replay.flushing import sync_file_system
from iotrace.replay.options import Options
from iotrace.replay.plan import build_plan
from iotrace.replay.ring import why_no_ring
from iotrace.replay.run import replay_plans
from iotrace.replay.trees import prepare_tree
from iotrace.replay.work import work_of
from iotrace.trace.info import TraceInfo
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.reader import open_trace
from iotrace.trace.schema import SCHEMAS
from iotrace.trace.writer import TraceWriter


@dataclass(frozen=True)
class Case:
    """A pattern: fio's names; sizes in bytes; count: operations of each thread."""

    name: str
    rw: str
    block: int
    size: int
    count: int
    threads: int = 1
    engine: str = "psync"
    depth: int = 1
    direct: bool = False


CASES = [
    Case("4 KiB random read", "randread", 4096, 256 << 20, 400_000),
    Case("4 KiB random read, 2 threads", "randread", 4096, 256 << 20, 200_000, threads=2),
    Case("1 MiB sequential read", "read", 1 << 20, 512 << 20, 2048),
    Case("4 KiB random read, O_DIRECT", "randread", 4096, 256 << 20, 10_000, direct=True),
    Case("1 MiB sequential read, O_DIRECT", "read", 1 << 20, 512 << 20, 512, direct=True),
    *(Case(f"io_uring {depth}, 4 KiB random read", "randread", 4096, 256 << 20, 200_000, engine="uring", depth=depth)
      for depth in (1, 4, 32, 128)),
    *(Case(f"io_uring {depth}, 4 KiB random read, O_DIRECT", "randread", 4096, 256 << 20, 10_000 * min(depth, 8),
           engine="uring", depth=depth, direct=True)
      for depth in (1, 4, 32, 128)),
]  # fmt: skip
METADATA = ("create", "stat", "unlink")
METADATA_FILES = 20_000
FIRST = {"create": ("openat",), "stat": ("newfstatat",), "unlink": ("unlinkat",)}


def save_trace(
    folder: Path, ops: list[str], values: dict[str, Any], files: list[str], size: int, existed: bool
) -> Path:
    """A trace from columns; `files` are the texts of paths 0, 1, …, each a file of that number."""
    n = len(ops)
    encoded = pa.array(ops).dictionary_encode()
    arrays = [
        encoded.cast(field.type)
        if field.name == "op"
        else pa.array(np.asarray(values[field.name]).astype(np.int64)).cast(field.type)
        if field.name in values
        else pa.nulls(n, field.type)
        for field in SCHEMAS["events"]
    ]
    with TraceWriter(folder, TraceInfo(working_folder="/bench")) as writer:
        writer.append_rows("paths", [{"path": k, "text": t, "raw": t.encode()} for k, t in enumerate(files)])
        row = {"type": "file", "size": size, "existed": existed}
        writer.append_rows("files", [{"file": k, "path": k} | row for k in range(len(files))])
        writer.append_rows("processes", [{"process": 0, "pid": 1, "cwd": "/bench", "start_ns": 0}])
        writer.append("events", pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["events"]))
    return folder


def read_trace(folder: Path, case: Case) -> Path:
    """A trace of threads that read one file, as fio does."""
    blocks, n = case.size // case.block, case.count + 2
    columns: dict[str, list[np.ndarray]] = {
        "thread": [],
        "open": [],
        "offset": [],
        "size": [],
        "result": [],
        "time": [],
    }
    for thread in range(case.threads):
        random = np.random.default_rng(1 + thread)
        order = random.integers(0, blocks, case.count) if case.rw == "randread" else np.arange(case.count) % blocks
        columns["thread"].append(np.full(n, thread))
        columns["open"].append(np.full(n, thread))
        columns["offset"].append(np.r_[0, order * case.block, 0])
        columns["size"].append(np.r_[0, np.full(case.count, case.block), 0])
        columns["result"].append(np.r_[0, np.full(case.count, case.block), 0])
        columns["time"].append(np.arange(n) * 1000 + thread)
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    zeros = np.zeros(n * case.threads)
    values = {name: whole[name] for name in ("thread", "open", "offset", "size", "result")} | {
        "time_ns": whole["time"], "duration_ns": zeros + 500, "process": zeros, "path": zeros, "file": zeros,
        "flags": zeros,
    }  # fmt: skip
    ops = ["openat", *["pread64"] * case.count, "close"] * case.threads
    return save_trace(folder, ops, values, ["/bench/file.dat"], case.size, True)


def metadata_trace(folder: Path, what: str, count: int) -> Path:
    """A trace that creates, looks at or removes many files of one folder."""
    each = 2 if what == "create" else 1
    n = count * each
    number, zeros = np.repeat(np.arange(count), each), np.zeros(count * each)
    values = {
        "time_ns": np.arange(n) * 1000, "duration_ns": zeros + 500, "process": zeros, "thread": zeros, "path": number,
        "file": number, "result": zeros,
    }  # fmt: skip
    if what == "create":
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        values |= {"open": number, "flags": zeros + flags, "mode": zeros + 0o600}
    else:
        values |= {"flags": zeros}
    ops = {"create": ["openat", "close"], "stat": ["newfstatat"], "unlink": ["unlinkat"]}[what] * count
    return save_trace(folder, ops, values, [f"/bench/d/{k}.mrc" for k in range(count)], 0, what != "create")


def fio(file: Path, case: Case) -> float:
    """Operations per second of fio, with buffers on pages: some processors copy to others at a third of the speed."""
    engine = "io_uring" if case.engine == "uring" else "psync"
    command = [
        "fio", "--name=bench", f"--filename={file}", f"--rw={case.rw}", f"--bs={case.block}", f"--size={case.size}",
        f"--io_size={case.count * case.block}", f"--ioengine={engine}", f"--iodepth={case.depth}", "--norandommap",
        f"--direct={int(case.direct)}", f"--numjobs={case.threads}", "--group_reporting", "--randseed=1",
        "--invalidate=0", "--thread", "--iomem_align=4096", "--output-format=json",
    ]  # fmt: skip
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=file.parent).stdout
    return float(json.loads(out[out.index("{") :])["jobs"][0]["read"]["iops"])


def spread(values: list[float]) -> str:
    """Lowest to highest."""
    return f"{min(values):.2f}–{max(values):.2f}"


def row(name: str, mount: Path, ours: Callable[[], float], peer: Callable[[], float], pairs: int) -> str:
    """A row of the table: alternating pairs of the replay and its peer, and the peer once more."""
    mine, theirs, again = [], [], []
    peer()
    ours()
    for turn in range(pairs):
        if turn % 2:
            mine.append(ours())
        theirs.append(peer())
        if not turn % 2:
            mine.append(ours())
        again.append(peer())
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    itself = [a / b for a, b in zip(again, theirs, strict=True)]
    return (
        f"| {name} | {mount} | {statistics.median(mine):,.0f} | {statistics.median(theirs):,.0f} "
        f"| {statistics.median(ratios):.2f} ({spread(ratios)}) | {statistics.median(itself):.2f} ({spread(itself)}) |"
    )


def replayer(trace_folder: Path, folder: Path, options: Options, alignment: int = 0) -> Callable[[], float]:
    """A function that replays once and gives operations per second."""
    trace = open_trace(trace_folder)
    plan = build_plan(trace, ["/bench"], rides=options.engine == "uring", alignment=alignment)

    def replay() -> float:
        run = replay_plans([(plan, trace)], [folder], options).info.runs[0]
        if run.errors:
            raise SystemExit(f"{run.errors} operations did not end as recorded: the comparison would be void")
        return run.ops_per_s

    return replay


def bench_data(case: Case, mount: Path, folder: Path, pairs: int, scale: float) -> str:
    """The row of a case beside fio."""
    case = replace(case, count=max(16, int(case.count * scale)))
    if case.engine == "uring" and (reason := why_no_ring()):
        return f"| {case.name} | {mount} | left out: {reason} | | | |"
    try:
        alignment = alignment_of([folder]) if case.direct else 0
    except StorageError as error:
        return f"| {case.name} | {mount} | left out: {error} | | | |"
    options = Options(timing="asap", engine=case.engine, depth=case.depth, direct=case.direct)
    replay = replayer(read_trace(folder / "bench.iotrace", case), folder, options, alignment)
    file = folder / "fio.dat"
    with file.open("wb") as out:
        for _ in range(case.size >> 20):
            out.write(os.urandom(1 << 20))
        out.flush()
        os.fsync(out.fileno())
    return row(case.name, mount, replay, lambda: fio(file, case), pairs)


def bench_metadata(what: str, mount: Path, folder: Path, pairs: int, scale: float) -> str:
    """The row of a metadata case beside a C loop that issues the same calls."""
    name = f"{what}, C loop"
    compiler = shutil.which("gcc")
    if compiler is None:
        return f"| {name} | {mount} | left out: gcc is not installed | | | |"
    count = max(16, int(METADATA_FILES * scale))
    program = folder / "metadata_loop"
    source = Path(__file__).parent / "metadata_loop.c"
    subprocess.run([compiler, "-O2", "-o", program, source], check=True)
    trace = open_trace(metadata_trace(folder / "bench.iotrace", what, count))
    plan = build_plan(trace, ["/bench"])
    work = work_of(plan, trace, Options(timing="asap"), [])
    replay = replayer(folder / "bench.iotrace", folder, Options(timing="asap"))
    nodes = plan.recorded["node"][plan.counted & np.isin(plan.rows.op, [NUMBER_OF[one] for one in FIRST[what]])]

    def loop() -> float:
        # the same tree, made the same way: to remove a file costs more when another CPU made it
        with prepare_tree(plan, folder, work.contents, work.sights) as tree:
            sync_file_system(tree.tree)
            names = [os.fsencode(tree.tree) + b"/" + plan.recorded["paths"][node] for node in nodes.tolist()]
            run = subprocess.run([program, what], input=b"\n".join(names) + b"\n", check=True, capture_output=True)
            return float(run.stdout)

    return row(name, mount, replay, loop, pairs)


def main() -> None:
    """Print the table."""
    names = [*(case.name for case in CASES), *(f"{what}, C loop" for what in METADATA)]
    parser = argparse.ArgumentParser(description=__doc__, epilog="cases: " + "; ".join(names))
    parser.add_argument("mounts", nargs="*", type=Path, default=[Path.cwd(), Path("/dev/shm")])
    parser.add_argument("--pairs", type=int, default=5, help="alternating pairs of runs of each case (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the operations (default 1.0)")
    parser.add_argument("--case", action="append", default=[], help="cases whose name holds this; may be given again")
    options = parser.parse_args()
    if shutil.which("fio") is None:
        raise SystemExit("fio is not installed: apt-get install fio")
    version = subprocess.run(["fio", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    import llvmlite
    import numba

    print(
        f"iotrace {__version__}, {version}, Python {platform.python_version()}, numba {numba.__version__}, "
        f"llvmlite {llvmlite.__version__}, Linux {platform.release()}, {os.cpu_count()} cores; "
        f"{options.pairs} alternating pairs, medians (lowest–highest); buffered cases from the page cache.\n"
    )
    print(f"    python {' '.join(sys.argv)}\n")
    print("| pattern | mount | replay, ops/s | peer, ops/s | replay ÷ peer | peer ÷ peer |")
    print("|---|---|---:|---:|---:|---:|")
    begun = time.monotonic()
    chosen = [name for name in names if not options.case or any(word in name for word in options.case)]
    for mount in options.mounts:
        for name in chosen:
            folder = Path(tempfile.mkdtemp(prefix="bench-replay-", dir=mount))
            try:
                case = next((case for case in CASES if case.name == name), None)
                if case is not None:
                    print(bench_data(case, mount, folder, options.pairs, options.scale), flush=True)
                else:
                    what = name.partition(",")[0]
                    print(bench_metadata(what, mount, folder, options.pairs, options.scale), flush=True)
            finally:
                shutil.rmtree(folder)
    print(f"\n{time.monotonic() - begun:.0f} s in all.", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Issue-time error of `iotrace replay --timing original` beside fio's read_iolog (version 3); prints a Markdown table.

Run by `make bench-issue-time`. Both replay the same reads of 4 KiB from the page cache, at the same times (a Poisson
process, whole µs, since fio's log has no finer ones), one after the other in turns, and iotrace's recorder notes when
each read really began: the same means for both. When a tool began is not known from outside: a read's error is how
much later it began than it should, counted from the read of the run that came earliest. Drift is the median error of
the last tenth of the run less that of the first.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_replay import save_trace, spread

from iotrace.trace.reader import open_trace

BLOCK = 4096
FILE_BYTES = 64 << 20
BEGIN_US = 1000
"""fio takes a time of 0 for none."""


@dataclass(frozen=True)
class Error:
    """Of one run, in µs: p50, p99 and largest error, and drift."""

    p50: float
    p99: float
    largest: float
    drift: float


def due_times_us(rate: int, seconds: float) -> np.ndarray:
    """Times of reads at a mean rate, µs, int64."""
    random = np.random.default_rng(rate)
    return BEGIN_US + np.cumsum(random.exponential(1e6 / rate, int(rate * seconds))).astype(np.int64)


def offsets(count: int) -> np.ndarray:
    """Where each read reads."""
    return np.random.default_rng(7).integers(0, FILE_BYTES // BLOCK, count) * BLOCK


def write_trace(folder: Path, due_us: np.ndarray) -> Path:
    """The reads as a trace of one thread."""
    n = len(due_us)
    time = np.r_[0, due_us * 1000, due_us[-1] * 1000 + 10_000]
    zeros = np.zeros(n + 2)
    sizes = np.r_[0, np.full(n, BLOCK), 0]
    values = {
        "time_ns": time, "duration_ns": zeros + 500, "process": zeros, "thread": zeros, "path": zeros, "file": zeros,
        "open": zeros, "flags": zeros, "offset": np.r_[0, offsets(n), 0], "size": sizes, "result": sizes,
    }  # fmt: skip
    return save_trace(folder, ["openat", *["pread64"] * n, "close"], values, ["/bench/file.dat"], FILE_BYTES, True)


def write_iolog(log: Path, file: Path, due_us: np.ndarray) -> None:
    """The reads as a log of fio, version 3."""
    with log.open("w") as out:
        out.write(f"fio version 3 iolog\n{BEGIN_US} {file} add\n{BEGIN_US} {file} open\n")
        for time, offset in zip(due_us.tolist(), offsets(len(due_us)).tolist(), strict=True):
            out.write(f"{time} {file} read {offset} {BLOCK}\n")
        out.write(f"{due_us[-1] + 10} {file} close\n")


def recorded_starts(folder: Path, command: list[str], count: int) -> np.ndarray:
    """Start of each read of a command in ns, as the recorder saw it."""
    trace = folder / "seen.iotrace"
    recorder = [sys.executable, "-m", "iotrace", "record", "--force", "-o", str(trace), "--", *command]
    done = subprocess.run(recorder, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    table = open_trace(trace).table("events", ["time_ns", "op", "size"]).to_pandas()
    reads = table[(table["op"] == "pread64") & (table["size"] == BLOCK)]
    if len(reads) != count:
        raise SystemExit(f"{len(reads)} reads of {BLOCK} bytes were recorded, {count} were asked for")
    return np.sort(reads["time_ns"].to_numpy())


def error_of(starts_ns: np.ndarray, due_us: np.ndarray) -> Error:
    """How far the starts are from the times asked for."""
    error = starts_ns / 1000 - due_us
    error -= error.min()
    tenth = max(1, len(error) // 10)
    drift = float(np.median(error[-tenth:]) - np.median(error[:tenth]))
    return Error(float(np.quantile(error, 0.5)), float(np.quantile(error, 0.99)), float(error.max()), drift)


def bench(rate: int, seconds: float, rounds: int, folder: Path) -> str:
    """The row of a rate."""
    due = due_times_us(rate, seconds)
    trace, log, data = write_trace(folder / f"T{rate}.iotrace", due), folder / f"{rate}.log", folder / "fio.dat"
    data.write_bytes(os.urandom(FILE_BYTES))
    write_iolog(log, data, due)
    mount = folder / "mount"
    mount.mkdir(exist_ok=True)
    ours = [
        sys.executable, "-m", "iotrace", "replay", str(trace), "--fs", str(mount), "--timing", "original", "--map",
        "/bench", "--force", "-o", str(folder / "R.ioresult"),
    ]  # fmt: skip
    fio = [
        "fio", "--name=bench", f"--read_iolog={log}", "--ioengine=psync", "--thread", "--invalidate=0",
        f"--filename={data}",
    ]  # fmt: skip
    mine: list[Error] = []
    theirs: list[Error] = []
    for turn in range(rounds):
        for tool in (("ours", "fio"), ("fio", "ours"))[turn % 2]:
            starts = recorded_starts(folder, ours if tool == "ours" else fio, len(due))
            (mine if tool == "ours" else theirs).append(error_of(starts, due))
    ratios = [a.p99 / b.p99 for a, b in zip(mine, theirs, strict=True)]

    def median(errors: list[Error], name: str) -> str:
        values = [getattr(error, name) for error in errors]
        return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"

    return (
        f"| {rate:,} | {median(mine, 'p50')} | {median(theirs, 'p50')} | {median(mine, 'p99')} "
        f"| {median(theirs, 'p99')} | 1/{1 / statistics.median(ratios):,.0f} ({spread([1 / r for r in ratios])}) "
        f"| {median(mine, 'drift')} | {median(theirs, 'drift')} |"
    )


def main() -> None:
    """Print a row for each rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=int, nargs="*", default=[1000, 10_000], help="reads a second")
    parser.add_argument("--seconds", type=float, default=60, help="length of each run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each tool at each rate")
    options = parser.parse_args()
    version = subprocess.run(["fio", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    load = os.getloadavg()[0]
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, {version}; "
        f"{options.rounds} rounds of {options.seconds:g} s in turns; load when it began {load:.1f}; "
        "µs, median (range)\n"
    )
    print(
        "| reads/s | p50, iotrace | p50, fio | p99, iotrace | p99, fio | iotrace ÷ fio, p99 | drift, iotrace "
        "| drift, fio |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        for rate in options.rates:
            print(bench(rate, options.seconds, options.rounds, Path(name)), flush=True)
    print(f"\nload when it ended {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

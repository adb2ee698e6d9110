"""Bytes per CPU second of writes that fill verified blocks, and of reads that check them, beside fio with crc32c.

Run by `make bench-verify`. Both write and read one file through the page cache, with a header in each 4 KiB (fio:
verify=crc32c, verify_interval=4096), in one thread, from and to memory that begins at a page; CPU time is user and
system time of that thread, without start-up. Pairs alternate; beside each ratio stands fio against itself, run in the
same way.
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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from iotrace import __version__
from iotrace.compiling import compiled
from iotrace.machine import X86_64, system_call
from iotrace.replay.kernels.verify import check_blocks, fill_blocks, settle_write
from iotrace.replay.payload import Contents, Payload
from iotrace.replay.verify import Checks, empty_findings, findings_of

_PREAD, _PWRITE = (17, 18) if X86_64 else (67, 68)
CASES = {"4 KiB": 4096, "1 MiB": 1 << 20}


@compiled
def write_all(descriptor: int, size: int, block: int, memory: int, context: int) -> Any:
    """Fill and write a file from begin to end; gives the bytes written."""
    done = np.int64(0)
    for at in range(0, size, block):
        fill_blocks(memory, block, context, 0, at)
        result = system_call(_PWRITE, descriptor, memory, block, at, 0, 0)
        settle_write(context, 0, at, block, result)
        done += result
    return done


@compiled
def read_all(descriptor: int, size: int, block: int, memory: int, context: int, found: int) -> Any:
    """Read and check a file from begin to end; gives the wrong blocks."""
    bad = np.int64(0)
    for at in range(0, size, block):
        result = system_call(_PREAD, descriptor, memory, block, at, 0, 0)
        bad += check_blocks(memory, result, context, 0, at, found)
    return bad


class Ours:
    """A file that our kernels write and check."""

    def __init__(self, file: Path, size: int, block: int) -> None:
        self.size, self.block = size, block
        self.contents = Contents(Payload(verify=True))
        self.checks = Checks(self.contents, np.zeros(1, np.int64), np.array([size]))
        self.memory = np.zeros(block + 2 * 4096, np.uint8)
        self.at = int(-self.memory.ctypes.data % 4096 + self.memory.ctypes.data)
        self.descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)

    def write(self) -> float:
        """Bytes per CPU second."""
        begin = time.thread_time()
        done = write_all(self.descriptor, self.size, self.block, self.at, self.checks.address)
        used = time.thread_time() - begin
        if done != self.size:
            raise SystemExit(f"{done} of {self.size} bytes were written: the comparison would be void")
        return self.size / used

    def read(self) -> float:
        """Bytes per CPU second."""
        found = empty_findings()
        begin = time.thread_time()
        bad = read_all(self.descriptor, self.size, self.block, self.at, self.checks.address, found.ctypes.data)
        used = time.thread_time() - begin
        if bad or findings_of([found]).checked_bytes != self.size:
            raise SystemExit(f"{bad} wrong blocks: the comparison would be void")
        return self.size / used


def fio(file: Path, rw: str, size: int, block: int) -> float:
    """Bytes per CPU second of fio."""
    command = [
        "fio", "--name=bench", f"--filename={file}", f"--rw={rw}", f"--bs={block}", f"--size={size}",
        "--ioengine=psync", "--randseed=1", "--invalidate=0", "--thread", "--verify=crc32c", "--verify_interval=4096",
        "--do_verify=0", "--iomem_align=4096",
        "--verify_fatal=1", "--verify_state_save=0", "--fallocate=none", "--output-format=json",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, cwd=file.parent)
    if ran.returncode:
        raise SystemExit(f"fio failed: {ran.stderr or ran.stdout}")
    job = json.loads(ran.stdout[ran.stdout.index("{") :])["jobs"][0]
    side = job["read" if rw == "read" else "write"]
    if side["io_bytes"] != size:
        raise SystemExit(f"fio moved {side['io_bytes']} of {size} bytes: the comparison would be void")
    used = side["runtime"] / 1000 * (job["usr_cpu"] + job["sys_cpu"]) / 100
    return float(size / used)


def spread(values: list[float]) -> str:
    """Lowest to highest."""
    return f"{min(values):.2f}–{max(values):.2f}"


def measure(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> tuple[list[float], ...]:
    """Rates of ours, of fio, and of fio once more, in alternating order."""
    mine, other, again = [], [], []
    theirs()
    ours()
    for turn in range(pairs):
        if turn % 2:
            mine.append(ours())
        other.append(theirs())
        if not turn % 2:
            mine.append(ours())
        again.append(theirs())
    return mine, other, again


def bench(mount: Path, size: int, pairs: int) -> list[str]:
    """Rows of the table for one mount."""
    rows = []
    folder = Path(tempfile.mkdtemp(prefix="bench-verify-", dir=mount))
    try:
        for name, block in CASES.items():
            ours = Ours(folder / "ours.dat", size, block)
            for rw, act in (("write", ours.write), ("read", ours.read)):
                mine, other, again = measure(act, partial(fio, folder / "fio.dat", rw, size, block), pairs)
                ratios = [a / b for a, b in zip(mine, other, strict=True)]
                itself = [a / b for a, b in zip(again, other, strict=True)]
                what = "fill and write" if rw == "write" else "read and check"
                rows.append(
                    f"| {what}, {name} | {mount} | {statistics.median(mine) / 1e9:.2f} "
                    f"| {statistics.median(other) / 1e9:.2f} | {statistics.median(ratios):.2f} ({spread(ratios)}) "
                    f"| {statistics.median(itself):.2f} ({spread(itself)}) |"
                )
            os.close(ours.descriptor)
    finally:
        shutil.rmtree(folder)
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mounts", nargs="*", type=Path, default=[Path.cwd(), Path("/dev/shm")])
    parser.add_argument("--pairs", type=int, default=7, help="alternating pairs of runs of each case (default 7)")
    parser.add_argument("--size", type=int, default=512, help="MiB of the file (default 512)")
    options = parser.parse_args()
    if shutil.which("fio") is None:
        raise SystemExit("fio is not installed: apt-get install fio")
    version = subprocess.run(["fio", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(
        f"iotrace {__version__}, {version}, Python {platform.python_version()}, Linux {platform.release()}, "
        f"{os.cpu_count()} cores; {options.pairs} alternating pairs, medians (lowest–highest); page cache.\n"
    )
    print(f"    python {' '.join(sys.argv)}\n")
    print("| what | mount | iotrace, GB per CPU s | fio crc32c, GB per CPU s | iotrace ÷ fio | fio ÷ fio |")
    print("|---|---|---:|---:|---:|---:|")
    for mount in options.mounts:
        for row in bench(mount, options.size << 20, options.pairs):
            print(row, flush=True)


if __name__ == "__main__":
    main()

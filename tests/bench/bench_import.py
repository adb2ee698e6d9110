"""Lines per second and peak memory of `iotrace import strace` on logs that strace has just written; a Markdown table.

Run by `make bench-import`. Each kind of log is one real run under strace, repeated to so many lines. Every import is a
process of its own, whose kernels have been compiled before: `lines/s` is of the import itself, `with start` of the
whole process with the loading of its libraries. Medians of the runs, least and most behind them.
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
from pathlib import Path

READER = """
import os
for folder, _, names in os.walk('/usr/share/doc'):
    for name in filter(lambda name: os.path.isfile(os.path.join(folder, name)), names):
        with open(os.path.join(folder, name), "rb", buffering=0) as file:
            file.seek(10)
            while file.read(4096):
                pass
"""
THREADS = f"""
import threading
for _ in range(4):
    threading.Thread(target=exec, args=({READER!r}, {{}})).start()
"""
FROM = "/usr/share/doc"
KINDS: dict[str, tuple[list[str], list[str]]] = {
    # name: (strace's options, command)
    "reads, -f -ttt -T -y": (["-f", "-ttt", "-T", "-y"], [sys.executable, "-c", READER]),
    "reads, -f -ttt -T": (["-f", "-ttt", "-T"], [sys.executable, "-c", READER]),
    "find, -f -ttt -T -yy": (["-f", "-ttt", "-T", "-yy"], ["find", FROM, "-size", "+1"]),
    "tar, -f -tt -y": (["-f", "-tt", "-y"], ["tar", "cf", "/dev/null.tar", FROM]),
    "tar, -f -t": (["-f", "-t"], ["tar", "cf", "/dev/null.tar", FROM]),
    "tar, -f -r": (["-f", "-r"], ["tar", "cf", "/dev/null.tar", FROM]),
    "4 threads, -f -ttt -T -y": (["-f", "-ttt", "-T", "-y"], [sys.executable, "-c", THREADS]),
    "4 threads, -ff -ttt -T -y": (["-ff", "-ttt", "-T", "-y"], [sys.executable, "-c", THREADS]),
}
IMPORT = """
import json, resource, sys, time
from iotrace.trace.formats.strace.importing import import_strace
begin = time.perf_counter()
info = import_strace([sys.argv[1]], sys.argv[2], force=True)
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"s": time.perf_counter() - begin, "rss": used.ru_maxrss / 1024, "events": info.events,
                  "cpu": used.ru_utime + used.ru_stime}))
"""
PATH_NAME = "/data/project/J0042/motioncorrected/{:012d}.mrc"


def made_log(folder: Path, number: int, options: list[str], command: list[str], lines: int) -> tuple[Path, int]:
    """A log of one run, repeated to about `lines` lines; returns how many there are."""
    log = folder / f"log{number}"
    command = [part.replace("/dev/null.tar", str(folder / "out.tar")) for part in command]
    quiet = subprocess.DEVNULL
    subprocess.run(["strace", *options, "-o", log, *command], stdin=quiet, stdout=quiet, stderr=quiet, check=True)
    files = [log] if log.exists() else sorted(folder.glob(f"log{number}.*"))
    texts = [file.read_bytes() for file in files]
    times = max(1, round(lines / sum(text.count(b"\n") for text in texts)))
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text * times)
    return log, times * sum(text.count(b"\n") for text in texts)


def imported(log: Path, folder: Path) -> dict[str, float]:
    """Figures of one import in a process of its own."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, log, folder / "t.iotrace"], stdout=subprocess.PIPE, check=True, text=True
    )
    return {**json.loads(done.stdout), "whole": time.perf_counter() - begin}


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} … {max(values):,.0f})"


def bytes_of_a_path(folder: Path) -> float:
    """Peak memory that each further path costs, from two logs of names that occur once."""
    peaks = []
    for count in (500_000, 1_500_000):
        log = folder / "paths"
        with log.open("w") as file:
            for n in range(count):
                name = PATH_NAME.format(n)
                file.write(f'7 {1_700_000_000 + n}.5 stat("{name}", {{st_mode=S_IFREG|0644, st_size=1, ...}}) = 0\n')
        peaks.append(imported(log, folder)["rss"])
    return (peaks[1] - peaks[0]) * 2**20 / 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="iotrace-bench-"))
    print(f"{platform.node()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {options.runs} runs\n")
    print("| log | lines | MB | lines/s | with start | lines per CPU second | peak MB |\n|---|---|---|---|---|---|---|")
    try:
        for number, (name, (flags, command)) in enumerate(KINDS.items()):
            log, lines = made_log(folder, number, flags, command, options.lines)
            size = sum(file.stat().st_size for file in folder.glob(f"{log.name}*")) / 1e6
            imported(log, folder)
            runs = [imported(log, folder) for _ in range(options.runs)]
            print(
                f"| {name} | {lines:,} | {size:.0f} | {spread([lines / run['s'] for run in runs])}"
                f" | {spread([lines / run['whole'] for run in runs])}"
                f" | {spread([lines / run['cpu'] for run in runs])} | {spread([run['rss'] for run in runs])} |",
                flush=True,
            )
            for file in folder.glob(f"{log.name}*"):
                file.unlink()
        print(f"\nA further path of {len(PATH_NAME.format(0))} bytes costs {bytes_of_a_path(folder):.0f} bytes.")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

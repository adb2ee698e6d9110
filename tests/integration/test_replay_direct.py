"""--direct: every read and write of a replay reaches the kernel aligned, on files opened with O_DIRECT."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders import TraceBuilder

from iotrace.errors import StorageError, UsageError
from iotrace.mounts.counters.pagecache import cached_pages
from iotrace.replay.direct import alignment_of
from iotrace.replay.run import run_replay
from iotrace.trace.reader import open_trace


def unaligned(tmp_path: Path) -> Path:
    """A trace of calls at odd places, one of them at a shared position and one an append."""
    trace = TraceBuilder()
    file = trace.open("x.mrc", os.O_RDWR, size=100_001)
    trace.read(file, "x.mrc", 0, 1000)
    trace.read(file, "x.mrc", 1000, 5000, op="readv", count=3)
    trace.read(file, "x.mrc", 99_990, 4096, 11, op="pread64")
    trace.on("lseek", file, "x.mrc", offset=10, flags=os.SEEK_CUR, result=6010)
    trace.write(file, "x.mrc", 6010, 10)
    trace.read(file, "x.mrc", 8192, 8192, op="pread64")
    log = trace.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, existed=False, mode=0o600)
    trace.write(log, "log", 0, 100)
    trace.write(log, "log", 100, 100)
    folder = trace.open("", os.O_RDONLY | os.O_DIRECTORY, type="directory")
    trace.close(folder, "")
    trace.close(log, "log")
    trace.close(file, "x.mrc")
    return trace.save(tmp_path / "T.iotrace")


@pytest.mark.parametrize("engine", ["psync", "uring"])
def test_odd_offsets_and_sizes_are_rounded_out_and_counted(tmp_path: Path, engine: str) -> None:
    info = run_replay(
        open_trace(unaligned(tmp_path)), tmp_path, timing="asap", direct=True, engine=engine
    ).info  # fmt: skip
    run = info.runs[0]
    assert run.errors_by == []
    assert run.fidelity["substituted"] == 6
    (note,) = [one for one in info.warnings if "--direct" in one]
    assert note.startswith("--direct: 6 of 7 reads and writes were rounded out to multiples of")


def test_nothing_of_the_files_is_in_the_page_cache(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x.mrc", size=1 << 20)
    trace.read(file, "x.mrc", 4096, 8192, op="pread64")
    trace.close(file, "x.mrc")
    saved = open_trace(trace.save(tmp_path / "T.iotrace"))
    cached = []
    for name, direct in (("buffered", False), ("direct", True)):
        (tmp_path / name).mkdir()
        info = run_replay(saved, tmp_path / name, timing="asap", keep=True, direct=direct).info
        assert info.options["cache"] == ("cold" if direct else "recorded")
        (copy,) = (tmp_path / name).rglob("*.mrc")
        with copy.open("rb") as opened:
            cached.append(cached_pages(opened.fileno(), 1 << 20))
    assert cached[0] > 0
    assert cached[1] == 0


def test_a_warm_cache_and_direct_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--direct reads past the page cache"):
        run_replay(open_trace(unaligned(tmp_path)), tmp_path, direct=True, cache="warm")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_kernel_sees_whole_blocks_only(tmp_path: Path) -> None:
    trace, log = unaligned(tmp_path), tmp_path / "log"
    command = [
        "strace", "-f", "-y", "-o", str(log), "-e", "trace=openat,pread64,pwrite64,read,readv,write,writev",
        sys.executable, "-m", "iotrace", "replay", str(trace), "--fs", str(tmp_path), "--direct", "--timing", "asap",
        "-o", str(tmp_path / "R.ioresult"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    lines = log.read_text().splitlines()
    opened = [line for line in lines if "openat(" in line and re.search(r"/iotrace-[^p].*O_DIRECT\b", line)]
    assert len(opened) == 2
    assert not any("O_APPEND" in line for line in opened)
    alignment = alignment_of([tmp_path])
    moved = []
    # what comes before is staging
    for line in lines[lines.index(opened[0]) :]:
        found = re.search(r"(pread64|pwrite64)\(\d+<\S*/iotrace-[^p].*, (\d+), (\d+)\) += (-?\d+)", line)
        if found:
            moved.append((int(found[2]) % alignment, int(found[3]) % alignment, int(found[4]) >= 0))
    assert moved == [(0, 0, True)] * 7


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_file_system_without_o_direct_says_so(tmp_path: Path) -> None:
    place = tmp_path / "ram"
    place.mkdir()
    if subprocess.run(["mount", "-t", "ramfs", "none", place], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(StorageError, match="no O_DIRECT"):
            run_replay(open_trace(unaligned(tmp_path)), place, direct=True)
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", place], check=True)

"""`iotrace size --fit` on a file system whose delays are known: they come back, and mixes are predicted."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import lab
import pytest
from builders import TraceBuilder
from lab.base import new_folder

from iotrace.analysis.sizing.fitted_storage import entry_of
from iotrace.analysis.sizing.fitting import Fitted, ends_s, fit
from iotrace.analysis.sizing.replays import points_of
from iotrace.replay.run import run_replay
from iotrace.units import parse_bytes

REASON = lab.missing("delayed")
pytestmark = [pytest.mark.system, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

USERS = (1, 2, 4)
BOX = 4096
CHUNK = 1 << 20
MEMORY = Path("/dev/shm")
EVERYBODYS = lab.Cpus(*[tuple(sorted(os.sched_getaffinity(0)))] * 2)


def boxes(folder: Path, files: int = 25, a_file: int = 4) -> Path:
    """Opens files, and reads boxes of each at places that do not follow each other."""
    trace = TraceBuilder()
    for number in range(files):
        name = f"stack{number}.mrc"
        one = trace.open(name, size=64 * BOX)
        for box in range(a_file):
            trace.read(one, name, (a_file - box) * 8 * BOX, BOX, op="pread64")
        trace.close(one, name)
    return trace.save(folder / "boxes.iotrace")


def movies(folder: Path, files: int = 8, chunks: int = 6) -> Path:
    """Reads files in sequence, and writes one new file for each."""
    trace = TraceBuilder()
    for number in range(files):
        name, made = f"movie{number}.tif", f"aligned{number}.mrc"
        one = trace.open(name, size=chunks * CHUNK)
        for chunk in range(chunks):
            trace.read(one, name, chunk * CHUNK, CHUNK)
        trace.close(one, name)
        other = trace.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, existed=False, mode=0o644)
        for chunk in range(2):
            trace.write(other, made, chunk * CHUNK, CHUNK)
        trace.close(other, made)
    return trace.save(folder / "movies.iotrace")


def logs(folder: Path, files: int, lines: int = 3) -> Path:
    """Writes new files line by line, and waits for each line until it is on the disk."""
    trace = TraceBuilder()
    for number in range(files):
        name = f"log{number}"
        one = trace.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, existed=False, mode=0o644)
        for line in range(lines):
            trace.write(one, name, line * BOX, BOX)
            trace.on("fsync", one, name)
        trace.close(one, name)
    return trace.save(folder / "logs.iotrace")


def fitted(traces: list[Path], place: Path, folder: Path) -> tuple[Fitted, dict[str, float]]:
    """A storage fitted to ramps, and its entry with rates in bytes/s."""
    results = []
    for trace in traces:
        for users in USERS:
            result = run_replay(trace, place, prefixes=["/data"], timing="asap", users=users)
            assert result.info.runs[0].errors == 0
            results.append(result.save(folder / f"{trace.stem}-{users}.ioresult"))
    found = fit(points_of(results))
    entry = tomllib.loads(entry_of(found, "known", "1 TB", results))["storages"]["known"]
    return found, {
        key: parse_bytes(value) if key in ("disk_read", "write", "stream_read", "stream_write") else value
        for key, value in entry.items()
    }


def test_delays_of_metadata_and_of_reads_come_back(tmp_path: Path) -> None:
    delays = lab.Delays(metadata=0.06, read=0.04, write=0.04, sync=0.04, bandwidth=0)
    with new_folder("known", MEMORY) as folder, lab.delayed(folder, EVERYBODYS, delays) as mount:
        found, entry = fitted([boxes(tmp_path, files=12), movies(tmp_path, files=3)], mount.path, tmp_path)
    assert max(map(abs, found.errors)) < 10
    # a busy machine makes many users a little slower, which looks like a queue: one call by itself has none
    alone = entry["metadata_latency_us"] + 1e6 / entry["metadata"]
    assert alone == pytest.approx(60_000, rel=0.1)
    alone = entry["read_latency_us"] + 1e6 / entry["operations"] + 1e6 * BOX / entry["stream_read"]
    assert alone == pytest.approx(40_000, rel=0.1)


def test_a_sync_is_late_as_a_write_and_not_as_metadata(tmp_path: Path) -> None:
    delays = lab.Delays(metadata=0.06, read=0.04, write=0.0, sync=0.16, bandwidth=0)
    with new_folder("known", MEMORY) as folder, lab.delayed(folder, EVERYBODYS, delays) as mount:
        found, entry = fitted([boxes(tmp_path, files=8), logs(tmp_path, files=4)], mount.path, tmp_path)
    assert max(map(abs, found.errors)) < 10
    assert entry["metadata_latency_us"] + 1e6 / entry["metadata"] == pytest.approx(60_000, rel=0.1)
    # each line is a write, which is late by nothing, and a sync
    alone = entry["write_latency_us"] + 1e6 / entry["operations"] + 1e6 * BOX / entry["stream_write"]
    assert alone == pytest.approx(160_000, rel=0.1)


def test_a_pipe_of_known_bandwidth_comes_back_and_mixes_are_predicted(tmp_path: Path) -> None:
    delays = lab.Delays(metadata=0.02, read=0.02, write=0.02, sync=0.02, bandwidth=25e6)
    traces = [boxes(tmp_path), movies(tmp_path)]
    with new_folder("known", MEMORY) as folder, lab.delayed(folder, EVERYBODYS, delays) as mount:
        found, entry = fitted(traces, mount.path, tmp_path)
        works = [next(p.work for p in found.points if Path(p.work.source).stem == trace.stem) for trace in traces]
        errors = []
        for mix in ((2, 1), (1, 3)):
            sources = [trace for trace, count in zip(traces, mix, strict=True) for _ in range(count)]
            run = run_replay(sources, mount.path, prefixes=["/data"], timing="asap", users=len(sources)).info.runs[0]
            ends, _ = ends_s(found.row, works, mix)
            for trace, end in zip(traces, ends, strict=True):
                walls = [user.wall_s for user in run.users if Path(user.source).stem == trace.stem]
                errors.append(end / max(walls) - 1)
    assert entry["disk_read"] == pytest.approx(25e6, rel=0.1)
    # nothing of this is the machine's but for threads that wake up late when it is busy
    assert sum(map(abs, errors)) / len(errors) < 0.1, errors

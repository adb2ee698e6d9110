"""`replay --ramp` on a file system of known bandwidth: the knee is where users wait as long as the bound says."""

import json
import os
from pathlib import Path

import lab
import pytest
from builders import TraceBuilder
from lab.base import new_folder

from iotrace.cli import main

REASON = lab.missing("delayed")
pytestmark = [pytest.mark.system, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

MEMORY = Path("/dev/shm")
EVERYBODYS = lab.Cpus(*[tuple(sorted(os.sched_getaffinity(0)))] * 2)
READS, SIZE, BANDWIDTH = 5, 200_000, 10e6


def test_the_knee_is_where_reads_share_a_pipe_for_as_long_as_the_bound_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = TraceBuilder(step_ns=50_000_000)
    opened = trace.open("movie.tif", size=READS * SIZE)
    for number in range(READS):
        trace.read(opened, "movie.tif", number * SIZE, SIZE)
    source = trace.save(tmp_path / "T.iotrace")
    delays = lab.Delays(metadata=0, read=0, write=0, sync=0, bandwidth=BANDWIDTH)
    with new_folder("known", MEMORY) as folder, lab.delayed(folder, EVERYBODYS, delays) as mount:
        words = ["replay", str(source), "--fs", str(mount.path), "--map", "/data", "--ramp", "users=1..64"]
        words += ["--latency-bound", "read.p50=100ms", "--repeat", "5", "--json", "-o", str(tmp_path / "R")]
        assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    # users who begin together read together, and each of their reads takes as long as all of them pass the pipe
    for level in found["levels"]:
        assert sorted(level["latency_us"]["read.p50"])[2] == pytest.approx(
            level["users"] * SIZE / BANDWIDTH * 1e6, rel=0.15
        )
    assert (found["rule"], found["levels"][-1]["users"]) == ("read.p50", 8)
    assert found["users"] == pytest.approx(0.1 * BANDWIDTH / SIZE, rel=0.15)
    assert found["low"] <= found["users"] <= found["high"]

"""The demonstration runs from end to end and leaves what it promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iotrace.replay.result import open_result
from iotrace.trace.reader import open_trace


@pytest.mark.system
def test_the_demonstration_records_replays_compares_and_reports(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "iotrace", "demo", "--folder", str(folder)],
        cwd=tmp_path, env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Patch Motion Correction" in done.stdout
    assert "cache" in done.stdout
    # a path is shown whole where a person may want to copy it
    free = ("$", "#", "wrote", "Result", "A  ", "B  ", "motion.iotrace:")
    assert max(len(line) for line in done.stdout.splitlines() if not line.startswith(free)) <= 80
    events = open_trace(folder / "motion.iotrace").events()
    assert {"mmap", "read", "write", "rename", "fsync"} <= set(events.op.astype(str))
    for name in ("motion", "relion-motion-correction", "relion-particle-extraction"):
        runs = open_result(folder / f"{name}.ioresult").info.runs
        assert [run.errors for run in runs] == [0] * 12
    assert "<html" in (folder / "report.html").read_text()

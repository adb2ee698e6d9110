"""What a replay does on a real Slurm cluster of four nodes on this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders import TraceBuilder
from lab import slurm

pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install 'iotrace[mpi]'")
pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "-")]
ROOT = Path(__file__).parent.parent.parent


def trace_of(folder: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("movie.tif", size=300_000)
    trace.read(file, "movie.tif", 0, 300_000)
    trace.close(file, "movie.tif")
    trace.save(folder / "T.iotrace")


def test_worlds_of_one_that_srun_makes_without_pmi_are_refused(tmp_path: Path) -> None:
    trace_of(tmp_path)
    iotrace = shutil.which("iotrace", path=str(Path(sys.executable).parent))
    assert iotrace
    with slurm.cluster(tmp_path / "slurm") as environment:
        environment |= {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["srun", "-n4", "--mpi=none", iotrace, *["replay", "T.iotrace", "-o", "R.ioresult", "--fs"], str(tmp_path)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("4 ranks were to replay together, and MPI's world has 1") == 4
    assert not (tmp_path / "R.ioresult").exists()

"""What a replay does on a real Slurm cluster of four nodes on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import TraceBuilder
from lab import slurm

from iotrace.replay.result import open_result

pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install 'iotrace[mpi]'")
pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "-")]
ROOT = Path(__file__).parent.parent.parent
READS = 20


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """In which srun and sbatch find the cluster, and batch scripts this iotrace."""
    with slurm.cluster(tmp_path_factory.mktemp("slurm") / "cluster") as found:
        programs = Path(sys.executable).parent
        yield found | {"PYTHONPATH": str(ROOT), "PATH": f"{programs}:{found['PATH']}"}


def trace_of(folder: Path, think_ns: int = 0) -> None:
    trace = TraceBuilder()
    file = trace.open("movie.tif", size=300_000)
    for number in range(READS):
        trace.read(file, "movie.tif", 15_000 * number, 15_000, at=10_000_000 + think_ns * number)
    trace.close(file, "movie.tif")
    trace.save(folder / "T.iotrace")
    (folder / "mnt").mkdir()


def script_of_the_docs(mount: Path) -> str:
    (found,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", (ROOT / "docs/fleet.md").read_text(), re.DOTALL)
    assert "/mnt/a " in found
    return str(found).replace("/mnt/a ", f"{mount} ")


def test_worlds_of_one_that_srun_makes_without_pmi_are_refused(tmp_path: Path, environment: dict[str, str]) -> None:
    trace_of(tmp_path)
    iotrace = shutil.which("iotrace", path=environment["PATH"])
    assert iotrace
    done = subprocess.run(
        ["srun", "-n4", "--mpi=none", iotrace, *["replay", "T.iotrace", "-o", "R.ioresult", "--fs"], str(tmp_path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("4 ranks were to replay together, and MPI's world has 1") == 4
    assert not (tmp_path / "R.ioresult").exists()


def test_the_batch_script_of_the_docs_is_one_replay_on_four_nodes(tmp_path: Path, environment: dict[str, str]) -> None:
    trace_of(tmp_path)
    (tmp_path / "job.sh").write_text(script_of_the_docs(tmp_path / "mnt"))
    done = subprocess.run(
        ["sbatch", "--wait", "--output", "said", "job.sh"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    said = (tmp_path / "said").read_text()
    assert done.returncode == 0, done.stderr + said
    assert "every operation ended as recorded" in said
    (run,) = open_result(tmp_path / "fleet.ioresult").info.runs
    assert (run.ops, run.errors) == (8 * (READS + 2), 0)
    assert [(rank.node, rank.users) for rank in run.ranks] == [(f"n{number}", 2) for number in (1, 2, 3, 4)]
    assert [rank.staged_by for rank in run.ranks] == [["n4"], ["n1"], ["n2"], ["n3"]]
    assert list((tmp_path / "mnt").iterdir()) == []


def test_a_batch_job_that_is_cancelled_removes_what_all_its_ranks_have_made(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    trace_of(tmp_path, think_ns=10_000_000_000)
    script = script_of_the_docs(tmp_path / "mnt").replace("--timing asap", "--timing think")
    (tmp_path / "job.sh").write_text(script)
    queued = subprocess.run(
        ["sbatch", "--parsable", "--output", "said", "job.sh"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    job = queued.stdout.strip()

    def wait_for(condition: str) -> None:
        until = time.monotonic() + 200
        while not {"staged": staged, "ended": ended}[condition]():
            assert time.monotonic() < until, (tmp_path / "said").read_text()
            time.sleep(0.1)

    def staged() -> bool:
        return len(list((tmp_path / "mnt").glob("iotrace-*/**/*.tif"))) == 8

    def ended() -> bool:
        left = subprocess.run(["squeue", "-h", "-j", job], env=environment, capture_output=True, text=True)
        return left.stdout.strip() == ""

    wait_for("staged")
    # to the steps, as at the end of a job's time
    subprocess.run(["scancel", "--signal=TERM", job], env=environment, check=True)
    wait_for("ended")
    assert list((tmp_path / "mnt").iterdir()) == []
    assert "interrupted by SIGTERM" in (tmp_path / "said").read_text()
    assert not os.path.lexists(tmp_path / "fleet.ioresult")

"""A fleet whose mount fails or hangs for one of its ranks: all end together, and remove what they can."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import TraceBuilder
from lab.base import waited_s
from lab.faulty import Faulty, faulty, missing

pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install 'iotrace[mpi]'")
MPIRUN = Path(sys.executable).parent / "mpirun"
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
    pytest.mark.skipif(not MPIRUN.exists(), reason="mpich is not installed: pip install 'iotrace[mpi]'"),
]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Faulty]:
    with faulty(tmp_path) as found:
        yield found


def replayed(folder: Path, mount: Faulty, *options: str) -> subprocess.CompletedProcess[str]:
    """Three ranks that write something each half second, for a minute and a half."""
    trace = TraceBuilder()
    file = trace.open("out.mrc", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    for turn in range(180):
        trace.write(file, "out.mrc", turn * 1000, 1000, at=500_000_000 * (turn + 1))
    saved = trace.save(folder / "T.iotrace")
    words = ["-m", "iotrace", "replay", str(saved), "--fs", str(mount.path), *options, "-o", str(folder / "R")]
    done = subprocess.run(
        [str(MPIRUN), "-n", "3", sys.executable, *words], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=80, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert not (folder / "R").exists()
    return done


def test_all_ranks_stop_when_one_finds_its_mount_full(mount: Faulty, tmp_path: Path) -> None:
    # the fifth write of all three ranks
    mount.rules({"op": "WRITE", "path": "mrc$", "first": 4, "times": 1, "errno": "ENOSPC"})
    done = replayed(tmp_path, mount)
    assert done.stderr.count("no space left during the replay") == 1
    assert list(mount.path.iterdir()) == []


def test_all_ranks_stop_when_one_hangs_in_its_mount_and_only_its_tree_stays(mount: Faulty, tmp_path: Path) -> None:
    mount.rules({"op": "WRITE", "path": "mrc$", "first": 4, "times": 1, "delay_s": 40})
    done = replayed(tmp_path, mount, "--timeout", "3")
    assert "write of /data/job/out.mrc by " in done.stderr
    assert 3 <= waited_s(done.stderr) < 35
    assert len(list(mount.path.iterdir())) <= 1

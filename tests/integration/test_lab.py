"""The lab's local file systems mount, and leave nothing behind, whatever ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import lab
import pytest
from lab.base import is_mounted

LOCAL = ("ext4", "xfs")
HOLD = """
import sys, time, lab
from pathlib import Path
with lab.mounted({kind!r}, Path({parent!r})) as mount:
    (mount.path / "file").write_bytes(b"x")
    print(mount.path, flush=True)
    time.sleep(60)
"""


def need(kind: str) -> None:
    if reason := lab.missing(kind):
        pytest.skip(reason)


@pytest.mark.parametrize("kind", LOCAL)
def test_two_of_a_kind_are_mounted_at_once_and_removed(kind: str, tmp_path: Path) -> None:
    need(kind)
    with lab.mounted(kind, tmp_path) as one, lab.mounted(kind, tmp_path) as other:
        (one.path / "file").write_bytes(b"one")
        assert not (other.path / "file").exists()
        assert is_mounted(one.path)
        assert is_mounted(other.path)
        assert one.path.stat().st_dev != other.path.stat().st_dev
    assert not is_mounted(one.path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", LOCAL)
def test_a_mount_is_removed_after_a_failure(kind: str, tmp_path: Path) -> None:
    need(kind)
    with pytest.raises(ValueError, match="of the block"), lab.mounted(kind, tmp_path):
        raise ValueError("of the block")
    assert list(tmp_path.iterdir()) == []


def test_a_mount_is_removed_after_ctrl_c(tmp_path: Path) -> None:
    need("xfs")
    words = [sys.executable, "-c", HOLD.format(kind="xfs", parent=str(tmp_path))]
    path = os.pathsep.join([*sys.path, str(Path(lab.__file__).parent.parent)])
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        assert process.stdout is not None
        point = Path(process.stdout.readline().strip())
        assert is_mounted(point)
        process.send_signal(signal.SIGINT)
    assert process.returncode != 0
    assert not is_mounted(point)
    assert list(tmp_path.iterdir()) == []


def test_servers_and_clients_have_processors_of_their_own_where_there_are_two() -> None:
    cpus = lab.Cpus.apart()
    assert set(cpus.servers) | set(cpus.clients) <= os.sched_getaffinity(0)
    assert bool(set(cpus.servers) & set(cpus.clients)) == (len(os.sched_getaffinity(0)) == 1)

"""--remount on a real file system: mounted anew before each run, once on each node, and left alone while used."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders import TraceBuilder

pytestmark = pytest.mark.system
ROOT = Path(__file__).parent.parent.parent
SIZE = 4 << 20

# in a mount namespace of its own, where fstab is another: iotrace, and then whether the mount is busy
SCRIPT = """
set -e
mount --bind "$1/fstab" /etc/fstab
mount "$1/mount"
cd "$1"
before=$(stat -c %d "$1/mount"); touch "$1/mount/there"
"$2" -m iotrace replay T.iotrace --fs "$1/mount" --timing asap --cold --remount --repeat 2 --json -o R.ioresult
test -e "$1/mount/there"
sleep 60 <"$1/mount/there" &
"$2" -m iotrace replay T.iotrace --fs "$1/mount" --cold --remount -o S.ioresult 2>busy && exit 9
kill %1
wait %1 || true
umount "$1/mount"
"""

# three ranks on one node; umount and mount write down who calls them
FLEET = r"""
set -e
mount --bind "$1/fstab" /etc/fstab
mount "$1/mount"
cd "$1"
for word in mount umount; do
    printf '#!/bin/sh\necho %s >>"%s/calls"\nexec %s "$@"\n' $word "$1" "$(command -v $word)" >bin/$word
    chmod +x bin/$word
done
PATH="$1/bin:$PATH" "$3" -n 3 "$2" -m iotrace replay T.iotrace --fs "$1/mount" --timing asap --cold --remount \
    --repeat 2 --json -o R.ioresult
sleep 60 <"$1/mount" &
"$3" -n 3 "$2" -m iotrace replay T.iotrace --fs "$1/mount" --cold --remount -o S.ioresult 2>busy && exit 9
kill %1
wait %1 || true
test -z "$(ls "$1/mount" | grep iotrace-)"
umount "$1/mount"
"""

needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("mkfs.ext4") is None,
    reason="only root may mount, with unshare and e2fsprogs",
)


def prepared(folder: Path) -> None:
    """An image with its line in an fstab, and a trace that reads SIZE bytes."""
    image, point = folder / "image", folder / "mount"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    point.mkdir()
    (folder / "fstab").write_text(f"{image} {point} ext4 loop 0 0\n")
    made = TraceBuilder()
    opened = made.open("movie.mrc", size=SIZE)
    for at in range(0, SIZE, 1 << 16):
        made.read(opened, "movie.mrc", at, 1 << 16)
    made.save(folder / "T.iotrace")


def run(script: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-c", script, "bash", str(folder), sys.executable,
         *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


@needs_mounts
def test_each_run_is_on_a_mount_that_was_made_anew_and_a_busy_one_is_left(tmp_path: Path) -> None:
    prepared(tmp_path)
    done = run(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [run["guard"]["verdict"] for run in said["runs"]] == ["storage", "storage"]
    assert all(run["guard"]["wire_bytes"] >= SIZE for run in said["runs"])
    assert said["options"]["remount"] is True
    busy = (tmp_path / "busy").read_text()
    assert "cannot be unmounted" in busy
    assert "Traceback" not in busy


@needs_mounts
def test_of_several_ranks_on_a_node_one_mounts_anew_and_the_others_wait(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install 'iotrace[mpi]'")
    mpirun = Path(sys.executable).parent / "mpirun"
    if not mpirun.exists():
        pytest.skip("mpich is not installed: pip install 'iotrace[mpi]'")
    prepared(tmp_path)
    (tmp_path / "bin").mkdir()
    done = run(FLEET, tmp_path, str(mpirun))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (tmp_path / "calls").read_text().split() == ["umount", "mount"] * 2
    for one in said["runs"]:
        assert one["errors"] == 0
        assert [rank["guard"]["verdict"] for rank in one["ranks"]] == ["storage"] * 3
        assert one["guard"]["needed_bytes"] == 3 * SIZE
    busy = (tmp_path / "busy").read_text()
    assert busy.count("cannot be unmounted") == 1
    assert "Traceback" not in busy

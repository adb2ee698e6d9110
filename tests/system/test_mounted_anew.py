"""--remount on a real file system: mounted anew before each run, and left alone while somebody uses it."""

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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.skipif(
    shutil.which("unshare") is None or shutil.which("mkfs.ext4") is None, reason="unshare or e2fsprogs is missing"
)
def test_each_run_is_on_a_mount_that_was_made_anew_and_a_busy_one_is_left(tmp_path: Path) -> None:
    image, point = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    point.mkdir()
    (tmp_path / "fstab").write_text(f"{image} {point} ext4 loop 0 0\n")
    made = TraceBuilder()
    opened = made.open("movie.mrc", size=SIZE)
    for at in range(0, SIZE, 1 << 16):
        made.read(opened, "movie.mrc", at, 1 << 16)
    made.save(tmp_path / "T.iotrace")
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-c", SCRIPT, "bash", str(tmp_path), sys.executable],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [run["guard"]["verdict"] for run in said["runs"]] == ["storage", "storage"]
    assert all(run["guard"]["wire_bytes"] >= SIZE for run in said["runs"])
    assert said["options"]["remount"] is True
    busy = (tmp_path / "busy").read_text()
    assert "cannot be unmounted" in busy
    assert "Traceback" not in busy

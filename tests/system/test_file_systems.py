"""The shipped traces replay alike on real file systems: equal counts, no unexpected outcome, nothing left behind."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from iotrace.replay.run import run_replay

pytestmark = [pytest.mark.system, pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")]
TRACES = ("relion-motion-correction", "relion-particle-extraction")
MAKERS = {
    "ext4": ["mkfs.ext4", "-q"],
    "xfs": ["mkfs.xfs", "-q"],
    "btrfs": ["mkfs.btrfs", "-q"],
}


def mounted(kind: str, folder: Path) -> Path:
    """Mount a file system of this kind at folder/mount."""
    mount = folder / "mount"
    mount.mkdir()
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", mount], check=True)
    elif kind == "overlay":
        layers = folder / "layers"
        subprocess.run(["mkdir", layers], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", layers], check=True)
        for name in ("lower", "upper", "work"):
            (layers / name).mkdir()
        options = ",".join(f"{name}dir={layers / name}" for name in ("lower", "upper", "work"))
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", mount], check=True)
    else:
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(1 << 30)
        subprocess.run([*MAKERS[kind], image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    return mount


@pytest.fixture(params=["ext4", "xfs", "btrfs", "overlay", "tmpfs"])
def mount(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    kind = request.param
    if kind in MAKERS and shutil.which(MAKERS[kind][0]) is None:
        pytest.skip(f"{MAKERS[kind][0]} is not installed")
    try:
        yield mounted(kind, tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{kind} cannot be mounted here: {error}")
    finally:
        subprocess.run(["umount", tmp_path / "mount"], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["umount", tmp_path / "layers"], check=False, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("name", TRACES)
def test_a_shipped_trace_replays_with_equal_counts(name: str, mount: Path, tmp_path: Path) -> None:
    trace = Path(str(resources.files("iotrace.data") / "traces" / f"{name}.iotrace"))
    here = tmp_path / "here"
    here.mkdir()
    result = run_replay(trace, [mount, here], timing="asap")
    under_test, reference = result.info.runs
    assert under_test.errors == reference.errors == 0
    assert {op: total.calls for op, total in under_test.by_op.items()} == {
        op: t.calls for op, t in reference.by_op.items()
    }
    assert under_test.bytes_written == reference.bytes_written
    assert under_test.bytes_read == reference.bytes_read
    assert not [entry for entry in mount.iterdir() if entry.name.startswith("iotrace-")]

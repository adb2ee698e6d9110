"""Copies of a file's blocks by the file system itself (FICLONE and FICLONERANGE): recorded, counted, replayed."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from iotrace.record.session import record
from iotrace.replay.run import run_replay
from iotrace.trace.counted import tables_of
from iotrace.trace.reader import Trace, open_trace

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
    pytest.mark.skipif(shutil.which("mkfs.xfs") is None, reason="mkfs.xfs is not installed"),
]
PROGRAM = """
import errno, fcntl, os, struct, sys
FICLONE, FICLONERANGE = 0x40049409, 0x4020940D
source = os.open("source", os.O_RDONLY)
os.read(source, 1000)
whole = os.open("whole", os.O_RDWR | os.O_CREAT)
fcntl.ioctl(whole, FICLONE, source)
os.read(whole, 5000)
part = os.open("part", os.O_RDWR | os.O_CREAT)
fcntl.ioctl(part, FICLONERANGE, struct.pack("qQQQ", source, 8192, 16384, 4096))
fcntl.ioctl(part, FICLONERANGE, struct.pack("qQQQ", source, 65536, 0, 65536))
os.pread(part, 4096, 65536)
for _ in range(5):
    fcntl.ioctl(whole, 0x80086601, bytearray(8))  # FS_IOC_GETFLAGS, which is no operation
try:
    fcntl.ioctl(part, FICLONERANGE, struct.pack("qQQQ", source, 1, 2, 3))
    sys.exit("not refused")
except OSError as error:
    assert error.errno == errno.EINVAL
os.close(whole)
"""


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """An XFS with a folder `work` in which a file of 100,000 bytes lies."""
    image, point = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run(["mkfs.xfs", "-q", image], check=True)
    point.mkdir()
    if subprocess.run(["mount", "-o", "loop", image, point], check=False).returncode:
        pytest.skip("XFS cannot be mounted here")
    try:
        (point / "work").mkdir()
        (point / "work" / "source").write_bytes(os.urandom(100_000))
        yield point
    finally:
        os.chdir(tmp_path)
        subprocess.run(["umount", point], check=True)


def recorded(mount: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **how: str) -> Trace:
    monkeypatch.chdir(mount / "work")
    outcome = record([sys.executable, "-S", "-c", textwrap.dedent(PROGRAM)], folder / "t.iotrace", **how)  # type: ignore[arg-type]
    monkeypatch.chdir(folder)
    assert outcome.exit_status == 0
    assert outcome.info.complete
    return open_trace(folder / "t.iotrace")


@pytest.mark.parametrize("backend", ["ebpf", "strace"])
def test_a_clone_has_both_files_its_ranges_and_no_bytes(
    backend: str, mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = recorded(mount, tmp_path, monkeypatch, backend=backend)
    events = trace.events()
    clones = events[events.op.str.startswith("ioctl")]
    assert clones.op.tolist() == ["ioctl.ficlone", *["ioctl.ficlonerange"] * 3]
    assert {Path(text).name for text in clones.path_text} == {"source"}
    names = trace.paths().set_index("path")["text"]
    assert [Path(text).name for text in clones.other_path.map(names)] == ["whole", "part", "part", "part"]
    assert clones.offset.tolist() == [0, 8192, 65_536, 1]
    assert clones.other_offset.tolist() == [0, 4096, 65_536, 3]
    assert clones["size"].tolist() == [100_000, 16_384, 34_464, 2]
    assert clones.result.tolist() == [0, 0, 0, -errno.EINVAL]
    assert (clones.duration_ns > 0).all()
    # neither position has moved
    reads = events[events.path_text.str.startswith(str(mount), na=False) & events.op.isin(["read", "pread64"])]
    assert reads.offset.tolist() == [0, 0, 65_536]
    assert reads.result.tolist() == [1000, 5000, 4096]


def test_clones_are_counted_where_only_counts_are_kept(
    mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = recorded(mount, tmp_path, monkeypatch, backend="ebpf", detail="histogram")
    with tables_of(trace) as tables:
        by_op = tables.by("op").set_index("key")
    columns = ["calls", "errors", "bytes_read", "bytes_written", "data_calls"]
    assert by_op.loc[["ioctl.ficlone"], columns].to_numpy().tolist() == [[1, 0, 0, 0, 0]]
    assert by_op.loc[["ioctl.ficlonerange"], columns].to_numpy().tolist() == [[3, 1, 0, 0, 0]]


def test_a_replay_clones_too_and_says_where_a_file_system_cannot(
    mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = recorded(mount, tmp_path, monkeypatch, backend="ebpf")
    # the parts of it are compared with what was staged: a clone's bytes are another file's
    result = run_replay(trace, [mount, "/dev/shm"], timing="asap", prefixes=[str(mount)], verify=True)
    same, without = result.info.runs
    for run in (same, without):
        assert {name: run.by_op[name].calls for name in ("ioctl.ficlone", "ioctl.ficlonerange")} == {
            "ioctl.ficlone": 1,
            "ioctl.ficlonerange": 3,
        }
    assert same.errors == 0
    assert without.errors > 0

"""What a replay says and leaves when a mount stops answering, or answers with errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from builders import TraceBuilder
from trees import in_trees

from iotrace.replay.result import open_result

pytestmark = [pytest.mark.system, pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of its own, thawed and unmounted at the end."""
    image, point = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(200 << 20)
    point.mkdir()
    if shutil.which("fsfreeze") is None:
        pytest.skip("fsfreeze (util-linux) is not installed")
    done = subprocess.run(f"mkfs.ext4 -q {image} && mount -o loop {image} {point}", shell=True, capture_output=True)
    if done.returncode:
        pytest.skip(f"no ext4 can be mounted here: {done.stderr.decode(errors='replace')}")
    try:
        yield point
    finally:
        subprocess.run(["fsfreeze", "-u", point], check=False, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while subprocess.run(["umount", point], check=False, stderr=subprocess.DEVNULL).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def slow_writer(folder: Path) -> Path:
    """A program that writes something each half second."""
    trace = TraceBuilder()
    file = trace.open("out.mrc", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    for turn in range(100):
        trace.write(file, "out.mrc", turn * 1000, 1000, at=500_000_000 * (turn + 1))
    return trace.save(folder / "T.iotrace")


def started(tmp_path: Path, mount: Path, *options: str) -> subprocess.Popen[str]:
    """A replay whose first write is done, on a mount that has stopped answering since."""
    trace = slow_writer(tmp_path)
    command = [sys.executable, "-m", "iotrace", "replay", str(trace), "--fs", str(mount), "-o", str(tmp_path / "R")]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 100
    while not any(path.stat().st_size for path in in_trees(mount)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    subprocess.run(["fsfreeze", "-f", mount], check=True)
    return process


def thaw(mount: Path) -> None:
    subprocess.run(["fsfreeze", "-u", mount], check=True)


def test_a_call_that_waits_for_longer_than_the_timeout_ends_the_replay_and_is_named(
    tmp_path: Path, mount: Path
) -> None:
    process = started(tmp_path, mount, "--timeout", "2")
    begun = time.monotonic()
    _, error = process.communicate(timeout=60)
    assert time.monotonic() - begun < 20
    assert process.returncode == 1
    (line,) = error.splitlines()
    assert line.startswith("iotrace: write of /data/job/out.mrc by ")
    assert f"on {mount} has waited for 2." in line
    assert "cannot be ended" in line
    left = line.partition("stays in ")[2].partition(":")[0]
    assert Path(left).parent == mount
    assert not (tmp_path / "R").exists()
    thaw(mount)
    # what removes the folder was only waiting for the mount
    deadline = time.monotonic() + 20
    while Path(left).exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_ctrl_c_twice_ends_a_replay_on_a_mount_that_does_not_answer(tmp_path: Path, mount: Path) -> None:
    process = started(tmp_path, mount)
    workers = psutil.Process(process.pid).children()
    deadline = time.monotonic() + 20
    while not any(worker.status() == psutil.STATUS_DISK_SLEEP for worker in threads_of(workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, error = process.communicate(timeout=60)
    assert time.monotonic() - begun < 25
    assert process.returncode == 130
    (line,) = error.splitlines()
    assert "stays in" in line
    assert "--clean" in line
    thaw(mount)
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    assert len(gone) == len(workers)


def threads_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [psutil.Process(thread.id) for process in processes for thread in process.threads()]


def test_a_call_that_waits_for_long_is_told_and_the_replay_goes_on_when_the_mount_is_back(
    tmp_path: Path, mount: Path
) -> None:
    process = started(tmp_path, mount, "--speed", "20", "--json")
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("Note: write of /data/job/out.mrc by ")
    assert re.search(r"has waited for 1\d\.\d s\.$", line.rstrip())
    thaw(mount)
    rest = process.stderr.read()
    assert process.wait(60) == 0
    assert rest in ("", "Note: The calls that waited have come back.\n")
    result = json.loads((tmp_path / "R" / "result.json").read_text())
    assert result["runs"][0]["by_op"]["write"]["calls"] == 100
    assert result["runs"][0]["added_s"] > 9


def test_a_mount_that_stalls_for_eight_seconds_is_a_stall_of_the_result_with_its_calls_named(
    tmp_path: Path, mount: Path
) -> None:
    process = started(tmp_path, mount, "--speed", "20", "--json")
    time.sleep(8)
    thaw(mount)
    assert process.wait(60) == 0
    info = open_result(tmp_path / "R").info
    (run,) = info.runs
    assert run.by_op["write"].calls == 100
    assert run.errors == 0
    (stall,) = run.stalls
    assert 7 < stall.took_s < 12
    assert stall.calls == 1
    assert stall.named[0].startswith("write of /data/job/out.mrc by ")
    printed = subprocess.run(
        [sys.executable, "-c", "import sys; from iotrace.replay.result import open_result\n"
         "from iotrace.replay.show import print_result; from iotrace.terminal import console\n"
         "print_result(open_result(sys.argv[1]).info, console())", tmp_path / "R"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"stall of {stall.took_s:.1f} s" in printed


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("inject", "outcome"),
    [
        ("preadv:error=EIO:when=2", ("preadv", 0, 5)),
        ("preadv:error=ESTALE:when=2", ("preadv", 0, 116)),
        ("preadv:retval=10:when=2", ("preadv", 0, 0)),
        ("pwritev:retval=7:when=2", ("pwritev", 0, 0)),
        ("openat2:error=EMFILE:when=1", ("openat2", 0, 24)),
        ("preadv:error=EINTR:when=2", None),
    ],
)
def test_errors_of_the_storage_are_counted_with_the_name_of_a_file_and_the_run_goes_on(
    tmp_path: Path, inject: str, outcome: tuple[str, int, int] | None
) -> None:
    trace = TraceBuilder()
    movie = trace.open("movie.tif", size=100_000, op="openat2")
    stack = trace.open("stack.mrc", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    for turn in range(4):
        trace.read(movie, "movie.tif", turn * 100, 100, op="preadv", count=2)
        trace.write(stack, "stack.mrc", turn * 100, 100, op="pwritev", count=2)
    saved = trace.save(tmp_path / "T.iotrace")
    call = inject.partition(":")[0]
    (tmp_path / "fs").mkdir()
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={inject}",
        sys.executable,
    ]
    words = ["-m", "iotrace", "replay", str(saved), "--fs", str(tmp_path / "fs"), "--timing", "asap", "--json"]
    done = subprocess.run([*command, *words, "-o", str(tmp_path / "R")], capture_output=True, text=True, timeout=120)
    run = json.loads(done.stdout)
    if outcome is None:
        assert (done.returncode, run["errors_by"], run["errors"]) == (0, [], 0)
        return
    assert done.returncode == 1
    first = next(one for one in run["errors_by"] if one["op"] == outcome[0])
    name = "stack.mrc" if call == "pwritev" else "movie.tif"
    assert (first["op"], first["recorded"], first["replayed"]) == outcome
    assert (first["calls"], first["example"]) == (1, f"/data/job/{name}")
    assert run["by_op"]["pwritev"]["calls"] == 4
    assert list((tmp_path / "fs").iterdir()) == []

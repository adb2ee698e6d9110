"""Replays on CephFS and MooseFS: the counts of a local disk; servers that stop for a while, and such as are killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import lab
import pytest
from builders import TraceBuilder
from lab.base import our_children, waited_s
from trees import in_trees

from iotrace.replay.result import Run, open_result
from iotrace.replay.run import run_replay

pytestmark = pytest.mark.system
KEEPERS = {"cephfs": "ceph-osd", "moosefs": "mfschunkserver"}
"""The servers that keep the data."""
WRITES = 24


@pytest.fixture(params=list(KEEPERS))
def mount(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[lab.Mount]:
    if reason := lab.missing(request.param):
        pytest.skip(reason)
    with lab.mounted(request.param, tmp_path) as mount:
        yield mount


def signalled(mount: lab.Mount, number: signal.Signals) -> None:
    """Send a signal to the servers that keep the mount's data."""
    servers = our_children([KEEPERS[mount.kind]])
    assert servers
    for pid in servers:
        os.kill(pid, number)


def started(tmp_path: Path, mount: lab.Mount, *options: str) -> subprocess.Popen[str]:
    """A replay that writes and syncs twice a second for 12 s, once its first write is done."""
    trace = TraceBuilder()
    file = trace.open("out.mrc", os.O_RDWR | os.O_CREAT, existed=False, mode=0o644)
    for turn in range(WRITES):
        trace.write(file, "out.mrc", turn * 1000, 1000, at=500_000_000 * (turn + 1))
        trace.on("fsync", file, "out.mrc")
    saved = trace.save(tmp_path / "T.iotrace")
    command = [sys.executable, "-m", "iotrace", "replay", str(saved), "--fs", str(mount.path), *options]
    process = subprocess.Popen(
        [*command, "-o", str(tmp_path / "R")], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    deadline = time.monotonic() + 100
    while not any(path.stat().st_size for path in in_trees(mount.path)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def run_of(tmp_path: Path) -> Run:
    (run,) = open_result(tmp_path / "R").info.runs
    return run


def test_a_shipped_trace_replays_with_the_counts_of_a_local_disk(mount: lab.Mount, tmp_path: Path) -> None:
    trace = Path(str(resources.files("iotrace.data") / "traces" / "relion-motion-correction.iotrace"))
    (tmp_path / "here").mkdir()
    there, here = run_replay(trace, [mount.path, tmp_path / "here"], timing="asap").info.runs
    assert (there.errors, there.bytes_read, there.bytes_written) == (0, here.bytes_read, here.bytes_written)
    assert {op: of.calls for op, of in there.by_op.items()} == {op: of.calls for op, of in here.by_op.items()}


def test_servers_that_stop_for_eight_seconds_are_a_stall_with_its_call_named_and_the_run_goes_on(
    mount: lab.Mount, tmp_path: Path
) -> None:
    process = started(tmp_path, mount)
    signalled(mount, signal.SIGSTOP)
    try:
        time.sleep(8)
    finally:
        signalled(mount, signal.SIGCONT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    run = run_of(tmp_path)
    assert (run.errors, run.by_op["write"].calls, run.by_op["fsync"].calls) == (0, WRITES, WRITES)
    (stall,) = run.stalls
    assert 7 < stall.took_s < 30
    assert " of /data/job/out.mrc by " in stall.named[0]


def test_servers_that_are_killed_end_the_run_cleanly(mount: lab.Mount, tmp_path: Path) -> None:
    """MooseFS gives up and tells the program; Ceph waits for ever, so that --timeout has to end the run."""
    process = started(tmp_path, mount, "--timeout", "60" if mount.kind == "moosefs" else "4")
    signalled(mount, signal.SIGKILL)
    _, error = process.communicate(timeout=150)
    if mount.kind == "moosefs":
        # 1: calls ended otherwise than recorded
        assert process.returncode == 1
        assert all(line.startswith("Note: ") for line in error.splitlines()), error
        run = run_of(tmp_path)
        assert {one.replayed for one in run.errors_by} == {errno.ENXIO}
        assert run.errors == sum(one.calls for one in run.errors_by) > WRITES / 2
        assert any("out.mrc" in one.example for one in run.errors_by)
        assert list(mount.path.glob("iotrace-*")) == []
    else:
        assert process.returncode == 1
        lines = [line for line in error.splitlines() if not line.startswith("Note: ")]
        assert len(lines) == 1
        assert lines[0].startswith("iotrace: fsync of /data/job/out.mrc by ")
        assert 4 <= waited_s(lines[0]) < 60
        # without the servers nothing can be removed either
        assert f"stays in {mount.path}/iotrace-" in lines[0]
        assert "--clean" in lines[0], lines[0]

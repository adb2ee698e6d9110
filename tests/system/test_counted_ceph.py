"""On a real CephFS and MooseFS: what the guard calls a run that is cached, and one that is cold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from builders import TraceBuilder

from iotrace.replay.figures import Guard
from iotrace.replay.result import open_result
from iotrace.replay.run import run_replay

pytestmark = pytest.mark.system
SIZE = 8 << 20


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Mount]:
    if reason := lab.missing("cephfs"):
        pytest.skip(reason)
    with lab.mounted("cephfs", tmp_path_factory.mktemp("ceph")) as mount:
        yield mount


def reads(folder: Path) -> Path:
    """A program that reads a file from front to back."""
    made = TraceBuilder()
    opened = made.open("movie.mrc", size=SIZE)
    for at in range(0, SIZE, 1 << 16):
        made.read(opened, "movie.mrc", at, 1 << 16)
    return made.save(folder / "T.iotrace")


def test_what_ceph_fuse_keeps_in_its_own_process_is_the_clients_cache(ceph: lab.Mount, tmp_path: Path) -> None:
    made = TraceBuilder()
    opened = made.open("movie.mrc", size=SIZE)
    for at in range(0, SIZE, 1 << 16):
        made.read(opened, "movie.mrc", at, 1 << 16)
    out = made.open("out", os.O_WRONLY | os.O_CREAT, mode=0o644, existed=False)
    for at in range(0, SIZE, 1 << 20):
        made.write(out, "out", at, 1 << 20)
    result = run_replay(made.save(tmp_path / "T.iotrace"), ceph.path, timing="asap", cache="cold")
    run = result.info.runs[0]
    assert run.guard is not None
    assert run.guard.source.startswith("ceph-fuse on ")
    assert run.guard.wire_bytes is not None
    # the page cache was empty, and yet nothing came from the servers
    assert run.guard.cached_bytes == 0
    assert run.guard.wire_bytes < SIZE // 10
    assert run.guard.verdict == "client cache"
    assert any("mounting anew" in sentence for sentence in result.info.warnings)
    # nor need what was written have arrived: FUSE does not pass the syncfs after the run on to ceph-fuse
    assert run.guard.wire_written_bytes is not None
    assert run.guard.written_source == run.guard.source


def test_on_cephfs_mounted_anew_a_cold_run_is_the_storages_and_the_next_the_clients(
    ceph: lab.Mount, tmp_path: Path
) -> None:
    trace = reads(tmp_path)

    def replayed(*options: str | Path) -> Guard | None:
        # a process for each: a tree that one has kept is in use as long as it lives
        words = ["-m", "iotrace", "replay", trace, "--fs", ceph.path, "--timing", "asap", *options, "--force"]
        subprocess.run([sys.executable, *words, "-o", tmp_path / "R"], check=True, capture_output=True)
        return open_result(tmp_path / "R").info.runs[0].guard

    replayed("--keep")
    (tree,) = ceph.path.glob("iotrace-*")
    ceph.anew()
    verdicts = []
    for cache in ("cold", "warm"):
        guard = replayed("--staged", tree, "--cache", cache)
        assert guard is not None
        assert guard.wire_bytes is not None
        assert (guard.wire_bytes >= SIZE) == (cache == "cold")
        verdicts.append(guard.verdict)
    assert verdicts == ["storage", "client cache"]


def test_on_moosefs_a_warm_run_is_the_clients_and_of_a_cold_one_the_guard_cannot_tell(tmp_path: Path) -> None:
    if reason := lab.missing("moosefs"):
        pytest.skip(reason)
    trace = reads(tmp_path)
    with lab.mounted("moosefs", tmp_path) as mount:
        warm, cold = (run_replay(trace, mount.path, timing="asap", cache=c).info.runs[0] for c in ("warm", "cold"))
    assert warm.guard is not None
    assert cold.guard is not None
    assert (warm.guard.verdict, warm.guard.cached_bytes) == ("client cache", SIZE)
    assert (cold.guard.verdict, cold.guard.cached_bytes) == ("cannot tell", 0)
    asked = [
        {one.source.split(" on ")[0]: one.during for one in run.counters}["mfsmount"]["fuse_ops.read"]
        for run in (warm, cold)
    ]
    # what the page cache holds never gets to mfsmount; a look is a read, too
    assert asked[0] < 10
    assert asked[1] >= SIZE >> 17

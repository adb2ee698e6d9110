"""On a real CephFS: a run that --cold could not make cold is called cached, by the counters of ceph-fuse itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from builders import TraceBuilder

from iotrace.replay.run import run_replay

pytestmark = pytest.mark.system
SIZE = 8 << 20


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if reason := lab.missing("cephfs"):
        pytest.skip(reason)
    with lab.mounted("cephfs", tmp_path_factory.mktemp("ceph")) as mount:
        yield mount.path


def test_what_ceph_fuse_keeps_in_its_own_process_is_the_clients_cache(mounted: Path, tmp_path: Path) -> None:
    made = TraceBuilder()
    opened = made.open("movie.mrc", size=SIZE)
    for at in range(0, SIZE, 1 << 16):
        made.read(opened, "movie.mrc", at, 1 << 16)
    out = made.open("out", os.O_WRONLY | os.O_CREAT, mode=0o644, existed=False)
    for at in range(0, SIZE, 1 << 20):
        made.write(out, "out", at, 1 << 20)
    result = run_replay(made.save(tmp_path / "T.iotrace"), mounted, timing="asap", cache="cold")
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

"""CephFS and MooseFS come up with their servers and clients apart, twice at once, and leave nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import lab
import pytest
from lab.base import is_mounted, our_children

pytestmark = pytest.mark.system
SERVERS = {"cephfs": ("ceph-mon", "ceph-osd", "ceph-mds"), "moosefs": ("mfsmaster", "mfschunkserver")}
CLIENTS = {"cephfs": ("ceph-fuse",), "moosefs": ("mfsmount",)}


@pytest.mark.parametrize("kind", ["cephfs", "moosefs"])
def test_two_of_a_kind_hold_data_of_their_own_and_are_removed(kind: str, tmp_path: Path) -> None:
    if reason := lab.missing(kind):
        pytest.skip(reason)
    content = os.urandom(3_000_000)
    with lab.mounted(kind, tmp_path) as one, lab.mounted(kind, tmp_path) as other:
        (one.path / "file").write_bytes(content)
        assert (one.path / "file").read_bytes() == content
        assert not (other.path / "file").exists()
        for programs, cpus in ((SERVERS[kind], one.cpus.servers), (CLIENTS[kind], one.cpus.clients)):
            running = our_children(programs)
            assert len(running) >= 2 * len(programs)
            assert all(os.sched_getaffinity(pid) == set(cpus) for pid in running)
    assert not is_mounted(one.path)
    assert our_children(SERVERS[kind] + CLIENTS[kind]) == []
    assert list(tmp_path.iterdir()) == []

"""CephFS on loopback: one monitor, one MDS, one OSD whose objects are in memory, and ceph-fuse.

By hand, without systemd and cephx, as https://docs.ceph.com/en/pacific/install/manual-deployment/ does it; without a
manager daemon, whose statistics nothing here needs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from lab.base import Cpus, Mount, child, is_mounted, network, run, unmount, wait_until

_MEMORY_BYTES: Final = 3 << 30
_MONITOR: Final = "127.0.0.1:3300"
CEPH_PACKAGES: Final = {
    "ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "ceph-mds": "ceph-mds", "ceph-fuse": "ceph-fuse",
    "ceph": "ceph-common", "ip": "iproute2",
}  # fmt: skip


def _configuration(folder: Path, cluster: str) -> str:
    settings = {
        "fsid": cluster, "mon host": f"v2:{_MONITOR}", "public addr": "127.0.0.1", "cluster addr": "127.0.0.1",
        "ms bind ipv6": "false", "auth cluster required": "none", "auth service required": "none",
        "auth client required": "none", "osd pool default size": "1", "osd pool default min size": "1",
        "mon allow pool size one": "true", "osd crush chooseleaf type": "0", "osd objectstore": "memstore",
        "memstore device bytes": str(_MEMORY_BYTES), "osd pool default pg autoscale mode": "off",
        "mon data": f"{folder}/mon", "mds data": f"{folder}/mds", "osd data": f"{folder}/osd",
        "run dir": f"{folder}/run", "admin socket": f"{folder}/run/$name.$pid.asok", "pid file": "",
        "log file": f"{folder}/log.$name", "mon data avail warn": "2", "mon data avail crit": "1",
        "mds beacon grace": "60",
    }  # fmt: skip
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


@contextmanager
def cephfs(folder: Path, cpus: Cpus) -> Iterator[Mount]:
    """CephFS; `folder` holds all of it but the objects."""
    cluster, osd = str(uuid.uuid4()), str(uuid.uuid4())
    configuration, log, point = folder / "ceph.conf", folder / "log", folder / "mount"
    for name in ("mon", "mds", "osd", "run", "mount"):
        (folder / name).mkdir()
    configuration.write_text(_configuration(folder, cluster))
    with ExitStack() as stack:
        inside = stack.enter_context(network(log))

        def server(*words: str) -> list[str]:
            return [*inside, *cpus.for_servers([*words, "--conf", str(configuration)])]

        def ceph(*words: str) -> str:
            return run(server("ceph", "--connect-timeout", "30", *words))

        run(server("ceph-mon", "--mkfs", "-i", "a", "--public-addrv", f"[v2:{_MONITOR}/0]"))
        monitor = stack.enter_context(
            child(server("ceph-mon", "-f", "-i", "a", "--public-addrv", f"[v2:{_MONITOR}/0]"), log)
        )
        ceph("osd", "new", osd, "0")
        run(server("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, "--no-mon-config"))
        ceph("osd", "crush", "add", "osd.0", "1.0", "root=default", "host=lab")
        stack.enter_context(child(server("ceph-osd", "-f", "-i", "0"), log))
        for pool in ("metadata", "data"):
            ceph("osd", "pool", "create", pool, "8")
        ceph("fs", "new", "lab", "metadata", "data")
        stack.enter_context(child(server("ceph-mds", "-f", "-i", "a"), log))
        wait_until(lambda: "up:active" in ceph("mds", "stat"), "the MDS of CephFS", monitor, log)
        words = [*inside, *cpus.for_clients(["ceph-fuse", "-f", "--conf", configuration, point])]

        def mount() -> None:
            client = stack.enter_context(child(words, log))
            stack.callback(unmount, point)
            wait_until(lambda: is_mounted(point), "ceph-fuse", client, log)

        def anew() -> None:
            unmount(point)
            mount()

        mount()
        made_of = "CephFS: one monitor, one MDS, one OSD with objects in memory, ceph-fuse, loopback"
        yield Mount("cephfs", point, made_of, cpus, anew)

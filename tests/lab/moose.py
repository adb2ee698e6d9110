"""MooseFS on loopback: one master, two chunkservers over plain folders, mfsmount; one copy of each chunk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from lab.base import Cpus, Mount, child, is_mounted, network, run, unmount, wait_until

_ADDRESS: Final = "10.77.0.1"
"""Chunkservers refuse a master on 127.0.0.0/8."""
_RETRIES: Final = 12
"""With the default of 30 an operation waits two minutes for a chunkserver that is gone before it fails."""
_EMPTY: Final = b"MFSM NEW"
"""A metadata file that tells the master to begin a new file system (mfsmaster(8))."""
MOOSE_PACKAGES: Final = {
    "mfsmaster": "moosefs-master", "mfschunkserver": "moosefs-chunkserver", "mfsmount": "moosefs-client",
    "ip": "iproute2",
}  # fmt: skip


def _write(path: Path, settings: dict[str, object]) -> Path:
    common = {"WORKING_USER": "root", "WORKING_GROUP": "root"}
    path.write_text("".join(f"{name} = {value}\n" for name, value in {**common, **settings}.items()))
    return path


@contextmanager
def moosefs(folder: Path, cpus: Cpus) -> Iterator[Mount]:
    """MooseFS; `folder` holds all of it."""
    log, point, master = folder / "log", folder / "mount", folder / "master"
    for name in ("mount", "master", "chunks1", "chunks2", "server1", "server2"):
        (folder / name).mkdir()
    (master / "metadata.mfs").write_bytes(_EMPTY)
    exports, topology = folder / "exports.cfg", folder / "topology.cfg"
    exports.write_text(f"{_ADDRESS}/32 / rw,alldirs,maproot=0\n")
    topology.write_text("")
    listening = {f"{name}_LISTEN_HOST": _ADDRESS for name in ("MATOML", "MATOCS", "MATOCL")}
    with ExitStack() as stack:
        inside = stack.enter_context(network(log))
        run([*inside, "ip", "addr", "add", f"{_ADDRESS}/32", "dev", "lo"])
        settings = _write(
            folder / "master.cfg",
            {"DATA_PATH": master, "EXPORTS_FILENAME": exports, "TOPOLOGY_FILENAME": topology, **listening},
        )
        server = stack.enter_context(
            child([*inside, *cpus.for_servers(["mfsmaster", "-f", "-c", settings, "start"])], log)
        )
        for number in (1, 2):
            disks = folder / f"disks{number}.cfg"
            disks.write_text(f"{folder}/chunks{number}\n")
            settings = _write(
                folder / f"server{number}.cfg",
                {
                    "DATA_PATH": folder / f"server{number}", "HDD_CONF_FILENAME": disks,
                    "HDD_LEAVE_SPACE_DEFAULT": "256MiB", "MASTER_HOST": _ADDRESS, "BIND_HOST": _ADDRESS,
                    "CSSERV_LISTEN_HOST": _ADDRESS, "CSSERV_LISTEN_PORT": 9500 + number,
                },
            )  # fmt: skip
            stack.enter_context(
                child([*inside, *cpus.for_servers(["mfschunkserver", "-f", "-c", settings, "start"])], log)
            )
        words = ["mfsmount", str(point), "-f", "-H", _ADDRESS, "-o", f"mfsdelayedinit,mfsioretries={_RETRIES}"]

        def mount() -> None:
            client = stack.enter_context(child([*inside, *cpus.for_clients(words)], log))
            stack.callback(unmount, point)
            wait_until(lambda: is_mounted(point), "mfsmount", client, log)

        def anew() -> None:
            unmount(point)
            mount()

        mount()
        wait_until(lambda: _writes(point / ".probe"), "a chunkserver of MooseFS", server, log)
        made_of = "MooseFS: one master, two chunkservers, one copy, mfsmount, loopback"
        yield Mount("moosefs", point, made_of, cpus, anew)


def _writes(probe: Path) -> bool:
    """Whether data can be written: chunkservers have registered with the master."""
    try:
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError:
        return False
    return True

"""File systems that make and remove themselves: ext4 and XFS on loop devices, CephFS and MooseFS on loopback, and a
passthrough in which each call is late by a known time.

    with lab.mounted("cephfs") as mount: ...

`mount.path` is the mount point. Nothing stays: servers are children that die with this process, everything lies in one
new temporary folder, and each network file system has a network namespace of its own, so that several can run at once.
What a kind needs and this machine lacks, `missing` says in a line that serves as the reason of a skip.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from lab.base import Cpus, Mount, new_folder, packages_missing
from lab.ceph import CEPH_PACKAGES, cephfs
from lab.delayed import Delays, delayed
from lab.local import LOCAL_PACKAGES, ext4, xfs
from lab.moose import MOOSE_PACKAGES, moosefs

__all__ = ["KINDS", "Cpus", "Delays", "Mount", "cephfs", "delayed", "ext4", "missing", "moosefs", "mounted", "xfs"]

_MAKERS: Final[dict[str, tuple[Callable[[Path, Cpus], AbstractContextManager[Mount]], dict[str, str]]]] = {
    "ext4": (ext4, LOCAL_PACKAGES["ext4"]),
    "xfs": (xfs, LOCAL_PACKAGES["xfs"]),
    "cephfs": (cephfs, CEPH_PACKAGES),
    "moosefs": (moosefs, MOOSE_PACKAGES),
    "delayed": (delayed, {}),
}
KINDS: Final = tuple(_MAKERS)
_ON_FUSE: Final = ("cephfs", "moosefs", "delayed")


def missing(kind: str) -> str | None:
    """Why this kind cannot be mounted here, in one line; None when it can."""
    if kind in _ON_FUSE:
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return f"{kind}: its client needs /dev/fuse"
        if (
            kind != "delayed"
            and subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode
        ):
            return f"{kind}: network namespaces need root"
    return packages_missing(kind, _MAKERS[kind][1])


@contextmanager
def mounted(kind: str, parent: Path | None = None, cpus: Cpus | None = None) -> Iterator[Mount]:
    """A mounted file system of this kind, removed at the end, whatever ends it.

    Parameters
    ----------
    kind: one of KINDS.
    parent: folder in which everything is kept; by default the system's folder for temporary files.
    cpus: which processors servers and clients run on; by default the last one for servers, the others for clients.

    Raises
    ------
    RuntimeError: it does not come up; the message ends with what the server said last.
    """
    with new_folder(kind, parent) as folder, _MAKERS[kind][0](folder, cpus or Cpus.apart()) as mount:
        yield mount

"""The mounted file systems, from /proc/self/mountinfo (proc_pid_mountinfo(5)): type, source, options of each.

File systems are known by mountinfo's type and source, never by statfs: every FUSE mount answers that with the same
magic number. Names come as the kernel escapes them (\\040 for a space); what cannot be UTF-8 keeps its bytes by
surrogate escapes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNTINFO: Final = Path("/proc/self/mountinfo")

_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2})")
_SYSTEM_POINTS: Final = (
    "/usr",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/boot",
    "/tmp",
    "/var",
    "/etc",
    "/snap",
    "/lib",
    "/opt",
    "/root",
)
_SYSTEM_TYPES: Final = frozenset(
    [
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "efivarfs",
        "fuse.gvfsd-fuse",
        "fuse.lxcfs",
        "fuse.portal",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "nsfs",
        "proc",
        "pstore",
        "ramfs",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "squashfs",
        "sysfs",
        "tracefs",
    ]
)
_STORAGE_POINTS: Final = ("/dev/shm",)


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system.

    Attributes
    ----------
    device: number as in stat(2). point: where it is mounted. type: as in mountinfo, such as wekafs or fuse.ceph-fuse.
    source: device or server. options: of the mount and of the file system, separated by commas. root: the folder of the
        file system that is mounted (not / for a bind mount of a folder).
    """

    device: int
    point: str
    type: str
    source: str
    options: str = ""
    root: str = "/"


def parse_mountinfo(text: bytes) -> list[Mount]:
    """Mounts of a mountinfo file, in its order; lines that do not have its form are left out.

    The same file system on the same point twice (as WEKA shows itself) comes once, as the later of the two.
    """
    mounts: list[Mount] = []
    for line in text.split(b"\n"):
        mount = _parse_line(line)
        if mount is None:
            continue
        for number, other in enumerate(mounts):
            if (other.device, other.point, other.type, other.root) == (
                mount.device,
                mount.point,
                mount.type,
                mount.root,
            ):
                del mounts[number]
                break
        mounts.append(mount)
    return mounts


def _parse_line(line: bytes) -> Mount | None:
    head, separator, tail = line.partition(b" - ")
    left, right = head.split(b" "), tail.split(b" ")
    if not separator or len(left) < 6 or len(right) < 2 or not left[4].startswith(b"/"):
        return None
    major, _, minor = left[2].partition(b":")
    if not (major.isdigit() and minor.isdigit() and len(major) < 10 and len(minor) < 10):
        return None
    options = [option for option in (left[5] + b"," + (right[2] if len(right) > 2 else b"")).split(b",") if option]
    return Mount(
        device=os.makedev(int(major), int(minor)),
        point=_name(left[4]),
        type=_name(right[0]),
        source=_name(right[1]),
        # `rw` and the like stand in both lists
        options=_name(b",".join(dict.fromkeys(options))),
        root=_name(left[3]),
    )


def _name(raw: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), raw))


def mounts_of_this_machine() -> list[Mount]:
    """Mounts that this process sees; empty where there is no /proc."""
    try:
        return parse_mountinfo(MOUNTINFO.read_bytes())
    except OSError:
        return []


def mount_of(path: str | os.PathLike[str], mounts: Iterable[Mount]) -> Mount | None:
    """The mount that an absolute path is on: the longest point that is a parent of it, the later of two on one point.

    The path is taken as it stands: resolve symbolic links first (os.path.realpath).
    """
    text = os.path.normpath(os.fspath(path))
    best: Mount | None = None
    for mount in mounts:
        if _is_below(text, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def is_system_mount(mount: Mount) -> bool:
    """Whether a mount is the system's own: its programs, devices and state, not storage for data. /dev/shm is
    storage."""
    if any(_is_below(mount.point, point) for point in _STORAGE_POINTS):
        return False
    if mount.point == "/" or mount.type in _SYSTEM_TYPES:
        return True
    # /var/lib/data or /run/media/disk may be anything: of these folders only the mount itself and pseudo file systems
    # count
    return mount.point in _SYSTEM_POINTS or any(
        _is_below(mount.point, point) for point in ("/proc", "/sys", "/dev", "/boot", "/run", "/usr", "/snap")
    )


def _is_below(path: str, folder: str) -> bool:
    folder = folder.rstrip("/")
    return path == (folder or "/") or path.startswith(folder + "/")

"""The mounted file systems, from /proc/self/mountinfo (proc_pid_mountinfo(5)): type, source, options of each.

File systems are known by mountinfo's type and source, never by statfs: every FUSE mount answers that with the same
magic number. Names come as the kernel escapes them (\\040 for a space); what cannot be UTF-8 keeps its bytes by
surrogate escapes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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
    file system that is mounted (not / for a bind mount of a folder). id, parent: numbers of this mount and of that
    which its point lies on; -1: not known, and of no account where two are compared.
    """

    device: int
    point: str
    type: str
    source: str
    options: str = ""
    root: str = "/"
    id: int = field(default=-1, compare=False)
    parent: int = field(default=-1, compare=False)


def parse_mountinfo(text: bytes) -> list[Mount]:
    """Mounts of a mountinfo file, in its order; lines that do not have its form are left out.

    The same file system on the same point twice (as WEKA shows itself) comes once, as the later of the two.
    """
    mounts: dict[tuple[int, str, str, str], Mount] = {}
    became: dict[int, int] = {}
    for line in text.split(b"\n"):
        mount = _parse_line(line)
        if mount is None:
            continue
        key = mount.device, mount.point, mount.type, mount.root
        other = mounts.pop(key, None)
        if other is not None:
            became[other.id] = mount.id
            if mount.parent == other.id:
                mount = replace(mount, parent=other.parent)
        mounts[key] = mount
    found = list(mounts.values())
    # what lies on the earlier lies on the later
    return [replace(mount, parent=_last(mount.parent, became)) for mount in found] if became else found


def _last(number: int, became: dict[int, int]) -> int:
    seen = set()
    while number in became and number not in seen:
        seen.add(number)
        number = became[number]
    return number


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
        id=_number(left[0]),
        parent=_number(left[1]),
    )


def _number(word: bytes) -> int:
    return int(word) if word.isdigit() and len(word) < 19 else -1


def _name(raw: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), raw))


def mounts_of_this_machine() -> list[Mount]:
    """Mounts that this process sees; empty where there is no /proc."""
    try:
        return parse_mountinfo(MOUNTINFO.read_bytes())
    except OSError:
        return []


def mount_of(path: str | os.PathLike[str], mounts: Iterable[Mount]) -> Mount | None:
    """The mount that an absolute path is on: where the kernel gets from the root, mount by mount.

    A mount on whose point's parents another was mounted since is hidden by that one. Where mounts have no numbers it is
    the longest point that is a parent of the path, the later of two on one point. The path is taken as it stands:
    resolve symbolic links first (os.path.realpath).
    """
    text = os.path.normpath(os.fspath(path))
    return _reached([mount for mount in mounts if _is_below(text, mount.point)])


def visible(mounts: Iterable[Mount]) -> list[Mount]:
    """Mounts that no other hides: those that `mount_of` finds at their own points."""
    found = list(mounts)
    by_point: dict[str, list[int]] = {}
    for number, mount in enumerate(found):
        by_point.setdefault(mount.point, []).append(number)

    def above(point: str) -> list[Mount]:
        points = ["/", *(point[:at] for at, letter in enumerate(point) if letter == "/" and at), point]
        numbers = [number for one in dict.fromkeys(points) for number in by_point.get(one, ())]
        return [found[number] for number in sorted(numbers)]

    return [mount for mount in found if _reached(above(mount.point)) is mount]


def _reached(above: list[Mount]) -> Mount | None:
    """Of the mounts on a path and its parents, in the order of mountinfo, that which the path is on."""
    if any(mount.id < 0 for mount in above):
        return max(reversed(above), key=lambda mount: len(mount.point), default=None)
    left = {mount.id: mount for mount in above}
    here: Mount | None = None
    while left:
        # what lies on a mount that is not shown, as in a chroot, begins a path; the root's parent may be itself
        lies = [
            mount
            for mount in left.values()
            if (mount.parent == here.id if here else mount.parent not in left or mount.parent == mount.id)
        ]
        if not lies:
            break
        # the first point on the way; of two on one mount and point the later
        here = min(reversed(lies), key=lambda mount: len(mount.point))
        del left[here.id]
    return here


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

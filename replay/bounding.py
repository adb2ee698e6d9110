"""--memory: the workers of a replay in a control group of bounded memory, so that this client's page cache is as small
as in production.

Pages that the workers bring in are charged to the group, and the kernel takes back the oldest when it is full. What was
in the page cache before a worker asked for it is charged to whoever brought it in: the cache has to be cold. Control
groups of version 2 are used where they have the memory controller, else those of version 1.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from iotrace.errors import ReplayError
from iotrace.mounts.mountinfo import Mount, mounts_of_this_machine

_NAME: Final = "iotrace-memory-{}"
_OURS: Final = re.compile(r"iotrace-memory-([0-9]+)")
_LIMITS: Final = {"cgroup2": "memory.max", "cgroup": "memory.limit_in_bytes"}
_EMPTY_S: Final = 5.0
"""A worker that was killed leaves its group a moment later."""


@contextmanager
def bounded(size: int | None) -> Iterator[Path | None]:
    """A control group of so many bytes, which is removed at the end; None for None.

    Raises
    ------
    ReplayError: no such group can be made here; says why.
    """
    if size is None:
        yield None
        return
    parent, kind = _parent()
    _sweep(parent)
    group = parent / _NAME.format(os.getpid())
    try:
        group.mkdir()
    except OSError as error:
        raise ReplayError(
            f"--memory: no control group can be made in {parent} ({error.strerror}): run as root, or under "
            "`systemd-run --user --scope -p Delegate=yes`."
        ) from None
    try:
        try:
            (group / _LIMITS[kind]).write_text(str(size))
        except OSError as error:
            raise ReplayError(f"--memory: {group / _LIMITS[kind]} cannot be set ({error.strerror}).") from None
        if not _may_join(group):
            raise ReplayError(f"--memory: no process may be moved into {group}: run as root.")
        yield group
    finally:
        _remove(group)


def join(group: Path | None) -> None:
    """Move this process into a group, if there is one."""
    if group is not None:
        (group / "cgroup.procs").write_text("0")


def _parent() -> tuple[Path, str]:
    """Where a group can be made, and of which kind of control groups (mountinfo's type)."""
    mounts = mounts_of_this_machine()
    own = _own_groups()
    for mount in mounts:
        if mount.type == "cgroup2":
            folder, top = _folder(mount, own.get("", "/")), Path(mount.point)
            # only a group that hands the controller down has children with limits
            while not _holds(folder / "cgroup.subtree_control", "memory") and folder != top:
                folder = folder.parent
            if _holds(folder / "cgroup.subtree_control", "memory"):
                return folder, mount.type
    for mount in mounts:
        if mount.type == "cgroup" and "memory" in mount.options.split(","):
            return _folder(mount, own.get("memory", "/")), mount.type
    raise ReplayError(
        "--memory: no control groups with the memory controller are mounted here (look at "
        "/sys/fs/cgroup/cgroup.subtree_control): leave --memory out, or use a machine with less memory."
    )


def _own_groups() -> dict[str, str]:
    """Controller ("" of version 2) → path of this process's group."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            found |= dict.fromkeys(controllers.split(","), path)
    return found


def _folder(mount: Mount, path: str) -> Path:
    """Folder of a group; the mount's own where a container does not show it."""
    inside = os.path.relpath(path, mount.root)
    folder = Path(mount.point) / inside
    return folder if not inside.startswith("..") and folder.is_dir() else Path(mount.point)


def _holds(path: Path, word: str) -> bool:
    try:
        return word in path.read_text().split()
    except OSError:
        return False


def _may_join(group: Path) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            join(group)
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def _sweep(parent: Path) -> None:
    """Remove groups of replays that were killed: no such process, and nobody in it (else the kernel refuses)."""
    for folder in parent.glob(_NAME.format("*")):
        match = _OURS.fullmatch(folder.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def _remove(group: Path) -> None:
    deadline = time.monotonic() + _EMPTY_S
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            # a worker that waits for its mount and cannot be ended: the next replay with --memory removes the group
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)

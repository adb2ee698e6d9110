"""Whom and what a recording is about: a command, running processes, a control group, or the node's CryoSPARC jobs; on
which mounts; files only, or pipes and sockets too."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from iotrace.errors import RecordError
from iotrace.mounts.mountinfo import mounts_of_this_machine, visible

BackendName = Literal["auto", "ebpf", "strace"]
Detail = Literal["events", "histogram"]
Kind = Literal["command", "pid", "cgroup", "cryosparc"]
_WORKER_WORDS: Final = (b"cryospar", b"--projec")
"""What the BPF program looks for in a command line (is_cryosparc in tasks.bpf.h)."""
_COMMAND_LINE_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Scope:
    """What a recording is about.

    Attributes
    ----------
    kind: command, pid, cgroup or cryosparc.
    pids: running processes to follow (pid).
    cgroup: folder of a control group below /sys/fs/cgroup.
    mounts: mount points; only files on these count; none: all files.
    all_files: pipes, sockets, devices, /proc and /sys too.
    """

    kind: Kind = "command"
    pids: tuple[int, ...] = ()
    cgroup: Path | None = None
    mounts: tuple[str, ...] = ()
    all_files: bool = False

    def devices(self) -> tuple[int, ...]:
        """Kernel device numbers of the mounts, as mountinfo and as stat(2) know them.

        Raises
        ------
        RecordError: a mount is not there.
        """
        found: dict[int, None] = {}
        by_point = {mount.point: mount.device for mount in visible(mounts_of_this_machine())}
        for point in self.mounts:
            if point not in by_point:
                raise RecordError(f"{point} is not a mount point: findmnt lists them.")
            found[_kernel_device(by_point[point])] = None
            try:
                found[_kernel_device(os.stat(point).st_dev)] = None
            except OSError as error:
                raise RecordError(f"the mount {point} does not answer: {error.strerror}.") from None
        return tuple(found)

    def filters(self) -> dict[str, Any]:
        """For trace.json."""
        found: dict[str, Any] = {"whom": self.text()}
        if self.mounts:
            found["mounts"] = list(self.mounts)
        if self.all_files:
            found["all"] = True
        return found if len(found) > 1 or self.kind != "command" else {}

    def text(self) -> str:
        """For people, and for trace.json."""
        match self.kind:
            case "pid":
                return "process " + ", ".join(map(str, self.pids))
            case "cgroup":
                return f"control group {self.cgroup}"
            case "cryosparc":
                return "CryoSPARC jobs of this node"
        return "command"


def _kernel_device(stat_device: int) -> int:
    return os.major(stat_device) << 20 | os.minor(stat_device)


def mount_points(names: Iterable[Path]) -> tuple[str, ...]:
    """The mount point of each folder, which may be the point itself or lie beneath it.

    Raises
    ------
    RecordError: there is no such folder.
    """
    points = sorted((mount.point for mount in mounts_of_this_machine()), key=len, reverse=True)
    found: dict[str, None] = {}
    for name in names:
        try:
            real = os.path.realpath(name, strict=True)
        except OSError as error:
            raise RecordError(f"--fs {name}: {error.strerror}.") from None
        point = next(p for p in points if _is_beneath(real, p))
        found[point] = None
    return tuple(found)


def running(pids: Sequence[int]) -> tuple[int, ...]:
    """The same pids, each a process that runs; a thread's number stands for its process.

    Raises
    ------
    RecordError: there is no such process, or it has ended.
    """
    found: dict[int, None] = {}
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text(errors="replace")
        except OSError:
            raise RecordError(f"there is no process {pid}: ps -e lists them.") from None
        if status.split("\nState:\t")[1][0] in "ZX" and "\nThreads:\t1\n" in status:
            raise RecordError(f"process {pid} has ended: only its exit status is left, for its parent to ask.")
        process = int(status.split("\nTgid:\t")[1].split("\n")[0])
        if process == os.getpid():
            raise RecordError(f"{pid} is this recorder itself, which is not recorded.")
        found[process] = None
    return tuple(found)


def find_cgroup(name: str) -> Path:
    """Folder of a control group: its path, or its name below /sys/fs/cgroup as /proc/PID/cgroup shows it.

    Raises
    ------
    RecordError: there is none.
    """
    mounts = [m for m in mounts_of_this_machine() if m.type in ("cgroup", "cgroup2")]
    # version 2 first: there a group has one folder, in version 1 one in each hierarchy
    roots = [m.point for m in sorted(mounts, key=lambda m: m.type != "cgroup2")]
    for folder in (Path(name), *(Path(root) / name.lstrip("/") for root in roots)):
        real = folder.resolve()
        if (real / "cgroup.procs").is_file() and any(_is_beneath(str(real), root) for root in roots):
            return real
    raise RecordError(f"there is no control group {name}: look below /sys/fs/cgroup, or in /proc/PID/cgroup.")


def hierarchy_of(cgroup: Path) -> int:
    """Number of the hierarchy that a control group lies in; 0 for version 2."""
    mounts = [m for m in mounts_of_this_machine() if m.type in ("cgroup", "cgroup2")]
    mount = max((m for m in mounts if _is_beneath(str(cgroup), m.point)), key=lambda m: len(m.point), default=None)
    if mount is None or mount.type == "cgroup2":
        return 0
    options = set(mount.options.split(","))
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, _ = line.split(":", 2)
        if controllers and set(controllers.split(",")) <= options:
            return int(number)
    return 0


def _is_beneath(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def members(cgroup: Path) -> list[int]:
    """Processes of a control group and of those in it."""
    found: dict[int, None] = {}
    for folder, _, files in os.walk(cgroup):
        if "cgroup.procs" not in files:
            continue
        try:
            found.update(dict.fromkeys(map(int, (Path(folder) / "cgroup.procs").read_text().split())))
        except OSError:
            continue  # it went meanwhile, or is threaded and its processes stand above
    return [pid for pid in found if pid > 0]


def cryosparc_workers() -> list[int]:
    """Running processes whose command line is that of a CryoSPARC worker, and whose parent's is not."""
    lines: dict[int, bytes] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                lines[int(entry.name)] = (Path(entry.path) / "cmdline").read_bytes()[:_COMMAND_LINE_BYTES]
            except OSError:
                continue
    return [pid for pid, line in lines.items() if all(word in line for word in _WORKER_WORDS)]

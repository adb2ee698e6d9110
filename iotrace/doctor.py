"""`iotrace doctor`: what this machine can and cannot do, and the line that mends each lack.

Looks, and changes nothing: the BPF object is really loaded and let go again, io_uring is really set up, everything
else is read from /proc, /sys and the package. A check is a function that gives rows; each is `ok`, `warn` (works,
with less) or `missing`. Recording needs one backend, replay its kernels.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json as json_module
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from iotrace.terminal import console, printable, show
from iotrace.units import binary_text, bytes_text

Status = Literal["ok", "warn", "missing"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: its area and name, how it is, what was found, and the line that mends a lack."""

    area: str
    name: str
    status: Status
    found: str
    mend: str = ""


_CAPABILITIES: Final = {
    # name: (bit in CapEff, what lacks without it); linux/capability.h
    "CAP_BPF": (39, "loading the eBPF recorder"),
    "CAP_PERFMON": (38, "attaching the eBPF recorder"),
    "CAP_SYS_ADMIN": (21, "(stands in for the two above)"),
    "CAP_SYS_PTRACE": (19, "reading other users' processes"),
    "CAP_SYS_NICE": (23, "keeping the recorder ahead of a busy machine"),
    "CAP_SYS_RESOURCE": (24, "raising limits"),
}
_PACKAGES: Final = {
    # what: (Debian, Red Hat, SUSE)
    "libbpf": ("libbpf1", "libbpf", "libbpf1"),
    "strace": ("strace", "strace", "strace"),
    "fio": ("fio", "fio", "fio"),
    "mpi": ("mpich", "mpich", "mpich"),
}
_IO_URING_SETUP: Final = 425
"""The same number on every architecture; its parameters are 120 bytes (io_uring.h)."""


def doctor(*, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Say what this machine can and cannot do, and what mends each lack.

    The exit status is 0 when recording by at least one backend and replay work here, 1 otherwise.

    ```
    iotrace doctor
    ```

    Parameters
    ----------
    json
        Print one JSON object with all checks.
    """
    checks = examine()
    record, replay = can_record(checks), can_replay(checks)
    if json:
        found = {"record": record, "replay": replay, "checks": [asdict(check) for check in checks]}
        print(json_module.dumps(found))
    else:
        _print(checks, record, replay)
    return 0 if record and replay else 1


def examine() -> list[Check]:
    """All checks, in the order shown; none of them raises or changes anything."""
    areas: dict[str, Callable[[], Iterator[Check]]] = {
        "system": _system,
        "record": _recording,
        "rights": _rights,
        "replay": _replaying,
        "limits": _limits,
        "storage": _storage,
    }
    found: list[Check] = []
    for area, look in areas.items():
        try:
            found += look()
        except Exception as error:
            # a check that fails on an unforeseen machine must not hide the others
            found.append(Check(area, "(check)", "warn", f"could not look: {type(error).__name__}: {error}"))
    return found


def can_record(checks: list[Check]) -> bool:
    """Whether some backend works."""
    return any(check.status == "ok" for check in checks if check.name in ("eBPF backend", "strace backend"))


def can_replay(checks: list[Check]) -> bool:
    """Whether the replay's kernels load."""
    return any(check.status != "missing" for check in checks if check.name == "psync engine")


def _system() -> Iterator[Check]:
    machine, release = platform.machine(), platform.release()
    known = sys.platform == "linux" and machine in ("x86_64", "aarch64")
    recent = _version(release) >= (5, 14)
    yield Check(
        "system", "kernel", "ok" if known and recent else "warn", f"{platform.system()} {release} on {machine}",
        "" if known and recent else "iotrace is made for Linux 5.14 or newer on x86_64 (aarch64 is less tried)",
    )  # fmt: skip
    pages = os.sysconf("SC_PAGE_SIZE")
    total = pages * os.sysconf("SC_PHYS_PAGES")
    yield Check("system", "memory", "ok", f"{binary_text(total)}, pages of {binary_text(pages)}, {os.cpu_count()} CPUs")
    yield Check("system", "Python", "ok", f"{platform.python_version()} at {sys.executable}")


def _recording() -> Iterator[Check]:
    pip = f"{sys.executable} -m pip"
    built = sorted(_package_folder().glob("record/**/*.bpf.o"))
    yield Check(
        "record", "BPF object", "ok" if built else "missing", built[0].name if built else "not in this installation",
        "" if built else f"{pip} install ziglang && {pip} install --force-reinstall iotrace",
    )  # fmt: skip
    try:
        version = _libbpf_version()
        yield Check("record", "libbpf", "ok", f"libbpf.so.1 ({version})")
    except OSError:
        yield Check("record", "libbpf", "missing", "libbpf.so.1 is not there", _install("libbpf"))
    btf = Path("/sys/kernel/btf/vmlinux")
    if btf.exists():
        yield Check("record", "BTF", "ok", str(btf))
        yield from _kernel_features()
    else:
        yield Check("record", "BTF", "missing", f"{btf} is not there", "a kernel built with CONFIG_DEBUG_INFO_BTF=y")
    rights = "iotrace record --backend strace" if os.geteuid() == 0 else f"sudo {sys.executable} -m iotrace record …"
    yield _backend("iotrace.record.ebpf.program", "Program", "eBPF backend", rights)
    yield _tool("strace", "the fallback recorder", "record", ["strace", "-V"])
    yield _backend("iotrace.record.strace", "StraceBackend", "strace backend", _install("strace"))


def _kernel_features() -> Iterator[Check]:
    try:
        from iotrace.record.ebpf import libbpf, needs

        found = needs.present(libbpf.load_library())
    except Exception:
        return  # another row says why
    for feature in needs.FEATURES:
        mend = "" if feature.name in found else f"{feature.version} or newer"
        lacking = f"not in this kernel; a recording lacks {feature.lacking or 'nothing, and costs more time'}"
        found_text = lacking if mend else f"{feature.kind} of {feature.version}"
        yield Check("record", feature.name, "warn" if mend else "ok", found_text, mend)


def _rights() -> Iterator[Check]:
    status = Path("/proc/self/status").read_text()
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    held = {name for name, (bit, _) in _CAPABILITIES.items() if effective >> bit & 1}
    lacking = {name for name in _CAPABILITIES if name not in held}
    if "CAP_SYS_ADMIN" in held:
        lacking -= {"CAP_BPF", "CAP_PERFMON"}
    if {"CAP_BPF", "CAP_PERFMON"} <= held:
        lacking.discard("CAP_SYS_ADMIN")
    yield Check("rights", "capabilities", "ok" if not lacking else "warn", ", ".join(sorted(held)) or "none")
    wanted = [name for name in _CAPABILITIES if name in lacking and name != "CAP_SYS_ADMIN"]
    for name in wanted:
        # root without a capability sits in a container, where sudo brings nothing
        mend = (
            f"start the container with --cap-add={name.removeprefix('CAP_')}"
            if os.geteuid() == 0
            else f"sudo {sys.executable} -m iotrace …, or AmbientCapabilities={name} in a service"
        )
        yield Check("rights", name, "warn", f"lacking: {_CAPABILITIES[name][1]}", mend)
    scope = _read_int("/proc/sys/kernel/yama/ptrace_scope")
    if scope is not None and scope > 1:
        yield Check(
            "rights", "ptrace", "missing" if scope > 2 else "warn", f"kernel.yama.ptrace_scope is {scope}",
            "sudo sysctl kernel.yama.ptrace_scope=1" if scope < 3 else "set it to 1 in /etc/sysctl.d and restart",
        )  # fmt: skip


def _replaying() -> Iterator[Check]:
    try:
        importlib.import_module("iotrace.replay.run")
        yield Check("replay", "psync engine", "ok", "Numba kernels load")
    except Exception as error:
        line = " ".join(str(error).split())
        yield Check(
            "replay", "psync engine", "missing", f"{type(error).__name__}: {line}",
            f"{sys.executable} -m pip install --upgrade iotrace numba",
        )  # fmt: skip
    yield _io_uring()
    yield _tool("fio", "comparing replay with fio", "replay", ["fio", "--version"])
    mpi4py = importlib.util.find_spec("mpi4py") is not None
    launcher = next((name for name in ("mpirun", "srun") if shutil.which(name)), None)
    found = f"mpi4py {'is' if mpi4py else 'is not'} installed, {launcher or 'no mpirun or srun'}"
    mends = [] if mpi4py else [f"{sys.executable} -m pip install mpi4py"]
    mends += [] if launcher else [_install("mpi")]
    yield Check("replay", "MPI", "ok" if not mends else "warn", found, " && ".join(mends))


def _limits() -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= 65_536
    yield Check(
        "limits", "open files", "ok" if enough else "warn", f"{_limit(soft)}, can be raised to {_limit(hard)}",
        "" if enough else "ulimit -Hn 65536 as root, or LimitNOFILE= in the service",
    )  # fmt: skip
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    # from 5.11 on BPF maps are charged to the control group, not to this limit
    matters = _version(platform.release()) < (5, 11) and locked != resource.RLIM_INFINITY and locked < 1 << 29
    yield Check(
        "limits", "locked memory", "warn" if matters else "ok",
        "unlimited" if locked == resource.RLIM_INFINITY else binary_text(locked),
        "ulimit -l unlimited as root" if matters else "",
    )  # fmt: skip
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    most = _read_int("/proc/sys/kernel/threads-max") or 0
    threads = most if processes == resource.RLIM_INFINITY else min(processes, most or processes)
    few = threads < 4096
    yield Check("limits", "threads", "warn" if few else "ok", f"{threads:,}", "ulimit -u 65536 as root" if few else "")


def _storage() -> Iterator[Check]:
    from iotrace.mounts.mountinfo import is_system_mount, mounts_of_this_machine, visible
    from iotrace.mounts.space import ANSWERS_S, space_of

    shown = {mount.point: mount for mount in visible(mounts_of_this_machine()) if not is_system_mount(mount)}
    points = {"/": "the system's own"} | {point: f"{mount.type}, {mount.source}" for point, mount in shown.items()}
    for point, kind in points.items():
        answer = space_of(point)
        if answer is None:
            yield Check(
                "storage",
                point,
                "warn",
                f"{kind}; does not answer within {ANSWERS_S:.0f} s",
                f"umount -l {point}",
            )
            continue
        if answer.error:
            yield Check("storage", point, "warn", f"{kind}; does not work: {answer.error}", f"umount -l {point}")
            continue
        free, total, writable = answer.free, answer.total, answer.writable
        full = total > 0 and free < total / 10
        room = f"{bytes_text(free)} free of {bytes_text(total)}"
        yield Check(
            "storage", point, "warn" if full else "ok", f"{kind}; {room}{'' if writable else ', not writable for you'}",
            "free some space: a replay keeps 10 % of a mount free" if full else "",
        )  # fmt: skip


def _backend(module: str, name: str, title: str, mend: str) -> Check:
    try:
        reason: str | None = getattr(importlib.import_module(module), name).unavailable()
    except Exception as error:
        return Check("record", title, "missing", f"{type(error).__name__}: {' '.join(str(error).split())}", mend)
    if reason is None:
        return Check("record", title, "ok", "works (loaded and let go again)" if name == "Program" else "works")
    return Check("record", title, "missing", reason, mend)


def _tool(name: str, purpose: str, area: str, version: list[str]) -> Check:
    path = shutil.which(name)
    if path is None:
        return Check(area, name, "warn", f"not installed ({purpose})", _install(name))
    try:
        ran = subprocess.run(version, capture_output=True, text=True, timeout=10, check=False)
        first = (ran.stdout or ran.stderr).strip().splitlines()[0]
    except (OSError, subprocess.TimeoutExpired, IndexError):
        first = "does not say its version"
    return Check(area, name, "ok", f"{first} at {path}")


def _io_uring() -> Check:
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(ctypes.c_long(_IO_URING_SETUP), ctypes.c_uint(1), ctypes.create_string_buffer(120))
    if ring >= 0:
        os.close(ring)
        return Check("replay", "io_uring", "ok", "allowed")
    reason = os.strerror(ctypes.get_errno())
    disabled = _read_int("/proc/sys/kernel/io_uring_disabled")
    mend = (
        "sudo sysctl kernel.io_uring_disabled=0"
        if disabled
        else "allow io_uring_setup in the container's seccomp profile"
    )
    return Check("replay", "io_uring", "warn", f"not allowed: {reason}", mend)


def _package_folder() -> Path:
    return Path(__file__).parent


def _libbpf_version() -> str:
    library = ctypes.CDLL("libbpf.so.1")
    library.libbpf_version_string.restype = ctypes.c_char_p
    text: Any = library.libbpf_version_string()
    return str(text.decode()) if text else "unknown version"


def _install(what: str) -> str:
    """The distribution's own line; both common ones where the distribution is not known."""
    debian, red_hat, suse = _PACKAGES[what]
    try:
        release = Path("/etc/os-release").read_text()
    except OSError:
        release = ""
    like = " ".join(
        line.split("=", 1)[1].strip('"') for line in release.splitlines() if line.startswith(("ID=", "ID_LIKE="))
    )
    if "debian" in like or "ubuntu" in like:
        return f"sudo apt-get install {debian}"
    if any(name in like for name in ("rhel", "fedora", "centos")):
        return f"sudo dnf install {red_hat}"
    if "suse" in like:
        return f"sudo zypper install {suse}"
    return f"sudo apt-get install {debian} (Debian) or sudo dnf install {red_hat} (Red Hat)"


def _read_int(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _version(release: str) -> tuple[int, int]:
    parts = [int("".join(filter(str.isdigit, part)) or 0) for part in release.split("-")[0].split(".")[:2]]
    return (parts[0], parts[1]) if len(parts) == 2 else (0, 0)


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"


def _print(checks: list[Check], record: bool, replay: bool) -> None:
    import textwrap

    from rich.text import Text

    out = console()
    style = {"ok": "green", "warn": "yellow", "missing": "bold red"}
    room = max(60, min(out.width, 120))
    widest = min(24, max(len(check.name) for check in checks))
    indent = 11 + widest + 2
    area = ""
    for check in checks:
        if check.area != area:
            show(out, Text(("\n" if area else "") + check.area, style="bold"))
            area = check.area
        name = printable(check.name)
        begin = Text("  ").append(f"{check.status:9}", style[check.status]).append(f"{name:{widest}}  ")
        if len(name) > widest:
            show(out, begin)
            begin = Text(" " * indent)
        lines = textwrap.wrap(printable(check.found), room - indent) or [""]
        show(out, begin.append(lines[0]))
        for line in lines[1:]:
            show(out, " " * indent + line)
        if check.mend:
            # a command that wraps cannot be copied: it goes on a line of its own, whole
            show(out, Text(f"           → {printable(check.mend)}", style="cyan"))
    show(out, "")
    for works, what in ((record, "Recording"), (replay, "Replay")):
        show(
            out,
            Text(f"{what} {'works' if works else 'does not work'} on this machine.", "green" if works else "bold red"),
        )

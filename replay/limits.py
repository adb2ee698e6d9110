"""What a run needs of this machine beside CPUs: descriptors, processes, threads, memory; looked at before it starts."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil

from iotrace.errors import ReplayError
from iotrace.replay.lanes import ALL_BYTES_MAX, BUFFER_BYTES_MIN, NUMBERS_SPARE, REAL_BYTES_MAX
from iotrace.replay.rows import Plan
from iotrace.units import binary_text, bytes_text

_ROW_BYTES: Final = 24
"""Of each row a run notes start, duration and result."""
_WORKER_BYTES: Final = 20 << 20
"""Memory that a forked worker has for itself, pages that Python and the kernels write to: 14.5 to 18.7 MiB were
measured (unique set size, 8 workers of 4 users of the shipped motion correction)."""
_CGROUPS: Final = Path("/sys/fs/cgroup")


def own_descriptors(plans: Sequence[Plan]) -> int:
    """Descriptors that a process of a run has open besides those of the trace."""
    return NUMBERS_SPARE + 3 * sum(plan.workers for plan in plans)


def prepare(plans: Sequence[Plan], bound: int | None = None) -> None:
    """Raise the limit of open files to what the plans of a run need, one for each user, and look at all others.

    Raises
    ------
    ReplayError: this process may not open so many files, or start so many threads, or memory is short; says how many
    users it would be enough for. `bound`: bytes that the workers may take (--memory).
    """
    _descriptors(plans)
    threads = sum(plan.lanes + plan.workers for plan in plans)
    for room, limit in _thread_limits():
        if threads > room:
            _refuse(plans, f"{threads} processes and threads", f"{room} more", room / threads, limit)
    memory = sum(memory_of(plan) for plan in plans)
    if bound is not None and memory > bound:
        users = int(len(plans) * bound / memory)
        raise ReplayError(
            f"{f'{len(plans)} users need' if len(plans) > 1 else 'the trace needs'} {binary_text(memory)} of memory "
            f"without any page cache, and --memory gives {binary_text(bound)}: give at least --memory "
            f"{-(-memory >> 20)}MiB{f', or at most --users {users}' if users else ''}."
        )
    available = psutil.virtual_memory().available
    if memory > available:
        _refuse(
            plans, f"{bytes_text(memory)} of memory", bytes_text(available), available / memory, "free memory; see free"
        )


def memory_of(plan: Plan) -> int:
    """Memory in bytes that a user's run takes: notes of its rows (unless in files), buffers, processes."""
    buffers = min(plan.lanes * min(plan.read_bytes + BUFFER_BYTES_MIN, REAL_BYTES_MAX), ALL_BYTES_MAX)
    notes = len(plan.rows) * _ROW_BYTES if plan.folder is None else 0
    return notes + buffers + plan.workers * _WORKER_BYTES


def _refuse(plans: Sequence[Plan], needed: str, there: str, share: float, limit: str) -> None:
    users = int(len(plans) * share)
    if len(plans) == 1:
        raise ReplayError(f"the trace needs {needed}, and this machine allows {there} ({limit}): map less (--map).")
    choice = f"at most --users {users}" if users else "map less (--map)"
    raise ReplayError(f"{len(plans)} users need {needed}, and this machine allows {there} ({limit}): {choice}.")


def _descriptors(plans: Sequence[Plan]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(plans, key=lambda plan: plan.most_open + plan.high_numbers)
    needed = most.most_open + most.high_numbers + own_descriptors(plans)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ReplayError(
            f"the trace has up to {most.most_open} files open at a time, with iotrace's own {needed}, and this "
            f"process may open {hard}: raise the limit (ulimit -Hn), or map less (--map)."
        )
    if soft < hard or soft == resource.RLIM_INFINITY:
        wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _thread_limits() -> Iterator[tuple[int, str]]:
    """How many more threads may begin, and what says so: user, machine, control groups."""
    running = _number(Path("/proc/loadavg"), lambda text: int(text.split()[3].split("/")[1]))
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if os.getuid() != 0 and soft != resource.RLIM_INFINITY:
        yield max(0, soft - _threads_of_this_user()), "ulimit -u"
    for name in ("threads-max", "pid_max"):
        most = _number(Path("/proc/sys/kernel") / name, int)
        if most is not None and running is not None:
            yield max(0, most - running), f"sysctl kernel.{name}"
    for folder in _groups():
        most, now = (_number(folder / name, int) for name in ("pids.max", "pids.current"))
        if most is not None and now is not None:
            yield max(0, most - now), f"{folder}/pids.max"


def _threads_of_this_user() -> int:
    own, total = os.getuid(), 0
    for process in psutil.process_iter():
        try:
            total += process.num_threads() if process.uids().real == own else 0
        except psutil.Error:
            continue
    return total


def _groups() -> Iterator[Path]:
    """Folders of this process's control groups (v2, and v1's pids), from its own up."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "pids"):
            continue
        root = _CGROUPS / controllers
        folder = root / path.lstrip("/")
        while folder.is_relative_to(root) and folder != root:
            yield folder
            folder = folder.parent


def _number(path: Path, parse: Callable[[str], int]) -> int | None:
    try:
        return parse(path.read_text())
    except (OSError, ValueError, IndexError):
        return None

"""`iotrace record`: run a command and record its file I/O."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from iotrace.errors import UsageError
from iotrace.record.scope import BackendName, Detail, Scope, find_cgroup, mount_points, running
from iotrace.units import bytes_text, count_text, duration_text, parse_bytes

if TYPE_CHECKING:
    from iotrace.record.session import Outcome


def record(
    *command: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    backend: BackendName = "auto",
    pid: Annotated[tuple[int, ...], Parameter(negative=())] = (),
    cgroup: str | None = None,
    cryosparc: Annotated[bool, Parameter(negative=())] = False,
    fs: Annotated[tuple[Path, ...], Parameter(negative=())] = (),
    all_files: Annotated[bool, Parameter(name="--all", negative=())] = False,
    detail: Detail = "events",
    duration: float | None = None,
    max_size: str | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    status: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Run a command, or look at running processes, and record their file I/O into a trace.

    A command's standard input and output stay its own; iotrace prints to standard error and exits with the command's
    status. What runs already is recorded until it ends, until --duration is over, or until Ctrl-C or SIGTERM, which end
    the recording and leave the processes alone.

    ```
    iotrace record -o motion.iotrace -- python motion_correction.py --job J6
    iotrace record -o worker.iotrace --pid 4711
    ```

    Parameters
    ----------
    command
        The program and its arguments, behind `--`.
    output
        Folder of the trace to make; by default the program's name and the time, with .iotrace.
    backend
        ebpf, strace, or auto: eBPF where this user may load BPF programs, strace otherwise.
    pid
        Record a running process, with its threads and children; may be given several times.
    cgroup
        Record a control group (a Slurm job, a container): its folder, or its name as in /proc/PID/cgroup.
    cryosparc
        Record every CryoSPARC job of this node, each worker from the moment it starts.
    fs
        Only files on this mount; may be given several times.
    all_files
        Pipes, sockets, devices, /proc and /sys too.
    detail
        events: a row for each operation; histogram: counts, latencies and sizes by process, operation and mount, added
        up in the kernel, for weeks at a fixed size.
    duration
        Stop recording after so many seconds; what is recorded goes on.
    max_size
        How large the trace may grow on disk, as in 20GB; beyond that its oldest part is dropped.
    force
        Replace a trace that stands there already.
    status
        Record nothing; say which recordings run on this host and how they do.
    json
        With --status: print one JSON object.
    """
    if status:
        from iotrace.record.status import show

        print(show(json))
        return 0
    if duration is not None and not duration > 0:
        raise UsageError(f"--duration {duration:g}: a number of seconds above 0.")
    scope = _scope(command, pid, cgroup, cryosparc, fs, all_files)
    for folder in fs:
        if os.path.realpath(folder) not in scope.mounts:
            (point,) = mount_points([folder])
            print(f"iotrace: --fs {folder}: recording all of its mount, {point}.", file=sys.stderr)
    import iotrace.record.session as session

    folder = output if output is not None else _name(command[0] if command else scope.kind)

    def warn(sentence: str) -> None:
        print(f"iotrace: {sentence}", file=sys.stderr)

    outcome = session.record(
        command,
        folder,
        backend,
        force,
        duration,
        warn,
        scope,
        max_bytes=parse_bytes(max_size) if max_size is not None else None,
        detail=detail,
    )
    print(_report(outcome), file=sys.stderr)
    return outcome.exit_status


def _scope(
    command: tuple[str, ...],
    pid: tuple[int, ...],
    cgroup: str | None,
    cryosparc: bool,
    fs: tuple[Path, ...],
    all_files: bool,
) -> Scope:
    given = [bool(command), bool(pid), cgroup is not None, cryosparc]
    if sum(given) > 1:
        raise UsageError("record one thing at a time: a command behind --, or --pid, or --cgroup, or --cryosparc.")
    if not any(given):
        raise UsageError(
            "there is no command to record: write it behind --, as in: iotrace record -o T.iotrace -- tar cf a.tar data"
        )
    mounts = mount_points(fs)
    if pid:
        return Scope("pid", running(pid), mounts=mounts, all_files=all_files)
    if cgroup is not None:
        return Scope("cgroup", cgroup=find_cgroup(cgroup), mounts=mounts, all_files=all_files)
    return Scope("cryosparc" if cryosparc else "command", mounts=mounts, all_files=all_files)


def _name(program: str) -> Path:
    import time

    return Path(f"{Path(program).name}-{time.strftime('%Y%m%d-%H%M%S')}.iotrace")


def _report(outcome: Outcome) -> str:
    info = outcome.info
    lost = sum(info.lost.values())
    size = sum(part.stat().st_size for part in outcome.folder.rglob("*") if part.is_file())
    # a trace of counts has rows of buckets, not of operations
    operations = "counts" if info.detail == "histogram" else f"{count_text(info.events)} operations"
    lines = [
        f"iotrace: {operations} in {duration_text(info.duration_ns)} → {outcome.folder} "
        f"({bytes_text(size)}, {info.backend})"
    ]
    if lost:
        kinds = ", ".join(f"{kind} {count}" for kind, count in info.lost.items())
        lines.append(f"iotrace: LOST {count_text(lost)} operations ({kinds}): the trace is not complete.")
    return "\n".join(lines)

"""`iotrace record`: run a command and record its file I/O."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from iotrace.errors import UsageError
from iotrace.record.session import BackendName, Outcome
from iotrace.units import bytes_text, count_text, duration_text


def record(
    *command: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    backend: BackendName = "auto",
    duration: float | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Run a command and record its file I/O into a trace.

    Its standard input and output stay its own; iotrace prints to standard error and exits with the command's status.

    ```
    iotrace record -o motion.iotrace -- python motion_correction.py --job J6
    ```

    Parameters
    ----------
    command
        The program and its arguments, behind `--`.
    output
        Folder of the trace to make; by default the program's name and the time, with .iotrace.
    backend
        ebpf, strace, or auto: eBPF where this user may load BPF programs, strace otherwise.
    duration
        Stop recording after so many seconds; the command goes on.
    force
        Replace a trace that stands there already.
    """
    import iotrace.record.session as session

    if not command:
        raise UsageError(
            "there is no command to record: write it behind --, as in: iotrace record -o T.iotrace -- tar cf a.tar data"
        )
    folder = output if output is not None else _name(command[0])

    def warn(sentence: str) -> None:
        print(f"iotrace: {sentence}", file=sys.stderr)

    outcome = session.record(command, folder, backend, force, duration, warn)
    print(_report(outcome), file=sys.stderr)
    return outcome.exit_status


def _name(program: str) -> Path:
    import time

    return Path(f"{Path(program).name}-{time.strftime('%Y%m%d-%H%M%S')}.iotrace")


def _report(outcome: Outcome) -> str:
    info = outcome.info
    lost = sum(info.lost.values())
    size = sum(part.stat().st_size for part in outcome.folder.rglob("*") if part.is_file())
    lines = [
        f"iotrace: {count_text(info.events)} operations in {duration_text(info.duration_ns)} → {outcome.folder} "
        f"({bytes_text(size)}, {info.backend})"
    ]
    if lost:
        kinds = ", ".join(f"{kind} {count}" for kind, count in info.lost.items())
        lines.append(f"iotrace: LOST {count_text(lost)} operations ({kinds}): the trace is not complete.")
    return "\n".join(lines)

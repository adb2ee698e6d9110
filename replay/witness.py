"""A recording of a replay by itself, for --check: a recorder in a process of its own follows this one.

`python -m iotrace.replay.witness PID FOLDER` is that process; it says so when it has begun, and ends on SIGTERM.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from iotrace.errors import IotraceError, ReplayError
from iotrace.trace.reader import Trace, open_trace

_BEGUN: Final = "recording"
_START_S, _END_S = 300, 300
"""After an installation the recorder compiles its kernels first: 30 s on a busy machine."""


class Witness:
    """Records this process and all that it forks, from entering on; a context manager that removes the recording.

    Parameters
    ----------
    look: called while it waits for the recorder; may raise what ends the wait.

    Raises
    ------
    ReplayError: this machine or user may not record with eBPF; says why.
    """

    def __init__(self, look: Callable[[], None] = lambda: None) -> None:
        self._look = look

    def __enter__(self) -> Witness:
        self._folder = Path(tempfile.mkdtemp(prefix="iotrace-check-"))
        command = [sys.executable, "-m", "iotrace.replay.witness", str(os.getpid()), str(self._folder / "T.iotrace")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            self._await_begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _await_begin(self) -> None:
        assert self._process.stdout is not None
        deadline = time.monotonic() + _START_S
        while not select.select([self._process.stdout], [], [], 0.1)[0]:
            self._look()
            if time.monotonic() > deadline:
                raise ReplayError(f"--check: the recorder did not begin within {_START_S} s.")
        if self._process.stdout.readline().strip() != _BEGUN:
            _, said = self._process.communicate()
            why = (said.strip().splitlines() or ["the recorder ended"])[-1]
            raise ReplayError(f"--check records the replay with eBPF, which is not possible: {why}")

    def testimony(self) -> Trace:
        """End the recording; gives it.

        Raises
        ------
        ReplayError: it did not end well.
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            _, said = self._process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            raise ReplayError(f"--check: the recorder did not end within {_END_S} s.") from None
        if self._process.returncode:
            why = (said.strip().splitlines() or ["it was ended"])[-1]
            raise ReplayError(f"--check: the recorder failed: {why}")
        return open_trace(self._folder / "T.iotrace")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _main(pid: int, folder: str) -> int:
    from iotrace.record.scope import Scope
    from iotrace.record.session import record

    try:
        record([], folder, "ebpf", scope=Scope("pid", (pid,)), attached=lambda: print(_BEGUN, flush=True))
    except IotraceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), sys.argv[2]))

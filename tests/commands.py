"""Commands of iotrace without a start of Python, which costs one to three seconds of processor.

What a start brings of its own is tested by tests/unit/test_cli.py and by the commands of the pages.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from subprocess import CompletedProcess
from typing import Protocol

from iotrace.cli import main


class Command(Protocol):
    """The fixture `iotrace`: a command in this process, in a working folder."""

    def __call__(self, *words: object, cwd: Path | None = None) -> CompletedProcess[str]: ...


class Forked:
    """A command in a process of its own, forked from this one.

    Parameters
    ----------
    words: of the command.
    cwd: its working folder.
    first: what it does before, such as to set limits.
    """

    def __init__(self, *words: object, cwd: Path | None = None, first: Callable[[], object] | None = None) -> None:
        self.words = [str(word) for word in words]
        # closed when its end is read
        self._streams = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._process = get_context("fork").Process(target=self._run, args=(cwd, first))
        self._process.start()

    def _run(self, cwd: Path | None, first: Callable[[], object] | None) -> None:
        if cwd is not None:
            os.chdir(cwd)
        for number, stream in enumerate(self._streams, start=1):
            os.dup2(stream.fileno(), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        if first is not None:
            first()
        sys.exit(main(self.words))

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def end(self, seconds: float = 60) -> CompletedProcess[str]:
        """Wait for its end: status (that of the signal that ended it, negative), output and errors."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"{self.words} does not end"
        said = []
        for stream in self._streams:
            with stream:
                stream.seek(0)
                said.append(stream.read().decode())
        return CompletedProcess(self.words, self._process.exitcode, *said)

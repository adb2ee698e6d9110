"""Starting a command that waits, until everything that will watch it is in place, and only then executes."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence

from iotrace.errors import RecordError

_RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT)


class Launch:
    """A child process that waits on a pipe before it executes the command.

    Attributes
    ----------
    pid: of the child, and later of the command.

    Raises
    ------
    RecordError: no such program (exit_status 127), or it may not be executed (126).
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        program = find_program(self.command[0])
        ready, self._go = os.pipe()
        self._failed, failed = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(program, ready, failed)
        os.close(ready)
        os.close(failed)

    def _become(self, program: str, ready: int, failed: int) -> None:
        """The child's part; never returns."""
        try:
            os.close(self._go)
            for number in _RESET:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            if os.read(ready, 1):
                os.execve(program, self.command, os.environ)
        except OSError as error:
            os.write(failed, str(error.errno).encode())
        finally:
            os._exit(126)

    def go(self) -> None:
        """Let the command execute; returns when it has begun.

        Raises
        ------
        RecordError: the kernel refused to execute it (exit_status 126).
        """
        os.write(self._go, b"g")
        os.close(self._go)
        code = os.read(self._failed, 16)
        os.close(self._failed)
        if code:
            os.waitpid(self.pid, 0)
            raise RecordError(f"{self.command[0]} cannot be executed: {os.strerror(int(code))}.", 126)

    def abandon(self) -> None:
        """End the child before it has executed anything."""
        try:
            os.close(self._go)
            os.waitpid(self.pid, 0)
        except OSError:
            pass  # it had begun, or is gone


def find_program(name: str) -> str:
    """Path of a program as the shell would find it.

    Raises
    ------
    RecordError: not found (127) or not executable (126).
    """
    found = shutil.which(name)
    if found:
        return found
    if os.path.sep in name and os.path.exists(name):
        raise RecordError(f"{name} is not executable.", 126)
    raise RecordError(f"there is no program {name}: check the name, or give its full path.", 127)

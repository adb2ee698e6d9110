"""Starting a command that waits, until everything that will watch it is in place, and only then executes.

It is forked before the recorder imports and loads anything: to execute a program, a process first gives back what it
has of its parent's memory, and the command would be seen to wait for that (8 ms once Numba and Arrow are loaded).
"""

from __future__ import annotations

import contextlib
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
    pid: of the child, and later of the command. program: path of what it executes.

    Raises
    ------
    RecordError: no such program (exit_status 127), or it may not be executed (126).
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self.program = find_program(self.command[0])
        ready, self._go = os.pipe()
        self._failed, failed = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(ready, failed)
        self._waits = True
        os.close(ready)
        os.close(failed)

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.abandon()

    def _become(self, ready: int, failed: int) -> None:
        """The child's part; never returns."""
        try:
            os.close(self._go)
            for number in _RESET:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            if os.read(ready, 1):
                os.execve(self.program, self.command, os.environ)
        except OSError as error:
            os.write(failed, str(error.errno).encode())
        finally:
            os._exit(126)

    def go(self) -> None:
        """Let the command execute; returns when it has begun.

        Raises
        ------
        RecordError: the kernel refused to execute it (exit_status 126), or somebody has ended it meanwhile.
        """
        self._waits = False
        try:
            os.write(self._go, b"g")
        except BrokenPipeError:
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            by = f" by signal {-status}" if status < 0 else ""
            raise RecordError(
                f"{self.command[0]} was ended{by} before it began.", 128 - status if status < 0 else 126
            ) from None
        finally:
            os.close(self._go)
            code = os.read(self._failed, 16)
            os.close(self._failed)
        if code:
            os.waitpid(self.pid, 0)
            raise RecordError(f"{self.command[0]} cannot be executed: {os.strerror(int(code))}.", 126)

    def abandon(self) -> None:
        """End the child, if it has not executed anything yet."""
        if self._waits:
            self._waits = False
            os.close(self._go)
            os.close(self._failed)
            # who ignores SIGCHLD has no children to wait for; a stopped one would not end by itself
            with contextlib.suppress(ChildProcessError, ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)


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

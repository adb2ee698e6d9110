"""The errors that iotrace raises on purpose.

    IotraceError                 something a user can mend; exit status 1
    ├── UsageError               the command's words are off; exit status 2
    ├── TraceError               a trace or result is missing, foreign, torn or too new
    ├── RecordError              a recording cannot start or go on
    │   └── BackendUnavailable   this backend cannot work on this machine
    ├── ReplayError              a replay cannot start or go on
    └── StorageError             a mount lacks space, permission or a feature
        └── MountHangs           a mount does not answer

Each message names the thing, what was found, and what to do next.
"""

from __future__ import annotations


class IotraceError(Exception):
    """Base of all errors that end in one clear line; `exit_status` is what the command then returns."""

    exit_status = 1


class UsageError(IotraceError):
    """The command line asks for something that makes no sense."""

    exit_status = 2


class TraceError(IotraceError):
    """A trace or a result cannot be read or written."""


class RecordError(IotraceError):
    """A recording cannot start or go on."""

    def __init__(self, message: str, exit_status: int = 125) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class BackendUnavailable(RecordError):
    """A recording backend cannot work on this machine; the message says why and what would mend it."""


class ReplayError(IotraceError):
    """A replay cannot start or go on."""


class StorageError(IotraceError):
    """A mount lacks space, permission or a feature that the work needs."""


class MountHangs(StorageError):
    """A mount does not answer: threads and processes that wait for it cannot be ended."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status

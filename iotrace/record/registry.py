"""Which recordings run on this host: one small file for each, in a folder that only its owner may write.

A recording says who it is when it begins and takes that back when it ends; what a killed one leaves is told by its
process, which is gone or began at another time, and removed by whoever looks next. Root's folder is /run/iotrace, a
service's the one that systemd made for it ($RUNTIME_DIRECTORY), a user's $XDG_RUNTIME_DIR/iotrace, or /tmp/iotrace-UID
where there is none.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from iotrace.errors import RecordError

SYSTEM: Final = Path("/run/iotrace")
SERVICE: Final = "recorder"
"""Name of the service's folder in SYSTEM, as in iotrace-record.service."""
_LARGEST: Final = 1 << 16


class Running(msgspec.Struct):
    """A recording that runs.

    Attributes
    ----------
    pid: of the recorder; process_start: when it began, in clock ticks since boot (field 22 of /proc/PID/stat), and
        boot_id: of which boot, for process numbers come again.
    folder: of the trace, or of the traces, absolute; target: what it follows, as text.
    """

    pid: int
    process_start: int
    boot_id: str
    folder: str
    backend: str
    target: str
    started_utc: str


def registry_folder() -> Path:
    """Where this user's recordings are noted; it need not be there."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    if os.geteuid() == 0:
        return SYSTEM
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(runtime) / "iotrace" if runtime.startswith("/") else Path(f"/tmp/iotrace-{os.geteuid()}")


@contextlib.contextmanager
def registered(
    folder: str | Path, backend: str, target: str, warn: Callable[[str], None] = lambda sentence: None
) -> Iterator[None]:
    """While a recording runs: have it listed.

    A recording does not fail for want of that: `warn` is called with a sentence where it cannot be.
    """
    try:
        path = _note(folder, backend, target)
    except (OSError, RecordError) as error:
        path = None
        reason = str(error) if isinstance(error, RecordError) else f"{error.strerror} ({error.filename})."
        warn(f"iotrace record --status will not list this recording: {reason}")
    try:
        yield
    finally:
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


def running() -> list[Running]:
    """The recordings that this user may see, by time of their beginning; root sees the service's too.

    Raises
    ------
    RecordError: the folder belongs to somebody else, so that nothing in it can be believed.
    """
    own = registry_folder()
    found = _read(own) if own.is_symlink() or own.exists() else []
    if os.geteuid() == 0 and own == SYSTEM and (SYSTEM / SERVICE).is_dir():
        owner = (SYSTEM / SERVICE).lstat().st_uid
        found += _read(SYSTEM / SERVICE, owner)
    return sorted(found, key=lambda entry: (entry.started_utc, entry.pid))


def _note(folder: str | Path, backend: str, target: str) -> Path:
    place = registry_folder()
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    _check(place, os.geteuid())
    pid, start = os.getpid(), process_start(os.getpid())
    assert start is not None
    entry = Running(
        pid, start, _boot_id(), os.path.abspath(folder), backend, target,
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )  # fmt: skip
    temporary = place / f".{pid}-{time.monotonic_ns()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, msgspec.json.encode(entry))
    finally:
        os.close(descriptor)
    for number in range(1000):
        path = place / (f"{pid}-{number}.json" if number else f"{pid}.json")
        if not path.exists() or not _lives(_entry(path)):
            break
    temporary.rename(path)
    return path


def _check(place: Path, owner: int) -> None:
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise RecordError(f"{place} is not a folder: remove it.", 1)
    if status.st_uid != owner or status.st_mode & 0o022:
        raise RecordError(f"{place} belongs to another user, or others may write there: remove it.", 1)


def _read(place: Path, owner: int | None = None) -> list[Running]:
    _check(place, os.geteuid() if owner is None else owner)
    found = []
    for path in place.glob("*.json"):
        entry = _entry(path)
        if entry is not None and _lives(entry):
            found.append(entry)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return found


def _entry(path: Path) -> Running | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return msgspec.json.decode(os.read(descriptor, _LARGEST), type=Running)
    except (msgspec.DecodeError, OSError):
        return None
    finally:
        os.close(descriptor)


def _lives(entry: Running | None) -> bool:
    return entry is not None and entry.boot_id == _boot_id() and process_start(entry.pid) == entry.process_start


def process_start(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None: there is no such process, or it has ended."""
    fields = stat_fields(pid)
    return None if fields is None or fields[0] in ("Z", "X") else int(fields[19])


def stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state (field 3) on; None: there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # the name before may hold blanks and parentheses
    return text.rpartition(")")[2].split()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""

"""The one folder that a replay makes: DIR/iotrace-<id>/, with a marker that says whose it is, and its removal.

All that a replay creates lies in it, and no deeper than need be: on network file systems each folder that an absolute
name leads through may cost a request (ceph-fuse makes them anew at each call). Only folders with our marker are ever
removed, without following links and without crossing into another mount. A folder whose maker is dead (same host, and
the process is gone or the machine was booted since) is named with the command that removes it, unless it was kept on
purpose.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import re
import secrets
import signal
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from iotrace.errors import MountHangs, StorageError

MARKER: Final = "iotrace-replay.json"
PREFIX: Final = "iotrace-"
_NAME: Final = re.compile(r"iotrace-[0-9a-f]{12}")
_MARKER_BYTES: Final = 1024
HEARTBEAT_S: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1
PATIENCE_S: Final = 60.0
"""A removal of which so long nothing has come is given up; to unlink one file may take long on a busy disk."""
SILENT_S: Final = 300.0
"""After so long without a heartbeat a kept tree of another machine is free; clocks of machines differ by less."""
_USED_S: Final = 10.0
"""A fleet in which one rank fails: the ranks that replay on another's tree stop meanwhile."""
HUNG_S: Final = 2.0
"""How long a removal may take where a call of the run did not come back."""


class Marker(msgspec.Struct):
    """Whose folder it is: host, boot id, process id and start (clock ticks since boot), times in s since 1970.

    `kept`: it stays when its maker ends. `staged_by`: the host that made what lies in it, "" where that is `host`.
    """

    tool: str
    host: str
    boot_id: str
    pid: int
    process_start: int
    started: float
    heartbeat: float
    kept: bool = False
    staged_by: str = ""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _process_start(pid: int) -> int:
    """Start of a process in clock ticks since boot, 0 when there is none: tells apart reused process ids."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


class Ground:
    """A folder of ours under `parent`; a context manager that removes it, unless `keep`.

    Parameters
    ----------
    reuse: a folder of ours that was kept, to be taken over (and kept) instead of making one.

    Attributes
    ----------
    folder: DIR/iotrace-<id>, which the generated names lie in. owner: user and group of what is
    made there, as the mount says them. staged_by: the host that made them; of a kept tree its first one.
    handed_on: another rank of a fleet replays on it. borrowed: another rank has made and removes it.

    Raises
    ------
    StorageError: the folder cannot be made.
    """

    def __init__(self, parent: str | Path, keep: bool = False, reuse: Path | None = None) -> None:
        self.parent = reuse.absolute().parent if reuse else Path(parent).absolute()
        self.keep = keep or reuse is not None
        self.reused = reuse is not None
        self.folder = reuse.absolute() if reuse else self.parent / f"{PREFIX}{secrets.token_hex(6)}"
        self.handed_on = self.borrowed = False

    def __enter__(self) -> Ground:
        now, pid = time.time(), os.getpid()
        before = read_marker(self.folder) if self.reused else None
        self.staged_by = (before.staged_by or before.host) if before else platform.node()
        self._marker = Marker(
            "iotrace", platform.node(), _boot_id(), pid, _process_start(pid), now, now, self.reused, self.staged_by
        )
        try:
            if self.reused:
                self.folder.chmod(0o700)
            else:
                self.folder.mkdir(mode=0o700)
            self._write_marker()
            of = os.stat(self.folder)
            self.owner = of.st_uid, of.st_gid
        except BaseException as error:
            if not self.reused:
                remove(self.folder)
            if isinstance(error, OSError):
                raise StorageError(f"{self.parent}: cannot make a folder in it: {error.strerror}.") from None
            raise
        return self

    def say_kept(self) -> None:
        """Say in the marker that the folder stays: from now on nobody offers to remove it."""
        self._marker.kept = True
        self._write_marker()

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if self.keep:
            return
        if isinstance(error, MountHangs):
            removed = _remove_apart(self.folder)
        else:
            removed = _remove_aside(self.folder, self.handed_on)
        if not removed:
            why = f"{str(error).rstrip('.')}; " if error else f"{self.parent} does not answer; "
            raise MountHangs(
                f"{why}what the replay made stays in {self.folder}: when the mount answers again, `iotrace replay "
                f"--clean {self.parent}` removes it.",
                getattr(error, "exit_status", 1),
            ) from None

    def beat(self) -> None:
        """Say in the marker that the replay is alive."""
        if self.borrowed:
            return
        self._marker.heartbeat = time.time()
        # in its place: to rename in the folder under test might make its clients forget what they know of it
        with contextlib.suppress(OSError):  # a replay that only wanted to say that it lives must not end by it
            descriptor = os.open(self.folder / MARKER, os.O_WRONLY | os.O_NOFOLLOW)
            try:
                os.pwrite(descriptor, self._text(), 0)
            finally:
                os.close(descriptor)

    def _text(self) -> bytes:
        """The marker as JSON, always as long, for who reads it while it is written."""
        return msgspec.json.encode(self._marker).ljust(_MARKER_BYTES)

    def _write_marker(self) -> None:
        temporary = self.folder / f"_{MARKER}"
        temporary.write_bytes(self._text())
        temporary.rename(self.folder / MARKER)


@contextmanager
def heartbeat(grounds: Sequence[Ground]) -> Iterator[None]:
    """Say now and then in the markers of folders that their replay is alive.

    In a process: the mount may not answer, and who waits for it may not be able to end.
    """
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            leave_the_terminal()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            while os.getppid() == parent:
                time.sleep(HEARTBEAT_S)
                for ground in grounds:
                    ground.beat()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        _await(child)


def _await(child: int) -> bool:
    """Wait for the end of a process; False when it does not end soon."""
    since = time.monotonic()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() - since > HUNG_S:
            return False
        time.sleep(0.002)
    return True


def read_marker(folder: Path) -> Marker | None:
    """The marker of a folder of ours; None when it is not one."""
    try:
        descriptor = os.open(folder / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        marker = msgspec.json.decode(os.read(descriptor, 65536), type=Marker)
    except (OSError, msgspec.DecodeError):
        return None
    finally:
        os.close(descriptor)
    return marker if marker.tool == "iotrace" else None


def is_dead(marker: Marker) -> bool:
    """Whether the replay that made a folder has surely ended: this host, and another boot or no such process."""
    if marker.host != platform.node():
        return False
    if marker.boot_id != _boot_id():
        return True
    return _process_start(marker.pid) != marker.process_start or marker.process_start == 0


def is_free(marker: Marker) -> bool:
    """Whether a kept tree may be used: its replay has ended, or ran on another machine and has long not said that it
    lives."""
    elsewhere = marker.host != platform.node()
    return is_dead(marker) or (marker.kept and elsewhere and time.time() - marker.heartbeat > SILENT_S)


def leftovers(parent: str | Path) -> list[Path]:
    """Folders of ours under `parent` whose replay is dead."""
    result = []
    try:
        entries = sorted(Path(parent).glob(f"{PREFIX}*"))
    except OSError:
        return []
    for entry in entries:
        if entry.is_symlink() or not entry.is_dir():
            continue
        marker = read_marker(entry)
        if (marker is None and _is_rest(entry)) or (marker is not None and is_dead(marker) and not marker.kept):
            result.append(entry)
    return result


def _is_rest(folder: Path) -> bool:
    """Whether a folder is what a removal left beside a heartbeat that came late, from a mount that did not answer.

    It has a name of ours and holds nothing but a marker that was never finished; one that is just being made is young.
    """
    try:
        names, status = os.listdir(folder), folder.lstat()
    except OSError:
        return False
    ours = _NAME.fullmatch(folder.name) is not None and status.st_uid == os.getuid()
    return ours and names == [f"_{MARKER}"] and time.time() - status.st_mtime > PATIENCE_S


def clean(parent: str | Path) -> list[Path]:
    """Remove what dead replays left under `parent`; gives what was removed.

    A kept tree is removed only where it is named itself.

    Raises
    ------
    StorageError: something cannot be removed.
    """
    own = Path(parent).absolute()
    named = read_marker(own) if own.name.startswith(PREFIX) and not own.is_symlink() else None
    gone = [own] if named is not None and is_dead(named) else leftovers(parent)
    for folder in gone:
        remove(folder)
        if folder.exists():
            raise StorageError(f"{folder}: cannot be removed completely; look what still uses it.")
    return gone


def remove(folder: Path, gone: list[int] | None = None) -> None:
    """Remove a folder and all in it: never follows a link, never crosses into another mount; what cannot go stays.

    `gone` is a list of one number, which counts what is removed meanwhile.
    """
    try:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        _remove_at(parent, folder.name, gone or [0])
    finally:
        os.close(parent)


def _remove_aside(folder: Path, used: bool) -> bool:
    """Remove a folder; False when the mount stops answering. `used`: another rank may still end its work in it."""
    gone = [0]
    until = time.monotonic() + (_USED_S if used else 0.0)

    def work_on_it() -> None:
        remove(folder, gone)
        while folder.exists() and time.monotonic() < until:
            time.sleep(0.1)
            remove(folder, gone)

    work = threading.Thread(target=work_on_it, daemon=True)
    work.start()
    last, since = 0, time.monotonic()
    while work.is_alive():
        work.join(0.05)
        if gone[0] != last:
            last, since = gone[0], time.monotonic()
        if time.monotonic() - since > PATIENCE_S:
            return False
    return True


def _remove_apart(folder: Path) -> bool:
    """As _remove_aside, in a process: one that waits for its mount may not be able to end, which this one must."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            leave_the_terminal()
            remove(folder)
        finally:
            os._exit(0)
    return _await(child)


def leave_the_terminal() -> None:
    """Let go of standard input and output: who waits for the end of iotrace's output must not wait for this process."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _remove_at(parent: int, name: str, gone: list[int]) -> None:
    """Iteratively: a hostile trace may nest folders deeper than Python's stack."""
    try:
        top = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            _quietly(os.unlink, name, parent)
        return
    device = os.fstat(top).st_dev
    # whose it is stands there to the end, taken from the back: a removal that is killed can be taken up again
    entries = sorted(_entries(top), key=lambda entry: entry != MARKER)
    stack: list[tuple[int, int, str, list[str]]] = [(top, parent, name, entries)]
    while stack:
        descriptor, above, own_name, rest = stack[-1]
        if not rest:
            stack.pop()
            os.close(descriptor)
            _quietly(os.rmdir, own_name, above)
            continue
        entry = rest.pop()
        gone[0] += 1
        try:
            os.unlink(entry, dir_fd=descriptor)
            continue
        except IsADirectoryError:
            pass
        except OSError as error:
            if error.errno != errno.EPERM:  # what some file systems say of folders
                continue
        below = _open_folder(entry, descriptor)
        if below < 0:
            continue
        if os.fstat(below).st_dev != device:
            os.close(below)
            continue
        stack.append((below, descriptor, entry, _entries(below)))


def _open_folder(name: str, parent: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=parent)
    except PermissionError:
        try:
            os.chmod(name, 0o700, dir_fd=parent)
            return os.open(name, flags, dir_fd=parent)
        except OSError:
            return -1
    except OSError:
        return -1


def _entries(descriptor: int) -> list[str]:
    try:
        return os.listdir(descriptor)
    except OSError:
        return []


def _quietly(call: object, name: str, parent: int) -> None:
    try:
        call(name, dir_fd=parent)  # type: ignore[operator]
    except OSError:
        return

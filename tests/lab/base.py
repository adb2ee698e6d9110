"""What all file systems of the lab share: processors, children that die with us, folders and mounts that go away."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PATIENCE_S: Final = 60.0
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Cpus:
    """Processors of the servers, and of the clients: FUSE daemons and the programs that use the mount."""

    servers: tuple[int, ...]
    clients: tuple[int, ...]

    @classmethod
    def apart(cls) -> Cpus:
        """Servers on the last processor that we may use, clients on the others; where there is one, both share it."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(tuple(usable[-1:]), tuple(usable[:-1] or usable))

    def for_servers(self, command: Sequence[str | Path]) -> list[str]:
        """The command, run on the servers' processors."""
        return on_cpus(self.servers, command)

    def for_clients(self, command: Sequence[str | Path]) -> list[str]:
        """The command, run on the clients' processors."""
        return on_cpus(self.clients, command)


def on_cpus(cpus: Sequence[int], command: Sequence[str | Path]) -> list[str]:
    """The command, run on these processors only."""
    return ["taskset", "--cpu-list", ",".join(map(str, cpus)), *map(str, command)]


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: its kind, mount point, what it consists of (a sentence), and where its parts run.

    `anew` unmounts it and mounts it again, with a client that knows nothing yet.
    """

    kind: str
    path: Path
    made_of: str
    cpus: Cpus
    anew: Callable[[], None] = lambda: None


def find_program(name: str) -> str | None:
    """Path of a program, looked for where root's programs are too."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")


def packages_missing(kind: str, packages: dict[str, str]) -> str | None:
    """Why a kind cannot be mounted; `packages` gives for each program that it needs the Debian package."""
    if os.geteuid() != 0:
        return f"{kind}: mounting needs root"
    for program, package in {"taskset": "util-linux", "setpriv": "util-linux", **packages}.items():
        if find_program(program) is None:
            return f"{kind}: {program} is not installed (apt-get install {package})"
    return None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the end of the block: what removes things must not be left halfway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def new_folder(kind: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder, removed at the end unless something is still mounted beneath it."""
    folder = Path(tempfile.mkdtemp(prefix=f"lab-{kind}-", dir=parent)).resolve()
    try:
        yield folder
    finally:
        with uninterrupted():
            left = [point for point in _mount_points() if point.startswith(f"{folder}/")]
            if left:
                raise RuntimeError(f"{left[0]} is still mounted: {folder} is not removed")
            shutil.rmtree(folder)


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split(" ")[4] for line in lines]


def is_mounted(path: Path) -> bool:
    """Whether something is mounted there, even where it does not answer yet."""
    return str(path) in _mount_points()


def run(command: Sequence[str | Path]) -> str:
    """Run a command to its end; returns what it printed.

    Raises
    ------
    RuntimeError: it failed; the message ends with its last line.
    """
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(f"{command[0]} failed ({done.returncode}): {said[-1] if said else 'it said nothing'}")
    return done.stdout


@contextmanager
def child(command: Sequence[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the foreground, killed at the end of the block; it dies with this process, even by SIGKILL.

    Nothing that it holds is kept, so that it need not write it down. It has a session of its own, so that a Ctrl-C of
    the terminal reaches it only through us, in the right order.
    """
    words = ["setpriv", "--pdeathsig", "KILL", *map(str, command)]
    with log.open("ab") as out:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        with uninterrupted():
            process.kill()
            process.wait()


def wait_until(ready: Callable[[], bool], what: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until something is so.

    Raises
    ------
    RuntimeError: the server ended, or too much time went by.
    """
    end = time.monotonic() + _PATIENCE_S
    while not ready():
        if server.poll() is not None or time.monotonic() > end:
            said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
            state = f"ended with {server.returncode}" if server.poll() is not None else "did not come up"
            raise RuntimeError(f"{what} {state}: {said[-1] if said else 'it said nothing'}")
        time.sleep(0.05)


def unmount(path: Path) -> None:
    """Unmount; where a program is still busy there, take the mount away from the tree and let it end."""
    with uninterrupted():
        for _ in range(50):
            done = subprocess.run(["umount", path], capture_output=True, check=False)
            if done.returncode == 0 or not is_mounted(path):
                return
            time.sleep(0.1)
        subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)


@contextmanager
def network(log: Path) -> Iterator[list[str]]:
    """A network namespace of its own, with a loopback device; yields the words that run a command in it.

    A sleeping child holds it: nothing has a name that would be left behind, and ports cannot collide.
    """
    with child(["unshare", "--net", "sleep", "infinity"], log) as holder:
        of_holder, ours = Path(f"/proc/{holder.pid}/ns/net"), os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(of_holder) != ours, "a network namespace", holder, log)
        enter = ["nsenter", f"--net={of_holder}"]
        run([*enter, "ip", "link", "set", "lo", "up"])
        yield enter


def our_children(programs: Collection[str]) -> list[int]:
    """Process ids of our own child processes that run one of the programs."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, rest = status.read_text().split(" (", 1)
            name, after = rest.rsplit(") ", 1)
            if name in programs and int(after.split()[1]) == os.getpid():
                found.append(int(pid))
    return found


def waited_s(text: str) -> float:
    """From what is said about calls that have waited for too long: for how many seconds the first one has."""
    found = re.search(r" has waited for ([0-9.]+) s\b", text)
    assert found is not None, text
    return float(found[1])

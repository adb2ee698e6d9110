"""Mounting a file system anew: the way to empty what a client's process keeps, and the surest for all others.

Only when it is asked for by itself, since everybody on the machine loses the mount for a moment; and only what
/etc/fstab names, so that it comes back as it was. A mount that somebody uses is not unmounted: umount refuses.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

from iotrace.errors import StorageError
from iotrace.mounts.mountinfo import Mount
from iotrace.terminal import printable

_FSTAB: Final = Path("/etc/fstab")
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_TAKES_S: Final = 120.0


def points_of(fstab: str) -> list[str]:
    """Mount points that a text in the form of fstab(5) names."""
    found = []
    for line in fstab.splitlines():
        words = line.split()
        if len(words) >= 3 and not words[0].startswith("#") and words[1].startswith("/"):
            found.append(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), words[1]))
    return found


def mount_anew(mount: Mount) -> str:
    """Unmount a file system and mount it again, as /etc/fstab says; gives "" (see iotrace.mounts.cold.Cold.step).

    Raises
    ------
    StorageError: fstab does not name it, somebody uses it, or it does not come back.
    """
    try:
        points = points_of(_FSTAB.read_bytes().decode("utf-8", "replace"))
    except OSError:
        points = []
    if mount.point not in points:
        raise StorageError(
            f"--remount: /etc/fstab does not name {mount.point}, so it could not be mounted again as it is: mount it "
            "anew yourself between --keep and --staged (of one user)."
        )
    wrong = _run(["umount", mount.point])
    if wrong:
        raise StorageError(f"--remount: {mount.point} cannot be unmounted ({wrong}): who uses it? `fuser -vm` tells.")
    wrong = _run(["mount", mount.point])
    if wrong:
        raise StorageError(
            f"--remount: {mount.point} was unmounted and cannot be mounted again ({wrong}): `mount {mount.point}`."
        )
    return ""


def _run(command: list[str]) -> str:
    """Why a command failed, "" where it did not."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TAKES_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {_TAKES_S:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    lines = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else printable(lines[-1] if lines else f"exit status {done.returncode}")

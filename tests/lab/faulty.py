"""A mount that hands all on to a folder, with faults when it is told to (tests/programs/faulty_mount.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab.base import unmount

_PROGRAM = Path(__file__).parent.parent / "programs" / "faulty_mount.py"


@dataclass(frozen=True, slots=True)
class Faulty:
    """The mount: path, and the streams of its program."""

    path: Path
    orders: IO[str]
    answers: IO[str]

    def rules(self, *rules: dict[str, object]) -> None:
        """Faults that hold from now on; faulty_mount.py says what a rule is."""
        self.orders.write(json.dumps(rules) + "\n")
        self.orders.flush()
        assert self.answers.readline() == "rules\n"


def missing() -> str:
    """Why there can be none here; empty when there can."""
    if os.geteuid():
        return "mounting needs root"
    return "" if os.access("/dev/fuse", os.R_OK | os.W_OK) else "needs /dev/fuse"


@contextmanager
def faulty(folder: Path, direct: bool = True) -> Iterator[Faulty]:
    """A mount without faults yet; `direct`: each read and write of a program reaches it.

    Raises
    ------
    RuntimeError: it cannot be mounted; says why.
    """
    below, point = folder / "below", folder / "faulty"
    below.mkdir()
    point.mkdir()
    words = [sys.executable, str(_PROGRAM), str(below), str(point), *(["direct"] if direct else [])]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin
        assert program.stdout
        said = program.stdout.readline()
        if said != "mounted\n":
            raise RuntimeError(said)
        try:
            yield Faulty(point, program.stdin, program.stdout)
        finally:
            unmount(point)
            program.stdin.close()

"""What the tests of the recorder's faults share: programs that count for themselves, and recorders as processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

COUNTS_ITSELF = """
    import os, struct, time
    data = os.open("data", os.O_WRONLY | os.O_CREAT)
    counter = os.open("counter", os.O_RDWR | os.O_CREAT)
    end, n = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        os.write(data, b"x" * 10)
        n += 1
        os.pwrite(counter, struct.pack("<qq", n, time.clock_gettime_ns(time.CLOCK_MONOTONIC)), 16 * n)
        time.sleep(0.001)
    open("done", "w").write(str(n))
    raise SystemExit(STATUS)
"""
"""Writes for SECONDS, notes the time after each write in `counter`, and ends with STATUS."""


def program(text: str, **values: object) -> list[str]:
    """A command that runs a Python program, its capital names replaced."""
    text = textwrap.dedent(text)
    for name, value in values.items():
        text = text.replace(name, repr(value))
    return [sys.executable, "-S", "-c", text]


def iotrace(*arguments: str) -> list[str]:
    """The command line of iotrace."""
    return [sys.executable, "-m", "iotrace", *arguments]


def start(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a command in a folder, its standard error kept."""
    return subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip


def run(command: list[str], folder: Path, limit: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, both outputs kept."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=limit)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that must come."""
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come")


def said(text: str) -> list[str]:
    """Lines of standard error; none of them is of a traceback."""
    assert "Traceback" not in text, text
    return text.splitlines()

"""The process that waits to become the recorded command."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from iotrace.errors import RecordError
from iotrace.record.launch import Launch


def ended(launch: Launch) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(launch.pid, 0)[1])


def test_nothing_runs_before_it_is_let_go(tmp_path: Path) -> None:
    with Launch(["touch", str(tmp_path / "made")]) as launch:
        assert psutil.Process(launch.pid).status() in (psutil.STATUS_SLEEPING, psutil.STATUS_RUNNING)
        assert not (tmp_path / "made").exists()
        launch.go()
    assert ended(launch) == 0
    assert (tmp_path / "made").exists()


def test_a_command_that_is_not_let_go_leaves_no_process_and_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    with Launch(["true"]) as launch:
        pass
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(launch.pid, 0)


def test_a_command_that_is_ended_before_it_began_is_one_line_with_its_signal() -> None:
    with Launch(["true"]) as launch:
        os.kill(launch.pid, signal.SIGTERM)
        while psutil.Process(launch.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.001)
        with pytest.raises(RecordError, match="true was ended by signal 15 before it began") as caught:
            launch.go()
    assert caught.value.exit_status == 128 + signal.SIGTERM


def test_what_the_kernel_refuses_to_execute_is_one_line(tmp_path: Path) -> None:
    script = tmp_path / "no-program"
    script.write_bytes(b"\x7fELF but not really")
    script.chmod(0o755)
    with Launch([str(script)]) as launch, pytest.raises(RecordError, match="cannot be executed: Exec format") as caught:
        launch.go()
    assert caught.value.exit_status == 126

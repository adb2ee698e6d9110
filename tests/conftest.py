"""What holds for all tests."""

from __future__ import annotations

import gc
import signal
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from commands import Command
from hypothesis import settings

# a machine may be busy: no test asserts a time, nor does Hypothesis
settings.register_profile("iotrace", deadline=None, max_examples=50)
settings.load_profile("iotrace")

# tests send these; nohup, or a shell that runs the tests in the background, must not make their programs deaf to them
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

WITH_SERVERS = (
    "test_counted_ceph", "test_lab_servers", "test_replay_fleet_faults", "test_replay_fleet_slurm",
    "test_replay_servers_in_trouble", "test_size_known_delays",
)  # fmt: skip
"""Files of system tests that run one after the other: two clusters at once would take each other's processor."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the system tests by file, the servers' in one group, which comes first as it takes longest.

    The pages of docs, which share no more than a stage that is soon made, go to whichever process is free.
    """
    for item in items:
        stem = item.path.stem
        if item.path.parent.name == "system" and stem != "test_commands_of_pages":
            item.add_marker(pytest.mark.xdist_group("servers" if stem in WITH_SERVERS else stem))
    items.sort(key=lambda item: item.path.parent.name == "system" and item.path.stem not in WITH_SERVERS)


@pytest.fixture
def iotrace(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in this process: a process of its own costs one to three seconds of imports.

    What its own process brings is tested by tests/unit/test_cli.py, and by the commands of the pages.
    """
    from iotrace.cli import main

    def run(*words: object, cwd: Path | None = None) -> CompletedProcess[str]:
        capfd.readouterr()
        with monkeypatch.context() as patch:
            if cwd is not None:
                patch.chdir(cwd)
            command = [str(word) for word in words]
            status = main(command)
        said = capfd.readouterr()
        return CompletedProcess(command, status, said.out, said.err)

    return run


def pytest_collection_finish() -> None:
    """What the tests import and collect stays: a collection of garbage need not look at it again."""
    gc.collect()
    gc.freeze()

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
PAGES = "test_commands_of_pages"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the system tests by file, the servers' in one group, which comes first as it takes longest.

    The commands of pages, which share no more than a stage that is soon made, come last, for whichever process is free:
    so both end at about the same time. `make test-system` tells xdist to keep this order.
    """

    def turn(item: pytest.Item) -> int:
        if item.path.parent.name != "system":
            return 0
        return 1 if item.path.stem in WITH_SERVERS else 3 if item.path.stem == PAGES else 2

    for item in items:
        group = {1: "servers", 2: item.path.stem}.get(turn(item))
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=turn)


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

"""How system tests share two processors: the tests of a file run in one process, those with servers in one, too."""

from __future__ import annotations

import pytest

WITH_SERVERS = (
    "test_counted_ceph", "test_lab_servers", "test_replay_fleet_faults", "test_replay_fleet_slurm",
    "test_replay_servers_in_trouble", "test_size_known_delays",
)  # fmt: skip
"""Two storages or clusters at once would not leave each other the processor that their time limits ask for."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests; the servers' come first, as they take longest."""
    for item in items:
        stem = item.path.stem
        item.add_marker(pytest.mark.xdist_group("servers" if stem in WITH_SERVERS else stem))
    items.sort(key=lambda item: item.path.stem not in WITH_SERVERS)

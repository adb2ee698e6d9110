"""Replays whose plan and notes are larger than memory: all of it in files without a name, with the same outcome."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from iotrace.data.recordings import TRACES
from iotrace.replay import filed, room
from iotrace.replay.result import Result
from iotrace.replay.run import run_replay


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans and arrays of any size are too large for memory."""
    monkeypatch.setattr(filed, "LARGE_BYTES", 4096)
    monkeypatch.setattr(room, "MEMORY_BYTES", 0)


def outcome(result: Result) -> list[object]:
    """What a run did, without what the storage and the clock decide."""
    (run,) = result.info.runs
    calls = {name: (one.calls, one.errors, one.bytes) for name, one in run.by_op.items()}
    return [run.ops, run.errors, run.bytes_read, run.bytes_written, calls, run.fidelity, result.info.plan_hash]


OPTIONS = [{"users": 2}, {"engine": "uring", "depth": 4}, {"verify": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_replay_from_files_does_what_one_from_memory_does(
    options: dict[str, object], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    trace = TRACES / "relion-polishing.iotrace"
    expected = outcome(run_replay(trace, tmp_path, timing="asap", **options))  # type: ignore[arg-type]
    request.getfixturevalue("everything_is_large")
    again = run_replay(trace, tmp_path, timing="asap", **options)  # type: ignore[arg-type]
    assert outcome(again) == expected
    assert expected[1] == 0
    near = [warning for warning in again.info.warnings if "The plan lies in files in" in warning]
    assert len(near) == (os.stat(tmp_path).st_dev == os.stat(tempfile.gettempdir()).st_dev)

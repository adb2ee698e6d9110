"""Each shipped recording replays with the outcomes that were recorded, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotrace.data.recordings import Recording, recordings
from iotrace.replay.run import run_replay
from iotrace.trace.reader import open_trace


@pytest.mark.parametrize("one", recordings(), ids=lambda one: one.name)
def test_every_shipped_trace_replays_without_an_unexpected_outcome(one: Recording, tmp_path: Path) -> None:
    run = run_replay(open_trace(one.trace), tmp_path, timing="asap").info.runs[0]
    assert (run.errors, run.errors_by) == (0, [])
    assert run.ops > 10
    assert run.bytes_read + run.bytes_written > 0
    assert list(tmp_path.iterdir()) == []

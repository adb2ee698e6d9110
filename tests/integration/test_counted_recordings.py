"""Counters beside a recording: before, each second, after, and none of them in the way."""

import json
import os
import stat
import sys
from pathlib import Path

import pandas as pd
import pytest

from iotrace.cli import main
from iotrace.mounts.mountinfo import mount_of, mounts_of_this_machine
from iotrace.trace.anonymise import anonymise_trace
from iotrace.trace.reader import open_trace

pytestmark = pytest.mark.bpf

JOB = """
import os, time
with open("out", "wb") as file:
    file.write(os.urandom(3 << 20))
    file.flush()
    os.fsync(file.fileno())
time.sleep(1.5)
"""


def recorded(folder: Path, *words: str) -> Path:
    trace = folder / "T.iotrace"
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["record", "-o", str(trace), *words, "--", sys.executable, "-S", "-c", JOB]) == 0
    finally:
        os.chdir(here)
    return trace


def test_what_the_device_of_the_working_folder_wrote_stands_beside_the_recording(tmp_path: Path) -> None:
    trace = recorded(tmp_path)
    found = {one.scope: one for one in open_trace(trace).info.counters}
    assert "node" in found
    mount = mount_of(os.path.realpath(tmp_path), mounts_of_this_machine())
    frame = pd.read_parquet(trace / "counters.parquet")
    assert list(frame.columns) == ["source", "counter", "time_ns", "value"]
    assert len(set(frame.time_ns)) >= 3
    if mount is not None and mount.type in ("ext4", "xfs"):
        device = found["device"]
        assert device.during["written_bytes"] >= 3 << 20
        grown = frame[(frame.source == device.source) & (frame.counter == "written_bytes")].sort_values("time_ns")
        assert grown.value.iloc[0] == 0
        assert grown.value.iloc[-1] == device.during["written_bytes"]
    assert stat.S_IMODE((trace / "counters.parquet").stat().st_mode) == 0o600


def test_a_trace_that_may_only_be_so_large_keeps_its_room_and_a_copy_without_names_has_no_counters(
    tmp_path: Path,
) -> None:
    trace = recorded(tmp_path, "--max-size", "20MB")
    assert not (trace / "counters.parquet").exists()
    assert json.loads((trace / "trace.json").read_text())["counters"]
    anonymise_trace(trace, tmp_path / "T2.iotrace")
    assert open_trace(tmp_path / "T2.iotrace").info.counters == []

"""Counters beside a recording: before, each second, after, and none of them in the way."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
from lab import local
from lab.base import Cpus, packages_missing

from iotrace.cli import main
from iotrace.mounts.counters.sampling import Sampler
from iotrace.mounts.mountinfo import mount_of, mounts_of_this_machine
from iotrace.record.beside_jobs import JobCounters
from iotrace.record.scope import Scope
from iotrace.record.session import record
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


def test_what_the_device_of_the_working_folder_wrote_stands_beside_the_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = recorded(tmp_path)
    found = open_trace(trace).info.counters
    assert "node" in {one.scope for one in found}
    mount = mount_of(os.path.realpath(tmp_path), mounts_of_this_machine())
    frame = pd.read_parquet(trace / "counters.parquet")
    assert list(frame.columns) == ["source", "counter", "time_ns", "value"]
    assert len(set(frame.time_ns)) >= 3
    if mount is not None and mount.type in ("ext4", "xfs"):
        # other mounts have counters, too
        device = max((one for one in found if one.scope == "device"), key=lambda one: one.during["written_bytes"])
        assert device.during["written_bytes"] >= 3 << 20
        grown = frame[(frame.source == device.source) & (frame.counter == "written_bytes")].sort_values("time_ns")
        assert grown.value.iloc[0] == 0
        assert grown.value.iloc[-1] == device.during["written_bytes"]
    capsys.readouterr()
    assert main(["summary", str(trace)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Counted beside, whoever's work it was" in said
    assert "processors (/proc/stat): all together worked" in said
    assert "waited to be written at the end" in said
    assert main(["summary", str(trace), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["counters"]
    assert [(one["source"], one["during"]) for one in shown] == [(one.source, one.during) for one in found]
    assert stat.S_IMODE((trace / "counters.parquet").stat().st_mode) == 0o600


def test_a_trace_that_may_only_be_so_large_keeps_its_room_and_a_copy_without_names_has_no_counters(
    tmp_path: Path,
) -> None:
    trace = recorded(tmp_path, "--max-size", "20MB")
    assert not (trace / "counters.parquet").exists()
    assert json.loads((trace / "trace.json").read_text())["counters"]
    anonymise_trace(trace, tmp_path / "T2.iotrace")
    assert open_trace(tmp_path / "T2.iotrace").info.counters == []


WORKER = """#!/bin/sh
cd {folder}
exec {python} -S -c "
import os, time
with open('out', 'wb') as file:
    file.write(os.urandom({size}))
    file.flush()
    os.fsync(file.fileno())
time.sleep(1.5)
" "$@"
"""


def test_each_cryosparc_job_has_the_counters_of_its_own_time(tmp_path: Path) -> None:
    missing = packages_missing("ext4", local.LOCAL_PACKAGES["ext4"])
    if os.geteuid() != 0 or missing:
        pytest.skip(missing or "only root may mount")
    sizes = {"J6": 6 << 20, "J7": 1 << 20}
    (tmp_path / "lab").mkdir()
    with local.ext4(tmp_path / "lab", Cpus.apart()) as mount:

        def work() -> None:
            for job, size in sizes.items():
                (mount.path / job).mkdir()
                program = tmp_path / f"cryosparcw-{job}"
                program.write_text(WORKER.format(folder=mount.path / job, python=sys.executable, size=size))
                program.chmod(0o755)
                subprocess.run([program, "run", "--project", "P6", "--job", job], check=True)

        jobs, scope = threading.Thread(target=work), Scope("cryosparc", mounts=(str(mount.path),))
        # the first has been closed by then, the second is closed by the end of the recording
        record([], tmp_path / "jobs", backend="ebpf", duration_s=16, scope=scope, attached=jobs.start)
        jobs.join()
    for job, size in sizes.items():
        (folder,) = (tmp_path / "jobs").glob(f"P6-{job}-*")
        trace = open_trace(folder)
        (device,) = (one for one in trace.info.counters if one.scope == "device")
        assert size <= device.during["written_bytes"] < size + (3 << 20)
        frame = pd.read_parquet(folder / "counters.parquet")
        grown = frame[(frame.source == device.source) & (frame.counter == "written_bytes")].sort_values("time_ns")
        assert (grown.time_ns.iloc[0], grown.value.iloc[0]) == (0, 0)
        assert grown.value.iloc[-1] == device.during["written_bytes"]
        assert len(grown) >= 3
        # ten seconds after the last process, which a closed job waited for another, are not its time
        assert grown.time_ns.iloc[-1] < 8e9


def test_a_job_does_not_wait_for_a_sampler_that_does_not_answer() -> None:
    with Sampler() as sampler:
        assert sampler.pid is not None
        os.kill(sampler.pid, signal.SIGSTOP)
        counters = JobCounters(sampler, [])
        counters.begin("J1", 0)
        counters.pause("J1")
        watch = counters.finish("J1", ended=True)
        assert watch.marks == []
        assert counters._thread.is_alive()  # it still waits
        os.kill(sampler.pid, signal.SIGCONT)
        counters.close()
        assert not counters._thread.is_alive()

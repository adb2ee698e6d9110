"""Counts in the place of events: what the kernel adds up is what a row for each operation would say."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iotrace.analysis.summary import summarise
from iotrace.errors import IotraceError
from iotrace.histogram import bucket_of
from iotrace.record.ebpf import backend as backend_module
from iotrace.record.ebpf.tallies import Counts
from iotrace.record.scope import Detail
from iotrace.record.session import record
from iotrace.replay.run import run_replay
from iotrace.trace.counted import tables_of
from iotrace.trace.reader import Trace, open_trace

pytestmark = pytest.mark.bpf

PROGRAM = """
    import mmap, os
    data = bytes(range(256)) * 64
    for i in range(50):
        with open(f"f{i}", "wb", buffering=0) as f:
            for size in (1, 100, 4096, 16000):
                f.write(data[:size])
    for i in range(50):
        fd = os.open(f"f{i}", os.O_RDONLY)
        os.read(fd, 5000); os.pread(fd, 64, 100); os.lseek(fd, 7, 0); os.fstat(fd); os.readv(fd, [bytearray(10)] * 3)
        os.close(fd)
        try:
            os.stat(f"missing{i}")
        except OSError:
            pass
    a, b = os.open("f0", os.O_RDONLY), os.open("copy", os.O_WRONLY | os.O_CREAT)
    os.sendfile(b, a, 0, 20000)
    os.dup2(a, b)
    c, (pipe_out, pipe_in) = os.open("spliced", os.O_WRONLY | os.O_CREAT), os.pipe()
    os.splice(a, pipe_in, 3000, 0)
    os.splice(pipe_out, c, 3000)
    if os.fork() == 0:
        open("child", "w").write("x")
        os._exit(3)
    os.wait()
    os.rename("f1", "g1"); os.unlink("f2")
"""


def recorded(folder: Path, detail: Detail) -> Trace:
    import os
    import textwrap

    work = folder / detail
    work.mkdir()
    before = Path.cwd()
    os.chdir(work)
    try:
        command = [sys.executable, "-S", "-c", textwrap.dedent(PROGRAM)]
        record(command, folder / f"{detail}.iotrace", backend="ebpf", detail=detail)
    finally:
        os.chdir(before)
    return open_trace(folder / f"{detail}.iotrace")


def test_counts_bytes_errors_and_sizes_are_those_of_the_events(tmp_path: Path) -> None:
    events, counts = (recorded(tmp_path, detail) for detail in ("events", "histogram"))
    assert counts.info.detail == "histogram"
    assert counts.events().empty
    by_op = [summarise(trace, ["op"]).tables["op"].set_index("key") for trace in (events, counts)]
    columns = ["calls", "errors", "data_calls", "bytes_read", "bytes_written", "timed"]
    ours = ["write", "pread64", "readv", "lseek", "sendfile", "splice", "dup2", "fork", "wait", "rename", "unlink"]
    ours.append("read")
    spliced = by_op[1].loc[["splice"], ["bytes_read", "bytes_written"]]
    assert spliced.to_numpy().tolist() == [[3000, 3000]]
    pd.testing.assert_frame_equal(by_op[1].loc[ours, columns], by_op[0].loc[ours, columns], check_dtype=False)
    assert (by_op[1].loc[["newfstatat"], "errors"] >= 50).all()
    frame = counts.table("histograms").to_pandas()
    sizes = frame[(frame.op == "write") & (frame.measure == "size")].groupby("bucket")["count"].sum()
    made = events.events().query("op == 'write'")
    expected = pd.Series(bucket_of(made["size"].to_numpy(dtype=np.int64))).value_counts()
    assert sizes.to_dict() == expected.to_dict()
    assert (by_op[1].loc[["write"], "p50_us"] > 0).all()
    processes = counts.processes()
    assert processes.exit.tolist() == [0, 3]
    by_process = tables_of(counts).by("process").set_index("id")
    assert (by_process.loc[[1], "calls"] > 0).all()


def test_a_trace_of_counts_says_what_it_cannot_tell(tmp_path: Path) -> None:
    counts = recorded(tmp_path, "histogram")
    with tables_of(counts) as tables, pytest.raises(IotraceError, match="counts, not events"):
        tables.by("file")
    with pytest.raises(IotraceError, match="holds counts, not operations"):
        run_replay(counts, fs=[tmp_path])


def test_the_counts_of_processes_that_ended_leave_the_kernels_map_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import iotrace.record.ebpf.tallies as tallies

    left: list[int] = []
    monkeypatch.setattr(tallies, "INTERVAL_S", 0.2)
    monkeypatch.setattr(backend_module, "_FLUSH_SECONDS", 0.2)
    end = tallies.TallyBackend._end_interval

    def ended(self: tallies.TallyBackend, now: int) -> None:
        end(self, now)
        left.append(len(self._before.keys))

    monkeypatch.setattr(tallies.TallyBackend, "_end_interval", ended)
    monkeypatch.setattr(tallies.TallyBackend.__init__, "__defaults__", (None, None, 0.2, None))
    script = "for i in $(seq 1500); do /bin/cat /etc/hosts; done > /dev/null"
    record(["/bin/sh", "-c", script], tmp_path / "t.iotrace", backend="ebpf", detail="histogram")
    frame = open_trace(tmp_path / "t.iotrace").table("histograms").to_pandas()
    calls = frame[frame.measure.isin(["latency", "untimed"])].groupby("op", observed=True)["count"].sum()
    # the shell itself, seq and 1,500 times cat
    assert calls["exec"] == calls["exit"] == 1502
    assert frame.time_ns.nunique() >= 2
    assert left[-1] < 100
    # each of the 1,500 opened and read the file once, whichever interval it fell into
    assert calls["read"] >= 3000


def test_adding_and_taking_away_counts_is_exact() -> None:
    rng = np.random.default_rng(1)
    keys = np.zeros(1000, Counts.none().keys.dtype)
    keys["process"], keys["op"] = rng.integers(0, 5, 1000), rng.integers(0, 3, 1000)
    values = np.zeros(1000, Counts.none().values.dtype)
    values["count"], values["sum"] = 1, rng.integers(0, 100, 1000)
    first, both = Counts.sums(keys[:400], values[:400]), Counts.sums(keys, values)
    rest = both.minus(first)
    expected = Counts.sums(keys[400:], values[400:])
    assert rest.keys.tolist() == expected.keys.tolist()
    assert rest.values.tolist() == expected.values.tolist()
    assert both.minus(both).keys.tolist() == []


def test_top_prints_rates_as_json_where_there_is_no_terminal(tmp_path: Path) -> None:
    script = "while :; do dd if=/dev/zero of=data bs=64k count=16 2>/dev/null; done"
    with subprocess.Popen(["/bin/sh", "-c", script], cwd=tmp_path) as busy:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "iotrace", "top", "--pid", str(busy.pid), "--json", "--interval", "0.5"],
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            busy.kill()
    found = json.loads(done.stdout)
    assert found["lost"] == {}
    assert found["total"]["write_bytes_per_s"] > 1e6
    assert found["total"]["metadata_ops_per_s"] > 0
    # a dd that has gone before its name is read has its number alone
    assert {word for row in found["rows"] for word in row["name"].split()} & {"dd", "sh"}
    total = sum(row["write_bytes_per_s"] for row in found["rows"])
    assert total == pytest.approx(found["total"]["write_bytes_per_s"], rel=1e-3)

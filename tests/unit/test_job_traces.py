"""A folder of traces, one for each job, that may only be so large, however many jobs run at once."""

import json
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iotrace.errors import UsageError
from iotrace.record.jobs import JobTraces
from iotrace.record.registry import registered
from iotrace.record.status import show
from iotrace.record.together import Together, read_together
from iotrace.trace.info import TraceInfo, read_info
from iotrace.trace.reader import open_trace
from iotrace.trace.schema import EVENT_COLUMNS, NULL
from iotrace.trace.writer import LEAST_MAX_BYTES

COLUMN = {column.name: number for number, column in enumerate(EVENT_COLUMNS)}
MAX = LEAST_MAX_BYTES


def noise(rows: int, first_ns: int, process: int, path: int = 0) -> npt.NDArray[np.int64]:
    """A matrix of events that compress badly, about 20 bytes each."""
    random = np.random.default_rng(first_ns)
    made = np.full((len(EVENT_COLUMNS), rows), NULL, np.int64)
    for name in ("thread", "op"):
        made[COLUMN[name]] = 0
    made[COLUMN["path"]] = path
    made[COLUMN["process"]] = process
    made[COLUMN["time_ns"]] = first_ns + np.arange(rows)
    made[COLUMN["offset"]] = random.integers(0, 2**62, rows)
    made[COLUMN["size"]] = random.integers(0, 2**62, rows)
    return made


def names(jobs: int) -> list[dict[str, object]]:
    return [{"process": job, "pid": job + 10, "start_ns": 0, "project": "P1", "job": f"J{job}"} for job in range(jobs)]


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@given(
    owners=st.lists(st.sampled_from([0, 1, 2, 3, 7]), max_size=60).map(sorted)
    | st.lists(st.integers(0, 8), max_size=60),
    chunk=st.integers(1, 60),
)
@example(owners=[number * 7 % 9 for number in range(300)], chunk=300)
def test_each_event_goes_to_the_job_of_its_process_in_order_and_none_to_two(owners: list[int], chunk: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        traces = JobTraces(Path(name) / "traces", TraceInfo())
        # processes 0 and 7 work for one job, 8 for none
        jobs = {process: f"J{process % 7}" for process in range(8)}
        traces.append_rows("processes", [row | {"job": jobs[int(str(row["process"]))]} for row in names(8)])
        traces.append_rows("paths", [{"path": process, "text": f"/{process}", "raw": b"/"} for process in range(9)])
        for begin in range(0, len(owners), chunk):
            mine = np.array(owners[begin : begin + chunk])
            rows = noise(len(mine) + 3, begin, 0)
            rows[COLUMN["process"], : len(mine)] = rows[COLUMN["path"], : len(mine)] = mine
            rows[:, len(mine) :] = NULL
            traces.append_matrix(rows, len(mine))
            assert (rows == NULL).all()
        traces.close()
        assert traces.unlabelled == owners.count(8)
        assert traces.info.events == len(owners) - owners.count(8)
        for folder in (Path(name) / "traces").glob("*.iotrace"):
            trace = open_trace(folder)
            events = trace.events()
            job = folder.name.split("-")[1]
            expected = [(time, process) for time, process in enumerate(owners) if jobs.get(process) == job]
            assert list(zip(events.time_ns, events.process, strict=True)) == expected
            assert set(events.path_text) == {f"/{process}" for _, process in expected}


@pytest.mark.parametrize("jobs", [1, 3, 12])
def test_the_traces_of_jobs_that_run_at_once_stay_within_the_bound_together(jobs: int, tmp_path: Path) -> None:
    folder, rows, steps = tmp_path / "traces", 20_000, 180
    traces = JobTraces(folder, TraceInfo(), MAX)
    traces.append_rows("processes", names(jobs))
    path = most = 0
    traces.append_rows("paths", [{"path": path, "text": "/a", "raw": b"a"}])
    for step in range(steps):
        if traces.wants_chapter:
            traces.begin_chapter()
            path += 1
            traces.append_rows("paths", [{"path": path, "text": "/a", "raw": b"a"}])
        traces.append_matrix(noise(rows, step * rows, step % jobs, path), rows)
        if step % 3 == 0:
            traces.flush()
        most = max(most, disk_bytes(folder))
    traces.close()
    most = max(most, disk_bytes(folder))
    assert MAX // 3 < most <= MAX
    infos = [read_info(trace) for trace in folder.glob("*.iotrace")]
    assert len(infos) == jobs
    assert sum(info.events + info.dropped.events for info in infos) == rows * steps
    assert sum(info.dropped.events for info in infos) > 0
    for trace in folder.glob("*.iotrace"):
        events = open_trace(trace).events()
        assert len(events) == read_info(trace).events > 0
        assert set(events.path_text) == {"/a"}


def test_the_oldest_traces_of_ended_jobs_go_before_anything_of_those_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iotrace.record.jobs._GRACE_S", 0.0)
    folder, rows = tmp_path / "traces", 20_000
    traces = JobTraces(folder, TraceInfo(), MAX)
    traces.append_rows("processes", names(5))
    traces.append_rows("paths", [{"path": 0, "text": "/a", "raw": b"a"}])
    for job in range(5):
        for step in range(10):
            traces.append_matrix(noise(rows, step * rows, job), rows)
        if job < 4:
            for _ in range(3):
                traces.note_living(set(range(job + 1, 5)))
        traces.flush()
    left = {read_info(trace).filters["whom"]: read_info(trace).dropped.events for trace in folder.glob("*.iotrace")}
    assert 0 < len(left) < 5
    assert left == {f"CryoSPARC job P1/J{job}": 0 for job in range(5 - len(left), 5)}
    traces.close()


def test_too_small_a_bound_is_refused_for_jobs_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too small"):
        JobTraces(tmp_path / "traces", TraceInfo(), MAX - 1)
    assert not (tmp_path / "traces").exists()


def test_the_status_of_many_traces_counts_a_loss_once_and_tells_their_common_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    folder = tmp_path / "traces"
    traces = JobTraces(folder, TraceInfo(), 4 * MAX)
    with registered(folder, "ebpf", "CryoSPARC jobs of this node"):
        traces.append_rows("processes", names(3))
        traces.append_rows("paths", [{"path": 0, "text": "/a", "raw": b"a"}])
        for job in range(3):
            traces.append_matrix(noise(100, 100 * job, job), 100)
        traces.info.lost = {"read": 7, "map": 1}
        traces.info.recorder = {"memory_limit_bytes": 10**9}
        traces.flush()
        (row,) = json.loads(show(json=True))["recordings"]
        assert [read_info(trace).lost for trace in folder.glob("*.iotrace")] == [{"read": 7, "map": 1}] * 3
        assert (row["traces"], row["events"], row["lost"]) == (3, 300, {"read": 7, "map": 1})
        assert (row["max_bytes"], row["memory_limit_bytes"]) == (4 * MAX, 10**9)
        assert 0 <= row["flushed_s_ago"] < 60
        traces.close()
    assert sorted(path.suffix for path in folder.iterdir()) == [".iotrace"] * 3


def test_what_a_killed_recorder_said_of_its_traces_is_not_the_next_ones(tmp_path: Path) -> None:
    Together({"read": 1}, None, {}).write(tmp_path)
    assert read_together(tmp_path) == Together({"read": 1}, None, {})
    JobTraces(tmp_path, TraceInfo())
    assert read_together(tmp_path) is None


def test_the_rows_of_many_jobs_that_wait_in_memory_are_bounded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iotrace.record.jobs._WAITING_BYTES", 8 << 20)
    traces, rows = JobTraces(tmp_path / "traces", TraceInfo()), 4_000
    traces.append_rows("processes", names(30))
    traces.append_rows("paths", [{"path": 0, "text": "/a", "raw": b"a"}])
    most = 0
    for step in range(120):
        traces.append_matrix(noise(rows, step * rows, step % 30), rows)
        most = max(most, sum(job.writer.waiting_bytes for job in traces._jobs.values()))
        if step % 10 == 0:
            traces.flush()
    traces.close()
    assert 4 << 20 < most <= 8 << 20
    assert sum(len(open_trace(trace).events()) for trace in (tmp_path / "traces").iterdir()) == rows * 120

"""Tables over a trace equal a plain count of its events."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import TraceBuilder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import HOSTILE, event, made_trace

from iotrace.errors import IotraceError, TraceError, UsageError
from iotrace.trace import writer
from iotrace.trace.operations import BY_NAME, Kind
from iotrace.trace.reader import open_trace
from iotrace.trace.tables import KEYS, Tables, table_by


def row(trace: Path, key: str, name: str) -> Any:
    frame = table_by(open_trace(trace), key)
    (found,) = frame[frame["key"] == name].to_dict("records")
    return found


def test_reads_writes_and_failures_are_told_apart(tmp_path: Path) -> None:
    trace = made_trace(
        tmp_path / "t.iotrace",
        [
            event(0, "read", file=0, open=0, offset=0, size=100, result=100),
            event(1, "read", file=0, open=0, offset=100, size=100, result=40),
            event(2, "read", file=0, open=0, offset=140, size=100, result=-5),
            event(3, "write", file=0, open=0, offset=140, size=7, result=7),
            event(4, "openat", path=0, result=-2),
        ],
        ["/data/a"],
    )
    read = row(trace, "op", "read")
    assert (read["calls"], read["errors"], read["bytes_read"], read["bytes_written"]) == (3, 1, 140, 0)
    assert (row(trace, "op", "write")["bytes_written"], row(trace, "op", "openat")["errors"]) == (7, 1)
    assert row(trace, "class", "metadata")["calls"] == 1


@pytest.mark.parametrize("op", ["readahead", "mmap.fault", "getdents64", "lseek", "fsync"])
def test_what_moves_no_data_to_the_program_counts_no_bytes(tmp_path: Path, op: str) -> None:
    trace = made_trace(tmp_path / "t.iotrace", [event(0, op, file=0, size=4096, result=4096)], ["/data/a"])
    found = row(trace, "op", op)
    assert (found["bytes_read"], found["bytes_written"]) == (0, 0)


@pytest.mark.parametrize(
    ("file", "other_file", "read", "written"),
    [(0, 1, 50, 50), (0, None, 50, 0), (None, 1, 0, 50), (None, None, 50, 50)],
)
def test_a_copy_reads_from_one_file_and_writes_to_the_other(
    tmp_path: Path, file: int | None, other_file: int | None, read: int, written: int
) -> None:
    copy = event(
        0, "sendfile", file=file, other_file=other_file, path=file, other_path=other_file, offset=0, size=50, result=50
    )
    trace = made_trace(tmp_path / "t.iotrace", [copy], ["/data/from", "/tmp/to"])
    found = row(trace, "op", "sendfile")
    assert (found["bytes_read"], found["bytes_written"], found["calls"]) == (read, written, 1)
    if file is not None and other_file is not None:
        source, target = row(trace, "file", "/data/from"), row(trace, "file", "/tmp/to")
        assert (source["bytes_read"], source["bytes_written"], source["calls"]) == (50, 0, 1)
        assert (target["bytes_read"], target["bytes_written"], target["calls"]) == (0, 50, 0)
        assert (row(trace, "mount", "/data")["bytes_read"], row(trace, "mount", "/")["bytes_written"]) == (50, 50)


def test_a_read_that_goes_on_where_the_last_one_ended_is_sequential(tmp_path: Path) -> None:
    reads = [(0, 100), (100, 100), (200, 50), (900, 10), (910, 10), (0, 10)]
    events = [event(i, "read", file=0, open=3, offset=o, size=n, result=n) for i, (o, n) in enumerate(reads)]
    # another description of the same file has a position of its own
    events.append(event(99, "pread64", file=0, open=4, offset=7, size=1, result=1))
    trace = made_trace(tmp_path / "t.iotrace", events, ["/data/a"])
    assert row(trace, "op", "read")["sequential_share"] == pytest.approx(4 / 6)
    assert row(trace, "op", "pread64")["sequential_share"] == 0
    assert row(trace, "file", "/data/a")["sequential_share"] == pytest.approx(4 / 7)


def test_the_order_of_rows_does_not_matter_to_what_is_sequential(tmp_path: Path) -> None:
    events = [event(t, "read", file=0, open=0, offset=t * 10, size=10, result=10) for t in (3, 0, 2, 1)]
    assert row(made_trace(tmp_path / "t.iotrace", events, ["/data/a"]), "op", "read")["sequential_share"] == 1


def test_a_median_size_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    events = [event(i, "read", size=n, result=0) for i, n in enumerate([4096, 4096, 4096, 1_000_000, 12])]
    assert row(made_trace(tmp_path / "t.iotrace", events), "op", "read")["size_p50"] == 4096


def test_a_mount_is_the_files_own_or_that_of_the_longest_prefix(tmp_path: Path) -> None:
    events = [event(0, "read", file=0), event(1, "stat", path=1), event(2, "stat", path=2), event(3, "stat", path=3)]
    paths = ["/anything", "/data/a", "/database/a", "/data"]
    files = [{"file": 0, "path": 0, "type": "file", "mount": 1}]
    frame = table_by(open_trace(made_trace(tmp_path / "t.iotrace", events, paths, files)), "mount")
    assert dict(zip(frame["key"], frame["calls"], strict=True)) == {"/data": 3, "/": 1}


def test_a_path_that_never_became_a_file_has_a_row_of_its_own(tmp_path: Path) -> None:
    trace = made_trace(tmp_path / "t.iotrace", [event(0, "openat", path=0, result=-2)], ["/data/missing"], files=[])
    assert row(trace, "file", "/data/missing")["errors"] == 1


def test_what_names_a_file_by_its_path_alone_counts_to_that_file(tmp_path: Path) -> None:
    events = [event(0, "exec", path=0), event(1, "mmap.fault", path=0, file=0)]
    trace = made_trace(tmp_path / "t.iotrace", events, ["/usr/bin/tar"])
    assert row(trace, "file", "/usr/bin/tar")["calls"] == 2


def test_labels_come_from_the_process(tmp_path: Path) -> None:
    processes: list[dict[str, Any]] = [
        {
            "process": 0,
            "pid": 7,
            "command": "w",
            "start_ns": 0,
            "project": "P1",
            "job": "J2",
            "step": "Patch",
            "user": "u",
        },
        {"process": 1, "pid": 8, "command": None, "start_ns": 0},
    ]
    trace = made_trace(tmp_path / "t.iotrace", [event(0, "read"), event(1, "read", process=1)], processes=processes)
    for key, name in (("job", "P1/J2"), ("step", "Patch"), ("user", "u"), ("process", "7 w"), ("process", "8")):
        assert row(trace, key, name)["calls"] == 1
    frame = table_by(open_trace(trace), "step")
    assert frame["key"].isna().sum() == 1


@pytest.mark.parametrize("key", KEYS)
def test_every_key_gives_a_table_of_an_empty_trace(tmp_path: Path, key: str) -> None:
    assert table_by(open_trace(made_trace(tmp_path / "t.iotrace", [])), key).empty


@pytest.mark.parametrize("key", KEYS)
def test_hostile_text_is_a_value_and_never_sql(tmp_path: Path, key: str) -> None:
    events = [event(0, "read", path=0, file=0, result=5, size=5), event(1, "'; drop table events; --", path=0)]
    processes = [
        {"process": 0, "pid": 1, "command": HOSTILE, "start_ns": 0, "step": HOSTILE, "job": HOSTILE, "user": HOSTILE}
    ]
    trace = made_trace(tmp_path / "a'b\n.iotrace", events, [HOSTILE], processes=processes)
    assert table_by(open_trace(trace), key)["calls"].sum() == 2


def test_an_unknown_key_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose one of op"):
        table_by(open_trace(made_trace(tmp_path / "t.iotrace", [])), "nonsense; drop table events")


def test_an_operation_that_this_version_does_not_know_is_still_counted(tmp_path: Path) -> None:
    trace = made_trace(tmp_path / "t.iotrace", [event(0, "pread2077", result=10)])
    assert row(trace, "op", "pread2077")["calls"] == 1
    assert row(trace, "op", "pread2077")["class"] == "unknown"


def test_a_limit_keeps_the_rows_with_most_time_and_their_figures(tmp_path: Path) -> None:
    events = [
        event(i, "read", file=i % 5, open=i % 5, offset=0, size=i % 5, result=i % 5, duration_ns=10 ** (i % 5))
        for i in range(50)
    ]
    trace = open_trace(made_trace(tmp_path / "t.iotrace", events, [f"/data/{i}" for i in range(5)]))
    whole, some = table_by(trace, "file"), table_by(trace, "file", 2)
    assert some["key"].tolist() == ["/data/4", "/data/3"]
    assert some.to_dict("records") == whole.head(2).to_dict("records")


def test_slices_of_the_timeline_add_up_to_the_whole(tmp_path: Path) -> None:
    events = [event(i * 10**7, "read", result=i, size=i) for i in range(100)]
    with Tables(open_trace(made_trace(tmp_path / "t.iotrace", events))) as tables:
        frame = tables.timeline(7)
        assert frame["calls"].sum() == 100
        assert frame["bytes_read"].sum() == tables.totals()["bytes_read"] == sum(range(100))
        assert frame["start_s"].max() < 1


def test_activity_is_of_jobs_and_operations_and_adds_up_to_their_calls(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.processes[0] |= {"project": "P1", "job": "J7", "step": "Extract"}
    other = b.process()
    for number in range(30):
        b.named("newfstatat", "a", duration=50_000)
        b.named("newfstatat", "b", thread=other, duration=10)
        b.named("mkdir", f"d{number % 3}", thread=other, duration=20_000)
    with Tables(open_trace(b.save(tmp_path / "t.iotrace"))) as tables:
        frame, few = tables.activity(10), tables.activity(10, most=1)
    calls = frame.groupby(["job", "op"], dropna=False)["calls"].sum()
    assert calls.tolist() == [30, 30, 30]
    assert set(frame["job"]) == {"P1/J7", None}
    assert frame["start_s"].nunique() <= 10
    assert few[["job", "op"]].drop_duplicates().to_numpy().tolist() == [["P1/J7", "newfstatat"]]


def test_a_recording_that_was_cut_off_is_counted_to_its_last_batch(tmp_path: Path) -> None:
    from iotrace.trace.info import TraceInfo

    cut = writer.TraceWriter(tmp_path / "t.iotrace", TraceInfo())
    cut.append_rows("events", [event(i, "read", result=1, size=1) for i in range(10)])
    cut.flush()
    assert row(tmp_path / "t.iotrace", "op", "read")["bytes_read"] == 10


nullable = st.one_of(st.none(), st.integers(0, 3))
events = st.lists(
    st.fixed_dictionaries(
        {
            "time_ns": st.integers(0, 10**9),
            "duration_ns": st.one_of(st.none(), st.integers(0, 10**10)),
            "process": st.integers(0, 1),
            "thread": st.integers(0, 3),
            "op": st.sampled_from(["read", "pwrite64", "sendfile", "openat", "fsync", "mmap.fault", "fork", "newer"]),
            "path": nullable,
            "file": nullable,
            "other_file": nullable,
            "open": nullable,
            "offset": st.one_of(st.none(), st.integers(0, 10**6)),
            "size": st.one_of(st.none(), st.integers(0, 10**6)),
            "result": st.one_of(st.none(), st.integers(-40, 10**6)),
        }
    ),
    max_size=80,
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events)
def test_totals_equal_a_plain_count_in_every_table(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> Any:
    trace = made_trace(tmp_path_factory.mktemp("t") / "t.iotrace", rows, ["/data/a", "/data/b", "/c", "/d"])

    def moved(event: dict[str, Any], kinds: set[Kind]) -> Any:
        kind = BY_NAME[event["op"]].kind if event["op"] in BY_NAME else None
        return event["result"] if kind in kinds and event["result"] is not None and event["result"] > 0 else 0

    read = sum(
        moved(e, {Kind.READ}) + (moved(e, {Kind.COPY}) if e["file"] is not None or e["other_file"] is None else 0)
        for e in rows
    )
    written = sum(
        moved(e, {Kind.WRITE}) + (moved(e, {Kind.COPY}) if e["other_file"] is not None or e["file"] is None else 0)
        for e in rows
    )
    failed = sum(e["result"] is not None and e["result"] < 0 for e in rows)
    with Tables(open_trace(trace)) as tables:
        for key in KEYS:
            frame = tables.by(key)
            assert frame["calls"].sum() == len(rows)
            assert frame["errors"].sum() == failed
            assert frame["bytes_read"].sum() == read
            assert frame["bytes_written"].sum() == written
            known = frame["p50_us"].dropna()
            assert np.all(frame["p50_us"].dropna() <= frame["p99_us"].dropna())
            assert len(known) <= len(frame)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=80))
def test_percentiles_are_those_of_the_durations(tmp_path_factory: pytest.TempPathFactory, durations: list[int]) -> None:
    rows = [event(i, "read", duration_ns=d) for i, d in enumerate(durations)]
    found = row(made_trace(tmp_path_factory.mktemp("t") / "t.iotrace", rows), "op", "read")
    for name, q in (("p50_us", 0.5), ("p95_us", 0.95), ("p99_us", 0.99)):
        exact = sorted(durations)[max(1, int(np.ceil(q * len(durations)))) - 1] / 1e3
        assert found[name] == pytest.approx(exact, rel=0.01, abs=1e-6)


def test_calls_of_unknown_duration_count_as_calls_but_not_as_timed(tmp_path: Path) -> None:
    faults = [event(i, "mmap.fault", file=0, duration_ns=None if i else 5_000_000) for i in range(100)]
    found = row(made_trace(tmp_path / "t.iotrace", faults, ["/data/a"]), "op", "mmap.fault")
    assert (found["calls"], found["timed"]) == (100, 1)
    assert found["p50_us"] == pytest.approx(5000, rel=0.01)


@pytest.mark.parametrize("damage", ["column gone", "column of text", "page overwritten", "figures too large"])
def test_a_damaged_part_is_one_line_that_is_no_fault_of_iotrace(tmp_path: Path, damage: str) -> None:
    trace = made_trace(
        tmp_path / "t.iotrace", [event(i, "read", file=0, open=0, offset=i, result=1) for i in range(500)], ["/data/a"]
    )
    (part,) = (trace / "events").glob("part-*")
    rows = pq.read_table(part)
    position = rows.schema.get_field_index("result")
    if damage == "column gone":
        pq.write_table(rows.drop_columns(["result"]), part)
    elif damage == "column of text":
        pq.write_table(rows.set_column(position, "result", pa.array(["x"] * len(rows))), part)
    elif damage == "figures too large":
        pq.write_table(rows.set_column(position, "result", pa.array([2**63 - 1] * len(rows))), part)
    else:
        content = bytearray(part.read_bytes())
        content[4:400] = b"\x55" * 396
        part.write_bytes(content)
    with pytest.raises(TraceError, match=r"t\.iotrace"):
        table_by(open_trace(trace), "op")


def test_a_trace_that_takes_more_memory_and_disk_than_there_is_is_not_called_damaged(tmp_path: Path) -> None:
    with Tables(open_trace(made_trace(tmp_path / "t.iotrace", [event(0, "read", file=0)], ["/data/a"]))) as tables:
        tables.query("set memory_limit = '20MB'")
        tables.query("set max_temp_directory_size = '0MB'")
        with pytest.raises(IotraceError, match="TMPDIR") as told:
            tables.query("create temp table large as select range, random() from range(10_000_000)")
    assert not isinstance(told.value, TraceError)
    assert "damaged" not in str(told.value)

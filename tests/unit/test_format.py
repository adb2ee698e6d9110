"""The trace on disk: what is written comes back, at any time, through any reader, and nothing else is taken for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.errors import StorageError, TraceError
from iotrace.trace import parts as parts_module
from iotrace.trace.info import TraceInfo, read_info
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.parts import part_name, tail_name
from iotrace.trace.reader import open_trace
from iotrace.trace.schema import COLUMNS, FORMAT_MAJOR, SCHEMAS
from iotrace.trace.writer import TraceWriter

OPS = [operation.name for operation in OPERATIONS]
I64 = st.integers(-(2**63), 2**63 - 1)
I32 = st.integers(-(2**31), 2**31 - 1)


def values_of(field: pa.Field) -> st.SearchStrategy[object]:
    if field.name == "op":
        values: st.SearchStrategy[object] = st.sampled_from(OPS)
    elif field.name == "time_ns":
        values = st.integers(0, 2**62)
    elif field.type == pa.int64():
        values = I64
    elif field.type == pa.int32():
        values = I32
    elif field.type == pa.bool_():
        values = st.booleans()
    elif field.type == pa.binary():
        values = st.binary(max_size=20)
    elif field.type == pa.string():
        values = st.text(max_size=20)
    else:
        values = st.lists(st.text(max_size=8), max_size=3)
    return st.none() | values if field.nullable else values


def rows_of(table: str, max_size: int = 12) -> st.SearchStrategy[list[dict[str, object]]]:
    return st.lists(st.fixed_dictionaries({f.name: values_of(f) for f in SCHEMAS[table]}), max_size=max_size)


EVENTS = rows_of("events")


def batch(table: str, rows: list[dict[str, object]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, SCHEMAS[table])


def event(time_ns: int, **values: object) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(SCHEMAS["events"].names)
    return row | {"time_ns": time_ns, "process": 0, "thread": 0, "op": "read"} | values


def read_back(folder: Path, table: str = "events") -> list[dict[str, object]]:
    rows: list[dict[str, object]] = open_trace(folder).table(table).to_pylist()
    return rows


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "PART_ROWS", 7)


@pytest.mark.parametrize("table", list(SCHEMAS))
@given(data=st.data(), part_rows=st.sampled_from([1, 5, 1 << 20]), flush_every=st.integers(1, 4))
@settings(deadline=None, max_examples=25)
def test_what_is_written_comes_back(
    table: str, data: st.DataObject, part_rows: int, flush_every: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    batches = data.draw(st.lists(EVENTS if table == "events" else rows_of(table), max_size=4))
    folder = tmp_path_factory.mktemp("round") / "t.iotrace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts_module, "PART_ROWS", part_rows)
        with TraceWriter(folder, TraceInfo()) as writer:
            for number, rows in enumerate(batches):
                writer.append(table, batch(table, rows))
                if number % flush_every == 0:
                    writer.flush()
                    assert read_back(folder, table) == [row for rows in batches[: number + 1] for row in rows]
    expected = [row for rows in batches for row in rows]
    assert read_back(folder, table) == expected
    info = open_trace(folder).info
    assert info.complete
    assert info.events == (len(expected) if table == "events" else 0)


@given(times=st.lists(st.integers(0, 10**9), max_size=40), cuts=st.integers(1, 7))
@settings(deadline=None, max_examples=30)
def test_the_reorder_bound_holds_for_every_row(
    times: list[int], cuts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("order") / "t.iotrace"
    with TraceWriter(folder, TraceInfo()) as writer:
        for at in range(0, len(times), cuts):
            writer.append("events", batch("events", [event(t) for t in times[at : at + cuts]]))
    bound = open_trace(folder).info.max_reorder_ns
    gaps = [max(times[: n + 1]) - t for n, t in enumerate(times)]
    assert bound == max(gaps, default=0)


@pytest.mark.usefixtures("small_parts")
def test_parts_come_in_order_and_the_tail_behind_them(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    writer = TraceWriter(folder, TraceInfo())
    for number in range(0, 20, 5):
        writer.append("events", batch("events", [event(t) for t in range(number, number + 5)]))
        writer.flush()
    # no close: as after a SIGKILL
    trace = open_trace(folder)
    assert [part.name for part in trace.parts("events")] == [part_name(0), part_name(1)]
    assert [row["time_ns"] for row in read_back(folder)] == list(range(20))
    assert not trace.info.complete
    assert trace.info.events == 20


def test_a_tail_torn_at_any_byte_gives_its_whole_batches(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    writer = TraceWriter(folder, TraceInfo())
    ends = []
    for number in range(2):
        writer.append("events", batch("events", [event(number * 10 + k, path=k) for k in range(4)]))
        writer.flush()
        ends.append((folder / "events" / tail_name(0)).stat().st_size)
    tail = folder / "events" / tail_name(0)
    whole, trace = tail.read_bytes(), open_trace(folder)
    for length in range(len(whole) + 1):
        tail.write_bytes(whole[:length])
        times = [time for part in trace.batches("events", ["time_ns"]) for time in part.column(0).to_pylist()]
        least = 4 * sum(length >= end for end in ends)
        assert len(times) >= least
        assert times == [number * 10 + k for number in range(2) for k in range(4)][: len(times)]
        assert len(times) % 4 == 0


@given(garbage=st.binary(max_size=200))
@settings(deadline=None, max_examples=50)
def test_a_tail_of_any_bytes_breaks_nothing(garbage: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("garbage") / "t.iotrace"
    TraceWriter(folder, TraceInfo()).flush()
    (folder / "events" / tail_name(0)).write_bytes(garbage)
    assert read_back(folder) == []
    assert open_trace(folder).connect().execute("select count(*) from events").fetchall() == [(0,)]


@pytest.mark.usefixtures("small_parts")
def test_a_torn_part_gets_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    with TraceWriter(folder, TraceInfo()) as writer:
        writer.append("events", batch("events", [event(t) for t in range(9)]))
    part = folder / "events" / part_name(0)
    whole = part.read_bytes()
    for torn in (
        b"",
        whole[: len(whole) // 2],
        whole[:-1],
        whole[:4],
        whole[:8] + b"\0" * (len(whole) - 16) + whole[-8:],
    ):
        part.write_bytes(torn)
        with pytest.raises(TraceError) as error:
            read_back(folder)
        assert part_name(0) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "no such trace"),
        (lambda folder: folder.mkdir(), "holds no trace.json"),
        (lambda folder: folder.write_text("x"), "trace"),
        (lambda folder: (folder.mkdir(), (folder / "trace.json").write_text("{")), "damaged"),
        (lambda folder: (folder.mkdir(), (folder / "trace.json").write_text("[1]")), "damaged"),
        (lambda folder: (folder.mkdir(), (folder / "trace.json").write_text('{"format": "x"}')), "damaged"),
        (lambda folder: (folder.mkdir(), (folder / "trace.json").write_text('{"format": []}')), "damaged"),
        (lambda folder: (folder.mkdir(), (folder / "trace.json").write_bytes(b"\xff\xfe")), "damaged"),
        (lambda folder: (folder.mkdir(), (folder / "trace.json").mkdir()), "cannot read"),
        (lambda folder: (folder.mkdir(), (folder / "trace.json").write_text('{"format": [99, 0]}')), "upgrade iotrace"),
        (lambda folder: (folder.mkdir(), (folder / "trace.json").write_text('{"format": [1, 0], "events": "many"}')), "damaged"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_foreign_folder_gets_one_clear_line(tmp_path: Path, make: object, words: str) -> None:
    folder = tmp_path / "x.iotrace"
    make(folder)  # type: ignore[operator]
    with pytest.raises(TraceError, match=words) as error:
        open_trace(folder)
    assert "\n" not in str(error.value)
    assert "x.iotrace" in str(error.value)


@given(text=st.binary(max_size=300))
@settings(max_examples=60)
def test_a_trace_json_of_any_bytes_gives_an_error_of_ours_or_a_trace(
    text: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "trace.json").write_bytes(text)
    with pytest.raises(TraceError):
        read_info(folder)


def test_newer_minor_versions_with_unknown_keys_and_columns_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    with TraceWriter(folder, TraceInfo()) as writer:
        writer.append("events", batch("events", [event(1), event(2)]))
    content = msgspec.json.decode((folder / "trace.json").read_bytes())
    content |= {"format": [FORMAT_MAJOR, 99], "colour": "blue"}
    (folder / "trace.json").write_bytes(msgspec.json.encode(content))
    part = folder / "events" / part_name(0)
    table = pq.read_table(part)
    pq.write_table(table.append_column("colour", pa.array(["blue", "red"])), part)
    trace = open_trace(folder)
    assert [row["time_ns"] for row in trace.table("events").to_pylist()] == [1, 2]
    assert trace.connect().execute("select count(*) from events").fetchall() == [(2,)]


def test_a_parquet_file_that_is_no_part_of_a_trace_gets_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    TraceWriter(folder, TraceInfo()).close()
    pq.write_table(pa.table({"x": [1]}), folder / "events" / part_name(0))
    with pytest.raises(TraceError, match="lacks the columns") as error:
        read_back(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["it's.iotrace", 'two "quotes"', "new\nline", "semi;--colon", "star*[a]", "ünïcode €", "x' union select 1 --"],
)
@pytest.mark.usefixtures("small_parts")
def test_a_folders_name_may_be_anything(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    with TraceWriter(folder, TraceInfo()) as writer:
        writer.append("events", batch("events", [event(t) for t in range(10)]))
        writer.append_rows("paths", [{"path": 0, "text": "/a", "raw": b"a"}])
        writer.append("events", batch("events", [event(t) for t in range(10, 13)]))
    assert [row["time_ns"] for row in read_back(folder)] == list(range(13))
    connection = open_trace(folder).connect()
    assert connection.execute("select count(*), sum(time_ns) from events").fetchall() == [(13, 78)]


def test_a_process_is_its_last_row_in_frames_and_in_sql(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    row: dict[str, object] = {"process": 0, "pid": 5, "start_ns": 0}
    with TraceWriter(folder, TraceInfo()) as writer:
        writer.append_rows("processes", [row | {"command": "sh"}, row | {"process": 1, "command": "sh"}])
        writer.flush()
        writer.append_rows("processes", [row | {"command": "python"}])
        writer.append_rows("processes", [row | {"process": 1, "command": "tar", "end_ns": 9, "exit": 2}])
        for _ in range(2):
            trace = open_trace(folder)
            writer.flush()
            commands = trace.connect().execute("select process, command from processes order by process").fetchall()
            assert trace.processes().command.tolist() == [command for _, command in commands]
        assert commands == [(0, "python"), (1, "tar")]


@pytest.mark.usefixtures("small_parts")
def test_plain_pandas_and_duckdb_read_a_trace_without_iotrace(tmp_path: Path) -> None:
    """Also while it is being written: the tail's name begins with _, which readers skip."""
    folder = tmp_path / "t.iotrace"
    writer = TraceWriter(folder, TraceInfo())
    writer.append(
        "events", batch("events", [event(t, duration_ns=t * 2, offset=None if t % 2 else t) for t in range(14)])
    )
    writer.append_rows("paths", [{"path": n, "text": f"/{n}", "raw": b"x\xff"} for n in range(7)])
    writer.append("events", batch("events", [event(99)]))
    writer.flush()
    program = f"""
import sys, pandas, duckdb
events = pandas.read_parquet({str(folder / "events")!r})
assert events.time_ns.tolist() == list(range(14)), events
assert events.op.tolist() == ["read"] * 14
assert events.offset.isna().sum() == 7
assert pandas.read_parquet({str(folder / "paths")!r}).raw[0] == b"x\\xff"
parts = {str(folder / "events" / "part-*.parquet")!r}
got = duckdb.execute("select op, count(*), sum(duration_ns) from read_parquet(?) group by op", [parts]).fetchall()
assert got == [("read", 14, 182)], got
assert "iotrace" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    writer.close()


def test_a_standing_trace_is_replaced_only_by_force_and_only_a_trace(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    TraceWriter(folder, TraceInfo()).close()
    with pytest.raises(TraceError, match="--force"):
        TraceWriter(folder, TraceInfo())
    TraceWriter(folder, TraceInfo(host="new"), force=True).close()
    assert open_trace(folder).info.host == "new"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("x")
    link = tmp_path / "link"
    link.symlink_to(folder)
    for other in (precious, link, precious / "data"):
        with pytest.raises(TraceError, match="not a trace"):
            TraceWriter(other, TraceInfo(), force=True)
    assert (precious / "data").read_text() == "x"
    assert (folder / "trace.json").exists()
    with pytest.raises(TraceError, match="cannot make"):
        TraceWriter(tmp_path / "no" / "such" / "t.iotrace", TraceInfo())


def test_an_exception_closes_the_trace_as_not_complete(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"

    def fail() -> None:
        with TraceWriter(folder, TraceInfo()) as writer:
            writer.append("events", batch("events", [event(1)]))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    trace = open_trace(folder)
    assert not trace.info.complete
    assert len(trace.events()) == 1


def test_lost_operations_make_a_trace_incomplete(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    TraceWriter(folder, TraceInfo(lost={"read": 3, "write": 0})).close()
    assert not open_trace(folder).info.complete


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.ext4") is None,
    reason="needs root and mkfs.ext4 to make a small file system",
)
def test_a_full_disk_gets_one_clear_line(tmp_path: Path) -> None:
    image, point = tmp_path / "image", tmp_path / "mount"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, stdout=subprocess.DEVNULL)
    if subprocess.run(["mount", "-o", "loop", str(image), str(point)], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this machine may not mount loop devices")
    try:
        writer = TraceWriter(point / "t.iotrace", TraceInfo())
        noise = os.urandom(1 << 16)

        def fill_up() -> None:
            for _ in range(200):
                writer.append_rows("paths", [{"path": 0, "text": "/", "raw": noise}])
                writer.flush()

        with pytest.raises(StorageError, match="no space left") as error:
            fill_up()
        assert "\n" not in str(error.value)
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


def test_every_column_says_what_it_means() -> None:
    for columns in COLUMNS.values():
        assert len({column.name for column in columns}) == len(columns)
        assert all(column.meaning for column in columns)

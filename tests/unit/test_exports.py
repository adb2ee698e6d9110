"""Traces for other tools: CSV, fio's logs, Perfetto; and fio's logs as traces."""

import csv
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from builders import TraceBuilder
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as messages

from iotrace.errors import IotraceError, TraceError, UsageError
from iotrace.replay.run import run_replay
from iotrace.trace.formats.csv_export import export_csv
from iotrace.trace.formats.fio_export import export_fio
from iotrace.trace.formats.fio_iolog import WORKING_FOLDER, import_iolog
from iotrace.trace.formats.perfetto_export import export_perfetto
from iotrace.trace.reader import open_trace

ROOT = Path(__file__).parent.parent.parent
SHIPPED = ROOT / "data" / "traces" / "relion-particle-extraction.iotrace"
NASTY = b'a "q", b\nnew=1+\xff\xe2\x80\xae.mrc'


# ---- CSV ----


def test_csv_has_a_row_a_call_with_names_in_the_place_of_numbers(tmp_path: Path) -> None:
    trace = open_trace(SHIPPED)
    rows = export_csv(trace, tmp_path / "t.csv")
    events, text = trace.events(), trace.paths().set_index("path")["text"]
    with (tmp_path / "t.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert rows == len(found) == len(events)
    assert [row["op"] for row in found] == events["op"].astype(str).tolist()
    assert [row["time_ns"] for row in found] == events["time_ns"].astype(str).tolist()
    paths = events["path"].map(text).astype(object).where(events["path"].notna(), "")
    assert [row["path"] for row in found] == paths.tolist()


def test_csv_holds_a_name_of_any_bytes_on_one_line(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.call("newfstatat", path=b.path(NASTY), file=None)
    export_csv(open_trace(b.save(tmp_path / "t.iotrace")), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert '"q", b' in row["path"]
    with pytest.raises(UsageError, match="is there already"):
        export_csv(open_trace(tmp_path / "t.iotrace"), tmp_path / "t.csv")


# ---- Perfetto ----


def read_perfetto(path: Path) -> tuple[dict[int, Any], dict[int, list[dict[str, Any]]]]:
    """Tracks by uuid, and by track its slices in the order of their beginnings, nesting checked."""
    trace = messages.Trace.FromString(path.read_bytes())
    tracks: dict[int, Any] = {}
    texts: dict[tuple[str, int], str] = {}
    marks: list[tuple[int, Any, dict[str, Any]]] = []
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            tracks[packet.track_descriptor.uuid] = packet.track_descriptor
        for table in ("event_names", "event_categories", "debug_annotation_names"):
            for entry in getattr(packet.interned_data, table):
                texts[table, entry.iid] = entry.name
        for entry in packet.interned_data.debug_annotation_string_values:
            texts["debug_annotation_string_values", entry.iid] = entry.str.decode()
        if packet.HasField("track_event"):
            event = packet.track_event
            facts: dict[str, Any] = {}
            for note in event.debug_annotations:
                string = texts.get(("debug_annotation_string_values", note.string_value_iid))
                facts[texts["debug_annotation_names", note.name_iid]] = string or note.int_value
            facts["name"] = texts.get(("event_names", event.name_iid), "")
            marks.append((packet.timestamp, event, facts))
    marks.sort(key=lambda mark: mark[0])  # stable, as the trace processor sorts
    slices: dict[int, list[dict[str, Any]]] = defaultdict(list)
    open_: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for timestamp, event, facts in marks:
        stack = open_[event.track_uuid]
        if event.type == event.TYPE_SLICE_BEGIN:
            stack.append(facts | {"begin": timestamp})
        else:
            begun = stack.pop()
            slices[event.track_uuid].append(begun | {"end": timestamp})
    assert not any(open_.values())
    return tracks, slices


def test_perfetto_gets_each_call_as_a_slice_of_its_threads_track(tmp_path: Path) -> None:
    trace = open_trace(SHIPPED)
    count = export_perfetto(trace, tmp_path / "t.pftrace")
    tracks, slices = read_perfetto(tmp_path / "t.pftrace")
    events = trace.events()
    names = set(events["op"].astype(str))
    found = [one for own in slices.values() for one in own if one["name"] in names]
    assert count == len(events) == len(found)
    base = trace.info.base_monotonic_ns
    expected = Counter(
        (op, base + time, base + time + (0 if duration is None else int(duration)))
        for op, time, duration in zip(
            events["op"].astype(str), events["time_ns"], events["duration_ns"].astype(object).where(
                events["duration_ns"].notna(), None), strict=True)
    )  # fmt: skip
    assert Counter((one["name"], one["begin"], one["end"]) for one in found) == expected
    read = next(one for one in found if one["name"] == "read" and one.get("path", "").endswith(".mrc"))
    assert read["size"] > 0
    threads = {uuid for uuid, track in tracks.items() if track.HasField("thread")}
    assert len(threads) == events["thread"].nunique()
    assert all(tracks[tracks[uuid].parent_uuid].HasField("process") for uuid in threads)


def test_perfetto_gets_a_track_for_each_job_and_for_requests_in_flight(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.processes[0] |= {"project": "P1", "job": "J7", "step": "2D Classification", "end_ns": 10**9}
    o = b.open("a.mrc")
    for number in range(4):  # two in flight at a time
        b.on("uring.read", o, "a.mrc", at=10**6 * number, duration=1_900_000, ring=0, batch=0, offset=0, size=10,
             result=10)  # fmt: skip
    export_perfetto(open_trace(b.save(tmp_path / "t.iotrace")), tmp_path / "t.pftrace")
    tracks, slices = read_perfetto(tmp_path / "t.pftrace")
    (job,) = [uuid for uuid, track in tracks.items() if track.name == "Job P1/J7"]
    (life,) = [uuid for uuid, track in tracks.items() if track.parent_uuid == job]
    assert slices[life][0]["name"] == "2D Classification"
    assert slices[life][0]["end"] - slices[life][0]["begin"] == 10**9
    assert sorted(track.name for track in tracks.values() if "flight" in track.name) == ["in flight 1", "in flight 2"]


def test_perfetto_has_a_track_of_its_own_for_each_of_very_many_requests_in_flight(tmp_path: Path) -> None:
    b = TraceBuilder()
    other = b.thread()
    o = b.open("a.mrc")
    for number in range(5000):
        b.on("uring.read", o, "a.mrc", at=1000 + number, duration=10**9, ring=0, batch=0, offset=0, size=10, result=10)
    b.on("uring.read", o, "a.mrc", at=900, duration=10**9, ring=1, batch=0, offset=0, size=10, result=10, thread=other)
    export_perfetto(open_trace(b.save(tmp_path / "t.iotrace")), tmp_path / "t.pftrace")
    tracks, slices = read_perfetto(tmp_path / "t.pftrace")
    flights = [uuid for uuid, track in tracks.items() if "flight" in track.name]
    assert len(flights) == 5001
    assert all(len(slices[uuid]) == 1 for uuid in flights)


# ---- fio ----


def fio_totals(folder: Path, mount: Path) -> dict[str, Any]:
    """What fio says of a run of an export."""
    subprocess.run(["sh", folder / "prepare.sh"], cwd=mount, check=True)
    done = subprocess.run(
        ["fio", "--output-format=json", folder / "job.fio"], cwd=mount, capture_output=True, text=True, check=True
    )
    assert "error" not in done.stderr.lower()
    assert "short read" not in done.stderr.lower()
    totals: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    return totals


@pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")
def test_fio_runs_what_is_exported_with_the_recorded_reads_and_writes(tmp_path: Path) -> None:
    trace = open_trace(SHIPPED)
    made = export_fio(trace, tmp_path / "out")
    (tmp_path / "mount").mkdir()
    totals = fio_totals(tmp_path / "out", tmp_path / "mount")
    events, files = trace.events(), trace.files().set_index("file")["type"]
    good = events[(events["result"] > 0) & events["offset"].notna() & events["file"].notna()]
    good = good[good["file"].map(files).fillna("file") == "file"]
    for name, ops in (("read", ("read", "pread64", "readv")), ("write", ("write", "pwrite64", "writev"))):
        mine = good[good["op"].isin(ops)]
        assert len(mine) > 50
        assert totals[name]["total_ios"] == len(mine)
        assert totals[name]["io_bytes"] == int(mine["result"].sum())
    assert made.left_out["lseek"] == int((events["op"] == "lseek").sum())
    assert made.threads >= 1


@pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")
def test_a_thread_that_moves_nothing_has_no_job_for_fio_refuses_one(tmp_path: Path) -> None:
    b = TraceBuilder()
    other = b.thread()
    o = b.open("a", os.O_RDWR, size=4096)
    b.read(o, "a", 0, 4096, op="pread64")
    b.on("fsync", b.open("b", os.O_RDWR, thread=other), "b", thread=other)
    made = export_fio(open_trace(b.save(tmp_path / "t.iotrace")), tmp_path / "out")
    (tmp_path / "mount").mkdir()
    assert made.threads == 1
    assert fio_totals(tmp_path / "out", tmp_path / "mount")["read"]["total_ios"] == 1


@pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")
def test_a_file_is_as_long_as_what_is_read_of_it_though_no_write_made_it_so(tmp_path: Path) -> None:
    b = TraceBuilder()
    other = b.thread()
    cut = b.open("cut", os.O_RDWR, existed=False)
    b.on("ftruncate", cut, "cut", size=100_000)
    b.read(cut, "cut", 50_000, 4096, op="pread64")
    shared = b.open("shared", os.O_RDWR, existed=False)
    b.write(shared, "shared", 0, 2000, op="pwrite64", thread=other)
    b.read(shared, "shared", 0, 2000, op="pread64")
    grown = b.open("grown", os.O_RDWR, size=10)
    b.write(grown, "grown", 10, 3000, op="pwrite64")
    b.read(grown, "grown", 0, 3010, op="pread64")
    made = export_fio(open_trace(b.save(tmp_path / "t.iotrace")), tmp_path / "out")
    sizes = [int(line.split()[1]) for line in (tmp_path / "out" / "files.txt").read_text().splitlines()]
    assert sizes == [54_096, 2000, 10]
    assert made.bytes == sum(sizes)
    (tmp_path / "mount").mkdir()
    assert fio_totals(tmp_path / "out", tmp_path / "mount")["read"]["io_bytes"] == 4096 + 2000 + 3010


@pytest.mark.parametrize("name", ["a:b", "a;b", "a#b", "a${HOME}"])
def test_a_folder_that_fio_would_read_as_another_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="fio cannot read"):
        export_fio(open_trace(SHIPPED), tmp_path / name)


@pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")
@pytest.mark.parametrize("sync", ["fsync", "fdatasync"])
def test_what_fio_did_itself_comes_back_from_its_log(tmp_path: Path, sync: str) -> None:
    log = tmp_path / "log"
    subprocess.run(
        ["fio", "--name=x", f"--directory={tmp_path}", "--size=1m", "--bs=4k", "--rw=randrw", f"--{sync}=10",
         f"--write_iolog={log}", "--output=/dev/null"], check=True,
    )  # fmt: skip
    lines = log.read_text().splitlines()
    import_iolog([log], tmp_path / "t.iotrace")
    events = open_trace(tmp_path / "t.iotrace").events()
    counts = Counter(events["op"].astype(str))
    assert counts["pread64"] == sum(" read " in line for line in lines) > 50
    assert counts["pwrite64"] == sum(" write " in line for line in lines) > 50
    wanted = {"fsync": "sync", "fdatasync": "datasync"}[sync]
    assert counts[sync] == sum(re.search(rf" {wanted}( |$)", line) is not None for line in lines) > 3
    first = next(re.search(r"(read|write) (\d+) (\d+)", line) for line in lines if re.search(" (read|write) ", line))
    assert first is not None
    row = events[events["op"].isin(["pread64", "pwrite64"])].iloc[0]
    assert (row["offset"], row["size"]) == (int(first[2]), int(first[3]))


def test_an_imported_log_replays_without_an_unexpected_outcome(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "fio version 3 iolog\n0 /data/a add\n0 /data/a open\n10 /data/a read 0 4096\n20 /data/b write 8192 100\n"
        "30 /data/b read 8192 100\n40 /data/b datasync 0 0\n50 /data/a trim 0 4096\n60 /data/a close\n"
    )
    info = import_iolog([log], tmp_path / "t.iotrace")
    assert info.events == 9
    (tmp_path / "mount").mkdir()
    result = run_replay(open_trace(tmp_path / "t.iotrace"), tmp_path / "mount", timing="asap")
    assert result.info.runs[0].errors == 0
    assert result.info.runs[0].ops == 9


def test_waits_of_version_2_and_times_of_version_3_are_kept(tmp_path: Path) -> None:
    (tmp_path / "2").write_text("fio version 2 iolog\na add\na open\na read 0 1\na wait 5000 0\na read 0 1\na close\n")
    (tmp_path / "3").write_text("fio version 3 iolog\n7 a add\n7 a open\n8 a read 0 1\n5008 a read 0 1\n6000 a close\n")
    for version in "23":
        import_iolog([tmp_path / version], tmp_path / f"{version}.iotrace")
        events = open_trace(tmp_path / f"{version}.iotrace").events()
        times = events[events["op"] == "pread64"]["time_ns"].tolist()
        assert abs(times[1] - times[0] - 5_000_000) <= 1000


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["read", "write", "fsync"]), st.integers(0, 2), st.integers(0, 1 << 40),
        st.integers(1, 1 << 20), st.integers(0, 1),
    ),
    min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=40)
@given(moves=MOVES)
def test_reads_and_writes_survive_the_way_to_fio_and_back(moves: list[tuple[str, int, int, int, int]]) -> None:
    b = TraceBuilder()
    threads = [0, b.thread()]
    opened = [b.open(f"f{number}", os.O_RDWR, size=1 << 41) for number in range(3)]
    for op, file, offset, size, thread in moves:
        if op == "fsync":
            b.on("fsync", opened[file], f"f{file}", thread=threads[thread])
        else:
            name = {"read": "pread64", "write": "pwrite64"}[op]
            b.on(name, opened[file], f"f{file}", thread=threads[thread], offset=offset, size=size, result=size)
    assume(any(op != "fsync" for op, *_ in moves))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_fio(open_trace(b.save(folder / "a.iotrace")), folder / "out")
        with (folder / "out" / "names.csv").open() as table:
            names = {f"{WORKING_FOLDER}/{row['name']}": row["recorded"] for row in csv.DictReader(table)}
        logs = sorted((folder / "out" / "threads").iterdir(), key=lambda log: int(log.stem))
        import_iolog(logs, folder / "b.iotrace")
        before, after = (open_trace(folder / f"{which}.iotrace").events() for which in "ab")

        def told(frame: Any, rename: dict[str, str]) -> Counter[Any]:
            moving = frame[frame["op"].isin(["pread64", "pwrite64"])]["thread"].unique()  # others have no log
            mine = frame[frame["op"].isin(["pread64", "pwrite64", "fsync"]) & frame["thread"].isin(moving)]
            places = mine[["op", "path_text", "offset", "size"]].astype(object).where(
                mine[["op", "path_text", "offset", "size"]].notna(), None)  # fmt: skip
            return Counter((op, rename.get(path, path), at, size) for op, path, at, size in places.to_numpy().tolist())

        assert told(after, names) == told(before, {})


@settings(max_examples=80)
@given(body=st.binary(max_size=300))
def test_no_log_makes_more_than_one_line_of_error(body: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log"
        log.write_bytes(b"fio version 3 iolog\n" + body)
        said = ""
        try:
            import_iolog([log], Path(name) / "t.iotrace")
            open_trace(Path(name) / "t.iotrace").events()
        except IotraceError as error:
            said = str(error)
        assert "\n" not in said


def test_torn_lines_are_counted_as_lost_and_other_files_refused(tmp_path: Path) -> None:
    (tmp_path / "torn").write_text("fio version 3 iolog\n0 a add\n0 a open\n1 a read 0\n2 a read 0 4096\n3 a rea")
    info = import_iolog([tmp_path / "torn"], tmp_path / "t.iotrace")
    assert info.lost == {"read": 1, "metadata": 1}
    assert not open_trace(tmp_path / "t.iotrace").info.complete
    (tmp_path / "other").write_text("GARBAGE\n")
    with pytest.raises(TraceError, match="no log of fio"):
        import_iolog([tmp_path / "other"], tmp_path / "u.iotrace")


def test_a_trace_without_reads_and_writes_is_no_job_for_fio(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.named("newfstatat", "a")
    with pytest.raises(UsageError, match="nothing for fio to run"):
        export_fio(open_trace(b.save(tmp_path / "t.iotrace")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_of_a_sparse_file_only_what_was_there_or_is_read_is_written(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.file("sparse", size=1 << 40, blocks=16)
    o = b.open("sparse", size=1 << 40)
    b.read(o, "sparse", (1 << 40) - 4096, 4096, op="pread64")
    b.read(b.open("far", size=10), "far", 1 << 39, 4096, op="pread64")
    export_fio(open_trace(b.save(tmp_path / "t.iotrace")), tmp_path / "out")
    lines = [line.split()[:2] for line in (tmp_path / "out" / "files.txt").read_text().splitlines()]
    assert lines == [["8192", str(1 << 40)], ["4096", str((1 << 39) + 4096)]]
    (tmp_path / "mount").mkdir()
    subprocess.run(["sh", tmp_path / "out" / "prepare.sh"], cwd=tmp_path / "mount", check=True, timeout=60)
    made = sorted(path.stat().st_blocks * 512 for path in (tmp_path / "mount").rglob("f*"))
    assert max(made) <= 1 << 16

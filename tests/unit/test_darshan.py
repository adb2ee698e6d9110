"""Logs of Darshan as traces, checked against what PyDarshan's own report of its example logs says."""

import importlib.util
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iotrace
from iotrace.analysis.findings.search import search
from iotrace.analysis.report.write import write_report
from iotrace.analysis.summary import summarise
from iotrace.cli import main
from iotrace.errors import IotraceError, TraceError, UsageError
from iotrace.histogram import bucket_of, lower_bounds
from iotrace.replay.run import run_replay
from iotrace.trace.anonymise import anonymise_trace
from iotrace.trace.counted import tables_of
from iotrace.trace.formats import darshan_log
from iotrace.trace.formats.darshan import import_darshan
from iotrace.trace.formats.darshan_counts import Doubts, rows_of
from iotrace.trace.formats.darshan_log import Record
from iotrace.trace.reader import open_trace

_SPEC = importlib.util.find_spec("darshan")
pytestmark = [
    pytest.mark.skipif(_SPEC is None, reason="PyDarshan is not installed"),
    pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated"),
]
ROOT = Path(_SPEC.origin).parent if _SPEC is not None and _SPEC.origin else Path()
EXAMPLES = ROOT / "examples" / "example_logs"
INPUTS = ROOT / "tests" / "input"
TRACED = [EXAMPLES / "dxt.darshan", EXAMPLES / "ior_hdf5_example.darshan", INPUTS / "sample-dxt-simple.darshan"]
COUNTED = [
    EXAMPLES / "example.darshan", INPUTS / "noposixopens.darshan", INPUTS / "sample-goodost.darshan",
    *sorted((ROOT / "examples" / "darshan-graph").glob("*readAB*.darshan")), *EXAMPLES.glob("shane_macsio*.darshan"),
]  # fmt: skip
CALLS = {
    "read": "POSIX_READS", "write": "POSIX_WRITES", "lseek": "POSIX_SEEKS", "stat": "POSIX_STATS",
    "fsync": "POSIX_FSYNCS", "fdatasync": "POSIX_FDSYNCS", "rename": "POSIX_RENAME_SOURCES", "dup": "POSIX_DUPS",
    "stdio.read": "STDIO_READS", "stdio.write": "STDIO_WRITES", "stdio.flush": "STDIO_FLUSHES",
}  # fmt: skip


def report_of(log: Path) -> Any:
    import darshan

    return darshan.DarshanReport(str(log), read_all=True)


def counters(report: Any, module: str) -> pd.DataFrame:
    """Counters of a module, a row for each file and rank; what the runtime did not count is 0."""
    if module not in report.records:
        return pd.DataFrame({"id": [], "rank": []})
    frames = report.records[module].to_df()
    joined: pd.DataFrame = frames["counters"].join(frames["fcounters"].drop(columns=["id", "rank"]))
    numbers = joined.columns.difference(["id", "rank"])
    joined[numbers] = joined[numbers].clip(lower=0)
    return joined


def total(frame: pd.DataFrame, column: str) -> float:
    return float(frame[column].sum()) if column in frame else 0.0


@pytest.mark.parametrize("log", [*COUNTED, TRACED[0]], ids=lambda log: log.stem[:20])
def test_counts_are_those_of_pydarshans_report(log: Path, tmp_path: Path) -> None:
    info = import_darshan(log, tmp_path / "t.iotrace", detail="histogram")
    assert info.complete
    made = summarise(open_trace(tmp_path / "t.iotrace"), ["op", "file", "process"])
    report = report_of(log)
    frames = {module: counters(report, module) for module in ("POSIX", "STDIO")}
    both = pd.concat([frame for frame in frames.values() if len(frame)])
    assert made.bytes_read == total(both, "POSIX_BYTES_READ") + total(both, "STDIO_BYTES_READ")
    assert made.bytes_written == total(both, "POSIX_BYTES_WRITTEN") + total(both, "STDIO_BYTES_WRITTEN")
    by_op = made.tables["op"].set_index("key")
    expected = {op: int(total(both, name)) for op, name in CALLS.items()}
    expected["open"] = int(total(both, "POSIX_OPENS") - total(both, "POSIX_FILENOS") - total(both, "POSIX_DUPS"))
    found = by_op["calls"].to_dict()
    assert {op: found.get(op, 0) for op in expected} == expected
    seconds = sum(
        total(both, f"{module}_F_{name}_TIME") for module in ("POSIX", "STDIO") for name in ("READ", "WRITE", "META")
    )
    assert by_op["time_s"].sum() == pytest.approx(seconds, abs=1e-6 + 1e-9 * seconds)
    assert by_op["p50_us"].isna().all()
    assert made.files == both["id"].nunique()
    assert made.processes == both["rank"].nunique()
    files: Counter[str] = Counter()
    for module, frame in frames.items():
        for record, moved in zip(frame["id"].tolist(), frame.get(f"{module}_BYTES_WRITTEN", []), strict=True):
            files[report.name_records[record]] += int(moved)
    written = made.tables["file"].set_index("key")["bytes_written"]
    assert {str(name).removeprefix("/darshan/"): int(moved) for name, moved in written.items()} == dict(files)
    ranks = [int(key.split()[0]) for key in made.tables["process"]["key"]]
    assert sorted(ranks) == sorted(both["rank"].unique().tolist())


@pytest.mark.parametrize("log", TRACED, ids=lambda log: log.stem[:20])
def test_each_segment_of_dxt_is_an_event_with_its_rank_place_and_times(log: Path, tmp_path: Path) -> None:
    info = import_darshan(log, tmp_path / "t.iotrace")
    assert (info.detail, info.complete, info.lost) == ("events", True, {})
    trace, report = open_trace(tmp_path / "t.iotrace"), report_of(log)
    events = trace.events()
    events["rank"] = events["process"].map(trace.processes().set_index("process")["pid"])
    columns = ["rank", "path_text", "op", "offset", "result", "time_ns", "duration_ns"]
    found = Counter(events[columns].itertuples(index=False, name=None))
    expected: Counter[Any] = Counter()
    for record in report.records["DXT_POSIX"].to_dict():
        for way, op in (("read", "pread64"), ("write", "pwrite64")):
            for segment in record[f"{way}_segments"]:
                start, end = round(segment["start_time"] * 1e9), round(segment["end_time"] * 1e9)
                place = record["rank"], report.name_records[record["id"]], op
                expected[(*place, int(segment["offset"]), int(segment["length"]), start, end - start)] += 1
    assert found == expected
    ends = (events["time_ns"] + events["duration_ns"]).to_numpy(dtype=np.int64)
    assert (np.diff(ends) >= 0).all()
    reach = (events["offset"] + events["result"]).groupby(events["file"]).max()
    only_read = (events["op"] == "pread64").groupby(events["file"]).all()
    sizes = trace.files().set_index("file")["size"]
    assert sizes[only_read.index[only_read]].fillna(0).tolist() == reach[only_read].tolist()
    made, posix = summarise(trace, ["op"]), counters(report, "POSIX")
    assert made.bytes_read == total(posix, "POSIX_BYTES_READ")
    assert made.bytes_written == total(posix, "POSIX_BYTES_WRITTEN")
    assert made.events == total(posix, "POSIX_READS") + total(posix, "POSIX_WRITES")
    kept = next(one for one in trace.info.counters if one.source == "darshan POSIX").during
    assert kept["POSIX_OPENS"] == total(posix, "POSIX_OPENS")
    assert any(f"{kept['POSIX_OPENS']:,} opens" in sentence for sentence in info.unseen)


def test_segments_of_mpiio_are_left_out_where_those_below_it_are_there(tmp_path: Path) -> None:
    info = import_darshan(EXAMPLES / "ior_hdf5_example.darshan", tmp_path / "t.iotrace")
    assert info.events == 59
    assert "requests to MPI-IO (59): the calls that they became are there" in info.unseen


def test_what_dxt_traced_can_be_replayed_and_has_findings(tmp_path: Path) -> None:
    import_darshan(EXAMPLES / "ior_hdf5_example.darshan", tmp_path / "t.iotrace")
    trace = open_trace(tmp_path / "t.iotrace")
    assert search(trace).totals.calls == 59
    (tmp_path / "mount").mkdir()
    run = run_replay(trace, tmp_path / "mount", timing="asap").info.runs[0]
    assert (run.ops, run.errors) == (59, 0)
    assert (run.bytes_read, run.bytes_written) == (4_202_504, 4_195_800)


def test_counts_go_into_summary_report_and_an_anonymous_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "t.iotrace"
    import_darshan(EXAMPLES / "example.darshan", folder)
    main(["summary", str(folder)])
    said = capsys.readouterr().out
    assert "vpicio.hdf5" in said
    assert "100398 s" in said
    write_report([folder], tmp_path / "r.html")
    assert "vpicio.hdf5" in (tmp_path / "r.html").read_text()
    anonymise_trace(folder, tmp_path / "a.iotrace", None)
    before, after = (summarise(open_trace(tmp_path / f"{name}.iotrace"), ["file"]) for name in "ta")
    columns = ["calls", "bytes_written", "time_s"]
    pd.testing.assert_frame_equal(before.tables["file"][columns], after.tables["file"][columns])
    assert "vpicio" not in (tmp_path / "a.iotrace" / "trace.json").read_text()
    assert iotrace.table(folder, "file")["bytes_written"].sum() == 2_199_023_263_277
    assert iotrace.timeline(folder)["bytes_written"].sum() == 2_199_023_263_277
    assert search(open_trace(folder)).not_judged
    with pytest.raises(UsageError, match="holds no segments of DXT"):
        import_darshan(EXAMPLES / "example.darshan", tmp_path / "e.iotrace", detail="events")


def test_counts_of_an_earlier_minor_version_read_as_counts_without_files(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    import_darshan(EXAMPLES / "example.darshan", folder)
    before = summarise(open_trace(folder), ["op", "process"])
    for part in (folder / "histograms").glob("part-*.parquet"):
        pq.write_table(pq.read_table(part).drop_columns(["file"]), part)
    trace = open_trace(folder)
    assert trace.table("histograms")["file"].null_count == trace.table("histograms").num_rows > 0
    after = summarise(trace, ["op", "process"])
    for key in ("op", "process"):
        pd.testing.assert_frame_equal(before.tables[key], after.tables[key])
    with tables_of(trace) as tables, pytest.raises(UsageError, match="cannot group by 'file'"):
        tables.by("file")


# ---- sizes ----

RANGES = (("0_100", 100), ("100_1K", 1024), ("1K_10K", 10240), ("10K_100K", 102400), ("100K_1M", 1 << 20))


@given(
    sizes=st.lists(st.integers(0, 1 << 20), max_size=60).flatmap(
        lambda some: st.lists(st.sampled_from([*some, 4096]), max_size=60)
    ),
    others=st.lists(st.integers(0, 1 << 20), max_size=3),
)
def test_the_sizes_of_a_record_are_its_calls_and_its_bytes(sizes: list[int], others: list[int]) -> None:
    made = {"POSIX_READS": len(sizes), "POSIX_BYTES_READ": sum(sizes), "POSIX_WRITES": len(others),
            "POSIX_BYTES_WRITTEN": sum(others)}  # fmt: skip
    for way, moved in (("READ", sizes), ("WRITE", others)):
        for size in moved:
            name = next(name for name, largest in RANGES if size <= largest)
            made[f"POSIX_SIZE_{way}_{name}"] = made.get(f"POSIX_SIZE_{way}_{name}", 0) + 1
    for at, (size, count) in enumerate(Counter(sizes + others).most_common(4), 1):
        made |= {f"POSIX_ACCESS{at}_ACCESS": size, f"POSIX_ACCESS{at}_COUNT": count}
    rows = [row for row in rows_of(Record("POSIX", 1, 0, made, {}), Doubts()) if row.measure == "size"]
    for op, moved in (("read", sizes), ("write", others)):
        mine = [row for row in rows if row.op == op]
        assert sum(row.count for row in mine) == len(moved)
        assert sum(row.sum for row in mine) == sum(moved)
        assert all(row.count >= 0 and 0 <= row.bucket < len(lower_bounds()) for row in mine)
    if len(set(sizes)) <= 4 and not others:
        found = {row.bucket: 0 for row in rows} | dict.fromkeys(bucket_of(np.array(sizes, np.int64)).tolist(), 0)
        exact = found.copy()
        for row in rows:
            found[row.bucket] += row.count
        for bucket in bucket_of(np.array(sizes, np.int64)).tolist():
            exact[bucket] += 1
        assert found == exact


# ---- logs that are torn, foreign or hostile ----


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.999])
def test_a_torn_log_is_refused_in_one_line_and_leaves_nothing(share: float, tmp_path: Path) -> None:
    whole = (INPUTS / "sample-dxt-simple.darshan").read_bytes()
    (tmp_path / "torn.darshan").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(TraceError, match=r"torn\.darshan is no (whole )?log of Darshan") as raised:
        import_darshan(tmp_path / "torn.darshan", tmp_path / "t.iotrace")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "t.iotrace").exists()


def test_what_is_no_log_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((Path("/etc/passwd"), "no whole log"), (tmp_path, "no file"), (tmp_path / "pipe", "no file"),
                       (tmp_path / "missing", "No such file")):  # fmt: skip
        with pytest.raises(TraceError, match=said):
            import_darshan(path, tmp_path / "t.iotrace")
    assert capfd.readouterr().err == ""


def teller(folder: Path, messages: list[Any], then: str = "") -> Path:
    """A program that tells these messages in the place of the reader of logs, and then does something."""
    body = b"".join(
        len(text).to_bytes(4, "little") + text for text in (msgspec.msgpack.encode(message) for message in messages)
    )
    (folder / "told").write_bytes(body)
    program = folder / "teller.py"
    program.write_text(
        f"import os, sys, time\nsys.stdout.buffer.write(open({str(folder / 'told')!r}, 'rb').read())\n"
        f"sys.stdout.flush()\n{then}\n"
    )
    return program


JOB = ("job", 1_600_000_000, 5, 10.0, 4, "./a.out --password=hush", [("/", "xfs"), ("/data", "lustre")])


def doubles(*values: float) -> bytes:
    return np.array(values, np.float64).tobytes()


def integers(*values: int) -> bytes:
    return np.array(values, np.int64).tobytes()


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (f"os.kill(os.getpid(), {int(signal.SIGSEGV)})", "PyDarshan ended on it by SIGSEGV"),
        ("time.sleep(60)", "has not gone on reading it for 1 s"),
        ("sys.stdout.buffer.write(b'\\x05\\0\\0\\0\\x91\\xa3')", "could not read it to its end"),
        ("sys.stdout.buffer.write(b'\\x03\\0\\0\\0\\xc1\\xc1\\xc1')", "what it holds makes no sense"),
        ("sys.stderr.write('Error: all is \\x1b[2J lost.\\nError: more\\n')", r"all is \\x1b\[2J lost\.$"),
    ],
)
def test_a_reader_that_crashes_hangs_or_babbles_ends_in_one_line(
    then: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_bytes(b"x")
    monkeypatch.setattr(darshan_log, "_READER", teller(tmp_path, [(*JOB, [("POSIX", 4, False)])], then))
    monkeypatch.setattr(darshan_log, "PATIENCE_S", 1.0 if "sleep" in then else 60.0)
    with pytest.raises(TraceError, match=said) as raised:
        import_darshan(tmp_path / "log", tmp_path / "t.iotrace")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "t.iotrace").exists()


def test_hostile_names_places_and_counters_are_taken_for_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_bytes(b"x")
    names = ["POSIX_READS", "POSIX_WRITES", "POSIX_BYTES_READ", "POSIX_BYTES_WRITTEN", "POSIX_FILENOS"]
    messages = [
        (*JOB, [("POSIX", 4, True), ("DXT_POSIX", 1, False), ("DXT_MPIIO", 1, False)]),
        ("names", [(2**64 - 1, b"/data/\xff\x1b[2J"), (7, b"relative")]),
        ("counters", "POSIX", names, ["POSIX_F_READ_TIME"],
         [(2**64 - 1, 0, integers(5, 2**62, 100, -3, -1), doubles(float("nan"))),
          (7, -1, integers(0, 0, 0, 0, -1), doubles(-5.0))]),
        ("segments", "DXT_POSIX", 2**64 - 1, 3, "host", 1, integers(0, -1, 2**62, 8), integers(10, 5, 2**62, -1),
         doubles(1, 1, 1, 1), doubles(2, 2, 2, 2)),
        ("segments", "DXT_POSIX", 2**64 - 1, 3, "host", 0, integers(1, 2), integers(1, 1), doubles(3, float("nan")),
         doubles(2, 2)),
        ("segments", "DXT_MPIIO", 7, 1, "other", 1, integers(0), integers(4096), doubles(1), doubles(1.5)),
        ("end",),
    ]  # fmt: skip
    monkeypatch.setattr(darshan_log, "_READER", teller(tmp_path, messages))
    info = import_darshan(tmp_path / "log", tmp_path / "t.iotrace")
    assert info.lost == {"read": 5, "write": 2**56 - 1}
    assert not open_trace(tmp_path / "t.iotrace").info.complete
    assert any("ran out of memory for POSIX" in sentence for sentence in info.unseen)
    assert any("requests to MPI-IO stand in their place (1)" in sentence for sentence in info.unseen)
    assert any("which of 2 hosts" in sentence for sentence in info.unseen)
    assert info.command == ["./a.out", "--password=***"]
    trace = open_trace(tmp_path / "t.iotrace")
    events = trace.events()
    assert events["path_text"].tolist() == ["/darshan/relative", "/data/\\xff\\x1b[2J"]
    assert events["result"].tolist() == [4096, 10]
    assert trace.files()["mount"].tolist() == [1, 0]
    counted = import_darshan(tmp_path / "log", tmp_path / "c.iotrace", detail="histogram")
    assert not counted.complete
    made = summarise(open_trace(tmp_path / "c.iotrace"), ["op", "file", "process"])
    assert made.tables["op"].set_index("key")["calls"].to_dict() == {"read": 5, "write": 2**56}
    assert (made.bytes_read, made.bytes_written) == (100, 0)


def test_without_pydarshan_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "darshan.py").write_text("raise ModuleNotFoundError(\"No module named 'darshan'\")\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    with pytest.raises(IotraceError, match=r"pip install 'iotrace\[darshan\]'"):
        import_darshan(EXAMPLES / "example.darshan", tmp_path / "t.iotrace")
    assert not (tmp_path / "t.iotrace").exists()


def test_a_module_of_the_working_folder_is_not_taken_for_pydarshan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "darshan.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    assert import_darshan(EXAMPLES / "example.darshan", tmp_path / "t.iotrace").complete


def test_the_command_says_what_was_imported_and_refuses_what_is_not_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = str(EXAMPLES / "dxt.darshan")
    main(["import", "darshan", log, "-o", str(tmp_path / "t.iotrace")])
    assert capsys.readouterr().out.startswith("7623 operations in 1469 s → ")
    main(["import", "darshan", log, "-o", str(tmp_path / "t.iotrace"), "--force", "--detail", "histogram"])
    assert capsys.readouterr().out.startswith("counts in 1469 s → ")
    for words in (["strace", log, "--detail", "events"], ["darshan", log, "--cwd", "/"], ["darshan", log, log]):
        assert main(["import", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1

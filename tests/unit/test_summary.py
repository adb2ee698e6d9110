"""`iotrace summary`: what it prints and what its JSON holds."""

import json
from pathlib import Path
from typing import Any

import pytest
from made import HOSTILE, event, made_trace

from iotrace.analysis.summary import summarise
from iotrace.cli import main
from iotrace.trace.reader import open_trace


def events() -> Any:
    return [
        event(0, "openat", path=0, file=0, open=0, duration_ns=5000),
        event(1, "read", path=0, file=0, open=0, offset=0, size=4096, result=4096, duration_ns=20_000),
        event(2, "read", path=0, file=0, open=0, offset=4096, size=4096, result=0, duration_ns=20_000),
        event(3, "openat", path=1, result=-2),
    ]


def printed(capsys: pytest.CaptureFixture[str], *words: Any) -> Any:
    status = main(["summary", *map(str, words)])
    return status, capsys.readouterr()


def test_json_holds_what_the_design_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = made_trace(tmp_path / "t.iotrace", events(), ["/data/a", "/data/b"])
    status, out = printed(capsys, trace, "--json")
    assert status == 0
    found = json.loads(out.out)
    assert out.err == ""
    assert {key: found[key] for key in ("events", "lost", "complete", "duration_s", "files", "processes")} == {
        "events": 4, "lost": 0, "complete": True, "duration_s": 1.0, "files": 2, "processes": 1,
    }  # fmt: skip
    assert (found["bytes_read"], found["bytes_written"]) == (4096, 0)
    read = found["by_op"]["read"]
    assert {key: read[key] for key in ("calls", "errors", "bytes")} == {"calls": 2, "errors": 0, "bytes": 4096}
    assert read["p50_us"] == pytest.approx(20, rel=0.01)
    assert read["p99_us"] == pytest.approx(20, rel=0.01)
    assert found["by_op"]["openat"]["errors"] == 1
    assert found["by_step"] == {}


def test_the_python_api_gives_the_same_figures(tmp_path: Path) -> None:
    import iotrace

    made = iotrace.summarise(iotrace.open_trace(made_trace(tmp_path / "t.iotrace", events(), ["/data/a", "/data/b"])))
    assert (made.events, made.bytes_read, made.lost) == (4, 4096, 0)
    assert made.to_json()["by_op"]["read"]["calls"] == 2


def test_lost_operations_are_said_loudly_and_make_a_trace_incomplete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = made_trace(tmp_path / "t.iotrace", events(), ["/data/a", "/data/b"], lost={"read": 12, "write": 0})
    status, out = printed(capsys, trace)
    assert status == 0
    assert "LOST 12 operations (read 12): the figures below are too low." in out.out
    assert "nothing lost" not in out.out
    assert summarise(open_trace(trace)).to_json()["lost_by_class"] == {"read": 12}


def test_a_recording_that_was_cut_off_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = made_trace(tmp_path / "t.iotrace", events(), ["/data/a", "/data/b"], complete=False)
    assert "NOT COMPLETE" in printed(capsys, trace)[1].out
    assert not json.loads(printed(capsys, trace, "--json")[1].out)["complete"]


def test_what_the_backend_could_not_see_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = made_trace(tmp_path / "t.iotrace", events(), ["/data/a", "/data/b"], unseen=["page faults of mapped files"])
    assert "not seen: page faults of mapped files" in printed(capsys, trace)[1].out


@pytest.mark.parametrize("key", ["op", "class", "file", "process", "thread", "mount", "step", "job", "user"])
def test_every_table_fits_80_columns_even_with_hostile_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    processes = [
        {"process": 0, "pid": 1, "command": HOSTILE, "start_ns": 0, "step": HOSTILE, "job": HOSTILE, "user": HOSTILE}
    ]
    rows = [
        *events(),
        event(9, "copy_file_range", file=0, other_file=1, offset=0, size=123_456_789, result=123_456_789),
    ]
    trace = made_trace(tmp_path / "t.iotrace", rows, [HOSTILE * 3, HOSTILE], processes=processes, command=[HOSTILE] * 3)
    status, out = printed(capsys, trace, "--by", key)
    assert status == 0
    assert "\x1b" not in out.out
    assert "\u202e" not in out.out
    table = out.out.split("\n\n", 1)[1]
    assert max(len(line) for line in table.splitlines()) <= 80


def test_a_wide_terminal_shows_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = made_trace(tmp_path / "t.iotrace", events(), ["/data/" + "x" * 70, "/data/b"])
    narrow = printed(capsys, trace, "--by", "file")[1].out
    monkeypatch.setenv("COLUMNS", "160")
    wide = printed(capsys, trace, "--by", "file")[1].out
    assert "x" * 70 in wide
    assert "x" * 70 not in narrow
    assert "p50" in wide
    assert "p50" not in narrow


def test_steps_are_shown_where_processes_carry_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    processes = [{"process": 0, "pid": 1, "start_ns": 0, "step": "Patch Motion Correction"}]
    labelled = made_trace(tmp_path / "a.iotrace", events(), ["/data/a", "/data/b"], processes=processes)
    plain = made_trace(tmp_path / "b.iotrace", events(), ["/data/a", "/data/b"])
    assert "By step" in printed(capsys, labelled)[1].out
    assert "By step" not in printed(capsys, plain)[1].out
    assert json.loads(printed(capsys, labelled, "--json")[1].out)["by_step"]["Patch Motion Correction"]["calls"] == 4


def test_an_empty_trace_is_summarised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = printed(capsys, made_trace(tmp_path / "t.iotrace", []))
    assert status == 0
    assert "0 events" in out.out
    assert "(nothing)" in out.out


def test_top_limits_the_files_and_0_shows_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [event(i, "read", file=i, path=i) for i in range(30)]
    trace = made_trace(tmp_path / "t.iotrace", rows, [f"/data/{i:02d}" for i in range(30)])
    assert printed(capsys, trace, "--by", "file", "--top", 3)[1].out.count("/data/") == 3
    assert printed(capsys, trace, "--by", "file", "--top", 0)[1].out.count("/data/") == 30


@pytest.mark.parametrize("name", ["missing.iotrace", "foreign"])
def test_what_is_no_trace_gets_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "foreign").mkdir()
    status, out = printed(capsys, tmp_path / name)
    assert status == 1
    assert out.out == ""
    assert out.err.count("\n") == 1
    assert "trace" in out.err


def test_a_torn_part_gets_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = made_trace(tmp_path / "t.iotrace", events(), ["/data/a", "/data/b"])
    part = trace / "events" / "part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    status, out = printed(capsys, trace)
    assert status == 1
    assert out.err.count("\n") == 1
    assert "damaged" in out.err


def test_times_of_a_part_of_the_calls_are_said_to_be_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = [event(i, "mmap.fault", path=0, file=0, duration_ns=None if i else 5_000_000) for i in range(100)]
    trace = made_trace(tmp_path / "t.iotrace", faults, ["/data/a"])
    assert "mmap.fault from 1 of 100 calls" in " ".join(printed(capsys, trace)[1].out.split())
    assert "1 row from part of the calls" in " ".join(printed(capsys, trace, "--by", "file")[1].out.split())
    assert json.loads(printed(capsys, trace, "--json")[1].out)["by_op"]["mmap.fault"]["timed"] == 1
    whole = made_trace(tmp_path / "w.iotrace", events(), ["/data/a", "/data/b"])
    assert "durations are not known" not in printed(capsys, whole)[1].out


def test_a_trace_whose_events_were_removed_is_not_called_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = made_trace(tmp_path / "t.iotrace", events(), ["/data/a", "/data/b"])
    (part,) = (trace / "events").glob("part-*")
    part.unlink()
    out = printed(capsys, trace)[1].out
    assert "NOT WHOLE: 4 of 4 events are not in the folder any more." in out
    assert "nothing lost" not in out
    assert not json.loads(printed(capsys, trace, "--json")[1].out)["complete"]

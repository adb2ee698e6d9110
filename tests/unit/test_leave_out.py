"""A trace without what a finding's advice would spare."""

from pathlib import Path

import pytest
from builders import TraceBuilder

from iotrace.analysis.findings.leave_out import leave_out
from iotrace.analysis.findings.rules import rules
from iotrace.analysis.findings.search import search
from iotrace.cli import main
from iotrace.errors import UsageError
from iotrace.trace.reader import open_trace


def stormy(folder: Path) -> Path:
    b = TraceBuilder()
    second = b.thread()
    o = b.open("a.mrc", size=10**6)
    for turn in range(300):
        b.named("newfstatat", "a.mrc", at=turn * 10_000)
        # at the same moments, by another thread
        b.read(o, "a.mrc", turn * 10, 10, op="pread64", at=turn * 10_000, thread=second)
    return b.save(folder / "t.iotrace")


def test_the_spared_calls_and_no_others_are_left_out(tmp_path: Path) -> None:
    source = open_trace(stormy(tmp_path))
    assert leave_out(source, "stat-storm", tmp_path / "w.iotrace") == 299
    copy = open_trace(tmp_path / "w.iotrace")
    before, after = source.events()["op"].value_counts(), copy.events()["op"].value_counts()
    assert (after["newfstatat"], after["pread64"], after["openat"]) == (1, before["pread64"], before["openat"])
    assert copy.info.complete
    assert copy.info.events == source.info.events - 299
    assert "stat-storm" in copy.info.filters["left_out"]
    assert "stat-storm" not in {one.rule.name for one in search(copy).findings}


def test_every_finding_has_a_replay_without_it_or_says_why_not(tmp_path: Path) -> None:
    source = open_trace(stormy(tmp_path))
    for rule in rules():
        if rule.no_replay and not rule.can_go:
            with pytest.raises(UsageError, match="Calls can be left out of header-rereads, stat-storm"):
                leave_out(source, rule.name, tmp_path / "w.iotrace")
    assert [one.name for one in rules() if not one.no_replay or one.can_go] == [
        "header-rereads", "stat-storm", "missing-names", "rereads", "locks", "fsync-storm", "folder-polling"
    ]  # fmt: skip


@pytest.mark.parametrize("ops", [("pread64",), ("read",), ("pread64", "read")])
def test_of_reads_those_that_name_their_place_can_be_left_out(ops: tuple[str, ...], tmp_path: Path) -> None:
    b = TraceBuilder()
    for op in ops:
        for _ in range(100):
            b.read(b.open(f"{op}.mrc"), f"{op}.mrc", 0, 1024, op=op)
    source = open_trace(b.save(tmp_path / "t.iotrace"))
    (replay,) = [one.replay for one in search(source).findings if one.rule.name == "header-rereads"]
    if "pread64" not in ops:
        assert replay.startswith("not to be had, for a read moves")
        with pytest.raises(UsageError, match="holds no pread64 or preadv among them"):
            leave_out(source, "header-rereads", tmp_path / "w.iotrace")
        return
    assert "--without header-rereads" in replay
    assert ("It lacks 99 of these calls" in replay) is ("read" in ops)
    assert leave_out(source, "header-rereads", tmp_path / "w.iotrace") == 99
    left = open_trace(tmp_path / "w.iotrace").events()["op"].value_counts()
    assert (left["pread64"], left.get("read", 0), left["openat"]) == (1, 100 * ("read" in ops), 100 * len(ops))


def test_what_cannot_be_done_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stormy(tmp_path)
    for words, said in (
        (["--without", "nothing", "-o", str(tmp_path / "w")], "no such finding"),
        (["--without", "locks", "-o", str(tmp_path / "w")], "holds no call that locks would spare"),
        (["--without", "stat-storm", "-o", str(folder), "--force"], "is the trace itself"),
        (["--without", "stat-storm"], "go together"),
    ):
        assert main(["findings", str(folder), *words]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "w").exists()

"""What is found in traces of counts, and what is not claimed of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iotrace.analysis.findings.rules import rules
from iotrace.analysis.findings.search import search
from iotrace.cli import main
from iotrace.errors import UsageError
from iotrace.histogram import bucket_of
from iotrace.trace.info import TraceInfo
from iotrace.trace.reader import open_trace
from iotrace.trace.writer import TraceWriter


class Counts:
    """Collects counts of one process."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def _row(self, op: str, measure: str, value: int, count: int, total: int) -> None:
        bucket = int(bucket_of(np.array([value]))[0])
        self.rows.append({"time_ns": 0, "interval_ns": 10**10, "process": 0, "op": op, "measure": measure,
                          "bucket": bucket, "count": count, "sum": total})  # fmt: skip

    def calls(self, op: str, count: int, each_ns: int = 10_000, errors: int = 0) -> None:
        """So many calls that took so long each."""
        self._row(op, "latency", each_ns, count, count * each_ns)
        if errors:
            self._row(op, "error", 0, errors, 0)

    def data(self, op: str, count: int, size: int, each_ns: int = 10_000) -> None:
        """Calls that moved so many bytes each."""
        self.calls(op, count, each_ns)
        self._row(op, "size", size, count, count * size)

    def save(self, folder: Path) -> Path:
        """Write the trace."""
        writer = TraceWriter(folder, TraceInfo(detail="histogram", duration_ns=10**10))
        writer.append_rows("processes", [{"process": 0, "pid": 1, "start_ns": 0}])
        writer.append_rows("histograms", self.rows)
        writer.close(True)
        return folder


def usual(c: Counts) -> None:
    """Work that hurts nobody."""
    c.calls("openat", 500)
    c.calls("close", 500)
    c.calls("newfstatat", 900)
    c.data("read", 20_000, 1 << 20, 9_000)
    c.data("write", 20_000, 1 << 20)


def churn(c: Counts) -> None:
    """Files that are opened and closed."""
    c.calls("openat", 30_000)
    c.calls("close", 30_000)


MAKERS: dict[str, tuple[Callable[[Counts], None], int]] = {
    # what makes it, calls that could fall away
    "stat-storm": (lambda c: c.calls("newfstatat", 30_000), 0),
    "open-close-churn": (churn, 61_000),
    "failing-names": (lambda c: c.calls("openat", 9_000, errors=8_000), 8_000),
    "tiny-reads": (lambda c: c.data("pread64", 20_000, 4096), 20_000 - 78 - 1),
    "tiny-writes": (lambda c: c.data("pwrite64", 20_000, 4096), 20_000 - 78 - 1),
    "fsync-storm": (lambda c: c.calls("fsync", 200, 10**6), 0),
    "locks": (lambda c: c.calls("fcntl.lock", 3_000, 10**6), 0),
    "folder-polling": (lambda c: c.calls("getdents64", 5_000), 0),
    "mapped-reads": (lambda c: c.calls("mmap.fault", 5_000, 10**5), 0),
    "slow-tail": (lambda c: c.calls("read", 200, 10**7), 200),
    "slow-copies": (lambda c: c.data("copy_file_range", 10, 10**8, 10**9), 0),
    "reads-that-wait": (lambda c: c.data("pread64", 100, 1 << 20, 10**8), 0),
}


def names_of(folder: Path) -> dict[str, Any]:
    return {one.rule.name: one for one in search(open_trace(folder)).findings}


def test_every_rule_has_its_two_tests_here() -> None:
    assert set(MAKERS) == {rule.name for rule in rules(of_counts=True)}


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_rule_finds_what_hurts(name: str, tmp_path: Path) -> None:
    c = Counts()
    usual(c)
    make, spared = MAKERS[name]
    make(c)
    found = names_of(c.save(tmp_path / "t.iotrace"))
    assert name in found
    assert "{" not in found[name].says
    if spared:
        assert found[name].evidence.spared == spared


def test_no_rule_finds_anything_in_usual_work(tmp_path: Path) -> None:
    c = Counts()
    usual(c)
    assert names_of(c.save(tmp_path / "t.iotrace")) == {}


def test_what_counts_cannot_tell_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    c = Counts()
    usual(c)
    folder = c.save(tmp_path / "t.iotrace")
    found = search(open_trace(folder))
    assert "The same data is read again" in found.not_judged
    assert "Data is forced to disk again and again" not in found.not_judged
    assert main(["findings", str(folder)]) == 0
    assert "Counts cannot tell of: the same headers are read again" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UsageError, match="leave --under out"):
        search(open_trace(folder), Path("/mnt"))


def test_no_profile_is_fitted_to_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    c = Counts()
    usual(c)
    folder = c.save(tmp_path / "t.iotrace")
    assert main(["profile", "fit", str(folder), "-o", str(tmp_path / "p.toml")]) == 2
    assert "holds counts, not operations" in capsys.readouterr().err


def test_a_trace_of_counts_without_rows_has_no_findings(tmp_path: Path) -> None:
    assert search(open_trace(Counts().save(tmp_path / "t.iotrace"))).findings == []

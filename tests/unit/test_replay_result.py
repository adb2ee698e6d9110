"""Results on disk: what is written is read, and what is not a result gets one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iotrace.errors import TraceError
from iotrace.replay.result import (
    COUNTERS,
    HISTOGRAMS,
    INTERVALS,
    ErrorCount,
    MountInfo,
    OpTotals,
    Result,
    ResultInfo,
    Run,
    as_json,
    open_result,
)


def small_result(runs: int = 1) -> Result:
    made = [
        Run(
            run=number, round=number, fs="/mnt/ä", mount=MountInfo("/mnt", "ext4", "/dev/x"),
            started_utc="2026-01-01T00:00:00Z", ops=3, errors=1, wall_s=0.5, by_op={"read": OpTotals("read", 3, 1, 12,
            0.1, 1.0, 2.0, 3.0)}, errors_by=[ErrorCount("read", 0, 5, 1)],
        )
        for number in range(runs)
    ]  # fmt: skip
    rows = [[0, "/mnt/ä", 0, 0, None, "read", "read", 5, 2], [0, "/mnt/ä", 0, 1, None, "write", "write", 7, 1]]
    histograms = pa.table(
        [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), HISTOGRAMS, strict=True)], schema=HISTOGRAMS
    )
    intervals = pa.table(
        [pa.array([v], f.type) for v, f in zip([0, "/mnt/ä", 0, "read", 2, 12, [5], [2]], INTERVALS, strict=True)],
        schema=INTERVALS,
    )
    return Result(ResultInfo(source="T", plan_hash="x", runs=made), histograms, intervals)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = small_result()
    folder = result.save(tmp_path / "R.ioresult")
    opened = open_result(folder)
    assert opened.info == result.info
    assert opened.histograms().equals(result.histograms())
    assert opened.intervals()["counts"][0].tolist() == [2]
    assert opened.histogram(op="read").sum() == 2
    assert opened.histogram(kind="write")[7] == 1
    assert np.count_nonzero(opened.histogram(fs="elsewhere")) == 0


def test_counters_of_before_there_were_ranks_are_those_of_rank_0(tmp_path: Path) -> None:
    row = zip([0, "/mnt/ä", 3, "cards", "received_bytes", 1.0, 7], COUNTERS, strict=True)
    counters = pa.table([pa.array([value], field.type) for value, field in row], schema=COUNTERS)
    result = Result(ResultInfo(source="T"), HISTOGRAMS.empty_table(), INTERVALS.empty_table(), counters=counters)
    folder = result.save(tmp_path / "R.ioresult")
    assert open_result(folder).counters()["rank"].tolist() == [3]
    result.info.format = (1, 2)
    folder = result.save(folder, force=True)
    pq.write_table(counters.drop_columns("rank"), folder / "counters.parquet")
    found = open_result(folder).counters()
    assert (found["rank"].tolist(), found["value"].tolist()) == ([0], [7])


def test_a_result_is_not_overwritten_without_force_nor_anything_else_with_it(tmp_path: Path) -> None:
    folder = small_result().save(tmp_path / "R.ioresult")
    with pytest.raises(TraceError, match="--force"):
        small_result().save(folder)
    small_result(2).save(folder, force=True)
    assert len(open_result(folder).info.runs) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(TraceError, match="is not a result"):
        small_result().save(tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"


@pytest.mark.parametrize(
    "damage", ["missing", "file", "empty", "no json", "newer", "wrong types", "torn table", "no table"]
)
def test_a_foreign_or_torn_result_gets_one_clear_line(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "R.ioresult"
    if damage == "file":
        folder.write_text("x")
    elif damage == "empty":
        folder.mkdir()
    elif damage != "missing":
        small_result().save(folder)
    info = folder / "result.json"
    if damage == "no json":
        info.write_text("{")
    elif damage == "newer":
        info.write_text(info.read_text().replace('"format": [\n  1', '"format": [\n  9'))
    elif damage == "wrong types":
        info.write_text(info.read_text().replace('"runs": [', '"runs": [7, '))
    elif damage == "torn table":
        table = folder / "histograms.parquet"
        table.write_bytes(table.read_bytes()[:-20])
    elif damage == "no table":
        (folder / "intervals.parquet").unlink()
    with pytest.raises(TraceError) as caught:
        open_result(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_json_has_the_figures_of_one_run_at_the_top_and_of_several_in_a_list() -> None:
    one = as_json(small_result().info)
    assert (one["ops"], one["errors"], one["by_op"]["read"]["p999_us"]) == (3, 1, 3.0)
    two = as_json(small_result(2).info)
    assert two["ops"] == 6
    assert [run["run"] for run in two["runs"]] == [0, 1]

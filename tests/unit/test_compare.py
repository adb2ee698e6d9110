"""`iotrace compare`: verdicts, warnings, rows and the words around them."""

import json
from pathlib import Path
from typing import Any

import pytest
from made import HOSTILE, made_result

from iotrace.analysis.compare import ComparisonTable, compare_results
from iotrace.cli import main
from iotrace.errors import UsageError
from iotrace.replay.result import ErrorCount, open_result


def printed(capsys: pytest.CaptureFixture[str], *words: Any) -> Any:
    status = main(["compare", *map(str, words)])
    return status, capsys.readouterr()


def rows(table: ComparisonTable, metric: str) -> Any:
    return [row for row in table.rows if row.metric == metric]


def test_a_mount_that_is_twice_as_slow_is_found_slower_in_every_metric(tmp_path: Path) -> None:
    table = compare_results(made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 8))
    assert table.paired
    assert {row.comparison.verdict for row in table.rows if row.metric != "class.sync.p99_us"} >= {"slower"}
    (makespan,) = rows(table, "makespan_s")
    assert makespan.comparison.verdict == "slower"
    assert makespan.comparison.ratio == pytest.approx(2, rel=0.1)
    (rate,) = rows(table, "read_bytes_per_s")
    assert (rate.comparison.verdict, rate.comparison.ratio) == ("slower", pytest.approx(0.5, rel=0.1))
    assert "/b is slower than /a" in table.verdicts()[0]


def test_a_mount_compared_with_itself_shows_no_difference(tmp_path: Path) -> None:
    table = compare_results(made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 8, seed=2))
    assert rows(table, "makespan_s")[0].comparison.verdict == "~"
    assert "no difference was shown" in table.verdicts()[0]


def test_rows_hold_rates_and_latencies_by_class_and_by_operation(tmp_path: Path) -> None:
    metrics = {row.metric for row in compare_results(made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 2)).rows}
    assert metrics >= {"makespan_s", "read_bytes_per_s", "write_bytes_per_s", "ops_per_s", "metadata_ops_per_s"}
    assert metrics >= {f"class.metadata.{p}_us" for p in ("p50", "p95", "p99")}
    assert metrics >= {f"op.openat.{p}_us" for p in ("p50", "p95", "p99")}


def test_what_the_storage_adds_and_the_syncfs_are_compared_where_they_are_known(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 3}, 6)
    table = compare_results(result)
    assert [row.title for row in rows(table, "io_s")] == ["I/O wait"]
    assert rows(table, "added_s") == rows(table, "sync_s") == []
    for run in result.info.runs:
        run.added_s, run.sync_s = run.io_s / 2, run.io_s / 10
    table = compare_results(result)
    for metric in ("added_s", "sync_s"):
        (row,) = rows(table, metric)
        assert (row.comparison.verdict, row.comparison.ratio) == ("slower", pytest.approx(3, rel=0.1))
    # a storage that adds nothing has no ratio, and none that is not known is made up
    for run in result.info.runs:
        run.added_s, run.sync_s = (-1e-9, None) if run.fs == "/a" else (1.0, 1.0)
    table = compare_results(result)
    assert [rows(table, metric)[0].comparison.ratio for metric in ("added_s", "sync_s")] == [None, None]
    assert json.dumps(table.to_json(), allow_nan=False)


def test_latencies_are_those_of_the_runs(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 3}, 6)
    (row,) = rows(compare_results(result), "op.read.p50_us")
    assert row.a.median == pytest.approx(60, rel=0.15)
    assert row.b.median == pytest.approx(180, rel=0.15)


def test_json_has_the_columns_of_the_design(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 6)
    status, out = printed(capsys, tmp_path / "r.ioresult", "--json")
    assert status == 0
    found = json.loads(out.out)
    columns = {"metric", "baseline", "candidate", "a", "b", "ratio", "ci_low", "ci_high", "p", "verdict"}
    assert all(set(row) == columns for row in found["rows"])
    makespan = found["rows"][0]
    assert (makespan["metric"], makespan["baseline"], makespan["candidate"]) == ("makespan_s", "/a", "/b")
    assert makespan["ci_low"] <= makespan["ratio"] <= makespan["ci_high"]


def test_too_few_runs_give_no_verdict_and_say_how_many_are_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 9}, 2)
    _, out = printed(capsys, tmp_path / "r.ioresult")
    assert "needs at least 6" in out.out
    found = compare_results(tmp_path / "r.ioresult")
    assert {row.comparison.verdict for row in found.rows} == {"~"}
    assert {row.comparison.low for row in found.rows} == {None}


def test_one_run_a_side_is_compared_without_failing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 1)
    status, out = printed(capsys, tmp_path / "r.ioresult")
    assert status == 0
    assert "With 1 run a side no difference can be shown" in " ".join(out.out.split())


def test_two_results_are_compared_unpaired_and_a_warning_says_so(tmp_path: Path) -> None:
    a = made_result(tmp_path / "a.ioresult", {"/a": 1}, 6)
    b = made_result(tmp_path / "b.ioresult", {"/a": 2}, 6, seed=1)
    table = compare_results(a, b)
    assert not table.paired
    assert [side.label for side in table.sides] == ["a", "b"]
    assert rows(table, "makespan_s")[0].comparison.verdict == "slower"
    assert any("not run in turns" in sentence for sentence in table.warnings)


def test_a_round_that_was_not_finished_is_left_out_of_the_pairs(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 7)
    result.info.runs.pop()
    table = compare_results(result)
    assert table.paired
    assert [len(side.runs) for side in table.sides] == [6, 6]
    assert any("left out" in note for note in table.footnotes)


def test_several_candidates_are_each_compared_with_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2, "/c": 0.5}, 6)
    table = compare_results(tmp_path / "r.ioresult")
    assert [(row.candidate, row.comparison.verdict) for row in rows(table, "makespan_s")] == [
        ("/b", "slower"),
        ("/c", "faster"),
    ]
    assert "C ÷ A" in printed(capsys, tmp_path / "r.ioresult")[1].out


def test_the_printed_table_fits_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1.3}, 6)
    status, out = printed(capsys, tmp_path / "r.ioresult")
    assert status == 0
    assert max(len(line) for line in out.out.splitlines()) <= 80
    assert "makespan" in out.out
    assert "read rate" in out.out


@pytest.mark.parametrize("factor", [1e-4, 1e-2, 1e3, 1e6])
def test_ratios_beyond_all_bounds_still_fit_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: float
) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": factor}, 6, noise=1)
    _, out = printed(capsys, tmp_path / "r.ioresult")
    assert max(len(line) for line in out.out.splitlines()) <= 80


def test_one_mount_alone_is_a_usage_error_that_says_what_to_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1}, 6)
    status, out = printed(capsys, tmp_path / "r.ioresult")
    assert status == 2
    assert "--fs A --fs B" in out.err
    assert out.err.count("\n") == 1


def test_a_result_without_runs_is_refused(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1}, 1)
    result.info.runs.clear()
    with pytest.raises(UsageError, match="holds no run"):
        compare_results(result, result)


def test_what_is_no_result_gets_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").mkdir()
    status, out = printed(capsys, tmp_path / "x")
    assert status == 1
    assert out.err.count("\n") == 1
    assert "result" in out.err


def warned(table: ComparisonTable, text: str) -> Any:
    return any(text in sentence for sentence in table.warnings)


def test_the_cache_is_warned_of_unless_reads_were_direct(tmp_path: Path) -> None:
    buffered = compare_results(made_result(tmp_path / "a.ioresult", {"/a": 1, "/b": 1}, 6))
    direct = compare_results(made_result(tmp_path / "b.ioresult", {"/a": 1, "/b": 1}, 6, options={"direct": True}))
    assert warned(buffered, "page cache may have served the reads")
    assert not warned(direct, "cache")


def test_different_plans_and_options_are_warned_of(tmp_path: Path) -> None:
    a = made_result(tmp_path / "a.ioresult", {"/a": 1}, 6)
    b = made_result(tmp_path / "b.ioresult", {"/b": 1}, 6, plan_hash="cd" * 32, options={"timing": "think"})
    table = compare_results(a, b)
    assert warned(table, "different plans")
    assert warned(table, "different --timing (/a: asap, /b: think)")
    assert warned(table, "recorded think time")
    same = compare_results(a, made_result(tmp_path / "c.ioresult", {"/b": 1}, 6))
    assert not warned(same, "different")


def test_different_work_gets_no_verdict_however_large_the_difference(tmp_path: Path) -> None:
    a = made_result(tmp_path / "a.ioresult", {"/a": 1}, 6)
    b = made_result(tmp_path / "b.ioresult", {"/b": 9}, 6, plan_hash="cd" * 32)
    table = compare_results(a, b)
    assert {row.comparison.verdict for row in table.rows} == {"~"}
    assert table.verdicts() == ["/b did not replay the same work as /a: there is no verdict."]


def test_errors_in_a_run_are_warned_of(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 6)
    assert not warned(compare_results(result), "did not end as recorded")
    result.info.runs[1].errors = 5
    result.info.runs[1].errors_by = [ErrorCount("read", 0, 5, 5)]
    assert warned(compare_results(result), "On /b 5 of 3,492 operations did not end as recorded, most of them read")


def test_warnings_of_the_replay_itself_are_handed_on(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 6, warnings=["The disk was nearly full."])
    assert warned(compare_results(result), "The disk was nearly full.")


def test_hostile_names_reach_the_terminal_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, HOSTILE: 1}, 6, warnings=[HOSTILE], source=HOSTILE)
    status, out = printed(capsys, tmp_path / "r.ioresult")
    assert status == 0
    assert "\x1b" not in out.out
    assert "\u202e" not in out.out
    assert "[red]x[/red]" in "".join(out.out.split())


def test_a_saved_result_compares_as_it_did_in_memory(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 6)
    assert compare_results(open_result(tmp_path / "r.ioresult")).to_json() == compare_results(result).to_json()


def test_html_writes_a_page_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 6)
    status, _ = printed(capsys, tmp_path / "r.ioresult", "--html", tmp_path / "page.html")
    assert status == 0
    assert "/b is slower than /a" in (tmp_path / "page.html").read_text()

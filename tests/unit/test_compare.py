"""`iotrace compare`: verdicts, warnings, rows and the words around them."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import HOSTILE, made_result
from rich.console import Console

from iotrace.analysis.commands.compare import print_comparison
from iotrace.analysis.compare import ComparisonTable, compare_results, compare_sides
from iotrace.analysis.comparison.sides import sides_of
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
    columns |= {"p_adjusted", "p_mann_whitney", "a_low", "a_high", "b_low", "b_high"}
    assert all(set(row) == columns for row in found["rows"])
    makespan = found["rows"][0]
    assert (makespan["metric"], makespan["baseline"], makespan["candidate"]) == ("makespan_s", "/a", "/b")
    assert makespan["ci_low"] <= makespan["ratio"] <= makespan["ci_high"]
    assert makespan["a_low"] < makespan["a"] < makespan["a_high"] < makespan["b_low"] < makespan["b_high"]


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
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2, "/c": 0.5}, 8)
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


def test_p999_throughput_and_wait_of_each_class_and_operation_are_rows(tmp_path: Path) -> None:
    metrics = {row.metric for row in compare_results(made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 2)).rows}
    assert metrics >= {"class.read.p999_us", "class.read.bytes_per_s", "class.read.ops_per_s", "class.read.io_s"}
    assert metrics >= {"op.openat.p999_us", "op.write.bytes_per_s"}
    assert "op.openat.bytes_per_s" not in metrics


def test_geometric_means_are_those_of_the_rows_run_by_run(tmp_path: Path) -> None:
    table = compare_results(made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 6))
    (mean,) = rows(table, "class.geomean.p50_us")
    members = [row for row in table.rows if row.group == "class" and row.metric.endswith("p50_us") and row is not mean]
    assert len(members) == 4
    expected = np.exp(np.mean(np.log([row.values_a for row in members]), axis=0))
    np.testing.assert_allclose(mean.values_a, expected)
    assert mean.comparison.ratio == pytest.approx(2, rel=0.1)


def test_geometric_means_of_both_sides_are_of_the_same_rows(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 6)
    sides = sides_of([result])
    # calls that took no time that can be told, on one side alone
    for latencies in sides[1].latencies["class", "sync"].values():
        assert latencies.bucket is not None
        latencies.bucket[:] = 0
    (mean,) = rows(compare_sides(sides, paired=True), "class.geomean.p50_us")
    assert mean.comparison.ratio == pytest.approx(1, rel=0.1)


def test_every_candidate_more_makes_verdicts_stricter(tmp_path: Path) -> None:
    table = compare_results(made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2, "/c": 0.5}, 6))
    assert {row.comparison.verdict for row in table.rows} == {"~"}
    assert any("needs at least 7 runs" in note for note in table.footnotes)


def test_absent_plan_hashes_are_not_the_same_work(tmp_path: Path) -> None:
    a = made_result(tmp_path / "a.ioresult", {"/a": 1}, 6, plan_hash="")
    b = made_result(tmp_path / "b.ioresult", {"/b": 9}, 6, plan_hash="")
    table = compare_results(a, b)
    assert {row.comparison.verdict for row in table.rows} == {"~"}
    assert "not known to have done the same work" in table.verdicts()[0]
    assert warned(table, "It is not known")


def test_sets_of_results_stand_on_a_side_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        made_result(tmp_path / f"a{number}.ioresult", {"/a": 1}, 2, seed=number)
        made_result(tmp_path / f"b{number}.ioresult", {"/b": 2}, 2, seed=10 + number)
    sets = [[tmp_path / f"{side}{number}.ioresult" for number in range(3)] for side in "ab"]
    table = compare_results(*sets)
    assert [len(side.runs) for side in table.sides] == [6, 6]
    assert [len({run.run for run in side.runs}) for side in table.sides] == [6, 6]
    (row,) = rows(table, "class.read.p50_us")
    assert (row.comparison.verdict, row.comparison.n_a) == ("slower", 6)
    status, out = printed(capsys, *sets[0], "vs", *sets[1], "--html", tmp_path / "sets.html")
    assert status == 0
    assert "/b is slower than /a" in out.out
    assert "/b is slower than /a" in (tmp_path / "sets.html").read_text()


def test_a_set_of_two_plans_is_not_one_work(tmp_path: Path) -> None:
    a = made_result(tmp_path / "a.ioresult", {"/a": 1}, 6)
    other = made_result(tmp_path / "o.ioresult", {"/b": 9}, 6, plan_hash="cd" * 32)
    mixed = [made_result(tmp_path / "m.ioresult", {"/b": 9}, 6), other]
    assert compare_results(a, mixed).verdict("/b") == "~"


def test_a_set_of_several_mounts_is_refused(tmp_path: Path) -> None:
    both = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 2)
    with pytest.raises(UsageError, match="must be of one mount"):
        compare_results([both], both)


def test_a_result_that_stands_twice_on_a_side_is_refused(tmp_path: Path) -> None:
    a, b = (made_result(tmp_path / f"{name}.ioresult", {f"/{name}": 1}, 2) for name in "ab")
    with pytest.raises(UsageError, match="given twice"):
        compare_results([a, a], b)


@pytest.mark.parametrize("between", [[], ["vs"]])
def test_a_result_is_not_compared_with_itself(
    between: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_result(tmp_path / "a.ioresult", {"/a": 1}, 6)
    status, out = printed(capsys, tmp_path / "a.ioresult", *between, tmp_path / "." / "x" / ".." / "a.ioresult")
    assert (status, out.err.count("\n")) == (2, 1)
    assert "given twice" in out.err


@pytest.mark.parametrize("words", [("vs", "b"), ("a", "vs"), ("a", "vs", "vs", "b")])
def test_vs_without_a_result_on_both_sides_is_a_usage_error(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = printed(capsys, *words)
    assert (status, out.err.count("\n")) == (2, 1)
    assert "before and after" in out.err


@pytest.mark.parametrize("text", ["five", "nan", "0%", "-3", "1e9"])
def test_a_smallest_difference_that_is_none_is_a_usage_error(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 2)
    status, out = printed(capsys, tmp_path / "r.ioresult", f"--smallest={text}")
    assert (status, out.err.count("\n")) == (2, 1)


def test_a_smaller_difference_asks_for_more_runs_and_the_output_says_how_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 8)
    asked = []
    for smallest in ("20%", "5%", "2%"):
        status, out = printed(capsys, tmp_path / "r.ioresult", "--smallest", smallest, "--json")
        assert status == 0
        asked.append(json.loads(out.out)["runs_needed"][0]["runs"])
    assert asked[0] < asked[1] < asked[2]
    assert f"{asked[2]} runs a side are needed" in " ".join(
        printed(capsys, tmp_path / "r.ioresult", "--smallest", "2%")[1].out.split()
    )


def test_drift_and_outliers_are_warned_of_and_calm_runs_are_not(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 8)
    assert not warned(compare_results(result), "from the first run")
    assert not warned(compare_results(result), "lies far from")
    for run in result.info.runs:
        run.wall_s = 1 + run.round / 10 + run.run / 1000
    assert warned(compare_results(result), "On /a the makespan rose by about")
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 8)
    result.info.runs[3].wall_s *= 5
    assert warned(compare_results(result), "On /b run 4 of 8 lies far from the others")


def test_curves_say_where_they_are_farthest_apart_and_where_that_is_shown(tmp_path: Path) -> None:
    table = compare_results(made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 8))
    (read,) = [curve for curve in table.curves if curve.kind == "read"]
    # two lognormal curves of medians 60 and 120 µs are farthest apart at their geometric mean
    assert read.at_us == pytest.approx(85, rel=0.1)
    assert read.share_a > read.share_b + 0.5
    assert read.shown is not None
    assert read.shown[0] < 85 < read.shown[1]
    same = compare_results(made_result(tmp_path / "s.ioresult", {"/a": 1, "/b": 1}, 8, seed=2))
    assert {curve.shown for curve in same.curves} == {None}


def test_the_picture_of_the_curves_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 6)
    assert printed(capsys, tmp_path / "r.ioresult", "--picture", tmp_path / "c.png")[0] == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    status, out = printed(capsys, tmp_path / "r.ioresult", "--picture", tmp_path / "c.doc")
    assert (status, out.err.count("\n")) == (2, 1)


def test_a_storage_compared_with_itself_shows_any_difference_in_at_most_ten_of_200_outputs(tmp_path: Path) -> None:
    """Every row, curve and verdict counts: eight pairs at a time of runs that were all drawn alike, sides by a coin."""
    random = np.random.default_rng(3)
    sides = sides_of([made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1}, 150, seed=3)])
    latencies = {key: by_run | sides[1].latencies[key] for key, by_run in sides[0].latencies.items()}
    found = 0
    for _ in range(200):
        pairs = [random.permutation([side.runs[i] for side in sides]) for i in random.permutation(150)[:8]]
        parts = [
            replace(side, runs=[pair[place] for pair in pairs], latencies=latencies) for place, side in enumerate(sides)
        ]
        table = compare_sides(parts, paired=True)
        found += any(row.comparison.verdict != "~" for row in table.rows) or any(c.shown for c in table.curves)
    assert found <= 10


def test_a_narrow_terminal_leaves_out_the_spread_and_a_wide_one_adds_the_p_value_of_all_rows(tmp_path: Path) -> None:
    table = compare_results(made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 1.3}, 6))
    shown = {}
    for width in (60, 80, 120):
        text = io.StringIO()
        print_comparison(table, Console(file=text, width=width))
        shown[width] = text.getvalue()
        lines = [line for line in shown[width].splitlines() if "÷" in line or "read p50" in line]
        assert max(map(len, lines)) <= max(width, 66)
    assert "±" not in shown[60]
    assert "±" in shown[80]
    assert "p, all rows" not in shown[80]
    assert "p, all rows" in shown[120]

"""The report's pictures: what they are drawn from, what they say, and that strangers' names stay names."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made import HOSTILE, event, made_result, made_trace

from iotrace.analysis.compare import ComparisonTable, compare_results
from iotrace.analysis.comparison.sides import sides_of
from iotrace.analysis.findings.reuse import Reuse
from iotrace.analysis.pictures import traces
from iotrace.analysis.pictures.activity import activity, heat_colours
from iotrace.analysis.pictures.cache import cache_curve
from iotrace.analysis.pictures.comparisons import ratios
from iotrace.analysis.pictures.drawing import Picture
from iotrace.analysis.pictures.lanes import Bar, Lanes, lanes, lanes_of_run, lanes_of_trace, rows_of
from iotrace.analysis.pictures.metadata import metadata_mix, metadata_of_sides, metadata_of_trace
from iotrace.histogram import bucket_of
from iotrace.replay.figures import JobTotals, UserTotals
from iotrace.replay.result import HISTOGRAMS, INTERVALS, MountInfo, Result, Run
from iotrace.trace.counted import tables_of
from iotrace.trace.info import Mount, TraceInfo
from iotrace.trace.reader import open_trace
from iotrace.trace.writer import TraceWriter

LABELS = [
    {"process": number, "pid": number + 1, "command": command, "start_ns": 0}
    | {"user": user, "project": project, "job": job, "step": step}
    for number, (command, user, project, job, step) in enumerate(
        [("a", "ada", "P1", "J1", "Pick"), ("b", "ada", "P1", "J2", "Refine"), ("c", "bob", "P2", "J1", "Pick")]
    )
]
PLAIN = [{"process": i, "pid": 10 + i, "command": name, "start_ns": 0} for i, name in enumerate(("sh", "tar", "sh"))]


def calls() -> list[dict[str, Any]]:
    """Three processes: the first two at the same time, the third later; the second makes most metadata calls."""
    made = [event(i * 10**7, "read", process=0, thread=0, size=10, result=10) for i in range(20)]
    made += [event(i * 10**7 + 1, "openat", process=1, thread=1, duration_ns=5000) for i in range(20)]
    made += [event(i * 10**7 + 2, "close", process=1, thread=1, duration_ns=1000) for i in range(10)]
    made += [event(8 * 10**8, "newfstatat", process=2, thread=2, duration_ns=2000)]
    return made


def trace_of(folder: Path, processes: list[dict[str, Any]], rows: list[dict[str, Any]] | None = None) -> Any:
    return open_trace(made_trace(folder / "t.iotrace", calls() if rows is None else rows, processes=processes))


def run_of(**columns: Any) -> Run:
    run = Run(run=0, round=0, fs="/a", mount=MountInfo("/", "ext4", "/dev/vda"), started_utc="")
    for name, value in columns.items():
        setattr(run, name, value)
    return run


def job(user: str, name: str, step: str, start_s: float, end_s: float, replayer: int = 0) -> JobTotals:
    return JobTotals(replayer, user, "P1", name, step, "", start_s, end_s)


def text_of(picture: Picture | None) -> str:
    """The words in a picture; it must be well-formed."""
    assert picture is not None
    namespaces = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = picture.svg if "xmlns:xlink" in picture.svg else picture.svg.replace("<svg", f"<svg {namespaces}", 1)
    return "|".join(text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()) + "|"


def test_metadata_calls_of_a_trace_are_counted_by_step_and_operation_and_no_others(tmp_path: Path) -> None:
    with tables_of(trace_of(tmp_path, LABELS)) as tables:
        frame = metadata_of_trace(tables)
    found = {(row["label"], row["op"]): (row["calls"], row["time_s"]) for row in frame.to_dict("records")}
    assert found == {
        ("Refine", "openat"): (20, pytest.approx(100e-6)),
        ("Refine", "close"): (10, pytest.approx(10e-6)),
        ("Pick", "newfstatat"): (1, pytest.approx(2e-6)),
    }


def test_metadata_calls_without_labels_go_by_command(tmp_path: Path) -> None:
    with tables_of(trace_of(tmp_path, PLAIN)) as tables:
        frame = metadata_of_trace(tables)
    assert set(zip(frame["label"], frame["op"], strict=True)) == {
        ("tar", "openat"), ("tar", "close"), ("sh", "newfstatat"),
    }  # fmt: skip


def test_metadata_calls_of_a_trace_of_counts_are_the_same(tmp_path: Path) -> None:
    info = TraceInfo(detail="histogram", duration_ns=10**9, mounts=[Mount(1, "/", "ext4", "/dev/vda1")])
    writer = TraceWriter(tmp_path / "t.iotrace", info)
    writer.append_rows("processes", LABELS)
    same = {"time_ns": 0, "interval_ns": 10**9, "process": 1, "mount": 0, "bucket": int(bucket_of(np.array([5000]))[0])}
    rows = [("openat", "latency", 20, 100_000), ("openat", "untimed", 2, 0), ("openat", "error", 3, 0)]
    rows += [("read", "latency", 7, 7000)]
    writer.append_rows(
        "histograms", [same | {"op": op, "measure": what, "count": n, "sum": total} for op, what, n, total in rows]
    )
    writer.close(True)
    with tables_of(open_trace(tmp_path / "t.iotrace")) as tables:
        (row,) = metadata_of_trace(tables).to_dict("records")
        assert lanes(lanes_of_trace(tables, 1.0), 1.0, "measured") is None
    assert (row["label"], row["op"], row["calls"], row["time_s"]) == ("Refine", "openat", 22, pytest.approx(1e-4))


def test_metadata_calls_of_results_are_of_one_run_and_of_each_storage(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 3)
    a, b = sides_of([result])
    frame = metadata_of_sides([(a, result), (b, result)])
    assert list(zip(frame["label"], frame["op"], frame["calls"], strict=True)) == [
        ("/a", "openat", 120), ("/b", "openat", 120),
    ]  # fmt: skip
    for side, time_s in zip((a, b), frame["time_s"], strict=True):
        assert time_s == pytest.approx(np.mean([run.by_op["openat"].time_s for run in side.runs]), rel=0.01)


def test_the_steps_of_two_storages_lie_under_each_other(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1, "/b": 2}, 1)
    rows = result.histograms()
    half = rows["op"].map({"openat": "Pick"}).fillna("Refine")
    again = rows.assign(step=half, op="openat", **{"class": "metadata"})
    result = replace_histograms(result, again)
    a, b = sides_of([result])
    picture = metadata_mix(metadata_of_sides([(a, result), (b, result)]), "replayed")
    words = text_of(picture)
    assert words.index("/a: Refine") < words.index("/b: Refine") < words.index("/a: Pick") < words.index("/b: Pick")


def replace_histograms(result: Result, frame: pd.DataFrame) -> Result:
    table = pa.Table.from_pandas(frame[HISTOGRAMS.names], HISTOGRAMS, preserve_index=False)
    return Result(result.info, table, INTERVALS.empty_table())


def test_the_metadata_mix_says_wholes_what_is_most_and_what_is_left_out() -> None:
    frame = pd.DataFrame(
        [{"label": f"s{i}", "group": f"s{i}", "op": op, "calls": n, "time_s": 1e-3 * n * (i + 1)}
         for i in range(16) for op, n in [("openat", 75), ("close", 25), *((f"op{k}", 1) for k in range(12))]]
    )  # fmt: skip
    picture = metadata_mix(frame, "measured")
    assert picture is not None
    assert "s15: 112 calls in 1.79 s, most of them openat (67%)" in picture.alternative
    assert "2 more with less time are left out" in picture.caption
    words = text_of(picture)
    assert "|s2|" in words
    assert "|s1|" not in words
    assert "other" in words
    assert metadata_mix(frame[:0], "measured") is None


def test_jobs_of_a_user_that_ran_together_lie_in_rows_of_their_own() -> None:
    bars = [
        Bar("ada", "J1", "", 0, 5),
        Bar("ada", "J2", "", 2, 3),
        Bar("ada", "J3", "", 3, 9),
        Bar("bob", "J4", "", 0, 1),
    ]
    rows = {owner: [[bar.name for bar in row] for row in mine] for owner, mine in rows_of(bars).items()}
    assert rows == {"ada": [["J1"], ["J2", "J3"]], "bob": [["J4"]]}


def test_lanes_of_a_run_are_its_jobs_by_user_with_numbers_as_numbers() -> None:
    jobs = [
        job("user10", "J1", "Pick", 0, 1), job("user2", "J1", "Refine", 1, 4), job("user2", "J2", "", 0, 1),
    ]  # fmt: skip
    found = lanes_of_run(run_of(jobs=jobs))
    assert found.bars == [
        Bar("user2", "J2", "(no step)", 0, 1), Bar("user2", "J1", "Refine", 1, 4), Bar("user10", "J1", "Pick", 0, 1),
    ]  # fmt: skip
    picture = lanes(found, 5, "replayed", "/mnt/weka")
    assert picture is not None
    assert picture.caption.startswith("Lanes on /mnt/weka, first run: each bar is a job")
    assert picture.provenance == "replayed"
    assert "user2 J1 Refine from 1.00 s to 4.00 s" in picture.alternative


def test_lanes_of_a_replay_without_labels_are_its_users() -> None:
    users = [UserTotals(0, "t.iotrace", 0.0, 2.0), UserTotals(1, "t.iotrace", 1.5, 2.0)]
    found = lanes_of_run(run_of(users=users))
    assert found.bars == [Bar("user 1", "", "t", 0.0, 2.0), Bar("user 2", "", "t", 1.5, 3.5)]
    assert lanes(lanes_of_run(run_of(users=users[:1])), 2, "replayed") is None
    both = lanes_of_run(run_of(users=users, jobs=[job("ada", "J1", "", 0, 1), job("ada", "J1", "", 0, 1, replayer=1)]))
    assert [bar.owner for bar in both.bars] == ["user 1: ada", "user 2: ada"]


def test_lanes_of_a_labelled_trace_are_jobs_and_say_when_they_made_calls(tmp_path: Path) -> None:
    with tables_of(trace_of(tmp_path, LABELS)) as tables:
        found = lanes_of_trace(tables, 1.0)
    assert [(bar.owner, bar.name, bar.group) for bar in found.bars] == [
        ("ada", "P1/J1", "Pick"), ("ada", "P1/J2", "Refine"), ("bob", "P2/J1", "Pick"),
    ]  # fmt: skip
    last = found.bars[2]
    assert (last.start_s, last.end_s) == pytest.approx((0.8, 0.8 + 2e-6))
    # cut to the bar, which is shorter than a slice
    assert last.busy == [pytest.approx((0.8, 2e-6))]
    # a call every 10 ms, in slices of 5 ms
    assert len(found.bars[0].busy) == 20
    assert found.bars[0].busy[1] == pytest.approx((0.01, 0.005))


def test_lanes_of_a_trace_without_labels_are_processes_or_the_threads_of_one(tmp_path: Path) -> None:
    with tables_of(trace_of(tmp_path, PLAIN)) as tables:
        found = lanes_of_trace(tables, 1.0)
    assert [(bar.owner, bar.group) for bar in found.bars] == [("10 sh", "sh"), ("11 tar", "tar"), ("12 sh", "sh")]
    rows = [event(10**8 * i, "read", thread=i % 2) for i in range(4)]
    (tmp_path / "one").mkdir()
    with tables_of(trace_of(tmp_path / "one", PLAIN, rows)) as tables:
        threads = lanes_of_trace(tables, 1.0)
    assert [(bar.owner, bar.start_s) for bar in threads.bars] == [("thread 0", 0.0), ("thread 1", 0.1)]


def test_lanes_that_find_no_room_are_counted(tmp_path: Path) -> None:
    many = [{"process": i, "pid": i, "command": f"c{i}", "start_ns": 0} for i in range(60)]
    rows = [event(i * 10**6, "read", process=i, duration_ns=1000 + i) for i in range(60)]
    with tables_of(trace_of(tmp_path, many, rows)) as tables:
        found = lanes_of_trace(tables, 1.0)
    picture = lanes(found, 1.0, "measured")
    assert picture is not None
    assert len(found.bars) == 40
    assert "20 more with less time are left out" in picture.caption
    # those with most time stay
    assert found.bars[0].owner == "20 c20"


def test_the_curve_of_caches_says_what_each_size_serves_and_marks_the_memory() -> None:
    sizes = [1 << power for power in range(20, 34)]
    served = {"Refine": [0.0] * 6 + [0.2] * 4 + [0.6] * 4, "Pick": [0.0] * 14}
    curve = pd.DataFrame(
        [(step, size, share) for step, shares in served.items() for size, share in zip(sizes, shares, strict=True)],
        columns=["step", "cache_bytes", "served"],
    )
    by_step = pd.DataFrame([("Pick", 10, 10, 0), ("Refine", 100, 40, 60)],
                           columns=["step", "read_bytes", "unique_bytes", "again_bytes"])  # fmt: skip
    made = cache_curve(Reuse(by_step, curve, 1.0), 1 << 30)
    assert "Refine|" in text_of(made)
    assert made is not None
    assert "this machine's memory (1.00 GiB)" in made.caption
    assert "Refine: 64.0 MiB 20%" in made.alternative
    assert "512 MiB 20%, 1.00 GiB 60%" in made.alternative
    assert cache_curve(Reuse(by_step, curve.assign(served=0.0), 1.0)) is None


def test_strangers_names_in_pictures_are_text_and_nothing_else() -> None:
    bars = [Bar(HOSTILE, HOSTILE, HOSTILE, 0, 1), Bar("_b", HOSTILE, "_c", 0, 9)]
    frame = pd.DataFrame([{"label": HOSTILE, "group": HOSTILE, "op": HOSTILE, "calls": 3, "time_s": 0.1}])
    for picture in (lanes(Lanes(bars, "job", "step"), 9, "measured"), metadata_mix(frame, "measured")):
        assert picture is not None
        assert "<script" not in picture.svg
        assert "\x1b" not in picture.svg + picture.caption + picture.alternative
        assert "table events; --|" in text_of(picture)


def luminance(colour: Any) -> float:
    """WCAG's relative luminance."""
    parts = np.asarray(colour[:3], dtype=float)
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(("scheme", "card"), [("light", (1, 1, 1)), ("dark", (0x1B / 255, 0x1F / 255, 0x23 / 255))])
def test_the_busier_a_place_of_the_heat_map_the_more_it_stands_out(scheme: str, card: tuple[float, ...]) -> None:
    ground = luminance(card)
    shades = [luminance(heat_colours(scheme)(float(x))) for x in np.linspace(0, 1, 20)]
    contrast = [(max(one, ground) + 0.05) / (min(one, ground) + 0.05) for one in shades]
    assert all(np.diff(contrast) > 0)
    assert contrast[0] > 1.7
    assert contrast[-1] > 7


def test_the_heat_map_is_drawn_for_light_and_for_dark() -> None:
    frame = pd.DataFrame(
        [
            {"start_s": i / 10, "width_s": 0.1, "job": None, "op": "read", "calls": i + 1, "time_s": 1.0}
            for i in range(9)
        ]
    )
    picture = activity(frame, 1.0)
    assert picture is not None
    for scheme in ("light", "dark"):
        assert picture.svg.count(f'class="for-{scheme}"') == 2
    assert "each job" not in picture.caption


def test_calls_that_ask_for_all_of_a_file_leave_room_for_the_others() -> None:
    # what cp asks of copy_file_range
    sizes = {"read": 2**20, "copy": 0x7FFFFFFFC0000000}
    rows = [{"key": kind, "bucket": int(bucket_of(np.array([size]))[0]), "count": 3} for kind, size in sizes.items()]
    picture = traces.sizes(pd.DataFrame(rows))
    assert picture is not None
    words = text_of(picture)
    assert "|1MiB|" in words
    assert "|all|" in words
    assert "PiB" not in words
    assert "copy: most often all (100%)" in picture.alternative
    only = traces.sizes(pd.DataFrame(rows[1:]))
    assert only is not None
    assert "most often all" in only.alternative


def test_sizes_of_reads_and_writes_have_scales_of_their_own() -> None:
    sizes = {"read": 2**20, "write": 16}
    counts = {"read": 3, "write": 120_000}
    frame = pd.DataFrame(
        [
            {"key": kind, "bucket": int(bucket_of(np.array([size]))[0]), "count": counts[kind]}
            for kind, size in sizes.items()
        ]
    )
    words = text_of(traces.sizes(frame))
    assert "read" in words
    assert "write" in words
    assert "100k" in words
    # a tick of the reads' own scale
    assert "|2|" in words or "|3|" in words


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ComparisonTable:
    return compare_results(made_result(tmp_path_factory.mktemp("c") / "r.ioresult", {"/a": 1, "/b": 2}, 6))


def test_the_caption_of_ratios_promises_intervals_only_where_there_are_some(
    table: ComparisonTable, tmp_path: Path
) -> None:
    few = compare_results(made_result(tmp_path / "few.ioresult", {"/a": 1, "/b": 2}, 3))
    picture, without = ratios(table, "/b"), ratios(few, "/b")
    assert picture is not None
    assert without is not None
    assert "The bar is the 95 % interval" in picture.caption
    assert "red is slower" in picture.caption
    assert "too few for intervals" in without.caption
    assert "The bar" not in without.caption
    assert "green" not in without.caption
    part = replace(
        table,
        rows=[
            *table.rows[1:],
            replace(table.rows[0], comparison=replace(table.rows[0].comparison, low=None, high=None)),
        ],
    )
    mixed = ratios(part, "/b")
    assert mixed is not None
    assert "rows without a bar" in mixed.caption

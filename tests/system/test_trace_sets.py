"""Several traces at once: as one, and the same over a Dask cluster."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import TraceBuilder
from hypothesis import given
from hypothesis import strategies as st
from made import event, made_trace

from iotrace.analysis.findings.rules import rules_across
from iotrace.analysis.findings.search import search
from iotrace.analysis.pictures.course import course_of_set, in_slices
from iotrace.analysis.report.write import write_report
from iotrace.analysis.sets import search_set, summarise_set
from iotrace.analysis.spread import here, spread
from iotrace.analysis.summary import summarise
from iotrace.cli import main
from iotrace.errors import IotraceError, TraceError
from iotrace.trace import counted
from iotrace.trace.info import Mount
from iotrace.trace.reader import open_trace
from iotrace.trace.sets import traces_of

KEYS = ["op", "class", "file", "process", "thread", "mount", "step", "job", "user"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three traces: two jobs on the same files, one of them with a storm of stats, and counts."""
    place = tmp_path_factory.mktemp("traces") / "jobs"
    place.mkdir()
    for number in range(2):
        b = TraceBuilder()
        b.processes[0] |= {"project": "P1", "job": f"J{number}", "step": "refine", "user": "ada"}
        for turn in range(150 + 100 * number):
            b.named("newfstatat", "stack.mrc", duration=1000 + turn)
        o = b.open("stack.mrc", size=1 << 30)
        for turn in range(300):
            b.read(o, "stack.mrc", turn % 100 * (1 << 20), 1 << 20, op="pread64", duration=10_000 * (turn + 1))
        for turn in range(number + 1):
            b.write(b.open(f"own{number}.{turn}", 0o101, existed=False), f"own{number}.{turn}", 0, 10)
        b.save(place / f"job{number}.iotrace")
    root = Path(__file__).parent.parent.parent
    shutil.copytree(root / "data/traces/relion-mask.iotrace", place / "mask.iotrace")
    return place


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a scheduler with two worker processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as one:
        yield one.scheduler_address


def plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def test_a_set_has_the_counts_of_its_traces(folder: Path) -> None:
    folders = traces_of([folder])
    assert [one.name for one in folders] == ["job0.iotrace", "job1.iotrace", "mask.iotrace"]
    whole = summarise_set(folders, KEYS)
    single = [summarise(open_trace(one), KEYS) for one in folders]
    assert whole.events == sum(one.events for one in single)
    for key in KEYS:
        assert whole.tables[key]["calls"].sum() == sum(one.tables[key]["calls"].sum() for one in single)
        assert whole.tables[key]["time_s"].sum() == pytest.approx(
            sum(one.tables[key]["time_s"].sum() for one in single)
        )
    jobs = whole.tables["job"].set_index("key")
    assert jobs.loc["P1/J0", "calls"] == 150 + 1 + 300 + 2
    assert whole.tables["step"].set_index("key").loc["refine", "calls"] == jobs.loc[["P1/J0", "P1/J1"], "calls"].sum()
    # of both jobs' reads of one file together, not a mean of two medians
    assert whole.tables["file"].set_index("key").loc["/data/job/stack.mrc", "p99_us"] == pytest.approx(2960, rel=0.02)


def test_a_set_of_one_trace_is_that_trace(folder: Path) -> None:
    one = folder / "job0.iotrace"
    keys = ("op", "file", "process", "mount")
    whole, single = summarise_set([one], keys, 2), summarise(open_trace(one), keys, 2)
    for key in keys:
        left, right = (made.tables[key].drop(columns=["key", "id"], errors="ignore") for made in (whole, single))
        pd.testing.assert_frame_equal(left, right, check_dtype=False)
    added, alone = search_set([one]), search(open_trace(one))
    assert [f.to_json() for f in added.findings] == [f.to_json() for f in alone.findings]


def test_the_files_of_a_set_are_ranked_by_what_all_traces_ask_of_them(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    # in each trace another file takes most time, in all together the one that comes second everywhere
    for number in range(3):
        rows = [event(0, "read", file=0, duration_ns=100, result=1, size=1)]
        rows += [event(1, "read", file=1, duration_ns=70, result=1, size=1)]
        made_trace(tmp_path / "set" / f"{number}.iotrace", rows, [f"/data/own{number}", "/data/shared"])
    (row,) = summarise_set(traces_of([tmp_path / "set"]), ["file"], 1).tables["file"].to_dict("records")
    assert (row["key"], row["calls"], row["p50_us"]) == ("/data/shared", 3, pytest.approx(0.07, rel=0.01))


def test_limits_of_findings_are_of_the_whole_set(folder: Path) -> None:
    # 149 and 249 repeated looks: one trace by itself reaches the limit of 200, both together have 398
    names = {one.rule.name: one for one in search_set(traces_of([folder])[:2]).findings}
    assert names["stat-storm"].evidence.spared == 149 + 249
    assert "stat-storm" not in {one.rule.name for one in search(open_trace(folder / "job0.iotrace")).findings}
    assert names["stat-storm"].evidence.examples["calls"].tolist() == [400]


def test_over_a_cluster_the_answers_are_the_same(folder: Path, cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = traces_of([folder])
    with spread(cluster) as over:
        there = summarise_set(folders, KEYS, 3, over), search_set(folders, over=over)
        with pytest.raises(TraceError, match="there is no such trace"):
            summarise_set([folder / "gone"], ["op"], over=over)
    here = summarise_set(folders, KEYS, 3), search_set(folders)
    assert plain(there[0].to_json()) == plain(here[0].to_json())
    assert plain([f.to_json() for f in there[1].findings]) == plain([f.to_json() for f in here[1].findings])
    assert there[1].reuse is not None
    assert here[1].reuse is not None
    pd.testing.assert_frame_equal(there[1].reuse.curve, here[1].reuse.curve)
    # large traces, which a kernel looks at, add up as small ones do
    monkeypatch.setattr(counted, "SCANNED", 0)
    assert plain(summarise_set(folders, KEYS, 3).to_json()) == plain(here[0].to_json())


def test_the_commands_take_sets_and_a_cluster(
    folder: Path, cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        assert main([*words]) == 0
        return capsys.readouterr().out

    job, other = str(folder / "job0.iotrace"), str(folder / "job1.iotrace")
    assert said("summary", job, other, "--dask", cluster) == said("summary", job, other)
    assert said("findings", str(folder), "--dask", cluster) == said("findings", str(folder))
    assert said("summary", job, "--json", "--dask", cluster) == said("summary", job, "--json")
    write_report([folder, job], tmp_path / "a.html", dask=cluster)
    page = (tmp_path / "a.html").read_text()
    for text in ("Recorded: jobs (3 traces)", "P1/J1", "Recorded: job0.iotrace"):
        assert text in page
    # of the set and of the one trace
    for text in ("Timeline of", "Heat map of calls", "Histogram of sizes", "Scatter plots of offset"):
        assert page.count(f'aria-label="{text}') >= 2


def timed(folder: Path, name: str, begun_s: float, seconds: int, labels: dict[str, str], clock: bool = True) -> Path:
    """A trace that began so many seconds after midnight, with one read of 1 MB in the middle of each second."""
    rows = [
        event(second * 10**9 + 5 * 10**8, "read", path=0, file=0, open=0, offset=0, size=10**6, result=10**6)
        for second in range(seconds)
    ]
    processes = [{"process": 0, "pid": 1, "command": "made", "start_ns": 0} | labels]
    utc = 1_700_000_000 * 10**9 + round(begun_s * 1e9)
    return made_trace(
        folder / f"{name}.iotrace", rows, ["/data/movie"], processes=processes, duration_ns=seconds * 10**9,
        base_monotonic_ns=77, clock=[(77, utc)] if clock else [],
    )  # fmt: skip


def test_the_traces_of_a_set_are_drawn_on_one_clock(tmp_path: Path) -> None:
    ada = {"user": "ada", "project": "P1", "job": "J1", "step": "Pick"}
    folders = [timed(tmp_path, "one", 0, 100, ada), timed(tmp_path, "two", 60, 60, ada | {"job": "J2"})]
    course, on_one_clock = course_of_set(folders, summarise_set(folders).duration_s, here)
    assert on_one_clock
    assert course.timeline["calls"].sum() == pytest.approx(160)
    # in slices of 0.6 s
    early = course.timeline[course.timeline["start_s"] < 59]
    late = course.timeline[(course.timeline["start_s"] > 61) & (course.timeline["start_s"] < 98.5)]
    assert early["bytes_read"].sum() / 59.4 == pytest.approx(10**6, rel=0.02)
    assert late["bytes_read"].sum() / 37.8 == pytest.approx(2 * 10**6, rel=0.03)
    by_job = course.activity.groupby("job")
    assert by_job["calls"].sum().to_dict() == pytest.approx({"P1/J1": 100, "P1/J2": 60})
    assert by_job["start_s"].min()["P1/J2"] == pytest.approx(60, abs=1)
    bars = {bar.name: (bar.start_s, bar.end_s) for bar in course.lanes.bars}
    assert course.lanes.what == "job"
    assert bars["P1/J2"] == pytest.approx((60.5, 119.5), abs=0.01)
    assert [count for _, count in course.sizes.groupby("key")["count"].sum().items()] == [160]
    # one file, read in both, the second trace from second 60 on
    assert set(course.positions["file"]) == {"/data/movie"}
    assert sorted(course.positions["time_s"]) == pytest.approx(
        sorted([*(second + 0.5 for second in range(100)), *(second + 60.5 for second in range(60))])
    )
    (finding,) = [one for one in search_set(folders).candidates if one.rule.name == "reads-that-wait"]
    assert finding.evidence.last_ns == 119_500_001_000


@pytest.mark.parametrize("clock", [True, False])
def test_what_passed_is_told_added_up_and_by_the_clock(
    clock: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # from the first read to the last one: 99 s and 59 s, in seconds 0.5 to 99.5 and 60.5 to 119.5
    timed(tmp_path, "one", 0, 100, {}, clock)
    timed(tmp_path, "two", 60, 60, {})
    assert main(["findings", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    by_the_clock = "; 119 s by the clock" if clock else ""
    assert f"recorded in 158 s (2 recordings added up{by_the_clock})" in text
    assert "no storage can make these recordings together shorter" in text
    assert main(["findings", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["wall_s"], found["clock_s"]) == pytest.approx((158, 119 if clock else None), abs=0.01)


def test_rates_of_a_set_are_those_of_all_bytes_in_all_the_time(tmp_path: Path) -> None:
    # one copy at a time of 10 MB in 1 s, then four at a time of 10 MB in 0.1 s each
    for name, streams, seconds in (("one", 1, 1.0), ("four", 4, 0.1)):
        b = TraceBuilder()
        threads = [0, *(b.thread() for _ in range(streams - 1))]
        for number in range(2 * streams):
            b.call(
                "copy_file_range", thread=threads[number % streams], at=int(seconds * 1e9) * (number // streams),
                duration=int(seconds * 1e9), path=b.path(f"s{number}"), file=b.file(f"s{number}"),
                other_path=b.path(f"d{number}"), other_file=b.file(f"d{number}"), offset=0, other_offset=0,
                size=10**7, result=10**7,
            )  # fmt: skip
        b.save(tmp_path / f"{name}.iotrace")
    found = {one.rule.name: one.evidence for one in search_set(traces_of([tmp_path])).findings}["slow-copies"]
    assert found.numbers["rate"] == pytest.approx((2 * 10 + 8 * 10) / (2 * 1 + 8 * 0.1))
    assert found.numbers["each"] == pytest.approx(1000 * (2 * 1 + 8 * 0.1) / 10)
    assert found.numbers["streams"] == pytest.approx((2 * 1 + 8 * 0.1) / (2 * 1 + 2 * 0.1))
    assert found.numbers["copies"] == 10


def written_or_read(
    folder: Path, host: str, begun_s: int, op: str, mount: int, at: int = 0, point: str = "/data"
) -> Path:
    """A trace of a node that writes or reads 20 files of 1 MB each on a mount: 0 is local, 1 is shared."""
    names = [f"{'/tmp' if mount == 0 else point}/m{number}.mrc" for number in range(20)]
    rows = [
        event(number * 10**7, op, path=number, file=number, open=number, offset=at, size=10**6, result=10**6)
        for number in range(20)
    ]
    return made_trace(
        folder, rows, names, [{"file": i, "path": i, "type": "file", "mount": mount} for i in range(20)],
        host=host, base_monotonic_ns=0, clock=[(0, begun_s * 10**9)],
        mounts=[Mount(1, "/", "ext4", "/dev/vda1"), Mount(2, point, "wekafs", "cluster/fs")],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reader", "name"),
    [
        ({"host": "b"}, "read-on-another-node"),
        ({"host": "b", "point": "/mnt/weka"}, "read-on-another-node"),
        ({"host": "a"}, "read-by-another-job"),
        ({"host": "a", "mount": 0}, ""),
        ({"host": "b", "at": 10**6}, ""),
        ({"host": "b", "begun_s": 99}, ""),
        ({"host": ""}, ""),
    ],
    ids=["another node", "mounted elsewhere", "the same node", "other files", "other bytes", "before", "no name"],
)
@pytest.mark.parametrize("how", ["read", "sendfile"])
def test_what_one_trace_wrote_and_another_read_is_found(
    how: str, reader: dict[str, Any], name: str, tmp_path: Path
) -> None:
    written_or_read(tmp_path / "w.iotrace", "a", 100, "write", 1)
    columns: dict[str, Any] = {"begun_s": 101, "op": how, "mount": 1}
    written_or_read(tmp_path / "r.iotrace", **(columns | reader))
    found = search_set(traces_of([tmp_path]))
    told = {one.rule.name: one for one in found.findings if one.rule in rules_across()}
    assert set(told) == ({name} if name else set())
    for one in told.values():
        assert (one.evidence.bytes, one.evidence.files, one.evidence.calls) == (20 * 10**6, 20, 20)
        assert one.evidence.first_ns == 10**9
        assert len(one.evidence.examples) == 3
        assert "{" not in one.says


def test_files_of_one_name_on_the_disks_of_two_nodes_are_two_files(tmp_path: Path) -> None:
    written_or_read(tmp_path / "w.iotrace", "a", 100, "write", 0)
    written_or_read(tmp_path / "r.iotrace", "b", 101, "read", 0)
    assert not [one for one in search_set(traces_of([tmp_path])).findings if one.rule in rules_across()]


def test_where_calls_lie_is_drawn_of_as_large_a_share_of_each_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iotrace.analysis.pictures.course._POINTS", 80)
    monkeypatch.setattr("iotrace.analysis.pictures.course._LEAST_POINTS", 80)
    folders = [timed(tmp_path, "one", 0, 100, {}), timed(tmp_path, "two", 200, 60, {})]
    course, _ = course_of_set(folders, 260, here)
    assert (course.positions["time_s"] < 200).value_counts().to_dict() == {True: 50, False: 30}


def test_traces_without_labels_or_without_a_clock_are_drawn_all_the_same(tmp_path: Path) -> None:
    folders = [timed(tmp_path, "one", 0, 10, {}), timed(tmp_path, "two", 60, 20, {}, clock=False)]
    course, on_one_clock = course_of_set(folders, summarise_set(folders).duration_s, here)
    assert not on_one_clock
    assert (course.lanes.what, [bar.owner for bar in course.lanes.bars]) == ("trace", ["one", "two"])
    assert course.timeline["start_s"].max() < 20
    assert set(course.activity["job"]) == {"one", "two"}
    write_report([tmp_path], tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    for text in ("Heat map of calls over time by job", "Timeline of lanes", "noted no time of day"):
        assert text in page


@given(
    rows=st.lists(st.tuples(st.floats(0, 50), st.floats(0.001, 20)), min_size=1, max_size=20),
    begun=st.floats(0, 30), width=st.floats(0.01, 7),
)  # fmt: skip
def test_what_is_shared_out_over_slices_stays_whole(
    rows: list[tuple[float, float]], begun: float, width: float
) -> None:
    frame = pd.DataFrame(rows, columns=["start_s", "width_s"]).assign(calls=range(1, len(rows) + 1))
    made = in_slices(frame, begun, width, ["calls"])
    assert made["calls"].sum() == pytest.approx(frame["calls"].sum(), rel=1e-3)
    assert made["start_s"].min() >= begun + frame["start_s"].min() - width
    assert made["start_s"].max() <= begun + (frame["start_s"] + frame["width_s"]).max()


def test_an_address_where_nobody_answers_is_said_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("iotrace.analysis.spread._ANSWER", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(IotraceError, match="no Dask scheduler can be reached") as raised, spread(address):
            pass
        assert "\n" not in str(raised.value)

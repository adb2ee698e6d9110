"""Several traces at once: as one, and the same over a Dask cluster."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import TraceBuilder
from made import event, made_trace

from iotrace.analysis.findings.search import search
from iotrace.analysis.report import write_report
from iotrace.analysis.sets import search_set, summarise_set
from iotrace.analysis.spread import spread
from iotrace.analysis.summary import summarise
from iotrace.cli import main
from iotrace.errors import IotraceError, TraceError
from iotrace.trace import counted
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
    whole, single = summarise_set([one], KEYS, 2), summarise(open_trace(one), KEYS, 2)
    for key in KEYS:
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


def test_an_address_where_nobody_answers_is_said_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("iotrace.analysis.spread._ANSWER", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(IotraceError, match="no Dask scheduler can be reached") as raised, spread(address):
            pass
        assert "\n" not in str(raised.value)

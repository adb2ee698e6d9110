"""What a workload asks for as a whole: what one job makes the next one reads, and how many run at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.errors import UsageError
from iotrace.profiles.command import profile
from iotrace.profiles.graphs import circle_of, width_of
from iotrace.profiles.model import DataSet, Profile, Workload, load, names_of, read, workload_on
from iotrace.profiles.needs import needs_of
from iotrace.profiles.numbers import numbers_of
from iotrace.profiles.workload import Composition
from iotrace.trace.operations import BY_NAME

SMALL = {"width": 64.0, "height": 64.0, "movie_bytes": 300_000.0, "box": 16.0}


@pytest.mark.parametrize("name", ["reference-architecture", "single-user"])
def test_of_twelve_steps_only_movies_and_what_the_master_writes_is_there_before(name: str) -> None:
    whole = Composition(load(Workload, name), {"users": 1, "live": 0} | SMALL, 0.0003)
    there = {one.text for one in whole.layout.classes if one.exists}
    project, raw = "/data/user01/CS-project/", "/data/user01/raw/"
    assert {text for text in there if not text.startswith(raw)} == {f"{project}J1/job.json", f"{project}J2/job.json"}


def test_files_that_must_be_there_are_those_of_the_trace() -> None:
    given = {"users": 3, "live": 1} | SMALL
    for name, more in (("reference-architecture", {}), ("live-facility", {"live": 2, "microscopes": 1})):
        workload = load(Workload, name)
        needs = needs_of(workload, given | more, 0.001)
        there = [
            one
            for one in Composition(workload, given | more, 0.001).layout.classes
            if one.exists and one.type == "file"
        ]
        assert needs.there_files == sum(one.count for one in there)
        assert needs.there_bytes == sum(one.count * one.size for one in there)


def test_operations_of_a_workload_are_counted_by_class_as_its_trace_has_them() -> None:
    workload = load(Workload, "single-user")
    needs = needs_of(workload, SMALL, 0.0003)
    ops = pa.Table.from_batches(Composition(workload, SMALL, 0.0003).batches()).column("op").to_pylist()
    for kind in ("write", "copy", "lock", "map", "process"):
        assert needs.by_class[kind] == sum(BY_NAME[op].kind.value == kind for op in ops), kind
    assert sum(needs.by_class.values()) == needs.events


def test_no_more_jobs_run_at_a_time_than_steps_and_lanes_allow() -> None:
    workload = load(Workload, "single-user")
    # one after another: lanes that nobody can use add nothing
    assert (needs_of(workload, {"lanes": 5}).most_jobs, needs_of(workload, {"lanes": 5}).threads) == (1, 6)
    assert needs_of(workload, {"users": 3, "lanes": 5}).most_jobs == 3
    assert needs_of(workload, {"users": 30, "lanes": 5}).most_jobs == 5
    text = (Path(__file__).parents[2] / "profiles" / "workloads" / "single-user.toml").read_text()
    both = read(Workload, text.replace('after = ["refine"]', 'after = ["select"]'), "x.toml")
    assert needs_of(both, {"lanes": 5}).most_jobs == 2


@settings(max_examples=60)
@given(st.integers(0, 6), st.data())
def test_the_width_of_a_graph_is_that_of_its_largest_set_without_an_order(count: int, data: st.DataObject) -> None:
    pairs = [(k, j) for k in range(count) for j in range(k)]
    chosen = set(data.draw(st.lists(st.sampled_from(pairs)))) if pairs else set()
    after = {str(k): [str(j) for j in range(k) if (k, j) in chosen] for k in range(count)}
    reach = [[(k, j) in chosen for j in range(count)] for k in range(count)]
    for middle in range(count):
        for k in range(count):
            for j in range(count):
                reach[k][j] = reach[k][j] or (reach[k][middle] and reach[middle][j])
    sets = [[k for k in range(count) if mask >> k & 1] for mask in range(1 << count)]
    free = [one for one in sets if not any(reach[k][j] for k in one for j in one)]
    assert width_of(after) == max(len(one) for one in free)
    assert circle_of(after) == []


def test_a_workload_takes_another_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    profile("plan", "single-user", dataset="falcon4-eer", json=True)
    planned = json.loads(capsys.readouterr().out)
    motion = next(one for one in planned["jobs"] if one["step"] == "motion")
    assert (planned["dataset"], motion["bytes_read"] // 10**9) == ("falcon4-eer", 7000 // 2)
    with pytest.raises(UsageError, match="there is no dataset 'falcon'"):
        workload_on(load(Workload, "single-user"), "falcon")


def test_a_plan_of_a_workload_says_its_sums(capsys: pytest.CaptureFixture[str]) -> None:
    profile("plan", "reference-architecture")
    said = " ".join(capsys.readouterr().out.split())
    # ten users' movies and gain, those of one session of Live, and two job.json each
    assert "All of them: 30.3k files of 5.24 TB must be there before" in said
    assert "lock" in said.split("Calls:")[1]
    profile("show", "empiar-10288")
    said = " ".join(capsys.readouterr().out.split())
    assert "movies: 2,756: EMPIAR-10288; the reference architecture's test configuration" in said


def test_a_plan_fits_into_a_terminal_of_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in names_of(Workload):
        profile("plan", name)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
    assert any(line.startswith("class-2d (fills cache)") for line in lines)
    assert "1 user, 1 lane; 12 jobs, by arithmetic:" in lines


def test_fewer_movies_have_fewer_micrographs_and_more_micrographs_than_movies_are_refused() -> None:
    workload = load(Workload, "single-user")
    extract = next(one.totals for one in needs_of(workload, {"movies": 100}).jobs if one.step == "extract")
    assert extract.phases[1].items == 80
    for what in (needs_of, Composition):
        with pytest.raises(UsageError, match=r"reads 300 files .*motioncorrected.* of which motion makes 100: choose"):
            what(workload, {"movies": 100, "micrographs": 300})


def test_a_count_that_follows_from_others_shrinks_also_where_it_is_set() -> None:
    for name in names_of(DataSet):
        values = numbers_of(None, load(DataSet, name), {"micrographs": 100, "particles_3d": 5000}, 0.1).values
        assert (values["micrographs"], values["particles_3d"]) == (10, 500)
    whole = numbers_of(load(Profile, "class-2d"), load(DataSet, "empiar-10288")).values
    assert (whole["micrographs"], whole["stacks"], whole["batch"]) == (2181, 2181, 10000)


def test_a_microscope_writes_at_the_rate_that_its_data_set_has() -> None:
    def seconds(dataset: str) -> float:
        return numbers_of(load(Profile, "microscope"), load(DataSet, dataset)).values["seconds_a_movie"]

    assert (seconds("k3-super-resolution"), seconds("falcon4-eer")) == (18, 12)

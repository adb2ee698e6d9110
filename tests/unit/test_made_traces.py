"""Traces of recipes that lie nowhere: the same plan as from a folder, no file, refused first where there is no room."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from iotrace.errors import ReplayError, UsageError
from iotrace.profiles import made
from iotrace.profiles.made import MadeTrace
from iotrace.profiles.model import DataSet, Profile, Workload, load
from iotrace.profiles.synthesise import Synthesis, synthesised
from iotrace.profiles.workload import Composition, composed
from iotrace.replay import room
from iotrace.replay.plan import build_plan
from iotrace.replay.synthetic import traces_of
from iotrace.trace.reader import Trace, open_trace
from iotrace.trace.schema import SCHEMAS

SMALL = {"width": 64.0, "height": 64.0, "movie_bytes": 300_000.0, "box": 16.0}
CROWD = {"users": 2.0, "lanes": 2.0, "cached_lanes": 1.0}
MAPS = ["/data", "/scratch"]


def trace_of(name: str) -> MadeTrace:
    if name == "workload":
        return composed(load(Workload, "reference-architecture"), given=SMALL | CROWD, scale=0.0003)
    return synthesised(load(Profile, name), load(DataSet, "empiar-10288"), given=SMALL, scale=0.0005)


@pytest.fixture(params=["kept", "made again"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether what is made first is kept, packed."""
    if request.param == "made again":
        monkeypatch.setattr(made, "KEPT_SHARE", 0.0)
    return bool(request.param == "kept")


@pytest.mark.parametrize("name", ["workload", "inspect-picks", "ssd-cache"])
def test_a_plan_of_what_is_made_is_that_of_what_was_written(name: str, kept: bool, tmp_path: Path) -> None:
    trace = trace_of(name)
    info = trace.write(tmp_path / "T.iotrace")
    assert (tmp_path / "T.iotrace" / "trace.json").exists()
    written, trace = open_trace(tmp_path / "T.iotrace"), trace_of(name)
    plan, expected = build_plan(trace, MAPS), build_plan(written, MAPS)
    assert plan.hash == expected.hash
    assert (trace.info.events, trace.info.duration_ns) == (info.events, info.duration_ns)
    assert trace.info.complete
    for column in ("size", "result", "file", "step", "job"):
        assert plan.recorded[column].tolist() == expected.recorded[column].tolist(), column
    rows = range(0, len(plan.rows), 97)
    assert plan.recorded.about(rows) == expected.recorded.about(rows)


@pytest.mark.parametrize("table", SCHEMAS)
def test_each_table_reads_as_it_does_from_a_folder(table: str, kept: bool, tmp_path: Path) -> None:
    trace_of("workload").write(tmp_path / "T.iotrace")
    trace, written = trace_of("workload"), open_trace(tmp_path / "T.iotrace")
    assert trace.table(table).to_pydict() == written.table(table).to_pydict()
    if table == "events":
        few = ["result", "op", "time_ns"]
        assert trace.table(table, few).to_pydict() == written.table(table, few).to_pydict()
        assert trace.event_count() == written.event_count()


def test_what_is_kept_is_made_once_and_what_is_not_each_time(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    batches = Composition.batches

    def counted(self: Composition) -> Any:
        begun.append(self)
        return batches(self)

    monkeypatch.setattr(Composition, "batches", counted)
    trace = trace_of("workload")
    for _ in range(3):
        trace.table("events", ["size"])
    assert len(begun) == (1 if kept else 3)


def test_a_reader_that_stops_halfway_leaves_the_trace_as_it_was() -> None:
    trace = trace_of("workload")
    next(trace.batches("events", ["op"]))
    assert not trace.info.complete
    assert trace.table("events", ["op"]).num_rows == trace.event_count() == trace.info.events


def test_the_plan_of_a_recipe_makes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was made")

    for name in ("mkdtemp", "mkstemp", "TemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)
    monkeypatch.setattr(made, "TraceWriter", refuse)
    sizes = [f"{name}={value}" for name, value in (SMALL | CROWD).items()]
    one, again = traces_of([Path("reference-architecture")] * 2, "empiar-10288", sizes, 0.0003, 1)
    assert one is again
    assert isinstance(one, Trace)
    assert len(build_plan(one, MAPS).rows) > 1000


def test_a_workload_whose_plan_has_no_room_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("events were made")

    monkeypatch.setattr(room, "most_events", lambda: 5_000_000)
    monkeypatch.setattr(room, "free_bytes", lambda: 1 << 30)
    monkeypatch.setattr(room, "takes_files", lambda folder: False)
    for kind in (Composition, Synthesis):
        monkeypatch.setattr(kind, "batches", refuse)
    workload = load(Workload, "reference-architecture")
    with pytest.raises(ReplayError, match=r"a plan of .* events takes up to .*, or choose --scale 0\.0") as refused:
        build_plan(composed(workload))
    scale = float(str(refused.value).rpartition("--scale ")[2].rstrip("."))
    assert 4e6 < composed(workload, scale=scale).event_count() <= 5e6
    monkeypatch.setattr(room, "most_events", lambda: 5_000)
    with pytest.raises(ReplayError, match="choose fewer users"):
        build_plan(composed(workload, given={"users": 300.0}))


def test_a_scale_of_0_is_refused_and_not_taken_for_none() -> None:
    with pytest.raises(UsageError, match="--scale 0"):
        traces_of([Path("class-2d")], "empiar-10288", [], 0.0, 1)

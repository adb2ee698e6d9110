"""Random reads of a box or two an opening, as a refinement over thousands of stacks makes them, are found as such."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotrace.profiles.command import profile
from iotrace.profiles.fit import fit
from iotrace.profiles.model import DataSet, Profile, Workload, load
from iotrace.profiles.score import score
from iotrace.profiles.sessions import sessions_of
from iotrace.profiles.synthesise import synthesise
from iotrace.profiles.workload import compose
from iotrace.trace.reader import open_trace

FOLDERS = ["/data/CS-project"]


@pytest.mark.parametrize("name", ["refine-3d", "ab-initio"])
def test_a_job_that_reads_single_particles_is_fitted_as_one(name: str, tmp_path: Path) -> None:
    recorded, again = tmp_path / "T.iotrace", tmp_path / "F.iotrace"
    synthesise(load(Profile, name), load(DataSet, "empiar-10288"), recorded, given={"box": 32}, scale=0.002)
    found = sessions_of(open_trace(recorded), FOLDERS)
    fitted, _ = fit(open_trace(recorded), FOLDERS, "fitted", found)
    (boxes,) = [action for phase in fitted.phases for action in phase.actions if action.do == "boxes"]
    values = {name: number.value for name, number in fitted.numbers.items()}
    assert (boxes.way, values[boxes.reads]) == ("read", 1)
    assert (values[boxes.header], values[boxes.box]) == (1024, 4096)
    synthesise(fitted, load(DataSet, "own"), again)
    measures = score(found, sessions_of(open_trace(again), FOLDERS))
    assert [one.name for one in measures if not one.within] == []


def test_a_recording_of_several_jobs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"box": 32.0, "width": 64.0, "height": 64.0, "movie_bytes": 1e5}
    compose(load(Workload, "single-user"), tmp_path / "W.iotrace", given=given, scale=0.0003)
    profile("fit", str(tmp_path / "W.iotrace"), map=["/data"], output=tmp_path / "w.toml")
    assert "holds 12 jobs. A profile is of one" in " ".join(capsys.readouterr().err.split())


def test_who_always_reads_the_same_two_places_reads_no_random_boxes(tmp_path: Path) -> None:
    recorded = tmp_path / "T.iotrace"
    one = load(Profile, "refine-3d")
    # a stack of a single particle: behind the header there is only that
    synthesise(one, load(DataSet, "empiar-10288"), recorded, given={"box": 32, "stack_particles": 1}, scale=0.002)
    fitted, _ = fit(open_trace(recorded), FOLDERS, "fitted")
    assert [action.do for phase in fitted.phases for action in phase.actions if action.do == "boxes"] == []

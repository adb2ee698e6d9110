"""Random reads of a box or two an opening, as a refinement over thousands of stacks makes them, are found as such."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotrace.profiles.fit import fit
from iotrace.profiles.model import DataSet, Profile, load
from iotrace.profiles.score import score
from iotrace.profiles.sessions import sessions_of
from iotrace.profiles.synthesise import synthesise
from iotrace.trace.reader import open_trace

FOLDERS = ["/data/CS-project"]


@pytest.mark.parametrize("name", ["refine-3d", "ab-initio"])
def test_a_job_that_reads_single_particles_is_fitted_as_one(name: str, tmp_path: Path) -> None:
    recorded, again = tmp_path / "T.iotrace", tmp_path / "F.iotrace"
    synthesise(load(Profile, name), load(DataSet, "empiar-10288"), recorded, given={"box": 32}, scale=0.002)
    found = sessions_of(open_trace(recorded), FOLDERS)
    profile, _ = fit(open_trace(recorded), FOLDERS, "fitted", found)
    (boxes,) = [action for phase in profile.phases for action in phase.actions if action.do == "boxes"]
    values = {name: number.value for name, number in profile.numbers.items()}
    assert (boxes.way, values[boxes.reads]) == ("read", 1)
    assert (values[boxes.header], values[boxes.box]) == (1024, 4096)
    synthesise(profile, load(DataSet, "own"), again)
    measures = score(found, sessions_of(open_trace(again), FOLDERS))
    assert [one.name for one in measures if not one.within] == []


def test_who_always_reads_the_same_two_places_reads_no_random_boxes(tmp_path: Path) -> None:
    recorded = tmp_path / "T.iotrace"
    one = load(Profile, "refine-3d")
    # a stack of a single particle: behind the header there is only that
    synthesise(one, load(DataSet, "empiar-10288"), recorded, given={"box": 32, "stack_particles": 1}, scale=0.002)
    profile, _ = fit(open_trace(recorded), FOLDERS, "fitted")
    assert [action.do for phase in profile.phases for action in phase.actions if action.do == "boxes"] == []

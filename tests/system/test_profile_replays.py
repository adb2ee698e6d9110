"""Every profile and workload replays as it says, on a real file system; the command that makes and runs them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands import Command

from iotrace.profiles.model import DataSet, Profile, Workload, load, names_of
from iotrace.profiles.synthesise import synthesise
from iotrace.profiles.workload import compose
from iotrace.replay.run import run_replay
from iotrace.trace.reader import open_trace

SMALL = {"width": 200.0, "height": 200.0, "movie_bytes": 3e6, "box": 32.0}
MAPS = ["/data", "/scratch"]


@pytest.mark.parametrize("name", names_of(Profile))
def test_a_profile_replays_with_every_outcome_as_planned(name: str, tmp_path: Path) -> None:
    trace = tmp_path / "T.iotrace"
    info = synthesise(load(Profile, name), load(DataSet, "empiar-10288"), trace, given=SMALL, scale=0.0005)
    (tmp_path / "fs").mkdir()
    result = run_replay(trace, tmp_path / "fs", timing="asap", prefixes=MAPS, verify=True).info
    run = result.runs[0]
    assert (run.errors, run.errors_by, result.not_replayed) == (0, [], {})
    forks = int((open_trace(trace).events()["op"] == "fork").sum())
    assert run.ops == info.events - forks
    assert run.verified is not None
    assert run.verified.wrong == {}
    assert len(run.jobs) == 1
    assert run.jobs[0].ops == run.ops


@pytest.mark.parametrize("name", names_of(Workload))
def test_jobs_of_a_workload_keep_their_order_on_the_storage_under_test(name: str, tmp_path: Path) -> None:
    workload = load(Workload, name)
    compose(workload, tmp_path / "W.iotrace", given=SMALL | {"users": 3.0, "lanes": 2.0}, scale=0.0003)
    (tmp_path / "fs").mkdir()
    run = run_replay(tmp_path / "W.iotrace", tmp_path / "fs", timing="asap", prefixes=MAPS).info.runs[0]
    assert (run.errors, run.errors_by) == (0, [])
    users: dict[str, list[Any]] = {}
    lanes: dict[str, list[Any]] = {}
    for job in run.jobs:
        users.setdefault(job.user, []).append(job)
        lanes.setdefault(job.slurm_job, []).append(job)
    assert {"lane 1", "lane 2"} <= set(lanes)
    titles = [load(Profile, step.profile).title for step in workload.steps.values()]
    for user, jobs in users.items():
        if user.startswith("user"):
            assert [job.step for job in jobs] == titles
            assert all(before.end_s <= after.start_s for before, after in pairwise(jobs))
    for lane, jobs in lanes.items():
        if lane.startswith("lane"):
            assert all(before.end_s <= after.start_s for before, after in pairwise(jobs))


def test_a_workload_is_replayed_by_its_name_with_a_row_for_each_lane_and_step(tmp_path: Path, iotrace: Command) -> None:
    (tmp_path / "fs").mkdir()
    sizes = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value:g}")]
    words = ["replay", "reference-architecture", "--fs", "fs", "--scale", "0.0003", "--timing", "asap", *sizes]
    done = iotrace(*words, "--set", "users=2", "--set", "lanes=2", "-o", "R.ioresult", cwd=tmp_path)
    assert done.returncode == 0
    said = " ".join(done.stderr.split())
    assert said.startswith("Note: --scale 0.0003 shrinks counts, never sizes. More than that part is left")
    assert "post (" in said
    assert done.stdout.count("all together") == 2
    assert "lane 2" in done.stdout
    assert "live" in done.stdout
    result = json.loads((tmp_path / "R.ioresult" / "result.json").read_text())
    assert len(result["runs"][0]["jobs"]) == 25
    assert result["source"] == "reference-architecture.iotrace"
    assert list((tmp_path / "fs").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("profile", "show", "clas-2d"), "there is no profile 'clas-2d': choose"),
        (("profile", "show"), "show which recipe?"),
        (("profile", "plan", "class-2d", "--map", "/data"), "--map goes with fit"),
        (("profile", "fit", "T.iotrace", "--scale", "0.1"), "--scale and --seed are for what is made from a recipe"),
        (("profile", "plan", "class-2d", "--set", "box"), "--set box: write it as NAME=NUMBER"),
        (("profile", "plan", "class-2d", "--dataset", "x"), "there is no dataset 'x': choose"),
        (("profile", "synthesise", "class-2d", "--scale", "-1"), "--scale -1"),
        (("replay", "clas-2d", "--fs", "."), "no profile or workload of that name"),
        (("replay", "T.iotrace", "--fs", ".", "--scale", "0.1"), "are for profiles and workloads"),
        (("replay", "T.iotrace", "--fs", ".", "--dataset", "own"), "are for profiles and workloads"),
        (("replay", "single-user", "--fs", ".", "--dataset", "x"), "there is no dataset 'x': choose"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path, iotrace: Command
) -> None:
    done = iotrace(*words, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_profiles_are_listed_shown_and_worked_out(tmp_path: Path, iotrace: Command) -> None:
    listed = json.loads(iotrace("profile", "list", "--json", cwd=tmp_path).stdout)
    assert [one["name"] for one in listed["steps"]][:3] == [
        "import-movies", "patch-motion-correction", "patch-ctf-estimation",
    ]  # fmt: skip
    shown = json.loads(iotrace("profile", "show", "class-2d", "--json", cwd=tmp_path).stdout)
    assert shown["numbers"]["particles"]["worked_out"] == 1735240
    assert all(number["source"] for number in shown["numbers"].values())
    assert ", each when its file of movies is there" in iotrace("profile", "show", "live", cwd=tmp_path).stdout
    text = iotrace("profile", "show", "class-2d", cwd=tmp_path).stdout
    words = " ".join(text.split())
    for number in shown["numbers"].values():
        assert " ".join(number["source"].split()) in words.replace("- ", "-")  # wrapped at hyphens
    planned = json.loads(iotrace("profile", "plan", "ssd-cache", "--json", cwd=tmp_path).stdout)
    assert planned["bytes_written"] > 450e9
    whole = json.loads(iotrace("profile", "plan", "reference-architecture", "--json", cwd=tmp_path).stdout)
    assert (whole["users"], whole["lanes"], len(whole["jobs"])) == (10, 5, 13)

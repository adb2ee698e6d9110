"""From a recording to a profile and back: measures beside each other, replays without errors, hostile names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from builders import TraceBuilder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotrace.errors import UsageError
from iotrace.profiles.fit import fit
from iotrace.profiles.model import DataSet, Profile, load
from iotrace.profiles.score import score
from iotrace.profiles.sessions import sessions_of
from iotrace.profiles.synthesise import synthesise
from iotrace.replay.run import run_replay
from iotrace.trace.reader import open_trace

SHIPPED = Path(__file__).parent.parent.parent / "data" / "traces"
MADE = ["/data/CS-project"]


@pytest.mark.parametrize(
    ("name", "least"), [("relion-motion-correction", 8), ("relion-particle-extraction", 8)]
)  # fmt: skip
def test_a_recording_is_fitted_made_again_and_replays(name: str, least: int, tmp_path: Path) -> None:
    trace = open_trace(SHIPPED / f"{name}.iotrace")
    profile, text = fit(trace, ["/scratch/relion"], name)
    (tmp_path / "fitted.toml").write_text(text)
    assert load(Profile, tmp_path / "fitted.toml") == profile
    synthesise(profile, load(DataSet, "own"), tmp_path / "F.iotrace")
    made = open_trace(tmp_path / "F.iotrace")
    measures = score(sessions_of(trace, ["/scratch/relion"]), sessions_of(made, MADE))
    assert sum(one.within for one in measures) >= least, measures
    by_name = {one.name: one for one in measures}
    assert by_name["bytes written"].apart < 0.01
    assert by_name["bytes read"].apart < 0.03
    run = run_replay(made, tmp_path, prefixes=["/data"], timing="asap").info.runs[0]
    assert (run.errors, run.errors_by) == (0, [])


@pytest.mark.parametrize(
    "name", ["autopick-template", "class-selection", "class-2d", "class-3d", "initial-model", "polishing", "import"]
)  # fmt: skip
def test_a_profile_fitted_to_a_recording_stands_for_it_in_every_measure(name: str, tmp_path: Path) -> None:
    trace = open_trace(SHIPPED / f"relion-{name}.iotrace")
    folders = [trace.info.working_folder]
    profile, _ = fit(trace, folders, name)
    synthesise(profile, load(DataSet, "own"), tmp_path / "F.iotrace")
    measures = score(sessions_of(trace, folders), sessions_of(open_trace(tmp_path / "F.iotrace"), MADE))
    assert [one.name for one in measures if not one.within] == []


def job() -> TraceBuilder:
    """Twelve movies read whole by two threads, a picture renamed for each, a log appended to under a lock."""
    trace = TraceBuilder(step_ns=100_000)
    other = trace.thread()
    for number in range(12):
        thread = other if number % 2 else 0
        movie = trace.open(f"movies/m{number:02d}.tif", size=100_000 + number, thread=thread)
        for offset in range(0, 100_000, 25_000):
            trace.read(movie, f"movies/m{number:02d}.tif", offset, 25_000, thread=thread)
        trace.close(movie, f"movies/m{number:02d}.tif", thread=thread)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        name = f"out/p{number:02d}.png.tmp"
        picture = trace.open(name, flags, existed=False, mode=0o644, thread=thread)
        trace.write(picture, name, 0, 5000, thread=thread)
        trace.on("fsync", picture, name, thread=thread)
        trace.close(picture, name, thread=thread)
        trace.named("rename", name, f"out/p{number:02d}.png", file=trace.file(name), thread=thread)
        log = trace.open("log", os.O_WRONLY | os.O_APPEND, size=0, thread=thread)
        trace.on("fcntl.lock", log, "log", flags=7, mode=1, offset=0, size=0, thread=thread)
        trace.write(log, "log", number * 80, 80, thread=thread)
        trace.close(log, "log", thread=thread)
    return trace


def test_what_a_program_does_with_each_item_is_found(tmp_path: Path) -> None:
    trace = open_trace(job().save(tmp_path / "T.iotrace"))
    profile, _ = fit(trace, ["/data/job"], "job")
    (phase,) = profile.phases
    done = [(action.do, action.way, action.file) for action in phase.actions if action.do != "think"]
    assert done == [("read", "whole", "m_tif"), ("write", "rename", "p_png_tmp"), ("append", "locked", "log")]
    values = {name: number.value for name, number in profile.numbers.items()}
    assert values[phase.items] == 12
    assert values[phase.workers] == 2
    assert values[profile.files["m_tif"].count] == 12
    read, write, append = (action for action in phase.actions if action.do != "think")
    assert values[write.bytes] == 5000
    assert values[append.bytes] == 80
    assert write.sync
    assert values[read.chunk] == pytest.approx(25_000, abs=10)
    assert "10 %, 50 %, 90 %" in profile.numbers[profile.files["m_tif"].size].source


ODD = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ODD.filter(lambda name: name not in (".", "..")), min_size=1, max_size=6, unique=True))
def test_no_name_of_a_recording_breaks_the_recipe(names: list[str]) -> None:
    trace = TraceBuilder()
    for name in names:
        file = trace.open(name, size=500)
        trace.read(file, name, 0, 500)
        trace.close(file, name)
    with tempfile.TemporaryDirectory(prefix="fit-") as folder:
        opened = open_trace(trace.save(Path(folder) / "T.iotrace", command=["a\n[phases]", '"', "é"]))
        profile, _ = fit(opened, ["/data/job"], "odd")
        synthesise(profile, load(DataSet, "own"), Path(folder) / "F.iotrace")
        assert (open_trace(Path(folder) / "F.iotrace").events()["op"] == "read").sum() == len(names)


def test_names_that_a_recipe_cannot_hold_stay_different_files(tmp_path: Path) -> None:
    trace = TraceBuilder()
    names = ("a{b}.txt", "a_b_.txt", 'a"b".txt', ".hidden", "hidden", "..x")
    for size, name in enumerate(names, start=500):
        file = trace.open(name, size=size)
        trace.read(file, name, 0, size)
        trace.close(file, name)
    profile, _ = fit(open_trace(trace.save(tmp_path / "T.iotrace")), ["/data/job"], "odd")
    paths = {one.path for one in profile.files.values()}
    assert len(paths) == len(names)
    assert {".hidden", "hidden", "..x"} < paths
    synthesise(profile, load(DataSet, "own"), tmp_path / "F.iotrace")
    made = open_trace(tmp_path / "F.iotrace")
    events = made.events()
    assert events[events["op"] == "read"]["file"].nunique() == len(names)


def test_the_command_prints_a_score_and_says_what_is_wrong(tmp_path: Path) -> None:
    job().save(tmp_path / "T.iotrace")
    command = [sys.executable, "-m", "iotrace", "profile", "fit", "T.iotrace"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    told = json.loads(run("--json", "-o", "mine.toml").stdout)
    assert (told["within"], told["of"]) == (8, 8)
    assert "bytes written" in {one["measure"] for one in told["measures"]}
    again = run("-o", "mine.toml")
    assert again.returncode == 2
    assert "mine.toml exists already" in again.stderr
    assert "8 of 8 measures within their bounds" in run("--force", "-o", "mine.toml").stdout
    nothing = run("--map", "/elsewhere", "-o", "other.toml")
    assert nothing.returncode == 2
    assert "holds nothing on files beneath /elsewhere: name folders with --map" in nothing.stderr


def test_a_trace_without_anything_there_is_refused(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.missing("stat", "x")
    with pytest.raises(UsageError, match="holds nothing on files beneath"):
        fit(open_trace(trace.save(tmp_path / "T.iotrace")), ["/data/job"], "none")

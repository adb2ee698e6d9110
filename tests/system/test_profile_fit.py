"""From a recording to a profile and back: measures beside each other, replays without errors, hostile names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from builders import TraceBuilder
from commands import Command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotrace.errors import UsageError
from iotrace.profiles.fit import fit
from iotrace.profiles.model import DataSet, Profile, load
from iotrace.profiles.score import score
from iotrace.profiles.sessions import sessions_of
from iotrace.profiles.synthesise import synthesise
from iotrace.replay.run import run_replay
from iotrace.trace.reader import Trace, open_trace

SHIPPED = Path(__file__).parent.parent.parent / "data" / "traces"
MADE = ["/data/CS-project"]


RECORDINGS = sorted(one.name.removesuffix(".iotrace") for one in SHIPPED.glob("*.iotrace"))


def made_from(trace: Trace, prefixes: list[str], folder: Path) -> tuple[Profile, Trace]:
    """The profile fitted to a recording, read back from its file, and a trace made from it."""
    profile, text = fit(trace, prefixes, "fitted")
    (folder / "fitted.toml").write_text(text)
    assert load(Profile, folder / "fitted.toml") == profile
    synthesise(profile, load(DataSet, "own"), folder / "F.iotrace")
    return profile, open_trace(folder / "F.iotrace")


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_fitted_made_again_and_replays_with_every_outcome_as_planned(name: str, tmp_path: Path) -> None:
    trace = open_trace(SHIPPED / f"{name}.iotrace")
    folders = [trace.info.working_folder]
    _, made = made_from(trace, folders, tmp_path)
    measures = score(sessions_of(trace, folders), sessions_of(made, MADE))
    assert [one.name for one in measures if not one.within] == []
    run = run_replay(made, tmp_path, prefixes=["/data"], timing="asap").info.runs[0]
    assert (run.errors, run.errors_by) == (0, [])


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


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
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


def test_the_command_prints_a_score_and_says_what_is_wrong(tmp_path: Path, iotrace: Command) -> None:
    job().save(tmp_path / "T.iotrace")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return iotrace("profile", "fit", "T.iotrace", *words, cwd=tmp_path)

    told = json.loads(run("--json", "-o", "mine.toml").stdout)
    assert (told["within"], told["of"]) == (9, 9)
    assert "bytes written" in {one["measure"] for one in told["measures"]}
    again = run("-o", "mine.toml")
    assert again.returncode == 2
    assert "mine.toml exists already" in again.stderr
    assert "9 of 9 measures within their bounds" in run("--force", "-o", "mine.toml").stdout
    nothing = run("--map", "/elsewhere", "-o", "other.toml")
    assert nothing.returncode == 2
    assert "holds nothing on files beneath /elsewhere: name folders with --map" in nothing.stderr


def test_a_trace_without_anything_there_is_refused(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.missing("stat", "x")
    with pytest.raises(UsageError, match="holds nothing on files beneath"):
        fit(open_trace(trace.save(tmp_path / "T.iotrace")), ["/data/job"], "none")


def read_whole(trace: TraceBuilder, name: str, size: int, piece: int) -> None:
    """Open an existing file, read it in pieces and close it."""
    file = trace.open(name, size=size)
    for offset in range(0, size, piece):
        trace.read(file, name, offset, piece, result=min(piece, size - offset))
    trace.close(file, name)


def write_new(trace: TraceBuilder, name: str, size: int) -> None:
    """Make a file in one write."""
    file = trace.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, existed=False, mode=0o644)
    trace.write(file, name, 0, size)
    trace.close(file, name)


def test_files_of_several_folders_stay_apart_and_keep_nothing_of_what_is_above_them(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for number in range(6):
        read_whole(trace, f"/mnt/disk1/in/m{number}.mrc", 8000, 4000)
        write_new(trace, f"/mnt/disk2/out/m{number}.mrc", 500)
    prefixes = ["/mnt/disk1/in", "/mnt/disk2/out/"]
    profile, _ = made_from(open_trace(trace.save(tmp_path / "T.iotrace")), prefixes, tmp_path)
    assert sorted((one.path, one.exists) for one in profile.files.values()) == [
        ("in/m{n}.mrc", True), ("out/m{n}.mrc", False),
    ]  # fmt: skip
    counts = {profile.numbers[one.count].value for one in profile.files.values()}
    assert counts == {6}
    alone, _ = fit(open_trace(tmp_path / "T.iotrace"), prefixes[:1], "alone")
    assert [one.path for one in alone.files.values()] == ["m{n}.mrc"]


def test_folders_of_the_same_name_are_told_apart_by_what_is_above_them(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for number in range(4):
        read_whole(trace, f"/a1/data/m{number}.mrc", 8000, 4000)
        read_whole(trace, f"/a2/data/m{number}.mrc", 500, 500)
    profile, _ = made_from(open_trace(trace.save(tmp_path / "T.iotrace")), ["/a1/data", "/a2/data"], tmp_path)
    assert sorted(one.path for one in profile.files.values()) == ["a1/data/m{n}.mrc", "a2/data/m{n}.mrc"]


def test_a_job_reads_back_no_more_than_it_has_written_by_then(tmp_path: Path) -> None:
    """A scratch file grows by 3,000 bytes at a time and is read from the begin in between."""
    trace = TraceBuilder()
    for number in range(10):
        flags = os.O_RDWR | os.O_CREAT | (0 if number else os.O_TRUNC)
        file = trace.open("scratch", flags, existed=False, mode=0o644)
        trace.write(file, "scratch", 0, 100, op="pwrite64")  # a header, anew
        trace.write(file, "scratch", 100 + number * 3000, 3000, op="pwrite64")
        trace.close(file, "scratch")
        held = 3100 + number * 3000
        reader = trace.open("scratch", os.O_RDONLY)
        for offset in range(0, held, 8000):
            trace.read(reader, "scratch", offset, 8000, result=min(8000, held - offset))
        trace.close(reader, "scratch")
    profile, made = made_from(open_trace(trace.save(tmp_path / "T.iotrace")), ["/data/job"], tmp_path)
    (phase,) = profile.phases
    assert [action.do for action in phase.actions if action.do != "think"] == ["append", "read"]
    events = made.events()
    written = events["result"].where(events["op"] == "write", 0).cumsum()
    reads = events[events["op"] == "read"]
    assert (reads["offset"] + reads["result"] <= written[reads.index]).all()
    assert reads["result"].sum() == pytest.approx(sum(range(3100, 33_000, 3000)), rel=0.1)
    run = run_replay(made, tmp_path, prefixes=["/data"], timing="asap").info.runs[0]
    assert (run.errors, run.errors_by) == (0, [])


def test_the_score_sees_what_copies_write(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for number in range(5):
        copied(trace, f"in/a{number}", f"out/a{number}")
    opened = open_trace(trace.save(tmp_path / "T.iotrace"))
    found = sessions_of(opened, ["/data/job"])
    assert found.rows["written"].sum() == 5 * 60_000
    profile, made = made_from(opened, ["/data/job"], tmp_path)
    assert [action.do for action in profile.phases[0].actions if action.do != "think"] == ["copy"]
    by_name = {one.name: one for one in score(found, sessions_of(made, MADE))}
    assert (by_name["bytes written"].fitted, by_name["bytes written"].apart) == (5 * 60_000, 0)
    nothing = TraceBuilder()
    for number in range(5):
        read_whole(nothing, f"in/a{number}", 60_000, 60_000)
    other = sessions_of(open_trace(nothing.save(tmp_path / "N.iotrace")), ["/data/job"])
    assert {one.name for one in score(found, other) if not one.within} >= {"bytes written"}


def test_what_is_copied_in_from_elsewhere_is_written(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for number in range(5):
        copied(trace, f"/elsewhere/a{number}", f"in/a{number}")
    profile, made = made_from(open_trace(trace.save(tmp_path / "T.iotrace")), ["/data/job"], tmp_path)
    assert [action.do for action in profile.phases[0].actions if action.do != "think"] == ["write"]
    events = made.events()
    assert events[events["op"] == "write"]["result"].sum() == 5 * 60_000


def copied(trace: TraceBuilder, source: str, target: str) -> None:
    """One file copied as cp does: in one call, and another one that says that this was all."""
    begin = trace.open(source, size=60_000)
    end = trace.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, existed=False, mode=0o644)
    for offset, moved in ((0, 60_000), (60_000, 0)):
        trace.on(
            "copy_file_range", begin, source, offset=offset, size=1 << 62, result=moved, other_open=end,
            other_file=trace.file(target), other_path=trace.path(target), other_offset=offset,
        )  # fmt: skip
    trace.close(end, target)
    trace.close(begin, source)


def test_what_is_read_of_a_file_in_part_is_not_asked_for_beyond_that(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for number in range(6):
        name = f"m{number}.mrc"
        file = trace.open(name, size=100_000)
        for offset, size in ((0, 30_000), (30_000, 30_000), (60_000, 10_000)):
            trace.read(file, name, offset, size)
        trace.close(file, name)
    _, made = made_from(open_trace(trace.save(tmp_path / "T.iotrace")), ["/data/job"], tmp_path)
    events = made.events()
    reads = events[events["op"] == "read"]
    assert reads["result"].sum() == 6 * 70_000
    assert (reads["size"] == reads["result"]).all()


def test_a_fitted_job_takes_as_long_as_the_recorded_one_from_its_start_and_thinks_as_long(tmp_path: Path) -> None:
    """A second until the first file, a log over the whole time, forty items of 50 ms of which 10 ms are waited."""
    trace = TraceBuilder()
    trace.named("stat", "/usr/lib/x.so", at=0)
    log = trace.open("log", os.O_WRONLY | os.O_CREAT, existed=False, mode=0o644, at=1_000_000_000)
    trace.write(log, "log", 0, 80)
    for number in range(40):
        name, start = f"m{number:02d}.mrc", 1_000_000_000 + 50_000_000 * (number + 1)
        file = trace.open(name, size=4000, at=start, off_cpu_ns=10_000_000)
        trace.read(file, name, 0, 4000)
        trace.close(file, name)
        trace.write(log, "log", 80 * (number + 1), 80)
    trace.close(log, "log")
    opened = open_trace(trace.save(tmp_path / "T.iotrace"))
    profile, made = made_from(opened, ["/data/job"], tmp_path)
    assert sessions_of(opened, ["/data/job"]).makespan_ns == pytest.approx(3e9, rel=0.02)
    assert sessions_of(made, MADE).makespan_ns == pytest.approx(3e9, rel=0.1)
    (phase,) = [one for one in profile.phases if any(action.file == "m_mrc" for action in one.actions)]
    (think,) = [action for action in phase.actions if action.do == "think"]
    assert profile.numbers[think.seconds].value == pytest.approx(0.05, rel=0.5)
    events = made.events()
    assert events["off_cpu_ns"].sum() == pytest.approx(0.4e9, rel=0.15)


@pytest.mark.bpf
@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
def test_a_recorded_tar_reads_each_file_once(tmp_path: Path) -> None:
    names = [f"in/f{number:02d}.bin" for number in range(60)]
    (tmp_path / "in").mkdir()
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes(20_000 + 997 * number))
    trace = recorded(["tar", "cf", "out.tar", "in"], tmp_path)
    folders = [trace.info.working_folder]
    profile, made = made_from(trace, folders, tmp_path)
    (phase,) = [one for one in profile.phases if any(action.do == "read" for action in one.actions)]
    (read,) = [action for action in phase.actions if action.do == "read"]
    assert (profile.numbers[phase.items].value, read.times) == (60, "1")
    events = made.events()
    opened = events[events["op"] == "read"].groupby("file")["open"].nunique()
    assert opened.tolist() == [1] * 60


@pytest.mark.bpf
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_profile_of_a_recorded_git_reads_nothing_that_is_not_there(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    for number in range(40):
        (tmp_path / f"f{number:02d}.bin").write_bytes(os.urandom(5_000 + 997 * number))
    person = "-c user.name=a -c user.email=a@example.org"
    trace = recorded(["sh", "-c", f"git add . && git {person} commit -qm x && git status && git gc -q"], tmp_path)
    _, made = made_from(trace, [trace.info.working_folder], tmp_path)
    run = run_replay(made, tmp_path, prefixes=["/data"], timing="asap").info.runs[0]
    assert (run.errors, run.errors_by) == (0, [])
    assert run.ops > 1000


def recorded(command: list[str], folder: Path) -> Trace:
    """The recording of a command that works in `folder`."""
    target = folder.parent / f"{folder.name}.iotrace"
    words = [sys.executable, "-m", "iotrace", "record", "--backend", "ebpf", "-o", str(target), "--", *command]
    subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=120)
    return open_trace(target)

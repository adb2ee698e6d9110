"""The ramp of users: which numbers are measured, where the knee is, and how sure that is."""

import json
import math
import subprocess
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from builders import TraceBuilder
from hypothesis import given
from hypothesis import strategies as st

from iotrace.cli import main
from iotrace.errors import StorageError, UsageError
from iotrace.replay.figures import UserTotals
from iotrace.replay.ramp import Knee, Level, climb, knee_of, parse_ramp
from iotrace.replay.ramp_command import level_of, ramp
from iotrace.replay.result import MountInfo, Result, Run, open_result
from iotrace.replay.run import run_replay
from iotrace.trace.reader import open_trace


def server(holds: float, noise: float = 0.0, seed: int = 1) -> tuple[list[int], "object"]:
    """A storage that serves so many users at once and no more; what it was asked, and how to ask it."""
    rng, asked = np.random.default_rng(seed), list[int]()

    def measure(users: int) -> Level:
        asked.append(users)
        times = max(1.0, users / holds) * (1 + noise * rng.standard_normal(8))
        return Level(users, times.tolist(), (100 * users / times).tolist())

    return asked, measure


@given(holds=st.floats(1, 200), most=st.integers(2, 256))
def test_the_knee_is_where_a_storage_that_holds_so_many_users_lets_go(holds: float, most: int) -> None:
    asked, measure = server(holds)
    found = climb(measure, 1, most, slack=0.25)  # type: ignore[arg-type]
    assert asked.pop() == 1  # once more at the end
    assert len(set(asked)) == len(asked) <= 2 * math.log2(most) + 6
    assert [level.users for level in found.levels] == sorted(asked)
    if most <= 1.25 * holds:
        assert found.users is None
    elif found.users is not None:
        # between the last number that is held and the first that is not
        held = max(n for n in asked if n <= 1.25 * holds)
        broken = min(n for n in asked if n > 1.25 * holds)
        assert held * (1 - 1e-9) <= found.users <= broken * (1 + 1e-9)  # it comes by way of logarithms
        assert broken - held <= max(1, held // 8)


def test_the_interval_holds_the_knee_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(100):
        _, measure = server(10, noise=0.05, seed=seed)
        found = climb(measure, 1, 64)  # type: ignore[arg-type]
        assert found.low is not None
        assert found.users is not None
        inside += found.low <= 12.5 <= (found.high if found.high is not None else math.inf)
    assert inside >= 80


def test_the_plateau_is_the_fewest_users_with_nearly_all_throughput() -> None:
    _, measure = server(8)
    found = climb(measure, 1, 64)  # type: ignore[arg-type]
    assert found.plateau_users == 8
    assert found.plateau_ops_per_s == pytest.approx(800)


def test_a_storage_that_holds_all_users_has_no_knee() -> None:
    levels = {n: Level(n, [1.0, 1.01, 0.99], [n * 10.0] * 3) for n in (1, 2, 4)}
    found = knee_of(levels)
    assert found.users is None
    assert found.plateau_users == 4
    assert msgspec.json.decode(msgspec.json.encode(found), type=Knee) == found


def test_fewer_than_five_runs_give_a_knee_without_an_interval() -> None:
    for runs, interval in ((1, False), (4, False), (5, True)):
        levels = {n: Level(n, [float(n)] * runs, [1.0] * runs) for n in (1, 2)}
        found = knee_of(levels)
        assert found.users == pytest.approx(2**0.25)
        assert found.interval is interval
        assert (found.low is None, found.high is None) == (not interval, not interval)


def test_others_are_held_against_the_fewest_of_both_times() -> None:
    times = iter([1.0, 1.8, 2.0])
    found = climb(lambda users: Level(users, [next(times)], [1.0]), 1, 2)
    assert found.again == Level(1, [2.0], [1.0])
    # 1.8 is more than 1.25 times the first, and no more than 1.25 times the median of both
    assert found.users is None


def test_a_user_who_begins_later_takes_no_longer() -> None:
    users = [UserTotals(0, "T", 0.0, 0.5, ops=50), UserTotals(1, "T", 1.0, 0.4, ops=50)]
    run = Run(run=0, round=0, fs="/a", mount=MountInfo(), started_utc="", wall_s=1.4, ops_per_s=71, users=users)
    level = level_of(2, [run], "R")
    assert (level.makespan_s, level.ops_per_s) == ([0.5], [225.0])


def test_a_ramp_that_a_cache_served_has_no_knee_of_a_storage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = Path("/dev/shm")
    if subprocess.run(["stat", "-f", "-c", "%T", memory], capture_output=True, text=True).stdout != "tmpfs\n":
        pytest.skip("no tmpfs at /dev/shm")
    b = TraceBuilder()
    o = b.open("a", size=1 << 20)
    b.read(o, "a", 0, 1 << 20, op="pread64")
    trace = b.save(tmp_path / "T.iotrace")
    out = tmp_path / "R"
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        words = ["replay", str(trace), "--fs", folder, "--timing", "asap", "--ramp", "users=1..2"]
        # with one user there is nobody to share with, and nobody to wait for
        assert main([*words, "--share-inputs", "--jitter", "0.01", "-o", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Not the storage's, but this client's: " in said
    assert "another mount: this one is memory" in said
    assert "No interval: 5 runs of each number" in said
    ramp = json.loads((out / "ramp.json").read_text())
    assert {level["verdict"] for level in [*ramp["levels"], ramp["again"]]} == {"client cache"}
    assert (out / "users-1-again.ioresult").is_dir()


@pytest.mark.parametrize(
    ("traces", "options", "ranks", "said"),
    [
        (1, ["--ramp", "users=1..2"], 4, "a launcher has started 4 ranks: leave out mpirun or srun"),
        (2, ["--ramp", "users=1..2"], 1, "for 2 traces: at least one user for each, as in --ramp users=2..4"),
        (1, ["--ramp", "users=1..2", "--keep"], 1, "--keep and --staged are for one user"),
    ],
)
def test_a_ramp_that_could_not_be_carried_out_is_refused_before_its_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], traces: int,
    options: list[str], ranks: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("PMI_SIZE", str(ranks))
    words = ["replay", *["T.iotrace"] * traces, "--fs", str(tmp_path), *options, "-o", str(tmp_path / "R")]
    assert main(words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "R").exists()


@pytest.mark.parametrize("text", ["users=1..1", "users=0..4", "users=8..2", "1..4", "users=1..", "lanes=1..4", ""])
def test_a_ramp_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--ramp"):
        parse_ramp(text)


def test_the_command_saves_a_result_for_each_number_and_says_where_the_knee_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    b = TraceBuilder()
    for number in range(40):
        b.named("newfstatat", f"f{number}", flags=0)
    trace = b.save(tmp_path / "T.iotrace")
    (tmp_path / "mount").mkdir()
    out = tmp_path / "R"
    words = ["replay", str(trace), "--fs", str(tmp_path / "mount"), "--timing", "asap", "--ramp", "users=1..2"]
    status = main([*words, "--repeat", "5", "--json", "-o", str(out)])
    said = json.loads(capsys.readouterr().out)
    assert status in (0, 1)
    assert [level["users"] for level in said["levels"]] == [1, 2]
    for level in said["levels"]:
        result = open_result(level["result"])
        assert [run.wall_s for run in result.info.runs] == level["makespan_s"]
        assert len(result.info.runs) == 5
        assert result.info.options["users"] == level["users"]
    assert json.loads((out / "ramp.json").read_text()) == said
    assert main([*words, "-o", str(out)]) == 2
    assert "exists already" in " ".join(capsys.readouterr().err.split())
    assert main([*words, "--users", "2", "-o", str(tmp_path / "S")]) == 2
    assert "leave out --users" in " ".join(capsys.readouterr().err.split())


def test_a_ramp_fails_where_a_check_found_differences(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.named("newfstatat", "f", flags=0)
    trace = open_trace(b.save(tmp_path / "T.iotrace"))
    (tmp_path / "mount").mkdir()

    def replay(users: int) -> Result:
        result = run_replay(trace, tmp_path / "mount", timing="asap", users=users)
        for run in result.info.runs:
            run.errors = 0
            run.fidelity["check"] = {"differences": ["read: 3 calls, 4 recorded"]}
        return result

    assert ramp("users=1..2", 0.25, tmp_path / "R", False, True, replay) == 1
    assert json.loads((tmp_path / "R" / "ramp.json").read_text())["levels"][0]["errors"] == 1


def test_a_ramp_that_is_refused_at_once_can_be_asked_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    b = TraceBuilder()
    o = b.open("a", size=4096)
    b.read(o, "a", 0, 4096, op="pread64")
    trace = b.save(tmp_path / "T.iotrace")
    (tmp_path / "mount").mkdir()
    words = ["replay", str(trace), "--fs", str(tmp_path / "mount"), "--ramp", "users=1..2", "--max-bytes", "1"]
    assert main([*words, "-o", str(tmp_path / "R")]) != 0
    assert "--max-bytes" in capsys.readouterr().err
    assert not (tmp_path / "R").exists()


def test_users_for_whom_a_mount_has_no_room_are_neither_held_nor_too_many() -> None:
    def measure(users: int) -> Level:
        if users > 4:
            raise StorageError("/mnt: no space left.")
        return Level(users, [1.0], [100.0 * users])

    found = climb(measure, 1, 64)
    assert [level.users for level in found.levels] == [1, 2, 4]
    assert (found.users, found.stopped) == (None, "/mnt: no space left.")
    with pytest.raises(StorageError):
        climb(measure, 5, 64)


@pytest.mark.parametrize("name", ["trace.json", "result.json"])
def test_a_ramp_makes_no_results_in_a_trace_or_a_result(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match="is a trace or a result"):
        ramp("users=1..2", 0.25, tmp_path, True, False, lambda users: pytest.fail(f"{users} users were run"))

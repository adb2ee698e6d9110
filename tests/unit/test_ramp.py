"""The ramp of users: which numbers are measured, where the knee is, and how sure that is."""

import json
import math
import re
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
from iotrace.replay.fleet import Fleet
from iotrace.replay.ramp import Knee, climb, knee_of, parse_ramp
from iotrace.replay.ramp_command import _table, knee_text, level_of, ramp
from iotrace.replay.ramp_levels import Level
from iotrace.replay.ramp_rules import Latency, Makespan, Rule, Throughput, rules_of
from iotrace.replay.result import MountInfo, Result, Run, open_result
from iotrace.replay.run import run_replay
from iotrace.trace.reader import open_trace


def server(holds: float, noise: float = 0.0, seed: int = 1) -> tuple[list[int], "object"]:
    """A storage that serves so many users at once and no more; what it was asked, and how to ask it."""
    rng, asked = np.random.default_rng(seed), list[int]()

    def measure(users: int) -> Level:
        asked.append(users)
        times = max(1.0, users / holds) * (1 + noise * rng.standard_normal(8))
        latency = {"p99": (5000 * times).tolist()}
        return Level(users, times.tolist(), (100 * users / times).tolist(), latency_us=latency)

    return asked, measure


@given(holds=st.floats(1, 200), most=st.integers(2, 256))
def test_the_knee_is_where_a_storage_that_holds_so_many_users_lets_go(holds: float, most: int) -> None:
    asked, measure = server(holds)
    found = climb(measure, 1, most, [Makespan(0.25)])  # type: ignore[arg-type]
    assert asked.pop() == 1  # once more at the end
    assert found.rule == ("" if found.users is None else "makespan")
    assert len(set(asked)) == len(asked) <= 2 * math.log2(most) + 6
    assert [level.users for level in found.levels] == sorted(asked)
    if most <= 1.25 * holds:
        assert found.users is None
    elif found.users is not None:
        # between the last number that is held and the first that is not
        held = max(n for n in asked if n <= 1.25 * holds)
        broken = min(n for n in asked if n > 1.25 * holds)
        assert held * (1 - 1e-9) <= found.users <= broken * (1 + 1e-9)  # it comes by way of logarithms
        assert broken - held <= max(1, held // 8) or found.users == pytest.approx(held)


@given(holds=st.floats(1, 200), most=st.integers(2, 256))
def test_the_knee_is_where_throughput_comes_near_the_height_that_it_keeps(holds: float, most: int) -> None:
    asked, measure = server(holds)
    found = climb(measure, 1, most)  # type: ignore[arg-type]
    near = holds / 1.1
    if found.users is None:
        # to say that it grows no more takes a doubling in which it does not
        assert most < 4 * holds
        assert (found.rule, found.ended) == ("", "")
    else:
        assert (found.rule, found.rules) == ("throughput", {"throughput": 0.1})
        assert abs(found.users - near) <= max(1, near / 6)
        assert max(asked) <= max(2, 4 * holds)


RULES: dict[str, Rule] = {"throughput": Throughput(), "makespan": Makespan(0.25), "p99": Latency(6250.0)}


@pytest.mark.parametrize(("key", "knee"), [("throughput", 10 / 1.1), ("makespan", 12.5), ("p99", 12.5)])
def test_the_interval_holds_the_knee_as_often_as_it_says(key: str, knee: float) -> None:
    inside = 0
    for seed in range(50):
        _, measure = server(10, noise=0.05, seed=seed)
        found = climb(measure, 1, 64, [RULES[key]])  # type: ignore[arg-type]
        assert found.low is not None
        assert found.users is not None
        assert found.rule == key
        inside += found.low <= knee <= (found.high if found.high is not None else math.inf)
    assert inside >= 40


def test_the_rule_whose_interval_lies_beyond_what_it_allows_ends_a_ramp_and_says_with_what() -> None:
    asked, measure = server(10, noise=0.02)
    found = climb(measure, 1, 64, [Throughput(), Makespan(0.25), Latency(7000.0)])  # type: ignore[arg-type]
    # 16 users take 1.6 times as long, and bring a quarter more throughput than 8
    assert (max(asked), found.rule) == (16, "makespan")
    assert found.ended.startswith("the makespan was 1.")
    assert "more than 1.25 times" in found.ended
    assert found.rules == {"throughput": 0.1, "makespan": 0.25, "p99": 7000.0}
    asked, measure = server(10, noise=0.02)
    found = climb(measure, 1, 64, [Latency(20_000.0), Throughput()])  # type: ignore[arg-type]
    assert (max(asked), found.rule) == (32, "throughput")
    assert "for each doubling from 16 to 32 users, no more than 10 %" in found.ended
    asked, measure = server(10, noise=0.02)
    found = climb(measure, 1, 64, [Latency(7_500.0), Throughput()])  # type: ignore[arg-type]
    assert (max(asked), found.rule) == (16, "p99")
    assert found.ended.startswith("p99 of all operations was ")
    assert "more than 7.50 ms" in found.ended
    assert found.users == pytest.approx(15, rel=0.05)


def test_a_bound_that_medians_pass_and_intervals_do_not_ends_no_ramp() -> None:
    wide = [5.0, 5.0, 5.0, 30.0, 30.0, 30.0, 30.0]
    asked = []

    def measure(users: int) -> Level:
        asked.append(users)
        latency = [1.0] * 7 if users < 4 else wide if users == 4 else [50.0] * 7
        return Level(users, [1.0] * 7, [100.0 * users] * 7, latency_us={"p99": latency})

    found = climb(measure, 1, 64, [Latency(20.0)])
    assert max(asked) == 8
    assert found.users is not None
    # what was not sure at 4 users is in the interval
    assert found.low is not None
    assert found.low < 4 < (found.high or 0)


def test_a_bound_that_the_fewest_users_pass_puts_the_knee_below_them() -> None:
    found = climb(lambda users: Level(users, [1.0], [1.0], latency_us={"p99": [30.0]}), 2, 8, [Latency(20.0)])
    assert (found.users, found.rule, [level.users for level in found.levels]) == (0.0, "p99", [2])
    assert knee_text(found, [Latency(20.0)]) == (
        "Knee: fewer than 2 users; already then p99 of all operations is above 20.0 µs."
    )


def test_a_storage_that_one_user_fills_has_its_knee_at_most_there() -> None:
    _, measure = server(1)
    found = climb(measure, 1, 8)  # type: ignore[arg-type]
    assert (found.users, found.ended[:28]) == (1.0, "throughput grew by 0 % (95 %")
    assert knee_text(found, [Throughput()]).startswith("Knee: at most 1 user (95 %: 1 to 1); beyond, no number")


def test_the_more_runs_differ_the_more_doublings_it_takes_to_see_a_plateau() -> None:
    users = [4, 8, 16, 32, 64]
    for noise, ends_at in ((0.01, 8), (0.06, 16), (0.12, 64)):
        drawn = np.random.default_rng(1).lognormal(0, noise, (5, 2000))
        ended = [number for at, number in enumerate(users) if Throughput().broken(users[: at + 1], drawn[: at + 1])]
        assert ended[0] == ends_at


def test_throughput_that_falls_with_more_users_is_a_plateau_too() -> None:
    speed = {1: 100.0, 2: 200.0, 3: 300.0, 4: 400.0, 8: 200.0}
    found = climb(lambda users: Level(users, [1.0] * 5, [speed[users]] * 5), 1, 8)
    assert (found.rule, found.plateau_users) == ("throughput", 4)
    assert found.users == pytest.approx(3 * (4 / 3) ** 0.636, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("p99=20ms", Latency(20_000.0)), ("read.p99.9=500us", Latency(500.0, 0.999, "read")),
        ("metadata.p999=1.5s", Latency(1.5e6, 0.999, "metadata")), ("p50=3µs", Latency(3.0, 0.5)),
    ],
)  # fmt: skip
def test_a_bound_names_percentile_time_and_class(text: str, rule: Latency) -> None:
    assert rules_of([text], None, 0.1) == [rule, Throughput(0.1)]


@pytest.mark.parametrize(
    ("bounds", "slack", "gain", "said"),
    [
        (["p99"], None, 0.1, "as in p99=20ms"), (["p99=20"], None, 0.1, "as in p99=20ms"),
        (["p00=1ms"], None, 0.1, "as in p99=20ms"), (["p99=0ms"], None, 0.1, "as in p99=20ms"),
        (["fsync.p99=1ms"], None, 0.1, "a class is one of read, write"),
        (["p99=1ms", "p99=2ms"], None, 0.1, "one bound for each"),
        ([], 0.0, 0.1, "--ramp-slack 0"), ([], None, 0.0, "--ramp-plateau 0"), ([], None, 1.5, "--ramp-plateau 1.5"),
    ],
)  # fmt: skip
def test_rules_that_make_no_sense_are_refused(bounds: list[str], slack: float | None, gain: float, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        rules_of(bounds, slack, gain)


def test_the_plateau_is_the_fewest_users_with_nearly_all_throughput() -> None:
    _, measure = server(8)
    found = climb(measure, 1, 64)  # type: ignore[arg-type]
    assert found.plateau_users == 8
    assert found.plateau_ops_per_s == pytest.approx(800)


def test_a_storage_that_holds_all_users_has_no_knee() -> None:
    levels = {n: Level(n, [1.0, 1.01, 0.99], [n * 10.0] * 3) for n in (1, 2, 4)}
    rules: list[Rule] = [Latency(20_000.0, kind="read"), Makespan(0.25), Throughput()]
    levels = {n: msgspec.structs.replace(one, latency_us={"read.p99": [9.0] * 3}) for n, one in levels.items()}
    found = knee_of(levels, rules)
    assert (found.users, found.rule) == (None, "")
    assert found.plateau_users == 4
    assert knee_text(found, rules) == (
        "No knee: p99 of read operations stays within 20.0 ms, 4 users take no more than 1.25 times as long as 1, "
        "throughput still grows by more than 10 % for each doubling."
    )
    assert msgspec.json.decode(msgspec.json.encode(found), type=Knee) == found


def test_a_knee_that_goes_with_the_runs_at_the_end_is_told_as_that() -> None:
    levels = {1: Level(1, [1.0] * 2, [100.0] * 2), 2: Level(2, [2.0] * 2, [101.0] * 2)}
    ended = [(Throughput(), "throughput grew by 1 %")]
    assert knee_of(levels, ending=ended).users == 1
    found = knee_of(levels, ending=ended, again=Level(1, [3.0] * 3, [33.0] * 3))
    assert knee_text(found, [Throughput()]) == (
        "No knee: with the runs of 1 user at the end counted too, throughput still grows by more than 10 % for each "
        "doubling."
    )


def test_fewer_than_five_runs_give_a_knee_without_an_interval() -> None:
    for runs, interval in ((1, False), (4, False), (5, True)):
        levels = {n: Level(n, [float(n)] * runs, [1.0] * runs) for n in (1, 2)}
        found = knee_of(levels, [Makespan(0.25)])
        assert found.users == pytest.approx(2**0.25)
        assert found.interval is interval
        assert (found.low is None, found.high is None) == (not interval, not interval)


def test_others_are_held_against_the_fewest_of_both_times() -> None:
    times = iter([1.0, 1.8, 2.0])
    found = climb(lambda users: Level(users, [next(times)], [1.0]), 1, 2, [Makespan(0.25)])
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
    printed = capsys.readouterr()
    assert printed.err.count("is tmpfs: This is memory") == 1
    said = " ".join(printed.out.split())
    assert "Not the storage's, but this client's: " in said
    assert "another mount: this one is memory" in said
    assert "No interval: 5 runs of each number" in said
    ramp = json.loads((out / "ramp.json").read_text())
    assert {level["verdict"] for level in [*ramp["levels"], ramp["again"]]} == {"client cache"}
    assert (out / "users-1-again.ioresult").is_dir()


@pytest.mark.parametrize(("width", "gone"), [(130, set()), (95, {"least … most"}), (80, {"least … most", "× fewest"})])
def test_the_table_of_a_ramp_fits_a_narrow_terminal(width: int, gone: set[str]) -> None:
    level = Level(1, [0.0526], [3419.0], 0, "slow", "R", "client cache", {"p99": [537.0], "read.p99.9": [28_700.0]})
    knee = knee_of({1: level, 2: msgspec.structs.replace(level, users=2)}, again=level)
    lines = _table(knee, width).plain.splitlines()
    assert max(map(len, lines)) <= width
    assert {name for name in ("makespan", "least … most", "× fewest", "cache guard") if name not in lines[0]} == gone


@pytest.mark.parametrize(
    ("traces", "options", "said"),
    [
        (2, ["--ramp", "users=1..2"], "for 2 traces: at least one user for each, as in --ramp users=2..4"),
        (1, ["--ramp", "users=1..2", "--keep"], "--keep and --staged are for one user"),
        (1, ["--ramp", "users=1..2", "--latency-bound", "p99"], "--latency-bound p99: give a percentile"),
        (1, ["--latency-bound", "p99=20ms"], "end a ramp: say of which users, as in --ramp users=1..64"),
    ],
)
def test_a_ramp_that_could_not_be_carried_out_is_refused_before_its_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], traces: int, options: list[str], said: str
) -> None:
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
    rules = ["--latency-bound", "p99=1000s", "--latency-bound", "metadata.p50=1000s", "--ramp-slack", "10"]
    status = main([*words, *rules, "--repeat", "5", "--json", "-o", str(out)])
    said = json.loads(capsys.readouterr().out)
    assert status in (0, 1)
    assert [level["users"] for level in said["levels"]] == [1, 2]
    for level in said["levels"]:
        result = open_result(level["result"])
        assert [run.wall_s for run in result.info.runs] == level["makespan_s"]
        assert len(result.info.runs) == 5
        p50 = [run.by_op["newfstatat"].p50_us for run in result.info.runs]
        assert level["latency_us"]["metadata.p50"] == p50
        assert set(level["latency_us"]) == {"p99", "metadata.p50"}
        assert result.info.options["users"] == level["users"]
    assert json.loads((out / "ramp.json").read_text()) == said
    assert said["rules"] == {"p99": 1e9, "metadata.p50": 1e9, "makespan": 10, "throughput": 0.1}
    assert main([*words, "--latency-bound", "write.p99=1s", "-o", str(tmp_path / "U")]) == 2
    assert "no write operations are replayed; there are metadata" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "U").exists()
    assert main([*words, "-o", str(out)]) == 2
    assert "exists already" in " ".join(capsys.readouterr().err.split())
    assert main([*words, "--users", "2", "-o", str(tmp_path / "S")]) == 2
    assert "leave out --users" in " ".join(capsys.readouterr().err.split())


def test_a_ramp_fails_where_a_check_found_differences(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.named("newfstatat", "f", flags=0)
    trace = open_trace(b.save(tmp_path / "T.iotrace"))
    (tmp_path / "mount").mkdir()

    def replay(users: int, fleet: Fleet | None) -> Result:
        result = run_replay(trace, tmp_path / "mount", timing="asap", users=users)
        for run in result.info.runs:
            run.errors = 0
            run.fidelity["check"] = {"differences": ["read: 3 calls, 4 recorded"]}
        return result

    assert ramp((1, 2), [Throughput()], tmp_path / "R", False, True, replay) == 1
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
        ramp((1, 2), [Throughput()], tmp_path, True, False, lambda users, _: pytest.fail(f"{users} users were run"))

"""Several users at a time: trees of their own or shared inputs, delays, mixes of traces, the machine's limits."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from builders import TraceBuilder
from commands import Forked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobs import SIZE, job
from trees import in_tree

from iotrace.errors import ReplayError, UsageError
from iotrace.replay import limits
from iotrace.replay import run as running
from iotrace.replay.clones import Clone
from iotrace.replay.crew import Start, run_clones
from iotrace.replay.inputs import shared_files
from iotrace.replay.plan import build_plan
from iotrace.replay.run import run_replay
from iotrace.replay.work import plan_of
from iotrace.trace.reader import open_trace

Seen = list[list[tuple[Path, int, int]]]


@pytest.fixture
def movies(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Of each movie before each run: tree, inode, size."""
    found: Seen = []

    def note(clones: Sequence[Clone], *rest: Any) -> Any:
        trees = [clone.ground.folder for clone in clones]
        statuses = [(tree, path.stat()) for tree in trees for path in sorted(tree.rglob("*.tif"))]
        found.append([(tree, status.st_ino, status.st_size) for tree, status in statuses])
        return run_clones(clones, *rest)

    monkeypatch.setattr(running, "run_clones", note)
    return found


def test_each_user_has_a_tree_of_its_own_and_all_are_removed(
    tmp_path: Path, movies: list[list[tuple[Path, int, int]]]
) -> None:
    alone = run_replay(job(tmp_path), tmp_path, timing="asap").info.runs[0]
    result = run_replay(tmp_path / "T.iotrace", tmp_path, timing="asap", users=3, repeat=2)
    for run in result.info.runs:
        assert (run.ops, run.errors, run.bytes_read) == (3 * alone.ops, 0, 3 * alone.bytes_read)
        assert (run.staged_bytes, run.staged_files) == (6 * SIZE, 3 * alone.staged_files)
        assert [user.ops for user in run.users] == [alone.ops] * 3
        assert all(0 < user.wall_s <= run.wall_s for user in run.users)
    frame = result.histograms()
    assert frame.groupby(["run", "user"])["count"].sum().tolist() == [alone.ops] * 6
    assert frame["user"].nunique() == 3
    assert [len({tree for tree, _, _ in run}) for run in movies] == [1, 3, 3]
    assert len({inode for _, inode, _ in movies[1]}) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["T.iotrace"]


def test_shared_inputs_are_there_once_also_after_a_run_took_them_away(
    tmp_path: Path, movies: list[list[tuple[Path, int, int]]]
) -> None:
    result = run_replay(job(tmp_path), tmp_path, timing="asap", users=4, share_inputs=True, repeat=3, verify=True)
    assert [run.errors for run in result.info.runs] == [0, 0, 0]
    assert result.info.runs[0].staged_bytes == 2 * SIZE
    assert [len(run) for run in movies] == [8, 8, 8]
    # each run renames the second movie: the next one has it again, and no user a copy of its own
    for run in movies:
        assert {size for _, _, size in run} == {SIZE}
        assert len({inode for _, inode, _ in run}) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["T.iotrace"]


def test_what_a_run_changes_by_another_name_is_not_shared(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for name in ("cut", "kept"):
        trace.read(trace.open(name, size=9000), name, 0, 9000)
    trace.named("symlink", "alias", "cut", seen=False)
    trace.named("truncate", "alias", seen=False, size=100)
    trace.named("rename", "kept", "moved", seen=False)
    plan = build_plan(open_trace(trace.save(tmp_path / "T.iotrace")))
    names = {file.file: position for position, file in enumerate(plan.snapshot.files)}
    assert shared_files(plan) == {names[1]}


def test_users_begin_within_the_jitter_and_the_same_seed_gives_the_same_delays(tmp_path: Path) -> None:
    trace = job(tmp_path)
    one, again, other = (
        run_replay(trace, tmp_path, timing="asap", users=5, jitter=0.4, seed=seed).info.runs[0] for seed in (1, 1, 2)
    )
    delays = [user.delay_s for user in one.users]
    assert delays[0] == 0
    assert max(delays) <= 0.4
    assert min(delays[1:]) > 0
    assert [user.delay_s for user in again.users] == delays != [user.delay_s for user in other.users]
    assert max(delays) <= one.wall_s
    assert one.first_done_user == 0
    # the last two begin within a millisecond of each other
    assert one.users[one.last_done_user].delay_s in sorted(delays)[-2:]


def test_a_mix_deals_the_traces_out_to_the_users(tmp_path: Path) -> None:
    first = job(tmp_path)
    trace = TraceBuilder()
    for _ in range(3):
        trace.named("stat", "x")
    second = trace.save(tmp_path / "S.iotrace")
    result = run_replay([first, second], tmp_path, timing="asap", users=3)
    assert result.info.source == "T.iotrace + S.iotrace"
    run = result.info.runs[0]
    assert [user.source for user in run.users] == ["T.iotrace", "S.iotrace", "T.iotrace"]
    assert run.by_op["stat"].calls == 3
    assert run.by_op["rename"].calls == 2
    assert run.errors == 0
    twice = run_replay([first, second], tmp_path, timing="asap").info
    assert len(twice.runs[0].users) == 2
    hashes = {result.info.plan_hash, twice.plan_hash, run_replay(first, tmp_path, timing="asap").info.plan_hash}
    assert len(hashes) == 3


def test_a_trace_named_twice_is_planned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[str] = []

    def note(trace: Any, *rest: Any) -> Any:
        planned.append(trace.folder.name)
        return plan_of(trace, *rest)

    monkeypatch.setattr(running, "plan_of", note)
    first, second = job(tmp_path, "A"), job(tmp_path, "B", at=5)
    info = run_replay([first, second, first], tmp_path, timing="asap").info
    assert planned == ["A.iotrace", "B.iotrace"]
    assert [user.ops for user in info.runs[0].users] == [10, 11, 10]


def test_the_time_without_io_is_that_of_the_user_who_ends_last(tmp_path: Path) -> None:
    trace = job(tmp_path, at=300_000_000)
    result = run_replay(trace, tmp_path, users=3, jitter=0.3)
    delays = [user.delay_s for user in result.info.runs[0].users]
    assert result.info.without_io is not None
    assert result.info.without_io.makespan_s == pytest.approx(0.3 + max(delays), abs=0.01)
    half = run_replay(trace, tmp_path, think_scale=0.5)
    assert half.info.without_io is not None
    assert half.info.without_io.makespan_s == pytest.approx(0.15, abs=0.01)
    assert 0.15 <= half.info.runs[0].wall_s < 0.29
    null = run_replay(trace, users=2, null=True, think_scale=2.0).info.runs[0]
    assert (len(null.users), null.errors) == (2, 0)
    assert 0.6 <= null.wall_s < 0.9


CALL = st.tuples(
    st.sampled_from("abcd"), st.sampled_from(("read", "write", "truncate", "chmod", "unlink", "rename", "link"))
)  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CALL, min_size=1, max_size=8))
def test_no_shared_file_is_changed_by_any_user(calls: list[tuple[str, str]]) -> None:
    trace = TraceBuilder()
    size = dict.fromkeys("abcd", 5000)
    for turn, (name, what) in enumerate(calls):
        if name not in size:
            continue
        if what in ("read", "write"):
            file = trace.open(name, os.O_RDONLY if what == "read" else os.O_WRONLY | os.O_APPEND, size=5000)
            if what == "read":
                trace.read(file, name, 0, 10_000, result=size[name])
            else:
                trace.write(file, name, size[name], 100)
                size[name] += 100
            trace.close(file, name)
            continue
        trace.file(name, size=5000)
        if what == "truncate":
            size[name] = 10
            trace.named("truncate", name, size=10)
        elif what == "chmod":
            trace.named("chmod", name, mode=0o600)
        elif what == "unlink":
            del size[name]
            trace.named("unlink", name)
        else:
            trace.named(what, name, f"new{turn}", file=trace.file(name))
            if what == "rename":
                del size[name]
    shared: dict[int, tuple[int, int, str]] = {}
    changed: list[str] = []

    def look(clones: Sequence[Clone], *rest: Any) -> Any:
        trees = [clone.ground.folder for clone in clones]
        shared.update(
            (path.stat().st_ino, state(path)) for path in files_of(trees) if path.stat().st_nlink == len(clones)
        )
        outcome = run_clones(clones, *rest)
        changed.extend(
            str(path) for path in files_of(trees) if shared.get(path.stat().st_ino, state(path)) != state(path)
        )
        return outcome

    with tempfile.TemporaryDirectory(prefix="users-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "run_clones", look)
        saved = trace.save(Path(folder) / "T.iotrace")
        run = run_replay(saved, folder, timing="asap", users=2, share_inputs=True).info.runs[0]
    assert changed == []
    assert run.errors == 0
    written = {name for name, what in calls if what in ("write", "truncate", "chmod")}
    assert len(shared) >= len({name for name, what in calls if what == "read"} - written)


def files_of(trees: Sequence[Path]) -> list[Path]:
    return [path for tree in trees for path in in_tree(tree) if path.is_file()]


def state(path: Path) -> tuple[int, int, str]:
    status = path.stat()
    return status.st_size, status.st_mode, hashlib.sha256(path.read_bytes()).hexdigest()


def naps_of_children() -> int:
    """How often the threads of this process's children have given their CPUs away."""
    folders = (Path(f"/proc/{child.pid}/task") for child in psutil.Process().children(recursive=True))
    texts = (status.read_text() for folder in folders for status in folder.glob("*/status"))
    return sum(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in texts)


@pytest.mark.parametrize("engine", ["psync", "uring"])
def test_the_wait_for_the_start_is_no_work_of_the_run_and_loads_no_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    naps: list[int] = []

    def late(
        clones: Sequence[Clone], options: Any, asked: Any, tell: Any, start: Start, group: Any
    ) -> Any:  # fmt: skip
        def begin(wake: Callable[[], None]) -> int:
            before = naps_of_children()
            time.sleep(1)
            naps.append(naps_of_children() - before)
            return start(wake)

        return run_clones(clones, options, asked, tell, begin, group)

    monkeypatch.setattr(running, "run_clones", late)
    run = run_replay(job(tmp_path), tmp_path, timing="asap", users=8, engine=engine).info.runs[0]
    # a lane that sleeps looks up twenty times in that second, one that polls some 10,000 times; that lanes nap in the
    # milliseconds right before a run is meant
    assert 0 < naps[0] < 2000
    assert 0 < run.cpu_s <= len(os.sched_getaffinity(0)) * run.wall_s


def test_more_users_than_the_machine_allows_are_refused_with_how_many_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = job(tmp_path)
    monkeypatch.setattr(limits, "_thread_limits", lambda: iter([(40, "sysctl kernel.threads-max")]))
    said = (
        r"100 users need 200 processes and threads, and this machine allows 40 more \(sysctl .*\): at most --users 20\."
    )
    with pytest.raises(ReplayError, match=said):
        run_replay(trace, tmp_path, users=100)
    run_replay(trace, tmp_path, users=20, timing="asap")
    monkeypatch.setattr(limits, "_WORKER_BYTES", 1 << 50)
    with pytest.raises(ReplayError, match=r"2 users need .*PB of memory, and this machine allows"):
        run_replay(trace, tmp_path, users=2)
    assert [path.name for path in tmp_path.iterdir()] == ["T.iotrace"]


def test_the_limits_of_this_machine_are_numbers() -> None:
    found = list(limits._thread_limits())
    assert found
    assert all(room > 0 and text for room, text in found)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to make a control group")
def test_a_control_group_that_is_too_small_is_named(tmp_path: Path) -> None:
    root = next((folder for folder in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))
                 if (folder / "cgroup.procs").exists()), None)  # fmt: skip
    if root is None:
        pytest.skip("no control groups here")
    group = root / f"iotrace-users-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if not (group / "pids.max").exists():
            pytest.skip("no pids controller here")
        (group / "pids.max").write_text("60")
        done = Forked(
            "replay", job(tmp_path), "--fs", tmp_path, "--users", "99", cwd=tmp_path,
            first=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        ).end()  # fmt: skip
        assert done.returncode == 1
        assert f"({group}/pids.max): at most --users " in done.stderr
        assert done.stderr.count("\n") == 1
    finally:
        deadline = time.monotonic() + 10
        while group.exists() and time.monotonic() < deadline:
            try:
                group.rmdir()
            except OSError:
                time.sleep(0.05)


def test_ctrl_c_removes_the_trees_of_all_users(tmp_path: Path) -> None:
    trace = job(tmp_path, at=10**13)
    fs = tmp_path / "fs"
    fs.mkdir()
    process = Forked("replay", trace, "--fs", fs, "--users", "3", "-o", "R", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while len(list(fs.glob("iotrace-*"))) < 3 or len(psutil.Process(process.pid).children()) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(list(fs.iterdir())) == 3
    process.signal(signal.SIGINT)
    ended = process.end(30)
    assert (ended.returncode, ended.stderr.count("\n")) == (130, 1)
    assert list(fs.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"users": 0}, "--users 0"),
        ({"users": 2, "keep": True}, "--keep is for one user"),
        ({"share_inputs": True}, "--share-inputs and --jitter are for several users"),
        ({"users": 2, "jitter": -1.0}, "--jitter -1.0"),
        ({"users": 2, "jitter": float("nan")}, "--jitter nan"),
        ({"think_scale": 0.0}, "--think-scale 0.0"),
        ({"think_scale": 0.5, "timing": "asap"}, "--think-scale goes with --timing think"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run_replay(job(tmp_path), tmp_path, **options)


def test_fewer_users_than_traces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--users 1 for 2 traces"):
        run_replay([job(tmp_path), job(tmp_path, "S")], tmp_path, users=1)

"""A replay by several ranks of MPI: one result of all, one start, one end; needs mpi4py and mpich."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import SIZE, job

from iotrace.replay.result import open_result
from iotrace.replay.run import run_replay

pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install 'iotrace[mpi]'")
MPIRUN = Path(sys.executable).parent / "mpirun"
pytestmark = pytest.mark.skipif(not MPIRUN.exists(), reason="mpich is not installed: pip install 'iotrace[mpi]'")
ROOT = Path(__file__).parent.parent.parent
MAIN = "import sys; from iotrace.cli import main; sys.exit(main())"


def command(ranks: int, *words: str | Path, launcher: bool = True) -> list[str]:
    head = [str(MPIRUN), "-n", str(ranks)] if launcher else []
    return [*head, sys.executable, "-c", MAIN, "replay", *map(str, words)]


def run(ranks: int, *words: str | Path, launcher: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command(ranks, *words, launcher=launcher), env=environment, capture_output=True, text=True, timeout=120
    )


def test_four_ranks_share_six_users_and_give_one_result(tmp_path: Path) -> None:
    trace, mount = job(tmp_path), tmp_path / "mnt"
    mount.mkdir()
    alone = run_replay(trace, mount, timing="asap").info.runs[0]
    target = tmp_path / "R.ioresult"
    words = ["--fs", mount, "--timing", "asap", "--users", "6", "--repeat", "2", "--verify", "--json", "-o", target]
    done = run(4, trace, *map(str, words))
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert len(printed["runs"]) == 2
    result = open_result(target)
    for found in result.info.runs:
        assert (found.ops, found.errors) == (6 * alone.ops, 0)
        assert found.staged_bytes == 12 * SIZE
        assert found.verified is not None
        assert found.verified.checked_bytes == 6 * (2 * SIZE + 5000)
        assert [rank.users for rank in found.ranks] == [2, 2, 1, 1]
        assert [rank.ops for rank in found.ranks] == [users * alone.ops for users in (2, 2, 1, 1)]
        assert max(rank.last_done_s for rank in found.ranks) == found.last_done_s <= found.wall_s + 1e-6
        assert min(rank.first_done_s for rank in found.ranks) == found.first_done_s
        # both nodes are one: what its counters say is no multiple, and what each rank needed is its own
        assert found.guard is not None
        assert (
            found.guard.needed_bytes
            == 6 * 2 * SIZE
            == sum(rank.guard.needed_bytes for rank in found.ranks if rank.guard)
        )
        assert f"Of 4 ranks: 4 {found.guard.verdict}" in found.guard.why
        assert all(rank.guard and rank.counters and rank.sync_s for rank in found.ranks)
        assert {(one.source, one.nodes) for one in found.counters} == {
            (one.source, 1) for rank in found.ranks for one in rank.counters
        }
        # they looked at one machine at nearly the same time
        (busy,) = (one.during["busy_ms"] for one in found.counters if one.source.startswith("processors"))
        by_rank = [
            one.during["busy_ms"]
            for rank in found.ranks for one in rank.counters if one.source.startswith("processors")
        ]  # fmt: skip
        assert max(by_rank) == busy < sum(by_rank)
        # one machine has one clock: what is found of it must be within what is said to be known
        for rank in found.ranks:
            assert abs(rank.clock_offset_ms) * 1e3 <= rank.clock_uncertainty_us + 200
    frame = result.histograms()
    assert frame.groupby(["run", "user"])["count"].sum().tolist() == [alone.ops] * 12
    assert result.intervals()["ops"].sum() == 12 * alone.ops
    assert set(result.counters().groupby("run")["rank"].unique().map(frozenset)) == {frozenset(range(4))}
    assert result.info.options["ranks"] == 4
    assert list(mount.iterdir()) == []


def test_a_rank_replays_on_trees_that_another_rank_has_made(tmp_path: Path) -> None:
    trace, mount = job(tmp_path), tmp_path / "mnt"
    mount.mkdir()
    words: list[str | Path] = [trace, "--fs", mount, "--timing", "asap", "--users", "5", "--repeat", "2", "--verify"]
    line = [str(MPIRUN)]
    for number in range(3):
        line += [":"] * bool(number) + ["-n", "1", "-env", "SLURMD_NODENAME", f"node{number}"]
        line += command(0, *words, "-o", tmp_path / "R.ioresult", launcher=False)
    done = subprocess.run(
        line, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for run in open_result(tmp_path / "R.ioresult").info.runs:
        assert run.errors == 0
        assert [rank.users for rank in run.ranks] == [2, 2, 1]
        assert [rank.staged_by for rank in run.ranks] == [["node2"], ["node0"], ["node1"]]
        assert run.conditions is not None
        assert run.conditions.staged_by == run.conditions.read_by == ["node0", "node1", "node2"]
        assert not run.conditions.staged_by_reader
    assert "each of which read what another had staged" in " ".join(done.stdout.split())
    assert list(mount.iterdir()) == []


@pytest.mark.parametrize("launched", [True, False])
def test_a_world_of_another_size_is_refused(tmp_path: Path, launched: bool) -> None:
    words: list[str | Path] = [job(tmp_path), "--fs", tmp_path, "--ranks", "3", "-o", tmp_path / "R.ioresult"]
    done = run(2, *words, launcher=launched)
    assert done.returncode == 2
    size = 2 if launched else 1
    assert done.stderr.count(f"3 ranks were to replay together, and MPI's world has {size}") == 1
    assert not (tmp_path / "R.ioresult").exists()


def test_ranks_that_do_not_replay_the_same_are_refused_by_name(tmp_path: Path) -> None:
    first, second = job(tmp_path), job(tmp_path, "S", at=5)
    tail = command(0, "--fs", tmp_path, "-o", tmp_path / "R.ioresult", launcher=False)
    line = [str(MPIRUN), "-n", "1", *tail, str(first), ":", "-n", "1", *tail, str(second)]
    done = subprocess.run(
        line, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.count("ranks do not replay the same: plan is ") == 1
    assert not list(tmp_path.glob("iotrace-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize(
    ("mounted", "said"),
    [
        # the second node has not mounted it; both have one of their own, of which mountinfo tells the same
        ((True, False), "ranks do not replay the same: what {mount} is on is tmpfs (e, from its / on) on rank 0 ("),
        ((True, True), "which another rank has made on "),
    ],
)
def test_a_mount_that_is_not_the_same_on_all_nodes_is_named(
    tmp_path: Path, mounted: tuple[bool, bool], said: str
) -> None:
    trace, mount = job(tmp_path), tmp_path / "mnt"
    mount.mkdir()
    tail = command(0, trace, "--fs", mount, "--timing", "asap", "-o", tmp_path / "R.ioresult", launcher=False)
    apart = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs e {mount} && exec "$@"', "sh"]
    line = [str(MPIRUN)]
    for number, one in enumerate(mounted):
        line += [":"] * bool(number) + ["-n", "1", *(apart if one else []), *tail]
    done = subprocess.run(
        line, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert said.format(mount=mount) in done.stderr
    assert "mount one file system" in done.stderr
    assert list(mount.iterdir()) == []


def test_a_fleet_ramps_as_one(tmp_path: Path) -> None:
    # users who think for the longer part do twice as much when they are twice as many
    trace, mount, target = job(tmp_path, at=300_000_000), tmp_path / "mnt", tmp_path / "R.ramp"
    mount.mkdir()
    done = run(2, trace, "--fs", mount, "--ramp", "users=2..5", "-o", target, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [level["users"] for level in said["levels"]] == [2, 4, 5]
    assert (said["again"]["users"], said["rule"]) == (2, "")
    for level in said["levels"]:
        (found,) = open_result(level["result"]).info.runs
        assert len(found.users) == level["users"]
        assert [rank.users for rank in found.ranks] == [level["users"] - level["users"] // 2, level["users"] // 2]
    assert list(mount.iterdir()) == []
    done = run(2, trace, "--fs", mount, "--ramp", "users=1..4", "-o", tmp_path / "S")
    assert done.returncode == 2
    assert done.stderr.count("on 2 ranks: at least one user for each") == 1
    assert not (tmp_path / "S").exists()


def test_a_fleet_that_has_no_room_for_more_users_says_what_it_has_measured(tmp_path: Path) -> None:
    trace, mount, target = job(tmp_path, at=300_000_000), tmp_path / "mnt", tmp_path / "R.ramp"
    mount.mkdir()
    done = run(2, trace, "--fs", mount, "--ramp", "users=2..16", "--max-bytes", str(9 * SIZE), "-o", target)
    assert done.returncode == 1
    assert "--max-bytes" in done.stderr
    assert "More users could not be tried: " in " ".join(done.stdout.split())
    assert [level["users"] for level in json.loads((target / "ramp.json").read_text())["levels"]] == [2, 4]
    assert list(mount.iterdir()) == []


LEAVES = """
import sys
from iotrace.errors import ReplayError
from iotrace.replay.fleet import joined
from iotrace.replay.stopping import Asked
with joined(3) as fleet:
    fleet.asked = Asked()
    if fleet.rank == 2:
        fleet.asked.fail(ReplayError("no more"))
    try:
        fleet.start()
    except ReplayError as error:
        # a file each: on a shared pipe lines of ranks run into each other
        with open(f"{sys.argv[1]}/{fleet.rank}", "w") as said:
            said.write(str(error))
        raise
"""


def test_a_rank_that_leaves_while_the_others_pass_the_barrier_ends_them_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(MPIRUN), "-n", "3", sys.executable, "-c", LEAVES, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said = {one.name: one.read_text() for one in tmp_path.iterdir()}
    assert sorted(said) == ["0", "1", "2"], done.stderr
    assert said["2"] == "no more"
    assert all(said[rank].endswith(": no more") and "rank 2 on " in said[rank] for rank in "01")
    assert done.returncode == 1


def test_all_ranks_end_and_clean_up_when_one_is_told_to(tmp_path: Path) -> None:
    from builders import TraceBuilder

    trace = TraceBuilder()
    trace.named("stat", "x", at=0)
    trace.named("stat", "x", at=100_000_000_000)
    source, mount = trace.save(tmp_path / "T.iotrace"), tmp_path / "mnt"
    mount.mkdir()
    marks = tmp_path / "marks"
    marks.mkdir()
    # each rank says which process it is, so that one can be told to end
    program = f"import os; open(r'{marks}/' + os.environ['PMI_RANK'] + '.' + str(os.getpid()), 'w'); {MAIN}"
    line = [str(MPIRUN), "-n", "3", sys.executable, "-c", program, "replay", str(source), "--fs", str(mount)]
    with subprocess.Popen(
        [*line, "-o", str(tmp_path / "R.ioresult")], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        until = time.monotonic() + 60
        while len(list(mount.glob("iotrace-*"))) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(list(mount.glob("iotrace-*"))) == 3
        (second,) = marks.glob("2.*")
        os.kill(int(second.suffix[1:]), signal.SIGTERM)
        _, said = running.communicate(timeout=60)
    assert running.returncode != 0
    assert said.count("iotrace: rank 2 on ") == 1
    assert "interrupted by SIGTERM" in said
    assert list(mount.iterdir()) == []
    assert not (tmp_path / "R.ioresult").exists()


SIGNALLED = """
import os, signal, sys
from iotrace.cli import main
from iotrace.replay.fleet import Fleet
told, when = int(sys.argv.pop(1)), sys.argv.pop(1)
collect, exchange = Fleet.collect, Fleet.exchange

def end(fleet, moment, number):
    if (fleet.rank, moment) == (told, when):
        os.kill(os.getpid(), number)

def collecting(fleet, value):
    if type(value).__name__ == "_Report":
        end(fleet, "measured", signal.SIGTERM)
    return collect(fleet, value)

def exchanging(fleet, value):
    # at the very end how many errors there were
    last = type(value) is int and value == 0
    if last:
        end(fleet, "last", signal.SIGINT)
    found = exchange(fleet, value)
    if last:
        end(fleet, "after", signal.SIGINT)
    return found

Fleet.collect, Fleet.exchange = collecting, exchanging
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("ranks", "told", "when"), [(3, 2, "measured"), (2, 0, "last"), (3, 2, "last"), (2, 0, "after")]
)
def test_a_signal_in_the_last_exchanges_leaves_no_rank_waiting_and_no_tree(
    tmp_path: Path, ranks: int, told: int, when: str
) -> None:
    trace, mount = job(tmp_path), tmp_path / "mnt"
    mount.mkdir()
    words = ["replay", str(trace), "--fs", str(mount), "--timing", "asap", "-o", str(tmp_path / "R.ioresult")]
    # a rank that waits for another in vain gives up after 60 s
    done = subprocess.run(
        [str(MPIRUN), "-n", str(ranks), sys.executable, "-c", SIGNALLED, str(told), when, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert list(mount.iterdir()) == []
    if (tmp_path / "R.ioresult").exists():
        (found,) = open_result(tmp_path / "R.ioresult").info.runs
        assert [rank.users for rank in found.ranks] == [1] * ranks
    else:
        assert done.returncode != 0


def test_ranks_share_out_the_lanes_of_a_workload_as_users_of_one_lane_each(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    words: list[str | Path] = ["single-user", "--scale", "0.0003", "--timing", "asap", "--users", "2"]
    words += [word for name in ("users=2", "lanes=1") for word in ("--set", name)]
    done = run(2, *words, "--fs", tmp_path / "mnt", "-o", tmp_path / "R.ioresult")
    assert done.returncode == 0, done.stderr
    (found,) = open_result(tmp_path / "R.ioresult").info.runs
    assert [rank.users for rank in found.ranks] == [1, 1]
    assert {(one.replayer, one.slurm_job) for one in found.jobs} == {(0, "lane 1"), (1, "lane 1")}
    # two users share a lane: one job at a time, while the other rank's lane runs its own
    for replayer in (0, 1):
        mine = sorted((one.start_s, one.end_s) for one in found.jobs if one.replayer == replayer)
        assert len(mine) > 2

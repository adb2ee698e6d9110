"""Fair conditions: what a replay says before it begins, what a result records, what a comparison warns of."""

from __future__ import annotations

import platform
import shutil
import time
from pathlib import Path

import msgspec
import pytest
from builders import TraceBuilder
from made import made_result

from iotrace.analysis.compare import compare_results
from iotrace.errors import StorageError
from iotrace.mounts.family import families, important_notes_of
from iotrace.mounts.mountinfo import Mount
from iotrace.mounts.space import Space
from iotrace.replay import conditions
from iotrace.replay.conditions import advice_before, conditions_lines
from iotrace.replay.counting import conclude
from iotrace.replay.figures import Counted, RankTotals
from iotrace.replay.ground import MARKER
from iotrace.replay.result import Conditions, MountInfo, Result, open_result
from iotrace.replay.run import run_replay
from iotrace.replay.telling import Tell

ROOM = Space(60 * 10**9, 100 * 10**9, True)


def advice(type: str, options: str, space: Space | None = ROOM, needed: int = 10**12, cold: bool = False) -> list[str]:
    return advice_before(Path("/mnt/x"), Mount(1, "/mnt/x", type, "x", options), space, needed, 8 * 10**9, cold)


@pytest.mark.parametrize(
    ("type", "options", "option"),
    [
        ("nfs4", "rw,vers=4.2,noac,rsize=1048576", "noac"), ("nfs", "rw,soft", "soft"),
        ("wekafs", "rw,forcedirect", "forcedirect"), ("wekafs", "rw,writecache", "writecache"),
        ("ext4", "rw,sync", "sync"), ("ext4", "rw,barrier=0", "barrier=0"),
        ("btrfs", "rw,compress=zstd:3", "compress=zstd:3"),
        ("cifs", "rw,cache=none", "cache=none"), ("xfs", "rw,dax=always", "dax=always"),
    ],
)  # fmt: skip
def test_an_option_that_changes_a_result_is_one_line_before_the_run(type: str, options: str, option: str) -> None:
    (line,) = advice(type, options)
    assert line.startswith(f"/mnt/x is mounted with {option}: ")


@pytest.mark.parametrize(
    ("type", "options"),
    [("nfs4", "rw,vers=4.2,rsize=1048576,hard"), ("cifs", "rw,cache=strict"), ("xfs", "rw,dax=never"), ("ext4", "rw")],
)
def test_a_usual_mount_with_room_and_more_data_than_memory_gives_no_line(type: str, options: str) -> None:
    assert advice(type, options) == []


def test_every_important_option_is_one_that_its_family_explains() -> None:
    for family in families():
        for option in family.important:
            mount = Mount(1, "/mnt/x", family.types[0], (family.sources or ("x",))[0], f"rw,{option}")
            assert [note.option for note in important_notes_of(mount)] == [option]


def test_a_mount_over_nine_tenths_full_and_files_smaller_than_memory_are_told() -> None:
    (line,) = advice("ext4", "rw", Space(9 * 10**9, 100 * 10**9, True))
    assert "/mnt/x is 91% full" in line
    assert advice("ext4", "rw", Space(10 * 10**9, 100 * 10**9, True)) == []
    assert advice("ext4", "rw", None) == []
    (line,) = advice("ext4", "rw", needed=2 * 10**9)
    assert "fit into this client's memory" in line
    assert advice("ext4", "rw", needed=2 * 10**9, cold=True) == []
    assert advice("ext4", "rw", needed=10**9) == []


def test_a_replay_tells_before_it_stages_and_its_result_says_how_full_the_mount_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "_WORTH_BYTES", 1)
    trace = TraceBuilder()
    trace.read(trace.open("movie.tif", size=100_000), "movie.tif", 0, 1000)
    told: list[tuple[str, int]] = []

    def notice(text: str) -> None:
        told.append((text, len(list((tmp_path / "fs").iterdir()))))

    (tmp_path / "fs").mkdir()
    result = run_replay(trace.save(tmp_path / "T.iotrace"), tmp_path / "fs", timing="asap", tell=Tell(notice=notice))
    assert [before for text, before in told if "fit into this client's memory" in text] == [0]
    saved = open_result(result.save(tmp_path / "R.ioresult")).info.runs[0].conditions
    assert saved is not None
    assert saved.total_bytes == shutil.disk_usage(tmp_path).total
    assert saved.full is not None
    assert 0 < saved.full < 1
    assert saved.staged_by == saved.read_by == [platform.node()]


def test_a_tree_that_another_machine_staged_says_so_in_each_later_result(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.read(trace.open("movie.tif", size=100_000), "movie.tif", 0, 1000)
    folder = trace.save(tmp_path / "T.iotrace")
    (tmp_path / "fs").mkdir()
    run_replay(folder, tmp_path / "fs", timing="asap", keep=True)
    (tree,) = (tmp_path / "fs").glob("iotrace-*")

    def mark(**values: object) -> None:
        was = msgspec.json.decode((tree / MARKER).read_bytes())
        (tree / MARKER).write_bytes(msgspec.json.encode(was | values))

    mark(host="node7", staged_by="")
    with pytest.raises(StorageError, match="is in use by process"):
        run_replay(folder, tmp_path / "fs", timing="asap", staged=tree)
    for host in ("node7", "node8"):
        mark(host=host, heartbeat=time.time() - 301)
        result = run_replay(folder, tmp_path / "fs", timing="asap", staged=tree)
        found = result.info.runs[0].conditions
        assert found is not None
        assert (found.staged_by, found.read_by) == (["node7"], [platform.node()])


def result_with(folder: Path, fair: Conditions, memory: int = 8 << 30) -> Result:
    result = made_result(folder, {"/a": 1}, 6, memory_bytes=memory)
    for run in result.info.runs:
        run.conditions = fair
    return result


@pytest.mark.parametrize(
    ("sizes", "said"), [([8, 8], "8.00 GiB"), ([8, 4, 16], "4.00 GiB to 16.0 GiB"), ([], "2.00 GiB")]
)
def test_of_a_fleet_the_memory_of_all_clients_is_told(tmp_path: Path, sizes: list[int], said: str) -> None:
    info = result_with(tmp_path / "R", Conditions(100, 60, ["n1"], ["n1"]), memory=2 << 30).info
    for run in info.runs:
        run.ranks = [
            RankTotals(rank, "n1", 1, 5, 1.0, 2.0, 0, 0, 0, memory_bytes=size << 30) for rank, size in enumerate(sizes)
        ]
    assert conditions_lines(info) == [f"/a: 40% full before staging, staged and read by n1, client memory {said}"]


def test_compare_warns_of_conditions_that_differ_and_of_none_that_are_alike(tmp_path: Path) -> None:
    fair = Conditions(100, 60, ["n1"], ["n1"])
    usual = result_with(tmp_path / "a", fair)
    alike = compare_results(usual, result_with(tmp_path / "b", Conditions(200, 118, ["n1"], ["n1"])))
    other = compare_results(
        usual, result_with(tmp_path / "c", Conditions(100, 5, ["n2"], ["n1"], staged_by_reader=False), 64 << 30)
    )
    for part in ("clients had different memory", "not equally full", "had staged them"):
        assert not any(part in sentence for sentence in alike.warnings)
        assert sum(part in sentence for sentence in other.warnings) == 1


def test_a_cluster_that_rebuilds_is_told_after_the_run_and_by_a_comparison(tmp_path: Path) -> None:
    usual, weak = (made_result(tmp_path / name, {"/a": 1}, 6) for name in ("usual", "weak"))
    for run in usual.info.runs:
        run.counters = [Counted("WEKA", "cluster", {"unprotected_mib_now": 0, "unavailable_mib_now": 0})]
    weak.info.runs[2].counters = [Counted("WEKA", "cluster", {"unprotected_mib_now": 2048, "unavailable_mib_now": 0})]
    for result in (usual, weak):
        conclude(result.info)
    assert not any("rebuilt" in sentence for sentence in usual.info.warnings)
    (said,) = [sentence for sentence in weak.info.warnings if "rebuilt" in sentence]
    assert "in 1 of 6 runs (2.00 GiB lacked protection)" in said
    assert any("rebuilt" in sentence for sentence in compare_results(usual, weak).warnings)
    assert not any("rebuilt" in sentence for sentence in compare_results(usual, usual).warnings)


def test_how_full_memory_is_makes_no_difference(tmp_path: Path) -> None:
    usual = result_with(tmp_path / "a", Conditions(100, 60, ["n1"], ["n1"]))
    memory = result_with(tmp_path / "b", Conditions(100, 5, ["n1"], ["n1"]))
    assert any("not equally full" in sentence for sentence in compare_results(usual, memory).warnings)
    for run in memory.info.runs:
        run.mount = MountInfo(type="tmpfs")
    assert not any("not equally full" in sentence for sentence in compare_results(usual, memory).warnings)

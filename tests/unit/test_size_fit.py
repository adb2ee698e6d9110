"""`iotrace size --fit`: a fitted storage predicts what it was not shown, and what cannot be fitted is refused."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import made_result

from iotrace.analysis.sizing.demand import Floats
from iotrace.analysis.sizing.fitted_storage import entry_of
from iotrace.analysis.sizing.fitting import ends_s, fit, modelled
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.analysis.sizing.replays import Point, Work, _processor_s, note_processors, points_of
from iotrace.analysis.sizing.storages import SHARINGS, load_catalogue
from iotrace.cli import main
from iotrace.replay.figures import Counted, Guard, RankTotals
from iotrace.replay.result import MountInfo, Run, open_result


def a_storage(read: float = 2e9, write: float = 1e9, metadata: float = 5000.0) -> Floats:
    row = np.full(r.STORAGE_FIELDS, np.inf)
    row[r.DISK_READ], row[r.TOTAL_WRITE], row[r.METADATA], row[r.OPERATIONS] = read, write, metadata, 1e6
    row[r.STREAM_READ], row[r.STREAM_WRITE] = 6e8, 4e8
    row[r.READ_LATENCY], row[r.WRITE_LATENCY], row[r.META_LATENCY] = 5e-4, 1e-3, 3e-4
    return row


def a_work(name: str, workers: int, **asked: float) -> Work:
    row = np.zeros(r.PHASE_FIELDS)
    row[r.WORKERS] = row[r.ITEMS] = workers
    for key, value in asked.items():
        row[getattr(r, key)] = value
    row[r.READ_DISK], row[r.READS] = row[r.READ], row[r.DATA_OPS] / 2
    return Work(name, "", row)


STREAMS = a_work("streams", 4, META=20, LATENT_READS=10, LATENT_WRITES=2, DATA_OPS=600, READ=4e8, WRITE=2e8)
BOXES = a_work("boxes", 1, META=300, LATENT_READS=2000, LATENT_WRITES=1, DATA_OPS=2100, READ=5e8, WRITE=1e7)


def ramp(storage: Floats, works: tuple[Work, ...], users: tuple[int, ...]) -> list[Point]:
    """What the model itself says of such replays."""
    found = []
    for work in works:
        for count in users:
            point = Point(work, count, 1.0, (0.0, 0.0, 0.0))
            for _ in range(3):
                # the work of processors is divided as the times inside calls are, which it is a part of
                wall, classes = modelled(storage, point)
                point = replace(point, wall_s=wall, classes_s=classes)
            found.append(point)
    return found


# where writes are far slower than reads they are all that the ramps wait for, and the limit of reads is not seen
@given(st.floats(5e8, 5e9), st.floats(0.5, 1), st.floats(1000, 20000))
@settings(deadline=None, max_examples=3)
def test_a_storage_that_made_the_ramps_is_predicted_for_users_and_mixes_that_were_not_shown(
    read: float, share: float, metadata: float
) -> None:
    storage = a_storage(read, read * share, metadata)
    found = fit(ramp(storage, (STREAMS, BOXES), (1, 2, 4, 8)))
    assert max(map(abs, found.errors)) < 3
    for users in ((3, 3), (6, 1), (1, 6)):
        ends, _ = ends_s(found.row, (STREAMS, BOXES), users)
        real, _ = ends_s(storage, (STREAMS, BOXES), users)
        assert ends == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("sharing", ["apart", "together", "in turn"])
def test_how_reads_and_writes_share_a_storage_is_found_out(sharing: str) -> None:
    scattered = a_work("scattered", 1, META=30, LATENT_READS=500, DATA_OPS=1000, READ=2.5e8, WRITE=1e6)
    storage = a_storage(3e8, 2e8)
    storage[r.SHARING], storage[r.DEVICES] = SHARINGS[sharing], 1.0
    points = ramp(storage, (STREAMS, scattered), (1, 2, 4))
    found = fit([replace(point, local=sharing == "in turn") for point in points])
    assert f'sharing = "{sharing}"' in entry_of(found, "mine", "1 TB", [])
    ends, _ = ends_s(found.row, (STREAMS, scattered), (1, 3))
    real, _ = ends_s(storage, (STREAMS, scattered), (1, 3))
    assert ends == pytest.approx(real, rel=0.1)


def test_processors_of_the_replays_machine_are_told_from_the_storage_and_are_no_part_of_its_entry() -> None:
    """The same storage behind two processors that are busy with each call: what is fitted is the storage."""
    storage = a_storage()
    storage[r.PROCESSORS] = 2
    works = tuple(replace(work, row=work.row.copy()) for work in (STREAMS, BOXES))
    for work in works:
        work.row[r.PROCESSOR] = 0.8
    points = [replace(point, processors=2) for point in ramp(storage, works, (1, 2, 4, 8))]
    found = fit(points)
    assert max(map(abs, found.errors)) < 3
    assert found.share > 0.9
    for columns, near in ((r.READ_LATENCY, 0.1), (r.META_LATENCY, 0.15)):
        assert found.row[columns] == pytest.approx(storage[columns], rel=near)
    entry = tomllib.loads(entry_of(found, "mine", "1 TB", [Path("a.ioresult")]))["storages"]["mine"]
    assert not [key for key in entry if "processor" in key]


def test_time_of_processors_that_other_programs_take_is_not_the_replays() -> None:
    works = tuple(replace(work, row=work.row * 1.0) for work in (STREAMS, BOXES))
    own, others = (3.0, 0.5), 0.7
    points = [
        replace(point, processors=2, processor_s=own[works.index(point.work)] * point.users + others * point.wall_s)
        for point in ramp(a_storage(), works, (1, 2, 4))
    ]
    note_processors(points, works)
    taken = [work.row[r.PROCESSOR] * work.row[r.WORKERS] for work in works]
    assert taken == pytest.approx(own, rel=1e-6)
    busy = [replace(point, processor_s=2 * point.wall_s) for point in points]
    note_processors(busy, works)
    assert [work.row[r.PROCESSOR] for work in works] == pytest.approx([0, 0], abs=1e-9)


def test_users_who_are_left_alone_go_faster_than_before() -> None:
    storage = a_storage()
    (together, _), (first,) = ends_s(storage, (STREAMS, BOXES), (4, 1))[0], ends_s(storage, (STREAMS,), (4,))[0]
    assert together >= first
    short, long = replace(BOXES, row=BOXES.row * 1.0), replace(STREAMS, row=STREAMS.row * 1.0)
    long.row[r.ITEMS] *= 10
    ends, _ = ends_s(storage, (long, short), (2, 4))
    assert ends[0] < 10 * ends_s(storage, (STREAMS, BOXES), (2, 4))[0][0] * 1.001


def results(folder: Path, users: tuple[int, ...]) -> list[Path]:
    """Results of a made replay that takes longer the more users there are."""
    made = []
    for count in users:
        path = folder / f"u{count}.ioresult"
        result = made_result(path, {"/mnt/a": 1.0}, 1, options={"timing": "asap", "users": count})
        run = result.info.runs[0]
        for total in run.by_op.values():
            total.calls *= count
            total.bytes *= count
            total.time_s = total.calls * 1e-4 * (1 + 0.2 * count)
        run.io_s = sum(total.time_s for total in run.by_op.values())
        run.wall_s = run.io_s / count
        result.save(path, force=True)
        made.append(path)
    return made


def test_syncs_have_the_latency_of_writes_and_are_no_metadata_operations(tmp_path: Path) -> None:
    folders = []
    for users in (1, 2, 4):
        path = tmp_path / f"u{users}.ioresult"
        result = made_result(path, {"/mnt/a": 1.0}, 1, options={"timing": "asap", "users": users})
        run = result.info.runs[0]
        run.by_op["fsync"].calls = run.by_op["openat"].calls
        for name, each in (("read", 2e-4), ("write", 2e-4), ("openat", 1e-3), ("fsync", 5e-2)):
            total = run.by_op[name]
            total.calls, total.bytes = total.calls * users, total.bytes * users
            total.time_s = total.calls * each
        run.io_s = sum(total.time_s for total in run.by_op.values())
        run.wall_s = run.io_s / users
        result.save(path, force=True)
        folders.append(path)
    points = points_of(folders)
    work = points[0].work.row * points[0].work.row[r.WORKERS]
    assert work[[r.META, r.LATENT_WRITES, r.DATA_OPS]].tolist() == pytest.approx([120, 120, 450])
    assert points[0].classes_s == pytest.approx((0.12, 0.06, 6.03))
    row = fit(points).row
    assert row[r.META_LATENCY] + 1 / row[r.METADATA] == pytest.approx(1e-3, rel=0.1)


def test_a_fit_prints_an_entry_that_size_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [word for path in results(tmp_path, (1, 2, 4)) for word in ("--fit", str(path))]
    mine = tmp_path / "mine.toml"
    assert main(["size", *folders, "--capacity", "35TB", "-o", str(mine), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [point["users"] for point in printed["points"]] == [1, 2, 4]
    assert mine.read_text() == printed["entry"]
    storage = load_catalogue(mine).storage("mine")
    assert storage.capacity_bytes(1) == 35 * 10**12
    assert main(["size", "--storages", str(mine), "--storage", "mine", "--set", "movies=20", "--json"]) == 0
    assert main(["size", *folders, "--capacity", "35TB", "-o", str(mine)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_ramps_folder_stands_for_its_results_wherever_it_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, again = (str(path) for path in results(tmp_path, (1, 2, 4)))
    level = {"users": 1, "makespan_s": [1.0], "ops_per_s": [1.0], "errors": 0, "limit": ""}
    ramp = {
        "users": None, "low": None, "high": None, "rule": "", "ended": "", "rules": {}, "plateau_users": 1,
        "plateau_ops_per_s": 1.0, "again": level | {"result": f"elsewhere/{Path(again).name}"},
        "levels": [level | {"result": f"elsewhere/{Path(path).name}"} for path in (first, second)],
    }  # fmt: skip
    (tmp_path / "ramp.json").write_text(json.dumps(ramp))
    apart = points_of([Path(first), Path(second), Path(again)])
    assert [point.wall_s for point in points_of([tmp_path])] == [point.wall_s for point in apart]
    assert main(["size", "--fit", str(tmp_path), "--capacity", "35TB", "--json"]) == 0
    assert [point["users"] for point in json.loads(capsys.readouterr().out)["points"]] == [1, 2, 4]
    Path(second).rename(tmp_path / "moved")
    assert main(["size", "--fit", str(tmp_path), "--capacity", "35TB"]) == 2
    assert "u2.ioresult of this ramp is gone" in capsys.readouterr().err
    (tmp_path / "ramp.json").write_text("{")
    assert main(["size", "--fit", str(tmp_path), "--capacity", "35TB"]) == 2
    said = capsys.readouterr().err
    assert "its ramp.json cannot be read" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("users", "more", "line"),
    [
        ((2,), ["--capacity", "1TB"], "same number of users"),
        ((1, 2), [], "--capacity"),
        ((1, 2), ["--capacity", "1T"], "is not a capacity"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(
    users: tuple[int, ...], more: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [word for path in results(tmp_path, users) for word in ("--fit", str(path))]
    assert main(["size", *folders, *more]) == 2
    assert line in capsys.readouterr().err


def test_reads_from_the_clients_memory_make_no_storage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = results(tmp_path, (1, 2))
    cached = open_result(two)
    cached.info.runs[0].guard = Guard("client cache", "")
    cached.save(two, force=True)
    assert main(["size", "--fit", str(one), "--fit", str(two), "--capacity", "1TB"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "u2.ioresult: its reads came from the client's memory" in said


def test_a_result_of_several_mounts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_result(tmp_path / "two.ioresult", {"/mnt/a": 1.0, "/mnt/b": 1.0}, 1)
    assert main(["size", "--fit", str(tmp_path / "two.ioresult"), "--capacity", "1TB"]) == 2
    assert "one mount" in capsys.readouterr().err


def test_the_time_that_a_disk_was_busy_is_no_time_of_the_processors() -> None:
    run = Run(run=0, round=0, fs="/a", mount=MountInfo(), started_utc="", wall_s=2.0, cpu_s=0.5)
    assert _processor_s(run, 2) == 0.5
    run.counters = [Counted("sda", "device", {"busy_ms": 1900}), Counted("processors", "node", {"busy_ms": 700})]
    assert _processor_s(run, 2) == 0.7
    # of a fleet that of the first rank's node, as its processors are
    run.ranks = [RankTotals(rank, "n", 1, 1, 0.0, 0.0, 0.0, 0.0, 0.0, counters=run.counters[:]) for rank in range(2)]
    run.counters = [Counted("processors", "node", {"busy_ms": 1400}, {}, 2)]
    assert _processor_s(run, 2) == 0.7

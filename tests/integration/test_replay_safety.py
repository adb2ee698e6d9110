"""Hostile traces: nothing outside the one folder of the replay changes, and what is refused gets one line."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import TraceBuilder
from commands import Command, Forked
from trees import in_trees

from iotrace.errors import IotraceError, ReplayError, StorageError
from iotrace.replay import stage as stage_module
from iotrace.replay import trees
from iotrace.replay.ground import MARKER, Ground, clean, leftovers, remove
from iotrace.replay.plan import build_plan
from iotrace.replay.result import Run
from iotrace.replay.run import run_replay
from iotrace.trace.reader import open_trace


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with things that a replay must not touch around the mount, and in it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "thesis.tex").write_text("years of work")
    mount = tmp_path / "outside" / "mount"
    mount.mkdir()
    (mount / "a").write_text("a user's file")
    (mount / "link").symlink_to(tmp_path / "outside" / "thesis.tex")
    return tmp_path


def picture(top: Path) -> list[tuple[str, int, int, bytes]]:
    """Everything under a folder, traces left out."""
    result = []
    for path in sorted(top.rglob("*")):
        if ".iotrace" in str(path):
            continue
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        result.append((str(path), path.lstat().st_mode, path.lstat().st_mtime_ns if path.is_file() else 0, data))
    return result


def replay_of(trace: TraceBuilder, world: Path, *prefixes: str, **options: object) -> Run:
    folder = trace.save(world / "T.iotrace")
    before = picture(world)
    arguments: dict[str, Any] = {"timing": "asap", "prefixes": prefixes} | options
    try:
        result = run_replay(folder, world / "outside" / "mount", **arguments)
    finally:
        assert picture(world) == before
    return result.info.runs[0]


def refusal(trace: TraceBuilder, world: Path, kind: type[IotraceError], *prefixes: str, **options: object) -> str:
    with pytest.raises(kind) as caught:
        replay_of(trace, world, *prefixes, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_dots_lead_nowhere(world: Path) -> None:
    trace = TraceBuilder(cwd="/data/job")
    up = "../" * 30
    for name in (f"{up}etc/passwd", "../../outside/thesis.tex", "a/../../../../outside/thesis.tex"):
        trace.named("unlink", name)
        file = trace.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode=0o666)
        trace.write(file, name, 0, 100)
        trace.named("rename", name, f"{up}outside/new")
    trace.named("stat", "fine")
    assert replay_of(trace, world, "/data").by_op["stat"].calls == 1
    (world / "T.iotrace").rename(world / "old.iotrace")
    replay_of(trace, world, "/")


def test_absolute_paths_of_this_machine_are_only_names(world: Path) -> None:
    trace = TraceBuilder(cwd="/")
    victim = str(world / "outside" / "thesis.tex")
    file = trace.open(victim, os.O_WRONLY | os.O_TRUNC)
    trace.write(file, victim, 0, 10)
    trace.named("unlink", victim)
    run = replay_of(trace, world, "/")
    assert (run.ops, run.errors) == (3, 0)


def test_links_out_of_the_tree_are_made_to_dangle_inside(world: Path) -> None:
    victim = str(world / "outside" / "thesis.tex")
    trace = TraceBuilder()
    trace.named("mkdir", "a", mode=0o755, seen=False)
    trace.named("mkdir", "a/b", mode=0o755, seen=False)
    for number, target in enumerate((victim, "../../../../outside/thesis.tex", "../../../../../etc/passwd", "..", "/")):
        name = f"a/b/l{number}"
        trace.call("symlink", path=trace.path(name), other_path=trace.path(target))
        file = trace.open(name, os.O_WRONLY | os.O_TRUNC | os.O_CREAT, mode=0o666, existed=False)
        trace.write(file, name, 0, 10)
        trace.named("rename", name, f"up{number}")  # higher up a relative link would lead out
        file = trace.open(f"up{number}", os.O_WRONLY | os.O_TRUNC | os.O_CREAT, mode=0o666, existed=False)
        trace.write(file, f"up{number}", 0, 10)
        trace.named("truncate", f"up{number}", size=0)
    replay_of(trace, world)


def test_a_recorded_link_of_before_leads_inside_too(world: Path) -> None:
    trace = TraceBuilder()
    link = trace.file("l", type="link", target=str(world / "outside" / "thesis.tex"))
    trace.named("lstat", "l", file=link)
    trace.call("open", path=trace.path("l"), flags=os.O_WRONLY | os.O_TRUNC, result=-errno.ENOENT)
    run = replay_of(trace, world)
    assert run.errors == 0


def test_a_folder_renamed_upwards_takes_no_relative_name_out(world: Path) -> None:
    trace = TraceBuilder()
    trace.named("mkdir", "a", mode=0o755, seen=False)
    trace.named("mkdir", "a/b", mode=0o755, seen=False)
    trace.named("mkdir", "a/b/c", mode=0o755, seen=False)
    trace.named("chdir", "a/b/c", seen=False)
    trace.named("rename", "/data/job/a/b/c", "/data/job/top", seen=False)
    for depth in range(1, 12):
        raw = b"../" * depth + b"thesis.tex"
        trace.call("unlink", path=trace.path(raw, base="/data/job/a/b/c"), result=0)
        trace.call("mkdir", path=trace.path(b"../" * depth + b"new%d" % depth, base="/data/job/a/b/c"), mode=0o777)
    replay_of(trace, world, "/data/job")
    shutil.rmtree(world / "T.iotrace")
    replay_of(trace, world, "/")


def test_no_name_has_a_folder_above_it_that_the_recorded_one_had_not_but_the_trees_own(tmp_path: Path) -> None:
    """Each folder of a name may be a request to a server: ceph-fuse asks for all of them at each call."""
    trace = TraceBuilder()
    trace.file("/data/job", type="directory")
    trace.named("stat", "/data/job/a/x")
    trace.named("stat", "/data/job")
    plan = build_plan(open_trace(trace.save(tmp_path / "T.iotrace")))
    depths = {text.count(b"/") + bool(text) for text, absolute in zip(
        plan.strings.texts, plan.strings.absolute, strict=True
    ) if absolute}  # fmt: skip
    assert depths == {0, 2}
    assert {path.count(b"/") for path, _ in plan.snapshot.folders} == {0}


@pytest.mark.parametrize("does", ["removes", "renames", "makes", "opens_to_others", "is_a_file"])
def test_a_mapped_folder_that_the_program_changes_is_not_the_folder_of_the_tree(world: Path, does: str) -> None:
    trace = TraceBuilder(cwd="/data")
    if does == "makes":
        trace.missing("stat", "job")
        trace.named("mkdir", "job", mode=0o755, seen=False)
        trace.close(trace.open("job/x", os.O_CREAT | os.O_WRONLY, existed=False, mode=0o644), "job/x")
    elif does == "is_a_file":
        trace.close(trace.open("job", size=1000), "job")
    else:
        trace.close(trace.open("job/x", size=1000), "job/x")
    if does == "removes":
        trace.named("unlink", "job/x")
        trace.named("rmdir", "job")
        trace.missing("stat", "job")
    elif does == "renames":
        trace.named("rename", "job", "old", seen=False)
        trace.missing("stat", "job/x")
    elif does == "opens_to_others":
        folder = trace.open("job", os.O_RDONLY | os.O_DIRECTORY, type="directory")
        trace.on("fchmod", folder, "job", mode=0o777, file=trace.file("job"))
        trace.close(folder, "job")
    # what is renamed goes to a name outside the map, and is left out
    run = replay_of(trace, world, "/data/job", *(["/data/old"] if does == "renames" else []))
    assert run.errors == 0
    assert run.by_op


@pytest.mark.parametrize("made", [False, True], ids=["there_before", "made_by_the_run"])
@pytest.mark.parametrize("link", ["current", "deep/up"])
@pytest.mark.parametrize("target", ["/data/job", "."])
def test_a_link_to_the_mapped_folder_leads_to_the_tree(world: Path, link: str, target: str, made: bool) -> None:
    trace = TraceBuilder()
    text = "/data/job" if target.startswith("/") else os.path.relpath("/data/job", f"/data/job/{Path(link).parent}")
    if "/" in link:
        trace.named("stat", "deep", file=trace.file("deep", type="directory"))
    if made:
        trace.call("symlink", path=trace.path(link), other_path=trace.path(text))
    trace.call("readlink", path=trace.path(link), other_path=trace.path(text), size=100, result=len(text))
    trace.close(trace.open(f"{link}/x", size=1000, file=trace.file("x", size=1000)), "x")
    run = replay_of(trace, world, "/data/job")
    assert run.errors == 0
    assert run.by_op["openat"].calls == 1


def test_a_working_folder_that_is_not_there_takes_no_relative_name_out(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its chdir fails, and the next call by a relative name would be in the folder that the replay was started in."""
    mine = world / "outside"
    (mine / "0").write_text("mine")
    monkeypatch.chdir(mine)
    for cwd, prefix in (("/data/job", "/data/job"), ("/data/job", "/data"), ("/data/job/deep", "/data/job")):
        trace = TraceBuilder(cwd=cwd)
        trace.missing("stat", cwd)
        trace.named("mkdir", cwd, mode=0o755, seen=False)
        made = trace.open("x", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, existed=False, mode=0o644)
        trace.write(made, "x", 0, 100)
        trace.close(made, "x")
        trace.named("unlink", "x")
        shutil.rmtree(world / "T.iotrace", ignore_errors=True)
        replay_of(trace, world, prefix)


def test_a_path_of_5000_bytes_and_a_nul_are_left_out_or_shortened(world: Path) -> None:
    trace = TraceBuilder()
    long, deep = "x" * 5000, "d/" * 2500 + "x"
    for name in (long, deep, f"ok/{long}"):
        file = trace.open(name, os.O_RDWR | os.O_CREAT, mode=0o600)
        trace.write(file, name, 0, 10)
        trace.named("stat", name)
    for raw in (b"n\0ul", b"a\0/../../../etc", b"\0", b"\xff\xfe\x80", b"new\nline", b" ", b"-rf", b"%s%n"):
        trace.call(
            "stat", path=trace.path(raw), result=0, file=trace.file(f"f{len(trace.files)}", path=trace.path(raw))
        )
    run = replay_of(trace, world, "/data")
    assert run.by_op["stat"].calls == 7  # one of the eight names leads to /etc
    assert run.errors == 0


def test_devices_fifos_and_foreign_attributes_are_never_made_and_no_owner_changes(world: Path) -> None:
    trace = TraceBuilder()
    for name in ("null", "fifo", "socket"):
        file = trace.open(name, os.O_RDWR, type="other")
        trace.write(file, name, 0, 10)
        trace.named("unlink", name)
    trace.named("stat", "x")
    trace.named("chown", "x")
    trace.named("lchown", "x")
    trace.named("fchownat", "x", flags=0)
    of = trace.open("x")
    trace.on("fchown", of, "x")
    trace.named("chmod", "x", mode=0o6777)
    trace.named(
        "setxattr", "x", seen=False, file=trace.file("x"), other_path=trace.path(b"security.capability"), size=20
    )
    trace.named("setxattr", "x", seen=False, file=trace.file("x"), other_path=trace.path(b"trusted.x"), size=20)
    folder = trace.save(world / "T.iotrace")
    result = run_replay(folder, world / "outside" / "mount", timing="asap", keep=True)
    changes = {"chown", "lchown", "fchown", "fchownat"}
    assert set(result.info.runs[0].by_op) == {"stat", "chmod", "openat"} | changes
    assert result.info.runs[0].errors == 0
    (made,) = in_trees(world / "outside" / "mount")
    assert made.is_file()
    assert made.stat().st_mode & 0o7000 == 0
    assert (made.stat().st_uid, made.stat().st_gid) == (os.geteuid(), os.getegid())
    assert os.listxattr(made) == []


def test_a_file_of_a_terabyte_is_refused_with_the_numbers(world: Path) -> None:
    trace = TraceBuilder()
    trace.close(trace.open("x", size=10**12), "x")
    assert "1.00 TB" in refusal(trace, world, StorageError)


def test_what_calls_reserve_and_write_counts_before_the_run(world: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x", os.O_RDWR | os.O_CREAT, existed=False, mode=0o600)
    trace.on("fallocate", file, "x", flags=0, offset=0, size=10**12)
    assert "1.00 TB" in refusal(trace, world, StorageError)
    small = TraceBuilder()
    file = small.open("x", os.O_RDWR | os.O_CREAT, existed=False, mode=0o600)
    for turn in range(10):
        small.write(file, "x", turn * 1000, 1000)
    shutil.rmtree(world / "T.iotrace")
    assert "--max-bytes" in refusal(small, world, StorageError, max_bytes=9_999)
    shutil.rmtree(world / "T.iotrace")
    assert replay_of(small, world, max_bytes=10_000).bytes_written == 10_000


def test_a_sparse_file_of_exabytes_made_by_the_run_takes_no_room(world: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x", os.O_RDWR | os.O_CREAT, existed=False, mode=0o600)
    trace.on("ftruncate", file, "x", size=10**12)
    trace.write(file, "x", 10**12, 10, op="pwrite64")
    trace.on("lseek", file, "x", offset=1 << 60, flags=0, result=1 << 60)
    assert replay_of(trace, world).ops == 4


def test_operations_and_codes_out_of_range_are_left_out(world: Path) -> None:
    trace = TraceBuilder()
    trace.named("stat", "x")
    trace.named("reboot", "x")
    trace.call("kexec_load", path=trace.path("x"))
    trace.on("fcntl", trace.open("x"), "x", flags=1 << 40)
    trace.on("mmap", 0, "x", address=1 << 62, size=1 << 62, mode=-1, flags=0x10, offset=-1)
    trace.on("madvise", None, "x", address=1 << 62, size=4096, flags=100)
    trace.call("munmap", address=0, size=1 << 62, file=trace.file("x"))
    run = replay_of(trace, world)
    assert set(run.by_op) == {"stat", "openat", "mmap"}
    shutil.rmtree(world / "T.iotrace")
    # ids beyond their tables, negative numbers, threads and processes that nobody knows
    wild = TraceBuilder()
    wild.named("stat", "x")
    for value in (-5, 10**6, 2**31 - 1):
        wild.call("read", open=value, path=value, file=value, offset=value, size=value, result=5)
        wild.call("stat", path=value, file=value)
        wild.events[-1] |= {"process": value, "thread": value}
    assert replay_of(wild, world).errors == 0


def test_a_dictionary_index_out_of_range_is_one_line_or_left_out(world: Path) -> None:
    trace = TraceBuilder()
    trace.named("stat", "x")
    folder = trace.save(world / "T.iotrace")
    part = next((folder / "events").glob("part-*"))
    table = pq.read_table(part)
    column = table.column("op").combine_chunks()
    broken = pa.DictionaryArray.from_arrays(pa.array([7], pa.int16()), column.dictionary, safe=False)
    table = table.set_column(table.schema.names.index("op"), table.schema.field("op"), broken)
    pq.write_table(table, part)
    with pytest.raises(IotraceError):
        build_plan(open_trace(folder))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted ext4 of 64 MB."""
    image, point = tmp_path / "disk.img", tmp_path / "disk"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], capture_output=True, text=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(point)], capture_output=True, text=True)
    if made.returncode or mounted.returncode:
        pytest.skip(f"no loop mount here: {made.stderr or mounted.stderr}")
    yield point
    for _ in range(50):
        if subprocess.run(["umount", str(point)], capture_output=True).returncode == 0:
            break
        time.sleep(0.1)


def test_a_full_disk_is_refused_before_the_first_byte(small_disk: Path, tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.close(trace.open("x", size=60 << 20), "x")
    folder = trace.save(tmp_path / "T.iotrace")
    before = os.statvfs(small_disk).f_bfree
    with pytest.raises(StorageError, match="10 % stay so"):
        run_replay(folder, small_disk, timing="asap")
    assert os.statvfs(small_disk).f_bfree == before


@pytest.mark.parametrize("phase", ["staging", "run"])
def test_a_disk_that_fills_up_meanwhile_ends_the_replay_with_one_line_and_no_tree(
    small_disk: Path, tmp_path: Path, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = TraceBuilder()
    if phase == "staging":
        for number in range(10):
            trace.close(trace.open(f"x{number}", size=3 << 20), f"x{number}")
    else:
        file = trace.open("x", os.O_RDWR | os.O_CREAT, existed=False, mode=0o600)
        for turn in range(30):
            trace.write(file, "x", turn << 20, 1 << 20)
    folder = trace.save(tmp_path / "T.iotrace")
    # someone else takes the room after it was checked
    make = stage_module.stage

    def lose_room(*arguments: Any) -> None:
        if phase == "run":
            make(*arguments)
        (small_disk / "other").write_bytes(bytes(40 << 20))
        if phase == "staging":
            make(*arguments)

    monkeypatch.setattr(trees, "stage", lose_room)
    with pytest.raises(StorageError, match="no space left") as caught:
        run_replay(folder, small_disk, timing="asap")
    assert "\n" not in str(caught.value)
    assert not list(small_disk.glob("iotrace-*"))


def test_only_folders_of_dead_replays_are_found_and_removed(tmp_path: Path) -> None:
    with Ground(tmp_path) as alive:
        dead, foreign, rebooted = (tmp_path / f"iotrace-{name}" for name in ("dead", "foreign", "rebooted"))
        marker = json.loads((alive.folder / MARKER).read_text())
        for folder, change in (
            (dead, {"pid": 2**22 - 1}),
            (foreign, {"host": "elsewhere"}),
            (rebooted, {"boot_id": "x"}),
        ):
            folder.mkdir()
            (folder / MARKER).write_text(json.dumps(marker | change))
        (tmp_path / "iotrace-mine").mkdir()
        (tmp_path / "iotrace-link").symlink_to(tmp_path)
        assert leftovers(tmp_path) == [dead, rebooted]
        assert clean(tmp_path) == [dead, rebooted]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [alive.folder.name, "iotrace-foreign", "iotrace-mine", "iotrace-link"]
        )


def test_what_a_late_heartbeat_leaves_in_a_removed_folder_is_found_and_nothing_else(tmp_path: Path) -> None:
    names = ["iotrace-0123456789ab", "iotrace-0123456789ac", "iotrace-0123456789ad", "iotrace-of-mine"]
    rest, young, used, foreign = (tmp_path / name for name in names)
    for folder in (rest, young, used, foreign):
        folder.mkdir()
        (folder / f"_{MARKER}").touch()
    (used / "data").touch()
    for folder in (rest, used, foreign):
        os.utime(folder, (0, 0))
    assert leftovers(tmp_path) == [rest]
    assert clean(tmp_path) == [rest]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_removal_follows_no_link_and_takes_closed_folders_too(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "file").write_text("x")
    ours = tmp_path / "iotrace-x"
    deep = ours
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "link").symlink_to(tmp_path / "keep")
    (ours / "link").symlink_to(tmp_path / "keep")
    (ours / "closed").mkdir()
    (ours / "closed" / "x").write_text("x")
    (ours / "closed").chmod(0)
    remove(ours)
    assert not ours.exists()
    assert (tmp_path / "keep" / "file").read_text() == "x"


def test_removal_stops_at_another_mount(small_disk: Path, tmp_path: Path) -> None:
    ours = small_disk / "iotrace-x"
    (ours / "inner").mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", str(ours / "inner")], capture_output=True)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (ours / "inner" / "keep").write_text("x")
        (ours / "gone").write_text("x")
        remove(ours)
        assert (ours / "inner" / "keep").read_text() == "x"
        assert not (ours / "gone").exists()
    finally:
        subprocess.run(["umount", str(ours / "inner")], check=True)


def test_the_clean_command_names_what_it_removed(tmp_path: Path, iotrace: Command) -> None:
    with Ground(tmp_path, keep=True) as ground:
        marker = json.loads((ground.folder / MARKER).read_text())
    (ground.folder / MARKER).write_text(json.dumps(marker | {"pid": 2**22 - 1}))
    ran = iotrace("replay", "--clean", tmp_path)
    assert (ran.returncode, ran.stdout) == (0, f"removed {ground.folder}\n")
    assert list(tmp_path.iterdir()) == []


def test_more_open_files_than_the_limit_allows_is_one_line(world: Path) -> None:
    trace = TraceBuilder(step_ns=10)
    for number in range(70):
        trace.open(f"x{number}")
    folder = trace.save(world / "T.iotrace")

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (560, 560))

    ran = Forked("replay", folder, "--fs", world, "-o", world / "R.ioresult", first=few).end()
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "ulimit" in ran.stderr


def test_a_mount_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("stat", "x")
    folder = trace.save(tmp_path / "T.iotrace")
    for place in (Path("/proc"), tmp_path / "nowhere", folder / "trace.json"):
        with pytest.raises((StorageError, ReplayError)) as caught:
            run_replay(folder, place, timing="asap")
        assert "\n" not in str(caught.value)


def test_ten_percent_of_a_file_system_stay_free() -> None:
    assert stage_module.FREE_SHARE == 0.10

"""Plans: what is mapped, what must exist before, which descriptors are used, what is left out and why."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from builders import TraceBuilder

from iotrace.errors import ReplayError, TraceError
from iotrace.replay.columns import components_of
from iotrace.replay.mapping import default_prefixes, outermost
from iotrace.replay.plan import build_plan
from iotrace.replay.rows import BEGIN, CLOSE, END, UNMAP, Plan
from iotrace.trace.info import Mount, TraceInfo
from iotrace.trace.operations import NUMBER_OF, OPERATIONS
from iotrace.trace.reader import open_trace


def plan_of(trace: TraceBuilder, folder: Path, *prefixes: str, order: str = "file", **info: object) -> Plan:
    trace.save(folder / "T.iotrace", **info)  # type: ignore[arg-type]
    return build_plan(open_trace(folder / "T.iotrace"), prefixes, order)


def depth_of(path: bytes) -> int:
    return path.count(b"/")


def names(plan: Plan) -> list[str]:
    return [OPERATIONS[op].name for op in plan.rows.op[plan.counted]]


def test_by_default_the_working_folder_and_mounts_that_are_not_the_systems_move() -> None:
    mounts = [
        Mount(1, "/", "ext4", "a"), Mount(2, "/proc", "proc", "b"), Mount(3, "/dev/shm", "tmpfs", "c"), Mount(4,
        "/bulk", "wekafs", "d"), Mount(5, "/dev", "devtmpfs", "e"), Mount(6, "/run/user/0", "tmpfs", "f"),
    ]  # fmt: skip
    assert default_prefixes(TraceInfo(mounts=mounts, working_folder="/home/me/job")) == [
        "/bulk",
        "/dev/shm",
        "/home/me/job",
    ]
    assert default_prefixes(TraceInfo(working_folder="/")) == []


def test_prefixes_within_another_are_left_to_it() -> None:
    assert outermost([(b"data", b"job"), (b"data",), (b"database",)]) == [(b"data",), (b"database",)]


def test_a_trace_without_mapped_paths_says_what_to_map(tmp_path: Path) -> None:
    trace = TraceBuilder(cwd="/")
    for name in ("/scratch/a/x", "/scratch/b/y", "/home/me/z"):
        trace.close(trace.open(name), name)
    with pytest.raises(ReplayError, match=r"--map PREFIX.*/scratch/a"):
        plan_of(trace, tmp_path)
    with pytest.raises(ReplayError, match="absolute path"):
        build_plan(open_trace(tmp_path / "T.iotrace"), ["scratch"])


def test_the_plan_is_a_pure_function_of_trace_and_options(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("a.mrc", size=5000)
    trace.read(file, "a.mrc", 0, 4096)
    trace.close(file, "a.mrc")
    one = plan_of(trace, tmp_path)
    again = build_plan(open_trace(tmp_path / "T.iotrace"))
    assert one.hash == again.hash
    trace.named("stat", "a.mrc")
    (tmp_path / "longer").mkdir()
    assert plan_of(trace, tmp_path / "longer").hash != one.hash


def test_what_was_used_before_it_was_made_existed(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("stat", "was")
    trace.missing("stat", "was-not")
    trace.named("mkdir", "new", mode=0o755, seen=False)
    made = trace.open("new/made.star", os.O_WRONLY | os.O_CREAT, existed=False, mode=0o644)
    trace.write(made, "new/made.star", 0, 100)
    old = trace.open("deep/er/old.tif", size=12_345)
    trace.read(old, "deep/er/old.tif", 0, 8)
    plan = plan_of(trace, tmp_path)
    folders = [path for path, _ in plan.snapshot.folders]
    files = {(depth_of(file.path), file.path[-4:], file.size) for file in plan.snapshot.files}
    assert sorted(map(depth_of, folders)) == [0, 1]
    assert files == {(0, plan.snapshot.files[0].path[-4:], 0), (2, b".tif", 12_345)}


def test_a_file_is_at_least_as_large_as_what_was_read_of_it(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x.mrc")
    trace.files["/data/job/x.mrc"]["size"] = None
    trace.read(file, "x.mrc", 70_000, 4096, 4000, op="pread64")
    assert [file.size for file in plan_of(trace, tmp_path).snapshot.files] == [74_000]


def test_a_file_written_before_it_is_read_starts_at_its_recorded_size(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x.mrc", os.O_RDWR, size=10)
    trace.write(file, "x.mrc", 10, 5000)
    trace.read(file, "x.mrc", 0, 5010, op="pread64")
    assert [file.size for file in plan_of(trace, tmp_path).snapshot.files] == [10]


def test_what_is_found_under_a_renamed_folder_stood_under_its_old_name(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("rename", "tmp", "final")
    trace.named("stat", "final/x.mrc")
    plan = plan_of(trace, tmp_path)
    (file,) = plan.snapshot.files
    old = plan.recorded["paths"][plan.recorded["node"][np.flatnonzero(plan.counted)[0]]]
    assert file.path.startswith(old + b"/")


def test_a_folder_renamed_within_one_that_was_renamed_before_is_not_there_at_the_start(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("rename", "src", "d", seen=False)
    trace.named("rename", "d/a", "d/b", seen=False)
    trace.named("rename", "d", "e", seen=False)
    moved = trace.file("src/a/f", size=70)
    trace.named("stat", "e/b/f", file=moved)
    trace.named("mkdir", "e/new", seen=False)
    trace.named("rename", "e", "last", seen=False)
    trace.named("unlink", "last/new/x", seen=False)
    plan = plan_of(trace, tmp_path)
    assert sorted(depth_of(path) for path, _ in plan.snapshot.folders) == [0, 1]
    assert [(depth_of(file.path), file.size) for file in plan.snapshot.files] == [(2, 70)]


def test_a_file_made_through_a_link_and_removed_by_its_own_name_is_not_staged(tmp_path: Path) -> None:
    trace = TraceBuilder()
    real = trace.file("real/old", size=10)
    trace.named("stat", "lane/old", file=real)
    trace.open("lane/new", os.O_WRONLY | os.O_CREAT, file=trace.file("real/new", existed=False))
    trace.named("unlink", "real/new", seen=False)
    plan = plan_of(trace, tmp_path)
    assert len(plan.snapshot.links) == 1
    assert [file.size for file in plan.snapshot.files] == [10]


def test_what_a_link_to_a_folder_outside_leads_to_stays_outside(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("readlink", "movie.tif", "/elsewhere/movie.tif", seen=False, size=100, result=20)
    trace.open("movie.tif", file=trace.file("/elsewhere/movie.tif"))
    trace.named("stat", "other.tif")
    plan = plan_of(trace, tmp_path, "/data/job")
    assert names(plan) == ["readlink", "stat"]
    assert plan.not_replayed == {"outside the mapped folders": 1}


def test_a_link_that_dangles_until_a_file_is_made_through_it_is_there_and_its_file_is_not(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.missing("stat", "link")
    made = trace.file("goal", existed=False)
    trace.open("link", os.O_WRONLY | os.O_CREAT, file=made)
    trace.named("readlink", "link", "goal", seen=False, size=100, result=4)
    snapshot = plan_of(trace, tmp_path).snapshot
    assert (len(snapshot.links), snapshot.files) == (1, [])


def test_a_name_seen_while_the_call_that_makes_it_runs_is_not_there_at_the_start(tmp_path: Path) -> None:
    trace = TraceBuilder()
    other = trace.process()
    trace.named("mkdir", "d", seen=False)
    trace.missing("stat", "d/x")
    made = trace.file("d/x", existed=False)
    trace.named("stat", "d/x", file=made, at=50_000, duration=1_000)
    trace.open("d/x", os.O_WRONLY | os.O_CREAT, file=made, thread=other, at=49_000, duration=5_000)
    assert plan_of(trace, tmp_path).snapshot.files == []


def test_a_link_of_the_run_whose_folder_is_renamed_needs_no_target(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("mkdir", "a", seen=False)
    trace.named("symlink", "a/link", "gone", seen=False)
    trace.named("rename", "a", "b", seen=False)
    trace.named("unlink", "b/link", seen=False)
    snapshot = plan_of(trace, tmp_path).snapshot
    assert (snapshot.files, snapshot.links) == ([], [])


def test_a_path_that_leads_through_a_link_gets_the_link(tmp_path: Path) -> None:
    trace = TraceBuilder()
    real = trace.file("/data/job/bulk/movie.tif", size=100)
    trace.named("stat", "lane/movie.tif", file=real)
    plan = plan_of(trace, tmp_path, "/data")
    ((link, target),) = plan.snapshot.links
    assert [file.path.startswith(target + b"/") for file in plan.snapshot.files] == [True]
    assert depth_of(link) == 1


def test_a_links_text_with_bytes_that_are_not_utf8_leads_to_its_file(tmp_path: Path) -> None:
    trace = TraceBuilder()
    goal = trace.open("goal \udcff.mrc", size=100)
    trace.close(goal, "goal \udcff.mrc")
    trace.file("link", type="link", target="goal \\xff.mrc")
    trace.named("lstat", "link")
    snapshot = plan_of(trace, tmp_path).snapshot
    assert [target for _, target in snapshot.links] == [file.path for file in snapshot.files]


def test_hard_links_stay_one_file(tmp_path: Path) -> None:
    trace = TraceBuilder()
    number = trace.file("one.dat", size=100)
    trace.named("stat", "one.dat")
    trace.named("stat", "other.dat", file=number)
    snapshot = plan_of(trace, tmp_path).snapshot
    assert len(snapshot.files) == len(snapshot.hard_links) == 1
    assert snapshot.bytes == 100


def test_a_listing_gets_as_many_entries_as_it_was_long(tmp_path: Path) -> None:
    trace = TraceBuilder()
    folder = trace.open("many", os.O_DIRECTORY, type="directory")
    trace.on("getdents64", folder, "many", size=32_768, result=48 + 1000 * 32)
    plan = plan_of(trace, tmp_path)
    ((_, count, length),) = plan.snapshot.fillers
    assert (count, length) == (1000, 12)


def test_a_link_never_leads_up_or_out(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.call("symlink", path=trace.path("d/l1"), other_path=trace.path("../../../../etc/passwd"))
    trace.call("symlink", path=trace.path("d/l2"), other_path=trace.path("/etc/passwd"))
    trace.call("symlink", path=trace.path("d/l3"), other_path=trace.path("../d/x"))
    plan = plan_of(trace, tmp_path)
    for text, absolute in zip(plan.strings.texts, plan.strings.absolute, strict=True):
        assert b".." not in text
        assert b"passwd" not in text
        assert not text.startswith(b"/")
        assert absolute or not text.startswith(b"_gone")


def test_what_cannot_or_must_not_be_replayed_is_counted_by_reason(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("stat", "a")
    trace.named("stat", "/usr/lib/x")
    trace.named("stat", "b", result=-errno.EACCES)
    trace.named("unlink", "c", result=-errno.EIO)
    trace.named("stat", "fifo", file=trace.file("fifo", type="other"))
    trace.call(
        "getxattr", path=trace.path("a"), file=trace.file("a"), other_path=trace.path(b"security.selinux"), size=0
    )
    trace.call("read", path=None, open=None, size=10, result=3)
    trace.call("stat", path=trace.path("a"), result=None, duration=None)
    trace.call("made_up_call", path=trace.path("a"))
    trace.named("rename", "a", "/usr/a")
    left_out = plan_of(trace, tmp_path).not_replayed
    assert sum(left_out.values()) == 9
    assert set(left_out.values()) == {1}


def test_modes_keep_neither_setuid_nor_sticky_let_only_the_owner_write_and_never_lock_it_out(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("mkdir", "d", mode=0o1000, seen=False)
    made = trace.open("x", os.O_CREAT | os.O_WRONLY, existed=False, mode=0o6001)
    trace.open("y", os.O_CREAT | os.O_WRONLY, existed=False, mode=0o666, op="openat2")
    trace.on("fchmod", made, "x", mode=0o4777)
    trace.named("chmod", "x", mode=0)
    plan = plan_of(trace, tmp_path)
    at = {OPERATIONS[op].name: i for i, op in enumerate(plan.rows.op) if op >= 0}
    assert plan.rows.arguments[at["mkdir"], 1] == 0o700
    assert plan.rows.arguments[at["openat"], 3] == 0o601
    assert plan.rows.arguments[at["openat2"], 5] == 0o644
    assert plan.rows.arguments[at["fchmod"], 1] == 0o755
    assert plan.rows.arguments[at["chmod"], 1] == 0o700


def test_a_description_shared_by_a_fork_is_passed_on_and_closed_by_both(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=100)
    child = trace.fork()
    trace.close(file, "x")
    trace.read(file, "x", 0, 10, thread=child)
    trace.close(file, "x", thread=child)
    trace.named("stat", "x")
    plan = plan_of(trace, tmp_path)
    rows = plan.rows
    assert rows.extra.sum() == 0
    slots = [int(rows.closed[i]) for i in np.flatnonzero(rows.special == CLOSE)]
    assert len(set(slots)) == 2
    read = next(i for i, op in enumerate(rows.op) if op >= 0 and OPERATIONS[op].name == "read")
    closed_by_parent = next(int(rows.closed[i]) for i in np.flatnonzero(rows.special == CLOSE) if rows.thread[i] == 0)
    assert rows.arguments[read, 0] != closed_by_parent
    threads = plan.threads
    assert (threads.take_from.tolist(), threads.take_to.tolist()) == (
        [closed_by_parent],
        [int(rows.arguments[read, 0])],
    )
    assert plan.workers == 2


def test_a_grandchild_gets_what_its_parent_never_touched(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=100)
    child = trace.fork()
    grandchild = trace.fork(child)
    trace.read(file, "x", 0, 10, thread=grandchild)
    threads = plan_of(trace, tmp_path).threads
    assert np.diff(threads.take_begin)[[child, grandchild]].tolist() == [1, 1]
    assert threads.take_from[threads.take_begin[grandchild]] == threads.take_to[threads.take_begin[child]]


def test_processes_that_share_a_description_without_a_fork_are_one_worker(tmp_path: Path) -> None:
    trace = TraceBuilder()
    child = trace.fork()
    file = trace.open("x", size=100)
    trace.read(file, "x", 0, 10, thread=child)
    plan = plan_of(trace, tmp_path)
    assert (plan.workers, plan.apart.tolist()) == (1, [True])


def test_a_child_that_uses_what_the_parent_closed_keeps_a_descriptor(tmp_path: Path) -> None:
    trace = TraceBuilder()
    file = trace.open("x", size=100)
    child = trace.fork()
    trace.close(file, "x")
    trace.read(file, "x", 0, 10, thread=child)
    plan = plan_of(trace, tmp_path)
    read = next(i for i, op in enumerate(plan.rows.op) if op >= 0 and OPERATIONS[op].name == "read")
    (close,) = np.flatnonzero(plan.rows.special == CLOSE)
    assert plan.rows.arguments[read, 0] != plan.rows.closed[close]


def test_threads_whose_lives_do_not_overlap_share_a_lane(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("stat", "a")
    for _ in range(50):
        child = trace.fork()
        trace.named("stat", "a", thread=child)
        trace.call("exit", thread=child)
        trace.call("wait", child=trace.process_of[child], result=1)
    plan = plan_of(trace, tmp_path)
    assert plan.lanes == 2
    assert (plan.rows.special == BEGIN).sum() == (plan.rows.special == END).sum() == 51


def test_a_read_waits_for_the_write_of_another_thread_and_not_for_its_own(tmp_path: Path) -> None:
    trace = TraceBuilder()
    other = trace.thread()
    mine = trace.open("x", os.O_RDWR, size=10)
    yours = trace.open("x", os.O_RDWR, thread=other)
    trace.write(mine, "x", 0, 10, op="pwrite64")
    trace.read(mine, "x", 0, 10, op="pread64")
    trace.read(yours, "x", 0, 10, op="pread64", thread=other)
    plan = plan_of(trace, tmp_path)
    (waits,) = np.nonzero(np.diff(plan.rows.wait_begin))
    described = [(int(plan.rows.op[i]), int(plan.rows.thread[i])) for i in waits]
    # a process's further threads begin after its first
    assert described == [(-1, 1), (NUMBER_OF["pread64"], 1)]
    assert [int(plan.rows.op[row]) for row in plan.rows.wait_row] == [-1, NUMBER_OF["pwrite64"]]
    (tmp_path / "thread").mkdir()
    alone = plan_of(trace, tmp_path / "thread", order="thread").rows
    assert [int(alone.op[row]) for row in alone.wait_row] == [-1]


def test_gaps_are_split_into_cpu_time_and_sleep_and_leave_out_waiting_for_children(tmp_path: Path) -> None:
    trace = TraceBuilder(duration_ns=100)
    trace.named("stat", "a", at=1000)
    trace.named("stat", "/usr/x", at=1500, off_cpu_ns=350)
    trace.named("stat", "a", at=5000, off_cpu_ns=2700)
    child = trace.process()
    trace.call("fork", at=6000, child=child, result=1, off_cpu_ns=890)
    trace.call("exit", at=80_000, thread=child)
    trace.call("wait", at=7000, duration=100_000, child=1, result=1, off_cpu_ns=890)
    trace.named("stat", "a", at=108_000, off_cpu_ns=990)
    plan = plan_of(trace, tmp_path)
    stats = [i for i, op in enumerate(plan.rows.op) if op >= 0 and OPERATIONS[op].name == "stat"]
    assert [int(plan.rows.busy_ns[i]) for i in stats] == [0, 750, 10]
    assert [int(plan.rows.idle_ns[i]) for i in stats] == [0, 3900 - 750, 990]
    assert [int(plan.rows.due_ns[i]) for i in stats] == [0, 4000, 107_000]


def test_the_time_that_fork_and_exec_took_is_think_time_as_a_replay_does_neither(tmp_path: Path) -> None:
    trace = TraceBuilder(duration_ns=100)
    trace.named("stat", "a", at=1000)
    trace.call("fork", at=2000, duration=50_000, child=trace.process(), result=1, off_cpu_ns=0)
    trace.named("stat", "a", at=53_000, off_cpu_ns=400)
    trace.call("exec", at=54_000, duration=7_000_000, off_cpu_ns=0)
    trace.named("stat", "a", at=7_055_000, off_cpu_ns=0)
    rows = plan_of(trace, tmp_path).rows
    stats = [i for i, op in enumerate(rows.op) if op >= 0 and OPERATIONS[op].name == "stat"]
    assert [int(rows.busy_ns[i]) for i in stats[1:]] == [50_000 + 600, 100_000 + 1000]
    assert [int(rows.idle_ns[i]) for i in stats[1:]] == [400, 7_000_000 - 100_000]


def test_a_helper_without_calls_that_ends_after_its_process_does_not_sleep_its_life_again(tmp_path: Path) -> None:
    """As OpenMP's threads: forked early, no call on a file, gone with the process, just behind its first thread."""
    trace = TraceBuilder(duration_ns=100)
    helper = trace.thread()
    trace.named("stat", "a", at=1000)
    trace.call("fork", at=2000, child=helper, flags=0x3D0F00, result=2)
    trace.named("stat", "a", at=9_000_000)
    trace.call("exit", at=9_001_000, duration=0)
    trace.call("exit", at=9_002_000, duration=0, thread=helper)
    rows = plan_of(trace, tmp_path).rows
    gaps = rows.busy_ns + rows.idle_ns
    assert int(gaps.sum()) < 9_100_000


def test_a_relative_name_stays_relative_to_the_folder_that_the_process_changed_to(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("chdir", "sub", file=trace.file("sub", type="directory"))
    trace.call("stat", path=trace.path("x.mrc", base="/data/job/sub"), file=trace.file("/data/job/sub/x.mrc"))
    trace.call("stat", path=trace.path("/data/job/sub/x.mrc"), file=trace.file("/data/job/sub/x.mrc"))
    plan = plan_of(trace, tmp_path)
    stats = [i for i, op in enumerate(plan.rows.op) if op >= 0 and OPERATIONS[op].name == "stat"]
    first, second = (int(plan.rows.arguments[i, 0]) for i in stats)
    assert (depth_of(plan.strings.texts[first]), plan.strings.absolute[first]) == (0, False)
    assert (depth_of(plan.strings.texts[second]), plan.strings.absolute[second]) == (1, True)


def test_a_torn_trace_gets_one_clear_line(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("stat", "a")
    folder = trace.save(tmp_path / "T.iotrace")
    part = next((folder / "events").glob("part-*"))
    part.write_bytes(part.read_bytes()[:-30])
    with pytest.raises(TraceError) as caught:
        build_plan(open_trace(folder))
    assert "\n" not in str(caught.value)


def test_an_empty_trace_says_that_nothing_can_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="nothing"):
        plan_of(TraceBuilder(), tmp_path)


def test_dots_in_a_recorded_path_cannot_lead_out_of_a_prefix() -> None:
    assert components_of("/data/job/../../etc/passwd") == [b"etc", b"passwd"]


@pytest.mark.parametrize("size", [1 << 45, 1 << 46, 1 << 62])
@pytest.mark.parametrize("distance", [0, 4096, 1 << 44])
@pytest.mark.parametrize("unmapped", [None, 1 << 46, 1 << 62])
def test_nothing_behind_a_mapping_is_unmapped_however_long_a_trace_says_that_it_was(
    size: int, distance: int, unmapped: int | None, tmp_path: Path
) -> None:
    trace, address = TraceBuilder(), 0x100000000000
    file = trace.open("x", existed=True)
    trace.call("mmap", file=0, open=file, path=0, address=address, size=size, offset=0, flags=2, mode=1, result=0)
    if unmapped:
        trace.call("munmap", file=0, address=address + distance, size=unmapped, result=0)
    plan = plan_of(trace, tmp_path)
    op, arguments = plan.rows.op.tolist(), plan.rows.arguments
    (length,) = [int(arguments[i, 1]) for i, one in enumerate(op) if one >= 0 and OPERATIONS[one].name == "mmap"]
    pieces = [(delta, size) for _, delta, size in plan.threads.unmap.tolist()]
    unmaps = np.flatnonzero(plan.rows.special == UNMAP)
    pieces += [(int(plan.rows.delta[i]), int(arguments[i, 1])) for i in unmaps]
    assert pieces
    assert all(delta + size <= length for delta, size in pieces), (length, pieces)

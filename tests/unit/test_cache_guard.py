"""The cache guard: never "storage" without evidence, and what a run needs is counted from its plan."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from builders import TraceBuilder
from hypothesis import given
from hypothesis import strategies as st

from iotrace.mounts.cold import LRU_CLEAR, clear_locks
from iotrace.mounts.counters.guard import SHARE, Evidence, Figure, Verdict, judge, over_the_wire
from iotrace.mounts.family import families, family_of
from iotrace.mounts.mountinfo import Mount
from iotrace.mounts.stripes import on_metadata_target
from iotrace.replay.counting import conclude
from iotrace.replay.figures import Guard
from iotrace.replay.needed import PAGE, Needed, needed
from iotrace.replay.plan import build_plan
from iotrace.replay.provenance import CACHE_WARNING
from iotrace.replay.result import MountInfo, ResultInfo, Run
from iotrace.trace.reader import open_trace

MB = 1_000_000


def figure(read: int, scope: str = "device") -> Figure:
    return Figure(f"the {scope}", scope, read)


def test_a_run_of_which_nothing_came_over_the_wire_is_the_caches() -> None:
    found = judge(Evidence(10 * MB, 10 * MB, [figure(0)]))
    assert found.verdict == "client cache"
    assert found.why == "0 B of 10.0 MB that had to come from the storage did (the device)."


def test_a_run_of_which_all_came_over_the_wire_is_the_storages() -> None:
    found = judge(Evidence(10 * MB, 0, [figure(11 * MB)]))
    assert (found.verdict, found.wire_bytes, found.source) == ("storage", 11 * MB, "the device")
    assert found.why.startswith("10.0 MB of 10.0 MB that had to come from the storage did (the device), 0 B were in")


def test_what_others_read_from_the_same_device_does_not_make_a_cached_run_the_storages() -> None:
    assert judge(Evidence(10 * MB, None, [figure(50 * MB), figure(0, "processes")])).verdict == "client cache"
    assert judge(Evidence(10 * MB, 10 * MB, [figure(50 * MB)])).verdict == "client cache"
    assert judge(Evidence(10 * MB, None, [figure(50 * MB)])).verdict == "cannot tell"
    assert judge(Evidence(10 * MB, None, [figure(10 * MB), figure(10 * MB, "processes")])).verdict == "storage"


def test_small_reads_and_small_files_need_no_whole_pages() -> None:
    # 1000 reads of 100 bytes by NFS or O_DIRECT
    assert judge(Evidence(100_000, 0, [figure(100_000)], pages_bytes=4_096_000)).verdict == "storage"
    assert judge(Evidence(100_000, 2_048_000, [figure(2_048_000)], pages_bytes=4_096_000)).verdict == "client cache"


def test_what_comes_compressed_is_less_and_still_the_storages() -> None:
    assert judge(Evidence(10 * MB, 0, [figure(4 * MB)], compressed=True)).verdict == "storage"
    assert judge(Evidence(10 * MB, None, [figure(4 * MB, "processes")], compressed=True)).verdict == "cannot tell"
    assert judge(Evidence(10 * MB, None, [figure(0)], compressed=True)).verdict == "client cache"
    assert judge(Evidence(10 * MB, 5 * MB, [figure(4 * MB)], compressed=True)).verdict == "client cache"


def test_half_a_cache_is_a_cache() -> None:
    found = judge(Evidence(10 * MB, 5 * MB, [figure(5 * MB)]))
    assert (found.verdict, found.why.split(" of ")[0]) == ("client cache", "5.00 MB")


def test_devices_of_one_file_system_are_added_up_and_of_two_scopes_the_lower_holds() -> None:
    assert over_the_wire([figure(2), figure(3), figure(7, "processes")]) == (5, "the device", "device")
    assert over_the_wire([]) is None


def test_a_device_that_saw_less_than_the_processes_had_fetched_does_not_count_and_decides_nothing() -> None:
    deaf = [figure(10 * MB, "processes"), figure(0)]
    found = judge(Evidence(10 * MB, 0, deaf))
    assert (found.verdict, found.wire_bytes, found.source) == ("storage", 10 * MB, "the processes")
    # what they fetched may have come from another device
    assert judge(Evidence(10 * MB, 10 * MB, deaf)).verdict == "client cache"
    assert judge(Evidence(10 * MB, None, deaf)).verdict == "cannot tell"
    assert judge(Evidence(10 * MB, 0, [figure(MB, "processes"), figure(0)])).verdict == "client cache"


def test_reads_of_persistent_memory_are_seen_by_no_counter() -> None:
    for cached in (0, 10 * MB):
        found = judge(Evidence(10 * MB, cached, [figure(0), figure(0, "processes")], uncounted="dax=always"))
        assert found.verdict == "cannot tell"
        assert "dax=always" in found.why


def test_where_data_may_come_uncounted_too_few_bytes_are_no_evidence_of_a_cache() -> None:
    found = judge(Evidence(10 * MB, 0, [figure(MB, "mount")], page_cache_only=True, unseen="some come otherwise"))
    assert found.verdict == "cannot tell"
    assert found.why.endswith("but some come otherwise.")
    assert judge(Evidence(10 * MB, 10 * MB, [figure(MB)], unseen="x")).verdict == "client cache"
    assert judge(Evidence(10 * MB, 0, [figure(10 * MB)], unseen="x")).verdict == "storage"
    assert on_metadata_target(["to 1.00 MiB: on the MDT, to the end: 2 stripes of 4.00 MiB (raid0) × 3"])
    assert not on_metadata_target(["2 stripes of 4.00 MiB (raid0) × 3"])


def test_an_empty_page_cache_alone_is_evidence_only_where_the_client_keeps_data_nowhere_else() -> None:
    assert judge(Evidence(10 * MB, 0, [], page_cache_only=True)).verdict == "storage"
    assert judge(Evidence(10 * MB, 0, [])).verdict == "cannot tell"
    assert judge(Evidence(10 * MB, 10 * MB, [])).verdict == "client cache"
    assert judge(Evidence(10 * MB, None, [], page_cache_only=True)).verdict == "cannot tell"


def test_a_run_that_reads_nothing_gets_no_verdict_and_a_loop_device_is_said_to_be_one() -> None:
    assert judge(Evidence(0, 0, [figure(0)])).verdict == "cannot tell"
    assert "/disk.img" in judge(Evidence(MB, 0, [figure(MB)], below="/disk.img")).why


@given(
    st.integers(0, 1 << 50),
    st.none() | st.integers(0, 1 << 50),
    st.lists(st.builds(figure, st.integers(0, 1 << 50), st.sampled_from(["processes", "mount", "device"])), max_size=4),
    st.booleans(),
)
def test_whatever_the_evidence_it_is_the_storages_only_if_nothing_contradicts(
    needed: int, cached: int | None, figures: list[Figure], only: bool
) -> None:
    found = judge(Evidence(needed, cached, figures, only))
    if found.verdict == "storage":
        assert needed > 0
        assert found.wire_bytes is None or found.wire_bytes >= SHARE * needed
        assert cached is None or needed - cached >= SHARE * needed
        assert figures or (only and cached is not None)


def test_pages_are_needed_once_and_not_if_the_run_writes_them(tmp_path: Path) -> None:
    trace = TraceBuilder()
    opened = trace.open("read", os.O_RDWR, size=100 * PAGE)
    trace.read(opened, "read", 10, PAGE)  # pages 0 and 1
    trace.read(opened, "read", PAGE, PAGE, op="pread64")  # page 1 again
    trace.read(opened, "read", 50 * PAGE, 10 * PAGE, op="pread64")
    trace.write(opened, "read", 52 * PAGE, 2 * PAGE, op="pwrite64")
    trace.read(opened, "read", 99 * PAGE, 5 * PAGE, result=PAGE, op="pread64")
    written = trace.open("new", os.O_RDWR | os.O_CREAT, existed=False)
    trace.write(written, "new", 0, 8 * PAGE)
    trace.read(written, "new", 0, 8 * PAGE, op="pread64")
    plan = build_plan(open_trace(trace.save(tmp_path / "T.iotrace")))
    found = needed(plan)
    assert [file.size for file in plan.snapshot.files] == [100 * PAGE]
    assert found.pages.tolist() == [2 + 8 + 1]
    assert found.bytes.tolist() == [2 * PAGE - 10 + 8 * PAGE + PAGE]
    assert found.without([0]).bytes.tolist() == [0]


def test_what_is_read_past_the_page_cache_does_not_come_from_there(tmp_path: Path) -> None:
    trace = TraceBuilder()
    past = trace.open("data", os.O_RDONLY | os.O_DIRECT, size=100 * PAGE)
    by_way = trace.open("data")
    trace.read(past, "data", 0, 10 * PAGE, op="pread64")
    trace.read(by_way, "data", 8 * PAGE, 4 * PAGE, op="pread64")
    found = needed(build_plan(open_trace(trace.save(tmp_path / "T.iotrace"))))
    assert (found.bytes.tolist(), found.pages.tolist(), found.by_cache.tolist()) == ([12 * PAGE], [12], [4])
    assert found.without([0]).by_cache.tolist() == [0]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("xfs", {"cache": "warm"}, "For one, --cold."),
        ("fuse.ceph-fuse", {"cache": "cold", "remount": False}, "for one, --remount, files larger than this client's"),
        (
            "fuse.ceph-fuse",
            {"cache": "cold", "remount": True},
            "for one, files larger than this client's memory, or",
        ),
        ("tmpfs", {"cache": "cold"}, "For one, another mount: this one is memory."),
    ],
)
def test_what_was_done_already_is_not_advised_again(kind: str, options: dict[str, object], said: str) -> None:
    run = Run(run=0, round=0, fs="/a", mount=MountInfo("/a", kind, "x"), started_utc="", bytes_read=5)
    run.guard = Guard("client cache", "Why.", 5, 0, 0, "x")
    info = ResultInfo(options=options, runs=[run])
    conclude(info)
    assert said in info.warnings[0]


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (100, ["200 B of 300 B that a run read it had read before or written itself: those came from this client's"]),
        (299, []),
        (None, ["200 B of 300 B that a run read it had read before or written itself: those need not have come from"]),
    ],
)
def test_what_is_read_again_came_from_memory_only_as_far_as_no_counter_saw_it_come(
    wire: int | None, said: list[str]
) -> None:
    run = Run(run=0, round=0, fs="/a", mount=MountInfo("/a", "xfs", "x"), started_utc="", bytes_read=300)
    run.guard = Guard("storage", "Why.", 100, 0, wire, "x")
    info = ResultInfo(options={"cache": "cold"}, runs=[run])
    conclude(info)
    assert [sentence[: len(one) + 6] for sentence, one in zip(info.warnings, said, strict=True)] == [
        f"On /a {one}" for one in said
    ]


@pytest.mark.parametrize(
    ("read", "verdict", "stays"), [(0, "cannot tell", False), (5, "storage", False), (5, "cannot tell", True)]
)
def test_who_read_nothing_or_got_a_verdict_is_not_warned_of_the_page_cache(
    read: int, verdict: Verdict, stays: bool
) -> None:
    run = Run(run=0, round=0, fs="/a", mount=MountInfo("/a", "xfs", "x"), started_utc="", bytes_read=read)
    run.guard = Guard(verdict, "Why.", read, 0, None, "")
    warning = CACHE_WARNING.format("recorded")
    info = ResultInfo(options={"cache": "recorded"}, runs=[run], warnings=[warning])
    conclude(info)
    assert (warning in info.warnings) is stays


def copied(tmp_path: Path, op: str) -> Needed:
    """A trace that copies the first 8 pages of one file over pages 4 to 11 of another, and reads all of the other."""
    trace = TraceBuilder()
    source = trace.open("source", size=100 * PAGE)
    target = trace.open("target", os.O_RDWR, size=12 * PAGE)
    trace.on(
        op, source, "source", other_path=trace.path("target"), other_file=trace.file("target"), other_open=target,
        offset=0, other_offset=4 * PAGE, size=8 * PAGE, result=8 * PAGE,
    )  # fmt: skip
    trace.read(target, "target", 0, 12 * PAGE, op="pread64")
    return needed(build_plan(open_trace(trace.save(tmp_path / f"{op}.iotrace"))))


def test_what_copy_file_range_reads_need_not_come_and_what_a_copy_writes_does_not(tmp_path: Path) -> None:
    cloned, sent = copied(tmp_path, "copy_file_range"), copied(tmp_path, "sendfile")
    assert (cloned.bytes.tolist(), cloned.copied) == ([0, 4 * PAGE], 8 * PAGE)
    assert (sent.bytes.tolist(), sent.copied) == ([8 * PAGE, 4 * PAGE], 0)


CUTS: dict[str, tuple[dict[str, Any], int]] = {
    "ftruncate": ({"size": 3 * PAGE}, 3),
    "truncate": ({"size": 0}, 0),
    "fallocate": ({"flags": 0x3, "offset": 2 * PAGE, "size": 4 * PAGE}, 6),
    "uring.ftruncate": ({"size": 3 * PAGE}, 3),
}


@pytest.mark.parametrize("op", [*CUTS, "openat", "creat"])
def test_what_a_run_has_cut_off_or_punched_out_itself_is_zeros_that_come_from_nowhere(tmp_path: Path, op: str) -> None:
    trace = TraceBuilder()
    opened = trace.open("data", os.O_RDWR, size=10 * PAGE)
    columns, left = CUTS.get(op, ({}, 0))
    if op in ("openat", "creat"):
        trace.open("data", os.O_RDWR | os.O_TRUNC if op == "openat" else 0, op=op)
    elif op == "truncate":
        trace.named(op, "data", **columns)
    else:
        trace.on(op, opened, "data", **columns)
    trace.on("ftruncate", opened, "data", size=10 * PAGE)
    # neither a reservation nor a cut that failed takes anything away
    trace.on("fallocate", opened, "data", flags=1, offset=0, size=10 * PAGE)
    trace.on("ftruncate", opened, "data", size=-1, result=-errno.EINVAL)
    trace.read(opened, "data", 0, 10 * PAGE, op="pread64")
    found = needed(build_plan(open_trace(trace.save(tmp_path / "T.iotrace"))))
    assert found.bytes.tolist() == [left * PAGE]


def test_a_run_that_only_copies_gets_no_verdict_and_is_told_why() -> None:
    found = judge(Evidence(0, 0, [figure(4096)], copied_bytes=33_600_000))
    assert found.verdict == "cannot tell"
    assert "33.6 MB were copied by copy_file_range" in found.why


def test_each_family_has_a_way_to_go_cold_and_says_what_it_leaves() -> None:
    ways = {family.name: family.cold for family in families()}
    assert ways["Lustre"] is LRU_CLEAR
    assert all(ways[name].keeps for name in ("ceph-fuse", "MooseFS", "GlusterFS", "s3fs", "tmpfs", "GPFS", "ZFS"))
    assert all(not family.page_cache_only for family in families() if family.cold.keeps)


@pytest.mark.parametrize("source", ["10.0.0.1@tcp:/fsx", "host:/a;b"])
def test_locks_that_could_not_be_given_back_are_said_to_be_kept(source: str) -> None:
    # no `lctl` here
    mount = Mount(1, "/l", "lustre", source)
    assert family_of(mount).cold.step is clear_locks
    said = clear_locks(mount)
    assert said.endswith(".")
    assert "locks" in said

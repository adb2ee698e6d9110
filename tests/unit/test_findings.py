"""Findings: each rule finds what it is about, and leaves alone what only looks like it; figures are plain counts."""

import errno
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import TraceBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from made import made_result

from iotrace.analysis.findings.prices import Mounted, search_replayed
from iotrace.analysis.findings.reuse import BLOCK_SHIFT, reuse_of
from iotrace.analysis.findings.rules import rules
from iotrace.analysis.findings.search import search
from iotrace.analysis.findings.show import finding_text
from iotrace.errors import UsageError
from iotrace.trace.reader import open_trace

MIB = 1 << 20
Made = tuple[TraceBuilder, int]
"""A trace, and how many of its calls would fall away."""


def header_rereads(b: TraceBuilder, hurts: bool) -> int:
    for number in range(60):
        name = f"stack{0 if hurts else number}.mrc"
        o = b.open(name)
        b.read(o, name, 0, 1024, op="pread64")
        b.close(o, name)
    return 59


def open_close_churn(b: TraceBuilder, hurts: bool) -> int:
    for number in range(60):
        name = f"m{0 if hurts else number}.mrc"
        o = b.open(name)
        b.read(o, name, 0, 100_000, op="pread64")
        b.close(o, name)
    return 118


def stat_storm(b: TraceBuilder, hurts: bool) -> int:
    for number in range(300):
        b.named("newfstatat", f"f{0 if hurts else number}")
    return 299


def missing_names(b: TraceBuilder, hurts: bool) -> int:
    for number in range(150):
        b.missing("openat", f"lib{0 if hurts else number}.so", flags=0)
    return 149


def tiny_reads(b: TraceBuilder, hurts: bool) -> int:
    size = 4096 if hurts else MIB
    o = b.open("movie.tif", size=600 * size)
    for number in range(600):
        b.read(o, "movie.tif", number * size, size)
    return 600 - 3


def scattered_reads(b: TraceBuilder, hurts: bool) -> int:
    o = b.open("particles.mrc", size=2000 * 8192)
    for number in range(1500):
        b.read(o, "particles.mrc", 8192 * (number * 7 % 1500) if hurts else 4096 * number, 4096, op="pread64")
    return 0


def tiny_writes(b: TraceBuilder, hurts: bool) -> int:
    o = b.open("job.log", os.O_WRONLY | os.O_CREAT, existed=False)
    size = 300 if hurts else MIB
    for number in range(300):
        b.write(o, "job.log", number * size, size)
    return 299


def unaligned_reads(b: TraceBuilder, hurts: bool) -> int:
    o = b.open("particles.mrc", size=300 * 65536)
    for number in range(300):
        b.read(o, "particles.mrc", (1024 if hurts else 0) + 65536 * ((number * 7) % 300), 16384, op="pread64")
    return 0


def unaligned_writes(b: TraceBuilder, hurts: bool) -> int:
    o = b.open("volume.mrc", os.O_WRONLY)
    for number in range(300):
        b.write(o, "volume.mrc", (1024 if hurts else 0) + 65536 * 2 * ((number * 7) % 300), 65536, op="pwrite64")
    return 0


def mapped_reads(b: TraceBuilder, hurts: bool) -> int:
    for number in range(200):
        b.on(
            "mmap.fault", None, "mapped.tif", offset=4096 * number, size=4096, result=4096, address=1 << 30,
            duration=50_000 if hurts else None,
        )  # fmt: skip
        if not hurts:
            b.events[-1]["duration_ns"] = None
    return 199


def slow_copies(b: TraceBuilder, hurts: bool) -> int:
    threads = [0] if hurts else [0, *(b.thread() for _ in range(7))]
    for number in range(16):
        b.call(
            "copy_file_range", thread=threads[number % len(threads)],
            at=10_000_000 * (number // len(threads)), duration=10_000_000, path=b.path(f"s{number}"),
            file=b.file(f"s{number}"), other_path=b.path(f"d{number}"), other_file=b.file(f"d{number}"), offset=0,
            other_offset=0, size=MIB, result=MIB,
        )  # fmt: skip
    return 0


def rereads(b: TraceBuilder, hurts: bool) -> int:
    for number in range(300):
        name = f"particles{number % 100 if hurts else number}.mrc"
        o = b.open(name, size=10**6)
        b.read(o, name, 1024, 10**5, op="pread64")
    return 200


def cache_too_small(b: TraceBuilder, hurts: bool) -> int:
    for number in range(400):
        name = f"stack{number % 200}.mrc"
        o = b.open(name, size=10**7)
        b.read(o, name, 0, 10**6, op="pread64", duration=10**6 if hurts or number < 200 else 10**5)
    return 200


def locks(b: TraceBuilder, hurts: bool) -> int:
    o = b.open("stack.mrc", os.O_RDWR)
    for _ in range(100 if hurts else 1):
        b.on("fcntl.lock", o, "stack.mrc", flags=7, mode=1, offset=0, size=0)
    return 99


def fsync_storm(b: TraceBuilder, hurts: bool) -> int:
    for number in range(100):
        name = f"out{0 if hurts else number}.cs"
        o = b.open(name, os.O_WRONLY)
        b.write(o, name, number * 100, 100)
        b.on("fsync", o, name, duration=10**6)
    return 99


def crowded_folders(b: TraceBuilder, hurts: bool) -> int:
    b.file("crowd", type="directory", entries=20_000 if hurts else 200)
    for number in range(1200):
        b.named("newfstatat", f"crowd/f{number}")
    return 0


def folder_polling(b: TraceBuilder, hurts: bool) -> int:
    for number in range(120):
        name = f"movies{0 if hurts else number}"
        o = b.open(name, os.O_DIRECTORY, type="directory")
        b.on("getdents64", o, name, size=32768, result=1000)
        b.on("getdents64", o, name, size=32768, result=0)
    return 2 * 119


def one_large_file(b: TraceBuilder, hurts: bool) -> int:
    threads = [0, *(b.thread() for _ in range(3))]
    for number in range(64):
        name = "stack.mrc" if hurts else f"stack{number % 4}.mrc"
        o = b.open(name, size=1 << 34)
        for at in range(4):
            b.read(
                o, name, (number * 4 + at) * (32 << 20), 32 << 20, op="pread64", thread=threads[number % 4]
            )  # fmt: skip
    return 0


def written_then_read(b: TraceBuilder, hurts: bool) -> int:
    reader = b.fork() if hurts else 0
    for number in range(20):
        name = f"micrograph{number}.mrc"
        o = b.open(name, os.O_RDWR | os.O_CREAT, existed=False)
        b.write(o, name, 0, 10**7)
        b.on("pread64", b.open(name, thread=reader), name, thread=reader, offset=0, size=10**7, result=10**7)
    return 0


def reads_that_wait(b: TraceBuilder, hurts: bool) -> int:
    for number in range(4):
        name = f"m{number}.tif"
        o = b.open(name)
        b.read(o, name, 0, 10**8, at=number * 10**9, duration=8 * 10**8 if hurts else 10**7)
    return 0


MAKERS: dict[str, Callable[[TraceBuilder, bool], int]] = {
    "header-rereads": header_rereads, "open-close-churn": open_close_churn, "stat-storm": stat_storm,
    "missing-names": missing_names, "tiny-reads": tiny_reads, "scattered-reads": scattered_reads,
    "tiny-writes": tiny_writes,
    "unaligned-reads": unaligned_reads, "unaligned-writes": unaligned_writes,
    "mapped-reads": mapped_reads, "slow-copies": slow_copies,
    "rereads": rereads, "cache-too-small": cache_too_small, "locks": locks, "fsync-storm": fsync_storm,
    "crowded-folders": crowded_folders, "folder-polling": folder_polling, "one-large-file": one_large_file,
    "written-then-read": written_then_read, "reads-that-wait": reads_that_wait,
}  # fmt: skip


def test_every_rule_has_its_two_tests_here() -> None:
    assert [rule.name for rule in rules()] == list(dict.fromkeys(rule.name for rule in rules()))
    assert set(MAKERS) == {rule.name for rule in rules()}


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_rule_finds_what_hurts_and_says_how_many_calls_would_fall_away(name: str, tmp_path: Path) -> None:
    b = TraceBuilder()
    spared = MAKERS[name](b, True)
    found = {f.rule.name: f for f in search(open_trace(b.save(tmp_path / "t.iotrace")), with_reuse=False).findings}
    assert name in found
    finding = found[name]
    assert finding.evidence.spared == spared
    assert "{" not in finding.says
    assert finding.to_json()["limits"]["why"]


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_rule_leaves_alone_what_only_looks_like_it(name: str, tmp_path: Path) -> None:
    b = TraceBuilder()
    MAKERS[name](b, False)
    found = [f.rule.name for f in search(open_trace(b.save(tmp_path / "t.iotrace")), with_reuse=False).findings]
    assert name not in found


def test_the_evidence_names_the_files_with_most_to_gain(tmp_path: Path) -> None:
    b = TraceBuilder()
    for name, count in (("a.mrc", 100), ("b.mrc", 300), ("c.mrc", 200), ("d.mrc", 50)):
        for _ in range(count):
            b.named("newfstatat", name)
    finding = search(open_trace(b.save(tmp_path / "t.iotrace"))).findings[0]
    assert finding.rule.name == "stat-storm"
    assert finding.evidence.examples["path"].tolist() == ["/data/job/b.mrc", "/data/job/c.mrc", "/data/job/a.mrc"]
    assert finding.evidence.examples["spared"].tolist() == [299, 199, 99]
    assert finding.evidence.files == 4
    assert finding.evidence.gain_ns == (650 - 4) * 1000


def test_only_files_below_a_folder_count_where_one_is_given(tmp_path: Path) -> None:
    b = TraceBuilder()
    for _ in range(300):
        b.named("newfstatat", "/usr/share/zoneinfo/UTC")
        b.missing("newfstatat", "/mnt/weka/none")
        b.named("newfstatat", "/mnt/weka2/other")
    trace = open_trace(b.save(tmp_path / "t.iotrace"))
    assert {f.rule.name for f in search(trace).findings} == {"stat-storm", "missing-names"}
    inside = search(trace, Path("/mnt/weka"))
    assert [f.rule.name for f in inside.findings] == ["missing-names"]
    assert inside.totals.calls == 300
    assert inside.totals.wall_ns == search(trace).totals.wall_ns
    with pytest.raises(UsageError, match="no call on a file below /mnt/lustre"):
        search(trace, Path("/mnt/lustre"))


def test_at_the_latencies_of_another_storage_findings_change_places(tmp_path: Path) -> None:
    b = TraceBuilder()
    fsync_storm(b, True)
    stat_storm(b, True)
    found = search(open_trace(b.save(tmp_path / "t.iotrace")))
    assert [f.rule.name for f in found.findings][:2] == ["fsync-storm", "stat-storm"]
    slow = Mounted("/mnt/a", "nfs4", {"newfstatat": 1e9, "fsync": 1e3}).found(found)
    assert slow.findings[0].rule.name == "stat-storm"
    assert slow.findings[0].evidence.gain_ns == 299 * 10**9
    assert slow.totals.time_ns == pytest.approx(300e9 + 100e3 + 2 * 100 * 1000, rel=0.01)


@pytest.mark.parametrize(
    ("chosen", "calls"),
    [([], 300), (["/usr"], 400), (["/usr", "/data/job"], 700), (["/elsewhere"], 700)],
    ids=["the working folder", "what was mapped", "two folders", "nothing by name"],
)
def test_of_a_result_only_calls_on_what_moved_to_its_mounts_count(
    chosen: list[str], calls: int, tmp_path: Path
) -> None:
    b = TraceBuilder()
    for number in range(400):
        b.named("newfstatat", "/usr/lib/python3/os.py")
        if number < 300:
            b.named("newfstatat", "stack.mrc")
    made_result(tmp_path / "r.ioresult", {"/mnt/a": 1}, 2, options={"map": chosen})
    found = search_replayed(b.save(tmp_path / "made.iotrace"), tmp_path / "r.ioresult")
    assert found.totals.calls == calls
    assert [(f.rule.name, f.evidence.calls) for f in found.findings] == [("stat-storm", calls)]


def test_what_is_cheap_as_recorded_is_found_on_a_storage_where_it_is_dear(tmp_path: Path) -> None:
    b = TraceBuilder()
    for _ in range(300):
        b.named("newfstatat", "f", duration_ns=100)
    o = b.open("big", size=1 << 40)
    for number in range(9000):
        b.read(o, "big", number * 4096 * 3, 4096, op="pread64")
    found = search(open_trace(b.save(tmp_path / "t.iotrace")), with_reuse=False)
    # 3 % of the calls, with 0.3 % of the time
    assert "stat-storm" not in [f.rule.name for f in found.findings]
    dear = Mounted("/mnt/b", "nfs4", {"newfstatat": 1e6}).found(found)
    (one,) = [f for f in dear.findings if f.rule.name == "stat-storm"]
    said = one.to_json()
    assert said["gain_s"] == pytest.approx(0.299)
    assert [row["gain_s"] for row in said["examples"]] == pytest.approx([0.299])
    again = Mounted("/mnt/a", "ext4", {"newfstatat": 100.0}).found(dear)
    assert [f.rule.name for f in again.findings] == [f.rule.name for f in found.findings]


def test_a_cache_that_served_the_first_reads_too_is_not_too_small(tmp_path: Path) -> None:
    b = TraceBuilder()
    for number in range(400):
        name = f"stack{number % 200}.mrc"
        b.read(b.open(name, size=10**7), name, 0, 10**6, op="pread64", duration=2 * 10**5)  # 5 GB/s
    found = [f.rule.name for f in search(open_trace(b.save(tmp_path / "t.iotrace")), with_reuse=False).findings]
    assert "rereads" in found
    assert "cache-too-small" not in found


def names_in(b: TraceBuilder, folder: Path) -> list[str]:
    return [f.rule.name for f in search(open_trace(b.save(folder / "t.iotrace")), with_reuse=False).findings]


@pytest.mark.parametrize("late", [False, True])
def test_what_threads_ask_for_at_the_same_time_none_of_them_could_have_kept(late: bool, tmp_path: Path) -> None:
    b = TraceBuilder()
    other = b.thread()
    for number in range(300):
        name, begin = f"stack{number}.mrc", number * 10**8
        o = b.open(name, size=10**7, at=begin)
        for thread, wait in ((0, 0), (other, 3 * 10**7 if late else 10**6)):
            at: dict[str, Any] = {"thread": thread, "at": begin + wait + 10, "duration": 10**7}
            b.read(o, name, 0, 1024, op="pread64", **at)
            b.read(o, name, 65536, 10**6, op="pread64", **at)
            b.named("newfstatat", name, **at)
            b.missing("newfstatat", f"gone{number}", **at)
    expected = {"header-rereads", "rereads", "cache-too-small", "stat-storm", "missing-names"}
    assert expected & set(names_in(b, tmp_path)) == (expected if late else set())


def test_a_large_file_that_four_write_at_a_time_is_one_that_stripes_would_serve(tmp_path: Path) -> None:
    b = TraceBuilder()
    threads = [0, *(b.thread() for _ in range(3))]
    o = b.open("stack.mrc", os.O_WRONLY, size=1 << 31)
    for number in range(32):
        b.write(o, "stack.mrc", number << 26, 1 << 26, op="pwrite64", thread=threads[number % 4])
    found = search(open_trace(b.save(tmp_path / "t.iotrace")), with_reuse=False).findings
    (one,) = [finding for finding in found if finding.rule.name == "one-large-file"]
    assert (one.evidence.bytes, one.evidence.files) == (1 << 31, 1)


def test_a_large_file_that_four_read_one_after_the_other_is_not_read_by_several_at_a_time(tmp_path: Path) -> None:
    b = TraceBuilder()
    threads = [0, *(b.thread() for _ in range(3))]
    o = b.open("stack.mrc", size=1 << 31)
    for thread in threads:
        for number in range(32):
            b.read(o, "stack.mrc", number << 26, 1 << 26, op="pread64", thread=thread)
    assert "one-large-file" not in names_in(b, tmp_path)


@pytest.mark.parametrize(
    ("place", "writers", "begins", "found"),
    [(0, 1, 10, True), (10**8, 1, 10, False), (0, 1, 0, False), (0, 2, 10, True)],
    ids=["what was written", "beside what was written", "before it was written", "of two writers"],
)
def test_only_what_another_process_had_written_before_is_written_then_read(
    place: int, writers: int, begins: int, found: bool, tmp_path: Path
) -> None:
    b = TraceBuilder()
    second, reader = b.fork(), b.fork()
    for number in range(20):
        name, at = f"m{number}.mrc", (number + 1) * 10**9
        o = b.open(name, os.O_RDWR, size=2 * 10**8, at=at)
        for thread in (0, second)[:writers]:
            b.write(o, name, 0, 10**7, op="pwrite64", thread=thread, at=at + 100, duration=10**7)
        b.read(o, name, place, 10**7, op="pread64", thread=reader, at=at + 1000 + begins * 10**7, duration=10**8)
    assert ("written-then-read" in names_in(b, tmp_path)) is found


def copied_by_hand(b: TraceBuilder, threads: list[int], way: str = "") -> None:
    """Sixteen files of 1,000,000 bytes, read and written in pieces of 65,536, each by the next thread in turn."""
    for number in range(16):
        thread, at = threads[number % len(threads)], 10**9 * (1 + number // len(threads))
        source, target, size = f"s{number}", f"d{number}", 10**6
        read, written = b.open(source, size=size, thread=thread, at=at), b.open(target, 0o101, thread=thread, at=at + 1)
        if way != "":
            # both files are read and written to their end, as copies are
            b.read(read, source, size - 1, 1, thread=thread, at=at + 2)
            b.write(written, target, size - 1, 1, thread=thread, at=at + 10**8 * 9)
        for turn, offset in enumerate(range(0, size, 65536)):
            if way == "not whole" and offset > size * 4 // 5:
                break
            many = min(65536, size - offset)
            when: dict[str, Any] = {"thread": thread, "duration": 10**6}
            b.read(read, source, offset, many, at=at + 10**7 * turn + 10**6, **when)
            if way == "another file between":
                b.read(0, "other", 0, many, at=at + 10**7 * turn + 2 * 10**6, **when)
            place = size - offset - many if way == "another place" else offset
            many = many // 2 if way == "another size" else many
            b.write(written, target, place, many, at=at + 10**7 * turn + 3 * 10**6, **when)
        b.close(read, source, thread=thread, at=at + 5 * 10**8)
        b.on("fsync", written, target, thread=thread, at=at + 5 * 10**8 + 10, duration=2 * 10**6)


def test_copies_by_reads_and_writes_are_found_and_their_bytes_count_once(tmp_path: Path) -> None:
    b = TraceBuilder()
    copied_by_hand(b, [0])
    found = search(open_trace(b.save(tmp_path / "t.iotrace")), with_reuse=False).findings
    (one,) = [finding for finding in found if finding.rule.name == "slow-copies"]
    e = one.evidence
    assert (e.bytes, e.files) == (16 * 10**6, 16)
    # of a copy 16 reads and 16 writes of 1 ms, a sync of 2 ms, two opens and a close of 1 µs
    assert e.time_ns == 16 * (34 * 10**6 + 3 * 1000)
    expected = {"rate": 1 / 0.034003, "each": 34.003, "streams": 1, "copies": 16, "covered_s": 16 * 0.153}
    assert e.numbers == pytest.approx(expected)
    assert e.gain_ns == pytest.approx(e.time_ns * 7 / 8, rel=1e-6)
    assert [os.path.basename(path) for path in e.examples["path"]] == ["s0", "s1", "s10"]


@pytest.mark.parametrize("way", ["not whole", "another file between", "another place", "another size"])
def test_work_on_a_file_is_no_copy_of_it(way: str, tmp_path: Path) -> None:
    b = TraceBuilder()
    b.open("other")
    copied_by_hand(b, [0], way)
    assert "slow-copies" not in names_in(b, tmp_path)


def test_eight_copies_by_reads_and_writes_at_a_time_are_not_slow(tmp_path: Path) -> None:
    b = TraceBuilder()
    copied_by_hand(b, [b.thread() for _ in range(8)])
    assert "slow-copies" not in names_in(b, tmp_path)


def test_who_waits_for_pages_of_a_mapped_file_stands_in_reads(tmp_path: Path) -> None:
    b = TraceBuilder()
    for number in range(20):
        at: dict[str, Any] = {"at": number * 10**8, "duration": 6 * 10**7}
        b.on("mmap.fault", None, "m.tif", offset=number << 20, size=4096, result=0, **at)
    found = search(open_trace(b.save(tmp_path / "t.iotrace")), with_reuse=False).findings
    (one,) = [finding for finding in found if finding.rule.name == "reads-that-wait"]
    assert one.evidence.gain_ns == 20 * 6 * 10**7


def test_what_one_process_wrote_and_another_copies_is_written_then_read(tmp_path: Path) -> None:
    b = TraceBuilder()
    reader = b.fork()
    for number in range(20):
        name = f"stack{number}.mrc"
        b.write(b.open(name, os.O_WRONLY | os.O_CREAT, existed=False), name, 0, 10**7)
        b.on("sendfile", 0, name, thread=reader, offset=0, size=10**7, result=10**7, other_file=b.file(f"c{number}"),
             other_offset=0)  # fmt: skip
    found = search(open_trace(b.save(tmp_path / "t.iotrace")), with_reuse=False).findings
    (one,) = [finding for finding in found if finding.rule.name == "written-then-read"]
    assert (one.evidence.bytes, one.evidence.calls) == (2 * 10**8, 20)


def test_small_writes_at_scattered_places_are_found_too(tmp_path: Path) -> None:
    b = TraceBuilder()
    o = b.open("index.db", os.O_WRONLY)
    for number in range(300):
        b.write(o, "index.db", 65536 * (number * 7 % 300), 100, op="pwrite64")
    assert "unaligned-writes" in names_in(b, tmp_path)


def test_calls_of_several_threads_go_on_in_the_order_in_which_they_ended(tmp_path: Path) -> None:
    b = TraceBuilder()
    other = b.thread()
    o = b.open("movie.tif", size=10**8)
    for number in range(0, 600, 2):
        # the first to begin waits for the position, and gets it second
        begin = 10**6 * number
        b.read(o, "movie.tif", (number + 1) * 4096, 4096, at=begin, duration=3000)
        b.read(o, "movie.tif", number * 4096, 4096, at=begin + 100, duration=1000, thread=other)
    assert "tiny-reads" in names_in(b, tmp_path)


def test_on_a_mount_the_wall_time_is_that_of_the_runs_there(tmp_path: Path) -> None:
    b = TraceBuilder()
    reads_that_wait(b, True)
    slow_copies(b, True)
    found = search(open_trace(b.save(tmp_path / "t.iotrace")), with_reuse=False)
    recorded = {f.rule.name: f for f in found.candidates}
    means = {str(op): float(ns) * 2 for op, ns in zip(found.by_op["op"], found.by_op["mean_ns"], strict=True)}
    there = {f.rule.name: f for f in Mounted("/mnt/a", "nfs4", means, 7 * 10**9).found(found).candidates}
    assert "of 7.00 s" in there["reads-that-wait"].says
    rate = recorded["slow-copies"].evidence.numbers["rate"]
    assert there["slow-copies"].evidence.numbers["rate"] == pytest.approx(rate / 2)


def test_an_empty_trace_has_no_findings(tmp_path: Path) -> None:
    found = search(open_trace(TraceBuilder().save(tmp_path / "t.iotrace")))
    assert not found.findings
    assert found.reuse is not None
    assert found.reuse.by_step.empty


def lru_hits(blocks: list[tuple[int, bool]], capacity: int) -> tuple[int, int]:
    """Reads served by an LRU cache of so many blocks, and all reads."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = reads = 0
    for block, is_read in blocks:
        reads += is_read
        if block in cache:
            hits += is_read
            cache.move_to_end(block)
        cache[block] = None
        if len(cache) > capacity:
            cache.popitem(last=False)
    return hits, reads


@settings(max_examples=15)
@given(blocks=st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=200))
def test_a_cache_serves_what_a_plain_lru_simulation_serves(blocks: list[tuple[int, bool]]) -> None:
    b, size = TraceBuilder(), 1 << BLOCK_SHIFT
    o = b.open("stack.mrc", os.O_RDWR, size=41 * size)
    for block, is_read in blocks:
        b.on("pread64" if is_read else "pwrite64", o, "stack.mrc", offset=block * size, size=size, result=size)
    with tempfile.TemporaryDirectory() as folder:
        reuse = reuse_of(open_trace(b.save(Path(folder) / "t.iotrace")))
    if not any(is_read for _, is_read in blocks):
        assert reuse.curve.empty
        return
    for cache_bytes, served in zip(reuse.curve["cache_bytes"], reuse.curve["served"], strict=True):
        hits, reads = lru_hits(blocks, cache_bytes // size)
        assert served == pytest.approx(hits / reads)


def test_a_sample_of_the_blocks_gives_about_the_same_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, size = np.random.default_rng(1), 1 << BLOCK_SHIFT
    b = TraceBuilder()
    o = b.open("stack.mrc", size=4000 * size)
    for block in rng.integers(0, 4000, 20_000).tolist():
        b.read(o, "stack.mrc", block * size, size, op="pread64")
    trace = open_trace(b.save(tmp_path / "t.iotrace"))
    curves: list[pd.Series[float]] = []
    for most in (1 << 22, 4000):
        monkeypatch.setattr("iotrace.analysis.findings.reuse.MOST", most)
        reuse = reuse_of(trace)
        curves.append(reuse.curve.set_index("cache_bytes")["served"])
    assert reuse.share == 1 / 8
    both = pd.concat(curves, axis=1).dropna()
    assert len(both) > 5
    assert float(np.abs(both.iloc[:, 0] - both.iloc[:, 1]).max()) < 0.08  # of 500 blocks


def test_reuse_is_told_by_step_of_the_files_looked_at_and_of_copies_on_both_sides(tmp_path: Path) -> None:
    b, size = TraceBuilder(), 1 << BLOCK_SHIFT
    picks, unlabelled = b.process(step="Inspect Picks"), b.process()
    o, other = b.open("in/a.mrc", size=4 * size), b.open("out/b.mrc", size=4 * size)
    b.read(o, "in/a.mrc", 0, 2 * size, op="pread64", thread=picks)
    # what has no row among the processes has no label either
    b.read(o, "in/a.mrc", 0, size, op="pread64", thread=unlabelled, process=7)
    copied = {"offset": 0, "other_file": b.file("out/b.mrc"), "other_offset": 0, "size": 4 * size, "result": 4 * size}
    b.on("copy_file_range", o, "in/a.mrc", thread=unlabelled, **copied)
    b.read(other, "out/b.mrc", 0, size, op="pread64", thread=picks)
    trace = open_trace(b.save(tmp_path / "t.iotrace"))

    def told(under: Path | None) -> dict[str, tuple[int, int]]:
        reuse = search(trace, under).reuse
        assert reuse is not None
        table = reuse.by_step
        columns = (table["step"].tolist(), table["read_bytes"].tolist(), table["again_bytes"].tolist())
        return {step: (read // size, again // size) for step, read, again in zip(*columns, strict=True)}

    assert told(None) == {"": (1 + 4, 1 + 2), "Inspect Picks": (2 + 1, 1)}
    assert told(Path("/data/job/out")) == {"": (4, 0), "Inspect Picks": (1, 1)}


def test_a_name_that_is_missing_is_no_open(tmp_path: Path) -> None:
    b = TraceBuilder()
    for _ in range(150):
        b.open("gone.mrc", result=-errno.ENOENT)
    assert [f.rule.name for f in search(open_trace(b.save(tmp_path / "t.iotrace"))).findings] == ["missing-names"]


def test_the_docs_show_what_is_found_in_the_shipped_recording() -> None:
    root = Path(__file__).parent.parent.parent
    found = search(open_trace(root / "data/traces/relion-particle-extraction.iotrace"), with_reuse=False).findings
    number, churn = next((n, f) for n, f in enumerate(found, start=1) if f.rule.name == "open-close-churn")
    shown = finding_text(number, churn, 80, ["lustre"]).plain.partition("   Do:")[0].rstrip()
    assert f"```\n{shown}\n```" in (root / "docs/findings.md").read_text()


def test_a_file_that_is_opened_while_it_is_open_is_not_said_to_have_been_closed(tmp_path: Path) -> None:
    b = TraceBuilder()
    for _ in range(150):
        b.open("m.mrc")
    (found,) = search(open_trace(b.save(tmp_path / "t.iotrace")), with_reuse=False).findings
    assert (found.rule.name, found.evidence.spared) == ("open-close-churn", 149)
    assert "had closed" not in found.says


def test_what_a_copy_wrote_and_what_a_map_touched_counts_for_the_cache(tmp_path: Path) -> None:
    b = TraceBuilder()
    block = 1 << 16
    b.on("copy_file_range", b.open("movie"), "movie", offset=0, other_offset=0, other_file=b.file("cached"),
         size=block, result=block)  # fmt: skip
    b.read(b.open("cached"), "cached", 0, block, op="pread64")
    b.on("mmap.fault", None, "map", offset=0, size=4096, result=0)
    b.on("mmap.fault", None, "map", offset=8192, size=4096, result=0)
    reuse = search(open_trace(b.save(tmp_path / "t.iotrace"))).reuse
    assert reuse is not None
    (row,) = reuse.by_step.to_dict("records")
    # read are the movie, what the copy wrote, and one block of the map twice
    assert (row["read_bytes"], row["unique_bytes"], row["again_bytes"]) == (4 * block, 3 * block, 2 * block)

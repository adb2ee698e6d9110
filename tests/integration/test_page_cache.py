"""The page cache before a run is what was asked for, and what could not be done is said."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from builders import TraceBuilder

from iotrace.errors import UsageError
from iotrace.mounts.counters.pagecache import cached_pages, resident_pages
from iotrace.replay.cache import read_files_of, set_cache
from iotrace.replay.columns import NONE
from iotrace.replay.payload import Contents, Payload
from iotrace.replay.plan import build_plan
from iotrace.replay.sight import Sights
from iotrace.replay.snapshot import Snapshot, StagedFile
from iotrace.replay.stage import make_files
from iotrace.trace.reader import open_trace

PAGE = os.sysconf("SC_PAGE_SIZE")
PAGES = (256, 3, 0, 300)
SNAPSHOT = Snapshot(files=[StagedFile(b"f%d" % i, pages * PAGE - i, 0o600, i) for i, pages in enumerate(PAGES)])
SNAPSHOT.files[2].size = 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "x" / "t"
    folder.mkdir(parents=True)
    make_files(SNAPSHOT, range(4), folder, Contents(Payload()))
    if cached(folder)[0] < 0:
        pytest.skip("this kernel does not tell what it caches")
    return folder


def cached(tree: Path) -> list[int]:
    result = []
    for file in SNAPSHOT.files:
        with (tree / os.fsdecode(file.path)).open("rb") as opened:
            result.append(cached_pages(opened.fileno(), file.size))
    return result


def test_cold_leaves_no_page_and_warm_brings_what_is_read(tree: Path) -> None:
    assert cached(tree) == [256, 3, 0, 300]
    report = set_cache(SNAPSHOT, tree, "cold", mount_type="fuse.ceph-fuse")
    assert cached(tree) == [0, 0, 0, 0]
    assert (report.files, report.pages, report.wanted, report.cached) == (4, 559, 0, 0)
    assert report.notes == [
        "On fuse.ceph-fuse only this client's page cache was prepared: the servers have their own.",
        "Names and inodes may still be cached (--drop-caches, as root, empties the whole machine's).",
    ]
    report = set_cache(SNAPSHOT, tree, "warm", read_files=[0, 1])
    assert cached(tree) == [256, 3, 0, 0]
    assert (report.wanted, report.cached, report.notes) == (259, 259, [])


def test_recorded_brings_the_first_pages_and_leaves_what_is_unknown(tree: Path) -> None:
    sights = Sights(np.full(4, NONE), np.array([100, 999, NONE, 0]))
    report = set_cache(SNAPSHOT, tree, "recorded", sights)
    assert cached(tree) == [100, 3, 0, 0]
    assert (report.wanted, report.cached, report.unknown) == (103, 103, 1)
    assert report.notes == ["Of 1 of 4 files the trace does not say what was cached: left as staged."]
    with (tree / "f0").open("rb") as opened:
        assert cached_pages(opened.fileno(), 100 * PAGE) == 100
    set_cache(SNAPSHOT, tree, "warm")
    report = set_cache(SNAPSHOT, tree, "recorded")
    assert (cached(tree), report.unknown) == ([256, 3, 0, 300], 4)


def test_pages_that_stay_are_counted_and_said() -> None:
    """tmpfs has nothing but the page cache."""
    shm = Path("/dev/shm")
    if not shm.is_dir():
        pytest.skip("no tmpfs here")
    folder = shm / f"iotrace-test-{os.getpid()}"
    (folder / "t").mkdir(parents=True)
    try:
        make_files(SNAPSHOT, range(4), folder / "t", Contents(Payload()))
        if cached(folder / "t")[0] != 256:
            pytest.skip("this kernel does not tell what it caches of tmpfs")
        report = set_cache(SNAPSHOT, folder / "t", "cold")
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        folder.rmdir()
    assert "559 of 559 pages stayed in the page cache although it was to be cold." in report.notes


def test_mincore_and_cachestat_say_the_same(tree: Path) -> None:
    sights = Sights(np.full(4, NONE), np.array([100, 3, 0, 7]))
    set_cache(SNAPSHOT, tree, "recorded", sights)
    for file, pages in zip(SNAPSHOT.files, (100, 3, 0, 7), strict=True):
        with (tree / os.fsdecode(file.path)).open("r+b") as opened:
            by_mincore = resident_pages(opened.fileno(), file.size) if file.size else 0
            assert (cached_pages(opened.fileno(), file.size), by_mincore) == (pages, pages)


def test_files_that_are_read_or_mapped_are_known_from_the_plan(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for number, name in enumerate(("read", "mapped", "only looked at", "written")):
        opened = trace.open(name, os.O_RDWR if name == "written" else os.O_RDONLY, size=1000 + number)
        if name == "read":
            trace.read(opened, name, 0, 100)
        elif name == "mapped":
            trace.on("mmap", opened, name, address=1 << 40, size=1000, mode=1, flags=1, offset=0)
        elif name == "written":
            trace.write(opened, name, 0, 100)
    plan = build_plan(open_trace(trace.save(tmp_path / "T.iotrace")))
    assert [plan.snapshot.files[i].size for i in read_files_of(plan)] == [1000, 1001]


@pytest.mark.parametrize(("state", "drop"), [("lukewarm", False), ("warm", True)])
def test_a_state_that_makes_no_sense_is_one_line(tree: Path, state: str, drop: bool) -> None:
    with pytest.raises(UsageError) as caught:
        set_cache(SNAPSHOT, tree, state, drop_caches=drop)
    assert "\n" not in str(caught.value)

"""Random traces, mostly nonsense: a plan is made or refused in one line, and no run touches what it did not make."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from builders import TraceBuilder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotrace.errors import IotraceError
from iotrace.replay.null import longest_way
from iotrace.replay.plan import build_plan
from iotrace.replay.rows import ORDER
from iotrace.replay.run import run_replay
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.reader import open_trace

NAMES = [
    b"a", b"a/b", b"a/b/c.mrc", b"../x", b"../../../../etc/passwd", b"/data/job/a/b", b"/data/job/../../etc/hostname",
    b"/etc/passwd", b"a/../../..", b".", b"..", b"/", b"", b"a//b/", b"n\0ul", b"\xff\xfe", b"x" * 300, b"d/" * 2500,
    b"new\nline", b"l", b"l/b", b"iotrace-0123456789ab/t", b"/data/job/l/b", b"user.name", b"trusted.name", b"e.tif",
    b"f", b"g/h", b"i",
]  # fmt: skip

GOOD = [0, 25, 26, 1, 27, 28]
"""Rows of NAMES that are plain files."""
OPEN_FLAGS = [os.O_RDONLY, os.O_RDWR, os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_CREAT, os.O_RDONLY]
LARGE = st.sampled_from([0, 1, 4096, 65536, -1, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 62)])
SMALL = st.integers(0, 5)


def rarely(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, values, values, st.none())


EVENT = st.fixed_dictionaries(
    {
        "op": st.sampled_from([operation.name for operation in OPERATIONS] * 3 + ["bpf", "", "x" * 100]),
        "process": st.integers(0, 2),
        "thread": st.integers(0, 3),
        "path": st.one_of(st.sampled_from(GOOD), rarely(st.integers(0, len(NAMES) - 1))),
        "other_path": st.one_of(st.sampled_from(GOOD), rarely(st.integers(0, len(NAMES) + 2))),
        "file": rarely(SMALL),
        "other_file": rarely(SMALL),
        "open": st.one_of(SMALL, rarely(SMALL)),
        "other_open": rarely(SMALL),
        "offset": rarely(LARGE),
        "other_offset": rarely(LARGE),
        "size": rarely(st.sampled_from([0, 1, 4096, 65536, -1, 1 << 62])),
        "count": rarely(st.sampled_from([0, 1, 3, 5000, -1])),
        "address": rarely(st.sampled_from([0, 4096, 0x7F0000000000, 0x7F0000001000, -4096])),
        "flags": rarely(st.sampled_from([0, 1, 2, 3, 0o100, 0o101, 0o1102, 0o200000, 0x1000, 6, 7, 100, 0x32, 0x11,
        1030, -1])), "mode": rarely(st.sampled_from([0, 1, 3, 7, 0o777, 0o7777, -1])), "child": rarely(st.integers(0,
        4)), "result": st.one_of(
            st.just(0), st.just(0), st.just(0), st.just(4096), st.sampled_from([0, 0, 0, 1, 4096, 65536, -2, -17, -13,
            -20, -22, -28, -4, 1 << 40])
        ),
        "time_ns": st.sampled_from([8, 8, 20, 100, 1000, 50_000, 1_000_000, -7]),
        "duration_ns": rarely(st.sampled_from([0, 10, 100_000, -5])),
        "off_cpu_ns": rarely(st.sampled_from([0, 10, 1000, -1])),
    }
)  # fmt: skip
FILE = st.fixed_dictionaries(
    {
        "path": rarely(st.integers(0, len(NAMES) - 1)),
        "type": st.sampled_from(["file", "directory", "link", "other", None]),
        "size": rarely(st.sampled_from([0, 100, 70_000, -1])),
        "existed": rarely(st.booleans()),
        "mode": rarely(st.sampled_from([0, 0o777, 0o107777, -1])),
        "entries": rarely(st.sampled_from([0, 3, 1 << 40, -1])),
        "target": rarely(st.sampled_from(["a", "../..", "/etc", "/data/job/a", "l", ""])),
        "inherited_flags": rarely(st.sampled_from([0, 1, 2, 0o2000, -1])),
        "inherited_offset": rarely(st.sampled_from([0, 10, -1, 1 << 62])),
    }
)


def trace_of(folder: Path, events: list[dict[str, Any]], files: list[dict[str, Any]]) -> Path:
    trace = TraceBuilder(cwd="/data/job", step_ns=10)
    for thread in (1, 2, 3):
        trace.process() if thread < 3 else trace.thread(0)
    for name in NAMES:
        trace.path(name)
    for number in range(6):
        columns = {"type": "file", "size": 70_000, "existed": number != 4, "path": GOOD[number]}
        files = files if number < len(files) else [*files, columns]
    for number, flags in enumerate(OPEN_FLAGS):
        where = {
            "thread": number % 4,
            "path": GOOD[number],
            "file": number,
            "open": number,
            "flags": flags,
            "mode": 0o4755,
        }
        trace.call("openat", at=number, duration=0, **where)
    trace.call(
        "mmap",
        at=7,
        duration=0,
        open=0,
        file=0,
        path=GOOD[0],
        address=0x7F0000000000,
        size=65536,
        mode=1,
        flags=1,
        offset=0,
    )
    trace.files = {str(number): {"file": number} | file for number, file in enumerate(files)}
    for event in events:
        row = dict(event)
        if row["op"] in ("mmap.fault", "munmap", "msync", "madvise"):
            row["file"] = 0
        trace.call(row.pop("op"), at=row.pop("time_ns"), duration=row.pop("duration_ns"), **row)
    return trace.save(folder)


def listing(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_mode, path.lstat().st_size) for path in folder.rglob("*"))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EVENT, min_size=20, max_size=60), st.lists(FILE, max_size=6), st.sampled_from(["file", "thread"]))
def test_in_no_plan_of_a_damaged_trace_do_rows_wait_for_each_other(
    events: list[dict[str, Any]], files: list[dict[str, Any]], order: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="circle-") as folder:
        try:
            plan = build_plan(open_trace(trace_of(Path(folder) / "T.iotrace", events, files)), ["/data"], order)
        except IotraceError:
            return
        assert longest_way(plan, "think") >= 0
    givers = set(plan.rows.made[plan.rows.special == ORDER].tolist())
    assert set(np.flatnonzero(np.diff(plan.threads.take_begin)).tolist()) <= givers


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EVENT, min_size=20, max_size=60), st.lists(FILE, max_size=6), st.sampled_from(["file", "thread"]))
def test_no_trace_however_damaged_makes_a_replay_touch_what_it_did_not_make(
    events: list[dict[str, Any]], files: list[dict[str, Any]], order: str
) -> None:
    top = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        mount = top / "outer" / "mount"
        mount.mkdir(parents=True)
        (top / "outer" / "keep.txt").write_text("keep")
        (mount / "a").write_text("a file of the user's")
        before = listing(top)
        gc.collect()  # what earlier tests left open must not be closed in the middle of this one
        descriptors = len(os.listdir("/proc/self/fd"))
        trace = trace_of(top.parent / f"{top.name}.iotrace", events, files)
        said = ""
        try:
            run_replay(open_trace(trace), mount, prefixes=["/data"], timing="asap", order=order, max_bytes=10**8)
        except IotraceError as error:
            said = str(error)
        assert "\n" not in said
        assert listing(top) == before
        assert (mount / "a").read_text() == "a file of the user's"
        assert len(os.listdir("/proc/self/fd")) == descriptors
    finally:
        shutil.rmtree(top)
        shutil.rmtree(top.parent / f"{top.name}.iotrace", ignore_errors=True)

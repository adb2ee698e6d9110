"""One pass of a kernel gives the tables that DuckDB's queries give."""

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made import event, made_trace

from iotrace import histogram
from iotrace.trace import counted, scan
from iotrace.trace.counted import tables_of
from iotrace.trace.kernels.scanning import bucket
from iotrace.trace.reader import open_trace
from iotrace.trace.scanned import ScannedTables
from iotrace.trace.tables import KEYS, Tables

OPS = ["read", "pwrite64", "sendfile", "openat", "fsync", "mmap.fault", "fork", "newer"]
PROCESSES = [
    {"process": 0, "pid": 100, "command": "a", "start_ns": 0, "project": "P1", "job": "J1", "step": "x", "user": "u"},
    {"process": 1, "pid": 101, "command": "b", "start_ns": 0},
]


def any_trace(folder: Path, count: int, seed: int) -> Path:
    """Rows with every kind of null, in order of completion."""
    choose = random.Random(seed)

    def number(most: int) -> int | None:
        return choose.choice([None, 0, choose.randrange(most)])

    rows: list[dict[str, Any]] = [
        event(
            choose.randrange(10**9), choose.choice(OPS), duration_ns=number(10**10), process=choose.randrange(2),
            thread=choose.randrange(4), path=number(4), other_path=number(4), file=number(4), other_file=number(4),
            open=number(4), offset=number(10**6), size=number(10**6), result=choose.choice([None, -2, number(10**6)]),
        )
        for _ in range(count)
    ]  # fmt: skip
    rows.sort(key=lambda row: row["time_ns"] + (row["duration_ns"] or 0))
    return made_trace(folder / "t.iotrace", rows, ["/data/a", "/data/b", "/c", "/d"], processes=PROCESSES)


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    by = [name for name in ("key", "id", "start_s", "class", "op", "job", "bucket") if name in left]
    left, right = (frame.sort_values(by, ignore_index=True) for frame in (left, right[left.columns]))
    pd.testing.assert_frame_equal(left, right, check_dtype=False)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (1, 1), (60, 2), (500, 3)])
def test_a_scan_gives_the_tables_of_the_queries(tmp_path: Path, count: int, seed: int) -> None:
    opened = open_trace(any_trace(tmp_path, count, seed))
    with Tables(opened) as queried, ScannedTables(opened) as scanned:
        assert scanned._scan() is not None
        assert scanned.totals() == queried.totals()
        for key in KEYS:
            same(queried.by(key), scanned.by(key))
        for key in ("file", "process", "thread"):
            same(queried.by(key, 2), scanned.by(key, 2))
        same(queried.histogram("class", "size"), scanned.histogram("class", "size"))
        same(queried.histogram("op", "duration_ns"), scanned.histogram("op", "duration_ns"))
        same(queried.timeline(), scanned.timeline())
        same(queried.activity(), scanned.activity())


def test_numbers_outside_their_tables_are_left_to_the_queries(tmp_path: Path) -> None:
    rows = [event(0, "read", file=2_000_000_000, result=1), event(1, "read", process=7, file=0, result=1)]
    opened = open_trace(made_trace(tmp_path / "t.iotrace", rows, ["/data/a"]))
    with Tables(opened) as queried, ScannedTables(opened) as scanned:
        assert scanned._scan() is None
        same(queried.by("file"), scanned.by("file"))


def test_more_rows_than_a_scan_keeps_are_left_to_the_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MOST_ROWS", 2)
    opened = open_trace(any_trace(tmp_path, 60, 2))
    with Tables(opened) as queried, ScannedTables(opened) as scanned:
        assert scanned._scan() is None
        same(queried.by("op"), scanned.by("op"))


def test_large_traces_are_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_trace(any_trace(tmp_path, 60, 2))
    with tables_of(opened) as small:
        assert not isinstance(small, ScannedTables)
    monkeypatch.setattr(counted, "SCANNED", 60)
    with tables_of(opened) as large:
        assert isinstance(large, ScannedTables)


def test_the_kernel_has_the_buckets_of_the_histogram() -> None:
    for value in [-1, 0, 63, 64, 127, 128, 129, 10**6, 2**40 - 1, 2**62, *(2**i + 2**i // 3 for i in range(50))]:
        assert bucket(value) == histogram.bucket_of(value)

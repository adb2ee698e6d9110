"""A trace that may only be so large: chapters go oldest first, no reader ever finds an event without its names."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.analysis.commands.summary import header
from iotrace.analysis.summary import summarise
from iotrace.errors import StorageError, TraceError, UsageError
from iotrace.trace import chapters as chapters_module
from iotrace.trace import parts as parts_module
from iotrace.trace.info import Dropped, TraceInfo, read_info
from iotrace.trace.matrix import event_batch
from iotrace.trace.reader import open_trace
from iotrace.trace.schema import EVENT_COLUMNS, NULL, SCHEMAS
from iotrace.trace.writer import LEAST_MAX_BYTES, TraceWriter

COLUMN = {column.name: number for number, column in enumerate(EVENT_COLUMNS)}
MAX = LEAST_MAX_BYTES


def noise(rows: int, first_ns: int, path: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """A matrix of events that compress badly, about 20 bytes each, that all name one path."""
    random = np.random.default_rng(seed + first_ns)
    made = np.full((len(EVENT_COLUMNS), rows), NULL, np.int64)
    for name in ("process", "thread", "op"):
        made[COLUMN[name]] = 0
    made[COLUMN["time_ns"]] = first_ns + np.arange(rows)
    made[COLUMN["path"]] = path
    made[COLUMN["offset"]] = random.integers(0, 2**62, rows)
    made[COLUMN["size"]] = random.integers(0, 2**62, rows)
    return made


def disk_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def name_row(path: int) -> dict[str, object]:
    return {"path": path, "text": f"/{path}", "raw": b"x"}


def record_on(writer: TraceWriter, steps: int, rows: int = 40_000) -> Iterator[int]:
    """What a recorder does: chapters when they are wanted, names before the events that use them."""
    path = -1
    for step in range(steps):
        if path < 0 or writer.wants_chapter:
            if path >= 0:
                writer.begin_chapter()
            path += 1
            writer.append_rows("paths", [name_row(path)])
        writer.append_matrix(noise(rows, step * rows, path), rows)
        writer.flush()
        yield (step + 1) * rows


def check(folder: Path) -> tuple[int, int]:
    """A reader's view: consistent with itself and with trace.json; events present, and the oldest's time."""
    trace = open_trace(folder)
    events = trace.table("events", ["time_ns", "path"])
    times, paths = events.column("time_ns").to_numpy(), set(events.column("path").to_pylist())
    assert (np.diff(times) == 1).all(), "what is there is the newest, without a gap"
    assert paths <= set(trace.table("paths", ["path"]).column("path").to_pylist())
    assert trace.connect().execute("select count(*) from events").fetchall() == [(len(times),)]
    return len(times), int(times[0])


@pytest.mark.parametrize("rows", [5_000, 40_000, 140_000])
def test_a_bounded_trace_keeps_the_newest_and_never_exceeds_its_bound(rows: int, tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    steps = 2_400_000 // rows
    with TraceWriter(folder, TraceInfo(), max_bytes=MAX) as writer:
        for step, total in enumerate(record_on(writer, steps, rows)):
            assert disk_bytes(folder) <= MAX
            info = read_info(folder)
            assert info.events + info.dropped.events == total
            if step % max(1, steps // 12) == 0:
                count, oldest = check(folder)
                assert (count, oldest) == (info.events, info.dropped.events)
    info = read_info(folder)
    count, oldest = check(folder)
    assert info.complete
    assert info.dropped.events == oldest == info.dropped.until_ns + 1 > 0
    assert sum(chapter.events for chapter in info.chapters) == info.events == count
    assert disk_bytes(folder) > MAX // 2, "it keeps as much as it may"
    assert len(list((folder / "paths").glob("part-*"))) == len(info.chapters), "names went with their chapters"


def test_without_chapters_the_oldest_events_go_and_all_names_stay(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    with TraceWriter(folder, TraceInfo(), max_bytes=MAX) as writer:
        writer.append_rows("paths", [name_row(0)])
        for step in range(40):
            writer.append_matrix(noise(70_000, step * 70_000, 0), 70_000)
            assert disk_bytes(folder) <= MAX
    info = read_info(folder)
    assert info.dropped.events > 0
    assert check(folder) == (info.events, info.dropped.events)
    assert len(info.chapters) == 1


def test_names_that_alone_exceed_the_bound_end_in_one_line(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t.iotrace", TraceInfo(), max_bytes=MAX)

    def names_without_end() -> None:
        for number in range(2000):
            writer.append_rows("paths", [{"path": number, "text": "/", "raw": os.urandom(1 << 16)}])

    with pytest.raises(StorageError, match="names of files") as error:
        names_without_end()
    assert "\n" not in str(error.value)
    assert disk_bytes(tmp_path / "t.iotrace") <= MAX


def test_too_small_a_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too small"):
        TraceWriter(tmp_path / "t.iotrace", TraceInfo(), max_bytes=MAX - 1)
    assert not (tmp_path / "t.iotrace").exists()


def test_many_names_ask_for_a_chapter_even_without_a_bound(tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "t.iotrace", TraceInfo(), chapter_rows=10) as writer:
        writer.append_rows("paths", [name_row(number) for number in range(9)])
        assert not writer.wants_chapter
        writer.append_rows("files", [{"file": 0}])
        assert writer.wants_chapter
        writer.begin_chapter()
        assert not writer.wants_chapter
        writer.append_rows("paths", [name_row(9)])
    trace = open_trace(tmp_path / "t.iotrace")
    assert trace.info.chapters[1].first == {"events": 0, "paths": 1, "files": 1, "processes": 0}
    assert trace.paths().path.tolist() == list(range(10))


def at_each_rename_and_removal(monkeypatch: pytest.MonkeyPatch, look: Callable[[int], None]) -> None:
    """Look before each removal, and before and after each rename; how many there were before is said."""
    count = itertools.count()
    unlink, rename = Path.unlink, Path.rename

    def watched_unlink(path: Path, missing_ok: bool = False) -> None:
        look(next(count))
        unlink(path, missing_ok)

    def watched_rename(path: Path, target: Path) -> Path:
        look(next(count))
        made = rename(path, target)
        look(next(count))
        return made

    monkeypatch.setattr(Path, "unlink", watched_unlink)
    monkeypatch.setattr(Path, "rename", watched_rename)


def assert_as_promised(folder: Path, point: int, flushed: int) -> None:
    """What a recorder left opens, is consistent, and holds what it had promised."""
    if not (folder / "trace.json").exists():
        assert point < 4
        return
    info = read_info(folder)
    if not flushed and not info.events:
        return
    count, oldest = check(folder)
    assert not info.complete
    assert oldest + count >= flushed, "nothing that a flush promised is lost"
    assert count >= info.events


def test_at_any_rename_or_removal_what_is_there_opens_and_is_consistent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of what is on disk at that moment is what a kill would leave."""
    folder, left = tmp_path / "t.iotrace", tmp_path / "left.iotrace"
    points, flushed = [*range(8), *range(9, 270, 13)], 0

    def look(point: int) -> None:
        if point in points:
            if folder.exists():
                shutil.copytree(folder, left)
            assert_as_promised(left, point, flushed)
            shutil.rmtree(left, ignore_errors=True)
            points.remove(point)

    at_each_rename_and_removal(monkeypatch, look)
    writer = TraceWriter(folder, TraceInfo(), max_bytes=MAX)
    for total in record_on(writer, 40, 60_000):
        flushed = total
    assert points == []
    writer.close()


@pytest.mark.parametrize("point", [5, 109])
def test_killed_at_a_rename_or_removal_the_trace_opens_and_is_consistent(point: int, tmp_path: Path) -> None:
    folder, told = tmp_path / "t.iotrace", tmp_path / "flushed"

    def recording() -> None:
        def look(number: int) -> None:
            if number == point:
                os.kill(os.getpid(), signal.SIGKILL)

        at_each_rename_and_removal(pytest.MonkeyPatch(), look)
        for total in record_on(TraceWriter(folder, TraceInfo(), max_bytes=MAX), 40, 60_000):
            told.write_text(str(total))

    recorder = get_context("fork").Process(target=recording)
    recorder.start()
    recorder.join()
    assert recorder.exitcode == -signal.SIGKILL
    assert_as_promised(folder, point, int(told.read_text()) if told.exists() else 0)


def test_a_reader_of_a_bounded_recording_gets_the_rest_or_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    writer = TraceWriter(folder, TraceInfo(), max_bytes=MAX)
    steps = record_on(writer, 60, 50_000)
    next(steps)
    failures: list[BaseException] = []
    refused: list[str] = []
    read = 0
    done = threading.Event()

    def go_on() -> None:
        try:
            for _ in steps:
                pass
            writer.close()
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=go_on)
    thread.start()
    while not done.is_set():
        try:
            times = open_trace(folder).table("events", ["time_ns"]).column("time_ns").to_numpy()
        except TraceError as error:
            refused.append(str(error))
            continue
        assert (np.diff(times) == 1).all()
        read += 1
    thread.join()
    assert all("read again" in line and "\n" not in line for line in refused)
    assert not failures
    assert read
    count, oldest = check(folder)
    assert count + oldest == 60 * 50_000


def test_the_summary_says_what_was_dropped_by_choice(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    with TraceWriter(folder, TraceInfo(), max_bytes=MAX) as writer:
        for _ in record_on(writer, 40, 70_000):
            pass
    made = summarise(open_trace(folder), ["op"], 5)
    text = str(header(made, 80))
    assert made.complete
    assert "complete, nothing lost" in text
    assert f"Dropped by choice: {made.info.dropped.events:,} events" in text
    assert made.to_json()["dropped"]["events"] == made.info.dropped.events


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o377, 0o777])
def test_all_files_are_their_owners_alone_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    seen: set[str] = set()

    def check_modes() -> None:
        for path in [folder, *folder.rglob("*")]:
            assert path.stat().st_mode & 0o7777 == (0o700 if path.is_dir() else 0o600), path
            seen.add(path.name[:5])

    before = os.umask(umask)
    try:
        with TraceWriter(folder, TraceInfo()) as writer:
            for step in range(3):
                writer.append_rows("paths", [name_row(step)])
                writer.append_matrix(noise(70_000, step * 80_000, step), 70_000)
                writer.append_matrix(noise(10_000, step * 80_000 + 70_000, step), 10_000)
                writer.flush()
                check_modes()
    finally:
        os.umask(before)
    check_modes()
    assert {"_foot", "_tail", "_part", "part-", "trace"} <= seen


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["rows", "matrix", "flush", "chapter", "part"]), st.integers(1, 90)), max_size=25
    )
)
@settings(deadline=None, max_examples=40)
def test_after_every_flush_a_reader_finds_every_row_in_order(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also where row groups, tails and parts follow one another in any way."""
    folder = tmp_path_factory.mktemp("any") / "t.iotrace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts_module, "GROUP_ROWS", 100)
        patch.setattr(parts_module, "PART_ROWS", 350)
        writer, total = TraceWriter(folder, TraceInfo()), 0
        for what, rows in steps:
            if what == "flush":
                writer.flush()
                times = open_trace(folder).table("events", ["time_ns"]).column("time_ns").to_pylist()
                assert times == list(range(total))
                assert read_info(folder).events == total
                continue
            if what == "chapter":
                writer.begin_chapter()
                continue
            if what == "part":
                patch.setattr(parts_module, "PART_SECONDS", 0.0 if rows % 2 else 300.0)
                continue
            made = noise(rows, total, 0)
            if what == "matrix":
                writer.append_matrix(made, rows)
                assert (made == NULL).all()
            else:
                writer.append("events", event_batch(made, rows))
            total += rows
        writer.close()
    assert open_trace(folder).table("events", ["time_ns"]).column("time_ns").to_pylist() == list(range(total))
    assert not list((folder / "events").glob("_*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    point = tmp_path / "mount"
    point.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(point)], check=False).returncode:
        pytest.skip("this machine may not mount a tmpfs")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


def test_a_trace_leaves_the_last_of_a_file_system_to_others(small_disk: Path) -> None:
    writer = TraceWriter(small_disk / "t.iotrace", TraceInfo())
    writer.append_rows("paths", [name_row(0)])

    def without_end() -> None:
        for step in range(1000):
            writer.append_matrix(noise(70_000, step * 70_000, 0), 70_000)

    with pytest.raises(StorageError, match="no space left") as error:
        without_end()
    assert "\n" not in str(error.value)
    status = os.statvfs(small_disk)
    assert status.f_bavail >= 0.045 * status.f_blocks, "a twentieth, less one row group"
    writer.close(complete=False)
    count, oldest = check(small_disk / "t.iotrace")
    assert (count, oldest) == (read_info(small_disk / "t.iotrace").events, 0)


def test_what_was_written_before_the_disk_was_full_can_be_read_when_there_is_room_again(small_disk: Path) -> None:
    """Also where the last write left a piece of a row group."""
    folder = small_disk / "t.iotrace"
    writer = TraceWriter(folder, TraceInfo(), keep_free=0)
    writer.append_rows("paths", [name_row(0)])
    writer.append_matrix(noise(70_000, 0, 0), 70_000)
    writer.flush()
    other = small_disk / "other"
    with pytest.raises(OSError, match="No space"):
        other.write_bytes(bytes(64 << 20))

    def without_end() -> None:
        for step in range(1, 100):
            writer.append_matrix(noise(70_000, step * 70_000, 0), 70_000)

    with other.open("r+b") as file:
        file.truncate(other.stat().st_size - (4 << 20))
    with pytest.raises(StorageError, match="no space left"):
        without_end()
    assert check(folder)[0] == 70_000
    other.unlink()
    writer.append_matrix(noise(70_000, writer.info.events, 0), 70_000)
    writer.close(complete=False)
    assert check(folder) == (writer.info.events, 0)


def test_a_bounded_trace_gives_up_its_oldest_rather_than_the_last_of_a_file_system(small_disk: Path) -> None:
    folder = small_disk / "t.iotrace"
    with TraceWriter(folder, TraceInfo(), max_bytes=40 << 20) as writer:
        for _ in record_on(writer, 25, 70_000):
            pass
        kept = read_info(folder).events
        status = os.statvfs(small_disk)
        (small_disk / "other").write_bytes(bytes(status.f_bavail * status.f_frsize - (2 << 20)))
        for step in range(25, 30):
            writer.append_matrix(noise(70_000, step * 70_000, 99), 70_000)
        status = os.statvfs(small_disk)
        assert status.f_bavail >= 0.04 * status.f_blocks
        assert writer.info.events < kept


def test_what_refers_goes_before_what_it_refers_to(tmp_path: Path) -> None:
    made = chapters_module.Chapters(Dropped())
    for table in SCHEMAS:
        made.add(table, 0, 10, 100, 5)
    made.begin(dict.fromkeys(SCHEMAS, 1), 5)
    gone = made.drop(1)
    assert [part.table for part in gone] == ["events", "histograms", "processes", "files", "paths"]
    assert made.dropped.events == 10
    assert made.dropped.bytes == 500
    assert made.bytes == 0


def test_parts_of_a_dropped_chapter_that_a_crash_left_are_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    with TraceWriter(folder, TraceInfo(), max_bytes=MAX) as writer:
        for _ in record_on(writer, 40, 70_000):
            pass
    first = read_info(folder).chapters[0].first["events"]
    shutil.copy(
        folder / "events" / parts_module.part_name(first), folder / "events" / parts_module.part_name(first - 1)
    )
    assert check(folder)[0] == read_info(folder).events
    assert isinstance(pq.read_table(folder / "events"), pa.Table), "and who reads part-* can read them"


def test_rows_that_wait_while_the_oldest_goes_are_no_names_that_alone_exceed_the_bound(tmp_path: Path) -> None:
    folder, rows = tmp_path / "t.iotrace", 18_000
    with TraceWriter(folder, TraceInfo(), max_bytes=MAX) as writer:
        path = 0
        writer.append_rows("paths", [name_row(path)])
        for step in range(160):
            if writer.wants_chapter:
                writer.begin_chapter()
                path += 1
                writer.append_rows("paths", [name_row(path)])
            # flushed at times, which makes chapters small, at times not: then many rows wait until a group is full
            writer.append_matrix(noise(rows, step * rows, path), rows)
            if step % 23 < 13:
                writer.flush()
            assert disk_bytes(folder) <= MAX
    assert check(folder) == (read_info(folder).events, read_info(folder).dropped.events)

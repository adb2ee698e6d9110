"""On real file systems: what was read from memory is called so, and what came off the device, too."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import TraceBuilder
from lab import local
from lab.base import Cpus, packages_missing

from iotrace.analysis.compare import compare_results
from iotrace.cli import main
from iotrace.replay.provenance import mount_under
from iotrace.replay.result import Result, Run, open_result
from iotrace.replay.run import run_replay
from iotrace.replay.show import guard_lines

FILES, SIZE = 4, 4 << 20
READ = FILES * SIZE
WRITTEN = 4 << 20


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def mounted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    missing = packages_missing(request.param, local.LOCAL_PACKAGES[request.param])
    if os.geteuid() != 0 or missing:
        pytest.skip(missing or "only root may mount")
    with getattr(local, request.param)(tmp_path_factory.mktemp(request.param), Cpus.apart()) as mount:
        yield mount.path


def trace(folder: Path, again: bool = False) -> Path:
    """Reads four files, in pieces, and writes a fifth."""
    made = TraceBuilder()
    for name in (f"movie{i}.mrc" for i in range(FILES)):
        opened = made.open(name, size=SIZE)
        for _ in range(3 if again else 1):
            for at in range(0, SIZE, 1 << 16):
                made.read(opened, name, at, 1 << 16, op="pread64")
        made.close(opened, name)
    out = made.open("out", os.O_WRONLY | os.O_CREAT, mode=0o644, existed=False)
    for at in range(0, WRITTEN, 1 << 20):
        made.write(out, "out", at, 1 << 20)
    made.close(out, "out")
    return made.save(folder / "T.iotrace")


def replayed(folder: Path, mount: Path, cache: str, again: bool = False) -> tuple[Result, Run]:
    result = run_replay(trace(folder, again), mount, timing="asap", cache=cache)
    return result, result.info.runs[0]


def test_a_warm_run_is_called_cached_and_a_cold_one_storage(mounted: Path, tmp_path: Path) -> None:
    results = []
    for cache, verdict in (("warm", "client cache"), ("cold", "storage")):
        (tmp_path / cache).mkdir()
        result, run = replayed(tmp_path / cache, mounted, cache)
        results.append(result)
        guard = run.guard
        assert guard is not None
        assert (guard.verdict, guard.needed_bytes) == (verdict, READ)
        assert guard.wire_bytes is not None
        device = next(one for one in run.counters if one.scope == "device")
        own = next(one for one in run.counters if one.scope == "processes")
        if cache == "warm":
            assert guard.cached_bytes == READ
            assert max(guard.wire_bytes, own.during["read_bytes"]) < READ // 100
            assert "no storage result" in result.info.warnings[0]
            assert "--cold" in result.info.warnings[0]
        else:
            assert guard.cached_bytes == 0
            # all of it, and no more of read-ahead and metadata than a little
            assert READ <= min(device.during["read_bytes"], own.during["read_bytes"]) < 1.1 * READ
            assert "image" in guard.why  # the file below the loop device
            assert not any("client's" in sentence for sentence in result.info.warnings)
        # what was written came off this machine while the run went on, or in the sync after it
        assert guard.wire_written_bytes is not None
        assert guard.wire_synced_bytes is not None
        assert guard.wire_written_bytes + guard.wire_synced_bytes >= WRITTEN
    warm, cold = results
    assert "are not of the same thing" in " ".join(compare_results(warm, cold).warnings)
    assert not any("client's" in sentence for sentence in compare_results(cold, cold).warnings)
    assert any("no storage result" in sentence for sentence in compare_results(warm, warm).warnings)


def test_a_device_that_does_not_count_does_not_make_a_cold_run_cached(mounted: Path, tmp_path: Path) -> None:
    device = os.stat(mounted).st_dev
    switch = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue/iostats")
    switch.write_text("0")
    try:
        _, run = replayed(tmp_path, mounted, "cold")
    finally:
        switch.write_text("1")
    assert run.guard is not None
    assert run.guard.verdict == "storage"
    assert run.guard.source == "the replay's own processes (/proc/self/io)"
    assert not any(one.scope == "device" for one in run.counters)


@pytest.mark.parametrize("cache", ["warm", "cold"])
def test_a_run_in_memory_is_the_clients_whatever_is_asked_for(tmp_path: Path, cache: str) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mount], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        _, run = replayed(tmp_path, mount, cache)
    finally:
        subprocess.run(["umount", mount], check=True)
    assert run.guard is not None
    assert run.guard.verdict == "client cache"


def test_a_folder_over_a_mount_that_another_hides_is_on_that_other_one(
    mounted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outer = tmp_path / "outer"
    (outer / "a").mkdir(parents=True)
    subprocess.run(["mount", "--bind", mounted, outer / "a"], check=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "hiding", outer], check=True)
        try:
            (outer / "a").mkdir()
            found = mount_under(outer / "a")
            assert found is not None
            assert (found.point, found.source) == (str(outer), "hiding")
            assert main(["mounts", "--json"]) == 0
            points = [one["point"] for one in json.loads(capsys.readouterr().out)["mounts"]]
            assert str(outer) in points
            assert str(outer / "a") not in points
        finally:
            subprocess.run(["umount", outer], check=True)
        found = mount_under(outer / "a")
        assert found is not None
        assert found.point == str(outer / "a")
    finally:
        subprocess.run(["umount", outer / "a"], check=True)


def test_what_a_program_reads_again_is_told_apart_from_a_warm_cache(mounted: Path, tmp_path: Path) -> None:
    result, run = replayed(tmp_path, mounted, "cold", again=True)
    assert run.bytes_read == 3 * READ
    assert run.guard is not None
    assert (run.guard.verdict, run.guard.needed_bytes) == ("storage", READ)
    assert any("had read before" in sentence for sentence in result.info.warnings)


def test_direct_reads_of_what_the_page_cache_holds_are_the_storages(mounted: Path, tmp_path: Path) -> None:
    made = TraceBuilder()
    opened = made.open("data", os.O_RDONLY | os.O_DIRECT, size=READ)
    for at in range(0, READ, 1 << 20):
        made.read(opened, "data", at, 1 << 20, op="pread64")
    run = run_replay(made.save(tmp_path / "T.iotrace"), mounted, timing="asap", cache="warm").info.runs[0]
    assert run.guard is not None
    assert (run.guard.verdict, run.guard.needed_bytes, run.guard.cached_bytes) == ("storage", READ, 0)


def test_copies_that_may_share_blocks_are_not_called_cached_and_not_missed_among_what_was_written(
    mounted: Path, tmp_path: Path
) -> None:
    made = TraceBuilder()
    source = made.open("movie.mrc", size=SIZE)
    target = made.open("out", os.O_WRONLY | os.O_CREAT, mode=0o644, existed=False)
    for at in range(0, SIZE, 1 << 20):
        made.on(
            "copy_file_range", source, "movie.mrc", other_path=made.path("out"), other_file=made.file("out"),
            other_open=target, offset=at, other_offset=at, size=1 << 20, result=1 << 20,
        )  # fmt: skip
    run = run_replay(made.save(tmp_path / "T.iotrace"), mounted, timing="asap", cache="cold").info.runs[0]
    assert run.guard is not None
    assert (run.guard.verdict, run.guard.needed_bytes) == ("cannot tell", 0)
    assert run.copied_bytes == run.bytes_written == SIZE
    device = next(one for one in run.counters if one.scope == "device")
    if run.mount.type == "xfs":
        # mkfs.xfs makes it with reflink: nothing moves
        assert max(device.during["read_bytes"], device.during["written_bytes"]) < SIZE // 4
    written = guard_lines(run)[1]
    assert written.startswith("of 4.19 MB that copy_file_range need not move, ")
    assert "not by then" not in written


def test_reads_of_what_the_run_itself_has_cut_off_are_not_called_cached(mounted: Path, tmp_path: Path) -> None:
    made = TraceBuilder()
    opened = made.open("movie.mrc", os.O_RDWR, size=SIZE)
    other = made.open("other.mrc", size=SIZE)
    made.read(other, "other.mrc", 0, SIZE, op="pread64")
    made.on("ftruncate", opened, "movie.mrc", size=0)
    made.on("ftruncate", opened, "movie.mrc", size=SIZE)
    made.read(opened, "movie.mrc", 0, SIZE, op="pread64")
    run = run_replay(made.save(tmp_path / "T.iotrace"), mounted, timing="asap", cache="cold").info.runs[0]
    assert run.guard is not None
    assert (run.guard.verdict, run.guard.needed_bytes) == ("storage", SIZE)


def test_counters_are_saved_with_the_result_and_shown(
    mounted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "R.ioresult"
    words = [str(trace(tmp_path)), "--fs", str(mounted), "-o", str(output)]
    assert main(["replay", *words, "--cold", "--timing", "asap"]) == 0
    assert "cache guard: storage." in capsys.readouterr().out
    result = open_result(output)
    run = result.info.runs[0]
    assert result.info.options["cache"] == "cold"
    assert {one.scope for one in run.counters} == {"processes", "device", "node"}
    frame = result.counters()
    device = next(one for one in run.counters if one.scope == "device")
    grown = frame[(frame.source == device.source) & (frame.counter == "read_bytes")]
    assert list(grown.value[:1]) == [0]
    assert grown.value.max() >= device.during["read_bytes"] >= READ
    assert grown.at_s.is_monotonic_increasing
    assert main(["replay", *words, "--force", "--cache", "warm", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["guard"]["verdict"] == "client cache"
    assert main(["replay", *words, "--force", "--cache", "warm", "--cold"]) == 2


def test_a_result_of_an_older_version_is_read_without_counters(mounted: Path, tmp_path: Path) -> None:
    result, _ = replayed(tmp_path, mounted, "warm")
    result.info.format = (1, 1)
    folder = result.save(tmp_path / "R.ioresult")
    (folder / "counters.parquet").unlink()
    assert len(open_result(folder).counters()) == 0


def test_looks_of_each_second_are_taken_while_a_run_goes_on(tmp_path: Path) -> None:
    made = TraceBuilder(step_ns=600_000_000)
    opened = made.open("movie.mrc", size=SIZE)
    for at in range(0, 4 << 16, 1 << 16):
        made.read(opened, "movie.mrc", at, 1 << 16)
    result = run_replay(made.save(tmp_path / "T.iotrace"), tmp_path, timing="think")
    frame = result.counters()
    network = frame[frame.source.str.startswith("page cache")]
    assert len(set(network.at_s)) >= 4  # three looks, and one each second

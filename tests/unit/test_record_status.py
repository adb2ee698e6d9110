"""The registry of running recordings, and what `iotrace record --status` says of them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from iotrace.errors import RecordError
from iotrace.record import registry
from iotrace.record.registry import Running, process_start, registered, registry_folder, running
from iotrace.record.status import show
from iotrace.trace.info import TraceInfo
from iotrace.trace.writer import TraceWriter


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of the test's own, as systemd would give to a service."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    return tmp_path / "run"


def entry(place: Path) -> Running:
    return msgspec.json.decode(next(place.glob("*.json")).read_bytes(), type=Running)


def test_a_recording_is_listed_while_it_runs_and_gone_after(place: Path, tmp_path: Path) -> None:
    assert running() == []
    assert show() == "no recording is running"
    assert json.loads(show(json=True)) == {"recordings": []}
    with registered(tmp_path / "t.iotrace", "ebpf", "tar cf a.tar data"):
        (found,) = running()
        assert (found.pid, found.backend, found.target) == (os.getpid(), "ebpf", "tar cf a.tar data")
        assert found.folder == str(tmp_path / "t.iotrace")
        assert place.stat().st_mode & 0o7777 == 0o700
        assert next(place.glob("*.json")).stat().st_mode & 0o7777 == 0o600
        with registered(tmp_path / "u.iotrace", "strace", "another"):
            assert len(running()) == 2
        assert len(running()) == 1
    assert running() == []
    assert list(place.iterdir()) == []


def test_what_a_killed_recording_left_is_recognised_and_removed(place: Path) -> None:
    program = (
        "import os, signal\n"
        "from iotrace.record.registry import registered\n"
        "with registered('t.iotrace', 'ebpf', 'x'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    assert len(list(place.glob("*.json"))) == 1
    assert running() == []
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("change", [{"process_start": 1}, {"boot_id": "another"}, {"pid": 2**22 - 1}])
def test_a_process_number_that_came_again_is_no_recording(place: Path, change: dict[str, object]) -> None:
    with registered("t.iotrace", "ebpf", "x"):
        path = next(place.glob("*.json"))
        old = msgspec.structs.replace(entry(place), **change)
        path.write_bytes(msgspec.json.encode(old))
        assert running() == []
        assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff" * 100])
def test_files_that_are_no_entries_are_removed(place: Path, content: bytes) -> None:
    place.mkdir(mode=0o700)
    (place / "7.json").write_bytes(content)
    (place / "8.json").symlink_to("/etc/passwd")
    os.mkfifo(place / "9.json")
    assert running() == []
    assert list(place.iterdir()) == []
    assert Path("/etc/passwd").exists()


def test_a_folder_that_others_could_write_is_not_believed_and_no_recording_fails_for_it(
    place: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)

    def link() -> None:
        place.symlink_to(elsewhere)

    def open_to_all() -> None:
        place.mkdir()
        place.chmod(0o777)

    def a_file() -> None:
        place.write_text("x")

    def anothers() -> None:
        place.mkdir(mode=0o700)
        os.chown(place, 12345, 12345)

    for make in (link, open_to_all, a_file, *([anothers] if os.geteuid() == 0 else [])):
        make()
        told: list[str] = []
        with registered("t.iotrace", "ebpf", "x", told.append):
            pass
        assert len(told) == 1
        assert "will not list" in told[0]
        with pytest.raises(RecordError) as error:
            running()
        assert "\n" not in str(error.value)
        assert error.value.exit_status == 1
        assert list(elsewhere.iterdir()) == []
        if place.is_symlink() or place.is_file():
            place.unlink()
        else:
            place.rmdir()


def test_each_user_has_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert registry_folder() == Path("/run/iotrace")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/4711")
    assert registry_folder() == Path("/run/user/4711/iotrace")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    assert registry_folder() == Path("/tmp/iotrace-4711")


def test_the_status_tells_events_losses_bytes_memory_and_the_last_flush(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t.iotrace"
    info = TraceInfo(lost={"read": 3})
    with (
        TraceWriter(folder, info, max_bytes=1 << 30) as writer,
        registered(folder, "ebpf", "python \x1b[31m job.py"),
    ):
        info.recorder["memory_limit_bytes"] = 600 << 20
        writer.append_rows("paths", [{"path": 0, "text": "/", "raw": b"/"}])
        time.sleep(0.6)
        writer.flush()
        (row,) = json.loads(show(json=True))["recordings"]
        assert row["lost"] == {"read": 3}
        assert not row["complete_so_far"]
        assert row["max_bytes"] == 1 << 30
        assert 0 < row["disk_bytes"] < 1 << 20
        assert 0 <= row["flushed_s_ago"] < 60
        assert 1 << 20 < row["memory_bytes"] < 1 << 40
        assert row["events_per_s"] == 0
        assert row["cpu_s"] > 0
        text = show()
        assert f"pid {os.getpid()} (ebpf) follows python " in text
        assert "\x1b" not in text
        assert "LOST read 3" in text
        assert "of 600 MiB at most" in text
        assert "of 1.07 GB at most" in text


def test_a_folder_of_traces_is_told_as_one(place: Path, tmp_path: Path) -> None:
    for name in ("J1.iotrace", "J2.iotrace"):
        writer = TraceWriter(tmp_path / name, TraceInfo(lost={"read": 1}))
        writer.flush()
    with registered(tmp_path, "ebpf", "CryoSPARC's jobs"):
        (row,) = json.loads(show(json=True))["recordings"]
    assert row["traces"] == 2
    assert row["lost"] == {"read": 2}


def test_the_start_of_a_process_is_read_whatever_its_name(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to(sys.executable)
    process = subprocess.Popen([odd, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        start = process_start(process.pid)
        assert start is not None
        assert 0 <= start - (process_start(os.getpid()) or 0) < 1e9
        assert start == process_start(process.pid)
    finally:
        process.communicate(b"\n")
    assert process_start(process.pid) is None
    assert registry.stat_fields(process.pid) is None

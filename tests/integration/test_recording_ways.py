"""What a recording makes of files that are reached in roundabout ways: /proc, other mounts, folders with odd names."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from iotrace.record.scope import Scope, mount_points
from iotrace.record.session import record
from iotrace.trace.reader import open_trace

pytestmark = pytest.mark.bpf


def recorded(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch, scope: Scope | None = None) -> pd.DataFrame:
    """The events of a Python program that works in `folder`, with `other_text`, the text of other_path."""
    monkeypatch.chdir(folder)
    command = [sys.executable, "-S", "-c", textwrap.dedent(program)]
    outcome = record(command, folder / "t.iotrace", backend="ebpf", scope=scope or Scope())
    assert outcome.exit_status == 0
    assert outcome.info.complete
    trace = open_trace(folder / "t.iotrace")
    events = trace.events()
    return events.assign(other_text=events.other_path.map(trace.paths().set_index("path")["text"]))


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own in a folder of another."""
    point = tmp_path / "mnt"
    point.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs")
    yield point
    subprocess.run(["umount", "-l", point], check=True)


def test_files_reached_by_way_of_proc_have_their_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = recorded(
        """
        import os
        fd = os.open("data", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"x" * 100)
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC)
        os.write(again, b"y" * 10)
        os.stat(f"/proc/self/fd/{fd}")
        os.chdir("/proc")
        os.close(os.open(f"self/fd/{fd}", os.O_RDONLY))
        os.stat("/proc/cpuinfo")
        os.close(os.open("/proc/cpuinfo", os.O_RDONLY))
        """,
        tmp_path,
        monkeypatch,
    )
    mine = events[events.path_text == f"{tmp_path}/data"]
    assert list(mine.op) == ["openat", "write", "openat", "write", "newfstatat", "openat", "close"]
    assert mine.file.nunique() == 1
    assert not events.path_text.fillna("").str.startswith("/proc").any()


def test_with_all_what_lies_in_proc_is_recorded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = recorded(
        """
        import os
        os.close(os.open("/proc/cpuinfo", os.O_RDONLY))
        os.chdir("/sys")
        os.close(os.open("kernel/notes", os.O_RDONLY))
        """,
        tmp_path,
        monkeypatch,
        scope=Scope(all_files=True),
    )
    opened = set(events[events.op == "openat"].path_text)
    assert {"/proc/cpuinfo", "/sys/kernel/notes"} <= opened


def test_a_file_that_gets_its_name_by_its_descriptor_is_linked_as_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = recorded(
        """
        import os
        fd = os.open(".", os.O_RDWR | os.O_TMPFILE)
        os.write(fd, b"x")
        os.link(f"/proc/self/fd/{fd}", "named", dst_dir_fd=os.open(".", os.O_RDONLY), follow_symlinks=True)
        os.stat("named")
        """,
        tmp_path,
        monkeypatch,
    )
    link = events[events.op == "linkat"].iloc[0]
    assert link.other_text == f"{tmp_path}/named"
    assert link.open == events[events.op == "write"].iloc[-1].open
    assert link.file == events[events.path_text == f"{tmp_path}/named"].iloc[-1].file


def test_held_to_a_mount_names_that_start_elsewhere_and_lead_there_are_recorded(
    tmp_path: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(mount)
    (mount / "before").touch()
    events = recorded(
        """
        import os
        os.close(os.open("mnt/a", os.O_RDWR | os.O_CREAT))
        os.close(os.open("link/a", os.O_RDONLY))
        os.stat("mnt/before")
        os.mkdir("mnt/d")
        try:
            os.stat("mnt/missing")
        except FileNotFoundError:
            pass
        elsewhere = os.open(".", os.O_RDONLY)
        os.close(os.open("mnt/b", os.O_RDWR | os.O_CREAT, dir_fd=elsewhere))
        os.unlink("mnt/b", dir_fd=elsewhere)
        os.mkdir("outside")
        try:
            os.stat("missing")
        except FileNotFoundError:
            pass
        os.close(os.open("outside/c", os.O_RDWR | os.O_CREAT))
        """,
        tmp_path,
        monkeypatch,
        scope=Scope(mounts=mount_points([mount])),
    )
    texts = events.path_text.fillna("").str.removeprefix(str(tmp_path))
    names = list(zip(events.op, texts, strict=True))
    assert [name for name in names if name[0] not in ("close", "exit", "exec", "wait", "fork")] == [
        ("openat", "/mnt/a"),
        ("openat", "/link/a"),
        ("newfstatat", "/mnt/before"),
        ("mkdir", "/mnt/d"),
        ("newfstatat", "/mnt/missing"),
        ("openat", "/mnt/b"),
        ("unlinkat", "/mnt/b"),
    ]


def test_another_type_of_file_on_the_same_inode_is_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ext4 and others hand the number of a removed file to the next one that is made."""
    image, point = tmp_path / "image", tmp_path / "ext4"
    point.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 16 << 20)
    if shutil.which("mkfs.ext4") is None or subprocess.run(["mkfs.ext4", "-q", image]).returncode:
        pytest.skip("needs mkfs.ext4")
    if subprocess.run(["mount", "-o", "loop", image, point], capture_output=True).returncode:
        pytest.skip("cannot mount a loop device")
    try:
        monkeypatch.chdir(tmp_path)
        program = f"""
        import os
        os.chdir({str(point)!r})
        os.close(os.open("old", os.O_RDWR | os.O_CREAT))
        was = os.stat("old").st_ino
        os.unlink("old")
        os.mkdir("new")
        assert os.stat("new").st_ino == was
        """
        events = recorded(program, tmp_path, monkeypatch)
    finally:
        subprocess.run(["umount", "-l", point], check=True)
    stats = events[events.op == "newfstatat"].set_index("path_text").file
    assert stats[f"{point}/old"] != stats[f"{point}/new"]


def test_folders_with_many_odd_bytes_cost_no_memory_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte that is not UTF-8 is shown as four letters: such a path may be four times as long as the kernel's."""
    events = recorded(
        """
        import os
        for _ in range(15):
            os.mkdir(b"\\xff" * 250)
            os.chdir(b"\\xff" * 250)
        for number in range(3000):
            os.close(os.open(f"{number}", os.O_RDWR | os.O_CREAT))
        """,
        tmp_path,
        monkeypatch,
    )
    made = events[(events.op == "openat") & (events.result == 0)].path_text
    deep = f"{tmp_path}" + ("/" + "\\xff" * 250) * 15
    assert [text for text in made if text.startswith(deep)] == [f"{deep}/{number}" for number in range(3000)]
    shutil.rmtree(os.fsencode(tmp_path) + b"/" + b"\xff" * 250)


def test_what_statx_was_asked_for_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = recorded(
        """
        import ctypes
        buffer = ctypes.create_string_buffer(256)
        for mask in (0x7ff, 0x200, 0x10000 | 0x7ff):
            ctypes.CDLL(None).statx(-100, b".", 0, mask, buffer)
        """,
        tmp_path,
        monkeypatch,
    )
    asked = events[(events.op == "statx") & (events.path_text == f"{tmp_path}")]
    assert list(asked["mode"]) == [0x7FF, 0x200, 0x107FF]


def test_a_command_begins_with_its_exec_in_a_process_that_has_inherited_nothing_large(tmp_path: Path) -> None:
    """What the process that waits has inherited it must give back to execute the command, which is seen to wait."""
    program = """
        import sys
        from iotrace.cli import main
        from iotrace.record.launch import Launch
        begin = Launch.__init__
        def note(launch, command):
            print(sorted({"numba", "numpy", "pyarrow"} & set(sys.modules)), flush=True)
            begin(launch, command)
        Launch.__init__ = note
        raise SystemExit(main(["record", "--backend", "ebpf", "-o", "t.iotrace", "--", "true"]))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "[]\n"), ran.stderr
    trace = open_trace(tmp_path / "t.iotrace")
    (start_ns,) = trace.table("processes").to_pandas().start_ns
    events = trace.events().sort_values("time_ns")
    first = events[events.op == "exec"].iloc[0]
    assert 0 <= start_ns <= first.time_ns
    assert (events[events.op != "mmap.fault"].time_ns >= first.time_ns).all()

"""What a recording says of programs that go about their files in unusual ways."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from iotrace.errors import IotraceError
from iotrace.record.scope import BackendName
from iotrace.record.session import record
from iotrace.trace.operations import OWN_POSITION
from iotrace.trace.reader import Trace, open_trace

pytestmark = pytest.mark.bpf


def recorded(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *before: str) -> Trace:
    """The trace of a Python program that works in `folder`, started by the words of `before`."""
    monkeypatch.chdir(folder)
    command = [*before, sys.executable, "-S", "-c", textwrap.dedent(program)]
    outcome = record(command, folder / "t.iotrace", backend="ebpf")
    assert outcome.exit_status == 0
    assert outcome.info.complete
    return open_trace(folder / "t.iotrace")


def test_names_in_a_folder_that_was_renamed_are_its_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = recorded(
        """
        import os
        os.makedirs("outer/old")
        folder = os.open("outer/old", os.O_RDONLY)
        os.close(os.open("a", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.rename("outer/old", "outer/new")
        os.close(os.open("a", os.O_RDONLY, dir_fd=folder))
        os.chdir("outer/new")
        os.rename("../../outer", "../../other")
        open("b", "w").close()
        """,
        tmp_path,
        monkeypatch,
    )
    events = trace.events().query("op == 'openat' and result == 0")
    texts = [text for text in events.path_text if text.startswith(str(tmp_path)) and text[-2:] in ("/a", "/b")]
    assert texts == [f"{tmp_path}/outer/old/a", f"{tmp_path}/outer/new/a", f"{tmp_path}/other/new/b"]
    assert events[events.path_text.isin(texts[:2])].file.nunique() == 1


def test_a_look_by_way_of_a_link_does_not_rename_a_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/inner")
    trace = recorded(
        """
        import os
        os.stat("link/..")
        os.chdir("real")
        open("file", "w").close()
        """,
        tmp_path,
        monkeypatch,
    )
    assert f"{tmp_path}/real/file" in set(trace.events().query("op == 'openat'").path_text)


def test_many_vectors_and_a_position_of_minus_one_are_what_the_kernel_made_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = recorded(
        """
        import ctypes, os
        fd = os.open("data", os.O_RDWR | os.O_CREAT)
        os.writev(fd, [b"x" * 10] * 300)
        os.lseek(fd, 7, os.SEEK_SET)
        buffer = ctypes.create_string_buffer(10)
        vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 10)
        libc = ctypes.CDLL(None)
        assert libc.preadv2(fd, vector, 1, ctypes.c_long(-1), 0) == 10
        assert libc.preadv2(fd, vector, 1, ctypes.c_long(100), 0) == 10
        assert libc.pwritev2(fd, vector, 1, ctypes.c_long(-1), 0x10) == 10
        assert libc.pwritev2(fd, vector, 1, ctypes.c_long(0), 0x10) == 10
        assert os.lseek(fd, 0, os.SEEK_CUR) == 3010
        """,
        tmp_path,
        monkeypatch,
    )
    events = trace.events()
    write = events[events.op == "writev"].iloc[0]
    assert (write["size"], write["count"], write.result) == (3000, 300, 3000)
    reads, writes = events[events.op == "preadv2"], events[events.op == "pwritev2"]
    assert reads.offset.tolist() == [7, 100]
    assert reads["flags"].tolist() == [OWN_POSITION, 0]
    # of one that names an offset nobody says where it went
    assert writes.offset.tolist() == [3000, 0]
    assert writes["flags"].tolist() == [OWN_POSITION | 0x10, 0x10]


def test_anonymous_memory_of_threads_that_contend_for_it_is_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = recorded(
        """
        import mmap, os, threading
        with open("data", "wb") as file: file.write(bytes(8192))
        def work():
            for _ in range(500):
                memory = mmap.mmap(-1, 1 << 16); memory[0] = 1; memory.close()
                with open("data", "rb") as file:
                    mmap.mmap(file.fileno(), 8192, prot=mmap.PROT_READ).close()
        threads = [threading.Thread(target=work) for _ in range(16)]
        [t.start() for t in threads]; [t.join() for t in threads]
        """,
        tmp_path,
        monkeypatch,
    )
    unmapped = trace.events().query("op == 'munmap'")
    assert unmapped.file.notna().all()
    assert (unmapped.path_text == f"{tmp_path}/data").sum() == 16 * 500


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_wait_inside_a_pid_namespace_names_the_right_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = recorded(
        """
        import os
        for _ in range(3):
            if (pid := os.fork()) == 0: os._exit(0)
            assert pid < 100
            os.waitpid(pid, 0)
        """,
        tmp_path,
        monkeypatch,
        "unshare",
        "-pf",
    )
    events = trace.events()
    process_of = events.groupby("thread").process.first()
    forks = events[(events.op == "fork") & (events.process == 1)]
    waits = events[(events.op == "wait") & (events.process == 1)]
    assert waits.child.tolist() == [process_of[child] for child in forks.child]


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_recorder_inside_a_pid_namespace_does_not_record_nothing_in_silence(tmp_path: Path) -> None:
    command = ["unshare", "-pf", "--mount-proc", sys.executable, "-m", "iotrace", "record", "--backend", "ebpf"]
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [*command, "-o", str(tmp_path / "t.iotrace"), "--", "true"],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 125
    assert "container" in ended.stderr


@pytest.mark.parametrize("status", [0, 7])
def test_a_trace_that_vanishes_meanwhile_costs_a_line_and_not_the_commands_status(status: int, tmp_path: Path) -> None:
    trace = tmp_path / "t.iotrace"
    with pytest.raises(IotraceError, match="cannot write the trace") as caught:
        record(["sh", "-c", f"rm -r {trace}; exit {status}"], trace, backend="ebpf")
    assert caught.value.exit_status == status


def test_a_trace_that_cannot_be_made_is_the_recorders_own_failure(tmp_path: Path) -> None:
    with pytest.raises(IotraceError, match="cannot make the trace") as caught:
        record(["true"], tmp_path / "nowhere" / "t.iotrace", backend="ebpf")
    assert caught.value.exit_status == 125


@pytest.mark.parametrize("backend", ["ebpf", "strace"])
def test_a_name_that_has_its_folder_for_its_root_lies_beneath_it(
    backend: BackendName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jail" / "etc").mkdir(parents=True)
    (tmp_path / "jail" / "etc" / "passwd").write_text("x")
    monkeypatch.chdir(tmp_path)
    program = """
        import ctypes, os, struct
        openat2 = lambda fd, name, resolve: ctypes.CDLL(None).syscall(
            437, fd, name, struct.pack("QQQ", os.O_RDONLY, 0, resolve), 24)
        jail = os.open("jail", os.O_RDONLY)
        assert os.read(openat2(jail, b"/etc/passwd", 0x10), 9) == b"x"
        assert openat2(jail, b"/", 0x10) > 0
        assert openat2(jail, b"/none", 0x10) == -1
        assert openat2(-100, b"/jail/etc", 0x10) > 0
        assert os.read(openat2(jail, b"/etc/passwd", 0), 9) != b"x"
    """
    outcome = record([sys.executable, "-S", "-c", textwrap.dedent(program)], tmp_path / "t.iotrace", backend=backend)
    assert outcome.exit_status == 0
    events = open_trace(tmp_path / "t.iotrace").events()
    opens = events[events.op == "openat2"]
    inside = f"{tmp_path}/jail"
    assert opens.path_text.tolist() == [
        f"{inside}/etc/passwd", inside, f"{inside}/none", f"{inside}/etc", "/etc/passwd",
    ]  # fmt: skip
    assert opens.result.tolist() == [0, 0, -errno.ENOENT, 0, 0]

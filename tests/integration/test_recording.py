"""What a recording says of names, processes, threads, descriptors and page faults; and how it ends."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from calendar import timegm
from pathlib import Path

import pytest
from commands import Forked

from iotrace.errors import RecordError, TraceError
from iotrace.record.launch import Launch
from iotrace.record.session import record
from iotrace.trace.reader import Trace, open_trace

pytestmark = pytest.mark.bpf


def recorded(program: str, folder: Path, *arguments: str) -> Trace:
    """The trace of a Python program that works in `folder`."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        command = [sys.executable, "-S", "-c", textwrap.dedent(program), *arguments]
        outcome = record(command, folder / "t.iotrace", backend="ebpf", force=True)
    finally:
        os.chdir(before)
    assert outcome.exit_status == 0
    return open_trace(folder / "t.iotrace")


def test_names_are_absolute_whatever_they_were_relative_to(tmp_path: Path) -> None:
    trace = recorded(
        """
        import os
        os.mkdir("a"); os.mkdir("a/b")
        os.chdir("a")
        open("one", "w").close()
        folder = os.open("b", os.O_RDONLY)
        os.close(os.open("two", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.stat("../a/./b//two")
        os.fchdir(folder)
        os.rename("two", "../three")
        """,
        tmp_path,
    )
    events = trace.events()
    here = str(tmp_path)
    assert events[events.op == "chdir"].path_text.tolist() == [f"{here}/a"]
    opened = set(events[(events.op == "openat") & (events.result == 0)].path_text)
    assert {f"{here}/a/one", f"{here}/a/b", f"{here}/a/b/two"} <= opened
    assert f"{here}/a/b/two" in set(events[events.op.isin(["newfstatat", "stat"])].path_text)
    rename = events[events.op == "rename"].iloc[0]
    texts = trace.paths().set_index("path")["text"]
    assert (texts[rename.path], texts[rename.other_path]) == (f"{here}/a/b/two", f"{here}/a/three")
    two = events[events.path_text.str.endswith("b/two").fillna(False) & (events.op == "openat")].iloc[0]
    assert (
        two.other_open
        == events[events.path_text.str.endswith("a/b").fillna(False) & (events.op == "openat")].iloc[0].open
    )


def test_who_has_recorded_is_no_more_urgent_than_before(tmp_path: Path) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    recorded("pass", tmp_path)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_recording_starts_when_its_times_do_and_not_when_it_was_loaded(tmp_path: Path) -> None:
    info = record(["/bin/true"], tmp_path / "t.iotrace", backend="ebpf").info
    monotonic, utc = info.clock[0]
    started = timegm(time.strptime(info.started_utc, "%Y-%m-%dT%H:%M:%SZ"))
    assert 0 <= (utc + info.base_monotonic_ns - monotonic) / 1e9 - started < 1.05


def test_positions_follow_the_descriptor_through_dup_and_fork(tmp_path: Path) -> None:
    trace = recorded(
        """
        import os
        fd = os.open("data", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"x" * 1000)
        copy = os.dup(fd)
        os.write(copy, b"y" * 10)
        if os.fork() == 0:
            os.write(fd, b"z" * 5)
            os._exit(0)
        os.wait()
        os.write(copy, b"w")
        os.lseek(fd, 3, os.SEEK_SET)
        os.read(copy, 4)
        """,
        tmp_path,
    )
    events = trace.events()
    data = events[events.path_text == f"{tmp_path}/data"]
    writes = data[data.op == "write"]
    assert writes.offset.tolist() == [0, 1000, 1010, 1015]
    assert writes.open.nunique() == 1
    assert data[data.op == "read"].offset.tolist() == [3]
    fork = events[events.op == "fork"].iloc[0]
    wait = events[events.op == "wait"].iloc[0]
    child = events[events.thread == fork.child].process.iloc[0]
    assert child != fork.process
    assert wait.child == child


def test_a_pipe_put_in_a_files_place_says_which_description_it_closed(tmp_path: Path) -> None:
    trace = recorded(
        """
        import os
        reading, writing = os.pipe()
        fd = os.open("data", os.O_RDWR | os.O_CREAT)
        os.dup2(writing, fd)
        """,
        tmp_path,
    )
    events = trace.events()
    opened = events[(events.op == "openat") & (events.path_text == f"{tmp_path}/data")].iloc[0]
    closed = events[events.op.isin(["dup2", "dup3"])].iloc[0]
    assert (closed.other_open, closed.other_file) == (opened.open, opened.file)
    assert closed[["open", "file", "path"]].isna().all()


def test_threads_belong_to_their_process_and_are_told_apart(tmp_path: Path) -> None:
    trace = recorded(
        """
        import os, threading
        def work(i):
            for j in range(20):
                with open(f"f{i}", "ab") as f: f.write(b"1" * 100)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        [t.start() for t in threads]; [t.join() for t in threads]
        """,
        tmp_path,
    )
    writes = trace.events().query("op == 'write'")
    assert writes.process.nunique() == 1
    assert writes.groupby("path_text").thread.nunique().tolist() == [1, 1, 1, 1]
    assert writes.thread.nunique() == 4
    assert (writes.groupby("path_text").result.sum() == 2000).all()


def test_a_file_remembers_its_size_and_whether_it_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"1" * 5000)
    (tmp_path / "seen").write_bytes(b"1" * 777)
    os.symlink("old", tmp_path / "link")
    trace = recorded(
        """
        import os
        open("link", "rb").read()
        os.stat("seen")
        with open("new", "wb") as f: f.write(b"2" * 100)
        os.rename("new", "newer")
        open("newer", "rb").close()
        """,
        tmp_path,
    )
    files = trace.files().set_index("path_text")
    old = files.loc[f"{tmp_path}/old"]  # found through the link, known by its own name
    assert (old["size"], old["existed"], old["type"]) == (5000, True, "file")
    assert files.loc[f"{tmp_path}/seen"]["size"] == 777
    new = files.loc[f"{tmp_path}/new"]
    assert (new["size"], new["existed"]) == (0, False)
    events = trace.events()
    assert f"{tmp_path}/link" in set(events[events.op == "openat"].path_text)


def test_an_inherited_descriptor_has_its_path_and_position(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    command = f"""
        import sys; sys.path[:0] = {sys.path!r}
        from iotrace.record.session import record
        record(["/bin/echo", "hello"], {str(tmp_path / "t.iotrace")!r}, backend="ebpf")
    """
    with target.open("wb") as out:
        out.write(b"12345")
        out.flush()
        subprocess.run([sys.executable, "-c", textwrap.dedent(command)], stdout=out, check=True)
    trace = open_trace(tmp_path / "t.iotrace")
    write = trace.events().query("op == 'write'").iloc[0]
    assert (write.path_text, write.offset, write.result) == (str(target), 5, 6)
    row = trace.files().set_index("path_text").loc[str(target)]
    assert row.inherited_offset == 5
    assert row.existed
    assert target.read_bytes() == b"12345hello\n"


TOUCHES_EVERY_THIRD_PAGE = """
    import ctypes, mmap, os, resource, sys
    fd = os.open("mapped.bin", os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    m.madvise(mmap.MADV_RANDOM)
    view = memoryview(m)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    total = 0
    for page in range(0, 400, 3):
        total += view[page * 4096]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    open("count", "w").write(str(after - before))
"""


def test_major_faults_equal_what_the_kernel_counts_for_the_process(tmp_path: Path) -> None:
    data = tmp_path / "mapped.bin"
    data.write_bytes(os.urandom(4096 * 400))
    trace = recorded(TOUCHES_EVERY_THIRD_PAGE, tmp_path)
    counted = int((tmp_path / "count").read_text())
    faults = trace.events().query("op == 'mmap.fault'")
    mine = faults[faults.path_text == str(data)]
    major = mine[(mine["flags"] & 2) != 0]
    assert counted > 0
    assert len(major) == counted
    assert (major.duration_ns > 0).all()
    assert set(mine.offset // 4096) == set(range(0, 400, 3))
    assert (mine["size"] == 4096).all()


def test_without_the_filemap_tracepoints_faults_are_found_by_their_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iotrace.record.ebpf.backend import EbpfBackend
    from iotrace.record.ebpf.program import Program, Wanted
    from iotrace.trace.info import info_of_this_machine
    from iotrace.trace.writer import TraceWriter

    data = tmp_path / "mapped.bin"
    data.write_bytes(os.urandom(4096 * 400))
    monkeypatch.chdir(tmp_path)
    with TraceWriter(tmp_path / "t.iotrace", info_of_this_machine("ebpf", [])) as writer:
        recorder = EbpfBackend(writer, program=Program(Wanted(faults_by_address=True)))
        pid = recorder.start(Launch([sys.executable, "-S", "-c", textwrap.dedent(TOUCHES_EVERY_THIRD_PAGE)]))
        os.waitpid(pid, 0)
        recorder.stop()
    faults = open_trace(tmp_path / "t.iotrace").events().query("op == 'mmap.fault'")
    mine = faults[faults.path_text == str(data)]
    assert ((mine["flags"] & 2) != 0).sum() == int((tmp_path / "count").read_text()) > 0
    assert set(mine.offset // 4096) == set(range(0, 400, 3))
    assert mine.address.notna().all()
    assert any("page faults" in sentence for sentence in recorder.unseen)


def test_faults_on_cached_pages_are_one_event_for_each_attempt_of_the_kernel(tmp_path: Path) -> None:
    data = tmp_path / "mapped.bin"
    data.write_bytes(os.urandom(4096 * 256))
    trace = recorded(
        """
        import mmap, os, resource
        fd = os.open("mapped.bin", os.O_RDONLY)
        os.read(fd, 4096 * 256)
        m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        total = sum(m[page * 4096] for page in range(256))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        open("count", "w").write(str(after - before))
        """,
        tmp_path,
    )
    faults = trace.events().query("op == 'mmap.fault'")
    mine = faults[faults.path_text == str(data)]
    # the kernel's count holds the interpreter's own memory too
    assert 256 // 16 <= len(mine) <= int((tmp_path / "count").read_text())
    assert not (mine["flags"] & 2).any()
    # a large folio may be mapped whole by a fault on one of its pages, so the windows need not cover each page
    assert mine.offset.is_unique
    assert mine.offset.is_monotonic_increasing
    assert 4096 * 200 <= mine["size"].sum() <= 4096 * (256 + 16)


def test_names_that_are_not_text_are_kept_and_shown_escaped(tmp_path: Path) -> None:
    trace = recorded(
        r"""
        import os
        for name in (b"new\nline", b"bad\xff\xfe", b"esc\x1b[31m", "é".encode()):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        """,
        tmp_path,
    )
    paths = trace.paths()
    mine = paths[paths.raw.isin([b"new\nline", b"bad\xff\xfe", b"esc\x1b[31m", "é".encode()])]
    assert set(mine.text) == {f"{tmp_path}/" + name for name in ("new\\x0aline", "bad\\xff\\xfe", "esc\\x1b[31m", "é")}


def test_proc_sys_devices_pipes_and_sockets_are_left_out(tmp_path: Path) -> None:
    trace = recorded(
        """
        import os, socket
        open("/proc/self/stat").read()
        open("/sys/kernel/mm/transparent_hugepage/enabled").read()
        open("/dev/null", "w").write("x")
        a, b = os.pipe(); os.write(b, b"x"); os.read(a, 1)
        s, t = socket.socketpair(); s.send(b"x"); os.read(t.fileno(), 1)
        os.chdir("/proc/self"); os.listdir("fd")
        os.memfd_create("m")
        """,
        tmp_path,
    )
    events = trace.events()
    texts = set(events.path_text.dropna())
    assert not [text for text in texts if text.startswith(("/proc", "/sys/", "/dev/null", "pipe", "/memfd"))]
    assert not (events.op == "write").any()


@pytest.mark.parametrize(
    ("program", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_commands_exit_status_is_handed_on(program: str, status: int, tmp_path: Path) -> None:
    outcome = record(["/bin/sh", "-c", program], tmp_path / "t.iotrace", backend="ebpf")
    assert outcome.exit_status == status
    row = open_trace(tmp_path / "t.iotrace").processes().iloc[0]
    assert row.exit == (status if status < 128 else 128 - status)


def test_a_command_that_does_not_exist_says_so_and_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no program") as caught:
        record(["no-such-program-anywhere"], tmp_path / "t.iotrace", backend="ebpf")
    assert caught.value.exit_status == 127
    (tmp_path / "plain").write_text("text")
    with pytest.raises(RecordError, match="not executable") as caught:
        record([str(tmp_path / "plain")], tmp_path / "t.iotrace", backend="ebpf")
    assert caught.value.exit_status == 126
    (tmp_path / "odd").write_bytes(b"\x7fELF nothing")
    (tmp_path / "odd").chmod(0o755)
    with pytest.raises(RecordError, match="cannot be executed") as caught:
        record([str(tmp_path / "odd")], tmp_path / "t.iotrace", backend="ebpf")
    assert caught.value.exit_status == 126
    assert not (tmp_path / "t.iotrace").exists()


def test_an_existing_trace_is_replaced_only_by_force_and_nothing_else_ever(tmp_path: Path) -> None:
    record(["/bin/true"], tmp_path / "t.iotrace", backend="ebpf")
    with pytest.raises(TraceError, match="exists already"):
        record(["/bin/true"], tmp_path / "t.iotrace", backend="ebpf")
    record(["/bin/true"], tmp_path / "t.iotrace", backend="ebpf", force=True)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("...")
    with pytest.raises(TraceError, match="not a trace"):
        record(["/bin/true"], precious, backend="ebpf", force=True)
    assert (precious / "thesis.tex").exists()


def test_a_tiny_ring_loses_events_and_says_how_many_of_which_kind(tmp_path: Path) -> None:
    from iotrace.record.ebpf.backend import EbpfBackend
    from iotrace.record.ebpf.program import Program, Wanted
    from iotrace.trace.info import info_of_this_machine
    from iotrace.trace.writer import TraceWriter

    writer = TraceWriter(tmp_path / "t.iotrace", info_of_this_machine("ebpf", []))
    recorder = EbpfBackend(writer, program=Program(Wanted(ring_bytes=1 << 12)))
    program = "import os; fd = os.open('/etc/passwd', 0); [os.lseek(fd, 0, 0) for _ in range(100_000)]"
    pid = recorder.start(Launch([sys.executable, "-S", "-c", program]))
    os.waitpid(pid, 0)  # nobody polls meanwhile
    recorder.stop()
    writer.close()
    info = open_trace(tmp_path / "t.iotrace").info
    assert not info.complete
    assert info.lost["metadata"] > 50_000
    assert info.lost["metadata"] + info.events > 100_000


def _recorder_process(tmp_path: Path, program: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "iotrace", "record", "--backend", "ebpf", "-o", str(tmp_path / "t.iotrace"), "--"]
    return subprocess.Popen(
        [*command, sys.executable, "-S", "-c", textwrap.dedent(program)], cwd=tmp_path, stderr=subprocess.PIPE
    )


def _wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


WRITES_FOR_EVER = """
    import os, time
    open("pid", "w").write(str(os.getpid()))
    fd = os.open("data", os.O_WRONLY | os.O_CREAT)
    while True:
        os.write(fd, b"x" * 10)
        open("ready", "w").close()
        time.sleep(0.001)
"""


def test_sigterm_to_the_recorder_ends_command_and_trace_cleanly(tmp_path: Path) -> None:
    process = _recorder_process(tmp_path, WRITES_FOR_EVER)
    _wait_for(tmp_path / "ready")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    trace = open_trace(tmp_path / "t.iotrace")
    assert trace.info.complete
    assert trace.info.exit_status == 143
    assert (trace.events().op == "write").any()


def test_after_a_sigkill_of_the_recorder_the_trace_opens_and_lacks_only_the_last_seconds(tmp_path: Path) -> None:
    process = _recorder_process(tmp_path, WRITES_FOR_EVER)
    _wait_for(tmp_path / "ready")
    time.sleep(7)
    process.kill()
    process.wait()
    trace = open_trace(tmp_path / "t.iotrace")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    events = trace.events()
    assert not trace.info.complete
    assert (events.op == "write").sum() > 500
    assert str(tmp_path / "data") in set(events.path_text)
    assert events.time_ns.max() > 1.5e9


def test_two_recorders_at_once_see_each_their_own_command(tmp_path: Path) -> None:
    running = []
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        running.append(Forked("record", "--backend", "ebpf", "-o", f"{name}.iotrace", "--", "cat", name, cwd=tmp_path))
    assert [process.end().returncode for process in running] == [0, 0]
    for name, other in (("one", "two"), ("two", "one")):
        texts = set(open_trace(tmp_path / f"{name}.iotrace").events().path_text.dropna())
        assert str(tmp_path / name) in texts
        assert str(tmp_path / other) not in texts


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed")
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_without_the_right_to_load_bpf_one_line_says_so_and_strace_records(tmp_path: Path) -> None:
    without = ["setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon"]
    command = [*without, sys.executable, "-m", "iotrace", "record", "-o", str(tmp_path / "t.iotrace")]
    done = subprocess.run([*command, "--", "cat", "/etc/passwd"], capture_output=True, text=True, check=True)
    assert done.stdout == Path("/etc/passwd").read_text()
    said = done.stderr.splitlines()
    assert len(said) == 2
    assert "CAP_BPF" in said[0]
    assert "strace" in said[0]
    assert open_trace(tmp_path / "t.iotrace").info.backend == "strace"
    refused = subprocess.run(
        [*command, "--force", "--backend", "ebpf", "--", "true"], capture_output=True, text=True, check=False
    )
    assert (refused.returncode, len(refused.stderr.splitlines())) == (125, 1)

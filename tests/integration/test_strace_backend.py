"""The strace recorder holds what a plain strace log of the same deterministic command holds, counted by other code."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from strace_counts import BYTES, count

from iotrace.errors import RecordError
from iotrace.record.launch import Launch
from iotrace.record.session import Outcome, record
from iotrace.record.strace import StraceBackend
from iotrace.trace.formats.strace.importing import import_strace
from iotrace.trace.info import TraceInfo
from iotrace.trace.reader import Trace, open_trace
from iotrace.trace.writer import TraceWriter

PROGRAMS = Path(__file__).parent.parent / "programs"
UNAVAILABLE = StraceBackend.unavailable()

pytestmark = pytest.mark.skipif(UNAVAILABLE is not None, reason=str(UNAVAILABLE))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the command works in."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three folders of files of sizes 0 to 200,000 bytes."""
    rng = np.random.default_rng(1)
    for number in range(30):
        file = tmp_path / "tree" / f"d{number % 3}" / f"file{number}.dat"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rng.bytes(int(rng.integers(0, 200_000))))
    return tmp_path / "tree"


@contextmanager
def standard_streams_away() -> Iterator[None]:
    """Descriptors 0 to 2 on /dev/null: pytest's own are files, which a recording holds."""
    saved = [os.dup(fd) for fd in range(3)]
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for fd in range(3):
            os.dup2(nothing, fd)
        yield
    finally:
        for fd, before in enumerate(saved):
            os.dup2(before, fd)
            os.close(before)
        os.close(nothing)


def recorded(command: list[str], folder: Path, **options: object) -> tuple[Outcome, Trace]:
    outcome = record(command, folder / "t.iotrace", backend="strace", force=True, **options)  # type: ignore[arg-type]
    return outcome, open_trace(folder / "t.iotrace")


def logged(command: list[str], work: Path, log: Path) -> None:
    """Run the command again, in an empty folder of the same name, under a strace of its own."""
    shutil.rmtree(work)
    work.mkdir()
    os.chdir(work)
    strace = ["strace", "-f", "-y", "-s", "4096", "-a", "1", "-o", str(log), "--"]
    with standard_streams_away():
        subprocess.run([*strace, *command], check=True)


def counted(events: pd.DataFrame) -> tuple[Counter[str], Counter[str], Counter[str]]:
    calls = Counter(events.op.astype(str))
    failed = events[(events.result.fillna(0) < 0) & (events.op != "exit")]
    moved: Counter[str] = Counter()
    for op, group in events[events.op.isin(BYTES)].groupby("op", observed=True):
        moved[str(op)] = int(group.result.clip(lower=0).sum())
    return calls, Counter(failed.op.astype(str)), moved


COMMANDS = {
    "tar": lambda tree: ["tar", "cf", "out.tar", "-C", str(tree), "."],
    "find": lambda tree: ["find", str(tree), "-size", "+1k", "-newer", "/etc/passwd"],
    "pipeline": lambda tree: ["sh", "-c", f"cat {tree}/d0/* | sort > sorted; cp -r {tree}/d1 copy; rm -r copy; wc -c < sorted > n"],  # noqa: E501
    "every_call": lambda tree: [sys.executable, "-S", str(PROGRAMS / "every_call.py")],
}  # fmt: skip


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_recording_equals_a_plain_log_of_a_second_run(name: str, tree: Path, tmp_path: Path, work: Path) -> None:
    command = COMMANDS[name](tree)
    with standard_streams_away():
        outcome, trace = recorded(command, tmp_path)
    assert outcome.exit_status == 0
    assert (outcome.info.lost, outcome.info.complete) == ({}, True)
    logged(command, work, tmp_path / "log")
    events = trace.events()
    for ours, theirs in zip(counted(events), count(tmp_path / "log"), strict=True):
        # where processes run side by side, which thread unmaps what differs from run to run
        left = {"munmap"} if name == "pipeline" else set()
        assert {k: v for k, v in ours.items() if v and k not in left} == {
            k: v for k, v in theirs.items() if v and k not in left
        }
    data = events[events.op.isin(BYTES - {"getdents", "getdents64", "splice"})]
    assert data.path.notna().all()
    # what a shell's redirection opened is inherited with its position
    assert data.offset.notna().all()
    assert events.duration_ns.notna().all()
    assert (events.duration_ns >= 0).all()
    assert events.time_ns.between(0, outcome.info.duration_ns).all()


@pytest.mark.parametrize("name", ["tar", "every_call"])
def test_an_imported_log_equals_an_independent_count_of_it(name: str, tree: Path, tmp_path: Path, work: Path) -> None:
    logged(COMMANDS[name](tree), work, tmp_path / "log")
    info = import_strace([tmp_path / "log"], tmp_path / "t.iotrace")
    # fchmodat2, of which this strace may know the number only
    assert sum(info.lost.values()) == (tmp_path / "log").read_bytes().count(b"syscall_0x1c4(")
    ours = counted(open_trace(tmp_path / "t.iotrace").events())
    for mine, theirs in zip(ours, count(tmp_path / "log"), strict=True):
        assert {k: v for k, v in mine.items() if v} == {k: v for k, v in theirs.items() if v}


def test_offsets_forks_and_threads_are_right(tmp_path: Path, work: Path) -> None:
    program = """
import os, threading
f = os.open("a.bin", os.O_RDWR | os.O_CREAT, 0o600)
os.write(f, b"x" * 1000)
os.lseek(f, 100, os.SEEK_SET)
t = threading.Thread(target=lambda: os.read(f, 50)); t.start(); t.join()
p = os.fork()
if p == 0:
    os.read(f, 25)
    os._exit(7)
os.waitpid(p, 0)
os.read(f, 10)
g = os.open("a.bin", os.O_WRONLY | os.O_APPEND)
os.write(g, b"end")
"""
    outcome, trace = recorded([sys.executable, "-S", "-c", program], tmp_path)
    assert outcome.exit_status == 0
    events = trace.events()
    mine = events[events.path_text == str(work / "a.bin")]
    transfers = mine[mine.op.isin(["read", "write"])]
    assert transfers.offset.tolist() == [0, 100, 150, 175, 1000]
    assert transfers.result.tolist() == [1000, 50, 25, 10, 3]
    first, in_thread, in_child, after, _ = (transfers.iloc[n] for n in range(5))
    assert first.process == in_thread.process == after.process != in_child.process
    assert first.thread == after.thread != in_thread.thread
    assert transfers.open.iloc[:4].nunique() == 1
    forks = events[events.op == "fork"]
    assert sorted(forks.child) == sorted([in_thread.thread, in_child.thread])
    wait = events[events.op == "wait"].iloc[0]
    assert wait.child == in_child.process
    processes = trace.processes().set_index("process")
    assert processes.exit[in_child.process] == 7
    assert processes.parent[in_child.process] == first.process
    assert processes.cwd[first.process] == str(work)
    file = trace.files().set_index("file").loc[first.file]
    assert (bool(file.existed), file["size"]) == (False, 0)


def test_files_that_were_there_are_told_with_their_size(tmp_path: Path, work: Path) -> None:
    (work / "old").write_bytes(b"x" * 12345)
    time.sleep(0.05)
    _, trace = recorded(["sh", "-c", "cat old > new; echo more >> old"], tmp_path)
    files = trace.files().set_index("path_text")
    assert (files["size"][str(work / "old")], bool(files.existed[str(work / "old")])) == (12345, True)
    assert not files.existed[str(work / "new")]
    assert trace.info.mounts[files.mount[str(work / "old")]].device == os.stat(work).st_dev


def test_an_inherited_descriptor_has_its_file_and_position(tmp_path: Path, work: Path) -> None:
    (work / "in").write_bytes(b"0123456789" * 10)
    saved = os.dup(0)
    fd = os.open("in", os.O_RDONLY)
    os.lseek(fd, 30, os.SEEK_SET)
    os.dup2(fd, 0)
    try:
        _, trace = recorded(["cat"], tmp_path)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(fd)
    events = trace.events()
    # newer coreutils copy in the kernel
    reads = events[events.op.isin(["read", "copy_file_range"]) & (events.path_text == str(work / "in"))]
    assert reads.offset.tolist() == [30, 100]
    row = trace.files().set_index("path_text").loc[str(work / "in")]
    assert (row.inherited_offset, row.inherited_flags & os.O_ACCMODE) == (30, os.O_RDONLY)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 77", 77), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)]
)
def test_the_commands_own_exit_status_is_handed_on(script: str, status: int, tmp_path: Path, work: Path) -> None:
    outcome, trace = recorded(["sh", "-c", script], tmp_path)
    assert outcome.exit_status == status
    ended = trace.processes().exit[0]
    assert (ended if ended >= 0 else 128 - ended) == status


def test_commands_that_end_at_once_are_recorded_each_time(tmp_path: Path, work: Path) -> None:
    for _ in range(10):
        outcome, trace = recorded(["false"], tmp_path)
        assert outcome.exit_status == 1
        assert trace.events().op.astype(str).tolist()[::17][:1] == ["exec"]
        assert (trace.events().op == "exit").sum() == 1


def test_what_cannot_be_executed_gets_one_clear_line(tmp_path: Path, work: Path) -> None:
    (work / "garbage").write_text("\x7fgarbage")
    (work / "lost").write_text("#!/no/such/interpreter\n")
    for name, status in (("/no/such/program", 127), ("garbage", 126), ("lost", 126), ("/etc/passwd", 126)):
        path = work / name
        if path.parent == work:
            path.chmod(0o755)
        with pytest.raises(RecordError) as error:
            recorded([str(path)], tmp_path)
        assert error.value.exit_status == status
        assert "\n" not in str(error.value)
        assert not (tmp_path / "t.iotrace").exists()


def test_the_log_leaves_nothing_behind(tmp_path: Path, work: Path) -> None:
    recorded(["ls"], tmp_path)
    assert {entry.name for entry in (tmp_path / "t.iotrace").iterdir()} == {
        "counters.parquet",
        "events",
        "files",
        "paths",
        "processes",
        "trace.json",
    }


@pytest.mark.parametrize("detachable", [False, True])
def test_processes_that_go_on_are_not_harmed_by_the_end_of_the_recording(
    detachable: bool, tmp_path: Path, work: Path
) -> None:
    """A call under a seccomp filter whose tracer has gone fails with ENOSYS: the backend must not leave it so."""
    writer = TraceWriter(tmp_path / "t.iotrace", TraceInfo())
    backend = StraceBackend(writer, detachable)
    pid = backend.start(Launch(["sh", "-c", "(sleep 0.7; cat /etc/passwd > later; echo done > finished) & exit 5"]))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    backend.stop()
    writer.close()
    assert any("went on" in sentence for sentence in backend.unseen) is not detachable
    deadline = time.monotonic() + 20
    while not (work / "finished").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (work / "later").read_bytes() == Path("/etc/passwd").read_bytes()
    assert len(open_trace(tmp_path / "t.iotrace").events()) > 10


def test_a_recording_may_end_before_the_command(tmp_path: Path, work: Path) -> None:
    outcome, trace = recorded(["sh", "-c", "sleep 1.5; echo x > y"], tmp_path, duration_s=0.3)
    assert outcome.exit_status == 0
    assert (work / "y").read_text() == "x\n"
    assert str(work / "y") not in trace.paths().text.tolist()


def test_a_signal_to_the_recorder_ends_the_command_and_keeps_the_trace(tmp_path: Path, work: Path) -> None:
    words = ["record", "--backend", "strace", "-o", str(tmp_path / "t.iotrace"), "--", "sleep", "30"]
    # a process of its own: a signal that came too early would end that of the tests
    recorder = subprocess.Popen([sys.executable, "-m", "iotrace", *words], stderr=subprocess.PIPE, text=True)

    def runs() -> bool:
        """Whether the command has begun; strace's helpers come and go while they are looked at."""
        try:
            return any(child.name() == "sleep" for child in psutil.Process(recorder.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return False

    deadline = time.monotonic() + 60
    while not runs() and time.monotonic() < deadline:
        time.sleep(0.02)
    recorder.send_signal(signal.SIGTERM)
    said = recorder.communicate(timeout=60)[1]
    assert recorder.returncode == 143, said
    trace = open_trace(tmp_path / "t.iotrace")
    assert trace.info.complete
    assert trace.processes().exit[0] == -signal.SIGTERM


def test_broken_pipes_end_programs_as_they_should(tmp_path: Path, work: Path) -> None:
    """Python ignores SIGPIPE; a command must not inherit that."""
    _, trace = recorded(["sh", "-c", "yes | head -1 > first"], tmp_path)
    processes = trace.processes().set_index("command")
    assert processes.exit["yes"] == -signal.SIGPIPE


def test_secrets_and_labels_of_a_worker(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = work / "J12"
    job.mkdir()
    (job / "job.json").write_text('{"job_type": "class_2D_new", "project_uid": "P3"}')
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.chdir(job)
    _, trace = recorded(["sh", "-c", "cat job.json; : --password hunter2"], tmp_path)
    row = trace.processes().iloc[0]
    assert (row.project, row.job, row.job_type, row.step, row.slurm_job) == (
        "P3",
        "J12",
        "class_2D_new",
        "2D Classification",
        "4711",
    )
    stored = (
        b"".join(p.read_bytes() for p in (tmp_path / "t.iotrace").rglob("*") if p.is_file())
        + str(trace.processes().arguments.tolist()).encode()
    )
    assert b"hunter2" not in stored

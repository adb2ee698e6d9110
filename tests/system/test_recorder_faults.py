"""What a recording survives: its own death, a full disk, jobs of many processes and threads, clocks that step, a ring
that overflows. Each with the real kernel, and compared with what the recorded program counted itself."""

import errno
import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import COUNTS_ITSELF, iotrace, program, run, said, start, until

from iotrace.record.session import record
from iotrace.trace.reader import open_trace

pytestmark = pytest.mark.bpf
FLUSH_NS = 5_000_000_000


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MB."""
    place = tmp_path / "tiny"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", place], check=False).returncode:
        pytest.skip("may not mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_after_a_sigkill_of_the_recorder_the_command_goes_on_and_the_trace_lacks_at_most_five_seconds(
    tmp_path: Path,
) -> None:
    command = iotrace("record", "--backend", "ebpf", "-o", "t.iotrace", "--")
    recorder = start([*command, *program(COUNTS_ITSELF, SECONDS=11, STATUS=0)], tmp_path)
    until((tmp_path / "counter").exists, "the command")
    time.sleep(7)
    recorder.kill()
    recorder.wait()
    killed = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    until((tmp_path / "done").exists, "the command's end")  # it went on

    trace = open_trace(tmp_path / "t.iotrace")
    assert not trace.info.complete
    assert trace.info.unseen
    events = trace.events()
    mine = events[events.path_text == str(tmp_path / "data")]
    recorded = int((mine.op == "write").sum())
    times = [at for _, at in struct.iter_unpack("<qq", (tmp_path / "counter").read_bytes())][1:]
    assert len(times) == int((tmp_path / "done").read_text())
    assert sum(at < killed - FLUSH_NS for at in times) <= recorded <= sum(at < killed for at in times) + 1
    assert recorded > 100
    summary = run(iotrace("summary", "t.iotrace", "--json"), tmp_path)
    assert json.loads(summary.stdout)["complete"] is False


def test_on_a_full_disk_one_line_says_so_and_the_command_goes_on(tiny: Path, tmp_path: Path) -> None:
    (tiny / "filling").write_bytes(bytes(18 << 20))
    busy = """
        import os, random, time
        fd = os.open("data", os.O_WRONLY | os.O_CREAT)
        for i in range(300_000):
            os.pwrite(fd, b"x" * random.randrange(4000), random.randrange(1 << 20))
            if i % 50_000 == 0: time.sleep(0.5)
        open("done", "w").close()
        raise SystemExit(7)
    """
    done = run(iotrace("record", "--backend", "ebpf", "-o", str(tiny / "t.iotrace"), "--", *program(busy)), tmp_path)
    assert done.returncode == 7, done.stderr
    assert (tmp_path / "done").exists()
    lines = said(done.stderr)
    assert len(lines) == 1, lines
    assert "no space left for the trace" in lines[0]
    trace = open_trace(tiny / "t.iotrace")
    assert not trace.info.complete
    assert (trace.events().op == "pwrite64").any()


def test_a_disk_that_is_full_from_the_start_lets_no_command_begin(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as full:
        (tiny / "filling").write_bytes(bytes(21 << 20))
    assert full.value.errno == errno.ENOSPC
    done = run(iotrace("record", "-o", str(tiny / "t.iotrace"), "--", "touch", "begun"), tmp_path)
    assert done.returncode == 125
    assert len(said(done.stderr)) == 1
    assert "space" in done.stderr
    assert not (tmp_path / "begun").exists()


def test_a_job_of_ten_thousand_processes_is_counted_to_the_last(tmp_path: Path) -> None:
    # the shell is the program that forks fastest
    many = 'cd "$1"; : >data; i=0; while [ $i -lt 10000 ]; do (exec 3<data; exit 3); i=$((i+1)); done'
    outcome = record(["/bin/sh", "-c", many, "sh", str(tmp_path)], tmp_path / "t.iotrace", "ebpf")
    assert outcome.exit_status == 0
    trace = open_trace(tmp_path / "t.iotrace")
    assert trace.info.complete, trace.info.lost
    events = trace.events()
    opens = events[(events.op == "openat") & (events.path_text == str(tmp_path / "data"))]
    assert len(opens) == 10_001
    assert opens.process.nunique() == 10_001
    assert ((events.op == "exit") & (events.result == 3)).sum() == 10_000
    assert (events.op == "fork").sum() == 10_000
    processes = trace.processes()
    assert (processes.exit == 3).sum() == 10_000


def test_five_hundred_threads_at_once_are_told_apart_and_all_counted(tmp_path: Path) -> None:
    many = """
        import os, threading
        os.chdir(FOLDER)
        threading.stack_size(1 << 18)
        meet = threading.Barrier(500)
        def work(i):
            meet.wait()
            fd = os.open(f"f{i}", os.O_WRONLY | os.O_CREAT)
            for j in range(100):
                os.pwrite(fd, b"x" * 64, 64 * j)
            meet.wait()
        threads = [threading.Thread(target=work, args=(i,)) for i in range(500)]
        [t.start() for t in threads]; [t.join() for t in threads]
    """
    outcome = record(program(many, FOLDER=str(tmp_path)), tmp_path / "t.iotrace", "ebpf")
    assert outcome.exit_status == 0
    trace = open_trace(tmp_path / "t.iotrace")
    assert trace.info.complete, trace.info.lost
    writes = trace.events().query("op == 'pwrite64'")
    assert len(writes) == 50_000
    assert writes.thread.nunique() == 500
    assert writes.process.nunique() == 1
    counts = writes.groupby("path_text")
    assert counts.ngroups == 500
    assert (counts["result"].sum() == 6400).all()
    assert (counts["thread"].nunique() == 1).all()


def test_a_clock_that_steps_moves_no_event_and_stands_in_the_clock_pairs(tmp_path: Path) -> None:
    stepping = """
        import os, time
        os.chdir(FOLDER)
        hour = 3600
        def step(seconds):
            time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME) + seconds)
        fd = os.open("data", os.O_WRONLY | os.O_CREAT)
        def work():
            for _ in range(60):
                os.write(fd, b"x"); time.sleep(0.01)
        work()
        try:
            step(hour)
        except PermissionError:
            raise SystemExit(77)
        try:
            work(); step(-2 * hour); work()
        finally:
            step(hour)
        work()
    """
    command = program(stepping, FOLDER=str(tmp_path))
    began, began_utc = time.monotonic(), time.time()
    outcome = record(command, tmp_path / "t.iotrace", "ebpf")
    drift = (time.time() - began_utc) - (time.monotonic() - began)
    if outcome.exit_status == 77:
        pytest.skip("may not set the clock here")
    assert outcome.exit_status == 0
    assert abs(drift) < 0.5, "the test has left the clock of this machine wrong"
    trace = open_trace(tmp_path / "t.iotrace")
    writes = trace.events().query("op == 'write'")
    assert len(writes) == 240
    assert writes.time_ns.diff().dropna().between(0, 5e9).all()
    assert trace.info.duration_ns < 60e9
    offsets = [
        round((utc - monotonic - trace.info.clock[0][1] + trace.info.clock[0][0]) / 3.6e12, 2)
        for monotonic, utc in trace.info.clock
    ]
    changes = [round(later - earlier, 2) for earlier, later in itertools.pairwise(offsets) if earlier != later]
    assert changes == [1.0, -2.0, 1.0]
    monotonic = [pair[0] for pair in trace.info.clock]
    assert monotonic == sorted(monotonic)


def test_the_clock_is_noted_once_a_minute_and_the_list_of_it_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from iotrace.record import session
    from iotrace.trace.info import info_of_this_machine

    info = info_of_this_machine("ebpf", [])
    clock = session._Clock(info)
    start_ns = info.clock[0][0]
    now = [start_ns]
    # what is under test is arithmetic on days that a test cannot wait for
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: now[0])
    monkeypatch.setattr(time, "time_ns", lambda: now[0] + info.clock[0][1] - start_ns)
    for second in range(600):
        now[0] = start_ns + second * 10**9
        clock.look()
    assert len(info.clock) == 10
    for minute in range(10, 10_000):
        now[0] = start_ns + minute * 60 * 10**9
        clock.look()
    assert len(info.clock) <= 2000
    assert info.clock[0][0] == start_ns
    assert info.clock[-1][0] == now[0]


SMALL_RING = """
import sys
import iotrace.record.ebpf.program as program
program.RING_BYTES = 1 << 12
from iotrace.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_what_a_tiny_ring_loses_is_counted_by_class_and_told_wherever_the_trace_is_shown(tmp_path: Path) -> None:
    busy = """
        import os
        fd = os.open("data", os.O_RDWR | os.O_CREAT)
        for _ in range(50_000):
            os.write(fd, b"x"); os.lseek(fd, 0, 0); os.read(fd, 1)
    """
    command = [sys.executable, "-c", SMALL_RING, "record", "--backend", "ebpf", "-o", "t.iotrace", "--", *program(busy)]
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    info = open_trace(tmp_path / "t.iotrace").info
    events = open_trace(tmp_path / "t.iotrace").events()
    assert not info.complete
    for op, kind in (("write", "write"), ("lseek", "metadata"), ("read", "read")):
        assert info.lost[kind] > 0
        seen = int((events.op == op).sum())
        # the interpreter's own reads and look-ups come on top
        assert 50_000 <= info.lost[kind] + seen < 51_000
    lost = [line for line in said(done.stderr) if "LOST" in line]
    assert len(lost) == 1
    assert all(f"{kind} {info.lost[kind]}" in lost[0].replace(",", "") or kind in lost[0] for kind in info.lost)
    shown = run(iotrace("summary", "t.iotrace"), tmp_path).stdout
    assert "LOST" in shown
    for kind, count in info.lost.items():
        assert f"{kind} {count:,}" in " ".join(shown.split())
    as_json = json.loads(run(iotrace("summary", "t.iotrace", "--json"), tmp_path).stdout)
    assert as_json["lost_by_class"] == info.lost
    assert as_json["complete"] is False


def test_calls_that_wait_when_the_recording_ends_are_left_alone_and_the_trace_is_whole(tmp_path: Path) -> None:
    waiting = """
        import fcntl, os, time
        fd = os.open("lock", os.O_RDWR | os.O_CREAT)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        if os.fork() == 0:
            other = os.open("lock", os.O_RDWR)
            open("waits", "w").close()
            fcntl.lockf(other, fcntl.LOCK_EX)
            os._exit(0)
        os.wait()
    """
    runner = start(program(waiting), tmp_path)
    try:
        until((tmp_path / "waits").exists, "the process that waits")
        time.sleep(0.2)
        done = run(iotrace("record", "-o", "t.iotrace", "--pid", str(runner.pid), "--duration", "1"), tmp_path)
        assert done.returncode == 0
        said(done.stderr)
        trace = open_trace(tmp_path / "t.iotrace")
        assert trace.info.complete
        assert len(trace.processes()) == 2
        assert not (trace.events().op == "fcntl.lock").any()  # it has not ended
        assert runner.poll() is None
    finally:
        for pid in (*_children(runner.pid), runner.pid):
            os.kill(pid, signal.SIGKILL)
        runner.wait()
    waits = """
        import os
        pid = os.fork()
        if pid == 0:
            os.open("fifo", os.O_RDONLY)
        open("begun", "w").close()
        import time; time.sleep(60)
    """
    os.mkfifo(tmp_path / "fifo")
    command = iotrace(
        "record", "-o", "u.iotrace", "--all", "--backend", "ebpf", "--duration", "3", "--", *program(waits)
    )
    recorder = start(command, tmp_path)
    until((tmp_path / "begun").exists, "the command")
    until(lambda: json.loads((tmp_path / "u.iotrace" / "trace.json").read_text())["complete"], "the trace's end")
    for pid in _children(recorder.pid):
        for child in (*_children(pid), pid):
            os.kill(child, signal.SIGKILL)
    assert recorder.wait(20) == 137
    assert open_trace(tmp_path / "u.iotrace").info.complete


def _children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def test_a_path_that_is_not_utf_8_keeps_its_bytes_in_every_column(tmp_path: Path) -> None:
    name = b"caf\xe9-\x80\xff.mrc"
    folder = os.fsencode(tmp_path) + b"/d\xfe"
    os.mkdir(folder)
    odd = f"import os; os.chdir({folder!r}); fd = os.open({name!r}, os.O_WRONLY | os.O_CREAT); os.write(fd, b'1234')"
    odd += f"; os.rename({name!r}, b'b\\xfd')"
    done = run(iotrace("record", "--backend", "ebpf", "-o", "t.iotrace", "--", *program(odd)), tmp_path)
    assert done.returncode == 0, done.stderr
    trace = open_trace(tmp_path / "t.iotrace")
    paths = trace.paths()
    raw = {value for value in paths.raw if value is not None}
    assert {name, b"b\xfd"} <= raw
    writes = trace.events().query("op == 'write'")
    assert str(tmp_path) + "/d\\xfe/caf\\xe9-\\x80\\xff.mrc" in set(writes.path_text)
    shown = run(iotrace("summary", "t.iotrace"), tmp_path)
    assert shown.returncode == 0
    said(shown.stderr)

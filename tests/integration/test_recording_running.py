"""Recording what runs already: processes, control groups, single mounts, pipes and sockets, CryoSPARC's jobs."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from calendar import timegm
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from iotrace.errors import RecordError
from iotrace.record.scope import Scope, find_cgroup, hierarchy_of, mount_points, running
from iotrace.record.session import record
from iotrace.trace.reader import Trace, open_trace

pytestmark = pytest.mark.bpf

BUSY = """
    import os, threading, time
    inherited = open("data", "rb")
    inherited.read(10)
    def beside():
        while True:
            os.pread(inherited.fileno(), 512, 4096)
            time.sleep(0.01)
    threading.Thread(target=beside, daemon=True).start()
    print("ready", flush=True)
    while True:
        os.lseek(inherited.fileno(), 0, 1)
        if os.fork() == 0:
            open("child", "w").write("x")
            os._exit(0)
        os.wait()
        time.sleep(0.02)
"""


@pytest.fixture(scope="module", autouse=True)
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A recorder that is compiled begins within a second, as these tests expect."""
    record(["/bin/true"], tmp_path_factory.mktemp("warm") / "t.iotrace", backend="ebpf")


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with an open file, a second thread, and children."""
    (tmp_path / "data").write_bytes(bytes(8192))
    with subprocess.Popen(
        [sys.executable, "-S", "-c", textwrap.dedent(BUSY)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def recorded(folder: Path, scope: Scope, seconds: float = 1.0) -> Trace:
    record([], folder / "t.iotrace", backend="ebpf", duration_s=seconds, scope=scope)
    return open_trace(folder / "t.iotrace")


def test_a_running_process_is_recorded_with_its_threads_children_and_open_files(
    tmp_path: Path, busy: subprocess.Popen[str]
) -> None:
    trace = recorded(tmp_path, Scope("pid", (busy.pid,)))
    assert busy.poll() is None
    events = trace.events()
    data = str(tmp_path / "data")
    preads = events[events.op == "pread64"]
    assert len(preads) > 20
    assert set(preads.path_text) == {data}
    assert preads.open.nunique() == 1
    seeks = events[(events.op == "lseek") & (events.path_text == data)]
    assert len(seeks) > 5
    assert preads.thread.iloc[0] != seeks.thread.iloc[0]
    assert str(tmp_path / "child") in set(events[events.op == "openat"].path_text)
    file = trace.files().set_index("path_text").loc[data]
    assert (file.inherited_offset > 0, file["size"], file.existed) == (True, 8192, True)
    first = trace.processes().iloc[0]
    assert (first.pid, first.cwd) == (busy.pid, str(tmp_path))
    assert "-S" in list(first.arguments)
    assert first.start_ns < 0
    assert trace.info.complete


def test_a_recording_ends_with_the_process_that_it_follows(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "4"]) as process:
        began = time.monotonic()
        record([], tmp_path / "t.iotrace", backend="ebpf", duration_s=30, scope=Scope("pid", (process.pid,)))
    assert time.monotonic() - began < 20
    assert open_trace(tmp_path / "t.iotrace").events().op.tolist()[-1] == "exit"


def test_a_process_that_has_ended_and_waits_for_its_parent_is_not_followed(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        time.sleep(0.2)
        with pytest.raises(RecordError, match="nothing to record"):
            record([], tmp_path / "t.iotrace", backend="ebpf", duration_s=30, scope=Scope("pid", (process.pid,)))


def test_a_process_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(RecordError, match="there is no process 4194000"):
        running([4194000])


def _hierarchies() -> list[Path]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    two = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    one = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup" and fields[1].endswith("pids")]
    return [folder for folder in two[:1] + one[:1] if os.access(folder, os.W_OK)]


def _remove_group(group: Path) -> None:
    """Processes that end leave a group a moment after they were waited for."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_control_group_is_found_by_its_name_in_each_hierarchy_and_a_folder_like_one_is_not(
    tmp_path: Path,
) -> None:
    hierarchies = _hierarchies()
    if not hierarchies:
        pytest.skip("no control groups that can be made here")
    for root in hierarchies:
        group = root / f"iotrace-name-{os.getpid()}"
        group.mkdir()
        try:
            assert find_cgroup(f"/{group.name}") == group
        finally:
            _remove_group(group)
    (tmp_path / "cgroup.procs").touch()
    with pytest.raises(RecordError, match="no control group"):
        find_cgroup(str(tmp_path))


@pytest.mark.parametrize("hierarchy", _hierarchies(), ids=lambda folder: folder.name)
def test_a_control_group_is_recorded_with_what_joins_it(
    tmp_path: Path, busy: subprocess.Popen[str], hierarchy: Path
) -> None:
    group = hierarchy / f"iotrace-test-{os.getpid()}"
    (group / "below").mkdir(parents=True)
    try:
        (group / "cgroup.procs").write_text(str(busy.pid))
        joins = (
            "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); "
            "open('/etc/hosts').read(); time.sleep(0.3); open('/etc/passwd').read()"
        )

        def join() -> None:
            subprocess.run([sys.executable, "-S", "-c", joins, str(group / "below" / "cgroup.procs")], check=True)

        beside = threading.Thread(target=join)
        scope = Scope("cgroup", cgroup=find_cgroup(str(group)))
        record([], tmp_path / "t.iotrace", backend="ebpf", duration_s=3, scope=scope, attached=beside.start)
        beside.join()
        trace = open_trace(tmp_path / "t.iotrace")
        texts = set(trace.events().path_text.dropna())
        assert str(tmp_path / "data") in texts
        assert {"/etc/hosts", "/etc/passwd"} <= texts
    finally:
        busy.kill()
        busy.wait()
        _remove_group(group / "below")
        _remove_group(group)


@pytest.mark.parametrize("whom", ["cgroup", "pid"])
def test_a_recorder_among_those_that_it_records_does_not_record_itself(
    whom: str, tmp_path: Path, busy: subprocess.Popen[str]
) -> None:
    hierarchies = _hierarchies()
    if whom == "cgroup" and not hierarchies:
        pytest.skip("no control groups that can be made here")
    group = hierarchies[0] / f"iotrace-own-{os.getpid()}" if hierarchies else tmp_path
    group.mkdir(exist_ok=True)
    recorder = [sys.executable, "-m", "iotrace", "record", "--duration", "3", "-o", str(tmp_path / "t.iotrace")]
    try:
        if whom == "cgroup":
            (group / "cgroup.procs").write_text(str(busy.pid))
            begin = f'echo $$ >"{group}/cgroup.procs"; exec "$@" --cgroup "{group}"'
        else:
            # a shell that is recorded has started the recorder
            begin = '"$@" --pid $$; exit $?'
        subprocess.run(["/bin/sh", "-c", begin, "sh", *recorder], check=True)
        processes = open_trace(tmp_path / "t.iotrace").processes()
        if whom == "cgroup":
            heads = processes[processes.parent.isna()]
            assert heads.pid.tolist() == [busy.pid], processes[["pid", "command"]].to_string()
        else:
            assert processes.command.tolist() == ["sh"]
    finally:
        busy.kill()
        busy.wait()
        if whom == "cgroup":
            _remove_group(group)


def test_what_a_process_that_works_for_the_recorder_starts_is_not_recorded_either() -> None:
    from iotrace.record.ebpf.backend import _works_for

    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as works:
        try:
            children: list[int] = []
            while not children:
                children = [child.pid for child in psutil.Process(works.pid).children()]
            assert _works_for(children[0], [works.pid])
            assert not _works_for(children[0], [])
            assert not _works_for(os.getpid(), [works.pid])
        finally:
            for pid in (*children, works.pid):
                os.kill(pid, signal.SIGKILL)


def test_the_hierarchy_of_a_version_2_group_is_0() -> None:
    groups = [folder for folder in _hierarchies() if (folder / "cgroup.controllers").exists()]
    if not groups:
        pytest.skip("no control groups of version 2 are mounted")
    assert hierarchy_of(groups[0]) == 0


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two small file systems."""
    points = tmp_path / "one", tmp_path / "two"
    for point in points:
        point.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
    yield points
    for point in points:
        subprocess.run(["umount", point], check=True)


def test_a_recording_held_to_a_mount_sees_nothing_else(tmp_path: Path, mounts: tuple[Path, Path]) -> None:
    one, two = mounts
    (tmp_path / "link").symlink_to(one)
    script = (
        f"cd {one}; echo a > x; mkdir d; mv x d/y; cat d/y {two}/none {one}/none; cat /etc/passwd > {two}/p; "
        f"cp {two}/p {one}/p; ls {two}; cat {tmp_path}/link/p; rm -r d"
    )
    scope = Scope("command", mounts=mount_points([one / "."]))
    record(["/bin/bash", "-c", script], tmp_path / "t.iotrace", backend="ebpf", scope=scope)
    trace = open_trace(tmp_path / "t.iotrace")
    events = trace.events()
    texts = set(events[events.op != "exec"].path_text.dropna())
    assert {f"{one}/x", f"{one}/d/y", f"{one}/none", f"{one}/p", f"{tmp_path}/link/p"} <= texts
    assert {text for text in texts if not text.startswith((str(one), f"{tmp_path}/link"))} == set()
    files = trace.files()
    assert files.path_text.str.startswith(str(one)).all()
    # both sides of the copy that left or entered the mount: what was written here is here
    assert events[(events.path_text == f"{one}/p") & (events.op == "write")].result.sum() > 0
    assert trace.info.filters["mounts"] == [str(one)]


def test_with_all_pipes_and_sockets_have_the_names_that_proc_shows(tmp_path: Path) -> None:
    program = """
        import os, socket
        r, w = os.pipe(); os.write(w, b"abc"); os.read(r, 10)
        a, b = socket.socketpair(); os.write(a.fileno(), b"abcd"); os.read(b.fileno(), 10)
        open("/proc/self/stat").read(); os.write(os.open("/dev/null", os.O_WRONLY), b"x")
    """
    command = [sys.executable, "-S", "-c", textwrap.dedent(program)]
    record(command, tmp_path / "t.iotrace", backend="ebpf", scope=Scope(all_files=True))
    trace = open_trace(tmp_path / "t.iotrace")
    events = trace.events()
    kinds = trace.files().set_index("file").path_text
    written = events[events.op == "write"]
    names = [kinds[file] for file in written.file]
    assert [name.split("[")[0] for name in names[:2]] == ["pipe:", "socket:"]
    assert names[2] == "/dev/null"
    assert written.result.tolist() == [3, 4, 1]
    record(command, tmp_path / "u.iotrace", backend="ebpf")
    assert not (open_trace(tmp_path / "u.iotrace").events().op == "write").any()


WORKER = """#!/bin/sh
cd {folder}
exec {python} -S -c "
import subprocess
for i in range(3):
    open('out%d.mrc' % i, 'wb').write(b'x' * 1000)
subprocess.run(['/bin/cp', 'out1.mrc', 'copy.mrc'], check=True)
" "$@"
"""


def test_each_cryosparc_job_of_a_node_gets_a_trace_of_its_own(tmp_path: Path) -> None:
    project = tmp_path / "CS-test"
    for job in ("J6", "J7"):
        (project / job).mkdir(parents=True)
        (project / job / "job.json").write_text('{"job_type": "patch_motion_correction_multi"}')
        program = tmp_path / f"cryosparcw-{job}"
        program.write_text(WORKER.format(folder=project / job, python=sys.executable))
        program.chmod(0o755)
    (project / "project.json").write_text('{"uid": "P3"}')
    begun: dict[str, float] = {}

    def work() -> None:
        subprocess.run(["/bin/cat", "/etc/hosts"], stdout=subprocess.DEVNULL, check=True)
        for job in ("J6", "J7"):
            command = [str(tmp_path / f"cryosparcw-{job}"), "run", "--project", "P3", "--job", job]
            begun[job] = time.time()
            subprocess.run(command, check=True)

    beside = threading.Thread(target=work)
    scope = Scope("cryosparc")
    outcome = record([], tmp_path / "jobs", backend="ebpf", duration_s=4, scope=scope, attached=beside.start)
    beside.join()
    assert outcome.info.events > 0
    # other tests may run jobs of their own on this node
    traces = {path.name.rsplit("-", 2)[0]: open_trace(path) for path in sorted((tmp_path / "jobs").glob("P3-*"))}
    assert sorted(traces) == ["P3-J6", "P3-J7"]
    for name, trace in traces.items():
        job = name.split("-")[1]
        processes = trace.processes()
        assert set(processes.job) == {job}
        assert set(processes.step.dropna()) == {"Patch Motion Correction"}
        assert "cp" in set(processes.command)
        events = trace.events()
        texts = set(events.path_text.dropna())
        assert {str(project / job / "out2.mrc"), str(project / job / "copy.mrc")} <= texts
        assert "/etc/hosts" not in texts
        assert trace.info.events == len(events)
        assert 0 <= events.time_ns.min() < 1e9
        started = timegm(time.strptime(trace.info.started_utc, "%Y-%m-%dT%H:%M:%SZ"))
        # whole seconds; the recorder looks two seconds later
        assert -1 <= started - begun[job] < 0.5
        assert trace.info.complete
        assert events.file.dropna().isin(trace.files().file).all()


CLOSES_EARLY = """
import os
os.pread(3, 10, 5)
os.close(3)
os.write(1, b'begun')
"""


def test_what_a_worker_was_handed_open_and_closes_at_once_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "handed").write_bytes(b"x" * 100)
    program = tmp_path / "closes.py"
    program.write_text(CLOSES_EARLY)

    # the shell's own command line must not look like a worker's
    starts = tmp_path / "starts.sh"
    worker = f"{sys.executable} -S {program} cryosparcw run --project P4 --job J1"
    starts.write_text(f"exec >job.log 3<handed\nexec {worker}\n")
    beside = threading.Thread(target=subprocess.run, args=(["/bin/sh", "starts.sh"],), kwargs={"cwd": tmp_path})
    scope = Scope("cryosparc")
    record([], tmp_path / "jobs", backend="ebpf", duration_s=3, scope=scope, attached=beside.start)
    beside.join()
    (trace,) = (open_trace(path) for path in (tmp_path / "jobs").glob("P4-J1-*"))
    events = trace.events()
    moved = events[events.op.isin(["pread64", "write"]) & events.result.isin([5, 10])]
    assert moved.path_text.tolist() == [str(tmp_path / "handed"), str(tmp_path / "job.log")]


def test_a_duration_that_is_none_is_refused_and_a_folder_within_a_mount_is_said_to_stand_for_all_of_it(
    tmp_path: Path,
) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "iotrace", "record", "-o", str(tmp_path / "t.iotrace"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    refused = run("--duration", "-1", "--pid", "1")
    assert (refused.returncode, (tmp_path / "t.iotrace").exists()) == (2, False)
    assert "--duration -1" in refused.stderr
    (tmp_path / "below").mkdir()
    done = run("--fs", str(tmp_path / "below"), "--", "true")
    assert done.returncode == 0
    (point,) = mount_points([tmp_path])
    assert f"recording all of its mount, {point}." in done.stderr

"""Labels of real recordings: from command lines, folders and files that anyone may have made."""

import ctypes
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from commands import Command
from made import made_trace

from iotrace.record.scope import BackendName, Scope
from iotrace.record.session import record
from iotrace.trace.reader import Trace, open_trace

pytestmark = pytest.mark.bpf
HOSTILE = ("fifo", "link", "huge", "nested", "folder", "no utf-8")


def recorded(command: list[str], folder: Path, output: Path, backend: BackendName = "ebpf") -> Trace:
    before = Path.cwd()
    os.chdir(folder)
    try:
        outcome = record(command, output, backend=backend, force=True)
    finally:
        os.chdir(before)
    assert outcome.exit_status == 0
    return open_trace(output)


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-S", "-c", textwrap.dedent(program), *arguments]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project P77 with jobs J1, J12 (version 4) and J13 (version 5), and J6 without a job.json."""
    root = tmp_path / "CS-test"
    for name, content in {
        "project.json": {"uid": "P77"},
        "J1/job.json": {"uid": "J1", "job_type": "import_movies"},
        "J12/job.json": {"uid": "J12", "job_type": "patch_motion_correction_multi", "spec": None},
        "J13/job.json": {"uid": "J13", "project_uid": "P77", "spec": {"type": "homo_abinit", "params": {}}},
        "J6/gridfs_data": {},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content))
    return root


def labels_of_each(trace: Trace) -> Counter[tuple[object, ...]]:
    """How many processes have which labels."""
    frame = trace.processes()[["project", "job", "job_type", "step"]]
    return Counter(frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None))


def labels(trace: Trace) -> set[tuple[object, ...]]:
    return set(labels_of_each(trace))


@pytest.mark.parametrize("backend", ["ebpf", "strace"])
def test_a_worker_labels_its_whole_tree(project: Path, tmp_path: Path, backend: BackendName) -> None:
    worker = tmp_path / "cryosparcw"
    worker.write_text("#!/bin/sh\n/bin/sh -c 'cat /etc/hostname; /bin/true'\n(cat /etc/hostname) &\nwait\n")
    worker.chmod(0o755)
    command = [str(worker), "run", "--project", "P1", "--job", "J6", "--master_hostname", "h"]
    trace = recorded(command, tmp_path, tmp_path / "t.iotrace", backend)
    assert len(trace.processes()) >= 4
    assert labels(trace) == {("P1", "J6", None, None)}
    assert set(trace.processes().user) == {"root"}


@pytest.mark.parametrize("backend", ["ebpf", "strace"])
def test_the_folder_written_to_labels_a_process_and_its_children(
    project: Path, tmp_path: Path, backend: BackendName
) -> None:
    program = """
        import os, sys
        for job in sys.argv[2:]:
            if os.fork() == 0:
                open(f"{sys.argv[1]}/J1/job.json").read()
                open(f"{sys.argv[1]}/{job}/out.cs", "wb").write(b"x")
                if os.fork() == 0:
                    open("/etc/hostname").read()
                    os._exit(0)
                os.wait()
                os._exit(0)
            os.wait()
        """
    command = python(program, str(project), "J12", "J13", "J6")
    found = labels_of_each(recorded(command, tmp_path, tmp_path / "t.iotrace", backend))
    assert found == {
        (None,) * 4: 1,
        ("P77", "J12", "patch_motion_correction_multi", "Patch Motion Correction"): 2,
        ("P77", "J13", "homo_abinit", "Ab-initio Reconstruction"): 2,
        ("P77", "J6", None, None): 2,
    }


def test_what_reads_from_many_jobs_works_for_none_and_from_one_for_that(project: Path, tmp_path: Path) -> None:
    program = "import sys\nfor name in sys.argv[1:]: open(name).read()"
    names = [str(project / job / "job.json") for job in ("J12", "J13")]
    assert labels(recorded(python(program, *names), tmp_path, tmp_path / "t.iotrace")) == {(None,) * 4}
    assert {row[1] for row in labels(recorded(python(program, names[0]), tmp_path, tmp_path / "t.iotrace"))} == {"J12"}


def test_the_working_folder_ranks_before_what_is_written(project: Path, tmp_path: Path) -> None:
    program = f"open({str(project / 'J13' / 'x')!r}, 'w').close()"
    trace = recorded(python(program), project / "J12", tmp_path / "t.iotrace")
    assert {row[1] for row in labels(trace)} == {"J12"}


def test_a_command_line_is_never_overridden_by_a_folder_and_takes_its_type_from_its_own(
    project: Path, tmp_path: Path
) -> None:
    worker = tmp_path / "cryosparcw"
    worker.write_text(f"#!/bin/sh\necho x > {project}/J13/log\necho x > {project}/J12/log\n")
    worker.chmod(0o755)
    trace = recorded([str(worker), "run", "--project", "P77", "--job", "J12"], tmp_path, tmp_path / "t.iotrace")
    assert labels(trace) == {("P77", "J12", "patch_motion_correction_multi", "Patch Motion Correction")}


def test_slurm_names_job_user_and_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"JOB_NAME": "cryosparc_P5_J8", "JOB_ID": "4711", "JOB_USER": "ann"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    trace = recorded(["/bin/sh", "-c", "/bin/true; /bin/true"], tmp_path, tmp_path / "t.iotrace")
    assert labels(trace) == {("P5", "J8", None, None)}
    assert (set(trace.processes().user), set(trace.processes().slurm_job)) == ({"ann"}, {"4711"})


@pytest.mark.parametrize("backend", ["ebpf", "strace"])
def test_a_symlinked_movie_keeps_both_paths(project: Path, tmp_path: Path, backend: BackendName) -> None:
    movie, link = tmp_path / "raw" / "x.tif", project / "J1" / "imported" / "1_x.tif"
    movie.parent.mkdir()
    link.parent.mkdir()
    movie.write_bytes(b"m" * 5000)
    link.symlink_to(movie)
    program = f"open({str(link)!r}, 'rb', buffering=0).read(5000)"
    trace = recorded(python(program), tmp_path, tmp_path / "t.iotrace", backend)
    events = trace.events()
    reads = events[(events.op == "read") & (events.path_text == str(link))]
    assert reads.result.sum() == 5000
    files = trace.files().set_index("file")
    assert set(files.path_text[reads.file]) == {str(movie)}


def test_a_hostile_job_json_gives_no_label_and_holds_nothing_up(project: Path, tmp_path: Path) -> None:
    paths = {kind: project / f"J{number}" / "job.json" for number, kind in enumerate(HOSTILE, 20)}
    for path in paths.values():
        path.parent.mkdir()
    os.mkfifo(paths["fifo"])
    secret = tmp_path / "shadow"
    secret.write_text('{"job_type": "secret"}')
    paths["link"].symlink_to(secret)
    paths["huge"].write_bytes(b'{"job_type": "secret", "x": "' + b"y" * (20 << 20) + b'"}')
    paths["nested"].write_bytes(b'{"job_type": "secret", "x": ' + b"[" * 1_000_000)
    paths["folder"].mkdir()
    paths["no utf-8"].write_bytes(b'{"job_type": "secr\xff\xfeet"}')
    program = """
        import os, sys
        for folder in sys.argv[1:]:
            if os.fork() == 0:
                open(f"{folder}/out", "w").close()
                os._exit(0)
            os.wait()
        """
    folders = [str(path.parent) for path in paths.values()]
    trace = recorded(python(program, *folders), tmp_path, tmp_path / "t.iotrace")
    assert labels_of_each(trace) == {(None,) * 4: 1} | {
        ("P77", path.parent.name, None, None): 1 for path in paths.values()
    }
    assert not [sentence for sentence in trace.info.unseen if "labels" in sentence]


def _stop_readers(until: threading.Event, stopped: list[int]) -> None:
    me = str(os.getpid())
    while not until.is_set():
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "stat").read_text().rpartition(")")[2].split()[1] == me:
                    pid = int(entry.name)
                    if b"label_child.py" in (entry / "cmdline").read_bytes() and pid not in stopped:
                        os.kill(pid, signal.SIGSTOP)
                        stopped.append(pid)
            except OSError:
                continue
        time.sleep(0.01)


def test_a_reader_that_hangs_is_left_behind_and_the_recording_ends(project: Path, tmp_path: Path) -> None:
    program = f"""
        import time
        open({str(project / "J6" / "out")!r}, "w").close()
        time.sleep(5)
        open({str(project / "J13" / "out")!r}, "w").close()
        """
    until: threading.Event = threading.Event()
    stopped: list[int] = []
    watcher = threading.Thread(target=_stop_readers, args=(until, stopped))

    def later() -> None:
        # counted from when the program runs: loading the recorder takes seconds on a busy machine
        while not (project / "J6" / "out").exists():
            time.sleep(0.05)
        time.sleep(4)
        watcher.start()

    starter = threading.Thread(target=later)
    starter.start()
    try:
        trace = recorded(python(program), tmp_path, tmp_path / "t.iotrace")
    finally:
        until.set()
        starter.join()
        watcher.join()
    assert stopped
    assert {row[1] for row in labels(trace)} == {"J6"}
    assert [s for s in trace.info.unseen if s.startswith(f"the labels of {project / 'J13'}")]


def test_root_reads_a_folder_as_the_user_that_it_belongs_to(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    job = tmp_path / "CS-x" / "J5"
    job.mkdir(parents=True)
    (job / "job.json").write_text('{"job_type": "secret"}')
    (job / "job.json").chmod(stat.S_IRUSR)
    os.chown(job, 12345, 12345)
    for folder in (tmp_path, *list(tmp_path.parents)[:3], tmp_path / "CS-x"):
        folder.chmod(folder.stat().st_mode | 0o055)
    trace = recorded(python(f"open({str(job / 'out')!r}, 'w').close()"), tmp_path, tmp_path / "t.iotrace")
    # that the file is there, its folder shows; what is in it only root may read
    assert labels(trace) == {(None, "J5", None, None)}


def test_a_trace_is_labelled_afterwards_from_folders_that_moved(
    project: Path, tmp_path: Path, iotrace: Command
) -> None:
    moved = tmp_path / "moved"
    project.rename(moved)
    (project / "J12").mkdir(parents=True)
    program = f"""
        import os
        open({str(project / "J12" / "out")!r}, "w").close()
        if os.fork() == 0: os._exit(0)
        os.wait()
        """
    trace = recorded(python(program), tmp_path, tmp_path / "t.iotrace")
    assert labels(trace) == {(None,) * 4}
    events = sorted((path, path.stat().st_mtime_ns) for path in (trace.folder / "events").iterdir())
    done = iotrace("label", trace.folder, "--root", f"{project}={moved}")
    assert done.returncode == 0, done.stderr
    assert "P77 J12 (patch_motion_correction_multi: Patch Motion Correction): 2 processes" in done.stdout
    assert "2 of 2 processes got labels" in done.stdout
    found = {("P77", "J12", "patch_motion_correction_multi", "Patch Motion Correction")}
    assert labels(open_trace(trace.folder)) == found
    assert sorted((path, path.stat().st_mtime_ns) for path in (trace.folder / "events").iterdir()) == events
    assert not list((trace.folder / "processes").glob("_*"))
    again = iotrace("label", trace.folder, "--root", f"{project}={moved}")
    assert "0 of 2 processes got labels" in again.stdout
    assert labels(open_trace(trace.folder)) == found


def test_labels_that_a_trace_has_hold_when_it_is_labelled_again(
    project: Path, tmp_path: Path, iotrace: Command
) -> None:
    program = f"open({str(project / 'J6' / 'out')!r}, 'w').close()"
    trace = recorded(python(program), tmp_path, tmp_path / "t.iotrace")
    assert labels(trace) == {("P77", "J6", None, None)}
    (project / "project.json").write_text('{"uid": "P99"}')
    (project / "J6" / "job.json").write_text('{"job_type": "sharpen", "project_uid": "P77"}')
    assert iotrace("label", trace.folder).returncode == 0
    assert labels(open_trace(trace.folder)) == {("P77", "J6", "sharpen", "Post-processing")}


def test_a_mount_that_never_answers_costs_its_time_and_is_named(
    project: Path, tmp_path: Path, iotrace: Command
) -> None:
    libc, hung = ctypes.CDLL(None, use_errno=True), tmp_path / "hung"
    hung.mkdir()
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error.strerror}")
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"hung", os.fsencode(hung), b"fuse", 0, options) != 0:
        os.close(server)
        pytest.skip(f"FUSE cannot be mounted: {os.strerror(ctypes.get_errno())}")
    try:
        program = f"open({str(tmp_path / 'gone' / 'J12' / 'out')!r}, 'w').close()"
        (tmp_path / "gone" / "J12").mkdir(parents=True)
        trace = recorded(python(program), tmp_path, tmp_path / "t.iotrace")
        done = iotrace("label", trace.folder, "--root", f"{tmp_path}/gone={hung}")
        assert done.returncode == 0, done.stderr
        assert f"not read: the labels of {hung}/J12: reading it took longer than 2 s" in done.stdout
    finally:
        libc.umount2(os.fsencode(hung), 2)
        os.close(server)


@pytest.mark.parametrize("root", ["a=b", "/a"])
def test_a_root_that_is_not_a_pair_of_folders_is_refused(tmp_path: Path, iotrace: Command, root: str) -> None:
    trace = made_trace(tmp_path / "t.iotrace", [])
    done = iotrace("label", trace, "--root", root)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_process_that_runs_already_is_asked_for_its_command_line_environment_and_owner(tmp_path: Path) -> None:
    worker = tmp_path / "cryosparcw"
    worker.write_text("#!/bin/sh\nfor i in 1 2 3 4 5 6; do cat /etc/hostname; sleep 1; done\n")
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    worker.chmod(0o755)
    environment = {"SLURM_JOB_ID": "31", "PATH": os.environ["PATH"], "SECRET": "x"}
    command = ["/bin/sh", str(worker), "run", "--project", "P3", "--job", "J4", "--token", "hunter2"]
    running = subprocess.Popen(
        command, env=environment, user=12345, group=12345, extra_groups=[], stdout=subprocess.DEVNULL, cwd="/"
    )
    try:
        outcome = record([], tmp_path / "t.iotrace", "ebpf", True, 3.5, scope=Scope("pid", (running.pid,)))
    finally:
        running.kill()
        running.wait()
    trace = open_trace(outcome.folder)
    processes = trace.processes().set_index("pid")
    row = processes.loc[running.pid]
    assert (row.project, row.job, row.slurm_job, row.user) == ("P3", "J4", "31", "12345")
    assert row.arguments.tolist() == [*command[:-1], "***"]
    assert len(processes) >= 3
    assert set(processes.job) == {"J4"}


def test_what_runs_already_works_where_it_stands_and_in_what_it_has_open(project: Path, tmp_path: Path) -> None:
    idle = ["sleep", "600"]
    with (
        (project / "J12/job.log").open("w") as log,
        subprocess.Popen(idle, stdout=log) as writes,
        subprocess.Popen(idle, cwd=project / "J13") as stands,
    ):
        scope = Scope("pid", (writes.pid, stands.pid))
        record([], tmp_path / "t.iotrace", "ebpf", duration_s=3, scope=scope)
        for one in (writes, stands):
            one.kill()
    processes = open_trace(tmp_path / "t.iotrace").processes().set_index("pid")
    assert (processes.job[writes.pid], processes.job[stands.pid]) == ("J12", "J13")
    assert isinstance(processes.job_type[writes.pid], str)


def test_a_recording_that_counts_labels_by_where_its_processes_stand(project: Path, tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", f"cd {project / 'J13'} && /bin/sleep 4; true"]
    record(command, tmp_path / "t.iotrace", "ebpf", detail="histogram")
    processes = open_trace(tmp_path / "t.iotrace").processes().set_index("command")
    assert processes.job["sleep"] == "J13"
    assert isinstance(processes.job_type["sleep"], str)


@pytest.mark.parametrize("backend", ["ebpf", "strace"])
def test_a_folder_that_is_entered_labels_without_another_program(
    project: Path, tmp_path: Path, backend: BackendName
) -> None:
    program = f"import os; os.chdir({str(project / 'J13')!r})"
    outcome = record([sys.executable, "-S", "-c", program], tmp_path / "t.iotrace", backend)
    assert set(open_trace(outcome.folder).processes().job) == {"J13"}


def _in_the_kernel() -> list[int]:
    """Label processes that wait in the kernel though they were killed."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line, status = (entry / "cmdline").read_bytes(), (entry / "stat").read_text()
        except OSError:
            continue
        if b"label_child" in line and status.rpartition(")")[2].split()[0] == "D":
            found.append(int(entry.name))
    return found


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/fuse").exists(), reason="only root may mount, and needs /dev/fuse"
)
@pytest.mark.parametrize("backend", ["ebpf", "strace"])
def test_a_label_process_that_the_kernel_holds_past_its_kill_is_left_and_other_mounts_are_read(
    project: Path, tmp_path: Path, backend: BackendName
) -> None:
    point = tmp_path / "hanging"
    point.mkdir()
    server_program = Path(__file__).parent.parent / "programs" / "hanging_mount.py"
    enter = "; ".join(f"cd {point}/J{number} && /bin/true" for number in range(1, 8))
    command = ["/bin/sh", "-c", f"{enter}; cd {project}/J13 && /bin/true"]
    with subprocess.Popen(
        [sys.executable, "-S", str(server_program), str(point)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        said = server.stdout.readline().strip()
        if said != b"mounted":
            pytest.skip(f"FUSE cannot be mounted here: {said.decode()}")
        outcome = record(command, tmp_path / "t.iotrace", backend)
        assert _in_the_kernel()
    unread = [sentence for sentence in outcome.info.unseen if "labels" in sentence]
    assert len(unread) == 1
    assert f"{point}/J" in unread[0]
    assert outcome.info.complete
    assert "J13" in set(open_trace(outcome.folder).processes().job)

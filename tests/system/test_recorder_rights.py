"""Recorders that may not do all, on kernels that do not have all, of processes that end in the wrong moment, and
several at once. Each is one clear line, never a traceback."""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import iotrace, program, run, said, start, until

from iotrace.errors import RecordError
from iotrace.record.scope import Scope, running
from iotrace.record.session import record
from iotrace.trace.reader import Trace, open_trace

pytestmark = pytest.mark.bpf
NEEDED = ("bpf", "perfmon", "sys_ptrace", "sys_nice")

WRITES_UNTIL_TOLD = """
    import os, time
    fd = os.open("data", os.O_WRONLY | os.O_CREAT)
    open("ready", "w").close()
    n = 0
    while not os.path.exists("stop"):
        n += os.write(fd, b"x")
        time.sleep(0.001)
    open("written", "w").write(str(n))
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that writes until the file `stop` is there."""
    process = start(program(WRITES_UNTIL_TOLD), tmp_path)
    until((tmp_path / "ready").exists, "the process")
    yield process
    process.kill()
    process.wait()


def writes(trace: Trace, path: Path) -> int:
    events = trace.events()
    return int(((events.op == "write") & (events.path_text == str(path))).sum())


def test_a_process_that_ends_while_it_is_being_attached_ends_the_recording_cleanly(tmp_path: Path) -> None:
    dice, moment = random.Random(1), 0.5
    clear = re.compile(r"there is no process|has ended: only|ended before it could be followed")
    told: list[str] = []
    outcomes = {"recorded": 0, "gone": 0}
    for turn in range(20):
        process = subprocess.Popen(["/bin/sleep", f"{moment * dice.uniform(0.9, 1.1):.3f}"])
        folder = tmp_path / f"{turn}.iotrace"
        try:
            # nobody waits for it: it ends as a zombie, which must not keep the recording alive
            outcome = record([], folder, "ebpf", scope=Scope("pid", running([process.pid])))
            assert outcome.info.complete
            outcomes["recorded"] += 1
            moment *= 0.8  # towards the moment of the attaching, however slow this machine is
        except RecordError as error:
            told.append(str(error))
            outcomes["gone"] += 1
            assert not folder.exists()
            moment *= 1.5
        process.wait()
    assert all(clear.search(text) and "\n" not in text for text in told), told
    assert outcomes["gone"] > 0
    assert outcomes["recorded"] > 0


def test_a_process_that_is_gone_or_waits_for_its_parent_is_told_in_one_line(tmp_path: Path) -> None:
    process = subprocess.Popen(["/bin/true"])
    until(lambda: "State:\tZ" in Path(f"/proc/{process.pid}/status").read_text(), "its end")
    done = run(iotrace("record", "-o", "t.iotrace", "--pid", str(process.pid)), tmp_path)
    assert (done.returncode, len(said(done.stderr))) == (125, 1)
    assert f"process {process.pid} has ended" in done.stderr
    process.wait()
    done = run(iotrace("record", "-o", "t.iotrace", "--pid", str(process.pid)), tmp_path)
    assert (done.returncode, len(said(done.stderr))) == (125, 1)
    assert f"no process {process.pid}" in done.stderr
    assert not (tmp_path / "t.iotrace").exists()


def test_children_and_threads_of_a_process_are_found_and_followed_to_their_end(tmp_path: Path) -> None:
    family = """
        import os, threading, time
        def work(name):
            fd = os.open(name, os.O_WRONLY | os.O_CREAT)
            while not os.path.exists("go"): time.sleep(0.01)
            for _ in range(50): os.write(fd, b"x")
        if os.fork() == 0:
            if os.fork() == 0:
                work("grandchild"); os._exit(0)
            work("child"); os.wait(); os._exit(0)
        threads = [threading.Thread(target=work, args=(f"thread{i}",)) for i in range(3)]
        [t.start() for t in threads]
        open("ready", "w").close()
        work("parent")
        [t.join() for t in threads]; os.wait()
        if os.fork() == 0:
            work("late"); os._exit(0)
        os.wait()
    """
    process = start(program(family), tmp_path)
    names = ("parent", "child", "grandchild", "thread0", "thread1", "thread2")
    until(lambda: all((tmp_path / name).exists() for name in names), "the family")
    recorder = start(iotrace("record", "--backend", "ebpf", "-o", "t.iotrace", "--pid", str(process.pid)), tmp_path)
    until(lambda: _status_shows(tmp_path / "t.iotrace"), "the recording")
    (tmp_path / "go").touch()
    assert process.wait(30) == 0
    assert recorder.wait(30) == 0
    trace = open_trace(tmp_path / "t.iotrace")
    assert trace.info.complete
    assert {name: writes(trace, tmp_path / name) for name in (*names, "late")} == dict.fromkeys((*names, "late"), 50)
    events = trace.events().query("op == 'write'")
    assert events[events.path_text.isin([str(tmp_path / name) for name in names])].thread.nunique() == 6
    assert events.process.nunique() == 4


def _status_shows(folder: Path) -> bool:
    """Whether the recorder has taken the family in: its process table is on disk, or the program says it follows."""
    return any(folder.glob("processes/*")) if folder.exists() else False


def test_a_process_that_another_recorder_follows_is_followed_by_both(
    tmp_path: Path, writer: "subprocess.Popen[str]"
) -> None:
    recorders = [
        start(iotrace("record", "--backend", "ebpf", "-o", f"{i}.iotrace", "--pid", str(writer.pid)), tmp_path)
        for i in range(2)
    ]
    for i in range(2):
        until(lambda i=i: _status_shows(tmp_path / f"{i}.iotrace"), "the recording")  # type: ignore[misc]
    time.sleep(0.5)
    (tmp_path / "stop").touch()
    assert writer.wait(30) == 0
    for recorder in recorders:
        assert recorder.wait(30) == 0
        assert recorder.stderr is not None
        said(recorder.stderr.read())
    one, two = (open_trace(tmp_path / f"{i}.iotrace") for i in range(2))
    assert one.info.complete
    assert two.info.complete
    # both saw the same last writes, whichever began first
    moments = [
        {int(at) + trace.info.base_monotonic_ns for at in trace.events().query("op == 'write'").time_ns}
        for trace in (one, two)
    ]
    fewer, more = sorted(moments, key=len)
    assert len(fewer) > 100
    begin = max(min(fewer), min(more))
    assert abs(sum(at >= begin for at in more) - len(fewer)) <= 1


def test_a_process_that_writes_while_it_is_attached_has_the_path_of_what_it_had_open(
    tmp_path: Path, writer: "subprocess.Popen[str]"
) -> None:
    done = run(iotrace("record", "-o", "t.iotrace", "--pid", str(writer.pid), "--duration", "1"), tmp_path)
    assert done.returncode == 0, done.stderr
    trace = open_trace(tmp_path / "t.iotrace")
    events = trace.events().query("op == 'write'")
    # its first calls may come before its open files were looked for: they have the file, and no path yet
    named = events.path_text.notna()
    assert named.sum() > 100
    assert not (~named & named.shift(fill_value=False)).any()
    assert set(events[named].path_text) == {str(tmp_path / "data")}
    assert set(trace.files().set_index("file").path_text[events.file.unique()]) == {str(tmp_path / "data")}


def test_a_recorder_within_a_recorded_command_records_the_same_as_the_outer_one(tmp_path: Path) -> None:
    counted = "import os; fd = os.open('data', os.O_WRONLY | os.O_CREAT); [os.write(fd, b'x') for _ in range(2000)]"
    inner = iotrace("record", "--backend", "ebpf", "-o", "inner.iotrace", "--", *program(counted))
    done = run(iotrace("record", "--backend", "ebpf", "-o", "outer.iotrace", "--", *inner), tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(said(done.stderr)) == 2
    for name in ("inner", "outer"):
        trace = open_trace(tmp_path / f"{name}.iotrace")
        assert trace.info.complete
        assert writes(trace, tmp_path / "data") == 2000


def test_two_recorders_of_two_commands_do_not_mix_them(tmp_path: Path) -> None:
    counted = "import os, sys; fd = os.open(NAME, os.O_WRONLY | os.O_CREAT); [os.write(fd, b'x') for _ in range(COUNT)]"
    recorders = [
        start(
            iotrace(
                "record", "--backend", "ebpf", "-o", f"{name}.iotrace", "--", *program(counted, NAME=name, COUNT=n)
            ),
            tmp_path,
        )
        for name, n in (("one", 30_000), ("two", 20_000))
    ]
    assert [recorder.wait(60) for recorder in recorders] == [0, 0]
    one, two = (open_trace(tmp_path / f"{name}.iotrace") for name in ("one", "two"))
    assert (writes(one, tmp_path / "one"), writes(one, tmp_path / "two")) == (30_000, 0)
    assert (writes(two, tmp_path / "one"), writes(two, tmp_path / "two")) == (0, 20_000)


def as_nobody(capabilities: tuple[str, ...], command: list[str]) -> list[str]:
    """The command as a user without any rights but these."""
    held = ",".join(f"+{name}" for name in capabilities)
    wanted = f"-all,{held}" if held else "-all"
    return [
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--bounding-set={wanted}",
        f"--inh-caps={wanted}", f"--ambient-caps={wanted}", *command,
    ]  # fmt: skip


def _python_for_nobody(folder: Path) -> list[str] | None:
    """A Python with iotrace that a user without rights can reach; ours may lie in somebody's home."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    path = os.pathsep.join([str(Path(__file__).parents[2]), *packages])
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        command = ["env", f"HOME={folder}", f"NUMBA_CACHE_DIR={folder}/numba", f"PYTHONPATH={path}", python]
        # env looks the program up with the user's own rights, setpriv still with root's
        if not run(as_nobody((), [*command, "-c", "import iotrace, numba, pyarrow"]), folder).returncode:
            return command
    return None


def _give_compiled_kernels(cache: Path) -> None:
    """Copy Numba's kernels to where that user's Numba looks for them; compiling anew would take a minute."""
    from numba.core import caching

    locator = getattr(caching, "UserProvidedCacheLocator", None)
    if locator is None:
        return
    for module in (Path(__file__).parents[2] / "iotrace").rglob("*.py"):
        for compiled in (module.parent / "__pycache__").glob(f"{module.stem}.*.nb[ic]"):
            place = cache / locator.get_suitable_cache_subpath(str(module))
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(compiled, place)


class Nobody:
    """A user without rights, with a folder."""

    def __init__(self, folder: Path, python: list[str]) -> None:
        self.folder, self.python = folder, python

    def record(self, capabilities: tuple[str, ...], *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Record into t.iotrace."""
        command = [*self.python, "-m", "iotrace", "record", "-o", "t.iotrace", *arguments]
        return run(as_nobody(capabilities, command), self.folder)


WRITES_ONCE = ("--", "/bin/sh", "-c", "echo 1 >data; exit 5")


@pytest.fixture(scope="module")
def python_for_nobody() -> Iterator[tuple[Path, list[str]]]:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("takes root and setpriv (util-linux)")
    # pytest's own folders are their owner's alone
    with tempfile.TemporaryDirectory(prefix="iotrace-test-") as name:
        Path(name).chmod(0o777)
        command = _python_for_nobody(Path(name))
        if command is None:
            pytest.skip("a user without rights can reach no Python with what iotrace needs")
        _give_compiled_kernels(Path(name) / "numba")
        subprocess.run(["chown", "-R", "65534:65534", name], check=True)
        yield Path(name), command


@pytest.fixture
def nobody(python_for_nobody: tuple[Path, list[str]]) -> Iterator[Nobody]:
    place, python = python_for_nobody
    with tempfile.TemporaryDirectory(dir=place) as name:
        Path(name).chmod(0o777)
        yield Nobody(Path(name), python)


@pytest.mark.parametrize("without", [None, *NEEDED])
def test_each_right_that_is_lacking_is_named_or_is_not_needed(without: str | None, nobody: Nobody) -> None:
    capabilities = tuple(name for name in NEEDED if name != without)
    done = nobody.record(capabilities, "--backend", "ebpf", *WRITES_ONCE)
    lines = said(done.stderr)
    assert len(lines) == 1, lines
    if without in ("bpf", "perfmon"):
        assert done.returncode == 125
        assert f"without CAP_{without.upper()}:" in lines[0]
        assert "iotrace doctor" in lines[0]
        assert not (nobody.folder / "data").exists()
    else:
        assert done.returncode == 5, lines
        trace = open_trace(nobody.folder / "t.iotrace")
        assert trace.info.complete
        assert trace.info.backend == "ebpf"
        assert writes(trace, nobody.folder / "data") == 1


def test_without_bpf_rights_auto_takes_strace_and_says_which_rights_are_lacking(nobody: Nobody) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    done = nobody.record((), *WRITES_ONCE)
    assert done.returncode == 5, done.stderr
    lines = said(done.stderr)
    assert len(lines) == 2, lines
    assert "CAP_BPF and CAP_PERFMON" in lines[0]
    assert "strace" in lines[0]
    assert open_trace(nobody.folder / "t.iotrace").info.backend == "strace"


@pytest.mark.parametrize("capabilities", [(), ("bpf", "perfmon")])
def test_a_running_process_of_another_user_is_recorded_with_bpf_rights_and_one_line_without(
    capabilities: tuple[str, ...], nobody: Nobody
) -> None:
    process = start(program(WRITES_UNTIL_TOLD), nobody.folder)
    try:
        until((nobody.folder / "ready").exists, "the process")
        done = nobody.record(capabilities, "--pid", str(process.pid), "--duration", "1")
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert len(said(done.stderr)) == 1, done.stderr
    if capabilities:
        assert done.returncode == 0, done.stderr
        assert writes(open_trace(nobody.folder / "t.iotrace"), nobody.folder / "data") > 100
    else:
        assert done.returncode == 125
        assert "CAP_BPF" in done.stderr
        assert "only record a command" in done.stderr


def without_types(command: list[str], empty: Path) -> list[str]:
    """The command where the kernel shows no BTF: what /sys/kernel/btf holds, and what libbpf would take instead."""
    script = 'mount --bind "$0" /sys/kernel/btf && exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, str(empty), *command]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    probe = subprocess.run(without_types(["ls", "/sys/kernel/btf"], folder), capture_output=True, check=False)
    if probe.returncode or probe.stdout:
        pytest.skip("may not hide /sys/kernel/btf in a mount namespace")
    return folder


def test_a_kernel_without_btf_says_so_and_a_command_is_recorded_by_strace(tmp_path: Path, empty: Path) -> None:
    command = ["--", "/bin/sh", "-c", "echo 1 >data; exit 5"]
    done = run(without_types(iotrace("record", "--backend", "ebpf", "-o", "t.iotrace", *command), empty), tmp_path)
    assert (done.returncode, len(said(done.stderr))) == (125, 1)
    assert "no BTF (/sys/kernel/btf/vmlinux)" in done.stderr
    assert not (tmp_path / "data").exists()
    if shutil.which("strace") is None:
        return
    done = run(without_types(iotrace("record", "-o", "t.iotrace", *command), empty), tmp_path)
    assert (done.returncode, len(said(done.stderr))) == (5, 2)
    assert "no BTF" in done.stderr
    assert open_trace(tmp_path / "t.iotrace").info.backend == "strace"


def test_a_running_process_on_a_kernel_without_btf_is_one_line(
    tmp_path: Path, empty: Path, writer: "subprocess.Popen[str]"
) -> None:
    done = run(without_types(iotrace("record", "-o", "t.iotrace", "--pid", str(writer.pid)), empty), tmp_path)
    assert (done.returncode, len(said(done.stderr))) == (125, 1)
    assert "no BTF" in done.stderr
    assert writer.poll() is None
    doctor = run(without_types(iotrace("doctor"), empty), tmp_path)
    assert "CONFIG_DEBUG_INFO_BTF" in doctor.stdout
    said(doctor.stderr)

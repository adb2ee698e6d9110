"""Real logs, in each form that strace writes, are read by the kernel as Python alone reads them."""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from strace_readings import assert_both_say_the_same

from iotrace.record.strace import StraceBackend
from iotrace.trace.formats.strace.importing import import_strace
from iotrace.trace.info import TraceInfo
from iotrace.trace.reader import Trace, open_trace

PROGRAMS = Path(__file__).parent.parent / "programs"
UNAVAILABLE = StraceBackend.unavailable()
SIGNALS = """
import fcntl, os, signal, threading, time
signal.signal(signal.SIGALRM, lambda *_: None)
file = os.open("locked", os.O_RDWR | os.O_CREAT, 0o600)
fcntl.lockf(file, fcntl.LOCK_EX)
if os.fork() == 0:
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    other = os.open("locked", os.O_RDWR)
    fcntl.lockf(other, fcntl.LOCK_EX)
    os._exit(0)
def look():
    for n in range(200):
        os.stat("locked")
        os.pread(file, 10, n)
threads = [threading.Thread(target=look) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
time.sleep(0.1)
os.close(file)
os.wait()
"""
ODD = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def fails(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        return
    raise SystemExit("should fail")
os.mkdir("dd")
readable = os.open("a", os.O_RDONLY | os.O_CREAT, 0o600)
writable = os.open("a", os.O_WRONLY)
fails(os.pwrite, readable, b"1234567", 3)
fails(os.write, readable, b"x")
fails(os.read, writable, 5)
os.symlink("../far/longer/than/the/thirty-two/characters/that/strace/shows", "far")
os.symlink("a/../b", "near")
os.readlink("far"), os.readlink("near")
named = os.open(b"\\xc3\\xa9 <x>\\n", os.O_RDWR | os.O_CREAT, 0o600)
os.write(named, b"abc")
os.setxattr("a", "user.a-name-of-more-than-thirty-two-characters", b"v")
temporary = os.open("dd", os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(temporary, b"hello")
os.pread(temporary, 3, 1)
assert libc.linkat(-100, f"/proc/self/fd/{temporary}".encode(), -100, b"dd/made", 0x400) == 0
os.write(temporary, b"again")
libc.prctl(15, b"a<b> c] [", 0, 0, 0)
if os.fork() == 0:
    os.pread(temporary, 1, 1)
    os._exit(0)
os.wait()
"""
COMMANDS = {
    "every call": [sys.executable, str(PROGRAMS / "every_call.py")],
    "signals and threads": [sys.executable, "-c", SIGNALS],
    "odd files": [sys.executable, "-S", "-c", ODD],
    "a shell": [
        "sh", "-c",
        "mkdir -p a/b; for i in 1 2 3; do echo $i > a/$i; cat a/$i >> a/b/c; mv a/$i a/n$i; done; "
        "ln -s n1 a/l; cat a/l; ls -lR a; cp -a a d; tar cf t.tar d; "
        "(cd d; find . -type f); touch 'a/\303\251\n'; rm -r a",
    ],
}  # fmt: skip
FORMS = (
    "-f -ttt -T -yy",
    "-f -ttt -T",
    "-f -tt -y",
    "-f -t",
    "-f -r",
    "-f",
    "",
    "-f -r -tt -s 4096 -v",
    "-f -ttt -T -yy -v -X raw -e abbrev=getdents,getdents64",
    "-f -xx -y",
    "-f -Y -n -i -r -x -yy",
)

pytestmark = pytest.mark.skipif(UNAVAILABLE is not None, reason=str(UNAVAILABLE))


def logged(options: str, command: list[str], work: Path, log: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    quiet = subprocess.DEVNULL
    subprocess.run(["strace", *options.split(), "-o", log, *command], cwd=work, check=True, stdout=quiet, stderr=quiet)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_log_of_each_form_is_read_alike(form: str, command: str, tmp_path: Path) -> None:
    logged(form, COMMANDS[command], tmp_path / "work", tmp_path / "log")
    data = (tmp_path / "log").read_bytes()
    assert_both_say_the_same(tmp_path, data, cwd=bytes(tmp_path / "work"))
    # as a kill of strace would have left it
    assert_both_say_the_same(tmp_path, data[: len(data) * 2 // 3], cwd=None)


def test_logs_of_threads_say_what_one_log_says(tmp_path: Path) -> None:
    for options in ("-f -ttt -T -yy", "-ff -ttt -T -yy"):
        logged(options, COMMANDS["every call"], tmp_path / "work", tmp_path / options.split()[0])
        import_strace([tmp_path / options.split()[0]], tmp_path / f"{options.split()[0]}.iotrace")
    one, several = (open_trace(tmp_path / f"{name}.iotrace") for name in ("-f", "-ff"))
    mine, theirs = (trace.events().op.value_counts().to_dict() for trace in (one, several))
    assert mine == theirs


def ops(log: Path, trace: Path, cwd: Path) -> tuple[Counter[str], TraceInfo]:
    """How often each operation stands in the trace of a log."""
    info = import_strace([log], trace, force=True, cwd=str(cwd))
    return Counter(open_trace(trace).events().op), info


def any_form(chance: random.Random) -> str:
    """Options of strace, each of which changes what a line looks like."""
    options = [
        chance.choice(("-f", "-f", "-ff")), chance.choice(("", "-t", "-tt", "-ttt", "-r", "-r -tt")),
        chance.choice(("", "-y", "-yy")), chance.choice(("", "-x", "-xx")), chance.choice(("", "-X raw", "-X verbose")),
        *chance.sample(("-i", "-n", "-Y", "-T", "-v", "-s 4096", "-s 0", "-a 1"), 4),
    ]  # fmt: skip
    return " ".join(filter(None, options))


@pytest.mark.parametrize("command", ["every call", "odd files"])
@pytest.mark.parametrize("seed", range(6))
def test_no_form_of_a_log_hides_a_call_that_another_shows(seed: int, command: str, tmp_path: Path) -> None:
    work, trace = tmp_path / "work", tmp_path / "t.iotrace"
    logged("-f -ttt -T -yy -s 4096", COMMANDS[command], work, tmp_path / "whole")
    expected, _ = ops(tmp_path / "whole", trace, work)
    form = any_form(random.Random(seed))
    logged(form, COMMANDS[command], work, tmp_path / "log")
    found, info = ops(tmp_path / "log", trace, work)
    # fchmodat2, of which this strace may know the number only
    numbered = sum(log.read_bytes().count(b"syscall_0x1c4(") for log in tmp_path.glob("log*"))
    assert sum(info.lost.values()) == numbered, (form, info.lost)
    assert not any("not understood" in sentence for sentence in info.unseen), (form, info.unseen)
    assert found == expected, (form, info.unseen)


def odd_files(tmp_path: Path, form: str) -> tuple[pd.DataFrame, Trace]:
    """Events and trace of the odd files' program, logged in some form."""
    logged(form, COMMANDS["odd files"], tmp_path / "work", tmp_path / "log")
    import_strace([tmp_path / "log"], tmp_path / "t.iotrace", force=True, cwd=str(tmp_path / "work"))
    trace = open_trace(tmp_path / "t.iotrace")
    return trace.events(), trace


@pytest.mark.parametrize("form", ["-f -xx -y", "-f -x -yy", "-f --strings-in-hex=all -y"])
def test_names_in_hexadecimal_are_those_in_plain_text(form: str, tmp_path: Path) -> None:
    plain, _ = odd_files(tmp_path, "-f -y")
    events, _ = odd_files(tmp_path, form)
    mine = [
        set(table.path_text[table.path_text.str.endswith("work/é <x>\\x0a", na=False)]) for table in (events, plain)
    ]
    assert mine[0] == mine[1] != set()
    assert Counter(events.op) == Counter(plain.op)


@pytest.mark.parametrize("form", ["-f -y", "-f"])
def test_calls_that_fail_on_known_files_are_events(form: str, tmp_path: Path) -> None:
    events, _ = odd_files(tmp_path, form)
    failed = events[(events.result == -9) & events.path_text.str.endswith("work/a", na=False)]
    assert failed.op.tolist() == ["pwrite64", "write", "read"]
    assert failed.offset.tolist() == [3, 0, 0]
    assert failed.open.notna().all()


def test_links_point_to_the_text_that_was_given_or_to_nothing_where_the_log_cuts_it(tmp_path: Path) -> None:
    events, trace = odd_files(tmp_path, "-f -y")
    texts = dict(zip(trace.paths().path, trace.paths().text, strict=True))
    links = events[events.path_text.str.endswith(("work/far", "work/near"), na=False)]
    far = "../far/longer/than/the/thirty-two/characters/that/strace/shows"
    assert links.op.tolist() == ["symlink", "symlink", "readlink", "readlink"]
    assert [texts.get(path) for path in links.other_path] == [far, "a/../b", None, "a/../b"]
    assert any("cuts short" in sentence for sentence in trace.info.unseen)
    _, trace = odd_files(tmp_path, "-f -y -s 4096")
    assert not any("cuts short" in sentence for sentence in trace.info.unseen)


@pytest.mark.parametrize("form", ["-f -y", "-f"])
def test_a_file_without_a_name_is_not_its_folder(form: str, tmp_path: Path) -> None:
    events, trace = odd_files(tmp_path, form)
    opened = events[(events.op == "openat") & (events["flags"] & os.O_TMPFILE == os.O_TMPFILE)].iloc[0]
    assert opened.path_text.endswith("work/dd")
    mine = events[(events.open == opened.open) & (events.op != "openat")]
    assert mine.op.tolist() == ["write", "pread64", "write", "pread64"]
    assert (mine.file == opened.file).all()
    if "-y" in form:
        assert mine.path_text.str.contains("/dd/#").all()
    else:
        assert mine.path.isna().all()
    folder = events[(events.op == "mkdir") & events.path_text.str.endswith("work/dd", na=False)].file.iloc[0]
    assert folder != opened.file
    linked = events[(events.op == "linkat")].iloc[0]
    assert linked.file == opened.file
    assert trace.files().set_index("file").existed[opened.file] == False  # noqa: E712


def test_logs_of_threads_without_times_of_day_keep_their_processes(tmp_path: Path) -> None:
    kinships = []
    for form in ("-ff -ttt -y", "-ff -r -y", "-ff -y"):
        for old in tmp_path.glob("log*"):
            old.unlink()
        logged(form, COMMANDS["every call"], tmp_path / "work", tmp_path / "log")
        info = import_strace([tmp_path / "log"], tmp_path / "t.iotrace", force=True)
        trace = open_trace(tmp_path / "t.iotrace")
        assert any("order between threads" in sentence for sentence in info.unseen) == ("-ttt" not in form)
        assert not any("belong to one process" in sentence for sentence in info.unseen)
        kinships.append(
            (len(trace.processes()), trace.processes().parent.notna().sum(), trace.events().thread.nunique())
        )
    assert kinships[0] == kinships[1] == kinships[2]


def test_logs_without_forks_say_that_threads_may_belong_together(tmp_path: Path) -> None:
    logged("-f -ttt -e trace=%file,%desc -y", COMMANDS["signals and threads"], tmp_path / "work", tmp_path / "log")
    info = import_strace([tmp_path / "log"], tmp_path / "t.iotrace")
    assert any("threads belong to one process" in sentence for sentence in info.unseen)

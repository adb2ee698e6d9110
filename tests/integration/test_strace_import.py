"""Real logs, in each form that strace writes, are read by the kernel as Python alone reads them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from strace_readings import assert_both_say_the_same

from iotrace.record.strace import StraceBackend
from iotrace.trace.formats.strace import import_strace
from iotrace.trace.reader import open_trace

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
COMMANDS = {
    "every call": [sys.executable, str(PROGRAMS / "every_call.py")],
    "signals and threads": [sys.executable, "-c", SIGNALS],
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

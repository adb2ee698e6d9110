"""Threads that take turns at the same files and names: in a replay each gets what it got in the recording.

The program's threads hand a baton on, which no trace shows: only the order between accesses keeps their results. A
replay that lets two of them change places gets other bytes, other sizes or other errors, and counts them.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from iotrace.record.session import record
from iotrace.replay.options import Options
from iotrace.replay.plan import build_plan
from iotrace.replay.run import replay_plans
from iotrace.trace.reader import Trace, open_trace

pytestmark = pytest.mark.bpf

TURNS = 300
PROGRAM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>
#define THREADS 3
static atomic_int turn;
static int turns, fd[THREADS];
static const char *mode;
static unsigned seed = 7;
static char text[65536];
static int chance(int n) { seed = seed * 1103515245 + 12345; return (seed >> 16) % n; }
static void step(int who)
{
    int what = chance(4), k = 1 + chance(9);
    char name[64];
    struct iovec vector = { text, 100 * k };
    if (!strcmp(mode, "cut")) {
        if (what == 0) pwrite(fd[who], text, 1000 * k, 500 * k);
        else if (what == 1) truncate("file", 700 * k);
        else pread(fd[who], text, 65536, 0);
    } else if (!strcmp(mode, "linked")) {
        if (what == 0) pwrite(fd[who], text, 1000 * k, 500 * k);
        else if (what == 1) truncate(k & 1 ? "link" : "hard", 700 * k);
        else pread(fd[who], text, 65536, 0);
    } else if (!strcmp(mode, "append")) {
        if (what == 0) write(fd[who], text, 100 * k);
        else if (what == 1) pwrite(fd[THREADS - 1], text, 100 * k, lseek(fd[THREADS - 1], 0, SEEK_END));
        else if (what == 2) pwritev2(fd[0], &vector, 1, 0, 0x10);
        else lseek(fd[who], 0, SEEK_END);
    } else if (!strcmp(mode, "own")) { /* one description: offset -1 is its position, and moves it */
        if (what == 0) pwritev2(fd[0], &vector, 1, -1, k & 1 ? 0x10 : 0);
        else if (what == 1) preadv2(fd[0], &vector, 1, k & 1 ? 50 * k : -1, 0);
        else if (what == 2) k & 1 ? read(fd[0], text, 70 * k) : write(fd[0], text, 70 * k);
        else lseek(fd[0], k & 1 ? 90 * k : 0, k & 1 ? SEEK_SET : SEEK_CUR);
    } else if (!strcmp(mode, "status")) {
        if (what == 0) fcntl(fd[who], F_SETFL, k & 1 ? O_APPEND : 0);
        else if (what == 1) write(fd[who], text, 100 * k);
        else if (what == 2) pwrite(fd[who], text, 100 * k, 500 * k);
        else lseek(fd[who], 0, k & 1 ? SEEK_END : SEEK_CUR);
    } else if (!strcmp(mode, "holes")) {
        if (what == 0) pwrite(fd[who], text, 4096, 65536 * k);
        else if (what == 1) ftruncate(fd[who], 65536 * chance(10));
        else lseek(fd[who], 65536 * chance(3), what == 2 ? SEEK_DATA : SEEK_HOLE);
    } else if (!strcmp(mode, "attributes")) {
        sprintf(name, "user.a%d", k & 1);
        if (what == 0) setxattr("file", name, text, k, 0);
        else if (what == 1) removexattr("link", name);
        else if (what == 2) getxattr("file", name, text, 100);
        else fgetxattr(fd[who], name, text, 100);
    } else if (!strcmp(mode, "kinds")) { /* what has a name, is another thing, or in the way, fails in many ways */
        static const char *names[] = { "x", "y", "x/a", "y/a", "x/a/b" };
        const char *one = names[chance(5)], *two = names[chance(5)];
        switch (chance(11)) {
        case 0: mkdir(one, 0755); break;
        case 1: rmdir(one); break;
        case 2: close(open(one, O_CREAT | O_RDWR | (k & 1 ? O_EXCL : 0), 0644)); break;
        case 3: unlink(one); break;
        case 4: rename(one, two); break;
        case 5: link(one, two); break;
        case 6: symlink("file", one); break;
        case 7: readlink(one, text, 100); break;
        case 8: close(open(one, O_RDONLY | (k & 1 ? O_DIRECTORY : k & 2 ? O_NOFOLLOW : 0))); break;
        case 9: { struct stat found; stat(one, &found); break; }
        case 10: truncate(one, 100 * k); break;
        }
    } else if (!strcmp(mode, "locks")) {
        if (what == 0) flock(fd[who], (k & 1 ? LOCK_EX : LOCK_SH) | LOCK_NB);
        else if (what == 1) flock(fd[who], LOCK_UN);
        else if (what == 2) { close(fd[who]); fd[who] = open("file", O_RDWR); }
        else flock(fd[who], LOCK_EX | LOCK_NB);
    } else if (!strcmp(mode, "folders")) {
        sprintf(name, "d/x%d", k & 1);
        if (what == 0) close(open(name, O_CREAT | O_RDWR, 0644));
        else if (what == 1) unlink(name);
        else if (what == 2) { rmdir("d"); }
        else { mkdir("d", 0755); rename("e", "d"); mkdir("e", 0755); }
    }
}
static void *work(void *argument)
{
    int who = (long)argument, mine;
    while ((mine = atomic_load(&turn)) < turns)
        if (mine % THREADS == who) {
            step(who);
            atomic_store(&turn, mine + 1);
        } else
            sched_yield(); /* a busy machine would let a thread wait out its slice */
    return 0;
}
int main(int argc, char **argv)
{
    pthread_t thread[THREADS];
    mode = argv[1], turns = atoi(argv[2]);
    close(open("file", O_CREAT | O_RDWR, 0644));
    symlink("file", "link");
    link("file", "hard");
    mkdir("d", 0755), mkdir("e", 0755);
    int append = strcmp(mode, "append") ? 0 : O_APPEND;
    for (int i = 0; i < THREADS; i++)
        fd[i] = open("file", O_RDWR | (i < THREADS - 1 ? append : 0));
    for (long i = 0; i < THREADS; i++)
        pthread_create(thread + i, 0, work, (void *)i);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], 0);
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("turns")
    (folder / "turns.c").write_text(PROGRAM)
    subprocess.run([compiler, "-O1", "-pthread", "-w", "-o", folder / "turns", folder / "turns.c"], check=True)
    return folder / "turns"


@pytest.fixture(scope="module")
def recorded(program: Path) -> Callable[[str], Trace]:
    """A recording of a mode of the program."""

    @cache
    def made(mode: str) -> Trace:
        work, trace = program.parent / mode, program.parent / f"{mode}.iotrace"
        work.mkdir()
        with contextlib.chdir(work):
            record([str(program), mode, str(TURNS)], trace, backend="ebpf")
        return open_trace(trace)

    return made


def unexpected(trace: Trace, folder: Path, order: str, verify: bool = False) -> int:
    """Calls with another result than recorded, in three runs; verified, also the wrong blocks that they read."""
    (folder / "fs").mkdir()
    plan = build_plan(trace, order=order)
    result = replay_plans(
        [(plan, trace)], [folder / "fs"], Options(timing="asap", order=order, repeat=3, verify=verify)
    )
    assert len(plan.rows) > TURNS
    wrong = sum(sum(run.verified.wrong.values()) for run in result.info.runs if run.verified)
    return wrong + sum(run.errors for run in result.info.runs)


@pytest.mark.parametrize(
    "mode", ["cut", "linked", "append", "own", "status", "holes", "attributes", "folders", "kinds", "locks"]
)
def test_each_thread_gets_what_it_got_in_the_recording(
    recorded: Callable[[str], Trace], mode: str, tmp_path: Path
) -> None:
    assert unexpected(recorded(mode), tmp_path, "file") == 0


@pytest.mark.parametrize("mode", ["cut", "linked", "own"])
def test_what_a_cut_by_name_leaves_is_what_verification_expects(
    recorded: Callable[[str], Trace], mode: str, tmp_path: Path
) -> None:
    assert unexpected(recorded(mode), tmp_path, "file", verify=True) == 0


def test_with_the_order_of_each_thread_alone_some_get_something_else(
    recorded: Callable[[str], Trace], tmp_path: Path
) -> None:
    assert unexpected(recorded("cut"), tmp_path, "thread") > 0

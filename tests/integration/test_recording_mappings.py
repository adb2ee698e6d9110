"""Mappings that threads make and end at the same time: each call is told, and of which file it was.

The kernel lets nobody look into a process's mappings while one of its threads changes them, and strace tells the end of
a call late. Both are the rule here, on two processors.
"""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from iotrace.record.ebpf import needs
from iotrace.record.session import record
from iotrace.trace.reader import open_trace

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

ROUNDS = 3000
PROGRAM = r"""
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LENGTH 65536
static int files[2], rounds;

/* each round maps its file once, and unmaps it in two parts every other time; the second part is advised before */
static void *maps_a_file(void *number)
{
    for (int i = 0; i < rounds; i++) {
        char *place = mmap(0, LENGTH, PROT_READ, MAP_PRIVATE, files[(long)number], 0);
        if (place == MAP_FAILED)
            abort();
        if (i % 2) {
            munmap(place, LENGTH / 2);
            madvise(place + LENGTH / 2, LENGTH / 2, MADV_WILLNEED);
            munmap(place + LENGTH / 2, LENGTH / 2);
        } else
            munmap(place, LENGTH);
    }
    return 0;
}

static void *maps_memory(void *number)
{
    for (int i = 0; i < rounds; i++) {
        char *place = mmap(0, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *place = 1;
        madvise(place, LENGTH, MADV_DONTNEED);
        munmap(place, LENGTH);
    }
    return 0;
}

int main(int count, char **values)
{
    pthread_t threads[4];
    rounds = atoi(values[3]);
    for (long i = 0; i < 2; i++)
        files[i] = open(values[1 + i], O_RDONLY);
    for (long i = 0; i < 4; i++)
        pthread_create(threads + i, 0, i < 2 ? maps_a_file : maps_memory, (void *)i);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], 0);
    return 0;
}
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "maps.c").write_text(PROGRAM)
    subprocess.run(["cc", "-O1", "-pthread", "-o", tmp_path / "maps", tmp_path / "maps.c"], check=True)
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(bytes(65536))
    return [str(tmp_path / name) for name in ("maps", "one", "two")]


def assert_all_are_there(events: pd.DataFrame, folder: Path, rounds: int) -> None:
    for name in ("one", "two"):
        calls = Counter(events[events.path_text == str(folder / name)].op.astype(str))
        assert calls["mmap"] == rounds
        assert calls["munmap"] == rounds + rounds // 2
        assert calls["madvise"] == rounds // 2
    of_others = events[events.op.isin(["munmap", "madvise"])].path_text.value_counts().drop(
        [str(folder / "one"), str(folder / "two")]
    )  # fmt: skip
    assert of_others.sum() <= 1, of_others  # the loader's own


@pytest.mark.bpf
@pytest.mark.parametrize("without", [(), ("bpf_find_vma",), ("bpf_find_vma", "bpf_loop")], ids="+".join)
def test_threads_that_map_and_unmap_at_the_same_time_are_recorded(
    without: tuple[str, ...], command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = needs.present
    monkeypatch.setattr(needs, "present", lambda library: present(library) - set(without))
    outcome = record([*command, str(ROUNDS)], tmp_path / "t.iotrace", backend="ebpf")
    assert outcome.info.complete
    assert_all_are_there(open_trace(tmp_path / "t.iotrace").events(), tmp_path, ROUNDS)


def test_strace_tells_them_too(command: list[str], tmp_path: Path) -> None:
    record([*command, str(ROUNDS // 3)], tmp_path / "t.iotrace", backend="strace")
    assert_all_are_there(open_trace(tmp_path / "t.iotrace").events(), tmp_path, ROUNDS // 3)

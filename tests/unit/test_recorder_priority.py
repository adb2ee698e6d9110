"""The threads that empty the ring ask for priority and short slices, and give both back."""

import ctypes
import os
import platform
import re
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from iotrace.record.label_reader import LabelReader
from iotrace.record.priority import go_as_before, go_first

SCHED_GETATTR = 315 if platform.machine() == "x86_64" else 275
RELEASE = tuple(int(number) for number in platform.release().split("-")[0].split(".")[:2])

# CAP_SYS_NICE is number 23
MAY = bool(int(re.findall(r"CapEff:\s(\w+)", Path("/proc/self/status").read_text())[0], 16) >> 23 & 1)


def niceness_and_slice(thread: int = 0) -> tuple[int, int]:
    """Of this thread, or another; the slice in ns."""
    attributes = ctypes.create_string_buffer(56)
    number, none = ctypes.c_long(SCHED_GETATTR), ctypes.c_uint(0)
    assert not ctypes.CDLL(None).syscall(number, thread, attributes, ctypes.c_uint(56), none)
    _, _, _, nice, _, slice_ns, *_ = struct.unpack("=IIQiIQQQII", attributes.raw)
    return nice, slice_ns


def in_a_thread(work: Callable[[], None]) -> None:
    """Priorities are a thread's own: this one's stays."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


@pytest.mark.skipif(not MAY, reason="needs CAP_SYS_NICE")
def test_priority_and_slices_are_asked_for_and_given_back() -> None:
    def work() -> None:
        before = niceness_and_slice()
        go_first()
        nice, slice_ns = niceness_and_slice()
        assert nice == -20
        if RELEASE >= (6, 12):
            assert slice_ns == 100_000 < before[1]
        go_as_before(before[0])
        assert niceness_and_slice() == before

    in_a_thread(work)


def test_who_may_have_no_priority_goes_on_without() -> None:
    done: list[int] = []

    def work() -> None:
        if os.geteuid() == 0:
            ctypes.CDLL(None).syscall(ctypes.c_long(117 if platform.machine() == "x86_64" else 147), -1, 65534, -1)
        before = niceness_and_slice()[0]
        go_first()
        assert niceness_and_slice()[0] == before
        done.append(before)

    in_a_thread(work)
    assert done


@pytest.mark.skipif(not MAY, reason="needs CAP_SYS_NICE")
def test_a_recorder_that_runs_as_a_batch_or_in_real_time_stays_so() -> None:
    def work() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        go_first()
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        go_first()
        assert (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) == (os.SCHED_RR, 1)

    in_a_thread(work)


@pytest.mark.skipif(not MAY, reason="needs CAP_SYS_NICE")
def test_what_reads_labels_has_no_part_in_it(tmp_path: Path) -> None:
    def work() -> None:
        usual = niceness_and_slice()[1]
        go_first()
        reader = LabelReader()
        try:
            reader.ask_folder(str(tmp_path), None)
            assert reader.last_answers(10)
            assert reader.child_pid is not None
            assert niceness_and_slice(reader.child_pid) == (5, usual)
        finally:
            reader.close()

    in_a_thread(work)

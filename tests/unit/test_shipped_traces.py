"""The shipped traces are whole, are what their checksums say, and hold nothing of the machine they were made on."""

import pytest

from iotrace.data.relion import TRACES, checksums
from iotrace.trace.reader import open_trace

NAMES = ("relion-motion-correction", "relion-particle-extraction")


def test_the_checksums_are_those_of_the_files() -> None:
    assert (TRACES / "SHA256SUMS").read_text() == checksums()


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_trace_is_complete_and_names_no_machine(name: str) -> None:
    trace = open_trace(TRACES / f"{name}.iotrace")
    assert trace.info.complete
    assert trace.info.host == "worker"
    events = trace.events()
    assert trace.info.events == len(events) > 4000
    assert (events.op == "mmap.fault").any()
    usual = ("/scratch/relion", "/usr", "/lib", "/etc", "/bin", "/sbin", "/tmp", "/selinux", "/scratch", "/")
    assert not [text for text in trace.paths().text if not text.startswith(usual[:-1]) and text != "/"]

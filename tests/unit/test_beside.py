"""Counters beside a recording are said in a line a source, and those of what nobody used are not."""

from iotrace.analysis.beside import beside_lines
from iotrace.trace.info import Counted


def test_what_devices_cards_and_memory_did_beside_a_recording_is_a_line_each() -> None:
    lines = beside_lines(
        [
            Counted("block device sda", "device", {"read_bytes": 0, "written_bytes": 3_145_728, "busy_ms": 500}),
            Counted("block device sdb", "device", {"read_bytes": 0, "written_bytes": 0, "busy_ms": 0}),
            Counted("NFS on /m", "mount", {"read_bytes": 1000, "written_bytes": 0, "READ.received_bytes": 1200}),
            Counted("page cache", "node", {"cached_bytes_now": 9, "dirty_bytes_now": 1000, "writeback_bytes_now": 500}),
            Counted("network cards", "node", {"eth0.received_bytes": 5000, "ib0.received_bytes": 2000,
                                              "eth0.sent_bytes": 0, "eth0.received_packets": 7}),
            Counted("processors", "node", {"busy_ms": 2500, "stolen_ms": 0}),
            Counted("WEKA", "cluster", {"ops_per_s": 3, "unprotected_mib_now": 2048}),
            Counted("WEKA, whole", "cluster", {"ops_per_s": 3, "unprotected_mib_now": 0}),
            Counted("nothing known", "node"),
        ],
        2.0,
    )  # fmt: skip
    assert lines == [
        "block device sda: 0 B read, 3.15 MB written, busy 25 % of the time",
        "NFS on /m: 1.00 kB read, 0 B written",
        "page cache: 1.50 kB of this machine waited to be written at the end",
        "network cards: 7.00 kB received",
        "processors: all together worked 2.50 s",
        "WEKA: the cluster rebuilt what a failure took, 2.00 GiB lacked protection",
    ]
    # a recording that was cut off knows no duration
    assert beside_lines([Counted("sda", "device", {"read_bytes": 1, "busy_ms": 5})], 0.0) == ["sda: 1 B read"]

"""The cache guards of a fleet's ranks: one verdict, bytes that are nobody's twice, sentences of other ranks; clocks."""

import numpy as np
import pytest

from iotrace.mounts.mountinfo import Mount
from iotrace.replay.clones import Outcome
from iotrace.replay.figures import Guard
from iotrace.replay.fleet_guard import RankGuard, together
from iotrace.replay.gathering import _mounted_otherwise, _said_elsewhere, _shift
from iotrace.replay.kernels import words
from iotrace.replay.provenance import told_alike
from iotrace.replay.result import MountInfo, Run
from iotrace.replay.show import guard_lines

MB = 1_000_000


def guard(scope: str, wire: int = 0, written: int | None = None, synced: int | None = None, needed: int = 0) -> Guard:
    return Guard("storage", "why", needed, 0, wire, "x", written, synced, "x" if written is not None else "", scope)


def ranks(guards: list[Guard], nodes: str) -> list[RankGuard]:
    return [RankGuard(rank, f"node{nodes[rank]}", nodes[rank], one) for rank, one in enumerate(guards)]


def test_what_four_nodes_wrote_is_that_of_all() -> None:
    run = Run(run=0, round=0, fs="/a", mount=MountInfo(), started_utc="", bytes_written=4 * MB)
    run.guard = together(ranks([guard("mount", 0, MB, 0)] * 4, "abcd"))
    assert guard_lines(run) == [
        "of 4.00 MB written 4.00 MB reached the storage while it ran, 0 B in the sync after it (x)"
    ]


def test_what_a_device_counts_for_ranks_of_one_node_counts_once() -> None:
    # the first rank was done when 1 MB was written, the second at 3 MB, after which 2 MB came with the sync
    found = together(ranks([guard("device", 7, MB, 4 * MB), guard("device", 9, 3 * MB, 2 * MB)], "aa"))
    assert found is not None
    assert (found.wire_bytes, found.wire_written_bytes, found.wire_synced_bytes) == (9, 3 * MB, 2 * MB)
    apart = together(ranks([guard("device", 7, MB, 4 * MB), guard("device", 9, 3 * MB, 2 * MB)], "ab"))
    assert apart is not None
    assert (apart.wire_bytes, apart.wire_written_bytes, apart.wire_synced_bytes) == (16, 4 * MB, 6 * MB)


def test_what_the_kernel_counts_for_the_processes_of_each_rank_is_added_up() -> None:
    found = together(ranks([guard("processes", 7), guard("processes", 9)], "aa"))
    assert found is not None
    assert (found.wire_bytes, found.wire_written_bytes) == (16, None)


def test_the_worst_verdict_is_that_of_a_fleet_and_its_rank_is_named() -> None:
    first = Guard("storage", "a.", 10, 0, 10, "x", scope="processes")
    found = together(ranks([first, Guard("client cache", "b.", 5, None, 1, "y", scope="processes")], "ab"))
    why = (
        "Of 2 ranks: 1 client cache, 1 storage, 11 B of 15 B that had to come from the storage did; the worst is rank "
        "1 (nodeb): b."
    )
    assert found == Guard("client cache", why, 15, None, 11, "y", scope="processes")
    assert together(ranks([first], "a")) == first
    assert together([]) is None


def test_of_several_ranks_with_one_verdict_the_one_is_named_that_got_least() -> None:
    found = together(ranks([guard("mount", 95, needed=100), guard("mount", 91, needed=100)], "ab"))
    assert found is not None
    assert "186 B of 200 B" in found.why
    assert "rank 1 (nodeb)" in found.why


@pytest.mark.parametrize(
    ("scope", "nodes", "wire", "verdict"),
    [
        ("mount", "aa", 100, "client cache"),  # one rank's reads came, and both saw them
        ("mount", "aa", 190, "storage"),
        ("mount", "ab", 100, "storage"),
        ("processes", "aa", 100, "storage"),
        ("device", "aa", 20, "storage"),  # compressed: that was enough for each
    ],
)
def test_ranks_of_one_node_need_together_what_they_need(scope: str, nodes: str, wire: int, verdict: str) -> None:
    found = together(ranks([guard(scope, wire, needed=100)] * 2, nodes))
    assert found is not None
    assert found.verdict == verdict
    assert ("too little for all" in found.why) == (verdict == "client cache")


def test_sentences_of_other_ranks_are_said_once_with_who_says_them() -> None:
    said = [("a", ["all"]), ("b", ["all", "cold"]), ("c", ["cold", "full", "full"])]
    assert _said_elsewhere(said) == ["On ranks 1 (b), 2 (c): cold", "On rank 2 (c): full"]


def test_nodes_that_have_mounted_one_file_system_with_other_options_are_named_with_them() -> None:
    def on(options: str) -> MountInfo:
        return MountInfo("/mnt/a", "nfs4", "filer:/a", options)

    usual = on("rw,nconnect=8,clientaddr=10.0.0.1")
    others = [("b", on("rw,noac,nconnect=8,clientaddr=10.0.0.2")), ("c", on("rw,nconnect=8,clientaddr=10.0.0.3"))]
    assert _mounted_otherwise("/mnt/a/x", [("a", usual), *others]) == [
        "On rank 1 (b) /mnt/a/x is mounted otherwise than on rank 0: noac there, none of these options here."
    ]
    assert _mounted_otherwise("/mnt/a/x", [("a", on("rw,nconnect=2")), ("b", usual), ("c", usual)]) == [
        "On ranks 1 (b), 2 (c) /mnt/a/x is mounted otherwise than on rank 0: nconnect=8 there, nconnect=2 here."
    ]


@pytest.mark.parametrize("offset", [7, -7])
def test_on_rank_0s_clock_rows_that_have_no_time_still_have_none(offset: int) -> None:
    # the begin of a thread, which is no call, a call, and a row that was never reached
    result = np.array([0, 4096, words.NOT_RUN])
    outcome = Outcome(np.array([0, 100, 0]), np.zeros(3), result, 90, 20, 0.0, False, 1, np.array([110]))
    _shift(outcome, offset)
    assert outcome.started.tolist() == [0, 100 + offset, 0]
    assert (outcome.start_ns, outcome.lane_ended_ns.tolist()) == (90 + offset, [110 + offset])


def test_nodes_that_mount_one_file_system_from_different_servers_tell_the_same() -> None:
    def told(kind: str, *sources: str) -> int:
        return len({told_alike(Mount(1, "/mnt/a", kind, source)) for source in sources})

    assert told("nfs4", "one:/export/a", "10.0.0.2:/export/a") == 1
    assert told("nfs4", "one:/export/a", "one:/export/b") == 2
    assert told("wekafs", "one,two/data", "two/data", "data") == 1
    assert told("ceph", "1.1.1.1:6789,2.2.2.2:6789:/", "2.2.2.2:6789:/") == 1
    assert told("cifs", "//one/share", "//two/share") == 1
    assert told("xfs", "/dev/sda", "/dev/sdb") == 2

"""Counters: what kernels and clients print is read as they mean it, in old forms and new, and garbage gives nothing."""

import json
import math
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotrace.mounts.counters import (
    blockdev,
    ceph,
    infiniband,
    lustre,
    moosefs,
    mountstats,
    netdev,
    pagecache,
    processes,
    processors,
    sampler,
    weka,
)
from iotrace.mounts.counters.sampling import Sampler, Watch
from iotrace.mounts.counters.source import Counts, Source, is_now
from iotrace.mounts.counters.sources import sources_of
from iotrace.mounts.mountinfo import Mount, mount_of, mounts_of_this_machine

# A Lustre 1.8 client of the Texas Advanced Computing Center, as quoted in a comment of tacc_stats (collect_llite_fs);
# snapshot_time in secs.usecs, a sum only where the unit has one. The osc_read line has the form of
# lustre-1.8 lproc_llite.c.
LLITE_OLD = """\
llite.scratch-ffff81019a4eb000.stats=
snapshot_time             1301585789.189183 secs.usecs
dirty_pages_hits          276 samples [regs]
dirty_pages_misses        57841029 samples [regs]
read_bytes                449131 samples [bytes] 1 23553884 101262334767
write_bytes               201770 samples [bytes] 1 20971520 236938468092
osc_read                  4986 samples [bytes] 4096 1048576 5000000000
osc_write                 2037 samples [bytes] 4096 1048576 2000000000
brw_read                  13 samples [pages] 4096 4096 53248
"""

# A Lustre 2.14 and a newer client, from fixtures and tests of whamcloud/lustrefs-exporter (2026): times of calls in
# llite, sums of squares, start_time and elapsed_time. The lines of osc stats have the form of ptlrpc_lprocfs_brw.
NEW = """\
memused=35721854085
llite.a361000-ffff949bc0626000.stats=
snapshot_time             1789952232.703630742 secs.nsecs
start_time                1787864516.502993110 secs.nsecs
elapsed_time              2087716.200637632 secs.nsecs
read_bytes                10 samples [bytes] 4096 4194304 20971520 70368744177664
write_bytes               2 samples [bytes] 1048576 1048576 2097152 2199023255552
open                      35955554 samples [usecs] 0 172939 3393651645 8836730033307
osc.a361000-OST0000-osc-ffff949bc0626000.stats=
snapshot_time             1789952232.703630742 secs.nsecs
start_time                1787864516.502993110 secs.nsecs
elapsed_time              2087716.200637632 secs.nsecs
req_waittime              522 samples [usecs] 101 189010 927538421 1313195185071
req_active                522 samples [reqs] 1 4 4224905 9948733
read_bytes                5 samples [bytes] 1048576 4194304 8388608 35184372088832
ost_read                  5 samples [usecs] 300 900 3000 2000000
osc.a361000-OST0001-osc-ffff949bc0626000.stats=
snapshot_time             1789952232.703630742 secs.nsecs
read_bytes                1 samples [bytes] 4096 4096 4096 16777216
write_bytes               2 samples [bytes] 1048576 1048576 2097152 2199023255552
osc.a361000-OST0001-osc-ffff949bc0626000.rpc_stats=
snapshot_time:            1789952232.703630742 secs.nsecs
start_time:               1787864516.502993110 secs.nsecs
elapsed_time:             2087716.200637632 secs.nsecs
read RPCs in flight:  0
write RPCs in flight: 0
DIO RPCs in flight: 0
pending write pages:  0
pending read pages:   0

\t\t\tread\t\t\twrite
pages per rpc         rpcs   % cum % |       rpcs   % cum %
1:\t\t         0   0   0   |    52489  50  50
4:\t\t         1   0   0   |    14030  13  99
8:\t\t       511  99 100   |      784   0 100

\t\t\tread\t\t\twrite
rpcs in flight        rpcs   % cum % |       rpcs   % cum %
1:\t\t       512 100 100   |   103843 100 100
mdc.a361000-MDT0000-mdc-ffff94d28d903800.md_stats=
snapshot_time             1789952232.646146706 secs.nsecs
start_time                1787864516.486398220 secs.nsecs
elapsed_time              2087716.159748486 secs.nsecs
close                     1024327 samples [reqs]
intent_lock               1046326 samples [reqs]
osc.other-OST0000-osc-ffff949bc0626000.stats=
read_bytes                1 samples [bytes] 7 7 7 49
"""

# rpc_stats of 1.6, as osc_rpc_stats_seq_show prints it (lustre-1.6 lproc_osc.c)
RPC_OLD = """\
snapshot_time:         1189732762:835363 (secs:usecs)
RPCs in flight:        0
pending write pages:   0
pending read pages:   0

\t\t\tread\t\t\twrite
pages per rpc         rpcs   % cum % |       rpcs   % cum %
1:\t\t         3  60  60   |          0   0   0
256:\t\t         2  40 100   |          1 100 100
"""

# An NFS 4.1 mount with 1 GB read and 2 GB written, one half of it with O_DIRECT, from a user's blog; and one of a
# kernel from 5.3 on, whose operations end with errors (net/sunrpc/stats.c), on a point with a space.
MOUNTSTATS = """\
device proc mounted on /proc with fstype proc
device xx:/ mounted on /mnt with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,hard,proto=tcp,timeo=600,sec=sys,local_lock=none
\tage:\t9503
\timpl_id:\tname='',domain='',date='0,0'
\tcaps:\tcaps=0x3ffd7,wtmult=512,dtsize=32768,bsize=0,namlen=255
\tnfsv4:\tbm0=0xfcff8fff,bm1=0x40f9be3e,bm2=0x802,acl=0x0,sessions,pnfs=not configured
\tsec:\tflavor=1,pseudoflavor=1
\tevents:\t35 259 2 1005 9 7 511 256000 0 66 0 26 18 2 6 4 0 3 0 0 256000 0 0 0 0 0 0
\tbytes:\t1048576000 1048576000 0 1048576000 1048576000 2097152000 256000 256000
\tRPC iostats version: 1.0  p/v: 100003/4 (nfs)
\txprt:\ttcp 0 0 1 0 0 12755 12754 0 51500 0 32 101086 25994
\tper-op statistics
\t        NULL: 0 0 0 0 0 0 0 0
\t        READ: 1000 1000 0 220000 1048680000 1689 503927 505677
\t       WRITE: 2000 2000 0 2097616000 288000 5178088 48850 5230077
device srv:/exp mounted on /mnt/with\\040space with fstype nfs statvers=1.1
\tbytes:\t10 20 30 40 50 60 70 80
\tper-op statistics
\t        READ: 10 10 0 280 1048576 5 200 250 3
device /dev/sda mounted on /data with fstype ext4
"""

# `perf dump` and `status` of ceph-fuse 16.2.15 on a cluster of this project's tests (tests/lab/ceph.py), shortened:
# 8 MiB written, then read from the client's own cache, which counts its hits many times over.
PERF = {
    "AsyncMessenger::Worker-0": {"msgr_recv_messages": 4, "msgr_recv_bytes": 1016, "msgr_send_bytes": 6356200},
    "AsyncMessenger::Worker-2": {"msgr_recv_messages": 11, "msgr_recv_bytes": 4033, "msgr_send_bytes": 2426},
    "client": {"rdlat": {"avgcount": 67, "sum": 0.000197208}, "readavg": 2.928e-06},
    "objectcacher-libcephfs": {"cache_ops_hit": 86, "cache_bytes_hit": 364904448, "data_read": 16007168},
    "objecter": {"op_active": 0, "op_r": 0, "op_w": 4, "op_send_bytes": 8388608},
}
STATUS = {"metadata": {"ceph_version": "ceph version 16.2.15", "mount_point": "/mnt/ceph", "root": "/"}, "id": 4128}

# /proc/diskstats of Debian 12 (6.18: 17 fields) and of a kernel before 4.18 (11 fields: Documentation/iostats.txt)
DISKSTATS = """\
 254       0 vda 43563 7 3823778 11526 109672 30 61817852 537294 0 45956 548821 12 0 800 3 9719 7
   8       0 sda 446216 784926 9550688 4382310 424847 312726 5922052 19310380 0 3376340 23705160
"""

# /proc/stat of Debian 12, and of a kernel before 2.6.11, which knew no time taken by a hypervisor
STAT = "cpu  1390941 1390 524035 579258 32563 7 4562 21204 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nintr 12\n"


def test_work_of_all_processors_is_read_and_what_was_idle_or_stolen_is_not_in_it() -> None:
    ticks = 1390941 + 1390 + 524035 + 7 + 4562
    assert processors.parse_stat(STAT, 100) == {"busy_ms": ticks * 10, "stolen_ms": 212040}
    assert processors.parse_stat(STAT, 1000) == {"busy_ms": ticks, "stolen_ms": 21204}
    for broken in ("", "cpu 1 2 3 4\n", "cpu0 1 1 1 1 1 1 1 1\n", STAT.replace("524035", "-5")):
        assert processors.parse_stat(broken, 100) == {}


# /proc/net/dev of Debian 12, blanks left out; the form without blanks before the bytes is that of kernels before 2.6.36
NETDEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:    3193      29    0    0    0     0          0         0  3193      29    0    0    0     0       0          0
  eth0:594489455   13961    0    0    0     0          0         0 678159   8975    0    0    0     0       0          0
"""

# `weka status --json` of a demo cluster, shortened, and rows as weka/export reads them; not seen on a cluster
WEKA_STATUS = {
    "active_alerts_count": 34,
    "activity": {"num_ops": 12.4, "sum_bytes_read": 1.5e9, "sum_bytes_written": 0},
}
WEKA_STATS = [
    {"node": "NodeId<1>", "stat_type": "READ_BYTES", "stat_value": 100.0, "timestamp": "2026-11-27T10:00:00Z"},
    {"node": "NodeId<1>", "stat_type": "READ_BYTES", "stat_value": 7.0, "timestamp": "2026-11-27T10:01:00Z"},
    {"node": "NodeId<2>", "stat_type": "READ_BYTES", "stat_value": 5.0, "timestamp": "2026-11-27T10:01:00Z"},
]


def test_an_old_lustre_client_counts_in_llite_what_its_targets_moved() -> None:
    counts = lustre.counts_of(lustre.parse_parameters(LLITE_OLD), "scratch")
    assert (counts["read_bytes"], counts["written_bytes"]) == (5_000_000_000, 2_000_000_000)
    assert (counts["asked_read_bytes"], counts["asked_written_bytes"]) == (101262334767, 236938468092)
    assert counts["llite.dirty_pages_hits"] == 276


def test_a_new_lustre_client_is_added_up_over_its_targets_and_no_other_file_system() -> None:
    counts = lustre.counts_of(lustre.parse_parameters(NEW), "a361000")
    assert (counts["read_bytes"], counts["written_bytes"]) == (8388608 + 4096, 2097152)
    assert (counts["asked_read_bytes"], counts["asked_written_bytes"]) == (20971520, 2097152)
    assert counts["rpc_read_bytes_most"] == (4 + 8 * 511) * 4096
    assert (counts["llite.open"], counts["mdc.intent_lock"]) == (35955554, 1046326)


def test_without_the_counters_of_targets_lustre_says_no_bytes_over_the_wire() -> None:
    parameters = {name: text for name, text in lustre.parse_parameters(NEW).items() if ".stats" not in name[3:]}
    counts = lustre.counts_of(parameters, "a361000")
    assert "read_bytes" not in counts
    assert counts["rpc_read_bytes_most"] > 0


OSC_OF_LLITE_OLD = """\
osc.scratch-OST0000-osc-ffff81019a4eb000.stats=
snapshot_time             1301585789.189183 secs.usecs
read_bytes                4986 samples [bytes] 4096 1048576 5000000000
write_bytes               2037 samples [bytes] 4096 1048576 2000000000
"""

# the form of ptlrpc_lprocfs_brw, which counts for MDCs of 2.11 and later too
MDC = """\
mdc.a361000-MDT0000-mdc-ffff94d28d903800.stats=
snapshot_time             1789952232.646146706 secs.nsecs
req_waittime              9 samples [usecs] 39 1209 4102 1900000
read_bytes                2 samples [bytes] 65536 1048576 1114112 1103806595072
mds_getattr               1 samples [usecs] 92 92 92 8464
"""


def test_what_an_old_lustre_counts_twice_is_taken_once() -> None:
    once = lustre.counts_of(lustre.parse_parameters(LLITE_OLD), "scratch")
    twice = lustre.counts_of(lustre.parse_parameters(LLITE_OLD + OSC_OF_LLITE_OLD), "scratch")
    assert (once["read_bytes"], once["written_bytes"]) == (5_000_000_000, 2_000_000_000)
    assert (twice["read_bytes"], twice["written_bytes"]) == (5_000_000_000, 2_000_000_000)
    silent = OSC_OF_LLITE_OLD.replace("read_bytes", "req_waittime").replace("write_bytes", "req_active")
    assert lustre.counts_of(lustre.parse_parameters(LLITE_OLD + silent), "scratch") == once
    assert lustre.counts_of(lustre.parse_parameters(silent), "scratch") == {"read_bytes": 0, "written_bytes": 0}


def test_what_a_metadata_target_of_lustre_gives_of_files_is_counted_with_the_others() -> None:
    without, whole = (lustre.counts_of(lustre.parse_parameters(text), "a361000") for text in (NEW, NEW + MDC))
    assert whole == without | {"read_bytes": without["read_bytes"] + 1114112}
    # a part of all is none
    assert "read_bytes" not in lustre.counts_of(lustre.parse_parameters(MDC), "a361000")


def test_requests_of_an_old_lustre_are_counted_by_their_pages() -> None:
    assert lustre.parse_rpc_stats(RPC_OLD) == ((3 + 512) * 4096, 256 * 4096)


def test_the_name_of_a_lustre_file_system_is_the_one_behind_its_servers() -> None:
    for source, name in (
        ("fs-0a.fsx.amazonaws.com@tcp:/fsx", "fsx"),
        ("10.0.0.1@o2ib:10.0.0.2@o2ib:/scratch/project", "scratch"),
    ):
        assert lustre.name_of(Mount(1, "/l", "lustre", source)) == name


def test_nfs_says_what_came_from_the_server_and_what_programs_read() -> None:
    found = mountstats.parse_mountstats(MOUNTSTATS)
    assert set(found) == {"/mnt", "/mnt/with space"}
    counts = found["/mnt"]
    assert (counts["read_bytes"], counts["written_bytes"]) == (1048576000, 2097152000)
    assert (counts["cached_written_bytes"], counts["direct_written_bytes"]) == (1048576000, 1048576000)
    assert (counts["READ.calls"], counts["READ.received_bytes"], counts["READ.rtt_ms"]) == (1000, 1048680000, 503927)
    assert "NULL.calls" not in counts
    assert found["/mnt/with space"]["read_bytes"] == 50
    assert found["/mnt/with space"]["READ.execute_ms"] == 250


def test_ceph_fuse_says_what_its_messengers_received_and_not_what_its_cache_believes() -> None:
    counts = ceph.parse_perf(json.dumps(PERF))
    assert (counts["read_bytes"], counts["written_bytes"]) == (5049, 6358626)
    assert counts["cache_bytes_hit"] == 364904448
    assert ceph.mount_point_of(json.dumps(STATUS)) == "/mnt/ceph"


def test_the_admin_socket_is_asked_as_ceph_does(tmp_path: Path) -> None:
    path, heard = str(tmp_path / "client.asok"), []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(100))
                said = json.dumps(PERF).encode()
                connection.sendall(struct.pack(">I", len(said)) + said)

        thread = threading.Thread(target=answer)
        thread.start()
        assert ceph.parse_perf(ceph.ask(path, "perf dump"))["read_bytes"] == 5049
        thread.join()
        assert heard == [b'{"prefix": "perf dump"}\0']
        assert path in ceph.listening(Path("/proc/net/unix").read_text())


def test_block_devices_are_read_in_both_lengths() -> None:
    new, old = (blockdev.parse_stat(line.split("da")[1]) for line in DISKSTATS.splitlines())
    assert (new["read_bytes"], new["written_bytes"]) == (3823778 * 512, 61817852 * 512)
    assert new["flushes"] == 9719
    assert old["read_bytes"] == 9550688 * 512
    assert "flushes" not in old


def test_data_of_realtime_files_are_counted_on_their_own_device() -> None:
    nodes = [path for path in sorted(Path("/dev").glob("*")) if path.is_block_device()]
    if len(nodes) < 2:
        pytest.skip("two block devices are needed")
    main, realtime = nodes[:2]
    found = blockdev.block_sources(Mount(main.stat().st_rdev, "/x", "xfs", str(main), f"rw,rtdev={realtime},noquota"))
    assert [source.name.split()[2] for source in found] == [main.name, realtime.name]


def test_network_cards_are_read_with_and_without_a_blank() -> None:
    assert netdev.parse_netdev(NETDEV)["eth0"] == {
        "received_bytes": 594489455, "received_packets": 13961, "sent_bytes": 678159, "sent_packets": 8975,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("real", "counted"), [(["eth0", "eth1"], {"eth0": 7, "eth1": 9}), ([], {"bond0": 16, "eth0": 7, "eth1": 9})]
)
def test_what_goes_through_a_bond_counts_once_where_its_cards_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: list[str], counted: dict[str, int]
) -> None:
    cards = {"lo": 99, "eth1": 9, "bond0": 16, "eth0": 7, "idle": 0}
    (tmp_path / "dev").write_text("".join(f"{card}: {many} {'0 ' * 15}\n" for card, many in cards.items()))
    for card in real:
        (tmp_path / card / "device").mkdir(parents=True)
    monkeypatch.setattr(netdev, "_NETDEV", tmp_path / "dev")
    monkeypatch.setattr(netdev, "_CARDS", tmp_path)
    found = netdev.network_source().read()
    assert {name: value for name, value in found.items() if name.endswith("received_bytes")} == {
        f"{card}.received_bytes": many for card, many in counted.items()
    }


def test_ports_of_infiniband_count_in_words_of_four_bytes(tmp_path: Path) -> None:
    for port, words in (("mlx5_0/ports/1", 250), ("mlx5_1/ports/2", 1)):
        counters = tmp_path / port / "counters"
        counters.mkdir(parents=True)
        (counters / "port_rcv_data").write_text(f"{words}\n")
        (counters / "port_xmit_data").write_text("N/A (no PMA)\n")
    (tmp_path / "mlx5_2/ports/1/counters").mkdir(parents=True)
    (source,) = infiniband.infiniband_sources(tmp_path)
    assert source.read() == {"mlx5_0/1.received_bytes": 1000, "mlx5_1/2.received_bytes": 4}
    assert not source.decides
    assert infiniband.infiniband_sources(tmp_path / "nowhere") == []


def test_weka_gives_figures_of_the_moment_that_decide_nothing() -> None:
    status, stats = weka.parse_status(json.dumps(WEKA_STATUS)), weka.parse_stats(json.dumps(WEKA_STATS))
    assert status == {"ops_per_s": 12, "read_bytes_per_s": 1_500_000_000, "written_bytes_per_s": 0}
    assert stats == {"READ_BYTES_minute_mean": 12}
    states = [{"MiB": 4_952_064, "numFailures": 0}, {"MiB": 70, "numFailures": 1}, {"MiB": 3, "numFailures": 2}]
    rebuild = {"movingData": True, "protectionState": states, "unavailableMiB": 0}
    rebuilding = weka.parse_status(json.dumps({**WEKA_STATUS, "rebuild": rebuild}))
    assert rebuilding == {**status, "unprotected_mib_now": 73, "unavailable_mib_now": 0}
    status = rebuilding
    assert all(is_now(name) for name in status | stats)
    # of one moment, two processes: what they did is added up, how long it took is not
    two = [
        {"stat_type": name, "stat_value": value, "timestamp": "2026-01-01T00:00:00"}
        for name in ("READS", "READ_LATENCY") for value in (100, 300)
    ]  # fmt: skip
    assert weka.parse_stats(json.dumps(two)) == {"READS_minute_mean": 400, "READ_LATENCY_minute_mean": 300}
    # some versions print figures as text
    texts = [row | {"stat_value": str(row["stat_value"])} for row in WEKA_STATS]
    assert weka.parse_stats(json.dumps(texts)) == stats
    for odd in ("nan", "-1", "1_0", "", "12 s", "inf", "9" * 40):
        assert weka.parse_stats(json.dumps([{**WEKA_STATS[0], "stat_value": odd}])) == {}
    assert not any(source.decides for source in weka.weka_sources(Mount(1, "/w", "wekafs", "x")))


@pytest.mark.parametrize(
    "parse",
    [
        lustre.parse_parameters, lustre.parse_stats, lustre.parse_rpc_stats, mountstats.parse_mountstats,
        ceph.parse_perf, ceph.mount_point_of, ceph.listening, weka.parse_status, weka.parse_stats,
        blockdev.parse_stat, netdev.parse_netdev, processes.parse_io,
        pagecache.parse_meminfo,
    ],
    ids=lambda parse: f"{parse.__module__.rpartition('.')[2]}.{parse.__name__}",
)  # fmt: skip
def test_garbage_and_halves_of_what_is_right_are_read_without_an_error(parse: Callable[[str], object]) -> None:
    right = [LLITE_OLD, NEW, RPC_OLD, MOUNTSTATS, DISKSTATS, NETDEV, json.dumps(PERF), json.dumps(STATUS)]
    right += [json.dumps(WEKA_STATUS), json.dumps(WEKA_STATS), "[" * 100_000, "read_bytes: 1\nDirty: 3 kB\n"]

    @given(st.text() | st.sampled_from(right).flatmap(lambda text: st.integers(0, 2000).map(lambda end: text[:end])))
    def holds(text: str) -> None:
        parse(text)

    holds()
    parse("[" * 100_000)


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.floats() | st.integers(), st.lists), max_size=5))
def test_whatever_json_comes_counters_are_whole_and_not_negative(said: dict[str, object]) -> None:
    for text in (
        json.dumps({"activity": said, "rebuild": {"protectionState": [said], "unavailableMiB": said}}),
        json.dumps([said]),
        json.dumps({"objecter": said, **said}),
    ):
        for parse in (weka.parse_status, weka.parse_stats, ceph.parse_perf):
            assert all(isinstance(value, int) and value >= 0 for value in parse(text).values())


def test_the_sampler_sees_what_this_process_reads_off_its_device(tmp_path: Path) -> None:
    mount = mount_of(os.path.realpath(tmp_path), mounts_of_this_machine())
    assert mount is not None
    path = tmp_path / "data"
    path.write_bytes(os.urandom(1 << 20))
    with path.open("rb") as file, Sampler() as sampler:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        sampler.begin([mount], os.getpid())
        file.read()
        sampler.mark()
        watch = sampler.end()
    assert len(watch.marks) == 2
    assert [name for name, _, _ in watch.sources if name != infiniband.NAME][-3:] == [
        "page cache (/proc/meminfo)",
        "network cards (/proc/net/dev)",
        "processors (/proc/stat)",
    ]
    if mount.type in ("ext4", "xfs"):
        assert watch.between(0, 0, 1)["read_bytes"] >= 1 << 20
        assert watch.between(1, 0, 1)["read_bytes"] >= 1 << 20


def test_a_source_that_is_not_there_is_named_and_the_others_are_read() -> None:
    # no `weka` command here
    with Sampler() as sampler:
        sampler.begin([Mount(1, "/nowhere", "wekafs", "10.0.0.1/default")])
        watch = sampler.end()
    assert watch.wrong == {
        source.name: "there is no weka command in PATH" for source in sources_of([Mount(1, "/", "wekafs", "x")])[:2]
    }
    assert len(watch.sources) == 3 + len(infiniband.infiniband_sources())


def test_counters_that_were_cleared_in_between_are_left_out() -> None:
    watch = Watch([("x", "mount", True)], [(0, [{"a": 5, "b": 1, "c_now": 3}]), (1, [{"a": 4, "b": 3, "c_now": 2}])])
    assert watch.between(0, 0, 1) == {"b": 2, "c_now": 2}
    # what could not be read at the first of two looks did not grow from nothing
    failed = Watch([("a", "node", True)], [(0, [{"b": 1}]), (1, [{}]), (2, [{"b": 9_000_000, "c_now": 4}])], [])
    assert failed.between(0, 0, 1) == {}
    assert failed.between(0, 1, 2) == {"c_now": 4}
    assert failed.between(0, 0, 2) == {"b": 8_999_999, "c_now": 4}
    assert watch.between(0, 0, 2) == {}


def test_of_a_rebuild_that_ended_within_a_run_the_most_that_was_seen_counts() -> None:
    weak, other = "unprotected_mib_now", "ops_now"
    marks = [(10, [{weak: 0, other: 9}]), (40, [{weak: 1, other: 2}]), (50, [{weak: 9}])]
    watch = Watch([("x", "cluster", False)], marks, [(20, [{weak: 7}]), (30, [{}]), (45, [{weak: 8}])])
    assert watch.between(0, 0, 1) == {weak: 7, other: 2}
    assert watch.between(0, 1, 2) == {weak: 9}


def test_each_source_is_looked_at_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    asked: dict[str, list[float]] = {}

    def source(name: str, every_s: float) -> Source:
        def read() -> Counts:
            asked.setdefault(name, []).append(clock[0])
            return {name: len(asked[name])}

        return Source(name, "node", read, every_s=every_s)

    watched = sampler._Watched([source("often", 1.0), source("seldom", 3.0), source("never", math.inf)])
    watched.begin()
    while clock[0] < 6.5:
        clock[0] = watched.due
        watched.tick()
    assert asked == {"often": [0.0, 1, 2, 3, 4, 5, 6, 7], "seldom": [0.0, 3, 6], "never": [0.0]}
    # each look has a place for all sources, empty for those that were not asked
    looks = [counts for _, counts in watched.take()]
    assert [one for one in looks if one[1]] == [[{}, {"seldom": 2}, {}], [{}, {"seldom": 3}, {}]]
    assert len(looks) == 9
    assert watched.take() == []


def test_tables_of_each_look_leave_out_what_shrank_from_then_on() -> None:
    marks = [(10, [{"a": 50, "b": 1, "c_now": 9}]), (40, [{"a": 70, "b": 4, "c_now": 2}])]
    looks = [(20, [{"a": 60, "b": 2, "c_now": 8}]), (30, [{"a": 5, "b": 2, "late": 3}])]
    watch = Watch([("x", "mount", True)], marks, looks)
    assert list(watch.each_look()) == [
        (10, "x", "a", 0), (10, "x", "b", 0), (10, "x", "c_now", 9),
        (20, "x", "a", 10), (20, "x", "b", 1), (20, "x", "c_now", 8),
        (30, "x", "b", 1), (30, "x", "late", 3),
        (40, "x", "b", 3), (40, "x", "c_now", 2),
    ]  # fmt: skip
    failed = Watch([("x", "mount", True)], [(1, [{}]), (2, [{"b": 9_000_000, "c_now": 4}])])
    assert list(failed.each_look()) == [(2, "x", "c_now", 4)]
    assert list(Watch().each_look()) == []


# Parts of the .stats of a MooseFS 3 mount of tests/lab.
MOOSEFS = """\
fuse_ops: 142
fuse_ops.lookup: 43
fuse_ops.lookup.cached.negative: 0
fuse_ops.read: 66
symlink_cache.#links: [0]
symlink_cache.search_hits: 0
master.usec_ping: [242]
master.bytes_sent: 548
master.bytes_received: 755
"""


def test_of_what_mfsmount_counts_figures_of_the_moment_are_left_out() -> None:
    assert moosefs.parse_stats(MOOSEFS) == {
        "fuse_ops.lookup": 43, "fuse_ops.lookup.cached.negative": 0, "fuse_ops.read": 66,
        "symlink_cache.search_hits": 0, "master.bytes_sent": 548, "master.bytes_received": 755,
    }  # fmt: skip
    assert moosefs.parse_stats("no such\nthing: 5\nmaster.x: -3\n") == {}

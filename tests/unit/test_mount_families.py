"""Families of file systems: what mountinfo says is known, explained where it matters, and never explained wrongly."""

import ctypes
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotrace.cli import main
from iotrace.mounts import command
from iotrace.mounts.command import report_of
from iotrace.mounts.family import UNKNOWN, advice_for, families, family_of, notes_of
from iotrace.mounts.mountinfo import Mount, mount_of, mounts_of_this_machine, visible
from iotrace.mounts.space import Space, space_of, within


def mount(type: str, options: str = "rw", source: str = "x", point: str = "/mnt/x", device: int = 1) -> Mount:
    return Mount(device, point, type, source, options)


@pytest.mark.parametrize(
    ("type", "source", "name"),
    [
        ("wekafs", "10.108.97.126/default", "WEKA"),
        ("lustre", "fs-0a.fsx.amazonaws.com@tcp:/fsx", "Lustre"),
        ("nfs", "s:/e", "NFS"),
        ("nfs4", "s:/e", "NFS"),
        ("ceph", "10.0.0.1:6789:/", "CephFS"),
        ("fuse.ceph-fuse", "ceph-fuse", "ceph-fuse"),
        ("fuse.glusterfs", "s:/v", "GlusterFS"),
        ("fuse", "mfs#10.77.0.1:9421", "MooseFS"),
        ("beegfs", "beegfs_nodev", "BeeGFS"),
        ("gpfs", "gpfs0", "GPFS"),
        ("cifs", "//s/x", "SMB"),
        ("fuse.s3fs", "s3fs", "s3fs"),
        ("xfs", "/dev/sdb1", "XFS"),
        ("ext4", "/dev/sdb1", "ext4"),
        ("ext3", "/dev/sdb1", "ext4"),
        ("ext2", "/dev/sdb1", "ext4"),
        ("f2fs", "/dev/sdb1", "F2FS"),
        ("zfs", "pool/data", "ZFS"),
        ("btrfs", "/dev/sdb1", "Btrfs"),
        ("overlay", "overlay", "overlay"),
        ("tmpfs", "tmpfs", "tmpfs"),
        ("fuse", "sshfs#me@host", "unknown"),
        ("fuse.sshfs", "me@host:", "unknown"),
    ],
)
def test_a_file_system_is_known_by_type_and_source(type: str, source: str, name: str) -> None:
    assert family_of(mount(type, source=source)).name == name


def test_no_type_belongs_to_two_families() -> None:
    types = [type for family in families() for type in family.types]
    assert len(types) == len(set(types))
    assert len({family.name for family in families()}) == len(families()) == 18


def test_each_file_in_the_folder_is_a_family() -> None:
    folder = Path(__file__).parent.parent.parent / "iotrace/mounts/families"
    assert len(list(folder.glob("[a-z]*.py"))) == len(families())


def test_options_that_change_a_result_are_explained_and_others_are_not() -> None:
    notes = notes_of(mount("nfs4", "rw,relatime,vers=4.2,rsize=1048576,noac,nconnect=8,hard,clientaddr=10.0.0.2"))
    assert [note.option for note in notes] == ["vers=4.2", "rsize=1048576", "noac", "nconnect=8"]
    assert all(note.meaning for note in notes)


@pytest.mark.parametrize(
    ("type", "options", "explained"),
    [
        # the kernel shows actimeo as these four
        (
            "nfs4", "rw,acregmin=1,acregmax=2,acdirmin=3,acdirmax=4,sec=krb5p",
            ["acregmin=1", "acregmax=2", "acdirmin=3", "acdirmax=4", "sec=krb5p"],
        ),
        ("nfs4", "rw,sec=krb5i", ["sec=krb5i"]), ("nfs4", "rw,sec=sys", []),
        ("cifs", "rw,seal,acregmax=60,acdirmax=60", ["seal", "acregmax=60", "acdirmax=60"]),
        ("lustre", "rw,checksum,flock", ["checksum", "flock"]), ("lustre", "rw,nochecksum", ["nochecksum"]),
    ],
)  # fmt: skip
def test_what_attributes_encryption_and_checksums_cost_is_explained(
    type: str, options: str, explained: list[str]
) -> None:
    assert [note.option for note in notes_of(mount(type, options))] == explained


def test_one_connection_of_nfs_is_advice() -> None:
    assert any("One connection" in line for line in advice_for(mount("nfs4", "rw,vers=4.2")))
    assert not any("One connection" in line for line in advice_for(mount("nfs4", "rw,vers=4.2,nconnect=8")))


@pytest.mark.parametrize("type", ["xfs", "ext4"])
def test_the_value_of_an_option_decides_where_it_must(type: str) -> None:
    assert notes_of(mount(type, "rw,dax=never")) == []
    assert "no page cache" in notes_of(mount(type, "rw,dax=always"))[0].meaning
    assert "marked" in notes_of(mount(type, "rw,dax=inode"))[0].meaning


@pytest.mark.parametrize("option", ["volatile", "fsync=volatile"])
def test_an_overlay_without_fsync_is_said_to_be_so_in_both_spellings_of_the_kernel(option: str) -> None:
    (note,) = notes_of(mount("overlay", f"rw,upperdir=/u,uuid=on,{option}"))
    assert note.option == option
    assert "fsync does nothing" in note.meaning


def test_a_mode_of_weka_that_is_not_named_is_advice() -> None:
    silent = advice_for(mount("wekafs", "rw,relatime"))
    named = advice_for(mount("wekafs", "rw,writecache"))
    assert any("no cache mode" in line for line in silent)
    assert not any("no cache mode" in line for line in named)


def test_an_unknown_file_system_is_said_to_be_unknown() -> None:
    one = mount("odd.fs")
    assert family_of(one) is UNKNOWN
    assert "does not know odd.fs" in advice_for(one)[0]


@given(st.text(), st.text(), st.text())
def test_whatever_a_mount_says_it_has_notes_of_its_own_options_only(type: str, source: str, options: str) -> None:
    one = mount(type, options, source)
    assert {note.option for note in notes_of(one)} <= set(options.split(","))
    assert all(advice_for(one))


def test_of_stacked_mounts_the_last_is_shown_as_mount_of_answers() -> None:
    stacked = [
        mount("ext4", point="/"),
        mount("xfs", point="/m"),
        mount("btrfs", point="/m"),
        mount("nfs", point="/m/n"),
    ]
    seen = visible(stacked)
    assert [one.type for one in seen] == ["ext4", "btrfs", "nfs"]
    assert all(mount_of(one.point, stacked) == one for one in seen)


def test_two_mounts_of_one_device_name_each_other() -> None:
    a, b, c = mount("xfs", point="/a"), mount("xfs", point="/b"), mount("xfs", point="/c", device=2)
    assert report_of(a, [a, b, c]).shares_with == ["/b"]


def test_space_is_what_statvfs_says_and_a_call_that_hangs_gives_none(tmp_path: Path) -> None:
    space = space_of(str(tmp_path))
    said = os.statvfs(tmp_path)
    assert space is not None
    assert space.total == said.f_blocks * said.f_frsize
    assert space.writable
    never = threading.Event()
    assert within(never.wait, 0.05) is None
    never.set()


def test_many_mounts_of_a_server_that_is_gone_are_waited_for_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [mount("nfs4", source="gone:/e", point=f"/home/u{number}", device=number) for number in range(12)]
    together = threading.Barrier(len(many), timeout=30)

    def hangs(point: str) -> Space | None:
        together.wait()
        return None

    monkeypatch.setattr(command, "mounts_of_this_machine", lambda: many)
    monkeypatch.setattr(command, "space_of", hangs)
    assert main(["mounts", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["mounts"]
    assert [(one["point"], one["space"]) for one in shown] == [(one.point, None) for one in many]


@pytest.fixture
def dead(tmp_path: Path) -> Iterator[Path]:
    """A FUSE mount whose process has ended."""
    point = tmp_path / "dead"
    point.mkdir()
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("only root may mount")
    channel = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={channel},rootmode=40000,user_id=0,group_id=0"
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.mount(b"gone", os.fsencode(point), b"fuse.gone", ctypes.c_ulong(0), options.encode())
    os.close(channel)
    if failed:
        pytest.skip(f"no FUSE here: {os.strerror(ctypes.get_errno())}")
    yield point
    subprocess.run(["umount", "-l", point], check=True)


def test_a_mount_whose_process_is_gone_is_said_not_to_work(dead: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mounts"]) == 0
    assert "does not work: Transport endpoint is not connected" in " ".join(capsys.readouterr().out.split())
    # by name too, and what lies on it
    for path in (dead, dead / "file"):
        assert main(["mounts", str(path), "--json"]) == 0
        (shown,) = json.loads(capsys.readouterr().out)["mounts"]
        assert (shown["point"], shown["type"]) == (str(dead), "fuse.gone")
        assert shown["space"]["error"] == "Transport endpoint is not connected"


def test_the_mount_of_a_path_is_printed_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/shm")
    assert main(["mounts", str(link), "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)["mounts"]
    expected = mount_of("/dev/shm", mounts_of_this_machine())
    assert expected is not None
    assert (shown["point"], shown["type"]) == (expected.point, expected.type)


def test_a_path_that_is_not_there_gives_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["mounts", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().err
    assert "No such file" in said
    assert "Traceback" not in said

"""mountinfo: what the kernel writes is read whole, and what nobody writes breaks nothing."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotrace.mounts.mountinfo import Mount, is_system_mount, mount_of, mounts_of_this_machine, parse_mountinfo, visible

SAMPLE = rb"""
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw,errors=remount-ro
30 22 0:5 / /dev rw,nosuid - devtmpfs udev rw,size=1k
31 30 0:25 / /dev/shm rw - tmpfs tmpfs rw,inode64
40 22 0:60 / /mnt/weka rw,relatime shared:9 master:1 - wekafs 10.108.97.126/default rw,writecache,container_name=client
41 22 0:60 / /mnt/weka rw,relatime - wekafs 10.108.97.126/default rw,writecache,dentry_max_age_positive=1000
42 22 0:61 / /mnt/with\040space\134and\011tab rw - fuse.ceph-fuse ceph-fuse rw
43 22 0:62 / /mnt/moose rw - fuse mfs\04310.77.0.1:9421 rw,user_id=0
44 22 259:1 /home/me/data /bind ro,noatime - ext4 /dev/root rw
45 40 0:63 / /mnt/weka/scratch rw - lustre fs-0a.fsx.amazonaws.com@tcp:/fsx rw,flock
46 22 0:64 / /mnt/bytes\377 rw - xfs /dev/sdb1 rw
this is no line
47 22 0:65 / relative rw - xfs /dev/sdb1 rw
48 22 0:x / /mnt/x rw - xfs /dev/sdb1 rw
"""


@pytest.fixture
def mounts() -> list[Mount]:
    return parse_mountinfo(SAMPLE)


def test_a_line_becomes_a_mount(mounts: list[Mount]) -> None:
    assert mounts[0] == Mount(os.makedev(259, 1), "/", "ext4", "/dev/root", "rw,relatime,errors=remount-ro", "/")
    assert len(mounts) == 9


def test_a_mount_that_repeats_itself_comes_once_as_the_later(mounts: list[Mount]) -> None:
    weka = [m for m in mounts if m.type == "wekafs"]
    assert len(weka) == 1
    assert "dentry_max_age_positive=1000" in weka[0].options


def test_escaped_names_are_read(mounts: list[Mount]) -> None:
    points = {m.type: (m.point, m.source) for m in mounts}
    assert points["fuse.ceph-fuse"] == ("/mnt/with space\\and\ttab", "ceph-fuse")
    assert points["fuse"] == ("/mnt/moose", "mfs#10.77.0.1:9421")
    assert os.fsencode(points["xfs"][0]) == b"/mnt/bytes\xff"


def test_a_bind_mount_names_its_folder(mounts: list[Mount]) -> None:
    bind = next(m for m in mounts if m.point == "/bind")
    assert (bind.root, bind.device) == ("/home/me/data", mounts[0].device)


@pytest.mark.parametrize(
    ("path", "point"),
    [
        ("/mnt/weka", "/mnt/weka"), ("/mnt/weka/a/b", "/mnt/weka"), ("/mnt/weka/scratch/x", "/mnt/weka/scratch"),
        ("/mnt/wekafoo", "/"), ("/mnt/weka/../x", "/"), ("/dev/shm/x", "/dev/shm"), ("/", "/"), ("/bind/x/", "/bind"),
    ],
)  # fmt: skip
def test_a_path_is_on_the_longest_point_above_it(mounts: list[Mount], path: str, point: str) -> None:
    found = mount_of(path, mounts)
    assert found is not None
    assert found.point == point


def test_the_later_of_two_mounts_on_one_point_wins() -> None:
    over = [Mount(1, "/a", "ext4", "x"), Mount(2, "/a", "nfs", "y")]
    assert mount_of("/a/f", over) == over[1]
    assert mount_of("/b", over) is None


HIDDEN = b"""\
1 1 8:1 / / rw - ext4 /dev/root rw
30 1 8:2 / /m/a rw - ext4 /dev/loop0 rw
31 1 0:50 / /m rw - tmpfs outer rw
32 31 0:51 / /m/b rw - tmpfs inner rw
33 32 0:52 / /m/b rw - nfs s:/e rw
34 33 0:53 / /m/b/c rw - xfs /dev/loop1 rw
"""


def test_a_mount_on_whose_folder_another_was_mounted_since_is_hidden() -> None:
    mounts = parse_mountinfo(HIDDEN)
    on = {path: mount_of(path, mounts) for path in ("/m/a", "/m/a/f", "/m/b/f", "/m/b/c/f", "/x")}
    assert {path: one and one.source for path, one in on.items()} == {
        "/m/a": "outer", "/m/a/f": "outer", "/m/b/f": "s:/e", "/m/b/c/f": "/dev/loop1", "/x": "/dev/root",
    }  # fmt: skip
    assert [one.source for one in visible(mounts)] == ["/dev/root", "outer", "s:/e", "/dev/loop1"]
    # in a chroot the mount of its root is not shown
    inside = [one for one in mounts if one.point != "/"]
    assert [one.source for one in visible(inside)] == ["outer", "s:/e", "/dev/loop1"]
    assert mount_of("/x", inside) is None


def test_what_lies_on_a_mount_that_repeats_itself_lies_on_the_later(mounts: list[Mount]) -> None:
    assert {"/mnt/weka", "/mnt/weka/scratch"} <= {one.point for one in visible(mounts)}


@pytest.mark.parametrize(
    ("point", "kind", "system"),
    [
        ("/", "ext4", True), ("/usr", "ext4", True), ("/proc", "proc", True), ("/sys/fs/cgroup", "cgroup2", True), ("/dev", "devtmpfs", True),  # noqa: E501
        ("/dev/pts", "devpts", True), ("/run/user/0", "tmpfs", True), ("/boot/efi", "vfat", True), ("/tmp", "tmpfs", True), ("/var", "xfs", True),  # noqa: E501
        ("/dev/shm", "tmpfs", False), ("/home", "ext4", False), ("/mnt/weka", "wekafs", False), ("/var/lib/data", "lustre", False),  # noqa: E501
        ("/data", "nfs4", False), ("/tmp/scratch", "tmpfs", False), ("/anything", "cgroup2", True),
    ],
)  # fmt: skip
def test_the_systems_own_mounts_are_told_from_storage(point: str, kind: str, system: bool) -> None:
    assert is_system_mount(Mount(1, point, kind, "s")) is system


def test_this_machines_mounts_hold_this_machines_files() -> None:
    mounts = mounts_of_this_machine()
    assert mounts
    for path in ("/", "/proc/self"):
        found = mount_of(path, mounts)
        assert found is not None
        assert found.device == os.stat(path).st_dev or found.type in ("overlay", "btrfs")


@given(st.binary(max_size=300))
def test_no_bytes_break_it(text: bytes) -> None:
    for mount in parse_mountinfo(text):
        assert mount.point.startswith("/")
    visible(parse_mountinfo(text))


_NUMBERED = st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from(["/", "/a", "/a/b", "/c"]))


@given(st.lists(_NUMBERED, unique_by=lambda one: one[0]))
def test_however_mounts_are_numbered_each_path_is_on_one_of_the_visible(numbers: list[tuple[int, int, str]]) -> None:
    mounts = [Mount(at, point, "ext4", "x", id=one, parent=parent) for at, (one, parent, point) in enumerate(numbers)]
    # no kernel shows a mount above the one that it lies on
    point_of = {one.id: one.point for one in mounts}
    mounts = [one for one in mounts if mount_of(one.point, [Mount(0, point_of.get(one.parent, "/"), "ext4", "x")])]
    seen = visible(mounts)
    for path in ("/", "/a", "/a/b", "/a/b/f", "/d"):
        found = mount_of(path, mounts)
        assert found is None or path.startswith(found.point)
        assert found is None or found in seen


@given(name=st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name))
def test_every_name_survives_the_kernels_escapes(name: bytes) -> None:
    escaped = b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in name)
    mounts = parse_mountinfo(b"1 0 8:1 / /" + escaped + b" rw - ext4 " + escaped + b" rw")
    assert [(os.fsencode(m.point), os.fsencode(m.source)) for m in mounts] == [(b"/" + name, name)]

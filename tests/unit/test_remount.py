"""--remount: what /etc/fstab names may be mounted anew, and any other mount is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotrace.errors import StorageError, UsageError
from iotrace.mounts.mountinfo import mount_of, mounts_of_this_machine
from iotrace.mounts.remount import mount_anew, points_of
from iotrace.replay.options import Options, check_options


def test_what_fstab_does_not_name_is_left_alone() -> None:
    mount = mount_of("/proc", mounts_of_this_machine())
    assert mount is not None
    with pytest.raises(StorageError, match="fstab does not name /proc"):
        mount_anew(mount)


def test_remount_goes_with_cold_only() -> None:
    with pytest.raises(UsageError, match="--remount"):
        check_options(Options(remount=True))
    check_options(Options(remount=True, cache="cold"))
    check_options(Options(remount=True, cache="cold", users=2, ranks=2))


def test_points_of_fstab_are_read_with_their_escapes() -> None:
    text = (
        "# /dev/sda /no ext4\nUUID=1 / ext4 errors=remount-ro 0 1\nsrv:/e /mnt/a\\040b nfs defaults\nx none swap sw\n"
    )
    assert points_of(text) == ["/", "/mnt/a b"]


@given(st.text())
def test_whatever_is_in_fstab_points_are_absolute(text: str) -> None:
    assert all(point.startswith("/") for point in points_of(text))

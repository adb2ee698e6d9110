"""What `lfs getstripe` prints is read: plain and composite layouts of files, and those of folders.

The texts have the form that public notes of administrators of Lustre show; no Lustre was at hand.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotrace.mounts.command import report_of
from iotrace.mounts.mountinfo import Mount
from iotrace.mounts.stripes import layouts_in, layouts_of

PLAIN = """/mnt/lustre/1.data
lmm_stripe_count:  1
lmm_stripe_size:   1048576
lmm_pattern:       raid0
lmm_layout_gen:    0
lmm_stripe_offset: 1
\tobdidx\t\t objid\t\t objid\t\t group
\t     1\t            34\t         0x22\t             0

"""
FOLDER = """/mnt/lustre
stripe_count:  1 stripe_size:   1048576 pattern:       0 stripe_offset: -1

"""
COMPOSITE = """/mnt/lustre/domfile
  lcm_layout_gen:    2
  lcm_mirror_count:  1
  lcm_entry_count:   2
    lcme_id:             1
    lcme_mirror_id:      0
    lcme_flags:          init
    lcme_extent.e_start: 0
    lcme_extent.e_end:   1048576
      lmm_stripe_count:  0
      lmm_stripe_size:   1048576
      lmm_pattern:       mdt
      lmm_layout_gen:    0
      lmm_stripe_offset: 0

    lcme_id:             2
    lcme_mirror_id:      0
    lcme_flags:          0
    lcme_extent.e_start: 1048576
    lcme_extent.e_end:   EOF
      lmm_stripe_count:  -1
      lmm_stripe_size:   4194304
      lmm_pattern:       raid0
      lmm_layout_gen:    0
      lmm_stripe_offset: -1

"""


def test_plain_and_composite_layouts_and_those_of_folders_are_read() -> None:
    plain, composite = (
        "1 stripe of 1.00 MiB (raid0)",
        "to 1.00 MiB: on the MDT, to the end: all stripes of 4.00 MiB (raid0)",
    )
    assert layouts_in(PLAIN) == layouts_in(FOLDER) == [plain]
    assert layouts_in(COMPOSITE) == [composite]
    assert layouts_in(PLAIN + COMPOSITE + FOLDER + PLAIN) == [plain, composite, plain, plain]


@given(st.text())
def test_text_of_another_form_is_no_layout_and_no_error(text: str) -> None:
    layouts_in(text)
    assert layouts_in("lfs getstripe: cannot open: Inappropriate ioctl for device") == []


def test_of_a_tree_the_largest_files_are_asked_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, programs = tmp_path / "tree", tmp_path / "bin"
    (tree / "deep").mkdir(parents=True)
    for number in range(25):
        (tree / "deep" / str(number)).write_bytes(bytes(number))
    assert layouts_of(tree) == []
    programs.mkdir()
    (programs / "text").write_text(PLAIN)
    (programs / "lfs").write_text(f"#!/bin/sh\nshift\nfor one; do cat {programs / 'text'}; done\n")
    (programs / "lfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert layouts_of(tree) == ["1 stripe of 1.00 MiB (raid0) × 20"]


def test_of_a_lustre_mount_it_is_said_how_new_files_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = Mount(1, str(tmp_path), "lustre", "10.0.0.1@tcp:/fsx", "rw,flock")
    assert report_of(mount, []).layout == ""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "text").write_text(FOLDER)
    asked = f'[ "$*" = "getstripe -d {tmp_path}" ]'
    (programs / "lfs").write_text(f"#!/bin/sh\n{asked} && cat {programs / 'text'}\n")
    (programs / "lfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert report_of(mount, []).layout == "1 stripe of 1.00 MiB (raid0)"
    assert report_of(Mount(1, str(tmp_path), "xfs", "/dev/sdb1"), []).layout == ""

"""Calls that ask for a file's status by name, in the short records that most of them fit into and in the long ones."""

import os
from pathlib import Path

import pytest
from test_recording import recorded

pytestmark = pytest.mark.bpf

STATS = ["stat", "lstat", "newfstatat", "statx"]


def test_names_of_any_length_come_back_whole(tmp_path: Path) -> None:
    # 32 letters and the NUL make a record as long as a plain one would be; 4,000 fill several pages
    trace = recorded(
        """
        import os
        for n in (1, 7, 8, 31, 32, 39, 40, 41, 255):
            open("n" * n, "w").close()
            os.stat("n" * n)
        for n in range(1, 16): os.mkdir("/".join(["d" * 200] * n))
        os.stat("/".join(["d" * 200] * 15))
        """,
        tmp_path,
    )
    events = trace.events()
    by_name = events.op.isin(STATS) & (events.result == 0) & (events["flags"] != 0x1000)  # AT_EMPTY_PATH
    found = events[by_name & events.path_text.str.startswith(str(tmp_path)).fillna(False)]
    lengths = [len(os.path.relpath(text, tmp_path)) for text in found.path_text]
    assert lengths == [1, 7, 8, 31, 32, 39, 40, 41, 255, 15 * 201 - 1]


def test_what_was_found_is_the_files_own_status(tmp_path: Path) -> None:
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 5 << 32)
    os.link(tmp_path / "large", tmp_path / "same")
    os.symlink("large", tmp_path / "link")
    trace = recorded(
        """
        import os
        os.stat("large"); os.stat("same"); os.lstat("link")
        for name in ("none", "large/below", "link"):
            try: os.stat(name)
            except OSError: pass
        """,
        tmp_path,
    )
    events = trace.events()
    mine = events[events.op.isin(STATS) & events.path_text.str.startswith(str(tmp_path)).fillna(False)].tail(6)
    assert [os.path.basename(text) for text in mine.path_text] == ["large", "same", "link", "none", "below", "link"]
    assert mine.result.tolist() == [0, 0, 0, -2, -20, 0]
    files = mine.file.tolist()
    assert files[0] == files[1] == files[5]
    assert files[0] != files[2]
    assert mine.file.isna().tolist() == [False, False, False, True, True, False]
    assert mine["flags"].tolist()[2] == 0x100  # AT_SYMLINK_NOFOLLOW
    sizes = trace.files().set_index("file")["size"]
    assert sizes[files[0]] == 5 << 32


def test_a_folder_that_moves_between_two_stats_gives_two_paths(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "in" / "f").touch()
    trace = recorded(
        """
        import os
        one, two = os.open("a/in", os.O_RDONLY), os.open("b/in", os.O_RDONLY)
        os.stat("f", dir_fd=one); os.stat("f", dir_fd=two); os.stat("f", dir_fd=one)
        os.rename("a", "c")
        os.stat("f", dir_fd=one); os.stat("f", dir_fd=two)
        """,
        tmp_path,
    )
    events = trace.events()
    mine = events[events.op.isin(STATS) & events.path_text.str.endswith("/in/f").fillna(False)]
    assert [os.path.relpath(text, tmp_path) for text in mine.path_text] == [
        "a/in/f", "b/in/f", "a/in/f", "c/in/f", "b/in/f",
    ]  # fmt: skip


def test_a_stat_leaves_nothing_to_the_calls_behind_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1000)
    trace = recorded(
        """
        import os
        fd = os.open("f", os.O_RDWR)
        for _ in range(3):
            os.lstat("f"); os.lseek(fd, 100, os.SEEK_SET); os.read(fd, 50)
            os.stat("f"); os.pwrite(fd, b"y", 5)
            try: os.lstat("none")
            except OSError: pass
            os.lseek(fd, 0, os.SEEK_SET); os.fsync(fd)
        """,
        tmp_path,
    )
    events = trace.events()
    mine = events[events.path_text == str(tmp_path / "f")]
    mine = mine[mine.op.isin(["lseek", "read", "pwrite64", "fsync"])]
    rows = mine[["op", "offset", "size", "flags", "mode", "address", "result"]].astype(object)
    found = [tuple(row) for row in rows.where(rows.notna(), None).to_numpy()]
    once = [
        ("lseek", 100, None, 0, None, None, 100), ("read", 100, 50, None, None, None, 50),
        ("pwrite64", 5, 1, None, None, None, 1), ("lseek", 0, None, 0, None, None, 0),
        ("fsync", None, None, None, None, None, 0),
    ]  # fmt: skip
    assert found == once * 3

"""Logs of strace become traces: each of strace's forms, and anything else that stands in a log."""

import errno
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.errors import TraceError
from iotrace.trace.assemble import Assembler, Call
from iotrace.trace.formats.strace import values as values
from iotrace.trace.formats.strace.calls import CALLS, fill, is_operation
from iotrace.trace.formats.strace.importing import import_strace, split_lines
from iotrace.trace.formats.strace.lines import StraceLog
from iotrace.trace.info import TraceInfo
from iotrace.trace.operations import OWN_POSITION
from iotrace.trace.reader import Trace, open_trace
from iotrace.trace.writer import TraceWriter


def imported(folder: Path, *lines: str, cwd: str | None = "/w") -> tuple[pd.DataFrame, Trace]:
    """Events and trace of a log with these lines."""
    log = folder / "log"
    log.write_bytes("\n".join(lines).encode("latin-1") + b"\n")
    import_strace([log], folder / "t.iotrace", force=True, cwd=cwd)
    trace = open_trace(folder / "t.iotrace")
    return trace.events(), trace


def test_a_line_with_pid_time_names_and_duration_becomes_a_row(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        '12  1795400203.100000001 openat(AT_FDCWD</w>, "a.mrc", O_RDWR|O_CREAT|O_CLOEXEC, 0640) = 3</w/a.mrc> <0.000001500>',  # noqa: E501
        '12  1795400203.200000001 write(3</w/a.mrc>, "abc"..., 100) = 100 <0.000000500>',
        "12  1795400203.300000001 +++ exited with 3 +++",
    )
    opened, written, ended = (events.iloc[i] for i in range(3))
    assert list(events.op) == ["openat", "write", "exit"]
    assert (opened.time_ns, opened.duration_ns, opened["mode"], opened.result) == (0, 1500, 0o640, 0)
    assert opened["flags"] == os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    assert (written.time_ns, written.duration_ns, written.offset, written["size"], written.result) == (
        10**8,
        500,
        0,
        100,
        100,
    )
    assert (opened.open, opened.file, opened.path) == (written.open, written.file, written.path) == (0, 0, 0)
    assert opened.path_text == "/w/a.mrc"
    assert ended.result == 3
    assert trace.processes().exit[0] == 3
    assert trace.info.started_utc == "2026-11-23T02:16:43Z"
    assert trace.info.complete


@pytest.mark.parametrize(
    ("lines", "times"),
    [
        (['9 10:00:00.5 mkdir("a", 0777) = 0', '9 10:00:01.75 mkdir("b", 0777) = 0'], [0, 1_250_000_000]),
        (['9 23:59:59 mkdir("a", 0777) = 0', '9 00:00:02 mkdir("b", 0777) = 0'], [0, 3_000_000_000]),
        (['     0.000000 mkdir("a", 0777) = 0', '     0.250000 mkdir("b", 0777) = 0'], [0, 250_000_000]),
        (['mkdir("a", 0777) = 0', 'mkdir("b", 0777) = 0'], [1000, 2000]),
        (['9  mkdir("a", 0777)               = 0', '9  mkdir("b", 0777)      = 0'], [1000, 2000]),
        (['[pid     9] 1795400203.5 mkdir("a", 0777) = 0', '[pid 9] 1795400204.5 mkdir("b", 0777) = 0'], [0, 10**9]),
        (['1795400203 mkdir("a", 0777) = 0', '1795400205 mkdir("b", 0777) = 0'], [0, 2 * 10**9]),
    ],
)  # fmt: skip
def test_each_form_of_time_and_pid_is_understood(tmp_path: Path, lines: list[str], times: list[int]) -> None:
    events, trace = imported(tmp_path, *lines)
    assert list(events.op) == ["mkdir", "mkdir"]
    assert list(events.time_ns) == times
    assert list(events["mode"]) == [0o777, 0o777]
    assert events.process.tolist() == [0, 0]
    assert any("times" in sentence for sentence in trace.info.unseen) == (times == [1000, 2000])


def test_a_call_that_others_interrupt_is_put_together(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        '1 1.000000 openat(AT_FDCWD</w>, "a",  <unfinished ...>',
        '2 1.100000 mkdir("b", 0777) = 0 <0.000010>',
        "1 1.200000 <... openat resumed>O_RDONLY) = 3</w/a> <0.200001>",
        "1 1.300000 read(3</w/a>,  <unfinished ...>",
        '1 1.400000 <... read resumed>"x) = 7", 10) = 6 <0.100000>',
    )
    assert list(events.op) == ["mkdir", "openat", "read"]
    assert list(events.duration_ns) == [10_000, 200_001_000, 100_000_000]
    assert events["flags"].iloc[1] == os.O_RDONLY
    assert (events["size"].iloc[2], events.result.iloc[2]) == (10, 6)


def test_a_call_still_running_at_the_end_has_neither_result_nor_duration(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        '1 100.5 openat(AT_FDCWD</w>, "a", O_RDONLY) = 3</w/a> <0.000001>',
        '1 100.5 openat(AT_FDCWD</w>, "b", O_RDONLY) = 4</w/b> <0.000001>',
        "2 100.6 read(3</w/a>,  <unfinished ...>",
        "1 100.6 flock(4</w/b>, LOCK_EX <unfinished ...>",
        "2 100.7 <... read resumed> <unfinished ...>) = ?",
        "2 100.8 +++ killed by SIGKILL +++",
    )
    running = events[events.op.isin(["read", "flock"])]
    assert len(running) == 2
    assert running.result.isna().all()
    assert running.duration_ns.isna().all()
    assert running.file.notna().all()
    assert events[events.op == "exit"].result.tolist() == [-9]


def test_strange_bytes_in_names_arrive_whole(tmp_path: Path) -> None:
    _, trace = imported(
        tmp_path,
        r'openat(AT_FDCWD</w>, "a \74x\76\"\n \303\251, b) = 3\377", O_RDONLY) = 3</w/a \74x\76\"\n \303\251, b) = 3\377> <0.000002>',  # noqa: E501
        r'readlink("\x61\x0a\\", "\1772\"...", 4096) = 6',
    )
    paths = trace.paths()
    assert paths.raw.iloc[0] == b'a <x>"\n \xc3\xa9, b) = 3\xff'
    assert paths.text.iloc[0] == '/w/a <x>"\\x0a é, b) = 3\\xff'
    assert b"a\n\\" in paths.raw.tolist()
    assert b'\x7f2"...' in paths.raw.tolist()


def test_a_signal_ends_a_call_as_the_program_sees_it(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD</w>, "a", O_RDONLY) = 3</w/a>',
        "1 11.0 flock(3</w/a>, LOCK_EX) = ? ERESTARTSYS (To be restarted if SA_RESTART is set) <0.5>",
        "1 11.5 --- SIGALRM {si_signo=SIGALRM, si_code=SI_KERNEL} ---",
        "1 11.6 flock(3</w/a>, LOCK_EX) = 0 <0.1>",
    )
    assert events.result.tolist() == [0, -4, 0]
    assert not trace.info.lost


def test_what_is_not_understood_is_counted_and_shown_and_nothing_else_suffers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(
        b'1 10.0 mkdir("a", 0777) = 0 <0.1>\nhello from the program\n1 10.1 write(1, "x"x\n) = 2\n'
        b'1 10.2 mkdir("b", 0777) = 0 <0.1>\nstrace: Process 5 attached\n1 10.3 openat(AT_FDC'
    )
    info = import_strace([log], tmp_path / "t.iotrace", cwd="/w")
    assert open_trace(tmp_path / "t.iotrace").events().op.tolist() == ["mkdir", "mkdir"]
    assert info.lost == {"write": 1, "metadata": 1}
    assert not info.complete
    sentence = next(s for s in info.unseen if "not understood" in s)
    assert "4 of 7 lines" in sentence
    assert "line 2: hello from the program" in sentence


def test_control_characters_of_a_foreign_line_do_not_reach_the_terminal(tmp_path: Path) -> None:
    _, trace = imported(tmp_path, '1 10.0 mkdir("a", 0777) = 0', "\x1b]0;owned\x07 [bold]")
    assert "\x1b" not in "".join(trace.info.unseen)


def test_positions_follow_reads_seeks_dups_and_forks(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD, "a", O_RDWR) = 3',
        '1 10.1 read(3, "x"..., 100) = 60',
        '1 10.2 lseek(3, -10, SEEK_CUR) = 50',
        "1 10.3 dup(3) = 4",
        '1 10.4 read(4, "x"..., 5) = 5',
        "1 10.5 fork() = 2",
        '2 10.6 write(3, "x"..., 7) = 7',
        '1 10.7 pread64(3, "x"..., 8, 1000) = 8',
        '1 10.8 readv(4, [{iov_base="iov_len=99", iov_len=3}, {iov_base=0x1, iov_len=4}], 2) = 7',
        '1 10.9 pwritev2(4, [{iov_base="a", iov_len=1}], 1, -1, RWF_DSYNC) = 1',
    )  # fmt: skip
    at = events[events.op.isin(["read", "write", "pread64", "readv", "pwritev2", "lseek"])]
    assert at.op.tolist() == ["read", "lseek", "read", "write", "pread64", "readv", "pwritev2"]
    assert at.offset.tolist() == [0, -10, 50, 55, 1000, 62, 69]
    assert at.open.nunique() == 1
    seek = at[at.op == "lseek"].iloc[0]
    assert (seek["flags"], seek.result) == (os.SEEK_CUR, 50)
    # which it asked for by -1: RWF_DSYNC, and a bit that says so
    assert at[at.op == "pwritev2"].iloc[0]["flags"] == 2 | OWN_POSITION
    vector = at[at.op == "readv"].iloc[0]
    assert (vector["size"], vector["count"]) == (7, 2)
    fork = events[events.op == "fork"].iloc[0]
    assert (fork.child, fork.result) == (1, 2)


def test_a_write_with_rwf_append_goes_to_the_end_and_moves_the_position_only_where_it_asks_for_it(
    tmp_path: Path,
) -> None:
    events, _ = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD, "a", O_RDWR|O_CREAT|O_EXCL, 0666) = 3',
        '1 10.1 write(3, "x"..., 100) = 100',
        "1 10.2 lseek(3, 10, SEEK_SET) = 10",
        '1 10.3 pwritev2(3, [{iov_base="a", iov_len=5}], 1, 0, RWF_APPEND) = 5',
        '1 10.4 read(3, "x"..., 20) = 20',
        '1 10.5 pwritev2(3, [{iov_base="a", iov_len=7}], 1, -1, RWF_APPEND) = 7',
        '1 10.6 read(3, "", 20) = 0',
    )  # fmt: skip
    at = events[events.op.isin(["read", "pwritev2"])]
    assert at.offset.tolist() == [0, 10, 105, 112]


def test_appends_go_to_the_end_where_the_size_is_known(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD, "a", O_WRONLY|O_CREAT|O_APPEND, 0666) = 3',
        '1 10.1 write(3, "x", 7) = 7',
        "1 10.2 fstat(3, {st_mode=S_IFREG|0644, st_size=1007, ...}) = 0",
        '1 10.3 write(3, "x", 10) = 10',
        '1 10.4 openat(AT_FDCWD, "a", O_WRONLY|O_APPEND) = 4',
        '1 10.5 write(4, "x", 1) = 1',
    )
    assert events[events.op == "write"].offset.tolist() == [pd.NA, 1007, 1017]
    assert events.file.nunique() == 1
    assert pd.isna(trace.files()["size"].iloc[0])


def test_a_positioned_write_to_what_was_opened_to_append_moves_the_end_by_its_length(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD, "a", O_WRONLY|O_CREAT|O_APPEND, 0666) = 3',
        "1 10.1 fstat(3, {st_mode=S_IFREG|0644, st_size=100, ...}) = 0",
        '1 10.2 pwrite64(3, "x", 10, 5000) = 10',
        '1 10.3 write(3, "x", 1) = 1',
        '1 10.4 pwrite64(3, "x", 10, 0) = 10',
        '1 10.5 write(3, "x", 1) = 1',
        '1 10.6 openat(AT_FDCWD, "a", O_RDWR) = 4',
        '1 10.7 pwritev2(4, [{iov_base="a", iov_len=5}], 1, 0, RWF_APPEND) = 5',
        '1 10.8 pwritev2(4, [{iov_base="a", iov_len=2}], 1, -1, RWF_APPEND) = 2',
        '1 10.9 pwritev2(3, [{iov_base="a", iov_len=2}], 1, 3, 0x20) = 2',
        '1 11.0 write(3, "x", 1) = 1',
        '1 11.1 read(4, "x", 9) = 0',
    )  # fmt: skip
    moved = events[events.op.isin(["write", "pwrite64", "pwritev2", "read"])]
    # the row of a positioned write has what the program asked for
    assert moved.offset.tolist() == [5000, 110, 0, 121, 0, 127, 3, 129, 129]


def test_flags_of_the_second_positioned_calls_are_the_fifth_argument_that_strace_prints(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD, "a", O_RDWR) = 3',
        '1 10.1 preadv2(3, [{iov_base="a", iov_len=1}], 1, 5, RWF_NOWAIT) = 1',
        '1 10.2 pwritev2(3, [{iov_base="a", iov_len=1}], 1, -1, RWF_DSYNC|RWF_SYNC) = 1',
        '1 10.3 preadv2(3, [{iov_base="a", iov_len=1}], 1, 5, 0) = 1',
    )  # fmt: skip
    assert events[events.op.isin(["preadv2", "pwritev2"])]["flags"].tolist() == [8, 6 | OWN_POSITION, 0]


def test_every_name_of_an_error_is_known(tmp_path: Path) -> None:
    errors = {name: value for name, value in vars(errno).items() if name.startswith("E")}
    errors |= {"ENOTSUPP": 524, "EJUKEBOX": 528, "ERRNO_600": 600}
    lines = [f'1 {10 + at}.0 mkdir("a", 0777) = -1 {name} (Some words)' for at, name in enumerate(errors)]
    events, trace = imported(tmp_path, *lines)
    assert trace.info.complete
    assert events.result.tolist() == [-value for value in errors.values()]


def test_both_ends_of_a_copy_are_named(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD, "a", O_RDONLY) = 3</w/a>',
        '1 10.0 openat(AT_FDCWD, "b", O_WRONLY|O_CREAT, 0666) = 4</w/b>',
        "1 10.1 sendfile(4</w/b>, 3</w/a>, NULL, 100) = 80",
        "1 10.2 sendfile(4</w/b>, 3</w/a>, [500] => [510], 10) = 10",
        "1 10.3 copy_file_range(3</w/a>, NULL, 4</w/b>, [7], 20, 0) = 20",
        "1 10.4 splice(3</w/a>, NULL, 9<pipe:[77]>, NULL, 30, 0) = 30",
        "1 10.5 splice(8<pipe:[78]>, NULL, 4</w/b>, NULL, 30, 0) = 30",
    )
    copies = events[events.op.isin(["sendfile", "copy_file_range", "splice"])]
    assert copies.offset.tolist() == [0, 500, 80, 100, pd.NA]
    assert copies.other_offset.tolist() == [0, 80, 7, pd.NA, 90]
    assert copies.file.tolist() == [0, 0, 0, 0, pd.NA]
    assert copies.other_file.tolist() == [1, 1, 1, pd.NA, 1]
    assert copies["size"].tolist() == [100, 10, 20, 30, 30]


def test_a_name_that_has_its_folder_for_its_root_lies_beneath_it(tmp_path: Path) -> None:
    how = "{flags=O_RDONLY, resolve=RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT}"
    events, _ = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD, "jail", O_RDONLY|O_DIRECTORY) = 3</w/jail>',
        f'1 10.1 openat2(3</w/jail>, "/etc/a", {how}, 24) = 4</w/jail/etc/a>',
        f'1 10.2 openat2(3</w/jail>, "/", {how}, 24) = 5</w/jail>',
        f'1 10.3 openat2(AT_FDCWD, "/b", {how}, 24) = -1 ENOENT (No such file or directory)',
        '1 10.4 openat2(3</w/jail>, "/c", {flags=O_RDONLY, resolve=RESOLVE_CACHED}, 24) = 6</c>',
    )
    assert events.path_text.tolist()[1:] == ["/w/jail/etc/a", "/w/jail", "/w/b", "/c"]


@pytest.mark.parametrize(
    ("names", "ficlone", "ficlonerange"),
    [
        (True, "BTRFS_IOC_CLONE or FICLONE", "BTRFS_IOC_CLONE_RANGE or FICLONERANGE"),
        (False, "FICLONE", "FICLONERANGE"),
        (True, "0x40049409", "0x4020940d"),
    ],
)
def test_clones_are_copies_that_move_nothing_and_no_position(
    tmp_path: Path, names: bool, ficlone: str, ficlonerange: str
) -> None:
    a, b = ("</w/a>", "</w/b>") if names else ("", "")
    raw = ficlone.startswith("0x")
    whole = "0x3" if raw else f"3{a}"
    events, trace = imported(
        tmp_path,
        f'1 10.0 openat(AT_FDCWD, "a", O_RDONLY) = 3{a}',
        f"1 10.0 fstat(3{a}, {{st_mode=S_IFREG|0644, st_size=100000, ...}}) = 0",
        f'1 10.0 openat(AT_FDCWD, "b", O_RDWR|O_CREAT|O_TRUNC, 0666) = 4{b}',
        f"1 10.1 ioctl(4{b}, {ficlone}, {whole}) = 0",
        f'1 10.1 write(4{b}, "x", 1) = 1',
        f"1 10.2 ioctl(4{b}, {ficlonerange}, {{src_fd=3{a}, src_offset=4096, src_length=8192, dest_offset=0}}) = 0",
        f"1 10.2 ioctl(4{b}, {ficlonerange}, {{src_fd=3{a}, src_offset=4096, src_length=0, dest_offset=200000}}) = 0",
        f"1 10.3 ioctl(4{b}, {ficlone}, {whole}) = -1 EOPNOTSUPP (Operation not supported)",
        f"1 10.3 lseek(4{b}, 0, SEEK_END) = 295904",
        "1 10.4 ioctl(1, TCGETS, {c_iflag=ICRNL}) = 0",
        f"1 10.4 ioctl(4{b}, {ficlone}, {whole} <unfinished ...>",
        "1 10.5 <... ioctl resumed>) = 0",
    )
    clones = events[events.op.isin(["ioctl.ficlone", "ioctl.ficlonerange"])]
    assert clones.op.tolist() == ["ioctl.ficlone", *["ioctl.ficlonerange"] * 2, *["ioctl.ficlone"] * 2]
    assert clones.offset.tolist() == [0, 4096, 4096, 0, 0]
    assert clones.other_offset.tolist() == [0, 0, 200_000, 0, 0]
    assert clones["size"].tolist() == [100_000, 8192, 95_904, 100_000, 100_000]
    assert clones.result.tolist() == [0, 0, 0, -errno.EOPNOTSUPP, 0]
    assert (clones.file.nunique(), clones.other_file.nunique()) == (1, 1)
    assert clones.path_text.unique().tolist() == ["/w/a"]
    assert events[events.op == "write"].offset.tolist() == [0]
    assert len(events) == 10
    assert trace.info.complete
    assert not trace.info.lost


def test_pipes_sockets_devices_and_pseudo_files_are_left_out(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD</w>, "/dev/null", O_RDWR) = 3</dev/null<char 1:3>>',
        '1 10.0 openat(AT_FDCWD</w>, "/proc/self/maps", O_RDONLY) = 4</proc/1/maps>',
        '1 10.1 read(4</proc/1/maps>, "x", 1) = 1',
        '1 10.1 read(5<pipe:[1]>, "x", 1) = 1',
        '1 10.1 write(6<TCP:[127.0.0.1:80->127.0.0.1:90]>, "x", 1) = 1',
        '1 10.1 read(7<anon_inode:[eventfd]>, "x", 8) = 8',
        '1 10.1 read(99, 0x7f, 5) = -1 EBADF (Bad file descriptor)',
        '1 10.1 stat("/sys/kernel", {st_mode=S_IFDIR|0755, st_size=0, ...}) = 0',
        '1 10.1 newfstatat(AT_FDCWD</w>, "fifo", {st_mode=S_IFIFO|0644, st_size=0, ...}, 0) = 0',
        '1 10.1 openat(AT_FDCWD</w>, "/dev/shm/a", O_RDONLY) = 3</dev/shm/a>',
        '1 10.1 openat(AT_FDCWD</w>, "/proc/self/fd/3", O_RDONLY) = 4</dev/shm/a>',
    )  # fmt: skip
    assert events.path_text.tolist() == ["/dev/shm/a", "/proc/self/fd/3"]
    assert events.file.tolist() == [0, 0]
    assert not trace.info.lost


def test_descriptors_without_names_are_followed_and_the_unknown_are_counted(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD, "a", O_RDONLY) = 3',
        '1 10.1 read(0, "x", 1) = 1',
        "1 10.2 dup2(3, 5) = 5",
        "1 10.2 close(3) = 0",
        '1 10.3 read(5, "x", 4) = 4',
        '1 10.3 read(3, "x", 4) = 4',
    )
    assert events.op.tolist() == ["openat", "dup2", "close", "read"]
    assert any("2 calls on descriptors" in sentence for sentence in trace.info.unseen)


def test_dup2_and_close_range_close_and_exec_closes_what_is_marked(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        '1 10.0 openat(AT_FDCWD, "a", O_RDONLY|O_CLOEXEC) = 3',
        '1 10.0 openat(AT_FDCWD, "b", O_RDONLY) = 4',
        '1 10.0 openat(AT_FDCWD, "c", O_RDONLY) = 5',
        '1 10.0 openat(AT_FDCWD, "d", O_RDONLY) = 6',
        '1 10.0 openat(AT_FDCWD, "e", O_RDONLY) = 7',
        "1 10.1 dup3(3, 4, O_CLOEXEC) = 4",
        "1 10.1 ioctl(5, FIOCLEX) = 0",
        "1 10.1 close_range(6, 6, 0) = 0",
        "1 10.1 fcntl(7, F_SETFD, FD_CLOEXEC) = 0",
        "1 10.1 fcntl(7, F_DUPFD, 20) = 20",
        '1 10.2 execve("/bin/x", ["x"], 0x7ffe /* 20 vars */) = 0',
        *(f'1 10.3 read({fd}, "", 9) = 0' for fd in (3, 4, 5, 6, 7, 20)),
    )
    dup = events[events.op == "dup3"].iloc[0]
    assert (dup.open, dup.other_open, dup.result) == (0, 1, 0)
    reads = events[events.op == "read"]
    assert reads.path_text.tolist() == ["/w/e"]


def test_a_childs_calls_may_come_before_its_parents_fork_returns(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        '10 1.0 openat(AT_FDCWD, "a", O_RDONLY) = 3',
        "10 1.1 vfork( <unfinished ...>",
        "11 1.2 close(3) = 0",
        '11 1.3 execve("/bin/true", ["true", "--password=x"], ["A=b"]) = 0',
        "10 1.4 <... vfork resumed>) = 11",
        '10 1.5 read(3, "", 10) = 0',
        "11 1.6 +++ exited with 7 +++",
        "10 1.7 wait4(11, [{WIFEXITED(s) && WEXITSTATUS(s) == 7}], 0, NULL) = 11",
    )
    assert events.op.tolist() == ["openat", "close", "exec", "fork", "read", "exit", "wait"]
    assert events.thread.tolist() == [0, 1, 1, 0, 0, 1, 0]
    processes = trace.processes()
    assert processes.parent.tolist() == [pd.NA, 0]
    assert processes.arguments.iloc[1].tolist() == ["true", "--password=***"]
    assert processes.exit.tolist() == [pd.NA, 7]
    wait = events.iloc[-1]
    assert (wait.child, wait.result) == (1, 11)


def test_children_of_several_forks_at_once_are_told_apart(tmp_path: Path) -> None:
    thread = "clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD, exit_signal=0, stack=0x1} => {parent_tid=[2]}, 88) = 2"  # noqa: E501
    events, trace = imported(
        tmp_path,
        f"1 1.0 {thread}",
        "1 1.1 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD <unfinished ...>",
        "2 1.1 vfork( <unfinished ...>",
        '4 1.2 mkdir("of2", 0777) = 0',
        '3 1.2 mkdir("of1", 0777) = 0',
        "4 1.3 +++ exited with 0 +++",
        "1 1.4 <... clone resumed>, child_tidptr=0x1) = 3",
        "2 1.5 <... vfork resumed>) = 4",
        '3 1.6 mkdir("again", 0777) = 0',
    )
    made = events[events.op == "mkdir"].set_index("path_text")
    pids = trace.processes().set_index("process").pid
    assert pids[made.process["/w/of2"]] == 4
    assert pids[made.process["/w/of1"]] == pids[made.process["/w/again"]] == 3
    forks = events[events.op == "fork"]
    assert forks.thread.tolist() == [0, 0, 1]
    assert trace.processes().parent.tolist() == [pd.NA, 0, 0]


def test_an_exec_in_a_second_thread_takes_over_the_process(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        "1 1.0 clone(child_stack=0x1, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD) = 2",
        '2 1.1 execve("/bin/x", ["x"], 0x7 /* 3 vars */ <unfinished ...>',
        "1 1.2 +++ superseded by execve in pid 2 +++",
        "1 1.3 <... execve resumed>) = 0",
        '1 1.4 mkdir("a", 0777) = 0',
        "1 1.5 +++ exited with 4 +++",
    )
    assert events.op.tolist() == ["fork", "exit", "exec", "mkdir", "exit"]
    assert events.thread.tolist() == [0, 0, 1, 1, 1]
    processes = trace.processes()
    assert (len(processes), processes.command[0], processes.exit[0]) == (1, "x", 4)


def test_threads_share_descriptors_and_folders_and_processes_do_not(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        "1 1.0 clone(child_stack=0x1, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD) = 2",
        "1 1.0 fork() = 3",
        '2 1.1 chdir("sub") = 0',
        '1 1.2 openat(AT_FDCWD, "a", O_RDONLY) = 3',
        '2 1.3 read(3, "x", 1) = 1',
        '3 1.4 read(3, "x", 1) = 1',
        '3 1.5 mkdir("../b/./c//", 0777) = 0',
    )
    assert events.path_text.iloc[2:].tolist() == ["/w/sub", "/w/sub/a", "/w/sub/a", "/b/c"]
    assert events.op.iloc[2:].tolist() == ["chdir", "openat", "read", "mkdir"]


def test_a_file_keeps_its_number_when_renamed_and_a_name_made_anew_is_another(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        '1 1.0 openat(AT_FDCWD, "a.tmp", O_WRONLY|O_CREAT|O_EXCL, 0666) = 3',
        '1 1.1 rename("a.tmp", "a") = 0',
        '1 1.2 openat(AT_FDCWD, "a", O_RDONLY) = 4',
        '1 1.3 unlink("a") = 0',
        '1 1.4 write(3, "x", 5) = 5',
        '1 1.5 openat(AT_FDCWD, "a", O_WRONLY|O_CREAT, 0666) = 5',
        '1 1.6 mkdir("d", 0777) = 0',
        '1 1.6 openat(AT_FDCWD, "d/f", O_WRONLY|O_CREAT, 0666) = 6',
        '1 1.6 rename("d", "e") = 0',
        '1 1.6 openat(AT_FDCWD, "e/f", O_RDONLY) = 7',
        '1 1.6 link("e/f", "g") = 0',
        '1 1.6 unlink("e/f") = 0',
        '1 1.6 openat(AT_FDCWD, "g", O_RDONLY) = 8',
    )
    number = events.file.tolist()
    assert number[0] == number[1] == number[2] == number[3] == number[4]
    assert number[5] != number[0]
    assert number[7] == number[9] == number[10] == number[11] == number[12]
    rename = events[events.op == "rename"].iloc[0]
    paths = trace.paths().set_index("path").text
    assert (paths[rename.path], paths[rename.other_path]) == ("/w/a.tmp", "/w/a")
    files = trace.files().set_index("path_text")
    assert not files.existed.any()
    assert files["size"].tolist() == [0] * len(files)


def test_what_was_there_before_is_told_from_what_the_program_made(tmp_path: Path) -> None:
    _, trace = imported(
        tmp_path,
        '1 1.0 stat("old", {st_dev=makedev(0xfe, 0x3), st_ino=77, st_mode=S_IFREG|0644, st_nlink=1, st_uid=0, st_gid=0, '  # noqa: E501
        "st_blksize=4096, st_blocks=16, st_size=5000, st_atime=1}) = 0",
        '1 1.1 openat(AT_FDCWD, "old", O_RDWR|O_TRUNC) = 3',
        '1 1.2 stat("new", 0x7ffe) = -1 ENOENT (No such file or directory)',
        '1 1.3 openat(AT_FDCWD, "new", O_RDWR|O_CREAT, 0666) = 4',
        '1 1.4 openat(AT_FDCWD, "cut", O_RDWR|O_TRUNC) = 5',
        '1 1.4 fstat(5, {st_mode=S_IFREG|0644, st_size=0, ...}) = 0',
        '1 1.5 openat(AT_FDCWD, "maybe", O_RDWR|O_CREAT, 0666) = 6',
        '1 1.6 openat(AT_FDCWD, "folder", O_RDONLY|O_DIRECTORY) = 7',
        "1 1.7 getdents64(7, 0x55 /* 5 entries */, 32768) = 128",
        "1 1.7 getdents64(7, 0x55 /* 0 entries */, 32768) = 0",
        '1 1.8 readlink("sym", "tar/get", 4095) = 7',
    )  # fmt: skip
    files = trace.files().set_index("path_text")
    old = files.loc["/w/old"]
    assert (old["size"], old.blocks, old.inode, old.device, old["mode"]) == (
        5000,
        16,
        77,
        os.makedev(0xFE, 3),
        0o100644,
    )
    assert {name: None if pd.isna(known) else bool(known) for name, known in files.existed.items()} == {
        "/w/old": True, "/w/new": False, "/w/cut": True, "/w/maybe": None, "/w/folder": True, "/w/sym": True,
    }  # fmt: skip
    assert pd.isna(files["size"]["/w/cut"])
    assert files["size"]["/w/new"] == 0
    assert files.entries["/w/folder"] == 3
    assert (files.type["/w/folder"], files.type["/w/sym"], files.target["/w/sym"]) == ("directory", "link", "tar/get")


def test_mappings_give_their_file_to_what_acts_on_memory(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        '1 1.0 openat(AT_FDCWD, "a.tif", O_RDONLY) = 3',
        "1 1.1 mmap(NULL, 10000, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0x2000) = 0x7f0000000000",
        "1 1.1 mmap(NULL, 10000, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f1000000000",
        "1 1.2 close(3) = 0",
        "1 1.3 madvise(0x7f0000001000, 4096, MADV_WILLNEED) = 0",
        "1 1.3 madvise(0x7f1000001000, 4096, MADV_WILLNEED) = 0",
        "1 1.4 munmap(0x7f0000000000, 4096) = 0",
        "1 1.5 msync(0x7f0000000000, 4096, MS_SYNC) = -1 ENOMEM (Cannot allocate memory)",
        "1 1.6 munmap(0x7f0000002000, 4096) = 0",
        "1 1.7 mmap(NULL, 5, PROT_READ, MAP_SHARED, 3, 0) = -1 EBADF (Bad file descriptor)",
    )
    assert events.op.tolist() == ["openat", "mmap", "close", "madvise", "munmap", "munmap"]
    mapping = events[events.op == "mmap"].iloc[0]
    assert (mapping.address, mapping.result, mapping["size"], mapping.offset) == (0x7F0000000000, 0, 10000, 0x2000)
    assert (mapping["mode"], mapping["flags"]) == (3, 1)
    assert events.open.iloc[1:].tolist() == [0] * 5
    assert events.path_text.iloc[3:].tolist() == ["/w/a.tif"] * 3


def test_locks_xattrs_and_dirfds_fill_their_columns(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        '1 1.0 openat(AT_FDCWD, "d", O_RDONLY|O_DIRECTORY) = 3</w/d>',
        '1 1.0 openat(3</w/d>, "a", O_RDWR) = 4</w/d/a>',
        '1 1.0 lseek(4</w/d/a>, 100, SEEK_SET) = 100',
        "1 1.1 fcntl(4</w/d/a>, F_SETLKW, {l_type=F_WRLCK, l_whence=SEEK_CUR, l_start=5, l_len=10}) = 0",
        "1 1.1 flock(4</w/d/a>, LOCK_EX|LOCK_NB) = -1 EAGAIN (Resource temporarily unavailable)",
        '1 1.2 fsetxattr(4</w/d/a>, "user.x", "v", 1, XATTR_CREATE) = 0',
        '1 1.3 renameat2(3</w/d>, "a", AT_FDCWD</w>, "b", RENAME_NOREPLACE) = 0',
        '1 1.4 symlinkat("../x", 3</w/d>, "l") = 0',
        '1 1.5 newfstatat(4</w/b>, "", {st_mode=S_IFREG|0644, st_size=0, ...}, AT_EMPTY_PATH) = 0',
        '1 1.6 openat2(3</w/d>, "l", {flags=O_RDONLY|O_NOFOLLOW, mode=0, resolve=RESOLVE_BENEATH}, 24) = -1 ELOOP (Too many)',  # noqa: E501
        "1 1.7 umask(027) = 022",
    )  # fmt: skip
    paths = trace.paths().set_index("path")
    lock = events[events.op == "fcntl.lock"].iloc[0]
    assert (lock["flags"], lock["mode"], lock.offset, lock["size"], lock.result) == (7, 1, 105, 10, 0)
    assert events[events.op == "flock"].result.tolist() == [-11]
    xattr = events[events.op == "fsetxattr"].iloc[0]
    assert paths.raw[xattr.other_path] == b"user.x"
    rename = events[events.op == "renameat2"].iloc[0]
    assert (rename.open, rename.other_open, rename["flags"]) == (0, pd.NA, 1)
    assert (paths.text[rename.path], paths.text[rename.other_path]) == ("/w/d/a", "/w/b")
    symlink = events[events.op == "symlinkat"].iloc[0]
    assert (paths.text[symlink.path], paths.raw[symlink.other_path], symlink.open) == ("/w/d/l", b"../x", 0)
    stat = events[events.op == "newfstatat"].iloc[0]
    assert (stat.open, stat.path_text) == (1, "/w/d/a")
    opened = events[events.op == "openat2"].iloc[0]
    assert (opened.open, opened.other_open, opened.result, opened["flags"]) == (pd.NA, 0, -40, os.O_NOFOLLOW)
    umask = events[events.op == "umask"].iloc[0]
    assert (umask["mode"], umask.result) == (0o27, 0o22)


def test_descriptors_that_come_over_a_socket_are_known(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        '1 1.0 recvmsg(7<UNIX-STREAM:[1->2]>, {msg_name=NULL, msg_iov=[{iov_base="x", iov_len=1}], msg_control=[{cmsg_len=20, '  # noqa: E501
        "cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[8</w/t.py>]}], msg_flags=0}, 0) = 1",
        "1 1.1 read(0x8, 0x7f0, 0x10) = 0x10",
    )
    assert events.path_text.tolist() == ["/w/t.py"]
    assert (events["size"][0], events.result[0], events.offset[0]) == (16, 16, pd.NA)


def test_constants_printed_raw_mean_the_same(tmp_path: Path) -> None:
    named = imported(
        tmp_path,
        '1 1.0 openat(AT_FDCWD</w>, "a", O_RDWR|O_CREAT, 0640) = 3</w/a>',
        "1 1.1 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD) = 2",
        "1 1.2 mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3</w/a>, 0) = 0x7f0000000000",
        '1 1.3 statx(AT_FDCWD</w>, "a", AT_STATX_SYNC_AS_STAT, STATX_ALL, {stx_mask=STATX_ALL, stx_mode=S_IFREG|0644, stx_size=5}) = 0',  # noqa: E501
    )[0]
    raw = imported(
        tmp_path,
        '1 1.0 openat(-100</w>, "a", 0x42, 0640) = 3</w/a>',
        "1 1.1 clone(child_stack=NULL, flags=0x1200000|17) = 2",
        "1 1.2 mmap(NULL, 4096, 0x1, 0x1, 3</w/a>, 0) = 0x7f0000000000",
        '1 1.3 statx(-100</w>, "a", , 0xfff, {stx_mask=0xfff, stx_mode=0100644, stx_size=5}) = 0',
    )[0]
    pd.testing.assert_frame_equal(named, raw)


def test_logs_of_one_file_a_process_are_merged_by_time(tmp_path: Path) -> None:
    (tmp_path / "log.10").write_text(
        '1795400203.1 openat(AT_FDCWD, "a", O_RDONLY) = 3\n1795400203.2 fork() = 11\n1795400203.4 +++ exited with 0 +++\n'  # noqa: E501
    )
    (tmp_path / "log.11").write_text('1795400203.3 read(3, "x", 1) = 1\n1795400203.5 +++ exited with 1 +++\n')
    info = import_strace([tmp_path / "log"], tmp_path / "t.iotrace", cwd="/w")
    trace = open_trace(tmp_path / "t.iotrace")
    events = trace.events()
    assert events.op.tolist() == ["openat", "fork", "read", "exit", "exit"]
    assert events.thread.tolist() == [0, 0, 1, 0, 1]
    assert trace.processes().pid.tolist() == [10, 11]
    assert not info.lost


def test_relative_names_without_a_known_folder_say_so(tmp_path: Path) -> None:
    events, trace = imported(tmp_path, '1 1.0 mkdir("a", 0777) = 0', cwd=None)
    assert events.path_text.tolist() == ["/(unknown)/a"]
    assert any("--cwd" in sentence for sentence in trace.info.unseen)


@pytest.mark.parametrize("content", [b"", b"hello\nworld\n", b"\0" * 1000, b"\x89PNG\r\n"])
def test_what_is_no_log_gets_one_clear_line_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(content)
    with pytest.raises(TraceError, match="strace") as error:
        import_strace([log], tmp_path / "t.iotrace")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "t.iotrace").exists()


def test_missing_logs_folders_and_standing_traces_get_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such log"):
        import_strace([tmp_path / "missing"], tmp_path / "t.iotrace")
    with pytest.raises(TraceError, match="is a folder"):
        import_strace([tmp_path], tmp_path / "t.iotrace")
    imported(tmp_path, '1 1.0 mkdir("a", 0777) = 0')
    with pytest.raises(TraceError, match="--force"):
        import_strace([tmp_path / "log"], tmp_path / "t.iotrace")


def test_numbers_beyond_all_columns_are_wrapped_and_not_lost(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        '1 1.0 openat(AT_FDCWD, "a", O_RDONLY) = 3',
        "1 1.1 fadvise64(3, 0, 18446744073709551615, POSIX_FADV_DONTNEED) = 0",
        '1 1.2 openat(AT_FDCWD, "b", 0xffffffff, 037777777777) = -1 EINVAL (Invalid argument)',
    )
    assert events["size"].tolist()[1] == -1
    assert events["mode"].tolist()[2] == -1
    assert not trace.info.lost


NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name and not name.startswith(b"/"))


def quoted(raw: bytes, style: str) -> str:
    """A C string as strace prints it: shortest octal, or hexadecimal with -x."""
    if style == "hex":
        return "".join(f"\\x{byte:02x}" for byte in raw)
    text = ""
    for place, byte in enumerate(raw):
        char = chr(byte)
        digit_follows = place + 1 < len(raw) and chr(raw[place + 1]) in "01234567"
        if char in '"\\':
            text += "\\" + char
        elif char in "\n\t\r\v\f":
            text += "\\" + {"\n": "n", "\t": "t", "\r": "r", "\v": "v", "\f": "f"}[char]
        elif 32 <= byte < 127 and char not in "<>":
            text += char
        else:
            text += f"\\{byte:03o}" if digit_follows else f"\\{byte:o}"
    return text


@given(raw=st.binary(max_size=60), style=st.sampled_from(["octal", "hex"]))
def test_every_byte_string_survives_quoting(raw: bytes, style: str) -> None:
    assert values.string(f'"{quoted(raw, style)}"') == raw


@given(
    name=NAMES, other=NAMES, folder=NAMES, size=st.integers(0, 2**40), offset=st.integers(0, 2**40),
    result=st.integers(-133, -1) | st.integers(0, 2**31),
    style=st.sampled_from(["octal", "hex"]), call=st.sampled_from(["pread64", "renameat", "openat", "readlinkat", "fsetxattr"]),  # noqa: E501
)  # fmt: skip
@settings(deadline=None)
def test_arguments_come_back_as_they_were_printed(
    name: bytes, other: bytes, folder: bytes, size: int, offset: int, result: int, style: str, call: str
) -> None:
    def quote(raw: bytes) -> str:
        return f'"{quoted(raw, style)}"'

    at = f"7</{quoted(folder, 'octal')}>"
    text = {
        "pread64": f"{at}, {quote(other)}..., {size}, {offset}",
        "renameat": f"{at}, {quote(name)}, AT_FDCWD, {quote(other)}",
        "openat": f"{at}, {quote(name)}, O_RDWR|O_EXCL|0x4000000",
        "readlinkat": f"{at}, {quote(name)}, {quote(other)}, {size}",
        "fsetxattr": f"{at}, {quote(name)}, {quote(other)}, {size}, 0",
    }[call]
    parsed = Call()
    parsed.result = result
    fill(parsed, call, text)
    if call in ("pread64", "fsetxattr"):
        assert (parsed.fd, parsed.fd_name, parsed.size) == (7, b"/" + folder, size)
    else:
        assert (parsed.dirfd, parsed.dirfd_name, parsed.path) == (7, b"/" + folder, name)
    assert parsed.op == call
    expected = {
        "pread64": (parsed.offset, offset),
        "renameat": ((parsed.dirfd2, parsed.path2), (-100, other)),
        "openat": (parsed.flags, os.O_RDWR | os.O_EXCL | 0x4000000),
        "readlinkat": ((parsed.text, parsed.size), (other, size)),
        "fsetxattr": (parsed.name, name),
    }[call]
    assert expected[0] == expected[1]


PIECES = st.sampled_from(
    [
        "1 ", "[pid 3] ", "12:00:00 ", "1795400203.5 ", "read(", "openat(", "execve(", "clone(", "fcntl(", "mmap(", "vfork(", "3", "</a>", "<", ">",  # noqa: E501
        '"', "\\", ", ", ")", " = ", "0", "?", "-1 ENOENT", " <0.1>", " <unfinished ...>", "<... read resumed>", "+++ exited with 0 +++",  # noqa: E501
        "+++ superseded by execve in pid 3 +++", "{", "}", "[", "]", "st_mode=", "F_SETLK", "/*", "*/", "NULL", "99999999999999999999999999", "\n", "O_RDONLY|",  # noqa: E501
    ]
)  # fmt: skip


@given(data=st.lists(st.binary(max_size=30) | PIECES.map(str.encode), max_size=80).map(b"".join))
@settings(deadline=None, max_examples=300)
def test_no_bytes_break_the_reader(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each line is understood, counted as not understood, or empty; and the trace can be read."""
    folder = tmp_path_factory.mktemp("any") / "t.iotrace"
    info = TraceInfo(backend="strace")
    with TraceWriter(folder, info) as writer:
        log = StraceLog(Assembler(writer))
        lines, torn = split_lines(b"", data)
        log.feed(lines)
        log.finish(torn.decode("latin-1"))
        whole = data.decode("latin-1").split("\n")
        assert log.lines == len(whole) - (not torn)
        assert log.understood + log.foreign + sum(not line for line in whole) >= log.lines
    assert len(open_trace(folder).table("events")) == info.events


@given(cuts=st.lists(st.integers(0, 400), max_size=8))
@settings(deadline=None)
def test_it_does_not_matter_where_the_log_is_cut_into_portions(cuts: list[int]) -> None:
    text = b"".join(b"line %d of the log\n" % number for number in range(20)) + b"torn"
    pieces, at = [], 0
    for cut in sorted(cuts):
        pieces.append(text[at:cut])
        at = max(at, min(cut, len(text)))
    pieces.append(text[at:])
    lines, carry = [], b""
    for piece in pieces:
        if piece:
            more, carry = split_lines(carry, piece)
            lines += more
    assert lines == [f"line {number} of the log" for number in range(20)]
    assert carry == b"torn"


def test_every_call_of_the_operations_table_has_a_reading() -> None:
    from iotrace.trace.operations import OPERATIONS

    wanted = {call for operation in OPERATIONS for call in operation.calls if "." not in call}
    assert wanted - CALLS == {"ioctl"}
    assert [is_operation("ioctl", f"3, {word}, 4") for word in ("FICLONE", "FICLONERANGE", "TCGETS")] == [
        True,
        True,
        False,
    ]


def test_descriptors_in_hexadecimal_are_those_in_plain_text(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        r'openat(AT_FDCWD<\x2f\x77>, "\x61", O_RDONLY) = 3<\x2f\x77\x2f\x61>',
        r'read(3<\x2f\x77\x2f\x61>, "\x78", 1) = 1',
        r'read(4<\x2f\x77\x2f\x62>, "\x78", 1) = 1',
        r'read(5<\x70\x69\x70\x65\x3a\x5b\x31\x5d>, "\x78", 1) = 1',
        'read(6<what is this>, "x", 1) = 1',
        cwd=None,
    )
    assert events.path_text.tolist() == ["/w/a", "/w/a", "/w/b"]
    assert any(sentence.startswith("1 calls on descriptors") for sentence in trace.info.unseen)


@pytest.mark.parametrize(
    "head",
    [
        "[00007f90f071dad7] ", "[????????????????] ", "[  59] ", "7<a b> ", "[pid     7<sh>] ",
        "7<strace> 1795548487.494291 [  59] [00007f90f071dad7] ", "7<x> 19:28:13.205201 (+     0.000000) [ 257] [7f] ",
        "7      0.000000 [  59] [0000000000000001] ", "[pid 7] [ 1] ",
    ],
)  # fmt: skip
def test_names_of_programs_numbers_of_calls_and_places_before_a_line_are_passed_over(tmp_path: Path, head: str) -> None:
    events, trace = imported(tmp_path, f'{head}mkdir("a", 0777) = 0', f'{head}mkdir("b", 0777) = 0')
    assert events.path_text.tolist() == ["/w/a", "/w/b"]
    assert trace.processes().pid.tolist() == [7 if "7" in head.partition("[0")[0].partition("257")[0] else 0]
    assert not any("not understood" in sentence for sentence in trace.info.unseen)


def test_a_log_of_windows_lines_is_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'1 10.0 mkdir("a", 0777) = 0\r\n1 10.1 mkdir("b", 0777) = 0\r\n')
    import_strace([log], tmp_path / "t.iotrace", cwd="/w")
    assert open_trace(tmp_path / "t.iotrace").events().path_text.tolist() == ["/w/a", "/w/b"]


def test_calls_of_32_bit_programs_are_those_of_64_bits(tmp_path: Path) -> None:
    events, _ = imported(
        tmp_path,
        'open("a", O_RDWR) = 3',
        "_llseek(3, 10, [10], SEEK_SET) = 0",
        'read(3, "x", 1) = 1',
        'pread(3, "x", 1, 5) = 1',
        'pwrite(3, "x", 1, 5) = 1',
        "ftruncate64(3, 100) = 0",
        'fstatat64(AT_FDCWD, "a", {st_mode=S_IFREG|0644, st_size=100, ...}, 0) = 0',
        "mmap2(NULL, 4096, PROT_READ, MAP_SHARED, 3, 0x1000) = 0xf7700000",
    )
    wanted = ["open", "lseek", "read", "pread64", "pwrite64", "ftruncate", "newfstatat", "mmap"]
    assert events.op.tolist() == wanted
    assert events.offset.tolist()[1:5] == [10, 10, 5, 5]
    assert events.result.tolist()[1] == 10


def test_what_stands_without_its_beginning_its_end_or_its_name_is_lost_and_counted(tmp_path: Path) -> None:
    events, trace = imported(
        tmp_path,
        '1 10.0 <... read resumed>"x", 1) = 1',
        "1 10.1 syscall_0x1c4(0x3, 0x7ffd, 0x180, 0, 0, 0) = 0",
        "1 10.2 syscall_0x1ff(0x3, 0x7ffd, 0x180, 0, 0, 0) = 0",
        '1 10.3 write(3</w/a>, "x",  <unfinished ...>',
        '1 10.4 pwrite64(3</w/a>, "x",  <unfinished ...>',
        "1 10.5 <... pwrite64 resumed>1, 0) = 1",
        "1 10.6 fsync(3</w/a>) = -1 ERRNO_530 (Unknown error 530)",
        "1 10.7 fsync(3</w/a>) = -1 EWHAT (What)",
        "1 10.8 fsync(3</w/a>,  <unfinished ...>",
        "1 10.9 <... fsync resumed> torn",
    )
    assert events.op.tolist() == ["pwrite64", "fsync"]
    assert events.result.tolist() == [1, -530]
    assert trace.info.lost == {"read": 1, "metadata": 1, "write": 1, "sync": 2}
    assert not trace.info.complete


def test_stacks_and_dumps_between_the_lines_are_strace_s_own(tmp_path: Path) -> None:
    _, trace = imported(
        tmp_path,
        '1 10.0 mkdir("a", 0777) = 0',
        " > /usr/lib/libc.so.6(mkdir+0x7) [0x101a07]",
        " | 00000  68 65 6c 6c 6f                                    hello            |",
        " * 5 bytes in buffer 0",
    )
    assert not any("not understood" in sentence for sentence in trace.info.unseen)


def test_ids_of_another_namespace_do_not_make_two_children_of_one(tmp_path: Path) -> None:
    _, trace = imported(
        tmp_path,
        "10<sh> fork() = 2<sh> /* 11 in strace's PID NS */",
        '11<sh> mkdir("a", 0777) = 0',
        "10<sh> wait4(2<sh> /* 11 in strace's PID NS */, NULL, 0, NULL) = 2<sh> /* 11 in strace's PID NS */",
    )
    assert trace.processes().pid.tolist() == [10, 11]
    assert trace.processes().parent.tolist() == [pd.NA, 0]


def test_threads_whose_forks_the_log_leaves_out_are_said_to_be_unclear(tmp_path: Path) -> None:
    _, trace = imported(tmp_path, '1 10.0 mkdir("a", 0777) = 0', '2 10.1 mkdir("b", 0777) = 0')
    assert any("which of 2 threads belong to one process" in sentence for sentence in trace.info.unseen)
    _, trace = imported(tmp_path, "1 10.0 fork() = 2", '2 10.1 mkdir("b", 0777) = 0')
    assert not any("belong to one process" in sentence for sentence in trace.info.unseen)

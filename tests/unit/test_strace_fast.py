"""The kernel that reads strace's logs says of each log, whole or mangled, exactly what the plain importer says."""

import random
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strace_readings import assert_both_say_the_same, told

from iotrace.trace.formats.strace.importing import import_strace
from iotrace.trace.reader import open_trace

# ruff: noqa: E501
LOGS = {
    "names of descriptors": rb"""
7 1795400203.1 execve("/bin/x", ["x"], 0x7ffd /* 3 vars */) = 0 <0.000300>
7 1795400203.2 openat(AT_FDCWD</w>, "a.mrc", O_RDWR|O_CREAT|O_CLOEXEC, 0640) = 3</w/a.mrc> <0.000001500>
7 1795400203.3 write(3</w/a.mrc>, "abc) = 7\n\"\\"..., 100) = 100 <0.000000500>
7 1795400203.4 lseek(3</w/a.mrc>, 10, SEEK_SET) = 10 <0.000001>
7 1795400203.5 read(3</w/a.mrc>, "x", 4096) = 90 <0.000001>
7 1795400203.6 pread64(3</w/a.mrc>, ""..., 4096, 50) = 50 <0.000001>
7 1795400203.7 fstat(3</w/a.mrc>, {st_mode=S_IFREG|0640, st_size=100, ...}) = 0 <0.000001>
7 1795400203.8 dup2(3</w/a.mrc>, 5</dev/null<char 1:3>>) = 5</w/a.mrc> <0.000001>
7 1795400203.81 fcntl(3</w/a.mrc>, F_DUPFD_CLOEXEC, 70) = 70</w/a.mrc> <0.000001>
7 1795400203.82 fcntl(3</w/a.mrc>, F_SETFL, O_RDWR|O_APPEND) = 0 <0.000001>
7 1795400203.83 write(5</w/a.mrc>, "abc", 3) = 3 <0.000001>
7 1795400203.84 fcntl(3</w/a.mrc>, F_SETFD, FD_CLOEXEC) = 0 <0.000001>
7 1795400203.85 mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, 3</w/a.mrc>, 0x1000) = 0x7f0000001000 <0.000001>
7 1795400203.86 munmap(0x7f0000002000, 4096) = 0 <0.000001>
7 1795400203.87 madvise(0x7f0000001000, 4096, MADV_WILLNEED) = 0 <0.000001>
7 1795400203.88 mmap(0x7f0000000000, 65536, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000 <0.000001>
7 1795400203.9 close(3</w/a.mrc>) = 0 <0.000001>
7 1795400203.91 read(0<pipe:[12]>, "", 100) = 0 <0.000001>
7 1795400203.92 ioctl(5</w/a.mrc>, FIOCLEX) = 0 <0.000001>
7 1795400203.93 ioctl(1</dev/pts/0<char 136:0>>, TCGETS, {c_iflag=ICRNL}) = 0 <0.000001>
7 1795400203.94 newfstatat(AT_FDCWD</w>, "../x/./y//z", {st_mode=S_IFDIR|0755, st_size=4096, ...}, AT_SYMLINK_NOFOLLOW) = 0 <0.000001>
7 1795400203.95 openat(AT_FDCWD</w>, "/x/y/z", O_RDONLY|O_DIRECTORY) = 4</x/y/z> <0.000001>
7 1795400203.96 getdents64(4</x/y/z>, 0x55aa /* 12 entries */, 32768) = 480 <0.000001>
7 1795400203.97 getdents64(4</x/y/z>, [{d_ino=1, d_off=2, d_reclen=24, d_type=DT_DIR, d_name="."}], 32768) = 24 <0.000001>
7 1795400203.98 getdents64(4</x/y/z>, 0x55aa /* 0 entries */, 32768) = 0 <0.000001>
7 1795400204.01 unlinkat(4</x/y/z>, "q", 0) = 0 <0.000001>
7 1795400204.02 newfstatat(4</x/y/z>, "", {st_mode=S_IFDIR|0755, st_size=4096, ...}, AT_EMPTY_PATH) = 0 <0.000001>
7 1795400204.03 exit_group(0) = ?
7 1795400204.04 +++ exited with 0 +++
""",
    "threads that interrupt each other": rb"""
7 1795400203.1 execve("/bin/x", ["x"], 0x7ffd /* 3 vars */) = 0 <0.000300>
7 1795400203.2 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD, exit_signal=0}, 88 <unfinished ...>
8 1795400203.21 set_robust_list(0x7fe01a4a59a0, 24 <unfinished ...>
7 1795400203.22 <... clone3 resumed>) = 8 <0.000100>
8 1795400203.23 <... set_robust_list resumed>) = 0 <0.000046>
8 1795400203.24 openat(AT_FDCWD, "a",  <unfinished ...>
7 1795400203.25 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---
8 1795400203.26 <... openat resumed>O_RDONLY) = 3</w/a> <0.200001>
7 1795400203.27 read(3</w/a>, <unfinished ...>
8 1795400203.28 fstat(3</w/a> <unfinished ...>
7 1795400203.29 <... read resumed>"x) = 7", 10) = 6 <0.100000>
8 1795400203.3 <... fstat resumed>, {st_mode=S_IFREG|0640, st_size=100, ...}) = 0
7 1795400203.31 read(3</w/a>, 0x7ff, 10) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)
7 1795400203.32 read(3</w/a>, "abc", 10) = -1 EINTR (Interrupted system call)
7 1795400203.33 restart_syscall(<... resuming interrupted read ...>) = 0
8 1795400203.34 close(3</w/a> <unfinished ...>
7 1795400203.35 <... futex resumed>) = 0
8 1795400203.36 <... lseek resumed>) = 0
8 1795400203.4 pread64(3</w/a>, <unfinished ...>
7 1795400203.5 +++ killed by SIGKILL +++
""",
    "neither names nor pids": rb"""
23:59:58 execve("/bin/x", ["x"], 0x7ffd /* 3 vars */) = 0
23:59:59 open("/w/a", O_WRONLY|O_CREAT|O_TRUNC|O_APPEND, 0666) = 3
00:00:01 writev(3, [{iov_base="ab", iov_len=2}, {iov_base="iov_len=9", iov_len=3}], 2) = 5
00:00:02 write(3, "abc"..., 4000) = 4000
00:00:03 fsync(3)                          = 0
00:00:04 stat("/w/a", {st_mode=S_IFREG|0640, st_size=4005, ...}) = 0
00:00:05 lstat("b", 0x7ffe) = -1 ENOENT (No such file or directory)
00:00:06 open("b", O_RDWR|O_CREAT, 0666) = 4
00:00:07 readlink("/w/l", "a", 100) = 1
00:00:08 readlink("/w/a", 0x7ff, 100) = -1 EINVAL (Invalid argument)
00:00:09 stat("/w/l", {st_mode=S_IFREG|0640, st_size=4005, ...}) = 0
00:00:10 statx(AT_FDCWD, "/w/a", AT_STATX_SYNC_AS_STAT, STATX_ALL, {stx_mask=STATX_ALL, stx_attributes=0, stx_mode=S_IFREG|0640, stx_size=4005, stx_ino=7, stx_blocks=8, stx_nlink=1, stx_dev_major=8, stx_dev_minor=1, ...}) = 0
00:00:11 fstat(4, {st_dev=makedev(0x8, 0x1), st_ino=7, st_mode=S_IFREG|0640, st_nlink=1, st_uid=0, st_gid=0, st_blksize=4096, st_blocks=8, st_size=4005, st_atime=1795400203 /* 2026-11-23T02:16:43+0000 */, st_atime_nsec=0}) = 0
00:00:12 unlink("/w/a") = 0
00:00:13 rename("b", "c") = 0
00:00:14 ftruncate(4, 100) = 0
00:00:15 getxattr("c", "user.x", NULL, 0) = -1 ENODATA (No data available)
00:00:16 brk(NULL) = 0x5555
00:00:17 close(3) = 0
00:00:18 close(9) = -1 EBADF (Bad file descriptor)
00:00:19 openat(9, "z", O_RDONLY) = 3
00:00:20 mkdir("d", 0777) = 0
00:00:21 open("d/e", O_RDWR|O_CREAT, 0666) = 5
00:00:22 stat("d/f", {st_mode=S_IFREG|0640, st_size=0, ...}) = 0
00:00:23 chdir("d") = 0
00:00:24 access("e", R_OK) = 0
00:00:25 getdents(4, 0x5, 100) = 0
""",
    "relative times and none": rb"""
 0.000000 open("/w/a", O_RDONLY) = 3
 0.100000 read(3, "abc"..., 4000) = 4000
read(3, "abc"..., 4000) = 10
     0.000120 read(3, "", 4000) = 0
12:00:00.5 (+     0.000123) lseek(3, 0, SEEK_END) = 4010
[pid    12] 1.5 lseek(3, 0, SEEK_CUR) = 0
""",
    "names of programs, numbers of calls, places": rb"""
7<sh> 1795400203.1 [  59] [00007f90f071dad7] execve("/bin/x", ["x"..., "y"], 0x7ffd /* 3 vars */) = 0
7<a b> 1795400203.2 [ 257] [00007f90f071dad7] openat(AT_FDCWD</w>, "a", O_RDONLY|O_CLOEXEC) = 3</w/a>
7<x> 1795400203.3 [  18] [????????????????] pwrite64(3</w/a>, "1234567", 7, 3) = -1 EBADF (Bad file descriptor)
7<x> 1795400203.4 [   1] [00007f90f071dad7] write(3</w/a>, "1", 1) = -1 EBADF (Bad file descriptor)
7<x> 1795400203.41 [   1] [00007f90f071dad7] write(9, "1", 1) = -1 EBADF (Bad file descriptor)
7<x> 1795400203.5 [  32] [00007f90f071dad7] dup2(3</w/a>, 99999999) = -1 EBADF (Bad file descriptor)
7<x> 1795400203.6 [   0] [00007f90f071dad7] read(4<\x2f\x77\x2f\x62>, "\x78", 1) = 1
7<x> 1795400203.61 [   0] [00007f90f071dad7] read(5<UNIX-STREAM:[1->2,"/a"]>, "x", 1) = 1
7<x> 1795400203.62 [   0] [00007f90f071dad7] read(5<what is this>, "x", 1) = 1
7<x> 1795400203.7 [ 257] [00007f90f071dad7] openat(AT_FDCWD</w>, "d", O_RDWR|O_TMPFILE, 0600) = 6</w/d/#12>(deleted)
7<x> 1795400203.8 [   1] [00007f90f071dad7] write(6</w/d/#12>(deleted), "1", 1) = 1
7<x> 1795400203.81 [   9] [00007f90f071dad7] mmap(NULL, 4096, PROT_READ, MAP_SHARED, 6</w/d/#12>(deleted), 0) = 0x7f0000001000
7<x> 1795400203.82 [ 265] [00007f90f071dad7] linkat(AT_FDCWD</w>, "/proc/self/fd/6", AT_FDCWD</w>, "e", AT_SYMLINK_FOLLOW) = 0
7<x> 1795400203.83 [   1] [00007f90f071dad7] write(6</w/e>, "1", 1) = 1
7<x> 1795400203.84 [  11] [00007f90f071dad7] munmap(0x7f0000001000, 4096) = 0
[pid     7<x>] 1795400203.9 [ 452] syscall_0x1c4(0x3, 0x7ffd, 0x180, 0, 0, 0) = 0
7<x> 1795400204.1 read(3</w/a>,  <unfinished ...>
7<x> 1795400204.2 fsync(3</w/a> <unfinished ...>
7<x> 1795400204.3 <... fsync resumed>) = -1 ERRNO_530 (Unknown error 530)
7<x> 1795400204.4 <... read resumed>"", 7) = 0
7<x> 1795400204.5 readlink("l", "0123"..., 4096) = 60
7<x> 1795400204.6 getxattr("a", "user.a"..., 0x7ffd, 10) = -1 ENODATA (No data available)
""",
    "a file without a name": rb"""
open("d", O_RDWR|O_TMPFILE, 0600) = 3
write(3, "x", 1) = 1
mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3, 0) = 0x7f0000001000
madvise(0x7f0000001000, 4096, MADV_WILLNEED) = 0
write(3, "x", 1) = -1 EBADF (Bad file descriptor)
close(3) = 0
read(3, "x", 1) = -1 EBADF (Bad file descriptor)
""",
}  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("cwd", [None, b"/w"])
def test_the_kernel_reads_a_log_as_the_plain_importer_does(tmp_path: Path, name: str, cwd: bytes | None) -> None:
    by_kernel = assert_both_say_the_same(tmp_path, LOGS[name].lstrip(b"\n"), cwd)
    assert by_kernel > 0


LINES = [line for log in LOGS.values() for line in log.strip(b"\n").split(b"\n")]
PIECES = [
    b"AT_FDCWD", b"-1", b"0x7f0000001000", b"0777", b"18446744073709551615", b"9223372036854775808",
    b"99999999999999999999", b"08", b"O_TRUNC", b"O_EXCL|", b"|", b"NULL", b'"', b'"/proc/1/x"', b'"/dev/shm/a"',
    b'"a\\303\\251"', b'"d/../../e/"', b"<", b">", b"</w/b>", b"</w/a (deleted)>", b"</w/a>(deleted)", b"->",
    b"<socket:[1]>", b"{", b"}", b"[", b"]", b"(", b")", b",", b", ", b" ", b"  ", b" = ", b") = 3", b"/* ", b" */",
    b"[  59] ", b"[00007f90f071dad7] ", b"<sh>", b"\\x2f", b"<char 1:3>", b"pipe:[1]", b"syscall_", b"#",
    b"\\", b"\r", b"\0", b"\xff", b"<unfinished ...>", b"...", b"?", b" EBADF (Bad file descriptor)", b" ENOENT (x)",
    b"S_IFLNK|0777", b"S_IFCHR|0620", b"st_rdev=makedev(0x1, 0x3)", b"65536", b"0",
]  # fmt: skip


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A log of whole lines, in which some have lost, doubled or swapped pieces."""
    lines = draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=30))
    wild = draw(st.integers(0, 4))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(wild):
        at = chance.randrange(len(lines))
        line = lines[at]
        begin = chance.randrange(len(line) + 1)
        end = min(len(line), begin + chance.choice((0, 0, 1, 2, 5, 20)))
        lines[at] = line[:begin] + chance.choice((b"", *PIECES)) + line[end:]
    whole = b"\n".join(lines)
    return whole if draw(st.booleans()) else whole + b"\n"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mangled(), cwd=st.sampled_from([None, b"/w"]), portion=st.sampled_from([37, 1 << 20]))
def test_mangled_logs_are_read_alike_and_without_a_traceback(
    tmp_path: Path, data: bytes, cwd: bytes | None, portion: int
) -> None:
    assert_both_say_the_same(tmp_path, data, cwd, portion)


def test_logs_of_many_threads_are_merged_by_time_whatever_the_limit_of_open_files(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    threads = 200
    for thread in range(threads):
        lines = [
            f'{10 * n + thread / threads:.6f} openat(AT_FDCWD, "f{thread}_{n}", O_RDONLY) = 3\n' for n in range(1, 40)
        ]
        (tmp_path / f"log.{100 + thread}").write_text("".join(lines) + "400.5 close(3")
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        info = import_strace([tmp_path / "log"], tmp_path / "t.iotrace")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    events = open_trace(tmp_path / "t.iotrace").events()
    assert len(events) == threads * 39
    assert events.time_ns.is_monotonic_increasing
    assert events.process.nunique() == threads
    assert info.lost == {"metadata": threads}


def test_times_of_logs_of_threads_go_on_over_midnight(tmp_path: Path) -> None:
    (tmp_path / "log.7").write_text('23:59:58 mkdir("a", 0777) = 0\n00:00:03 mkdir("d", 0777) = 0\n')
    (tmp_path / "log.8").write_text(
        '23:59:59 mkdir("b", 0777) = 0\nmkdir("b2", 0777) = 0\n00:00:01 mkdir("c", 0777) = 0\n'
    )
    import_strace([tmp_path / "log"], tmp_path / "t.iotrace", cwd="/w")
    events = open_trace(tmp_path / "t.iotrace").events()
    assert events.path_text.tolist() == ["/w/a", "/w/b", "/w/b2", "/w/c", "/w/d"]
    assert events.time_ns.tolist() == [0, 10**9, 10**9, 3 * 10**9, 5 * 10**9]


def test_logs_of_threads_with_times_since_the_line_before_say_that_their_order_is_a_guess(tmp_path: Path) -> None:
    for thread in (7, 8):
        (tmp_path / f"log.{thread}").write_text(
            f'     0.5 mkdir("a{thread}", 0777) = 0\n     0.5 rmdir("a{thread}") = 0\n'
        )
    info = import_strace([tmp_path / "log"], tmp_path / "t.iotrace", cwd="/w")
    assert any("order between threads" in sentence for sentence in info.unseen)
    assert open_trace(tmp_path / "t.iotrace").events().op.tolist() == ["mkdir", "mkdir", "rmdir", "rmdir"]


def test_a_line_longer_than_any_buffer_is_read_from_logs_of_threads_too(tmp_path: Path) -> None:
    text = "x" * (9 << 20)
    (tmp_path / "log.7").write_text(f'1.0 write(1, "{text}", 9) = 9\n1.2 mkdir("a", 0777) = 0\n')
    (tmp_path / "log.8").write_text('1.1 mkdir("b", 0777) = 0\n')
    import_strace([tmp_path / "log"], tmp_path / "t.iotrace", cwd="/w")
    assert open_trace(tmp_path / "t.iotrace").events().path_text.tolist() == ["/w/b", "/w/a"]


def test_a_log_with_carriage_returns_is_one_without_them(tmp_path: Path) -> None:
    data = LOGS["names of descriptors"].lstrip(b"\n")
    assert told(tmp_path, data.replace(b"\n", b"\r\n"), True, b"/w", 1 << 20) == told(
        tmp_path, data, True, b"/w", 1 << 20
    )


def test_tables_grow_and_descriptions_are_used_again(tmp_path: Path) -> None:
    lines = []
    for n in range(9000):
        lines += [
            f'5 {n}.1 openat(AT_FDCWD, "d{n % 70}/f{n}", O_RDONLY|O_CREAT, 0600) = {3 + n % 200}',
            f"5 {n}.2 dup({3 + n % 200}) = {400 + n % 3}",
            f'5 {n}.3 read({400 + n % 3}, "", 10) = {n % 11}',
            f'5 {n}.4 newfstatat(AT_FDCWD, "{n}", {{st_dev=makedev(0x8, 0x1), st_ino={n % 5000}, st_mode=S_IFREG|0640, st_nlink=1, st_blocks=8, st_size={n}, ...}}, 0) = 0',
        ]
        if n % 500 == 0:
            lines += [
                f'5 {n}.5 rename("d{n % 70}", "e{n}") = 0',
                f"5 {n}.6 clone(child_stack=NULL, flags=SIGCHLD) = {9000 + n}",
                f"{9000 + n} {n}.7 close({3 + n % 200}) = 0",
                f"5 {n}.8 close_range(3, 100, 0) = 0",
                f"{9000 + n} {n}.9 +++ exited with 0 +++",
            ]
    data = "\n".join(lines).encode() + b"\n"
    assert assert_both_say_the_same(tmp_path, data) > 35_000

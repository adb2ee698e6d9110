"""Issues every system call of the operations table at least once, by its number, on files of the working folder.

Run with plain `python -S`: needs nothing of the project. Calls that this kernel or architecture lacks are left out.
Prints nothing; a call that fails unexpectedly ends it with the call's name.
"""

import ctypes
import os
import struct
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
AT_FDCWD, AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW = -100, 0x1000, 0x200, 0x100
O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY = (
    0,
    1,
    2,
    0o100,
    0o200,
    0o1000,
    0o2000,
    0o200000,
)
X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "mmap": 9,
    "munmap": 11, "ioctl": 16, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "mremap": 25,
    "msync": 26, "madvise": 28, "dup": 32, "dup2": 33, "sendfile": 40, "fcntl": 72, "flock": 73, "fsync": 74,
    "fdatasync": 75,
    "truncate": 76, "ftruncate": 77, "getdents": 78, "chdir": 80, "fchdir": 81, "rename": 82, "mkdir": 83,
    "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "chmod": 90, "fchmod": 91,
    "chown": 92, "fchown": 93, "lchown": 94, "umask": 95, "utime": 132, "statfs": 137, "fstatfs": 138, "sync": 162,
    "readahead": 187, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "getxattr": 191, "lgetxattr": 192,
    "fgetxattr": 193, "listxattr": 194, "llistxattr": 195, "flistxattr": 196, "removexattr": 197,
    "lremovexattr": 198, "fremovexattr": 199, "getdents64": 217, "fadvise64": 221, "utimes": 235, "openat": 257,
    "mkdirat": 258, "fchownat": 260, "futimesat": 261, "newfstatat": 262, "unlinkat": 263, "renameat": 264,
    "linkat": 265, "symlinkat": 266, "readlinkat": 267, "fchmodat": 268, "faccessat": 269, "splice": 275,
    "sync_file_range": 277, "utimensat": 280, "fallocate": 285, "dup3": 292, "preadv": 295, "pwritev": 296,
    "syncfs": 306, "renameat2": 316, "copy_file_range": 326, "preadv2": 327, "pwritev2": 328, "statx": 332,
    "close_range": 436, "openat2": 437, "faccessat2": 439, "fchmodat2": 452,
}  # fmt: skip

buffer = ctypes.create_string_buffer(1 << 20)
ctypes.memset(buffer, 0x5A, len(buffer))
done = set()


def call(name, *arguments, fails=False):
    """One call; strings become C strings; returns the result, or -errno."""
    values = [a.encode() if isinstance(a, str) else a for a in arguments]
    values = [ctypes.c_long(v) if isinstance(v, int) else v for v in values]
    result = libc.syscall(ctypes.c_long(X86_64[name]), *values)
    if result < 0:
        code = ctypes.get_errno()
        if code in (38, 95) and name not in ("read", "write"):  # ENOSYS, EOPNOTSUPP
            return -code
        if not fails:
            sys.exit(f"{name}{arguments}: {os.strerror(code)}")
        result = -code
    elif fails:
        sys.exit(f"{name}{arguments} should fail")
    done.add(name)
    return result


def vectors(*lengths):
    array = (ctypes.c_uint64 * (2 * len(lengths)))()
    at = ctypes.addressof(buffer)
    for i, length in enumerate(lengths):
        array[2 * i], array[2 * i + 1] = at, length
        at += length
    return array


def flock(kind, start, length):
    return ctypes.create_string_buffer(struct.pack("hhqqi4x", kind, 0, start, length, 0))


def opening_and_closing():
    fd = call("open", "a.bin", O_RDWR | O_CREAT | O_TRUNC, 0o644)
    call("write", fd, buffer, 300_000)
    call("close", fd)
    call("open", "missing", O_RDONLY, fails=True)
    call("close", call("creat", "b.bin", 0o600))
    folder = call("openat", AT_FDCWD, ".", O_RDONLY | O_DIRECTORY)
    fd = call("openat", folder, "a.bin", O_RDWR)
    call("close", call("openat2", folder, "a.bin", struct.pack("QQQ", O_RDONLY, 0, 0), 24))
    second = call("dup", fd)
    third = call("open", "b.bin", O_RDWR)
    call("dup2", fd, third)
    call("dup3", fd, 77, 0o2000000)
    call("fcntl", fd, 0, 40)
    call("fcntl", fd, 3)
    call("close", second)
    call("close", third)
    call("close_range", 77, 77, 0)
    return folder, fd


def reading_and_writing(fd):
    call("lseek", fd, 0, 0)
    call("read", fd, buffer, 4096)
    call("read", fd, buffer, 100_000)
    call("pread64", fd, buffer, 8192, 65536)
    call("readv", fd, vectors(1000, 24, 5000), 3)
    call("preadv", fd, vectors(4096, 4096), 2, 8192, 0)
    call("preadv2", fd, vectors(512, 512, 512), 3, 100, 0, 0)
    call("pread64", fd, buffer, 4096, 299_000)
    call("pread64", fd, buffer, 4096, 400_000)
    call("readahead", fd, 0, 65536)
    call("lseek", fd, -100, 2)
    call("write", fd, buffer, 5000)
    call("pwrite64", fd, buffer, 777, 12345)
    call("writev", fd, vectors(10, 20, 30), 3)
    call("pwritev", fd, vectors(1000, 2000), 2, 50_000, 0)
    call("pwritev2", fd, vectors(7, 8), 2, 90_000, 0, 0)
    appended = call("open", "log.txt", O_WRONLY | O_CREAT | O_APPEND, 0o644)
    call("write", appended, buffer, 111)
    call("write", appended, buffer, 222)
    call("close", appended)
    target = call("open", "copy.bin", O_RDWR | O_CREAT, 0o644)
    call("lseek", fd, 0, 0)
    call("sendfile", target, fd, None, 70_000)
    call("sendfile", target, fd, ctypes.byref(ctypes.c_int64(1000)), 3000)
    call(
        "copy_file_range", fd, ctypes.byref(ctypes.c_int64(0)), target, ctypes.byref(ctypes.c_int64(100_000)), 50_000, 0
    )
    call("copy_file_range", fd, None, target, None, 1000, 0)
    call("ioctl", target, 0x40049409, fd)
    call("ioctl", target, 0x4020940D, struct.pack("qQQQ", fd, 4096, 8192, 0))
    call("ioctl", fd, 0x5451, None)
    reading, writing = os.pipe()
    call("splice", fd, ctypes.byref(ctypes.c_int64(4096)), writing, None, 4096, 0)
    call("splice", reading, None, target, None, 4096, 0)
    os.close(reading), os.close(writing)
    return target


def looking(folder, fd):
    call("stat", "a.bin", buffer)
    call("stat", "none", buffer, fails=True)
    call("lstat", "a.bin", buffer)
    call("fstat", fd, buffer)
    call("newfstatat", folder, "b.bin", buffer, 0)
    call("newfstatat", fd, "", buffer, AT_EMPTY_PATH)
    call("statx", AT_FDCWD, "a.bin", 0, 0xFFF, buffer)
    call("statx", fd, "", AT_EMPTY_PATH, 0xFFF, buffer)
    call("statfs", ".", buffer)
    call("fstatfs", fd, buffer)
    call("access", "a.bin", 4)
    call("access", "none", 4, fails=True)
    call("faccessat", folder, "a.bin", 2)
    call("faccessat2", folder, "a.bin", 2, 0)
    call("getdents64", folder, buffer, 32768)
    call("lseek", folder, 0, 0)
    call("getdents", folder, buffer, 32768)


def names(folder):
    call("symlink", "a.bin", "link")
    call("symlinkat", "nowhere", folder, "dangling")
    call("readlink", "link", buffer, 4096)
    call("readlinkat", folder, "dangling", buffer, 4096)
    call("mkdir", "d1", 0o755)
    call("mkdir", "d1", 0o755, fails=True)
    call("mkdirat", folder, "d2", 0o700)
    call("link", "a.bin", "d1/hard")
    call("linkat", folder, "a.bin", folder, "d2/hard", 0)
    call("rename", "d1/hard", "d1/hard2")
    call("renameat", folder, "d2/hard", folder, "d2/hard2")
    call("renameat2", folder, "d2/hard2", AT_FDCWD, "d1/hard2", 0)
    call("unlink", "d1/hard2")
    call("unlinkat", folder, "dangling", 0)
    call("unlink", "gone", fails=True)
    call("rmdir", "d1")
    call("rmdir", "d2", fails=False) if not os.listdir("d2") else None
    call("mkdir", "d3", 0o755)
    call("unlinkat", folder, "d3", AT_REMOVEDIR)


def sizes_and_syncs(fd):
    call("truncate", "copy.bin", 60_000)
    call("ftruncate", fd, 200_000)
    call("fallocate", fd, 0, 0, 250_000)
    call("fadvise64", fd, 0, 0, 2)
    call("fsync", fd)
    call("fdatasync", fd)
    call("sync_file_range", fd, 0, 4096, 2)
    call("syncfs", fd)


def attributes(folder, fd):
    call("chmod", "b.bin", 0o640)
    call("fchmod", fd, 0o644)
    call("fchmodat", folder, "b.bin", 0o600)
    call("fchmodat2", folder, "b.bin", 0o600, 0)
    call("chown", "b.bin", os.getuid(), os.getgid())
    call("lchown", "link", os.getuid(), os.getgid())
    call("fchown", fd, os.getuid(), os.getgid())
    call("fchownat", folder, "b.bin", os.getuid(), os.getgid(), 0)
    call("utime", "b.bin", None)
    call("utimes", "b.bin", None)
    call("futimesat", folder, "b.bin", None)
    call("utimensat", folder, "b.bin", None, 0)
    call("utimensat", fd, None, None, 0)
    call("setxattr", "b.bin", "user.one", buffer, 10, 0)
    call("lsetxattr", "b.bin", "user.two", buffer, 10, 0)
    call("fsetxattr", fd, "user.three", buffer, 10, 0)
    call("getxattr", "b.bin", "user.one", buffer, 100)
    call("lgetxattr", "b.bin", "user.none", buffer, 100, fails=True)
    call("fgetxattr", fd, "user.three", buffer, 100)
    call("listxattr", "b.bin", buffer, 1000)
    call("llistxattr", "b.bin", buffer, 1000)
    call("flistxattr", fd, buffer, 1000)
    call("removexattr", "b.bin", "user.one")
    call("lremovexattr", "b.bin", "user.two")
    call("fremovexattr", fd, "user.three")


def locks(fd):
    call("fcntl", fd, 6, flock(1, 0, 100))
    call("fcntl", fd, 5, flock(1, 0, 100))
    call("fcntl", fd, 7, flock(2, 0, 100))
    call("fcntl", fd, 38, flock(0, 10, 0))
    call("flock", fd, 2)
    call("flock", fd, 8)


def memory(fd):
    size = 60 * 4096
    address = call("mmap", None, size, 3, 1, fd, 0)
    for page in range(0, size, 4096):
        ctypes.c_char.from_address(address + page).value  # noqa: B018
    ctypes.memset(address, 1, 5000)
    call("madvise", address, size, 1)
    call("msync", address, 8192, 4)
    call("munmap", address, size)


def processes(folder, fd):
    call("umask", 0o22)
    os.mkdir("inner")
    call("chdir", "inner")
    inside = call("open", "relative.txt", O_WRONLY | O_CREAT, 0o644)
    call("write", inside, buffer, 10)
    call("close", inside)
    call("fchdir", folder)

    def thread():
        own = call("open", "b.bin", O_RDONLY)
        call("pread64", own, buffer, 10, 0)
        call("close", own)

    started = threading.Thread(target=thread)
    started.start()
    started.join()
    pid = os.fork()
    if pid == 0:
        call("pread64", fd, buffer, 100, 50)
        call("close", fd)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    pid = os.posix_spawn(
        "/bin/cat",
        ["cat", "inner/relative.txt"],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, "cat.out", O_WRONLY | O_CREAT, 0o644)],
    )
    os.waitpid(pid, 0)


def main():
    folder, fd = opening_and_closing()
    target = reading_and_writing(fd)
    looking(folder, fd)
    names(folder)
    sizes_and_syncs(fd)
    attributes(folder, fd)
    locks(fd)
    memory(fd)
    processes(folder, fd)
    call("close", target)
    call("close", fd)
    call("close", folder)
    left_out = set(X86_64) - done - {"mremap", "sync"}
    if left_out:
        print("left out:", " ".join(sorted(left_out)), file=sys.stderr)


main()

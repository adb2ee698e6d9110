"""A FUSE mount that hands all on to a folder, with faults: `faulty_mount.py FOLDER POINT [direct]`, by root.

It speaks the kernel's protocol itself (include/uapi/linux/fuse.h). Each line of its input is a JSON array of rules that
hold from then on; it ends with its input. A rule names requests and what becomes of them:

    {"op": "READ", "path": "\\.tif$", "first": 2, "times": 1, "errno": "EIO"}

op: of OPERATIONS. path: a pattern for the file's place (of LOOKUP and CREATE: the folder's, a slash, the name). first:
the first request that it is about, from 0 on; times: how many, by default all from then on. errno: the answer. short:
so many bytes are moved at most. delay_s: the answer comes so much later. direct: the kernel keeps no pages, so that
each read and write of a program is a request.
"""

import contextlib
import ctypes
import errno
import json
import os
import re
import resource
import select
import struct
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

OPERATIONS = {
    1: "LOOKUP", 2: "FORGET", 3: "GETATTR", 4: "SETATTR", 5: "READLINK", 6: "SYMLINK", 8: "MKNOD", 9: "MKDIR",
    10: "UNLINK", 11: "RMDIR", 12: "RENAME", 13: "LINK", 14: "OPEN", 15: "READ", 16: "WRITE", 17: "STATFS",
    18: "RELEASE", 20: "FSYNC", 25: "FLUSH", 26: "INIT", 27: "OPENDIR", 28: "READDIR", 29: "RELEASEDIR",
    30: "FSYNCDIR", 35: "CREATE", 36: "INTERRUPT", 42: "BATCH_FORGET", 43: "FALLOCATE", 45: "RENAME2",
}  # fmt: skip
SILENT = ("FORGET", "BATCH_FORGET", "INTERRUPT")
MAX_WRITE = 1 << 20
O_TRUNC_IN_OPEN, BIG_WRITES, MAX_PAGES = 1 << 3, 1 << 5, 1 << 22
DIRECT_IO = 1
MODE, UID, GID, SIZE, ATIME, MTIME, HANDLE, ATIME_NOW, MTIME_NOW = (1 << bit for bit in range(9))
THREADS = 32


def words(body: bytes) -> list[bytes]:
    return body.split(b"\0")


class Faults:
    """The rules, and how often each has been met."""

    def __init__(self) -> None:
        self.rules: list[dict[str, object]] = []
        self.met: list[int] = []
        self.lock = threading.Lock()

    def replace(self, rules: list[dict[str, object]]) -> None:
        with self.lock:
            self.rules, self.met = rules, [0] * len(rules)

    def of(self, operation: str, place: str) -> dict[str, object]:
        """What becomes of a request; empty: nothing."""
        with self.lock:
            for number, rule in enumerate(self.rules):
                if rule["op"] != operation or not re.search(str(rule.get("path", "")), place):
                    continue
                at = self.met[number]
                self.met[number] += 1
                first = int(str(rule.get("first", 0)))
                if first <= at < first + int(str(rule.get("times", 1 << 60))):
                    return rule
        return {}


class Passthrough:
    """A node is a descriptor (O_PATH) of the file below, so that names may change under it."""

    def __init__(self, folder: str, fuse: int, direct: bool) -> None:
        self.fuse, self.direct, self.faults = fuse, direct, Faults()
        self.nodes = {1: os.open(folder, os.O_PATH)}
        self.known: dict[tuple[int, int], int] = {}
        self.lock = threading.Lock()

    def place(self, node: int, name: bytes = b"") -> str:
        below = os.readlink(f"/proc/self/fd/{self.nodes[node]}")
        return f"{below}/{os.fsdecode(name)}" if name else below

    def attributes(self, descriptor: int) -> bytes:
        s = os.stat(descriptor)
        times = [divmod(of, 10**9) for of in (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)]
        return struct.pack(
            "<6Q10I", s.st_ino, s.st_size, s.st_blocks, *(seconds for seconds, _ in times), *(ns for _, ns in times),
            s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_rdev & 0xFFFFFFFF, 4096, 0,
        )  # fmt: skip

    def entry(self, parent: int, name: bytes) -> bytes:
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self.nodes[parent])
        found = os.stat(descriptor)
        key = found.st_dev, found.st_ino
        with self.lock:
            if key in self.known:
                os.close(descriptor)
            else:
                self.known[key] = len(self.nodes) + 1
                self.nodes[self.known[key]] = descriptor
            node = self.known[key]
        return struct.pack("<4Q2I", node, 0, 1, 1, 0, 0) + self.attributes(self.nodes[node])

    def opened(self, node: int, flags: int) -> bytes:
        # the kernel says at which offset it appends
        flags &= ~(os.O_APPEND | os.O_DIRECT | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL)
        handle = os.open(f"/proc/self/fd/{self.nodes[node]}", flags)
        return struct.pack("<QII", handle, DIRECT_IO if self.direct else 0, 0)

    def answer(self, operation: str, node: int, body: bytes, most: int) -> bytes:
        """The answer's body; raises OSError. `most`: bytes that a read or write may move."""
        here = self.nodes[node]
        below = f"/proc/self/fd/{here}"
        match operation:
            case "LOOKUP":
                return self.entry(node, words(body)[0])
            case "GETATTR":
                return struct.pack("<QII", 1, 0, 0) + self.attributes(here)
            case "SETATTR":
                valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _ = struct.unpack_from(
                    "<II6Q8I", body
                )
                if valid & MODE:
                    os.chmod(below, mode & 0o7777)
                if valid & (UID | GID):
                    os.chown(below, uid if valid & UID else -1, gid if valid & GID else -1)
                if valid & SIZE:
                    os.truncate(below, size)
                if valid & (ATIME | MTIME):
                    now, before = time.time_ns(), os.stat(here)
                    at = now if valid & ATIME_NOW else atime * 10**9 + atime_ns
                    mt = now if valid & MTIME_NOW else mtime * 10**9 + mtime_ns
                    chosen = at if valid & ATIME else before.st_atime_ns, mt if valid & MTIME else before.st_mtime_ns
                    os.utime(below, ns=chosen)
                return struct.pack("<QII", 1, 0, 0) + self.attributes(here)
            case "READLINK":
                return os.readlink(b"", dir_fd=here)
            case "SYMLINK":
                name, target = words(body)[:2]
                os.symlink(target, name, dir_fd=here)
                return self.entry(node, name)
            case "MKNOD":
                mode, device, _, _ = struct.unpack_from("<4I", body)
                name = words(body[16:])[0]
                os.mknod(name, mode, device, dir_fd=here)
                return self.entry(node, name)
            case "MKDIR":
                name = words(body[8:])[0]
                os.mkdir(name, struct.unpack_from("<I", body)[0], dir_fd=here)
                return self.entry(node, name)
            case "UNLINK":
                os.unlink(words(body)[0], dir_fd=here)
            case "RMDIR":
                os.rmdir(words(body)[0], dir_fd=here)
            case "RENAME" | "RENAME2":
                if operation == "RENAME2" and struct.unpack_from("<I", body, 8)[0]:
                    raise OSError(errno.EINVAL, "flags of rename")
                old, new = words(body[8 if operation == "RENAME" else 16 :])[:2]
                os.rename(old, new, src_dir_fd=here, dst_dir_fd=self.nodes[struct.unpack_from("<Q", body)[0]])
            case "LINK":
                name = words(body[8:])[0]
                source = f"/proc/self/fd/{self.nodes[struct.unpack_from('<Q', body)[0]]}"
                os.link(source, name, dst_dir_fd=here, follow_symlinks=True)
                return self.entry(node, name)
            case "OPEN":
                return self.opened(node, struct.unpack_from("<I", body)[0])
            case "OPENDIR":
                # a listing as it is now, from the beginning
                return struct.pack("<QII", os.open(below, os.O_RDONLY | os.O_DIRECTORY), 0, 0)
            case "CREATE":
                flags, mode = struct.unpack_from("<II", body)
                name = words(body[16:])[0]
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY | (flags & os.O_EXCL), mode, dir_fd=here))
                made = self.entry(node, name)
                return made + self.opened(struct.unpack_from("<Q", made)[0], flags)
            case "READ":
                handle, offset, size = struct.unpack_from("<QQI", body)
                return os.pread(handle, min(size, most), offset)
            case "WRITE":
                handle, offset, size = struct.unpack_from("<QQI", body)
                return struct.pack("<II", os.pwrite(handle, body[40 : 40 + min(size, most)], offset), 0)
            case "STATFS":
                v = os.statvfs(here)
                sizes = v.f_blocks, v.f_bfree, v.f_bavail, v.f_files, v.f_ffree
                return struct.pack("<5Q4I24x", *sizes, v.f_bsize, v.f_namemax, v.f_frsize, 0)
            case "RELEASE" | "RELEASEDIR":
                os.close(struct.unpack_from("<Q", body)[0])
            case "FSYNC" | "FSYNCDIR":
                os.fsync(struct.unpack_from("<Q", body)[0])
            case "READDIR":
                return self.listing(*struct.unpack_from("<QQI", body))
            case "FALLOCATE":
                handle, offset, length, mode = struct.unpack_from("<3QI", body)
                if mode:
                    raise OSError(errno.EOPNOTSUPP, "mode of fallocate")
                os.posix_fallocate(handle, offset, length)
            case "FLUSH":
                pass
            case _:
                raise OSError(errno.ENOSYS, operation)
        return b""

    def listing(self, handle: int, offset: int, size: int) -> bytes:
        found = b""
        for number, name in enumerate([b".", b"..", *sorted(map(os.fsencode, os.listdir(handle)))]):
            if number < offset:
                continue
            kind = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode >> 12
            one = struct.pack("<QQII", number + 1, number + 1, len(name), kind) + name
            one += bytes(-len(one) % 8)
            if len(found) + len(one) > size:
                break
            found += one
        return found

    def reply(self, unique: int, data: bytes = b"", error: int = 0) -> None:
        with contextlib.suppress(OSError):  # who asked has been killed meanwhile
            os.write(self.fuse, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)

    def obey(self, operation: str, unique: int, node: int, body: bytes) -> None:
        try:
            named = operation in ("LOOKUP", "CREATE", "MKDIR", "UNLINK")
            skip = {"CREATE": 16, "MKDIR": 8}.get(operation, 0)
            rule = self.faults.of(operation, self.place(node, words(body[skip:])[0] if named else b""))
            time.sleep(float(str(rule.get("delay_s", 0))))
            if "errno" in rule:
                self.reply(unique, error=getattr(errno, str(rule["errno"])))
                return
            self.reply(unique, self.answer(operation, node, body, int(str(rule.get("short", MAX_WRITE)))))
        except OSError as error:
            self.reply(unique, error=error.errno or errno.EIO)

    def serve(self, submit: Callable[..., object]) -> None:
        told = b""
        while True:
            ready = select.select([self.fuse, 0], [], [])[0]
            if 0 in ready:
                part = os.read(0, 1 << 16)
                if not part:
                    return
                *lines, told = (told + part).split(b"\n")
                for line in lines:
                    self.faults.replace(json.loads(line))
                    print("rules", flush=True)
                continue
            try:
                request = os.read(self.fuse, MAX_WRITE + (1 << 16))
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                return  # unmounted by somebody else
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            operation, body = OPERATIONS.get(opcode, str(opcode)), request[40:]
            if operation == "INIT":
                major, minor, readahead, flags = struct.unpack_from("<4I", body)
                flags &= O_TRUNC_IN_OPEN | BIG_WRITES | MAX_PAGES
                answer = struct.pack("<IIIIHHIIHHI28x", major, min(minor, 31), readahead, flags, 16, 12, MAX_WRITE, 1,
                                     MAX_WRITE // 4096, 0, 0)  # fmt: skip
                self.reply(unique, answer)
            elif operation not in SILENT:
                submit(self.obey, operation, unique, node, body)


def main() -> None:
    folder, point = sys.argv[1:3]
    os.umask(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"faulty", point.encode(), b"fuse.faulty", 0, options.encode()):
        print(f"mount: {os.strerror(ctypes.get_errno())}", flush=True)
        return
    print("mounted", flush=True)
    pool = ThreadPoolExecutor(THREADS)
    try:
        Passthrough(folder, fuse, "direct" in sys.argv[3:]).serve(pool.submit)
    finally:
        libc.umount2(point.encode(), 2)
        os._exit(0)


if __name__ == "__main__":
    main()

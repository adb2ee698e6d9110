"""A FUSE mount that passes all on to a folder, each call late by a known time; for root: `delayed_mount.py POINT DIR`

    --metadata S --read S --write S --sync S   how long such a request takes at least, in s
    --bandwidth B                              bytes/s of reads, and of writes, that all share evenly

It speaks the kernel's protocol itself (include/uapi/linux/fuse.h) and ends when it is unmounted.
Requests wait beside each other, a thread each; finding a name, its attributes, and closing take no time. The kernel
keeps no data: each read and write of a program is a request, of at most 1 MiB (of sendfile one for each 64 KiB), and
nothing can be mapped.
"""

import argparse
import ctypes
import errno
import os
import stat
import struct
import threading
import time
from collections.abc import Callable

THREADS = 64
REQUEST_BYTES = (1 << 20) + 8192
PIECE_BYTES = 1 << 16
KEPT_S = 3600
ATOMIC_TRUNCATE, BIG_WRITES, ANY_PAGES = 1 << 3, 1 << 5, 1 << 22
DIRECT = 1 << 0
MODE_SET, UID_SET, GID_SET, SIZE_SET, ATIME_SET, MTIME_SET = (1 << bit for bit in range(6))
ATIME_NOW, MTIME_NOW = 1 << 7, 1 << 8
FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42


class Tree:
    """Nodes (the kernel's numbers of files) and handles (of open files) of a folder."""

    def __init__(self, folder: str) -> None:
        self.root = os.path.realpath(folder)
        self.paths = {1: self.root}
        self.nodes: dict[tuple[int, int], int] = {}
        self.next_node = 2
        self.lock = threading.Lock()

    def child(self, node: int, name: bytes) -> str:
        return os.path.join(self.paths[node], os.fsdecode(name.split(b"\0", 1)[0]))

    def entry(self, path: str) -> bytes:
        """What a look-up answers: node and attributes, both kept for long."""
        about = os.lstat(path)
        with self.lock:
            key = about.st_dev, about.st_ino
            node = self.nodes.get(key)
            if node is None:
                node = self.nodes[key] = self.next_node
                self.next_node += 1
            self.paths[node] = path
        return struct.pack("<4Q2I", node, 0, KEPT_S, KEPT_S, 0, 0) + attributes(about)

    def moved(self, old: str, new: str) -> None:
        with self.lock:
            for node, path in self.paths.items():
                if path == old or path.startswith(f"{old}/"):
                    self.paths[node] = new + path[len(old) :]

    def removed(self, path: str) -> None:
        """The number of an inode is used again for another file."""
        about = os.lstat(path)
        with self.lock:
            if about.st_nlink == 1 or stat.S_ISDIR(about.st_mode):
                self.nodes.pop((about.st_dev, about.st_ino), None)


def attributes(about: os.stat_result) -> bytes:
    times = [getattr(about, f"st_{which}time_ns") for which in ("a", "m", "c")]
    return struct.pack(
        "<6Q10I", about.st_ino, about.st_size, about.st_blocks, *(t // 10**9 for t in times),
        *(t % 10**9 for t in times), about.st_mode, about.st_nlink, about.st_uid, about.st_gid, 0, 4096, 0,
    )  # fmt: skip


class Pipe:
    """Requests share a bandwidth evenly: each passes in small pieces, which take turns."""

    def __init__(self, rate: float) -> None:
        self.rate, self.free, self.lock = rate, 0.0, threading.Lock()

    def through(self, begin: float, size: int) -> float:
        """Wait until so many bytes have passed; gives when that was."""
        while self.rate and size > 0:
            piece = min(size, PIECE_BYTES)
            with self.lock:
                # whoever wakes up late loses nothing of what nobody else has taken
                begin = self.free = max(self.free, begin) + piece / self.rate
            sleep_until(begin)
            size -= piece
        return begin


def sleep_until(when: float) -> None:
    while (left := when - time.monotonic()) > 0:
        time.sleep(left)


class Server:
    """Answers requests."""

    def __init__(self, fuse: int, tree: Tree, options: argparse.Namespace) -> None:
        self.fuse, self.tree, self.options = fuse, tree, options
        self.pipes = {"read": Pipe(options.bandwidth), "write": Pipe(options.bandwidth)}
        none, meta = "", "metadata"
        self.calls: dict[int, tuple[Callable[[int, bytes], bytes], str]] = {
            1: (self.look_up, none), 3: (self.get, none), 4: (self.set, meta), 5: (self.read_link, none),
            6: (self.symlink, meta), 8: (self.make_node, meta), 9: (self.make_folder, meta), 10: (self.unlink, meta),
            11: (self.remove_folder, meta), 12: (self.rename, meta), 13: (self.link, meta), 14: (self.open, meta),
            15: (self.read, "read"), 16: (self.write, "write"), 17: (self.space, none), 18: (self.release, none),
            20: (self.sync, "sync"), 26: (self.begin, none), 27: (self.open_folder, none), 28: (self.list, meta),
            29: (self.release_folder, none), 30: (self.sync, "sync"), 35: (self.create, meta),
            43: (self.allocate, meta), 45: (self.rename_flagged, meta), 50: (self.sync_all, none),
        }  # fmt: skip

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.fuse, REQUEST_BYTES)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            begin = time.monotonic()
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (FORGET, INTERRUPT, BATCH_FORGET):
                continue
            call, kind = self.calls.get(opcode, (None, ""))
            if call is None:
                self.answer(unique, b"", errno.ENOSYS)
                continue
            try:
                data, failed = call(node, request[40:]), 0
            except OSError as error:
                data, failed = b"", error.errno or errno.EIO
            except KeyError:
                data, failed = b"", errno.ESTALE
            until = begin + (getattr(self.options, kind) if kind else 0.0)
            if kind in self.pipes:
                size = len(data) if kind == "read" else len(request)
                self.pipes[kind].through(begin, size)
            sleep_until(until)
            self.answer(unique, data, failed)

    def answer(self, unique: int, data: bytes, failed: int) -> None:
        try:
            os.writev(self.fuse, [struct.pack("<IiQ", 16 + len(data), -failed, unique), data])
        except OSError:
            return  # whoever asked is gone

    def begin(self, node: int, body: bytes) -> bytes:
        major, minor, ahead, flags = struct.unpack_from("<4I", body)
        flags &= ATOMIC_TRUNCATE | BIG_WRITES | ANY_PAGES
        return struct.pack("<4I2H2I2H8I", major, minor, ahead, flags, THREADS, THREADS, 1 << 20, 1, 256, *[0] * 9)

    def look_up(self, node: int, body: bytes) -> bytes:
        return self.tree.entry(self.tree.child(node, body))

    def get(self, node: int, body: bytes) -> bytes:
        return struct.pack("<QII", KEPT_S, 0, 0) + attributes(os.lstat(self.tree.paths[node]))

    def set(self, node: int, body: bytes) -> bytes:
        valid, size = struct.unpack_from("<I12xQ", body)
        atime, mtime, atime_ns, mtime_ns = struct.unpack_from("<32x2Q8x2I", body)
        mode, uid, gid = struct.unpack_from("<68xI4x2I", body)
        path = self.tree.paths[node]
        if valid & MODE_SET:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & (UID_SET | GID_SET):
            os.lchown(path, uid if valid & UID_SET else -1, gid if valid & GID_SET else -1)
        if valid & SIZE_SET:
            os.truncate(path, size)
        if valid & (ATIME_SET | MTIME_SET):
            about, now = os.lstat(path), time.time_ns()
            times = [
                (now if valid & at_once else seconds * 10**9 + ns) if valid & asked else before
                for asked, at_once, seconds, ns, before in (
                    (ATIME_SET, ATIME_NOW, atime, atime_ns, about.st_atime_ns),
                    (MTIME_SET, MTIME_NOW, mtime, mtime_ns, about.st_mtime_ns),
                )
            ]
            os.utime(path, ns=(times[0], times[1]), follow_symlinks=False)
        return self.get(node, body)

    def read_link(self, node: int, body: bytes) -> bytes:
        return os.fsencode(os.readlink(self.tree.paths[node]))

    def symlink(self, node: int, body: bytes) -> bytes:
        name, target = body.split(b"\0")[:2]
        path = self.tree.child(node, name)
        os.symlink(os.fsdecode(target), path)
        return self.tree.entry(path)

    def make_node(self, node: int, body: bytes) -> bytes:
        mode, device = struct.unpack_from("<2I", body)
        path = self.tree.child(node, body[16:])
        os.mknod(path, mode, device)
        return self.tree.entry(path)

    def make_folder(self, node: int, body: bytes) -> bytes:
        path = self.tree.child(node, body[8:])
        os.mkdir(path, struct.unpack_from("<I", body)[0])
        return self.tree.entry(path)

    def unlink(self, node: int, body: bytes) -> bytes:
        path = self.tree.child(node, body)
        self.tree.removed(path)
        os.unlink(path)
        return b""

    def remove_folder(self, node: int, body: bytes) -> bytes:
        path = self.tree.child(node, body)
        self.tree.removed(path)
        os.rmdir(path)
        return b""

    def rename(self, node: int, body: bytes, head: int = 8) -> bytes:
        old, new = body[head:].split(b"\0")[:2]
        source, target = self.tree.child(node, old), self.tree.child(struct.unpack_from("<Q", body)[0], new)
        if os.path.lexists(target):
            self.tree.removed(target)
        os.rename(source, target)
        self.tree.moved(source, target)
        return b""

    def rename_flagged(self, node: int, body: bytes) -> bytes:
        if struct.unpack_from("<8xI", body)[0]:
            raise OSError(errno.EINVAL, "flags of renameat2")
        return self.rename(node, body, 16)

    def link(self, node: int, body: bytes) -> bytes:
        path = self.tree.child(node, body[8:])
        os.link(self.tree.paths[struct.unpack_from("<Q", body)[0]], path, follow_symlinks=False)
        return self.tree.entry(path)

    def open(self, node: int, body: bytes) -> bytes:
        flags = struct.unpack_from("<I", body)[0] & ~(
            os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_DIRECT
        )
        return struct.pack("<QII", os.open(self.tree.paths[node], flags), DIRECT, 0)

    def create(self, node: int, body: bytes) -> bytes:
        flags, mode = struct.unpack_from("<2I", body)
        path = self.tree.child(node, body[16:])
        handle = os.open(path, flags & ~(os.O_NOFOLLOW | os.O_APPEND | os.O_DIRECT), mode)
        return self.tree.entry(path) + struct.pack("<QII", handle, DIRECT, 0)

    def read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(handle, size, offset)

    def write(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(handle, memoryview(body)[40 : 40 + size], offset), 0)

    def release(self, node: int, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def sync(self, node: int, body: bytes) -> bytes:
        return b""

    def sync_all(self, node: int, body: bytes) -> bytes:
        return b""

    def allocate(self, node: int, body: bytes) -> bytes:
        handle, offset, length, mode = struct.unpack_from("<3QI", body)
        if mode:
            raise OSError(errno.EOPNOTSUPP, "modes of fallocate")
        os.posix_fallocate(handle, offset, length)
        return b""

    def space(self, node: int, body: bytes) -> bytes:
        about = os.statvfs(self.tree.root)
        return struct.pack(
            "<5Q4I24x", about.f_blocks, about.f_bfree, about.f_bavail, about.f_files, about.f_ffree, about.f_bsize,
            about.f_namemax, about.f_frsize, 0,
        )  # fmt: skip

    def open_folder(self, node: int, body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0)

    def list(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        found = b""
        for number, name in enumerate([".", "..", *sorted(os.listdir(self.tree.paths[node]))][offset:], offset + 1):
            encoded = os.fsencode(name)
            one = struct.pack("<QQII", 1, number, len(encoded), 0) + encoded
            one += bytes(-len(one) % 8)
            if len(found) + len(one) > size:
                break
            found += one
        return found

    def release_folder(self, node: int, body: bytes) -> bytes:
        return b""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("point")
    parser.add_argument("folder")
    for kind in ("metadata", "read", "write", "sync"):
        parser.add_argument(f"--{kind}", type=float, default=0.0)
    parser.add_argument("--bandwidth", type=float, default=0.0)
    options = parser.parse_args()
    fuse = os.open("/dev/fuse", os.O_RDWR)
    words = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={1 << 20}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"delayed", options.point.encode(), b"fuse.delayed", 0, words.encode()):
        raise SystemExit(f"mount: {os.strerror(ctypes.get_errno())}")
    os.umask(0)
    server = Server(fuse, Tree(options.folder), options)
    threads = [threading.Thread(target=server.serve, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    threads[0].join()


if __name__ == "__main__":
    main()

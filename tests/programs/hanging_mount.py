"""A FUSE mount that hangs as a file server's that died: `hanging_mount.py POINT`, by root, until its input ends.

It speaks the kernel's protocol itself (include/uapi/linux/fuse.h). In its root are folders of any name that begins with
J; whoever looks for anything else, such as J6/job.json, waits in the kernel and cannot be killed.
"""

import ctypes
import errno
import os
import select
import struct
import sys

LOOKUP, FORGET, GETATTR, INIT, BATCH_FORGET = 1, 2, 3, 26, 42
FOLDER_MODE = 0o40755


def attributes(node: int) -> bytes:
    return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, FOLDER_MODE, 2, 0, 0, 0, 4096, 0)


def reply(fuse: int, unique: int, data: bytes = b"", error: int = 0) -> None:
    os.write(fuse, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)


def serve(fuse: int) -> None:
    while True:
        if sys.stdin.fileno() in select.select([fuse, sys.stdin.fileno()], [], [])[0]:
            return
        request = os.read(fuse, 1 << 20)
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        body = request[40:]
        if opcode == INIT:
            major, minor, readahead = struct.unpack_from("<III", body)
            reply(fuse, unique, struct.pack("<IIIIHHIIHHI28x", major, minor, readahead, 0, 16, 12, 4096, 1, 1, 0, 0))
        elif opcode == GETATTR:
            reply(fuse, unique, struct.pack("<QII", 3600, 0, 0) + attributes(node))
        elif opcode == LOOKUP:
            if body.startswith(b"J"):
                reply(fuse, unique, struct.pack("<4Q2I", 2, 0, 3600, 3600, 0, 0) + attributes(2))
        elif opcode not in (FORGET, BATCH_FORGET):
            reply(fuse, unique, error=errno.ENOSYS)


def main() -> None:
    point = sys.argv[1]
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"hanging", point.encode(), b"fuse", 0, options.encode()):
        print(f"mount: {os.strerror(ctypes.get_errno())}", flush=True)
        return
    print("mounted", flush=True)
    try:
        serve(fuse)
    finally:
        libc.umount2(point.encode(), 2)


if __name__ == "__main__":
    main()

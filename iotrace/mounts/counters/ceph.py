"""CephFS by ceph-fuse: the client's admin socket (`perf dump`; docs.ceph.com, "Perf counters").

Bytes over the wire are those of the messengers, headers and the MDS's answers included. `cache_bytes_hit` of the
object cache counts a block once for each of FUSE's requests and is many times what was read (seen on Ceph 16.2): it is
kept as it is and decides nothing.

A socket takes a JSON object that ends with a zero byte, and answers with the length (4 bytes, the highest first) and a
JSON object.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

from iotrace.mounts.counters.source import READ, WRITTEN, Counts, Source, text_of
from iotrace.mounts.mountinfo import Mount

_ANSWERS_S: Final = 2.0
_MOST_BYTES: Final = 16 << 20
_CLIENT: Final = "ceph-fuse"
_OBJECTS: Final = ("cache_bytes_hit", "cache_bytes_miss", "data_read", "data_flushed")
_REQUESTS: Final = ("op_r", "op_w", "op_send_bytes")


def parse_perf(text: str) -> Counts:
    """Counters of a client's `perf dump`; empty where the text is no such object."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    found: Counts = {}
    for part, counters in said.items():
        if not isinstance(counters, dict):
            continue
        if part.startswith("AsyncMessenger::Worker"):
            for name, what in (("msgr_recv_bytes", READ), ("msgr_send_bytes", WRITTEN)):
                found[what] = found.get(what, 0) + _whole(counters.get(name))
        elif part.startswith("objectcacher"):
            found |= {name: _whole(counters.get(name)) for name in _OBJECTS if name in counters}
        elif part == "objecter":
            found |= {name: _whole(counters.get(name)) for name in _REQUESTS if name in counters}
    return found


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def ask(path: str, command: str) -> str:
    """What an admin socket answers to a command.

    Raises
    ------
    OSError: nobody answers in time. ValueError: the answer does not have the protocol's form.
    """
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(_ANSWERS_S)
        connection.connect(path)
        connection.sendall(json.dumps({"prefix": command}).encode() + b"\0")
        size = struct.unpack(">I", _receive(connection, 4))[0]
        if size > _MOST_BYTES:
            raise ValueError(f"{path}: an answer of {size} bytes is none of ceph-fuse's")
        return _receive(connection, size).decode("utf-8", "replace")


def _receive(connection: socket.socket, size: int) -> bytes:
    parts, left = [], size
    while left:
        part = connection.recv(min(left, 1 << 16))
        if not part:
            raise ValueError("the admin socket closed within its answer")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def listening(text: str) -> list[str]:
    """Paths of the admin sockets in /proc/net/unix that are listened on."""
    found = []
    for line in text.splitlines():
        words = line.split(None, 7)
        # flag 00010000: listening (__SO_ACCEPTCON)
        if len(words) == 8 and words[3] == "00010000" and words[7].endswith(".asok"):
            found.append(words[7])
    return list(dict.fromkeys(found))


def mount_point_of(status: str) -> str:
    """Where the client that answered `status` is mounted, "" where it does not say."""
    try:
        said = json.loads(status)["metadata"]["mount_point"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""


def ceph_sources(mount: Mount) -> list[Source]:
    """The client process of a mount, if it has an admin socket that this user may open."""
    for path in _sockets():
        try:
            point = mount_point_of(ask(path, "status"))
        except (OSError, ValueError):
            continue
        if os.path.normpath(point) == os.path.normpath(mount.point):
            return [Source(f"ceph-fuse on {mount.point} (admin socket {path})", "mount", partial(_read, path))]
    return []


def _sockets() -> list[str]:
    """Of the ceph-fuse processes, each in its own network namespace."""
    found: dict[str, None] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if text_of(process / "comm").strip() == _CLIENT:
                found |= dict.fromkeys(listening(text_of(process / "net/unix")))
        except OSError:
            continue
    return list(found)


def _read(path: str) -> Counts:
    return parse_perf(ask(path, "perf dump"))

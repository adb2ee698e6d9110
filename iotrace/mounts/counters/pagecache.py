"""The page cache of this machine: what of a file is in it (cachestat, from Linux 6.5 on, else mincore), and how much
waits to be written (/proc/meminfo)."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import Any, Final

from iotrace.mounts.counters.source import Counts, Source, text_of, whole

_CACHESTAT: Final = 451
_PAGE: Final = mmap.PAGESIZE
_MEMINFO: Final = Path("/proc/meminfo")
_NAMES: Final = {"Cached": "cached_bytes_now", "Dirty": "dirty_bytes_now", "Writeback": "writeback_bytes_now"}


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Stat(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64) for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted")
    )


_libc: Final = ctypes.CDLL(None, use_errno=True)


def cached_pages(descriptor: int, size: int) -> int:
    """Pages of a file's first `size` bytes in the page cache; -1 where the kernel does not tell."""
    if size <= 0:
        return 0
    where, found = _Range(0, size), _Stat()
    failed = _libc.syscall(
        ctypes.c_long(_CACHESTAT), ctypes.c_uint(descriptor), ctypes.byref(where), ctypes.byref(found), ctypes.c_uint(0)
    )
    return int(found.cached) if failed == 0 else resident_pages(descriptor, size)


def resident_pages(descriptor: int, size: int) -> int:
    """As cached_pages, by mincore: older kernels and some file systems have no cachestat."""
    try:
        # copy-on-write, for ctypes takes the address of memory only where it may write
        with mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as memory:
            pages = (size + _PAGE - 1) // _PAGE
            flags = (ctypes.c_ubyte * pages)()
            first: Any = ctypes.c_char.from_buffer(memory)
            failed = _libc.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), flags)
            del first
            return sum(flag & 1 for flag in bytes(flags)) if failed == 0 else -1
    except (OSError, ValueError):
        return -1


def parse_meminfo(text: str) -> Counts:
    """Bytes in the page cache, of pages that are dirty, and of pages that are being written, at the moment."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        number = whole(words[0]) if name in _NAMES and len(words) == 2 and words[1] == "kB" else None
        if number is not None:
            found[_NAMES[name]] = number * 1024
    return found


def page_cache_source() -> Source:
    """The page cache of the whole machine."""
    return Source("page cache (/proc/meminfo)", "node", _read, decides=False)


def _read() -> Counts:
    return parse_meminfo(text_of(_MEMINFO))

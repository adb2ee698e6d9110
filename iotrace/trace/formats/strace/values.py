"""Values as strace prints them: numbers, symbolic constants, C strings, descriptors with `-y` names, structures.

Follows strace's own printers (src/print_fields.h, src/util.c: printflags, printfd, print_quoted_string) of versions 4
to 6, with constants abbreviated (the default) or raw (`-X raw`). Text is str in Latin-1: one character a byte.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import signal
import stat as modes
from typing import Final

from iotrace.trace.assembly.identity import Stat


def _constants() -> dict[str, int]:
    """Numbers of the constants that strace names: this machine's own, and those that Python's modules lack."""
    known: dict[str, int] = {}
    prefixes = {
        os: ("O_", "SEEK_", "F_OK", "R_OK", "W_OK", "X_OK", "POSIX_FADV_", "RWF_", "SPLICE_F_", "P_", "XATTR_"),
        fcntl: ("F_", "LOCK_", "FD_CLOEXEC"),
        mmap: ("PROT_", "MAP_", "MADV_"),
        modes: ("S_I",),
    }
    for module, names in prefixes.items():
        for name in dir(module):
            value = getattr(module, name)
            if name.startswith(names) and isinstance(value, int):
                known[name] = int(value)
    known |= {number.name: int(number) for number in signal.Signals}
    # linux/fcntl.h, linux/fs.h, linux/falloc.h, linux/sched.h, linux/stat.h, linux/mman.h, asm-generic/fcntl.h
    known |= {
        "AT_FDCWD": -100, "AT_SYMLINK_NOFOLLOW": 0x100, "AT_REMOVEDIR": 0x200, "AT_EACCESS": 0x200,
        "AT_SYMLINK_FOLLOW": 0x400,
        "AT_NO_AUTOMOUNT": 0x800, "AT_EMPTY_PATH": 0x1000, "AT_STATX_SYNC_AS_STAT": 0, "AT_STATX_FORCE_SYNC": 0x2000,
        "AT_STATX_DONT_SYNC": 0x4000, "AT_RECURSIVE": 0x8000, "O_LARGEFILE": 0o100000, "O_TMPFILE": 0o20200000,
        "O_PATH": 0o10000000, "FASYNC": 0o20000, "SEEK_DATA": 3, "SEEK_HOLE": 4,
        "F_DUPFD": 0, "F_GETFD": 1, "F_SETFD": 2, "F_GETFL": 3, "F_SETFL": 4, "F_GETLK": 5, "F_SETLK": 6, "F_SETLKW": 7,
        "F_SETOWN": 8, "F_GETOWN": 9, "F_OFD_GETLK": 36, "F_OFD_SETLK": 37, "F_OFD_SETLKW": 38, "F_SETLEASE": 1024,
        "F_GETLEASE": 1025, "F_NOTIFY": 1026, "F_DUPFD_CLOEXEC": 1030, "F_SETPIPE_SZ": 1031, "F_GETPIPE_SZ": 1032,
        "F_ADD_SEALS": 1033, "F_GET_SEALS": 1034, "F_RDLCK": 0, "F_WRLCK": 1, "F_UNLCK": 2,
        "FALLOC_FL_KEEP_SIZE": 1, "FALLOC_FL_PUNCH_HOLE": 2, "FALLOC_FL_NO_HIDE_STALE": 4,
        "FALLOC_FL_COLLAPSE_RANGE": 8,
        "FALLOC_FL_ZERO_RANGE": 16, "FALLOC_FL_INSERT_RANGE": 32, "FALLOC_FL_UNSHARE_RANGE": 64,
        "RENAME_NOREPLACE": 1, "RENAME_EXCHANGE": 2, "RENAME_WHITEOUT": 4, "XATTR_CREATE": 1, "XATTR_REPLACE": 2,
        "MS_ASYNC": 1, "MS_INVALIDATE": 2, "MS_SYNC": 4, "MREMAP_MAYMOVE": 1, "MREMAP_FIXED": 2, "MREMAP_DONTUNMAP": 4,
        "MAP_SHARED_VALIDATE": 3, "MAP_FIXED": 0x10, "MAP_32BIT": 0x40, "MAP_GROWSDOWN": 0x100, "MAP_LOCKED": 0x2000,
        "MAP_NONBLOCK": 0x10000, "MAP_HUGETLB": 0x40000, "MAP_SYNC": 0x80000, "MAP_FIXED_NOREPLACE": 0x100000,
        "MAP_HUGE_SHIFT": 26, "PROT_NONE": 0, "PROT_GROWSDOWN": 0x01000000, "PROT_GROWSUP": 0x02000000,
        "MADV_NORMAL": 0, "MADV_COLD": 20, "MADV_PAGEOUT": 21, "MADV_POPULATE_READ": 22, "MADV_POPULATE_WRITE": 23,
        "MADV_DONTNEED_LOCKED": 24, "MADV_COLLAPSE": 25, "MADV_WIPEONFORK": 18, "MADV_KEEPONFORK": 19,
        "SYNC_FILE_RANGE_WAIT_BEFORE": 1, "SYNC_FILE_RANGE_WRITE": 2, "SYNC_FILE_RANGE_WAIT_AFTER": 4,
        "SYNC_FILE_RANGE_WRITE_AND_WAIT": 7, "CLOSE_RANGE_UNSHARE": 2, "CLOSE_RANGE_CLOEXEC": 4,
        "SPLICE_F_MOVE": 1, "SPLICE_F_NONBLOCK": 2, "SPLICE_F_MORE": 4, "SPLICE_F_GIFT": 8,
        "RWF_HIPRI": 1, "RWF_DSYNC": 2, "RWF_SYNC": 4, "RWF_NOWAIT": 8, "RWF_APPEND": 16, "RWF_NOAPPEND": 32,
        "RWF_ATOMIC": 64, "RWF_DONTCACHE": 128, "MAP_FILE": 0, "MAP_NORESERVE": 0x4000, "MAP_UNINITIALIZED": 0x4000000,
        "PROT_SEM": 8, "MADV_SOFT_OFFLINE": 101, "MADV_GUARD_INSTALL": 102, "MADV_GUARD_REMOVE": 103,
        "STATX_MNT_ID_UNIQUE": 0x4000, "STATX_SUBVOL": 0x8000, "STATX_WRITE_ATOMIC": 0x10000,
        "STATX__RESERVED": 0x80000000, "F_SETOWN_EX": 15, "F_GETOWN_EX": 16, "F_GETOWNER_UIDS": 17,
        "F_DUPFD_QUERY": 1027, "F_CREATED_QUERY": 1028, "F_CANCELLK": 1029, "F_GET_RW_HINT": 1035,
        "F_SET_RW_HINT": 1036, "F_GET_FILE_RW_HINT": 1037, "F_SET_FILE_RW_HINT": 1038,
        "CLONE_VM": 0x100, "CLONE_FS": 0x200, "CLONE_FILES": 0x400, "CLONE_SIGHAND": 0x800, "CLONE_PIDFD": 0x1000,
        "CLONE_PTRACE": 0x2000, "CLONE_VFORK": 0x4000, "CLONE_PARENT": 0x8000, "CLONE_THREAD": 0x10000,
        "CLONE_NEWNS": 0x20000,
        "CLONE_SYSVSEM": 0x40000, "CLONE_SETTLS": 0x80000, "CLONE_PARENT_SETTID": 0x100000,
        "CLONE_CHILD_CLEARTID": 0x200000,
        "CLONE_DETACHED": 0x400000, "CLONE_UNTRACED": 0x800000, "CLONE_CHILD_SETTID": 0x1000000,
        "CLONE_NEWCGROUP": 0x2000000,
        "CLONE_NEWUTS": 0x4000000, "CLONE_NEWIPC": 0x8000000, "CLONE_NEWUSER": 0x10000000, "CLONE_NEWPID": 0x20000000,
        "CLONE_NEWNET": 0x40000000, "CLONE_IO": 0x80000000, "CLONE_CLEAR_SIGHAND": 0x100000000,
        "STATX_TYPE": 1, "STATX_MODE": 2, "STATX_NLINK": 4, "STATX_UID": 8, "STATX_GID": 0x10, "STATX_ATIME": 0x20,
        "STATX_MTIME": 0x40, "STATX_CTIME": 0x80, "STATX_INO": 0x100, "STATX_SIZE": 0x200, "STATX_BLOCKS": 0x400,
        "STATX_BASIC_STATS": 0x7FF, "STATX_BTIME": 0x800, "STATX_ALL": 0xFFF, "STATX_MNT_ID": 0x1000,
        "STATX_DIOALIGN": 0x2000,
        "S_ISUID": 0o4000, "S_ISGID": 0o2000, "S_ISVTX": 0o1000, "NULL": 0,
        "RESOLVE_NO_XDEV": 1, "RESOLVE_NO_MAGICLINKS": 2, "RESOLVE_NO_SYMLINKS": 4, "RESOLVE_BENEATH": 8,
        "RESOLVE_IN_ROOT": 0x10, "RESOLVE_CACHED": 0x20,
        "FIOCLEX": 0x5451, "FIONCLEX": 0x5450, "FICLONE": 0x40049409, "FICLONERANGE": 0x4020940D,
    }  # fmt: skip
    return known


CONSTANTS: Final = _constants()
ERRNO: Final[dict[str, int]] = {
    # not errno.errorcode: it has one name for each number, and not the one that strace prints of 35 and 95
    **{name: number for name, number in vars(errno).items() if name.startswith("E")},
    # a call that a signal interrupted: the program sees EINTR, or the kernel calls again and another line tells
    "ERESTARTSYS": errno.EINTR, "ERESTARTNOINTR": errno.EINTR, "ERESTARTNOHAND": errno.EINTR,
    "ERESTART_RESTARTBLOCK": errno.EINTR,
    # the kernel's own (include/linux/errno.h), which network file systems let through
    "EHWPOISON": 133, "ENOIOCTLCMD": 515, "EPROBE_DEFER": 517, "EOPENSTALE": 518, "ENOPARAM": 519, "EBADHANDLE": 521,
    "ENOTSYNC": 522, "EBADCOOKIE": 523, "ENOTSUPP": 524, "ETOOSMALL": 525, "ESERVERFAULT": 526, "EBADTYPE": 527,
    "EJUKEBOX": 528, "EIOCBQUEUED": 529, "ERECALLCONFLICT": 530, "ENOGRACE": 531,
}  # fmt: skip

OTHER: Final = b""
"""Name of a descriptor that is no file: a pipe, socket, device or the like."""

_ESCAPE: Final = re.compile(r"\\([0-7]{1,3}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_HEXADECIMAL: Final = re.compile(r"(?:\\x[0-9a-f]{2})++")
_LETTERS: Final = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", "a": "\a", "b": "\b", "0": "\0"}
_QUOTED: Final = r'"(?:[^"\\]|\\.)*+"'
_NAMED: Final = r"<(?:->|[^<>]|<[^<>]*>)*+>"
_ARGUMENT: Final = re.compile(
    rf'((?:[^,"<\[\]{{}}()]++|{_QUOTED}|{_NAMED}'
    rf'|\{{(?:[^{{}}\[\]"]++|{_QUOTED})*+\}}|\[(?:[^\[\]"]++|{_QUOTED})*+\]|\([^()"]*+\))++)(?:,|$)',
    re.DOTALL,
)
_OPENERS: Final = re.compile(rf"{_QUOTED}|{_NAMED}|/\*|[\[\]{{}}(),]", re.DOTALL)
_COMMENT: Final = re.compile(r"\s*/\*.*?\*/\s*")
_STRING: Final = re.compile(r'@?"((?:[^"\\]|\\.)*+)"(\.\.\.)?')
_DESCRIPTOR: Final = re.compile(r"(0x[0-9a-f]+|-?\d+|AT_FDCWD)(?:<((?:->|[^<>]|<[^<>]*>)*)>)?(\(deleted\))?")
_NO_FILE: Final = re.compile(rb"[A-Za-z][\w-]*:")
"""pipe:[1], socket:[1], TCPv6:[…], UNIX-STREAM:[…], anon_inode:[eventfd]."""
_DEVICE: Final = re.compile("<(?:char|block) ")
_FIELD: Final = re.compile(r"(\w+)=(makedev\([^)]*\)|[^,{}\[\]()]+)")
_STAT: Final = re.compile(
    r"\{st_dev=(makedev\([^)]*\)|0x[0-9a-f]+), st_ino=(\d+), st_mode=([^,]+), st_nlink=(\d+), [^\[{]*?st_blocks=(\d+)"
    r"(?:, st_size=(\d+)|, st_rdev)"
)
"""A whole struct stat (strace -v), as most lines of a log of metadata have it."""
_IOV_LENGTH: Final = re.compile(r"\biov_len=(0x[0-9a-f]+|\d+)")
_ENTRIES: Final = re.compile(r"/\* (\d+) entries \*/")
_CACHE_LIMIT: Final = 1 << 14

_flag_cache: dict[str, int | None] = {}


class NotUnderstood(ValueError):
    """Text that is not what strace prints."""


def number(text: str) -> int:
    """A number: decimal, 0x hexadecimal or 0-led octal."""
    try:
        if text[:1] == "0" and len(text) > 1:
            return int(text, 16) if text[1] in "xX" else int(text, 8)
        return int(text)
    except ValueError:
        raise NotUnderstood(text) from None


def errno_of(name: str) -> int:
    """Number of an error, `ENOENT` or (one without a name) `ERRNO_530`.

    Raises
    ------
    NotUnderstood: there is none of this name.
    """
    known = ERRNO.get(name)
    if known is None and name.startswith("ERRNO_"):
        known = number(name[6:])
    if known is None or known >= 4096:
        raise NotUnderstood(name)
    return known


def flags(text: str) -> int | None:
    """Bits of `O_RDWR|O_CREAT|0x4000000`, `0`, `MAP_SHARED|21<<MAP_HUGE_SHIFT`; None when no part has a known number.

    Raises
    ------
    NotUnderstood: the text is nothing of this kind.
    """
    if text.isdigit() and (text[0] != "0" or text == "0") and text.isascii():
        return int(text)
    known = _flag_cache.get(text, -1)
    if known != -1:
        return known
    value: int | None = None
    for part in _COMMENT.sub("", text).split("|"):
        part = part.strip()
        if not part:
            # strace 6.1 prints nothing for a zero of statx's sync mode under -X raw
            bits = 0
        elif part in CONSTANTS:
            bits = CONSTANTS[part]
        elif "<<" in part:
            left, _, right = part.partition("<<")
            shift = CONSTANTS[right.strip()] if right.strip() in CONSTANTS else number(right.strip())
            if not 0 <= shift < 64:
                raise NotUnderstood(text)
            bits = number(left.strip()) << shift
        elif part[:1].isdigit() or part[:1] == "-":
            bits = number(part)
        elif re.fullmatch(r"[A-Z_][A-Z0-9_?]*", part):
            continue
        else:
            raise NotUnderstood(text)
        value = bits if value is None else value | bits
    if len(_flag_cache) >= _CACHE_LIMIT:
        _flag_cache.clear()
    _flag_cache[text] = value
    return value


def unescape(text: str) -> bytes:
    """Bytes of a C string's inside."""
    if _HEXADECIMAL.fullmatch(text):
        # -xx shows all so
        return bytes.fromhex(text.replace("\\x", ""))
    if "\\" in text:
        text = _ESCAPE.sub(_unescape_one, text)
    return text.encode("latin-1")


def _unescape_one(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] == "x" and len(code) == 3:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8) & 0xFF)
    return _LETTERS.get(code, code)


def string(text: str) -> bytes | None:
    """Bytes of `"…"`; None for NULL or an address (of memory that was not readable)."""
    match = _STRING.match(text)
    if match is None:
        if text.startswith(("NULL", "0x")):
            return None
        raise NotUnderstood(text)
    return unescape(match[1])


def strings(text: str) -> list[bytes] | None:
    """Strings of `["…", "…"]`; None for an address."""
    if not text.startswith("["):
        return None
    return [unescape(match[1]) for match in _STRING.finditer(text)]


def cut_strings(text: str) -> int:
    """How many strings of `["…"..., "…"]` are shown by their beginning only."""
    return sum(match[2] is not None for match in _STRING.finditer(text))


def shown_name(text: str | None, deleted: bool) -> bytes | None:
    """What `-y` shows behind a descriptor: a path, OTHER, or None for nothing and for what is neither."""
    if text is None:
        return None
    if "<" in text:
        # 3</dev/null<char 1:3>>
        return OTHER if _DEVICE.search(text) else None
    # -x and -xx show names in hexadecimal, as they do strings
    name = unescape(text)
    if name.startswith(b"/"):
        return name + (b" (deleted)" if deleted else b"")
    return OTHER if _NO_FILE.match(name) else None


def descriptor(text: str) -> tuple[int, bytes | None]:
    """`3`, `0x3`, `3</a/b>`, `3</a/b>(deleted)`, `AT_FDCWD</a>`."""
    match = _DESCRIPTOR.match(text)
    if match is None:
        raise NotUnderstood(text)
    fd = -100 if match[1] == "AT_FDCWD" else number(match[1])
    if fd > 0x7FFFFFFF:
        fd = (fd & 0xFFFFFFFF) - (1 << 32) if fd & 0x80000000 else fd & 0x7FFFFFFF
    return fd, shown_name(match[2], match[3] is not None)


def offset_at(text: str) -> int | None:
    """`[0] => [50]`, `[10]`, `NULL`: the position before the call."""
    if not text.startswith("["):
        return None
    inner = text[1 : text.index("]")] if "]" in text else ""
    return number(inner)


def vectors(text: str) -> int | None:
    """Bytes that the vectors of an iovec array hold together; None where the array is not decoded."""
    if not text.startswith("["):
        return None
    # what the vectors point at may hold anything
    return sum(number(length) for length in _IOV_LENGTH.findall(_STRING.sub('""', text)))


def fields(text: str) -> dict[str, str]:
    """Simple fields of a structure, `{a=1, b=X|Y, ...}`."""
    return {match[1]: match[2].strip() for match in _FIELD.finditer(_COMMENT.sub("", text))}


def device(text: str) -> int | None:
    """`makedev(0xfe, 0)` or a raw number."""
    if text.startswith("makedev("):
        major, _, minor = text[8:].rstrip(")").partition(",")
        return os.makedev(number(major.strip()) & 0xFFFFFFFF, number(minor.strip()) & 0xFFFFFFFF)
    return number(text)


def stat(text: str) -> Stat | None:
    """A struct stat or statx; None for an address (a failed call).

    Raises
    ------
    NotUnderstood: a number is none that a kernel has.
    """
    if not text.startswith("{"):
        return None
    result = _stat(text)
    numbers = (result.size, result.device, result.inode, result.blocks, result.links)
    if any(number is not None and not 0 <= number < 1 << 63 for number in numbers):
        raise NotUnderstood(text)
    if result.mode is not None and not 0 <= result.mode < 1 << 31:
        raise NotUnderstood(text)
    return result


def _stat(text: str) -> Stat:
    result = Stat()
    match = _STAT.match(text)
    if match is not None:
        result.device, result.inode, result.mode = device(match[1]), int(match[2]), flags(match[3])
        result.links, result.blocks, result.size = int(match[4]), int(match[5]), int(match[6] or 0)
        return result
    found = fields(text)
    prefix = "stx_" if "stx_mode" in found or "stx_size" in found else "st_"
    result.mode, result.size, result.inode = (
        _of(found, prefix + "mode"),
        _of(found, prefix + "size"),
        _of(found, prefix + "ino"),
    )
    result.blocks, result.links = _of(found, prefix + "blocks"), _of(found, prefix + "nlink")
    if "st_dev" in found:
        result.device = device(found["st_dev"])
    elif "stx_dev_major" in found and "stx_dev_minor" in found:
        major, minor = number(found["stx_dev_major"]), number(found["stx_dev_minor"])
        result.device = os.makedev(major & 0xFFFFFFFF, minor & 0xFFFFFFFF)
    return result


def _of(found: dict[str, str], name: str) -> int | None:
    return flags(found[name]) if name in found else None


def entries(text: str) -> int | None:
    """Names that a getdents returned, where the log counts or lists them."""
    match = _ENTRIES.search(text)
    if match:
        if len(match[1]) > 9:
            raise NotUnderstood(text)
        return int(match[1])
    return text.count("d_ino=") if text.startswith("[") else None


def arguments(text: str) -> list[str]:
    """Arguments of a call, cut at the commas outside of strings, structures and names.

    Raises
    ------
    NotUnderstood: quotes or brackets do not match.
    """
    if not text:
        return []
    if '"' not in text and "<" not in text and "{" not in text and "[" not in text and "(" not in text:
        return text.split(", ")
    found = _ARGUMENT.findall(text)
    # commas are all that the pattern may leave out
    if sum(map(len, found)) + len(found) - 1 == len(text):
        return [part.strip() for part in found]
    return _arguments_by_depth(text)


def _arguments_by_depth(text: str) -> list[str]:
    parts: list[str] = []
    closers: list[str] = []
    begin = at = 0
    while (match := _OPENERS.search(text, at)) is not None:
        token = match[0]
        at = match.end()
        if token == "/*":
            end = text.find("*/", at)
            at = len(text) if end < 0 else end + 2
        elif token in "[{(":
            closers.append({"[": "]", "{": "}", "(": ")"}[token])
        elif token in "]})":
            if not closers or closers.pop() != token:
                raise NotUnderstood(text)
        elif token == "," and not closers:
            parts.append(text[begin : match.start()].strip())
            begin = at
    if closers or '"' in _OPENERS.sub("", text):
        raise NotUnderstood(text)
    parts.append(text[begin:].strip())
    return parts

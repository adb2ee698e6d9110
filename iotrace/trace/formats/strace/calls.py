"""From the text of a call's arguments to a Call: which argument is what stands in the table of operations.

Calls whose arguments need more than that (fork, exec, wait, exit, fcntl, mremap) have a function each.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from iotrace.trace.assembly.calls import Call
from iotrace.trace.formats.strace import values as v
from iotrace.trace.operations import BY_NAME, CLONES, PROCESS_CALLS, Operation, fcntl_operation

_CLONE_FLAGS: Final = re.compile(r"\bflags=([^,}]+)")
_EXIT_SIGNAL: Final = re.compile(r"\bexit_signal=(\w+)")
_SI_PID: Final = re.compile(r"\bsi_pid=(\d+)")
_COMMAND: Final = re.compile(
    r"(?:0x[0-9a-f]+|-?\d+)(?:<(?:->|[^<>]|<[^<>]*>)*+>)?(?:\(deleted\))?, (0x[0-9a-f]+|\w+(?: or \w+)*)"
)
_RESOLVE_IN_ROOT: Final = 0x10
_FORK, _VFORK = 17, 0x4111
"""Clone flags that fork() and vfork() stand for: SIGCHLD; CLONE_VM, CLONE_VFORK, SIGCHLD."""


def _set_fd(call: Call, text: str) -> None:
    call.fd, call.fd_name = v.descriptor(text)


def _set_fd2(call: Call, text: str) -> None:
    call.fd2, call.fd2_name = v.descriptor(text)


def _set_dirfd(call: Call, text: str) -> None:
    call.dirfd, call.dirfd_name = v.descriptor(text)


def _set_dirfd2(call: Call, text: str) -> None:
    call.dirfd2, call.dirfd2_name = v.descriptor(text)


def _set_path(call: Call, text: str) -> None:
    call.path = v.string(text)


def _set_path2(call: Call, text: str) -> None:
    call.path2 = v.string(text)


def _whole(call: Call, text: str) -> bytes | None:
    """A string; None where only its beginning stands there (strace -s)."""
    if text.endswith('"...'):
        call.cut_names += 1
        return None
    return v.string(text)


def _set_name(call: Call, text: str) -> None:
    call.name = _whole(call, text)


def _set_text(call: Call, text: str) -> None:
    call.text = _whole(call, text)


def _set_size(call: Call, text: str) -> None:
    call.size = v.flags(text)


def _set_offset(call: Call, text: str) -> None:
    call.offset = v.flags(text)


def _set_offset_at(call: Call, text: str) -> None:
    call.offset = v.offset_at(text)


def _set_offset2_at(call: Call, text: str) -> None:
    call.offset2 = v.offset_at(text)


def _set_flags(call: Call, text: str) -> None:
    call.flags = v.flags(text)


def _set_mode(call: Call, text: str) -> None:
    call.mode = v.flags(text)


def _set_address(call: Call, text: str) -> None:
    call.address = None if text == "NULL" else v.flags(text)


def _set_iovec(call: Call, text: str) -> None:
    call.size = v.vectors(text)


def _set_count(call: Call, text: str) -> None:
    call.count = v.flags(text)


def _set_stat(call: Call, text: str) -> None:
    call.stat = v.stat(text)


def _set_how(call: Call, text: str) -> None:
    found = v.fields(text)
    call.flags = v.flags(found["flags"]) if "flags" in found else None
    call.mode = v.flags(found["mode"]) if "mode" in found else None
    resolve = v.flags(found["resolve"]) if "resolve" in found else None
    if (resolve or 0) & _RESOLVE_IN_ROOT and call.path is not None and call.path.startswith(b"/"):
        # the folder is the name's root: from there the name is a relative one
        call.path = call.path.lstrip(b"/") or b"."


def _set_lock(call: Call, text: str) -> None:
    found = v.fields(text.partition(" => ")[0])
    call.mode = v.flags(found["l_type"]) if "l_type" in found else None
    call.whence = v.flags(found["l_whence"]) if "l_whence" in found else None
    call.offset = v.flags(found["l_start"]) if "l_start" in found else None
    call.size = v.flags(found["l_len"]) if "l_len" in found else None


def _set_entries(call: Call, text: str) -> None:
    call.entries = v.entries(text)


_SETTERS: Final[dict[str, Callable[[Call, str], None]]] = {
    "fd": _set_fd, "fd2": _set_fd2, "dirfd": _set_dirfd, "dirfd2": _set_dirfd2, "path": _set_path, "path2": _set_path2,
    "name": _set_name, "size": _set_size, "offset": _set_offset, "offset_at": _set_offset_at,
    "offset2_at": _set_offset2_at,
    "flags": _set_flags, "mode": _set_mode, "address": _set_address, "iovec": _set_iovec, "count": _set_count,
    "stat": _set_stat, "statx": _set_stat, "how": _set_how, "lock": _set_lock, "text": _set_text,
}  # fmt: skip
Extraction = tuple[tuple[int, Callable[[Call, str], None]], ...]


def _extraction(name: str) -> Extraction:
    roles = BY_NAME[name].arguments
    if name in ("preadv2", "pwritev2"):
        # strace shows both halves of the position as one
        roles = tuple(role for role in roles if role != "-")
    steps = [(at, _SETTERS[role]) for at, role in enumerate(roles) if role in _SETTERS]
    if name in ("getdents", "getdents64"):
        steps.append((1, _set_entries))
    return tuple(steps)


_ALIASES: Final = {
    "stat64": "stat", "lstat64": "lstat", "fstat64": "fstat", "fstatat64": "newfstatat", "pread": "pread64",
    "pwrite": "pwrite64", "mmap2": "mmap",
    # of 32-bit programs
    "truncate64": "truncate", "ftruncate64": "ftruncate", "sendfile64": "sendfile", "statfs64": "statfs",
    "fstatfs64": "fstatfs", "chown32": "chown", "lchown32": "lchown", "fchown32": "fchown",
    "fadvise64_64": "fadvise64", "utimensat_time64": "utimensat",
}  # fmt: skip
_EXTRACTIONS: Final = {
    **{name: _extraction(name) for name, o in BY_NAME.items() if "." not in name and o.arguments and name != "mremap"},
    "sync": (),
    # C libraries and other architectures print these under names of their own
    **{alias: _extraction(name) for alias, name in _ALIASES.items()},
}  # fmt: skip


def operation_of(name: str) -> Operation | None:
    """Row of the operations table for a call as strace names it."""
    if name in PROCESS_CALLS:
        return BY_NAME[PROCESS_CALLS[name][2]]
    own = {"exit_group": "exit", "_llseek": "lseek", "fcntl64": "fcntl"}
    return BY_NAME.get(_ALIASES.get(name, own.get(name, name)))


def is_fork(name: str) -> bool:
    """Whether a call makes a thread or process."""
    return name in PROCESS_CALLS and PROCESS_CALLS[name][2] == "fork"


def fill(call: Call, name: str, text: str) -> None:
    """Take a call's arguments from their text; `call.result` is set already.

    Raises
    ------
    NotUnderstood, ValueError, IndexError: the text is not what strace prints for this call.
    """
    special = _SPECIAL.get(name)
    if special is not None:
        special(call, name, text)
        return
    parts = v.arguments(text)
    call.op = _ALIASES.get(name, name)
    for place, setter in _EXTRACTIONS[name]:
        if place >= len(parts):
            break
        setter(call, parts[place])
    if call.stat is not None and call.result != 0:
        call.stat = None


def is_operation(name: str, text: str) -> bool:
    """Whether a call is one that fill() knows; `text`: its arguments, or their beginning."""
    return name in CALLS or (name == "ioctl" and _command(text) in CLONES)


def _command(text: str) -> int:
    """The command of an ioctl, of which strace may name several that have its number; -1 for one not known here."""
    match = _COMMAND.match(text)
    if match is None:
        return -1
    for word in match[1].split(" or "):
        if word in v.CONSTANTS:
            return v.CONSTANTS[word]
    return int(match[1], 16) if match[1].startswith("0x") else -1


def fork_flags(call: Call, name: str, text: str) -> None:
    """Take the clone flags of a fork; its text may be cut where it began."""
    call.op = "fork"
    if name in ("fork", "vfork"):
        call.flags = _FORK if name == "fork" else _VFORK
        return
    match = _CLONE_FLAGS.search(text)
    call.flags = v.flags(match[1]) if match else None
    exit_signal = _EXIT_SIGNAL.search(text)
    if call.flags is not None and exit_signal:
        call.flags |= v.flags(exit_signal[1]) or 0


def _fcntl(call: Call, name: str, text: str) -> None:
    parts = v.arguments(text)
    _set_fd(call, parts[0])
    call.flags = v.flags(parts[1])
    call.op = fcntl_operation(call.flags if call.flags is not None else -1)
    if len(parts) > 2:
        if call.op == "fcntl.lock":
            _set_lock(call, parts[2])
        elif call.op == "fcntl" and not parts[2].startswith(("{", "[")):
            call.size = v.flags(parts[2])


def _ioctl(call: Call, name: str, text: str) -> None:
    """`ioctl(4, BTRFS_IOC_CLONE or FICLONE, 3) = 0`; FICLONERANGE has `{src_fd=3, src_offset=0, …}` in the end."""
    call.op, parts = CLONES[_command(text)], v.arguments(text)
    _set_fd2(call, parts[0])
    if call.op == "ioctl.ficlone":
        _set_fd(call, parts[2])
        call.offset = call.offset2 = 0
        return
    found = v.fields(parts[2])
    call.fd, call.fd_name = v.descriptor(parts[2].partition("src_fd=")[2])
    call.offset, call.size, call.offset2 = (v.number(found[f]) for f in ("src_offset", "src_length", "dest_offset"))


def _exec(call: Call, name: str, text: str) -> None:
    call.op, first, parts = "exec", 0, v.arguments(text)
    if name == "execveat":
        _set_dirfd(call, parts[0])
        first = 1
        call.flags = v.flags(parts[4]) if len(parts) > 4 else None
    _set_path(call, parts[first])
    if len(parts) > first + 1:
        call.arguments = v.strings(parts[first + 1])
        call.cut_arguments = v.cut_strings(parts[first + 1])
    if len(parts) > first + 2:
        call.environment = v.strings(parts[first + 2])


def _wait(call: Call, name: str, text: str) -> None:
    call.op = "wait"
    if name == "waitid":
        found = _SI_PID.search(text)
        if call.result == 0 and found:
            call.result = int(found[1])
    if call.result is not None and call.result > 0:
        call.pid = call.result


def _exit(call: Call, name: str, text: str) -> None:
    call.op = "exit"
    call.mode = v.flags(text) if text else None


def _mremap(call: Call, name: str, text: str) -> None:
    call.op, parts = "mremap", v.arguments(text)
    call.address, call.old_size, call.size = v.flags(parts[0]), v.flags(parts[1]), v.flags(parts[2])
    call.flags = v.flags(parts[3])


def _llseek(call: Call, name: str, text: str) -> None:
    """`_llseek(3, 10, [10], SEEK_SET) = 0`: where the file then stood is in brackets."""
    call.op, parts = "lseek", v.arguments(text)
    _set_fd(call, parts[0])
    call.offset, call.flags = v.flags(parts[1]), v.flags(parts[3])
    if call.result == 0:
        call.result = v.offset_at(parts[2])


def _close_range(call: Call, name: str, text: str) -> None:
    call.op, parts = "close_range", v.arguments(text)
    call.fd, call.fd2, call.flags = v.flags(parts[0]), v.flags(parts[1]), v.flags(parts[2])


_SPECIAL: Final[dict[str, Callable[[Call, str, str], None]]] = {
    **{name: fork_flags for name in PROCESS_CALLS if is_fork(name)},
    "execve": _exec, "execveat": _exec, "wait4": _wait, "waitid": _wait, "waitpid": _wait, "exit": _exit,
    "exit_group": _exit,
    "mremap": _mremap, "_llseek": _llseek, "fcntl": _fcntl, "fcntl64": _fcntl, "close_range": _close_range,
    "ioctl": _ioctl,
}  # fmt: skip
CALLS: Final = (frozenset(_EXTRACTIONS) | frozenset(_SPECIAL)) - {"ioctl"}
"""Names of the calls that fill() knows, whatever their arguments."""

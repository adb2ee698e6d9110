"""An independent, simple count of what strace saw, to hold a recording against; no code of the project's parser.

Counts, per operation: calls, failures, bytes; only for regular files and folders, as a recording does, and only from
the traced command's own exec on.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

LINE = re.compile(r"^(\d+) +(.*)$")
CALL = re.compile(r"^(\w+)\((.*)\) += (0x[0-9a-f]+|-?\d+|\?)(?:<[^>]*>)?(?: (E[A-Z0-9]+))?")
UNFINISHED = re.compile(r"^(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
DESCRIPTOR = re.compile(r"^(-?\d+|AT_FDCWD)(?:<((?:[^<>\\]|\\.|<[^<>]*>)*)>)?")
FORKS = {"fork", "vfork", "clone", "clone3"}
RENAMED = {**dict.fromkeys(FORKS, "fork"), "execve": "exec", "execveat": "exec", "wait4": "wait", "waitid": "wait"}
BYTES = {
    "read", "pread64", "readv", "preadv", "preadv2", "write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile",
    "copy_file_range", "splice", "getdents64", "getdents",
}  # fmt: skip
ON_FD = BYTES | {
    "close", "dup", "dup2", "dup3", "fcntl", "readahead", "lseek", "fstat", "fstatfs", "ftruncate", "fallocate",
    "fadvise64", "fsync", "fdatasync", "sync_file_range", "syncfs", "fchmod", "fchown", "fsetxattr", "fgetxattr",
    "flistxattr", "fremovexattr", "flock", "fchdir", "ioctl",
}  # fmt: skip
ON_PATH = {
    "open", "openat", "openat2", "creat", "stat", "lstat", "newfstatat", "statx", "statfs", "access", "faccessat",
    "faccessat2", "readlink", "readlinkat", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat",
    "renameat2", "link", "linkat", "symlink", "symlinkat", "truncate", "chmod", "fchmodat", "chown", "lchown",
    "fchownat", "utime", "utimes", "futimesat", "utimensat", "setxattr", "lsetxattr", "getxattr", "lgetxattr",
    "listxattr", "llistxattr", "removexattr", "lremovexattr", "chdir",
}  # fmt: skip
WITHOUT_FILE = {"umask", "sync", "close_range"}
ON_MEMORY = {"munmap", "madvise", "msync", "mremap"}
LOCKS = {"F_GETLK", "F_SETLK", "F_SETLKW", "F_OFD_GETLK", "F_OFD_SETLK", "F_OFD_SETLKW"}


def is_file(text: str | None) -> bool:
    """Whether strace's -y decoration names a regular file or folder that a recording would include."""
    if not text or not text.startswith("/"):
        return False
    if text.startswith("/dev/") and not text.startswith("/dev/shm/"):
        return False
    return not re.match(r"/(proc|sys|memfd:)", text)


def joined_lines(log: Path) -> Iterator[tuple[int, str]]:
    """(pid, text) of whole calls; a call that was interrupted in the log is put together."""
    waiting: dict[int, str] = {}
    for line in log.read_text(errors="surrogateescape").splitlines():
        match = LINE.match(line)
        if not match:
            continue
        pid, text = int(match[1]), match[2]
        if part := UNFINISHED.match(text):
            if part[1].startswith("munmap("):
                # the memory is free before strace sees the end: another thread may map it anew in between
                yield pid, f"{part[1].rstrip()}) = 0"
            else:
                waiting[pid] = part[1]
            continue
        if part := RESUMED.match(text):
            text = waiting.pop(pid) + part[2].lstrip() if pid in waiting else text
            text = re.sub(r"\s+\) = ", ") = ", text)
        yield pid, text


def first_string(arguments: str) -> str | None:
    match = re.search(r'"((?:[^"\\]|\\.)*)"', arguments)
    return match[1] if match else None


def count(log: Path) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """calls, failures and bytes, each by operation."""
    calls: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    space_of: dict[int, int] = {}
    mapped: dict[int, dict[int, int]] = defaultdict(dict)
    first_exec = True
    for pid, text in joined_lines(log):
        space = space_of.setdefault(pid, pid)
        if text.startswith("+++"):
            calls["exit"] += 1
            continue
        match = CALL.match(text)
        if not match:
            continue
        name, arguments, result, error = match.groups()
        if name in ("exit", "exit_group") or result == "?":
            continue
        operation = RENAMED.get(name, name)
        if name in ("execve", "execveat") and first_exec:
            first_exec = False  # strace's own exec of the command is the recording's first event too
        descriptors = [m for part in re.split(r", ", arguments) if (m := DESCRIPTOR.match(part))]
        if name in FORKS and int(result) > 0:
            child = int(result)
            if "CLONE_VM" in arguments and "CLONE_VFORK" not in arguments and name != "vfork":
                space_of[child] = space
            else:
                space_of[child] = child
                mapped[child] = dict(mapped[space])
        if operation == "exec" and not error:
            space_of[pid] = pid
            mapped[pid] = {}
        if name == "fcntl":
            command = arguments.split(", ")[1]
            operation = (
                "fcntl.lock" if command in LOCKS else "fcntl.dupfd" if command.startswith("F_DUPFD") else "fcntl"
            )
        if name == "ioctl":
            if "FICLONE" not in arguments:
                continue
            operation = "ioctl.ficlonerange" if "FICLONERANGE" in arguments else "ioctl.ficlone"
        if error == "EBADF":
            continue
        if name in ON_FD:
            wanted = [d for d in descriptors if d[1] not in ("AT_FDCWD",)]
            if name in ("sendfile", "copy_file_range", "splice", "ioctl"):
                if not any(is_file(d[2]) for d in wanted):
                    continue
            elif name in ("dup2", "dup3") and not error:
                # of interest too when a pipe takes a file's place, which closes the file
                if not any(is_file(d[2]) for d in wanted[:2]):
                    continue
            elif not (wanted and is_file(wanted[0][2])):
                continue
        elif name == "mmap":
            target = DESCRIPTOR.match(re.split(r", ", arguments)[4])
            if not (target and is_file(target[2])):
                continue
            if not error:
                length = int(arguments.split(", ")[1])
                mapped[space_of[pid]][int(result, 16)] = (length + 4095) // 4096 * 4096
        elif name in ON_MEMORY:
            start = arguments.split(", ")[0]
            address = int(start, 16) if start.startswith("0x") else 0
            ranges = mapped[space_of[pid]]
            if not any(begin <= address < begin + length for begin, length in ranges.items()):
                continue
            if name == "munmap":
                ranges.pop(address, None)
        elif name in ON_PATH:
            path = first_string(arguments)
            if path is None and not descriptors:
                continue
            if path and re.match(r"/(proc|sys)(/|$)", path):
                continue
            if path and re.match(r"/dev/(?!shm)", path) and not error:
                continue
            opened = re.search(r"= \d+<([^>]*)>", text)
            if opened and not is_file(opened[1]):
                continue
            if path == "" and not (descriptors and is_file(descriptors[0][2])):
                continue
            if "st_mode=S_IFCHR" in arguments or "st_mode=S_IFIFO" in arguments or "st_mode=S_IFSOCK" in arguments:
                continue
        elif name not in WITHOUT_FILE and name not in RENAMED:
            continue
        calls[operation] += 1
        if error:
            failures[operation] += 1
        elif name in BYTES:
            moved[operation] += int(result)
    return calls, failures, moved

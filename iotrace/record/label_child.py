"""The process that alone touches job folders and other processes' /proc entries, because either may hang it.

It is started as a script of its own and imports nothing of iotrace: standard library and msgspec only. Takes requests
on standard input and gives answers on standard output, each a JSON object behind its length (4 bytes, big-endian);
ends with its input. A folder is text from strangers: no link is followed to a file, only regular files of up to 16 MiB
are read, with the rights of the user whose process named the folder, and only words of a known form leave.

Requests: {"folder": path, "uid": owner of the process or null} → {"is_job", "project", "job_type"};
{"pid": number, "arguments": bool} → {"uid", "user", "cgroup", "slurm_job", "environment", "arguments", "cwd", "writes",
"reads"}, the last two: where it has files open, of the paths that may lie in a job's folder.
Paths travel as latin-1, so that any byte passes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import re
import resource
import stat
from itertools import islice
from typing import Any, Final

import msgspec

JSON_LIMIT: Final = 16 << 20
"""Bytes; job.json files of large jobs are a few MB."""
FRAME_LIMIT: Final = 1 << 20
"""Bytes of a request or an answer."""
PROJECT: Final = re.compile(r"P[0-9]{1,9}")
TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
SLURM_JOB: Final = re.compile(r"[0-9_+.]{1,40}")
VARIABLES: Final = ("SLURM_JOB_NAME", "SLURM_JOB_ID", "SLURM_JOB_USER")
"""All that is read of an environment."""

_SLURM_CGROUP: Final = re.compile(r"/(?:[^/\n]*slurm[^/\n]*)(?:/[^/\n]+)*?/job_([0-9]{1,20})(?:/|$)")
_PROC_LIMIT: Final = 1 << 18
_ARGUMENT_BYTES: Final = 1 << 16
_PR_SET_NO_NEW_PRIVS: Final = 38
_NOBODY: Final = 65534
_MEMORY_BYTES: Final = 512 << 20
_NICE: Final = 5
_PERHAPS_A_JOBS: Final = re.compile(r"/[JS][0-9]")
_DESCRIPTORS: Final = 1024
_PATHS: Final = 64


class _Job(msgspec.Struct):
    """What is wanted of job.json; all else is skipped without being built."""

    project_uid: msgspec.Raw = msgspec.Raw(b"null")
    job_type: msgspec.Raw = msgspec.Raw(b"null")
    spec: msgspec.Raw = msgspec.Raw(b"null")


class _Spec(msgspec.Struct):
    type: msgspec.Raw = msgspec.Raw(b"null")


class _Project(msgspec.Struct):
    uid: msgspec.Raw = msgspec.Raw(b"null")


def read_regular(folder: int, name: str) -> bytes | None:
    """Contents of a regular file in an open folder; None for a link, a FIFO, a device, a folder or a large file."""
    try:
        # a path descriptor opens nothing: neither a FIFO's other end nor a tape
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > JSON_LIMIT:
            return None
        # the very file that was looked at, whatever stands under the name by now
        fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with os.fdopen(fd, "rb") as file:
            data = file.read(JSON_LIMIT + 1)
    except OSError:
        return None
    finally:
        os.close(handle)
    return data if len(data) <= JSON_LIMIT else None


def decode(data: bytes | None, kind: type[Any]) -> Any:
    """The wanted members of a JSON object; their defaults for anything else."""
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return kind()


def _word(raw: msgspec.Raw, form: re.Pattern[str]) -> str | None:
    if len(raw) > 256:
        return None
    try:
        text = msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return text if form.fullmatch(text) else None


def words_of_job(data: bytes | None) -> tuple[str | None, str | None]:
    """Project and job type from job.json: `job_type` in version 4, `spec.type` in version 5."""
    job = decode(data, _Job)
    job_type = _word(job.job_type, TYPE) or _word(decode(bytes(job.spec), _Spec).type, TYPE)
    return _word(job.project_uid, PROJECT), job_type


def words_of_project(data: bytes | None) -> str | None:
    """Project uid from project.json."""
    return _word(decode(data, _Project).uid, PROJECT)


def slurm_job_of_cgroup(text: str) -> str | None:
    """Slurm job id from /proc/PID/cgroup: `…slurmstepd.scope/job_12/…` (v2) or `…:/slurm/uid_1000/job_12/…` (v1)."""
    found = _SLURM_CGROUP.search(text)
    return found[1] if found else None


def answer_folder(path: bytes, uid: int | None) -> dict[str, Any]:
    """What a folder J6 or S2 says of itself."""
    nothing: dict[str, Any] = {"is_job": False, "project": None, "job_type": None}
    try:
        if os.geteuid() != 0:
            return _look(path) or nothing
        if not uid:
            # a process of root, or of nobody knows whom: the folder's owner can read what is his own
            uid = os.lstat(path).st_uid
        with _As(uid):
            return _look(path) or nothing
    except (OSError, ValueError):
        return nothing


def _look(path: bytes) -> dict[str, Any] | None:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    job_fd = os.open(path, flags)
    try:
        data = read_regular(job_fd, "job.json")
        project_fd = os.open(os.path.dirname(path), flags)
        try:
            # the file may be there for others to read only; that it is there is enough to know a project by
            beside = _is_regular(project_fd, "project.json")
            if data is None and not beside and not _is_regular(job_fd, "job.json"):
                return None
            project, job_type = words_of_job(data)
            if project is None and beside:
                project = words_of_project(read_regular(project_fd, "project.json"))
        finally:
            os.close(project_fd)
    finally:
        os.close(job_fd)
    return {"is_job": True, "project": project, "job_type": job_type}


def _is_regular(folder: int, name: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


class _As:
    """With root's rights put down for file access: the file-system ids and groups of another user, and no capability
    over files (the kernel drops those with the user id)."""

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def __enter__(self) -> None:
        if self.uid == 0:
            return
        self.before = os.getgroups()
        try:
            entry = pwd.getpwuid(self.uid)
            gid, groups = entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
        except KeyError:
            gid, groups = _NOBODY, []
        os.setgroups(groups)
        try:
            _set_ids(self.uid, gid)
        except OSError:
            self.__exit__()
            raise

    def __exit__(self, *ignored: object) -> None:
        if self.uid:
            _set_ids(0, 0)
            os.setgroups(self.before)


def _set_ids(uid: int, gid: int) -> None:
    libc = ctypes.CDLL(None)
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    # neither call tells of failure: an id that cannot be set returns the one in force
    if libc.setfsuid(-1) != uid or libc.setfsgid(-1) != gid:
        raise PermissionError(f"cannot read as user {uid}")


def answer_process(pid: int, arguments: bool) -> dict[str, Any]:
    """What a live process says of itself; everything None when it is gone or not ours to read."""
    facts: dict[str, Any] = dict.fromkeys(("uid", "user", "cgroup", "slurm_job", "arguments"))
    facts["environment"] = {}
    try:
        facts["uid"] = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return facts
    try:
        facts["user"] = pwd.getpwuid(facts["uid"]).pw_name
    except KeyError:
        facts["user"] = str(facts["uid"])
    lines = _proc(pid, "cgroup").decode("utf-8", "backslashreplace")
    facts["cgroup"] = next((line[3:] for line in lines.splitlines() if line.startswith("0::")), None)
    facts["slurm_job"] = slurm_job_of_cgroup(lines)
    for variable in _proc(pid, "environ").split(b"\0"):
        name, _, value = variable.partition(b"=")
        text = value.decode("utf-8", "replace")
        if name.decode("latin-1") in VARIABLES and len(text) <= 256 and text.isprintable():
            facts["environment"][name.decode("latin-1")] = text
    if arguments:
        words = _proc(pid, "cmdline")[:_ARGUMENT_BYTES].rstrip(b"\0")
        facts["arguments"] = [word.decode("latin-1") for word in words.split(b"\0")] if words else None
    facts["cwd"] = _link(f"/proc/{pid}/cwd")
    facts["writes"], facts["reads"] = _open_paths(pid)
    return facts


def _open_paths(pid: int) -> tuple[list[str], list[str]]:
    """Paths that may lie in a job's folder and that a process has open, for writing and otherwise; by their links,
    without a look at the files."""
    writes: dict[str, None] = {}
    reads: dict[str, None] = {}
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in islice(entries, _DESCRIPTORS):
            path = _link(entry.path)
            if path is not None:
                lines = _proc(pid, f"fdinfo/{entry.name}").split(b"\n")
                flags = next((int(line[6:], 8) for line in lines if line.startswith(b"flags:")), 0)
                (writes if flags & os.O_ACCMODE else reads)[path] = None
    return list(writes)[:_PATHS], list(reads)[:_PATHS]


def _link(name: str) -> str | None:
    with contextlib.suppress(OSError):
        path = os.readlink(name)
        if path.isprintable() and _PERHAPS_A_JOBS.search(path):
            return path
    return None


def _proc(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read(_PROC_LIMIT)
    except OSError:
        return b""


def _read_exactly(count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = os.read(0, count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _write(answer: dict[str, Any]) -> None:
    data = msgspec.json.encode(answer)
    if len(data) > FRAME_LIMIT:
        data = b"{}"
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(1, data) :]


def main() -> None:
    """Answer until the input ends."""
    with contextlib.suppress(OSError):
        # absolute: the recorder's threads have priority over all jobs, which what reads labels must not have
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    for limit, most in (
        (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, _MEMORY_BYTES),
    ):  # fmt: skip
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (most, most))
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _write({"ready": True})
    while True:
        try:
            request = msgspec.json.decode(_read_exactly(int.from_bytes(_read_exactly(4), "big")))
            if "folder" in request:
                _write(answer_folder(request["folder"].encode("latin-1"), request["uid"]))
            else:
                _write(answer_process(request["pid"], request["arguments"]))
        except (EOFError, BrokenPipeError):
            return


if __name__ == "__main__":
    main()

"""Which labels each process has: evidence in, label columns out.

Takes what a recording comes to know of a process: its parent, its command line, its environment, the folders that it
works in and uses. Asks the LabelReader about folders J6 and S2 that were not asked about yet, and gives, whenever
asked, the labels that have changed. Sources rank in this order: a command line of the process or an ancestor,
SLURM_JOB_NAME, a job's folder beside a project.json, that folder's job.json; among folders the working folder ranks
before one that is written to, and that before one that is only read from. The nearest ancestor holds.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from iotrace.record.label_child import PROJECT, TYPE, slurm_job_of_cgroup
from iotrace.record.label_reader import LabelReader
from iotrace.record.labels import (
    job_folders,
    job_of_command,
    job_of_slurm_name,
    plain,
    slurm_job_of,
    step_of,
)  # fmt: skip

__all__ = ["READS", "WORKS_IN", "WRITES", "Facts", "LabelBook", "own_facts"]

READS: Final = 1
WRITES: Final = 2
WORKS_IN: Final = 3
_FOLDER_LIMIT: Final = 10_000
"""A walk over a whole archive must not ask about every job in it."""
_FOLDERS_OF_A_PROCESS: Final = 64

_Job = tuple[str | None, str | None]
_NO_JOB: Final[_Job] = (None, None)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a live process says of itself: the variables in VARIABLES, owner's name and id, cgroup (v2), Slurm id; of
    paths that may lie in a job's folder its working folder, and what it has open for writing and for reading."""

    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    uid: int | None = None
    cgroup: str | None = None
    slurm_job: str | None = None
    arguments: list[str] | None = None
    cwd: str | None = None
    writes: Sequence[str] = ()
    reads: Sequence[str] = ()


@dataclass(slots=True, eq=False)
class _Entry:
    """Evidence of one process, and its family."""

    parent: _Entry | None
    children: list[_Entry] = field(default_factory=list)
    command: _Job = _NO_JOB
    slurm: _Job = _NO_JOB
    folders: dict[str, int] = field(default_factory=dict)
    owner: str | None = None
    uid: int | None = None
    slurm_user: str | None = None
    slurm_job: str | None = None
    labels: dict[str, str] = field(default_factory=dict)

    def line(self) -> Iterator[_Entry]:
        """Itself, its parent, and so on."""
        entry: _Entry | None = self
        while entry is not None:
            yield entry
            entry = entry.parent


class LabelBook:
    """Keeps the evidence and makes labels of it.

    Parameters
    ----------
    reader: asked about folders and live processes; nothing here waits for it.
    """

    def __init__(self, reader: LabelReader) -> None:
        self.reader = reader
        self._entries: dict[int, _Entry] = {}
        self._known: dict[str, _Job] = {}
        self._asked: set[str] = set()
        self._type_of: dict[_Job, str] = {}
        self._changed: set[int] = set()

    def began(self, process: int, parent: int | None) -> None:
        """A process began, forked by `parent` where that is recorded."""
        above = self._entries.get(parent) if parent is not None else None
        entry = _Entry(above, labels=dict(above.labels) if above else {})
        if above is not None:
            above.children.append(entry)
        self._entries[process] = entry

    def executed(
        self, process: int, arguments: Sequence[str], environment: Mapping[str, str] | None, cwd: str | None
    ) -> None:
        """A process executed a program, or was found doing so; `environment` None where it is not known (yet)."""
        entry = self._entry(process)
        command = job_of_command(arguments)
        if command != _NO_JOB:
            entry.command = command
        if environment is not None:
            self._take_environment(entry, environment)
        self._changed.add(process)
        if cwd is not None:
            self.uses(process, cwd, WORKS_IN)

    def has(self, process: int, project: str | None, job: str | None) -> None:
        """A process has labels from before, which hold as if its command line had named them."""
        self._entry(process).command = (project, job)
        self._changed.add(process)

    def told(self, process: int, facts: Facts) -> None:
        """A process has said what it is."""
        entry = self._entry(process)
        self._take_environment(entry, facts.environment)
        entry.slurm_job = entry.slurm_job or facts.slurm_job
        entry.owner, entry.uid = plain(facts.user) or entry.owner, facts.uid if facts.uid is not None else entry.uid
        self._changed.add(process)
        # what was opened before the recording, or is not seen where it only counts
        for paths, how in (([facts.cwd] if facts.cwd else [], WORKS_IN), (facts.writes, WRITES), (facts.reads, READS)):
            for path in paths:
                self.uses(process, path, how)

    def _take_environment(self, entry: _Entry, environment: Mapping[str, str]) -> None:
        named = job_of_slurm_name(environment)
        entry.slurm = named if named != _NO_JOB else entry.slurm
        entry.slurm_job = slurm_job_of(environment) or entry.slurm_job
        entry.slurm_user = plain(environment.get("SLURM_JOB_USER")) or entry.slurm_user

    def uses(self, process: int, path: str, how: int) -> None:
        """A process works in (WORKS_IN), writes to (WRITES) or reads from (READS) what lies at a path."""
        for folder in job_folders(path):
            entry = self._entry(process)
            if folder not in entry.folders and len(entry.folders) >= _FOLDERS_OF_A_PROCESS:
                continue
            if entry.folders.get(folder, 0) < how:
                entry.folders[folder] = how
                self._changed.add(process)
            self.ask(folder, next((e.uid for e in entry.line() if e.uid is not None), None))

    def opened(self, process: int, path: str, writes: bool) -> None:
        """A process opened a file (the Assembler's Labeler)."""
        self.uses(process, path, WRITES if writes else READS)

    def ask(self, folder: str, uid: int | None) -> bool:
        """Ask about a folder unless that was done; returns whether it was news."""
        if folder in self._asked or len(self._asked) >= _FOLDER_LIMIT:
            return False
        self._asked.add(folder)
        self.reader.ask_folder(folder, uid)
        return True

    @property
    def seeks(self) -> bool:
        """Some process has no job type yet: what it uses may tell."""
        return any("job_type" not in entry.labels for entry in self._entries.values())

    def take(self, answers: Iterable[tuple[Any, Mapping[str, Any]]]) -> dict[int, Facts]:
        """Enter the reader's answers; returns what processes said of themselves, for their other columns."""
        heard: dict[int, Facts] = {}
        for key, answer in answers:
            if isinstance(key, int):
                if answer.get("uid") is not None and key in self._entries:
                    heard[key] = _facts(answer)
                    self.told(key, heard[key])
            elif answer.get("is_job") is True:
                project = answer.get("project")
                job_type = answer.get("job_type")
                # the child looked at their form; it was the one that may have been led astray
                project = project if isinstance(project, str) and PROJECT.fullmatch(project) else None
                self._known[key] = (
                    project,
                    job_type if isinstance(job_type, str) and TYPE.fullmatch(job_type) else None,
                )
                if project and self._known[key][1]:
                    self._type_of.setdefault((project, key.rpartition("/")[2]), self._known[key][1] or "")
                self._changed.update(self._entries)
        return heard

    def changes(self) -> dict[int, dict[str, str]]:
        """Label columns of the processes whose labels are not what they were at the last call."""
        if not self._changed:
            return {}
        due = {id(below) for process in self._changed for below in _family(self._entries.get(process))}
        self._changed.clear()
        found: dict[int, dict[str, str]] = {}
        for process, entry in self._entries.items():
            if id(entry) in due and (labels := self._labels(entry)) != entry.labels:
                entry.labels = labels
                found[process] = labels
        return found

    def keep_only(self, processes: Iterable[int]) -> None:
        """Forget all other processes, save what their descendants inherit from them."""
        self._entries = {process: self._entries[process] for process in processes if process in self._entries}
        needed = {id(entry): entry for kept in self._entries.values() for entry in kept.line()}
        for entry in needed.values():
            entry.children = []
        for entry in needed.values():
            if entry.parent is not None:
                entry.parent.children.append(entry)
        self._changed &= set(self._entries)

    def _entry(self, process: int) -> _Entry:
        if process not in self._entries:
            self._entries[process] = _Entry(None)
        return self._entries[process]

    def _labels(self, entry: _Entry) -> dict[str, str]:
        project: str | None = None
        job: str | None = None
        line = list(entry.line())
        for named in (
            next((e.command for e in line if e.command != _NO_JOB), _NO_JOB),
            next((e.slurm for e in line if e.slurm != _NO_JOB), _NO_JOB),
        ):
            if job is None or named[1] in (None, job):
                project, job = project or named[0], job or named[1]
        job_type = None
        folder = self._folder(line, project, job)
        if folder is not None:
            job = job or folder.rpartition("/")[2]
            project, job_type = project or self._known[folder][0], self._known[folder][1]
        job_type = job_type or self._type_of.get((project, job))
        labels = {
            "project": project,
            "job": job,
            "job_type": job_type,
            "step": step_of(job_type),
            "user": next((e.slurm_user for e in line if e.slurm_user), next((e.owner for e in line if e.owner), None)),
            "slurm_job": next((e.slurm_job for e in line if e.slurm_job), None),
        }
        return {name: value for name, value in labels.items() if value is not None}

    def _folder(self, line: list[_Entry], project: str | None, job: str | None) -> str | None:
        """The folder that the process works for: a job's, not at odds with what is known, of the highest rank."""
        best, best_how = None, 0
        for entry in line:
            fits = {
                folder: how
                for folder, how in entry.folders.items()
                if folder in self._known
                and job in (None, folder.rpartition("/")[2])
                and (project is None or self._known[folder][0] in (None, project))
            }
            if not fits:
                continue
            how = max(fits.values())
            chosen = [folder for folder, rank in fits.items() if rank == how]
            if how == READS and len(chosen) > 1:
                continue  # it reads from many jobs: it need not work for any
            if how > best_how:
                best, best_how = max(chosen, key=len) if how == WORKS_IN else chosen[0], how
        return best


def own_facts() -> Facts:
    """What this very process is; what it starts inherits it. Looks at nothing that can hang."""
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    try:
        lines = Path("/proc/self/cgroup").read_text(errors="replace")
    except OSError:
        lines = ""
    cgroup = next((line[3:] for line in lines.splitlines() if line.startswith("0::")), None)
    return Facts(dict(os.environ), user, uid, cgroup, slurm_job_of_cgroup(lines))


def _facts(answer: Mapping[str, Any]) -> Facts:
    words = answer.get("arguments")
    return Facts(
        answer.get("environment") or {}, answer.get("user"), answer.get("uid"), answer.get("cgroup"),
        answer.get("slurm_job"), list(words) if words else None,
        answer.get("cwd"), answer.get("writes") or (), answer.get("reads") or (),
    )  # fmt: skip


def _family(entry: _Entry | None) -> Iterator[_Entry]:
    """A process and all its descendants."""
    due = [entry] if entry is not None else []
    while due:
        one = due.pop()
        yield one
        due += one.children
